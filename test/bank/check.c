/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank.h"
#include "snapshot/file.h"

bool checker_open(struct checker *checker, const struct bank *bank)
{
    memset(checker, 0, sizeof *checker);
    checker->bank = bank;
    checker->image = malloc(bank->segment_size * bank->nodes);
    bool opened = checker->image != NULL;
    for (uint32_t i = 0; i < bank->clients && opened; i++)
        opened = ledger_open(&checker->ledger[i], bank, i);
    return opened;
}

void checker_close(struct checker *checker)
{
    for (uint32_t i = 0; i < checker->bank->clients; i++)
        ledger_close(&checker->ledger[i]);
    free(checker->image);
}

static void bad(struct finding *finding, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void bad(struct finding *finding, const char *format, ...)
{
    va_list args;
    if (!finding->sound)
        return;
    finding->sound = false;
    va_start(args, format);
    vsnprintf(finding->text, sizeof finding->text, format, args);
    va_end(args);
}

static bool load(struct checker *checker, const char *path, struct finding *finding)
{
    const struct bank *bank = checker->bank;
    struct snapshot_reader *reader;
    struct err err;
    if (snapshot_reader_open(&reader, path, &err) != MCOMP_OK) {
        bad(finding, "%s", err.text);
        return false;
    }
    if (snapshot_reader_grid_bytes(reader) != bank->segment_size * bank->nodes)
        bad(finding, "it is of a grid of another size");
    else if (snapshot_reader_read(reader, 0, bank->segment_size * bank->nodes, checker->image, &err) != MCOMP_OK)
        bad(finding, "%s", err.text);
    snapshot_reader_close(reader);
    return finding->sound;
}

static const uint8_t *bytes_of(const struct checker *checker, uint32_t client, uint32_t cell)
{
    return checker->image + bank_address(checker->bank, client, cell);
}

/** The last operation of the client that has left a trace. */
static uint64_t last_operation(const struct checker *checker, uint32_t client)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < bank_cells(checker->bank); i++) {
        uint64_t claimed = bank_claimed(checker->bank, client, bytes_of(checker, client, i));
        if (claimed > last)
            last = claimed;
    }
    return last;
}

/** A cell is not what it must be. */
static void explain(const struct checker *checker, uint32_t client, uint32_t cell, struct finding *finding)
{
    const struct bank *bank = checker->bank;
    const struct ledger *ledger = &checker->ledger[client];
    uint64_t claimed = bank_claimed(bank, client, bytes_of(checker, client, cell)), expected = ledger->cell[cell].operation;
    char missing[BANK_TEXT_BYTES], last[BANK_TEXT_BYTES];
    if (claimed >= expected) {
        bad(finding, "client %" PRIu32 ": the cell at address %" PRIu64 " is mixed: it names operation %" PRIu64 ", and has not its content", client,
            bank_address(bank, client, cell), claimed);
        return;
    }
    bank_describe(bank, client, ledger->operations, last);
    bank_describe(bank, client, expected, missing);
    if (expected == ledger->operations)
        bad(finding, "client %" PRIu32 ": only a part of %.200s is there", client, last);
    else
        bad(finding, "client %" PRIu32 ": %.150s is there, but not %.150s", client, last, missing);
}

static void check_client(struct checker *checker, uint32_t client, struct finding *finding)
{
    const struct bank *bank = checker->bank;
    struct ledger *ledger = &checker->ledger[client];
    uint64_t last = last_operation(checker, client);
    uint8_t expected[BANK_CELL_BYTES_MAX];
    int64_t sum = 0;
    struct step step;
    if (last >= BANK_OPERATIONS_MAX) {
        bad(finding, "client %" PRIu32 ": a cell names operation %" PRIu64 ", which was never made", client, last);
        return;
    }
    if (ledger->operations > last)
        ledger_reset(ledger);
    while (ledger->operations < last)
        ledger_advance(ledger, &step);
    for (uint32_t i = 0; i < bank_cells(bank) && finding->sound; i++) {
        ledger_content(ledger, i, expected);
        if (memcmp(expected, bytes_of(checker, client, i), bank_cell_bytes(bank)) != 0)
            explain(checker, client, i, finding);
        sum += ledger->cell[i].balance;
    }
    bool open = bank->kind == BANK_ACCOUNTS && last % 2 == 1;
    if (open ? sum >= 0 : sum != 0)
        bad(finding, "client %" PRIu32 ": the sum of its accounts is %" PRId64, client, sum);
    finding->operations += last;
    finding->open += open;
}

void checker_file(struct checker *checker, const char *path, struct finding *finding)
{
    *finding = (struct finding){.sound = true};
    if (!load(checker, path, finding))
        return;
    for (uint32_t i = 0; i < checker->bank->clients && finding->sound; i++)
        check_client(checker, i, finding);
}

/** A client's next operation had not ended when the instant was: or it would be in the file. 0 in the journal: it has not ended to this day. */
static uint64_t end_of_next(const struct client *client, uint64_t operations)
{
    uint64_t ended_ns = atomic_load(&client->moment[operations + 1].ended_ns);
    return ended_ns == 0 ? UINT64_MAX : ended_ns;
}

void checker_instant(const struct checker *checker, const struct clients *clients, uint64_t asked_ns, uint64_t cut_ns, struct finding *finding)
{
    uint64_t from_ns = asked_ns, to_ns = cut_ns;
    uint32_t late = UINT32_MAX, early = UINT32_MAX; /* whose operation is in the file though begun late; not in it though ended early */
    for (uint32_t i = 0; i < checker->bank->clients && finding->sound; i++) {
        uint64_t operations = checker->ledger[i].operations;
        uint64_t begun_ns = operations > 0 ? atomic_load(&clients->client[i].moment[operations].begun_ns) : 1;
        uint64_t ended_ns = end_of_next(&clients->client[i], operations);
        if (begun_ns == 0)
            bad(finding, "client %" PRIu32 ": operation %" PRIu64 " is in the file, and was never begun", i, operations);
        if (begun_ns > from_ns) {
            from_ns = begun_ns;
            late = i;
        }
        if (ended_ns < to_ns) {
            to_ns = ended_ns;
            early = i;
        }
    }
    if (from_ns <= to_ns) {
        finding->window_ns = to_ns - from_ns;
        return;
    }
    uint64_t gap_ns = from_ns - to_ns;
    if (late == UINT32_MAX)
        bad(finding, "client %" PRIu32 ": what was acknowledged %" PRIu64 " ns before the snapshot was asked for is not in it", early, gap_ns);
    else if (early == UINT32_MAX)
        bad(finding, "client %" PRIu32 ": what was begun %" PRIu64 " ns after the cut is in the file", late, gap_ns);
    else
        bad(finding, "there is no such instant: an operation of client %" PRIu32 " is in the file, and was begun %" PRIu64 " ns after one of client %" PRIu32
            " had ended, which is not", late, gap_ns, early);
}
