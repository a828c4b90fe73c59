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
    bool is_news;
};

struct certificate {
    struct tls_context *context;
    size_t count;
    struct entry *entries;
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
    if (memcmp(e->present.bytes, tls_certificate_hash(cert), CERTIFICATE_HASH_LEN) == 0)
        return;
    e->is_news = true;
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

static void free_entries(struct entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tls_certificate_free(entries[i].cert);
    free(entries);
}

static bool has_same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool has_same_names(const struct certificate_source *a, const struct certificate_source *b)
{
    if (a->name_count != b->name_count)
        return false;
    for (size_t i = 0; i < a->name_count; i++)
        if (strcmp(a->names[i], b->names[i]) != 0)
            return false;
    return true;
}

/* What c has from this source; NULL if nothing. */
static const struct entry *find_entry(const struct certificate *c,
                                      const struct certificate_source *source)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct certificate_source *s = &c->entries[i].source;
        if (has_same_text(s->cert_file, source->cert_file) && has_same_names(s, source))
            return &c->entries[i];
    }
    return NULL;
}

/* before: what there is from this source; may be NULL. */
static bool fill_entry(struct entry *e, const struct certificate_source *source,
                       const struct entry *before, time_t now, char *error, size_t error_size)
{
    if (before) {
        *e = *before;
        tls_certificate_share(e->cert);
    }
    e->source = *source;
    if (before && !source->cert_file)
        return true;
    struct tls_certificate *cert = get(source, now, error, error_size);
    if (cert)
        replace(e, cert);
    return cert != NULL;
}

bool certificate_reload(struct certificate *c, const struct certificate_source *sources,
                        size_t count, time_t now, char *error, size_t error_size)
{
    struct entry *entries = calloc(count, sizeof(entries[0]));

    assert(entries && count > 0);
    for (size_t i = 0; i < count; i++)
        if (!fill_entry(&entries[i], &sources[i], find_entry(c, &sources[i]), now, error,
                        error_size)) {
            free_entries(entries, i + 1);
            return false;
        }
    free_entries(c->entries, c->count);
    c->entries = entries;
    c->count = count;
    if (c->context)
        show(c);
    return true;
}

struct certificate *certificate_new(const struct certificate_source *sources, size_t count,
                                    time_t now, char *error, size_t error_size)
{
    struct certificate *c = calloc(1, sizeof(*c));

    assert(c);
    if (certificate_reload(c, sources, count, now, error, error_size)) {
        tls_certificate_share(c->entries[0].cert);
        c->context = tls_context_new_server(c->entries[0].cert, error, error_size);
    }
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
    free_entries(c->entries, c->count);
    free(c);
}

size_t certificate_count(const struct certificate *c)
{
    return c->count;
}

bool certificate_is_news(struct certificate *c, size_t i)
{
    bool is_news = c->entries[i].is_news;
    c->entries[i].is_news = false;
    return is_news;
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
