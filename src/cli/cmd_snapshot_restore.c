/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp snapshot restore: a snapshot file into the grid that runs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/restore.h"
#include "cli/snapshot.h"

struct restore_settings {
    const char *file;
    bool yes;
};

static const struct restore_settings defaults = {0};

static const struct arg_spec options[] = {
    {.name = "yes", .letter = 'y', .kind = ARG_FLAG, .offset = offsetof(struct restore_settings, yes),
     .help = "do not ask whether the grid's bytes may go; without a\nterminal to ask on, nothing happens unless it is given"},
};

static const struct arg_spec operands[] = {
    {.name = "FILE", .kind = ARG_TEXT, .offset = offsetof(struct restore_settings, file), .help = "the snapshot file"},
};

/* ---- before anything is changed ---- */

struct checker {
    const struct cli *cli;
    struct progress progress;
    bool begun;
};

static void take_progress(void *arg, uint64_t done, uint64_t bytes)
{
    struct checker *checker = arg;
    if (!checker->begun)
        progress_begin(&checker->progress, "verify", bytes, checker->cli->err_terminal, clock_mono_ns());
    checker->begun = true;
    progress_update(&checker->progress, done, clock_mono_ns());
}

static void take_problem(void *arg, const struct snapshot_problem *problem)
{
    (void)arg;
    (void)problem; /* the first of them is in the error */
}

static enum mcomp_status verify(const struct cli *cli, const char *path, uint64_t *elapsed_ns, struct err *err)
{
    struct checker checker = {.cli = cli};
    uint64_t chunks, begin_ns = clock_mono_ns();
    enum mcomp_status status = snapshot_verify(path, take_problem, take_progress, &checker, &chunks, err);
    progress_end(&checker.progress);
    *elapsed_ns = clock_mono_ns() - begin_ns;
    if (status == MCOMP_OK)
        return status;
    struct err why = *err;
    return err_set(err, status, "%s; nothing was changed (\"mcomp snapshot verify\" tells all that is wrong)", why.text);
}

/** Ask on the terminal. */
static bool is_agreed(const struct restore_plan *plan)
{
    const Mcomp__Snapshot__V1__Header *header = snapshot_reader_header(plan->reader);
    char size[UNITS_TEXT_BYTES], when[SNAPSHOT_TIME_BYTES], answer[16];
    fprintf(stderr, "This replaces all %s of grid %s by the snapshot of grid %s that was cut at %s.\nAre you sure? [y/N] ",
            units_format_bytes(mcomp_size(plan->grid), size), mcomp_name(plan->grid), header->grid, snapshot_format_time(header->cut_utc_ns, when));
    fflush(stderr);
    return fgets(answer, sizeof answer, stdin) && (strcmp(answer, "y\n") == 0 || strcmp(answer, "yes\n") == 0);
}

/* ---- the outcome ---- */

static enum cli_exit report_failure(const struct restore_plan *plan, const struct restore_result *result)
{
    struct mcomp_error error = result->error;
    char *end = error.text + strlen(error.text);
    size_t room = sizeof error.text - (size_t)(end - error.text);
    if (result->effect == RESTORE_UNTOUCHED)
        snprintf(end, room, "; nothing was changed");
    else if (result->serving > 0)
        snprintf(end, room, "; %" PRIu32 " of %" PRIu32 " nodes serve the snapshot, the others refuse requests: run the same command again, which finishes it",
                 result->serving, mcomp_nodes(plan->grid));
    else
        snprintf(end, room, "; the nodes refuse requests until a restore comes to its end: run the same command again");
    enum cli_exit code = cli_fail(plan->cli, &error, false);
    return error.status == MCOMP_CANCELLED ? CLI_INTERRUPTED : code;
}

static json_t *result_json(const struct restore_plan *plan, const char *path, enum restore_standing standing, const struct restore_result *result,
                           uint64_t verify_ns)
{
    const Mcomp__Snapshot__V1__Header *header = snapshot_reader_header(plan->reader);
    uint64_t bytes = standing == RESTORE_FINISH ? 0 : mcomp_size(plan->grid);
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"round", header->round},
        {"cut_utc_ns", header->cut_utc_ns},
        {"nodes", mcomp_nodes(plan->grid)},
        {"bytes", bytes},
        {"stored_bytes", result->stored_bytes},
        {"zeroed_bytes", result->zeroed_bytes},
        {"duration_ns", result->elapsed_ns},
        {"bytes_per_s", (uint64_t)((double)bytes * 1e9 / (double)(result->elapsed_ns ? result->elapsed_ns : 1))},
        {"verify_ns", verify_ns},
    };
    json_t *object = json_pack("{s:o, s:o, s:b}", "file", output_json_text(path), "grid", output_json_text(mcomp_name(plan->grid)), "finished_earlier_run",
                               standing == RESTORE_FINISH);
    for (size_t i = 0; object && i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(object, numbers[i].key, output_json_number(numbers[i].value));
    return object;
}

static enum cli_exit report(const struct restore_plan *plan, const char *path, enum restore_standing standing, const struct restore_result *result,
                            uint64_t verify_ns)
{
    char size[UNITS_TEXT_BYTES], took[UNITS_TEXT_BYTES], rate[UNITS_TEXT_BYTES], zeroed[UNITS_TEXT_BYTES];
    if (result->effect != RESTORE_DONE)
        return report_failure(plan, result);
    if (plan->cli->json)
        return cli_json_done(plan->cli, output_json(result_json(plan, path, standing, result, verify_ns)));
    if (standing == RESTORE_FINISH) {
        printf("finished an earlier restore of %s: all %" PRIu32 " nodes serve its bytes\n", path, mcomp_nodes(plan->grid));
        return CLI_DONE;
    }
    double seconds = (double)(result->elapsed_ns ? result->elapsed_ns : 1) / 1e9;
    printf("restored %s into %" PRIu32 " nodes in %s (%s/s), %s of it zeros\n", units_format_bytes(mcomp_size(plan->grid), size), mcomp_nodes(plan->grid),
           units_format_duration(result->elapsed_ns, took), units_format_bytes((uint64_t)((double)mcomp_size(plan->grid) / seconds), rate),
           units_format_bytes(result->zeroed_bytes, zeroed));
    return CLI_DONE;
}

/* ---- the command ---- */

static enum cli_exit restore(struct restore_plan *plan, const struct restore_settings *settings)
{
    const struct cli *cli = plan->cli;
    enum restore_standing standing;
    struct interrupt interrupt;
    struct restore_result result;
    struct mcomp_error error;
    struct err err;
    uint64_t id, verify_ns = 0;
    if (restore_look(plan, &standing, &id, &error) != MCOMP_OK) {
        strncat(error.text, "; nothing was changed", sizeof error.text - strlen(error.text) - 1);
        return cli_fail(cli, &error, false);
    }
    if (!settings->yes && !is_agreed(plan)) {
        cli_message(cli, "nothing was changed");
        return CLI_FAILED;
    }
    if (standing == RESTORE_ANEW && verify(cli, settings->file, &verify_ns, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    if (interrupt_open(&interrupt, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    plan->interrupt = &interrupt;
    restore_run(plan, standing, id, &result);
    interrupt_close(&interrupt);
    return report(plan, settings->file, standing, &result, verify_ns);
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct restore_settings *settings = opaque;
    struct restore_plan plan = {.cli = cli};
    struct err err;
    if (!settings->yes && !(isatty(STDIN_FILENO) && cli->err_terminal)) {
        cli_message(cli, "this replaces all bytes of the grid: where there is no terminal to ask on, say --yes");
        return CLI_USAGE;
    }
    if (cli_open(cli, 0, &plan.grid) != MCOMP_OK)
        return CLI_FAILED;
    enum cli_exit code;
    if (snapshot_reader_open_fitting(&plan.reader, settings->file, mcomp_size(plan.grid), &err) == MCOMP_OK)
        code = restore(&plan, settings);
    else
        code = cli_fail_err(cli, &err);
    snapshot_reader_close(plan.reader);
    mcomp_close(plan.grid);
    return code;
}

const struct command command_snapshot_restore = {
    .name = "snapshot restore",
    .summary = "replace all bytes of the grid by a snapshot",
    .description = "Verify FILE, then replace all bytes of the running grid by its array; what lies\n"
                   "behind the array's end becomes zero. The file may be of a grid with other\n"
                   "segment_size and nodes, as long as its array fits.\n"
                   "All nodes must be up. From the first byte until all nodes have all of theirs,\n"
                   "they answer UNAVAILABLE to everybody else, and no snapshot is taken. Interrupted\n"
                   "in between they go on refusing; running the command again brings the grid back.\n"
                   "Asks first, on a terminal; in scripts say --yes.",
    .examples = "  mcomp snapshot restore snapshots/demo-00000100-20260203T101112Z.mcsnap\n"
                "  mcomp --json snapshot restore --yes FILE | jq .bytes_per_s",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
