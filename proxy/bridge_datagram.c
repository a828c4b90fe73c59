/*
 * A session's datagrams: one UDP socket, made with the first of them, let go when none has gone
 * either way for a while, and made again when it is needed. Calls wt, upstream and dgram.
 */
#include <string.h>

#include "back/dial.h"
#include "base/report.h"
#include "bridge_internal.h"

static struct env *env_of(const struct bridge_session *s)
{
    return s->bridge->env;
}

static void leave(struct bridge_session *s)
{
    struct timers *timers = env_of(s)->timers;
    if (s->dgram)
        dgram_close(s->dgram);
    s->dgram = NULL;
    timer_stop(timers, &s->idle);
    dgramq_fini(&s->outgoing);
    if (!s->seat.upstream)
        return;
    seat_leave(&s->seat);
    bridge_session_give_socket(s);
}

static void stay(struct bridge_session *s)
{
    s->active_ns = timers_now(env_of(s)->timers);
}

/* Set once, and again for what is left when it fires: not with every datagram. */
static void idle_fired(void *owner)
{
    struct bridge_session *s = owner;
    struct timers *timers = env_of(s)->timers;
    uint64_t until = s->active_ns + s->route->datagram_idle_ns;
    if (until <= timers_now(timers))
        leave(s);
    else
        timer_set(timers, &s->idle, until);
}

/* --- from the service --- */

static void received(void *user, const uint8_t *data, size_t len)
{
    struct bridge_session *s = user;
    if (!s->heard)
        seat_answered(&s->seat);
    s->heard = true;
    stay(s);
    if (!wt_datagram_send(s->wt, data, len))
        env_of(s)->stats->datagrams_dropped++;
}

static void tell_failed(const struct bridge_session *s, enum fault fault, const char *text)
{
    const char *address = seat_address(&s->seat);
    REPORT(env_of(s), WARN, "datagrams.failed", fault, log_text("session", s->visit.id),
           log_text("address", address[0] ? address : NULL), log_text("detail", text));
}

/* Another address is tried while nobody has answered; what was sent is lost, as datagrams are. */
static void address_failed(struct bridge_session *s, int error)
{
    enum fault fault = dial_fault(error);
    tell_failed(s, fault, strerror(error));
    if (s->dgram)
        dgram_close(s->dgram);
    s->dgram = NULL;
    if (!seat_failed(&s->seat, fault))
        leave(s);
}

static void failed(void *user, int error)
{
    address_failed(user, error);
}

static const struct dgram_ops ops_of_dgram = {received, failed};

/* --- to the service --- */

static void send_on(struct bridge_session *s, const uint8_t *data, size_t len)
{
    stay(s);
    dgram_send(s->dgram, data, len);
}

static void granted(void *user)
{
    struct bridge_session *s = user;
    const uint8_t *data;
    size_t len;
    int error;
    s->heard = false;
    s->dgram = seat_open_dgram(&s->seat, &ops_of_dgram, s, &error);
    if (!s->dgram) {
        address_failed(s, error);
        return;
    }
    stay(s);
    timer_set(env_of(s)->timers, &s->idle, s->active_ns + s->route->datagram_idle_ns);
    while (s->dgram && dgramq_peek(&s->outgoing, &data, &len)) {
        send_on(s, data, len);
        dgramq_pop(&s->outgoing);
    }
}

static void denied(void *user, enum fault fault, const char *text)
{
    struct bridge_session *s = user;
    bridge_session_give_socket(s); /* the seat is free already */
    if (text)
        tell_failed(s, fault, text);
    leave(s);
}

static const struct seat_ops ops_of_seat = {granted, denied};

void bridge_datagram_received(void *user, const uint8_t *data, size_t len)
{
    struct bridge_session *s = user;
    if (s->dgram) {
        send_on(s, data, len);
        return;
    }
    bool is_sought = s->seat.upstream != NULL;
    if (s->route->datagrams == BRIDGE_NONE || (!is_sought && !bridge_session_take_socket(s))) {
        env_of(s)->stats->datagrams_dropped++;
        return;
    }
    dgramq_push(&s->outgoing, data, len);
    if (is_sought)
        return;
    seat_ask(&s->seat, s->visit.upstreams[s->route->datagrams], s->key, &ops_of_seat, s);
}

void bridge_datagrams_init(struct bridge_session *s)
{
    struct stats *stats = env_of(s)->stats;
    dgramq_init(&s->outgoing, s->route->datagram_queue, dgramq_bytes_for(s->route->datagram_queue),
                &stats->datagrams, &stats->datagrams_dropped, &s->memory);
    timer_init(&s->idle, idle_fired, s);
}

void bridge_datagrams_fini(struct bridge_session *s)
{
    leave(s);
}
