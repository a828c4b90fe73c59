/*
 * Reaching an application: its addresses, its absence, its full backlog.
 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "link_world.h"

static void connect_and_expect(struct world *w, enum fault fault, int error, const char *text)
{
    w->opened = w->closed = 0;
    w->link = world_open(w, &world_ops, w);
    assert_int_equal(w->closed, 0);
    until(w, w->closed || w->opened);
    assert_int_equal(w->opened, 0);
    assert_int_equal(w->end.fault, fault);
    assert_int_equal(w->end.error, error);
    assert_non_null(strstr(w->end.text, text));
    assert_true(strstr(w->end.text, "unix:") || strstr(w->end.text, "tcp:"));
}

static int listen_tcp(uint16_t *port, bool listening)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    *port = ntohs(in.sin_port);
    if (listening)
        assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static void use_address(struct world *w, const char *address)
{
    const char *error = NULL;
    assert_true(world_target(w, address, &error));
}

static void an_absent_application_is_told(void **state)
{
    struct world *w = *state;
    connect_and_expect(w, FAULT_BACKEND_CONNECT, ENOENT, "No such file");
    int fd = world_listen_unix(w, -1);
    connect_and_expect(w, FAULT_BACKEND_CONNECT, ECONNREFUSED, "refused");
    close(fd);
    uint16_t port;
    fd = listen_tcp(&port, false);
    char address[64];
    snprintf(address, sizeof address, "tcp:127.0.0.1:%u", port);
    use_address(w, address);
    connect_and_expect(w, FAULT_BACKEND_CONNECT, ECONNREFUSED, "refused");
    close(fd);
}

/* Nor is the address asked: it may be there. */
static void that_we_have_no_descriptor_is_no_refusal(void **state)
{
    struct world *w = *state;
    struct rlimit limit;
    int fd = world_listen_unix(w, 1), lowest = dup(fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    close(lowest);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)lowest, limit.rlim_max}), 0);
    connect_and_expect(w, FAULT_BACKEND_FULL, EMFILE, "Too many open files");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    close(fd);
}

static void a_full_backlog_is_tried_again(void **state)
{
    struct world *w = *state;
    int listener = world_listen_unix(w, 0), fillers[64], count = 0;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    strcpy(un.sun_path, w->path);
    for (;; count++) {
        assert_true(count < 64);
        fillers[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fillers[count], (struct sockaddr *)&un, sizeof un))
            break;
    }
    assert_int_equal(errno, EAGAIN);
    w->link = world_open(w, &world_ops, w);
    for (int i = 0; i < 10; i++) {
        w->now += 10 * NS_PER_MS;
        world_step(w);
    }
    assert_int_equal(w->opened + w->closed, 0);
    close(accept(listener, NULL, NULL));
    until(w, (w->now += NS_PER_MS, w->opened));
    link_close(w->link);
    until(w, w->closed);

    while (connect(fillers[count], (struct sockaddr *)&un, sizeof un) == 0)
        fillers[++count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    w->opened = w->closed = 0;
    w->link = world_open(w, &world_ops, w);
    until(w, (w->now += 100 * NS_PER_MS, w->closed));
    assert_int_equal(w->opened, 0);
    assert_int_equal(w->end.fault, FAULT_BACKEND_CONNECT_TIMEOUT);
    assert_non_null(strstr(w->end.text, "backlog"));
    for (int i = 0; i <= count; i++)
        close(fillers[i]);
    close(listener);
}

static void a_link_may_be_closed_while_it_connects(void **state)
{
    struct world *w = *state;
    int listener = world_listen_unix(w, 0);
    w->link = world_open(w, &world_ops, w);
    link_close(w->link); /* before it has begun */
    until(w, w->closed);
    assert_int_equal(w->opened, 0);
    close(listener);
    uint16_t port;
    listener = listen_tcp(&port, true);
    char address[64];
    snprintf(address, sizeof address, "tcp:127.0.0.1:%u", port);
    use_address(w, address);
    w->closed = 0;
    w->link = world_open(w, &world_ops, w);
    turn_end(&w->turn); /* it has begun */
    link_finish(w->link);
    until(w, w->closed == 1);
    assert_int_equal(w->end.fault, FAULT_NONE);
    close(listener);
}

static void tcp_connects(void **state)
{
    struct world *w = *state;
    uint16_t port;
    int listener = listen_tcp(&port, true);
    char address[64];
    snprintf(address, sizeof address, "tcp:127.0.0.1:%u", port);
    use_address(w, address);
    w->link = world_open(w, &world_ops, w);
    until(w, w->opened || w->closed);
    assert_int_equal(w->opened, 1);
    int app = accept(listener, NULL, NULL);
    link_send(w->link, "tcp", 3);
    uint8_t got[7];
    world_read(w, app, got, 7);
    assert_memory_equal(got, "\0\0\0\3tcp", 7);
    struct linger reset = {1, 0};
    setsockopt(app, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
    assert_int_equal(w->end.error, ECONNRESET);
    close(listener);
}

/* The kernel tells it where it tells of a refusal; but somebody does listen. */
static void a_reset_before_we_know_of_the_connection_is_no_refusal(void **state)
{
    struct world *w = *state;
    uint16_t port;
    int listener = listen_tcp(&port, true);
    char address[64];
    snprintf(address, sizeof address, "tcp:127.0.0.1:%u", port);
    use_address(w, address);
    int fd = world_next_descriptor();
    w->link = world_open(w, &world_ops, w);
    turn_end(&w->turn); /* it has begun */
    int app = accept(listener, NULL, NULL);
    struct linger reset = {1, 0};
    setsockopt(app, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(app);
    world_await_reset(fd);
    until(w, w->opened || w->closed);
    assert_int_equal(w->opened, 0);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
    assert_int_equal(w->end.error, ECONNRESET);
    close(listener);
}

static void addresses_are_understood_or_explained(void **state)
{
    struct world *w = *state;
    const char *bad[] = {
        "",           "/run/app.sock", "unix:",     "tcp:",        "tcp:host",    "tcp::80",
        "tcp:host:0", "tcp:host:http", "tcp:::1:8", "tcp:h:65536", "http://x:80", "udp:",
        "udp:host",   "udp::53",       "udp:::1:53"};
    char longest[200] = "unix:";
    memset(longest + 5, 'p', 108);
    const char *error = NULL;
    assert_false(world_target(w, longest, &error));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        error = NULL;
        assert_false(world_target(w, bad[i], &error));
        assert_non_null(error);
    }
    const char *good[] = {"tcp:[::1]:80",    "tcp:example.org:8000", "unix:x",
                          "tcp:127.0.0.1:1", "udp:[::1]:53",         "udp:example.org:53"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(world_target(w, good[i], &error));
        bool is_name = strstr(good[i], "example.org") != NULL;
        assert_int_equal(w->target.len == 0, is_name);
        assert_int_equal(w->target.type,
                         good[i][0] == 'u' && good[i][1] == 'd' ? SOCK_DGRAM : SOCK_STREAM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(an_absent_application_is_told),
        in_world(that_we_have_no_descriptor_is_no_refusal),
        in_world(a_full_backlog_is_tried_again),
        in_world(a_link_may_be_closed_while_it_connects),
        in_world(tcp_connects),
        in_world(a_reset_before_we_know_of_the_connection_is_no_refusal),
        in_world(addresses_are_understood_or_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
