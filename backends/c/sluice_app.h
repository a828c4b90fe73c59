/*
 * sluice_app - WebTransport applications in C, behind Sluice.
 *
 * Sluice, the proxy, speaks QUIC and HTTP/3 with the browsers. It opens one connection to this
 * library for each WebTransport session. The library listens, speaks the backend protocol
 * (protocol/README.md) and calls you back; one thread serves many sessions on a loop of its own.
 *
 *     static size_t data(struct sluice_stream *st, const uint8_t *data, size_t len, bool ended)
 *     {
 *         return sluice_stream_send(st, data, len, ended);
 *     }
 *     static void writable(struct sluice_stream *st)
 *     {
 *         sluice_stream_resume(st);
 *     }
 *     static void session(struct sluice_session *s, const struct message_scope *scope)
 *     {
 *         sluice_accept(s, NULL);
 *     }
 *     int main(void)
 *     {
 *         struct sluice_events events = {.session = session, .stream_data = data,
 *                                        .stream_writable = writable};
 *         struct sluice_app *app = sluice_app_new(&events, NULL);
 *         char error[256];
 *         if (!sluice_app_listen(app, "unix:/run/app.sock", error, sizeof(error)))
 *             return fprintf(stderr, "%s\n", error), 1;
 *         sluice_app_run(app);
 *         sluice_app_free(app);
 *     }
 *
 * That is a complete echo server for bidirectional streams, with back-pressure.
 *
 * Threads. An app, its sessions and their streams belong to the thread that runs sluice_app_run or
 * sluice_app_turn. Only sluice_app_stop may be called from elsewhere (a signal handler, a thread).
 * For more cores run more processes on one listening socket, or more apps.
 *
 * Turns. Whatever you send is written when the callback has returned: everything of one turn goes
 * out with one write, so accept, a first stream and close arrive at the proxy as one flight.
 * No callback comes from inside one of the calls below, only from sluice_app_turn.
 *
 * Memory. Nothing is buffered without a bound: a stream takes what fits into its queue and says how
 * much that was; a client gets credit for what you take, on each stream and on all together, so a
 * stream that you do not read costs one window and holds up no other.
 *
 * Out of memory ends the process.
 */
#ifndef SLUICE_APP_H
#define SLUICE_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/message.h" /* struct message_scope, struct message_header */

struct sluice_app;
struct sluice_session;
struct sluice_stream;

#define SLUICE_STREAM_QUEUE   (256u << 10) /* bytes one stream holds that wait for credit */
#define SLUICE_RECEIVE_WINDOW (256u << 10) /* bytes of one stream that you have not taken yet */
#define SLUICE_RECEIVE_LIMIT  (16u << 20)  /* the same of all streams of a session */
#define SLUICE_NO_CODE        (-1)         /* the client gave no application code */

enum sluice_by {
    SLUICE_BY_CLIENT,  /* it closed, or its connection did */
    SLUICE_BY_APP,     /* you did: sluice_close, sluice_reject, sluice_abort */
    SLUICE_BY_PROXY,   /* Sluice did, reason says why */
    SLUICE_BY_NETWORK, /* idle timeout, loss */
    SLUICE_BY_NOBODY,  /* the proxy went away without a word, or sent garbage: reason says what */
};

/* How a session ended. Valid during sluice_events.disconnected only. */
struct sluice_end {
    int64_t code;       /* 0 to 2^32-1, or SLUICE_NO_CODE */
    const char *reason; /* UTF-8, ends with NUL; "" if there is none */
    bool clean;         /* both sides agreed on the end */
    enum sluice_by by;
};

/* What happens. Leave out (NULL) what you do not care for; only session is required. */
struct sluice_events {
    /* A client wants a session. Answer now or later with sluice_accept or sluice_reject; nothing
     * else comes for it before. scope is valid only now. */
    void (*session)(struct sluice_session *s, const struct message_scope *scope);
    /* The client opened a stream. */
    void (*stream_opened)(struct sluice_stream *st);
    /* Bytes of a stream, valid only now; with ended they are the last ones (len may be 0). Returns
     * how many of them you took. Take less, and the rest is kept and nothing more comes on this
     * stream until you call sluice_stream_resume; then it is offered again, and ended with it.
     * The client may send more only as you take. Left out: everything is taken. */
    size_t (*stream_data)(struct sluice_stream *st, const uint8_t *data, size_t len, bool ended);
    /* The client gave up sending: no more data comes, and what you had not taken is gone.
     * code is its error code or SLUICE_NO_CODE. */
    void (*stream_reset)(struct sluice_stream *st, int64_t code);
    /* The client wants no more of this stream: what you send on it now goes nowhere. */
    void (*stream_stopped)(struct sluice_stream *st, int64_t code);
    /* sluice_stream_send took less than you gave: there is room again. Once each time. */
    void (*stream_writable)(struct sluice_stream *st);
    /* Both directions have ended (or the session has): the last that is heard of this stream, once
     * for each. st is invalid afterwards. */
    void (*stream_closed)(struct sluice_stream *st);
    /* A datagram, valid only now. */
    void (*datagram)(struct sluice_session *s, const uint8_t *data, size_t len);
    /* Please finish: the client asks for it (reason "client"), or the proxy is going to shut down
     * (reason "shutdown") and will close the session in deadline_ms milliseconds (0: not said). */
    void (*draining)(struct sluice_session *s, const char *reason, uint64_t deadline_ms);
    /* A mistake of this side, as Sluice saw it, in words: for the log. The session goes on unless
     * disconnected follows. */
    void (*problem)(struct sluice_session *s, const char *text);
    /* The session is over: the last that is heard of it, exactly once. s is invalid afterwards. */
    void (*disconnected)(struct sluice_session *s, const struct sluice_end *end);
};

/* events is copied. */
struct sluice_app *sluice_app_new(const struct sluice_events *events, void *user);
/* Listens on "unix:PATH" (a socket file that nobody listens on any more is replaced) or
 * "tcp:HOST:PORT" ("tcp:[::1]:7000"; port 0: any free one). Once per app. On failure returns false
 * and a sentence in error. Whoever can reach the address can pretend to be any client: give a
 * Unix socket permissions, keep TCP inside a network you trust. */
bool sluice_app_listen(struct sluice_app *app, const char *address, char *error, size_t error_size);
/* The address listened on, in the same form, with the real port. Valid as long as app. */
const char *sluice_app_address(const struct sluice_app *app);
/* Serves until sluice_app_stop. */
void sluice_app_run(struct sluice_app *app);
/* Waits at most timeout_ms for something to do (-1: for ever), does it, returns. For programs with
 * a loop of their own: sluice_app_fd is readable when there is something to do. Not from inside a
 * callback. */
void sluice_app_turn(struct sluice_app *app, int timeout_ms);
int sluice_app_fd(const struct sluice_app *app);
/* Makes sluice_app_run return. Any thread, any signal handler. */
void sluice_app_stop(struct sluice_app *app);
/* Hangs up on every session that is left, with all their last events, and frees everything. */
void sluice_app_free(struct sluice_app *app);
void *sluice_app_user(const struct sluice_app *app);

struct sluice_app *sluice_session_app(const struct sluice_session *s);
/* What you keep about a session; NULL at first. */
void sluice_session_set_user(struct sluice_session *s, void *user);
void *sluice_session_user(const struct sluice_session *s);

struct sluice_acceptance {
    unsigned status;                      /* 200 to 299; 0 means 200 */
    const struct message_header *headers; /* go out verbatim and in this order */
    size_t header_count;
    const char *subprotocol; /* one of those the client offered, or NULL */
};

/* Takes the session. how may be NULL. Its contents are copied. */
void sluice_accept(struct sluice_session *s, const struct sluice_acceptance *how);
/* Refuses it with an HTTP status of 300 to 599; body may be empty. disconnected follows. */
void sluice_reject(struct sluice_session *s, unsigned status, const struct message_header *headers,
                   size_t header_count, const void *body, size_t len);
/* Ends the session with a code and a reason (UTF-8, at most MESSAGE_REASON_MAX bytes) that the
 * client gets; does not wait for streams. disconnected follows; until then nothing else does, and
 * what you send goes nowhere. */
void sluice_close(struct sluice_session *s, uint32_t code, const char *reason);
/* The same, but first the client gets all of the streams whose end you have sent (for at most as
 * long as the proxy waits). Without it a browser throws away what its page has not read yet. */
void sluice_finish(struct sluice_session *s, uint32_t code, const char *reason);
/* Ends it at once and uncleanly. disconnected follows. */
void sluice_abort(struct sluice_session *s);
/* Asks the client to finish. */
void sluice_drain(struct sluice_session *s);
/* Writes what there is to write, then drops the connection to the proxy as a crash would. For
 * tests. disconnected follows. */
void sluice_hang_up(struct sluice_session *s);

/* Sends a datagram; it may be lost. Returns false if it was dropped at once, because the session's
 * output is stuck or because it is larger than sluice_datagram_max. */
bool sluice_datagram_send(struct sluice_session *s, const void *data, size_t len);
size_t sluice_datagram_max(const struct sluice_session *s);

/* Opens a stream of the server. The session must be accepted; NULL if it is over. */
struct sluice_stream *sluice_stream_open(struct sluice_session *s, bool unidirectional);
/* Copies in as much of data as fits; returns how much. Less than len: keep the rest, and
 * stream_writable tells when to go on. With end, and all of it taken, the sending direction ends
 * behind these bytes (len may be 0). On a direction that has ended, or one that the stream does not
 * have, everything counts as taken and goes nowhere. */
size_t sluice_stream_send(struct sluice_stream *st, const void *data, size_t len, bool end);
/* Offers again what stream_data did not take: from the loop, in this turn or the next. */
void sluice_stream_resume(struct sluice_stream *st);
/* Gives up sending; what is still queued is lost, and the client gets the code. */
void sluice_stream_reset(struct sluice_stream *st, uint32_t code);
/* Wants no more: no more data comes, and the client gets the code. */
void sluice_stream_stop(struct sluice_stream *st, uint32_t code);

uint64_t sluice_stream_id(const struct sluice_stream *st);
bool sluice_stream_is_unidirectional(const struct sluice_stream *st);
bool sluice_stream_is_client(const struct sluice_stream *st); /* the client opened it */
struct sluice_session *sluice_stream_session(const struct sluice_stream *st);
void sluice_stream_set_user(struct sluice_stream *st, void *user);
void *sluice_stream_user(const struct sluice_stream *st);

#endif
