/* SPDX-License-Identifier: Apache-2.0 */
/** Minitransactions at this node: carries out what src/txn decides on what src/segment keeps, and remembers what of it need not outlive the server: who
 *  is behind a session, and when it was heard of last. Knows no socket and no message. */
#ifndef SERVER_TXNS_H
#define SERVER_TXNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "mcomp.pb-c.h"
#include "segment/transaction.h"
#include "txn/message.h"

struct txns; /* opaque; any thread */

/** What others want to know, as it happens; called with a session locked, so they must not lock one. */
struct txns_calls {
    void (*released)(void *arg); /* a prepared transaction is decided: who met its locks may try again */
    void *released_arg;
    void (*prepared)(void *arg); /* there are prepared transactions, and nobody watches them: txns_watch */
    void *prepared_arg;
};

/** Sessions that clients have already count as heard of now. actors: threads that call what has a parameter `writer`; each has a number below, which is that of
 *  its redo record if it has one. Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status txns_open(struct txns **txns, struct segment *segment, uint32_t actors, struct err *err);
/** No other call may be running. NULL is allowed. */
void txns_close(struct txns *txns);
/** Before anything acts. */
void txns_set_calls(struct txns *txns, const struct txns_calls *calls);

/* ---- sessions ---- */

/** The client's session, from connection number conn (not 0). Errors: RESOURCE_EXHAUSTED, all sessions are taken. */
MUST_CHECK enum mcomp_status txns_open_session(struct txns *txns, uint64_t conn, const uint8_t client[SEGMENT_CLIENT_BYTES], uint32_t *session,
                                               uint64_t *generation, struct err *err);

/** Is it a session at all, somebody's or not? */
bool txns_has_session(const struct txns *txns, uint32_t session);

/** A message about the session, which is one, came over connection conn (not 0). client: only its client sends such; what others send as well, counts only if
 *  it comes over the connection that is known for its client's. */
void txns_touch(struct txns *txns, uint32_t session, uint64_t conn, bool client);

/** Close the session, which is locked, if it has this generation. FAILED_PRECONDITION: a transaction is prepared in it. */
MUST_CHECK enum mcomp_status txns_close_session(struct txns *txns, uint32_t session, uint64_t generation, struct err *err);

/** Connections that are gone: their sessions count as lost from now_ns on. */
void txns_lose(struct txns *txns, const uint64_t *conns, size_t count, uint64_t now_ns);

/** Its client is gone for so long that it is to be collected. */
bool txns_is_forsaken(const struct txns *txns, uint32_t session, uint64_t now_ns);
/** No connection of its client is there: it ended, or the server is another by now, and no other has named the session since. */
bool txns_is_lost(const struct txns *txns, uint32_t session);
/** When it was heard of last; monotonic nanoseconds. */
uint64_t txns_contact_ns(const struct txns *txns, uint32_t session);

/* ---- messages ---- */

struct txn_work {
    enum txn_message message;
    struct lane_id id;           /* of a session that is one, and locked */
    struct segment_items *items; /* PREPARE, EXECUTE */
    const struct lane_participant *participants; /* PREPARE */
    uint32_t participant_count;
};

struct txn_said {
    struct txn_answer answer;
    bool fresh; /* the record was made by this very call: items tell which compares failed, and have the answer */
};

/** Carry a message out and say what is recorded. The caller holds the session's lock before and after. DONE: *said is set; else nothing was done, and
 *  what the transaction met. may_wait: never BUSY. writer: the calling thread's. */
MUST_CHECK enum segment_outcome txns_act(struct txns *txns, uint32_t writer, bool may_wait, const struct txn_work *work, struct txn_said *said);

/** Execute a transaction of which nothing is remembered; no session is needed. */
MUST_CHECK enum segment_outcome txns_execute_once(struct txns *txns, uint32_t writer, bool may_wait, struct segment_items *items, struct txn_said *said);

/** All locks are gone, and all sessions: a restore has begun to replace the bytes. */
void txns_cleared(struct txns *txns);

/* ---- watching; one thread ---- */

/** Nobody watches prepared transactions any more, so calls.prepared will be called; false: there are some, so go on. */
bool txns_unwatch(struct txns *txns);

/** The thread with this number has brought a transaction to its end that its client had left; has collected a session. */
void txns_count_resolved(struct txns *txns, uint32_t writer);
void txns_count_collected(struct txns *txns, uint32_t writer);

/* ---- for people ---- */

/** The fields of a StatusResult, but what resolving_fill_status knows. */
void txns_fill_status(struct txns *txns, Mcomp__V1__StatusResult *result);

#define TXNS_LIST_MAX 100u

/** Transactions that are prepared, the oldest first. */
struct txns_listed {
    uint32_t count, total;
    struct txns_listed_one {
        struct lane_id id;
        uint64_t prepared_ns;
        uint32_t node_count;
        uint32_t node[GRID_NODES_MAX];
    } one[];
};
/** May sleep on sessions' locks. NULL: out of memory. Free with free(). */
struct txns_listed *txns_list(struct txns *txns);

#endif
