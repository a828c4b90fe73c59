/*
 * peer - one end of WebTransport sessions in a test: a wt host that remembers what it was told.
 *
 * As a server it does what its behaviour says (accept at once or wait, echo or only record).
 * Streams are remembered in order of arrival or opening, with everything that came in on them.
 */
#ifndef TESTS_PEER_H
#define TESTS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "front/wt.h"

#define PEER_SESSIONS 8
#define PEER_REASON   2048

struct peer_stream {
    struct peer_session *session;
    struct wt_stream *wt; /* NULL once released */
    bool unidirectional, local;
    uint8_t *data;
    size_t len, room;
    uint64_t received; /* also counted when nothing is kept */
    bool fin, reset, stopped, all_acked;
    bool stuck;  /* what comes is not taken */
    size_t owed; /* bytes that came and were not taken */
    struct wt_code reset_code, stop_code;
    uint64_t acked;
    /* what is to be written, in pieces */
    const uint8_t *out;
    size_t out_len, out_at;
    size_t step; /* bytes per write; 0 is all that fits */
    bool out_end;
    uint64_t echoed;
    uint8_t *echo; /* waiting for room */
    size_t echo_len;
    size_t echo_room;
};

struct peer_session {
    struct peer *peer;
    struct wt_session *wt; /* NULL once closed */
    bool requested, responded, closed, draining;
    bool sticks; /* streams that come are stuck */
    unsigned status;
    char request[4096]; /* "scheme authority path protocol draft\nname: value\n..." */
    char response[4096];
    struct peer_stream **streams;
    size_t stream_count, stream_room;
    size_t streams_opened; /* by the other side, also those not remembered */
    size_t datagrams;
    uint8_t datagram[2048]; /* the last one */
    size_t datagram_len;
    size_t available[2];
    struct wt_end end;
    char reason[PEER_REASON];
};

enum peer_behaviour { PEER_RECORD, PEER_ECHO };

struct peer {
    struct wt_host *host;
    enum peer_behaviour behaviour;
    bool waits;             /* leaves requests unanswered */
    bool forgets;           /* echo: does not remember streams that have ended */
    unsigned refuse_status; /* not 0: refuses */
    struct peer_session *sessions[PEER_SESSIONS];
    size_t session_count;
    void (*requested)(struct peer_session *s); /* instead of answering; may be NULL */
};

extern const struct wt_ops peer_ops; /* host_user is the peer */

/* Frees what it remembers; the host must be gone. */
void peer_fini(struct peer *p);

/* Client: connects and returns the session it remembers. */
struct peer_session *peer_connect(struct peer *p, const struct sockaddr *to, socklen_t to_len,
                                  const char *path, const struct header *headers, size_t count);
/* One more on the connection of another. */
struct peer_session *peer_connect_beside(struct peer_session *other, const char *path);
/* NULL if the other side allows no more. */
struct peer_stream *peer_open(struct peer_session *s, bool unidirectional);
/* Writes all of data (lent until all_acked), step bytes at a time, then perhaps the end. */
void peer_send(struct peer_stream *st, const void *data, size_t len, size_t step, bool end);
/* Takes what has come while the stream was stuck, and what will come. */
void peer_unstick(struct peer_stream *st);
/* Goes on with what did not fit or is cut into steps. Call between turns; true if anything is left.
 */
bool peer_pump(struct peer *p);

#endif
