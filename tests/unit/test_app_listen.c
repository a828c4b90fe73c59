/*
 * Where the C library listens: addresses good and bad, and sockets that were left behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "backends/c/sluice_app.h"

static void refuse(struct sluice_session *s, const struct message_scope *scope)
{
    (void)scope;
    sluice_reject(s, 403, NULL, 0, NULL, 0);
}

static const struct sluice_events events = {.session = refuse};

static void test_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "unix:",
                                      "tcp:",
                                      "tcp:localhost",
                                      "tcp:127.0.0.1:",
                                      "/run/app.sock",
                                      "unix:/nonexistent/dir/app.sock",
                                      "unix:/etc/passwd"};
    char error[256];
    struct sluice_app *app = sluice_app_new(&events, NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        error[0] = '\0';
        assert_false(sluice_app_listen(app, bad[i], error, sizeof(error)));
        assert_non_null(strstr(error, "cannot listen on"));
    }
    assert_true(sluice_app_listen(app, "tcp:127.0.0.1:0", error, sizeof(error)));
    assert_int_equal(strncmp(sluice_app_address(app), "tcp:127.0.0.1:", 14), 0);
    assert_int_not_equal(atoi(sluice_app_address(app) + 14), 0);
    sluice_app_free(app);
}

static void test_socket_files(void **state)
{
    (void)state;
    char directory[] = "/tmp/sluice-app-XXXXXX", address[128], error[256];
    assert_non_null(mkdtemp(directory));
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/app.sock", directory);
    snprintf(address, sizeof(address), "unix:%s", sun.sun_path);

    /* Left behind by somebody who has gone: replaced. */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    close(fd);
    struct sluice_app *app = sluice_app_new(&events, NULL);
    assert_true(sluice_app_listen(app, address, error, sizeof(error)));

    /* In use: left alone. */
    struct sluice_app *other = sluice_app_new(&events, NULL);
    assert_false(sluice_app_listen(other, address, error, sizeof(error)));
    assert_non_null(strstr(error, "another program"));
    sluice_app_free(other);
    assert_int_equal(access(sun.sun_path, F_OK), 0);

    sluice_app_free(app);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_socket_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
