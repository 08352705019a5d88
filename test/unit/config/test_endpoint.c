/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "config/endpoint.h"

#define LABEL63 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"
#define NAME253 LABEL63 "." LABEL63 "." LABEL63 "." "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxy"

static void accepted(void **state)
{
    (void)state;
    static const struct {
        const char *in, *host;
        uint16_t port;
        const char *text;
    } table[] = {
        {"127.0.0.1:7100", "127.0.0.1", 7100, "127.0.0.1:7100"},
        {"a:1", "a", 1, "a:1"},
        {"a:65535", "a", 65535, "a:65535"},
        {"a:00080", "a", 80, "a:80"},
        {"Node-1.Example.ORG:7100", "node-1.example.org", 7100, "node-1.example.org:7100"},
        {"node1.:7100", "node1", 7100, "node1:7100"},
        {"my_service:7100", "my_service", 7100, "my_service:7100"},
        {"1und1.example:80", "1und1.example", 80, "1und1.example:80"},
        {"9a:80", "9a", 80, "9a:80"},
        {"[::1]:7100", "::1", 7100, "[::1]:7100"},
        {"[2001:DB8:0:0:0:0:0:1]:7100", "2001:db8::1", 7100, "[2001:db8::1]:7100"},
        {"[fe80::1%eth0]:7100", "fe80::1%eth0", 7100, "[fe80::1%eth0]:7100"},
        {"[::ffff:192.0.2.1]:1", "::ffff:192.0.2.1", 1, "[::ffff:192.0.2.1]:1"},
        {NAME253 ":1", NAME253, 1, NAME253 ":1"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct config_endpoint endpoint;
        struct err err;
        if (endpoint_parse(&endpoint, table[i].in, &err) != MCOMP_OK)
            fail_msg("%s", err.text);
        assert_string_equal(endpoint.host, table[i].host);
        assert_int_equal(endpoint.port, table[i].port);
        assert_string_equal(endpoint.text, table[i].text);
        struct config_endpoint again; /* the result is its own normal form */
        assert_int_equal(endpoint_parse(&again, endpoint.text, NULL), MCOMP_OK);
        assert_string_equal(again.host, endpoint.host);
        assert_string_equal(again.text, endpoint.text);
    }
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *in, *word;
    } table[] = {
        {"", "has no port"},
        {"a", "has no port"},
        {"[::1]", "has no port"},
        {":7100", "has no host"},
        {"[]:7100", "has no host"},
        {"a:", "no valid port"},
        {"a:0", "no valid port"},
        {"a:65536", "no valid port"},
        {"a:99999999999999999999", "no valid port"},
        {"a:-1", "no valid port"},
        {"a:+1", "no valid port"},
        {"a:7100 ", "no valid port"},
        {"a:0x50", "no valid port"},
        {"a:http", "no valid port"},
        {"::1:7100", "brackets"},
        {"2001:db8::1:7100", "brackets"},
        {"a:b:1", "brackets"},
        {"[::1:7100", "malformed IPv6"},
        {"::1]:7100", "brackets"},
        {"[::1]x:7100", "malformed IPv6"},
        {"[:::1]:7100", "no valid IPv6"},
        {"[1:2:3:4:5:6:7:8:9]:1", "no valid IPv6"},
        {"[127.0.0.1]:1", "no valid IPv6"},
        {"[host]:1", "no valid IPv6"},
        {"[fe80::1%]:1", "malformed zone"},
        {"[::]:7100", "names no machine"},
        {"[0:0:0:0:0:0:0:0]:7100", "names no machine"},
        {"0.0.0.0:7100", "names no machine"},
        {"1.2.3:1", "no valid IPv4"},
        {"1.2.3.256:1", "no valid IPv4"},
        {"1.2.3.4.5:1", "no valid IPv4"},
        {"12:1", "no valid IPv4"},
        {"-a:1", "malformed host name"},
        {"a-:1", "malformed host name"},
        {"a-.b:1", "malformed host name"},
        {".a:1", "malformed host name"},
        {"a..b:1", "malformed host name"},
        {".:1", "malformed host name"},
        {"a b:1", "malformed host name"},
        {"a/b:1", "malformed host name"},
        {"gr\xc3\xbcn:1", "malformed host name"},
        {LABEL63 "x:1", "at most 63 bytes"},
        {NAME253 "x:1", "at most 253 bytes"},
        {NAME253 NAME253 ":1", "at most 253 bytes"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct config_endpoint endpoint, none = {.port = 0};
        struct err err;
        if (endpoint_parse(&endpoint, table[i].in, &err) != MCOMP_INVALID_ARGUMENT)
            fail_msg("accepted: %s", table[i].in);
        if (!strstr(err.text, table[i].word) || err.text[0] != '"')
            fail_msg("%s: %s", table[i].in, err.text);
        assert_memory_equal(&endpoint, &none, sizeof none);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(accepted), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
