/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"

#define STRING(s) s, sizeof s - 1

static void escapes(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t bytes;
        const char *out;
    } table[] = {
        {STRING(""), ""},
        {STRING("plain text"), "plain text"},
        {STRING("say \"a\\b\""), "say \\\"a\\\\b\\\""},
        {STRING("a\nb\rc\td"), "a\\nb\\rc\\td"},
        {STRING("\0\x01\x1b\x7f"), "\\x00\\x01\\x1b\\x7f"},
        {STRING("Gr\xc3\xb6\xc3\x9f""e \xe2\x82\xac \xf0\x9f\x98\x80"), "Gr\xc3\xb6\xc3\x9f""e \xe2\x82\xac \xf0\x9f\x98\x80"},
        {STRING("\xc2\x9b"), "\\xc2\\x9b"},                 /* a control character of two bytes: U+009B begins terminal commands */
        {STRING("\x9b"), "\\x9b"},                          /* alone */
        {STRING("\xc0\x80\xc1\xbf"), "\\xc0\\x80\\xc1\\xbf"}, /* too long a form */
        {STRING("\xe0\x80\x80"), "\\xe0\\x80\\x80"},
        {STRING("\xed\xa0\x80"), "\\xed\\xa0\\x80"},        /* a surrogate */
        {STRING("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80"}, /* behind U+10FFFF */
        {STRING("\xf5\x80\x80\x80\xff"), "\\xf5\\x80\\x80\\x80\\xff"},
        {STRING("\xe2\x82"), "\\xe2\\x82"},                 /* cut */
        {STRING("\xe2\x82z"), "\\xe2\\x82z"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char out[128];
        assert_int_equal(text_escape(out, sizeof out, table[i].in, table[i].bytes), strlen(table[i].out));
        assert_string_equal(out, table[i].out);
    }
}

/* Goal: with too little room, the result fits, ends in dots, and is a prefix otherwise. Method: every room from 1 byte on, in memory of
 * just that size. */
static void cuts_between_characters(void **state)
{
    (void)state;
    static const char in[] = "ab\x01\xe2\x82\xac\"\nz";
    static const char whole[] = "ab\\x01\xe2\x82\xac\\\"\\nz";
    static const size_t borders[] = {0, 1, 2, 6, 9, 11, 13, 14};
    for (size_t room = 1; room <= sizeof whole + 2; room++) {
        char *out = malloc(room);
        assert_non_null(out);
        size_t used = text_escape(out, room, in, sizeof in - 1);
        assert_true(used < room);
        assert_int_equal(out[used], 0);
        if (room >= sizeof whole) {
            assert_string_equal(out, whole);
        } else if (room > 3) {
            assert_string_equal(out + used - 3, "...");
            assert_memory_equal(out, whole, used - 3);
            size_t best = 0;
            for (size_t i = 0; i < sizeof borders / sizeof *borders; i++)
                best = borders[i] + 4 <= room ? borders[i] : best;
            assert_int_equal(used - 3, best);
        }
        free(out);
    }
}

static void quotes(void **state)
{
    (void)state;
    char buf[TEXT_QUOTE_BYTES];
    assert_string_equal(text_quote("a\"b", buf), "\"a\\\"b\"");
    char *long_text = malloc(100001);
    assert_non_null(long_text);
    memset(long_text, 'x', 100000);
    long_text[100000] = 0;
    text_quote(long_text, buf);
    assert_int_equal(strlen(buf), TEXT_QUOTE_BYTES - 1);
    assert_string_equal(buf + TEXT_QUOTE_BYTES - 6, "x...\"");
    free(long_text);
}

static void shows_quotes_as_they_are(void **state)
{
    (void)state;
    static const char in[] = "grid \"a\\b\"\n\x01";
    char out[64];
    assert_int_equal(text_show(out, sizeof out, in, sizeof in - 1), strlen("grid \"a\\b\"\\n\\x01"));
    assert_string_equal(out, "grid \"a\\b\"\\n\\x01");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes),
        cmocka_unit_test(cuts_between_characters),
        cmocka_unit_test(quotes),
        cmocka_unit_test(shows_quotes_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
