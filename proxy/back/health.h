/*
 * health - whether an address may be used, from what happens to those who use it.
 *
 * Down at once: a connection that is refused or not taken in time. Down after `failures` in a row
 * with no session accepted in between: sessions whose connection is lost, or that are not answered
 * in time. Then it rests for a pause, and is tried without a session. The pause begins with
 * pause_first and doubles up to pause_last while it does not come back, or comes back only for a
 * moment; each a little shorter or longer by chance, so that many do not try at once. When it is
 * up again it begins with a small weight, which grows to the full one during slow_start.
 *
 *      UP ──failed──► RESTING ──pause over──► (tried) ──worked──► UP, slowly
 *                        ▲                       │
 *                        └────────failed─────────┘ twice the pause
 *
 * Pure: it is told the time. Whoever uses it does the trying.
 */
#ifndef BACK_HEALTH_H
#define BACK_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

struct random;

struct health_config {
    unsigned failures; /* at least 1 */
    uint64_t pause_first_ns, pause_last_ns;
    uint64_t slow_start_ns; /* 0: at once */
};

struct health {
    const struct health_config *config; /* outlives it */
    bool is_up;
    unsigned failures;      /* in a row */
    uint64_t pause_ns;      /* the present or last one, without chance; 0: there was none */
    uint64_t rests_till_ns; /* while it is down */
    uint64_t up_since_ns;   /* 0: from the beginning */
};

/* Up, with its full weight. */
void health_init(struct health *h, const struct health_config *config);
/* 0 while it is down, else up to POOL_FULL_WEIGHT. */
unsigned health_weight(const struct health *h, uint64_t now_ns);
/* Returns true if it was down until now. */
bool health_worked(struct health *h, uint64_t now_ns);
/* It cannot be reached. Returns true if it was up until now. */
bool health_unreachable(struct health *h, uint64_t now_ns, struct random *random);
/* Somebody who had reached it failed. Returns true if it was up until now, and is not any more. */
bool health_failed(struct health *h, uint64_t now_ns, struct random *random);

#endif
