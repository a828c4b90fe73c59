/*
 * pipe_tls - TLS to a service.
 *
 * Versions 1.2 and 1.3, without resumption, ALPN or a certificate of our own. The service's
 * certificate is always verified: its chain, its time, that it is for servers, and its name. Only
 * then is the pipe open; until then it has the pipe's connect timeout. Nothing but the preface goes
 * out before TLS.
 *
 * Each half ends by close_notify; the socket's half follows. A service that closes without it may
 * have been cut off: that is ECONNRESET, not the end. (RFC 8446, section 6.1. A service that speaks
 * 1.2 may answer our close_notify by closing at once, section 7.2.1 of RFC 5246: what it had not
 * written by then is lost.)
 *
 * Addresses are probed by a plain connection. That one listens but that its TLS fails is learnt
 * from who uses it.
 */
#ifndef BACK_PIPE_TLS_H
#define BACK_PIPE_TLS_H

struct pipe_tls;

struct pipe_tls_config {
    const char *ca;   /* a file of certificates (PEM) that are trusted; NULL: those of the system */
    const char *name; /* which the service must prove; NULL: the host of its address */
};

/* What all pipes to one backend share: whom to trust, read now and not again. The texts are copied.
 * Nothing in it changes, so that all threads may use it (those of a system are megabytes); it goes
 * with its last reference. */
struct pipe_tls *pipe_tls_new(const struct pipe_tls_config *config);
/* One more reference. */
struct pipe_tls *pipe_tls_share(struct pipe_tls *t);
/* One less; nothing for NULL. */
void pipe_tls_free(struct pipe_tls *t);

/* Why nobody can be trusted by it: it must not be used. NULL if all is well. */
const char *pipe_tls_error(const struct pipe_tls *t);
/* NULL: each address has its own. */
const char *pipe_tls_name(const struct pipe_tls *t);
/* Of what the file had in it, as text; "" for the system's. */
const char *pipe_tls_digest(const struct pipe_tls *t);

#endif
