/* SPDX-License-Identifier: Apache-2.0 */
/** Commands of the snapshot process to the server: what they return, late answers, servers that do not run, rubbish, and what wakes the agent. */
#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000u /* never used up */

static struct layout_mailbox *mailbox_of(struct fixture *fixture)
{
    return &fixture_map(fixture)->mailbox;
}

/* ---- commands ---- */

static void commands_carry_their_answers(void **state)
{
    struct fixture *fixture = *state;
    struct err err;
    enum capture_freeze outcome;
    uint32_t max_round;
    uint64_t pause_ns;
    bool done, live;
    struct capture *capture = fixture_capture_open(fixture);
    fixture_agent_start(fixture);
    assert_int_equal(capture_max_round(capture), 0);
    assert_int_equal(capture_cut(capture, 300, PATIENCE_MS, &done, &pause_ns, &err), MCOMP_OK);
    assert_false(done);
    assert_int_equal(capture_freeze(capture, 300, 1000, PATIENCE_MS, &outcome, &max_round, &err), MCOMP_OK);
    assert_int_equal(outcome, CAPTURE_FROZEN);
    assert_int_equal(max_round, 300);
    assert_int_equal(capture_max_round(capture), 300);
    assert_true(segment_is_frozen(fixture->segment));
    assert_int_equal(capture_freeze(capture, 301, 1000, PATIENCE_MS, &outcome, &max_round, &err), MCOMP_OK);
    assert_int_equal(outcome, CAPTURE_BUSY);
    assert_int_equal(capture_cut(capture, 300, PATIENCE_MS, &done, &pause_ns, &err), MCOMP_OK);
    assert_true(done);
    assert_true(pause_ns == UINT64_C(5000000300));
    assert_false(segment_is_frozen(fixture->segment));
    assert_true(capture_is_live(capture, 300));
    capture_end(capture, 300);
    assert_int_equal(segment_last_cut(fixture->segment, &live), 300);
    assert_false(live);
    assert_int_equal(capture_freeze(capture, 299, 1000, PATIENCE_MS, &outcome, &max_round, &err), MCOMP_OK);
    assert_int_equal(outcome, CAPTURE_OLD);
    assert_int_equal(max_round, 300);
    assert_int_equal(capture_freeze(capture, 301, 1000, PATIENCE_MS, &outcome, &max_round, &err), MCOMP_OK);
    assert_int_equal(capture_unfreeze(capture, 301, PATIENCE_MS, &err), MCOMP_OK);
    assert_false(segment_is_frozen(fixture->segment));
    fixture_agent_stop(fixture);
    capture_close(capture);
}

static void command_without_a_server_fails_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct err err;
    enum capture_freeze outcome;
    uint32_t max_round;
    struct capture *capture = fixture_capture_open(fixture);
    fixture_close(fixture);
    assert_int_equal(capture_freeze(capture, 256, 1000, PATIENCE_MS, &outcome, &max_round, &err), MCOMP_UNAVAILABLE);
    assert_string_equal(err.text, "this node's server does not run");
    fixture_open(fixture);
    assert_int_equal(capture_freeze(capture, 256, 1000, 2, &outcome, &max_round, &err), MCOMP_UNAVAILABLE);
    assert_string_equal(err.text, "this node's server did not answer in 2 ms");
    capture_close(capture);
}

static void answer_of_another_kind_is_no_answer(void **state)
{
    struct fixture *fixture = *state;
    struct err err;
    enum capture_freeze outcome;
    uint32_t max_round;
    struct capture *capture = fixture_capture_open(fixture);
    struct layout_mailbox *mailbox = mailbox_of(fixture);
    uint32_t next = atomic_load(&mailbox->last_sequence) + 1;
    const uint32_t wrong[] = {0, SEGMENT_ANSWER_CUT, SEGMENT_ANSWER_OK, 77, UINT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) { /* there before it is asked for */
        atomic_store(&mailbox->result, wrong[i]);
        atomic_store(&mailbox->answered, next++);
        assert_int_equal(capture_freeze(capture, 256, 1000, PATIENCE_MS, &outcome, &max_round, &err), MCOMP_UNAVAILABLE);
        assert_non_null(strstr(err.text, "another kind"));
    }
    capture_close(capture);
}

static void late_answer_goes_to_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct segment_command first, second, third;
    struct segment_answer answer = {.result = SEGMENT_ANSWER_FROZEN, .max_round = 1, .pause_ns = 2};
    struct err err;
    enum capture_freeze outcome;
    uint32_t max_round;
    struct capture *capture = fixture_capture_open(fixture);
    struct layout_mailbox *mailbox = mailbox_of(fixture);
    assert_int_equal(capture_freeze(capture, 256, 11, 0, &outcome, &max_round, &err), MCOMP_UNAVAILABLE);
    assert_true(segment_mailbox_wait(fixture->segment, 0, &first));
    assert_true(first.kind == SEGMENT_COMMAND_FREEZE && first.round == 256 && first.lease_ms == 11);
    assert_false(segment_mailbox_wait(fixture->segment, 0, &second)); /* once */
    assert_int_equal(capture_unfreeze(capture, 256, 0, &err), MCOMP_UNAVAILABLE);
    segment_mailbox_answer(fixture->segment, &first, &answer);
    assert_int_equal(atomic_load(&mailbox->answered), 0);
    assert_true(segment_mailbox_wait(fixture->segment, 0, &second));
    assert_true(second.kind == SEGMENT_COMMAND_UNFREEZE && second.round == 256 && second.sequence != first.sequence);
    segment_mailbox_answer(fixture->segment, &second, &answer);
    assert_int_equal(atomic_load(&mailbox->answered), second.sequence);
    segment_mailbox_answer(fixture->segment, &first, &answer);
    assert_int_equal(atomic_load(&mailbox->answered), second.sequence);

    /* The numbers skip zero, which means none. */
    atomic_store(&mailbox->last_sequence, UINT32_MAX - 1);
    for (uint32_t expected = UINT32_MAX; expected != 2; expected = expected == UINT32_MAX ? 1 : expected + 1) {
        assert_int_equal(capture_unfreeze(capture, 256, 0, &err), MCOMP_UNAVAILABLE);
        assert_true(segment_mailbox_wait(fixture->segment, 0, &third));
        assert_int_equal(third.sequence, expected);
    }
    capture_close(capture);
}

static void command_from_before_a_start_is_not_taken(void **state)
{
    struct fixture *fixture = *state;
    struct segment_command command;
    struct err err;
    enum capture_freeze outcome;
    uint32_t max_round;
    struct capture *capture = fixture_capture_open(fixture);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(capture_freeze(capture, 256, 1000, 0, &outcome, &max_round, &err), MCOMP_UNAVAILABLE);
        fixture_close(fixture);
        fixture_open(fixture);
        assert_false(segment_mailbox_wait(fixture->segment, 0, &command));
        assert_int_equal(capture_freeze(capture, 257, 1000, 0, &outcome, &max_round, &err), MCOMP_UNAVAILABLE);
        assert_true(segment_mailbox_wait(fixture->segment, 0, &command));
        assert_int_equal(command.round, 257);
    }
    capture_close(capture);
}

static void rubbish_is_passed_over(void **state)
{
    struct fixture *fixture = *state;
    struct segment_command command;
    struct segment_answer answer = {.result = SEGMENT_ANSWER_OK};
    struct err err;
    uint64_t random = 5;
    unsigned taken = 0;
    struct capture *capture = fixture_capture_open(fixture);
    struct layout_mailbox *mailbox = mailbox_of(fixture);
    for (int i = 0; i < 5000; i++) {
        uint32_t words[sizeof *mailbox / 4];
        for (size_t j = 0; j < sizeof words / sizeof words[0]; j++)
            words[j] = (uint32_t)(fixture_random(&random) >> 32);
        if (i % 2)
            words[offsetof(struct layout_mailbox, kind) / 4] %= 8;
        memcpy(mailbox, words, sizeof words);
        uint32_t kind = atomic_load(&mailbox->kind);
        bool got = segment_mailbox_wait(fixture->segment, 0, &command);
        assert_int_equal(got, kind >= SEGMENT_COMMAND_FREEZE && kind <= SEGMENT_COMMAND_END);
        if (got) {
            taken++;
            segment_mailbox_answer(fixture->segment, &command, &answer);
        }
    }
    assert_true(taken > 500);
    fixture_agent_start(fixture);
    assert_int_equal(capture_unfreeze(capture, 1, PATIENCE_MS, &err), MCOMP_OK);
    fixture_agent_stop(fixture);
    capture_close(capture);
}

/* ---- what ends the agent's wait ---- */

struct waiter {
    struct segment *segment;
    bool got;
};

static void *wait_for_ever(void *arg)
{
    struct waiter *waiter = arg;
    struct segment_command command;
    waiter->got = segment_mailbox_wait(waiter->segment, SEGMENT_NO_TIMEOUT, &command);
    return NULL;
}

static void end_by_interrupt(struct fixture *fixture, struct capture *capture)
{
    (void)capture;
    segment_mailbox_interrupt(fixture->segment);
}

static void end_by_command(struct fixture *fixture, struct capture *capture)
{
    struct err err;
    (void)fixture;
    assert_int_equal(capture_unfreeze(capture, 1, 0, &err), MCOMP_UNAVAILABLE); /* nobody answers */
}

static void end_by_the_end_of_a_capture(struct fixture *fixture, struct capture *capture)
{
    (void)capture;
    for (uint64_t page = 0; page < 5; page++) /* more than preserve_limit */
        DONE(segment_write(fixture->segment, 0, page * PAGE_BYTES, 3, "abc"));
}

static void waits_end(void **state)
{
    struct fixture *fixture = *state;
    static void (*const ways[])(struct fixture *, struct capture *) = {end_by_interrupt, end_by_command, end_by_the_end_of_a_capture};
    fixture_close(fixture);
    fixture->options.preserve_limit = 3 * PAGE_BYTES;
    fixture_open(fixture);
    struct capture *capture = fixture_capture_open(fixture);
    for (uint32_t i = 0; i < 300; i++) {
        struct waiter waiter = {.segment = fixture->segment};
        struct segment_command command;
        pthread_t thread;
        while (segment_mailbox_wait(fixture->segment, 0, &command)) /* old commands */
            ;
        fixture_cut(fixture, 256 + i);
        if (i % 2) /* the capture is seen to be live; else its end may come first */
            (void)segment_mailbox_wait(fixture->segment, 0, &command);
        assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &waiter), 0);
        for (uint32_t turns = 0; turns < i % 50; turns++)
            sched_yield(); /* it sleeps by now, or not yet */
        ways[i % 3](fixture, capture);
        pthread_join(thread, NULL);
        assert_int_equal(waiter.got, i % 3 == 1);
    }
    capture_close(capture);
}

/* ---- both sides in their own processes, with writers ---- */

#define CYCLES 300u

static int ask_again_and_again(const struct segment_options *options)
{
    struct capture *capture;
    struct err err;
    if (capture_open(&capture, options->grid, options->node, options->nodes, options->size, &err) != MCOMP_OK)
        return 1;
    for (uint32_t round = 256; round < 256 + CYCLES; round++) {
        enum capture_freeze outcome;
        uint32_t max_round;
        uint64_t pause_ns;
        bool done;
        if (capture_freeze(capture, round, 1000, PATIENCE_MS, &outcome, &max_round, &err) != MCOMP_OK || outcome != CAPTURE_FROZEN || max_round != round)
            return 2;
        if (round % 3 == 0) {
            if (capture_unfreeze(capture, round, PATIENCE_MS, &err) != MCOMP_OK)
                return 3;
            continue;
        }
        if (capture_cut(capture, round, PATIENCE_MS, &done, &pause_ns, &err) != MCOMP_OK || !done || pause_ns != round + UINT64_C(5000000000))
            return 4;
        if (round % 3 == 1)
            capture_end(capture, round);
    }
    capture_close(capture);
    return 0;
}

struct writer {
    struct segment *segment;
    uint32_t number;
    _Atomic bool *stop;
};

static void *write_for_ever(void *arg)
{
    struct writer *writer = arg;
    uint8_t data[3000] = {1};
    for (uint64_t n = 0; !atomic_load_explicit(writer->stop, memory_order_relaxed); n++)
        if (segment_write(writer->segment, writer->number, n * 977 % (FIXTURE_BYTES - sizeof data), sizeof data, data) != SEGMENT_DONE)
            sched_yield();
    return NULL;
}

static void processes_talk_while_writers_write(void **state)
{
    struct fixture *fixture = *state;
    _Atomic bool stop = false;
    pthread_t threads[2];
    struct writer writers[2];
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(ask_again_and_again(&fixture->options));
    fixture_agent_start(fixture);
    for (uint32_t i = 0; i < 2; i++) {
        writers[i] = (struct writer){fixture->segment, i, &stop};
        assert_int_equal(pthread_create(&threads[i], NULL, write_for_ever, &writers[i]), 0);
    }
    fixture_child_passed(child);
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    fixture_agent_stop(fixture);
    assert_int_equal(segment_max_round(fixture->segment), 256 + CYCLES - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commands_carry_their_answers),
        TEST(command_without_a_server_fails_at_once),
        TEST(answer_of_another_kind_is_no_answer),
        TEST(late_answer_goes_to_nobody),
        TEST(command_from_before_a_start_is_not_taken),
        TEST(rubbish_is_passed_over),
        TEST(waits_end),
        TEST(processes_talk_while_writers_write),
    };
    return cmocka_run_group_tests_name("segment-mailbox", tests, NULL, NULL);
}
