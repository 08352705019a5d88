/* SPDX-License-Identifier: Apache-2.0 */
/** Bounds that more than one part relies on, each with its reason. Bounds of one part stand in that part. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define GRID_NAME_BYTES_MAX 64u   /* fits the name of a shared-memory object together with the node's number */
#define GRID_NODES_MAX 256u       /* a round number carries the leader's node in 8 bits */
#define PAGE_BYTES 4096u          /* unit of the segment's size and of snapshots, whatever the machine's page is */
#define MULTI_RANGES_MAX 1024u    /* ranges of one Multi request */
#define MESSAGE_BYTES_MIN 4096u   /* smallest allowed max_message */
#define MESSAGE_BYTES_MAX (1u << 30) /* largest allowed max_message; protobuf messages end at 2 GiB */
#define FRAME_OVERHEAD_BYTES 65536u /* what a frame may hold besides max_message bytes of payload */
#define ATOMIC_WORD_BYTES 8u      /* width of fetch-and-add and compare-and-swap */

_Static_assert(FRAME_OVERHEAD_BYTES >= MULTI_RANGES_MAX * 48u + 1024u, "every range of a Multi has a header");

#endif
