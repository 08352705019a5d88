/* SPDX-License-Identifier: Apache-2.0 */
/** Messages of transactions, and what their answers mean. */
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "client/transact.h"

/* ---- requests ---- */

static struct wire_txn_id wire_id(const struct lane_id *id)
{
    return (struct wire_txn_id){.session = id->session, .lane = id->lane, .generation = id->generation, .sequence = id->sequence};
}

/** Compares, and writes. */
static bool fill_bytes(struct wire_bytes **bytes, uint32_t *count, const struct mcomp_txn *txn, const struct txn_share *share, enum txn_kind kind,
                       struct arena *arena)
{
    *count = share_count(share, kind);
    *bytes = arena_alloc(arena, *count * sizeof **bytes);
    for (uint32_t i = 0; *bytes && i < *count; i++) {
        const struct txn_part *part = &txn->parts[share->first[kind] + i];
        (*bytes)[i] = (struct wire_bytes){part->address, part->length, txn->items[part->item].data + part->offset};
    }
    return *bytes;
}

static bool fill_items(struct wire_txn *to, const struct mcomp_txn *txn, const struct txn_share *share, struct arena *arena)
{
    if (!fill_bytes(&to->compares, &to->compare_count, txn, share, TXN_KIND_COMPARE, arena) ||
        !fill_bytes(&to->writes, &to->write_count, txn, share, TXN_KIND_WRITE, arena))
        return false;
    to->read_count = share_count(share, TXN_KIND_READ);
    to->add_count = share_count(share, TXN_KIND_ADD);
    to->reads = arena_alloc(arena, to->read_count * sizeof *to->reads);
    to->adds = arena_alloc(arena, to->add_count * sizeof *to->adds);
    if (!to->reads || !to->adds)
        return false;
    for (uint32_t i = 0; i < to->read_count; i++) {
        const struct txn_part *part = &txn->parts[share->first[TXN_KIND_READ] + i];
        to->reads[i] = (struct wire_range){part->address, part->length};
    }
    for (uint32_t i = 0; i < to->add_count; i++) {
        const struct txn_part *part = &txn->parts[share->first[TXN_KIND_ADD] + i];
        to->adds[i] = (struct wire_add){part->address, txn->items[part->item].delta};
    }
    return true;
}

static bool fill_participants(struct wire_txn *to, const struct attempt *attempt, struct arena *arena)
{
    to->participant_count = attempt->count;
    to->participants = arena_alloc(arena, attempt->count * sizeof *to->participants);
    for (uint32_t i = 0; to->participants && i < attempt->count; i++) {
        const struct lane_participant *who = &attempt->part[i].who;
        to->participants[i] = (struct wire_participant){.node = who->node, .has_id = true, .id = wire_id(&who->id)};
    }
    return to->participants;
}

/** Where there is room, else in memory of its own. Returns the end of what stands in `out`; NULL: no memory. */
static uint8_t *put_frame(uint8_t *out, size_t room, struct piece *piece, uint32_t timeout_ms, const struct wire_txn *txn)
{
    enum wire_op op = (enum wire_op)piece->kind;
    size_t bytes = wire_txn_frame_bytes(piece->id, timeout_ms, op, txn);
    if (bytes <= room)
        return wire_put_txn(out, piece->id, timeout_ms, op, txn);
    piece->frame = malloc(bytes);
    if (!piece->frame)
        return NULL;
    piece->frame_bytes = bytes;
    wire_put_txn(piece->frame, piece->id, timeout_ms, op, txn);
    return out;
}

uint8_t *txn_encode_vote(uint8_t *out, size_t room, struct piece *piece, uint32_t timeout_ms, struct arena *arena)
{
    const struct attempt *attempt = piece->op->attempt;
    const struct mcomp_txn *txn = attempt->run->txn;
    struct wire_txn request = {.has_id = true, .id = wire_id(&attempt->part[piece->first].who.id)};
    bool ok = fill_items(&request, txn, &txn->shares[piece->first], arena) &&
              (piece->kind == WIRE_OP_EXECUTE || fill_participants(&request, attempt, arena));
    uint8_t *end = ok ? put_frame(out, room, piece, timeout_ms, &request) : NULL;
    arena_reset(arena);
    return end;
}

uint8_t *txn_encode_other(uint8_t *out, const struct piece *piece, uint32_t timeout_ms)
{
    const struct attempt *attempt = piece->op->attempt;
    const struct coordinator_part *part = &attempt->part[piece->first];
    bool decide = piece->kind == WIRE_OP_DECIDE;
    struct wire_txn request = {.has_id = true,
                               .commit = decide && piece->writes,
                               .want_answer = attempt->run && !part->answered && (piece->writes || !decide),
                               .id = wire_id(&part->who.id)};
    return wire_put_txn(out, piece->id, timeout_ms, (enum wire_op)piece->kind, &request);
}

/* ---- answers ---- */

static enum lane_reason reason_of(int reason)
{
    switch (reason) {
    case MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_BUSY:
        return LANE_BUSY;
    case MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_COMPARE:
        return LANE_COMPARE;
    case MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_FROZEN:
        return LANE_FROZEN;
    case MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_MEMORY:
        return LANE_MEMORY;
    case MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_TOLD:
        return LANE_TOLD;
    case MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_FORCED:
        return LANE_FORCED;
    default:
        return LANE_REASON_NONE;
    }
}

bool txn_answer_of(const struct wire_txn_result *result, struct txn_answer *answer)
{
    *answer = (struct txn_answer){.says = TXN_MISUSE};
    switch (result->outcome) {
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_COMMITTED:
        answer->says = TXN_COMMITTED;
        return true;
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_PREPARED:
        answer->says = TXN_PREPARED;
        return true;
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_ABORTED:
        answer->says = TXN_ABORTED;
        answer->reason = reason_of(result->reason);
        answer->failed_compare = result->failed_count ? result->failed[0] : 0;
        return true;
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_NO_SESSION:
        answer->says = TXN_NO_SESSION;
        return true;
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_STALE:
        answer->says = TXN_STALE;
        return true;
    case MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_MISUSE:
        return true;
    default:
        return false;
    }
}

/** All compares of the share held. Of a compare on several nodes this is only a part: a part that differs decides, wherever it is. */
static void all_held(struct mcomp_txn *txn, const struct txn_share *share)
{
    for (uint32_t i = share->first[TXN_KIND_COMPARE]; i < share->first[TXN_KIND_COMPARE + 1]; i++) {
        struct txn_verdict *verdict = &txn->verdicts[txn->items[txn->parts[i].item].number];
        if (verdict->result == MCOMP_TXN_NOT_COMPARED)
            verdict->parts_held++;
        if (verdict->result == MCOMP_TXN_NOT_COMPARED && verdict->parts_held == verdict->parts)
            verdict->result = MCOMP_TXN_HELD;
    }
}

static bool take_failed(struct mcomp_txn *txn, const struct txn_share *share, const struct wire_txn_result *result)
{
    uint32_t count = share_count(share, TXN_KIND_COMPARE);
    for (size_t i = 0; i < result->failed_count; i++) {
        uint32_t index = result->failed[i];
        if (index >= count)
            return false;
        const struct txn_part *part = &txn->parts[share->first[TXN_KIND_COMPARE] + index];
        const struct txn_item *item = &txn->items[part->item];
        struct txn_verdict *verdict = &txn->verdicts[item->number];
        if (verdict->result != MCOMP_TXN_DIFFERED)
            txn->result.failed_compares++;
        verdict->result = MCOMP_TXN_DIFFERED;
        if (i >= result->found_count || result->found[i].bytes == 0)
            continue;
        if (result->found[i].bytes != part->length || part->length > TXN_FOUND_BYTES_MAX)
            return false;
        if (part->length == item->length) {
            memcpy(verdict->found, result->found[i].data, part->length);
            verdict->known = true;
        }
    }
    return true;
}

static bool take_data(struct mcomp_txn *txn, const struct txn_share *share, const struct wire_txn_result *result)
{
    uint64_t bytes = (uint64_t)share_count(share, TXN_KIND_ADD) * ATOMIC_WORD_BYTES;
    for (uint32_t i = share->first[TXN_KIND_READ]; i < share->first[TXN_KIND_READ + 1]; i++)
        bytes += txn->parts[i].length;
    if (result->answer.bytes != bytes)
        return false;
    const uint8_t *at = result->answer.data;
    for (uint32_t i = share->first[TXN_KIND_READ]; i < share->first[TXN_KIND_READ + 1]; i++) {
        const struct txn_part *part = &txn->parts[i];
        memcpy(txn->items[part->item].buffer + part->offset, at, part->length);
        at += part->length;
    }
    for (uint32_t i = share->first[TXN_KIND_ADD]; i < share->first[TXN_KIND_ADD + 1]; i++) {
        const struct txn_item *item = &txn->items[txn->parts[i].item];
        if (item->before)
            *item->before = le64_get(at);
        at += ATOMIC_WORD_BYTES;
    }
    return true;
}

bool txn_take_share(struct mcomp_txn *txn, const struct txn_share *share, const struct txn_answer *answer,
                    const struct wire_txn_result *result)
{
    if (answer->says == TXN_ABORTED)
        return answer->reason != LANE_COMPARE || take_failed(txn, share, result);
    if (answer->says != TXN_COMMITTED && answer->says != TXN_PREPARED)
        return true;
    all_held(txn, share);
    return take_data(txn, share, result);
}
