/*
 * tls - certificates, shared contexts and one GnuTLS session per connection.
 *
 * A certificate is immutable and counted: the context holds one reference, each session that began
 * with it another, so a renewal never pulls the old one away. The count and the context's pointer
 * are the only things that change while several threads look on; both are under the lock of the
 * context. Calls GnuTLS and ngtcp2's glue for it.
 */
#include "front/tls.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include "front/tls_hello.h"

/* AES-GCM first: this library's ChaCha20 costs five times as much. No TLS 1.3 compatibility mode:
 * RFC 9001, section 8.4. */
#define PRIORITY                                                                                   \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:"      \
    "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:"                                  \
    "%SERVER_PRECEDENCE:%DISABLE_TLS13_COMPAT_MODE"

#define FILE_SIZE_MAX (1024 * 1024)
#define BEFORE_NOW_S  3600 /* clocks of clients are late now and then */

struct tls_certificate {
    atomic_uint references;
    gnutls_certificate_credentials_t credentials;
    uint8_t hash[TLS_HASH_LEN];
    time_t begins, expires;
    gnutls_datum_t pem;
};

struct tls_context {
    bool is_server;
    gnutls_priority_t priority;
    /* server */
    pthread_mutex_t lock; /* guards certificate */
    struct tls_certificate *certificate;
    gnutls_datum_t ticket_key;
    /* client */
    gnutls_certificate_credentials_t trust;
    bool has_hash;
    uint8_t hash[TLS_HASH_LEN];
};

struct tls_session {
    ngtcp2_crypto_conn_ref ref; /* first: GnuTLS' session pointer is a pointer to it */
    gnutls_session_t gnutls;
    struct tls_context *context;
    struct tls_certificate *certificate; /* server: the one this session began with */
    struct tls_hello hello;              /* server: the client's */
    struct ngtcp2_conn *(*conn)(void *user);
    void *user;
};

static const gnutls_datum_t alpn = {.data = (unsigned char *)"h3", .size = 2};

__attribute__((format(printf, 3, 4))) static void say(char *error, size_t size, const char *format,
                                                      ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, size, format, args);
    va_end(args);
}

void tls_random(void *to, size_t len)
{
    if (gnutls_rnd(GNUTLS_RND_RANDOM, to, len) != 0)
        abort();
}

const char *tls_library(void)
{
    static _Thread_local char text[64];
    snprintf(text, sizeof(text), "GnuTLS %s", gnutls_check_version(NULL));
    return text;
}

const char *tls_alert_name(uint8_t alert)
{
    const char *name = gnutls_alert_get_name((gnutls_alert_description_t)alert);
    return name ? name : "an unknown alert";
}

/* --- certificates --- */

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

void tls_certificate_free(struct tls_certificate *cert)
{
    if (!cert || atomic_fetch_sub(&cert->references, 1) != 1)
        return;
    gnutls_certificate_free_credentials(cert->credentials);
    gnutls_free(cert->pem.data);
    free(cert);
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
        say(error, error_size, "%s: cannot be read: %s", path, strerror(errno));
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
        say(error, error_size, "%s: %s", path,
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
        say(error, error_size, "%s: is too short for a secret (%u bytes, not %d or more)", path,
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
        say(error, error_size, "%s: has no usable PEM certificate: %s", path, gnutls_strerror(rv));
        return false;
    }
    rv = certificate_describe(cert, chain[0]);
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
    if (rv < 0)
        say(error, error_size, "%s: %s", path, gnutls_strerror(rv));
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
        say(error, error_size, "%s: has no usable PEM private key%s: %s", path,
            rv == GNUTLS_E_DECRYPTION_FAILED ? " (keys under a password are not supported)" : "",
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
            say(error, error_size, "%s: is not the key of the certificate in %s", key_file,
                cert_file);
        else if (rv < 0)
            say(error, error_size, "%s and %s: %s", cert_file, key_file, gnutls_strerror(rv));
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

/* Returns the first error of a row of calls of GnuTLS. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        int rv_ = (call);                                                                          \
        if (rv_ < 0)                                                                               \
            return rv_;                                                                            \
    } while (0)

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
    if (rv == 0)
        rv = gnutls_certificate_set_x509_key(cert->credentials, &crt, 1, key);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
    if (rv >= 0)
        return cert;
    say(error, error_size, "a certificate cannot be made: %s", gnutls_strerror(rv));
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

/* --- contexts --- */

static struct tls_context *context_new(bool is_server, char *error, size_t error_size)
{
    struct tls_context *t = calloc(1, sizeof(*t));
    if (!t)
        abort();
    t->is_server = is_server;
    pthread_mutex_init(&t->lock, NULL);
    const char *at = NULL;
    int rv = gnutls_priority_init2(&t->priority, PRIORITY, &at, 0);
    if (rv == 0)
        return t;
    say(error, error_size, "GnuTLS does not take the cipher list at \"%s\": %s", at ? at : "",
        gnutls_strerror(rv));
    pthread_mutex_destroy(&t->lock);
    free(t);
    return NULL;
}

struct tls_context *tls_context_new_server(struct tls_certificate *cert, char *error,
                                           size_t error_size)
{
    struct tls_context *t = context_new(true, error, error_size);
    if (!t) {
        tls_certificate_free(cert);
        return NULL;
    }
    t->certificate = cert;
    if (gnutls_session_ticket_key_generate(&t->ticket_key) != 0)
        abort();
    return t;
}

void tls_context_set_secret(struct tls_context *t, const uint8_t secret[TLS_SECRET_LEN])
{
    assert(t->is_server);
    tls_derive(secret, "session tickets", t->ticket_key.data, t->ticket_key.size);
}

static int verify_hash(gnutls_session_t gnutls)
{
    struct tls_session *s = gnutls_session_get_ptr(gnutls);
    unsigned count = 0;
    uint8_t hash[TLS_HASH_LEN];
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(gnutls, &count);

    if (!s->context->has_hash)
        return 0;
    if (!chain || count == 0 ||
        gnutls_hash_fast(GNUTLS_DIG_SHA256, chain[0].data, chain[0].size, hash) != 0 ||
        memcmp(hash, s->context->hash, sizeof(hash)) != 0)
        return GNUTLS_E_CERTIFICATE_ERROR;
    return 0;
}

struct tls_context *tls_context_new_client(const uint8_t *hash, char *error, size_t error_size)
{
    struct tls_context *t = context_new(false, error, error_size);
    if (!t)
        return NULL;
    if (gnutls_certificate_allocate_credentials(&t->trust) != 0)
        abort();
    gnutls_certificate_set_verify_function(t->trust, verify_hash);
    if (hash) {
        t->has_hash = true;
        memcpy(t->hash, hash, sizeof(t->hash));
    }
    return t;
}

void tls_context_free(struct tls_context *t)
{
    if (!t)
        return;
    tls_certificate_free(t->certificate);
    if (t->ticket_key.data)
        gnutls_memset(t->ticket_key.data, 0, t->ticket_key.size);
    gnutls_free(t->ticket_key.data);
    if (t->trust)
        gnutls_certificate_free_credentials(t->trust);
    gnutls_priority_deinit(t->priority);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void tls_context_set_certificate(struct tls_context *t, struct tls_certificate *cert)
{
    assert(t->is_server);
    pthread_mutex_lock(&t->lock);
    struct tls_certificate *old = t->certificate;
    t->certificate = cert;
    pthread_mutex_unlock(&t->lock);
    tls_certificate_free(old);
}

static struct tls_certificate *context_certificate(struct tls_context *t)
{
    pthread_mutex_lock(&t->lock);
    struct tls_certificate *cert = t->certificate;
    atomic_fetch_add(&cert->references, 1);
    pthread_mutex_unlock(&t->lock);
    return cert;
}

/* --- sessions --- */

static ngtcp2_conn *session_conn(ngtcp2_crypto_conn_ref *ref)
{
    struct tls_session *s = ref->user_data;
    return s->conn(s->user);
}

static bool is_ip_address(const char *name)
{
    uint8_t ip[16];
    return inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1;
}

static int take_extension(void *session, unsigned type, const unsigned char *data, unsigned len)
{
    struct tls_session *s = session;
    tls_hello_take(&s->hello, type, data, len);
    return 0;
}

static int hello_arrived(gnutls_session_t gnutls, unsigned type, unsigned when, unsigned incoming,
                         const gnutls_datum_t *message)
{
    ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(gnutls);
    (void)type, (void)when;
    if (incoming) /* what it cannot parse, the handshake itself will not either */
        gnutls_ext_raw_parse(ref->user_data, take_extension, message,
                             GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO);
    return 0;
}

static int configure_server(struct tls_session *s)
{
    gnutls_handshake_set_hook_function(s->gnutls, GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_PRE,
                                       hello_arrived);
    TRY(gnutls_session_ticket_enable_server(s->gnutls, &s->context->ticket_key));
    s->certificate = context_certificate(s->context);
    TRY(gnutls_credentials_set(s->gnutls, GNUTLS_CRD_CERTIFICATE, s->certificate->credentials));
    return ngtcp2_crypto_gnutls_configure_server_session(s->gnutls);
}

static int configure_client(struct tls_session *s, const char *server_name)
{
    if (server_name && *server_name && !is_ip_address(server_name))
        TRY(gnutls_server_name_set(s->gnutls, GNUTLS_NAME_DNS, server_name, strlen(server_name)));
    TRY(gnutls_credentials_set(s->gnutls, GNUTLS_CRD_CERTIFICATE, s->context->trust));
    return ngtcp2_crypto_gnutls_configure_client_session(s->gnutls);
}

static int configure(struct tls_session *s, const char *server_name)
{
    struct tls_context *t = s->context;
    TRY(gnutls_init(&s->gnutls, t->is_server ? GNUTLS_SERVER : GNUTLS_CLIENT));
    gnutls_session_set_ptr(s->gnutls, &s->ref);
    TRY(gnutls_priority_set(s->gnutls, t->priority));
    TRY(gnutls_alpn_set_protocols(s->gnutls, &alpn, 1, GNUTLS_ALPN_MANDATORY));
    return t->is_server ? configure_server(s) : configure_client(s, server_name);
}

struct tls_session *tls_session_new(struct tls_context *t, struct ngtcp2_conn *(*conn)(void *user),
                                    void *user, const char *server_name)
{
    struct tls_session *s = calloc(1, sizeof(*s));
    if (!s)
        abort();
    s->ref.get_conn = session_conn;
    s->ref.user_data = s;
    s->context = t;
    s->conn = conn;
    s->user = user;
    if (configure(s, server_name) == 0)
        return s;
    tls_session_free(s);
    return NULL;
}

void tls_session_free(struct tls_session *s)
{
    if (!s)
        return;
    if (s->gnutls)
        gnutls_deinit(s->gnutls);
    tls_certificate_free(s->certificate);
    free(s);
}

void *tls_session_native(struct tls_session *s)
{
    return s->gnutls;
}

bool tls_session_is_resumed(const struct tls_session *s)
{
    return gnutls_session_is_resumed(s->gnutls) != 0;
}

bool tls_session_is_h3(const struct tls_session *s)
{
    gnutls_datum_t chosen;
    return gnutls_alpn_get_selected_protocol(s->gnutls, &chosen) == 0 && chosen.size == alpn.size &&
           memcmp(chosen.data, alpn.data, alpn.size) == 0;
}

bool tls_session_may_be_safari(const struct tls_session *s)
{
    return tls_hello_may_be_safari(&s->hello);
}

void tls_session_info(const struct tls_session *s, uint16_t *version, uint16_t *cipher_suite)
{
    *version = gnutls_protocol_get_version(s->gnutls) == GNUTLS_TLS1_3 ? 0x0304 : 0;
    switch (gnutls_cipher_get(s->gnutls)) { /* RFC 8446, appendix B.4 */
    case GNUTLS_CIPHER_AES_128_GCM:
        *cipher_suite = 0x1301;
        break;
    case GNUTLS_CIPHER_AES_256_GCM:
        *cipher_suite = 0x1302;
        break;
    case GNUTLS_CIPHER_CHACHA20_POLY1305:
        *cipher_suite = 0x1303;
        break;
    default:
        *cipher_suite = 0;
    }
}
