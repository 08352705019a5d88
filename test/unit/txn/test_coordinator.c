/* SPDX-License-Identifier: Apache-2.0 */
/** A client's side of a transaction, answer by answer: what is sent, what the user is told and when, and when the lanes are free again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "txn/coordinator.h"

#define MS 1000000ull
#define START (1000 * MS)
#define VOTE_END (START + COORDINATOR_VOTE_NS)
#define DEADLINE (START + 3000 * MS)

struct client {
    struct coordinator_part part[GRID_NODES_MAX];
    struct coordinator c;
    uint64_t now;
};

static struct client *begin(uint32_t parts)
{
    static struct client client;
    memset(&client, 0x5a, sizeof client); /* nothing but `who` needs to be set */
    for (uint32_t i = 0; i < parts; i++)
        client.part[i].who = (struct lane_participant){.node = i, .id = {.generation = 1, .sequence = 1}};
    client.now = START;
    coordinator_start(&client.c, client.part, parts, VOTE_END, DEADLINE);
    return &client;
}

/** What is sent now, a letter for each part (P E C A R, or - for nothing), once. */
static const char *sends(struct client *client)
{
    static char letters[GRID_NODES_MAX + 1];
    uint32_t index;
    enum txn_message message;
    memset(letters, '-', client->c.count);
    letters[client->c.count] = '\0';
    while ((message = coordinator_next(&client->c, client->now, &index)) != TXN_NOTHING) {
        assert_true(index < client->c.count && letters[index] == '-');
        letters[index] = " PECAR"[message];
    }
    return letters;
}

static void answer_to(struct client *client, uint32_t part, enum txn_message to, enum txn_says says)
{
    struct txn_answer answer = {.says = says};
    if (says == TXN_ABORTED) {
        answer.reason = LANE_COMPARE;
        answer.failed_compare = 4;
    }
    coordinator_on_answer(&client->c, part, to, &answer);
}

static void answer(struct client *client, uint32_t part, enum txn_says says)
{
    answer_to(client, part, client->c.count == 1 ? TXN_EXECUTE : TXN_PREPARE, says);
}

static void pass(struct client *client, uint64_t until)
{
    client->now = until;
    coordinator_on_time(&client->c, until);
}

static void assert_state(const struct client *client, enum coordinator_outcome outcome, bool finished)
{
    assert_int_equal(client->c.outcome, outcome);
    assert_int_equal(client->c.finished, finished);
}

static void all_vote_to_commit(void **state)
{
    (void)state;
    struct client *client = begin(3);
    assert_int_equal(coordinator_next_ns(&client->c), 0);
    assert_string_equal(sends(client), "PPP");
    assert_int_equal(coordinator_next_ns(&client->c), START + COORDINATOR_REPEAT_NS);
    answer(client, 1, TXN_PREPARED);
    answer(client, 0, TXN_PREPARED);
    assert_state(client, COORDINATOR_RUNS, false);
    answer(client, 2, TXN_PREPARED);
    assert_state(client, COORDINATOR_COMMITTED, false); /* told at once, after one round trip */
    assert_string_equal(sends(client), "CCC");
    answer_to(client, 0, TXN_COMMIT, TXN_COMMITTED);
    answer_to(client, 2, TXN_COMMIT, TXN_NO_SESSION); /* collected since: so it had committed */
    assert_state(client, COORDINATOR_COMMITTED, false);
    client->now += COORDINATOR_REPEAT_NS;
    assert_string_equal(sends(client), "-C-");
    answer_to(client, 1, TXN_COMMIT, TXN_COMMITTED);
    assert_state(client, COORDINATOR_COMMITTED, true);
    assert_int_equal(coordinator_next_ns(&client->c), UINT64_MAX);
    assert_string_equal(sends(client), "---");
}

static void one_vote_against_aborts(void **state)
{
    (void)state;
    struct client *client = begin(3);
    assert_string_equal(sends(client), "PPP");
    answer(client, 0, TXN_PREPARED);
    answer(client, 1, TXN_ABORTED);
    assert_state(client, COORDINATOR_ABORTED, false);
    assert_int_equal(client->c.part_aborted, 1);
    assert_int_equal(client->c.reason, LANE_COMPARE);
    assert_int_equal(client->c.failed_compare, 4);
    assert_string_equal(sends(client), "A-A"); /* also to the silent one, whose vote may be to commit */
    answer(client, 2, TXN_PREPARED);
    assert_state(client, COORDINATOR_ABORTED, false);
    answer_to(client, 2, TXN_ABORT, TXN_ABORTED);
    answer_to(client, 0, TXN_ABORT, TXN_STALE);
    assert_state(client, COORDINATOR_ABORTED, true);
    assert_int_equal(client->c.part_aborted, 1);
}

static void one_participant_executes(void **state)
{
    (void)state;
    struct client *client = begin(1);
    assert_string_equal(sends(client), "E");
    client->now += COORDINATOR_REPEAT_NS;
    assert_string_equal(sends(client), "E");
    answer(client, 0, TXN_COMMITTED);
    assert_state(client, COORDINATOR_COMMITTED, true);
    client = begin(1);
    assert_string_equal(sends(client), "E");
    answer(client, 0, TXN_ABORTED);
    assert_state(client, COORDINATOR_ABORTED, true);
}

static void unanswered_is_sent_again_with_longer_pauses(void **state)
{
    (void)state;
    struct client *client = begin(2);
    coordinator_start(&client->c, client->part, 2, UINT64_MAX, UINT64_MAX);
    uint64_t pause = COORDINATOR_REPEAT_NS;
    for (unsigned i = 0; i < 8; i++) {
        assert_string_equal(sends(client), i == 0 ? "PP" : "-P");
        if (i == 0)
            answer(client, 0, TXN_PREPARED);
        assert_int_equal(coordinator_next_ns(&client->c), client->now + pause);
        client->now += pause;
        pause = 2 * pause < COORDINATOR_REPEAT_LAST_NS ? 2 * pause : COORDINATOR_REPEAT_LAST_NS;
    }
    coordinator_on_connected(&client->c, 1);
    client->now--;
    assert_string_equal(sends(client), "-P");
    assert_int_equal(coordinator_next_ns(&client->c), client->now + COORDINATOR_REPEAT_NS);
}

static void missing_vote_is_no_abort(void **state)
{
    (void)state;
    struct client *client = begin(3);
    assert_string_equal(sends(client), "PPP");
    answer(client, 0, TXN_PREPARED);
    pass(client, VOTE_END);
    assert_state(client, COORDINATOR_RUNS, false);
    assert_string_equal(sends(client), "-RR");
    answer_to(client, 1, TXN_RESOLVE, TXN_PREPARED); /* its vote was lost on the way */
    assert_state(client, COORDINATOR_RUNS, false);
    pass(client, DEADLINE);
    assert_state(client, COORDINATOR_UNKNOWN, false); /* the user is told, the lanes stay */
    assert_string_equal(sends(client), "--R");
    answer_to(client, 2, TXN_RESOLVE, TXN_COMMITTED); /* the participants decided by themselves */
    assert_state(client, COORDINATOR_UNKNOWN, false);
    assert_string_equal(sends(client), "CC-");
    answer_to(client, 0, TXN_COMMIT, TXN_COMMITTED);
    answer_to(client, 1, TXN_COMMIT, TXN_COMMITTED);
    assert_state(client, COORDINATOR_UNKNOWN, true);
}

static void resolve_makes_an_abort_of_what_was_not_voted(void **state)
{
    (void)state;
    struct client *client = begin(2);
    assert_string_equal(sends(client), "PP");
    answer(client, 0, TXN_PREPARED);
    pass(client, VOTE_END);
    assert_string_equal(sends(client), "-R");
    coordinator_on_answer(&client->c, 1, TXN_RESOLVE, &(struct txn_answer){.says = TXN_ABORTED, .reason = LANE_FORCED});
    assert_state(client, COORDINATOR_ABORTED, false);
    assert_true(coordinator_may_retry(&client->c));
    assert_string_equal(sends(client), "A-");
}

static void committed_is_told_once_all_reads_are_here(void **state)
{
    (void)state;
    struct client *client = begin(3);
    assert_string_equal(sends(client), "PPP");
    answer(client, 0, TXN_COMMITTED); /* the participants were faster */
    assert_state(client, COORDINATOR_RUNS, false);
    assert_string_equal(sends(client), "-CC");
    answer(client, 1, TXN_PREPARED); /* an old vote, with its data */
    assert_state(client, COORDINATOR_RUNS, false);
    answer_to(client, 2, TXN_COMMIT, TXN_COMMITTED);
    assert_state(client, COORDINATOR_COMMITTED, false);
    answer_to(client, 1, TXN_COMMIT, TXN_COMMITTED);
    assert_state(client, COORDINATOR_COMMITTED, true);
    client = begin(2);
    assert_string_equal(sends(client), "PP");
    answer(client, 0, TXN_COMMITTED);
    answer_to(client, 1, TXN_COMMIT, TXN_NO_SESSION);
    assert_state(client, COORDINATOR_COMMITTED, true);
    assert_false(client->part[1].answered); /* its reads are lost */
}

static void session_lost_before_the_only_transmission_is_an_abort(void **state)
{
    (void)state;
    struct client *client = begin(2);
    assert_string_equal(sends(client), "PP");
    answer(client, 0, TXN_NO_SESSION);
    assert_state(client, COORDINATOR_ABORTED, false);
    assert_int_equal(client->c.reason, LANE_REASON_NONE);
    assert_true(coordinator_may_retry(&client->c));
    assert_string_equal(sends(client), "-A");
    answer_to(client, 1, TXN_ABORT, TXN_ABORTED);
    assert_state(client, COORDINATOR_ABORTED, true);
    client = begin(1);
    assert_string_equal(sends(client), "E");
    answer(client, 0, TXN_NO_SESSION);
    assert_state(client, COORDINATOR_ABORTED, true);
}

static void session_lost_otherwise_is_no_vote(void **state)
{
    (void)state;
    static const enum txn_says outcomes[] = {TXN_COMMITTED, TXN_ABORTED};
    for (unsigned i = 0; i < 2; i++) {
        struct client *client = begin(2);
        assert_string_equal(sends(client), "PP");
        client->now += COORDINATOR_REPEAT_NS;
        assert_string_equal(sends(client), "PP");
        answer(client, 1, TXN_PREPARED);
        answer(client, 0, TXN_NO_SESSION); /* may be the second copy, and the first was voted on, committed, and forgotten */
        assert_state(client, COORDINATOR_RUNS, false);
        assert_string_equal(sends(client), "-R"); /* though it has voted: now it is to tell the outcome */
        answer_to(client, 1, TXN_RESOLVE, TXN_PREPARED);
        assert_state(client, COORDINATOR_RUNS, false);
        client->now += COORDINATOR_REPEAT_NS;
        assert_string_equal(sends(client), "-R");
        answer_to(client, 1, TXN_RESOLVE, outcomes[i]);
        assert_state(client, i == 0 ? COORDINATOR_COMMITTED : COORDINATOR_ABORTED, true);
    }
}

static void nobody_left_who_knows(void **state)
{
    (void)state;
    struct client *client = begin(2);
    assert_string_equal(sends(client), "PP");
    client->now += COORDINATOR_REPEAT_NS;
    assert_string_equal(sends(client), "PP");
    answer(client, 0, TXN_NO_SESSION);
    answer(client, 1, TXN_STALE);
    assert_state(client, COORDINATOR_UNKNOWN, true);
    assert_string_equal(sends(client), "--");
    client = begin(1);
    assert_string_equal(sends(client), "E");
    client->now += COORDINATOR_REPEAT_NS;
    assert_string_equal(sends(client), "E");
    answer(client, 0, TXN_NO_SESSION);
    assert_state(client, COORDINATOR_UNKNOWN, true);
}

static void no_session_as_answer_to_resolve_is_no_vote(void **state)
{
    (void)state;
    struct client *client = begin(2);
    assert_string_equal(sends(client), "PP");
    answer(client, 1, TXN_PREPARED);
    pass(client, VOTE_END);
    assert_string_equal(sends(client), "R-");
    answer_to(client, 0, TXN_RESOLVE, TXN_NO_SESSION); /* PREPARE was sent once; it may have come, and all of it be over */
    assert_state(client, COORDINATOR_RUNS, false);
    assert_string_equal(sends(client), "-R");
}

static void never_sent_is_an_abort(void **state)
{
    (void)state;
    struct client *client = begin(2);
    uint32_t index;
    assert_int_equal(coordinator_next(&client->c, client->now, &index), TXN_PREPARE);
    assert_int_equal(index, 0);
    coordinator_on_unsent(&client->c, 0);
    assert_int_equal(coordinator_next(&client->c, client->now, &index), TXN_PREPARE);
    answer(client, 1, TXN_PREPARED);
    assert_int_equal(coordinator_next_ns(&client->c), START + COORDINATOR_REPEAT_NS);
    pass(client, VOTE_END);
    assert_state(client, COORDINATOR_ABORTED, false);
    assert_int_equal(client->c.part_aborted, 0);
    assert_int_equal(client->c.reason, LANE_REASON_NONE);
    assert_string_equal(sends(client), "-A");
    answer_to(client, 1, TXN_ABORT, TXN_ABORTED);
    assert_state(client, COORDINATOR_ABORTED, true);
}

static void never_sent_to_one_and_gone_at_another(void **state)
{
    (void)state;
    struct client *client = begin(2);
    sends(client);
    coordinator_on_unsent(&client->c, 0);
    client->now += COORDINATOR_REPEAT_NS;
    sends(client);
    coordinator_on_unsent(&client->c, 0);
    answer(client, 1, TXN_NO_SESSION);
    assert_state(client, COORDINATOR_ABORTED, true);
}

static void execute_waits_for_the_end_of_its_time(void **state)
{
    (void)state;
    struct client *client = begin(1);
    coordinator_start(&client->c, client->part, 1, DEADLINE - 100 * MS, DEADLINE);
    assert_string_equal(sends(client), "E");
    pass(client, VOTE_END);
    assert_string_equal(sends(client), "E"); /* it may wait at the node for a lock */
    pass(client, DEADLINE - 100 * MS);
    assert_string_equal(sends(client), "R");
    answer_to(client, 0, TXN_RESOLVE, TXN_ABORTED);
    assert_state(client, COORDINATOR_ABORTED, true);
}

static void user_is_told_in_time(void **state)
{
    (void)state;
    struct client *client = begin(2);
    coordinator_start(&client->c, client->part, 2, UINT64_MAX, START + 50 * MS);
    assert_string_equal(sends(client), "PP");
    assert_int_equal(coordinator_next_ns(&client->c), START + 50 * MS);
    pass(client, START + 50 * MS - 1);
    assert_state(client, COORDINATOR_RUNS, false);
    pass(client, START + 50 * MS);
    assert_state(client, COORDINATOR_UNKNOWN, false);
    assert_string_equal(sends(client), "RR"); /* votes are waited for no longer than the user waits */
    client = begin(2);
    assert_string_equal(sends(client), "PP");
    pass(client, VOTE_END);
    for (client->c.deadline_ns = VOTE_END + 10 * MS; client->now < VOTE_END + 10 * MS; pass(client, coordinator_next_ns(&client->c)))
        assert_string_equal(sends(client), "RR");
    assert_int_equal(client->now, VOTE_END + 10 * MS);
    assert_state(client, COORDINATOR_UNKNOWN, false);
    assert_int_equal(coordinator_next_ns(&client->c), VOTE_END + COORDINATOR_REPEAT_NS);
}

static void late_and_repeated_answers_change_nothing(void **state)
{
    (void)state;
    struct client *client = begin(2);
    assert_string_equal(sends(client), "PP");
    answer(client, 0, TXN_PREPARED);
    answer(client, 0, TXN_PREPARED);
    assert_state(client, COORDINATOR_RUNS, false);
    answer(client, 1, TXN_PREPARED);
    assert_state(client, COORDINATOR_COMMITTED, false);
    answer_to(client, 0, TXN_COMMIT, TXN_COMMITTED);
    answer(client, 0, TXN_PREPARED);
    assert_int_equal(client->part[0].state, PART_COMMITTED);
    answer_to(client, 1, TXN_COMMIT, TXN_COMMITTED);
    answer(client, 1, TXN_ABORTED);
    assert_state(client, COORDINATOR_COMMITTED, true);
    pass(client, DEADLINE);
    assert_state(client, COORDINATOR_COMMITTED, true);
}

static void misuse_while_voting_is_no_answer_and_afterwards_no_obstacle(void **state)
{
    (void)state;
    struct client *client = begin(2);
    assert_string_equal(sends(client), "PP");
    answer(client, 0, TXN_MISUSE);
    answer(client, 1, TXN_PREPARED);
    assert_state(client, COORDINATOR_RUNS, false);
    answer_to(client, 0, TXN_RESOLVE, TXN_ABORTED);
    assert_state(client, COORDINATOR_ABORTED, false);
    answer_to(client, 1, TXN_ABORT, TXN_MISUSE);
    assert_state(client, COORDINATOR_ABORTED, true);
}

static void abandoning(void **state)
{
    (void)state;
    struct client *client = begin(2);
    assert_string_equal(sends(client), "PP");
    assert_false(coordinator_abandon(&client->c));
    assert_state(client, COORDINATOR_UNKNOWN, true);
    assert_string_equal(sends(client), "--");
    client = begin(1);
    assert_string_equal(sends(client), "E");
    answer(client, 0, TXN_COMMITTED);
    assert_true(coordinator_abandon(&client->c));
    assert_int_equal(client->c.outcome, COORDINATOR_COMMITTED);
}

static void retries(void **state)
{
    (void)state;
    static const struct {
        enum lane_reason reason;
        bool may;
    } cases[] = {{LANE_BUSY, true},  {LANE_COMPARE, false}, {LANE_FROZEN, true}, {LANE_MEMORY, true},
                 {LANE_TOLD, true},  {LANE_FORCED, true},   {LANE_REASON_NONE, true}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client *client = begin(2);
        assert_false(coordinator_may_retry(&client->c));
        sends(client);
        coordinator_on_answer(&client->c, 0, TXN_PREPARE, &(struct txn_answer){.says = TXN_ABORTED, .reason = cases[i].reason});
        assert_int_equal(coordinator_may_retry(&client->c), cases[i].may);
    }
    uint64_t full = COORDINATOR_PAUSE_NS;
    for (uint32_t attempt = 1; attempt < 100; attempt++) {
        assert_int_equal(coordinator_pause_ns(attempt, 0), full / 2);
        assert_int_equal(coordinator_pause_ns(attempt, full / 2), full);
        for (uint64_t random = 1; random != 0; random *= 3 << 4)
            assert_in_range(coordinator_pause_ns(attempt, random), full / 2, full);
        full = 2 * full < COORDINATOR_PAUSE_LAST_NS ? 2 * full : COORDINATOR_PAUSE_LAST_NS;
    }
    assert_in_range(coordinator_pause_ns(UINT32_MAX, UINT64_MAX), COORDINATOR_PAUSE_LAST_NS / 2, COORDINATOR_PAUSE_LAST_NS);
}

static void largest_grid(void **state)
{
    (void)state;
    struct client *client = begin(GRID_NODES_MAX);
    assert_int_equal(strspn(sends(client), "P"), GRID_NODES_MAX);
    for (uint32_t i = 0; i < GRID_NODES_MAX; i++) {
        assert_state(client, COORDINATOR_RUNS, false);
        answer(client, i, TXN_PREPARED);
    }
    assert_state(client, COORDINATOR_COMMITTED, false);
    assert_int_equal(strspn(sends(client), "C"), GRID_NODES_MAX);
    for (uint32_t i = 0; i < GRID_NODES_MAX; i++)
        answer_to(client, i, TXN_COMMIT, TXN_COMMITTED);
    assert_state(client, COORDINATOR_COMMITTED, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_vote_to_commit),
        cmocka_unit_test(one_vote_against_aborts),
        cmocka_unit_test(one_participant_executes),
        cmocka_unit_test(unanswered_is_sent_again_with_longer_pauses),
        cmocka_unit_test(missing_vote_is_no_abort),
        cmocka_unit_test(resolve_makes_an_abort_of_what_was_not_voted),
        cmocka_unit_test(committed_is_told_once_all_reads_are_here),
        cmocka_unit_test(session_lost_before_the_only_transmission_is_an_abort),
        cmocka_unit_test(session_lost_otherwise_is_no_vote),
        cmocka_unit_test(nobody_left_who_knows),
        cmocka_unit_test(no_session_as_answer_to_resolve_is_no_vote),
        cmocka_unit_test(never_sent_is_an_abort),
        cmocka_unit_test(never_sent_to_one_and_gone_at_another),
        cmocka_unit_test(execute_waits_for_the_end_of_its_time),
        cmocka_unit_test(user_is_told_in_time),
        cmocka_unit_test(late_and_repeated_answers_change_nothing),
        cmocka_unit_test(misuse_while_voting_is_no_answer_and_afterwards_no_obstacle),
        cmocka_unit_test(abandoning),
        cmocka_unit_test(retries),
        cmocka_unit_test(largest_grid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
