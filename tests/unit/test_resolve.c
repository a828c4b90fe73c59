/*
 * Names whose addresses change. The test takes the place of libuv's lookups: what a name has now is
 * what the test says.
 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "../support/settings.h"
#include "back/resolve.h"
#include "back/upstream.h"
#include "base/budget.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/tally.h"
#include "base/turn.h"

struct scene {
    uint64_t now;
    struct turn turn;
    struct stats stats;
    struct budget memory;
    struct log log;
    struct env env;
    uv_loop_t loop;
    /* heard */
    size_t resolved, failed, count;
    struct resolve_address found[RESOLVE_MAX];
};

/* --- in the place of libuv --- */

static struct {
    uv_getaddrinfo_t *request; /* NULL: nobody asks */
    uv_getaddrinfo_cb answered;
    bool cancelled;
    size_t asked;
} lookup;

int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *request, uv_getaddrinfo_cb answered,
                   const char *host, const char *port, const struct addrinfo *hints)
{
    (void)loop;
    (void)hints;
    assert_string_equal(host, "app.example");
    assert_string_equal(port, "9000");
    assert_null(lookup.request);
    lookup.request = request;
    lookup.answered = answered;
    lookup.asked++;
    return 0;
}

int uv_cancel(uv_req_t *request)
{
    assert_ptr_equal(request, lookup.request);
    lookup.cancelled = true;
    return UV_EBUSY; /* it is under way */
}

void uv_freeaddrinfo(struct addrinfo *answer)
{
    while (answer) {
        struct addrinfo *next = answer->ai_next;
        free(answer->ai_addr);
        free(answer);
        answer = next;
    }
}

static struct addrinfo *address_of(const char *text, struct addrinfo *next)
{
    struct addrinfo *a = calloc(1, sizeof *a);
    struct sockaddr_in6 *in6 = calloc(1, sizeof *in6);
    struct sockaddr_in *in = (struct sockaddr_in *)in6;
    assert_true(a && in6);
    bool is_v6 = strchr(text, ':') != NULL;
    a->ai_family = is_v6 ? AF_INET6 : AF_INET;
    a->ai_addrlen = is_v6 ? sizeof *in6 : sizeof *in;
    a->ai_addr = (struct sockaddr *)in6;
    a->ai_next = next;
    in6->sin6_family = (sa_family_t)a->ai_family;
    in6->sin6_port = htons(9000);
    assert_int_equal(
        inet_pton(a->ai_family, text, is_v6 ? (void *)&in6->sin6_addr : (void *)&in->sin_addr), 1);
    return a;
}

/* The name has these now, separated by blanks; "" for none. */
static void answer(const char *texts)
{
    char copy[128];
    struct addrinfo *list = NULL;
    uv_getaddrinfo_t *request = lookup.request;
    assert_non_null(request);
    strcpy(copy, texts);
    for (char *t = strtok(copy, " "); t; t = strtok(NULL, " "))
        list = address_of(t, list);
    lookup.request = NULL;
    lookup.answered(request, list ? 0 : UV_EAI_NONAME, list);
}

/* --- scenes --- */

static uint64_t pretend_now(void *clock)
{
    return ((struct scene *)clock)->now;
}

static void advance(struct scene *s, uint64_t ns)
{
    s->now += ns;
    timers_run(s->env.timers);
    turn_end(&s->turn);
}

static void begin(struct scene *s)
{
    memset(s, 0, sizeof *s);
    memset(&lookup, 0, sizeof lookup);
    s->now = NS_PER_S;
    turn_init(&s->turn);
    log_init(&s->log, 2, LOG_OFF);
    s->env =
        (struct env){.turn = &s->turn, .stats = &s->stats, .log = &s->log, .memory = &s->memory};
    budget_init(&s->memory, NULL, UINT64_MAX, &s->stats.memory_bytes);
    s->env.timers = timers_new(pretend_now, s);
    uv_loop_init(&s->loop);
}

static void end(struct scene *s)
{
    assert_int_equal(timers_next(s->env.timers), TIMERS_NEVER);
    timers_free(s->env.timers);
    assert_null(stats_alive(&s->stats));
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void name_resolved(void *user, const struct resolve_address *found, size_t count)
{
    struct scene *s = user;
    s->resolved++;
    s->count = count;
    memcpy(s->found, found, count * sizeof *found);
}

static void name_failed(void *user, const char *text)
{
    assert_non_null(text);
    ((struct scene *)user)->failed++;
}

static const struct resolve_ops naming_ops = {name_resolved, name_failed};

static struct resolve *begin_to_resolve(struct scene *s)
{
    begin(s);
    struct resolve *r =
        resolve_new(&s->env, &s->loop, "app.example", "9000", 10 * NS_PER_S, &naming_ops, s);
    assert_int_equal(lookup.asked, 0);
    advance(s, 0);
    assert_int_equal(lookup.asked, 1);
    return r;
}

static void it_is_asked_again_and_again(void **state)
{
    struct scene s;
    (void)state;
    struct resolve *r = begin_to_resolve(&s);
    answer("192.0.2.1 2001:db8::1 192.0.2.1 192.0.2.2"); /* one twice */
    assert_int_equal(s.resolved, 1);
    assert_int_equal(s.count, 3);
    advance(&s, 9 * NS_PER_S);
    assert_int_equal(lookup.asked, 1);
    advance(&s, NS_PER_S);
    assert_int_equal(lookup.asked, 2);
    advance(&s, 100 * NS_PER_S); /* no second question before the answer */
    assert_int_equal(lookup.asked, 2);
    answer("192.0.2.1");
    assert_int_equal(s.count, 1);
    resolve_free(r);
    end(&s);
}

static void after_a_failure_it_is_asked_sooner(void **state)
{
    struct scene s;
    (void)state;
    struct resolve *r = begin_to_resolve(&s);
    answer("");
    assert_int_equal(s.failed, 1);
    advance(&s, NS_PER_S);
    assert_int_equal(lookup.asked, 2);
    answer("192.0.2.1");
    assert_int_equal(s.resolved, 1);
    resolve_free(r);
    end(&s);
}

static void nobody_is_told_who_wants_no_answer(void **state)
{
    struct scene s;
    (void)state;
    resolve_free(begin_to_resolve(&s));
    assert_true(lookup.cancelled);
    answer("192.0.2.1"); /* it could not be called back */
    assert_int_equal(s.resolved, 0);
    end(&s);
}

/* --- an upstream of such a name --- */

static void granted(void *user)
{
    (*(int *)user)++;
}

static void denied(void *user, enum fault fault, const char *text)
{
    (void)user;
    fail_msg("denied: %s %s", fault_name(fault), text);
}

static const struct seat_ops seat_ops = {granted, denied};

static size_t addresses(const struct upstream *u)
{
    struct tally t = {0};
    upstream_count(u, &t);
    size_t count = t.count;
    tally_fini(&t);
    return count;
}

static void sessions_follow_the_name(void **state)
{
    static const char *const names[] = {"tcp:app.example:9000"};
    struct upstream_config config = {UPSTREAM_SETTINGS};
    struct seat first = {0}, second = {0}, third = {0};
    struct scene s;
    const char *error;
    int seats = 0;
    (void)state;
    begin(&s);
    config.addresses = names;
    config.address_count = 1;
    struct upstream *u = upstream_new(&s.env, &s.loop, &config, &error);
    seat_ask(&first, u, 0, &seat_ops, &seats);
    advance(&s, 0);
    assert_int_equal(seats, 0); /* nothing is known yet */
    answer("192.0.2.1");
    advance(&s, 0);
    assert_int_equal(seats, 1);
    assert_string_equal(seat_address(&first), "tcp:192.0.2.1:9000");
    advance(&s, 10 * NS_PER_S);
    answer("2001:db8::7"); /* it has moved */
    seat_ask(&second, u, 0, &seat_ops, &seats);
    advance(&s, 0);
    assert_string_equal(seat_address(&second), "tcp:[2001:db8::7]:9000");
    assert_int_equal(addresses(u), 2); /* the first session is still there */
    seat_leave(&first);
    advance(&s, 0);
    assert_int_equal(addresses(u), 1);
    advance(&s, 10 * NS_PER_S);
    answer(""); /* a failure changes nothing */
    seat_ask(&third, u, 0, &seat_ops, &seats);
    advance(&s, 0);
    assert_int_equal(seats, 3);
    assert_string_equal(seat_address(&third), "tcp:[2001:db8::7]:9000");
    advance(&s, NS_PER_S);
    answer("192.0.2.1"); /* and back: who is there counts again */
    advance(&s, 10 * NS_PER_S);
    answer("192.0.2.1 2001:db8::7");
    assert_int_equal(addresses(u), 2);
    seat_leave(&second);
    seat_leave(&third);
    advance(&s, 0);
    assert_int_equal(addresses(u), 2);
    upstream_free(u);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_asked_again_and_again),
        cmocka_unit_test(after_a_failure_it_is_asked_sooner),
        cmocka_unit_test(nobody_is_told_who_wants_no_answer),
        cmocka_unit_test(sessions_follow_the_name),
    };
    return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
