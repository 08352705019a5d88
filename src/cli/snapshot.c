/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli/output.h"

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
    };
    /* Only a file has one. */
    if (object && header->format_version)
        json_object_set_new(object, "format_version", output_json_number(header->format_version));
    for (size_t i = 0; object && i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(object, numbers[i].key, output_json_number(numbers[i].value));
    return object;
}
