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
#include "bench/pattern.h"
#include "support/host.h"

#define ASK       8 /* bytes */
#define ASK_EVER  (UINT64_MAX - 1)
#define ASK_STUCK UINT64_MAX
#define ASK_CLOSE (UINT64_MAX - 2)
#define HOARD     (32 << 10)
#define BURST     256

enum scenario {
    RUN_WORK,
    RUN_NOREAD,
    RUN_PUSH,
    RUN_STREAMS,
    RUN_DATAGRAMS,
    RUN_LISTEN,
    RUN_HOARD,
    RUNS
};

static const char *const names[RUNS] = {"work",      "noread", "push", "streams",
                                        "datagrams", "listen", "hoard"};

enum kind { KIND_FIN, KIND_RESET, KIND_RESET_BIDI, KIND_OPEN };

struct session {
    struct wt_session *wt;
    bool accepted;
    uint64_t to_open; /* streams of this round, or of push */
};

enum role { ROLE_WORK, ROLE_STUCK, ROLE_PUSH, ROLE_FLOOD, ROLE_HOARD, ROLE_SERVERS };

struct stream {
    struct wt_stream *wt;
    struct session *session;
    LIST_ENTRY(stream) entry;
    enum role role;
    uint64_t to_send, sent, to_get, got;
    uint8_t ask[ASK];
    bool end_told, fin, all_acked;
};

static struct {
    struct host host;
    enum scenario scenario;
    uint64_t sessions, streams, bytes, kind, size, stuck, after;
    struct session *all;
    LIST_HEAD(, stream) alive;
    size_t accepted, closed;
    bool ending;
    uv_poll_t input;
    uv_check_t check;
    char line[64];
    size_t line_len;
    /* work */
    bool is_up, in_round;
    uint64_t begun_ns, to_do, each;
    uint64_t sticking;
    /* the others */
    uint64_t sent, received;
    bool deaf;
    struct stream *hoarded;
} stress = {.sessions = 1, .streams = 1, .bytes = 16 << 20, .size = 1000, .stuck = 1};

/* --- sending --- */

static const uint8_t *bytes_at(const struct stream *st, uint64_t at, size_t *len)
{
    if (at < ASK && st->role != ROLE_PUSH) {
        *len = ASK - (size_t)at;
        return st->ask + at;
    }
    *len = pattern_len(st->to_send - at);
    return pattern_at(at);
}

static void send_more(struct stream *st)
{
    while (st->sent < st->to_send) {
        size_t len;
        const uint8_t *data = bytes_at(st, st->sent, &len);
        size_t n = wt_stream_write(st->wt, data, len);
        st->sent += n;
        stress.sent += n;
        if (n < len)
            return;
    }
    if (!st->end_told && st->role == ROLE_WORK) {
        st->end_told = true;
        wt_stream_end(st->wt);
    }
}

static struct stream *new_stream(struct session *s, struct wt_stream *wt, enum role role)
{
    struct stream *st = calloc(1, sizeof(*st));
    if (!st)
        abort();
    st->session = s;
    st->wt = wt;
    st->role = role;
    LIST_INSERT_HEAD(&stress.alive, st, entry);
    wt_stream_set_user(wt, st);
    return st;
}

/* NULL at the server's limit: streams_available comes. */
static struct stream *open_stream(struct session *s, bool unidirectional, enum role role)
{
    struct wt_stream *wt = wt_stream_open(s->wt, unidirectional, NULL);
    return wt ? new_stream(s, wt, role) : NULL;
}

static void forget_stream(struct stream *st)
{
    if (st->wt)
        wt_stream_release(st->wt);
    LIST_REMOVE(st, entry);
    free(st);
}

/* The session is over, or all of them. */
static void forget_streams(const struct session *s)
{
    struct stream *st, *next;
    for (st = LIST_FIRST(&stress.alive); st; st = next) {
        next = LIST_NEXT(st, entry);
        if (st->session != s)
            continue;
        st->wt = NULL;
        forget_stream(st);
    }
}

/* --- work --- */

static void open_work(struct session *s)
{
    struct stream *st;
    while (s->to_open > 0 && (st = open_stream(s, false, ROLE_WORK))) {
        s->to_open--;
        st->to_get = stress.is_up ? 0 : stress.each;
        st->to_send = ASK + (stress.is_up ? stress.each : 0);
        pattern_ask(st->ask, st->to_get);
        send_more(st);
    }
}

static void begin_round(bool is_up)
{
    if (stress.in_round)
        host_fail("a round goes on already");
    stress.in_round = true;
    stress.is_up = is_up;
    stress.to_do = stress.sessions * stress.streams;
    stress.each = stress.bytes / stress.to_do;
    stress.begun_ns = host_now_ns();
    for (uint64_t i = 0; i < stress.sessions; i++) {
        stress.all[i].to_open = stress.streams;
        open_work(&stress.all[i]);
    }
}

static void work_is_done(struct stream *st)
{
    if (!st->fin || !st->all_acked)
        return;
    if (st->got != st->to_get)
        host_fail("a stream was cut");
    forget_stream(st);
    if (--stress.to_do > 0)
        return;
    stress.in_round = false;
    printf("round bytes=%llu us=%llu\n",
           (unsigned long long)(stress.each * stress.sessions * stress.streams),
           (unsigned long long)((host_now_ns() - stress.begun_ns) / NS_PER_US));
}

static void got_work(struct stream *st, const uint8_t *data, size_t len)
{
    if (st->got + len > st->to_get)
        host_fail("more came than was asked for");
    for (size_t at = 0; at < len;) {
        size_t n = pattern_len(len - at);
        if (memcmp(data + at, pattern_at(st->got), n) != 0)
            host_fail("what came is not what was sent");
        at += n;
        st->got += n;
    }
}

/* --- stuck streams --- */

static void stick(bool is_up)
{
    for (uint64_t i = 0; i < stress.stuck; i++) {
        struct stream *st = open_stream(&stress.all[0], false, ROLE_STUCK);
        if (!st)
            host_fail("the server does not admit so many streams");
        st->to_send = is_up ? UINT64_MAX : ASK;
        pattern_ask(st->ask, is_up ? ASK_STUCK : ASK_EVER);
        send_more(st);
    }
    stress.sticking = stress.stuck;
    if (is_up)
        printf("stuck\n");
}

static void unstick(void)
{
    struct stream *st, *next;
    for (st = LIST_FIRST(&stress.alive); st; st = next) {
        next = LIST_NEXT(st, entry);
        if (st->role != ROLE_STUCK)
            continue;
        wt_stream_reset(st->wt, 7);
        wt_stream_stop(st->wt, 7);
        forget_stream(st);
    }
    printf("unstuck\n");
}

static void got_stuck(struct stream *st, size_t len)
{
    if (st->got == 0 && len > 0 && --stress.sticking == 0)
        printf("stuck\n");
    st->got += len;
}

static void ask_for_close(void)
{
    struct stream *st = open_stream(&stress.all[0], false, ROLE_STUCK);
    if (!st)
        host_fail("the server does not admit so many streams");
    st->to_send = ASK;
    pattern_ask(st->ask, ASK_CLOSE);
    send_more(st);
}

/* --- trouble --- */

static void push(struct session *s)
{
    struct stream *st;
    while (s->to_open > 0 && (st = open_stream(s, true, ROLE_PUSH))) {
        s->to_open--;
        st->to_send = UINT64_MAX;
        send_more(st);
    }
}

static bool flood_stream(struct session *s)
{
    bool uni = stress.kind < KIND_RESET_BIDI;
    struct stream *st = open_stream(s, uni, ROLE_FLOOD);
    if (!st)
        return false;
    stress.sent++;
    if (wt_stream_write(st->wt, pattern, 1) != 1)
        host_fail("a fresh stream took no bytes");
    if (stress.kind == KIND_FIN)
        wt_stream_end(st->wt);
    if (stress.kind != KIND_RESET && stress.kind != KIND_RESET_BIDI)
        return true;
    wt_stream_reset(st->wt, 1);
    if (!uni)
        wt_stream_stop(st->wt, 1);
    forget_stream(st);
    return true;
}

static void flood(struct session *s)
{
    for (int i = 0; i < BURST; i++) {
        if (stress.scenario == RUN_STREAMS && !flood_stream(s))
            return;
        if (stress.scenario != RUN_DATAGRAMS)
            continue;
        if (!wt_datagram_send(s->wt, pattern, stress.size))
            host_fail("a datagram is too large");
        stress.sent++;
    }
}

static void hoard(struct session *s)
{
    struct stream *st;
    while (s->to_open > 0 && (st = open_stream(s, false, ROLE_HOARD))) {
        s->to_open--;
        st->to_send = ASK;
        pattern_ask(st->ask, ASK_EVER);
        send_more(st);
        return;
    }
    if (s->to_open == 0)
        printf("hoarded\n");
}

static void hoard_more(struct stream *st, size_t len)
{
    bool enough = st->got >= HOARD;
    st->got += len;
    if (enough || st->got < HOARD)
        return;
    struct stream *before = stress.hoarded;
    if (before) {
        wt_stream_consumed(before->wt, before->got);
        wt_stream_stop(before->wt, 1);
    }
    stress.hoarded = st;
    hoard(st->session);
}

/* After every poll: what came has made room for more. */
static void after_poll(uv_check_t *check)
{
    (void)check;
    bool floods = stress.scenario == RUN_STREAMS || stress.scenario == RUN_DATAGRAMS;
    for (uint64_t i = 0; floods && !stress.ending && i < stress.sessions; i++)
        if (stress.all[i].accepted)
            flood(&stress.all[i]);
}

static void tell_stopped(void)
{
    if (stress.deaf && stress.accepted == stress.sessions)
        printf("stopped\n");
}

/* Whether it is taken. */
static bool reads(void)
{
    if (stress.scenario != RUN_NOREAD)
        return true;
    if (!stress.deaf && stress.received >= stress.after) {
        stress.deaf = true;
        tell_stopped();
    }
    return !stress.deaf;
}

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
        push(s);
    if (++stress.accepted < stress.sessions)
        return;
    printf("ready\n");
    tell_stopped();
    if (stress.scenario == RUN_HOARD)
        hoard(&stress.all[0]);
}

static void stream_opened(void *user, struct wt_stream *wt, bool unidirectional)
{
    struct stream *st = new_stream(user, wt, ROLE_SERVERS);
    st->all_acked = unidirectional; /* there is nothing to send */
}

static void stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin)
{
    struct stream *st = stream_user;
    stress.received += len;
    st->fin |= fin;
    if (st->role == ROLE_STUCK)
        got_stuck(st, len);
    if (st->role == ROLE_HOARD)
        hoard_more(st, len);
    if (st->role == ROLE_STUCK || st->role == ROLE_HOARD)
        return;
    if (!reads())
        return;
    wt_stream_consumed(st->wt, len);
    if (st->role == ROLE_WORK) {
        got_work(st, data, len);
        work_is_done(st);
    } else if (st->role == ROLE_SERVERS && fin && st->all_acked) {
        forget_stream(st);
    }
}

static void stream_reset(void *stream_user, struct wt_code code)
{
    struct stream *st = stream_user;
    (void)code;
    if (st->role == ROLE_WORK)
        host_fail("a stream was reset");
    if (st->role == ROLE_SERVERS && st->all_acked)
        forget_stream(st);
}

static void stream_stopped(void *stream_user, struct wt_code code)
{
    struct stream *st = stream_user;
    (void)code;
    if (st->role == ROLE_WORK)
        host_fail("a stream was stopped");
    if (st->role == ROLE_FLOOD && stress.kind == KIND_FIN)
        forget_stream(st);
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
            forget_stream(st);
        return;
    }
    send_more(st);
    if (st->role == ROLE_WORK)
        work_is_done(st);
}

static void streams_available(void *user, bool unidirectional)
{
    struct session *s = user;
    if (stress.ending || !s->accepted)
        return;
    if (stress.scenario == RUN_WORK && !unidirectional)
        open_work(s);
    if (stress.scenario == RUN_PUSH && unidirectional)
        push(s);
}

static void datagram_received(void *user, const uint8_t *data, size_t len)
{
    (void)user, (void)data, (void)len;
    stress.received++;
}

static void datagram_max_changed(void *user, size_t max)
{
    (void)user, (void)max;
}

static void draining(void *user)
{
    (void)user;
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
    forget_streams(s);
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
    .datagram_max_changed = datagram_max_changed,
    .draining = draining,
    .closed = closed,
};

/* --- what the test says --- */

/* A connection whose window is full has no room for the capsule that closes a session either. */
static void give_up_pushing(void)
{
    struct stream *st, *next;
    for (st = LIST_FIRST(&stress.alive); st; st = next) {
        next = LIST_NEXT(st, entry);
        if (st->role != ROLE_PUSH || !st->wt)
            continue;
        wt_stream_reset(st->wt, 7);
        forget_stream(st);
    }
}

static void end(void)
{
    stress.ending = true;
    uv_close((uv_handle_t *)&stress.input, NULL);
    give_up_pushing();
    for (uint64_t i = 0; i < stress.sessions; i++)
        if (stress.all[i].wt)
            wt_close(stress.all[i].wt, 0, "", 0);
    is_everything_closed();
}

static void obey(const char *line)
{
    if (strcmp(line, "down") == 0 || strcmp(line, "up") == 0)
        begin_round(line[0] == 'u');
    else if (strcmp(line, "stick") == 0 || strcmp(line, "stick-up") == 0)
        stick(line[5] != '\0');
    else if (strcmp(line, "unstick") == 0)
        unstick();
    else if (strcmp(line, "close") == 0)
        ask_for_close();
    else if (strcmp(line, "end") == 0)
        end();
    else
        host_fail("down, up, stick, stick-up, unstick, close or end is expected");
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

static uint64_t number(const char *text)
{
    char *unit;
    uint64_t n = strtoull(text, &unit, 10);
    int shift = *unit == 'K' ? 10 : *unit == 'M' ? 20 : *unit == 'G' ? 30 : 0;
    if (unit == text || (*unit && !shift))
        host_fail("a number is expected, perhaps with K, M or G");
    return n << shift;
}

static void set(const char *argument)
{
    struct {
        const char *name;
        uint64_t *to;
    } settings[] = {{"sessions=", &stress.sessions}, {"streams=", &stress.streams},
                    {"bytes=", &stress.bytes},       {"kind=", &stress.kind},
                    {"size=", &stress.size},         {"stuck=", &stress.stuck},
                    {"after=", &stress.after}};
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        size_t len = strlen(settings[i].name);
        if (strncmp(argument, settings[i].name, len) == 0) {
            *settings[i].to = number(argument + len);
            return;
        }
    }
    host_fail("sessions=, streams=, bytes=, kind=, size=, stuck= or after= is expected");
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
    uv_check_start(&stress.check, after_poll);
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
    pattern_init();
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
