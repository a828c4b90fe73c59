/*
 * tls_certificate - certificates: read from files or made on the spot, described, chosen by name.
 *
 * Owns what GnuTLS keeps of them until the last reference goes. Calls GnuTLS and base/origin.
 */
#include "front/tls_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gnutls/crypto.h>
#include <gnutls/x509.h>

#include "base/origin.h"

#define FILE_SIZE_MAX (1024 * 1024)

#define BEFORE_NOW_S 3600 /* clocks of clients are late now and then */

enum { NAMES_MAX = 256 };

void tls_say(char *error, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, size, format, args);
    va_end(args);
}

static struct tls_certificate *certificate_new(void)
{
    struct tls_certificate *cert = calloc(1, sizeof(*cert));
    if (!cert)
        abort();
    atomic_init(&cert->references, 1);
    if (gnutls_certificate_allocate_credentials(&cert->credentials) != 0)
        abort();
    return cert;
}

static void free_names(struct tls_certificate *cert)
{
    for (size_t i = 0; i < cert->name_count; i++)
        free(cert->names[i]);
    free(cert->names);
    cert->names = NULL;
    cert->name_count = 0;
}

void tls_certificate_free(struct tls_certificate *cert)
{
    if (!cert || atomic_fetch_sub(&cert->references, 1) != 1)
        return;
    free_names(cert);
    gnutls_certificate_free_credentials(cert->credentials);
    gnutls_free(cert->pem.data);
    free(cert);
}

void tls_certificate_share(struct tls_certificate *cert)
{
    atomic_fetch_add(&cert->references, 1);
}

static void add_server_name(struct tls_certificate *cert, const char *name)
{
    cert->names = realloc(cert->names, (cert->name_count + 1) * sizeof(cert->names[0]));
    char *copy = strdup(name);
    if (!cert->names || !copy)
        abort();
    cert->names[cert->name_count++] = copy;
}

/* Its DNS names. Addresses are not asked for by name (RFC 6066, section 3). */
static void take_names(struct tls_certificate *cert, gnutls_x509_crt_t leaf)
{
    for (unsigned i = 0; i < NAMES_MAX; i++) {
        char name[256];
        size_t len = sizeof(name);
        int rv = gnutls_x509_crt_get_subject_alt_name(leaf, i, name, &len, NULL);
        if (rv == GNUTLS_SAN_DNSNAME && memchr(name, 0, len) == NULL && len < sizeof(name)) {
            name[len] = '\0';
            add_server_name(cert, name);
        } else if (rv == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
            break;
        }
    }
}

void tls_certificate_set_names(struct tls_certificate *cert, const char *const *names, size_t count)
{
    free_names(cert);
    for (size_t i = 0; i < count; i++)
        add_server_name(cert, names[i]);
}

bool tls_certificate_fits(const struct tls_certificate *cert, const char *name, size_t len)
{
    for (size_t i = 0; i < cert->name_count; i++)
        if (origin_host_matches(cert->names[i], name, len))
            return true;
    return false;
}

/* Fills in what the accessors tell. Returns a GnuTLS error code. */
static int certificate_describe(struct tls_certificate *cert, gnutls_x509_crt_t leaf)
{
    size_t len = sizeof(cert->hash);
    cert->begins = gnutls_x509_crt_get_activation_time(leaf);
    cert->expires = gnutls_x509_crt_get_expiration_time(leaf);
    int rv = gnutls_x509_crt_get_fingerprint(leaf, GNUTLS_DIG_SHA256, cert->hash, &len);
    if (rv == 0)
        rv = gnutls_x509_crt_export2(leaf, GNUTLS_X509_FMT_PEM, &cert->pem);
    return rv;
}

static bool read_file(const char *path, gnutls_datum_t *to, char *error, size_t error_size)
{
    memset(to, 0, sizeof(*to));
    FILE *f = fopen(path, "re");
    if (!f) {
        tls_say(error, error_size, "%s: cannot be read: %s", path, strerror(errno));
        return false;
    }
    uint8_t *data = malloc(FILE_SIZE_MAX + 1);
    if (!data)
        abort();
    size_t len = fread(data, 1, FILE_SIZE_MAX + 1, f);
    bool failed = ferror(f) != 0;
    int why = errno;
    fclose(f);
    if (failed || len == 0 || len > FILE_SIZE_MAX) {
        tls_say(error, error_size, "%s: %s", path,
                failed     ? strerror(why)
                : len == 0 ? "is empty"
                           : "is too large for a PEM file (more than 1 MiB)");
        gnutls_memset(data, 0, FILE_SIZE_MAX + 1);
        free(data);
        return false;
    }
    to->data = data;
    to->size = (unsigned)len;
    return true;
}

static void file_free(gnutls_datum_t *file)
{
    if (file->data)
        gnutls_memset(file->data, 0, file->size);
    free(file->data);
}

bool tls_secret_load(const char *path, uint8_t secret[TLS_SECRET_LEN], char *error,
                     size_t error_size)
{
    gnutls_datum_t file = {0}, salt = {0};
    if (!read_file(path, &file, error, error_size))
        return false;
    bool good = file.size >= TLS_SECRET_LEN;
    if (!good)
        tls_say(error, error_size, "%s: is too short for a secret (%u bytes, not %d or more)", path,
                file.size, TLS_SECRET_LEN);
    else if (gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &file, &salt, secret) != 0)
        abort();
    file_free(&file);
    return good;
}

void tls_derive(const uint8_t secret[TLS_SECRET_LEN], const char *purpose, uint8_t *key,
                size_t key_len)
{
    const gnutls_datum_t from = {.data = (unsigned char *)secret, .size = TLS_SECRET_LEN};
    const gnutls_datum_t info = {.data = (unsigned char *)purpose,
                                 .size = (unsigned)strlen(purpose)};
    if (gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &from, &info, key, key_len) != 0)
        abort();
}

static bool parse_chain(struct tls_certificate *cert, const char *path, const gnutls_datum_t *file,
                        char *error, size_t error_size)
{
    gnutls_x509_crt_t *chain = NULL;
    unsigned count = 0;
    int rv = gnutls_x509_crt_list_import2(&chain, &count, file, GNUTLS_X509_FMT_PEM, 0);
    if (rv < 0) {
        tls_say(error, error_size, "%s: has no usable PEM certificate: %s", path,
                gnutls_strerror(rv));
        return false;
    }
    take_names(cert, chain[0]);
    rv = certificate_describe(cert, chain[0]);
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
    if (rv < 0)
        tls_say(error, error_size, "%s: %s", path, gnutls_strerror(rv));
    return rv >= 0;
}

static bool check_key(const char *path, const gnutls_datum_t *file, char *error, size_t error_size)
{
    gnutls_x509_privkey_t key;
    if (gnutls_x509_privkey_init(&key) != 0)
        abort();
    int rv = gnutls_x509_privkey_import2(key, file, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_x509_privkey_deinit(key);
    if (rv < 0)
        tls_say(error, error_size, "%s: has no usable PEM private key%s: %s", path,
                rv == GNUTLS_E_DECRYPTION_FAILED ? " (keys under a password are not supported)"
                                                 : "",
                gnutls_strerror(rv));
    return rv >= 0;
}

struct tls_certificate *tls_certificate_load(const char *cert_file, const char *key_file,
                                             char *error, size_t error_size)
{
    struct tls_certificate *cert = certificate_new();
    gnutls_datum_t chain = {0}, key = {0};
    bool good = read_file(cert_file, &chain, error, error_size) &&
                read_file(key_file, &key, error, error_size) &&
                parse_chain(cert, cert_file, &chain, error, error_size) &&
                check_key(key_file, &key, error, error_size);
    if (good) {
        int rv = gnutls_certificate_set_x509_key_mem2(cert->credentials, &chain, &key,
                                                      GNUTLS_X509_FMT_PEM, NULL, 0);
        good = rv >= 0;
        if (rv == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
            tls_say(error, error_size, "%s: is not the key of the certificate in %s", key_file,
                    cert_file);
        else if (rv < 0)
            tls_say(error, error_size, "%s and %s: %s", cert_file, key_file, gnutls_strerror(rv));
    }
    file_free(&chain);
    file_free(&key);
    if (good)
        return cert;
    tls_certificate_free(cert);
    return NULL;
}

static int add_name(gnutls_x509_crt_t crt, const char *name)
{
    uint8_t ip[16];
    if (inet_pton(AF_INET, name, ip) == 1)
        return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 4,
                                                    GNUTLS_FSAN_APPEND);
    if (inet_pton(AF_INET6, name, ip) == 1)
        return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 16,
                                                    GNUTLS_FSAN_APPEND);
    return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, name,
                                                (unsigned)strlen(name), GNUTLS_FSAN_APPEND);
}

static int fill_in(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *const *names,
                   size_t count, unsigned days, time_t now)
{
    uint8_t serial[16];
    tls_random(serial, sizeof(serial));
    serial[0] = (serial[0] & 0x7f) | 0x40; /* positive, and of full length */
    TRY(gnutls_x509_crt_set_version(crt, 3));
    TRY(gnutls_x509_crt_set_serial(crt, serial, sizeof(serial)));
    /* Together they span at most `days`: browsers look at the whole validity. */
    TRY(gnutls_x509_crt_set_activation_time(crt, now - BEFORE_NOW_S));
    TRY(gnutls_x509_crt_set_expiration_time(crt, now - BEFORE_NOW_S + (time_t)days * 86400));
    TRY(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, "Sluice", 6));
    for (size_t i = 0; i < count; i++)
        TRY(add_name(crt, names[i]));
    TRY(gnutls_x509_crt_set_key(crt, key));
    TRY(gnutls_x509_crt_set_basic_constraints(crt, 0, -1));
    TRY(gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE));
    TRY(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0));
    return gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
}

struct tls_certificate *tls_certificate_make(const char *const *names, size_t count, unsigned days,
                                             time_t now, char *error, size_t error_size)
{
    struct tls_certificate *cert = certificate_new();
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;

    if (gnutls_x509_privkey_init(&key) != 0 || gnutls_x509_crt_init(&crt) != 0)
        abort();
    int rv = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                          GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (rv == 0)
        rv = fill_in(crt, key, names, count, days, now);
    if (rv == 0)
        rv = certificate_describe(cert, crt);
    tls_certificate_set_names(cert, names, count);
    if (rv == 0)
        rv = gnutls_certificate_set_x509_key(cert->credentials, &crt, 1, key);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
    if (rv >= 0)
        return cert;
    tls_say(error, error_size, "a certificate cannot be made: %s", gnutls_strerror(rv));
    tls_certificate_free(cert);
    return NULL;
}

const uint8_t *tls_certificate_hash(const struct tls_certificate *cert)
{
    return cert->hash;
}

time_t tls_certificate_begins(const struct tls_certificate *cert)
{
    return cert->begins;
}

time_t tls_certificate_expires(const struct tls_certificate *cert)
{
    return cert->expires;
}

const char *tls_certificate_pem(const struct tls_certificate *cert)
{
    return (const char *)cert->pem.data;
}
