/*
 * A pipe that opens, or does not, and the bytes of its two halves.
 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pipe_world.h"

static void bytes_go_both_ways(void **state)
{
    struct scene *s = *state;
    uint8_t got[11];
    service_listens_tcp(s, 1);
    scene_open(s, "first ", 6);
    until(s->w, s->opened);
    service_accepts(s);
    scene_write_all(s, "then", 4);
    world_read(s->w, s->service, got, 10);
    assert_memory_equal(got, "first then", 10);
    scene_read_on(s);
    world_write(s->w, s->service, "answer", 6);
    until(s->w, s->len == 6);
    assert_memory_equal(s->got, "answer", 6);
    pipe_shut(s->pipe);
    until(s->w, read(s->service, got, 1) == 0);
    service_closes(s);
    until(s->w, s->ended);
    assert_int_equal(s->w->stats.links, 1);
}

static void fill(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 131 >> 7);
}

/* The service is a process of its own, so that both may be slow. */
static void much_goes_both_ways(void **state)
{
    struct scene *s = *state;
    uint8_t *data = malloc(HEAP);
    fill(data, HEAP);
    service_listens_tcp(s, 1);
    pid_t echo = fork();
    if (echo == 0) {
        static uint8_t some[20000];
        int fd = accept(s->listener, NULL, NULL);
        ssize_t n;
        while ((n = read(fd, some, sizeof some)) > 0)
            for (ssize_t at = 0; at < n;)
                at += write(fd, some + at, (size_t)(n - at));
        _exit(0);
    }
    scene_open(s, NULL, 0);
    until(s->w, s->opened);
    s->reads = true;
    scene_write_all(s, data, HEAP);
    pipe_shut(s->pipe);
    until(s->w, s->ended);
    assert_int_equal(s->len, HEAP);
    assert_memory_equal(s->got, data, HEAP);
    assert_int_equal(waitpid(echo, NULL, 0), echo);
    free(data);
}

static void nothing_is_kept_in_it(void **state)
{
    struct scene *s = *state;
    service_listens_unix(s, 1);
    scene_connect(s);
    size_t held = service_fills(s); /* nobody reads */
    for (int i = 0; i < 5; i++)
        world_step(s->w);
    assert_int_equal(service_fills(s), 0);
    assert_true(held < HEAP);
    assert_int_equal(s->readable, 0);
    scene_read_on(s);
    until(s->w, s->len == held);
}

/* --- the preface --- */

static void the_preface_is_whole_and_first(void **state)
{
    struct scene *s = *state;
    uint8_t preface[PIPE_PREFACE_MAX], got[PIPE_PREFACE_MAX + 1];
    fill(preface, sizeof preface);
    service_listens_unix(s, 1);
    send_most = 100; /* the kernel takes a little, then nothing, then the rest */
    scene_open(s, preface, sizeof preface);
    memset(preface, 0, sizeof preface); /* it was copied */
    turn_end(&s->w->turn);
    service_accepts(s);
    send_most = 0;
    for (int i = 0; i < 5; i++)
        world_step(s->w);
    assert_int_equal(s->opened, 0);
    assert_int_equal(scene_write(s, "x", 1), -1);
    assert_int_equal(errno, EAGAIN);
    send_most = 100;
    until(s->w, s->opened);
    scene_write_all(s, "!", 1);
    world_read(s->w, s->service, got, sizeof got);
    fill(preface, sizeof preface);
    assert_memory_equal(got, preface, sizeof preface);
    assert_int_equal(got[PIPE_PREFACE_MAX], '!');
}

static void a_preface_that_is_not_taken_in_time_is_a_failure(void **state)
{
    struct scene *s = *state;
    service_listens_tcp(s, 1);
    send_most = 0;
    scene_open(s, "preface", 7);
    until(s->w, sends > 0);
    s->w->now += 5 * NS_PER_S;
    until(s->w, s->failed);
    assert_int_equal(s->opened, 0);
    assert_int_equal(s->end.fault, FAULT_BACKEND_CONNECT_TIMEOUT);
    assert_int_equal(s->end.error, ETIMEDOUT);
    assert_non_null(strstr(s->text, "tcp:127.0.0.1:"));
}

static void a_reset_before_the_preface_is_a_loss(void **state)
{
    struct scene *s = *state;
    service_listens_tcp(s, 1);
    send_most = 0;
    int fd = world_next_descriptor();
    scene_open(s, "preface", 7);
    until(s->w, sends > 0);
    service_accepts(s);
    service_resets(s);
    world_await_reset(fd);
    send_most = SIZE_MAX;
    until(s->w, s->failed || s->opened);
    assert_int_equal(s->opened, 0);
    assert_int_equal(s->end.fault, FAULT_BACKEND_LOST);
    assert_int_equal(s->end.error, ECONNRESET);
}

/* --- no connection --- */

static void expect_failure(struct scene *s, enum fault fault, int error)
{
    s->failed = 0;
    scene_open(s, "preface", 7);
    until(s->w, s->failed || s->opened);
    assert_int_equal(s->opened, 0);
    assert_int_equal(s->end.fault, fault);
    assert_int_equal(s->end.error, error);
    assert_non_null(strstr(s->text, s->w->target.address));
}

static void refusal_is_told(void **state)
{
    struct scene *s = *state;
    expect_failure(s, FAULT_BACKEND_CONNECT, ENOENT);
    service_listens_unix(s, -1);
    expect_failure(s, FAULT_BACKEND_CONNECT, ECONNREFUSED);
    close(s->listener);
    service_listens_tcp(s, -1);
    expect_failure(s, FAULT_BACKEND_CONNECT, ECONNREFUSED);
    const char *error = NULL;
    assert_true(world_target(s->w, "tcp:255.255.255.255:9", &error)); /* there is no way to all */
    expect_failure(s, FAULT_BACKEND_CONNECT, ENETUNREACH);
}

static void a_full_backlog_is_waited_for(void **state)
{
    struct scene *s = *state;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    service_listens_unix(s, 0);
    strcpy(un.sun_path, s->w->path);
    int filler = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(filler, (struct sockaddr *)&un, sizeof un), 0);
    scene_open(s, NULL, 0);
    for (int i = 0; i < 5; i++) {
        s->w->now += 100 * NS_PER_MS;
        world_step(s->w);
    }
    assert_int_equal(s->opened + s->failed, 0);
    close(accept(s->listener, NULL, NULL));
    until(s->w, (s->w->now += NS_PER_MS, s->opened)); /* and fills it again */
    pipe_close(s->pipe);
    s->opened = 0;
    scene_open(s, NULL, 0);
    until(s->w, (s->w->now += 100 * NS_PER_MS, s->failed));
    assert_int_equal(s->opened, 0);
    assert_int_equal(s->end.fault, FAULT_BACKEND_CONNECT_TIMEOUT);
    assert_int_equal(s->end.error, ETIMEDOUT);
    close(filler);
}

/* --- halves --- */

static void halves_end_one_by_one(void **state)
{
    struct scene *s = *state;
    uint8_t got[8];
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            service_listens_tcp(s, 1);
        else
            service_listens_unix(s, 1);
        scene_connect(s);
        scene_write_all(s, "question", 8);
        pipe_shut(s->pipe);
        assert_int_equal(service_reads_all(s), 8);
        world_write(s->w, s->service, "answer", 6);
        scene_read_on(s);
        until(s->w, s->len == 6);
        assert_false(s->ended);
        service_closes(s);
        until(s->w, s->ended);
        pipe_close(s->pipe);

        s->ended = false;
        s->len = 0;
        scene_connect(s); /* the service is first this time */
        world_write(s->w, s->service, "banner", 6);
        shutdown(s->service, SHUT_WR);
        scene_read_on(s);
        until(s->w, s->ended);
        assert_int_equal(s->len, 6);
        int told = s->readable;
        scene_write_all(s, "question", 8);
        world_read(s->w, s->service, got, 8);
        pipe_want(s->pipe, true, false);
        world_step(s->w);
        world_step(s->w);
        assert_int_equal(s->readable, told); /* there is nothing to wait for */
        pipe_close(s->pipe);
        s->pipe = NULL;
        assert_int_equal(service_reads_all(s), 0);
        service_closes(s);
        close(s->listener);
        s->listener = -1;
        s->ended = false;
        s->len = 0;
    }
}

static void both_may_be_ended_before_it_is_open(void **state)
{
    struct scene *s = *state;
    service_listens_unix(s, 1);
    scene_open(s, "all", 3);
    pipe_stop(s->pipe);
    pipe_shut(s->pipe);
    until(s->w, s->opened);
    service_accepts(s);
    assert_int_equal(service_reads_all(s), 3);
    assert_int_equal(send(s->service, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
}

static void a_service_that_reads_no_more_may_still_write(void **state)
{
    struct scene *s = *state;
    service_listens_unix(s, 1);
    scene_connect(s);
    shutdown(s->service, SHUT_RD);
    assert_int_equal(scene_write(s, "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    int told = s->writable;
    pipe_want(s->pipe, false, true);
    world_step(s->w);
    world_step(s->w);
    assert_int_equal(s->writable, told);
    world_write(s->w, s->service, "still here", 10);
    service_closes(s);
    scene_read_on(s);
    until(s->w, s->ended || s->read_error);
    assert_true(s->ended);
    assert_int_equal(s->len, 10);
}

static void what_is_not_wanted_is_thrown_away(void **state)
{
    struct scene *s = *state;
    service_listens_tcp(s, 1);
    scene_connect(s);
    world_write(s->w, s->service, "unread", 6);
    pipe_stop(s->pipe);
    scene_read_on(s);
    uint8_t *much = calloc(1, HEAP);
    world_write(s->w, s->service, much, HEAP); /* it is not made to wait */
    free(much);
    scene_write_all(s, "we go on", 8);
    shutdown(s->service, SHUT_WR);
    until(s->w, s->ended);
    assert_int_equal(s->len, 0);
    pipe_shut(s->pipe);
    assert_int_equal(service_reads_all(s), 8);
}

static void a_unix_service_is_told_that_nobody_reads(void **state)
{
    struct scene *s = *state;
    service_listens_unix(s, 1);
    scene_connect(s);
    world_write(s->w, s->service, "unread", 6);
    pipe_stop(s->pipe);
    assert_int_equal(send(s->service, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
    scene_write_all(s, "we go on", 8);
    scene_read_on(s);
    until(s->w, s->ended);
    assert_int_equal(s->len, 0);
    pipe_shut(s->pipe);
    assert_int_equal(service_reads_all(s), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_scene(bytes_go_both_ways),
        in_scene(much_goes_both_ways),
        in_scene(nothing_is_kept_in_it),
        in_scene(the_preface_is_whole_and_first),
        in_scene(a_preface_that_is_not_taken_in_time_is_a_failure),
        in_scene(a_reset_before_the_preface_is_a_loss),
        in_scene(refusal_is_told),
        in_scene(a_full_backlog_is_waited_for),
        in_scene(halves_end_one_by_one),
        in_scene(both_may_be_ended_before_it_is_open),
        in_scene(a_service_that_reads_no_more_may_still_write),
        in_scene(what_is_not_wanted_is_thrown_away),
        in_scene(a_unix_service_is_told_that_nobody_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
