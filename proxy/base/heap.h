/*
 * heap - a priority queue of nodes that are part of other structs, smallest first.
 *
 * A node's place is decided by key, then by tie. It knows its place, so taking any node out costs
 * no search. The caller owns the nodes, which stay where they are while they are in; heap owns its
 * array of pointers. Nothing fails.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    uint64_t key, tie;
    size_t slot; /* for heap.c only */
    bool is_in;
};

struct heap {
    struct heap_node **nodes;
    size_t count, room;
};

/* Zero it to begin. Nothing may be in it any more. */
void heap_fini(struct heap *h);

/* Puts it in, or moves it if it is in. */
void heap_put(struct heap *h, struct heap_node *node, uint64_t key, uint64_t tie);
/* Takes it out if it is in. */
void heap_take(struct heap *h, struct heap_node *node);
/* The smallest, or NULL. */
struct heap_node *heap_first(const struct heap *h);

#endif
