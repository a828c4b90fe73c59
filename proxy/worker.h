/*
 * worker - one thread with one loop and everything that runs in it: UDP sockets, QUIC connections,
 * sessions, and the links to the application.
 *
 * Made by the server on its own thread, because sockets that share a port must be bound in the
 * order of the workers (steering.h). From worker_start on, everything in it belongs to its thread;
 * only what is marked "any thread" may then be called from outside.
 */
#ifndef WORKER_H
#define WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admission.h"
#include "back/upstream.h"
#include "base/clients.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/tally.h"
#include "front/endpoint.h"
#include "front/packet.h"
#include "front/wt.h"

#define WORKER_MAX_ADDRESSES 64

struct worker;

/* An application. */
struct worker_backend {
    struct upstream_config upstream;
    const char *identity; /* all that is configured of it, as text: the same text, the same thing */
};

/* What can be exchanged while it runs. */
struct worker_settings {
    struct wt_config wt;
    const struct worker_backend *backends; /* routes name them by their number */
    size_t backend_count;
    struct admission_config admission;
    struct intake_limits intake; /* by the number of a listener, see worker_config */
    struct clients_config clients;
    uint64_t drain_timeout_ns;
    enum log_level log_level;
};

/* A bound socket, front/udp.h, on its way to a worker. */
struct worker_socket {
    unsigned id;      /* one for all workers' sockets at an address; never used again */
    int fd;           /* -1: the worker has it already */
    uint8_t listener; /* whose: one listener may have several */
};

struct worker_sockets_wanted {
    size_t count;
    struct worker_socket at[WORKER_MAX_ADDRESSES];
};

/* Copied; what it points to outlives the worker, but settings only until released(). */
struct worker_config {
    const struct worker_settings *settings;
    unsigned index, count;
    struct log log;
    struct worker_sockets_wanted sockets; /* taken over, also if worker_new fails */
    bool no_offload;
    struct endpoint_config endpoint; /* what the rest says is filled in */
    uint64_t memory;                 /* bytes that everything in it may hold and promise */
};

/* Called on the worker's thread. */
struct worker_ops {
    /* Answers worker_count. stats and tally are valid during the call. */
    void (*counted)(void *user, unsigned index, const struct stats *stats,
                    const struct tally *tally);
    /* A packet for another worker; false if that one has no room for it. */
    bool (*forward)(void *user, unsigned index, const struct packet *p);
    /* Answers worker_configure: new sessions get what the settings say. */
    void (*configured)(void *user, unsigned index);
    /* Answers worker_listen: it has those sockets, and the others are closed. */
    void (*listening)(void *user, unsigned index);
    /* None of its connections came in by this listener, which its settings call retired. Said
     * once for each settings. */
    void (*idle)(void *user, unsigned index, unsigned listener);
    /* Settings that are not the present ones, and of which no session has anything any more. */
    void (*released)(void *user, unsigned index, const struct worker_settings *settings);
    /* Everything in it has ended; the last call. worker_free may follow. */
    void (*ended)(void *user, unsigned index);
};

/* Does not read its sockets yet. NULL: one sentence in error. */
struct worker *worker_new(const struct worker_config *config, const struct worker_ops *ops,
                          void *user, char *error, size_t error_size);
/* Begins to run. Returns -1 if the system gives no thread. */
int worker_start(struct worker *w);

/* Any thread: exchanges its settings. What is there keeps what it has; released() tells when the
 * old settings may go. wt.tls stays what it is, and upstream_check has been asked. Not again before
 * configured(). Returns false if the worker has ended. */
bool worker_configure(struct worker *w, const struct worker_settings *settings);
/* Any thread: gives it other sockets; listening() answers, and until then wanted stays in place.
 * Not again before. Returns false, with nothing taken over, if the worker has ended. */
bool worker_listen(struct worker *w, const struct worker_sockets_wanted *wanted);
/* Any thread: asks clients and applications to finish, waits for drain_timeout, closes what is
 * left, and ends. */
void worker_drain(struct worker *w);
/* Any thread: closes everything now, and ends. */
void worker_close(struct worker *w);
/* Any thread: asks for counted(). Returns false if the worker has ended. */
bool worker_count(struct worker *w);
/* Any thread: gives it a packet that came in elsewhere. Returns false if it has no room. */
bool worker_receive(struct worker *w, const struct packet *p);

/* Its numbers after ended(). */
const struct stats *worker_stats(const struct worker *w);
const struct tally *worker_tally(const struct worker *w);
/* After ended(), or instead of worker_start. */
void worker_free(struct worker *w);

#endif
