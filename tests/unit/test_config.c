#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "config.h"

static struct config config;
static char error[256];

/* Parses words separated by single blanks. */
static enum config_wish parse(const char *words)
{
    static char copy[1024];
    char *argv[32] = {"sluice"};
    int argc = 1;

    snprintf(copy, sizeof(copy), "%s", words);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    error[0] = '\0';
    return config_parse(&config, argc, argv, error, sizeof(error));
}

#define NEEDED "--cert auto --app unix:/run/app.sock "

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse(NEEDED), CONFIG_RUN);
    assert_string_equal(config.listen, ":4433");
    assert_string_equal(config.app, "unix:/run/app.sock");
    assert_true(config_cert_is_auto(&config));
    assert_null(config.key);
    assert_null(config.admin);
    assert_int_equal(config.workers, 0);
    assert_int_equal(config.max_sessions, 0);
    assert_int_equal(config.log_level, LOG_INFO);
    assert_int_equal(config.max_frame, 1 << 20);
    assert_int_equal(config.idle_timeout, UINT64_C(30000000000));
    assert_int_equal(config.no_offload, 0);
}

/* For each option a good value, what it becomes, and values that are refused. */
static const struct {
    const char *name, *good;
    size_t offset;
    uint64_t number;
    const char *bad[5];
} numbers[] = {
#define ROW(name, good, field, number, ...)                                                        \
    {                                                                                              \
        name, good, offsetof(struct config, field), number,                                        \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
    ROW("workers", "4", workers, 4, "0", "257", "-1", "four", "4x"),
    ROW("workers", "auto", workers, 0, "Auto"),
    ROW("server-id", "65535", server_id, 65535, "65536", "x"),
    ROW("udp-buffer", "0", kernel_buffer, 0, "2G", "1T", "M"),
    ROW("max-sessions", "5000", max_sessions, 5000, "0", "99999999"),
    ROW("max-sessions", "auto", max_sessions, 0, ""),
    ROW("max-streams", "7", max_streams, 7, "0", "1K"),
    ROW("max-header", "2K", max_header, 2048, "100", "1M"),
    ROW("connection-window", "2M", connection_window, 2 << 20, "1", "2G"),
    ROW("stream-window", "64K", stream_window, 65536, "1K", "64KB", "64k"),
    ROW("app-session-window", "2M", app_session_window, 2 << 20, "1", "2G"),
    ROW("app-stream-window", "65536", app_stream_window, 65536, "1K", "1.5M"),
    ROW("max-pending-streams", "1", max_pending_streams, 1, "0", "1000001"),
    ROW("early-streams", "0", early_streams, 0, "10001", "-5"),
    ROW("max-frame", "2M", max_frame, 2 << 20, "1K", "1G", "18446744073709551616", "17179869184G"),
    ROW("datagram-queue", "1", datagram_queue, 1, "0", "65537"),
    ROW("idle-timeout", "1h", idle_timeout, UINT64_C(3600000000000), "30", "0", "2h", "1sec", "1d"),
    ROW("keep-alive", "0", keep_alive, 0, "5", "-1s"),
    ROW("handshake-timeout", "500ms", handshake_timeout, 500000000, "1ms", "ms"),
    ROW("settings-timeout", "2m", settings_timeout, UINT64_C(120000000000), "0"),
    ROW("close-timeout", "10ms", close_timeout, 10000000, "9ms", "10us"),
    ROW("connect-timeout", "1s", connect_timeout, 1000000000, "0", "1S"),
    ROW("accept-timeout", "1s", accept_timeout, 1000000000, "0"),
    ROW("stall-timeout", "1s", stall_timeout, 1000000000, "0"),
    ROW("linger-timeout", "1s", linger_timeout, 1000000000, "0"),
    ROW("drain-timeout", "0", drain_timeout, 0, "2h", "18446744073709551615h"),
    ROW("lost-code", "4294967295", lost_code, UINT32_MAX, "4294967296"),
    ROW("log-level", "warn", log_level, LOG_WARN, "loud", "INFO"),
#undef ROW
};

static void test_numbers(void **state)
{
    char words[256];

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        snprintf(words, sizeof(words), NEEDED "--%s %s", numbers[i].name, numbers[i].good);
        assert_int_equal(parse(words), CONFIG_RUN);
        assert_int_equal(*(uint64_t *)((char *)&config + numbers[i].offset), numbers[i].number);
        for (size_t j = 0; j < 5 && numbers[i].bad[j]; j++) {
            snprintf(words, sizeof(words), NEEDED "--%s=%s", numbers[i].name, numbers[i].bad[j]);
            assert_int_equal(parse(words), CONFIG_WRONG);
            /* The sentence names the option and repeats what was given. */
            assert_non_null(strstr(error, numbers[i].name));
            assert_non_null(strstr(error, numbers[i].bad[j]));
        }
    }
}

static const struct {
    const char *words;
    enum config_wish wish;
    const char *error;
} lines[] = {
    {"--help", CONFIG_HELP, ""},
    {"--version", CONFIG_VERSION, ""},
    {NEEDED "--no-offload", CONFIG_RUN, ""},
    {NEEDED "--listen [::1]:0", CONFIG_RUN, ""},
    {NEEDED "--listen localhost:4433", CONFIG_RUN, ""},
    {NEEDED "--listen *:4433", CONFIG_RUN, ""},
    {NEEDED "--admin :8080", CONFIG_RUN, ""},
    {NEEDED "--admin unix:/run/admin.sock", CONFIG_RUN, ""},
    {"--cert c.pem --key k.pem --app tcp:[::1]:9000", CONFIG_RUN, ""},
    {"--cert both.pem --app tcp:localhost:9000", CONFIG_RUN, ""},
    {"", CONFIG_WRONG,
     "--app is missing: where does the application listen, unix:PATH or "
     "tcp:HOST:PORT?"},
    {"--app unix:/a", CONFIG_WRONG,
     "--cert is missing: give --cert FILE --key FILE, or --cert auto for development"},
    {NEEDED "--key k.pem", CONFIG_WRONG,
     "--key does not go with --cert auto, which makes its own key"},
    {"--cert auto --app /run/app.sock", CONFIG_WRONG,
     "--app: expected unix:PATH or tcp:HOST:PORT, got '/run/app.sock'"},
    {"--cert auto --app tcp::9000", CONFIG_WRONG,
     "--app: expected unix:PATH or tcp:HOST:PORT, got 'tcp::9000'"},
    {"--cert auto --app tcp:host:0", CONFIG_WRONG,
     "--app: expected unix:PATH or tcp:HOST:PORT, got 'tcp:host:0'"},
    {"--cert auto --app unix:", CONFIG_WRONG,
     "--app: expected unix:PATH or tcp:HOST:PORT, got 'unix:'"},
    {NEEDED "--listen 4433", CONFIG_WRONG, "--listen: expected HOST:PORT or :PORT, got '4433'"},
    {NEEDED "--listen ::1:4433", CONFIG_WRONG,
     "--listen: expected HOST:PORT or :PORT, got '::1:4433'"},
    {NEEDED "--listen [zz]:1", CONFIG_WRONG, "--listen: expected HOST:PORT or :PORT, got '[zz]:1'"},
    {NEEDED "--listen :65536", CONFIG_WRONG, "--listen: expected HOST:PORT or :PORT, got ':65536'"},
    {NEEDED "--listen host:", CONFIG_WRONG, "--listen: expected HOST:PORT or :PORT, got 'host:'"},
    {NEEDED "--admin 8080", CONFIG_WRONG, "--admin: expected HOST:PORT or unix:PATH, got '8080'"},
    {"--cert= --app unix:/a", CONFIG_WRONG, "--cert: expected FILE|auto, got ''"},
    {NEEDED "--stream-window 9M", CONFIG_WRONG,
     "--stream-window is larger than --connection-window"},
    {NEEDED "--app-stream-window 9M", CONFIG_WRONG,
     "--app-stream-window is larger than --app-session-window"},
    {NEEDED "--frobnicate", CONFIG_WRONG, "there is no option --frobnicate"},
    {NEEDED "-x", CONFIG_WRONG, "there is no option -x"},
    {NEEDED "--listen", CONFIG_WRONG, "--listen needs a value"},
    {NEEDED "--no-offload=1", CONFIG_WRONG, "--no-offload takes no value"},
    {NEEDED "start", CONFIG_WRONG, "'start' is not an option"},
};

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_int_equal(parse(lines[i].words), lines[i].wish);
        assert_string_equal(error, lines[i].error);
    }
}

static void test_key_may_be_in_the_same_file(void **state)
{
    (void)state;
    assert_int_equal(parse("--cert both.pem --app unix:/a"), CONFIG_RUN);
    assert_string_equal(config.key, "both.pem");
}

static void test_keep_alive_comes_before_the_idle_timeout(void **state)
{
    (void)state;
    assert_int_equal(parse(NEEDED "--idle-timeout 1s --keep-alive 10s"), CONFIG_RUN);
    assert_int_equal(config.keep_alive, 500000000);
    assert_int_equal(parse(NEEDED "--idle-timeout 1s --keep-alive 0"), CONFIG_RUN);
    assert_int_equal(config.keep_alive, 0);
}

/* Every option that the tests know must be in --help, and no line may be too wide. */
static void test_help(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    (void)state;
    config_print_help(to);
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
        cmocka_unit_test(test_key_may_be_in_the_same_file),
        cmocka_unit_test(test_keep_alive_comes_before_the_idle_timeout),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
