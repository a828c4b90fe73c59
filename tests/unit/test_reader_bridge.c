#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "config_text.h"

static char error[1024];
/* A file that looks like one of certificates, and one that does not. */
static char authority[] = CONFIG_TEXT_FILE, nonsense[] = CONFIG_TEXT_FILE;

static int write_files(void **state)
{
    (void)state;
    config_text_write(authority, CONFIG_TEXT_AUTHORITY);
    config_text_write(nonsense, "-----BEGIN PRIVATE KEY-----\n");
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(authority);
    unlink(nonsense);
    return 0;
}

static struct config *read_string(const char *text)
{
    return config_text_read(text, strlen(text), error, sizeof(error));
}

/* --- mistakes --- */

#define CERT    "certificates: [{cert: auto}]\n"
#define ROUTES  "routes: [{backend: app}]\n"
#define TARGETS "targets as NAME: BACKEND, names of letters, digits, '.', '_' and '-'"
#define BRIDGE  CERT ROUTES "backends:\n  app:\n    kind: bridge\n    addresses: tcp:host:6379\n"
#define BACKENDS                                                                                   \
    "backends: {app: {addresses: unix:/a}, redis: {kind: bridge, addresses: tcp:r:1}}\n"
#define UDP_ONLY "backends: {dns: {kind: bridge, datagrams: udp:host:53}}\n"

static const struct {
    const char *text, *error;
} mistakes[] = {
    {CERT ROUTES "backends:\n  app: {kind: bridge}\n",
     "test.yaml:4: backends.app: 'addresses' is missing: where does it listen, unix:PATH or "
     "tcp:HOST:PORT? Or 'datagrams', udp:HOST:PORT?"},
    {CERT ROUTES "backends:\n  app:\n    kind: tunnel\n",
     "test.yaml:5: backends.app.kind: expected app or bridge, got 'tunnel'"},
    {CERT ROUTES "backends:\n  app:\n    kind: bridge\n    addresses: udp:host:53\n",
     "test.yaml:6: backends.app.addresses: expected unix:PATH or tcp:HOST:PORT, got 'udp:host:53', "
     "which is for the 'datagrams' of a bridge"},
    {CERT ROUTES "backends:\n  app:\n    kind: bridge\n    datagrams:\n      - tcp:host:53\n",
     "test.yaml:7: backends.app.datagrams[0]: expected udp:HOST:PORT, got 'tcp:host:53', which is "
     "for 'addresses'"},
    {CERT ROUTES "backends:\n  app:\n    kind: bridge\n    datagrams: udp:host\n",
     "test.yaml:6: backends.app.datagrams: expected udp:HOST:PORT, got 'udp:host'"},
    {BRIDGE "    datagrams: [udp:a:1, udp:a:1]\n",
     "test.yaml:7: backends.app.datagrams: 'udp:a:1' stands here twice"},
    /* keys of the other kind */
    {BRIDGE "    max_frame: 1MiB\n",
     "test.yaml:7: backends.app.max_frame: is for backends of kind app; 'app' is of kind bridge"},
    {CERT ROUTES "backends:\n  app:\n    addresses: unix:/a\n    datagrams: udp:host:53\n",
     "test.yaml:6: backends.app.datagrams: is for backends of kind bridge; 'app' is of kind app"},
    {CERT ROUTES "backends:\n  app:\n    addresses: unix:/a\n    datagram_idle_timeout: 1s\n",
     "test.yaml:6: backends.app.datagram_idle_timeout: is for backends of kind bridge; 'app' is of "
     "kind app"},
    {CERT ROUTES "backends:\n  app:\n    addresses: unix:/a\n    tls: true\n",
     "test.yaml:6: backends.app.tls: is for backends of kind bridge; 'app' is of kind app"},
    {CERT BACKENDS "routes:\n  - backend: app\n    proxy_protocol: v2\n",
     "test.yaml:5: routes[0].proxy_protocol: is for backends of kind bridge; 'app' is of kind app"},
    {CERT BACKENDS "routes:\n  - backend: redis\n    accept_timeout: 1s\n",
     "test.yaml:5: routes[0].accept_timeout: is for backends of kind app; 'redis' is of kind "
     "bridge"},
    {CERT BACKENDS "routes:\n  - backend: redis\n    add_request_headers: {x-a: b}\n",
     "test.yaml:5: routes[0].add_request_headers: is for backends of kind app; 'redis' is of kind "
     "bridge"},
    {CERT BACKENDS "routes:\n  - path: /{name}\n    targets: {a: redis}\n    root_path: /a\n",
     "test.yaml:6: routes[0].root_path: is for backends of kind app; 'redis' is of kind bridge"},
    {BRIDGE "    probe: accept\n",
     "test.yaml:7: backends.app.probe: expected connect, got 'accept': a bridge has no application "
     "that could accept a session"},
    {CERT UDP_ONLY "routes:\n  - backend: dns\n    proxy_protocol: v1\n",
     "test.yaml:5: routes[0].proxy_protocol: does nothing: 'dns' has no 'addresses', and datagrams "
     "go without it"},
    /* TLS */
    {BRIDGE "    tls_name: example.org\n",
     "test.yaml:7: backends.app.tls_name: does nothing without 'tls: true'"},
    {BRIDGE "    tls: false\n    tls_ca: /a\n",
     "test.yaml:8: backends.app.tls_ca: does nothing without 'tls: true'"},
    {BRIDGE "    tls: true\n    tls_name: '*.example.org'\n",
     "test.yaml:8: backends.app.tls_name: expected a server name such as example.org, got "
     "'*.example.org'"},
    {BRIDGE "    tls: true\n    tls_ca: /nonexistent.pem\n",
     "test.yaml:8: backends.app.tls_ca: '/nonexistent.pem' cannot be read: No such file or "
     "directory"},
    {BRIDGE "    tls: true\n    tls_ca: /dev/zero\n",
     "test.yaml:8: backends.app.tls_ca: '/dev/zero' is not a file"},
    {CERT ROUTES "backends:\n  app:\n    kind: bridge\n    addresses: unix:/a\n    tls: true\n",
     "test.yaml:7: backends.app.tls: 'tls_name' is missing: which name is the certificate for? A "
     "Unix socket has none"},
    {CERT ROUTES "backends:\n  app:\n    kind: bridge\n    datagrams: udp:a:1\n    tls: true\n",
     "test.yaml:7: backends.app.tls: does nothing without 'addresses': datagrams go without TLS"},
    /* targets */
    {CERT BACKENDS "routes:\n  - path: /{name}\n    targets: {}\n",
     "test.yaml:5: routes[0].targets: expected at least one NAME: BACKEND"},
    {CERT BACKENDS "routes:\n  - targets: {a: app}\n",
     "test.yaml:4: routes[0]: 'path' is missing: with 'targets' one whose last segment is "
     "'{name}', such as /ssh/{name}"},
    {CERT BACKENDS "routes:\n  - path: /ssh\n    targets: {a: app}\n",
     "test.yaml:4: routes[0].path: expected with 'targets' a path whose last segment is '{name}', "
     "such as /ssh/{name}, got '/ssh'"},
    {CERT BACKENDS "routes:\n  - path: /ssh/{name}\n    backend: app\n",
     "test.yaml:4: routes[0].path: 'targets' is missing: what '{name}' may be, as NAME: BACKEND"},
    {CERT BACKENDS "routes:\n  - path: /{name}/ssh\n    targets: {a: app}\n",
     "test.yaml:4: routes[0].path: '{name}' can only be the whole last segment, as in /ssh/{name}, "
     "got '/{name}/ssh'"},
    {CERT BACKENDS "routes:\n  - path: /{name}/{name}\n    targets: {a: app}\n",
     "test.yaml:4: routes[0].path: '{name}' can only be the whole last segment, as in /ssh/{name}, "
     "got '/{name}/{name}'"},
    {CERT BACKENDS "routes:\n  - path: /ssh-{name}\n    targets: {a: app}\n",
     "test.yaml:4: routes[0].path: '{name}' can only be the whole last segment, as in /ssh/{name}, "
     "got '/ssh-{name}'"},
    {CERT BACKENDS "routes:\n  - path_prefix: /ssh/{name}\n    backend: app\n",
     "test.yaml:4: routes[0].path_prefix: '{name}' can stand in 'path' only, got '/ssh/{name}'"},
    {CERT BACKENDS "routes:\n  - path_prefix: /ssh\n    targets: {a: app}\n",
     "test.yaml:4: routes[0].path_prefix: does not go with 'targets'"},
    {CERT BACKENDS "routes:\n  - path: /{name}\n    backend: app\n    targets: {a: app}\n",
     "test.yaml:5: routes[0].backend: does not go with 'targets'"},
    {CERT BACKENDS "routes:\n  - path: /{name}\n    targets:\n      a: app\n      b: chat\n",
     "test.yaml:7: routes[0].targets.b: expected the name of a backend (app, redis), got 'chat'"},
    {CERT BACKENDS "routes:\n  - path: /{name}\n    targets:\n      a: app\n      a: redis\n",
     "test.yaml:7: routes[0].targets.a: stands in line 6 already"},
    {CERT BACKENDS "routes:\n  - path: /{name}\n    targets: {a: [app]}\n",
     "test.yaml:5: routes[0].targets: expected " TARGETS},
    {CERT BACKENDS "routes:\n  - path: /{name}\n    targets: {a: b c}\n",
     "test.yaml:5: routes[0].targets.a: expected a name of letters, digits, '.', '_' and '-', got "
     "'b c'"},
    {CERT BACKENDS "routes:\n  - path: /{name}\n    targets: {'': app}\n",
     "test.yaml:5: routes[0].targets.: expected " TARGETS ", got ''"},
    {CERT BACKENDS "routes:\n  - path: /{name}\n    targets: {a/b: app}\n",
     "test.yaml:5: routes[0].targets.a/b: expected " TARGETS ", got 'a/b'"},
    {CERT BACKENDS "routes:\n  - path: /{name}\n    targets: {..: app}\n",
     "test.yaml:5: routes[0].targets...: expected " TARGETS ", got '..'"},
    {CERT BACKENDS "routes:\n  - path: /{name}\n    targets: {a%41: app}\n",
     "test.yaml:5: routes[0].targets.a%41: expected " TARGETS ", got 'a%41'"},
};

static void test_mistakes(void **state)
{
    char text[512], sentence[512];

    (void)state;
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        assert_null(read_string(mistakes[i].text));
        assert_string_equal(error, mistakes[i].error);
    }
    snprintf(text, sizeof(text), BRIDGE "    tls: true\n    tls_ca: %s\n", nonsense);
    snprintf(sentence, sizeof(sentence),
             "test.yaml:8: backends.app.tls_ca: there is no certificate in '%s' (as PEM)",
             nonsense);
    assert_null(read_string(text));
    assert_string_equal(error, sentence);
}

/* --- what is read --- */

static void test_a_bridge(void **state)
{
    char text[1024];

    (void)state;
    snprintf(text, sizeof(text),
             CERT
             "probe: accept\n"
             "datagram_idle_timeout: 5s\n"
             "max_frame: 2MiB\n"
             "accept_timeout: 1s\n"
             "backends:\n"
             "  both: {kind: bridge, addresses: [tcp:a:1, unix:/b], datagrams: udp:c:2,\n"
             "         tls: true, tls_ca: %s, tls_name: d.example}\n"
             "  dns: {kind: bridge, datagrams: [udp:e:3, udp:f:4], datagram_idle_timeout: 6s}\n"
             "  app: {addresses: unix:/g}\n"
             "routes:\n"
             "  - {path: /both, backend: both, proxy_protocol: v2}\n"
             "  - {path: /dns, backend: dns}\n"
             "  - {backend: app}\n",
             authority);
    struct config *c = read_string(text);
    if (!c)
        fail_msg("%s", error);
    assert_int_equal(c->backends[0].kind, CONFIG_BACKEND_BRIDGE);
    assert_int_equal(c->backends[0].addresses.count, 2);
    assert_string_equal(c->backends[0].datagrams.at[0], "udp:c:2");
    assert_int_equal(c->backends[0].datagram_idle_timeout, UINT64_C(5000000000));
    assert_int_equal(c->backends[0].tls, true);
    assert_string_equal(c->backends[0].tls_ca, authority);
    assert_string_equal(c->backends[0].tls_name, "d.example");
    /* that is said for applications */
    assert_int_equal(c->backends[0].probe, CONFIG_PROBE_CONNECT);
    assert_int_equal(c->backends[1].addresses.count, 0);
    assert_int_equal(c->backends[1].datagrams.count, 2);
    assert_int_equal(c->backends[1].datagram_idle_timeout, UINT64_C(6000000000));
    assert_int_equal(c->backends[1].tls, false);
    assert_int_equal(c->backends[2].kind, CONFIG_BACKEND_APP);
    assert_int_equal(c->backends[2].probe, CONFIG_PROBE_ACCEPT);
    assert_int_equal(c->routes[0].proxy_protocol, CONFIG_PROXY_PROTOCOL_V2);
    assert_int_equal(c->routes[1].proxy_protocol, CONFIG_PROXY_PROTOCOL_NONE);
    /* It is printed without what it has no use for, and that is a configuration. */
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
}

static void test_targets(void **state)
{
    struct config *c =
        read_string(CERT BACKENDS "routes:\n"
                                  "  - path: /ssh/{name}\n"
                                  "    targets: {a: redis, b.c: app, d: redis}\n"
                                  "    proxy_protocol: v1\n"
                                  "    accept_timeout: 1s\n"
                                  "  - {path: '/{name}', targets: {a: app}}\n"
                                  "  - {path: '/a/{name}', targets: {a: app}, name: b}\n"
                                  "  - {backend: app}\n");

    (void)state;
    if (!c)
        fail_msg("%s", error);
    assert_int_equal(c->routes[0].targets.count, 3);
    assert_string_equal(c->routes[0].targets.at[1].name, "b.c");
    assert_int_equal(c->routes[0].targets.at[1].backend_index, 0);
    assert_int_equal(config_route_ways(&c->routes[0]), 3);
    assert_string_equal(config_route_way(c, &c->routes[0], 2)->name, "redis");
    assert_int_equal(config_route_ways(&c->routes[3]), 1);
    assert_string_equal(config_route_way(c, &c->routes[3], 0)->name, "app");
    assert_string_equal(c->routes[0].name, "ssh");
    assert_string_equal(c->routes[1].name, "targets");
    assert_string_equal(c->routes[2].name, "b");
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_a_bridge),
        cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests(tests, write_files, remove_files);
}
