/* SPDX-License-Identifier: Apache-2.0 */
/** The asynchronous engine: what a mcomp_queue consists of.
 *
 *  An operation (struct op) is one call of the user. It consists of pieces (struct piece), each of which is one request to one node, or,
 *  as long as it waits to be sent, the bytes of the operation on that node which are not yet cut into requests. A connection
 *  (struct conn) leads to one node; its pieces wait in its list until they are sent:
 *
 *      op_submit() -> WAITING --conn_flush()--> SENT --answer--> op_piece_done(), op_piece_failed()
 *                        ^                       |   \--the operation ends first--> GHOST --answer--> free
 *                        +--- lost, may repeat --+
 *
 *  Two kinds of operation are our own and have no caller: those that open a session at a node (lanes.h), and attempts of a transaction (transact.h).
 *
 *  A ghost keeps its id taken until the answer has come, so a late answer is never taken for another's, and its data never lands in
 *  memory that the caller has back.
 *
 *  Nothing here calls back except from mcomp_queue_run(), queue_run_until() and mcomp_queue_close(). What must end in between (flushing finds the
 *  memory short, an operation has no bytes) gets a deadline in the past instead, which the next run finds. Connections, too, are torn down
 *  by runs alone, save idle ones.
 *
 *  Everything belongs to the one thread that uses the queue. */
#ifndef CLIENT_ENGINE_H
#define CLIENT_ENGINE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "client/grid.h"
#include "client/span.h"
#include "client/split.h"
#include "mcomp_txn.h"
#include "wire/wire.h"

/* ---- bounds ---- */

#define NEVER UINT64_MAX /* a time, in nanoseconds of the monotonic clock */

#define RECEIVE_BYTES (256u * 1024) /* one recv takes the answers to hundreds of short requests */
#define BATCH_BYTES (64u * 1024)    /* headers and short data of one send */
#define BATCH_IOVECS 64u            /* pieces of one send, when their data is sent from the caller's memory */
#define BATCH_DATA_BYTES (1u << 20) /* no more data in one send: what the socket does not take is encoded again */
#define INLINE_BYTES 1024u          /* shorter data is copied behind its header: cheaper than another iovec */
#define HELD_BYTES 16384u           /* beginning of a frame that is kept by copying; longer frames get memory of their own */
#define DIRECT_BYTES 4096u          /* from here on the data of an incomplete answer is received into its place */
#define WINDOW_BYTES (16u << 20)    /* under way on a connection, both directions; more waits. One piece is always allowed */
#define WINDOW_PIECES 16384u        /* the same, counted; ghosts included */
#define ADDRESSES_MAX 8u            /* of one host name */
#define REST_BYTES (WIRE_HEADER_BYTES + INLINE_BYTES)

/* ---- pieces ---- */

enum piece_state { PIECE_FREE, PIECE_WAITING, PIECE_SENT, PIECE_GHOST };

/** Two cache lines. */
struct piece {
    struct piece *next, *prev;       /* WAITING: in its connection's list. FREE: next free. While a batch is made: next of the batch */
    struct piece *op_next, *op_prev; /* other pieces of the operation */
    struct op *op;                   /* NULL: ghost or free */
    struct conn *conn;
    uint64_t id; /* on the wire: index << ID_GENERATION_BITS | generation */
    uint64_t length; /* bytes of the grid */
    union {
        uint64_t address;     /* READ, WRITE, FETCH_ADD, COMPARE_AND_SWAP, RESTORE_DATA; RESTORE_BEGIN: round */
        uint64_t frame_bytes; /* MULTI, EXECUTE, PREPARE */
        uint64_t sent_ns;     /* STATUS */
    };
    union {
        uint8_t *data;  /* READ, WRITE, RESTORE_DATA: caller's */
        uint8_t *frame; /* MULTI, EXECUTE, PREPARE, while it is being sent: owned; else NULL */
        struct mcomp_node_status *status; /* STATUS: caller's */
        struct prepared_list *prepared;   /* LIST_TRANSACTIONS: caller's */
    };
    union {
        struct {
            uint64_t operand, desired; /* FETCH_ADD, COMPARE_AND_SWAP; RESTORE_…: its id, and file, zeros, phase */
        };
        struct {
            uint64_t skip; /* MULTI: with first and length a slice of the operation's parts */
            uint32_t first; /* EXECUTE, PREPARE, DECIDE, RESOLVE: index of the participant */
            bool writes; /* as last sent; DECIDE: to commit */
        };
    };
    uint32_t batch_at, batch_bytes; /* while a batch is made: place in queue->batch */
    uint32_t crc32c;                /* RESTORE_DATA, if has_crc */
    uint8_t state;                  /* enum piece_state */
    uint8_t kind;                   /* enum wire_op */
    bool has_crc;
};

#define PIECE_ALIGN 64u
_Static_assert(sizeof(struct piece) <= 2 * PIECE_ALIGN, "two cache lines");

#define ID_GENERATION_BITS 4u
#define ID_HELLO 1u      /* below the ids of all pieces */
#define SLOTS_CHUNK 128u /* pieces */

union slot {
    struct piece piece;
    _Alignas(PIECE_ALIGN) uint8_t bytes[2 * PIECE_ALIGN];
};

/** All pieces of a queue, found by id in two steps. Their addresses never change. */
struct slots {
    union slot **chunks; /* owned */
    uint32_t chunk_count, chunk_capacity;
    struct piece *free;
};

/** NULL: no memory. The piece is all zero but for its id, and WAITING. */
struct piece *slots_take(struct slots *slots);
void slots_give(struct slots *slots, struct piece *piece);
void slots_close(struct slots *slots);

/** Kinds whose frame may stand in memory of its own. */
static inline bool piece_has_frame(const struct piece *piece)
{
    return piece->kind == WIRE_OP_MULTI || piece->kind == WIRE_OP_EXECUTE || piece->kind == WIRE_OP_PREPARE;
}

/** Free the frame, if there is one. */
void piece_drop_frame(struct piece *piece);

static inline struct piece *slots_at(const struct slots *slots, uint32_t index)
{
    return &slots->chunks[index / SLOTS_CHUNK][index % SLOTS_CHUNK].piece;
}

/** The piece under way that has this id, or NULL. */
static inline struct piece *slots_find(const struct slots *slots, uint64_t id)
{
    uint64_t index = id >> ID_GENERATION_BITS;
    if (index >= (uint64_t)slots->chunk_count * SLOTS_CHUNK)
        return NULL;
    struct piece *piece = slots_at(slots, (uint32_t)index);
    return piece->id == id && piece->state >= PIECE_SENT ? piece : NULL;
}

/* ---- operations ---- */

/** First failure of an operation, and what is known of its parts. */
struct failure {
    struct err why;
    uint32_t node; /* to blame, or MCOMP_NO_NODE */
    struct span_notes notes;
};

/** Ranges of a multi call. Owned by the operation once that is accepted. */
struct multi {
    struct span_range *ranges;  /* owned; as the call gave them */
    struct split_part *parts;   /* owned; one chain for each node */
    struct split_slice *chains; /* owned; the whole chain of each node, in the order of first use */
    size_t range_count, chain_count;
};

enum op_role {
    OP_PLAIN,
    OP_RUN,     /* a transaction, as its caller sees it; has no pieces */
    OP_ATTEMPT, /* no caller: one attempt of a transaction */
    OP_SESSION  /* no caller: a session is being opened */
};

struct op {
    mcomp_callback callback;
    void *arg;
    struct mcomp_queue *queue;
    uint32_t timeout_ms;  /* for messages */
    uint64_t deadline_ns; /* NEVER: none */
    struct piece *first, *last; /* live pieces, in the order of the call */
    uint64_t address, length;
    uint64_t value;
    struct failure *failure; /* owned; NULL while all is well, or when memory was short */
    struct multi *multi;     /* owned; MULTI only */
    union {
        struct run *run;         /* RUN: owned */
        struct attempt *attempt; /* ATTEMPT: owned */
        struct session *session; /* SESSION: its connection's */
    };
    struct op *next_free;
    uint8_t role;   /* enum op_role */
    uint8_t kind;   /* enum wire_op */
    uint8_t status; /* enum mcomp_status of the first failure */
    bool used;
};

/** What a caller wants. */
struct submission {
    enum wire_op kind;
    uint64_t address, length;
    void *data;
    uint64_t operand, desired; /* as in struct piece */
    struct multi *multi;  /* MULTI; owned by the operation on OK, else by the caller */
    uint32_t node;        /* STATUS, LIST_TRANSACTIONS, RESTORE_BEGIN, RESTORE_END */
    uint32_t timeout_ms;  /* for messages */
    uint64_t deadline_ns; /* NEVER: none */
    mcomp_callback callback;
    void *arg;
};

/** A call was not accepted: say in *error (may be NULL; set but for its spans) that nothing of it is done. Returns status. */
enum mcomp_status op_refuse(const struct submission *wanted, enum mcomp_status status, struct mcomp_error *error);

/** Range and alignment of anything but MULTI. */
MUST_CHECK enum mcomp_status op_check(const struct mcomp *grid, const struct submission *wanted, struct mcomp_error *error);

/** Accept what op_check() found good. Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status op_submit(struct mcomp_queue *queue, const struct submission *wanted, struct mcomp_error *error);

/** The piece succeeded; it is given back, and the operation called back when it was the last. */
void op_piece_done(struct piece *piece);

/** The piece failed for good. outcome: of what it would have changed; for a read it is NOT_DONE whatever is given. */
void op_piece_failed(struct piece *piece, enum mcomp_outcome outcome, const struct err *why);

/** End the operation now: its deadline has passed, or (cancelled) its queue is being closed. */
void op_end(struct op *op, bool cancelled);

/** Let the next run end the operation with this failure. */
void op_doom(struct op *op, const struct err *why);

/** Set when op_end() is to be called, at the latest. */
void op_set_deadline(struct op *op, uint64_t at_ns);

/** An operation without a caller. NULL: no memory. */
struct op *op_internal(struct mcomp_queue *queue, enum op_role role);

/** It is at its end; what is under way of it goes on without it. */
void op_end_internal(struct op *op);

/** A new piece of it for a node, not yet waiting. NULL: no memory. */
struct piece *op_add_piece(struct op *op, struct conn *conn, enum wire_op kind);

/** The piece is neither waiting nor under way any more, and is given back. */
void op_drop_piece(struct piece *piece);

/** The piece is no more the operation's: no byte of it is sent any more if it waits, and nobody looks at its answer else. */
void op_withdraw_piece(struct piece *piece);

/** Note why the operation fails, if nothing is noted yet. conn: whose node is to blame; may be NULL. */
void op_blame(struct op *op, const struct conn *conn, const struct err *why);

/** Why a piece has not been answered within this time. */
void op_explain(const struct piece *piece, uint32_t timeout_ms, struct err *why);

/** Call back and free the operation, which has no pieces any more. */
void op_finish(struct op *op);

/** Take over from `piece`, which waits, its first `bytes` bytes as a piece of its own. NULL: no memory. */
struct piece *op_cut(struct piece *piece, uint64_t bytes);

static inline bool op_changes_nothing(const struct piece *piece)
{
    return piece->kind == WIRE_OP_READ || piece->kind == WIRE_OP_STATUS || piece->kind == WIRE_OP_LIST_TRANSACTIONS ||
           (piece->kind == WIRE_OP_MULTI && !piece->writes);
}

/** May be sent again though it may have been obeyed: it changes nothing, or the second time changes nothing. */
static inline bool op_may_repeat(const struct piece *piece)
{
    return op_changes_nothing(piece) || piece->kind == WIRE_OP_OPEN_SESSION || piece->kind == WIRE_OP_RESTORE_BEGIN ||
           piece->kind == WIRE_OP_RESTORE_DATA || piece->kind == WIRE_OP_RESTORE_END;
}

/** Is it about a node, and about no range of bytes? */
static inline bool op_has_no_range(uint8_t kind)
{
    return kind == WIRE_OP_STATUS || kind == WIRE_OP_LIST_TRANSACTIONS || kind == WIRE_OP_RESTORE_BEGIN || kind == WIRE_OP_RESTORE_END;
}

static inline struct split_slice piece_slice(const struct piece *piece)
{
    return (struct split_slice){piece->first, piece->skip, piece->length};
}

/* ---- multi.c, node_status.c ---- */

/** Check and copy. Errors: OUT_OF_RANGE, INVALID_ARGUMENT, RESOURCE_EXHAUSTED; the spans are set. */
MUST_CHECK enum mcomp_status multi_new(const struct mcomp *grid, struct multi **multi, const struct mcomp_range *ranges, size_t count,
                                       struct mcomp_error *error);
void multi_free(struct multi *multi);

/** Make the request of a piece in piece->frame. false: no memory. */
bool multi_encode(struct piece *piece, uint32_t timeout_ms, struct arena *arena);

/** Bring the data of an answer to its places. false: it does not fit the request. */
bool multi_take_result(const struct piece *piece, const Mcomp__V1__MultiResult *result);

/* restore.c */

/** Encode a RESTORE_BEGIN, RESTORE_END, or what stands before the data of a RESTORE_DATA. Returns the end. */
uint8_t *restore_encode(uint8_t *out, struct piece *piece, uint32_t timeout_ms);

/** Where the answer to LIST_TRANSACTIONS goes. */
struct prepared_list {
    struct mcomp_prepared *list; /* caller's */
    size_t capacity;
    uint64_t total;
};

uint8_t *prepared_encode(uint8_t *out, const struct piece *piece, uint32_t timeout_ms);
void prepared_take(struct prepared_list *list, const Mcomp__V1__ListTransactionsResult *result);

void node_status_take(struct mcomp_node_status *status, uint32_t node, const Mcomp__V1__StatusResult *result);

/* ---- connections ---- */

enum conn_state { CONN_DOWN, CONN_CONNECTING, CONN_HELLO, CONN_READY };

struct conn {
    struct mcomp_queue *queue;
    struct conn *next_dirty;
    uint32_t node;
    int fd; /* owned; -1 when DOWN */
    uint8_t state; /* enum conn_state */
    bool dirty;    /* in queue->dirty: conn_flush() may have something to do */
    bool blocked;  /* the socket takes no more for now */
    bool broken;   /* sending failed; fault says why; the next run takes what was still received, and tears it down */
    bool answered; /* something other than Hello was answered on this connection */
    bool receiving;
    uint32_t epoch; /* counts disconnections */

    struct piece *head, *tail; /* WAITING */
    uint32_t waiting;
    uint32_t under_way;       /* SENT and GHOST */
    uint64_t under_way_bytes; /* their lengths */
    uint64_t max_message;     /* READY: smaller of ours and the node's */

    /* The rest of the one frame that the socket took in part; first rest[], then the tail. */
    uint8_t rest[REST_BYTES];
    size_t rest_at, rest_end;
    const uint8_t *tail_data; /* the caller's, or the same as tail_owned */
    size_t tail_bytes;
    uint8_t *tail_owned;
    struct piece *partly; /* whose frame it is; NULL: Hello, or there is none */

    /* The beginning of an answer: at most one of these three. */
    uint8_t *held; /* owned, HELD_BYTES */
    size_t held_bytes;
    struct piece *direct; /* its data is being received to direct_to */
    uint8_t *direct_to;   /* NULL: the operation has ended; dropped */
    uint64_t direct_left;
    uint8_t *frame; /* owned; a long frame that is no plain answer to a read */
    size_t frame_at, frame_bytes;

    uint64_t timer_ns;   /* the next thing to do by the clock; NEVER: none */
    uint64_t retry_ns;   /* DOWN: not before */
    uint64_t resume_ns;  /* READY: send nothing before */
    uint64_t touched_ns; /* last answer */
    uint32_t attempts;   /* to connect, since the last success */
    uint32_t refusals;   /* "try again later" in a row */
    struct err last_error; /* of the last attempt; code OK: none yet */
    struct err refusal;    /* valid while refusals > 0 */
    struct err fault;      /* why the connection is of no use any more */
    uint32_t watched;      /* events that epoll watches for; 0: not there */

    struct session *sessions;    /* owned; of this queue at this node */
    uint64_t session_retry_ns;   /* ask for no other one before */
    uint32_t session_failures;   /* to open one, in a row */
    struct err session_error;    /* of the last of these */

    struct sockaddr_storage addresses[ADDRESSES_MAX];
    socklen_t address_lengths[ADDRESSES_MAX];
    size_t address_count, address_at;
};

/* conn.c */

/** The queue's connection to a node; NULL: no memory. */
struct conn *conn_get(struct mcomp_queue *queue, uint32_t node);
void conn_close(struct conn *conn);

/** Put a piece at the end, at the front, or behind another of those that wait. Only the first has the next flush look at it. */
void conn_append(struct conn *conn, struct piece *piece);
void conn_prepend(struct conn *conn, struct piece *piece);
void conn_insert_after(struct conn *conn, struct piece *before, struct piece *piece);
void conn_remove(struct conn *conn, struct piece *piece);

/** Take off the first that waits. There is one. */
static inline struct piece *conn_pop(struct conn *conn)
{
    struct piece *piece = conn->head;
    conn->head = piece->next;
    if (conn->head)
        conn->head->prev = NULL;
    else
        conn->tail = NULL;
    piece->next = NULL;
    conn->waiting--;
    return piece;
}

/** The next flush looks at this connection. */
void conn_mark_dirty(struct conn *conn);

/** Connect when there is something to send; send it as far as the socket takes it. Never calls back. */
void conn_flush(struct conn *conn);

/** What poll found. Calls back. */
void conn_on_event(struct conn *conn, bool readable, bool writable, bool failed);
void conn_on_timer(struct conn *conn);
void conn_set_timer(struct conn *conn, uint64_t at_ns);

/** Close the socket and forget what belongs to it, but leave all pieces as they are. */
void conn_disconnect(struct conn *conn);

/** Tear the connection down; its pieces wait again or fail. faulty: the node sent what makes no sense, and nothing is sent to it twice.
 *  While it is still being made: that attempt has failed. Calls back. */
void conn_lost(struct conn *conn, const struct err *why, bool faulty);

/** The node refuses us for good: whatever waits for it fails. Calls back. */
void conn_refused(struct conn *conn, const struct err *why);

/** The node asked to try again later. */
void conn_pause(struct conn *conn, const struct err *why);

/* connect.c */

void conn_start(struct conn *conn);
void conn_connected(struct conn *conn);
void conn_attempt_failed(struct conn *conn, const struct err *why);

/** Hello was accepted. */
void conn_ready(struct conn *conn, uint64_t max_message);

/** Set retry_ns: at once after a connection that was of use, else after a back-off. */
void conn_plan_retry(struct conn *conn);

/** How long to wait after so many failures in a row. */
uint64_t conn_backoff_ns(struct conn *conn, uint32_t failures);

/* send.c */

/** Send the rest of a frame and then what waits, as the window allows. */
void conn_send(struct conn *conn);

/** The caller of an operation gets his memory back: what the socket has not yet taken of it is copied. */
void conn_keep_tail(struct conn *conn, const struct piece *piece);

/** Send these bytes if the socket takes them at once, before it is closed. */
void conn_send_last(struct conn *conn, const uint8_t *bytes, size_t count);

/* receive.c */

/** Receive and handle answers. Tears the connection down when it is at its end. */
void conn_receive(struct conn *conn);
void conn_drop_input(struct conn *conn);

/* answer.c */

/** One answer. Calls back. false: the connection is of no use any more; either it is DOWN already or conn->fault says why. */
bool conn_answer(struct conn *conn, const uint8_t *body, size_t bytes);

/** The piece of this connection that an answer with this id is for. NULL: there is none, and conn->fault says so. */
struct piece *conn_find(struct conn *conn, uint64_t id);

/** A piece is under way no more. */
void conn_piece_answered(struct conn *conn, struct piece *piece);

/** Set conn->fault: the node sent what makes no sense. Returns false. */
bool conn_fault(struct conn *conn, const char *format, ...) PRINTF_LIKE(2, 3);

/** The node's own words about a status that is not OK. */
void conn_explain(const struct wire_response *response, struct err *why);

/* hello.c */

/** Put Hello into conn->rest. */
void hello_put(struct conn *conn);

/** The answer to Hello. false: as conn_answer(). */
bool hello_take(struct conn *conn, const struct wire_response *response);

/* ---- the queue ---- */

struct mcomp_queue {
    struct mcomp *grid;
    struct conn **conns; /* owned; by node, NULL: not used yet */
    uint32_t *used_nodes; /* owned; in the order of first use */
    uint32_t used_count;
    struct conn *dirty;
    struct slots slots;
    struct op *free_ops;
    struct op **op_chunks; /* owned */
    size_t op_chunk_count, op_chunk_capacity;
    uint64_t deadline_ns;   /* no operation has an earlier deadline; see run_timers() */
    uint64_t conn_timer_ns; /* no connection has an earlier timer */
    uint64_t now_ns;        /* of the current run or flush */
    uint64_t tick_ns;       /* how far the coarse clock may be behind */
    uint64_t random;
    size_t pending, called_back;
    size_t internal; /* operations without a caller */
    struct run *waiting_first, *waiting_last; /* transactions that wait for lanes */
    struct run *free_runs;                    /* owned */
    struct attempt *free_attempts;            /* owned */
    bool running, closing;

    int epoll_fd, timer_fd; /* -1 in a session, which polls its sockets directly */
    uint64_t armed_ns;      /* what timer_fd is set to */
    struct pollfd *polls;   /* session: owned, room for all nodes */
    uint32_t *polled;       /* session: owned, the nodes of polls */
    struct mcomp_queue *next_idle; /* session: in the pool */

    uint8_t *received; /* owned, RECEIVE_BYTES */
    uint8_t *batch;    /* owned, BATCH_BYTES */
    struct arena receive_arena, send_arena;
    struct mcomp_error error; /* of the callback under way */
};

/** Accept what is checked already, with a time-out from now. Errors: as op_submit(). */
MUST_CHECK enum mcomp_status queue_submit(struct mcomp_queue *queue, struct submission *wanted, uint32_t timeout_ms, struct mcomp_error *error);

/** When a call that is made now and may take so long is to be at its end. */
uint64_t queue_deadline_ns(const struct mcomp_queue *queue, uint32_t timeout_ms);

/** Memory of an operation, zeroed; NULL: none. */
struct op *queue_take_op(struct mcomp_queue *queue);
void queue_give_op(struct mcomp_queue *queue, struct op *op);

/** Operation i of all that there is memory for; NULL beyond. */
struct op *queue_op_at(const struct mcomp_queue *queue, size_t i);

/** A queue without descriptors of its own, for synchronous calls. */
MUST_CHECK enum mcomp_status queue_open_session(struct mcomp *grid, struct mcomp_queue **queue, struct mcomp_error *error);

/** Run until *done, which a callback sets; the operation has a deadline, or the caller is willing to wait for ever. */
void queue_run_until(struct mcomp_queue *queue, const bool *done);

/** Watch a connection's socket for these epoll events (0: no more). Nothing to do in a session. false: no memory; errno is set. */
bool queue_watch(struct conn *conn, uint32_t events);

/** 0 … 2^64-1; for back-off only. */
uint64_t queue_random(struct mcomp_queue *queue);

#endif
