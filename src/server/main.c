/* SPDX-License-Identifier: Apache-2.0 */
/** mcompd: options, signals, order of start and end. */
#include <errno.h>
#include <ev.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/units.h"
#include "server/io.h"
#include "server/listener.h"
#include "server/notify.h"
#include "server/server.h"

#define OTHER_DESCRIPTORS 64u /* besides connections: listening sockets, loops, logs, the segment */

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/** name, whether it takes a value, that value's name, letter, help: one list for the parser and for --help. */
#define OPTIONS(X)                                                                                                   \
    X("config", required_argument, "=FILE", 'c', "configuration; default $MCOMP_CONFIG, ./mcomp.cfg, /etc/mcomp/mcomp.cfg") \
    X("node", required_argument, "=I", 'n', "number of this node; default: the one whose address is this machine's") \
    X("log", required_argument, "=FILE", 'l', "append log lines to FILE instead of writing them to standard error")  \
    X("log-level", required_argument, "=LEVEL", 'v', "debug, info (default), warn or error")                         \
    X("reset", no_argument, "", 'r', "delete this node's segment and all its bytes, and end")                        \
    X("help", no_argument, "", 'h', "print this, and end")                                                           \
    X("version", no_argument, "", 'V', "print the version, and end")

struct options {
    struct server_options server;
    const char *log_path;
    enum log_level log_level;
    bool reset;
};

static void print_help(void)
{
    printf("Usage: mcompd [--config FILE] [--node I] [OPTION]...\n"
           "The memory server of one node of an mcomp grid.\n\n");
#define HELP(name, argument, value, letter, help) printf("  %-18s %s\n", "--" name value, help);
    OPTIONS(HELP)
#undef HELP
    printf("\nSIGTERM and SIGINT end it in order, SIGHUP reopens the logs. The segment stays in shared memory\n"
           "when the server ends, and the next one goes on with it.\n"
           "Exit status: 0 ended in order, 1 failed, 2 wrong usage.\n\n"
           "Example: mcompd --config mcomp.cfg --node 0\n");
}

static PRINTF_LIKE(1, 2) int usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "mcompd: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see mcompd --help\n");
    va_end(args);
    return EXIT_USAGE;
}

/** Returns -1 to go on, else the exit code. */
static int take_option(struct options *options, int letter, const char *value)
{
    uint64_t number;
    struct err err;
    switch (letter) {
    case 'c':
        options->server.config_path = value;
        return -1;
    case 'n':
        if (value[0] == '-' || units_parse_integer(value, &number, &err) != MCOMP_OK || number >= GRID_NODES_MAX)
            return usage_error("--node=%s: expected the number of a node, 0 to 255", value);
        options->server.has_node = true;
        options->server.node = (uint32_t)number;
        return -1;
    case 'l':
        options->log_path = value;
        return -1;
    case 'v':
        if (!log_level_parse(value, &options->log_level))
            return usage_error("--log-level=%s: expected debug, info, warn or error", value);
        return -1;
    case 'r':
        options->reset = true;
        return -1;
    case 'h':
        print_help();
        return EXIT_OK;
    case 'V':
        printf("mcompd %s\n", MCOMP_VERSION);
        return EXIT_OK;
    default:
        return usage_error("unknown option or missing value");
    }
}

static int parse_options(int argc, char **argv, struct options *options)
{
#define LONG(name, argument, value, letter, help) {name, argument, NULL, letter},
    static const struct option long_options[] = {OPTIONS(LONG){NULL, 0, NULL, 0}};
#undef LONG
    *options = (struct options){.log_level = LOG_INFO};
    bool seen[256] = {false};
    int letter;
    while ((letter = getopt_long(argc, argv, "c:n:hV", long_options, NULL)) != -1) {
        if (letter != '?' && seen[(unsigned char)letter])
            return usage_error("an option is given twice: %s", argv[optind - 1]);
        seen[(unsigned char)letter] = true;
        int code = take_option(options, letter, optarg);
        if (code >= 0)
            return code;
    }
    if (optind < argc)
        return usage_error("unexpected argument \"%s\"", argv[optind]);
    return -1;
}

/* ---- running ---- */

static void stop_cb(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)events;
    log_line(LOG_INFO, "main", "stop", "", "received %s: finishing what is in flight", watcher->signum == SIGINT ? "SIGINT" : "SIGTERM");
    ev_break(loop, EVBREAK_ALL);
}

static void reopen_cb(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    struct server *server = watcher->data;
    struct err err;
    if (log_reopen(&err) != MCOMP_OK)
        log_err(LOG_ERROR, "main", "reopen", "", &err);
    if (server->oplog)
        oplog_reopen(server->oplog);
    log_line(LOG_INFO, "main", "reopen", "", "received SIGHUP: logs are reopened");
}

/** Let the process open a descriptor for each connection it may have, or say that it cannot. */
static void raise_descriptor_limit(uint32_t connections)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)connections + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted) {
        char keys[64];
        snprintf(keys, sizeof keys, "limit=%" PRIu64 " wanted=%" PRIu64, (uint64_t)limit.rlim_cur, (uint64_t)wanted);
        log_line(LOG_WARN, "main", "start", keys, "fewer file descriptors than max_connections needs: raise the hard limit or lower max_connections");
    }
}

/** Serve until a signal ends it. */
static void run(struct server *server, struct listener *listener, struct ev_loop *loop)
{
    ev_signal term, interrupt, hangup;
    ev_signal_init(&term, stop_cb, SIGTERM);
    ev_signal_init(&interrupt, stop_cb, SIGINT);
    ev_signal_init(&hangup, reopen_cb, SIGHUP);
    hangup.data = server;
    ev_signal_start(loop, &term);
    ev_signal_start(loop, &interrupt);
    ev_signal_start(loop, &hangup);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);

    log_line(LOG_INFO, "main", "ready", "", "serving node %u of grid \"%s\" on %s", server->exec.node, server->config.grid,
             server->config.node[server->exec.node].address.text);
    notify_send("READY=1");
    ev_run(loop, 0);
    notify_send("STOPPING=1");
    listener_close(listener);
}

/** Takes config over. */
static int serve(struct config *config, uint32_t node)
{
    struct server server = {.config = *config, .exec = {.node = node}};
    struct listener listener;
    struct err err;
    raise_descriptor_limit(config->server.max_connections);
    enum mcomp_status code = listener_bind(&listener, &server.config.node[node].address, &err);
    if (code != MCOMP_OK) {
        config_free(&server.config);
        goto fail;
    }
    /* All threads inherit this mask: signals are the main loop's. */
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    code = server_start(&server, &err);
    if (code != MCOMP_OK) {
        listener_close(&listener);
        goto fail;
    }
    struct ev_loop *loop = ev_default_loop(0);
    code = loop ? listener_start(&listener, &server, loop, &err) : err_set(&err, MCOMP_RESOURCE_EXHAUSTED, "cannot make the event loop");
    if (code == MCOMP_OK)
        run(&server, &listener, loop);
    else
        listener_close(&listener);
    server_stop(&server);
    if (code != MCOMP_OK)
        goto fail;
    log_line(LOG_INFO, "main", "end", "", "ended in order; the segment stays");
    return EXIT_OK;
fail:
    log_err(LOG_ERROR, "main", "start", "", &err);
    return EXIT_FAILED;
}

static int reset(const struct config *config, uint32_t node)
{
    struct err err;
    if (segment_remove(config->grid, node, &err) != MCOMP_OK) {
        log_err(LOG_ERROR, "main", "reset", "", &err);
        return EXIT_FAILED;
    }
    log_line(LOG_INFO, "main", "reset", "", "the segment of node %u of grid \"%s\" is deleted", node, config->grid);
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    struct options options;
    int code = parse_options(argc, argv, &options);
    if (code >= 0)
        return code;
    signal(SIGPIPE, SIG_IGN);
    struct config config;
    struct err err;
    uint32_t node = 0;
    enum mcomp_status status = log_open("mcompd", options.log_level, options.log_path, &err);
    if (status == MCOMP_OK)
        status = server_configure(&config, &node, &options.server, &err);
    if (status != MCOMP_OK) {
        log_err(LOG_ERROR, "main", "start", "", &err);
        return EXIT_FAILED;
    }
    char role[32];
    snprintf(role, sizeof role, "mcompd-%u", node);
    status = log_open(role, options.log_level, options.log_path, &err);
    if (status != MCOMP_OK) {
        log_err(LOG_ERROR, "main", "start", "", &err);
        config_free(&config);
        return EXIT_FAILED;
    }
    if (!options.reset)
        return serve(&config, node);
    code = reset(&config, node);
    config_free(&config);
    return code;
}
