/*
 * What the application asks for with receive_window, and what the client is granted because of it;
 * and what the application is granted itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem/relay_world.h"
#include "unit/cmocka_all.h"

#define KIB   ((size_t)1024)
#define MIB   (1024 * KIB)
#define FIRST (64 * KIB) /* of the front's: what a client may send on a stream at once */

static uint8_t bytes[2 * MIB];

static struct rworld *opened(uint64_t seed, bool bad, uint64_t receive_window,
                             struct peer_session **client, struct app_conn **app)
{
    struct rworld_config config = rworld_defaults();
    config.wt.connection_window = 8 * MIB;
    struct rworld *w = rworld_new(seed, bad, &config);
    *client = rworld_connect(w, "/", NULL, 0);
    until(w, rworld_app(w, 0));
    *app = rworld_app(w, 0);
    app_send(*app,
             &(struct message){.type = MESSAGE_ACCEPT, .receive_window = {true, receive_window}});
    until(w, (*client)->responded);
    return w;
}

static void give(struct app_conn *app, uint64_t id, uint64_t limit)
{
    app_send(app, &(struct message){
                      .type = MESSAGE_CREDIT, .stream_id = {true, id}, .limit = {true, limit}});
}

/* More of them than the connection's window has room for, by far, if each had a window of its own
 * filled; and they have been fast, so that their windows are large. */
static void streams_without_credit_keep_no_other_from_sending(uint64_t seed)
{
    const uint64_t window = 4 * FIRST;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(seed, true, window, &client, &app);
    for (size_t i = 0; i < 60; i++)
        peer_send(peer_open(client, true), bytes, sizeof bytes, 0, true);
    rworld_run_for(w, 5 * NS_PER_S);
    struct peer_stream *other = peer_open(client, true);
    uint64_t id = 2 + 4 * 60;
    peer_send(other, bytes, sizeof bytes, 0, true);
    until(w, app_count(app, MESSAGE_STREAM_RECEIVE, id) > 0);
    give(app, id, sizeof bytes);
    until(w, app_ended(app, id));
    assert_int_equal(app_received(app, id, NULL, 0), sizeof bytes);
    assert_int_equal(app_received(app, 2, NULL, 0), window);
    assert_true(rworld_stats(w)->receive_bytes <= 8 * MIB / 2 + 60 * FIRST / 2);
    rworld_free(w);
}

static void stuck_streams_under_loss(void **state)
{
    (void)state;
    world_each_seed(streams_without_credit_keep_no_other_from_sending);
}

/* An application that gives new credit only when all of the old has been used up gets all of it,
 * and the client is never granted much more. */
static void all_that_is_asked_for_comes(uint64_t window, bool unidirectional)
{
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(1, false, window, &client, &app);
    struct peer_stream *st = peer_open(client, unidirectional);
    uint64_t id = unidirectional ? 2 : 0;
    peer_send(st, bytes, MIB, 0, true);
    for (uint64_t limit = window; limit < MIB; limit += window, give(app, id, limit)) {
        until(w, app_received(app, id, NULL, 0) == limit);
        rworld_run_for(w, NS_PER_S);
        assert_int_equal(app_received(app, id, NULL, 0), limit);
    }
    until(w, app_ended(app, id));
    assert_int_equal(app_received(app, id, NULL, 0), MIB);
    rworld_free(w);
}

static void no_window_is_too_odd(void **state)
{
    (void)state;
    const uint64_t windows[] = {10007,     32 * KIB - 1, 32 * KIB,        32 * KIB + 1,
                                64 * KIB,  64 * KIB + 1, 96 * KIB + 5,    100 * KIB,
                                128 * KIB, 200003,       256 * KIB - 100, 500001};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        all_that_is_asked_for_comes(windows[i], i & 1);
}

/* Streams that the application has opened, also those that had to wait for the client's limit. */
static void the_client_answers_within_the_window(void **state)
{
    (void)state;
    struct peer_session *client;
    struct app_conn *app;
    struct rworld *w = opened(1, false, 200 * KIB, &client, &app);
    app_stream(app, 1, "hello", 5, false);
    until(w, client->stream_count == 1 && client->streams[0]->len == 5);
    peer_send(client->streams[0], bytes, MIB, 0, true);
    until(w, app_received(app, 1, NULL, 0) == 200 * KIB);
    give(app, 1, MIB);
    until(w, app_ended(app, 1));
    rworld_free(w);
}

/* Of a stream, or of the session: APP_ANY. */
static uint64_t limit_of(const struct app_conn *app, uint64_t id)
{
    uint64_t limit = id == APP_ANY ? app->scope.session_window : app->scope.stream_window;
    for (size_t i = 0; i < app->event_count; i++) {
        const struct message *m = &app->events[i].m;
        if (m->type == MESSAGE_CREDIT && (m->stream_id.set ? m->stream_id.value : APP_ANY) == id)
            limit = m->limit.value;
    }
    return limit;
}

/* As much as its credit allows, of one stream with all of these bytes. */
static void send_what_it_may(struct app_conn *app, uint64_t *sent, uint64_t all)
{
    uint64_t stream = limit_of(app, 1), session = limit_of(app, APP_ANY);
    uint64_t limit = stream < session ? stream : session;
    while (*sent < all && *sent < limit) {
        uint64_t len = limit - *sent < 64 * KIB ? limit - *sent : 64 * KIB;
        len = all - *sent < len ? all - *sent : len;
        app_stream(app, 1, bytes, len, *sent + len == all);
        *sent += len;
    }
}

/* What the application may at most send ahead of a client that is far away and takes all. */
static uint64_t most_promised(uint64_t session_memory)
{
    const uint64_t all = 24 * MIB;
    struct rworld_config config = rworld_defaults();
    config.route.stream_window = config.route.session_window = 8 * MIB;
    config.route.session_memory = session_memory;
    struct rworld *w = rworld_new(1, false, &config);
    world_set_link(w->world, &(struct world_link){.delay_ns = 50 * NS_PER_MS});
    struct peer_session *client = rworld_connect(w, "/", NULL, 0);
    until(w, rworld_app(w, 0));
    struct app_conn *app = rworld_app(w, 0);
    app_accept(app);
    until(w, client->responded);
    uint64_t sent = 0, most = 0, here = 0;
    until(w, (send_what_it_may(app, &sent, all),
              here = client->stream_count ? client->streams[0]->len : 0,
              most = limit_of(app, APP_ANY) - here > most ? limit_of(app, APP_ANY) - here : most,
              here == all));
    rworld_free(w);
    return most;
}

/* A quarter of it is kept for what has to be done. */
static void windows_grow_into_the_sessions_memory_only(void **state)
{
    (void)state;
    uint64_t free_to_grow = most_promised(0), bounded = most_promised(512 * KIB);
    printf("# ahead of the client: %zu KiB; of a session that has 512 KiB: %zu KiB\n",
           (size_t)(free_to_grow / KIB), (size_t)(bounded / KIB));
    assert_true(free_to_grow > 384 * KIB);
    assert_true(bounded <= 384 * KIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stuck_streams_under_loss),
        cmocka_unit_test(no_window_is_too_odd),
        cmocka_unit_test(the_client_answers_within_the_window),
        cmocka_unit_test(windows_grow_into_the_sessions_memory_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
