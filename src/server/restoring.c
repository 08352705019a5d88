/* SPDX-License-Identifier: Apache-2.0 */
/* Requests pass a gate (segment/gate.h), which is closed as long as the node is: so whoever has found it closed and drained knows that no request is
 * touching the bytes, and that none will. All else is under one mutex. What is inside the gate never takes it, so that the gate may be waited for
 * with the mutex held. */
#include "server/restoring.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "segment/futex.h"
#include "segment/gate.h"

#define SILENT_NS UINT64_C(60000000000) /* a restore that nothing was heard of for so long gives way to another, though its connection is open */
#define WORD_PAGES 64u

/** What ends a restore that did not come to its end. */
#define WAY_OUT "run \"mcomp snapshot restore FILE\" again, or start this node with \"mcompd --restore=FILE\", or delete its bytes (\"mcompd --reset\")"

struct restoring {
    struct segment *segment; /* borrowed */
    uint64_t pages;          /* of the segment */
    struct gate gate;
    _Atomic uint32_t calls;  /* futex: somebody left the closed gate */
    pthread_mutex_t lock;    /* guards what follows, and the gate's closing, draining and opening */
    pthread_cond_t idle;     /* storing has become 0 */
    struct segment_restore session; /* id 0: none */
    bool changed;            /* the session: a byte may have been changed, and the segment says so */
    uint64_t used_ns;        /* the session: monotonic; when it was last heard of */
    uint64_t *stored;        /* the session: owned; bit of each page that it has stored */
    uint64_t stored_pages;
    uint32_t storing;        /* calls of restoring_store between their two looks at the session */
    struct restoring_claim *claims;
};

enum mcomp_status restoring_open(struct restoring **out, struct segment *segment, uint32_t writers, struct err *err)
{
    struct segment_restore last;
    struct restoring *restoring = calloc(1, sizeof *restoring);
    if (!restoring)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for restores");
    restoring->segment = segment;
    restoring->pages = segment_size(segment) / PAGE_BYTES;
    enum mcomp_status code = gate_init(&restoring->gate, writers, &restoring->calls, true, err);
    if (code != MCOMP_OK) {
        free(restoring);
        return code;
    }
    pthread_mutex_init(&restoring->lock, NULL);
    pthread_cond_init(&restoring->idle, NULL);
    if (segment_restore_get(segment, &last) != SEGMENT_RESTORE_NONE)
        gate_close(&restoring->gate);
    *out = restoring;
    return MCOMP_OK;
}

void restoring_close(struct restoring *restoring)
{
    if (!restoring)
        return;
    pthread_cond_destroy(&restoring->idle);
    pthread_mutex_destroy(&restoring->lock);
    gate_free(&restoring->gate);
    free(restoring->stored);
    free(restoring);
}

/* ---- requests that touch the bytes ---- */

uint32_t restoring_enter(struct restoring *restoring, uint32_t writer)
{
    return gate_enter(&restoring->gate, writer);
}

void restoring_leave(struct restoring *restoring, uint32_t writer, uint32_t ticket)
{
    gate_leave(&restoring->gate, writer, ticket);
}

static bool is_closed(const struct restoring *restoring)
{
    return atomic_load_explicit(&restoring->gate.closed, memory_order_seq_cst);
}

/* ---- claims ---- */

static bool is_claimed_locked(const struct restoring *restoring, uint64_t id)
{
    for (const struct restoring_claim *claim = restoring->claims; claim; claim = claim->next)
        if (claim->id == id)
            return true;
    return false;
}

static bool is_alive_locked(const struct restoring *restoring)
{
    uint64_t now_ns = clock_mono_ns();
    return restoring->session.id && is_claimed_locked(restoring, restoring->session.id) &&
           (now_ns < restoring->used_ns || now_ns - restoring->used_ns < SILENT_NS);
}

static void log_restore(const struct restoring *restoring, const char *op, const char *what)
{
    char keys[96];
    snprintf(keys, sizeof keys, "round=%" PRIu32 " restore=%016" PRIx64, restoring->session.round, restoring->session.id);
    log_line(LOG_INFO, "restore", op, keys, "%s", what);
}

static void forget_session_locked(struct restoring *restoring)
{
    restoring->session = (struct segment_restore){0};
    free(restoring->stored);
    restoring->stored = NULL;
}

/** The session ends without having changed anything: the node is what it was before it. */
static void give_up_locked(struct restoring *restoring)
{
    struct segment_restore last;
    log_restore(restoring, "given_up", "its client has gone before a byte was changed");
    forget_session_locked(restoring);
    if (segment_restore_get(restoring->segment, &last) == SEGMENT_RESTORE_NONE)
        gate_open(&restoring->gate);
}

void restoring_claim(struct restoring *restoring, struct restoring_claim *claim, uint64_t id)
{
    if (claim->id == id)
        return;
    restoring_unclaim(restoring, claim);
    if (!id)
        return;
    pthread_mutex_lock(&restoring->lock);
    *claim = (struct restoring_claim){.id = id, .next = restoring->claims};
    if (restoring->claims)
        restoring->claims->prev = claim;
    restoring->claims = claim;
    pthread_mutex_unlock(&restoring->lock);
}

void restoring_unclaim(struct restoring *restoring, struct restoring_claim *claim)
{
    if (!claim->id)
        return;
    pthread_mutex_lock(&restoring->lock);
    uint64_t id = claim->id;
    *(claim->prev ? &claim->prev->next : &restoring->claims) = claim->next;
    if (claim->next)
        claim->next->prev = claim->prev;
    *claim = (struct restoring_claim){0};
    if (restoring->session.id == id && !restoring->changed && !is_claimed_locked(restoring, id))
        give_up_locked(restoring);
    pthread_mutex_unlock(&restoring->lock);
}

/* ---- beginning ---- */

/** Whether the restore may begin now. */
static enum mcomp_status may_begin_locked(const struct restoring *restoring, const struct segment_restore *wanted, struct err *err)
{
    struct segment_restore last;
    bool live;
    enum segment_restore_state state = segment_restore_get(restoring->segment, &last);
    if (!is_claimed_locked(restoring, wanted->id))
        return err_set(err, MCOMP_UNAVAILABLE, "the client has gone");
    if (last.id == wanted->id && state != SEGMENT_RESTORE_PART)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "all bytes of restore %016" PRIx64 " are here already: a new one needs a number of its own", wanted->id);
    if (restoring->session.id != wanted->id && is_alive_locked(restoring))
        return err_set(err, MCOMP_UNAVAILABLE, "another restore is under way, of the snapshot of round %08" PRIx32 ": wait for its end, or end it",
                       restoring->session.round);
    uint32_t round = segment_last_cut(restoring->segment, &live);
    if (segment_is_frozen(restoring->segment) || live)
        return err_set(err, MCOMP_UNAVAILABLE, "a snapshot is being taken (the last cut is of round %08" PRIx32 "): a restore has to wait for its end", round);
    return MCOMP_OK;
}

static void wait_drained_locked(struct restoring *restoring)
{
    for (;;) {
        uint32_t calls = atomic_load_explicit(&restoring->calls, memory_order_acquire);
        if (gate_is_drained(&restoring->gate))
            return;
        futex_sleep(&restoring->calls, calls, FUTEX_NO_LIMIT);
    }
}

static enum mcomp_status begin_locked(struct restoring *restoring, const struct segment_restore *wanted, struct err *err)
{
    uint64_t words = (restoring->pages - 1) / WORD_PAGES + 1;
    if (!restoring->stored)
        restoring->stored = malloc(words * sizeof *restoring->stored);
    if (!restoring->stored)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory for a restore");
    memset(restoring->stored, 0, words * sizeof *restoring->stored);
    restoring->session = *wanted;
    restoring->changed = false;
    restoring->stored_pages = 0;
    restoring->used_ns = clock_mono_ns();
    if (!is_closed(restoring))
        gate_close(&restoring->gate);
    wait_drained_locked(restoring);
    log_restore(restoring, "begin", "requests for this node's bytes are refused from now on");
    return MCOMP_OK;
}

enum mcomp_status restoring_begin(struct restoring *restoring, const struct segment_restore *wanted, struct err *err)
{
    pthread_mutex_lock(&restoring->lock);
    enum mcomp_status code = may_begin_locked(restoring, wanted, err);
    while (code == MCOMP_OK && restoring->session.id != wanted->id && restoring->storing > 0) { /* of the one that is taken over */
        pthread_cond_wait(&restoring->idle, &restoring->lock);
        code = may_begin_locked(restoring, wanted, err);
    }
    if (code == MCOMP_OK && restoring->session.id != wanted->id)
        code = begin_locked(restoring, wanted, err);
    pthread_mutex_unlock(&restoring->lock);
    return code;
}

/* ---- data ---- */

static enum mcomp_status no_such_restore(uint64_t id, struct err *err)
{
    return err_set(err, MCOMP_FAILED_PRECONDITION,
                   "restore %016" PRIx64 " is not under way here: it did not begin, or is over, or the server was started anew in the middle of it", id);
}

/** Whether the session is this restore's, and still takes data. */
static bool takes_data_locked(const struct restoring *restoring, uint64_t id)
{
    struct segment_restore last;
    if (!id || restoring->session.id != id)
        return false;
    return !(restoring->changed && segment_restore_get(restoring->segment, &last) != SEGMENT_RESTORE_PART);
}

static void note_stored_locked(struct restoring *restoring, uint64_t offset, uint64_t bytes)
{
    uint64_t end = (offset + bytes) / PAGE_BYTES;
    for (uint64_t page = offset / PAGE_BYTES; page < end;) {
        uint64_t first = page % WORD_PAGES, last = end - page > WORD_PAGES - first ? WORD_PAGES : first + (end - page);
        uint64_t mask = (last == WORD_PAGES ? UINT64_MAX : (UINT64_C(1) << last) - 1) & ~((UINT64_C(1) << first) - 1);
        uint64_t *word = &restoring->stored[page / WORD_PAGES];
        restoring->stored_pages += (uint64_t)__builtin_popcountll(mask & ~*word);
        *word |= mask;
        page += last - first;
    }
}

enum mcomp_status restoring_store(struct restoring *restoring, uint64_t id, uint64_t offset, uint64_t length, const void *data, uint64_t zero_bytes,
                                  bool try, bool *busy, struct err *err)
{
    *busy = false;
    pthread_mutex_lock(&restoring->lock);
    if (!takes_data_locked(restoring, id)) {
        pthread_mutex_unlock(&restoring->lock);
        return no_such_restore(id, err);
    }
    if (!restoring->changed)
        segment_restore_begin(restoring->segment, &restoring->session);
    restoring->changed = true;
    restoring->used_ns = clock_mono_ns();
    restoring->storing++;
    pthread_mutex_unlock(&restoring->lock);
    *busy = !segment_restore_write(restoring->segment, offset, length, data, zero_bytes, try);
    pthread_mutex_lock(&restoring->lock);
    if (!*busy)
        note_stored_locked(restoring, offset, length + zero_bytes); /* still the same session: it is not taken over while storing > 0 */
    if (--restoring->storing == 0)
        pthread_cond_broadcast(&restoring->idle);
    pthread_mutex_unlock(&restoring->lock);
    return MCOMP_OK;
}

/* ---- the end ---- */

static enum mcomp_status complete_locked(struct restoring *restoring, uint64_t id, struct err *err)
{
    struct segment_restore last;
    enum segment_restore_state state = segment_restore_get(restoring->segment, &last);
    if (last.id == id && state != SEGMENT_RESTORE_PART)
        return MCOMP_OK; /* said before */
    if (!takes_data_locked(restoring, id))
        return no_such_restore(id, err);
    if (restoring->stored_pages != restoring->pages || restoring->storing > 0)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "%" PRIu64 " of %" PRIu64 " pages of this node were not sent, or are still on their way",
                       restoring->pages - restoring->stored_pages, restoring->pages);
    restoring->used_ns = clock_mono_ns();
    segment_restore_complete(restoring->segment);
    log_restore(restoring, "complete", "all bytes are there; they are served when all nodes have theirs");
    return MCOMP_OK;
}

enum mcomp_status restoring_complete(struct restoring *restoring, uint64_t id, struct err *err)
{
    pthread_mutex_lock(&restoring->lock);
    enum mcomp_status code = complete_locked(restoring, id, err);
    pthread_mutex_unlock(&restoring->lock);
    return code;
}

static enum mcomp_status serve_locked(struct restoring *restoring, uint64_t id, struct err *err)
{
    struct segment_restore last;
    enum segment_restore_state state = segment_restore_get(restoring->segment, &last);
    bool other = restoring->session.id && restoring->session.id != id;
    if (last.id != id || state == SEGMENT_RESTORE_PART || other)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "restore %016" PRIx64 " is not complete here", id);
    if (state == SEGMENT_RESTORE_NONE)
        return MCOMP_OK; /* said before */
    restoring->session = last; /* of a former server perhaps */
    segment_restored(restoring->segment);
    log_restore(restoring, "serve", "the bytes of the snapshot are served");
    forget_session_locked(restoring);
    gate_open(&restoring->gate);
    return MCOMP_OK;
}

enum mcomp_status restoring_serve(struct restoring *restoring, uint64_t id, struct err *err)
{
    pthread_mutex_lock(&restoring->lock);
    enum mcomp_status code = serve_locked(restoring, id, err);
    pthread_mutex_unlock(&restoring->lock);
    return code;
}

/* ---- what others see ---- */

const char *restoring_text(struct restoring *restoring, char text[RESTORING_TEXT_BYTES])
{
    struct segment_restore last;
    pthread_mutex_lock(&restoring->lock);
    bool alive = is_alive_locked(restoring);
    uint32_t round = restoring->session.round;
    enum segment_restore_state state = segment_restore_get(restoring->segment, &last);
    pthread_mutex_unlock(&restoring->lock);
    if (alive)
        snprintf(text, RESTORING_TEXT_BYTES, "the node is being restored from the snapshot of round %08" PRIx32 ", and serves when that is done; if it is "
                 "interrupted, " WAY_OUT, round);
    else if (state == SEGMENT_RESTORE_COMPLETE)
        snprintf(text, RESTORING_TEXT_BYTES, "a restore was interrupted when this node had all of its bytes: run \"mcomp snapshot restore\" with the same "
                 "file again, which finishes it, or start this node with \"mcompd --restore=FILE\", or delete its bytes (\"mcompd --reset\")");
    else if (state == SEGMENT_RESTORE_PART)
        snprintf(text, RESTORING_TEXT_BYTES, "the restore of a snapshot did not come to its end, so the node serves nobody: " WAY_OUT);
    else
        snprintf(text, RESTORING_TEXT_BYTES, "a restore of the node began or ended just now");
    return text;
}

void restoring_fill_status(struct restoring *restoring, Mcomp__V1__StatusResult *result)
{
    struct segment_restore last;
    pthread_mutex_lock(&restoring->lock);
    enum segment_restore_state state = segment_restore_get(restoring->segment, &last);
    bool begun = state == SEGMENT_RESTORE_NONE && restoring->session.id;
    if (begun)
        last = restoring->session;
    pthread_mutex_unlock(&restoring->lock);
    result->restore_state = begun                              ? MCOMP__V1__RESTORE_STATE__RESTORE_STATE_BEGUN
                            : state == SEGMENT_RESTORE_PART    ? MCOMP__V1__RESTORE_STATE__RESTORE_STATE_PART
                            : state == SEGMENT_RESTORE_COMPLETE ? MCOMP__V1__RESTORE_STATE__RESTORE_STATE_COMPLETE
                                                                : MCOMP__V1__RESTORE_STATE__RESTORE_STATE_UNSPECIFIED;
    result->restore_id = last.id;
    result->restore_file = last.file;
    result->restore_round = last.round;
}

/* ---- snapshots ---- */

bool restoring_freeze_begin(struct restoring *restoring)
{
    pthread_mutex_lock(&restoring->lock);
    if (!is_closed(restoring))
        return true;
    pthread_mutex_unlock(&restoring->lock);
    return false;
}

void restoring_freeze_end(struct restoring *restoring)
{
    pthread_mutex_unlock(&restoring->lock);
}
