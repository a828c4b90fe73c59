/*
 * steering - makes the kernel hand each packet to the worker that its connection id names.
 *
 * A classic BPF program on a group of sockets that share one address (SO_REUSEPORT). The kernel
 * numbers the sockets in the order in which they were bound, so bind them in the order of the
 * workers, then attach once. Packets with connection ids that are not ours (a client's first ones)
 * go where the kernel's hash of the addresses sends them. Needs no privilege.
 */
#ifndef FRONT_STEERING_H
#define FRONT_STEERING_H

#include <stdbool.h>

#include "front/endpoint.h"

/* fd: of any socket of the group. Returns false if the kernel refuses: the workers then forward
 * packets to each other (endpoint's misdirected). */
bool steering_attach(int fd, const struct endpoint_config *config);

#endif
