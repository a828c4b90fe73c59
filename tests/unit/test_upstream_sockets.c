/*
 * An upstream whose seats get pipes or datagrams: real sockets, a real loop, a pretended clock.
 */
#include "cmocka_all.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../support/settings.h"
#include "back/upstream.h"
#include "base/tally.h"
#include "link_world.h"

enum { GUESTS = 4 };

struct scene;

/* A stream, or a session with datagrams, as bridge would have it. */
struct guest {
    struct scene *scene;
    struct seat seat;
    struct pipe *pipe;
    struct dgram *dgram;
    bool opened, denied;
    enum fault fault;
    int failures, received, errors;
};

struct scene {
    struct world *w;
    struct upstream *upstream;
    bool datagrams;
    struct guest guests[GUESTS];
    size_t count;
    int service;
};

/* --- guests --- */

static void pipe_opened(void *user)
{
    struct guest *g = user;
    g->opened = true;
    seat_answered(&g->seat);
}

static void pipe_failed(void *user, const struct pipe_end *end)
{
    struct guest *g = user;
    g->pipe = NULL;
    g->failures++;
    if (seat_failed(&g->seat, end->fault))
        return;
    g->denied = true;
    g->fault = end->fault;
    seat_leave(&g->seat);
}

static void nothing(void *user)
{
    (void)user;
}

static void pipe_finished(void *user)
{
    struct guest *g = user;
    g->pipe = NULL;
    seat_leave(&g->seat);
}

static const struct pipe_ops pipe_ops = {pipe_opened, nothing, nothing, pipe_failed, pipe_finished};

static void dgram_received(void *user, const uint8_t *data, size_t len)
{
    struct guest *g = user;
    assert_int_equal(len, 6);
    assert_memory_equal(data, "answer", 6);
    g->received++;
}

static void dgram_failed(void *user, int error)
{
    struct guest *g = user;
    assert_int_equal(error, ECONNREFUSED);
    g->errors++;
}

static const struct dgram_ops dgram_ops = {dgram_received, dgram_failed};

static void granted(void *user)
{
    struct guest *g = user;
    int error = 0;
    if (!g->scene->datagrams) {
        g->pipe = seat_open_pipe(&g->seat, "preface", 7, &pipe_ops, g);
        return;
    }
    g->dgram = seat_open_dgram(&g->seat, &dgram_ops, g, &error);
    assert_non_null(g->dgram);
    g->opened = true;
}

static void denied(void *user, enum fault fault, const char *text)
{
    struct guest *g = user;
    (void)text;
    g->denied = true;
    g->fault = fault;
}

static const struct seat_ops seat_ops = {granted, denied};

static struct guest *ask(struct scene *s)
{
    struct guest *g = &s->guests[s->count++];
    assert_true(s->count <= GUESTS);
    g->scene = s;
    seat_ask(&g->seat, s->upstream, 0, &seat_ops, g);
    return g;
}

static struct guest *come(struct scene *s)
{
    struct guest *g = ask(s);
    until(s->w, g->opened || g->denied);
    return g;
}

static void leave(struct guest *g)
{
    if (g->pipe)
        pipe_close(g->pipe);
    if (g->dgram)
        dgram_close(g->dgram);
    g->pipe = NULL;
    g->dgram = NULL;
    seat_leave(&g->seat);
}

/* --- the scene --- */

static struct upstream_config settings(enum upstream_socket socket)
{
    struct upstream_config config = {UPSTREAM_SETTINGS};
    config.socket = socket;
    return config;
}

static void begin(struct scene *s, struct upstream_config config, const char *const addresses[],
                  size_t count)
{
    const char *error = NULL;
    config.addresses = addresses;
    config.address_count = count;
    s->datagrams = config.socket == UPSTREAM_DATAGRAM;
    s->upstream = upstream_new(&s->w->env, &s->w->loop, &config, &error);
    assert_non_null(s->upstream);
}

static struct tally_row numbers_of(const struct scene *s, const char *address)
{
    struct tally t = {0};
    upstream_count(s->upstream, &t);
    struct tally_row row = *tally_row(&t, "app", address);
    tally_fini(&t);
    return row;
}

/* Its port. */
static unsigned bind_service(struct scene *s, int type)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t len = sizeof in;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->service = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->service, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(s->service, (struct sockaddr *)&in, &len), 0);
    return ntohs(in.sin_port);
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    void *world;
    world_setup(&world);
    s->w = world;
    s->service = -1;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    void *world = s->w;
    for (size_t i = 0; i < s->count; i++)
        leave(&s->guests[i]);
    if (s->service >= 0)
        close(s->service);
    if (s->upstream) {
        upstream_stop(s->upstream);
        turn_end(&s->w->turn);
        assert_true(upstream_is_idle(s->upstream));
        upstream_free(s->upstream);
    }
    world_teardown(&world);
    free(s);
    return 0;
}

/* --- tests --- */

static void addresses_of_another_kind_are_refused(void **state)
{
    (void)state;
    static const struct {
        enum upstream_socket socket;
        const char *address, *error; /* NULL: none */
    } rows[] = {
        {UPSTREAM_STREAM, "unix:/run/app.sock", NULL},
        {UPSTREAM_STREAM, "tcp:[::1]:80", NULL},
        {UPSTREAM_STREAM, "udp:127.0.0.1:53", "must be unix:PATH or tcp:HOST:PORT"},
        {UPSTREAM_DATAGRAM, "udp:127.0.0.1:53", NULL},
        {UPSTREAM_DATAGRAM, "udp:[::1]:53", NULL},
        {UPSTREAM_DATAGRAM, "udp:dns.example.org:53", NULL},
        {UPSTREAM_DATAGRAM, "tcp:127.0.0.1:53", "udp:HOST:PORT"},
        {UPSTREAM_DATAGRAM, "unix:/run/app.sock", "udp:HOST:PORT"},
        {UPSTREAM_DATAGRAM, "udp:::1:53", "udp:[::1]:PORT"},
        {UPSTREAM_DATAGRAM, "udp:host", "udp: needs HOST:PORT"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct upstream_config config = settings(rows[i].socket);
        const char *error = NULL;
        config.addresses = &rows[i].address;
        config.address_count = 1;
        assert_int_equal(upstream_check(&config, &error), !rows[i].error);
        if (rows[i].error)
            assert_non_null(strstr(error, rows[i].error));
    }
}

static void pipes_are_seated_as_links_are(void **state)
{
    struct scene *s = *state;
    char address[64];
    const char *addresses[] = {"unix:/nowhere/at/all", address};
    struct upstream_config config = settings(UPSTREAM_STREAM);
    int services[2];
    uint8_t got[7];
    snprintf(address, sizeof address, "tcp:127.0.0.1:%u", bind_service(s, SOCK_STREAM));
    assert_int_equal(listen(s->service, 8), 0);
    config.policy = POOL_ROUND_ROBIN;
    config.max_sessions = 2;
    begin(s, config, addresses, 2);
    struct guest *first = come(s), *second = come(s);
    assert_true(first->opened && second->opened);
    assert_int_equal(first->failures + second->failures, 1); /* then it rests */
    struct tally_row row = numbers_of(s, addresses[0]);
    assert_int_equal(row.refused, 1);
    assert_int_equal(row.down, 1);
    row = numbers_of(s, address);
    assert_int_equal(row.sessions, 2);
    assert_int_equal(row.answered, 2);
    for (int i = 0; i < 2; i++) {
        until(s->w, (services[i] = accept(s->service, NULL, NULL)) >= 0);
        world_read(s->w, services[i], got, 7);
        assert_memory_equal(got, "preface", 7);
    }

    struct guest *third = ask(s); /* there is room for two */
    for (int i = 0; i < 3; i++)
        world_step(s->w);
    assert_false(third->opened || third->denied);
    pipe_finish(first->pipe); /* it goes on to have its place */
    world_step(s->w);
    assert_false(third->opened);
    close(services[0]);
    close(services[1]);
    until(s->w, third->opened);
    assert_null(first->pipe);
    assert_false(upstream_is_idle(s->upstream));
}

static void a_pipe_that_nobody_takes_is_denied(void **state)
{
    struct scene *s = *state;
    const char *addresses[] = {"unix:/nowhere/at/all", "unix:/nor/here"};
    begin(s, settings(UPSTREAM_STREAM), addresses, 2);
    struct guest *g = come(s);
    assert_true(g->denied);
    assert_int_equal(g->failures, 2);
    assert_int_equal(g->fault, FAULT_BACKEND_CONNECT);
}

/* What our own system lacks is no fault of the address, and another would not help. */
static void an_address_does_not_rest_when_we_have_no_descriptor(void **state)
{
    struct scene *s = *state;
    const char *addresses[] = {"unix:/somewhere", "unix:/else"};
    struct rlimit limit;
    int lowest = dup(0);
    close(lowest);
    begin(s, settings(UPSTREAM_STREAM), addresses, 2);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)lowest, limit.rlim_max}), 0);
    struct guest *g = come(s);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(g->denied);
    assert_int_equal(g->failures, 1);
    assert_int_equal(g->fault, FAULT_BACKEND_FULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(numbers_of(s, addresses[i]).up, 1);
}

static void datagrams_find_the_addresses_of_a_name(void **state)
{
    struct scene *s = *state;
    char name[64], expected[64], got[8];
    const char *addresses[] = {name};
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    unsigned port = bind_service(s, SOCK_DGRAM); /* on IPv4 only */
    snprintf(name, sizeof name, "udp:localhost:%u", port);
    snprintf(expected, sizeof expected, "udp:127.0.0.1:%u", port);
    begin(s, settings(UPSTREAM_DATAGRAM), addresses, 1);
    struct guest *g = come(s);
    while (strcmp(seat_address(&g->seat), expected) != 0)
        g = come(s); /* localhost may be ::1, too */
    assert_int_equal(s->w->stats.links, s->count);
    dgram_send(g->dgram, "question", 8);
    until(s->w, recvfrom(s->service, got, 8, 0, (struct sockaddr *)&from, &len) == 8);
    sendto(s->service, "answer", 6, 0, (struct sockaddr *)&from, len);
    until(s->w, g->received == 1);
    assert_int_equal(g->errors, 0);
}

static void an_address_for_datagrams_is_used_again_when_it_has_rested(void **state)
{
    struct scene *s = *state;
    char address[64];
    const char *addresses[] = {address};
    struct upstream_config config = settings(UPSTREAM_DATAGRAM);
    config.probe.interval_ns = 10 * NS_PER_S; /* is for those that can be asked */
    snprintf(address, sizeof address, "udp:127.0.0.1:%u", bind_service(s, SOCK_DGRAM));
    close(s->service);
    s->service = -1;
    begin(s, config, addresses, 1);
    struct guest *g = come(s);
    assert_int_equal(timers_next(s->w->env.timers), TIMERS_NEVER);
    dgram_send(g->dgram, "question", 8);
    until(s->w, g->errors == 1);
    dgram_close(g->dgram);
    g->dgram = NULL;
    assert_false(seat_failed(&g->seat, FAULT_BACKEND_CONNECT)); /* there is no other */
    seat_leave(&g->seat);
    assert_int_equal(numbers_of(s, address).down, 1);
    uint64_t due = timers_next(s->w->env.timers);
    assert_true(due > s->w->now);
    s->w->now = due;
    until(s->w, numbers_of(s, address).up == 1);
    assert_int_equal(s->w->stats.links, 0);
    assert_true(upstream_is_idle(s->upstream));
    assert_true(come(s)->opened);
}

int main(void)
{
#define in_scene(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_another_kind_are_refused),
        in_scene(pipes_are_seated_as_links_are),
        in_scene(a_pipe_that_nobody_takes_is_denied),
        in_scene(an_address_does_not_rest_when_we_have_no_descriptor),
        in_scene(datagrams_find_the_addresses_of_a_name),
        in_scene(an_address_for_datagrams_is_used_again_when_it_has_rested),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
