/* SPDX-License-Identifier: Apache-2.0 */
/* What stands between a file and libconfuse 3.3. The library reads the grammar; but it
 *  - counts lines wrongly after comments ("#" alone on line 1 makes the next line the fourth), so that messages name the wrong line;
 *  - takes a comment or a section that the file never closes for a whole one, and so ignores what was meant to follow;
 *  - skips characters that it does not know, and takes the text to end at a NUL byte;
 *  - takes "server|workers" for a path, and "node=..." in quotes as well, which go past the section that they stand in;
 *  - puts environment variables into values, which would let one file mean something else on each machine.
 * So comments are blanked here, and only words, strings behind '=', '=', '{' and '}' pass, in sections that do not nest. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/internal.h"

/* A grid has at most GRID_NODES_MAX nodes; more sections are a mistake, or meant to make the library slow. */
#define SECTIONS_MAX (4u * GRID_NODES_MAX)
#define TOKEN_BYTES_MAX 8192u /* longer than any value may be; the library's lexer grows slow with it */

struct guard {
    char *at, *end; /* rest of the copy */
    uint32_t line;
    uint32_t open_line;    /* line of the '{' not yet closed, 0 if none */
    uint32_t refused_line; /* the last line with a refused character: one message for each line is enough */
    bool after_equal;      /* the last token was '=' */
    bool any_token;
    struct clean_text *clean;
    struct problems *problems;
};

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("_-.:/%[]~@", c));
}

static void blank(char *from, const char *to)
{
    for (; from < to; from++) {
        if (*from != '\n')
            *from = ' ';
    }
}

static char *line_end(const struct guard *g)
{
    char *newline = memchr(g->at, '\n', (size_t)(g->end - g->at));
    return newline ? newline : g->end;
}

static void refuse_character(struct guard *g)
{
    size_t bytes = text_char_bytes(g->at, (size_t)(g->end - g->at));
    if (g->refused_line != g->line) {
        char shown[16];
        text_escape(shown, sizeof shown, g->at, bytes ? bytes : 1);
        if (bytes == 0)
            problems_add(g->problems, g->line, "byte %s is not text: mcomp.cfg is plain UTF-8 text", shown);
        else
            problems_add(g->problems, g->line,
                         "unexpected character %s: write KEY = VALUE or NAME { ... }, and a value with other characters in quotes", shown);
    }
    g->refused_line = g->line;
    g->at += bytes ? bytes : 1;
}

/** A comment begins at g->at: blank it. False if none does. */
static bool skip_comment(struct guard *g)
{
    const char *next = g->at + 1 < g->end ? g->at + 1 : "";
    if (*g->at == '#' || (*g->at == '/' && *next == '/')) {
        char *stop = line_end(g);
        blank(g->at, stop);
        g->at = stop;
        return true;
    }
    if (*g->at != '/' || *next != '*')
        return false;
    uint32_t first_line = g->line;
    char *stop = g->at + 2;
    for (; stop < g->end && !(*stop == '*' && stop + 1 < g->end && stop[1] == '/'); stop++)
        g->line += *stop == '\n';
    if (stop == g->end)
        problems_add(g->problems, first_line, "the comment that begins here is not closed: put */ at its end");
    else
        stop += 2;
    blank(g->at, stop);
    g->at = stop;
    return true;
}

/** What is wrong with the bytes at in, inside a string of that quote, or NULL; *bytes to go on by. */
static const char *check_in_string(const char *in, const char *end, char quote, size_t *bytes)
{
    *bytes = text_char_bytes(in, (size_t)(end - in));
    if (*bytes == 0) {
        *bytes = 1;
        return "a string holds a byte that is not text: write plain UTF-8 text";
    }
    char next = in + 1 < end ? in[1] : 0;
    if (*in == '\\') {
        bool known = next == '\\' || next == quote;
        *bytes = known ? 2 : 1;
        return known ? NULL : "unknown escape in a string: write \\\\ for a backslash, and a backslash before the quote that is to stand in it";
    }
    if (*in == '$' && next == '{')
        return "variables like ${NAME} are not replaced: write the value itself, so that the file means the same on each machine";
    return NULL;
}

static void scan_string(struct guard *g)
{
    char quote = *g->at;
    const char *wrong = NULL;
    if (!g->after_equal)
        wrong = "a string stands behind \"=\" only: write keys, section names and node numbers without quotes, and one value for each key";
    char *c = g->at + 1;
    while (c < g->end && *c != quote && *c != '\n') {
        size_t bytes;
        const char *found = check_in_string(c, g->end, quote, &bytes);
        wrong = wrong ? wrong : found;
        c += bytes;
    }
    bool closed = c < g->end && *c == quote;
    if (!closed && !wrong)
        wrong = quote == '"' ? "string not closed: put a \" at its end, on the same line"
                             : "string not closed: put a ' at its end, on the same line";
    if ((size_t)(c - g->at) > TOKEN_BYTES_MAX && !wrong)
        wrong = "a string is too long: write at most 4095 bytes";
    if (wrong)
        problems_add(g->problems, g->line, "%s", wrong);
    g->at = closed ? c + 1 : c;
}

static void scan_word(struct guard *g)
{
    const char *begin = g->at;
    while (g->at < g->end && is_word(*g->at) && !(g->at[0] == '/' && g->at + 1 < g->end && g->at[1] == '*'))
        g->at++;
    if (g->at - begin > (ptrdiff_t)TOKEN_BYTES_MAX)
        problems_add(g->problems, g->line, "a word is too long: no name is longer than 16 bytes, no value longer than 4095");
}

static void scan_brace(struct guard *g)
{
    if (*g->at == '}') {
        if (g->open_line == 0)
            problems_add(g->problems, g->line, "} closes nothing: remove it, or write the NAME { that it belongs to");
        g->open_line = 0;
    } else {
        if (g->open_line != 0)
            problems_add(g->problems, g->line,
                         "a section begins inside the one of line %u: close that with } first (sections do not nest)", g->open_line);
        g->open_line = g->line;
        if (g->clean->brace_count < SECTIONS_MAX)
            g->clean->brace_lines[g->clean->brace_count] = g->line;
        else if (g->clean->brace_count == SECTIONS_MAX)
            problems_add(g->problems, g->line, "more than %u sections: a grid has at most %u nodes", SECTIONS_MAX, GRID_NODES_MAX);
        g->clean->brace_count++;
    }
    g->at++;
}

static void scan_token(struct guard *g)
{
    char c = *g->at;
    if (c == '"' || c == '\'') {
        scan_string(g);
    } else if (c == '{' || c == '}') {
        scan_brace(g);
    } else if (c == '=') {
        g->at++;
    } else if (is_word(c)) {
        scan_word(g);
    } else {
        refuse_character(g);
    }
    g->after_equal = c == '=';
    g->any_token = true;
}

static void scan(struct guard *g)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    if (g->end - g->at >= 3 && memcmp(g->at, byte_order_mark, 3) == 0) {
        blank(g->at, g->at + 3);
        g->at += 3;
    }
    while (g->at < g->end) {
        if (*g->at == '\n') {
            g->line++;
            g->at++;
        } else if (*g->at == '\r' && g->at + 1 < g->end && g->at[1] == '\n') {
            *g->at++ = ' ';
        } else if (*g->at == ' ' || *g->at == '\t') {
            g->at++;
        } else if (!skip_comment(g)) {
            scan_token(g);
        }
    }
    if (g->open_line != 0)
        problems_add(g->problems, g->open_line, "the section that begins here is not closed: put } at its end");
    if (!g->any_token && g->problems->count == 0)
        problems_add(g->problems, 1,
                     "the file is empty: it needs grid, segment_size, nodes and a section node I { address = \"HOST:PORT\" } for each node");
}

enum mcomp_status guard_clean(const char *text, size_t bytes, struct clean_text *clean, struct problems *problems, struct err *err)
{
    *clean = (struct clean_text){.text = malloc(bytes + 1), .brace_lines = malloc(SECTIONS_MAX * sizeof *clean->brace_lines)};
    if (!clean->text || !clean->brace_lines) {
        guard_free(clean);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory");
    }
    if (bytes > 0)
        memcpy(clean->text, text, bytes);
    clean->text[bytes] = 0;
    struct guard g = {.at = clean->text, .end = clean->text + bytes, .line = 1, .clean = clean, .problems = problems};
    scan(&g);
    clean->lines = bytes > 0 && text[bytes - 1] == '\n' ? g.line - 1 : g.line;
    return MCOMP_OK;
}

void guard_free(struct clean_text *clean)
{
    free(clean->text);
    free(clean->brace_lines);
    *clean = (struct clean_text){0};
}
