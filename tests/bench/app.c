/*
 * app - the application behind Sluice when it is measured, on the C library. Says what limit.c
 * says:
 *
 *     /echo     a bidirectional stream's bytes come back; so do datagrams
 *     /sink     bytes are taken; when they have ended, so does the other direction
 *     /source   8 bytes, big-endian, ask for so many bytes of the pattern
 *
 *     app unix:PATH
 *
 * Serves until SIGTERM.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/pattern.h"
#include "backends/c/sluice_app.h"

enum kind { KIND_ECHO, KIND_SINK, KIND_SOURCE };

/* Of a stream of /source. */
struct speech {
    uint8_t asked[8];
    size_t received;
    uint64_t sent, size;
};

static struct sluice_app *app;

/* A session's user: its kind. The values' addresses are what is kept. */
static const enum kind kinds[] = {KIND_ECHO, KIND_SINK, KIND_SOURCE};

static enum kind kind_of(const struct sluice_stream *st)
{
    return *(const enum kind *)sluice_session_user(sluice_stream_session(st));
}

static void speak(struct sluice_stream *st, struct speech *p)
{
    while (p->sent < p->size) {
        uint64_t left = p->size - p->sent;
        size_t len = pattern_len(left);
        size_t n = sluice_stream_send(st, pattern_at(p->sent), len, len == left);
        p->sent += n;
        if (n < len)
            return;
    }
}

static size_t listen_to_wish(struct sluice_stream *st, const uint8_t *data, size_t len)
{
    struct speech *p = sluice_stream_user(st);
    if (p->received + len > sizeof(p->asked))
        abort();
    memcpy(p->asked + p->received, data, len);
    p->received += len;
    if (p->received == sizeof(p->asked) && p->size == 0) {
        p->size = pattern_size(p->asked);
        speak(st, p);
    }
    return len;
}

static void on_stream_opened(struct sluice_stream *st)
{
    if (kind_of(st) != KIND_SOURCE)
        return;
    struct speech *p = calloc(1, sizeof(*p));
    if (!p)
        abort();
    sluice_stream_set_user(st, p);
}

static size_t on_stream_data(struct sluice_stream *st, const uint8_t *data, size_t len, bool ended)
{
    switch (kind_of(st)) {
    case KIND_SOURCE:
        return listen_to_wish(st, data, len);
    case KIND_SINK:
        if (ended)
            sluice_stream_send(st, NULL, 0, true);
        return len;
    default:
        return sluice_stream_send(st, data, len, ended);
    }
}

static void on_stream_writable(struct sluice_stream *st)
{
    if (kind_of(st) == KIND_SOURCE)
        speak(st, sluice_stream_user(st));
    else
        sluice_stream_resume(st);
}

static void on_stream_closed(struct sluice_stream *st)
{
    free(sluice_stream_user(st));
}

static void on_datagram(struct sluice_session *s, const uint8_t *data, size_t len)
{
    sluice_datagram_send(s, data, len);
}

static bool is_path(const struct message_scope *scope, const char *path)
{
    return scope->path.len == strlen(path) && memcmp(scope->path.at, path, scope->path.len) == 0;
}

static void on_session(struct sluice_session *s, const struct message_scope *scope)
{
    enum kind kind = is_path(scope, "/sink")     ? KIND_SINK
                     : is_path(scope, "/source") ? KIND_SOURCE
                                                 : KIND_ECHO;
    sluice_session_set_user(s, (void *)&kinds[kind]);
    sluice_accept(s, NULL);
}

static void on_problem(struct sluice_session *s, const char *text)
{
    (void)s;
    fprintf(stderr, "app: Sluice says: %s\n", text);
}

static void on_signal(int number)
{
    (void)number;
    sluice_app_stop(app);
}

int main(int argc, char **argv)
{
    const struct sluice_events events = {.session = on_session,
                                         .stream_opened = on_stream_opened,
                                         .stream_data = on_stream_data,
                                         .stream_writable = on_stream_writable,
                                         .stream_closed = on_stream_closed,
                                         .datagram = on_datagram,
                                         .problem = on_problem};
    char error[256];
    struct rlimit files;
    if (argc != 2)
        return fprintf(stderr, "usage: app unix:PATH\n"), 2;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max; /* one connection per session */
        setrlimit(RLIMIT_NOFILE, &files);
    }
    pattern_init();
    app = sluice_app_new(&events, NULL);
    if (!sluice_app_listen(app, argv[1], error, sizeof(error)))
        return fprintf(stderr, "%s\n", error), 1;
    signal(SIGTERM, on_signal);
    printf("listening\n");
    fflush(stdout);
    sluice_app_run(app);
    sluice_app_free(app);
}
