/*
 * report - tells why something was refused or has broken: one counter and one line of the log.
 *
 *     ... level=info event=conn.refused remote=[::1]:4711 fault=draining why="the proxy is ..."
 *
 * Counters count all. But whoever is flooded with refusals must not have its disk filled by them:
 * of each fault REPORT_BURST lines may follow each other, then one a second, which says how many
 * were left out (left_out=). Plain struct, of one worker; it is in env. Calls log and timers.
 */
#ifndef BASE_REPORT_H
#define BASE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "base/log.h"

#define REPORT_BURST 20

struct env;

/* Of each fault. All zero to begin with. */
struct report {
    struct report_row {
        uint64_t since_ns; /* when spent was last made less */
        unsigned spent;    /* of the burst; one comes back each second */
        uint64_t left_out;
    } rows[FAULT_COUNT];
};

/* Counts the fault. Who also says why uses REPORT instead, which counts, too. */
void report_count(struct env *env, enum fault fault);
/* The line only, of what was counted before: with fault, why, and left_out if there are such. */
void report_line(struct env *env, enum log_level level, const char *event, enum fault fault,
                 const struct log_field *fields, size_t count);
/* At the end: how many of each fault were left out and not told yet. */
void report_rest(struct env *env);

/* REPORT_LINE(env, INFO, "conn.refused", FAULT_DRAINING, log_text("remote", address)); */
#define REPORT_LINE(env, LEVEL, event, fault, ...)                                                 \
    report_line((env), LOG_##LEVEL, (event), (fault), (const struct log_field[]){__VA_ARGS__},     \
                sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
#define REPORT(env, LEVEL, event, fault, ...)                                                      \
    (report_count((env), (fault)), REPORT_LINE(env, LEVEL, event, fault, __VA_ARGS__))

#endif
