/* SPDX-License-Identifier: Apache-2.0 */
/** A request on its way between threads: main loop → member or director → main loop. One owner at a time; moves by pointer. */
#ifndef SNAPD_TASK_H
#define SNAPD_TASK_H

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "link/outgoing.h"

struct conn;

enum task_op {
    TASK_FREEZE,
    TASK_CUT,
    TASK_UNFREEZE,
    TASK_PULL,
    TASK_END,
    TASK_GONE, /* the connection is closed: a round that came over it is over. Has no answer; the member frees it */
    TASK_TAKE_SNAPSHOT,
    TASK_LIST
};

struct task {
    struct task *next;      /* of whichever list holds it */
    struct conn *conn;      /* borrowed; the main loop's alone. It waits for its tasks before it is freed */
    uint64_t client;        /* number of the connection, never reused */
    uint64_t id;            /* of the request */
    enum task_op op;
    uint32_t round;         /* FREEZE, CUT, UNFREEZE, PULL, END */
    uint32_t lease_ms;      /* FREEZE */
    uint32_t bytes;         /* PULL: of addresses; a multiple of a chunk's, at most EXCHANGE_PULL_BYTES */
    uint64_t offset;        /* PULL */
    uint32_t failures;      /* TAKE_SNAPSHOT: rounds that were to serve it and did not come to their end */
    bool started;           /* TAKE_SNAPSHOT: the round that serves it runs */
    atomic_bool abandoned;  /* the client is gone: nobody waits for the answer */
    struct outgoing *reply; /* owned; NULL in the end: memory was short, and the connection is closed */
};

/** Tasks, first in first out. Zeroed: empty. */
struct task_list {
    struct task *first, *last;
};

void task_list_put(struct task_list *list, struct task *task);
/** NULL: empty. */
struct task *task_list_take(struct task_list *list);

/** Answer the task without a result. */
void task_answer(struct task *task, enum mcomp_status status, const char *text);

/** Tasks for the thread of a loop, from any thread. */
struct inbox {
    struct ev_loop *loop;  /* borrowed */
    ev_async wake;         /* its callback is the owner's */
    pthread_mutex_t lock;  /* guards: list, stop */
    struct task_list list;
    bool stop;             /* the owner is asked to end */
};

void inbox_open(struct inbox *inbox, struct ev_loop *loop, void (*wake_cb)(struct ev_loop *, ev_async *, int), void *data);
/** No other thread uses it any more. What is left in it is dropped. */
void inbox_close(struct inbox *inbox);
/** Any thread. */
void inbox_put(struct inbox *inbox, struct task *task);
/** Any thread. */
void inbox_stop(struct inbox *inbox);
/** Wake the owner without giving it anything. Any thread. */
void inbox_wake(struct inbox *inbox);
/** All that is there; the owner's thread. *stop: whether inbox_stop was called. */
struct task_list inbox_take(struct inbox *inbox, bool *stop);

#endif
