/*
 * dgramq - a bounded queue of datagrams; when it is full the oldest is dropped.
 *
 * Bounded in number and in bytes, and in age if dgramq_set_ttl says so: what has waited for longer
 * is let go when its turn comes. Owns copies. waiting and dropped, if given, are a gauge and a
 * counter of stats.h; budget, if given, pays for what waits. Calls budget and timers.
 */
#ifndef BASE_DGRAMQ_H
#define BASE_DGRAMQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct budget;
struct dgramq_item;
struct timers;

struct dgramq {
    STAILQ_HEAD(, dgramq_item) items;
    size_t count, bytes;
    size_t max_count, max_bytes;
    uint64_t *waiting, *dropped;
    struct budget *budget;
    const struct timers *timers; /* NULL: no bound on age */
    uint64_t ttl_ns, *expired;
};

/* A bound in bytes that suits max_count datagrams of usual size, and one of any. */
size_t dgramq_bytes_for(size_t max_count);
void dgramq_init(struct dgramq *q, size_t max_count, size_t max_bytes, uint64_t *waiting,
                 uint64_t *dropped, struct budget *budget);
/* For what is pushed from now on. 0 is no bound. expired counts, as dropped does. */
void dgramq_set_ttl(struct dgramq *q, const struct timers *timers, uint64_t ttl_ns,
                    uint64_t *expired);
void dgramq_fini(struct dgramq *q);

/* Copies the datagram in, dropping the oldest ones as needed. One that is larger than max_bytes or
 * than the budget allows is itself dropped and counted. */
void dgramq_push(struct dgramq *q, const void *data, size_t len);
/* Lends the oldest that is not too old. Returns false if there is none. Valid until the next call.
 */
bool dgramq_peek(struct dgramq *q, const uint8_t **data, size_t *len);
/* Lets go of the oldest. */
void dgramq_pop(struct dgramq *q);

#endif
