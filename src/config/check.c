/* SPDX-License-Identifier: Apache-2.0 */
/* Settings as text → struct config; what is wrong with a single value, and what contradicts something else in the file. */
#include <confuse.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/units.h"
#include "config/endpoint.h"
#include "config/internal.h"

#define LABEL_BYTES 96u

/** Where a key was given last: a second time in the same section is a problem. */
struct given {
    uint32_t line;     /* 0: not yet */
    uint32_t section;  /* index into reading->sections, or IN_ROOT */
    bool valid;
};

struct map_node {
    struct config_node node;
    uint32_t section;                     /* index into reading->sections */
    uint32_t line;                        /* of that; 0: the file has no such node */
    uint32_t address_line, snapshot_line; /* 0: not given, or not valid */
};

struct check {
    struct config *config;
    const struct reading *reading;
    struct problems *problems;
    uint32_t lines;
    struct given given[SCHEMA_KEYS];
    uint32_t section_line[SECTION_UNKNOWN]; /* of the first section of the kind; nodes aside */
    struct map_node map[GRID_NODES_MAX];
};

static size_t key_index(const struct schema_key *key)
{
    return (size_t)(key - schema_keys);
}

static const struct given *given_root(const struct check *check, const char *name)
{
    return &check->given[key_index(schema_find_key(SECTION_ROOT, name))];
}

/** "grid", "server.io_threads", "node 3 address". */
static const char *label_of(const struct check *check, const struct setting *setting, char buf[LABEL_BYTES])
{
    const struct schema_key *key = setting->key;
    if (key->section == SECTION_ROOT) {
        snprintf(buf, LABEL_BYTES, "%s", key->name);
    } else if (key->section != SECTION_NODE) {
        snprintf(buf, LABEL_BYTES, "%s.%s", schema_section_name(key->section), key->name);
    } else {
        bool ended = setting->section < check->reading->section_count;
        char title[32];
        const char *text = ended ? check->reading->sections[setting->section].title : "?";
        text_escape(title, sizeof title, text, strlen(text));
        snprintf(buf, LABEL_BYTES, "node %s %s", title, key->name);
    }
    return buf;
}

/* ---- single values: each returns false after telling what is wrong ---- */

static bool wrong_value(struct check *check, const struct setting *setting, const char *what)
{
    char label[LABEL_BYTES], quoted[TEXT_QUOTE_BYTES];
    problems_add(check->problems, setting->line, "%s = %s %s", label_of(check, setting, label), text_quote(setting->value, quoted), what);
    return false;
}

static const char *format_bound(const struct schema_key *key, uint64_t value, char buf[UNITS_TEXT_BYTES])
{
    if (key->kind == KIND_BYTES)
        return value == INT64_MAX ? "2^63-1 bytes" : units_format_bytes(value, buf);
    if (key->kind == KIND_TIME)
        return units_format_duration(value, buf);
    snprintf(buf, UNITS_TEXT_BYTES, "%llu", (unsigned long long)value);
    return buf;
}

static bool number_in_range(struct check *check, const struct setting *setting, uint64_t value)
{
    const struct schema_key *key = setting->key;
    if (value >= key->least && value <= key->most)
        return true;
    if (value == 0 && key->zero_means)
        return true;
    char least[UNITS_TEXT_BYTES], most[UNITS_TEXT_BYTES], what[192];
    snprintf(what, sizeof what, "is out of range: write a value from %s to %s%s%s%s, such as %s", format_bound(key, key->least, least),
             format_bound(key, key->most, most), key->zero_means ? ", or 0 (" : "", key->zero_means ? key->zero_means : "",
             key->zero_means ? ")" : "", key->example);
    return wrong_value(check, setting, what);
}

static bool parse_number(struct check *check, const struct setting *setting, uint64_t *value)
{
    struct err err;
    char what[96];
    const struct schema_key *key = setting->key;
    switch (key->kind) {
    case KIND_BYTES:
        if (units_parse_bytes(setting->value, value, &err) != MCOMP_OK)
            break;
        return number_in_range(check, setting, *value);
    case KIND_TIME:
        if (units_parse_duration(setting->value, value, &err) != MCOMP_OK)
            break;
        return number_in_range(check, setting, *value);
    default:
        if (units_parse_integer(setting->value, value, NULL) == MCOMP_OK && setting->value[0] != '-')
            return number_in_range(check, setting, *value);
        snprintf(what, sizeof what, "is not a positive whole number: write %llu ... %llu, such as %s", (unsigned long long)key->least,
                 (unsigned long long)key->most, key->example);
        return wrong_value(check, setting, what);
    }
    char label[LABEL_BYTES];
    problems_add(check->problems, setting->line, "%s = %s", label_of(check, setting, label), err.text);
    return false;
}

static bool set_grid(struct check *check, const struct setting *setting)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *name = setting->value;
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes > GRID_NAME_BYTES_MAX)
        return wrong_value(check, setting, "is no name for a grid: write 1 to 64 characters, such as \"demo\"");
    if (name[strspn(name, allowed)] != 0 || name[0] == '.')
        return wrong_value(check, setting, "is no name for a grid: write letters, digits and . _ - only, without a dot in front, such as \"demo\"");
    memcpy(check->config->grid, name, bytes + 1);
    return true;
}

static bool set_path(struct check *check, const struct setting *setting, char *out, size_t out_bytes)
{
    const char *value = setting->value;
    if (!*value && !setting->key->zero_means)
        return wrong_value(check, setting, "names nothing: write the path of a folder, such as \"snapshots\"");
    const char *slash = strrchr(check->config->path, '/');
    int folder_bytes = *value && *value != '/' && slash ? (int)(slash + 1 - check->config->path) : 0;
    int n = snprintf(out, out_bytes, "%.*s%s", folder_bytes, check->config->path, value);
    if (n < 0 || (size_t)n >= out_bytes)
        return wrong_value(check, setting, "is too long: write a path that has, with the folder of this file, at most 4095 bytes");
    return true;
}

static bool set_flag(struct check *check, const struct setting *setting, bool *out)
{
    int value = cfg_parse_boolean(setting->value);
    if (value != 0 && value != 1)
        return wrong_value(check, setting, "is neither true nor false: write true or false");
    *out = value == 1;
    return true;
}

static bool set_choice(struct check *check, const struct setting *setting, void *field)
{
    const char *const *choices = setting->key->choices;
    char what[96] = "is not one of the words that may stand here: write ";
    for (uint32_t i = 0; choices[i]; i++) {
        if (strcmp(setting->value, choices[i]) == 0) {
            memcpy(field, &i, sizeof i);
            return true;
        }
        size_t used = strlen(what);
        snprintf(what + used, sizeof what - used, "%s%s", i ? " or " : "", choices[i]);
    }
    return wrong_value(check, setting, what);
}

static bool set_segment_size(struct check *check, const struct setting *setting, uint64_t bytes)
{
    char what[160];
    if (bytes == 0)
        return wrong_value(check, setting, "contributes nothing: write a multiple of 4096 bytes, such as \"64MiB\"");
    uint64_t below = bytes - bytes % PAGE_BYTES;
    if (bytes == below)
        return true;
    uint64_t above = below + PAGE_BYTES;
    if (below == 0)
        snprintf(what, sizeof what, "is not a multiple of %u bytes: write %llu", PAGE_BYTES, (unsigned long long)above);
    else
        snprintf(what, sizeof what, "is not a multiple of %u bytes: write %llu or %llu", PAGE_BYTES, (unsigned long long)below,
                 (unsigned long long)above);
    return wrong_value(check, setting, what);
}

static bool set_number(struct check *check, const struct setting *setting)
{
    uint64_t value;
    char *field = (char *)check->config + setting->key->offset;
    if (setting->key->offset == offsetof(struct config, segment_size)) {
        struct err err;
        if (units_parse_bytes(setting->value, &value, &err) == MCOMP_OK && value < PAGE_BYTES)
            return set_segment_size(check, setting, value); /* says more than "out of range" */
    }
    if (!parse_number(check, setting, &value))
        return false;
    if (setting->key->offset == offsetof(struct config, segment_size) && !set_segment_size(check, setting, value))
        return false;
    if (setting->key->kind == KIND_COUNT) {
        uint32_t count = (uint32_t)value;
        memcpy(field, &count, sizeof count);
    } else {
        memcpy(field, &value, sizeof value);
    }
    return true;
}

/* ---- nodes ---- */

static bool parse_node_number(const char *title, uint64_t *number)
{
    return title[0] != '-' && units_parse_integer(title, number, NULL) == MCOMP_OK;
}

/** The node that the section describes; NULL, without a word, if its number is wrong or it is there twice: check_section() tells that. */
static struct map_node *node_of(struct check *check, uint32_t section)
{
    if (section >= check->reading->section_count)
        return NULL;
    uint64_t number;
    if (!parse_node_number(check->reading->sections[section].title, &number) || number >= GRID_NODES_MAX)
        return NULL;
    struct map_node *node = &check->map[number];
    return node->line && node->section == section ? node : NULL;
}

static bool set_endpoint(struct check *check, const struct setting *setting)
{
    struct err err;
    struct config_endpoint endpoint;
    if (endpoint_parse(&endpoint, setting->value, &err) != MCOMP_OK) {
        char label[LABEL_BYTES];
        problems_add(check->problems, setting->line, "%s = %s", label_of(check, setting, label), err.text);
        return false;
    }
    struct map_node *node = node_of(check, setting->section);
    if (!node)
        return true;
    memcpy((char *)&node->node + setting->key->offset, &endpoint, sizeof endpoint);
    bool snapshot = setting->key->offset == offsetof(struct config_node, snapshot_address);
    *(snapshot ? &node->snapshot_line : &node->address_line) = setting->line;
    return true;
}

static void check_section(struct check *check, const struct section *section)
{
    if (section->kind == SECTION_UNKNOWN)
        return;
    if (section->kind != SECTION_NODE) {
        uint32_t *first = &check->section_line[section->kind];
        if (*first)
            problems_add(check->problems, section->line, "section %s is given twice, first on line %u: put its keys into one",
                         schema_section_name(section->kind), *first);
        else
            *first = section->line;
        return;
    }
    char quoted[TEXT_QUOTE_BYTES];
    uint64_t number;
    if (!parse_node_number(section->title, &number))
        problems_add(check->problems, section->line, "%s is not a node's number: write node I with I from 0 to N-1, as in node 0 { ... }",
                     text_quote(section->title, quoted));
    else if (number >= GRID_NODES_MAX)
        problems_add(check->problems, section->line, "node %s is too high a number: a grid has at most %u nodes, numbered from 0",
                     text_quote(section->title, quoted), GRID_NODES_MAX);
    else if (check->map[number].line)
        problems_add(check->problems, section->line, "node %llu is given twice, first on line %u: give each node a number of its own",
                     (unsigned long long)number, check->map[number].line);
    else
        check->map[number] = (struct map_node){.section = (uint32_t)(section - check->reading->sections), .line = section->line};
}

/** Two addresses that must differ, and do not. */
static void check_pair(struct check *check, uint32_t i, bool i_snapshot, uint32_t j, bool j_snapshot)
{
    const struct map_node *a = &check->map[i], *b = &check->map[j];
    uint32_t a_line = i_snapshot ? a->snapshot_line : a->address_line;
    uint32_t b_line = j_snapshot ? b->snapshot_line : b->address_line;
    const struct config_endpoint *a_end = i_snapshot ? &a->node.snapshot_address : &a->node.address;
    const struct config_endpoint *b_end = j_snapshot ? &b->node.snapshot_address : &b->node.address;
    if (!a_line || !b_line || strcmp(a_end->text, b_end->text) != 0)
        return;
    char text[128];
    text_escape(text, sizeof text, b_end->text, strlen(b_end->text));
    problems_add(check->problems, b_line, "node %u %s = %s is already the %s of node %u (line %u): give each a host or a port of its own", j,
                 j_snapshot ? "snapshot_address" : "address", text, i_snapshot ? "snapshot_address" : "address", i, a_line);
}

static void check_addresses(struct check *check)
{
    for (uint32_t j = 0; j < GRID_NODES_MAX; j++) {
        for (uint32_t i = 0; i < j; i++) {
            check_pair(check, i, false, j, false);
            check_pair(check, i, true, j, false);
            check_pair(check, i, false, j, true);
            check_pair(check, i, true, j, true);
        }
        check_pair(check, j, false, j, true);
    }
}

static void check_missing_nodes(struct check *check, uint32_t nodes, uint32_t nodes_line)
{
    uint32_t missing = 0, first = 0;
    for (uint32_t i = nodes; i-- > 0;) {
        if (!check->map[i].line) {
            missing++;
            first = i;
        }
    }
    if (missing == 1)
        problems_add(check->problems, nodes_line, "nodes = %u, but there is no node %u: add node %u { address = \"HOST:PORT\" }, or correct nodes",
                     nodes, first, first);
    else if (missing > 1)
        problems_add(check->problems, nodes_line,
                     "nodes = %u, but %u of them are missing, the first is node %u: add node %u { address = \"HOST:PORT\" } ..., or correct nodes",
                     nodes, missing, first, first);
}

static void check_map(struct check *check)
{
    uint32_t nodes = check->config->nodes, nodes_line = given_root(check, "nodes")->line;
    bool nodes_known = given_root(check, "nodes")->valid;
    for (uint32_t i = 0; i < GRID_NODES_MAX; i++) {
        struct map_node *node = &check->map[i];
        if (!node->line)
            continue;
        if (nodes_known && i >= nodes)
            problems_add(check->problems, node->line,
                         "node %u is outside a grid of %u nodes (line %u: nodes = %u): number the nodes from 0 to %u, or correct nodes", i,
                         nodes, nodes_line, nodes, nodes - 1);
    }
    if (nodes_known && check->reading->complete)
        check_missing_nodes(check, nodes, nodes_line);
    check_addresses(check);
}

/** Each node section must have an address; a wrong one has been told. */
static void check_node_keys(struct check *check)
{
    bool has_address[GRID_NODES_MAX] = {false};
    for (size_t i = 0; i < check->reading->setting_count; i++) {
        const struct setting *setting = &check->reading->settings[i];
        struct map_node *node = setting->key->section == SECTION_NODE && setting->key->required ? node_of(check, setting->section) : NULL;
        if (node)
            has_address[node - check->map] = true;
    }
    for (uint32_t i = 0; i < GRID_NODES_MAX; i++) {
        if (check->map[i].line && !has_address[i])
            problems_add(check->problems, check->map[i].line, "node %u has no address: add address = \"HOST:PORT\"", i);
    }
}

/* ---- the whole ---- */

static void check_setting(struct check *check, const struct setting *setting)
{
    const struct schema_key *key = setting->key;
    struct given *given = &check->given[key_index(key)];
    if (given->line && given->section == setting->section) {
        char label[LABEL_BYTES];
        problems_add(check->problems, setting->line, "%s is given twice, first on line %u: keep one of them",
                     label_of(check, setting, label), given->line);
        return;
    }
    char *field = (char *)check->config + key->offset;
    bool valid = false;
    switch (key->kind) {
    case KIND_GRID:
        valid = set_grid(check, setting);
        break;
    case KIND_COUNT:
    case KIND_BYTES:
    case KIND_TIME:
        valid = set_number(check, setting);
        break;
    case KIND_FLAG:
        valid = set_flag(check, setting, (bool *)field);
        break;
    case KIND_CHOICE:
        valid = set_choice(check, setting, field);
        break;
    case KIND_PATH:
        valid = set_path(check, setting, field, sizeof check->config->snapshot.directory);
        break;
    case KIND_ENDPOINT:
        valid = set_endpoint(check, setting);
        break;
    }
    *given = (struct given){.line = setting->line, .section = setting->section, .valid = valid};
}

/** Values for what the file does not give. */
static void set_initial(struct check *check)
{
    for (size_t i = 0; i < SCHEMA_KEYS; i++) {
        const struct schema_key *key = &schema_keys[i];
        if (check->given[i].line || key->section == SECTION_NODE || key->required)
            continue;
        char *field = (char *)check->config + key->offset;
        uint32_t count = (uint32_t)key->initial;
        char path[32];
        switch (key->kind) {
        case KIND_COUNT:
        case KIND_CHOICE:
            memcpy(field, &count, sizeof count);
            break;
        case KIND_BYTES:
        case KIND_TIME:
            memcpy(field, &key->initial, sizeof key->initial);
            break;
        case KIND_FLAG:
            *(bool *)field = key->initial != 0;
            break;
        case KIND_PATH:
            snprintf(path, sizeof path, "%s", key->initial_path);
            set_path(check, &(struct setting){.key = key, .value = path, .section = IN_ROOT, .line = 1}, field,
                     sizeof check->config->snapshot.directory);
            break;
        case KIND_GRID:
        case KIND_ENDPOINT:
            break;
        }
    }
}

static void check_missing_keys(struct check *check)
{
    for (size_t i = 0; i < SCHEMA_KEYS; i++) {
        const struct schema_key *key = &schema_keys[i];
        if (key->section == SECTION_ROOT && key->required && !check->given[i].line)
            problems_add(check->problems, check->lines, "%s is missing: add %s = %s", key->name, key->name, key->example);
    }
}

/** Cut to what makes sense for the segment, or make it half of that. */
static void settle_preserve_limit(struct check *check)
{
    struct config *config = check->config;
    uint64_t least = CONFIG_PRESERVE_PAGES_MIN * PAGE_BYTES, *limit = &config->snapshot.preserve_limit;
    if (!check->given[key_index(schema_find_key(SECTION_SNAPSHOT, "preserve_limit"))].line)
        *limit = config->segment_size / 2 > least ? config->segment_size / 2 : least;
    if (*limit > config->segment_size)
        *limit = config->segment_size;
    *limit -= *limit % PAGE_BYTES;
}

static void check_sums(struct check *check)
{
    struct config *config = check->config;
    const struct given *size = given_root(check, "segment_size"), *nodes = given_root(check, "nodes");
    if (size->valid && nodes->valid && config->segment_size > (uint64_t)INT64_MAX / config->nodes)
        problems_add(check->problems, size->line,
                     "segment_size = %llu bytes on %u nodes are more than 2^63-1 bytes: write at most %llu",
                     (unsigned long long)config->segment_size, config->nodes,
                     (unsigned long long)((uint64_t)INT64_MAX / config->nodes / PAGE_BYTES * PAGE_BYTES));
    /* One request lies inside one segment, so that a longer limit cannot be reached. */
    if (size->valid && config->server.max_message > config->segment_size)
        config->server.max_message = config->segment_size;
    if (size->valid)
        settle_preserve_limit(check);
    const struct given *buffers = &check->given[key_index(schema_find_key(SECTION_SERVER, "max_buffers"))];
    const struct given *message = &check->given[key_index(schema_find_key(SECTION_SERVER, "max_message"))];
    uint64_t least = config->server.max_message + FRAME_OVERHEAD_BYTES;
    bool both_sound = (buffers->valid || !buffers->line) && (message->valid || !message->line);
    if (both_sound && config->server.max_buffers < least)
        problems_add(check->problems, buffers->line ? buffers->line : message->line,
                     "server.max_buffers = %llu bytes do not hold one message of server.max_message = %llu bytes: write max_buffers = %llu or more",
                     (unsigned long long)config->server.max_buffers, (unsigned long long)config->server.max_message,
                     (unsigned long long)least);
}

enum mcomp_status check_settings(struct config *config, const struct reading *reading, uint32_t lines, struct problems *problems,
                                 struct err *err)
{
    struct check *check = calloc(1, sizeof *check);
    if (!check)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory");
    *check = (struct check){.config = config, .reading = reading, .problems = problems, .lines = lines};
    for (size_t i = 0; i < reading->section_count; i++)
        check_section(check, &reading->sections[i]);
    for (size_t i = 0; i < reading->setting_count; i++)
        check_setting(check, &reading->settings[i]);
    set_initial(check);
    check_map(check);
    check_node_keys(check);
    if (reading->complete)
        check_missing_keys(check);
    check_sums(check);
    enum mcomp_status status = MCOMP_OK;
    if (problems->count == 0) {
        config->node = calloc(config->nodes, sizeof *config->node);
        if (!config->node)
            status = err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory");
        for (uint32_t i = 0; config->node && i < config->nodes; i++)
            config->node[i] = check->map[i].node;
    }
    free(check);
    return status;
}
