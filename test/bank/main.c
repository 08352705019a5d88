/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank.h"

static const char usage[] =
    "usage: bank run CONFIG KIND SEED CLIENTS\n"
    "       bank check K NODES KIND SEED CLIENTS FILE\n"
    "       bank splice K NODES KIND SEED CLIENTS OUT LEFT RIGHT node|client NUMBER\n"
    "\n"
    "KIND is accounts or pages.\n"
    "\n"
    "run: clients work until `stop`. Commands on standard input, one a line, each answered by one line:\n"
    "  count                  operations acknowledged so far\n"
    "  check ASKED CUT FILE   is the file of one instant, after ASKED and before CUT (nanoseconds, CLOCK_MONOTONIC; CUT 0: unknown)?\n"
    "  stop                   end the clients and compare the grid with what they have written\n"
    "check: the same of a file alone, without times. Exit status 0 sound, 1 not.\n"
    "splice: the snapshot OUT, in the current folder, made of LEFT, but for one node or one client, which is taken from RIGHT.\n";

static bool parse_kind(const char *text, enum bank_kind *kind)
{
    *kind = strcmp(text, "pages") == 0 ? BANK_PAGES : BANK_ACCOUNTS;
    return *kind == BANK_PAGES || strcmp(text, "accounts") == 0;
}

/** KIND SEED CLIENTS */
static bool parse_bank(struct bank *bank, char **argument)
{
    bank->seed = strtoull(argument[1], NULL, 0);
    bank->clients = (uint32_t)strtoul(argument[2], NULL, 10);
    return parse_kind(argument[0], &bank->kind) && bank_fits(bank);
}

static void print_finding(const struct finding *finding)
{
    if (finding->sound)
        printf("sound operations=%" PRIu64 " open=%" PRIu32 " window_ns=%" PRIu64 "\n", finding->operations, finding->open, finding->window_ns);
    else
        printf("torn: %s\n", finding->text);
}

static void answer_check(struct checker *checker, const struct clients *clients, const char *line)
{
    unsigned long long asked_ns, cut_ns;
    char path[1000];
    struct finding finding;
    if (sscanf(line, "check %llu %llu %999[^\n]", &asked_ns, &cut_ns, path) != 3) {
        fputs(usage, stderr);
        exit(2);
    }
    checker_file(checker, path, &finding);
    if (finding.sound)
        checker_instant(checker, clients, asked_ns, cut_ns > 0 ? cut_ns : UINT64_MAX, &finding);
    print_finding(&finding);
}

static void *run_clients(void *arg)
{
    clients_run(arg);
    return NULL;
}

static int run(struct mcomp *grid, char **argument)
{
    static struct clients clients;
    static struct checker checker;
    struct bank bank = {.segment_size = mcomp_segment_size(grid), .nodes = mcomp_nodes(grid)};
    pthread_t thread;
    char line[1100];
    if (!parse_bank(&bank, argument)) {
        fputs("bank: that does not fit into this grid\n", stderr);
        return 2;
    }
    if (!clients_open(&clients, &bank, grid) || !checker_open(&checker, &bank) || pthread_create(&thread, NULL, run_clients, &clients) != 0) {
        fputs("bank: out of memory\n", stderr);
        return 1;
    }
    while (fgets(line, sizeof line, stdin) && strcmp(line, "stop\n") != 0) {
        if (strcmp(line, "count\n") == 0)
            printf("count operations=%" PRIu64 "\n", atomic_load(&clients.done));
        else
            answer_check(&checker, &clients, line);
        fflush(stdout);
    }
    atomic_store(&clients.stop, true);
    pthread_join(thread, NULL);
    printf("stopped operations=%" PRIu64 "\n", atomic_load(&clients.done));
    checker_close(&checker);
    clients_close(&clients);
    return 0;
}

static int check(const struct bank *bank, const char *path)
{
    static struct checker checker;
    struct finding finding;
    if (!checker_open(&checker, bank)) {
        fputs("bank: out of memory\n", stderr);
        return 1;
    }
    checker_file(&checker, path, &finding);
    print_finding(&finding);
    checker_close(&checker);
    return finding.sound ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct bank bank = {0};
    if (argc == 6 && strcmp(argv[1], "run") == 0) {
        struct mcomp *grid;
        struct mcomp_error error;
        if (mcomp_open(&grid, argv[2], &(struct mcomp_options){.client_name = "bank", .max_sessions = BANK_CLIENTS_MAX}, &error) != MCOMP_OK) {
            fprintf(stderr, "bank: %s\n", error.text);
            return 1;
        }
        int code = run(grid, argv + 3);
        mcomp_close(grid);
        return code;
    }
    if (argc >= 8) {
        bank.segment_size = strtoull(argv[2], NULL, 0);
        bank.nodes = (uint32_t)strtoul(argv[3], NULL, 10);
    }
    if (argc == 8 && strcmp(argv[1], "check") == 0 && parse_bank(&bank, argv + 4))
        return check(&bank, argv[7]);
    if (argc == 12 && strcmp(argv[1], "splice") == 0 && parse_bank(&bank, argv + 4)) {
        bool node = strcmp(argv[10], "node") == 0;
        uint32_t number = (uint32_t)strtoul(argv[11], NULL, 10);
        return bank_splice(&bank, argv[7], argv[8], argv[9], node ? number : UINT32_MAX, node ? UINT32_MAX : number) ? 0 : 1;
    }
    fputs(usage, stderr);
    return 2;
}
