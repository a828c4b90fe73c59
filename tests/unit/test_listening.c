/*
 * The sockets of listeners from one configuration to the next, on the loopback interface.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "address.h"
#include "front/udp.h"
#include "listening.h"

enum { WORKERS = 3 };

static struct log quiet;
static struct worker_sockets_wanted taken[WORKERS];

static struct listening *begin(void)
{
    const struct listening_config config = {.workers = WORKERS, .log = &quiet};

    log_init(&quiet, STDERR_FILENO, LOG_OFF);
    return listening_new(&config);
}

/* What a configuration names; NULL ends it. */
static bool prepare(struct listening *l, const char *const *addresses, char error[256])
{
    struct config_listener listeners[KEY_LISTENERS_MAX] = {{.address = NULL}};
    struct config config = {.listeners = listeners};

    while (addresses[config.listener_count]) {
        listeners[config.listener_count].address = (char *)addresses[config.listener_count];
        config.listener_count++;
    }
    error[0] = '\0';
    return listening_prepare(l, &config, error, 256);
}

static void change(struct listening *l, const char *const *addresses)
{
    char error[256];

    if (!prepare(l, addresses, error))
        fail_msg("%s", error);
    listening_commit(l);
}

/* As the server does; returns how many sockets each worker has been given. */
static size_t give(struct listening *l)
{
    size_t count = 0;

    for (unsigned i = 0; i < WORKERS; i++) {
        listening_take(l, i, &taken[i]);
        count = 0;
        for (size_t j = 0; j < taken[i].count; j++)
            count += taken[i].at[j].fd >= 0;
    }
    listening_given(l, 0);
    assert_false(listening_has_news(l));
    return count;
}

static void close_taken(void)
{
    for (unsigned i = 0; i < WORKERS; i++)
        for (size_t j = 0; j < taken[i].count; j++)
            if (taken[i].at[j].fd >= 0)
                close(taken[i].at[j].fd);
}

/* As if the workers had them; returns how many of these each was given. */
static size_t change_and_give(struct listening *l, const char *const *addresses)
{
    change(l, addresses);
    size_t count = give(l);
    close_taken();
    return count;
}

static unsigned port_of(int fd)
{
    struct sockaddr_in6 name;
    struct packet_address address;
    socklen_t len = sizeof(name);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    packet_address_set(&address, (struct sockaddr *)&name, len);
    return address_port(&address);
}

/* Alone: not even those who share it are there. */
static bool is_free(unsigned port)
{
    struct udp_binding binding;
    struct packet_address bound;
    char text[64], error[256];

    snprintf(text, sizeof(text), "127.0.0.1:%u", port);
    assert_int_equal(address_resolve(text, &binding.address, 1, error, sizeof(error)), 1);
    binding.sharing = UDP_ALONE;
    binding.kernel_buffer = 0;
    int fd = udp_bind(&binding, &bound, error, sizeof(error));
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void each_worker_has_a_socket_of_its_own(void **state)
{
    struct listening *l = begin();

    (void)state;
    change(l, (const char *[]){"127.0.0.1:0", NULL});
    assert_true(listening_has_news(l));
    assert_int_equal(give(l), 1);
    unsigned port = address_port(listening_address(l, listening_map(l)->number[0]));
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(taken[i].count, 1);
        assert_int_equal(port_of(taken[i].at[0].fd), port);
        assert_int_equal(taken[i].at[0].id, taken[0].at[0].id);
        assert_int_not_equal(taken[i].at[0].fd, taken[(i + 1) % WORKERS].at[0].fd);
    }
    close_taken();
    assert_int_equal(give(l), 0); /* but they are told of it, with the same id */
    assert_int_equal(taken[0].count, 1);
    assert_true(is_free(port));
    listening_free(l);
}

static void one_that_is_named_again_stays(void **state)
{
    struct listening *l = begin();

    (void)state;
    change_and_give(l, (const char *[]){"127.0.0.1:0", NULL});
    size_t number = listening_map(l)->number[0];
    unsigned port = address_port(listening_address(l, number));
    change(l, (const char *[]){"127.0.0.2:0", "127.0.0.1:0", NULL});
    assert_int_equal(listening_map(l)->number[1], number);
    assert_int_not_equal(listening_map(l)->number[0], number);
    assert_int_equal(address_port(listening_address(l, number)), port);
    assert_true(listening_has_news(l));
    assert_int_equal(give(l), 1);
    close_taken();
    change(l, (const char *[]){"127.0.0.1:0", "127.0.0.2:0", NULL});
    assert_false(listening_has_news(l));
    listening_free(l);
}

/* Of those with the same address each stays. */
static void free_ports_are_not_mixed_up(void **state)
{
    struct listening *l = begin();

    (void)state;
    const char *two[] = {"127.0.0.1:0", "127.0.0.1:0", NULL};
    assert_int_equal(change_and_give(l, two), 2);
    const struct listening_map before = *listening_map(l);
    assert_int_not_equal(before.number[0], before.number[1]);
    const char *three[] = {"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", NULL};
    assert_int_equal(change_and_give(l, three), 1);
    assert_memory_equal(listening_map(l)->number, before.number, 2);
    listening_free(l);
}

static void one_that_is_not_named_is_retired_and_then_closed(void **state)
{
    struct listening *l = begin();

    (void)state;
    change_and_give(l, (const char *[]){"127.0.0.1:0", "127.0.0.2:0", NULL});
    size_t number = listening_map(l)->number[0];
    change(l, (const char *[]){"127.0.0.2:0", NULL});
    assert_true(listening_map(l)->is_retired[number]);
    assert_true(listening_is_retired(l, number));
    assert_false(listening_has_news(l)); /* it may have connections */
    listening_close(l, number);
    assert_true(listening_has_news(l));
    assert_false(listening_is_retired(l, number));
    assert_int_equal(give(l), 0);
    assert_null(listening_address(l, number));
    assert_int_equal(taken[0].count, 1);
    listening_free(l);
}

static void a_retired_one_can_come_back(void **state)
{
    struct listening *l = begin();

    (void)state;
    change_and_give(l, (const char *[]){"127.0.0.1:0", "127.0.0.2:0", NULL});
    size_t number = listening_map(l)->number[0];
    unsigned port = address_port(listening_address(l, number));
    change(l, (const char *[]){"127.0.0.2:0", NULL});
    change(l, (const char *[]){"127.0.0.2:0", "127.0.0.1:0", NULL});
    assert_int_equal(listening_map(l)->number[1], number);
    assert_false(listening_map(l)->is_retired[number]);
    assert_int_equal(address_port(listening_address(l, number)), port);
    assert_false(listening_has_news(l));
    listening_free(l);
}

static void what_cannot_be_opened_changes_nothing(void **state)
{
    struct listening *l = begin();
    char error[256], taken_address[64];

    (void)state;
    change(l, (const char *[]){"127.0.0.1:0", NULL});
    size_t number = listening_map(l)->number[0];
    snprintf(taken_address, sizeof(taken_address), "127.0.0.1:%u",
             address_port(listening_address(l, number)));
    give(l);
    assert_false(prepare(l, (const char *[]){"127.0.0.3:0", taken_address, NULL}, error));
    assert_non_null(strstr(error, taken_address));
    assert_non_null(strstr(error, "in use, by the listener 127.0.0.1:0, which"));
    assert_false(prepare(l, (const char *[]){"127.0.0.1:0", "192.0.2.1:1", NULL}, error));
    assert_non_null(strstr(error, "192.0.2.1:1"));
    assert_false(listening_is_retired(l, number));
    assert_false(listening_has_news(l));
    change(l, (const char *[]){"127.0.0.1:0", NULL});
    assert_int_equal(listening_map(l)->number[0], number);
    assert_int_equal(give(l), 0);
    assert_int_equal(taken[0].count, 1);
    listening_free(l);
}

static void what_is_given_up_is_closed(void **state)
{
    struct listening *l = begin();
    char error[256], address[64];

    (void)state;
    /* A free port, to ask for by its number. */
    change(l, (const char *[]){"127.0.0.1:0", NULL});
    unsigned port = address_port(listening_address(l, listening_map(l)->number[0]));
    listening_free(l);
    assert_true(is_free(port));
    l = begin();
    snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    assert_true(prepare(l, (const char *[]){address, NULL}, error));
    assert_false(is_free(port));
    listening_cancel(l);
    assert_true(is_free(port));
    assert_false(listening_has_news(l));
    listening_free(l);
}

static void a_worker_that_has_ended_takes_nothing(void **state)
{
    struct listening *l = begin();

    (void)state;
    change(l, (const char *[]){"127.0.0.1:0", NULL});
    unsigned port = address_port(listening_address(l, listening_map(l)->number[0]));
    for (unsigned i = 0; i < WORKERS; i++) {
        listening_take(l, i, &taken[i]);
        listening_give_back(l, i, &taken[i]);
    }
    listening_free(l);
    assert_true(is_free(port));
}

/* localhost has two addresses, and what is free at one may be taken at the other. */
static void a_port_is_chosen_that_all_addresses_have(void **state)
{
    enum { OCCUPIED = 2000, TRIES = 60 };
    static int occupied[OCCUPIED];
    struct udp_binding binding = {.kernel_buffer = 0};
    struct packet_address bound;
    struct rlimit limit;
    char error[256];

    (void)state;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(address_resolve("[::1]:0", &binding.address, 1, error, sizeof(error)), 1);
    for (size_t i = 0; i < OCCUPIED; i++) {
        occupied[i] = udp_bind(&binding, &bound, error, sizeof(error));
        if (occupied[i] < 0) {
            print_message("no IPv6, or too few files: %s\n", error);
            skip();
        }
    }
    for (size_t i = 0; i < TRIES; i++) {
        struct listening *l = begin();
        change(l, (const char *[]){"localhost:0", NULL});
        assert_int_equal(give(l), 2);
        assert_int_equal(port_of(taken[0].at[0].fd), port_of(taken[0].at[1].fd));
        close_taken();
        listening_free(l);
    }
    for (size_t i = 0; i < OCCUPIED; i++)
        close(occupied[i]);
}

/* Removed ones that are not closed yet take room; there is a limit, and it is told. */
static void too_many_are_refused(void **state)
{
    struct listening *l = begin();
    char address[64], error[256] = "";
    unsigned i;

    (void)state;
    for (i = 1; i < 200; i++) {
        snprintf(address, sizeof(address), "127.0.0.%u:0", i);
        if (!prepare(l, (const char *[]){address, NULL}, error))
            break;
        listening_commit(l);
    }
    assert_int_equal(i, INTAKE_LISTENERS + 1);
    assert_non_null(strstr(error, "too many removed listeners"));
    listening_close(l, 0);
    give(l);
    close_taken();
    assert_true(prepare(l, (const char *[]){address, NULL}, error));
    listening_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_worker_has_a_socket_of_its_own),
        cmocka_unit_test(one_that_is_named_again_stays),
        cmocka_unit_test(free_ports_are_not_mixed_up),
        cmocka_unit_test(one_that_is_not_named_is_retired_and_then_closed),
        cmocka_unit_test(a_retired_one_can_come_back),
        cmocka_unit_test(what_cannot_be_opened_changes_nothing),
        cmocka_unit_test(what_is_given_up_is_closed),
        cmocka_unit_test(a_worker_that_has_ended_takes_nothing),
        cmocka_unit_test(a_port_is_chosen_that_all_addresses_have),
        cmocka_unit_test(too_many_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
