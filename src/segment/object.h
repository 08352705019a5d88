/* SPDX-License-Identifier: Apache-2.0 */
/** The shared-memory object of a segment: its name, the lock on it, its space, its mapping. Knows nothing of its content. */
#ifndef SEGMENT_OBJECT_H
#define SEGMENT_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define OBJECT_NAME_BYTES (GRID_NAME_BYTES_MAX + 32u)
#define OBJECT_PRESERVED ".preserved" /* ends the name of the object with the preserved pages */

/** One object, open and locked for as long as the process lives or until object_close. One thread at a time. */
struct object {
    char name[OBJECT_NAME_BYTES]; /* "/mcomp.GRID.NODE" */
    int fd;                       /* owned; -1 when closed */
    uint8_t *base;                /* owned mapping, NULL when there is none; a multiple of 2 MiB */
    uint64_t mapped_bytes;
};

#define OBJECT_CLOSED {.fd = -1}

/** Name of an object of a node: "/mcomp.GRID.NODE" and what it ends with, "" or OBJECT_PRESERVED. */
void object_name(char name[OBJECT_NAME_BYTES], const char *grid, uint32_t node, const char *end);

/* Besides the lock by which a server excludes others, record locks on these bytes tell who lives: asking for such a lock does not disturb its
 * holder, and the kernel takes it back however the holder dies. */
#define OBJECT_LOCK_SERVER 0
#define OBJECT_LOCK_CAPTURE 1

/** Take one of them on an open object, for as long as it is open. False when another process has it, with errno EAGAIN. */
bool object_lock(int fd, int byte);
/** Does some process have it, other than through this descriptor? */
bool object_is_locked(int fd, int byte);

/** Open the object of a node and lock it; make an empty one when there is none, if create. pid_offset: where in an object that is in use
 *  its owner's process id (u32) stands.
 *  Errors: FAILED_PRECONDITION when another process holds the lock (names it), or when another user owns the object;
 *          NOT_FOUND when there is none and create is false. */
MUST_CHECK enum mcomp_status object_open(struct object *object, const char *grid, uint32_t node, bool create, uint64_t pid_offset, struct err *err);

/** Size in bytes. */
MUST_CHECK enum mcomp_status object_size(const struct object *object, uint64_t *bytes, struct err *err);

/** Read the first bytes; what lies behind the object's end is zero. */
MUST_CHECK enum mcomp_status object_peek(const struct object *object, void *to, size_t bytes, struct err *err);

/** Set the size. Bytes behind it are dropped. */
MUST_CHECK enum mcomp_status object_resize(const struct object *object, uint64_t bytes, struct err *err);

/** Make the object `bytes` long and map all of it, in place of an earlier mapping; every page is allocated, so that no later access can
 *  fail for want of memory. Bytes behind the former end are zero. Never shortens.
 *  Errors: RESOURCE_EXHAUSTED, with the bytes needed and those free. */
MUST_CHECK enum mcomp_status object_map(struct object *object, uint64_t bytes, struct err *err);

/** Can `bytes` more be allocated in the file system of an open object, so that the machine keeps `margin` bytes of memory free? */
bool object_has_room(int fd, uint64_t bytes, uint64_t margin);

/** Remove the name while holding the lock: the next object_open makes a new object. */
void object_unlink(const struct object *object);

/** Unmap, unlock, close. Also on a closed one. */
void object_close(struct object *object);

#endif
