/*
 * tls - certificates, and the TLS half of a QUIC handshake.
 *
 * The only file that knows GnuTLS. TLS 1.3 only, ALPN "h3" only, AES-GCM before ChaCha20, session
 * tickets but no early data (a CONNECT is not safe to replay). A context is shared by all workers;
 * its certificate may be exchanged while they use it, new handshakes then take the new one.
 *
 * Functions that can fail for reasons outside the program fill error with one sentence that names
 * the file and says what is wrong with it.
 *
 * RFC 8446, RFC 9001.
 */
#ifndef FRONT_TLS_H
#define FRONT_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define TLS_HASH_LEN   32
#define TLS_SECRET_LEN 32

struct tls_certificate;
struct tls_context;
struct tls_session;
struct ngtcp2_conn;

/* Reads a chain (leaf first) and its private key from PEM files. key_file may be the same file.
 * NULL: see error. */
struct tls_certificate *tls_certificate_load(const char *cert_file, const char *key_file,
                                             char *error, size_t error_size);
/* Makes a self-signed one, P-256, for these DNS names and IP addresses, valid from a little before
 * now (Unix time) for days. Browsers take it through serverCertificateHashes if days is at most 13.
 */
struct tls_certificate *tls_certificate_make(const char *const *names, size_t count, unsigned days,
                                             time_t now, char *error, size_t error_size);
void tls_certificate_free(struct tls_certificate *cert);
/* One more owner, who frees it, too. From any thread. */
void tls_certificate_share(struct tls_certificate *cert);
/* The server names that it is for, instead of the DNS names that stand in it. Before it is shared.
 * The first label may be an asterisk. */
void tls_certificate_set_names(struct tls_certificate *cert, const char *const *names,
                               size_t count);
/* SHA-256 of the leaf's DER form: what serverCertificateHashes wants. Lives as long as cert. */
const uint8_t *tls_certificate_hash(const struct tls_certificate *cert);
time_t tls_certificate_expires(const struct tls_certificate *cert);
time_t tls_certificate_begins(const struct tls_certificate *cert);
/* The leaf as PEM; lives as long as cert. */
const char *tls_certificate_pem(const struct tls_certificate *cert);

/* Takes over cert. NULL: see error. */
struct tls_context *tls_context_new_server(struct tls_certificate *cert, char *error,
                                           size_t error_size);
/* Trusts the certificate with this hash, or any if hash is NULL. */
struct tls_context *tls_context_new_client(const uint8_t *hash, char *error, size_t error_size);
/* No session may use it any more. */
void tls_context_free(struct tls_context *t);
/* Takes over the certificates, for the handshakes that begin from now on. Each client gets the
 * first one that is for its server name; without one, or a name, the first of all. From any thread.
 */
void tls_context_set_certificates(struct tls_context *t, struct tls_certificate *const *certs,
                                  size_t count);

/* Session tickets are sealed with a key made from this secret, so that they survive a restart;
 * until then with a random one. Before the first session. */
void tls_context_set_secret(struct tls_context *t, const uint8_t secret[TLS_SECRET_LEN]);

/* A session for one connection. conn is asked for whenever TLS needs it. server_name may be NULL;
 * an IP address in it is not sent. NULL: out of memory, or GnuTLS refuses. */
struct tls_session *tls_session_new(struct tls_context *t, struct ngtcp2_conn *(*conn)(void *user),
                                    void *user, const char *server_name);
void tls_session_free(struct tls_session *s);
/* For ngtcp2_conn_set_tls_native_handle. */
void *tls_session_native(struct tls_session *s);
/* True if the handshake agreed on "h3". */
bool tls_session_is_h3(const struct tls_session *s);
/* A server's, once the ClientHello is in: see tls_hello.h. */
bool tls_session_may_be_safari(const struct tls_session *s);
/* True if a ticket of an earlier session took the certificate's place. */
bool tls_session_is_resumed(const struct tls_session *s);
/* TLS version (0x0304) and cipher suite (IANA number); 0 while not known. */
void tls_session_info(const struct tls_session *s, uint16_t *version, uint16_t *cipher_suite);

/* A TLS alert's name, for logs. */
const char *tls_alert_name(uint8_t alert);

/* Reads a secret that outlives the program from a file of any bytes, TLS_SECRET_LEN or more. */
bool tls_secret_load(const char *path, uint8_t secret[TLS_SECRET_LEN], char *error,
                     size_t error_size);
/* A key of its own for each purpose, from one secret (HKDF, RFC 5869). */
void tls_derive(const uint8_t secret[TLS_SECRET_LEN], const char *purpose, uint8_t *key,
                size_t key_len);

/* Random bytes fit for keys and nonces. */
void tls_random(void *to, size_t len);
/* "GnuTLS 3.7.9" */
const char *tls_library(void);

#endif
