/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum mcomp_status code_of_errno(int sys_errno)
{
    switch (sys_errno) {
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case EDQUOT:
        return MCOMP_RESOURCE_EXHAUSTED;
    case EACCES:
    case EPERM:
    case EROFS:
        return MCOMP_PERMISSION_DENIED;
    case ENOENT:
        return MCOMP_NOT_FOUND;
    case EEXIST:
    case EADDRINUSE:
        return MCOMP_ALREADY_EXISTS;
    case EINVAL:
    case EADDRNOTAVAIL:
    case ENAMETOOLONG:
        return MCOMP_INVALID_ARGUMENT;
    case ETIMEDOUT:
        return MCOMP_DEADLINE_EXCEEDED;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return MCOMP_UNAVAILABLE;
    default:
        return MCOMP_INTERNAL;
    }
}

/** Add text to err->text, as much as there is room for. */
static void append(struct err *err, const char *text)
{
    size_t used = strlen(err->text);
    size_t room = sizeof err->text - 1 - used;
    size_t bytes = strnlen(text, room);
    memcpy(err->text + used, text, bytes);
    err->text[used + bytes] = 0;
}

enum mcomp_status err_set(struct err *err, enum mcomp_status code, const char *format, ...)
{
    MC_ASSERT(code != MCOMP_OK);
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = code;
        err->sys_errno = 0;
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return code;
}

enum mcomp_status err_sys(struct err *err, int sys_errno, const char *format, ...)
{
    enum mcomp_status code = code_of_errno(sys_errno);
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = code;
        err->sys_errno = sys_errno;
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        char reason[128];
        append(err, ": ");
        /* The GNU strerror_r returns the text, which need not be in the buffer. */
        append(err, strerror_r(sys_errno, reason, sizeof reason));
    }
    return code;
}

enum mcomp_status err_wrap(struct err *err, enum mcomp_status code, const char *format, ...)
{
    MC_ASSERT(code != MCOMP_OK);
    if (err) {
        char inner[ERR_TEXT_BYTES];
        memcpy(inner, err->text, sizeof inner);
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        append(err, ": ");
        append(err, inner);
        err->code = code;
    }
    return code;
}

const char *status_name(enum mcomp_status code)
{
#define NAME(name, number, retry, text)                                                              \
    case MCOMP_##name:                                                                               \
        return #name;
    switch (code) { MCOMP_STATUS_LIST(NAME) }
#undef NAME
    return "UNKNOWN";
}

const char *status_text(enum mcomp_status code)
{
#define TEXT(name, number, retry, text)                                                              \
    case MCOMP_##name:                                                                               \
        return text;
    switch (code) { MCOMP_STATUS_LIST(TEXT) }
#undef TEXT
    return "unknown error";
}

void mc_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "mcomp: defect: %s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}
