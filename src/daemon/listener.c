/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/notify.h"

#define BACKLOG 4096
#define ACCEPTS_PER_EVENT 256u /* then other events of the main loop get their turn */

/* ---- binding ---- */

static enum mcomp_status bind_one(const struct sockaddr_storage *address, socklen_t bytes, const char *text, int *out, struct err *err)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, errno, "make a socket for %s", text);
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    /* Two sockets may be bound to one port as long as neither listens: only listen(2) finds the port in use then. */
    if (bind(fd, (const struct sockaddr *)address, bytes) < 0 || listen(fd, BACKLOG) < 0) {
        int sys_errno = errno;
        close(fd);
        if (sys_errno == EADDRINUSE)
            return err_sys(err, sys_errno, "listen on %s: another process listens there; stop it, or give the node another port in mcomp.cfg", text);
        if (sys_errno == EADDRNOTAVAIL)
            return err_sys(err, sys_errno, "listen on %s: the address is not one of this machine's; check --node and the node's address", text);
        return err_sys(err, sys_errno, "listen on %s", text);
    }
    *out = fd;
    return MCOMP_OK;
}

static void add_socket(struct listener *listener, int fd)
{
    listener->socket[listener->count++] = (struct listener_socket){.listener = listener, .fd = fd};
}

/** Sockets that the service manager opened for us. */
static enum mcomp_status take_handed(struct listener *listener, int count, struct err *err)
{
    for (int i = 0; i < count && listener->count < LISTENER_SOCKETS_MAX; i++) {
        int fd = NOTIFY_LISTEN_FD + i, listening = 0;
        socklen_t bytes = sizeof listening;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &bytes) < 0 || !listening)
            return err_set(err, MCOMP_INVALID_ARGUMENT, "descriptor %d, handed over by LISTEN_FDS, is no listening socket", fd);
        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            return err_sys(err, errno, "prepare descriptor %d", fd);
        add_socket(listener, fd);
    }
    return MCOMP_OK;
}

enum mcomp_status listener_bind(struct listener *listener, const struct config_endpoint *endpoint, struct err *err)
{
    *listener = (struct listener){.spare_fd = -1};
    int handed = notify_listen_fds();
    if (handed)
        return take_handed(listener, handed, err);
    struct sockaddr_storage address[LISTENER_SOCKETS_MAX];
    socklen_t bytes[LISTENER_SOCKETS_MAX];
    size_t count;
    enum mcomp_status code = config_resolve(endpoint, true, address, bytes, LISTENER_SOCKETS_MAX, &count, err);
    if (code != MCOMP_OK)
        return err_wrap(err, code, "listen on %s", endpoint->text);
    for (size_t i = 0; i < count; i++) {
        int fd = -1;
        code = bind_one(&address[i], bytes[i], endpoint->text, &fd, err);
        if (code != MCOMP_OK) {
            listener_close(listener);
            return code;
        }
        add_socket(listener, fd);
    }
    return MCOMP_OK;
}

/* ---- accepting ---- */

static void log_refused(struct listener *listener, const char *why)
{
    if (ev_is_active(&listener->calm))
        return;
    char keys[64];
    snprintf(keys, sizeof keys, "refused=%" PRIu64, listener->refused - listener->refused_logged);
    listener->refused_logged = listener->refused;
    log_line(LOG_WARN, "listener", "accept", keys, "%s", why);
    ev_timer_start(listener->loop, &listener->calm);
}

static void refuse(struct listener *listener, int fd, const char *why)
{
    listener->calls.refuse(listener->calls.arg, fd);
    close(fd);
    listener->refused++;
    log_refused(listener, why);
}

static void serve(struct listener *listener, int fd)
{
    if (!listener->calls.serve(listener->calls.arg, fd))
        refuse(listener, fd, listener->calls.full);
}

/** No descriptor is left for the next client. Give up the spare one, take the client, and turn it away; without this the loop would
 *  be woken for the same client again and again. Returns false when even that did not work. */
static bool refuse_without_descriptor(struct listener *listener, int listening)
{
    if (listener->spare_fd < 0)
        return false;
    close(listener->spare_fd);
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    static const char why[] = "out of file descriptors: connections are being refused; raise the limit (ulimit -n, LimitNOFILE=)";
    if (fd >= 0)
        refuse(listener, fd, why);
    else
        log_refused(listener, why);
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

static void pause_accepting(struct listener *listener)
{
    for (unsigned i = 0; i < listener->count; i++)
        ev_io_stop(listener->loop, &listener->socket[i].watcher);
    ev_timer_start(listener->loop, &listener->calm);
}

static void accept_cb(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct listener_socket *listening = watcher->data;
    struct listener *listener = listening->listener;
    for (unsigned i = 0; i < ACCEPTS_PER_EVENT; i++) {
        int fd = accept4(listening->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            serve(listener, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE) {
            if (refuse_without_descriptor(listener, listening->fd))
                continue;
            pause_accepting(listener);
            return;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        if (errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(listener);
            return;
        }
        /* what remains concerns the one client: ECONNABORTED, EINTR, errors of its network */
    }
}

static void calm_cb(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)events;
    struct listener *listener = watcher->data;
    ev_timer_stop(loop, watcher);
    if (listener->spare_fd < 0)
        listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (unsigned i = 0; i < listener->count; i++)
        ev_io_start(loop, &listener->socket[i].watcher);
}

enum mcomp_status listener_start(struct listener *listener, const struct listener_calls *calls, struct ev_loop *loop, struct err *err)
{
    listener->calls = *calls;
    listener->loop = loop;
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (listener->spare_fd < 0)
        return err_sys(err, errno, "open /dev/null");
    ev_timer_init(&listener->calm, calm_cb, 1., 1.);
    listener->calm.data = listener;
    for (unsigned i = 0; i < listener->count; i++) {
        struct listener_socket *listening = &listener->socket[i];
        ev_io_init(&listening->watcher, accept_cb, listening->fd, EV_READ);
        listening->watcher.data = listening;
        ev_io_start(loop, &listening->watcher);
    }
    return MCOMP_OK;
}

void listener_close(struct listener *listener)
{
    for (unsigned i = 0; i < listener->count; i++) {
        if (listener->loop)
            ev_io_stop(listener->loop, &listener->socket[i].watcher);
        close(listener->socket[i].fd);
    }
    listener->count = 0;
    if (listener->loop)
        ev_timer_stop(listener->loop, &listener->calm);
    if (listener->spare_fd >= 0)
        close(listener->spare_fd);
    listener->spare_fd = -1;
}
