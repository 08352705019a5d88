/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/out.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

int out_write_all(int fd, const void *bytes, size_t length)
{
    const char *from = bytes;
    while (length > 0) {
        ssize_t n = write(fd, from, length);
        int reason = n < 0 ? errno : n == 0 ? EIO : 0;
        if (reason == EAGAIN) /* somebody else made a shared terminal or pipe non-blocking */
            reason = poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1) < 0 ? errno : 0;
        if (reason != 0)
            return reason;
        if (n > 0) {
            from += n;
            length -= (size_t)n;
        }
    }
    return 0;
}

void out_open(struct out *out, int fd)
{
    out->fd = fd;
    out->sys_errno = 0;
    out->used = 0;
}

static void write_through(struct out *out, const void *bytes, size_t length)
{
    if (out->sys_errno == 0)
        out->sys_errno = out_write_all(out->fd, bytes, length);
}

void out_put(struct out *out, const void *bytes, size_t length)
{
    if (length > sizeof out->buffer - out->used) {
        write_through(out, out->buffer, out->used);
        out->used = 0;
    }
    if (length >= sizeof out->buffer) {
        write_through(out, bytes, length);
    } else {
        memcpy(out->buffer + out->used, bytes, length);
        out->used += length;
    }
}

void out_text(struct out *out, const char *text)
{
    out_put(out, text, strlen(text));
}

enum mcomp_status out_flush(struct out *out, const char *name, struct err *err)
{
    write_through(out, out->buffer, out->used);
    out->used = 0;
    return out->sys_errno == 0 ? MCOMP_OK : err_sys(err, out->sys_errno, "cannot write %s", name);
}
