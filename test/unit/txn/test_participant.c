/* SPDX-License-Identifier: Apache-2.0 */
/** A participant's table, cell by cell: each message, about an earlier, the same and a later transaction than the one on record, in each state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "txn/participant.h"

#define GENERATION 7u
#define SEQUENCE 5u

static const enum txn_message messages[] = {TXN_PREPARE, TXN_EXECUTE, TXN_COMMIT, TXN_ABORT, TXN_RESOLVE};
static const enum lane_state states[] = {LANE_NONE, LANE_PREPARED, LANE_COMMITTING, LANE_COMMITTED, LANE_ABORTED};
enum { MESSAGES = 5, STATES = 5 };

static struct lane_view view_in(enum lane_state state)
{
    struct lane_view view = {.generation = GENERATION, .sequence = state == LANE_NONE ? 0 : SEQUENCE, .state = state};
    if (state == LANE_ABORTED) {
        view.reason = LANE_COMPARE;
        view.failed_compare = 3;
    }
    return view;
}

static struct participant_decision decide(enum lane_state state, uint64_t sequence, enum txn_message message)
{
    struct lane_view view = view_in(state);
    struct lane_id id = {.session = 1, .lane = 2, .generation = GENERATION, .sequence = sequence};
    return participant_decide(&view, &id, message);
}

static void assert_says(struct participant_decision decision, enum txn_says says)
{
    assert_int_equal(decision.action, PARTICIPANT_ANSWER);
    assert_int_equal(decision.answer.says, says);
    if (says == TXN_ABORTED) {
        assert_int_equal(decision.answer.reason, LANE_COMPARE);
        assert_int_equal(decision.answer.failed_compare, 3);
    }
}

static void assert_does(struct participant_decision decision, enum participant_action action, enum lane_reason reason)
{
    assert_int_equal(decision.action, action);
    assert_int_equal(decision.reason, reason);
}

static void another_generation_is_no_session(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MESSAGES; m++) {
        for (unsigned s = 0; s < STATES; s++) {
            struct lane_view view = view_in(states[s]);
            for (uint64_t generation = GENERATION - 1; generation <= GENERATION + 1; generation += 2) {
                struct lane_id id = {.generation = generation, .sequence = SEQUENCE};
                assert_says(participant_decide(&view, &id, messages[m]), TXN_NO_SESSION);
            }
        }
        struct lane_view nobody = {0};
        struct lane_id id = {.generation = GENERATION, .sequence = SEQUENCE};
        assert_says(participant_decide(&nobody, &id, messages[m]), TXN_NO_SESSION);
    }
}

static void earlier_transaction_is_stale(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MESSAGES; m++)
        for (unsigned s = 1; s < STATES; s++)
            assert_says(decide(states[s], SEQUENCE - 1, messages[m]), TXN_STALE);
}

static void same_transaction(void **state)
{
    (void)state;
    assert_says(decide(LANE_PREPARED, SEQUENCE, TXN_PREPARE), TXN_PREPARED);
    assert_says(decide(LANE_COMMITTING, SEQUENCE, TXN_PREPARE), TXN_PREPARED);
    assert_says(decide(LANE_COMMITTED, SEQUENCE, TXN_PREPARE), TXN_COMMITTED);
    assert_says(decide(LANE_ABORTED, SEQUENCE, TXN_PREPARE), TXN_ABORTED);

    assert_says(decide(LANE_PREPARED, SEQUENCE, TXN_EXECUTE), TXN_MISUSE);
    assert_says(decide(LANE_COMMITTING, SEQUENCE, TXN_EXECUTE), TXN_MISUSE);
    assert_says(decide(LANE_COMMITTED, SEQUENCE, TXN_EXECUTE), TXN_COMMITTED);
    assert_says(decide(LANE_ABORTED, SEQUENCE, TXN_EXECUTE), TXN_ABORTED);

    assert_does(decide(LANE_PREPARED, SEQUENCE, TXN_COMMIT), PARTICIPANT_COMMIT, LANE_REASON_NONE);
    assert_does(decide(LANE_COMMITTING, SEQUENCE, TXN_COMMIT), PARTICIPANT_WAIT, LANE_REASON_NONE);
    assert_says(decide(LANE_COMMITTED, SEQUENCE, TXN_COMMIT), TXN_COMMITTED);
    assert_says(decide(LANE_ABORTED, SEQUENCE, TXN_COMMIT), TXN_MISUSE);

    assert_does(decide(LANE_PREPARED, SEQUENCE, TXN_ABORT), PARTICIPANT_ABORT, LANE_TOLD);
    assert_says(decide(LANE_COMMITTING, SEQUENCE, TXN_ABORT), TXN_MISUSE);
    assert_says(decide(LANE_COMMITTED, SEQUENCE, TXN_ABORT), TXN_MISUSE);
    assert_says(decide(LANE_ABORTED, SEQUENCE, TXN_ABORT), TXN_ABORTED);

    assert_says(decide(LANE_PREPARED, SEQUENCE, TXN_RESOLVE), TXN_PREPARED);
    assert_says(decide(LANE_COMMITTING, SEQUENCE, TXN_RESOLVE), TXN_PREPARED);
    assert_says(decide(LANE_COMMITTED, SEQUENCE, TXN_RESOLVE), TXN_COMMITTED);
    assert_says(decide(LANE_ABORTED, SEQUENCE, TXN_RESOLVE), TXN_ABORTED);
}

static void later_transaction(void **state)
{
    (void)state;
    static const enum lane_state finished[] = {LANE_NONE, LANE_COMMITTED, LANE_ABORTED};
    for (unsigned s = 0; s < 3; s++) {
        for (uint64_t sequence = SEQUENCE + 1; sequence <= SEQUENCE + 9; sequence += 8) { /* numbers may be skipped */
            assert_does(decide(finished[s], sequence, TXN_PREPARE), PARTICIPANT_PREPARE, LANE_REASON_NONE);
            assert_does(decide(finished[s], sequence, TXN_EXECUTE), PARTICIPANT_EXECUTE, LANE_REASON_NONE);
            assert_says(decide(finished[s], sequence, TXN_COMMIT), TXN_MISUSE);
            assert_does(decide(finished[s], sequence, TXN_ABORT), PARTICIPANT_FORCE, LANE_TOLD);
            assert_does(decide(finished[s], sequence, TXN_RESOLVE), PARTICIPANT_FORCE, LANE_FORCED);
        }
    }
    for (unsigned m = 0; m < MESSAGES; m++) { /* the one before is not finished: its client must not go on */
        assert_says(decide(LANE_PREPARED, SEQUENCE + 1, messages[m]), TXN_MISUSE);
        assert_says(decide(LANE_COMMITTING, SEQUENCE + 1, messages[m]), TXN_MISUSE);
    }
}

static void first_transaction_of_a_lane(void **state)
{
    (void)state;
    assert_does(decide(LANE_NONE, 1, TXN_PREPARE), PARTICIPANT_PREPARE, LANE_REASON_NONE);
    assert_does(decide(LANE_NONE, 1, TXN_RESOLVE), PARTICIPANT_FORCE, LANE_FORCED);
    struct lane_view made_up = {.generation = GENERATION, .sequence = 9, .state = LANE_NONE}; /* the sequence of a lane without transaction says nothing */
    struct lane_id id = {.generation = GENERATION, .sequence = 1};
    assert_does(participant_decide(&made_up, &id, TXN_EXECUTE), PARTICIPANT_EXECUTE, LANE_REASON_NONE);
}

static void impossible_ids_and_messages_change_nothing(void **state)
{
    (void)state;
    for (unsigned s = 0; s < STATES; s++) {
        struct lane_view view = view_in(states[s]);
        const struct lane_id ids[] = {
            {.lane = LANES, .generation = GENERATION, .sequence = SEQUENCE + 1},
            {.lane = 0, .generation = 0, .sequence = 1},
            {.lane = 0, .generation = GENERATION, .sequence = 0},
            {.lane = 0, .generation = GENERATION, .sequence = LANE_SEQUENCE_MAX + 1},
        };
        for (unsigned i = 0; i < 4; i++)
            for (unsigned m = 0; m < MESSAGES; m++)
                assert_says(participant_decide(&view, &ids[i], messages[m]), TXN_MISUSE);
        assert_says(decide(states[s], SEQUENCE, TXN_NOTHING), TXN_MISUSE);
        assert_says(decide(states[s], SEQUENCE + 1, TXN_NOTHING), TXN_MISUSE);
    }
    assert_does(decide(LANE_COMMITTED, LANE_SEQUENCE_MAX, TXN_PREPARE), PARTICIPANT_PREPARE, LANE_REASON_NONE);
}

static void answer_is_what_the_record_says(void **state)
{
    (void)state;
    static const enum txn_says says[] = {TXN_PREPARED, TXN_PREPARED, TXN_COMMITTED, TXN_ABORTED};
    for (unsigned s = 1; s < STATES; s++) {
        struct lane_view view = view_in(states[s]);
        assert_int_equal(participant_answer(&view).says, says[s - 1]);
    }
    struct lane_view view = view_in(LANE_ABORTED);
    assert_int_equal(participant_answer(&view).reason, LANE_COMPARE);
    assert_int_equal(participant_answer(&view).failed_compare, 3);
}

/* ---- lists of participants ---- */

enum { NODES = 4 };

struct list {
    struct lane_participant participant[GRID_NODES_MAX + 1];
    uint32_t count;
};

static struct list list_of_three(void)
{
    struct list list = {.count = 3};
    for (uint32_t i = 0; i < GRID_NODES_MAX + 1; i++)
        list.participant[i] = (struct lane_participant){.node = i, .id = {.session = 10 + i, .lane = i % LANES, .generation = 20 + i, .sequence = 30 + i}};
    return list;
}

static enum mcomp_status check(const struct list *list, uint32_t node, uint32_t *self)
{
    struct list good = list_of_three();
    struct err err;
    return participant_check(list->participant, list->count, node, NODES, &good.participant[node].id, self, &err);
}

static void good_list_is_taken(void **state)
{
    (void)state;
    struct list list = list_of_three();
    for (uint32_t node = 0; node < 3; node++) {
        uint32_t self = 99;
        assert_int_equal(check(&list, node, &self), MCOMP_OK);
        assert_int_equal(self, node);
    }
    list.count = 1;
    uint32_t self = 99;
    assert_int_equal(check(&list, 0, &self), MCOMP_OK);
    assert_int_equal(self, 0);
}

static void assert_refused(const struct list *list, uint32_t node)
{
    uint32_t self;
    assert_int_equal(check(list, node, &self), MCOMP_INVALID_ARGUMENT);
}

static void bad_lists_are_refused(void **state)
{
    (void)state;
    struct list list = list_of_three();
    list.count = 0;
    assert_refused(&list, 0);
    list.count = NODES + 1;
    assert_refused(&list, 0);
    list = list_of_three();
    assert_refused(&list, 3); /* not among them */
    list.participant[2].node = NODES;
    assert_refused(&list, 0);
    list.participant[2].node = 1;
    assert_refused(&list, 0);
    list.participant[2].node = 0;
    assert_refused(&list, 0);
    list = list_of_three();
    list.participant[1].id.lane = LANES;
    assert_refused(&list, 0);
    list = list_of_three();
    list.participant[1].id.generation = 0;
    assert_refused(&list, 0);
    list = list_of_three();
    list.participant[1].id.sequence = 0;
    assert_refused(&list, 0);
    list.participant[1].id.sequence = LANE_SEQUENCE_MAX + 1;
    assert_refused(&list, 0);
}

static void own_id_must_be_the_one_asked(void **state)
{
    (void)state;
    struct list list = list_of_three();
    list.participant[1].id.session++;
    assert_refused(&list, 1);
    list = list_of_three();
    list.participant[1].id.lane++;
    assert_refused(&list, 1);
    list = list_of_three();
    list.participant[1].id.generation++;
    assert_refused(&list, 1);
    list = list_of_three();
    list.participant[1].id.sequence++;
    assert_refused(&list, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_generation_is_no_session),
        cmocka_unit_test(earlier_transaction_is_stale),
        cmocka_unit_test(same_transaction),
        cmocka_unit_test(later_transaction),
        cmocka_unit_test(first_transaction_of_a_lane),
        cmocka_unit_test(impossible_ids_and_messages_change_nothing),
        cmocka_unit_test(answer_is_what_the_record_says),
        cmocka_unit_test(good_list_is_taken),
        cmocka_unit_test(bad_lists_are_refused),
        cmocka_unit_test(own_id_must_be_the_one_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
