/* SPDX-License-Identifier: Apache-2.0 */
/** What clients and nodes say to each other of a transaction, by meaning; docs/transactions.md.
 *
 *  Everything in src/txn is pure: no I/O, no clock, no threads, no memory but the caller's. Times are nanoseconds of any clock that does not go
 *  back; events may be late. Safety depends on no time: time-outs only decide when something is tried. */
#ifndef TXN_MESSAGE_H
#define TXN_MESSAGE_H

#include <stdint.h>

#include "segment/lane.h"

/** About one transaction at one node, which a struct lane_id names. */
enum txn_message {
    TXN_NOTHING,
    TXN_PREPARE, /* client: vote, with the items of this node and all participants */
    TXN_EXECUTE, /* client: vote, decide and apply at once; this node is the only participant */
    TXN_COMMIT,  /* client or participant: all have voted to commit */
    TXN_ABORT,   /* client: one has not, or never will */
    TXN_RESOLVE  /* client or participant: what became of it? If it was not voted on yet, it is aborted hereby. */
};

/** Every message has the same answers: what the record says once the message was carried out. All but PREPARED and MISUSE are final. */
enum txn_says {
    TXN_NO_SESSION, /* the session is another's by now, or nobody's. The node has no part in the transaction any more, and never will. */
    TXN_STALE,      /* the lane has gone on to a later transaction: the same */
    TXN_PREPARED,   /* voted to commit, with read data; not decided, as far as this node knows */
    TXN_COMMITTED,  /* and applied; with read data */
    TXN_ABORTED,    /* for ever */
    TXN_MISUSE      /* against the rules of the protocol, so a defect or malice of the client; nothing was done */
};

struct txn_answer {
    enum txn_says says;
    enum lane_reason reason; /* of TXN_ABORTED */
    uint32_t failed_compare; /* of LANE_COMPARE */
};

#endif
