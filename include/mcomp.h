/* SPDX-License-Identifier: Apache-2.0 */
/** libmcomp: the memory of N machines as one flat array of bytes.
 *
 *  Every function is safe in every thread unless its text says otherwise. Nothing here installs signal handlers, starts threads or forks;
 *  sockets are opened close-on-exec, and writing to a broken one raises no SIGPIPE.
 *
 *  Atomicity. The grid is N segments of k bytes; node i owns the addresses [i·k, (i+1)·k). What goes to one node in one request is atomic:
 *  it happens at one instant, and nobody ever sees a part of it. The library sends one request where the range lies on one node and is at
 *  most max_message bytes long (mcomp_max_message()); else it splits, all pieces under way at once, and each piece is atomic, the whole is
 *  not. Calls under way at the same time are concurrent: who needs an order waits for the first before making the second.
 *
 *  Time-outs. Each call has timeout_ms: milliseconds from the call to the return, MCOMP_TIMEOUT_DEFAULT for the handle's, MCOMP_NO_TIMEOUT for
 *  none. A read that timed out changed nothing. A write, add or compare-and-swap that timed out after it was sent has an UNKNOWN outcome: it
 *  may have happened, may happen yet, or never. The error says which address ranges are done, not done, or unknown. A time-out never costs the
 *  connection. Of an asynchronous call, an answer that has come when the queue is run counts, even where the time has passed meanwhile.
 *
 *  Lost connections are made again with back-off and jitter. Within the time-out of a call, pieces that were never sent, reads, adds and
 *  compare-and-swaps are sent again by themselves. An add or compare-and-swap takes effect once, however often it is sent: the node remembers it, also
 *  when its server is killed. (Only if the node could not be reached for more than 5 s may it have forgotten: then the outcome is reported as
 *  unknown.) Writes, and several ranges in one call if one is written, that were sent and not answered are reported as unknown and never
 *  repeated by the library; mcomp_write_atomic() and the other transactions of mcomp_txn.h are, with the same care. A node that answers
 *  "nothing was done, try again later" is asked again, too. A node whose machine takes no byte for 60 s counts as lost. After a reconnect the node
 *  may hold memory that was made anew: mcomp_node_status() tells by segment_id.
 *
 *  Host names in mcomp.cfg are resolved when a connection is made, in the thread that makes it, and the resolver may block for longer than
 *  the call's time-out; numeric addresses never block.
 *
 *  After fork(2) a child must not use a handle or queue of its parent, not even to close it. */
#ifndef MCOMP_H
#define MCOMP_H

#include <stddef.h>
#include <stdint.h>

#include "mcomp_status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MCOMP_API __attribute__((visibility("default")))
#define MCOMP_MUST_CHECK __attribute__((warn_unused_result))

#define MCOMP_TIMEOUT_DEFAULT 0u
#define MCOMP_NO_TIMEOUT UINT32_MAX
#define MCOMP_NO_NODE UINT32_MAX

/* ---- errors ---- */

enum mcomp_outcome {
    MCOMP_DONE = 1,     /* happened, and was acknowledged */
    MCOMP_NOT_DONE = 2, /* did not happen and will not */
    MCOMP_MAYBE = 3     /* unknown: it was sent and no answer came */
};

struct mcomp_span {
    uint64_t address; /* grid address, bytes */
    uint64_t length;  /* bytes */
    enum mcomp_outcome outcome;
};

#define MCOMP_SPANS_MAX 64u
#define MCOMP_ERROR_TEXT_BYTES 512u

/** Belongs to the caller, usually on its stack; every function that takes one also takes NULL. Set on failure only. */
struct mcomp_error {
    enum mcomp_status status;
    int sys_errno; /* 0 when no system call is to blame */
    uint32_t node; /* node that failed, or MCOMP_NO_NODE */
    char text[MCOMP_ERROR_TEXT_BYTES]; /* one line, for people */
    /* What became of each part of the call's ranges, in the order of the call, neighbours of one outcome merged. Complete unless there were more
     * than MCOMP_SPANS_MAX: then the last span covers all that follows and is MCOMP_MAYBE. */
    uint32_t span_count;
    struct mcomp_span spans[MCOMP_SPANS_MAX];
};

/** Name of a status as in the protocol, e.g. "OUT_OF_RANGE". */
MCOMP_API const char *mcomp_status_name(enum mcomp_status status);

/** One phrase for people, e.g. "outside the grid". */
MCOMP_API const char *mcomp_status_text(enum mcomp_status status);

/* ---- the grid ---- */

/** A grid as one mcomp.cfg describes it. Any number of threads use it at once. */
struct mcomp;

/** Set what differs from the defaults; zero = default. Initialise with = {0}. */
struct mcomp_options {
    const char *client_name;       /* appears in the servers' logs; default "libmcomp/VERSION" */
    uint32_t timeout_ms;           /* of calls with MCOMP_TIMEOUT_DEFAULT; default 10000 */
    uint32_t connect_timeout_ms;   /* of one attempt to connect, hello included; default 2000 */
    uint32_t max_sessions;         /* synchronous calls under way at once; more wait. One connection to each node used, each. Default 64 */
};

/** Read the configuration and make a handle; connections are made when first needed. config_path NULL: $MCOMP_CONFIG, ./mcomp.cfg,
 *  /etc/mcomp/mcomp.cfg. options NULL: all defaults. Blocks on file I/O only.
 *  Owns:   on OK, the caller gives *grid back with mcomp_close().
 *  Errors: those of the file, with its name, line and remedy. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_open(struct mcomp **grid, const char *config_path, const struct mcomp_options *options,
                                                        struct mcomp_error *error);

/** Close the handle and its connections. No call on it may be running, and all queues must be closed. NULL is allowed. */
MCOMP_API void mcomp_close(struct mcomp *grid);

MCOMP_API uint64_t mcomp_size(const struct mcomp *grid);         /* bytes of the whole array, k·N */
MCOMP_API uint64_t mcomp_segment_size(const struct mcomp *grid); /* k, bytes */
MCOMP_API uint32_t mcomp_nodes(const struct mcomp *grid);        /* N */
MCOMP_API uint64_t mcomp_max_message(const struct mcomp *grid);  /* bytes, from the configuration; a node may state less, which is obeyed */
MCOMP_API const char *mcomp_name(const struct mcomp *grid);      /* borrowed, lives as long as grid */
MCOMP_API const char *mcomp_node_address(const struct mcomp *grid, uint32_t node); /* "host:port"; NULL when there is no such node */

/* ---- synchronous calls: return when done ----
 *
 * The caller's thread does the work; a signal that it handles does not end the call.
 *
 * Common errors: OUT_OF_RANGE        a byte of the range lies outside the grid; nothing was sent
 *                DEADLINE_EXCEEDED   see "Time-outs" above
 *                UNAVAILABLE         a node cannot be reached within the time-out
 *                FAILED_PRECONDITION a node's configuration differs from ours; the text names both values; nothing was done there
 * The first failure decides the status; the spans tell the rest. */

/** Read [address, address+length) into buffer, whose content is undefined unless OK. length 0 moves nothing. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_read(struct mcomp *grid, uint64_t address, void *buffer, size_t length, uint32_t timeout_ms,
                                                        struct mcomp_error *error);

/** Write data to [address, address+length). On OK all bytes are in the segments and survive the death of the servers' processes. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_write(struct mcomp *grid, uint64_t address, const void *data, size_t length, uint32_t timeout_ms,
                                                         struct mcomp_error *error);

/** Add delta (modulo 2^64) to the 64-bit little-endian integer at address, atomically; *before (may be NULL) is its value before.
 *  The word need not be aligned; INVALID_ARGUMENT when it spans two nodes. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_fetch_add(struct mcomp *grid, uint64_t address, uint64_t delta, uint64_t *before, uint32_t timeout_ms,
                                                             struct mcomp_error *error);

/** If the 64-bit little-endian integer at address equals expected, store desired, atomically. *found is the value that was there: it
 *  swapped exactly when OK is returned and *found == expected. Alignment as above. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_compare_and_swap(struct mcomp *grid, uint64_t address, uint64_t expected, uint64_t desired,
                                                                    uint64_t *found, uint32_t timeout_ms, struct mcomp_error *error);

enum mcomp_range_kind { MCOMP_RANGE_READ = 1, MCOMP_RANGE_WRITE = 2 };

struct mcomp_range {
    enum mcomp_range_kind kind;
    uint64_t address; /* bytes */
    size_t length;    /* bytes */
    void *buffer;     /* caller's; filled by a read, not changed by a write */
};

/** Several ranges in one call: one request for each node as far as max_message and 1024 ranges allow. What goes in one request is one
 *  atomic operation on its node: its reads show the state before its writes. Ranges are taken in order.
 *  INVALID_ARGUMENT when two written ranges overlap. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_multi(struct mcomp *grid, const struct mcomp_range *ranges, size_t count, uint32_t timeout_ms,
                                                         struct mcomp_error *error);

struct mcomp_operation_count {
    uint64_t count, errors, bytes;
};

/** Whether a restore keeps a node from serving its bytes, as RestoreState of mcomp.proto. */
enum mcomp_restore_state {
    MCOMP_RESTORE_STATE_NONE = 0, /* none does */
    MCOMP_RESTORE_STATE_BEGUN = 1, /* no byte has been changed yet */
    MCOMP_RESTORE_STATE_PART = 2,
    MCOMP_RESTORE_STATE_COMPLETE = 3
};

/** State of one node as it tells it; fields as in message StatusResult of mcomp.proto. */
struct mcomp_node_status {
    uint32_t node;
    uint64_t round_trip_ns; /* measured by this call */
    char server[64];
    uint64_t segment_size, segment_id, process_id, uptime_ms, attach_count, writes_finished_at_start;
    uint32_t connections;
    uint64_t connections_accepted, connections_refused, connections_broken;
    struct mcomp_operation_count read, write, fetch_add, compare_and_swap, multi, other;
    uint64_t jobs_handed_to_workers;
    uint32_t jobs_waiting;
    uint64_t bytes_in, bytes_out, buffered_in, buffered_out, oplog_lines, oplog_dropped;
    enum mcomp_restore_state restore_state;
    uint64_t restore_id, restore_file; /* of the restore under way, or of the last */
    uint32_t restore_round;
    struct mcomp_operation_count transaction;
    uint32_t sessions, sessions_max;       /* of clients, for transactions */
    uint32_t prepared, in_doubt;           /* transactions now; mcomp_node_prepared() lists them */
    uint64_t prepared_oldest_ms;
    uint64_t transactions_committed, transactions_aborted_busy, transactions_aborted_compare, transactions_aborted_frozen;
    uint64_t transactions_aborted_other, transactions_resolved, sessions_collected;
};

/** Ask one node for its state. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_node_status(struct mcomp *grid, uint32_t node, struct mcomp_node_status *status, uint32_t timeout_ms,
                                                               struct mcomp_error *error);

/* ---- asynchronous calls: callbacks, driven by the caller ----
 *
 * A queue has connections of its own, one to each node used. It belongs to one thread at a time: the caller sees to that. Submitting
 * neither blocks nor calls back; requests leave with the next mcomp_queue_flush() or mcomp_queue_run(), those to one node in one send.
 *
 * From an event loop: watch mcomp_queue_fd() for readability and call mcomp_queue_run(queue, 0) when it fires, and mcomp_queue_flush() after
 * submitting. Alone: call mcomp_queue_run(queue, -1) until mcomp_queue_pending() is 0. */
struct mcomp_queue;

struct mcomp_completion {
    enum mcomp_status status;
    uint64_t value;                  /* fetch-and-add: value before; compare-and-swap: value found; else 0 */
    const struct mcomp_error *error; /* NULL when status is OK; valid during the callback */
};

/** Called exactly once for each accepted submission, from mcomp_queue_run() or mcomp_queue_close(). It may submit more, which is refused with
 *  CANCELLED when the queue is being closed. It must not close the queue. */
typedef void (*mcomp_callback)(void *arg, const struct mcomp_completion *completion);

/** Owns: on OK the caller gives *queue back with mcomp_queue_close(). */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_queue_open(struct mcomp *grid, struct mcomp_queue **queue, struct mcomp_error *error);

/** What is pending is called back with CANCELLED (spans say what was sent: its outcome is unknown). NULL is allowed. */
MCOMP_API void mcomp_queue_close(struct mcomp_queue *queue);

/** A descriptor that is readable when mcomp_queue_run() has something to do, time-outs and reconnects included. Belongs to the queue; only poll it. */
MCOMP_API int mcomp_queue_fd(const struct mcomp_queue *queue);

MCOMP_API size_t mcomp_queue_pending(const struct mcomp_queue *queue); /* accepted and not yet called back */

/** Send what was submitted, as far as the sockets take it without waiting. */
MCOMP_API void mcomp_queue_flush(struct mcomp_queue *queue);

/** Send, receive and call back; wait up to wait_ms milliseconds (0: not at all, -1: without bound) until at least one submission has completed,
 *  none is pending, or a signal was handled. What the callbacks submit is sent before it returns. Returns the number of callbacks made;
 *  called from a callback, it does nothing. */
MCOMP_API size_t mcomp_queue_run(struct mcomp_queue *queue, int wait_ms);

/* Submissions. OK: accepted, the callback will come. Else nothing was accepted, no callback comes, and error (may be NULL) says why:
 * OUT_OF_RANGE or INVALID_ARGUMENT as above, RESOURCE_EXHAUSTED when memory is short. buffer and data stay the caller's and must live until the
 * callback. timeout_ms as above. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_queue_read(struct mcomp_queue *queue, uint64_t address, void *buffer, size_t length,
                                                              uint32_t timeout_ms, mcomp_callback callback, void *arg, struct mcomp_error *error);
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_queue_write(struct mcomp_queue *queue, uint64_t address, const void *data, size_t length,
                                                               uint32_t timeout_ms, mcomp_callback callback, void *arg, struct mcomp_error *error);
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_queue_fetch_add(struct mcomp_queue *queue, uint64_t address, uint64_t delta, uint32_t timeout_ms,
                                                                   mcomp_callback callback, void *arg, struct mcomp_error *error);
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_queue_compare_and_swap(struct mcomp_queue *queue, uint64_t address, uint64_t expected, uint64_t desired,
                                                                          uint32_t timeout_ms, mcomp_callback callback, void *arg,
                                                                          struct mcomp_error *error);
/** The array of ranges is copied; the buffers are not. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_queue_multi(struct mcomp_queue *queue, const struct mcomp_range *ranges, size_t count,
                                                               uint32_t timeout_ms, mcomp_callback callback, void *arg, struct mcomp_error *error);

/* ---- restoring a snapshot into the grid ----
 *
 * The steps of `mcomp snapshot restore`, for programs that do the same. They replace all bytes of the grid, and from the first step to the last its
 * nodes refuse everybody else: begin on each node; data until every byte was named, in any order, as many at once as one likes; when all
 * have succeeded, end with MCOMP_RESTORE_COMPLETE on each node; when all of those have succeeded, with MCOMP_RESTORE_SERVE. docs/protocol.md tells what
 * holds when a step fails. Each step may be repeated, and the library does so when a connection is lost. */

/** Which restore it is, the same on all nodes. */
struct mcomp_restore {
    uint64_t id;    /* random, not 0, another one for each attempt */
    uint64_t file;  /* tells the file from others */
    uint32_t round; /* the snapshot's */
};

enum mcomp_restore_phase { MCOMP_RESTORE_COMPLETE = 1, MCOMP_RESTORE_SERVE = 2 };

/** Close a node. As long as no data was sent, closing the queue opens it again. UNAVAILABLE: another restore, or a snapshot, was under way to the end
 *  of the time-out. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_queue_restore_begin(struct mcomp_queue *queue, uint32_t node, const struct mcomp_restore *restore,
                                                                       uint32_t timeout_ms, mcomp_callback callback, void *arg,
                                                                       struct mcomp_error *error);
/** Store data at [address, address+length) and `zeros` zeros behind it (at most 16 MiB): all multiples of 4096, together on one node.
 *  FAILED_PRECONDITION: the node is not in this restore (any more); DATA_LOSS: the data was changed on its way. Longer data than one message
 *  holds is cut. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_queue_restore_data(struct mcomp_queue *queue, uint64_t restore_id, uint64_t address, const void *data,
                                                                      size_t length, uint64_t zeros, uint32_t timeout_ms, mcomp_callback callback,
                                                                      void *arg, struct mcomp_error *error);
/** FAILED_PRECONDITION: a byte of the node was not named (COMPLETE), or the node is not complete (SERVE). */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_queue_restore_end(struct mcomp_queue *queue, uint32_t node, uint64_t restore_id,
                                                                     enum mcomp_restore_phase phase, uint32_t timeout_ms, mcomp_callback callback,
                                                                     void *arg, struct mcomp_error *error);

/** Version of the library, "0.1.0". */
MCOMP_API const char *mcomp_version(void);

#ifdef __cplusplus
}
#endif

#endif
