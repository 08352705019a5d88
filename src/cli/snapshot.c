/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli/output.h"
#include "snapshot/chunk.h"

#define NS_PER_S UINT64_C(1000000000)

enum mcomp_status snapshot_configure(const struct cli *cli, struct config *config)
{
    struct err err;
    enum mcomp_status status = config_load(config, cli->config_path ? cli->config_path : config_default_path(), NULL, &err);
    if (status != MCOMP_OK)
        (void)cli_fail_err(cli, &err);
    return status;
}

uint64_t snapshot_timeout_ns(const struct cli *cli, uint64_t fallback_ms)
{
    return cli->timeout_ns == UINT64_MAX ? fallback_ms * UINT64_C(1000000) : cli->timeout_ns;
}

const char *snapshot_format_time(uint64_t utc_ns, char buf[SNAPSHOT_TIME_BYTES])
{
    time_t seconds = (time_t)(utc_ns / NS_PER_S);
    struct tm tm;
    char when[24] = "?";
    if (gmtime_r(&seconds, &tm))
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(buf, SNAPSHOT_TIME_BYTES, "%s.%03" PRIu64 " UTC", when, utc_ns % NS_PER_S / 1000000);
    return buf;
}

uint64_t snapshot_rate(const Mcomp__Snapshot__V1__Header *header)
{
    uint64_t collecting_ns = header->collect_ns > header->cut_ns ? header->collect_ns - header->cut_ns : 0;
    double bytes = (double)header->segment_size * header->nodes;
    return collecting_ns ? (uint64_t)(bytes * (double)NS_PER_S / (double)collecting_ns) : 0;
}

const char *snapshot_phase_name(Mcomp__Snapshot__V1__RoundStatus__Phase phase)
{
    static const char *const names[] = {"unknown", "idle", "freeze", "cut", "collect", "commit"};
    return names[(unsigned)phase < sizeof names / sizeof *names ? (unsigned)phase : 0];
}

json_t *snapshot_header_json(const Mcomp__Snapshot__V1__Header *header)
{
    json_t *object = json_pack("{s:o, s:i, s:i, s:i, s:o}", "grid", output_json_text(header->grid), "nodes", (int)header->nodes, "page_bytes",
                               (int)header->page_bytes, "chunk_bytes", (int)header->chunk_bytes, "written_by", output_json_text(header->written_by));
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"segment_size", header->segment_size},
        {"grid_size", header->segment_size * header->nodes},
        {"round", header->round},
        {"cut_utc_ns", header->cut_utc_ns},
        {"longest_pause_ns", header->longest_pause_ns},
        {"duration_ns", header->duration_ns},
        {"freeze_ns", header->freeze_ns},
        {"cut_ns", header->cut_ns},
        {"collect_ns", header->collect_ns},
        {"collect_bytes_per_s", snapshot_rate(header)},
        {"pages_stored", header->pages_stored},
        {"pages_preserved", header->pages_preserved},
        {"bytes_preserved", header->pages_preserved * header->page_bytes},
    };
    /* Only a file has one. */
    if (object && header->format_version)
        json_object_set_new(object, "format_version", output_json_number(header->format_version));
    for (size_t i = 0; object && i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(object, numbers[i].key, output_json_number(numbers[i].value));
    return object;
}

/* ---- what a snapshot process says of its rounds ---- */

struct snapshot_estimate snapshot_estimate_of(const Mcomp__Snapshot__V1__RoundStatus *status, uint64_t total)
{
    struct snapshot_estimate estimate = {.total = total};
    for (size_t i = 0; i < status->n_node_bytes; i++)
        estimate.done += status->node_bytes[i];
    if (estimate.done > total)
        estimate.done = total;
    if (status->elapsed_ns > 0)
        estimate.rate = (uint64_t)((double)estimate.done * 1e9 / (double)status->elapsed_ns);
    if (estimate.rate > 0)
        estimate.left_ns = (uint64_t)((double)(total - estimate.done) * 1e9 / (double)estimate.rate);
    return estimate;
}

/** The node's own part in the last round. */
static json_t *part_json(const Mcomp__Snapshot__V1__NodeRound *part)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "round", output_json_number(part->round), "pause_ns", output_json_number(part->pause_ns),
                     "pages_preserved", output_json_number(part->pages_preserved), "bytes_preserved",
                     output_json_number(part->pages_preserved * SNAPSHOT_PAGE_BYTES), "bytes_captured", output_json_number(part->bytes_captured),
                     "capture_ns", output_json_number(part->capture_ns), "complete", (int)part->complete);
}

json_t *snapshot_status_json(const struct config *config, const Mcomp__Snapshot__V1__RoundStatus *status)
{
    struct snapshot_estimate estimate = snapshot_estimate_of(status, config_grid_bytes(config));
    json_t *nodes = json_array();
    for (size_t i = 0; i < status->n_node_bytes; i++)
        json_array_append_new(nodes, json_pack("{s:i, s:o, s:o}", "node", (int)i, "bytes", output_json_number(status->node_bytes[i]), "of",
                                               output_json_number(config->segment_size)));
    json_t *object = json_pack("{s:o, s:i, s:i, s:s, s:o, s:o}", "grid", output_json_text(config->grid), "node", (int)status->node, "leader",
                               (int)status->leader, "phase", snapshot_phase_name(status->phase), "round", output_json_number(status->round), "nodes", nodes);
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"elapsed_ns", status->elapsed_ns},       {"bytes_done", estimate.done},          {"bytes_total", estimate.total},
        {"bytes_per_s", estimate.rate},           {"left_ns", estimate.left_ns},          {"bytes_written", status->bytes_written},
        {"rounds_done", status->rounds_done},     {"rounds_failed", status->rounds_failed},
        {"last_bytes", status->last_bytes},       {"last_commit_ns", status->last_commit_ns},
    };
    for (size_t i = 0; object && i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(object, numbers[i].key, output_json_number(numbers[i].value));
    if (object) {
        json_object_set_new(object, "last_error", output_json_text(status->last_error));
        json_object_set_new(object, "last_file", output_json_text(status->last_file));
        json_object_set_new(object, "last", status->last ? snapshot_header_json(status->last) : json_null());
        json_object_set_new(object, "part", status->part ? part_json(status->part) : json_null());
    }
    return object;
}

json_t *snapshot_ask_node(const struct config *config, uint32_t node, uint64_t timeout_ns)
{
    struct exchange exchange = {0};
    exchange_response *response = NULL;
    struct err err;
    uint64_t deadline_ns = exchange_deadline(timeout_ns);
    if (!config->node[node].snapshot_address.host[0])
        return json_null();
    enum mcomp_status status = exchange_open(&exchange, config, node, deadline_ns, &err);
    if (status == MCOMP_OK)
        status = exchange_ask_round(&exchange, deadline_ns, &response, &err);
    json_t *object = status == MCOMP_OK ? snapshot_status_json(config, response->round_status) : json_pack("{s:o}", "error", output_json_text(err.text));
    bool silent = status == MCOMP_UNAVAILABLE || status == MCOMP_DEADLINE_EXCEEDED;
    if (object)
        json_object_set_new(object, "state", json_string(status == MCOMP_OK ? "up" : silent ? "unreachable" : "failed"));
    if (response)
        mcomp__snapshot__v1__response__free_unpacked(response, NULL);
    exchange_close(&exchange);
    return object;
}
