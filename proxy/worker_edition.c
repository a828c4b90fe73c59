/*
 * Applications of several settings. Owns the upstreams: each is counted by the editions that have
 * it, and freed when there is none and its last link has gone. Calls upstream and relay.
 */
#include "worker_edition.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct worker_backend_use {
    LIST_ENTRY(worker_backend_use) entry;
    struct upstream *upstream;
    char *identity;
    unsigned editions; /* 0: stopped, and freed once it is idle */
};

struct worker_edition {
    LIST_ENTRY(worker_edition) entry;
    const struct worker_settings *settings;
    struct worker_backend_use **uses;
    struct upstream **upstreams;
    size_t count; /* of both */
};

void worker_editions_init(struct worker_editions *e, struct env *env, uv_loop_t *loop)
{
    *e = (struct worker_editions){.env = env, .loop = loop};
}

static struct worker_backend_use *find_backend(const struct worker_editions *e,
                                               const char *identity)
{
    struct worker_backend_use *use;
    LIST_FOREACH (use, &e->backends, entry)
        if (use->editions > 0 && strcmp(use->identity, identity) == 0)
            return use;
    return NULL;
}

static struct worker_backend_use *
make_backend(struct worker_editions *e, const struct worker_backend *backend, const char **error)
{
    struct upstream *upstream = upstream_new(e->env, e->loop, &backend->upstream, error);
    if (!upstream)
        return NULL;
    struct worker_backend_use *use = calloc(1, sizeof(*use));
    assert(use);
    use->upstream = upstream;
    use->identity = strdup(backend->identity);
    assert(use->identity);
    LIST_INSERT_HEAD(&e->backends, use, entry);
    return use;
}

static void free_backend(struct worker_backend_use *use)
{
    LIST_REMOVE(use, entry);
    upstream_free(use->upstream);
    free(use->identity);
    free(use);
}

static void free_edition(struct worker_edition *edition)
{
    LIST_REMOVE(edition, entry);
    for (size_t i = 0; i < edition->count; i++)
        if (--edition->uses[i]->editions == 0)
            upstream_stop(edition->uses[i]->upstream);
    free(edition->uses);
    free(edition->upstreams);
    free(edition);
}

bool worker_editions_begin(struct worker_editions *e, const struct worker_settings *settings,
                           char *error, size_t error_size)
{
    struct worker_edition *edition = calloc(1, sizeof(*edition));
    const char *why = "";

    assert(edition);
    edition->settings = settings;
    edition->uses = calloc(settings->backend_count, sizeof(edition->uses[0]));
    edition->upstreams = calloc(settings->backend_count, sizeof(edition->upstreams[0]));
    assert(edition->uses && edition->upstreams);
    LIST_INSERT_HEAD(&e->all, edition, entry);
    for (; edition->count < settings->backend_count; edition->count++) {
        const struct worker_backend *backend = &settings->backends[edition->count];
        struct worker_backend_use *use = find_backend(e, backend->identity);
        if (!use)
            use = make_backend(e, backend, &why);
        if (!use) {
            snprintf(error, error_size, "backend %s: %s", backend->upstream.name, why);
            free_edition(edition);
            return false;
        }
        use->editions++;
        edition->uses[edition->count] = use;
        edition->upstreams[edition->count] = use->upstream;
    }
    e->has_old = e->present != NULL;
    e->present = edition;
    return true;
}

const struct worker_settings *worker_editions_settings(const struct worker_editions *e)
{
    return e->present->settings;
}

struct upstream *const *worker_editions_upstreams(const struct worker_editions *e)
{
    return e->present->upstreams;
}

void worker_editions_settle(struct worker_editions *e, const struct reception *r,
                            void (*released)(void *user, const struct worker_settings *settings),
                            void *user)
{
    struct worker_edition *edition, *next;
    struct worker_backend_use *use, *after;

    if (!e->has_old)
        return;
    e->has_old = false;
    for (edition = LIST_FIRST(&e->all); edition; edition = next) {
        next = LIST_NEXT(edition, entry);
        if (edition == e->present)
            continue;
        if (reception_uses(r, edition->upstreams)) {
            e->has_old = true;
            continue;
        }
        const struct worker_settings *settings = edition->settings;
        free_edition(edition);
        released(user, settings);
    }
    for (use = LIST_FIRST(&e->backends); use; use = after) {
        after = LIST_NEXT(use, entry);
        if (use->editions > 0)
            continue;
        if (upstream_is_idle(use->upstream))
            free_backend(use);
        else
            e->has_old = true;
    }
}

void worker_editions_count(const struct worker_editions *e, struct tally *to)
{
    const struct worker_backend_use *use;
    LIST_FOREACH (use, &e->backends, entry)
        upstream_count(use->upstream, to);
}

void worker_editions_stop(struct worker_editions *e)
{
    struct worker_backend_use *use;
    LIST_FOREACH (use, &e->backends, entry)
        upstream_stop(use->upstream);
}

void worker_editions_fini(struct worker_editions *e)
{
    while (!LIST_EMPTY(&e->all))
        free_edition(LIST_FIRST(&e->all));
    while (!LIST_EMPTY(&e->backends))
        free_backend(LIST_FIRST(&e->backends));
}
