/*
 * Connecting: name lookup in libuv's thread pool, one sock after the other, back-off for a full
 * backlog. Owns the sock until it is connected. A lookup cannot always be cancelled, so it is an
 * object of its own that outlives a cancelled dial. Calls sock, timers and libuv.
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

struct dial_lookup {
    uv_getaddrinfo_t request;
    struct dial *dial; /* NULL once the dial is cancelled */
};

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

static bool tcp_target(struct dial_target *t, const char *host_port, const char **error)
{
    const char *colon = strrchr(host_port, ':');
    if (!colon || colon == host_port || !port_is_legal(colon + 1)) {
        *error = "tcp: needs HOST:PORT";
        return false;
    }
    const char *host = host_port;
    size_t len = (size_t)(colon - host_port);
    if (host[0] == '[' && host[len - 1] == ']' && len > 2) {
        host++;
        len -= 2;
    } else if (memchr(host, ':', len)) {
        *error = "an IPv6 address is written in brackets: tcp:[::1]:PORT";
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
    bool understood = false;
    if (strncmp(address, "unix:", 5) == 0)
        understood = unix_target(t, address + 5, error);
    else if (strncmp(address, "tcp:", 4) == 0)
        understood = tcp_target(t, address + 4, error);
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

static void try_next(struct dial *d);

static void stop(struct dial *d)
{
    timer_stop(d->env->timers, &d->deadline);
    timer_stop(d->env->timers, &d->retry);
    if (d->sock)
        sock_close(d->sock);
    d->sock = NULL;
    if (d->lookup) {
        d->lookup->dial = NULL;
        uv_cancel((uv_req_t *)&d->lookup->request);
        d->lookup = NULL;
    }
    if (d->found)
        uv_freeaddrinfo(d->found);
    d->found = d->next = NULL;
}

static void fail(struct dial *d, enum fault fault, int error, const char *why)
{
    snprintf(d->text, sizeof d->text, "connect to %s: %s", d->target->address, why);
    stop(d);
    d->ops->failed(d->user, fault, error, d->text);
}

/* This address will not do; the last one's error is the one told. */
static void address_failed(struct dial *d, int error)
{
    timer_stop(d->env->timers, &d->deadline);
    if (d->sock)
        sock_close(d->sock);
    d->sock = NULL;
    if (d->next)
        try_next(d);
    else
        fail(d, FAULT_BACKEND_CONNECT, error, strerror(error));
}

static void connected(struct dial *d)
{
    struct sock *sock = d->sock;
    d->sock = NULL;
    stop(d);
    d->ops->connected(d->user, sock);
}

static void connect_once(struct dial *d)
{
    int error = sock_connect(d->sock, (const struct sockaddr *)&d->to, d->to_len);
    if (error == 0) {
        connected(d);
    } else if (error == EINPROGRESS) {
        sock_want(d->sock, false, true);
    } else if (error == EAGAIN && d->to.ss_family == AF_UNIX) {
        timer_set(d->env->timers, &d->retry, timers_now(d->env->timers) + d->back_off_ns);
        if (d->back_off_ns < BACK_OFF_LAST_NS)
            d->back_off_ns *= 2;
    } else {
        address_failed(d, error);
    }
}

static void retry_fired(void *owner)
{
    connect_once(owner);
}

static void deadline_fired(void *owner)
{
    struct dial *d = owner;
    if (d->next) {
        address_failed(d, ETIMEDOUT);
        return;
    }
    const char *why = "no answer in time";
    if (!d->sock)
        why = "the name was not resolved in time";
    else if (d->to.ss_family == AF_UNIX)
        why = "its backlog was full all the time";
    fail(d, FAULT_BACKEND_CONNECT_TIMEOUT, ETIMEDOUT, why);
}

static void sock_answered(void *user)
{
    struct dial *d = user;
    int error = sock_error(d->sock);
    if (error)
        address_failed(d, error);
    else
        connected(d);
}

/* The kernel may tell a refused connection as a hang-up only. */
static void sock_hung_up(void *user)
{
    struct dial *d = user;
    int error = sock_error(d->sock);
    address_failed(d, error ? error : ECONNREFUSED);
}

static const struct sock_ops connecting_ops = {.writable = sock_answered, .hung_up = sock_hung_up};

static void try_address(struct dial *d)
{
    int error = 0;
    d->sock = sock_open(d->loop, d->to.ss_family, &connecting_ops, d, &error);
    if (!d->sock) {
        address_failed(d, error);
        return;
    }
    d->back_off_ns = BACK_OFF_FIRST_NS;
    connect_once(d);
}

/* Each address gets its share of the time that is left, or a silent first one would use up all. */
static void try_next(struct dial *d)
{
    uint64_t left = 0, now = timers_now(d->env->timers);
    for (const struct addrinfo *a = d->next; a; a = a->ai_next)
        left++;
    memcpy(&d->to, d->next->ai_addr, d->next->ai_addrlen);
    d->to_len = d->next->ai_addrlen;
    d->next = d->next->ai_next;
    uint64_t share = d->due_ns > now ? (d->due_ns - now) / left : 0;
    timer_set(d->env->timers, &d->deadline, now + share);
    try_address(d);
}

static void looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct dial_lookup *lookup = request->data;
    struct dial *d = lookup->dial;
    free(lookup);
    if (!d) {
        uv_freeaddrinfo(found);
        return;
    }
    d->lookup = NULL;
    if (status < 0 || !found) {
        fail(d, FAULT_BACKEND_CONNECT, 0, status < 0 ? uv_strerror(status) : "no address found");
        return;
    }
    d->found = d->next = found;
    try_next(d);
}

static void look_up(struct dial *d)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct dial_lookup *lookup = calloc(1, sizeof *lookup);
    assert(lookup);
    lookup->dial = d;
    lookup->request.data = lookup;
    int failed = uv_getaddrinfo(d->loop, &lookup->request, looked_up, d->target->host,
                                d->target->port, &hints);
    if (failed) {
        free(lookup);
        fail(d, FAULT_BACKEND_CONNECT, -failed, uv_strerror(failed));
        return;
    }
    d->lookup = lookup;
}

void dial_begin(struct dial *d, struct env *env, uv_loop_t *loop, const struct dial_target *target,
                uint64_t timeout_ns, const struct dial_ops *ops, void *user)
{
    memset(d, 0, sizeof *d);
    d->env = env;
    d->loop = loop;
    d->target = target;
    d->ops = ops;
    d->user = user;
    d->due_ns = timers_now(env->timers) + timeout_ns;
    timer_init(&d->deadline, deadline_fired, d);
    timer_init(&d->retry, retry_fired, d);
    timer_set(env->timers, &d->deadline, d->due_ns);
    if (target->len == 0) {
        look_up(d);
        return;
    }
    d->to = target->socket_address;
    d->to_len = target->len;
    try_address(d);
}

void dial_cancel(struct dial *d)
{
    stop(d);
}
