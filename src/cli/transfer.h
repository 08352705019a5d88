/* SPDX-License-Identifier: Apache-2.0 */
/** Bytes between the grid and something local (file, pipe, terminal, memory) in bounded memory: several pieces are under way in the grid while
 *  a thread of its own moves others in or out on the local side, in the order of their addresses. */
#ifndef CLI_TRANSFER_H
#define CLI_TRANSFER_H

#include "cli/cli.h"
#include "cli/interrupt.h"

enum transfer_direction { TRANSFER_FROM_GRID, TRANSFER_TO_GRID };

#define TRANSFER_UNTIL_END UINT64_MAX

/** Moves bytes on the local side, called on the transfer's thread. FROM_GRID: take all *length bytes. TO_GRID: put up to *length bytes
 *  there, set *length to their number; fewer than asked for means that the input has ended. It may block, in system
 *  calls that a signal interrupts, and returns then. */
typedef enum mcomp_status (*transfer_move)(void *self, uint8_t *bytes, size_t *length, struct err *err);

struct transfer_plan {
    enum transfer_direction direction;
    uint64_t address;
    uint64_t length; /* bytes; TO_GRID: what is expected, for people, or TRANSFER_UNTIL_END */
    uint64_t piece;  /* bytes of one call to the grid, at most max_message; see transfer_piece() */
    const char *title; /* of the progress line; NULL: none */
    struct interrupt *interrupt; /* borrowed; open */
    transfer_move move;
    void *self;
};

enum transfer_end {
    TRANSFER_DONE,
    TRANSFER_GRID_FAILED,  /* error says why */
    TRANSFER_LOCAL_FAILED, /* error says why; error.sys_errno == EPIPE: the reader has gone */
    TRANSFER_INTERRUPTED
};

struct transfer_result {
    enum transfer_end end;
    uint64_t done;    /* bytes from the address on, without gaps, that arrived: in the grid, or on the local side */
    uint64_t elapsed_ns;
    /* Not set by TRANSFER_DONE. TO_GRID: the spans tell what became of everything that was taken from the local side and, where the length
     * is known, of the rest. FROM_GRID: no spans. */
    struct mcomp_error error;
};

/** Run it. Ctrl-C (SIGINT, SIGTERM) stops new pieces and waits for those under way for a moment; a second one does not wait. The input may not
 *  reach beyond the end of the grid: then the end is LOCAL_FAILED with OUT_OF_RANGE, and what fits is in the grid.
 *  Errors: only when it could not begin: RESOURCE_EXHAUSTED and those of mcomp_queue_open(); they are told already. */
MUST_CHECK enum mcomp_status transfer_run(const struct cli *cli, struct mcomp *grid, const struct transfer_plan *plan, struct transfer_result *result);

/** The size of piece that keeps what one command moves on one node atomic: max_message. */
uint64_t transfer_piece_atomic(const struct mcomp *grid);

/** The size of piece for bulk work. */
uint64_t transfer_piece_bulk(const struct mcomp *grid);

/** Read until *length bytes or the end; *length becomes the number. 0, or errno; EINTR too. */
int transfer_read_all(int fd, uint8_t *bytes, size_t *length);

/** Tell how a transfer that did not end with DONE ended, and give the exit code. */
enum cli_exit transfer_fail(const struct cli *cli, const struct transfer_plan *plan, const struct transfer_result *result);

#endif
