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

/* Copied; what it points to outlives the worker, but settings only until released(). */
struct worker_config {
    const struct worker_settings *settings;
    unsigned index, count;
    struct log log;
    struct packet_address listen[WORKER_MAX_ADDRESSES];
    /* The number of the address whose port this one takes if its own is 0; its own for none. */
    size_t same_port_as[WORKER_MAX_ADDRESSES];
    uint8_t listener[WORKER_MAX_ADDRESSES]; /* whose address it is: one may have several */
    size_t listen_count;
    size_t kernel_buffer;
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
    /* Settings that are not the present ones, and of which no session has anything any more. */
    void (*released)(void *user, unsigned index, const struct worker_settings *settings);
    /* Everything in it has ended; the last call. worker_free may follow. */
    void (*ended)(void *user, unsigned index);
};

/* Binds its sockets; does not read yet. NULL: one sentence in error. */
struct worker *worker_new(const struct worker_config *config, const struct worker_ops *ops,
                          void *user, char *error, size_t error_size);
/* The address of its socket number i, with the port that was taken, and the socket. */
const struct packet_address *worker_address(const struct worker *w, size_t i);
int worker_socket(const struct worker *w, size_t i);
/* Begins to run. Returns -1 if the system gives no thread. */
int worker_start(struct worker *w);

/* Any thread: exchanges its settings. What is there keeps what it has; released() tells when the
 * old settings may go. wt.tls stays what it is, and upstream_check has been asked. Not again before
 * configured(). Returns false if the worker has ended. */
bool worker_configure(struct worker *w, const struct worker_settings *settings);
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
