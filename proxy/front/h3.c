/*
 * h3 - the HTTP/3 side of one connection: our control stream, the peer's SETTINGS, and the sorting
 * of incoming streams into WebTransport's and nghttp3's. Owns the streams and requests. Calls conn
 * and nghttp3; tells wt.
 *
 * nghttp3 is never given our control stream: it knows no settings of WebTransport and uses the
 * stream only for GOAWAY, whose id must not be left to it (browsers drop sessions at or above it).
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "base/stats.h"
#include "base/varint.h"
#include "front/h3_internal.h"

/* Only checked for PRIORITY_UPDATE frames; QUIC enforces the real limit. */
#define MAX_CLIENT_STREAMS (UINT64_C(1) << 60)

/* Streams are refused once their header is in and there is no memory for them; but somebody might
 * never send headers, nor end what was refused. */
#define UNPAID_MAX 256

void h3_touch(struct h3 *h)
{
    if (!h->dead)
        conn_touch(h->conn);
}

void h3_fail(struct h3 *h, enum fault fault, uint64_t code, const char *text)
{
    if (!h->dead)
        conn_fail(h->conn, fault, code, text);
}

void h3_close(struct h3 *h)
{
    if (!h->dead)
        conn_close(h->conn, H3_NO_ERROR, "");
}

enum fault h3_http_fault(struct h3 *h, int error)
{
    h3_fail(h, FAULT_H3_PROTOCOL, nghttp3_err_infer_quic_app_error_code(error),
            nghttp3_strerror(error));
    return FAULT_H3_PROTOCOL;
}

/* RFC 9114, section 5.2. The largest id there is for a request: clients give up those at or above
 * it. It has eight bytes, which a client that does not know GOAWAY survives, too. */
static void write_goaway(struct h3 *h)
{
    if (!h->goaway_wanted || h->goaway_written || h->control_id < 0)
        return;
    uint8_t *to = h->control + h->control_len;
    size_t n = varint_write(to, H3_FRAME_GOAWAY);
    n += varint_write(to + n, VARINT_SIZE_MAX);
    n += varint_write(to + n, (UINT64_C(1) << 62) - 4);
    h->control_len += n;
    h->goaway_written = true;
    h3_touch(h);
}

void h3_goaway(struct h3 *h)
{
    h->goaway_wanted = true;
    write_goaway(h);
}

struct conn *h3_conn(const struct h3 *h)
{
    return h->conn;
}

bool h3_is_ready(const struct h3 *h)
{
    return h->settings_in && !h->dead;
}

/* Section 5.1 of the draft: flow control is on if both sides announce a limit that is not 0. */
bool h3_has_session_limits(const struct h3 *h, struct h3_limits *peer)
{
    const struct h3_settings *s = &h->settings;
    *peer = (struct h3_limits){s->wt_max_data, {s->wt_max_streams[0], s->wt_max_streams[1]}};
    return h->own.wt_max_data > 0 && (peer->data | peer->streams[0] | peer->streams[1]) != 0;
}

bool h3_is_safari(const struct h3 *h)
{
    return h->settings.wt_draft14 && !h->settings.wt_draft15;
}

/* Sections 3.1 and 3.2 of the draft; a setting of WebTransport's own is not asked for, because some
 * clients send none. */
enum fault h3_judge(const struct h3 *h)
{
    const struct h3_settings *s = &h->settings;
    bool any = s->wt_draft02 || s->wt_draft07 || s->wt_draft14 || s->wt_draft15;
    if (!s->datagrams)
        return any ? FAULT_NO_DATAGRAMS : FAULT_NO_WEBTRANSPORT;
    return conn_datagram_max(h->conn) > 0 ? FAULT_NONE : FAULT_NO_QUIC_DATAGRAMS;
}

const char *h3_draft(const struct h3 *h)
{
    const struct h3_settings *s = &h->settings;
    if (h->spoke_draft15 || s->wt_draft15)
        return "draft15";
    if (s->wt_draft14)
        return "draft14";
    if (s->wt_draft07)
        return "draft07";
    return s->wt_draft02 ? "draft02" : "draft07";
}

static void settings_late(void *owner)
{
    struct h3 *h = owner;
    h3_fail(h, FAULT_H3_NO_SETTINGS, H3_MISSING_SETTINGS, "no SETTINGS in time");
}

static struct h3 *h3_new(struct h3_host *host)
{
    struct h3 *h = calloc(1, sizeof(*h));
    if (!h)
        abort();
    h->host = host;
    h->session = host->config.session;
    h->control_id = -1;
    TAILQ_INIT(&h->streams);
    TAILQ_INIT(&h->lanes);
    TAILQ_INIT(&h->requests);
    TAILQ_INIT(&h->datagrams);
    timer_init(&h->settings_timer, settings_late, h);

    nghttp3_settings settings;
    nghttp3_settings_default(&settings);
    settings.qpack_max_dtable_capacity = H3_QPACK_CAPACITY;
    settings.qpack_encoder_max_dtable_capacity = H3_QPACK_CAPACITY;
    settings.qpack_blocked_streams = H3_QPACK_BLOCKED;
    settings.enable_connect_protocol = host->config.conn.is_server;
    settings.h3_datagram = 1;
    int rv = host->config.conn.is_server
                 ? nghttp3_conn_server_new(&h->http, &h3_request_callbacks, &settings, NULL, h)
                 : nghttp3_conn_client_new(&h->http, &h3_request_callbacks, &settings, NULL, h);
    if (rv != 0)
        abort();
    if (host->config.conn.is_server)
        nghttp3_conn_set_max_client_streams_bidi(h->http, MAX_CLIENT_STREAMS);
    /* So many may end in one turn, each with a line on the QPACK decoder stream. */
    nghttp3_conn_set_max_concurrent_streams(h->http, host->config.max_streams_bidi);
    return h;
}

static void h3_free(void *owner)
{
    struct h3 *h = owner;
    nghttp3_conn_del(h->http);
    free(h);
}

static void *conn_accepted(void *hub_user, struct conn *c)
{
    struct h3_host *host = hub_user;
    struct h3 *h = h3_new(host);
    h->conn = c;
    h->user = host->ops->accepted(host->user, h);
    return h;
}

/* Safari must not hear of what is newer than draft 07: it then wants more than we have. */
static void choose_settings(struct h3 *h)
{
    const struct h3_limits *l = &h->session;
    h->own.is_server = h->host->config.conn.is_server;
    if (conn_may_be_safari(h->conn))
        return;
    h->own.wt_draft15 = h->own.is_server || l->data > 0;
    h->own.wt_max_data = l->data;
    h->own.wt_max_streams[0] = l->streams[0];
    h->own.wt_max_streams[1] = l->streams[1];
}

/* Three streams of ours come first, in this order: control (it must be the first unidirectional
 * stream for some clients), QPACK encoder and decoder. */
static enum fault conn_established(void *user)
{
    struct h3 *h = user;
    int64_t encoder, decoder;
    if (!conn_stream_open(h->conn, true, &h->control_id, NULL) ||
        !conn_stream_open(h->conn, true, &encoder, NULL) ||
        !conn_stream_open(h->conn, true, &decoder, NULL)) {
        h3_fail(h, FAULT_H3_PROTOCOL, H3_STREAM_CREATION_ERROR,
                "HTTP/3 needs three unidirectional streams");
        return FAULT_H3_PROTOCOL;
    }
    choose_settings(h);
    h->control_len = h3_settings_write(h->control, &h->own);
    write_goaway(h);
    if (nghttp3_conn_bind_qpack_streams(h->http, encoder, decoder) != 0)
        abort();
    timer_set(h->host->env->timers, &h->settings_timer,
              timers_now(h->host->env->timers) + h->host->config.settings_timeout_ns);
    h3_touch(h);
    return FAULT_NONE;
}

static void conn_stream_opened(void *user, int64_t id)
{
    struct h3 *h = user;
    struct h3_stream *s = h3_stream_new(h, id, false);
    conn_stream_set_user(h->conn, id, s);
    if (h->unpaid > UNPAID_MAX)
        h3_fail(h, FAULT_MEMORY_STREAM, H3_EXCESSIVE_LOAD, "too many streams for the memory left");
}

enum fault h3_read_http(struct h3_stream *s, const uint8_t *data, size_t len, bool fin)
{
    struct h3 *h = s->h3;
    nghttp3_ssize n = nghttp3_conn_read_stream(h->http, s->id, data, len, fin);
    if (n < 0)
        return h3_http_fault(h, (int)n);
    if (n > 0)
        conn_stream_consumed(h->conn, s->id, (size_t)n);
    h3_touch(h);
    return FAULT_NONE;
}

/* Says what the stream is once its type (and, for WebTransport, its session id) are whole; until
 * then NEW. Any legal length of an integer is taken. */
static enum h3_stream_kind sort(const struct h3_stream *s, uint64_t *session_id)
{
    uint64_t type;
    size_t n = varint_read(&type, s->prefix, s->prefix_len);
    if (!n)
        return H3_STREAM_NEW;
    if (type != (s->unidirectional ? WT_STREAM_TYPE_UNI : WT_STREAM_TYPE_BIDI))
        return s->unidirectional && type == 0 ? H3_STREAM_CONTROL : H3_STREAM_HTTP;
    return varint_read(session_id, s->prefix + n, s->prefix_len - n) ? H3_STREAM_WT : H3_STREAM_NEW;
}

static enum fault open_wt(struct h3_stream *s, uint64_t session_id)
{
    struct h3 *h = s->h3;
    conn_stream_consumed(h->conn, s->id, s->prefix_len);
    if (session_id & 3) {
        h3_fail(h, FAULT_H3_SESSION_ID, H3_ID_ERROR, "a stream names an impossible session id");
        return FAULT_H3_SESSION_ID;
    }
    h3_stream_become_wt(s);
    h->host->ops->stream_opened(h->user, s, session_id, s->unidirectional);
    if (s->stopped_early)
        h3_stream_peer_stopped(s, s->early_stop_code);
    return FAULT_NONE;
}

/* FIN or RESET_STREAM in the middle of a header: nobody can tell whose stream it was, so nobody but
 * us ends our half. */
static void end_headless(struct h3_stream *s, uint64_t code)
{
    struct h3 *h = s->h3;
    report_count(h->host->env, FAULT_STREAM_HEADER);
    s->receive_over = true;
    if (!s->unidirectional)
        conn_stream_reset(h->conn, s->id, code);
}

static enum fault misplaced(struct h3 *h)
{
    h3_fail(h, FAULT_H3_PROTOCOL, H3_FRAME_ERROR, "WT_STREAM where no stream begins");
    return FAULT_H3_PROTOCOL;
}

static enum fault dispatch(struct h3_stream *s, const uint8_t *data, size_t len, bool fin)
{
    switch (s->kind) {
    case H3_STREAM_CONTROL:
        return h3_read_control(s, data, len, fin);
    case H3_STREAM_HTTP:
        if (!s->unidirectional && !h3_frames_legal(&s->walk, data, len))
            return misplaced(s->h3);
        return h3_read_http(s, data, len, fin);
    case H3_STREAM_WT:
        h3_stream_take(s, data, len, fin);
        return FAULT_NONE;
    case H3_STREAM_NEW:
        break;
    }
    abort();
}

/* Collects the header byte by byte: it may come in any number of pieces. */
static enum fault read_new(struct h3_stream *s, const uint8_t *data, size_t len, bool fin)
{
    enum h3_stream_kind kind = H3_STREAM_NEW;
    uint64_t session_id = 0;
    while (len > 0 && kind == H3_STREAM_NEW) {
        s->prefix[s->prefix_len++] = *data++;
        len--;
        kind = sort(s, &session_id);
    }
    if (kind == H3_STREAM_NEW) {
        if (fin)
            end_headless(s, H3_GENERAL_PROTOCOL_ERROR);
        return FAULT_NONE;
    }
    if (kind == H3_STREAM_WT) {
        enum fault fault = open_wt(s, session_id);
        if (fault != FAULT_NONE || (len == 0 && !fin))
            return fault;
        return dispatch(s, data, len, fin);
    }
    if (!s->unidirectional && s->h3->host->config.conn.is_server == false) {
        h3_fail(s->h3, FAULT_H3_PROTOCOL, H3_STREAM_CREATION_ERROR,
                "a server opened a bidirectional stream that is not WebTransport's");
        return FAULT_H3_PROTOCOL;
    }
    s->kind = kind;
    bool more = len > 0;
    enum fault fault = kind == H3_STREAM_CONTROL
                           ? h3_read_http(s, s->prefix, s->prefix_len, fin && !more)
                           : dispatch(s, s->prefix, s->prefix_len, fin && !more);
    return fault == FAULT_NONE && more ? dispatch(s, data, len, fin) : fault;
}

static enum fault conn_stream_received(void *user, int64_t id, void *stream_user,
                                       const uint8_t *data, size_t len, bool fin)
{
    struct h3 *h = user;
    struct h3_stream *s = stream_user;
    if (!s) /* a response: the client opened the stream */
        s = h3_stream_new(h, id, true), s->kind = H3_STREAM_HTTP,
        conn_stream_set_user(h->conn, id, s);
    if (s->receive_over && s->kind != H3_STREAM_WT) /* those give the credit back themselves */
        return FAULT_NONE;
    return s->kind == H3_STREAM_NEW ? read_new(s, data, len, fin) : dispatch(s, data, len, fin);
}

static void conn_stream_acked(void *user, int64_t id, void *stream_user, size_t len, bool fin)
{
    struct h3 *h = user;
    struct h3_stream *s = stream_user;
    if (id == h->control_id)
        return;
    if (s && s->kind == H3_STREAM_WT) {
        h3_stream_acked(s, len, fin);
        return;
    }
    h3_request_acked(h, id, len);
}

/* What the client asked for and gave up. An answer that is whole already still goes out. */
static void cancel_request(struct h3 *h, int64_t id, uint64_t code)
{
    int rv = nghttp3_conn_shutdown_stream_read(h->http, id); /* RFC 9204, section 2.2.2.2 */
    if (rv != 0) {
        h3_http_fault(h, rv);
        return;
    }
    struct h3_request *r = h3_request_find(h, id);
    if (!r)
        conn_stream_reset(h->conn, id, H3_REQUEST_CANCELLED);
    else if (r->is_session || r->held)
        h3_request_fail(r, code);
    else if (!r->end_wanted)
        h3_request_reset(r, H3_REQUEST_CANCELLED);
}

static void conn_stream_reset_received(void *user, int64_t id, void *stream_user, uint64_t code)
{
    struct h3 *h = user;
    struct h3_stream *s = stream_user;
    if (s->kind == H3_STREAM_WT) {
        h3_stream_measure(s, conn_final_size(h->conn));
        h3_stream_peer_reset(s, code);
    } else if (s->kind == H3_STREAM_NEW && !s->receive_over)
        end_headless(s, H3_REQUEST_CANCELLED);
    else if (s->kind == H3_STREAM_HTTP && !s->unidirectional)
        cancel_request(h, id, code);
}

static void fail_critical(struct h3 *h)
{
    h3_fail(h, FAULT_H3_PROTOCOL, NGHTTP3_H3_CLOSED_CRITICAL_STREAM,
            "a control or QPACK stream was closed");
}

/* Of streams that are not WebTransport's only our control and QPACK streams have no h3_stream
 * (RFC 9114, section 6.2.1; RFC 9204, section 4.2). */
static void conn_stream_stop_received(void *user, int64_t id, void *stream_user, uint64_t code)
{
    struct h3 *h = user;
    struct h3_stream *s = stream_user;
    struct h3_request *r;
    if (!s) {
        fail_critical(h);
        return;
    }
    if (s->kind == H3_STREAM_WT) {
        h3_stream_peer_stopped(s, code);
        return;
    }
    if (s->kind == H3_STREAM_NEW) { /* it may become anybody's yet */
        s->stopped_early = true;
        s->early_stop_code = code;
        return;
    }
    nghttp3_conn_shutdown_stream_write(h->http, id);
    if ((r = h3_request_find(h, id)) != NULL)
        h3_request_fail(r, code);
}

static void conn_stream_unblocked(void *user, int64_t id, void *stream_user)
{
    struct h3 *h = user;
    struct h3_stream *s = stream_user;
    if (id == h->control_id)
        h->control_blocked = false;
    else if (s && s->kind == H3_STREAM_WT)
        h3_lane_put(s);
    else
        nghttp3_conn_unblock_stream(h->http, id);
    h3_touch(h);
}

/* A stream whose headers wait for the QPACK encoder stays in nghttp3 until they come. By then the
 * request is gone: nothing of it may be told any more. */
static void leave_http(struct h3 *h, int64_t id, const struct h3_request *r)
{
    int rv = 0;
    if (r && !r->ended)
        rv = nghttp3_conn_shutdown_stream_read(h->http, id);
    nghttp3_conn_set_stream_user_data(h->http, id, NULL);
    if (rv == 0)
        rv = nghttp3_conn_close_stream(h->http, id,
                                       r && r->failed ? H3_REQUEST_CANCELLED : H3_NO_ERROR);
    if (rv != 0 && rv != NGHTTP3_ERR_STREAM_NOT_FOUND)
        h3_http_fault(h, rv);
}

static void conn_stream_closed(void *user, int64_t id, void *stream_user)
{
    struct h3 *h = user;
    struct h3_stream *s = stream_user;
    if (s && s->kind == H3_STREAM_WT) {
        h3_stream_measure(s, conn_final_size(h->conn));
        h3_stream_finish(s);
        return;
    }
    if (!s || s->kind == H3_STREAM_CONTROL) {
        fail_critical(h);
        return;
    }
    if (s->kind == H3_STREAM_NEW) {
        conn_stream_consumed(h->conn, id, s->prefix_len);
        h->host->ops->stream_lost(h->user, s->unidirectional);
    }
    struct h3_request *r = h3_request_find(h, id);
    if (s->kind == H3_STREAM_HTTP)
        leave_http(h, id, r);
    if (r)
        h3_request_finish(r);
    if (conn_stream_is_remote(h->conn, id))
        conn_stream_slot_free(h->conn, id);
    h3_stream_free(s);
}

static void conn_streams_available(void *user, bool unidirectional)
{
    struct h3 *h = user;
    h->host->ops->streams_available(h->user, unidirectional);
}

/* RFC 9297, section 2.1: the quarter stream id is below 2^60. */
static void conn_datagram_received(void *user, const uint8_t *data, size_t len)
{
    struct h3 *h = user;
    uint64_t quarter;
    size_t n = varint_read(&quarter, data, len);
    if (!n || quarter >= UINT64_C(1) << 60) {
        h3_fail(h, FAULT_H3_DATAGRAM, H3_DATAGRAM_ERROR, "a datagram without a session id");
        return;
    }
    h->host->env->stats->datagrams_received++;
    h->host->ops->datagram_received(h->user, quarter * 4, data + n, len - n);
}

static void conn_datagram_max_changed(void *user, size_t max)
{
    struct h3 *h = user;
    (void)max;
    h->host->ops->datagram_max_changed(h->user);
}

static void conn_closed(void *user, const struct conn_end *end)
{
    struct h3 *h = user;
    h->dead = true;
    timer_stop(h->host->env->timers, &h->settings_timer);
    h->host->ops->closed(h->user, end);
    struct h3_request *r;
    while ((r = TAILQ_FIRST(&h->requests)) != NULL)
        h3_request_free(r);
    struct h3_stream *s;
    while ((s = TAILQ_FIRST(&h->streams)) != NULL)
        h3_stream_free(s);
    turn_bury(h->host->env->turn, &h->grave, h3_free, h);
}

static const struct conn_ops conn_ops = {
    .accepted = conn_accepted,
    .established = conn_established,
    .stream_opened = conn_stream_opened,
    .stream_received = conn_stream_received,
    .stream_acked = conn_stream_acked,
    .stream_reset = conn_stream_reset_received,
    .stream_stopped = conn_stream_stop_received,
    .stream_unblocked = conn_stream_unblocked,
    .stream_closed = conn_stream_closed,
    .streams_available = conn_streams_available,
    .datagram_received = conn_datagram_received,
    .datagram_max_changed = conn_datagram_max_changed,
    .pull = h3_pull,
    .pulled = h3_pulled,
    .closed = conn_closed,
};

struct h3_host *h3_host_new(struct env *env, struct endpoint *endpoint,
                            const struct h3_config *config, const struct h3_ops *ops,
                            void *host_user)
{
    struct h3_host *host = calloc(1, sizeof(*host));
    if (!host)
        abort();
    host->env = env;
    host->config = *config;
    host->ops = ops;
    host->user = host_user;
    host->hub = conn_hub_new(env, endpoint, &config->conn, &conn_ops, host);
    return host;
}

void h3_host_configure(struct h3_host *host, const struct h3_config *config)
{
    host->config = *config;
    conn_hub_configure(host->hub, &config->conn);
}

void h3_host_stop(struct h3_host *host)
{
    conn_hub_stop(host->hub);
}

void h3_host_close_all(struct h3_host *host)
{
    conn_hub_close_all(host->hub, H3_NO_ERROR, "shutting down");
}

size_t h3_host_count_of(const struct h3_host *host, unsigned listener)
{
    return conn_hub_count_of(host->hub, listener);
}

size_t h3_host_count(const struct h3_host *host)
{
    return conn_hub_count(host->hub);
}

void h3_host_free(struct h3_host *host)
{
    conn_hub_free(host->hub);
    free(host);
}

struct h3 *h3_connect(struct h3_host *host, const struct sockaddr *remote, socklen_t remote_len,
                      const char *server_name, void *user)
{
    struct h3 *h = h3_new(host);
    h->user = user;
    h->conn = conn_connect(host->hub, remote, remote_len, server_name, h);
    if (h->conn)
        return h;
    h3_free(h);
    return NULL;
}

const char *h3_library(void)
{
    return nghttp3_version(0)->version_str;
}
