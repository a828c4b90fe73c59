/*
 * config - what the command line says: every setting, its default, its range and its meaning.
 *
 * One table in config.c makes the parser, the defaults and --help, so they cannot disagree.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILED = 1, /* could not start, or could not go on */
    EXIT_CODE_USAGE = 2,  /* the command line is wrong */
    EXIT_CODE_LEAK = 3,   /* something was still alive when all should have ended: our mistake */
    EXIT_CODE_FORCED = 4, /* a second signal ended it before everything was closed */
};

/* Texts belong to argv. Sizes are bytes, durations nanoseconds. */
struct config {
    const char *listen; /* HOST:PORT */
    const char *cert;   /* a file, or "auto" */
    const char *key;    /* a file; NULL with "auto" */
    const char *app;    /* unix:PATH or tcp:HOST:PORT */
    const char *admin;  /* HOST:PORT or unix:PATH; NULL for none */
    uint64_t workers;   /* 0: one per processor */
    uint64_t log_level; /* enum log_level */
    uint64_t server_id;
    uint64_t no_offload;
    uint64_t kernel_buffer;

    uint64_t max_sessions; /* of all workers together; 0: what file descriptors allow */
    uint64_t memory;       /* of all workers together; 0: half of the machine's */
    uint64_t connection_memory, session_memory;
    uint64_t max_streams;
    uint64_t max_header;
    uint64_t connection_window, stream_window;
    uint64_t app_session_window, app_stream_window;
    uint64_t max_pending_streams, early_streams;
    uint64_t max_frame;
    uint64_t datagram_queue;

    uint64_t idle_timeout, keep_alive, handshake_timeout, settings_timeout, close_timeout;
    uint64_t connect_timeout, accept_timeout, stall_timeout, linger_timeout, drain_timeout;
    uint64_t lost_code;
};

enum config_wish { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION, CONFIG_WRONG };

/* Fills in c from the defaults and argv. CONFIG_WRONG: one sentence in error. Not thread-safe. */
enum config_wish config_parse(struct config *c, int argc, char **argv, char *error,
                              size_t error_size);
/* True for --cert auto. */
bool config_cert_is_auto(const struct config *c);
void config_print_help(FILE *to);

#endif
