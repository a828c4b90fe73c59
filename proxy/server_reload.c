/*
 * Configurations come and go while the server runs. The new one is read and checked as a whole, on
 * the server's thread; then each worker gets it by a message. The old one stays until the last
 * session that came in by it has ended, in all workers. Certificates are exchanged in the TLS
 * context that all share, which also keeps the key of the session tickets.
 *
 * Calls arguments, plan, certificate, worker, watch, notify.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "address.h"
#include "config/arguments.h"
#include "config/keys.h"
#include "config/value.h"
#include "notify.h"
#include "server_internal.h"

enum { RENEWAL_MS = 60 * 1000, ERROR_SIZE = 1024 };

/* --- certificates --- */

static void tell_certificate(const struct server *s, size_t i)
{
    struct certificate_hash hashes[CERTIFICATE_HASHES_MAX];
    char hex[2 * CERTIFICATE_HASH_LEN + 1], expires[32];
    struct tm tm;

    certificate_hashes(s->certificate, i, time(NULL), hashes);
    for (size_t j = 0; j < CERTIFICATE_HASH_LEN; j++)
        snprintf(hex + 2 * j, 3, "%02x", hashes[0].bytes[j]);
    gmtime_r(&hashes[0].expires, &tm);
    strftime(expires, sizeof(expires), "%Y-%m-%dT%H:%M:%SZ", &tm);
    LOG(s->log, INFO, "certificate", log_text("hash", hex), log_text("expires", expires),
        log_text("from", s->present->config->certificates[i].cert));
}

static void tell_new_certificates(const struct server *s)
{
    for (size_t i = 0; i < certificate_count(s->certificate); i++)
        if (certificate_is_news(s->certificate, i))
            tell_certificate(s, i);
}

static void renewal_due(uv_timer_t *timer)
{
    struct server *s = timer->data;
    char error[256];

    for (size_t i = 0; i < certificate_count(s->certificate); i++)
        if (!certificate_renew(s->certificate, i, time(NULL), error, sizeof(error)) && error[0])
            LOG(s->log, ERROR, "certificate.failed", log_text("reason", error));
    tell_new_certificates(s);
}

static struct certificate_source *sources_of(const struct config *config)
{
    struct certificate_source *sources = calloc(config->certificate_count, sizeof(sources[0]));

    assert(sources);
    for (size_t i = 0; i < config->certificate_count; i++) {
        const struct config_certificate *from = &config->certificates[i];
        sources[i] =
            (struct certificate_source){.names = from->names.at, .name_count = from->names.count};
        if (config_certificate_is_auto(from))
            continue;
        sources[i].cert_file = from->cert;
        sources[i].key_file = from->key;
    }
    return sources;
}

static struct certificate *load_certificates(const struct config *config, char *error,
                                             size_t error_size)
{
    struct certificate_source *sources = sources_of(config);
    struct certificate *c =
        certificate_new(sources, config->certificate_count, time(NULL), error, error_size);
    free(sources);
    return c;
}

static bool reload_certificates(struct server *s, const struct config *config, char *error,
                                size_t error_size)
{
    struct certificate_source *sources = sources_of(config);
    bool good = certificate_reload(s->certificate, sources, config->certificate_count, time(NULL),
                                   error, error_size);
    free(sources);
    return good;
}

void server_files_changed(void *user)
{
    struct server *s = user;
    char error[ERROR_SIZE];

    if (reload_certificates(s, s->present->config, error, sizeof(error)))
        tell_new_certificates(s);
    else
        LOG(s->log, ERROR, "certificate.failed", log_text("reason", error),
            log_text("hint", "the one in use stays; the files are looked at again when they "
                             "change"));
}

/* Before they are read. */
static void look_at_certificates(struct server *s, const struct config *config)
{
    const char **paths = calloc(2 * config->certificate_count, sizeof(paths[0]));
    size_t count = 0;

    assert(paths);
    for (size_t i = 0; i < config->certificate_count; i++) {
        const struct config_certificate *from = &config->certificates[i];
        if (config_certificate_is_auto(from))
            continue;
        paths[count++] = from->cert;
        if (strcmp(from->cert, from->key) != 0)
            paths[count++] = from->key;
    }
    watch_look(s->watch, paths, count);
    free(paths);
}

int server_make_certificate(struct server *s, char *error, size_t error_size)
{
    look_at_certificates(s, s->config);
    s->certificate = load_certificates(s->config, error, error_size);
    if (!s->certificate)
        return -1;
    tls_context_set_secret(certificate_context(s->certificate), s->secret);
    uv_timer_start(&s->renewal, renewal_due, RENEWAL_MS, RENEWAL_MS);
    return 0;
}

bool server_check(const struct config *config, char *error, size_t error_size)
{
    uint8_t secret[TLS_SECRET_LEN];

    struct certificate *c = load_certificates(config, error, error_size);

    certificate_free(c);
    return c && (!config->secret || tls_secret_load(config->secret, secret, error, error_size));
}

/* --- generations --- */

/* owned is config, or NULL if that outlives the server. */
static struct generation *generation_new(const struct server *s, const struct config *config,
                                         struct config *owned)
{
    struct generation *g = calloc(1, sizeof(*g));

    assert(g);
    g->config = config;
    g->owned = owned;
    const struct plan_ground ground = {.workers = s->worker_count,
                                       .max_sessions = server_sessions_per_worker(s, config),
                                       .max_connections = server_connections_per_worker(s, config),
                                       .max_sockets = server_sockets_per_worker(s, config),
                                       .listeners = listening_map(s->listening)};
    plan_init(&g->plan, config, &ground, &s->probe, certificate_context(s->certificate));
    return g;
}

static void generation_free(struct generation *g)
{
    plan_fini(&g->plan);
    config_free(g->owned);
    free(g);
}

static void make_present(struct server *s, struct generation *g)
{
    unsigned ignored;

    pthread_mutex_lock(&s->lock);
    LIST_INSERT_HEAD(&s->generations, g, entry);
    g->holders = s->worker_count;
    memset(s->is_idle, 0, sizeof(s->is_idle));
    pthread_mutex_unlock(&s->lock);
    s->present = g;
    s->log_now.level = (enum log_level)g->config->log_level;
    hostport_split(g->config->listeners[0].address, s->host, &ignored);
    s->port = address_port(listening_address(s->listening, listening_map(s->listening)->number[0]));
    watch_keep(s->watch);
}

void server_begin_generation(struct server *s)
{
    make_present(s, generation_new(s, s->config, NULL));
    tell_new_certificates(s);
}

void server_free_generations(struct server *s)
{
    struct generation *g;

    while ((g = LIST_FIRST(&s->generations))) {
        LIST_REMOVE(g, entry);
        generation_free(g);
    }
}

void server_worker_released(void *user, unsigned index, const struct worker_settings *settings)
{
    struct server *s = user;
    struct generation *g;

    (void)index;
    pthread_mutex_lock(&s->lock);
    LIST_FOREACH (g, &s->generations, entry)
        if (&g->plan.settings == settings && --g->holders == 0)
            uv_async_send(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void server_worker_answered(void *user, unsigned index)
{
    struct server *s = user;

    (void)index;
    pthread_mutex_lock(&s->lock);
    if (--s->unanswered == 0)
        uv_async_send(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

/* --- listeners --- */

void server_worker_idle(void *user, unsigned index, unsigned listener)
{
    struct server *s = user;

    pthread_mutex_lock(&s->lock);
    s->is_idle[listener][index] = true;
    pthread_mutex_unlock(&s->lock);
    uv_async_send(&s->wake);
}

static void ask_all(struct server *s, enum server_step step)
{
    s->step = step;
    pthread_mutex_lock(&s->lock);
    s->unanswered = s->started;
    pthread_mutex_unlock(&s->lock);
}

static void give_sockets(struct server *s)
{
    if (!s->wanted)
        s->wanted = calloc(s->worker_count, sizeof(s->wanted[0]));
    assert(s->wanted);
    ask_all(s, SERVER_LISTENING);
    for (unsigned i = 0; i < s->started; i++) {
        listening_take(s->listening, i, &s->wanted[i]);
        if (!worker_listen(s->workers[i], &s->wanted[i]))
            listening_give_back(s->listening, i, &s->wanted[i]);
    }
}

static bool is_idle(struct server *s, size_t listener)
{
    bool is = true;

    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->started; i++)
        is = is && s->is_idle[listener][i];
    pthread_mutex_unlock(&s->lock);
    return is;
}

static void close_idle_listeners(struct server *s)
{
    for (size_t i = 0; i < INTAKE_LISTENERS; i++)
        if (listening_is_retired(s->listening, i) && is_idle(s, i))
            listening_close(s->listening, i);
    if (listening_has_news(s->listening))
        give_sockets(s);
}

/* --- a reload --- */

/* How a key's values print, of all elements that have it. */
static char *text_of(const struct config *config, const struct key *key)
{
    char *text = NULL;
    size_t len, count = key->place == KEY_OF_ALL ? 1 : key_elements(config, key->place);
    FILE *to = open_memstream(&text, &len);

    assert(to);
    for (size_t i = 0; i < count; i++) {
        /* The cast: key_base only adds to the address. */
        const void *base = key->place == KEY_OF_ALL ? key_base((struct config *)config, key)
                                                    : key_element(config, key->place, i);
        if (i > 0)
            fputs(", ", to);
        if (!value_is_absent(key, base))
            value_write(key, base, to);
    }
    fclose(to);
    return text;
}

static void tell_that_it_stays(const struct server *s, const struct key *key, const char *now,
                               const char *wanted)
{
    const char *section = key_sections[key->place].name;
    char name[64];

    snprintf(name, sizeof(name), "%s%s%s", section ? section : "", section ? "." : "", key->name);
    LOG(s->log, WARN, "reload.ignored", log_text("key", name), log_text("now", now),
        log_text("wanted", wanted),
        log_text("hint", "this one takes effect when the program is started anew"));
}

/* What the new configuration wants otherwise, but cannot have. */
static void tell_what_stays(const struct server *s, const struct config *wanted)
{
    for (size_t i = 0; i < key_count; i++) {
        if (!keys[i].fixed)
            continue;
        char *now = text_of(s->config, &keys[i]), *then = text_of(wanted, &keys[i]);
        if (strcmp(now, then) != 0)
            tell_that_it_stays(s, &keys[i], now, then);
        free(now);
        free(then);
    }
}

/* Everything that can be wrong is found here; the certificates come last, for they are taken. */
static struct generation *read_generation(struct server *s, char *error, size_t error_size)
{
    struct config *config;

    if (arguments_read(&config, s->argc, s->argv, error, error_size) != ARGUMENTS_RUN)
        return NULL;
    if (!listening_prepare(s->listening, config, error, error_size)) {
        config_free(config);
        return NULL;
    }
    struct generation *g = generation_new(s, config, config);
    look_at_certificates(s, config);
    if (!plan_check(&g->plan, error, error_size) ||
        !reload_certificates(s, config, error, error_size)) {
        listening_cancel(s->listening);
        generation_free(g);
        return NULL;
    }
    listening_commit(s->listening);
    return g;
}

static void tell_failure(const struct server *s, const char *error)
{
    char status[ERROR_SIZE + 64];

    LOG(s->log, ERROR, "reload.failed", log_text("reason", error),
        log_text("hint", "the configuration in use stays"));
    snprintf(status, sizeof(status), "Serving; the new configuration is wrong: %s", error);
    notify_ready(status);
}

void server_reload(struct server *s)
{
    char error[ERROR_SIZE] = "";

    if (s->step != SERVER_SETTLED) {
        s->is_reload_asked = true;
        return;
    }
    LOG(s->log, INFO, "reloading", log_text("signal", "SIGHUP"));
    notify_reloading();
    struct generation *g = read_generation(s, error, sizeof(error));
    if (!g) {
        tell_failure(s, error);
        return;
    }
    make_present(s, g);
    tell_what_stays(s, g->config);
    tell_new_certificates(s);
    s->is_reloading = true;
    ask_all(s, SERVER_CONFIGURING);
    for (unsigned i = 0; i < s->started; i++)
        worker_configure(s->workers[i], &g->plan.settings);
}

static void tell_success(const struct server *s)
{
    const struct config *config = s->present->config;

    LOG(s->log, INFO, "reloaded", log_uint("routes", config->route_count),
        log_uint("backends", config->backend_count),
        log_uint("certificates", config->certificate_count));
    notify_ready("Serving");
}

static void finish_step(struct server *s)
{
    if (s->step == SERVER_CONFIGURING && listening_has_news(s->listening)) {
        give_sockets(s);
        return;
    }
    if (s->step == SERVER_LISTENING)
        listening_given(s->listening, s->present->config->route_count);
    s->step = SERVER_SETTLED;
    if (s->signals > 0)
        return;
    if (s->is_reloading)
        tell_success(s);
    s->is_reloading = false;
    if (s->is_reload_asked) {
        s->is_reload_asked = false;
        server_reload(s);
    }
}

void server_settle_generations(struct server *s)
{
    struct generation *g, *next;

    pthread_mutex_lock(&s->lock);
    bool is_answered = s->unanswered == 0;
    for (g = LIST_FIRST(&s->generations); g; g = next) {
        next = LIST_NEXT(g, entry);
        if (g->holders > 0 || g == s->present)
            continue;
        LIST_REMOVE(g, entry);
        generation_free(g);
    }
    pthread_mutex_unlock(&s->lock);
    if (s->step != SERVER_SETTLED && is_answered)
        finish_step(s);
    if (s->step == SERVER_SETTLED && s->signals == 0)
        close_idle_listeners(s);
}
