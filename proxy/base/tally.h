/*
 * tally - numbers for each address of each backend, collected from several workers.
 *
 * A row is found by its two names. Plain numbers, as in stats.h: gauges count what is now, counters
 * only grow.
 */
#ifndef BASE_TALLY_H
#define BASE_TALLY_H

#include <stddef.h>
#include <stdint.h>

#define TALLY_NAME_SIZE    72
#define TALLY_ADDRESS_SIZE 128

/* name, sentence */
#define TALLY_NUMBERS(X)                                                                           \
    X(sessions, "sessions alive there")                                                            \
    X(up, "workers that give it sessions")                                                         \
    X(down, "workers that do not, because it failed them")                                         \
    X(given, "sessions that were given to it")                                                     \
    X(answered, "sessions that it accepted or rejected")                                           \
    X(refused, "connections that it refused or did not take in time")                              \
    X(lost, "sessions whose connection it lost, and those it did not answer")                      \
    X(outages, "times that it was found down")

struct tally_row {
    char backend[TALLY_NAME_SIZE];
    char address[TALLY_ADDRESS_SIZE]; /* cut if it is longer */
#define X(name, sentence) uint64_t name;
    TALLY_NUMBERS(X)
#undef X
};

/* Zero it to begin. */
struct tally {
    struct tally_row *rows; /* in the order in which they came */
    size_t count, room;
};

void tally_fini(struct tally *t);
/* The row with these names; added with zeros if there is none. Valid until the next call. */
struct tally_row *tally_row(struct tally *t, const char *backend, const char *address);
/* sum += one, row by row. */
void tally_add(struct tally *sum, const struct tally *one);

#endif
