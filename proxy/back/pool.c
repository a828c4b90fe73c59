/*
 * pool - the policies. Owns its array of pointers. Calls siphash and random.
 */
#include "back/pool.h"

#include <assert.h>
#include <stdlib.h>

#include "base/random.h"
#include "base/siphash.h"

void pool_init(struct pool *p, enum pool_policy policy, struct random *random)
{
    *p = (struct pool){.policy = policy, .random = random};
}

void pool_fini(struct pool *p)
{
    assert(p->count == 0);
    free(p->members);
}

void pool_add(struct pool *p, struct pool_member *m)
{
    if (p->count == p->room) {
        p->room = 2 * p->room + 4;
        p->members = realloc(p->members, p->room * sizeof(*p->members));
        assert(p->members);
    }
    m->credit = 0;
    p->members[p->count++] = m;
}

void pool_remove(struct pool *p, struct pool_member *m)
{
    size_t i = 0;
    while (p->members[i] != m)
        i++;
    p->count--;
    for (; i < p->count; i++)
        p->members[i] = p->members[i + 1];
    p->next = 0;
}

bool pool_has_room(const struct pool_member *m)
{
    return m->max == 0 || m->sessions < m->max;
}

static bool may_be_chosen(const struct pool_member *m)
{
    return m->weight > 0 && !m->excluded && pool_has_room(m);
}

/* With one more session, for its weight. */
static bool is_less_loaded(const struct pool_member *a, const struct pool_member *b)
{
    return (a->sessions + 1) * b->weight < (b->sessions + 1) * a->weight;
}

/* Of equal ones the next in turn, or the first would get all of a quiet day's sessions. */
static struct pool_member *least_sessions(struct pool *p)
{
    struct pool_member *best = NULL;
    size_t chosen = 0;
    for (size_t n = 0; n < p->count; n++) {
        size_t i = (p->next + n) % p->count;
        struct pool_member *m = p->members[i];
        if (may_be_chosen(m) && (!best || is_less_loaded(m, best))) {
            best = m;
            chosen = i;
        }
    }
    if (best)
        p->next = chosen + 1;
    return best;
}

/* Each earns its weight, and who has most pays for all: so turns are spread evenly, also when the
 * weights differ. */
static struct pool_member *round_robin(struct pool *p)
{
    struct pool_member *best = NULL;
    int64_t sum = 0;
    for (size_t i = 0; i < p->count; i++) {
        struct pool_member *m = p->members[i];
        if (!may_be_chosen(m))
            continue;
        m->credit += m->weight;
        sum += m->weight;
        if (!best || m->credit > best->credit)
            best = m;
    }
    if (best)
        best->credit -= sum;
    return best;
}

/* Number n of those that may be chosen. */
static struct pool_member *candidate(struct pool *p, size_t n)
{
    for (size_t i = 0;; i++)
        if (may_be_chosen(p->members[i]) && n-- == 0)
            return p->members[i];
}

static struct pool_member *random_two(struct pool *p)
{
    size_t count = 0;
    for (size_t i = 0; i < p->count; i++)
        count += may_be_chosen(p->members[i]);
    if (count == 0)
        return NULL;
    if (count == 1)
        return candidate(p, 0);
    size_t one = random_below(p->random, count), other = random_below(p->random, count - 1);
    if (other >= one)
        other++;
    struct pool_member *a = candidate(p, one), *b = candidate(p, other);
    return is_less_loaded(b, a) ? b : a;
}

uint64_t pool_hash(const void *data, size_t len)
{
    static const uint8_t key[16] = "sluice pool hash";
    return siphash(key, data, len);
}

/* How much this key wants this member; low bits decide whether it takes a key while its weight is
 * not full, high bits the order. */
static uint64_t score(const struct pool_member *m, uint64_t key)
{
    const uint64_t both[2] = {m->identity, key};
    return pool_hash(both, sizeof(both));
}

static struct pool_member *by_hash(struct pool *p, uint64_t key)
{
    struct pool_member *best = NULL, *willing = NULL;
    uint64_t best_score = 0, willing_score = 0;
    for (size_t i = 0; i < p->count; i++) {
        struct pool_member *m = p->members[i];
        if (!may_be_chosen(m))
            continue;
        uint64_t s = score(m, key);
        bool takes = (s & (POOL_FULL_WEIGHT - 1)) < m->weight;
        s /= POOL_FULL_WEIGHT;
        if (!best || s > best_score) {
            best = m;
            best_score = s;
        }
        if (takes && (!willing || s > willing_score)) {
            willing = m;
            willing_score = s;
        }
    }
    return willing ? willing : best;
}

struct pool_member *pool_choose(struct pool *p, uint64_t key)
{
    switch (p->policy) {
    case POOL_ROUND_ROBIN:
        return round_robin(p);
    case POOL_RANDOM_TWO:
        return random_two(p);
    case POOL_HASH:
        return by_hash(p, key);
    default:
        return least_sessions(p);
    }
}
