/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/wire.h"

#define ADDRESSES_MAX 8u
#define ROOM_FIRST 4096u
#define NS_PER_MS UINT64_C(1000000)

uint64_t exchange_deadline(uint64_t timeout_ns)
{
    uint64_t now_ns = clock_mono_ns();
    return timeout_ns == 0 || timeout_ns > EXCHANGE_NO_DEADLINE - now_ns ? EXCHANGE_NO_DEADLINE : now_ns + timeout_ns;
}

/** Put "node 1 at HOST:PORT: " before the text. */
static enum mcomp_status wrap(const struct exchange *exchange, struct err *err)
{
    return err_wrap(err, err->code, "snapshot process of node %" PRIu32 " at %s", exchange->node,
                    exchange->config->node[exchange->node].snapshot_address.text);
}

/** Wait until fd is ready for events. Errors: DEADLINE_EXCEEDED. */
static enum mcomp_status wait_for(int fd, short events, uint64_t deadline_ns, struct err *err)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    for (;;) {
        int wait_ms = -1;
        if (deadline_ns != EXCHANGE_NO_DEADLINE) {
            uint64_t now_ns = clock_mono_ns();
            uint64_t left_ms = now_ns < deadline_ns ? (deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
            wait_ms = left_ms > INT32_MAX ? INT32_MAX : (int)left_ms;
        }
        int ready = poll(&poll_fd, 1, wait_ms);
        if (ready > 0)
            return MCOMP_OK;
        if (ready == 0 && wait_ms < INT32_MAX)
            return err_set(err, MCOMP_DEADLINE_EXCEEDED, "no answer within the time-out");
        if (ready < 0 && errno != EINTR)
            return err_sys(err, errno, "cannot wait for the connection");
    }
}

/* ---- connecting ---- */

static enum mcomp_status unavailable(int sys_errno, const char *what, struct err *err)
{
    (void)err_sys(err, sys_errno, "%s", what);
    return err->code = MCOMP_UNAVAILABLE;
}

/** Connect to one address. On OK *fd is the caller's. */
static enum mcomp_status connect_to(const struct sockaddr_storage *address, socklen_t length, uint64_t deadline_ns, int *fd, struct err *err)
{
    int one = 1;
    *fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return err_sys(err, errno, "cannot make a socket");
    enum mcomp_status status = MCOMP_OK;
    if (connect(*fd, (const struct sockaddr *)address, length) != 0)
        status = errno == EINPROGRESS || errno == EINTR ? wait_for(*fd, POLLOUT, deadline_ns, err) : unavailable(errno, "cannot connect", err);
    if (status == MCOMP_OK) {
        int reason = 0;
        socklen_t bytes = sizeof reason;
        if (getsockopt(*fd, SOL_SOCKET, SO_ERROR, &reason, &bytes) != 0)
            reason = errno;
        if (reason != 0)
            status = unavailable(reason, "cannot connect", err);
    }
    if (status != MCOMP_OK) {
        close(*fd);
        *fd = -1;
        return status;
    }
    (void)setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return MCOMP_OK;
}

enum mcomp_status exchange_open(struct exchange *exchange, const struct config *config, uint32_t node, uint64_t deadline_ns, struct err *err)
{
    struct sockaddr_storage address[ADDRESSES_MAX];
    socklen_t length[ADDRESSES_MAX];
    size_t count = 0;
    *exchange = (struct exchange){.config = config, .node = node, .fd = -1};
    if (!config->node[node].snapshot_address.host[0])
        return err_set(err, MCOMP_FAILED_PRECONDITION,
                       "%s: node %" PRIu32 " has no snapshot_address: give each node one, as in node %" PRIu32
                       " { address = \"HOST:PORT\" snapshot_address = \"HOST:PORT\" }",
                       config->path, node, node);
    enum mcomp_status status = config_resolve(&config->node[node].snapshot_address, false, address, length, ADDRESSES_MAX, &count, err);
    for (size_t i = 0; i < count && exchange->fd < 0; i++)
        status = connect_to(&address[i], length[i], deadline_ns, &exchange->fd, err);
    return status == MCOMP_OK ? MCOMP_OK : wrap(exchange, err);
}

void exchange_close(struct exchange *exchange)
{
    if (exchange->config && exchange->fd >= 0)
        close(exchange->fd);
    free(exchange->in);
    *exchange = (struct exchange){.fd = -1};
}

/* ---- a request and its answer ---- */

static enum mcomp_status send_all(struct exchange *exchange, const uint8_t *bytes, size_t length, uint64_t deadline_ns, struct err *err)
{
    while (length > 0) {
        ssize_t n = send(exchange->fd, bytes, length, MSG_NOSIGNAL);
        if (n > 0) {
            bytes += n;
            length -= (size_t)n;
        } else if (errno == EAGAIN) {
            enum mcomp_status status = wait_for(exchange->fd, POLLOUT, deadline_ns, err);
            if (status != MCOMP_OK)
                return status;
        } else if (errno != EINTR) {
            return unavailable(errno, "the connection broke", err);
        }
    }
    return MCOMP_OK;
}

enum mcomp_status exchange_send(struct exchange *exchange, exchange_request *request, uint64_t deadline_ns, struct err *err)
{
    request->id = ++exchange->id;
    request->grid = (char *)exchange->config->grid;
    size_t bytes = wire_message_frame_bytes(&request->base);
    uint8_t *frame = malloc(bytes);
    if (!frame)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory");
    (void)wire_put_message(frame, &request->base);
    enum mcomp_status status = send_all(exchange, frame, bytes, deadline_ns, err);
    free(frame);
    return status == MCOMP_OK ? MCOMP_OK : wrap(exchange, err);
}

/** Room for `bytes` in all. */
static enum mcomp_status make_room(struct exchange *exchange, size_t bytes, struct err *err)
{
    if (bytes <= exchange->room)
        return MCOMP_OK;
    uint8_t *in = realloc(exchange->in, bytes);
    if (!in)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory");
    exchange->in = in;
    exchange->room = bytes;
    return MCOMP_OK;
}

/** Read until the frame at the beginning of `in` is whole. */
static enum mcomp_status receive_frame(struct exchange *exchange, uint64_t deadline_ns, size_t *header, uint64_t *body, struct err *err)
{
    for (;;) {
        enum wire_frame frame = wire_frame_peek(exchange->in, exchange->filled, EXCHANGE_ANSWER_BYTES_MAX, header, body);
        if (frame == WIRE_FRAME_WHOLE)
            return MCOMP_OK;
        if (frame == WIRE_FRAME_BAD)
            return err_set(err, MCOMP_DATA_LOSS, "what listens there does not speak the exchange of snapshot processes: check snapshot_address");
        enum mcomp_status status = make_room(exchange, *body > 0 ? *header + (size_t)*body : ROOM_FIRST, err);
        if (status != MCOMP_OK)
            return status;
        ssize_t n = recv(exchange->fd, exchange->in + exchange->filled, exchange->room - exchange->filled, 0);
        if (n > 0)
            exchange->filled += (size_t)n;
        else if (n == 0)
            return err_set(err, MCOMP_UNAVAILABLE, "it closed the connection");
        else if (errno == EAGAIN)
            status = wait_for(exchange->fd, POLLIN, deadline_ns, err);
        else if (errno != EINTR)
            status = unavailable(errno, "the connection broke", err);
        if (status != MCOMP_OK)
            return status;
    }
}

enum mcomp_status exchange_receive(struct exchange *exchange, uint64_t deadline_ns, exchange_response **response, struct err *err)
{
    size_t header = 0;
    uint64_t body = 0;
    *response = NULL;
    for (;;) {
        enum mcomp_status status = receive_frame(exchange, deadline_ns, &header, &body, err);
        if (status != MCOMP_OK)
            return wrap(exchange, err);
        *response = mcomp__snapshot__v1__response__unpack(NULL, (size_t)body, exchange->in + header);
        exchange->filled -= header + (size_t)body;
        memmove(exchange->in, exchange->in + header + body, exchange->filled);
        if (!*response) {
            (void)err_set(err, MCOMP_DATA_LOSS, "its answer is malformed");
            return wrap(exchange, err);
        }
        /* One that refuses the connection has seen no request, and answers id 0. */
        if ((*response)->id == exchange->id || (*response)->id == 0)
            return MCOMP_OK;
        mcomp__snapshot__v1__response__free_unpacked(*response, NULL);
        *response = NULL;
    }
}

enum mcomp_status exchange_judge(const struct exchange *exchange, const exchange_response *response,
                                 Mcomp__Snapshot__V1__Response__ResultCase result, struct err *err)
{
    enum mcomp_status status = wire_status_get((uint64_t)response->status);
    if (status == MCOMP_OK && response->result_case == result)
        return MCOMP_OK;
    if (status == MCOMP_OK)
        (void)err_set(err, MCOMP_UNIMPLEMENTED, "its answer is not one to this question: both sides must have the same version");
    else
        (void)err_set(err, status, "%s", response->message[0] ? response->message : status_text(status));
    return wrap(exchange, err);
}

enum mcomp_status exchange_ask(struct exchange *exchange, exchange_request *request, Mcomp__Snapshot__V1__Response__ResultCase result,
                               uint64_t deadline_ns, exchange_response **response, struct err *err)
{
    *response = NULL;
    enum mcomp_status status = exchange_send(exchange, request, deadline_ns, err);
    if (status == MCOMP_OK)
        status = exchange_receive(exchange, deadline_ns, response, err);
    if (status == MCOMP_OK)
        status = exchange_judge(exchange, *response, result, err);
    if (status != MCOMP_OK && *response) {
        mcomp__snapshot__v1__response__free_unpacked(*response, NULL);
        *response = NULL;
    }
    return status;
}

enum mcomp_status exchange_ask_round(struct exchange *exchange, uint64_t deadline_ns, exchange_response **response, struct err *err)
{
    Mcomp__Snapshot__V1__RoundQuery query = MCOMP__SNAPSHOT__V1__ROUND_QUERY__INIT;
    exchange_request request = MCOMP__SNAPSHOT__V1__REQUEST__INIT;
    request.op_case = MCOMP__SNAPSHOT__V1__REQUEST__OP_ROUND_QUERY;
    request.round_query = &query;
    return exchange_ask(exchange, &request, MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_ROUND_STATUS, deadline_ns, response, err);
}

/* ---- the leader ---- */

/** Connect and ask for the round. On failure nothing is left open. */
static enum mcomp_status open_and_ask(struct exchange *exchange, const struct config *config, uint32_t node, uint64_t timeout_ns,
                                      exchange_response **round, struct err *err)
{
    uint64_t deadline_ns = exchange_deadline(timeout_ns);
    enum mcomp_status status = exchange_open(exchange, config, node, deadline_ns, err);
    if (status == MCOMP_OK)
        status = exchange_ask_round(exchange, deadline_ns, round, err);
    if (status != MCOMP_OK)
        exchange_close(exchange);
    return status;
}

static void drop(struct exchange *exchange, exchange_response **round)
{
    exchange_close(exchange);
    mcomp__snapshot__v1__response__free_unpacked(*round, NULL);
    *round = NULL;
}

enum mcomp_status exchange_open_leader(struct exchange *exchange, const struct config *config, uint64_t timeout_ns, exchange_response **round,
                                       struct err *err)
{
    bool silent[GRID_NODES_MAX] = {false}, answered = false;
    struct err first = {.code = MCOMP_OK}, *failure = &first, ignored;
    *round = NULL;
    for (uint32_t asked = 0; asked < config->nodes; asked++) {
        /* The node that was asked, and then the one that it names. */
        uint32_t node = asked;
        for (unsigned step = 0; step < 2 && !silent[node]; step++) {
            if (open_and_ask(exchange, config, node, timeout_ns, round, failure) != MCOMP_OK) {
                silent[node] = true;
                failure = &ignored;
                break;
            }
            answered = true;
            uint32_t leader = (*round)->round_status->leader;
            if (leader == node)
                return MCOMP_OK;
            drop(exchange, round);
            if (leader >= config->nodes)
                break;
            node = leader;
        }
    }
    if (first.code == MCOMP_OK)
        return err_set(err, MCOMP_UNAVAILABLE, "no snapshot process leads at the moment: try again");
    *err = first;
    return answered ? err_wrap(err, err->code, "the leader cannot be reached (another node takes over after a while)") : err->code;
}
