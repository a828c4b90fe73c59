/*
 * An upstream whose services speak TLS: what it is given is checked, each address proves its own
 * name, and one that fails is a failure of its address.
 */
#include "cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../support/settings.h"
#include "back/upstream.h"
#include "base/tally.h"
#include "tls_world.h"

/* A stream of a bridge. */
struct guest {
    struct upstream *upstream;
    struct seat seat;
    struct pipe *pipe;
    bool opened, denied;
    enum fault fault;
    int failures;
};

static void opened(void *user)
{
    struct guest *g = user;
    g->opened = true;
    seat_answered(&g->seat);
}

static void failed(void *user, const struct pipe_end *end)
{
    struct guest *g = user;
    g->pipe = NULL;
    g->failures++;
    g->fault = end->fault;
    if (seat_failed(&g->seat, end->fault))
        return;
    g->denied = true;
    seat_leave(&g->seat);
}

static void nothing(void *user)
{
    (void)user;
}

static const struct pipe_ops pipe_ops = {opened, nothing, nothing, failed, nothing};

static void granted(void *user)
{
    struct guest *g = user;
    g->pipe = seat_open_pipe(&g->seat, NULL, 0, &pipe_ops, g);
}

static void denied(void *user, enum fault fault, const char *text)
{
    struct guest *g = user;
    (void)text;
    g->denied = true;
    g->fault = fault;
}

static const struct seat_ops seat_ops = {granted, denied};

/* It has a reference of its own. */
static struct upstream *begin(struct tls_world *t, struct pipe_tls *tls,
                              const char *const addresses[], size_t count)
{
    const char *error = NULL;
    struct upstream_config config = {UPSTREAM_SETTINGS};
    config.policy = POOL_ROUND_ROBIN;
    config.addresses = addresses;
    config.address_count = count;
    config.tls = tls;
    assert_true(upstream_check(&config, &error));
    struct upstream *u = upstream_new(&t->s->w->env, &t->s->w->loop, &config, &error);
    assert_non_null(u);
    pipe_tls_free(tls);
    return u;
}

static void end(struct tls_world *t, struct upstream *u)
{
    upstream_stop(u);
    turn_end(&t->s->w->turn);
    assert_true(upstream_is_idle(u));
    upstream_free(u);
}

static void leave(struct guest *g)
{
    if (g->pipe)
        pipe_close(g->pipe);
    g->pipe = NULL;
    seat_leave(&g->seat);
}

/* Asks, and waits for what comes of it. What else is to be played: more. */
static void come(struct tls_world *t, struct upstream *u, struct guest *g,
                 void (*more)(struct tls_world *t))
{
    *g = (struct guest){.upstream = u};
    service_shows(t, PROOF_GOOD, TLS_13);
    seat_ask(&g->seat, u, 0, &seat_ops, g);
    until(t->s->w, (service_steps(t), more ? more(t) : (void)0, g->opened || g->denied));
}

static struct tally_row numbers_of(const struct upstream *u, const char *address)
{
    struct tally all = {0};
    upstream_count(u, &all);
    struct tally_row row = *tally_row(&all, "app", address);
    tally_fini(&all);
    return row;
}

/* --- tests --- */

static void what_it_is_given_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *ca, *name, *address, *error; /* NULL: none */
    } rows[] = {
        {"/nowhere.pem", NULL, "tcp:127.0.0.1:1",
         "the trusted certificates in /nowhere.pem: No such file or directory"},
        {"/dev/null", "a.example", "unix:/run/a", "there is no certificate (PEM) in it"},
        {"", NULL, "unix:/run/a", "needs the name that the service must prove (tls_name)"},
        {"", NULL, "tcp:127.0.0.1:1", NULL},
        {"", NULL, "tcp:a.example:1", NULL},
        {"", "a.example", "unix:/run/a", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *error = NULL, *ca = rows[i].ca[0] ? rows[i].ca : tls_authority();
        struct upstream_config config = {UPSTREAM_SETTINGS};
        config.tls = pipe_tls_new(&(struct pipe_tls_config){.ca = ca, .name = rows[i].name});
        config.addresses = &rows[i].address;
        config.address_count = 1;
        assert_int_equal(upstream_check(&config, &error), !rows[i].error);
        if (rows[i].error)
            assert_non_null(strstr(error, rows[i].error));
        pipe_tls_free(config.tls);
    }
}

/* The address is what the name has; what must be proved is the name. */
static void a_name_stays_what_is_proved(void **state)
{
    struct tls_world *t = *state;
    struct guest g;
    char address[64];
    const char *addresses[] = {address};
    service_listens_tcp(t->s, 16);
    snprintf(address, sizeof address, "tcp:%s%s", ALSO_NAMED,
             strrchr(t->s->w->target.address, ':'));
    struct upstream *u =
        begin(t, pipe_tls_new(&(struct pipe_tls_config){.ca = tls_authority()}), addresses, 1);
    come(t, u, &g, NULL);
    assert_true(g.opened);
    char name[64];
    size_t len = sizeof name;
    unsigned type;
    until(t->s->w, (service_steps(t), t->up));
    assert_int_equal(gnutls_server_name_get(t->tls, name, &len, &type, 0), 0);
    assert_string_equal(name, ALSO_NAMED);
    leave(&g);
    end(t, u);
}

/* Another service, whose port has something other than TLS. */
static int plain = -1;

static void plain_greets(struct tls_world *t)
{
    (void)t;
    int fd = accept4(plain, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    send(fd, "220 hello\r\n", 11, MSG_NOSIGNAL); /* a probe may have gone already */
    close(fd);
}

static void plain_listens(struct tls_world *t, char *address, size_t size)
{
    snprintf(address, size, "unix:%s", t->s->w->path);
    plain = world_listen_unix(t->s->w, 16);
    fcntl(plain, F_SETFL, O_NONBLOCK);
}

static void a_failed_handshake_is_the_addresses_failure(void **state)
{
    struct tls_world *t = *state;
    struct guest guests[6];
    char other[160];
    service_listens_tcp(t->s, 16);
    plain_listens(t, other, sizeof other);
    const char *good = t->s->w->target.address, *addresses[] = {other, good};
    struct upstream *u = begin(
        t, pipe_tls_new(&(struct pipe_tls_config){.ca = tls_authority(), .name = SERVICE_NAME}),
        addresses, 2);
    /* No stream is lost by it, and after some the address rests. */
    for (int i = 0; i < 6; i++) {
        come(t, u, &guests[i], plain_greets);
        assert_true(guests[i].opened);
        if (guests[i].failures)
            assert_int_equal(guests[i].fault, FAULT_BACKEND_TLS);
        service_closes(t->s);
    }
    assert_int_equal(numbers_of(u, good).answered, 6);
    assert_int_equal(numbers_of(u, other).lost, 3);
    assert_int_equal(numbers_of(u, other).down, 1);
    /* It listens: that is enough to be tried again. */
    until(t->s->w, (t->s->w->now += 100 * NS_PER_MS, plain_greets(t), numbers_of(u, other).up));
    for (int i = 0; i < 6; i++)
        leave(&guests[i]);
    until(t->s->w, upstream_is_idle(u));
    end(t, u);
    close(plain);
}

static void when_all_fail_it_is_said_why(void **state)
{
    struct tls_world *t = *state;
    struct guest g;
    char other[160];
    plain_listens(t, other, sizeof other);
    const char *addresses[] = {other};
    struct upstream *u = begin(
        t, pipe_tls_new(&(struct pipe_tls_config){.ca = tls_authority(), .name = SERVICE_NAME}),
        addresses, 1);
    come(t, u, &g, plain_greets);
    assert_true(g.denied);
    assert_int_equal(g.fault, FAULT_BACKEND_TLS);
    end(t, u);
    close(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_tls(what_it_is_given_is_checked),
        in_tls(a_name_stays_what_is_proved),
        in_tls(a_failed_handshake_is_the_addresses_failure),
        in_tls(when_all_fail_it_is_said_why),
    };
    return cmocka_run_group_tests(tests, tls_group_setup, tls_group_teardown);
}
