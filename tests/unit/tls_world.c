/*
 * The world that tls_world.h describes. Owns the keys and certificates of all its tests, and of
 * each test the service's socket and session.
 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/crypto.h>
#include <gnutls/x509.h>

#include "tls_world.h"

#define DAY_S (24 * 3600)

/* --- certificates --- */

static gnutls_x509_privkey_t keys[2]; /* of the authorities and of the services */
static gnutls_x509_crt_t authority, stranger, proofs[PROOFS];
static char dir[64], authority_file[96], own_file[96];

static gnutls_x509_privkey_t make_key(void)
{
    gnutls_x509_privkey_t key;
    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(
                         key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    return key;
}

static gnutls_x509_crt_t begin_certificate(const char *name, int first_day, int last_day,
                                           gnutls_x509_privkey_t key)
{
    gnutls_x509_crt_t crt;
    time_t now = time(NULL);
    uint8_t serial[8];
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial), 0);
    serial[0] &= 0x7f;
    gnutls_x509_crt_set_version(crt, 3);
    gnutls_x509_crt_set_serial(crt, serial, sizeof serial);
    gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                  (unsigned)strlen(name));
    gnutls_x509_crt_set_activation_time(crt, now + first_day * DAY_S);
    gnutls_x509_crt_set_expiration_time(crt, now + last_day * DAY_S);
    gnutls_x509_crt_set_key(crt, key);
    return crt;
}

static gnutls_x509_crt_t make_authority(const char *name)
{
    gnutls_x509_crt_t crt = begin_certificate(name, -30, 30, keys[0]);
    gnutls_x509_crt_set_basic_constraints(crt, 1, -1);
    gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN);
    assert_int_equal(gnutls_x509_crt_sign2(crt, crt, keys[0], GNUTLS_DIG_SHA256, 0), 0);
    return crt;
}

static void name_it(gnutls_x509_crt_t crt, gnutls_x509_subject_alt_name_t type, const void *name,
                    size_t len)
{
    assert_int_equal(
        gnutls_x509_crt_set_subject_alt_name(crt, type, name, (unsigned)len, GNUTLS_FSAN_APPEND),
        0);
}

static gnutls_x509_crt_t make_proof(enum proof proof)
{
    static const int days[PROOFS][2] = {[PROOF_EXPIRED] = {-2, -1}, [PROOF_EARLY] = {1, 2}};
    static const uint8_t loopback[4] = {127, 0, 0, 1};
    int first = days[proof][0] ? days[proof][0] : -1, last = days[proof][1] ? days[proof][1] : 1;
    gnutls_x509_crt_t crt = begin_certificate("service", first, last, keys[1]);
    gnutls_x509_crt_t by = proof == PROOF_OF_STRANGER ? stranger : authority;
    gnutls_x509_privkey_t with = keys[0];
    if (proof == PROOF_OF_ITSELF) {
        by = crt;
        with = keys[1];
    }
    name_it(crt, GNUTLS_SAN_DNSNAME, SERVICE_NAME, strlen(SERVICE_NAME));
    name_it(crt, GNUTLS_SAN_DNSNAME, ALSO_NAMED, strlen(ALSO_NAMED));
    name_it(crt, GNUTLS_SAN_IPADDRESS, loopback, sizeof loopback);
    gnutls_x509_crt_set_key_purpose_oid(
        crt, proof == PROOF_FOR_CLIENTS ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER, 0);
    assert_int_equal(gnutls_x509_crt_sign2(crt, by, with, GNUTLS_DIG_SHA256, 0), 0);
    return crt;
}

static void write_certificate(const char *file, gnutls_x509_crt_t crt)
{
    gnutls_datum_t pem;
    FILE *to = fopen(file, "w");
    assert_non_null(to);
    assert_int_equal(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem), 0);
    assert_int_equal(fwrite(pem.data, 1, pem.size, to), pem.size);
    assert_int_equal(fclose(to), 0);
    gnutls_free(pem.data);
}

int tls_group_setup(void **state)
{
    (void)state;
    keys[0] = make_key();
    keys[1] = make_key();
    authority = make_authority("authority");
    stranger = make_authority("stranger");
    for (int i = 0; i < PROOFS; i++)
        proofs[i] = make_proof(i);
    strcpy(dir, "/tmp/test_pipe_tls.XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(authority_file, sizeof authority_file, "%s/authority.pem", dir);
    snprintf(own_file, sizeof own_file, "%s/own.pem", dir);
    write_certificate(authority_file, authority);
    write_certificate(own_file, proofs[PROOF_OF_ITSELF]);
    return 0;
}

int tls_group_teardown(void **state)
{
    (void)state;
    for (int i = 0; i < PROOFS; i++)
        gnutls_x509_crt_deinit(proofs[i]);
    gnutls_x509_crt_deinit(stranger);
    gnutls_x509_crt_deinit(authority);
    gnutls_x509_privkey_deinit(keys[0]);
    gnutls_x509_privkey_deinit(keys[1]);
    unlink(authority_file);
    unlink(own_file);
    rmdir(dir);
    return 0;
}

const char *tls_authority(void)
{
    return authority_file;
}

const char *tls_own_proof(void)
{
    return own_file;
}

/* --- the holder --- */

void pipe_trusts(struct tls_world *t, const char *ca, const char *name)
{
    struct pipe_shared *shared = &t->s->shared;
    pipe_tls_free(shared->tls);
    shared->tls = pipe_tls_new(&(struct pipe_tls_config){.ca = ca, .name = name});
    assert_null(pipe_tls_error(shared->tls));
}

void pipe_begins(struct tls_world *t)
{
    t->s->opened = t->s->failed = 0;
    scene_open(t->s, t->preface, t->preface ? strlen(t->preface) : 0);
}

void pipe_pushes(struct tls_world *t, const void *data, size_t len)
{
    struct scene *s = t->s;
    const uint8_t *at = data;
    uint64_t watchdog = uv_hrtime() + WATCHDOG_S * NS_PER_S;
    pipe_want(s->pipe, s->reads, true);
    while (len > 0) {
        const struct iovec parts[] = {{(void *)at, len / 3},
                                      {(void *)(at + len / 3), 0},
                                      {(void *)(at + len / 3), len - len / 3}};
        ssize_t n = pipe_write(s->pipe, parts, 3);
        assert_true(uv_hrtime() < watchdog);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            world_step(s->w);
            service_reads(t);
            continue;
        }
        assert_true(n > 0 && (size_t)n <= len);
        at += n;
        len -= (size_t)n;
    }
    pipe_want(s->pipe, s->reads, false);
}

/* --- the service --- */

void service_shows(struct tls_world *t, enum proof proof, const char *priority)
{
    gnutls_x509_crt_t chain[2] = {proofs[proof], proof == PROOF_OF_STRANGER ? stranger : authority};
    int count = proof == PROOF_OF_ITSELF ? 1 : 2;
    if (t->credentials)
        gnutls_certificate_free_credentials(t->credentials);
    assert_int_equal(gnutls_certificate_allocate_credentials(&t->credentials), 0);
    assert_int_equal(gnutls_certificate_set_x509_key(t->credentials, chain, count, keys[1]), 0);
    if (t->tls)
        gnutls_deinit(t->tls);
    assert_int_equal(gnutls_init(&t->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL), 0);
    assert_int_equal(gnutls_priority_set_direct(t->tls, priority, NULL), 0);
    gnutls_credentials_set(t->tls, GNUTLS_CRD_CERTIFICATE, t->credentials);
    t->up = false;
    t->error = 0;
}

void service_steps(struct tls_world *t)
{
    if (t->s->service < 0) {
        if (t->s->listener < 0)
            return;
        fcntl(t->s->listener, F_SETFL, O_NONBLOCK);
        t->s->service = accept4(t->s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (t->s->service < 0)
            return;
        if (t->tls)
            gnutls_transport_set_int(t->tls, t->s->service);
    }
    if (!t->tls || t->up || t->error)
        return;
    int rv = gnutls_handshake(t->tls);
    t->up = rv == 0;
    if (rv < 0 && gnutls_error_is_fatal(rv)) {
        gnutls_alert_send_appropriate(t->tls, rv);
        t->error = rv;
    }
}

void service_reads(struct tls_world *t)
{
    while (t->up && !t->heard_end && !t->error) {
        ssize_t n = gnutls_record_recv(t->tls, t->heard + t->heard_len, HEAP - t->heard_len);
        if (n > 0)
            t->heard_len += (size_t)n;
        else if (n == 0)
            t->heard_end = true;
        else if (gnutls_error_is_fatal((int)n))
            t->error = (int)n;
        else
            return;
    }
}

void service_writes(struct tls_world *t, const void *data, size_t len)
{
    const uint8_t *at = data;
    uint64_t watchdog = uv_hrtime() + WATCHDOG_S * NS_PER_S;
    while (len > 0) {
        ssize_t n = gnutls_record_send(t->tls, at, len);
        assert_true(uv_hrtime() < watchdog);
        if (n < 0) {
            assert_int_equal(n, GNUTLS_E_AGAIN);
            world_step(t->s->w);
            continue;
        }
        at += n;
        len -= (size_t)n;
    }
}

void both_up(struct tls_world *t, const char *priority)
{
    service_listens_tcp(t->s, 16);
    service_shows(t, PROOF_GOOD, priority);
    pipe_trusts(t, tls_authority(), NULL);
    pipe_begins(t);
    until(t->s->w, (service_steps(t), (t->s->opened && t->up) || t->s->failed || t->error));
    assert_int_equal(t->s->opened, 1);
    assert_true(t->up);
}

/* --- life --- */

int tls_setup(void **state)
{
    struct tls_world *t = calloc(1, sizeof *t);
    assert_non_null(t);
    void *scene;
    scene_setup(&scene);
    t->s = scene;
    t->heard = malloc(HEAP);
    assert_non_null(t->heard);
    *state = t;
    return 0;
}

int tls_teardown(void **state)
{
    struct tls_world *t = *state;
    void *scene = t->s;
    if (t->tls)
        gnutls_deinit(t->tls);
    if (t->credentials)
        gnutls_certificate_free_credentials(t->credentials);
    pipe_tls_free(t->s->shared.tls); /* before the pipe has gone, as an upstream does */
    scene_teardown(&scene);
    free(t->heard);
    free(t);
    return 0;
}
