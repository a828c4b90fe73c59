/*
 * tls_world - the pipe and the service of pipe_world.h, both with TLS and with certificates of the
 * test's own making.
 *
 * Both ends are played in one thread: nothing of either waits.
 */
#ifndef TESTS_TLS_WORLD_H
#define TESTS_TLS_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <gnutls/gnutls.h>

#include "back/pipe_tls.h"
#include "pipe_world.h"

#define SERVICE_NAME "service.test"
#define ALSO_NAMED   "localhost" /* and 127.0.0.1 */
#define TLS_13       "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define TLS_12       "NORMAL:-VERS-ALL:+VERS-TLS1.2"

/* What the service shows. */
enum proof {
    PROOF_GOOD,
    PROOF_EXPIRED,
    PROOF_EARLY,       /* not valid yet */
    PROOF_FOR_CLIENTS, /* not for servers */
    PROOF_OF_STRANGER, /* issued by another authority */
    PROOF_OF_ITSELF,   /* issued by itself */
    PROOFS
};

struct tls_world {
    struct scene *s;
    const char *preface;
    /* the service */
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t tls;
    bool up;
    int error; /* GnuTLS's, of the handshake or of reading */
    uint8_t *heard;
    size_t heard_len;
    bool heard_end;
};

/* Of all tests: makes the keys. */
int tls_group_setup(void **state);
int tls_group_teardown(void **state);
int tls_setup(void **state);
int tls_teardown(void **state);
#define in_tls(test) cmocka_unit_test_setup_teardown(test, tls_setup, tls_teardown)

/* Files with the certificate of the authority, and of the service that proves itself. */
const char *tls_authority(void);
const char *tls_own_proof(void);

/* From its next step on. priority as GnuTLS has it. */
void service_shows(struct tls_world *t, enum proof proof, const char *priority);
/* Accepts, and goes on with the handshake. */
void service_steps(struct tls_world *t);
/* Reads what there is. */
void service_reads(struct tls_world *t);
/* Writes all while the pipe goes on. */
void service_writes(struct tls_world *t, const void *data, size_t len);

void pipe_trusts(struct tls_world *t, const char *ca, const char *name);
void pipe_begins(struct tls_world *t);
/* Writes all while the service reads. */
void pipe_pushes(struct tls_world *t, const void *data, size_t len);

/* All of this: the service listens and shows PROOF_GOOD, and both are up. */
void both_up(struct tls_world *t, const char *priority);

#endif
