/*
 * reception - where clients' requests for sessions come in, and who is asked whether any are left.
 *
 * Asks admission, and hands who is admitted to relay or bridge, as the route says. One per worker.
 */
#ifndef RECEPTION_H
#define RECEPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admission.h"
#include "base/env.h"

struct reception;
struct upstream;
struct wt_ops;

/* Sessions come in through reception_wt_ops with the reception as host_user. upstreams, and what
 * config points to, stay in place while reception_uses them. */
struct reception *reception_new(struct env *env, struct upstream *const *upstreams,
                                const struct admission_config *config);
/* For the sessions that come in from now on; those that are there keep what they have. */
void reception_configure(struct reception *r, struct upstream *const *upstreams,
                         const struct admission_config *config);
/* Whether sessions have them, or will. */
bool reception_uses(const struct reception *r, struct upstream *const *upstreams);
const struct wt_ops *reception_wt_ops(void);
/* Takes no more sessions, and asks those there are to finish. Not all at once, for they will come
 * again somewhere else, all of them: each at some moment of the first quarter of time_ns, sooner if
 * they are few. After time_ns it is the caller's to say reception_close_all. */
void reception_drain(struct reception *r, uint64_t time_ns);
/* Ends every session: client and backend are told. */
void reception_close_all(struct reception *r);
/* Backends that are still to read what is left have a moment, not their linger_timeout. */
void reception_hurry(struct reception *r);
size_t reception_count(const struct reception *r);
/* No session may be alive. */
void reception_free(struct reception *r);

#endif
