/*
 * test_udp - real sockets on the loopback interface: offload, ECN, addresses, steering.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/udp.h>
#include <unistd.h>

#include "base/turn.h"
#include "front/steering.h"
#include "front/udp.h"

#define PEERS_MAX 8
#define LIMIT_MS  10000 /* only if something is broken */

struct node {
    struct udp *udp;
    int fd; /* udp's */
    size_t payloads, calls, bytes, last_len, wrong;
    struct packet last;
    bool is_closed;
};

static uv_loop_t loop;
static struct turn turn;
static struct env env = {.turn = &turn};
static struct node nodes[PEERS_MAX];
static uv_timer_t limit;
static bool too_late;

static void on_received(void *user, const struct packet *p)
{
    struct node *n = user;
    size_t step = p->segment_size ? p->segment_size : p->len;
    n->calls++;
    for (size_t at = 0; at < p->len; at += step) {
        n->last_len = p->len - at < step ? p->len - at : step;
        n->payloads++;
        n->bytes += n->last_len;
    }
    for (size_t i = 0; i < p->len; i++)
        n->wrong += p->data[i] != p->data[0];
    n->last = *p;
}

static void on_closed(void *user)
{
    ((struct node *)user)->is_closed = true;
}

static const struct udp_ops ops = {.received = on_received, .closed = on_closed};

static void on_late(uv_timer_t *timer)
{
    (void)timer;
    too_late = true;
}

static struct packet_address address_of(const char *ip, unsigned port)
{
    struct packet_address a = {0};
    if (inet_pton(AF_INET, ip, &a.sa.v4.sin_addr) == 1) {
        a.sa.v4.sin_family = AF_INET;
        a.sa.v4.sin_port = htons((uint16_t)port);
        a.len = sizeof(a.sa.v4);
    } else {
        memset(&a, 0, sizeof(a));
        assert_int_equal(inet_pton(AF_INET6, ip, &a.sa.v6.sin6_addr), 1);
        a.sa.v6.sin6_family = AF_INET6;
        a.sa.v6.sin6_port = htons((uint16_t)port);
        a.len = sizeof(a.sa.v6);
    }
    return a;
}

static unsigned port_of(const struct node *n)
{
    return ntohs(udp_address(n->udp)->sa.v4.sin_port); /* lies in the same place for IPv6 */
}

static struct node *node_open(unsigned i, const char *ip, unsigned port, enum udp_sharing sharing,
                              bool offload)
{
    struct udp_binding binding = {.address = address_of(ip, port), .sharing = sharing};
    struct udp_config config = {.no_offload = !offload};
    struct packet_address bound;
    char error[256] = "";
    memset(&nodes[i], 0, sizeof(nodes[i]));
    int fd = udp_bind(&binding, &bound, error, sizeof(error));
    if (fd < 0 && strchr(ip, ':')) {
        print_message("no IPv6 on this machine: %s\n", error);
        skip();
    }
    if (fd < 0)
        fail_msg("%s", error);
    nodes[i].udp = udp_open(&env, &loop, fd, &config, &ops, &nodes[i], error, sizeof(error));
    assert_non_null(nodes[i].udp);
    nodes[i].fd = fd;
    udp_start(nodes[i].udp);
    return &nodes[i];
}

/* Runs until all nodes together have this many payloads. */
static void run_until(size_t payloads)
{
    size_t sum = 0;
    too_late = false;
    uv_timer_start(&limit, on_late, LIMIT_MS, 0);
    while (sum < payloads && !too_late) {
        uv_run(&loop, UV_RUN_ONCE);
        sum = 0;
        for (unsigned i = 0; i < PEERS_MAX; i++)
            sum += nodes[i].payloads;
    }
    uv_timer_stop(&limit);
    assert_int_equal(sum, payloads);
}

static int setup(void **state)
{
    (void)state;
    memset(nodes, 0, sizeof(nodes));
    turn_init(&turn);
    int rv = uv_loop_init(&loop);
    return rv ? rv : uv_timer_init(&loop, &limit);
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PEERS_MAX; i++)
        if (nodes[i].udp)
            udp_close(nodes[i].udp);
    uv_close((uv_handle_t *)&limit, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < PEERS_MAX; i++)
        assert_true(!nodes[i].udp || nodes[i].is_closed);
    return uv_loop_close(&loop);
}

static void send_to(struct node *from, const struct node *to, const char *ip, const uint8_t *data,
                    size_t len, size_t segment, uint8_t ecn)
{
    struct packet p = {.data = data,
                       .len = len,
                       .segment_size = segment,
                       .ecn = ecn,
                       .remote = address_of(ip, port_of(to))};
    udp_send(from->udp, &p);
}

static void transfer(const char *bind_ip, const char *to_ip, bool offload)
{
    static uint8_t data[64 * 1000];
    struct node *a = node_open(0, bind_ip, 0, UDP_ALONE, offload);
    struct node *b = node_open(1, bind_ip, 0, UDP_ALONE, offload);
    memset(data, 0x5a, sizeof(data));

    send_to(a, b, to_ip, data, 63 * 1000 + 17, 1000, 2);
    run_until(64);
    assert_int_equal(b->bytes, 63 * 1000 + 17);
    assert_int_equal(b->last_len, 17);
    assert_int_equal(b->wrong, 0);
    assert_int_equal(b->last.ecn, 2);
    struct packet_address from = address_of(to_ip, port_of(a)), to = address_of(to_ip, port_of(b));
    assert_memory_equal(&b->last.remote, &from, sizeof(from));
    assert_memory_equal(&b->last.local, &to, sizeof(to));

    /* back, from the address it was sent to */
    struct packet answer = {
        .data = data, .len = 1200, .local = b->last.local, .remote = b->last.remote};
    udp_send(b->udp, &answer);
    run_until(65);
    assert_int_equal(a->bytes, 1200);
    assert_int_equal(a->last.ecn, 0);
    assert_memory_equal(&a->last.remote, &to, sizeof(to));
}

/* Whether the kernel joins packets for this socket; false if it never heard of it. */
static bool is_joining(const struct node *n)
{
    int value = 0;
    socklen_t len = sizeof(value);
    return getsockopt(n->fd, IPPROTO_UDP, UDP_GRO, &value, &len) == 0 && value;
}

static bool is_joining_possible(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), value = 1;
    socklen_t len = sizeof(value);
    bool possible = setsockopt(fd, IPPROTO_UDP, UDP_GRO, &value, len) == 0 &&
                    getsockopt(fd, IPPROTO_UDP, UDP_GRO, &value, &len) == 0;
    close(fd);
    return possible;
}

static void ipv4_with_offload(void **state)
{
    (void)state;
    transfer("127.0.0.1", "127.0.0.1", true);
    assert_true(is_joining(&nodes[1]) == is_joining_possible());
}

/* Each packet comes by itself, and as it was sent: see transfer(). */
static void ipv4_without_offload(void **state)
{
    (void)state;
    transfer("127.0.0.1", "127.0.0.1", false);
    assert_int_equal(nodes[1].calls, nodes[1].payloads);
    assert_false(is_joining(&nodes[1]));
}

static void ipv4_wildcard_answers_from_the_address_asked(void **state)
{
    (void)state;
    transfer("0.0.0.0", "127.0.0.1", true);
}

static void ipv6_with_offload(void **state)
{
    (void)state;
    transfer("::1", "::1", true);
}

static void dual_stack_carries_ipv4(void **state)
{
    (void)state;
    transfer("::", "127.0.0.1", true);
}

static void too_large_for_the_path_is_dropped(void **state)
{
    static uint8_t data[66000];
    (void)state;
    struct node *a = node_open(0, "127.0.0.1", 0, UDP_ALONE, true);
    struct node *b = node_open(1, "127.0.0.1", 0, UDP_ALONE, true);
    send_to(a, b, "127.0.0.1", data, 65530, 0, 0); /* more than an IPv4 packet holds */
    send_to(a, b, "127.0.0.1", data, 100, 0, 0);
    run_until(1);
    assert_int_equal(b->bytes, 100);
}

static bool kernel_joins_what_it_cut(struct node *a, struct node *b, const uint8_t *data)
{
    size_t before = b->payloads;
    send_to(a, b, "127.0.0.1", data, 3000, 1000, 0);
    run_until(before + 3);
    return b->last.segment_size == 1000;
}

/* Nothing can be sent to port 0. That must not slow down everybody else. */
static void an_address_that_cannot_be_reached_does_not_end_offload(void **state)
{
    static uint8_t data[3000];
    (void)state;
    struct node *a = node_open(0, "127.0.0.1", 0, UDP_ALONE, true);
    struct node *b = node_open(1, "127.0.0.1", 0, UDP_ALONE, true);
    if (!kernel_joins_what_it_cut(a, b, data))
        skip();
    udp_send(a->udp, &(struct packet){.data = data,
                                      .len = sizeof(data),
                                      .segment_size = 1000,
                                      .remote = address_of("127.0.0.1", 0)});
    assert_true(kernel_joins_what_it_cut(a, b, data));
}

static void packets_from_port_0_are_dropped(void **state)
{
    /* a UDP header: from 0, to be filled in, 8 + 4 bytes, no checksum */
    uint8_t bytes[12] = {0, 0, 0, 0, 0, 12, 0, 0, 'f', 'a', 'k', 'e'};
    (void)state;
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP);
    if (fd < 0) {
        print_message("only the superuser may forge packets\n");
        skip();
    }
    struct node *a = node_open(0, "127.0.0.1", 0, UDP_ALONE, true);
    struct node *b = node_open(1, "127.0.0.1", 0, UDP_ALONE, true);
    struct packet_address to = address_of("127.0.0.1", 0);
    bytes[2] = (uint8_t)(port_of(b) >> 8);
    bytes[3] = (uint8_t)port_of(b);
    assert_int_equal(sendto(fd, bytes, sizeof(bytes), 0, &to.sa.any, to.len), sizeof(bytes));
    close(fd);
    send_to(a, b, "127.0.0.1", (const uint8_t *)"true!", 5, 0, 0);
    run_until(1);
    assert_int_equal(b->bytes, 5);
}

static int receive_buffer_with(size_t kernel_buffer)
{
    struct udp_binding binding = {.address = address_of("127.0.0.1", 0),
                                  .kernel_buffer = kernel_buffer};
    struct packet_address bound;
    char error[256] = "";
    int size = 0;
    socklen_t len = sizeof(size);
    int fd = udp_bind(&binding, &bound, error, sizeof(error));
    assert_true(fd >= 0);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &len), 0);
    close(fd);
    return size;
}

/* The kernel keeps its books, too, and tells twice what was asked for (socket(7)). */
static void the_kernel_is_asked_for_its_buffer(void **state)
{
    (void)state;
    int small = receive_buffer_with(16 * 1024), own = receive_buffer_with(0);
    assert_int_equal(small, 2 * 16 * 1024);
    assert_true(own > small);
}

static void a_taken_port_is_told(void **state)
{
    char error[256] = "";
    (void)state;
    struct node *a = node_open(0, "127.0.0.1", 0, UDP_ALONE, true);
    struct udp_binding binding = {.address = address_of("127.0.0.1", port_of(a))};
    struct packet_address bound;
    assert_int_equal(udp_bind(&binding, &bound, error, sizeof(error)), -1);
    assert_non_null(strstr(error, "127.0.0.1"));
    assert_non_null(strstr(error, "in use"));
}

/* Nor does the first one join those who would let it. */
static void a_port_that_others_share_is_taken_for_the_first(void **state)
{
    char error[256] = "";
    (void)state;
    struct node *a = node_open(0, "127.0.0.1", 0, UDP_FIRST, true);
    struct udp_binding binding = {.address = address_of("127.0.0.1", port_of(a)),
                                  .sharing = UDP_NEXT};
    struct packet_address bound;
    int next = udp_bind(&binding, &bound, error, sizeof(error));
    assert_true(next >= 0);
    binding.sharing = UDP_FIRST;
    assert_int_equal(udp_bind(&binding, &bound, error, sizeof(error)), -1);
    assert_non_null(strstr(error, "in use"));
    close(next);
}

/* Of so many there would be two with one port, in two cases of three. */
static void a_port_of_the_systems_choice_is_nobody_elses(void **state)
{
    enum { SOCKETS = 250 };
    struct udp_binding binding = {.address = address_of("127.0.0.1", 0), .sharing = UDP_FIRST};
    struct packet_address bound;
    bool taken[65536] = {false};
    int fds[SOCKETS];
    char error[256];
    (void)state;

    for (size_t i = 0; i < SOCKETS; i++) {
        fds[i] = udp_bind(&binding, &bound, error, sizeof(error));
        assert_true(fds[i] >= 0);
        assert_false(taken[ntohs(bound.sa.v4.sin_port)]);
        taken[ntohs(bound.sa.v4.sin_port)] = true;
    }
    for (size_t i = 0; i < SOCKETS; i++)
        close(fds[i]);
}

/* The kernel finds the worker of long and short headers; others it spreads. */
static void steering_follows_the_connection_id(void **state)
{
    struct endpoint_config config = {.server_id = 0x1234, .generation = 7, .workers = 4};
    uint8_t data[64];
    size_t expected = 0;
    (void)state;

    struct node *first = node_open(0, "127.0.0.1", 0, UDP_FIRST, true);
    for (unsigned i = 1; i < 4; i++)
        node_open(i, "127.0.0.1", port_of(first), UDP_NEXT, true);
    assert_true(steering_attach(first->fd, &config));
    for (unsigned s = 4; s < PEERS_MAX; s++) {
        struct node *sender = node_open(s, "127.0.0.1", 0, UDP_ALONE, true);
        for (uint8_t worker = 0; worker < 4; worker++) {
            memset(data, 0x40, sizeof(data));
            endpoint_cid_prefix(&config, data + 1);
            data[1 + ENDPOINT_CID_WORKER] = worker;
            send_to(sender, first, "127.0.0.1", data, 40, 0, 0);
            memset(data, 0xc0, sizeof(data));
            data[5] = ENDPOINT_CID_LEN;
            endpoint_cid_prefix(&config, data + 6);
            data[6 + ENDPOINT_CID_WORKER] = worker;
            send_to(sender, first, "127.0.0.1", data, 60, 0, 0);
            expected += 2;
        }
    }
    run_until(expected);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(nodes[i].payloads, expected / 4);
        assert_int_equal(nodes[i].bytes, expected / 8 * 100);
    }
    /* a foreign id: whoever gets it, it is not lost */
    memset(data, 0xc0, sizeof(data));
    send_to(&nodes[4], first, "127.0.0.1", data, 60, 0, 0);
    run_until(expected + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ipv4_with_offload, setup, teardown),
        cmocka_unit_test_setup_teardown(ipv4_without_offload, setup, teardown),
        cmocka_unit_test_setup_teardown(ipv4_wildcard_answers_from_the_address_asked, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(ipv6_with_offload, setup, teardown),
        cmocka_unit_test_setup_teardown(dual_stack_carries_ipv4, setup, teardown),
        cmocka_unit_test_setup_teardown(too_large_for_the_path_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_that_cannot_be_reached_does_not_end_offload,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(packets_from_port_0_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_taken_port_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_port_that_others_share_is_taken_for_the_first, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_port_of_the_systems_choice_is_nobody_elses, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_kernel_is_asked_for_its_buffer, setup, teardown),
        cmocka_unit_test_setup_teardown(steering_follows_the_connection_id, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
