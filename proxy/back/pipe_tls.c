/*
 * The layer of a pipe that speaks TLS, as its client. Owns a GnuTLS session for each pipe, and for
 * all of a backend the certificates that are trusted. Calls GnuTLS and sock.
 *
 * GnuTLS never hears that the socket is full, or broken for writing: what does not go out is kept
 * here (`unsent`), and nothing more is encrypted until it has gone. That is one record, or what a
 * handshake says in one go. So no call of GnuTLS must be made twice, and a service that reads no
 * more can still be read. The bytes of such a record are taken, as pipe_write says it, when its
 * last byte has gone.
 */
#include "back/pipe_tls.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "back/pipe_internal.h"

/* AES-GCM first: this library's ChaCha20 costs five times as much. */
#define PRIORITY                                                                                   \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:"            \
    "+CHACHA20-POLY1305"

enum { RECORD_MAX = 16384 }; /* bytes of ours in a record: RFC 8446, section 5.1 */

/* --- whom to trust --- */

enum { DIGEST_LEN = 32 };

struct pipe_tls {
    atomic_uint references;
    gnutls_priority_t priority;
    gnutls_certificate_credentials_t trusted;
    char *name;      /* NULL: the host of the address */
    char error[512]; /* "": none */
    char digest[2 * DIGEST_LEN + 1];
};

static void digest(struct pipe_tls *t, const gnutls_datum_t *data)
{
    uint8_t hash[DIGEST_LEN];
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, data->data, data->size, hash) != 0)
        abort();
    for (size_t i = 0; i < DIGEST_LEN; i++)
        snprintf(t->digest + 2 * i, 3, "%02x", hash[i]);
}

/* Returns what is wrong, or NULL. */
static const char *trust_file(struct pipe_tls *t, const char *file)
{
    gnutls_datum_t pem = {0};
    errno = 0;
    if (gnutls_load_file(file, &pem) != 0)
        return errno ? strerror(errno) : "it cannot be read";
    digest(t, &pem);
    int found = gnutls_certificate_set_x509_trust_mem(t->trusted, &pem, GNUTLS_X509_FMT_PEM);
    gnutls_free(pem.data);
    return found > 0 ? NULL : "there is no certificate (PEM) in it";
}

static void trust(struct pipe_tls *t, const char *file)
{
    const char *wrong = file ? trust_file(t, file) : NULL;
    if (wrong)
        snprintf(t->error, sizeof t->error, "the trusted certificates in %s: %s", file, wrong);
    else if (!file && gnutls_certificate_set_x509_system_trust(t->trusted) <= 0)
        snprintf(t->error, sizeof t->error, "this system has no certificates that are trusted");
}

struct pipe_tls *pipe_tls_new(const struct pipe_tls_config *config)
{
    struct pipe_tls *t = calloc(1, sizeof *t);
    assert(t);
    atomic_init(&t->references, 1);
    if (config->name) {
        t->name = strdup(config->name);
        assert(t->name);
    }
    if (gnutls_priority_init2(&t->priority, PRIORITY, NULL, 0) != 0 ||
        gnutls_certificate_allocate_credentials(&t->trusted) != 0)
        abort();
    trust(t, config->ca);
    return t;
}

struct pipe_tls *pipe_tls_share(struct pipe_tls *t)
{
    atomic_fetch_add(&t->references, 1);
    return t;
}

void pipe_tls_free(struct pipe_tls *t)
{
    if (!t || atomic_fetch_sub(&t->references, 1) > 1)
        return;
    gnutls_certificate_free_credentials(t->trusted);
    gnutls_priority_deinit(t->priority);
    free(t->name);
    free(t);
}

const char *pipe_tls_error(const struct pipe_tls *t)
{
    return t->error[0] ? t->error : NULL;
}

const char *pipe_tls_name(const struct pipe_tls *t)
{
    return t->name;
}

const char *pipe_tls_digest(const struct pipe_tls *t)
{
    return t->digest;
}

/* --- the socket, as GnuTLS sees it --- */

struct pipe_tls_session {
    gnutls_session_t gnutls;
    char *name; /* GnuTLS reads it and `wanted` when it verifies */
    gnutls_typed_vdata_st wanted[2];
    bool was_heard, is_other; /* the service; and it speaks something other than TLS */
    bool is_up, said_bye;
    bool is_over; /* for reading: the end, or an error, which may not have been told yet */
    int end;      /* 0 or an errno */
    uint8_t *unsent;
    size_t unsent_at, unsent_len;
    size_t begun; /* bytes of the holder's in what is unsent */
    int send_error, receive_error;
    char why[192];
};

/* Bytes that the socket took. */
static size_t send_some(struct pipe *p, const uint8_t *data, size_t len)
{
    ssize_t n = sock_write(p->sock, data, len);
    if (n < 0 && errno != EAGAIN)
        p->tls->send_error = errno;
    return n > 0 ? (size_t)n : 0;
}

static void keep(struct pipe_tls_session *s, const uint8_t *data, size_t len)
{
    size_t left = s->unsent_len - s->unsent_at;
    uint8_t *all = malloc(left + len);
    assert(all);
    if (left > 0)
        memcpy(all, s->unsent + s->unsent_at, left);
    memcpy(all + left, data, len);
    free(s->unsent);
    s->unsent = all;
    s->unsent_at = 0;
    s->unsent_len = left + len;
}

static ssize_t push(gnutls_transport_ptr_t pipe, const void *data, size_t len)
{
    struct pipe *p = pipe;
    struct pipe_tls_session *s = p->tls;
    size_t sent = s->unsent || s->send_error ? 0 : send_some(p, data, len);
    if (sent < len && !s->send_error)
        keep(s, (const uint8_t *)data + sent, len - sent);
    return (ssize_t)len;
}

/* Returns true if nothing is left, be it that the socket takes nothing any more. */
static bool send_unsent(struct pipe *p)
{
    struct pipe_tls_session *s = p->tls;
    if (s->unsent && !s->send_error)
        s->unsent_at += send_some(p, s->unsent + s->unsent_at, s->unsent_len - s->unsent_at);
    if (s->unsent_at < s->unsent_len && !s->send_error)
        return false;
    free(s->unsent);
    s->unsent = NULL;
    s->unsent_at = s->unsent_len = 0;
    return true;
}

/* GnuTLS would wait for a record as long as the greeting of another protocol seems to tell. */
static bool is_other_protocol(struct pipe_tls_session *s, uint8_t first)
{
    s->is_other = !s->was_heard && (first < 20 || first > 24); /* RFC 8446, section 5.1 */
    s->was_heard = true;
    return s->is_other;
}

static ssize_t pull(gnutls_transport_ptr_t pipe, void *to, size_t room)
{
    struct pipe *p = pipe;
    const struct iovec whole = {to, room};
    ssize_t n = sock_read(p->sock, &whole, 1);
    int error = n < 0 ? errno : EPROTO;
    if (n == 0 || (n > 0 && !is_other_protocol(p->tls, *(uint8_t *)to)))
        return n;
    if (error != EAGAIN)
        p->tls->receive_error = error;
    gnutls_transport_set_errno(p->tls->gnutls, error);
    return -1;
}

/* --- opening --- */

static bool is_ip_address(const char *name)
{
    uint8_t ip[16];
    return inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1;
}

static int configure(struct pipe *p)
{
    const struct pipe_tls *t = p->shared->tls;
    struct pipe_tls_session *s = p->tls;
    if (gnutls_init(&s->gnutls, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS) != 0 ||
        gnutls_priority_set(s->gnutls, t->priority) != 0 ||
        gnutls_credentials_set(s->gnutls, GNUTLS_CRD_CERTIFICATE, t->trusted) != 0)
        abort();
    s->wanted[0].type = GNUTLS_DT_DNS_HOSTNAME; /* or an address: GnuTLS compares both */
    s->wanted[0].data = (unsigned char *)s->name;
    s->wanted[1].type = GNUTLS_DT_KEY_PURPOSE_OID;
    s->wanted[1].data = (unsigned char *)GNUTLS_KP_TLS_WWW_SERVER;
    gnutls_session_set_verify_cert2(s->gnutls, s->wanted, 2, 0);
    gnutls_transport_set_ptr(s->gnutls, p);
    gnutls_transport_set_push_function(s->gnutls, push);
    gnutls_transport_set_pull_function(s->gnutls, pull);
    if (is_ip_address(s->name)) /* RFC 6066, section 3 */
        return 0;
    return gnutls_server_name_set(s->gnutls, GNUTLS_NAME_DNS, s->name, strlen(s->name));
}

static int begin(struct pipe *p)
{
    const char *name = p->shared->tls->name ? p->shared->tls->name : p->target->host;
    struct pipe_tls_session *s = calloc(1, sizeof *s);
    assert(s && name);
    s->name = strdup(name);
    assert(s->name);
    p->tls = s;
    return configure(p);
}

/* The most telling first. */
static const struct {
    unsigned status;
    const char *what;
} flaws[] = {
    {GNUTLS_CERT_REVOKED, "has been revoked"},
    {GNUTLS_CERT_SIGNER_NOT_FOUND, "is not issued by an authority that is trusted here"},
    {GNUTLS_CERT_SIGNER_NOT_CA, "is issued by who is no authority"},
    {GNUTLS_CERT_EXPIRED, "has expired"},
    {GNUTLS_CERT_NOT_ACTIVATED, "is not valid yet"},
    {GNUTLS_CERT_PURPOSE_MISMATCH, "is not for servers"},
    {GNUTLS_CERT_INSECURE_ALGORITHM, "has a signature that is too weak"},
    {GNUTLS_CERT_UNEXPECTED_OWNER, "is not issued for"},
};

static void explain_certificate(struct pipe_tls_session *s)
{
    unsigned status = gnutls_session_get_verify_cert_status(s->gnutls);
    size_t i = 0, count = sizeof flaws / sizeof *flaws;
    while (i < count && !(status & flaws[i].status))
        i++;
    bool is_name = i < count && flaws[i].status == GNUTLS_CERT_UNEXPECTED_OWNER;
    snprintf(s->why, sizeof s->why, "the certificate %s%s%s",
             i < count ? flaws[i].what : "was not accepted", is_name ? " " : "",
             is_name ? s->name : "");
}

static void explain_alert(struct pipe_tls_session *s)
{
    const char *name = gnutls_alert_get_name(gnutls_alert_get(s->gnutls));
    snprintf(s->why, sizeof s->why, "the service refused the handshake: %s",
             name ? name : "an unknown alert");
}

static void explain(struct pipe_tls_session *s, int rv)
{
    const char *what = gnutls_strerror(rv);
    if (s->is_other || rv == GNUTLS_E_UNSUPPORTED_VERSION_PACKET)
        what = "the service does not speak TLS 1.2 or 1.3";
    else if (s->receive_error)
        what = strerror(s->receive_error);
    else if (rv == GNUTLS_E_PREMATURE_TERMINATION)
        what = "the service closed the connection in the handshake";
    if (rv == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
        explain_certificate(s);
    else if (rv == GNUTLS_E_FATAL_ALERT_RECEIVED)
        explain_alert(s);
    else
        snprintf(s->why, sizeof s->why, "%s", what);
}

static enum pipe_step fail(struct pipe *p, int rv, struct pipe_end *why)
{
    struct pipe_tls_session *s = p->tls;
    explain(s, rv);
    gnutls_alert_send_appropriate(s->gnutls, rv); /* for the service's own log */
    int error = s->receive_error ? s->receive_error : EPROTO;
    *why = (struct pipe_end){FAULT_BACKEND_TLS, error, s->why};
    return PIPE_STEP_FAILED;
}

static enum pipe_step tls_open(struct pipe *p, struct pipe_end *why)
{
    int rv = p->tls ? 0 : begin(p);
    if (rv == 0 && !p->tls->is_up)
        rv = gnutls_handshake(p->tls->gnutls);
    if (rv < 0 && gnutls_error_is_fatal(rv))
        return fail(p, rv, why);
    p->tls->is_up |= rv == 0;
    if (!send_unsent(p))
        return PIPE_STEP_WRITE;
    return rv == 0 ? PIPE_STEP_DONE : PIPE_STEP_READ;
}

/* --- open --- */

/* What comes after the last byte: 0 or an errno. rv is GnuTLS's for it. */
static int end_of(const struct pipe *p, ssize_t rv)
{
    const struct pipe_tls_session *s = p->tls;
    if (s->receive_error)
        return s->receive_error;
    if (rv == GNUTLS_E_PREMATURE_TERMINATION) /* of interest to those who read */
        return p->stopped ? 0 : ECONNRESET;
    if (rv == GNUTLS_E_FATAL_ALERT_RECEIVED)
        return ECONNRESET;
    return rv == 0 ? 0 : EPROTO;
}

/* One record after the other: a socket that is asked once for each would tell of each. */
static ssize_t tls_read(struct pipe *p, void *to, size_t room)
{
    struct pipe_tls_session *s = p->tls;
    size_t len = 0;
    while (len < room && !s->is_over) {
        ssize_t n = gnutls_record_recv(s->gnutls, (uint8_t *)to + len, room - len);
        if (n > 0) {
            len += (size_t)n;
        } else if (n == 0 || gnutls_error_is_fatal((int)n)) {
            s->is_over = true;
            s->end = end_of(p, n);
        } else { /* nothing now; or tickets, new keys, the wish to negotiate anew */
            break;
        }
    }
    if (len > 0)
        return (ssize_t)len;
    if (s->is_over && s->end == 0)
        return 0;
    errno = s->is_over ? s->end : EAGAIN;
    return -1;
}

static bool tls_holds(const struct pipe *p)
{
    return p->tls->is_over || gnutls_record_check_pending(p->tls->gnutls) > 0;
}

/* What follows the first skip bytes of from, as much as is for one record. */
static size_t gather(const struct iovec *from, int count, size_t skip, uint8_t record[RECORD_MAX])
{
    size_t len = 0;
    for (int i = 0; i < count && len < RECORD_MAX; i++) {
        size_t skipped = skip < from[i].iov_len ? skip : from[i].iov_len;
        size_t n = from[i].iov_len - skipped;
        if (n > RECORD_MAX - len)
            n = RECORD_MAX - len;
        if (n > 0)
            memcpy(record + len, (const uint8_t *)from[i].iov_base + skipped, n);
        skip -= skipped;
        len += n;
    }
    return len;
}

static ssize_t tls_write(struct pipe *p, const struct iovec *from, int count)
{
    struct pipe_tls_session *s = p->tls;
    uint8_t record[RECORD_MAX];
    size_t taken = 0, len;
    while (send_unsent(p) && !s->send_error) {
        taken += s->begun;
        s->begun = 0;
        len = gather(from, count, taken, record);
        if (len == 0)
            return (ssize_t)taken;
        ssize_t n = gnutls_record_send(s->gnutls, record, len);
        if (n < 0) {
            errno = EPROTO;
            return -1;
        }
        s->begun = (size_t)n;
    }
    if (taken > 0 && !s->send_error)
        return (ssize_t)taken;
    errno = s->send_error ? s->send_error : EAGAIN;
    return -1;
}

static bool tls_shut(struct pipe *p)
{
    struct pipe_tls_session *s = p->tls;
    if (!s->said_bye)
        gnutls_bye(s->gnutls, GNUTLS_SHUT_WR);
    s->said_bye = true;
    if (!send_unsent(p))
        return false;
    sock_shut(p->sock);
    return true;
}

static void tls_free(struct pipe *p)
{
    struct pipe_tls_session *s = p->tls;
    if (!s)
        return;
    gnutls_deinit(s->gnutls);
    free(s->unsent);
    free(s->name);
    free(s);
    p->tls = NULL;
}

const struct pipe_layer pipe_tls_layer = {
    .doing = "TLS to",
    .open = tls_open,
    .read = tls_read,
    .holds = tls_holds,
    .write = tls_write,
    .shut = tls_shut,
    .free = tls_free,
};
