/*
 * test_conn - two endpoints on a pretend network: everything conn.h promises.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mem/conn_pair.h"

static void handshake_and_close(void **state)
{
    struct pair pair;
    uint16_t version, suite;
    (void)state;
    pair_setup(&pair, 1);
    conn_tls_info(pair.server.conn, &version, &suite);
    assert_int_equal(version, 0x0304);
    assert_int_equal(suite, 0x1301);
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

static bool all_arrived(struct pair *pair)
{
    struct peer *peers[] = {&pair->server, &pair->client};
    for (int i = 0; i < 2; i++)
        for (size_t n = 0; n < STREAMS_MAX; n++) {
            struct flow *f = &peers[i]->flows[n], *other = &peers[!i]->flows[n];
            if (f->exists && f->sends &&
                !(f->fin_acked && other->fin_received && other->received == f->total))
                return false;
        }
    return true;
}

static void echo_when_opened(struct peer *p, uint64_t total)
{
    for (size_t n = 0; n < STREAMS_MAX; n++) {
        struct flow *f = &p->flows[n];
        if (f->exists && conn_stream_is_remote(p->conn, f->id) && !(f->id & 2) && !f->sends)
            flow_send(f, total);
    }
}

static bool server_saw_all(struct pair *pair)
{
    return pair->server.opened == 6 && pair->client.opened == 6;
}

static bool no_streams(struct pair *pair)
{
    return pair->server.finished == 12 && pair->client.finished == 12;
}

/* Streams of all four kinds, both directions of the bidirectional ones, whole under loss. */
static void transfer(uint64_t seed, size_t slice_max, uint64_t size)
{
    struct pair pair;
    pair_begin(&pair, seed, &pair_config, &pair_config);
    world_set_bad_link(pair.w);
    assert_true(pair_run_until(&pair, pair_established, 60 * NS_PER_S));
    pair.server.slice_max = pair.client.slice_max = slice_max;
    for (int i = 0; i < 3; i++) {
        flow_send(flow_open(&pair.client, true), size);
        flow_send(flow_open(&pair.client, false), size);
        flow_send(flow_open(&pair.server, true), size);
        flow_send(flow_open(&pair.server, false), size);
    }
    assert_true(pair_run_until(&pair, server_saw_all, 600 * NS_PER_S));
    echo_when_opened(&pair.server, size);
    echo_when_opened(&pair.client, size);
    assert_true(pair_run_until(&pair, all_arrived, 3600 * NS_PER_S));
    assert_true(pair_run_until(&pair, no_streams, 60 * NS_PER_S));
    assert_true(world_lost(pair.w) > 0);
    pair_free(&pair);
}

static void transfer_large(uint64_t seed)
{
    transfer(seed, 0, 300000);
}

static void transfer_in_small_slices(uint64_t seed)
{
    transfer(seed, 7, 3000);
}

static void transfers_are_whole_under_loss(void **state)
{
    (void)state;
    world_each_seed(transfer_large);
}

static void transfers_of_small_slices_are_whole_under_loss(void **state)
{
    (void)state;
    world_each_seed(transfer_in_small_slices);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake_and_close),
        cmocka_unit_test(orderly_close_is_no_fault),
        cmocka_unit_test(transfers_are_whole_under_loss),
        cmocka_unit_test(transfers_of_small_slices_are_whole_under_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
