/*
 * rules - what may follow what in a session, seen from Sluice.
 *
 * Pure: given the session's state, the state of the stream named (if it is alive) and a decoded
 * command of the application, says what is to be done with it. It changes nothing: the holder
 * records what it did (phase, rules_client_opened, rules_app_opened).
 *
 * Normative: protocol/README.md, "Bad input".
 */
#ifndef PROTOCOL_RULES_H
#define PROTOCOL_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/message.h"

enum rules_phase {
    RULES_BEFORE_ACCEPT,
    RULES_OPEN,
    RULES_ENDED, /* after close, abort, reject or disconnect */
};

/* The session's side of it. The holder moves phase; the rest is this module's. */
struct rules {
    enum rules_phase phase;
    const struct message_text *offered; /* subprotocols */
    size_t offered_count;
    uint64_t next_client_id[2]; /* [unidirectional]: next id a client's stream will get: 0, 4, ...
                                   and 2, 6, ... */
    uint64_t next_app_id[2];    /* next id the application must choose: 1, 5, ... and 3, 7, ... */
};

/* Halves of a stream that is alive (known to the holder); for one that is not, give NULL. */
struct rules_stream {
    bool can_send;  /* application -> client has not ended (by end_stream, reset, or stop from the
                       client) */
    bool can_stop;  /* client -> application: the application may still say stop or give credit */
    bool can_reset; /* sending half not ended, or ended but not delivered; priority too */
};

enum rules_verdict {
    RULES_APPLY,  /* do it */
    RULES_OPENS,  /* stream.send on the next id: open the stream, then do it */
    RULES_SILENT, /* class a: ignore */
    RULES_ERROR,  /* class b: webtransport.error, the session goes on */
    RULES_FATAL,  /* class c: webtransport.error, then disconnect by "proxy" */
};

/* offered: the scope's subprotocols, valid until accept has been judged (for an accept must choose
 * one of them). */
void rules_init(struct rules *r, const struct message_text *offered, size_t count);
/* A message that is in order, but refused (RULES_ERROR, RULES_FATAL), fills fault. */
enum rules_verdict rules_judge(const struct rules *r, const struct message *m,
                               const struct rules_stream *stream, struct message_fault *fault);
/* The id of the client's next stream, in order of arrival. */
uint64_t rules_client_opened(struct rules *r, bool unidirectional);
/* The application's next id of that kind has been used. */
void rules_app_opened(struct rules *r, bool unidirectional);

#endif
