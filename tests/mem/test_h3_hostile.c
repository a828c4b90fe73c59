/*
 * test_h3_hostile - what a client may do to HTTP/3 that no well-behaved one does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/stats.h"
#include "front/h3.h"
#include "front/wt_code.h"
#include "mem/raw.h"

#define CLOSED_CRITICAL_STREAM 0x104
#define MESSAGE_ERROR          0x10e
#define REQUEST_CANCELLED      0x10c

static struct raw *begin(void)
{
    struct raw *r = raw_new(pair_new(1, false));
    assert_true(raw_hello(r));
    return r;
}

static void finish(struct raw *r)
{
    struct pair *p = r->pair;
    raw_free(r);
    pair_free(p);
}

static struct stats *stats_of(struct raw *r)
{
    return pair_server_stats(r->pair);
}

/* A session still comes about and carries a stream. */
static void still_serves(struct raw *r)
{
    uint64_t id = (uint64_t)raw_session(r)->id;
    assert_int_equal(r->pair->server.session_count, 1);
    struct raw_stream *st = raw_open(r, false);
    uint8_t bytes[] = {0x40, 0x41, (uint8_t)(0x40 | id >> 8), (uint8_t)id, 'h', 'i'};
    raw_write_bytes(st, bytes, sizeof(bytes));
    raw_settle(r);
    struct peer_session *s = pair_server_session(r->pair);
    assert_int_equal(s->stream_count, 1);
    assert_int_equal(s->streams[0]->len, 2);
}

/* nghttp3 keeps a stream whose headers wait for the dynamic table beyond the stream's end. */
static void a_blocked_request_may_end_before_its_headers_come(void **state)
{
    (void)state;
    for (int ends_with_fin = 0; ends_with_fin <= 1; ends_with_fin++) {
        struct raw *r = begin();
        raw_settle(r);
        struct raw_stream *st = raw_open(r, false);
        raw_write(st, "01 03 02 00 80"); /* refers to the first entry, which is not there */
        raw_settle(r);
        assert_int_equal(stats_of(r)->requests, 1);
        if (ends_with_fin)
            raw_end(st);
        else
            raw_reset(st, REQUEST_CANCELLED);
        raw_stop(st, REQUEST_CANCELLED);
        raw_settle(r);
        assert_true(st->is_closed);
        assert_int_equal(stats_of(r)->requests, 0);
        raw_write(r->encoder, "3f e1 1f 41 61 01 62"); /* capacity 4096; "a: b" */
        raw_settle(r);
        assert_false(r->closed);
        still_serves(r);
        finish(r);
    }
}

/* Nobody knows whose stream it was; still it ends, and the client gets its place back. */
static void streams_reset_inside_their_header_end(void **state)
{
    static const char *const begun[] = {"",      "40", "40 41",      "40 41 40",
                                        "c0 00", "01", "01 20 00 00"};
    (void)state;
    struct raw *r = begin();
    raw_settle(r);
    for (int i = 0; i < 350; i++) { /* the limit is 100 */
        struct raw_stream *st = raw_open(r, false);
        assert_non_null(st);
        raw_write(st, begun[i % 7]);
        raw_settle(r);
        raw_reset(st, REQUEST_CANCELLED);
        raw_settle(r);
        assert_true(st->is_reset);
        assert_true(st->is_closed);
    }
    assert_int_equal(stats_of(r)->requests, 0);
    still_serves(r);
    finish(r);
}

static void unidirectional_streams_reset_inside_their_header_end(void **state)
{
    static const char *const begun[] = {"", "40", "40 54", "40 54 40", "c0 00", "21 20 00 00"};
    (void)state;
    struct raw *r = begin();
    raw_settle(r);
    for (int i = 0; i < 350; i++) {
        struct raw_stream *st = raw_open(r, true);
        assert_non_null(st);
        raw_write(st, begun[i % 6]);
        raw_settle(r);
        raw_reset(st, REQUEST_CANCELLED);
        raw_settle(r);
    }
    still_serves(r);
    finish(r);
}

/* Whoever sends a stream for each frame of a video resets many before anything of them arrives. */
static void places_of_streams_that_only_were_reset_come_back(void **state)
{
    (void)state;
    struct raw *r = begin();
    raw_settle(r);
    for (int i = 0; i < 3000; i++) {
        struct raw_stream *st = raw_open(r, true);
        assert_non_null(st);
        raw_reset(st, REQUEST_CANCELLED);
        if (i % 40 == 39)
            raw_settle(r);
    }
    still_serves(r);
    finish(r);
}

/* Where ngtcp2 keeps something for each of them: newer ones do not, and the connection goes on. */
static void without_memory_for_them_the_connection_ends(void **state)
{
    struct wt_config config = pair_config();
    bool kept = false;
    (void)state;
    config.connection_memory = 2 * 1024 * 1024;
    struct raw *r = raw_new(pair_new_with(1, false, &config));
    raw_hello(r);
    raw_settle(r);
    uint64_t before = stats_of(r)->memory_bytes;
    for (int i = 0; i < 4000 && !r->closed; i++) {
        struct raw_stream *st = raw_open(r, true);
        if (!st || i % 40 == 39)
            raw_settle(r);
        kept |= stats_of(r)->memory_bytes > before;
        if (st && !r->closed)
            raw_reset(st, REQUEST_CANCELLED);
    }
    assert_true(r->closed == kept);
    assert_int_equal(stats_of(r)->faults[FAULT_MEMORY_STREAM], kept);
    if (!kept)
        still_serves(r);
    finish(r);
}

/* Nobody knows yet what they are to be, and each takes memory. */
static void streams_without_a_header_are_paid_for(void **state)
{
    struct wt_config config = pair_config();
    uint64_t most = 0;
    size_t opened = 0;
    (void)state;
    config.connection_memory = 1024 * 1024;
    config.max_streams_uni = 3000;
    struct raw *r = raw_new(pair_new_with(1, false, &config));
    raw_hello(r);
    raw_settle(r);
    while (!r->closed && opened < 2900) {
        struct raw_stream *st = raw_open(r, true);
        assert_non_null(st);
        raw_write(st, "40");
        if (++opened % 40 == 0)
            raw_settle(r);
        most = stats_of(r)->memory_bytes > most ? stats_of(r)->memory_bytes : most;
    }
    assert_true(r->closed);
    assert_int_equal(r->close_code, H3_EXCESSIVE_LOAD);
    assert_in_range(most, 1000 * 1024, config.connection_memory);
    assert_in_range(opened, 500, 1024 + 256 + 40);
    finish(r);
}

static void an_answer_that_is_whole_survives_the_requests_reset(void **state)
{
    (void)state;
    struct raw *r = begin();
    raw_settle(r);
    struct raw_stream *st = raw_open(r, false);
    raw_write(st, "01 06 00 00 d4 d7 c1 c1"); /* POST https /, authority missing */
    raw_settle(r);
    if (r->closed) { /* by nghttp3 since 1.11, before it refused the request alone */
        assert_int_equal(r->close_code, MESSAGE_ERROR);
        finish(r);
        r = begin();
        raw_settle(r);
    }
    st = raw_open(r, false);
    /* POST https / with :authority "a", then half a DATA frame */
    raw_write(st, "01 08 00 00 d4 d7 c1 50 01 61  00 10 61 61");
    raw_settle(r);
    raw_reset(st, REQUEST_CANCELLED);
    raw_settle(r);
    assert_true(st->in_fin);
    assert_false(st->is_reset);
    assert_true(st->is_closed);
    assert_int_equal(stats_of(r)->requests, 0);
    finish(r);
}

/* A packet with STOP_SENDING may overtake the one with the stream's header. */
static void a_stop_before_the_header_is_told_after_it(void **state)
{
    (void)state;
    for (size_t split = 0; split <= 2; split++) {
        struct raw *r = begin();
        struct raw_stream *session = raw_session(r);
        struct raw_stream *st = raw_open(r, false);
        uint8_t header[] = {0x40, 0x41, (uint8_t)session->id};
        raw_write_bytes(st, header, split);
        raw_settle(r);
        raw_stop(st, wt_code_to_wire(7));
        raw_settle(r);
        assert_true(st->is_reset); /* QUIC's own answer */
        raw_write_bytes(st, header + split, 3 - split);
        raw_write(st, "68 69");
        raw_settle(r);
        struct peer_session *s = pair_server_session(r->pair);
        assert_int_equal(s->stream_count, 1);
        assert_int_equal(s->streams[0]->len, 2);
        assert_true(s->streams[0]->stopped);
        assert_true(s->streams[0]->stop_code.known);
        assert_int_equal(s->streams[0]->stop_code.value, 7);
        finish(r);
    }
}

/* RFC 9114, section 6.2.1; RFC 9204, section 4.2 */
static void stopping_one_of_our_critical_streams_ends_the_connection(void **state)
{
    (void)state;
    for (int64_t id = 3; id <= 11; id += 4) {
        struct raw *r = begin();
        raw_settle(r);
        for (size_t i = 0; i < r->count; i++)
            if (r->streams[i]->id == id)
                raw_stop(r->streams[i], 0x100);
        raw_settle(r);
        assert_true(r->closed);
        assert_int_equal(r->close_code, CLOSED_CRITICAL_STREAM);
        finish(r);
    }
}

static void ending_one_of_its_critical_streams_ends_the_connection(void **state)
{
    (void)state;
    for (int64_t id = 2; id <= 10; id += 4) {
        for (int ends_with_fin = 0; ends_with_fin <= 1; ends_with_fin++) {
            struct raw *r = begin();
            raw_settle(r);
            for (size_t i = 0; i < r->count; i++) {
                if (r->streams[i]->id != id)
                    continue;
                if (ends_with_fin)
                    raw_end(r->streams[i]);
                else
                    raw_reset(r->streams[i], 0x100);
            }
            raw_settle(r);
            assert_true(r->closed);
            assert_int_equal(r->close_code, CLOSED_CRITICAL_STREAM);
            finish(r);
        }
    }
}

/* An application may ask for it in a loop, and the client need not read. */
static void draining_is_said_once(void **state)
{
    (void)state;
    struct raw *r = begin();
    struct raw_stream *session = raw_session(r);
    size_t before = session->in_len;
    for (int i = 0; i < 1000; i++)
        wt_drain(pair_server_session(r->pair)->wt);
    raw_settle(r);
    assert_int_equal(session->in_len - before, 7); /* a DATA frame with the capsule */
    finish(r);
}

/* With the dynamic table, ten bytes on the wire are many thousand in memory; and headers that do
 * not end, or wait for SETTINGS, are kept. */
static void headers_of_many_requests_are_bounded_together(void **state)
{
    enum { REQUESTS = 100, VALUE = 3000 };
    uint8_t value[VALUE];
    struct raw_stream *streams[REQUESTS];
    size_t whole = 0;
    (void)state;
    struct raw *r = begin();
    memset(value, 'x', sizeof(value));
    raw_write(r->encoder, "3f e1 1f 41 61 7f b9 16"); /* capacity 4096; "a", 3000 bytes */
    raw_write_bytes(r->encoder, value, sizeof(value));
    raw_settle(r);
    for (int i = 0; i < REQUESTS; i++) {
        streams[i] = raw_open(r, false);
        /* GET https / of "a", and five times that entry; the last byte is missing */
        raw_write(streams[i], "01 0e 02 00 d1 d7 c1 50 01 61 80 80 80 80 80");
    }
    raw_settle(r);
    for (int i = 0; i < REQUESTS; i++)
        raw_write(streams[i], "dd");
    raw_settle(r);
    for (int i = 0; i < REQUESTS; i++) {
        assert_true(streams[i]->in_len > 5);
        whole += streams[i]->in[4] == 0xdb; /* :status 404; the others get 431 */
        raw_end(streams[i]);
    }
    raw_settle(r);
    assert_true(whole >= 1 && whole <= 8);
    assert_int_equal(stats_of(r)->faults[FAULT_HEADERS_TOO_LARGE], REQUESTS - whole);
    assert_int_equal(stats_of(r)->requests, 0);
    still_serves(r); /* all that was counted has been given back */
    finish(r);
}

/* PRIORITY_UPDATE is nothing to us. */
static void priorities_are_skipped_wherever_they_are_cut(void **state)
{
    static const char *const frames = "80 0f 07 00 05 40 7c 75 3d 31 " /* of stream 124: "u=1" */
                                      "21 03 61 62 63 "                /* GREASE */
                                      "80 0f 07 00 01 04 "             /* of stream 4: "" */
                                      "07 01 00";                      /* GOAWAY */
    (void)state;
    for (int step = 1; step <= 24; step++) {
        struct raw *r = begin();
        raw_session(r);
        size_t len = (strlen(frames) + 1) / 3;
        for (size_t at = 0; at < len; at += (size_t)step) {
            char piece[128];
            size_t n = len - at < (size_t)step ? len - at : (size_t)step;
            snprintf(piece, sizeof(piece), "%.*s", (int)(3 * n), frames + 3 * at);
            assert_false(pair_server_session(r->pair)->draining);
            raw_write(r->control, piece);
            raw_settle(r);
        }
        assert_false(r->closed);
        assert_true(pair_server_session(r->pair)->draining);
        finish(r);
    }
}

static void frames_of_the_control_stream_are_judged(void **state)
{
    static const struct {
        const char *hex;
        uint64_t code; /* 0: nothing happens */
    } rows[] = {
        {"07 01 08 07 01 08 07 01 04", 0},
        {"07 01 04 07 01 08", 0x108},          /* the id grows */
        {"07 00", 0x106},                      /* no id */
        {"07 05 04 80 0f 07 00 05 00", 0x106}, /* a PRIORITY_UPDATE hidden in a GOAWAY */
        {"0d 06 00 80 0f 07 00 05 00", 0x106}, /* in a MAX_PUSH_ID */
        {"07 01 40 04", 0x106},                /* its id is cut */
        {"07 09 c0 00 00 00 00 00 00 04 00", 0x106},
        {"0d 01 05 0d 02 40 06", 0},
        {"0d 00", 0x106},
        {"03 01 00", 0x108}, /* CANCEL_PUSH */
        {"04 00", 0x105},    /* SETTINGS again */
        {"00 00", 0x105},
        {"01 00", 0x105},
        {"05 00", 0x105},
        {"02 00", 0x105},
        {"06 00", 0x105},
        {"08 00", 0x105},
        {"09 00", 0x105},
        {"21 00 40 21 40 00 80 0f 07 00 01 04", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct raw *r = begin();
        raw_settle(r);
        raw_write(r->control, rows[i].hex);
        raw_settle(r);
        assert_int_equal(r->closed, rows[i].code != 0);
        if (rows[i].code)
            assert_int_equal(r->close_code, rows[i].code);
        else
            still_serves(r);
        finish(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blocked_request_may_end_before_its_headers_come),
        cmocka_unit_test(streams_reset_inside_their_header_end),
        cmocka_unit_test(unidirectional_streams_reset_inside_their_header_end),
        cmocka_unit_test(places_of_streams_that_only_were_reset_come_back),
        cmocka_unit_test(without_memory_for_them_the_connection_ends),
        cmocka_unit_test(streams_without_a_header_are_paid_for),
        cmocka_unit_test(an_answer_that_is_whole_survives_the_requests_reset),
        cmocka_unit_test(a_stop_before_the_header_is_told_after_it),
        cmocka_unit_test(stopping_one_of_our_critical_streams_ends_the_connection),
        cmocka_unit_test(ending_one_of_its_critical_streams_ends_the_connection),
        cmocka_unit_test(draining_is_said_once),
        cmocka_unit_test(frames_of_the_control_stream_are_judged),
        cmocka_unit_test(priorities_are_skipped_wherever_they_are_cut),
        cmocka_unit_test(headers_of_many_requests_are_bounded_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
