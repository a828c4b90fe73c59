/*
 * watch - tells when one of some files has changed.
 *
 * Files are looked at every second, by their path: so a link that leads elsewhere now, a file put
 * in another's place and a file system that tells nobody are all seen. Several changes within a
 * second are told as one, so that a certificate and its key can be written one after the other.
 *
 * What changes while it is being read must not be missed: a first look is taken before.
 */
#ifndef WATCH_H
#define WATCH_H

#include <stddef.h>
#include <uv.h>

struct watch;

struct watch *watch_new(uv_loop_t *loop, void (*changed)(void *user), void *user);
/* Looks at files that are about to be read. Paths are copied; NULL is none. */
void watch_look(struct watch *w, const char *const *paths, size_t count);
/* They have been read: from now on those of the last look are watched, instead of those before. */
void watch_keep(struct watch *w);
/* Its memory is freed later, from the loop. */
void watch_close(struct watch *w);

#endif
