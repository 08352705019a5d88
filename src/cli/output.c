/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/text.h"
#include "base/units.h"

#define WIDTH_DEFAULT 80u

bool output_has_colour(int fd)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    if (no_colour && *no_colour)
        return false;
    return isatty(fd) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
}

unsigned output_width(int fd)
{
    struct winsize size = {0};
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    const char *columns = getenv("COLUMNS");
    uint64_t width = 0;
    struct err ignored;
    if (columns && units_parse_integer(columns, &width, &ignored) == MCOMP_OK && width > 0 && width <= 10000)
        return (unsigned)width;
    return WIDTH_DEFAULT;
}

const char *output_count(uint64_t count, char buf[OUTPUT_COUNT_BYTES])
{
    static const char *const names[] = {"", " k", " M", " G", " T", " P", " E"};
    if (count < 10000) {
        snprintf(buf, OUTPUT_COUNT_BYTES, "%" PRIu64, count);
        return buf;
    }
    double value = (double)count;
    size_t power = 0;
    while (value >= 999.5) {
        value /= 1000;
        power++;
    }
    int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    snprintf(buf, OUTPUT_COUNT_BYTES, "%.*f%s", decimals, value, names[power]);
    return buf;
}

/* ---- tables ---- */

struct table_cell *table_row(struct table *table)
{
    if (table->rows == table->room) {
        size_t room = table->room ? 2 * table->room : 8;
        struct table_cell *cells = realloc(table->cells, room * table->column_count * sizeof *cells);
        if (!cells)
            return NULL;
        table->cells = cells;
        table->room = room;
    }
    struct table_cell *row = table->cells + table->rows++ * table->column_count;
    memset(row, 0, table->column_count * sizeof *row);
    return row;
}

void table_free(struct table *table)
{
    free(table->cells);
    table->cells = NULL;
    table->rows = table->room = 0;
}

static size_t total_width(const struct table *table, const size_t *widths)
{
    size_t total = 0;
    for (size_t c = 0; c < table->column_count; c++)
        total += widths[c] ? widths[c] + (total ? 2 : 0) : 0;
    return total;
}

/** Width of each column, 0 for those that are left out. */
static void choose_widths(const struct table *table, unsigned width, size_t *widths)
{
    unsigned highest = 0;
    for (size_t c = 0; c < table->column_count; c++) {
        widths[c] = strlen(table->columns[c].title);
        for (size_t r = 0; r < table->rows; r++) {
            size_t length = strlen(table->cells[r * table->column_count + c].text);
            if (length > widths[c])
                widths[c] = length;
        }
        if (table->columns[c].optional > highest)
            highest = table->columns[c].optional;
    }
    for (unsigned optional = highest; width && optional > 0 && total_width(table, widths) > width; optional--) {
        for (size_t c = 0; c < table->column_count; c++) {
            if (table->columns[c].optional == optional)
                widths[c] = 0;
        }
    }
}

static void print_cell(FILE *out, const char *text, size_t width, bool right, bool last, const char *colour)
{
    size_t length = strlen(text);
    int blanks = (int)(width > length ? width - length : 0);
    fprintf(out, "%*s%s%s%s%*s", right ? blanks : 0, "", colour ? colour : "", text, colour ? COLOUR_OFF : "", right || last ? 0 : blanks, "");
}

/** Row `row` of the table, its titles for row 0, without blanks at the end. */
static void print_row(const struct table *table, const size_t *widths, size_t row, FILE *out, bool colour)
{
    const struct table_cell *cells = row > 0 ? &table->cells[(row - 1) * table->column_count] : NULL;
    size_t last = 0;
    for (size_t c = 0; c < table->column_count; c++)
        last = widths[c] && (!cells || cells[c].text[0]) ? c : last;
    for (size_t c = 0; c <= last; c++) {
        const struct table_column *column = &table->columns[c];
        const char *tint = !colour ? NULL : cells ? cells[c].colour : COLOUR_BOLD;
        if (widths[c])
            print_cell(out, cells ? cells[c].text : column->title, widths[c], column->right, c == last, tint);
        if (widths[c] || c == last)
            fputs(c == last ? "\n" : "  ", out);
    }
}

void table_print(const struct table *table, FILE *out, unsigned width, bool colour)
{
    size_t widths[TABLE_COLUMNS_MAX];
    MC_ASSERT(table->column_count <= TABLE_COLUMNS_MAX);
    choose_widths(table, width, widths);
    for (size_t row = 0; row <= table->rows; row++)
        print_row(table, widths, row, out, colour);
}

/* ---- JSON ---- */

bool output_json(json_t *document)
{
    if (!document)
        return false;
    size_t flags = JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12) | (isatty(STDOUT_FILENO) ? JSON_INDENT(2) : 0);
    bool written = json_dumpf(document, stdout, flags) == 0 && putchar('\n') != EOF;
    json_decref(document);
    return written;
}

json_t *output_json_number(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t *output_json_text(const char *text)
{
    char escaped[1024];
    json_t *string = json_string(text);
    if (string)
        return string;
    text_escape(escaped, sizeof escaped, text, strlen(text));
    return json_string(escaped);
}

json_t *output_json_value(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return json_string(text);
}
