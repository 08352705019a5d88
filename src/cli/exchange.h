/* SPDX-License-Identifier: Apache-2.0 */
/** A client of the exchange (snapshot.proto): connections to snapshot processes, one request at a time on each. Blocks, but never beyond a deadline.
 *  Look-ups of host names are the exception: they take what the system's resolver takes. */
#ifndef CLI_EXCHANGE_H
#define CLI_EXCHANGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"
#include "snapshot.pb-c.h"

#define EXCHANGE_ANSWER_BYTES_MAX (8u << 20) /* a list of 4096 files takes half of it */
#define EXCHANGE_NO_DEADLINE UINT64_MAX

typedef Mcomp__Snapshot__V1__Request exchange_request;
typedef Mcomp__Snapshot__V1__Response exchange_response;

/** A connection. One thread. Zeroed, or after a failed exchange_open: may be closed. */
struct exchange {
    const struct config *config; /* borrowed; NULL: not open */
    uint32_t node;
    int fd;               /* owned */
    uint64_t id;          /* of the last request */
    uint8_t *in;          /* owned; what has arrived */
    size_t filled, room;
};

/** Connect to a node's snapshot process until deadline_ns (monotonic).
 *  Errors: UNAVAILABLE, DEADLINE_EXCEEDED naming node and address; FAILED_PRECONDITION the node has no snapshot_address. */
MUST_CHECK enum mcomp_status exchange_open(struct exchange *exchange, const struct config *config, uint32_t node, uint64_t deadline_ns,
                                           struct err *err);
void exchange_close(struct exchange *exchange);

/** Send a request; its id and grid are filled in here. Errors: as of open; the connection is of no more use. */
MUST_CHECK enum mcomp_status exchange_send(struct exchange *exchange, exchange_request *request, uint64_t deadline_ns, struct err *err);

/** Wait for the answer to the request that was sent last. OK: *response is there, whatever status it has; the caller frees it by
 *  mcomp__snapshot__v1__response__free_unpacked. Errors: DEADLINE_EXCEEDED (the call may be repeated, nothing is lost); UNAVAILABLE the connection
 *  broke; DATA_LOSS the answer makes no sense. */
MUST_CHECK enum mcomp_status exchange_receive(struct exchange *exchange, uint64_t deadline_ns, exchange_response **response, struct err *err);

/** The status of an answer as an error of ours, with node and address; UNIMPLEMENTED when it is OK and the result is not `result`. */
MUST_CHECK enum mcomp_status exchange_judge(const struct exchange *exchange, const exchange_response *response,
                                            Mcomp__Snapshot__V1__Response__ResultCase result, struct err *err);

/** Send, receive and judge; on OK the caller frees *response. Errors: those of the three. */
MUST_CHECK enum mcomp_status exchange_ask(struct exchange *exchange, exchange_request *request, Mcomp__Snapshot__V1__Response__ResultCase result,
                                          uint64_t deadline_ns, exchange_response **response, struct err *err);

/** Ask for the state of the round. As exchange_ask. */
MUST_CHECK enum mcomp_status exchange_ask_round(struct exchange *exchange, uint64_t deadline_ns, exchange_response **response, struct err *err);

/** Connect to the leader: node 0 is asked who leads, and the next one if it cannot be reached. *round: what the leader says of its round; the caller
 *  frees it. timeout_ns: for each connection with its question, 0 = none.
 *  Errors: UNAVAILABLE or DEADLINE_EXCEEDED when no node, or none that leads, can be reached; what else a node answered. */
MUST_CHECK enum mcomp_status exchange_open_leader(struct exchange *exchange, const struct config *config, uint64_t timeout_ns,
                                                  exchange_response **round, struct err *err);

/** timeout_ns from now; 0 = no deadline. */
uint64_t exchange_deadline(uint64_t timeout_ns);

#endif
