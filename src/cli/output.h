/* SPDX-License-Identifier: Apache-2.0 */
/** What commands print: terminals, colours, tables, JSON. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define COLOUR_OFF "\033[0m"
#define COLOUR_BOLD "\033[1m"
#define COLOUR_DIM "\033[2m"
#define COLOUR_RED "\033[31m"
#define COLOUR_GREEN "\033[32m"
#define COLOUR_YELLOW "\033[33m"

/** True when fd is a terminal that takes colours, and the user has not set NO_COLOR (to anything but the empty string). */
bool output_has_colour(int fd);

/** Columns of the terminal at fd; $COLUMNS or 80 when it does not say. */
unsigned output_width(int fd);

/** "1234", "12.3 k", "4.56 M", "7.89 G": a count in at most three digits behind 9999. Returns buf. */
#define OUTPUT_COUNT_BYTES 32u
const char *output_count(uint64_t count, char buf[OUTPUT_COUNT_BYTES]);

/* ---- tables ---- */

#define TABLE_COLUMNS_MAX 20u
#define TABLE_CELL_BYTES 96u

struct table_column {
    const char *title;
    bool right;        /* numbers stand at the right */
    unsigned optional; /* 0: always shown; else left out on a narrow terminal, the highest number first */
};

/** A table in memory: columns as wide as their widest cell. Zero-initialised but for columns and column_count. */
struct table {
    const struct table_column *columns; /* borrowed */
    size_t column_count;
    size_t rows, room;
    struct table_cell {
        char text[TABLE_CELL_BYTES];
        const char *colour; /* NULL: none */
    } *cells;               /* owned; rows · column_count */
};

/** A new row of empty cells; NULL when memory is short. */
struct table_cell *table_row(struct table *table);
void table_free(struct table *table);

/** Print; width 0 = as wide as it gets. Columns stand two spaces apart. */
void table_print(const struct table *table, FILE *out, unsigned width, bool colour);

/* ---- JSON ---- */

/** One document to standard output: indented on a terminal, else on one line. Takes the reference; NULL (memory was short) prints nothing and
 *  gives false, and so does a failed write. */
bool output_json(json_t *document);

/** An unsigned 64-bit number; as JSON has it, a number. For counts and sizes, which stay below 2^63. */
json_t *output_json_number(uint64_t value);

/** A text; what is not UTF-8 is escaped. */
json_t *output_json_text(const char *text);

/** A 64-bit value of the grid, as a decimal string: many readers of JSON keep 53 bits of a number only. */
json_t *output_json_value(uint64_t value);

#endif
