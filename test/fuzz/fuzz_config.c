/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a mcomp.cfg: no crash, no leak, no hang; a file that is accepted keeps what config.h promises, one that is refused
 * says where and why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void check_endpoint(const struct config_endpoint *endpoint)
{
    MC_ASSERT(endpoint->host[0] && endpoint->port > 0);
    const char *colon = strrchr(endpoint->text, ':');
    MC_ASSERT(colon && strtoul(colon + 1, NULL, 10) == endpoint->port);
}

static void check_accepted(const struct config *config)
{
    MC_ASSERT(config->grid[0] && config->grid[0] != '.' && !strchr(config->grid, '/'));
    MC_ASSERT(config->segment_size > 0 && config->segment_size % PAGE_BYTES == 0);
    MC_ASSERT(config->nodes >= 1 && config->nodes <= GRID_NODES_MAX);
    MC_ASSERT(config->segment_size <= (uint64_t)INT64_MAX / config->nodes);
    for (uint32_t i = 0; i < config->nodes; i++) {
        check_endpoint(&config->node[i].address);
        if (config->node[i].snapshot_address.host[0])
            check_endpoint(&config->node[i].snapshot_address);
        for (uint32_t j = 0; j < i; j++)
            MC_ASSERT(strcmp(config->node[i].address.text, config->node[j].address.text) != 0);
    }
    MC_ASSERT(config->server.io_threads >= 1 && config->server.workers >= 1 && config->server.max_connections >= 1);
    MC_ASSERT(config->server.max_message >= MESSAGE_BYTES_MIN && config->server.max_message <= config->segment_size);
    MC_ASSERT(config->server.max_buffers >= config->server.max_message + FRAME_OVERHEAD_BYTES);
    MC_ASSERT(config->server.stall_timeout_ns > 0 && config->snapshot.directory[0] && config->snapshot.keep >= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    struct config config;
    struct err err = {0};
    char *said = NULL;
    size_t said_bytes = 0;
    FILE *out = open_memstream(&said, &said_bytes);
    MC_ASSERT(out);
    enum mcomp_status status = config_parse(&config, "etc/mcomp.cfg", (const char *)bytes, count, out, &err);
    if (status == MCOMP_OK) {
        check_accepted(&config);
        MC_ASSERT(ftell(out) == 0);
        config_print(&config, out);
    }
    fclose(out);
    MC_ASSERT(said_bytes > 0);
    if (status != MCOMP_OK) {
        MC_ASSERT(status == MCOMP_INVALID_ARGUMENT && err.code == status && !config.node);
        MC_ASSERT(strncmp(said, "etc/mcomp.cfg:", 14) == 0 && strncmp(err.text, said, 20) == 0);
    }
    free(said);
    config_free(&config);
    return 0;
}
