/*
 * tls_hello - what a ClientHello tells of the program that sent it.
 *
 * A server's SETTINGS go out before the client's are in, and Safari refuses what others ask for
 * (docs/architecture.md, "Dialects"). So it has to be known by its ClientHello alone.
 */
#ifndef FRONT_TLS_HELLO_H
#define FRONT_TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls_hello {
    bool has_grease; /* an extension of RFC 8701, as only browsers send */
    bool is_chromium;
};

/* Zero it to begin; then every extension of the ClientHello. */
void tls_hello_take(struct tls_hello *h, unsigned type, const uint8_t *data, size_t len);
/* It may be Safari's; or that of a program which looks like it. */
bool tls_hello_may_be_safari(const struct tls_hello *h);

#endif
