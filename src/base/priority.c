/* SPDX-License-Identifier: Apache-2.0 */
#include "base/priority.h"

#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS 100000u /* the shortest that the kernel takes; its own are some milliseconds */
#define POLICY_OTHER 0u

/** struct sched_attr of sched_setattr(2), as of its first version: this C library has no declaration. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void priority_prompt(int nice)
{
    int now = getpriority(PRIO_PROCESS, 0); /* of this thread, on Linux */
    struct attributes wanted = {.size = sizeof wanted, .policy = POLICY_OTHER, .nice = now > nice ? now : nice, .runtime = SLICE_NS};
    (void)syscall(SYS_sched_setattr, 0, &wanted, 0u);
}
