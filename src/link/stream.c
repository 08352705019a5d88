/* SPDX-License-Identifier: Apache-2.0 */
#include "link/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/wire.h"

#define IN_BYTES 4096u /* requests, and answers without pages */
#define SEND_PARTS 64  /* of one send */

/* ---- ending ---- */

void stream_close(struct stream *stream)
{
    if (stream->fd < 0)
        return;
    ev_io_stop(stream->loop, &stream->reader);
    ev_io_stop(stream->loop, &stream->writer);
    close(stream->fd);
    stream->fd = -1;
    free(stream->in);
    stream->in = NULL;
    stream->in_used = stream->in_room = 0;
    while (stream->out) {
        struct outgoing *out = stream->out;
        stream->out = out->next;
        free(out);
    }
    stream->out_last = NULL;
    stream->unsent = 0;
}

/** The last thing that is done with a stream in a callback of the loop. */
static void end(struct stream *stream, const struct err *err)
{
    stream_close(stream);
    stream->calls->ended(stream->arg, err);
}

/* ---- input ---- */

/** What came is no frame. false: the stream is at its end. */
static bool refuse_frame(struct stream *stream, uint64_t announced, struct err *err)
{
    if (announced)
        err_set(err, MCOMP_INVALID_ARGUMENT, "a frame of %" PRIu64 " bytes is over the limit of %zu", announced, stream->frame_limit);
    else
        err_set(err, MCOMP_INVALID_ARGUMENT, "the length before a frame is not a varint of 64 bits");
    if (!stream->calls->bad)
        return false;
    stream->calls->bad(stream->arg, err);
    MC_ASSERT(stream->finishing || stream->fd < 0);
    return true;
}

/** Deliver whole frames. false: the stream is at its end, and err tells why. */
static bool deliver(struct stream *stream, struct err *err)
{
    size_t at = 0, header = 0;
    uint64_t body = 0;
    bool whole = true;
    while (stream->fd >= 0 && !stream->paused && !stream->finishing && at < stream->in_used) {
        enum wire_frame kind = wire_frame_peek(stream->in + at, stream->in_used - at, stream->frame_limit, &header, &body);
        if (kind == WIRE_FRAME_BAD && !refuse_frame(stream, body, err))
            return false;
        whole = kind != WIRE_FRAME_PART;
        if (kind != WIRE_FRAME_WHOLE)
            break;
        stream->calls->frame(stream->arg, stream->in + at + header, body);
        at += header + body;
    }
    if (stream->fd < 0)
        return true;
    if (stream->finishing)
        at = stream->in_used;
    stream->in_used -= at;
    if (at)
        memmove(stream->in, stream->in + at, stream->in_used);
    if (whole || !header || header + body <= stream->in_room)
        return true;
    /* A longer frame than any before: room for all of it, so that the receive ends where the frame ends. */
    uint8_t *larger = realloc(stream->in, header + body);
    if (!larger) {
        err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for a frame of %" PRIu64 " bytes", body);
        return false;
    }
    stream->in = larger;
    stream->in_room = header + body;
    return true;
}

/** false: the stream is at its end. */
static bool receive(struct stream *stream, struct err *err)
{
    ssize_t n;
    do
        n = recv(stream->fd, stream->in + stream->in_used, stream->in_room - stream->in_used, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        stream->in_used += (size_t)n;
        stream->active_ns = clock_mono_ns();
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return true;
    if (n < 0)
        err_sys(err, errno, "receive");
    else
        err_set(err, MCOMP_UNAVAILABLE, "the other side closed the connection");
    return false;
}

static void reader_cb(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct stream *stream = watcher->data;
    struct err err;
    bool ok = deliver(stream, &err); /* what a pause left behind */
    if (ok && stream->fd >= 0 && !stream->paused)
        ok = receive(stream, &err) && deliver(stream, &err);
    if (!ok)
        end(stream, &err);
}

void stream_pause(struct stream *stream, bool paused)
{
    if (stream->fd < 0 || paused == stream->paused)
        return;
    stream->paused = paused;
    if (paused) {
        ev_io_stop(stream->loop, &stream->reader);
        return;
    }
    ev_io_start(stream->loop, &stream->reader);
    if (stream->in_used)
        ev_feed_event(stream->loop, &stream->reader, EV_READ); /* no byte need come for what is here already */
}

void stream_finish(struct stream *stream)
{
    if (stream->fd < 0 || stream->finishing)
        return;
    stream_pause(stream, false);
    stream->finishing = true;
    if (!stream->out)
        (void)shutdown(stream->fd, SHUT_WR); /* a failure shows in the next receive */
}

void stream_trim(struct stream *stream)
{
    if (stream->fd < 0 || stream->in_room <= IN_BYTES || stream->in_used > IN_BYTES)
        return;
    uint8_t *smaller = realloc(stream->in, IN_BYTES);
    if (!smaller)
        return;
    stream->in = smaller;
    stream->in_room = IN_BYTES;
}

/* ---- output ---- */

/** Bytes of output that one send takes. */
static int gather(const struct stream *stream, struct iovec parts[SEND_PARTS])
{
    int count = 0;
    for (const struct outgoing *out = stream->out; out; out = out->next) {
        for (uint32_t i = 0; i < out->parts; i++) {
            if (count == SEND_PARTS)
                return count;
            if (out->part[i].iov_len)
                parts[count++] = out->part[i];
        }
    }
    return count;
}

static void drop_sent(struct stream *stream, size_t sent)
{
    stream->unsent -= sent;
    while (sent > 0) {
        struct outgoing *out = stream->out;
        for (uint32_t i = 0; i < out->parts && sent > 0; i++) {
            struct iovec *part = &out->part[i];
            size_t now = sent < part->iov_len ? sent : part->iov_len;
            part->iov_base = (uint8_t *)part->iov_base + now;
            part->iov_len -= now;
            out->bytes -= now;
            sent -= now;
        }
        if (out->bytes > 0)
            return;
        stream->out = out->next;
        if (!stream->out)
            stream->out_last = NULL;
        free(out);
    }
}

static void writer_cb(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    struct stream *stream = watcher->data;
    struct iovec parts[SEND_PARTS];
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)gather(stream, parts)};
    ssize_t n;
    do
        n = sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        struct err err;
        err_sys(&err, errno, "send");
        end(stream, &err);
        return;
    }
    if (n > 0) {
        stream->active_ns = clock_mono_ns();
        drop_sent(stream, (size_t)n);
    }
    if (!stream->out) {
        ev_io_stop(loop, watcher);
        if (stream->finishing)
            (void)shutdown(stream->fd, SHUT_WR);
    }
    if (stream->calls->sent)
        stream->calls->sent(stream->arg);
}

void stream_send(struct stream *stream, struct outgoing *out)
{
    if (stream->fd < 0) {
        free(out);
        return;
    }
    out->next = NULL;
    *(stream->out_last ? &stream->out_last->next : &stream->out) = out;
    stream->out_last = out;
    stream->unsent += out->bytes;
    if (ev_is_active(&stream->writer))
        return;
    ev_io_start(stream->loop, &stream->writer);
    ev_feed_event(stream->loop, &stream->writer, EV_WRITE); /* as a rule there is room: no need to ask first */
}

/* ---- opening ---- */

bool stream_open(struct stream *stream, const struct stream_calls *calls, void *arg, struct ev_loop *loop, int fd, size_t frame_limit)
{
    *stream = (struct stream){.calls = calls, .arg = arg, .loop = loop, .fd = -1, .frame_limit = frame_limit, .active_ns = clock_mono_ns()};
    stream->in = malloc(IN_BYTES);
    if (!stream->in)
        return false;
    stream->in_room = IN_BYTES;
    stream->fd = fd;
    int on = 1;
    /* Neither can fail on a TCP socket; on any other they do not matter. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    ev_io_init(&stream->reader, reader_cb, fd, EV_READ);
    ev_io_init(&stream->writer, writer_cb, fd, EV_WRITE);
    stream->reader.data = stream->writer.data = stream;
    ev_io_start(loop, &stream->reader);
    return true;
}
