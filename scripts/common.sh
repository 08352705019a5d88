# SPDX-License-Identifier: Apache-2.0
# What the scripts share; sourced by them, never run. The caller has set `name` and stands in the project's top folder.

say() { printf '%s: %s\n' "$name" "$*"; }
die() { printf '%s: FAILED: %s\n' "$name" "$*" >&2; exit 1; }

is_root() { [ "$(id -u)" = 0 ]; }

# Processes are watched through /proc. A bare chroot has none until somebody mounts it.
need_proc() {
    [ -r /proc/self/stat ] && return 0
    if is_root && mount -t proc proc /proc 2>/dev/null; then
        say "mounted /proc, which was missing"
        return 0
    fi
    die "/proc is missing. Mount it first: mount -t proc proc /proc"
}

# Tests of what is shown on a terminal need pseudo-terminals; without them they are skipped. A bare chroot has none until somebody mounts them.
want_terminals() {
    [ -c /dev/pts/ptmx ] && return 0
    if is_root && [ -d /dev/pts ] && mount -t devpts -o ptmxmode=0666,gid=5 devpts /dev/pts 2>/dev/null; then
        say "mounted /dev/pts, which was missing"
    fi
}

# need_shared_memory MIB: segments are POSIX shared memory, so /dev/shm must be there and hold them. In a chroot it may be a plain folder,
# which serves as well, with the speed of its disk.
need_shared_memory() {
    local need_mib=$1 free_mib
    if [ ! -d /dev/shm ]; then
        is_root || die "/dev/shm is missing. As root: mkdir -m 1777 /dev/shm && mount -t tmpfs tmpfs /dev/shm"
        mkdir -m 1777 /dev/shm || die "cannot make /dev/shm"
        mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm 2>/dev/null && say "mounted a tmpfs on /dev/shm, which was missing"
    fi
    [ -w /dev/shm ] || die "/dev/shm cannot be written to. As root: chmod 1777 /dev/shm"
    free_mib=$(($(df -Pk /dev/shm | awk 'NR == 2 { print $4 }') / 1024))
    [ "$free_mib" -ge "$need_mib" ] || die "/dev/shm has $free_mib MiB free and $need_mib MiB are needed. Make it larger:
    mount -o remount,size=$((need_mib + 512))M /dev/shm        (in a container: docker run --shm-size=$((need_mib + 512))m …)"
}
