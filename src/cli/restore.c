/* SPDX-License-Identifier: Apache-2.0 */
/* One thread: it reads a window of the file, hands its pages to the queue and reads the next one for another node while they travel. A slot holds
 * a window's pages until the node has stored them; each node has a few of them under way. */
#include "cli/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "cli/progress.h"

#define SLOTS_OF_NODE 6u          /* windows under way to one node: one is being stored, others travel, one is made */
#define SLOTS_MAX 96u             /* of all nodes: 24 MiB */
#define ZEROS_MAX (UINT64_C(16) << 20) /* of one message */

/** A window on its way to a node. */
struct slot {
    struct restore *restore;
    uint32_t node;
    uint32_t pending; /* messages that are not answered; 0: free */
    uint64_t bytes;
    uint8_t *room;    /* owned, SNAPSHOT_ROOM_BYTES */
};

/** How far a node has got. */
struct lane {
    uint64_t at, end;   /* addresses that were not read yet */
    uint32_t under_way; /* slots */
};

struct restore {
    const struct restore_plan *plan;
    struct restore_result *result;
    struct mcomp_queue *queue; /* owned */
    uint64_t id;
    uint32_t nodes, timeout_ms;
    uint32_t waiting;          /* for answers about nodes */
    uint32_t answered_ok;
    bool failed;               /* result->error tells */
    struct lane *lanes;        /* owned */
    struct slot *slots;        /* owned */
    uint32_t slot_count, free_slots;
    uint64_t done;             /* bytes that are stored */
    struct progress progress;
};

/* ---- failures ---- */

/** The first failure counts. */
static void fail(struct restore *restore, const struct mcomp_error *error)
{
    if (!restore->failed)
        restore->result->error = *error;
    restore->result->error.span_count = 0; /* what became of which range is no help: nothing is served */
    restore->failed = true;
}

static void fail_err(struct restore *restore, const struct err *err)
{
    struct mcomp_error error = {.status = err->code, .sys_errno = err->sys_errno, .node = MCOMP_NO_NODE};
    snprintf(error.text, sizeof error.text, "%s", err->text);
    fail(restore, &error);
}

static void fail_completion(struct restore *restore, const struct mcomp_completion *completion)
{
    struct mcomp_error error = {.status = completion->status, .node = MCOMP_NO_NODE};
    fail(restore, completion->error ? completion->error : &error);
}

/* ---- waiting ---- */

/** Send, wait for something to happen, take it. False: failed, or interrupted. */
static bool turn(struct restore *restore)
{
    struct pollfd fds[] = {{.fd = mcomp_queue_fd(restore->queue), .events = POLLIN}, {.fd = restore->plan->interrupt->fd, .events = POLLIN}};
    struct err err;
    mcomp_queue_flush(restore->queue);
    if (poll(fds, sizeof fds / sizeof *fds, -1) < 0 && errno != EINTR)
        fail_err(restore, (err_sys(&err, errno, "wait for the grid"), &err));
    if (interrupt_take(restore->plan->interrupt))
        fail_err(restore, (err_set(&err, MCOMP_CANCELLED, "interrupted"), &err));
    if (!restore->failed)
        (void)mcomp_queue_run(restore->queue, 0);
    return !restore->failed;
}

static void node_answered(void *arg, const struct mcomp_completion *completion)
{
    struct restore *restore = arg;
    restore->waiting--;
    if (completion->status == MCOMP_OK)
        restore->answered_ok++;
    else
        fail_completion(restore, completion);
}

/** Ask nodes [first, end) by ask(), which submits with node_answered(), and wait for all answers. */
static bool ask_nodes(struct restore *restore, uint32_t first, uint32_t end,
                      enum mcomp_status (*ask)(struct restore *restore, uint32_t node, struct mcomp_error *error))
{
    struct mcomp_error error;
    restore->answered_ok = 0;
    for (uint32_t node = first; node < end && !restore->failed; node++) {
        if (ask(restore, node, &error) == MCOMP_OK)
            restore->waiting++;
        else
            fail(restore, &error);
    }
    while (!restore->failed && restore->waiting > 0)
        (void)turn(restore);
    return !restore->failed;
}

static enum mcomp_status ask_begin(struct restore *restore, uint32_t node, struct mcomp_error *error)
{
    struct mcomp_restore about = {.id = restore->id,
                                  .file = snapshot_reader_identity(restore->plan->reader),
                                  .round = snapshot_reader_header(restore->plan->reader)->round};
    return mcomp_queue_restore_begin(restore->queue, node, &about, restore->timeout_ms, node_answered, restore, error);
}

static enum mcomp_status ask_complete(struct restore *restore, uint32_t node, struct mcomp_error *error)
{
    return mcomp_queue_restore_end(restore->queue, node, restore->id, MCOMP_RESTORE_COMPLETE, restore->timeout_ms, node_answered, restore, error);
}

static enum mcomp_status ask_serve(struct restore *restore, uint32_t node, struct mcomp_error *error)
{
    return mcomp_queue_restore_end(restore->queue, node, restore->id, MCOMP_RESTORE_SERVE, restore->timeout_ms, node_answered, restore, error);
}

/* ---- data ---- */

static void data_answered(void *arg, const struct mcomp_completion *completion)
{
    struct slot *slot = arg;
    struct restore *restore = slot->restore;
    if (completion->status != MCOMP_OK)
        fail_completion(restore, completion);
    if (--slot->pending > 0)
        return;
    restore->done += slot->bytes;
    restore->lanes[slot->node].under_way--;
    restore->free_slots++;
}

static void submit(struct restore *restore, struct slot *slot, uint64_t address, const uint8_t *data, uint64_t bytes, uint64_t zeros)
{
    struct mcomp_error error;
    slot->pending++;
    restore->result->stored_bytes += bytes;
    restore->result->zeroed_bytes += zeros;
    if (mcomp_queue_restore_data(restore->queue, restore->id, address, data, bytes, zeros, restore->timeout_ms, data_answered, slot, &error) == MCOMP_OK)
        return;
    slot->pending--;
    fail(restore, &error);
}

/** Pages [from, end) of a window: runs of stored ones, each with the zeros behind it. data: all stored pages of the window. */
static void submit_pages(struct restore *restore, struct slot *slot, uint64_t window, uint32_t from, uint32_t end, uint64_t pages, const uint8_t *data)
{
    data += (size_t)__builtin_popcountll(pages & ((UINT64_C(1) << from) - 1)) * SNAPSHOT_PAGE_BYTES;
    for (uint32_t page = from; page < end && !restore->failed;) {
        uint32_t begin = page, stored;
        while (page < end && pages >> page & 1)
            page++;
        stored = page - begin;
        while (page < end && !(pages >> page & 1))
            page++;
        submit(restore, slot, window + (uint64_t)begin * SNAPSHOT_PAGE_BYTES, data, (uint64_t)stored * SNAPSHOT_PAGE_BYTES,
               (uint64_t)(page - begin - stored) * SNAPSHOT_PAGE_BYTES);
        data += (size_t)stored * SNAPSHOT_PAGE_BYTES;
    }
}

static struct slot *free_slot(struct restore *restore)
{
    for (uint32_t i = 0; i < restore->slot_count; i++)
        if (restore->slots[i].pending == 0)
            return &restore->slots[i];
    return NULL;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/** Send the next part of a node: one window of the file, or zeros up to the next one. */
static void send_next(struct restore *restore, struct lane *lane, struct slot *slot)
{
    struct snapshot_reader *reader = restore->plan->reader;
    uint64_t segment_size = snapshot_reader_header(reader)->segment_size, window, end = lane->end, pages = 0;
    const uint8_t *data;
    struct err err;
    enum mcomp_status status = snapshot_reader_next(reader, lane->at, &window, &err);
    if (status == MCOMP_OK && window <= lane->at) {
        end = least(end, window + chunk_window_bytes(segment_size, window));
        status = snapshot_reader_pages(reader, window, slot->room, &pages, &data, &err);
        if (status == MCOMP_OK)
            submit_pages(restore, slot, window, (uint32_t)((lane->at - window) / SNAPSHOT_PAGE_BYTES),
                         (uint32_t)((end - window) / SNAPSHOT_PAGE_BYTES), pages, data);
    } else if (status == MCOMP_OK) {
        end = least(least(end, window), lane->at + ZEROS_MAX);
        submit(restore, slot, lane->at, NULL, 0, end - lane->at);
    }
    if (status != MCOMP_OK)
        fail_err(restore, &err);
    slot->bytes = end - lane->at;
    lane->at = end;
}

/** Give each node in turn its next part, as long as there are slots. False: all has been read. */
static bool fill(struct restore *restore)
{
    bool more = true, any = false;
    while (more && restore->free_slots > 0 && !restore->failed) {
        more = false;
        for (uint32_t node = 0; node < restore->nodes && restore->free_slots > 0 && !restore->failed; node++) {
            struct lane *lane = &restore->lanes[node];
            if (lane->at == lane->end || lane->under_way == SLOTS_OF_NODE)
                continue;
            struct slot *slot = free_slot(restore);
            slot->node = node;
            send_next(restore, lane, slot);
            if (slot->pending > 0) {
                restore->free_slots--;
                lane->under_way++;
            }
            mcomp_queue_flush(restore->queue);
            more = true;
        }
    }
    for (uint32_t node = 0; node < restore->nodes; node++)
        any |= restore->lanes[node].at < restore->lanes[node].end;
    return any;
}

static bool send_all(struct restore *restore)
{
    while (!restore->failed && (fill(restore) || restore->free_slots < restore->slot_count)) {
        progress_update(&restore->progress, restore->done, clock_mono_ns());
        (void)turn(restore);
    }
    return !restore->failed;
}

/* ---- the whole ---- */

static enum mcomp_status open_all(struct restore *restore, struct mcomp_error *error)
{
    uint64_t k = mcomp_segment_size(restore->plan->grid);
    uint64_t wanted = (uint64_t)restore->nodes * SLOTS_OF_NODE;
    struct err err;
    restore->slot_count = restore->free_slots = (uint32_t)least(wanted, SLOTS_MAX);
    restore->lanes = calloc(restore->nodes, sizeof *restore->lanes);
    restore->slots = calloc(restore->slot_count, sizeof *restore->slots);
    bool ok = restore->lanes && restore->slots;
    for (uint32_t i = 0; ok && i < restore->slot_count; i++) {
        restore->slots[i].restore = restore;
        restore->slots[i].room = malloc(SNAPSHOT_ROOM_BYTES);
        ok = restore->slots[i].room != NULL;
    }
    for (uint32_t i = 0; ok && i < restore->nodes; i++)
        restore->lanes[i] = (struct lane){.at = i * k, .end = (i + 1) * k};
    while (ok && restore->id == 0)
        ok = getrandom(&restore->id, sizeof restore->id, 0) == (ssize_t)sizeof restore->id;
    if (!ok) {
        fail_err(restore, (err_set(&err, MCOMP_RESOURCE_EXHAUSTED, "no memory, or no random number, for the restore"), &err));
        return MCOMP_RESOURCE_EXHAUSTED;
    }
    return mcomp_queue_open(restore->plan->grid, &restore->queue, error);
}

static void close_all(struct restore *restore)
{
    mcomp_queue_close(restore->queue); /* calls back for what is under way */
    for (uint32_t i = 0; restore->slots && i < restore->slot_count; i++)
        free(restore->slots[i].room);
    free(restore->slots);
    free(restore->lanes);
}

/** From nothing to all nodes complete. Node 0 is asked first: of two restores that begin at once one is refused there, before it has closed any other. */
static bool bring_all(struct restore *restore)
{
    if (!ask_nodes(restore, 0, 1, ask_begin) || !ask_nodes(restore, 1, restore->nodes, ask_begin))
        return false;
    restore->result->effect = RESTORE_HALF;
    progress_begin(&restore->progress, "restore", mcomp_size(restore->plan->grid), restore->plan->cli->err_terminal, clock_mono_ns());
    bool sent = send_all(restore);
    progress_end(&restore->progress);
    return sent && ask_nodes(restore, 0, restore->nodes, ask_complete);
}

void restore_run(const struct restore_plan *plan, enum restore_standing standing, uint64_t id, struct restore_result *result)
{
    struct restore restore = {.plan = plan,
                              .result = result,
                              .id = standing == RESTORE_FINISH ? id : 0,
                              .nodes = mcomp_nodes(plan->grid),
                              .timeout_ms = cli_timeout_ms(plan->cli, CLI_TIMEOUT_DEFAULT_MS)};
    uint64_t begin_ns = clock_mono_ns();
    *result = (struct restore_result){.effect = standing == RESTORE_FINISH ? RESTORE_HALF : RESTORE_UNTOUCHED};
    struct mcomp_error error;
    enum mcomp_status status = open_all(&restore, &error);
    if (status != MCOMP_OK && !restore.failed)
        fail(&restore, &error);
    if (!restore.failed && (standing == RESTORE_FINISH || bring_all(&restore))) {
        if (ask_nodes(&restore, 0, restore.nodes, ask_serve))
            result->effect = RESTORE_DONE;
        result->serving = restore.answered_ok;
    }
    close_all(&restore);
    result->elapsed_ns = clock_mono_ns() - begin_ns;
}

/* ---- looking first ---- */

enum mcomp_status restore_look(const struct restore_plan *plan, enum restore_standing *standing, uint64_t *id, struct mcomp_error *error)
{
    struct mcomp_node_status node;
    uint64_t identity = snapshot_reader_identity(plan->reader);
    uint32_t complete = 0;
    bool same = true;
    *id = 0;
    for (uint32_t i = 0; i < mcomp_nodes(plan->grid); i++) {
        enum mcomp_status status = mcomp_node_status(plan->grid, i, &node, cli_timeout_ms(plan->cli, CLI_TIMEOUT_DEFAULT_MS), error);
        if (status != MCOMP_OK)
            return status;
        bool through = node.restore_state == MCOMP_RESTORE_STATE_COMPLETE || node.restore_state == MCOMP_RESTORE_STATE_NONE;
        *id = i == 0 ? node.restore_id : *id;
        same = same && through && node.restore_id != 0 && node.restore_id == *id && node.restore_file == identity;
        complete += node.restore_state == MCOMP_RESTORE_STATE_COMPLETE;
    }
    /* A node is told to serve only after all are complete: so where each is complete or serves, all were. */
    *standing = same && complete > 0 ? RESTORE_FINISH : RESTORE_ANEW;
    return MCOMP_OK;
}
