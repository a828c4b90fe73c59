/*
 * Real workers on real sockets of the loopback interface, without clients: how they answer, pass
 * packets on, and end.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "address.h"
#include "base/timers.h"
#include "certificate.h"
#include "front/udp.h"
#include "../support/settings.h"
#include "relay.h"
#include "worker.h"

enum { MAX_WORKERS = 2 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int counted, ended, forwarded, configured, released, listening, idle;
    unsigned forwarded_to;
    bool refuse;
    struct worker *workers[MAX_WORKERS];
    struct packet_address addresses[MAX_WORKERS];
    struct certificate *certificate;
    struct worker_settings settings, other_settings;
    const struct worker_settings *released_last;
    struct log log;
} world = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void note(int *number)
{
    pthread_mutex_lock(&world.lock);
    ++*number;
    pthread_cond_broadcast(&world.changed);
    pthread_mutex_unlock(&world.lock);
}

static void wait_for(const int *number, int least)
{
    pthread_mutex_lock(&world.lock);
    while (*number < least)
        pthread_cond_wait(&world.changed, &world.lock);
    pthread_mutex_unlock(&world.lock);
}

static void counted(void *user, unsigned index, const struct stats *stats,
                    const struct tally *tally)
{
    assert_int_equal(tally->count, 1);
    assert_string_equal(tally->rows[0].address, "unix:/nonexistent");
    assert_int_equal(tally->rows[0].up, 1);
    (void)user;
    (void)index;
    (void)stats;
    note(&world.counted);
}

static bool forward(void *user, unsigned index, const struct packet *p)
{
    (void)user;
    bool taken = !world.refuse && worker_receive(world.workers[index], p);
    world.forwarded_to = index;
    note(&world.forwarded);
    return taken;
}

static void ended(void *user, unsigned index)
{
    (void)user;
    (void)index;
    note(&world.ended);
}

static void configured(void *user, unsigned index)
{
    (void)user;
    (void)index;
    note(&world.configured);
}

static void released(void *user, unsigned index, const struct worker_settings *settings)
{
    (void)user;
    (void)index;
    world.released_last = settings;
    note(&world.released);
}

static void listening(void *user, unsigned index)
{
    (void)user;
    (void)index;
    note(&world.listening);
}

static void idle(void *user, unsigned index, unsigned listener)
{
    (void)user;
    (void)index;
    assert_int_equal(listener, 3);
    note(&world.idle);
}

static const struct worker_ops ops = {.counted = counted,
                                      .forward = forward,
                                      .configured = configured,
                                      .released = released,
                                      .listening = listening,
                                      .idle = idle,
                                      .ended = ended};

static const char *const nowhere = "unix:/nonexistent";
static const struct worker_backend backend = {
    .upstream = {.addresses = &nowhere, .address_count = 1, UPSTREAM_SETTINGS},
    .identity = "the one"};
static const struct relay_route relayed = {.stream_window = 1 << 18,
                                           .session_window = 1 << 20,
                                           .max_pending_streams = 10,
                                           .max_frame = 1 << 20,
                                           .datagram_queue = 10};
static const struct admission_route route = {.name = "default", .relay = &relayed};

static struct worker_sockets_wanted bound(unsigned id, struct packet_address *to)
{
    char error[256];
    struct udp_binding binding = {.kernel_buffer = 0};

    assert_int_equal(address_resolve("127.0.0.1:0", &binding.address, 1, error, sizeof(error)), 1);
    int fd = udp_bind(&binding, to, error, sizeof(error));
    assert_true(fd >= 0);
    return (struct worker_sockets_wanted){.count = 1, .at = {{.id = id, .fd = fd}}};
}

static struct worker_config config_of(unsigned index)
{
    struct worker_config c = {
        .index = index,
        .count = MAX_WORKERS,
        .log = world.log,
        .endpoint = {.server_id = 0x12, .generation = 7},
        .settings = &world.settings,
    };

    c.sockets = bound(index + 1, &world.addresses[index]);
    return c;
}

static struct worker_settings settings_of(const struct worker_backend *of)
{
    return (struct worker_settings){
        .wt = {.tls = certificate_context(world.certificate),
               .is_server = true,
               .connection_window = 1 << 20,
               .stream_window = 1 << 18,
               .max_streams_bidi = 10,
               .max_streams_uni = 10,
               .stream_send_limit = 1 << 18,
               .datagram_queue = 10,
               .max_header_bytes = 8192},
        .backends = of,
        .backend_count = 1,
        .intake = {.unproven = 10, .all = {.handshakes = 10}},
        .log_level = LOG_OFF,
        .admission = {.routes = &route, .route_count = 1, .max_sessions = 10},
        .drain_timeout_ns = UINT64_C(1000000000),
    };
}

static int setup(void **state)
{
    char error[256] = "";

    (void)state;
    world.counted = world.ended = world.forwarded = world.configured = world.released = 0;
    world.listening = world.idle = 0;
    world.refuse = false;
    log_init(&world.log, STDERR_FILENO, LOG_OFF);
    const struct certificate_source automatic = {.cert_file = NULL};
    world.certificate = certificate_new(&automatic, 1, time(NULL), error, sizeof(error));
    world.settings = settings_of(&backend);
    for (unsigned i = 0; i < MAX_WORKERS; i++) {
        struct worker_config c = config_of(i);
        world.workers[i] = worker_new(&c, &ops, NULL, error, sizeof(error));
        if (!world.workers[i] || worker_start(world.workers[i]) < 0)
            return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < MAX_WORKERS; i++) {
        assert_null(stats_alive(worker_stats(world.workers[i])));
        worker_free(world.workers[i]);
    }
    certificate_free(world.certificate);
    return 0;
}

static void end_all(void)
{
    for (unsigned i = 0; i < MAX_WORKERS; i++)
        worker_close(world.workers[i]);
    wait_for(&world.ended, MAX_WORKERS);
}

/* A packet with a short header, whose connection id names this worker. */
static void send_stray(const struct packet_address *address, uint8_t names_worker)
{
    uint8_t packet[64] = {0x40, ENDPOINT_CID_LEN - 1, 0, 0x12, 7, names_worker, 1, 2, 3};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    assert_int_equal(sendto(fd, packet, sizeof(packet), 0, &address->sa.any, address->len),
                     sizeof(packet));
    close(fd);
}

static void test_counts_until_it_has_ended(void **state)
{
    (void)state;
    assert_true(worker_count(world.workers[0]));
    wait_for(&world.counted, 1);
    end_all();
    assert_false(worker_count(world.workers[0]));
}

static void test_drains_at_once_without_sessions(void **state)
{
    (void)state;
    worker_drain(world.workers[0]);
    worker_drain(world.workers[1]);
    wait_for(&world.ended, MAX_WORKERS);
}

static void test_passes_packets_on(void **state)
{
    (void)state;
    send_stray(&world.addresses[0], 1);
    wait_for(&world.forwarded, 1);
    assert_int_equal(world.forwarded_to, 1);
    end_all();
    assert_int_equal(worker_stats(world.workers[0])->packets_forwarded, 1);
    /* Worker 1 does not know the connection either, and does not send the packet round. */
    assert_int_equal(worker_stats(world.workers[1])->packets_forwarded, 0);
    assert_int_equal(world.forwarded, 1);
}

static void test_drops_what_the_other_has_no_room_for(void **state)
{
    (void)state;
    world.refuse = true;
    send_stray(&world.addresses[0], 1);
    wait_for(&world.forwarded, 1);
    end_all();
    assert_int_equal(worker_stats(world.workers[0])->packets_dropped, 1);
}

/* Without sessions the old settings go at once, and with them the application that has changed. */
static void test_takes_other_settings(void **state)
{
    static const struct worker_backend other = {
        .upstream = {.addresses = &nowhere, .address_count = 1, UPSTREAM_SETTINGS},
        .identity = "another one"};

    (void)state;
    world.other_settings = settings_of(&other);
    for (unsigned i = 0; i < MAX_WORKERS; i++)
        assert_true(worker_configure(world.workers[i], &world.other_settings));
    wait_for(&world.configured, MAX_WORKERS);
    wait_for(&world.released, MAX_WORKERS);
    assert_ptr_equal(world.released_last, &world.settings);
    assert_true(worker_count(world.workers[0]));
    wait_for(&world.counted, 1);
    for (unsigned i = 0; i < MAX_WORKERS; i++)
        assert_true(worker_configure(world.workers[i], &world.settings));
    wait_for(&world.released, 2 * MAX_WORKERS);
    end_all();
    assert_false(worker_configure(world.workers[0], &world.settings));
}

static bool can_be_bound(const struct packet_address *address)
{
    struct udp_binding binding = {.address = *address};
    struct packet_address to;
    char error[256];
    int fd = udp_bind(&binding, &to, error, sizeof(error));

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void test_takes_other_sockets(void **state)
{
    struct packet_address address;
    struct worker_sockets_wanted wanted = bound(100, &address);

    (void)state;
    wanted.at[wanted.count++] = (struct worker_socket){.id = 1, .fd = -1};
    send_stray(&address, 1); /* waits in the socket */
    assert_true(worker_listen(world.workers[0], &wanted));
    wait_for(&world.forwarded, 1);
    wait_for(&world.listening, 1);
    send_stray(&world.addresses[0], 1);
    wait_for(&world.forwarded, 2);
    wanted = (struct worker_sockets_wanted){.count = 1, .at = {{.id = 100, .fd = -1}}};
    assert_false(can_be_bound(&world.addresses[0]));
    assert_true(worker_listen(world.workers[0], &wanted));
    wait_for(&world.listening, 2);
    assert_true(can_be_bound(&world.addresses[0]));
    send_stray(&address, 1);
    wait_for(&world.forwarded, 3);
    end_all();
    assert_true(can_be_bound(&address));
    wanted = bound(101, &address);
    assert_false(worker_listen(world.workers[0], &wanted));
    assert_int_equal(close(wanted.at[0].fd), 0); /* it is still ours */
}

static void test_closes_what_it_is_given_too_late(void **state)
{
    struct packet_address address;
    struct worker_sockets_wanted wanted = bound(100, &address);

    (void)state;
    worker_close(world.workers[0]);
    if (!worker_listen(world.workers[0], &wanted))
        close(wanted.at[0].fd);
    end_all();
    assert_true(can_be_bound(&address));
}

static void test_tells_that_a_retired_listener_is_idle(void **state)
{
    (void)state;
    world.other_settings = settings_of(&backend);
    world.other_settings.intake.listeners[3].is_retired = true;
    for (unsigned i = 0; i < MAX_WORKERS; i++)
        assert_true(worker_configure(world.workers[i], &world.other_settings));
    wait_for(&world.idle, MAX_WORKERS);
    end_all();
    assert_int_equal(world.idle, MAX_WORKERS); /* once each */
}

static void test_says_what_is_wrong(void **state)
{
    struct worker_config c = config_of(0);
    char error[256] = "";

    (void)state;
    const char *nonsense = "nonsense";
    struct worker_backend wrong = backend;
    wrong.upstream.addresses = &nonsense;
    struct worker_settings settings = settings_of(&wrong);
    c.settings = &settings;
    assert_null(worker_new(&c, &ops, NULL, error, sizeof(error)));
    assert_string_equal(error, "backend app: an application's address is "
                               "unix:PATH or tcp:HOST:PORT");
    assert_true(can_be_bound(&world.addresses[0])); /* what was for the worker is closed, too */
    end_all();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_counts_until_it_has_ended),
        TEST(test_drains_at_once_without_sessions),
        TEST(test_passes_packets_on),
        TEST(test_drops_what_the_other_has_no_room_for),
        TEST(test_takes_other_settings),
        TEST(test_says_what_is_wrong),
        TEST(test_takes_other_sockets),
        TEST(test_closes_what_it_is_given_too_late),
        TEST(test_tells_that_a_retired_listener_is_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
