/*
 * rules - what may follow what in a session, seen from Sluice.
 *
 * Pure: given the session's state, the state of the stream named (if it is alive) and a decoded
 * command of the application, says what is to be done with it. It changes nothing but what
 * rules_applied and rules_client_opened record.
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

/* The session's side of it. Zero it to begin; next_id[] are then set by rules_init. */
struct rules {
    enum rules_phase phase;
    uint64_t next_client_id[2]; /* [unidirectional]: next id a client's stream will get: 0, 4, ...
                                   and 2, 6, ... */
    uint64_t next_app_id[2];    /* next id the application must choose: 1, 5, ... and 3, 7, ... */
};

/* Halves of a stream that is alive (known to the holder); for one that is not, give NULL. */
struct rules_stream {
    bool can_send;  /* application -> client has not ended (by end_stream, reset, or stop from the
                       client) */
    bool can_stop;  /* client -> application: the application may still say stop */
    bool can_reset; /* sending half not ended, or ended but not delivered */
};

enum rules_verdict {
    RULES_APPLY,  /* do it */
    RULES_OPENS,  /* stream.send on the next id: open the stream, then do it */
    RULES_SILENT, /* class a: ignore */
    RULES_ERROR,  /* class b: webtransport.error, the session goes on */
    RULES_FATAL,  /* class c: webtransport.error, then disconnect by "proxy" */
};

void rules_init(struct rules *r);
enum rules_verdict rules_judge(const struct rules *r, const struct message *m,
                               const struct rules_stream *stream, struct message_fault *fault);
/* The id of the client's next stream, in order of arrival. */
uint64_t rules_client_opened(struct rules *r, bool unidirectional);
/* The application's next id of that kind has been used. */
void rules_app_opened(struct rules *r, bool unidirectional);

#endif
