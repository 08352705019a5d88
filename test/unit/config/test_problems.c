/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of wrong file: each problem has its line and says what would be right, and none hides another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/config/parse.h"

#define HEAD "grid = \"g\"\nsegment_size = \"4KiB\"\nnodes = 1\n"    /* lines 1 to 3 */
#define NODE0 "node 0 { address = \"a:1\" }\n"                        /* line 4, where it follows HEAD */
#define SOUND HEAD NODE0                                              /* and line 5 follows */
#define PROBLEMS_MAX 8

/** A wrong file and all that is to be said about it: the line, and words that the message must hold, with | between them. */
struct wrong {
    const char *text;
    struct {
        unsigned line;
        const char *words;
    } problem[PROBLEMS_MAX];
};

static bool has_words(const char *message, const char *words)
{
    char copy[512];
    MC_ASSERT(strlen(words) < sizeof copy);
    memcpy(copy, words, strlen(words) + 1);
    char *rest = copy;
    for (char *word = strsep(&rest, "|"); word; word = strsep(&rest, "|")) {
        if (!strstr(message, word))
            return false;
    }
    return true;
}

static void check(const char *text, size_t bytes, const struct wrong *wrong)
{
    struct parsed parsed = parse_bytes(text, bytes);
    char *rest = parsed.said;
    size_t count = 0;
    for (char *message = strsep(&rest, "\n"); rest; message = strsep(&rest, "\n"), count++) {
        char where[32];
        if (count == PROBLEMS_MAX || !wrong->problem[count].words)
            fail_msg("one problem too many in\n%s\n%s", text, message);
        snprintf(where, sizeof where, "t.cfg:%u: ", wrong->problem[count].line);
        if (strncmp(message, where, strlen(where)) != 0 || !has_words(message, wrong->problem[count].words))
            fail_msg("expected %s%s in\n%s\n%s", where, wrong->problem[count].words, text, message);
        if (count == 0 && strncmp(parsed.err.text, message, strlen(message) < 400 ? strlen(message) : 400) != 0)
            fail_msg("the error is not the first problem: %s", parsed.err.text);
    }
    if (count < PROBLEMS_MAX && wrong->problem[count].words)
        fail_msg("not told: line %u: %s in\n%s", wrong->problem[count].line, wrong->problem[count].words, text);
    assert_int_equal(parsed.status, MCOMP_INVALID_ARGUMENT);
    assert_int_equal(parsed.err.code, MCOMP_INVALID_ARGUMENT);
    if (count > 1)
        assert_non_null(strstr(parsed.err.text, count == 2 ? "(and 1 more problem)" : " more problems)"));
    assert_null(parsed.config.node);
    parsed_free(&parsed);
}

#define CHECK_ALL(table)                                                                                                                   \
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)                                                                              \
    check(table[i].text, strlen(table[i].text), &table[i])

static void empty_files(void **state)
{
    (void)state;
    static const struct wrong table[] = {
        {"", {{1, "empty|grid|segment_size|nodes|node I"}}},
        {"\n\n", {{1, "empty"}}},
        {"# only\n/* comments\n*/ // here", {{1, "empty"}}},
    };
    CHECK_ALL(table);
}

static void missing_keys(void **state)
{
    (void)state;
    static const struct wrong table[] = {
        {"grid = g\n", {{1, "segment_size is missing|add segment_size = \"64MiB\""}, {1, "nodes is missing|add nodes = 3"}}},
        {"segment_size = 4KiB\nnodes = 1\n" NODE0 "\n", {{4, "grid is missing|add grid = \"demo\""}}},
        {"grid = g\nnodes = 1\n" NODE0, {{3, "segment_size is missing"}}},
        {"grid = g\nsegment_size = 4KiB\n" NODE0, {{3, "nodes is missing"}}},
        {HEAD "node 0 {\n snapshot_address = \"a:2\"\n}\n", {{4, "node 0 has no address|add address = \"HOST:PORT\""}}},
        {HEAD "/*\n\n*/ node 0 { }", {{6, "node 0 has no address"}}},
        {HEAD "node 0 { }", {{4, "node 0 has no address"}}},
    };
    CHECK_ALL(table);
}

static void map_against_nodes(void **state)
{
    (void)state;
    static const struct wrong table[] = {
        {HEAD, {{3, "nodes = 1|there is no node 0|add node 0 { address"}}},
        {"grid = g\nnodes = 3\nsegment_size = 4KiB\n" NODE0, {{2, "nodes = 3|2 of them are missing|the first is node 1"}}},
        {SOUND "node 1 {\n address = \"b:1\" }", {{5, "node 1 is outside a grid of 1 nodes|line 3: nodes = 1|from 0 to 0"}}},
        {SOUND "node 255 { address = \"b:1\" }", {{5, "node 255 is outside"}}},
        {SOUND "node 256 { address = \"b:1\" }", {{5, "\"256\" is too high|at most 256 nodes"}}},
        {SOUND "node 18446744073709551616 { address = \"b:1\" }", {{5, "is not a node's number|node 0 {"}}},
        {SOUND "node first { address = \"b:1\" }", {{5, "\"first\" is not a node's number"}}},
        {SOUND "node -1 { address = \"b:1\" }", {{5, "\"-1\" is not a node's number"}}},
        {SOUND "\nnode 0\n{\n address = \"b:1\"\n}", {{7, "node 0 is given twice|first on line 4"}}},
        /* What stands in the second of two is not taken for the node's. */
        {SOUND "node 0 { address = \"b:1\" }\nnode 1 { address = \"b:1\" }", {{5, "node 0 is given twice"}, {6, "node 1 is outside"}}},
        {SOUND "node 00 { address = \"b:1\" }", {{5, "node 0 is given twice"}}},
        {SOUND "node 0 { } node 0x0 { }", {{5, "node 0 is given twice"}, {5, "node 0 is given twice"}}},
        {"grid = g segment_size = 4KiB nodes = 2 node 0 { address = \"a:1\" } node 2 { address = \"a:2\" }",
         {{1, "node 2 is outside"}, {1, "there is no node 1"}}},
        {SOUND "node { address = \"b:1\" }", {{5, "needs the node's number|node 0 {"}}},
        {SOUND "node = 5", {{5, "needs the node's number"}}},
        {SOUND "node 1 address = \"b:1\"", {{5, "\"node\" is a section|write node I {"}}},
    };
    CHECK_ALL(table);
}

static void two_on_one_address(void **state)
{
    (void)state;
#define TWO "grid = g\nsegment_size = 4KiB\nnodes = 2\n"
    static const struct wrong table[] = {
        {TWO "node 0 { address = \"a:1\" }\nnode 1 {\n address = \"a:1\" }", {{6, "node 1 address = a:1|address of node 0 (line 4)|of its own"}}},
        {TWO "node 0 { address = \"Host.Example.:1\" }\nnode 1 { address = \"host.example:1\" }", {{5, "host.example:1 is already"}}},
        {TWO "node 0 { address = \"[::1]:7\" }\nnode 1 { address = \"[0:0:0::0:1]:7\" }", {{5, "[::1]:7 is already"}}},
        {TWO "node 0 { address = \"a:1\" snapshot_address = \"a:2\" }\nnode 1 { address = \"a:2\" }",
         {{5, "node 1 address = a:2|snapshot_address of node 0"}}},
        {TWO "node 0 { address = \"a:1\" }\nnode 1 { address = \"a:2\" snapshot_address = \"a:1\" }",
         {{5, "node 1 snapshot_address = a:1|the address of node 0"}}},
        {TWO "node 0 { address = \"a:1\" snapshot_address = \"a:3\" }\nnode 1 { address = \"a:2\" snapshot_address = \"a:3\" }",
         {{5, "node 1 snapshot_address = a:3|snapshot_address of node 0"}}},
        {HEAD "node 0 { address = \"a:1\"\n snapshot_address = \"a:1\" }", {{5, "node 0 snapshot_address = a:1|address of node 0 (line 4)"}}},
    };
    CHECK_ALL(table);
}

static void addresses(void **state)
{
    (void)state;
    static const struct wrong table[] = {
        {HEAD "node 0 {\naddress = \"127.0.0.1\" }", {{5, "node 0 address = \"127.0.0.1\"|has no port|HOST:PORT"}}},
        {HEAD "node 0 { address = \"a:0\" }", {{4, "1 to 65535"}}},
        {HEAD "node 0 { address = \"a:65536\" }", {{4, "1 to 65535"}}},
        {HEAD "node 0 { address = \"a:b\" }", {{4, "1 to 65535"}}},
        {HEAD "node 0 { address = \"::1:7100\" }", {{4, "brackets"}}},
        {HEAD "node 0 { address = \"[::1:7100\" }", {{4, "malformed IPv6"}}},
        {HEAD "node 0 { address = \"[::g]:7100\" }", {{4, "no valid IPv6"}}},
        {HEAD "node 0 { address = \"256.0.0.1:7100\" }", {{4, "no valid IPv4"}}},
        {HEAD "node 0 { address = \"0.0.0.0:7100\" }", {{4, "names no machine"}}},
        {HEAD "node 0 { address = \"a b:7100\" }", {{4, "malformed host name"}}},
        {HEAD "node 0 { address = \"a:1\" snapshot_address = \"\" }", {{4, "node 0 snapshot_address = \"\"|has no port"}}},
    };
    CHECK_ALL(table);
}

static void grid_names(void **state)
{
    (void)state;
#define REST "\nsegment_size = 4KiB\nnodes = 1\n" NODE0
    static const struct wrong table[] = {
        {"grid = \"\"" REST, {{1, "grid = \"\"|1 to 64 characters"}}},
        {"grid = \"12345678901234567890123456789012345678901234567890123456789012345\"" REST, {{1, "1 to 64 characters"}}},
        {"grid = \"a/b\"" REST, {{1, "\"a/b\"|letters, digits and . _ -"}}},
        {"grid = \"a b\"" REST, {{1, "letters, digits"}}},
        {"grid = \"..\"" REST, {{1, "without a dot in front"}}},
        {"grid = \"gr\xc3\xbcn\"" REST, {{1, "letters, digits"}}},
    };
    CHECK_ALL(table);
}

static void sizes(void **state)
{
    (void)state;
#define GRID1(size) "grid = g\nnodes = 1\nsegment_size = " size "\n" NODE0
    static const struct wrong table[] = {
        {GRID1("0"), {{3, "segment_size = \"0\"|multiple of 4096"}}},
        {GRID1("\"0 GiB\""), {{3, "multiple of 4096"}}},
        {GRID1("1"), {{3, "not a multiple of 4096|write 4096"}}},
        {GRID1("5000"), {{3, "not a multiple of 4096|write 4096 or 8192"}}},
        {GRID1("1MB"), {{3, "not a multiple|write 999424 or 1003520"}}},
        {GRID1("-4096"), {{3, "\"-4096\" is not a size"}}},
        {GRID1("lots"), {{3, "\"lots\" is not a size|64KiB"}}},
        {GRID1("0.3KiB"), {{3, "not a whole number of bytes"}}},
        {GRID1("16EiB"), {{3, "too large"}}},
        {GRID1("8EiB"), {{3, "out of range|2^63-1"}}},
        {"grid = g\nnodes = 2\nsegment_size = 4EiB\n" NODE0 "node 1 { address = \"b:1\" }",
         {{3, "on 2 nodes are more than 2^63-1 bytes|write at most 4611686018427383808"}}},
        {"grid = g\nnodes = 256\nsegment_size = 1EiB\n" NODE0, {{2, "255 of them are missing"}, {3, "more than 2^63-1"}}},
    };
    CHECK_ALL(table);
}

static void numbers(void **state)
{
    (void)state;
    static const struct wrong table[] = {
        {"grid = g\nsegment_size = 4KiB\nnodes = 0\n", {{3, "nodes = \"0\" is out of range|from 1 to 256"}}},
        {"grid = g\nsegment_size = 4KiB\nnodes = 257\n", {{3, "nodes = \"257\" is out of range|from 1 to 256"}}},
        {"grid = g\nsegment_size = 4KiB\nnodes = -1\n", {{3, "nodes = \"-1\" is not a positive whole number"}}},
        {"grid = g\nsegment_size = 4KiB\nnodes = 1.5\n", {{3, "not a positive whole number"}}},
        {"grid = g\nsegment_size = 4KiB\nnodes = \"three\"\n", {{3, "\"three\" is not a positive whole number"}}},
        {"grid = g\nsegment_size = 4KiB\nnodes = 99999999999999999999\n", {{3, "not a positive whole number"}}},
        {SOUND "server { io_threads = 0 }", {{5, "server.io_threads = \"0\"|from 1 to 64"}}},
        {SOUND "server { io_threads = 65 }", {{5, "from 1 to 64"}}},
        {SOUND "server { workers = 4294967297 }", {{5, "server.workers|from 1 to 64"}}},
        {SOUND "server { max_connections = 1048577 }", {{5, "server.max_connections|to 1048576"}}},
        {SOUND "server { max_message = 4095 }", {{5, "server.max_message|from 4 KiB to 1 GiB"}}},
        {SOUND "server { max_message = 1025MiB }", {{5, "server.max_message|from 4 KiB to 1 GiB"}}},
        {SOUND "server { inline_max = 2GiB }", {{5, "server.inline_max|1 GiB, or 0 (all on workers)"}}},
        {SOUND "server { idle_timeout = 10 }", {{5, "server.idle_timeout = \"10\" is not a time|30s"}}},
        {SOUND "server { idle_timeout = 1us }", {{5, "from 1 ms to 8760 h, or 0 (never)"}}},
        {SOUND "server { idle_timeout = 8761h }", {{5, "to 8760 h"}}},
        {SOUND "server { idle_timeout = -1s }", {{5, "not a time"}}},
        {SOUND "server { stall_timeout = 0 }", {{5, "server.stall_timeout|from 1 ms"}}},
        {SOUND "server { max_buffers = 4KiB }", {{5, "server.max_buffers|out of range|from 68 KiB to 1 TiB"}}},
        {SOUND "server { max_buffers = 2TiB }", {{5, "server.max_buffers|to 1 TiB"}}},
        {"grid = g segment_size = 1MiB nodes = 1\n" NODE0 "server {\n max_buffers = 1MiB\n}",
         {{4, "max_buffers = 1048576|do not hold one message|max_message = 1048576|write max_buffers = 1114112"}}},
        {"grid = g segment_size = 1GiB nodes = 1\n" NODE0 "server { max_message =\n1GiB }",
         {{4, "max_buffers = 268435456|do not hold|max_message = 1073741824"}}},
        {SOUND "snapshot { interval = 9ms }", {{5, "snapshot.interval|or 0 (only on request)"}}},
        {SOUND "snapshot { keep = 0 }", {{5, "snapshot.keep|from 1 to 1000000"}}},
        {SOUND "snapshot { keep = 1000001 }", {{5, "snapshot.keep|from 1 to 1000000"}}},
        {SOUND "snapshot { directory = \"\" }", {{5, "snapshot.directory|path of a folder"}}},
        {SOUND "snapshot { preserve_limit = 0 }", {{5, "snapshot.preserve_limit|from 256 KiB to 2^63-1 bytes"}}},
        {SOUND "snapshot { preserve_limit = 262143 }", {{5, "snapshot.preserve_limit|from 256 KiB"}}},
        {SOUND "snapshot { rate_limit = 1023KiB }", {{5, "snapshot.rate_limit|from 1 MiB to 1 TiB, or 0 (as fast as it can)"}}},
        {SOUND "snapshot { compression = lz4 }", {{5, "snapshot.compression = \"lz4\"|write none or zstd"}}},
        {SOUND "snapshot { compression = \"\" }", {{5, "write none or zstd"}}},
        {SOUND "snapshot { takeover = 0 }", {{5, "snapshot.takeover|from 100 ms to 8760 h"}}},
        {SOUND "oplog { reads = maybe }", {{5, "oplog.reads = \"maybe\"|true or false"}}},
        {SOUND "oplog { reads = 1 }", {{5, "write true or false"}}},
    };
    CHECK_ALL(table);
}

static void unknown_names(void **state)
{
    (void)state;
    static const struct wrong table[] = {
        {SOUND "colour = red", {{5, "unknown key \"colour\"|allowed here: grid, segment_size, nodes, node, server, snapshot, oplog"}}},
        {SOUND "segmentsize = 1", {{5, "unknown key \"segmentsize\"|did you mean segment_size?"}}},
        {SOUND "Nodes = 1", {{5, "unknown key \"Nodes\"|did you mean nodes?"}}},
        {SOUND "io_threads = 1", {{5, "io_threads belongs into a section server"}}},
        {SOUND "server { grid = x }", {{5, "unknown key \"grid\" in section server|grid stands outside all sections"}}},
        {SOUND "server {\n io_thread = 1 }", {{6, "unknown key \"io_thread\" in section server|did you mean io_threads?|max_buffers"}}},
        {SOUND "node 1 { adress = \"b:1\" }",
         {{5, "unknown key \"adress\" in section node|did you mean address?"}, {5, "node 1 is outside"}, {5, "node 1 has no address"}}},
        {SOUND "sever { io_threads = 1 }", {{5, "unknown section \"sever\"|did you mean server?|allowed here: node, server, snapshot, oplog"}}},
        {SOUND "nod 1 { address = \"b:1\" port = 3 }", {{5, "unknown section \"nod\"|did you mean node?"}}},
        {SOUND "nod 1 { } nod 1 { } nod 2 { x = 1 } n = 1", {{5, "unknown section \"nod\""}, {5, "unknown key \"n\""}}},
        {SOUND "a = 1\nb = 2\nserver { c = 3\nd = 4\n workers = 0 }\n\ne { f = 1 }\n",
         {{5, "\"a\""}, {6, "\"b\""}, {7, "\"c\" in section server"}, {8, "\"d\" in section server"}, {9, "server.workers"},
          {11, "unknown section \"e\""}}},
        {SOUND "root { a = 1 }", {{5, "unknown key \"root\""}}},
        {SOUND "root a { } root a { } grid = x", {{5, "unknown key \"root\""}}},
        {SOUND "server { root = 1 } keep = 3", {{5, "unknown key \"root\" in section server"}}},
    };
    CHECK_ALL(table);
}

/* More unknown names than are looked for: the file is refused all the same, and in time. */
static void very_many_unknown_names(void **state)
{
    (void)state;
    char text[4096];
    size_t used = 0;
    for (unsigned i = 0; i < 200; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "unknown%u = 1\n", i);
    struct parsed parsed = parse_bytes(text, used);
    assert_int_equal(parsed.status, MCOMP_INVALID_ARGUMENT);
    assert_non_null(strstr(parsed.said, "t.cfg:1: unknown key \"unknown0\""));
    assert_non_null(strstr(parsed.said, "t.cfg:32: unknown key \"unknown31\""));
    assert_non_null(strstr(parsed.said, "t.cfg:33: more than 32 unknown names"));
    parsed_free(&parsed);
}

static void very_many_problems(void **state)
{
    (void)state;
    char text[8192];
    size_t used = 0;
    for (unsigned i = 0; i < 500; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "nodes = 0\n");
    struct parsed parsed = parse_bytes(text, used);
    assert_int_equal(parsed.status, MCOMP_INVALID_ARGUMENT);
    assert_non_null(strstr(parsed.said, "t.cfg:100: nodes is given twice"));
    assert_null(strstr(parsed.said, "t.cfg:101:"));
    assert_non_null(strstr(parsed.said, "t.cfg: 402 more problems are not shown"));
    assert_non_null(strstr(parsed.err.text, "(and 501 more problems)"));
    parsed_free(&parsed);
}

static void given_twice(void **state)
{
    (void)state;
    static const struct wrong table[] = {
        {SOUND "grid = h", {{5, "grid is given twice, first on line 1"}}},
        {SOUND "nodes = 1", {{5, "nodes is given twice, first on line 3"}}},
        {SOUND "server {\nworkers = 1\nio_threads = 1\nworkers = 1\n}", {{8, "server.workers is given twice, first on line 6"}}},
        {HEAD "node 0 { address = \"a:1\"\naddress = \"a:2\" }", {{5, "node 0 address is given twice, first on line 4"}}},
        {SOUND "server { workers = 1 }\nserver { io_threads = 1 }", {{6, "section server is given twice, first on line 5"}}},
        {SOUND "oplog { }\n\noplog { }", {{7, "section oplog is given twice, first on line 5"}}},
        {SOUND "snapshot { }\nsnapshot { }\nsnapshot { }", {{6, "given twice, first on line 5"}, {7, "given twice, first on line 5"}}},
    };
    CHECK_ALL(table);
}

static void syntax(void **state)
{
    (void)state;
    static const struct wrong table[] = {
        {SOUND "grid", {{5, "ends in the middle of a setting"}}},
        {SOUND "grid =", {{5, "ends in the middle of a setting"}}},
        {SOUND "grid g", {{5, "\"grid\" needs a value|write grid = VALUE"}}},
        {SOUND "grid { }", {{5, "\"grid\" needs a value"}}},
        {SOUND "grid = = g", {{5, "unexpected token '='|KEY = VALUE"}}},
        {SOUND "grid = { }", {{5, "unexpected token '{'"}}},
        {SOUND "= g", {{5, "unexpected token '='"}}},
        {SOUND "server = 4", {{5, "\"server\" is a section|write server { KEY = VALUE ... }"}}},
        {SOUND "server one { }", {{5, "\"server\" is a section"}}},
        {SOUND "server\n{\nworkers = 1\n", {{6, "not closed|put }"}}},
        {SOUND "server {\nworkers = 1\noplog {\n}\n}", {{7, "inside the one of line 5|close that with }"}, {9, "} closes nothing"}}},
        {SOUND "}\n", {{5, "} closes nothing"}}},
        {SOUND "x y z", {{5, "\"x\" is a section"}, {5, "unknown section \"x\""}}},
        {"nodes = 3\ngrid g\n", {{2, "\"grid\" needs a value"}}},
        /* The reading ends at the error: what it has seen is checked, what it has not is not called missing. */
        {"nodes = 0\nserver { workers = 99 }\ngrid g\n", {{1, "nodes = \"0\""}, {2, "server.workers"}, {3, "\"grid\" needs a value"}}},
    };
    CHECK_ALL(table);
}

static void strings_and_characters(void **state)
{
    (void)state;
    static const struct wrong table[] = {
        {"grid = \"g\nsegment_size = \"4KiB\"\n", {{1, "string not closed|put a \""}}},
        {"grid = 'g\n", {{1, "string not closed|put a '"}}},
        {"\ngrid = \"", {{2, "string not closed"}}},
        {"grid = \"g\\\n\"", {{1, "unknown escape|\\\\"}, {2, "behind \"=\" only"}}},
        {"grid = \"\\x41\"", {{1, "unknown escape"}}},
        {"grid = '\\n'", {{1, "unknown escape"}}},
        {"grid = \"${HOME}\"", {{1, "${NAME} are not replaced"}}},
        {"grid = ${HOME}", {{1, "unexpected character $"}}},
        {"grid = \"a\tb\"", {{1, "not text"}}},
        {"grid = \"a\xff\"", {{1, "not text"}}},
        {"\"grid\" = g", {{1, "without quotes"}}},
        {"\"node='x\" = g", {{1, "without quotes"}}},
        {"node \"0\" { }", {{1, "without quotes"}}},
        {"grid = \"a\" \"b\"", {{1, "one value for each key"}}},
        {"server|workers = 1", {{1, "unexpected character |"}}},
        {"grid = a,b", {{1, "unexpected character ,"}}},
        {"grid += a", {{1, "unexpected character +"}}},
        {"include(\"/etc/passwd\")", {{1, "unexpected character ("}, {1, "behind \"=\" only"}}},
        {"grid = *\n\n*(*", {{1, "unexpected character *"}, {3, "unexpected character *"}}},
        {"grid = \x01g\r\n\r", {{1, "byte \\x01 is not text"}, {2, "byte \\r is not text"}}},
        {"grid = \xe2\x82\xac", {{1, "unexpected character \xe2\x82\xac"}}},
        {"grid = \xff\xfe", {{1, "byte \\xff is not text"}}},
        {"a = 1\n/* open\nnodes = 1", {{2, "comment|not closed|*/"}}},
        {"/*/", {{1, "comment"}}},
        {"/*\n\n*/ }\n# x\n}", {{3, "} closes nothing"}, {5, "} closes nothing"}}},
    };
    CHECK_ALL(table);
}

static void hostile_bytes(void **state)
{
    (void)state;
    static const struct wrong nul = {"", {{1, "byte \\x00 is not text"}}};
    check("grid = g\0nodes = 1", 18, &nul);
    static const struct wrong late_nul = {"", {{5, "byte \\x00 is not text"}}};
    check(SOUND "\0", sizeof SOUND, &late_nul);
    /* As deep, as long and as many as 1 MiB holds. */
    size_t bytes = CONFIG_FILE_BYTES_MAX;
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    static const char *const fillers[] = {"{", "}", "a{", "x", "=", "\"", "'", "/*", "# ", "a=1 ", "\n",
                                          "node 0{}", "server{}", "$", "\\", "a=\"\\\"", "\xe2\x82\xac"};
    for (size_t i = 0; i < sizeof fillers / sizeof *fillers; i++) {
        size_t step = strlen(fillers[i]);
        for (size_t at = 0; at + step <= bytes; at += step)
            memcpy(text + at, fillers[i], step);
        struct parsed parsed = parse_bytes(text, bytes / step * step);
        assert_int_equal(parsed.status, MCOMP_INVALID_ARGUMENT);
        assert_true(strlen(parsed.said) > 0);
        parsed_free(&parsed);
    }
    struct parsed parsed = parse_bytes(text, bytes + 1);
    assert_int_equal(parsed.status, MCOMP_INVALID_ARGUMENT);
    assert_non_null(strstr(parsed.err.text, "t.cfg: larger than 1048576 bytes"));
    parsed_free(&parsed);
    free(text);
}

/* Goal: lines are right behind comments of every kind and length, where libconfuse alone miscounts. */
static void lines_behind_comments(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 140; bytes++) {
        static const char *const forms[][2] = {{"#", "\n"}, {"//", "\n"}, {"/*", "*/\n"}, {"/*", "\n*/ "}};
        char dots[160], text[512];
        memset(dots, '.', sizeof dots);
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
            snprintf(text, sizeof text, "%s%.*s%snodes = 0", forms[i][0], (int)bytes, dots, forms[i][1]);
            struct parsed parsed = parse_text(text);
            if (!strstr(parsed.said, "t.cfg:2: nodes = \"0\""))
                fail_msg("%s\n%s", text, parsed.said);
            parsed_free(&parsed);
        }
    }
}

static void nobody_listens(void **state)
{
    (void)state;
    struct config config;
    memset(&config, 0xff, sizeof config);
    assert_int_equal(config_parse(&config, "t.cfg", "x", 1, NULL, NULL), MCOMP_INVALID_ARGUMENT);
    struct config zero = {.path = ""};
    assert_memory_equal(&config, &zero, sizeof config);
    config_free(&config);
    config_free(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_files),
        cmocka_unit_test(missing_keys),
        cmocka_unit_test(map_against_nodes),
        cmocka_unit_test(two_on_one_address),
        cmocka_unit_test(addresses),
        cmocka_unit_test(grid_names),
        cmocka_unit_test(sizes),
        cmocka_unit_test(numbers),
        cmocka_unit_test(unknown_names),
        cmocka_unit_test(very_many_unknown_names),
        cmocka_unit_test(very_many_problems),
        cmocka_unit_test(given_twice),
        cmocka_unit_test(syntax),
        cmocka_unit_test(strings_and_characters),
        cmocka_unit_test(hostile_bytes),
        cmocka_unit_test(lines_behind_comments),
        cmocka_unit_test(nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
