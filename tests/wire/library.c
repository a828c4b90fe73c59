/*
 * library - what the sessions of /work in apps/stuck.py do, done with the C library: each
 * bidirectional stream begins with 8 bytes, big-endian, that say how many bytes it wants back. What
 * follows is thrown away. Two wishes are special: of a stream that wants 2^64 - 1 nothing more is
 * taken, and 2^64 - 3 closes the session with code 77.
 *
 *     library unix:PATH
 *
 * Tells `listening`, and how each session that it closed itself has ended, as a line of JSON.
 * Serves until SIGTERM.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/pattern.h"
#include "backends/c/sluice_app.h"

#define WISH_STUCK UINT64_MAX
#define WISH_CLOSE (UINT64_MAX - 2)
#define CLOSE_CODE 77

struct wish {
    uint8_t asked[8];
    size_t heard;
    uint64_t size, sent;
    bool client_ended;
};

static struct sluice_app *app;

static void on_session(struct sluice_session *s, const struct message_scope *scope)
{
    (void)scope;
    sluice_accept(s, NULL);
}

static void on_stream_opened(struct sluice_stream *st)
{
    struct wish *w = calloc(1, sizeof(*w));
    if (!w)
        abort();
    sluice_stream_set_user(st, w);
}

static void speak(struct sluice_stream *st, struct wish *w)
{
    while (w->sent < w->size) {
        size_t len = pattern_len(w->size - w->sent);
        size_t n = sluice_stream_send(st, pattern_at(w->sent), len, false);
        w->sent += n;
        if (n < len)
            return;
    }
    if (w->client_ended && w->heard == sizeof(w->asked))
        sluice_stream_send(st, NULL, 0, true);
}

static void heard_wish(struct sluice_stream *st, struct wish *w)
{
    uint64_t size = pattern_size(w->asked);
    if (size == WISH_CLOSE)
        sluice_close(sluice_stream_session(st), CLOSE_CODE, "");
    else if (size != WISH_STUCK)
        w->size = size;
}

static size_t on_stream_data(struct sluice_stream *st, const uint8_t *data, size_t len, bool ended)
{
    struct wish *w = sluice_stream_user(st);
    size_t missing = sizeof(w->asked) - w->heard, n = len < missing ? len : missing;
    memcpy(w->asked + w->heard, data, n);
    w->heard += n;
    if (n > 0 && w->heard == sizeof(w->asked))
        heard_wish(st, w);
    if (w->heard == sizeof(w->asked) && pattern_size(w->asked) == WISH_STUCK)
        return n;
    w->client_ended |= ended;
    speak(st, w);
    return len;
}

static void on_stream_reset(struct sluice_stream *st, int64_t code)
{
    (void)code;
    sluice_stream_reset(st, 0);
}

static void on_stream_writable(struct sluice_stream *st)
{
    speak(st, sluice_stream_user(st));
}

static void on_stream_closed(struct sluice_stream *st)
{
    free(sluice_stream_user(st));
}

static void on_disconnected(struct sluice_session *s, const struct sluice_end *end)
{
    (void)s;
    if (end->by == SLUICE_BY_APP)
        printf("{\"code\": %" PRId64 ", \"by\": \"app\", \"clean\": %s}\n", end->code,
               end->clean ? "true" : "false");
}

static void on_problem(struct sluice_session *s, const char *text)
{
    (void)s;
    fprintf(stderr, "library: Sluice says: %s\n", text);
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
                                         .stream_reset = on_stream_reset,
                                         .stream_writable = on_stream_writable,
                                         .stream_closed = on_stream_closed,
                                         .problem = on_problem,
                                         .disconnected = on_disconnected};
    char error[256];
    if (argc != 2)
        return fprintf(stderr, "usage: library unix:PATH\n"), 2;
    pattern_init();
    app = sluice_app_new(&events, NULL);
    if (!sluice_app_listen(app, argv[1], error, sizeof(error)))
        return fprintf(stderr, "%s\n", error), 1;
    signal(SIGTERM, on_signal);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("listening\n");
    sluice_app_run(app);
    sluice_app_free(app);
}
