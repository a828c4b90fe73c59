/*
 * relay_internal - a session's two sides and its streams, as the files of relay share them.
 *
 *      client                        relay                          application
 *        wt  ──stream, datagram──►  relay_up  ──events, news──►        link
 *        wt  ◄──write, open, close── relay_down ◄──commands──          link
 *
 * relay.c         a session's life: how it begins, what its two sides' ends mean
 * relay_answer.c  what the application says of the session itself
 * relay_stream.c  the streams: table, accounts of bytes, when one can be let go
 * relay_up.c      what the client does, told to the application
 * relay_news.c    what the session itself has to tell: errors, credit, drain, disconnect
 * relay_down.c    what the application commands, done to the client
 * relay_scope.c   the first frame
 * relay_seat.c    at which address of the application the session is
 * relay_probe.c   whether an application would accept a session
 *
 * Nothing is queued as messages. What is still to be told is kept as flags and byte queues in the
 * session and its streams, and becomes a message when the link has room; so memory is bounded by
 * the number of streams and their windows.
 */
#ifndef RELAY_INTERNAL_H
#define RELAY_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "back/link.h"
#include "back/upstream.h"
#include "base/dgramq.h"
#include "base/env.h"
#include "base/recvq.h"
#include "base/siphash.h"
#include "base/stats.h"
#include "base/timers.h"
#include "base/budget.h"
#include "base/turn.h"
#include "base/window.h"
#include "front/wt.h"
#include "offer.h"
#include "protocol/message.h"
#include "protocol/rules.h"
#include "relay.h"

#define uthash_fatal(text)             abort()
#define HASH_FUNCTION(key, len, value) ((value) = (unsigned)siphash(hash_key, key, len))
#include <uthash.h>

struct relay {
    struct env *env;
    uint64_t closes_ns; /* when sessions will be closed, once it drains */
    bool in_a_hurry;
    struct message_decoder *decoder;
    LIST_HEAD(, session) sessions;
    size_t count;
};

/* How far the conversation with the application is. The moves are in relay.c. */
enum session_state {
    SESSION_CONNECTING, /* an address is sought, or the link is being made */
    SESSION_ASKED,      /* the scope is sent; the client waits for an answer */
    SESSION_OPEN,
    SESSION_DELIVERING, /* close with after_delivery: until the client has everything */
    SESSION_DELIVERED,  /* it has; its page gets a moment to read it */
    SESSION_CLOSING,    /* the application ended it; the client's side is not over yet */
    SESSION_ENDING,     /* what is left is told, then disconnect */
    SESSION_OVER,       /* disconnect is sent, or there is nobody to tell */
    SESSION_STATES
};

/* Who ended it and how; what disconnect says. Decided once: by is NULL before. */
struct session_end {
    const char *by;
    struct message_uint code;
    char *reason; /* owned; NULL is "" */
    size_t reason_len;
    bool clean;
    bool closed; /* the application's close: clean is known when the client has answered */
    enum fault fault;
};

/* What the session itself has to tell. */
enum session_news {
    NEWS_DRAIN_CLIENT = 1,
    NEWS_DRAIN_SHUTDOWN = 2,
    NEWS_DATAGRAM_LIMIT = 4,
    NEWS_SESSION_CREDIT = 8,
};

/* Bytes that the application sent: limit is what it may send, held is what it has sent and the
 * client has not acknowledged. */
struct account {
    uint64_t sent, released, announced;
    struct window window;
};

/* What an application may send ahead at first. */
#define FIRST_SESSION_WINDOW (128 * 1024)
#define FIRST_STREAM_WINDOW  (64 * 1024)
/* What a session costs besides its window and what its link keeps. */
#define SESSION_COST (16 * 1024)

struct session {
    struct relay *relay;
    struct visit visit;
    const struct relay_route *route;
    LIST_ENTRY(session) entry;
    struct wt_session *wt; /* NULL when the client's side is over */
    bool wt_closing;       /* only wt's closed() is still to come */
    struct seat seat;      /* at the application, until the link has closed */
    struct link *link;     /* NULL when the application's side is over, or not found yet */
    enum session_state state;
    struct session_end end;
    char *detail; /* for the log: what is known of the reason of its end; or NULL */
    bool accepted;
    unsigned status; /* of a refusal, 0 without */
    uint8_t *scope;  /* until it is answered */
    size_t scope_len;
    struct offer offer; /* of subprotocols, until the answer */

    struct rules rules;
    struct stream *streams;                /* all that are alive, by id */
    TAILQ_HEAD(stream_list, stream) ready; /* have something to tell, in the order of their turn */
    struct stream_list owed;               /* credit of these is to be told, before all that */
    struct stream_list pending[2]; /* [unidirectional]: wait for the client's limit, in id order */
    size_t pending_count;
    uint64_t receive_window;    /* per stream, of the application; UINT64_MAX without */
    uint64_t up_sent, up_limit; /* of all streams; up_limit is UINT64_MAX until it is said */

    struct dgramq datagrams; /* towards the application */
    unsigned news;           /* enum session_news */
    uint64_t drain_deadline_ms;
    struct message_fault error; /* to be told if error_count > 0 */
    uint64_t error_count;
    bool error_fatal;
    uint64_t error_second_ns; /* when the present second of errors began */
    unsigned errors_told;     /* in it */

    struct budget memory;
    struct account account;
    uint64_t excess;     /* bytes held beyond the window, charged to memory: a frame at most */
    size_t streams_over; /* hold more than their window */
    size_t undelivered;  /* streams whose end the client has not acknowledged */
    bool paused;         /* the link is, for want of credit */
    size_t open_data;    /* bytes of data in the link's open frame */

    struct timer deadline; /* of the state */
    struct timer stall;
    struct timer error_due;
    struct timer drain_due;
    struct turn_flush flush;
    struct turn_grave grave;
    bool buried;
};

/* The half from the application to the client. */
enum down_state {
    DOWN_OPEN,
    DOWN_ENDED, /* end_stream was said; the client has not acknowledged all */
    DOWN_OVER,  /* delivered, reset or stopped, or never there */
};

enum stream_news {
    NEWS_RESET = 1,
    NEWS_STOP = 2,
    NEWS_DELIVERED = 4,
};

struct stream {
    struct session *session;
    struct wt_stream *wt; /* NULL while pending */
    uint64_t id;
    UT_hash_handle hh;
    bool unidirectional;

    /* The half from the client to the application: up_over when its end is told or unwanted. */
    bool announced, fin, up_over;
    bool client_ended; /* FIN or reset has come */
    bool stopped;      /* the application wants no more */
    struct recvq queue;
    uint64_t up_sent, up_limit;
    size_t unwritten; /* messages staged and not taken by the socket yet */
    size_t staged;    /* bytes in them that the client has no credit for yet */

    enum down_state down;
    struct recvq backlog; /* what wt does not take yet */
    bool confirm, end_told, over_window;
    struct account account;

    bool pending;
    bool reset_later, stop_later, order_later; /* while pending */
    int64_t send_order;
    uint32_t reset_later_code, stop_later_code;

    unsigned news; /* enum stream_news */
    struct wt_code reset_code, stop_code;
    bool is_ready, is_owed;
    size_t head_flag_at; /* stream_ended in the open frame's head */
    TAILQ_ENTRY(stream) ready_entry;
    TAILQ_ENTRY(stream) owed_entry;
    TAILQ_ENTRY(stream) pending_entry;
};

/* --- relay.c --- */

void session_touch(struct session *s);
void session_move(struct session *s, enum session_state to);
/* Who ended it and how; the first to say so is right. */
extern const struct message_uint session_no_code;
void session_decide(struct session *s, const char *by, struct message_uint code, const char *reason,
                    size_t reason_len, bool clean, enum fault fault);
/* The application has ended it: its end of the link may go. */
void session_begin_closing(struct session *s);
/* Closes the client's side as was decided. */
void session_close_now(struct session *s);
/* The application broke the protocol. */
void session_break(struct session *s, const struct message_fault *fault);
/* Everything that the application was to be told has been: finishes the link. */
void session_told(struct session *s);
/* True while commands are to be looked at. */
bool session_listens(const struct session *s);

/* Sluice itself ends it. */
void session_fail(struct session *s, enum fault fault, unsigned status);
extern const struct link_ops session_link_ops;
/* What is known of the reason of its end. */
void session_explain(struct session *s, const char *detail);

/* --- relay_seat.c --- */

/* Finds an address of the application and connects: link_ops follow, or the session fails. */
void session_take_seat(struct session *s, const struct wt_request *r);
/* The address failed; the link has closed, or will not be used any more. Returns true if another
 * one is sought, as by session_take_seat. */
bool session_change_seat(struct session *s, const struct link_end *end);
/* Answers the client that there is no room, and when to come again. */
void session_refuse_for_now(struct session *s);
struct upstream *session_upstream(const struct session *s);

/* --- relay_answer.c --- */

void session_accept(struct session *s, const struct message *m);
void session_reject(struct session *s, const struct message *m);
void session_close(struct session *s, const struct message *m);
void session_abort(struct session *s);

/* --- relay_stream.c --- */

struct stream *stream_new(struct session *s, uint64_t id, struct wt_stream *wt);
struct stream *stream_find(const struct session *s, uint64_t id);
/* Lets it go if nothing is to be done with it any more: then it is no more. */
void stream_settle(struct stream *st);
/* Tells the front how much the application wants of the stream, if it says so itself. */
void stream_tell_limit(struct stream *st);
/* The client's side is gone, or all is over: no stream is known to wt any more. */
void streams_forget_wt(struct session *s);
void streams_free(struct session *s);
bool stream_is_by_app(uint64_t id);
bool stream_is_uni(uint64_t id);

void account_init(struct account *a, size_t first, size_t largest, struct budget *memory);
uint64_t account_held(const struct account *a);
/* The application sent len bytes; they are held until stream_released. */
void stream_charged(struct stream *st, size_t len);
void stream_released(struct stream *st, uint64_t len);
/* Bytes that went nowhere: not held. */
void session_charged_for_nothing(struct session *s, size_t len);
/* Pauses or resumes the link, as the accounts say. */
void session_watch_credit(struct session *s);
/* Its credit need not be told, or not any more. */
void stream_owe_nothing(struct stream *st);
/* The sending half is over: held bytes are let go. */
void stream_end_down(struct stream *st);
/* Gives wt what it takes now of backlog and end. */
void stream_push(struct stream *st);

/* --- relay_up.c --- */

void stream_make_ready(struct stream *st);
void up_stream_opened(void *user, struct wt_stream *wt, bool unidirectional);
void up_stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin);
void up_stream_reset(void *stream_user, struct wt_code code);
void up_stream_stopped(void *stream_user, struct wt_code code);
void up_stream_acked(void *stream_user, size_t len, bool all);
void up_datagram_received(void *user, const uint8_t *data, size_t len);
void up_written(void *user, void *receipt, size_t bytes, size_t count);
/* Tells as much as the link takes, streams in turn. */
void up_pump(struct session *s);
/* The application wants no more of this half. */
void stream_drop_up(struct stream *st);

/* --- relay_news.c --- */

/* Stages a message. Returns false if there is no room now. */
bool news_send(struct session *s, const struct message *m);
/* Returns true if nothing is left to be told. */
bool news_pump(struct session *s);
void news_error(struct session *s, const struct message_fault *fault, bool fatal);
bool news_disconnect(struct session *s);
void news_error_due(void *owner);
struct message_text news_text(const char *text);

/* --- relay_down.c --- */

void down_frame_received(void *user, const uint8_t *body, size_t len);
void down_frame_refused(void *user, uint64_t length);
/* Opens streams that were held back, as far as the client's limit goes now. */
void down_open_pending(struct session *s, bool unidirectional);

/* --- relay_scope.c --- */

/* Encodes the scope into s->scope and finds what is offered. Returns false if it is larger than a
 * frame may be. */
bool scope_build(struct session *s, const struct wt_request *r);
/* True if a route leaves this header out. */
bool session_strips(const struct relay_headers *rule, const struct header *h);

#endif
