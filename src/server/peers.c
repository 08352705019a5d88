/* SPDX-License-Identifier: Apache-2.0 */
#include "server/peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "wire/wire.h"

#define FRAME_BYTES_MAX FRAME_OVERHEAD_BYTES
#define HELLO_ID UINT64_MAX
#define SILENCE_NS 5000000000ull    /* a node that owes an answer for so long is given up */
#define PAUSE_FIRST_NS 50000000ull  /* before the next attempt to reach a node; it doubles … */
#define PAUSE_LAST_NS 2000000000ull /* … up to this */

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
    if (peer->call)
        memset(peer->call, 0, PEER_CALLS_MAX * sizeof *peer->call);
    peer->calls = 0;
    peer->state = PEER_CLOSED;
}

/** The connection is lost, or does not come about. */
static void lose(struct peer *peer, const struct err *err)
{
    const struct config *config = peer->peers->config;
    if (!peer->complained) {
        char keys[32];
        snprintf(keys, sizeof keys, "node=%u", peer->node);
        log_line(LOG_WARN, "txn", "peer", keys, "transactions wait for the server at %s: %s", config->node[peer->node].address.text, err->text);
    }
    peer->complained = true;
    close_peer(peer);
    peer->resolved.count = 0; /* names may stand for other machines now */
    peer->rest_until_ns = clock_mono_ns() + peer->pause_ns;
    peer->pause_ns = 2 * peer->pause_ns < PAUSE_LAST_NS ? 2 * peer->pause_ns : PAUSE_LAST_NS;
}

/** The same, from where the stream is in use: once the loop is back. */
static void lose_later(struct peer *peer)
{
    ev_feed_event(peer->peers->loop, &peer->failing, EV_TIMER);
}

static void failing_cb(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct peer *peer = watcher->data;
    struct err err = peer->err;
    lose(peer, &err);
}

/* ---- answers ---- */

static bool says_of(int outcome, enum txn_says *says)
{
    switch (outcome) {
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_COMMITTED: *says = TXN_COMMITTED; return true;
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_PREPARED: *says = TXN_PREPARED; return true;
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_ABORTED: *says = TXN_ABORTED; return true;
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_NO_SESSION: *says = TXN_NO_SESSION; return true;
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_STALE: *says = TXN_STALE; return true;
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_MISUSE: *says = TXN_MISUSE; return true;
    default: return false; /* nothing that could be relied on */
    }
}

static void greeted(struct peer *peer, const struct wire_response *response)
{
    if (response->status != MCOMP_OK || response->result != WIRE_OP_HELLO) {
        err_set(&peer->err, MCOMP_FAILED_PRECONDITION, "it refuses this node: %.*s", (int)response->message_bytes,
                response->message ? response->message : "");
        lose_later(peer);
        return;
    }
    peer->state = PEER_OPEN;
    peer->complained = false;
    peer->pause_ns = PAUSE_FIRST_NS;
    for (struct outgoing *out = peer->held, *next; out; out = next) {
        next = out->next;
        stream_send(&peer->stream, out);
    }
    peer->held = peer->held_last = NULL;
}

static void answered(struct peer *peer, const struct wire_response *response)
{
    struct peer_call *place = &peer->call[response->id % PEER_CALLS_MAX], call = *place;
    enum txn_says says;
    if (call.id == 0 || call.id != response->id) {
        err_set(&peer->err, MCOMP_INTERNAL, "it sent what is no answer to anything that was asked");
        lose_later(peer);
        return;
    }
    *place = (struct peer_call){0};
    peer->calls--;
    if (response->status == MCOMP_OK && response->txn && says_of(response->txn->outcome, &says))
        peer->peers->callbacks.answer(peer->peers->callbacks.arg, &call, says);
}

static void frame_cb(void *arg, const uint8_t *body, size_t bytes)
{
    struct peer *peer = arg;
    struct arena *arena = &peer->peers->arena;
    struct wire_response response;
    peer->heard_ns = clock_mono_ns();
    if (!wire_response_decode(&response, body, bytes, arena)) {
        err_set(&peer->err, MCOMP_INTERNAL, "it sent what is no response");
        lose_later(peer);
    } else if (response.id == HELLO_ID) {
        greeted(peer, &response);
    } else if (response.id == 0) { /* why it is about to close */
        err_set(&peer->err, response.status, "%.*s", (int)response.message_bytes, response.message ? response.message : "");
        lose_later(peer);
    } else {
        answered(peer, &response);
    }
    arena_reset(arena);
}

static void ended_cb(void *arg, const struct err *err)
{
    lose(arg, err);
}

static const struct stream_calls stream_calls = {.frame = frame_cb, .ended = ended_cb};

/* ---- connecting ---- */

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
    lose_later(peer);
}

static struct outgoing *make_hello(const struct peer *peer)
{
    const struct config *config = peer->peers->config;
    Mcomp__V1__Request request = MCOMP__V1__REQUEST__INIT;
    Mcomp__V1__Hello hello = MCOMP__V1__HELLO__INIT;
    hello.protocol_version = 1;
    hello.grid = (char *)config->grid;
    hello.segment_size = config->segment_size;
    hello.nodes = config->nodes;
    hello.node_plus_one = peer->node + 1;
    hello.client = (char *)"mcompd";
    request.id = HELLO_ID;
    request.op_case = MCOMP__V1__REQUEST__OP_HELLO;
    request.hello = &hello;
    return outgoing_message(&request.base);
}

static void connected(struct peer *peer)
{
    int fd = peer->connecting_fd;
    struct outgoing *hello = make_hello(peer);
    peer->connecting_fd = -1;
    if (!hello || !stream_open(&peer->stream, &stream_calls, peer, peer->peers->loop, fd, FRAME_BYTES_MAX)) {
        close(fd);
        free(hello);
        err_set(&peer->err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for a connection");
        lose_later(peer);
        return;
    }
    peer->state = PEER_GREETING;
    stream_send(&peer->stream, hello);
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

static void resolved_cb(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)loop;
    (void)events;
    struct peers *peers = watcher->data;
    uint32_t node;
    struct resolved resolved;
    while (lookup_take(peers->lookup, &node, &resolved)) {
        struct peer *peer = &peers->peer[node];
        if (resolved.code == MCOMP_OK)
            peer->resolved = resolved;
        if (peer->state != PEER_LOOKING_UP)
            continue;
        peer->err = resolved.err;
        if (resolved.code == MCOMP_OK)
            connect_next(peer);
        else
            lose_later(peer);
    }
}

static void begin_connecting(struct peer *peer)
{
    peer->next_address = 0;
    if (peer->resolved.count) {
        connect_next(peer);
        return;
    }
    peer->state = PEER_LOOKING_UP;
    lookup_ask(peer->peers->lookup, peer->node);
}

/* ---- asking ---- */

static struct outgoing *make_request(const struct peer_call *call, const struct lane_id *there)
{
    enum wire_op op = call->message == TXN_RESOLVE ? WIRE_OP_RESOLVE : WIRE_OP_DECIDE;
    struct wire_txn txn = {.has_id = true, .id = {there->session, there->lane, there->generation, there->sequence}, .commit = op == WIRE_OP_DECIDE};
    size_t bytes = wire_txn_frame_bytes(call->id, 0, op, &txn);
    struct outgoing *out = outgoing_make(bytes);
    if (!out)
        return NULL;
    wire_put_txn(out->memory, call->id, 0, op, &txn);
    outgoing_add(out, out->memory, bytes);
    return out;
}

bool peers_send(struct peers *peers, uint32_t node, const struct peer_call *call, const struct lane_id *there, uint64_t now_ns)
{
    MC_ASSERT(node < peers->config->nodes && node != peers->self && (call->message == TXN_RESOLVE || call->message == TXN_COMMIT));
    struct peer *peer = &peers->peer[node];
    if (peer->state == PEER_CLOSED && now_ns < peer->rest_until_ns)
        return false;
    if (!peer->call && !(peer->call = calloc(PEER_CALLS_MAX, sizeof *peer->call)))
        return false;
    uint64_t id = peer->last_id + 1;
    struct peer_call *place = &peer->call[id % PEER_CALLS_MAX];
    if (place->id != 0)
        return false;
    *place = *call;
    place->id = id;
    struct outgoing *out = make_request(place, there);
    if (!out) {
        *place = (struct peer_call){0};
        return false;
    }
    peer->last_id = id;
    if (peer->calls++ == 0)
        peer->heard_ns = now_ns;
    if (peer->state == PEER_OPEN) {
        stream_send(&peer->stream, out);
        return true;
    }
    out->next = NULL;
    *(peer->held_last ? &peer->held_last->next : &peer->held) = out;
    peer->held_last = out;
    if (peer->state == PEER_CLOSED)
        begin_connecting(peer);
    return true;
}

void peers_tick(struct peers *peers, uint64_t now_ns)
{
    for (uint32_t i = 0; i < peers->config->nodes; i++) {
        struct peer *peer = &peers->peer[i];
        struct err err;
        if (peer->state == PEER_CLOSED || peer->calls == 0 || now_ns < peer->heard_ns + SILENCE_NS)
            continue;
        err_set(&err, MCOMP_UNAVAILABLE, "it does not answer");
        lose(peer, &err);
    }
}

/* ---- life ---- */

enum mcomp_status peers_open(struct peers *peers, const struct config *config, uint32_t self, struct ev_loop *loop, const struct peers_calls *callbacks,
                             struct err *err)
{
    *peers = (struct peers){.config = config, .self = self, .loop = loop, .callbacks = *callbacks};
    peers->peer = calloc(config->nodes, sizeof *peers->peer);
    if (!peers->peer)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for connections to %u nodes", config->nodes);
    arena_init(&peers->arena);
    for (uint32_t i = 0; i < config->nodes; i++) {
        struct peer *peer = &peers->peer[i];
        peer->peers = peers;
        peer->node = i;
        peer->connecting_fd = peer->stream.fd = -1;
        peer->pause_ns = PAUSE_FIRST_NS;
        ev_init(&peer->connecting, connecting_cb);
        ev_init(&peer->failing, failing_cb);
        peer->connecting.data = peer->failing.data = peer;
    }
    enum mcomp_status code = lookup_start(&peers->lookup, config, LOOKUP_SERVERS, loop, resolved_cb, peers, err);
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
    for (uint32_t i = 0; i < peers->config->nodes; i++) {
        close_peer(&peers->peer[i]);
        free(peers->peer[i].call);
    }
    lookup_stop(peers->lookup);
    arena_close(&peers->arena);
    free(peers->peer);
    peers->peer = NULL;
}
