/* SPDX-License-Identifier: Apache-2.0 */
/** A queue: making and closing it, and the asynchronous calls. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "client/transact.h"

#define OPS_CHUNK 64u
#define COARSE_FROM_MS 100u /* longer time-outs are reckoned by the cheap clock, which is a tick behind */

/* ---- making and closing ---- */

static enum mcomp_status open_memory(struct mcomp_queue *queue, struct mcomp_error *error)
{
    uint32_t nodes = queue->grid->config.nodes;
    queue->conns = calloc(nodes, sizeof *queue->conns);
    queue->used_nodes = calloc(nodes, sizeof *queue->used_nodes);
    queue->received = malloc(RECEIVE_BYTES);
    queue->batch = malloc(BATCH_BYTES);
    arena_init(&queue->receive_arena);
    arena_init(&queue->send_arena);
    bool ok = queue->conns && queue->used_nodes && queue->received && queue->batch;
    /* A first block each, which stays: Hello and short messages need no memory later. */
    ok = ok && arena_alloc(&queue->receive_arena, 1) && arena_alloc(&queue->send_arena, 1);
    arena_reset(&queue->receive_arena);
    arena_reset(&queue->send_arena);
    return ok ? MCOMP_OK : error_memory(error);
}

static enum mcomp_status open_descriptors(struct mcomp_queue *queue, struct mcomp_error *error)
{
    struct err err;
    struct epoll_event event = {.events = EPOLLIN};
    const char *step = "epoll_create1";
    queue->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (queue->epoll_fd >= 0) {
        step = "timerfd_create";
        queue->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    }
    if (queue->timer_fd >= 0) {
        step = "epoll_ctl";
        if (epoll_ctl(queue->epoll_fd, EPOLL_CTL_ADD, queue->timer_fd, &event) == 0)
            return MCOMP_OK;
    }
    err_sys(&err, errno, "%s", step);
    return error_from(error, MCOMP_NO_NODE, &err);
}

static struct mcomp_queue *new_queue(struct mcomp *grid)
{
    struct mcomp_queue *queue = calloc(1, sizeof *queue);
    struct timespec tick;
    if (!queue)
        return NULL;
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    queue->tick_ns = (uint64_t)tick.tv_sec * 1000000000u + (uint64_t)tick.tv_nsec;
    queue->grid = grid;
    queue->epoll_fd = queue->timer_fd = -1;
    queue->armed_ns = queue->conn_timer_ns = queue->deadline_ns = NEVER;
    if (getrandom(&queue->random, sizeof queue->random, GRND_NONBLOCK) != (ssize_t)sizeof queue->random)
        queue->random = clock_mono_ns() ^ (uint64_t)(uintptr_t)queue;
    return queue;
}

enum mcomp_status mcomp_queue_open(struct mcomp *grid, struct mcomp_queue **queue, struct mcomp_error *error)
{
    struct mcomp_queue *made = new_queue(grid);
    if (!made)
        return error_memory(error);
    enum mcomp_status status = open_memory(made, error);
    if (status == MCOMP_OK)
        status = open_descriptors(made, error);
    if (status != MCOMP_OK) {
        mcomp_queue_close(made);
        return status;
    }
    *queue = made;
    return MCOMP_OK;
}

enum mcomp_status queue_open_session(struct mcomp *grid, struct mcomp_queue **queue, struct mcomp_error *error)
{
    struct mcomp_queue *made = new_queue(grid);
    if (!made)
        return error_memory(error);
    enum mcomp_status status = open_memory(made, error);
    made->polls = calloc(grid->config.nodes, sizeof *made->polls);
    made->polled = calloc(grid->config.nodes, sizeof *made->polled);
    if (status == MCOMP_OK && (!made->polls || !made->polled))
        status = error_memory(error);
    if (status != MCOMP_OK) {
        mcomp_queue_close(made);
        return status;
    }
    *queue = made;
    return MCOMP_OK;
}

static void cancel_all(struct mcomp_queue *queue)
{
    struct op *op;
    for (size_t i = 0; (op = queue_op_at(queue, i)); i++) {
        if (op->used && (op->role == OP_PLAIN || op->role == OP_RUN))
            op_end(op, true);
    }
}

/** Acknowledgements that have come already make sessions ones that the nodes need not keep for us. */
static void end_attempts(struct mcomp_queue *queue)
{
    struct op *op;
    queue->now_ns = clock_mono_ns();
    for (uint32_t i = 0; i < queue->used_count && queue->internal > 0; i++) {
        struct conn *conn = queue->conns[queue->used_nodes[i]];
        if (conn->state == CONN_READY && conn->under_way > 0)
            conn_receive(conn);
    }
    for (size_t i = 0; (op = queue_op_at(queue, i)); i++) {
        if (op->used && op->role == OP_ATTEMPT)
            attempt_close(op);
    }
}

void mcomp_queue_close(struct mcomp_queue *queue)
{
    if (!queue)
        return;
    queue->closing = queue->running = true;
    cancel_all(queue);
    if (queue->used_count > 0)
        end_attempts(queue);
    for (uint32_t i = 0; i < queue->used_count; i++)
        conn_close(queue->conns[queue->used_nodes[i]]);
    if (queue->timer_fd >= 0)
        close(queue->timer_fd);
    if (queue->epoll_fd >= 0)
        close(queue->epoll_fd);
    slots_close(&queue->slots);
    transact_free(queue);
    for (size_t i = 0; i < queue->op_chunk_count; i++)
        free(queue->op_chunks[i]);
    free(queue->op_chunks);
    arena_close(&queue->receive_arena);
    arena_close(&queue->send_arena);
    free(queue->conns);
    free(queue->used_nodes);
    free(queue->polls);
    free(queue->polled);
    free(queue->received);
    free(queue->batch);
    free(queue);
}

/* ---- small services ---- */

static bool more_ops(struct mcomp_queue *queue)
{
    if (queue->op_chunk_count == queue->op_chunk_capacity) {
        size_t capacity = queue->op_chunk_capacity ? queue->op_chunk_capacity * 2 : 4;
        struct op **grown = reallocarray(queue->op_chunks, capacity, sizeof(struct op *));
        if (!grown)
            return false;
        queue->op_chunks = grown;
        queue->op_chunk_capacity = capacity;
    }
    struct op *chunk = calloc(OPS_CHUNK, sizeof *chunk);
    if (!chunk)
        return false;
    for (size_t i = OPS_CHUNK; i-- > 0;) {
        chunk[i].next_free = queue->free_ops;
        queue->free_ops = &chunk[i];
    }
    queue->op_chunks[queue->op_chunk_count++] = chunk;
    return true;
}

struct op *queue_take_op(struct mcomp_queue *queue)
{
    if (!queue->free_ops && !more_ops(queue))
        return NULL;
    struct op *op = queue->free_ops;
    queue->free_ops = op->next_free;
    *op = (struct op){.queue = queue, .used = true};
    return op;
}

struct op *queue_op_at(const struct mcomp_queue *queue, size_t i)
{
    return i < queue->op_chunk_count * OPS_CHUNK ? &queue->op_chunks[i / OPS_CHUNK][i % OPS_CHUNK] : NULL;
}

void queue_give_op(struct mcomp_queue *queue, struct op *op)
{
    if (op->failure) {
        span_notes_free(&op->failure->notes);
        free(op->failure);
        op->failure = NULL;
    }
    if (op->multi) {
        multi_free(op->multi);
        op->multi = NULL;
    }
    op->used = false;
    op->next_free = queue->free_ops;
    queue->free_ops = op;
}

uint64_t queue_random(struct mcomp_queue *queue)
{
    uint64_t z = queue->random += 0x9e3779b97f4a7c15u; /* splitmix64, Steele, Lea and Flood 2014 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int mcomp_queue_fd(const struct mcomp_queue *queue)
{
    return queue->epoll_fd;
}

size_t mcomp_queue_pending(const struct mcomp_queue *queue)
{
    return queue->pending;
}

/* ---- submissions ---- */

/** The coarse clock costs a quarter of the other and is at most its resolution behind, which is added: later by a tick, never earlier. */
uint64_t queue_deadline_ns(const struct mcomp_queue *queue, uint32_t timeout_ms)
{
    struct timespec now;
    if (timeout_ms == MCOMP_NO_TIMEOUT)
        return NEVER;
    uint64_t timeout_ns = (uint64_t)timeout_ms * 1000000u;
    if (timeout_ms < COARSE_FROM_MS)
        return clock_mono_ns() + timeout_ns;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + queue->tick_ns + timeout_ns;
}

enum mcomp_status queue_submit(struct mcomp_queue *queue, struct submission *wanted, uint32_t timeout_ms, struct mcomp_error *error)
{
    wanted->timeout_ms = grid_timeout_ms(queue->grid, timeout_ms);
    wanted->deadline_ns = queue_deadline_ns(queue, wanted->timeout_ms);
    return op_submit(queue, wanted, error);
}

static enum mcomp_status submit(struct mcomp_queue *queue, struct submission *wanted, uint32_t timeout_ms, struct mcomp_error *error)
{
    enum mcomp_status status = op_check(queue->grid, wanted, error);
    return status == MCOMP_OK ? queue_submit(queue, wanted, timeout_ms, error) : status;
}

enum mcomp_status mcomp_queue_read(struct mcomp_queue *queue, uint64_t address, void *buffer, size_t length, uint32_t timeout_ms,
                                   mcomp_callback callback, void *arg, struct mcomp_error *error)
{
    struct submission wanted = {
        .kind = WIRE_OP_READ, .address = address, .length = length, .data = buffer, .callback = callback, .arg = arg};
    return submit(queue, &wanted, timeout_ms, error);
}

enum mcomp_status mcomp_queue_write(struct mcomp_queue *queue, uint64_t address, const void *data, size_t length, uint32_t timeout_ms,
                                    mcomp_callback callback, void *arg, struct mcomp_error *error)
{
    struct submission wanted = {
        .kind = WIRE_OP_WRITE, .address = address, .length = length, .data = (void *)data, .callback = callback, .arg = arg};
    return submit(queue, &wanted, timeout_ms, error);
}

enum mcomp_status mcomp_queue_fetch_add(struct mcomp_queue *queue, uint64_t address, uint64_t delta, uint32_t timeout_ms,
                                        mcomp_callback callback, void *arg, struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_FETCH_ADD,
                                .address = address,
                                .length = ATOMIC_WORD_BYTES,
                                .operand = delta,
                                .callback = callback,
                                .arg = arg};
    return submit(queue, &wanted, timeout_ms, error);
}

enum mcomp_status mcomp_queue_compare_and_swap(struct mcomp_queue *queue, uint64_t address, uint64_t expected, uint64_t desired,
                                               uint32_t timeout_ms, mcomp_callback callback, void *arg, struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_COMPARE_AND_SWAP,
                                .address = address,
                                .length = ATOMIC_WORD_BYTES,
                                .operand = expected,
                                .desired = desired,
                                .callback = callback,
                                .arg = arg};
    return submit(queue, &wanted, timeout_ms, error);
}

enum mcomp_status mcomp_queue_multi(struct mcomp_queue *queue, const struct mcomp_range *ranges, size_t count, uint32_t timeout_ms,
                                    mcomp_callback callback, void *arg, struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_MULTI, .callback = callback, .arg = arg};
    enum mcomp_status status = multi_new(queue->grid, &wanted.multi, ranges, count, error);
    if (status != MCOMP_OK)
        return status;
    status = submit(queue, &wanted, timeout_ms, error);
    if (status != MCOMP_OK)
        multi_free(wanted.multi);
    return status;
}
