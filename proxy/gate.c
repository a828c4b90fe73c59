/*
 * The limit of sessions, and the door that shuts when the proxy drains. Pure. Calls nobody.
 */
#include "gate.h"

#include <assert.h>

void gate_init(struct gate *g, size_t max)
{
    *g = (struct gate){.max = max};
}

enum fault gate_admit(struct gate *g)
{
    if (g->draining)
        return FAULT_DRAINING;
    if (g->inside >= g->max || g->inside + g->lingering >= 2 * g->max)
        return FAULT_TOO_MANY_SESSIONS;
    g->inside++;
    return FAULT_NONE;
}

void gate_linger(struct gate *g)
{
    assert(g->inside > 0);
    g->inside--;
    g->lingering++;
}

void gate_leave(struct gate *g)
{
    assert(g->lingering > 0);
    g->lingering--;
}

void gate_drain(struct gate *g)
{
    g->draining = true;
}
