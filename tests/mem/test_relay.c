/*
 * A session's life through the relay: what the application is told first, how it answers, and all
 * the ways in which a session ends, seen from both sides.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/budget.h"

#include "unit/cmocka_all.h"
#include "mem/relay_world.h"

static struct header field(const char *name, const char *value)
{
    return (struct header){(const uint8_t *)name, strlen(name), (const uint8_t *)value,
                           strlen(value)};
}

static bool bytes_are(struct message_bytes b, const char *expected)
{
    return b.len == strlen(expected) && (b.len == 0 || memcmp(b.at, expected, b.len) == 0);
}

static struct rworld *new_world(void)
{
    struct rworld_config config = rworld_defaults();
    return rworld_new(1, false, &config);
}

/* A session that the application has the scope of. */
static struct rworld *asked(struct peer_session **client, struct app_conn **app)
{
    struct rworld *w = new_world();
    *client = rworld_connect(w, "/chat", NULL, 0);
    until(w, rworld_app(w, 0));
    *app = rworld_app(w, 0);
    return w;
}

static struct rworld *opened(struct peer_session **client, struct app_conn **app)
{
    struct rworld *w = asked(client, app);
    app_accept(*app);
    until(w, (*client)->responded);
    assert_int_equal((*client)->status, 200);
    return w;
}

static void assert_disconnect(const struct app_conn *app, const char *by, int64_t code,
                              const char *reason, bool clean)
{
    const struct message *m = app_last(app, MESSAGE_DISCONNECT, APP_ANY);
    assert_non_null(m);
    assert_true(text_is(m->by, by));
    assert_int_equal(m->code.set, code >= 0);
    if (code >= 0)
        assert_int_equal(m->code.value, code);
    if (!text_is(m->reason, reason))
        fail_msg("reason %.*s, expected %s", (int)m->reason.len, m->reason.at, reason);
    assert_int_equal(m->clean, clean);
}

/* --- the beginning --- */

static void the_scope_says_what_the_client_asked_for(void **state)
{
    (void)state;
    struct rworld *w = new_world();
    const struct header headers[] = {
        field("origin", "https://example.com"),
        field("x-a", "1"),
        field("host", "lies"),
        field("x-a", "2"),
        field("wt-available-protocols", "\"chat.v2\";q=1, token/1 , \"a\\\"b\\\\\""),
    };
    rworld_connect(w, "/ch%61t%ff/\xc3\xa4?x=1&y=%20?", headers, 5);
    until(w, rworld_app(w, 0));
    const struct message_scope *s = &rworld_app(w, 0)->scope;
    assert_true(text_is(s->path, "/chat\xef\xbf\xbd/\xc3\xa4"));
    assert_true(bytes_are(s->raw_path, "/ch%61t%ff/\xc3\xa4"));
    assert_true(bytes_are(s->query_string, "x=1&y=%20?"));
    assert_true(text_is(s->root_path, ""));
    const char *expected[][2] = {{"host", "test.example:4433"},
                                 {"origin", "https://example.com"},
                                 {"x-a", "1"},
                                 {"x-a", "2"},
                                 {"wt-available-protocols", NULL}};
    assert_int_equal(s->header_count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_true(bytes_are(s->headers[i].name, expected[i][0]));
        if (expected[i][1])
            assert_true(bytes_are(s->headers[i].value, expected[i][1]));
    }
    assert_int_equal(s->subprotocol_count, 3);
    assert_true(text_is(s->subprotocols[0], "chat.v2"));
    assert_true(text_is(s->subprotocols[1], "token/1"));
    assert_true(text_is(s->subprotocols[2], "a\"b\\"));
    assert_true(text_is(s->server_host, "10.0.0.1"));
    assert_int_equal(s->server_port, 4433);
    assert_true(text_is(s->client_host, "10.0.0.2"));
    assert_int_equal(s->tls_version, 0x0304);
    assert_true(s->cipher_suite > 0);
    assert_int_equal(s->session_id, 0);
    assert_int_equal(s->stream_window, 64 << 10);
    assert_int_equal(s->session_window, 128 << 10); /* it may grow to 256 KiB */
    assert_int_equal(s->max_pending_streams, 8);
    assert_int_equal(s->max_frame, 1 << 20);
    assert_true(s->max_datagram_size > 1000);
    assert_int_equal(s->session.len, 16);
    assert_true(text_is(s->connect_protocol, "webtransport"));
    rworld_free(w);
}

static const struct {
    const char *value;
    size_t count;
} offers[] = {
    {"", 0},           {"a", 1},
    {"a ,\t\"b\"", 2}, {"a;x;y=1.5;z=?1;b=:YQ==:;c=\"s\";d=tok, b", 2},
    {"*t, a:b/c", 2},  {"a,", 0},
    {"a b", 0},        {"\"open", 0},
    {"\"bad\\x\"", 0}, {"\"ctl\x01\"", 0},
    {"1", 0},          {"(a b)", 0},
    {"a, 1", 0},       {"a;=1", 0},
    {",a", 0},
};

static void subprotocols_are_read_as_a_structured_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof offers / sizeof *offers; i++) {
        struct rworld *w = new_world();
        const struct header header = field("wt-available-protocols", offers[i].value);
        rworld_connect(w, "/", &header, 1);
        until(w, rworld_app(w, 0) || w->client.sessions[0]->closed);
        if (rworld_app(w, 0) &&
            rworld_app(w, 0)->scope.subprotocol_count != offers[i].count) /* else no HTTP */
            fail_msg("%s: %zu", offers[i].value, rworld_app(w, 0)->scope.subprotocol_count);
        rworld_free(w);
    }
}

static void accept_carries_status_headers_and_subprotocol(void **state)
{
    (void)state;
    struct rworld *w = new_world();
    const struct header offer = field("wt-available-protocols", "\"a\\\"b\", c");
    struct peer_session *client = rworld_connect(w, "/", &offer, 1);
    until(w, rworld_app(w, 0));
    const struct message_header headers[] = {
        {{(const uint8_t *)"set-cookie", 10}, {(const uint8_t *)"a=1", 3}},
        {{(const uint8_t *)"x-own", 5}, {(const uint8_t *)"", 0}},
        {{(const uint8_t *)"set-cookie", 10}, {(const uint8_t *)"b=2", 3}}};
    app_send(rworld_app(w, 0), &(struct message){.type = MESSAGE_ACCEPT,
                                                 .status = {true, 204},
                                                 .subprotocol = {"a\"b", 3},
                                                 .headers = headers,
                                                 .header_count = 3});
    until(w, client->responded);
    assert_int_equal(client->status, 204);
    assert_string_equal(client->response, "set-cookie: a=1\nx-own: \nset-cookie: b=2\n"
                                          "wt-protocol: \"a\\\"b\"\n");
    assert_int_equal(rworld_stats(w)->sessions_accepted, 1);
    rworld_free(w);
}

static void reject_carries_status_and_headers(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = asked(&client, &app);
    const struct message_header header = {{(const uint8_t *)"location", 8},
                                          {(const uint8_t *)"/b", 2}};
    app_send(app, &(struct message){.type = MESSAGE_REJECT,
                                    .status = {true, 307},
                                    .headers = &header,
                                    .header_count = 1,
                                    .body = {(const uint8_t *)"gone", 4}});
    until(w, client->closed && app->eof);
    assert_int_equal(client->status, 307);
    assert_string_equal(client->response, "location: /b\n");
    assert_disconnect(app, "app", -1, "", true);
    rworld_free(w);
}

static void close_before_accept_means_403(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = asked(&client, &app);
    app_close(app, 7, "not for you");
    until(w, client->closed && app->eof);
    assert_int_equal(client->status, 403);
    assert_disconnect(app, "app", -1, "", true);
    rworld_free(w);
}

static void abort_before_accept_resets_the_request(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = asked(&client, &app);
    app_send(app, &(struct message){.type = MESSAGE_ABORT});
    until(w, client->closed && app->eof);
    assert_false(client->responded);
    assert_disconnect(app, "app", -1, "", false);
    rworld_free(w);
}

/* --- ends --- */

static void the_client_closes(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    wt_close(client->wt, 4711, "so long", 7);
    until(w, app->eof);
    assert_disconnect(app, "client", 4711, "so long", true);
    assert_int_equal(reception_count(w->reception),
                     1); /* it lingers until the application closes */
    app_crash(app);
    until(w, reception_count(w->reception) == 0);
    rworld_free(w);
}

static void the_application_closes(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    app_close(app, UINT32_MAX, "ca\xc3\xa7 y est");
    app_stream(app, 1, "too late", 8, true);
    app_raw(app, "\xff\xff\xff\xff garbage", 12); /* after close anything is ignored */
    until(w, client->closed && app->eof);
    assert_int_equal(client->end.by, WT_BY_CLIENT);
    assert_int_equal(client->end.code.value, UINT32_MAX);
    assert_string_equal(client->reason, "ca\xc3\xa7 y est");
    assert_disconnect(app, "app", UINT32_MAX, "ca\xc3\xa7 y est", true);
    assert_int_equal(app_count(app, MESSAGE_ERROR, APP_ANY), 0);
    rworld_free(w);
}

static void the_application_may_leave_after_its_close(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        struct peer_session *client;
        struct app_conn *app;
        struct rworld *w = opened(&client, &app);
        app_close(app, 5, "bye");
        rworld_pump(w);
        if (half)
            shutdown(app->fd, SHUT_WR);
        else
            app_crash(app);
        until(w, client->closed);
        assert_int_equal(client->end.code.value, 5);
        until(w, reception_count(w->reception) == 0 || app->eof);
        if (half)
            assert_disconnect(app, "app", 5, "bye", true);
        assert_int_equal(rworld_stats(w)->faults[FAULT_BACKEND_LOST], 0);
        rworld_free(w);
    }
}

static void accept_and_close_in_one_go(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = asked(&client, &app);
    app_accept(app);
    app_close(app, 1, "done");
    until(w, client->closed);
    assert_int_equal(client->status, 200);
    assert_int_equal(client->end.code.value, 1);
    rworld_free(w);
}

static void close_after_delivery_waits_for_the_client(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    uint8_t *bytes = calloc(1, 60000);
    app_stream(app, 1, bytes, 60000, true);
    app_stream(app, 5, bytes, 3, false);
    app_send(app,
             &(struct message){.type = MESSAGE_CLOSE, .code = {true, 9}, .after_delivery = true});
    until(w, client->closed && app->eof);
    assert_int_equal(client->streams[0]->len, 60000);
    assert_true(client->streams[0]->fin);
    assert_int_equal(client->streams[1]->len, 3);
    assert_disconnect(app, "app", 9, "", true);
    free(bytes);
    rworld_free(w);
}

static void the_application_aborts(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    app_stream(app, 1, "x", 1, false);
    app_send(app, &(struct message){.type = MESSAGE_ABORT});
    until(w, client->closed && app->eof);
    assert_false(client->end.clean);
    assert_disconnect(app, "app", -1, "", false);
    rworld_free(w);
}

static void the_client_vanishes(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    world_set_link(w->world, &(struct world_link){.delay_ns = NS_PER_MS, .loss = 1});
    until(w, app->eof);
    assert_disconnect(app, "network", -1, "", false);
    rworld_free(w);
}

static void the_client_closes_its_connection(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    wt_host_close_all(w->client.host);
    until(w, app->eof);
    assert_disconnect(app, "client", -1, "", false);
    rworld_free(w);
}

static void the_client_leaves_before_the_answer(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = asked(&client, &app);
    wt_host_close_all(w->client.host);
    until(w, app->eof);
    assert_disconnect(app, "client", -1, "", false);
    assert_int_equal(app->event_count, 1);
    rworld_free(w);
}

/* --- an application that is not there, or no longer --- */

static void an_absent_application_is_502(void **state)
{
    (void)state;
    struct rworld *w = new_world();
    shutdown(w->listener, SHUT_RDWR);
    struct peer_session *client = rworld_connect(w, "/", NULL, 0);
    until(w, client->closed);
    assert_int_equal(client->status, 502);
    assert_int_equal(rworld_stats(w)->faults[FAULT_BACKEND_CONNECT], 1);
    until(w, reception_count(w->reception) == 0);
    rworld_free(w);
}

static void no_answer_is_504(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = asked(&client, &app);
    until(w, client->closed && app->eof);
    assert_int_equal(client->status, 504);
    assert_disconnect(app, "proxy", -1, "", false);
    assert_int_equal(rworld_stats(w)->faults[FAULT_BACKEND_ACCEPT_TIMEOUT], 1);
    rworld_free(w);
}

static void a_crash_before_the_answer_is_502(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = asked(&client, &app);
    app_crash(app);
    until(w, client->closed);
    assert_int_equal(client->status, 502);
    assert_int_equal(rworld_stats(w)->faults[FAULT_BACKEND_LOST], 1);
    until(w, reception_count(w->reception) == 0);
    rworld_free(w);
}

/* A crash, a shut write side, and an end inside a frame are the same. */
static void a_lost_application_closes_the_session(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct peer_session *client;
        struct app_conn *app;
        struct rworld *w = opened(&client, &app);
        struct peer_stream *st = peer_open(client, false);
        peer_send(st, "hello", 5, 0, false);
        app_stream(app, 3, "written before", 14, false);
        until(w, app_received(app, 0, NULL, 0) == 5 && client->stream_count == 2);
        if (how == 2)
            app_raw(app, "\0\0\1\0half", 8);
        rworld_pump(w);
        if (how == 1)
            shutdown(app->fd, SHUT_WR);
        else
            app_crash(app);
        until(w, client->closed);
        assert_int_equal(client->end.by, WT_BY_CLIENT);
        assert_int_equal(client->end.code.value, 0x1234);
        assert_string_equal(client->reason, fault_sentence(FAULT_BACKEND_LOST));
        until(w, reception_count(w->reception) == 0);
        assert_int_equal(rworld_stats(w)->faults[FAULT_BACKEND_LOST], 1);
        rworld_free(w);
    }
}

static void a_session_s_crash_leaves_others_alone(void **state)
{
    (void)state;
    struct peer_session *one, *two;
    struct app_conn *app;
    struct rworld *w = opened(&one, &app);
    two = rworld_connect(w, "/", NULL, 0);
    until(w, rworld_app(w, 1));
    app_accept(rworld_app(w, 1));
    until(w, two->responded);
    app_crash(app);
    until(w, one->closed);
    struct peer_stream *st = peer_open(two, true);
    peer_send(st, "still here", 10, 0, true);
    until(w, app_ended(rworld_app(w, 1), 2));
    assert_false(two->closed);
    rworld_free(w);
}

/* --- limits and shutdown --- */

static void one_session_too_many_is_503(void **state)
{
    (void)state;
    struct rworld_config config = rworld_defaults();
    config.max_sessions = 1;
    struct rworld *w = rworld_new(1, false, &config);
    rworld_connect(w, "/", NULL, 0);
    until(w, rworld_app(w, 0));
    struct peer_session *second = rworld_connect(w, "/", NULL, 0);
    until(w, second->closed);
    assert_int_equal(second->status, 503);
    assert_int_equal(rworld_stats(w)->faults[FAULT_TOO_MANY_SESSIONS], 1);
    app_close(rworld_app(w, 0), 0, "");
    until(w, rworld_app(w, 0)->eof);
    app_crash(rworld_app(w, 0));
    until(w, reception_count(w->reception) == 0);
    struct peer_session *third = rworld_connect(w, "/", NULL, 0);
    until(w, rworld_app(w, 1));
    assert_false(third->closed);
    rworld_free(w);
}

static void draining_tells_applications_and_takes_no_more(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    reception_drain(w->reception, 30 * NS_PER_S);
    until(w, app_count(app, MESSAGE_DRAIN, APP_ANY));
    const struct message *m = app_last(app, MESSAGE_DRAIN, APP_ANY);
    assert_true(text_is(m->reason, "shutdown"));
    assert_in_range(m->deadline_ms.value, 29000, 30000);
    struct peer_session *second = rworld_connect(w, "/", NULL, 0);
    until(w, second->closed);
    assert_int_equal(second->status, 503);
    reception_close_all(w->reception);
    until(w, client->closed && app->eof);
    assert_int_equal(client->end.code.value, 0);
    assert_disconnect(app, "proxy", 0, "the server is shutting down", false);
    rworld_free(w);
}

/* Eight sessions: within eight times 2 ms, not in one moment, and all with the same end in view. */
static void draining_is_spread(void **state)
{
    enum { SESSIONS = 8 };
    uint64_t earliest = UINT64_MAX, latest = 0;
    (void)state;
    struct rworld_config config = rworld_defaults();
    struct rworld *w = rworld_new(1, false, &config);
    for (size_t i = 0; i < SESSIONS; i++) {
        struct peer_session *client = rworld_connect(w, "/", NULL, 0);
        until(w, rworld_app(w, i));
        app_accept(rworld_app(w, i));
        until(w, client->responded);
    }
    reception_drain(w->reception, 30 * NS_PER_S);
    for (size_t i = 0; i < SESSIONS; i++) {
        struct app_conn *app = rworld_app(w, i);
        until(w, w->client.sessions[i]->draining && app_count(app, MESSAGE_DRAIN, APP_ANY));
        uint64_t left = app_last(app, MESSAGE_DRAIN, APP_ANY)->deadline_ms.value;
        earliest = left < earliest ? left : earliest;
        latest = left > latest ? left : latest;
    }
    assert_in_range(latest, 29970, 30000);
    assert_in_range(earliest, 29970, latest - 1);
    rworld_free(w);
}

static void draining_is_passed_on_both_ways(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    app_send(app, &(struct message){.type = MESSAGE_DRAIN});
    wt_drain(client->wt);
    until(w, client->draining && app_count(app, MESSAGE_DRAIN, APP_ANY));
    assert_true(text_is(app_last(app, MESSAGE_DRAIN, APP_ANY)->reason, "client"));
    rworld_free(w);
}

static void shutdown_before_the_answer_is_503(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = asked(&client, &app);
    reception_close_all(w->reception);
    until(w, client->closed && app->eof);
    assert_int_equal(client->status, 503);
    assert_disconnect(app, "proxy", -1, "", false);
    rworld_free(w);
}

static void an_application_that_never_reads_does_not_hold_the_end_up(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    uint8_t *bytes = calloc(1, 1 << 20);
    w->reads = false;
    struct peer_stream *st = peer_open(client, false);
    peer_send(st, bytes, 1 << 20, 0, true);
    rworld_run_for(w, 5 * NS_PER_S);
    assert_false(st->all_acked);
    wt_close(client->wt, 0, "", 0);
    until(w, client->closed);
    rworld_run_for(w, 7 * NS_PER_S); /* twice linger_timeout */
    assert_int_equal(reception_count(w->reception), 0);
    assert_int_equal(rworld_stats(w)->receive_bytes, 0);
    free(bytes);
    rworld_free(w);
}

static void no_memory_for_a_session_is_503(void **state)
{
    (void)state;
    struct rworld_config config = rworld_defaults();
    struct rworld *w = rworld_new(1, false, &config);
    struct budget *memory = world_env(w->server_host)->memory;
    memory->limit = 300 * 1024; /* enough for the connection */
    struct peer_session *client = rworld_connect(w, "/", NULL, 0);
    until(w, client->closed);
    assert_int_equal(client->status, 503);
    assert_int_equal(rworld_stats(w)->faults[FAULT_MEMORY_SESSION], 1);
    assert_int_equal(w->conn_count, 0);
    memory->limit = UINT64_MAX;
    rworld_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scope_says_what_the_client_asked_for),
        cmocka_unit_test(subprotocols_are_read_as_a_structured_field),
        cmocka_unit_test(accept_carries_status_headers_and_subprotocol),
        cmocka_unit_test(reject_carries_status_and_headers),
        cmocka_unit_test(close_before_accept_means_403),
        cmocka_unit_test(abort_before_accept_resets_the_request),
        cmocka_unit_test(the_client_closes),
        cmocka_unit_test(the_application_closes),
        cmocka_unit_test(the_application_may_leave_after_its_close),
        cmocka_unit_test(accept_and_close_in_one_go),
        cmocka_unit_test(close_after_delivery_waits_for_the_client),
        cmocka_unit_test(the_application_aborts),
        cmocka_unit_test(the_client_vanishes),
        cmocka_unit_test(the_client_closes_its_connection),
        cmocka_unit_test(the_client_leaves_before_the_answer),
        cmocka_unit_test(an_absent_application_is_502),
        cmocka_unit_test(no_answer_is_504),
        cmocka_unit_test(a_crash_before_the_answer_is_502),
        cmocka_unit_test(a_lost_application_closes_the_session),
        cmocka_unit_test(a_session_s_crash_leaves_others_alone),
        cmocka_unit_test(one_session_too_many_is_503),
        cmocka_unit_test(draining_tells_applications_and_takes_no_more),
        cmocka_unit_test(draining_is_spread),
        cmocka_unit_test(draining_is_passed_on_both_ways),
        cmocka_unit_test(shutdown_before_the_answer_is_503),
        cmocka_unit_test(no_memory_for_a_session_is_503),
        cmocka_unit_test(an_application_that_never_reads_does_not_hold_the_end_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
