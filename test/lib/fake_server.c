/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fake_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "lib/fake_answer.h"
#include "lib/fake_txn.h"

#define CONNECTIONS_MAX 256u
#define SEEN_MAX 1024u
#define STEPS_MAX 64u
#define WAIT_S 240
#define RECEIVE_BUFFER_BYTES 65536 /* so that a client of a server that does not read is soon stopped */
#define INPUT_BYTES ((8u << 20) + 65536u) /* the longest frame that the tests send */

struct held {
    struct held *next;
    uint64_t connection;
    uint8_t *bytes; /* owned */
    size_t count;
};

struct connection {
    int fd;
    uint64_t number;
    bool greeted;
    bool stuck; /* half an answer was sent; what is held comes first */
    uint8_t *input;
    size_t input_bytes;
};

struct fake_server {
    uint32_t node, nodes;
    uint64_t segment_size;
    int listener, wake;
    pthread_t thread;
    uint8_t *memory;
    struct connection connections[CONNECTIONS_MAX]; /* changed by the thread alone, with the lock held */
    size_t connection_count;

    pthread_mutex_t lock; /* guards what follows, and memory */
    pthread_cond_t changed;
    struct fake_step steps[STEPS_MAX];
    size_t step_at, step_count;
    struct fake_hello hello;
    struct fake_sessions *sessions; /* owned */
    struct held *held; /* newest first */
    uint64_t random;           /* of FAKE_MUTATED; the same in each run */
    unsigned requests, accepted, open, drops, client_faults;
    struct fake_seen seen[SEEN_MAX];
    bool paused, stop, drop_all, refuse, release, release_reversed;
};

/* ---- connections; in the server's thread, with the lock held ---- */

static void close_connection(struct fake_server *server, struct connection *connection)
{
    close(connection->fd);
    free(connection->input);
    *connection = server->connections[--server->connection_count];
    server->open--;
    pthread_cond_broadcast(&server->changed);
}

/** Blocks; the client must be reading. Other threads may go on. */
static bool send_all(struct fake_server *server, int fd, const uint8_t *bytes, size_t count)
{
    pthread_mutex_unlock(&server->lock);
    ssize_t n = 1;
    while (count > 0 && n > 0) {
        n = send(fd, bytes, count, MSG_NOSIGNAL);
        bytes += n > 0 ? n : 0;
        count -= n > 0 ? (size_t)n : 0;
    }
    pthread_mutex_lock(&server->lock);
    return count == 0;
}

static void hold(struct fake_server *server, const struct connection *connection, const uint8_t *bytes, size_t count)
{
    struct held *held = malloc(sizeof *held);
    *held = (struct held){server->held, connection->number, malloc(count), count};
    memcpy(held->bytes, bytes, count);
    server->held = held;
}

static struct held *reverse(struct held *list)
{
    struct held *reversed = NULL;
    while (list) {
        struct held *next = list->next;
        list->next = reversed;
        reversed = list;
        list = next;
    }
    return reversed;
}

static void release_held(struct fake_server *server)
{
    struct held *held = server->release_reversed ? server->held : reverse(server->held);
    server->held = NULL;
    while (held) {
        struct held *next = held->next;
        for (size_t i = 0; i < server->connection_count; i++) {
            struct connection *connection = &server->connections[i];
            if (connection->number == held->connection) {
                connection->stuck = false;
                send_all(server, connection->fd, held->bytes, held->count);
            }
        }
        free(held->bytes);
        free(held);
        held = next;
    }
}

/* ---- requests ---- */

static enum fake_action next_step(struct fake_server *server, enum mcomp_status *status)
{
    if (server->step_at == server->step_count)
        return FAKE_ANSWER;
    struct fake_step *step = &server->steps[server->step_at];
    *status = step->status;
    if (step->times > 1)
        step->times--;
    else
        server->step_at++;
    return step->action;
}

static void note_request(struct fake_server *server, const struct wire_request *request)
{
    if (server->requests < SEEN_MAX) {
        struct fake_seen seen = {.op = request->op, .address = request->address, .length = request->length, .timeout_ms = request->timeout_ms};
        if (request->op == WIRE_OP_MULTI)
            seen.length = request->full->multi->n_reads + request->full->multi->n_writes;
        if (request->txn) {
            seen.address = request->txn->id.sequence;
            seen.length = (uint64_t)request->txn->id.session << 8 | request->txn->id.lane;
            seen.commit = request->txn->commit;
        }
        server->seen[server->requests] = seen;
    }
    server->requests++;
    pthread_cond_broadcast(&server->changed);
}

static uint64_t next_random(struct fake_server *server)
{
    server->random = server->random * 6364136223846793005u + 1442695040888963407u;
    return server->random >> 33;
}

/** Mostly near the beginning, where lengths and tags stand. */
static size_t random_place(struct fake_server *server, size_t count)
{
    size_t reach = next_random(server) % 4 == 0 || count < 32 ? count : 32;
    return (size_t)(next_random(server) % reach);
}

static bool send_mutated(struct fake_server *server, int fd, const struct fake_answer *answer)
{
    size_t count = answer->count, extra = 16;
    uint8_t *bytes = malloc(count + extra);
    memcpy(bytes, answer->bytes, count);
    switch (next_random(server) % 4) {
    case 0:
        count = random_place(server, count);
        break;
    case 1:
        for (size_t i = 0; i < extra; i++)
            bytes[count++] = (uint8_t)next_random(server);
        break;
    default:
        for (uint64_t i = next_random(server) % 4; i < 4; i++)
            bytes[random_place(server, count)] = (uint8_t)next_random(server);
        break;
    }
    bool ok = send_all(server, fd, bytes, count);
    free(bytes);
    return ok;
}

/** false: the connection is to be closed. */
static bool act(struct fake_server *server, struct connection *connection, enum fake_action action, struct fake_answer *answer)
{
    int fd = connection->fd;
    size_t half = answer->count / 2;
    switch (action) {
    case FAKE_HOLD:
        hold(server, connection, answer->bytes, answer->count);
        return true;
    case FAKE_IGNORE:
        return true;
    case FAKE_DROP:
    case FAKE_DROP_AFTER:
        return false;
    case FAKE_HALF:
        send_all(server, fd, answer->bytes, half);
        return false;
    case FAKE_PART:
        connection->stuck = true;
        hold(server, connection, answer->bytes + half, answer->count - half);
        return send_all(server, fd, answer->bytes, half);
    case FAKE_GARBAGE:
        return send_all(server, fd, (const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11);
    case FAKE_MALFORMED:
        return send_all(server, fd, (const uint8_t *)"\x03\x08\x12\xff", 4);
    case FAKE_TOO_LONG:
        return send_all(server, fd, (const uint8_t *)"\xff\xff\xff\xff\x7f\x08", 6);
    case FAKE_MUTATED:
        return send_mutated(server, fd, answer);
    case FAKE_TWICE:
        return send_all(server, fd, answer->bytes, answer->count) && send_all(server, fd, answer->bytes, answer->count);
    default:
        return send_all(server, fd, answer->bytes, answer->count);
    }
}

static bool handle(struct fake_server *server, struct connection *connection, const struct wire_request *request)
{
    struct fake_node node = {.number = server->node,
                             .nodes = server->nodes,
                             .segment_size = server->segment_size,
                             .max_message = server->hello.max_message,
                             .memory = server->memory,
                             .sessions = server->sessions};
    struct fake_answer answer = {0};
    if (request->op == WIRE_OP_HELLO) {
        if (server->hello.silent)
            return true;
        fake_answer_hello(&answer, &node, &server->hello, request);
        connection->greeted = server->hello.status == MCOMP_OK;
        bool sent = send_all(server, connection->fd, answer.bytes, answer.count);
        free(answer.bytes);
        return sent && !server->hello.unasked;
    }
    enum mcomp_status status = MCOMP_OK;
    enum fake_action action = next_step(server, &status);
    if (action == FAKE_STATUS)
        fake_answer_status(&answer, request->id, status);
    else if (action != FAKE_DROP && action != FAKE_IGNORE && !fake_answer_make(&answer, &node, action, request))
        server->client_faults++;
    note_request(server, request);
    bool ok = act(server, connection, action, &answer);
    free(answer.bytes);
    return ok;
}

/** false: the connection is to be closed. */
static bool take_input(struct fake_server *server, struct connection *connection)
{
    struct arena arena;
    arena_init(&arena);
    size_t at = 0;
    bool ok = true;
    while (ok && !connection->stuck && !(server->paused && connection->greeted)) {
        size_t header;
        uint64_t body;
        const uint8_t *bytes = connection->input + at;
        enum wire_frame frame = wire_frame_peek(bytes, connection->input_bytes - at, INPUT_BYTES, &header, &body);
        if (frame == WIRE_FRAME_PART)
            break;
        struct wire_request request;
        ok = frame == WIRE_FRAME_WHOLE && wire_request_decode(&request, bytes + header, body, &arena);
        if (!ok)
            server->client_faults++;
        else
            ok = handle(server, connection, &request);
        at += header + body;
        arena_reset(&arena);
    }
    arena_close(&arena);
    if (ok && at > 0) {
        memmove(connection->input, connection->input + at, connection->input_bytes - at);
        connection->input_bytes -= at;
    }
    return ok;
}

static bool receive(struct fake_server *server, struct connection *connection)
{
    ssize_t n = recv(connection->fd, connection->input + connection->input_bytes, INPUT_BYTES - connection->input_bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return false;
    connection->input_bytes += (size_t)n;
    return take_input(server, connection);
}

static void accept_one(struct fake_server *server)
{
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || server->connection_count == CONNECTIONS_MAX) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct connection connection = {.fd = fd, .number = ++server->accepted, .input = malloc(INPUT_BYTES)};
    server->connections[server->connection_count++] = connection;
    server->open++;
    pthread_cond_broadcast(&server->changed);
}

/* ---- the thread ---- */

static void obey(struct fake_server *server)
{
    uint64_t times;
    if (read(server->wake, &times, sizeof times) < 0)
        return;
    if (server->release) {
        server->release = false;
        release_held(server);
    }
    if (server->drop_all) {
        server->drop_all = false;
        if (server->refuse)
            shutdown(server->listener, SHUT_RD); /* stops listening and keeps the port */
        while (server->connection_count > 0)
            close_connection(server, &server->connections[0]);
        server->drops++;
        pthread_cond_broadcast(&server->changed);
    }
    for (size_t i = server->connection_count; i-- > 0;) {
        if (!take_input(server, &server->connections[i])) /* what had to wait */
            close_connection(server, &server->connections[i]);
    }
}

static void *run(void *arg)
{
    struct fake_server *server = arg;
    struct pollfd polls[CONNECTIONS_MAX + 2];
    pthread_mutex_lock(&server->lock);
    while (!server->stop) {
        size_t count = server->connection_count;
        polls[0] = (struct pollfd){.fd = server->wake, .events = POLLIN};
        polls[1] = (struct pollfd){.fd = server->refuse ? -1 : server->listener, .events = POLLIN};
        for (size_t i = 0; i < count; i++) {
            const struct connection *connection = &server->connections[i];
            bool reads = !connection->stuck && !(server->paused && connection->greeted) && connection->input_bytes < INPUT_BYTES;
            polls[i + 2] = (struct pollfd){.fd = reads ? connection->fd : -1, .events = POLLIN};
        }
        pthread_mutex_unlock(&server->lock);
        poll(polls, count + 2, -1);
        pthread_mutex_lock(&server->lock);
        for (size_t i = count; i-- > 0;) {
            if (polls[i + 2].revents && !receive(server, &server->connections[i]))
                close_connection(server, &server->connections[i]);
        }
        if (polls[1].revents & POLLIN)
            accept_one(server);
        if (polls[0].revents)
            obey(server);
    }
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

static void wake_up(struct fake_server *server)
{
    uint64_t one = 1;
    if (write(server->wake, &one, sizeof one) < 0)
        perror("fake server: eventfd");
}

/* ---- a grid of them ---- */

static int bind_socket(struct sockaddr_in *address)
{
    int one = 1, small = RECEIVE_BUFFER_BYTES; /* inherited by the connections */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (bind(fd, (struct sockaddr *)address, sizeof *address) == 0)
        return fd;
    close(fd);
    return -1;
}

/** A socket bound to a port of the kernel's choice, by its number: only so does it keep the port while it does not listen. */
static int bind_free_port(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int first = bind_socket(&address), fd = -1;
    if (first >= 0 && getsockname(first, (struct sockaddr *)&address, &bytes) == 0)
        fd = bind_socket(&address);
    if (first >= 0)
        close(first);
    *port = ntohs(address.sin_port);
    return fd;
}

static struct fake_server *server_open(uint32_t node, uint32_t nodes, uint64_t segment_size, uint16_t *port)
{
    struct fake_server *server = calloc(1, sizeof *server);
    server->node = node;
    server->nodes = nodes;
    server->segment_size = segment_size;
    server->hello.max_message = 4u << 20;
    server->memory = calloc(1, segment_size);
    server->sessions = fake_sessions_open();
    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&server->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    server->listener = bind_free_port(port);
    if (server->listener < 0 || listen(server->listener, 64) != 0 || pthread_create(&server->thread, NULL, run, server) != 0) {
        perror("fake server");
        return NULL;
    }
    return server;
}

static void server_close(struct fake_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->stop = true;
    pthread_mutex_unlock(&server->lock);
    wake_up(server);
    pthread_join(server->thread, NULL);
    while (server->connection_count > 0)
        close_connection(server, &server->connections[0]);
    while (server->held) {
        struct held *next = server->held->next;
        free(server->held->bytes);
        free(server->held);
        server->held = next;
    }
    close(server->listener);
    close(server->wake);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server->memory);
    fake_sessions_close(server->sessions);
    free(server);
}

bool fake_grid_open(struct fake_grid *grid, uint32_t nodes, uint64_t segment_size, const char *extra)
{
    *grid = (struct fake_grid){.nodes = nodes, .servers = calloc(nodes, sizeof *grid->servers)};
    snprintf(grid->directory, sizeof grid->directory, "/tmp/mcomp-fake-XXXXXX");
    if (!mkdtemp(grid->directory))
        return false;
    snprintf(grid->config_path, sizeof grid->config_path, "%s/mcomp.cfg", grid->directory);
    FILE *file = fopen(grid->config_path, "w");
    if (!file)
        return false;
    fprintf(file, "grid = \"fake\"\nsegment_size = %llu\nnodes = %u\n%s\n", (unsigned long long)segment_size, nodes, extra);
    for (uint32_t i = 0; i < nodes; i++) {
        uint16_t port = 0;
        grid->servers[i] = server_open(i, nodes, segment_size, &port);
        if (!grid->servers[i])
            return false;
        fprintf(file, "node %u { address = \"127.0.0.1:%u\" }\n", i, port);
    }
    return fclose(file) == 0;
}

void fake_grid_close(struct fake_grid *grid)
{
    for (uint32_t i = 0; i < grid->nodes; i++)
        server_close(grid->servers[i]);
    free(grid->servers);
    unlink(grid->config_path);
    rmdir(grid->directory);
}

/* ---- what a test asks of a server ---- */

void fake_server_script(struct fake_server *server, const struct fake_step *steps, size_t count)
{
    pthread_mutex_lock(&server->lock);
    server->step_at = 0;
    server->step_count = count < STEPS_MAX ? count : STEPS_MAX;
    memcpy(server->steps, steps, server->step_count * sizeof *steps);
    pthread_mutex_unlock(&server->lock);
}

void fake_server_hello(struct fake_server *server, const struct fake_hello *hello)
{
    pthread_mutex_lock(&server->lock);
    server->hello = *hello;
    if (server->hello.max_message == 0)
        server->hello.max_message = 4u << 20;
    pthread_mutex_unlock(&server->lock);
}

void fake_server_release(struct fake_server *server, bool reversed)
{
    pthread_mutex_lock(&server->lock);
    server->release = true;
    server->release_reversed = reversed;
    pthread_mutex_unlock(&server->lock);
    wake_up(server);
}

void fake_server_send(struct fake_server *server, const void *bytes, size_t count)
{
    pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < server->connection_count; i++) {
        if (server->connections[i].greeted)
            send_all(server, server->connections[i].fd, bytes, count);
    }
    pthread_mutex_unlock(&server->lock);
}

void fake_server_pause(struct fake_server *server, bool paused)
{
    pthread_mutex_lock(&server->lock);
    server->paused = paused;
    pthread_mutex_unlock(&server->lock);
    wake_up(server);
}

static bool wait_until(struct fake_server *server, const unsigned *counter, unsigned count)
{
    uint64_t until_ns = clock_mono_ns() + (uint64_t)WAIT_S * 1000000000u;
    struct timespec until = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
    int rc = 0;
    pthread_mutex_lock(&server->lock);
    while (*counter < count && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&server->changed, &server->lock, &until);
    pthread_mutex_unlock(&server->lock);
    return rc != ETIMEDOUT;
}

void fake_server_drop_all(struct fake_server *server, bool refuse)
{
    pthread_mutex_lock(&server->lock);
    unsigned drops = server->drops + 1;
    server->drop_all = true;
    server->refuse = refuse;
    pthread_mutex_unlock(&server->lock);
    wake_up(server);
    wait_until(server, &server->drops, drops);
}

void fake_server_listen(struct fake_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->refuse = false;
    if (listen(server->listener, 64) != 0)
        perror("fake server: listen");
    pthread_mutex_unlock(&server->lock);
    wake_up(server);
}

bool fake_server_wait_requests(struct fake_server *server, unsigned count)
{
    return wait_until(server, &server->requests, count);
}

static unsigned get(struct fake_server *server, const unsigned *counter)
{
    pthread_mutex_lock(&server->lock);
    unsigned value = *counter;
    pthread_mutex_unlock(&server->lock);
    return value;
}

unsigned fake_server_requests(struct fake_server *server)
{
    return get(server, &server->requests);
}

unsigned fake_server_connections(struct fake_server *server)
{
    return get(server, &server->accepted);
}

unsigned fake_server_client_faults(struct fake_server *server)
{
    return get(server, &server->client_faults);
}

unsigned fake_server_sessions(struct fake_server *server)
{
    pthread_mutex_lock(&server->lock);
    unsigned count = fake_sessions_count(server->sessions);
    pthread_mutex_unlock(&server->lock);
    return count;
}

unsigned fake_server_prepared(struct fake_server *server)
{
    pthread_mutex_lock(&server->lock);
    unsigned count = fake_sessions_prepared(server->sessions);
    pthread_mutex_unlock(&server->lock);
    return count;
}

struct fake_seen fake_server_seen(struct fake_server *server, unsigned i)
{
    pthread_mutex_lock(&server->lock);
    struct fake_seen seen = i < SEEN_MAX ? server->seen[i] : (struct fake_seen){0};
    pthread_mutex_unlock(&server->lock);
    return seen;
}

void fake_server_peek(struct fake_server *server, uint64_t offset, void *to, size_t bytes)
{
    pthread_mutex_lock(&server->lock);
    memcpy(to, server->memory + offset, bytes);
    pthread_mutex_unlock(&server->lock);
}

void fake_server_poke(struct fake_server *server, uint64_t offset, const void *from, size_t bytes)
{
    pthread_mutex_lock(&server->lock);
    memcpy(server->memory + offset, from, bytes);
    pthread_mutex_unlock(&server->lock);
}
