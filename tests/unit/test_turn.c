#include <string.h>

#include "cmocka_all.h"
#include "base/turn.h"

/* What happened, one letter each. */
static char story[64];

static void tell(char letter)
{
    size_t len = strlen(story);

    story[len] = letter;
    story[len + 1] = '\0';
}

struct thing {
    struct turn *turn;
    char letter;
    struct turn_flush flush;
    struct turn_grave grave;
    struct thing *touches, *buries; /* once, when it is flushed */
};

static void thing_free(void *owner)
{
    struct thing *thing = owner;

    tell((char)(thing->letter - 'a' + 'A'));
}

static void thing_flush(void *owner)
{
    struct thing *thing = owner;
    struct thing *touches = thing->touches, *buries = thing->buries;

    tell(thing->letter);
    thing->touches = thing->buries = NULL;
    if (touches)
        turn_touch(thing->turn, &touches->flush);
    if (buries)
        turn_bury(thing->turn, &buries->grave, thing_free, buries);
}

static struct thing thing_of(struct turn *turn, char letter)
{
    return (struct thing){.turn = turn, .letter = letter};
}

static void things_init(struct turn *turn, struct thing *back, struct thing *front)
{
    story[0] = '\0';
    turn_init(turn);
    *back = thing_of(turn, 'b');
    *front = thing_of(turn, 'f');
    turn_flush_init(&back->flush, TURN_BACK, thing_flush, back);
    turn_flush_init(&front->flush, TURN_FRONT, thing_flush, front);
}

static void test_back_comes_first_and_twice_is_once(void **state)
{
    struct turn turn;
    struct thing back, front;

    (void)state;
    things_init(&turn, &back, &front);
    turn_touch(&turn, &front.flush);
    turn_touch(&turn, &back.flush);
    turn_touch(&turn, &front.flush);
    turn_end(&turn);
    assert_string_equal(story, "bf");
    turn_end(&turn);
    assert_string_equal(story, "bf");
}

static void test_again_until_nothing_is_touched(void **state)
{
    struct turn turn;
    struct thing back, front;

    (void)state;
    things_init(&turn, &back, &front);
    front.touches = &back;
    back.touches = &front;
    turn_touch(&turn, &front.flush);
    turn_end(&turn);
    assert_string_equal(story, "fbf");
}

static void test_buried_is_freed_last(void **state)
{
    struct turn turn;
    struct thing back, front;

    (void)state;
    things_init(&turn, &back, &front);
    back.buries = &back;
    turn_touch(&turn, &back.flush);
    turn_touch(&turn, &front.flush);
    turn_end(&turn);
    assert_string_equal(story, "bfB");
}

static void test_untouch(void **state)
{
    struct turn turn;
    struct thing back, front;

    (void)state;
    things_init(&turn, &back, &front);
    turn_touch(&turn, &back.flush);
    turn_untouch(&turn, &back.flush);
    turn_untouch(&turn, &back.flush);
    turn_end(&turn);
    assert_string_equal(story, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_back_comes_first_and_twice_is_once),
        cmocka_unit_test(test_again_until_nothing_is_touched),
        cmocka_unit_test(test_buried_is_freed_last),
        cmocka_unit_test(test_untouch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
