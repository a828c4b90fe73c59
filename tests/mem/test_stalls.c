/*
 * Random stalls of clients and applications, on streams taken at random, over a network that loses:
 * after every turn Sluice holds no more than it has granted credit for. Two kinds of applications:
 * those that honour credit, and those that have never heard of it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/budget.h"
#include "mem/held.h"
#include "mem/relay_world.h"
#include "unit/cmocka_all.h"

#define KIB       ((size_t)1024)
#define CLIENTS   3
#define FLOWS     256 /* streams of one session that the application may send on */
#define DEEDS     800
#define FRAME     (20 * KIB)
#define EACH_MOST (200 * KIB)

/* A stream that the application sends on. */
struct flow {
    uint64_t id, sent, limit;
    bool ended;
};

/* One session: its client, its application, and what the application knows. */
struct talk {
    struct peer_session *client;
    struct app_conn *app;
    struct flow flows[FLOWS];
    size_t flow_count;
    uint64_t next_id[2], sent, limit, received[FLOWS], window;
};

struct play {
    struct rworld *w;
    struct talk talks[CLIENTS];
    bool honest;
    size_t checks;
};

static uint8_t bytes[EACH_MOST];

static uint64_t chance(const struct play *p, uint64_t below)
{
    return world_random(p->w->world, below);
}

static void turn_ended(void *arg)
{
    struct play *p = arg;
    held_check(p->w, p->honest ? 0 : FRAME);
    p->checks++;
}

/* --- the application --- */

static struct flow *find_flow(struct talk *t, uint64_t id)
{
    for (size_t i = 0; i < t->flow_count; i++)
        if (t->flows[i].id == id)
            return &t->flows[i];
    return NULL;
}

static void add_flow(struct talk *t, uint64_t id)
{
    if (t->flow_count < FLOWS && !find_flow(t, id))
        t->flows[t->flow_count++] = (struct flow){.id = id, .limit = t->app->scope.stream_window};
}

static void got_credit(struct talk *t, const struct message *m)
{
    struct flow *f = m->stream_id.set ? find_flow(t, m->stream_id.value) : NULL;
    if (!m->stream_id.set)
        t->limit = m->limit.value;
    else if (f)
        f->limit = m->limit.value;
}

static void on_event(struct app_conn *c, const struct app_event *e)
{
    struct play *p = c->w->user;
    struct talk *t = NULL;
    for (size_t i = 0; i < CLIENTS; i++)
        if (p->talks[i].app == c)
            t = &p->talks[i];
    if (!t)
        return;
    struct flow *f = e->m.stream_id.set ? find_flow(t, e->m.stream_id.value) : NULL;
    switch (e->m.type) {
    case MESSAGE_CREDIT:
        got_credit(t, &e->m);
        break;
    case MESSAGE_STREAM_RECEIVE:
        if (e->m.stream_id.value % 4 == 0)
            add_flow(t, e->m.stream_id.value);
        if (e->m.stream_id.value / 2 < FLOWS)
            t->received[e->m.stream_id.value / 2] += e->m.data.len;
        break;
    case MESSAGE_STREAM_STOP:
        if (f)
            f->ended = true;
        break;
    default:
        break;
    }
}

static void send_on(struct play *p, struct talk *t, struct flow *f)
{
    size_t len = chance(p, FRAME);
    if (f->ended)
        return;
    if (p->honest) {
        uint64_t own = f->limit - f->sent, all = t->limit - t->sent;
        uint64_t most = own < all ? own : all;
        len = len < most ? len : most;
    }
    f->ended = chance(p, 20) == 0;
    f->sent += len;
    t->sent += len;
    app_stream(t->app, f->id, bytes, len, f->ended);
}

static void app_sends(struct play *p, struct talk *t)
{
    /* The newer ones more often: many of the old have ended. */
    size_t among = t->flow_count < 10 || chance(p, 2) ? t->flow_count : 10;
    if (among > 0)
        send_on(p, t, &t->flows[t->flow_count - 1 - chance(p, among)]);
}

static void give_up(struct play *p, struct talk *t, struct flow *f)
{
    f->ended = true;
    app_code(t->app, MESSAGE_STREAM_RESET, f->id, 1);
    if (f->id % 4 != 3 && chance(p, 2))
        app_code(t->app, MESSAGE_STREAM_STOP, f->id, 2);
}

static void app_opens(struct play *p, struct talk *t)
{
    bool uni = chance(p, 2);
    uint64_t id = t->next_id[uni];
    if (t->flow_count == FLOWS)
        return;
    t->next_id[uni] += 4;
    add_flow(t, id);
    app_stream(t->app, id, "", 0, false);
    for (int i = 0; i < 3; i++)
        send_on(p, t, &t->flows[t->flow_count - 1]);
    if (chance(p, 4) == 0)
        give_up(p, t, &t->flows[t->flow_count - 1]);
}

static void app_gives_up(struct play *p, struct talk *t)
{
    if (t->flow_count > 0)
        give_up(p, t, &t->flows[chance(p, t->flow_count)]);
}

static void app_gives_credit(struct play *p, struct talk *t)
{
    uint64_t n = chance(p, FLOWS);
    if (t->window == 0 || t->received[n] == 0)
        return;
    app_send(t->app, &(struct message){.type = MESSAGE_CREDIT,
                                       .stream_id = {true, 2 * n},
                                       .limit = {true, t->received[n] + t->window}});
}

/* --- the client --- */

static struct peer_stream *any_stream(struct play *p, struct talk *t)
{
    size_t count = t->client->stream_count;
    struct peer_stream *st = count ? t->client->streams[chance(p, count)] : NULL;
    return st && st->wt ? st : NULL;
}

static void client_opens(struct play *p, struct talk *t)
{
    struct peer_stream *st = peer_open(t->client, chance(p, 2));
    if (!st)
        return;
    st->stuck = chance(p, 3) == 0;
    peer_send(st, bytes, chance(p, EACH_MOST), 1 + chance(p, 5000), chance(p, 2));
}

static void client_gives_up(struct play *p, struct talk *t)
{
    struct peer_stream *st = any_stream(p, t);
    if (!st)
        return;
    bool sends = st->local || !st->unidirectional, gets = !st->local || !st->unidirectional;
    if (sends && !st->stopped && !st->all_acked && chance(p, 2)) {
        st->out = NULL;
        wt_stream_reset(st->wt, 3);
    }
    if (gets && !st->fin && !st->reset && chance(p, 2))
        wt_stream_stop(st->wt, 4);
}

static void client_stalls(struct play *p, struct talk *t)
{
    struct peer_stream *st = any_stream(p, t);
    if (st && st->stuck)
        peer_unstick(st);
    else if (st)
        st->stuck = true;
}

/* --- the play --- */

static void one_deed(struct play *p)
{
    struct talk *t = &p->talks[chance(p, CLIENTS)];
    if (t->client->closed || !t->app || t->app->fd < 0)
        return;
    switch (chance(p, 14)) {
    case 0:
        client_opens(p, t);
        break;
    case 1:
        client_gives_up(p, t);
        break;
    case 2:
        client_stalls(p, t);
        break;
    case 3:
    case 9:
        app_opens(p, t);
        break;
    case 4:
        app_gives_up(p, t);
        break;
    case 5:
        t->app->deaf = !t->app->deaf;
        break;
    case 6:
        wt_datagram_send(t->client->wt, bytes, chance(p, 1000));
        break;
    case 7:
        app_send(t->app, &(struct message){.type = MESSAGE_DATAGRAM_SEND,
                                           .data = {bytes, chance(p, 1000)}});
        break;
    case 8:
        app_gives_credit(p, t);
        break;
    default:
        for (int i = 0; i < 10; i++)
            app_sends(p, t);
    }
    peer_pump(&p->w->client);
    if (chance(p, 3) == 0) /* else the next deed is of the same turn */
        rworld_run_for(p->w, chance(p, 60) * NS_PER_MS);
}

static void begin_talk(struct play *p, size_t n)
{
    struct talk *t = &p->talks[n];
    t->client = rworld_connect(p->w, "/", NULL, 0);
    until(p->w, rworld_app(p->w, n));
    t->app = rworld_app(p->w, n);
    t->next_id[0] = 1;
    t->next_id[1] = 3;
    t->limit = t->app->scope.session_window;
    t->window = chance(p, 2) ? 1 + chance(p, 100 * KIB) : 0;
    app_send(t->app, &(struct message){.type = MESSAGE_ACCEPT,
                                       .receive_window = {t->window > 0, t->window}});
    until(p->w, t->client->responded);
}

static void play(uint64_t seed, bool honest)
{
    struct play p = {.honest = honest};
    struct rworld_config config = rworld_defaults();
    config.route.stream_window = 256 * KIB; /* more than the first, so that windows grow */
    config.route.session_window = 1024 * KIB;
    config.route.session_memory = 768 * KIB;
    config.wt.connection_memory = 768 * KIB;
    config.wt.stream_send_limit = 100 * KIB; /* less than the window: the rest waits in relay */
    config.wt.max_streams_bidi = config.wt.max_streams_uni = 6; /* more wait, too */
    config.route.stall_timeout_ns = 3600 * NS_PER_S;
    p.w = rworld_new(seed, true, &config);
    p.w->user = &p;
    p.w->on_event = on_event;
    world_on_turn(p.w->world, turn_ended, &p);
    for (size_t i = 0; i < CLIENTS; i++)
        begin_talk(&p, i);
    for (int i = 0; i < DEEDS; i++)
        one_deed(&p);
    assert_true(p.checks > DEEDS);
    rworld_free(p.w);
}

static void honest(uint64_t seed)
{
    play(seed, true);
}

static void ignorant(uint64_t seed)
{
    play(seed, false);
}

/* Where memory is short there is none for those who take more than they were granted; whoever keeps
 * to the credit notices nothing. */
static void who_exceeds_credit_ends_first(void **state)
{
    (void)state;
    struct play p = {.honest = false};
    struct rworld_config config = rworld_defaults();
    p.w = rworld_new(1, false, &config);
    struct budget *memory = world_env(p.w->server_host)->memory;
    for (size_t i = 0; i < CLIENTS; i++)
        begin_talk(&p, i);
    memory->limit = memory->used + 150 * KIB; /* disconnect needs a stage of 128 KiB */
    world_set_link(p.w->world, &(struct world_link){.delay_ns = NS_PER_MS, .loss = 1});
    app_stream(p.talks[0].app, 1, bytes, EACH_MOST, false);
    app_stream(p.talks[1].app, 1, bytes, 10 * KIB, false);
    rworld_run_for(p.w, 10 * NS_PER_MS);
    assert_int_equal(rworld_stats(p.w)->faults[FAULT_BACKEND_STALLED], 1);
    assert_int_equal(app_count(p.talks[0].app, MESSAGE_DISCONNECT, APP_ANY), 1);
    assert_int_equal(app_count(p.talks[1].app, MESSAGE_DISCONNECT, APP_ANY), 0);
    assert_true(memory->used <= memory->limit);
    memory->limit = UINT64_MAX;
    rworld_free(p.w);
}

static void applications_that_honour_credit(void **state)
{
    (void)state;
    world_each_seed(honest);
}

static void applications_that_ignore_credit(void **state)
{
    (void)state;
    world_each_seed(ignorant);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_exceeds_credit_ends_first),
        cmocka_unit_test(applications_that_honour_credit),
        cmocka_unit_test(applications_that_ignore_credit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
