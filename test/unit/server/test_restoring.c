/* SPDX-License-Identifier: Apache-2.0 */
/** Who may touch the bytes while a restore closes a node, takes it over, gives it up, and opens it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "server/restoring.h"

#define PAGES 70u
#define WRITERS 3u

struct fixture {
    char grid[48];
    struct segment *segment;
    struct restoring *restoring;
    struct restoring_claim claim, other;
};

static void open_all(struct fixture *fixture)
{
    struct segment_options options = {
        .grid = fixture->grid, .nodes = 1, .size = PAGES * PAGE_BYTES, .writers = WRITERS, .redo_bytes = PAGE_BYTES};
    struct err err;
    if (segment_open(&fixture->segment, &options, &err) != MCOMP_OK || restoring_open(&fixture->restoring, fixture->segment, WRITERS, &err) != MCOMP_OK)
        fail_msg("%s", err.text);
}

static void close_all(struct fixture *fixture)
{
    restoring_unclaim(fixture->restoring, &fixture->claim);
    restoring_unclaim(fixture->restoring, &fixture->other);
    restoring_close(fixture->restoring);
    segment_close(fixture->segment);
}

static int setup(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    snprintf(fixture.grid, sizeof fixture.grid, "restoring-%d", (int)getpid());
    open_all(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    struct err err;
    close_all(fixture);
    return segment_remove(fixture->grid, 0, &err) == MCOMP_OK ? 0 : -1;
}

static bool is_open(struct fixture *fixture)
{
    uint32_t ticket = restoring_enter(fixture->restoring, 0);
    if (ticket)
        restoring_leave(fixture->restoring, 0, ticket);
    return ticket != 0;
}

static enum mcomp_status begin(struct fixture *fixture, uint64_t id)
{
    struct segment_restore wanted = {.id = id, .file = 2, .round = 3};
    struct err err;
    return restoring_begin(fixture->restoring, &wanted, &err);
}

static enum mcomp_status store(struct fixture *fixture, uint64_t id, uint64_t page, uint64_t zero_pages)
{
    bool busy;
    struct err err;
    enum mcomp_status status =
        restoring_store(fixture->restoring, id, page * PAGE_BYTES, 0, NULL, zero_pages * PAGE_BYTES, false, &busy, &err);
    assert_false(busy);
    return status;
}

static Mcomp__V1__RestoreState told(struct fixture *fixture, uint64_t *id)
{
    Mcomp__V1__StatusResult result = MCOMP__V1__STATUS_RESULT__INIT;
    restoring_fill_status(fixture->restoring, &result);
    *id = result.restore_id;
    return result.restore_state;
}

static void assert_told(struct fixture *fixture, Mcomp__V1__RestoreState state, uint64_t id)
{
    uint64_t is;
    assert_int_equal(told(fixture, &is), state);
    assert_true(is == id);
}

struct beginner {
    struct fixture *fixture;
    enum mcomp_status status;
    _Atomic bool returned;
};

static void *begin_main(void *arg)
{
    struct beginner *beginner = arg;
    beginner->status = begin(beginner->fixture, 5);
    atomic_store(&beginner->returned, true);
    return NULL;
}

/* Whoever is inside when the node closes is waited for. If that were not so, most rounds would show it. */
static void who_is_inside_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 500; i++) {
        struct beginner beginner = {.fixture = fixture};
        pthread_t thread;
        restoring_claim(fixture->restoring, &fixture->claim, 5);
        uint32_t ticket = restoring_enter(fixture->restoring, 1);
        assert_true(ticket != 0);
        assert_int_equal(pthread_create(&thread, NULL, begin_main, &beginner), 0);
        while (is_open(fixture))
            sched_yield();
        assert_false(atomic_load(&beginner.returned));
        restoring_leave(fixture->restoring, 1, ticket);
        pthread_join(thread, NULL);
        assert_int_equal(beginner.status, MCOMP_OK);
        restoring_unclaim(fixture->restoring, &fixture->claim);
        assert_true(is_open(fixture));
    }
}

static void a_whole_restore(void **state)
{
    struct fixture *fixture = *state;
    struct err err;
    restoring_claim(fixture->restoring, &fixture->claim, 5);
    assert_int_equal(store(fixture, 5, 0, 1), MCOMP_FAILED_PRECONDITION);
    assert_int_equal(begin(fixture, 5), MCOMP_OK);
    assert_int_equal(begin(fixture, 5), MCOMP_OK);
    assert_false(is_open(fixture));
    assert_told(fixture, MCOMP__V1__RESTORE_STATE__RESTORE_STATE_BEGUN, 5);
    assert_int_equal(store(fixture, 5, 3, PAGES - 3), MCOMP_OK);
    assert_told(fixture, MCOMP__V1__RESTORE_STATE__RESTORE_STATE_PART, 5);
    assert_int_equal(restoring_complete(fixture->restoring, 5, &err), MCOMP_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "3 of 70 pages"));
    assert_int_equal(restoring_serve(fixture->restoring, 5, &err), MCOMP_FAILED_PRECONDITION);
    assert_int_equal(store(fixture, 5, 0, 4), MCOMP_OK);
    assert_int_equal(restoring_complete(fixture->restoring, 5, &err), MCOMP_OK);
    assert_told(fixture, MCOMP__V1__RESTORE_STATE__RESTORE_STATE_COMPLETE, 5);
    assert_int_equal(store(fixture, 5, 0, 1), MCOMP_FAILED_PRECONDITION);
    assert_int_equal(restoring_serve(fixture->restoring, 6, &err), MCOMP_FAILED_PRECONDITION);
    assert_false(is_open(fixture));
    assert_int_equal(restoring_serve(fixture->restoring, 5, &err), MCOMP_OK);
    assert_int_equal(restoring_serve(fixture->restoring, 5, &err), MCOMP_OK);
    assert_int_equal(restoring_complete(fixture->restoring, 5, &err), MCOMP_OK);
    assert_true(is_open(fixture));
    assert_told(fixture, MCOMP__V1__RESTORE_STATE__RESTORE_STATE_UNSPECIFIED, 5);
    assert_int_equal(begin(fixture, 5), MCOMP_FAILED_PRECONDITION); /* late, or a number that was used before */
}

static void another_server_serves_no_part(void **state)
{
    struct fixture *fixture = *state;
    struct err err;
    char text[RESTORING_TEXT_BYTES];
    restoring_claim(fixture->restoring, &fixture->claim, 5);
    assert_int_equal(begin(fixture, 5), MCOMP_OK);
    close_all(fixture);
    open_all(fixture);
    assert_true(is_open(fixture)); /* no byte had changed */
    restoring_claim(fixture->restoring, &fixture->claim, 5);
    assert_int_equal(begin(fixture, 5), MCOMP_OK);
    assert_int_equal(store(fixture, 5, 0, PAGES), MCOMP_OK);
    close_all(fixture);
    open_all(fixture);
    assert_false(is_open(fixture));
    assert_non_null(strstr(restoring_text(fixture->restoring, text), "did not come to its end"));
    assert_int_equal(store(fixture, 5, 0, PAGES), MCOMP_FAILED_PRECONDITION);
    assert_int_equal(restoring_complete(fixture->restoring, 5, &err), MCOMP_FAILED_PRECONDITION);
    restoring_claim(fixture->restoring, &fixture->claim, 6);
    assert_int_equal(begin(fixture, 6), MCOMP_OK);
    restoring_unclaim(fixture->restoring, &fixture->claim);
    assert_false(is_open(fixture)); /* given up, but not its to open */
    restoring_claim(fixture->restoring, &fixture->claim, 6);
    assert_int_equal(begin(fixture, 6), MCOMP_OK);
    assert_int_equal(store(fixture, 6, 0, PAGES), MCOMP_OK);
    assert_int_equal(restoring_complete(fixture->restoring, 6, &err), MCOMP_OK);
    close_all(fixture);
    open_all(fixture);
    assert_false(is_open(fixture));
    assert_non_null(strstr(restoring_text(fixture->restoring, text), "with the same file again"));
    assert_int_equal(restoring_serve(fixture->restoring, 6, &err), MCOMP_OK);
    assert_true(is_open(fixture));
}

static void one_client_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    char text[RESTORING_TEXT_BYTES];
    restoring_claim(fixture->restoring, &fixture->claim, 5);
    restoring_claim(fixture->restoring, &fixture->other, 6);
    assert_int_equal(begin(fixture, 7), MCOMP_UNAVAILABLE); /* its connection has gone meanwhile */
    assert_true(is_open(fixture));
    assert_int_equal(begin(fixture, 5), MCOMP_OK);
    assert_int_equal(begin(fixture, 6), MCOMP_UNAVAILABLE);
    assert_non_null(strstr(restoring_text(fixture->restoring, text), "is being restored"));
    assert_int_equal(store(fixture, 5, 0, 1), MCOMP_OK);
    restoring_unclaim(fixture->restoring, &fixture->claim);
    assert_int_equal(begin(fixture, 6), MCOMP_OK);
    assert_int_equal(store(fixture, 5, 0, 1), MCOMP_FAILED_PRECONDITION);
    assert_int_equal(store(fixture, 6, 0, 1), MCOMP_OK);
    assert_told(fixture, MCOMP__V1__RESTORE_STATE__RESTORE_STATE_PART, 6);
}

static void snapshots_and_restores_exclude_each_other(void **state)
{
    struct fixture *fixture = *state;
    assert_true(restoring_freeze_begin(fixture->restoring));
    segment_freeze(fixture->segment);
    restoring_freeze_end(fixture->restoring);
    restoring_claim(fixture->restoring, &fixture->claim, 5);
    assert_int_equal(begin(fixture, 5), MCOMP_UNAVAILABLE);
    assert_true(segment_wait_drained(fixture->segment, SEGMENT_NO_TIMEOUT));
    segment_cut(fixture->segment, 0x100);
    segment_thaw(fixture->segment);
    assert_int_equal(begin(fixture, 5), MCOMP_UNAVAILABLE);
    segment_capture_end(fixture->segment, 0x100);
    assert_int_equal(begin(fixture, 5), MCOMP_OK);
    assert_false(restoring_freeze_begin(fixture->restoring));
    restoring_unclaim(fixture->restoring, &fixture->claim);
    assert_true(restoring_freeze_begin(fixture->restoring));
    restoring_freeze_end(fixture->restoring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_is_inside_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_whole_restore, setup, teardown),
        cmocka_unit_test_setup_teardown(another_server_serves_no_part, setup, teardown),
        cmocka_unit_test_setup_teardown(one_client_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshots_and_restores_exclude_each_other, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
