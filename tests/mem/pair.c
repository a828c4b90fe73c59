/*
 * pair - makes the two hosts and drives them.
 */
#include "pair.h"

#include <assert.h>
#include <stdlib.h>

#include "base/timers.h"

struct wt_config pair_config(void)
{
    return (struct wt_config){
        .connection_window = 1024 * 1024,
        .stream_window = 256 * 1024,
        .max_streams_bidi = 100,
        .max_streams_uni = 100,
        .stream_send_limit = 256 * 1024,
        .datagram_queue = 64,
        .early_streams = 16,
        .max_header_bytes = 16 * 1024,
        .idle_timeout_ns = 30 * NS_PER_S,
        .keep_alive_ns = 10 * NS_PER_S,
        .handshake_timeout_ns = 10 * NS_PER_S,
        .settings_timeout_ns = 5 * NS_PER_S,
        .close_timeout_ns = 3 * NS_PER_S,
    };
}

static void add_host(struct pair *p, struct peer *peer, struct world_host *host,
                     const struct wt_config *config, bool is_server)
{
    struct wt_config c = *config;
    c.is_server = is_server;
    c.tls = is_server ? world_tls_server(p->world) : world_tls_client(p->world);
    peer->host = wt_host_new(world_env(host), world_endpoint(host), &c, &peer_ops, peer);
}

struct pair *pair_new_with(uint64_t seed, bool bad, const struct wt_config *server_config)
{
    struct wt_config client_config = pair_config();
    return pair_new_both(seed, bad, server_config, &client_config);
}

struct pair *pair_new_both(uint64_t seed, bool bad, const struct wt_config *server_config,
                           const struct wt_config *client_config)
{
    struct pair *p = calloc(1, sizeof(*p));
    assert(p);
    p->world = world_new(seed);
    if (bad)
        world_set_bad_link(p->world);
    p->server_host = world_host(p->world, "server");
    p->client_host = world_host(p->world, "client");
    add_host(p, &p->server, p->server_host, server_config, true);
    add_host(p, &p->client, p->client_host, client_config, false);
    return p;
}

struct pair *pair_new(uint64_t seed, bool bad)
{
    struct wt_config config = pair_config();
    return pair_new_with(seed, bad, &config);
}

void pair_connect(struct pair *p, const char *path, const struct header *headers, size_t count)
{
    socklen_t len;
    const struct sockaddr *to = world_address(p->server_host, &len);
    p->client_session = peer_connect(&p->client, to, len, path, headers, count);
}

static bool step_done(void *arg)
{
    struct pair *p = arg;
    peer_pump(&p->server);
    peer_pump(&p->client);
    return p->done(p);
}

bool pair_run(struct pair *p, bool (*done)(struct pair *p))
{
    p->done = done;
    return world_run_until(p->world, step_done, p, 120 * NS_PER_S);
}

void pair_run_for(struct pair *p, uint64_t ns)
{
    world_run_for(p->world, ns);
}

struct pair *pair_open(uint64_t seed, bool bad, enum peer_behaviour behaviour)
{
    struct pair *p = pair_new(seed, bad);
    p->server.behaviour = behaviour;
    pair_connect(p, "/chat?x=1", NULL, 0);
    bool opened = pair_run(p, pair_both_open);
    assert(opened);
    (void)opened;
    return p;
}

struct peer_session *pair_server_session(const struct pair *p)
{
    assert(p->server.session_count > 0);
    return p->server.sessions[p->server.session_count - 1];
}

struct stats *pair_server_stats(const struct pair *p)
{
    return world_env(p->server_host)->stats;
}

bool pair_both_open(struct pair *p)
{
    return p->client_session->responded && p->server.session_count > 0;
}

bool pair_both_closed(struct pair *p)
{
    return p->client_session->closed && p->server.session_count > 0 &&
           pair_server_session(p)->closed;
}

static bool nobody_is_left(struct pair *p)
{
    return wt_host_connections(p->server.host) == 0 && wt_host_connections(p->client.host) == 0;
}

void pair_free(struct pair *p)
{
    wt_host_close_all(p->client.host);
    wt_host_close_all(p->server.host);
    bool ended = pair_run(p, nobody_is_left);
    assert(ended);
    (void)ended;
    wt_host_free(p->client.host);
    wt_host_free(p->server.host);
    world_free(p->world);
    peer_fini(&p->client);
    peer_fini(&p->server);
    free(p);
}
