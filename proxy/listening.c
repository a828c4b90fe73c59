/*
 * listening - opens sockets in the order of the workers, for that is how the kernel numbers those
 * that share an address. Calls address, udp_bind, steering.
 */
#include "listening.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "front/steering.h"
#include "front/udp.h"

enum { ADDRESSES_PER_NAME = 8, PORTS_TRIED = 32 };

enum state { FREE, OPEN, RETIRED, CLOSING };

struct listener {
    enum state state, next; /* next: from listening_prepare until it is decided */
    char *text;             /* as it is configured; NULL: free */
};

/* Sockets at one address, of all workers. */
struct group {
    unsigned id;
    uint8_t listener;
    bool is_new; /* and not logged yet */
    struct packet_address address;
    int *sockets; /* one for each worker; -1: it has taken it */
};

struct listening {
    struct listening_config config;
    struct endpoint_config ids; /* what config.steering points to */
    struct listener listeners[INTAKE_LISTENERS];
    struct group groups[WORKER_MAX_ADDRESSES];
    size_t group_count;
    unsigned last_id;
    bool has_news;
    struct listening_map map;
};

_Static_assert(INTAKE_LISTENERS > KEY_LISTENERS_MAX, "retired ones have numbers, too");

struct listening *listening_new(const struct listening_config *config)
{
    struct listening *l = calloc(1, sizeof(*l));

    assert(l && config->workers > 0);
    l->config = *config;
    if (config->steering) {
        l->ids = *config->steering;
        l->config.steering = &l->ids;
    }
    return l;
}

/* --- opening --- */

static void close_group(struct listening *l, struct group *g)
{
    for (unsigned i = 0; i < l->config.workers; i++)
        if (g->sockets[i] >= 0)
            close(g->sockets[i]);
    free(g->sockets);
    *g = l->groups[--l->group_count];
}

static void close_groups(struct listening *l, size_t number)
{
    for (size_t i = l->group_count; i-- > 0;)
        if (l->groups[i].listener == number)
            close_group(l, &l->groups[i]);
}

static void close_listener(struct listening *l, size_t number)
{
    struct listener *of = &l->listeners[number];

    close_groups(l, number);
    free(of->text);
    *of = (struct listener){.state = FREE};
}

/* The first one takes the port that all others share. */
static bool bind_all(struct listening *l, struct group *g, char *error, size_t error_size)
{
    struct udp_binding binding = {.address = g->address,
                                  .sharing = l->config.workers > 1 ? UDP_FIRST : UDP_ALONE,
                                  .kernel_buffer = l->config.kernel_buffer};

    for (unsigned i = 0; i < l->config.workers; i++) {
        g->sockets[i] = udp_bind(&binding, &g->address, error, error_size);
        if (g->sockets[i] < 0)
            return false;
        binding.address = g->address;
        binding.sharing = UDP_NEXT;
    }
    return true;
}

static void steer(const struct listening *l, const struct group *g)
{
    if (l->config.workers == 1)
        return;
    bool by_kernel = l->config.steering && steering_attach(g->sockets[0], l->config.steering);
    LOG(l->config.log, DEBUG, "steering", log_text("by", by_kernel ? "kernel" : "forwarding"));
}

/* Returns 0, or why not (an errno), with a sentence in error. */
static int open_group(struct listening *l, uint8_t number, const struct packet_address *address,
                      char *error, size_t error_size)
{
    struct group *g = &l->groups[l->group_count++];

    *g =
        (struct group){.id = ++l->last_id, .listener = number, .is_new = true, .address = *address};
    g->sockets = calloc(l->config.workers, sizeof(g->sockets[0]));
    assert(g->sockets);
    for (unsigned i = 0; i < l->config.workers; i++)
        g->sockets[i] = -1;
    if (!bind_all(l, g, error, error_size)) {
        int why = errno;
        close_group(l, g);
        return why;
    }
    steer(l, g);
    return 0;
}

/* A name may have an address of a family that this machine is without. */
static bool is_missing(int why)
{
    return why == EADDRNOTAVAIL || why == EAFNOSUPPORT;
}

/* At all addresses that work; one suffices. Returns 0, or why not (an errno), with a sentence in
 * error. Those of one name have the same port. */
static int open_each(struct listening *l, uint8_t number, const struct packet_address *found,
                     size_t count, char *error, size_t error_size)
{
    unsigned port = address_port(&found[0]);
    int why = 0;

    for (size_t i = 0; i < count && (!why || is_missing(why)); i++) {
        struct packet_address address = found[i];
        if (l->group_count == WORKER_MAX_ADDRESSES) {
            snprintf(error, error_size, "more than %d addresses", WORKER_MAX_ADDRESSES);
            return E2BIG;
        }
        address_set_port(&address, port);
        why = open_group(l, number, &address, error, error_size);
        if (why == 0)
            port = address_port(listening_address(l, number));
    }
    snprintf(error, error_size, "%s", strerror(why));
    return listening_address(l, number) && is_missing(why) ? 0 : why;
}

/* The listener of ours that is in the way, or NULL. */
static const char *holder_of(const struct listening *l, unsigned port)
{
    for (size_t i = 0; i < l->group_count; i++)
        if (address_port(&l->groups[i].address) == port)
            return l->listeners[l->groups[i].listener].text;
    return NULL;
}

static bool open_addresses(struct listening *l, uint8_t number, const char *text, char *error,
                           size_t error_size)
{
    struct packet_address found[ADDRESSES_PER_NAME];
    size_t count = address_resolve(text, found, ADDRESSES_PER_NAME, error, error_size);
    char reason[256];
    int why;

    if (count == 0)
        return false;
    for (int tried = 1; (why = open_each(l, number, found, count, reason, sizeof(reason)));
         tried++) {
        close_groups(l, number);
        /* A port that is free at one address may be taken at the next. */
        if (why != EADDRINUSE || address_port(&found[0]) != 0 || tried == PORTS_TRIED)
            break;
    }
    if (why == 0)
        return true;
    const char *holder = why == EADDRINUSE ? holder_of(l, address_port(&found[0])) : NULL;
    snprintf(error, error_size, "cannot listen at %s (UDP): %s%s%s%s", text, reason,
             holder ? ", by the listener " : "", holder ? holder : "",
             holder ? ", which is open until its last client has left" : "");
    return false;
}

/* --- from one configuration to the next --- */

/* What is open by this address and not wanted yet: rather one that is not retired. */
static struct listener *find_open(struct listening *l, const char *text)
{
    struct listener *retired = NULL;

    for (size_t i = 0; i < INTAKE_LISTENERS; i++) {
        struct listener *of = &l->listeners[i];
        if (of->state == FREE || of->next == OPEN || strcmp(of->text, text) != 0)
            continue;
        if (of->state == OPEN)
            return of;
        if (!retired)
            retired = of;
    }
    return retired;
}

static struct listener *find_free(struct listening *l)
{
    for (size_t i = 0; i < INTAKE_LISTENERS; i++)
        if (l->listeners[i].state == FREE && l->listeners[i].next == FREE)
            return &l->listeners[i];
    return NULL;
}

static struct listener *open_listener(struct listening *l, const char *text, char *error,
                                      size_t error_size)
{
    struct listener *of = find_free(l);

    if (!of) {
        snprintf(error, error_size,
                 "cannot listen at %s (UDP): too many removed listeners have connections still",
                 text);
        return NULL;
    }
    of->next = OPEN;
    of->text = strdup(text);
    assert(of->text);
    return open_addresses(l, (uint8_t)(of - l->listeners), text, error, error_size) ? of : NULL;
}

bool listening_prepare(struct listening *l, const struct config *config, char *error,
                       size_t error_size)
{
    for (size_t i = 0; i < INTAKE_LISTENERS; i++) {
        assert(l->listeners[i].state != CLOSING);
        l->listeners[i].next = l->listeners[i].state == FREE ? FREE : RETIRED;
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        struct listener *of = find_open(l, config->listeners[i].address);
        if (!of)
            of = open_listener(l, config->listeners[i].address, error, error_size);
        if (!of) {
            listening_cancel(l);
            return false;
        }
        of->next = OPEN;
        l->map.number[i] = (uint8_t)(of - l->listeners);
    }
    for (size_t i = 0; i < INTAKE_LISTENERS; i++)
        l->map.is_retired[i] = l->listeners[i].next == RETIRED;
    return true;
}

const struct listening_map *listening_map(const struct listening *l)
{
    return &l->map;
}

/* One line for each of its addresses. */
static void tell(const struct listening *l, const char *event, size_t number)
{
    char host[ADDRESS_TEXT_SIZE];

    for (size_t i = 0; i < l->group_count; i++) {
        if (l->groups[i].listener != number)
            continue;
        address_host(&l->groups[i].address, host);
        LOG(l->config.log, INFO, event, log_text("address", host),
            log_uint("port", address_port(&l->groups[i].address)));
    }
}

void listening_commit(struct listening *l)
{
    for (size_t i = 0; i < INTAKE_LISTENERS; i++) {
        struct listener *of = &l->listeners[i];
        if (of->state == OPEN && of->next == RETIRED)
            tell(l, "listener.retired", i);
        else if (of->state == RETIRED && of->next == OPEN)
            tell(l, "listener.back", i);
        else if (of->state != of->next)
            l->has_news = true;
        of->state = of->next;
    }
}

void listening_cancel(struct listening *l)
{
    for (size_t i = 0; i < INTAKE_LISTENERS; i++)
        if (l->listeners[i].state == FREE && l->listeners[i].next == OPEN)
            close_listener(l, i);
}

void listening_close(struct listening *l, size_t number)
{
    assert(listening_is_retired(l, number));
    l->listeners[number].state = CLOSING;
    l->has_news = true;
}

bool listening_is_retired(const struct listening *l, size_t number)
{
    return l->listeners[number].state == RETIRED;
}

/* --- workers --- */

bool listening_has_news(const struct listening *l)
{
    return l->has_news;
}

void listening_take(struct listening *l, unsigned worker, struct worker_sockets_wanted *to)
{
    to->count = 0;
    for (size_t i = 0; i < l->group_count; i++) {
        struct group *g = &l->groups[i];
        if (l->listeners[g->listener].state == CLOSING)
            continue;
        to->at[to->count++] =
            (struct worker_socket){.id = g->id, .listener = g->listener, .fd = g->sockets[worker]};
        g->sockets[worker] = -1;
    }
}

void listening_give_back(struct listening *l, unsigned worker,
                         const struct worker_sockets_wanted *from)
{
    for (size_t i = 0; i < from->count; i++)
        for (size_t j = 0; j < l->group_count; j++)
            if (l->groups[j].id == from->at[i].id)
                l->groups[j].sockets[worker] = from->at[i].fd;
}

void listening_given(struct listening *l, size_t routes)
{
    char host[ADDRESS_TEXT_SIZE];

    for (size_t i = 0; i < INTAKE_LISTENERS; i++) {
        if (l->listeners[i].state != CLOSING)
            continue;
        tell(l, "listener.closed", i);
        close_listener(l, i);
    }
    for (size_t i = 0; i < l->group_count; i++) {
        struct group *g = &l->groups[i];
        if (!g->is_new)
            continue;
        g->is_new = false;
        address_host(&g->address, host);
        LOG(l->config.log, INFO, "listening", log_text("address", host),
            log_uint("port", address_port(&g->address)), log_uint("workers", l->config.workers),
            log_uint("routes", routes));
    }
    l->has_news = false;
}

const struct packet_address *listening_address(const struct listening *l, size_t number)
{
    const struct group *first = NULL;

    for (size_t i = 0; i < l->group_count; i++)
        if (l->groups[i].listener == number && (!first || l->groups[i].id < first->id))
            first = &l->groups[i];
    return first ? &first->address : NULL;
}

void listening_free(struct listening *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < INTAKE_LISTENERS; i++)
        close_listener(l, i);
    free(l);
}
