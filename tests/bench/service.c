/*
 * service - plain TCP services behind a bridge when it is measured. They know nothing of
 * WebTransport, and do what app.c does:
 *
 *     service     prints "ready echo=PORT sink=PORT source=PORT udp=PORT"
 *
 *     echo        what comes goes back, and so do datagrams
 *     sink        bytes are taken; when they have ended, so does the other direction
 *     source      8 bytes, big-endian, ask for so many bytes of the pattern
 *
 * One thread and epoll, as such services have. Serves until SIGTERM.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/pattern.h"

#define PIECE (256 * 1024)

enum kind { ECHO, SINK, SOURCE, DATAGRAMS, KINDS };

struct end {
    enum kind kind;
    int fd;
    bool listens;
    uint8_t *held; /* of an echo: what the socket did not take */
    size_t held_at, held_len;
    uint8_t asked[8];
    size_t asked_len;
    uint64_t sent, size;
};

static int poller;
static uint8_t buffer[PIECE];

static void watch(struct end *e, uint32_t events, bool is_new)
{
    struct epoll_event event = {.events = events, .data.ptr = e};
    int failed = epoll_ctl(poller, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, e->fd, &event);
    assert(!failed);
    (void)failed;
}

static struct end *end_new(enum kind kind, int fd, bool listens)
{
    struct end *e = calloc(1, sizeof(*e));
    assert(e && fd >= 0);
    e->kind = kind;
    e->fd = fd;
    e->listens = listens;
    watch(e, EPOLLIN, true);
    return e;
}

static void end_free(struct end *e)
{
    close(e->fd);
    free(e->held);
    free(e);
}

static unsigned listen_for(enum kind kind)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int type = kind == DATAGRAMS ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int size = 4 << 20;
    if (kind == DATAGRAMS)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || (kind != DATAGRAMS && listen(fd, 1024)) ||
        getsockname(fd, (struct sockaddr *)&at, &len)) {
        perror("service");
        exit(1);
    }
    end_new(kind, fd, kind != DATAGRAMS);
    return ntohs(at.sin_port);
}

static void answer_datagrams(int fd)
{
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    for (ssize_t n;
         (n = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &len)) >= 0;)
        sendto(fd, buffer, (size_t)n, 0, (struct sockaddr *)&from, len);
}

/* False when the connection is over. */
static bool give_back(struct end *e)
{
    while (e->held_at < e->held_len) {
        ssize_t n = send(e->fd, e->held + e->held_at, e->held_len - e->held_at, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN;
        e->held_at += (size_t)n;
    }
    watch(e, EPOLLIN, false);
    return true;
}

static bool echo(struct end *e)
{
    ssize_t n = read(e->fd, buffer, sizeof(buffer));
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    ssize_t sent = send(e->fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return false;
    if (sent < 0)
        sent = 0;
    if (sent == n)
        return true;
    if (!e->held)
        e->held = malloc(PIECE);
    assert(e->held);
    e->held_at = 0;
    e->held_len = (size_t)(n - sent);
    memcpy(e->held, buffer + sent, e->held_len);
    watch(e, EPOLLOUT, false);
    return true;
}

static bool sink(struct end *e)
{
    ssize_t n = read(e->fd, buffer, sizeof(buffer));
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static bool speak(struct end *e)
{
    while (e->sent < e->size) {
        size_t len = pattern_len(e->size - e->sent);
        ssize_t n = send(e->fd, pattern_at(e->sent), len, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN;
        e->sent += (uint64_t)n;
    }
    return false;
}

static bool hear(struct end *e)
{
    ssize_t n = read(e->fd, e->asked + e->asked_len, sizeof(e->asked) - e->asked_len);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    e->asked_len += (size_t)n;
    if (e->asked_len < sizeof(e->asked))
        return true;
    e->size = pattern_size(e->asked);
    watch(e, EPOLLOUT, false);
    return true;
}

static bool serve(struct end *e, uint32_t events)
{
    if (events & EPOLLOUT)
        return e->kind == ECHO ? give_back(e) : speak(e);
    return e->kind == ECHO ? echo(e) : e->kind == SINK ? sink(e) : hear(e);
}

static void stop(int signal)
{
    (void)signal;
    _exit(0);
}

int main(void)
{
    unsigned ports[KINDS];
    pattern_init();
    signal(SIGTERM, stop);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int kind = 0; kind < KINDS; kind++)
        ports[kind] = listen_for((enum kind)kind);
    printf("ready echo=%u sink=%u source=%u udp=%u\n", ports[ECHO], ports[SINK], ports[SOURCE],
           ports[DATAGRAMS]);
    fflush(stdout);
    for (;;) {
        struct epoll_event ready[64];
        int count = epoll_wait(poller, ready, 64, -1);
        for (int i = 0; i < count; i++) {
            struct end *e = ready[i].data.ptr;
            if (e->kind == DATAGRAMS) {
                answer_datagrams(e->fd);
            } else if (e->listens) {
                int fd = accept4(e->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd >= 0)
                    end_new(e->kind, fd, false);
            } else if (!serve(e, ready[i].events)) {
                end_free(e);
            }
        }
    }
}
