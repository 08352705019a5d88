/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/units.h"
#include "config/internal.h"

/** "60 s", "1500 ms": exact, unlike units_format_duration(). */
static void print_time(FILE *out, uint64_t nanoseconds)
{
    static const struct {
        uint64_t size;
        const char *name;
    } units[] = {{UINT64_C(3600000000000), "h"}, {UINT64_C(60000000000), "min"}, {1000000000, "s"}, {1000000, "ms"}, {1000, "us"}, {1, "ns"}};
    size_t i = 0;
    while (nanoseconds % units[i].size != 0)
        i++;
    fprintf(out, "%llu %s", (unsigned long long)(nanoseconds / units[i].size), units[i].name);
}

static void print_bytes(FILE *out, uint64_t bytes)
{
    char text[UNITS_TEXT_BYTES];
    units_format_bytes(bytes, text);
    if (bytes < 1024)
        fprintf(out, "%s", text);
    else
        fprintf(out, "%s (%llu bytes)", text, (unsigned long long)bytes);
}

static void print_value(const struct config *config, const struct schema_key *key, FILE *out)
{
    const char *field = (const char *)config + key->offset;
    uint64_t number = 0;
    uint32_t count = 0;
    switch (key->kind) {
    case KIND_COUNT:
        memcpy(&count, field, sizeof count);
        fprintf(out, "%u", count);
        return;
    case KIND_BYTES:
    case KIND_TIME:
        memcpy(&number, field, sizeof number);
        if (number == 0 && key->zero_means)
            fprintf(out, "0 (%s)", key->zero_means);
        else if (key->kind == KIND_BYTES)
            print_bytes(out, number);
        else
            print_time(out, number);
        return;
    case KIND_CHOICE:
        memcpy(&count, field, sizeof count);
        fprintf(out, "%s", key->choices[count]);
        return;
    case KIND_FLAG:
        fprintf(out, "%s", *(const bool *)field ? "true" : "false");
        return;
    case KIND_PATH:
    case KIND_GRID:
        fprintf(out, "%s", *field ? field : key->zero_means ? key->zero_means : "");
        return;
    case KIND_ENDPOINT:
        break; /* in the table of nodes */
    }
}

static void print_nodes(const struct config *config, FILE *out)
{
    int address_bytes = (int)strlen("address"), snapshot_bytes = (int)strlen("snapshot_address");
    for (uint32_t i = 0; i < config->nodes; i++) {
        int a = (int)strlen(config->node[i].address.text), s = (int)strlen(config->node[i].snapshot_address.text);
        address_bytes = a > address_bytes ? a : address_bytes;
        snapshot_bytes = s > snapshot_bytes ? s : snapshot_bytes;
    }
    fprintf(out, "\n%4s  %-*s  %-*s  %-18s  %-18s  %s\n", "node", address_bytes, "address", snapshot_bytes, "snapshot_address", "first byte",
            "last byte", "shared memory");
    for (uint32_t i = 0; i < config->nodes; i++) {
        const struct config_node *node = &config->node[i];
        uint64_t first = config->segment_size * i;
        fprintf(out, "%4u  %-*s  %-*s  0x%-16llx  0x%-16llx  /mcomp.%s.%u\n", i, address_bytes, node->address.text, snapshot_bytes,
                node->snapshot_address.text[0] ? node->snapshot_address.text : "-", (unsigned long long)first,
                (unsigned long long)(first + config->segment_size - 1), config->grid, i);
    }
}

void config_print(const struct config *config, FILE *out)
{
    fprintf(out, "%-24s %s\n", "file", config->path);
    for (size_t i = 0; i < SCHEMA_KEYS; i++) {
        const struct schema_key *key = &schema_keys[i];
        if (key->section == SECTION_NODE)
            continue;
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", schema_section_name(key->section), key->section == SECTION_ROOT ? "" : ".", key->name);
        fprintf(out, "%-24s ", name);
        print_value(config, key, out);
        fprintf(out, "\n");
    }
    fprintf(out, "%-24s ", "whole grid");
    print_bytes(out, config_grid_bytes(config));
    fprintf(out, "\n");
    print_nodes(config, out);
}
