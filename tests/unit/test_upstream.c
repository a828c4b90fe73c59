/*
 * An application of several addresses: real sockets, a real loop, a pretend clock. The test plays
 * the applications, and the sessions that ask for seats.
 */
#include "cmocka_all.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "../support/settings.h"
#include "back/upstream.h"
#include "base/budget.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/tally.h"
#include "base/turn.h"

enum { APPS = 3, SESSIONS = 400, WATCHDOG_S = 20 };

struct scene;

/* A session as relay would have it. */
struct guest {
    struct scene *scene;
    struct seat seat;
    struct link *link;
    bool granted, denied, opened;
    enum fault fault;
    int failures; /* links that ended before it was answered */
    int at;       /* the application that has it */
};

struct scene {
    uv_loop_t loop;
    uv_timer_t tick;
    uint64_t now;
    struct turn turn;
    struct stats stats;
    struct budget memory;
    struct log log;
    struct env env;
    char dir[64];
    char addresses[APPS][128];
    int listeners[APPS]; /* -1: it is not there */
    struct upstream *upstream;
    struct guest guests[SESSIONS];
    size_t count;
};

static uint64_t pretend_now(void *clock)
{
    return ((struct scene *)clock)->now;
}

static void tick(uv_timer_t *timer)
{
    (void)timer;
}

static void step(struct scene *s)
{
    uv_run(&s->loop, UV_RUN_ONCE);
    timers_run(s->env.timers);
    turn_end(&s->turn);
}

#define until(s, condition)                                                                        \
    do {                                                                                           \
        uint64_t watchdog_ = uv_hrtime() + WATCHDOG_S * NS_PER_S;                                  \
        turn_end(&(s)->turn);                                                                      \
        while (!(condition)) {                                                                     \
            assert_true(uv_hrtime() < watchdog_);                                                  \
            step(s);                                                                               \
        }                                                                                          \
    } while (0)

/* --- applications --- */

static void app_start(struct scene *s, int i)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    strcpy(un.sun_path, s->addresses[i] + strlen("unix:"));
    unlink(un.sun_path);
    s->listeners[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listeners[i], (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(listen(s->listeners[i], SESSIONS), 0);
}

static void app_kill(struct scene *s, int i)
{
    close(s->listeners[i]);
    s->listeners[i] = -1;
}

static struct tally_row numbers_of(const struct scene *s, int i)
{
    struct tally t = {0};
    upstream_count(s->upstream, &t);
    struct tally_row row = *tally_row(&t, "app", s->addresses[i]);
    tally_fini(&t);
    return row;
}

/* --- sessions --- */

static void link_opened(void *user)
{
    ((struct guest *)user)->opened = true;
}

static void link_frame(void *user, const uint8_t *body, size_t len)
{
    (void)user;
    (void)body;
    (void)len;
}

static void link_refused(void *user, uint64_t length)
{
    (void)user;
    (void)length;
}

static void link_written(void *user, void *receipt, size_t bytes, size_t count)
{
    (void)user;
    (void)receipt;
    (void)bytes;
    (void)count;
}

static void link_writable(void *user)
{
    (void)user;
}

static void link_closed(void *user, const struct link_end *end)
{
    struct guest *g = user;
    g->link = NULL;
    g->opened = g->granted = false;
    if (end->fault != FAULT_NONE) {
        g->failures++;
        if (seat_failed(&g->seat, end->fault))
            return;
        g->denied = true;
        g->fault = end->fault;
    }
    seat_leave(&g->seat);
}

static const struct link_ops link_ops = {link_opened,  link_frame,    link_refused,
                                         link_written, link_writable, link_closed};

static void granted(void *user)
{
    struct guest *g = user;
    g->granted = true;
    for (g->at = 0; g->at < APPS; g->at++)
        if (strcmp(g->scene->addresses[g->at], seat_address(&g->seat)) == 0)
            break;
    g->link = seat_connect(&g->seat, &link_ops, g, &g->scene->memory);
}

static void denied(void *user, enum fault fault, const char *text)
{
    struct guest *g = user;
    (void)text;
    g->denied = true;
    g->fault = fault;
}

static const struct seat_ops seat_ops = {granted, denied};

static struct guest *ask(struct scene *s, uint64_t key)
{
    assert_true(s->count < SESSIONS);
    struct guest *g = &s->guests[s->count++];
    g->scene = s;
    seat_ask(&g->seat, s->upstream, key, &seat_ops, g);
    assert_false(g->granted || g->denied);
    return g;
}

static bool is_settled(const struct guest *g)
{
    return g->opened || g->denied;
}

/* Asks, connects, and is accepted if it can be. */
static struct guest *come(struct scene *s, uint64_t key)
{
    struct guest *g = ask(s, key);
    until(s, is_settled(g));
    if (g->opened)
        seat_answered(&g->seat);
    return g;
}

static void leave(struct scene *s, struct guest *g)
{
    link_close(g->link);
    until(s, !g->link);
}

/* --- scenes --- */

static struct upstream_config settings(void)
{
    return (struct upstream_config){UPSTREAM_SETTINGS};
}

static void open_upstream(struct scene *s, struct upstream_config config,
                          const char *const addresses[], size_t count)
{
    const char *error = NULL;
    config.addresses = addresses;
    config.address_count = count;
    s->upstream = upstream_new(&s->env, &s->loop, &config, &error);
    assert_non_null(s->upstream);
}

static void begin(struct scene *s, struct upstream_config config)
{
    const char *addresses[APPS];
    for (int i = 0; i < APPS; i++) {
        app_start(s, i);
        addresses[i] = s->addresses[i];
    }
    open_upstream(s, config, addresses, APPS);
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->now = 1000 * NS_PER_S;
    uv_loop_init(&s->loop);
    uv_timer_init(&s->loop, &s->tick);
    uv_timer_start(&s->tick, tick, 1, 1);
    turn_init(&s->turn);
    log_init(&s->log, 2, LOG_OFF);
    s->env =
        (struct env){.turn = &s->turn, .stats = &s->stats, .log = &s->log, .memory = &s->memory};
    s->env.random.state = 99;
    budget_init(&s->memory, NULL, UINT64_MAX, &s->stats.memory_bytes);
    s->env.timers = timers_new(pretend_now, s);
    strcpy(s->dir, "/tmp/test_upstream.XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    for (int i = 0; i < APPS; i++) {
        snprintf(s->addresses[i], sizeof s->addresses[i], "unix:%s/%d", s->dir, i);
        s->listeners[i] = -1;
    }
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    for (size_t i = 0; i < s->count; i++) {
        if (s->guests[i].link)
            link_close(s->guests[i].link);
        else
            seat_leave(&s->guests[i].seat);
    }
    upstream_stop(s->upstream);
    turn_end(&s->turn);
    assert_null(stats_alive(&s->stats));
    upstream_free(s->upstream);
    assert_int_equal(timers_next(s->env.timers), TIMERS_NEVER);
    uv_close((uv_handle_t *)&s->tick, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    timers_free(s->env.timers);
    for (int i = 0; i < APPS; i++) {
        if (s->listeners[i] >= 0)
            close(s->listeners[i]);
        unlink(s->addresses[i] + strlen("unix:"));
    }
    rmdir(s->dir);
    free(s);
    return 0;
}

/* --- tests --- */

static void sessions_are_spread_and_counted(void **state)
{
    struct scene *s = *state;
    begin(s, settings());
    for (int i = 0; i < 30; i++)
        come(s, 0);
    for (int i = 0; i < APPS; i++) {
        struct tally_row row = numbers_of(s, i);
        assert_int_equal(row.sessions, 10);
        assert_int_equal(row.given, 10);
        assert_int_equal(row.answered, 10);
        assert_int_equal(row.up, 1);
    }
    leave(s, &s->guests[0]);
    assert_int_equal(come(s, 0)->at, s->guests[0].at);
}

static void another_address_is_tried_on_refusal(void **state)
{
    struct scene *s = *state;
    struct upstream_config config = settings();
    config.policy = POOL_ROUND_ROBIN;
    begin(s, config);
    app_kill(s, 0);
    for (int i = 0; i < 9; i++)
        assert_true(come(s, 0)->opened);
    struct tally_row row = numbers_of(s, 0);
    assert_int_equal(row.refused, 1); /* then it rests */
    assert_int_equal(row.down, 1);
    assert_int_equal(row.outages, 1);
    assert_int_equal(row.sessions, 0);
    assert_int_equal(numbers_of(s, 1).sessions + numbers_of(s, 2).sessions, 9);
}

static void when_all_are_gone_each_is_tried_once(void **state)
{
    struct scene *s = *state;
    begin(s, settings());
    for (int i = 0; i < APPS; i++)
        app_kill(s, i);
    struct guest *g = come(s, 0);
    assert_true(g->denied);
    assert_int_equal(g->fault, FAULT_BACKEND_CONNECT);
    assert_int_equal(g->failures, APPS);
    /* Those who rest are tried rather than nobody served. */
    app_start(s, 1);
    g = come(s, 0);
    assert_true(g->opened);
    assert_int_equal(g->at, 1);
    assert_int_equal(numbers_of(s, 1).up, 1);
}

static void attempts_are_limited(void **state)
{
    struct scene *s = *state;
    struct upstream_config config = settings();
    config.attempts = 1;
    begin(s, config);
    app_kill(s, 0);
    size_t refused = 0;
    for (int i = 0; i < APPS; i++)
        refused += come(s, 0)->denied;
    assert_int_equal(refused, 1);
}

static void one_that_rests_is_tried_and_used_again(void **state)
{
    struct scene *s = *state;
    begin(s, settings());
    app_kill(s, 2);
    while (numbers_of(s, 2).down == 0)
        assert_true(come(s, 0)->opened);
    uint64_t pause = NS_PER_S, began = s->now;
    for (int i = 0; i < 4; i++) { /* it is still away when its pause is over */
        uint64_t due = timers_next(s->env.timers) - s->now;
        printf("# tried again after %.2f s\n", (double)due / NS_PER_S);
        assert_in_range(due, pause - pause / 8, pause + pause / 8);
        s->now += due;
        timers_run(s->env.timers);
        until(s, s->stats.links == s->count && timers_next(s->env.timers) > s->now);
        pause *= 2;
    }
    assert_int_equal(numbers_of(s, 2).down, 1);
    app_start(s, 2);
    s->now = timers_next(s->env.timers);
    until(s, numbers_of(s, 2).up);
    printf("# back after %.2f s\n", (double)(s->now - began) / NS_PER_S);
    /* Slowly at first: it has none, and yet does not get all. */
    for (int i = 0; i < 12; i++)
        come(s, 0);
    struct tally_row row = numbers_of(s, 2);
    printf("# of the next 12 sessions it gets %d\n", (int)row.sessions);
    assert_in_range(row.sessions, 0, 3);
    s->now += 10 * NS_PER_S;
    for (int i = 0; i < 60; i++)
        come(s, 0);
    assert_in_range(numbers_of(s, 2).sessions, numbers_of(s, 0).sessions - 1,
                    numbers_of(s, 0).sessions + 1);
}

static void lost_sessions_put_it_to_rest(void **state)
{
    struct scene *s = *state;
    begin(s, settings());
    for (int i = 0; i < 12; i++)
        come(s, 0);
    /* All sessions of one end at once, as when its process is killed. */
    app_kill(s, 1); /* the backlog, where they are, goes with it */
    until(s, numbers_of(s, 1).sessions == 0);
    struct tally_row row = numbers_of(s, 1);
    assert_int_equal(row.lost, 4);
    assert_int_equal(row.down, 1);
    assert_int_equal(row.refused, 0); /* nobody had to try it */
    for (size_t i = 0; i < 12; i++)
        assert_true(s->guests[i].at == 1 ? s->guests[i].denied : s->guests[i].opened);
    for (int i = 0; i < 12; i++) { /* new ones go to the others at once */
        struct guest *g = come(s, 0);
        assert_true(g->opened && g->at != 1 && g->failures == 0);
    }
}

static void a_session_lost_before_its_answer_is_seated_again(void **state)
{
    struct scene *s = *state;
    begin(s, settings());
    struct guest *g = ask(s, 0);
    until(s, g->opened);
    int first = g->at;
    app_kill(s, first);
    until(s, g->failures == 1 && is_settled(g));
    assert_true(g->opened);
    assert_int_not_equal(g->at, first);
    assert_int_equal(numbers_of(s, first).sessions, 0);
}

static void an_answered_session_is_not(void **state)
{
    struct scene *s = *state;
    begin(s, settings());
    struct guest *g = come(s, 0);
    app_kill(s, g->at);
    until(s, g->denied);
    assert_int_equal(g->fault, FAULT_BACKEND_LOST);
}

static void full_addresses_make_a_queue(void **state)
{
    struct scene *s = *state;
    struct upstream_config config = settings();
    config.max_sessions = 2;
    config.queue_max = 2;
    begin(s, config);
    for (int i = 0; i < 2 * APPS; i++)
        assert_true(come(s, 0)->opened);
    struct guest *first = ask(s, 0), *second = ask(s, 0), *third = ask(s, 0);
    until(s, third->denied);
    assert_int_equal(third->fault, FAULT_BACKEND_FULL);
    assert_false(first->granted || second->granted);
    assert_int_equal(s->stats.sessions_waiting, 2);
    leave(s, &s->guests[3]);
    until(s, first->opened); /* in the order in which they came */
    assert_int_equal(first->at, s->guests[3].at);
    assert_false(second->granted);
    s->now += 5 * NS_PER_S; /* it has waited long enough */
    until(s, second->denied);
    assert_int_equal(second->fault, FAULT_BACKEND_FULL);
    assert_int_equal(s->stats.sessions_waiting, 0);
    assert_int_equal(upstream_retry_after_s(s->upstream), 5);
    struct guest *fourth = ask(s, 0); /* its client goes away */
    turn_end(&s->turn);
    assert_int_equal(s->stats.sessions_waiting, 1);
    seat_leave(&fourth->seat);
    assert_int_equal(s->stats.sessions_waiting, 0);
}

static void the_same_key_gets_the_same_address(void **state)
{
    struct scene *s = *state;
    struct upstream_config config = settings();
    config.policy = POOL_HASH;
    begin(s, config);
    int at[20], moved = 0;
    for (uint64_t k = 0; k < 20; k++)
        at[k] = come(s, pool_hash(&k, sizeof k))->at;
    for (uint64_t k = 0; k < 20; k++)
        assert_int_equal(come(s, pool_hash(&k, sizeof k))->at, at[k]);
    app_kill(s, at[0]);
    for (uint64_t k = 0; k < 20; k++) {
        struct guest *g = come(s, pool_hash(&k, sizeof k));
        assert_true(g->opened);
        assert_true(g->at == at[k] || at[k] == at[0]);
        moved += g->at != at[k];
    }
    printf("# %d of 20 keys moved when one of three left\n", moved);
}

/* --- names --- */

static int listen_on_loopback(unsigned *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t len = sizeof in;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    assert_int_equal(listen(fd, 16), 0);
    *port = ntohs(in.sin_port);
    return fd;
}

static void a_name_stands_for_its_addresses(void **state)
{
    struct scene *s = *state;
    unsigned port;
    int listener = listen_on_loopback(&port); /* on IPv4 only; localhost may well be ::1 first */
    char name[64];
    const char *addresses[] = {name};
    snprintf(name, sizeof name, "tcp:localhost:%u", port);
    open_upstream(s, settings(), addresses, 1);
    struct guest *g = come(s, 0); /* waits until it is known */
    assert_true(g->opened);
    char expected[64];
    snprintf(expected, sizeof expected, "tcp:127.0.0.1:%u", port);
    assert_string_equal(seat_address(&g->seat), expected);
    /* Looked up again, with the same answer: nothing changes. */
    struct tally before = {0}, after = {0};
    upstream_count(s->upstream, &before);
    s->now += 10 * NS_PER_S;
    timers_run(s->env.timers);
    until(s, timers_next(s->env.timers) > s->now);
    upstream_count(s->upstream, &after);
    assert_int_equal(before.count, after.count);
    tally_fini(&before);
    tally_fini(&after);
    close(listener);
}

static void a_name_without_addresses_is_told(void **state)
{
    struct scene *s = *state;
    /* No label is longer than 63 bytes, so no server need be asked. */
    const char *addresses[] = {
        "tcp:nobodynobodynobodynobodynobodynobodynobodynobodynobodynobodynobody"
        ".invalid:80"};
    open_upstream(s, settings(), addresses, 1);
    struct guest *g = come(s, 0);
    assert_true(g->denied);
    assert_int_equal(g->fault, FAULT_BACKEND_CONNECT);
}

/* --- probes --- */

static const uint8_t hello[] = "hello", farewell[] = "bye";

static bool is_yes(const uint8_t *frame, size_t len)
{
    return len == 3 && memcmp(frame, "yes", 3) == 0;
}

static struct upstream_config settings_with_probes(void)
{
    struct upstream_config config = settings();
    config.probe = (struct upstream_probe){.kind = UPSTREAM_PROBE_ACCEPT,
                                           .interval_ns = 10 * NS_PER_S,
                                           .timeout_ns = NS_PER_S,
                                           .hello = hello,
                                           .hello_len = sizeof hello - 1,
                                           .is_accepted = is_yes,
                                           .farewell = farewell,
                                           .farewell_len = sizeof farewell - 1};
    return config;
}

/* The application's end of the probe that comes to number i next. */
static int take_probe(struct scene *s, int i)
{
    int fd = -1;
    char got[16];
    s->now = timers_next(s->env.timers);
    until(s, (fd = accept4(s->listeners[i], NULL, NULL, SOCK_NONBLOCK)) >= 0);
    ssize_t n = 0;
    until(s, (n = read(fd, got, sizeof got)) > 0);
    assert_int_equal(n, 9);
    assert_memory_equal(got, "\0\0\0\5hello", 9);
    return fd;
}

static void answer_probe(struct scene *s, int fd, const char *frame)
{
    uint8_t all[16] = {0, 0, 0, (uint8_t)strlen(frame)};
    char got[16];
    ssize_t n = 0;
    memcpy(all + 4, frame, strlen(frame));
    assert_int_equal(write(fd, all, 4 + strlen(frame)), 4 + strlen(frame));
    until(s, (n = read(fd, got, sizeof got)) > 0);
    assert_memory_equal(got, "\0\0\0\3bye", 7);
    close(fd);
    until(s, s->stats.links == 0);
}

static void a_probe_must_be_accepted(void **state)
{
    struct scene *s = *state;
    const char *addresses[] = {s->addresses[0]};
    app_start(s, 0);
    open_upstream(s, settings_with_probes(), addresses, 1);
    answer_probe(s, take_probe(s, 0), "yes");
    assert_int_equal(numbers_of(s, 0).up, 1);
    for (int i = 0; i < 3; i++) { /* three in a row */
        assert_int_equal(numbers_of(s, 0).up, 1);
        answer_probe(s, take_probe(s, 0), "no");
    }
    assert_int_equal(numbers_of(s, 0).down, 1);
    answer_probe(s, take_probe(s, 0), "no");
    assert_int_equal(numbers_of(s, 0).down, 1);
    answer_probe(s, take_probe(s, 0), "yes");
    assert_int_equal(numbers_of(s, 0).up, 1);
}

static void a_probe_without_an_answer_ends(void **state)
{
    struct scene *s = *state;
    const char *addresses[] = {s->addresses[0]};
    struct upstream_config config = settings_with_probes();
    config.health.failures = 1;
    app_start(s, 0);
    open_upstream(s, config, addresses, 1);
    int fd = take_probe(s, 0);
    s->now = timers_next(s->env.timers);
    until(s, s->stats.links == 0);
    assert_int_equal(numbers_of(s, 0).down, 1);
    close(fd);
}

static void a_probe_of_one_that_is_gone_puts_it_to_rest(void **state)
{
    struct scene *s = *state;
    struct upstream_config config = settings();
    config.probe.interval_ns = 10 * NS_PER_S;
    begin(s, config);
    app_kill(s, 1);
    s->now += 10 * NS_PER_S;
    until(s, numbers_of(s, 1).down);
    until(s, s->stats.links == 0);
    assert_int_equal(numbers_of(s, 0).up + numbers_of(s, 2).up, 2);
    assert_int_equal(numbers_of(s, 0).given, 0); /* no session had to find out */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(sessions_are_spread_and_counted),
        TEST(another_address_is_tried_on_refusal),
        TEST(when_all_are_gone_each_is_tried_once),
        TEST(attempts_are_limited),
        TEST(one_that_rests_is_tried_and_used_again),
        TEST(lost_sessions_put_it_to_rest),
        TEST(a_session_lost_before_its_answer_is_seated_again),
        TEST(an_answered_session_is_not),
        TEST(full_addresses_make_a_queue),
        TEST(the_same_key_gets_the_same_address),
        TEST(a_name_stands_for_its_addresses),
        TEST(a_name_without_addresses_is_told),
        TEST(a_probe_must_be_accepted),
        TEST(a_probe_without_an_answer_ends),
        TEST(a_probe_of_one_that_is_gone_puts_it_to_rest),
    };
    return cmocka_run_group_tests_name("upstream", tests, NULL, NULL);
}
