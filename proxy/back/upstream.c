/*
 * An application's addresses, and what all links to it share. Owns the shared read buffer and spare
 * stages. Calls dial and link.
 */
#include "back/upstream.h"

#include <assert.h>
#include <stdlib.h>

#include "back/dial.h"

#define READ_SIZE (256 * 1024) /* what a Unix socket holds, and some more */

struct upstream {
    struct dial_target *targets;
    size_t target_count, next;
    struct link_shared shared;
};

static void free_targets(struct upstream *u)
{
    for (size_t i = 0; i < u->target_count; i++)
        dial_target_fini(&u->targets[i]);
    free(u->targets);
}

static bool make_targets(struct upstream *u, const struct upstream_config *config,
                         const char **error)
{
    assert(config->address_count > 0);
    u->targets = calloc(config->address_count, sizeof *u->targets);
    assert(u->targets);
    while (u->target_count < config->address_count) {
        size_t i = u->target_count++;
        if (!dial_target_init(&u->targets[i], config->addresses[i], error))
            return false;
    }
    return true;
}

struct upstream *upstream_new(struct env *env, uv_loop_t *loop,
                              const struct upstream_config *config, const char **error)
{
    struct upstream *u = calloc(1, sizeof *u);
    assert(u);
    if (!make_targets(u, config, error)) {
        free_targets(u);
        free(u);
        return NULL;
    }
    u->shared = (struct link_shared){
        .env = env,
        .loop = loop,
        .connect_timeout_ns = config->connect_timeout_ns,
        .linger_timeout_ns = config->linger_timeout_ns,
        .frame_timeout_ns = config->frame_timeout_ns,
        .max_frame = config->max_frame,
        .stage_size = config->stage_size,
        .read_budget = config->read_budget,
        .read_buffer = malloc(READ_SIZE),
        .read_size = READ_SIZE,
    };
    assert(u->shared.read_buffer);
    TAILQ_INIT(&u->shared.starving);
    return u;
}

void upstream_free(struct upstream *u)
{
    assert(u->shared.links == 0);
    while (u->shared.spare_count > 0)
        free(u->shared.spare_stages[--u->shared.spare_count]);
    free(u->shared.spare_part);
    free(u->shared.read_buffer);
    free_targets(u);
    free(u);
}

struct link *upstream_connect(struct upstream *u, const struct link_ops *ops, void *user,
                              struct budget *memory)
{
    const struct dial_target *target = &u->targets[u->next];
    u->next = (u->next + 1) % u->target_count;
    return link_open(&u->shared, target, ops, user, memory);
}

size_t upstream_largest(const struct upstream *u)
{
    return u->shared.stage_size - LINK_FRAME_EXTRA;
}
