/* SPDX-License-Identifier: Apache-2.0 */
/** What a fake server answers: one frame for each request. */
#ifndef TEST_FAKE_ANSWER_H
#define TEST_FAKE_ANSWER_H

#include "lib/fake_server.h"

struct fake_node {
    uint32_t number, nodes;
    uint64_t segment_size, max_message;
    uint8_t *memory;
    struct fake_sessions *sessions;
};

struct fake_answer {
    uint8_t *bytes; /* owned by the caller */
    size_t count;
};

void fake_answer_hello(struct fake_answer *answer, const struct fake_node *node, const struct fake_hello *hello,
                       const struct wire_request *request);
void fake_answer_status(struct fake_answer *answer, uint64_t id, enum mcomp_status status);

/** Carry out and answer, with the mistake that the action asks for. false: the client should not have asked; it is told so. */
bool fake_answer_make(struct fake_answer *answer, const struct fake_node *node, enum fake_action action, const struct wire_request *request);

#endif
