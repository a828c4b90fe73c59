/*
 * Streams of a bridge with random ends, over a network that loses, before services on real sockets
 * that do anything at any time. After every turn Sluice holds no more than its windows, and the
 * gauges and budgets say what is really there; at the end nothing is left.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "back/upstream.h"
#include "base/budget.h"
#include "base/timers.h"
#include "bridge_internal.h"
#include "mem/held.h"
#include "mem/pair.h"
#include "mem/peer.h"
#include "reception_internal.h"
#include "support/settings.h"
#include "support/world.h"
#include "unit/cmocka_all.h"

#define KIB      ((size_t)1024)
#define SERVICES 400 /* connections of one play */
#define STREAMS  60  /* of one session */
#define CLIENTS  3
#define DEEDS    1000
#define MOST     (100 * KIB) /* of one piece */

/* A service's end of a connection. */
struct service {
    int fd; /* -1: closed */
    bool deaf;
    size_t to_write;
};

struct play {
    struct world *world;
    struct world_host *server_host, *client_host;
    struct wt_host *server;
    struct peer client;
    uv_loop_t loop;
    int listener;
    struct upstream *upstream;
    struct bridge_route bridged;
    struct admission_route route;
    struct reception *reception;
    struct peer_session *sessions[CLIENTS];
    struct service services[SERVICES];
    size_t service_count, checks;
};

static uint8_t bytes[MOST];

static uint64_t any(const struct play *p, uint64_t below)
{
    return world_random(p->world, below);
}

/* --- what must always be true --- */

static void check_stream(const struct bridge_stream *st, struct held_sums *sums, size_t *seats)
{
    uint64_t queue = recvq_held(&st->queue);
    sums->receive_bytes += queue;
    *seats += st->seat.upstream != NULL;
    held_require(st->account.held <= st->account.window.size);
    if (st->down == BRIDGE_DOWN_OVER)
        held_require(st->account.held == 0);
    else
        held_require(st->account.held == held_to_send(st->wt));
    if (st->wt)
        held_require(held_uncredited(st->wt) == queue);
    held_require(!st->up_over || queue == 0);
    held_require(st->state != BRIDGE_OVER || !st->pipe);
}

static void check_session(const struct bridge_session *s, struct held_sums *sums, size_t *seats)
{
    uint64_t held = 0, count = 0;
    const struct bridge_stream *st;
    LIST_FOREACH (st, &s->streams, entry) {
        check_stream(st, sums, seats);
        held += st->account.held;
        count++;
    }
    held_require(s->account.held == held);
    held_require(held <= s->account.window.size + count * BRIDGE_STREAM_LEAST);
    held_require(s->account.window.size + count * BRIDGE_STREAM_COST <= s->memory.used);
    *seats += s->seat.upstream != NULL;
    sums->datagrams += s->outgoing.count;
    sums->memory += s->memory.used;
}

static void turn_ended(void *arg)
{
    struct play *p = arg;
    const struct env *env = world_env(p->server_host);
    const struct bridge *b = p->reception->bridge;
    struct held_sums sums = held_by_front(p->server);
    const struct bridge_session *s;
    size_t seats = 0;
    LIST_FOREACH (s, &b->sessions, entry)
        check_session(s, &sums, &seats);
    held_require(seats == b->connections && seats <= b->max_connections);
    held_require(sums.send_bytes == env->stats->send_bytes);
    held_require(sums.receive_bytes == env->stats->receive_bytes);
    held_require(sums.datagrams == env->stats->datagrams);
    held_require(sums.memory == env->memory->used);
    p->checks++;
}

/* --- services --- */

static void reset_service(struct service *s)
{
    const struct linger hard = {1, 0};
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(s->fd);
    s->fd = -1;
}

static void close_service(struct service *s)
{
    close(s->fd);
    s->fd = -1;
}

static bool read_some(struct service *s)
{
    static uint8_t got[64 << 10];
    if (s->fd < 0 || s->deaf)
        return false;
    ssize_t n = read(s->fd, got, sizeof got);
    if (n < 0 && errno != EAGAIN)
        close_service(s);
    return n > 0;
}

static bool write_some(struct service *s)
{
    if (s->fd < 0 || s->to_write == 0)
        return false;
    ssize_t n = send(s->fd, bytes, s->to_write < MOST ? s->to_write : MOST, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        close_service(s);
    if (n > 0)
        s->to_write -= (size_t)n;
    return n > 0;
}

static bool accept_some(struct play *p)
{
    int fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return false;
    assert_true(p->service_count < SERVICES);
    p->services[p->service_count++] = (struct service){.fd = fd, .to_write = any(p, 3) * 40 * KIB};
    return true;
}

static void service_does(struct play *p)
{
    if (p->service_count == 0)
        return;
    struct service *s = &p->services[any(p, p->service_count)];
    if (s->fd < 0)
        return;
    switch (any(p, 12)) {
    case 0:
        reset_service(s);
        break;
    case 1:
        close_service(s);
        break;
    case 2:
    case 3:
        shutdown(s->fd, SHUT_WR);
        break;
    case 4:
        s->deaf = true;
        break;
    case 5:
    case 6:
        s->deaf = false;
        break;
    default:
        s->to_write += any(p, MOST);
    }
}

/* --- clients --- */

static void client_connects(struct play *p, size_t i)
{
    socklen_t len;
    const struct sockaddr *to = world_address(p->server_host, &len);
    if (p->client.session_count < PEER_SESSIONS)
        p->sessions[i] = peer_connect(&p->client, to, len, "/", NULL, 0);
}

static void client_ends(struct play *p, struct peer_session *s)
{
    if (any(p, 2))
        wt_close(s->wt, 3, "enough", 6);
    else
        wt_abort(s->wt);
}

static void reset_stream(struct peer_stream *st)
{
    wt_stream_reset(st->wt, 5);
    st->out_len = st->out_at = 0;
    st->out_end = false;
    st->stopped = true; /* there is no half left to send on */
}

static void stream_does(struct play *p, struct peer_stream *st)
{
    bool may_send = !st->stopped && !st->out_end && !st->all_acked;
    switch (any(p, 10)) {
    case 0:
        if (may_send)
            reset_stream(st);
        break;
    case 1:
        if (!st->unidirectional && !st->fin && !st->reset)
            wt_stream_stop(st->wt, 6);
        st->reset = true;
        break;
    case 2:
        st->stuck = true;
        break;
    case 3:
    case 4:
        if (st->stuck)
            peer_unstick(st);
        break;
    default:
        if (may_send && st->out_at == st->out_len)
            peer_send(st, bytes, any(p, MOST), any(p, 2) * 3000, any(p, 4) == 0);
    }
}

static void client_does(struct play *p)
{
    size_t i = any(p, CLIENTS);
    struct peer_session *s = p->sessions[i];
    if (!s || s->closed) {
        client_connects(p, i);
        return;
    }
    if (!s->responded || !s->wt)
        return;
    if (any(p, 150) == 0) {
        client_ends(p, s);
        p->sessions[i] = NULL;
        return;
    }
    if (any(p, 2) == 0 && s->stream_count < STREAMS && p->service_count + 40 < SERVICES)
        peer_open(s, any(p, 4) == 0);
    if (any(p, 4) == 0)
        wt_datagram_send(s->wt, bytes, any(p, 1000)); /* there is no service for them */
    if (s->stream_count > 0) {
        struct peer_stream *st = s->streams[any(p, s->stream_count)];
        if (st->wt)
            stream_does(p, st);
    }
}

/* --- the play --- */

static void pump(struct play *p)
{
    for (int quiet = 0; quiet < 2;) {
        world_settle(p->world);
        peer_pump(&p->client);
        uv_run(&p->loop, UV_RUN_NOWAIT);
        world_settle(p->world);
        bool busy = accept_some(p);
        for (size_t i = 0; i < p->service_count; i++) {
            busy |= read_some(&p->services[i]);
            busy |= write_some(&p->services[i]);
        }
        quiet = busy ? 0 : quiet + 1;
    }
}

static bool once(void *arg)
{
    int *calls = arg;
    return (*calls)++ == 1;
}

static bool step(struct play *p)
{
    int calls = 0;
    return world_run_until(p->world, once, &calls, 120 * NS_PER_S);
}

static void listen_at(struct play *p, char *address, size_t size)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof in;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(p->listener, SERVICES), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&in, &len), 0);
    snprintf(address, size, "tcp:127.0.0.1:%u", (unsigned)ntohs(in.sin_port));
}

static void begin(struct play *p, uint64_t seed)
{
    char text[64], *address = text;
    const char *error;
    p->world = world_new(seed);
    world_set_bad_link(p->world);
    p->server_host = world_host(p->world, "server");
    p->client_host = world_host(p->world, "client");
    uv_loop_init(&p->loop);
    listen_at(p, text, sizeof text);
    struct upstream_config up = {UPSTREAM_SETTINGS};
    up.addresses = (const char *const *)&address;
    up.address_count = 1;
    up.max_sessions = 12; /* so that streams wait, too */
    p->upstream = upstream_new(world_env(p->server_host), &p->loop, &up, &error);
    assert_non_null(p->upstream);
    p->bridged = (struct bridge_route){.datagrams = BRIDGE_NONE,
                                       .stream_window = 32 * KIB,
                                       .session_window = 96 * KIB,
                                       .datagram_queue = 8,
                                       .linger_timeout_ns = 3 * NS_PER_S};
    p->route = (struct admission_route){.name = "default", .bridge = &p->bridged};
    const struct admission_config admission = {
        .routes = &p->route, .route_count = 1, .max_sessions = 16, .max_sockets = 30};
    p->reception = reception_new(world_env(p->server_host), &p->upstream, &admission);
    struct wt_config config = pair_config();
    config.is_server = true;
    config.tls = world_tls_server(p->world);
    p->server = wt_host_new(world_env(p->server_host), world_endpoint(p->server_host), &config,
                            reception_wt_ops(), p->reception);
    config.is_server = false;
    config.tls = world_tls_client(p->world);
    p->client.host = wt_host_new(world_env(p->client_host), world_endpoint(p->client_host), &config,
                                 &peer_ops, &p->client);
    world_on_turn(p->world, turn_ended, p);
}

static void end(struct play *p)
{
    for (size_t i = 0; i < p->service_count; i++)
        if (p->services[i].fd >= 0 && any(p, 2))
            close_service(&p->services[i]); /* of the others some never end */
    reception_close_all(p->reception);
    upstream_stop(p->upstream);
    wt_host_close_all(p->client.host);
    wt_host_close_all(p->server);
    for (;;) {
        pump(p);
        if (!reception_count(p->reception) && !wt_host_connections(p->server) &&
            !wt_host_connections(p->client.host))
            break;
        assert_true(step(p));
    }
    world_on_turn(p->world, NULL, NULL);
    for (size_t i = 0; i < p->service_count; i++)
        if (p->services[i].fd >= 0)
            close_service(&p->services[i]);
    close(p->listener);
    wt_host_free(p->server);
    wt_host_free(p->client.host);
    reception_free(p->reception);
    upstream_free(p->upstream);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0);
    world_free(p->world); /* every gauge is 0 */
    peer_fini(&p->client);
}

static void play(uint64_t seed)
{
    struct play *p = calloc(1, sizeof *p);
    assert_non_null(p);
    begin(p, seed);
    for (int i = 0; i < DEEDS; i++) {
        if (any(p, 3) == 0)
            service_does(p);
        else
            client_does(p);
        pump(p);
        for (uint64_t steps = any(p, 8); steps > 0; steps--) {
            step(p);
            pump(p);
        }
    }
    assert_true(p->checks > DEEDS);
    end(p);
    free(p);
}

static void streams_end_in_every_way(void **state)
{
    (void)state;
    world_each_seed(play);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_end_in_every_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
