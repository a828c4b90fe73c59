/*
 * link, dial, sock and upstream over real sockets on a real loop; the application's end is played
 * here with plain system calls. The clock of the timers is pretended, so that no timeout is waited
 * for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "back/link.h"
#include "back/upstream.h"
#include "base/env.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/timers.h"
#include "base/turn.h"

#define MAX_FRAME  (1u << 20)
#define STAGE_SIZE (128u << 10)
#define WATCHDOG_S 20

struct world {
    uv_loop_t loop;
    uv_timer_t tick;
    uint64_t now;
    struct turn turn;
    struct stats stats;
    struct log log;
    struct env env;
    char dir[64], path[96], address[112];
    struct upstream *upstream;
    struct link *link;
    /* what was heard */
    int opened, closed, refused, writable;
    struct link_end end;
    char end_text[256];
    size_t frames, frame_bytes;
    uint8_t last[64];
    size_t last_len;
    size_t receipt_bytes, receipt_count;
    bool pause_after_frame, close_after_frame;
};

static uint64_t pretend_now(void *clock)
{
    return ((struct world *)clock)->now;
}

static void on_opened(void *user)
{
    ((struct world *)user)->opened++;
}

static void on_frame(void *user, const uint8_t *body, size_t len)
{
    struct world *w = user;
    assert_int_equal(w->closed, 0);
    w->frames++;
    w->frame_bytes += len;
    w->last_len = len < sizeof w->last ? len : sizeof w->last;
    memcpy(w->last, body, w->last_len);
    if (w->pause_after_frame)
        link_pause(w->link);
    if (w->close_after_frame)
        link_close(w->link);
}

static void on_refused(void *user, uint64_t length)
{
    struct world *w = user;
    assert_true(length == 0 || length > MAX_FRAME);
    w->refused++;
}

static void on_written(void *user, void *receipt, size_t bytes, size_t count)
{
    struct world *w = user;
    assert_non_null(receipt);
    w->receipt_bytes += bytes;
    w->receipt_count += count;
}

static void on_writable(void *user)
{
    ((struct world *)user)->writable++;
}

static void on_closed(void *user, const struct link_end *end)
{
    struct world *w = user;
    w->closed++;
    w->end = *end;
    snprintf(w->end_text, sizeof w->end_text, "%s", end->text);
    w->end.text = w->end_text;
    w->link = NULL;
}

static const struct link_ops ops = {on_opened,  on_frame,    on_refused,
                                    on_written, on_writable, on_closed};

static void tick(uv_timer_t *timer)
{
    (void)timer;
}

static void step(struct world *w)
{
    uv_run(&w->loop, UV_RUN_ONCE);
    timers_run(w->env.timers);
    turn_end(&w->turn);
}

/* Runs the loop until the condition holds. */
#define until(w, condition)                                                                        \
    do {                                                                                           \
        uint64_t watchdog_ = uv_hrtime() + WATCHDOG_S * NS_PER_S;                                  \
        turn_end(&(w)->turn);                                                                      \
        while (!(condition)) {                                                                     \
            assert_true(uv_hrtime() < watchdog_);                                                  \
            step(w);                                                                               \
        }                                                                                          \
    } while (0)

static struct upstream *make_upstream(struct world *w, const char *address)
{
    const struct upstream_config config = {
        .address = address,
        .connect_timeout_ns = 5 * NS_PER_S,
        .linger_timeout_ns = 2 * NS_PER_S,
        .max_frame = MAX_FRAME,
        .stage_size = STAGE_SIZE,
        .read_budget = 256 << 10,
    };
    const char *error = NULL;
    return upstream_new(&w->env, &w->loop, &config, &error);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->now = NS_PER_S;
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->tick);
    uv_timer_start(&w->tick, tick, 1, 1);
    turn_init(&w->turn);
    log_init(&w->log, 2, LOG_OFF);
    w->env = (struct env){.turn = &w->turn, .stats = &w->stats, .log = &w->log};
    w->env.timers = timers_new(pretend_now, w);
    strcpy(w->dir, "/tmp/test_link.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof w->path, "%s/app.sock", w->dir);
    snprintf(w->address, sizeof w->address, "unix:%s", w->path);
    w->upstream = make_upstream(w, w->address);
    assert_non_null(w->upstream);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    if (w->link)
        link_close(w->link);
    turn_end(&w->turn);
    assert_null(stats_alive(&w->stats));
    upstream_free(w->upstream);
    assert_int_equal(timers_next(w->env.timers), TIMERS_NEVER);
    uv_close((uv_handle_t *)&w->tick, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    timers_free(w->env.timers);
    unlink(w->path);
    rmdir(w->dir);
    free(w);
    return 0;
}

/* --- the application's end --- */

static int listen_unix(struct world *w, int backlog)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    strcpy(un.sun_path, w->path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static int connected_pair(struct world *w)
{
    int listener = listen_unix(w, 16);
    w->link = upstream_connect(w->upstream, &ops, w);
    assert_int_equal(w->opened, 0);
    until(w, w->opened);
    int app = accept(listener, NULL, NULL);
    assert_true(app >= 0);
    close(listener);
    return app;
}

static size_t unread(int fd)
{
    int n = 0;
    ioctl(fd, FIONREAD, &n);
    return (size_t)n;
}

static void app_write(struct world *w, int fd, const void *data, size_t len)
{
    const uint8_t *at = data;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    uint64_t watchdog = uv_hrtime() + WATCHDOG_S * NS_PER_S;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else {
            assert_int_equal(errno, EAGAIN);
            step(w);
        }
        assert_true(uv_hrtime() < watchdog);
    }
}

static uint8_t *make_frame(size_t len, uint8_t fill)
{
    uint8_t *frame = malloc(len + 4);
    memset(frame, fill, len + 4);
    frame[0] = (uint8_t)(len >> 24);
    frame[1] = (uint8_t)(len >> 16);
    frame[2] = (uint8_t)(len >> 8);
    frame[3] = (uint8_t)len;
    return frame;
}

static void app_write_frame(struct world *w, int fd, size_t len, uint8_t fill)
{
    uint8_t *frame = make_frame(len, fill);
    app_write(w, fd, frame, len + 4);
    free(frame);
}

/* Reads exactly len bytes while the loop goes on. */
static void app_read(struct world *w, int fd, uint8_t *to, size_t len)
{
    fcntl(fd, F_SETFL, O_NONBLOCK);
    uint64_t watchdog = uv_hrtime() + WATCHDOG_S * NS_PER_S;
    while (len > 0) {
        ssize_t n = read(fd, to, len);
        if (n > 0) {
            to += n;
            len -= (size_t)n;
        } else {
            assert_true(n < 0 && errno == EAGAIN);
            step(w);
        }
        assert_true(uv_hrtime() < watchdog);
    }
}

/* --- out --- */

static void whole_frames_go_out_with_one_flush(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w), one, two;
    link_send(w->link, "abc", 3);
    link_receipt(w->link, &one, 3);
    link_send(w->link, "d", 1);
    link_receipt(w->link, &two, 1);
    link_receipt(w->link, &two, 5);
    assert_int_equal(w->receipt_count, 0);
    turn_end(&w->turn);
    uint8_t got[64];
    app_read(w, app, got, 12);
    assert_memory_equal(got, "\0\0\0\3abc\0\0\0\1d", 12);
    assert_int_equal(w->receipt_count, 3);
    assert_int_equal(w->receipt_bytes, 9);
    assert_true(w->writable > 0);
    assert_int_equal(w->stats.frames_sent, 2);
    close(app);
}

static void an_open_frame_grows_until_it_is_written(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w), key, other;
    link_open_frame(w->link, &key, "HEAD", 4);
    assert_true(link_extends(w->link, &key));
    assert_false(link_extends(w->link, &other));
    link_append(w->link, "xy", 2);
    link_append(w->link, "z", 1);
    link_patch_head(w->link, 1, 'e');
    turn_end(&w->turn);
    assert_false(link_extends(w->link, &key));
    link_open_frame(w->link, &key, "H", 1);
    link_send(w->link, "!", 1);
    assert_false(link_extends(w->link, &key));
    turn_end(&w->turn);
    uint8_t got[64];
    const char expected[] = "\0\0\0\x0cHeAD\xc6\0\0\0\3xyz"
                            "\0\0\0\6H\xc6\0\0\0\0"
                            "\0\0\0\1!";
    app_read(w, app, got, sizeof expected - 1);
    assert_memory_equal(got, expected, sizeof expected - 1);
    close(app);
}

static void an_open_frame_never_exceeds_max_frame(void **state)
{
    struct world *w = *state;
    upstream_free(w->upstream);
    const char *error;
    const struct upstream_config config = {.address = w->address,
                                           .connect_timeout_ns = NS_PER_S,
                                           .linger_timeout_ns = NS_PER_S,
                                           .max_frame = 32,
                                           .stage_size = 4096,
                                           .read_budget = 4096};
    w->upstream = upstream_new(&w->env, &w->loop, &config, &error);
    int app = connected_pair(w), key;
    link_open_frame(w->link, &key, "HEAD", 4);
    assert_int_equal(link_append_room(w->link), 32 - 4 - 5);
    link_append(w->link, "0123456789", 10);
    assert_int_equal(link_append_room(w->link), 32 - 4 - 5 - 10);
    close(app);
}

static void the_stage_is_bounded_and_drains(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w), key;
    uint8_t block[1000];
    memset(block, 7, sizeof block);
    size_t staged = 0;
    for (int i = 0; i < 4000; i++) { /* until neither the stage nor the kernel take any more */
        while (link_room(w->link) >= sizeof block + 4) {
            link_send(w->link, block, sizeof block);
            link_receipt(w->link, &key, sizeof block);
            staged += sizeof block;
            i = 0;
        }
        turn_end(&w->turn);
        if (link_room(w->link) < sizeof block + 4)
            break;
    }
    assert_true(link_room(w->link) < sizeof block + 4);
    assert_true(staged - w->receipt_bytes <= STAGE_SIZE + 2 * 16384);
    size_t frames = staged / sizeof block;
    int writable = w->writable;
    for (size_t i = 0; i < frames; i++) {
        uint8_t got[1004];
        app_read(w, app, got, sizeof got);
        assert_memory_equal(got + 4, block, sizeof block);
    }
    until(w, w->receipt_bytes == staged);
    assert_true(w->writable > writable);
    assert_int_equal(link_room(w->link), STAGE_SIZE);
    close(app);
}

static void a_forgotten_receipt_is_not_told(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w), one, two;
    link_send(w->link, "a", 1);
    link_receipt(w->link, &one, 10);
    link_send(w->link, "b", 1);
    link_receipt(w->link, &two, 1);
    link_forget_receipt(w->link, &one);
    turn_end(&w->turn);
    assert_int_equal(w->receipt_bytes, 1);
    close(app);
}

/* --- in --- */

static void frames_come_in_whole_sliced_and_many_at_once(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w);
    app_write_frame(w, app, 5, 'a');
    until(w, w->frames == 1);
    assert_memory_equal(w->last, "aaaaa", 5);
    uint8_t *frame = make_frame(9, 'b');
    for (size_t i = 0; i < 13; i++) {
        assert_int_equal(w->frames, 1);
        app_write(w, app, frame + i, 1);
        until(w, unread(app) == 0);
        step(w);
    }
    free(frame);
    until(w, w->frames == 2);
    assert_int_equal(w->last_len, 9);
    uint8_t many[500 * 5];
    for (size_t i = 0; i < 500; i++)
        memcpy(many + 5 * i, "\0\0\0\1c", 5);
    app_write(w, app, many, sizeof many);
    until(w, w->frames == 502);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
}

static void large_frames_come_in(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w);
    for (int i = 1; i <= 3; i++) {
        app_write_frame(w, app, MAX_FRAME, 'x');
        app_write_frame(w, app, 70000, 'y');
    }
    until(w, w->frames == 6);
    assert_int_equal(w->frame_bytes, 3 * (MAX_FRAME + 70000));
    close(app);
}

static void an_illegal_length_is_refused_once(void **state)
{
    const uint8_t illegal[][5] = {{0, 0, 0, 0, 1}, {0, 0x10, 0, 1, 1}, {255, 255, 255, 255, 1}};
    struct world *w = *state;
    for (size_t i = 0; i < 3; i++) {
        w->opened = w->refused = 0;
        int app = connected_pair(w);
        app_write(w, app, illegal[i], 3);
        step(w);
        step(w);
        app_write(w, app, illegal[i] + 3, 2);
        until(w, w->refused);
        app_write_frame(w, app, 4, 'n');
        for (int n = 0; n < 5; n++)
            step(w);
        assert_int_equal(w->refused, 1);
        assert_int_equal(w->frames, 0);
        link_close(w->link);
        until(w, !w->link);
        assert_int_equal(w->end.fault, FAULT_NONE);
        close(app);
        unlink(w->path);
    }
}

static void nothing_comes_while_paused(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w);
    w->pause_after_frame = true;
    for (int i = 0; i < 3; i++)
        app_write_frame(w, app, 4, 'p');
    until(w, w->frames == 1);
    for (size_t n = 1; n <= 3; n++) {
        for (int i = 0; i < 5; i++)
            step(w);
        assert_int_equal(w->frames, n);
        link_resume(w->link);
        step(w);
    }
    app_write_frame(w, app, 4, 'q');
    until(w, w->frames == 4);
    close(app);
}

static void a_hang_up_is_noticed_while_paused(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w);
    link_pause(w->link);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
    assert_int_equal(w->frames, 0);
}

static void what_was_written_before_a_hang_up_is_not_lost_by_a_pause(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w);
    link_pause(w->link);
    app_write_frame(w, app, 4, 'l');
    close(app);
    for (int i = 0; i < 10; i++)
        step(w);
    assert_int_equal(w->closed, 0);
    link_resume(w->link);
    until(w, w->closed);
    assert_int_equal(w->frames, 1);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
}

static void a_write_error_is_not_the_end(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w);
    link_send(w->link, "unread by the application", 25);
    turn_end(&w->turn);
    for (int i = 0; i < 100; i++)
        app_write_frame(w, app, 900, 'e'); /* more than is read before the write */
    close(app);
    link_send(w->link, "x", 1);
    turn_end(&w->turn); /* EPIPE */
    until(w, w->closed);
    assert_int_equal(w->frames, 100);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
    assert_int_equal(w->closed, 1);
}

static void an_end_inside_a_frame_is_told(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w);
    app_write(w, app, "\0\0\0\5ab", 6);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->frames, 0);
    assert_non_null(strstr(w->end.text, "inside a frame"));
}

static void a_link_may_be_closed_by_its_own_frame(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w);
    w->close_after_frame = true;
    uint8_t two[] = {0, 0, 0, 1, 'a', 0, 0, 0, 1, 'b'};
    app_write(w, app, two, sizeof two);
    until(w, w->closed);
    assert_int_equal(w->frames, 1);
    close(app);
}

static void an_allowed_eof_leaves_the_link_writable(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w);
    link_allow_eof(w->link);
    shutdown(app, SHUT_WR);
    for (int i = 0; i < 5; i++)
        step(w);
    assert_int_equal(w->closed, 0);
    link_send(w->link, "bye", 3);
    link_finish(w->link);
    uint8_t got[8];
    app_read(w, app, got, 7);
    assert_memory_equal(got, "\0\0\0\3bye", 7);
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_NONE);
    close(app);
}

/* --- the end --- */

static void finish_writes_all_and_waits_for_the_application(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w), key;
    link_send(w->link, "last", 4);
    link_receipt(w->link, &key, 4);
    link_finish(w->link);
    assert_int_equal(link_room(w->link), 0);
    app_write_frame(w, app, 30000, 'd'); /* discarded */
    uint8_t got[9];
    app_read(w, app, got, 8);
    until(w, unread(app) == 0);
    ssize_t n = -1;
    until(w, (n = read(app, got, 1)) == 0); /* our write side is shut */
    assert_int_equal(w->closed, 0);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_NONE);
    assert_int_equal(w->frames, 0);
    assert_int_equal(w->receipt_count, 0);
}

static void lingering_ends(void **state)
{
    struct world *w = *state;
    int app = connected_pair(w);
    link_finish(w->link);
    step(w);
    step(w);
    assert_int_equal(w->closed, 0);
    w->now += 2 * NS_PER_S;
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_NONE);
    close(app);
}

/* --- connecting --- */

static void connect_and_expect(struct world *w, enum fault fault, int error, const char *text)
{
    w->opened = w->closed = 0;
    w->link = upstream_connect(w->upstream, &ops, w);
    assert_int_equal(w->closed, 0);
    until(w, w->closed || w->opened);
    assert_int_equal(w->opened, 0);
    assert_int_equal(w->end.fault, fault);
    assert_int_equal(w->end.error, error);
    assert_non_null(strstr(w->end.text, text));
    assert_non_null(strstr(w->end.text, upstream_address(w->upstream)));
}

static int listen_tcp(uint16_t *port, bool listening)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    *port = ntohs(in.sin_port);
    if (listening)
        assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static void use_address(struct world *w, const char *address)
{
    upstream_free(w->upstream);
    w->upstream = make_upstream(w, address);
    assert_non_null(w->upstream);
}

static void an_absent_application_is_told(void **state)
{
    struct world *w = *state;
    connect_and_expect(w, FAULT_BACKEND_CONNECT, ENOENT, "No such file");
    int fd = listen_unix(w, -1);
    connect_and_expect(w, FAULT_BACKEND_CONNECT, ECONNREFUSED, "refused");
    close(fd);
    uint16_t port;
    fd = listen_tcp(&port, false);
    char address[64];
    snprintf(address, sizeof address, "tcp:127.0.0.1:%u", port);
    use_address(w, address);
    connect_and_expect(w, FAULT_BACKEND_CONNECT, ECONNREFUSED, "refused");
    close(fd);
}

static void a_full_backlog_is_tried_again(void **state)
{
    struct world *w = *state;
    int listener = listen_unix(w, 0), fillers[64], count = 0;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    strcpy(un.sun_path, w->path);
    for (;; count++) {
        assert_true(count < 64);
        fillers[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fillers[count], (struct sockaddr *)&un, sizeof un))
            break;
    }
    assert_int_equal(errno, EAGAIN);
    w->link = upstream_connect(w->upstream, &ops, w);
    for (int i = 0; i < 10; i++) {
        w->now += 10 * NS_PER_MS;
        step(w);
    }
    assert_int_equal(w->opened + w->closed, 0);
    close(accept(listener, NULL, NULL));
    until(w, (w->now += NS_PER_MS, w->opened));
    link_close(w->link);
    until(w, w->closed);

    while (connect(fillers[count], (struct sockaddr *)&un, sizeof un) == 0)
        fillers[++count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    w->opened = w->closed = 0;
    w->link = upstream_connect(w->upstream, &ops, w);
    until(w, (w->now += 100 * NS_PER_MS, w->closed));
    assert_int_equal(w->opened, 0);
    assert_int_equal(w->end.fault, FAULT_BACKEND_CONNECT_TIMEOUT);
    assert_non_null(strstr(w->end.text, "backlog"));
    for (int i = 0; i <= count; i++)
        close(fillers[i]);
    close(listener);
}

static void a_link_may_be_closed_while_it_connects(void **state)
{
    struct world *w = *state;
    int listener = listen_unix(w, 0);
    w->link = upstream_connect(w->upstream, &ops, w);
    link_close(w->link); /* before it has begun */
    until(w, w->closed);
    assert_int_equal(w->opened, 0);
    use_address(w, "tcp:localhost:9");
    w->closed = 0;
    w->link = upstream_connect(w->upstream, &ops, w);
    turn_end(&w->turn); /* the lookup has begun */
    link_finish(w->link);
    until(w, w->closed == 1);
    assert_int_equal(w->end.fault, FAULT_NONE);
    close(listener);
}

static void tcp_connects_by_number_and_by_name(void **state)
{
    struct world *w = *state;
    uint16_t port;
    int listener = listen_tcp(&port, true); /* on IPv4 only; localhost may well be ::1 first */
    const char *hosts[] = {"127.0.0.1", "localhost"};
    for (size_t i = 0; i < 2; i++) {
        char address[64];
        snprintf(address, sizeof address, "tcp:%s:%u", hosts[i], port);
        use_address(w, address);
        w->opened = w->closed = 0;
        w->link = upstream_connect(w->upstream, &ops, w);
        until(w, w->opened || w->closed);
        assert_int_equal(w->opened, 1);
        int app = accept(listener, NULL, NULL);
        link_send(w->link, "tcp", 3);
        uint8_t got[7];
        app_read(w, app, got, 7);
        assert_memory_equal(got, "\0\0\0\3tcp", 7);
        struct linger reset = {1, 0};
        setsockopt(app, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(app);
        until(w, w->closed);
        assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
        assert_int_equal(w->end.error, ECONNRESET);
    }
    close(listener);
}

static void addresses_are_understood_or_explained(void **state)
{
    struct world *w = *state;
    const char *bad[] = {
        "",           "/run/app.sock", "unix:",     "tcp:",        "tcp:host",   "tcp::80",
        "tcp:host:0", "tcp:host:http", "tcp:::1:8", "tcp:h:65536", "http://x:80"};
    char longest[200] = "unix:";
    memset(longest + 5, 'p', 108);
    assert_null(make_upstream(w, longest));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct upstream_config config = {.address = bad[i]};
        const char *error = NULL;
        assert_null(upstream_new(&w->env, &w->loop, &config, &error));
        assert_non_null(error);
    }
    const char *good[] = {"tcp:[::1]:80", "tcp:example.org:8000", "unix:x", "tcp:127.0.0.1:1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct upstream *u = make_upstream(w, good[i]);
        assert_non_null(u);
        assert_string_equal(upstream_address(u), good[i]);
        upstream_free(u);
    }
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(whole_frames_go_out_with_one_flush),
        in_world(an_open_frame_grows_until_it_is_written),
        in_world(an_open_frame_never_exceeds_max_frame),
        in_world(the_stage_is_bounded_and_drains),
        in_world(a_forgotten_receipt_is_not_told),
        in_world(frames_come_in_whole_sliced_and_many_at_once),
        in_world(large_frames_come_in),
        in_world(an_illegal_length_is_refused_once),
        in_world(nothing_comes_while_paused),
        in_world(a_hang_up_is_noticed_while_paused),
        in_world(what_was_written_before_a_hang_up_is_not_lost_by_a_pause),
        in_world(a_write_error_is_not_the_end),
        in_world(an_end_inside_a_frame_is_told),
        in_world(a_link_may_be_closed_by_its_own_frame),
        in_world(an_allowed_eof_leaves_the_link_writable),
        in_world(finish_writes_all_and_waits_for_the_application),
        in_world(lingering_ends),
        in_world(an_absent_application_is_told),
        in_world(a_full_backlog_is_tried_again),
        in_world(a_link_may_be_closed_while_it_connects),
        in_world(tcp_connects_by_number_and_by_name),
        in_world(addresses_are_understood_or_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
