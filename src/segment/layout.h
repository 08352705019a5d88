/* SPDX-License-Identifier: Apache-2.0 */
/** The format of the segment in shared memory, as docs/segment.md draws it. Integers are little-endian and of fixed width; places are
 *  offsets from the start of the object, never pointers. The whole object survives the server process. */
#ifndef SEGMENT_LAYOUT_H
#define SEGMENT_LAYOUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "segment/lane.h"
#include "segment/segment.h"

#define LAYOUT_MAGIC 0x474553504d4f434du /* the bytes "MCOMPSEG" */
#define LAYOUT_VERSION 1u
#define LAYOUT_READY 0x59444552u /* "REDY" */
#define LAYOUT_HEADER_BYTES 4096u
#define LAYOUT_GRID_BYTES 72u
#define LAYOUT_TRANSACTION_PART 8u          /* the section of transactions has k divided by this, in steps of: */
#define LAYOUT_TRANSACTION_STEP (64u << 10)
#define LAYOUT_TRANSACTION_BYTES_MIN (UINT64_C(1) << 20)
#define LAYOUT_TRANSACTION_BYTES_MAX (UINT64_C(32) << 20)
#define LAYOUT_HUGE_BYTES (2u << 20) /* the data of a segment at least this large starts at a multiple of it, for huge pages */

#define STRIPE_SHIFT 16u
#define STRIPE_BYTES (1u << STRIPE_SHIFT)

/* ---- the header page ---- */

enum layout_kind {
    LAYOUT_STRIPES = 1,      /* struct stripe, one for each STRIPE_BYTES of data; the last stripe may be shorter */
    LAYOUT_SLOT_OF = 2,      /* _Atomic u64 for each page: round << 32 | slot where a snapshot finds the preserved page; zero: there was none */
    LAYOUT_PAGE_EPOCH = 3,   /* _Atomic u32 for each page: the last cut for which it was preserved or captured */
    LAYOUT_TRANSACTIONS = 4, /* first half: struct layout_session, as many as fit; second half: units of LAYOUT_UNIT_BYTES */
    LAYOUT_DATA = 5,         /* the k bytes */
    LAYOUT_REDO = 6          /* struct redo_record, one for each writer: in the tail, since their number and size may change */
};

struct layout_section {
    uint32_t kind; /* enum layout_kind */
    uint32_t reserved;
    uint64_t offset; /* multiple of PAGE_BYTES */
    uint64_t bytes;
    uint64_t element_bytes;
};

#define LAYOUT_FIXED_SECTIONS_MAX 10u
#define LAYOUT_TAIL_SECTIONS_MAX 7u

/** What never changes after the segment is made. */
struct layout_fixed {
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;
    uint64_t id; /* random */
    char grid[LAYOUT_GRID_BYTES]; /* padded with zeros */
    uint32_t node;
    uint32_t nodes; /* N */
    uint64_t size;  /* k */
    uint32_t page_bytes;
    uint32_t stripe_bytes;
    uint32_t section_count;
    uint32_t reserved;
    struct layout_section section[LAYOUT_FIXED_SECTIONS_MAX];
    uint8_t unused[60];
    uint32_t checksum; /* CRC-32C of all before it */
};

/** Directory of what follows the data. There are two of them and one counts, so that a change takes effect with one store. */
struct layout_tail {
    uint32_t section_count;
    uint32_t reserved;
    struct layout_section section[LAYOUT_TAIL_SECTIONS_MAX];
    uint8_t unused[20];
    uint32_t checksum; /* CRC-32C of all before it */
};

/** Why a capture ended before its snapshot process said so. */
enum layout_end {
    LAYOUT_END_ASKED = 1, /* its snapshot process ended it, or the server did */
    LAYOUT_END_LIMIT = 2,  /* the preserved pages reached their limit */
    LAYOUT_END_MEMORY = 3, /* no memory for more of them */
    LAYOUT_END_POOL = 4    /* a restarted server did not find them, or another limit holds */
};

/** Commands of the snapshot process to the server, one at a time; mailbox.h says how. Each half has its own cache line. */
struct layout_mailbox {
    _Atomic uint32_t calls; /* futex: the server's agent sleeps on it */
    _Atomic uint32_t last_sequence; /* of the commands ever begun; only the snapshot process uses it */
    _Atomic uint32_t sequence; /* of the command that stands in the next three; 0: none, or they are being changed */
    _Atomic uint32_t kind;     /* enum segment_command_kind */
    _Atomic uint32_t round;
    _Atomic uint32_t lease_ms;
    _Atomic uint32_t windows;  /* of CAPTURE_WINDOW_BYTES that were captured since the segment was made, modulo 2^32: a capture that goes on shows here */
    uint8_t unused_a[36];
    _Atomic uint32_t answers; /* futex: the snapshot process sleeps on it */
    _Atomic uint32_t answered; /* sequence of the command that the next three answer; 0: they are being changed */
    _Atomic uint32_t result;   /* enum segment_answer_result */
    _Atomic uint32_t max_round;
    _Atomic uint64_t pause_ns;
    uint8_t unused_b[40];
};

struct layout_header {
    struct layout_fixed fixed;
    struct layout_tail tail[2];
    _Atomic uint32_t tail_current; /* 0 or 1: the tail that counts */
    _Atomic uint32_t ready;        /* LAYOUT_READY, stored last: without it the object was never finished */
    _Atomic uint64_t attach_count; /* 0 as long as no segment_open has succeeded */
    _Atomic uint32_t owner_pid;    /* of the process that has the segment open; a hint for people, the lock on the object decides */
    uint8_t unused_a[44];
    /* Snapshots; zero as long as there was none. Writers load the first for each write, so what changes often is elsewhere. */
    _Atomic uint64_t cap_word;   /* round of the last cut << 1 | its capture is live */
    _Atomic uint32_t max_round;  /* highest round ever frozen for */
    _Atomic uint32_t capture_pid; /* of the snapshot process; a hint for people, like owner_pid */
    _Atomic uint64_t capture_end; /* round << 8 | enum layout_end: why the capture of that round is not live any more */
    _Atomic uint64_t pool_inode; /* number of the object with the preserved pages, by which its users know it from an older one; 0: none */
    _Atomic uint32_t restoring;  /* enum segment_restore_state: unless 0 the bytes are nothing that may be served */
    _Atomic uint32_t restore_round; /* of the restore under way, or of the last: round of the snapshot, 0 for one at a server's start */
    _Atomic uint64_t restore_id;    /* its number, as its client chose it; 0 for one at a server's start */
    _Atomic uint64_t restore_file;  /* what tells its file from others */
    uint8_t unused_b[8];
    _Atomic uint64_t transaction_generation; /* counter that the generations of sessions come from; begins with a random number of 48 bits */
    uint8_t unused_c[56];
    _Atomic uint32_t slot_next; /* next free slot for a preserved page */
    uint8_t unused_d[60];
    struct layout_mailbox mailbox;
    uint8_t unused_e[LAYOUT_HEADER_BYTES - 1408];
};

_Static_assert(sizeof(struct layout_section) == 32, "format");
_Static_assert(sizeof(struct layout_fixed) == 512, "format");
_Static_assert(offsetof(struct layout_fixed, section) == 128, "format");
_Static_assert(offsetof(struct layout_fixed, checksum) == 508, "format");
_Static_assert(sizeof(struct layout_tail) == 256, "format");
_Static_assert(offsetof(struct layout_header, tail) == 512, "format");
_Static_assert(offsetof(struct layout_header, tail_current) == 1024, "format");
_Static_assert(offsetof(struct layout_header, attach_count) == 1032, "format");
_Static_assert(offsetof(struct layout_header, owner_pid) == 1040, "format");
_Static_assert(offsetof(struct layout_header, cap_word) == 1088, "format");
_Static_assert(offsetof(struct layout_header, transaction_generation) == 1152, "format");
_Static_assert(offsetof(struct layout_header, slot_next) == 1216, "format");
_Static_assert(offsetof(struct layout_header, mailbox) == 1280, "format");
_Static_assert(offsetof(struct layout_mailbox, answers) == 64 && sizeof(struct layout_mailbox) == 128, "a cache line for each side");
_Static_assert(sizeof(struct layout_header) == LAYOUT_HEADER_BYTES, "format");
_Static_assert(GRID_NAME_BYTES_MAX < LAYOUT_GRID_BYTES, "a name and its end");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "atomics in shared memory must not hide a lock");

/* ---- the stripe table ---- */

/** The reader-writer semaphore of one stripe, see semaphore.h. All zero: free. */
struct stripe {
    _Atomic uint64_t state;
    _Atomic uint64_t sequence; /* grows by 4 with every write; LAYOUT_SEQUENCE_STORING while one is under way, LAYOUT_SEQUENCE_LOCKED see lines.h */
    _Atomic uint32_t turn;     /* futex: waiting readers sleep on it */
    _Atomic uint32_t calls;    /* futex: waiting writers sleep on it */
    uint32_t locks;            /* of prepared transactions that lie in it in part; guarded by the write permits */
    uint8_t unused[36];
};
#define LAYOUT_SEQUENCE_STORING UINT64_C(1)
#define LAYOUT_SEQUENCE_LOCKED UINT64_C(2) /* locks is not 0 */

_Static_assert(sizeof(struct stripe) == 64, "one cache line, so that neighbours do not disturb each other");

/* ---- the redo records ---- */

struct redo_range {
    uint64_t offset;
    uint64_t length;
};

/** New bytes of a running write: range_count ranges, then data_bytes bytes, those of the ranges in order. While valid is not REDO_INVALID they may be
 *  partly stored, and storing all of them again finishes the write. */
struct redo_record {
    _Atomic uint32_t valid; /* enum redo_valid */
    uint32_t range_count;
    uint64_t data_bytes;
    struct redo_range range[];
};
_Static_assert(sizeof(struct redo_record) == 16 && sizeof(struct redo_range) == 16, "format");

/** The last bytes of a writer's record, which plain writes leave alone. REDO_VALID_LANE: the write is that of the transaction in this lane. */
struct redo_lane {
    uint64_t lane; /* session * LANES + lane */
    uint64_t word; /* of its record, once all is stored */
};
_Static_assert(sizeof(struct redo_lane) == 16, "format");

enum redo_valid { REDO_INVALID = 0, REDO_VALID = 1, REDO_VALID_LANE = 2 };

/* ---- minitransactions ---- */

#define LAYOUT_LINE_SHIFT 6u /* what prepared transactions lock: lines of 64 bytes */
#define LAYOUT_UNIT_BYTES 512u
#define LAYOUT_INLINE_BYTES 216u
#define LAYOUT_INLINE UINT32_MAX /* instead of the number of a unit */
#define LAYOUT_LOCKS_MAX (2u * MULTI_RANGES_MAX)

/** One transaction at a time. What follows the word counts for as long as the word says PREPARED, COMMITTING or COMMITTED, and failed_compare while it says
 *  LANE_COMPARE; it is changed only while the word says ABORTED without a reason.
 *  The body: participants, locks, a redo_record with the writes (only if redo_bytes is not 0; a multiple of 8), the answer; inline, or in units one
 *  behind the other. */
struct layout_lane {
    _Atomic uint64_t word; /* sequence << 8 | enum lane_reason << 4 | enum lane_state */
    uint32_t failed_compare;
    uint32_t participant_count;
    uint32_t lock_count;
    uint32_t first_unit; /* or LAYOUT_INLINE */
    uint64_t redo_bytes;
    uint64_t answer_bytes;
    uint8_t body[LAYOUT_INLINE_BYTES];
};
_Static_assert(sizeof(struct layout_lane) == 256 && offsetof(struct layout_lane, body) == 40, "format");

/** Lines that a prepared transaction has locked; ascending, and apart from each other. */
struct layout_lock {
    uint64_t first_line;
    uint32_t lines;
    uint32_t exclusive; /* 0 or 1 */
};
_Static_assert(sizeof(struct layout_lock) == 16, "format");
_Static_assert(sizeof(struct lane_participant) == 32 && offsetof(struct lane_participant, id.generation) == 16, "format: participants are stored as they are");

struct layout_session {
    _Atomic uint64_t generation; /* 0: nobody's, and the rest means nothing */
    uint8_t client[16];
    uint8_t unused[40];
    struct layout_lane lane[LANES];
};
_Static_assert(sizeof(struct layout_session) == 64 + LANES * 256, "format");

/* ---- making and checking ---- */

/** Fill a header for options: everything but id, attach_count and ready. Pure. */
void layout_plan(struct layout_header *header, const struct segment_options *options);

/** Bytes of the section of transactions of a segment of `size` bytes, and what it holds. */
uint64_t layout_transaction_bytes(uint64_t size);
uint32_t layout_sessions(uint64_t transaction_bytes);
uint32_t layout_units(uint64_t transaction_bytes);

/** Bytes of one writer's record for writes of up to redo_bytes. */
uint64_t layout_redo_stride(uint64_t redo_bytes);

/** Directory of the records of `writers` writers, placed behind the fixed sections. */
void layout_plan_tail(struct layout_tail *tail, const struct layout_fixed *fixed, uint32_t writers, uint64_t redo_bytes);

/** Bytes of the object: the end of its last section. */
uint64_t layout_object_bytes(const struct layout_header *header);

/** Compute the checksum of *fixed anew; for tests and layout_plan. */
void layout_seal(struct layout_fixed *fixed);

/** Was the object left by a process that died while it made it? object_bytes: its size; header: its first bytes, zeros behind the end. */
bool layout_is_unfinished(const struct layout_header *header, uint64_t object_bytes);

/** Does the part of a finished object's header that never changes agree with options and with itself? Errors as layout_check. */
MUST_CHECK enum mcomp_status layout_check_fixed(const struct layout_header *header, const struct segment_options *options, uint64_t object_bytes,
                                                const char *object_name, struct err *err);

/** Does a finished object agree with options and with itself? Errors as segment_open; object_name stands in the text. */
MUST_CHECK enum mcomp_status layout_check(const struct layout_header *header, const struct segment_options *options, uint64_t object_bytes,
                                          const char *object_name, struct err *err);

/** The section of a kind in a directory; asserts that it is there. */
const struct layout_section *layout_section(const struct layout_section *sections, uint32_t count, enum layout_kind kind);

/** The records' section, by the tail that counts. */
const struct layout_section *layout_redo_section(const struct layout_header *header);

#endif
