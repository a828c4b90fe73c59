/*
 * value - reads and prints the kinds of values. Owns nothing. Calls draft.
 */
#include "config/value.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/forwarded.h"
#include "base/hostport.h"
#include "base/origin.h"
#include "base/timers.h"

/* --- numbers with units --- */

struct unit {
    const char *name;
    uint64_t worth;
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};
/* The largest first, for printing; the short names are for reading only. */
static const struct unit size_units[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
                                         {"", 1},          {"G", 1 << 30},   {"M", 1 << 20},
                                         {"K", 1 << 10},   {NULL, 0}};
static const struct unit time_units[] = {
    {"h", 3600 * NS_PER_S}, {"m", 60 * NS_PER_S}, {"s", NS_PER_S}, {"ms", NS_PER_MS}, {NULL, 0}};

static const struct unit *units_of(const struct key *key)
{
    return key->kind == KEY_SIZE ? size_units : key->kind == KEY_DURATION ? time_units : no_units;
}

/* Digits, then a unit. No duration needs one if it is 0. */
static bool parse_number(const struct key *key, const char *text, uint64_t *number)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    *number = strtoull(text, &end, 10);
    if (errno)
        return false;
    if (*end == '\0' && *number == 0)
        return true;
    for (const struct unit *u = units_of(key); u->name; u++)
        if (strcmp(end, u->name) == 0)
            return !__builtin_mul_overflow(*number, u->worth, number);
    return false;
}

static void format_number(const struct key *key, uint64_t number, char to[32])
{
    for (const struct unit *u = units_of(key); number && u->name; u++)
        if (number % u->worth == 0) {
            snprintf(to, 32, "%" PRIu64 "%s", number / u->worth, u->name);
            return;
        }
    snprintf(to, 32, "%" PRIu64, number);
}

/* --- texts --- */

/* sun_path holds 108 bytes, the terminating one included. */
enum { UNIX_PATH_MAX_LEN = 107 };

static bool is_unix(const char *text)
{
    size_t len = strlen(text);
    return strncmp(text, "unix:", 5) == 0 && len > 5 && len - 5 <= UNIX_PATH_MAX_LEN;
}

static bool is_host_and_port(const char *text, bool exact)
{
    char host[HOSTPORT_HOST_SIZE];
    unsigned port;

    return hostport_split(text, host, &port) && (!exact || (host[0] && port));
}

static bool is_listen(const char *text)
{
    return is_host_and_port(text, false);
}

static bool is_admin(const char *text)
{
    return is_unix(text) || is_host_and_port(text, false);
}

static bool is_app(const char *text)
{
    return is_unix(text) || (strncmp(text, "tcp:", 4) == 0 && is_host_and_port(text + 4, true));
}

static bool is_udp(const char *text)
{
    return strncmp(text, "udp:", 4) == 0 && is_host_and_port(text + 4, true);
}

static bool is_file(const char *text)
{
    return text[0] != '\0';
}

bool value_is_name(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len <= 64 && isalnum((unsigned char)text[0]) &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

/* RFC 1123, section 2.1, with the underscore that some have. */
static bool is_label(const char *text, size_t len)
{
    if (len == 0 || len > 63 || text[0] == '-' || text[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '-' && text[i] != '_')
            return false;
    return true;
}

static bool is_host(const char *text)
{
    struct in6_addr ignored;
    bool wild = strncmp(text, "*.", 2) == 0;
    const char *from = wild ? text + 2 : text;

    if (!wild && inet_pton(AF_INET6, text, &ignored) == 1)
        return true;
    if (strlen(text) > 253)
        return false;
    for (;;) {
        size_t len = strcspn(from, ".");
        if (!is_label(from, len))
            return false;
        if (from[len] == '\0')
            return true;
        from += len + 1;
    }
}

static bool is_server(const char *text)
{
    return text[0] != '*' && is_host(text);
}

static bool is_path(const char *text)
{
    return text[0] == '/' && strpbrk(text, "?#") == NULL;
}

/* RFC 9110, section 5.6.2; HTTP/3 has lower case only (RFC 9114, section 4.2). */
static bool is_header(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len <= 128 &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") == len;
}

static const struct {
    const char *argument; /* in --help */
    const char *expected;
    bool (*is)(const char *text); /* of texts */
} kinds[KEY_KINDS] = {
    [KEY_SWITCH] = {"", "true or false", NULL},
    [KEY_NUMBER] = {"N", "a number", NULL},
    [KEY_SIZE] = {"SIZE", "a size such as 64KiB", NULL},
    [KEY_DURATION] = {"TIME", "a time such as 500ms or 10s", NULL},
    [KEY_CHOICE] = {"", "", NULL},
    [KEY_LISTEN] = {"HOST:PORT", "HOST:PORT or :PORT", is_listen},
    [KEY_ADMIN] = {"ADDRESS", "HOST:PORT or unix:PATH", is_admin},
    [KEY_APP] = {"ADDRESS", "unix:PATH or tcp:HOST:PORT", is_app},
    [KEY_UDP] = {"ADDRESS", "udp:HOST:PORT", is_udp},
    [KEY_FILE] = {"FILE", "a file", is_file},
    [KEY_NAME] = {"NAME", "a name of letters, digits, '.', '_' and '-'", value_is_name},
    [KEY_HOST] = {"HOST", "a host such as example.org or *.example.org", is_host},
    [KEY_SERVER] = {"HOST", "a server name such as example.org", is_server},
    [KEY_NETWORK] = {"NETWORK", "an IP address or a network such as 10.0.0.0/8",
                     forwarded_is_network},
    [KEY_ORIGIN] = {"ORIGIN", "an origin such as https://example.org or https://*.example.org",
                    origin_is_pattern},
    [KEY_PATH] = {"PATH", "a path that begins with '/', without a query", is_path},
    [KEY_HEADER] = {"NAME", "a header's name in lower case", is_header},
    [KEY_HEADERS] = {"NAME: VALUE", "headers as NAME: VALUE, names in lower case", is_header},
    [KEY_TARGETS] = {"NAME: BACKEND",
                     "targets as NAME: BACKEND, names of letters, digits, '.', '_' and '-'",
                     value_is_name},
};

/* --- what is expected --- */

static void list_choices(const struct key *key, const char *between, const char *last,
                         char to[VALUE_TEXT_SIZE])
{
    size_t len = 0;

    to[0] = '\0';
    for (size_t i = 0; key->choices[i]; i++) {
        const char *gap = i == 0 ? "" : key->choices[i + 1] ? between : last;
        len += (size_t)snprintf(to + len, VALUE_TEXT_SIZE - len, "%s%s", gap, key->choices[i]);
        assert(len < VALUE_TEXT_SIZE);
    }
}

void value_argument(const struct key *key, char to[VALUE_TEXT_SIZE])
{
    if (key->kind == KEY_CHOICE)
        list_choices(key, "|", "|", to);
    else
        snprintf(to, VALUE_TEXT_SIZE, "%s%s%s", kinds[key->kind].argument, key->word ? "|" : "",
                 key->word ? key->word : "");
}

void value_expected(const struct key *key, char to[VALUE_TEXT_SIZE])
{
    char min[32], max[32], word[64] = "";
    /* After "such as" the word wants a comma. */
    const char *comma = key->kind == KEY_SIZE || key->kind == KEY_DURATION ? "," : "";

    if (key->word)
        snprintf(word, sizeof(word), "%s or '%s'", comma, key->word);
    if (key->kind == KEY_CHOICE) {
        list_choices(key, ", ", " or ", to);
    } else if (key->max) {
        format_number(key, key->min, min);
        format_number(key, key->max, max);
        snprintf(to, VALUE_TEXT_SIZE, "%s%s, from %s to %s", kinds[key->kind].expected, word, min,
                 max);
    } else {
        snprintf(to, VALUE_TEXT_SIZE, "%s%s", kinds[key->kind].expected, word);
    }
}

/* --- setting --- */

/* Where an address of the wrong kind belongs. */
static const char *place_of(const struct key *key, const char *text)
{
    if (key->kind == KEY_APP && is_udp(text))
        return ", which is for the 'datagrams' of a bridge";
    return key->kind == KEY_UDP && is_app(text) ? ", which is for 'addresses'" : "";
}

static bool refuse(struct draft *d, const struct key *key, const char *text, unsigned line,
                   const char *label)
{
    char expected[VALUE_TEXT_SIZE];

    if ((key->kind == KEY_APP || key->kind == KEY_ADMIN) && strncmp(text, "unix:", 5) == 0 &&
        strlen(text) - 5 > UNIX_PATH_MAX_LEN)
        return draft_complain(d, line, label,
                              "the path of a Unix socket has at most %d bytes, got %zu",
                              UNIX_PATH_MAX_LEN, strlen(text) - 5);
    value_expected(key, expected);
    return draft_complain(d, line, label, "expected %s, got '%.100s'%s%s", expected, text,
                          strlen(text) > 100 ? " and so on" : "", place_of(key, text));
}

static bool has_controls(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

static bool parse_choice(const struct key *key, const char *text, uint64_t *number)
{
    for (*number = 0; key->choices[*number]; ++*number)
        if (strcmp(text, key->choices[*number]) == 0)
            return true;
    return false;
}

/* All kinds that are stored as numbers. */
static bool parse(const struct key *key, const char *text, uint64_t *number)
{
    switch (key->kind) {
    case KEY_SWITCH:
        *number = strcmp(text, "true") == 0;
        return *number || strcmp(text, "false") == 0;
    case KEY_CHOICE:
        return parse_choice(key, text, number);
    default:
        *number = 0;
        return (key->word && strcmp(text, key->word) == 0) ||
               (parse_number(key, text, number) && *number >= key->min && *number <= key->max);
    }
}

static bool is_text(const struct key *key)
{
    return key->kind >= KEY_LISTEN;
}

bool value_set(struct draft *d, const struct key *key, void *base, const char *text, unsigned line,
               const char *label)
{
    void *field = (char *)base + key->offset;

    assert(key->kind < KEY_HEADERS && key->kind != KEY_HEADING);
    if (has_controls(text))
        return draft_complain(d, line, label, "a control character stands in it");
    if (!is_text(key))
        return parse(key, text, field) || refuse(d, key, text, line, label);
    bool is_word = key->word && strcmp(text, key->word) == 0;
    if (!is_word && !kinds[key->kind].is(text))
        return refuse(d, key, text, line, label);
    struct config_texts *texts = field;
    if (!key->many)
        *(const char **)field = config_copy(d->config, text, strlen(text));
    else if (texts->count == KEY_LIST_MAX)
        return draft_complain(d, line, label, "more than %d are too many", KEY_LIST_MAX);
    else
        config_texts_add(d->config, texts, text);
    return true;
}

/* Headers of a connection, which HTTP/3 has not (RFC 9114, section 4.2), and of a body: with one of
 * them an answer is malformed. */
static bool is_misplaced(const char *name)
{
    static const char *const names[] = {"connection",        "keep-alive", "proxy-connection",
                                        "transfer-encoding", "upgrade",    "te",
                                        "content-length"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

bool value_set_header(struct draft *d, const struct key *key, void *base, const char *name,
                      const char *text, unsigned line, const char *label)
{
    struct config_headers *headers = (void *)((char *)base + key->offset);
    size_t len = strlen(text);

    if (!is_header(name))
        return refuse(d, key, name, line, label);
    if (is_misplaced(name))
        return draft_complain(d, line, label, "this header has no place in HTTP/3");
    /* RFC 9110, section 5.5 */
    if (has_controls(text) || (len && (text[0] == ' ' || text[len - 1] == ' ')) || len > 4096)
        return draft_complain(d, line, label,
                              "expected printable text without blanks at its ends, got '%.100s'",
                              has_controls(text) ? "control characters" : text);
    if (headers->count == KEY_LIST_MAX)
        return draft_complain(d, line, label, "more than %d are too many", KEY_LIST_MAX);
    config_headers_add(d->config, headers, name, text);
    return true;
}

bool value_set_target(struct draft *d, const struct key *key, struct config_target *target,
                      const char *name, const char *backend, unsigned line, const char *label)
{
    if (!value_is_name(name))
        return refuse(d, key, name, line, label);
    if (!value_is_name(backend))
        return draft_complain(d, line, label, "expected %s, got '%.100s'", kinds[KEY_NAME].expected,
                              backend);
    target->name = config_copy(d->config, name, strlen(name));
    target->backend = config_copy(d->config, backend, strlen(backend));
    return true;
}

void value_preset(struct draft *d, const struct key *key, void *base)
{
    bool good = !key->preset || value_set(d, key, base, key->preset, 0, key->name);
    assert(good);
    (void)good;
}

void value_preset_all(struct draft *d)
{
    for (size_t i = 0; i < key_count; i++)
        if (key_stands(&keys[i], KEY_OF_ALL))
            value_preset(d, &keys[i], key_base(d->config, &keys[i]));
}

/* --- printing --- */

/* YAML 1.2, section 7.3.1: JSON's escapes are among those of YAML. */
void value_write_text(const char *text, FILE *to)
{
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', to);
        fputc(*text, to);
    }
    fputc('"', to);
}

static void write_number(const struct key *key, uint64_t number, FILE *to)
{
    char text[32];

    if (key->kind == KEY_SWITCH)
        fputs(number ? "true" : "false", to);
    else if (key->kind == KEY_CHOICE)
        fputs(key->choices[number], to);
    else if (key->word && number == 0)
        fputs(key->word, to);
    else {
        format_number(key, number, text);
        fputs(text, to);
    }
}

static void write_headers(const struct config_headers *headers, FILE *to)
{
    fputc('{', to);
    for (size_t i = 0; i < headers->count; i++) {
        fputs(i ? ", " : "", to);
        value_write_text(headers->at[i].name, to);
        fputs(": ", to);
        value_write_text(headers->at[i].value, to);
    }
    fputc('}', to);
}

static void write_targets(const struct config_targets *targets, FILE *to)
{
    fputc('{', to);
    for (size_t i = 0; i < targets->count; i++) {
        fputs(i ? ", " : "", to);
        value_write_text(targets->at[i].name, to);
        fputs(": ", to);
        value_write_text(targets->at[i].backend, to);
    }
    fputc('}', to);
}

void value_write(const struct key *key, const void *base, FILE *to)
{
    const void *field = (const char *)base + key->offset;
    const struct config_texts *texts = field;

    if (key->kind == KEY_HEADERS) {
        write_headers(field, to);
    } else if (key->kind == KEY_TARGETS) {
        write_targets(field, to);
    } else if (!is_text(key)) {
        write_number(key, *(const uint64_t *)field, to);
    } else if (!key->many) {
        value_write_text(*(const char *const *)field, to);
    } else {
        fputc('[', to);
        for (size_t i = 0; i < texts->count; i++) {
            fputs(i ? ", " : "", to);
            value_write_text(texts->at[i], to);
        }
        fputc(']', to);
    }
}

bool value_is_absent(const struct key *key, const void *base)
{
    const void *field = (const char *)base + key->offset;

    if (key->kind == KEY_TARGETS)
        return ((const struct config_targets *)field)->count == 0;
    return is_text(key) && !key->many && key->kind != KEY_HEADERS &&
           *(const char *const *)field == NULL;
}
