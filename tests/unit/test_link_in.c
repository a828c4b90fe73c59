/*
 * link, frames in: small ones by the thousand, and large ones where memory is short.
 */
#include "cmocka_all.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link_world.h"

#define KIB 1024u

/* A link beside the world's own. */
struct other {
    struct world *w;
    struct link *link;
    int app;
    size_t frames, frame_bytes;
    bool opened, closed;
    enum fault fault;
};

static void on_opened(void *user)
{
    ((struct other *)user)->opened = true;
}

static void on_frame(void *user, const uint8_t *body, size_t len)
{
    struct other *o = user;
    assert_non_null(body);
    o->frames++;
    o->frame_bytes += len;
}

static void on_refused(void *user, uint64_t length)
{
    (void)user;
    fail_msg("length %llu", (unsigned long long)length);
}

static void on_written(void *user, void *receipt, size_t bytes, size_t count)
{
    (void)user, (void)receipt, (void)bytes, (void)count;
}

static void on_writable(void *user)
{
    (void)user;
}

static void on_closed(void *user, const struct link_end *end)
{
    struct other *o = user;
    o->closed = true;
    o->link = NULL;
    o->fault = end->fault;
}

static const struct link_ops other_ops = {on_opened,  on_frame,    on_refused,
                                          on_written, on_writable, on_closed};

static void connect_other(struct other *o, struct world *w)
{
    unlink(w->path);
    int listener = world_listen_unix(w, 16);
    *o = (struct other){.w = w};
    o->link = world_open(w, &other_ops, o);
    until(w, o->opened);
    o->app = accept(listener, NULL, NULL);
    assert_true(o->app >= 0);
    close(listener);
}

static void close_other(struct other *o)
{
    close(o->app);
    until(o->w, o->closed);
}

static void write_now(int fd, const void *data, size_t len)
{
    fcntl(fd, F_SETFL, O_NONBLOCK);
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

/* Begins a frame of this length with so many bytes of it. */
static void begin_frame(struct world *w, int fd, size_t len, size_t begun)
{
    uint8_t *frame = world_frame(len, 'b');
    world_write(w, fd, frame, 4 + begun);
    free(frame);
}

static void go_on(struct world *w, int fd, size_t len)
{
    uint8_t *bytes = calloc(1, len);
    world_write(w, fd, bytes, len);
    free(bytes);
}

static void a_flood_of_small_frames_takes_turns(void **state)
{
    struct world *w = *state;
    struct other other;
    uint8_t flood[5 * 5000] = {0};
    for (size_t i = 0; i < sizeof flood; i += 5)
        flood[i + 3] = 1;
    int app = world_connected(w);
    connect_other(&other, w);
    write_now(app, flood, sizeof flood);
    write_now(other.app, flood, 5);
    size_t before = 0;
    while (w->frames < 5000) {
        world_step(w); /* the socket's turn, and the timer's */
        assert_true(w->frames - before <= 2 * LINK_FRAMES_A_TURN);
        assert_int_equal(other.frames, 1);
        before = w->frames;
    }
    assert_int_equal(w->stats.memory_bytes, 0);
    close_other(&other);
    close(app);
}

static void an_end_behind_a_flood_is_met_after_it(void **state)
{
    struct world *w = *state;
    uint8_t flood[5 * 5000] = {0};
    for (size_t i = 0; i < sizeof flood; i += 5)
        flood[i + 3] = 1;
    int app = world_connected(w);
    write_now(app, flood, sizeof flood);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->frames, 5000);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
}

static void a_pause_in_a_flood_holds(void **state)
{
    struct world *w = *state;
    uint8_t flood[5 * 3000] = {0};
    for (size_t i = 0; i < sizeof flood; i += 5)
        flood[i + 3] = 1;
    int app = world_connected(w);
    write_now(app, flood, sizeof flood);
    until(w, w->frames > 0);
    size_t before = w->frames;
    assert_true(before < 3000);
    link_pause(w->link);
    for (int i = 0; i < 5; i++)
        world_step(w);
    assert_int_equal(w->frames, before);
    link_resume(w->link);
    until(w, w->frames == 3000);
    close(app);
}

/* Nothing is left but what is kept for needs. */
static uint64_t make_memory_short(struct world *w)
{
    w->memory.limit = 16 * 1024 * KIB;
    uint64_t taken = 14 * 1024 * KIB + 1 - w->memory.used;
    budget_charge(&w->memory, taken);
    return taken;
}

static void give_memory_back(struct world *w, uint64_t taken)
{
    w->memory.limit = UINT64_MAX;
    budget_release(&w->memory, taken);
}

static void steps(struct world *w, int count)
{
    for (int i = 0; i < count; i++) {
        world_step(w);
        w->now += 30 * NS_PER_MS;
    }
}

static void large_frames_come_one_after_the_other_where_memory_is_short(void **state)
{
    struct world *w = *state;
    struct other others[3];
    int app = world_connected(w);
    for (int i = 0; i < 3; i++)
        connect_other(&others[i], w);
    uint64_t taken = make_memory_short(w);
    uint64_t before = w->memory.used;
    /* Each has half a frame: nobody could finish if all waited for each other. */
    begin_frame(w, app, 600 * KIB, 40 * KIB);
    steps(w, 5);
    for (int i = 0; i < 3; i++) {
        begin_frame(w, others[i].app, 600 * KIB, 40 * KIB);
        steps(w, 5);
    }
    assert_true(w->memory.used - before <= 600 * KIB + 4 * 32 * KIB);
    for (int i = 0; i < 3; i++) { /* in turn */
        go_on(w, i == 0 ? app : others[i - 1].app, 560 * KIB);
        steps(w, 3);
    }
    go_on(w, others[2].app, 560 * KIB);
    until(w, w->frames == 1);
    for (int i = 0; i < 3; i++)
        until(w, others[i].frames == 1);
    assert_int_equal(w->memory.used, before);
    give_memory_back(w, taken);
    for (int i = 0; i < 3; i++)
        close_other(&others[i]);
    close(app);
}

static void who_does_not_finish_is_lost_and_who_waits_is_not(void **state)
{
    struct world *w = *state;
    struct other other, small;
    int app = world_connected(w);
    connect_other(&other, w);
    connect_other(&small, w);
    uint64_t taken = make_memory_short(w);
    begin_frame(w, app, 600 * KIB, 40 * KIB); /* and never more */
    steps(w, 5);
    begin_frame(w, other.app, 100 * KIB, 100 * KIB);
    write_now(small.app, "\0\0\0\2ok", 6);
    until(w, small.frames == 1);
    steps(w, 20);
    assert_int_equal(other.frames, 0);
    assert_int_equal(w->closed, 0);
    w->now += 5 * NS_PER_S;
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_MEMORY_FRAME);
    until(w, other.frames == 1);
    assert_false(other.closed);
    give_memory_back(w, taken);
    close_other(&other);
    close_other(&small);
    close(app);
}

static void who_waits_gets_what_becomes_free(void **state)
{
    struct world *w = *state;
    struct other other;
    int app = world_connected(w);
    connect_other(&other, w);
    uint64_t taken = make_memory_short(w);
    begin_frame(w, app, 600 * KIB, 40 * KIB);
    steps(w, 5);
    begin_frame(w, other.app, 100 * KIB, 100 * KIB);
    steps(w, 5);
    assert_int_equal(other.frames, 0);
    w->memory.limit = UINT64_MAX;
    w->now += 30 * NS_PER_MS;
    until(w, other.frames == 1);
    assert_int_equal(w->frames, 0);
    go_on(w, app, 560 * KIB);
    until(w, w->frames == 1);
    give_memory_back(w, taken);
    close_other(&other);
    close(app);
}

static void a_hang_up_is_noticed_while_waiting(void **state)
{
    struct world *w = *state;
    struct other first;
    connect_other(&first, w);
    unlink(w->path);
    int app = world_connected(w);
    uint64_t taken = make_memory_short(w);
    begin_frame(w, first.app, 600 * KIB, 40 * KIB);
    steps(w, 5);
    begin_frame(w, app, 600 * KIB, 16 * KIB - 4); /* one reading: then it waits */
    steps(w, 5);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
    assert_non_null(strstr(w->end.text, "inside a frame"));
    give_memory_back(w, taken);
    close_other(&first);
}

static void an_end_gives_the_turn_away(void **state)
{
    struct world *w = *state;
    struct other other;
    int app = world_connected(w);
    connect_other(&other, w);
    uint64_t taken = make_memory_short(w);
    begin_frame(w, app, 600 * KIB, 40 * KIB);
    steps(w, 5);
    begin_frame(w, other.app, 100 * KIB, 100 * KIB);
    steps(w, 5);
    link_finish(w->link);
    until(w, other.frames == 1);
    give_memory_back(w, taken);
    close_other(&other);
    close(app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(a_flood_of_small_frames_takes_turns),
        in_world(an_end_behind_a_flood_is_met_after_it),
        in_world(a_pause_in_a_flood_holds),
        in_world(large_frames_come_one_after_the_other_where_memory_is_short),
        in_world(who_does_not_finish_is_lost_and_who_waits_is_not),
        in_world(who_waits_gets_what_becomes_free),
        in_world(a_hang_up_is_noticed_while_waiting),
        in_world(an_end_gives_the_turn_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
