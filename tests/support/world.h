/*
 * world - hosts in one process that talk over a pretend network, on a pretend clock.
 *
 * Each host has an env and an endpoint of its own; put a conn_hub or a wt_host on it. Packets are
 * delayed, lost, duplicated and reordered by a random generator with a seed. Time moves only in
 * world_run_*, from event to event, so an hour of silence costs nothing.
 *
 * A test that fails must be repeatable: world_each_seed prints the seed before each run. How many
 * seeds it runs is in the environment (SEEDS, default 3; SEED for a single one).
 */
#ifndef TESTS_SUPPORT_WORLD_H
#define TESTS_SUPPORT_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/env.h"
#include "front/endpoint.h"
#include "front/tls.h"

struct world;
struct world_host;

/* How packets fare on their way. */
struct world_link {
    uint64_t delay_ns;
    uint64_t jitter_ns; /* added at random: this reorders */
    double loss;        /* 0 to 1 */
    double duplication; /* 0 to 1 */
    size_t mtu;         /* larger UDP payloads vanish; 0 for 1472 */
};

/* Calls test with one seed after the other, telling each on standard error. */
void world_each_seed(void (*test)(uint64_t seed));

struct world *world_new(uint64_t seed);
/* Whatever lives on the hosts must have been closed and freed before. Asserts that every gauge of
 * every host is zero. */
void world_free(struct world *w);

/* Freed with the world. Its address is 10.0.0.N:4433. */
struct world_host *world_host(struct world *w, const char *name);
struct env *world_env(struct world_host *h);
struct endpoint *world_endpoint(struct world_host *h);
const struct sockaddr *world_address(const struct world_host *h, socklen_t *len);
/* As if a NAT gave the host another port: others see its packets come from a new address. */
void world_rebind(struct world_host *h);

/* Credentials: a certificate made for this world, and a client that trusts its hash. */
struct tls_context *world_tls_server(struct world *w);
struct tls_context *world_tls_client(struct world *w);

/* For all packets sent from now on. The default: 10 ms, nothing lost. */
void world_set_link(struct world *w, const struct world_link *link);
/* 3 % loss each way, reordering, some duplicates. */
void world_set_bad_link(struct world *w);

uint64_t world_now(const struct world *w);
/* 0 to below - 1, from the seed. */
uint64_t world_random(struct world *w, uint64_t below);
/* UDP payloads that the network has swallowed so far. */
uint64_t world_lost(const struct world *w);

/* Calls ended(arg) after every turn of every host, for what must always be true. NULL: no more. */
void world_on_turn(struct world *w, void (*ended)(void *arg), void *arg);
/* Ends the turns of all hosts; the run functions begin with it. */
void world_settle(struct world *w);
/* Runs until done says so, at most for limit_ns. Returns whether it did. */
bool world_run_until(struct world *w, bool (*done)(void *arg), void *arg, uint64_t limit_ns);
void world_run_for(struct world *w, uint64_t ns);

#endif
