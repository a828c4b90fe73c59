/*
 * stress_work - rounds of work, and the streams of the first session that get stuck beside them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timers.h"
#include "stress_internal.h"

/* --- work --- */

bool stress_is_work(const struct stream *st)
{
    return st->role == ROLE_WORK || st->role == ROLE_ECHO;
}

void stress_open_work(struct session *s)
{
    enum role role = stress.round == ROUND_ECHO ? ROLE_ECHO : ROLE_WORK;
    struct stream *st;
    while (s->to_open > 0 && (st = stress_open_stream(s, false, role))) {
        s->to_open--;
        st->to_get = stress.round == ROUND_UP ? 0 : stress.each;
        st->to_send =
            (role == ROLE_WORK ? ASK : 0) + (stress.round == ROUND_DOWN ? 0 : stress.each);
        pattern_ask(st->ask, st->to_get);
        stress_send_more(st);
    }
}

void stress_begin_round(enum round round)
{
    if (stress.in_round)
        host_fail("a round goes on already");
    stress.in_round = true;
    stress.round = round;
    stress.to_do = stress.sessions * stress.streams;
    stress.each = stress.bytes / stress.to_do;
    stress.begun_ns = host_now_ns();
    for (uint64_t i = 0; i < stress.sessions; i++) {
        stress.all[i].to_open = stress.streams;
        stress_open_work(&stress.all[i]);
    }
}

void stress_work_is_done(struct stream *st)
{
    if (!st->fin || !st->all_acked)
        return;
    if (st->got != st->to_get)
        host_fail("a stream was cut");
    stress_forget_stream(st);
    if (--stress.to_do > 0)
        return;
    stress.in_round = false;
    printf("round bytes=%llu us=%llu\n",
           (unsigned long long)(stress.each * stress.sessions * stress.streams),
           (unsigned long long)((host_now_ns() - stress.begun_ns) / NS_PER_US));
}

void stress_got_work(struct stream *st, const uint8_t *data, size_t len)
{
    if (st->got + len > st->to_get)
        host_fail("more came than was asked for");
    for (size_t at = 0; at < len;) {
        size_t n = pattern_len(len - at);
        if (memcmp(data + at, stress_bytes(st->got), n) != 0)
            host_fail("what came is not what was sent");
        at += n;
        st->got += n;
    }
}

/* --- stuck streams --- */

void stress_stick(bool is_up)
{
    for (uint64_t i = 0; i < stress.stuck; i++) {
        struct stream *st = stress_open_stream(&stress.all[0], false, ROLE_STUCK);
        if (!st)
            host_fail("the server does not admit so many streams");
        st->to_send = is_up ? UINT64_MAX : ASK;
        pattern_ask(st->ask, is_up ? ASK_STUCK : ASK_EVER);
        stress_send_more(st);
    }
    stress.sticking = stress.stuck;
    if (is_up)
        printf("stuck\n");
}

void stress_unstick(void)
{
    struct stream *st, *next;
    for (st = LIST_FIRST(&stress.alive); st; st = next) {
        next = LIST_NEXT(st, entry);
        if (st->role != ROLE_STUCK)
            continue;
        wt_stream_reset(st->wt, 7);
        wt_stream_stop(st->wt, 7);
        stress_forget_stream(st);
    }
    printf("unstuck\n");
}

void stress_got_stuck(struct stream *st, size_t len)
{
    if (st->got == 0 && len > 0 && --stress.sticking == 0)
        printf("stuck\n");
    st->got += len;
}

void stress_ask_for_close(void)
{
    struct stream *st = stress_open_stream(&stress.all[0], false, ROLE_STUCK);
    if (!st)
        host_fail("the server does not admit so many streams");
    st->to_send = ASK;
    pattern_ask(st->ask, ASK_CLOSE);
    stress_send_more(st);
}
