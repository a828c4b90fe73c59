/*
 * config - the memory of a configuration. Owns every block that was taken from it. Calls nobody.
 */
#include "config/config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct config_block {
    struct config_block *next;
    max_align_t memory[];
};

struct config *config_new(void)
{
    struct config *c = calloc(1, sizeof(*c));
    assert(c);
    return c;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    while (c->blocks) {
        struct config_block *next = c->blocks->next;
        free(c->blocks);
        c->blocks = next;
    }
    free(c);
}

void *config_take(struct config *c, size_t size)
{
    struct config_block *block = calloc(1, sizeof(*block) + size);
    assert(block);
    block->next = c->blocks;
    c->blocks = block;
    return block->memory;
}

char *config_copy(struct config *c, const char *text, size_t len)
{
    char *copy = config_take(c, len + 1);
    memcpy(copy, text, len);
    return copy;
}

/* Lists grow by doubling, so what they leave behind is no more than what they are. */
static bool is_full(size_t count)
{
    return (count & (count - 1)) == 0;
}

static void *grown(struct config *c, const void *old, size_t count, size_t size)
{
    void *at = config_take(c, (count ? 2 * count : 1) * size);
    if (count)
        memcpy(at, old, count * size);
    return at;
}

void config_texts_add(struct config *c, struct config_texts *to, const char *text)
{
    if (is_full(to->count))
        to->at = grown(c, to->at, to->count, sizeof(to->at[0]));
    to->at[to->count++] = config_copy(c, text, strlen(text));
}

void config_headers_add(struct config *c, struct config_headers *to, const char *name,
                        const char *value)
{
    if (is_full(to->count))
        to->at = grown(c, to->at, to->count, sizeof(to->at[0]));
    to->at[to->count++] = (struct config_header){config_copy(c, name, strlen(name)),
                                                 config_copy(c, value, strlen(value))};
}

void config_targets_make(struct config *c, struct config_targets *to, size_t count)
{
    *to = (struct config_targets){config_take(c, count * sizeof(to->at[0])), count};
}

size_t config_route_ways(const struct config_route *route)
{
    return route->targets.count ? route->targets.count : 1;
}

const struct config_backend *config_route_way(const struct config *c,
                                              const struct config_route *route, size_t i)
{
    return &c->backends[route->targets.count ? route->targets.at[i].backend_index
                                             : route->backend_index];
}

bool config_certificate_is_auto(const struct config_certificate *certificate)
{
    return strcmp(certificate->cert, "auto") == 0;
}
