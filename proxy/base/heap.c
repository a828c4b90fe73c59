/*
 * heap - a binary heap in an array; each node is told its slot whenever it moves.
 */
#include "base/heap.h"

#include <assert.h>
#include <stdlib.h>

static bool comes_before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->tie < b->tie;
}

static void place(struct heap *h, struct heap_node *node, size_t slot)
{
    h->nodes[slot] = node;
    node->slot = slot;
}

static void sift_up(struct heap *h, struct heap_node *node, size_t slot)
{
    while (slot > 0 && comes_before(node, h->nodes[(slot - 1) / 2])) {
        place(h, h->nodes[(slot - 1) / 2], slot);
        slot = (slot - 1) / 2;
    }
    place(h, node, slot);
}

static void sift_down(struct heap *h, struct heap_node *node, size_t slot)
{
    for (;;) {
        size_t child = 2 * slot + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && comes_before(h->nodes[child + 1], h->nodes[child]))
            child++;
        if (!comes_before(h->nodes[child], node))
            break;
        place(h, h->nodes[child], slot);
        slot = child;
    }
    place(h, node, slot);
}

/* Finds the place of a node that may belong above or below slot. */
static void settle(struct heap *h, struct heap_node *node, size_t slot)
{
    if (slot > 0 && comes_before(node, h->nodes[(slot - 1) / 2]))
        sift_up(h, node, slot);
    else
        sift_down(h, node, slot);
}

void heap_fini(struct heap *h)
{
    assert(h->count == 0);
    free(h->nodes);
}

void heap_put(struct heap *h, struct heap_node *node, uint64_t key, uint64_t tie)
{
    if (!node->is_in && h->count == h->room) {
        h->room = h->room ? 2 * h->room : 16;
        h->nodes = realloc(h->nodes, h->room * sizeof(struct heap_node *));
        if (!h->nodes)
            abort();
    }
    size_t slot = node->is_in ? node->slot : h->count++;
    node->is_in = true;
    node->key = key;
    node->tie = tie;
    settle(h, node, slot);
}

void heap_take(struct heap *h, struct heap_node *node)
{
    if (!node->is_in)
        return;
    assert(node->slot < h->count && h->nodes[node->slot] == node);
    node->is_in = false;
    struct heap_node *last = h->nodes[--h->count];
    if (last != node)
        settle(h, last, node->slot);
}

struct heap_node *heap_first(const struct heap *h)
{
    return h->count ? h->nodes[0] : NULL;
}
