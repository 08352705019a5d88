/* SPDX-License-Identifier: Apache-2.0 */
/* Right files: every key arrives in its field, what is not given has its default, and config_print() tells both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/config/parse.h"

#define SMALLEST "grid=g segment_size=4096 nodes=1 node 0{address=\"a:1\"}"
#define SECOND UINT64_C(1000000000)

static struct parsed parse_good(const char *text)
{
    struct parsed parsed = parse_text(text);
    if (parsed.status != MCOMP_OK)
        fail_msg("%s\n%s", text, parsed.said);
    assert_string_equal(parsed.said, "");
    return parsed;
}

static void defaults(void **state)
{
    (void)state;
    struct parsed parsed = parse_good("grid = \"g\" segment_size = \"64MiB\" nodes = 1 node 0 { address = \"a:1\" }");
    const struct config *c = &parsed.config;
    assert_string_equal(c->path, "t.cfg");
    assert_string_equal(c->grid, "g");
    assert_int_equal(c->segment_size, 64 << 20);
    assert_int_equal(c->nodes, 1);
    assert_string_equal(c->node[0].address.host, "a");
    assert_int_equal(c->node[0].address.port, 1);
    assert_string_equal(c->node[0].snapshot_address.host, "");
    assert_int_equal(c->node[0].snapshot_address.port, 0);
    assert_int_equal(c->server.io_threads, 1);
    assert_int_equal(c->server.workers, 2);
    assert_int_equal(c->server.max_connections, 4096);
    assert_int_equal(c->server.max_message, 4 << 20);
    assert_int_equal(c->server.inline_max, 64 << 10);
    assert_int_equal(c->server.idle_timeout_ns, 0);
    assert_int_equal(c->server.stall_timeout_ns, 30 * SECOND);
    assert_int_equal(c->server.max_buffers, 256 << 20);
    assert_int_equal(c->snapshot.interval_ns, 60 * SECOND);
    assert_string_equal(c->snapshot.directory, "snapshots");
    assert_int_equal(c->snapshot.keep, 5);
    assert_int_equal(c->snapshot.preserve_limit, 32 << 20);
    assert_int_equal(c->snapshot.rate_limit, 0);
    assert_int_equal(c->snapshot.compression, CONFIG_COMPRESSION_NONE);
    assert_int_equal(c->snapshot.takeover_ns, 10 * SECOND);
    assert_string_equal(c->oplog.file, "");
    assert_false(c->oplog.reads);
    assert_int_equal(config_grid_bytes(c), 64 << 20);
    parsed_free(&parsed);
    assert_null(parsed.config.node);
    config_free(&parsed.config);
}

static void every_key(void **state)
{
    (void)state;
    struct parsed parsed = parse_good("grid = \"My_grid-1.2\" // name\n"
                                      "segment_size = '1.5GiB' /* k */\n"
                                      "nodes = \"2\" # N\n"
                                      "node 1 { snapshot_address = \"[FE80:0::1%eth0]:65535\" address = \"Host-1.Example.:7\" }\n"
                                      "node 0 {\n  address = 127.0.0.1:7100\n  snapshot_address = \"[::1]:7200\"\n}\n"
                                      "server { io_threads = 64 workers = 0x10 max_connections = 1048576 max_message = 1GiB inline_max = 0\n"
                                      "  idle_timeout = 1.5h stall_timeout = '250 ms' max_buffers = 1TiB }\n"
                                      "snapshot { interval = 0 directory = \"/var/lib/\\\"x\\\\y\" keep = 1000000\n"
                                      "  preserve_limit = '1 MiB' rate_limit = 200MB compression = \"zstd\" takeover = 100ms }\n"
                                      "oplog { file = \"a b.log\" reads = on }\n");
    const struct config *c = &parsed.config;
    assert_string_equal(c->grid, "My_grid-1.2");
    assert_int_equal(c->segment_size, UINT64_C(3) << 29);
    assert_int_equal(c->nodes, 2);
    assert_string_equal(c->node[0].address.text, "127.0.0.1:7100");
    assert_string_equal(c->node[0].snapshot_address.text, "[::1]:7200");
    assert_string_equal(c->node[0].snapshot_address.host, "::1");
    assert_string_equal(c->node[1].address.text, "host-1.example:7");
    assert_string_equal(c->node[1].snapshot_address.text, "[fe80::1%eth0]:65535");
    assert_int_equal(c->server.io_threads, 64);
    assert_int_equal(c->server.workers, 16);
    assert_int_equal(c->server.max_connections, 1048576);
    assert_int_equal(c->server.max_message, 1 << 30);
    assert_int_equal(c->server.inline_max, 0);
    assert_int_equal(c->server.idle_timeout_ns, 5400 * SECOND);
    assert_int_equal(c->server.stall_timeout_ns, SECOND / 4);
    assert_int_equal(c->server.max_buffers, UINT64_C(1) << 40);
    assert_int_equal(c->snapshot.interval_ns, 0);
    assert_string_equal(c->snapshot.directory, "/var/lib/\"x\\y");
    assert_int_equal(c->snapshot.keep, 1000000);
    assert_int_equal(c->snapshot.preserve_limit, 1 << 20);
    assert_int_equal(c->snapshot.rate_limit, 200000000);
    assert_int_equal(c->snapshot.compression, CONFIG_COMPRESSION_ZSTD);
    assert_int_equal(c->snapshot.takeover_ns, SECOND / 10);
    assert_string_equal(c->oplog.file, "a b.log");
    assert_true(c->oplog.reads);
    assert_int_equal(config_grid_bytes(c), UINT64_C(3) << 30);
    parsed_free(&parsed);
}

static void preserve_limit_fits_the_segment(void **state)
{
    (void)state;
    static const struct {
        const char *segment_size, *given;
        uint64_t limit;
    } table[] = {
        {"1GiB", "", 512 << 20},
        {"260KiB", "", 256 << 10},                               /* half would be less than the least */
        {"4096", "", 4096},                                      /* and the least more than the segment */
        {"516KiB", "", 256 << 10},                               /* half is 64 pages and a half */
        {"1MiB", "preserve_limit = 1MiB", 1 << 20},
        {"1MiB", "preserve_limit = 1048575", (1 << 20) - 4096},  /* whole pages */
        {"1MiB", "preserve_limit = 1TiB", 1 << 20},              /* no more than there is */
        {"1MiB", "preserve_limit = 256KiB", 256 << 10},
        {"8KiB", "preserve_limit = 256KiB", 8 << 10},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[256];
        snprintf(text, sizeof text, "grid = g segment_size = %s nodes = 1 node 0 { address = a:1 } snapshot { %s }", table[i].segment_size,
                 table[i].given);
        struct parsed parsed = parse_good(text);
        assert_int_equal(parsed.config.snapshot.preserve_limit, table[i].limit);
        parsed_free(&parsed);
    }
}

static void forms_of_the_file(void **state)
{
    (void)state;
    static const char *const texts[] = {
        SMALLEST,
        "\xef\xbb\xbf" SMALLEST,                      /* byte order mark */
        "grid\r\n=\r\n\"g\"\r\nsegment_size=4096\r\nnodes=1\r\nnode\t0\r\n{address=a:1}\r\n",
        "#c\n" SMALLEST "#c",
        "/**/" SMALLEST "/* * ** // # \" ' { */",
        "///\n" SMALLEST "//",
        "grid=/*x*/g/*y*/segment_size/**/=4096 nodes=1 node/**/0/**/{address=/**/a:1}",
        SMALLEST " server { } snapshot{}oplog{}",
        "node 0 { address = \"a:1\" } nodes = 1 segment_size = 0x1000 grid = \"g\"",
        "grid='g' segment_size=\"4 KiB\" nodes=\"+1\" node 00 {address='a:1'}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct parsed parsed = parse_good(texts[i]);
        assert_string_equal(parsed.config.grid, "g");
        assert_int_equal(parsed.config.segment_size, 4096);
        assert_int_equal(parsed.config.nodes, 1);
        assert_string_equal(parsed.config.node[0].address.text, "a:1");
        parsed_free(&parsed);
    }
}

static void flags(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool value;
    } table[] = {{"true", true}, {"yes", true}, {"on", true}, {"TRUE", true}, {"\"true\"", true}, {"false", false}, {"no", false}, {"Off", false}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[256];
        snprintf(text, sizeof text, SMALLEST " oplog { reads = %s }", table[i].text);
        struct parsed parsed = parse_good(text);
        assert_int_equal(parsed.config.oplog.reads, table[i].value);
        parsed_free(&parsed);
    }
}

/* Goal: the largest and smallest grids that the rules allow are taken. */
static void bounds(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "grid=g segment_size=9223372036854771712 nodes=1 node 0{address=\"a:1\"}",
        "grid=g segment_size=4611686018427383808 nodes=2 node 0{address=\"a:1\"} node 1{address=\"a:65535\"}",
        "grid=1234567890123456789012345678901234567890123456789012345678901234 segment_size=4KiB nodes=1 node 0{address=\"a:1\"}",
        SMALLEST " server { stall_timeout = 1ms idle_timeout = 8760h max_message = 4KiB inline_max = 1 max_buffers = 69632 }",
        SMALLEST " snapshot { interval = 10ms keep = 1 }",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct parsed parsed = parse_good(texts[i]);
        assert_true(config_grid_bytes(&parsed.config) <= INT64_MAX);
        parsed_free(&parsed);
    }
    char *text = malloc(65536);
    assert_non_null(text);
    size_t used = (size_t)snprintf(text, 65536, "grid = g segment_size = 4KiB nodes = 256\n");
    for (unsigned i = 256; i-- > 0;)
        used += (size_t)snprintf(text + used, 65536 - used, "node %u { address = \"h:%u\" snapshot_address = \"h:%u\" }\n", i, 1000 + i, 2000 + i);
    struct parsed parsed = parse_good(text);
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(parsed.config.node[i].address.port, 1000 + i);
        assert_int_equal(parsed.config.node[i].snapshot_address.port, 2000 + i);
    }
    parsed_free(&parsed);
    free(text);
}

static void max_message_is_cut_to_the_segment(void **state)
{
    (void)state;
    struct parsed parsed = parse_good(SMALLEST);
    assert_int_equal(parsed.config.server.max_message, 4096);
    parsed_free(&parsed);
    parsed = parse_good(SMALLEST " server { max_message = 1GiB }");
    assert_int_equal(parsed.config.server.max_message, 4096);
    parsed_free(&parsed);
    parsed = parse_good("grid=g segment_size=16KiB nodes=1 node 0{address=\"a:1\"} server { max_message = 8KiB }");
    assert_int_equal(parsed.config.server.max_message, 8192);
    parsed_free(&parsed);
}

static void print_says_everything(void **state)
{
    (void)state;
    struct parsed parsed = parse_good("grid = demo segment_size = 64MiB nodes = 2\n"
                                      "node 0 { address = \"127.0.0.1:7100\" snapshot_address = \"127.0.0.1:7200\" }\n"
                                      "node 1 { address = \"[2001:db8::1]:7101\" }\n"
                                      "server { stall_timeout = 1.5s idle_timeout = 100ms } snapshot { interval = 0 rate_limit = 200MiB compression = zstd }");
    char *said = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&said, &bytes);
    assert_non_null(out);
    config_print(&parsed.config, out);
    fclose(out);
    assert_string_equal(
        said,
        "file                     t.cfg\n"
        "grid                     demo\n"
        "segment_size             64 MiB (67108864 bytes)\n"
        "nodes                    2\n"
        "server.io_threads        1\n"
        "server.workers           2\n"
        "server.max_connections   4096\n"
        "server.max_message       4 MiB (4194304 bytes)\n"
        "server.inline_max        64 KiB (65536 bytes)\n"
        "server.idle_timeout      100 ms\n"
        "server.stall_timeout     1500 ms\n"
        "server.max_buffers       256 MiB (268435456 bytes)\n"
        "snapshot.interval        0 (only on request)\n"
        "snapshot.directory       snapshots\n"
        "snapshot.keep            5\n"
        "snapshot.preserve_limit  32 MiB (33554432 bytes)\n"
        "snapshot.rate_limit      200 MiB (209715200 bytes)\n"
        "snapshot.compression     zstd\n"
        "snapshot.takeover        10 s\n"
        "oplog.file               no operation log\n"
        "oplog.reads              false\n"
        "whole grid               128 MiB (134217728 bytes)\n"
        "\n"
        "node  address             snapshot_address  first byte          last byte           shared memory\n"
        "   0  127.0.0.1:7100      127.0.0.1:7200    0x0                 0x3ffffff           /mcomp.demo.0\n"
        "   1  [2001:db8::1]:7101  -                 0x4000000           0x7ffffff           /mcomp.demo.1\n");
    free(said);
    parsed_free(&parsed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_key),
        cmocka_unit_test(preserve_limit_fits_the_segment),
        cmocka_unit_test(forms_of_the_file),
        cmocka_unit_test(flags),
        cmocka_unit_test(bounds),
        cmocka_unit_test(max_message_is_cut_to_the_segment),
        cmocka_unit_test(print_says_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
