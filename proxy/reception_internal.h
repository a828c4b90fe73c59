/*
 * reception_internal - what a reception consists of. For reception.c, and for tests that look into
 * it.
 */
#ifndef RECEPTION_INTERNAL_H
#define RECEPTION_INTERNAL_H

#include "reception.h"

struct reception {
    struct admission *admission;
    struct relay *relay;
    struct bridge *bridge;
};

#endif
