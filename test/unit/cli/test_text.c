/* SPDX-License-Identifier: Apache-2.0 */
/** What the command line prints: hex dump, base64, suggestions, progress, counts, tables, JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/base64.h"
#include "cli/hexdump.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/suggest.h"

#define TEXT_MAX 65536

/** An output that ends in memory. */
struct sink {
    struct out out;
    char text[TEXT_MAX];
};

static struct sink sink;

static void sink_open(void)
{
    int fd = memfd_create("sink", MFD_CLOEXEC);
    assert_true(fd >= 0);
    out_open(&sink.out, fd);
}

static const char *sink_close(void)
{
    struct err err;
    assert_int_equal(out_flush(&sink.out, "the sink", &err), MCOMP_OK);
    ssize_t n = pread(sink.out.fd, sink.text, sizeof sink.text - 1, 0);
    assert_true(n >= 0);
    sink.text[n] = 0;
    close(sink.out.fd);
    return sink.text;
}

/* ---- hex dump ---- */

/** The dump of bytes at address, fed in portions. */
static const char *dump(uint64_t address, uint64_t segment_size, const uint8_t *bytes, size_t length, size_t portion)
{
    struct hexdump dump;
    sink_open();
    hexdump_open(&dump, &sink.out, address, address + length, segment_size, false);
    for (size_t at = 0; at < length; at += portion)
        hexdump_feed(&dump, bytes + at, length - at < portion ? length - at : portion);
    hexdump_close(&dump);
    return sink_close();
}

static void dump_marks_the_border_between_nodes(void **state)
{
    (void)state;
    const char *expected = "03fffffe                                             68 65  |              he|\n"
                           "-------- node 1 --------\n"
                           "04000000  6c 6c 6f                                          |llo             |\n"
                           "04000003\n";
    for (size_t portion = 1; portion <= 5; portion++)
        assert_string_equal(dump(67108862, 64 << 20, (const uint8_t *)"hello", 5, portion), expected);
}

static void dump_shows_a_whole_line_as_hexdump_does(void **state)
{
    (void)state;
    const uint8_t bytes[17] = "0123456789 ~\177\0\n\xff"; /* the last is the string's end */
    assert_string_equal(dump(16, 4096, bytes, 17, 17), "00000010  30 31 32 33 34 35 36 37  38 39 20 7e 7f 00 0a ff  |0123456789 ~....|\n"
                                                       "00000020  00                                                |.               |\n"
                                                       "00000021\n");
}

static void dump_collapses_lines_like_the_one_above(void **state)
{
    (void)state;
    uint8_t bytes[96] = {0};
    bytes[80] = 'x';
    assert_string_equal(dump(0, 4096, bytes, sizeof bytes, 7), "00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
                                                               "*\n"
                                                               "00000050  78 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |x...............|\n"
                                                               "00000060\n");
}

/* Goal: what was collapsed begins anew behind a border, and a line of which we saw a part is like no other. */
static void dump_does_not_collapse_across_borders_or_partial_lines(void **state)
{
    (void)state;
    const uint8_t bytes[48] = {0};
    assert_string_equal(dump(4096 - 16, 4096, bytes, 32, 32), "00000ff0  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
                                                              "-------- node 1 --------\n"
                                                              "00001000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
                                                              "00001010\n");
    assert_string_equal(dump(8, 4096, bytes, 24, 24), "00000008                           00 00 00 00 00 00 00 00  |        ........|\n"
                                                      "00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
                                                      "00000020\n");
}

static void dump_of_nothing_is_its_address(void **state)
{
    (void)state;
    assert_string_equal(dump(0x1234567890, UINT64_C(1) << 40, NULL, 0, 1), "1234567890\n");
}

/* ---- output that fails ---- */

static void failed_write_is_reported_and_stays(void **state)
{
    (void)state;
    struct out *out = &sink.out;
    struct err err;
    char large[2 * OUT_BUFFER_BYTES] = {0};
    FILE *full = fopen("/dev/full", "w");
    if (!full)
        skip();
    out_open(out, fileno(full));
    out_put(out, large, sizeof large);
    out_text(out, "more");
    assert_int_equal(out_flush(out, "it", &err), MCOMP_RESOURCE_EXHAUSTED);
    assert_string_equal(err.text, "cannot write it: No space left on device");
    assert_int_equal(out_flush(out, "it", &err), MCOMP_RESOURCE_EXHAUSTED);
    fclose(full);
}

static void buffered_and_large_pieces_keep_their_order(void **state)
{
    (void)state;
    static char large[OUT_BUFFER_BYTES - 1000];
    memset(large, 'L', sizeof large);
    sink_open();
    out_text(&sink.out, "a");
    out_put(&sink.out, large, 600);
    out_text(&sink.out, "b");
    out_put(&sink.out, large, sizeof large - 2000);
    out_text(&sink.out, "c");
    const char *text = sink_close();
    assert_int_equal(strlen(text), 3 + 600 + sizeof large - 2000);
    assert_int_equal(text[0], 'a');
    assert_int_equal(text[601], 'b');
    assert_int_equal(text[strlen(text) - 1], 'c');
}

/* ---- base64 ---- */

static const char *base64(const char *bytes, size_t length, size_t portion)
{
    struct base64 state = {0};
    sink_open();
    for (size_t at = 0; at < length; at += portion)
        base64_feed(&state, &sink.out, (const uint8_t *)bytes + at, length - at < portion ? length - at : portion);
    base64_close(&state, &sink.out);
    return sink_close();
}

/* The vectors of RFC 4648, section 10, in portions of every size. */
static void base64_follows_the_rfc(void **state)
{
    (void)state;
    static const char *const vectors[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t length = 0; length <= 6; length++) {
        for (size_t portion = 1; portion <= 6; portion++)
            assert_string_equal(base64("foobar", length, portion), vectors[length]);
    }
    assert_string_equal(base64("\xfb\xef\xff\0", 4, 4), "++//AA==");
}

static void base64_of_long_input_has_no_seams(void **state)
{
    (void)state;
    static char bytes[20000], expected[TEXT_MAX];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    snprintf(expected, sizeof expected, "%s", base64(bytes, sizeof bytes, sizeof bytes));
    assert_int_equal(strlen(expected), (sizeof bytes + 2) / 3 * 4);
    assert_string_equal(base64(bytes, sizeof bytes, 4097), expected);
}

/* ---- suggestions ---- */

static void distance_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("", ""), 0);
    assert_int_equal(suggest_distance("read", "read"), 0);
    assert_int_equal(suggest_distance("", "abc"), 3);
    assert_int_equal(suggest_distance("raed", "read"), 1); /* a swap */
    assert_int_equal(suggest_distance("rad", "read"), 1);
    assert_int_equal(suggest_distance("reead", "read"), 1);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    assert_int_equal(suggest_distance("a-word-that-is-longer-than-all-that-we-know", "read"), SUGGEST_WORD_MAX);
}

static void nearest_word_is_suggested_and_nothing_far(void **state)
{
    (void)state;
    struct suggestion best = {0};
    suggest_consider(&best, "stats", "save");
    assert_null(best.word);
    suggest_consider(&best, "stats", "starts up");
    suggest_consider(&best, "stats", "status");
    suggest_consider(&best, "stats", "staats"); /* as near, but later */
    assert_string_equal(best.word, "status");
}

/* ---- progress ---- */

static struct progress half_done(void)
{
    struct progress progress;
    progress_begin(&progress, "load", 100 << 20, false, 1000);
    progress_update(&progress, 50 << 20, 1000 + UINT64_C(1000000000));
    return progress;
}

static void progress_shows_share_rate_and_time_left(void **state)
{
    (void)state;
    char line[PROGRESS_LINE_BYTES];
    struct progress progress = half_done();
    assert_string_equal(progress_format(&progress, 80, line), "load [##############>             ]  50 %  50 MiB of 100 MiB  50 MiB/s  2 s left");
}

static void progress_fits_any_width(void **state)
{
    (void)state;
    char line[PROGRESS_LINE_BYTES];
    struct progress progress = half_done();
    assert_string_equal(progress_format(&progress, 50, line), "load  50 %  50 MiB of 100 MiB  50 MiB/s  2 s left");
    for (unsigned width = 1; width < 300; width++)
        assert_true(strlen(progress_format(&progress, width, line)) <= width);
}

static void progress_of_unknown_length_shows_the_amount(void **state)
{
    (void)state;
    char line[PROGRESS_LINE_BYTES];
    struct progress progress;
    progress_begin(&progress, "load", PROGRESS_UNKNOWN, false, 0);
    assert_string_equal(progress_format(&progress, 80, line), "load 0 B");
    progress_update(&progress, 3 << 20, UINT64_C(1000000000));
    assert_string_equal(progress_format(&progress, 80, line), "load 3 MiB  3 MiB/s");
}

static void progress_says_100_percent_only_at_the_end(void **state)
{
    (void)state;
    char line[PROGRESS_LINE_BYTES];
    struct progress progress;
    progress_begin(&progress, "save", 1000000, false, 0);
    progress_update(&progress, 999999, 1);
    assert_non_null(strstr(progress_format(&progress, 80, line), " 99 %"));
    progress_update(&progress, 1000000, 2);
    assert_non_null(strstr(progress_format(&progress, 80, line), "100 %"));
    progress_begin(&progress, "save", 0, false, 0);
    assert_non_null(strstr(progress_format(&progress, 80, line), "100 %"));
}

/* ---- counts and tables ---- */

static void counts_have_three_digits_behind_9999(void **state)
{
    (void)state;
    static const struct {
        uint64_t count;
        const char *text;
    } cases[] = {{0, "0"},           {9999, "9999"},      {10000, "10.0 k"},        {12345, "12.3 k"},
                 {999499, "999 k"},  {999500, "1.00 M"},  {1234567, "1.23 M"},      {9996000, "10.0 M"},
                 {99960000, "100 M"}, {UINT64_MAX, "18.4 E"}};
    char buf[OUTPUT_COUNT_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(output_count(cases[i].count, buf), cases[i].text);
}

static const struct table_column columns[] = {{"NAME", false, 0}, {"N", true, 1}, {"REMARK", false, 2}, {"LAST", true, 0}};

/** A table of two rows; the second is empty behind its name. */
static char *table(unsigned width, bool colour)
{
    struct table table = {.columns = columns, .column_count = 4};
    char *text = NULL;
    size_t bytes;
    struct table_cell *row = table_row(&table);
    snprintf(row[0].text, sizeof row[0].text, "first");
    snprintf(row[1].text, sizeof row[1].text, "1234");
    snprintf(row[2].text, sizeof row[2].text, "good");
    snprintf(row[3].text, sizeof row[3].text, "9");
    row[0].colour = COLOUR_GREEN;
    row = table_row(&table);
    snprintf(row[0].text, sizeof row[0].text, "b");
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    table_print(&table, out, width, colour);
    fclose(out);
    table_free(&table);
    return text;
}

static void assert_table(unsigned width, bool colour, const char *expected)
{
    char *text = table(width, colour);
    assert_string_equal(text, expected);
    free(text);
}

static void table_columns_line_up(void **state)
{
    (void)state;
    assert_table(0, false, "NAME      N  REMARK  LAST\n"
                           "first  1234  good       9\n"
                           "b\n");
}

static void narrow_table_drops_columns_in_order(void **state)
{
    (void)state;
    assert_table(25, false, "NAME      N  REMARK  LAST\n"
                            "first  1234  good       9\n"
                            "b\n");
    assert_table(24, false, "NAME      N  LAST\n"
                            "first  1234     9\n"
                            "b\n");
    assert_table(3, false, "NAME   LAST\n"
                           "first     9\n"
                           "b\n");
}

static void colours_do_not_move_columns(void **state)
{
    (void)state;
    assert_table(3, true, COLOUR_BOLD "NAME" COLOUR_OFF "   " COLOUR_BOLD "LAST" COLOUR_OFF "\n" COLOUR_GREEN "first" COLOUR_OFF "     9\n"
                                      "b\n");
}

static void json_texts_survive_foreign_bytes(void **state)
{
    (void)state;
    json_t *text = output_json_text("caf\xc3\xa9"), *foreign = output_json_text("caf\xe9"), *value = output_json_value(UINT64_MAX);
    assert_string_equal(json_string_value(text), "caf\xc3\xa9");
    assert_string_equal(json_string_value(foreign), "caf\\xe9");
    assert_string_equal(json_string_value(value), "18446744073709551615");
    json_decref(text);
    json_decref(foreign);
    json_decref(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dump_marks_the_border_between_nodes),
        cmocka_unit_test(dump_shows_a_whole_line_as_hexdump_does),
        cmocka_unit_test(dump_collapses_lines_like_the_one_above),
        cmocka_unit_test(dump_does_not_collapse_across_borders_or_partial_lines),
        cmocka_unit_test(dump_of_nothing_is_its_address),
        cmocka_unit_test(failed_write_is_reported_and_stays),
        cmocka_unit_test(buffered_and_large_pieces_keep_their_order),
        cmocka_unit_test(base64_follows_the_rfc),
        cmocka_unit_test(base64_of_long_input_has_no_seams),
        cmocka_unit_test(distance_counts_edits),
        cmocka_unit_test(nearest_word_is_suggested_and_nothing_far),
        cmocka_unit_test(progress_shows_share_rate_and_time_left),
        cmocka_unit_test(progress_fits_any_width),
        cmocka_unit_test(progress_of_unknown_length_shows_the_amount),
        cmocka_unit_test(progress_says_100_percent_only_at_the_end),
        cmocka_unit_test(counts_have_three_digits_behind_9999),
        cmocka_unit_test(table_columns_line_up),
        cmocka_unit_test(narrow_table_drops_columns_in_order),
        cmocka_unit_test(colours_do_not_move_columns),
        cmocka_unit_test(json_texts_survive_foreign_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
