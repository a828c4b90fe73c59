/*
 * A pipe and a service at its other end: real sockets over loopback and Unix, a pretended clock.
 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "back/pipe.h"
#include "link_world.h"

enum { HEAP = 4 << 20 }; /* more than the sockets hold between two ends */

/* What the holder does from within an upcall. */
enum deed { GO_ON, CLOSE, RESET, FINISH };

struct scene {
    struct world *w;
    struct pipe_shared shared;
    struct pipe *pipe; /* NULL once it is gone */
    int listener;
    int service; /* its end of the connection */
    /* what was heard */
    int opened, failed, finished, readable, writable;
    struct pipe_end end;
    char text[256];
    enum deed when_opened, when_readable, when_writable;
    bool reads; /* with every readable() */
    uint8_t *got;
    size_t len;
    bool ended;
    int read_error;
};

/* --- the kernel may take little, or nothing --- */

static size_t send_most = SIZE_MAX;

ssize_t send(int fd, const void *data, size_t len, int flags)
{
    if (send_most == 0) {
        errno = EAGAIN;
        return -1;
    }
    return syscall(SYS_sendto, fd, data, len < send_most ? len : send_most, flags, NULL, 0);
}

/* --- the holder --- */

static void act(struct scene *s, enum deed deed)
{
    if (deed == FINISH)
        pipe_finish(s->pipe);
    if (deed != CLOSE && deed != RESET)
        return;
    if (deed == CLOSE)
        pipe_close(s->pipe);
    else
        pipe_reset(s->pipe);
    s->pipe = NULL;
}

static void on_opened(void *user)
{
    struct scene *s = user;
    s->opened++;
    act(s, s->when_opened);
}

static void read_all(struct scene *s)
{
    for (;;) {
        ssize_t n = pipe_read(s->pipe, s->got + s->len, HEAP - s->len);
        if (n > 0) {
            s->len += (size_t)n;
            continue;
        }
        if (n == 0)
            s->ended = true;
        else if (errno != EAGAIN)
            s->read_error = errno;
        return;
    }
}

static void on_readable(void *user)
{
    struct scene *s = user;
    s->readable++;
    if (s->reads)
        read_all(s);
    act(s, s->when_readable);
}

static void on_writable(void *user)
{
    struct scene *s = user;
    s->writable++;
    act(s, s->when_writable);
}

static void on_failed(void *user, const struct pipe_end *end)
{
    struct scene *s = user;
    s->failed++;
    s->end = *end;
    snprintf(s->text, sizeof s->text, "%s", end->text);
    s->pipe = NULL;
}

static void on_finished(void *user)
{
    struct scene *s = user;
    s->finished++;
    s->pipe = NULL;
}

static const struct pipe_ops ops = {on_opened, on_readable, on_writable, on_failed, on_finished};

static void open_pipe(struct scene *s, const void *preface, size_t len)
{
    s->pipe = pipe_open(&s->shared, &s->w->target, preface, len, &ops, s);
    assert_int_equal(s->opened + s->failed, 0);
}

/* All of it. */
static void push(struct scene *s, const void *data, size_t len)
{
    const uint8_t *at = data;
    pipe_want(s->pipe, s->reads, true);
    while (len > 0) {
        const struct iovec parts[] = {{(void *)at, len / 2},
                                      {(void *)(at + len / 2), len - len / 2}};
        ssize_t n = pipe_write(s->pipe, parts, 2);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            world_step(s->w);
            continue;
        }
        at += n;
        len -= (size_t)n;
    }
    pipe_want(s->pipe, s->reads, false);
}

/* --- the service --- */

static void listen_tcp(struct scene *s, int backlog)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof in;
    char address[64];
    const char *error = NULL;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&in, &len), 0);
    if (backlog >= 0)
        assert_int_equal(listen(s->listener, backlog), 0);
    snprintf(address, sizeof address, "tcp:127.0.0.1:%u", ntohs(in.sin_port));
    assert_true(world_target(s->w, address, &error));
}

static void accept_service(struct scene *s)
{
    s->service = accept(s->listener, NULL, NULL);
    assert_true(s->service >= 0);
}

static void reset_service(struct scene *s)
{
    const struct linger at_once = {1, 0};
    setsockopt(s->service, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(s->service);
    s->service = -1;
}

static void connect_both(struct scene *s)
{
    open_pipe(s, NULL, 0);
    until(s->w, s->opened || s->failed);
    assert_int_equal(s->opened, 1);
    accept_service(s);
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    void *world;
    world_setup(&world);
    s->w = world;
    s->shared = (struct pipe_shared){.env = &s->w->env,
                                     .loop = &s->w->loop,
                                     .connect_timeout_ns = 5 * NS_PER_S,
                                     .linger_timeout_ns = 2 * NS_PER_S};
    s->listener = s->service = -1;
    s->got = malloc(HEAP);
    assert_non_null(s->got);
    send_most = SIZE_MAX;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    void *world = s->w;
    if (s->pipe)
        pipe_close(s->pipe);
    assert_int_equal(s->shared.pipes, 0);
    if (s->service >= 0)
        close(s->service);
    if (s->listener >= 0)
        close(s->listener);
    world_teardown(&world);
    free(s->got);
    free(s);
    return 0;
}

/* --- tests --- */

static void bytes_go_both_ways(void **state)
{
    struct scene *s = *state;
    uint8_t got[11];
    listen_tcp(s, 1);
    open_pipe(s, "first ", 6);
    until(s->w, s->opened);
    accept_service(s);
    push(s, "then", 4);
    world_read(s->w, s->service, got, 10);
    assert_memory_equal(got, "first then", 10);
    s->reads = true;
    pipe_want(s->pipe, true, false);
    world_write(s->w, s->service, "answer", 6);
    until(s->w, s->len == 6);
    assert_memory_equal(s->got, "answer", 6);
    pipe_shut(s->pipe);
    until(s->w, read(s->service, got, 1) == 0);
    close(s->service);
    s->service = -1;
    until(s->w, s->ended);
    assert_int_equal(s->w->stats.links, 1);
}

static void a_reset_is_told_by_both_halves(void **state)
{
    struct scene *s = *state;
    const struct iovec one = {"x", 1};
    listen_tcp(s, 1);
    connect_both(s);
    world_write(s->w, s->service, "before", 6);
    reset_service(s);
    s->reads = true;
    pipe_want(s->pipe, true, false);
    until(s->w, s->read_error); /* only after what came before it */
    assert_int_equal(s->len, 6);
    assert_int_equal(s->read_error, ECONNRESET);
    assert_int_equal(pipe_write(s->pipe, &one, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_false(s->ended);
}

int main(void)
{
#define in_scene(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        in_scene(bytes_go_both_ways),
        in_scene(a_reset_is_told_by_both_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
