/*
 * test_chaos - clients and applications that do anything at any time, legal or not.
 *
 * Asserts what must hold whatever they do: nothing that ASan, UBSan or an assert finds, everything
 * freed at the end, and an application is told things in an order that the protocol allows. How
 * many seeds is in the environment (SEEDS).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/cmocka_all.h"
#include "front/wt_code.h"
#include "mem/raw.h"
#include "mem/relay_world.h"

#define CLIENTS     3
#define CONNECTIONS 12 /* of all clients, one after another */
#define STEPS       200
#define IDS         4096 /* streams of a session that are watched */
#define SESSIONS    40   /* then no more are asked for */

/* What a stream of a client's is: more on it than its end would mostly end the connection. */
enum mark { UNKNOWN, WHOLE, CUT, CONNECT };

struct chaos {
    struct rworld *w;
    struct raw *raws[CLIENTS];
    size_t connections;
    struct raw_stream *session[CLIENTS]; /* the last CONNECT, if any */
    uint64_t next_id[APP_CONNS][2];      /* what each application may open next, by kind */
    bool answered[APP_CONNS];
};

static uint64_t any(struct chaos *c, uint64_t below)
{
    return world_random(c->w->world, below);
}

static bool one_in(struct chaos *c, uint64_t n)
{
    return any(c, n) == 0;
}

/* --- what applications are told --- */

struct told {
    bool opened, up_over, stopped;
};

static void check_order(struct app_conn *app)
{
    struct told *all = calloc(IDS, sizeof(*all));
    assert_non_null(all);
    for (size_t i = 0; i < app->event_count; i++) {
        const struct message *m = &app->events[i].m;
        if (!m->stream_id.set || m->stream_id.value >= IDS)
            continue;
        struct told *t = &all[m->stream_id.value];
        switch (m->type) {
        case MESSAGE_STREAM_RECEIVE:
            assert_false(t->up_over);
            t->opened = true;
            t->up_over = m->stream_ended;
            break;
        case MESSAGE_STREAM_RESET:
            assert_false(t->up_over);
            assert_true(t->opened || m->stream_id.value & 1);
            t->up_over = true;
            break;
        case MESSAGE_STREAM_STOP:
            assert_false(t->stopped);
            assert_true(t->opened || m->stream_id.value & 1);
            t->stopped = true;
            break;
        default:
            break;
        }
    }
    free(all);
}

/* --- clients --- */

static void noise(struct chaos *c, struct raw_stream *st, size_t most)
{
    uint8_t bytes[2000];
    size_t len = any(c, most);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)any(c, 256);
    if (!st->fin && st->out_len + len < RAW_STREAM_MAX)
        raw_write_bytes(st, bytes, len);
}

static void ask(struct chaos *c, size_t n)
{
    struct raw *r = c->raws[n];
    uint8_t frame[512];
    bool has_one = c->session[n] && !c->session[n]->is_closed;
    if (c->w->conn_count > SESSIONS || (has_one && !one_in(c, 20)))
        return;
    struct raw_stream *st = raw_open(r, false);
    if (!st)
        return;
    size_t len = raw_connect_frame(frame, sizeof(frame));
    if (one_in(c, 12))
        len = any(c, len); /* the rest never comes */
    st->mark = CONNECT;
    raw_write_bytes(st, frame, len);
    if (!has_one)
        c->session[n] = st;
}

/* A request whose headers wait for the dynamic table; and what they wait for. */
static void use_table(struct chaos *c, size_t n)
{
    struct raw *r = c->raws[n];
    struct raw_stream *st;
    if (r->encoder && one_in(c, 4)) {
        if (r->encoder->out_len == 1 && !r->encoder->fin)
            raw_write(r->encoder, "3f e1 1f 41 61 01 62");
    } else if (r->count < RAW_STREAMS_MAX - 100 && (st = raw_open(r, false)) != NULL) {
        raw_write(st, "01 0a 02 00 d1 d7 c1 50 01 61 80");
        st->mark = CUT;
    }
}

static void open_stream(struct chaos *c, size_t n)
{
    struct raw *r = c->raws[n];
    bool uni = one_in(c, 2);
    if (r->count > RAW_STREAMS_MAX - 100)
        return;
    struct raw_stream *st = raw_open(r, uni);
    uint64_t id = c->session[n] ? (uint64_t)c->session[n]->id : any(c, 16) * 4;
    if (!st || id > 0x3fff)
        return;
    uint8_t header[] = {0x40, uni ? 0x54 : 0x41, (uint8_t)(0x40 | id >> 8), (uint8_t)id};
    st->mark = one_in(c, 6) ? CUT : WHOLE;
    raw_write_bytes(st, header, st->mark == CUT ? any(c, 4) : 4);
    if (st->mark == WHOLE && one_in(c, 2))
        noise(c, st, 2000);
}

static void capsule(struct chaos *c, struct raw_stream *st)
{
    static const char *const some[] = {
        "00 02 29 00",             /* GREASE */
        "00 05 80 00 78 ae 00",    /* DRAIN */
        "00 03 00 01 61",          /* DATAGRAM */
        "00 08 68 43 05 00 00 00", /* half a CLOSE */
        "00 07 68 43 04 00 00 00 07",
        "00 05 68 43 03 00 00", /* one too short */
        "00 00",
    };
    if (st && !st->fin && st->out_len + 16 < RAW_STREAM_MAX)
        raw_write(st, some[any(c, sizeof(some) / sizeof(some[0]))]);
}

static uint64_t code(struct chaos *c)
{
    return one_in(c, 3) ? any(c, 1 << 30) : wt_code_to_wire((uint32_t)any(c, 1u << 31));
}

static void use_stream(struct chaos *c, size_t n)
{
    struct raw *r = c->raws[n];
    if (r->count == 0)
        return;
    size_t back = any(c, r->count < 30 ? r->count : 30);
    struct raw_stream *st = r->streams[r->count - 1 - back];
    bool is_ours = (st->id & 1) == 0, is_uni = (st->id & 2) != 0;
    bool is_critical = is_uni && st->id <= 11;
    if (st->is_closed || ((is_critical || st->mark == CONNECT) && !one_in(c, 50)))
        return;
    switch (any(c, 5)) {
    case 0:
    case 1:
        if (st->mark == WHOLE || (!is_ours && !is_uni) || one_in(c, 200))
            noise(c, st, 2000);
        break;
    case 2:
        if (is_ours || !is_uni)
            raw_end(st);
        break;
    case 3:
        if (is_ours || !is_uni)
            raw_reset(st, code(c));
        break;
    default:
        if (!is_ours || !is_uni)
            raw_stop(st, code(c));
    }
}

static void connect_again(struct chaos *c, size_t n)
{
    if (c->connections == CONNECTIONS)
        return;
    c->connections++;
    if (c->raws[n])
        raw_bury(c->raws[n]);
    c->raws[n] = raw_begin(c->w->world, c->w->server_host);
    c->session[n] = NULL;
}

static void client_acts(struct chaos *c, size_t n)
{
    if (c->raws[n]->closed)
        connect_again(c, n);
    struct raw *r = c->raws[n];
    if (r->closed || !r->established)
        return;
    if (!r->control && !one_in(c, 10) && !raw_hello(r))
        return;
    switch (any(c, 20)) {
    case 0:
    case 1:
        ask(c, n);
        break;
    case 2:
        if (one_in(c, 3))
            capsule(c, c->session[n]);
        break;
    case 3:
        if (c->session[n] && !c->session[n]->is_closed && one_in(c, 10))
            raw_end(c->session[n]);
        break;
    case 4:
        if (one_in(c, 60))
            conn_close(r->conn, any(c, 1 << 20), "enough");
        break;
    case 5:
        if (one_in(c, 4))
            use_table(c, n);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        open_stream(c, n);
        break;
    default:
        use_stream(c, n);
    }
}

/* --- applications --- */

/* A stream that this application has heard of or opened; seldom any. */
static uint64_t known_id(struct chaos *c, size_t n, struct app_conn *app)
{
    if (app->event_count > 0 && one_in(c, 2)) {
        const struct message *m = &app->events[any(c, app->event_count)].m;
        if (m->stream_id.set)
            return m->stream_id.value;
    }
    uint64_t uni = any(c, 2);
    if (c->next_id[n][uni] > 0)
        return 4 * any(c, c->next_id[n][uni]) + (uni ? 3 : 1);
    return one_in(c, 30) ? any(c, 100) : 4 * c->next_id[n][uni] + (uni ? 3 : 1);
}

static void app_sends(struct chaos *c, size_t n, struct app_conn *app)
{
    static const uint8_t bytes[6000];
    uint64_t uni = any(c, 2), id = known_id(c, n, app);
    if (one_in(c, 3))
        id = 4 * c->next_id[n][uni] + (uni ? 3 : 1);
    if (id == 4 * c->next_id[n][0] + 1)
        c->next_id[n][0]++;
    if (id == 4 * c->next_id[n][1] + 3)
        c->next_id[n][1]++;
    app_stream(app, id, bytes, any(c, sizeof(bytes)), one_in(c, 4));
}

static void app_answers(struct chaos *c, size_t n, struct app_conn *app)
{
    c->answered[n] = true;
    if (one_in(c, 10))
        app_send(app, &(struct message){.type = MESSAGE_REJECT, .status = {true, 404}});
    else if (!one_in(c, 20))
        app_send(app, &(struct message){.type = MESSAGE_ACCEPT,
                                        .receive_window = {one_in(c, 3), any(c, 3000)}});
}

static void app_ends(struct chaos *c, struct app_conn *app)
{
    switch (any(c, 5)) {
    case 0:
        app_close(app, (uint32_t)any(c, 1000), "reason");
        break;
    case 1:
        app_send(app, &(struct message){.type = MESSAGE_CLOSE, .after_delivery = true});
        break;
    case 2:
        app_send(app, &(struct message){.type = MESSAGE_ABORT});
        break;
    case 3:
        app_crash(app);
        break;
    default:
        app_raw(app, "\0\0\0\1\xc1", 5);
    }
}

static void app_acts(struct chaos *c, size_t n)
{
    struct app_conn *app = rworld_app(c->w, n);
    if (!app || app->fd < 0)
        return;
    if (!c->answered[n]) {
        app_answers(c, n, app);
        return;
    }
    uint64_t id = known_id(c, n, app), credit = any(c, 100000);
    switch (any(c, 12)) {
    case 0:
        if (one_in(c, 12))
            app_ends(c, app);
        break;
    case 1:
        app_send(app, &(struct message){.type = MESSAGE_DATAGRAM_SEND, .data = {(void *)"d", 1}});
        break;
    case 2:
        app_send(app, &(struct message){.type = one_in(c, 2) ? MESSAGE_DRAIN : MESSAGE_CREDIT,
                                        .limit = {true, credit}});
        break;
    case 3:
    case 4:
        app_code(app, one_in(c, 2) ? MESSAGE_STREAM_RESET : MESSAGE_STREAM_STOP, id, 7);
        break;
    case 5:
        app_send(app,
                 &(struct message){.type = one_in(c, 2) ? MESSAGE_STREAM_PRIORITY : MESSAGE_CREDIT,
                                   .stream_id = {true, id},
                                   .send_order = (int64_t)any(c, 9) - 4,
                                   .limit = {true, credit}});
        break;
    default:
        app_sends(c, n, app);
    }
}

/* --- the run --- */

static void act(struct chaos *c)
{
    for (size_t i = 0; i < CLIENTS; i++)
        for (uint64_t n = any(c, 6); n > 0; n--)
            client_acts(c, i);
    for (size_t i = 0; i < c->w->conn_count; i++)
        for (uint64_t n = any(c, 4); n > 0; n--)
            app_acts(c, i);
    if (one_in(c, 20))
        c->w->reads = !c->w->reads;
    rworld_run_for(c->w, any(c, 4) * any(c, 20) * NS_PER_MS);
}

static void run(uint64_t seed)
{
    struct chaos *c = calloc(1, sizeof(*c));
    struct rworld_config config = rworld_defaults();
    assert_non_null(c);
    config.wt.early_streams = 4;
    config.wt.settings_timeout_ns = NS_PER_S;
    config.wt.close_timeout_ns = NS_PER_S / 4;
    config.route.linger_timeout_ns = config.upstream.linger_timeout_ns = NS_PER_S / 2;
    if (seed % 3 == 0)
        config.wt.connection_memory = 600 * 1024;
    if (seed % 5 == 0)
        config.route.session_memory = 200 * 1024;
    c->w = rworld_new(seed, seed & 1, &config);
    for (size_t i = 0; i < CLIENTS; i++)
        connect_again(c, i);
    rworld_run_for(c->w, 300 * NS_PER_MS);
    for (int i = 0; i < STEPS; i++)
        act(c);
    c->w->reads = true;
    rworld_run_for(c->w, NS_PER_S);
    for (size_t i = 0; i < CLIENTS; i++)
        if (!c->raws[i]->closed)
            conn_close(c->raws[i]->conn, 0x100, "");
    rworld_run_for(c->w, NS_PER_S);
    for (size_t i = 0; i < c->w->conn_count; i++)
        check_order(c->w->conns[i]);
    for (size_t i = 0; i < CLIENTS; i++)
        raw_bury(c->raws[i]);
    rworld_free(c->w);
    free(c);
}

static void whatever_they_do_nothing_breaks(void **state)
{
    (void)state;
    world_each_seed(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_they_do_nothing_breaks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
