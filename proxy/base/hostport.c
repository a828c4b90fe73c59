/*
 * hostport - HOST:PORT taken apart, and written. Owns nothing, calls nobody.
 */
#include "base/hostport.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool split_port(const char *text, unsigned *port)
{
    size_t len = strlen(text);

    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return false;
    unsigned long value = strtoul(text, NULL, 10);
    *port = (unsigned)value;
    return value <= 65535;
}

bool hostport_split(const char *text, char host[HOSTPORT_HOST_SIZE], unsigned *port)
{
    const char *colon = strrchr(text, ':');
    const char *from = text, *to = colon;

    if (!colon || !split_port(colon + 1, port))
        return false;
    if (*from == '[') {
        struct in6_addr ignored;
        if (to - from < 2 || *--to != ']')
            return false;
        from++;
        if ((size_t)(to - from) >= HOSTPORT_HOST_SIZE)
            return false;
        snprintf(host, HOSTPORT_HOST_SIZE, "%.*s", (int)(to - from), from);
        return inet_pton(AF_INET6, host, &ignored) == 1;
    }
    if (to - from == 1 && *from == '*')
        from = to;
    /* A second colon without brackets: nobody can tell which one begins the port. */
    if ((size_t)(to - from) >= HOSTPORT_HOST_SIZE || memchr(from, ':', (size_t)(to - from)))
        return false;
    snprintf(host, HOSTPORT_HOST_SIZE, "%.*s", (int)(to - from), from);
    return true;
}

void hostport_print(char to[HOSTPORT_TEXT_SIZE], const struct sockaddr *address)
{
    char ip[INET6_ADDRSTRLEN] = "?";

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
        snprintf(to, HOSTPORT_TEXT_SIZE, "%s:%u", ip, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof(ip));
        snprintf(to, HOSTPORT_TEXT_SIZE, "[%s]:%u", ip, ntohs(in->sin6_port));
    } else {
        snprintf(to, HOSTPORT_TEXT_SIZE, "?");
    }
}
