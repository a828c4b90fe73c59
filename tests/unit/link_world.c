/*
 * The world that link_world.h describes. Owns the loop, what links share and a directory for its
 * socket.
 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "link_world.h"

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

const struct link_ops world_ops = {on_opened,  on_frame,    on_refused,
                                   on_written, on_writable, on_closed};

static void tick(uv_timer_t *timer)
{
    (void)timer;
}

void world_step(struct world *w)
{
    uv_run(&w->loop, UV_RUN_ONCE);
    w->now++; /* what a timer puts off is due in the next step */
    timers_run(w->env.timers);
    turn_end(&w->turn);
}

bool world_target(struct world *w, const char *address, const char **error)
{
    dial_target_fini(&w->target);
    return dial_target_init(&w->target, address, error);
}

struct link *world_open(struct world *w, const struct link_ops *ops, void *user)
{
    return link_open(&w->shared, &w->target, ops, user, &w->memory);
}

static void make_shared(struct world *w)
{
    w->shared = (struct link_shared){
        .env = &w->env,
        .loop = &w->loop,
        .connect_timeout_ns = 5 * NS_PER_S,
        .linger_timeout_ns = 2 * NS_PER_S,
        .frame_timeout_ns = 5 * NS_PER_S,
        .max_frame = MAX_FRAME,
        .stage_size = STAGE_SIZE,
        .read_budget = 256 << 10,
        .read_buffer = malloc(256 << 10),
        .read_size = 256 << 10,
    };
    TAILQ_INIT(&w->shared.starving);
}

static void free_shared(struct world *w)
{
    assert_int_equal(w->shared.links, 0);
    while (w->shared.spare_count > 0)
        free(w->shared.spare_stages[--w->shared.spare_count]);
    free(w->shared.spare_part);
    free(w->shared.read_buffer);
}

int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->now = NS_PER_S;
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->tick);
    uv_timer_start(&w->tick, tick, 1, 1);
    turn_init(&w->turn);
    log_init(&w->log, 2, LOG_OFF);
    w->env =
        (struct env){.turn = &w->turn, .stats = &w->stats, .log = &w->log, .memory = &w->memory};
    budget_init(&w->memory, NULL, UINT64_MAX, &w->stats.memory_bytes);
    w->env.timers = timers_new(pretend_now, w);
    strcpy(w->dir, "/tmp/test_link.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof w->path, "%s/app.sock", w->dir);
    snprintf(w->address, sizeof w->address, "unix:%s", w->path);
    const char *error = NULL;
    assert_true(dial_target_init(&w->target, w->address, &error));
    make_shared(w);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    struct world *w = *state;
    if (w->link)
        link_close(w->link);
    turn_end(&w->turn);
    assert_null(stats_alive(&w->stats));
    free_shared(w);
    dial_target_fini(&w->target);
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

size_t world_descriptors(void)
{
    size_t count = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

int world_next_descriptor(void)
{
    int next = dup(STDERR_FILENO);
    assert_true(next >= 0);
    close(next);
    return next;
}

void world_await_reset(int fd)
{
    struct pollfd wait = {.fd = fd, .events = 0};
    assert_int_equal(poll(&wait, 1, WATCHDOG_S * 1000), 1);
    assert_true(wait.revents & POLLERR);
}

/* --- the application's end --- */

int world_listen_unix(struct world *w, int backlog)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    strcpy(un.sun_path, w->path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

int world_connected(struct world *w)
{
    int listener = world_listen_unix(w, 16);
    w->link = world_open(w, &world_ops, w);
    assert_int_equal(w->opened, 0);
    until(w, w->opened);
    int app = accept(listener, NULL, NULL);
    assert_true(app >= 0);
    close(listener);
    return app;
}

size_t world_unread(int fd)
{
    int n = 0;
    ioctl(fd, FIONREAD, &n);
    return (size_t)n;
}

void world_write(struct world *w, int fd, const void *data, size_t len)
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
            world_step(w);
        }
        assert_true(uv_hrtime() < watchdog);
    }
}

uint8_t *world_frame(size_t len, uint8_t fill)
{
    uint8_t *frame = malloc(len + 4);
    memset(frame, fill, len + 4);
    frame[0] = (uint8_t)(len >> 24);
    frame[1] = (uint8_t)(len >> 16);
    frame[2] = (uint8_t)(len >> 8);
    frame[3] = (uint8_t)len;
    return frame;
}

void world_write_frame(struct world *w, int fd, size_t len, uint8_t fill)
{
    uint8_t *frame = world_frame(len, fill);
    world_write(w, fd, frame, len + 4);
    free(frame);
}

/* Reads exactly len bytes while the loop goes on. */
void world_read(struct world *w, int fd, uint8_t *to, size_t len)
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
            world_step(w);
        }
        assert_true(uv_hrtime() < watchdog);
    }
}
