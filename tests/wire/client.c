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
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/budget.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/timers.h"
#include "base/turn.h"
#include "front/endpoint.h"
#include "front/tls.h"
#include "front/udp.h"
#include "front/wt.h"

#define PAYLOAD 64

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
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_timer_t timer;
    uv_poll_t input;
    struct env env;
    struct turn turn;
    struct stats stats;
    struct log log;
    struct budget memory;
    struct udp *udp;
    struct endpoint *endpoint;
    struct wt_host *host;
    struct tls_context *tls;
    /* sessions */
    struct session *sessions;
    size_t wanted, answered, accepted, refused, failed, closed, clean;
    bool closing, ending;
    /* streams */
    bool in_streams;
    size_t streams, at_once, mark, opened, open, done, next_mark;
    bool waiting;
} client;

static void fail(const char *what)
{
    fprintf(stderr, "client: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void *clock)
{
    struct timespec t;
    (void)clock;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

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
            fail("a fresh stream took no bytes");
        wt_stream_end(st->wt);
    }
}

static void stream_is_over(struct stream *st)
{
    if (!st->fin || !st->all_acked)
        return;
    if (st->got != PAYLOAD)
        fail("an echo was cut");
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
    fail("the server opened a stream");
}

static void stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin)
{
    struct stream *st = stream_user;
    if (st->got + len > PAYLOAD || memcmp(st->payload + st->got, data, len) != 0)
        fail("an echo is not what was sent");
    st->got += len;
    st->fin = fin;
    wt_stream_consumed(st->wt, len);
    stream_is_over(st);
}

static void stream_code(void *stream_user, struct wt_code code)
{
    (void)stream_user, (void)code;
    fail("a stream was reset or stopped");
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

static void datagram_max_changed(void *user, size_t max)
{
    (void)user, (void)max;
}

static void draining(void *user)
{
    (void)user;
}

static void close_input(void)
{
    if (!uv_is_closing((uv_handle_t *)&client.input))
        uv_close((uv_handle_t *)&client.input, NULL);
}

static void closed(void *user, const struct wt_end *end)
{
    struct session *s = user;
    if (s->status == 0) {
        client.answered++;
        client.failed++;
        if (client.answered == client.wanted)
            printf("answered accepted=%zu refused=%zu failed=%zu\n", client.accepted,
                   client.refused, client.failed);
    } else if (!client.closing && s->status <= 299) {
        fail("a session ended that should not have");
    }
    s->closed = true;
    s->wt = NULL;
    client.clean += end->clean && s->status <= 299 && s->status >= 200;
    if (++client.closed < client.wanted || !client.closing)
        return;
    printf("closed clean=%zu\n", client.clean);
    wt_host_close_all(client.host);
    close_input();
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
    .datagram_max_changed = datagram_max_changed,
    .draining = draining,
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
    if (client.closed == client.wanted) {
        printf("closed clean=%zu\n", client.clean);
        close_input();
    }
}

static void got_line(uv_poll_t *poll, int status, int events)
{
    char line[256];
    (void)poll, (void)status, (void)events;
    if (read(0, line, sizeof(line)) <= 0)
        fail("standard input ended");
    if (client.in_streams && client.done < client.streams) {
        client.waiting = false;
        client.next_mark += client.mark;
        open_streams();
    } else {
        if (client.in_streams)
            printf("done\n");
        close_sessions();
    }
    turn_end(&client.turn);
}

static void timer_fired(uv_timer_t *timer)
{
    (void)timer;
    timers_run(client.env.timers);
}

static void udp_closed(void *user)
{
    (void)user;
    client.udp = NULL;
    uv_close((uv_handle_t *)&client.prepare, NULL);
    uv_close((uv_handle_t *)&client.timer, NULL);
}

static void before_sleep(uv_prepare_t *prepare)
{
    (void)prepare;
    turn_end(&client.turn);
    uint64_t next = timers_next(client.env.timers), now = now_ns(NULL);
    if (next == TIMERS_NEVER)
        uv_timer_stop(&client.timer);
    else
        uv_timer_start(&client.timer, timer_fired, next > now ? (next - now) / NS_PER_MS + 1 : 0,
                       0);
    bool over =
        client.closing && client.closed == client.wanted && wt_host_connections(client.host) == 0;
    if (over && client.udp && !client.ending) {
        client.ending = true;
        udp_close(client.udp);
    }
}

static void packet_received(void *user, const struct packet *p)
{
    (void)user;
    if (client.endpoint)
        endpoint_receive(client.endpoint, p);
}

static void transmit(void *user, const struct packet *p)
{
    (void)user;
    if (client.udp)
        udp_send(client.udp, p);
}

static const struct udp_ops udp_ops = {.received = packet_received, .closed = udp_closed};
static const struct endpoint_ops endpoint_ops = {.transmit = transmit};

static void start(const struct packet_address *to)
{
    char error[256];
    client.env = (struct env){.timers = timers_new(now_ns, NULL),
                              .turn = &client.turn,
                              .stats = &client.stats,
                              .log = &client.log,
                              .memory = &client.memory};
    budget_init(&client.memory, NULL, UINT64_MAX, &client.stats.memory_bytes);
    turn_init(&client.turn);
    log_init(&client.log, 2, getenv("CLIENT_LOG") ? LOG_DEBUG : LOG_OFF);
    tls_random(client.env.hash_key, sizeof(client.env.hash_key));
    uv_loop_init(&client.loop);
    uv_prepare_init(&client.loop, &client.prepare);
    uv_prepare_start(&client.prepare, before_sleep);
    uv_timer_init(&client.loop, &client.timer);
    uv_poll_init(&client.loop, &client.input, 0);
    uv_poll_start(&client.input, UV_READABLE, got_line);

    struct udp_config udp_config = {.kernel_buffer = 4 << 20, .send_backlog = 4 << 20};
    udp_config.bind.len = to->len;
    udp_config.bind.sa.any.sa_family = to->sa.any.sa_family;
    client.udp =
        udp_open(&client.env, &client.loop, &udp_config, &udp_ops, NULL, error, sizeof(error));
    if (!client.udp)
        fail(error);
    struct endpoint_config endpoint_config = {.workers = 1};
    tls_random(endpoint_config.reset_key, sizeof(endpoint_config.reset_key));
    client.endpoint = endpoint_new(&client.env, &endpoint_config, &endpoint_ops, NULL);
    client.tls = tls_context_new_client(NULL, error, sizeof(error));
    struct wt_config config = {
        .tls = client.tls,
        .connection_window = 1 << 20,
        .stream_window = 1 << 18,
        .max_streams_bidi = 100,
        .max_streams_uni = 100,
        .stream_send_limit = 1 << 16,
        .datagram_queue = 16,
        .max_header_bytes = 1 << 14,
        .idle_timeout_ns = 60 * NS_PER_S,
        .keep_alive_ns = 10 * NS_PER_S,
        .handshake_timeout_ns = 60 * NS_PER_S,
        .settings_timeout_ns = 60 * NS_PER_S,
        .close_timeout_ns = 30 * NS_PER_S,
    };
    if (!config.tls)
        fail(error);
    client.host = wt_host_new(&client.env, client.endpoint, &config, &ops, NULL);
    udp_start(client.udp);
}

static void connect_sessions(const char *authority, const char *path,
                             const struct packet_address *to, size_t count)
{
    client.sessions = calloc(count, sizeof(*client.sessions));
    if (!client.sessions)
        abort();
    for (size_t i = 0; i < count; i++) {
        struct session *s = &client.sessions[i];
        s->wt = wt_connect(client.host, &to->sa.any, to->len, authority, path, NULL, 0, s);
        if (!s->wt)
            fail("cannot connect");
    }
}

static size_t number(const char *text)
{
    size_t n = strtoul(text, NULL, 10);
    if (n == 0)
        fail("a number is expected");
    return n;
}

/* HOST:PORT with a numeric host, IPv6 in brackets. */
static struct packet_address parse(const char *text)
{
    struct packet_address to = {0};
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        fail("HOST:PORT is expected");
    int port = atoi(colon + 1);
    bool v6 = text[0] == '[';
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - 2 * v6, text + v6);
    int rv = v6 ? uv_ip6_addr(host, port, &to.sa.v6) : uv_ip4_addr(host, port, &to.sa.v4);
    to.len = v6 ? sizeof(to.sa.v6) : sizeof(to.sa.v4);
    if (rv != 0)
        fail("the host must be an address");
    return to;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 5)
        fail("usage: client HOST:PORT PATH sessions N | streams N AT_ONCE MARK");
    struct packet_address to = parse(argv[1]);
    client.wanted = 1;
    if (strcmp(argv[3], "sessions") == 0) {
        client.wanted = number(argv[4]);
    } else if (strcmp(argv[3], "streams") == 0 && argc == 7) {
        client.in_streams = true;
        client.streams = number(argv[4]);
        client.at_once = number(argv[5]);
        client.mark = client.next_mark = number(argv[6]);
    } else {
        fail("sessions N, or streams N AT_ONCE MARK, is expected");
    }
    start(&to);
    connect_sessions(argv[1], argv[2], &to, client.wanted);
    uv_run(&client.loop, UV_RUN_DEFAULT);
    wt_host_free(client.host);
    endpoint_free(client.endpoint);
    tls_context_free(client.tls);
    timers_free(client.env.timers);
    free(client.sessions);
    const struct stats_row *alive = stats_alive(&client.stats);
    if (alive)
        fail(alive->sentence);
    return uv_loop_close(&client.loop) == 0 ? 0 : 1;
}
