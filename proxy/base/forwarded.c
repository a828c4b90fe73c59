/*
 * forwarded - reads lists from their end and writes one more element. Calls nobody.
 */
#include "base/forwarded.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ELEMENTS_MAX 64 /* of those before, nothing is believed */
#define ELEMENT_MAX  128

/* --- addresses --- */

/* IPv4 as IPv6 knows it, so that both are one thing. False for other families. */
static bool to_bytes(const struct sockaddr_storage *from, struct in6_addr *to)
{
    if (from->ss_family == AF_INET6) {
        *to = ((const struct sockaddr_in6 *)from)->sin6_addr;
        return true;
    }
    if (from->ss_family != AF_INET)
        return false;
    memset(to, 0, sizeof *to);
    to->s6_addr[10] = to->s6_addr[11] = 0xff;
    memcpy(to->s6_addr + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
    return true;
}

static bool read_address(const char *text, struct sockaddr_storage *to)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
    memset(to, 0, sizeof *to);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
        return false;
    v6->sin6_family = AF_INET6;
    return true;
}

static void set_port(struct sockaddr_storage *to, unsigned port)
{
    if (to->ss_family == AF_INET)
        ((struct sockaddr_in *)to)->sin_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in6 *)to)->sin6_port = htons((uint16_t)port);
}

static void write_address(const struct sockaddr_storage *from, char to[INET6_ADDRSTRLEN])
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
    to[0] = '\0';
    if (from->ss_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)from)->sin_addr, to, INET6_ADDRSTRLEN);
    else if (from->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, to, INET6_ADDRSTRLEN);
    else if (from->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &v6->sin6_addr, to, INET6_ADDRSTRLEN);
}

/* --- networks --- */

static bool read_digits(const char *text, unsigned most, unsigned *number)
{
    size_t len = strlen(text);
    *number = 0;
    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return false;
    *number = (unsigned)strtoul(text, NULL, 10);
    return *number <= most;
}

static bool read_network(const char *text, struct in6_addr *address, unsigned *bits)
{
    char host[INET6_ADDRSTRLEN];
    struct sockaddr_storage storage;
    size_t len = strcspn(text, "/");
    if (len >= sizeof host)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    if (!read_address(host, &storage))
        return false;
    unsigned most = storage.ss_family == AF_INET ? 32 : 128;
    *bits = most;
    if (text[len] == '/' && !read_digits(text + len + 1, most, bits))
        return false;
    *bits += 128 - most;
    return to_bytes(&storage, address);
}

bool forwarded_is_network(const char *text)
{
    struct in6_addr address;
    unsigned bits;
    return read_network(text, &address, &bits);
}

bool forwarded_is_in(const char *network, const struct sockaddr_storage *address)
{
    struct in6_addr a, b;
    unsigned bits;
    if (!read_network(network, &a, &bits) || !to_bytes(address, &b))
        return false;
    size_t whole = bits / 8;
    unsigned mask = 0xff00u >> (bits % 8) & 0xff;
    return memcmp(a.s6_addr, b.s6_addr, whole) == 0 &&
           (mask == 0 || ((a.s6_addr[whole] ^ b.s6_addr[whole]) & mask) == 0);
}

static bool is_trusted(const struct forwarded_rule *rule, const struct sockaddr_storage *address)
{
    for (size_t i = 0; i < rule->trusted_count; i++)
        if (forwarded_is_in(rule->trusted[i], address))
            return true;
    return false;
}

/* --- elements --- */

struct element {
    const char *at;
    size_t len;
};

/* The last ELEMENTS_MAX of all fields of the name, in order. */
struct elements {
    struct element of[ELEMENTS_MAX];
    size_t next, count;
};

static void trim(struct element *e)
{
    while (e->len && (*e->at == ' ' || *e->at == '\t')) {
        e->at++;
        e->len--;
    }
    while (e->len && (e->at[e->len - 1] == ' ' || e->at[e->len - 1] == '\t'))
        e->len--;
}

/* A quoted string that is left open swallows what was added behind it, whoever did that. */
static bool is_left_open(const char *at, size_t len)
{
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        if (quoted && at[i] == '\\')
            i++;
        else if (at[i] == '"')
            quoted = !quoted;
    }
    return quoted;
}

/* To the next sign that is not inside a quoted string. */
static size_t until(const char *at, size_t len, char sign)
{
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        if (quoted && at[i] == '\\')
            i++;
        else if (at[i] == '"')
            quoted = !quoted;
        else if (!quoted && at[i] == sign)
            return i;
    }
    return len;
}

static void add_element(struct elements *all, struct element e)
{
    trim(&e);
    if (e.len == 0)
        return;
    all->of[all->next++ % ELEMENTS_MAX] = e;
    all->count += all->count < ELEMENTS_MAX;
}

/* X-Forwarded-For knows no quoted strings: a quote that the client sends must hide nothing. */
static void add_addresses(struct elements *all, const char *at, size_t len)
{
    while (len > 0) {
        const char *comma = memchr(at, ',', len);
        size_t n = comma ? (size_t)(comma - at) : len;
        add_element(all, (struct element){at, n});
        n += n < len;
        at += n;
        len -= n;
    }
}

static void add_elements(struct elements *all, const char *at, size_t len)
{
    if (is_left_open(at, len)) {
        add_element(all, (struct element){"?", 1}); /* not to be understood */
        return;
    }
    while (len > 0) {
        size_t n = until(at, len, ',');
        add_element(all, (struct element){at, n});
        n += n < len;
        at += n;
        len -= n;
    }
}

static void read_elements(const struct forwarded_rule *rule, const struct header *headers,
                          size_t count, struct elements *all)
{
    const char *name = forwarded_name(rule->kind);
    all->next = all->count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!header_is(&headers[i], name))
            continue;
        const char *value = (const char *)headers[i].value;
        if (rule->kind == FORWARDED_X)
            add_addresses(all, value, headers[i].value_len);
        else
            add_elements(all, value, headers[i].value_len);
    }
}

/* The value of for= (RFC 7239, section 4); empty if there is none. */
static struct element for_value(struct element e)
{
    while (e.len > 0) {
        size_t n = until(e.at, e.len, ';');
        struct element pair = {e.at, n};
        trim(&pair);
        if (pair.len > 4 && strncasecmp(pair.at, "for=", 4) == 0)
            return (struct element){pair.at + 4, pair.len - 4};
        n += n < e.len;
        e.at += n;
        e.len -= n;
    }
    return (struct element){0};
}

/* ADDRESS, ADDRESS:PORT with brackets around IPv6, each perhaps in quotes. */
static bool read_node(struct element e, struct sockaddr_storage *to)
{
    char text[ELEMENT_MAX], *port = NULL, *host = text;
    unsigned number = 0;
    if (e.len >= 2 && e.at[0] == '"' && e.at[e.len - 1] == '"')
        e = (struct element){e.at + 1, e.len - 2};
    if (e.len == 0 || e.len >= sizeof text || memchr(e.at, '\0', e.len))
        return false;
    memcpy(text, e.at, e.len);
    text[e.len] = '\0';
    if (text[0] == '[') {
        char *end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return false;
        port = end[1] ? end + 2 : NULL;
        *end = '\0';
        host = text + 1;
    } else if (strchr(text, ':') && strchr(text, ':') == strrchr(text, ':')) {
        port = strchr(text, ':') + 1;
        port[-1] = '\0';
    }
    if ((port && !read_digits(port, 65535, &number)) || !read_address(host, to))
        return false;
    set_port(to, number);
    return true;
}

/* --- what upper modules ask --- */

const char *forwarded_name(enum forwarded_kind kind)
{
    static const char *const names[] = {NULL, "x-forwarded-for", "forwarded"};
    return names[kind];
}

void forwarded_find(const struct forwarded_rule *rule, const struct header *headers, size_t count,
                    struct sockaddr_storage *client)
{
    struct elements all;
    if (rule->kind == FORWARDED_NONE)
        return;
    read_elements(rule, headers, count, &all);
    for (size_t i = 0; i < all.count && is_trusted(rule, client); i++) {
        struct element e = all.of[(all.next - 1 - i) % ELEMENTS_MAX];
        struct sockaddr_storage before;
        if (!read_node(rule->kind == FORWARDED_X ? e : for_value(e), &before))
            return; /* unknown, hidden, or not to be understood: nobody before it, either */
        *client = before;
    }
}

static size_t write_own(enum forwarded_kind kind, const struct sockaddr_storage *peer,
                        const char *authority, char *to, size_t size)
{
    char address[INET6_ADDRSTRLEN];
    write_address(peer, address);
    bool bare = !strchr(address, ':');
    int n = kind == FORWARDED_X
                ? snprintf(to, size, "%s", address)
                : snprintf(to, size, "for=%s%s%s;host=\"%s\";proto=https", bare ? "" : "\"[",
                           address, bare ? "" : "]\"", strpbrk(authority, "\"\\") ? "" : authority);
    assert(n >= 0);
    return (size_t)n;
}

static bool may_be_joined(const struct forwarded_rule *rule, const struct header *h)
{
    return h->value_len > 0 &&
           (rule->kind == FORWARDED_X || !is_left_open((const char *)h->value, h->value_len));
}

char *forwarded_write(const struct forwarded_rule *rule, const struct header *headers, size_t count,
                      const struct sockaddr_storage *peer, const char *authority, size_t *len)
{
    const char *name = forwarded_name(rule->kind);
    size_t own = write_own(rule->kind, peer, authority, NULL, 0), size = own + 1;
    bool believed = is_trusted(rule, peer);
    for (size_t i = 0; i < count; i++)
        size += header_is(&headers[i], name) ? headers[i].value_len + 2 : 0;
    char *to = malloc(size);
    assert(to);
    *len = 0;
    for (size_t i = 0; i < count && believed; i++) {
        if (!header_is(&headers[i], name) || !may_be_joined(rule, &headers[i]))
            continue;
        memcpy(to + *len, headers[i].value, headers[i].value_len);
        *len += headers[i].value_len;
        memcpy(to + *len, ", ", 2);
        *len += 2;
    }
    *len += write_own(rule->kind, peer, authority, to + *len, size - *len);
    return to;
}
