/*
 * sluice_app.c - the app: its listening socket, its loop, and the turn of each session.
 * Owns the sessions. Calls inbound, stream, session and line.
 */
#include "sluice_app.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "inbound.h"
#include "stream.h"

enum { BACKLOG = 4096, EVENTS_PER_TURN = 64, ACCEPTS_PER_TURN = 256 };

static void watch(struct sluice_app *app, int fd, void *what)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(app->loop.epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
        abort();
}

struct sluice_app *sluice_app_new(const struct sluice_events *events, void *user)
{
    assert(events->session);
    struct sluice_app *app = calloc(1, sizeof(*app));
    if (!app)
        abort();
    app->events = *events;
    app->user = user;
    app->listener = -1;
    app->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    app->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    app->decoder = message_decoder_new(MESSAGE_FROM_SLUICE);
    TAILQ_INIT(&app->sessions);
    TAILQ_INIT(&app->stirred);
    TAILQ_INIT(&app->dead);
    if (!line_loop_init(&app->loop) || app->wake < 0)
        abort(); /* no descriptors left for a program that has just begun */
    watch(app, app->wake, &app->wake);
    return app;
}

/* --- listening --- */

static bool fail(char *error, size_t size, const char *address, const char *what)
{
    snprintf(error, size, "cannot listen on %s: %s", address, what);
    return false;
}

static bool is_stale_socket(const struct sockaddr_un *sun)
{
    struct stat st;
    if (lstat(sun->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused =
        connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static bool listen_unix(struct sluice_app *app, const char *address, char *error, size_t size)
{
    const char *path = address + strlen("unix:");
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    if (path[0] == '\0' || strlen(path) >= sizeof(sun.sun_path))
        return fail(error, size, address, "a path of 1 to 107 bytes is needed after unix:");
    strcpy(sun.sun_path, path);
    app->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const struct sockaddr *sa = (const struct sockaddr *)&sun;
    int rc = bind(app->listener, sa, sizeof(sun));
    if (rc != 0 && errno == EADDRINUSE) {
        if (!is_stale_socket(&sun))
            return fail(error, size, address, "another program listens there, or it is no socket");
        unlink(path);
        rc = bind(app->listener, sa, sizeof(sun));
    }
    if (rc != 0 || listen(app->listener, BACKLOG) != 0)
        return fail(error, size, address, strerror(errno));
    snprintf(app->unlink_path, sizeof(app->unlink_path), "%s", path);
    snprintf(app->address, sizeof(app->address), "%s", address);
    return true;
}

/* Splits "HOST:PORT" or "[HOST]:PORT". */
static bool split_host(const char *text, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || (size_t)(colon - text) >= size)
        return false;
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    size_t len = (size_t)(colon - text) - (bracketed ? 2 : 0);
    memcpy(host, text + (bracketed ? 1 : 0), len);
    host[len] = '\0';
    *port = colon + 1;
    return **port != '\0';
}

static void remember_tcp_address(struct sluice_app *app)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char host[64], port[16];
    getsockname(app->listener, (struct sockaddr *)&ss, &len);
    getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(app->address, sizeof(app->address),
             ss.ss_family == AF_INET6 ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}

static bool listen_tcp(struct sluice_app *app, const char *address, char *error, size_t size)
{
    char host[128];
    const char *port;
    if (!split_host(address + strlen("tcp:"), host, sizeof(host), &port))
        return fail(error, size, address, "HOST:PORT is needed after tcp:");
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0)
        return fail(error, size, address, gai_strerror(rc));
    int on = 1;
    app->listener = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(app->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    rc = bind(app->listener, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (rc != 0 || listen(app->listener, BACKLOG) != 0)
        return fail(error, size, address, strerror(errno));
    remember_tcp_address(app);
    return true;
}

bool sluice_app_listen(struct sluice_app *app, const char *address, char *error, size_t error_size)
{
    assert(app->listener < 0);
    bool ok = false;
    if (strncmp(address, "unix:", 5) == 0)
        ok = listen_unix(app, address, error, error_size);
    else if (strncmp(address, "tcp:", 4) == 0)
        ok = listen_tcp(app, address, error, error_size);
    else
        fail(error, error_size, address, "an address begins with unix: or tcp:");
    if (ok)
        watch(app, app->listener, &app->listener);
    else if (app->listener >= 0) {
        close(app->listener);
        app->listener = -1;
    }
    return ok;
}

const char *sluice_app_address(const struct sluice_app *app)
{
    return app->address;
}

static void welcome(struct sluice_app *app, int fd)
{
    int on = 1; /* on a Unix socket these two fail, and matter to nobody */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    struct sluice_session *s = malloc(sizeof(*s));
    if (!s)
        abort();
    session_init(s, app, fd);
    TAILQ_INSERT_TAIL(&app->sessions, s, all);
}

/* Without a free descriptor the connection would wait, and wake us, for ever: it is closed with
 * the help of the spare one, and Sluice answers its client with 502. */
static void turn_away(struct sluice_app *app)
{
    close(app->spare);
    int fd = accept4(app->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    app->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_connections(struct sluice_app *app)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(app->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            welcome(app, fd);
        else if (errno == EMFILE || errno == ENFILE)
            turn_away(app);
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

/* --- the turn of a session --- */

static void unstir(struct sluice_session *s)
{
    if (s->stirred)
        TAILQ_REMOVE(&s->app->stirred, s, stirring);
    s->stirred = false;
}

/* Ends a session's turn: more callbacks, then one write; then the session may be over. */
static void settle(struct sluice_session *s)
{
    bool has_more = !s->gone && streams_work(s);
    if (!s->gone) {
        session_grant(s);
        line_flush(&s->line);
        unstir(s);
        session_breathe(s);
        if (s->hanging_up)
            inbound_lost(s, "hung up");
    }
    if (s->gone) {
        unstir(s);
        line_close(&s->line);
        TAILQ_REMOVE(&s->app->sessions, s, all);
        TAILQ_INSERT_TAIL(&s->app->dead, s, all);
    } else if (has_more && session_output_room(s) > 0)
        session_stir(s);
}

static void read_session(struct sluice_session *s)
{
    static const char *const why[] = {
        [LINE_EOF] = "the proxy hung up without a disconnect",
        [LINE_BROKEN] = "the connection to the proxy broke",
        [LINE_REFUSED] = "not the backend protocol: a frame's length is 0 or over 1048576",
    };
    enum line_state state = line_read(&s->line, inbound_frame);
    if (state != LINE_EMPTY && state != LINE_STOPPED && !s->gone)
        inbound_lost(s, why[state]);
}

static void serve(struct sluice_session *s, uint32_t events)
{
    if (s->gone)
        return;
    line_begin(&s->line);
    /* A hang-up is read even while paused: it would wake us for ever. It is finite. */
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_session(s);
    settle(s);
}

static void free_dead(struct sluice_app *app)
{
    struct sluice_session *s;
    while ((s = TAILQ_FIRST(&app->dead))) {
        TAILQ_REMOVE(&app->dead, s, all);
        free(s->finish_reason);
        free(s);
    }
}

/* Those stirred while we are at it get their share next time, so nobody holds up the others. */
static void serve_stirred(struct sluice_app *app)
{
    struct sluice_session *s, *last = TAILQ_LAST(&app->stirred, session_list);
    while ((s = TAILQ_FIRST(&app->stirred))) {
        bool was_last = s == last;
        line_begin(&s->line);
        settle(s);
        if (was_last)
            break;
    }
}

void sluice_app_turn(struct sluice_app *app, int timeout_ms)
{
    assert(!app->in_turn);
    struct epoll_event events[EVENTS_PER_TURN];
    if (!TAILQ_EMPTY(&app->stirred))
        timeout_ms = 0;
    int n = epoll_wait(app->loop.epoll, events, EVENTS_PER_TURN, timeout_ms);
    app->in_turn = true;
    for (int i = 0; i < n; i++) {
        void *what = events[i].data.ptr;
        if (what == &app->listener)
            accept_connections(app);
        else if (what == &app->wake)
            app->stopping = true;
        else
            serve(what, events[i].events);
    }
    serve_stirred(app);
    free_dead(app);
    app->in_turn = false;
}

int sluice_app_fd(const struct sluice_app *app)
{
    return app->loop.epoll;
}

void sluice_app_run(struct sluice_app *app)
{
    while (!app->stopping)
        sluice_app_turn(app, -1);
    uint64_t ignored;
    if (read(app->wake, &ignored, sizeof(ignored)) == sizeof(ignored))
        app->stopping = false;
}

void sluice_app_stop(struct sluice_app *app)
{
    uint64_t one = 1;
    int saved = errno;
    if (write(app->wake, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN); /* it has been told often enough */
    errno = saved;
}

void sluice_app_free(struct sluice_app *app)
{
    assert(!app->in_turn);
    struct sluice_session *s;
    while ((s = TAILQ_FIRST(&app->sessions))) {
        sluice_hang_up(s);
        line_begin(&s->line);
        settle(s);
    }
    free_dead(app);
    if (app->listener >= 0)
        close(app->listener);
    if (app->unlink_path[0])
        unlink(app->unlink_path);
    close(app->wake);
    close(app->spare);
    message_decoder_free(app->decoder);
    line_loop_fini(&app->loop);
    free(app);
}

void *sluice_app_user(const struct sluice_app *app)
{
    return app->user;
}
