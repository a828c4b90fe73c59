/*
 * certificate - what the server shows to its clients, and which hashes it publishes.
 *
 * Several, each for its server names; the first is for all other names, too. One is either from
 * files, or made on the spot for development: P-256, 13 days, for localhost and the loopback
 * addresses or for the names given. One made on the spot is renewed at half its life; the hash of
 * the one before stays published until that has expired, so that a page loaded earlier goes on
 * working.
 *
 * For one thread; the TLS context that it feeds is shared by all workers.
 */
#ifndef CERTIFICATE_H
#define CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define CERTIFICATE_HASH_LEN   32
#define CERTIFICATE_HASHES_MAX 2

struct certificate;
struct tls_context;

/* A published hash. */
struct certificate_hash {
    uint8_t bytes[CERTIFICATE_HASH_LEN];
    time_t expires;
};

/* Where one comes from. */
struct certificate_source {
    const char *cert_file, *key_file; /* NULL: made on the spot */
    const char *const *names;         /* none: those that stand in it */
    size_t name_count;
};

/* sources are copied, what they point to stays in place. NULL: one sentence in error. */
struct certificate *certificate_new(const struct certificate_source *sources, size_t count,
                                    time_t now, char *error, size_t error_size);
/* No session of the context may be alive. */
void certificate_free(struct certificate *c);

struct tls_context *certificate_context(const struct certificate *c);
/* Takes others, or the same ones as they are in their files now, for the handshakes to come. One
 * made on the spot stays what it is if its names do. On failure nothing has changed. */
bool certificate_reload(struct certificate *c, const struct certificate_source *sources,
                        size_t count, time_t now, char *error, size_t error_size);
size_t certificate_count(const struct certificate *c);
/* True once for each one that is new. */
bool certificate_is_news(struct certificate *c, size_t i);
/* Call it now and then, for each. Makes a new certificate if it is time; returns true if it did. On
 * failure the old one stays and error is not empty. */
bool certificate_renew(struct certificate *c, size_t i, time_t now, char *error, size_t error_size);
/* Of certificate i: the present hash first, then the one before if it has not expired. Returns how
 * many. */
size_t certificate_hashes(const struct certificate *c, size_t i, time_t now,
                          struct certificate_hash to[CERTIFICATE_HASHES_MAX]);
/* True if browsers can take it by its hash: valid for at most 14 days (W3C WebTransport, custom
 * certificate requirements; they want ECDSA, too, which is not looked at here). */
bool certificate_is_short_lived(const struct certificate *c, size_t i);

#endif
