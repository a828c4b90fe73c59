/*
 * Tests of the whole front, server against client, in a pretend network.
 *
 * Each test lets two hosts talk until something has happened, and ends with every gauge at zero on
 * both sides (world_free). Those in a bad network run for several seeds (see world.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/cmocka_all.h"
#include "base/stats.h"
#include "base/timers.h"
#include "pair.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static uint8_t *pattern(size_t len, uint32_t seed)
{
    uint8_t *bytes = malloc(len + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    return bytes;
}

static struct header field(const char *name, const char *value)
{
    return (struct header){(const uint8_t *)name, strlen(name), (const uint8_t *)value,
                           strlen(value)};
}

/* ---- requests ---- */

static void request_arrives_verbatim(void **state)
{
    (void)state;
    const struct header headers[] = {
        field("origin", "https://example.com"),
        field("x-b", "1"),
        field("x-a", "two  words"),
        field("cookie", "a=1"),
        field("x-b", "2"),
        field("cookie", "b=2"),
    };
    struct pair *p = pair_new(1, false);
    pair_connect(p, "/chat?x=1&y=%20", headers, 6);
    assert_true(pair_run(p, pair_both_open));
    assert_string_equal(pair_server_session(p)->request,
                        "https test.example:4433 /chat?x=1&y=%20 webtransport draft07\n"
                        "origin: https://example.com\nx-b: 1\nx-a: two  words\ncookie: a=1\n"
                        "x-b: 2\ncookie: b=2\n");
    assert_int_equal(p->client_session->status, 200);
    pair_free(p);
}

static void accept_with_cookies(struct peer_session *s)
{
    const struct header headers[] = {field("set-cookie", "a=1"), field("x-own", "yes"),
                                     field("set-cookie", "b=2")};
    wt_accept(s->wt, 204, headers, 3);
}

static void accept_carries_status_and_headers(void **state)
{
    (void)state;
    struct pair *p = pair_new(1, false);
    p->server.requested = accept_with_cookies;
    pair_connect(p, "/", NULL, 0);
    assert_true(pair_run(p, pair_both_open));
    assert_int_equal(p->client_session->status, 204);
    assert_string_equal(p->client_session->response,
                        "set-cookie: a=1\nx-own: yes\nset-cookie: b=2\n");
    pair_free(p);
}

static void refusal_ends_the_session(void **state)
{
    (void)state;
    struct pair *p = pair_new(1, false);
    p->server.refuse_status = 403;
    pair_connect(p, "/", NULL, 0);
    assert_true(pair_run(p, pair_both_closed));
    assert_int_equal(p->client_session->status, 403);
    assert_int_equal(pair_server_session(p)->end.by, WT_BY_LOCAL);
    assert_int_equal(pair_server_stats(p)->sessions_refused, 1);
    pair_free(p);
}

static void reset_request(struct peer_session *s)
{
    wt_refuse_reset(s->wt);
}

static void request_can_be_reset(void **state)
{
    (void)state;
    struct pair *p = pair_new(1, false);
    p->server.requested = reset_request;
    pair_connect(p, "/", NULL, 0);
    assert_true(pair_run(p, pair_both_closed));
    assert_false(p->client_session->responded);
    assert_false(p->client_session->end.clean);
    pair_free(p);
}

static void too_large_headers_get_431(void **state)
{
    (void)state;
    char *large = malloc(20 * KIB);
    assert_non_null(large);
    memset(large, 'x', 20 * KIB - 1);
    large[20 * KIB - 1] = '\0';
    const struct header header = field("x-large", large);
    struct pair *p = pair_new(1, false);
    pair_connect(p, "/", &header, 1);
    pair_run_for(p, NS_PER_S);
    assert_int_equal(p->client_session->status, 431);
    assert_int_equal(p->server.session_count, 0);
    assert_int_equal(pair_server_stats(p)->faults[FAULT_HEADERS_TOO_LARGE], 1);
    pair_free(p);
    free(large);
}

/* ---- streams ---- */

static bool remote_streams_ended(const struct peer_session *s, size_t wanted)
{
    size_t count = 0;
    for (size_t i = 0; i < s->stream_count; i++)
        count += !s->streams[i]->local && (s->streams[i]->fin || s->streams[i]->reset);
    return count >= wanted;
}

static bool all_remote_streams_ended(struct pair *p)
{
    return remote_streams_ended(p->client_session, p->wanted) &&
           remote_streams_ended(pair_server_session(p), p->wanted);
}

static void check_remote_streams(const struct peer_session *s, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < s->stream_count; i++) {
        const struct peer_stream *st = s->streams[i];
        if (st->local)
            continue;
        assert_int_equal(st->len, len);
        assert_memory_equal(st->data, bytes, len);
    }
}

static void send_four_kinds(uint64_t seed, bool bad, size_t len, size_t step)
{
    struct pair *p = pair_open(seed, bad, PEER_RECORD);
    struct peer_session *ends[2] = {p->client_session, pair_server_session(p)};
    uint8_t *bytes = pattern(len, (uint32_t)seed);
    p->wanted = 2;
    for (int end = 0; end < 2; end++)
        for (int uni = 0; uni < 2; uni++) {
            struct peer_stream *st = peer_open(ends[end], uni);
            assert_non_null(st);
            peer_send(st, bytes, len, step, true);
        }
    assert_true(pair_run(p, all_remote_streams_ended));
    for (int end = 0; end < 2; end++)
        check_remote_streams(ends[end], bytes, len);
    pair_free(p);
    free(bytes);
}

static void all_four_kinds_of_stream_carry_bytes(void **state)
{
    (void)state;
    send_four_kinds(1, false, 300 * KIB, 0);
}

static void bad_network_with_large_writes(uint64_t seed)
{
    send_four_kinds(seed, true, 600 * KIB, 0);
}

static void bad_network_with_one_byte_writes(uint64_t seed)
{
    send_four_kinds(seed, true, 700, 1);
}

static void bytes_survive_a_bad_network(void **state)
{
    (void)state;
    world_each_seed(bad_network_with_large_writes);
    world_each_seed(bad_network_with_one_byte_writes);
}

static bool echoes_are_back(struct pair *p)
{
    struct peer_session *s = p->client_session;
    size_t back = 0;
    for (size_t i = 0; i < s->stream_count; i++)
        back += s->streams[i]->fin;
    return back == p->wanted;
}

static void echo_of_300(uint64_t seed)
{
    struct wt_config config = pair_config();
    config.max_streams_bidi = 400;
    struct pair *p = pair_new_with(seed, true, &config);
    p->server.behaviour = PEER_ECHO;
    pair_connect(p, "/", NULL, 0);
    assert_true(pair_run(p, pair_both_open));
    uint8_t *bytes = pattern(8 * KIB, (uint32_t)seed);
    p->wanted = 300;
    for (size_t i = 0; i < p->wanted; i++) {
        struct peer_stream *st = peer_open(p->client_session, false);
        assert_non_null(st);
        peer_send(st, bytes, 8 * KIB, 0, true);
    }
    assert_true(pair_run(p, echoes_are_back));
    for (size_t i = 0; i < p->wanted; i++) {
        assert_int_equal(p->client_session->streams[i]->len, 8 * KIB);
        assert_memory_equal(p->client_session->streams[i]->data, bytes, 8 * KIB);
    }
    pair_free(p);
    free(bytes);
}

static void streams_at_once_echo_in_a_bad_network(void **state)
{
    (void)state;
    world_each_seed(echo_of_300);
}

static bool server_saw_all_streams(struct pair *p)
{
    struct peer_session *c = p->client_session, *s = pair_server_session(p);
    while (c->streams_opened + s->streams_opened < p->wanted) {
        struct peer_stream *st = peer_open(c, false);
        if (!st)
            break;
        peer_send(st, "ping", 4, 0, true);
        st = peer_open(s, true);
        if (!st)
            break;
        peer_send(st, "pong", 4, 0, true);
    }
    return c->streams_opened + s->streams_opened >= p->wanted;
}

/* Many more streams than are allowed at once: slots and credit come back, memory does not grow. */
static void streams_never_run_out(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_ECHO);
    p->server.forgets = p->client.forgets = true;
    p->wanted = 4000;
    assert_true(pair_run(p, server_saw_all_streams));
    assert_true(pair_server_stats(p)->streams_opened >= p->wanted / 2);
    assert_true(pair_server_stats(p)->streams <= 300);
    pair_free(p);
}

static bool five_megabytes_are_there(struct pair *p)
{
    struct peer_session *s = pair_server_session(p);
    return s->stream_count == 1 && s->streams[0]->fin;
}

static void credit_is_replenished(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    uint8_t *bytes = pattern(5 * MIB, 7);
    struct peer_stream *st = peer_open(p->client_session, true);
    peer_send(st, bytes, 5 * MIB, 0, true);
    assert_true(pair_run(p, five_megabytes_are_there));
    assert_int_equal(pair_server_session(p)->streams[0]->len, 5 * MIB);
    assert_memory_equal(pair_server_session(p)->streams[0]->data, bytes, 5 * MIB);
    pair_free(p);
    free(bytes);
}

static bool everything_is_acknowledged(struct pair *p)
{
    return p->client_session->streams[0]->all_acked;
}

/* Our header and FIN must not share a frame without payload between them. */
static void empty_stream_arrives_as_empty(void **state)
{
    (void)state;
    for (int uni = 0; uni < 2; uni++) {
        struct pair *p = pair_open(1, false, PEER_ECHO);
        peer_send(peer_open(p->client_session, uni), "", 0, 0, true);
        assert_true(pair_run(p, everything_is_acknowledged));
        assert_int_equal(pair_server_session(p)->streams_opened, 1);
        assert_true(pair_server_session(p)->streams[0]->fin);
        assert_int_equal(pair_server_session(p)->streams[0]->received, 0);
        pair_free(p);
    }
}

static bool client_has_one_whole(struct pair *p)
{
    struct peer_session *s = p->client_session;
    for (size_t i = 0; i < s->stream_count; i++)
        if (s->streams[i]->fin)
            return true;
    return false;
}

static bool client_knows_two(struct pair *p)
{
    return p->client_session->stream_count >= 2;
}

/* Turns of 8 KiB: longer than a packet, and short enough that nobody is far behind. */
static void streams_take_turns(void **state)
{
    (void)state;
    const size_t turn = 8 * KIB, packet = 1500;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    uint8_t *bytes = pattern(60 * KIB, 3);
    for (int i = 0; i < 4; i++)
        peer_send(peer_open(pair_server_session(p), true), bytes, 60 * KIB, 0, true);
    assert_true(pair_run(p, client_knows_two));
    struct peer_session *c = p->client_session;
    assert_true(c->streams[0]->len >= turn - packet && c->streams[0]->len <= turn + packet);
    assert_true(pair_run(p, client_has_one_whole));
    assert_int_equal(c->stream_count, 4);
    for (int i = 0; i < 4; i++)
        assert_true(c->streams[i]->len + turn + 2 * packet >= 60 * KIB);
    pair_free(p);
    free(bytes);
}

/* Four streams are filled; the third, then the second, must go before the others. */
static void send_order_is_obeyed(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    uint8_t *bytes = pattern(60 * KIB, 3);
    struct peer_stream *st[4];
    for (int i = 0; i < 4; i++) {
        st[i] = peer_open(pair_server_session(p), true);
        peer_send(st[i], bytes, 60 * KIB, 0, true);
    }
    wt_stream_set_order(st[1]->wt, -5);
    wt_stream_set_order(st[2]->wt, INT64_C(1) << 52);
    /* Streams are remembered by the client in the order in which their first bytes came. */
    assert_true(pair_run(p, client_has_one_whole));
    struct peer_session *c = p->client_session;
    assert_int_equal(c->streams[0]->len, 60 * KIB);
    assert_int_equal(c->stream_count > 2 ? c->streams[2]->len : 0, 0);
    pair_free(p);
    free(bytes);
}

/* ---- resets and stops ---- */

static bool server_sees_stream(struct pair *p)
{
    return pair_server_session(p)->stream_count == 1 && pair_server_session(p)->streams[0]->len > 0;
}

static bool resets_are_there(struct pair *p)
{
    return p->client_session->streams[0]->reset && pair_server_session(p)->streams[0]->reset;
}

static void both_reset(uint64_t seed)
{
    static const uint32_t codes[] = {0, 1, 29, 30, 255, 256, 0x7fffffff, 0xffffffff};
    uint32_t code = codes[seed % 8];
    struct pair *p = pair_open(seed, true, PEER_RECORD);
    struct peer_stream *c = peer_open(p->client_session, false);
    peer_send(c, "hello", 5, 0, false);
    assert_true(pair_run(p, server_sees_stream));
    struct peer_stream *s = pair_server_session(p)->streams[0];
    wt_stream_write(s->wt, "hello", 5);
    wt_stream_reset(c->wt, code);
    wt_stream_reset(s->wt, code ^ 1);
    assert_true(pair_run(p, resets_are_there));
    assert_true(s->reset_code.known);
    assert_int_equal(s->reset_code.value, code);
    assert_true(c->reset_code.known);
    assert_int_equal(c->reset_code.value, code ^ 1);
    pair_free(p);
}

static bool stopped_at_server(struct pair *p)
{
    return pair_server_session(p)->streams[0]->stopped;
}

static void stop_carries_its_code(uint64_t seed)
{
    struct pair *p = pair_open(seed, true, PEER_RECORD);
    struct peer_stream *c = peer_open(p->client_session, false);
    peer_send(c, "hello", 5, 0, false);
    assert_true(pair_run(p, server_sees_stream));
    wt_stream_stop(c->wt, 0xfffffffe);
    assert_true(pair_run(p, stopped_at_server));
    assert_true(pair_server_session(p)->streams[0]->stop_code.known);
    assert_int_equal(pair_server_session(p)->streams[0]->stop_code.value, 0xfffffffe);
    assert_false(pair_server_session(p)->streams[0]->reset); /* the other half is alive */
    wt_stream_write(c->wt, " again", 6);
    wt_stream_end(c->wt);
    pair_run_for(p, 5 * NS_PER_S);
    assert_int_equal(pair_server_session(p)->streams[0]->len, 11);
    pair_free(p);
}

static void codes_arrive_exactly(void **state)
{
    (void)state;
    world_each_seed(both_reset);
    world_each_seed(stop_carries_its_code);
}

/* Written in one turn and reset in the next, whatever is lost: the client must learn whose stream
 * it was, and the code. */
static void header_is_not_outrun(uint64_t seed)
{
    struct pair *p = pair_open(seed, true, PEER_RECORD);
    for (int uni = 0; uni < 2; uni++) {
        struct peer_stream *s = peer_open(pair_server_session(p), uni);
        peer_send(s, "x", 1, 0, false);
        pair_run_for(p, 3 * NS_PER_MS); /* in a packet by now, pacing or not; not acknowledged */
        wt_stream_reset(s->wt, 42);
    }
    p->wanted = 2;
    pair_run_for(p, 10 * NS_PER_S);
    assert_int_equal(p->client_session->stream_count, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(p->client_session->streams[i]->reset);
        assert_int_equal(p->client_session->streams[i]->reset_code.value, 42);
    }
    pair_free(p);
}

static void reset_does_not_outrun_the_header(void **state)
{
    (void)state;
    world_each_seed(header_is_not_outrun);
}

static bool nothing_but_the_session(struct pair *p)
{
    return pair_server_stats(p)->streams == 0;
}

/* The same for a stop: Chromium loses its code if it comes before the header. */
static void stop_waits_for_header(uint64_t seed)
{
    struct pair *p = pair_open(seed, true, PEER_RECORD);
    struct peer_stream *s = peer_open(pair_server_session(p), false);
    peer_send(s, "x", 1, 0, false);
    wt_stream_stop(s->wt, 43);
    pair_run_for(p, 10 * NS_PER_S);
    assert_int_equal(p->client_session->stream_count, 1);
    assert_true(p->client_session->streams[0]->stopped);
    assert_int_equal(p->client_session->streams[0]->stop_code.value, 43);
    pair_free(p);
}

static void stop_does_not_outrun_the_header(void **state)
{
    (void)state;
    world_each_seed(stop_waits_for_header);
}

/* Opened and reset before anything was sent: the client never hears of it, and nothing stays. */
static void unsent_stream_vanishes(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    for (int uni = 0; uni < 2; uni++) {
        struct peer_stream *s = peer_open(pair_server_session(p), uni);
        wt_stream_reset(s->wt, 1);
        if (!uni)
            wt_stream_stop(s->wt, 1);
        wt_stream_release(s->wt);
        s->wt = NULL;
    }
    assert_true(pair_run(p, nothing_but_the_session));
    assert_int_equal(p->client_session->stream_count, 0);
    pair_free(p);
}

/* ---- datagrams ---- */

static bool datagram_is_back(struct pair *p)
{
    return p->client_session->datagrams >= p->wanted;
}

static void datagrams_go_both_ways(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_ECHO);
    size_t max = wt_datagram_max(p->client_session->wt);
    assert_true(max >= 1000 && max <= 2000);
    uint8_t *bytes = pattern(max + 1, 5);
    p->wanted = 1;
    assert_true(wt_datagram_send(p->client_session->wt, bytes, max));
    assert_true(pair_run(p, datagram_is_back));
    assert_int_equal(p->client_session->datagram_len, max);
    assert_memory_equal(p->client_session->datagram, bytes, max);
    assert_false(wt_datagram_send(p->client_session->wt, bytes, 64 * KIB));
    p->wanted = 2;
    assert_true(wt_datagram_send(p->client_session->wt, bytes, 0));
    assert_true(pair_run(p, datagram_is_back));
    assert_int_equal(p->client_session->datagram_len, 0);
    pair_free(p);
    free(bytes);
}

static void full_queue_drops_the_oldest(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    for (uint8_t i = 0; i < 100; i++)
        assert_true(wt_datagram_send(pair_server_session(p)->wt, &i, 1));
    pair_run_for(p, 2 * NS_PER_S);
    assert_int_equal(p->client_session->datagrams, 64); /* pair_config's queue */
    assert_int_equal(p->client_session->datagram[0], 99);
    assert_int_equal(pair_server_stats(p)->datagrams_dropped, 36);
    pair_free(p);
}

/* ---- before the accept ---- */

static bool server_was_asked(struct pair *p)
{
    return p->server.session_count == 1;
}

/* Our client sends nothing before the answer, so what is early here waits for a late accept: the
 * server's own answer is late, and its streams race with it. */
static void late_accept_is_fine(void **state)
{
    (void)state;
    struct pair *p = pair_new(1, false);
    p->server.waits = true;
    pair_connect(p, "/", NULL, 0);
    assert_true(pair_run(p, server_was_asked));
    pair_run_for(p, 3 * NS_PER_S);
    assert_false(p->client_session->responded);
    wt_accept(pair_server_session(p)->wt, 200, NULL, 0);
    peer_send(peer_open(pair_server_session(p), true), "first", 5, 0, true);
    wt_datagram_send(pair_server_session(p)->wt, "d", 1);
    assert_true(pair_run(p, pair_both_open));
    pair_run_for(p, NS_PER_S);
    assert_int_equal(p->client_session->datagrams, 1);
    assert_int_equal(p->client_session->stream_count, 1);
    assert_memory_equal(p->client_session->streams[0]->data, "first", 5);
    pair_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_arrives_verbatim),
        cmocka_unit_test(accept_carries_status_and_headers),
        cmocka_unit_test(refusal_ends_the_session),
        cmocka_unit_test(request_can_be_reset),
        cmocka_unit_test(too_large_headers_get_431),
        cmocka_unit_test(all_four_kinds_of_stream_carry_bytes),
        cmocka_unit_test(bytes_survive_a_bad_network),
        cmocka_unit_test(streams_at_once_echo_in_a_bad_network),
        cmocka_unit_test(streams_never_run_out),
        cmocka_unit_test(credit_is_replenished),
        cmocka_unit_test(empty_stream_arrives_as_empty),
        cmocka_unit_test(streams_take_turns),
        cmocka_unit_test(send_order_is_obeyed),
        cmocka_unit_test(codes_arrive_exactly),
        cmocka_unit_test(reset_does_not_outrun_the_header),
        cmocka_unit_test(stop_does_not_outrun_the_header),
        cmocka_unit_test(unsent_stream_vanishes),
        cmocka_unit_test(datagrams_go_both_ways),
        cmocka_unit_test(full_queue_drops_the_oldest),
        cmocka_unit_test(late_accept_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
