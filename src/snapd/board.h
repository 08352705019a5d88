/* SPDX-License-Identifier: Apache-2.0 */
/** What the director lets others know about its rounds: it writes, the main loop answers RoundQuery from it. */
#ifndef SNAPD_BOARD_H
#define SNAPD_BOARD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "snapd/outgoing.h"
#include "snapshot.pb-c.h"
#include "snapshot/file.h"

/** What can be known. Times are monotonic. */
struct board_state {
    uint32_t leader;
    Mcomp__Snapshot__V1__RoundStatus__Phase phase;
    uint32_t round;        /* running, or the last one */
    uint64_t started_ns;   /* of the running round */
    uint64_t node_bytes[GRID_NODES_MAX];
    uint64_t bytes_written;
    uint64_t rounds_done, rounds_failed;
    char last_error[ERR_TEXT_BYTES];
    char last_file[SNAPSHOT_NAME_BYTES];
    bool has_last;
    Mcomp__Snapshot__V1__Header last; /* strings in it are literals or live as long as the process */
};

struct board {
    uint32_t node, nodes;
    pthread_mutex_t lock; /* guards: state */
    struct board_state state;
};

void board_open(struct board *board, uint32_t node, uint32_t nodes);
void board_close(struct board *board);

/** Replace what is known. The director's thread. */
void board_post(struct board *board, const struct board_state *state);

/** Answer to a RoundQuery. Any thread. NULL: out of memory. */
struct outgoing *board_answer(struct board *board, uint64_t id);

#endif
