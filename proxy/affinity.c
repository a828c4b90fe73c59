/*
 * Keys for POOL_HASH. Owns nothing. Calls back/pool.
 */
#include "affinity.h"

#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "back/pool.h"
#include "front/wt.h"

static uint64_t client_key(const struct sockaddr_storage *client)
{
    if (client->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)client;
        return pool_hash(&in6->sin6_addr, sizeof in6->sin6_addr);
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)client;
    return pool_hash(&in->sin_addr, sizeof in->sin_addr);
}

static bool is_named(const struct header *h, const char *name)
{
    return h->name_len == strlen(name) &&
           strncasecmp((const char *)h->name, name, h->name_len) == 0;
}

/* The value of the first cookie with this name in a list of them (RFC 6265, section 4.2.1). */
static bool find_cookie(const uint8_t *list, size_t len, const char *name, uint64_t *key)
{
    size_t name_len = strlen(name);
    for (size_t at = 0; at < len;) {
        const uint8_t *end = memchr(list + at, ';', len - at);
        size_t next = end ? (size_t)(end - list) : len;
        while (at < next && list[at] == ' ')
            at++;
        if (next - at > name_len && memcmp(list + at, name, name_len) == 0 &&
            list[at + name_len] == '=') {
            at += name_len + 1;
            *key = pool_hash(list + at, next - at);
            return true;
        }
        at = next + 1;
    }
    return false;
}

static bool header_key(const char *name, const struct wt_request *r, uint64_t *key)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (is_named(&r->headers[i], name)) {
            *key = pool_hash(r->headers[i].value, r->headers[i].value_len);
            return true;
        }
    return false;
}

static bool cookie_key(const char *name, const struct wt_request *r, uint64_t *key)
{
    for (size_t i = 0; i < r->header_count; i++) {
        const struct header *h = &r->headers[i];
        if (is_named(h, "cookie") && find_cookie(h->value, h->value_len, name, key))
            return true;
    }
    return false;
}

uint64_t affinity_key(const struct affinity *a, const struct sockaddr_storage *client,
                      const struct wt_request *r)
{
    uint64_t key;
    if (a->by == AFFINITY_PATH)
        return pool_hash(r->path, strcspn(r->path, "?"));
    if (a->by == AFFINITY_HEADER && header_key(a->name, r, &key))
        return key;
    if (a->by == AFFINITY_COOKIE && cookie_key(a->name, r, &key))
        return key;
    return client_key(client);
}
