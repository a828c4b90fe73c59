/*
 * relay_world - a client in the pretend network, a server with relay and back, and an application
 * played by the test at the other end of a real Unix socket.
 *
 * The application side remembers every frame it got, decoded, and copies the bytes it lends. It
 * reads only while `reads` is true, so that it can play dead.
 */
#ifndef TESTS_RELAY_WORLD_H
#define TESTS_RELAY_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "back/upstream.h"
#include "base/env.h"
#include "base/stats.h"
#include "base/timers.h"
#include "front/wt.h"
#include "mem/pair.h"
#include "mem/peer.h"
#include "protocol/message.h"
#include "reception.h"
#include "relay.h"
#include "support/world.h"

#define APP_CONNS 64

/* A frame as the application got it; what it points to is a copy. */
struct app_event {
    struct message m;
    uint8_t *body; /* the frame's bytes, into which m points */
};

struct app_conn {
    struct rworld *w;
    int fd;         /* -1 when the application has closed it */
    bool eof, deaf; /* deaf: it does not read this one */
    struct message_decoder *decoder, *scope_decoder;
    struct message_scope scope;
    uint8_t *scope_body; /* NULL before the scope */
    size_t scope_len;
    struct app_event *events;
    size_t event_count, event_room;
    uint8_t *in;
    size_t in_len, in_room;
    uint8_t *out;
    size_t out_len, out_room;
    uint64_t written; /* bytes the socket has taken */
};

struct rworld {
    struct world *world;
    struct world_host *server_host, *client_host;
    struct wt_host *server;
    struct peer client;
    uv_loop_t loop;
    char dir[64], path[96], address[112];
    int listener; /* -1: no application */
    struct upstream *upstream;
    struct relay_route relayed;
    struct admission_route route;
    struct reception *reception;
    bool reads;                                                      /* the application reads */
    void (*on_event)(struct app_conn *c, const struct app_event *e); /* may be NULL */
    struct app_conn *conns[APP_CONNS];
    size_t conn_count;
    void *user; /* the test's own */
};

struct rworld_config {
    struct wt_config wt;
    size_t max_sessions;
    struct relay_route route; /* the only one */
    struct upstream_config upstream;
};

struct rworld_config rworld_defaults(void);
struct rworld *rworld_new(uint64_t seed, bool bad, const struct rworld_config *config);
/* Ends everything and checks that nothing is alive. */
void rworld_free(struct rworld *w);

/* Lets loop, network at this moment, and application come to rest. */
void rworld_pump(struct rworld *w);
/* On to the next event of the network or the clock. False if there is none for two minutes. */
bool rworld_step(struct rworld *w);

/* Runs until the condition holds. */
#define until(w, condition)                                                                        \
    do {                                                                                           \
        uint64_t begin_ = world_now((w)->world);                                                   \
        while (rworld_pump(w), !(condition)) {                                                     \
            assert_true(rworld_step(w));                                                           \
            assert_true(world_now((w)->world) - begin_ < 300 * NS_PER_S);                          \
        }                                                                                          \
    } while (0)
/* Lets pretended time pass. */
void rworld_run_for(struct rworld *w, uint64_t ns);

struct stats *rworld_stats(struct rworld *w);
struct peer_session *rworld_connect(struct rworld *w, const char *path,
                                    const struct header *headers, size_t count);
/* The application's connection number n, counted from 0; NULL before it has the scope. */
struct app_conn *rworld_app(struct rworld *w, size_t n);

/* Commands. */
void app_raw(struct app_conn *c, const void *bytes, size_t len);
void app_frame(struct app_conn *c, const void *body, size_t len);
void app_send(struct app_conn *c, const struct message *m);
void app_accept(struct app_conn *c);
void app_stream(struct app_conn *c, uint64_t id, const void *data, size_t len, bool end);
void app_code(struct app_conn *c, enum message_type type, uint64_t id, uint32_t code);
void app_close(struct app_conn *c, uint32_t code, const char *reason);
/* close(2) on its socket. */
void app_crash(struct app_conn *c);

/* How many events of this type, and of this stream if id is not APP_ANY. */
#define APP_ANY UINT64_MAX
size_t app_count(const struct app_conn *c, enum message_type type, uint64_t id);
/* The last such, or NULL. */
const struct message *app_last(const struct app_conn *c, enum message_type type, uint64_t id);
/* Bytes received on a stream, and whether it has ended. */
size_t app_received(const struct app_conn *c, uint64_t id, uint8_t *to, size_t cap);
bool app_ended(const struct app_conn *c, uint64_t id);
bool text_is(struct message_text t, const char *expected);

#endif
