/*
 * h3_request - requests: answers what is not WebTransport, hands sessions up, and carries the
 * CONNECT stream's body and its datagrams. Owns the requests. Calls nghttp3 and conn; tells wt.
 */
#include <assert.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/report.h"
#include "base/stats.h"
#include "base/varint.h"
#include "front/h3_internal.h"

#define TEXT_IN_LOG         256
#define HELD_BODY_MAX       4096         /* bytes that may follow a held request */
#define DATAGRAM_QUEUE_SIZE (256 * 1024) /* bytes */

struct h3_request *h3_request_find(struct h3 *h, int64_t id)
{
    struct h3_request *r;
    TAILQ_FOREACH (r, &h->requests, in_all)
        if (r->id == id)
            return r;
    return NULL;
}

static struct h3_request *request_new(struct h3 *h, int64_t id)
{
    struct h3_request *r = calloc(1, sizeof(*r));
    if (!r)
        abort();
    struct stats *stats = h->host->env->stats;
    r->h3 = h;
    r->id = id;
    STAILQ_INIT(&r->body);
    recvq_init(&r->held_body, &stats->receive_bytes);
    dgramq_init(&r->out, h->host->config.datagram_queue, DATAGRAM_QUEUE_SIZE, &stats->datagrams,
                &stats->datagrams_dropped, conn_memory(h->conn));
    dgramq_set_ttl(&r->out, h->host->env->timers, h->host->config.datagram_ttl_ns,
                   &stats->datagrams_expired);
    TAILQ_INSERT_TAIL(&h->requests, r, in_all);
    stats->requests++;
    return r;
}

static void free_memory(void *owner)
{
    struct h3_request *r = owner;
    struct h3_body *b;
    while ((b = STAILQ_FIRST(&r->body)) != NULL) {
        STAILQ_REMOVE_HEAD(&r->body, entry);
        free(b);
    }
    free(r);
}

/* nghttp3 may still hold slices of the body until it is told that the stream has closed. */
void h3_request_free(struct h3_request *r)
{
    struct h3 *h = r->h3;
    if (r->has_datagrams)
        TAILQ_REMOVE(&h->datagrams, r, in_datagrams);
    h3_message_forget(h, &r->message);
    dgramq_fini(&r->out);
    recvq_fini(&r->held_body);
    TAILQ_REMOVE(&h->requests, r, in_all);
    h->host->env->stats->requests--;
    turn_bury(h->host->env->turn, &r->grave, free_memory, r);
}

void h3_request_finish(struct h3_request *r)
{
    if (r->is_session && r->user)
        r->h3->host->ops->request_closed(r->user);
    h3_request_free(r);
}

void h3_request_fail(struct h3_request *r, uint64_t code)
{
    r->failed = true;
    if (r->held) { /* it never reached anybody */
        r->held = false;
        h3_request_reset(r, H3_REQUEST_CANCELLED);
    } else if (r->is_session && r->user) {
        r->h3->host->ops->request_failed(r->user, code);
    }
}

/* ---- receiving a message ---- */

static int begin_headers(nghttp3_conn *http, int64_t id, void *conn_user, void *stream_user)
{
    struct h3 *h = conn_user;
    struct h3_request *r = stream_user;
    if (!r) {
        r = request_new(h, id);
        nghttp3_conn_set_stream_user_data(http, id, r);
    }
    h3_message_forget(h, &r->message); /* of a 1xx before this one */
    return 0;
}

static int recv_header(nghttp3_conn *http, int64_t id, int32_t token, nghttp3_rcbuf *name,
                       nghttp3_rcbuf *value, uint8_t flags, void *conn_user, void *stream_user)
{
    struct h3_request *r = stream_user;
    (void)http, (void)id, (void)flags;
    h3_message_add(conn_user, &r->message, token, nghttp3_rcbuf_get_buf(name),
                   nghttp3_rcbuf_get_buf(value));
    return 0;
}

/* Lends the message to give_up; both are valid during the call only. */
static void lend_head(struct h3_request *r,
                      void (*give_up)(struct h3_request *r, const struct h3_head *head))
{
    const struct h3_message *m = &r->message;
    struct header *headers = h3_message_headers(m);
    struct h3_head head = {
        .scheme = h3_message_pseudo(m, H3_SCHEME),
        .authority = h3_message_pseudo(m, H3_AUTHORITY),
        .path = h3_message_pseudo(m, H3_PATH),
        .protocol = h3_message_pseudo(m, H3_PROTOCOL),
        .status = (unsigned)strtoul(h3_message_pseudo(m, H3_STATUS), NULL, 10),
        .headers = headers,
        .header_count = m->field_count,
    };
    give_up(r, &head);
    free(headers);
    h3_message_forget(r->h3, &r->message);
}

static void give_request(struct h3_request *r, const struct h3_head *head)
{
    struct h3 *h = r->h3;
    r->held = false;
    r->is_session = true;
    h->spoke_draft15 |= strcmp(head->protocol, "webtransport-h3") == 0;
    h->host->ops->session_requested(h->user, r, head);
}

static void give_response(struct h3_request *r, const struct h3_head *head)
{
    if (head->status >= 200 && r->user)
        r->h3->host->ops->responded(r->user, head);
}

#define HEADER(name, value)                                                                        \
    {                                                                                              \
        (const uint8_t *)(name), sizeof(name) - 1, (const uint8_t *)(value), sizeof(value) - 1     \
    }

static struct log_field short_text(const char *key, const char *text)
{
    return log_bytes(key, *text ? text : NULL, strnlen(text, TEXT_IN_LOG));
}

static void answer_plainly(struct h3_request *r, enum fault fault, unsigned status,
                           const char *text)
{
    /* RFC 9110, section 15.5.6: 405 tells what is allowed; at the target of such a CONNECT, nothing
     */
    static const struct header plain[] = {HEADER("content-type", "text/plain; charset=utf-8"),
                                          HEADER("allow", "")};
    const struct h3_message *m = &r->message;
    char client[HOSTPORT_TEXT_SIZE];
    conn_remote_text(r->h3->conn, client);
    REPORT(r->h3->host->env, INFO, "request.refused", fault, log_text("client", client),
           log_uint("status", status), short_text("method", h3_message_pseudo(m, H3_METHOD)),
           short_text("protocol", h3_message_pseudo(m, H3_PROTOCOL)),
           short_text("host", h3_message_pseudo(m, H3_AUTHORITY)),
           short_text("path", h3_message_pseudo(m, H3_PATH)));
    h3_request_respond(r, status, plain, status == 405 ? 2 : 1, m->is_head);
    if (!m->is_head) {
        h3_request_send(r, text, strlen(text));
        h3_request_end(r);
    }
    h3_message_forget(r->h3, &r->message);
}

static bool is_webtransport(const char *protocol)
{
    return strcmp(protocol, "webtransport") == 0 || strcmp(protocol, "webtransport-h3") == 0;
}

/* RFC 9220, section 3, and section 3.2 of the draft; nghttp3 has checked the rest. An end with the
 * headers would be a session without a CONNECT stream. */
static bool is_whole(const struct h3_message *m, bool ended)
{
    const char *authority = h3_message_pseudo(m, H3_AUTHORITY);
    return !ended && strcmp(h3_message_pseudo(m, H3_SCHEME), "https") == 0 &&
           h3_message_pseudo(m, H3_PATH)[0] == '/' && authority[0] && !strchr(authority, '@');
}

static void tell_malformed(struct h3 *h)
{
    char client[HOSTPORT_TEXT_SIZE];
    conn_remote_text(h->conn, client);
    REPORT(h->host->env, INFO, "request.refused", FAULT_MALFORMED_REQUEST,
           log_text("client", client));
}

static void refuse_malformed(struct h3_request *r)
{
    tell_malformed(r->h3);
    h3_message_forget(r->h3, &r->message);
    h3_request_reset(r, H3_MESSAGE_ERROR);
}

static void sort_request(struct h3_request *r, bool ended)
{
    const struct h3_message *m = &r->message;
    const char *protocol = h3_message_pseudo(m, H3_PROTOCOL);
    bool is_connect = strcmp(h3_message_pseudo(m, H3_METHOD), "CONNECT") == 0;
    if (m->too_large) {
        answer_plainly(r, FAULT_HEADERS_TOO_LARGE, 431, "The request's headers are too large.\n");
    } else if (!is_connect) {
        answer_plainly(r, FAULT_NOT_WEBTRANSPORT, 404, "There is only WebTransport here.\n");
    } else if (!m->pseudo[H3_PROTOCOL].name_len) {
        answer_plainly(r, FAULT_NOT_WEBTRANSPORT, 405, "This is no proxy for CONNECT.\n");
    } else if (!is_webtransport(protocol)) {
        /* RFC 9220, section 3 */
        answer_plainly(r, FAULT_NOT_WEBTRANSPORT, 501, "There is only WebTransport here.\n");
    } else if (!is_whole(m, ended)) {
        refuse_malformed(r);
    } else if (!r->h3->settings_in) {
        r->held = true; /* the answer depends on what the client's SETTINGS say */
    } else {
        lend_head(r, give_request);
    }
}

static int end_headers(nghttp3_conn *http, int64_t id, int fin, void *conn_user, void *stream_user)
{
    struct h3_request *r = stream_user;
    (void)http, (void)id, (void)conn_user;
    if (r->h3->host->config.conn.is_server)
        sort_request(r, fin != 0);
    else
        lend_head(r, give_response);
    return 0;
}

static void give_body(struct h3_request *r, const uint8_t *data, size_t len)
{
    if (r->sealed && len > 0)
        h3_request_seal(r, true);
    else if (r->is_session && r->user)
        r->h3->host->ops->body_received(r->user, data, len);
}

void h3_request_unhold(struct h3 *h)
{
    struct h3_request *r, *next;
    for (r = TAILQ_FIRST(&h->requests); r; r = next) {
        next = TAILQ_NEXT(r, in_all);
        if (!r->held)
            continue;
        lend_head(r, give_request);
        size_t len;
        const uint8_t *data;
        while ((data = recvq_peek(&r->held_body, &len)) != NULL && len > 0) {
            give_body(r, data, len);
            recvq_drop(&r->held_body, len);
        }
        if (r->ended && r->user)
            h->host->ops->body_ended(r->user);
    }
}

/* A body is taken at once, so it is credited at once. Bodies of other requests are dropped. */
static int recv_data(nghttp3_conn *http, int64_t id, const uint8_t *data, size_t len,
                     void *conn_user, void *stream_user)
{
    struct h3 *h = conn_user;
    struct h3_request *r = stream_user;
    (void)http;
    conn_stream_consumed(h->conn, id, len);
    if (!r || r->reset)
        return 0;
    if (r->held && recvq_held(&r->held_body) + len > HELD_BODY_MAX) {
        r->held = false;
        h3_request_reset(r, H3_REQUEST_REJECTED);
    } else if (r->held) {
        recvq_write(&r->held_body, data, len);
    } else {
        give_body(r, data, len);
    }
    return 0;
}

static int deferred_consume(nghttp3_conn *http, int64_t id, size_t consumed, void *conn_user,
                            void *stream_user)
{
    struct h3 *h = conn_user;
    (void)http, (void)stream_user;
    conn_stream_consumed(h->conn, id, consumed);
    return 0;
}

static int end_stream(nghttp3_conn *http, int64_t id, void *conn_user, void *stream_user)
{
    struct h3 *h = conn_user;
    struct h3_request *r = stream_user;
    (void)http, (void)id;
    if (!r || r->ended)
        return 0;
    r->ended = true;
    if (r->is_session && r->user && !r->reset)
        h->host->ops->body_ended(r->user);
    return 0;
}

/* ---- sending ---- */

/* Each piece becomes one DATA frame: some clients want a capsule whole in a frame of its own. */
static nghttp3_ssize read_body(nghttp3_conn *http, int64_t id, nghttp3_vec *vec, size_t count,
                               uint32_t *flags, void *conn_user, void *stream_user)
{
    struct h3_request *r = stream_user;
    struct h3_body *b = r->unsent;
    (void)http, (void)id, (void)count, (void)conn_user;
    if (!b && !r->end_wanted)
        return NGHTTP3_ERR_WOULDBLOCK;
    if (b)
        r->unsent = STAILQ_NEXT(b, entry);
    if (r->end_wanted && !r->unsent)
        *flags |= NGHTTP3_DATA_FLAG_EOF;
    if (!b)
        return 0;
    vec[0] = (nghttp3_vec){.base = b->data, .len = b->len};
    return 1;
}

static int acked_stream_data(nghttp3_conn *http, int64_t id, uint64_t len, void *conn_user,
                             void *stream_user)
{
    struct h3_request *r = stream_user;
    (void)http, (void)id, (void)conn_user;
    if (!r)
        return 0;
    r->acked += len;
    struct h3_body *b;
    while ((b = STAILQ_FIRST(&r->body)) != NULL && b != r->unsent && r->acked >= b->len) {
        r->acked -= b->len;
        STAILQ_REMOVE_HEAD(&r->body, entry);
        free(b);
    }
    return 0;
}

static void tell_acked(struct h3 *h, int64_t id, size_t len)
{
    if (nghttp3_conn_add_ack_offset(h->http, id, len) != 0)
        abort();
    struct h3_request *r = h3_request_find(h, id);
    if (r && r->is_session && r->user)
        h->host->ops->body_acked(r->user);
}

void h3_request_acked(struct h3 *h, int64_t id, size_t len)
{
    struct h3_request *r = h3_request_find(h, id);
    if (r && r->lone_end_offered)
        r->acks_held += len;
    else
        tell_acked(h, id, len);
}

void h3_request_lone_end(struct h3 *h, int64_t id, bool waits)
{
    struct h3_request *r = h3_request_find(h, id);
    if (!r || r->lone_end_offered == waits)
        return;
    r->lone_end_offered = waits;
    if (waits || r->acks_held == 0)
        return;
    tell_acked(h, id, r->acks_held);
    r->acks_held = 0;
}

/* nghttp3 asks for a stop or a reset, for instance because a message is malformed. */
static int stop_sending(nghttp3_conn *http, int64_t id, uint64_t code, void *conn_user,
                        void *stream_user)
{
    struct h3 *h = conn_user;
    (void)http, (void)stream_user;
    conn_stream_stop(h->conn, id, code);
    return 0;
}

static int reset_stream(nghttp3_conn *http, int64_t id, uint64_t code, void *conn_user,
                        void *stream_user)
{
    struct h3 *h = conn_user;
    struct h3_request *r = stream_user;
    (void)http;
    tell_malformed(h);
    conn_stream_reset(h->conn, id, code);
    if (r)
        h3_request_fail(r, code);
    return 0;
}

const nghttp3_callbacks h3_request_callbacks = {
    .acked_stream_data = acked_stream_data,
    .recv_data = recv_data,
    .deferred_consume = deferred_consume,
    .begin_headers = begin_headers,
    .recv_header = recv_header,
    .end_headers = end_headers,
    .stop_sending = stop_sending,
    .end_stream = end_stream,
    .reset_stream = reset_stream,
};

static nghttp3_nv make_nv(const void *name, size_t name_len, const void *value, size_t value_len)
{
    return (nghttp3_nv){.name = (uint8_t *)(uintptr_t)name,
                        .namelen = name_len,
                        .value = (uint8_t *)(uintptr_t)value,
                        .valuelen = value_len,
                        .flags = NGHTTP3_NV_FLAG_NONE};
}

static nghttp3_nv *make_nvs(const nghttp3_nv *pseudo, size_t pseudo_count,
                            const struct header *headers, size_t count)
{
    nghttp3_nv *nvs = calloc(pseudo_count + count, sizeof(*nvs));
    if (!nvs)
        abort();
    memcpy(nvs, pseudo, pseudo_count * sizeof(*nvs));
    for (size_t i = 0; i < count; i++)
        nvs[pseudo_count + i] =
            make_nv(headers[i].name, headers[i].name_len, headers[i].value, headers[i].value_len);
    return nvs;
}

void h3_request_respond(struct h3_request *r, unsigned status, const struct header *headers,
                        size_t count, bool end)
{
    char text[16];
    assert(status >= 100 && status <= 999);
    if (r->h3->dead || r->reset)
        return;
    r->end_wanted = end;
    int len = snprintf(text, sizeof(text), "%u", status);
    nghttp3_nv pseudo = make_nv(":status", 7, text, (size_t)len);
    nghttp3_nv *nvs = make_nvs(&pseudo, 1, headers, count);
    nghttp3_data_reader reader = {.read_data = read_body};
    int rv = nghttp3_conn_submit_response(r->h3->http, r->id, nvs, count + 1, end ? NULL : &reader);
    free(nvs);
    if (rv != 0)
        h3_http_fault(r->h3, rv);
    h3_touch(r->h3);
}

struct h3_request *h3_request_open(struct h3 *h, const char *authority, const char *path,
                                   const struct header *headers, size_t count, void *request_user)
{
    int64_t id;
    if (h->dead || !conn_stream_open(h->conn, false, &id, NULL))
        return NULL;
    struct h3_stream *s = h3_stream_new(h, id, true);
    s->kind = H3_STREAM_HTTP;
    conn_stream_set_user(h->conn, id, s);
    struct h3_request *r = request_new(h, id);
    r->user = request_user;
    r->is_session = true;
    const nghttp3_nv pseudo[] = {
        make_nv(":scheme", 7, "https", 5),
        make_nv(":method", 7, "CONNECT", 7),
        make_nv(":authority", 10, authority, strlen(authority)),
        make_nv(":path", 5, path, strlen(path)),
        make_nv(":protocol", 9, "webtransport", 12),
    };
    size_t pseudos = sizeof(pseudo) / sizeof(pseudo[0]);
    nghttp3_nv *nvs = make_nvs(pseudo, pseudos, headers, count);
    nghttp3_data_reader reader = {.read_data = read_body};
    int rv = nghttp3_conn_submit_request(h->http, id, nvs, pseudos + count, &reader, r);
    free(nvs);
    if (rv != 0)
        h3_http_fault(h, rv);
    h3_touch(h);
    return r;
}

void h3_request_set_user(struct h3_request *r, void *request_user)
{
    r->user = request_user;
}

uint64_t h3_request_id(const struct h3_request *r)
{
    return (uint64_t)r->id;
}

void h3_request_send(struct h3_request *r, const void *data, size_t len)
{
    if (r->h3->dead || r->reset || r->end_wanted || len == 0)
        return;
    struct h3_body *b = malloc(sizeof(*b) + len);
    if (!b)
        abort();
    b->len = len;
    memcpy(b->data, data, len);
    STAILQ_INSERT_TAIL(&r->body, b, entry);
    if (!r->unsent)
        r->unsent = b;
    nghttp3_conn_resume_stream(r->h3->http, r->id);
    h3_touch(r->h3);
}

size_t h3_request_unacked(const struct h3_request *r)
{
    const struct h3_body *b;
    size_t sum = 0;
    STAILQ_FOREACH (b, &r->body, entry)
        sum += b->len;
    return sum;
}

void h3_request_end(struct h3_request *r)
{
    if (r->h3->dead || r->reset || r->end_wanted)
        return;
    r->end_wanted = true;
    nghttp3_conn_resume_stream(r->h3->http, r->id);
    h3_touch(r->h3);
}

void h3_request_reset(struct h3_request *r, uint64_t code)
{
    if (r->h3->dead || r->reset)
        return;
    r->reset = true;
    nghttp3_conn_shutdown_stream_write(r->h3->http, r->id);
    conn_stream_reset(r->h3->conn, r->id, code);
    conn_stream_stop(r->h3->conn, r->id, code);
    h3_touch(r->h3);
}

void h3_request_seal(struct h3_request *r, bool more)
{
    r->sealed = true;
    if (!more || r->reset)
        return;
    report_count(r->h3->host->env, FAULT_AFTER_CLOSE);
    h3_request_reset(r, H3_MESSAGE_ERROR);
}

void h3_request_give_up(struct h3_request *r, uint64_t code)
{
    if (STAILQ_EMPTY(&r->body))
        h3_request_stop(r, code);
    else
        h3_request_reset(r, code);
}

void h3_request_stop(struct h3_request *r, uint64_t code)
{
    if (r->h3->dead || r->ended)
        return;
    conn_stream_stop(r->h3->conn, r->id, code);
    h3_touch(r->h3);
}

/* ---- datagrams ---- */

size_t h3_datagram_max(const struct h3_request *r)
{
    size_t prefix = varint_size((uint64_t)r->id / 4);
    size_t max = r->h3->dead ? 0 : conn_datagram_max(r->h3->conn);
    return max > prefix ? max - prefix : 0;
}

bool h3_datagram_send(struct h3_request *r, const void *data, size_t len)
{
    if (len > h3_datagram_max(r))
        return false;
    dgramq_push(&r->out, data, len);
    if (!r->has_datagrams)
        TAILQ_INSERT_TAIL(&r->h3->datagrams, r, in_datagrams);
    r->has_datagrams = true;
    h3_touch(r->h3);
    return true;
}

bool h3_datagram_next(struct h3 *h, struct h3_request **of, const uint8_t **data, size_t *len)
{
    struct h3_request *r;
    while ((r = TAILQ_FIRST(&h->datagrams)) != NULL) {
        if (dgramq_peek(&r->out, data, len)) {
            *of = r;
            return true;
        }
        TAILQ_REMOVE(&h->datagrams, r, in_datagrams); /* they were dropped meanwhile */
        r->has_datagrams = false;
    }
    return false;
}

/* The oldest has left; the others' turn comes before the next of this one. */
void h3_datagram_sent(struct h3_request *r)
{
    const uint8_t *data;
    size_t len;
    dgramq_pop(&r->out);
    TAILQ_REMOVE(&r->h3->datagrams, r, in_datagrams);
    r->has_datagrams = dgramq_peek(&r->out, &data, &len);
    if (r->has_datagrams)
        TAILQ_INSERT_TAIL(&r->h3->datagrams, r, in_datagrams);
}
