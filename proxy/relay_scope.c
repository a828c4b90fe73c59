/*
 * The first frame: what the client asked for, as an ASGI scope. Calls protocol.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "relay_internal.h"

static uint16_t host_port(const struct sockaddr_storage *from, char *host, size_t size)
{
    host[0] = 0;
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        inet_ntop(AF_INET, &in->sin_addr, host, (socklen_t)size);
        return ntohs(in->sin_port);
    }
    if (from->ss_family != AF_INET6)
        return 0;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], host, (socklen_t)size);
    else
        inet_ntop(AF_INET6, &in6->sin6_addr, host, (socklen_t)size);
    return ntohs(in6->sin6_port);
}

bool session_strips(const struct relay_headers *rule, const struct header *h)
{
    for (size_t i = 0; i < rule->strip_count; i++)
        if (header_is(h, rule->strip[i]))
            return true;
    return false;
}

static struct message_header to_message(const struct header *h)
{
    return (struct message_header){.name = {h->name, h->name_len},
                                   .value = {h->value, h->value_len}};
}

/* `host` first, from :authority; the rest as received, but for what the route does to them; then
 * who came before us, which is *forwarded, to be freed. Returns how many. */
static size_t scope_headers(const struct session *s, const struct wt_request *r,
                            struct message_header *to, char **forwarded)
{
    const struct relay_headers *rule = &s->route->to_app;
    const struct forwarded_rule *forwarding = &s->visit.route->forwarded;
    const char *own = forwarded_name(forwarding->kind);
    size_t count = 0;
    *forwarded = NULL;
    to[count++] = (struct message_header){
        .name = {(const uint8_t *)"host", 4},
        .value = {(const uint8_t *)r->authority, strlen(r->authority)},
    };
    for (size_t i = 0; i < r->header_count; i++) {
        const struct header *h = &r->headers[i];
        if (!header_is(h, "host") && !session_strips(rule, h) && !(own && header_is(h, own)))
            to[count++] = to_message(h);
    }
    if (own) {
        size_t len;
        *forwarded = forwarded_write(forwarding, r->headers, r->header_count, &r->remote,
                                     r->authority, &len);
        to[count++] = (struct message_header){.name = {(const uint8_t *)own, strlen(own)},
                                              .value = {(const uint8_t *)*forwarded, len}};
    }
    for (size_t i = 0; i < rule->add_count; i++)
        to[count++] = to_message(&rule->add[i]);
    return count;
}

static bool encode(struct session *s, const struct message_scope *scope)
{
    const struct relay_route *route = s->route;
    size_t len = message_encode_scope(scope, NULL, 0);
    if (len > route->max_frame || len > upstream_largest(session_upstream(s)))
        return false;
    s->scope = malloc(len);
    assert(s->scope);
    s->scope_len = message_encode_scope(scope, s->scope, len);
    assert(s->scope_len == len);
    return true;
}

static void describe(struct message_scope *scope, const struct session *s,
                     const struct wt_request *r)
{
    const struct relay_route *route = s->route;
    size_t path_len = strcspn(r->path, "?");
    const char *query = r->path + path_len + (r->path[path_len] == '?');
    *scope = (struct message_scope){
        .raw_path = {(const uint8_t *)r->path, path_len},
        .query_string = {(const uint8_t *)query, strlen(query)},
        .root_path = news_text(route->root_path ? route->root_path : ""),
        .session_id = r->session_id,
        .subprotocols = s->offer.items,
        .subprotocol_count = s->offer.count,
        .tls_version = r->tls_version,
        .cipher_suite = r->cipher_suite,
        .max_datagram_size = wt_datagram_max(s->wt),
        .stream_window =
            route->stream_window < FIRST_STREAM_WINDOW ? route->stream_window : FIRST_STREAM_WINDOW,
        .session_window = s->account.window.size,
        .max_pending_streams = route->max_pending_streams,
        .connect_protocol = news_text(r->protocol),
        .session = news_text(s->visit.id),
        .draft = news_text(r->draft),
        .route = news_text(s->visit.route->name),
        .max_frame = route->max_frame,
    };
}

bool scope_build(struct session *s, const struct wt_request *r)
{
    struct message_scope scope;
    char server[INET6_ADDRSTRLEN], client[INET6_ADDRSTRLEN];
    const struct relay_route *route = s->route;
    char *forwarded;
    size_t most = 2 + r->header_count + route->to_app.add_count;
    if (most > MESSAGE_MAX_SCOPE_HEADERS)
        return false;
    offer_read(&s->offer, r->headers, r->header_count);
    describe(&scope, s, r);
    char *path = malloc(3 * scope.raw_path.len + 1);
    struct message_header *headers = calloc(most, sizeof *headers);
    assert(path && headers);
    scope.path = (struct message_text){
        path, message_scope_path(scope.raw_path.at, scope.raw_path.len, path)};
    scope.headers = headers;
    scope.header_count = scope_headers(s, r, headers, &forwarded);
    scope.server_port = host_port(&r->local, server, sizeof server);
    scope.server_host = news_text(server);
    scope.client_port = host_port(&s->visit.address, client, sizeof client);
    if (client[0])
        scope.client_host = news_text(client);
    bool fits = encode(s, &scope);
    free(forwarded);
    free(headers);
    free(path);
    return fits;
}
