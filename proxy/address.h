/*
 * address - HOST:PORT as people write it, and back.
 *
 *     :4433   every address of this machine, IPv6 and IPv4      [::1]:4433   an IPv6 address
 *     localhost:4433   a name, with all addresses that it has; localhost has both loopback ones
 *     127.0.0.1:0   any free port
 */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "front/packet.h"

#define ADDRESS_TEXT_SIZE 64

/* Looks it up for listening. "" becomes [::], or 0.0.0.0 where the system has no IPv6. Returns how
 * many it found, at most max; 0 with one sentence in error. */
size_t address_resolve(const char *text, struct packet_address *to, size_t max, char *error,
                       size_t error_size);
/* Of any address, [::] or 0.0.0.0. */
bool address_is_any(const struct packet_address *a);
unsigned address_port(const struct packet_address *a);
void address_set_port(struct packet_address *a, unsigned port);
/* Writes the host alone: 127.0.0.1 or ::1. */
void address_host(const struct packet_address *a, char to[ADDRESS_TEXT_SIZE]);

#endif
