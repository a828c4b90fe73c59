/*
 * clients - a table by address, and a list of those who have nothing, the quietest first.
 *
 * Calls timers and rate.
 */
#include "base/clients.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/siphash.h"
#include "base/timers.h"

#define HASH_FUNCTION(key, len, value) ((value) = (unsigned)siphash(hash_key, key, len))
#define uthash_fatal(msg)              abort()
#include <uthash.h>

struct address {
    uint8_t bytes[16];
    uint8_t family; /* 4 or 6 */
};

struct client {
    UT_hash_handle hh;
    struct address address;
    size_t count[CLIENTS_KINDS];
    struct rate rate[CLIENTS_KINDS];
    TAILQ_ENTRY(client) entry; /* while it has nothing */
};

TAILQ_HEAD(client_list, client);

struct clients {
    const struct env *env;
    struct clients_config config;
    struct client *table;
    struct client_list idle;
    size_t idle_count;
};

static const enum fault too_many[CLIENTS_KINDS] = {FAULT_CLIENT_CONNECTIONS, FAULT_CLIENT_SESSIONS};
static const enum fault too_fast[CLIENTS_KINDS] = {FAULT_CLIENT_CONNECTION_RATE,
                                                   FAULT_CLIENT_SESSION_RATE};

struct clients *clients_new(const struct env *env, const struct clients_config *config)
{
    struct clients *c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    c->env = env;
    c->config = *config;
    TAILQ_INIT(&c->idle);
    return c;
}

void clients_configure(struct clients *c, const struct clients_config *config)
{
    c->config = *config;
}

static void forget(struct clients *c, struct client *client)
{
    TAILQ_REMOVE(&c->idle, client, entry);
    c->idle_count--;
    HASH_DEL(c->table, client);
    free(client);
}

void clients_free(struct clients *c)
{
    while (!TAILQ_EMPTY(&c->idle))
        forget(c, TAILQ_FIRST(&c->idle));
    assert(!c->table);
    free(c);
}

static void keep_bits(uint8_t *bytes, size_t len, unsigned bits)
{
    for (size_t i = 0; i<len; i++, bits = bits> 8 ? bits - 8 : 0)
        if (bits < 8)
            bytes[i] &= (uint8_t)(0xff00u >> bits);
}

/* An IPv4 client of a socket for both families is the same client. */
static struct address address_of(const struct clients *c, const struct sockaddr *sa)
{
    struct address a = {.family = 4};
    if (sa->sa_family == AF_INET) {
        memcpy(a.bytes, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
        return a;
    }
    const struct in6_addr *in6 = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(in6)) {
        memcpy(a.bytes, in6->s6_addr + 12, 4);
        return a;
    }
    a.family = 6;
    memcpy(a.bytes, in6->s6_addr, 16);
    keep_bits(a.bytes, 16, c->config.ipv6_prefix);
    return a;
}

static struct client *find(const struct clients *c, const struct address *a)
{
    const uint8_t *hash_key = c->env->hash_key;
    struct client *client;
    HASH_FIND(hh, c->table, a, sizeof(*a), client);
    return client;
}

static enum fault check(const struct clients *c, const struct client *client,
                        enum clients_kind kind)
{
    const struct clients_limit *limit = &c->config.limits[kind];
    if (!client)
        return FAULT_NONE;
    if (limit->most && client->count[kind] >= limit->most)
        return too_many[kind];
    if (rate_is_over(&client->rate[kind], &limit->rate, timers_now(c->env->timers)))
        return too_fast[kind];
    return FAULT_NONE;
}

enum fault clients_check(const struct clients *c, const struct sockaddr *address,
                         enum clients_kind kind)
{
    struct address a = address_of(c, address);
    return check(c, find(c, &a), kind);
}

static bool has_nothing(const struct client *client)
{
    for (size_t i = 0; i < CLIENTS_KINDS; i++)
        if (client->count[i])
            return false;
    return true;
}

static bool owes_nothing(const struct client *client, uint64_t now)
{
    for (size_t i = 0; i < CLIENTS_KINDS; i++)
        if (client->rate[i].paid_ns > now)
            return false;
    return true;
}

/* Those who have been quiet for long, and the quietest if there are too many. */
static void tidy(struct clients *c)
{
    struct client *client;
    uint64_t now = timers_now(c->env->timers);
    while ((client = TAILQ_FIRST(&c->idle)) &&
           (owes_nothing(client, now) || c->idle_count > CLIENTS_IDLE_MAX))
        forget(c, client);
}

static struct client *new_client(struct clients *c, const struct address *a)
{
    const uint8_t *hash_key = c->env->hash_key;
    struct client *client = calloc(1, sizeof(*client));
    if (!client)
        abort();
    client->address = *a;
    HASH_ADD(hh, c->table, address, sizeof(client->address), client);
    return client;
}

struct client *clients_enter(struct clients *c, const struct sockaddr *address,
                             enum clients_kind kind, enum fault *fault)
{
    struct address a = address_of(c, address);
    struct client *client = find(c, &a);
    *fault = check(c, client, kind);
    if (*fault != FAULT_NONE)
        return NULL;
    if (!client) {
        client = new_client(c, &a);
    } else if (has_nothing(client)) {
        TAILQ_REMOVE(&c->idle, client, entry);
        c->idle_count--;
    }
    client->count[kind]++;
    rate_pay(&client->rate[kind], &c->config.limits[kind].rate, timers_now(c->env->timers));
    tidy(c);
    return client;
}

void clients_leave(struct clients *c, struct client *client, enum clients_kind kind)
{
    assert(client->count[kind] > 0);
    client->count[kind]--;
    if (!has_nothing(client))
        return;
    TAILQ_INSERT_TAIL(&c->idle, client, entry);
    c->idle_count++;
    tidy(c);
}

size_t clients_count(const struct clients *c)
{
    return HASH_COUNT(c->table);
}
