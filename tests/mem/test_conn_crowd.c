/*
 * test_conn_crowd - many clients at once: nobody is lost, and nobody makes the server remember
 * much.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/stats.h"
#include "front/conn_internal.h" /* to see who was sent a Retry */
#include "support/world.h"

#define CROWD    1000
#define UNPROVEN 128 /* as in world.c */

struct member {
    struct conn *conn;
    bool established, closed;
    enum fault fault;
};

struct crowd {
    struct world *w;
    struct world_host *server_host, *client_host;
    struct conn_hub *server, *client;
    struct member members[CROWD];
    size_t established, closed, at_server;
};

static void *on_accepted(void *hub_user, struct conn *c)
{
    (void)c;
    ((struct crowd *)hub_user)->at_server++;
    return NULL;
}

static struct crowd *the_crowd;

static enum fault on_established(void *user)
{
    struct member *m = user;
    if (m) {
        m->established = true;
        the_crowd->established++;
    }
    return FAULT_NONE;
}

static bool on_pull(void *user, struct conn_piece *piece)
{
    (void)user;
    (void)piece;
    return false;
}

static void on_available(void *user, bool unidirectional)
{
    (void)user;
    (void)unidirectional;
}

static void on_datagram_max(void *user, size_t max)
{
    (void)user;
    (void)max;
}

static void on_closed(void *user, const struct conn_end *end)
{
    struct member *m = user;
    if (m) {
        m->closed = true;
        m->fault = end->fault;
        the_crowd->closed++;
    }
}

static const struct conn_ops ops = {
    .accepted = on_accepted,
    .established = on_established,
    .streams_available = on_available,
    .datagram_max_changed = on_datagram_max,
    .pull = on_pull,
    .closed = on_closed,
};

static struct crowd *crowd_new(uint64_t seed)
{
    struct crowd *c = calloc(1, sizeof(*c));
    socklen_t len;
    struct conn_config config = {.max_data = 100000,
                                 .max_stream_data = 10000,
                                 .max_streams_bidi = 10,
                                 .max_streams_uni = 10,
                                 .idle_timeout_ns = 30 * NS_PER_S,
                                 .handshake_timeout_ns = 20 * NS_PER_S};
    assert_non_null(c);
    the_crowd = c;
    c->w = world_new(seed);
    c->server_host = world_host(c->w, "server");
    c->client_host = world_host(c->w, "client");
    config.tls = world_tls_client(c->w);
    c->client =
        conn_hub_new(world_env(c->client_host), world_endpoint(c->client_host), &config, &ops, c);
    config.tls = world_tls_server(c->w);
    config.is_server = true;
    c->server =
        conn_hub_new(world_env(c->server_host), world_endpoint(c->server_host), &config, &ops, c);
    const struct sockaddr *to = world_address(c->server_host, &len);
    for (size_t i = 0; i < CROWD; i++) {
        c->members[i].conn = conn_connect(c->client, to, len, "localhost", &c->members[i]);
        assert_non_null(c->members[i].conn);
    }
    return c;
}

static bool all_gone(void *arg)
{
    struct crowd *c = arg;
    return conn_hub_count(c->server) == 0 && conn_hub_count(c->client) == 0;
}

static void crowd_free(struct crowd *c)
{
    conn_hub_close_all(c->client, 0x100, "");
    assert_true(world_run_until(c->w, all_gone, c, 60 * NS_PER_S));
    assert_int_equal(c->closed, CROWD);
    conn_hub_free(c->client);
    conn_hub_free(c->server);
    world_free(c->w);
    free(c);
}

static bool all_established(void *arg)
{
    struct crowd *c = arg;
    return c->established == CROWD &&
           world_env(c->server_host)->stats->handshakes_completed == CROWD;
}

static void all_get_in(void **state)
{
    struct crowd *c = crowd_new(1);
    size_t proved = 0;
    (void)state;
    world_set_link(c->w, &(struct world_link){
                             .delay_ns = 10 * NS_PER_MS, .jitter_ns = NS_PER_MS, .loss = 0.01});
    assert_true(world_run_until(c->w, all_established, c, 60 * NS_PER_S));
    for (size_t i = 0; i < CROWD; i++)
        proved += ngtcp2_conn_after_retry(c->members[i].conn->quic) != 0;
    assert_true(proved > CROWD / 2);
    assert_true(proved <= CROWD - UNPROVEN / 2);
    assert_int_equal(c->at_server, CROWD);
    crowd_free(c);
}

/* As if all the addresses were forged: no answer ever arrives. */
static void forged_addresses_fill_no_memory(void **state)
{
    struct crowd *c = crowd_new(1);
    (void)state;
    world_settle(c->w);
    world_set_link(c->w, &(struct world_link){.loss = 1});
    world_run_for(c->w, NS_PER_S);
    assert_int_equal(conn_hub_count(c->server), UNPROVEN);
    assert_true(world_run_until(c->w, all_gone, c, 60 * NS_PER_S));
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(c->members[i].fault, FAULT_HANDSHAKE_TIMEOUT);
    crowd_free(c);
}

/* An Initial packet with ids of these lengths, a token that nobody gave, and noise. */
static size_t write_stray_initial(uint8_t *to, size_t dcid_len, size_t token_len)
{
    uint8_t *at = to;
    memset(to, 0x5a, 1200);
    memcpy(at, "\xc3\x00\x00\x00\x01", 5);
    at += 5;
    *at++ = (uint8_t)dcid_len;
    at += dcid_len;
    *at++ = 8;
    at += 8;
    *at++ = (uint8_t)token_len;
    at += token_len;
    size_t rest = 1200 - (size_t)(at + 2 - to);
    at[0] = (uint8_t)(0x40 | rest >> 8);
    at[1] = (uint8_t)rest;
    return 1200;
}

/* RFC 9000, section 7.2: the id that a client makes up has at least 8 bytes. */
static void initials_with_short_ids_are_dropped(void **state)
{
    struct crowd *c = crowd_new(1);
    struct stats *stats = world_env(c->server_host)->stats;
    uint8_t bytes[1200];
    struct packet p = {.data = bytes};
    socklen_t len;
    (void)state;
    const struct sockaddr *to = world_address(c->server_host, &len);
    packet_address_set(&p.local, to, len);
    to = world_address(c->client_host, &len);
    packet_address_set(&p.remote, to, len);
    for (size_t dcid_len = 0; dcid_len <= 20; dcid_len++) {
        for (size_t token_len = 0; token_len <= 32; token_len += 16) {
            uint64_t dropped = stats->packets_dropped;
            p.len = write_stray_initial(bytes, dcid_len, token_len);
            endpoint_receive(world_endpoint(c->server_host), &p);
            world_settle(c->w);
            assert_int_equal(stats->packets_dropped - dropped, dcid_len < 8);
        }
    }
    assert_true(world_run_until(c->w, all_established, c, 60 * NS_PER_S));
    crowd_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(initials_with_short_ids_are_dropped),
        cmocka_unit_test(all_get_in),
        cmocka_unit_test(forged_addresses_fill_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
