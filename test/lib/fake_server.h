/* SPDX-License-Identifier: Apache-2.0 */
/** Memory servers in the test's own process that do wrong on request.
 *
 *  A fake grid is a temporary mcomp.cfg and one server for each node, each a thread that listens on a port of the kernel's choice, holds the
 *  node's bytes in plain memory and, unless its script says otherwise, answers as a server should. A request that a well-behaved client
 *  would never send (another node's bytes, more than max_message, an id under way already) is counted as a fault of the client.
 *
 *  Nothing here asserts: functions return what they found. */
#ifndef TEST_FAKE_SERVER_H
#define TEST_FAKE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mcomp.h"
#include "wire/wire.h"

enum fake_action {
    FAKE_ANSWER,       /* as it should be */
    FAKE_HOLD,         /* carry out, answer at fake_server_release() */
    FAKE_IGNORE,       /* neither carry out nor answer */
    FAKE_DROP,         /* close the connection, carry nothing out */
    FAKE_DROP_AFTER,   /* carry out, close the connection without answering */
    FAKE_HALF,         /* carry out, send half of the answer, close the connection */
    FAKE_PART,         /* carry out, send half of the answer, and the rest at fake_server_release(); nothing else happens on the connection */
    FAKE_GARBAGE,      /* send what is no frame */
    FAKE_MALFORMED,    /* send a frame whose message is malformed */
    FAKE_TOO_LONG,     /* announce a frame over every limit */
    FAKE_MUTATED,      /* the answer with a few bytes changed, cut off or added at random */
    FAKE_WRONG_LENGTH, /* a read of one byte less than was asked for; a multi of one range too few; a swap that contradicts the value found */
    FAKE_WRONG_KIND,   /* the result of another operation; for a write, of a read of the same length; a multi of one range too many */
    FAKE_WRONG_ID,
    FAKE_TWICE,  /* the same answer twice */
    FAKE_STATUS, /* refuse with `status` */
    FAKE_BUSY,   /* a vote: against, since a line is locked */
    FAKE_FROZEN, /* a vote: against, since a snapshot is under way */
    FAKE_FORGET, /* forget all sessions, and then answer */
};

struct fake_step {
    enum fake_action action;
    unsigned times;           /* 0 counts as 1 */
    enum mcomp_status status; /* FAKE_STATUS */
};

/** How Hello is answered. Zero fields: as it should be. */
struct fake_hello {
    enum mcomp_status status; /* other than OK: refuse */
    const char *grid;
    uint64_t segment_size, max_message;
    uint32_t nodes, version;
    bool other_node; /* claim to be another */
    bool silent;     /* no answer */
    bool unasked;    /* the refusal answers no request, and the connection is closed, as where max_connections is reached */
};

/** A request that was received, Hello excepted. */
struct fake_seen {
    enum wire_op op;
    uint64_t address, length; /* MULTI: 0 and the number of ranges; of a transaction: its sequence, and session << 8 | lane */
    bool commit;              /* DECIDE */
    uint32_t timeout_ms;
};

struct fake_server;

struct fake_grid {
    char directory[64], config_path[96];
    uint32_t nodes;
    struct fake_server **servers; /* listening, all of them */
};

/** Begin. extra: more lines for mcomp.cfg, or "". Returns false when the machine does not allow it. */
bool fake_grid_open(struct fake_grid *grid, uint32_t nodes, uint64_t segment_size, const char *extra);
void fake_grid_close(struct fake_grid *grid);

/** What happens to the next requests, Hello excepted, counted over all connections; after the last step all is well again. */
void fake_server_script(struct fake_server *server, const struct fake_step *steps, size_t count);
void fake_server_hello(struct fake_server *server, const struct fake_hello *hello);

/** Send bytes to every connection whose Hello is answered. */
void fake_server_send(struct fake_server *server, const void *bytes, size_t count);

/** Answer what is held, the last first if reversed; give up what is to be given up. */
void fake_server_release(struct fake_server *server, bool reversed);

/** Read nothing more from connections whose Hello is answered, or read again. */
void fake_server_pause(struct fake_server *server, bool paused);

/** Close all connections, before returning; and if `refuse`, refuse new ones until fake_server_listen(). */
void fake_server_drop_all(struct fake_server *server, bool refuse);
void fake_server_listen(struct fake_server *server);

/** Wait until that many requests were received altogether. false: not within 20 s. */
bool fake_server_wait_requests(struct fake_server *server, unsigned count);

unsigned fake_server_requests(struct fake_server *server);
unsigned fake_server_connections(struct fake_server *server); /* accepted so far */
unsigned fake_server_client_faults(struct fake_server *server);

/** The i-th request received, of the first 1024. */
struct fake_seen fake_server_seen(struct fake_server *server, unsigned i);

unsigned fake_server_sessions(struct fake_server *server); /* open now */
unsigned fake_server_prepared(struct fake_server *server); /* transactions, now */

/** Copy out of, or into, the node's memory; offset within the node. */
void fake_server_peek(struct fake_server *server, uint64_t offset, void *to, size_t bytes);
void fake_server_poke(struct fake_server *server, uint64_t offset, const void *from, size_t bytes);

#endif
