/* SPDX-License-Identifier: Apache-2.0 */
/** A grid in one thread and in virtual time: nodes with a segment, a server and a snapshot process each; clients; a network; and what goes wrong.
 *
 *  The rounds are the machines of src/snapshot; all else is a model. Everything that happens follows from the seed.
 *  A ghost (ghost.c) knows what really happened in which order and judges every round that is declared done. */
#ifndef SIMULATION_WORLD_H
#define SIMULATION_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "simulation/rng.h"
#include "snapshot/freeze.h"
#include "snapshot/leader.h"
#include "snapshot/round.h"
#include "snapshot/schedule.h"
#include "txn/message.h"

#define NODES_MAX 7u
#define PAGES 6u /* of a segment */
#define ACCOUNTS 2u /* of a page: each is a line with a lock of its own */
#define LINES (PAGES * ACCOUNTS)
#define CLIENTS_MAX 8u
#define WRITES_MAX 128u
#define WRITE_PAGES_MAX 3u
#define KEPT_MESSAGES 64u
#define NO_NODE UINT32_MAX

#define US 1000ull
#define MS 1000000ull
#define SECOND 1000000000ull

#define TIMER_LATENESS_NS (2 * MS)     /* of a process that is not stopped */
#define HOT_NS (200 * MS)
#define PROGRESS_LIMIT_NS (40 * SECOND) /* after the last fault a round is done by then */

/* ---- mistakes that the simulation must find; X(NAME, verdict, text) ---- */

#define BREAKS(X)                                                                                                                      \
    X(REFREEZE, WRONG, "a late duplicate of FREEZE freezes again after the lease")                                                     \
    X(MAXR_VOLATILE, WRONG, "a restarted server forgets which rounds have frozen it")                                                  \
    X(CUT_AFTER_LEASE, WRONG, "a server cuts although its lease ran out")                                                              \
    X(CUT_ANY_ROUND, WRONG, "a server that is frozen for one round cuts for another")                                                  \
    X(NO_DRAIN, WRONG, "a server says FROZEN while writes are under way")                                                              \
    X(CUT_EARLY, WRONG, "a leader sends CUT when the first node is frozen")                                                            \
    X(ROUND_REUSE, WRONG, "a restarted leader uses its last number again")                                                             \
    X(NO_PRESERVE, WRONG, "writers change pages that are not captured yet")                                                            \
    X(NO_FINAL, WRONG, "a capturer does not look whether the capture was valid to its end")                                            \
    X(TRUST_EPOCH, WRONG, "a capturer takes a side slot for the right one whatever its tag")                                           \
    X(NO_REDO, WRONG, "a restarted server does not finish writes that were under way")                                                 \
    X(QUEUE_LOST, WRONG, "writes that waited at the gate are forgotten when it opens")                                                 \
    X(NO_LEASE, WRONG, "a server never goes on by itself")                                                                             \
    X(DEAF, STUCK, "a leader does not learn from refusals")                                                                            \
    X(PATIENT, STUCK, "a leader waits for ever")                                                                                       \
    X(CAPTURE_STAYS, STUCK, "a capture that nobody reads keeps all other rounds away")                                                 \
    X(STUBBORN, STUCK, "who leads goes on to lead when an earlier node is back") \
    /* in transactions, so in sim_txn only: */ \
    X(UNILATERAL_ABORT, WRONG, "a client aborts because votes are missing") \
    X(PARTICIPANT_TIMEOUT, WRONG, "a participant aborts because it was long in doubt") \
    X(FORGET, WRONG, "a committed record is dropped before the other participants have committed") \
    X(NO_FORCED_ABORT, WRONG, "RESOLVE is answered ABORTED, and that is not recorded") \
    X(ABORT_NOT_RECORDED, WRONG, "ABORT before PREPARE is acknowledged and not recorded") \
    X(RETRY_NOT_RECORDED, WRONG, "a frozen server votes to abort and does not record it") \
    X(NO_WAIT_ACKS, WRONG, "a client uses a lane again before all participants have finished") \
    X(NOSESSION_IS_ABORT, WRONG, "a client takes a lost session for a vote to abort") \
    X(NOSESSION_NO_ABORT, STUCK, "a participant in doubt does not take a lost session for an abort") \
    X(ACK_IN_DOUBT, WRONG, "a server says FROZEN while a transaction is prepared") \
    X(ACK_COMMITTING, WRONG, "a server says FROZEN while a decided transaction is being applied") \
    X(VOTE_FROZEN, WRONG, "a frozen server votes to commit") \
    X(LOCKS_LOST, WRONG, "a restarted server does not lock what is prepared") \
    X(RELEASE_EARLY, WRONG, "locks are given back before the writes are stored") \
    X(READ_UNLOCKED, WRONG, "what a transaction only reads is not locked until it is decided") \
    X(READ_THROUGH, WRONG, "plain reads do not mind locks") \
    X(VOTE_BEFORE_RECORD, WRONG, "the vote is sent before it is recorded") \
    X(RESOLVE_PARTIAL, WRONG, "a participant in doubt commits once one other has voted") \
    X(EXECUTE_UNRECORDED, WRONG, "the outcome of a transaction on one node is not recorded") \
    X(REDO_WITHOUT_LANE, WRONG, "a restarted server finishes a transaction's writes and does not record that it is committed") \
    X(GENERATION_REUSED, WRONG, "a session that changes hands keeps its generation")

enum broken {
    BREAK_NOTHING,
#define BREAK_ENUM(name, verdict, text) BREAK_##name,
    BREAKS(BREAK_ENUM)
#undef BREAK_ENUM
};

/** Also the exit status. */
enum verdict { VERDICT_SOUND = 0, VERDICT_WRONG = 3, VERDICT_STUCK = 4 };

/* ---- the segment ---- */

struct account {
    int32_t balance;
    uint32_t version; /* counts changes */
};

struct page {
    uint32_t count; /* plain writes to this page so far */
    uint32_t write; /* the last one */
    uint32_t cause_node, cause_page, cause_count; /* what its client had read before: that page had been written so many times */
    struct account account[ACCOUNTS];
};

struct memory {
    struct page page[PAGES];
    uint32_t page_epoch[PAGES];
    struct {
        uint32_t tag;
        struct page page;
    } side[PAGES];
    uint32_t side_used, side_limit;
    uint32_t cut_round; /* this and the next are the word that a cut sets */
    bool capture_live;
    uint32_t max_round;
    struct redo {
        bool valid;
        uint32_t session_plus_one, lane; /* of the transaction; 0: a plain write */
        uint32_t count;
        uint32_t at[WRITE_PAGES_MAX];
        struct page value[WRITE_PAGES_MAX];
    } redo[PAGES]; /* by the first page of the write */
};

/* ---- processes ---- */

enum role { ROLE_NONE, ROLE_SERVER, ROLE_SNAPD, ROLE_CLIENT };

struct process {
    bool up;
    uint32_t life; /* counts starts */
    uint64_t stopped_until;
    uint64_t stopped_total;
    uint32_t timer; /* number of the timer that counts */
    uint64_t timer_ns;
};

struct server {
    struct process process;
    struct freeze freeze;
    bool closed; /* the gate */
    uint64_t closed_ns, closed_stopped, closed_lease_ns;
    uint32_t active;
    uint32_t applying; /* of them, transactions */
    bool locked[PAGES];
    uint32_t queue[WRITES_MAX];
    uint32_t queued;
};

struct capture {
    uint32_t round; /* 0: none */
    uint32_t next;
    bool busy;
    uint32_t old_epoch;
    struct page copy;
};

struct snapd {
    struct process process;
    struct round round;
    struct leader leader;
    struct schedule schedule;
    bool forced;         /* believes that it leads, whoever else does */
    uint64_t begin_step; /* of the running round */
    struct page image[NODES_MAX][PAGES];
    uint32_t next_page[NODES_MAX];
    struct capture capture;
};

struct write {
    bool used;
    bool decided; /* of a prepared transaction: passes a closed gate */
    uint32_t session_plus_one, lane;
    uint32_t id, node, client, operation;
    uint32_t count, step;
    uint32_t at[WRITE_PAGES_MAX];
    struct page value[WRITE_PAGES_MAX];
    struct page cause; /* its cause_ members */
    uint32_t cut_round; /* the word as it was when the write entered the gate */
    bool capture_live;
};

struct client {
    uint32_t operation; /* counts */
    uint32_t writes_to;
    uint64_t stopped; /* of that server, when the operation began */
    struct page seen; /* what it read last: the cause_ members */
};

struct node {
    struct memory memory;
    struct server server;
    struct snapd snapd;
    uint64_t clock_offset;
    int64_t clock_ppm; /* how much too fast its clock runs */
};

/* ---- messages and events ---- */

enum message_kind {
    MESSAGE_PING, MESSAGE_PONG,
    MESSAGE_FREEZE, MESSAGE_CUT, MESSAGE_END, MESSAGE_PULL, /* from a leader */
    MESSAGE_FROZEN, MESSAGE_REFUSED, MESSAGE_CUT_ANSWER, MESSAGE_PULLED, MESSAGE_PULL_FAILED, MESSAGE_UNAVAILABLE, MESSAGE_LOST /* to it */
};

struct message {
    enum message_kind kind;
    uint32_t from, to, round;
    uint32_t index;      /* PULL, PULLED: which page */
    bool flag;           /* REFUSED: old; CUT_ANSWER: done; PULLED: complete */
    uint32_t max_round;  /* REFUSED */
    uint64_t ns;         /* FREEZE: lease; CUT_ANSWER: pause */
    struct page page;    /* PULLED */
};

/** Of transactions; bank.c. */
struct packet {
    enum { PACKET_OPEN, PACKET_OPENED, PACKET_READ, PACKET_READ_DONE, PACKET_ASK, PACKET_ANSWER } kind;
    bool of_client; /* it comes from, or goes to, a client, else a node */
    uint32_t from, to;
    uint32_t client;      /* OPEN, OPENED: number of this life of the client */
    uint32_t txn, part;   /* which is asked, or answers */
    uint32_t asker;       /* part of the node that asks */
    enum txn_message message;
    struct txn_answer answer;
    uint32_t session;     /* OPENED */
    uint64_t generation;  /* OPENED */
    struct account seen[WRITE_PAGES_MAX]; /* READ_DONE, ANSWER: what was read */
};

struct world;
struct event;
typedef void event_fn(struct world *world, const struct event *event);

struct event {
    event_fn *run;
    enum role role;  /* whose event it is: waits while that process is stopped, is dropped when it is down */
    uint32_t node;
    uint32_t life;   /* 0: whichever; else of that life only */
    bool timer;      /* dropped when it was set anew meanwhile */
    uint32_t a, b;   /* as run wants them */
    union {
        struct message message;
        struct packet packet;
    };
};

struct events; /* events.c */
struct ghost;  /* ghost.c */
struct bank;   /* bank.h */

struct network {
    uint32_t loss, duplicates, slow, notice; /* permille */
    uint64_t latency_low_ns, latency_high_ns, slow_ns;
    bool severed[NODES_MAX][NODES_MAX];
    struct message kept[KEPT_MESSAGES];
    uint32_t kept_count;
};

struct statistics {
    uint64_t events, rounds, done, refused_cuts, leases, redone, busy, old, writes, calm_ns_longest;
    uint64_t committed, aborted, unknown, resolved, collected, pushed; /* transactions and sessions */
};

struct world {
    uint64_t seed;
    enum broken broken;
    struct rng rng;
    uint64_t now_ns;
    uint64_t step; /* counts events: an order without ties */
    struct events *events;
    struct ghost *ghost;
    struct bank *bank; /* NULL: no transactions */
    struct network network;
    uint32_t nodes, clients;
    struct node node[NODES_MAX];
    struct client client[CLIENTS_MAX];
    struct write write[WRITES_MAX];
    uint32_t write_ids;
    /* the seed's temper */
    uint64_t lease_ns, interval_ns, takeover_ns, think_ns, store_ns, copy_ns, fault_ns;
    uint32_t spite;       /* permille: something breaks at the very moment where it hurts */
    uint32_t fault_kinds; /* bits: which kinds of faults happen */
    uint64_t hot_until_ns; /* clients are busiest around rounds */
    bool calm, closing;
    uint64_t calm_ns, calm_step;
    bool done_when_calm;
    enum verdict verdict;
    char finding[400];
    struct statistics statistics;
    FILE *trace; /* NULL: none */
};

/* main.c */
int simulation_main(int argc, char **argv, const char *name, bool transactions, uint64_t seeds);

/* world.c */
enum verdict world_run(struct world *world, bool transactions, uint64_t seed, enum broken broken, FILE *trace);
void world_free(struct world *world);
/** The first finding counts. */
void world_find(struct world *world, enum verdict verdict, const char *format, ...) __attribute__((format(printf, 3, 4)));
void world_note(struct world *world, uint32_t node, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define NOTE(world, ...) ((world)->trace ? world_note(world, __VA_ARGS__) : (void)0)
uint64_t world_local_ns(const struct world *world, uint32_t node);
struct process *world_process(struct world *world, uint32_t node, enum role role);

/* events.c */
void events_reset(struct world *world);
void events_free(struct events *events);
/** The event happens after delay_ns. */
void events_add(struct world *world, uint64_t delay_ns, const struct event *event);
/** The process's timer is due at this time of its own clock; UINT64_MAX: none. Replaces the one before. */
void events_timer(struct world *world, uint32_t node, enum role role, uint64_t local_ns, event_fn *run);
/** Run the next event. False: there is none before limit_ns. */
bool events_step(struct world *world, uint64_t limit_ns);

/* network.c */
void network_send(struct world *world, const struct message *message);
/** Messages that were sent to the node before come once more, soon. */
void network_haunt(struct world *world, uint32_t node, uint64_t within_ns);
/** Whoever pulls from the node's snapshot process learns that it is gone. */
void network_break(struct world *world, uint32_t node);

/* memory.c */
void memory_touch(struct world *world, struct memory *memory, uint32_t at, uint32_t cut_round, bool capture_live);
void memory_cut(struct memory *memory, uint32_t round);
enum captured { CAPTURED, CAPTURE_AGAIN, CAPTURE_FAILED };
/** The two halves of taking a page: time may pass between them. */
void memory_capture_begin(const struct memory *memory, struct capture *capture);
enum captured memory_capture_end(struct world *world, struct memory *memory, struct capture *capture, struct page *page);

/* server.c */
void server_start(struct world *world, uint32_t node);
void server_crash(struct world *world, uint32_t node);
void server_message(struct world *world, uint32_t node, const struct message *message);
void server_progress(struct world *world, uint32_t node, uint32_t round);
void server_write(struct world *world, uint32_t write);
/** After a transaction has left the state in which it keeps the node from being drained. */
void server_check_drained(struct world *world, uint32_t node);

/* snapd.c */
void snapd_start(struct world *world, uint32_t node);
void snapd_crash(struct world *world, uint32_t node);
void snapd_message(struct world *world, const struct event *event);

/* leading.c */
void leading_start(struct world *world, uint32_t node);
void leading_answer(struct world *world, uint32_t node, const struct message *message);
void leading_request(struct world *world, uint32_t node);
/** After each event of the snapshot process: start what is due, set the timer. */
void leading_poll(struct world *world, uint32_t node);

/* client.c */
void client_start(struct world *world, uint32_t client);
/** done: acknowledged; else the connection broke, and whether it was done is not known. */
void client_answer(struct world *world, const struct write *write, bool done);

/* faults.c */
void faults_start(struct world *world);
/** The seed may choose to break something here and now. */
void faults_spite(struct world *world, uint32_t node, enum role role);
/** The same as soon as the event that runs is over. */
void faults_spite_soon(struct world *world, uint32_t node, enum role role);
/** The server dies as soon as the event that runs is over. */
void faults_kill(struct world *world, uint32_t node);
/** The seed may choose to bring old messages back to the node. */
void faults_haunt(struct world *world, uint32_t node, uint64_t within_ns);
/** A round begins: the seed may choose to let another node lead one at the same time. */
void faults_rival(struct world *world);
void faults_end(struct world *world);

/* ghost.c */
void ghost_reset(struct world *world);
void ghost_free(struct ghost *ghost);
/** The pages of a write have their new values, all of them. */
void ghost_commit(struct world *world, uint32_t node, const struct redo *redo);
bool ghost_committed(const struct world *world, uint32_t write);
/** A round is declared done. */
void ghost_judge(struct world *world, uint32_t leader);
/** Segments hold what was written, all of it and nothing else. */
void ghost_compare(struct world *world);

#endif
