/*
 * Tests of what happens when memory ends: nothing grows, and nobody else notices.
 */
#include <stdlib.h>
#include <string.h>

#include "base/budget.h"
#include "base/stats.h"
#include "base/timers.h"
#include "pair.h"
#include "unit/cmocka_all.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static struct budget *server_memory(const struct pair *p)
{
    return world_env(p->server_host)->memory;
}

static bool client_closed(struct pair *p)
{
    return p->client_session->closed;
}

static void connection_is_refused(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_ECHO);
    struct peer_session *first = p->client_session;
    server_memory(p)->limit = server_memory(p)->used + 1000;
    pair_connect(p, "/", NULL, 0);
    assert_true(pair_run(p, client_closed));
    assert_false(p->client_session->responded);
    assert_int_equal(pair_server_stats(p)->faults[FAULT_MEMORY_CONNECTION], 1);
    assert_false(first->closed);
    server_memory(p)->limit = UINT64_MAX;
    pair_connect(p, "/", NULL, 0);
    assert_true(pair_run(p, pair_both_open));
    pair_free(p);
}

static bool client_sees_refusals(struct pair *p)
{
    struct peer_session *s = p->client_session;
    for (size_t i = 0; i < s->stream_count; i++)
        if (s->streams[i]->stopped)
            return true;
    return false;
}

static bool first_is_echoed(struct pair *p)
{
    return p->client_session->streams[0]->fin;
}

static void stream_is_refused_and_others_go_on(void **state)
{
    (void)state;
    struct pair *p = pair_open(1, false, PEER_ECHO);
    struct peer_stream *first = peer_open(p->client_session, false);
    peer_send(first, "hello", 5, 0, false);
    pair_run_for(p, NS_PER_S);
    server_memory(p)->limit = server_memory(p)->used + 5000; /* a few more */
    for (int i = 0; i < 20; i++)
        peer_send(peer_open(p->client_session, false), "x", 1, 0, false);
    assert_true(pair_run(p, client_sees_refusals));
    assert_true(pair_server_stats(p)->faults[FAULT_MEMORY_STREAM] >= 10);
    peer_send(first, " again", 6, 0, true);
    assert_true(pair_run(p, first_is_echoed));
    assert_memory_equal(first->data, "hello again", 11);
    pair_free(p);
}

static bool server_has_it_all(struct pair *p)
{
    struct peer_session *s = pair_server_session(p);
    return s->stream_count == 1 && s->streams[0]->fin;
}

static uint64_t peak_of_an_upload(uint64_t room)
{
    struct wt_config config = pair_config();
    config.connection_window = config.stream_window = 4 * MIB;
    struct pair *p = pair_new_with(1, false, &config);
    pair_connect(p, "/", NULL, 0);
    assert_true(pair_run(p, pair_both_open));
    uint64_t before = server_memory(p)->used;
    if (room != UINT64_MAX)
        server_memory(p)->limit = before + room;
    uint8_t *bytes = calloc(1, 20 * MIB);
    assert_non_null(bytes);
    peer_send(peer_open(p->client_session, true), bytes, 20 * MIB, 0, true);
    assert_true(pair_run(p, server_has_it_all));
    uint64_t after = server_memory(p)->used;
    pair_free(p);
    free(bytes);
    return after - before;
}

/* The window of a fast client grows, but only into what there is; the upload goes on all the same.
 */
static void window_grows_into_what_there_is(void **state)
{
    (void)state;
    assert_true(peak_of_an_upload(UINT64_MAX) >= 256 * KIB);
    assert_true(peak_of_an_upload(100 * KIB) <= 100 * KIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connection_is_refused),
        cmocka_unit_test(stream_is_refused_and_others_go_on),
        cmocka_unit_test(window_grows_into_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
