/* SPDX-License-Identifier: Apache-2.0 */
/* Only addresses that need no name server: the tests must not depend on one. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/config/parse.h"

static struct config_endpoint endpoint(const char *host, uint16_t port)
{
    struct config_endpoint e = {.port = port};
    snprintf(e.host, sizeof e.host, "%s", host);
    snprintf(e.text, sizeof e.text, "%s:%u", host, port);
    return e;
}

static void numbers_resolve(void **state)
{
    (void)state;
    struct sockaddr_storage address[4];
    socklen_t bytes[4];
    size_t count = 0;
    struct err err;
    for (int passive = 0; passive < 2; passive++) {
        struct config_endpoint v4 = endpoint("192.0.2.7", 7100), v6 = endpoint("::1", 65535);
        assert_int_equal(config_resolve(&v4, passive, address, bytes, 4, &count, &err), MCOMP_OK);
        assert_int_equal(count, 1);
        const struct sockaddr_in *in = (const void *)&address[0];
        assert_int_equal(bytes[0], sizeof *in);
        assert_int_equal(in->sin_family, AF_INET);
        assert_int_equal(ntohs(in->sin_port), 7100);
        assert_int_equal(ntohl(in->sin_addr.s_addr), 0xc0000207);
        assert_int_equal(config_resolve(&v6, passive, address, bytes, 4, &count, &err), MCOMP_OK);
        assert_int_equal(count, 1);
        const struct sockaddr_in6 *in6 = (const void *)&address[0];
        assert_int_equal(bytes[0], sizeof *in6);
        assert_int_equal(ntohs(in6->sin6_port), 65535);
        assert_true(IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr));
    }
}

static void failure_is_unavailable(void **state)
{
    (void)state;
    struct sockaddr_storage address[4];
    socklen_t bytes[4];
    size_t count = 99;
    struct err err;
    struct config_endpoint no_zone = endpoint("fe80::1%nosuchzone", 1), v4 = endpoint("192.0.2.7", 7100);
    assert_int_equal(config_resolve(&no_zone, false, address, bytes, 4, &count, &err), MCOMP_UNAVAILABLE);
    assert_int_equal(count, 0);
    assert_non_null(strstr(err.text, "cannot resolve \"fe80::1%nosuchzone\": "));
    assert_int_equal(config_resolve(&v4, false, address, bytes, 0, &count, &err), MCOMP_UNAVAILABLE); /* room for none */
}

/** Which node this machine is, with the given hosts for nodes 0, 1, … Machines have no addresses in 240.0.0.0/4 and 100::/64. */
static enum mcomp_status find(const char *const *hosts, uint32_t nodes, uint32_t *self, struct err *err)
{
    struct config config = {.path = "t.cfg", .nodes = nodes};
    config.node = calloc(nodes, sizeof *config.node);
    assert_non_null(config.node);
    for (uint32_t i = 0; i < nodes; i++)
        config.node[i].address = endpoint(hosts[i], 7100);
    enum mcomp_status status = config_find_self(&config, self, err);
    config_free(&config);
    return status;
}

static void loopback_is_own(void **state)
{
    (void)state;
    uint32_t self = 99;
    struct err err;
    assert_int_equal(find((const char *[]){"240.0.0.1", "127.0.0.1", "240.0.0.3"}, 3, &self, &err), MCOMP_OK);
    assert_int_equal(self, 1);
    assert_int_equal(find((const char *[]){"240.0.0.1", "240.0.0.2", "127.8.9.10"}, 3, &self, &err), MCOMP_OK);
    assert_int_equal(self, 2);
    assert_int_equal(find((const char *[]){"::1", "100::1"}, 2, &self, &err), MCOMP_OK);
    assert_int_equal(self, 0);
}

static void several_nodes_need_a_word(void **state)
{
    (void)state;
    uint32_t self = 99;
    struct err err;
    assert_int_equal(find((const char *[]){"240.0.0.1", "127.0.0.1", "127.0.0.1", "::1"}, 4, &self, &err), MCOMP_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "3 nodes of t.cfg are on this machine, nodes 1 and 2 among them"));
    assert_non_null(strstr(err.text, "--node I"));
    assert_int_equal(self, 99);
}

static void no_node_is_here(void **state)
{
    (void)state;
    uint32_t self = 99;
    struct err err;
    assert_int_equal(find((const char *[]){"240.0.0.1", "100::1"}, 2, &self, &err), MCOMP_NOT_FOUND);
    assert_non_null(strstr(err.text, "--node I"));
    assert_null(strstr(err.text, "resolve"));
    assert_int_equal(find((const char *[]){"240.0.0.1", "fe80::1%nosuchzone"}, 2, &self, &err), MCOMP_NOT_FOUND);
    assert_non_null(strstr(err.text, "1 could not be resolved"));
    assert_non_null(strstr(err.text, "nosuchzone"));
    assert_non_null(strstr(err.text, "--node I"));
    assert_int_equal(self, 99);
}

/* Goal: an address of a real interface is own as well. Skipped where there is none but loopback. */
static void interface_is_own(void **state)
{
    (void)state;
    struct ifaddrs *list;
    assert_int_equal(getifaddrs(&list), 0);
    char host[INET_ADDRSTRLEN] = "";
    for (const struct ifaddrs *i = list; i && !host[0]; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET)
            continue;
        const struct sockaddr_in *in = (const void *)i->ifa_addr;
        if (ntohl(in->sin_addr.s_addr) >> 24 != 127)
            inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
    }
    freeifaddrs(list);
    if (!host[0])
        skip();
    uint32_t self = 99;
    struct err err;
    assert_int_equal(find((const char *[]){"100::1", "240.0.0.1", host}, 3, &self, &err), MCOMP_OK);
    assert_int_equal(self, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_resolve),     cmocka_unit_test(failure_is_unavailable), cmocka_unit_test(loopback_is_own),
        cmocka_unit_test(several_nodes_need_a_word), cmocka_unit_test(no_node_is_here),  cmocka_unit_test(interface_is_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
