/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for preserved pages.
 *
 * Slots below `ready` have memory, so storing into them cannot fail for want of it (SIGBUS). While a capture is live the agent keeps as many
 * more ready as are in use, up to POOL_AHEAD_SLOTS; a writer that gets near the end of what is ready calls it. Between rounds some stay ready, for a
 * freeze must not wait for memory, and just after a cut writers preserve most. A writer does not depend on the agent, which on a busy machine may
 * not run for longer than what is ready lasts: if it gets a slot beyond, it asks for its memory itself (MADV_POPULATE_WRITE, which fails
 * where a store would end the process, and waits for nobody). That costs it a microsecond or two.
 *
 * Giving memory back: when no capture is live, every writer that may still be preserving must have left the gate; then the memory goes. If a
 * round begins meanwhile, nothing is given back. A snapshot process that still reads a slot reads zeros then; its capture is not live. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "segment/object.h"
#include "segment/preserve.h"

#define MARGIN_BYTES (UINT64_C(64) << 20) /* of memory that the machine keeps free: a snapshot is no reason to run out of it */
#define GIVE_BACK_SLOTS (8 * POOL_STEP_SLOTS) /* at once: freeing is quicker than getting */
#define GRACE_NS UINT64_C(10000000)   /* until a writer is looked for outside the gate again */
#define RETRY_NS UINT64_C(50000000)   /* until memory is asked for again while a capture needs it */
#define RESERVE_NS UINT64_C(1000000000) /* … and while none does */

static uint64_t slot_bytes(uint32_t slots)
{
    return (uint64_t)slots * PAGE_BYTES;
}

static uint32_t lower(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The round whose capture is live; false: none is. */
static bool live_round(const struct preserve *preserve, uint32_t *round)
{
    uint64_t cap_word = atomic_load_explicit(preserve->cap_word, memory_order_seq_cst);
    *round = (uint32_t)(cap_word >> 1);
    return cap_word & 1u;
}

static uint32_t slots_used(const struct preserve *preserve)
{
    return lower(atomic_load_explicit(&preserve->header->slot_next, memory_order_seq_cst), preserve->count);
}

/* The slot from which on more than half of what is ahead of writers is used. */
static uint32_t low_water(uint32_t ready)
{
    return ready - lower(ready, POOL_AHEAD_SLOTS) / 2;
}

/* How many slots should be ready while no capture is live. */
static uint32_t slots_kept(const struct preserve *preserve)
{
    uint32_t kept = preserve->count / POOL_KEPT_PART;
    return lower(preserve->count, kept < POOL_KEPT_SLOTS_MIN ? POOL_KEPT_SLOTS_MIN : lower(kept, POOL_AHEAD_SLOTS));
}

/* … and while one is: as many ahead of writers as they have used. Just after the cut that is none: other nodes may need the processor to make theirs,
 * and where nobody writes there is no need at all. */
static uint32_t slots_ahead(const struct preserve *preserve)
{
    uint32_t used = slots_used(preserve);
    return used + lower(lower(used, POOL_AHEAD_SLOTS), preserve->count - used);
}

/* What writers got themselves has to be given back as well. */
static void note_used(struct preserve *preserve)
{
    uint32_t used = slots_used(preserve);
    if (preserve->allocated < used)
        preserve->allocated = used;
}

void pool_reset(struct preserve *preserve)
{
    note_used(preserve);
    preserve->phase = POOL_IN_USE;
    atomic_store_explicit(&preserve->header->slot_next, 0, memory_order_seq_cst);
}

/* ---- getting and giving back ---- */

static bool allocate(const struct preserve *preserve, uint32_t from, uint32_t count)
{
    bool has = from + count <= preserve->allocated; /* or so it seems; then asking costs little */
    if (!has && !object_has_room(preserve->fd, slot_bytes(count), MARGIN_BYTES))
        return false;
    int failed;
    do
        failed = posix_fallocate(preserve->fd, (off_t)slot_bytes(from), (off_t)slot_bytes(count));
    while (failed == EINTR);
    return failed == 0;
}

/* Make up to `count` more slots ready. False: there is no memory, not even for few. */
static bool get_slots(struct preserve *preserve, uint32_t count)
{
    uint32_t ready = atomic_load_explicit(&preserve->ready, memory_order_relaxed);
    bool got = allocate(preserve, ready, count);
    while (!got && count > 16) {
        count /= 4;
        got = allocate(preserve, ready, count);
    }
    atomic_store_explicit(&preserve->out_of_memory, !got, memory_order_relaxed);
    if (!got)
        return false;
    if (preserve->allocated < ready + count)
        preserve->allocated = ready + count;
    madvise(preserve->slots + slot_bytes(ready), slot_bytes(count), MADV_POPULATE_WRITE); /* a favour: writers meet no page faults then */
    atomic_store_explicit(&preserve->ready, ready + count, memory_order_seq_cst);
    return true;
}

bool pool_get_one(struct preserve *preserve, uint32_t slot)
{
    if (slot >= preserve->count || atomic_load_explicit(&preserve->out_of_memory, memory_order_relaxed))
        return false;
    int failed;
    do
        failed = madvise(preserve->slots + slot_bytes(slot), PAGE_BYTES, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
    while (failed == EINTR || failed == EAGAIN);
    return failed == 0;
}

/* When no capture is live: is nobody using slots any more? */
static bool is_free(struct preserve *preserve, struct gate *gate)
{
    if (preserve->phase == POOL_IN_USE) {
        gate_grace_begin(gate);
        preserve->phase = POOL_LEFT;
    }
    if (preserve->phase == POOL_LEFT && gate_grace_is_over(gate)) {
        note_used(preserve);
        preserve->phase = POOL_FREE;
    }
    return preserve->phase == POOL_FREE;
}

/* Give memory behind slot `keep` back, in steps. True: one was made. */
static bool give_slots_back(struct preserve *preserve, uint32_t keep)
{
    if (preserve->allocated <= keep)
        return false;
    if (keep < atomic_load_explicit(&preserve->ready, memory_order_relaxed))
        atomic_store_explicit(&preserve->ready, keep, memory_order_seq_cst);
    uint32_t from = preserve->allocated - lower(preserve->allocated - keep, GIVE_BACK_SLOTS);
    uint64_t bytes = slot_bytes(preserve->allocated - from);
    if (fallocate(preserve->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)slot_bytes(from), (off_t)bytes) == 0 || errno != EINTR)
        preserve->allocated = from; /* also where it failed: then the memory stays with us */
    return true;
}

/* Let writers call when half of what is ahead is used. True: that is so already. */
static bool set_low_water(struct preserve *preserve)
{
    uint32_t ready = atomic_load_explicit(&preserve->ready, memory_order_relaxed);
    uint32_t mark = ready >= preserve->count ? PRESERVE_NO_CALL : low_water(ready); /* the first: nothing can be got any more */
    atomic_store_explicit(&preserve->low_water, mark, memory_order_seq_cst);
    return slots_used(preserve) > mark;
}

bool pool_tend(struct preserve *preserve, struct gate *gate, uint64_t *again_ns)
{
    uint32_t round;
    bool live = live_round(preserve, &round);
    uint32_t ready = atomic_load_explicit(&preserve->ready, memory_order_relaxed);
    uint32_t wanted = live ? slots_ahead(preserve) : slots_kept(preserve);
    *again_ns = UINT64_MAX;
    if (live)
        preserve->phase = POOL_IN_USE;
    if (ready < wanted) {
        if (get_slots(preserve, lower(POOL_STEP_SLOTS, live ? preserve->count - ready : wanted - ready)))
            return true;
        *again_ns = live ? RETRY_NS : RESERVE_NS;
        return false;
    }
    if (live)
        return set_low_water(preserve);
    if (is_free(preserve, gate))
        return give_slots_back(preserve, wanted);
    *again_ns = GRACE_NS;
    return false;
}

/* ---- opening ---- */

static enum mcomp_status open_object(struct preserve *preserve, const char *name, uint64_t *bytes, struct err *err)
{
    struct stat st;
    preserve->fd = shm_open(name, O_RDWR | O_CREAT, 0600);
    if (preserve->fd < 0 || fstat(preserve->fd, &st) != 0)
        return err_sys(err, errno, "open shared memory %s", name);
    if (st.st_uid != geteuid())
        return err_set(err, MCOMP_FAILED_PRECONDITION, "shared memory %s belongs to user %u, this process runs as user %u: remove it", name,
                       (unsigned)st.st_uid, (unsigned)geteuid());
    *bytes = (uint64_t)st.st_size;
    atomic_store_explicit(&preserve->header->pool_inode, (uint64_t)st.st_ino, memory_order_seq_cst);
    return MCOMP_OK;
}

/* The slots of a live capture that outlived its server are needed until it ends; whatever else has memory is given back later. */
static void take_over(struct preserve *preserve)
{
    uint32_t round;
    bool live = live_round(preserve, &round);
    uint32_t wanted = live ? slots_ahead(preserve) : 0;
    preserve->allocated = live ? slots_used(preserve) : 0;
    for (uint32_t ready = 0; ready < wanted; ready = atomic_load_explicit(&preserve->ready, memory_order_relaxed)) {
        if (get_slots(preserve, lower(POOL_STEP_SLOTS, preserve->count - ready)))
            continue;
        preserve_end(preserve->header, round, LAYOUT_END_MEMORY);
        break;
    }
    preserve->allocated = preserve->count; /* for all that is known of what the last server had got */
}

enum mcomp_status pool_open(struct preserve *preserve, const char *grid, uint32_t node, uint64_t limit, bool fresh, struct err *err)
{
    char name[OBJECT_NAME_BYTES];
    object_name(name, grid, node, OBJECT_PRESERVED);
    if (fresh || limit < PAGE_BYTES)
        shm_unlink(name);
    preserve->fd = -1;
    preserve->count = (uint32_t)(limit / PAGE_BYTES < INT32_MAX ? limit / PAGE_BYTES : INT32_MAX);
    atomic_store(&preserve->low_water, PRESERVE_NO_CALL);
    uint64_t bytes = 0, wanted = slot_bytes(preserve->count);
    uint32_t round;
    bool live = live_round(preserve, &round);
    enum mcomp_status code = MCOMP_OK;
    if (preserve->count == 0)
        atomic_store_explicit(&preserve->header->pool_inode, 0, memory_order_seq_cst);
    else
        code = open_object(preserve, name, &bytes, err);
    if (code == MCOMP_OK && live && (bytes != wanted || wanted == 0)) /* before the slots that it may still read are gone */
        preserve_end(preserve->header, round, LAYOUT_END_POOL);
    if (code != MCOMP_OK || preserve->count == 0)
        return code;
    if (bytes != wanted && ftruncate(preserve->fd, (off_t)wanted) != 0)
        return err_sys(err, errno, "set the size of shared memory %s to %" PRIu64 " bytes", name, wanted);
    preserve->slots = mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_SHARED, preserve->fd, 0);
    if (preserve->slots == MAP_FAILED) {
        preserve->slots = NULL;
        return err_sys(err, errno, "map %" PRIu64 " bytes of shared memory %s", wanted, name);
    }
    madvise(preserve->slots, wanted, MADV_DONTDUMP);
    take_over(preserve);
    return MCOMP_OK;
}

void pool_close(struct preserve *preserve)
{
    if (preserve->slots)
        munmap(preserve->slots, slot_bytes(preserve->count));
    if (preserve->fd >= 0)
        close(preserve->fd);
    preserve->slots = NULL;
    preserve->fd = -1;
}

void pool_remove(const char *grid, uint32_t node)
{
    char name[OBJECT_NAME_BYTES];
    object_name(name, grid, node, OBJECT_PRESERVED);
    shm_unlink(name);
}
