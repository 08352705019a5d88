/* SPDX-License-Identifier: Apache-2.0 */
/** A connected socket that carries frames both ways, on a libev loop. Used by both ends of a connection between snapshot processes, and by
 *  the memory servers among themselves.
 *
 *  Frames are delivered one by one, where they were received. What is to be sent waits in a list and is never copied. */
#ifndef LINK_STREAM_H
#define LINK_STREAM_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "link/outgoing.h"

/** Called on the loop's thread. They may use the stream, close it included; only `ended` may free its memory. */
struct stream_calls {
    void (*frame)(void *arg, const uint8_t *body, size_t bytes);
    /** What came is no frame; err says why. Must end in stream_finish or stream_close. NULL: the connection just ends. */
    void (*bad)(void *arg, const struct err *err);
    /** The other side closed or broke the connection, or memory is short. The stream is closed already. */
    void (*ended)(void *arg, const struct err *err);
    /** Some output was sent. May be NULL. */
    void (*sent)(void *arg);
};

/** Owner: the struct that it is part of. The loop's thread only. Zeroed with fd -1: closed. */
struct stream {
    const struct stream_calls *calls; /* borrowed */
    void *arg;                        /* borrowed */
    struct ev_loop *loop;             /* borrowed */
    int fd;                           /* owned; -1: closed */
    size_t frame_limit;               /* bytes of a message that comes in, at most */
    bool paused;                      /* no frames are delivered, and none received */
    bool finishing;                   /* input is thrown away */
    ev_io reader, writer;
    uint8_t *in; /* owned; of in_room bytes, in_used are there */
    size_t in_used, in_room;
    struct outgoing *out, *out_last; /* owned; the first may be sent in part */
    size_t unsent;                   /* bytes of all of them */
    uint64_t active_ns;              /* monotonic: last byte in or out */
};

/** Take a connected, non-blocking socket over. false: out of memory; fd is still the caller's. */
MUST_CHECK bool stream_open(struct stream *stream, const struct stream_calls *calls, void *arg, struct ev_loop *loop, int fd, size_t frame_limit);

/** Close at once; what was not sent is dropped. `ended` is not called. Safe on a closed one. */
void stream_close(struct stream *stream);

/** Send a frame, which is the stream's from here on. Dropped if the stream is closed. The first attempt is made by the loop, not here. */
void stream_send(struct stream *stream, struct outgoing *out);

/** Stop, or go on, delivering frames. What has been received already is delivered by the loop, not here. */
void stream_pause(struct stream *stream, bool paused);

/** Deliver no more frames; send what is there, tell the other side that this was all, and throw away what it still sends, so that it can read our last
 *  words. `ended` is called when it has closed its side too; the caller limits how long that may take. */
void stream_finish(struct stream *stream);

/** Give back memory that only long frames need, if none is being received. */
void stream_trim(struct stream *stream);

/** Is the beginning of a frame there, of which the rest does not come? */
static inline bool stream_has_part(const struct stream *stream)
{
    return stream->in_used > 0 && !stream->paused && !stream->finishing;
}

#endif
