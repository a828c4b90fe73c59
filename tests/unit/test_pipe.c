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
#include <sys/wait.h>
#include <unistd.h>

#include "back/pipe.h"
#include "link_world.h"

enum { HEAP = 4 << 20 }; /* more than the sockets hold between two ends */

/* What the holder does from within an upcall. */
enum deed { GO_ON, CLOSE, RESET, FINISH };

struct scene {
    struct world *w;
    struct pipe_shared shared;
    struct pipe *pipe;  /* NULL once it is gone */
    size_t descriptors; /* were open before */
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

static size_t send_most = SIZE_MAX, sends;

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

static void read_on(struct scene *s)
{
    s->reads = true;
    pipe_want(s->pipe, true, false);
}

static ssize_t write_some(struct scene *s, const void *data, size_t len)
{
    const struct iovec one = {(void *)data, len};
    return pipe_write(s->pipe, &one, 1);
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

static void listen_unix(struct scene *s, int backlog)
{
    const char *error = NULL;
    s->listener = world_listen_unix(s->w, backlog);
    assert_true(world_target(s->w, s->w->address, &error));
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

static void close_service(struct scene *s)
{
    close(s->service);
    s->service = -1;
}

/* The service reads to the end, and tells how many bytes that was. */
static size_t service_reads_all(struct scene *s)
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
static size_t service_fills(struct scene *s)
{
    static const uint8_t some[1 << 16];
    size_t all = 0;
    fcntl(s->service, F_SETFL, O_NONBLOCK);
    for (ssize_t n = 0; n >= 0 && all<HEAP; all += n> 0 ? (size_t)n : 0)
        n = write(s->service, some, sizeof some);
    return all;
}

static void connect_both(struct scene *s)
{
    s->opened = s->finished = 0;
    open_pipe(s, NULL, 0);
    until(s->w, s->opened || s->failed);
    assert_int_equal(s->opened, 1);
    accept_service(s);
}

static size_t descriptors(void)
{
    size_t count = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        count++;
    closedir(d);
    return count;
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
    s->descriptors = descriptors();
    s->got = malloc(HEAP + 1); /* and the end */
    assert_non_null(s->got);
    send_most = SIZE_MAX;
    sends = 0;
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
    assert_int_equal(descriptors(), s->descriptors);
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
    read_on(s);
    world_write(s->w, s->service, "answer", 6);
    until(s->w, s->len == 6);
    assert_memory_equal(s->got, "answer", 6);
    pipe_shut(s->pipe);
    until(s->w, read(s->service, got, 1) == 0);
    close_service(s);
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
    listen_tcp(s, 1);
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
    open_pipe(s, NULL, 0);
    until(s->w, s->opened);
    s->reads = true;
    push(s, data, HEAP);
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
    listen_unix(s, 1);
    connect_both(s);
    size_t held = service_fills(s); /* nobody reads */
    for (int i = 0; i < 5; i++)
        world_step(s->w);
    assert_int_equal(service_fills(s), 0);
    assert_true(held < HEAP);
    assert_int_equal(s->readable, 0);
    read_on(s);
    until(s->w, s->len == held);
}

/* --- the preface --- */

static void the_preface_is_whole_and_first(void **state)
{
    struct scene *s = *state;
    uint8_t preface[PIPE_PREFACE_MAX], got[PIPE_PREFACE_MAX + 1];
    fill(preface, sizeof preface);
    listen_unix(s, 1);
    send_most = 100; /* the kernel takes a little, then nothing, then the rest */
    open_pipe(s, preface, sizeof preface);
    memset(preface, 0, sizeof preface); /* it was copied */
    turn_end(&s->w->turn);
    accept_service(s);
    send_most = 0;
    for (int i = 0; i < 5; i++)
        world_step(s->w);
    assert_int_equal(s->opened, 0);
    assert_int_equal(write_some(s, "x", 1), -1);
    assert_int_equal(errno, EAGAIN);
    send_most = 100;
    until(s->w, s->opened);
    push(s, "!", 1);
    world_read(s->w, s->service, got, sizeof got);
    fill(preface, sizeof preface);
    assert_memory_equal(got, preface, sizeof preface);
    assert_int_equal(got[PIPE_PREFACE_MAX], '!');
}

static void a_preface_that_is_not_taken_in_time_is_a_failure(void **state)
{
    struct scene *s = *state;
    listen_tcp(s, 1);
    send_most = 0;
    open_pipe(s, "preface", 7);
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
    listen_tcp(s, 1);
    send_most = 0;
    open_pipe(s, "preface", 7);
    until(s->w, sends > 0);
    accept_service(s);
    reset_service(s);
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
    open_pipe(s, "preface", 7);
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
    listen_unix(s, -1);
    expect_failure(s, FAULT_BACKEND_CONNECT, ECONNREFUSED);
    close(s->listener);
    listen_tcp(s, -1);
    expect_failure(s, FAULT_BACKEND_CONNECT, ECONNREFUSED);
    const char *error = NULL;
    assert_true(world_target(s->w, "tcp:255.255.255.255:9", &error)); /* there is no way to all */
    expect_failure(s, FAULT_BACKEND_CONNECT, ENETUNREACH);
}

static void a_full_backlog_is_waited_for(void **state)
{
    struct scene *s = *state;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    listen_unix(s, 0);
    strcpy(un.sun_path, s->w->path);
    int filler = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(filler, (struct sockaddr *)&un, sizeof un), 0);
    open_pipe(s, NULL, 0);
    for (int i = 0; i < 5; i++) {
        s->w->now += 100 * NS_PER_MS;
        world_step(s->w);
    }
    assert_int_equal(s->opened + s->failed, 0);
    close(accept(s->listener, NULL, NULL));
    until(s->w, (s->w->now += NS_PER_MS, s->opened)); /* and fills it again */
    pipe_close(s->pipe);
    s->opened = 0;
    open_pipe(s, NULL, 0);
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
            listen_tcp(s, 1);
        else
            listen_unix(s, 1);
        connect_both(s);
        push(s, "question", 8);
        pipe_shut(s->pipe);
        assert_int_equal(service_reads_all(s), 8);
        world_write(s->w, s->service, "answer", 6);
        read_on(s);
        until(s->w, s->len == 6);
        assert_false(s->ended);
        close_service(s);
        until(s->w, s->ended);
        pipe_close(s->pipe);

        s->ended = false;
        s->len = 0;
        connect_both(s); /* the service is first this time */
        world_write(s->w, s->service, "banner", 6);
        shutdown(s->service, SHUT_WR);
        read_on(s);
        until(s->w, s->ended);
        assert_int_equal(s->len, 6);
        int told = s->readable;
        push(s, "question", 8);
        world_read(s->w, s->service, got, 8);
        pipe_want(s->pipe, true, false);
        world_step(s->w);
        world_step(s->w);
        assert_int_equal(s->readable, told); /* there is nothing to wait for */
        pipe_close(s->pipe);
        s->pipe = NULL;
        assert_int_equal(service_reads_all(s), 0);
        close_service(s);
        close(s->listener);
        s->listener = -1;
        s->ended = false;
        s->len = 0;
    }
}

static void both_may_be_ended_before_it_is_open(void **state)
{
    struct scene *s = *state;
    listen_unix(s, 1);
    open_pipe(s, "all", 3);
    pipe_stop(s->pipe);
    pipe_shut(s->pipe);
    until(s->w, s->opened);
    accept_service(s);
    assert_int_equal(service_reads_all(s), 3);
    assert_int_equal(send(s->service, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
}

static void a_service_that_reads_no_more_may_still_write(void **state)
{
    struct scene *s = *state;
    listen_unix(s, 1);
    connect_both(s);
    shutdown(s->service, SHUT_RD);
    assert_int_equal(write_some(s, "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    int told = s->writable;
    pipe_want(s->pipe, false, true);
    world_step(s->w);
    world_step(s->w);
    assert_int_equal(s->writable, told);
    world_write(s->w, s->service, "still here", 10);
    close_service(s);
    read_on(s);
    until(s->w, s->ended || s->read_error);
    assert_true(s->ended);
    assert_int_equal(s->len, 10);
}

static void what_is_not_wanted_is_thrown_away(void **state)
{
    struct scene *s = *state;
    listen_tcp(s, 1);
    connect_both(s);
    world_write(s->w, s->service, "unread", 6);
    pipe_stop(s->pipe);
    read_on(s);
    uint8_t *much = calloc(1, HEAP);
    world_write(s->w, s->service, much, HEAP); /* it is not made to wait */
    free(much);
    push(s, "we go on", 8);
    shutdown(s->service, SHUT_WR);
    until(s->w, s->ended);
    assert_int_equal(s->len, 0);
    pipe_shut(s->pipe);
    assert_int_equal(service_reads_all(s), 8);
}

static void a_unix_service_is_told_that_nobody_reads(void **state)
{
    struct scene *s = *state;
    listen_unix(s, 1);
    connect_both(s);
    world_write(s->w, s->service, "unread", 6);
    pipe_stop(s->pipe);
    assert_int_equal(send(s->service, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
    push(s, "we go on", 8);
    read_on(s);
    until(s->w, s->ended);
    assert_int_equal(s->len, 0);
    pipe_shut(s->pipe);
    assert_int_equal(service_reads_all(s), 8);
}

/* --- resets --- */

static void a_reset_is_told_by_both_halves(void **state)
{
    struct scene *s = *state;
    listen_tcp(s, 1);
    connect_both(s);
    world_write(s->w, s->service, "before", 6);
    reset_service(s);
    read_on(s);
    until(s->w, s->read_error || s->ended); /* only after what came before it */
    assert_int_equal(s->len, 6);
    assert_int_equal(s->read_error, ECONNRESET);
    assert_int_equal(write_some(s, "x", 1), -1);
    assert_int_equal(errno, ECONNRESET);
    read_all(s);
    assert_false(s->ended);
}

static void a_reset_that_writing_meets_is_no_end_for_reading(void **state)
{
    struct scene *s = *state;
    listen_tcp(s, 1);
    connect_both(s);
    world_write(s->w, s->service, "before", 6);
    reset_service(s);
    until(s->w, write_some(s, "x", 1) < 0);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(write_some(s, "x", 1), -1);
    assert_int_equal(errno, ECONNRESET);
    read_on(s);
    until(s->w, s->read_error || s->ended);
    assert_int_equal(s->len, 6);
    assert_false(s->ended);
    assert_int_equal(s->read_error, ECONNRESET);
}

static void a_unix_service_that_leaves_bytes_unread_has_reset(void **state)
{
    struct scene *s = *state;
    listen_unix(s, 1);
    connect_both(s);
    push(s, "unread", 6);
    world_write(s->w, s->service, "before", 6);
    close_service(s);
    read_on(s);
    until(s->w, s->read_error || s->ended);
    assert_int_equal(s->len, 6);
    assert_int_equal(s->read_error, ECONNRESET);
}

static void the_service_is_reset(void **state)
{
    struct scene *s = *state;
    listen_tcp(s, 1);
    connect_both(s);
    push(s, "some", 4);
    pipe_reset(s->pipe);
    s->pipe = NULL;
    assert_int_equal(service_reads_all(s), SIZE_MAX);
    close_service(s);
    close(s->listener);
    listen_unix(s, 1); /* which knows no reset */
    connect_both(s);
    push(s, "some", 4);
    pipe_reset(s->pipe);
    s->pipe = NULL;
    assert_int_equal(service_reads_all(s), 4);
}

/* --- finishing --- */

static void finishing_delivers_all_to_a_service_that_answers(void **state)
{
    struct scene *s = *state;
    listen_tcp(s, 1);
    connect_both(s);
    static const uint8_t some[1 << 16];
    size_t taken = 0;
    for (ssize_t n; (n = write_some(s, some, sizeof some)) > 0;)
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
    close_service(s);
    until(s->w, s->finished);
    assert_int_equal(s->w->stats.links, 0);
    assert_int_equal(s->readable, 0);
}

static void finishing_ends_in_time(void **state)
{
    struct scene *s = *state;
    listen_tcp(s, 1);
    connect_both(s);
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
    listen_tcp(s, 1);
    connect_both(s);
    pipe_finish(s->pipe);
    reset_service(s);
    until(s->w, s->finished);
    connect_both(s);
    reset_service(s);
    until(s->w, write_some(s, "x", 1) < 0);
    pipe_finish(s->pipe); /* it is over already */
    assert_int_equal(s->finished, 0);
    until(s->w, s->finished);
    connect_both(s); /* both halves have ended */
    read_on(s);
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
    open_pipe(s, "preface", 7);
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
    accept_service(s);
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
        listen_unix(s, 0);
        strcpy(un.sun_path, s->w->path);
        filler = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(filler, (struct sockaddr *)&un, sizeof un), 0);
    } else {
        listen_tcp(s, 1);
    }
    send_most = moment == SENDING_THE_PREFACE ? 0 : SIZE_MAX;
    live_until(s, moment, deed);
    bool done = moment >= IN_OPENED && moment != OPEN && moment != FINISHING;
    if (!done && !(moment == FINISHING && deed == FINISH))
        act(s, deed);
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
            setup(&scene);
            end_at(scene, moment, deed);
            teardown(&scene);
        }
    }
}

int main(void)
{
#define in_scene(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
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
        in_scene(a_reset_is_told_by_both_halves),
        in_scene(a_reset_that_writing_meets_is_no_end_for_reading),
        in_scene(a_unix_service_that_leaves_bytes_unread_has_reset),
        in_scene(the_service_is_reset),
        in_scene(finishing_delivers_all_to_a_service_that_answers),
        in_scene(finishing_ends_in_time),
        in_scene(finishing_ends_with_the_connection),
        cmocka_unit_test(it_may_be_ended_at_every_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
