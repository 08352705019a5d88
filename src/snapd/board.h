/* SPDX-License-Identifier: Apache-2.0 */
/** What director and member let others know about rounds: they write, the main loop answers RoundQuery from it. */
#ifndef SNAPD_BOARD_H
#define SNAPD_BOARD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "link/outgoing.h"
#include "snapshot.pb-c.h"
#include "snapshot/file.h"

/** This node's part in a round, as message NodeRound has it. */
struct board_part {
    uint32_t round; /* 0: none yet */
    bool complete;
    uint64_t pause_ns, pages_preserved, bytes_captured, capture_ns;
};

/** What can be known of rounds that this node leads. Times are monotonic. */
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
    uint64_t last_bytes, last_commit_ns;
    Mcomp__Snapshot__V1__Header last; /* strings in it are literals or live as long as the process */
};

struct board {
    uint32_t node, nodes;
    pthread_mutex_t lock; /* guards: state, part */
    struct board_state state;
    struct board_part part;
};

void board_open(struct board *board, uint32_t node, uint32_t nodes);
void board_close(struct board *board);

/** Replace what is known. The director's thread. */
void board_post(struct board *board, const struct board_state *state);

/** The same of this node's part. The member's thread. */
void board_post_part(struct board *board, const struct board_part *part);

/** Answer to a RoundQuery. Any thread. NULL: out of memory. */
struct outgoing *board_answer(struct board *board, uint64_t id);

#endif
