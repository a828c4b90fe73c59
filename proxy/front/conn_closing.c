/*
 * conn_closing - a connection after its end: its ids, and the packet that says so.
 *
 * A peer may not know yet that the connection has ended, and its packets must not look like those
 * of a stranger. So the ids outlive the connection for three probe timeouts (RFC 9000, section
 * 10.2). After a close of ours, late packets are answered with it, ever more rarely (section
 * 10.2.1); after a close of the peer's, not at all (section 10.2.2).
 *
 * Owns itself; freed by its timer or with the hub. Calls endpoint.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/stats.h"
#include "front/conn_internal.h"

struct conn_closing {
    struct conn_hub *hub;
    LIST_ENTRY(conn_closing) entry;
    struct endpoint_peer peer;
    struct timer timer;
    uint8_t listener; /* by which the connection had come in */
    struct packet_address local, remote;
    uint64_t received;
    size_t len;
    uint8_t packet[];
};

static void closing_free(void *owner)
{
    struct conn_closing *closing = owner;
    endpoint_forget(closing->hub->endpoint, &closing->peer);
    timer_stop(closing->hub->env->timers, &closing->timer);
    LIST_REMOVE(closing, entry);
    closing->hub->closing_of[closing->listener]--;
    free(closing);
}

static void received(void *owner, const struct packet *p)
{
    struct conn_closing *closing = owner;
    uint64_t n = ++closing->received;

    if (closing->len == 0 || (n & (n - 1)) != 0) /* answers the 1st, 2nd, 4th, 8th... */
        return;
    if (closing->len > 3 * p->len) /* the address may be a victim's, RFC 9000 section 8.1 */
        return;
    struct packet out = {.data = closing->packet,
                         .len = closing->len,
                         .local = closing->local,
                         .remote = closing->remote};
    endpoint_transmit(closing->hub->endpoint, &out);
}

void conn_closing_new(struct conn *c, const uint8_t *packet, size_t len,
                      const struct packet_address *local, const struct packet_address *remote,
                      uint64_t period_ns)
{
    struct timers *timers = c->hub->env->timers;
    struct conn_closing *closing = calloc(1, sizeof(*closing) + len);
    if (!closing)
        abort();
    closing->hub = c->hub;
    closing->listener = c->listener;
    c->hub->closing_of[c->listener]++;
    closing->local = *local;
    closing->remote = *remote;
    closing->len = len;
    if (len)
        memcpy(closing->packet, packet, len);
    endpoint_peer_init(&closing->peer, received, closing);
    endpoint_hand_over(&c->peer, &closing->peer);
    timer_init(&closing->timer, closing_free, closing);
    timer_set(timers, &closing->timer, timers_now(timers) + period_ns);
    LIST_INSERT_HEAD(&c->hub->closing, closing, entry);
}

void conn_closing_free_all(struct conn_hub *hub)
{
    while (!LIST_EMPTY(&hub->closing))
        closing_free(LIST_FIRST(&hub->closing));
}
