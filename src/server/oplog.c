/* SPDX-License-Identifier: Apache-2.0 */
#include "server/oplog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define RING_RECORDS 16384u         /* a power of two; 1 MiB a thread */
#define RING_WAKE (RING_RECORDS / 2) /* from here on the writing thread is woken instead of waiting for its period */
#define WRITE_PERIOD_NS 50000000u   /* a line is in the file at most this much after its operation */
#define LINE_BYTES_MAX 256u
#define TEXT_BYTES 65536u

struct record {
    uint64_t utc_ns, address, length;
    struct oplog_client client;
    uint8_t op;     /* enum wire_op, or one of the next */
    uint8_t status; /* enum mcomp_status */
};

enum { RECORD_MULTI_READ = WIRE_OP_COUNT, RECORD_MULTI_WRITE, RECORD_TXN_COMPARE, RECORD_TXN_READ, RECORD_TXN_WRITE, RECORD_TXN_ADD, RECORD_OPS };

/** One producer, one consumer. head: next to write (producer); tail: next to read (consumer). */
struct ring {
    _Alignas(64) _Atomic uint64_t head;
    _Atomic uint64_t dropped;
    _Alignas(64) _Atomic uint64_t tail;
    struct record *records; /* owned, RING_RECORDS */
};

struct oplog {
    char *path; /* owned */
    bool reads;
    uint32_t threads;
    struct ring *rings; /* owned, one for each thread */
    char *text;         /* owned, TEXT_BYTES; writing thread only */
    int fd;             /* writing thread only, once it runs */
    bool failing;       /* the last write failed, which was logged; writing thread only */
    bool torn;          /* and the file ends within a line; writing thread only */
    _Atomic uint64_t lines, lost; /* lost: could not be written to the file */
    pthread_t thread;
    pthread_mutex_t lock; /* guards: stopping, reopen, wake */
    pthread_cond_t changed;
    bool stopping, reopen, wake;
};

void oplog_client_set(struct oplog_client *client, const struct sockaddr_storage *address)
{
    memset(client, 0, sizeof *client);
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        client->family = AF_INET;
        memcpy(client->address, &in->sin_addr, sizeof in->sin_addr);
        client->port = ntohs(in->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        client->family = AF_INET6;
        memcpy(client->address, &in6->sin6_addr, sizeof in6->sin6_addr);
        client->port = ntohs(in6->sin6_port);
    }
}

const char *oplog_client_text(const struct oplog_client *client, char text[OPLOG_CLIENT_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN];
    if (!client->family || !inet_ntop(client->family, client->address, host, sizeof host)) {
        snprintf(text, OPLOG_CLIENT_TEXT_BYTES, "unknown");
        return text;
    }
    snprintf(text, OPLOG_CLIENT_TEXT_BYTES, client->family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, client->port);
    return text;
}

/* ---- producers ---- */

static void wake_writer(struct oplog *log)
{
    pthread_mutex_lock(&log->lock);
    log->wake = true;
    pthread_cond_signal(&log->changed);
    pthread_mutex_unlock(&log->lock);
}

static void put_record(struct oplog *log, uint32_t thread, struct record record)
{
    struct ring *ring = &log->rings[thread];
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t used = head - atomic_load_explicit(&ring->tail, memory_order_acquire);
    if (used == RING_RECORDS) {
        atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
        return;
    }
    ring->records[head % RING_RECORDS] = record;
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    if (used == RING_WAKE)
        wake_writer(log);
}

/** Each range has a line of its own. */
static void record_multi(struct oplog *log, uint32_t thread, const Mcomp__V1__Multi *multi, struct record record)
{
    record.op = RECORD_MULTI_READ;
    for (size_t i = 0; log->reads && i < multi->n_reads; i++) {
        record.address = multi->reads[i]->address;
        record.length = multi->reads[i]->length;
        put_record(log, thread, record);
    }
    record.op = RECORD_MULTI_WRITE;
    for (size_t i = 0; i < multi->n_writes; i++) {
        record.address = multi->writes[i]->address;
        record.length = multi->writes[i]->data.len;
        put_record(log, thread, record);
    }
}

/** What moves bytes. */
static bool is_logged(enum wire_op op)
{
    switch (op) {
    case WIRE_OP_OPEN_SESSION:
    case WIRE_OP_CLOSE_SESSION:
    case WIRE_OP_DECIDE:
    case WIRE_OP_RESOLVE:
    case WIRE_OP_LIST_TRANSACTIONS:
        return false;
    default:
        return true;
    }
}

/** Of Execute and Prepare each range has a line of its own. */
static void record_txn(struct oplog *log, uint32_t thread, const struct wire_txn *txn, struct record record)
{
    record.op = RECORD_TXN_COMPARE;
    for (uint32_t i = 0; log->reads && i < txn->compare_count; i++) {
        record.address = txn->compares[i].address;
        record.length = txn->compares[i].length;
        put_record(log, thread, record);
    }
    record.op = RECORD_TXN_READ;
    for (uint32_t i = 0; log->reads && i < txn->read_count; i++) {
        record.address = txn->reads[i].address;
        record.length = txn->reads[i].length;
        put_record(log, thread, record);
    }
    record.op = RECORD_TXN_WRITE;
    for (uint32_t i = 0; i < txn->write_count; i++) {
        record.address = txn->writes[i].address;
        record.length = txn->writes[i].length;
        put_record(log, thread, record);
    }
    record.op = RECORD_TXN_ADD;
    for (uint32_t i = 0; i < txn->add_count; i++) {
        record.address = txn->adds[i].address;
        record.length = ATOMIC_WORD_BYTES;
        put_record(log, thread, record);
    }
}

void oplog_record(struct oplog *log, uint32_t thread, const struct oplog_client *client, const struct wire_request *request,
                  enum mcomp_status status)
{
    if ((request->op == WIRE_OP_READ && !log->reads) || !is_logged(request->op))
        return;
    MC_ASSERT(thread < log->threads);
    struct record record = {.utc_ns = clock_utc_ns(),
                            .address = request->address,
                            .length = request->length,
                            .client = *client,
                            .op = (uint8_t)request->op,
                            .status = (uint8_t)status};
    if (request->op == WIRE_OP_RESTORE_DATA)
        record.length += request->desired;
    if (request->op == WIRE_OP_MULTI && request->full)
        record_multi(log, thread, request->full->multi, record);
    else if (request->txn)
        record_txn(log, thread, request->txn, record);
    else
        put_record(log, thread, record);
}

/* ---- the writing thread ---- */

static const char *op_name(uint8_t op)
{
    static const char *const names[RECORD_OPS] = {
        [WIRE_OP_NONE] = "unknown",
        [WIRE_OP_HELLO] = "hello",
        [WIRE_OP_READ] = "read",
        [WIRE_OP_WRITE] = "write",
        [WIRE_OP_FETCH_ADD] = "add",
        [WIRE_OP_COMPARE_AND_SWAP] = "cas",
        [WIRE_OP_MULTI] = "multi",
        [WIRE_OP_STATUS] = "status",
        [WIRE_OP_RESTORE_BEGIN] = "restore-begin",
        [WIRE_OP_RESTORE_DATA] = "restore-data",
        [WIRE_OP_RESTORE_END] = "restore-end",
        [WIRE_OP_OPEN_SESSION] = "open-session",
        [WIRE_OP_CLOSE_SESSION] = "close-session",
        [WIRE_OP_EXECUTE] = "execute",
        [WIRE_OP_PREPARE] = "prepare",
        [WIRE_OP_DECIDE] = "decide",
        [WIRE_OP_RESOLVE] = "resolve",
        [WIRE_OP_LIST_TRANSACTIONS] = "list-transactions",
        [RECORD_MULTI_READ] = "multi-read",
        [RECORD_MULTI_WRITE] = "multi-write",
        [RECORD_TXN_COMPARE] = "txn-compare",
        [RECORD_TXN_READ] = "txn-read",
        [RECORD_TXN_WRITE] = "txn-write",
        [RECORD_TXN_ADD] = "txn-add",
    };
    return names[op];
}

static size_t format_record(const struct record *record, char *line)
{
    time_t seconds = (time_t)(record->utc_ns / 1000000000u);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char client[OPLOG_CLIENT_TEXT_BYTES];
    int n = snprintf(line, LINE_BYTES_MAX,
                     "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ client=%s op=%s addr=0x%" PRIx64 " len=%" PRIu64 " status=%s\n",
                     tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                     (unsigned)(record->utc_ns % 1000000000u / 1000u), oplog_client_text(&record->client, client),
                     op_name(record->op), record->address, record->length, status_name((enum mcomp_status)record->status));
    MC_ASSERT(n > 0 && (unsigned)n < LINE_BYTES_MAX);
    return (size_t)n;
}

/** Write as much as the file takes. Returns how much; less than wanted, and errno, when it takes no more. */
static size_t write_some(int fd, const char *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        ssize_t n = write(fd, text + at, bytes - at);
        if (n > 0) {
            at += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            errno = n == 0 ? EIO : errno;
            break;
        }
    }
    return at;
}

static uint64_t count_lines(const char *text, size_t bytes)
{
    uint64_t lines = 0;
    for (const char *at = text; (at = memchr(at, '\n', bytes - (size_t)(at - text))); at++)
        lines++;
    return lines;
}

static void write_text(struct oplog *log, const char *text, size_t bytes, uint64_t lines)
{
    if (log->torn)
        log->torn = write_some(log->fd, "\n", 1) == 0;
    size_t written = log->torn ? 0 : write_some(log->fd, text, bytes);
    if (written == bytes) {
        log->failing = false;
        atomic_fetch_add_explicit(&log->lines, lines, memory_order_relaxed);
        return;
    }
    if (!log->failing) {
        struct err err;
        err_sys(&err, errno, "write %s: lines are being lost", log->path);
        log_err(LOG_ERROR, "oplog", "write", "", &err);
    }
    log->failing = true;
    log->torn |= written > 0 && text[written - 1] != '\n';
    uint64_t whole = count_lines(text, written);
    atomic_fetch_add_explicit(&log->lines, whole, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->lost, lines - whole, memory_order_relaxed);
}

/** Write everything that the rings hold now. */
static void drain(struct oplog *log, char *text)
{
    for (uint32_t i = 0; i < log->threads; i++) {
        struct ring *ring = &log->rings[i];
        uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
        uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        while (tail != head) {
            size_t used = 0;
            uint64_t lines = 0;
            for (; tail != head && used + LINE_BYTES_MAX <= TEXT_BYTES; tail++, lines++)
                used += format_record(&ring->records[tail % RING_RECORDS], text + used);
            atomic_store_explicit(&ring->tail, tail, memory_order_release);
            write_text(log, text, used, lines);
        }
    }
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

static void reopen_file(struct oplog *log)
{
    int fd = open_file(log->path);
    if (fd < 0) {
        struct err err;
        err_sys(&err, errno, "reopen %s: the old file stays in use", log->path);
        log_err(LOG_ERROR, "oplog", "reopen", "", &err);
        return;
    }
    close(log->fd);
    log->fd = fd;
    log->torn = false;
}

static void *writer_main(void *arg)
{
    struct oplog *log = arg;
    char *text = log->text;
    pthread_mutex_lock(&log->lock);
    for (;;) {
        if (!log->stopping && !log->reopen && !log->wake) {
            struct timespec until;
            clock_gettime(CLOCK_MONOTONIC, &until);
            uint64_t ns = (uint64_t)until.tv_nsec + WRITE_PERIOD_NS;
            until.tv_sec += (time_t)(ns / 1000000000u);
            until.tv_nsec = (long)(ns % 1000000000u);
            pthread_cond_timedwait(&log->changed, &log->lock, &until);
        }
        bool stopping = log->stopping, reopen = log->reopen;
        log->reopen = log->wake = false;
        pthread_mutex_unlock(&log->lock);
        drain(log, text);
        if (reopen)
            reopen_file(log);
        if (stopping)
            break;
        pthread_mutex_lock(&log->lock);
    }
    fsync(log->fd);
    return NULL;
}

/* ---- life ---- */

static void oplog_free(struct oplog *log)
{
    for (uint32_t i = 0; log->rings && i < log->threads; i++)
        free(log->rings[i].records);
    free(log->rings);
    free(log->text);
    free(log->path);
    if (log->fd >= 0)
        close(log->fd);
    free(log);
}

static bool oplog_allocate(struct oplog *log, const char *path)
{
    log->path = strdup(path);
    log->rings = aligned_alloc(64, log->threads * sizeof *log->rings);
    log->text = malloc(TEXT_BYTES);
    if (!log->path || !log->rings || !log->text)
        return false;
    memset(log->rings, 0, log->threads * sizeof *log->rings);
    for (uint32_t i = 0; i < log->threads; i++) {
        log->rings[i].records = calloc(RING_RECORDS, sizeof(struct record));
        if (!log->rings[i].records)
            return false;
    }
    return true;
}

enum mcomp_status oplog_open(struct oplog **out, const char *path, bool reads, uint32_t threads, struct err *err)
{
    struct oplog *log = calloc(1, sizeof *log);
    if (!log)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for the operation log");
    log->fd = -1;
    log->threads = threads;
    log->reads = reads;
    if (!oplog_allocate(log, path)) {
        oplog_free(log);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for the operation log");
    }
    log->fd = open_file(path);
    if (log->fd < 0) {
        int sys_errno = errno;
        oplog_free(log);
        return err_sys(err, sys_errno, "open operation log %s", path);
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&log->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&log->lock, NULL);
    int rc = pthread_create(&log->thread, NULL, writer_main, log);
    if (rc != 0) {
        oplog_free(log);
        return err_sys(err, rc, "start the operation log's thread");
    }
    *out = log;
    return MCOMP_OK;
}

void oplog_reopen(struct oplog *log)
{
    pthread_mutex_lock(&log->lock);
    log->reopen = true;
    pthread_cond_signal(&log->changed);
    pthread_mutex_unlock(&log->lock);
}

void oplog_counts(const struct oplog *log, uint64_t *lines, uint64_t *dropped)
{
    *lines = *dropped = 0;
    if (!log)
        return;
    struct oplog *mutable = (struct oplog *)log;
    *lines = atomic_load_explicit(&mutable->lines, memory_order_relaxed);
    *dropped = atomic_load_explicit(&mutable->lost, memory_order_relaxed);
    for (uint32_t i = 0; i < log->threads; i++)
        *dropped += atomic_load_explicit(&log->rings[i].dropped, memory_order_relaxed);
}

void oplog_close(struct oplog *log)
{
    if (!log)
        return;
    pthread_mutex_lock(&log->lock);
    log->stopping = true;
    pthread_cond_signal(&log->changed);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    pthread_cond_destroy(&log->changed);
    pthread_mutex_destroy(&log->lock);
    oplog_free(log);
}
