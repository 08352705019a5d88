/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp-snapd: options, signals, order of start and end. */
#include <ev.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/priority.h"
#include "daemon/daemon.h"
#include "daemon/listener.h"
#include "daemon/notify.h"
#include "snapd/conn.h"
#include "snapd/director.h"
#include "snapd/member.h"

#define OTHER_DESCRIPTORS 64u /* besides connections: listening sockets, loops, logs, the segment, files */

/** What the main loop's callbacks work with. Owner: serve(). */
struct running {
    struct snapd snapd;
    struct conns conns;
    struct listener listener;
    struct ev_loop *loop; /* borrowed */
};

static void stop(void *arg)
{
    struct running *running = arg;
    notify_send("STOPPING=1");
    listener_close(&running->listener);
    director_begin_stop(running->snapd.director); /* its last messages come to this loop too, which ends when that is over */
}

static void answers_cb(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)events;
    struct running *running = watcher->data;
    bool unused;
    conns_take_answers(&running->conns, inbox_take(&running->snapd.answers, &unused));
    if (atomic_load(&running->snapd.director_ended))
        ev_break(loop, EVBREAK_ALL);
}

/** Serve until a signal ends it. */
static void run(struct running *running)
{
    struct snapd *snapd = &running->snapd;
    struct daemon_signals signals = {.stop = stop, .arg = running};
    daemon_signals_start(&signals, running->loop);
    log_line(LOG_INFO, "main", "ready", "", "serving snapshots of node %" PRIu32 " of grid \"%s\" on %s", snapd->node, snapd->config->grid,
             snapd->config->node[snapd->node].snapshot_address.text);
    notify_send("READY=1");
    ev_run(running->loop, 0);
}

static enum mcomp_status start_threads(struct snapd *snapd, struct err *err)
{
    enum mcomp_status code = member_start(&snapd->member, snapd, err);
    return code == MCOMP_OK ? director_start(&snapd->director, snapd, err) : code;
}

/** Every node must say where its snapshot process listens, or no round could have them all. */
static enum mcomp_status check_addresses(const struct config *config, struct err *err)
{
    for (uint32_t i = 0; i < config->nodes; i++)
        if (!config->node[i].snapshot_address.host[0])
            return err_set(err, MCOMP_INVALID_ARGUMENT, "%s: node %" PRIu32 " has no snapshot_address: give each node one, as in node %" PRIu32
                           " { address = \"HOST:PORT\" snapshot_address = \"HOST:PORT\" }", config->path, i, i);
    return MCOMP_OK;
}

static enum mcomp_status serve(const struct config *config, uint32_t node, struct err *err)
{
    struct running running = {.snapd = {.config = config, .node = node}, .loop = ev_default_loop(0)};
    struct snapd *snapd = &running.snapd;
    struct listener_calls calls = {
        .serve = conns_serve, .refuse = conns_refuse, .arg = &running.conns, .full = "all connections are taken: further ones are being refused"};
    if (!running.loop)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "cannot make the event loop");
    enum mcomp_status code = listener_bind(&running.listener, &config->node[node].snapshot_address, err);
    if (code != MCOMP_OK)
        return code;
    daemon_block_signals();
    board_open(&snapd->board, node, config->nodes);
    inbox_open(&snapd->answers, running.loop, answers_cb, &running);
    conns_open(&running.conns, snapd, running.loop);
    priority_prompt(); /* all threads: between freeze and cut writers wait for them */
    if (!priority_probe())
        log_line(LOG_INFO, "main", "priority", "", "no leave to give way to others for the time of a capture: it takes an equal share of the processor "
                 "(grant CAP_SYS_NICE, or a limit for nice values of 20)");
    code = start_threads(snapd, err);
    if (code == MCOMP_OK)
        code = listener_start(&running.listener, &calls, running.loop, err);
    if (code == MCOMP_OK)
        run(&running);
    listener_close(&running.listener);
    director_stop(snapd->director);
    member_stop(snapd->member);
    conns_close(&running.conns);
    inbox_close(&snapd->answers);
    board_close(&snapd->board);
    return code;
}

int main(int argc, char **argv)
{
    const struct daemon_program program = {
        .name = "mcomp-snapd",
        .about = "The snapshot process of one node of an mcomp grid.",
        .notes = "SIGTERM and SIGINT end it in order, SIGHUP reopens the log. The node's memory server and its clients\n"
                 "go on unharmed whenever it ends, and however.\n"
                 "Exit status: 0 ended in order, 1 failed, 2 wrong usage.\n\n"
                 "Example: mcomp-snapd --config mcomp.cfg --node 0",
    };
    struct daemon_options options;
    int exit_code = daemon_parse(&program, argc, argv, &options);
    if (exit_code != DAEMON_GO_ON)
        return exit_code;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow costs the round, like a full disk */
    struct config config;
    uint32_t node = 0;
    if (daemon_configure(&program, &options, &config, &node) != MCOMP_OK)
        return DAEMON_EXIT_FAILED;
    struct err err;
    enum mcomp_status code = check_addresses(&config, &err);
    if (code == MCOMP_OK) {
        daemon_need_descriptors(CONNECTIONS_MAX + 2 * config.nodes + OTHER_DESCRIPTORS,
                                "fewer file descriptors than connections may need: raise the hard limit");
        code = serve(&config, node, &err);
    }
    if (code != MCOMP_OK)
        log_err(LOG_ERROR, "main", "start", "", &err);
    else
        log_line(LOG_INFO, "main", "end", "", "ended in order");
    config_free(&config);
    return code == MCOMP_OK ? DAEMON_EXIT_OK : DAEMON_EXIT_FAILED;
}
