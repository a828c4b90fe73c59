/*
 * test_conn_stream - the streams of a connection on a pretend network: data, codes, credit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mem/conn_pair.h"

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

/* --- resets and stops --- */

static bool server_told(struct pair *pair)
{
    struct flow *f = flow_of(&pair->server, 0);
    return f->exists && f->is_reset && f->is_stopped;
}

static bool client_told(struct pair *pair)
{
    struct flow *f = flow_of(&pair->client, 0);
    return f->is_reset && f->is_stopped;
}

static bool server_has_some(struct pair *pair)
{
    return flow_of(&pair->server, 0)->received > 0;
}

/* Codes arrive in the time of one way, not when the stream has closed. */
static void reset_and_stop_arrive_at_once(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    struct flow *f = flow_open(&pair.client, false);
    f->stays_open = true;
    flow_send(f, 100);
    assert_true(pair_run_until(&pair, server_has_some, NS_PER_S));
    world_run_for(pair.w, NS_PER_S);
    conn_stream_reset(pair.client.conn, 0, 0x52e4a40fa8db);
    conn_stream_stop(pair.client.conn, 0, 77);
    assert_true(pair_run_until(&pair, server_told, 11 * NS_PER_MS));
    assert_true(flow_of(&pair.server, 0)->reset_code == 0x52e4a40fa8db);
    assert_int_equal(flow_of(&pair.server, 0)->stop_code, 77);
    world_run_for(pair.w, NS_PER_S);
    assert_true(flow_of(&pair.server, 0)->is_closed && f->is_closed);
    /* the answer to a stop is a reset with the same code */
    assert_true(f->is_reset);
    assert_int_equal(f->reset_code, 77);
    pair_free(&pair);
}

static void the_server_resets_and_stops(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    struct flow *f = flow_open(&pair.client, false);
    f->stays_open = true;
    flow_send(f, 100);
    assert_true(pair_run_until(&pair, server_has_some, NS_PER_S));
    conn_stream_stop(pair.server.conn, 0, 5);
    conn_stream_reset(pair.server.conn, 0, 6);
    assert_true(pair_run_until(&pair, client_told, 11 * NS_PER_MS));
    assert_int_equal(f->reset_code, 6);
    assert_int_equal(f->stop_code, 5);
    world_run_for(pair.w, NS_PER_S);
    assert_true(flow_of(&pair.server, 0)->is_closed && f->is_closed);
    pair_free(&pair);
}

/* The stream's first bytes and its STOP_SENDING in one packet. */
static void a_stop_with_the_first_bytes_arrives(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    struct flow *f = flow_open(&pair.client, false);
    flow_send(f, 3);
    conn_stream_stop(pair.client.conn, 0, 9);
    world_run_for(pair.w, NS_PER_S);
    struct flow *at_server = flow_of(&pair.server, 0);
    assert_true(at_server->fin_received && at_server->is_stopped && at_server->is_closed);
    assert_int_equal(at_server->stop_code, 9);
    pair_free(&pair);
}

/* Nothing but a RESET_STREAM is ever seen of these. */
static void streams_reset_before_their_first_byte_close(void **state)
{
    struct pair pair;
    (void)state;
    pair_setup(&pair, 1);
    for (unsigned i = 0; i < 500; i++) {
        struct flow *f = flow_open(&pair.client, true);
        assert_non_null(f);
        conn_stream_reset(pair.client.conn, f->id, i);
        world_run_for(pair.w, 50 * NS_PER_MS);
        struct flow *at_server = flow_of(&pair.server, f->id);
        assert_true(at_server->is_reset && at_server->is_closed && f->is_closed);
        assert_int_equal(at_server->reset_code, i);
    }
    assert_int_equal(pair.server.finished, 500);
    pair_free(&pair);
}

/* --- credit --- */

static const struct conn_config small = {
    .max_data = 30000,
    .max_stream_data = 20000,
    .max_streams_bidi = 10,
    .max_streams_uni = 10,
    .max_datagram_frame_size = 65535,
    .idle_timeout_ns = 300 * NS_PER_S,
    .handshake_timeout_ns = 10 * NS_PER_S,
};

static void pair_small(struct pair *pair, uint64_t seed, bool bad)
{
    pair_begin(pair, seed, &small, &small);
    if (bad)
        world_set_bad_link(pair->w);
    else
        world_set_link(pair->w, &(struct world_link){.delay_ns = 100 * NS_PER_US});
    assert_true(pair_run_until(pair, pair_established, 60 * NS_PER_S));
}

static void credit_is_renewed_for_ever(void **state)
{
    struct pair pair;
    (void)state;
    pair_small(&pair, 1, false);
    flow_send(flow_open(&pair.client, true), 20000000);
    flow_send(flow_open(&pair.client, false), 20000000);
    flow_send(flow_open(&pair.server, true), 20000000);
    assert_true(pair_run_until(&pair, all_arrived, 3600 * NS_PER_S));
    pair_free(&pair);
}

static void nothing_beyond_the_credit(void **state)
{
    struct pair pair;
    (void)state;
    pair_small(&pair, 1, false);
    pair.server.keep_credit = true;
    struct flow *a = flow_open(&pair.client, true), *b = flow_open(&pair.client, true);
    flow_send(a, 100000);
    world_run_for(pair.w, 10 * NS_PER_S);
    assert_int_equal(flow_of(&pair.server, a->id)->received, 20000); /* the stream's window */
    assert_true(a->is_blocked);
    flow_send(b, 100000);
    world_run_for(pair.w, 10 * NS_PER_S);
    assert_int_equal(flow_of(&pair.server, b->id)->received, 10000); /* the connection's */
    flow_consume(flow_of(&pair.server, a->id));
    world_run_for(pair.w, 10 * NS_PER_S);
    assert_int_equal(
        flow_of(&pair.server, a->id)->received + flow_of(&pair.server, b->id)->received, 50000);
    pair.server.keep_credit = false;
    flow_consume(flow_of(&pair.server, a->id));
    flow_consume(flow_of(&pair.server, b->id));
    assert_true(pair_run_until(&pair, all_arrived, 60 * NS_PER_S));
    pair_free(&pair);
}

/* Streams that nobody reads shut off no others as long as the connection's window may grow. */
static void what_is_held_up_holds_up_no_other(void **state)
{
    enum { STREAMS = 10, WINDOW = 20000 };
    struct conn_config server = pair_config;
    struct pair pair;
    (void)state;
    server.max_data = WINDOW * 3 / 2;
    server.max_data_limit = WINDOW * (STREAMS + 2);
    server.max_stream_data = WINDOW;
    pair_begin(&pair, 1, &server, &pair_config);
    assert_true(pair_run_until(&pair, pair_established, 60 * NS_PER_S));
    pair.server.keep_credit = true;
    for (int i = 0; i < STREAMS; i++) {
        struct flow *f = flow_open(&pair.client, i & 1);
        flow_send(f, 2 * WINDOW);
        world_run_for(pair.w, 10 * NS_PER_S);
        assert_int_equal(flow_of(&pair.server, f->id)->received, WINDOW);
    }
    pair_free(&pair);
}

/* The connection's window holds one and a half streams': any leak would stop this soon. */
static void credit_of_broken_streams_returns(uint64_t seed)
{
    struct pair pair;
    pair_small(&pair, seed, true);
    for (unsigned i = 0; i < 200; i++) {
        struct flow *f = flow_open(&pair.client, i & 1);
        for (int tries = 0; !f && tries < 100; tries++) {
            world_run_for(pair.w, 100 * NS_PER_MS);
            f = flow_open(&pair.client, i & 1);
        }
        assert_non_null(f);
        flow_send(f, 18000);
        world_run_for(pair.w, world_random(pair.w, 60) * NS_PER_MS);
        struct flow *at_server = flow_of(&pair.server, f->id);
        bool seen = at_server->exists && at_server->id == f->id;
        if (seen && world_random(pair.w, 2) && !at_server->is_closed)
            conn_stream_stop(pair.server.conn, f->id, 1);
        else if (!f->is_closed)
            conn_stream_reset(pair.client.conn, f->id, 2);
        f->sends = false;
        if (seen && !(i & 1) && !at_server->is_closed)
            conn_stream_reset(pair.server.conn, f->id, 3);
        else if (!(i & 1) && !f->is_closed)
            conn_stream_stop(pair.client.conn, f->id, 3);
        world_run_for(pair.w, world_random(pair.w, 200) * NS_PER_MS);
    }
    world_run_for(pair.w, 10 * NS_PER_S);
    /* all is there again, up to the quarter that ngtcp2 announces lazily */
    pair.server.keep_credit = true;
    struct flow *a = flow_open(&pair.client, true), *b = flow_open(&pair.client, true);
    assert_non_null(a);
    assert_non_null(b);
    flow_send(a, 15000);
    flow_send(b, 7000);
    assert_true(pair_run_until(&pair, all_arrived, 60 * NS_PER_S));
    pair_free(&pair);
}

static void broken_streams_leak_no_credit(void **state)
{
    (void)state;
    world_each_seed(credit_of_broken_streams_returns);
}

/* Consumed only after QUIC has finished with the stream. */
static void late_consumption_returns_credit(void **state)
{
    struct pair pair;
    (void)state;
    pair_small(&pair, 1, false);
    pair.server.keep_credit = true;
    for (unsigned i = 0; i < 100; i++) {
        struct flow *f = flow_open(&pair.client, true);
        assert_non_null(f);
        flow_send(f, 20000);
        world_run_for(pair.w, NS_PER_S);
        struct flow *at_server = flow_of(&pair.server, f->id);
        assert_true(at_server->fin_received && at_server->is_closed);
        assert_int_equal(at_server->received, 20000);
        flow_consume(at_server);
        world_run_for(pair.w, NS_PER_S);
    }
    pair_free(&pair);
}

/* --- numbers of streams --- */

static bool got_streams(struct pair *pair)
{
    return pair->client.avail > 0;
}

static void slots_are_renewed_for_ever(void **state)
{
    struct pair pair;
    (void)state;
    pair_small(&pair, 1, false);
    unsigned limited = 0;
    for (unsigned i = 0; i < 20000; i++) {
        struct flow *f = flow_open(&pair.client, i & 1);
        if (!f) {
            limited++;
            pair.client.avail = 0;
            assert_true(pair_run_until(&pair, got_streams, 10 * NS_PER_S));
            i--;
            continue;
        }
        flow_send(f, 10);
        if (!(i & 1)) /* the other half of a bidirectional stream */
            conn_stream_stop(pair.client.conn, f->id, 0);
    }
    world_run_for(pair.w, NS_PER_S);
    assert_true(limited > 100);
    assert_int_equal(pair.server.opened, 20000);
    assert_int_equal(pair.server.finished, 20000);
    assert_int_equal(pair.client.finished, 20000);
    pair_free(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transfers_are_whole_under_loss),
        cmocka_unit_test(transfers_of_small_slices_are_whole_under_loss),
        cmocka_unit_test(reset_and_stop_arrive_at_once),
        cmocka_unit_test(the_server_resets_and_stops),
        cmocka_unit_test(a_stop_with_the_first_bytes_arrives),
        cmocka_unit_test(streams_reset_before_their_first_byte_close),
        cmocka_unit_test(credit_is_renewed_for_ever),
        cmocka_unit_test(nothing_beyond_the_credit),
        cmocka_unit_test(what_is_held_up_holds_up_no_other),
        cmocka_unit_test(broken_streams_leak_no_credit),
        cmocka_unit_test(late_consumption_returns_credit),
        cmocka_unit_test(slots_are_renewed_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
