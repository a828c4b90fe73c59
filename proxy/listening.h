/*
 * listening - the UDP sockets by which clients come in: of each listener, one for each worker at
 * each of its addresses.
 *
 * A listener is known by its address as it is configured, and by a number as long as it has
 * sockets. One that the next configuration has, too, stays as it is. One that it has not any more
 * is retired: it takes no new connection (intake.h), and may be closed when no worker has a
 * connection of it left.
 *
 * For the server's thread alone. Owns each socket until a worker takes it over.
 */
#ifndef LISTENING_H
#define LISTENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "config/config.h"
#include "config/keys.h"
#include "front/endpoint.h"
#include "front/intake.h"
#include "front/packet.h"
#include "worker.h"

struct listening;

/* Copied; the log outlives it. */
struct listening_config {
    unsigned workers;
    size_t kernel_buffer; /* bytes asked of the kernel each way; 0 leaves its default */
    const struct endpoint_config *steering; /* NULL: the kernel is not told of connection ids */
    const struct log *log;
};

/* What a configuration's listeners are called. */
struct listening_map {
    uint8_t number[KEY_LISTENERS_MAX]; /* of each listener of the configuration */
    bool is_retired[INTAKE_LISTENERS]; /* by number */
};

struct listening *listening_new(const struct listening_config *config);
/* Closes what no worker has taken. */
void listening_free(struct listening *l);

/* Opens what config names and what is not open yet. False: nothing has changed, and one sentence is
 * in error. True: listening_commit or listening_cancel follows. */
bool listening_prepare(struct listening *l, const struct config *config, char *error,
                       size_t error_size);
/* From listening_prepare to the next one. */
const struct listening_map *listening_map(const struct listening *l);
void listening_commit(struct listening *l);
/* Closes what was opened. */
void listening_cancel(struct listening *l);

/* Whether there is something to give to the workers, or to take from them. */
bool listening_has_news(const struct listening *l);
/* All sockets that this worker is to have. Those that it has not yet are its own from now on. */
void listening_take(struct listening *l, unsigned worker, struct worker_sockets_wanted *to);
/* A worker that has ended did not take them. */
void listening_give_back(struct listening *l, unsigned worker,
                         const struct worker_sockets_wanted *from);
/* All workers have what they should have, and no more. Logs what is new. */
void listening_given(struct listening *l, size_t routes);

bool listening_is_retired(const struct listening *l, size_t number);
/* A retired listener that no worker needs any more: it is news for them. */
void listening_close(struct listening *l, size_t number);

/* The first address of a listener. */
const struct packet_address *listening_address(const struct listening *l, size_t number);

#endif
