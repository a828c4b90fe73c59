/*
 * tls_internal - what the files of tls share.
 *
 * tls.c              contexts and sessions
 * tls_certificate.c  certificates: loaded, made, described, chosen by name
 */
#ifndef FRONT_TLS_INTERNAL_H
#define FRONT_TLS_INTERNAL_H

#include <stdatomic.h>

#include <gnutls/gnutls.h>

#include "front/tls.h"

/* Immutable but for its count. */
struct tls_certificate {
    atomic_uint references;
    gnutls_certificate_credentials_t credentials;
    uint8_t hash[TLS_HASH_LEN];
    time_t begins, expires;
    gnutls_datum_t pem;
    char **names; /* the server names that it is for; the first label may be an asterisk */
    size_t name_count;
};

/* Returns the first error of a row of calls of GnuTLS. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        int rv_ = (call);                                                                          \
        if (rv_ < 0)                                                                               \
            return rv_;                                                                            \
    } while (0)

/* Fills in error. */
void tls_say(char *error, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* True if it is for this server name. */
bool tls_certificate_fits(const struct tls_certificate *cert, const char *name, size_t len);

#endif
