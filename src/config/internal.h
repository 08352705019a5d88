/* SPDX-License-Identifier: Apache-2.0 */
/** How a file becomes a struct config, step by step; for this folder only.
 *
 *    guard_clean     text → the same text without comments; whatever libconfuse must not see is a problem
 *    reader_read     libconfuse: clean text → settings and sections, each with its line; unknown names are problems
 *    check_settings  settings → struct config; wrong values and contradictions are problems
 *
 *  A step does not stop at its first problem. Nothing here is shared by threads, except inside reader_read. */
#ifndef CONFIG_INTERNAL_H
#define CONFIG_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "config/config.h"

/* ---- problems ---- */

#define PROBLEMS_MAX 100u /* more are counted, not kept */

struct problem {
    uint32_t line; /* 1 … */
    char text[ERR_TEXT_BYTES];
};

/** What is wrong with a file. Zero-initialised is empty. */
struct problems {
    struct problem *item; /* owned */
    size_t count, capacity;
    size_t dropped;       /* beyond PROBLEMS_MAX */
    bool out_of_memory;
};

/** Text: "what is wrong: what would be right". */
void problems_add(struct problems *problems, uint32_t line, const char *format, ...) PRINTF_LIKE(3, 4);

/** Print all, by line, to out (may be NULL), set *err to the first; OK if there is none. */
enum mcomp_status problems_report(struct problems *problems, const char *file, FILE *out, struct err *err);
void problems_free(struct problems *problems);

/* ---- schema: the sections and keys that a file may have ---- */

enum schema_section {
    SECTION_ROOT,
    SECTION_NODE,
    SECTION_SERVER,
    SECTION_SNAPSHOT,
    SECTION_OPLOG,
    SECTION_UNKNOWN, /* not in the schema */
};

enum schema_kind { KIND_GRID, KIND_COUNT, KIND_BYTES, KIND_TIME, KIND_FLAG, KIND_CHOICE, KIND_PATH, KIND_ENDPOINT };

struct schema_key {
    enum schema_section section;
    const char *name;
    enum schema_kind kind;
    bool required;
    size_t offset;            /* of the field in struct config, in struct config_node for SECTION_NODE */
    uint64_t least, most;     /* COUNT, BYTES, TIME: bounds of the value, both included */
    const char *zero_means;   /* not NULL: 0 is allowed too, and means this */
    uint64_t initial;         /* value when the file gives none */
    const char *initial_path; /* the same for PATH */
    const char *const *choices; /* CHOICE: words for the values 0, 1, …, then NULL */
    const char *example;      /* a right value, as written in a file */
};

#define SCHEMA_KEYS 22u
extern const struct schema_key schema_keys[SCHEMA_KEYS];

/** "node", "server", …; "" for SECTION_ROOT. */
const char *schema_section_name(enum schema_section section);

/** SECTION_UNKNOWN when there is no section of that name. */
enum schema_section schema_find_section(const char *name);
const struct schema_key *schema_find_key(enum schema_section section, const char *name);

/** What to say about a key or section that is not in the schema: the name that was meant, if one is near, and all that are allowed
 *  there. Returns buf. */
const char *schema_suggest(enum schema_section section, const char *name, bool is_section, char *buf, size_t buf_bytes);

/* ---- guard ---- */

struct clean_text {
    char *text;            /* owned; NUL-terminated; comments are spaces, lines are where they were */
    uint32_t *brace_lines; /* owned; line of each '{', in order; sections do not nest */
    size_t brace_count;
    uint32_t lines;        /* of the file, at least 1 */
};

/** RESOURCE_EXHAUSTED, or OK; on OK the text is fit for libconfuse if no problem was added. */
MUST_CHECK enum mcomp_status guard_clean(const char *text, size_t bytes, struct clean_text *clean, struct problems *problems, struct err *err);
void guard_free(struct clean_text *clean);

/* ---- reader ---- */

#define IN_ROOT UINT32_MAX

struct setting {
    const struct schema_key *key;
    char *value; /* owned */
    uint32_t section; /* index into sections, or IN_ROOT; may be one past the end if the file breaks off */
    uint32_t line;    /* of the value */
};

struct section {
    enum schema_section kind;
    char *title; /* owned; NULL except for SECTION_NODE */
    uint32_t line; /* of its '{' */
};

struct reading {
    struct setting *settings; /* owned, in the order of the file */
    size_t setting_count, setting_capacity;
    struct section *sections; /* owned, in the order of the file */
    size_t section_count, section_capacity;
    bool complete; /* false: a syntax error ended the reading, and what is missing may stand behind it */
};

/** Any thread; one at a time (libconfuse keeps its state in global variables), others wait. */
MUST_CHECK enum mcomp_status reader_read(const struct clean_text *clean, struct reading *reading, struct problems *problems,
                                         struct err *err);
void reader_free(struct reading *reading);

/* ---- check ---- */

/** Fill *config (path is set already) from the settings. RESOURCE_EXHAUSTED, or OK; on OK *config is whole if no problem was added. */
MUST_CHECK enum mcomp_status check_settings(struct config *config, const struct reading *reading, uint32_t lines,
                                            struct problems *problems, struct err *err);

#endif
