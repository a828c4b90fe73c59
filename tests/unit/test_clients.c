/*
 * Tests of clients: how much one address may have, and how fast.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "cmocka_all.h"
#include "base/clients.h"
#include "base/timers.h"

static uint64_t now_ns;

static uint64_t pretend_now(void *clock)
{
    return *(uint64_t *)clock;
}

struct place {
    struct env env;
    struct clients *clients;
};

static void begin(struct place *p, struct clients_limit connections, struct clients_limit sessions)
{
    p->env = (struct env){.timers = timers_new(pretend_now, &now_ns), .hash_key = {7}};
    const struct clients_config config = {.limits = {connections, sessions}, .ipv6_prefix = 56};
    now_ns = NS_PER_S;
    p->clients = clients_new(&p->env, &config);
}

static void end(struct place *p)
{
    clients_free(p->clients);
    timers_free(p->env.timers);
}

static struct sockaddr_storage at(const char *text)
{
    struct sockaddr_storage to = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&to;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        return to;
    }
    assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
    v6->sin6_family = AF_INET6;
    return to;
}

static struct client *enter(struct place *p, const char *address, enum clients_kind kind,
                            enum fault *fault)
{
    struct sockaddr_storage a = at(address);
    enum fault checked = clients_check(p->clients, (struct sockaddr *)&a, kind);
    struct client *client = clients_enter(p->clients, (struct sockaddr *)&a, kind, fault);
    assert_int_equal(checked, *fault);
    assert_true((client != NULL) == (*fault == FAULT_NONE));
    return client;
}

static void an_address_has_so_many_at_once(void **state)
{
    enum fault fault;
    struct place p;
    begin(&p, (struct clients_limit){.most = 2}, (struct clients_limit){.most = 3});
    (void)state;
    struct client *a = enter(&p, "192.0.2.1", CLIENTS_CONNECTION, &fault);
    assert_ptr_equal(enter(&p, "192.0.2.1", CLIENTS_CONNECTION, &fault), a);
    assert_null(enter(&p, "192.0.2.1", CLIENTS_CONNECTION, &fault));
    assert_int_equal(fault, FAULT_CLIENT_CONNECTIONS);
    /* others, and other things, are not concerned */
    struct client *b = enter(&p, "192.0.2.2", CLIENTS_CONNECTION, &fault);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(enter(&p, "192.0.2.1", CLIENTS_SESSION, &fault), a);
    assert_null(enter(&p, "192.0.2.1", CLIENTS_SESSION, &fault));
    assert_int_equal(fault, FAULT_CLIENT_SESSIONS);
    clients_leave(p.clients, a, CLIENTS_CONNECTION);
    assert_ptr_equal(enter(&p, "192.0.2.1", CLIENTS_CONNECTION, &fault), a);
    clients_leave(p.clients, a, CLIENTS_CONNECTION);
    clients_leave(p.clients, a, CLIENTS_CONNECTION);
    for (int i = 0; i < 3; i++)
        clients_leave(p.clients, a, CLIENTS_SESSION);
    clients_leave(p.clients, b, CLIENTS_CONNECTION);
    assert_int_equal(clients_count(p.clients), 0);
    end(&p);
}

static void ipv6_clients_are_networks(void **state)
{
    static const struct {
        const char *one, *other;
        bool same;
    } pairs[] = {
        {"2001:db8:1:aa00::1", "2001:db8:1:aa00::2", true},
        {"2001:db8:1:aa00::1", "2001:db8:1:aaff:ffff::", true}, /* 56 bits */
        {"2001:db8:1:aa00::1", "2001:db8:1:ab00::1", false},
        {"::ffff:192.0.2.1", "192.0.2.1", true},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
        {"::192.0.2.1", "192.0.2.1", false},
        {"192.0.2.1", "192.0.2.2", false},
    };
    enum fault fault;
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct place p;
        begin(&p, (struct clients_limit){0}, (struct clients_limit){0});
        struct client *a = enter(&p, pairs[i].one, CLIENTS_SESSION, &fault);
        struct client *b = enter(&p, pairs[i].other, CLIENTS_SESSION, &fault);
        assert_int_equal(a == b, pairs[i].same);
        clients_leave(p.clients, a, CLIENTS_SESSION);
        clients_leave(p.clients, b, CLIENTS_SESSION);
        end(&p);
    }
}

static void come_and_go(struct place *p, const char *address, enum fault expected)
{
    enum fault fault;
    struct client *client = enter(p, address, CLIENTS_CONNECTION, &fault);
    assert_int_equal(fault, expected);
    if (client)
        clients_leave(p->clients, client, CLIENTS_CONNECTION);
}

static void rates_have_a_burst_and_then_an_interval(void **state)
{
    struct place p;
    begin(&p, (struct clients_limit){.rate = {.per_second = 10, .burst = 5}},
          (struct clients_limit){0});
    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++)
            come_and_go(&p, "192.0.2.1", FAULT_NONE);
        come_and_go(&p, "192.0.2.1", FAULT_CLIENT_CONNECTION_RATE);
        come_and_go(&p, "192.0.2.2", FAULT_NONE);
        now_ns += NS_PER_S / 10;
        come_and_go(&p, "192.0.2.1", FAULT_NONE);
        come_and_go(&p, "192.0.2.1", FAULT_CLIENT_CONNECTION_RATE); /* refusals cost nothing */
        now_ns += NS_PER_S / 2;                                     /* the whole burst again */
    }
    assert_int_equal(clients_count(p.clients), 1);
    now_ns += NS_PER_S;
    come_and_go(&p, "192.0.2.3", FAULT_NONE);
    assert_int_equal(clients_count(p.clients), 1); /* of the others nothing is left */
    end(&p);
}

static void addresses_that_have_nothing_are_forgotten(void **state)
{
    struct place p;
    begin(&p, (struct clients_limit){.rate = {.per_second = 1, .burst = 1}},
          (struct clients_limit){0});
    (void)state;
    for (uint32_t i = 0; i < CLIENTS_IDLE_MAX + 1000; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.%u.%u.%u", (i >> 16) & 255, (i >> 8) & 255, i & 255);
        come_and_go(&p, text, FAULT_NONE);
    }
    assert_int_equal(clients_count(p.clients), CLIENTS_IDLE_MAX);
    come_and_go(&p, "10.0.3.232", FAULT_CLIENT_CONNECTION_RATE); /* number 1000 is remembered */
    come_and_go(&p, "10.0.3.231", FAULT_NONE);                   /* number 999 is not */
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_so_many_at_once),
        cmocka_unit_test(ipv6_clients_are_networks),
        cmocka_unit_test(rates_have_a_burst_and_then_an_interval),
        cmocka_unit_test(addresses_that_have_nothing_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
