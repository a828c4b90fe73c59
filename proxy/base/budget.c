/*
 * budget - adds up at every level; refuses where it does not fit.
 */
#include "base/budget.h"

#include <assert.h>
#include <stddef.h>

void budget_init(struct budget *b, struct budget *parent, uint64_t limit, uint64_t *gauge)
{
    *b = (struct budget){.parent = parent, .limit = limit, .gauge = gauge};
}

void budget_fini(struct budget *b)
{
    assert(b->used == 0);
    (void)b;
}

static uint64_t limit_for(const struct budget *b, enum budget_use use)
{
    return use == BUDGET_GROWTH     ? b->limit - b->limit / 4
           : use == BUDGET_NEWCOMER ? b->limit - b->limit / 8
                                    : b->limit;
}

static bool fits(const struct budget *b, uint64_t bytes, enum budget_use use)
{
    for (; b; b = b->parent) {
        uint64_t limit = limit_for(b, use);
        if (b->used > limit || bytes > limit - b->used)
            return false;
    }
    return true;
}

bool budget_reserve(struct budget *b, uint64_t bytes, enum budget_use use)
{
    if (!fits(b, bytes, use))
        return false;
    budget_charge(b, bytes);
    return true;
}

bool budget_is_short(const struct budget *b)
{
    return !fits(b, 0, BUDGET_NEWCOMER);
}

void budget_charge(struct budget *b, uint64_t bytes)
{
    for (; b; b = b->parent) {
        b->used += bytes;
        if (b->gauge)
            *b->gauge += bytes;
    }
}

void budget_release(struct budget *b, uint64_t bytes)
{
    for (; b; b = b->parent) {
        assert(bytes <= b->used);
        b->used -= bytes;
        if (b->gauge)
            *b->gauge -= bytes;
    }
}
