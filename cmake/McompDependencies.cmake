# SPDX-License-Identifier: Apache-2.0
# Everything that comes from outside, found once, each with the Debian package that brings it.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

function(mcomp_pkg target module package)
  pkg_check_modules(${target} QUIET IMPORTED_TARGET ${module})
  if(NOT ${target}_FOUND)
    message(FATAL_ERROR "mcomp needs ${module}, which was not found. On Debian: apt-get install ${package}")
  endif()
endfunction()

mcomp_pkg(PROTOBUF_C libprotobuf-c libprotobuf-c-dev)
mcomp_pkg(CONFUSE libconfuse libconfuse-dev)
mcomp_pkg(JANSSON jansson libjansson-dev)
mcomp_pkg(ZSTD libzstd libzstd-dev)

# libev has no pkg-config file.
find_path(LIBEV_INCLUDE ev.h)
find_library(LIBEV_LIBRARY ev)
if(NOT LIBEV_INCLUDE OR NOT LIBEV_LIBRARY)
  message(FATAL_ERROR "mcomp needs libev, which was not found. On Debian: apt-get install libev-dev")
endif()
add_library(libev INTERFACE)
target_include_directories(libev SYSTEM INTERFACE ${LIBEV_INCLUDE})
target_link_libraries(libev INTERFACE ${LIBEV_LIBRARY})

find_program(PROTOC_C protoc-c)
if(NOT PROTOC_C)
  message(FATAL_ERROR "mcomp needs protoc-c, which was not found. On Debian: apt-get install protobuf-c-compiler")
endif()
