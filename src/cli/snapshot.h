/* SPDX-License-Identifier: Apache-2.0 */
/** What the commands on snapshots share. */
#ifndef CLI_SNAPSHOT_H
#define CLI_SNAPSHOT_H

#include <jansson.h>

#include "cli/cli.h"
#include "cli/exchange.h"
#include "config/config.h"
#include "snapshot.pb-c.h"

/** Read the configuration that --config names, or the default one. Failures are told. Owns: on OK the caller calls config_free(). */
MUST_CHECK enum mcomp_status snapshot_configure(const struct cli *cli, struct config *config);

/** The time-out for each question, nanoseconds, 0 = none; fallback_ms when --timeout was not given. */
uint64_t snapshot_timeout_ns(const struct cli *cli, uint64_t fallback_ms);

/** "2026-02-03 10:11:12.345 UTC" */
#define SNAPSHOT_TIME_BYTES 40u
const char *snapshot_format_time(uint64_t utc_ns, char buf[SNAPSHOT_TIME_BYTES]);

/** Bytes of the array in a second while chunks were collected; 0 when it cannot be told. */
uint64_t snapshot_rate(const Mcomp__Snapshot__V1__Header *header);

/** "idle", "freeze", "cut", "collect", "commit"; "unknown" for what this version does not know. */
const char *snapshot_phase_name(Mcomp__Snapshot__V1__RoundStatus__Phase phase);

/** All fields of a header. */
json_t *snapshot_header_json(const Mcomp__Snapshot__V1__Header *header);

/** What follows from the numbers of a round that runs. */
struct snapshot_estimate {
    uint64_t done, total, rate, left_ns; /* bytes of addresses; bytes per second; left_ns 0: cannot be told */
};

/** total: bytes of the grid. */
struct snapshot_estimate snapshot_estimate_of(const Mcomp__Snapshot__V1__RoundStatus *status, uint64_t total);

/** All that a snapshot process says of its rounds. */
json_t *snapshot_status_json(const struct config *config, const Mcomp__Snapshot__V1__RoundStatus *status);

/** Ask a node's snapshot process: the same and "state": "up"; or "state" and "error": what is wrong with it. null: the node has no
 *  snapshot_address. timeout_ns: 0 = none. Blocks; any thread. */
json_t *snapshot_ask_node(const struct config *config, uint32_t node, uint64_t timeout_ns);

#endif
