/*
 * Connecting, with back-off for a full backlog. Owns the sock until it is connected. Calls sock and
 * timers.
 */
#include "back/dial.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "back/sock.h"

#define BACK_OFF_FIRST_NS NS_PER_MS
#define BACK_OFF_LAST_NS  (64 * NS_PER_MS)

/* --- target --- */

static bool unix_target(struct dial_target *t, const char *path, const char **error)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&t->socket_address;
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof un->sun_path) {
        *error = len ? "the path of a Unix socket has at most 107 bytes" : "unix: needs a path";
        return false;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, len + 1);
    t->len = sizeof *un;
    return true;
}

static bool port_is_legal(const char *port)
{
    char *end;
    unsigned long n = strtoul(port, &end, 10);
    return *port >= '0' && *port <= '9' && *end == 0 && n > 0 && n < 65536;
}

/* An address in digits needs no lookup. */
static void take_numeric(struct dial_target *t)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found;
    if (getaddrinfo(t->host, t->port, &hints, &found))
        return;
    memcpy(&t->socket_address, found->ai_addr, found->ai_addrlen);
    t->len = found->ai_addrlen;
    freeaddrinfo(found);
}

static bool host_target(struct dial_target *t, const char *host_port, const char **error)
{
    bool is_udp = t->type == SOCK_DGRAM;
    const char *colon = strrchr(host_port, ':');
    if (!colon || colon == host_port || !port_is_legal(colon + 1)) {
        *error = is_udp ? "udp: needs HOST:PORT" : "tcp: needs HOST:PORT";
        return false;
    }
    const char *host = host_port;
    size_t len = (size_t)(colon - host_port);
    if (host[0] == '[' && host[len - 1] == ']' && len > 2) {
        host++;
        len -= 2;
    } else if (memchr(host, ':', len)) {
        *error = is_udp ? "an IPv6 address is written in brackets: udp:[::1]:PORT"
                        : "an IPv6 address is written in brackets: tcp:[::1]:PORT";
        return false;
    }
    t->host = strndup(host, len);
    t->port = strdup(colon + 1);
    assert(t->host && t->port);
    take_numeric(t);
    return true;
}

bool dial_target_init(struct dial_target *t, const char *address, const char **error)
{
    memset(t, 0, sizeof *t);
    t->type = strncmp(address, "udp:", 4) == 0 ? SOCK_DGRAM : SOCK_STREAM;
    bool understood = false;
    if (strncmp(address, "unix:", 5) == 0)
        understood = unix_target(t, address + 5, error);
    else if (strncmp(address, "tcp:", 4) == 0 || t->type == SOCK_DGRAM)
        understood = host_target(t, address + 4, error);
    else
        *error = "an application's address is unix:PATH or tcp:HOST:PORT";
    if (!understood)
        return false;
    t->address = strdup(address);
    assert(t->address);
    return true;
}

void dial_target_fini(struct dial_target *t)
{
    free(t->address);
    free(t->host);
    free(t->port);
}

/* --- dial --- */

static void stop_with(struct dial *d, void (*close_sock)(struct sock *s))
{
    timer_stop(d->env->timers, &d->deadline);
    timer_stop(d->env->timers, &d->retry);
    if (d->sock)
        close_sock(d->sock);
    d->sock = NULL;
}

static void stop(struct dial *d)
{
    stop_with(d, sock_close);
}

static void fail(struct dial *d, enum fault fault, int error, const char *why)
{
    snprintf(d->text, sizeof d->text, "connect to %s: %s", d->target->address, why);
    stop(d);
    d->ops->failed(d->user, fault, error, d->text);
}

enum fault dial_fault(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
        return FAULT_BACKEND_FULL;
    case ECONNRESET: /* who resets had the connection */
        return FAULT_BACKEND_LOST;
    default:
        return FAULT_BACKEND_CONNECT;
    }
}

static void refused(struct dial *d, int error)
{
    fail(d, dial_fault(error), error, strerror(error));
}

static void connected(struct dial *d)
{
    struct sock *sock = d->sock;
    d->sock = NULL;
    stop(d);
    d->ops->connected(d->user, sock);
}

static bool is_unix(const struct dial *d)
{
    return d->target->socket_address.ss_family == AF_UNIX;
}

static void connect_once(struct dial *d)
{
    const struct sockaddr *to = (const struct sockaddr *)&d->target->socket_address;
    int error = sock_connect(d->sock, to, d->target->len);
    if (error == 0) {
        connected(d);
    } else if (error == EINPROGRESS) {
        sock_want(d->sock, false, true);
    } else if (error == EAGAIN && is_unix(d)) {
        timer_set(d->env->timers, &d->retry, timers_now(d->env->timers) + d->back_off_ns);
        if (d->back_off_ns < BACK_OFF_LAST_NS)
            d->back_off_ns *= 2;
    } else {
        refused(d, error);
    }
}

static void retry_fired(void *owner)
{
    connect_once(owner);
}

static void deadline_fired(void *owner)
{
    struct dial *d = owner;
    const char *why = is_unix(d) ? "its backlog was full all the time" : "no answer in time";
    fail(d, FAULT_BACKEND_CONNECT_TIMEOUT, ETIMEDOUT, why);
}

static void sock_answered(void *user)
{
    struct dial *d = user;
    int error = sock_error(d->sock);
    if (error)
        refused(d, error);
    else
        connected(d);
}

/* The kernel may tell a refused connection as a hang-up only. */
static void sock_hung_up(void *user)
{
    struct dial *d = user;
    int error = sock_error(d->sock);
    refused(d, error ? error : ECONNREFUSED);
}

static const struct sock_ops connecting_ops = {.writable = sock_answered, .hung_up = sock_hung_up};

void dial_begin(struct dial *d, struct env *env, uv_loop_t *loop, const struct dial_target *target,
                uint64_t timeout_ns, const struct dial_ops *ops, void *user)
{
    assert(target->type == SOCK_STREAM);
    memset(d, 0, sizeof *d);
    d->env = env;
    d->target = target;
    d->ops = ops;
    d->user = user;
    timer_init(&d->deadline, deadline_fired, d);
    timer_init(&d->retry, retry_fired, d);
    timer_set(env->timers, &d->deadline, timers_now(env->timers) + timeout_ns);
    d->back_off_ns = BACK_OFF_FIRST_NS;
    int error = 0;
    d->sock = sock_open(loop, target->socket_address.ss_family, &connecting_ops, d, &error);
    if (d->sock)
        connect_once(d);
    else
        refused(d, error);
}

void dial_cancel(struct dial *d)
{
    stop(d);
}

void dial_reset(struct dial *d)
{
    stop_with(d, sock_reset);
}
