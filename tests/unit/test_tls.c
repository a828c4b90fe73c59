/*
 * test_tls - certificates made and read, and what is said of bad files. Handshakes are in mem/conn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <gnutls/crypto.h>
#include <gnutls/x509.h>

#include "front/tls.h"

#define DAY 86400
#define NOW ((time_t)1800000000)

static char dir[] = "/tmp/sluice-tls-XXXXXX";
static char path_a[64], path_b[64];
static char error[512];

static int setup(void **state)
{
    (void)state;
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path_a, sizeof(path_a), "%s/cert.pem", dir);
    snprintf(path_b, sizeof(path_b), "%s/key.pem", dir);
    error[0] = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path_a);
    unlink(path_b);
    return rmdir(dir);
}

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* A certificate and its key, as an operator has them in files. */
static void write_pair(const char *cert_path, const char *key_path)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem;
    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_privkey_generate(
                         key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    gnutls_x509_crt_set_version(crt, 3);
    gnutls_x509_crt_set_serial(crt, "\1", 1);
    gnutls_x509_crt_set_activation_time(crt, NOW);
    gnutls_x509_crt_set_expiration_time(crt, NOW + 100 * DAY);
    gnutls_x509_crt_set_key(crt, key);
    assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
    if (cert_path) {
        assert_int_equal(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem), 0);
        write_file(cert_path, pem.data, pem.size);
        gnutls_free(pem.data);
    }
    if (key_path) {
        assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem), 0);
        write_file(key_path, pem.data, pem.size);
        gnutls_free(pem.data);
    }
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

static gnutls_x509_crt_t parse(const struct tls_certificate *cert)
{
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem = {.data = (unsigned char *)tls_certificate_pem(cert)};
    pem.size = (unsigned)strlen((const char *)pem.data);
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM), 0);
    return crt;
}

static void a_made_one_is_what_browsers_want(void **state)
{
    const char *const names[] = {"localhost", "127.0.0.1", "::1"};
    uint8_t hash[TLS_HASH_LEN];
    size_t len = sizeof(hash);
    gnutls_ecc_curve_t curve;
    (void)state;
    struct tls_certificate *cert = tls_certificate_make(names, 3, 13, NOW, error, sizeof(error));
    assert_non_null(cert);
    assert_true(tls_certificate_begins(cert) < NOW && tls_certificate_expires(cert) > NOW);
    assert_int_equal(tls_certificate_expires(cert) - tls_certificate_begins(cert), 13 * DAY);

    gnutls_x509_crt_t crt = parse(cert);
    assert_int_equal(gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, hash, &len), 0);
    assert_memory_equal(hash, tls_certificate_hash(cert), sizeof(hash));
    assert_int_equal(gnutls_x509_crt_get_pk_algorithm(crt, NULL), GNUTLS_PK_ECDSA);
    assert_int_equal(gnutls_x509_crt_get_pk_ecc_raw(crt, &curve, NULL, NULL), 0);
    assert_int_equal(curve, GNUTLS_ECC_CURVE_SECP256R1);
    assert_true(gnutls_x509_crt_check_hostname(crt, "localhost"));
    assert_true(gnutls_x509_crt_check_hostname(crt, "127.0.0.1"));
    assert_true(gnutls_x509_crt_check_ip(
        crt, (const unsigned char *)"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, 0));
    assert_false(gnutls_x509_crt_check_hostname(crt, "example.org"));
    gnutls_x509_crt_deinit(crt);

    struct tls_certificate *other = tls_certificate_make(names, 3, 13, NOW, error, sizeof(error));
    assert_memory_not_equal(tls_certificate_hash(other), tls_certificate_hash(cert), TLS_HASH_LEN);
    tls_certificate_free(other);
    tls_certificate_free(cert);
}

static void files_are_read(void **state)
{
    (void)state;
    write_pair(path_a, path_b);
    struct tls_certificate *cert = tls_certificate_load(path_a, path_b, error, sizeof(error));
    assert_non_null(cert);
    assert_int_equal(tls_certificate_expires(cert), NOW + 100 * DAY);
    struct tls_context *t = tls_context_new_server(cert, error, sizeof(error));
    assert_non_null(t);
    /* renewal */
    cert = tls_certificate_load(path_a, path_b, error, sizeof(error));
    assert_non_null(cert);
    tls_context_set_certificates(t, &cert, 1);
    tls_context_free(t);
}

static void expect_error(const char *cert_file, const char *key_file, const char *file,
                         const char *what)
{
    error[0] = 0;
    assert_null(tls_certificate_load(cert_file, key_file, error, sizeof(error)));
    if (!strstr(error, file) || !strstr(error, what))
        fail_msg("\"%s\" does not name %s and say %s", error, file, what);
}

static void bad_files_are_named(void **state)
{
    (void)state;
    write_pair(NULL, path_b);
    expect_error(path_a, path_b, "cert.pem", "No such file");
    write_file(path_a, "", 0);
    expect_error(path_a, path_b, "cert.pem", "empty");
    write_file(path_a, "hello", 5);
    expect_error(path_a, path_b, "cert.pem", "no usable PEM certificate");
    write_pair(path_a, NULL);
    expect_error(path_a, path_b, "key.pem", "is not the key of the certificate");
    write_file(path_b, "hello", 5);
    expect_error(path_a, path_b, "key.pem", "no usable PEM private key");
    unlink(path_b);
    expect_error(path_a, path_b, "key.pem", "No such file");
    expect_error(dir, path_b, dir, "directory");
}

static void a_large_file_is_not_swallowed(void **state)
{
    (void)state;
    write_pair(path_a, path_b);
    assert_int_equal(truncate(path_a, 2 * 1024 * 1024), 0);
    expect_error(path_a, path_b, "cert.pem", "too large");
}

static void secrets_make_keys(void **state)
{
    uint8_t bytes[100], secret[TLS_SECRET_LEN], other[TLS_SECRET_LEN], a[64], b[64];
    (void)state;
    memset(bytes, 7, sizeof(bytes));
    write_file(path_a, bytes, sizeof(bytes));
    assert_true(tls_secret_load(path_a, secret, error, sizeof(error)));
    bytes[99] = 8; /* all of it counts */
    write_file(path_a, bytes, sizeof(bytes));
    assert_true(tls_secret_load(path_a, other, error, sizeof(error)));
    assert_memory_not_equal(secret, other, sizeof(secret));

    tls_derive(secret, "one", a, sizeof(a));
    tls_derive(secret, "one", b, sizeof(b));
    assert_memory_equal(a, b, sizeof(a));
    tls_derive(secret, "two", b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    tls_derive(other, "one", b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));

    write_file(path_a, bytes, TLS_SECRET_LEN - 1);
    assert_false(tls_secret_load(path_a, secret, error, sizeof(error)));
    assert_non_null(strstr(error, path_a));
    assert_non_null(strstr(error, "31 bytes"));
    assert_false(tls_secret_load("/nonexistent", secret, error, sizeof(error)));
    assert_non_null(strstr(error, "/nonexistent"));
}

static void random_is_random(void **state)
{
    uint8_t a[32] = {0}, b[32] = {0};
    (void)state;
    tls_random(a, sizeof(a));
    tls_random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_non_null(strstr(tls_library(), "GnuTLS 3."));
    assert_string_equal(tls_alert_name(120),
                        "No supported application protocol could be negotiated");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_made_one_is_what_browsers_want, setup, teardown),
        cmocka_unit_test_setup_teardown(files_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_files_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_file_is_not_swallowed, setup, teardown),
        cmocka_unit_test_setup_teardown(secrets_make_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(random_is_random, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
