/* SPDX-License-Identifier: Apache-2.0 */
/** CRC-32C (Castagnoli), the checksum of everything that mcomp stores. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/** Checksum of bytes that follow others: crc is the result for those, 0 when there are none. Uses the processor's instruction where it
 *  has one. Any thread. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

/** The same, always computed with tables. */
uint32_t crc32c_tables(uint32_t crc, const void *data, size_t bytes);

/** Checksum of bytes with the checksum `first` followed by `bytes` others with the checksum `second`, of which neither need be at hand. Any thread. */
uint32_t crc32c_join(uint32_t first, uint32_t second, uint64_t bytes);

#endif
