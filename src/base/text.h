/* SPDX-License-Identifier: Apache-2.0 */
/** Bytes from outside made fit for one line of text: log lines and error messages. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>

/** Escape in[0 … in_bytes) into out, which holds room bytes including the final NUL (room ≥ 1). Quotes and backslashes get a backslash,
 *  control bytes and whatever is not UTF-8 become \n, \r, \t or \xNN. What does not fit is left out and "..." put in its place;
 *  an escape or a character is never cut in two. Returns the bytes written, without the NUL. Any thread. */
size_t text_escape(char *out, size_t room, const char *in, size_t in_bytes);

/** The same, but quotes and backslashes stay: for text that is shown to people as it is, and not put into quotes. */
size_t text_show(char *out, size_t room, const char *in, size_t in_bytes);

#define TEXT_QUOTE_BYTES 96u

/** `"in"`, escaped, for an error message that quotes its input; longer input is cut. Returns buf. */
const char *text_quote(const char *in, char buf[TEXT_QUOTE_BYTES]);

/** Length of the character that begins at in (NUL-terminated or not, left ≥ 1 bytes left) if it is printable UTF-8, else 0. */
size_t text_char_bytes(const char *in, size_t left);

#endif
