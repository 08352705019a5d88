/* SPDX-License-Identifier: Apache-2.0 */
/** Buffered output to a descriptor. */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include <stddef.h>

#include "base/err.h"

#define OUT_BUFFER_BYTES 65536u

/** One writer at a time. Initialise with out_open(). After a failure all further bytes are dropped and the failure stays. */
struct out {
    int fd;        /* borrowed */
    int sys_errno; /* of the first failed write, else 0 */
    size_t used;
    char buffer[OUT_BUFFER_BYTES];
};

void out_open(struct out *out, int fd);

/** Append; writes when the buffer is full. Large pieces go past the buffer. */
void out_put(struct out *out, const void *bytes, size_t length);
void out_text(struct out *out, const char *text);

/** Write what is buffered. Errors: those of write(2), of this and of all earlier calls; name stands in the text ("standard output"). */
MUST_CHECK enum mcomp_status out_flush(struct out *out, const char *name, struct err *err);

/** All of the bytes, by write(2), as often as it takes. 0, or errno; EINTR too, so that a signal with a handler ends it. */
int out_write_all(int fd, const void *bytes, size_t length);

#endif
