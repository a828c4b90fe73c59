/*
 * resolve - see resolve.h. A question cannot always be called back, so it is an object of its own
 * that outlives whoever asked. Calls timers and libuv.
 */
#include "back/resolve.h"

#include <assert.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "base/timers.h"

#define AFTER_FAILURE_NS NS_PER_S

struct question {
    uv_getaddrinfo_t request;
    struct resolve *asker; /* NULL once nobody wants to know */
};

struct resolve {
    struct env *env;
    uv_loop_t *loop;
    char *host, *port;
    uint64_t interval_ns;
    const struct resolve_ops *ops;
    void *user;
    struct question *question; /* NULL between two */
    struct timer due;
};

static bool is_known(const struct resolve_address *found, size_t count, const struct addrinfo *a)
{
    for (size_t i = 0; i < count; i++)
        if (found[i].len == a->ai_addrlen && memcmp(&found[i].at, a->ai_addr, a->ai_addrlen) == 0)
            return true;
    return false;
}

static size_t collect(const struct addrinfo *a, struct resolve_address to[RESOLVE_MAX])
{
    size_t count = 0;
    for (; a && count < RESOLVE_MAX; a = a->ai_next) {
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) || is_known(to, count, a))
            continue;
        memcpy(&to[count].at, a->ai_addr, a->ai_addrlen);
        to[count++].len = a->ai_addrlen;
    }
    return count;
}

static void ask_later(struct resolve *r, uint64_t wait_ns)
{
    timer_set(r->env->timers, &r->due, timers_now(r->env->timers) + wait_ns);
}

static void failed(struct resolve *r, const char *why)
{
    ask_later(r, r->interval_ns < AFTER_FAILURE_NS ? r->interval_ns : AFTER_FAILURE_NS);
    r->ops->failed(r->user, why);
}

static void answered(uv_getaddrinfo_t *request, int status, struct addrinfo *answer)
{
    struct question *q = request->data;
    struct resolve *r = q->asker;
    struct resolve_address found[RESOLVE_MAX];

    free(q);
    if (r) {
        r->question = NULL;
        size_t count = status == 0 ? collect(answer, found) : 0;
        if (count > 0) {
            ask_later(r, r->interval_ns);
            r->ops->resolved(r->user, found, count);
        } else {
            failed(r, status ? uv_strerror(status) : "no address found");
        }
    }
    uv_freeaddrinfo(answer);
}

static void ask(void *owner)
{
    struct resolve *r = owner;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct question *q = calloc(1, sizeof *q);

    assert(q);
    q->asker = r;
    q->request.data = q;
    int refused = uv_getaddrinfo(r->loop, &q->request, answered, r->host, r->port, &hints);
    if (refused) {
        free(q);
        failed(r, uv_strerror(refused));
        return;
    }
    r->question = q;
}

struct resolve *resolve_new(struct env *env, uv_loop_t *loop, const char *host, const char *port,
                            uint64_t interval_ns, const struct resolve_ops *ops, void *user)
{
    struct resolve *r = calloc(1, sizeof *r);

    assert(r);
    *r = (struct resolve){.env = env,
                          .loop = loop,
                          .host = strdup(host),
                          .port = strdup(port),
                          .interval_ns = interval_ns,
                          .ops = ops,
                          .user = user};
    assert(r->host && r->port);
    timer_init(&r->due, ask, r);
    timer_set(env->timers, &r->due, timers_now(env->timers));
    return r;
}

void resolve_free(struct resolve *r)
{
    timer_stop(r->env->timers, &r->due);
    if (r->question) {
        r->question->asker = NULL;
        uv_cancel((uv_req_t *)&r->question->request);
    }
    free(r->host);
    free(r->port);
    free(r);
}
