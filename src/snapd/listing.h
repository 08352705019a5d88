/* SPDX-License-Identifier: Apache-2.0 */
/** The answer to List: what is in the snapshot directory. */
#ifndef SNAPD_LISTING_H
#define SNAPD_LISTING_H

#include "config/config.h"
#include "link/outgoing.h"

#define LISTING_FILES_MAX 4096u /* the newest; an answer stays below 4 MiB */

/** Read the directory (blocks) and answer. NULL: out of memory. */
struct outgoing *listing_answer(const struct config *config, uint64_t id);

#endif
