/* SPDX-License-Identifier: Apache-2.0 */
/** Where the bytes come from that write and load store in the grid. */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include "cli/transfer.h"

/** A file, a pipe, or bytes in memory. */
struct source {
    int fd;           /* owned unless it is standard input; -1 for memory */
    char name[128];   /* for messages */
    uint64_t length;  /* bytes, or TRANSFER_UNTIL_END */
    uint8_t *memory;  /* owned */
    size_t taken;     /* of memory */
};

/** Each gives a source that the caller closes, on OK only. Errors: those of the system calls, RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status source_open_file(struct source *source, const char *path, struct err *err); /* "-": standard input */
MUST_CHECK enum mcomp_status source_open_memory(struct source *source, const void *bytes, size_t length, struct err *err);
MUST_CHECK enum mcomp_status source_open_hex(struct source *source, const char *digits, struct err *err); /* checked digits */
void source_close(struct source *source);

/** Pairs of hexadecimal digits with blanks between pairs? Errors: INVALID_ARGUMENT, with the place. */
MUST_CHECK enum mcomp_status source_check_hex(const char *digits, struct err *err);

/** Store all of it from address on, in pieces of `piece` bytes; title: of the progress line, or NULL. Refuses what is known not to fit before
 *  a byte is written. Tells the outcome. */
enum cli_exit source_to_grid(const struct cli *cli, struct mcomp *grid, struct source *source, uint64_t address, uint64_t piece, const char *title);

#endif
