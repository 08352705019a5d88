/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp bench: how fast is this grid? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/limits.h"
#include "base/units.h"
#include "cli/bench_txn.h"
#include "cli/commands.h"
#include "cli/output.h"

#define DEPTH_MAX 65536u
#define CONNECTIONS_MAX 4096u
#define THREADS_MAX 256u
#define SIZE_DEFAULT 64u
#define BUFFERS_MAX (UINT64_C(4) << 30) /* bytes of all operations under way */
#define DURATION_MAX_NS UINT64_C(86400000000000)

struct bench_settings {
    unsigned op;
    uint64_t size, depth, connections, threads, duration_ns, address, span;
};

static const struct bench_settings defaults = {
    .op = BENCH_READ, .size = SIZE_DEFAULT, .depth = 1, .connections = 1, .threads = 1, .duration_ns = UINT64_C(3000000000), .address = 0, .span = ARG_ALL,
};

static const struct arg_spec options[] = {
    {.name = "op", .kind = ARG_CHOICE, .value = "read|write|add|mixed|txn|txn2|mcas", .offset = offsetof(struct bench_settings, op),
     .help = "what to do; default read. All others OVERWRITE the\nbytes of the range; mixed is 80 % reads and 20 %\n"
             "writes. txn: a transaction of a compare, a read and\na write of 8 bytes; txn2: on two nodes;\n"
             "mcas: two words of 8 bytes compared and set"},
    {.name = "size", .kind = ARG_BYTES, .value = "BYTES", .offset = offsetof(struct bench_settings, size),
     .help = "of one operation; default 64; add always takes 8,\ntransactions 64"},
    {.name = "depth", .kind = ARG_COUNT, .value = "D", .offset = offsetof(struct bench_settings, depth), .min = 1, .max = DEPTH_MAX,
     .help = "operations under way on each connection; default 1"},
    {.name = "connections", .kind = ARG_COUNT, .value = "C", .offset = offsetof(struct bench_settings, connections), .min = 1, .max = CONNECTIONS_MAX,
     .help = "connections to each node; default 1"},
    {.name = "threads", .kind = ARG_COUNT, .value = "T", .offset = offsetof(struct bench_settings, threads), .min = 1, .max = THREADS_MAX,
     .help = "threads that drive the connections; default 1"},
    {.name = "seconds", .kind = ARG_SECONDS, .value = "S", .offset = offsetof(struct bench_settings, duration_ns),
     .help = "how long, behind a warm-up of 0.2 s; default 3"},
    {.name = "address", .kind = ARG_BYTES, .value = "ADDR", .offset = offsetof(struct bench_settings, address),
     .help = "beginning of the range that is used; default 0"},
    {.name = "span", .kind = ARG_LENGTH, .value = "LEN", .offset = offsetof(struct bench_settings, span),
     .help = "its length; default all: to the end of the grid;\na span of one size makes one fixed address"},
};

static const char *const op_names[] = {"read", "write", "add", "mixed", "txn", "txn2", "mcas"};

static uint64_t size_of(const struct bench_settings *settings)
{
    if (bench_is_txn((enum bench_op)settings->op))
        return BENCH_TXN_BYTES;
    return settings->op == BENCH_ADD ? ATOMIC_WORD_BYTES : settings->size;
}

/** Do the settings fit together? Tells what does not. */
static bool check_settings(const struct cli *cli, const struct bench_settings *settings)
{
    uint64_t size = size_of(settings);
    if (size == 0 || size > settings->span)
        cli_message(cli, "--size %" PRIu64 ": from 1 byte to the span", size);
    else if (settings->op == BENCH_ADD && settings->address % ATOMIC_WORD_BYTES != 0)
        cli_message(cli, "--address 0x%" PRIx64 ": a multiple of 8 for add", settings->address);
    else if (settings->threads > settings->connections)
        cli_message(cli, "--threads %" PRIu64 ": each thread needs a connection: give --connections %" PRIu64 " or more", settings->threads,
                    settings->threads);
    else if (settings->duration_ns == 0 || settings->duration_ns > DURATION_MAX_NS)
        cli_message(cli, "--seconds: more than 0 and at most 86400");
    else if (size > BUFFERS_MAX / settings->depth / settings->connections)
        cli_message(cli, "%" PRIu64 " bytes x depth %" PRIu64 " x %" PRIu64 " connections need more than 4 GiB of buffers: lower one of them", size,
                    settings->depth, settings->connections);
    else
        return true;
    return false;
}

/** Transactions use few places, and those of two nodes have the others on the next node. false: there is none. */
static bool fit_txn(const struct cli *cli, const struct mcomp *grid, struct bench_plan *plan)
{
    uint64_t segment = mcomp_segment_size(grid), left = segment - plan->address % segment;
    plan->places = plan->places < BENCH_TXN_PLACES_MAX ? plan->places : BENCH_TXN_PLACES_MAX;
    if (plan->op != BENCH_TXN2)
        return true;
    if (left / BENCH_TXN_BYTES < plan->places)
        plan->places = left / BENCH_TXN_BYTES;
    if (plan->places > 0 && plan->address / segment + 1 < mcomp_nodes(grid))
        return true;
    struct err err;
    (void)err_set(&err, MCOMP_OUT_OF_RANGE, "--op txn2 needs a node behind that of the address, and %u bytes left on that one", BENCH_TXN_BYTES);
    (void)cli_fail_err(cli, &err);
    return false;
}

/** Fill the plan from checked settings; false when the range does not fit the grid, which is told. */
static bool make_plan(const struct cli *cli, const struct mcomp *grid, const struct bench_settings *settings, struct bench_plan *plan)
{
    uint64_t size = size_of(settings), span = settings->span;
    if (!cli_fit_range(cli, grid, settings->address, &span))
        return false;
    if (size > span) {
        struct err err;
        (void)err_set(&err, MCOMP_OUT_OF_RANGE, "--size %" PRIu64 ": only %" PRIu64 " bytes are left behind the address: give less", size, span);
        (void)cli_fail_err(cli, &err);
        return false;
    }
    *plan = (struct bench_plan){
        .op = (enum bench_op)settings->op,
        .size = size,
        .address = settings->address,
        .places = span / size,
        .duration_ns = settings->duration_ns,
        .depth = (uint32_t)settings->depth,
        .connections = (uint32_t)settings->connections,
        .threads = (uint32_t)settings->threads,
        .timeout_ms = cli_timeout_ms(cli, CLI_TIMEOUT_DEFAULT_MS),
        .synchronous = settings->depth == 1 && settings->connections == 1,
        .show_time = cli->err_terminal,
    };
    return !bench_is_txn(plan->op) || fit_txn(cli, grid, plan);
}

#define OTHER_DESCRIPTORS 32u /* standard ones, signals, and what else a program has open */
#define QUEUE_DESCRIPTORS 2u  /* besides its connections */

/** Raise the limit of open files as far as the plan needs and the system allows. false: it is too low for the plan, which is told. */
static bool have_descriptors(const struct cli *cli, const struct mcomp *grid, const struct bench_plan *plan)
{
    uint64_t segment = mcomp_segment_size(grid), last = plan->address + plan->size * plan->places - 1;
    uint64_t nodes = last / segment - plan->address / segment + 1;
    uint64_t wanted = plan->connections * (nodes + QUEUE_DESCRIPTORS) + plan->threads + OTHER_DESCRIPTORS;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return true;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted)
        return true;
    struct err err;
    (void)err_set(&err, MCOMP_RESOURCE_EXHAUSTED,
                  "%" PRIu32 " connections to %" PRIu64 " nodes need %" PRIu64 " file descriptors, and %" PRIu64
                  " are allowed: give fewer connections, or raise the limit (ulimit -n)",
                  plan->connections, nodes, wanted, (uint64_t)limit.rlim_max);
    (void)cli_fail_err(cli, &err);
    return false;
}

static double per_second(uint64_t count, const struct bench_report *report)
{
    return report->elapsed_ns > 0 ? (double)count * 1e9 / (double)report->elapsed_ns : 0;
}

static const struct {
    const char *name, *key;
    double percent;
} percentiles[] = {{"p50", "p50", 50}, {"p90", "p90", 90}, {"p99", "p99", 99}, {"p99.9", "p99_9", 99.9}};

static bool print_json(const struct bench_plan *plan, const struct bench_report *report)
{
    json_t *latency = json_object(), *statuses = json_object();
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++)
        json_object_set_new(latency, percentiles[i].key, output_json_number(histogram_percentile(&report->latency, percentiles[i].percent)));
    json_object_set_new(latency, "max", output_json_number(report->latency.max));
    json_object_set_new(latency, "mean", output_json_number(report->latency.count ? report->latency.sum / report->latency.count : 0));
    for (unsigned i = 0; i < BENCH_STATUSES; i++) {
        if (report->errors_by_status[i] > 0)
            json_object_set_new(statuses, mcomp_status_name((enum mcomp_status)i), output_json_number(report->errors_by_status[i]));
    }
    json_t *document = json_pack(
        "{s:s, s:o, s:i, s:i, s:i, s:b, s:o, s:o, s:f, s:o, s:f, s:o, s:f, s:o, s:o, s:o, s:b}", "op", op_names[plan->op], "size",
        output_json_number(plan->size), "depth", (int)plan->depth, "connections", (int)plan->connections, "threads", (int)plan->threads,
        "synchronous", (int)plan->synchronous, "address", output_json_number(plan->address), "span", output_json_number(plan->places * plan->size),
        "seconds", (double)report->elapsed_ns / 1e9, "operations", output_json_number(report->operations), "operations_per_second",
        per_second(report->operations, report), "bytes", output_json_number(report->bytes), "bytes_per_second", per_second(report->bytes, report),
        "latency_ns", latency, "errors", output_json_number(report->errors), "errors_by_status", statuses, "interrupted", (int)report->interrupted);
    return output_json(document);
}

static void print_text(const struct bench_plan *plan, const struct bench_report *report)
{
    char text[UNITS_TEXT_BYTES], rate[UNITS_TEXT_BYTES], number[OUTPUT_COUNT_BYTES];
    printf("%s of %s, %" PRIu32 " connection%s, depth %" PRIu32 ", %" PRIu32 " thread%s%s, ", op_names[plan->op], units_format_bytes(plan->size, text),
           plan->connections, plan->connections == 1 ? "" : "s", plan->depth, plan->threads, plan->threads == 1 ? "" : "s",
           plan->synchronous ? ", synchronous calls" : "");
    if (plan->places == 1)
        printf("at 0x%" PRIx64 "\n", plan->address);
    else
        printf("at random in 0x%" PRIx64 " to 0x%" PRIx64 "\n", plan->address, plan->address + plan->places * plan->size - 1);
    printf("time        %s%s\n", units_format_duration(report->elapsed_ns, text), report->interrupted ? ", interrupted" : "");
    printf("operations  %" PRIu64 ", %s/s\n", report->operations, output_count((uint64_t)(per_second(report->operations, report) + 0.5), number));
    printf("data        %s, %s/s\n", units_format_bytes(report->bytes, text), units_format_bytes((uint64_t)per_second(report->bytes, report), rate));
    printf("latency    ");
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++)
        printf(" %s %s,", percentiles[i].name, units_format_duration(histogram_percentile(&report->latency, percentiles[i].percent), text));
    printf(" max %s\n", units_format_duration(report->latency.max, text));
    printf("errors      %" PRIu64, report->errors);
    for (unsigned i = 0; i < BENCH_STATUSES; i++) {
        if (report->errors_by_status[i] > 0)
            printf(", %s %" PRIu64, mcomp_status_name((enum mcomp_status)i), report->errors_by_status[i]);
    }
    putchar('\n');
}

static enum cli_exit bench_grid(const struct cli *cli, struct mcomp *grid, const struct bench_settings *settings, struct bench_report *report)
{
    struct bench_plan plan;
    struct mcomp_error error;
    enum cli_exit code = CLI_DONE;
    if (!make_plan(cli, grid, settings, &plan) || !have_descriptors(cli, grid, &plan))
        return CLI_FAILED;
    if (bench_run(grid, &plan, report, &error) != MCOMP_OK)
        return cli_fail(cli, &error, false);
    if (cli->json)
        code = cli_json_done(cli, print_json(&plan, report));
    else
        print_text(&plan, report);
    if (report->interrupted)
        return CLI_INTERRUPTED;
    return report->errors > 0 ? CLI_FAILED : code;
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    struct mcomp *grid;
    if (!check_settings(cli, opaque))
        return CLI_USAGE;
    struct bench_report *report = malloc(sizeof *report);
    enum cli_exit code = CLI_FAILED;
    if (!report) {
        cli_message(cli, "out of memory");
    } else if (cli_open(cli, 0, &grid) == MCOMP_OK) {
        code = bench_grid(cli, grid, opaque, report);
        mcomp_close(grid);
    }
    free(report);
    return code;
}

const struct command command_bench = {
    .name = "bench",
    .summary = "measure operations and latency",
    .description = "Keep C x D operations under way for S seconds and report operations and bytes\n"
                   "a second, latency, and errors by status. Addresses are multiples of the size,\n"
                   "at random in the range. One connection with depth 1 uses the synchronous\n"
                   "calls. Exits 1 when an operation failed.\n"
                   "All but --op read destroy what is in the range. Transactions use at most 65536\n"
                   "places of 64 bytes, txn2 also those of the same offsets on the next node.",
    .examples = "  mcomp bench                                     latency of 64 B reads\n"
                "  mcomp bench --connections 8 --depth 64          throughput\n"
                "  mcomp bench --op write --size 4KiB --address 64MiB --span 16MiB\n"
                "  mcomp bench --address 4096 --span 64 --json     one address only",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
