/*
 * The application's address, and what all links to it share. Owns the shared read buffer and spare
 * stages. Calls dial and link.
 */
#include "back/upstream.h"

#include <assert.h>
#include <stdlib.h>

#include "back/dial.h"

#define READ_SIZE (256 * 1024) /* what a Unix socket holds, and some more */

struct upstream {
    struct dial_target target;
    struct link_shared shared;
};

struct upstream *upstream_new(struct env *env, uv_loop_t *loop,
                              const struct upstream_config *config, const char **error)
{
    struct upstream *u = calloc(1, sizeof *u);
    assert(u);
    if (!dial_target_init(&u->target, config->address, error)) {
        dial_target_fini(&u->target);
        free(u);
        return NULL;
    }
    u->shared = (struct link_shared){
        .env = env,
        .loop = loop,
        .target = &u->target,
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
    dial_target_fini(&u->target);
    free(u);
}

struct link *upstream_connect(struct upstream *u, const struct link_ops *ops, void *user,
                              struct budget *memory)
{
    return link_open(&u->shared, ops, user, memory);
}

size_t upstream_largest(const struct upstream *u)
{
    return u->shared.stage_size - LINK_FRAME_EXTRA;
}

const char *upstream_address(const struct upstream *u)
{
    return u->target.address;
}
