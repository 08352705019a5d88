/* SPDX-License-Identifier: Apache-2.0 */
/** A bank on one segment that stands for two nodes: transfers of which each half is a transaction of its own, prepared both before either is committed, beside
 *  executions, plain operations, hunters of half transfers, and snapshots.
 *
 *  An account is a word and its complement, in two lines. Threads transfer by executions, by pairs of prepared transactions that they keep open while they do
 *  other things, and abort some; they read accounts and the whole bank in every way that there is; and add to counters in the accounts' lines by plain
 *  operations. The main thread freezes, cuts and captures all the while: each image must have the exact sum, and nothing prepared at the cut.
 *  Built with SEGMENT_BROKEN_IN_DOUBT the test must see a false sum in an image. */
#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "segment/broken.h"
#include "txn.h"

#define WORKERS 4u
#define HUNTER WORKERS /* its writer */
#define ACCOUNTS 24u
#define ACCOUNT_BYTES 20000u /* from one to the next: several in a stripe, some over the border of two */
#define COMPLEMENT 72u       /* where in an account */
#define COUNTER 24u
#define TOTAL UINT64_C(1000000)
#define OPEN_MAX 3u /* transfers of a worker that are prepared at a time */
#define CUTS (UNDER_TSAN || UNDER_ASAN ? 30u : 200u)
#define TRANSFERS 40u        /* between two cuts */
#define FIRST_ROUND 256u

struct bank {
    struct segment *segment;
    _Atomic bool stop;
    const char *_Atomic failed;
    _Atomic uint64_t counted, committed, aborted, refused, locked, hunted;
    sem_t transfers; /* posted for each that is committed */
};

struct worker {
    struct bank *bank;
    uint32_t number;
    uint64_t random;
};

static uint64_t account(uint64_t number)
{
    return (number * ACCOUNT_BYTES) % (FIXTURE_BYTES - 4096) / 64 * 64 + (number * ACCOUNT_BYTES) / (FIXTURE_BYTES - 4096) * 256;
}

static void bank_fail(struct bank *bank, const char *what)
{
    atomic_store(&bank->failed, what);
    atomic_store(&bank->stop, true);
    for (uint32_t i = 0; i < TRANSFERS; i++) /* who waits for transfers need not */
        sem_post(&bank->transfers);
}

static bool fits(const uint8_t *word, const uint8_t *complement)
{
    return le64_get(word) == ~le64_get(complement);
}

/* ---- transfers ---- */

/* One half of a transfer: an account grows by amount. */
struct half {
    struct lane_id id;
    struct segment_delta adds[2];
    uint8_t answer[16];
};

static struct segment_items items_of(struct half *half, uint64_t number, uint64_t amount)
{
    half->adds[0] = (struct segment_delta){account(number), amount};
    half->adds[1] = (struct segment_delta){account(number) + COMPLEMENT, 0 - amount};
    return (struct segment_items){.adds = half->adds, .add_count = 2, .answer = half->answer};
}

/* Prepare one half; false: it is recorded as aborted. */
static bool prepare_half(struct worker *worker, struct half *half, uint64_t number, uint64_t amount)
{
    struct segment_items items = items_of(half, number, amount);
    struct lane_view view;
    DONE(txn_prepare(worker->bank->segment, worker->number, &half->id, &items, &view));
    if (view.state == LANE_PREPARED && !fits(half->answer, half->answer + 8))
        bank_fail(worker->bank, "a prepared transaction read half a transfer");
    if (view.state == LANE_PREPARED)
        return true;
    if (view.reason != LANE_BUSY && view.reason != LANE_FROZEN)
        bank_fail(worker->bank, "a transfer was refused for another reason than locks and snapshots");
    half->id.sequence++;
    return false;
}

static void decide(struct worker *worker, struct half pair[2], bool yes)
{
    for (int i = 0; i < 2; i++) {
        txn_decide(worker->bank->segment, worker->number, &pair[i].id, yes);
        pair[i].id.sequence++;
        sched_yield(); /* between the halves, too: an image must not come there */
    }
    atomic_fetch_add(yes ? &worker->bank->committed : &worker->bank->aborted, 1);
    if (yes)
        sem_post(&worker->bank->transfers);
}

/* Begin a transfer. False: a half was refused, and the other is aborted. */
static bool begin_transfer(struct worker *worker, struct half pair[2])
{
    uint64_t from = fixture_random(&worker->random) % ACCOUNTS, to = (from + 1 + fixture_random(&worker->random) % (ACCOUNTS - 1)) % ACCOUNTS;
    uint64_t amount = fixture_random(&worker->random) % 100;
    if (prepare_half(worker, &pair[0], from, 0 - amount)) {
        if (prepare_half(worker, &pair[1], to, amount))
            return true;
        txn_decide(worker->bank->segment, worker->number, &pair[0].id, false);
        pair[0].id.sequence++;
    }
    atomic_fetch_add(&worker->bank->refused, 1);
    sched_yield(); /* to whom it waits for */
    return false;
}

/* A whole transfer between two accounts as one execution, recorded in a lane. */
static void execute_transfer(struct worker *worker, struct half *half)
{
    struct bank *bank = worker->bank;
    uint64_t from = fixture_random(&worker->random) % ACCOUNTS, to = (from + 1) % ACCOUNTS;
    struct segment_delta adds[] = {{account(from), 0 - UINT64_C(7)}, {account(from) + COMPLEMENT, 7}, {account(to), 7},
                                   {account(to) + COMPLEMENT, 0 - UINT64_C(7)}};
    uint8_t answer[32];
    struct segment_items items = {.adds = adds, .add_count = 4, .answer = answer};
    struct lane_view view;
    enum segment_outcome outcome = txn_execute(bank->segment, worker->number, &half->id, &items, &view);
    if (outcome != SEGMENT_DONE) {
        atomic_fetch_add(&bank->locked, outcome == SEGMENT_LOCKED);
        sched_yield();
        return;
    }
    half->id.sequence++;
    if (!fits(answer, answer + 8) || !fits(answer + 16, answer + 24))
        bank_fail(bank, "an execution read half a transfer");
}

static void count_plainly(struct worker *worker)
{
    uint64_t before, number = fixture_random(&worker->random) % ACCOUNTS;
    enum segment_outcome outcome = segment_add(worker->bank->segment, worker->number, account(number) + COUNTER, 1, &before);
    atomic_fetch_add(&worker->bank->counted, outcome == SEGMENT_DONE);
    atomic_fetch_add(&worker->bank->locked, outcome == SEGMENT_LOCKED);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct bank *bank = worker->bank;
    struct half open[OPEN_MAX][2], single = {.id = txn_open(bank->segment, (uint8_t)worker->number)};
    bool is_open[OPEN_MAX] = {false};
    for (uint32_t i = 0; i < OPEN_MAX; i++)
        for (uint32_t j = 0; j < 2; j++) {
            open[i][j].id = txn_open(bank->segment, (uint8_t)(j ? 100 + worker->number : worker->number));
            open[i][j].id.lane = 1 + i;
        }
    while (!atomic_load(&bank->stop)) {
        uint64_t r = fixture_random(&worker->random) >> 8, i = r % OPEN_MAX;
        if (is_open[i]) {
            decide(worker, open[i], r >> 8 & 7);
            is_open[i] = false;
        } else if (r >> 12 & 1) {
            is_open[i] = begin_transfer(worker, open[i]);
        } else if (r >> 13 & 1) {
            execute_transfer(worker, &single);
        } else {
            count_plainly(worker);
        }
    }
    for (uint32_t i = 0; i < OPEN_MAX; i++)
        if (is_open[i])
            decide(worker, open[i], true);
    return NULL;
}

/* ---- hunters ---- */

static void hunt_one(struct bank *bank, uint64_t number, uint64_t kind)
{
    uint8_t buf[COMPLEMENT + 8], pair[16];
    const struct segment_range ranges[] = {{account(number), 8}, {account(number) + COMPLEMENT, 8}};
    const uint8_t *held;
    bool whole = true;
    switch (kind) {
    case 0:
        if (segment_read(bank->segment, account(number), sizeof buf, buf) == SEGMENT_DONE)
            whole = fits(buf, buf + COMPLEMENT);
        break;
    case 1:
        if (segment_read_try(bank->segment, account(number), sizeof buf, buf) == SEGMENT_DONE)
            whole = fits(buf, buf + COMPLEMENT);
        break;
    case 2:
        held = segment_hold_try(bank->segment, account(number), sizeof buf);
        if (held) {
            whole = fits(held, held + COMPLEMENT);
            segment_release(bank->segment, account(number), sizeof buf);
        }
        break;
    default:
        if (segment_multi(bank->segment, HUNTER, ranges, 2, pair, NULL, 0) == SEGMENT_DONE)
            whole = fits(pair, pair + 8);
    }
    if (!whole)
        bank_fail(bank, "a plain read saw half a transaction");
}

/* Read the whole bank at once: it shows both halves of every transfer or neither, since what is prepared is locked. */
static void hunt_sum(struct bank *bank)
{
    struct segment_range reads[ACCOUNTS];
    uint8_t words[ACCOUNTS * 8];
    struct segment_items items = {.reads = reads, .read_count = ACCOUNTS, .answer = words};
    struct lane_view view;
    for (uint64_t i = 0; i < ACCOUNTS; i++)
        reads[i] = (struct segment_range){account(i), 8};
    if (segment_execute(bank->segment, HUNTER, NULL, &items, &view) != SEGMENT_DONE)
        return;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ACCOUNTS; i++)
        sum += le64_get(words + 8 * i);
    if (sum != TOTAL)
        bank_fail(bank, "a read of the whole bank saw half a transfer");
    atomic_fetch_add(&bank->hunted, 1);
}

static void *hunt(void *arg)
{
    struct worker *worker = arg;
    while (!atomic_load(&worker->bank->stop)) {
        uint64_t r = fixture_random(&worker->random) >> 8;
        if (r % 4 == 0)
            hunt_sum(worker->bank);
        else
            hunt_one(worker->bank, (r >> 4) % ACCOUNTS, (r >> 2) % 4);
    }
    return NULL;
}

/* ---- snapshots ---- */

static bool image_is_whole(const uint8_t *image)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < ACCOUNTS; i++) {
        if (!fits(image + account(i), image + account(i) + COMPLEMENT))
            return false;
        sum += le64_get(image + account(i));
    }
    return sum == TOTAL;
}

/* False: the image shows half a transfer. */
static bool snapshot(struct fixture *fixture, struct capture *capture, uint32_t round)
{
    static uint8_t image[FIXTURE_BYTES];
    struct err err = {.text = ""};
    segment_freeze(fixture->segment);
    if (!segment_wait_drained(fixture->segment, SEGMENT_NO_TIMEOUT))
        return false;
    bool none_prepared = txn_prepared(fixture->segment) == 0;
    segment_cut(fixture->segment, round);
    segment_thaw(fixture->segment);
    MC_ASSERT(none_prepared || SEGMENT_BROKEN_IN_DOUBT);
    enum mcomp_status code = fixture_capture(capture, round, FIXTURE_BYTES, image, &err);
    if (code != MCOMP_OK)
        fail_msg("capture: %s: %s", status_name(code), err.text);
    return image_is_whole(image);
}

static void start(struct bank *bank, pthread_t *threads, struct worker *workers)
{
    for (uint32_t i = 0; i <= WORKERS; i++) {
        workers[i] = (struct worker){.bank = bank, .number = i, .random = i + 1};
        MC_ASSERT(pthread_create(&threads[i], NULL, i == HUNTER ? hunt : work, &workers[i]) == 0);
    }
}

static void check_the_end(struct fixture *fixture, struct bank *bank)
{
    static uint8_t bytes[FIXTURE_BYTES];
    for (int i = 0; i < 2; i++) {
        DONE(segment_read(fixture->segment, 0, FIXTURE_BYTES, bytes)); /* no lock is left */
        assert_int_equal(txn_prepared(fixture->segment), 0);
        assert_true(image_is_whole(bytes));
        uint64_t counted = 0;
        for (uint64_t j = 0; j < ACCOUNTS; j++)
            counted += le64_get(bytes + account(j) + COUNTER);
        assert_int_equal(counted, atomic_load(&bank->counted));
        fixture_close(fixture);
        fixture_open(fixture);
    }
}

static void transfers_are_whole_for_everybody(void **state)
{
    struct fixture *fixture = *state;
    struct bank bank = {.segment = fixture->segment};
    assert_int_equal(sem_init(&bank.transfers, 0, 0), 0);
    pthread_t threads[WORKERS + 1];
    struct worker workers[WORKERS + 1];
    uint8_t word[8];
    for (uint64_t i = 0; i < ACCOUNTS; i++) {
        le64_put(word, i == 0 ? TOTAL : 0);
        DONE(segment_write(fixture->segment, 0, account(i), 8, word));
        le64_put(word, i == 0 ? ~TOTAL : UINT64_MAX);
        DONE(segment_write(fixture->segment, 0, account(i) + COMPLEMENT, 8, word));
    }
    struct capture *capture = fixture_capture_open(fixture);
    start(&bank, threads, workers);
    uint32_t cuts = 0;
    bool whole = true;
    while (!atomic_load(&bank.stop) && whole && (cuts < CUTS || atomic_load(&bank.hunted) < CUTS || SEGMENT_BROKEN_IN_DOUBT)) {
        for (uint32_t i = 0; i < TRANSFERS; i++)
            while (sem_wait(&bank.transfers) != 0)
                ;
        whole = snapshot(fixture, capture, FIRST_ROUND + cuts++);
    }
    atomic_store(&bank.stop, true);
    for (uint32_t i = 0; i <= WORKERS; i++)
        pthread_join(threads[i], NULL);
    capture_close(capture);
    if (atomic_load(&bank.failed))
        fail_msg("%s", atomic_load(&bank.failed));
    if (!SEGMENT_BROKEN_IN_DOUBT && !whole)
        fail_msg("the image of cut %u shows half a transfer", cuts);
    if (SEGMENT_BROKEN_IN_DOUBT)
        print_message("the defect was seen in the image of cut %u\n", cuts);
    else
        check_the_end(fixture, &bank);
    print_message("%llu transfers committed, %llu aborted, %llu refused; %llu operations met locks; %u cuts\n", (unsigned long long)bank.committed,
                  (unsigned long long)bank.aborted, (unsigned long long)bank.refused, (unsigned long long)bank.locked, cuts);
    assert_true(SEGMENT_BROKEN_IN_DOUBT || (bank.aborted > 0 && bank.refused > 0 && bank.locked > 0));
}

static int setup(void **state)
{
    struct err err;
    if (fixture_setup(state) != 0)
        return -1;
    struct fixture *fixture = *state;
    fixture->options.writers = WORKERS + 1;
    return segment_open(&fixture->segment, &fixture->options, &err) == MCOMP_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(transfers_are_whole_for_everybody, setup, fixture_teardown),
    };
    return cmocka_run_group_tests_name("segment-transaction-stress", tests, NULL, NULL);
}
