/*
 * udp - the socket under an endpoint. See udp.h.
 *
 * Owns the file descriptor, its uv_poll_t, the buffers it reads into, and the backlog: copies of
 * what the kernel had no room for. On a dual-stack socket addresses of IPv4 are mapped inside of
 * IPv6; upward they are always plain IPv4. Calls ops->received, then turn_end.
 */
#include "front/udp.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/udp.h>

#include "base/turn.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define READ_BATCH      8     /* messages per system call */
#define READ_ROUNDS     4     /* system calls per turn; then others have theirs */
#define READ_SIZE       65536 /* GRO fills it */
#define WRITE_BATCH     64
#define BACKLOG_DEFAULT (1024 * 1024)
#define ECN_MASK        0x03
#define CONTROL_SIZE    256

struct waiting {
    STAILQ_ENTRY(waiting) entry;
    struct packet packet;
    uint8_t data[];
};

struct udp {
    struct env *env;
    const struct udp_ops *ops;
    void *user;
    uint8_t listener;
    uv_poll_t poll;
    int fd;
    int events; /* what poll waits for now */
    bool has_gso, is_closing;
    struct packet_address address;
    size_t backlog_max, backlog_bytes;
    STAILQ_HEAD(, waiting) backlog;
    struct mmsghdr messages[READ_BATCH];
    struct iovec slices[READ_BATCH];
    struct sockaddr_in6 names[READ_BATCH];
    _Alignas(struct cmsghdr) uint8_t controls[READ_BATCH][CONTROL_SIZE];
    uint8_t buffers[READ_BATCH][READ_SIZE];
};

/* --- addresses --- */

static void unmap(struct packet_address *a)
{
    if (a->sa.any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->sa.v6.sin6_addr))
        return;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = a->sa.v6.sin6_port};
    memcpy(&v4.sin_addr, &a->sa.v6.sin6_addr.s6_addr[12], 4);
    packet_address_set(a, (struct sockaddr *)&v4, sizeof(v4));
}

static void map_v4(struct in6_addr *to, const struct in_addr *from)
{
    memset(to, 0, sizeof(*to));
    to->s6_addr[10] = to->s6_addr[11] = 0xff;
    memcpy(&to->s6_addr[12], from, 4);
}

/* As this socket's family wants it. */
static socklen_t to_socket_address(const struct udp *u, const struct packet_address *a,
                                   struct sockaddr_in6 *to)
{
    if (a->sa.any.sa_family == u->address.sa.any.sa_family || a->sa.any.sa_family != AF_INET) {
        memcpy(to, &a->sa, a->len);
        return a->len;
    }
    memset(to, 0, sizeof(*to));
    to->sin6_family = AF_INET6;
    to->sin6_port = a->sa.v4.sin_port;
    map_v4(&to->sin6_addr, &a->sa.v4.sin_addr);
    return sizeof(*to);
}

/* --- reading --- */

static void read_control(struct udp *u, struct msghdr *m, struct packet *p)
{
    p->local = u->address;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        const void *data = CMSG_DATA(c);
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
            p->ecn = *(const uint8_t *)data & ECN_MASK;
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
            int tclass;
            memcpy(&tclass, data, sizeof(tclass));
            p->ecn = (uint8_t)tclass & ECN_MASK;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, data, sizeof(info));
            if (u->address.sa.any.sa_family == AF_INET)
                p->local.sa.v4.sin_addr = info.ipi_addr;
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, data, sizeof(info));
            p->local.sa.v6.sin6_addr = info.ipi6_addr;
        } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, data, sizeof(size));
            p->segment_size = size > 0 ? (size_t)size : 0;
        }
    }
    unmap(&p->local);
}

static void deliver(struct udp *u, unsigned i)
{
    struct msghdr *m = &u->messages[i].msg_hdr;
    struct packet p = {
        .data = u->buffers[i], .len = u->messages[i].msg_len, .listener = u->listener};

    if (p.len == 0 || (m->msg_flags & MSG_TRUNC) ||
        !packet_address_set(&p.remote, m->msg_name, m->msg_namelen))
        return;
    unmap(&p.remote);
    if (p.remote.sa.any.sa_family == AF_INET ? p.remote.sa.v4.sin_port == 0
                                             : p.remote.sa.v6.sin6_port == 0)
        return; /* forged, for nothing can be sent there */
    read_control(u, m, &p);
    u->ops->received(u->user, &p);
}

/* Returns false when there was nothing more to read. */
static bool read_batch(struct udp *u)
{
    for (unsigned i = 0; i < READ_BATCH; i++) {
        u->slices[i] = (struct iovec){u->buffers[i], READ_SIZE};
        u->messages[i].msg_hdr = (struct msghdr){.msg_name = &u->names[i],
                                                 .msg_namelen = sizeof(u->names[i]),
                                                 .msg_iov = &u->slices[i],
                                                 .msg_iovlen = 1,
                                                 .msg_control = u->controls[i],
                                                 .msg_controllen = CONTROL_SIZE};
    }
    int n = recvmmsg(u->fd, u->messages, READ_BATCH, 0, NULL);
    for (int i = 0; i < n; i++)
        if (!u->is_closing)
            deliver(u, (unsigned)i);
    return n == READ_BATCH && !u->is_closing;
}

/* --- writing --- */

static void *add_control(struct msghdr *m, int level, int type, size_t len)
{
    struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)m->msg_control + m->msg_controllen);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(len);
    m->msg_controllen += CMSG_SPACE(len);
    return CMSG_DATA(c);
}

static void add_source(const struct udp *u, struct msghdr *m, const struct packet_address *local)
{
    if (local->len == 0)
        return;
    if (u->address.sa.any.sa_family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst = local->sa.v4.sin_addr};
        memcpy(add_control(m, IPPROTO_IP, IP_PKTINFO, sizeof(info)), &info, sizeof(info));
        return;
    }
    struct in6_pktinfo info = {0};
    if (local->sa.any.sa_family == AF_INET)
        map_v4(&info.ipi6_addr, &local->sa.v4.sin_addr);
    else
        info.ipi6_addr = local->sa.v6.sin6_addr;
    memcpy(add_control(m, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(info)), &info, sizeof(info));
}

static void add_ecn(struct msghdr *m, const struct packet *p)
{
    int value = p->ecn;
    if (value == 0)
        return;
    if (p->remote.sa.any.sa_family == AF_INET)
        memcpy(add_control(m, IPPROTO_IP, IP_TOS, sizeof(value)), &value, sizeof(value));
    else
        memcpy(add_control(m, IPPROTO_IPV6, IPV6_TCLASS, sizeof(value)), &value, sizeof(value));
}

static int is_busy(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS;
}

/* All segments in one call, which the kernel cuts. Returns how much is done with (sent or not
 * sendable at all), 0 if the kernel has no room, -1 if it does not cut these. */
static ssize_t send_whole(struct udp *u, struct msghdr *m, const struct packet *p)
{
    struct iovec slice = {(void *)p->data, p->len};
    size_t without = m->msg_controllen;
    m->msg_iov = &slice;
    m->msg_iovlen = 1;
    if (p->len > p->segment_size && p->segment_size) {
        uint16_t size = (uint16_t)p->segment_size;
        memcpy(add_control(m, IPPROTO_UDP, UDP_SEGMENT, sizeof(size)), &size, sizeof(size));
    }
    if (m->msg_controllen == 0)
        m->msg_control = NULL;
    if (sendmsg(u->fd, m, MSG_NOSIGNAL) >= 0)
        return (ssize_t)p->len;
    if (is_busy())
        return 0;
    if (m->msg_controllen > without && (errno == EIO || errno == EINVAL)) {
        if (errno == EIO) /* the interface cannot; otherwise it is something with this address */
            u->has_gso = false;
        m->msg_controllen = without;
        return -1;
    }
    return (ssize_t)p->len;
}

static size_t send_one_by_one(struct udp *u, const struct msghdr *m, const struct packet *p)
{
    struct mmsghdr messages[WRITE_BATCH];
    struct iovec slices[WRITE_BATCH];
    size_t step = p->segment_size ? p->segment_size : p->len, at = 0;

    while (at < p->len) {
        unsigned count = 0;
        for (size_t next = at; next < p->len && count < WRITE_BATCH; next += step, count++) {
            slices[count] = (struct iovec){(void *)(p->data + next),
                                           p->len - next < step ? p->len - next : step};
            messages[count].msg_hdr = *m;
            messages[count].msg_hdr.msg_iov = &slices[count];
            messages[count].msg_hdr.msg_iovlen = 1;
            if (m->msg_controllen == 0)
                messages[count].msg_hdr.msg_control = NULL;
        }
        int n = sendmmsg(u->fd, messages, count, MSG_NOSIGNAL);
        if (n < 0 && is_busy())
            return at;
        at += (n > 0 ? (size_t)n : 1) * step; /* one that cannot be sent is skipped */
    }
    return p->len;
}

/* Returns how many bytes of p are done with; less than all means that the kernel has no room. */
static size_t send_now(struct udp *u, const struct packet *p)
{
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_SIZE];
    struct sockaddr_in6 name;
    struct msghdr m = {.msg_control = control, .msg_name = &name};

    if (p->remote.sa.any.sa_family == AF_INET6 && u->address.sa.any.sa_family == AF_INET)
        return p->len; /* an IPv4 socket cannot reach it */
    memset(control, 0, sizeof(control));
    m.msg_namelen = to_socket_address(u, &p->remote, &name);
    add_source(u, &m, &p->local);
    add_ecn(&m, p);
    if (u->has_gso || p->segment_size == 0 || p->len <= p->segment_size) {
        ssize_t done = send_whole(u, &m, p);
        if (done >= 0)
            return (size_t)done;
        m.msg_control = control;
    }
    return send_one_by_one(u, &m, p);
}

static void on_events(uv_poll_t *poll, int status, int events);

static void poll_for(struct udp *u, int events)
{
    if (events == u->events)
        return;
    u->events = events;
    int rv = uv_poll_start(&u->poll, events, on_events);
    assert(rv == 0);
}

static void keep(struct udp *u, const struct packet *p, size_t done)
{
    size_t len = p->len - done;
    if (u->backlog_bytes + len > u->backlog_max)
        return; /* QUIC sends it again */
    struct waiting *w = malloc(sizeof(*w) + len);
    if (!w)
        abort();
    w->packet = *p;
    w->packet.data = w->data;
    w->packet.len = len;
    memcpy(w->data, p->data + done, len);
    u->backlog_bytes += len;
    STAILQ_INSERT_TAIL(&u->backlog, w, entry);
    poll_for(u, u->events | UV_WRITABLE);
}

void udp_send(struct udp *u, const struct packet *p)
{
    size_t done = 0;
    if (u->is_closing)
        return;
    if (STAILQ_EMPTY(&u->backlog))
        done = send_now(u, p);
    if (done < p->len)
        keep(u, p, done);
}

static void write_backlog(struct udp *u)
{
    struct waiting *w;
    while ((w = STAILQ_FIRST(&u->backlog))) {
        size_t done = send_now(u, &w->packet);
        if (done < w->packet.len) {
            w->packet.data += done;
            w->packet.len -= done;
            u->backlog_bytes -= done;
            return;
        }
        STAILQ_REMOVE_HEAD(&u->backlog, entry);
        u->backlog_bytes -= w->packet.len;
        free(w);
    }
    poll_for(u, u->events & ~UV_WRITABLE);
}

/* --- the loop --- */

static void on_events(uv_poll_t *poll, int status, int events)
{
    struct udp *u = poll->data;

    if (events & UV_WRITABLE)
        write_backlog(u);
    if (status < 0) { /* libuv has stopped; the error goes away by reading */
        int wanted = u->events;
        u->events = 0;
        poll_for(u, wanted);
    }
    if ((events & UV_READABLE) || status < 0)
        for (int i = 0; i < READ_ROUNDS && read_batch(u); i++)
            ;
    turn_end(u->env->turn);
}

void udp_start(struct udp *u)
{
    poll_for(u, u->events | UV_READABLE);
}

static void on_closed(uv_handle_t *handle)
{
    struct udp *u = handle->data;
    struct waiting *w;
    while ((w = STAILQ_FIRST(&u->backlog))) {
        STAILQ_REMOVE_HEAD(&u->backlog, entry);
        free(w);
    }
    close(u->fd);
    void *user = u->user;
    const struct udp_ops *ops = u->ops;
    free(u);
    ops->closed(user);
}

void udp_close(struct udp *u)
{
    if (u->is_closing)
        return;
    u->is_closing = true;
    uv_poll_stop(&u->poll);
    uv_close((uv_handle_t *)&u->poll, on_closed);
}

const struct packet_address *udp_address(const struct udp *u)
{
    return &u->address;
}

/* --- opening --- */

static bool set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

static void set_options(int fd, const struct udp_binding *binding)
{
    const struct packet_address *a = &binding->address;
    bool is_v6 = a->sa.any.sa_family == AF_INET6;
    int size = (int)binding->kernel_buffer;

    if (is_v6) {
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !IN6_IS_ADDR_UNSPECIFIED(&a->sa.v6.sin6_addr));
        set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
        set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
        set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    } else {
        set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
    }
    /* A dual-stack socket needs these for its IPv4 traffic, too. PROBE: never fragment, and do not
     * believe what the system remembers of the path, for QUIC finds out by itself. */
    set_option(fd, IPPROTO_IP, IP_RECVTOS, 1);
    set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    if (size) {
        set_option(fd, SOL_SOCKET, SO_RCVBUF, size);
        set_option(fd, SOL_SOCKET, SO_SNDBUF, size);
    }
}

static void tell_error(const struct packet_address *a, const char *what, char *error, size_t size)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    int why = errno;
    if (a->sa.any.sa_family == AF_INET)
        inet_ntop(AF_INET, &a->sa.v4.sin_addr, ip, sizeof(ip));
    else
        inet_ntop(AF_INET6, &a->sa.v6.sin6_addr, ip, sizeof(ip));
    snprintf(error, size, "UDP %s%s%s:%u: %s: %s", a->sa.any.sa_family == AF_INET6 ? "[" : "", ip,
             a->sa.any.sa_family == AF_INET6 ? "]" : "",
             ntohs(a->sa.any.sa_family == AF_INET ? a->sa.v4.sin_port : a->sa.v6.sin6_port), what,
             strerror(why));
}

static bool bound_to(int fd, struct packet_address *to)
{
    struct sockaddr_in6 name;
    socklen_t len = sizeof(name);

    return getsockname(fd, (struct sockaddr *)&name, &len) == 0 &&
           packet_address_set(to, (struct sockaddr *)&name, len);
}

/* What is wrong, or NULL. A socket that may share its address is given one that somebody else of
 * the same user shares already, who then has half of the packets; where Linux chooses the port,
 * too. So the first one may only once it has the address. */
static const char *bind_socket(int fd, const struct udp_binding *binding)
{
    const struct packet_address *a = &binding->address;

    set_options(fd, binding);
    if (binding->sharing == UDP_NEXT && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1))
        return "cannot be shared by several sockets";
    if (bind(fd, &a->sa.any, a->len) != 0)
        return "cannot be listened on";
    if (binding->sharing == UDP_FIRST && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1))
        return "cannot be shared by several sockets";
    return NULL;
}

int udp_bind(const struct udp_binding *binding, struct packet_address *bound, char *error,
             size_t error_size)
{
    const struct packet_address address = binding->address; /* bound may be the same */
    int fd = socket(address.sa.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        tell_error(&address, "cannot make a socket", error, error_size);
        return -1;
    }
    const char *wrong = bind_socket(fd, binding);
    if (!wrong && !bound_to(fd, bound))
        wrong = "cannot be listened on";
    if (wrong) {
        int why = errno;
        tell_error(&address, wrong, error, error_size);
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

struct udp *udp_open(struct env *env, uv_loop_t *loop, int fd, const struct udp_config *config,
                     const struct udp_ops *ops, void *user, char *error, size_t error_size)
{
    struct udp *u = calloc(1, sizeof(*u));
    if (!u)
        abort();
    u->env = env;
    u->fd = fd;
    u->ops = ops;
    u->user = user;
    u->listener = config->listener;
    u->backlog_max = config->send_backlog ? config->send_backlog : BACKLOG_DEFAULT;
    STAILQ_INIT(&u->backlog);
    if (!config->no_offload) {
        set_option(fd, IPPROTO_UDP, UDP_GRO, 1);
        u->has_gso = set_option(fd, IPPROTO_UDP, UDP_SEGMENT, 0);
    }
    int rv = bound_to(fd, &u->address) ? uv_poll_init(loop, &u->poll, fd) : UV_EINVAL;
    u->poll.data = u;
    if (rv == 0)
        return u;
    snprintf(error, error_size, "UDP: the event loop does not take the socket: %s",
             uv_strerror(rv));
    close(fd);
    free(u);
    return NULL;
}
