/* SPDX-License-Identifier: Apache-2.0 */
/** Log lines of the daemons, in one fixed form:
 *
 *    2026-02-03T10:11:12.345Z warn  role=mcompd-2 mod=conn op=decode conn=17 code=INVALID_ARGUMENT msg="…"
 *
 *  UTC with milliseconds, level, role, module, operation, then key=value pairs of the caller, msg last and quoted.
 *  Never payload bytes. Written with one write(2) each, so that lines of threads and processes do not mix. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/** Choose role ("mcompd-2"), lowest level written, and file; path NULL or "" = standard error. Call before threads start.
 *  Errors: those of open(2). */
MUST_CHECK enum mcomp_status log_open(const char *role, enum log_level lowest, const char *path, struct err *err);

/** Reopen the file by its path (after a rotation). On failure the old file stays in use. Any thread. */
MUST_CHECK enum mcomp_status log_reopen(struct err *err);

/** "debug", "info", "warn", "error" → level; false if it is none of them. */
bool log_level_parse(const char *text, enum log_level *level);

/** One line. keys: "conn=17 off=0x1f00" or "" (values without spaces); the message is escaped and quoted.
 *  Any thread; keeps errno. Lines over 2048 bytes are cut. */
void log_line(enum log_level level, const char *mod, const char *op, const char *keys, const char *format, ...)
    PRINTF_LIKE(5, 6);

/** The same for an error: adds code= (and errno= when set), its text as the message. */
void log_err(enum log_level level, const char *mod, const char *op, const char *keys, const struct err *err);

#endif
