/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static void set_gives_code_and_text(void **state)
{
    (void)state;
    struct err err;
    memset(&err, 0xff, sizeof err);
    assert_int_equal(err_set(&err, MCOMP_OUT_OF_RANGE, "address %d", 7), MCOMP_OUT_OF_RANGE);
    assert_int_equal(err.code, MCOMP_OUT_OF_RANGE);
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.text, "address 7");
}

static void sys_derives_code_and_appends_reason(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(err_sys(&err, ENOENT, "open %s", "x"), MCOMP_NOT_FOUND);
    assert_int_equal(err.sys_errno, ENOENT);
    assert_string_equal(err.text, "open x: No such file or directory");
    assert_int_equal(err_sys(&err, ENOSPC, "write"), MCOMP_RESOURCE_EXHAUSTED);
    assert_int_equal(err_sys(&err, EACCES, "open"), MCOMP_PERMISSION_DENIED);
    assert_int_equal(err_sys(&err, ECONNREFUSED, "connect"), MCOMP_UNAVAILABLE);
    assert_int_equal(err_sys(&err, EBADF, "read"), MCOMP_INTERNAL);
}

static void wrap_puts_context_before(void **state)
{
    (void)state;
    struct err err;
    err_sys(&err, ENOENT, "open x");
    assert_int_equal(err_wrap(&err, MCOMP_NOT_FOUND, "start node %d", 2), MCOMP_NOT_FOUND);
    assert_string_equal(err.text, "start node 2: open x: No such file or directory");
    assert_int_equal(err.sys_errno, ENOENT);
}

/* Goal: no length of context and text runs over the buffer. Method: all lengths round the border; ASan watches. */
static void long_texts_are_cut(void **state)
{
    (void)state;
    char context[2 * ERR_TEXT_BYTES];
    for (size_t bytes = ERR_TEXT_BYTES - 8; bytes < ERR_TEXT_BYTES + 8; bytes++) {
        struct {
            struct err err;
            char behind[8];
        } box;
        memset(&box, 'b', sizeof box);
        memset(context, 'c', bytes);
        context[bytes] = 0;
        err_set(&box.err, MCOMP_INTERNAL, "%s", context);
        assert_int_equal(strlen(box.err.text), bytes < ERR_TEXT_BYTES ? bytes : ERR_TEXT_BYTES - 1);
        err_wrap(&box.err, MCOMP_INTERNAL, "%s", context);
        assert_int_equal(strlen(box.err.text), ERR_TEXT_BYTES - 1);
        err_sys(&box.err, EIO, "%s", context);
        assert_int_equal(strlen(box.err.text), ERR_TEXT_BYTES - 1);
        assert_memory_equal(box.behind, "bbbbbbbb", 8);
    }
    err_set(NULL, MCOMP_INTERNAL, "%s", "nobody listens");
    err_wrap(NULL, MCOMP_INTERNAL, "%s", "nobody listens");
    assert_int_equal(err_sys(NULL, EEXIST, "nobody listens"), MCOMP_ALREADY_EXISTS);
}

static void every_status_has_name_and_text(void **state)
{
    (void)state;
#define CHECK(name, number, retry, text)                                                                                                   \
    assert_int_equal(MCOMP_##name, number);                                                                                                \
    assert_string_equal(status_name(MCOMP_##name), #name);                                                                                 \
    assert_string_equal(status_text(MCOMP_##name), text);
    MCOMP_STATUS_LIST(CHECK)
#undef CHECK
    assert_string_equal(status_name((enum mcomp_status)200), "UNKNOWN");
    assert_string_equal(status_text((enum mcomp_status)200), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_gives_code_and_text),
        cmocka_unit_test(sys_derives_code_and_appends_reason),
        cmocka_unit_test(wrap_puts_context_before),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(every_status_has_name_and_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
