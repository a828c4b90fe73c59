/*
 * demo_scope.c - what the demo reads from a scope: its query, and all of it as JSON. Owns nothing.
 */
#include "demo_scope.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;
    return at ? (int)(at - digits) : -1;
}

bool demo_query_value(const struct message_scope *scope, const char *name, char *to, size_t size)
{
    const char *q = (const char *)scope->query_string.at, *end = q + scope->query_string.len;
    size_t name_len = strlen(name), used = 0;
    while (q < end &&
           !((size_t)(end - q) > name_len && !memcmp(q, name, name_len) && q[name_len] == '=')) {
        const char *next = memchr(q, '&', (size_t)(end - q));
        q = next ? next + 1 : end;
    }
    if (q >= end)
        return false;
    for (q += name_len + 1; q < end && *q != '&' && used + 1 < size; q++) {
        bool escaped = *q == '%' && end - q > 2 && hex_digit(q[1]) >= 0 && hex_digit(q[2]) >= 0;
        to[used++] = escaped     ? (char)(hex_digit(q[1]) << 4 | hex_digit(q[2]))
                     : *q == '+' ? ' '
                                 : *q;
        q += escaped ? 2 : 0;
    }
    to[used] = '\0';
    return true;
}

unsigned demo_query_number(const struct message_scope *scope, const char *name, unsigned otherwise)
{
    char text[16];
    return demo_query_value(scope, name, text, sizeof(text)) ? (unsigned)strtoul(text, NULL, 10)
                                                             : otherwise;
}

static void json_string(FILE *f, const void *at, size_t len)
{
    const uint8_t *p = at;
    fputc('"', f);
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '"' || p[i] == '\\' || p[i] < 0x20 || p[i] >= 0x7f)
            fprintf(f, "\\u%04x", p[i]); /* bytes as Latin-1 */
        else
            fputc(p[i], f);
    }
    fputc('"', f);
}

static void json_member(FILE *f, const char *name, const void *at, size_t len)
{
    fprintf(f, ",\"%s\":", name);
    if (at)
        json_string(f, at, len);
    else
        fputs("null", f);
}

static void json_lists(FILE *f, const struct message_scope *scope)
{
    fputs(",\"headers\":[", f);
    for (size_t i = 0; i < scope->header_count; i++) {
        const struct message_header *h = &scope->headers[i];
        fputs(i ? ",[" : "[", f);
        json_string(f, h->name.at, h->name.len);
        fputc(',', f);
        json_string(f, h->value.at, h->value.len);
        fputc(']', f);
    }
    fputs("],\"subprotocols\":[", f);
    for (size_t i = 0; i < scope->subprotocol_count; i++) {
        fputs(i ? "," : "", f);
        json_string(f, scope->subprotocols[i].at, scope->subprotocols[i].len);
    }
    fputc(']', f);
}

void demo_scope_json(FILE *f, const struct message_scope *s)
{
    fprintf(f, "{\"type\":\"webtransport\",\"session_id\":%" PRIu64, s->session_id);
    json_member(f, "path", s->path.at, s->path.len);
    json_member(f, "raw_path", s->raw_path.at, s->raw_path.len);
    json_member(f, "query_string", s->query_string.at, s->query_string.len);
    json_member(f, "root_path", s->root_path.at, s->root_path.len);
    json_member(f, "server_host", s->server_host.at, s->server_host.len);
    json_member(f, "client_host", s->client_host.at, s->client_host.len);
    fprintf(f, ",\"server_port\":%u,\"client_port\":%u", s->server_port, s->client_port);
    json_lists(f, s);
    fprintf(f, ",\"tls_version\":%u,\"cipher_suite\":%u", s->tls_version, s->cipher_suite);
    fprintf(f,
            ",\"max_datagram_size\":%" PRIu64 ",\"stream_window\":%" PRIu64
            ",\"session_window\":%" PRIu64 ",\"max_pending_streams\":%" PRIu64
            ",\"max_frame\":%" PRIu64,
            s->max_datagram_size, s->stream_window, s->session_window, s->max_pending_streams,
            s->max_frame);
    json_member(f, "connect_protocol", s->connect_protocol.at, s->connect_protocol.len);
    json_member(f, "session", s->session.at, s->session.len);
    json_member(f, "draft", s->draft.at, s->draft.len);
    json_member(f, "route", s->route.at, s->route.len);
    fputc('}', f);
}
