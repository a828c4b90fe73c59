/*
 * pair - a server and a client of the front in a pretend network, ready to talk.
 */
#ifndef TESTS_PAIR_H
#define TESTS_PAIR_H

#include "peer.h"
#include "support/world.h"

struct pair {
    struct world *world;
    struct world_host *server_host, *client_host;
    struct peer server, client;
    struct peer_session *client_session; /* of the last pair_connect */
    size_t wanted;                       /* for a test's predicates */
    bool (*done)(struct pair *p);
};

/* bad: packets are lost and reordered. */
struct pair *pair_new(uint64_t seed, bool bad);
/* The same with limits of a test's own for the server. */
struct pair *pair_new_with(uint64_t seed, bool bad, const struct wt_config *server_config);
struct pair *pair_new_both(uint64_t seed, bool bad, const struct wt_config *server_config,
                           const struct wt_config *client_config);
/* What a server is given by default here; TLS is filled in by pair_new_with. */
struct wt_config pair_config(void);
void pair_connect(struct pair *p, const char *path, const struct header *headers, size_t count);
/* Runs until done(p), for at most two minutes of pretended time; goes on pumping writes meanwhile.
 */
bool pair_run(struct pair *p, bool (*done)(struct pair *p));
void pair_run_for(struct pair *p, uint64_t ns);
/* A pair with one session that has been accepted. */
struct pair *pair_open(uint64_t seed, bool bad, enum peer_behaviour behaviour);
/* The last session that the server was asked for. */
struct peer_session *pair_server_session(const struct pair *p);
struct stats *pair_server_stats(const struct pair *p);
/* For pair_run. */
bool pair_both_open(struct pair *p);
bool pair_both_closed(struct pair *p);
/* Closes what is open, checks that nothing is alive, and frees. */
void pair_free(struct pair *p);

#endif
