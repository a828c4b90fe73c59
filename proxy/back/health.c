/*
 * health - see health.h. Owns nothing. Calls random.
 */
#include "back/health.h"

#include "back/pool.h"
#include "base/random.h"

enum {
    LEAST_WEIGHT = POOL_FULL_WEIGHT / 16, /* when it has just come back */
    CHANCE = 4,                           /* a quarter of the pause, half of it either way */
};

void health_init(struct health *h, const struct health_config *config)
{
    *h = (struct health){.config = config, .is_up = true};
}

unsigned health_weight(const struct health *h, uint64_t now_ns)
{
    uint64_t all = h->config->slow_start_ns, gone = now_ns - h->up_since_ns;
    if (!h->is_up)
        return 0;
    if (h->up_since_ns == 0 || gone >= all)
        return POOL_FULL_WEIGHT;
    return LEAST_WEIGHT + (unsigned)((POOL_FULL_WEIGHT - LEAST_WEIGHT) * gone / all);
}

bool health_worked(struct health *h, uint64_t now_ns)
{
    bool was_down = !h->is_up;
    h->failures = 0;
    h->is_up = true;
    if (was_down)
        h->up_since_ns = now_ns;
    return was_down;
}

/* It came back, but not for long: less than it was to rest the next time, or to start slowly. */
static bool was_up_shortly(const struct health *h, uint64_t now_ns)
{
    uint64_t longest = 2 * h->pause_ns;
    if (longest < h->config->slow_start_ns)
        longest = h->config->slow_start_ns;
    return h->pause_ns > 0 && now_ns - h->up_since_ns < longest;
}

static void rest(struct health *h, uint64_t now_ns, struct random *random)
{
    bool again = !h->is_up || was_up_shortly(h, now_ns);
    h->pause_ns = again ? 2 * h->pause_ns : h->config->pause_first_ns;
    if (h->pause_ns > h->config->pause_last_ns)
        h->pause_ns = h->config->pause_last_ns;
    uint64_t chance = h->pause_ns / CHANCE;
    h->rests_till_ns = now_ns + h->pause_ns - chance / 2 + random_below(random, chance + 1);
    h->is_up = false;
    h->failures = 0;
}

bool health_unreachable(struct health *h, uint64_t now_ns, struct random *random)
{
    bool was_up = h->is_up;
    /* What was begun before it went down says nothing new. */
    if (was_up || now_ns >= h->rests_till_ns)
        rest(h, now_ns, random);
    return was_up;
}

bool health_failed(struct health *h, uint64_t now_ns, struct random *random)
{
    if (!h->is_up || ++h->failures < h->config->failures)
        return false;
    return health_unreachable(h, now_ns, random);
}
