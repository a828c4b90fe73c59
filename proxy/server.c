/*
 * server - puts the parts together, starts them in order, and ends them in order.
 *
 * Owns the certificate, the workers and the admin listener. Its own loop, on the program's first
 * thread, carries signals, the admin listener and the renewal of the certificate. What workers say
 * comes on their threads; it is noted under the lock and the loop is woken.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "base/timers.h"
#include "notify.h"
#include "server_internal.h"

/* File descriptors that are not sessions: libraries, listeners, the admin's clients, lookups. */
enum { FILES_RESERVED = 160, FILES_PER_WORKER = 16 };

/* What a connection with one idle session holds and has promised, and what is kept of the memory
 * for those who are there (base/budget.h). */
enum { MEMORY_PER_CONNECTION = 512 * 1024 };

enum { SESSIONS_AUTO_MAX = 100000 };

/* How long a second signal waits for connections to be told before the process ends. */
enum { FORCE_MS = 1000 };

/* What the service manager grants beyond the time to drain. */
#define STOPPING_US (5 * 1000 * 1000)

/* --- statistics: asked of every worker, answered on its thread --- */

static void add_count(struct server *s, const struct stats *stats, const struct tally *tally)
{
    pthread_mutex_lock(&s->lock);
    if (stats)
        stats_add(&s->sum, stats);
    if (tally)
        tally_add(&s->tally, tally);
    if (--s->uncounted == 0) {
        s->sum_is_new = true;
        uv_async_send(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
}

static void worker_counted(void *user, unsigned index, const struct stats *stats,
                           const struct tally *tally)
{
    (void)index;
    add_count(user, stats, tally);
}

static void count_workers(void *user)
{
    struct server *s = user;

    pthread_mutex_lock(&s->lock);
    s->sum = (struct stats){0};
    tally_fini(&s->tally);
    s->uncounted = s->started + 1;
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->started; i++)
        if (!worker_count(s->workers[i]))
            /* It has ended: the numbers stand still. */
            add_count(s, worker_stats(s->workers[i]), worker_tally(s->workers[i]));
    add_count(s, NULL, NULL);
}

/* --- what else workers say --- */

static bool worker_forward(void *user, unsigned index, const struct packet *p)
{
    struct server *s = user;

    /* A peer chose the index: it may be a worker that an earlier run had. */
    return index < s->worker_count && worker_receive(s->workers[index], p);
}

static void worker_ended(void *user, unsigned index)
{
    struct server *s = user;

    (void)index;
    pthread_mutex_lock(&s->lock);
    s->ended++;
    uv_async_send(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static const struct worker_ops worker_ops = {.counted = worker_counted,
                                             .forward = worker_forward,
                                             .configured = server_worker_answered,
                                             .listening = server_worker_answered,
                                             .idle = server_worker_idle,
                                             .released = server_worker_released,
                                             .ended = worker_ended};

/* --- what the admin listener asks --- */

static bool is_ready(void *user)
{
    const struct server *s = user;

    return s->signals == 0;
}

static void identify(void *user, struct admin_identity *to)
{
    const struct server *s = user;
    struct certificate_hash hashes[CERTIFICATE_HASHES_MAX];
    size_t count = certificate_hashes(s->certificate, 0, time(NULL), hashes);

    to->host = s->host;
    to->port = s->port;
    to->hash_count = certificate_is_short_lived(s->certificate, 0) ? count : 0;
    for (size_t i = 0; i < to->hash_count; i++)
        memcpy(to->hashes[i], hashes[i].bytes, sizeof(to->hashes[i]));
}

static const struct admin_ops admin_ops = {
    .is_ready = is_ready, .identify = identify, .count = count_workers};

/* --- the secret --- */

static int find_secret(struct server *s, char *error, size_t error_size)
{
    if (!s->config->secret)
        tls_random(s->secret, sizeof(s->secret));
    else if (!tls_secret_load(s->config->secret, s->secret, error, error_size))
        return -1;
    return 0;
}

/* --- limits --- */

/* Raises the limit on open files as far as the system allows and returns it. */
static uint64_t raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1024;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

static bool has_bridge(const struct config *config)
{
    for (size_t i = 0; i < config->backend_count; i++)
        if (config->backends[i].kind == CONFIG_BACKEND_BRIDGE)
            return true;
    return false;
}

/* File descriptors for sessions and for what their streams need. */
static uint64_t files_to_use(const struct server *s, uint64_t *files)
{
    uint64_t reserve = FILES_RESERVED + (uint64_t)FILES_PER_WORKER * s->worker_count;

    *files = raise_file_limit();
    return *files > 2 * reserve ? *files - reserve : *files / 2;
}

/* Each needs a socket to its application. With bridges half of the files are for those. */
size_t server_sessions_per_worker(const struct server *s, const struct config *config)
{
    uint64_t files, possible = files_to_use(s, &files) / (has_bridge(config) ? 2 : 1);
    uint64_t wanted = config->max_sessions;

    if (wanted > possible)
        LOG(s->log, WARN, "files.short", log_uint("max_sessions", wanted),
            log_uint("possible", possible), log_uint("open_files", files),
            log_text("hint", "raise the limit on open files (ulimit -Hn)"));
    if (wanted == 0)
        wanted = possible < SESSIONS_AUTO_MAX ? possible : SESSIONS_AUTO_MAX;
    return (size_t)((wanted + s->worker_count - 1) / s->worker_count);
}

size_t server_sockets_per_worker(const struct server *s, const struct config *config)
{
    uint64_t files, possible = files_to_use(s, &files);

    return has_bridge(config) ? (size_t)(possible / 2 / s->worker_count) : 0;
}

static unsigned processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t allowed;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
        count = CPU_COUNT(&allowed);
    return count < 1 ? 1 : count > ENDPOINT_MAX_WORKERS ? ENDPOINT_MAX_WORKERS : (unsigned)count;
}

/* A container's limit, or 0. */
static uint64_t memory_of_container(void)
{
    uint64_t bytes = 0;
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%" SCNu64, &bytes) != 1) /* "max" */
        bytes = 0;
    fclose(f);
    return bytes;
}

static uint64_t memory_of_machine(void)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t container = memory_of_container();
    return container && container < machine ? container : machine;
}

static uint64_t memory_of_all(const struct config *config)
{
    return config->memory ? config->memory : memory_of_machine() / 2;
}

/* Connections that one worker may have. Each has room for a session then. */
size_t server_connections_per_worker(const struct server *s, const struct config *config)
{
    uint64_t wanted = config->max_connections;

    if (wanted == 0)
        wanted = memory_of_all(s->config) / MEMORY_PER_CONNECTION;
    return (size_t)((wanted + s->worker_count - 1) / s->worker_count);
}

/* --- the workers --- */

static struct endpoint_config endpoint_config_of(const struct server *s)
{
    struct endpoint_config e = {.server_id = (uint16_t)s->config->server_id,
                                .workers = s->worker_count};

    tls_random(&e.generation, sizeof(e.generation));
    tls_random(e.token_key, sizeof(e.token_key));
    tls_derive(s->secret, "stateless resets", e.reset_key, sizeof(e.reset_key));
    return e;
}

static int make_workers(struct server *s, struct worker_config *wc, char *error, size_t error_size)
{
    for (unsigned i = 0; i < wc->count; i++) {
        wc->index = i;
        listening_take(s->listening, i, &wc->sockets);
        s->workers[i] = worker_new(wc, &worker_ops, s, error, error_size);
        if (!s->workers[i])
            return -1;
    }
    return 0;
}

static int start_workers(struct server *s, char *error, size_t error_size)
{
    for (; s->started < s->worker_count; s->started++) {
        if (worker_start(s->workers[s->started]) < 0) {
            snprintf(error, error_size, "cannot start a thread: %s", strerror(errno));
            return -1;
        }
    }
    return 0;
}

/* --- the beginning --- */

static void tell_admin(const struct server *s)
{
    if (s->admin && admin_port(s->admin))
        LOG(s->log, INFO, "listening", log_text("admin", s->config->admin),
            log_uint("admin_port", admin_port(s->admin)));
    else if (s->admin)
        LOG(s->log, INFO, "listening", log_text("admin", s->config->admin));
}

/* The ids that all workers make, by which packets find the right one. */
static bool listen_first(struct server *s, const struct endpoint_config *endpoint, char *error,
                         size_t error_size)
{
    const struct listening_config config = {.workers = s->worker_count,
                                            .kernel_buffer = s->config->udp_buffer,
                                            .steering = s->config->steering ? endpoint : NULL,
                                            .log = s->log};

    s->listening = listening_new(&config);
    if (!listening_prepare(s->listening, s->config, error, error_size))
        return false;
    listening_commit(s->listening);
    return true;
}

static int start(struct server *s, char *error, size_t error_size)
{
    struct worker_config wc = {.log = *s->log};

    s->worker_count = s->config->workers ? (unsigned)s->config->workers : processors();
    relay_probe_init(&s->probe);
    if (find_secret(s, error, error_size) < 0)
        return -1;
    wc.endpoint = endpoint_config_of(s);
    if (!listen_first(s, &wc.endpoint, error, error_size) ||
        server_make_certificate(s, error, error_size) < 0)
        return -1;
    server_begin_generation(s);
    plan_worker(&s->present->plan, s->config, s->worker_count, memory_of_all(s->config), &wc);
    if (make_workers(s, &wc, error, error_size) < 0)
        return -1;
    if (s->config->admin) {
        s->admin = admin_open(&s->loop, s->config->admin, &admin_ops, s, error, error_size);
        if (!s->admin)
            return -1;
    }
    if (start_workers(s, error, error_size) < 0)
        return -1;
    tell_admin(s);
    listening_given(s->listening, s->config->route_count);
    notify_ready("Serving");
    return 0;
}

/* --- the end --- */

static void check_for_leaks(struct server *s, unsigned index)
{
    struct stats stats = *worker_stats(s->workers[index]);
    const struct stats_row *row;

    while ((row = stats_alive(&stats))) {
        LOG(s->log, ERROR, "leak", log_uint("worker", index), log_text("gauge", row->name),
            log_uint("value", stats_value(&stats, row)));
        *(uint64_t *)((char *)&stats + row->offset) = 0;
        s->code = EXIT_CODE_LEAK;
    }
}

/* All workers have ended, or never began. */
static void finish(struct server *s)
{
    for (unsigned i = 0; i < s->worker_count; i++) {
        if (s->workers[i])
            check_for_leaks(s, i);
        worker_free(s->workers[i]);
    }
    if (s->admin)
        admin_close(s->admin);
    uv_close((uv_handle_t *)&s->wake, NULL);
    uv_close((uv_handle_t *)&s->sigterm, NULL);
    uv_close((uv_handle_t *)&s->sigint, NULL);
    uv_close((uv_handle_t *)&s->sighup, NULL);
    watch_close(s->watch);
    uv_close((uv_handle_t *)&s->renewal, NULL);
    uv_close((uv_handle_t *)&s->force, NULL);
}

static void woken(uv_async_t *async)
{
    struct server *s = async->data;
    struct tally tally = {.rows = NULL};
    struct stats sum;

    pthread_mutex_lock(&s->lock);
    bool sum_is_new = s->sum_is_new, all_ended = s->ended == s->started;
    s->sum_is_new = false;
    sum = s->sum;
    tally_add(&tally, &s->tally);
    pthread_mutex_unlock(&s->lock);
    if (sum_is_new && s->admin)
        admin_counted(s->admin, &sum, &tally, s->worker_count);
    tally_fini(&tally);
    if (all_ended)
        finish(s);
    else
        server_settle_generations(s);
}

static void force_due(uv_timer_t *timer)
{
    const struct server *s = timer->data;

    LOG(s->log, WARN, "ended", log_text("how", "forced"));
    _exit(EXIT_CODE_FORCED);
}

static void signalled(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    const char *name = number == SIGTERM ? "SIGTERM" : "SIGINT";

    s->signals++;
    if (s->signals == 1) {
        LOG(s->log, INFO, "draining", log_text("signal", name),
            log_uint("deadline_ms", s->present->config->drain_timeout / NS_PER_MS));
        notify_stopping("Draining", s->present->config->drain_timeout / 1000 + STOPPING_US);
        for (unsigned i = 0; i < s->started; i++)
            worker_drain(s->workers[i]);
    } else if (s->signals == 2) {
        LOG(s->log, INFO, "closing", log_text("signal", name));
        for (unsigned i = 0; i < s->started; i++)
            worker_close(s->workers[i]);
        uv_timer_start(&s->force, force_due, FORCE_MS, 0);
    } else {
        force_due(&s->force);
    }
}

static void reload_asked(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;

    (void)number;
    if (s->signals == 0)
        server_reload(s);
}

/* --- from beginning to end --- */

static void init(struct server *s)
{
    int failed = uv_loop_init(&s->loop);
    assert(failed == 0);
    (void)failed;
    signal(SIGPIPE, SIG_IGN);
    pthread_mutex_init(&s->lock, NULL);
    uv_async_init(&s->loop, &s->wake, woken);
    uv_signal_init(&s->loop, &s->sigterm);
    uv_signal_init(&s->loop, &s->sigint);
    uv_signal_init(&s->loop, &s->sighup);
    uv_timer_init(&s->loop, &s->renewal);
    uv_timer_init(&s->loop, &s->force);
    s->wake.data = s->sigterm.data = s->sigint.data = s->sighup.data = s;
    s->renewal.data = s->force.data = s;
    s->watch = watch_new(&s->loop, server_files_changed, s);
    uv_signal_start(&s->sigterm, signalled, SIGTERM);
    uv_signal_start(&s->sigint, signalled, SIGINT);
    uv_signal_start(&s->sighup, reload_asked, SIGHUP);
}

int server_run(const struct config *config, int argc, char **argv, const struct log *log,
               char *error, size_t error_size)
{
    struct server s = {.argc = argc, .argv = argv, .config = config, .code = EXIT_CODE_OK};

    error[0] = '\0';
    s.log_now = *log;
    s.log = &s.log_now;
    init(&s);
    if (start(&s, error, error_size) < 0) {
        s.code = EXIT_CODE_FAILED;
        for (unsigned i = 0; i < s.started; i++)
            worker_close(s.workers[i]);
        if (s.started == 0)
            finish(&s);
    }
    uv_run(&s.loop, UV_RUN_DEFAULT);
    uv_loop_close(&s.loop);
    if (s.code == EXIT_CODE_OK)
        LOG(s.log, INFO, "ended", log_text("how", "in good order"));
    tally_fini(&s.tally);
    certificate_free(s.certificate);
    server_free_generations(&s);
    listening_free(s.listening);
    free(s.wanted);
    pthread_mutex_destroy(&s.lock);
    return s.code;
}
