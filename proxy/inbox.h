/*
 * inbox - what other threads have for a worker: wishes, and packets that the kernel gave them.
 *
 * Thread-safe. Packets are copied; the copies are bounded in bytes, and one that does not fit is
 * refused, as a full socket would. wake() is called, with the inbox locked, whenever something
 * comes into an empty one, and never after inbox_close: so it may be a uv_async_send.
 */
#ifndef INBOX_H
#define INBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "front/packet.h"

struct inbox_packet;

struct inbox {
    pthread_mutex_t lock;
    bool closed;
    unsigned wishes; /* bits, the owner's own */
    STAILQ_HEAD(inbox_packets, inbox_packet) packets;
    size_t bytes, max_bytes;
    void (*wake)(void *owner);
    void *owner;
};

void inbox_init(struct inbox *in, size_t max_bytes, void (*wake)(void *owner), void *owner);
void inbox_fini(struct inbox *in);

/* False if it is closed. */
bool inbox_wish(struct inbox *in, unsigned wish);
/* False if it is full or closed. */
bool inbox_packet(struct inbox *in, const struct packet *p);

/* The owner takes everything out: each packet is given to received, the wishes are returned. */
unsigned inbox_take(struct inbox *in, void (*received)(void *owner, const struct packet *p));
/* Nothing comes in any more. Packets in it are dropped, wishes returned. */
unsigned inbox_close(struct inbox *in);

#endif
