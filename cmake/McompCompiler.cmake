# SPDX-License-Identifier: Apache-2.0
# Warnings and sanitizers for our own code; generated code is compiled without them.
add_library(mcomp_flags INTERFACE)
target_compile_options(mcomp_flags INTERFACE
  -Wall -Wextra -Wshadow -Wvla -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes
  -Wold-style-definition -Wundef -Wformat=2 -Wcast-align -Wwrite-strings -Wconversion -Wno-sign-conversion
  -Wimplicit-fallthrough -fno-common -fvisibility=hidden $<$<BOOL:${MCOMP_WERROR}>:-Werror>)
target_compile_definitions(mcomp_flags INTERFACE _GNU_SOURCE MCOMP_VERSION="${PROJECT_VERSION}")
target_include_directories(mcomp_flags INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(MCOMP_SANITIZE)
  add_compile_options(-fsanitize=${MCOMP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${MCOMP_SANITIZE})
endif()

if(MCOMP_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "MCOMP_FUZZ needs clang, which brings libFuzzer. On Debian: apt-get install clang; then cmake --preset fuzz")
  endif()
  # The parts under test are instrumented too, or the fuzzer would not see which inputs are new to them.
  set(fuzz_flags -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_compile_options(${fuzz_flags})
  add_link_options(${fuzz_flags})
endif()

# mcomp_part(NAME SOURCES... LINK LIBS...): one folder of src as a static library.
function(mcomp_part name)
  cmake_parse_arguments(PART "" "" "LINK" ${ARGN})
  add_library(mcomp_${name} STATIC ${PART_UNPARSED_ARGUMENTS})
  target_link_libraries(mcomp_${name} PUBLIC ${PART_LINK} PRIVATE mcomp_flags)
  target_include_directories(mcomp_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
endfunction()
