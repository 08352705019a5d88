/* SPDX-License-Identifier: Apache-2.0 */
/** Operation log: one line for each write and, if asked, each read, in a file.
 *
 *    2026-02-03T10:11:12.345678Z client=10.0.0.7:51234 op=write addr=0x1f00 len=512 status=OK
 *
 *  Threads that execute put fixed-size records into rings of their own and never wait: a full ring drops the record and counts it.
 *  One thread formats and writes. */
#ifndef SERVER_OPLOG_H
#define SERVER_OPLOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "wire/wire.h"

struct oplog;

/** Who a record is about: an address in few bytes. */
struct oplog_client {
    uint8_t address[16]; /* IPv4 in the first four */
    uint16_t port;
    uint8_t family;      /* AF_INET, AF_INET6, or 0 */
};

void oplog_client_set(struct oplog_client *client, const struct sockaddr_storage *address);

#define OPLOG_CLIENT_TEXT_BYTES 64u

/** "10.0.0.7:51234", "[::1]:51234" or "unknown". Returns text. */
const char *oplog_client_text(const struct oplog_client *client, char text[OPLOG_CLIENT_TEXT_BYTES]);

/** Start logging to path (appended to, made if missing) for `threads` producers. Starts a thread.
 *  Errors: those of open(2), RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status oplog_open(struct oplog **log, const char *path, bool reads, uint32_t threads, struct err *err);

/** Record one operation; only thread number `thread` calls this with it. Never waits. */
void oplog_record(struct oplog *log, uint32_t thread, const struct oplog_client *client, const struct wire_request *request,
                  enum mcomp_status status);

/** Ask the writing thread to reopen the file by its path. Any thread. */
void oplog_reopen(struct oplog *log);

void oplog_counts(const struct oplog *log, uint64_t *lines, uint64_t *dropped);

/** Write what is recorded, fsync, and end the thread. Producers must have stopped. NULL is allowed. */
void oplog_close(struct oplog *log);

#endif
