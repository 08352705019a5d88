/* SPDX-License-Identifier: Apache-2.0 */
/** Bytes on their way to a file, in order. A thread of its own writes them, so that who makes them does not wait for the disk as long as there is a buffer
 *  left: SINK_BUFFERS of SINK_BUFFER_BYTES, all the memory that a sink has.
 *
 *  Where the file system can, the bytes go to the disk directly, past the page cache: that takes a third of the processor's time, leaves the cache to
 *  others, and nothing is left for fsync. Elsewhere the kernel is asked early to write to the disk what it has.
 *
 *  A sink belongs to one thread at a time. */
#ifndef SNAPSHOT_SINK_H
#define SNAPSHOT_SINK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SINK_BUFFERS 4u
#define SINK_BUFFER_BYTES (2u << 20)

struct sink;

/** Write to fd (borrowed; empty, and nobody else's until sink_close) from its beginning. path (borrowed): for errors.
 *  Errors: RESOURCE_EXHAUSTED; those of pthread_create. */
MUST_CHECK enum mcomp_status sink_open(struct sink **out, int fd, const char *path, struct err *err);

/** Append bytes, which are copied. Blocks while all buffers wait for the disk.
 *  Errors: of writing what came before, with the path (RESOURCE_EXHAUSTED: disk full). After one only sink_close is allowed. */
MUST_CHECK enum mcomp_status sink_append(struct sink *sink, const void *data, size_t bytes, struct err *err);

/** Wait until all bytes are written. They are on the disk after an fsync. Only sink_close is allowed then. Errors: as of append. */
MUST_CHECK enum mcomp_status sink_finish(struct sink *sink, struct err *err);

/** Waits for a write that is under way. NULL is allowed. */
void sink_close(struct sink *sink);

#endif
