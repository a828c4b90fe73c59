/*
 * tls - shared contexts and one GnuTLS session per connection.
 *
 * A certificate is immutable and counted: the context holds one reference, each session that began
 * with it another, so a renewal never pulls the old one away. The count and the context's list
 * are the only things that change while several threads look on; the list is under the lock of the
 * context. Calls GnuTLS and ngtcp2's glue for it.
 */
#include "front/tls_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#include "front/tls_hello.h"

/* AES-GCM first: this library's ChaCha20 costs five times as much. No TLS 1.3 compatibility mode:
 * RFC 9001, section 8.4. */
#define PRIORITY                                                                                   \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:"      \
    "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:"                                  \
    "%SERVER_PRECEDENCE:%DISABLE_TLS13_COMPAT_MODE"

/* A DNS name has 253 bytes at most. */
enum { SERVER_NAME_SIZE = 256 };

struct tls_context {
    bool is_server;
    gnutls_priority_t priority;
    /* server */
    pthread_mutex_t lock;                  /* guards the certificates */
    struct tls_certificate **certificates; /* the first one is for names that no other is for */
    size_t certificate_count;
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

/* --- contexts --- */

static void free_certificates(struct tls_certificate **certs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tls_certificate_free(certs[i]);
    free(certs);
}

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
    tls_say(error, error_size, "GnuTLS does not take the cipher list at \"%s\": %s", at ? at : "",
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
    tls_context_set_certificates(t, &cert, 1);
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
    free_certificates(t->certificates, t->certificate_count);
    if (t->ticket_key.data)
        gnutls_memset(t->ticket_key.data, 0, t->ticket_key.size);
    gnutls_free(t->ticket_key.data);
    if (t->trust)
        gnutls_certificate_free_credentials(t->trust);
    gnutls_priority_deinit(t->priority);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void tls_context_set_certificates(struct tls_context *t, struct tls_certificate *const *certs,
                                  size_t count)
{
    assert(t->is_server && count > 0);
    struct tls_certificate **list = calloc(count, sizeof(list[0]));
    if (!list)
        abort();
    memcpy(list, certs, count * sizeof(list[0]));
    pthread_mutex_lock(&t->lock);
    struct tls_certificate **old = t->certificates;
    size_t old_count = t->certificate_count;
    t->certificates = list;
    t->certificate_count = count;
    pthread_mutex_unlock(&t->lock);
    free_certificates(old, old_count);
}

/* The one for this server name, of len bytes. One more reference is the caller's. */
static struct tls_certificate *context_certificate(struct tls_context *t, const char *name,
                                                   size_t len)
{
    pthread_mutex_lock(&t->lock);
    struct tls_certificate *cert = t->certificates[0];
    for (size_t i = 0; len > 0 && i < t->certificate_count; i++) {
        if (tls_certificate_fits(t->certificates[i], name, len)) {
            cert = t->certificates[i];
            break;
        }
    }
    tls_certificate_share(cert);
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

/* RFC 6066, section 3. A name that cannot be read is as good as none. */
static int choose_certificate(gnutls_session_t gnutls)
{
    ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(gnutls);
    struct tls_session *s = ref->user_data;
    char name[SERVER_NAME_SIZE];
    size_t len = sizeof(name);
    unsigned type;

    if (gnutls_server_name_get(gnutls, name, &len, &type, 0) != 0 || type != GNUTLS_NAME_DNS)
        return 0;
    struct tls_certificate *cert = context_certificate(s->context, name, strlen(name));
    tls_certificate_free(s->certificate);
    s->certificate = cert;
    return gnutls_credentials_set(gnutls, GNUTLS_CRD_CERTIFICATE, cert->credentials);
}

static int configure_server(struct tls_session *s)
{
    gnutls_handshake_set_post_client_hello_function(s->gnutls, choose_certificate);
    gnutls_handshake_set_hook_function(s->gnutls, GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_PRE,
                                       hello_arrived);
    TRY(gnutls_session_ticket_enable_server(s->gnutls, &s->context->ticket_key));
    s->certificate = context_certificate(s->context, NULL, 0);
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
