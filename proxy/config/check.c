/*
 * check - the rules between keys, and the defaults that follow from other keys. Calls draft; its
 * other files are for bridges and targets.
 */
#include "config/check.h"

#include <string.h>

#include "base/timers.h"
#include "config/check_internal.h"
#include "config/value.h"

static void preset_listener(struct draft *d)
{
    struct config *c = d->config;

    if (c->listener_count)
        return;
    c->listeners = config_take(c, sizeof(c->listeners[0]));
    c->listener_count = 1;
    for (size_t i = 0; i < key_count; i++)
        if (key_stands(&keys[i], KEY_OF_LISTENER))
            value_preset(d, &keys[i], &c->listeners[0]);
}

static bool is_any_port(const char *address)
{
    return strcmp(strrchr(address, ':'), ":0") == 0;
}

/* Two sockets at one address would share its packets by chance. */
static bool check_listeners(struct draft *d)
{
    const struct config_listener *listeners = d->config->listeners;

    for (size_t i = 1; i < d->config->listener_count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(listeners[i].address, listeners[j].address) == 0 &&
                !is_any_port(listeners[i].address))
                return draft_complain_about(d, &listeners[i].address, &listeners[i],
                                            "'%s' is listeners[%zu]'s already",
                                            listeners[i].address, j);
    return true;
}

static bool check_certificates(struct draft *d)
{
    struct config *c = d->config;

    if (!c->certificate_count)
        return draft_complain(d, 0, d->file ? d->file : "",
                              "certificates are missing: at least one with 'cert' and 'key', or "
                              "with 'cert: auto' for development");
    for (size_t i = 0; i < c->certificate_count; i++) {
        struct config_certificate *cert = &c->certificates[i];
        if (!cert->cert)
            return draft_complain_about(d, NULL, cert, "'cert' is missing: a file, or auto");
        if (config_certificate_is_auto(cert) && cert->key)
            return draft_complain_about(d, &cert->key, cert,
                                        "does not go with an automatic certificate, which has "
                                        "its own key");
        if (!config_certificate_is_auto(cert) && !cert->key)
            cert->key = cert->cert;
    }
    return true;
}

const void *check_said_of_backend(const struct draft *d, const struct config_backend *b,
                                  const void *field)
{
    if (draft_where(d, field, false))
        return field;
    return (const char *)&d->config->backend_defaults + ((const char *)field - (const char *)b);
}

/* It would get two shares of the sessions and of the limits. */
static bool check_addresses(struct draft *d, const struct config_backend *b,
                            const struct config_texts *addresses)
{
    for (size_t i = 1; i < addresses->count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(addresses->at[i], addresses->at[j]) == 0)
                return draft_complain_about(d, check_said_of_backend(d, b, addresses), b,
                                            "'%s' stands here twice", addresses->at[i]);
    return true;
}

static bool check_backend(struct draft *d, struct config_backend *b)
{
    bool is_named = b->hash_by == CONFIG_HASH_HEADER || b->hash_by == CONFIG_HASH_COOKIE;

    if (!check_serves(d, KEY_OF_BACKEND, b))
        return false;
    if (b->kind == CONFIG_BACKEND_APP && b->addresses.count == 0)
        return draft_complain_about(d, &b->addresses, b,
                                    "'addresses' is missing: where does it listen, unix:PATH or "
                                    "tcp:HOST:PORT?");
    if (b->kind == CONFIG_BACKEND_BRIDGE && !check_bridge(d, b))
        return false;
    if (!check_addresses(d, b, &b->addresses) || !check_addresses(d, b, &b->datagrams))
        return false;
    if (is_named && !b->hash_name)
        return draft_complain_about(d, check_said_of_backend(d, b, &b->hash_by), b,
                                    "hash_name is missing: the name of the header or cookie");
    if (b->rest_last < b->rest_first)
        b->rest_last = b->rest_first;
    return true;
}

static bool check_backends(struct draft *d)
{
    struct config *c = d->config;

    if (!c->backend_count)
        return draft_complain(d, 0, d->file ? d->file : "",
                              "backends are missing: at least one with 'addresses'");
    for (size_t i = 0; i < c->backend_count; i++)
        if (!check_backend(d, &c->backends[i]))
            return false;
    return true;
}

bool check_find_backend(struct draft *d, const struct config_route *route, const void *field,
                        const char *name, size_t *index)
{
    const struct config *c = d->config;
    char known[VALUE_TEXT_SIZE] = "";
    size_t len = 0;

    for (*index = 0; *index < c->backend_count; ++*index) {
        const char *other = c->backends[*index].name;
        if (strcmp(other, name) == 0)
            return true;
        if (len < sizeof(known))
            len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", *index ? ", " : "",
                                    other);
    }
    return draft_complain_about(d, field, route, "expected the name of a backend (%s), got '%s'",
                                known, name);
}

static bool check_backend_of(struct draft *d, struct config_route *route)
{
    if (route->targets.count)
        return true;
    if (!route->backend)
        return draft_complain_about(d, NULL, route, "'backend' is missing: the name of one");
    return check_find_backend(d, route, &route->backend, route->backend, &route->backend_index);
}

static bool ends_with_slash(const char *path)
{
    return path[strlen(path) - 1] == '/';
}

static bool takes_all(const struct config_route *route)
{
    return route->hosts.count == 0 && !route->path && !route->path_prefix;
}

/* Where a route's value was said: there, or for all routes. */
static const void *said(const struct draft *d, const struct config_route *route, const void *field)
{
    if (draft_where(d, field, false))
        return field;
    return (const char *)&d->config->route_defaults + ((const char *)field - (const char *)route);
}

/* What holds for all is for those that have a use for it. On the command line there is only one. */
static const void *said_of_element(const struct draft *d, enum key_place place, const void *element,
                                   const void *field)
{
    if (d->file)
        return field;
    return place == KEY_OF_BACKEND ? check_said_of_backend(d, element, field)
                                   : said(d, element, field);
}

bool check_serves(struct draft *d, enum key_place place, const void *element)
{
    const struct config_backend *b =
        place == KEY_OF_BACKEND ? element : config_route_way(d->config, element, 0);

    for (size_t i = 0; i < key_count; i++) {
        if (!key_stands(&keys[i], place) || key_serves(&keys[i], d->config, element))
            continue;
        const void *field = (const char *)element + keys[i].offset;
        const void *where = said_of_element(d, place, element, field);
        bool for_bridge = keys[i].only == KEY_FOR_BRIDGE;
        if (draft_where(d, where, false))
            return draft_complain_about(
                d, where, element, "is for backends of kind %s; '%s' is of kind %s",
                for_bridge ? "bridge" : "app", b->name, for_bridge ? "app" : "bridge");
    }
    return true;
}

/* At the place of whichever was said. */
static bool complain_about_two(struct draft *d, const void *one, const void *other,
                               const void *element, const char *sentence)
{
    return draft_complain_about(d, draft_where(d, one, false) ? one : other, element, "%s",
                                sentence);
}

static bool check_route(struct draft *d, size_t i)
{
    struct config_route *route = &d->config->routes[i];

    if (!check_targets(d, route) || !check_backend_of(d, route) ||
        !check_serves(d, KEY_OF_ROUTE, route) || !check_proxy_protocol(d, route))
        return false;
    if (route->path && route->path_prefix)
        return draft_complain_about(d, &route->path_prefix, route, "does not go with 'path'");
    if (route->root_path && ends_with_slash(route->root_path))
        return draft_complain_about(d, &route->root_path, route,
                                    "expected a path without a slash at its end, got '%s'",
                                    route->root_path);
    if (route->app_stream_window > route->app_session_window)
        return complain_about_two(d, said(d, route, &route->app_stream_window),
                                  said(d, route, &route->app_session_window), route,
                                  "app_stream_window is larger than app_session_window");
    if (i > 0 && takes_all(route - 1))
        return draft_complain_about(d, NULL, route,
                                    "no session ever comes here: the route before it, which says "
                                    "neither hosts nor path, takes all");
    if (!route->name)
        route->name = route->backend;
    return true;
}

static bool check_routes(struct draft *d)
{
    struct config *c = d->config;

    if (!c->route_count)
        return draft_complain(d, 0, d->file ? d->file : "",
                              "routes are missing: at least one with 'backend'");
    for (size_t i = 0; i < c->route_count; i++)
        if (!check_route(d, i))
            return false;
    return true;
}

bool check_together(struct draft *d)
{
    struct config *c = d->config;

    preset_listener(d);
    if (!check_listeners(d) || !check_certificates(d) || !check_backends(d) || !check_routes(d))
        return false;
    if (c->stream_window > c->connection_window)
        return complain_about_two(d, &c->stream_window, &c->connection_window, NULL,
                                  "stream_window is larger than connection_window");
    /* Asking later than that would be asking the dead. */
    if (c->keep_alive > c->idle_timeout / 2)
        c->keep_alive = c->idle_timeout / 2 / NS_PER_MS * NS_PER_MS;
    return true;
}
