/* SPDX-License-Identifier: Apache-2.0 */
#include "base/priority.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS 100000u /* the shortest that the kernel takes; its own are some milliseconds */
#define POLICY_OTHER 0u
#define BACKGROUND_NICE 10

/** struct sched_attr of sched_setattr(2), as of its first version: this C library has no declaration. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static atomic_bool may_return;
static atomic_int usual_nice; /* of the process, when it was probed */
static _Thread_local bool in_background;

void priority_prompt(void)
{
    struct attributes wanted = {.size = sizeof wanted, .policy = POLICY_OTHER, .nice = getpriority(PRIO_PROCESS, 0), .runtime = SLICE_NS};
    (void)syscall(SYS_sched_setattr, 0, &wanted, 0u);
}

/* On Linux a nice value is a thread's. */
static bool set_nice(int nice)
{
    return setpriority(PRIO_PROCESS, 0, nice) == 0;
}

static void *probe_main(void *arg)
{
    (void)arg;
    int usual = atomic_load(&usual_nice);
    atomic_store(&may_return, set_nice(usual + BACKGROUND_NICE) && set_nice(usual));
    return NULL;
}

bool priority_probe(void)
{
    pthread_t thread; /* its own: there may be no way back */
    atomic_store(&usual_nice, getpriority(PRIO_PROCESS, 0));
    if (pthread_create(&thread, NULL, probe_main, NULL) != 0)
        return false;
    pthread_join(thread, NULL);
    return atomic_load(&may_return);
}

void priority_background(bool on)
{
    if (on == in_background || !atomic_load_explicit(&may_return, memory_order_relaxed))
        return;
    in_background = on;
    (void)set_nice(atomic_load(&usual_nice) + (on ? BACKGROUND_NICE : 0));
}
