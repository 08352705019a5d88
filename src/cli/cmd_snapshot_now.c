/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp snapshot now: ask for a snapshot and wait until it is on disk.
 *
 *  Two connections to the leader: the answer to TakeSnapshot comes on one when the file is there, however long that takes; on the other the state of the
 *  round is asked for meanwhile, for the progress line, and so that a leader that has fallen silent is found out. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/snapshot.h"

#define TIMEOUT_MS 10000u
#define LOOK_NS UINT64_C(100000000) /* between two looks at the round */
#define NODES_SHOWN 8u              /* the share of each is shown; of more nodes, the range */
#define MOVES_MAX 8u                /* how often another node is asked because it leads now */

typedef Mcomp__Snapshot__V1__RoundStatus RoundStatus;

struct taking {
    const struct cli *cli;
    const struct config *config;
    uint64_t timeout_ns;
    struct exchange order, watch; /* to the leader */
    struct interrupt interrupt;
    struct progress progress;
    char title[96];
};

/* ---- the progress line ---- */

/** "collect 40 41 39 %" */
static void format_title(struct taking *taking, const RoundStatus *status)
{
    size_t room = sizeof taking->title;
    uint64_t segment_size = taking->config->segment_size, least = UINT64_MAX, most = 0;
    int n = snprintf(taking->title, room, "%s", snapshot_phase_name(status->phase));
    if (status->phase != MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_COLLECT || status->n_node_bytes == 0)
        return;
    for (size_t i = 0; i < status->n_node_bytes; i++) {
        uint64_t share = (uint64_t)(100.0 * (double)status->node_bytes[i] / (double)segment_size);
        least = share < least ? share : least;
        most = share > most ? share : most;
        if (status->n_node_bytes <= NODES_SHOWN)
            n += snprintf(taking->title + n, room - (size_t)n, " %" PRIu64, share);
    }
    if (status->n_node_bytes > NODES_SHOWN)
        n += snprintf(taking->title + n, room - (size_t)n, " %" PRIu64 "-%" PRIu64, least, most);
    snprintf(taking->title + n, room - (size_t)n, " %%");
}

static void show(struct taking *taking, const RoundStatus *status)
{
    struct progress *progress = &taking->progress;
    uint64_t done = 0, now_ns = clock_mono_ns();
    for (size_t i = 0; i < status->n_node_bytes; i++)
        done += status->node_bytes[i];
    format_title(taking, status);
    if (done < progress->done) {
        bool drawn = progress->drawn;
        progress_begin(progress, taking->title, progress->total, progress->shown, now_ns); /* another round */
        progress->drawn = drawn;
    }
    progress_update(progress, done, now_ns);
}

static enum mcomp_status look(struct taking *taking, struct err *err)
{
    exchange_response *response = NULL;
    enum mcomp_status status = exchange_ask_round(&taking->watch, exchange_deadline(taking->timeout_ns), &response, err);
    if (status == MCOMP_OK) {
        show(taking, response->round_status);
        mcomp__snapshot__v1__response__free_unpacked(response, NULL);
    }
    return status;
}

/* ---- asking ---- */

static void close_both(struct taking *taking)
{
    exchange_close(&taking->order);
    exchange_close(&taking->watch);
}

static enum mcomp_status send_order(struct taking *taking, struct err *err)
{
    Mcomp__Snapshot__V1__TakeSnapshot take = MCOMP__SNAPSHOT__V1__TAKE_SNAPSHOT__INIT;
    exchange_request request = MCOMP__SNAPSHOT__V1__REQUEST__INIT;
    request.op_case = MCOMP__SNAPSHOT__V1__REQUEST__OP_TAKE_SNAPSHOT;
    request.take_snapshot = &take;
    uint64_t deadline_ns = exchange_deadline(taking->timeout_ns);
    enum mcomp_status status = exchange_open(&taking->order, taking->config, taking->watch.node, deadline_ns, err);
    return status == MCOMP_OK ? exchange_send(&taking->order, &request, deadline_ns, err) : status;
}

/** Wait for the answer, and look at the round meanwhile. Errors: of the connections; CANCELLED by a signal. */
static enum mcomp_status await(struct taking *taking, exchange_response **response, struct err *err)
{
    for (;;) {
        enum mcomp_status status = exchange_receive(&taking->order, clock_mono_ns() + LOOK_NS, response, err);
        if (status != MCOMP_DEADLINE_EXCEEDED)
            return status;
        if (interrupt_take(&taking->interrupt))
            return err_set(err, MCOMP_CANCELLED, "interrupted: the snapshot is not waited for");
        status = look(taking, err);
        if (status != MCOMP_OK)
            return status;
    }
}

/** Does the answer say that another node leads? */
static bool leads_elsewhere(const struct taking *taking, const exchange_response *response)
{
    return response->status == MCOMP__SNAPSHOT__V1__STATUS__STATUS_ABORTED &&
           response->result_case == MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_TAKE_SNAPSHOT && response->take_snapshot->leader != taking->order.node;
}

/** Connect to the leader; to `named` if a node has said that this one leads (else it is GRID_NODES_MAX or more). */
static enum mcomp_status open_watch(struct taking *taking, uint32_t named, struct err *err)
{
    exchange_response *response = NULL;
    if (named < taking->config->nodes)
        return exchange_open(&taking->watch, taking->config, named, exchange_deadline(taking->timeout_ns), err);
    enum mcomp_status status = exchange_open_leader(&taking->watch, taking->config, taking->timeout_ns, &response, err);
    if (response)
        mcomp__snapshot__v1__response__free_unpacked(response, NULL);
    return status;
}

/** Ask the leader, and whoever leads after it, until there is an answer. On OK the caller frees *response. */
static enum mcomp_status take(struct taking *taking, exchange_response **response, struct err *err)
{
    uint32_t named = GRID_NODES_MAX;
    for (unsigned moves = 0;; moves++) {
        enum mcomp_status status = open_watch(taking, named, err);
        if (status == MCOMP_OK)
            status = send_order(taking, err);
        if (status == MCOMP_OK)
            status = await(taking, response, err);
        if (status != MCOMP_OK)
            return status;
        bool moved = moves < MOVES_MAX && leads_elsewhere(taking, *response);
        if (!moved)
            status = exchange_judge(&taking->order, *response, MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_TAKE_SNAPSHOT, err);
        if (!moved && status == MCOMP_OK)
            return MCOMP_OK;
        if (moved)
            named = (*response)->take_snapshot->leader;
        mcomp__snapshot__v1__response__free_unpacked(*response, NULL);
        *response = NULL;
        if (!moved)
            return status;
        close_both(taking);
    }
}

/* ---- the result ---- */

/** Size of the file, which the answer does not tell: the list does. 0: it cannot be told. */
static uint64_t file_bytes(struct taking *taking, const char *name)
{
    Mcomp__Snapshot__V1__List list = MCOMP__SNAPSHOT__V1__LIST__INIT;
    exchange_request request = MCOMP__SNAPSHOT__V1__REQUEST__INIT;
    exchange_response *response = NULL;
    struct err ignored;
    uint64_t bytes = 0;
    request.op_case = MCOMP__SNAPSHOT__V1__REQUEST__OP_LIST;
    request.list = &list;
    if (exchange_ask(&taking->order, &request, MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_LIST, exchange_deadline(taking->timeout_ns), &response, &ignored) !=
        MCOMP_OK)
        return 0;
    for (size_t i = 0; i < response->list->n_file; i++) {
        if (strcmp(response->list->file[i]->name, name) == 0)
            bytes = response->list->file[i]->bytes;
    }
    mcomp__snapshot__v1__response__free_unpacked(response, NULL);
    return bytes;
}

static enum cli_exit print_result(struct taking *taking, const Mcomp__Snapshot__V1__TakeSnapshotResult *result)
{
    const struct cli *cli = taking->cli;
    const Mcomp__Snapshot__V1__Header *header = result->header;
    uint64_t bytes = file_bytes(taking, result->file);
    if (cli->json) {
        json_t *document = json_pack("{s:o, s:o, s:i, s:o}", "file", output_json_text(result->file), "file_bytes", output_json_number(bytes), "leader",
                                     (int)result->leader, "header", header ? snapshot_header_json(header) : json_null());
        return cli_json_done(cli, output_json(document));
    }
    char size[UNITS_TEXT_BYTES], pause[UNITS_TEXT_BYTES], duration[UNITS_TEXT_BYTES];
    printf("%s", result->file);
    if (bytes > 0)
        printf(": %s", units_format_bytes(bytes, size));
    if (header)
        printf(" in %s, writers paused for %s at most", units_format_duration(header->duration_ns, duration),
               units_format_duration(header->longest_pause_ns, pause));
    printf(" (in the snapshot folder of node %" PRIu32 ")\n", result->leader);
    return CLI_DONE;
}

static enum cli_exit run_taking(struct taking *taking)
{
    exchange_response *response = NULL;
    struct err err;
    taking->title[0] = 0;
    progress_begin(&taking->progress, taking->title, config_grid_bytes(taking->config), taking->cli->err_terminal, clock_mono_ns());
    enum mcomp_status status = take(taking, &response, &err);
    progress_end(&taking->progress);
    enum cli_exit code = status == MCOMP_OK ? print_result(taking, response->take_snapshot) : cli_fail_err(taking->cli, &err);
    if (taking->interrupt.taken)
        code = CLI_INTERRUPTED;
    if (response)
        mcomp__snapshot__v1__response__free_unpacked(response, NULL);
    close_both(taking);
    return code;
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    struct config config;
    struct err err;
    (void)opaque;
    if (snapshot_configure(cli, &config) != MCOMP_OK)
        return CLI_FAILED;
    struct taking taking = {.cli = cli, .config = &config, .timeout_ns = snapshot_timeout_ns(cli, TIMEOUT_MS)};
    enum cli_exit code;
    if (interrupt_open(&taking.interrupt, &err) == MCOMP_OK) {
        code = run_taking(&taking);
        interrupt_close(&taking.interrupt);
    } else {
        code = cli_fail_err(cli, &err);
    }
    config_free(&config);
    return code;
}

const struct command command_snapshot_now = {
    .name = "snapshot now",
    .summary = "take a snapshot and wait until it is on disk",
    .description = "Ask the snapshot process that leads for a snapshot of the state from now on, and\n"
                   "wait until the file is on disk. Prints its name, size, duration, and how long\n"
                   "writers were held; shows progress on a terminal. It takes the time it takes:\n"
                   "--timeout is how long the process may stay silent. An interrupted command does\n"
                   "not undo a round that runs.\n"
                   "Exits 4 when no snapshot process that leads can be reached.",
    .examples = "  mcomp snapshot now\n"
                "  mcomp --json snapshot now | jq -r .file",
    .run = run,
};
