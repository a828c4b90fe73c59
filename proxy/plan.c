/*
 * plan - translates settings. Owns the arrays that workers point to. Calls nobody.
 */
#include "plan.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timers.h"
#include "config/keys.h"
#include "config/print.h"

enum { READ_BUDGET = 256 * 1024, STAGE_MIN = 256 * 1024 };

/* For an application to finish a large frame where memory is short: see back/link_in.c. */
#define FRAME_TIMEOUT (30 * NS_PER_S)

static void *take(size_t count, size_t size)
{
    void *at = calloc(count ? count : 1, size);
    assert(at);
    return at;
}

/* --- clients --- */

static uint64_t largest_app_stream_window(const struct config *c)
{
    uint64_t most = 0;

    for (size_t i = 0; i < c->route_count; i++)
        if (c->routes[i].app_stream_window > most)
            most = c->routes[i].app_stream_window;
    return most;
}

static struct wt_config wt_config_of(const struct config *c, struct tls_context *tls)
{
    return (struct wt_config){.tls = tls,
                              .is_server = true,
                              .connection_window = c->connection_window,
                              .stream_window = c->stream_window,
                              .connection_memory = c->connection_memory,
                              .max_streams_bidi = c->max_streams,
                              .max_streams_uni = c->max_streams,
                              /* what the application may send, and the stream's header */
                              .stream_send_limit = largest_app_stream_window(c) + 64,
                              .datagram_queue = c->datagram_queue,
                              .datagram_ttl_ns = c->datagram_ttl,
                              .connection_sessions = c->connection_sessions,
                              .early_streams = c->early_streams,
                              .max_header_bytes = c->max_header,
                              .idle_timeout_ns = c->idle_timeout,
                              .keep_alive_ns = c->keep_alive,
                              .handshake_timeout_ns = c->handshake_timeout,
                              .settings_timeout_ns = c->settings_timeout,
                              .close_timeout_ns = c->close_timeout};
}

enum { BURST_SECONDS = 5 };

static uint64_t share_of(uint64_t all, unsigned workers)
{
    return (all + workers - 1) / workers;
}

static struct rate_limit rate_limit_of(uint64_t per_second, unsigned workers)
{
    uint64_t share = share_of(per_second, workers);
    return (struct rate_limit){.per_second = share, .burst = BURST_SECONDS * share};
}

static struct clients_limit clients_limit_of(uint64_t most, uint64_t per_second, unsigned workers)
{
    return (struct clients_limit){.most = (size_t)share_of(most, workers),
                                  .rate = rate_limit_of(per_second, workers)};
}

static struct clients_config clients_config_of(const struct config *c, unsigned workers)
{
    return (struct clients_config){
        .limits = {[CLIENTS_CONNECTION] =
                       clients_limit_of(c->client_connections, c->client_connection_rate, workers),
                   [CLIENTS_SESSION] =
                       clients_limit_of(c->client_sessions, c->client_session_rate, workers)},
        .ipv6_prefix = (unsigned)c->client_ipv6_prefix};
}

/* --- listeners --- */

static struct intake_limits intake_limits_of(const struct config *c,
                                             const struct plan_ground *ground)
{
    struct intake_limits limits = {
        .unproven = c->unproven_handshakes,
        .all = {.connections = ground->max_connections, .handshakes = c->max_handshakes}};

    for (size_t i = 0; i < INTAKE_LISTENERS; i++)
        limits.listeners[i].is_retired = ground->listeners->is_retired[i];
    for (size_t i = 0; i < c->listener_count; i++) {
        const struct config_listener *l = &c->listeners[i];
        limits.listeners[ground->listeners->number[i]] =
            (struct intake_limit){.connections = share_of(l->max_connections, ground->workers),
                                  .handshakes = share_of(l->max_handshakes, ground->workers),
                                  .rate = rate_limit_of(l->connection_rate, ground->workers)};
    }
    return limits;
}

/* --- applications --- */

static const enum pool_policy policies[] = {
    [CONFIG_BALANCE_LEAST_SESSIONS] = POOL_LEAST_SESSIONS,
    [CONFIG_BALANCE_ROUND_ROBIN] = POOL_ROUND_ROBIN,
    [CONFIG_BALANCE_RANDOM_TWO] = POOL_RANDOM_TWO,
    [CONFIG_BALANCE_HASH] = POOL_HASH,
};

static const enum affinity_by affinities[] = {
    [CONFIG_HASH_CLIENT] = AFFINITY_CLIENT,
    [CONFIG_HASH_PATH] = AFFINITY_PATH,
    [CONFIG_HASH_HEADER] = AFFINITY_HEADER,
    [CONFIG_HASH_COOKIE] = AFFINITY_COOKIE,
};

static struct upstream_probe probe_of(const struct relay_probe *p, const struct config_backend *b)
{
    return (struct upstream_probe){.kind = b->probe == CONFIG_PROBE_ACCEPT ? UPSTREAM_PROBE_ACCEPT
                                                                           : UPSTREAM_PROBE_CONNECT,
                                   .interval_ns = b->probe_interval,
                                   .timeout_ns = b->probe_timeout,
                                   .hello = p->hello,
                                   .hello_len = p->hello_len,
                                   .is_accepted = relay_probe_is_accepted,
                                   .farewell = p->farewell,
                                   .farewell_len = p->farewell_len};
}

/* NULL: plain bytes, as all datagrams are. */
static struct pipe_tls *tls_of(const struct config_backend *b, enum upstream_socket socket)
{
    const struct pipe_tls_config config = {.ca = b->tls_ca, .name = b->tls_name};

    return b->tls && socket == UPSTREAM_STREAM ? pipe_tls_new(&config) : NULL;
}

static struct upstream_config upstream_config_of(const struct relay_probe *p,
                                                 const struct config *c,
                                                 const struct config_backend *b,
                                                 enum upstream_socket socket, unsigned workers)
{
    const struct config_texts *addresses =
        socket == UPSTREAM_DATAGRAM ? &b->datagrams : &b->addresses;
    /* The scope, sent as one frame, may be several times as long as the request: its path stands in
     * it twice, and invalid bytes grow to three. */
    size_t scope = 4 * c->max_header + 16384;

    return (struct upstream_config){.name = b->name,
                                    .socket = socket,
                                    .addresses = addresses->at,
                                    .address_count = addresses->count,
                                    .tls = tls_of(b, socket),
                                    .connect_timeout_ns = b->connect_timeout,
                                    .linger_timeout_ns = b->linger_timeout,
                                    .frame_timeout_ns = FRAME_TIMEOUT,
                                    .max_frame = b->max_frame,
                                    .stage_size = scope > STAGE_MIN ? scope : STAGE_MIN,
                                    .read_budget = READ_BUDGET,
                                    .policy = policies[b->balance],
                                    .max_sessions = share_of(b->max_address_sessions, workers),
                                    .attempts = (unsigned)b->attempts,
                                    .queue_max = share_of(b->queue, workers),
                                    .queue_timeout_ns = b->queue_timeout,
                                    .health = {.failures = (unsigned)b->failures,
                                               .pause_first_ns = b->rest_first,
                                               .pause_last_ns = b->rest_last,
                                               .slow_start_ns = b->slow_start},
                                    .probe = probe_of(p, b),
                                    .resolve_interval_ns = b->resolve_interval};
}

/* What upstream_config_of looks at. */
static char *identity_of(const struct config *c, size_t i, const struct upstream_config *upstream)
{
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    assert(to);
    fprintf(to, "max_header: %" PRIu64 "\nsocket: %d\ntls_ca: %s\n", c->max_header,
            (int)upstream->socket, upstream->tls ? pipe_tls_digest(upstream->tls) : "");
    print_backend(c, i, to);
    fclose(to);
    return text;
}

/* Those of the workers: a bridge has one for streams, one for datagrams, or both. */
static size_t add_backend(struct plan *p, const struct relay_probe *probe, const struct config *c,
                          size_t i, enum upstream_socket socket, unsigned workers)
{
    const struct config_backend *b = &c->backends[i];
    size_t place = p->settings.backend_count;

    if ((socket == UPSTREAM_DATAGRAM ? b->datagrams.count : b->addresses.count) == 0)
        return BRIDGE_NONE;
    p->backends[place].upstream = upstream_config_of(probe, c, b, socket, workers);
    p->backends[place].identity = identity_of(c, i, &p->backends[place].upstream);
    p->settings.backend_count++;
    return place;
}

static void add_backends(struct plan *p, const struct relay_probe *probe, const struct config *c,
                         unsigned workers)
{
    p->upstreams = take(c->backend_count, sizeof(p->upstreams[0]));
    p->backends = take(2 * c->backend_count, sizeof(p->backends[0]));
    for (size_t i = 0; i < c->backend_count; i++) {
        p->upstreams[i].streams = add_backend(p, probe, c, i, UPSTREAM_STREAM, workers);
        p->upstreams[i].datagrams = add_backend(p, probe, c, i, UPSTREAM_DATAGRAM, workers);
    }
    p->settings.backends = p->backends;
}

/* --- routes --- */

static struct relay_headers headers_of(const struct config_headers *add,
                                       const struct config_texts *strip)
{
    struct header *headers = take(add->count, sizeof(headers[0]));

    for (size_t i = 0; i < add->count; i++)
        headers[i] = (struct header){.name = (const uint8_t *)add->at[i].name,
                                     .name_len = strlen(add->at[i].name),
                                     .value = (const uint8_t *)add->at[i].value,
                                     .value_len = strlen(add->at[i].value)};
    return (struct relay_headers){.strip = strip ? strip->at : NULL,
                                  .strip_count = strip ? strip->count : 0,
                                  .add = headers,
                                  .add_count = add->count};
}

static struct admission_route admission_route_of(const struct config *c,
                                                 const struct config_route *r,
                                                 const struct config_backend *b, unsigned workers)
{
    return (struct admission_route){
        .name = r->name,
        .entry = (size_t)(r - c->routes),
        .route = {.hosts = r->hosts.at,
                  .host_count = r->hosts.count,
                  .path = r->path,
                  .path_prefix = r->path_prefix},
        .rules = {.origins = r->origins.at,
                  .origin_count = r->origins.count,
                  .require_origin = r->require_origin},
        .max_sessions = (size_t)share_of(r->max_sessions, workers),
        .session_rate = rate_limit_of(r->session_rate, workers),
        .forwarded = {.kind = (enum forwarded_kind)r->forwarded,
                      .trusted = c->trusted_proxies.at,
                      .trusted_count = c->trusted_proxies.count},
        .affinity = {.by = affinities[b->hash_by], .name = b->hash_name}};
}

static struct relay_route relay_route_of(const struct config *c, const struct config_route *r,
                                         const struct config_backend *b, size_t upstream)
{
    return (struct relay_route){
        .upstream = upstream,
        .root_path = r->root_path,
        .to_app = headers_of(&r->add_request_headers, &r->strip_request_headers),
        .to_client = headers_of(&r->add_response_headers, &r->strip_response_headers),
        .stream_window = r->app_stream_window,
        .session_window = r->app_session_window,
        .session_memory = r->session_memory,
        .max_pending_streams = r->max_pending_streams,
        .max_frame = b->max_frame,
        .datagram_queue = c->datagram_queue,
        .datagram_ttl_ns = c->datagram_ttl,
        .accept_timeout_ns = r->accept_timeout,
        .linger_timeout_ns = b->linger_timeout,
        .stall_timeout_ns = r->stall_timeout,
        .lost_code = (uint32_t)r->lost_code};
}

static const enum bridge_proxy_protocol proxy_protocols[] = {
    [CONFIG_PROXY_PROTOCOL_NONE] = BRIDGE_PROXY_NONE,
    [CONFIG_PROXY_PROTOCOL_V1] = BRIDGE_PROXY_V1,
    [CONFIG_PROXY_PROTOCOL_V2] = BRIDGE_PROXY_V2,
};

static struct bridge_route bridge_route_of(const struct config *c, const struct config_route *r,
                                           const struct config_backend *b,
                                           const struct plan_upstreams *upstreams)
{
    const struct relay_headers to_client = headers_of(&r->add_response_headers, NULL);

    return (struct bridge_route){.streams = upstreams->streams,
                                 .datagrams = upstreams->datagrams,
                                 .tls = b->tls,
                                 .proxy_protocol = proxy_protocols[r->proxy_protocol],
                                 .to_client = to_client.add,
                                 .to_client_count = to_client.add_count,
                                 .stream_window = r->app_stream_window,
                                 .session_window = r->app_session_window,
                                 .session_memory = r->session_memory,
                                 .datagram_queue = c->datagram_queue,
                                 .datagram_idle_ns = b->datagram_idle_timeout,
                                 .linger_timeout_ns = b->linger_timeout};
}

/* The path of a target: its name stands where the route's says {name}. */
static char *path_of(const struct config_route *r, const struct config_target *target)
{
    size_t len = strlen(r->path) - strlen(CONFIG_PATH_NAME);
    char *path = take(len + strlen(target->name) + 1, 1);

    memcpy(path, r->path, len);
    memcpy(path + len, target->name, strlen(target->name));
    return path;
}

static void add_route(struct plan *p, const struct config *c, const struct config_route *r,
                      size_t way, unsigned workers)
{
    const struct config_backend *b = config_route_way(c, r, way);
    const struct plan_upstreams *u = &p->upstreams[b - c->backends];
    size_t place = p->settings.admission.route_count++;
    struct admission_route *route = &p->routes[place];

    *route = admission_route_of(c, r, b, workers);
    if (r->targets.count)
        route->route.path = p->paths[place] = path_of(r, &r->targets.at[way]);
    if (b->kind == CONFIG_BACKEND_APP) {
        p->relays[place] = relay_route_of(c, r, b, u->streams);
        route->relay = &p->relays[place];
    } else {
        p->bridges[place] = bridge_route_of(c, r, b, u);
        route->bridge = &p->bridges[place];
    }
}

/* Those of one entry stand together: see admission.h. */
static void add_routes(struct plan *p, const struct config *c, unsigned workers)
{
    size_t count = 0;

    for (size_t i = 0; i < c->route_count; i++)
        count += config_route_ways(&c->routes[i]);
    p->routes = take(count, sizeof(p->routes[0]));
    p->relays = take(count, sizeof(p->relays[0]));
    p->bridges = take(count, sizeof(p->bridges[0]));
    p->paths = take(count, sizeof(p->paths[0]));
    for (size_t i = 0; i < c->route_count; i++)
        for (size_t way = 0; way < config_route_ways(&c->routes[i]); way++)
            add_route(p, c, &c->routes[i], way, workers);
    p->settings.admission.routes = p->routes;
}

void plan_init(struct plan *p, const struct config *config, const struct plan_ground *ground,
               const struct relay_probe *probe, struct tls_context *tls)
{
    unsigned workers = ground->workers;

    p->settings = (struct worker_settings){
        .wt = wt_config_of(config, tls),
        .admission = {.max_sessions = ground->max_sessions, .max_sockets = ground->max_sockets},
        .intake = intake_limits_of(config, ground),
        .drain_timeout_ns = config->drain_timeout,
        .clients = clients_config_of(config, workers),
        .log_level = (enum log_level)config->log_level};
    add_backends(p, probe, config, workers);
    add_routes(p, config, workers);
}

void plan_worker(const struct plan *p, const struct config *config, unsigned workers,
                 uint64_t memory, struct worker_config *to)
{
    to->settings = &p->settings;
    to->count = workers;
    to->memory = memory / workers;
    to->no_offload = !config->offload;
}

bool plan_check(const struct plan *p, char *error, size_t error_size)
{
    for (size_t i = 0; i < p->settings.backend_count; i++) {
        const struct upstream_config *upstream = &p->backends[i].upstream;
        const char *why = "";
        if (upstream_check(upstream, &why))
            continue;
        snprintf(error, error_size, "backend %s: %s", upstream->name, why);
        return false;
    }
    return true;
}

void plan_fini(struct plan *p)
{
    for (size_t i = 0; i < p->settings.admission.route_count; i++) {
        free((struct header *)p->relays[i].to_app.add);
        free((struct header *)p->relays[i].to_client.add);
        free((struct header *)p->bridges[i].to_client);
        free(p->paths[i]);
    }
    for (size_t i = 0; i < p->settings.backend_count; i++) {
        free((char *)p->backends[i].identity);
        pipe_tls_free(p->backends[i].upstream.tls);
    }
    free(p->routes);
    free(p->relays);
    free(p->bridges);
    free(p->paths);
    free(p->backends);
    free(p->upstreams);
    *p = (struct plan){.routes = NULL};
}
