/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef Mcomp__Snapshot__V1__Request Request;

#define FRAME_BYTES_MAX (EXCHANGE_PULL_BYTES + EXCHANGE_PULL_OVERHEAD_BYTES)

#define UNACKNOWLEDGED_MS 10000u /* a machine that acknowledges nothing for so long is gone */

_Static_assert(FRAME_BYTES_MAX >= 64 * 1024, "other answers, of which RoundStatus is the longest, fit too");

/* ---- losing ---- */

static void drop_held(struct peer *peer)
{
    while (peer->held) {
        struct outgoing *out = peer->held;
        peer->held = out->next;
        free(out);
    }
    peer->held_last = NULL;
}

static void close_peer(struct peer *peer)
{
    struct ev_loop *loop = peer->peers->loop;
    ev_clear_pending(loop, &peer->failing);
    ev_io_stop(loop, &peer->connecting);
    if (peer->connecting_fd >= 0)
        close(peer->connecting_fd);
    peer->connecting_fd = -1;
    stream_close(&peer->stream);
    drop_held(peer);
    peer->calls = 0;
    peer->state = PEER_CLOSED;
}

/** The connection is lost, or does not come about. */
static void lose(struct peer *peer, const struct err *err)
{
    struct peers *peers = peer->peers;
    struct err told;
    const char *address = peers->config->node[peer->node].snapshot_address.text;
    err_set(&told, MCOMP_UNAVAILABLE, "the snapshot process at %s: %s", address, err->text);
    close_peer(peer);
    peers->callbacks.lost(peers->callbacks.arg, peer->node, &told);
}

/* ---- answers ---- */

/** Take the call with this id out. false: there is none. */
static bool take_call(struct peer *peer, uint64_t id, struct peer_call *call)
{
    for (uint32_t i = 0; i < peer->calls; i++) {
        if (peer->call[i].id != id)
            continue;
        *call = peer->call[i];
        memmove(&peer->call[i], &peer->call[i + 1], (--peer->calls - i) * sizeof *call);
        return true;
    }
    return false;
}

static void frame_cb(void *arg, const uint8_t *body, size_t bytes)
{
    struct peer *peer = arg;
    struct peers *peers = peer->peers;
    struct exchange_response response;
    struct peer_call call;
    if (exchange_response_decode(&response, body, bytes) && take_call(peer, response.id, &call)) {
        peers->callbacks.answer(peers->callbacks.arg, peer->node, &call, &response);
        return;
    }
    err_set(&peer->err, MCOMP_INTERNAL, "it sent what is no answer to anything that was asked");
    ev_feed_event(peers->loop, &peer->failing, EV_TIMER);
}

static void ended_cb(void *arg, const struct err *err)
{
    lose(arg, err);
}

static const struct stream_calls stream_calls = {.frame = frame_cb, .ended = ended_cb};

/* ---- connecting ---- */

static void connecting_cb(struct ev_loop *loop, ev_io *watcher, int events);

/** Begin with the next address. What fails is told by `failing`. */
static void connect_next(struct peer *peer)
{
    struct resolved *resolved = &peer->resolved;
    peer->state = PEER_CONNECTING;
    while (peer->next_address < resolved->count) {
        size_t i = peer->next_address++;
        int fd = socket(resolved->address[i].ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            err_sys(&peer->err, errno, "make a socket");
            continue;
        }
        if (connect(fd, (const struct sockaddr *)&resolved->address[i], resolved->bytes[i]) == 0 || errno == EINPROGRESS) {
            peer->connecting_fd = fd;
            ev_io_set(&peer->connecting, fd, EV_WRITE);
            ev_io_start(peer->peers->loop, &peer->connecting);
            return;
        }
        err_sys(&peer->err, errno, "connect");
        close(fd);
    }
    ev_feed_event(peer->peers->loop, &peer->failing, EV_TIMER);
}

static void connected(struct peer *peer)
{
    int fd = peer->connecting_fd;
    peer->connecting_fd = -1;
    if (!stream_open(&peer->stream, &stream_calls, peer, peer->peers->loop, fd, FRAME_BYTES_MAX)) {
        close(fd);
        err_set(&peer->err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for a connection");
        ev_feed_event(peer->peers->loop, &peer->failing, EV_TIMER);
        return;
    }
    unsigned patience_ms = UNACKNOWLEDGED_MS;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof patience_ms);
    peer->state = PEER_OPEN;
    for (struct outgoing *out = peer->held, *next; out; out = next) {
        next = out->next;
        stream_send(&peer->stream, out);
    }
    peer->held = peer->held_last = NULL;
}

static void connecting_cb(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    struct peer *peer = watcher->data;
    int reason = 0;
    socklen_t bytes = sizeof reason;
    ev_io_stop(loop, watcher);
    if (getsockopt(peer->connecting_fd, SOL_SOCKET, SO_ERROR, &reason, &bytes) < 0)
        reason = errno;
    if (reason == 0) {
        connected(peer);
        return;
    }
    close(peer->connecting_fd);
    peer->connecting_fd = -1;
    err_sys(&peer->err, reason, "connect");
    connect_next(peer);
}

static void failing_cb(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct peer *peer = watcher->data;
    peer->resolved.count = 0; /* names may stand for other machines now */
    struct err err = peer->err;
    lose(peer, &err);
}

static void resolved_cb(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)events;
    struct peers *peers = watcher->data;
    uint32_t node;
    struct resolved resolved;
    while (lookup_take(peers->lookup, &node, &resolved)) {
        struct peer *peer = &peers->peer[node];
        if (resolved.code == MCOMP_OK)
            peer->resolved = resolved;
        if (peer->state != PEER_RESOLVING)
            continue;
        if (resolved.code == MCOMP_OK) {
            connect_next(peer);
            continue;
        }
        peer->err = resolved.err;
        ev_feed_event(loop, &peer->failing, EV_TIMER);
    }
}

static void begin_connecting(struct peer *peer)
{
    peer->next_address = 0;
    if (peer->resolved.count) {
        connect_next(peer);
        return;
    }
    peer->state = PEER_RESOLVING;
    lookup_ask(peer->peers->lookup, peer->node);
}

/* ---- asking ---- */

static struct outgoing *make_request(const struct config *config, const struct peer_call *call)
{
    Request request = MCOMP__SNAPSHOT__V1__REQUEST__INIT;
    Mcomp__Snapshot__V1__Freeze freeze = MCOMP__SNAPSHOT__V1__FREEZE__INIT;
    Mcomp__Snapshot__V1__Cut cut = MCOMP__SNAPSHOT__V1__CUT__INIT;
    Mcomp__Snapshot__V1__Unfreeze unfreeze = MCOMP__SNAPSHOT__V1__UNFREEZE__INIT;
    Mcomp__Snapshot__V1__Pull pull = MCOMP__SNAPSHOT__V1__PULL__INIT;
    Mcomp__Snapshot__V1__End end = MCOMP__SNAPSHOT__V1__END__INIT;
    Mcomp__Snapshot__V1__RoundQuery query = MCOMP__SNAPSHOT__V1__ROUND_QUERY__INIT;
    request.id = call->id;
    request.grid = (char *)config->grid;
    switch (call->op) {
    case PEER_PING:
        request.op_case = MCOMP__SNAPSHOT__V1__REQUEST__OP_ROUND_QUERY;
        request.round_query = &query;
        break;
    case PEER_FREEZE:
        freeze.round = call->round;
        freeze.lease_ms = call->lease_ms;
        freeze.segment_size = config->segment_size;
        freeze.nodes = config->nodes;
        request.op_case = MCOMP__SNAPSHOT__V1__REQUEST__OP_FREEZE;
        request.freeze = &freeze;
        break;
    case PEER_CUT:
        cut.round = call->round;
        request.op_case = MCOMP__SNAPSHOT__V1__REQUEST__OP_CUT;
        request.cut = &cut;
        break;
    case PEER_UNFREEZE:
        unfreeze.round = call->round;
        request.op_case = MCOMP__SNAPSHOT__V1__REQUEST__OP_UNFREEZE;
        request.unfreeze = &unfreeze;
        break;
    case PEER_END:
        end.round = call->round;
        request.op_case = MCOMP__SNAPSHOT__V1__REQUEST__OP_END;
        request.end = &end;
        break;
    case PEER_PULL:
        pull.round = call->round;
        pull.offset = call->offset;
        pull.max_bytes = call->bytes;
        request.op_case = MCOMP__SNAPSHOT__V1__REQUEST__OP_PULL;
        request.pull = &pull;
        break;
    }
    return outgoing_message(&request.base);
}

bool peers_send(struct peers *peers, uint32_t node, const struct peer_call *call)
{
    struct peer *peer = &peers->peer[node];
    if (peer->state == PEER_CLOSED && (call->op == PEER_UNFREEZE || call->op == PEER_END))
        return false;
    if (peer->calls == PEER_CALLS_MAX)
        return false;
    struct peer_call *slot = &peer->call[peer->calls];
    *slot = *call;
    slot->id = ++peer->last_id;
    struct outgoing *out = make_request(peers->config, slot);
    if (!out)
        return false;
    peer->calls++;
    if (peer->state == PEER_OPEN) {
        stream_send(&peer->stream, out);
        return true;
    }
    *(peer->held_last ? &peer->held_last->next : &peer->held) = out;
    peer->held_last = out;
    if (peer->state == PEER_CLOSED)
        begin_connecting(peer);
    return true;
}

bool peers_await(const struct peers *peers, uint32_t node, enum peer_op op, uint32_t round)
{
    const struct peer *peer = &peers->peer[node];
    for (uint32_t i = 0; i < peer->calls; i++)
        if (peer->call[i].op == op && peer->call[i].round == round)
            return true;
    return false;
}

bool peers_are_connected(const struct peers *peers, uint32_t node)
{
    return peers->peer[node].state == PEER_OPEN;
}

void peers_reset(struct peers *peers, uint32_t node, const char *why)
{
    struct peer *peer = &peers->peer[node];
    struct err err;
    if (peer->state == PEER_CLOSED)
        return;
    err_set(&err, MCOMP_UNAVAILABLE, "%s", why);
    peer->resolved.count = 0;
    lose(peer, &err);
}

bool peers_are_drained(const struct peers *peers)
{
    for (uint32_t i = 0; i < peers->config->nodes; i++)
        if (peers->peer[i].state == PEER_OPEN && peers->peer[i].stream.unsent)
            return false;
    return true;
}

void peers_trim(struct peers *peers)
{
    for (uint32_t i = 0; i < peers->config->nodes; i++)
        stream_trim(&peers->peer[i].stream);
}

/* ---- life ---- */

enum mcomp_status peers_open(struct peers *peers, const struct config *config, struct ev_loop *loop, const struct peers_calls *callbacks,
                             struct err *err)
{
    *peers = (struct peers){.config = config, .loop = loop, .callbacks = *callbacks};
    peers->peer = calloc(config->nodes, sizeof *peers->peer);
    if (!peers->peer)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for connections to %u nodes", config->nodes);
    for (uint32_t i = 0; i < config->nodes; i++) {
        struct peer *peer = &peers->peer[i];
        peer->peers = peers;
        peer->node = i;
        peer->connecting_fd = peer->stream.fd = -1;
        ev_init(&peer->connecting, connecting_cb);
        ev_init(&peer->failing, failing_cb);
        peer->connecting.data = peer->failing.data = peer;
    }
    enum mcomp_status code = lookup_start(&peers->lookup, config, LOOKUP_SNAPSHOT_PROCESSES, loop, resolved_cb, peers, err);
    if (code != MCOMP_OK) {
        free(peers->peer);
        peers->peer = NULL;
    }
    return code;
}

void peers_close(struct peers *peers)
{
    if (!peers->peer)
        return;
    for (uint32_t i = 0; i < peers->config->nodes; i++)
        close_peer(&peers->peer[i]);
    lookup_stop(peers->lookup);
    free(peers->peer);
    peers->peer = NULL;
}
