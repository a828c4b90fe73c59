/*
 * The first frame: what the client asked for, as an ASGI scope. The subprotocols come from a
 * structured field (RFC 8941) that is read here. Calls protocol.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "relay_internal.h"

/* --- wt-available-protocols: sf-list of strings or tokens (RFC 8941, section 3.1) --- */

struct field {
    const uint8_t *at, *end;
};

static bool is_alpha(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* RFC 8941, section 3.3.4: tchar, ":" and "/" */
static bool is_token_char(uint8_t c)
{
    return is_alpha(c) || is_digit(c) || (c && strchr("!#$%&'*+-.^_`|~:/", c));
}

/* Section 3.1.2 */
static bool is_key_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || (c && strchr("_-.*", c));
}

static bool next_is(const struct field *f, uint8_t c)
{
    return f->at < f->end && *f->at == c;
}

static void skip_spaces(struct field *f, bool tabs)
{
    while (next_is(f, ' ') || (tabs && next_is(f, '\t')))
        f->at++;
}

/* Section 4.2.5. Writes the unescaped text to `to` if it is given. */
static bool read_string(struct field *f, char **to)
{
    for (f->at++; f->at < f->end; f->at++) {
        uint8_t c = *f->at;
        if (c == '"') {
            f->at++;
            return true;
        }
        if (c == '\\') {
            f->at++;
            if (!next_is(f, '"') && !next_is(f, '\\'))
                return false;
            c = *f->at;
        }
        if (c < 0x20 || c > 0x7e)
            return false;
        if (to)
            *(*to)++ = (char)c;
    }
    return false;
}

static bool read_token(struct field *f, char **to)
{
    while (f->at < f->end && is_token_char(*f->at)) {
        if (to)
            *(*to)++ = (char)*f->at;
        f->at++;
    }
    return true;
}

/* A number, a byte sequence or a boolean is looked at only as far as needed to find its end. */
static bool skip_other(struct field *f)
{
    const uint8_t *begin = f->at;
    if (next_is(f, ':')) {
        const uint8_t *end = memchr(f->at + 1, ':', (size_t)(f->end - f->at - 1));
        f->at = end ? end + 1 : f->at;
        return end != NULL;
    }
    while (f->at < f->end && (is_digit(*f->at) || *f->at == '.' || *f->at == '-' || *f->at == '?'))
        f->at++;
    return f->at > begin;
}

static bool read_item(struct field *f, char **to)
{
    if (next_is(f, '"'))
        return read_string(f, to);
    if (f->at < f->end && (is_alpha(*f->at) || *f->at == '*'))
        return read_token(f, to);
    return to == NULL && skip_other(f);
}

/* Section 4.2.3.2; what parameters say is ignored. */
static bool skip_parameters(struct field *f)
{
    while (next_is(f, ';')) {
        f->at++;
        skip_spaces(f, false);
        if (f->at == f->end || !(((*f->at >= 'a' && *f->at <= 'z') || *f->at == '*')))
            return false;
        while (f->at < f->end && is_key_char(*f->at))
            f->at++;
        if (!next_is(f, '='))
            continue;
        f->at++;
        if (!read_item(f, NULL))
            return false;
    }
    return true;
}

/* Section 4.2.1. Adds what one header line offers; false if it is malformed. */
static bool read_list(struct session *s, struct field f, char **to)
{
    skip_spaces(&f, false);
    while (f.at < f.end) {
        char *begin = *to;
        if (s->offered_count == MESSAGE_MAX_SCOPE_SUBPROTOCOLS || !read_item(&f, to) ||
            !skip_parameters(&f))
            return false;
        s->offered[s->offered_count++] = (struct message_text){begin, (size_t)(*to - begin)};
        skip_spaces(&f, true);
        if (f.at == f.end)
            return true;
        if (!next_is(&f, ','))
            return false;
        f.at++;
        skip_spaces(&f, true);
        if (f.at == f.end)
            return false; /* a trailing comma */
    }
    return true;
}

static bool is_named(const struct header *h, const char *name)
{
    return h->name_len == strlen(name) && memcmp(h->name, name, h->name_len) == 0;
}

/* Malformed is as good as absent. */
static void find_offered(struct session *s, const struct wt_request *r)
{
    static const char name[] = "wt-available-protocols";
    size_t bytes = 0;
    for (size_t i = 0; i < r->header_count; i++)
        if (is_named(&r->headers[i], name))
            bytes += r->headers[i].value_len;
    if (bytes == 0)
        return;
    s->offered_text = malloc(bytes);
    s->offered = calloc(MESSAGE_MAX_SCOPE_SUBPROTOCOLS, sizeof *s->offered);
    assert(s->offered_text && s->offered);
    char *to = s->offered_text;
    for (size_t i = 0; i < r->header_count; i++) {
        const struct header *h = &r->headers[i];
        if (!is_named(h, name) ||
            read_list(s, (struct field){h->value, h->value + h->value_len}, &to))
            continue;
        s->offered_count = 0;
        return;
    }
}

/* --- the scope --- */

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

/* `host` first, from :authority; the rest as received. Returns how many. */
static size_t scope_headers(const struct wt_request *r, struct message_header *to)
{
    size_t count = 0;
    to[count++] = (struct message_header){
        .name = {(const uint8_t *)"host", 4},
        .value = {(const uint8_t *)r->authority, strlen(r->authority)},
    };
    for (size_t i = 0; i < r->header_count; i++) {
        const struct header *h = &r->headers[i];
        if (!is_named(h, "host"))
            to[count++] = (struct message_header){.name = {h->name, h->name_len},
                                                  .value = {h->value, h->value_len}};
    }
    return count;
}

static bool encode(struct session *s, const struct message_scope *scope)
{
    const struct relay_config *config = &s->relay->config;
    size_t len = message_encode_scope(scope, NULL, 0);
    if (len > config->max_frame || len > upstream_largest(s->relay->upstream))
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
    const struct relay_config *config = &s->relay->config;
    size_t path_len = strcspn(r->path, "?");
    const char *query = r->path + path_len + (r->path[path_len] == '?');
    *scope = (struct message_scope){
        .raw_path = {(const uint8_t *)r->path, path_len},
        .query_string = {(const uint8_t *)query, strlen(query)},
        .root_path = news_text(""),
        .session_id = r->session_id,
        .subprotocols = s->offered,
        .subprotocol_count = s->offered_count,
        .tls_version = r->tls_version,
        .cipher_suite = r->cipher_suite,
        .max_datagram_size = wt_datagram_max(s->wt),
        .stream_window = config->stream_window < FIRST_STREAM_WINDOW ? config->stream_window
                                                                     : FIRST_STREAM_WINDOW,
        .session_window = s->account.window.size,
        .max_pending_streams = config->max_pending_streams,
        .connect_protocol = news_text(r->protocol),
        .session = news_text(s->id),
        .draft = news_text(r->draft),
        .route = news_text("default"),
        .max_frame = config->max_frame,
    };
}

bool scope_build(struct session *s, const struct wt_request *r)
{
    struct message_scope scope;
    char server[INET6_ADDRSTRLEN], client[INET6_ADDRSTRLEN];
    if (r->header_count + 1 > MESSAGE_MAX_SCOPE_HEADERS)
        return false;
    find_offered(s, r);
    describe(&scope, s, r);
    char *path = malloc(3 * scope.raw_path.len + 1);
    struct message_header *headers = calloc(r->header_count + 1, sizeof *headers);
    assert(path && headers);
    scope.path = (struct message_text){
        path, message_scope_path(scope.raw_path.at, scope.raw_path.len, path)};
    scope.headers = headers;
    scope.header_count = scope_headers(r, headers);
    scope.server_port = host_port(&r->local, server, sizeof server);
    scope.server_host = news_text(server);
    scope.client_port = host_port(&r->remote, client, sizeof client);
    if (client[0])
        scope.client_host = news_text(client);
    bool fits = encode(s, &scope);
    free(headers);
    free(path);
    return fits;
}
