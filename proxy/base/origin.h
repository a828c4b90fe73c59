/*
 * origin - whether a host or a web origin (RFC 6454) is one of those that somebody allows.
 *
 * Patterns are compared label by label. A label `*` stands for exactly one label, as in
 * certificates: `*.example.org` is a.example.org, but neither example.org nor a.b.example.org.
 * Letters count without their case. Calls nobody.
 *
 *      host      HOST; an IPv6 address with its brackets or without
 *      origin    SCHEME://HOST, SCHEME://HOST:PORT, SCHEME://HOST:* for any port, `null`, or `*`
 *                for any origin. Without a port it is the scheme's own.
 */
#ifndef BASE_ORIGIN_H
#define BASE_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>

/* True if it can be compared with at all. */
bool origin_is_pattern(const char *pattern);
/* text is what stands in a client's Origin header. */
bool origin_matches(const char *pattern, const char *text, size_t len);
/* text is HOST or HOST:PORT, as in :authority; the port does not count. */
bool origin_host_matches(const char *pattern, const char *text, size_t len);

#endif
