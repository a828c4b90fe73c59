#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmocka_all.h"
#include "config/arguments.h"
#include "config/keys.h"

/* Of the last parse(). */
static struct config *config;
static char error[256];

/* Parses words separated by single blanks. */
static enum arguments_wish parse(const char *words)
{
    static char copy[1024];
    char *argv[32] = {"sluice"};
    int argc = 1;

    snprintf(copy, sizeof(copy), "%s", words);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    config_free(config);
    return arguments_read(&config, argc, argv, error, sizeof(error));
}

#define NEEDED "--cert auto --app unix:/run/app.sock "

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse(NEEDED), ARGUMENTS_RUN);
    assert_int_equal(config->listener_count, 1);
    assert_string_equal(config->listeners[0].address, ":4433");
    assert_int_equal(config->backend_count, 1);
    assert_string_equal(config->backends[0].addresses.at[0], "unix:/run/app.sock");
    assert_int_equal(config->certificate_count, 1);
    assert_true(config_certificate_is_auto(&config->certificates[0]));
    assert_null(config->certificates[0].key);
    assert_null(config->admin);
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->max_sessions, 0);
    assert_int_equal(config->log_level, LOG_INFO);
    assert_int_equal(config->backends[0].max_frame, 1 << 20);
    assert_int_equal(config->idle_timeout, UINT64_C(30000000000));
    assert_int_equal(config->offload, 1);
}

/* For each option a good value, what it becomes, and values that are refused. */
static const struct {
    const char *name, *good;
    uint64_t number;
    const char *bad[5];
} numbers[] = {
#define ROW(name, good, number, ...)                                                               \
    {                                                                                              \
        name, good, number,                                                                        \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
    ROW("workers", "4", 4, "0", "257", "-1", "four", "4x"),
    ROW("workers", "auto", 0, "Auto"),
    ROW("server-id", "65535", 65535, "65536", "x"),
    ROW("udp-buffer", "0", 0, "2G", "1T", "M"),
    ROW("unproven-handshakes", "0", 0, "1000001", "auto"),
    ROW("max-handshakes", "10", 10, "0", "1000001"),
    ROW("max-connections", "5000", 5000, "0", "unlimited"),
    ROW("max-connections", "auto", 0, ""),
    ROW("max-sessions", "5000", 5000, "0", "99999999"),
    ROW("max-sessions", "auto", 0, ""),
    ROW("max-streams", "7", 7, "0", "1K"),
    ROW("max-header", "2K", 2048, "100", "1M"),
    ROW("connection-window", "2M", 2 << 20, "1", "2G"),
    ROW("stream-window", "64KiB", 65536, "1K", "64KB", "64k"),
    ROW("app-session-window", "2M", 2 << 20, "1", "2G"),
    ROW("app-stream-window", "65536", 65536, "1K", "1.5M"),
    ROW("max-pending-streams", "1", 1, "0", "1000001"),
    ROW("connection-sessions", "1", 1, "0", "1001"),
    ROW("early-streams", "0", 0, "10001", "-5"),
    ROW("max-frame", "2M", 2 << 20, "1K", "1G", "18446744073709551616", "17179869184G"),
    ROW("datagram-queue", "1", 1, "0", "65537"),
    ROW("datagram-ttl", "50ms", 50000000, "50", "2h"),
    ROW("idle-timeout", "1h", UINT64_C(3600000000000), "30", "0", "2h", "1sec", "1d"),
    ROW("keep-alive", "0", 0, "5", "-1s"),
    ROW("handshake-timeout", "500ms", 500000000, "1ms", "ms"),
    ROW("settings-timeout", "2m", UINT64_C(120000000000), "0"),
    ROW("close-timeout", "10ms", 10000000, "9ms", "10us"),
    ROW("connect-timeout", "1s", 1000000000, "0", "1S"),
    ROW("accept-timeout", "1s", 1000000000, "0"),
    ROW("stall-timeout", "1s", 1000000000, "0"),
    ROW("balance", "random-two", 2, "fair", "2"),
    ROW("hash-by", "path", 1, "query"),
    ROW("max-address-sessions", "10", 10, "0", "many"),
    ROW("max-address-sessions", "unlimited", 0, ""),
    ROW("queue", "0", 0, "1000001", "auto"),
    ROW("queue-timeout", "0", 0, "2h", "5"),
    ROW("attempts", "8", 8, "0", "9"),
    ROW("failures", "1", 1, "0", "1001"),
    ROW("rest-first", "10ms", 10000000, "9ms", "0"),
    ROW("rest-last", "1m", UINT64_C(60000000000), "2h"),
    ROW("slow-start", "0", 0, "2h"),
    ROW("probe", "accept", 1, "ping"),
    ROW("probe-interval", "0", 0, "2h"),
    ROW("probe-timeout", "1s", 1000000000, "0"),
    ROW("resolve-interval", "1s", 1000000000, "0"),
    ROW("linger-timeout", "1s", 1000000000, "0"),
    ROW("drain-timeout", "0", 0, "2h", "18446744073709551615h"),
    ROW("lost-code", "4294967295", UINT32_MAX, "4294967296"),
    ROW("log-level", "warn", LOG_WARN, "loud", "INFO"),
#undef ROW
};

/* The value of an option in the configuration of the simple case. */
static uint64_t number_of(const char *option)
{
    for (size_t i = 0; i < key_count; i++) {
        if (!keys[i].option || strcmp(keys[i].option, option) != 0)
            continue;
        const void *base = keys[i].place == KEY_OF_ROUTE     ? (void *)&config->routes[0]
                           : keys[i].place == KEY_OF_BACKEND ? (void *)&config->backends[0]
                                                             : config;
        return *(const uint64_t *)((const char *)base + keys[i].offset);
    }
    fail_msg("there is no option %s", option);
    return 0;
}

static void test_numbers(void **state)
{
    char words[256];

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        snprintf(words, sizeof(words), NEEDED "--%s %s", numbers[i].name, numbers[i].good);
        assert_int_equal(parse(words), ARGUMENTS_RUN);
        assert_int_equal(number_of(numbers[i].name), numbers[i].number);
        for (size_t j = 0; j < 5 && numbers[i].bad[j]; j++) {
            snprintf(words, sizeof(words), NEEDED "--%s=%s", numbers[i].name, numbers[i].bad[j]);
            assert_int_equal(parse(words), ARGUMENTS_WRONG);
            /* The sentence names the option and repeats what was given. */
            assert_non_null(strstr(error, numbers[i].name));
            assert_non_null(strstr(error, numbers[i].bad[j]));
        }
    }
}

static const struct {
    const char *words;
    enum arguments_wish wish;
    const char *error;
} lines[] = {
    {"--help", ARGUMENTS_HELP, ""},
    {"--version", ARGUMENTS_VERSION, ""},
    {NEEDED "--no-offload", ARGUMENTS_RUN, ""},
    {NEEDED "--origin https://example.org --origin null --require-origin", ARGUMENTS_RUN, ""},
    {NEEDED "--host example.org --host *.example.org", ARGUMENTS_RUN, ""},
    {NEEDED "--origin example.org", ARGUMENTS_WRONG,
     "--origin: expected an origin such as https://example.org or https://*.example.org, got "
     "'example.org'"},
    {NEEDED "--host https://example.org", ARGUMENTS_WRONG,
     "--host: expected a host such as example.org or *.example.org, got 'https://example.org'"},
    {NEEDED "--no-steering", ARGUMENTS_RUN, ""},
    {NEEDED "--secret /run/secret", ARGUMENTS_RUN, ""},
    {NEEDED "--secret=", ARGUMENTS_WRONG, "--secret: expected a file, got ''"},
    {NEEDED "--listen [::1]:0", ARGUMENTS_RUN, ""},
    {NEEDED "--listen localhost:4433", ARGUMENTS_RUN, ""},
    {NEEDED "--listen *:4433", ARGUMENTS_RUN, ""},
    {NEEDED "--admin :8080", ARGUMENTS_RUN, ""},
    {NEEDED "--admin unix:/run/admin.sock", ARGUMENTS_RUN, ""},
    {"--cert c.pem --key k.pem --app tcp:[::1]:9000", ARGUMENTS_RUN, ""},
    {"--cert both.pem --app tcp:localhost:9000", ARGUMENTS_RUN, ""},
    {"", ARGUMENTS_WRONG,
     "--app is missing: where does the application listen, unix:PATH or tcp:HOST:PORT? For a "
     "service that is none there is --bridge"},
    {"--cert auto --bridge tcp:localhost:6379", ARGUMENTS_RUN, ""},
    {"--cert auto --bridge unix:/a --bridge udp:[::1]:53 --datagram-idle-timeout 1s", ARGUMENTS_RUN,
     ""},
    {"--bridge tcp:localhost:6379", ARGUMENTS_WRONG,
     "--cert is missing: give --cert FILE --key FILE, or --cert auto for development"},
    {NEEDED "--bridge tcp:localhost:6379", ARGUMENTS_WRONG,
     "--bridge does not go with --app: for both there are routes, in a file"},
    {"--cert auto --bridge localhost:6379", ARGUMENTS_WRONG,
     "--bridge: expected unix:PATH, tcp:HOST:PORT or udp:HOST:PORT, got 'localhost:6379'"},
    {"--cert auto --bridge udp:localhost", ARGUMENTS_WRONG,
     "--bridge: expected udp:HOST:PORT, got 'udp:localhost'"},
    {"--cert auto --bridge tcp:a:1 --bridge tcp:a:1", ARGUMENTS_WRONG,
     "--bridge: 'tcp:a:1' stands here twice"},
    {"--cert auto --bridge", ARGUMENTS_WRONG, "--bridge needs a value"},
    {"--cert auto --bridge unix:/a --max-frame 2M", ARGUMENTS_WRONG,
     "--max-frame: is for backends of kind app; 'bridge' is of kind bridge"},
    {"--cert auto --bridge unix:/a --accept-timeout 1s", ARGUMENTS_WRONG,
     "--accept-timeout: is for backends of kind app; 'bridge' is of kind bridge"},
    {"--cert auto --bridge unix:/a --probe accept", ARGUMENTS_WRONG,
     "--probe: expected connect, got 'accept': a bridge has no application that could accept a "
     "session"},
    {NEEDED "--datagram-idle-timeout 1s", ARGUMENTS_WRONG,
     "--datagram-idle-timeout: is for backends of kind bridge; 'app' is of kind app"},
    {"--cert auto --app udp:host:53", ARGUMENTS_WRONG,
     "--app: expected unix:PATH or tcp:HOST:PORT, got 'udp:host:53', which is for the 'datagrams' "
     "of a bridge"},
    {"--app unix:/a", ARGUMENTS_WRONG,
     "--cert is missing: give --cert FILE --key FILE, or --cert auto for development"},
    {NEEDED "--key k.pem", ARGUMENTS_WRONG,
     "--key: does not go with an automatic certificate, which has its own key"},
    {"--cert auto --app /run/app.sock", ARGUMENTS_WRONG,
     "--app: expected unix:PATH or tcp:HOST:PORT, got '/run/app.sock'"},
    {"--cert auto --app tcp::9000", ARGUMENTS_WRONG,
     "--app: expected unix:PATH or tcp:HOST:PORT, got 'tcp::9000'"},
    {"--cert auto --app tcp:host:0", ARGUMENTS_WRONG,
     "--app: expected unix:PATH or tcp:HOST:PORT, got 'tcp:host:0'"},
    {"--cert auto --app unix:", ARGUMENTS_WRONG,
     "--app: expected unix:PATH or tcp:HOST:PORT, got 'unix:'"},
    {NEEDED "--listen 4433", ARGUMENTS_WRONG, "--listen: expected HOST:PORT or :PORT, got '4433'"},
    {NEEDED "--listen ::1:4433", ARGUMENTS_WRONG,
     "--listen: expected HOST:PORT or :PORT, got '::1:4433'"},
    {NEEDED "--listen [zz]:1", ARGUMENTS_WRONG,
     "--listen: expected HOST:PORT or :PORT, got '[zz]:1'"},
    {NEEDED "--listen :65536", ARGUMENTS_WRONG,
     "--listen: expected HOST:PORT or :PORT, got ':65536'"},
    {NEEDED "--listen host:", ARGUMENTS_WRONG,
     "--listen: expected HOST:PORT or :PORT, got 'host:'"},
    {NEEDED "--admin 8080", ARGUMENTS_WRONG,
     "--admin: expected HOST:PORT or unix:PATH, got '8080'"},
    {"--cert= --app unix:/a", ARGUMENTS_WRONG, "--cert: expected a file or 'auto', got ''"},
    {NEEDED "--stream-window 9M", ARGUMENTS_WRONG,
     "--stream-window: stream_window is larger than connection_window"},
    {NEEDED "--app-stream-window 9M", ARGUMENTS_WRONG,
     "--app-stream-window: app_stream_window is larger than app_session_window"},
    {NEEDED "--frobnicate", ARGUMENTS_WRONG, "there is no option --frobnicate"},
    {NEEDED "-x", ARGUMENTS_WRONG, "there is no option -x"},
    {NEEDED "--wrokers=2", ARGUMENTS_WRONG,
     "there is no option --wrokers=2; is '--workers' meant?"},
    {"--cert auto --brige tcp:a:1", ARGUMENTS_WRONG,
     "there is no option --brige; is '--bridge' meant?"},
    {"--cert auto --bridge tcp:a:1 --proxy-protocol v2", ARGUMENTS_WRONG,
     "there is no option --proxy-protocol; in a file routes have such a key"},
    {NEEDED "--max_sessions 2", ARGUMENTS_WRONG,
     "there is no option --max_sessions; is '--max-sessions' meant?"},
    {"--cert auto --bridge tcp:a:1 --tls", ARGUMENTS_WRONG,
     "there is no option --tls; in a file backends have such a key"},
    {NEEDED "--listen", ARGUMENTS_WRONG, "--listen needs a value"},
    {NEEDED "--no-offload=1", ARGUMENTS_WRONG, "--no-offload takes no value"},
    {NEEDED "start", ARGUMENTS_WRONG, "'start' is not an option"},
};

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_int_equal(parse(lines[i].words), lines[i].wish);
        assert_string_equal(error, lines[i].error);
    }
}

/* One application needs no more words than ever, and a bridge no more than that. */
static void test_the_simple_case(void **state)
{
    (void)state;
    assert_int_equal(parse(NEEDED "--app tcp:b:1"), ARGUMENTS_RUN);
    assert_int_equal(config->backend_count, 1);
    assert_int_equal(config->route_count, 1);
    assert_string_equal(config->backends[0].name, "app");
    assert_int_equal(config->backends[0].kind, CONFIG_BACKEND_APP);
    assert_int_equal(config->backends[0].addresses.count, 2);
    assert_int_equal(config->backends[0].datagrams.count, 0);
    assert_string_equal(config->routes[0].name, "default");
    assert_int_equal(config->routes[0].targets.count, 0);
    assert_int_equal(config->routes[0].proxy_protocol, CONFIG_PROXY_PROTOCOL_NONE);

    assert_int_equal(parse("--cert auto --bridge udp:c:2 --bridge tcp:d:3"), ARGUMENTS_RUN);
    assert_int_equal(config->backend_count, 1);
    assert_string_equal(config->backends[0].name, "bridge");
    assert_int_equal(config->backends[0].kind, CONFIG_BACKEND_BRIDGE);
    assert_string_equal(config->backends[0].addresses.at[0], "tcp:d:3");
    assert_string_equal(config->backends[0].datagrams.at[0], "udp:c:2");
    assert_int_equal(config->backends[0].datagram_idle_timeout, UINT64_C(60000000000));
    assert_int_equal(config->backends[0].tls, false);
    assert_int_equal(config->routes[0].backend_index, 0);
    assert_string_equal(config->routes[0].name, "default");
}

static void test_key_may_be_in_the_same_file(void **state)
{
    (void)state;
    assert_int_equal(parse("--cert both.pem --app unix:/a"), ARGUMENTS_RUN);
    assert_string_equal(config->certificates[0].key, "both.pem");
}

static void test_keep_alive_comes_before_the_idle_timeout(void **state)
{
    (void)state;
    assert_int_equal(parse(NEEDED "--idle-timeout 1s --keep-alive 10s"), ARGUMENTS_RUN);
    assert_int_equal(config->keep_alive, 500000000);
    assert_int_equal(parse(NEEDED "--idle-timeout 1s --keep-alive 0"), ARGUMENTS_RUN);
    assert_int_equal(config->keep_alive, 0);
}

/* Every option that the tests know must be in --help, and no line may be too wide. */
static void test_help(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    (void)state;
    arguments_print_help(to);
    fclose(to);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char name[64];
        snprintf(name, sizeof(name), "\n  --%s ", numbers[i].name);
        assert_non_null(strstr(text, name));
    }
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        assert_true(strlen(line) <= 90);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_the_simple_case),
        cmocka_unit_test(test_key_may_be_in_the_same_file),
        cmocka_unit_test(test_keep_alive_comes_before_the_idle_timeout),
        cmocka_unit_test(test_help),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    config_free(config);
    return failed;
}
