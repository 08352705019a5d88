/* SPDX-License-Identifier: Apache-2.0 */
/** What an answer means for the piece that it is for. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "client/transact.h"

bool conn_fault(struct conn *conn, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    err_set(&conn->fault, MCOMP_INTERNAL, "it sent what makes no sense, so the connection was dropped: %s", text);
    return false;
}

void conn_explain(const struct wire_response *response, struct err *why)
{
    char text[ERR_TEXT_BYTES / 2];
    const Mcomp__V1__Response *full = response->full;
    if (response->message)
        text_show(text, sizeof text, response->message, response->message_bytes);
    else
        snprintf(text, sizeof text, "%s", status_text(response->status));
    err_set(why, response->status, "%s", text);
    if (response->status == MCOMP_WRONG_NODE && full && full->result_case == MCOMP__V1__RESPONSE__RESULT_WRONG_NODE) {
        char address[TEXT_QUOTE_BYTES];
        err_set(why, response->status, "%s (it says that they belong to node %" PRIu32 ", %s)", text, full->wrong_node->node,
                text_quote(full->wrong_node->address, address));
    }
}

struct piece *conn_find(struct conn *conn, uint64_t id)
{
    struct piece *piece = slots_find(&conn->queue->slots, id);
    if (piece && piece->conn == conn && piece != conn->partly)
        return piece;
    conn_fault(conn, "an answer to request %" PRIu64 ", which is not under way", id);
    return NULL;
}

/** The piece is under way no more. */
static void leave(struct conn *conn, const struct piece *piece)
{
    conn->under_way--;
    conn->under_way_bytes -= piece->length;
    if (conn->head)
        conn_mark_dirty(conn); /* the window is open */
    if (!conn->answered) {
        conn->answered = true;
        conn->attempts = 0;
    }
}

void conn_piece_answered(struct conn *conn, struct piece *piece)
{
    leave(conn, piece);
    if (conn->refusals > 0 && conn->resume_ns <= conn->queue->now_ns)
        conn->refusals = 0;
    if (piece->state == PIECE_GHOST)
        slots_give(&conn->queue->slots, piece);
    else
        op_piece_done(piece);
}

/** "Nothing was done", says the protocol of these. */
static bool nothing_was_done(enum mcomp_status status)
{
    switch (status) {
    case MCOMP_INVALID_ARGUMENT:
    case MCOMP_DEADLINE_EXCEEDED:
    case MCOMP_RESOURCE_EXHAUSTED:
    case MCOMP_FAILED_PRECONDITION:
    case MCOMP_OUT_OF_RANGE:
    case MCOMP_UNIMPLEMENTED:
    case MCOMP_UNAVAILABLE:
    case MCOMP_WRONG_NODE:
        return true;
    default:
        return false;
    }
}

static void take_failure(struct conn *conn, struct piece *piece, const struct wire_response *response)
{
    struct err why;
    leave(conn, piece);
    if (piece->state == PIECE_GHOST) {
        slots_give(&conn->queue->slots, piece);
        return;
    }
    conn_explain(response, &why);
    bool try_again = response->status == MCOMP_RESOURCE_EXHAUSTED || response->status == MCOMP_UNAVAILABLE;
    if (try_again && piece->kind != WIRE_OP_OPEN_SESSION) { /* that a node has no session left need not stop what needs none */
        conn_prepend(conn, piece);
        conn_pause(conn, &why);
        return;
    }
    op_piece_failed(piece, nothing_was_done(response->status) ? MCOMP_NOT_DONE : MCOMP_MAYBE, &why);
}

/** Take what an OK answer brings. false: it does not fit the request. */
static bool take_result(struct piece *piece, const struct wire_response *response)
{
    if (piece->op->role == OP_ATTEMPT)
        return response->result == WIRE_OP_EXECUTE && attempt_take_result(piece, response);
    if (response->result != (enum wire_op)piece->kind)
        return false;
    switch ((enum wire_op)piece->kind) {
    case WIRE_OP_READ:
        if (response->data_bytes != piece->length)
            return false;
        memcpy(piece->data, response->data, piece->length);
        return true;
    case WIRE_OP_FETCH_ADD:
        piece->op->value = response->value;
        return true;
    case WIRE_OP_COMPARE_AND_SWAP:
        piece->op->value = response->value;
        return response->swapped == (response->value == piece->operand);
    case WIRE_OP_MULTI:
        return multi_take_result(piece, response->full->multi);
    case WIRE_OP_STATUS:
        node_status_take(piece->status, piece->conn->node, response->full->node_status);
        piece->status->round_trip_ns = clock_mono_ns() - piece->sent_ns;
        return true;
    case WIRE_OP_LIST_TRANSACTIONS:
        prepared_take(piece->prepared, response->full->list_transactions);
        return true;
    case WIRE_OP_OPEN_SESSION:
        return session_take_result(piece, response);
    default:
        return true;
    }
}

/** An answer to a read in its usual shape, without decoding anything else. */
static bool take_read(struct conn *conn, uint64_t id, const uint8_t *data, uint64_t data_bytes)
{
    struct piece *piece = conn_find(conn, id);
    if (!piece)
        return false;
    if (piece->kind != WIRE_OP_READ || piece->length != data_bytes)
        return conn_fault(conn, "%" PRIu64 " bytes of data do not answer what was asked", data_bytes);
    if (piece->state == PIECE_SENT)
        memcpy(piece->data, data, data_bytes);
    conn_piece_answered(conn, piece);
    return true;
}

/** What a node says unasked, before it closes the connection. Returns false. */
static bool take_last_words(struct conn *conn, const struct wire_response *response)
{
    struct err why;
    bool try_again = response->status == MCOMP_RESOURCE_EXHAUSTED || response->status == MCOMP_UNAVAILABLE;
    conn_explain(response, &why);
    err_set(&conn->fault, try_again ? MCOMP_UNAVAILABLE : MCOMP_INTERNAL, "it closed the connection, and says: %s", why.text);
    conn->broken = try_again; /* lost like any other: nothing here makes no sense */
    return false;
}

bool conn_answer(struct conn *conn, const uint8_t *body, size_t bytes)
{
    struct wire_response response;
    uint64_t id, data_bytes;
    size_t data_at;
    if (conn->state == CONN_READY && wire_response_peek_read(body, bytes, bytes, &id, &data_at, &data_bytes))
        return take_read(conn, id, body + data_at, data_bytes);
    if (!wire_response_decode(&response, body, bytes, &conn->queue->receive_arena))
        return conn_fault(conn, "a message of %zu bytes is malformed", bytes);
    if (response.id == 0 && response.status != MCOMP_OK)
        return take_last_words(conn, &response);
    if (conn->state == CONN_HELLO)
        return hello_take(conn, &response);
    struct piece *piece = conn_find(conn, response.id);
    if (!piece)
        return false;
    if (response.status != MCOMP_OK) {
        take_failure(conn, piece, &response);
        return true;
    }
    if (piece->state == PIECE_SENT && !take_result(piece, &response))
        return conn_fault(conn, "an answer does not fit its request");
    conn_piece_answered(conn, piece);
    return true;
}
