/*
 * How pipes end: resets, in good order, and at every moment.
 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pipe_world.h"

/* --- resets --- */

static void a_reset_is_told_by_both_halves(void **state)
{
    struct scene *s = *state;
    service_listens_tcp(s, 1);
    scene_connect(s);
    world_write(s->w, s->service, "before", 6);
    service_resets(s);
    scene_read_on(s);
    until(s->w, s->read_error || s->ended); /* only after what came before it */
    assert_int_equal(s->len, 6);
    assert_int_equal(s->read_error, ECONNRESET);
    assert_int_equal(scene_write(s, "x", 1), -1);
    assert_int_equal(errno, ECONNRESET);
    scene_read_all(s);
    assert_false(s->ended);
}

static void a_reset_that_writing_meets_is_no_end_for_reading(void **state)
{
    struct scene *s = *state;
    service_listens_tcp(s, 1);
    scene_connect(s);
    world_write(s->w, s->service, "before", 6);
    service_resets(s);
    until(s->w, scene_write(s, "x", 1) < 0);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(scene_write(s, "x", 1), -1);
    assert_int_equal(errno, ECONNRESET);
    scene_read_on(s);
    until(s->w, s->read_error || s->ended);
    assert_int_equal(s->len, 6);
    assert_false(s->ended);
    assert_int_equal(s->read_error, ECONNRESET);
}

static void a_unix_service_that_leaves_bytes_unread_has_reset(void **state)
{
    struct scene *s = *state;
    service_listens_unix(s, 1);
    scene_connect(s);
    scene_write_all(s, "unread", 6);
    world_write(s->w, s->service, "before", 6);
    service_closes(s);
    scene_read_on(s);
    until(s->w, s->read_error || s->ended);
    assert_int_equal(s->len, 6);
    assert_int_equal(s->read_error, ECONNRESET);
}

static void the_service_is_reset(void **state)
{
    struct scene *s = *state;
    service_listens_tcp(s, 1);
    scene_connect(s);
    scene_write_all(s, "some", 4);
    pipe_reset(s->pipe);
    s->pipe = NULL;
    assert_int_equal(service_reads_all(s), SIZE_MAX);
    service_closes(s);
    close(s->listener);
    service_listens_unix(s, 1); /* which knows no reset */
    scene_connect(s);
    scene_write_all(s, "some", 4);
    pipe_reset(s->pipe);
    s->pipe = NULL;
    assert_int_equal(service_reads_all(s), 4);
}

static void so_is_one_whose_connection_we_do_not_know_of_yet(void **state)
{
    struct scene *s = *state;
    service_listens_tcp(s, 1);
    scene_open(s, NULL, 0);
    turn_end(&s->w->turn); /* it has begun, and the kernel has made it */
    service_accepts(s);
    pipe_reset(s->pipe);
    s->pipe = NULL;
    assert_int_equal(s->opened, 0);
    assert_int_equal(service_reads_all(s), SIZE_MAX);
}

/* --- finishing --- */

static void finishing_delivers_all_to_a_service_that_answers(void **state)
{
    struct scene *s = *state;
    service_listens_tcp(s, 1);
    scene_connect(s);
    static const uint8_t some[1 << 16];
    size_t taken = 0;
    for (ssize_t n; (n = scene_write(s, some, sizeof some)) > 0;)
        taken += (size_t)n;
    assert_true(taken > 0); /* and its socket has no more room */
    pipe_finish(s->pipe);
    assert_int_equal(s->finished, 0);
    world_write(s->w, s->service, "answer", 6); /* nobody will read it, and that is no harm */
    for (int i = 0; i < 5; i++)
        world_step(s->w);
    assert_int_equal(service_reads_all(s), taken);
    uint8_t *much = calloc(1, HEAP);
    world_write(s->w, s->service, much, HEAP);
    free(much);
    assert_int_equal(s->finished, 0);
    service_closes(s);
    until(s->w, s->finished);
    assert_int_equal(s->w->stats.links, 0);
    assert_int_equal(s->readable, 0);
}

static void finishing_ends_in_time(void **state)
{
    struct scene *s = *state;
    service_listens_tcp(s, 1);
    scene_connect(s);
    pipe_finish(s->pipe);
    for (int i = 0; i < 5; i++)
        world_step(s->w);
    assert_int_equal(s->finished, 0);
    s->w->now += 2 * NS_PER_S;
    until(s->w, s->finished);
}

static void finishing_ends_with_the_connection(void **state)
{
    struct scene *s = *state;
    service_listens_tcp(s, 1);
    scene_connect(s);
    pipe_finish(s->pipe);
    service_resets(s);
    until(s->w, s->finished);
    scene_connect(s);
    service_resets(s);
    until(s->w, scene_write(s, "x", 1) < 0);
    pipe_finish(s->pipe); /* it is over already */
    assert_int_equal(s->finished, 0);
    until(s->w, s->finished);
    scene_connect(s); /* both halves have ended */
    scene_read_on(s);
    shutdown(s->service, SHUT_WR);
    until(s->w, s->ended);
    pipe_shut(s->pipe);
    pipe_finish(s->pipe);
    until(s->w, s->finished);
    assert_int_equal(service_reads_all(s), 0);
}

/* --- at every moment --- */

enum moment {
    NOT_BEGUN,
    WAITING_FOR_THE_BACKLOG,
    CONNECTING,
    SENDING_THE_PREFACE,
    IN_OPENED,
    OPEN,
    IN_READABLE,
    IN_WRITABLE,
    IN_BOTH,
    FINISHING,
    MOMENTS
};

static void live_until(struct scene *s, enum moment moment, enum deed deed)
{
    scene_open(s, "preface", 7);
    if (moment == NOT_BEGUN)
        return;
    turn_end(&s->w->turn);
    if (moment == WAITING_FOR_THE_BACKLOG || moment == CONNECTING)
        return;
    if (moment == SENDING_THE_PREFACE) {
        until(s->w, sends > 0);
        return;
    }
    if (moment == IN_OPENED)
        s->when_opened = deed;
    until(s->w, s->opened);
    if (moment == IN_OPENED)
        return;
    service_accepts(s);
    if (moment == OPEN)
        return;
    if (moment == FINISHING) {
        pipe_finish(s->pipe);
        return;
    }
    world_write(s->w, s->service, "news", 4);
    s->when_readable = moment != IN_WRITABLE ? deed : GO_ON;
    s->when_writable = moment != IN_READABLE ? deed : GO_ON;
    pipe_want(s->pipe, moment != IN_WRITABLE, moment != IN_READABLE);
    until(s->w, s->readable || s->writable);
}

static void end_at(struct scene *s, enum moment moment, enum deed deed)
{
    int filler = -1;
    if (moment == WAITING_FOR_THE_BACKLOG) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        service_listens_unix(s, 0);
        strcpy(un.sun_path, s->w->path);
        filler = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(filler, (struct sockaddr *)&un, sizeof un), 0);
    } else {
        service_listens_tcp(s, 1);
    }
    send_most = moment == SENDING_THE_PREFACE ? 0 : SIZE_MAX;
    live_until(s, moment, deed);
    bool done = moment >= IN_OPENED && moment != OPEN && moment != FINISHING;
    if (!done && !(moment == FINISHING && deed == FINISH))
        scene_act(s, deed);
    if (deed == FINISH) {
        s->w->now += 2 * NS_PER_S;
        until(s->w, s->finished);
    }
    for (int i = 0; i < 3; i++)
        world_step(s->w);
    assert_null(s->pipe);
    assert_int_equal(s->failed, 0);
    assert_int_equal(s->shared.pipes, 0);
    assert_int_equal(timers_next(s->w->env.timers), TIMERS_NEVER);
    if (filler >= 0)
        close(filler);
    if (filler >= 0)
        unlink(s->w->path);
}

static void it_may_be_ended_at_every_moment(void **state)
{
    (void)state;
    for (enum moment moment = 0; moment < MOMENTS; moment++) {
        for (enum deed deed = CLOSE; deed <= FINISH; deed++) {
            void *scene;
            scene_setup(&scene);
            end_at(scene, moment, deed);
            scene_teardown(&scene);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scene(a_reset_is_told_by_both_halves),
        in_scene(a_reset_that_writing_meets_is_no_end_for_reading),
        in_scene(a_unix_service_that_leaves_bytes_unread_has_reset),
        in_scene(the_service_is_reset),
        in_scene(so_is_one_whose_connection_we_do_not_know_of_yet),
        in_scene(finishing_delivers_all_to_a_service_that_answers),
        in_scene(finishing_ends_in_time),
        in_scene(finishing_ends_with_the_connection),
        cmocka_unit_test(it_may_be_ended_at_every_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
