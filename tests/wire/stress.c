/*
 * stress - a WebTransport client that makes trouble, or that is there while others do:
 *
 *     stress HOST:PORT PATH SCENARIO [NAME=NUMBER ...]
 *
 *     work       rounds of transfers, to see how a bystander fares. A stream begins with
 *                8 bytes, big-endian: how many bytes it wants back
 *     noread     takes `after` bytes, so that windows grow, and then no more
 *     push       sends on its streams as much as it may, and never ends them
 *     streams    opens streams as fast as it can
 *     datagrams  sends datagrams as fast as it can
 *     listen     takes everything
 *     hoard      on one stream after the other asks for more than ever comes, takes none
 *                of it, wants no more at last, and never ends its own half. Tells hoarded
 *
 *     sessions=1     each on a connection of its own
 *     streams=1      of a session: in a round of work, of push, or in all of hoard
 *     bytes=16M      in a round, over all streams; K, M, G multiply
 *     kind=0         of streams: 0 unidirectional, a byte and the end; 1 the same and a
 *                    reset; 2 bidirectional, reset and stopped; 3 the same, left open
 *     size=1000      of a datagram
 *     stuck=1        streams that get stuck, of the first session
 *     after=0        of noread: bytes, of all sessions together
 *
 * Tells `ready` when all sessions are accepted, and does as lines on standard input say:
 *
 *     down, up       a round of work; when it is over: round bytes=N us=N
 *     echo           the same of both: the other side sends back what it gets
 *     stick          asks on `stuck` streams for more than ever comes, and takes none of
 *                    it; stuck when something has come on each
 *     stick-up       wishes to be stuck on them (2^64 - 1), and sends as much as it may;
 *                    stuck at once
 *     unstick        gives these up; unstuck at once
 *     close          asks the application to close the session (2^64 - 3)
 *     end            closes all sessions; at last: closed sent=N received=N
 *
 * noread tells `stopped` when it reads no more. A session that the other side closes is told
 * (`lost code=N`), and is an error within a round only. Any certificate is trusted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/timers.h"
#include "stress_internal.h"

static const char *const names[RUNS] = {"work",      "noread", "push", "streams",
                                        "datagrams", "listen", "hoard"};

struct stress stress = {.sessions = 1, .streams = 1, .bytes = 16 << 20, .size = 1000, .stuck = 1};

/* --- what wt tells --- */

static void responded(void *user, unsigned status, const struct header *headers, size_t count)
{
    struct session *s = user;
    (void)headers, (void)count;
    if (status != 200) {
        fprintf(stderr, "stress: status %u\n", status);
        exit(1);
    }
    s->accepted = true;
    s->to_open = stress.streams;
    if (stress.scenario == RUN_PUSH)
        stress_push(s);
    if (++stress.accepted < stress.sessions)
        return;
    printf("ready\n");
    stress_tell_stopped();
    if (stress.scenario == RUN_HOARD)
        stress_hoard(&stress.all[0]);
}

static void stream_opened(void *user, struct wt_stream *wt, bool unidirectional)
{
    struct stream *st = stress_new_stream(user, wt, ROLE_SERVERS);
    st->all_acked = unidirectional; /* there is nothing to send */
}

static void stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin)
{
    struct stream *st = stream_user;
    stress.received += len;
    st->fin |= fin;
    if (st->role == ROLE_STUCK)
        stress_got_stuck(st, len);
    if (st->role == ROLE_HOARD)
        stress_hoard_more(st, len);
    if (st->role == ROLE_STUCK || st->role == ROLE_HOARD)
        return;
    if (!stress_reads())
        return;
    wt_stream_consumed(st->wt, len);
    if (stress_is_work(st)) {
        stress_got_work(st, data, len);
        stress_work_is_done(st);
    } else if (st->role == ROLE_SERVERS && fin && st->all_acked) {
        stress_forget_stream(st);
    }
}

static void stream_reset(void *stream_user, struct wt_code code)
{
    struct stream *st = stream_user;
    (void)code;
    if (stress_is_work(st))
        host_fail("a stream was reset");
    if (st->role == ROLE_SERVERS && st->all_acked)
        stress_forget_stream(st);
}

static void stream_stopped(void *stream_user, struct wt_code code)
{
    struct stream *st = stream_user;
    (void)code;
    if (stress_is_work(st))
        host_fail("a stream was stopped");
    if (st->role == ROLE_FLOOD && stress.kind == KIND_FIN)
        stress_forget_stream(st);
    else if (st->role == ROLE_PUSH)
        st->to_send = 0;
}

static void stream_acked(void *stream_user, size_t len, bool all)
{
    struct stream *st = stream_user;
    (void)len;
    st->all_acked |= all;
    if (stress.ending)
        return;
    if (st->role == ROLE_FLOOD) {
        if (all)
            stress_forget_stream(st);
        return;
    }
    stress_send_more(st);
    if (stress_is_work(st))
        stress_work_is_done(st);
}

static void streams_available(void *user, bool unidirectional)
{
    struct session *s = user;
    if (stress.ending || !s->accepted)
        return;
    if (stress.scenario == RUN_WORK && !unidirectional)
        stress_open_work(s);
    if (stress.scenario == RUN_PUSH && unidirectional)
        stress_push(s);
}

static void datagram_received(void *user, const uint8_t *data, size_t len)
{
    (void)user, (void)data, (void)len;
    stress.received++;
}

static void is_everything_closed(void)
{
    if (!stress.ending || stress.closed < stress.sessions)
        return;
    printf("closed sent=%llu received=%llu\n", (unsigned long long)stress.sent,
           (unsigned long long)stress.received);
    uv_close((uv_handle_t *)&stress.check, NULL);
    host_close(&stress.host);
}

static void closed(void *user, const struct wt_end *end)
{
    struct session *s = user;
    s->wt = NULL;
    s->accepted = false;
    stress.closed++;
    stress_forget_streams(s);
    if (!stress.ending) {
        if (stress.in_round)
            host_fail("a session ended that should not have");
        printf("lost code=%u\n", end->code.value);
    }
    is_everything_closed();
}

static const struct wt_ops ops = {
    .responded = responded,
    .stream_opened = stream_opened,
    .stream_received = stream_received,
    .stream_reset = stream_reset,
    .stream_stopped = stream_stopped,
    .stream_acked = stream_acked,
    .streams_available = streams_available,
    .datagram_received = datagram_received,
    .datagram_max_changed = host_ignore_datagram_max,
    .draining = host_ignore_drain,
    .closed = closed,
};

/* --- what the test says --- */

static void end(void)
{
    stress.ending = true;
    uv_close((uv_handle_t *)&stress.input, NULL);
    stress_give_up_pushing();
    for (uint64_t i = 0; i < stress.sessions; i++)
        if (stress.all[i].wt)
            wt_close(stress.all[i].wt, 0, "", 0);
    is_everything_closed();
}

static void obey(const char *line)
{
    if (strcmp(line, "down") == 0 || strcmp(line, "up") == 0)
        stress_begin_round(line[0] == 'u' ? ROUND_UP : ROUND_DOWN);
    else if (strcmp(line, "echo") == 0)
        stress_begin_round(ROUND_ECHO);
    else if (strcmp(line, "stick") == 0 || strcmp(line, "stick-up") == 0)
        stress_stick(line[5] != '\0');
    else if (strcmp(line, "unstick") == 0)
        stress_unstick();
    else if (strcmp(line, "close") == 0)
        stress_ask_for_close();
    else if (strcmp(line, "end") == 0)
        end();
    else
        host_fail("down, up, echo, stick, stick-up, unstick, close or end is expected");
}

static void got_input(uv_poll_t *poll, int status, int events)
{
    (void)poll, (void)status, (void)events;
    ssize_t n = read(0, stress.line + stress.line_len, sizeof(stress.line) - stress.line_len);
    if (n <= 0)
        host_fail("standard input ended");
    stress.line_len += (size_t)n;
    char *eol;
    while ((eol = memchr(stress.line, '\n', stress.line_len))) {
        *eol = '\0';
        obey(stress.line);
        stress.line_len -= (size_t)(eol + 1 - stress.line);
        memmove(stress.line, eol + 1, stress.line_len);
    }
}

/* --- the program --- */

static void set(const char *argument)
{
    const struct host_setting settings[] = {
        {"sessions=", &stress.sessions, 0}, {"streams=", &stress.streams, 0},
        {"bytes=", &stress.bytes, 0},       {"kind=", &stress.kind, 0},
        {"size=", &stress.size, 0},         {"stuck=", &stress.stuck, 0},
        {"after=", &stress.after, 0}};
    host_set(settings, sizeof(settings) / sizeof(settings[0]), argument);
}

static enum scenario scenario_of(const char *name)
{
    for (int i = 0; i < RUNS; i++)
        if (strcmp(names[i], name) == 0)
            return (enum scenario)i;
    host_fail("the scenarios are work, noread, push, streams, datagrams, listen and hoard");
}

static void open_host(const struct packet_address *to)
{
    struct host_config config = {
        .family = to->sa.any.sa_family,
        .kernel_buffer = 4 << 20,
        .log_level = getenv("CLIENT_LOG") ? LOG_DEBUG : LOG_OFF,
        .wt = {.connection_window = 4 << 20,
               .stream_window = 1 << 20,
               .max_streams_bidi = 1000,
               .max_streams_uni = 1000,
               .stream_send_limit = 1 << 20,
               .datagram_queue = 1024,
               .max_header_bytes = 16 << 10,
               .idle_timeout_ns = 60 * NS_PER_S,
               .keep_alive_ns = 10 * NS_PER_S,
               .handshake_timeout_ns = 60 * NS_PER_S,
               .settings_timeout_ns = 60 * NS_PER_S,
               .close_timeout_ns = 30 * NS_PER_S},
    };
    host_open(&stress.host, &config, &ops, NULL);
    uv_poll_init(&stress.host.loop, &stress.input, 0);
    uv_poll_start(&stress.input, UV_READABLE, got_input);
    uv_check_init(&stress.host.loop, &stress.check);
    uv_check_start(&stress.check, stress_after_poll);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 4)
        host_fail("usage: stress HOST:PORT PATH SCENARIO [NAME=NUMBER ...]");
    struct packet_address to = host_parse_address(argv[1]);
    stress.scenario = scenario_of(argv[3]);
    for (int i = 4; i < argc; i++)
        set(argv[i]);
    if (stress.sessions * stress.streams == 0 || stress.size > 1100)
        host_fail("at least one session and one stream, and datagrams of at most 1100 bytes");
    stress_init();
    stress.all = calloc(stress.sessions, sizeof(*stress.all));
    if (!stress.all)
        abort();
    open_host(&to);
    for (uint64_t i = 0; i < stress.sessions; i++) {
        struct session *s = &stress.all[i];
        s->wt = wt_connect(stress.host.wt, &to.sa.any, to.len, argv[1], argv[2], NULL, 0, s);
        if (!s->wt)
            host_fail("cannot connect");
    }
    host_run(&stress.host);
    free(stress.all);
    return host_fini(&stress.host) ? 0 : 1;
}
