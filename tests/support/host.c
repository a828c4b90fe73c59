/*
 * host - see host.h. The loop is that of proxy/worker.c without an application: turns end before it
 * sleeps, and a timerfd keeps time to the nanosecond. Calls udp, endpoint, tls and wt.
 */
#include "support/host.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/budget.h"
#include "base/timers.h"
#include "front/endpoint.h"
#include "front/tls.h"
#include "front/udp.h"

void host_fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

uint64_t host_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t clock_ns(void *clock)
{
    (void)clock;
    return host_now_ns();
}

struct packet_address host_parse_address(const char *text)
{
    struct packet_address to = {0};
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        host_fail("HOST:PORT is expected");
    int port = atoi(colon + 1);
    bool v6 = text[0] == '[';
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - 2 * v6, text + v6);
    int rv = v6 ? uv_ip6_addr(host, port, &to.sa.v6) : uv_ip4_addr(host, port, &to.sa.v4);
    to.len = v6 ? sizeof(to.sa.v6) : sizeof(to.sa.v4);
    if (rv != 0)
        host_fail("the host must be an address");
    return to;
}

/* --- the loop --- */

static void time_is_up(uv_idle_t *due)
{
    struct host *h = due->data;
    uv_idle_stop(due);
    timers_run(h->env.timers);
    turn_end(&h->turn);
}

static void arm_clock(struct host *h)
{
    uint64_t next = timers_next(h->env.timers);
    /* Deadlines mostly move away. Waking too early now and then is cheaper than telling the kernel
     * each time. */
    if (next >= h->armed_ns)
        return;
    if (next <= timers_now(h->env.timers)) { /* do not sleep at all */
        uv_idle_start(&h->due, time_is_up);
        return;
    }
    h->armed_ns = next;
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(next / NS_PER_S), .tv_nsec = (long)(next % NS_PER_S)}};
    timerfd_settime(h->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void clock_polled(uv_poll_t *poll, int status, int events)
{
    struct host *h = poll->data;
    uint64_t expirations;
    (void)status, (void)events;
    if (read(h->timer_fd, &expirations, sizeof(expirations)) < 0 && errno == EAGAIN)
        return;
    h->armed_ns = TIMERS_NEVER;
    timers_run(h->env.timers);
    turn_end(&h->turn);
}

static void before_sleep(uv_prepare_t *prepare)
{
    struct host *h = prepare->data;
    turn_end(&h->turn);
    if (h->closing && wt_host_connections(h->wt) == 0) {
        udp_close(h->udp);
        uv_close((uv_handle_t *)&h->prepare, NULL);
        uv_close((uv_handle_t *)&h->timer_poll, NULL);
        uv_close((uv_handle_t *)&h->due, NULL);
        return;
    }
    arm_clock(h);
}

/* --- packets --- */

static void packet_received(void *user, const struct packet *p)
{
    struct host *h = user;
    endpoint_receive(h->endpoint, p);
}

static void transmit(void *user, const struct packet *p)
{
    struct host *h = user;
    udp_send(h->udp, p);
}

static void socket_closed(void *user)
{
    struct host *h = user;
    h->udp = NULL;
}

static const struct udp_ops udp_ops = {.received = packet_received, .closed = socket_closed};
static const struct endpoint_ops endpoint_ops = {.transmit = transmit};

/* --- life --- */

static struct tls_context *make_tls(bool is_server)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "::1"};
    char error[256];
    struct tls_context *tls = NULL;
    if (!is_server) {
        tls = tls_context_new_client(NULL, error, sizeof(error));
    } else {
        struct tls_certificate *cert =
            tls_certificate_make(names, 3, 13, time(NULL), error, sizeof(error));
        if (cert)
            tls = tls_context_new_server(cert, error, sizeof(error));
    }
    if (!tls)
        host_fail(error);
    return tls;
}

static void open_loop(struct host *h)
{
    h->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (h->timer_fd < 0 || uv_loop_init(&h->loop) != 0)
        host_fail("cannot make an event loop");
    h->armed_ns = TIMERS_NEVER;
    uv_idle_init(&h->loop, &h->due);
    uv_prepare_init(&h->loop, &h->prepare);
    uv_prepare_start(&h->prepare, before_sleep);
    uv_poll_init(&h->loop, &h->timer_poll, h->timer_fd);
    uv_poll_start(&h->timer_poll, UV_READABLE, clock_polled);
    h->prepare.data = h->timer_poll.data = h->due.data = h;
}

static void open_socket(struct host *h, const struct host_config *config)
{
    char error[256];
    struct udp_binding binding = {.kernel_buffer = config->kernel_buffer};
    const struct udp_config udp = {.send_backlog = 4 << 20};
    struct packet_address *at = &binding.address, bound;
    if (config->bind) {
        *at = *config->bind;
    } else {
        at->sa.any.sa_family = (sa_family_t)config->family;
        at->len = config->family == AF_INET6 ? sizeof(at->sa.v6) : sizeof(at->sa.v4);
    }
    int fd = udp_bind(&binding, &bound, error, sizeof(error));
    if (fd < 0)
        host_fail(error);
    h->udp = udp_open(&h->env, &h->loop, fd, &udp, &udp_ops, h, error, sizeof(error));
    if (!h->udp)
        host_fail(error);
}

void host_open(struct host *h, const struct host_config *config, const struct wt_ops *ops,
               void *user)
{
    mallopt(M_TRIM_THRESHOLD, 4 << 20); /* as proxy/main.c does */
    *h = (struct host){.closing = false};
    turn_init(&h->turn);
    log_init(&h->log, 2, config->log_level);
    h->env = (struct env){.timers = timers_new(clock_ns, NULL),
                          .turn = &h->turn,
                          .stats = &h->stats,
                          .log = &h->log,
                          .memory = &h->memory};
    budget_init(&h->memory, NULL, UINT64_MAX, &h->stats.memory_bytes);
    tls_random(h->env.hash_key, sizeof(h->env.hash_key));
    open_loop(h);
    open_socket(h, config);
    struct endpoint_config endpoint = {.workers = 1,
                                       .intake = {.unproven = 128, .all = {.handshakes = 4096}}};
    tls_random(endpoint.reset_key, sizeof(endpoint.reset_key));
    tls_random(endpoint.token_key, sizeof(endpoint.token_key));
    h->endpoint = endpoint_new(&h->env, &endpoint, &endpoint_ops, h);
    h->tls = make_tls(config->wt.is_server);
    struct wt_config wt = config->wt;
    wt.tls = h->tls;
    h->wt = wt_host_new(&h->env, h->endpoint, &wt, ops, user);
    udp_start(h->udp);
}

const struct packet_address *host_address(const struct host *h)
{
    return udp_address(h->udp);
}

void host_run(struct host *h)
{
    uv_run(&h->loop, UV_RUN_DEFAULT);
}

void host_close(struct host *h)
{
    h->closing = true;
    wt_host_close_all(h->wt);
}

bool host_fini(struct host *h)
{
    wt_host_free(h->wt);
    endpoint_free(h->endpoint);
    tls_context_free(h->tls);
    timers_free(h->env.timers);
    close(h->timer_fd);
    const struct stats_row *alive = stats_alive(&h->stats);
    if (alive)
        fprintf(stderr, "%s: at the end: %s\n", program_invocation_short_name, alive->sentence);
    return uv_loop_close(&h->loop) == 0 && !alive;
}

static uint64_t number(const char *text, uint64_t least)
{
    char *unit;
    uint64_t n = strtoull(text, &unit, 10);
    int shift = *unit == 'K' ? 10 : *unit == 'M' ? 20 : *unit == 'G' ? 30 : 0;
    if (unit == text || (*unit && !shift))
        host_fail("a number is expected, perhaps with K, M or G");
    if (n < least)
        host_fail("a number above 0 is expected, perhaps with K, M or G");
    return n << shift;
}

static _Noreturn void fail_among(const struct host_setting *settings, size_t count)
{
    char text[256] = "";
    for (size_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
                 i == 0           ? ""
                 : i + 1 == count ? " or "
                                  : ", ",
                 settings[i].name);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), " is expected");
    host_fail(text);
}

void host_set(const struct host_setting *settings, size_t count, const char *argument)
{
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(settings[i].name);
        if (strncmp(argument, settings[i].name, len) == 0) {
            *settings[i].to = number(argument + len, settings[i].least);
            return;
        }
    }
    fail_among(settings, count);
}

void host_ignore_streams(void *user, bool unidirectional)
{
    (void)user, (void)unidirectional;
}

void host_ignore_datagram_max(void *user, size_t max)
{
    (void)user, (void)max;
}

void host_ignore_drain(void *user)
{
    (void)user;
}
