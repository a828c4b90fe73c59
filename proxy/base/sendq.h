/*
 * sendq - bytes promised to one stream, kept until the peer acknowledges them.
 *
 * QUIC may ask for the same bytes twice, so being sent frees nothing; only being acknowledged
 * does. The limit is hard: a full queue takes what fits and says so, and whoever has more stops
 * reading from its own side until sendq_room() grows again. This is where back-pressure begins.
 *
 *      base            sent             end         base + limit
 *       |---in flight---|----unsent------|......room......|
 *
 * Owns its chunks; bytes never move while they are held (ngtcp2 keeps pointers to them).
 * held, if given, is a gauge that follows the bytes held. Calls nobody.
 */
#ifndef BASE_SENDQ_H
#define BASE_SENDQ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

struct sendq_chunk;

struct sendq {
    TAILQ_HEAD(sendq_chunks, sendq_chunk) chunks;
    struct sendq_chunk *at; /* chunk that holds the byte at `sent`, or NULL if none is unsent */
    uint64_t base, sent, end;
    size_t limit;
    uint64_t *held;
};

void sendq_init(struct sendq *q, size_t limit, uint64_t *held);
/* Frees everything, acknowledged or not. */
void sendq_fini(struct sendq *q);

/* Copies in as much of data as fits. Returns how much that was; 0 means full. */
size_t sendq_write(struct sendq *q, const void *data, size_t len);
size_t sendq_room(const struct sendq *q);
/* Bytes held: end - base. */
size_t sendq_held(const struct sendq *q);
/* Bytes not sent yet: end - sent. */
size_t sendq_unsent(const struct sendq *q);

/* Lends unsent bytes as up to count slices; returns how many slices. They stay valid until the
 * bytes are acknowledged. */
size_t sendq_peek(const struct sendq *q, struct iovec *slices, size_t count);
/* The next len unsent bytes have been put into a packet. */
void sendq_sent(struct sendq *q, size_t len);
/* The oldest len bytes in flight have been acknowledged. len <= sent - base. */
void sendq_acked(struct sendq *q, size_t len);
/* Gives up what is unsent beyond the offset `from`; nothing can be written any more. Bytes in
 * flight are held on until they are acknowledged, or until sendq_fini, because QUIC may still ask
 * for them. */
void sendq_cut(struct sendq *q, uint64_t from);

#endif
