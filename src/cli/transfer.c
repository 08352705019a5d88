/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/progress.h"

#define IN_FLIGHT_BYTES (UINT64_C(16) << 20) /* of all pieces together … */
#define DEPTH_MIN 2u                         /* … but at least two, so that one moves while the other is filled */
#define DEPTH_MAX 16u
#define BULK_PIECE_BYTES (UINT64_C(1) << 20)
#define DRAIN_NS UINT64_C(2000000000) /* how long an interrupted transfer waits for the pieces under way */

#define SIGNAL_AGAIN_NS 10000000 /* between two signals to a thread that hangs in a system call */

enum piece_state { PIECE_FREE, PIECE_UNDER_WAY, PIECE_DONE, PIECE_FAILED };

struct piece {
    enum piece_state state; /* main thread only */
    uint64_t address;
    size_t length;
    uint8_t *bytes;           /* owned by the transfer */
    struct mcomp_error error; /* PIECE_FAILED */
};

/** Pieces go round a ring: made by one thread, used up by the other, both in the order of addresses. FROM_GRID the main thread makes and the local
 *  thread uses up; TO_GRID it is the other way round. Pieces used up … made-1 of the ring are filled. */
struct transfer {
    const struct cli *cli;
    const struct transfer_plan *plan;
    struct mcomp_queue *queue;
    struct transfer_result *result;
    uint32_t timeout_ms;
    size_t depth;
    struct piece *pieces;
    uint8_t *memory;
    int event_fd; /* readable: the local thread has done something */
    pthread_t thread;

    pthread_mutex_t lock;    /* guards: the six below */
    pthread_cond_t changed;  /* made, used up or over has changed, for the local thread */
    uint64_t made, used_up;  /* pieces so far */
    bool made_all;           /* nothing more will be made */
    bool over;               /* the local thread must end */
    bool moving;             /* the local thread is in plan->move(), perhaps for ever */
    bool local_failed;
    struct err local_err;    /* written before local_failed is set */

    /* The rest belongs to the main thread. */
    struct progress progress;
    uint64_t submitted, retired; /* pieces; retired: done, and all before it */
    uint64_t next;               /* FROM_GRID: address of the next piece */
    uint64_t limit;              /* bytes from the plan's address to the end of the grid */
    bool stopping, interrupted;
    uint64_t drain_until_ns;
};

uint64_t transfer_piece_atomic(const struct mcomp *grid)
{
    return mcomp_max_message(grid);
}

uint64_t transfer_piece_bulk(const struct mcomp *grid)
{
    uint64_t most = mcomp_max_message(grid);
    return most < BULK_PIECE_BYTES ? most : BULK_PIECE_BYTES;
}

int transfer_read_all(int fd, uint8_t *bytes, size_t *length)
{
    size_t got = 0;
    int reason = 0;
    while (got < *length && reason == 0) {
        ssize_t n = read(fd, bytes + got, *length - got);
        if (n == 0)
            break;
        reason = n < 0 ? errno : 0;
        if (reason == EAGAIN) /* somebody else made a shared terminal or pipe non-blocking */
            reason = poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1) < 0 ? errno : 0;
        got += n > 0 ? (size_t)n : 0;
    }
    *length = got;
    return reason;
}

/* ---- the local thread ---- */

static void wake_main(struct transfer *transfer)
{
    uint64_t one = 1;
    /* Fails only when the counter is full, and then the main thread is awake anyway. */
    if (write(transfer->event_fd, &one, sizeof one) < 0)
        return;
}

/** Note the outcome of one move, or the end of the thread, under the lock. */
static void local_step(struct transfer *transfer, uint64_t *counter, enum mcomp_status status, bool last)
{
    pthread_mutex_lock(&transfer->lock);
    if (status == MCOMP_OK && counter)
        ++*counter;
    if (!transfer->over) { /* else a failure is the signal that ends us, and what was moved last may be cut */
        transfer->local_failed = status != MCOMP_OK;
        transfer->made_all |= last;
    }
    transfer->moving = false;
    pthread_mutex_unlock(&transfer->lock);
    wake_main(transfer);
}

/** Wait until the local thread has a piece to use up (FROM_GRID) or to make (TO_GRID). False when there is nothing left to do. */
static bool local_wait(struct transfer *transfer)
{
    bool from_grid = transfer->plan->direction == TRANSFER_FROM_GRID;
    bool work = false;
    pthread_mutex_lock(&transfer->lock);
    for (;;) {
        uint64_t filled = transfer->made - transfer->used_up;
        work = from_grid ? filled > 0 : filled < transfer->depth;
        if (work || transfer->over || (from_grid && transfer->made_all))
            break;
        pthread_cond_wait(&transfer->changed, &transfer->lock);
    }
    work &= !transfer->over;
    transfer->moving = work;
    pthread_mutex_unlock(&transfer->lock);
    return work;
}

static void use_up_pieces(struct transfer *transfer)
{
    for (uint64_t n = 0; local_wait(transfer); n++) {
        struct piece *piece = &transfer->pieces[n % transfer->depth];
        size_t length = piece->length;
        enum mcomp_status status = transfer->plan->move(transfer->plan->self, piece->bytes, &length, &transfer->local_err);
        local_step(transfer, &transfer->used_up, status, false);
        if (status != MCOMP_OK)
            return;
    }
}

/** The grid is full: the input must have ended too. */
static enum mcomp_status expect_end(struct transfer *transfer)
{
    uint8_t byte;
    size_t length = 1;
    enum mcomp_status status = transfer->plan->move(transfer->plan->self, &byte, &length, &transfer->local_err);
    if (status != MCOMP_OK || length == 0)
        return status;
    return err_set(&transfer->local_err, MCOMP_OUT_OF_RANGE,
                   "the input is longer than the %" PRIu64 " bytes from 0x%" PRIx64 " to the end of the grid: what fits was written",
                   transfer->limit, transfer->plan->address);
}

static void make_pieces(struct transfer *transfer)
{
    uint64_t taken = 0;
    bool ended = false;
    for (uint64_t n = 0; !ended && local_wait(transfer); n++) {
        struct piece *piece = &transfer->pieces[n % transfer->depth];
        uint64_t room = transfer->limit - taken;
        size_t length = (size_t)(room < transfer->plan->piece ? room : transfer->plan->piece), wanted = length;
        enum mcomp_status status = wanted > 0 ? transfer->plan->move(transfer->plan->self, piece->bytes, &length, &transfer->local_err)
                                              : expect_end(transfer);
        ended = length < wanted || wanted == 0 || status != MCOMP_OK;
        piece->address = transfer->plan->address + taken;
        piece->length = length;
        taken += length;
        local_step(transfer, length > 0 ? &transfer->made : NULL, status, ended);
    }
}

static void *local_main(void *arg)
{
    struct transfer *transfer = arg;
    if (transfer->plan->direction == TRANSFER_FROM_GRID)
        use_up_pieces(transfer);
    else
        make_pieces(transfer);
    return NULL;
}

/* ---- the main thread ---- */

/** What the local thread has done so far. */
struct local_view {
    uint64_t made, used_up;
    bool made_all, failed;
};

static struct local_view look(struct transfer *transfer)
{
    pthread_mutex_lock(&transfer->lock);
    struct local_view view = {transfer->made, transfer->used_up, transfer->made_all, transfer->local_failed};
    pthread_mutex_unlock(&transfer->lock);
    return view;
}

static void piece_completed(void *arg, const struct mcomp_completion *completion)
{
    struct piece *piece = arg;
    piece->state = completion->status == MCOMP_OK ? PIECE_DONE : PIECE_FAILED;
    if (completion->status == MCOMP_OK)
        return;
    piece->error = (struct mcomp_error){.status = completion->status, .node = MCOMP_NO_NODE};
    if (completion->error)
        piece->error = *completion->error;
}

static void submit_piece(struct transfer *transfer, struct piece *piece)
{
    bool from_grid = transfer->plan->direction == TRANSFER_FROM_GRID;
    piece->state = PIECE_UNDER_WAY;
    enum mcomp_status status =
        from_grid ? mcomp_queue_read(transfer->queue, piece->address, piece->bytes, piece->length, transfer->timeout_ms, piece_completed, piece, &piece->error)
                  : mcomp_queue_write(transfer->queue, piece->address, piece->bytes, piece->length, transfer->timeout_ms, piece_completed, piece,
                                      &piece->error);
    if (status != MCOMP_OK) {
        piece->state = PIECE_FAILED;
        piece->error.span_count = 1;
        piece->error.spans[0] = (struct mcomp_span){piece->address, piece->length, MCOMP_NOT_DONE};
    }
    transfer->submitted++;
}

/** Submit whatever can go. */
static void submit_pieces(struct transfer *transfer, const struct local_view *view)
{
    const struct transfer_plan *plan = transfer->plan;
    if (plan->direction == TRANSFER_TO_GRID) {
        while (!transfer->stopping && transfer->submitted < view->made)
            submit_piece(transfer, &transfer->pieces[transfer->submitted % transfer->depth]);
    } else {
        uint64_t end = plan->address + plan->length;
        while (!transfer->stopping && transfer->next < end && transfer->submitted - view->used_up < transfer->depth) {
            struct piece *piece = &transfer->pieces[transfer->submitted % transfer->depth];
            uint64_t left = end - transfer->next;
            piece->address = transfer->next;
            piece->length = (size_t)(left < plan->piece ? left : plan->piece);
            transfer->next += piece->length;
            submit_piece(transfer, piece);
        }
    }
    mcomp_queue_flush(transfer->queue);
}

/** Hand on the pieces that are done, up to the first that is not. */
static void retire_pieces(struct transfer *transfer)
{
    bool from_grid = transfer->plan->direction == TRANSFER_FROM_GRID;
    uint64_t before = transfer->retired;
    while (transfer->retired < transfer->submitted) {
        struct piece *piece = &transfer->pieces[transfer->retired % transfer->depth];
        if (piece->state == PIECE_FAILED)
            transfer->stopping = true;
        if (piece->state != PIECE_DONE)
            break;
        if (!from_grid)
            transfer->result->done += piece->length;
        transfer->retired++;
    }
    if (transfer->retired == before)
        return;
    pthread_mutex_lock(&transfer->lock);
    *(from_grid ? &transfer->made : &transfer->used_up) = transfer->retired;
    pthread_cond_signal(&transfer->changed);
    pthread_mutex_unlock(&transfer->lock);
}

/** FROM_GRID: nothing more will arrive; the local thread ends when it has used up what is there. */
static void announce_end(struct transfer *transfer)
{
    pthread_mutex_lock(&transfer->lock);
    transfer->made_all = true;
    pthread_cond_signal(&transfer->changed);
    pthread_mutex_unlock(&transfer->lock);
}

/** All pieces are where they belong, or never will be. */
static bool is_finished(struct transfer *transfer, const struct local_view *view)
{
    bool idle = mcomp_queue_pending(transfer->queue) == 0;
    if (transfer->interrupted)
        return idle;
    if (transfer->plan->direction == TRANSFER_TO_GRID)
        return idle && (transfer->stopping || (view->made_all && transfer->retired == view->made));
    if (view->failed)
        return idle;
    bool arrived = transfer->stopping || transfer->next == transfer->plan->address + transfer->plan->length;
    if (!idle || !arrived)
        return false;
    if (!view->made_all)
        announce_end(transfer);
    return view->used_up == transfer->retired;
}

static void take_interrupt(struct transfer *transfer)
{
    if (!interrupt_take(transfer->plan->interrupt))
        return;
    transfer->drain_until_ns = transfer->interrupted ? 0 : clock_mono_ns() + DRAIN_NS;
    transfer->interrupted = transfer->stopping = true;
}

static int wait_ms(const struct transfer *transfer, uint64_t now_ns)
{
    if (transfer->interrupted)
        return transfer->drain_until_ns <= now_ns ? 0 : (int)((transfer->drain_until_ns - now_ns) / 1000000 + 1);
    return transfer->progress.shown ? PROGRESS_INTERVAL_MS : -1;
}

static uint64_t done_bytes(const struct transfer *transfer, const struct local_view *view)
{
    if (transfer->plan->direction == TRANSFER_TO_GRID)
        return transfer->result->done;
    uint64_t done = view->used_up * transfer->plan->piece;
    return done < transfer->plan->length ? done : transfer->plan->length;
}

static void run_loop(struct transfer *transfer)
{
    struct pollfd fds[] = {
        {.fd = mcomp_queue_fd(transfer->queue), .events = POLLIN},
        {.fd = transfer->event_fd, .events = POLLIN},
        {.fd = transfer->plan->interrupt->fd, .events = POLLIN},
    };
    for (;;) {
        struct local_view view = look(transfer);
        uint64_t now_ns = clock_mono_ns();
        /* Whatever was taken from the local side before it failed still goes to the grid. */
        transfer->stopping |= view.failed && transfer->plan->direction == TRANSFER_FROM_GRID;
        progress_update(&transfer->progress, done_bytes(transfer, &view), now_ns);
        submit_pieces(transfer, &view);
        retire_pieces(transfer);
        if (is_finished(transfer, &view) || (transfer->interrupted && transfer->drain_until_ns <= now_ns))
            break;
        if (poll(fds, sizeof fds / sizeof *fds, wait_ms(transfer, now_ns)) < 0 && errno != EINTR)
            break;
        uint64_t events;
        if ((fds[1].revents & POLLIN) && read(transfer->event_fd, &events, sizeof events) < 0 && errno != EAGAIN)
            break;
        take_interrupt(transfer);
        (void)mcomp_queue_run(transfer->queue, 0);
        retire_pieces(transfer);
    }
    progress_end(&transfer->progress);
}

/* ---- the outcome ---- */

/** Add a range to the spans; neighbours of one outcome become one, and the last place takes all that does not fit. */
static void add_span(struct mcomp_error *error, uint64_t address, uint64_t length, enum mcomp_outcome outcome)
{
    struct mcomp_span *last = error->span_count > 0 ? &error->spans[error->span_count - 1] : NULL;
    if (length == 0)
        return;
    if (last && last->outcome == outcome) {
        last->length += length;
    } else if (error->span_count < MCOMP_SPANS_MAX) {
        error->spans[error->span_count++] = (struct mcomp_span){address, length, outcome};
    } else if (last) {
        last->length += length;
        last->outcome = MCOMP_MAYBE;
    }
}

/** TO_GRID: what became of everything, from the plan's address on. */
static void collect_spans(struct transfer *transfer, uint64_t made)
{
    struct mcomp_error *error = &transfer->result->error;
    const struct transfer_plan *plan = transfer->plan;
    uint64_t end = plan->address + transfer->result->done;
    error->span_count = 0;
    add_span(error, plan->address, transfer->result->done, MCOMP_DONE);
    for (uint64_t n = transfer->retired; n < made; n++) {
        const struct piece *piece = &transfer->pieces[n % transfer->depth];
        bool failed = n < transfer->submitted && piece->state == PIECE_FAILED;
        for (uint32_t i = 0; failed && i < piece->error.span_count; i++)
            add_span(error, piece->error.spans[i].address, piece->error.spans[i].length, piece->error.spans[i].outcome);
        if (failed && piece->error.span_count == 0)
            add_span(error, piece->address, piece->length, MCOMP_MAYBE);
        if (!failed)
            add_span(error, piece->address, piece->length, n < transfer->submitted ? MCOMP_DONE : MCOMP_NOT_DONE);
        end = piece->address + piece->length;
    }
    if (plan->length != TRANSFER_UNTIL_END && end < plan->address + plan->length)
        add_span(error, end, plan->address + plan->length - end, MCOMP_NOT_DONE);
}

static void describe_end(struct transfer *transfer)
{
    struct transfer_result *result = transfer->result;
    struct local_view view = look(transfer);
    bool to_grid = transfer->plan->direction == TRANSFER_TO_GRID;
    result->done = done_bytes(transfer, &view);
    result->error = (struct mcomp_error){.node = MCOMP_NO_NODE};
    bool complete = to_grid ? view.made_all && transfer->retired == view.made : result->done == transfer->plan->length;
    const struct piece *first = &transfer->pieces[transfer->retired % transfer->depth];
    if (view.failed) {
        result->end = TRANSFER_LOCAL_FAILED;
        result->error.status = transfer->local_err.code;
        result->error.sys_errno = transfer->local_err.sys_errno;
        snprintf(result->error.text, sizeof result->error.text, "%s", transfer->local_err.text);
    } else if (complete) {
        result->end = TRANSFER_DONE;
        return;
    } else if (transfer->interrupted) {
        result->end = TRANSFER_INTERRUPTED;
        result->error.status = MCOMP_CANCELLED;
        snprintf(result->error.text, sizeof result->error.text, "interrupted");
    } else if (transfer->retired < transfer->submitted && first->state == PIECE_FAILED) {
        result->end = TRANSFER_GRID_FAILED;
        result->error = first->error;
        result->error.span_count = 0;
    } else {
        result->end = TRANSFER_GRID_FAILED;
        result->error.status = MCOMP_INTERNAL;
        snprintf(result->error.text, sizeof result->error.text, "cannot wait for the grid: poll failed");
    }
    if (to_grid)
        collect_spans(transfer, view.made);
}

/* ---- beginning and end ---- */

static enum mcomp_status open_ring(struct transfer *transfer, struct err *err)
{
    uint64_t piece = transfer->plan->piece, depth = IN_FLIGHT_BYTES / piece;
    transfer->depth = (size_t)(depth < DEPTH_MIN ? DEPTH_MIN : depth > DEPTH_MAX ? DEPTH_MAX : depth);
    transfer->pieces = calloc(transfer->depth, sizeof *transfer->pieces);
    transfer->memory = malloc(transfer->depth * piece);
    if (!transfer->pieces || !transfer->memory)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory: %zu buffers of %" PRIu64 " bytes are needed", transfer->depth, piece);
    for (size_t i = 0; i < transfer->depth; i++)
        transfer->pieces[i].bytes = transfer->memory + i * piece;
    transfer->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (transfer->event_fd < 0)
        return err_sys(err, errno, "cannot make an event descriptor");
    return MCOMP_OK;
}

static void close_ring(struct transfer *transfer)
{
    if (transfer->event_fd >= 0)
        close(transfer->event_fd);
    free(transfer->memory);
    free(transfer->pieces);
}

static void interrupt_call(int number)
{
    (void)number; /* a handler that does nothing, without SA_RESTART: the system call under way returns */
}

/** End the local thread. It may wait in read(2) or write(2) for somebody who never comes; a signal that comes just before the call is lost,
 *  so it is repeated. */
static void stop_local(struct transfer *transfer)
{
    struct sigaction action = {.sa_handler = interrupt_call};
    struct timespec until;
    sigaction(SIGUSR1, &action, NULL);
    pthread_mutex_lock(&transfer->lock);
    transfer->over = true;
    bool moving = transfer->moving;
    pthread_cond_signal(&transfer->changed);
    pthread_mutex_unlock(&transfer->lock);
    do {
        if (moving)
            pthread_kill(transfer->thread, SIGUSR1);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += SIGNAL_AGAIN_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
    } while (pthread_timedjoin_np(transfer->thread, NULL, &until) == ETIMEDOUT);
}

static enum mcomp_status run_open(struct transfer *transfer, struct mcomp *grid, struct err *err)
{
    struct mcomp_error error = {0};
    enum mcomp_status status = open_ring(transfer, err);
    if (status != MCOMP_OK)
        return status;
    status = mcomp_queue_open(grid, &transfer->queue, &error);
    if (status != MCOMP_OK)
        return err_set(err, status, "%s", error.text);
    int failure = pthread_create(&transfer->thread, NULL, local_main, transfer);
    if (failure != 0) {
        mcomp_queue_close(transfer->queue);
        return err_sys(err, failure, "cannot start a thread");
    }
    uint64_t begin_ns = clock_mono_ns();
    progress_begin(&transfer->progress, transfer->plan->title ? transfer->plan->title : "", transfer->plan->length,
                   transfer->plan->title && transfer->cli->err_terminal, begin_ns);
    run_loop(transfer);
    stop_local(transfer);
    mcomp_queue_close(transfer->queue);
    transfer->result->elapsed_ns = clock_mono_ns() - begin_ns;
    describe_end(transfer);
    return MCOMP_OK;
}

enum mcomp_status transfer_run(const struct cli *cli, struct mcomp *grid, const struct transfer_plan *plan, struct transfer_result *result)
{
    struct transfer transfer = {
        .cli = cli,
        .plan = plan,
        .result = result,
        .timeout_ms = cli_timeout_ms(cli, CLI_TIMEOUT_DEFAULT_MS),
        .event_fd = -1,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
        .next = plan->address,
        .limit = mcomp_size(grid) - plan->address,
    };
    struct err err;
    *result = (struct transfer_result){0};
    enum mcomp_status status = run_open(&transfer, grid, &err);
    close_ring(&transfer);
    if (status != MCOMP_OK)
        (void)cli_fail_err(cli, &err);
    return status;
}

enum cli_exit transfer_fail(const struct cli *cli, const struct transfer_plan *plan, const struct transfer_result *result)
{
    bool to_grid = plan->direction == TRANSFER_TO_GRID;
    if (result->end == TRANSFER_LOCAL_FAILED && result->error.sys_errno == EPIPE)
        return cli_end_by_sigpipe();
    enum cli_exit code = cli_fail(cli, &result->error, to_grid);
    char size[UNITS_TEXT_BYTES];
    if (!to_grid)
        fprintf(stderr, "  read      %" PRIu64 " bytes (%s) from 0x%" PRIx64 " on\n", result->done, units_format_bytes(result->done, size), plan->address);
    return result->end == TRANSFER_INTERRUPTED ? CLI_INTERRUPTED : code;
}
