/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp snapshot show, verify: what a snapshot file is, and whether it is whole. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/snapshot.h"
#include "snapshot/file.h"

struct file_settings {
    const char *file;
};

static const struct file_settings defaults = {0};

static const struct arg_spec operands[] = {
    {.name = "FILE", .kind = ARG_TEXT, .offset = offsetof(struct file_settings, file), .help = "the snapshot file"},
};

/* ---- show ---- */

static enum mcomp_status count_chunks(struct snapshot_reader *reader, uint64_t *chunks, struct err *err)
{
    uint64_t segment_size = snapshot_reader_header(reader)->segment_size, found = 0;
    *chunks = 0;
    for (uint64_t address = 0;; address = found + chunk_window_bytes(segment_size, found)) {
        enum mcomp_status status = snapshot_reader_next(reader, address, &found, err);
        if (status != MCOMP_OK)
            return status;
        if (found == UINT64_MAX)
            return MCOMP_OK;
        ++*chunks;
    }
}

static void print_header(const Mcomp__Snapshot__V1__Header *header, uint64_t file_bytes, uint64_t chunks)
{
    char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES], when[SNAPSHOT_TIME_BYTES];
    uint64_t bytes = header->segment_size * header->nodes, pages = bytes / SNAPSHOT_PAGE_BYTES;
    printf("grid            %s: %" PRIu32 " nodes of %s, %s together\n", header->grid, header->nodes, units_format_bytes(header->segment_size, a),
           units_format_bytes(bytes, b));
    printf("round           %08" PRIx32 ", led by node %" PRIu32 "\n", header->round, header->round & 0xff);
    printf("cut             %s\n", snapshot_format_time(header->cut_utc_ns, when));
    printf("longest pause   %s of a node's writers\n", units_format_duration(header->longest_pause_ns, a));
    printf("duration        %s", units_format_duration(header->duration_ns, a));
    printf(": frozen after %s,", units_format_duration(header->freeze_ns, a));
    printf(" cut after %s,", units_format_duration(header->cut_ns, a));
    printf(" collected after %s (%s/s)\n", units_format_duration(header->collect_ns, a), units_format_bytes(snapshot_rate(header), b));
    printf("pages           %" PRIu64 " stored, %" PRIu64 " zero, %" PRIu64 " preserved for the cut\n", header->pages_stored,
           pages - header->pages_stored, header->pages_preserved);
    printf("file            %s in %" PRIu64 " chunks, format %" PRIu32 "\n", units_format_bytes(file_bytes, a), chunks, header->format_version);
    printf("written by      %s\n", header->written_by);
}

static json_t *show_json(const char *path, const Mcomp__Snapshot__V1__Header *header, uint64_t file_bytes, uint64_t chunks)
{
    json_t *object = snapshot_header_json(header);
    uint64_t pages = header->segment_size * header->nodes / SNAPSHOT_PAGE_BYTES;
    if (!object)
        return NULL;
    json_object_set_new(object, "file", output_json_text(path));
    json_object_set_new(object, "file_bytes", output_json_number(file_bytes));
    json_object_set_new(object, "chunks", output_json_number(chunks));
    json_object_set_new(object, "pages_zero", output_json_number(pages - header->pages_stored));
    return object;
}

static enum cli_exit run_show(const struct cli *cli, const void *opaque)
{
    const struct file_settings *settings = opaque;
    struct snapshot_reader *reader = NULL;
    struct stat stat_now;
    struct err err;
    uint64_t chunks = 0;
    if (snapshot_reader_open(&reader, settings->file, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    enum mcomp_status status = count_chunks(reader, &chunks, &err);
    if (status == MCOMP_OK && stat(settings->file, &stat_now) != 0)
        status = err_sys(&err, errno, "%s", settings->file);
    enum cli_exit code = CLI_DONE;
    if (status != MCOMP_OK)
        code = cli_fail_err(cli, &err);
    else if (cli->json)
        code = cli_json_done(cli, output_json(show_json(settings->file, snapshot_reader_header(reader), (uint64_t)stat_now.st_size, chunks)));
    else
        print_header(snapshot_reader_header(reader), (uint64_t)stat_now.st_size, chunks);
    snapshot_reader_close(reader);
    return code;
}

const struct command command_snapshot_show = {
    .name = "snapshot show",
    .summary = "say what a snapshot file holds",
    .description = "Print the header of a snapshot file: grid, round, time of the cut, how long\n"
                   "writers were held, the phases of the round, and how much is stored. The file is\n"
                   "opened, not verified. Needs no grid and no configuration.",
    .examples = "  mcomp snapshot show snapshots/demo-00000100-20260203T101112Z.mcsnap\n"
                "  mcomp --json snapshot show FILE | jq .longest_pause_ns",
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run_show,
};

/* ---- verify ---- */

struct verifier {
    const struct cli *cli;
    struct progress progress;
    bool begun;
    json_t *problems; /* NULL without --json */
    uint64_t count, lost;
};

static void take_progress(void *arg, uint64_t done, uint64_t bytes)
{
    struct verifier *verifier = arg;
    if (!verifier->begun)
        progress_begin(&verifier->progress, "verify", bytes, verifier->cli->err_terminal, clock_mono_ns());
    verifier->begun = true;
    progress_update(&verifier->progress, done, clock_mono_ns());
}

static void take_problem(void *arg, const struct snapshot_problem *problem)
{
    struct verifier *verifier = arg;
    char size[UNITS_TEXT_BYTES];
    verifier->count++;
    verifier->lost += problem->length;
    if (verifier->problems) {
        json_array_append_new(verifier->problems,
                              json_pack("{s:o, s:o, s:o, s:o, s:o}", "offset", output_json_number(problem->offset), "bytes",
                                        output_json_number(problem->bytes), "address", output_json_number(problem->address), "length",
                                        output_json_number(problem->length), "text", output_json_text(problem->text)));
        return;
    }
    progress_end(&verifier->progress);
    if (problem->bytes > 0)
        printf("bytes %" PRIu64 " to %" PRIu64 " of the file: %s\n", problem->offset, problem->offset + problem->bytes - 1, problem->text);
    else
        printf("byte %" PRIu64 " of the file: %s\n", problem->offset, problem->text);
    if (problem->length > 0)
        printf("  lost: addresses 0x%" PRIx64 " to 0x%" PRIx64 " (%s)\n", problem->address, problem->address + problem->length - 1,
               units_format_bytes(problem->length, size));
}

/** Print what was found. damaged: verification came to its end, and found problems. */
static enum cli_exit report(struct verifier *verifier, const char *path, bool damaged, uint64_t chunks)
{
    const struct cli *cli = verifier->cli;
    char lost[UNITS_TEXT_BYTES];
    enum cli_exit code = CLI_DONE;
    if (cli->json) {
        json_t *document = json_pack("{s:o, s:b, s:o, s:o, s:O}", "file", output_json_text(path), "sound", !damaged, "chunks", output_json_number(chunks),
                                     "bytes_lost", output_json_number(verifier->lost), "problems", verifier->problems);
        code = cli_json_done(cli, output_json(document));
    }
    if (damaged) {
        cli_message(cli, "%s is damaged: %" PRIu64 " problem%s, %s of the grid lost", path, verifier->count, verifier->count == 1 ? "" : "s",
                    units_format_bytes(verifier->lost, lost));
        return CLI_FAILED;
    }
    if (!cli->json)
        printf("%s is sound: %" PRIu64 " chunks\n", path, chunks);
    return code;
}

static enum cli_exit run_verify(const struct cli *cli, const void *opaque)
{
    const struct file_settings *settings = opaque;
    struct verifier verifier = {.cli = cli, .problems = cli->json ? json_array() : NULL};
    uint64_t chunks = 0;
    struct err err;
    enum mcomp_status status = snapshot_verify(settings->file, take_problem, take_progress, &verifier, &chunks, &err);
    progress_end(&verifier.progress);
    bool damaged = status == MCOMP_DATA_LOSS && verifier.count > 0;
    enum cli_exit code = status == MCOMP_OK || damaged ? report(&verifier, settings->file, damaged, chunks) : cli_fail_err(cli, &err);
    json_decref(verifier.problems);
    return code;
}

const struct command command_snapshot_verify = {
    .name = "snapshot verify",
    .summary = "check every byte of a snapshot file",
    .description = "Read the whole file and check each record, checksum and index entry. For each\n"
                   "bad range of the file say where it is, what is wrong, and which addresses of the\n"
                   "grid are lost with it. Exits 1 if there is any. Needs no grid and no\n"
                   "configuration.",
    .examples = "  mcomp snapshot verify snapshots/demo-00000100-20260203T101112Z.mcsnap\n"
                "  mcomp --json snapshot verify FILE | jq '.problems[] | {address, length}'",
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run_verify,
};
