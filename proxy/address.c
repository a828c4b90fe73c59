/*
 * address - from HOST:PORT to addresses and back. Owns nothing. Calls the system's resolver, so
 * address_resolve may take a while: for the start of the program only.
 */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/hostport.h"

static bool system_has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
    bool bound = bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0;
    close(fd);
    return bound;
}

static size_t resolve_any(unsigned port, struct packet_address *to)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    if (system_has_ipv6())
        packet_address_set(to, (struct sockaddr *)&v6, sizeof(v6));
    else
        packet_address_set(to, (struct sockaddr *)&v4, sizeof(v4));
    return 1;
}

/* Both loopback addresses, whatever the system's table of hosts says (RFC 6761, section 6.3):
 * browsers try ::1 first. */
static size_t resolve_localhost(unsigned port, struct packet_address *to, size_t max)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    size_t count = 0;

    if (count < max && system_has_ipv6())
        packet_address_set(&to[count++], (struct sockaddr *)&v6, sizeof(v6));
    if (count < max)
        packet_address_set(&to[count++], (struct sockaddr *)&v4, sizeof(v4));
    for (size_t i = 0; i < count; i++)
        address_set_port(&to[i], port);
    return count;
}

static bool is_known(const struct packet_address *list, size_t count,
                     const struct packet_address *a)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].len == a->len && memcmp(&list[i].sa, &a->sa, a->len) == 0)
            return true;
    return false;
}

size_t address_resolve(const char *text, struct packet_address *to, size_t max, char *error,
                       size_t error_size)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *found = NULL;
    char host[HOSTPORT_HOST_SIZE];
    unsigned port;
    size_t count = 0;

    if (!hostport_split(text, host, &port)) {
        snprintf(error, error_size, "expected HOST:PORT or :PORT, got '%s'", text);
        return 0;
    }
    if (host[0] == '\0')
        return resolve_any(port, to);
    if (strcasecmp(host, "localhost") == 0)
        return resolve_localhost(port, to, max);
    int failed = getaddrinfo(host, NULL, &hints, &found);
    for (struct addrinfo *i = found; i && count < max; i = i->ai_next) {
        if (!packet_address_set(&to[count], i->ai_addr, i->ai_addrlen))
            continue;
        address_set_port(&to[count], port);
        if (!is_known(to, count, &to[count]))
            count++;
    }
    if (found)
        freeaddrinfo(found);
    if (count == 0)
        snprintf(error, error_size, "the name '%s' has no address: %s", host,
                 failed == EAI_SYSTEM ? strerror(errno) : gai_strerror(failed));
    return count;
}

bool address_is_any(const struct packet_address *a)
{
    if (a->sa.any.sa_family == AF_INET)
        return a->sa.v4.sin_addr.s_addr == htonl(INADDR_ANY);
    return memcmp(&a->sa.v6.sin6_addr, &in6addr_any, sizeof(in6addr_any)) == 0;
}

unsigned address_port(const struct packet_address *a)
{
    return ntohs(a->sa.any.sa_family == AF_INET ? a->sa.v4.sin_port : a->sa.v6.sin6_port);
}

void address_set_port(struct packet_address *a, unsigned port)
{
    if (a->sa.any.sa_family == AF_INET)
        a->sa.v4.sin_port = htons((uint16_t)port);
    else
        a->sa.v6.sin6_port = htons((uint16_t)port);
}

void address_host(const struct packet_address *a, char to[ADDRESS_TEXT_SIZE])
{
    const void *bytes = a->sa.any.sa_family == AF_INET ? (const void *)&a->sa.v4.sin_addr
                                                       : (const void *)&a->sa.v6.sin6_addr;

    if (!inet_ntop(a->sa.any.sa_family, bytes, to, ADDRESS_TEXT_SIZE))
        to[0] = '\0';
}
