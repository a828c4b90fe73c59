/*
 * check_bridge - the rules for backends of kind bridge, and for routes to them. Calls draft.
 */
#include "config/check_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A file of certificates is at most that large: those of a whole system are a quarter of it. */
enum { CA_FILE_MAX = 1024 * 1024 };

static bool is_said(const struct draft *d, const void *field)
{
    return draft_where(d, field, false) != NULL;
}

static bool check_places(struct draft *d, const struct config_backend *b)
{
    if (b->addresses.count == 0 && b->datagrams.count == 0)
        return draft_complain_about(d, &b->addresses, b,
                                    "'addresses' is missing: where does it listen, unix:PATH or "
                                    "tcp:HOST:PORT? Or 'datagrams', udp:HOST:PORT?");
    return true;
}

/* Who listens there need not speak the protocol of applications. */
static bool check_probe(struct draft *d, struct config_backend *b)
{
    const void *said = d->file ? &b->probe : check_said_of_backend(d, b, &b->probe);

    if (b->probe == CONFIG_PROBE_CONNECT)
        return true;
    if (is_said(d, said))
        return draft_complain_about(d, said, b,
                                    "expected connect, got 'accept': a bridge has no application "
                                    "that could accept a session");
    b->probe = CONFIG_PROBE_CONNECT; /* what was said for all backends is for applications */
    return true;
}

/* --- TLS --- */

static bool holds_certificate(FILE *f)
{
    char line[128];
    size_t len = 0;

    while (len < CA_FILE_MAX && fgets(line, sizeof(line), f)) {
        len += sizeof(line);
        if (strncmp(line, "-----BEGIN ", 11) == 0 && strstr(line, "CERTIFICATE-----"))
            return true;
    }
    return false;
}

static bool check_ca(struct draft *d, const struct config_backend *b)
{
    struct stat about;

    if (stat(b->tls_ca, &about) != 0)
        return draft_complain_about(d, &b->tls_ca, b, "'%s' cannot be read: %s", b->tls_ca,
                                    strerror(errno));
    if (!S_ISREG(about.st_mode)) /* opening a pipe might never end */
        return draft_complain_about(d, &b->tls_ca, b, "'%s' is not a file", b->tls_ca);
    FILE *f = fopen(b->tls_ca, "re");
    if (!f)
        return draft_complain_about(d, &b->tls_ca, b, "'%s' cannot be read: %s", b->tls_ca,
                                    strerror(errno));
    bool good = holds_certificate(f);
    fclose(f);
    return good || draft_complain_about(d, &b->tls_ca, b,
                                        "there is no certificate in '%s' (as PEM)", b->tls_ca);
}

static bool has_unix(const struct config_texts *addresses)
{
    for (size_t i = 0; i < addresses->count; i++)
        if (strncmp(addresses->at[i], "unix:", 5) == 0)
            return true;
    return false;
}

static bool check_tls(struct draft *d, const struct config_backend *b)
{
    if (!b->tls && (b->tls_ca || b->tls_name))
        return draft_complain_about(d, b->tls_ca ? &b->tls_ca : &b->tls_name, b,
                                    "does nothing without 'tls: true'");
    if (!b->tls)
        return true;
    if (b->addresses.count == 0)
        return draft_complain_about(d, &b->tls, b,
                                    "does nothing without 'addresses': datagrams go without TLS");
    if (!b->tls_name && has_unix(&b->addresses))
        return draft_complain_about(d, &b->tls, b,
                                    "'tls_name' is missing: which name is the certificate for? "
                                    "A Unix socket has none");
    return !b->tls_ca || check_ca(d, b);
}

bool check_bridge(struct draft *d, struct config_backend *b)
{
    return check_places(d, b) && check_probe(d, b) && check_tls(d, b);
}

/* --- routes --- */

bool check_proxy_protocol(struct draft *d, const struct config_route *route)
{
    if (route->proxy_protocol == CONFIG_PROXY_PROTOCOL_NONE)
        return true;
    for (size_t i = 0; i < config_route_ways(route); i++) {
        const struct config_backend *b = config_route_way(d->config, route, i);
        if (b->kind == CONFIG_BACKEND_BRIDGE && b->addresses.count)
            return true;
    }
    return draft_complain_about(d, &route->proxy_protocol, route,
                                "does nothing: '%s' has no 'addresses', and datagrams go without "
                                "it",
                                config_route_way(d->config, route, 0)->name);
}
