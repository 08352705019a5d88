/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off: cmocka.h needs these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link/stream.h"
#include "wire/varint.h"

#define LIMIT (2u << 20)

/** One end under test, the other as a plain socket. */
struct pair {
    struct ev_loop *loop;
    struct stream stream;
    int other;
    uint32_t frames, bads, ends, sents;
    uint64_t bytes, sum; /* of frames delivered */
    uint32_t pause_after, finish_after, close_after; /* so many frames; 0: never */
    struct err err;
};

static void frame_cb(void *arg, const uint8_t *body, size_t bytes)
{
    struct pair *pair = arg;
    pair->frames++;
    pair->bytes += bytes;
    for (size_t i = 0; i < bytes; i++)
        pair->sum = pair->sum * 31 + body[i];
    if (pair->frames == pair->pause_after)
        stream_pause(&pair->stream, true);
    if (pair->frames == pair->finish_after)
        stream_finish(&pair->stream);
    if (pair->frames == pair->close_after)
        stream_close(&pair->stream);
}

static void bad_cb(void *arg, const struct err *err)
{
    struct pair *pair = arg;
    pair->bads++;
    pair->err = *err;
    stream_finish(&pair->stream);
}

static void ended_cb(void *arg, const struct err *err)
{
    struct pair *pair = arg;
    pair->ends++;
    pair->err = *err;
    assert_int_equal(pair->stream.fd, -1);
}

static void sent_cb(void *arg)
{
    struct pair *pair = arg;
    pair->sents++;
}

static const struct stream_calls calls = {.frame = frame_cb, .bad = bad_cb, .ended = ended_cb, .sent = sent_cb};
static const struct stream_calls calls_without_bad = {.frame = frame_cb, .ended = ended_cb};

static void open_pair(struct pair *pair, const struct stream_calls *with)
{
    int fd[2];
    memset(pair, 0, sizeof *pair);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    pair->loop = ev_loop_new(0);
    pair->other = fd[1];
    assert_true(stream_open(&pair->stream, with, pair, pair->loop, fd[0], LIMIT));
}

static void close_pair(struct pair *pair)
{
    stream_close(&pair->stream);
    close(pair->other);
    ev_loop_destroy(pair->loop);
}

/** Let the loop do all that it can do without waiting. */
static void run(struct pair *pair)
{
    for (int i = 0; i < 200; i++)
        ev_run(pair->loop, EVRUN_NOWAIT);
}

static void other_sends(struct pair *pair, const void *data, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t n = send(pair->other, (const uint8_t *)data + at, bytes - at, MSG_NOSIGNAL);
        if (n > 0)
            at += (size_t)n;
        run(pair);
    }
}

/** A frame of so many bytes; the caller frees. */
static uint8_t *make_frame(size_t body, uint8_t first, size_t *bytes)
{
    uint8_t *frame = malloc(VARINT_BYTES_MAX + body), *at = varint_put(frame, body);
    for (size_t i = 0; i < body; i++)
        *at++ = (uint8_t)(first + i * 3);
    *bytes = (size_t)(at - frame);
    return frame;
}

static void frames_of_all_lengths_in_pieces_of_all_lengths(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 127, 128, 4094, 4095, 4096, 4097, 70000, LIMIT};
    static const size_t pieces[] = {1, 3, 4096, 65536};
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        struct pair pair;
        uint64_t bytes = 0, sum = 0;
        uint32_t frames = 0;
        open_pair(&pair, &calls);
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            if (pieces[p] < 4 && lengths[l] > 70000)
                continue;
            size_t count;
            uint8_t *frame = make_frame(lengths[l], (uint8_t)l, &count);
            for (size_t i = count - lengths[l]; i < count; i++)
                sum = sum * 31 + frame[i];
            bytes += lengths[l];
            frames++;
            for (size_t at = 0; at < count; at += pieces[p])
                other_sends(&pair, frame + at, count - at < pieces[p] ? count - at : pieces[p]);
            free(frame);
            run(&pair);
            assert_int_equal(pair.frames, frames);
        }
        assert_int_equal(pair.bytes, bytes);
        assert_int_equal(pair.sum, sum);
        assert_int_equal(pair.ends, 0);
        stream_trim(&pair.stream);
        assert_true(pair.stream.in_room <= 4096);
        other_sends(&pair, "\1x", 2);
        assert_int_equal(pair.frames, frames + 1);
        close_pair(&pair);
    }
}

static void many_frames_in_one_receive(void **state)
{
    (void)state;
    struct pair pair;
    open_pair(&pair, &calls);
    other_sends(&pair, "\1a\2bc\0\1d\3e", 10); /* the last is not all there */
    assert_int_equal(pair.frames, 4);
    assert_true(stream_has_part(&pair.stream));
    other_sends(&pair, "fg", 2);
    assert_int_equal(pair.frames, 5);
    assert_int_equal(pair.bytes, 7);
    assert_false(stream_has_part(&pair.stream));
    close_pair(&pair);
}

static void pausing_within_a_batch_loses_nothing(void **state)
{
    (void)state;
    struct pair pair;
    open_pair(&pair, &calls);
    pair.pause_after = 2;
    other_sends(&pair, "\1a\1b\1c\1d", 8); /* all of it is received; no further byte wakes the stream */
    assert_int_equal(pair.frames, 2);
    stream_pause(&pair.stream, false);
    run(&pair);
    assert_int_equal(pair.frames, 4);
    close_pair(&pair);

    open_pair(&pair, &calls);
    pair.pause_after = 2;
    other_sends(&pair, "\1a\1b\1c\1d\1", 9);
    assert_int_equal(pair.frames, 2);
    other_sends(&pair, "e\1f", 3);
    assert_int_equal(pair.frames, 2);
    assert_false(stream_has_part(&pair.stream)); /* what waits is not the other side's fault */
    stream_pause(&pair.stream, false);
    run(&pair);
    assert_int_equal(pair.frames, 6);
    close_pair(&pair);
}

static void closing_and_finishing_within_a_frame(void **state)
{
    (void)state;
    struct pair pair;
    open_pair(&pair, &calls);
    pair.close_after = 2;
    other_sends(&pair, "\1a\1b\1c", 6);
    assert_int_equal(pair.frames, 2);
    assert_int_equal(pair.ends, 0); /* whoever closes it knows */
    close_pair(&pair);

    open_pair(&pair, &calls);
    pair.finish_after = 1;
    struct outgoing *out = outgoing_make(3);
    memcpy(out->memory, "\2hi", 3);
    outgoing_add(out, out->memory, 3);
    stream_send(&pair.stream, out);
    other_sends(&pair, "\1a\1b\1c", 6);
    assert_int_equal(pair.frames, 1);
    char heard[8];
    assert_int_equal(recv(pair.other, heard, sizeof heard, 0), 3); /* our last words, */
    assert_int_equal(recv(pair.other, heard, sizeof heard, 0), 0); /* and that they were the last */
    other_sends(&pair, "\1d", 2);
    assert_int_equal(pair.frames, 1);
    assert_int_equal(pair.ends, 0);
    close(pair.other);
    run(&pair);
    assert_int_equal(pair.ends, 1);
    pair.other = dup(0);
    close_pair(&pair);
}

static void what_is_no_frame(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
    } table[] = {
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10},   /* more than 64 bits */
        {"\x81\x80\x80\x01", 4},                            /* LIMIT + 1 */
        {"\1a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", 12} /* after a good one */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct pair pair;
        open_pair(&pair, &calls);
        other_sends(&pair, table[i].bytes, table[i].count);
        assert_int_equal(pair.bads, 1);
        assert_int_equal(pair.err.code, MCOMP_INVALID_ARGUMENT);
        assert_int_equal(pair.ends, 0);
        other_sends(&pair, "\1b", 2);
        assert_int_equal(pair.frames, i == 2 ? 1 : 0);
        close_pair(&pair);

        open_pair(&pair, &calls_without_bad);
        other_sends(&pair, table[i].bytes, table[i].count);
        assert_int_equal(pair.ends, 1);
        assert_int_equal(pair.err.code, MCOMP_INVALID_ARGUMENT);
        close_pair(&pair);
    }
}

/** An answer of several parts. */
static struct outgoing *make_parts(uint32_t parts, size_t each)
{
    struct outgoing *out = outgoing_make(parts * each);
    for (uint32_t i = 0; i < parts; i++) {
        memset(out->memory + i * each, 'a' + (int)i, each);
        outgoing_add(out, out->memory + i * each, each);
    }
    return out;
}

static void output_leaves_in_order_however_little_the_socket_takes(void **state)
{
    (void)state;
    struct pair pair;
    const size_t each = 300000;
    open_pair(&pair, &calls);
    for (int i = 0; i < 3; i++)
        stream_send(&pair.stream, make_parts(OUTGOING_PARTS, each));
    stream_send(&pair.stream, make_parts(OUTGOING_PARTS, 0)); /* nothing at all */
    stream_send(&pair.stream, make_parts(1, 1));
    uint64_t total = 3 * OUTGOING_PARTS * each + 1, at = 0;
    assert_int_equal(pair.stream.unsent, total);
    while (at < total) {
        uint8_t heard[50000];
        run(&pair);
        ssize_t n = recv(pair.other, heard, sizeof heard, 0);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++, at++)
            assert_int_equal(heard[i], at == total - 1 ? 'a' : 'a' + (int)(at / each % OUTGOING_PARTS));
    }
    run(&pair);
    assert_int_equal(pair.stream.unsent, 0);
    assert_null(pair.stream.out);
    assert_true(pair.sents > 3);
    close_pair(&pair);
}

static void the_other_side_goes_away(void **state)
{
    (void)state;
    struct pair pair;
    open_pair(&pair, &calls);
    other_sends(&pair, "\5half", 5);
    close(pair.other);
    run(&pair);
    assert_int_equal(pair.ends, 1);
    assert_int_equal(pair.err.code, MCOMP_UNAVAILABLE);
    pair.other = dup(0);
    stream_send(&pair.stream, make_parts(1, 10)); /* into the void */
    close_pair(&pair);

    open_pair(&pair, &calls);
    stream_send(&pair.stream, make_parts(2, 1000));
    stream_pause(&pair.stream, true); /* nobody reads here: sending finds it out */
    close(pair.other);
    run(&pair);
    assert_int_equal(pair.ends, 1);
    pair.other = dup(0);
    close_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_all_lengths_in_pieces_of_all_lengths),
        cmocka_unit_test(many_frames_in_one_receive),
        cmocka_unit_test(pausing_within_a_batch_loses_nothing),
        cmocka_unit_test(closing_and_finishing_within_a_frame),
        cmocka_unit_test(what_is_no_frame),
        cmocka_unit_test(output_leaves_in_order_however_little_the_socket_takes),
        cmocka_unit_test(the_other_side_goes_away),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
