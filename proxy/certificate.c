/*
 * certificate - loads or makes the server's certificates and renews them.
 *
 * Owns the TLS context, and shares the certificates in use with it; keeps copies of the hashes.
 * Calls tls.
 */
#include "certificate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "front/tls.h"

#define DAYS        13
#define DAY_SECONDS (24 * 60 * 60)

struct entry {
    struct certificate_source source;
    struct tls_certificate *cert;
    time_t begins;
    struct certificate_hash present, before; /* before.expires is 0 if there is none */
};

struct certificate {
    struct tls_context *context;
    size_t count;
    struct entry entries[];
};

static struct tls_certificate *make(const struct certificate_source *source, time_t now,
                                    char *error, size_t error_size)
{
    static const char *const local[] = {"localhost", "127.0.0.1", "::1"};

    if (source->name_count)
        return tls_certificate_make(source->names, source->name_count, DAYS, now, error,
                                    error_size);
    return tls_certificate_make(local, sizeof(local) / sizeof(local[0]), DAYS, now, error,
                                error_size);
}

static struct tls_certificate *get(const struct certificate_source *source, time_t now, char *error,
                                   size_t error_size)
{
    if (!source->cert_file)
        return make(source, now, error, error_size);
    struct tls_certificate *cert =
        tls_certificate_load(source->cert_file, source->key_file, error, error_size);
    if (cert && source->name_count)
        tls_certificate_set_names(cert, source->names, source->name_count);
    return cert;
}

/* Takes over cert. */
static void replace(struct entry *e, struct tls_certificate *cert)
{
    tls_certificate_free(e->cert);
    e->cert = cert;
    e->before = e->present;
    memcpy(e->present.bytes, tls_certificate_hash(cert), CERTIFICATE_HASH_LEN);
    e->present.expires = tls_certificate_expires(cert);
    e->begins = tls_certificate_begins(cert);
}

/* Lets the context have what is here. */
static void show(struct certificate *c)
{
    struct tls_certificate **certs = calloc(c->count, sizeof(certs[0]));

    assert(certs);
    for (size_t i = 0; i < c->count; i++) {
        certs[i] = c->entries[i].cert;
        tls_certificate_share(certs[i]);
    }
    tls_context_set_certificates(c->context, certs, c->count);
    free(certs);
}

struct certificate *certificate_new(const struct certificate_source *sources, size_t count,
                                    time_t now, char *error, size_t error_size)
{
    struct certificate *c = calloc(1, sizeof(*c) + count * sizeof(c->entries[0]));

    assert(c && count > 0);
    for (; c->count < count; c->count++) {
        struct tls_certificate *cert = get(&sources[c->count], now, error, error_size);
        if (!cert) {
            certificate_free(c);
            return NULL;
        }
        c->entries[c->count].source = sources[c->count];
        replace(&c->entries[c->count], cert);
    }
    tls_certificate_share(c->entries[0].cert);
    c->context = tls_context_new_server(c->entries[0].cert, error, error_size);
    if (!c->context) {
        certificate_free(c);
        return NULL;
    }
    show(c);
    return c;
}

void certificate_free(struct certificate *c)
{
    if (!c)
        return;
    tls_context_free(c->context);
    for (size_t i = 0; i < c->count; i++)
        tls_certificate_free(c->entries[i].cert);
    free(c);
}

struct tls_context *certificate_context(const struct certificate *c)
{
    return c->context;
}

bool certificate_renew(struct certificate *c, size_t i, time_t now, char *error, size_t error_size)
{
    struct entry *e = &c->entries[i];

    error[0] = '\0';
    if (e->source.cert_file || now < e->begins + (e->present.expires - e->begins) / 2)
        return false;
    struct tls_certificate *cert = make(&e->source, now, error, error_size);
    if (!cert)
        return false;
    replace(e, cert);
    show(c);
    return true;
}

size_t certificate_hashes(const struct certificate *c, size_t i, time_t now,
                          struct certificate_hash to[CERTIFICATE_HASHES_MAX])
{
    const struct entry *e = &c->entries[i];

    to[0] = e->present;
    if (e->before.expires <= now)
        return 1;
    to[1] = e->before;
    return 2;
}

bool certificate_is_short_lived(const struct certificate *c, size_t i)
{
    const struct entry *e = &c->entries[i];

    return e->present.expires - e->begins <= 14 * DAY_SECONDS;
}
