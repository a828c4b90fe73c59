/*
 * Whom a pipe trusts, and what it says when it does not: handshakes with services of all sorts.
 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls_world.h"

static void expect_open(struct tls_world *t)
{
    pipe_begins(t);
    until(t->s->w, (service_steps(t), (t->s->opened && t->up) || t->s->failed || t->error));
    assert_int_equal(t->s->failed, 0);
    assert_int_equal(t->error, 0);
    pipe_pushes(t, "hello", 5);
    until(t->s->w, (service_reads(t), t->heard_len == 5));
    assert_memory_equal(t->heard, "hello", 5);
    t->heard_len = 0;
    pipe_close(t->s->pipe);
    t->s->pipe = NULL;
    service_closes(t->s);
}

/* What the log would have of it. */
static void expect_failure(struct tls_world *t, const char *why)
{
    until(t->s->w, (service_steps(t), t->s->opened || t->s->failed));
    assert_int_equal(t->s->opened, 0);
    assert_int_equal(t->s->end.fault, FAULT_BACKEND_TLS);
    assert_true(t->s->end.error != 0);
    assert_int_equal(strncmp(t->s->text, "TLS to ", 7), 0);
    assert_non_null(strstr(t->s->text, t->s->w->target.address));
    if (!strstr(t->s->text, why))
        fail_msg("\"%s\" does not say \"%s\"", t->s->text, why);
    assert_int_equal(t->s->w->stats.links, 0);
}

static void expect_distrust(struct tls_world *t, enum proof proof, const char *why)
{
    service_shows(t, proof, TLS_13);
    pipe_begins(t);
    expect_failure(t, why);
    until(t->s->w, (service_steps(t), t->error || t->up));
    if (t->up) /* it believed so until it heard of the alert */
        until(t->s->w, (service_reads(t), t->error));
    assert_int_equal(t->error, GNUTLS_E_FATAL_ALERT_RECEIVED);
    service_closes(t->s);
}

/* --- good ones --- */

static void both_versions_are_spoken(void **state)
{
    struct tls_world *t = *state;
    service_listens_tcp(t->s, 16);
    pipe_trusts(t, tls_authority(), NULL);
    service_shows(t, PROOF_GOOD, TLS_13);
    expect_open(t);
    assert_int_equal(gnutls_protocol_get_version(t->tls), GNUTLS_TLS1_3);
    service_shows(t, PROOF_GOOD, TLS_12);
    expect_open(t);
    assert_int_equal(gnutls_protocol_get_version(t->tls), GNUTLS_TLS1_2);
}

static void the_name_is_asked_for(void **state)
{
    struct tls_world *t = *state;
    char name[64];
    size_t len = sizeof name;
    unsigned type;
    gnutls_datum_t alpn;
    service_listens_tcp(t->s, 16);
    service_shows(t, PROOF_GOOD, TLS_13);
    pipe_trusts(t, tls_authority(), SERVICE_NAME);
    expect_open(t);
    assert_int_equal(gnutls_server_name_get(t->tls, name, &len, &type, 0), 0);
    assert_string_equal(name, SERVICE_NAME);
    assert_true(gnutls_alpn_get_selected_protocol(t->tls, &alpn) < 0);
    /* RFC 6066, section 3: an address is no name. */
    service_shows(t, PROOF_GOOD, TLS_13);
    pipe_trusts(t, tls_authority(), NULL);
    expect_open(t);
    len = sizeof name;
    assert_int_equal(gnutls_server_name_get(t->tls, name, &len, &type, 0),
                     GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE);
}

static void a_unix_socket_has_the_name_that_is_given(void **state)
{
    struct tls_world *t = *state;
    service_listens_unix(t->s, 16);
    service_shows(t, PROOF_GOOD, TLS_13);
    pipe_trusts(t, tls_authority(), SERVICE_NAME);
    expect_open(t);
}

static void one_certificate_alone_may_be_trusted(void **state)
{
    struct tls_world *t = *state;
    service_listens_tcp(t->s, 16);
    service_shows(t, PROOF_OF_ITSELF, TLS_13);
    pipe_trusts(t, tls_own_proof(), NULL);
    expect_open(t);
    expect_distrust(t, PROOF_GOOD, "not issued by an authority");
}

/* --- those that are not trusted --- */

static void others_are_not_trusted(void **state)
{
    struct tls_world *t = *state;
    service_listens_tcp(t->s, 16);
    pipe_trusts(t, tls_authority(), SERVICE_NAME);
    expect_distrust(t, PROOF_OF_STRANGER, "not issued by an authority that is trusted here");
    expect_distrust(t, PROOF_OF_ITSELF, "not issued by an authority that is trusted here");
    expect_distrust(t, PROOF_EXPIRED, "the certificate has expired");
    expect_distrust(t, PROOF_EARLY, "the certificate is not valid yet");
    expect_distrust(t, PROOF_FOR_CLIENTS, "the certificate is not for servers");
}

static void another_name_is_not_enough(void **state)
{
    struct tls_world *t = *state;
    service_listens_tcp(t->s, 16);
    pipe_trusts(t, tls_authority(), "other.test");
    expect_distrust(t, PROOF_GOOD, "the certificate is not issued for other.test");
    pipe_trusts(t, tls_authority(), "sub." SERVICE_NAME);
    expect_distrust(t, PROOF_GOOD, "the certificate is not issued for sub." SERVICE_NAME);
    pipe_trusts(t, tls_authority(), "127.0.0.2");
    expect_distrust(t, PROOF_GOOD, "the certificate is not issued for 127.0.0.2");
    pipe_trusts(t, tls_authority(), "service"); /* the common name is not looked at */
    expect_distrust(t, PROOF_GOOD, "the certificate is not issued for service");
}

/* Whatever the system trusts, it is not what a test has just made. */
static void the_system_does_not_know_ours(void **state)
{
    struct tls_world *t = *state;
    t->s->shared.tls = pipe_tls_new(&(struct pipe_tls_config){.name = SERVICE_NAME});
    const char *error = pipe_tls_error(t->s->shared.tls);
    if (error) {
        assert_string_equal(error, "this system has no certificates that are trusted");
        return;
    }
    service_listens_tcp(t->s, 16);
    expect_distrust(t, PROOF_GOOD, "not issued by an authority");
}

/* --- those that fail --- */

static void fails_after_bytes(struct tls_world *t, const char *bytes, bool reset, const char *why)
{
    char hello[4096]; /* what is not read makes a reset of closing */
    pipe_begins(t);
    until(t->s->w,
          (service_steps(t), t->s->service >= 0 && read(t->s->service, hello, sizeof hello) > 0));
    if (bytes)
        assert_int_equal(write(t->s->service, bytes, strlen(bytes)), strlen(bytes));
    if (reset)
        service_resets(t->s);
    else if (!bytes)
        service_closes(t->s);
    expect_failure(t, why);
    if (t->s->service >= 0)
        service_closes(t->s);
}

static void a_handshake_may_fail_in_many_ways(void **state)
{
    struct tls_world *t = *state;
    service_listens_tcp(t->s, 16);
    pipe_trusts(t, tls_authority(), SERVICE_NAME);
    fails_after_bytes(t, NULL, false, ": the service closed the connection in the handshake");
    fails_after_bytes(t, NULL, true, ": Connection reset by peer");
    const char *no_tls = ": the service does not speak TLS 1.2 or 1.3";
    fails_after_bytes(t, "-ERR unknown command\r\n", false, no_tls);
    fails_after_bytes(t, "HTTP/1.1 400 Bad Request\r\n\r\n", false, no_tls);
    fails_after_bytes(t, "SSH-2.0-OpenSSH_9.2p1\r\n", false, no_tls);
    fails_after_bytes(t, "\x15\x03\x01", true, "TLS to"); /* the beginning of one */
}

static void a_service_may_refuse(void **state)
{
    struct tls_world *t = *state;
    service_listens_tcp(t->s, 16);
    pipe_trusts(t, tls_authority(), SERVICE_NAME);
    service_shows(t, PROOF_GOOD, "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC");
    pipe_begins(t);
    expect_failure(t, ": the service refused the handshake: Handshake failed");
    service_closes(t->s);
    service_shows(t, PROOF_GOOD, "NORMAL:-VERS-ALL:+VERS-TLS1.1");
    pipe_begins(t);
    expect_failure(t, ": the service ");
}

static void a_silent_service_is_left(void **state)
{
    struct tls_world *t = *state;
    uint64_t begun = t->s->w->now;
    service_listens_tcp(t->s, 16);
    pipe_trusts(t, tls_authority(), SERVICE_NAME);
    pipe_begins(t);
    until(t->s->w, (t->s->w->now += 50 * NS_PER_MS, t->s->opened || t->s->failed));
    assert_int_equal(t->s->end.fault, FAULT_BACKEND_CONNECT_TIMEOUT);
    assert_int_equal(t->s->end.error, ETIMEDOUT);
    assert_non_null(strstr(t->s->text, "TLS to tcp:127.0.0.1:"));
    assert_true(t->s->w->now - begun >= t->s->shared.connect_timeout_ns);
}

/* Bytes of a handshake that go on and on do not make its time longer. */
static void a_slow_handshake_has_no_more_time(void **state)
{
    struct tls_world *t = *state;
    /* The longest record there is, with a ServerHello that fills it. */
    const char begins[] = "\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03";
    size_t sent = 0;
    service_listens_tcp(t->s, 16);
    pipe_trusts(t, tls_authority(), SERVICE_NAME);
    pipe_begins(t);
    until(t->s->w, (service_steps(t), t->s->service >= 0));
    while (!t->s->opened && !t->s->failed) {
        assert_int_equal(write(t->s->service, sent < sizeof begins - 1 ? begins + sent : "", 1), 1);
        sent++;
        t->s->w->now += 100 * NS_PER_MS;
        world_step(t->s->w);
    }
    assert_int_equal(t->s->end.fault, FAULT_BACKEND_CONNECT_TIMEOUT);
    assert_true(sent < 100);
}

/* The handshake's own bytes may go out one by one. */
static void a_handshake_is_written_in_parts(void **state)
{
    struct tls_world *t = *state;
    service_listens_tcp(t->s, 16);
    pipe_trusts(t, tls_authority(), SERVICE_NAME);
    for (size_t most = 1; most < 700; most = most * 3 + 1) {
        service_shows(t, PROOF_GOOD, most % 2 ? TLS_13 : TLS_12);
        send_most = 0;
        pipe_begins(t);
        for (int i = 0; i < 3; i++)
            world_step(t->s->w);
        send_most = most;
        until(t->s->w, (service_steps(t), (t->s->opened && t->up) || t->s->failed || t->error));
        assert_int_equal(t->s->opened, 1);
        pipe_close(t->s->pipe);
        t->s->pipe = NULL;
        service_closes(t->s);
    }
}

/* --- files --- */

static void expect_no_trust(const char *ca, const char *why)
{
    struct pipe_tls *tls = pipe_tls_new(&(struct pipe_tls_config){.ca = ca});
    const char *error = pipe_tls_error(tls);
    assert_non_null(error);
    assert_non_null(strstr(error, ca));
    if (!strstr(error, why))
        fail_msg("\"%s\" does not say \"%s\"", error, why);
    pipe_tls_free(tls);
}

static void files_are_read_or_explained(void **state)
{
    struct tls_world *t = *state;
    expect_no_trust("/nowhere/authority.pem", "No such file or directory");
    expect_no_trust("/dev/null", "there is no certificate (PEM) in it");
    expect_no_trust("/", "Is a directory");
    char file[128];
    snprintf(file, sizeof file, "%s/wrong.pem", t->s->w->dir);
    FILE *to = fopen(file, "w");
    assert_non_null(to);
    fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", to);
    fclose(to);
    expect_no_trust(file, "there is no certificate (PEM) in it");
    unlink(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_tls(both_versions_are_spoken),
        in_tls(the_name_is_asked_for),
        in_tls(a_unix_socket_has_the_name_that_is_given),
        in_tls(one_certificate_alone_may_be_trusted),
        in_tls(others_are_not_trusted),
        in_tls(another_name_is_not_enough),
        in_tls(the_system_does_not_know_ours),
        in_tls(a_handshake_may_fail_in_many_ways),
        in_tls(a_service_may_refuse),
        in_tls(a_silent_service_is_left),
        in_tls(a_slow_handshake_has_no_more_time),
        in_tls(a_handshake_is_written_in_parts),
        in_tls(files_are_read_or_explained),
    };
    return cmocka_run_group_tests(tests, tls_group_setup, tls_group_teardown);
}
