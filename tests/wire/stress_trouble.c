/*
 * stress_trouble - what a client does that means no good, or does not care.
 */
#include <stdio.h>

#include "stress_internal.h"

#define HOARD (32 << 10)
#define BURST 256

void stress_push(struct session *s)
{
    struct stream *st;
    while (s->to_open > 0 && (st = stress_open_stream(s, true, ROLE_PUSH))) {
        s->to_open--;
        st->to_send = UINT64_MAX;
        stress_send_more(st);
    }
}

static bool flood_stream(struct session *s)
{
    bool uni = stress.kind < KIND_RESET_BIDI;
    struct stream *st = stress_open_stream(s, uni, ROLE_FLOOD);
    if (!st)
        return false;
    stress.sent++;
    if (wt_stream_write(st->wt, stress_bytes(0), 1) != 1)
        host_fail("a fresh stream took no bytes");
    if (stress.kind == KIND_FIN)
        wt_stream_end(st->wt);
    if (stress.kind != KIND_RESET && stress.kind != KIND_RESET_BIDI)
        return true;
    wt_stream_reset(st->wt, 1);
    if (!uni)
        wt_stream_stop(st->wt, 1);
    stress_forget_stream(st);
    return true;
}

static void flood(struct session *s)
{
    for (int i = 0; i < BURST; i++) {
        if (stress.scenario == RUN_STREAMS && !flood_stream(s))
            return;
        if (stress.scenario != RUN_DATAGRAMS)
            continue;
        if (!wt_datagram_send(s->wt, stress_bytes(0), stress.size))
            host_fail("a datagram is too large");
        stress.sent++;
    }
}

void stress_hoard(struct session *s)
{
    struct stream *st;
    while (s->to_open > 0 && (st = stress_open_stream(s, false, ROLE_HOARD))) {
        s->to_open--;
        st->to_send = ASK;
        pattern_ask(st->ask, ASK_EVER);
        stress_send_more(st);
        return;
    }
    if (s->to_open == 0)
        printf("hoarded\n");
}

void stress_hoard_more(struct stream *st, size_t len)
{
    bool enough = st->got >= HOARD;
    st->got += len;
    if (enough || st->got < HOARD)
        return;
    struct stream *before = stress.hoarded;
    if (before) {
        wt_stream_consumed(before->wt, before->got);
        wt_stream_stop(before->wt, 1);
    }
    stress.hoarded = st;
    stress_hoard(st->session);
}

/* After every poll: what came has made room for more. */
void stress_after_poll(uv_check_t *check)
{
    (void)check;
    bool floods = stress.scenario == RUN_STREAMS || stress.scenario == RUN_DATAGRAMS;
    for (uint64_t i = 0; floods && !stress.ending && i < stress.sessions; i++)
        if (stress.all[i].accepted)
            flood(&stress.all[i]);
}

void stress_tell_stopped(void)
{
    if (stress.deaf && stress.accepted == stress.sessions)
        printf("stopped\n");
}

/* Whether it is taken. */
bool stress_reads(void)
{
    if (stress.scenario != RUN_NOREAD)
        return true;
    if (!stress.deaf && stress.received >= stress.after) {
        stress.deaf = true;
        stress_tell_stopped();
    }
    return !stress.deaf;
}

/* A connection whose window is full has no room for the capsule that closes a session either. */
void stress_give_up_pushing(void)
{
    struct stream *st, *next;
    for (st = LIST_FIRST(&stress.alive); st; st = next) {
        next = LIST_NEXT(st, entry);
        if (st->role != ROLE_PUSH || !st->wt)
            continue;
        wt_stream_reset(st->wt, 7);
        stress_forget_stream(st);
    }
}
