#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Goal: who has installed libmcomp can build against it, shared and static, with pkg-config and with CMake, and sees no names but ours.
# Method: install into a folder of our own and build one small program in each way. Usage: install_test.sh BUILD_DIR CC
set -eu
build=$1
cc=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM

fail() {
    echo "install_test: $*" >&2
    exit 1
}

cmake --install "$build" --component libmcomp --prefix "$dir/prefix" >"$dir/install.log" || fail "$(cat "$dir/install.log")"
libdir=$(dirname "$(find "$dir/prefix" -name libmcomp.so)")

mkdir "$dir/program"
cat >"$dir/program/program.c" <<'C'
#include <mcomp.h>
#include <stdio.h>

int main(void)
{
    struct mcomp *grid;
    struct mcomp_error error;
    enum mcomp_status status = mcomp_open(&grid, "/nonexistent/mcomp.cfg", NULL, &error);
    printf("%s %s\n", mcomp_version(), mcomp_status_name(status));
    return status == MCOMP_OK;
}
C
cat >"$dir/program/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.25)
project(program LANGUAGES C)
find_package(mcomp 0.1 REQUIRED)
foreach(kind mcomp static)
  add_executable(with_${kind} program.c)
  target_link_libraries(with_${kind} PRIVATE mcomp::${kind})
endforeach()
C

# The program must run and must say what it would say on any machine.
check() {
    said=$(LD_LIBRARY_PATH=$libdir "$1")
    case $said in
    "$(sed -n 's/^Version: //p' "$libdir/pkgconfig/mcomp.pc") "*) ;;
    *) fail "$1 said: $said" ;;
    esac
}

export PKG_CONFIG_PATH="$libdir/pkgconfig"
# The flags of pkg-config are words.
# shellcheck disable=SC2046
"$cc" "$dir/program/program.c" -o "$dir/shared" $(pkg-config --cflags --libs mcomp)
check "$dir/shared"
readelf -d "$dir/shared" | grep -q 'NEEDED.*libmcomp.so.0' || fail "the program does not ask for libmcomp.so.0"
# shellcheck disable=SC2046
"$cc" "$dir/program/program.c" -o "$dir/static" $(pkg-config --cflags mcomp) "$libdir/libmcomp.a" \
    $(pkg-config --static --libs-only-l mcomp | sed 's/-lmcomp//') -pthread
check "$dir/static"
if readelf -d "$dir/static" | grep -q 'NEEDED.*libmcomp'; then
    fail "the static program asks for libmcomp.so"
fi

# Make may not be installed; what the build itself uses is.
generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$build/CMakeCache.txt")
cmake -G "$generator" -S "$dir/program" -B "$dir/program/build" -DCMAKE_PREFIX_PATH="$dir/prefix" -DCMAKE_C_COMPILER="$cc" >"$dir/cmake.log" 2>&1 &&
    cmake --build "$dir/program/build" >>"$dir/cmake.log" 2>&1 || fail "$(cat "$dir/cmake.log")"
check "$dir/program/build/with_mcomp"
check "$dir/program/build/with_static"

# Nothing but the public interface is visible, and all of it is.
sed -n 's/^MCOMP_API.*[ *]\(mcomp_[a-z_]*\)(.*/\1/p' "$dir/prefix/include/mcomp.h" "$dir/prefix/include/mcomp_txn.h" |
    sort >"$dir/declared"
[ -s "$dir/declared" ] || fail "no declarations found in the headers"
nm -D --defined-only "$libdir/libmcomp.so" | awk '{print $3}' | sort >"$dir/exported"
diff "$dir/declared" "$dir/exported" >&2 || fail "libmcomp.so exports (>) something else than the headers declare (<)"
nm -g --defined-only "$libdir/libmcomp.a" | awk 'NF > 2 {print $3}' | sort >"$dir/exported"
diff "$dir/declared" "$dir/exported" >&2 || fail "libmcomp.a exports (>) something else than the headers declare (<)"
