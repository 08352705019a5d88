/* SPDX-License-Identifier: Apache-2.0 */
/** Words that the segment and the protocol of minitransactions share: who a transaction is at a node, and what its record says.
 *  (Aguilera et al., Sinfonia, SOSP 2007, section 4; records and rules after docs/transactions.md.) */
#ifndef SEGMENT_LANE_H
#define SEGMENT_LANE_H

#include <stdint.h>

#define LANES 16u /* of a session: transactions it may have under way */

/** What a client calls a transaction at one node. */
struct lane_id {
    uint32_t session;    /* number of the session at that node */
    uint32_t lane;       /* 0 … LANES - 1 */
    uint64_t generation; /* of the session; never 0, never reused */
    uint64_t sequence;   /* of the transaction in the lane: 1, 2, 3 … LANE_SEQUENCE_MAX */
};

#define LANE_SEQUENCE_MAX ((UINT64_C(1) << 56) - 1)

enum lane_state {
    LANE_NONE = 0,       /* nothing was ever said of any transaction */
    LANE_PREPARED = 1,   /* voted to commit; its locks are held; not decided */
    LANE_COMMITTING = 2, /* decided; some of its writes may be stored */
    LANE_COMMITTED = 3,
    LANE_ABORTED = 4     /* voted against, or aborted since, for ever */
};

/** Why a transaction was aborted. */
enum lane_reason {
    LANE_REASON_NONE = 0,
    LANE_BUSY = 1,    /* a line is locked by another transaction */
    LANE_COMPARE = 2, /* a compare found other bytes */
    LANE_FROZEN = 3,  /* a snapshot held the node for a moment */
    LANE_MEMORY = 4,  /* no room for its record */
    LANE_TOLD = 5,    /* its client, or another participant, decided so */
    LANE_FORCED = 6   /* another participant asked before it was prepared here */
};

/** What a lane's record says, at one instant. */
struct lane_view {
    uint64_t generation; /* of its session; 0: nobody's */
    uint64_t sequence;   /* 0: LANE_NONE */
    enum lane_state state;
    enum lane_reason reason;  /* of LANE_ABORTED */
    uint32_t failed_compare;  /* of LANE_COMPARE: number of the first compare that failed, among those of this node */
};

/** A participant of a transaction. */
struct lane_participant {
    uint32_t node;
    struct lane_id id;
};

#endif
