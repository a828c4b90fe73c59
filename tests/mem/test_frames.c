/*
 * Applications whose frames are a burden to others: a flood of tiny ones, and large ones that are
 * not finished where memory is short.
 */
#include <stdlib.h>
#include <string.h>

#include "base/budget.h"
#include "mem/relay_world.h"
#include "unit/cmocka_all.h"

#define KIB     ((size_t)1024)
#define FLOOD   20000
#define TALKERS 4

struct talk {
    struct peer_session *client;
    struct app_conn *app;
};

static struct talk begin_talk(struct rworld *w)
{
    size_t n = w->conn_count;
    struct talk t = {.client = rworld_connect(w, "/", NULL, 0)};
    until(w, rworld_app(w, n));
    t.app = rworld_app(w, n);
    app_accept(t.app);
    until(w, t.client->responded);
    return t;
}

static size_t got(const struct talk *t)
{
    return t->client->stream_count ? (size_t)t->client->streams[0]->received : 0;
}

static void tiny_commands_leave_turns_to_others(void **state)
{
    (void)state;
    struct rworld_config config = rworld_defaults();
    struct rworld *w = rworld_new(1, false, &config);
    struct talk flood = begin_talk(w), other = begin_talk(w);
    static const char bad[] = "\x81\xa4type\xa1x";
    for (int i = 0; i < FLOOD; i++)
        app_frame(flood.app, bad, sizeof bad - 1);
    app_stream(other.app, 1, "hello", 5, false);
    const uint64_t *told = &rworld_stats(w)->faults[FAULT_BACKEND_COMMAND];
    while (rworld_stats(w)->streams_opened == 0) {
        uint64_t before = *told;
        assert_true(rworld_step(w));
        rworld_pump(w); /* the timer's turn, and the socket's */
        assert_true(*told - before <= 2 * LINK_FRAMES_A_TURN);
    }
    assert_true(*told < FLOOD / 2);
    until(w, *told == FLOOD && got(&other) == 5);
    assert_false(flood.client->closed);
    rworld_free(w);
}

/* What a frame of stream.send with so many bytes of data looks like, to be sent in pieces. */
static uint8_t *long_send(size_t data_len, size_t *frame_len)
{
    uint8_t *data = calloc(1, data_len);
    struct message m = {
        .type = MESSAGE_STREAM_SEND, .stream_id = {true, 1}, .data = {data, data_len}};
    size_t len = message_encode(&m, NULL, 0);
    uint8_t *frame = malloc(len + 4);
    const uint8_t length[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                               (uint8_t)len};
    memcpy(frame, length, 4);
    message_encode(&m, frame + 4, len);
    free(data);
    *frame_len = len + 4;
    return frame;
}

static void unfinished_frames_harm_only_who_left_them(void **state)
{
    (void)state;
    struct rworld_config config = rworld_defaults();
    config.route.stream_window = config.route.session_window = 8 * KIB * KIB;
    struct rworld *w = rworld_new(1, false, &config);
    struct talk talks[TALKERS]; /* 0 and 1 leave theirs, 2 finishes, 3 has small ones only */
    for (size_t i = 0; i < TALKERS; i++)
        talks[i] = begin_talk(w);
    size_t len;
    uint8_t *frame = long_send(100 * KIB, &len);
    struct budget *memory = world_env(w->server_host)->memory;
    uint64_t taken = 64 * KIB * KIB;
    budget_charge(memory, taken);
    memory->limit = memory->used / 7 * 8 - 8;
    assert_true(budget_is_short(memory));
    uint64_t before = memory->used;
    app_raw(talks[0].app, frame, 50 * KIB);
    app_raw(talks[1].app, frame, 50 * KIB);
    rworld_run_for(w, NS_PER_S);
    app_raw(talks[2].app, frame, len);
    for (int i = 0; i < 5; i++) {
        app_stream(talks[3].app, 1, "hello", 5, false);
        until(w, got(&talks[3]) == 5 * ((size_t)i + 1));
        rworld_run_for(w, NS_PER_S);
    }
    assert_int_equal(got(&talks[2]), 0); /* waits its turn */
    assert_true(memory->used - before <= 300 * KIB);
    until(w, got(&talks[2]) == 100 * KIB);
    until(w, talks[0].client->closed && talks[1].client->closed);
    assert_int_equal(talks[0].client->end.code.value, config.route.lost_code);
    assert_int_equal(rworld_stats(w)->faults[FAULT_MEMORY_FRAME], 2);
    assert_false(talks[2].client->closed || talks[3].client->closed);
    memory->limit = UINT64_MAX;
    budget_release(memory, taken);
    free(frame);
    rworld_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_commands_leave_turns_to_others),
        cmocka_unit_test(unfinished_frames_harm_only_who_left_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
