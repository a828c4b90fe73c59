/*
 * client - a WebTransport client for the wire tests, on the front's client role: many sessions at
 * once, or very many streams in one session.
 *
 *     client HOST:PORT PATH sessions N
 *         asks for N sessions at once, each on a connection of its own, and tells when all are
 * answered: answered accepted=N refused=N failed=N then, after a line on standard input, closes
 * them and tells how many ended cleanly: closed clean=N client HOST:PORT PATH streams N AT_ONCE
 * MARK in one session opens N bidirectional streams, AT_ONCE of them at a time, sends on each,
 * compares the echo. After every MARK streams it goes quiet, tells mark COUNT and waits for a line
 * on standard input. Ends with done
 *
 * Any certificate is trusted. Exit code 1 and a sentence on standard error if anything is not as it
 * should be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/timers.h"
#include "support/host.h"

#define PAYLOAD  64
#define PATIENCE (300 * NS_PER_S) /* many at once on a busy machine */

struct session {
    struct wt_session *wt;
    unsigned status;
    bool closed;
};

struct stream {
    struct wt_stream *wt;
    char payload[PAYLOAD];
    size_t got;
    bool fin, all_acked;
};

static struct {
    struct host host;
    uv_poll_t input;
    /* sessions */
    struct session *sessions;
    size_t wanted, answered, accepted, refused, failed, closed, clean;
    bool closing;
    /* streams */
    bool in_streams;
    size_t streams, at_once, mark, opened, open, done, next_mark;
    bool waiting;
} client;

/* ---- many streams ---- */

static void open_streams(void)
{
    while (!client.waiting && client.open < client.at_once && client.opened < client.next_mark) {
        struct stream *st = calloc(1, sizeof(*st));
        if (!st)
            abort();
        st->wt = wt_stream_open(client.sessions[0].wt, false, st);
        if (!st->wt) { /* streams_available comes */
            free(st);
            return;
        }
        memset(st->payload, 'a' + (int)(client.opened % 26), PAYLOAD);
        client.opened++;
        client.open++;
        if (wt_stream_write(st->wt, st->payload, PAYLOAD) != PAYLOAD)
            host_fail("a fresh stream took no bytes");
        wt_stream_end(st->wt);
    }
}

static void stream_is_over(struct stream *st)
{
    if (!st->fin || !st->all_acked)
        return;
    if (st->got != PAYLOAD)
        host_fail("an echo was cut");
    wt_stream_release(st->wt);
    free(st);
    client.open--;
    client.done++;
    if (client.done == client.next_mark) {
        client.waiting = true;
        printf("mark %zu\n", client.done);
    }
    open_streams();
}

/* ---- what wt tells ---- */

static void responded(void *user, unsigned status, const struct header *headers, size_t count)
{
    struct session *s = user;
    (void)headers, (void)count;
    s->status = status;
    client.answered++;
    if (status >= 200 && status <= 299)
        client.accepted++;
    else
        client.refused++;
    if (client.answered == client.wanted)
        printf("answered accepted=%zu refused=%zu failed=%zu\n", client.accepted, client.refused,
               client.failed);
    if (client.in_streams)
        open_streams();
}

static void stream_opened(void *user, struct wt_stream *st, bool unidirectional)
{
    (void)user, (void)st, (void)unidirectional;
    host_fail("the server opened a stream");
}

static void stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin)
{
    struct stream *st = stream_user;
    if (st->got + len > PAYLOAD || memcmp(st->payload + st->got, data, len) != 0)
        host_fail("an echo is not what was sent");
    st->got += len;
    st->fin = fin;
    wt_stream_consumed(st->wt, len);
    stream_is_over(st);
}

static void stream_code(void *stream_user, struct wt_code code)
{
    (void)stream_user, (void)code;
    host_fail("a stream was reset or stopped");
}

static void stream_acked(void *stream_user, size_t len, bool all)
{
    struct stream *st = stream_user;
    (void)len;
    st->all_acked |= all;
    stream_is_over(st);
}

static void streams_available(void *user, bool unidirectional)
{
    (void)user;
    if (!unidirectional && client.in_streams)
        open_streams();
}

static void datagram_received(void *user, const uint8_t *data, size_t len)
{
    (void)user, (void)data, (void)len;
}

static void over(void)
{
    printf("closed clean=%zu\n", client.clean);
    uv_close((uv_handle_t *)&client.input, NULL);
    host_close(&client.host);
}

static void closed(void *user, const struct wt_end *end)
{
    struct session *s = user;
    if (s->status == 0) {
        client.answered++;
        if (client.failed++ < 5)
            fprintf(stderr, "client: a session got no answer: %s\n", fault_name(end->fault));
        if (client.answered == client.wanted)
            printf("answered accepted=%zu refused=%zu failed=%zu\n", client.accepted,
                   client.refused, client.failed);
    } else if (!client.closing && s->status <= 299) {
        host_fail("a session ended that should not have");
    }
    s->closed = true;
    s->wt = NULL;
    client.clean += end->clean && s->status <= 299 && s->status >= 200;
    if (++client.closed < client.wanted || !client.closing)
        return;
    over();
}

static const struct wt_ops ops = {
    .responded = responded,
    .stream_opened = stream_opened,
    .stream_received = stream_received,
    .stream_reset = stream_code,
    .stream_stopped = stream_code,
    .stream_acked = stream_acked,
    .streams_available = streams_available,
    .datagram_received = datagram_received,
    .datagram_max_changed = host_ignore_datagram_max,
    .draining = host_ignore_drain,
    .closed = closed,
};

/* ---- the loop ---- */

static void close_sessions(void)
{
    client.closing = true;
    uv_poll_stop(&client.input);
    for (size_t i = 0; i < client.wanted; i++)
        if (client.sessions[i].wt)
            wt_close(client.sessions[i].wt, 0, "", 0);
    if (client.closed == client.wanted)
        over();
}

static void got_line(uv_poll_t *poll, int status, int events)
{
    char line[256];
    (void)poll, (void)status, (void)events;
    if (read(0, line, sizeof(line)) <= 0)
        host_fail("standard input ended");
    if (client.in_streams && client.done < client.streams) {
        client.waiting = false;
        client.next_mark += client.mark;
        open_streams();
    } else {
        if (client.in_streams)
            printf("done\n");
        close_sessions();
    }
}

static void start(const struct packet_address *to)
{
    struct host_config config = {
        .family = to->sa.any.sa_family,
        .kernel_buffer = 4 << 20,
        .log_level = getenv("CLIENT_LOG") ? LOG_DEBUG : LOG_OFF,
        .wt = {.connection_window = 1 << 20,
               .stream_window = 1 << 18,
               .max_streams_bidi = 100,
               .max_streams_uni = 100,
               .stream_send_limit = 1 << 16,
               .datagram_queue = 16,
               .max_header_bytes = 1 << 14,
               .idle_timeout_ns = PATIENCE,
               .keep_alive_ns = 10 * NS_PER_S,
               .handshake_timeout_ns = PATIENCE,
               .settings_timeout_ns = PATIENCE,
               .close_timeout_ns = PATIENCE},
    };
    host_open(&client.host, &config, &ops, NULL);
    uv_poll_init(&client.host.loop, &client.input, 0);
    uv_poll_start(&client.input, UV_READABLE, got_line);
}

static void connect_sessions(const char *authority, const char *path,
                             const struct packet_address *to, size_t count)
{
    client.sessions = calloc(count, sizeof(*client.sessions));
    if (!client.sessions)
        abort();
    for (size_t i = 0; i < count; i++) {
        struct session *s = &client.sessions[i];
        s->wt = wt_connect(client.host.wt, &to->sa.any, to->len, authority, path, NULL, 0, s);
        if (!s->wt)
            host_fail("cannot connect");
    }
}

static size_t number(const char *text)
{
    size_t n = strtoul(text, NULL, 10);
    if (n == 0)
        host_fail("a number is expected");
    return n;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 5)
        host_fail("usage: client HOST:PORT PATH sessions N | streams N AT_ONCE MARK");
    struct packet_address to = host_parse_address(argv[1]);
    client.wanted = 1;
    if (strcmp(argv[3], "sessions") == 0) {
        client.wanted = number(argv[4]);
    } else if (strcmp(argv[3], "streams") == 0 && argc == 7) {
        client.in_streams = true;
        client.streams = number(argv[4]);
        client.at_once = number(argv[5]);
        client.mark = client.next_mark = number(argv[6]);
    } else {
        host_fail("sessions N, or streams N AT_ONCE MARK, is expected");
    }
    start(&to);
    connect_sessions(argv[1], argv[2], &to, client.wanted);
    host_run(&client.host);
    free(client.sessions);
    return host_fini(&client.host) ? 0 : 1;
}
