/* SPDX-License-Identifier: Apache-2.0 */
/* The buffers are used in turn. The caller fills the one after those that are full, the thread writes the oldest full one; so `full` says all. */
#include "snapshot/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/units.h"

#define ALIGNED_BYTES 4096u        /* what direct writes are a multiple of, in memory and in the file */
#define WRITEBACK_BYTES (8u << 20) /* so often the kernel is asked to begin writing to the disk, where writes are not direct */

struct sink {
    int fd;           /* borrowed */
    const char *path; /* borrowed */
    pthread_t thread;
    pthread_mutex_t lock; /* guards: full, finish, stop, status, err */
    pthread_cond_t changed;
    uint32_t full;    /* buffers that wait for the thread, the one that it writes included */
    bool finish, stop;
    enum mcomp_status status; /* the thread's first failure; it ends then */
    struct err err;

    /* the caller's */
    uint32_t filling; /* index of the buffer that is filled; the last one is handed over by `finish`, full or not */
    size_t used;      /* bytes of it */

    /* the thread's */
    bool direct;
    uint64_t written;
    uint64_t writeback; /* of those: the kernel was asked to write them to the disk */

    uint8_t *buffer[SINK_BUFFERS]; /* owned */
};

/* ---- the thread ---- */

static enum mcomp_status write_error(struct sink *sink, int reason, size_t missing)
{
    struct statvfs fs;
    struct err *err = &sink->err;
    char free_text[UNITS_TEXT_BYTES], missing_text[UNITS_TEXT_BYTES], done_text[UNITS_TEXT_BYTES];
    if ((reason != ENOSPC && reason != EDQUOT) || fstatvfs(sink->fd, &fs) != 0)
        return err_sys(err, reason, "cannot write %s", sink->path);
    units_format_bytes((uint64_t)fs.f_bavail * fs.f_frsize, free_text);
    units_format_bytes(missing, missing_text);
    units_format_bytes(sink->written, done_text);
    return err_sys(err, reason, "cannot write %s: the next %s do not fit after %s, the file system has %s free", sink->path, missing_text, done_text,
                   free_text);
}

/** Have the kernel begin to write to the disk what was not yet begun. A hint: where it fails, fsync does it all. */
static void begin_writeback(struct sink *sink)
{
    uint64_t begun = sink->written - sink->written % ALIGNED_BYTES;
    if (sink->direct || begun < sink->writeback + WRITEBACK_BYTES)
        return;
    (void)sync_file_range(sink->fd, (off_t)sink->writeback, (off_t)(begun - sink->writeback), SYNC_FILE_RANGE_WRITE);
    sink->writeback = begun;
}

static void set_direct(struct sink *sink, bool direct)
{
    int flags = fcntl(sink->fd, F_GETFL);
    sink->direct = flags >= 0 && fcntl(sink->fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0 && direct;
}

static enum mcomp_status write_all(struct sink *sink, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        if (sink->direct && bytes < ALIGNED_BYTES)
            set_direct(sink, false); /* the end of the file */
        size_t now = sink->direct ? bytes - bytes % ALIGNED_BYTES : bytes;
        ssize_t n = write(sink->fd, data, now);
        if (n < 0 && errno == EINTR)
            continue;
        if (sink->direct && ((n < 0 && errno == EINVAL) || (n > 0 && (size_t)n % ALIGNED_BYTES != 0)))
            set_direct(sink, false); /* not here, or not any more */
        else if (n <= 0)
            return write_error(sink, n < 0 ? errno : EIO, bytes);
        if (n < 0)
            continue;
        data += n;
        bytes -= (size_t)n;
        sink->written += (size_t)n;
    }
    begin_writeback(sink);
    return MCOMP_OK;
}

static void *sink_main(void *arg)
{
    struct sink *sink = arg;
    uint32_t next = 0;
    pthread_mutex_lock(&sink->lock);
    while (sink->status == MCOMP_OK && !sink->stop) {
        bool last = sink->finish && sink->full == 0;
        size_t bytes = last ? sink->used : SINK_BUFFER_BYTES;
        if (!last && sink->full == 0) {
            pthread_cond_wait(&sink->changed, &sink->lock);
            continue;
        }
        pthread_mutex_unlock(&sink->lock);
        enum mcomp_status status = write_all(sink, sink->buffer[next], bytes);
        pthread_mutex_lock(&sink->lock);
        sink->status = status;
        if (last) {
            set_direct(sink, false); /* whoever writes to it next need not know */
            break;
        }
        next = (next + 1) % SINK_BUFFERS;
        sink->full--;
        pthread_cond_signal(&sink->changed);
    }
    sink->stop = true;
    pthread_cond_signal(&sink->changed);
    pthread_mutex_unlock(&sink->lock);
    return NULL;
}

/* ---- the caller ---- */

static enum mcomp_status outcome_locked(const struct sink *sink, struct err *err)
{
    if (sink->status != MCOMP_OK)
        *err = sink->err;
    return sink->status;
}

/** The buffer is full: it is the thread's, and the next one is filled when it is free. */
static enum mcomp_status hand_over(struct sink *sink, struct err *err)
{
    pthread_mutex_lock(&sink->lock);
    sink->full++;
    pthread_cond_signal(&sink->changed);
    while (sink->full == SINK_BUFFERS && !sink->stop)
        pthread_cond_wait(&sink->changed, &sink->lock);
    enum mcomp_status status = outcome_locked(sink, err);
    pthread_mutex_unlock(&sink->lock);
    sink->filling = (sink->filling + 1) % SINK_BUFFERS;
    sink->used = 0;
    return status;
}

enum mcomp_status sink_append(struct sink *sink, const void *data, size_t bytes, struct err *err)
{
    const uint8_t *at = data;
    while (bytes > 0) {
        size_t room = SINK_BUFFER_BYTES - sink->used, now = bytes < room ? bytes : room;
        memcpy(sink->buffer[sink->filling] + sink->used, at, now);
        sink->used += now;
        at += now;
        bytes -= now;
        enum mcomp_status status = sink->used == SINK_BUFFER_BYTES ? hand_over(sink, err) : MCOMP_OK;
        if (status != MCOMP_OK)
            return status;
    }
    return MCOMP_OK;
}

enum mcomp_status sink_finish(struct sink *sink, struct err *err)
{
    pthread_mutex_lock(&sink->lock);
    sink->finish = true;
    pthread_cond_signal(&sink->changed);
    while (!sink->stop)
        pthread_cond_wait(&sink->changed, &sink->lock);
    enum mcomp_status status = outcome_locked(sink, err);
    pthread_mutex_unlock(&sink->lock);
    return status;
}

/* ---- life ---- */

static void destroy(struct sink *sink)
{
    for (uint32_t i = 0; i < SINK_BUFFERS; i++)
        free(sink->buffer[i]);
    pthread_cond_destroy(&sink->changed);
    pthread_mutex_destroy(&sink->lock);
    free(sink);
}

enum mcomp_status sink_open(struct sink **out, int fd, const char *path, struct err *err)
{
    *out = NULL;
    struct sink *sink = calloc(1, sizeof *sink);
    if (!sink)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to write %s", path);
    sink->fd = fd;
    sink->path = path;
    pthread_mutex_init(&sink->lock, NULL);
    pthread_cond_init(&sink->changed, NULL);
    enum mcomp_status status = MCOMP_OK;
    for (uint32_t i = 0; i < SINK_BUFFERS && status == MCOMP_OK; i++)
        if (!(sink->buffer[i] = aligned_alloc(ALIGNED_BYTES, SINK_BUFFER_BYTES)))
            status = err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to write %s", path);
    set_direct(sink, true);
    int rc = status == MCOMP_OK ? pthread_create(&sink->thread, NULL, sink_main, sink) : 0;
    if (rc != 0)
        status = err_sys(err, rc, "start a thread to write %s", path);
    if (status != MCOMP_OK) {
        destroy(sink);
        return status;
    }
    *out = sink;
    return MCOMP_OK;
}

void sink_close(struct sink *sink)
{
    if (!sink)
        return;
    pthread_mutex_lock(&sink->lock);
    sink->stop = true;
    pthread_cond_signal(&sink->changed);
    pthread_mutex_unlock(&sink->lock);
    pthread_join(sink->thread, NULL);
    destroy(sink);
}
