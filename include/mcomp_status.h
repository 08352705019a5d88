/* SPDX-License-Identifier: Apache-2.0 */
/** Status codes of mcomp: one list for the library, the servers and the wire. */
#ifndef MCOMP_STATUS_H
#define MCOMP_STATUS_H

/* name, number, may a repetition help?, text. The names and numbers are the canonical RPC codes; on the
 * wire (enum Status in mcomp.proto) each number is one higher, since 0 is UNSPECIFIED there. */
#define MCOMP_STATUS_LIST(X)                                                                          \
    X(OK, 0, 0, "success")                                                                            \
    X(CANCELLED, 1, 0, "cancelled by the caller")                                                     \
    X(UNKNOWN, 2, 0, "unknown error")                                                                 \
    X(INVALID_ARGUMENT, 3, 0, "invalid argument")                                                     \
    X(DEADLINE_EXCEEDED, 4, 1, "deadline exceeded")                                                   \
    X(NOT_FOUND, 5, 0, "not found")                                                                   \
    X(ALREADY_EXISTS, 6, 0, "already exists")                                                         \
    X(PERMISSION_DENIED, 7, 0, "permission denied")                                                   \
    X(RESOURCE_EXHAUSTED, 8, 1, "a limit is reached")                                                 \
    X(FAILED_PRECONDITION, 9, 0, "precondition failed")                                               \
    X(ABORTED, 10, 1, "aborted")                                                                      \
    X(OUT_OF_RANGE, 11, 0, "outside the grid")                                                        \
    X(UNIMPLEMENTED, 12, 0, "not implemented")                                                        \
    X(INTERNAL, 13, 0, "internal error")                                                              \
    X(UNAVAILABLE, 14, 1, "unavailable")                                                              \
    X(DATA_LOSS, 15, 0, "data lost")                                                                  \
    X(UNAUTHENTICATED, 16, 0, "not authenticated")                                                    \
    X(WRONG_NODE, 17, 0, "wrong node")

#define MCOMP_STATUS_ENUM(name, number, retry, text) MCOMP_##name = (number),
enum mcomp_status { MCOMP_STATUS_LIST(MCOMP_STATUS_ENUM) };
#undef MCOMP_STATUS_ENUM

#endif
