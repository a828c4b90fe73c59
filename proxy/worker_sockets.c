/*
 * Sockets come and go with the listeners of the configuration. Owns each from the moment that it is
 * given; a closed one is counted until the loop has let it go. Calls udp.
 */
#include "worker_sockets.h"

#include <assert.h>
#include <unistd.h>

#include "address.h"

void worker_sockets_init(struct worker_sockets *s, struct env *env, uv_loop_t *loop,
                         bool no_offload, void (*received)(void *user, const struct packet *p),
                         void *user)
{
    *s = (struct worker_sockets){
        .env = env, .loop = loop, .no_offload = no_offload, .received = received, .user = user};
}

/* --- by which one a packet leaves --- */

/* Whether a packet may leave from a socket at this address: [::] takes both families. */
static bool may_leave(const struct packet_address *a, const struct packet *p)
{
    int family = a->sa.any.sa_family;

    if (p->local.len == 0)
        return family == p->remote.sa.any.sa_family;
    if (address_port(a) != address_port(&p->local))
        return false;
    return packet_address_is_same_host(a, &p->local) ||
           (address_is_any(a) && (family == AF_INET6 || p->local.sa.any.sa_family == AF_INET));
}

void worker_sockets_send(const struct worker_sockets *s, const struct packet *p)
{
    size_t i = 0;

    while (i < s->count && s->count > 1 && !may_leave(udp_address(s->at[i].udp), p))
        i++;
    if (s->count > 0)
        udp_send(s->at[i < s->count ? i : 0].udp, p);
}

/* --- which there are --- */

static void packet_received(void *user, const struct packet *p)
{
    struct worker_sockets *s = user;

    s->received(s->user, p);
}

static void socket_closed(void *user)
{
    struct worker_sockets *s = user;

    s->closing--;
}

static const struct udp_ops udp_ops = {.received = packet_received, .closed = socket_closed};

static bool is_wanted(const struct worker_sockets_wanted *wanted, unsigned id)
{
    for (size_t i = 0; i < wanted->count; i++)
        if (wanted->at[i].id == id)
            return true;
    return false;
}

static bool add(struct worker_sockets *s, const struct worker_socket *from, char *error,
                size_t error_size)
{
    const struct udp_config config = {.no_offload = s->no_offload, .listener = from->listener};
    struct udp *udp = udp_open(s->env, s->loop, from->fd, &config, &udp_ops, s, error, error_size);

    if (!udp)
        return false;
    assert(s->count < WORKER_MAX_ADDRESSES);
    s->at[s->count].id = from->id;
    s->at[s->count++].udp = udp;
    if (s->is_reading)
        udp_start(udp);
    return true;
}

static void remove_at(struct worker_sockets *s, size_t i)
{
    s->closing++;
    udp_close(s->at[i].udp);
    s->at[i] = s->at[--s->count];
}

bool worker_sockets_change(struct worker_sockets *s, const struct worker_sockets_wanted *wanted,
                           char *error, size_t error_size)
{
    bool good = true;

    for (size_t i = s->count; i-- > 0;)
        if (!is_wanted(wanted, s->at[i].id))
            remove_at(s, i);
    for (size_t i = 0; i < wanted->count; i++)
        if (wanted->at[i].fd >= 0 && !add(s, &wanted->at[i], error, error_size))
            good = false;
    return good;
}

void worker_sockets_refuse(const struct worker_sockets_wanted *wanted)
{
    for (size_t i = 0; i < wanted->count; i++)
        if (wanted->at[i].fd >= 0)
            close(wanted->at[i].fd);
}

void worker_sockets_read(struct worker_sockets *s)
{
    s->is_reading = true;
    for (size_t i = 0; i < s->count; i++)
        udp_start(s->at[i].udp);
}

void worker_sockets_close(struct worker_sockets *s)
{
    while (s->count > 0)
        remove_at(s, s->count - 1);
}

bool worker_sockets_are_settled(const struct worker_sockets *s)
{
    return s->closing == 0;
}
