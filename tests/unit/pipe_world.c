/*
 * The world that pipe_world.h describes. Owns the service's end, and what it heard.
 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pipe_world.h"

/* --- the kernel may take little, or nothing --- */

size_t send_most = SIZE_MAX, sends;

ssize_t send(int fd, const void *data, size_t len, int flags)
{
    sends++;
    if (send_most == 0) {
        errno = EAGAIN;
        return -1;
    }
    return syscall(SYS_sendto, fd, data, len < send_most ? len : send_most, flags, NULL, 0);
}

/* --- the holder --- */

void scene_act(struct scene *s, enum deed deed)
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
    scene_act(s, s->when_opened);
}

void scene_read_all(struct scene *s)
{
    for (;;) {
        ssize_t n = pipe_read(s->pipe, s->got + s->len, HEAP + 1 - s->len);
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
        scene_read_all(s);
    scene_act(s, s->when_readable);
}

static void on_writable(void *user)
{
    struct scene *s = user;
    s->writable++;
    scene_act(s, s->when_writable);
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

void scene_open(struct scene *s, const void *preface, size_t len)
{
    s->pipe = pipe_open(&s->shared, &s->w->target, preface, len, &ops, s);
    assert_int_equal(s->opened + s->failed, 0);
}

void scene_read_on(struct scene *s)
{
    s->reads = true;
    pipe_want(s->pipe, true, false);
}

ssize_t scene_write(struct scene *s, const void *data, size_t len)
{
    const struct iovec one = {(void *)data, len};
    return pipe_write(s->pipe, &one, 1);
}

/* All of it. */
void scene_write_all(struct scene *s, const void *data, size_t len)
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

void service_listens_tcp(struct scene *s, int backlog)
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

void service_listens_unix(struct scene *s, int backlog)
{
    const char *error = NULL;
    s->listener = world_listen_unix(s->w, backlog);
    assert_true(world_target(s->w, s->w->address, &error));
}

void service_accepts(struct scene *s)
{
    s->service = accept(s->listener, NULL, NULL);
    assert_true(s->service >= 0);
}

void service_resets(struct scene *s)
{
    const struct linger at_once = {1, 0};
    setsockopt(s->service, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(s->service);
    s->service = -1;
}

void service_closes(struct scene *s)
{
    close(s->service);
    s->service = -1;
}

/* The service reads to the end, and tells how many bytes that was. */
size_t service_reads_all(struct scene *s)
{
    static uint8_t some[1 << 16];
    size_t all = 0;
    fcntl(s->service, F_SETFL, O_NONBLOCK);
    for (;;) {
        ssize_t n = 0;
        until(s->w, (n = read(s->service, some, sizeof some)) >= 0 || errno != EAGAIN);
        if (n <= 0)
            return n == 0 ? all : SIZE_MAX;
        all += (size_t)n;
    }
}

/* What the sockets hold while the pipe reads nothing; Unix ones, which take it at once. */
size_t service_fills(struct scene *s)
{
    static const uint8_t some[1 << 16];
    size_t all = 0;
    fcntl(s->service, F_SETFL, O_NONBLOCK);
    for (ssize_t n = 0; n >= 0 && all<HEAP; all += n> 0 ? (size_t)n : 0)
        n = write(s->service, some, sizeof some);
    return all;
}

void scene_connect(struct scene *s)
{
    s->opened = s->finished = 0;
    scene_open(s, NULL, 0);
    until(s->w, s->opened || s->failed);
    assert_int_equal(s->opened, 1);
    service_accepts(s);
}

int scene_setup(void **state)
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
    s->descriptors = world_descriptors();
    s->got = malloc(HEAP + 1); /* and the end */
    assert_non_null(s->got);
    send_most = SIZE_MAX;
    sends = 0;
    *state = s;
    return 0;
}

int scene_teardown(void **state)
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
    assert_int_equal(world_descriptors(), s->descriptors);
    world_teardown(&world);
    free(s->got);
    free(s);
    return 0;
}
