/*
 * budget - who may hold how much memory: the one owner of that question.
 *
 * What is reserved counts here whether it is used yet or not: a window of flow control is reserved
 * when it is granted, for what has been promised must be held when it comes. Nothing is reserved
 * that does not fit, here and at the parent (a connection's or a session's parent is its worker's).
 * To be refused is no error: every caller has an answer that is not to grow and that harms nobody
 * else (a window stays as it is, a session gets 503, a datagram is dropped).
 *
 * Plain struct, one thread. The parent outlives it.
 */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct budget {
    struct budget *parent; /* NULL at the top */
    uint64_t limit, used;
    uint64_t *gauge; /* follows used; NULL for none */
};

void budget_init(struct budget *b, struct budget *parent, uint64_t limit, uint64_t *gauge);
/* Everything must have been given back. */
void budget_fini(struct budget *b);

/* What it is for. A part of every budget is kept for those who come before: so whoever only wants
 * to be faster, and whoever is new, takes nothing away from a session that is there. */
enum budget_use {
    BUDGET_NEED,     /* to go on: all of the limit */
    BUDGET_NEWCOMER, /* seven eighths of it; so for what may be dropped */
    BUDGET_GROWTH,   /* three quarters */
};

/* All of bytes or nothing. */
bool budget_reserve(struct budget *b, uint64_t bytes, enum budget_use use);
/* Nothing is left here, or at a parent, but what is kept for those who are there. */
bool budget_is_short(const struct budget *b);
/* Counts what is there already and cannot be refused any more; used may pass limit, and then
 * nothing else is reserved. */
void budget_charge(struct budget *b, uint64_t bytes);
void budget_release(struct budget *b, uint64_t bytes);

#endif
