/*
 * Streams, credit and datagrams through the relay.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/cmocka_all.h"
#include "mem/relay_world.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static struct rworld *opened_with(uint64_t seed, bool bad, const struct rworld_config *config,
                                  struct peer_session **client, struct app_conn **app)
{
    struct rworld *w = rworld_new(seed, bad, config);
    *client = rworld_connect(w, "/", NULL, 0);
    until(w, rworld_app(w, 0));
    *app = rworld_app(w, 0);
    app_accept(*app);
    until(w, (*client)->responded);
    assert_int_equal((*client)->status, 200);
    return w;
}

static struct rworld *opened(struct peer_session **client, struct app_conn **app)
{
    struct rworld_config config = rworld_defaults();
    return opened_with(1, false, &config, client, app);
}

static uint8_t *pattern(size_t len, uint32_t seed)
{
    uint8_t *bytes = malloc(len + 1);
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    return bytes;
}

static void assert_got(const struct app_conn *app, uint64_t id, const uint8_t *bytes, size_t len)
{
    uint8_t *got = malloc(len + 1);
    assert_int_equal(app_received(app, id, got, len), len);
    assert_memory_equal(got, bytes, len);
    free(got);
}

/* --- from the client --- */

static size_t data_after_credit(const struct app_conn *app, uint64_t id)
{
    size_t len = 0;
    bool after = false;
    for (size_t i = 0; i < app->event_count; i++) {
        const struct message *m = &app->events[i].m;
        after |= m->type == MESSAGE_CREDIT && m->stream_id.set && m->stream_id.value == id;
        if (after && m->type == MESSAGE_STREAM_RECEIVE)
            len += m->data.len;
    }
    return len;
}

static void credit_goes_ahead_of_what_waits_to_be_read(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    uint8_t *bytes = pattern(4 * MIB, 1);
    peer_send(peer_open(client, true), bytes, 4 * MIB, 0, true);
    until(w, app_ended(app, 2)); /* the client's windows are large now */
    app->deaf = true;
    for (size_t i = 1; i <= 20; i++)
        peer_send(peer_open(client, true), bytes, 30 * KIB, 0, true);
    for (size_t i = 1; i <= 20; i++)
        until(w, client->streams[i]->all_acked);
    size_t waiting = rworld_stats(w)->receive_bytes;
    assert_true(waiting > 32 * KIB);
    app_stream(app, 1, bytes, 64 * KIB, false);
    until(w, rworld_stats(w)->send_bytes == 0 && client->stream_count == 22);
    rworld_run_for(w, NS_PER_S);
    assert_int_equal(rworld_stats(w)->receive_bytes, waiting);
    app->deaf = false;
    for (uint64_t i = 1; i <= 20; i++)
        until(w, app_ended(app, 2 + 4 * i));
    assert_true(data_after_credit(app, 1) >= waiting);
    free(bytes);
    rworld_free(w);
}

static void client_streams_are_numbered_in_order_of_arrival(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    const bool uni[] = {false, true, true, false};
    const uint64_t ids[] = {0, 2, 6, 4};
    for (size_t i = 0; i < 4; i++) {
        peer_send(peer_open(client, uni[i]), &"abcd"[i], 1, 0, true);
        until(w, app_ended(app, ids[i]));
        assert_got(app, ids[i], (const uint8_t *)&"abcd"[i], 1);
    }
    assert_int_equal(app_count(app, MESSAGE_STREAM_RECEIVE, APP_ANY) >= 4, 1);
    rworld_free(w);
}

static void an_opened_stream_is_announced_without_data(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    peer_send(peer_open(client, false), "", 0, 0, false);
    until(w, app_count(app, MESSAGE_STREAM_RECEIVE, 0));
    assert_int_equal(app_received(app, 0, NULL, 0), 0);
    assert_false(app_ended(app, 0));
    rworld_free(w);
}

static void an_end_comes_with_the_last_bytes(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    peer_send(peer_open(client, true), "whole", 5, 0, true);
    until(w, app_ended(app, 2));
    assert_int_equal(app_count(app, MESSAGE_STREAM_RECEIVE, 2), 1);
    assert_int_equal(app_received(app, 2, NULL, 0), 5);
    rworld_free(w);
}

static void a_reset_is_told_after_the_announcement(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    struct peer_stream *st = peer_open(client, true);
    peer_send(st, "x", 1, 0, false);
    until(w, app_received(app, 2, NULL, 0) == 1);
    wt_stream_reset(st->wt, UINT32_MAX);
    until(w, app_count(app, MESSAGE_STREAM_RESET, 2));
    assert_int_equal(app_last(app, MESSAGE_STREAM_RESET, 2)->code.value, UINT32_MAX);
    assert_false(app_ended(app, 2));
    until(w, rworld_stats(w)->streams == 0);
    rworld_free(w);
}

static void a_stop_ends_the_half_towards_the_client(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    uint8_t *bytes = pattern(64 * KIB, 1);
    app_stream(app, 1, bytes, 64 * KIB, false);
    until(w, client->stream_count == 1);
    wt_stream_stop(client->streams[0]->wt, 99);
    until(w, app_count(app, MESSAGE_STREAM_STOP, 1));
    assert_int_equal(app_last(app, MESSAGE_STREAM_STOP, 1)->code.value, 99);
    until(w, rworld_stats(w)->send_bytes == 0);
    app_stream(app, 1, "ignored", 7, true); /* class a */
    app_code(app, MESSAGE_STREAM_RESET, 1, 1);
    peer_send(client->streams[0], "back", 4, 0, true); /* the other half goes on */
    until(w, app_ended(app, 1));
    assert_got(app, 1, (const uint8_t *)"back", 4);
    assert_int_equal(app_count(app, MESSAGE_ERROR, APP_ANY), 0);
    until(w, rworld_stats(w)->streams == 0);
    free(bytes);
    rworld_free(w);
}

/* --- from the application --- */

static void the_application_opens_resets_and_stops(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    app_stream(app, 1, "bidi", 4, false);
    app_stream(app, 3, "uni", 3, true);
    app_stream(app, 7, "", 0, false);
    until(w, client->stream_count == 3 && client->streams[1]->fin);
    for (size_t i = 0; i < 3; i++) {
        struct peer_stream *st = client->streams[i];
        if (st->unidirectional && st->len)
            assert_memory_equal(st->data, "uni", 3);
    }
    app_code(app, MESSAGE_STREAM_RESET, 1, 7);
    app_code(app, MESSAGE_STREAM_STOP, 1, 8);
    app_code(app, MESSAGE_STREAM_RESET, 7, 9);
    until(w, client->streams[0]->reset && client->streams[0]->stopped && client->streams[2]->reset);
    assert_int_equal(client->streams[0]->reset_code.value, 7);
    assert_int_equal(client->streams[0]->stop_code.value, 8);
    assert_int_equal(client->streams[2]->reset_code.value, 9);
    until(w, rworld_stats(w)->streams == 0);
    rworld_free(w);
}

/* The client never learns of the stream; the application's receiving half ends all the same. */
static void a_stream_reset_before_it_left_ends_in_both_directions(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    for (uint64_t id = 1; id < 4 * 300; id += 4) {
        app_stream(app, id, "", 0, false);
        app_code(app, MESSAGE_STREAM_RESET, id, 7);
        until(w, app_count(app, MESSAGE_STREAM_RESET, id) == 1);
    }
    until(w, rworld_stats(w)->streams == 0);
    assert_int_equal(client->stream_count, 0);
    app_stream(app, 1201, "hello", 5, true);
    until(w, client->stream_count == 1 && client->streams[0]->fin);
    rworld_free(w);
}

static void a_stop_throws_away_what_waits(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    uint8_t *bytes = pattern(4 * MIB, 1);
    struct peer_stream *st = peer_open(client, true);
    w->reads = false;
    peer_send(st, bytes, 4 * MIB, 0, true);
    rworld_run_for(w, 2 * NS_PER_S);
    app_code(app, MESSAGE_STREAM_STOP, 2, 5);
    until(w, st->stopped);
    assert_int_equal(st->stop_code.value, 5);
    w->reads = true;
    until(w, rworld_stats(w)->receive_bytes == 0 && rworld_stats(w)->streams == 0);
    /* The connection's credit came back: as much again gets through. */
    for (int i = 0; i < 3; i++) {
        struct peer_stream *next = peer_open(client, true);
        peer_send(next, bytes, MIB, 0, true);
        until(w, app_ended(app, 6 + 4 * (uint64_t)i));
    }
    free(bytes);
    rworld_free(w);
}

/* Also what the link has staged and the application does not take: else the capsule that closes the
 * session would find no room in the connection's window. */
static void a_reset_gives_back_what_the_application_does_not_read(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    uint8_t *bytes = pattern(MIB, 1);
    struct peer_stream *streams[4];
    w->reads = false;
    for (size_t i = 0; i < 4; i++) {
        streams[i] = peer_open(client, true);
        peer_send(streams[i], bytes, MIB, 0, false);
    }
    rworld_run_for(w, 2 * NS_PER_S);
    for (size_t i = 0; i < 4; i++)
        wt_stream_reset(streams[i]->wt, 1);
    wt_close(client->wt, 5, "", 0);
    rworld_run_for(w, NS_PER_S);
    assert_true(client->closed && client->end.clean);
    free(bytes);
    rworld_free(w);
}

static void confirm_is_answered_when_the_client_has_all(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    app_send(app, &(struct message){.type = MESSAGE_STREAM_SEND,
                                    .stream_id = {true, 3},
                                    .data = {(const uint8_t *)"abc", 3},
                                    .confirm = true});
    rworld_run_for(w, NS_PER_S);
    assert_int_equal(app_count(app, MESSAGE_STREAM_DELIVERED, 3), 0);
    app_stream(app, 3, "", 0, true);
    until(w, app_count(app, MESSAGE_STREAM_DELIVERED, 3));
    assert_true(client->streams[0]->fin);
    app_code(app, MESSAGE_STREAM_RESET, 3, 1); /* too late: silence */
    rworld_run_for(w, NS_PER_S);
    assert_int_equal(app_count(app, MESSAGE_ERROR, APP_ANY), 0);
    rworld_free(w);
}

static void streams_beyond_the_client_s_limit_wait(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld_config config = rworld_defaults();
    config.wt.max_streams_uni = 4; /* of which HTTP/3 takes its own */
    config.route.max_pending_streams = 3;
    struct rworld *w = opened_with(1, false, &config, &client, &app);
    size_t opened_at_once = 0;
    for (uint64_t id = 3; !app_count(app, MESSAGE_ERROR, APP_ANY); id += 4) {
        app_stream(app, id, &id, 1, false);
        rworld_run_for(w, NS_PER_S);
        assert_true(id < 100);
        opened_at_once = (id - 3) / 4 - 3;
    }
    const struct message *error = app_last(app, MESSAGE_ERROR, APP_ANY);
    assert_true(text_is(error->error_code, "too_many_streams"));
    uint64_t refused = error->stream_id.value;
    assert_int_equal(client->stream_count, opened_at_once);
    app_stream(app, refused, "counts as used", 14, true); /* and ended: silence */
    app_code(app, MESSAGE_STREAM_RESET, refused - 4, 1);  /* a waiting one: never heard of */
    app_stream(app, refused - 8, "", 0, true);
    app_stream(app, refused - 12, "", 0, true);
    for (uint64_t id = 3; id < refused - 12; id += 4)
        app_stream(app, id, "", 0, true);
    until(w, client->stream_count == opened_at_once + 2);
    for (size_t i = 0; i < client->stream_count; i++) {
        until(w, client->streams[i]->fin);
        assert_int_equal(client->streams[i]->len, 1);
        assert_int_equal(client->streams[i]->data[0], 3 + 4 * i);
    }
    assert_int_equal(app_count(app, MESSAGE_ERROR, APP_ANY), 1);
    app_stream(app, refused + 4, "goes on", 7, true);
    until(w, client->stream_count == opened_at_once + 3);
    rworld_free(w);
}

/* --- credit --- */

/* Sends as an application does that honours its credit. */
static void honour(struct app_conn *app, uint64_t id, const uint8_t *bytes, size_t len, size_t *at)
{
    const struct message *mine = app_last(app, MESSAGE_CREDIT, id);
    uint64_t limit = mine ? mine->limit.value : app->scope.stream_window;
    uint64_t session_limit = app->scope.session_window;
    for (size_t i = 0; i < app->event_count; i++)
        if (app->events[i].m.type == MESSAGE_CREDIT && !app->events[i].m.stream_id.set)
            session_limit = app->events[i].m.limit.value;
    if (session_limit < limit)
        limit = session_limit;
    while (*at < len && *at < limit) {
        size_t n = len - *at < 10000 ? len - *at : 10000;
        n = limit - *at < n ? limit - *at : n;
        app_stream(app, id, bytes + *at, n, *at + n == len);
        *at += n;
    }
}

static void credit_lets_a_large_transfer_through(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    uint8_t *bytes = pattern(2 * MIB, 3);
    size_t at = 0;
    until(w,
          (honour(app, 1, bytes, 2 * MIB, &at), client->stream_count && client->streams[0]->fin));
    assert_int_equal(client->streams[0]->len, 2 * MIB);
    assert_memory_equal(client->streams[0]->data, bytes, 2 * MIB);
    /* Batched: not a message for every packet. */
    assert_true(app_count(app, MESSAGE_CREDIT, APP_ANY) < 300);
    free(bytes);
    rworld_free(w);
}

static void an_application_that_ignores_credit_is_held_up(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld_config config = rworld_defaults();
    struct rworld *w = opened_with(1, false, &config, &client, &app);
    uint8_t *bytes = pattern(30 * 96 * KIB, 4);
    for (size_t i = 0; i < 30; i++)
        app_stream(app, 1, bytes + i * 96 * KIB, 96 * KIB, i == 29);
    uint64_t most = 0;
    until(w, (most = rworld_stats(w)->send_bytes > most ? rworld_stats(w)->send_bytes : most,
              client->stream_count && client->streams[0]->fin));
    /* The window and one frame, in relay and in wt. */
    assert_true(most <= config.route.stream_window + 96 * KIB + 1000);
    assert_int_equal(client->streams[0]->len, 30 * 96 * KIB);
    assert_memory_equal(client->streams[0]->data, bytes, 30 * 96 * KIB);
    free(bytes);
    rworld_free(w);
}

static void a_stalled_session_ends(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    world_set_link(w->world, &(struct world_link){.delay_ns = NS_PER_MS, .loss = 1});
    uint8_t *bytes = pattern(400 * KIB, 5);
    app_stream(app, 1, bytes, 400 * KIB, false);
    until(w, app->eof);
    const struct message *m = app_last(app, MESSAGE_DISCONNECT, APP_ANY);
    assert_true(text_is(m->by, "proxy"));
    assert_int_equal(m->code.value, 0x1234);
    assert_int_equal(rworld_stats(w)->faults[FAULT_BACKEND_STALLED], 1);
    free(bytes);
    rworld_free(w);
}

static void bytes_for_an_ended_half_do_not_use_up_credit(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    app_stream(app, 1, "x", 1, true);
    until(w, client->stream_count && client->streams[0]->fin);
    uint8_t *bytes = pattern(64 * KIB, 6);
    for (int i = 0; i < 3; i++)
        app_stream(app, 1, bytes, 64 * KIB, false);
    until(w, app_count(app, MESSAGE_CREDIT, APP_ANY));
    const struct message *m = app_last(app, MESSAGE_CREDIT, APP_ANY);
    assert_false(m->stream_id.set);
    assert_true(m->limit.value >= app->scope.session_window + 64 * KIB);
    free(bytes);
    rworld_free(w);
}

static void receive_window_leaves_credit_to_the_application(void **state)
{
    (void)state;
    struct rworld_config config = rworld_defaults();
    struct rworld *w = rworld_new(1, false, &config);
    struct peer_session *client = rworld_connect(w, "/", NULL, 0);
    until(w, rworld_app(w, 0));
    struct app_conn *app = rworld_app(w, 0);
    app_send(app, &(struct message){.type = MESSAGE_ACCEPT, .receive_window = {true, 1000}});
    until(w, client->responded);
    uint8_t *bytes = pattern(5000, 7);
    peer_send(peer_open(client, true), bytes, 5000, 0, true);
    peer_send(peer_open(client, true), bytes, 600, 0, true);
    rworld_run_for(w, NS_PER_S);
    assert_int_equal(app_received(app, 2, NULL, 0), 1000);
    assert_true(app_ended(app, 6)); /* a stream nobody reads blocks nobody */
    app_send(app, &(struct message){
                      .type = MESSAGE_CREDIT, .stream_id = {true, 2}, .limit = {true, 3500}});
    rworld_run_for(w, NS_PER_S);
    assert_int_equal(app_received(app, 2, NULL, 0), 3500);
    assert_false(app_ended(app, 2));
    app_send(app, &(struct message){
                      .type = MESSAGE_CREDIT, .stream_id = {true, 2}, .limit = {true, 5000}});
    until(w, app_ended(app, 2));
    assert_got(app, 2, bytes, 5000);
    /* One for all streams: 5600 bytes have been told so far. */
    app_send(app, &(struct message){.type = MESSAGE_CREDIT, .limit = {true, 5800}});
    rworld_run_for(w, NS_PER_S);
    peer_send(peer_open(client, true), bytes, 300, 0, true);
    rworld_run_for(w, NS_PER_S);
    assert_int_equal(app_received(app, 10, NULL, 0), 200);
    app_send(app, &(struct message){.type = MESSAGE_CREDIT, .limit = {true, 5700}}); /* not less */
    app_send(app, &(struct message){.type = MESSAGE_CREDIT, .limit = {true, 6000}});
    until(w, app_ended(app, 10));
    assert_got(app, 10, bytes, 300);
    free(bytes);
    rworld_free(w);
}

/* --- an application that reads slowly --- */

static void a_slow_reader_slows_the_client_down(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld_config config = rworld_defaults();
    struct rworld *w = opened_with(1, false, &config, &client, &app);
    uint8_t *bytes = pattern(6 * MIB, 8);
    w->reads = false;
    struct peer_stream *large = peer_open(client, true);
    peer_send(large, bytes, 6 * MIB, 0, true);
    peer_send(peer_open(client, true), bytes, 100 * KIB, 0, true);
    rworld_run_for(w, 10 * NS_PER_S);
    assert_true(large->acked < MIB);
    assert_true(rworld_stats(w)->receive_bytes <= config.wt.connection_window);
    w->reads = true;
    until(w, app_ended(app, 2) && app_ended(app, 6));
    assert_got(app, 2, bytes, 6 * MIB);
    assert_got(app, 6, bytes, 100 * KIB);
    assert_int_equal(rworld_stats(w)->receive_bytes, 0);
    free(bytes);
    rworld_free(w);
}

static void what_waits_is_told_before_disconnect(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    uint8_t *bytes = pattern(50 * KIB, 9);
    w->reads = false;
    struct peer_stream *st[4];
    for (size_t i = 0; i < 4; i++)
        peer_send(st[i] = peer_open(client, true), bytes, 50 * KIB, 0, true);
    until(w, st[0]->all_acked && st[1]->all_acked && st[2]->all_acked && st[3]->all_acked);
    wt_close(client->wt, 3, "", 0);
    until(w, client->closed);
    w->reads = true;
    until(w, app->eof);
    for (uint64_t i = 0; i < 4; i++) {
        assert_true(app_ended(app, 2 + 4 * i));
        assert_got(app, 2 + 4 * i, bytes, 50 * KIB);
    }
    assert_int_equal(app_last(app, MESSAGE_DISCONNECT, APP_ANY)->code.value, 3);
    free(bytes);
    rworld_free(w);
}

/* --- datagrams --- */

static void datagrams_go_both_ways(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    assert_true(wt_datagram_send(client->wt, "", 0));
    assert_true(wt_datagram_send(client->wt, "ping", 4));
    until(w, app_count(app, MESSAGE_DATAGRAM_RECEIVE, APP_ANY) == 2);
    const struct message *last = app_last(app, MESSAGE_DATAGRAM_RECEIVE, APP_ANY);
    assert_int_equal(last->data.len, 4); /* the first was empty */
    assert_memory_equal(last->data.at, "ping", 4);
    app_send(app, &(struct message){.type = MESSAGE_DATAGRAM_SEND,
                                    .data = {(const uint8_t *)"pong", 4}});
    until(w, client->datagrams == 1);
    assert_memory_equal(client->datagram, "pong", 4);
    rworld_free(w);
}

static void too_large_a_datagram_is_an_error(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    uint8_t bytes[3000] = {0};
    app_send(app, &(struct message){.type = MESSAGE_DATAGRAM_SEND, .data = {bytes, sizeof bytes}});
    until(w, app_count(app, MESSAGE_ERROR, APP_ANY));
    const struct message *m = app_last(app, MESSAGE_ERROR, APP_ANY);
    assert_true(text_is(m->error_code, "datagram_too_large"));
    assert_false(client->closed);
    rworld_free(w);
}

static void datagrams_for_a_slow_reader_are_bounded(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld_config config = rworld_defaults();
    struct rworld *w = opened_with(1, false, &config, &client, &app);
    uint8_t bytes[1000] = {0};
    w->reads = false;
    for (int i = 0; i < 1500; i++) {
        wt_datagram_send(client->wt, bytes, sizeof bytes);
        rworld_run_for(w, NS_PER_MS);
    }
    assert_true(rworld_stats(w)->datagrams_dropped > 0);
    assert_true(rworld_stats(w)->datagrams <= config.route.datagram_queue);
    w->reads = true;
    until(w, rworld_stats(w)->datagrams == 0);
    rworld_free(w);
}

static void datagrams_that_waited_too_long_are_not_told(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld_config config = rworld_defaults();
    config.route.datagram_ttl_ns = config.wt.datagram_ttl_ns = NS_PER_S;
    struct rworld *w = opened_with(1, false, &config, &client, &app);
    uint8_t bytes[1000] = {0};
    w->reads = false;
    for (int i = 0; i < 1000; i++) {
        wt_datagram_send(client->wt, bytes, sizeof bytes);
        rworld_run_for(w, NS_PER_MS);
    }
    assert_true(rworld_stats(w)->datagrams > 0);
    rworld_run_for(w, NS_PER_S);
    bytes[0] = 1;
    wt_datagram_send(client->wt, bytes, sizeof bytes);
    rworld_run_for(w, NS_PER_S / 2);
    size_t waiting = rworld_stats(w)->datagrams;
    w->reads = true;
    until(w, rworld_stats(w)->datagrams == 0);
    assert_int_equal(rworld_stats(w)->datagrams_expired, waiting - 1);
    rworld_run_for(w, NS_PER_S);
    assert_int_equal(app_last(app, MESSAGE_DATAGRAM_RECEIVE, APP_ANY)->data.at[0], 1);
    rworld_free(w);
}

/* --- long runs --- */

/* Answers each stream of the client with its own bytes. */
static void echo(struct app_conn *c, const struct app_event *e)
{
    const struct message *m = &e->m;
    if (m->type != MESSAGE_STREAM_RECEIVE)
        return;
    if (m->data.len || m->stream_ended)
        app_stream(c, m->stream_id.value, m->data.at, m->data.len, m->stream_ended);
}

static void echo_in_a_bad_network(uint64_t seed)
{
    struct peer_session *client;
    struct app_conn *app;
    struct rworld_config config = rworld_defaults();
    struct rworld *w = opened_with(seed, true, &config, &client, &app);
    struct peer_stream *st[8];
    uint8_t *bytes = pattern(200 * KIB, (uint32_t)seed);
    w->on_event = echo;
    for (size_t i = 0; i < 8; i++)
        peer_send(st[i] = peer_open(client, false), bytes, (i + 1) * 25 * KIB, i == 3 ? 1 : 0,
                  true);
    for (size_t i = 0; i < 8; i++)
        until(w, st[i]->fin && st[i]->all_acked);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(st[i]->len, (i + 1) * 25 * KIB);
        assert_memory_equal(st[i]->data, bytes, st[i]->len);
    }
    until(w, rworld_stats(w)->streams == 0);
    free(bytes);
    rworld_free(w);
}

static void echo_is_intact_in_a_bad_network(void **state)
{
    (void)state;
    world_each_seed(echo_in_a_bad_network);
}

static void many_streams_one_after_another_leave_nothing(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(&client, &app);
    w->client.forgets = true;
    w->on_event = echo;
    for (int i = 0; i < 3000; i++) {
        struct peer_stream *st = NULL;
        until(w, (st = peer_open(client, i & 1)));
        peer_send(st, "some bytes", 10, 0, true);
    }
    until(w, rworld_stats(w)->streams == 0 && client->stream_count == 0);
    assert_int_equal(rworld_stats(w)->streams_opened, 3000);
    rworld_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(credit_goes_ahead_of_what_waits_to_be_read),
        cmocka_unit_test(client_streams_are_numbered_in_order_of_arrival),
        cmocka_unit_test(an_opened_stream_is_announced_without_data),
        cmocka_unit_test(an_end_comes_with_the_last_bytes),
        cmocka_unit_test(a_reset_is_told_after_the_announcement),
        cmocka_unit_test(a_stop_ends_the_half_towards_the_client),
        cmocka_unit_test(the_application_opens_resets_and_stops),
        cmocka_unit_test(a_stream_reset_before_it_left_ends_in_both_directions),
        cmocka_unit_test(a_stop_throws_away_what_waits),
        cmocka_unit_test(a_reset_gives_back_what_the_application_does_not_read),
        cmocka_unit_test(confirm_is_answered_when_the_client_has_all),
        cmocka_unit_test(streams_beyond_the_client_s_limit_wait),
        cmocka_unit_test(credit_lets_a_large_transfer_through),
        cmocka_unit_test(an_application_that_ignores_credit_is_held_up),
        cmocka_unit_test(a_stalled_session_ends),
        cmocka_unit_test(bytes_for_an_ended_half_do_not_use_up_credit),
        cmocka_unit_test(receive_window_leaves_credit_to_the_application),
        cmocka_unit_test(a_slow_reader_slows_the_client_down),
        cmocka_unit_test(what_waits_is_told_before_disconnect),
        cmocka_unit_test(datagrams_go_both_ways),
        cmocka_unit_test(too_large_a_datagram_is_an_error),
        cmocka_unit_test(datagrams_for_a_slow_reader_are_bounded),
        cmocka_unit_test(datagrams_that_waited_too_long_are_not_told),
        cmocka_unit_test(echo_is_intact_in_a_bad_network),
        cmocka_unit_test(many_streams_one_after_another_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
