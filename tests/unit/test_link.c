/*
 * link over real sockets: framing both ways, bounds, pauses, receipts, and the ways to end.
 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "link_world.h"

/* --- out --- */

static void whole_frames_go_out_with_one_flush(void **state)
{
    struct world *w = *state;
    int app = world_connected(w), one, two;
    link_send(w->link, "abc", 3);
    link_receipt(w->link, &one, 3);
    link_send(w->link, "d", 1);
    link_receipt(w->link, &two, 1);
    link_receipt(w->link, &two, 5);
    assert_int_equal(w->receipt_count, 0);
    turn_end(&w->turn);
    uint8_t got[64];
    world_read(w, app, got, 12);
    assert_memory_equal(got, "\0\0\0\3abc\0\0\0\1d", 12);
    assert_int_equal(w->receipt_count, 3);
    assert_int_equal(w->receipt_bytes, 9);
    assert_true(w->writable > 0);
    assert_int_equal(w->stats.frames_sent, 2);
    close(app);
}

static void an_open_frame_grows_until_it_is_written(void **state)
{
    struct world *w = *state;
    int app = world_connected(w), key = 0, other = 0;
    link_open_frame(w->link, &key, "HEAD", 4);
    assert_true(link_extends(w->link, &key));
    assert_false(link_extends(w->link, &other));
    link_append(w->link, "xy", 2);
    link_append(w->link, "z", 1);
    link_patch_head(w->link, 1, 'e');
    turn_end(&w->turn);
    assert_false(link_extends(w->link, &key));
    link_open_frame(w->link, &key, "H", 1);
    link_send(w->link, "!", 1);
    assert_false(link_extends(w->link, &key));
    turn_end(&w->turn);
    uint8_t got[64];
    const char expected[] = "\0\0\0\x0cHeAD\xc6\0\0\0\3xyz"
                            "\0\0\0\6H\xc6\0\0\0\0"
                            "\0\0\0\1!";
    world_read(w, app, got, sizeof expected - 1);
    assert_memory_equal(got, expected, sizeof expected - 1);
    close(app);
}

static void an_open_frame_never_exceeds_max_frame(void **state)
{
    struct world *w = *state;
    w->shared.max_frame = 32;
    int app = world_connected(w), key = 0;
    link_open_frame(w->link, &key, "HEAD", 4);
    assert_int_equal(link_append_room(w->link), 32 - 4 - 5);
    link_append(w->link, "0123456789", 10);
    assert_int_equal(link_append_room(w->link), 32 - 4 - 5 - 10);
    close(app);
}

static void the_stage_is_bounded_and_drains(void **state)
{
    struct world *w = *state;
    int app = world_connected(w), key = 0;
    uint8_t block[1000];
    memset(block, 7, sizeof block);
    size_t staged = 0;
    for (int i = 0; i < 4000; i++) { /* until neither the stage nor the kernel take any more */
        while (link_room(w->link) >= sizeof block + 4) {
            link_send(w->link, block, sizeof block);
            link_receipt(w->link, &key, sizeof block);
            staged += sizeof block;
            i = 0;
        }
        turn_end(&w->turn);
        if (link_room(w->link) < sizeof block + 4)
            break;
    }
    assert_true(link_room(w->link) < sizeof block + 4);
    assert_true(staged - w->receipt_bytes <= STAGE_SIZE + 2 * 16384);
    size_t frames = staged / sizeof block;
    int writable = w->writable;
    for (size_t i = 0; i < frames; i++) {
        uint8_t got[1004];
        world_read(w, app, got, sizeof got);
        assert_memory_equal(got + 4, block, sizeof block);
    }
    until(w, w->receipt_bytes == staged);
    assert_true(w->writable > writable);
    assert_int_equal(link_room(w->link), STAGE_SIZE);
    close(app);
}

static void a_forgotten_receipt_is_not_told(void **state)
{
    struct world *w = *state;
    int app = world_connected(w), one, two;
    link_send(w->link, "a", 1);
    link_receipt(w->link, &one, 10);
    link_send(w->link, "b", 1);
    link_receipt(w->link, &two, 1);
    link_forget_receipt(w->link, &one);
    turn_end(&w->turn);
    assert_int_equal(w->receipt_bytes, 1);
    close(app);
}

/* --- in --- */

static void frames_come_in_whole_sliced_and_many_at_once(void **state)
{
    struct world *w = *state;
    int app = world_connected(w);
    world_write_frame(w, app, 5, 'a');
    until(w, w->frames == 1);
    assert_memory_equal(w->last, "aaaaa", 5);
    uint8_t *frame = world_frame(9, 'b');
    for (size_t i = 0; i < 13; i++) {
        assert_int_equal(w->frames, 1);
        world_write(w, app, frame + i, 1);
        until(w, world_unread(app) == 0);
        world_step(w);
    }
    free(frame);
    until(w, w->frames == 2);
    assert_int_equal(w->last_len, 9);
    uint8_t many[500 * 5];
    for (size_t i = 0; i < 500; i++)
        memcpy(many + 5 * i, "\0\0\0\1c", 5);
    world_write(w, app, many, sizeof many);
    until(w, w->frames == 502);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
}

static void large_frames_come_in(void **state)
{
    struct world *w = *state;
    int app = world_connected(w);
    for (int i = 1; i <= 3; i++) {
        world_write_frame(w, app, MAX_FRAME, 'x');
        world_write_frame(w, app, 70000, 'y');
    }
    until(w, w->frames == 6);
    assert_int_equal(w->frame_bytes, 3 * (MAX_FRAME + 70000));
    close(app);
}

static void an_illegal_length_is_refused_once(void **state)
{
    const uint8_t illegal[][5] = {{0, 0, 0, 0, 1}, {0, 0x10, 0, 1, 1}, {255, 255, 255, 255, 1}};
    struct world *w = *state;
    for (size_t i = 0; i < 3; i++) {
        w->opened = w->refused = 0;
        int app = world_connected(w);
        world_write(w, app, illegal[i], 3);
        world_step(w);
        world_step(w);
        world_write(w, app, illegal[i] + 3, 2);
        until(w, w->refused);
        world_write_frame(w, app, 4, 'n');
        for (int n = 0; n < 5; n++)
            world_step(w);
        assert_int_equal(w->refused, 1);
        assert_int_equal(w->frames, 0);
        link_close(w->link);
        until(w, !w->link);
        assert_int_equal(w->end.fault, FAULT_NONE);
        close(app);
        unlink(w->path);
    }
}

static void nothing_comes_while_paused(void **state)
{
    struct world *w = *state;
    int app = world_connected(w);
    w->pause_after_frame = true;
    for (int i = 0; i < 3; i++)
        world_write_frame(w, app, 4, 'p');
    until(w, w->frames == 1);
    for (size_t n = 1; n <= 3; n++) {
        for (int i = 0; i < 5; i++)
            world_step(w);
        assert_int_equal(w->frames, n);
        link_resume(w->link);
        world_step(w);
    }
    world_write_frame(w, app, 4, 'q');
    until(w, w->frames == 4);
    close(app);
}

static void a_hang_up_is_noticed_while_paused(void **state)
{
    struct world *w = *state;
    int app = world_connected(w);
    link_pause(w->link);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
    assert_int_equal(w->frames, 0);
}

static void what_was_written_before_a_hang_up_is_not_lost_by_a_pause(void **state)
{
    struct world *w = *state;
    int app = world_connected(w);
    link_pause(w->link);
    world_write_frame(w, app, 4, 'l');
    close(app);
    for (int i = 0; i < 10; i++)
        world_step(w);
    assert_int_equal(w->closed, 0);
    link_resume(w->link);
    until(w, w->closed);
    assert_int_equal(w->frames, 1);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
}

static void a_write_error_is_not_the_end(void **state)
{
    struct world *w = *state;
    int app = world_connected(w);
    link_send(w->link, "unread by the application", 25);
    turn_end(&w->turn);
    for (int i = 0; i < 100; i++)
        world_write_frame(w, app, 900, 'e'); /* more than is read before the write */
    close(app);
    link_send(w->link, "x", 1);
    turn_end(&w->turn); /* EPIPE */
    until(w, w->closed);
    assert_int_equal(w->frames, 100);
    assert_int_equal(w->end.fault, FAULT_BACKEND_LOST);
    assert_int_equal(w->closed, 1);
}

static void an_end_inside_a_frame_is_told(void **state)
{
    struct world *w = *state;
    int app = world_connected(w);
    world_write(w, app, "\0\0\0\5ab", 6);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->frames, 0);
    assert_non_null(strstr(w->end.text, "inside a frame"));
}

static void a_link_may_be_closed_by_its_own_frame(void **state)
{
    struct world *w = *state;
    int app = world_connected(w);
    w->close_after_frame = true;
    uint8_t two[] = {0, 0, 0, 1, 'a', 0, 0, 0, 1, 'b'};
    world_write(w, app, two, sizeof two);
    until(w, w->closed);
    assert_int_equal(w->frames, 1);
    close(app);
}

static void an_allowed_eof_leaves_the_link_writable(void **state)
{
    struct world *w = *state;
    int app = world_connected(w);
    link_allow_eof(w->link);
    shutdown(app, SHUT_WR);
    for (int i = 0; i < 5; i++)
        world_step(w);
    assert_int_equal(w->closed, 0);
    link_send(w->link, "bye", 3);
    link_finish(w->link);
    uint8_t got[8];
    world_read(w, app, got, 7);
    assert_memory_equal(got, "\0\0\0\3bye", 7);
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_NONE);
    close(app);
}

/* --- the end --- */

static void finish_writes_all_and_waits_for_the_application(void **state)
{
    struct world *w = *state;
    int app = world_connected(w), key = 0;
    link_send(w->link, "last", 4);
    link_receipt(w->link, &key, 4);
    link_finish(w->link);
    assert_int_equal(link_room(w->link), 0);
    world_write_frame(w, app, 30000, 'd'); /* discarded */
    uint8_t got[9];
    world_read(w, app, got, 8);
    until(w, world_unread(app) == 0);
    ssize_t n = -1;
    until(w, (n = read(app, got, 1)) == 0); /* our write side is shut */
    assert_int_equal(w->closed, 0);
    close(app);
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_NONE);
    assert_int_equal(w->frames, 0);
    assert_int_equal(w->receipt_count, 0);
}

static void lingering_ends(void **state)
{
    struct world *w = *state;
    int app = world_connected(w);
    link_finish(w->link);
    world_step(w);
    world_step(w);
    assert_int_equal(w->closed, 0);
    w->now += 2 * NS_PER_S;
    until(w, w->closed);
    assert_int_equal(w->end.fault, FAULT_NONE);
    close(app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(whole_frames_go_out_with_one_flush),
        in_world(an_open_frame_grows_until_it_is_written),
        in_world(an_open_frame_never_exceeds_max_frame),
        in_world(the_stage_is_bounded_and_drains),
        in_world(a_forgotten_receipt_is_not_told),
        in_world(frames_come_in_whole_sliced_and_many_at_once),
        in_world(large_frames_come_in),
        in_world(an_illegal_length_is_refused_once),
        in_world(nothing_comes_while_paused),
        in_world(a_hang_up_is_noticed_while_paused),
        in_world(what_was_written_before_a_hang_up_is_not_lost_by_a_pause),
        in_world(a_write_error_is_not_the_end),
        in_world(an_end_inside_a_frame_is_told),
        in_world(a_link_may_be_closed_by_its_own_frame),
        in_world(an_allowed_eof_leaves_the_link_writable),
        in_world(finish_writes_all_and_waits_for_the_application),
        in_world(lingering_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
