/*
 * test_conn - the life of a connection on a pretend network: beginnings, paths, datagrams, ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "front/conn_internal.h" /* one test looks inside */
#include "mem/conn_pair.h"

static void handshake_and_close(void **state)
{
    struct pair pair;
    uint16_t version, suite;
    (void)state;
    pair_setup(&pair, 1);
    conn_tls_info(pair.server.conn, &version, &suite);
    assert_int_equal(version, 0x0304);
    assert_int_equal(suite, 0x1301); /* AES-128-GCM */
    assert_true(conn_is_server(pair.server.conn));
    assert_false(conn_is_server(pair.client.conn));
    assert_int_equal(conn_hub_count(pair.server.hub), 1);
    conn_close(pair.client.conn, 0x1234, "so long");
    assert_true(pair_run_until(&pair, pair_closed, NS_PER_S));
    assert_true(pair.server.closed && pair.client.closed);
    assert_int_equal(pair.client.end.fault, FAULT_NONE);
    assert_false(pair.client.end.by_peer);
    assert_true(pair.server.end.by_peer && pair.server.end.application);
    assert_int_equal(pair.server.end.code, 0x1234);
    assert_int_equal(pair.server.end.fault, FAULT_PEER_CLOSED);
    assert_string_equal(pair.server.end.text, "so long");
    pair_free(&pair);
}

static void orderly_close_is_no_fault(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    conn_close(pair.server.conn, 0x100, "");
    assert_true(pair_run_until(&pair, pair_closed, NS_PER_S));
    assert_int_equal(pair.client.end.fault, FAULT_NONE);
    assert_int_equal(pair.client.end.code, 0x100);
    pair_free(&pair);
}

/* --- beginnings --- */

static void a_refused_established_ends_it(void **state)
{
    struct pair pair;
    (void)state;
    pair_begin(&pair, 1, &pair_config, &pair_config);
    pair.server.answer = FAULT_H3_PROTOCOL;
    assert_true(pair_run_until(&pair, pair_closed, 10 * NS_PER_S));
    assert_int_equal(pair.server.end.fault, FAULT_H3_PROTOCOL);
    assert_int_equal(pair.client.end.fault, FAULT_PEER_CLOSED);
    assert_int_equal(world_env(pair.server.host)->stats->faults[FAULT_H3_PROTOCOL], 1);
    pair_free(&pair);
}

static void a_wrong_certificate_is_refused(void **state)
{
    struct pair pair;
    struct world *other = world_new(2);
    struct conn_config config = pair_config;
    (void)state;
    config.tls = world_tls_client(other); /* trusts another hash */
    pair_begin(&pair, 1, &pair_config, &config);
    assert_true(pair_run_until(&pair, pair_closed, 60 * NS_PER_S));
    assert_int_equal(pair.client.end.fault, FAULT_TLS);
    assert_false(pair.client.end.by_peer);
    assert_int_equal(pair.server.end.fault, FAULT_TLS_BY_CLIENT);
    pair_free(&pair);
    world_free(other);
}

static void a_stopped_hub_refuses(void **state)
{
    struct pair pair;
    (void)state;
    pair_begin(&pair, 1, &pair_config, &pair_config);
    conn_hub_stop(pair.server.hub);
    assert_true(pair_run_until(&pair, pair_closed, 10 * NS_PER_S));
    assert_true(pair.client.end.by_peer);
    assert_int_equal(pair.client.end.code, 2); /* CONNECTION_REFUSED */
    assert_int_equal(world_env(pair.server.host)->stats->connections_accepted, 0);
    pair_free(&pair);
}

static void the_handshake_times_out(void **state)
{
    struct pair pair;
    (void)state;
    pair_begin(&pair, 1, &pair_config, &pair_config);
    world_set_link(pair.w, &(struct world_link){.loss = 1});
    assert_false(pair_run_until(&pair, pair_closed, pair_config.handshake_timeout_ns - 1));
    assert_true(pair_run_until(&pair, pair_closed, NS_PER_S));
    assert_int_equal(pair.client.end.fault, FAULT_HANDSHAKE_TIMEOUT);
    assert_false(pair.server.closed); /* never was one */
    pair_free(&pair);
}

/* A server that heard only the beginning forgets it, too, and never tells upward. */
static void half_a_handshake_times_out(void **state)
{
    struct pair pair;
    (void)state;
    pair_begin(&pair, 1, &pair_config, &pair_config);
    world_settle(pair.w);
    world_set_link(pair.w, &(struct world_link){.loss = 1});
    assert_true(pair_run_until(&pair, pair_closed, 20 * NS_PER_S));
    assert_int_equal(world_env(pair.server.host)->stats->connections_accepted, 1);
    assert_int_equal(world_env(pair.server.host)->stats->handshakes_completed, 0);
    assert_int_equal(world_env(pair.server.host)->stats->faults[FAULT_HANDSHAKE_TIMEOUT], 1);
    pair_free(&pair);
}

static void handshake_under_loss(uint64_t seed)
{
    struct pair pair;
    struct conn_config patient = pair_config;
    patient.handshake_timeout_ns = 60 * NS_PER_S;
    pair_begin(&pair, seed, &patient, &patient);
    world_set_link(pair.w, &(struct world_link){.delay_ns = 20 * NS_PER_MS,
                                                .jitter_ns = 20 * NS_PER_MS,
                                                .loss = 0.2,
                                                .duplication = 0.2});
    assert_true(pair_run_until(&pair, pair_established, 60 * NS_PER_S));
    pair_free(&pair);
}

static void handshakes_survive_heavy_loss(void **state)
{
    (void)state;
    world_each_seed(handshake_under_loss);
}

/* --- silence and ends --- */

static void silence_ends_it(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    assert_true(pair_run_until(&pair, pair_closed, 40 * NS_PER_S));
    assert_int_equal(pair.client.end.fault, FAULT_IDLE);
    assert_int_equal(pair.server.end.fault, FAULT_IDLE);
    assert_false(pair.server.end.by_peer);
    pair_free(&pair);
}

static void keep_alive_prevents_that(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    conn_keep_alive(pair.server.conn, true);
    world_run_for(pair.w, 600 * NS_PER_S);
    assert_false(pair.client.closed || pair.server.closed);
    conn_keep_alive(pair.server.conn, false);
    assert_true(pair_run_until(&pair, pair_closed, 60 * NS_PER_S));
    assert_int_equal(pair.server.end.fault, FAULT_IDLE);
    pair_free(&pair);
}

static bool client_closed(struct pair *pair)
{
    return pair->client.closed;
}

static bool server_closed(struct pair *pair)
{
    return pair->server.closed;
}

/* The CONNECTION_CLOSE is lost; a late packet is answered with another. */
static void a_lost_close_is_said_again(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    world_run_for(pair.w, NS_PER_S);
    world_set_link(pair.w, &(struct world_link){.loss = 1});
    conn_close(pair.server.conn, 0x107, "bye");
    assert_true(pair_run_until(&pair, server_closed, NS_PER_S));
    world_set_link(pair.w, &(struct world_link){.delay_ns = NS_PER_MS});
    flow_send(flow_open(&pair.client, true), 10);
    assert_true(pair_run_until(&pair, client_closed, NS_PER_S));
    assert_int_equal(pair.client.end.code, 0x107);
    assert_string_equal(pair.client.end.text, "bye");
    pair_free(&pair);
}

/* The address may be a victim's: a short packet earns no long answer (RFC 9000, section 8.1). */
static void a_close_is_no_more_than_three_times_what_asks_for_it(void **state)
{
    struct pair pair;
    uint8_t bytes[100] = {0x40};
    struct packet p = {.data = bytes};
    ngtcp2_cid ids[16];
    (void)state;
    pair_setup(&pair, 1);
    world_run_for(pair.w, NS_PER_S);
    assert_in_range(ngtcp2_conn_get_scid(pair.server.conn->quic, ids), 1, 16);
    memcpy(bytes + 1, ids[0].data, ENDPOINT_CID_LEN);
    conn_close(pair.server.conn, 0x107,
               "a reason of more than a hundred and twenty bytes, "
               "so that three times the shortest packet of a client's "
               "is less than the packet which says it");
    assert_true(pair_run_until(&pair, server_closed, NS_PER_S));
    const struct stats *stats = world_env(pair.server.host)->stats;
    uint64_t sent = stats->packets_sent;
    p.len = 21;
    endpoint_receive(world_endpoint(pair.server.host), &p);
    assert_int_equal(stats->packets_sent, sent);
    p.len = 100;
    endpoint_receive(world_endpoint(pair.server.host), &p);
    assert_int_equal(stats->packets_sent, sent + 1);
    pair_free(&pair);
}

/* The listener by which it came in is needed until then: packets may come that are to be answered.
 */
static void one_that_has_ended_counts_until_it_is_forgotten(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    assert_int_equal(conn_hub_count_of(pair.server.hub, 0), 1);
    assert_int_equal(conn_hub_count_of(pair.server.hub, 1), 0);
    conn_close(pair.server.conn, 0x100, "");
    assert_true(pair_run_until(&pair, pair_closed, NS_PER_S));
    assert_int_equal(conn_hub_count(pair.server.hub), 0);
    assert_int_equal(conn_hub_count_of(pair.server.hub, 0), 1);
    world_run_for(pair.w, 5 * NS_PER_S);
    assert_int_equal(conn_hub_count_of(pair.server.hub, 0), 0);
    pair_free(&pair);
}

/* The server has forgotten everything but its key. */
static void a_stateless_reset_ends_it(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    world_run_for(pair.w, NS_PER_S);
    world_set_link(pair.w, &(struct world_link){.loss = 1});
    conn_close(pair.server.conn, 0x100, "");
    assert_true(pair_run_until(&pair, server_closed, NS_PER_S));
    world_run_for(pair.w, 5 * NS_PER_S);
    world_set_link(pair.w, &(struct world_link){.delay_ns = NS_PER_MS});
    flow_send(flow_open(&pair.client, true), 1000);
    assert_true(pair_run_until(&pair, client_closed, NS_PER_S));
    assert_int_equal(pair.client.end.fault, FAULT_PEER_RESET);
    pair_free(&pair);
}

/* --- paths and datagrams --- */

static bool server_got_200000(struct pair *pair)
{
    struct flow *f = &pair->server.flows[2];
    return f->exists && f->fin_received && f->received == 200000;
}

static bool client_got_200000(struct pair *pair)
{
    struct flow *f = &pair->client.flows[3];
    return f->exists && f->fin_received && f->received == 200000;
}

/* New keys need no TLS session, which a server has freed by then. */
static void keys_can_be_updated(void **state)
{
    struct pair pair;
    uint16_t version, suite;
    (void)state;
    pair_setup(&pair, 1);
    world_run_for(pair.w, NS_PER_S);
    assert_null(pair.server.conn->tls);
    conn_tls_info(pair.server.conn, &version, &suite);
    assert_int_equal(version, 0x0304);
    assert_int_equal(suite, 0x1301);
    flow_send(flow_open(&pair.client, true), 200000);
    assert_int_equal(ngtcp2_conn_initiate_key_update(pair.client.conn->quic, world_now(pair.w)), 0);
    assert_true(pair_run_until(&pair, server_got_200000, 10 * NS_PER_S));
    /* as ngtcp2 does by itself before a key has sealed too much */
    world_run_for(pair.w, NS_PER_S);
    assert_int_equal(ngtcp2_conn_initiate_key_update(pair.server.conn->quic, world_now(pair.w)), 0);
    flow_send(flow_open(&pair.server, true), 200000);
    assert_true(pair_run_until(&pair, client_got_200000, 10 * NS_PER_S));
    pair_free(&pair);
}

static bool client_uni_arrived(struct pair *pair)
{
    struct flow *f = &pair->server.flows[2];
    return f->exists && f->fin_received && f->received == 2000000;
}

static void a_moving_client_is_followed(void **state)
{
    struct pair pair;
    struct sockaddr_storage local, before, after;
    (void)state;
    pair_setup(&pair, 1);
    world_run_for(pair.w, NS_PER_S);
    conn_addresses(pair.server.conn, &local, &before);
    struct flow *f = flow_open(&pair.client, true);
    assert_int_equal(f->id, 2);
    flow_send(f, 2000000);
    world_run_for(pair.w, 30 * NS_PER_MS);
    assert_false(client_uni_arrived(&pair));
    world_rebind(pair.client.host);
    assert_true(pair_run_until(&pair, client_uni_arrived, 60 * NS_PER_S));
    conn_addresses(pair.server.conn, &local, &after);
    assert_memory_not_equal(&before, &after, sizeof(before));
    pair_free(&pair);
}

static bool datagrams_sent(struct pair *pair)
{
    return pair->client.dgrams_to_send == 0 && pair->server.dgrams_to_send == 0;
}

static void send_datagrams(struct pair *pair, struct peer *from, size_t len, size_t count)
{
    static uint8_t data[2000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = PATTERN(99, i);
    from->dgram = data;
    from->dgram_len = len;
    from->dgrams_to_send = count;
    from->dgrams_gone = from->dgrams_sent = 0;
    conn_touch(from->conn);
    assert_true(pair_run_until(pair, datagrams_sent, 60 * NS_PER_S));
    world_run_for(pair->w, NS_PER_S);
}

static void datagrams_both_ways(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    send_datagrams(&pair, &pair.client, 100, 50);
    assert_int_equal(pair.server.dgrams_received, 50);
    assert_int_equal(pair.server.dgram_last_len, 100);
    send_datagrams(&pair, &pair.server, 0, 1);
    assert_int_equal(pair.client.dgrams_received, 1);
    assert_int_equal(pair.client.dgram_last_len, 0);
    pair_free(&pair);
}

static void the_largest_datagram_fits_and_no_larger(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    assert_int_equal(pair.client.dgram_max, conn_datagram_max(pair.client.conn));
    size_t before = pair.client.dgram_max;
    send_datagrams(&pair, &pair.client, before, 1);
    assert_int_equal(pair.server.dgrams_received, 1);
    world_run_for(pair.w, 5 * NS_PER_S); /* path MTU discovery */
    send_datagrams(&pair, &pair.client, 10, 1);
    world_run_for(pair.w, 5 * NS_PER_S);
    assert_true(pair.client.dgram_max > before + 200);
    send_datagrams(&pair, &pair.client, pair.client.dgram_max, 3);
    assert_int_equal(pair.server.dgrams_received, 5);
    assert_int_equal(pair.server.dgram_last_len, pair.client.dgram_max);
    send_datagrams(&pair, &pair.client, pair.client.dgram_max + 1, 3);
    assert_int_equal(pair.client.dgrams_gone, 3);
    assert_int_equal(pair.server.dgrams_received, 5);
    pair_free(&pair);
}

static void datagrams_can_be_off(void **state)
{
    struct pair pair;
    struct conn_config without = pair_config;
    (void)state;
    without.max_datagram_frame_size = 0;
    pair_begin(&pair, 1, &without, &pair_config);
    assert_true(pair_run_until(&pair, pair_established, 60 * NS_PER_S));
    assert_int_equal(conn_datagram_max(pair.client.conn), 0);
    assert_int_equal(conn_datagram_max(pair.server.conn) > 1000, 1);
    send_datagrams(&pair, &pair.client, 1, 1);
    assert_int_equal(pair.client.dgrams_gone, 1);
    pair_free(&pair);
}

/* Packets larger than the network takes: discovery settles below. */
static void a_small_path_is_found(void **state)
{
    struct pair pair;
    (void)state;
    pair_begin(&pair, 1, &pair_config, &pair_config);
    world_set_link(pair.w, &(struct world_link){.delay_ns = 10 * NS_PER_MS, .mtu = 1350});
    assert_true(pair_run_until(&pair, pair_established, 60 * NS_PER_S));
    flow_send(flow_open(&pair.client, true), 2000000);
    assert_true(pair_run_until(&pair, client_uni_arrived, 60 * NS_PER_S));
    assert_true(conn_datagram_max(pair.client.conn) < 1350);
    pair_free(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake_and_close),
        cmocka_unit_test(orderly_close_is_no_fault),
        cmocka_unit_test(a_refused_established_ends_it),
        cmocka_unit_test(a_wrong_certificate_is_refused),
        cmocka_unit_test(a_stopped_hub_refuses),
        cmocka_unit_test(the_handshake_times_out),
        cmocka_unit_test(half_a_handshake_times_out),
        cmocka_unit_test(handshakes_survive_heavy_loss),
        cmocka_unit_test(silence_ends_it),
        cmocka_unit_test(keep_alive_prevents_that),
        cmocka_unit_test(a_lost_close_is_said_again),
        cmocka_unit_test(a_close_is_no_more_than_three_times_what_asks_for_it),
        cmocka_unit_test(one_that_has_ended_counts_until_it_is_forgotten),
        cmocka_unit_test(a_stateless_reset_ends_it),
        cmocka_unit_test(keys_can_be_updated),
        cmocka_unit_test(a_moving_client_is_followed),
        cmocka_unit_test(datagrams_both_ways),
        cmocka_unit_test(the_largest_datagram_fits_and_no_larger),
        cmocka_unit_test(datagrams_can_be_off),
        cmocka_unit_test(a_small_path_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
