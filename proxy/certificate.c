/*
 * certificate - loads or makes the server's certificate and renews it.
 *
 * Owns the TLS context, which owns the certificate in use; keeps copies of the hashes. Calls tls.
 */
#include "certificate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "front/tls.h"

#define DAYS        13
#define DAY_SECONDS (24 * 60 * 60)

struct certificate {
    struct tls_context *context;
    bool automatic;
    time_t begins;
    struct certificate_hash present, before; /* before.expires is 0 if there is none */
};

static struct tls_certificate *make(time_t now, char *error, size_t error_size)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "::1"};

    return tls_certificate_make(names, sizeof(names) / sizeof(names[0]), DAYS, now, error,
                                error_size);
}

static void remember(struct certificate *c, const struct tls_certificate *cert)
{
    c->before = c->present;
    memcpy(c->present.bytes, tls_certificate_hash(cert), CERTIFICATE_HASH_LEN);
    c->present.expires = tls_certificate_expires(cert);
    c->begins = tls_certificate_begins(cert);
}

static struct certificate *new_with(struct tls_certificate *cert, bool automatic, char *error,
                                    size_t error_size)
{
    if (!cert)
        return NULL;
    struct certificate *c = calloc(1, sizeof(*c));
    assert(c);
    c->automatic = automatic;
    remember(c, cert);
    c->context = tls_context_new_server(cert, error, error_size);
    if (!c->context) {
        free(c);
        return NULL;
    }
    return c;
}

struct certificate *certificate_new_auto(time_t now, char *error, size_t error_size)
{
    return new_with(make(now, error, error_size), true, error, error_size);
}

struct certificate *certificate_new_files(const char *cert_file, const char *key_file, char *error,
                                          size_t error_size)
{
    struct tls_certificate *cert = tls_certificate_load(cert_file, key_file, error, error_size);

    return new_with(cert, false, error, error_size);
}

void certificate_free(struct certificate *c)
{
    if (!c)
        return;
    tls_context_free(c->context);
    free(c);
}

struct tls_context *certificate_context(const struct certificate *c)
{
    return c->context;
}

bool certificate_renew(struct certificate *c, time_t now, char *error, size_t error_size)
{
    error[0] = '\0';
    if (!c->automatic || now < c->begins + (c->present.expires - c->begins) / 2)
        return false;
    struct tls_certificate *cert = make(now, error, error_size);
    if (!cert)
        return false;
    remember(c, cert);
    tls_context_set_certificate(c->context, cert);
    return true;
}

size_t certificate_hashes(const struct certificate *c, time_t now,
                          struct certificate_hash to[CERTIFICATE_HASHES_MAX])
{
    to[0] = c->present;
    if (c->before.expires <= now)
        return 1;
    to[1] = c->before;
    return 2;
}

bool certificate_is_short_lived(const struct certificate *c)
{
    return c->present.expires - c->begins <= 14 * DAY_SECONDS;
}
