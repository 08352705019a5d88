/* SPDX-License-Identifier: Apache-2.0 */
/** Errors: a code for programs and one line for people, in memory of the caller. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

#include "mcomp_status.h"

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_arg, first_arg) __attribute__((format(printf, format_arg, first_arg)))

#define ERR_TEXT_BYTES 512u

/** Lives on the caller's stack; needs no initialisation and no freeing. */
struct err {
    enum mcomp_status code;
    int sys_errno;             /* 0 when no system call is to blame */
    char text[ERR_TEXT_BYTES]; /* one line without newline, outermost context first */
};

/** Set *err and return code, so that a caller can write `return err_set(err, CODE, …)`. err may be NULL. */
enum mcomp_status err_set(struct err *err, enum mcomp_status code, const char *format, ...) PRINTF_LIKE(3, 4);

/** The same for a failed system call: the code is derived from sys_errno and strerror's text is appended. */
enum mcomp_status err_sys(struct err *err, int sys_errno, const char *format, ...) PRINTF_LIKE(3, 4);

/** Put "context: " before the text of *err. Returns code, which must be the error's own and not OK. */
enum mcomp_status err_wrap(struct err *err, enum mcomp_status code, const char *format, ...) PRINTF_LIKE(3, 4);

/** Name of a status, e.g. "OUT_OF_RANGE"; "STATUS(n)" is never returned: unknown numbers give "UNKNOWN". */
const char *status_name(enum mcomp_status code);

/** One phrase for people, e.g. "outside the grid". */
const char *status_text(enum mcomp_status code);

/** For defects of our own only, never for input or I/O; stays on in release builds. */
#define MC_ASSERT(cond) ((cond) ? (void)0 : mc_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void mc_assert_failed(const char *condition, const char *file, int line);

#endif
