/*
 * keys - the table. Owns nothing, calls nobody.
 */
#include "config/keys.h"

#include <string.h>

#include "base/timers.h"

#define KIB  UINT64_C(1024)
#define MIB  (1024 * KIB)
#define GIB  (1024 * MIB)
#define HOUR (3600 * NS_PER_S)
#define MS   NS_PER_MS

/* A key is called as its field is. */
#define ALL(field) .place = KEY_OF_ALL, .name = #field, .offset = offsetof(struct config, field)
#define LISTENER(field)                                                                            \
    .place = KEY_OF_LISTENER, .name = #field, .offset = offsetof(struct config_listener, field)
#define CERTIFICATE(field)                                                                         \
    .place = KEY_OF_CERTIFICATE, .name = #field,                                                   \
    .offset = offsetof(struct config_certificate, field)
#define BACKEND(field)                                                                             \
    .place = KEY_OF_BACKEND, .name = #field, .offset = offsetof(struct config_backend, field)
#define ROUTE(field)                                                                               \
    .place = KEY_OF_ROUTE, .name = #field, .offset = offsetof(struct config_route, field)
#define RANGE(least, most) .min = (least), .max = (most)
#define HEADING(text)                                                                              \
    {                                                                                              \
        KEY_HEADING, .name = text                                                                  \
    }

static const char *const levels[] = {"debug", "info", "warn", "error", "off", NULL};
static const char *const forwarded_kinds[] = {"none", "x-forwarded-for", "forwarded", NULL};
static const char *const backend_kinds[] = {"app", "bridge", NULL};
static const char *const balances[] = {"least-sessions", "round-robin", "random-two", "hash", NULL};
static const char *const hash_bys[] = {"client", "path", "header", "cookie", NULL};
static const char *const probes[] = {"connect", "accept", NULL};
static const char *const proxy_protocols[] = {"none", "v1", "v2", NULL};

const struct key keys[] = {
    HEADING("What to serve"),
    {KEY_LISTEN, LISTENER(address), .option = "listen", .preset = ":4433",
     .meaning = "The UDP address for clients, HOST:PORT. Without a host it is every address of "
                "this machine, IPv6 and IPv4; port 0 takes a free port, which the log tells."},
    {KEY_FILE, CERTIFICATE(cert), .option = "cert", .word = "auto",
     .meaning = "The certificate chain, as PEM. 'auto' makes a certificate for localhost that is "
                "good for development: browsers accept it by its hash, which the log and the "
                "admin listener tell."},
    {KEY_FILE, CERTIFICATE(key), .option = "key",
     .meaning = "The certificate's private key, as PEM. May be left out if it is in the same "
                "file."},
    {KEY_CHOICE, BACKEND(kind), .preset = "app", .choices = backend_kinds,
     .meaning = "What listens there. 'app' is an application that speaks Sluice's protocol: each "
                "session becomes one connection to it. 'bridge' is any service: each stream of a "
                "session becomes a connection of its own to it, and its bytes are handed on as "
                "they are."},
    {KEY_APP, BACKEND(addresses), .option = "app", .many = true,
     .meaning =
         "Where the application or service listens: unix:PATH or tcp:HOST:PORT. Each session, of "
         "a bridge each stream, becomes one connection to it; of several addresses 'balance' "
         "chooses one. A name stands for all the addresses it has, and is looked up again and "
         "again."},
    {KEY_UDP, BACKEND(datagrams), .only = KEY_FOR_BRIDGE, .many = true,
     .meaning = "Where the service takes datagrams: udp:HOST:PORT. Each session has a socket of "
                "its own, from its first datagram on; what comes back on it are the client's. A "
                "bridge has addresses, datagrams or both."},
    {KEY_SWITCH, BACKEND(tls), .only = KEY_FOR_BRIDGE, .preset = "false",
     .meaning = "Speak TLS, 1.2 or later, to the addresses. Nothing is sent to one whose "
                "certificate is not good."},
    {KEY_FILE, BACKEND(tls_ca), .only = KEY_FOR_BRIDGE,
     .meaning = "The certificates, as PEM, of which one must have signed that of the service. "
                "Without it those that this system trusts. It is read again with the "
                "configuration."},
    {KEY_SERVER, BACKEND(tls_name), .only = KEY_FOR_BRIDGE,
     .meaning = "The name that the service is asked for and that its certificate must be for. "
                "Without it the host of its address; a Unix socket has none."},
    {KEY_HOST, CERTIFICATE(names), .many = true,
     .meaning = "The server names that it is for; the first label may be an asterisk. Without them "
                "those that the certificate itself names."},
    {KEY_ADMIN, ALL(admin), .fixed = true, .option = "admin",
     .meaning = "Serve health, statistics, the certificate's hash and a demo page over plain HTTP "
                "at HOST:PORT or unix:PATH. For people you trust only."},

    HEADING("Which sessions, and what becomes of them"),
    {KEY_NAME, ROUTE(name),
     .meaning = "What the log and the application call it. Without one it is called as its "
                "backend or, with 'targets', as the segment before '{name}'."},
    {KEY_HOST, ROUTE(hosts), .shared = true, .option = "host", .many = true,
     .meaning = "A host that clients may ask for; '*.example.org' is any one label before it. Say "
                "it once for each. Others are answered 421. Without it any host will do."},
    {KEY_ORIGIN, ROUTE(origins), .shared = true, .option = "origin", .many = true,
     .meaning = "An origin whose pages may open sessions: SCHEME://HOST, with :PORT unless it is "
                "the scheme's own, or :* for any. A label '*' stands for one label, as in "
                "https://*.example.org; '*' alone is any origin. Say it once for each. Others are "
                "answered 403. Without it any origin will do."},
    {KEY_SWITCH, ROUTE(require_origin), .shared = true, .option = "require-origin",
     .preset = "false",
     .meaning = "Answer 403 to clients that name no origin, too. Browsers always do; other "
                "clients need not, and may name any."},
    {KEY_PATH, ROUTE(path),
     .meaning = "For this path only, without its query, with escapes decoded. If no route of a "
                "host is for a path, its sessions are answered 404. With 'targets' the last "
                "segment is '{name}'."},
    {KEY_PATH, ROUTE(path_prefix),
     .meaning = "For this path and all below it: /chat is for /chat/room, not for /chats."},
    {KEY_NAME, ROUTE(backend), .meaning = "The name of the backend that gets the sessions."},
    {KEY_TARGETS, ROUTE(targets),
     .meaning = "Instead of 'backend': the names that may stand for '{name}' in 'path', each with "
                "its backend. Other names are answered 404: a client chooses from this list, and "
                "nothing else."},
    {KEY_CHOICE, ROUTE(proxy_protocol), .only = KEY_FOR_BRIDGE, .preset = "none",
     .choices = proxy_protocols,
     .meaning = "Begin each connection with a header of the PROXY protocol, which tells the "
                "service the client's address. A service that does not expect it takes it for "
                "data."},
    {KEY_PATH, ROUTE(root_path), .only = KEY_FOR_APP,
     .meaning = "The scope's root_path: where the application is mounted."},
    {KEY_CHOICE, ROUTE(forwarded), .shared = true, .option = "forwarded", .preset = "none",
     .choices = forwarded_kinds,
     .meaning = "The header that tells the application who the client is: the address that its "
                "packets come from, after what trusted proxies have said. A client's own is left "
                "out."},
    {KEY_NETWORK, ALL(trusted_proxies), .option = "trusted-proxy", .many = true,
     .meaning = "A proxy in front that is believed when it says in the header of 'forwarded' who "
                "its client is; the scope's client is then that one. Without 'forwarded' nobody "
                "is. Say it once for each."},
    {KEY_HEADERS, ROUTE(add_request_headers), .only = KEY_FOR_APP,
     .meaning = "Headers that the application gets in addition."},
    {KEY_HEADER, ROUTE(strip_request_headers), .only = KEY_FOR_APP, .many = true,
     .meaning = "Names of headers of the client that the application does not get."},
    {KEY_HEADERS, ROUTE(add_response_headers),
     .meaning = "Headers that the client gets in addition with the application's answer."},
    {KEY_HEADER, ROUTE(strip_response_headers), .only = KEY_FOR_APP, .many = true,
     .meaning = "Names of headers of the application that the client does not get."},

    HEADING("How to run"),
    {KEY_NUMBER, ALL(workers), .fixed = true, .option = "workers", .preset = "auto", .word = "auto",
     RANGE(1, 256), .meaning = "Threads that share the load; 'auto' is one for each processor."},
    {KEY_CHOICE, ALL(log_level), .option = "log-level", .preset = "info", .choices = levels,
     .meaning = "How much to tell on standard error: debug, info, warn, error or off."},
    {KEY_NUMBER, ALL(server_id), .fixed = true, .option = "server-id", .preset = "0",
     RANGE(0, 65535),
     .meaning = "This machine's number in connection ids, for balancers that route by it."},
    {KEY_SIZE, ALL(udp_buffer), .fixed = true, .option = "udp-buffer", .preset = "2MiB",
     RANGE(0, GIB),
     .meaning = "Buffer asked of the kernel for each UDP socket, each way; 0 leaves its default."},
    {KEY_SWITCH, ALL(offload), .fixed = true, .option = "no-offload", .preset = "true",
     .meaning = "Let the kernel split and join UDP packets; say no for networks that break on "
                "it."},
    {KEY_SWITCH, ALL(steering), .fixed = true, .option = "no-steering", .preset = "true",
     .meaning = "Have the kernel look for connection ids (BPF), so that packets of clients that "
                "have moved come to their worker; otherwise, or where the kernel refuses, workers "
                "hand them to each other."},
    {KEY_FILE, ALL(secret), .fixed = true, .option = "secret",
     .meaning = "32 or more random bytes, kept from others, from which keys are made that survive "
                "a restart: clients then resume their TLS sessions, and learn at once that their "
                "connections are gone."},

    HEADING("Limits"),
    {KEY_NUMBER, ALL(unproven_handshakes), .option = "unproven-handshakes", .preset = "128",
     RANGE(0, 1000000),
     .meaning = "Unfinished handshakes in a worker beyond which new clients first have to prove "
                "their addresses (Retry), which costs them a round trip; 0 always asks for it."},
    {KEY_NUMBER, ALL(max_handshakes), .option = "max-handshakes", .preset = "4096",
     RANGE(1, 1000000),
     .meaning = "Unfinished handshakes in a worker beyond which new clients are refused."},
    {KEY_NUMBER, ALL(max_connections), .option = "max-connections", .preset = "auto",
     .word = "auto", RANGE(1, 10000000),
     .meaning = "Connections at once; one more is refused. 'auto' is one for each 512 KiB of "
                "'memory', so that there is room for their sessions. Each worker takes its share, "
                "rounded up."},
    {KEY_NUMBER, LISTENER(max_connections), .preset = "unlimited", .word = "unlimited",
     RANGE(1, 10000000),
     .meaning = "Connections at once of clients that came in here; one more is refused. Each "
                "worker takes its share, rounded up."},
    {KEY_NUMBER, LISTENER(max_handshakes), .preset = "unlimited", .word = "unlimited",
     RANGE(1, 1000000),
     .meaning = "Unfinished handshakes of clients that came in here; one more is refused. Each "
                "worker takes its share, rounded up."},
    {KEY_NUMBER, LISTENER(connection_rate), .preset = "unlimited", .word = "unlimited",
     RANGE(1, 1000000),
     .meaning = "New connections a second that come in here, in the long run: after a quiet time "
                "as many as in five seconds may come at once. One more is refused. Each worker "
                "takes its share, rounded up."},
    {KEY_NUMBER, ALL(max_sessions), .option = "max-sessions", .preset = "auto", .word = "auto",
     RANGE(1, 10000000),
     .meaning = "Sessions at once; one more is answered 503. 'auto' follows from the limit on "
                "open files. Each worker takes its share, rounded up."},
    {KEY_NUMBER, ROUTE(max_sessions), .preset = "unlimited", .word = "unlimited",
     RANGE(1, 10000000),
     .meaning = "Sessions at once on this route; one more is answered 503. Each worker takes its "
                "share, rounded up."},
    {KEY_NUMBER, ROUTE(session_rate), .preset = "unlimited", .word = "unlimited", RANGE(1, 1000000),
     .meaning = "New sessions a second on this route, in the long run: after a quiet time as many "
                "as in five seconds may come at once. One more is answered 503. Each worker takes "
                "its share, rounded up."},
    {KEY_NUMBER, ALL(client_connections), .option = "client-connections", .preset = "2048",
     .word = "unlimited", RANGE(1, 10000000),
     .meaning = "Connections at once from one client address; one more is refused. Each worker "
                "takes its share, rounded up, here and in the next three."},
    {KEY_NUMBER, ALL(client_connection_rate), .option = "client-connection-rate", .preset = "500",
     .word = "unlimited", RANGE(1, 1000000),
     .meaning = "New connections a second from one client address, in the long run: after a quiet "
                "time it may open as many as in five seconds at once."},
    {KEY_NUMBER, ALL(client_sessions), .option = "client-sessions", .preset = "2048",
     .word = "unlimited", RANGE(1, 10000000),
     .meaning = "Sessions at once from one client address; one more is answered 429. Behind a "
                "proxy of 'trusted_proxies' it is the address that this one names."},
    {KEY_NUMBER, ALL(client_session_rate), .option = "client-session-rate", .preset = "500",
     .word = "unlimited", RANGE(1, 1000000),
     .meaning = "New sessions a second from one client address, likewise."},
    {KEY_NUMBER, ALL(client_ipv6_prefix), .option = "client-ipv6-prefix", .preset = "64",
     RANGE(1, 128),
     .meaning = "Bits of an IPv6 address that make a client address; who has one address of a "
                "network mostly has them all."},
    {KEY_SIZE, ALL(memory), .fixed = true, .option = "memory", .preset = "auto", .word = "auto",
     RANGE(16 * MIB, 1024 * GIB),
     .meaning = "Memory that all connections and sessions together may hold or have promised; "
                "then windows stop growing and new sessions are answered 503. 'auto' is half of "
                "what this machine or container has. Each worker takes its share."},
    {KEY_SIZE, ALL(connection_memory), .option = "connection-memory", .preset = "16MiB",
     RANGE(MIB, GIB),
     .meaning = "The same for one client's connection, from which its windows grow."},
    {KEY_SIZE, ROUTE(session_memory), .shared = true, .option = "session-memory", .preset = "16MiB",
     RANGE(MIB, GIB),
     .meaning = "Memory that one session may hold or have promised on its way to and from the "
                "application; then its windows stop growing."},
    {KEY_NUMBER, ALL(max_streams), .option = "max-streams", .preset = "1000", RANGE(1, 1000000),
     .meaning = "Streams of each kind that a client may have open at once."},
    {KEY_SIZE, ALL(max_header), .option = "max-header", .preset = "32KiB", RANGE(KIB, 64 * KIB),
     .meaning = "Headers of a request; a larger one is answered 431."},
    {KEY_SIZE, ALL(connection_window), .option = "connection-window", .preset = "8MiB",
     RANGE(64 * KIB, GIB),
     .meaning = "Bytes that a client may send ahead of the application, on all streams together: "
                "the most. It begins with less and gets more while it uses that up fast."},
    {KEY_SIZE, ALL(stream_window), .option = "stream-window", .preset = "1MiB",
     RANGE(16 * KIB, GIB), .meaning = "The same on one stream."},
    {KEY_SIZE, ROUTE(app_session_window), .shared = true, .option = "app-session-window",
     .preset = "8MiB", RANGE(64 * KIB, GIB),
     .meaning = "Bytes that the application may send ahead of a client, on all streams together: "
                "the most. It begins with less, as a client does. Of a bridge: that its services "
                "may send ahead; 4 KiB on each stream they always may."},
    {KEY_SIZE, ROUTE(app_stream_window), .shared = true, .option = "app-stream-window",
     .preset = "1MiB", RANGE(16 * KIB, GIB), .meaning = "The same on one stream."},
    {KEY_NUMBER, ROUTE(max_pending_streams), .only = KEY_FOR_APP, .shared = true,
     .option = "max-pending-streams", .preset = "1000", RANGE(1, 1000000),
     .meaning = "Streams opened by the application that may wait until the client allows more."},
    {KEY_NUMBER, ALL(connection_sessions), .option = "connection-sessions", .preset = "16",
     RANGE(1, 1000),
     .meaning = "Sessions that one connection may carry at a time, of clients that have flow "
                "control for sessions; others have one. 1 turns such flow control off."},
    {KEY_NUMBER, ALL(early_streams), .option = "early-streams", .preset = "100", RANGE(0, 10000),
     .meaning = "Streams kept per connection that arrive before their session."},
    {KEY_SIZE, BACKEND(max_frame), .only = KEY_FOR_APP, .shared = true, .option = "max-frame",
     .preset = "1MiB", RANGE(128 * KIB, 16 * MIB),
     .meaning = "The largest frame exchanged with the application."},
    {KEY_NUMBER, ALL(datagram_queue), .option = "datagram-queue", .preset = "256", RANGE(1, 65536),
     .meaning = "Datagrams waiting in each direction of a session; then the oldest is dropped."},
    {KEY_DURATION, ALL(datagram_ttl), .option = "datagram-ttl", .preset = "0", RANGE(0, HOUR),
     .meaning = "Datagrams that have waited for so long are dropped, too; 0 never drops them for "
                "their age."},

    HEADING("Several addresses of an application"),
    {KEY_CHOICE, BACKEND(balance), .shared = true, .option = "balance", .preset = "least-sessions",
     .choices = balances,
     .meaning = "Which of its addresses a session gets: the one with the fewest sessions, the next "
                "in turn, of two at random the one with fewer sessions, or always the same one "
                "for the same hash. Each worker counts its own sessions."},
    {KEY_CHOICE, BACKEND(hash_by), .shared = true, .option = "hash-by", .preset = "client",
     .choices = hash_bys,
     .meaning = "What the hash is of: the client's address, the path, a header or a cookie. "
                "Requests without that header or cookie go by the client's address."},
    {KEY_NAME, BACKEND(hash_name), .shared = true, .option = "hash-name",
     .meaning = "The name of the header or cookie."},
    {KEY_NUMBER, BACKEND(max_address_sessions), .shared = true, .option = "max-address-sessions",
     .preset = "unlimited", .word = "unlimited", RANGE(1, 10000000),
     .meaning = "Sessions at one address at once; more wait in the queue. Each worker takes its "
                "share, rounded up."},
    {KEY_NUMBER, BACKEND(queue), .shared = true, .option = "queue", .preset = "1000",
     RANGE(0, 1000000),
     .meaning = "Sessions that may wait while all addresses are full; one more is answered 503 "
                "with Retry-After. Each worker takes its share, rounded up."},
    {KEY_DURATION, BACKEND(queue_timeout), .shared = true, .option = "queue-timeout",
     .preset = "5s", RANGE(0, HOUR), .meaning = "How long one of them waits; then the same."},
    {KEY_NUMBER, BACKEND(attempts), .shared = true, .option = "attempts", .preset = "3",
     RANGE(1, 8),
     .meaning = "Addresses at which a session is tried, as long as no application has answered; "
                "1 tries no other."},
    {KEY_NUMBER, BACKEND(failures), .shared = true, .option = "failures", .preset = "3",
     RANGE(1, 1000),
     .meaning = "Sessions in a row that an address loses or does not answer before it is let "
                "rest. One that cannot be reached rests at once."},
    {KEY_DURATION, BACKEND(rest_first), .shared = true, .option = "rest-first", .preset = "1s",
     RANGE(10 * MS, HOUR),
     .meaning = "How long it rests. Then it is tried, without a client; if it fails it rests "
                "twice as long."},
    {KEY_DURATION, BACKEND(rest_last), .shared = true, .option = "rest-last", .preset = "30s",
     RANGE(10 * MS, HOUR), .meaning = "The longest that it rests."},
    {KEY_DURATION, BACKEND(slow_start), .shared = true, .option = "slow-start", .preset = "10s",
     RANGE(0, HOUR),
     .meaning = "An address that is back gets a growing part of its share during this time."},
    {KEY_CHOICE, BACKEND(probe), .shared = true, .option = "probe", .preset = "connect",
     .choices = probes,
     .meaning = "How an address is tried without a client: by a connection, or by a session of "
                "its own, for '/', which the application must accept."},
    {KEY_DURATION, BACKEND(probe_interval), .shared = true, .option = "probe-interval",
     .preset = "0", RANGE(0, HOUR),
     .meaning = "Try every address so often while it is up, too; 0 tries only those that rest."},
    {KEY_DURATION, BACKEND(probe_timeout), .shared = true, .option = "probe-timeout",
     .preset = "5s", RANGE(10 * MS, HOUR), .meaning = "For the answer, once it is connected."},
    {KEY_DURATION, BACKEND(resolve_interval), .shared = true, .option = "resolve-interval",
     .preset = "10s", RANGE(100 * MS, HOUR), .meaning = "How often names are looked up again."},

    HEADING("Clients' time"),
    {KEY_DURATION, ALL(idle_timeout), .option = "idle-timeout", .preset = "30s",
     RANGE(NS_PER_S, HOUR), .meaning = "A client that is silent for so long is gone."},
    {KEY_DURATION, ALL(keep_alive), .option = "keep-alive", .preset = "10s", RANGE(0, HOUR),
     .meaning = "Ask a client with a session that is silent for so long, or for half of the idle "
                "timeout, for a sign of life; 0 never asks."},
    {KEY_DURATION, ALL(handshake_timeout), .option = "handshake-timeout", .preset = "10s",
     RANGE(100 * MS, HOUR), .meaning = "For the TLS handshake."},
    {KEY_DURATION, ALL(settings_timeout), .option = "settings-timeout", .preset = "10s",
     RANGE(100 * MS, HOUR),
     .meaning = "For the client's HTTP/3 settings, without which no session is answered."},
    {KEY_DURATION, ALL(close_timeout), .option = "close-timeout", .preset = "3s",
     RANGE(10 * MS, HOUR), .meaning = "For the client's answer to the close of a session."},

    HEADING("The application's time"),
    {KEY_DURATION, BACKEND(connect_timeout), .shared = true, .option = "connect-timeout",
     .preset = "5s", RANGE(10 * MS, HOUR),
     .meaning = "To take a connection; then the client is answered 502."},
    {KEY_DURATION, ROUTE(accept_timeout), .only = KEY_FOR_APP, .shared = true,
     .option = "accept-timeout", .preset = "30s", RANGE(10 * MS, HOUR),
     .meaning = "To accept or reject a session; then the client is answered 504."},
    {KEY_DURATION, ROUTE(stall_timeout), .only = KEY_FOR_APP, .shared = true,
     .option = "stall-timeout", .preset = "30s", RANGE(10 * MS, HOUR),
     .meaning = "For a client to read what the application sent beyond its credit; then the "
                "session ends."},
    {KEY_DURATION, BACKEND(linger_timeout), .shared = true, .option = "linger-timeout",
     .preset = "5s", RANGE(10 * MS, HOUR),
     .meaning = "To read what is left for it after a session's end."},
    {KEY_DURATION, BACKEND(datagram_idle_timeout), .only = KEY_FOR_BRIDGE, .shared = true,
     .option = "datagram-idle-timeout", .preset = "60s", RANGE(100 * MS, HOUR),
     .meaning = "A session's socket for datagrams that carries nothing for so long is closed; the "
                "next datagram gets a new one, with another port."},
    {KEY_DURATION, ALL(drain_timeout), .option = "drain-timeout", .preset = "5s", RANGE(0, HOUR),
     .meaning =
         "From SIGTERM to the end. Sessions may end by themselves; in the last quarter, at most "
         "two seconds, those that have not are closed."},
    {KEY_NUMBER, ROUTE(lost_code), .only = KEY_FOR_APP, .shared = true, .option = "lost-code",
     .preset = "1", RANGE(0, UINT32_MAX),
     .meaning = "The code with which a session is closed when its application is lost."},
};

const size_t key_count = sizeof(keys) / sizeof(keys[0]);
_Static_assert(sizeof(keys) / sizeof(keys[0]) <= KEYS_MAX, "make KEYS_MAX larger");

#define SECTION(array, length, type)                                                               \
    .name = #array, .at = offsetof(struct config, array),                                          \
    .count = offsetof(struct config, length), .element = sizeof(struct type)

const struct key_section key_sections[KEY_PLACES] = {
    [KEY_OF_ALL] = {.meaning = "What holds for the whole program."},
    [KEY_OF_LISTENER] = {SECTION(listeners, listener_count, config_listener),
                         .max = KEY_LISTENERS_MAX,
                         .meaning = "A list: where clients come in. Without it there is one, "
                                    "with the defaults."},
    [KEY_OF_CERTIFICATE] = {SECTION(certificates, certificate_count, config_certificate),
                            .max = 256,
                            .meaning = "A list: what is shown to clients, by the server name that "
                                       "they ask for. The first one is for all other names."},
    [KEY_OF_BACKEND] = {SECTION(backends, backend_count, config_backend), .named = true, .max = 256,
                        .meaning = "Applications and services, each under a name for routes. Where "
                                   "it says sessions, a bridge's are its streams; instead of a "
                                   "status they end with a code."},
    [KEY_OF_ROUTE] = {SECTION(routes, route_count, config_route), .max = 1024,
                      .meaning = "A list: which session goes to which backend. The first route "
                                 "that fits takes it; one that says neither host nor path fits "
                                 "all."},
};

bool key_stands(const struct key *key, enum key_place place)
{
    return key->kind != KEY_HEADING &&
           (key->place == place || (key->shared && place == KEY_OF_ALL));
}

static bool serves_kind(const struct key *key, const struct config_backend *backend)
{
    return key->only == KEY_FOR_ANY ||
           (key->only == KEY_FOR_BRIDGE) == (backend->kind == CONFIG_BACKEND_BRIDGE);
}

bool key_serves(const struct key *key, const struct config *c, const void *element)
{
    const struct config_route *route = element;

    if (!element || key->only == KEY_FOR_ANY)
        return true;
    if (key->place == KEY_OF_BACKEND)
        return serves_kind(key, element);
    for (size_t i = 0; i < config_route_ways(route); i++)
        if (serves_kind(key, config_route_way(c, route, i)))
            return true;
    return false;
}

const struct key *key_find(enum key_place place, const char *name, size_t len)
{
    for (size_t i = 0; i < key_count; i++)
        if (key_stands(&keys[i], place) && strlen(keys[i].name) == len &&
            memcmp(keys[i].name, name, len) == 0)
            return &keys[i];
    return NULL;
}

enum { GUESS_MAX = 32 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters to be put in, taken out or exchanged to make b of a. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t row[GUESS_MAX + 1];

    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t above = row[j];
            row[j] = least(diagonal + (a[i - 1] != b[j - 1]), least(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[b_len];
}

/* The best guess so far. */
struct guess {
    const char *name;
    size_t away;
};

static void consider(struct guess *best, const char *name, size_t len, const char *candidate)
{
    if (len > GUESS_MAX || strlen(candidate) > GUESS_MAX)
        return;
    size_t away = distance(name, len, candidate, strlen(candidate));
    if (away < best->away && away < len)
        *best = (struct guess){candidate, away};
}

const char *key_guess(enum key_place place, const char *name, size_t len)
{
    struct guess best = {NULL, 3}; /* two slips of the fingers, or one exchange of neighbours */

    for (size_t i = 0; i < key_count; i++)
        if (key_stands(&keys[i], place))
            consider(&best, name, len, keys[i].name);
    for (size_t i = KEY_OF_ALL + 1; place == KEY_OF_ALL && i < KEY_PLACES; i++)
        consider(&best, name, len, key_sections[i].name);
    return best.name;
}

const char *key_guess_option(const char *name, size_t len)
{
    struct guess best = {NULL, 3};

    consider(&best, name, len, "bridge"); /* the one of no key */
    for (size_t i = 0; i < key_count; i++)
        if (keys[i].option)
            consider(&best, name, len, keys[i].option);
    return best.name;
}

void *key_base(struct config *c, const struct key *key)
{
    switch (key->place) {
    case KEY_OF_BACKEND:
        return &c->backend_defaults;
    case KEY_OF_ROUTE:
        return &c->route_defaults;
    default:
        return c;
    }
}

size_t key_elements(const struct config *c, enum key_place place)
{
    return *(const size_t *)((const char *)c + key_sections[place].count);
}

void *key_element(const struct config *c, enum key_place place, size_t i)
{
    char *at = *(char *const *)((const char *)c + key_sections[place].at);
    return at + i * key_sections[place].element;
}
