/* SPDX-License-Identifier: Apache-2.0 */
/** A bank in the simulated grid: accounts in the segments, clients that move money between them with transactions, and a judge who knows all of it.
 *
 *  Participants, resolvers, collectors and coordinators are the machines of src/txn; what is between them is a model: lane records and sessions, which
 *  outlive servers; line locks, which do not; a network. All functions that other parts call do nothing in a world without bank. */
#ifndef SIMULATION_BANK_H
#define SIMULATION_BANK_H

#include "simulation/world.h"
#include "txn/collector.h"
#include "txn/coordinator.h"
#include "txn/participant.h"
#include "txn/resolver.h"

#define SESSIONS 6u        /* of a node */
#define SESSION_LANES 2u   /* of a session's, those that clients use */
#define BANK_CLIENTS_MAX 4u
#define PARTS_MAX 3u
#define ITEMS_MAX WRITE_PAGES_MAX /* of a part */
#define TXNS_MAX 8192u
#define BALANCE 100
#define LOCK_EXCLUSIVE 255u
#define KEPT_PACKETS 64u

/* ---- transactions: what their clients want, and what the judge knows of them ---- */

enum item_kind {
    ITEM_READ,
    ITEM_ADD,   /* amount to the balance */
    ITEM_CHANGE /* if it is as expected: amount is the new balance */
};

struct item {
    enum item_kind kind;
    uint32_t line;
    struct account expected;
    int32_t amount;
};

enum fate { FATE_OPEN, FATE_COMMITTED, FATE_ABORTED };

struct part {
    uint32_t items;
    struct item item[ITEMS_MAX];
    enum fate fate;                   /* as recorded by the node */
    struct account seen[ITEMS_MAX];   /* what it read, of COMMITTED */
    bool has_told;                    /* … what the client was told it read: */
    struct account told[ITEMS_MAX];
};

struct txn {
    uint32_t client; /* number of its life */
    bool plain;      /* a plain read */
    uint32_t parts;
    struct lane_participant participant[PARTS_MAX];
    struct part part[PARTS_MAX];
    enum coordinator_outcome outcome; /* as told */
    uint64_t begin_step, told_step;
};

/* ---- nodes ---- */

struct record {
    uint64_t sequence;
    enum lane_state state;
    enum lane_reason reason;
    uint32_t failed_compare;
    uint32_t txn, part;
    struct account seen[ITEMS_MAX];
};

/** Outlives the server. */
struct session {
    uint64_t generation; /* 0: free */
    uint32_t client;
    struct record lane[SESSION_LANES];
};

/** Does not. */
struct desk {
    bool busy; /* a transaction of the lane is being applied: messages wait */
    bool held; /* its line locks */
    bool has_reply;
    struct packet reply; /* what to answer once it is applied: the question */
    uint64_t prepared_ns;
    struct resolver resolver;
};

struct guard {
    uint64_t contact_ns;
    bool lost, collects;
    uint32_t txn, part; /* of the lane at which the collector is, when it looked */
    struct collector collector;
};

struct teller {
    uint8_t lock[LINES];
    struct desk desk[SESSIONS][SESSION_LANES];
    struct guard guard[SESSIONS];
    uint32_t timer;
    uint64_t timer_ns;
};

/* ---- clients ---- */

struct client_lane {
    uint64_t sequence[NODES_MAX];
    bool runs, told;
    uint32_t txn, timer;
    struct coordinator coordinator;
    struct coordinator_part part[PARTS_MAX];
};

struct bank_client {
    struct process process;
    uint32_t number; /* of this life */
    struct {
        bool known;
        uint32_t session;
        uint64_t generation;
    } session[NODES_MAX];
    struct client_lane lane[SESSION_LANES];
};

struct bank {
    uint32_t clients;
    struct bank_client client[BANK_CLIENTS_MAX];
    uint32_t lives; /* of clients, so far */
    bool severed[BANK_CLIENTS_MAX][NODES_MAX];
    struct session session[NODES_MAX][SESSIONS];
    uint64_t generation[NODES_MAX]; /* the last one given */
    struct teller teller[NODES_MAX];
    uint64_t idle_ns, lost_ns, doubt_ns, think_ns, vote_ns, deadline_ns; /* the seed's temper */
    uint32_t faults; /* permille of those that may happen */
    struct packet kept[KEPT_PACKETS];
    uint32_t kept_count;
    uint32_t txns;
    struct txn txn[TXNS_MAX];
};

/* bank.c */
void bank_reset(struct world *world);
void bank_start(struct world *world);
void bank_free(struct bank *bank);
struct process *bank_process(struct world *world, uint32_t client);
/** once: neither the network nor anybody doubles it. */
void bank_send(struct world *world, const struct packet *packet, bool once);
/** The client will notice that its connection broke, and connect again. */
void bank_reconnect(struct world *world, uint32_t client, uint32_t node);
/** Take the packet again a little later. */
void bank_again(struct world *world, uint32_t node, const struct packet *packet);

/* bank_server.c */
void bank_server_packet(struct world *world, uint32_t node, const struct packet *packet);
void bank_start_resolver(struct world *world, uint32_t node, const struct lane_id *id, uint64_t doubt_ns);
void bank_begin_write(struct world *world, struct write *write);
void bank_end_write(struct world *world, uint32_t node, uint32_t session, uint32_t lane);
/** A restarted server has stored the bytes of a transaction that was being applied. */
void bank_redo(struct world *world, uint32_t node, uint32_t session, uint32_t lane);
void bank_conclude(struct world *world, uint32_t node, uint32_t session, uint32_t lane);

/* bank_life.c */
void bank_server_start(struct world *world, uint32_t node);
bool bank_is_drained(const struct world *world, uint32_t node);
void bank_on_freeze(struct world *world, uint32_t node);
/** The connection to a life of a client broke. */
void bank_on_lost(struct world *world, uint32_t node, uint32_t client);

/* bank_locks.c */
bool bank_lock(struct world *world, uint32_t node, const struct part *part);
void bank_unlock(struct world *world, uint32_t node, const struct part *part);
/** Whether a plain operation with these items would meet a lock. */
bool bank_meets_lock(const struct world *world, uint32_t node, const struct part *part);
bool bank_meets_writer(const struct world *world, uint32_t node, const struct part *part);
struct account *bank_account(struct world *world, uint32_t node, uint32_t line);

/* bank_collect.c */
/** Look at the timers of all lanes and sessions of the node, and set the next. */
void bank_poll(struct world *world, uint32_t node);
void bank_contact(struct world *world, uint32_t node, uint32_t session);
void bank_collector_answer(struct world *world, uint32_t node, const struct lane_id *id, const struct packet *packet);
struct lane_view bank_view(const struct world *world, uint32_t node, uint32_t session, uint32_t lane);

/* bank_client.c */
void bank_client_start(struct world *world, uint32_t client);
void bank_client_crash(struct world *world, uint32_t client);
void bank_client_connected(struct world *world, uint32_t client, uint32_t node);
void bank_client_packet(struct world *world, uint32_t client, const struct packet *packet);

/* bank_judge.c */
void bank_committed(struct world *world, uint32_t txn, uint32_t part, const struct account *seen);
void bank_aborted(struct world *world, uint32_t txn, uint32_t part);
void bank_told(struct world *world, uint32_t txn, enum coordinator_outcome outcome);
void bank_judge_images(struct world *world, uint32_t leader);
void bank_judge_end(struct world *world);

#endif
