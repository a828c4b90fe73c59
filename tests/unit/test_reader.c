#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "config/arguments.h"
#include "config/value.h"
#include "config_text.h"

static char error[1024];
static char authority[] = CONFIG_TEXT_FILE;

static int write_authority(void **state)
{
    (void)state;
    config_text_write(authority, CONFIG_TEXT_AUTHORITY);
    return 0;
}

static int remove_authority(void **state)
{
    (void)state;
    unlink(authority);
    return 0;
}

static struct config *read_text(const char *text, size_t len)
{
    return config_text_read(text, len, error, sizeof(error));
}

static struct config *read_string(const char *text)
{
    return read_text(text, strlen(text));
}

/* --- each key --- */

/* A configuration in which a key stands at a place with a value. */
struct sample {
    FILE *to;
    const struct key *key;
    enum key_place place;
    const char *value;
    unsigned line, line_of_key;
};

static void write_line(struct sample *s, const char *indent, const char *name, const char *value)
{
    s->line++;
    fprintf(s->to, "%s%s%s%s\n", indent, name, name[0] ? ": " : "", value);
}

/* The key if this is its place. */
static void write_key(struct sample *s, enum key_place place, const char *indent)
{
    if (s->place != place)
        return;
    write_line(s, indent, s->key->name, s->value);
    s->line_of_key = s->line;
}

/* What has to stand there, unless the key itself does. */
static void write_needed(struct sample *s, enum key_place place, const char *name,
                         const char *value)
{
    if (s->place != place || strcmp(s->key->name, name) != 0)
        write_line(s, "    ", name, value);
}

/* What a bridge's key asks for. */
static void write_bridge(struct sample *s)
{
    if (s->place == KEY_OF_ALL || s->key->only != KEY_FOR_BRIDGE)
        return;
    write_line(s, "    ", "kind", "bridge");
    if (strcmp(s->key->name, "datagram_idle_timeout") == 0)
        write_line(s, "    ", "datagrams", "udp:host:1");
    if (strncmp(s->key->name, "tls_", 4) == 0)
        write_line(s, "    ", "tls", "true");
    if (strncmp(s->key->name, "tls", 3) == 0 && strcmp(s->key->name, "tls_name") != 0)
        write_line(s, "    ", "tls_name", "service.example");
}

static char *write_sample(struct sample *s)
{
    char *text = NULL;
    size_t size = 0;

    s->to = open_memstream(&text, &size);
    write_line(s, "", "", "# a comment, so that no line has the number of another");
    write_key(s, KEY_OF_ALL, "");
    write_line(s, "", "", "listeners:\n  -");
    s->line++;
    write_needed(s, KEY_OF_LISTENER, "address", ":1");
    write_key(s, KEY_OF_LISTENER, "    ");
    write_line(s, "", "", "certificates:\n  -");
    s->line++;
    write_needed(s, KEY_OF_CERTIFICATE, "cert", "/cert.pem");
    write_key(s, KEY_OF_CERTIFICATE, "    ");
    write_line(s, "", "", "backends:\n  app:");
    s->line++;
    write_needed(s, KEY_OF_BACKEND, "addresses", "unix:/app");
    write_bridge(s);
    write_key(s, KEY_OF_BACKEND, "    ");
    write_line(s, "", "", "routes:\n  -");
    s->line++;
    if (s->key->kind == KEY_TARGETS)
        write_line(s, "    ", "path", "/{name}");
    else
        write_needed(s, KEY_OF_ROUTE, "backend", "app");
    write_key(s, KEY_OF_ROUTE, "    ");
    fclose(s->to);
    return text;
}

static void label_of(const struct sample *s, char to[128])
{
    static const char *const before[KEY_PLACES] = {"", "listeners[0].", "certificates[0].",
                                                   "backends.app.", "routes[0]."};
    snprintf(to, 128, "%s%s", before[s->place], s->key->name);
}

/* One that is not the default. */
static const char *good_value(const struct key *key)
{
    static char text[64];
    static const char *const values[KEY_KINDS] = {[KEY_LISTEN] = "127.0.0.1:1",
                                                  [KEY_ADMIN] = "unix:/admin",
                                                  [KEY_APP] = "tcp:host:1",
                                                  [KEY_UDP] = "udp:host:1",
                                                  [KEY_FILE] = "/some/file",
                                                  [KEY_NAME] = "app",
                                                  [KEY_HOST] = "'*.example.org'",
                                                  [KEY_SERVER] = "service.example",
                                                  [KEY_NETWORK] = "10.0.0.0/8",
                                                  [KEY_ORIGIN] = "'https://*.x.org'",
                                                  [KEY_PATH] = "/some/path",
                                                  [KEY_HEADER] = "x-some",
                                                  [KEY_HEADERS] = "{x-some: thing, x-more: ''}",
                                                  [KEY_TARGETS] = "{some: app, more: app}"};
    /* Or it would be larger than what all streams have together. */
    bool is_small = strstr(key->name, "stream_window") != NULL;

    if (key->kind == KEY_SWITCH)
        return strcmp(key->preset, "true") == 0 ? "false" : "true";
    if (key->kind == KEY_CHOICE)
        return key->choices[0];
    if (key->kind == KEY_DURATION)
        return "1h";
    if (strcmp(key->name, "tls_ca") == 0)
        return authority;
    if (key->kind > KEY_CHOICE)
        return values[key->kind];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(is_small ? key->min : key->max));
    return text;
}

static void test_each_key_is_printed_as_it_was_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < key_count; i++)
        for (enum key_place place = KEY_OF_ALL; place <= KEY_OF_ROUTE; place++) {
            struct sample s = {.key = &keys[i], .place = place};
            if (!key_stands(&keys[i], place))
                continue;
            s.value = good_value(&keys[i]);
            char *text = write_sample(&s);
            struct config *c = read_string(text);
            if (!c)
                fail_msg("%s\n%s", error, text);
            char *first = config_text_print(c);
            config_free(c);
            c = read_string(first);
            if (!c)
                fail_msg("%s\n%s", error, first);
            char *second = config_text_print(c);
            config_free(c);
            assert_string_equal(first, second);
            free(first);
            free(second);
            free(text);
        }
}

/* What it must not be, and how that is said in the sentence. */
static const char *bad_value(const struct key *key)
{
    switch (key->kind) {
    case KEY_FILE:
        return "''";
    case KEY_HEADERS:
        return "{Some-Header: x}";
    case KEY_TARGETS:
        return "{some/name: app}";
    default:
        return "'? no such thing'";
    }
}

static void expect_error(const struct sample *s, const char *detail, const char *got)
{
    char expected[VALUE_TEXT_SIZE], label[128], sentence[512];

    label_of(s, label);
    value_expected(s->key, expected);
    snprintf(sentence, sizeof(sentence), "test.yaml:%u: %s%s: expected %s, got %s", s->line_of_key,
             label, detail, expected, got);
    assert_string_equal(error, sentence);
}

static void test_each_key_says_where_its_value_is_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < key_count; i++)
        for (enum key_place place = KEY_OF_ALL; place <= KEY_OF_ROUTE; place++) {
            struct sample s = {.key = &keys[i], .place = place};
            if (!key_stands(&keys[i], place))
                continue;
            s.value = bad_value(&keys[i]);
            char *text = write_sample(&s);
            assert_null(read_string(text));
            bool is_headers = keys[i].kind == KEY_HEADERS, is_targets = keys[i].kind == KEY_TARGETS;
            expect_error(&s,
                         is_headers   ? ".Some-Header"
                         : is_targets ? ".some/name"
                                      : "",
                         is_headers                 ? "'Some-Header'"
                         : is_targets               ? "'some/name'"
                         : keys[i].kind == KEY_FILE ? "''"
                                                    : "'? no such thing'");
            free(text);
        }
}

static void test_each_key_says_what_is_not_a_single_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < key_count; i++)
        for (enum key_place place = KEY_OF_ALL; place <= KEY_OF_ROUTE; place++) {
            bool is_targets = keys[i].kind == KEY_TARGETS;
            struct sample s = {
                .key = &keys[i], .place = place, .value = is_targets ? "[a, b]" : "{a: b}"};
            if (!key_stands(&keys[i], place) || keys[i].kind == KEY_HEADERS)
                continue;
            char *text = write_sample(&s);
            assert_null(read_string(text));
            expect_error(&s, "", is_targets ? "a list" : "a mapping");
            free(text);
        }
}

/* --- what is wrong with more than one value --- */

#define CERT    "certificates: [{cert: auto}]\n"
#define APP     "backends: {app: {addresses: unix:/a}}\n"
#define ROUTES  "routes: [{backend: app}]\n"
#define MINIMUM CERT APP ROUTES
#define TEN     "0123456789"
#define LONG    TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "0123456" /* 107 */

static const struct {
    const char *text, *error;
} mistakes[] = {
    {"", "test.yaml:1: the file is empty"},
    {"just words", "test.yaml:1: expected keys with values, got a single value"},
    {"- a\n- b\n", "test.yaml:1: expected keys with values, got a list"},
    {"workers: 4\n  more: 5\n",
     "test.yaml:2: this is not YAML: mapping values are not allowed in this context"},
    {"workers: [\n", "test.yaml:2: this is not YAML: did not find expected node content, while "
                     "parsing a flow node"},
    {"a: \xff\n", "test.yaml:1: this is not YAML: invalid leading UTF-8 octet"},
    {MINIMUM "wrokers: 4\n", "test.yaml:4: there is no key 'wrokers' here; is 'workers' meant?"},
    {MINIMUM "frobnicate: 4\n", "test.yaml:4: there is no key 'frobnicate' here"},
    {MINIMUM "listner: []\n", "test.yaml:4: there is no key 'listner' here; is 'listeners' meant?"},
    {MINIMUM "cert: auto\n", "test.yaml:4: there is no key 'cert' here; its place is certificates"},
    {CERT "backends: {app: {address: unix:/a}}\n",
     "test.yaml:2: backends.app: there is no key 'address' here; its place is listeners; is "
     "'addresses' meant?"},
    {MINIMUM "---\nworkers: 4\n",
     "test.yaml:5: a second document begins here; one file is one configuration"},
    {MINIMUM "...\n}\n", "test.yaml:5: this is not YAML: did not find expected <document start>"},
    {MINIMUM "listeners:\n  - address: :443\n  - address: :443\n",
     "test.yaml:6: listeners[1].address: ':443' is listeners[0]'s already"},
    {MINIMUM "? [a]\n: b\n", "test.yaml:4: expected the name of a key"},
    {MINIMUM "workers: 4\nworkers: 5\n", "test.yaml:5: workers: stands in line 4 already"},
    {MINIMUM CERT, "test.yaml:4: certificates: stands in the file already"},
    {MINIMUM "workers: \"4\\0\"\n", "test.yaml:4: workers: a zero byte stands in it"},
    {MINIMUM "admin: \"unix:/a\\nb\"\n", "test.yaml:4: admin: a control character stands in it"},
    {MINIMUM "workers: 4000\n",
     "test.yaml:4: workers: expected a number or 'auto', from 1 to 256, got '4000'"},
    {MINIMUM "memory: 1MiB\n", "test.yaml:4: memory: expected a size such as 64KiB, or 'auto', "
                               "from 16MiB to 1024GiB, got '1MiB'"},
    {MINIMUM "idle_timeout: 30\n", "test.yaml:4: idle_timeout: expected a time such as 500ms or "
                                   "10s, from 1s to 1h, got '30'"},
    {MINIMUM "stream_window: 9MiB\n",
     "test.yaml:4: stream_window: stream_window is larger than connection_window"},
    {MINIMUM "connection_window: 512KiB\n",
     "test.yaml:4: connection_window: stream_window is larger than connection_window"},
    {MINIMUM "app_session_window: 64KiB\n",
     "test.yaml:4: app_session_window: app_stream_window is larger than app_session_window"},
    /* sections */
    {APP ROUTES, "test.yaml: certificates are missing: at least one with 'cert' and 'key', or with "
                 "'cert: auto' for development"},
    {CERT ROUTES, "test.yaml: backends are missing: at least one with 'addresses'"},
    {CERT APP, "test.yaml: routes are missing: at least one with 'backend'"},
    {CERT APP "routes: []\n", "test.yaml: routes are missing: at least one with 'backend'"},
    {CERT APP "routes: {backend: app}\n", "test.yaml:3: routes: expected a list, got a mapping"},
    {CERT ROUTES "backends: [app]\n",
     "test.yaml:3: backends: expected names with keys, got a list"},
    {CERT APP "routes: [app]\n",
     "test.yaml:3: routes[0]: expected keys with values, got a single value"},
    {CERT ROUTES "backends:\n  app: unix:/a\n",
     "test.yaml:4: backends.app: expected keys with values, got a single value"},
    {CERT ROUTES "backends:\n  a b: {addresses: unix:/a}\n",
     "test.yaml:4: backends: expected a name of letters, digits, '.', '_' and '-', got 'a b'"},
    {CERT ROUTES "backends:\n  app: {addresses: unix:/a}\n  app: {addresses: unix:/a}\n",
     "test.yaml:5: backends: 'app' stands in line 4 already"},
    {CERT ROUTES "backends:\n  app: {kind: app}\n",
     "test.yaml:4: backends.app: 'addresses' is missing: where does it listen, unix:PATH or "
     "tcp:HOST:PORT?"},
    {CERT ROUTES "backends:\n  app:\n    addresses: []\n",
     "test.yaml:5: backends.app.addresses: 'addresses' is missing: where does it listen, unix:PATH "
     "or tcp:HOST:PORT?"},
    {CERT ROUTES "backends:\n  app:\n    addresses:\n      - unix:/a\n      - /b\n",
     "test.yaml:7: backends.app.addresses[1]: expected unix:PATH or tcp:HOST:PORT, got '/b'"},
    {CERT ROUTES "backends:\n  app:\n    addresses: unix:/" LONG "\n",
     "test.yaml:5: backends.app.addresses: the path of a Unix socket has at most 107 bytes, got "
     "108"},
    {CERT ROUTES "backends:\n  app:\n    addresses: [unix:/a, unix:/b, unix:/a]\n",
     "test.yaml:5: backends.app.addresses: 'unix:/a' stands here twice"},
    /* certificates */
    {APP ROUTES "certificates:\n  - key: k.pem\n",
     "test.yaml:4: certificates[0]: 'cert' is missing: a file, or auto"},
    {APP ROUTES "certificates:\n  - cert: auto\n    key: k.pem\n",
     "test.yaml:5: certificates[0].key: does not go with an automatic certificate, which has its "
     "own key"},
    /* routes */
    {CERT APP "routes:\n  - path: /\n",
     "test.yaml:4: routes[0]: 'backend' is missing: the name of one"},
    {CERT APP "routes:\n  - path: /\n    backend: chat\n",
     "test.yaml:5: routes[0].backend: expected the name of a backend (app), got 'chat'"},
    {CERT APP "routes:\n  - backend: app\n    path: /a\n    path_prefix: /b\n",
     "test.yaml:6: routes[0].path_prefix: does not go with 'path'"},
    {CERT APP "routes:\n  - backend: app\n    root_path: /a/\n",
     "test.yaml:5: routes[0].root_path: expected a path without a slash at its end, got '/a/'"},
    {CERT APP "routes:\n  - backend: app\n    app_session_window: 128KiB\n",
     "test.yaml:5: routes[0].app_session_window: app_stream_window is larger than "
     "app_session_window"},
    {CERT APP "routes:\n  - {backend: app, path: /}\n  - backend: app\n  - backend: app\n",
     "test.yaml:6: routes[2]: no session ever comes here: the route before it, which says neither "
     "hosts nor path, takes all"},
    {CERT APP "routes:\n  - backend: app\n    paht: /a\n",
     "test.yaml:5: routes[0]: there is no key 'paht' here; is 'path' meant?"},
    {CERT APP "routes:\n  - backend: app\n    workers: 3\n",
     "test.yaml:5: routes[0]: there is no key 'workers' here; its place is the top level"},
    {CERT APP "routes:\n  - backend: app\n    balance: hash\n",
     "test.yaml:5: routes[0]: there is no key 'balance' here; its place is the top level or "
     "backends"},
    {CERT APP "routes:\n  - backend: app\n    add_request_headers: [a]\n",
     "test.yaml:5: routes[0].add_request_headers: expected headers as NAME: VALUE, got a list"},
    {CERT APP "routes:\n  - backend: app\n    add_response_headers: {connection: close}\n",
     "test.yaml:5: routes[0].add_response_headers.connection: this header has no place in HTTP/3"},
    {CERT APP "routes:\n  - backend: app\n    add_request_headers: {a: [b]}\n",
     "test.yaml:5: routes[0].add_request_headers: expected headers as NAME: VALUE"},
    {CERT APP "routes:\n  - backend: app\n    add_request_headers:\n      a: \"b\\r\\nc: d\"\n",
     "test.yaml:6: routes[0].add_request_headers.a: expected printable text without blanks at its "
     "ends, got 'control characters'"},
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        struct config *c = read_string(mistakes[i].text);
        assert_null(c);
        assert_string_equal(error, mistakes[i].error);
    }
}

/* --- what is read --- */

static void test_routes_and_backends_begin_with_what_holds_for_all(void **state)
{
    struct config *c = read_string(CERT "routes:\n"
                                        "  - {backend: b, path: /, accept_timeout: 2s,\n"
                                        "     origins: [https://own.example]}\n"
                                        "  - {backend: a}\n"
                                        "backends:\n"
                                        "  a: {addresses: unix:/a}\n"
                                        "  b: {addresses: [unix:/b, unix:/c], max_frame: 2MiB}\n"
                                        "accept_timeout: 1s\n"
                                        "max_frame: 4MiB\n"
                                        "origins: [https://a.example, https://b.example]\n");

    (void)state;
    assert_non_null(c);
    assert_int_equal(c->routes[0].accept_timeout, UINT64_C(2000000000));
    assert_int_equal(c->routes[1].accept_timeout, UINT64_C(1000000000));
    assert_int_equal(c->routes[0].origins.count, 1);
    assert_int_equal(c->routes[1].origins.count, 2);
    assert_int_equal(c->routes[0].backend_index, 1);
    assert_string_equal(c->routes[0].name, "b");
    assert_int_equal(c->backends[0].max_frame, 4 << 20);
    assert_int_equal(c->backends[1].max_frame, 2 << 20);
    assert_int_equal(c->backends[1].addresses.count, 2);
    assert_int_equal(c->listener_count, 1);
    assert_string_equal(c->listeners[0].address, ":4433");
    config_free(c);
}

static void test_aliases(void **state)
{
    struct config *c = read_string(CERT APP "origins: &o [https://a.example]\n"
                                            "routes:\n"
                                            "  - &r {backend: app, path: /, origins: *o}\n"
                                            "  - *r\n");

    (void)state;
    assert_non_null(c);
    assert_int_equal(c->route_count, 2);
    assert_string_equal(c->routes[1].origins.at[0], "https://a.example");
    config_free(c);
    assert_null(read_string(MINIMUM "origins: &o [*o]\n"));
    assert_string_equal(error, "test.yaml:4: origins[0]: expected an origin such as "
                               "https://example.org or https://*.example.org, got a list");
}

static void test_more_than_there_may_be(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    (void)state;
    fprintf(to, CERT APP "routes:\n");
    for (int i = 0; i < 1025; i++)
        fprintf(to, "  - {backend: app, path: /%d}\n", i);
    fclose(to);
    assert_null(read_string(text));
    assert_string_equal(error, "test.yaml:4: routes: more than 1024 are too many");
    *strstr(text, "  - {backend: app, path: /1024}") = '\0';
    struct config *c = read_string(text);
    assert_non_null(c);
    assert_int_equal(c->route_count, 1024);
    config_free(c);
    free(text);

    to = open_memstream(&text, &size);
    fprintf(to, MINIMUM "hosts:\n");
    for (int i = 0; i < 257; i++)
        fprintf(to, "  - host%d\n", i);
    fclose(to);
    assert_null(read_string(text));
    assert_string_equal(error, "test.yaml:261: hosts[256]: more than 256 are too many");
    free(text);

    text = malloc(20000);
    memset(text, '[', 20000);
    assert_null(read_text(text, 20000));
    free(text);
}

/* --- files --- */

static char *example(void)
{
    static char path[4096];
    const char *source = getenv("SLUICE_SOURCE");

    snprintf(path, sizeof(path), "%s/docs/sluice.yaml", source ? source : ".");
    return path;
}

static enum arguments_wish read_arguments(struct config **c, char *first, ...)
{
    char *argv[16] = {"sluice", first};
    int argc = 1;
    va_list more;

    va_start(more, first);
    while (argv[argc])
        argv[++argc] = va_arg(more, char *);
    va_end(more);
    return arguments_read(c, argc, argv, error, sizeof(error));
}

static void test_the_example(void **state)
{
    struct config *c;

    (void)state;
    assert_int_equal(read_arguments(&c, "--config", example(), NULL), ARGUMENTS_RUN);
    assert_string_equal(error, "");
    assert_int_equal(c->backend_count, 7);
    assert_int_equal(c->route_count, 6);
    assert_int_equal(c->routes[0].accept_timeout, UINT64_C(10000000000));
    assert_int_equal(c->routes[1].accept_timeout, UINT64_C(5000000000));
    assert_int_equal(c->backends[3].tls, true);
    assert_string_equal(c->backends[4].datagrams.at[0], "udp:127.0.0.1:53");
    assert_int_equal(c->routes[3].targets.count, 2);
    assert_int_equal(c->routes[3].targets.at[1].backend_index, 6);
    config_free(c);
}

static void test_the_command_line_goes_before_the_file(void **state)
{
    struct config *c;

    (void)state;
    assert_int_equal(
        read_arguments(&c, "--workers", "3", "--config", example(), "--accept-timeout", "7s", NULL),
        ARGUMENTS_RUN);
    assert_int_equal(c->workers, 3);
    assert_int_equal(c->routes[0].accept_timeout, UINT64_C(7000000000));
    assert_int_equal(c->routes[1].accept_timeout, UINT64_C(5000000000));
    config_free(c);
    assert_int_equal(read_arguments(&c, "--config", example(), "--app", "unix:/a", NULL),
                     ARGUMENTS_WRONG);
    assert_string_equal(error, "--app does not go with --config: it stands in the file");
    assert_int_equal(read_arguments(&c, "--bridge", "unix:/a", "--config", example(), NULL),
                     ARGUMENTS_WRONG);
    assert_string_equal(error, "--bridge does not go with --config: it stands in the file");
    assert_int_equal(read_arguments(&c, "--config", example(), "--stream-window", "9MiB", NULL),
                     ARGUMENTS_WRONG);
    assert_string_equal(error, "--stream-window: stream_window is larger than connection_window");
}

static void test_wishes(void **state)
{
    struct config *c;

    (void)state;
    assert_int_equal(read_arguments(&c, "--check-config", "--config", example(), NULL),
                     ARGUMENTS_CHECK);
    config_free(c);
    assert_int_equal(read_arguments(&c, "--config", example(), "--print-config", NULL),
                     ARGUMENTS_PRINT);
    config_free(c);
}

static void test_files_that_cannot_be_read(void **state)
{
    struct config *c;

    (void)state;
    assert_int_equal(read_arguments(&c, "--config", "/nonexistent.yaml", NULL),
                     ARGUMENTS_WRONG_FILE);
    assert_string_equal(error, "/nonexistent.yaml: cannot be read: No such file or directory");
    assert_int_equal(read_arguments(&c, "--config", "/", NULL), ARGUMENTS_WRONG_FILE);
    assert_string_equal(error, "/: cannot be read: Is a directory");
    assert_int_equal(read_arguments(&c, "--config", "/dev/zero", NULL), ARGUMENTS_WRONG_FILE);
    assert_string_equal(error, "/dev/zero: is larger than 1 MiB");
}

/* However it is cut off or bent, it is read or refused, and nothing is left behind. */
static void test_the_example_damaged(void **state)
{
    char text[8192];
    FILE *f = fopen(example(), "re");

    (void)state;
    assert_non_null(f);
    size_t len = fread(text, 1, sizeof(text), f);
    fclose(f);
    assert_in_range(len, 100, sizeof(text) - 1);
    for (size_t i = 0; i < len; i++) {
        static const char bend[] = "\t:[{-&*\"'\n#\xff";
        char kept = text[i];
        config_free(read_text(text, i));
        text[i] = bend[i % (sizeof(bend) - 1)];
        config_free(read_text(text, len));
        text[i] = kept;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_key_is_printed_as_it_was_read),
        cmocka_unit_test(test_each_key_says_where_its_value_is_wrong),
        cmocka_unit_test(test_each_key_says_what_is_not_a_single_value),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_routes_and_backends_begin_with_what_holds_for_all),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_more_than_there_may_be),
        cmocka_unit_test(test_the_example),
        cmocka_unit_test(test_the_command_line_goes_before_the_file),
        cmocka_unit_test(test_wishes),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_the_example_damaged),
    };
    return cmocka_run_group_tests(tests, write_authority, remove_authority);
}
