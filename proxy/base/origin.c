/*
 * origin - splits and compares origins. Owns nothing, calls nobody.
 */
#include "base/origin.h"

#include <string.h>
#include <strings.h>

struct piece {
    const char *at;
    size_t len;
};

struct origin {
    struct piece scheme, host, port; /* port: empty without */
};

static bool equals(struct piece a, struct piece b)
{
    return a.len == b.len && strncasecmp(a.at, b.at, a.len) == 0;
}

static bool is(struct piece a, const char *text)
{
    return equals(a, (struct piece){text, strlen(text)});
}

/* HOST, HOST:PORT, [V6], [V6]:PORT. False if there is no host, or something else behind it. */
static bool split_host(struct piece text, struct piece *host, struct piece *port)
{
    const char *end = text.at + text.len, *stop = end;
    if (text.len > 0 && text.at[0] == '[') {
        const char *bracket = memchr(text.at, ']', text.len);
        if (!bracket)
            return false;
        stop = bracket + 1;
    } else {
        const char *colon = memchr(text.at, ':', text.len);
        stop = colon ? colon : end;
    }
    *host = (struct piece){text.at, (size_t)(stop - text.at)};
    *port = (struct piece){stop, 0};
    if (stop < end && (*stop != ':' || stop + 1 == end))
        return false;
    if (stop < end)
        *port = (struct piece){stop + 1, (size_t)(end - stop - 1)};
    return host->len > 0 && !memchr(port->at, ':', port->len);
}

static struct piece default_port(struct piece scheme)
{
    return is(scheme, "https")  ? (struct piece){"443", 3}
           : is(scheme, "http") ? (struct piece){"80", 2}
                                : (struct piece){"", 0};
}

/* RFC 6454, section 6.1: nothing behind the port, not even a slash. */
static bool split(struct piece text, struct origin *o)
{
    const char *end = text.at + text.len;
    const char *colon = memchr(text.at, ':', text.len);
    if (!colon || colon == text.at || end - colon < 3 || memcmp(colon, "://", 3) != 0)
        return false;
    o->scheme = (struct piece){text.at, (size_t)(colon - text.at)};
    struct piece rest = {colon + 3, (size_t)(end - colon - 3)};
    if (memchr(rest.at, '/', rest.len) || !split_host(rest, &o->host, &o->port))
        return false;
    if (o->port.len == 0)
        o->port = default_port(o->scheme);
    return true;
}

/* False at the last one. */
static bool next_label(struct piece *rest, struct piece *label)
{
    const char *dot = memchr(rest->at, '.', rest->len);
    *label = (struct piece){rest->at, dot ? (size_t)(dot - rest->at) : rest->len};
    if (!dot)
        return false;
    rest->at += label->len + 1;
    rest->len -= label->len + 1;
    return true;
}

static bool host_matches(struct piece pattern, struct piece host)
{
    for (;;) {
        struct piece a, b;
        bool more = next_label(&pattern, &a);
        if (next_label(&host, &b) != more || (!equals(a, b) && !(is(a, "*") && b.len > 0)))
            return false;
        if (!more)
            return true;
    }
}

bool origin_is_pattern(const char *pattern)
{
    struct origin o;
    struct piece text = {pattern, strlen(pattern)};
    if (is(text, "*") || strcmp(pattern, "null") == 0)
        return true;
    if (!split(text, &o) || strpbrk(pattern, "?# \t@"))
        return false;
    return is(o.port, "*") || strspn(o.port.at, "0123456789") >= o.port.len;
}

bool origin_matches(const char *pattern, const char *text, size_t len)
{
    struct origin a, b;
    struct piece given = {text, len};
    if (strcmp(pattern, "*") == 0)
        return true;
    if (strcmp(pattern, "null") == 0)
        return len == 4 && memcmp(text, "null", 4) == 0;
    return split((struct piece){pattern, strlen(pattern)}, &a) && split(given, &b) &&
           equals(a.scheme, b.scheme) && host_matches(a.host, b.host) &&
           (is(a.port, "*") || equals(a.port, b.port));
}

bool origin_host_matches(const char *pattern, const char *text, size_t len)
{
    struct piece host, port;
    if (!split_host((struct piece){text, len}, &host, &port))
        return false;
    if (host.len > 1 && host.at[host.len - 1] == '.') /* the root, which may be left out */
        host.len--;
    if (host.at[0] == '[' && pattern[0] != '[')
        host = (struct piece){host.at + 1, host.len - 2};
    return host_matches((struct piece){pattern, strlen(pattern)}, host);
}
