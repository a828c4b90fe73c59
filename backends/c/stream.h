/*
 * stream - one stream: what waits for credit, what waits for the application, and its two ends.
 *
 *   sending     sluice_stream_send ──► queue (waits for credit) ──► line
 *   receiving   line ──► stream_data ──► inbox (what was not taken) ──► stream_data again
 *
 * A stream is closed when both directions have ended; that is told, and the memory freed, from
 * streams_work, never inside a call of the application. Internal.
 */
#ifndef BACKENDS_C_STREAM_H
#define BACKENDS_C_STREAM_H

#include <uthash.h>

#include "session.h"

struct sluice_stream {
    struct sluice_session *session;
    uint64_t id;
    void *user;
    bool can_receive, can_send; /* directions that have not ended */
    /* receiving */
    struct fifo inbox;
    bool inbox_ended;        /* the end waits behind the inbox */
    uint64_t taken, granted; /* bytes the application took; bytes the client may send */
    /* sending */
    struct fifo queue;
    bool ending;     /* ends when the queue is empty */
    bool wants_room; /* sluice_stream_send took less than it was given */
    uint64_t sent, limit;
    /* bookkeeping */
    bool is_ready;
    unsigned work; /* a set of enum stream_work; 0: not in the list */
    TAILQ_ENTRY(sluice_stream) ready, working;
    UT_hash_handle hh;
};

/* NULL if there is no such stream (any more). */
struct sluice_stream *stream_find(struct sluice_session *s, uint64_t id);
struct sluice_stream *stream_new(struct sluice_session *s, uint64_t id);

/* What Sluice reports. */
/* False if it is more than the proxy may send. */
bool stream_received(struct sluice_stream *st, const uint8_t *data, size_t len, bool ended);
void stream_was_reset(struct sluice_stream *st, int64_t code);
void stream_was_stopped(struct sluice_stream *st, int64_t code);
void stream_credited(struct sluice_stream *st, uint64_t limit);
/* Sluice would not open it: both directions have ended. */
void stream_was_refused(struct sluice_stream *st);

/* Sends what credit and output allow, and tells what is to be told. Returns true if there is more
 * to do as soon as the socket takes more. */
bool streams_work(struct sluice_session *s);
/* The session is over: stream_closed for each, and all are freed. */
void streams_close_all(struct sluice_session *s);

#endif
