/* SPDX-License-Identifier: Apache-2.0 */
/** The first exchange on a connection: do both sides mean the same grid? */
#include "client/engine.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"

#define PROTOCOL_VERSION 1u

void hello_put(struct conn *conn)
{
    const struct mcomp *grid = conn->queue->grid;
    Mcomp__V1__Hello hello = MCOMP__V1__HELLO__INIT;
    Mcomp__V1__Request request = MCOMP__V1__REQUEST__INIT;
    hello.protocol_version = PROTOCOL_VERSION;
    hello.grid = (char *)grid->config.grid; /* not changed */
    hello.segment_size = grid->config.segment_size;
    hello.nodes = grid->config.nodes;
    hello.node_plus_one = conn->node + 1;
    hello.client = (char *)grid->client_name;
    request.id = ID_HELLO;
    request.timeout_ms = grid->connect_timeout_ms;
    request.op_case = MCOMP__V1__REQUEST__OP_HELLO;
    request.hello = &hello;
    MC_ASSERT(wire_message_frame_bytes(&request.base) <= sizeof conn->rest);
    conn->rest_at = 0;
    conn->rest_end = (size_t)(wire_put_message(conn->rest, &request.base) - conn->rest);
}

/** What the node says of itself agrees with our configuration. */
static enum mcomp_status check(const struct conn *conn, const Mcomp__V1__HelloResult *result, struct err *err)
{
    const struct config *config = &conn->queue->grid->config;
    if (result->protocol_version != PROTOCOL_VERSION)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "it speaks protocol version %" PRIu32 ", we speak %u", result->protocol_version,
                       PROTOCOL_VERSION);
    if (strcmp(result->grid, config->grid) != 0) {
        char quoted[TEXT_QUOTE_BYTES];
        return err_set(err, MCOMP_FAILED_PRECONDITION, "its grid is %s, ours is \"%s\"", text_quote(result->grid, quoted), config->grid);
    }
    if (result->segment_size != config->segment_size)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "its segment_size is %" PRIu64 ", ours is %" PRIu64, result->segment_size,
                       config->segment_size);
    if (result->nodes != config->nodes)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "it counts %" PRIu32 " nodes, we count %" PRIu32, result->nodes, config->nodes);
    if (result->node != conn->node)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "it is node %" PRIu32 ", we mean node %" PRIu32, result->node, conn->node);
    if (result->max_message < MESSAGE_BYTES_MIN)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "its max_message is %" PRIu64 ", less than %u", result->max_message,
                       MESSAGE_BYTES_MIN);
    return MCOMP_OK;
}

bool hello_take(struct conn *conn, const struct wire_response *response)
{
    const struct config *config = &conn->queue->grid->config;
    struct err why;
    if (response->id != ID_HELLO || (response->status == MCOMP_OK && response->result != WIRE_OP_HELLO))
        return conn_fault(conn, "the first answer is not to Hello");
    if (response->status == MCOMP_RESOURCE_EXHAUSTED || response->status == MCOMP_UNAVAILABLE) {
        conn_explain(response, &conn->fault);
        return false; /* this attempt has failed; there will be another */
    }
    if (response->status != MCOMP_OK) {
        conn_explain(response, &why);
        conn_refused(conn, &why);
        return false;
    }
    const Mcomp__V1__HelloResult *result = response->full->hello;
    if (check(conn, result, &why) != MCOMP_OK) {
        err_wrap(&why, why.code, "configurations differ");
        conn_refused(conn, &why);
        return false;
    }
    conn_ready(conn, result->max_message < config->server.max_message ? result->max_message : config->server.max_message);
    return true;
}
