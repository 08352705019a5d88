/* SPDX-License-Identifier: Apache-2.0 */
/** The stripes' semaphores under every interleaving of a few threads, up to a number of preemptions.
 *
 *  semaphore.c is compiled into this file with its atomic operations and its futex replaced: each becomes a place where the model may
 *  switch to another coroutine. A depth-first search runs a scenario once for each sequence of choices. It finds broken
 *  exclusion, lost wake-ups (all coroutines asleep) and permits that are not given back. Orders weaker than sequential consistency are
 *  not explored; ThreadSanitizer looks after those in test_concurrency.c.
 *
 *      test_segment_semaphore [N]      allow N more preemptions: 1 takes half a minute, 2 many minutes */
#include "fixture.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static void point(void);
static bool model_cas(_Atomic uint64_t *object, uint64_t *expected, uint64_t desired);
static long model_futex(_Atomic uint32_t *word, int operation, uint32_t value);

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_load_explicit(object, order) (point(), *(object))
#define atomic_store_explicit(object, value, order) (point(), (void)(*(object) = (value)))
#define atomic_fetch_add_explicit(object, value, order) ({ point(); *(object) += (value); uint64_t sum = *(object); sum - (value); })
#define atomic_fetch_sub_explicit(object, value, order) ({ point(); *(object) -= (value); uint64_t rest = *(object); rest + (value); })
#define atomic_compare_exchange_weak_explicit(object, expected, desired, success, failure) model_cas(object, expected, desired)
#define syscall(number, word, operation, value, ...) model_futex(word, operation, (uint32_t)(value))
#include "segment/semaphore.c" /* NOLINT: the code under test, with the names above */
#undef syscall

/* ---- the search: one execution for each sequence of choices ---- */

#define CHOICES_MAX 4096

static struct {
    uint8_t taken[CHOICES_MAX], options[CHOICES_MAX];
    int depth, known;
} path;

/* One of 0 … options-1; the search tries all. */
static int choose(int options)
{
    MC_ASSERT(path.depth < CHOICES_MAX && options > 0);
    if (path.depth == path.known) {
        path.taken[path.depth] = 0;
        path.options[path.depth] = (uint8_t)options;
        path.known++;
    }
    MC_ASSERT(path.options[path.depth] == options); /* an execution depends on the choices alone */
    return path.taken[path.depth++];
}

/* The next sequence of choices; false when all have been. */
static bool choose_next(void)
{
    while (path.known > 0) {
        if (++path.taken[path.known - 1] < path.options[path.known - 1])
            return true;
        path.known--;
    }
    return false;
}

/* ---- coroutines ---- */

#define THREADS_MAX 4
#define STACK_BYTES (64 << 10)

enum role { READER, WRITER, READER_TRY, WRITER_TRY };
enum run_state { RUNNABLE, ASLEEP, DONE };

struct thread {
    enum role role;
    int rounds;
    enum run_state state;
    const _Atomic uint32_t *sleeps_on;
    ucontext_t context;
    uint8_t *stack;
};

static struct thread threads[THREADS_MAX];
static int thread_count, current, preemptions_left;
static int more_preemptions; /* from the command line */
static bool running; /* points outside a scenario do nothing */
static ucontext_t main_context;
static struct stripe stripe;
static int readers_in, writers_in, entered;
static const char *violation;

static void violate(const char *what)
{
    if (!violation)
        violation = what;
}

static void switch_to(int next)
{
    int self = current;
    current = next;
    swapcontext(&threads[self].context, &threads[next].context);
}

/* Choose a runnable thread other than the current one and run it; back to main when there is none. */
static void leave(void)
{
    int runnable[THREADS_MAX], count = 0;
    for (int i = 0; i < thread_count; i++)
        if (i != current && threads[i].state == RUNNABLE)
            runnable[count++] = i;
    if (count > 0)
        switch_to(runnable[choose(count)]);
    else
        swapcontext(&threads[current].context, &main_context);
}

static void point(void)
{
    if (!running || preemptions_left == 0)
        return;
    int others = 0;
    for (int i = 0; i < thread_count; i++)
        others += i != current && threads[i].state == RUNNABLE;
    if (others == 0 || choose(2) == 0)
        return;
    preemptions_left--;
    leave();
}

static bool model_cas(_Atomic uint64_t *object, uint64_t *expected, uint64_t desired)
{
    point();
    if (*object != *expected) {
        *expected = *object;
        return false;
    }
    *object = desired;
    return true;
}

static long model_futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    point();
    if (operation == FUTEX_WAIT) {
        if (threads[current].role == READER_TRY || threads[current].role == WRITER_TRY)
            violate("a try slept");
        if (*word != value)
            return -1;
        threads[current].state = ASLEEP;
        threads[current].sleeps_on = word;
        leave();
        return 0;
    }
    for (uint32_t woken = 0; woken < value; woken++) {
        int sleeping[THREADS_MAX], count = 0;
        for (int i = 0; i < thread_count; i++)
            if (threads[i].state == ASLEEP && threads[i].sleeps_on == word)
                sleeping[count++] = i;
        if (count == 0)
            break;
        /* All are woken: the order makes no difference. */
        threads[sleeping[value >= (uint32_t)count ? 0 : choose(count)]].state = RUNNABLE;
    }
    return 0;
}

static void critical_section(bool is_writer)
{
    if (is_writer ? readers_in || writers_in : writers_in)
        violate("a writer was not alone");
    entered++;
    *(is_writer ? &writers_in : &readers_in) += 1;
    point();
    *(is_writer ? &writers_in : &readers_in) -= 1;
}

static void run_role(enum role role)
{
    switch (role) {
    case READER:
        semaphore_read(&stripe);
        critical_section(false);
        semaphore_read_release(&stripe);
        break;
    case READER_TRY:
        if (!semaphore_read_try(&stripe))
            break;
        critical_section(false);
        semaphore_read_release(&stripe);
        break;
    case WRITER:
        semaphore_write(&stripe);
        critical_section(true);
        semaphore_write_release(&stripe);
        break;
    case WRITER_TRY:
        if (!semaphore_write_try(&stripe))
            break;
        critical_section(true);
        semaphore_write_release(&stripe);
    }
}

static void thread_main(void)
{
    for (int i = 0; i < threads[current].rounds; i++)
        run_role(threads[current].role);
    threads[current].state = DONE;
    leave();
}

static void prepare(struct thread *thread)
{
    thread->state = RUNNABLE;
    getcontext(&thread->context);
    thread->context.uc_stack.ss_sp = thread->stack;
    thread->context.uc_stack.ss_size = STACK_BYTES;
    thread->context.uc_link = NULL;
    makecontext(&thread->context, thread_main, 0);
}

/* One execution along the chosen path. */
static void execute(int preemptions)
{
    memset(&stripe, 0, sizeof stripe);
    readers_in = writers_in = 0;
    path.depth = 0;
    preemptions_left = preemptions;
    for (int i = 0; i < thread_count; i++)
        prepare(&threads[i]);
    current = choose(thread_count);
    running = true;
    swapcontext(&main_context, &threads[current].context);
    running = false;
    for (int i = 0; i < thread_count; i++)
        if (threads[i].state != DONE)
            violate("a thread sleeps for ever");
    if (!violation && (stripe.state & ~(UINT64_MAX << SEMAPHORE_TURN_SHIFT)) != 0)
        violate("something is left in a free semaphore");
}

struct scenario {
    const char *name;
    int preemptions;
    int count;
    struct {
        enum role role;
        int rounds;
    } thread[THREADS_MAX];
};

static void explore(const struct scenario *scenario)
{
    thread_count = scenario->count;
    for (int i = 0; i < thread_count; i++) {
        threads[i].role = scenario->thread[i].role;
        threads[i].rounds = scenario->thread[i].rounds;
        threads[i].stack = malloc(STACK_BYTES);
        assert_non_null(threads[i].stack);
    }
    memset(&path, 0, sizeof path);
    violation = NULL;
    entered = 0;
    long executions = 0;
    do {
        execute(scenario->preemptions + more_preemptions);
        executions++;
    } while (!violation && choose_next());
    print_message("%s: %ld executions, up to %d preemptions\n", scenario->name, executions, scenario->preemptions + more_preemptions);
    for (int i = 0; i < thread_count; i++)
        free(threads[i].stack);
    if (violation)
        fail_msg("%s: %s, in execution %ld", scenario->name, violation, executions);
    assert_true(executions > 1000 && entered > executions);
}

static void no_interleaving_breaks_exclusion_or_loses_a_wake_up(void **state)
{
    (void)state;
    static const struct scenario scenarios[] = {
        {"3 writers", 3, 3, {{WRITER, 1}, {WRITER, 1}, {WRITER, 1}}},
        {"2 writers twice", 4, 2, {{WRITER, 2}, {WRITER, 3}}},
        {"writers twice, reader twice", 2, 3, {{WRITER, 2}, {WRITER, 2}, {READER, 2}}},
        {"2 readers, writer twice", 3, 3, {{READER, 2}, {READER, 1}, {WRITER, 2}}},
        {"2 readers, 2 writers", 2, 4, {{READER, 1}, {READER, 1}, {WRITER, 1}, {WRITER, 2}}},
        {"4 writers", 2, 4, {{WRITER, 1}, {WRITER, 1}, {WRITER, 1}, {WRITER, 2}}},
        {"tries beside waiters", 2, 4, {{WRITER_TRY, 2}, {READER_TRY, 2}, {WRITER, 1}, {READER, 1}}},
    };
    if (UNDER_TSAN)
        skip(); /* it does not know coroutines */
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        explore(&scenarios[i]);
}

/* ---- fairness, along one path each ---- */

static void waiting_writer_keeps_new_readers_out(void **state)
{
    (void)state;
    memset(&stripe, 0, sizeof stripe);
    assert_true(semaphore_read_try(&stripe));
    assert_true(semaphore_read_try(&stripe));
    stripe.state += SEMAPHORE_WRITER_WAITING;
    assert_false(semaphore_read_try(&stripe));
    assert_false(semaphore_write_try(&stripe));
    semaphore_read_release(&stripe);
    assert_int_equal(stripe.calls, 0);
    semaphore_read_release(&stripe);
    assert_int_equal(stripe.calls, 1);
    assert_true(semaphore_write_try(&stripe)); /* passing over is allowed … */
    semaphore_write_release(&stripe);
    assert_int_equal(stripe.calls, 2);
    stripe.state |= SEMAPHORE_PASSED_OVER; /* … until the waiting one has noticed */
    assert_false(semaphore_write_try(&stripe));
    assert_false(write_take(&stripe, false));
    assert_true(write_take(&stripe, true));
    assert_true(stripe.state == SEMAPHORE_WRITER);
}

static void leaving_writer_hands_over_to_waiting_readers(void **state)
{
    (void)state;
    memset(&stripe, 0, sizeof stripe);
    assert_true(semaphore_write_try(&stripe));
    stripe.state += 3 * SEMAPHORE_READER_WAITING + SEMAPHORE_WRITER_WAITING;
    semaphore_write_release(&stripe);
    assert_true((stripe.state & ~(UINT64_MAX << SEMAPHORE_TURN_SHIFT)) == 3 * SEMAPHORE_READER + SEMAPHORE_WRITER_WAITING);
    assert_int_equal(stripe.turn, 1);
    assert_int_equal(stripe.calls, 0);
    for (int i = 0; i < 3; i++)
        semaphore_read_release(&stripe);
    assert_int_equal(stripe.calls, 1);
}

static void turns_wrap_round(void **state)
{
    (void)state;
    memset(&stripe, 0, sizeof stripe);
    for (uint32_t i = 1; i <= (1u << 14) + 5; i++) {
        assert_true(semaphore_write_try(&stripe));
        stripe.state += SEMAPHORE_READER_WAITING;
        semaphore_write_release(&stripe);
        assert_int_equal(stripe.turn, i % (1u << 14));
        semaphore_read_release(&stripe);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        more_preemptions = (int)strtol(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_interleaving_breaks_exclusion_or_loses_a_wake_up),
        cmocka_unit_test(waiting_writer_keeps_new_readers_out),
        cmocka_unit_test(leaving_writer_hands_over_to_waiting_readers),
        cmocka_unit_test(turns_wrap_round),
    };
    return cmocka_run_group_tests_name("segment-semaphore", tests, NULL, NULL);
}
