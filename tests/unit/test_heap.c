/*
 * Tests of heap: random putting, moving and taking, against a plain array.
 */
#include <stdlib.h>

#include "cmocka_all.h"
#include "base/heap.h"

static struct heap_node *least(struct heap_node *nodes, size_t count)
{
    struct heap_node *best = NULL;
    for (size_t i = 0; i < count; i++) {
        struct heap_node *n = &nodes[i];
        if (!n->is_in)
            continue;
        if (!best || n->key < best->key || (n->key == best->key && n->tie < best->tie))
            best = n;
    }
    return best;
}

static void first_is_always_the_least(void **state)
{
    enum { NODES = 100, STEPS = 50000 };
    static struct heap_node nodes[NODES];
    struct heap h = {0};
    (void)state;
    srand(11);
    for (int step = 0; step < STEPS; step++) {
        struct heap_node *n = &nodes[rand() % NODES];
        if (rand() % 3)
            heap_put(&h, n, (uint64_t)rand() % 20, (uint64_t)step);
        else
            heap_take(&h, n);
        assert_ptr_equal(heap_first(&h), least(nodes, NODES));
    }
    for (size_t i = 0; i < NODES; i++)
        heap_take(&h, &nodes[i]);
    assert_null(heap_first(&h));
    heap_fini(&h);
}

static void equal_keys_leave_in_the_order_of_their_ties(void **state)
{
    struct heap_node nodes[3] = {{0}};
    struct heap h = {0};
    (void)state;
    heap_put(&h, &nodes[2], 5, 3);
    heap_put(&h, &nodes[0], 5, 1);
    heap_put(&h, &nodes[1], 5, 2);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(heap_first(&h), &nodes[i]);
        heap_take(&h, &nodes[i]);
    }
    heap_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_is_always_the_least),
        cmocka_unit_test(equal_keys_leave_in_the_order_of_their_ties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
