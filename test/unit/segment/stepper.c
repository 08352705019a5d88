/* SPDX-License-Identifier: Apache-2.0 */
#include "stepper.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

#define WINDOWS_MAX 24
#define WINDOW_BYTES_MAX 1024u

/* What is watched, and what it held at the last look. */
static struct {
    const uint8_t *start;
    size_t bytes;
    uint8_t last[WINDOW_BYTES_MAX];
} windows[WINDOWS_MAX];
static int window_count;
static _Atomic uint32_t *returned; /* shared with the child */
static cpu_set_t all_processors;

int stepper_setup(void)
{
    /* Parent and child take turns: on one processor that costs no wake-up of another. */
    cpu_set_t one;
    if (sched_getaffinity(0, sizeof all_processors, &all_processors) == 0) {
        CPU_ZERO(&one);
        CPU_SET(sched_getcpu(), &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    returned = mmap(NULL, sizeof *returned, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return returned == MAP_FAILED ? -1 : 0;
}

void stepper_teardown(void)
{
    munmap(returned, sizeof *returned);
    sched_setaffinity(0, sizeof all_processors, &all_processors);
}

void stepper_forget(void)
{
    window_count = 0;
}

void stepper_watch(const void *start, size_t bytes)
{
    MC_ASSERT(window_count < WINDOWS_MAX && bytes <= WINDOW_BYTES_MAX);
    windows[window_count].start = start;
    windows[window_count].bytes = bytes;
    memcpy(windows[window_count++].last, start, bytes);
}

static bool changed(void)
{
    bool any = false;
    for (int i = 0; i < window_count; i++) {
        if (memcmp(windows[i].last, windows[i].start, windows[i].bytes) == 0)
            continue;
        memcpy(windows[i].last, windows[i].start, windows[i].bytes);
        any = true;
    }
    return any;
}

pid_t stepper_fork(void (*act)(void *), void *arg)
{
    atomic_store(returned, 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        act(arg);
        atomic_store(returned, 1);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); /* tracing is forbidden here */
    assert_true(WIFSTOPPED(status));
    return child;
}

bool stepper_returned(void)
{
    return atomic_load(returned);
}

static bool kill_child(pid_t child)
{
    int status;
    kill(child, SIGKILL);
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

enum step_end stepper_run(pid_t child, int changes, bool (*look)(void *), void *arg)
{
    int status;
    for (;;) {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0 || waitpid(child, &status, 0) != child)
            return STEP_BROKEN;
        if (WIFEXITED(status))
            return WEXITSTATUS(status) == 0 ? STEP_EXITED : STEP_BROKEN;
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
            break;
        if (!changed())
            continue;
        if (look && !look(arg))
            break;
        if (--changes == 0)
            return STEP_CHANGES_REACHED;
    }
    kill_child(child);
    return STEP_BROKEN;
}

enum step_end stepper_run_and_kill(pid_t child, int changes, bool (*look)(void *), void *arg)
{
    enum step_end end = stepper_run(child, changes, look, arg);
    return end == STEP_CHANGES_REACHED && !kill_child(child) ? STEP_BROKEN : end;
}

bool stepper_finish(pid_t child)
{
    int status;
    if (ptrace(PTRACE_CONT, child, NULL, NULL) != 0 || waitpid(child, &status, 0) != child)
        return false;
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == 0;
    kill_child(child);
    return false;
}
