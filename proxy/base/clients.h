/*
 * clients - what each client address has open here, and how fast it asks for more.
 *
 * A client is an IPv4 address, or an IPv6 prefix, since whoever has one address of a network has
 * all of them. Of each kind of thing a client may have so many at once, and get so many in a
 * second, with a burst at first. Whoever is counted in is counted out again, once. Only addresses
 * that have been proven should be counted in: others are chosen by whoever wants to shut somebody
 * out.
 *
 * Bounded: clients that have nothing are remembered only while their rate is used up, and of those
 * only CLIENTS_IDLE_MAX, the ones seen last.
 */
#ifndef BASE_CLIENTS_H
#define BASE_CLIENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/env.h"
#include "base/fault.h"
#include "base/rate.h"

#define CLIENTS_IDLE_MAX 16384

struct clients;
struct client;

enum clients_kind { CLIENTS_CONNECTION, CLIENTS_SESSION, CLIENTS_KINDS };

struct clients_limit {
    size_t most; /* at once; 0: no limit */
    struct rate_limit rate;
};

struct clients_config {
    struct clients_limit limits[CLIENTS_KINDS];
    unsigned ipv6_prefix; /* bits, 1 to 128 */
};

/* env gives the clock and the hash key; config is copied. */
struct clients *clients_new(const struct env *env, const struct clients_config *config);
/* Other limits for whoever enters from now on; who is in stays, also beyond them. */
void clients_configure(struct clients *c, const struct clients_config *config);
/* Everybody must have left. */
void clients_free(struct clients *c);

/* What clients_enter would answer. */
enum fault clients_check(const struct clients *c, const struct sockaddr *address,
                         enum clients_kind kind);
/* Counts one in. NULL with the reason in *fault if the client may not have it: then nothing is
 * counted. */
struct client *clients_enter(struct clients *c, const struct sockaddr *address,
                             enum clients_kind kind, enum fault *fault);
/* Counts one out. client is not valid any more. */
void clients_leave(struct clients *c, struct client *client, enum clients_kind kind);
/* Clients that are remembered. */
size_t clients_count(const struct clients *c);

#endif
