/*
 * hostport - HOST:PORT as people write it.
 *
 *     :4433  *:4433   no host      [::1]:4433   an IPv6 address      localhost:4433   a name
 */
#ifndef BASE_HOSTPORT_H
#define BASE_HOSTPORT_H

#include <stdbool.h>

#define HOSTPORT_HOST_SIZE 256

/* Splits it; host is "" where none is named, and without brackets. Returns false if it is not
 * HOST:PORT with a port from 0 to 65535. */
bool hostport_split(const char *text, char host[HOSTPORT_HOST_SIZE], unsigned *port);

#endif
