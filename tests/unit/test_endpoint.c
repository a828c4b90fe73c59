/*
 * test_endpoint - connection ids, and the answers that need no connection.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>

#include "base/stats.h"
#include "base/timers.h"
#include "base/turn.h"
#include "front/endpoint.h"

struct fixture {
    uint64_t now;
    struct stats stats;
    struct turn turn;
    struct env env;
    struct log log;
    struct endpoint *e;
    /* what was sent, misdirected, accepted */
    uint8_t sent[2000];
    size_t sent_len, sent_count, misdirected, accepted, accepted_ours;
    unsigned misdirected_to;
    struct packet_address sent_to;
};

struct catcher {
    struct endpoint_peer peer;
    size_t count, len;
    uint8_t first;
};

static uint64_t now_ns(void *clock)
{
    return *(uint64_t *)clock;
}

static void transmit(void *user, const struct packet *p)
{
    struct fixture *f = user;
    assert_true(p->len <= sizeof(f->sent));
    memcpy(f->sent, p->data, p->len);
    f->sent_len = p->len;
    f->sent_to = p->remote;
    f->sent_count++;
}

static void misdirected(void *user, unsigned worker, const struct packet *p)
{
    struct fixture *f = user;
    (void)p;
    f->misdirected++;
    f->misdirected_to = worker;
}

static void accept_packet(void *user, const struct packet *p, bool is_ours)
{
    struct fixture *f = user;
    (void)p;
    f->accepted++;
    f->accepted_ours += is_ours;
}

static void caught(void *owner, const struct packet *p)
{
    struct catcher *c = owner;
    c->count++;
    c->len = p->len;
    c->first = p->data[0];
    assert_int_equal(p->segment_size, 0);
}

static const struct endpoint_ops ops = {.transmit = transmit, .misdirected = misdirected};
static const struct endpoint_config config = {
    .server_id = 0xabcd, .generation = 9, .worker = 2, .workers = 4, .reset_key = {1, 2, 3}};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->now = 1000 * NS_PER_S;
    log_init(&f->log, 2, LOG_OFF);
    turn_init(&f->turn);
    f->env = (struct env){.timers = timers_new(now_ns, &f->now),
                          .turn = &f->turn,
                          .stats = &f->stats,
                          .log = &f->log,
                          .hash_key = {7}};
    f->e = endpoint_new(&f->env, &config, &ops, f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    endpoint_free(f->e);
    timers_free(f->env.timers);
    free(f);
    return 0;
}

static void receive(struct fixture *f, const uint8_t *data, size_t len, size_t segment)
{
    struct packet p = {.data = data, .len = len, .segment_size = segment};
    p.remote.len = sizeof(p.remote.sa.v4);
    p.remote.sa.v4.sin_family = AF_INET;
    p.remote.sa.v4.sin_port = htons(1234);
    endpoint_receive(f->e, &p);
}

static size_t short_packet(uint8_t *to, const uint8_t *cid, size_t len)
{
    memset(to, 0x40, len);
    memcpy(to + 1, cid, ENDPOINT_CID_LEN);
    return len;
}

static size_t long_packet(uint8_t *to, uint32_t version, const uint8_t *dcid, uint8_t dcid_len,
                          size_t len)
{
    memset(to, 0, len);
    to[0] = 0xc0;
    version = htonl(version);
    memcpy(to + 1, &version, 4);
    to[5] = dcid_len;
    memcpy(to + 6, dcid, dcid_len);
    to[6 + dcid_len] = 4;
    memcpy(to + 7 + dcid_len, "scid", 4);
    return len;
}

static void ids_have_the_layout(void **state)
{
    struct fixture *f = *state;
    struct catcher c = {0};
    uint8_t a[ENDPOINT_CID_LEN], b[ENDPOINT_CID_LEN];
    endpoint_peer_init(&c.peer, caught, &c);
    endpoint_make_cid(f->e, &c.peer, a);
    endpoint_make_cid(f->e, &c.peer, b);
    const uint8_t head[] = {15, 0xab, 0xcd, 9, 2};
    assert_memory_equal(a, head, sizeof(head));
    assert_memory_equal(b, head, sizeof(head));
    assert_memory_not_equal(a, b, sizeof(a));
    endpoint_forget(f->e, &c.peer);
}

static void packets_reach_their_peer(void **state)
{
    struct fixture *f = *state;
    struct catcher c = {0}, d = {0};
    uint8_t id[ENDPOINT_CID_LEN], packet[1200];
    endpoint_peer_init(&c.peer, caught, &c);
    endpoint_peer_init(&d.peer, caught, &d);
    endpoint_make_cid(f->e, &c.peer, id);

    receive(f, packet, short_packet(packet, id, 50), 0);
    assert_int_equal(c.count, 1);
    receive(f, packet, long_packet(packet, 1, id, ENDPOINT_CID_LEN, 100), 0);
    assert_int_equal(c.count, 2);

    /* an id that a client made up */
    const uint8_t theirs[] = "client chose";
    assert_true(endpoint_map(f->e, &c.peer, theirs, 12));
    assert_true(endpoint_map(f->e, &c.peer, theirs, 12));
    assert_false(endpoint_map(f->e, &d.peer, theirs, 12));
    receive(f, packet, long_packet(packet, 1, theirs, 12, 1200), 0);
    assert_int_equal(c.count, 3);
    endpoint_unmap(f->e, &c.peer, theirs, 12);
    receive(f, packet, long_packet(packet, 1, theirs, 12, 1200), 0);
    assert_int_equal(c.count, 3);

    endpoint_hand_over(&c.peer, &d.peer);
    receive(f, packet, short_packet(packet, id, 50), 0);
    assert_int_equal(c.count, 3);
    assert_int_equal(d.count, 1);
    endpoint_forget(f->e, &d.peer);
    receive(f, packet, short_packet(packet, id, 20), 0);
    assert_int_equal(d.count, 1);
    assert_int_equal(f->stats.packets_received, 6);
    assert_int_equal(f->stats.packets_dropped, 2);
}

static void segments_are_parted(void **state)
{
    struct fixture *f = *state;
    struct catcher c = {0};
    uint8_t id[ENDPOINT_CID_LEN], packet[130];
    endpoint_peer_init(&c.peer, caught, &c);
    endpoint_make_cid(f->e, &c.peer, id);
    short_packet(packet, id, 50);
    short_packet(packet + 50, id, 50);
    short_packet(packet + 100, id, 30);
    receive(f, packet, 130, 50);
    assert_int_equal(c.count, 3);
    assert_int_equal(c.len, 30);
    endpoint_forget(f->e, &c.peer);
}

static void initials_go_to_the_listener(void **state)
{
    struct fixture *f = *state;
    uint8_t packet[1200], ours[ENDPOINT_CID_LEN] = {15, 0xab, 0xcd, 9, 2, 1};
    receive(f, packet, long_packet(packet, 1, (const uint8_t *)"12345678", 8, 1200), 0);
    assert_int_equal(f->accepted, 0);
    endpoint_listen(f->e, accept_packet, f);
    receive(f, packet, long_packet(packet, 1, (const uint8_t *)"12345678", 8, 1200), 0);
    assert_int_equal(f->accepted, 1);
    assert_int_equal(f->accepted_ours, 0);
    /* late for a connection of ours that is gone, or the answer to a Retry */
    receive(f, packet, long_packet(packet, 1, ours, sizeof(ours), 1200), 0);
    assert_int_equal(f->accepted, 2);
    assert_int_equal(f->accepted_ours, 1);
    endpoint_listen(f->e, NULL, NULL);
}

static void other_workers_packets_go_there(void **state)
{
    struct fixture *f = *state;
    uint8_t packet[1200], id[ENDPOINT_CID_LEN] = {15, 0xab, 0xcd, 9, 3, 1};
    receive(f, packet, short_packet(packet, id, 100), 0);
    assert_int_equal(f->misdirected, 1);
    assert_int_equal(f->misdirected_to, 3);
    receive(f, packet, long_packet(packet, 1, id, sizeof(id), 1200), 0);
    assert_int_equal(f->misdirected, 2);
    id[ENDPOINT_CID_WORKER] = 4; /* there is no such worker */
    receive(f, packet, short_packet(packet, id, 100), 0);
    id[ENDPOINT_CID_WORKER] = 1;
    id[3] = 8; /* another generation */
    receive(f, packet, short_packet(packet, id, 100), 0);
    assert_int_equal(f->misdirected, 2);
    assert_int_equal(f->stats.packets_forwarded, 2);
}

static void unknown_versions_are_negotiated(void **state)
{
    struct fixture *f = *state;
    uint8_t packet[1200], big[255];
    memset(big, 0x77, sizeof(big));
    receive(f, packet, long_packet(packet, 0x0a0a0a0a, big, 20, 1200), 0);
    assert_int_equal(f->sent_count, 0); /* nobody listens */
    endpoint_listen(f->e, accept_packet, f);
    receive(f, packet, long_packet(packet, 0x0a0a0a0a, big, 255, 1200), 0);
    assert_int_equal(f->sent_count, 1);
    assert_true(f->sent[0] & 0x80);
    const uint8_t head[] = {0, 0, 0, 0, 4, 's', 'c', 'i', 'd', 255, 0x77};
    assert_memory_equal(f->sent + 1, head, sizeof(head));
    const uint8_t versions[] = {0x6b, 0x33, 0x43, 0xcf, 0, 0, 0, 1};
    assert_memory_equal(f->sent + f->sent_len - sizeof(versions), versions, sizeof(versions));
    assert_int_equal(f->sent_to.sa.v4.sin_port, htons(1234));
    /* a draft of version 1 */
    receive(f, packet, long_packet(packet, 0xff00001d, big, 8, 1200), 0);
    assert_int_equal(f->sent_count, 2);
    assert_int_equal(f->stats.faults[FAULT_QUIC_VERSION], 2);
    /* too small to begin a connection; a version negotiation itself */
    receive(f, packet, long_packet(packet, 0x0a0a0a0a, big, 8, 1199), 0);
    receive(f, packet, long_packet(packet, 0, big, 8, 1200), 0);
    assert_int_equal(f->sent_count, 2);
    assert_int_equal(f->accepted, 0);
    /* version 2, RFC 9369 */
    receive(f, packet, long_packet(packet, 0x6b3343cf, big, 8, 1200), 0);
    assert_int_equal(f->sent_count, 2);
    assert_int_equal(f->accepted, 1);
    endpoint_listen(f->e, NULL, NULL);
}

static void strangers_are_reset_but_not_without_end(void **state)
{
    struct fixture *f = *state;
    struct catcher c = {0};
    uint8_t packet[100], token[ENDPOINT_RESET_TOKEN_LEN];
    uint8_t id[ENDPOINT_CID_LEN] = {15, 0xab, 0xcd, 9, 2, 42};
    endpoint_reset_token(f->e, id, sizeof(id), token);
    receive(f, packet, short_packet(packet, id, 100), 0);
    assert_int_equal(f->sent_count, 1);
    assert_true(f->sent_len >= 21 && f->sent_len <= 99);
    assert_int_equal(f->sent[0] & 0xc0, 0x40);
    assert_memory_equal(f->sent + f->sent_len - sizeof(token), token, sizeof(token));
    /* always shorter than what asks for it, so nothing for the shortest */
    receive(f, packet, short_packet(packet, id, 22), 0);
    assert_int_equal(f->sent_count, 2);
    assert_int_equal(f->sent_len, 21);
    receive(f, packet, short_packet(packet, id, 21), 0);
    assert_int_equal(f->sent_count, 2);
    for (int i = 0; i < 1000; i++)
        receive(f, packet, short_packet(packet, id, 100), 0);
    assert_int_equal(f->sent_count, 100);
    f->now += NS_PER_S;
    receive(f, packet, short_packet(packet, id, 100), 0);
    assert_int_equal(f->sent_count, 101);

    assert_int_equal(f->stats.resets_sent, 101);
    /* of an earlier run, and of another server */
    id[3] = 8;
    receive(f, packet, short_packet(packet, id, 100), 0);
    assert_int_equal(f->sent_count, 102);
    id[2] = 0xce;
    receive(f, packet, short_packet(packet, id, 100), 0);
    assert_int_equal(f->sent_count, 102);

    /* a reset of a peer's finds its connection by the token */
    endpoint_peer_init(&c.peer, caught, &c);
    endpoint_map_token(f->e, &c.peer, token);
    short_packet(packet, id, 40);
    memcpy(packet + 40 - sizeof(token), token, sizeof(token));
    receive(f, packet, 40, 0);
    assert_int_equal(c.count, 1);
    assert_int_equal(f->sent_count, 102);
    endpoint_unmap_token(f->e, &c.peer, token);
    receive(f, packet, 40, 0);
    assert_int_equal(c.count, 1);
    endpoint_forget(f->e, &c.peer);
}

static void garbage_is_dropped(void **state)
{
    struct fixture *f = *state;
    uint8_t packet[1300];
    endpoint_listen(f->e, accept_packet, f);
    for (unsigned first = 0; first < 256; first++)
        for (size_t len = 1; len < 40; len++) {
            memset(packet, (int)(first * len), sizeof(packet));
            packet[0] = (uint8_t)first;
            uint8_t *exact = malloc(len); /* so that ASan sees a read beyond */
            memcpy(exact, packet, len);
            receive(f, exact, len, 0);
            free(exact);
        }
    assert_true(f->stats.packets_dropped > 0);
    endpoint_listen(f->e, NULL, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(ids_have_the_layout),
        TEST(packets_reach_their_peer),
        TEST(segments_are_parted),
        TEST(initials_go_to_the_listener),
        TEST(other_workers_packets_go_there),
        TEST(unknown_versions_are_negotiated),
        TEST(strangers_are_reset_but_not_without_end),
        TEST(garbage_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
