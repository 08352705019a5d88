/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp.cfg as one validated struct. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/limits.h"

#define CONFIG_HOST_BYTES 256u

/** "host:port": IPv4, [IPv6] or a host name, normalised, so that equal ones have equal texts. Names are resolved when used, never here. */
struct config_endpoint {
    char host[CONFIG_HOST_BYTES]; /* without brackets */
    uint16_t port;                /* 1 … 65535 */
    char text[CONFIG_HOST_BYTES + 8]; /* host:port, brackets round IPv6 */
};

struct config_node {
    struct config_endpoint address;          /* memory server */
    struct config_endpoint snapshot_address; /* snapshot process; host empty when the file gives none */
};

enum config_compression { CONFIG_COMPRESSION_NONE, CONFIG_COMPRESSION_ZSTD };

/** Everything that mcomp.cfg says, checked. All sizes in bytes, all times in nanoseconds. */
struct config {
    char path[4096]; /* file it came from */
    char grid[GRID_NAME_BYTES_MAX + 1];
    uint64_t segment_size; /* k; a multiple of PAGE_BYTES */
    uint32_t nodes;        /* N, 1 … GRID_NODES_MAX; segment_size · nodes fits 63 bits */
    struct config_node *node; /* owned, nodes elements */
    struct {
        uint32_t io_threads;        /* 1 … 64, default 1 */
        uint32_t workers;           /* 1 … 64, default 2 */
        uint32_t max_connections;   /* 1 … 1048576, default 4096 */
        uint64_t max_message;       /* MESSAGE_BYTES_MIN … MESSAGE_BYTES_MAX; default 4 MiB; a larger one than segment_size is cut to that */
        uint64_t inline_max;        /* copies up to this run on the I/O thread, longer ones on a worker; 0 … MESSAGE_BYTES_MAX, default 64 KiB */
        uint64_t idle_timeout_ns;   /* close a connection without traffic; 0 = never (default) */
        uint64_t stall_timeout_ns;  /* close a connection that holds half a frame, or untaken answers while buffers are short; never 0, default 30 s */
        uint64_t max_buffers;       /* bytes of incomplete frames and untaken answers of all connections; at least max_message +
                                       FRAME_OVERHEAD_BYTES, default 256 MiB */
    } server;
    struct {
        uint64_t interval_ns; /* 0 = only on request; default 60 s */
        char directory[4096]; /* default "snapshots"; a relative one has the folder of the file put before it, so it can be opened as it is */
        uint32_t keep;        /* 1 … 1000000, default 5 */
        uint64_t preserve_limit; /* bytes of preserved pages on each node, whole pages: at least CONFIG_PRESERVE_PAGES_MIN, or segment_size where that is
                                    less; at most segment_size. Default half of segment_size */
        uint64_t rate_limit;     /* bytes of its segment that each node captures in a second; 0 = as fast as it can (default) */
        enum config_compression compression; /* default none */
        uint64_t takeover_ns;    /* silence of the leader after which the next node leads; 100 ms … , default 10 s */
    } snapshot;
    struct {
        char file[4096]; /* empty = no operation log (default); the folder of the file put before it as above */
        bool reads;      /* log reads too; default false */
    } oplog;
};

#define CONFIG_PRESERVE_PAGES_MIN 64u /* some writers at once, each with a page or two */
#define CONFIG_FILE_BYTES_MAX (1u << 20) /* 256 nodes need 30 KiB; what is larger is something else */

/** Read and check a file. On failure *config is all zero, all that is wrong goes line by line into problems (may be NULL;
 *  "FILE:LINE: what is wrong: what would be right"), and err holds the first of them. Blocks on file I/O; any thread.
 *  Owns: on OK the caller calls config_free().
 *  Errors: those of open(2) and read(2); INVALID_ARGUMENT for what the file says; RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status config_load(struct config *config, const char *path, FILE *problems, struct err *err);

/** The same for text in memory; name stands in messages and for the path to which relative paths in the text belong. */
MUST_CHECK enum mcomp_status config_parse(struct config *config, const char *name, const char *text, size_t bytes, FILE *problems,
                                          struct err *err);

/** Release what config owns and make it all zero. Safe on a zeroed struct, and twice. */
void config_free(struct config *config);

/** Say what the file means: every value in effect, with its unit, and each node's addresses and shared-memory object. */
void config_print(const struct config *config, FILE *out);

/** The path to use when none is given: $MCOMP_CONFIG if set and not empty, else the first that exists of ./mcomp.cfg and
 *  /etc/mcomp/mcomp.cfg, "mcomp.cfg" if neither does. Borrowed; never NULL. */
const char *config_default_path(void);

/** The node whose address is one of this machine's (loopback addresses are), when it is just one. Blocks on name look-ups. Any thread.
 *  Errors: NOT_FOUND when none is, FAILED_PRECONDITION when several are; the text says to give --node. */
MUST_CHECK enum mcomp_status config_find_self(const struct config *config, uint32_t *node, struct err *err);

/** Resolve an endpoint (blocks on DNS). Fills up to max addresses in order of preference, at least 1 on OK. passive: for bind(2).
 *  Any thread. Errors: UNAVAILABLE with the resolver's text. */
MUST_CHECK enum mcomp_status config_resolve(const struct config_endpoint *endpoint, bool passive, struct sockaddr_storage *out,
                                            socklen_t *out_len, size_t max, size_t *count, struct err *err);

/** Bytes of the whole grid, k·N. */
static inline uint64_t config_grid_bytes(const struct config *config)
{
    return config->segment_size * config->nodes;
}

#endif
