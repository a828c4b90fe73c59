/*
 * worker - one thread, one loop, and the composition of what runs in it.
 *
 * Owns the loop, the clock (a timerfd, because libuv counts in milliseconds and QUIC paces in
 * nanoseconds), the env, the inbox, and one of each: endpoint, WebTransport host, reception;
 * and an upstream for each backend.
 *
 * A turn ends in the loop's prepare phase, right before it sleeps. Udp ends one earlier, after each
 * batch that it has read.
 *
 * It ends in steps, each waiting for the one before: sessions, connections and links, sockets,
 * handles of the loop.
 */
#include "worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/budget.h"
#include "base/env.h"
#include "base/timers.h"
#include "base/turn.h"
#include "front/tls.h"
#include "inbox.h"
#include "reception.h"
#include "worker_edition.h"
#include "worker_sockets.h"

/* Packets from other workers, waiting: as much as a socket's default buffer. */
#define FORWARDED_MAX (256 * 1024)

/* Between the last session's end and the end of the connections: when both come together, Chromium
 * tells its page "connection lost" instead of the session's code in one case of three. */
#define SETTLING_TIME (300 * NS_PER_MS)

/* Of the time to drain, to close what has not ended by itself; but no less than the second. */
#define CLOSING_TIME     (2 * NS_PER_S)
#define CLOSING_TIME_MIN (250 * NS_PER_MS)

enum step {
    RUNNING,
    DRAINING,            /* sessions may end by themselves */
    CLOSING_SESSIONS,    /* they are being closed, each with a proper end */
    SETTLING,            /* clients may take notice and close their connections themselves */
    CLOSING_CONNECTIONS, /* and with them the links */
    CLOSING_SOCKETS,
    CLOSING_HANDLES,
};

enum wish { WISH_DRAIN = 1, WISH_CLOSE = 2, WISH_COUNT = 4, WISH_CONFIGURE = 8, WISH_LISTEN = 16 };

struct worker {
    struct worker_config config;
    const struct worker_ops *ops;
    void *user;
    pthread_t thread;
    bool started;
    enum step step;

    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_async_t wake;
    uv_poll_t timer_poll;
    uv_idle_t due; /* active when a deadline has passed already */
    int timer_fd;
    uint64_t armed_ns; /* what the timerfd is set to */
    struct timer drain_timer;
    uint64_t closing_ns; /* how long sessions may take to close; then how long to settle */

    struct env env;
    struct budget memory;
    struct turn turn;
    struct stats stats;
    struct tally tally; /* of the last time that it was asked for, or of the end */
    struct inbox inbox;
    _Atomic(const struct worker_settings *) wanted; /* with WISH_CONFIGURE */

    _Atomic(const struct worker_sockets_wanted *) sockets_wanted; /* with WISH_LISTEN */
    struct worker_sockets sockets;
    bool is_listen_unanswered;
    bool has_retired; /* perhaps listeners that are retired and not idle yet */
    bool told_idle[INTAKE_LISTENERS];
    struct endpoint *endpoint;
    struct wt_host *host;
    struct worker_editions editions;
    struct reception *reception;
};

/* --- the clock --- */

static uint64_t monotonic_ns(void *clock)
{
    struct timespec now;

    (void)clock;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void time_is_up(uv_idle_t *due)
{
    struct worker *w = due->data;

    uv_idle_stop(due);
    timers_run(w->env.timers);
    turn_end(&w->turn);
}

static void arm_clock(struct worker *w)
{
    uint64_t next = timers_next(w->env.timers);

    /* Deadlines mostly move away. Waking too early now and then is cheaper than telling the kernel
     * each time. */
    if (next >= w->armed_ns)
        return;
    if (next <= timers_now(w->env.timers)) { /* do not sleep at all */
        uv_idle_start(&w->due, time_is_up);
        return;
    }
    w->armed_ns = next;
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(next / NS_PER_S), .tv_nsec = (long)(next % NS_PER_S)}};
    timerfd_settime(w->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void clock_polled(uv_poll_t *poll, int status, int events)
{
    struct worker *w = poll->data;
    uint64_t expirations;

    (void)status;
    (void)events;
    if (read(w->timer_fd, &expirations, sizeof(expirations)) < 0 && errno == EAGAIN)
        return; /* it was set anew meanwhile */
    w->armed_ns = TIMERS_NEVER;
    timers_run(w->env.timers);
    turn_end(&w->turn);
}

/* --- packets --- */

static void packet_received(void *user, const struct packet *p)
{
    struct worker *w = user;

    if (w->endpoint)
        endpoint_receive(w->endpoint, p);
}

static void packet_transmit(void *user, const struct packet *p)
{
    struct worker *w = user;

    if (w->step < CLOSING_SOCKETS)
        worker_sockets_send(&w->sockets, p);
}

static void packet_misdirected(void *user, unsigned worker, const struct packet *p)
{
    struct worker *w = user;

    if (!w->ops->forward(w->user, worker, p))
        w->stats.packets_dropped++;
}

static const struct endpoint_ops endpoint_ops = {.transmit = packet_transmit,
                                                 .misdirected = packet_misdirected};

/* --- the end, step by step --- */

static void close_connections(struct worker *w)
{
    w->step = CLOSING_CONNECTIONS;
    timer_stop(w->env.timers, &w->drain_timer);
    reception_hurry(w->reception);
    worker_editions_stop(&w->editions);
    wt_host_close_all(w->host);
}

static void settle(struct worker *w)
{
    w->step = SETTLING;
    timer_set(w->env.timers, &w->drain_timer,
              timers_now(w->env.timers) +
                  (w->closing_ns < SETTLING_TIME ? w->closing_ns : SETTLING_TIME));
}

static void drain_over(void *owner)
{
    struct worker *w = owner;

    if (w->step == DRAINING) {
        w->step = CLOSING_SESSIONS;
        reception_close_all(w->reception);
        timer_set(w->env.timers, &w->drain_timer, timers_now(w->env.timers) + w->closing_ns);
    } else if (w->step == CLOSING_SESSIONS || w->step == SETTLING) {
        close_connections(w);
    }
}

/* The last part of the time is for the closes: a half of what is kept for them until connections
 * are closed, too. */
static void drain(struct worker *w)
{
    uint64_t whole = worker_editions_settings(&w->editions)->drain_timeout_ns;
    uint64_t kept = whole / 4 < CLOSING_TIME ? whole / 4 : CLOSING_TIME;

    w->step = DRAINING;
    w->closing_ns = kept / 2 > CLOSING_TIME_MIN ? kept / 2 : CLOSING_TIME_MIN;
    wt_host_stop(w->host);
    reception_drain(w->reception, whole - kept);
    timer_set(w->env.timers, &w->drain_timer, timers_now(w->env.timers) + whole - kept);
}

static void close_everything(struct worker *w)
{
    if (w->step == RUNNING)
        wt_host_stop(w->host);
    if (w->step < CLOSING_SESSIONS)
        reception_close_all(w->reception);
    if (w->step < CLOSING_CONNECTIONS)
        close_connections(w);
}

static void close_sockets(struct worker *w)
{
    w->step = CLOSING_SOCKETS;
    worker_sockets_close(&w->sockets);
}

static void count_addresses(struct worker *w)
{
    tally_fini(&w->tally);
    worker_editions_count(&w->editions, &w->tally);
}

static void free_parts(struct worker *w)
{
    count_addresses(w);
    if (w->host)
        wt_host_free(w->host);
    if (w->reception)
        reception_free(w->reception);
    worker_editions_fini(&w->editions);
    if (w->endpoint)
        endpoint_free(w->endpoint);
    w->host = NULL;
    w->reception = NULL;
    w->endpoint = NULL;
}

static void close_handles(struct worker *w)
{
    w->step = CLOSING_HANDLES;
    report_rest(&w->env);
    unsigned last = inbox_close(&w->inbox);
    if (last & WISH_LISTEN)
        worker_sockets_refuse(atomic_load(&w->sockets_wanted));
    if (last & WISH_COUNT)
        w->ops->counted(w->user, w->config.index, &w->stats, &w->tally);
    uv_close((uv_handle_t *)&w->prepare, NULL);
    uv_close((uv_handle_t *)&w->wake, NULL);
    uv_close((uv_handle_t *)&w->timer_poll, NULL);
    uv_close((uv_handle_t *)&w->due, NULL);
}

static bool step_is_over(const struct worker *w)
{
    switch (w->step) {
    case DRAINING:
    case CLOSING_SESSIONS:
        return reception_count(w->reception) == 0;
    case SETTLING:
        return wt_host_connections(w->host) == 0;
    case CLOSING_CONNECTIONS:
        return reception_count(w->reception) == 0 && wt_host_connections(w->host) == 0 &&
               w->stats.links == 0;
    case CLOSING_SOCKETS:
        return worker_sockets_are_settled(&w->sockets);
    default:
        return false;
    }
}

static void next_step(struct worker *w)
{
    if (w->step < SETTLING) {
        settle(w);
    } else if (w->step == SETTLING) {
        close_connections(w);
    } else if (w->step == CLOSING_CONNECTIONS) {
        close_sockets(w);
    } else {
        turn_end(&w->turn);
        free_parts(w);
        close_handles(w);
    }
}

/* --- other settings --- */

static void settings_released(void *user, const struct worker_settings *settings)
{
    struct worker *w = user;

    w->ops->released(w->user, w->config.index, settings);
}

static void configure(struct worker *w)
{
    const struct worker_settings *settings = atomic_load(&w->wanted);
    char error[256];

    bool good = worker_editions_begin(&w->editions, settings, error, sizeof(error));
    assert(good); /* they were checked */
    (void)good;
    w->config.log.level = settings->log_level;
    clients_configure(w->env.clients, &settings->clients);
    endpoint_set_intake(w->endpoint, &settings->intake);
    wt_host_configure(w->host, &settings->wt);
    reception_configure(w->reception, worker_editions_upstreams(&w->editions),
                        &settings->admission);
    w->has_retired = true;
    memset(w->told_idle, 0, sizeof(w->told_idle));
    w->ops->configured(w->user, w->config.index);
}

/* --- other listeners --- */

/* One that is retired gets no new connection: it stays idle. */
static void tell_idle_listeners(struct worker *w)
{
    bool is_any_left = false;

    if (!w->has_retired)
        return;
    const struct intake_limits *limits = &endpoint_settings(w->endpoint)->intake;
    for (unsigned i = 0; i < INTAKE_LISTENERS; i++) {
        if (!limits->listeners[i].is_retired || w->told_idle[i])
            continue;
        w->told_idle[i] = wt_host_connections_of(w->host, i) == 0;
        if (w->told_idle[i])
            w->ops->idle(w->user, w->config.index, i);
        else
            is_any_left = true;
    }
    w->has_retired = is_any_left;
}

static void listen_otherwise(struct worker *w)
{
    const struct worker_sockets_wanted *wanted = atomic_load(&w->sockets_wanted);
    char error[256];

    if (w->step >= CLOSING_SOCKETS) {
        worker_sockets_refuse(wanted);
        return;
    }
    if (!worker_sockets_change(&w->sockets, wanted, error, sizeof(error)))
        LOG(&w->config.log, ERROR, "listener.failed", log_text("reason", error));
    w->is_listen_unanswered = true;
}

/* What was closed is closed only after the loop has said so. */
static void answer_listen(struct worker *w)
{
    if (!w->is_listen_unanswered || !worker_sockets_are_settled(&w->sockets))
        return;
    w->is_listen_unanswered = false;
    w->ops->listening(w->user, w->config.index);
}

/* --- the loop --- */

static void before_sleep(uv_prepare_t *prepare)
{
    struct worker *w = prepare->data;

    turn_end(&w->turn);
    while (step_is_over(w)) {
        next_step(w);
        turn_end(&w->turn);
    }
    if (w->step < CLOSING_HANDLES) {
        worker_editions_settle(&w->editions, w->reception, settings_released, w);
        tell_idle_listeners(w);
        answer_listen(w);
        arm_clock(w);
    }
}

static void woken(uv_async_t *async)
{
    struct worker *w = async->data;
    unsigned wishes = inbox_take(&w->inbox, packet_received);

    turn_end(&w->turn);
    if (wishes & WISH_COUNT) {
        count_addresses(w);
        w->ops->counted(w->user, w->config.index, &w->stats, &w->tally);
    }
    if ((wishes & WISH_CONFIGURE) && w->step < CLOSING_SOCKETS)
        configure(w);
    if (wishes & WISH_LISTEN)
        listen_otherwise(w);
    if (wishes & WISH_CLOSE)
        close_everything(w);
    else if ((wishes & WISH_DRAIN) && w->step == RUNNING)
        drain(w);
}

static void wake(void *owner)
{
    struct worker *w = owner;

    uv_async_send(&w->wake);
}

static void *run(void *arg)
{
    struct worker *w = arg;
    char name[16];

    snprintf(name, sizeof(name), "worker %u", w->config.index);
    pthread_setname_np(pthread_self(), name);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    w->ops->ended(w->user, w->config.index);
    return NULL;
}

int worker_start(struct worker *w)
{
    sigset_t all, before;

    worker_sockets_read(&w->sockets);
    /* Signals are for the server's thread; the new one inherits the mask. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    w->started = pthread_create(&w->thread, NULL, run, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return w->started ? 0 : -1;
}

/* --- from other threads --- */

bool worker_configure(struct worker *w, const struct worker_settings *settings)
{
    atomic_store(&w->wanted, settings);
    return inbox_wish(&w->inbox, WISH_CONFIGURE);
}

bool worker_listen(struct worker *w, const struct worker_sockets_wanted *wanted)
{
    atomic_store(&w->sockets_wanted, wanted);
    return inbox_wish(&w->inbox, WISH_LISTEN);
}

void worker_drain(struct worker *w)
{
    inbox_wish(&w->inbox, WISH_DRAIN);
}

void worker_close(struct worker *w)
{
    inbox_wish(&w->inbox, WISH_CLOSE);
}

bool worker_count(struct worker *w)
{
    return inbox_wish(&w->inbox, WISH_COUNT);
}

bool worker_receive(struct worker *w, const struct packet *p)
{
    return inbox_packet(&w->inbox, p);
}

/* --- making and freeing --- */

static void make_env(struct worker *w)
{
    turn_init(&w->turn);
    w->env = (struct env){.timers = timers_new(monotonic_ns, NULL),
                          .turn = &w->turn,
                          .stats = &w->stats,
                          .log = &w->config.log,
                          .memory = &w->memory};
    budget_init(&w->memory, NULL, w->config.memory, &w->stats.memory_bytes);
    tls_random(w->env.hash_key, sizeof(w->env.hash_key));
    w->env.clients = clients_new(&w->env, &w->config.settings->clients);
    tls_random(&w->env.random, sizeof(w->env.random));
    timer_init(&w->drain_timer, drain_over, w);
    w->armed_ns = TIMERS_NEVER;
}

static int make_loop(struct worker *w, char *error, size_t error_size)
{
    w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (w->timer_fd < 0 || uv_loop_init(&w->loop) != 0) {
        snprintf(error, error_size, "cannot make an event loop: %s", strerror(errno));
        if (w->timer_fd >= 0)
            close(w->timer_fd);
        return -1;
    }
    uv_idle_init(&w->loop, &w->due);
    uv_prepare_init(&w->loop, &w->prepare);
    uv_prepare_start(&w->prepare, before_sleep);
    uv_async_init(&w->loop, &w->wake, woken);
    uv_poll_init(&w->loop, &w->timer_poll, w->timer_fd);
    uv_poll_start(&w->timer_poll, UV_READABLE, clock_polled);
    w->prepare.data = w->wake.data = w->timer_poll.data = w->due.data = w;
    return 0;
}

static int make_parts(struct worker *w, char *error, size_t error_size)
{
    struct endpoint_config endpoint = w->config.endpoint;
    const struct worker_settings *settings = w->config.settings;

    if (!worker_sockets_change(&w->sockets, &w->config.sockets, error, error_size))
        return -1;
    if (!worker_editions_begin(&w->editions, settings, error, error_size))
        return -1;
    endpoint.worker = (uint8_t)w->config.index;
    endpoint.workers = w->config.count;
    endpoint.intake = settings->intake;
    w->endpoint = endpoint_new(&w->env, &endpoint, &endpoint_ops, w);
    w->reception =
        reception_new(&w->env, worker_editions_upstreams(&w->editions), &settings->admission);
    w->host = wt_host_new(&w->env, w->endpoint, &settings->wt, reception_wt_ops(), w->reception);
    return 0;
}

struct worker *worker_new(const struct worker_config *config, const struct worker_ops *ops,
                          void *user, char *error, size_t error_size)
{
    struct worker *w = calloc(1, sizeof(*w));

    assert(w && config->sockets.count > 0);
    w->config = *config;
    w->config.log.level = config->settings->log_level;
    w->ops = ops;
    w->user = user;
    make_env(w);
    worker_editions_init(&w->editions, &w->env, &w->loop);
    worker_sockets_init(&w->sockets, &w->env, &w->loop, config->no_offload, packet_received, w);
    inbox_init(&w->inbox, FORWARDED_MAX, wake, w);
    if (make_loop(w, error, error_size) < 0) {
        worker_sockets_refuse(&w->config.sockets);
        inbox_fini(&w->inbox);
        clients_free(w->env.clients);
        timers_free(w->env.timers);
        free(w);
        return NULL;
    }
    if (make_parts(w, error, error_size) < 0) {
        worker_free(w);
        return NULL;
    }
    return w;
}

const struct stats *worker_stats(const struct worker *w)
{
    return &w->stats;
}

const struct tally *worker_tally(const struct worker *w)
{
    return &w->tally;
}

/* It never ran: nothing is alive but the sockets. */
static void end_unstarted(struct worker *w)
{
    close_sockets(w);
    uv_run(&w->loop, UV_RUN_DEFAULT);
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    if (w->started)
        pthread_join(w->thread, NULL);
    else
        end_unstarted(w);
    int failed = uv_loop_close(&w->loop);
    assert(failed == 0);
    (void)failed;
    close(w->timer_fd);
    inbox_fini(&w->inbox);
    clients_free(w->env.clients);
    timers_free(w->env.timers);
    tally_fini(&w->tally);
    free(w);
}
