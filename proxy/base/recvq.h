/*
 * recvq - bytes received from one side that the other side has not taken yet; first in, first out.
 *
 * Used only while the next hop is slower than the last one; otherwise bytes pass by it. Its size is
 * bounded by whoever writes: the client's flow-control window. Owns its chunks. held, if given, is
 * a gauge that follows the bytes held. Calls nobody.
 */
#ifndef BASE_RECVQ_H
#define BASE_RECVQ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

struct recvq_chunk;

struct recvq {
    TAILQ_HEAD(recvq_chunks, recvq_chunk) chunks;
    size_t held_bytes;
    uint64_t *held;
};

void recvq_init(struct recvq *q, uint64_t *held);
void recvq_fini(struct recvq *q);

void recvq_write(struct recvq *q, const void *data, size_t len);
size_t recvq_held(const struct recvq *q);
/* Lends the oldest bytes that lie together; *len is 0 when there are none. Valid until the next
 * call that changes the queue. */
const uint8_t *recvq_peek(const struct recvq *q, size_t *len);
/* Lends the oldest bytes in up to max pieces, likewise; returns how many. */
int recvq_lend(const struct recvq *q, struct iovec *pieces, int max);
/* Lets go of the oldest len bytes. len <= recvq_held(). */
void recvq_drop(struct recvq *q, size_t len);

#endif
