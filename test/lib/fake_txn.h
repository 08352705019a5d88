/* SPDX-License-Identifier: Apache-2.0 */
/** Sessions and transactions of a fake server: a participant that keeps its records and locks in plain memory and never resolves anything by
 *  itself. */
#ifndef TEST_FAKE_TXN_H
#define TEST_FAKE_TXN_H

#include "lib/fake_answer.h"

struct fake_sessions;

struct fake_sessions *fake_sessions_open(void);
void fake_sessions_close(struct fake_sessions *sessions);

/** Sessions that are open, and transactions that are prepared. */
unsigned fake_sessions_count(const struct fake_sessions *sessions);
unsigned fake_sessions_prepared(const struct fake_sessions *sessions);

/** Any request about a session or transaction; as fake_answer_make(). */
bool fake_txn_make(struct fake_answer *answer, const struct fake_node *node, enum fake_action action, const struct wire_request *request);

#endif
