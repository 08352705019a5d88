/* SPDX-License-Identifier: Apache-2.0 */
/** mcompd: options, signals, order of start and end. */
#include <ev.h>
#include <signal.h>

#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/listener.h"
#include "daemon/notify.h"
#include "server/server.h"

#define OTHER_DESCRIPTORS 64u /* besides connections: listening sockets, loops, logs, the segment */

struct own_options {
    bool reset;
    const char *restore_path; /* NULL: none */
};

static int take_option(void *arg, char letter, const char *value)
{
    struct own_options *own = arg;
    if (letter == 'r')
        own->reset = true;
    else
        own->restore_path = value;
    return DAEMON_GO_ON;
}

/* ---- running ---- */

struct running {
    struct server *server;
    struct ev_loop *loop;
};

static void stop(void *arg)
{
    struct running *running = arg;
    ev_break(running->loop, EVBREAK_ALL);
}

static void reopen(void *arg)
{
    struct running *running = arg;
    if (running->server->oplog)
        oplog_reopen(running->server->oplog);
}

/** Serve until a signal ends it. */
static void run(struct server *server, struct listener *listener, struct ev_loop *loop)
{
    struct running running = {server, loop};
    struct daemon_signals signals = {.stop = stop, .reopen = reopen, .arg = &running};
    daemon_signals_start(&signals, loop);
    log_line(LOG_INFO, "main", "ready", "", "serving node %u of grid \"%s\" on %s", server->exec.node, server->config.grid,
             server->config.node[server->exec.node].address.text);
    notify_send("READY=1");
    ev_run(loop, 0);
    notify_send("STOPPING=1");
    listener_close(listener);
}

/** Takes config over. */
static int serve(struct config *config, uint32_t node, const char *restore_path)
{
    struct server server = {.config = *config, .exec = {.node = node}, .restore_path = restore_path};
    struct listener listener;
    struct listener_calls calls = {.serve = server_serve,
                                   .refuse = server_refuse,
                                   .arg = &server,
                                   .full = "max_connections is reached: connections are being refused"};
    struct err err;
    daemon_need_descriptors(config->server.max_connections + OTHER_DESCRIPTORS,
                            "fewer file descriptors than max_connections needs: raise the hard limit or lower max_connections");
    enum mcomp_status code = listener_bind(&listener, &server.config.node[node].address, &err);
    if (code != MCOMP_OK) {
        config_free(&server.config);
        goto fail;
    }
    daemon_block_signals();
    code = server_start(&server, &err);
    if (code != MCOMP_OK) {
        listener_close(&listener);
        goto fail;
    }
    struct ev_loop *loop = ev_default_loop(0);
    code = loop ? listener_start(&listener, &calls, loop, &err) : err_set(&err, MCOMP_RESOURCE_EXHAUSTED, "cannot make the event loop");
    if (code == MCOMP_OK)
        run(&server, &listener, loop);
    else
        listener_close(&listener);
    server_stop(&server);
    if (code != MCOMP_OK)
        goto fail;
    log_line(LOG_INFO, "main", "end", "", "ended in order; the segment stays");
    return DAEMON_EXIT_OK;
fail:
    log_err(LOG_ERROR, "main", "start", "", &err);
    return DAEMON_EXIT_FAILED;
}

static int reset(const struct config *config, uint32_t node)
{
    struct err err;
    if (segment_remove(config->grid, node, &err) != MCOMP_OK) {
        log_err(LOG_ERROR, "main", "reset", "", &err);
        return DAEMON_EXIT_FAILED;
    }
    log_line(LOG_INFO, "main", "reset", "", "the segment of node %u of grid \"%s\" is deleted", node, config->grid);
    return DAEMON_EXIT_OK;
}

int main(int argc, char **argv)
{
    static const struct daemon_option options[] = {{"reset", "", 'r', "delete this node's segment and all its bytes, and end"},
                                                   {"restore", "=SNAPSHOT", 'R', "replace all bytes by those of a snapshot file, then serve"}};
    struct own_options own = {0};
    const struct daemon_program program = {
        .name = "mcompd",
        .about = "The memory server of one node of an mcomp grid.",
        .notes = "SIGTERM and SIGINT end it in order, SIGHUP reopens the logs. The segment stays in shared memory\n"
                 "when the server ends, and the next one goes on with it.\n"
                 "Exit status: 0 ended in order, 1 failed, 2 wrong usage.\n\n"
                 "Example: mcompd --config mcomp.cfg --node 0",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .take = take_option,
        .arg = &own,
    };
    struct daemon_options given;
    int code = daemon_parse(&program, argc, argv, &given);
    if (code != DAEMON_GO_ON)
        return code;
    if (own.reset && own.restore_path)
        return daemon_usage_error(&program, "--reset deletes what --restore brings: give one of them");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log file at its limit costs lines, not the server */
    struct config config;
    uint32_t node = 0;
    if (daemon_configure(&program, &given, &config, &node) != MCOMP_OK)
        return DAEMON_EXIT_FAILED;
    if (!own.reset)
        return serve(&config, node, own.restore_path);
    code = reset(&config, node);
    config_free(&config);
    return code;
}
