/*
 * report - counts, and decides whether a line is written. Owns nothing; its state is in env.
 */
#include "base/report.h"

#include <assert.h>
#include <string.h>

#include "base/env.h"
#include "base/stats.h"
#include "base/timers.h"

#define FIELDS_MAX 16 /* of a line, those of report's own included */

void report_count(struct env *env, enum fault fault)
{
    env->stats->faults[fault]++;
}

static bool may_write(struct report_row *row, uint64_t now)
{
    uint64_t seconds = (now - row->since_ns) / NS_PER_S;

    row->since_ns += seconds * NS_PER_S;
    row->spent = seconds < row->spent ? row->spent - (unsigned)seconds : 0;
    if (row->spent == REPORT_BURST)
        return false;
    row->spent++;
    return true;
}

void report_line(struct env *env, enum log_level level, const char *event, enum fault fault,
                 const struct log_field *fields, size_t count)
{
    struct report_row *row = &env->report.rows[fault];
    struct log_field all[FIELDS_MAX];

    assert(count + 3 <= FIELDS_MAX);
    if (level < env->log->level)
        return;
    if (!may_write(row, timers_now(env->timers))) {
        row->left_out++;
        return;
    }
    memcpy(all, fields, count * sizeof(*fields));
    all[count++] = log_text("fault", fault_name(fault));
    all[count++] = log_text("why", fault_sentence(fault));
    if (row->left_out > 0)
        all[count++] = log_uint("left_out", row->left_out);
    row->left_out = 0;
    log_write(env->log, level, event, all, count);
}

void report_rest(struct env *env)
{
    for (int i = 0; i < FAULT_COUNT; i++) {
        struct report_row *row = &env->report.rows[i];
        if (row->left_out > 0)
            LOG(env->log, INFO, "left_out", log_text("fault", fault_name((enum fault)i)),
                log_uint("count", row->left_out));
        row->left_out = 0;
    }
}
