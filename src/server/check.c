/* SPDX-License-Identifier: Apache-2.0 */
/** Every check of a request, made once at the edge; what runs later only asserts. */
#include "server/exec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "server/exec_txn.h"

enum mcomp_status exec_check_range(const struct exec *exec, uint64_t address, uint64_t length, struct err *err)
{
    uint64_t grid_bytes = config_grid_bytes(exec->config);
    if (address > grid_bytes || length > grid_bytes - address)
        return err_set(err, MCOMP_OUT_OF_RANGE,
                       "range 0x%" PRIx64 " + %" PRIu64 " leaves the grid, which ends at 0x%" PRIx64, address, length, grid_bytes);
    if (length == 0)
        return MCOMP_OK;
    if (address < exec->base || address >= exec->base + exec->size)
        return err_set(err, MCOMP_WRONG_NODE, "address 0x%" PRIx64 " belongs to node %" PRIu64 ", this is node %u", address,
                       address / exec->size, exec->node);
    if (length > exec->base + exec->size - address)
        return err_set(err, MCOMP_WRONG_NODE, "range 0x%" PRIx64 " + %" PRIu64 " continues on node %u: split it at 0x%" PRIx64,
                       address, length, exec->node + 1, exec->base + exec->size);
    return MCOMP_OK;
}

static enum mcomp_status check_length(const struct exec *exec, uint64_t length, struct err *err)
{
    if (length > exec->max_message)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "length %" PRIu64 " is over max_message, %" PRIu64 ": split the request", length,
                       exec->max_message);
    return MCOMP_OK;
}

static int compare_writes(const void *left, const void *right)
{
    const Mcomp__V1__Write *a = *(Mcomp__V1__Write *const *)left, *b = *(Mcomp__V1__Write *const *)right;
    return a->address < b->address ? -1 : a->address > b->address;
}

/** The writes of a Multi do not overlap. Sorts them by address, which changes nothing: their order has no meaning. */
static enum mcomp_status check_overlap(Mcomp__V1__Multi *multi, struct err *err)
{
    if (multi->n_writes > 1) /* qsort takes no null array, not even an empty one */
        qsort(multi->writes, multi->n_writes, sizeof *multi->writes, compare_writes);
    uint64_t end = 0; /* of the last write that is not empty */
    for (size_t i = 0; i < multi->n_writes; i++) {
        const Mcomp__V1__Write *write = multi->writes[i];
        if (write->data.len == 0)
            continue;
        if (write->address < end)
            return err_set(err, MCOMP_INVALID_ARGUMENT, "two writes of one request overlap at 0x%" PRIx64, write->address);
        end = write->address + write->data.len;
    }
    return MCOMP_OK;
}

static enum mcomp_status check_multi(const struct exec *exec, Mcomp__V1__Multi *multi, struct err *err)
{
    if (multi->n_reads > MULTI_RANGES_MAX || multi->n_writes > MULTI_RANGES_MAX - multi->n_reads)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%zu ranges are more than %u: split the request",
                       multi->n_reads + multi->n_writes, MULTI_RANGES_MAX);
    uint64_t total = 0;
    for (size_t i = 0; i < multi->n_reads + multi->n_writes; i++) {
        bool is_read = i < multi->n_reads;
        const Mcomp__V1__Write *write = is_read ? NULL : multi->writes[i - multi->n_reads];
        uint64_t address = is_read ? multi->reads[i]->address : write->address;
        uint64_t length = is_read ? multi->reads[i]->length : write->data.len;
        enum mcomp_status code = exec_check_range(exec, address, length, err);
        if (code != MCOMP_OK)
            return code;
        total += length; /* cannot overflow: each length is at most k·N < 2^63, and the loop ends above max_message */
        code = check_length(exec, total, err);
        if (code != MCOMP_OK)
            return code;
    }
    return check_overlap(multi, err);
}

static enum mcomp_status check_hello(const struct exec *exec, const Mcomp__V1__Hello *hello, struct err *err)
{
    const struct config *config = exec->config;
    char quoted[TEXT_QUOTE_BYTES];
    if (hello->protocol_version == 0)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "protocol version 0: state the highest version you speak, 1 or more");
    if (hello->grid && hello->grid[0] && strcmp(hello->grid, config->grid) != 0)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "grid: yours is %s, this node's is \"%s\"", text_quote(hello->grid, quoted),
                       config->grid);
    if (hello->segment_size && hello->segment_size != config->segment_size)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "segment_size: yours is %" PRIu64 ", this node's is %" PRIu64,
                       hello->segment_size, config->segment_size);
    if (hello->nodes && hello->nodes != config->nodes)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "nodes: yours is %u, this node's is %u", hello->nodes, config->nodes);
    if (hello->node_plus_one && hello->node_plus_one - 1 != exec->node)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "you mean to reach node %u, this is node %u", hello->node_plus_one - 1,
                       exec->node);
    return MCOMP_OK;
}

static enum mcomp_status check_restore_id(uint64_t id, struct err *err)
{
    return id ? MCOMP_OK : err_set(err, MCOMP_INVALID_ARGUMENT, "restore_id 0: choose a number at random, the same for all nodes");
}

static enum mcomp_status check_restore_data(const struct exec *exec, const struct wire_request *request, struct err *err)
{
    uint64_t zeros = request->desired;
    enum mcomp_status code = check_restore_id(request->operand, err);
    if (code == MCOMP_OK)
        code = check_length(exec, request->length, err);
    if (code != MCOMP_OK)
        return code;
    if (zeros > RESTORE_ZEROS_MAX)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%" PRIu64 " zeros are more than %u: split the request", zeros, RESTORE_ZEROS_MAX);
    if ((request->address | request->length | zeros) % PAGE_BYTES)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "a restore goes by whole pages: address, data and zeros must be multiples of %u", PAGE_BYTES);
    return exec_check_range(exec, request->address, request->length + zeros, err);
}

static enum mcomp_status check_restore_end(const Mcomp__V1__RestoreEnd *end, struct err *err)
{
    if (end->phase != MCOMP__V1__RESTORE_END__PHASE__PHASE_COMPLETE && end->phase != MCOMP__V1__RESTORE_END__PHASE__PHASE_SERVE)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "phase %d is none that %s knows", (int)end->phase, SERVER_NAME);
    return check_restore_id(end->restore_id, err);
}

enum mcomp_status exec_check(const struct exec *exec, const struct exec_caller *caller, const struct wire_request *request, struct err *err)
{
    if (!caller->hello_done && request->op != WIRE_OP_HELLO && request->op != WIRE_OP_STATUS && request->op != WIRE_OP_NONE)
        return err_set(err, MCOMP_FAILED_PRECONDITION, "the first request on a connection is Hello");
    enum mcomp_status code;
    switch (request->op) {
    case WIRE_OP_READ:
    case WIRE_OP_WRITE:
        code = exec_check_range(exec, request->address, request->length, err);
        return code == MCOMP_OK ? check_length(exec, request->length, err) : code;
    case WIRE_OP_FETCH_ADD:
    case WIRE_OP_COMPARE_AND_SWAP:
        return exec_check_range(exec, request->address, ATOMIC_WORD_BYTES, err);
    case WIRE_OP_MULTI:
        return check_multi(exec, request->full->multi, err);
    case WIRE_OP_HELLO:
        return check_hello(exec, request->full->hello, err);
    case WIRE_OP_STATUS:
        return MCOMP_OK;
    case WIRE_OP_RESTORE_BEGIN:
        return check_restore_id(request->full->restore_begin->restore_id, err);
    case WIRE_OP_RESTORE_DATA:
        return check_restore_data(exec, request, err);
    case WIRE_OP_RESTORE_END:
        return check_restore_end(request->full->restore_end, err);
    case WIRE_OP_OPEN_SESSION:
    case WIRE_OP_CLOSE_SESSION:
    case WIRE_OP_EXECUTE:
    case WIRE_OP_PREPARE:
    case WIRE_OP_DECIDE:
    case WIRE_OP_RESOLVE:
    case WIRE_OP_LIST_TRANSACTIONS:
        return exec_txn_check(exec, caller, request, err);
    case WIRE_OP_NONE:
    case WIRE_OP_COUNT:
        break;
    }
    return err_set(err, MCOMP_UNIMPLEMENTED, "the request has no operation that %s knows", SERVER_NAME);
}
