/* SPDX-License-Identifier: Apache-2.0 */
#include "client/lanes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/transact.h"

static void put_id(const struct lane *lane, struct lane_id *id)
{
    *id = (struct lane_id){lane->session->number, lane->number, lane->session->generation, lane->sequence};
}

static void choose_client(struct mcomp_queue *queue, uint8_t *client)
{
    if (getrandom(client, SESSION_CLIENT_BYTES, GRND_NONBLOCK) == (ssize_t)SESSION_CLIENT_BYTES)
        return;
    for (unsigned i = 0; i < SESSION_CLIENT_BYTES; i++)
        client[i] = (uint8_t)(queue_random(queue) >> 24);
}

static void forget(struct session *session)
{
    struct session **at = &session->conn->sessions;
    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
    free(session);
}

static void link_lanes(struct session *session)
{
    session->free_lanes = NULL;
    for (uint8_t i = LANES; i-- > 0;) {
        struct lane *lane = &session->lanes[i];
        *lane = (struct lane){.session = session, .next_free = session->free_lanes, .number = i};
        session->free_lanes = lane;
    }
}

/* ---- opening ---- */

/** Ask for the session, under its name. false: no memory. */
static bool ask(struct session *session)
{
    struct mcomp_queue *queue = session->conn->queue;
    struct op *op = op_internal(queue, OP_SESSION);
    if (!op)
        return false;
    struct piece *piece = op_add_piece(op, session->conn, WIRE_OP_OPEN_SESSION);
    if (!piece) {
        op_end_internal(op);
        return false;
    }
    op->session = session;
    session->op = op;
    session->piece = piece;
    session->state = SESSION_OPENING;
    conn_append(session->conn, piece);
    return true;
}

static void open_another(struct conn *conn)
{
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        return;
    choose_client(conn->queue, session->client);
    session->conn = conn;
    session->next = conn->sessions;
    conn->sessions = session;
    if (!ask(session))
        forget(session);
}

/** Whether the node may have forgotten it. */
static bool is_doubtful(const struct session *session)
{
    const struct conn *conn = session->conn;
    uint64_t idle_ns = conn->queue->now_ns - session->contact_ns;
    if (conn->queue->now_ns < session->contact_ns)
        return false;
    return idle_ns > SESSION_IDLE_NS || (idle_ns > SESSION_LOST_NS && (session->epoch != conn->epoch || conn->state != CONN_READY));
}

/** One with a free lane, if there is one. *opening: there soon will be. Doubtful ones that nothing is under way in are asked for anew. */
static struct session *find_open(struct conn *conn, bool *opening)
{
    struct session *found = NULL;
    *opening = false;
    for (struct session *session = conn->sessions; session; session = session->next) {
        bool usable = session->state == SESSION_OPEN && session->free_lanes;
        if (usable && is_doubtful(session)) {
            if (found || session->busy > 0)
                continue;
            if (ask(session))
                *opening = true;
        } else if (usable && !found) {
            found = session;
        } else if (session->state == SESSION_OPENING) {
            *opening = true;
        }
    }
    return found;
}

bool lane_is_free(struct conn *conn)
{
    bool opening;
    if (find_open(conn, &opening))
        return true;
    if (!opening && conn->queue->now_ns >= conn->session_retry_ns)
        open_another(conn);
    return false;
}

bool session_is_coming(const struct conn *conn)
{
    return sessions_piece(conn);
}

const struct err *sessions_error(const struct conn *conn)
{
    return &conn->session_error;
}

const struct piece *sessions_piece(const struct conn *conn)
{
    for (const struct session *session = conn->sessions; session; session = session->next) {
        if (session->state == SESSION_OPENING)
            return session->piece;
    }
    return NULL;
}

void sessions_unwanted(struct conn *conn)
{
    for (struct session *session = conn->sessions, *next; session; session = next) {
        next = session->next;
        if (session->state != SESSION_OPENING || session->piece->state != PIECE_WAITING)
            continue;
        op_end_internal(session->op);
        forget(session);
    }
}

uint8_t *session_encode_open(uint8_t *out, const struct piece *piece, uint32_t timeout_ms)
{
    Mcomp__V1__OpenSession open = MCOMP__V1__OPEN_SESSION__INIT;
    Mcomp__V1__Request request = MCOMP__V1__REQUEST__INIT;
    open.client = (ProtobufCBinaryData){SESSION_CLIENT_BYTES, piece->op->session->client};
    request.id = piece->id;
    request.timeout_ms = timeout_ms;
    request.op_case = MCOMP__V1__REQUEST__OP_OPEN_SESSION;
    request.open_session = &open;
    return wire_put_message(out, &request.base);
}

bool session_take_result(struct piece *piece, const struct wire_response *response)
{
    const Mcomp__V1__OpenSessionResult *result = response->full->open_session;
    struct session *session = piece->op->session;
    if (result->generation == 0 || result->lanes < LANES)
        return false;
    if (session->generation != result->generation || session->number != result->session)
        link_lanes(session); /* their sequences begin anew */
    session->generation = result->generation;
    session->number = result->session;
    return true;
}

void session_piece_done(struct piece *piece)
{
    struct session *session = piece->op->session;
    struct conn *conn = session->conn;
    op_drop_piece(piece);
    op_end_internal(session->op);
    session->op = NULL;
    session->piece = NULL;
    session->state = SESSION_OPEN;
    conn->session_error.code = MCOMP_OK;
    conn->session_failures = 0;
    session->contact_ns = conn->queue->now_ns;
    session->epoch = conn->epoch;
    transact_lanes_free(conn->queue);
}

void session_piece_failed(struct piece *piece, const struct err *why)
{
    struct session *session = piece->op->session;
    struct conn *conn = session->conn;
    struct mcomp_queue *queue = conn->queue;
    conn->session_error = *why;
    conn->session_failures++;
    conn->session_retry_ns = queue->now_ns + conn_backoff_ns(conn, conn->session_failures);
    op_drop_piece(piece);
    op_end_internal(session->op);
    forget(session);
    transact_no_session(queue, conn);
}

/* ---- lanes ---- */

struct lane *lane_take(struct conn *conn, struct lane_id *id)
{
    bool opening;
    struct session *session = find_open(conn, &opening);
    MC_ASSERT(session);
    struct lane *lane = session->free_lanes;
    session->free_lanes = lane->next_free;
    session->busy++;
    lane->sequence++;
    put_id(lane, id);
    return lane;
}

void lane_give(struct lane *lane, bool finished)
{
    struct session *session = lane->session;
    MC_ASSERT(session->busy > 0);
    session->busy--;
    if (!finished)
        session->state = SESSION_DEAD;
    if (session->state == SESSION_OPEN) {
        lane->next_free = session->free_lanes;
        session->free_lanes = lane;
    } else if (session->busy == 0) {
        forget(session);
    }
}

void lane_session_gone(struct lane *lane)
{
    lane->session->state = SESSION_DEAD;
}

void lane_contact(struct lane *lane)
{
    struct session *session = lane->session;
    session->contact_ns = session->conn->queue->now_ns;
    session->epoch = session->conn->epoch;
}

/* ---- the end ---- */

static void send_close(struct conn *conn, const struct session *session)
{
    uint8_t bytes[WIRE_HEADER_BYTES];
    Mcomp__V1__CloseSession close = MCOMP__V1__CLOSE_SESSION__INIT;
    Mcomp__V1__Request request = MCOMP__V1__REQUEST__INIT;
    close.session = session->number;
    close.generation = session->generation;
    request.id = ID_HELLO; /* nobody waits for the answer */
    request.op_case = MCOMP__V1__REQUEST__OP_CLOSE_SESSION;
    request.close_session = &close;
    conn_send_last(conn, bytes, (size_t)(wire_put_message(bytes, &request.base) - bytes));
}

void sessions_close(struct conn *conn)
{
    while (conn->sessions) {
        struct session *session = conn->sessions;
        if (session->state == SESSION_OPEN && session->busy == 0 && conn->state == CONN_READY && !conn->broken)
            send_close(conn, session);
        if (session->state == SESSION_OPENING)
            op_end_internal(session->op);
        forget(session);
    }
}
