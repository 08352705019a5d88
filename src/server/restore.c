/* SPDX-License-Identifier: Apache-2.0 */
#include "server/restore.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "snapshot/file.h"

#define PIECE_BYTES (1u << 20) /* read and written at a time; smaller where max_message is */
#define WRITER 0u              /* the redo record used: no other thread runs yet */

enum mcomp_status restore_check(const struct config *config, const char *path, struct err *err)
{
    struct snapshot_reader *reader;
    enum mcomp_status code = snapshot_reader_open_fitting(&reader, path, config_grid_bytes(config), err);
    if (code == MCOMP_OK)
        snapshot_reader_close(reader);
    return code;
}

/** [offset, offset+length) of the segment becomes what the file has at address, or zero behind its end. */
static enum mcomp_status restore_piece(struct segment *segment, struct snapshot_reader *reader, uint64_t address, uint64_t offset, uint64_t length,
                                       uint8_t *buf, struct err *err)
{
    uint64_t array = snapshot_reader_grid_bytes(reader);
    uint64_t stored = address >= array ? 0 : array - address < length ? array - address : length;
    memset(buf + stored, 0, length - stored);
    if (stored) {
        enum mcomp_status code = snapshot_reader_read(reader, address, stored, buf, err);
        if (code != MCOMP_OK)
            return code;
    }
    enum segment_outcome outcome = segment_write(segment, WRITER, offset, length, buf);
    MC_ASSERT(outcome == SEGMENT_DONE); /* nothing freezes a segment whose agent has not started */
    return MCOMP_OK;
}

static enum mcomp_status restore_all(struct segment *segment, const struct config *config, uint32_t node, struct snapshot_reader *reader,
                                     struct err *err)
{
    uint64_t k = config->segment_size;
    uint64_t piece = config->server.max_message < PIECE_BYTES ? config->server.max_message : PIECE_BYTES;
    uint8_t *buf = malloc(piece);
    if (!buf)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for the restore");
    enum mcomp_status code = MCOMP_OK;
    for (uint64_t offset = 0; code == MCOMP_OK && offset < k; offset += piece) {
        uint64_t length = k - offset < piece ? k - offset : piece;
        code = restore_piece(segment, reader, node * k + offset, offset, length, buf, err);
    }
    free(buf);
    return code;
}

enum mcomp_status restore_segment(struct segment *segment, const struct config *config, uint32_t node, const char *path, struct err *err)
{
    struct snapshot_reader *reader;
    uint64_t begin_ns = clock_mono_ns();
    enum mcomp_status code = snapshot_reader_open_fitting(&reader, path, config_grid_bytes(config), err);
    if (code != MCOMP_OK)
        return code;
    code = restore_all(segment, config, node, reader, err);
    uint32_t round = snapshot_reader_header(reader)->round;
    snapshot_reader_close(reader);
    if (code != MCOMP_OK)
        return err_wrap(err, code, "restore from %s", path);
    segment_restored(segment);
    char keys[96];
    snprintf(keys, sizeof keys, "round=%" PRIu32 " bytes=%" PRIu64 " duration_ns=%" PRIu64, round, config->segment_size, clock_mono_ns() - begin_ns);
    log_line(LOG_INFO, "segment", "restore", keys, "its bytes are those of %s", path);
    return MCOMP_OK;
}
