/* SPDX-License-Identifier: Apache-2.0 */
/* The writer. Chunks go out as they come; what the index needs is kept in memory for at most one block of each node. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "snapshot/format.h"
#include "snapshot/sink.h"

#define OPEN_TRIES 10

/** Chunks of one node that are not yet in an index block. */
struct open_block {
    uint32_t count;
    uint64_t address[FORMAT_BLOCK_CHUNKS], offset[FORMAT_BLOCK_CHUNKS];
    uint32_t crc[FORMAT_BLOCK_CHUNKS];
};

struct written_block {
    uint64_t first, last, offset;
    uint32_t crc;
};

struct node_state {
    uint64_t next_address;    /* lowest that may come */
    struct open_block *block; /* owned; NULL until the node's first chunk */
};

struct snapshot_writer {
    int fd;                 /* owned; -1 = closed */
    bool failed, renamed;
    char *directory, *path, *temporary; /* owned */
    uint64_t segment_size;
    uint32_t nodes;
    uint64_t bytes;         /* of the file, those in the sink included */
    uint64_t chunks, pages;
    struct chunk_opener opener;
    struct written_block *block; /* owned; count of room */
    size_t block_count, block_room;
    struct sink *sink;      /* owned; all that goes to fd but the header; NULL: not open */
    struct node_state node[];
};

static enum mcomp_status fail(struct snapshot_writer *writer, enum mcomp_status status)
{
    writer->failed = true;
    return status;
}

/* ---- bytes to the file ---- */

static enum mcomp_status append(struct snapshot_writer *writer, const void *data, size_t bytes, struct err *err)
{
    enum mcomp_status status = sink_append(writer->sink, data, bytes, err);
    writer->bytes += bytes;
    return status == MCOMP_OK ? status : fail(writer, status);
}

/* ---- the index ---- */

static enum mcomp_status note_block(struct snapshot_writer *writer, const struct written_block *written, struct err *err)
{
    if (writer->block_count == writer->block_room) {
        size_t room = writer->block_room ? 2 * writer->block_room : 64;
        struct written_block *grown = realloc(writer->block, room * sizeof *grown);
        if (!grown)
            return fail(writer, err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory for the index of %s", writer->temporary));
        writer->block = grown;
        writer->block_room = room;
    }
    writer->block[writer->block_count++] = *written;
    return MCOMP_OK;
}

static enum mcomp_status append_record(struct snapshot_writer *writer, Record *record, uint32_t *crc, size_t *bytes, struct err *err)
{
    uint8_t *packed;
    enum mcomp_status status = format_record_pack(&packed, bytes, record, err);
    if (status != MCOMP_OK)
        return fail(writer, status);
    *crc = crc32c(0, packed, *bytes);
    status = append(writer, packed, *bytes, err);
    free(packed);
    return status;
}

static enum mcomp_status append_block(struct snapshot_writer *writer, uint32_t node, struct err *err)
{
    struct open_block *open = writer->node[node].block;
    IndexBlock block = MCOMP__SNAPSHOT__V1__INDEX_BLOCK__INIT;
    block.node = node;
    block.n_address = block.n_offset = block.n_crc32c = open->count;
    block.address = open->address;
    block.offset = open->offset;
    block.crc32c = open->crc;
    Record record = MCOMP__SNAPSHOT__V1__RECORD__INIT;
    record.kind_case = MCOMP__SNAPSHOT__V1__RECORD__KIND_INDEX_BLOCK;
    record.index_block = &block;
    struct written_block written = {.first = open->address[0], .last = open->address[open->count - 1], .offset = writer->bytes};
    size_t bytes;
    enum mcomp_status status = append_record(writer, &record, &written.crc, &bytes, err);
    open->count = 0;
    return status == MCOMP_OK ? note_block(writer, &written, err) : status;
}

static int by_first(const void *left, const void *right)
{
    const struct written_block *a = left, *b = right;
    return a->first < b->first ? -1 : a->first > b->first;
}

/** Fill index from the blocks, whose memory it has in one piece: *room, the caller's to free. */
static enum mcomp_status make_index(struct snapshot_writer *writer, Index *index, void **room, struct err *err)
{
    size_t count = writer->block_count;
    *room = malloc(count * (3 * sizeof(uint64_t) + sizeof(uint32_t)) + 1);
    if (!*room)
        return fail(writer, err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory for the index of %s", writer->temporary));
    if (count > 0)
        qsort(writer->block, count, sizeof *writer->block, by_first);
    index->n_first_address = index->n_last_address = index->n_offset = index->n_crc32c = count;
    index->first_address = *room;
    index->last_address = index->first_address + count;
    index->offset = index->last_address + count;
    index->crc32c = (uint32_t *)(index->offset + count);
    index->chunks = writer->chunks;
    for (size_t i = 0; i < count; i++) {
        index->first_address[i] = writer->block[i].first;
        index->last_address[i] = writer->block[i].last;
        index->offset[i] = writer->block[i].offset;
        index->crc32c[i] = writer->block[i].crc;
    }
    return MCOMP_OK;
}

static enum mcomp_status append_index(struct snapshot_writer *writer, struct format_trailer *trailer, struct err *err)
{
    Index index = MCOMP__SNAPSHOT__V1__INDEX__INIT;
    Record record = MCOMP__SNAPSHOT__V1__RECORD__INIT;
    record.kind_case = MCOMP__SNAPSHOT__V1__RECORD__KIND_INDEX;
    record.index = &index;
    for (uint32_t node = 0; node < writer->nodes; node++) {
        if (!writer->node[node].block || writer->node[node].block->count == 0)
            continue;
        enum mcomp_status status = append_block(writer, node, err);
        if (status != MCOMP_OK)
            return status;
    }
    void *room;
    enum mcomp_status status = make_index(writer, &index, &room, err);
    if (status != MCOMP_OK)
        return status;
    size_t bytes;
    trailer->index_offset = writer->bytes;
    status = append_record(writer, &record, &trailer->index_crc, &bytes, err);
    trailer->index_bytes = bytes;
    free(room);
    return status;
}

/* ---- opening ---- */

static char *join(const char *directory, const char *name, const char *suffix)
{
    char *path;
    return asprintf(&path, "%s/%s%s", directory, name, suffix) < 0 ? NULL : path;
}

static enum mcomp_status sync_directory(const char *directory, struct err *err)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "cannot open directory %s", directory);
    enum mcomp_status status = MCOMP_OK;
    if (fsync(fd) != 0 && errno != EINVAL) /* EINVAL: the file system cannot */
        status = err_sys(err, errno, "cannot sync directory %s", directory);
    close(fd);
    return status;
}

static enum mcomp_status make_directory(const char *directory, struct err *err)
{
    if (mkdir(directory, 0777) != 0)
        return errno == EEXIST ? MCOMP_OK : err_sys(err, errno, "cannot make directory %s", directory);
    char *parent = join(directory, "..", "");
    if (!parent)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to make directory %s", directory);
    enum mcomp_status status = sync_directory(parent, err);
    free(parent);
    return status;
}

/** Open and lock the temporary file. Between the two a sweep may take it away: then once more. */
static enum mcomp_status open_temporary(struct snapshot_writer *writer, struct err *err)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        struct stat st;
        writer->fd = open(writer->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->fd < 0)
            return err_sys(err, errno, "cannot create %s", writer->temporary);
        int result;
        do {
            result = flock(writer->fd, LOCK_EX);
        } while (result != 0 && errno == EINTR);
        /* A file system without locks has no sweeper that could take one. */
        if (fstat(writer->fd, &st) == 0 && st.st_nlink > 0)
            return MCOMP_OK;
        close(writer->fd);
        writer->fd = -1;
    }
    return err_set(err, MCOMP_ABORTED, "cannot create %s: somebody removes it each time", writer->temporary);
}

enum mcomp_status snapshot_writer_open(struct snapshot_writer **out, const char *directory, const char *name, uint64_t segment_size, uint32_t nodes,
                                       struct err *err)
{
    *out = NULL;
    if (!format_shape_ok(segment_size, nodes))
        return err_set(err, MCOMP_INVALID_ARGUMENT, "a snapshot of %" PRIu32 " nodes with %" PRIu64 " bytes each cannot be", nodes, segment_size);
    struct snapshot_writer *writer = calloc(1, sizeof *writer + nodes * sizeof writer->node[0]);
    if (!writer)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to write a snapshot");
    writer->fd = -1;
    writer->segment_size = segment_size;
    writer->nodes = nodes;
    writer->directory = strdup(directory);
    writer->path = join(directory, name, "");
    writer->temporary = join(directory, name, SNAPSHOT_TEMPORARY_SUFFIX);
    enum mcomp_status status = MCOMP_OK;
    if (!writer->directory || !writer->path || !writer->temporary)
        status = err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to write a snapshot");
    if (status == MCOMP_OK)
        status = make_directory(directory, err);
    if (status == MCOMP_OK && faccessat(AT_FDCWD, writer->path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        status = err_set(err, MCOMP_ALREADY_EXISTS, "%s exists already", writer->path);
    if (status == MCOMP_OK)
        status = open_temporary(writer, err);
    if (status == MCOMP_OK)
        status = sink_open(&writer->sink, writer->fd, writer->temporary, err);
    if (status == MCOMP_OK) {
        static const uint8_t zeros[SNAPSHOT_HEADER_BYTES]; /* the header's room */
        status = append(writer, zeros, sizeof zeros, err);
    }
    if (status != MCOMP_OK) {
        snapshot_writer_discard(writer);
        return status;
    }
    *out = writer;
    return MCOMP_OK;
}

/* ---- chunks ---- */

static enum mcomp_status check_order(struct snapshot_writer *writer, uint32_t node, uint64_t address, struct err *err)
{
    struct node_state *state = &writer->node[node];
    if (address < state->next_address)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "chunk at address %" PRIu64 " after one of node %" PRIu32 " that ends at %" PRIu64, address, node,
                       state->next_address);
    if (!state->block && !(state->block = calloc(1, sizeof *state->block)))
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory for the index of %s", writer->temporary);
    return MCOMP_OK;
}

enum mcomp_status snapshot_writer_put(struct snapshot_writer *writer, const Chunk *chunk, struct err *err)
{
    MC_ASSERT(!writer->failed);
    const uint8_t *pages;
    enum mcomp_status status = chunk_open(&writer->opener, chunk, writer->segment_size, writer->nodes, &pages, err);
    if (status != MCOMP_OK)
        return fail(writer, status);
    uint32_t node = (uint32_t)(chunk->address / writer->segment_size);
    status = check_order(writer, node, chunk->address, err);
    if (status != MCOMP_OK)
        return fail(writer, status);
    struct node_state *state = &writer->node[node];
    struct open_block *block = state->block;
    block->address[block->count] = chunk->address;
    block->offset[block->count] = writer->bytes;
    block->crc[block->count++] = chunk->crc32c;
    state->next_address = chunk->address + chunk_window_bytes(writer->segment_size, chunk->address);
    writer->chunks++;
    writer->pages += (uint64_t)__builtin_popcountll(chunk->pages);
    uint8_t head[FORMAT_CHUNK_HEAD_BYTES_MAX];
    status = append(writer, head, format_chunk_head_put(head, chunk), err);
    if (status == MCOMP_OK)
        status = append(writer, chunk->data.data, chunk->data.len, err);
    if (status == MCOMP_OK && block->count == FORMAT_BLOCK_CHUNKS)
        status = append_block(writer, node, err);
    return status;
}

uint64_t snapshot_writer_bytes(const struct snapshot_writer *writer)
{
    return writer->bytes;
}

uint64_t snapshot_writer_pages(const struct snapshot_writer *writer)
{
    return writer->pages;
}

/* ---- the end ---- */

static enum mcomp_status write_header(struct snapshot_writer *writer, const uint8_t header[SNAPSHOT_HEADER_BYTES], struct err *err)
{
    for (size_t done = 0; done < SNAPSHOT_HEADER_BYTES;) {
        ssize_t n = pwrite(writer->fd, header + done, SNAPSHOT_HEADER_BYTES - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_sys(err, n < 0 ? errno : EIO, "cannot write %s", writer->temporary);
        done += (size_t)n;
    }
    return MCOMP_OK;
}

/** Everything of the file that is still missing. */
static enum mcomp_status complete(struct snapshot_writer *writer, const Header *given, struct err *err)
{
    Header header = *given;
    header.format_version = FORMAT_VERSION;
    header.segment_size = writer->segment_size;
    header.nodes = writer->nodes;
    header.page_bytes = SNAPSHOT_PAGE_BYTES;
    header.chunk_bytes = SNAPSHOT_CHUNK_BYTES;
    header.pages_stored = writer->pages;
    uint8_t begin[SNAPSHOT_HEADER_BYTES], end[SNAPSHOT_TRAILER_BYTES];
    struct format_trailer trailer = {.format_version = FORMAT_VERSION, .segment_size = writer->segment_size, .nodes = writer->nodes};
    enum mcomp_status status = format_header_put(begin, &header, err);
    if (status == MCOMP_OK)
        status = append_index(writer, &trailer, err);
    if (status != MCOMP_OK)
        return status;
    trailer.header_crc = crc32c(0, begin, sizeof begin);
    trailer.file_bytes = writer->bytes + sizeof end;
    format_trailer_put(end, &trailer);
    status = append(writer, end, sizeof end, err);
    if (status == MCOMP_OK)
        status = sink_finish(writer->sink, err);
    return status == MCOMP_OK ? write_header(writer, begin, err) : status;
}

/** Rename without replacing anything. */
static enum mcomp_status publish(struct snapshot_writer *writer, struct err *err)
{
    int result = renameat2(AT_FDCWD, writer->temporary, AT_FDCWD, writer->path, RENAME_NOREPLACE);
    if (result != 0 && (errno == EINVAL || errno == ENOSYS)) /* the file system cannot; names of rounds are unique anyway */
        result = rename(writer->temporary, writer->path);
    if (result != 0)
        return err_sys(err, errno, "cannot rename %s to %s", writer->temporary, writer->path);
    writer->renamed = true;
    return MCOMP_OK;
}

static void release(struct snapshot_writer *writer)
{
    sink_close(writer->sink);
    if (writer->fd >= 0)
        close(writer->fd);
    for (uint32_t i = 0; i < writer->nodes; i++)
        free(writer->node[i].block);
    chunk_opener_close(&writer->opener);
    free(writer->directory);
    free(writer->path);
    free(writer->temporary);
    free(writer->block);
    free(writer);
}

enum mcomp_status snapshot_writer_commit(struct snapshot_writer *writer, const Header *header, uint64_t *bytes, struct err *err)
{
    MC_ASSERT(!writer->failed);
    enum mcomp_status status = complete(writer, header, err);
    if (status == MCOMP_OK && fsync(writer->fd) != 0)
        status = err_sys(err, errno, "cannot sync %s (%" PRIu64 " bytes) to its disk", writer->temporary, writer->bytes);
    if (status == MCOMP_OK)
        status = publish(writer, err);
    if (status == MCOMP_OK)
        status = sync_directory(writer->directory, err);
    if (status != MCOMP_OK)
        return fail(writer, status);
    *bytes = writer->bytes;
    release(writer);
    return MCOMP_OK;
}

void snapshot_writer_discard(struct snapshot_writer *writer)
{
    if (!writer)
        return;
    /* When only the sync of the directory failed, the file stands under its name although nobody was told of success. */
    if (writer->fd >= 0)
        unlink(writer->renamed ? writer->path : writer->temporary);
    release(writer);
}
