/*
 * relay_world - see relay_world.h. Owns the world, both hosts, the loop, the relay and the
 * application's sockets.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "mem/relay_world.h"
#include "support/settings.h"

struct rworld_config rworld_defaults(void)
{
    return (struct rworld_config){
        .wt = pair_config(),
        .max_sessions = 16,
        .route = {.datagram_queue = 32,
                  .stream_window = 64 << 10,
                  .session_window = 256 << 10,
                  .max_pending_streams = 8,
                  .max_frame = 1 << 20,
                  .accept_timeout_ns = 10 * NS_PER_S,
                  .linger_timeout_ns = 3 * NS_PER_S,
                  .stall_timeout_ns = 20 * NS_PER_S,
                  .lost_code = 0x1234},
        .upstream = {UPSTREAM_SETTINGS},
    };
}

static void listen_for_relay(struct rworld *w)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", w->path);
    w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int failed = bind(w->listener, (struct sockaddr *)&un, sizeof un) || listen(w->listener, 64);
    assert(!failed);
    (void)failed;
}

static struct wt_host *make_host(struct world_host *h, struct wt_config config, bool is_server,
                                 struct tls_context *tls, const struct wt_ops *ops, void *user)
{
    config.is_server = is_server;
    config.tls = tls;
    return wt_host_new(world_env(h), world_endpoint(h), &config, ops, user);
}

struct rworld *rworld_new(uint64_t seed, bool bad, const struct rworld_config *config)
{
    struct rworld *w = calloc(1, sizeof *w);
    assert(w);
    w->reads = true;
    w->world = world_new(seed);
    if (bad)
        world_set_bad_link(w->world);
    w->server_host = world_host(w->world, "server");
    w->client_host = world_host(w->world, "client");
    uv_loop_init(&w->loop);
    strcpy(w->dir, "/tmp/test_relay.XXXXXX");
    char *made = mkdtemp(w->dir);
    assert(made);
    (void)made;
    snprintf(w->path, sizeof w->path, "%s/app.sock", w->dir);
    snprintf(w->address, sizeof w->address, "unix:%s", w->path);
    listen_for_relay(w);
    struct upstream_config up = config->upstream;
    const char *address = w->address;
    up.addresses = &address;
    up.address_count = 1;
    const char *error;
    w->upstream = upstream_new(world_env(w->server_host), &w->loop, &up, &error);
    w->relayed = config->route;
    w->route = (struct admission_route){.name = "default", .relay = &w->relayed};
    const struct admission_config admission = {
        .routes = &w->route, .route_count = 1, .max_sessions = config->max_sessions};
    w->reception = reception_new(world_env(w->server_host), &w->upstream, &admission);
    w->server = make_host(w->server_host, config->wt, true, world_tls_server(w->world),
                          reception_wt_ops(), w->reception);
    struct wt_config client_config = pair_config();
    client_config.max_streams_bidi = config->wt.max_streams_bidi;
    client_config.max_streams_uni = config->wt.max_streams_uni;
    w->client.host = make_host(w->client_host, client_config, false, world_tls_client(w->world),
                               &peer_ops, &w->client);
    return w;
}

static void free_conn(struct app_conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    for (size_t i = 0; i < c->event_count; i++)
        free(c->events[i].body);
    free(c->events);
    message_decoder_free(c->decoder);
    message_decoder_free(c->scope_decoder);
    free(c->scope_body);
    free(c->in);
    free(c->out);
    free(c);
}

void rworld_free(struct rworld *w)
{
    w->reads = true;
    for (size_t i = 0; i < w->conn_count; i++)
        w->conns[i]->deaf = false;
    reception_close_all(w->reception);
    upstream_stop(w->upstream);
    wt_host_close_all(w->client.host);
    wt_host_close_all(w->server);
    for (;;) {
        rworld_pump(w);
        for (size_t i = 0; i < w->conn_count; i++)
            if (w->conns[i]->eof)
                app_crash(w->conns[i]);
        if (!reception_count(w->reception) && !wt_host_connections(w->server) &&
            !wt_host_connections(w->client.host))
            break;
        bool moved = rworld_step(w);
        assert(moved);
        (void)moved;
    }
    world_on_turn(w->world, NULL, NULL); /* from here on nobody can look into them */
    wt_host_free(w->server);
    wt_host_free(w->client.host);
    reception_free(w->reception);
    upstream_free(w->upstream);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    int busy = uv_loop_close(&w->loop);
    assert(!busy);
    (void)busy;
    world_free(w->world);
    peer_fini(&w->client);
    for (size_t i = 0; i < w->conn_count; i++)
        free_conn(w->conns[i]);
    if (w->listener >= 0)
        close(w->listener);
    unlink(w->path);
    rmdir(w->dir);
    free(w);
}

struct stats *rworld_stats(struct rworld *w)
{
    return world_env(w->server_host)->stats;
}

struct peer_session *rworld_connect(struct rworld *w, const char *path,
                                    const struct header *headers, size_t count)
{
    socklen_t len;
    const struct sockaddr *to = world_address(w->server_host, &len);
    return peer_connect(&w->client, to, len, path, headers, count);
}

/* --- the application --- */

static void grow(uint8_t **bytes, size_t *room, size_t need)
{
    if (need <= *room)
        return;
    *room = 2 * need;
    *bytes = realloc(*bytes, *room);
    assert(*bytes);
}

static void take_event(struct app_conn *c, const uint8_t *body, size_t len)
{
    uint8_t *copy = malloc(len);
    memcpy(copy, body, len);
    struct message_fault fault;
    if (!c->scope_body) {
        c->scope_body = copy;
        c->scope_len = len;
        bool good = message_decode_scope(c->scope_decoder, copy, len, &c->scope, &fault);
        if (!good)
            fprintf(stderr, "# scope: %s: %s\n", fault.code, fault.text);
        assert(good);
        return;
    }
    if (c->event_count == c->event_room) {
        c->event_room = 2 * c->event_room + 16;
        c->events = realloc(c->events, c->event_room * sizeof *c->events);
        assert(c->events);
    }
    struct app_event *e = &c->events[c->event_count++];
    e->body = copy;
    bool good = message_decode(c->decoder, copy, len, &e->m, &fault);
    assert(good && e->m.type != MESSAGE_UNKNOWN);
    (void)good;
    /* Disconnect is the last frame. */
    assert(c->event_count == 1 || e[-1].m.type != MESSAGE_DISCONNECT);
    if (c->w->on_event)
        c->w->on_event(c, e);
}

static void take_frames(struct app_conn *c)
{
    size_t at = 0;
    while (c->in_len - at >= 4) {
        const uint8_t *p = c->in + at;
        size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        assert(len > 0 && len <= 1 << 20);
        if (c->in_len - at - 4 < len)
            break;
        take_event(c, p + 4, len);
        at += 4 + len;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

static bool read_some(struct app_conn *c)
{
    if (c->fd < 0 || c->eof || c->deaf || !c->w->reads)
        return false;
    grow(&c->in, &c->in_room, c->in_len + 65536);
    ssize_t n = read(c->fd, c->in + c->in_len, 65536);
    if (n < 0)
        return false;
    c->eof = n == 0;
    c->in_len += (size_t)n;
    take_frames(c);
    return true;
}

static bool write_some(struct app_conn *c)
{
    if (c->fd < 0 || c->out_len == 0)
        return false;
    ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
    if (n <= 0)
        return false;
    memmove(c->out, c->out + n, c->out_len - (size_t)n);
    c->out_len -= (size_t)n;
    c->written += (uint64_t)n;
    return true;
}

static bool accept_some(struct rworld *w)
{
    int fd = w->listener >= 0 ? accept4(w->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    assert(w->conn_count < APP_CONNS);
    struct app_conn *c = calloc(1, sizeof *c);
    c->w = w;
    c->fd = fd;
    c->decoder = message_decoder_new(MESSAGE_FROM_SLUICE);
    c->scope_decoder = message_decoder_new(MESSAGE_FROM_SLUICE);
    w->conns[w->conn_count++] = c;
    return true;
}

static bool run_application(struct rworld *w)
{
    bool busy = accept_some(w);
    for (size_t i = 0; i < w->conn_count; i++) {
        busy |= read_some(w->conns[i]);
        busy |= write_some(w->conns[i]);
    }
    return busy;
}

void rworld_pump(struct rworld *w)
{
    for (int quiet = 0; quiet < 2;) {
        world_settle(w->world);
        peer_pump(&w->client);
        uv_run(&w->loop, UV_RUN_NOWAIT);
        world_settle(w->world);
        quiet = run_application(w) ? 0 : quiet + 1;
    }
}

static bool once(void *arg)
{
    int *calls = arg;
    return (*calls)++ == 1;
}

bool rworld_step(struct rworld *w)
{
    int calls = 0;
    return world_run_until(w->world, once, &calls, 120 * NS_PER_S);
}

void rworld_run_for(struct rworld *w, uint64_t ns)
{
    uint64_t end = world_now(w->world) + ns;
    for (;;) {
        rworld_pump(w);
        uint64_t now = world_now(w->world);
        int calls = 0;
        if (now >= end || !world_run_until(w->world, once, &calls, end - now))
            break;
    }
    rworld_pump(w);
}

struct app_conn *rworld_app(struct rworld *w, size_t n)
{
    return n < w->conn_count && w->conns[n]->scope_body ? w->conns[n] : NULL;
}

/* --- commands --- */

void app_raw(struct app_conn *c, const void *bytes, size_t len)
{
    grow(&c->out, &c->out_room, c->out_len + len);
    memcpy(c->out + c->out_len, bytes, len);
    c->out_len += len;
}

void app_frame(struct app_conn *c, const void *body, size_t len)
{
    const uint8_t length[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                               (uint8_t)len};
    app_raw(c, length, 4);
    app_raw(c, body, len);
}

void app_send(struct app_conn *c, const struct message *m)
{
    size_t len = message_encode(m, NULL, 0);
    uint8_t *body = malloc(len);
    size_t again = message_encode(m, body, len);
    assert(again == len);
    (void)again;
    app_frame(c, body, len);
    free(body);
}

void app_accept(struct app_conn *c)
{
    app_send(c, &(struct message){.type = MESSAGE_ACCEPT});
}

void app_stream(struct app_conn *c, uint64_t id, const void *data, size_t len, bool end)
{
    app_send(c, &(struct message){.type = MESSAGE_STREAM_SEND,
                                  .stream_id = {true, id},
                                  .data = {data, len},
                                  .end_stream = end});
}

void app_code(struct app_conn *c, enum message_type type, uint64_t id, uint32_t code)
{
    app_send(c, &(struct message){.type = type, .stream_id = {true, id}, .code = {true, code}});
}

void app_close(struct app_conn *c, uint32_t code, const char *reason)
{
    app_send(c, &(struct message){.type = MESSAGE_CLOSE,
                                  .code = {true, code},
                                  .reason = {reason, strlen(reason)}});
}

void app_crash(struct app_conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

/* --- what it got --- */

static bool is_wanted(const struct app_event *e, enum message_type type, uint64_t id)
{
    return e->m.type == type &&
           (id == APP_ANY || (e->m.stream_id.set && e->m.stream_id.value == id));
}

size_t app_count(const struct app_conn *c, enum message_type type, uint64_t id)
{
    size_t count = 0;
    for (size_t i = 0; c && i < c->event_count; i++)
        count += is_wanted(&c->events[i], type, id);
    return count;
}

const struct message *app_last(const struct app_conn *c, enum message_type type, uint64_t id)
{
    for (size_t i = c ? c->event_count : 0; i-- > 0;)
        if (is_wanted(&c->events[i], type, id))
            return &c->events[i].m;
    return NULL;
}

size_t app_received(const struct app_conn *c, uint64_t id, uint8_t *to, size_t cap)
{
    size_t len = 0;
    for (size_t i = 0; c && i < c->event_count; i++) {
        const struct app_event *e = &c->events[i];
        if (!is_wanted(e, MESSAGE_STREAM_RECEIVE, id))
            continue;
        if (to && len + e->m.data.len <= cap)
            memcpy(to + len, e->m.data.at, e->m.data.len);
        len += e->m.data.len;
    }
    return len;
}

bool app_ended(const struct app_conn *c, uint64_t id)
{
    const struct message *last = app_last(c, MESSAGE_STREAM_RECEIVE, id);
    return last && last->stream_ended;
}

bool text_is(struct message_text t, const char *expected)
{
    return t.len == strlen(expected) && (t.len == 0 || memcmp(t.at, expected, t.len) == 0);
}
