/* SPDX-License-Identifier: Apache-2.0 */
/* preserve.c says why what is captured is right, mailbox.c why no command is ever stuck.
 *
 * Pages are copied while a writer may be changing them; the copy counts only if the compare-and-swap after it succeeds. Preserved pages are read with
 * pread: the memory behind a slot may be given back when the capture is not live any more, and a read through a mapping would then take
 * new memory, or end the process where /dev/shm is full. */
#include "segment/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "segment/broken.h"
#include "segment/copy.h"
#include "segment/futex.h"
#include "segment/object.h"
#include "segment/preserve.h"

struct capture {
    char name[OBJECT_NAME_BYTES], pool_name[OBJECT_NAME_BYTES];
    int fd;      /* owned; the segment's object */
    int pool_fd; /* owned; that of its preserved pages, -1: not open */
    uint64_t pool_inode; /* of pool_fd */
    uint64_t inode;      /* of fd */
    uint64_t size;       /* k */
    /* owned mappings */
    const uint8_t *map; /* up to the end of the data; read only */
    uint64_t map_bytes;
    uint8_t *words; /* the pages' words */
    uint64_t words_bytes;
    struct layout_header *header;
    /* in them */
    const uint8_t *bytes;
    const _Atomic uint64_t *slot_of;
    _Atomic uint32_t *page_epoch;
};

/* ---- opening ---- */

static enum mcomp_status map_at(const struct capture *capture, uint64_t offset, uint64_t bytes, int protection, void **at, struct err *err)
{
    void *mapped = mmap(NULL, bytes, protection, MAP_SHARED, capture->fd, (off_t)offset);
    if (mapped == MAP_FAILED)
        return err_sys(err, errno, "map %" PRIu64 " bytes of shared memory %s", bytes, capture->name);
    *at = mapped;
    return MCOMP_OK;
}

/* Map what the checked header says. */
static enum mcomp_status map_sections(struct capture *capture, const struct layout_header *header, struct err *err)
{
    const struct layout_section *sections = header->fixed.section;
    uint32_t count = header->fixed.section_count;
    const struct layout_section *data = layout_section(sections, count, LAYOUT_DATA);
    const struct layout_section *words = layout_section(sections, count, LAYOUT_PAGE_EPOCH);
    uint64_t system_page = (uint64_t)sysconf(_SC_PAGESIZE), before = words->offset % system_page;
    void *map = NULL, *epochs = NULL, *top = NULL;
    enum mcomp_status code = map_at(capture, 0, data->offset + data->bytes, PROT_READ, &map, err);
    capture->map = map;
    capture->map_bytes = data->offset + data->bytes;
    if (code == MCOMP_OK)
        code = map_at(capture, words->offset - before, words->bytes + before, PROT_READ | PROT_WRITE, &epochs, err);
    capture->words = epochs;
    capture->words_bytes = words->bytes + before;
    if (code == MCOMP_OK)
        code = map_at(capture, 0, LAYOUT_HEADER_BYTES, PROT_READ | PROT_WRITE, &top, err);
    capture->header = top;
    if (code != MCOMP_OK)
        return code;
    madvise(map, capture->map_bytes, MADV_DONTDUMP);
    madvise(map, capture->map_bytes, MADV_HUGEPAGE);
    capture->bytes = capture->map + data->offset;
    capture->slot_of = (const void *)(capture->map + layout_section(sections, count, LAYOUT_SLOT_OF)->offset);
    capture->page_epoch = (void *)(capture->words + before);
    capture->size = header->fixed.size;
    return MCOMP_OK;
}

static enum mcomp_status take_lock(struct capture *capture, const struct layout_header *header, struct err *err)
{
    if (object_lock(capture->fd, OBJECT_LOCK_CAPTURE))
        return MCOMP_OK;
    if (errno != EAGAIN && errno != EACCES)
        return err_sys(err, errno, "lock shared memory %s", capture->name);
    return err_set(err, MCOMP_FAILED_PRECONDITION,
                   "segment %s is being captured by process %" PRIu32 "; a node runs one snapshot process at a time, stop that one first", capture->name,
                   atomic_load(&header->capture_pid));
}

static enum mcomp_status attach(struct capture *capture, const struct segment_options *options, struct err *err)
{
    struct layout_header header;
    struct stat st;
    capture->fd = shm_open(capture->name, O_RDWR, 0600);
    if (capture->fd < 0 && errno == ENOENT)
        return err_set(err, MCOMP_NOT_FOUND, "there is no segment %s: this node's server has not run yet", capture->name);
    if (capture->fd < 0 || fstat(capture->fd, &st) != 0)
        return err_sys(err, errno, "open shared memory %s", capture->name);
    capture->inode = (uint64_t)st.st_ino;
    memset(&header, 0, sizeof header);
    if (pread(capture->fd, &header, sizeof header, 0) < 0)
        return err_sys(err, errno, "read shared memory %s", capture->name);
    if (layout_is_unfinished(&header, (uint64_t)st.st_size))
        return err_set(err, MCOMP_NOT_FOUND, "segment %s is being made, or its server died while it made it", capture->name);
    enum mcomp_status code = layout_check_fixed(&header, options, (uint64_t)st.st_size, capture->name, err);
    if (code == MCOMP_OK)
        code = take_lock(capture, &header, err);
    if (code == MCOMP_OK)
        code = map_sections(capture, &header, err);
    if (code == MCOMP_OK)
        atomic_store(&capture->header->capture_pid, (uint32_t)getpid());
    return code;
}

enum mcomp_status capture_open(struct capture **out, const char *grid, uint32_t node, uint32_t nodes, uint64_t size, struct err *err)
{
    *out = NULL;
    struct capture *capture = calloc(1, sizeof *capture);
    if (!capture)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory for a capture");
    capture->fd = capture->pool_fd = -1;
    object_name(capture->name, grid, node, "");
    object_name(capture->pool_name, grid, node, OBJECT_PRESERVED);
    /* writers and redo_bytes are the server's affair, and not compared */
    struct segment_options options = {.grid = grid, .node = node, .nodes = nodes, .size = size, .writers = 1, .redo_bytes = PAGE_BYTES};
    enum mcomp_status code = attach(capture, &options, err);
    if (code != MCOMP_OK) {
        capture_close(capture);
        return code;
    }
    *out = capture;
    return MCOMP_OK;
}

void capture_close(struct capture *capture)
{
    if (!capture)
        return;
    if (capture->header) {
        atomic_store(&capture->header->capture_pid, 0);
        munmap(capture->header, LAYOUT_HEADER_BYTES);
    }
    if (capture->words)
        munmap(capture->words, capture->words_bytes);
    if (capture->map)
        munmap((void *)(uintptr_t)capture->map, capture->map_bytes);
    if (capture->pool_fd >= 0)
        close(capture->pool_fd);
    if (capture->fd >= 0)
        close(capture->fd);
    free(capture);
}

bool capture_is_current(const struct capture *capture)
{
    struct stat st;
    int fd = shm_open(capture->name, O_RDONLY, 0);
    if (fd < 0)
        return false;
    bool current = fstat(fd, &st) == 0 && (uint64_t)st.st_ino == capture->inode;
    close(fd);
    return current;
}

/* ---- commands ---- */

/* Put a command into the mailbox; returns its sequence number. */
static uint32_t post(struct capture *capture, uint32_t kind, uint32_t round, uint32_t lease_ms)
{
    struct layout_mailbox *mailbox = &capture->header->mailbox;
    uint32_t sequence = atomic_fetch_add_explicit(&mailbox->last_sequence, 1, memory_order_relaxed) + 1;
    if (sequence == 0)
        sequence = atomic_fetch_add_explicit(&mailbox->last_sequence, 1, memory_order_relaxed) + 1;
    atomic_store_explicit(&mailbox->sequence, 0, memory_order_release);
    atomic_store_explicit(&mailbox->kind, kind, memory_order_release);
    atomic_store_explicit(&mailbox->round, round, memory_order_release);
    atomic_store_explicit(&mailbox->lease_ms, lease_ms, memory_order_release);
    atomic_store_explicit(&mailbox->sequence, sequence, memory_order_release);
    futex_call(&mailbox->calls);
    return sequence;
}

static bool take_answer(struct capture *capture, uint32_t sequence, struct segment_answer *answer)
{
    struct layout_mailbox *mailbox = &capture->header->mailbox;
    if (atomic_load_explicit(&mailbox->answered, memory_order_acquire) != sequence)
        return false;
    answer->result = atomic_load_explicit(&mailbox->result, memory_order_acquire);
    answer->max_round = atomic_load_explicit(&mailbox->max_round, memory_order_acquire);
    answer->pause_ns = atomic_load_explicit(&mailbox->pause_ns, memory_order_acquire);
    return atomic_load_explicit(&mailbox->answered, memory_order_acquire) == sequence;
}

static enum mcomp_status ask(struct capture *capture, uint32_t kind, uint32_t round, uint32_t lease_ms, uint32_t timeout_ms,
                             struct segment_answer *answer, struct err *err)
{
    _Atomic uint32_t *word = &capture->header->mailbox.answers;
    uint64_t deadline_ns = clock_mono_ns() + (uint64_t)timeout_ms * 1000000, now_ns = 0;
    bool runs = object_is_locked(capture->fd, OBJECT_LOCK_SERVER);
    uint32_t sequence = runs ? post(capture, kind, round, lease_ms) : 0;
    while (runs && now_ns < deadline_ns) {
        uint32_t answers = atomic_load_explicit(word, memory_order_acquire);
        if (take_answer(capture, sequence, answer))
            return MCOMP_OK;
        now_ns = clock_mono_ns();
        if (now_ns < deadline_ns)
            futex_sleep(word, answers, deadline_ns - now_ns);
    }
    if (!runs || !object_is_locked(capture->fd, OBJECT_LOCK_SERVER))
        return err_set(err, MCOMP_UNAVAILABLE, "this node's server does not run");
    return err_set(err, MCOMP_UNAVAILABLE, "this node's server did not answer in %" PRIu32 " ms", timeout_ms);
}

static enum mcomp_status refuse_answer(uint32_t result, struct err *err)
{
    return err_set(err, MCOMP_UNAVAILABLE, "this node's server gave an answer of another kind (%" PRIu32 ")", result);
}

enum mcomp_status capture_freeze(struct capture *capture, uint32_t round, uint32_t lease_ms, uint32_t timeout_ms, enum capture_freeze *outcome,
                                 uint32_t *max_round, struct err *err)
{
    struct segment_answer answer;
    enum mcomp_status code = ask(capture, SEGMENT_COMMAND_FREEZE, round, lease_ms, timeout_ms, &answer, err);
    if (code != MCOMP_OK)
        return code;
    *max_round = answer.max_round;
    switch (answer.result) {
    case SEGMENT_ANSWER_FROZEN:
        *outcome = CAPTURE_FROZEN;
        return MCOMP_OK;
    case SEGMENT_ANSWER_OLD:
        *outcome = CAPTURE_OLD;
        return MCOMP_OK;
    case SEGMENT_ANSWER_BUSY:
        *outcome = CAPTURE_BUSY;
        return MCOMP_OK;
    case SEGMENT_ANSWER_RESTORING:
        return err_set(err, MCOMP_FAILED_PRECONDITION, "this node's bytes are being restored from a snapshot: there is nothing to take another of");
    default:
        return refuse_answer(answer.result, err);
    }
}

enum mcomp_status capture_cut(struct capture *capture, uint32_t round, uint32_t timeout_ms, bool *done, uint64_t *pause_ns, struct err *err)
{
    struct segment_answer answer;
    enum mcomp_status code = ask(capture, SEGMENT_COMMAND_CUT, round, 0, timeout_ms, &answer, err);
    if (code == MCOMP_OK && answer.result != SEGMENT_ANSWER_CUT && answer.result != SEGMENT_ANSWER_REFUSED)
        code = refuse_answer(answer.result, err);
    if (code != MCOMP_OK)
        return code;
    *done = answer.result == SEGMENT_ANSWER_CUT;
    *pause_ns = *done ? answer.pause_ns : 0;
    return MCOMP_OK;
}

enum mcomp_status capture_unfreeze(struct capture *capture, uint32_t round, uint32_t timeout_ms, struct err *err)
{
    struct segment_answer answer;
    return ask(capture, SEGMENT_COMMAND_UNFREEZE, round, 0, timeout_ms, &answer, err);
}

void capture_end(struct capture *capture, uint32_t round)
{
    preserve_end(capture->header, round, LAYOUT_END_ASKED);
    post(capture, SEGMENT_COMMAND_END, round, 0);
}

uint32_t capture_max_round(const struct capture *capture)
{
    return atomic_load_explicit(&capture->header->max_round, memory_order_acquire);
}

/* ---- capture ---- */

static uint64_t live_word(uint32_t round)
{
    return (uint64_t)round << 1 | 1;
}

bool capture_is_live(const struct capture *capture, uint32_t round)
{
    return atomic_load_explicit(&capture->header->cap_word, memory_order_acquire) == live_word(round);
}

static const char *end_text(uint64_t why)
{
    switch (why) {
    case LAYOUT_END_ASKED:
        return "it was ended, or took too long";
    case LAYOUT_END_LIMIT:
        return "writers changed more pages than preserve_limit has room for";
    case LAYOUT_END_MEMORY:
        return "there was no memory for more preserved pages";
    case LAYOUT_END_POOL:
        return "the restarted server had lost the preserved pages, or has another preserve_limit";
    default:
        return "a page was taken by a capture that did not finish, or the object of preserved pages was deleted";
    }
}

static enum mcomp_status refuse_dead(const struct capture *capture, uint32_t round, struct err *err)
{
    uint64_t cap_word = atomic_load_explicit(&capture->header->cap_word, memory_order_acquire);
    uint64_t end = atomic_load_explicit(&capture->header->capture_end, memory_order_acquire);
    if (cap_word >> 1 != round)
        return err_set(err, MCOMP_ABORTED, "the capture of round %" PRIu32 " is over: the segment was cut for round %" PRIu64, round, cap_word >> 1);
    bool told = !(cap_word & 1u) && end >> 8 == round;
    return err_set(err, MCOMP_ABORTED, "the capture of round %" PRIu32 " is over: %s", round, end_text(told ? (end & 0xffu) : 0));
}

/* Is the capture of the round live, after all that was read before? */
static bool is_live_after_reading(const struct capture *capture, uint32_t round)
{
    copy_fence_after_loads();
    return atomic_load_explicit(&capture->header->cap_word, memory_order_acquire) == live_word(round) || SEGMENT_BROKEN_NO_FINAL;
}

/* Open the object that holds the preserved pages now; after a restart of the server it may be another. */
static bool open_pool(struct capture *capture)
{
    struct stat st;
    uint64_t inode = atomic_load_explicit(&capture->header->pool_inode, memory_order_acquire);
    if (capture->pool_fd >= 0 && capture->pool_inode == inode)
        return true;
    if (capture->pool_fd >= 0)
        close(capture->pool_fd);
    capture->pool_fd = shm_open(capture->pool_name, O_RDONLY, 0);
    if (capture->pool_fd < 0 || fstat(capture->pool_fd, &st) != 0 || (uint64_t)st.st_ino != inode)
        return false;
    capture->pool_inode = inode;
    return true;
}

/* Copy the preserved page that a slot word names. */
static bool read_slot(struct capture *capture, uint32_t round, uint64_t slot_of, uint8_t *to)
{
    if (slot_of >> 32 != round || !open_pool(capture))
        return false;
    return pread(capture->pool_fd, to, PAGE_BYTES, (off_t)((slot_of & UINT32_MAX) * PAGE_BYTES)) == (ssize_t)PAGE_BYTES;
}

/* Copy a page as it was at the cut. False: the capture is not live, or a dead one took the page. */
static bool capture_page(struct capture *capture, uint32_t round, uint64_t page, uint8_t *to)
{
    _Atomic uint32_t *epoch = &capture->page_epoch[page];
    uint32_t old = atomic_load_explicit(epoch, memory_order_acquire);
    for (;;) {
        if (old > round)
            return false;
        if (old == round)
            return read_slot(capture, round, atomic_load_explicit(&capture->slot_of[page], memory_order_acquire), to);
        segment_test_pause();
        copy_page_out(to, capture->bytes + page * PAGE_BYTES, PAGE_BYTES);
        segment_test_pause();
        if (atomic_compare_exchange_strong_explicit(epoch, &old, round, memory_order_acq_rel, memory_order_acquire))
            return true;
    }
}

static bool is_zero(const uint8_t *page)
{
    uint64_t first, any = 0;
    memcpy(&first, page, sizeof first);
    if (first != 0)
        return false;
    for (size_t at = 0; at < PAGE_BYTES; at += 64) {
        uint64_t words[8];
        memcpy(words, page + at, sizeof words);
        any = words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7];
        if (any != 0)
            return false;
    }
    return true;
}

enum mcomp_status capture_window(struct capture *capture, uint32_t round, uint64_t offset, uint8_t *data, struct capture_window *window,
                                 struct err *err)
{
    MC_ASSERT(offset % CAPTURE_WINDOW_BYTES == 0 && offset < capture->size);
    uint64_t left = (capture->size - offset) / PAGE_BYTES, first = offset / PAGE_BYTES;
    uint32_t count = left < CAPTURE_WINDOW_PAGES ? (uint32_t)left : CAPTURE_WINDOW_PAGES;
    *window = (struct capture_window){0};
    if (!capture_is_live(capture, round))
        return refuse_dead(capture, round, err);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *to = data + window->data_bytes;
        if (!capture_page(capture, round, first + i, to))
            return refuse_dead(capture, round, err);
        if (is_zero(to))
            continue;
        window->pages |= UINT64_C(1) << i;
        window->data_bytes += PAGE_BYTES;
    }
    if (!is_live_after_reading(capture, round))
        return refuse_dead(capture, round, err);
    window->crc32c = crc32c(0, data, window->data_bytes);
    atomic_fetch_add_explicit(&capture->header->mailbox.windows, 1, memory_order_relaxed);
    return MCOMP_OK;
}

enum mcomp_status capture_finish(struct capture *capture, uint32_t round, struct err *err)
{
    return is_live_after_reading(capture, round) ? MCOMP_OK : refuse_dead(capture, round, err);
}

uint64_t capture_preserved(const struct capture *capture)
{
    uint64_t preserved = atomic_load_explicit(&capture->header->slot_next, memory_order_relaxed);
    return preserved < capture->size / PAGE_BYTES ? preserved : capture->size / PAGE_BYTES;
}
