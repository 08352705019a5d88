/* SPDX-License-Identifier: Apache-2.0 */
/** Sessions and lanes: under which names a queue's transactions are known at a node.
 *
 *  A lane holds one transaction at a time. A session is LANES of them, opened at a node when it is first needed, and more sessions as more
 *  transactions are under way. The rules that make outcomes certain: a lane's next sequence is used only when the transaction before it is finished
 *  at all its participants (lane_give(…, true)); else its whole session is used no more, and the node collects it in time (lane_give(…, false)). */
#ifndef CLIENT_LANES_H
#define CLIENT_LANES_H

#include "client/engine.h"
#include "segment/lane.h"

#define SESSION_CLIENT_BYTES 16u

/* A node forgets a session that it has not heard of for 60 s, for 5 s once its connection is lost. Well before that we open it anew: the same if
 * it is still there. */
#define SESSION_IDLE_NS 30000000000u
#define SESSION_LOST_NS 2000000000u

enum session_state { SESSION_OPENING, SESSION_OPEN, SESSION_DEAD };

struct lane {
    struct session *session;
    struct lane *next_free;
    uint64_t sequence; /* of the last transaction in it; 0: none */
    uint8_t number;
};

struct session {
    struct session *next; /* of the connection */
    struct conn *conn;
    struct op *op; /* OPENING: asks for it */
    struct piece *piece;
    struct lane *free_lanes; /* OPEN */
    uint64_t generation;     /* OPEN */
    uint64_t contact_ns;     /* last answer about it */
    uint32_t epoch;          /* of the connection, then */
    uint32_t number;         /* OPEN */
    uint32_t busy;           /* lanes in use */
    uint8_t state;           /* enum session_state */
    uint8_t client[SESSION_CLIENT_BYTES];
    struct lane lanes[LANES];
};

/** True when the next lane_take() succeeds. Else a session is being opened, and transact_lanes_free() follows, if session_is_coming(). */
bool lane_is_free(struct conn *conn);
bool session_is_coming(const struct conn *conn);

/** A lane, which takes the next sequence: *id names the transaction. lane_is_free() is true. */
struct lane *lane_take(struct conn *conn, struct lane_id *id);

/** finished: nothing of its transaction can be asked for any more, by anybody. */
void lane_give(struct lane *lane, bool finished);

/** The node knows the session no more. */
void lane_session_gone(struct lane *lane);

/** The node has answered. */
void lane_contact(struct lane *lane);

/** Nobody waits for a session of this node any more. */
void sessions_unwanted(struct conn *conn);

/** Why there is no lane: of the last attempt to open a session; code OK: none failed. */
const struct err *sessions_error(const struct conn *conn);

/** The request for a session that is under way; NULL: none. */
const struct piece *sessions_piece(const struct conn *conn);

/* For the engine. */

uint8_t *session_encode_open(uint8_t *out, const struct piece *piece, uint32_t timeout_ms);
bool session_take_result(struct piece *piece, const struct wire_response *response);
void session_piece_done(struct piece *piece);
void session_piece_failed(struct piece *piece, const struct err *why);

/** The queue is being closed: tell the node, if that needs no waiting, that the sessions of finished transactions may be forgotten. */
void sessions_close(struct conn *conn);

#endif
