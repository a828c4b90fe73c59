/*
 * world - the pretend network and its clock. See world.h.
 *
 * Owns the hosts, what they share (env, endpoint, credentials), and the packets under way, which
 * lie in a list in the order of their arrival.
 */
#include "support/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <arpa/inet.h>

#include "base/budget.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/timers.h"
#include "base/turn.h"

#define HOSTS_MAX   16
#define PORT        4433
#define DEFAULT_MTU 1472
#define START_NS    (1000 * NS_PER_S)
#define SEEDS       3
#define SLOW_LOOP   10000000 /* events without an end: a loop, not a test */

struct flight {
    TAILQ_ENTRY(flight) entry;
    uint64_t due_ns;
    struct world_host *to;
    struct packet packet;
    uint8_t data[];
};

struct world_host {
    struct budget memory;
    struct world *world;
    const char *name;
    struct env env;
    struct stats stats;
    struct turn turn;
    struct log log;
    struct endpoint *endpoint;
    struct packet_address address; /* where it is reached */
    struct packet_address seen;    /* where its packets seem to come from */
};

struct world {
    uint64_t now_ns, random, lost;
    struct world_link link;
    struct world_host *hosts[HOSTS_MAX];
    unsigned host_count;
    TAILQ_HEAD(flights, flight) flights;
    struct tls_context *tls_server, *tls_client;
    void (*turn_ended)(void *arg);
    void *turn_ended_arg;
};

/* --- chance --- */

/* splitmix64, by Sebastiano Vigna, in the public domain. */
static uint64_t next_random(struct world *w)
{
    uint64_t z = (w->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t world_random(struct world *w, uint64_t below)
{
    return below ? next_random(w) % below : 0;
}

static bool happens(struct world *w, double probability)
{
    return (double)(next_random(w) >> 11) * 0x1p-53 < probability;
}

void world_each_seed(void (*test)(uint64_t seed))
{
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 0) : 1;
    uint64_t count = one ? 1 : many ? strtoull(many, NULL, 0) : SEEDS;
    for (uint64_t seed = first; seed < first + count; seed++) {
        fprintf(stderr, "# seed %llu\n", (unsigned long long)seed);
        test(seed);
    }
}

/* --- the network --- */

static struct world_host *find_host(struct world *w, const struct packet_address *address)
{
    for (unsigned i = 0; i < w->host_count; i++)
        if (w->hosts[i]->address.sa.v4.sin_addr.s_addr == address->sa.v4.sin_addr.s_addr)
            return w->hosts[i];
    return NULL;
}

static void take_off(struct world_host *from, struct world_host *to, const struct packet *p)
{
    struct world *w = from->world;
    struct flight *f = malloc(sizeof(*f) + p->len), *before;
    assert(f);
    memcpy(f->data, p->data, p->len);
    f->packet = (struct packet){
        .data = f->data, .len = p->len, .ecn = p->ecn, .local = to->address, .remote = from->seen};
    f->to = to;
    f->due_ns = w->now_ns + w->link.delay_ns + world_random(w, w->link.jitter_ns);
    TAILQ_FOREACH_REVERSE(before, &w->flights, flights, entry)
    if (before->due_ns <= f->due_ns)
        break;
    if (before)
        TAILQ_INSERT_AFTER(&w->flights, before, f, entry);
    else
        TAILQ_INSERT_HEAD(&w->flights, f, entry);
}

static void transmit(void *user, const struct packet *p)
{
    struct world_host *from = user, *to = find_host(from->world, &p->remote);
    struct world *w = from->world;
    size_t step = p->segment_size ? p->segment_size : p->len;

    for (size_t at = 0; at < p->len; at += step) {
        struct packet one = *p;
        one.data = p->data + at;
        one.len = p->len - at < step ? p->len - at : step;
        if (!to || one.len > (w->link.mtu ? w->link.mtu : DEFAULT_MTU) ||
            happens(w, w->link.loss)) {
            w->lost++;
            continue;
        }
        take_off(from, to, &one);
        if (happens(w, w->link.duplication))
            take_off(from, to, &one);
    }
}

void world_set_link(struct world *w, const struct world_link *link)
{
    w->link = *link;
}

void world_set_bad_link(struct world *w)
{
    w->link = (struct world_link){
        .delay_ns = 10 * NS_PER_MS, .jitter_ns = 5 * NS_PER_MS, .loss = 0.03, .duplication = 0.01};
}

uint64_t world_lost(const struct world *w)
{
    return w->lost;
}

/* --- hosts --- */

static uint64_t now_ns(void *clock)
{
    return ((struct world *)clock)->now_ns;
}

uint64_t world_now(const struct world *w)
{
    return w->now_ns;
}

static const struct endpoint_ops endpoint_ops = {.transmit = transmit};

struct world_host *world_host(struct world *w, const char *name)
{
    struct world_host *h = calloc(1, sizeof(*h));
    struct endpoint_config config = {
        .server_id = 1, .workers = 1, .intake = {.unproven = 128, .all = {.handshakes = 4096}}};
    assert(h && w->host_count < HOSTS_MAX);
    h->world = w;
    h->name = name;
    w->hosts[w->host_count++] = h;
    turn_init(&h->turn);
    log_init(&h->log, 2, getenv("WORLD_LOG") ? LOG_DEBUG : LOG_OFF);
    h->env.timers = timers_new(now_ns, w);
    h->env.turn = &h->turn;
    h->env.stats = &h->stats;
    h->env.log = &h->log;
    budget_init(&h->memory, NULL, UINT64_MAX, &h->stats.memory_bytes);
    h->env.memory = &h->memory;
    for (size_t i = 0; i < sizeof(h->env.hash_key); i++)
        h->env.hash_key[i] = (uint8_t)next_random(w);
    h->address.len = sizeof(h->address.sa.v4);
    h->address.sa.v4 = (struct sockaddr_in){.sin_family = AF_INET,
                                            .sin_port = htons(PORT),
                                            .sin_addr.s_addr = htonl(0x0a000000 + w->host_count)};
    h->seen = h->address;
    config.generation = (uint8_t)w->host_count;
    memset(config.reset_key, (int)w->host_count, sizeof(config.reset_key));
    memset(config.token_key, (int)w->host_count, sizeof(config.token_key));
    h->endpoint = endpoint_new(&h->env, &config, &endpoint_ops, h);
    return h;
}

struct env *world_env(struct world_host *h)
{
    return &h->env;
}

struct endpoint *world_endpoint(struct world_host *h)
{
    return h->endpoint;
}

const struct sockaddr *world_address(const struct world_host *h, socklen_t *len)
{
    *len = h->address.len;
    return &h->address.sa.any;
}

void world_rebind(struct world_host *h)
{
    h->seen.sa.v4.sin_port = htons((uint16_t)(ntohs(h->seen.sa.v4.sin_port) + 1));
}

static void host_free(struct world_host *h)
{
    const struct stats_row *alive = stats_alive(&h->stats);
    if (alive) {
        fprintf(stderr, "# %s: %s is %llu at the end, not 0\n", h->name, alive->name,
                (unsigned long long)stats_value(&h->stats, alive));
        abort();
    }
    endpoint_free(h->endpoint);
    timers_free(h->env.timers);
    free(h);
}

/* --- credentials --- */

static void make_credentials(struct world *w)
{
    static const char *const names[] = {"localhost"};
    char error[256] = "";
    struct tls_certificate *cert =
        tls_certificate_make(names, 1, 13, time(NULL), error, sizeof(error));
    assert(cert);
    w->tls_client = tls_context_new_client(tls_certificate_hash(cert), error, sizeof(error));
    w->tls_server = tls_context_new_server(cert, error, sizeof(error));
    assert(w->tls_client && w->tls_server);
}

struct tls_context *world_tls_server(struct world *w)
{
    if (!w->tls_server)
        make_credentials(w);
    return w->tls_server;
}

struct tls_context *world_tls_client(struct world *w)
{
    if (!w->tls_client)
        make_credentials(w);
    return w->tls_client;
}

/* --- the world --- */

struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));
    assert(w);
    w->random = seed;
    w->now_ns = START_NS;
    w->link.delay_ns = 10 * NS_PER_MS;
    TAILQ_INIT(&w->flights);
    return w;
}

void world_free(struct world *w)
{
    struct flight *f;
    world_settle(w);
    while ((f = TAILQ_FIRST(&w->flights))) {
        TAILQ_REMOVE(&w->flights, f, entry);
        free(f);
    }
    for (unsigned i = 0; i < w->host_count; i++)
        host_free(w->hosts[i]);
    tls_context_free(w->tls_client);
    tls_context_free(w->tls_server);
    free(w);
}

void world_on_turn(struct world *w, void (*ended)(void *arg), void *arg)
{
    w->turn_ended = ended;
    w->turn_ended_arg = arg;
}

static void end_turn(struct world_host *h)
{
    struct world *w = h->world;
    turn_end(&h->turn);
    if (w->turn_ended)
        w->turn_ended(w->turn_ended_arg);
}

void world_settle(struct world *w)
{
    for (unsigned i = 0; i < w->host_count; i++)
        end_turn(w->hosts[i]);
}

static uint64_t next_event(const struct world *w)
{
    const struct flight *f = TAILQ_FIRST(&w->flights);
    uint64_t next = f ? f->due_ns : TIMERS_NEVER;
    for (unsigned i = 0; i < w->host_count; i++) {
        uint64_t due = timers_next(w->hosts[i]->env.timers);
        if (due < next)
            next = due;
    }
    return next;
}

static void land(struct world *w)
{
    struct flight *f = TAILQ_FIRST(&w->flights);
    TAILQ_REMOVE(&w->flights, f, entry);
    endpoint_receive(f->to->endpoint, &f->packet);
    end_turn(f->to);
    free(f);
}

/* Lets happen what is next, if that is not after end_ns. */
static bool step(struct world *w, uint64_t end_ns)
{
    uint64_t next = next_event(w);
    if (next > end_ns)
        return false;
    if (next > w->now_ns)
        w->now_ns = next;
    const struct flight *f = TAILQ_FIRST(&w->flights);
    if (f && f->due_ns <= w->now_ns) {
        land(w);
        return true;
    }
    for (unsigned i = 0; i < w->host_count; i++)
        if (timers_next(w->hosts[i]->env.timers) <= w->now_ns) {
            timers_run(w->hosts[i]->env.timers);
            end_turn(w->hosts[i]);
        }
    return true;
}

bool world_run_until(struct world *w, bool (*done)(void *arg), void *arg, uint64_t limit_ns)
{
    uint64_t end = w->now_ns + limit_ns, events = 0;
    world_settle(w);
    while (!(done && done(arg))) {
        if (!step(w, end)) {
            w->now_ns = end;
            return false;
        }
        world_settle(w); /* done may have caused something */
        if (++events > SLOW_LOOP) {
            fprintf(stderr, "# the world does not come to rest\n");
            abort();
        }
    }
    return true;
}

void world_run_for(struct world *w, uint64_t ns)
{
    world_run_until(w, NULL, NULL, ns);
}
