/* SPDX-License-Identifier: Apache-2.0 */
/** What the tests of this folder share: parse a text under the name "t.cfg" and keep what it said. */
#ifndef TEST_UNIT_CONFIG_PARSE_H
#define TEST_UNIT_CONFIG_PARSE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

struct parsed {
    struct config config;
    enum mcomp_status status;
    struct err err;
    char *said; /* owned; the problems, one a line */
};

static inline struct parsed parse_bytes(const char *text, size_t bytes)
{
    struct parsed parsed = {.status = MCOMP_OK};
    size_t said_bytes = 0;
    FILE *out = open_memstream(&parsed.said, &said_bytes);
    MC_ASSERT(out);
    parsed.status = config_parse(&parsed.config, "t.cfg", text, bytes, out, &parsed.err);
    fclose(out);
    return parsed;
}

static inline struct parsed parse_text(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static inline void parsed_free(struct parsed *parsed)
{
    config_free(&parsed->config);
    free(parsed->said);
}

#endif
