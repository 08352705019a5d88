/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/interrupt.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void signals_of_interest(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

enum mcomp_status interrupt_open(int *fd, struct err *err)
{
    sigset_t set;
    signals_of_interest(&set);
    *fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (*fd < 0)
        return err_sys(err, errno, "cannot make a descriptor for signals");
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return MCOMP_OK;
}

bool interrupt_take(int fd)
{
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == (ssize_t)sizeof info;
}

void interrupt_close(int fd)
{
    sigset_t set;
    signals_of_interest(&set);
    close(fd);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
