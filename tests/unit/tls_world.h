/*
 * tls_world - a pipe that speaks TLS, and the service at its other end, for the tests of
 * back/pipe_tls. Real sockets, a pretended clock, certificates of the test's own making.
 *
 * Both ends are played in one thread: nothing of either waits.
 */
#ifndef TESTS_TLS_WORLD_H
#define TESTS_TLS_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <gnutls/gnutls.h>

#include "back/pipe.h"
#include "back/pipe_tls.h"
#include "link_world.h"

#define SERVICE_NAME "service.test"
#define ALSO_NAMED   "localhost" /* and 127.0.0.1 */
#define TLS_13       "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define TLS_12       "NORMAL:-VERS-ALL:+VERS-TLS1.2"

enum { HEAP = 12 << 20 };

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

/* What the holder does from within an upcall. */
enum deed { GO_ON, CLOSE, RESET, FINISH };

struct tls_world {
    struct world *w;
    struct pipe_shared shared;
    struct pipe *pipe; /* NULL once it is gone */
    int opened, failed, finished, readable, writable;
    struct pipe_end end;
    char text[256];
    enum deed when_opened, when_readable, when_writable;
    size_t reads; /* bytes at most with every readable(); 0: none */
    uint8_t *got;
    size_t len;
    bool ended;
    int read_error;
    /* the service */
    int listener, fd;
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

void service_listen(struct tls_world *t);
void service_listen_unix(struct tls_world *t);
/* From its first step on. priority as GnuTLS has it. */
void service_shows(struct tls_world *t, enum proof proof, const char *priority);
/* Accepts, and goes on with the handshake. */
void service_step(struct tls_world *t);
/* Reads what there is. */
void service_read(struct tls_world *t);
/* Writes all while the pipe goes on. */
void service_write(struct tls_world *t, const void *data, size_t len);
void service_close(struct tls_world *t);
void service_reset(struct tls_world *t);

void pipe_trusts(struct tls_world *t, const char *ca, const char *name);
/* Begins to open t->pipe. */
void pipe_begin(struct tls_world *t);
/* All of it, while the service reads. */
void pipe_push(struct tls_world *t, const void *data, size_t len);
/* All of this: the service listens and shows PROOF_GOOD, and both are up. */
void both_up(struct tls_world *t, const char *priority);

/* Bytes that the pipe's socket takes at most at a time; 0: none. */
extern size_t send_most;

#endif
