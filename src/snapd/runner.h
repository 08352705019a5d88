/* SPDX-License-Identifier: Apache-2.0 */
/** Runs rounds, one at a time: what snapshot/round.h decides is carried out here, with connections and a file. On the director's loop.
 *
 *  Whatever goes wrong costs the round: it is discarded on all nodes and its temporary file removed. Files of earlier rounds are never touched, except
 *  that retention removes the oldest after a success. */
#ifndef SNAPD_RUNNER_H
#define SNAPD_RUNNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "snapd/collect.h"
#include "snapd/peer.h"
#include "snapshot/file.h"
#include "snapshot/round.h"

struct snapd;

/** How a round ended. */
struct runner_result {
    struct err err;            /* code OK: it is done; else why it was discarded */
    bool again;                /* unless OK: nodes were only unwilling at that moment */
    const char *file;          /* if OK: name in the directory */
    const Mcomp__Snapshot__V1__Header *header; /* if OK */
    uint64_t file_bytes;
};

/** Owner: the director. */
struct runner {
    struct snapd *snapd;          /* borrowed */
    const struct config *config;  /* borrowed */
    struct peers *peers;          /* borrowed */
    /** A round is over. Only the removal of files that are too many may follow. */
    void (*ended)(void *arg, const struct runner_result *result);
    /** Another phase began, or more of the state is here. */
    void (*changed)(void *arg);
    void *arg;

    struct round round;
    struct snapshot_writer *writer; /* owned; NULL: no round runs */
    char file[SNAPSHOT_NAME_BYTES];
    struct collect collect;
    uint64_t preserved[GRID_NODES_MAX]; /* pages, as each node said last */
    uint64_t cut_utc_ns;
    uint64_t file_bytes;            /* so far */
    struct err failure;             /* why the round is being discarded, where round.h is told less */
    bool again;
    Mcomp__Snapshot__V1__Header header; /* of the last completed round */
};

/** seen: the highest round number known of. */
void runner_init(struct runner *runner, struct snapd *snapd, struct peers *peers, uint32_t seen);

static inline bool runner_is_running(const struct runner *runner)
{
    return runner->round.phase != ROUND_IDLE;
}

/** Begin a round. That it cannot begin is an end like others: `ended` may be called within. */
void runner_start(struct runner *runner, uint64_t now_ns);

/** Discard the round that runs, if one does. */
void runner_fail(struct runner *runner, enum mcomp_status code, const char *why, uint64_t now_ns);

void runner_on_answer(struct runner *runner, uint32_t node, const struct peer_call *call, const struct exchange_response *response, uint64_t now_ns);
void runner_on_lost(struct runner *runner, uint32_t node, const struct err *err, uint64_t now_ns);
void runner_on_time(struct runner *runner, uint64_t now_ns);
/** When runner_on_time has something to do; UINT64_MAX: never. */
uint64_t runner_next_ns(const struct runner *runner);

#endif
