/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/object.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/units.h"

#define MAP_ALIGNMENT (2u << 20) /* a huge page */
#define ALLOCATE_STEP_BYTES (UINT64_C(1) << 30) /* a signal that interrupts an allocation costs one step, not all */

/* ---- opening ---- */

void object_name(char name[OBJECT_NAME_BYTES], const char *grid, uint32_t node, const char *end)
{
    int n = snprintf(name, OBJECT_NAME_BYTES, "/mcomp.%s.%" PRIu32 "%s", grid, node, end);
    MC_ASSERT(n > 0 && n < (int)OBJECT_NAME_BYTES);
}

bool object_lock(int fd, int byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool object_is_locked(int fd, int byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static enum mcomp_status refuse_locked(const struct object *object, uint64_t pid_offset, struct err *err)
{
    uint32_t pid = 0;
    if (pread(object->fd, &pid, sizeof pid, (off_t)pid_offset) != sizeof pid || pid == 0)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "segment %s is being opened by another process; a node runs one server at a time", object->name);
    return err_set(err, MCOMP_FAILED_PRECONDITION, "segment %s is in use by process %" PRIu32 "; a node runs one server at a time, stop that one first",
                   object->name, pid);
}

/* Open and lock what bears the name now. *gone: it lost its name before it was locked, so there is a newer one or none. */
static enum mcomp_status open_once(struct object *object, bool create, uint64_t pid_offset, bool *gone, struct err *err)
{
    *gone = false;
    object->fd = shm_open(object->name, O_RDWR | (create ? O_CREAT : 0), 0600); /* closes on exec */
    if (object->fd < 0)
        return err_sys(err, errno, "open shared memory %s", object->name);
    if (flock(object->fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? refuse_locked(object, pid_offset, err) : err_sys(err, errno, "lock shared memory %s", object->name);
    struct stat st;
    if (fstat(object->fd, &st) != 0)
        return err_sys(err, errno, "examine shared memory %s", object->name);
    if (st.st_uid != geteuid())
        return err_set(err, MCOMP_FAILED_PRECONDITION, "segment %s belongs to user %u, this process runs as user %u: run it as that user",
                       object->name, (unsigned)st.st_uid, (unsigned)geteuid());
    *gone = st.st_nlink == 0;
    if (!object_lock(object->fd, OBJECT_LOCK_SERVER))
        return err_sys(err, errno, "lock shared memory %s", object->name);
    return MCOMP_OK;
}

enum mcomp_status object_open(struct object *object, const char *grid, uint32_t node, bool create, uint64_t pid_offset, struct err *err)
{
    *object = (struct object)OBJECT_CLOSED;
    object_name(object->name, grid, node, "");
    for (;;) {
        bool gone;
        enum mcomp_status code = open_once(object, create, pid_offset, &gone, err);
        if (code == MCOMP_OK && !gone)
            return MCOMP_OK;
        object_close(object);
        if (code != MCOMP_OK)
            return code;
    }
}

enum mcomp_status object_size(const struct object *object, uint64_t *bytes, struct err *err)
{
    struct stat st;
    if (fstat(object->fd, &st) != 0)
        return err_sys(err, errno, "examine shared memory %s", object->name);
    *bytes = (uint64_t)st.st_size;
    return MCOMP_OK;
}

enum mcomp_status object_peek(const struct object *object, void *to, size_t bytes, struct err *err)
{
    ssize_t got = pread(object->fd, to, bytes, 0);
    if (got < 0)
        return err_sys(err, errno, "read shared memory %s", object->name);
    memset((uint8_t *)to + got, 0, bytes - (size_t)got);
    return MCOMP_OK;
}

enum mcomp_status object_resize(const struct object *object, uint64_t bytes, struct err *err)
{
    if (ftruncate(object->fd, (off_t)bytes) != 0)
        return err_sys(err, errno, "set the size of shared memory %s to %" PRIu64 " bytes", object->name, bytes);
    return MCOMP_OK;
}

/* ---- space ---- */

/* Bytes of memory that can still be given out, UINT64_MAX when the kernel does not say. */
static uint64_t memory_free_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file)
        return UINT64_MAX;
    char line[128];
    uint64_t memory_kib = 0, swap_kib = 0;
    bool memory_known = false, swap_known = false;
    while (!(memory_known && swap_known) && fgets(line, sizeof line, file)) {
        memory_known |= sscanf(line, "MemAvailable: %" SCNu64, &memory_kib) == 1;
        swap_known |= sscanf(line, "SwapFree: %" SCNu64, &swap_kib) == 1;
    }
    fclose(file);
    return memory_known && swap_known ? (memory_kib + swap_kib) * 1024 : UINT64_MAX;
}

/* Bytes that the file system of the object can still take, UINT64_MAX when it has no limit. */
static uint64_t filesystem_free_bytes(int fd)
{
    struct statvfs fs;
    if (fstatvfs(fd, &fs) != 0 || fs.f_blocks == 0)
        return UINT64_MAX;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

bool object_has_room(int fd, uint64_t bytes, uint64_t margin)
{
    return filesystem_free_bytes(fd) >= bytes && memory_free_bytes() >= bytes + margin;
}

static enum mcomp_status refuse_space(const struct object *object, uint64_t needed, uint64_t filesystem, uint64_t memory, struct err *err)
{
    char needed_text[UNITS_TEXT_BYTES], free_text[UNITS_TEXT_BYTES];
    bool short_of_memory = memory < filesystem;
    uint64_t free_bytes = short_of_memory ? memory : filesystem;
    return err_set(err, MCOMP_RESOURCE_EXHAUSTED,
                   "segment %s needs %" PRIu64 " bytes (%s) more than it has, %s %" PRIu64 " (%s) free: make segment_size smaller%s", object->name,
                   needed, units_format_bytes(needed, needed_text), short_of_memory ? "this machine's memory has" : "/dev/shm has", free_bytes,
                   units_format_bytes(free_bytes, free_text),
                   short_of_memory ? "" : ", or /dev/shm larger (mount -o remount,size=… /dev/shm; docker run --shm-size=…)");
}

/* Refuse what cannot fit before a byte is allocated: the kernel would notice late, and might end processes to make room. */
static enum mcomp_status check_space(const struct object *object, uint64_t bytes, struct err *err)
{
    struct stat st;
    if (fstat(object->fd, &st) != 0)
        return err_sys(err, errno, "examine shared memory %s", object->name);
    uint64_t has = (uint64_t)st.st_blocks * 512;
    uint64_t needed = bytes > has ? bytes - has : 0;
    if (needed == 0)
        return MCOMP_OK;
    uint64_t filesystem = filesystem_free_bytes(object->fd), memory = memory_free_bytes();
    if (needed > filesystem || needed > memory || bytes > INT64_MAX)
        return refuse_space(object, needed, filesystem, memory, err);
    return MCOMP_OK;
}

static enum mcomp_status allocate(const struct object *object, uint64_t bytes, struct err *err)
{
    for (uint64_t at = 0; at < bytes;) {
        uint64_t step = bytes - at < ALLOCATE_STEP_BYTES ? bytes - at : ALLOCATE_STEP_BYTES;
        int failed = posix_fallocate(object->fd, (off_t)at, (off_t)step);
        if (failed == ENOSPC)
            return refuse_space(object, bytes - at, filesystem_free_bytes(object->fd), UINT64_MAX, err);
        if (failed && failed != EINTR)
            return err_sys(err, failed, "allocate %" PRIu64 " bytes for shared memory %s", bytes, object->name);
        if (!failed)
            at += step;
    }
    return MCOMP_OK;
}

/* ---- mapping ---- */

static void unmap(struct object *object)
{
    if (object->base)
        munmap(object->base, object->mapped_bytes);
    object->base = NULL;
    object->mapped_bytes = 0;
}

/* Map at a multiple of MAP_ALIGNMENT, so that offsets which are aligned to a huge page are addresses which are. */
static enum mcomp_status map_aligned(struct object *object, uint64_t bytes, struct err *err)
{
    size_t reserved = bytes + MAP_ALIGNMENT;
    uint8_t *space = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        return err_sys(err, errno, "find %zu bytes of address space", reserved);
    size_t before = (MAP_ALIGNMENT - (uintptr_t)space % MAP_ALIGNMENT) % MAP_ALIGNMENT;
    uint8_t *base = space + before;
    if (mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, object->fd, 0) == MAP_FAILED) {
        int failed = errno;
        munmap(space, reserved);
        return err_sys(err, failed, "map %" PRIu64 " bytes of shared memory %s", bytes, object->name);
    }
    if (before)
        munmap(space, before);
    munmap(base + bytes, MAP_ALIGNMENT - before);
    object->base = base;
    object->mapped_bytes = bytes;
    return MCOMP_OK;
}

enum mcomp_status object_map(struct object *object, uint64_t bytes, struct err *err)
{
    uint64_t has;
    unmap(object);
    enum mcomp_status code = object_size(object, &has, err);
    if (code == MCOMP_OK)
        code = check_space(object, bytes, err);
    if (code == MCOMP_OK && has < bytes)
        code = object_resize(object, bytes, err);
    if (code == MCOMP_OK)
        code = map_aligned(object, bytes, err);
    if (code != MCOMP_OK)
        return code;
    /* All three are favours that the kernel may refuse. Huge pages come only to memory that is first touched through the mapping, so
     * this goes before the allocation proper. */
    madvise(object->base, bytes, MADV_HUGEPAGE);
    madvise(object->base, bytes, MADV_DONTDUMP);
    madvise(object->base, bytes, MADV_POPULATE_WRITE);
    code = allocate(object, bytes, err);
    if (code != MCOMP_OK)
        unmap(object);
    return code;
}

void object_unlink(const struct object *object)
{
    shm_unlink(object->name);
}

void object_close(struct object *object)
{
    unmap(object);
    if (object->fd >= 0)
        close(object->fd);
    object->fd = -1;
}
