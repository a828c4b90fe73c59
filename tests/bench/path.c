/*
 * path - a slow and lossy way to a server, between two UDP sockets: every packet is late by the
 * same time, and some are lost. Which ones follows from a seed. It needs neither root nor a kernel
 * with netem.
 *
 *     path HOST:PORT delay_ms=25 loss_percent=1 seed=1
 *
 * Tells the port that it listens on; packets from there go to HOST:PORT, answers go back to whoever
 * sent last. The delay is one way, the loss each way. At SIGTERM it tells what it carried.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/timers.h"
#include "support/host.h"

#define BATCH       64
#define PACKET_MAX  2048
#define WAITING_MAX (256u << 20) /* bytes under way; nothing that is measured comes near */

struct waiting {
    STAILQ_ENTRY(waiting) entry;
    uint64_t due_ns;
    size_t len;
    uint8_t data[];
};

struct way {
    int from, to;
    STAILQ_HEAD(, waiting) queue;
    size_t bytes;
    uint64_t random, carried, lost;
};

static struct way up, down;
static struct sockaddr_storage client;
static socklen_t client_len;
static uint64_t delay_ns = 25 * NS_PER_MS;
static double loss = 0.01;
static volatile sig_atomic_t over;

static void on_signal(int number)
{
    (void)number;
    over = 1;
}

/* xorshift64*, S. Vigna, "An experimental exploration of Marsaglia's xorshift generators" (2016) */
static double next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * UINT64_C(2685821657736338717)) >> 11) / (double)(UINT64_C(1) << 53);
}

static void put(struct way *w, const uint8_t *data, size_t len, uint64_t now)
{
    if (next_random(&w->random) < loss || w->bytes + len > WAITING_MAX) {
        w->lost++;
        return;
    }
    struct waiting *p = malloc(sizeof(*p) + len);
    if (!p)
        abort();
    p->due_ns = now + delay_ns;
    p->len = len;
    memcpy(p->data, data, len);
    STAILQ_INSERT_TAIL(&w->queue, p, entry);
    w->bytes += len;
    w->carried++;
}

static void take_in(struct way *w, bool from_client)
{
    static uint8_t buffers[BATCH][PACKET_MAX];
    struct mmsghdr messages[BATCH];
    struct iovec slices[BATCH];
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            slices[i] = (struct iovec){buffers[i], PACKET_MAX};
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &slices[i], .msg_iovlen = 1}};
        }
        if (from_client) { /* all come from one socket */
            messages[0].msg_hdr.msg_name = &client;
            messages[0].msg_hdr.msg_namelen = sizeof(client);
        }
        int n = recvmmsg(w->from, messages, BATCH, MSG_DONTWAIT, NULL);
        if (n > 0 && from_client)
            client_len = messages[0].msg_hdr.msg_namelen;
        uint64_t now = host_now_ns();
        for (int i = 0; i < n; i++)
            put(w, buffers[i], messages[i].msg_len, now);
        if (n < BATCH)
            return;
    }
}

static void let_out(struct way *w, bool to_client)
{
    struct waiting *p;
    uint64_t now = host_now_ns();
    while ((p = STAILQ_FIRST(&w->queue)) && p->due_ns <= now) {
        const struct sockaddr *to = to_client ? (struct sockaddr *)&client : NULL;
        if (sendto(w->to, p->data, p->len, MSG_DONTWAIT, to, to ? client_len : 0) < 0 &&
            (errno == EAGAIN || errno == ENOBUFS))
            return;
        STAILQ_REMOVE_HEAD(&w->queue, entry);
        w->bytes -= p->len;
        free(p);
    }
}

static uint64_t due(const struct way *w)
{
    return STAILQ_EMPTY(&w->queue) ? TIMERS_NEVER : STAILQ_FIRST(&w->queue)->due_ns;
}

static void carry(void)
{
    struct pollfd polls[] = {{.fd = up.from, .events = POLLIN},
                             {.fd = down.from, .events = POLLIN}};
    while (!over) {
        uint64_t next = due(&up) < due(&down) ? due(&up) : due(&down), now = host_now_ns();
        uint64_t wait = next == TIMERS_NEVER ? NS_PER_S : next > now ? next - now : 0;
        struct timespec time = {(time_t)(wait / NS_PER_S), (long)(wait % NS_PER_S)};
        ppoll(polls, 2, &time, NULL);
        take_in(&up, true);
        take_in(&down, false);
        let_out(&up, false);
        let_out(&down, true);
    }
}

static int open_socket(int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 32 << 20;
    if (fd < 0)
        host_fail("cannot make a socket");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    return fd;
}

static void open_ways(const struct packet_address *server)
{
    struct packet_address any = {.len = server->len};
    any.sa.any.sa_family = server->sa.any.sa_family;
    int near = open_socket(any.sa.any.sa_family), far = open_socket(any.sa.any.sa_family);
    socklen_t len = sizeof(any.sa);
    if (bind(near, &any.sa.any, any.len) != 0 || connect(far, &server->sa.any, server->len) != 0 ||
        getsockname(near, &any.sa.any, &len) != 0)
        host_fail("cannot bind or connect");
    up = (struct way){.from = near, .to = far};
    down = (struct way){.from = far, .to = near};
    STAILQ_INIT(&up.queue);
    STAILQ_INIT(&down.queue);
    printf("listening port=%u\n", (unsigned)ntohs(any.sa.v4.sin_port));
    fflush(stdout);
}

static void set(const char *argument, double *delay_ms, double *percent, double *seed)
{
    if (sscanf(argument, "delay_ms=%lf", delay_ms) != 1 &&
        sscanf(argument, "loss_percent=%lf", percent) != 1 &&
        sscanf(argument, "seed=%lf", seed) != 1)
        host_fail("delay_ms=, loss_percent= or seed= is expected");
}

int main(int argc, char **argv)
{
    double delay_ms = 25, percent = 1, seed = 1;
    if (argc < 2)
        host_fail("usage: path HOST:PORT [delay_ms=25] [loss_percent=1] [seed=1]");
    struct packet_address server = host_parse_address(argv[1]);
    for (int i = 2; i < argc; i++)
        set(argv[i], &delay_ms, &percent, &seed);
    delay_ns = (uint64_t)(delay_ms * 1e6);
    loss = percent / 100;
    open_ways(&server);
    up.random = (uint64_t)seed * 2 + 1;
    down.random = (uint64_t)seed * 2 + 1000001;
    signal(SIGTERM, on_signal);
    carry();
    printf("up %llu lost %llu down %llu lost %llu\n", (unsigned long long)up.carried,
           (unsigned long long)up.lost, (unsigned long long)down.carried,
           (unsigned long long)down.lost);
    return 0;
}
