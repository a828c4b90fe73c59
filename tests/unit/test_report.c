#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "base/env.h"
#include "base/hostport.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/timers.h"

#include <arpa/inet.h>

struct fixture {
    struct env env;
    struct stats stats;
    struct log log;
    uint64_t now;
    int read_fd, write_fd;
    char text[65536];
};

static uint64_t pretend_now(void *clock)
{
    return *(uint64_t *)clock;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    f->read_fd = fds[0];
    f->write_fd = fds[1];
    f->now = 1000 * NS_PER_S;
    log_init(&f->log, f->write_fd, LOG_INFO);
    f->env = (struct env){
        .timers = timers_new(pretend_now, &f->now), .stats = &f->stats, .log = &f->log};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    timers_free(f->env.timers);
    close(f->read_fd);
    close(f->write_fd);
    free(f);
    return 0;
}

/* What has been written since the last call: how many lines; f->text is all of them. */
static size_t lines(struct fixture *f)
{
    size_t count = 0;

    LOG(&f->log, INFO, "end", log_text("x", NULL));
    ssize_t n = read(f->read_fd, f->text, sizeof(f->text) - 1);
    assert_true(n > 0);
    f->text[n] = '\0';
    for (const char *at = f->text; (at = strchr(at, '\n')); at++)
        count++;
    return count - 1;
}

static void flood(struct fixture *f, enum fault fault, int count)
{
    for (int i = 0; i < count; i++)
        REPORT(&f->env, INFO, "conn.refused", fault, log_text("remote", "[::1]:1"));
}

static void test_a_line(void **state)
{
    struct fixture *f = *state;

    flood(f, FAULT_IDLE, 1);
    assert_int_equal(lines(f), 1);
    assert_non_null(strstr(f->text, " level=info event=conn.refused remote=[::1]:1 fault=idle "
                                    "why=\"nothing was heard from the peer for the idle "
                                    "timeout\"\n"));
    assert_int_equal(f->stats.faults[FAULT_IDLE], 1);
}

static void test_a_flood_is_counted_and_not_written(void **state)
{
    struct fixture *f = *state;

    flood(f, FAULT_TLS, 1000);
    assert_int_equal(lines(f), REPORT_BURST);
    assert_null(strstr(f->text, "left_out"));
    assert_int_equal(f->stats.faults[FAULT_TLS], 1000);
    for (int i = 0; i < 3; i++) { /* one a second */
        f->now += NS_PER_S;
        flood(f, FAULT_TLS, 50);
        assert_int_equal(lines(f), 1);
        assert_non_null(strstr(f->text, i == 0 ? " left_out=980\n" : " left_out=49\n"));
    }
    flood(f, FAULT_IDLE, 1); /* another reason is told nevertheless */
    assert_int_equal(lines(f), 1);
    assert_non_null(strstr(f->text, "fault=idle"));
    report_rest(&f->env);
    assert_int_equal(lines(f), 1);
    assert_non_null(strstr(f->text, " event=left_out fault=tls count=49\n"));
    report_rest(&f->env);
    assert_int_equal(lines(f), 0);
}

static void test_the_burst_comes_back(void **state)
{
    struct fixture *f = *state;

    flood(f, FAULT_TLS, REPORT_BURST);
    f->now += 5 * NS_PER_S + NS_PER_S / 2;
    flood(f, FAULT_TLS, 100);
    assert_int_equal(lines(f), REPORT_BURST + 5);
    f->now += 3600 * NS_PER_S;
    flood(f, FAULT_TLS, 100);
    assert_int_equal(lines(f), REPORT_BURST);
    assert_non_null(strstr(f->text, " left_out=95\n"));
}

static void test_what_is_not_logged_is_not_left_out(void **state)
{
    struct fixture *f = *state;

    f->log.level = LOG_WARN;
    flood(f, FAULT_TLS, 100);
    f->log.level = LOG_INFO;
    report_rest(&f->env);
    assert_int_equal(lines(f), 0);
    assert_int_equal(f->stats.faults[FAULT_TLS], 100);
}

static void test_addresses(void **state)
{
    char text[HOSTPORT_TEXT_SIZE];
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(4433)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(1)};
    struct sockaddr neither = {.sa_family = AF_UNIX};

    (void)state;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    v6.sin6_addr = in6addr_loopback;
    hostport_print(text, (const struct sockaddr *)&v4);
    assert_string_equal(text, "127.0.0.1:4433");
    hostport_print(text, (const struct sockaddr *)&v6);
    assert_string_equal(text, "[::1]:1");
    hostport_print(text, &neither);
    assert_string_equal(text, "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_flood_is_counted_and_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_burst_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_logged_is_not_left_out, setup, teardown),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
