/* SPDX-License-Identifier: Apache-2.0 */
/** A snapshot file into a grid that runs: all nodes side by side, in bounded memory. */
#ifndef CLI_RESTORE_H
#define CLI_RESTORE_H

#include "cli/cli.h"
#include "cli/interrupt.h"
#include "snapshot/file.h"

/** How the grid stands to a snapshot file. */
enum restore_standing {
    RESTORE_ANEW,  /* all of it is to be done */
    RESTORE_FINISH /* an earlier run with this file has brought each node all its bytes, and some wait to be told to serve them */
};

struct restore_plan {
    const struct cli *cli;
    struct mcomp *grid;             /* borrowed */
    struct snapshot_reader *reader; /* borrowed; its array fits into the grid */
    struct interrupt *interrupt;    /* borrowed; open */
};

/** What became of the grid. */
enum restore_effect {
    RESTORE_UNTOUCHED, /* every byte is as before, and every node as willing to serve */
    RESTORE_HALF,      /* nodes refuse requests until a restore comes to its end */
    RESTORE_DONE
};

struct restore_result {
    enum restore_effect effect;
    uint32_t serving;       /* HALF: nodes that serve the snapshot's bytes already */
    uint64_t stored_bytes;  /* that were sent */
    uint64_t zeroed_bytes;  /* that were made zero without being sent */
    uint64_t elapsed_ns;
    struct mcomp_error error; /* unless DONE; CANCELLED: interrupted */
};

/** Ask all nodes. *id: of the restore to be finished. Errors: a node cannot be reached, or what else keeps it from answering; *error tells. */
MUST_CHECK enum mcomp_status restore_look(const struct restore_plan *plan, enum restore_standing *standing, uint64_t *id, struct mcomp_error *error);

/** Do it. Blocks. With FINISH, id is that of restore_look. */
void restore_run(const struct restore_plan *plan, enum restore_standing standing, uint64_t id, struct restore_result *result);

#endif
