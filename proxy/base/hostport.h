/*
 * hostport - HOST:PORT as people write it, and addresses written so.
 *
 *     :4433  *:4433   no host      [::1]:4433   an IPv6 address      localhost:4433   a name
 */
#ifndef BASE_HOSTPORT_H
#define BASE_HOSTPORT_H

#include <stdbool.h>

#define HOSTPORT_HOST_SIZE 256
#define HOSTPORT_TEXT_SIZE 64 /* of an address with its port */

struct sockaddr;

/* Splits it; host is "" where none is named, and without brackets. Returns false if it is not
 * HOST:PORT with a port from 0 to 65535. */
bool hostport_split(const char *text, char host[HOSTPORT_HOST_SIZE], unsigned *port);
/* Writes an IPv4 or IPv6 address with its port, for logs; "?" for anything else. */
void hostport_print(char to[HOSTPORT_TEXT_SIZE], const struct sockaddr *address);

#endif
