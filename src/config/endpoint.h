/* SPDX-License-Identifier: Apache-2.0 */
/** Addresses as mcomp.cfg and command lines have them. */
#ifndef CONFIG_ENDPOINT_H
#define CONFIG_ENDPOINT_H

#include "base/err.h"
#include "config/config.h"

/** Parse "192.0.2.1:7100", "[2001:db8::1]:7100" or "host.example:7100". Resolves nothing. The result is normalised (IPv6 in its shortest
 *  form, names in small letters and without a dot at the end), so that equal addresses have equal texts. Any thread.
 *  Errors: INVALID_ARGUMENT; the text quotes the input and says what would be right. */
MUST_CHECK enum mcomp_status endpoint_parse(struct config_endpoint *endpoint, const char *text, struct err *err);

#endif
