/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of mcomp.cfg. Files written once stay valid: keys are added, never renamed. docs/configuration.md has the same list. */
#include <string.h>

#include "base/text.h"
#include "config/internal.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)
#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define YEAR (8760 * 3600 * SECOND)

#define INITIAL_BY_SUMS 0 /* check_sums() knows it */
#define FIELD(name) offsetof(struct config, name)
#define NODE_FIELD(name) offsetof(struct config_node, name)

static const char *const compressions[] = {[CONFIG_COMPRESSION_NONE] = "none", [CONFIG_COMPRESSION_ZSTD] = "zstd", NULL};
_Static_assert(sizeof(enum config_compression) == sizeof(uint32_t), "a KIND_CHOICE is read and written as uint32_t");

const struct schema_key schema_keys[SCHEMA_KEYS] = {
    {.section = SECTION_ROOT, .name = "grid", .kind = KIND_GRID, .required = true, .offset = FIELD(grid), .example = "\"demo\""},
    {.section = SECTION_ROOT, .name = "segment_size", .kind = KIND_BYTES, .required = true, .offset = FIELD(segment_size),
     .least = PAGE_BYTES, .most = INT64_MAX, .example = "\"64MiB\""},
    {.section = SECTION_ROOT, .name = "nodes", .kind = KIND_COUNT, .required = true, .offset = FIELD(nodes),
     .least = 1, .most = GRID_NODES_MAX, .example = "3"},

    {.section = SECTION_NODE, .name = "address", .kind = KIND_ENDPOINT, .required = true, .offset = NODE_FIELD(address),
     .example = "\"192.0.2.1:7100\""},
    {.section = SECTION_NODE, .name = "snapshot_address", .kind = KIND_ENDPOINT, .offset = NODE_FIELD(snapshot_address),
     .example = "\"192.0.2.1:7200\""},

    {.section = SECTION_SERVER, .name = "io_threads", .kind = KIND_COUNT, .offset = FIELD(server.io_threads),
     .least = 1, .most = 64, .initial = 1, .example = "1"},
    {.section = SECTION_SERVER, .name = "workers", .kind = KIND_COUNT, .offset = FIELD(server.workers),
     .least = 1, .most = 64, .initial = 2, .example = "2"},
    {.section = SECTION_SERVER, .name = "max_connections", .kind = KIND_COUNT, .offset = FIELD(server.max_connections),
     .least = 1, .most = 1048576, .initial = 4096, .example = "4096"},
    {.section = SECTION_SERVER, .name = "max_message", .kind = KIND_BYTES, .offset = FIELD(server.max_message),
     .least = MESSAGE_BYTES_MIN, .most = MESSAGE_BYTES_MAX, .initial = 4 * MIB, .example = "\"4MiB\""},
    {.section = SECTION_SERVER, .name = "inline_max", .kind = KIND_BYTES, .offset = FIELD(server.inline_max),
     .least = 1, .most = MESSAGE_BYTES_MAX, .zero_means = "all on workers", .initial = 64 * KIB, .example = "\"64KiB\""},
    {.section = SECTION_SERVER, .name = "idle_timeout", .kind = KIND_TIME, .offset = FIELD(server.idle_timeout_ns),
     .least = MS, .most = YEAR, .zero_means = "never", .initial = 0, .example = "\"10min\""},
    {.section = SECTION_SERVER, .name = "stall_timeout", .kind = KIND_TIME, .offset = FIELD(server.stall_timeout_ns),
     .least = MS, .most = YEAR, .initial = 30 * SECOND, .example = "\"30s\""},
    {.section = SECTION_SERVER, .name = "max_buffers", .kind = KIND_BYTES, .offset = FIELD(server.max_buffers),
     .least = MESSAGE_BYTES_MIN + FRAME_OVERHEAD_BYTES, .most = TIB, .initial = 256 * MIB, .example = "\"256MiB\""},

    {.section = SECTION_SNAPSHOT, .name = "interval", .kind = KIND_TIME, .offset = FIELD(snapshot.interval_ns),
     .least = 10 * MS, .most = YEAR, .zero_means = "only on request", .initial = 60 * SECOND, .example = "\"60s\""},
    {.section = SECTION_SNAPSHOT, .name = "directory", .kind = KIND_PATH, .offset = FIELD(snapshot.directory),
     .initial_path = "snapshots", .example = "\"snapshots\""},
    {.section = SECTION_SNAPSHOT, .name = "keep", .kind = KIND_COUNT, .offset = FIELD(snapshot.keep),
     .least = 1, .most = 1000000, .initial = 5, .example = "5"},
    {.section = SECTION_SNAPSHOT, .name = "preserve_limit", .kind = KIND_BYTES, .offset = FIELD(snapshot.preserve_limit),
     .least = CONFIG_PRESERVE_PAGES_MIN * PAGE_BYTES, .most = INT64_MAX, .initial = INITIAL_BY_SUMS, .example = "\"32MiB\""},
    {.section = SECTION_SNAPSHOT, .name = "rate_limit", .kind = KIND_BYTES, .offset = FIELD(snapshot.rate_limit),
     .least = MIB, .most = TIB, .zero_means = "as fast as it can", .initial = 0, .example = "\"200MiB\""},
    {.section = SECTION_SNAPSHOT, .name = "compression", .kind = KIND_CHOICE, .offset = FIELD(snapshot.compression),
     .choices = compressions, .initial = CONFIG_COMPRESSION_NONE, .example = "\"zstd\""},
    {.section = SECTION_SNAPSHOT, .name = "takeover", .kind = KIND_TIME, .offset = FIELD(snapshot.takeover_ns),
     .least = 100 * MS, .most = YEAR, .initial = 10 * SECOND, .example = "\"10s\""},

    {.section = SECTION_OPLOG, .name = "file", .kind = KIND_PATH, .offset = FIELD(oplog.file),
     .zero_means = "no operation log", .initial_path = "", .example = "\"mcomp.oplog\""},
    {.section = SECTION_OPLOG, .name = "reads", .kind = KIND_FLAG, .offset = FIELD(oplog.reads), .initial = false, .example = "false"},
};

static const char *const section_names[] = {
    [SECTION_ROOT] = "", [SECTION_NODE] = "node", [SECTION_SERVER] = "server", [SECTION_SNAPSHOT] = "snapshot", [SECTION_OPLOG] = "oplog",
};

const char *schema_section_name(enum schema_section section)
{
    return section < SECTION_UNKNOWN ? section_names[section] : "?";
}

enum schema_section schema_find_section(const char *name)
{
    for (enum schema_section s = SECTION_NODE; s < SECTION_UNKNOWN; s++) {
        if (strcmp(name, section_names[s]) == 0)
            return s;
    }
    return SECTION_UNKNOWN;
}

const struct schema_key *schema_find_key(enum schema_section section, const char *name)
{
    for (size_t i = 0; i < SCHEMA_KEYS; i++) {
        if (schema_keys[i].section == section && strcmp(schema_keys[i].name, name) == 0)
            return &schema_keys[i];
    }
    return NULL;
}

#define NAME_BYTES_MAX 32u /* longer names are not like any of ours */

static char small_letter(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/** Insertions, deletions and replacements that turn a into b (Levenshtein); the case of letters does not count. */
static size_t distance(const char *a, const char *b)
{
    size_t a_bytes = strlen(a), b_bytes = strlen(b);
    if (a_bytes > NAME_BYTES_MAX || b_bytes > NAME_BYTES_MAX)
        return SIZE_MAX;
    size_t row[NAME_BYTES_MAX + 1];
    for (size_t j = 0; j <= b_bytes; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_bytes; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            size_t replace = diagonal + (small_letter(a[i - 1]) != small_letter(b[j - 1]));
            diagonal = row[j];
            size_t least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = replace < least ? replace : least;
        }
    }
    return row[b_bytes];
}

struct suggestion {
    const char *wanted;
    const char *nearest;
    size_t nearest_distance;
    char *buf;
    size_t room, used;
    const char *separator;
};

static void PRINTF_LIKE(2, 3) add_text(struct suggestion *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(s->buf + s->used, s->room - s->used, format, args);
    va_end(args);
    if (n > 0)
        s->used = s->used + (size_t)n < s->room ? s->used + (size_t)n : s->room - 1;
}

static void add_candidate(struct suggestion *s, const char *name)
{
    size_t d = distance(s->wanted, name);
    if (d < s->nearest_distance) {
        s->nearest_distance = d;
        s->nearest = name;
    }
    add_text(s, "%s%s", s->separator, name);
    s->separator = ", ";
}

static void add_near(struct suggestion *s)
{
    size_t allowed = strlen(s->nearest) / 3 > 2 ? strlen(s->nearest) / 3 : 2;
    if (s->nearest_distance <= allowed && s->nearest_distance < strlen(s->nearest))
        add_text(s, "; did you mean %s?", s->nearest);
}

const char *schema_suggest(enum schema_section section, const char *name, bool is_section, char *buf, size_t buf_bytes)
{
    struct suggestion s = {.wanted = name, .nearest = "", .nearest_distance = SIZE_MAX, .buf = buf, .room = buf_bytes, .separator = ""};
    if (!is_section) {
        for (size_t i = 0; i < SCHEMA_KEYS; i++) {
            if (schema_keys[i].section == section || strcmp(schema_keys[i].name, name) != 0)
                continue;
            if (schema_keys[i].section == SECTION_ROOT)
                add_text(&s, "%s stands outside all sections; ", name);
            else
                add_text(&s, "%s belongs into a section %s; ", name, schema_section_name(schema_keys[i].section));
        }
    }
    add_text(&s, "allowed here: ");
    for (size_t i = 0; !is_section && i < SCHEMA_KEYS; i++) {
        if (schema_keys[i].section == section)
            add_candidate(&s, schema_keys[i].name);
    }
    for (enum schema_section k = SECTION_NODE; section == SECTION_ROOT && k < SECTION_UNKNOWN; k++)
        add_candidate(&s, section_names[k]);
    add_near(&s);
    return buf;
}
