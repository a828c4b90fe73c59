/*
 * load - makes work for a WebTransport server and measures how it fares. One run is one scenario:
 *
 *     load HOST:PORT SCENARIO [NAME=NUMBER ...]
 *
 *     echo       bytes go and come back on bidirectional streams (/echo)
 *     upload     bytes go (/sink)
 *     download   bytes come (/source)
 *     latency    one message at a time on one stream, there and back (/echo)
 *     datagrams  datagrams there and back, a window of them in flight (/echo)
 *     idle       sessions that do nothing, until standard input has a line
 *
 *     sessions=1     each on a connection of its own
 *     streams=1      in each session
 *     bytes=64M      in all, over all streams; K, M, G multiply
 *     size=64        of a message or datagram
 *     count=20000    of messages or datagrams
 *     flight=64      datagrams in flight
 *
 * Ends with one line of JSON. Every byte received is compared with what it should be; whatever is
 * not as it should be ends the program with exit code 1. Any certificate is trusted.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/timers.h"
#include "bench/pattern.h"
#include "support/host.h"

#define QUIET_NS (50 * NS_PER_MS) /* datagrams that are out for so long are lost */

enum scenario { RUN_ECHO, RUN_UPLOAD, RUN_DOWNLOAD, RUN_LATENCY, RUN_DATAGRAMS, RUN_IDLE, RUNS };

static const char *const names[RUNS] = {"echo",    "upload",    "download",
                                        "latency", "datagrams", "idle"};
static const char *const paths[RUNS] = {"/echo", "/sink", "/source", "/echo", "/echo", "/echo"};

struct session {
    struct wt_session *wt;
    bool accepted;
};

struct stream {
    struct wt_stream *wt;
    uint64_t to_send, sent, to_get, got;
    bool end_told, fin, all_acked;
};

static struct {
    struct host host;
    enum scenario scenario;
    uint64_t sessions, streams, bytes, size, count, flight;
    struct session *all;
    struct stream *of_streams;
    size_t accepted, closed, opened, over;
    uint64_t begun_ns, ended_ns;
    bool is_over;
    /* latency and datagrams */
    uint64_t *times_ns, asked_ns, round, sent, received, lost, next_number;
    struct timer quiet;
    uv_poll_t input;
} load = {.sessions = 1, .streams = 1, .bytes = 64 << 20, .size = 64, .count = 20000, .flight = 64};

/* --- the end --- */

static double seconds(void)
{
    return (double)(load.ended_ns - load.begun_ns) / 1e9;
}

static void begin(void)
{
    load.begun_ns = host_now_ns();
}

static void finish(void)
{
    if (load.is_over)
        return;
    load.is_over = true;
    load.ended_ns = host_now_ns();
    timer_stop(load.host.env.timers, &load.quiet);
    for (size_t i = 0; i < load.sessions; i++)
        if (load.all[i].wt)
            wt_close(load.all[i].wt, 0, "", 0);
}

/* --- bytes on streams --- */

static void send_more(struct stream *st)
{
    while (st->sent < st->to_send) {
        size_t len = pattern_len(st->to_send - st->sent);
        size_t n = wt_stream_write(st->wt, pattern_at(st->sent), len);
        st->sent += n;
        if (n < len)
            return;
    }
    if (!st->end_told && load.scenario != RUN_LATENCY) {
        st->end_told = true;
        wt_stream_end(st->wt);
    }
}

static void ask(struct stream *st)
{
    uint8_t wish[8];
    pattern_ask(wish, st->to_get);
    st->sent = st->to_send = 0;
    if (wt_stream_write(st->wt, wish, sizeof(wish)) != sizeof(wish))
        host_fail("a fresh stream took no bytes");
}

static void open_streams(struct session *s)
{
    uint64_t each = load.bytes / (load.sessions * load.streams);
    for (uint64_t i = 0; i < load.streams; i++) {
        struct stream *st = &load.of_streams[load.opened++];
        st->wt = wt_stream_open(s->wt, false, st);
        if (!st->wt)
            host_fail("the server does not admit so many streams");
        st->to_send = load.scenario == RUN_DOWNLOAD ? 0 : each;
        st->to_get = load.scenario == RUN_UPLOAD ? 0 : each;
        if (load.scenario == RUN_DOWNLOAD)
            ask(st);
        send_more(st);
    }
}

static void stream_is_over(struct stream *st)
{
    if (!st->fin || !st->all_acked || !st->wt)
        return;
    wt_stream_release(st->wt);
    st->wt = NULL;
    if (++load.over == load.sessions * load.streams)
        finish();
}

/* --- one message at a time --- */

static void say(struct stream *st)
{
    load.asked_ns = host_now_ns();
    if (wt_stream_write(st->wt, pattern_at(st->sent), load.size) != load.size)
        host_fail("a message did not fit");
    st->sent += load.size;
    st->to_get = st->sent;
}

static void heard(struct stream *st)
{
    if (st->got < st->to_get)
        return;
    load.times_ns[load.round++] = host_now_ns() - load.asked_ns;
    if (load.round == load.count)
        finish();
    else
        say(st);
}

/* --- datagrams --- */

static uint64_t in_flight(void)
{
    return load.sent - load.received - load.lost;
}

static void send_datagrams(void)
{
    uint8_t data[2048];
    while (!load.is_over && in_flight() < load.flight && load.sent < load.count) {
        memcpy(data, pattern, load.size);
        pattern_ask(data, load.sent);
        if (!wt_datagram_send(load.all[0].wt, data, load.size))
            host_fail("a datagram is too large");
        load.sent++;
    }
    if (load.received + load.lost == load.count)
        finish();
}

static void watch_quiet(void)
{
    struct timers *timers = load.host.env.timers;
    if (!load.is_over)
        timer_set(timers, &load.quiet, timers_now(timers) + QUIET_NS);
}

static void it_is_quiet(void *owner)
{
    (void)owner;
    load.lost += in_flight();
    load.next_number = load.sent;
    send_datagrams();
    watch_quiet();
}

static void datagram_received(void *user, const uint8_t *data, size_t len)
{
    (void)user;
    if (load.scenario != RUN_DATAGRAMS || len != load.size || load.is_over)
        return;
    uint64_t number = pattern_size(data);
    if (number >= load.sent || memcmp(data + 8, pattern + 8, len - 8) != 0)
        host_fail("a datagram is not what was sent");
    if (number < load.next_number)
        return; /* given up for lost */
    load.lost += number - load.next_number;
    load.next_number = number + 1;
    load.received++;
    send_datagrams();
    watch_quiet();
}

/* --- sessions --- */

static void start(void)
{
    begin();
    if (load.scenario == RUN_IDLE) {
        printf("ready\n");
    } else if (load.scenario == RUN_DATAGRAMS) {
        send_datagrams();
        watch_quiet();
    } else {
        for (size_t i = 0; i < load.sessions; i++)
            open_streams(&load.all[i]);
        if (load.scenario == RUN_LATENCY)
            say(&load.of_streams[0]);
    }
}

static void responded(void *user, unsigned status, const struct header *headers, size_t count)
{
    struct session *s = user;
    (void)headers, (void)count;
    if (status != 200)
        host_fail("the server does not accept the session");
    s->accepted = true;
    if (++load.accepted == load.sessions)
        start();
}

static void closed(void *user, const struct wt_end *end)
{
    struct session *s = user;
    (void)end;
    if (!load.is_over)
        host_fail("a session ended that should not have");
    s->wt = NULL;
    if (++load.closed == load.sessions)
        host_close(&load.host);
}

static void stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin)
{
    struct stream *st = stream_user;
    wt_stream_consumed(st->wt, len);
    if (load.is_over)
        return;
    if (st->got + len > st->to_get)
        host_fail("more came than was asked for");
    for (size_t at = 0; at < len;) {
        size_t n = pattern_len(len - at);
        if (memcmp(data + at, pattern_at(st->got), n) != 0)
            host_fail("what came is not what was sent");
        at += n;
        st->got += n;
    }
    if (fin && st->got < st->to_get)
        host_fail("a stream was cut");
    st->fin |= fin;
    if (load.scenario == RUN_LATENCY)
        heard(st);
    else
        stream_is_over(st);
}

static void stream_acked(void *stream_user, size_t len, bool all)
{
    struct stream *st = stream_user;
    (void)len;
    st->all_acked |= all;
    if (load.is_over || load.scenario == RUN_LATENCY)
        return;
    send_more(st);
    stream_is_over(st);
}

static void stream_code(void *stream_user, struct wt_code code)
{
    (void)stream_user, (void)code;
    host_fail("a stream was reset or stopped");
}

static void stream_opened(void *user, struct wt_stream *st, bool unidirectional)
{
    (void)user, (void)st, (void)unidirectional;
    host_fail("the server opened a stream");
}

static const struct wt_ops ops = {
    .responded = responded,
    .stream_opened = stream_opened,
    .stream_received = stream_received,
    .stream_reset = stream_code,
    .stream_stopped = stream_code,
    .stream_acked = stream_acked,
    .streams_available = host_ignore_streams,
    .datagram_received = datagram_received,
    .datagram_max_changed = host_ignore_datagram_max,
    .draining = host_ignore_drain,
    .closed = closed,
};

/* --- the program --- */

static void set(const char *argument)
{
    const struct host_setting settings[] = {
        {"sessions=", &load.sessions, 1}, {"streams=", &load.streams, 1},
        {"bytes=", &load.bytes, 1},       {"size=", &load.size, 1},
        {"count=", &load.count, 1},       {"flight=", &load.flight, 1}};
    host_set(settings, sizeof(settings) / sizeof(settings[0]), argument);
}

static enum scenario scenario_of(const char *name)
{
    for (int i = 0; i < RUNS; i++)
        if (strcmp(names[i], name) == 0)
            return (enum scenario)i;
    host_fail("the scenarios are echo, upload, download, latency, datagrams and idle");
}

static void got_line(uv_poll_t *poll, int status, int events)
{
    char ignored[64];
    (void)status, (void)events;
    if (read(0, ignored, sizeof(ignored)) < 0)
        host_fail("standard input cannot be read");
    uv_close((uv_handle_t *)poll, NULL);
    finish();
}

static void prepare(void)
{
    if (load.size > 1100 || load.size < 8)
        host_fail("size is 8 to 1100");
    if (load.scenario == RUN_LATENCY) {
        load.streams = load.sessions = 1;
        load.bytes = 0;
    }
    if (load.scenario == RUN_DATAGRAMS || load.scenario == RUN_IDLE)
        load.streams = 0;
    pattern_init();
    load.all = calloc(load.sessions, sizeof(*load.all));
    load.of_streams = calloc(load.sessions * load.streams + 1, sizeof(*load.of_streams));
    load.times_ns = calloc(load.count, sizeof(*load.times_ns));
    if (!load.all || !load.of_streams || !load.times_ns)
        abort();
}

static void open_host(const struct packet_address *to)
{
    struct host_config config = {
        .family = to->sa.any.sa_family,
        .kernel_buffer = 4 << 20,
        .log_level = LOG_OFF,
        .wt = {.connection_window = 16 << 20,
               .stream_window = 4 << 20,
               .max_streams_bidi = 100,
               .max_streams_uni = 100,
               .stream_send_limit = 4 << 20,
               .datagram_queue = 1024,
               .max_header_bytes = 16 << 10,
               .idle_timeout_ns = 60 * NS_PER_S,
               .keep_alive_ns = 10 * NS_PER_S,
               .handshake_timeout_ns = 60 * NS_PER_S,
               .settings_timeout_ns = 60 * NS_PER_S,
               .close_timeout_ns = 30 * NS_PER_S},
    };
    host_open(&load.host, &config, &ops, NULL);
    timer_init(&load.quiet, it_is_quiet, NULL);
    if (load.scenario == RUN_IDLE) {
        uv_poll_init(&load.host.loop, &load.input, 0);
        uv_poll_start(&load.input, UV_READABLE, got_line);
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void report(void)
{
    printf("{\"scenario\": \"%s\", \"seconds\": %.4f", names[load.scenario], seconds());
    if (load.scenario <= RUN_DOWNLOAD) {
        uint64_t each = load.bytes / (load.sessions * load.streams);
        uint64_t bytes = each * load.sessions * load.streams;
        printf(", \"bytes\": %llu, \"mb_per_s\": %.2f", (unsigned long long)bytes,
               (double)bytes / 1e6 / seconds());
    } else if (load.scenario == RUN_LATENCY) {
        qsort(load.times_ns, load.count, sizeof(*load.times_ns), by_value);
        printf(", \"count\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f",
               (unsigned long long)load.count, (double)load.times_ns[load.count / 2] / 1e3,
               (double)load.times_ns[load.count * 99 / 100] / 1e3);
    } else if (load.scenario == RUN_DATAGRAMS) {
        printf(", \"count\": %llu, \"bytes\": %llu, \"per_s\": %.0f, \"loss\": %.5f",
               (unsigned long long)load.count, (unsigned long long)(load.received * load.size),
               (double)load.received / seconds(), (double)load.lost / (double)load.count);
    }
    printf("}\n");
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3)
        host_fail("usage: load HOST:PORT SCENARIO [NAME=NUMBER ...]");
    struct packet_address to = host_parse_address(argv[1]);
    load.scenario = scenario_of(argv[2]);
    for (int i = 3; i < argc; i++)
        set(argv[i]);
    prepare();
    open_host(&to);
    for (size_t i = 0; i < load.sessions; i++) {
        struct session *s = &load.all[i];
        s->wt =
            wt_connect(load.host.wt, &to.sa.any, to.len, argv[1], paths[load.scenario], NULL, 0, s);
        if (!s->wt)
            host_fail("cannot connect");
    }
    host_run(&load.host);
    report();
    return host_fini(&load.host) ? 0 : 1;
}
