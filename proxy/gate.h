/*
 * gate - admission: whether one more session may come in.
 *
 * First for whom: origins (the pages' own) that may come. Browsers
 * always name the page's origin; other clients may name any or none, so this protects people's
 * browsers, not the application from clients.
 *
 * Then how many. Counts those inside, and those that linger: the client is gone, the application
 * has not closed its end yet. They do not take a place, but there are never more than max of them
 * either before new sessions have to wait. Calls base/origin.
 */
#ifndef GATE_H
#define GATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fault.h"
#include "base/header.h"

struct gate {
    size_t inside, lingering, max;
    bool draining;
};

/* Patterns of base/origin.h. Without any, all are allowed. */
struct gate_rules {
    const char *const *origins;
    size_t origin_count;
    bool require_origin; /* a request without origin is refused; with origins, too, only then */
};

/* FAULT_NONE, FAULT_ORIGIN or FAULT_NO_ORIGIN. */
enum fault gate_check(const struct gate_rules *rules, const struct header *headers, size_t count);
/* The status with which these faults, those of gate_admit, of clients, FAULT_HOST and
 * FAULT_NO_ROUTE are answered. */
unsigned gate_status(enum fault fault);

void gate_init(struct gate *g, size_t max);
/* Those who are inside stay, also if there are more. */
void gate_set_max(struct gate *g, size_t max);
/* FAULT_NONE: it is inside until gate_linger, then lingers until gate_leave.
 * FAULT_TOO_MANY_SESSIONS or FAULT_DRAINING: it may not come in. */
enum fault gate_admit(struct gate *g);
void gate_linger(struct gate *g);
void gate_leave(struct gate *g);
/* Admits nobody from now on. */
void gate_drain(struct gate *g);

#endif
