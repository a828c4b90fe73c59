/*
 * gate - admission: whether one more session may come in.
 *
 * Counts those inside, and those that linger: the client is gone, the application has not closed
 * its end yet. They do not take a place, but there are never more than max of them either before
 * new sessions have to wait. Calls nobody.
 */
#ifndef GATE_H
#define GATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fault.h"

struct gate {
    size_t inside, lingering, max;
    bool draining;
};

void gate_init(struct gate *g, size_t max);
/* FAULT_NONE: it is inside until gate_linger, then lingers until gate_leave.
 * FAULT_TOO_MANY_SESSIONS or FAULT_DRAINING: it is to be answered with 503. */
enum fault gate_admit(struct gate *g);
void gate_linger(struct gate *g);
void gate_leave(struct gate *g);
/* Admits nobody from now on. */
void gate_drain(struct gate *g);

#endif
