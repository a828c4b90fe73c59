/*
 * intake - counts.
 */
#include "front/intake.h"

#include <assert.h>

/* Handshakes that leave half of the room to those who bring a proof. */
static size_t unproven_of(size_t most, size_t proven)
{
    return most > proven ? (most - proven) / 2 : 0;
}

static bool is_tight(const struct intake_count *count, const struct intake_limit *limit,
                     uint64_t now_ns)
{
    struct rate_limit half = {.per_second = limit->rate.per_second,
                              .burst = (limit->rate.burst + 1) / 2};
    size_t proven = count->connections - count->handshakes;

    return (limit->connections && count->handshakes >= unproven_of(limit->connections, proven)) ||
           (limit->handshakes && count->handshakes >= unproven_of(limit->handshakes, 0)) ||
           rate_is_over(&count->rate, &half, now_ns);
}

bool intake_wants_proof(const struct intake *in, const struct intake_limits *limits,
                        unsigned listener, uint64_t now_ns)
{
    /* How many handshakes of all are too many without a proof is said in so many words. */
    struct intake_limit all = {.connections = limits->all.connections};

    assert(listener < INTAKE_LISTENERS);
    return in->all.handshakes >= limits->unproven || is_tight(&in->all, &all, now_ns) ||
           is_tight(&in->listeners[listener], &limits->listeners[listener], now_ns);
}

static bool is_reached(size_t count, size_t limit)
{
    return limit && count >= limit;
}

enum fault intake_check(const struct intake *in, const struct intake_limits *limits,
                        unsigned listener, uint64_t now_ns)
{
    assert(listener < INTAKE_LISTENERS);
    const struct intake_count *here = &in->listeners[listener];
    const struct intake_limit *most = &limits->listeners[listener];

    if (most->is_retired)
        return FAULT_LISTENER_REMOVED;
    if (is_reached(in->all.handshakes, limits->all.handshakes))
        return FAULT_TOO_MANY_HANDSHAKES;
    if (is_reached(in->all.connections, limits->all.connections))
        return FAULT_TOO_MANY_CONNECTIONS;
    if (is_reached(here->handshakes, most->handshakes))
        return FAULT_LISTENER_HANDSHAKES;
    if (is_reached(here->connections, most->connections))
        return FAULT_LISTENER_CONNECTIONS;
    if (rate_is_over(&here->rate, &most->rate, now_ns))
        return FAULT_LISTENER_CONNECTION_RATE;
    return FAULT_NONE;
}

void intake_begin(struct intake *in, const struct intake_limits *limits, unsigned listener,
                  uint64_t now_ns)
{
    assert(listener < INTAKE_LISTENERS);
    in->all.connections++;
    in->all.handshakes++;
    in->listeners[listener].connections++;
    in->listeners[listener].handshakes++;
    rate_pay(&in->listeners[listener].rate, &limits->listeners[listener].rate, now_ns);
}

void intake_finish_handshake(struct intake *in, unsigned listener)
{
    assert(in->all.handshakes > 0 && in->listeners[listener].handshakes > 0);
    in->all.handshakes--;
    in->listeners[listener].handshakes--;
}

void intake_end(struct intake *in, unsigned listener)
{
    assert(in->all.connections > 0 && in->listeners[listener].connections > 0);
    in->all.connections--;
    in->listeners[listener].connections--;
}
