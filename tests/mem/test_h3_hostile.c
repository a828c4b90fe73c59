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
#include "mem/raw.h"

#define CLOSED_CRITICAL_STREAM 0x104
#define REQUEST_CANCELLED      0x10c

static struct raw *begin(void)
{
    struct raw *r = raw_new(pair_new(1, false));
    raw_hello(r);
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
    raw_session(r);
    assert_int_equal(r->pair->server.session_count, 1);
    struct raw_stream *st = raw_open(r, false);
    char header[16];
    snprintf(header, sizeof(header), "40 41 %02x 68 69",
             (unsigned)r->streams[r->count - 2]->id & 0x3f);
    raw_write(st, header);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blocked_request_may_end_before_its_headers_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
