/*
 * held - looks into relay's sessions and their streams, and adds up. See held.h.
 */
#include "mem/held.h"

#include <stdio.h>
#include <stdlib.h>

#include "back/link_internal.h"
#include "mem/relay_world.h"
#include "reception_internal.h"
#include "relay_internal.h"

void held_violated(const char *condition, const char *file, int line)
{
    fprintf(stderr, "# %s:%d: after a turn it is not so: %s\n", file, line, condition);
    abort();
}

static void check_account(const struct account *a, size_t excess)
{
    held_require(a->released <= a->sent);
    held_require(account_held(a) <= a->window.size + excess);
    held_require(a->announced <= a->released + a->window.size);
    held_require(excess > 0 || a->sent <= a->announced);
}

static void check_stream(const struct stream *st, struct held_sums *sums, size_t excess)
{
    uint64_t backlog = recvq_held(&st->backlog), queue = recvq_held(&st->queue);
    sums->send_bytes += backlog;
    sums->receive_bytes += queue;
    check_account(&st->account, excess);
    if (st->down == DOWN_OVER)
        held_require(backlog == 0 && account_held(&st->account) == 0);
    else
        held_require(account_held(&st->account) == backlog + (st->wt ? held_to_send(st->wt) : 0));
    if (st->wt)
        held_require(held_uncredited(st->wt) == queue + st->staged);
    else
        held_require(st->pending || !st->session->wt || st->session->wt_closing);
}

static void check_session(const struct session *s, struct held_sums *sums, size_t excess)
{
    uint64_t of_streams = 0;
    const struct stream *st;
    for (st = s->streams; st; st = st->hh.next) {
        check_stream(st, sums, excess);
        of_streams += account_held(&st->account);
    }
    check_account(&s->account, excess);
    held_require(account_held(&s->account) == of_streams);
    held_require(s->account.window.size + s->excess <= s->memory.used);
    /* What has been read of a frame that is not whole cannot be refused any more. */
    size_t part = s->link ? s->link->part_size : 0;
    held_require(s->memory.used - s->excess - part <= s->memory.limit);
    sums->datagrams += s->datagrams.count;
    sums->memory += s->memory.used;
}

void held_check(const struct rworld *w, size_t excess)
{
    const struct env *env = world_env(w->server_host);
    struct held_sums sums = held_by_front(w->server);
    const struct session *s;
    LIST_FOREACH (s, &w->reception->relay->sessions, entry)
        check_session(s, &sums, excess);
    held_require(sums.send_bytes == env->stats->send_bytes);
    held_require(sums.receive_bytes == env->stats->receive_bytes);
    held_require(sums.datagrams == env->stats->datagrams);
    held_require(sums.memory == env->memory->used);
    held_require(sums.memory == env->stats->memory_bytes);
}
