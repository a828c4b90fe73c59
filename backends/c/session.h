/*
 * session - what the library knows of one WebTransport session, and how it speaks to Sluice.
 *
 * The bottom of the library's own part: line and protocol/ are below it, stream and inbound are
 * built on it. Internal; applications include sluice_app.h.
 */
#ifndef BACKENDS_C_SESSION_H
#define BACKENDS_C_SESSION_H

#include <sys/queue.h>

#include "line.h"
#include "sluice_app.h"

enum {
    OUTPUT_LIMIT = 1 << 20,    /* beyond it streams wait, datagrams are dropped */
    OUTPUT_PAUSE = 128 << 10,  /* beyond it reading pauses: what came would only be copied */
    FRAME_PAYLOAD = 64 << 10,  /* in one frame, for the other side needs frames whole */
    QUEUED_LIMIT = 16 << 20,   /* of all streams' queues; beyond it each holds this little: */
    QUEUED_AT_LEAST = 4 << 10, /* so that nobody starves */
};

enum session_phase {
    SESSION_CONNECTED, /* no scope yet */
    SESSION_ASKED,     /* neither accepted nor rejected yet */
    SESSION_ACCEPTED,
    SESSION_ENDED, /* we said close, abort or reject: only disconnected is still to come */
};

TAILQ_HEAD(stream_list, sluice_stream);

struct sluice_session {
    struct sluice_app *app;
    struct line line;
    enum session_phase phase;
    void *user;
    struct sluice_stream *streams; /* uthash, by id */
    struct sluice_stream *recent;  /* looked up last, or NULL */
    uint64_t next_id[2];           /* [unidirectional]: of our next stream */
    uint64_t client_next_id[2];    /* of the client's next stream */
    uint64_t sent, limit;          /* payload bytes on all streams, and how many we may send */
    uint64_t stream_window;        /* what each stream may send at first */
    size_t frame_payload;          /* bytes that fit into one frame */
    size_t datagram_max;
    uint64_t received, granted; /* the same of the client: how many came, and how many may */
    size_t inbox, queued;       /* bytes of all streams' inboxes and queues */
    struct stream_list ready;   /* streams with something queued and credit of their own */
    struct stream_list work;    /* streams with something to be told */
    bool hanging_up;            /* sluice_hang_up was called */
    bool finishing;             /* sluice_finish was called: close when all ends have been sent */
    uint32_t finish_code;
    char *finish_reason;
    bool gone;    /* over; freed at the turn's end */
    bool stirred; /* is in the app's list of sessions with something to do */
    TAILQ_ENTRY(sluice_session) stirring;
    TAILQ_ENTRY(sluice_session) all;
};

TAILQ_HEAD(session_list, sluice_session);

struct sluice_app {
    struct sluice_events events;
    void *user;
    struct line_loop loop;
    struct message_decoder *decoder;
    struct session_list sessions, stirred, dead;
    int listener, wake; /* wake: eventfd of sluice_app_stop */
    int spare;          /* a descriptor kept for when there are no more */
    char address[256], unlink_path[256];
    bool in_turn, stopping;
};

void session_init(struct sluice_session *s, struct sluice_app *app, int fd);
/* The session has something to write or to tell: it gets its share of this turn, or the next. */
void session_stir(struct sluice_session *s);
/* Puts one command into the output. */
void session_say(struct sluice_session *s, const struct message *m);
/* Puts `stream.send` or `datagram.send` into the output; the payload is not copied if it can be
 * helped. */
void session_say_data(struct sluice_session *s, const struct message *m);
/* Puts the close that sluice_finish asked for into the output. */
void session_say_finish(struct sluice_session *s);
/* Bytes that streams may still put into the output. */
size_t session_output_room(const struct sluice_session *s);
/* Payload has come, wanted or not. Returns false if it is more than the proxy may send. */
bool session_received(struct sluice_session *s, size_t len);
/* Lets the client send on as many bytes as the application has taken. Once in a turn. */
void session_grant(struct sluice_session *s);
/* Reads on or pauses, as the output allows. */
void session_breathe(struct sluice_session *s);

#endif
