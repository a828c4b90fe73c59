/*
 * udp - one non-blocking UDP socket on a libuv loop.
 *
 * Reads many packets per system call (recvmmsg, GRO) and writes many (GSO), carries ECN and the
 * local address both ways, forbids fragmentation so that QUIC can probe the path. Where the kernel
 * lacks an option, it does without. What the kernel has no room for is kept, up to a bound, until
 * the socket is writable, and dropped beyond it: QUIC sends it again.
 *
 * Each pass of the loop is a turn: udp calls turn_end after it has given up what it read.
 */
#ifndef FRONT_UDP_H
#define FRONT_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "base/env.h"
#include "front/packet.h"

struct udp;

enum udp_sharing {
    UDP_ALONE,
    UDP_FIRST, /* of several at one address, which nobody else has, sharing it or not */
    UDP_NEXT,  /* of them */
};

struct udp_binding {
    struct packet_address address; /* port 0 takes a free one; [::] takes IPv4, too */
    enum udp_sharing sharing;
    size_t kernel_buffer; /* bytes asked of the kernel each way; 0 leaves its default */
};

struct udp_config {
    size_t send_backlog; /* bytes kept while the kernel has no room; 0 for a default */
    bool no_offload;     /* neither GSO nor GRO, for networks that break them */
    uint8_t listener;    /* what its packets say of where they came in */
};

struct udp_ops {
    /* A packet came in, of one or more segments; valid only now. */
    void (*received)(void *user, const struct packet *p);
    /* After udp_close: the last call; udp is freed. */
    void (*closed)(void *user);
};

/* Makes a socket and binds it; packets wait in the kernel until somebody reads. Returns it, with
 * where it is bound (the port that was taken) in bound, or -1 with a sentence in error that names
 * the address and says what is wrong, of which errno is the number. */
int udp_bind(const struct udp_binding *binding, struct packet_address *bound, char *error,
             size_t error_size);
/* Takes over a bound socket, also if it fails; does not read yet. Returns NULL with a sentence in
 * error if the loop does not take it. */
struct udp *udp_open(struct env *env, uv_loop_t *loop, int fd, const struct udp_config *config,
                     const struct udp_ops *ops, void *user, char *error, size_t error_size);
/* Begins to read. */
void udp_start(struct udp *u);
/* Stops reading at once; closed() comes later from the loop. */
void udp_close(struct udp *u);

/* Sends every segment of it, or keeps or drops what the kernel has no room for. local tells which
 * address to send from (its port is ignored) and may be unknown. */
void udp_send(struct udp *u, const struct packet *p);

/* Where it is bound. */
const struct packet_address *udp_address(const struct udp *u);

#endif
