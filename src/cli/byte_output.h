/* SPDX-License-Identifier: Apache-2.0 */
/** Bytes of an array on standard output as `read` shows them: as they are, as a hex dump, or inside a JSON document. */
#ifndef CLI_BYTE_OUTPUT_H
#define CLI_BYTE_OUTPUT_H

#include "cli/base64.h"
#include "cli/cli.h"
#include "cli/hexdump.h"
#include "cli/out.h"

enum byte_form { BYTE_RAW, BYTE_HEX, BYTE_JSON };

/** One thread. Large: on the heap. */
struct byte_output {
    struct out out;
    enum byte_form form;
    struct hexdump dump;
    struct base64 base64;
};

/** What the options and the terminal ask for. false: they exclude each other, which has been told. */
MUST_CHECK bool byte_output_choose(const struct cli *cli, bool hex, bool raw, enum byte_form *form);

/** Begin with bytes from address on; segment_size is where nodes meet. */
void byte_output_begin(struct byte_output *output, const struct cli *cli, enum byte_form form, uint64_t address, uint64_t length,
                       uint64_t segment_size);

/** The next bytes; they are shown at once. Errors: those of write(2). */
MUST_CHECK enum mcomp_status byte_output_put(struct byte_output *output, const uint8_t *bytes, size_t length, struct err *err);

/** Close what was begun, so that it is a whole document even after a failure (error; NULL: there was none). Errors: those of write(2). */
MUST_CHECK enum mcomp_status byte_output_end(struct byte_output *output, const struct mcomp_error *error, struct err *err);

/** Tell that writing failed; by SIGPIPE if nobody reads any more. */
enum cli_exit byte_output_fail(const struct byte_output *output, const struct cli *cli, const struct err *err);

#endif
