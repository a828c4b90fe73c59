/*
 * dgramq - a bounded queue of datagrams; when it is full the oldest is dropped.
 *
 * Bounded in number and in bytes. Owns copies. waiting and dropped, if given, are a gauge and a
 * counter of stats.h; budget, if given, pays for what waits. Calls budget.
 */
#ifndef BASE_DGRAMQ_H
#define BASE_DGRAMQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct budget;
struct dgramq_item;

struct dgramq {
    STAILQ_HEAD(, dgramq_item) items;
    size_t count, bytes;
    size_t max_count, max_bytes;
    uint64_t *waiting, *dropped;
    struct budget *budget;
};

void dgramq_init(struct dgramq *q, size_t max_count, size_t max_bytes, uint64_t *waiting,
                 uint64_t *dropped, struct budget *budget);
void dgramq_fini(struct dgramq *q);

/* Copies the datagram in, dropping the oldest ones as needed. One that is larger than max_bytes or
 * than the budget allows is itself dropped and counted. */
void dgramq_push(struct dgramq *q, const void *data, size_t len);
/* Lends the oldest. Returns false if there is none. Valid until the next call. */
bool dgramq_peek(const struct dgramq *q, const uint8_t **data, size_t *len);
/* Lets go of the oldest. */
void dgramq_pop(struct dgramq *q);

#endif
