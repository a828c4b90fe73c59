/*
 * fault - the table of faults, as functions. Owns nothing, calls nobody.
 */
#include "base/fault.h"

#include <assert.h>

static const struct {
    const char *name;
    enum fault_reach reach;
    const char *sentence;
} rows[FAULT_COUNT] = {
#define X(NAME, name, reach, sentence) {name, FAULT_OF_##reach, sentence},
    FAULT_TABLE(X)
#undef X
};

const char *fault_name(enum fault f)
{
    assert(f < FAULT_COUNT);
    return rows[f].name;
}

enum fault_reach fault_reach(enum fault f)
{
    assert(f < FAULT_COUNT);
    return rows[f].reach;
}

const char *fault_sentence(enum fault f)
{
    assert(f < FAULT_COUNT);
    return rows[f].sentence;
}
