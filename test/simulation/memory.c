/* SPDX-License-Identifier: Apache-2.0 */
/** The segment: pages, side slots, the word that a cut sets. What a page-wise capture does, in steps between which anything may happen. */
#include "base/err.h"
#include "simulation/world.h"

void memory_touch(struct world *world, struct memory *memory, uint32_t at, uint32_t cut_round, bool capture_live)
{
    if (!capture_live || memory->page_epoch[at] == cut_round || world->broken == BREAK_NO_PRESERVE)
        return;
    if (memory->side_used == memory->side_limit) { /* the capture dies, before the page is changed */
        if (memory->cut_round == cut_round)
            memory->capture_live = false;
        return;
    }
    memory->side_used++;
    memory->side[at].tag = cut_round;
    memory->side[at].page = memory->page[at];
    memory->page_epoch[at] = cut_round;
}

void memory_cut(struct memory *memory, uint32_t round)
{
    memory->side_used = 0;
    memory->cut_round = round;
    memory->capture_live = true;
}

void memory_capture_begin(const struct memory *memory, struct capture *capture)
{
    capture->old_epoch = memory->page_epoch[capture->next];
    capture->copy = memory->page[capture->next];
}

enum captured memory_capture_end(struct world *world, struct memory *memory, struct capture *capture, struct page *page)
{
    uint32_t at = capture->next, epoch = memory->page_epoch[at];
    if (epoch > capture->round)
        return CAPTURE_FAILED;
    if (epoch == capture->round) {
        if (memory->side[at].tag != capture->round && world->broken != BREAK_TRUST_EPOCH)
            return CAPTURE_FAILED;
        *page = memory->side[at].page;
        return CAPTURED;
    }
    if (epoch != capture->old_epoch)
        return CAPTURE_AGAIN;
    memory->page_epoch[at] = capture->round;
    *page = capture->copy;
    return CAPTURED;
}
