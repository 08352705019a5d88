/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/daemon.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/units.h"

/* ---- options ---- */

static const struct daemon_option common[] = {
    {"config", "=FILE", 'c', "configuration; default $MCOMP_CONFIG, ./mcomp.cfg, /etc/mcomp/mcomp.cfg"},
    {"node", "=I", 'n', "number of this node; default: the one whose address is this machine's"},
    {"log", "=FILE", 'l', "append log lines to FILE instead of writing them to standard error"},
    {"log-level", "=LEVEL", 'v', "debug, info (default), warn or error"},
};
static const struct daemon_option last[] = {
    {"help", "", 'h', "print this, and end"},
    {"version", "", 'V', "print the version, and end"},
};

#define COMMON (sizeof common / sizeof *common)
#define LAST (sizeof last / sizeof *last)
#define OWN_MAX 8u

static void print_options(const struct daemon_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char label[64];
        snprintf(label, sizeof label, "--%s%s", options[i].name, options[i].value);
        printf("  %-18s %s\n", label, options[i].help);
    }
}

static void print_help(const struct daemon_program *program)
{
    printf("Usage: %s [--config FILE] [--node I] [OPTION]...\n%s\n\n", program->name, program->about);
    print_options(common, COMMON);
    print_options(program->options, program->option_count);
    print_options(last, LAST);
    printf("\n%s\n", program->notes);
}

int daemon_usage_error(const struct daemon_program *program, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", program->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see %s --help\n", program->name);
    va_end(args);
    return DAEMON_EXIT_USAGE;
}

static int take(const struct daemon_program *program, struct daemon_options *options, char letter, const char *value)
{
    uint64_t number;
    struct err err;
    switch (letter) {
    case 'c':
        options->config_path = value;
        return DAEMON_GO_ON;
    case 'n':
        if (value[0] == '-' || units_parse_integer(value, &number, &err) != MCOMP_OK || number >= GRID_NODES_MAX)
            return daemon_usage_error(program, "--node=%s: expected the number of a node, 0 to 255", value);
        options->has_node = true;
        options->node = (uint32_t)number;
        return DAEMON_GO_ON;
    case 'l':
        options->log_path = value;
        return DAEMON_GO_ON;
    case 'v':
        if (!log_level_parse(value, &options->log_level))
            return daemon_usage_error(program, "--log-level=%s: expected debug, info, warn or error", value);
        return DAEMON_GO_ON;
    case 'h':
        print_help(program);
        return DAEMON_EXIT_OK;
    case 'V':
        printf("%s %s\n", program->name, MCOMP_VERSION);
        return DAEMON_EXIT_OK;
    case '?':
        return daemon_usage_error(program, "unknown option or missing value");
    default:
        return program->take(program->arg, letter, value);
    }
}

static size_t add_long(struct option *out, const struct daemon_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (struct option){.name = options[i].name, .has_arg = options[i].value[0] ? required_argument : no_argument, .val = options[i].letter};
    return count;
}

int daemon_parse(const struct daemon_program *program, int argc, char **argv, struct daemon_options *options)
{
    MC_ASSERT(program->option_count <= OWN_MAX);
    struct option long_options[COMMON + OWN_MAX + LAST + 1] = {0};
    size_t count = add_long(long_options, common, COMMON);
    count += add_long(long_options + count, program->options, program->option_count);
    add_long(long_options + count, last, LAST);
    *options = (struct daemon_options){.log_level = LOG_INFO};
    bool seen[256] = {false};
    int letter;
    while ((letter = getopt_long(argc, argv, "c:n:hV", long_options, NULL)) != -1) {
        if (letter != '?' && seen[(unsigned char)letter])
            return daemon_usage_error(program, "an option is given twice: %s", argv[optind - 1]);
        seen[(unsigned char)letter] = true;
        int code = take(program, options, (char)letter, optarg);
        if (code != DAEMON_GO_ON)
            return code;
    }
    if (optind < argc)
        return daemon_usage_error(program, "unexpected argument \"%s\"", argv[optind]);
    return DAEMON_GO_ON;
}

/* ---- configuration and log ---- */

static enum mcomp_status load(const struct daemon_options *options, struct config *config, uint32_t *node, struct err *err)
{
    const char *path = options->config_path ? options->config_path : config_default_path();
    enum mcomp_status code = config_load(config, path, stderr, err);
    if (code != MCOMP_OK)
        return code;
    if (options->has_node) {
        *node = options->node;
        if (*node >= config->nodes)
            code = err_set(err, MCOMP_INVALID_ARGUMENT, "--node %u: %s has the nodes 0 to %u", *node, path, config->nodes - 1);
    } else {
        code = config_find_self(config, node, err);
    }
    if (code != MCOMP_OK)
        config_free(config);
    return code;
}

enum mcomp_status daemon_configure(const struct daemon_program *program, const struct daemon_options *options, struct config *config, uint32_t *node)
{
    struct err err;
    enum mcomp_status code = log_open(program->name, options->log_level, options->log_path, &err);
    if (code == MCOMP_OK)
        code = load(options, config, node, &err);
    if (code == MCOMP_OK) {
        char role[64];
        snprintf(role, sizeof role, "%s-%u", program->name, *node);
        code = log_open(role, options->log_level, options->log_path, &err);
        if (code != MCOMP_OK)
            config_free(config);
    }
    if (code != MCOMP_OK)
        log_err(LOG_ERROR, "main", "start", "", &err);
    return code;
}

void daemon_need_descriptors(uint32_t wanted, const char *remedy)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted) {
        char keys[64];
        snprintf(keys, sizeof keys, "limit=%" PRIu64 " wanted=%" PRIu32, (uint64_t)limit.rlim_cur, wanted);
        log_line(LOG_WARN, "main", "start", keys, "%s", remedy);
    }
}

/* ---- signals ---- */

void daemon_block_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
}

static void stop_cb(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    struct daemon_signals *signals = watcher->data;
    log_line(LOG_INFO, "main", "stop", "", "received %s: finishing what is in flight", watcher->signum == SIGINT ? "SIGINT" : "SIGTERM");
    signals->stop(signals->arg);
}

static void reopen_cb(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    struct daemon_signals *signals = watcher->data;
    struct err err;
    if (log_reopen(&err) != MCOMP_OK)
        log_err(LOG_ERROR, "main", "reopen", "", &err);
    if (signals->reopen)
        signals->reopen(signals->arg);
    log_line(LOG_INFO, "main", "reopen", "", "received SIGHUP: logs are reopened");
}

static void take_signal(struct daemon_signals *signals, struct ev_loop *loop, ev_signal *watcher, void (*cb)(struct ev_loop *, ev_signal *, int),
                        int number)
{
    ev_signal_init(watcher, cb, number);
    watcher->data = signals;
    ev_signal_start(loop, watcher);
}

static void look_cb(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

void daemon_signals_start(struct daemon_signals *signals, struct ev_loop *loop)
{
    /* A signal that a run-time library defers (ThreadSanitizer's does) is seen at the next return to it: at the latest after this. */
    ev_timer_init(&signals->look, look_cb, 1., 1.);
    ev_timer_start(loop, &signals->look);
    take_signal(signals, loop, &signals->term, stop_cb, SIGTERM);
    take_signal(signals, loop, &signals->interrupt, stop_cb, SIGINT);
    take_signal(signals, loop, &signals->hangup, reopen_cb, SIGHUP);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}
