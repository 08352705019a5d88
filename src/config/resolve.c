/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#include "base/text.h"
#include "config/config.h"

enum mcomp_status config_resolve(const struct config_endpoint *endpoint, bool passive, struct sockaddr_storage *out, socklen_t *out_len,
                                 size_t max, size_t *count, struct err *err)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
    char port[8];
    snprintf(port, sizeof port, "%u", endpoint->port);
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(endpoint->host, port, &hints, &list);
    int sys_errno = errno;
    *count = 0;
    for (const struct addrinfo *info = rc == 0 ? list : NULL; info && *count < max; info = info->ai_next) {
        if (info->ai_addrlen > sizeof *out)
            continue;
        memset(&out[*count], 0, sizeof *out);
        memcpy(&out[*count], info->ai_addr, info->ai_addrlen);
        out_len[(*count)++] = info->ai_addrlen;
    }
    if (rc == 0)
        freeaddrinfo(list);
    if (*count > 0)
        return MCOMP_OK;
    char reason[128];
    const char *text = rc == 0 ? "no address" : rc == EAI_SYSTEM ? strerror_r(sys_errno, reason, sizeof reason) : gai_strerror(rc);
    char quoted[TEXT_QUOTE_BYTES];
    return err_set(err, MCOMP_UNAVAILABLE, "cannot resolve %s: %s", text_quote(endpoint->host, quoted), text);
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static bool same_host(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6 && IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
                                                          &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr);
}

static bool is_own(const struct sockaddr *address, const struct ifaddrs *interfaces)
{
    if (is_loopback(address))
        return true;
    for (const struct ifaddrs *i = interfaces; i; i = i->ifa_next) {
        if (i->ifa_addr && same_host(address, i->ifa_addr))
            return true;
    }
    return false;
}

#define ADDRESSES_MAX 16u

enum mcomp_status config_find_self(const struct config *config, uint32_t *node, struct err *err)
{
    struct ifaddrs *interfaces;
    if (getifaddrs(&interfaces) != 0)
        return err_sys(err, errno, "list the addresses of this machine");
    uint32_t found = 0, unresolved = 0, first = 0, second = 0;
    struct err last_unresolved = {0};
    for (uint32_t i = 0; i < config->nodes; i++) {
        struct sockaddr_storage addresses[ADDRESSES_MAX];
        socklen_t lengths[ADDRESSES_MAX];
        size_t count;
        if (config_resolve(&config->node[i].address, false, addresses, lengths, ADDRESSES_MAX, &count, &last_unresolved) != MCOMP_OK)
            unresolved++;
        bool own = false;
        for (size_t j = 0; j < count; j++)
            own = own || is_own((const struct sockaddr *)&addresses[j], interfaces);
        if (!own)
            continue;
        if (found == 0)
            first = i;
        else if (found == 1)
            second = i;
        found++;
    }
    freeifaddrs(interfaces);
    if (found == 1) {
        *node = first;
        return MCOMP_OK;
    }
    if (found > 1)
        return err_set(err, MCOMP_FAILED_PRECONDITION,
                       "%u nodes of %s are on this machine, nodes %u and %u among them: say which one to be with --node I", found, config->path,
                       first, second);
    if (unresolved > 0)
        return err_set(err, MCOMP_NOT_FOUND, "no node of %s has an address of this machine (%u could not be resolved; %s): say which one to be "
                       "with --node I", config->path, unresolved, last_unresolved.text);
    return err_set(err, MCOMP_NOT_FOUND, "no node of %s has an address of this machine: say which one to be with --node I", config->path);
}
