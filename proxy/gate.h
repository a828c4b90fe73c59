/*
 * gate - admission: whether one more session may come in.
 *
 * Counts those inside. Calls nobody.
 */
#ifndef GATE_H
#define GATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fault.h"

struct gate {
    size_t inside, max;
    bool draining;
};

void gate_init(struct gate *g, size_t max);
/* FAULT_NONE: it is inside until gate_leave. FAULT_TOO_MANY_SESSIONS or FAULT_DRAINING: it is to be
 * answered with 503. */
enum fault gate_admit(struct gate *g);
void gate_leave(struct gate *g);
/* Admits nobody from now on. */
void gate_drain(struct gate *g);

#endif
