/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/runner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/priority.h"
#include "snapd/member.h"
#include "snapd/snapd.h"

#define SLOW_DISK_NS 10000000u
#define WRITTEN_BY "mcomp-snapd " MCOMP_VERSION

static void carry_out(struct runner *runner, const struct round_effects *effects, uint64_t now_ns);

/* ---- the end of a round ---- */

static void report(struct runner *runner, const struct runner_result *result)
{
    peers_trim(runner->peers);
    runner->ended(runner->arg, result);
}

/** "node 2: why", or the whole text of what went wrong here. */
static void discard(struct runner *runner, const struct round_effects *effects)
{
    struct runner_result result = {.err = runner->failure, .again = runner->again};
    snapshot_writer_discard(runner->writer);
    runner->writer = NULL;
    if (result.err.code == MCOMP_OK)
        err_set(&result.err, MCOMP_UNAVAILABLE, "%s", effects->why);
    if (effects->node != UINT32_MAX)
        err_wrap(&result.err, result.err.code, "node %" PRIu32, effects->node);
    report(runner, &result);
}

/** Something other than round.h's own rules ends the round. node UINT32_MAX: the leader itself. */
static void fail(struct runner *runner, uint32_t node, const struct err *err, uint64_t now_ns)
{
    struct round_effects effects;
    if (!runner_is_running(runner))
        return;
    runner->failure = *err;
    runner->again = false;
    round_on_failed(&runner->round, node, err->text, now_ns, &effects);
    carry_out(runner, &effects, now_ns);
    runner->failure.code = MCOMP_OK;
}

static void fill_header(struct runner *runner)
{
    const struct round *round = &runner->round;
    Mcomp__Snapshot__V1__Header *header = &runner->header;
    mcomp__snapshot__v1__header__init(header);
    header->grid = (char *)runner->config->grid;
    header->round = round->number;
    header->cut_utc_ns = runner->cut_utc_ns;
    header->longest_pause_ns = round->longest_pause_ns;
    header->duration_ns = header->collect_ns = round->collected_ns - round->started_ns;
    header->freeze_ns = round->frozen_ns - round->started_ns;
    header->cut_ns = round->cut_ns - round->started_ns;
    for (uint32_t i = 0; i < round->nodes; i++)
        header->pages_preserved += runner->preserved[i];
    header->written_by = (char *)WRITTEN_BY;
    header->segment_size = runner->config->segment_size;
    header->nodes = round->nodes;
    header->page_bytes = SNAPSHOT_PAGE_BYTES;
    header->chunk_bytes = SNAPSHOT_CHUNK_BYTES;
    header->pages_stored = snapshot_writer_pages(runner->writer);
}

/** Make the file valid. Blocks until the disk has it. */
static void commit(struct runner *runner, uint64_t now_ns)
{
    struct round_effects effects;
    struct err err;
    fill_header(runner);
    runner->changed(runner->arg);
    if (snapshot_writer_commit(runner->writer, &runner->header, &runner->file_bytes, &err) != MCOMP_OK) {
        fail(runner, UINT32_MAX, &err, now_ns);
        return;
    }
    runner->writer = NULL;
    round_on_committed(&runner->round, clock_mono_ns(), &effects);
    carry_out(runner, &effects, now_ns);
}

static void done(struct runner *runner)
{
    const struct config *config = runner->config;
    struct err err;
    report(runner, &(struct runner_result){.file = runner->file, .header = &runner->header, .file_bytes = runner->file_bytes});
    /* Whoever asked need not wait for it: a file system may take as long to free a file as to write it. */
    if (snapshot_retain(config->snapshot.directory, config->grid, config->snapshot.keep, &err) != MCOMP_OK)
        log_err(LOG_WARN, "round", "retain", "", &err);
}

/* ---- effects ---- */

/** What is asked of a node is asked once: connections lose nothing, and when one ends the round does too. */
static void send_phase(struct runner *runner, uint32_t node, enum peer_op op)
{
    struct peer_call call = {.op = op, .round = runner->round.number, .lease_ms = (uint32_t)(ROUND_LEASE_NS / 1000000u)};
    if (!peers_await(runner->peers, node, op, call.round))
        (void)peers_send(runner->peers, node, &call); /* what cannot be sent now is sent again, or its time runs out */
}

static void send_all(struct runner *runner, const struct round_effects *effects)
{
    for (uint32_t i = 0; i < runner->round.nodes; i++) {
        if (!effects->to[i])
            continue;
        if (effects->send == ROUND_SEND_FREEZE) {
            send_phase(runner, i, PEER_FREEZE);
        } else if (effects->send == ROUND_SEND_CUT) {
            send_phase(runner, i, PEER_CUT);
        } else if (effects->send == ROUND_SEND_END) {
            if (effects->outcome == ROUND_DISCARDED)
                send_phase(runner, i, PEER_UNFREEZE);
            send_phase(runner, i, PEER_END);
        }
    }
}

/** Keep Pulls under way. */
static void pump(struct runner *runner)
{
    struct collect_pull next;
    while (collect_next(&runner->collect, &next)) {
        struct peer_call call = {.op = PEER_PULL, .round = runner->round.number, .offset = next.offset, .bytes = next.bytes};
        if (!peers_send(runner->peers, next.node, &call))
            return; /* memory is short: the node falls silent, and the round ends for it */
    }
}

static void carry_out(struct runner *runner, const struct round_effects *effects, uint64_t now_ns)
{
    priority_background(effects->outcome == ROUND_COLLECT || runner->round.phase == ROUND_COLLECTING);
    if (effects->send != ROUND_SEND_NOTHING)
        send_all(runner, effects);
    switch (effects->outcome) {
    case ROUND_RUNS:
        break;
    case ROUND_COLLECT:
        collect_init(&runner->collect, runner->round.nodes, runner->config->segment_size);
        pump(runner);
        break;
    case ROUND_COMMIT:
        commit(runner, now_ns);
        return;
    case ROUND_DONE:
        done(runner);
        return;
    case ROUND_DISCARDED:
        discard(runner, effects);
        return;
    }
    runner->changed(runner->arg);
}

/* ---- answers ---- */

static void answered_freeze(struct runner *runner, uint32_t node, const Mcomp__Snapshot__V1__FreezeResult *result, bool current, uint64_t now_ns)
{
    struct round *round = &runner->round;
    struct round_effects effects;
    round_see(round, result->max_round);
    if (!current)
        return;
    if (result->outcome == MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_FROZEN) {
        uint64_t utc_ns = clock_utc_ns();
        round_on_frozen(round, node, now_ns, &effects);
        if (effects.send == ROUND_SEND_CUT)
            runner->cut_utc_ns = utc_ns; /* all are frozen, and none has cut */
    } else {
        runner->again = true;
        round_on_refused(round, node, result->outcome == MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_OLD, result->max_round, now_ns, &effects);
    }
    carry_out(runner, &effects, now_ns);
}

static void answered_cut(struct runner *runner, uint32_t node, const Mcomp__Snapshot__V1__CutResult *result, uint64_t now_ns)
{
    struct round_effects effects;
    runner->again = !result->done;
    round_on_cut(&runner->round, node, result->done, result->pause_ns, now_ns, &effects);
    carry_out(runner, &effects, now_ns);
}

/** Are these the chunks that were asked for, and no others? */
static enum mcomp_status check_pull(const struct runner *runner, uint32_t node, const struct exchange_pull *pull, struct err *err)
{
    uint64_t begin, end, k = runner->config->segment_size, base = k * node;
    collect_expected(&runner->collect, node, &begin, &end);
    if (pull->next_offset != end)
        return err_set(err, MCOMP_INTERNAL, "it sent pages up to offset %" PRIu64 ", and was asked for those up to %" PRIu64, pull->next_offset, end);
    if (end == k && !pull->complete)
        return err_set(err, MCOMP_INTERNAL, "it sent its last page without saying that the capture was valid to its end");
    for (uint32_t i = 0; i < pull->chunks; i++) {
        uint64_t address = pull->chunk[i].address;
        if (address < base + begin || address >= base + end)
            return err_set(err, MCOMP_INTERNAL, "it sent pages of address %" PRIu64 ", and was asked for those from %" PRIu64 " to %" PRIu64, address,
                           base + begin, base + end);
    }
    return MCOMP_OK;
}

/** Put the chunks into the file. *fault: whose it is if that fails. */
static enum mcomp_status put_chunks(struct runner *runner, uint32_t node, const struct exchange_pull *pull, uint32_t *fault, struct err *err)
{
    enum mcomp_status code = MCOMP_OK;
    uint64_t begin_ns = clock_mono_ns(), end_ns;
    *fault = node;
    for (uint32_t i = 0; i < pull->chunks && code == MCOMP_OK; i++) {
        code = snapshot_writer_put(runner->writer, &pull->chunk[i], err);
        if (code != MCOMP_OK && code != MCOMP_DATA_LOSS && code != MCOMP_INVALID_ARGUMENT)
            *fault = UINT32_MAX;
    }
    runner->file_bytes = snapshot_writer_bytes(runner->writer);
    end_ns = clock_mono_ns();
    if (end_ns - begin_ns > SLOW_DISK_NS) /* what the others sent meanwhile is not read yet: that was not their silence */
        for (uint32_t i = 0; i < runner->round.nodes; i++)
            round_on_progress(&runner->round, i, end_ns);
    return code;
}

static void answered_pull(struct runner *runner, uint32_t node, const struct exchange_pull *pull, uint64_t now_ns)
{
    struct err err;
    uint32_t fault = node;
    enum mcomp_status code = check_pull(runner, node, pull, &err);
    if (code == MCOMP_OK)
        code = put_chunks(runner, node, pull, &fault, &err);
    if (code != MCOMP_OK) {
        fail(runner, fault, &err, now_ns);
        return;
    }
    runner->preserved[node] = pull->pages_preserved;
    collect_on_answer(&runner->collect, node);
    round_on_progress(&runner->round, node, clock_mono_ns());
    if (!collect_is_complete(&runner->collect, node)) {
        pump(runner);
        runner->changed(runner->arg);
        return;
    }
    struct round_effects effects;
    pump(runner); /* another node's turn */
    round_on_captured(&runner->round, node, clock_mono_ns(), &effects);
    carry_out(runner, &effects, now_ns);
}

/** Take the result out and go on with it. false: it is not what such a call is answered with. */
static bool take_result(struct runner *runner, uint32_t node, const struct peer_call *call, const struct exchange_response *response, bool current,
                        uint64_t now_ns)
{
    if (call->op == PEER_FREEZE && response->result == MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_FREEZE) {
        Mcomp__Snapshot__V1__FreezeResult *result = mcomp__snapshot__v1__freeze_result__unpack(NULL, response->bytes, response->data);
        if (!result)
            return false;
        answered_freeze(runner, node, result, current, now_ns);
        mcomp__snapshot__v1__freeze_result__free_unpacked(result, NULL);
        return true;
    }
    if (call->op == PEER_CUT && response->result == MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_CUT) {
        Mcomp__Snapshot__V1__CutResult *result = mcomp__snapshot__v1__cut_result__unpack(NULL, response->bytes, response->data);
        if (!result)
            return false;
        if (current)
            answered_cut(runner, node, result, now_ns);
        mcomp__snapshot__v1__cut_result__free_unpacked(result, NULL);
        return true;
    }
    struct exchange_pull pull;
    if (call->op != PEER_PULL || response->result != MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_PULL ||
        !exchange_pull_decode(&pull, response->data, response->bytes))
        return false;
    if (current)
        answered_pull(runner, node, &pull, now_ns);
    return true;
}

void runner_on_answer(struct runner *runner, uint32_t node, const struct peer_call *call, const struct exchange_response *response, uint64_t now_ns)
{
    struct err err;
    bool current = runner_is_running(runner) && call->round == runner->round.number;
    if (call->op == PEER_UNFREEZE || call->op == PEER_END)
        return; /* done or not: leases run out */
    if (response->status == MCOMP_OK) {
        if (take_result(runner, node, call, response, current, now_ns) || !current)
            return;
        err_set(&err, MCOMP_INTERNAL, "it answered with something else than was asked for");
    } else {
        err_set(&err, response->status, "%.*s", (int)response->text_bytes, response->text);
    }
    if (current)
        fail(runner, node, &err, now_ns);
}

void runner_on_lost(struct runner *runner, uint32_t node, const struct err *err, uint64_t now_ns)
{
    fail(runner, node, err, now_ns);
}

void runner_fail(struct runner *runner, enum mcomp_status code, const char *why, uint64_t now_ns)
{
    struct err err;
    err_set(&err, code, "%s", why);
    fail(runner, UINT32_MAX, &err, now_ns);
}

/* ---- time ---- */

/** The node did not do its part in time. Was it because no connection came about? */
static void time_is_up(struct runner *runner, const struct round_effects *effects, bool collecting, uint64_t now_ns)
{
    uint32_t node = effects->node;
    bool connected = peers_are_connected(runner->peers, node);
    if (!connected)
        err_set(&runner->failure, MCOMP_UNAVAILABLE, "no connection to its snapshot process at %s came about in time",
                runner->config->node[node].snapshot_address.text);
    runner->again = connected && !collecting;
    carry_out(runner, effects, now_ns);
    runner->failure.code = MCOMP_OK;
    if (!connected)
        peers_reset(runner->peers, node, "no connection came about in time"); /* the next round begins with a new attempt */
}

void runner_on_time(struct runner *runner, uint64_t now_ns)
{
    struct round_effects effects;
    if (now_ns < round_next_ns(&runner->round))
        return;
    bool collecting = runner->round.phase == ROUND_COLLECTING;
    round_on_time(&runner->round, now_ns, &effects);
    if (effects.outcome == ROUND_DISCARDED)
        time_is_up(runner, &effects, collecting, now_ns);
    else
        carry_out(runner, &effects, now_ns);
}

uint64_t runner_next_ns(const struct runner *runner)
{
    return round_next_ns(&runner->round);
}

/* ---- the beginning ---- */

void runner_init(struct runner *runner, struct snapd *snapd, struct peers *peers, uint32_t seen)
{
    *runner = (struct runner){.snapd = snapd, .config = snapd->config, .peers = peers};
    round_init(&runner->round, seen);
}

void runner_start(struct runner *runner, uint64_t now_ns)
{
    const struct config *config = runner->config;
    struct runner_result result = {0};
    enum mcomp_status code;
    round_see(&runner->round, member_max_round(runner->snapd->member));
    uint32_t number = round_number_after(runner->round.seen, runner->snapd->node);
    memset(runner->preserved, 0, sizeof runner->preserved);
    runner->cut_utc_ns = runner->file_bytes = 0;
    runner->again = false;
    runner->failure.code = MCOMP_OK;
    if (number == 0) {
        code = err_set(&result.err, MCOMP_RESOURCE_EXHAUSTED, "there is no number left for another round: restore the last snapshot into a new grid");
    } else {
        snapshot_name(runner->file, config->grid, number, clock_utc_ns());
        code = snapshot_writer_open(&runner->writer, config->snapshot.directory, runner->file, config->segment_size, config->nodes,
                                    &result.err);
    }
    if (code != MCOMP_OK) {
        report(runner, &result);
        return;
    }
    struct round_effects effects;
    round_start(&runner->round, number, config->nodes, now_ns, &effects);
    carry_out(runner, &effects, now_ns);
}
