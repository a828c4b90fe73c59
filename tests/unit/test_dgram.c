/*
 * A connected UDP socket and a service at its other end: real sockets over loopback.
 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "back/dgram.h"
#include "link_world.h"

struct scene {
    struct world *w;
    struct dgram_shared shared;
    struct dgram *dgram;
    int service; /* bound */
    struct sockaddr_storage at, from;
    socklen_t at_len, from_len;
    /* what was heard */
    size_t received, failed, bytes, most_in_a_step;
    int error;
    uint8_t last[DGRAM_MAX];
    size_t last_len;
    bool in_order;
    size_t close_after; /* received or failed; 0: never */
};

/* --- the holder --- */

static void close_perhaps(struct scene *s)
{
    if (s->close_after != s->received + s->failed)
        return;
    dgram_close(s->dgram);
    s->dgram = NULL;
}

static void on_received(void *user, const uint8_t *data, size_t len)
{
    struct scene *s = user;
    uint32_t number = (uint32_t)s->received;
    assert_non_null(s->dgram);
    if (len >= sizeof number && memcmp(data, &number, sizeof number) != 0)
        s->in_order = false;
    memcpy(s->last, data, len);
    s->last_len = len;
    s->received++;
    s->bytes += len;
    close_perhaps(s);
}

static void on_failed(void *user, int error)
{
    struct scene *s = user;
    assert_non_null(s->dgram);
    s->failed++;
    s->error = error;
    close_perhaps(s);
}

static const struct dgram_ops ops = {on_received, on_failed};

static void open_dgram(struct scene *s)
{
    int error = 0;
    s->dgram = dgram_open(&s->shared, &s->w->target, &ops, s, &error);
    assert_non_null(s->dgram);
}

/* --- the service --- */

static void bind_service(struct scene *s, bool v6)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&s->at;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&s->at;
    char address[64];
    const char *error = NULL;
    memset(&s->at, 0, sizeof s->at);
    if (v6) {
        in6->sin6_family = AF_INET6;
        in6->sin6_addr = in6addr_loopback;
    } else {
        in->sin_family = AF_INET;
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    s->at_len = v6 ? sizeof *in6 : sizeof *in;
    s->service = socket(s->at.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(s->service >= 0);
    assert_int_equal(bind(s->service, (struct sockaddr *)&s->at, s->at_len), 0);
    assert_int_equal(getsockname(s->service, (struct sockaddr *)&s->at, &s->at_len), 0);
    snprintf(address, sizeof address, v6 ? "udp:[::1]:%u" : "udp:127.0.0.1:%u",
             ntohs(v6 ? in6->sin6_port : in->sin_port));
    assert_true(world_target(s->w, address, &error));
}

static void close_service(struct scene *s)
{
    close(s->service);
    s->service = -1;
}

/* Its one datagram, and who sent it. */
static size_t service_hears(struct scene *s, uint8_t *to, size_t room)
{
    ssize_t n = -1;
    s->from_len = sizeof s->from;
    until(s->w,
          (n = recvfrom(s->service, to, room, 0, (struct sockaddr *)&s->from, &s->from_len)) >= 0);
    return (size_t)n;
}

static void service_says(struct scene *s, const void *data, size_t len)
{
    ssize_t n = sendto(s->service, data, len, 0, (struct sockaddr *)&s->from, s->from_len);
    assert_int_equal(n, len);
}

/* So that the service knows where to answer. */
static void meet(struct scene *s)
{
    uint8_t got[8];
    open_dgram(s);
    dgram_send(s->dgram, "hello", 5);
    assert_int_equal(service_hears(s, got, sizeof got), 5);
    assert_memory_equal(got, "hello", 5);
}

/* --- the scene --- */

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    void *world;
    world_setup(&world);
    s->w = world;
    s->shared = (struct dgram_shared){
        .env = &s->w->env, .loop = &s->w->loop, .read_buffer = malloc(DGRAM_BATCH * DGRAM_MAX)};
    s->shared.stage.bytes = malloc(DGRAM_MAX);
    assert_non_null(s->shared.read_buffer);
    assert_non_null(s->shared.stage.bytes);
    s->service = -1;
    s->in_order = true;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    void *world = s->w;
    if (s->dgram)
        dgram_close(s->dgram);
    assert_int_equal(s->shared.dgrams, 0);
    if (s->service >= 0)
        close_service(s);
    world_teardown(&world);
    free(s->shared.read_buffer);
    free(s->shared.stage.bytes);
    free(s);
    return 0;
}

/* --- tests --- */

static void datagrams_go_both_ways(void **state)
{
    struct scene *s = *state;
    uint8_t got[8];
    for (int v6 = 0; v6 < 2; v6++) {
        s->received = 0;
        bind_service(s, v6);
        meet(s);
        assert_int_equal(s->w->stats.links, 1);
        service_says(s, "answer", 6);
        until(s->w, s->received);
        assert_memory_equal(s->last, "answer", 6);
        assert_int_equal(s->last_len, 6);
        service_says(s, "", 0); /* which is no end */
        until(s->w, s->received == 2);
        assert_int_equal(s->last_len, 0);
        dgram_send(s->dgram, "", 0);
        assert_int_equal(service_hears(s, got, sizeof got), 0);
        assert_int_equal(s->failed, 0);
        dgram_close(s->dgram);
        s->dgram = NULL;
        close_service(s);
    }
}

static void only_the_service_is_heard(void **state)
{
    struct scene *s = *state;
    bind_service(s, false);
    meet(s);
    int stranger = socket(AF_INET, SOCK_DGRAM, 0);
    sendto(stranger, "hear me", 7, 0, (struct sockaddr *)&s->from, s->from_len);
    close(stranger);
    service_says(s, "mine", 4);
    until(s->w, s->received);
    assert_int_equal(s->last_len, 4);
    world_step(s->w);
    assert_int_equal(s->received, 1);
}

static void the_largest_goes_and_more_does_not(void **state)
{
    struct scene *s = *state;
    enum { LARGEST = 65535 - 20 - 8 };
    static uint8_t data[DGRAM_MAX], got[DGRAM_MAX];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 >> 3);
    bind_service(s, false);
    meet(s);
    dgram_send(s->dgram, data, LARGEST + 1);
    dgram_send(s->dgram, data, LARGEST);
    assert_int_equal(service_hears(s, got, sizeof got), LARGEST);
    assert_memory_equal(got, data, LARGEST);
    assert_int_equal(s->w->stats.datagrams_dropped, 1);
    memset(data, 0, 4);
    service_says(s, data, LARGEST);
    until(s->w, s->received);
    assert_int_equal(s->last_len, LARGEST);
    assert_memory_equal(s->last, data, LARGEST);
    assert_int_equal(s->failed, 0);
}

/* Runs of one size, smaller and larger ones, empty ones: what the kernel joins it takes apart. */
static void those_of_a_turn_arrive_one_by_one(void **state)
{
    static const size_t sizes[] = {100, 100, 100,  60,   100, 0, 0,    7,
                                   7,   8,   1200, 1200, 3,   3, 2000, 2000};
    enum { TIMES = 3, COUNT = TIMES * sizeof sizes / sizeof *sizes };
    struct scene *s = *state;
    uint8_t data[2000], got[4096];
    bind_service(s, false);
    meet(s);
    for (size_t round = 0; round < 5; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            memset(data, (int)i, sizeof data);
            dgram_send(s->dgram, data, sizes[i % (COUNT / TIMES)]);
        }
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = sizes[i % (COUNT / TIMES)];
            assert_int_equal(service_hears(s, got, sizeof got), size);
            memset(data, (int)i, sizeof data);
            assert_memory_equal(got, data, size);
        }
    }
    assert_int_equal(s->w->stats.datagrams_dropped, 0);
}

/* A run of one socket's ends where another one sends. */
static void sockets_that_take_turns_get_their_own(void **state)
{
    struct scene *s = *state;
    uint8_t got[8];
    int error = 0;
    bind_service(s, false);
    meet(s);
    struct dgram *other = dgram_open(&s->shared, &s->w->target, &ops, s, &error);
    struct sockaddr_storage first = s->from;
    for (uint8_t i = 0; i < 20; i++)
        dgram_send(i % 3 ? s->dgram : other, &i, 1);
    dgram_close(other); /* what it was given is sent */
    for (uint8_t i = 0; i < 20; i++) {
        assert_int_equal(service_hears(s, got, sizeof got), 1);
        assert_int_equal(got[0], i);
        assert_int_equal(memcmp(&first, &s->from, s->from_len) == 0, i % 3 != 0);
    }
}

static void many_come_in_order_and_over_several_turns(void **state)
{
    struct scene *s = *state;
    bind_service(s, false);
    meet(s);
    uint32_t sent = 0;
    for (; sent < 150; sent++)
        service_says(s, &sent, sizeof sent);
    size_t before = 0, most = 0, turns = 0;
    while (s->received < sent) {
        until(s->w, s->received > before);
        most = s->received - before > most ? s->received - before : most;
        before = s->received;
        turns++;
    }
    printf("# %u datagrams in %zu turns, at most %zu in one\n", sent, turns, most);
    assert_true(s->in_order);
    assert_in_range(most, 1, 64);
}

/* So often and so soon after each other that the socket rests. The clock stands nearly still. */
static void come_fast(struct scene *s)
{
    s->w->now += DGRAM_REST_NS; /* the first of them is not soon */
    for (size_t i = 0; i <= DGRAM_SOON; i++) {
        uint32_t number = (uint32_t)s->received;
        service_says(s, &number, sizeof number);
        until(s->w, s->received == number + 1);
    }
}

static void a_while_later(struct scene *s)
{
    s->w->now += DGRAM_REST_NS;
    world_step(s->w);
}

#define until_later(s, condition)                                                                  \
    until((s)->w, (condition) || ((s)->w->now += DGRAM_REST_NS, false))

static void those_that_come_fast_are_read_together(void **state)
{
    struct scene *s = *state;
    uint8_t got[8];
    bind_service(s, false);
    meet(s);
    come_fast(s);
    for (size_t round = 0; round < 3; round++) {
        uint32_t before = (uint32_t)s->received;
        for (uint32_t i = 0; i < 5; i++) {
            uint32_t number = before + i;
            service_says(s, &number, sizeof number);
            world_step(s->w);
        }
        assert_int_equal(s->received, before); /* nobody looks */
        dgram_send(s->dgram, "x", 1);          /* which does not wait */
        assert_int_equal(service_hears(s, got, sizeof got), 1);
        until_later(s, s->received == before + 5);
        a_while_later(s);
        a_while_later(s); /* nothing: then it is watched again */
        come_fast(s);
    }
    assert_true(s->in_order);
}

/* Each by itself, however many: an answer to what was just asked is not kept waiting. */
static void those_that_come_slowly_are_read_at_once(void **state)
{
    struct scene *s = *state;
    bind_service(s, false);
    meet(s);
    for (uint32_t number = 0; number < 20; number++) {
        s->w->now += DGRAM_REST_NS;
        service_says(s, &number, sizeof number);
        until(s->w, s->received == number + 1);
    }
    assert_true(s->in_order);
}

static void one_that_rests_is_told_of_errors_and_may_be_closed(void **state)
{
    struct scene *s = *state;
    size_t before = world_descriptors();
    bind_service(s, false);
    meet(s);
    come_fast(s);
    dgram_close(s->dgram);
    s->dgram = NULL;
    a_while_later(s);
    s->received = 0;
    meet(s);
    come_fast(s);
    service_says(s, "x", 1);
    service_says(s, "x", 1);
    s->close_after = s->received + 1;
    until_later(s, !s->dgram); /* from within that reading */
    s->received = s->close_after = 0;
    meet(s);
    come_fast(s);
    close_service(s);
    dgram_send(s->dgram, "x", 1);
    until_later(s, s->failed);
    assert_int_equal(s->error, ECONNREFUSED);
    dgram_close(s->dgram);
    s->dgram = NULL;
    world_step(s->w);
    assert_int_equal(world_descriptors(), before);
}

static void a_silent_service_is_told_and_may_come_back(void **state)
{
    struct scene *s = *state;
    uint8_t got[8];
    bind_service(s, false);
    meet(s);
    close_service(s);
    for (size_t i = 1; i < 4; i++) {
        dgram_send(s->dgram, "x", 1);
        until(s->w, s->failed == i);
        assert_int_equal(s->error, ECONNREFUSED);
    }
    s->service = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(s->service, (struct sockaddr *)&s->at, s->at_len), 0);
    dgram_send(s->dgram, "again", 5);
    assert_int_equal(service_hears(s, got, sizeof got), 5);
    service_says(s, "here", 4);
    until(s->w, s->received);
    assert_int_equal(s->failed, 3);
}

/* What a router says when a datagram does not fit into the next network (RFC 792, RFC 1191). The
 * system remembers the size for all that use the loopback: it is the one that it has. */
static bool say_too_large(const struct scene *s)
{
    const struct sockaddr_in *from = (const struct sockaddr_in *)&s->from;
    const struct sockaddr_in *at = (const struct sockaddr_in *)&s->at;
    struct {
        struct icmphdr icmp;
        struct iphdr ip;
        struct udphdr udp;
    } message = {
        .icmp = {.type = ICMP_DEST_UNREACH, .code = ICMP_FRAG_NEEDED, .un.frag.mtu = htons(65535)},
        .ip = {.version = 4,
               .ihl = 5,
               .tot_len = htons(1400),
               .ttl = 64,
               .protocol = IPPROTO_UDP,
               .saddr = from->sin_addr.s_addr,
               .daddr = at->sin_addr.s_addr},
        .udp = {.source = from->sin_port, .dest = at->sin_port, .len = htons(1380)},
    };
    uint16_t words[sizeof message / 2];
    uint32_t sum = 0;
    memcpy(words, &message, sizeof message);
    for (size_t i = 0; i < sizeof message / 2; i++)
        sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
    message.icmp.checksum = (uint16_t) ~(sum + (sum >> 16));
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    if (fd < 0)
        return false;
    ssize_t n = sendto(fd, &message, sizeof message, 0, (const struct sockaddr *)from, s->from_len);
    assert_int_equal(n, sizeof message);
    close(fd);
    return true;
}

/* It says nothing of the service, and whoever sent that one must not keep others from it. */
static void one_that_was_too_large_for_the_path_is_no_error(void **state)
{
    struct scene *s = *state;
    uint8_t got[8];
    bind_service(s, false);
    meet(s);
    for (int i = 0; i < 2; i++) {
        if (!say_too_large(s))
            skip(); /* may not be said here */
        if (i == 0)
            world_step(s->w); /* read, or met by the next that is sent */
        dgram_send(s->dgram, "next", 4);
        turn_end(&s->w->turn);
        assert_int_equal(service_hears(s, got, sizeof got), 4);
    }
    service_says(s, "here", 4);
    until(s->w, s->received);
    assert_int_equal(s->failed, 0);
    assert_int_equal(s->w->stats.datagrams_dropped, 0);
}

/* The kernel tells what became of one when the next is sent, and does not send that. */
static void an_error_of_the_past_costs_no_datagram(void **state)
{
    struct scene *s = *state;
    uint8_t got[8];
    bind_service(s, false);
    struct pollfd wait = {.fd = world_next_descriptor(), .events = 0};
    meet(s);
    close_service(s);
    dgram_send(s->dgram, "lost", 4);
    turn_end(&s->w->turn);
    assert_int_equal(poll(&wait, 1, WATCHDOG_S * 1000), 1);
    assert_int_equal(wait.revents, POLLERR);
    s->service = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(s->service, (struct sockaddr *)&s->at, s->at_len), 0);
    dgram_send(s->dgram, "found", 5);
    assert_int_equal(s->failed, 0); /* not from within dgram_send */
    assert_int_equal(service_hears(s, got, sizeof got), 5);
    assert_memory_equal(got, "found", 5);
    until(s->w, s->failed == 1);
    assert_int_equal(s->error, ECONNREFUSED);
}

static void what_cannot_be_opened_is_told(void **state)
{
    struct scene *s = *state;
    const char *why = NULL;
    int error = 0;
    size_t before = world_descriptors();
    assert_true(world_target(s->w, "udp:255.255.255.255:9", &why));
    assert_null(dgram_open(&s->shared, &s->w->target, &ops, s, &error));
    assert_true(error == EACCES || error == ENETUNREACH); /* without a default route */
    assert_int_equal(world_descriptors(), before);
}

static void it_may_be_closed_at_every_moment(void **state)
{
    struct scene *s = *state;
    size_t before = world_descriptors();
    bind_service(s, false);
    open_dgram(s);
    dgram_close(s->dgram); /* before anything */
    meet(s);
    s->close_after = 3;
    for (uint32_t i = 0; i < 6; i++)
        service_says(s, &i, sizeof i);
    until(s->w, !s->dgram); /* while others of the same batch wait */
    world_step(s->w);
    assert_int_equal(s->received, 3);
    meet(s);
    close_service(s);
    s->received = 0;
    s->close_after = 1;
    dgram_send(s->dgram, "x", 1);
    until(s->w, !s->dgram); /* told of an error */
    bind_service(s, false);
    s->close_after = 0;
    meet(s);
    close_service(s);
    dgram_send(s->dgram, "x", 1);
    dgram_send(s->dgram, "x", 1);
    dgram_close(s->dgram); /* before it was told */
    s->dgram = NULL;
    world_step(s->w);
    assert_int_equal(s->failed, 1);
    assert_int_equal(world_descriptors(), before);
}

int main(void)
{
#define in_scene(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        in_scene(datagrams_go_both_ways),
        in_scene(those_of_a_turn_arrive_one_by_one),
        in_scene(sockets_that_take_turns_get_their_own),
        in_scene(only_the_service_is_heard),
        in_scene(the_largest_goes_and_more_does_not),
        in_scene(many_come_in_order_and_over_several_turns),
        in_scene(those_that_come_fast_are_read_together),
        in_scene(those_that_come_slowly_are_read_at_once),
        in_scene(one_that_rests_is_told_of_errors_and_may_be_closed),
        in_scene(a_silent_service_is_told_and_may_come_back),
        in_scene(one_that_was_too_large_for_the_path_is_no_error),
        in_scene(an_error_of_the_past_costs_no_datagram),
        in_scene(what_cannot_be_opened_is_told),
        in_scene(it_may_be_closed_at_every_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
