/*
 * test_flow - several sessions on one connection, each with flow control of its own: both ends are
 * ours, in a pretend network. Whoever broke a limit of the other's would end its session.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/stats.h"
#include "base/timers.h"
#include "front/conn_internal.h"
#include "front/h3.h"
#include "front/wt_internal.h"
#include "pair.h"
#include "raw.h"
#include "unit/cmocka_all.h"

#define KIB      1024
#define SESSIONS 4
#define STREAMS  8
#define WINDOW   (64 * KIB) /* of a session */
#define SEEDS    6

static uint8_t bytes[512 * KIB];

static struct pair *begin(uint64_t seed, bool bad, enum peer_behaviour behaviour)
{
    struct wt_config c = pair_config();
    c.connection_sessions = SESSIONS;
    c.connection_window = WINDOW;
    c.stream_window = WINDOW;
    c.max_streams_bidi = c.max_streams_uni = STREAMS;
    struct pair *p = pair_new_both(seed, bad, &c, &c);
    p->server.behaviour = behaviour;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 31 + i / 251 + seed);
    return p;
}

static bool all_are_answered(struct pair *p)
{
    for (size_t i = 0; i < p->client.session_count; i++)
        if (!p->client.sessions[i]->responded && !p->client.sessions[i]->closed)
            return false;
    return true;
}

/* So many sessions on one connection; the client's and the server's have the same index. */
static void open_sessions(struct pair *p, size_t count)
{
    pair_connect(p, "/0", NULL, 0);
    assert_true(pair_run(p, all_are_answered));
    for (size_t i = 1; i < count; i++) {
        peer_connect_beside(p->client.sessions[0], "/more");
        assert_true(pair_run(p, all_are_answered));
    }
    assert_int_equal(wt_host_connections(p->server.host), 1);
}

static void nobody_broke_a_limit(const struct pair *p)
{
    assert_int_equal(pair_server_stats(p)->faults[FAULT_FLOW_CONTROL], 0);
    assert_int_equal(world_env(p->client_host)->stats->faults[FAULT_FLOW_CONTROL], 0);
    for (size_t i = 0; i < p->client.session_count; i++)
        assert_false(p->client.sessions[i]->closed);
    for (size_t i = 0; i < p->server.session_count; i++)
        assert_false(p->server.sessions[i]->closed);
}

/* ---- many streams with limits on everything ---- */

#define MANY       (5 * STREAMS)
#define MANY_BYTES (20 * KIB)

static size_t bytes_of(const struct peer_session *s)
{
    size_t sum = 0;
    for (size_t i = 0; i < s->stream_count; i++)
        sum += s->streams[i]->len;
    return sum;
}

/* Every session opens as many as it may, until all were there, and all were echoed whole. */
static bool all_is_echoed(struct pair *p)
{
    bool done = true;
    for (size_t i = 0; i < p->client.session_count; i++) {
        struct peer_session *s = p->client.sessions[i];
        struct peer_stream *st;
        while (!s->closed && s->stream_count < MANY && (st = peer_open(s, false)) != NULL)
            peer_send(st, bytes + i, MANY_BYTES, 0, true);
        done = done && s->stream_count == MANY;
        for (size_t j = 0; j < s->stream_count; j++)
            done = done && s->streams[j]->fin;
    }
    return done;
}

static void sessions_carry_streams_at_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct pair *p = begin(seed, true, PEER_ECHO);
        open_sessions(p, SESSIONS);
        if (!pair_run(p, all_is_echoed))
            fail_msg("not all came back with seed %d", (int)seed);
        nobody_broke_a_limit(p);
        for (size_t i = 0; i < SESSIONS; i++) {
            struct peer_session *s = p->client.sessions[i];
            assert_int_equal(bytes_of(s), MANY * MANY_BYTES);
            for (size_t j = 0; j < MANY; j++)
                assert_memory_equal(s->streams[j]->data, bytes + i, MANY_BYTES);
        }
        pair_free(p);
    }
}

/* ---- how many sessions ---- */

static void one_session_too_many_is_rejected(void **state)
{
    (void)state;
    struct pair *p = begin(1, false, PEER_RECORD);
    open_sessions(p, SESSIONS + 1);
    assert_int_equal(p->server.session_count, SESSIONS);
    assert_true(p->client.sessions[SESSIONS]->closed);
    assert_int_equal(pair_server_stats(p)->faults[FAULT_SECOND_SESSION], 1);
    wt_close(p->client.sessions[1]->wt, 5, "one", 3);
    pair_run_for(p, NS_PER_S);
    assert_true(p->server.sessions[1]->closed);
    assert_int_equal(p->server.sessions[1]->end.code.value, 5);
    assert_false(p->server.sessions[0]->closed || p->server.sessions[2]->closed);
    peer_connect_beside(p->client.sessions[0], "/again");
    assert_true(pair_run(p, all_are_answered));
    assert_int_equal(p->server.session_count, SESSIONS + 1);
    assert_false(p->server.sessions[SESSIONS]->closed);
    pair_free(p);
}

/* Without limits of the client's there is one, though the server would take more. */
static void who_has_no_flow_control_has_one_session(void **state)
{
    (void)state;
    struct wt_config c = pair_config();
    c.connection_sessions = SESSIONS;
    struct pair *p = pair_new_with(1, false, &c);
    open_sessions(p, 2);
    assert_int_equal(p->server.session_count, 1);
    assert_true(p->client.sessions[1]->closed);
    pair_free(p);
}

/* ---- a session that is stuck ---- */

static bool second_is_through(struct pair *p)
{
    struct peer_session *s = p->server.sessions[1];
    return s->stream_count == 1 && s->streams[0]->fin;
}

static bool first_is_through(struct pair *p)
{
    return p->server.sessions[0]->streams[0]->fin;
}

static void send_all(struct peer_session *s, size_t len)
{
    struct peer_stream *st = peer_open(s, true);
    assert_non_null(st);
    peer_send(st, bytes, len, 0, true);
}

static void a_stuck_session_holds_up_no_other(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct pair *p = begin(seed, true, PEER_RECORD);
        open_sessions(p, 2);
        struct peer_session *stuck = p->server.sessions[0];
        stuck->sticks = true;
        send_all(p->client.sessions[0], sizeof(bytes));
        pair_run_for(p, 2 * NS_PER_S);
        assert_in_range(bytes_of(stuck), 1, WINDOW);
        send_all(p->client.sessions[1], sizeof(bytes));
        if (!pair_run(p, second_is_through))
            fail_msg("the other session stands still with seed %d", (int)seed);
        assert_in_range(bytes_of(stuck), 1, WINDOW);
        peer_unstick(stuck->streams[0]);
        assert_true(pair_run(p, first_is_through));
        assert_memory_equal(stuck->streams[0]->data, bytes, sizeof(bytes));
        nobody_broke_a_limit(p);
        pair_free(p);
    }
}

/* ---- whose turn it is ---- */

static bool one_has_all(struct pair *p)
{
    return bytes_of(p->client.sessions[0]) >= p->wanted ||
           bytes_of(p->client.sessions[1]) >= p->wanted;
}

/* With enough credit only turns decide. */
static struct pair *begin_wide(void)
{
    struct wt_config c = pair_config();
    c.connection_sessions = SESSIONS;
    c.connection_window = 4 * KIB * KIB;
    struct pair *p = pair_new_both(1, false, &c, &c);
    open_sessions(p, 2);
    return p;
}

static void equals(struct pair *p)
{
    p->wanted = 100 * KIB; /* below what a session may send at first */
    assert_true(pair_run(p, one_has_all));
    size_t a = bytes_of(p->client.sessions[0]), b = bytes_of(p->client.sessions[1]);
    assert_in_range(a > b ? a - b : b - a, 0, 24 * KIB); /* two turns and what is on its way */
    pair_free(p);
}

static void orders_count_within_a_session_only(void **state)
{
    (void)state;
    struct pair *p = begin_wide();
    for (int i = 0; i < 4; i++) {
        struct peer_stream *st = peer_open(p->server.sessions[0], true);
        wt_stream_set_order(st->wt, 1000 + i);
        peer_send(st, bytes, 60 * KIB, 0, true);
    }
    struct peer_stream *st = peer_open(p->server.sessions[1], true);
    peer_send(st, bytes, 200 * KIB, 0, true);
    equals(p);
}

static void many_streams_are_not_more_than_one(void **state)
{
    (void)state;
    struct pair *p = begin_wide();
    for (int i = 0; i < 90; i++)
        peer_send(peer_open(p->server.sessions[0], true), bytes, 2 * KIB, 0, true);
    struct peer_stream *st = peer_open(p->server.sessions[1], true);
    peer_send(st, bytes, 200 * KIB, 0, true);
    equals(p);
}

/* ---- nothing is lost for ever ---- */

static uint64_t below(uint64_t *seed, uint64_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (*seed >> 33) % n;
}

/* Gives up some of what is going on, on either side. */
static void disturb(struct pair *p, uint64_t *seed)
{
    struct peer *peer = below(seed, 2) ? &p->server : &p->client;
    struct peer_session *s = peer->sessions[below(seed, 2)];
    if (s->closed || s->stream_count == 0)
        return;
    struct peer_stream *st = s->streams[below(seed, s->stream_count)];
    if (!st->wt)
        return;
    if (below(seed, 2) && (st->local || !st->unidirectional) && !st->all_acked) {
        wt_stream_reset(st->wt, 1);
        st->out = NULL;
        st->echo_len = 0;
    } else if (!st->local || !st->unidirectional) {
        wt_stream_stop(st->wt, 2);
    }
}

static void open_some(struct pair *p, uint64_t *seed)
{
    for (int i = 0; i < 2; i++) {
        struct peer *peer = i ? &p->server : &p->client;
        struct peer_session *s = peer->sessions[below(seed, 2)];
        struct peer_stream *st = s->closed ? NULL : peer_open(s, true);
        if (st)
            peer_send(st, bytes, below(seed, 40 * KIB), 0, below(seed, 2));
    }
}

/* Ends and releases all that there is. */
static void end_all(struct peer *peer)
{
    for (size_t i = 0; i < 2; i++) {
        struct peer_session *s = peer->sessions[i];
        for (size_t j = 0; j < s->stream_count; j++) {
            struct peer_stream *st = s->streams[j];
            if (!st->wt)
                continue;
            if (st->local || !st->unidirectional)
                wt_stream_reset(st->wt, 3);
            if (!st->local || !st->unidirectional)
                wt_stream_stop(st->wt, 3);
            wt_stream_release(st->wt);
            st->wt = NULL;
            st->out = NULL;
        }
    }
}

static bool last_is_through(struct pair *p)
{
    for (size_t i = 0; i < 2; i++) {
        struct peer_session *s = p->server.sessions[i];
        if (s->streams[s->stream_count - 1]->len < sizeof(bytes))
            return false;
    }
    return true;
}

/* Resets and stops, some of whose bytes and headers get lost: afterwards all of the credit is there
 * again, for streams as for data. */
static void what_is_given_up_gives_its_credit_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3 * SEEDS; seed++) {
        struct pair *p = begin(seed, true, PEER_RECORD);
        uint64_t dice = seed;
        open_sessions(p, 2);
        for (int i = 0; i < 300; i++) {
            open_some(p, &dice);
            disturb(p, &dice);
            peer_pump(&p->server);
            peer_pump(&p->client);
            pair_run_for(p, below(&dice, 40) * NS_PER_MS);
        }
        end_all(&p->server);
        end_all(&p->client);
        pair_run_for(p, 10 * NS_PER_S);
        nobody_broke_a_limit(p);
        for (int i = 0; i < STREAMS; i++) /* half of them may not have been told yet */
            if (!peer_open(p->client.sessions[i / (STREAMS / 2)], true))
                fail_msg("no streams are left with seed %d", (int)seed);
        pair_run_for(p, NS_PER_S);
        end_all(&p->client);
        pair_run_for(p, 5 * NS_PER_S);
        send_all(p->client.sessions[0], sizeof(bytes));
        send_all(p->client.sessions[1], sizeof(bytes));
        if (!pair_run(p, last_is_through))
            fail_msg("no credit is left with seed %d", (int)seed);
        pair_free(p);
    }
}

/* ---- a peer that takes nothing on the CONNECT stream ---- */

#define ASKED 400

/* A client with limits for sessions: WT_MAX_DATA, WT_MAX_STREAMS_UNI and _BIDI of 64 each. */
static struct raw *begin_narrow(struct pair *p)
{
    struct raw *r = raw_new_narrow(p, 256);
    raw_write(raw_open(r, true), "00 04 13 33 01 ab 60 37 42 01"
                                 "6b 61 40 40 6b 64 40 40 6b 65 40 40");
    raw_write(raw_open(r, true), "02");
    raw_write(raw_open(r, true), "03");
    return r;
}

/* It says that it is blocked with each byte and each stream, and is owed an answer each time: what
 * waits for it stays small, and when it reads again it is told the last of the limits. */
static void limits_do_not_pile_up(void **state)
{
    (void)state;
    struct wt_config c = pair_config();
    c.connection_sessions = SESSIONS;
    struct pair *p = pair_new_with(1, false, &c);
    struct raw *r = begin_narrow(p);
    struct raw_stream *session = raw_session(r), *data = raw_open(r, true);
    assert_int_equal(p->server.session_count, 1);
    const struct wt_session *s = p->server.sessions[0]->wt;
    assert_true(s->flow.is_on);
    uint64_t first = s->flow.max_data;
    session->withholds = true;
    raw_write(data, "40 54 00");
    for (int i = 0; i < ASKED; i++) {
        raw_write(data, "61");
        raw_settle(r);
        raw_write(session, "00 06 99 0b 4d 41 01 00"); /* WT_DATA_BLOCKED */
        raw_settle(r);
        if (h3_request_unacked(s->request) > 1100)
            fail_msg("%zu bytes of capsules wait after %d", h3_request_unacked(s->request), i);
    }
    assert_true(s->flow.max_data < first + ASKED);
    raw_relent(session);
    raw_settle(r);
    assert_int_equal(h3_request_unacked(s->request), 0);
    assert_int_equal(s->flow.max_data, first + ASKED);
    raw_free(r);
    pair_free(p);
}

/* ---- bytes that nobody wants ---- */

static bool all_are_closed(struct pair *p)
{
    const struct peer_session *s = pair_server_session(p);
    return s->streams[s->stream_count - 1]->all_acked;
}

/* The server says what it has to say and wants no answer; the client's comes with the
 * acknowledgement, before it can be told. */
static void unwanted_answers_give_their_credit_back(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    p->client.behaviour = PEER_ECHO;
    struct peer_session *s = pair_server_session(p);
    for (int i = 0; i < STREAMS; i++) {
        struct peer_stream *st = peer_open(s, false);
        assert_non_null(st);
        peer_send(st, bytes, KIB, 0, true);
        wt_stream_stop(st->wt, 1);
        assert_true(pair_run(p, all_are_closed));
    }
    pair_run_for(p, NS_PER_S);
    assert_int_equal(h3_conn(s->wt->conn->h3)->unconsumed, 0);
    pair_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_carry_streams_at_once),
        cmocka_unit_test(one_session_too_many_is_rejected),
        cmocka_unit_test(who_has_no_flow_control_has_one_session),
        cmocka_unit_test(a_stuck_session_holds_up_no_other),
        cmocka_unit_test(orders_count_within_a_session_only),
        cmocka_unit_test(many_streams_are_not_more_than_one),
        cmocka_unit_test(what_is_given_up_gives_its_credit_back),
        cmocka_unit_test(limits_do_not_pile_up),
        cmocka_unit_test(unwanted_answers_give_their_credit_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
