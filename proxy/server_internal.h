/*
 * server_internal - the server, as its files share it.
 *
 * server.c         the parts are put together, and taken apart
 * server_reload.c  configurations and certificates: the first, and those that follow
 */
#ifndef SERVER_INTERNAL_H
#define SERVER_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "admin.h"
#include "base/hostport.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/tally.h"
#include "certificate.h"
#include "config/config.h"
#include "front/tls.h"
#include "listening.h"
#include "plan.h"
#include "server.h"
#include "watch.h"
#include "worker.h"

/* A configuration that is in use, or of which sessions still have something. */
struct generation {
    LIST_ENTRY(generation) entry;
    const struct config *config;
    struct config *owned; /* NULL if config belongs to the caller of server_run */
    struct plan plan;
    unsigned holders; /* workers that have it; under the lock */
};

/* What all workers are asked for at a time. */
enum server_step {
    SERVER_SETTLED,
    SERVER_CONFIGURING, /* not all have the present configuration yet */
    SERVER_LISTENING,   /* not all have the sockets that they should have */
};

struct server {
    int argc;
    char **argv;
    /* The first configuration: for what does not change while the program runs. */
    const struct config *config;
    struct generation *present;
    LIST_HEAD(, generation) generations;
    struct log log_now; /* of the present configuration */
    const struct log *log;
    uv_loop_t loop;
    uv_async_t wake;
    uv_signal_t sigterm, sigint, sighup;
    uv_timer_t renewal, force;
    struct certificate *certificate;
    struct watch *watch;            /* of its files */
    uint8_t secret[TLS_SECRET_LEN]; /* for keys that may outlive this run */
    struct relay_probe probe;
    struct admin *admin;
    struct listening *listening;
    struct worker_sockets_wanted *wanted; /* of each worker, in SERVER_LISTENING */
    struct worker *workers[ENDPOINT_MAX_WORKERS];
    unsigned worker_count, started;
    char host[HOSTPORT_HOST_SIZE];
    unsigned port;
    unsigned signals; /* to end: how many have come */
    enum server_step step;
    bool is_reloading;    /* its success is to be told yet */
    bool is_reload_asked; /* meanwhile, once more */
    int code;

    pthread_mutex_t lock; /* for what is below */
    unsigned ended;       /* workers */
    unsigned unanswered;  /* workers that have not taken what the step gives them yet */
    bool is_idle[INTAKE_LISTENERS][ENDPOINT_MAX_WORKERS]; /* of retired ones, told by workers */
    unsigned uncounted; /* answers still to come before sum is whole */
    bool sum_is_new;
    struct stats sum;
    struct tally tally;
};

/* --- server.c --- */

/* Sessions that one worker may have. */
size_t server_sessions_per_worker(const struct server *s, const struct config *config);
/* Sockets of bridges that it may have. */
size_t server_sockets_per_worker(const struct server *s, const struct config *config);
/* Connections that it may have. */
size_t server_connections_per_worker(const struct server *s, const struct config *config);

/* --- server_reload.c --- */

/* Loads the certificates of the first configuration. */
int server_make_certificate(struct server *s, char *error, size_t error_size);
/* The first. */
void server_begin_generation(struct server *s);
/* All workers have ended, or never began. */
void server_free_generations(struct server *s);
/* Reads configuration and certificates again; a bad one changes nothing. */
void server_reload(struct server *s);
/* What workers have said may be the end of a reload, or of a generation. */
void server_settle_generations(struct server *s);
/* Called by watch. */
void server_files_changed(void *user);
/* Called by workers. */
void server_worker_answered(void *user, unsigned index);
void server_worker_idle(void *user, unsigned index, unsigned listener);
void server_worker_released(void *user, unsigned index, const struct worker_settings *settings);

#endif
