/*
 * The C library and credit: a stream that nobody reads costs one window and holds up nothing, and
 * what waits is bounded. The Sluice that the test plays keeps to what it is allowed, all of it.
 */
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "app_world.h"

enum { IDS = 1024, WINDOW = SLUICE_RECEIVE_WINDOW, LIMIT = SLUICE_RECEIVE_LIMIT, PIECE = 65536 };

/* --- the application: echoes bidirectional streams, reads of unidirectional ones what it must ---
 */

static struct {
    struct sluice_session *session;
    struct sluice_stream *streams[IDS]; /* alive, by id */
    struct sluice_end end;
    unsigned disconnects;
    size_t pours; /* bytes that each stream of the application still has to send */
} app;

static void app_session(struct sluice_session *s, const struct message_scope *scope)
{
    (void)scope;
    app.session = s;
    sluice_accept(s, NULL);
}

static void app_opened(struct sluice_stream *st)
{
    app.streams[sluice_stream_id(st)] = st;
}

static size_t app_data(struct sluice_stream *st, const uint8_t *data, size_t len, bool ended)
{
    if (sluice_stream_is_unidirectional(st))
        return 0;
    return sluice_stream_send(st, data, len, ended);
}

static void pour(struct sluice_stream *st)
{
    static const uint8_t zeros[PIECE];
    size_t left = app.pours - (size_t)(uintptr_t)sluice_stream_user(st), len, n;
    do {
        len = left < PIECE ? left : PIECE;
        n = sluice_stream_send(st, zeros, len, len == left);
        left -= n;
    } while (n == len && left > 0);
    sluice_stream_set_user(st, (void *)(uintptr_t)(app.pours - left));
}

static void app_writable(struct sluice_stream *st)
{
    if (sluice_stream_is_client(st))
        sluice_stream_resume(st);
    else
        pour(st);
}

static void app_closed(struct sluice_stream *st)
{
    app.streams[sluice_stream_id(st)] = NULL;
}

static void app_disconnected(struct sluice_session *s, const struct sluice_end *end)
{
    (void)s;
    app.disconnects++;
    app.end = *end;
    app.session = NULL;
}

static const struct sluice_events events = {
    .session = app_session,
    .stream_opened = app_opened,
    .stream_data = app_data,
    .stream_writable = app_writable,
    .stream_closed = app_closed,
    .disconnected = app_disconnected,
};

/* --- the client, who uses all that it is allowed --- */

static struct {
    uint64_t limit[IDS], sent[IDS], got[IDS], may_get[IDS];
    bool ended[IDS], is_stuck[IDS];
    uint64_t all_limit, all_sent, all_got, all_stuck;
    enum message_type said; /* the last that was neither data nor credit */
    uint64_t code;
    size_t credits;
} client;

static void hear_credit(const struct message *m)
{
    uint64_t *limit = m->stream_id.set ? &client.limit[m->stream_id.value] : &client.all_limit;
    assert_true(m->limit.value > *limit);
    *limit = m->limit.value;
    client.credits++;
}

/* Takes what has come on a stream, and lets more come. */
static void hear_data(struct fake *f, const struct message *m)
{
    uint64_t id = m->stream_id.value;
    client.got[id] += m->data.len;
    client.all_got += m->data.len;
    client.ended[id] = m->end_stream;
    assert_true(client.got[id] <= client.may_get[id]);
    if (client.is_stuck[id]) {
        client.all_stuck += m->data.len;
        return;
    }
    client.may_get[id] = client.got[id] + STREAM_WINDOW;
    fake_credit(f, true, id, client.may_get[id]);
    fake_credit(f, false, 0, client.all_got - client.all_stuck + SESSION_WINDOW);
}

static void hear(struct world *w)
{
    struct fake *f = &w->fakes[0];
    step(w);
    while (fake_take(f))
        if (f->said.type == MESSAGE_CREDIT)
            hear_credit(&f->said);
        else if (f->said.type == MESSAGE_STREAM_SEND)
            hear_data(f, &f->said);
        else {
            client.said = f->said.type;
            client.code = f->said.code.value;
        }
}

static void hear_all(struct world *w)
{
    for (int i = 0; i < 50; i++)
        hear(w);
}

static uint64_t room(uint64_t id)
{
    uint64_t own = client.limit[id] - client.sent[id], all = client.all_limit - client.all_sent;
    return own < all ? own : all;
}

/* Sends at most len bytes of a stream, as far as credit allows now. Returns how many. */
static size_t put(struct world *w, uint64_t id, size_t len)
{
    static const uint8_t zeros[PIECE];
    size_t n = len < PIECE ? len : PIECE;
    n = n < room(id) ? n : (size_t)room(id);
    if (n > 0 && w->fakes[0].out_len < BIG) {
        fake_receive(&w->fakes[0], id, zeros, n, false);
        client.sent[id] += n;
        client.all_sent += n;
        return n;
    }
    return 0;
}

/* Sends so much and waits until all of it has come back. */
static void echo(struct world *w, uint64_t id, size_t len)
{
    uint64_t until = client.got[id] + len;
    for (int i = 0; client.got[id] < until && i < STEPS; i++) {
        len -= put(w, id, len);
        hear(w);
    }
    assert_int_equal(client.got[id], until);
}

/* Sends as much as ever is allowed on a stream that nobody reads. */
static void fill(struct world *w, uint64_t id)
{
    for (int i = 0; room(id) > 0 && i < STEPS; i++) {
        put(w, id, PIECE);
        hear(w);
    }
    hear_all(w);
    assert_int_equal(room(id), 0);
}

static int setup(void **state)
{
    struct world *w = world_new(&events);
    memset(&app, 0, sizeof(app));
    memset(&client, 0, sizeof(client));
    for (int i = 0; i < IDS; i++) {
        client.limit[i] = WINDOW;
        client.may_get[i] = STREAM_WINDOW;
    }
    fake_scope(&w->fakes[0]);
    hear_all(w);
    assert_int_equal(client.said, MESSAGE_ACCEPT);
    assert_int_equal(client.all_limit, LIMIT);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_free(*state);
    assert_int_equal(app.disconnects, 1);
    return 0;
}

/* --- the tests --- */

static void test_accept_tells_the_window(void **state)
{
    struct world *w = *state;
    fake_open(w, &w->fakes[1]);
    fake_scope(&w->fakes[1]);
    const struct message *m = fake_next(w, &w->fakes[1], MESSAGE_ACCEPT);
    assert_true(m->receive_window.set);
    assert_int_equal(m->receive_window.value, WINDOW);
    assert_true(fake_take(&w->fakes[1]));
    assert_int_equal(w->fakes[1].said.type, MESSAGE_CREDIT);
    assert_false(w->fakes[1].said.stream_id.set);
    fake_close(&w->fakes[1]);
    settle(w);
    app.disconnects--;
}

static void test_fifty_streams_that_nobody_reads(void **state)
{
    struct world *w = *state;
    for (uint64_t id = 2; id < 202; id += 4)
        fill(w, id);
    assert_int_equal(client.all_sent, 50 * WINDOW);
    echo(w, 0, 20 << 20);
    assert_int_equal(client.all_sent, 50 * WINDOW + (20 << 20));
    sluice_close(app.session, 42, "");
    hear_all(w);
    assert_int_equal(client.said, MESSAGE_CLOSE);
    assert_int_equal(client.code, 42);
}

/* A quarter of the window at a time, an eighth of the limit. */
static void test_credit_is_batched(void **state)
{
    struct world *w = *state;
    size_t before = client.credits;
    echo(w, 0, 16 << 20);
    print_message("# %zu credits for 16 MiB\n", client.credits - before);
    assert_true(client.credits - before <= (16 << 20) / (WINDOW / 4) + 8);
}

/* What the streams have that nobody reads is at most the limit; then all wait, until one is given
 * up: by the application, by the client. */
static void test_the_limit(void **state)
{
    struct world *w = *state;
    echo(w, 0, 1000);
    for (uint64_t id = 2; room(0) > 0; id += 4)
        fill(w, id);
    assert_true(client.all_sent >= LIMIT && client.all_sent <= LIMIT + 1000);
    sluice_stream_stop(app.streams[2], 0);
    hear_all(w);
    assert_int_equal(client.said, MESSAGE_STREAM_STOP);
    assert_true(room(0) >= WINDOW / 2);
    echo(w, 0, 1 << 20);
    fill(w, 1022);
    struct message reset = {.type = MESSAGE_STREAM_RESET, .stream_id = {true, 6}};
    fake_say(&w->fakes[0], reset);
    hear_all(w);
    echo(w, 0, 1 << 20);
}

/* Little is left of the limit, and goes round in small pieces. */
static void test_little_is_left(void **state)
{
    struct world *w = *state;
    uint64_t id = 2;
    for (; client.all_sent + WINDOW < LIMIT; id += 4)
        fill(w, id);
    for (size_t left = WINDOW - 20000; left > 0; hear(w))
        left -= put(w, id, left);
    echo(w, 0, 1 << 20);
}

/* Bytes for streams that have been stopped or closed meanwhile do not use up the limit. */
static void test_what_comes_late_is_given_back(void **state)
{
    struct world *w = *state;
    for (uint64_t id = 2; client.all_sent < 2ull * LIMIT; id += 4) {
        put(w, id, 10);
        hear_all(w);
        sluice_stream_stop(app.streams[id], 0);
        fill(w, id);
    }
    echo(w, 0, 1 << 20);
}

static void check_refused(struct world *w)
{
    settle(w);
    assert_int_equal(app.disconnects, 1);
    assert_int_equal(app.end.by, SLUICE_BY_NOBODY);
}

static void test_more_than_the_window_is_refused(void **state)
{
    struct world *w = *state;
    fill(w, 2);
    assert_int_equal(app.disconnects, 0);
    fake_receive(&w->fakes[0], 2, "x", 1, false);
    check_refused(w);
}

/* A proxy that ignores the limit, though each stream keeps to its window. */
static void test_more_than_the_limit_is_refused(void **state)
{
    struct world *w = *state;
    client.all_limit = UINT64_MAX;
    for (uint64_t id = 2; app.disconnects == 0 && id < IDS; id += 4)
        for (int i = 0; room(id) > 0 && app.disconnects == 0 && i < STEPS; i++) {
            put(w, id, PIECE);
            step(w);
        }
    check_refused(w);
    assert_true(client.all_sent >= LIMIT && client.all_sent <= 3ull * LIMIT);
}

/* A client that does not read one stream holds up that one alone. */
static void test_one_stuck_and_ninety_nine(void **state)
{
    struct world *w = *state;
    app.pours = 200000;
    client.is_stuck[3] = true;
    struct sluice_stream *st[100];
    for (int i = 0; i < 100; i++)
        st[i] = sluice_stream_open(app.session, true);
    for (int i = 0; i < 100; i++)
        pour(st[i]);
    for (int i = 0; client.all_got < 99 * 200000 + STREAM_WINDOW && i < STEPS; i++)
        hear(w);
    for (uint64_t id = 7; id < 403; id += 4) {
        assert_int_equal(client.got[id], 200000);
        assert_true(client.ended[id]);
    }
    assert_int_equal(client.got[3], STREAM_WINDOW);
    sluice_close(app.session, 43, "");
    hear_all(w);
    assert_int_equal(client.said, MESSAGE_CLOSE);
    assert_int_equal(client.code, 43);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_accept_tells_the_window),
        CASE(test_fifty_streams_that_nobody_reads),
        CASE(test_credit_is_batched),
        CASE(test_the_limit),
        CASE(test_little_is_left),
        CASE(test_what_comes_late_is_given_back),
        CASE(test_more_than_the_window_is_refused),
        CASE(test_more_than_the_limit_is_refused),
        CASE(test_one_stuck_and_ninety_nine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
