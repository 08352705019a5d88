/* SPDX-License-Identifier: Apache-2.0 */
/** sim_rounds and sim_txn: many seeds, one after the other. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "simulation/world.h"

#define TRACE_LINES_SHOWN 250u

static const char usage[] =
    "usage: %s [--seeds N] [--first SEED] [--seed SEED [--trace]] [--break NAME [--caught]] [--list]\n"
    "\n"
    "Runs grids of 3 to 7 nodes through rounds, crashes, lost and late messages, one grid for each seed, and judges every\n"
    "round that is declared done. Prints the seed and a trace of the first failure.\n"
    "\n"
    "  --seeds N      how many seeds; default %" PRIu64 " times $MCOMP_TEST_SCALE (0 to 1)\n"
    "  --first SEED   where to begin; default 1\n"
    "  --seed SEED    this one only\n"
    "  --trace        print all of its trace\n"
    "  --break NAME   with a mistake built in\n"
    "  --caught       succeed if a seed finds the mistake, and finds what it should\n"
    "  --list         print the mistakes\n"
    "\n"
    "Exit status: 0 sound, 2 usage, 3 a wrong state, 4 no progress; with --caught 0 found, 1 not.\n";

static const struct mistake {
    const char *name, *text;
    enum verdict verdict;
} mistakes[] = {
    {"NOTHING", "", VERDICT_SOUND},
#define MISTAKE(name, verdict, text) {#name, text, VERDICT_##verdict},
    BREAKS(MISTAKE)
#undef MISTAKE
};

struct options {
    const char *name;
    bool transactions;
    uint64_t first, seeds;
    bool trace, caught;
    enum broken broken;
};

static void add_statistics(struct statistics *sum, const struct statistics *one)
{
    sum->events += one->events;
    sum->rounds += one->rounds;
    sum->done += one->done;
    sum->refused_cuts += one->refused_cuts;
    sum->leases += one->leases;
    sum->redone += one->redone;
    sum->busy += one->busy;
    sum->old += one->old;
    sum->writes += one->writes;
    sum->committed += one->committed;
    sum->aborted += one->aborted;
    sum->unknown += one->unknown;
    sum->resolved += one->resolved;
    sum->collected += one->collected;
    sum->pushed += one->pushed;
    if (one->calm_ns_longest > sum->calm_ns_longest)
        sum->calm_ns_longest = one->calm_ns_longest;
}

static void print_statistics(const struct statistics *sum, uint64_t seeds)
{
    printf("seeds=%" PRIu64 " events=%" PRIu64 " writes=%" PRIu64 " rounds=%" PRIu64 " done=%" PRIu64 " refused_cuts=%" PRIu64 " opened_without_cut=%" PRIu64
           " busy=%" PRIu64 " old=%" PRIu64 " writes_redone=%" PRIu64 " longest_until_done_s=%.1f\n",
           seeds, sum->events, sum->writes, sum->rounds, sum->done, sum->refused_cuts, sum->leases, sum->busy, sum->old, sum->redone,
           (double)sum->calm_ns_longest / 1e9);
    if (sum->committed > 0)
        printf("transactions: committed=%" PRIu64 " aborted=%" PRIu64 " unknown=%" PRIu64 " resolved=%" PRIu64 " sessions_collected=%" PRIu64
               " commits_pushed=%" PRIu64 "\n",
               sum->committed, sum->aborted, sum->unknown, sum->resolved, sum->collected, sum->pushed);
}

/** The same seed again, and the last lines of what happened. */
static void show_failure(struct world *world, const struct options *options, uint64_t seed)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *trace = open_memstream(&text, &bytes);
    if (trace) {
        world_run(world, options->transactions, seed, options->broken, trace);
        fclose(trace);
        size_t from = bytes;
        for (unsigned lines = 0; from > 0 && lines <= TRACE_LINES_SHOWN; from--)
            lines += text[from - 1] == '\n';
        fputs(text + (from > 0 ? from + 1 : 0), stdout);
        free(text);
    }
    printf("seed %" PRIu64 ": %s: %s\n", seed, world->verdict == VERDICT_WRONG ? "wrong" : "stuck", world->finding);
    printf("again: %s --seed %" PRIu64 " --trace", options->name, seed);
    if (options->broken != BREAK_NOTHING)
        printf(" --break %s", mistakes[options->broken].name);
    printf("\n");
}

static int run(const struct options *options)
{
    static struct world world;
    struct statistics sum = {0};
    int status = VERDICT_SOUND;
    uint64_t seeds = 0;
    while (seeds < options->seeds && (options->caught ? status != (int)mistakes[options->broken].verdict : status == VERDICT_SOUND)) {
        status = (int)world_run(&world, options->transactions, options->first + seeds, options->broken, options->trace ? stdout : NULL);
        add_statistics(&sum, &world.statistics);
        seeds++;
    }
    if (options->caught) {
        bool found = status == (int)mistakes[options->broken].verdict;
        printf("%s: %s after %" PRIu64 " seeds: %s\n", mistakes[options->broken].name, found ? "found" : "not found", seeds, world.finding);
        status = found ? 0 : 1;
    } else if (status != VERDICT_SOUND) {
        show_failure(&world, options, options->first + seeds - 1);
    }
    print_statistics(&sum, seeds);
    world_free(&world);
    return status;
}

static bool parse_number(const char *text, uint64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-';
}

static bool parse_mistake(const char *text, enum broken *broken)
{
    for (size_t i = 1; i < sizeof mistakes / sizeof *mistakes; i++)
        if (strcmp(mistakes[i].name, text) == 0) {
            *broken = (enum broken)i;
            return true;
        }
    return false;
}

static uint64_t scaled(uint64_t most)
{
    const char *scale = getenv("MCOMP_TEST_SCALE");
    double seeds = (double)most * (scale ? strtod(scale, NULL) : 1);
    return seeds >= 50 && seeds <= (double)most ? (uint64_t)seeds : 50;
}

static int show_usage(const char *name, uint64_t seeds)
{
    fprintf(stderr, usage, name, seeds);
    return 2;
}

static void list_mistakes(void)
{
    for (size_t i = 1; i < sizeof mistakes / sizeof *mistakes; i++)
        printf("%-19s %s: %s\n", mistakes[i].name, mistakes[i].verdict == VERDICT_WRONG ? "wrong" : "stuck", mistakes[i].text);
}

int simulation_main(int argc, char **argv, const char *name, bool transactions, uint64_t seeds)
{
    static const struct option long_options[] = {
        {"seeds", required_argument, NULL, 'n'}, {"first", required_argument, NULL, 'f'}, {"seed", required_argument, NULL, 's'},
        {"trace", no_argument, NULL, 't'},       {"break", required_argument, NULL, 'b'}, {"caught", no_argument, NULL, 'c'},
        {"list", no_argument, NULL, 'l'},        {NULL, 0, NULL, 0},
    };
    struct options options = {.first = 1, .seeds = scaled(seeds), .name = name, .transactions = transactions};
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        bool good = true;
        switch (option) {
        case 'n': good = parse_number(optarg, &options.seeds); break;
        case 'f': good = parse_number(optarg, &options.first); break;
        case 's':
            good = parse_number(optarg, &options.first);
            options.seeds = 1;
            break;
        case 't': options.trace = true; break;
        case 'c': options.caught = true; break;
        case 'b': good = parse_mistake(optarg, &options.broken); break;
        case 'l':
            list_mistakes();
            return 0;
        default: good = false;
        }
        if (!good)
            return show_usage(name, seeds);
    }
    if (optind < argc || (options.caught && options.broken == BREAK_NOTHING))
        return show_usage(name, seeds);
    return run(&options);
}
