/*
 * admin - a plain HTTP listener for people and tools nearby, apart from the public port.
 *
 *     GET /healthz            200 "ok", or 503 "draining" once the server is ending
 *     GET /certificate.json   {"algorithm": "sha-256", "hashes": [hex ...], "port": 4433,
 *                              "urls": ["https://HOST:4433/"]}
 *     GET /stats              {"workers": n, "gauges": {...}, "counters": {...}, "faults": {...},
 *                              "backends": [{"backend": ..., "address": ..., ...}]}
 *     GET /...                the demo page, which is part of the program
 *
 * hashes are for a browser's serverCertificateHashes; the list is empty if the certificate lives
 * too long for that (then an ordinary, trusted one is meant). HOST is where the server listens or,
 * if that is everywhere, the host by which the client reached this listener. Everything happens on
 * the given loop.
 */
#ifndef ADMIN_H
#define ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/stats.h"
#include "base/tally.h"

struct admin;

#define ADMIN_HASHES_MAX 4

/* What clients need to know to connect. */
struct admin_identity {
    const char *host; /* without brackets, "" for every address */
    unsigned port;
    size_t hash_count;
    uint8_t hashes[ADMIN_HASHES_MAX][32];
};

struct admin_ops {
    bool (*is_ready)(void *user);
    void (*identify)(void *user, struct admin_identity *to);
    /* Statistics are wanted: answer with admin_counted, now or later. Not asked again before. */
    void (*count)(void *user);
};

/* Listens at HOST:PORT or unix:PATH. NULL: one sentence in error. */
struct admin *admin_open(uv_loop_t *loop, const char *address, const struct admin_ops *ops,
                         void *user, char *error, size_t error_size);
/* The sum over all workers. */
void admin_counted(struct admin *a, const struct stats *sum, const struct tally *tally,
                   unsigned workers);
/* The port that was taken; 0 for unix:PATH. */
unsigned admin_port(const struct admin *a);
/* Ends all connections; the memory is freed later from the loop. */
void admin_close(struct admin *a);
/* "libmicrohttpd 0.9.75" */
void admin_library(char *to, size_t size);

#endif
