#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "config_text.h"
#include "plan.h"

/* Every value differs from all others and from its default. */
static const char text[] = "certificates: [{cert: auto}]\n"
                           "listeners:\n"
                           "  - {address: ':0', max_connections: 70, max_handshakes: 71, "
                           "connection_rate: 75}\n"
                           "  - {address: ':1'}\n"
                           "  - {address: ':0', max_connections: 72}\n"
                           "backends:\n"
                           "  other: {addresses: unix:/other}\n"
                           "  app:\n"
                           "    addresses: [unix:/app, tcp:host:1]\n"
                           "    connect_timeout: 11s\n"
                           "    linger_timeout: 12s\n"
                           "    max_frame: 210KiB\n"
                           "    balance: hash\n"
                           "    hash_by: cookie\n"
                           "    hash_name: id\n"
                           "    max_address_sessions: 60\n"
                           "    queue: 61\n"
                           "    queue_timeout: 62s\n"
                           "    attempts: 7\n"
                           "    failures: 63\n"
                           "    rest_first: 64s\n"
                           "    rest_last: 65s\n"
                           "    slow_start: 66s\n"
                           "    probe: accept\n"
                           "    probe_interval: 67s\n"
                           "    probe_timeout: 68s\n"
                           "    resolve_interval: 69s\n"
                           "routes:\n"
                           "  - name: chat\n"
                           "    backend: app\n"
                           "    hosts: [a.example, b.example]\n"
                           "    path: /path\n"
                           "    origins: https://c.example\n"
                           "    require_origin: true\n"
                           "    root_path: /root\n"
                           "    add_request_headers: {x-a: b}\n"
                           "    strip_request_headers: [x-c, x-d]\n"
                           "    add_response_headers: {x-e: f, x-g: h}\n"
                           "    strip_response_headers: x-i\n"
                           "    max_sessions: 31\n"
                           "    session_rate: 76\n"
                           "    session_memory: 1201KiB\n"
                           "    app_session_window: 302KiB\n"
                           "    app_stream_window: 103KiB\n"
                           "    max_pending_streams: 32\n"
                           "    accept_timeout: 13s\n"
                           "    stall_timeout: 14s\n"
                           "    lost_code: 33\n"
                           "  - {backend: other, path_prefix: /prefix, app_stream_window: 104KiB}\n"
                           "unproven_handshakes: 73\n"
                           "max_handshakes: 74\n"
                           "udp_buffer: 105KiB\n"
                           "offload: false\n"
                           "connection_memory: 1106KiB\n"
                           "max_streams: 34\n"
                           "max_header: 47KiB\n"
                           "connection_window: 308KiB\n"
                           "stream_window: 109KiB\n"
                           "connection_sessions: 45\n"
                           "early_streams: 35\n"
                           "datagram_queue: 36\n"
                           "datagram_ttl: 15s\n"
                           "idle_timeout: 50s\n"
                           "keep_alive: 17s\n"
                           "handshake_timeout: 18s\n"
                           "settings_timeout: 19s\n"
                           "close_timeout: 20s\n"
                           "drain_timeout: 21s\n"
                           "client_connections: 40\n"
                           "client_connection_rate: 41\n"
                           "client_sessions: 42\n"
                           "client_session_rate: 43\n"
                           "client_ipv6_prefix: 44\n";

/* Likewise. */
static const char text_of_bridges[] = "certificates: [{cert: auto}]\n"
                                      "backends:\n"
                                      "  both:\n"
                                      "    kind: bridge\n"
                                      "    addresses: [unix:/a, tcp:b:1]\n"
                                      "    datagrams: udp:c:2\n"
                                      "    attempts: 7\n"
                                      "  dns: {kind: bridge, datagrams: [udp:d:3, udp:e:4]}\n"
                                      "  app: {addresses: unix:/f, hash_by: path}\n"
                                      "  redis: {kind: bridge, addresses: tcp:g:5}\n"
                                      "routes:\n"
                                      "  - path: /t/{name}\n"
                                      "    targets: {a: app, b.c: redis, d: app}\n"
                                      "    hosts: h.example\n"
                                      "    max_sessions: 12\n"
                                      "  - {backend: app, path: /app}\n"
                                      "  - {backend: both}\n";

#define S   UINT64_C(1000000000)
#define KIB UINT64_C(1024)

struct world {
    struct config *config;
    struct listening_map listeners;
    struct plan plan;
    struct worker_config worker;
    const struct worker_settings *settings;
};

static void begin(struct world *w, unsigned workers)
{
    static const struct relay_probe probe;

    const struct plan_ground ground = {.workers = workers,
                                       .max_sessions = 51,
                                       .max_connections = 53,
                                       .max_sockets = 54,
                                       .listeners = &w->listeners};
    plan_init(&w->plan, w->config, &ground, &probe, NULL);
    plan_worker(&w->plan, w->config, workers, 52, &w->worker);
    w->settings = &w->plan.settings;
}

static int setup_with(void **state, const char *from)
{
    struct world *w = calloc(1, sizeof(*w));
    char error[512];

    w->config = config_text_read(from, strlen(from), error, sizeof(error));
    if (!w->config)
        fail_msg("%s", error);
    w->listeners.number[1] = 1;
    w->listeners.number[2] = 2;
    begin(w, 1);
    *state = w;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, text);
}

static int setup_bridges(void **state)
{
    return setup_with(state, text_of_bridges);
}

static int teardown(void **state)
{
    struct world *w = *state;

    plan_fini(&w->plan);
    config_free(w->config);
    free(w);
    return 0;
}

static void test_clients(void **state)
{
    const struct world *w = *state;
    const struct worker_settings *c = w->settings;

    assert_ptr_equal(w->worker.settings, w->settings);
    assert_int_equal(w->worker.count, 1);
    assert_int_equal(w->worker.memory, 52);
    assert_true(w->worker.no_offload);
    assert_int_equal(c->admission.max_sessions, 51);
    assert_true(c->wt.is_server);
    assert_int_equal(c->wt.connection_memory, 1106 * KIB);
    assert_int_equal(c->wt.max_streams_bidi, 34);
    assert_int_equal(c->wt.max_streams_uni, 34);
    assert_int_equal(c->wt.max_header_bytes, 47 * KIB);
    assert_int_equal(c->wt.connection_window, 308 * KIB);
    assert_int_equal(c->wt.stream_window, 109 * KIB);
    assert_int_equal(c->wt.connection_sessions, 45);
    assert_int_equal(c->wt.early_streams, 35);
    assert_int_equal(c->wt.datagram_queue, 36);
    assert_int_equal(c->admission.routes[0].relay->datagram_queue, 36);
    assert_int_equal(c->wt.datagram_ttl_ns, 15 * S);
    assert_int_equal(c->admission.routes[0].relay->datagram_ttl_ns, 15 * S);
    assert_int_equal(c->wt.idle_timeout_ns, 50 * S);
    assert_int_equal(c->wt.keep_alive_ns, 17 * S);
    assert_int_equal(c->wt.handshake_timeout_ns, 18 * S);
    assert_int_equal(c->wt.settings_timeout_ns, 19 * S);
    assert_int_equal(c->wt.close_timeout_ns, 20 * S);
    assert_int_equal(c->drain_timeout_ns, 21 * S);
    /* as much as the largest of the routes lets an application send, and a stream's header */
    assert_int_equal(c->wt.stream_send_limit, 104 * KIB + 64);
}

static void assert_limit(const struct intake_limit *limit, size_t connections, size_t handshakes)
{
    assert_int_equal(limit->connections, connections);
    assert_int_equal(limit->handshakes, handshakes);
}

static void test_listeners(void **state)
{
    struct world *w = *state;
    const struct intake_limits *intake = &w->settings->intake;

    assert_int_equal(intake->unproven, 73);
    assert_limit(&intake->all, 53, 74);
    assert_limit(&intake->listeners[0], 70, 71);
    assert_int_equal(intake->listeners[0].rate.per_second, 75);
    assert_int_equal(intake->listeners[0].rate.burst, 5 * 75);
    assert_limit(&intake->listeners[1], 0, 0);
    assert_int_equal(intake->listeners[1].rate.per_second, 0);
    assert_limit(&intake->listeners[2], 72, 0);
    plan_fini(&w->plan);
    begin(w, 4);
    assert_limit(&intake->all, 53, 74); /* a worker's own already */
    assert_limit(&intake->listeners[0], 18, 18);
    assert_int_equal(intake->listeners[0].rate.per_second, 19);
}

static void test_listeners_by_their_numbers(void **state)
{
    struct world *w = *state;
    const struct intake_limits *intake = &w->settings->intake;

    w->listeners = (struct listening_map){.number = {5, 0, 2}, .is_retired = {[3] = true}};
    plan_fini(&w->plan);
    begin(w, 1);
    assert_limit(&intake->listeners[5], 70, 71);
    assert_limit(&intake->listeners[0], 0, 0);
    assert_limit(&intake->listeners[2], 72, 0);
    for (size_t i = 0; i < INTAKE_LISTENERS; i++)
        assert_int_equal(intake->listeners[i].is_retired, i == 3);
}

static void test_client_addresses(void **state)
{
    const struct world *w = *state;
    const struct clients_config *c = &w->settings->clients;

    assert_int_equal(c->limits[CLIENTS_CONNECTION].most, 40);
    assert_int_equal(c->limits[CLIENTS_CONNECTION].rate.per_second, 41);
    assert_int_equal(c->limits[CLIENTS_SESSION].most, 42);
    assert_int_equal(c->limits[CLIENTS_SESSION].rate.per_second, 43);
    assert_int_equal(c->ipv6_prefix, 44);
}

static void test_applications(void **state)
{
    const struct world *w = *state;
    const struct upstream_config *u = &w->settings->backends[1].upstream;

    assert_int_equal(w->settings->backend_count, 2);
    assert_string_equal(w->settings->backends[0].upstream.addresses[0], "unix:/other");
    assert_int_equal(u->address_count, 2);
    assert_string_equal(u->addresses[0], "unix:/app");
    assert_string_equal(u->addresses[1], "tcp:host:1");
    assert_int_equal(u->connect_timeout_ns, 11 * S);
    assert_int_equal(u->linger_timeout_ns, 12 * S);
    assert_int_equal(u->max_frame, 210 * KIB);
    assert_string_equal(u->name, "app");
    assert_int_equal(u->policy, POOL_HASH);
    assert_int_equal(u->max_sessions, 60);
    assert_int_equal(u->queue_max, 61);
    assert_int_equal(u->queue_timeout_ns, 62 * S);
    assert_int_equal(u->attempts, 7);
    assert_int_equal(u->health.failures, 63);
    assert_int_equal(u->health.pause_first_ns, 64 * S);
    assert_int_equal(u->health.pause_last_ns, 65 * S);
    assert_int_equal(u->health.slow_start_ns, 66 * S);
    assert_int_equal(u->probe.kind, UPSTREAM_PROBE_ACCEPT);
    assert_int_equal(u->probe.interval_ns, 67 * S);
    assert_int_equal(u->probe.timeout_ns, 68 * S);
    assert_int_equal(u->resolve_interval_ns, 69 * S);
    assert_int_equal(w->settings->admission.routes[0].affinity.by, AFFINITY_COOKIE);
    assert_string_equal(w->settings->admission.routes[0].affinity.name, "id");
    assert_true(u->stage_size >= 4 * 47 * KIB);
}

static void assert_bytes(const uint8_t *at, size_t len, const char *expected)
{
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(at, expected, len);
}

static void test_a_route(void **state)
{
    const struct world *w = *state;
    const struct admission_route *r = &w->settings->admission.routes[0];
    const struct relay_route *relay = r->relay;

    assert_int_equal(w->settings->admission.route_count, 2);
    assert_string_equal(r->name, "chat");
    assert_int_equal(relay->upstream, 1);
    assert_int_equal(r->route.host_count, 2);
    assert_string_equal(r->route.hosts[1], "b.example");
    assert_string_equal(r->route.path, "/path");
    assert_string_equal(w->settings->admission.routes[1].route.path_prefix, "/prefix");
    assert_int_equal(r->rules.origin_count, 1);
    assert_string_equal(r->rules.origins[0], "https://c.example");
    assert_true(r->rules.require_origin);
    assert_string_equal(relay->root_path, "/root");
    assert_int_equal(r->max_sessions, 31);
    assert_int_equal(r->session_rate.per_second, 76);
    assert_int_equal(relay->session_memory, 1201 * KIB);
    assert_int_equal(relay->session_window, 302 * KIB);
    assert_int_equal(relay->stream_window, 103 * KIB);
    assert_int_equal(relay->max_pending_streams, 32);
    assert_int_equal(relay->accept_timeout_ns, 13 * S);
    assert_int_equal(relay->stall_timeout_ns, 14 * S);
    assert_int_equal(relay->lost_code, 33);
    /* and what is its backend's */
    assert_int_equal(relay->max_frame, 210 * KIB);
    assert_int_equal(relay->linger_timeout_ns, 12 * S);
}

static void test_headers_of_a_route(void **state)
{
    const struct world *w = *state;
    const struct relay_route *r = w->settings->admission.routes[0].relay;

    assert_int_equal(r->to_app.add_count, 1);
    assert_bytes(r->to_app.add[0].name, r->to_app.add[0].name_len, "x-a");
    assert_bytes(r->to_app.add[0].value, r->to_app.add[0].value_len, "b");
    assert_int_equal(r->to_app.strip_count, 2);
    assert_string_equal(r->to_app.strip[1], "x-d");
    assert_int_equal(r->to_client.add_count, 2);
    assert_bytes(r->to_client.add[1].value, r->to_client.add[1].value_len, "h");
    assert_int_equal(r->to_client.strip_count, 1);
    assert_string_equal(r->to_client.strip[0], "x-i");
}

static void test_workers_share(void **state)
{
    struct world *w = *state;

    plan_fini(&w->plan);
    begin(w, 4);
    assert_int_equal(w->worker.count, 4);
    assert_int_equal(w->worker.memory, 13);
    assert_int_equal(w->settings->admission.routes[0].max_sessions, 8);
    assert_int_equal(w->settings->admission.routes[1].max_sessions, 0); /* no limit stays none */
    assert_int_equal(w->settings->clients.limits[CLIENTS_CONNECTION].most, 10);
}

static void test_what_makes_a_backend_another_one(void **state)
{
    struct world *w = *state;
    char *before = strdup(w->settings->backends[1].identity);

    assert_string_not_equal(before, w->settings->backends[0].identity);
    plan_fini(&w->plan);
    begin(w, 1);
    assert_string_equal(w->settings->backends[1].identity, before);
    plan_fini(&w->plan);
    w->config->backends[1].max_frame++;
    begin(w, 1);
    assert_string_not_equal(w->settings->backends[1].identity, before);
    free(before);
}

static void test_checks_addresses(void **state)
{
    struct world *w = *state;
    char error[256];

    assert_true(plan_check(&w->plan, error, sizeof(error)));
    w->config->backends[1].addresses.at[1] = "nonsense";
    plan_fini(&w->plan);
    begin(w, 1);
    assert_false(plan_check(&w->plan, error, sizeof(error)));
    assert_string_equal(error, "backend app: an application's address is "
                               "unix:PATH or tcp:HOST:PORT");
}

static void test_addresses_of_bridges(void **state)
{
    struct world *w = *state;
    const struct worker_backend *b = w->settings->backends;
    char error[256];

    assert_int_equal(w->settings->backend_count, 5);
    assert_string_equal(b[0].upstream.name, "both");
    assert_int_equal(b[0].upstream.socket, UPSTREAM_STREAM);
    assert_int_equal(b[0].upstream.address_count, 2);
    assert_string_equal(b[0].upstream.addresses[1], "tcp:b:1");
    assert_string_equal(b[1].upstream.name, "both");
    assert_int_equal(b[1].upstream.socket, UPSTREAM_DATAGRAM);
    assert_int_equal(b[1].upstream.address_count, 1);
    assert_string_equal(b[1].upstream.addresses[0], "udp:c:2");
    assert_int_equal(b[1].upstream.attempts, 7);
    assert_string_not_equal(b[0].identity, b[1].identity);
    assert_string_equal(b[2].upstream.name, "dns");
    assert_int_equal(b[2].upstream.socket, UPSTREAM_DATAGRAM);
    assert_int_equal(b[2].upstream.address_count, 2);
    assert_string_equal(b[3].upstream.name, "app");
    assert_string_equal(b[4].upstream.name, "redis");
    assert_true(plan_check(&w->plan, error, sizeof(error)));
}

/* What the file of trusted certificates has in it is part of what the backend is. */
static void test_trusted_certificates(void **state)
{
    struct world *w = *state;
    struct config_backend *b = &w->config->backends[0];
    char file[] = "/tmp/test_plan.XXXXXX", error[256], wanted[256];
    int fd = mkstemp(file);

    assert_true(fd >= 0);
    assert_null(w->settings->backends[0].upstream.tls);
    plan_fini(&w->plan);
    b->tls = true;
    b->tls_ca = file;
    b->tls_name = "service.example";
    begin(w, 1);
    char *before = strdup(w->settings->backends[0].identity);
    const struct pipe_tls *tls = w->settings->backends[0].upstream.tls;
    assert_string_equal(pipe_tls_name(tls), "service.example");
    assert_null(w->settings->backends[1].upstream.tls); /* datagrams */
    assert_false(plan_check(&w->plan, error, sizeof(error)));
    snprintf(wanted, sizeof(wanted),
             "backend both: the trusted certificates in %s: there is no certificate (PEM) in it",
             file);
    assert_string_equal(error, wanted);
    plan_fini(&w->plan);
    begin(w, 1);
    assert_string_equal(w->settings->backends[0].identity, before);
    plan_fini(&w->plan);
    assert_int_equal(write(fd, "another", 7), 7);
    begin(w, 1);
    assert_string_not_equal(w->settings->backends[0].identity, before);
    free(before);
    close(fd);
    unlink(file);
}

static void test_targets_become_routes(void **state)
{
    const struct world *w = *state;
    const struct admission_route *r = w->settings->admission.routes;
    static const char *const paths[] = {"/t/a", "/t/b.c", "/t/d"};

    assert_int_equal(w->settings->admission.route_count, 5);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(r[i].route.path, paths[i]);
        assert_string_equal(r[i].route.hosts[0], "h.example");
        assert_null(r[i].route.path_prefix);
        /* They are counted as one, and each has the limit. */
        assert_string_equal(r[i].name, "t");
        assert_int_equal(r[i].entry, 0);
        assert_int_equal(r[i].max_sessions, 12);
    }
    assert_int_equal(r[0].relay->upstream, 3);
    assert_null(r[1].relay);
    assert_int_equal(r[2].relay->upstream, 3);
    assert_int_equal(r[2].affinity.by, AFFINITY_PATH);
    assert_int_equal(r[1].affinity.by, AFFINITY_CLIENT);
    assert_int_equal(r[3].entry, 1);
    assert_string_equal(r[3].route.path, "/app");
    assert_int_equal(r[3].relay->upstream, 3);
}

int main(void)
{
#define BRIDGES(name) cmocka_unit_test_setup_teardown(name, setup_bridges, teardown)
#define TEST(name)    cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_clients),
        TEST(test_listeners),
        TEST(test_listeners_by_their_numbers),
        TEST(test_client_addresses),
        TEST(test_applications),
        TEST(test_a_route),
        TEST(test_headers_of_a_route),
        TEST(test_workers_share),
        TEST(test_what_makes_a_backend_another_one),
        TEST(test_checks_addresses),
        BRIDGES(test_addresses_of_bridges),
        BRIDGES(test_trusted_certificates),
        BRIDGES(test_targets_become_routes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
