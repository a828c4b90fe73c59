/*
 * config - the settings that the program runs with, as plain values.
 *
 * Made by arguments.h or reader.h from the table in keys.c, complete and consistent from then on:
 * nothing here needs another look. Never changed after that, so all threads may read it.
 *
 *      listeners      where clients come in
 *      certificates   what is shown to them, by server name
 *      routes         which session goes to which backend, by host and path; the first that fits
 *      backends       applications, and services behind a bridge
 *
 * Sizes are bytes, durations nanoseconds. Texts belong to the configuration.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_texts {
    const char **at;
    size_t count;
};

struct config_header {
    const char *name, *value;
};

struct config_headers {
    struct config_header *at;
    size_t count;
};

struct config_target {
    const char *name; /* of the path's last segment */
    const char *backend;
    size_t backend_index; /* in backends */
};

struct config_targets {
    struct config_target *at;
    size_t count;
};

struct config_listener {
    const char *address; /* HOST:PORT */
    /* Of all workers together; 0: no limit of its own. */
    uint64_t max_connections, max_handshakes, connection_rate;
};

struct config_certificate {
    const char *cert;          /* a file, or "auto" */
    const char *key;           /* a file; NULL with "auto" */
    struct config_texts names; /* empty: those in the certificate */
};

enum config_backend_kind { CONFIG_BACKEND_APP, CONFIG_BACKEND_BRIDGE };

/* Which of several addresses a session gets. */
enum config_balance {
    CONFIG_BALANCE_LEAST_SESSIONS,
    CONFIG_BALANCE_ROUND_ROBIN,
    CONFIG_BALANCE_RANDOM_TWO,
    CONFIG_BALANCE_HASH,
};

/* Of what. */
enum config_hash { CONFIG_HASH_CLIENT, CONFIG_HASH_PATH, CONFIG_HASH_HEADER, CONFIG_HASH_COOKIE };

/* How an address is tried without a client. */
enum config_probe { CONFIG_PROBE_CONNECT, CONFIG_PROBE_ACCEPT };

struct config_backend {
    const char *name;
    uint64_t kind;                 /* enum config_backend_kind */
    struct config_texts addresses; /* unix:PATH or tcp:HOST:PORT; empty: no streams */
    struct config_texts datagrams; /* udp:HOST:PORT, of a bridge; empty: none */
    uint64_t balance;              /* enum config_balance */
    uint64_t hash_by;              /* enum config_hash */
    const char *hash_name;         /* of the header or cookie */
    uint64_t max_address_sessions; /* of all workers together; 0: no limit */
    uint64_t attempts;
    uint64_t queue, queue_timeout;
    uint64_t failures, rest_first, rest_last, slow_start;
    uint64_t probe; /* enum config_probe */
    uint64_t probe_interval, probe_timeout;
    uint64_t resolve_interval;
    uint64_t connect_timeout, linger_timeout, datagram_idle_timeout;
    uint64_t max_frame;
    uint64_t tls;         /* to the addresses of a bridge */
    const char *tls_ca;   /* a file; NULL: those that the system trusts */
    const char *tls_name; /* NULL: the host of the address */
};

/* What a service is told of the client, before all else. */
enum config_proxy_protocol {
    CONFIG_PROXY_PROTOCOL_NONE,
    CONFIG_PROXY_PROTOCOL_V1,
    CONFIG_PROXY_PROTOCOL_V2,
};

/* In place of a target's name, as the last segment of a route's path. */
#define CONFIG_PATH_NAME "{name}"

struct config_route {
    const char *name;
    struct config_texts hosts;   /* empty: any; *.example.org for one label */
    struct config_texts origins; /* empty: any; as base/origin.h compares them */
    uint64_t require_origin;
    const char *path;        /* NULL: any; with targets it ends in CONFIG_PATH_NAME */
    const char *path_prefix; /* NULL: any */
    /* Either one backend or, by the last segment of the path, one of several. */
    const char *backend;
    size_t backend_index; /* in backends */
    struct config_targets targets;
    uint64_t proxy_protocol; /* enum config_proxy_protocol */
    const char *root_path;
    uint64_t forwarded; /* enum forwarded_kind of base/forwarded.h */
    /* Of all workers together; 0: no limit of its own. */
    uint64_t max_sessions, session_rate;
    uint64_t session_memory;
    uint64_t app_session_window, app_stream_window;
    uint64_t max_pending_streams;
    uint64_t accept_timeout, stall_timeout;
    uint64_t lost_code;
    struct config_headers add_request_headers, add_response_headers;
    struct config_texts strip_request_headers, strip_response_headers;
};

struct config {
    const char *admin;  /* HOST:PORT or unix:PATH; NULL for none */
    uint64_t workers;   /* 0: one per processor */
    uint64_t log_level; /* enum log_level */
    uint64_t server_id;
    uint64_t offload;
    uint64_t udp_buffer;
    uint64_t steering;
    const char *secret; /* a file; NULL: one that ends with the program */

    uint64_t unproven_handshakes, max_handshakes; /* of each worker */
    uint64_t max_connections; /* of all workers together; 0: what memory allows */
    uint64_t max_sessions;    /* of all workers together; 0: what file descriptors allow */
    struct config_texts trusted_proxies; /* networks */
    /* Of one client address; 0: no limit. */
    uint64_t client_connections, client_connection_rate, client_sessions, client_session_rate;
    uint64_t client_ipv6_prefix;
    uint64_t memory; /* of all workers together; 0: half of the machine's */
    uint64_t connection_memory;
    uint64_t max_streams;
    uint64_t max_header;
    uint64_t connection_window, stream_window;
    uint64_t connection_sessions, early_streams;
    uint64_t datagram_queue, datagram_ttl;

    uint64_t idle_timeout, keep_alive, handshake_timeout, settings_timeout, close_timeout;
    uint64_t drain_timeout;

    struct config_listener *listeners;
    size_t listener_count;
    struct config_certificate *certificates;
    size_t certificate_count;
    struct config_backend *backends;
    size_t backend_count;
    struct config_route *routes;
    size_t route_count;

    /* What every backend and route begins with. */
    struct config_backend backend_defaults;
    struct config_route route_defaults;

    struct config_block *blocks; /* for config.c only: what it owns */
};

/* Everything zero. */
struct config *config_new(void);
void config_free(struct config *c);
/* Zeroed memory that lives as long as the configuration. */
void *config_take(struct config *c, size_t size);
char *config_copy(struct config *c, const char *text, size_t len);
void config_texts_add(struct config *c, struct config_texts *to, const char *text);
void config_headers_add(struct config *c, struct config_headers *to, const char *name,
                        const char *value);

/* All memory for them at once, so that they stay where they are. */
void config_targets_make(struct config *c, struct config_targets *to, size_t count);

/* The backends that a route leads to: one, or one for each target. */
size_t config_route_ways(const struct config_route *route);
const struct config_backend *config_route_way(const struct config *c,
                                              const struct config_route *route, size_t i);

/* True for cert: auto. */
bool config_certificate_is_auto(const struct config_certificate *certificate);

#endif
