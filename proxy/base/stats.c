/*
 * stats - the table of gauges and counters, and sums over it. Owns nothing, calls nobody.
 */
#include "base/stats.h"

const struct stats_row stats_rows[] = {
#define X(name, sentence) {#name, sentence, offsetof(struct stats, name), 1},
    STATS_GAUGES(X)
#undef X
#define X(name, sentence) {#name, sentence, offsetof(struct stats, name), 0},
        STATS_COUNTERS(X)
#undef X
            {NULL, NULL, 0, 0},
};

uint64_t stats_value(const struct stats *s, const struct stats_row *row)
{
    return *(const uint64_t *)((const char *)s + row->offset);
}

void stats_add(struct stats *sum, const struct stats *one)
{
    for (const struct stats_row *row = stats_rows; row->name; row++)
        *(uint64_t *)((char *)sum + row->offset) += stats_value(one, row);
    for (int i = 0; i < FAULT_COUNT; i++)
        sum->faults[i] += one->faults[i];
}

const struct stats_row *stats_alive(const struct stats *s)
{
    for (const struct stats_row *row = stats_rows; row->name; row++)
        if (row->is_gauge && stats_value(s, row) != 0)
            return row;
    return NULL;
}
