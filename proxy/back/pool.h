/*
 * pool - which of several addresses a session gets.
 *
 * Pure: it knows only what its members say of themselves. Each policy promises something, as long
 * as all members may be used, have room and their full weight:
 *
 *      least sessions   the numbers of sessions that are alive never differ by more than one
 *                       through what is chosen (they do through sessions that end)
 *      round robin      the numbers of sessions that were ever given never differ by more than one
 *      random two       of two at random the one with fewer sessions: near to least sessions, and
 *                       many proxies that do not know of each other do not all choose the same
 *      hash             the same key gets the same member, in every worker and process; when one
 *                       goes only its own keys move, and they come back when it does (rendezvous
 *                       hashing; Thaler, Ravishankar: "Using name-based mappings to increase hit
 *                       rates", 1998). A member without room passes its keys to their next choice.
 *
 * A member with less than its full weight gets about that part of its share.
 */
#ifndef BACK_POOL_H
#define BACK_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct random;

enum pool_policy { POOL_LEAST_SESSIONS, POOL_ROUND_ROBIN, POOL_RANDOM_TWO, POOL_HASH };

#define POOL_FULL_WEIGHT 256

/* Kept up to date by its owner. */
struct pool_member {
    uint64_t identity; /* pool_hash of what stays the same: its address */
    size_t sessions;
    size_t max;      /* sessions; 0: no limit */
    unsigned weight; /* 0: not to be used, up to POOL_FULL_WEIGHT */
    bool excluded;   /* from the next choice */
    int64_t credit;  /* for pool.c only: round robin */
};

struct pool {
    enum pool_policy policy;
    struct random *random;
    struct pool_member **members;
    size_t count, room;
    size_t next; /* where the search for the next one begins */
};

void pool_init(struct pool *p, enum pool_policy policy, struct random *random);
/* No member may be in it. */
void pool_fini(struct pool *p);
/* The member stays where it is until it is taken out. */
void pool_add(struct pool *p, struct pool_member *m);
void pool_remove(struct pool *p, struct pool_member *m);

bool pool_has_room(const struct pool_member *m);
/* The member for a session with this key (pool_hash; used by POOL_HASH only), of those with room
 * and weight that are not excluded; NULL if there is none. Counts nothing: that is the caller's. */
struct pool_member *pool_choose(struct pool *p, uint64_t key);
/* The same in every process, so whoever knows the members can find keys for one of them: nothing to
 * keep apart what may not meet. */
uint64_t pool_hash(const void *data, size_t len);

#endif
