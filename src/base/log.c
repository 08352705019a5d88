/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

#define LINE_BYTES_MAX 2048u /* below PIPE_BUF, so that a pipe takes a line whole or not at all */
#define MESSAGE_BYTES_MIN 256u /* what keys, however long, leave to the message */
#define TAIL_BYTES 128u        /* and to code, errno, lost_lines and msg=" */
#define ROLE_BYTES 64u

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* fd keeps its number while the program runs: log_reopen() puts another file behind it in one step, and a write in another
 * thread goes to the old file or to the new one. Everything else is set before threads start. */
static struct {
    int fd;
    enum log_level lowest;
    char *path; /* NULL: standard error, which is not reopened */
    char role[ROLE_BYTES];
    atomic_uint_fast64_t lost_lines; /* not written, and not yet told in a line */
} the_log = {.fd = STDERR_FILENO, .lowest = LOG_INFO, .role = "mcomp"};

static int open_file(const char *path)
{
    int fd;
    do {
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

enum mcomp_status log_open(const char *role, enum log_level lowest, const char *path, struct err *err)
{
    int fd = STDERR_FILENO;
    char *copy = NULL;
    if (path && *path) {
        copy = strdup(path);
        if (!copy)
            return err_sys(err, ENOMEM, "open log file %s", path);
        fd = open_file(path);
        if (fd < 0) {
            int reason = errno;
            free(copy);
            return err_sys(err, reason, "open log file %s", path);
        }
    }
    if (the_log.path) {
        close(the_log.fd);
        free(the_log.path);
    }
    the_log.fd = fd;
    the_log.path = copy;
    the_log.lowest = lowest;
    snprintf(the_log.role, sizeof the_log.role, "%s", role);
    return MCOMP_OK;
}

enum mcomp_status log_reopen(struct err *err)
{
    if (!the_log.path)
        return MCOMP_OK;
    int fd = open_file(the_log.path);
    if (fd < 0)
        return err_sys(err, errno, "reopen log file %s", the_log.path);
    int rc;
    do {
        rc = dup3(fd, the_log.fd, O_CLOEXEC);
    } while (rc < 0 && errno == EINTR);
    int reason = errno;
    close(fd);
    if (rc < 0)
        return err_sys(err, reason, "reopen log file %s", the_log.path);
    return MCOMP_OK;
}

bool log_level_parse(const char *text, enum log_level *level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/** A line in the making; always room for the quote and the newline that end it. */
struct line {
    char text[LINE_BYTES_MAX];
    size_t used;
    size_t limit; /* what line_add() may fill */
};

static PRINTF_LIKE(2, 3) void line_add(struct line *line, const char *format, ...)
{
    size_t room = line->limit - line->used;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line->text + line->used, room, format, args);
    va_end(args);
    if (n > 0)
        line->used += (size_t)n < room ? (size_t)n : room - 1;
}

static void line_begin(struct line *line, enum log_level level, const char *mod, const char *op)
{
    uint64_t now_ns = clock_utc_ns();
    time_t seconds = (time_t)(now_ns / 1000000000u);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    line->limit = LINE_BYTES_MAX - MESSAGE_BYTES_MIN - TAIL_BYTES;
    line->used = strftime(line->text, sizeof line->text, "%Y-%m-%dT%H:%M:%S", &utc);
    line_add(line, ".%03uZ %-5s role=%s mod=%s op=%s", (unsigned)(now_ns / 1000000u % 1000u), level_names[level], the_log.role, mod, op);
}

static void line_add_keys(struct line *line, const char *keys)
{
    size_t from = line->used;
    if (*keys)
        line_add(line, " %s", keys);
    line->limit += TAIL_BYTES;
    for (size_t i = from; i < line->used; i++) {
        if (text_char_bytes(line->text + i, 1) == 0 && !((unsigned char)line->text[i] & 0x80))
            line->text[i] = '?'; /* a control byte must not break the line */
    }
}

/** Send bytes to the log in one write(2). A rest after a short write is tried again; when the file takes nothing (a full
 *  disk, a pipe that nobody reads and that must not block), the line is lost and counted. */
static bool write_line(const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(the_log.fd, text, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text += n;
        bytes -= (size_t)n;
    }
    return true;
}

static void line_end(struct line *line, const char *message)
{
    uint64_t lost = atomic_exchange_explicit(&the_log.lost_lines, 0, memory_order_relaxed);
    if (lost > 0)
        line_add(line, " lost_lines=%llu", (unsigned long long)lost);
    line_add(line, " msg=\"");
    line->used += text_escape(line->text + line->used, LINE_BYTES_MAX - line->used - 1, message, strlen(message));
    line->text[line->used++] = '"';
    line->text[line->used++] = '\n';
    if (!write_line(line->text, line->used))
        atomic_fetch_add_explicit(&the_log.lost_lines, lost + 1, memory_order_relaxed);
}

void log_line(enum log_level level, const char *mod, const char *op, const char *keys, const char *format, ...)
{
    if (level < the_log.lowest)
        return;
    int saved_errno = errno;
    char message[LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    struct line line;
    line_begin(&line, level, mod, op);
    line_add_keys(&line, keys);
    line_end(&line, message);
    errno = saved_errno;
}

void log_err(enum log_level level, const char *mod, const char *op, const char *keys, const struct err *err)
{
    if (level < the_log.lowest)
        return;
    int saved_errno = errno;
    struct line line;
    line_begin(&line, level, mod, op);
    line_add_keys(&line, keys);
    line_add(&line, " code=%s", status_name(err->code));
    const char *name = err->sys_errno ? strerrorname_np(err->sys_errno) : NULL;
    if (name)
        line_add(&line, " errno=%s", name);
    else if (err->sys_errno)
        line_add(&line, " errno=%d", err->sys_errno);
    line_end(&line, err->text);
    errno = saved_errno;
}
