/* SPDX-License-Identifier: Apache-2.0 */
#include "config/endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define NAME_BYTES_MAX 253u /* of a host name, RFC 1035 */
#define LABEL_BYTES_MAX 63u

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/** "7100" → 7100; 0 if it is no port. */
static uint16_t parse_port(const char *text)
{
    uint32_t port = 0;
    size_t digits = 0;
    for (; is_digit(*text); text++, digits++) {
        port = port * 10 + (uint32_t)(*text - '0');
        if (port > UINT16_MAX)
            return 0;
    }
    return *text == 0 && digits > 0 ? (uint16_t)port : 0;
}

/** Without brackets; "%eth0" may follow. Normalises in place. NULL, or what is wrong. */
static const char *check_ipv6(char host[CONFIG_HOST_BYTES])
{
    char zone[64] = "";
    char *percent = strchr(host, '%');
    if (percent) {
        size_t bytes = strlen(percent);
        if (bytes < 2 || bytes >= sizeof zone)
            return "has a malformed zone: write the network interface behind %, as in [fe80::1%eth0]:7100";
        memcpy(zone, percent, bytes + 1);
        *percent = 0;
    }
    struct in6_addr address;
    if (inet_pton(AF_INET6, host, &address) != 1)
        return "holds no valid IPv6 address: write it as in [2001:db8::1]:7100";
    if (IN6_IS_ADDR_UNSPECIFIED(&address))
        return "names no machine: write the address at which the others reach this node";
    char shortest[INET6_ADDRSTRLEN];
    inet_ntop(AF_INET6, &address, shortest, sizeof shortest);
    snprintf(host, CONFIG_HOST_BYTES, "%s%s", shortest, zone);
    return NULL;
}

/** Host name or IPv4 address. Normalises in place. NULL, or what is wrong. */
static const char *check_name(char *host)
{
    size_t bytes = strlen(host);
    if (bytes > 1 && host[bytes - 1] == '.')
        host[--bytes] = 0;
    if (bytes > NAME_BYTES_MAX)
        return "has too long a host name: at most 253 bytes";
    bool numeric = true; /* the last label; names end with a letter, RFC 1123 */
    size_t label_bytes = 0;
    for (char *c = host; *c; c++) {
        if (*c == '.') {
            if (label_bytes == 0 || c[-1] == '-')
                return "has a malformed host name: write it as in node1.example:7100";
            label_bytes = 0;
            numeric = true;
            continue;
        }
        bool first = label_bytes++ == 0;
        if (!is_digit(*c) && !is_letter(*c) && *c != '_' && (*c != '-' || first))
            return "has a malformed host name: write it as in node1.example:7100";
        if (label_bytes > LABEL_BYTES_MAX)
            return "has a malformed host name: at most 63 bytes between two dots";
        numeric = numeric && is_digit(*c);
        if (is_letter(*c))
            *c = (char)(*c | 0x20);
    }
    if (label_bytes == 0 || host[bytes - 1] == '-')
        return "has a malformed host name: write it as in node1.example:7100";
    if (!numeric)
        return NULL;
    struct in_addr address;
    if (inet_pton(AF_INET, host, &address) != 1)
        return "holds no valid IPv4 address: write it as in 192.0.2.1:7100";
    return address.s_addr == INADDR_ANY ? "names no machine: write the address at which the others reach this node" : NULL;
}

/** Split text into host and port. NULL, or what is wrong. */
static const char *parse(struct config_endpoint *endpoint, const char *text)
{
    const char *colon = strrchr(text, ':');
    const char *bracket = strrchr(text, ']');
    if (!colon || (bracket && colon < bracket))
        return "has no port: write HOST:PORT, [IPv6]:PORT for IPv6";
    size_t bytes = (size_t)(colon - text);
    bool ipv6 = text[0] == '[';
    if (ipv6 && (bytes < 2 || text[bytes - 1] != ']'))
        return "has a malformed IPv6 address: write it as in [2001:db8::1]:7100";
    if (!ipv6 && memchr(text, ':', bytes))
        return "has more than one colon: write an IPv6 address in brackets, as in [2001:db8::1]:7100";
    if (ipv6) {
        text++;
        bytes -= 2;
    }
    if (bytes == 0)
        return "has no host: write HOST:PORT";
    if (bytes >= CONFIG_HOST_BYTES)
        return "has too long a host name: at most 253 bytes";
    memcpy(endpoint->host, text, bytes);
    endpoint->host[bytes] = 0;
    endpoint->port = parse_port(colon + 1);
    if (endpoint->port == 0)
        return "has no valid port: write a number from 1 to 65535 behind the last colon";
    const char *wrong = ipv6 ? check_ipv6(endpoint->host) : check_name(endpoint->host);
    if (!wrong)
        snprintf(endpoint->text, sizeof endpoint->text, ipv6 ? "[%s]:%u" : "%s:%u", endpoint->host, endpoint->port);
    return wrong;
}

enum mcomp_status endpoint_parse(struct config_endpoint *endpoint, const char *text, struct err *err)
{
    char quoted[TEXT_QUOTE_BYTES];
    *endpoint = (struct config_endpoint){0};
    const char *wrong = parse(endpoint, text);
    if (!wrong)
        return MCOMP_OK;
    *endpoint = (struct config_endpoint){0};
    return err_set(err, MCOMP_INVALID_ARGUMENT, "%s %s", text_quote(text, quoted), wrong);
}
