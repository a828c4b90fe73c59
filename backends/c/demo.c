/*
 * demo.c - sluice-demo, the application behind the demo page and the browser tests: it echoes, and
 * does on request whatever else an application can do. Owns its streams' roles. Calls sluice_app.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "demo_scope.h"
#include "sluice_app.h"

static const char help[] =
    "Usage: sluice-demo --bind ADDRESS [--verbose]\n"
    "\n"
    "The demo application for Sluice. Listens on ADDRESS, which is unix:PATH or tcp:HOST:PORT,\n"
    "and answers the WebTransport sessions that Sluice brings.\n"
    "\n"
    "In every session:\n"
    "  a bidirectional stream of the client   the same bytes come back, the end too\n"
    "  a unidirectional stream of the client  the same bytes come back on a new stream\n"
    "  a datagram                             comes back\n"
    "  a stream reset or stopped with a code  is answered with the same code\n"
    "\n"
    "A unidirectional stream of the client whose whole content is one of these is a command:\n"
    "  !open bidi N [BYTES]  open N bidirectional streams; a greeting (or BYTES bytes of the\n"
    "                        pattern), and then what the client says comes back\n"
    "  !open uni N [BYTES]   open N unidirectional streams; a greeting (or BYTES bytes), the end\n"
    "  !send BYTES           open a unidirectional stream with BYTES bytes of the pattern\n"
    "  !reset CODE           open a unidirectional stream and reset it once the client has read\n"
    "                        some of it\n"
    "  !stop CODE            open a bidirectional stream with a greeting; stop its other "
    "direction\n"
    "                        once the client has said something on it\n"
    "  !datagrams N SIZE     send N datagrams of SIZE bytes, numbered in the first 4 (big-endian)\n"
    "  !drain                ask the client to finish\n"
    "  !close CODE [REASON]  close the session\n"
    "  !abort                end the session uncleanly\n"
    "The pattern: the byte at offset k is k modulo 251.\n"
    "\n"
    "Paths (all others: just as above):\n"
    "  /reject?status=403           refuses the session with this HTTP status (default 403)\n"
    "  /close?code=7&reason=bye     accepts it and closes it at once, in one go\n"
    "  /greet-close?code=7&reason=bye  accepts, sends a greeting, closes once it has arrived\n"
    "  /headers?status=201          accepts with this status and with headers of its own, among\n"
    "                               them two set-cookie\n"
    "  /protocol?name=chat          accepts with this subprotocol\n"
    "  /scope                       sends the whole scope as JSON on a unidirectional stream\n"
    "  /silent                      never answers\n"
    "  /crash                       accepts, then drops the connection; ?when=before: before that\n"
    "\n"
    "  --bind ADDRESS  where to listen\n"
    "  --verbose       a line for each session on standard error\n"
    "  --help          this text\n";

static const char greeting[] = "Hello from the application.\n";

enum {
    PATTERN_PERIOD = 251,
    PATTERN_CHUNK = 1 << 16,
    COMMAND_MAX = 1024,
    OPEN_MAX_STREAMS = 10000
};

static uint8_t pattern[PATTERN_CHUNK + PATTERN_PERIOD];
static bool verbose;

/* What a stream is here for. */
enum role {
    ECHO,      /* bytes go back where they came from */
    UNDECIDED, /* a client's unidirectional stream that may be a command */
    QUESTION,  /* a client's unidirectional stream, answered on peer */
    ANSWER,    /* the stream it is answered on; peer is the question */
    SPEAKER,   /* has its own bytes to send, then it ends */
    GREETER,   /* has its own bytes to send, then it echoes */
    BREAKER,   /* sends until it has to wait, then resets */
    STOPPER,   /* greets, and stops whoever answers */
};

struct part {
    enum role role;
    struct sluice_stream *peer; /* NULL once it has closed */
    uint64_t at, size;          /* of our own bytes: where we are, how many there are */
    bool is_greeting;           /* our own bytes are the greeting, not the pattern */
    uint32_t code;
    char *text; /* collected so far, COMMAND_MAX bytes */
    size_t text_len;
};

static struct part *cast(struct sluice_stream *st, enum role role)
{
    struct part *p = calloc(1, sizeof(*p));
    if (!p)
        abort();
    p->role = role;
    sluice_stream_set_user(st, p);
    return p;
}

/* --- sending our own bytes --- */

/* Sends as much as fits. Returns true when all has been taken. */
static bool speak(struct sluice_stream *st, struct part *p)
{
    while (p->at < p->size) {
        uint64_t left = p->size - p->at;
        size_t len = left < PATTERN_CHUNK ? (size_t)left : PATTERN_CHUNK;
        const void *from =
            p->is_greeting ? (const void *)(greeting + p->at) : pattern + p->at % PATTERN_PERIOD;
        size_t taken = sluice_stream_send(st, from, len, p->role == SPEAKER && len == left);
        p->at += taken;
        if (taken < len)
            return false;
    }
    return true;
}

/* Opens a stream with size bytes of the pattern, or with the greeting if size is GREET. */
#define GREET UINT64_MAX
static void open_stream(struct sluice_session *s, enum role role, uint64_t size, uint32_t code)
{
    struct sluice_stream *st = sluice_stream_open(s, role == SPEAKER || role == BREAKER);
    if (!st)
        return;
    struct part *p = cast(st, role);
    p->is_greeting = size == GREET;
    p->size = size == GREET ? sizeof(greeting) - 1 : size;
    p->code = code;
    bool done = speak(st, p);
    if (role == SPEAKER && size == 0)
        sluice_stream_send(st, NULL, 0, true);
    if (role == GREETER && done)
        p->role = ECHO;
}

static void send_datagrams(struct sluice_session *s, uint64_t count, uint64_t size)
{
    uint8_t data[65536];
    if (size > sizeof(data))
        return;
    memcpy(data, pattern, size < PATTERN_CHUNK ? size : PATTERN_CHUNK);
    for (uint64_t i = 0; i < count && i < 100000; i++) {
        uint8_t number[4] = {(uint8_t)(i >> 24), (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        memcpy(data, number, size < 4 ? size : 4);
        sluice_datagram_send(s, data, size);
    }
}

/* --- commands --- */

static bool run_open(struct sluice_session *s, const char *text)
{
    char kind[8];
    uint64_t count, size = GREET;
    if (sscanf(text, "!open %7s %" SCNu64 " %" SCNu64, kind, &count, &size) < 2)
        return false;
    bool bidi = strcmp(kind, "bidi") == 0;
    if (!bidi && strcmp(kind, "uni") != 0)
        return false;
    for (uint64_t i = 0; i < count && i < OPEN_MAX_STREAMS; i++)
        open_stream(s, bidi ? GREETER : SPEAKER, size, 0);
    return true;
}

static bool run_close(struct sluice_session *s, const char *text)
{
    uint32_t code;
    int reason = 0;
    if (sscanf(text, "!close %" SCNu32 " %n", &code, &reason) != 1)
        return false;
    sluice_close(s, code, reason ? text + reason : "");
    return true;
}

/* Returns false if it is no command: then it is just bytes. */
static bool run_command(struct sluice_session *s, const char *text)
{
    uint64_t number, size;
    uint32_t code;
    if (strncmp(text, "!open ", 6) == 0)
        return run_open(s, text);
    if (strncmp(text, "!close ", 7) == 0)
        return run_close(s, text);
    if (sscanf(text, "!send %" SCNu64, &number) == 1)
        open_stream(s, SPEAKER, number, 0);
    else if (sscanf(text, "!reset %" SCNu32, &code) == 1)
        open_stream(s, BREAKER, GREET - 1, code);
    else if (sscanf(text, "!stop %" SCNu32, &code) == 1) {
        struct sluice_stream *st = sluice_stream_open(s, false);
        /* Our own direction stays open: when both end at once, Chromium may lose the code. */
        cast(st, STOPPER)->code = code;
        sluice_stream_send(st, greeting, sizeof(greeting) - 1, false);
    } else if (sscanf(text, "!datagrams %" SCNu64 " %" SCNu64, &number, &size) == 2)
        send_datagrams(s, number, size);
    else if (strcmp(text, "!drain") == 0)
        sluice_drain(s);
    else if (strcmp(text, "!abort") == 0)
        sluice_abort(s);
    else
        return false;
    return true;
}

/* --- streams --- */

static void on_stream_opened(struct sluice_stream *st)
{
    cast(st, sluice_stream_is_unidirectional(st) ? UNDECIDED : ECHO);
}

/* The client's stream is no command: from now on its bytes go to a stream of ours. */
static void begin_answer(struct sluice_stream *st, struct part *p)
{
    p->role = QUESTION;
    p->peer = sluice_stream_open(sluice_stream_session(st), true);
    cast(p->peer, ANSWER)->peer = st;
    if (p->text_len > 0) /* fits: the new stream's queue is empty */
        sluice_stream_send(p->peer, p->text, p->text_len, false);
}

static size_t answer(struct part *p, const uint8_t *data, size_t len, bool ended)
{
    return p->peer ? sluice_stream_send(p->peer, data, len, ended) : len;
}

static size_t decide(struct sluice_stream *st, struct part *p, const uint8_t *data, size_t len,
                     bool ended)
{
    char first = p->text_len > 0 ? p->text[0] : len > 0 ? (char)data[0] : '\0';
    if (first != '!' || p->text_len + len >= COMMAND_MAX) {
        begin_answer(st, p);
        return answer(p, data, len, ended);
    }
    if (!p->text)
        p->text = malloc(COMMAND_MAX);
    if (!p->text)
        abort();
    memcpy(p->text + p->text_len, data, len);
    p->text_len += len;
    p->text[p->text_len] = '\0';
    if (ended && !run_command(sluice_stream_session(st), p->text)) {
        begin_answer(st, p);
        answer(p, NULL, 0, true);
    }
    return len;
}

static size_t on_stream_data(struct sluice_stream *st, const uint8_t *data, size_t len, bool ended)
{
    struct part *p = sluice_stream_user(st);
    switch (p->role) {
    case ECHO:
        return sluice_stream_send(st, data, len, ended);
    case UNDECIDED:
        return decide(st, p, data, len, ended);
    case QUESTION:
        return answer(p, data, len, ended);
    case GREETER: /* our own bytes come first */
        return 0;
    case STOPPER:
        sluice_stream_stop(st, p->code);
        return len;
    default:
        return len;
    }
}

static void on_stream_writable(struct sluice_stream *st)
{
    struct part *p = sluice_stream_user(st);
    switch (p->role) {
    case ECHO:
        sluice_stream_resume(st);
        break;
    case ANSWER:
        if (p->peer)
            sluice_stream_resume(p->peer);
        break;
    case BREAKER:
        sluice_stream_reset(st, p->code);
        break;
    default:
        if (speak(st, p) && p->role == GREETER) {
            p->role = ECHO;
            sluice_stream_resume(st);
        }
    }
}

static uint32_t same_code(int64_t code)
{
    return code == SLUICE_NO_CODE ? 0 : (uint32_t)code;
}

static void on_stream_reset(struct sluice_stream *st, int64_t code)
{
    struct part *p = sluice_stream_user(st);
    if (p->role == QUESTION && p->peer)
        sluice_stream_reset(p->peer, same_code(code));
    else
        sluice_stream_reset(st, same_code(code));
}

static void on_stream_stopped(struct sluice_stream *st, int64_t code)
{
    struct part *p = sluice_stream_user(st);
    if (p->role == ANSWER && p->peer)
        sluice_stream_stop(p->peer, same_code(code));
    else
        sluice_stream_stop(st, same_code(code));
}

static void on_stream_closed(struct sluice_stream *st)
{
    struct part *p = sluice_stream_user(st);
    if (!p)
        return;
    if (p->peer)
        ((struct part *)sluice_stream_user(p->peer))->peer = NULL;
    free(p->text);
    free(p);
}

/* --- sessions --- */

static void on_datagram(struct sluice_session *s, const uint8_t *data, size_t len)
{
    sluice_datagram_send(s, data, len);
}

static void end_as_asked(struct sluice_session *s, const struct message_scope *scope,
                         void (*end)(struct sluice_session *s, uint32_t code, const char *reason))
{
    char reason[MESSAGE_REASON_MAX + 1] = "";
    demo_query_value(scope, "reason", reason, sizeof(reason));
    end(s, demo_query_number(scope, "code", 0), reason);
}

static struct message_bytes bytes_of(const char *text)
{
    return (struct message_bytes){(const uint8_t *)text, strlen(text)};
}

static void accept_with_headers(struct sluice_session *s, const struct message_scope *scope)
{
    const struct message_header headers[] = {
        {bytes_of("x-demo"), bytes_of("first")},
        {bytes_of("set-cookie"), bytes_of("one=1; Path=/")},
        {bytes_of("set-cookie"), bytes_of("two=2; Path=/; Secure")},
        {bytes_of("x-demo"), bytes_of("second")},
    };
    sluice_accept(s, &(struct sluice_acceptance){demo_query_number(scope, "status", 200), headers,
                                                 sizeof(headers) / sizeof(headers[0]), NULL});
}

static void reject_as_asked(struct sluice_session *s, const struct message_scope *scope)
{
    static const char body[] = "Rejected by the demo application, as the path asked.\n";
    const struct message_header type = {bytes_of("content-type"), bytes_of("text/plain")};
    unsigned status = demo_query_number(scope, "status", 403);
    if (status < 300 || status > 599)
        status = 403;
    sluice_reject(s, status, &type, 1, body, sizeof(body) - 1);
}

static void say(struct sluice_session *s, const void *text, size_t len)
{
    struct sluice_stream *st = sluice_stream_open(s, true);
    cast(st, SPEAKER);
    if (sluice_stream_send(st, text, len, true) < len)
        sluice_stream_reset(st, 1); /* cannot be: a new stream's queue holds more than a scope */
}

static void send_scope(struct sluice_session *s, const struct message_scope *scope)
{
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        abort();
    demo_scope_json(f, scope);
    fclose(f);
    sluice_accept(s, NULL);
    say(s, text, len);
    free(text);
}

static bool is_path(const struct message_scope *scope, const char *path)
{
    return scope->path.len == strlen(path) && memcmp(scope->path.at, path, scope->path.len) == 0;
}

static void crash(struct sluice_session *s, const struct message_scope *scope)
{
    char when[8] = "";
    demo_query_value(scope, "when", when, sizeof(when));
    if (strcmp(when, "before") != 0)
        sluice_accept(s, NULL);
    sluice_hang_up(s);
}

static void accept_protocol(struct sluice_session *s, const struct message_scope *scope)
{
    char name[256] = "";
    demo_query_value(scope, "name", name, sizeof(name));
    sluice_accept(s, &(struct sluice_acceptance){.subprotocol = name});
}

static void on_session(struct sluice_session *s, const struct message_scope *scope)
{
    if (verbose)
        fprintf(stderr, "session %.*s: %.*s\n", (int)scope->session.len, scope->session.at,
                (int)scope->path.len, scope->path.at);
    if (is_path(scope, "/reject"))
        reject_as_asked(s, scope);
    else if (is_path(scope, "/close")) {
        sluice_accept(s, NULL);
        end_as_asked(s, scope, sluice_close);
    } else if (is_path(scope, "/greet-close")) {
        sluice_accept(s, NULL);
        say(s, greeting, sizeof(greeting) - 1);
        end_as_asked(s, scope, sluice_finish);
    } else if (is_path(scope, "/headers"))
        accept_with_headers(s, scope);
    else if (is_path(scope, "/protocol"))
        accept_protocol(s, scope);
    else if (is_path(scope, "/scope"))
        send_scope(s, scope);
    else if (is_path(scope, "/crash"))
        crash(s, scope);
    else if (!is_path(scope, "/silent"))
        sluice_accept(s, NULL);
}

static void on_problem(struct sluice_session *s, const char *text)
{
    (void)s;
    fprintf(stderr, "sluice-demo: Sluice says: %s\n", text);
}

static void on_disconnected(struct sluice_session *s, const struct sluice_end *end)
{
    static const char *const by[] = {"client", "app", "proxy", "network", "nobody"};
    (void)s;
    if (verbose)
        fprintf(stderr, "session over: code %" PRId64 ", reason \"%s\", %s, by %s\n", end->code,
                end->reason, end->clean ? "clean" : "not clean", by[end->by]);
}

/* --- the program --- */

static struct sluice_app *app;

static void on_signal(int number)
{
    (void)number;
    sluice_app_stop(app);
}

/* One connection per session: as many descriptors as we may have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static const char *parse_arguments(int argc, char **argv)
{
    const char *address = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            exit(0);
        }
        if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else if (strcmp(argv[i], "--bind") == 0 && argv[i + 1])
            address = argv[++i];
        else {
            fprintf(stderr, "sluice-demo: do not know what to do with %s; see --help\n", argv[i]);
            exit(2);
        }
    }
    if (!address) {
        fprintf(
            stderr,
            "sluice-demo: where to listen? --bind unix:PATH or --bind tcp:HOST:PORT; see --help\n");
        exit(2);
    }
    return address;
}

int main(int argc, char **argv)
{
    const struct sluice_events events = {
        .session = on_session,
        .stream_opened = on_stream_opened,
        .stream_data = on_stream_data,
        .stream_reset = on_stream_reset,
        .stream_stopped = on_stream_stopped,
        .stream_writable = on_stream_writable,
        .stream_closed = on_stream_closed,
        .datagram = on_datagram,
        .problem = on_problem,
        .disconnected = on_disconnected,
    };
    const char *address = parse_arguments(argc, argv);
    char error[512];
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i % PATTERN_PERIOD);
    raise_descriptor_limit();
    app = sluice_app_new(&events, NULL);
    if (!sluice_app_listen(app, address, error, sizeof(error))) {
        fprintf(stderr, "sluice-demo: %s\n", error);
        sluice_app_free(app);
        return 1;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("sluice-demo: listening on %s\n", sluice_app_address(app));
    fflush(stdout);
    sluice_app_run(app);
    sluice_app_free(app);
    return 0;
}
