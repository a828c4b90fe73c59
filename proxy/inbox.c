/*
 * inbox - a list of copied packets and a word of wishes behind one mutex. Owns the copies; calls
 * its owner's wake.
 */
#include "inbox.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct inbox_packet {
    STAILQ_ENTRY(inbox_packet) entry;
    struct packet packet;
    uint8_t data[];
};

void inbox_init(struct inbox *in, size_t max_bytes, void (*wake)(void *owner), void *owner)
{
    *in = (struct inbox){.max_bytes = max_bytes, .wake = wake, .owner = owner};
    pthread_mutex_init(&in->lock, NULL);
    STAILQ_INIT(&in->packets);
}

void inbox_fini(struct inbox *in)
{
    inbox_close(in);
    pthread_mutex_destroy(&in->lock);
}

static bool is_empty(const struct inbox *in)
{
    return in->wishes == 0 && STAILQ_EMPTY(&in->packets);
}

bool inbox_wish(struct inbox *in, unsigned wish)
{
    pthread_mutex_lock(&in->lock);
    bool open = !in->closed;
    if (open) {
        bool first = is_empty(in);
        in->wishes |= wish;
        if (first)
            in->wake(in->owner);
    }
    pthread_mutex_unlock(&in->lock);
    return open;
}

static struct inbox_packet *copy_packet(const struct packet *p)
{
    struct inbox_packet *copy = malloc(sizeof(*copy) + p->len);

    assert(copy);
    copy->packet = *p;
    copy->packet.data = copy->data;
    memcpy(copy->data, p->data, p->len);
    return copy;
}

bool inbox_packet(struct inbox *in, const struct packet *p)
{
    size_t size = sizeof(struct inbox_packet) + p->len;

    pthread_mutex_lock(&in->lock);
    bool fits = !in->closed && size <= in->max_bytes - in->bytes;
    if (fits) {
        bool first = is_empty(in);
        struct inbox_packet *copy = copy_packet(p);
        STAILQ_INSERT_TAIL(&in->packets, copy, entry);
        in->bytes += size;
        if (first)
            in->wake(in->owner);
    }
    pthread_mutex_unlock(&in->lock);
    return fits;
}

unsigned inbox_take(struct inbox *in, void (*received)(void *owner, const struct packet *p))
{
    struct inbox_packets packets = STAILQ_HEAD_INITIALIZER(packets);
    struct inbox_packet *first;

    pthread_mutex_lock(&in->lock);
    unsigned wishes = in->wishes;
    in->wishes = 0;
    in->bytes = 0;
    STAILQ_CONCAT(&packets, &in->packets);
    pthread_mutex_unlock(&in->lock);

    while ((first = STAILQ_FIRST(&packets))) {
        STAILQ_REMOVE_HEAD(&packets, entry);
        if (received)
            received(in->owner, &first->packet);
        free(first);
    }
    return wishes;
}

unsigned inbox_close(struct inbox *in)
{
    pthread_mutex_lock(&in->lock);
    in->closed = true;
    pthread_mutex_unlock(&in->lock);
    return inbox_take(in, NULL);
}
