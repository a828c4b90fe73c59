/*
 * An application's addresses: what the configuration says, and what names stand for. Owns the
 * members, and what all links, pipes and dgrams share. Calls dial, resolve and pool;
 * seats and probes are in files of their own.
 */
#include "back/upstream.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "back/upstream_internal.h"
#include "base/log.h"
#include "base/tally.h"

#define READ_SIZE (256 * 1024) /* what a Unix socket holds, and some more */

static int socket_type(const struct upstream_config *config)
{
    return config->socket == UPSTREAM_DATAGRAM ? SOCK_DGRAM : SOCK_STREAM;
}

/* --- members --- */

static struct upstream_member *add_member(struct upstream_source *source,
                                          const struct dial_target *target)
{
    struct upstream *u = source->upstream;
    struct upstream_member *m = calloc(1, sizeof *m);
    assert(m);
    m->upstream = u;
    m->source = source;
    m->id = u->next_id++;
    m->target = *target;
    m->place.identity = pool_hash(target->address, strlen(target->address));
    m->place.max = u->config.max_sessions;
    health_init(&m->health, &u->config.health);
    probe_init(m);
    LIST_INSERT_HEAD(&u->members, m, entry);
    pool_add(&u->pool, &m->place);
    probe_schedule(m);
    return m;
}

static void free_member(void *owner)
{
    struct upstream_member *m = owner;
    probe_fini(m);
    dial_target_fini(&m->target);
    free(m);
}

void member_settle(struct upstream_member *m)
{
    if (!m->retired || m->place.sessions > 0 || m->probe || m->buried)
        return;
    m->buried = true;
    LIST_REMOVE(m, entry);
    turn_bury(m->upstream->env->turn, &m->grave, free_member, m);
}

static void retire(struct upstream_member *m)
{
    struct upstream *u = m->upstream;
    LOG(u->env->log, INFO, "backend.address_gone", log_text("backend", u->name),
        log_text("address", m->target.address), log_uint("sessions", m->place.sessions));
    m->retired = true;
    pool_remove(&u->pool, &m->place);
    probe_stop(m);
    member_settle(m);
}

/* --- names --- */

static void write_address(int type, const struct resolve_address *a, char *to, size_t size)
{
    const char *scheme = type == SOCK_DGRAM ? "udp" : "tcp";
    char host[INET6_ADDRSTRLEN] = "";
    if (a->at.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->at;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(to, size, "%s:[%s]:%u", scheme, host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&a->at;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(to, size, "%s:%s:%u", scheme, host, ntohs(in->sin_port));
    }
}

static struct upstream_member *find_member(const struct upstream_source *source,
                                           const char *address)
{
    struct upstream_member *m;
    LIST_FOREACH (m, &source->upstream->members, entry)
        if (m->source == source && strcmp(m->target.address, address) == 0)
            return m;
    return NULL;
}

static void meet_address(struct upstream_source *source, const struct resolve_address *a)
{
    struct upstream *u = source->upstream;
    char text[SEAT_ADDRESS_SIZE];
    int type = socket_type(&u->config);
    write_address(type, a, text, sizeof text);
    struct upstream_member *m = find_member(source, text);
    if (!m) {
        struct dial_target target = {
            .address = strdup(text), .host = strdup(source->host), .type = type, .len = a->len};
        assert(target.address && target.host);
        memcpy(&target.socket_address, &a->at, a->len);
        m = add_member(source, &target);
        LOG(u->env->log, INFO, "backend.address", log_text("backend", u->name),
            log_text("address", text));
    } else if (m->retired) {
        m->retired = false;
        pool_add(&u->pool, &m->place);
        probe_schedule(m);
    }
    m->seen = true;
}

static void name_resolved(void *user, const struct resolve_address *found, size_t count)
{
    struct upstream_source *source = user;
    struct upstream *u = source->upstream;
    struct upstream_member *m, *next;

    LIST_FOREACH (m, &u->members, entry)
        m->seen = false;
    for (size_t i = 0; i < count; i++)
        meet_address(source, &found[i]);
    for (m = LIST_FIRST(&u->members); m; m = next) {
        next = LIST_NEXT(m, entry);
        if (m->source == source && !m->seen && !m->retired)
            retire(m);
    }
    source->answered = true;
    source->why_not[0] = '\0';
    turn_touch(u->env->turn, &u->flush);
}

static void name_failed(void *user, const char *text)
{
    struct upstream_source *source = user;
    struct upstream *u = source->upstream;

    if (source->why_not[0] == '\0')
        LOG(u->env->log, WARN, "backend.name_failed", log_text("backend", u->name),
            log_text("name", source->host), log_text("why", text));
    source->answered = true;
    snprintf(source->why_not, sizeof source->why_not, "%s: %s", source->host, text);
    turn_touch(u->env->turn, &u->flush);
}

static const struct resolve_ops naming_ops = {name_resolved, name_failed};

/* --- life --- */

/* target becomes a member, or is the name that members come from. */
static void add_source(struct upstream *u, struct dial_target *target)
{
    struct upstream_source *source = &u->sources[u->source_count++];
    source->upstream = u;
    if (target->len > 0) {
        source->answered = true;
        add_member(source, target);
        return;
    }
    source->host = target->host;
    target->host = NULL;
    source->resolve = resolve_new(u->env, u->shared.loop, source->host, target->port,
                                  u->config.resolve_interval_ns, &naming_ops, source);
    dial_target_fini(target);
}

/* Returns false if address cannot be understood, or is not for what the upstream makes. */
static bool target_init(struct dial_target *target, const struct upstream_config *config,
                        const char *address, const char **error)
{
    if (!dial_target_init(target, address, error))
        return false;
    if (config->tls && !pipe_tls_name(config->tls) && !target->host) {
        *error = "TLS over a Unix socket needs the name that the service must prove (tls_name)";
        return false;
    }
    if (target->type == socket_type(config))
        return true;
    *error = target->type == SOCK_DGRAM
                 ? "udp: takes no connections; the address must be unix:PATH or tcp:HOST:PORT"
                 : "datagrams need an address of udp:HOST:PORT";
    return false;
}

/* Returns false if it cannot be used. */
static bool check_tls(const struct upstream_config *config, const char **error)
{
    const char *wrong = config->tls ? pipe_tls_error(config->tls) : NULL;
    if (wrong)
        *error = wrong;
    return !wrong;
}

static bool add_sources(struct upstream *u, const struct upstream_config *config,
                        const char **error)
{
    u->sources = calloc(config->address_count, sizeof *u->sources);
    assert(u->sources);
    for (size_t i = 0; i < config->address_count; i++) {
        struct dial_target target;
        if (!target_init(&target, config, config->addresses[i], error)) {
            dial_target_fini(&target);
            return false;
        }
        add_source(u, &target);
    }
    return true;
}

static void check_config(const struct upstream_config *c)
{
    assert(c->address_count > 0);
    assert(c->attempts > 0 && c->attempts <= SEAT_ATTEMPTS_MAX);
    assert(c->health.failures > 0 && c->health.pause_first_ns > 0);
    assert(c->probe.timeout_ns > 0 && c->resolve_interval_ns > 0);
    assert(c->probe.kind == UPSTREAM_PROBE_CONNECT || c->probe.is_accepted);
    (void)c;
}

struct upstream *upstream_new(struct env *env, uv_loop_t *loop,
                              const struct upstream_config *config, const char **error)
{
    struct upstream *u = calloc(1, sizeof *u);
    assert(u);
    check_config(config);
    u->env = env;
    u->config = *config;
    u->name = strdup(config->name ? config->name : "");
    assert(u->name);
    TAILQ_INIT(&u->asking);
    TAILQ_INIT(&u->waiting);
    turn_flush_init(&u->flush, TURN_BACK, seats_flush, u);
    pool_init(&u->pool, config->policy, &env->random);
    u->shared = (struct link_shared){
        .env = env,
        .loop = loop,
        .connect_timeout_ns = config->connect_timeout_ns,
        .linger_timeout_ns = config->linger_timeout_ns,
        .frame_timeout_ns = config->frame_timeout_ns,
        .max_frame = config->max_frame,
        .stage_size = config->stage_size,
        .read_budget = config->read_budget,
        .read_buffer = malloc(READ_SIZE),
        .read_size = READ_SIZE,
    };
    assert(u->shared.read_buffer);
    u->pipes = (struct pipe_shared){
        .env = env,
        .loop = loop,
        .connect_timeout_ns = config->connect_timeout_ns,
        .linger_timeout_ns = config->linger_timeout_ns,
        .tls = config->tls ? pipe_tls_share(config->tls) : NULL,
    };
    u->dgrams = (struct dgram_shared){.env = env, .loop = loop};
    if (config->socket == UPSTREAM_DATAGRAM) {
        u->dgrams.read_buffer = malloc(DGRAM_BATCH * DGRAM_MAX);
        u->dgrams.stage.bytes = malloc(DGRAM_MAX);
        assert(u->dgrams.read_buffer && u->dgrams.stage.bytes);
    }
    TAILQ_INIT(&u->shared.starving);
    if (check_tls(config, error) && add_sources(u, config, error))
        return u;
    upstream_free(u);
    return NULL;
}

void upstream_stop(struct upstream *u)
{
    struct upstream_member *m;
    u->stopped = true;
    for (size_t i = 0; i < u->source_count; i++)
        if (u->sources[i].resolve)
            resolve_free(u->sources[i].resolve);
    for (size_t i = 0; i < u->source_count; i++)
        u->sources[i].resolve = NULL;
    LIST_FOREACH (m, &u->members, entry)
        probe_stop(m);
}

bool upstream_check(const struct upstream_config *config, const char **error)
{
    bool good = check_tls(config, error);
    for (size_t i = 0; good && i < config->address_count; i++) {
        struct dial_target target;
        good = target_init(&target, config, config->addresses[i], error);
        dial_target_fini(&target);
    }
    return good;
}

bool upstream_is_idle(const struct upstream *u)
{
    return u->shared.links == 0 && u->pipes.pipes == 0 && u->dgrams.dgrams == 0 && u->seats == 0;
}

void upstream_free(struct upstream *u)
{
    struct upstream_member *m;
    assert(u->seats == 0);
    upstream_stop(u);
    assert(u->shared.links == 0 && u->pipes.pipes == 0 && u->dgrams.dgrams == 0);
    while ((m = LIST_FIRST(&u->members))) {
        if (!m->retired)
            pool_remove(&u->pool, &m->place);
        LIST_REMOVE(m, entry);
        free_member(m);
    }
    turn_untouch(u->env->turn, &u->flush);
    pool_fini(&u->pool);
    while (u->shared.spare_count > 0)
        free(u->shared.spare_stages[--u->shared.spare_count]);
    free(u->shared.spare_part);
    free(u->shared.read_buffer);
    free(u->dgrams.read_buffer);
    free(u->dgrams.stage.bytes);
    pipe_tls_free(u->pipes.tls);
    for (size_t i = 0; i < u->source_count; i++)
        free(u->sources[i].host);
    free(u->sources);
    free(u->name);
    free(u);
}

size_t upstream_largest(const struct upstream *u)
{
    return u->shared.stage_size - LINK_FRAME_EXTRA;
}

unsigned upstream_retry_after_s(const struct upstream *u)
{
    uint64_t s = (u->config.queue_timeout_ns + NS_PER_S - 1) / NS_PER_S;
    return s > 0 ? (unsigned)s : 1;
}

void upstream_count(const struct upstream *u, struct tally *to)
{
    const struct upstream_member *m;
    LIST_FOREACH (m, &u->members, entry) {
        struct tally_row *row = tally_row(to, u->name, m->target.address);
        row->sessions += m->place.sessions;
        row->up += !m->retired && m->health.is_up;
        row->down += !m->retired && !m->health.is_up;
        row->given += m->given;
        row->answered += m->answered;
        row->refused += m->refused;
        row->lost += m->lost;
        row->outages += m->outages;
    }
}
