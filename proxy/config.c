/*
 * config - the table of settings, and what is made from it: defaults, parser, --help.
 *
 * Owns nothing. To add a setting, add a field to struct config and a row here.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "base/timers.h"

enum kind {
    HEADING,  /* of a group, in --help */
    FLAG,     /* takes no argument, sets 1 */
    NUMBER,   /* min to max */
    AUTO,     /* the same, or "auto", which is 0 */
    SIZE,     /* bytes, or with K, M, G */
    MEMORY,   /* the same, or "auto", which is 0 */
    DURATION, /* with ms, s, m, h; stored in nanoseconds */
    LEVEL,    /* of the log */
    LISTEN,   /* HOST:PORT */
    ADMIN,    /* HOST:PORT or unix:PATH */
    APP,      /* unix:PATH or tcp:HOST:PORT */
    TEXT,     /* any, but not empty */
    INSTEAD,  /* --help, --version */
};

struct row {
    enum kind kind;
    const char *name;
    const char *argument;
    size_t offset;       /* in struct config; for INSTEAD an enum config_wish */
    const char *preset;  /* the default, in the words of the command line; NULL for none */
    uint64_t min, max;   /* of NUMBER, AUTO and SIZE as they are, of DURATION in nanoseconds */
    const char *meaning; /* lines of --help are broken where they must */
};

#define AT(field) offsetof(struct config, field)
#define KIB       UINT64_C(1024)
#define MIB       (1024 * KIB)
#define GIB       (1024 * MIB)
#define HOUR      (3600 * NS_PER_S)
#define MS        NS_PER_MS

static const struct row rows[] = {
    {HEADING, NULL, NULL, 0, NULL, 0, 0, "What to serve"},
    {LISTEN, "listen", "HOST:PORT", AT(listen), ":4433", 0, 0,
     "The UDP address for clients. Without a host it is every address of this machine, IPv6 and "
     "IPv4; port 0 takes a free port, which the log tells."},
    {TEXT, "cert", "FILE|auto", AT(cert), NULL, 0, 0,
     "The certificate chain, as PEM. 'auto' makes a certificate for localhost that is good for "
     "development: browsers accept it by its hash, which the log and --admin tell."},
    {TEXT, "key", "FILE", AT(key), NULL, 0, 0,
     "The certificate's private key, as PEM. May be left out if it is in the same file."},
    {APP, "app", "ADDRESS", AT(app), NULL, 0, 0,
     "Where the application listens: unix:PATH or tcp:HOST:PORT. Each session becomes one "
     "connection to it."},
    {ADMIN, "admin", "ADDRESS", AT(admin), NULL, 0, 0,
     "Serve health, statistics, the certificate's hash and a demo page over plain HTTP at "
     "HOST:PORT or unix:PATH. For people you trust only."},

    {HEADING, NULL, NULL, 0, NULL, 0, 0, "How to run"},
    {AUTO, "workers", "N|auto", AT(workers), "auto", 1, 256,
     "Threads that share the load; 'auto' is one for each processor."},
    {LEVEL, "log-level", "LEVEL", AT(log_level), "info", 0, 0,
     "How much to tell on standard error: debug, info, warn, error or off."},
    {NUMBER, "server-id", "N", AT(server_id), "0", 0, 65535,
     "This machine's number in connection ids, for balancers that route by it."},
    {SIZE, "udp-buffer", "SIZE", AT(kernel_buffer), "2M", 0, GIB,
     "Buffer asked of the kernel for each UDP socket, each way; 0 leaves its default."},
    {FLAG, "no-offload", NULL, AT(no_offload), NULL, 0, 0,
     "Do not let the kernel split and join UDP packets, for networks that break on it."},

    {HEADING, NULL, NULL, 0, NULL, 0, 0, "Limits"},
    {AUTO, "max-sessions", "N|auto", AT(max_sessions), "auto", 1, 10000000,
     "Sessions at once; one more is answered 503. 'auto' follows from the limit on open files. "
     "Each worker takes its share."},
    {MEMORY, "memory", "SIZE|auto", AT(memory), "auto", 16 * MIB, 1024 * GIB,
     "Memory that all connections and sessions together may hold or have promised; then windows "
     "stop growing and new sessions are answered 503. 'auto' is half of what this machine or "
     "container has. Each worker takes its share."},
    {SIZE, "connection-memory", "SIZE", AT(connection_memory), "16M", MIB, GIB,
     "The same for one client's connection, from which its windows grow."},
    {SIZE, "session-memory", "SIZE", AT(session_memory), "16M", MIB, GIB,
     "The same for one session's way to and from the application."},
    {NUMBER, "max-streams", "N", AT(max_streams), "1000", 1, 1000000,
     "Streams of each kind that a client may have open at once."},
    {SIZE, "max-header", "SIZE", AT(max_header), "32K", KIB, 64 * KIB,
     "Headers of a request; a larger one is answered 431."},
    {SIZE, "connection-window", "SIZE", AT(connection_window), "8M", 64 * KIB, GIB,
     "Bytes that a client may send ahead of the application, on all streams together: the "
     "most. It begins with less and gets more while it uses that up fast."},
    {SIZE, "stream-window", "SIZE", AT(stream_window), "1M", 16 * KIB, GIB,
     "The same on one stream."},
    {SIZE, "app-session-window", "SIZE", AT(app_session_window), "8M", 64 * KIB, GIB,
     "Bytes that the application may send ahead of a client, on all streams together: the "
     "most, as above."},
    {SIZE, "app-stream-window", "SIZE", AT(app_stream_window), "1M", 16 * KIB, GIB,
     "The same on one stream."},
    {NUMBER, "max-pending-streams", "N", AT(max_pending_streams), "1000", 1, 1000000,
     "Streams opened by the application that may wait until the client allows more."},
    {NUMBER, "early-streams", "N", AT(early_streams), "100", 0, 10000,
     "Streams kept per connection that arrive before their session."},
    {SIZE, "max-frame", "SIZE", AT(max_frame), "1M", 128 * KIB, 16 * MIB,
     "The largest frame exchanged with the application."},
    {NUMBER, "datagram-queue", "N", AT(datagram_queue), "256", 1, 65536,
     "Datagrams waiting in each direction of a session; then the oldest is dropped."},

    {HEADING, NULL, NULL, 0, NULL, 0, 0, "Clients' time"},
    {DURATION, "idle-timeout", "TIME", AT(idle_timeout), "30s", NS_PER_S, HOUR,
     "A client that is silent for so long is gone."},
    {DURATION, "keep-alive", "TIME", AT(keep_alive), "10s", 0, HOUR,
     "Ask a client with a session that is silent for so long, or for half of --idle-timeout, for "
     "a sign of life; 0 never asks."},
    {DURATION, "handshake-timeout", "TIME", AT(handshake_timeout), "10s", 100 * MS, HOUR,
     "For the TLS handshake."},
    {DURATION, "settings-timeout", "TIME", AT(settings_timeout), "10s", 100 * MS, HOUR,
     "For the client's HTTP/3 settings, without which no session is answered."},
    {DURATION, "close-timeout", "TIME", AT(close_timeout), "3s", 10 * MS, HOUR,
     "For the client's answer to the close of a session."},

    {HEADING, NULL, NULL, 0, NULL, 0, 0, "The application's time"},
    {DURATION, "connect-timeout", "TIME", AT(connect_timeout), "5s", 10 * MS, HOUR,
     "To take a connection; then the client is answered 502."},
    {DURATION, "accept-timeout", "TIME", AT(accept_timeout), "30s", 10 * MS, HOUR,
     "To accept or reject a session; then the client is answered 504."},
    {DURATION, "stall-timeout", "TIME", AT(stall_timeout), "30s", 10 * MS, HOUR,
     "For a client to read what the application sent beyond its credit; then the session ends."},
    {DURATION, "linger-timeout", "TIME", AT(linger_timeout), "5s", 10 * MS, HOUR,
     "To read what is left for it after a session's end."},
    {DURATION, "drain-timeout", "TIME", AT(drain_timeout), "5s", 0, HOUR,
     "For sessions to end by themselves after SIGTERM; then they are closed."},
    {NUMBER, "lost-code", "N", AT(lost_code), "1", 0, UINT32_MAX,
     "The code with which a session is closed when its application is lost."},

    {HEADING, NULL, NULL, 0, NULL, 0, 0, "Instead of running"},
    {INSTEAD, "help", NULL, CONFIG_HELP, NULL, 0, 0, "Print this and exit."},
    {INSTEAD, "version", NULL, CONFIG_VERSION, NULL, 0, 0,
     "Print the versions of Sluice and its libraries and exit."},
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static const char intro[] =
    "Usage: sluice --cert auto|FILE --app unix:PATH|tcp:HOST:PORT [option ...]\n"
    "\n"
    "Sluice is a reverse proxy for WebTransport: it speaks QUIC, TLS and HTTP/3 with\n"
    "browsers, and hands each session to an application in any language over a socket.\n"
    "\n"
    "Examples:\n"
    "  Development: a certificate made on the spot, a demo page on http://localhost:8080\n"
    "    sluice --cert auto --app unix:/run/app.sock --admin localhost:8080\n"
    "\n"
    "  Production: your certificate, four workers, an application on another machine\n"
    "    sluice --listen :443 --cert fullchain.pem --key privkey.pem \\\n"
    "           --app tcp:10.0.0.5:9000 --workers 4 --admin 127.0.0.1:9090\n";

static const char outro[] =
    "\n"
    "SIZE is bytes, or with K, M or G for KiB, MiB or GiB. TIME needs ms, s, m or h.\n"
    "\n"
    "The log goes to standard error. Its line event=listening says that Sluice is ready and\n"
    "on which address and port.\n"
    "\n"
    "Signals: SIGTERM or SIGINT asks clients and application to finish, closes what is left\n"
    "after --drain-timeout, and exits. A second one ends at once.\n"
    "\n"
    "Exit codes:\n"
    "  0  asked to end, and ended in good order\n"
    "  1  could not start or could not go on; the last line says why\n"
    "  2  the command line is wrong\n"
    "  3  something was still alive at the end: a bug in Sluice, please report it\n"
    "  4  ended by a second signal before everything was closed\n";

static bool complain(char *error, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Always false, so that a parser can return it. */
static bool complain(char *error, size_t size, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, size, format, arguments);
    va_end(arguments);
    return false;
}

/* Digits, then perhaps a unit. Returns false if there are no digits or too many. */
static bool split_number(const char *text, uint64_t *number, const char **unit)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    *number = strtoull(text, &end, 10);
    *unit = end;
    return errno == 0;
}

static bool multiply_by_unit(uint64_t *number, uint64_t unit)
{
    return !__builtin_mul_overflow(*number, unit, number);
}

static bool parse_number(const char *text, uint64_t *number)
{
    const char *unit;

    return split_number(text, number, &unit) && *unit == '\0';
}

static bool parse_size(const char *text, uint64_t *number)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"", 1}, {"K", KIB}, {"M", MIB}, {"G", GIB}};
    const char *unit;

    if (!split_number(text, number, &unit))
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(unit, units[i].name) == 0)
            return multiply_by_unit(number, units[i].bytes);
    return false;
}

static bool parse_duration(const char *text, uint64_t *number)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ms", NS_PER_MS}, {"s", NS_PER_S}, {"m", 60 * NS_PER_S}, {"h", HOUR}};
    const char *unit;

    if (!split_number(text, number, &unit))
        return false;
    if (*unit == '\0')
        return *number == 0;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(unit, units[i].name) == 0)
            return multiply_by_unit(number, units[i].ns);
    return false;
}

static bool is_size(const struct row *row)
{
    return row->kind == SIZE || row->kind == MEMORY;
}

static void format_number(const struct row *row, uint64_t number, char to[32])
{
    if (is_size(row) && number >= MIB && number % MIB == 0)
        snprintf(to, 32, "%" PRIu64 "M", number / MIB);
    else if (is_size(row) && number >= KIB && number % KIB == 0)
        snprintf(to, 32, "%" PRIu64 "K", number / KIB);
    else if (row->kind == DURATION && number % NS_PER_S == 0)
        snprintf(to, 32, "%" PRIu64 "s", number / NS_PER_S);
    else if (row->kind == DURATION)
        snprintf(to, 32, "%" PRIu64 "ms", number / NS_PER_MS);
    else
        snprintf(to, 32, "%" PRIu64, number);
}

static bool set_number(struct config *c, const struct row *row, const char *text, char *error,
                       size_t size)
{
    static const char *const kinds[] = {[NUMBER] = "a number",
                                        [AUTO] = "a number or 'auto'",
                                        [SIZE] = "a size such as 64K",
                                        [MEMORY] = "a size such as 512M, or 'auto'",
                                        [DURATION] = "a time such as 500ms or 10s"};
    uint64_t number = 0;
    bool right = is_size(row)            ? parse_size(text, &number)
                 : row->kind == DURATION ? parse_duration(text, &number)
                                         : parse_number(text, &number);
    char min[32], max[32];

    if ((row->kind == AUTO || row->kind == MEMORY) && strcmp(text, "auto") == 0) {
        *(uint64_t *)((char *)c + row->offset) = 0;
        return true;
    }
    if (!right || number < row->min || number > row->max) {
        format_number(row, row->min, min);
        format_number(row, row->max, max);
        return complain(error, size, "--%s: expected %s, from %s to %s, got '%s'", row->name,
                        kinds[row->kind], min, max, text);
    }
    *(uint64_t *)((char *)c + row->offset) = number;
    return true;
}

static bool is_unix(const char *text)
{
    /* sun_path holds 108 bytes, the terminating one included. */
    size_t len = strlen(text);
    return strncmp(text, "unix:", 5) == 0 && len > 5 && len - 5 < 108;
}

static bool is_host_and_port(const char *text, bool need_host, bool need_port)
{
    char host[ADDRESS_HOST_SIZE];
    unsigned port;

    return address_split(text, host, &port) && (host[0] || !need_host) && (port || !need_port);
}

static bool check_text(const struct row *row, const char *text, char *error, size_t size)
{
    const char *expected = NULL;

    if (row->kind == LISTEN && !is_host_and_port(text, false, false))
        expected = "HOST:PORT or :PORT";
    else if (row->kind == ADMIN && !is_unix(text) && !is_host_and_port(text, false, false))
        expected = "HOST:PORT or unix:PATH";
    else if (row->kind == APP && !is_unix(text) &&
             !(strncmp(text, "tcp:", 4) == 0 && is_host_and_port(text + 4, true, true)))
        expected = "unix:PATH or tcp:HOST:PORT";
    else if (row->kind == TEXT && text[0] == '\0')
        expected = row->argument;
    if (expected)
        return complain(error, size, "--%s: expected %s, got '%s'", row->name, expected, text);
    return true;
}

static bool set_level(struct config *c, const char *text, char *error, size_t size)
{
    enum log_level level;

    if (log_level_parse(text, &level) < 0)
        return complain(error, size,
                        "--log-level: expected debug, info, warn, error or off, got '%s'", text);
    c->log_level = level;
    return true;
}

static bool set(struct config *c, const struct row *row, const char *text, char *error, size_t size)
{
    switch (row->kind) {
    case FLAG:
        *(uint64_t *)((char *)c + row->offset) = 1;
        return true;
    case NUMBER:
    case AUTO:
    case SIZE:
    case MEMORY:
    case DURATION:
        return set_number(c, row, text, error, size);
    case LEVEL:
        return set_level(c, text, error, size);
    default:
        if (!check_text(row, text, error, size))
            return false;
        *(const char **)((char *)c + row->offset) = text;
        return true;
    }
}

bool config_cert_is_auto(const struct config *c)
{
    return strcmp(c->cert, "auto") == 0;
}

/* What no single row can know. */
static bool check_together(struct config *c, char *error, size_t size)
{
    if (!c->app)
        return complain(error, size,
                        "--app is missing: where does the application listen, "
                        "unix:PATH or tcp:HOST:PORT?");
    if (!c->cert)
        return complain(error, size,
                        "--cert is missing: give --cert FILE --key FILE, or "
                        "--cert auto for development");
    if (config_cert_is_auto(c) && c->key)
        return complain(error, size, "--key does not go with --cert auto, which makes its own key");
    if (!config_cert_is_auto(c) && !c->key)
        c->key = c->cert;
    if (c->stream_window > c->connection_window)
        return complain(error, size, "--stream-window is larger than --connection-window");
    if (c->app_stream_window > c->app_session_window)
        return complain(error, size, "--app-stream-window is larger than --app-session-window");
    /* Asking later than that would be asking the dead. */
    if (c->keep_alive > c->idle_timeout / 2)
        c->keep_alive = c->idle_timeout / 2;
    return true;
}

static void make_options(struct option options[ROWS + 1])
{
    size_t count = 0;

    for (int i = 0; i < ROWS; i++)
        if (rows[i].kind != HEADING)
            options[count++] = (struct option){
                rows[i].name, rows[i].argument ? required_argument : no_argument, NULL, i + 256};
    options[count] = (struct option){NULL, 0, NULL, 0};
}

static void set_presets(struct config *c)
{
    char error[256];

    *c = (struct config){.listen = NULL};
    for (int i = 0; i < ROWS; i++)
        if (rows[i].preset && !set(c, &rows[i], rows[i].preset, error, sizeof(error)))
            abort();
}

enum config_wish config_parse(struct config *c, int argc, char **argv, char *error,
                              size_t error_size)
{
    struct option options[ROWS + 1];
    int found;

    make_options(options);
    set_presets(c);
    opterr = 0;
    optind = 0;
    while ((found = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
        const char *given = argv[optind > 0 ? optind - 1 : 0];
        if (found == ':' || (found == '?' && optopt >= 256)) {
            complain(error, error_size, "--%s %s", rows[optopt - 256].name,
                     found == ':' ? "needs a value" : "takes no value");
            return CONFIG_WRONG;
        }
        if (found == '?') {
            complain(error, error_size, "there is no option %s", given);
            return CONFIG_WRONG;
        }
        const struct row *row = &rows[found - 256];
        if (row->kind == INSTEAD)
            return (enum config_wish)row->offset;
        if (!set(c, row, optarg, error, error_size))
            return CONFIG_WRONG;
    }
    if (optind < argc) {
        complain(error, error_size, "'%s' is not an option", argv[optind]);
        return CONFIG_WRONG;
    }
    return check_together(c, error, error_size) ? CONFIG_RUN : CONFIG_WRONG;
}

/* Breaks text into lines, each behind an indent. */
static void print_wrapped(FILE *to, const char *text, int indent, int width)
{
    while (*text) {
        size_t len = strlen(text), line = len;
        if (len > (size_t)(width - indent)) {
            for (line = (size_t)(width - indent); line > 0 && text[line] != ' ';)
                line--;
        }
        fprintf(to, "%*s%.*s\n", indent, "", (int)line, text);
        text += line;
        text += strspn(text, " ");
    }
}

void config_print_help(FILE *to)
{
    fputs(intro, to);
    for (int i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        if (row->kind == HEADING) {
            fprintf(to, "\n%s:\n", row->meaning);
            continue;
        }
        fprintf(to, "  --%s%s%s", row->name, row->argument ? " " : "",
                row->argument ? row->argument : "");
        if (row->preset)
            fprintf(to, "  (default %s)", row->preset);
        fputc('\n', to);
        print_wrapped(to, row->meaning, 8, 84);
    }
    fputs(outro, to);
}
