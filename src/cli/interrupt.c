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

enum mcomp_status interrupt_open(struct interrupt *interrupt, struct err *err)
{
    sigset_t set;
    signals_of_interest(&set);
    interrupt->taken = false;
    interrupt->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (interrupt->fd < 0)
        return err_sys(err, errno, "cannot make a descriptor for signals");
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return MCOMP_OK;
}

bool interrupt_take(struct interrupt *interrupt)
{
    struct signalfd_siginfo info;
    bool taken = read(interrupt->fd, &info, sizeof info) == (ssize_t)sizeof info;
    interrupt->taken |= taken;
    return taken;
}

void interrupt_close(struct interrupt *interrupt)
{
    sigset_t set;
    signals_of_interest(&set);
    close(interrupt->fd);
    interrupt->fd = -1;
    if (!interrupt->taken)
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
