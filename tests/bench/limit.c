/*
 * limit - what the front alone can do: a WebTransport server whose application is in the same
 * process. Sluice with an application of its own is measured against it. Says what app.c says:
 *
 *     /echo     a bidirectional stream's bytes come back; so do datagrams
 *     /sink     bytes are taken; when they have ended, so does the other direction
 *     /source   8 bytes, big-endian, ask for so many bytes of the pattern
 *
 *     limit HOST:PORT
 *
 * Tells the address it took, then serves until its standard input ends. The front is configured as
 * Sluice's defaults have it. Back-pressure is real: bytes are credited to the client when the
 * stream towards it has taken them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/recvq.h"
#include "base/timers.h"
#include "bench/pattern.h"
#include "support/host.h"

enum kind { KIND_ECHO, KIND_SINK, KIND_SOURCE };

struct session {
    struct wt_session *wt;
    enum kind kind;
};

struct stream {
    struct wt_stream *wt;
    struct session *session;
    struct recvq waiting; /* echo: what the way back does not take yet */
    uint8_t asked[8];
    uint64_t received, sent, size;
    bool fin, ended, all_acked;
};

static struct host host;
static uv_poll_t input;

/* --- streams --- */

static void settle(struct stream *st)
{
    if (!st->fin || !st->all_acked)
        return;
    wt_stream_release(st->wt);
    recvq_fini(&st->waiting);
    free(st);
}

static void end(struct stream *st)
{
    if (st->ended)
        return;
    st->ended = true;
    wt_stream_end(st->wt);
}

static void echo_more(struct stream *st)
{
    size_t len;
    const uint8_t *data;
    while ((data = recvq_peek(&st->waiting, &len)) && len > 0) {
        size_t n = wt_stream_write(st->wt, data, len);
        recvq_drop(&st->waiting, n);
        wt_stream_consumed(st->wt, n);
        if (n < len)
            return;
    }
    if (st->fin)
        end(st);
}

static void echo(struct stream *st, const uint8_t *data, size_t len)
{
    size_t n = recvq_held(&st->waiting) == 0 ? wt_stream_write(st->wt, data, len) : 0;
    wt_stream_consumed(st->wt, n);
    recvq_write(&st->waiting, data + n, len - n);
    echo_more(st);
}

static void speak(struct stream *st)
{
    while (st->sent < st->size) {
        size_t len = pattern_len(st->size - st->sent);
        size_t n = wt_stream_write(st->wt, pattern_at(st->sent), len);
        st->sent += n;
        if (n < len)
            return;
    }
    end(st);
}

static void listen_to_wish(struct stream *st, const uint8_t *data, size_t len)
{
    if (st->received + len > sizeof(st->asked))
        host_fail("8 bytes were expected");
    memcpy(st->asked + st->received, data, len);
    wt_stream_consumed(st->wt, len);
    st->received += len;
    if (st->received < sizeof(st->asked) || st->size)
        return;
    st->size = pattern_size(st->asked);
    speak(st);
}

static void stream_opened(void *user, struct wt_stream *wt, bool unidirectional)
{
    struct stream *st = calloc(1, sizeof(*st));
    if (!st || unidirectional)
        host_fail("a bidirectional stream was expected");
    st->wt = wt;
    st->session = user;
    recvq_init(&st->waiting, NULL);
    wt_stream_set_user(wt, st);
}

static void stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin)
{
    struct stream *st = stream_user;
    st->fin |= fin;
    if (st->session->kind == KIND_ECHO) {
        echo(st, data, len);
    } else if (st->session->kind == KIND_SOURCE) {
        listen_to_wish(st, data, len);
    } else {
        wt_stream_consumed(st->wt, len);
        if (fin)
            end(st);
    }
    settle(st);
}

static void stream_acked(void *stream_user, size_t len, bool all)
{
    struct stream *st = stream_user;
    (void)len;
    st->all_acked |= all;
    if (st->session->kind == KIND_ECHO)
        echo_more(st);
    else if (st->session->kind == KIND_SOURCE && st->size)
        speak(st);
    settle(st);
}

static void stream_code(void *stream_user, struct wt_code code)
{
    (void)stream_user, (void)code;
    host_fail("a stream was reset or stopped");
}

/* --- sessions --- */

static void requested(void *host_user, struct wt_session *wt, const struct wt_request *r)
{
    struct session *s = calloc(1, sizeof(*s));
    (void)host_user;
    if (!s)
        abort();
    s->wt = wt;
    s->kind = strcmp(r->path, "/sink") == 0     ? KIND_SINK
              : strcmp(r->path, "/source") == 0 ? KIND_SOURCE
                                                : KIND_ECHO;
    wt_session_set_user(wt, s);
    wt_accept(wt, 200, NULL, 0);
}

static void datagram_received(void *user, const uint8_t *data, size_t len)
{
    struct session *s = user;
    wt_datagram_send(s->wt, data, len);
}

static void closed(void *user, const struct wt_end *how)
{
    (void)how;
    free(user);
}

static const struct wt_ops ops = {
    .requested = requested,
    .stream_opened = stream_opened,
    .stream_received = stream_received,
    .stream_reset = stream_code,
    .stream_stopped = stream_code,
    .stream_acked = stream_acked,
    .streams_available = host_ignore_streams,
    .datagram_received = datagram_received,
    .datagram_max_changed = host_ignore_datagram_max,
    .draining = host_ignore_drain,
    .closed = closed,
};

/* --- the program --- */

static void input_ended(uv_poll_t *poll, int status, int events)
{
    char ignored[64];
    (void)status, (void)events;
    if (read(0, ignored, sizeof(ignored)) > 0)
        return;
    uv_close((uv_handle_t *)poll, NULL);
    host_close(&host);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        host_fail("usage: limit HOST:PORT");
    struct packet_address bind = host_parse_address(argv[1]);
    struct host_config config = {
        .bind = &bind,
        .kernel_buffer = 2 << 20,
        .log_level = LOG_WARN,
        .wt = {.is_server = true,
               .connection_window = 8 << 20,
               .stream_window = 1 << 20,
               .connection_memory = 16 << 20,
               .max_streams_bidi = 1000,
               .max_streams_uni = 1000,
               .stream_send_limit = (1 << 20) + 64,
               .datagram_queue = 256,
               .early_streams = 100,
               .max_header_bytes = 32 << 10,
               .idle_timeout_ns = 30 * NS_PER_S,
               .keep_alive_ns = 10 * NS_PER_S,
               .handshake_timeout_ns = 10 * NS_PER_S,
               .settings_timeout_ns = 10 * NS_PER_S,
               .close_timeout_ns = 3 * NS_PER_S},
    };
    pattern_init();
    host_open(&host, &config, &ops, NULL);
    const struct packet_address *at = host_address(&host);
    printf("listening port=%u\n", (unsigned)ntohs(at->sa.v4.sin_port));
    fflush(stdout);
    uv_poll_init(&host.loop, &input, 0);
    uv_poll_start(&input, UV_READABLE, input_ended);
    host_run(&host);
    /* Streams of sessions that ended early are not tracked: the process ends. */
    return host_fini(&host) ? 0 : 1;
}
