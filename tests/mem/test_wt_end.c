/*
 * Tests of all the ways in which a session ends, server against client, in a pretend network.
 */
#include <string.h>

#include "base/stats.h"
#include "base/timers.h"
#include "pair.h"
#include "unit/cmocka_all.h"

/* ---- the ends ---- */

static void expect_end(const struct peer_session *s, enum wt_by by, bool clean, bool known,
                       uint32_t code, const char *reason)
{
    assert_int_equal(s->end.by, by);
    assert_int_equal(s->end.clean, clean);
    assert_int_equal(s->end.code.known, known);
    if (known)
        assert_int_equal(s->end.code.value, code);
    assert_int_equal(s->end.reason_len, strlen(reason));
    assert_memory_equal(s->reason, reason, strlen(reason));
}

static void close_from_server(uint64_t seed)
{
    struct pair *p = pair_open(seed, true, PEER_RECORD);
    peer_send(peer_open(pair_server_session(p), false), "open", 4, 0, false);
    wt_close(pair_server_session(p)->wt, 0xfffffffe, "gr\xc3\xbc\xc3\x9f dich", 11);
    assert_true(pair_run(p, pair_both_closed));
    expect_end(p->client_session, WT_BY_CLIENT, true, true, 0xfffffffe, "gr\xc3\xbc\xc3\x9f dich");
    expect_end(pair_server_session(p), WT_BY_LOCAL, true, true, 0xfffffffe,
               "gr\xc3\xbc\xc3\x9f dich");
    pair_free(p);
}

static void close_from_client(uint64_t seed)
{
    struct pair *p = pair_open(seed, true, PEER_RECORD);
    peer_send(peer_open(p->client_session, false), "open", 4, 0, false);
    wt_close(p->client_session->wt, 7, "bye", 3);
    assert_true(pair_run(p, pair_both_closed));
    expect_end(pair_server_session(p), WT_BY_CLIENT, true, true, 7, "bye");
    expect_end(p->client_session, WT_BY_LOCAL, true, true, 7, "bye");
    pair_free(p);
}

static void close_from_both(uint64_t seed)
{
    struct pair *p = pair_open(seed, true, PEER_RECORD);
    wt_close(p->client_session->wt, 1, "c", 1);
    wt_close(pair_server_session(p)->wt, 2, "s", 1);
    assert_true(pair_run(p, pair_both_closed));
    expect_end(p->client_session, WT_BY_LOCAL, true, true, 1, "c");
    expect_end(pair_server_session(p), WT_BY_LOCAL, true, true, 2, "s");
    pair_free(p);
}

static void close_carries_code_and_reason(void **state)
{
    (void)state;
    world_each_seed(close_from_server);
    world_each_seed(close_from_client);
    world_each_seed(close_from_both);
}

static void longest_reason_arrives(void **state)
{
    (void)state;
    char reason[WT_REASON_MAX];
    memset(reason, 'r', sizeof(reason));
    struct pair *p = pair_open(1, false, PEER_RECORD);
    wt_close(pair_server_session(p)->wt, 0, reason, sizeof(reason));
    assert_true(pair_run(p, pair_both_closed));
    assert_int_equal(p->client_session->end.reason_len, sizeof(reason));
    pair_free(p);
}

static void accept_send_close(struct peer_session *s)
{
    wt_accept(s->wt, 200, NULL, 0);
    peer_send(peer_open(s, true), "only this", 9, 0, true);
    wt_close(s->wt, 5, "done", 4);
}

static void all_in_one_go(uint64_t seed)
{
    struct pair *p = pair_new(seed, false);
    p->server.requested = accept_send_close;
    pair_connect(p, "/", NULL, 0);
    assert_true(pair_run(p, pair_both_closed));
    assert_true(p->client_session->responded);
    expect_end(p->client_session, WT_BY_CLIENT, true, true, 5, "done");
    pair_free(p);
}

static void accept_send_and_close_at_once(void **state)
{
    (void)state;
    world_each_seed(all_in_one_go);
}

static void abort_is_unclean(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    peer_send(peer_open(pair_server_session(p), false), "open", 4, 0, false);
    wt_abort(pair_server_session(p)->wt);
    assert_true(pair_run(p, pair_both_closed));
    expect_end(pair_server_session(p), WT_BY_LOCAL, false, false, 0, "");
    expect_end(p->client_session, WT_BY_CLIENT, false, false, 0, "");
    pair_free(p);
}

static bool client_is_drained(struct pair *p)
{
    return p->client_session->draining;
}

static void drain_is_told(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    wt_drain(pair_server_session(p)->wt);
    assert_true(pair_run(p, client_is_drained));
    assert_non_null(peer_open(p->client_session, false)); /* advisory */
    pair_free(p);
}

static void host_drain_tells_everybody(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    wt_host_drain(p->server.host);
    assert_true(pair_run(p, client_is_drained));
    wt_host_close_all(p->server.host);
    assert_true(pair_run(p, pair_both_closed));
    assert_int_equal(pair_server_session(p)->end.by, WT_BY_LOCAL);
    assert_int_equal(p->client_session->end.by, WT_BY_CLIENT);
    pair_free(p);
}

static void silence_ends_by_network(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    const struct world_link nothing_passes = {.delay_ns = NS_PER_MS, .loss = 1.0};
    world_set_link(p->world, &nothing_passes);
    assert_true(pair_run(p, pair_both_closed));
    expect_end(pair_server_session(p), WT_BY_NETWORK, false, false, 0, "");
    expect_end(p->client_session, WT_BY_NETWORK, false, false, 0, "");
    pair_free(p);
}

static void keep_alive_holds_a_silent_session(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    pair_run_for(p, 600 * NS_PER_S);
    assert_false(pair_server_session(p)->closed);
    assert_false(p->client_session->closed);
    pair_free(p);
}

/* Nobody answers a close: it ends all the same, after its time, and says so. */
static void unanswered_close_times_out(void **state)
{
    (void)state;
    const struct world_link nothing_passes = {.delay_ns = NS_PER_MS, .loss = 1.0};
    struct wt_config config = pair_config();
    for (uint64_t time = NS_PER_S; time <= 2 * NS_PER_S; time += NS_PER_S) {
        config.close_timeout_ns = time;
        struct pair *p = pair_new_with(1, false, &config);
        pair_connect(p, "/", NULL, 0);
        assert_true(pair_run(p, pair_both_open));
        world_set_link(p->world, &nothing_passes);
        wt_close(pair_server_session(p)->wt, 9, "late", 4);
        pair_run_for(p, time - NS_PER_MS);
        assert_false(pair_server_session(p)->closed);
        pair_run_for(p, 2 * NS_PER_MS);
        assert_true(pair_server_session(p)->closed);
        expect_end(pair_server_session(p), WT_BY_LOCAL, false, true, 9, "late");
        assert_int_equal(pair_server_stats(p)->faults[FAULT_CLOSE_TIMEOUT], 1);
        pair_free(p);
    }
}

static bool no_connections(struct pair *p)
{
    return wt_host_connections(p->server.host) == 0;
}

static void connection_without_session_is_closed(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_RECORD);
    wt_close(p->client_session->wt, 0, "", 0);
    assert_true(pair_run(p, pair_both_closed));
    assert_true(pair_run(p, no_connections));
    pair_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_carries_code_and_reason),
        cmocka_unit_test(longest_reason_arrives),
        cmocka_unit_test(accept_send_and_close_at_once),
        cmocka_unit_test(abort_is_unclean),
        cmocka_unit_test(drain_is_told),
        cmocka_unit_test(host_drain_tells_everybody),
        cmocka_unit_test(silence_ends_by_network),
        cmocka_unit_test(keep_alive_holds_a_silent_session),
        cmocka_unit_test(unanswered_close_times_out),
        cmocka_unit_test(connection_without_session_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
