/*
 * admin - the HTTP listener for people and tools nearby, on libmicrohttpd.
 *
 * Owns the listening sockets and the daemon. Sockets are accepted here, so that one listener can
 * serve several addresses; the daemon's own epoll descriptor is one more handle of the loop, and a
 * timer wakes it for its timeouts. A request for statistics is suspended until they have come.
 */
#include "admin.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "base/hostport.h"
#include "page/page.h"

enum { MAX_SOCKETS = 8, MAX_CONNECTIONS = 64, TIMEOUT_SECONDS = 15, PORTS_TRIED = 16 };

static const char json_type[] = "application/json";
static const char text_type[] = "text/plain; charset=utf-8";

struct request {
    struct admin *admin;
    struct MHD_Connection *connection;
    bool waits, counted;
    TAILQ_ENTRY(request) entry;
};

struct listener {
    struct admin *admin;
    uv_poll_t poll;
    int fd;
};

struct admin {
    uv_loop_t *loop;
    const struct admin_ops *ops;
    void *user;
    struct MHD_Daemon *daemon;
    struct listener listeners[MAX_SOCKETS];
    size_t listener_count;
    uv_poll_t daemon_poll;
    uv_timer_t timer;
    size_t handles; /* not closed yet */
    unsigned port;
    char *unix_path;
    bool closing;
    TAILQ_HEAD(, request) waiting; /* for statistics */
    struct stats sum;
    struct tally tally;
    unsigned workers;
};

/* --- what is answered --- */

/* NULL if there is no memory. */
static struct MHD_Response *make_response(const char *type, const void *body, size_t len,
                                          enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, mode);

    if (!r)
        return NULL;
    MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "Cache-Control", "no-cache");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    return r;
}

static enum MHD_Result queue(struct MHD_Connection *connection, unsigned status,
                             struct MHD_Response *r)
{
    if (!r)
        return MHD_NO;
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, "Allow", "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status, const char *type,
                               const void *body, size_t len, enum MHD_ResponseMemoryMode mode)
{
    return queue(connection, status, make_response(type, body, len, mode));
}

static enum MHD_Result respond_text(struct MHD_Connection *connection, unsigned status,
                                    const char *text)
{
    return respond(connection, status, text_type, text, strlen(text), MHD_RESPMEM_PERSISTENT);
}

/* Ends a text begun with open_memstream and answers with it. */
static enum MHD_Result respond_json(struct MHD_Connection *connection, FILE *json, char **text,
                                    size_t *len)
{
    fclose(json);
    return respond(connection, MHD_HTTP_OK, json_type, *text, *len, MHD_RESPMEM_MUST_FREE);
}

/* The host in the client's Host header, without the port; a peer's text, so only what can stand in
 * a host is taken. */
static void host_of(struct MHD_Connection *connection, char *to, size_t size)
{
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    size_t len = 0;

    if (host && host[0] == '[') {
        len = 1 + strspn(host + 1, "0123456789abcdefABCDEF:.");
        len = host[len] == ']' ? len + 1 : 0;
    } else if (host) {
        len = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");
    }
    bool whole = len > 0 && len < size && (host[len] == '\0' || host[len] == ':');
    snprintf(to, size, "%.*s", whole ? (int)len : 9, whole ? host : "localhost");
}

static enum MHD_Result respond_certificate(struct admin *a, struct MHD_Connection *connection)
{
    struct admin_identity identity = {.host = ""};
    char *text = NULL, host[HOSTPORT_HOST_SIZE];
    size_t len = 0;
    FILE *json = open_memstream(&text, &len);

    a->ops->identify(a->user, &identity);
    if (identity.host[0] == '\0')
        host_of(connection, host, sizeof(host));
    else
        snprintf(host, sizeof(host), strchr(identity.host, ':') ? "[%s]" : "%s", identity.host);
    fputs("{\"algorithm\": \"sha-256\", \"hashes\": [", json);
    for (size_t i = 0; i < identity.hash_count; i++) {
        fputs(i ? ", \"" : "\"", json);
        for (size_t j = 0; j < sizeof(identity.hashes[i]); j++)
            fprintf(json, "%02x", identity.hashes[i][j]);
        fputc('"', json);
    }
    fprintf(json, "], \"port\": %u, \"urls\": [\"https://%s:%u/\"]}\n", identity.port, host,
            identity.port);
    fclose(json);
    struct MHD_Response *r = make_response(json_type, text, len, MHD_RESPMEM_MUST_FREE);
    /* Pages under development live on other ports. Nothing else here is for other pages' eyes. */
    if (r)
        MHD_add_response_header(r, "Access-Control-Allow-Origin", "*");
    return queue(connection, MHD_HTTP_OK, r);
}

static void print_rows(FILE *json, const struct stats *sum, int gauges)
{
    const char *comma = "";

    for (const struct stats_row *row = stats_rows; row->name; row++) {
        if (row->is_gauge != gauges)
            continue;
        fprintf(json, "%s\"%s\": %" PRIu64, comma, row->name, stats_value(sum, row));
        comma = ", ";
    }
}

/* Names and addresses come from the configuration and from name servers. */
static void print_text(FILE *json, const char *text)
{
    fputc('"', json);
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == '"' || *text == '\\')
            fprintf(json, "\\u%04x", (unsigned char)*text);
        else
            fputc(*text, json);
    }
    fputc('"', json);
}

static void print_addresses(FILE *json, const struct tally *tally)
{
    for (size_t i = 0; i < tally->count; i++) {
        const struct tally_row *row = &tally->rows[i];
        fputs(i ? ",\n  {\"backend\": " : "\n  {\"backend\": ", json);
        print_text(json, row->backend);
        fputs(", \"address\": ", json);
        print_text(json, row->address);
#define X(name, sentence) fprintf(json, ", \"" #name "\": %" PRIu64, row->name);
        TALLY_NUMBERS(X)
#undef X
        fputc('}', json);
    }
}

static enum MHD_Result respond_stats(struct admin *a, struct MHD_Connection *connection)
{
    char *text = NULL;
    size_t len = 0;
    FILE *json = open_memstream(&text, &len);

    fprintf(json, "{\"workers\": %u,\n \"gauges\": {", a->workers);
    print_rows(json, &a->sum, 1);
    fputs("},\n \"counters\": {", json);
    print_rows(json, &a->sum, 0);
    fputs("},\n \"faults\": {", json);
    for (int i = FAULT_NONE + 1; i < FAULT_COUNT; i++)
        fprintf(json, "%s\"%s\": %" PRIu64, i > FAULT_NONE + 1 ? ", " : "",
                fault_name((enum fault)i), a->sum.faults[i]);
    fputs("},\n \"backends\": [", json);
    print_addresses(json, &a->tally);
    fputs("]}\n", json);
    return respond_json(connection, json, &text, &len);
}

static enum MHD_Result respond_page(struct MHD_Connection *connection, const char *path)
{
    for (const struct page_file *file = page_files; file->path; file++)
        if (strcmp(path, file->path) == 0)
            return respond(connection, MHD_HTTP_OK, file->type, file->data, file->len,
                           MHD_RESPMEM_PERSISTENT);
    return respond_text(connection, MHD_HTTP_NOT_FOUND, "There is nothing here.\n");
}

static enum MHD_Result wait_for_stats(struct admin *a, struct request *request)
{
    bool first = TAILQ_EMPTY(&a->waiting);

    MHD_suspend_connection(request->connection);
    request->waits = true;
    TAILQ_INSERT_TAIL(&a->waiting, request, entry);
    if (first)
        a->ops->count(a->user);
    return MHD_YES;
}

static enum MHD_Result answer(struct admin *a, struct request *request, const char *path)
{
    struct MHD_Connection *connection = request->connection;

    if (a->closing)
        return respond_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "ended\n");
    if (strcmp(path, "/healthz") == 0)
        return a->ops->is_ready(a->user)
                   ? respond_text(connection, MHD_HTTP_OK, "ok\n")
                   : respond_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "draining\n");
    if (strcmp(path, "/certificate.json") == 0)
        return respond_certificate(a, connection);
    if (strcmp(path, "/stats") == 0)
        return request->counted ? respond_stats(a, connection) : wait_for_stats(a, request);
    return respond_page(connection, path);
}

/* --- the daemon --- */

static enum MHD_Result requested(void *user, struct MHD_Connection *connection, const char *path,
                                 const char *method, const char *version, const char *body,
                                 size_t *body_len, void **request_at)
{
    struct admin *a = user;
    struct request *request = *request_at;

    (void)version;
    (void)body;
    if (!request) {
        /* The headers are in; libmicrohttpd wants the answer on the next call. */
        request = calloc(1, sizeof(*request));
        assert(request);
        request->admin = a;
        request->connection = connection;
        *request_at = request;
        return MHD_YES;
    }
    if (*body_len > 0) {
        *body_len = 0; /* nobody wants it */
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return respond_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "Only GET is known here.\n");
    return answer(a, request, path);
}

static void completed(void *user, struct MHD_Connection *connection, void **request_at,
                      enum MHD_RequestTerminationCode why)
{
    struct request *request = *request_at;

    (void)user;
    (void)connection;
    (void)why;
    if (request && request->waits)
        TAILQ_REMOVE(&request->admin->waiting, request, entry);
    free(request);
    *request_at = NULL;
}

static void timer_fired(uv_timer_t *timer);

/* Lets the daemon work, then sets the timer for when it wants to be called again. */
static void run_daemon(struct admin *a)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;

    MHD_run(a->daemon);
    if (MHD_get_timeout(a->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&a->timer, timer_fired, wait_ms, 0);
    else
        uv_timer_stop(&a->timer);
}

static void timer_fired(uv_timer_t *timer)
{
    run_daemon(timer->data);
}

static void daemon_polled(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run_daemon(poll->data);
}

static void listener_polled(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;
    struct sockaddr_storage remote;
    socklen_t len = sizeof(remote);

    (void)status;
    (void)events;
    int fd = accept4(l->fd, (struct sockaddr *)&remote, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    /* Closes fd if it refuses. */
    MHD_add_connection(l->admin->daemon, fd, (struct sockaddr *)&remote, len);
    run_daemon(l->admin);
}

static void keep_numbers(struct admin *a, const struct stats *sum, const struct tally *tally,
                         unsigned workers)
{
    a->sum = *sum;
    a->workers = workers;
    tally_fini(&a->tally);
    tally_add(&a->tally, tally);
}

static void answer_waiting(struct admin *a)
{
    struct request *request;

    while ((request = TAILQ_FIRST(&a->waiting))) {
        TAILQ_REMOVE(&a->waiting, request, entry);
        request->waits = false;
        request->counted = true;
        MHD_resume_connection(request->connection);
    }
    run_daemon(a);
}

void admin_counted(struct admin *a, const struct stats *sum, const struct tally *tally,
                   unsigned workers)
{
    keep_numbers(a, sum, tally, workers);
    answer_waiting(a);
}

/* --- opening and closing --- */

static int complain(char *error, size_t size, const char *address)
{
    snprintf(error, size, "cannot listen at %s: %s", address, strerror(errno));
    return -1;
}

/* A socket file that nobody listens at is left over from an earlier run. */
static void remove_stale(const struct sockaddr_un *sa)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 &&
        errno == ECONNREFUSED)
        unlink(sa->sun_path);
    if (fd >= 0)
        close(fd);
}

static int listen_unix(struct admin *a, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    remove_stale(&sa);
    if (fd >= 0 &&
        (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, SOMAXCONN) < 0)) {
        int failed = errno;
        close(fd);
        errno = failed;
        return -1;
    }
    if (fd >= 0) {
        a->unix_path = strdup(path);
        assert(a->unix_path);
    }
    return fd;
}

static int listen_tcp(const struct packet_address *at)
{
    int on = 1, fd = socket(at->sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (at->sa.any.sa_family == AF_INET6) {
        int only = !address_is_any(at);
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
    }
    if (bind(fd, &at->sa.any, at->len) < 0 || listen(fd, SOMAXCONN) < 0) {
        int failed = errno;
        close(fd);
        errno = failed;
        return -1;
    }
    return fd;
}

static unsigned port_of(int fd)
{
    struct packet_address a = {.len = sizeof(a.sa)};

    if (getsockname(fd, &a.sa.any, &a.len) < 0)
        return 0;
    return address_port(&a);
}

static void add_listener(struct admin *a, int fd)
{
    struct listener *l = &a->listeners[a->listener_count++];

    *l = (struct listener){.admin = a, .fd = fd};
    uv_poll_init(a->loop, &l->poll, fd);
    l->poll.data = l;
    a->handles++;
    uv_poll_start(&l->poll, UV_READABLE, listener_polled);
}

/* All addresses of a name share one port, also when it is the system's choice; *port is 0 then, and
 * becomes what was chosen. Returns how many can be had; 0 with errno if one of them cannot. */
static size_t listen_tcp_all(const struct packet_address *found, size_t count, unsigned *port,
                             int *fds)
{
    size_t listening = 0;

    for (size_t i = 0; i < count; i++) {
        struct packet_address at = found[i];
        address_set_port(&at, *port);
        int fd = listen_tcp(&at);
        if (fd >= 0) {
            *port = port_of(fd);
            fds[listening++] = fd;
            continue;
        }
        /* A name may have an address of a family that this machine is without. */
        if ((errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT) && count > 1)
            continue;
        int why = errno;
        while (listening > 0)
            close(fds[--listening]);
        errno = why;
        break;
    }
    return listening;
}

static int listen_at(struct admin *a, const char *address, char *error, size_t error_size)
{
    struct packet_address found[MAX_SOCKETS];
    int fds[MAX_SOCKETS];

    if (strncmp(address, "unix:", 5) == 0) {
        int fd = listen_unix(a, address + 5);
        if (fd < 0)
            return complain(error, error_size, address);
        add_listener(a, fd);
        return 0;
    }
    size_t count = address_resolve(address, found, MAX_SOCKETS, error, error_size);
    if (count == 0)
        return -1;
    unsigned port = address_port(&found[0]);
    bool is_any = port == 0;
    size_t listening = listen_tcp_all(found, count, &port, fds);
    /* What is free at one address may be taken at the next. */
    for (int i = 1; listening == 0 && errno == EADDRINUSE && is_any && i < PORTS_TRIED; i++) {
        port++;
        listening = listen_tcp_all(found, count, &port, fds);
    }
    if (listening == 0)
        return complain(error, error_size, address);
    a->port = port;
    for (size_t i = 0; i < listening; i++)
        add_listener(a, fds[i]);
    return 0;
}

/* Its complaints are about single connections of people nearby: not worth a line. */
static void ignore_complaint(void *user, const char *format, va_list arguments)
{
    (void)user;
    (void)format;
    (void)arguments;
}

static int start_daemon(struct admin *a)
{
    a->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, requested, a, MHD_OPTION_EXTERNAL_LOGGER, ignore_complaint, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_SECONDS,
        MHD_OPTION_END);
    if (!a->daemon)
        return -1;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_poll_init(a->loop, &a->daemon_poll, info->epoll_fd);
    a->daemon_poll.data = a;
    uv_poll_start(&a->daemon_poll, UV_READABLE, daemon_polled);
    uv_timer_init(a->loop, &a->timer);
    a->timer.data = a;
    a->handles += 2;
    return 0;
}

struct admin *admin_open(uv_loop_t *loop, const char *address, const struct admin_ops *ops,
                         void *user, char *error, size_t error_size)
{
    struct admin *a = calloc(1, sizeof(*a));

    assert(a);
    a->loop = loop;
    a->ops = ops;
    a->user = user;
    TAILQ_INIT(&a->waiting);
    if (start_daemon(a) < 0) {
        snprintf(error, error_size, "cannot start the HTTP server: %s", strerror(errno));
        free(a);
        return NULL;
    }
    if (listen_at(a, address, error, error_size) < 0) {
        admin_close(a);
        return NULL;
    }
    return a;
}

unsigned admin_port(const struct admin *a)
{
    return a->port;
}

static void handle_closed(struct admin *a)
{
    if (--a->handles > 0)
        return;
    free(a->unix_path);
    tally_fini(&a->tally);
    free(a);
}

static void listener_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;

    handle_closed(l->admin);
}

static void daemon_handle_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void admin_close(struct admin *a)
{
    /* libmicrohttpd may not be stopped while a connection is suspended. */
    a->closing = true;
    answer_waiting(a);
    for (size_t i = 0; i < a->listener_count; i++) {
        uv_close((uv_handle_t *)&a->listeners[i].poll, listener_closed);
        close(a->listeners[i].fd);
    }
    if (a->unix_path)
        unlink(a->unix_path);
    uv_close((uv_handle_t *)&a->daemon_poll, daemon_handle_closed);
    uv_close((uv_handle_t *)&a->timer, daemon_handle_closed);
    MHD_stop_daemon(a->daemon);
}

void admin_library(char *to, size_t size)
{
    snprintf(to, size, "libmicrohttpd %s", MHD_get_version());
}
