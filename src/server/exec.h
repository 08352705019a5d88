/* SPDX-License-Identifier: Apache-2.0 */
/** From a decoded request to the bytes of its response: checks, the segment's operations, encoding. Knows no socket. */
#ifndef SERVER_EXEC_H
#define SERVER_EXEC_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "segment/segment.h"
#include "server/restoring.h"
#include "server/stats.h"
#include "server/txns.h"
#include "wire/wire.h"

#define SERVER_NAME "mcompd/" MCOMP_VERSION
#define EXEC_TEXT_BYTES 512u        /* Response.message */
#define EXEC_SMALL_REPLY_BYTES 2048u /* any response that carries no data of the segment; asserted when encoded */
#define CONN_JOBS_MAX 64u           /* requests of one connection that workers have at once; then its input waits */

/** What executing needs to know of the node. Filled at start, then never changed: any thread. */
struct exec {
    const struct config *config; /* borrowed */
    uint32_t node;
    struct segment *segment;     /* borrowed */
    struct restoring *restoring; /* borrowed */
    struct txns *txns;           /* borrowed */
    uint64_t base;               /* grid address of the segment's first byte */
    uint64_t size;               /* k, bytes */
    uint64_t max_message;        /* bytes of payload: the smaller of the configured and k */
    /** Fills in the node's counters; from any thread. */
    void (*fill_status)(void *arg, Mcomp__V1__StatusResult *result);
    void *fill_status_arg;
};

/** Who asks and where: one executing thread and one connection's state. */
struct exec_caller {
    uint32_t writer;     /* the thread's redo record */
    struct arena *arena; /* the thread's */
    bool hello_done;     /* in: Hello was answered OK on this connection; set by exec_run */
    bool may_wait;       /* the thread may sleep on a semaphore */
    enum mcomp_status give_up; /* not OK: do not begin a transaction any more, but see to it that nobody will; the status says why (exec_give_up_text) */
    uint64_t conn;       /* number of the connection, never 0 */
    uint64_t room;       /* in: bytes at out, 0: exec_reply_bytes. Out, where exec_run writes no response: not 0: so many are needed, call it again */
    bool aborted;        /* out: the request was a transaction that is not done */
    enum segment_outcome met; /* out, where exec_run writes no response and room is 0: what is in the way */
};

/** Outcome of one request, for counters and logs. */
struct exec_result {
    enum mcomp_status status;
    enum mcomp_status logged; /* the same, but ABORTED where a transaction was not done: for the operation log */
    uint64_t payload_bytes; /* moved, when OK */
    uint8_t *end;           /* end of the response written; NULL: would have had to wait, nothing was done, no response */
};

/** OK, or why the request cannot be executed; then err has the text for the client. Reads nothing but the request; takes memory of the arena. */
enum mcomp_status exec_check(const struct exec *exec, const struct exec_caller *caller, const struct wire_request *request, struct err *err);

/** The range lies on this node, or why not. */
enum mcomp_status exec_check_range(const struct exec *exec, uint64_t address, uint64_t length, struct err *err);

/** Does the request touch the segment's bytes? Then it runs between exec_enter and exec_leave, on the same thread. */
static inline bool exec_is_data(const struct wire_request *request)
{
    switch (request->op) {
    case WIRE_OP_NONE:
    case WIRE_OP_HELLO:
    case WIRE_OP_STATUS:
    case WIRE_OP_RESTORE_BEGIN:
    case WIRE_OP_RESTORE_DATA:
    case WIRE_OP_RESTORE_END:
        return false;
    default:
        return true;
    }
}

/** Does only the client of a session send this? Of the other requests about transactions it may have come from another node. */
static inline bool exec_is_client(const struct wire_request *request)
{
    return request->op == WIRE_OP_OPEN_SESSION || request->op == WIRE_OP_EXECUTE || request->op == WIRE_OP_PREPARE;
}

/** The ticket for exec_leave; 0: the node is being restored, and the request gets restoring_text() for an answer. */
static inline uint32_t exec_enter(const struct exec *exec, uint32_t writer)
{
    return restoring_enter(exec->restoring, writer);
}

static inline void exec_leave(const struct exec *exec, uint32_t writer, uint32_t ticket)
{
    restoring_leave(exec->restoring, writer, ticket);
}

/** Let the processor fetch what a request will touch, which may be anywhere: nothing has been checked. */
void exec_prefetch(const struct exec *exec, const struct wire_request *request);

/** Bytes that are copied to or from the segment: what decides where the request runs. The request has passed exec_check. */
uint64_t exec_payload(const struct wire_request *request);

/** Room that exec_run needs for the response. The request has passed exec_check. */
uint64_t exec_reply_bytes(const struct wire_request *request);

/** Execute a request that has passed exec_check, and exec_enter if it is one of those, and write its response at out. */
struct exec_result exec_run(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out);

/** Why a request is given up that has waited: DEADLINE_EXCEEDED or UNAVAILABLE. */
static inline const char *exec_give_up_text(enum mcomp_status status)
{
    return status == MCOMP_UNAVAILABLE ? "the node is stopping" : "timeout_ms passed while the request waited for its turn";
}

/** Write the response to a request that failed exec_check (room EXEC_SMALL_REPLY_BYTES). WRONG_NODE names the right node. */
uint8_t *exec_put_error(const struct exec *exec, uint8_t *out, const struct wire_request *request, enum mcomp_status status, const char *text);

#endif
