/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/priority.h"

#define NOBODY 65534

static int nice_now(void)
{
    return getpriority(PRIO_PROCESS, 0);
}

/** What is wrong, as an exit code; 0: nothing. */
static int try_background(bool expected)
{
    int usual = nice_now();
    priority_background(true);
    if (nice_now() != usual)
        return 1; /* nobody has probed yet */
    if (priority_probe() != expected)
        return 2;
    if (nice_now() != usual)
        return 3; /* probing does nothing to the caller */
    for (int i = 0; i < 3; i++) {
        priority_background(true);
        priority_background(true);
        if (nice_now() != (expected ? usual + 10 < 19 ? usual + 10 : 19 : usual))
            return 4;
        priority_background(false);
        if (nice_now() != usual)
            return 5;
    }
    priority_prompt(); /* which leaves the nice value as it is */
    return nice_now() == usual ? 0 : 6;
}

/** Run try_background or, without it, come and go by hand, in a process of its own, since much of it cannot be undone. Returns the exit code. */
static int in_child(int nice, uid_t user, bool by_hand, bool expected)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int usual = nice_now() + nice;
        if (setpriority(PRIO_PROCESS, 0, usual) != 0 || setresuid(user, user, user) != 0)
            _exit(77);
        if (by_hand)
            _exit(setpriority(PRIO_PROCESS, 0, usual + 10) == 0 && setpriority(PRIO_PROCESS, 0, usual) == 0 ? 1 : 0);
        _exit(try_background(expected));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void threads_go_to_the_background_if_they_may_return(void **state)
{
    (void)state;
    for (int nice = 0; nice <= 3; nice += 3) {
        bool may = in_child(nice, geteuid(), true, false);
        assert_int_equal(in_child(nice, geteuid(), false, may), 0);
    }
}

static void threads_that_could_not_return_stay(void **state)
{
    struct rlimit limit;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NICE, &limit), 0);
    if (geteuid() != 0 || limit.rlim_cur > 0)
        skip(); /* the test before has it, or there is nobody who may not */
    assert_int_equal(in_child(0, NOBODY, false, false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_go_to_the_background_if_they_may_return),
        cmocka_unit_test(threads_that_could_not_return_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
