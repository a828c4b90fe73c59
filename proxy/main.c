/*
 * main - the program `sluice`: reads the command line and runs the server.
 */
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "config/arguments.h"
#include "config/print.h"
#include "server.h"
#include "version.h"

/* Queues grow and shrink with every turn. Without this the allocator gives the memory back each
 * time and takes it again, page fault by page fault. */
#define KEPT_FREE (4 * 1024 * 1024)

static int run(const struct config *config, int argc, char **argv)
{
    struct log log;
    char error[512];

    mallopt(M_TRIM_THRESHOLD, KEPT_FREE);
    log_init(&log, STDERR_FILENO, (enum log_level)config->log_level);
    int code = server_run(config, argc, argv, &log, error, sizeof(error));
    if (error[0])
        fprintf(stderr, "sluice: %s\n", error);
    return code;
}

static int complain(const char *error, const char *hint)
{
    fprintf(stderr, "sluice: %s\n%s", error, hint);
    return EXIT_CODE_USAGE;
}

int main(int argc, char **argv)
{
    struct config *config;
    char error[1024];
    int code = EXIT_CODE_OK;

    switch (arguments_read(&config, argc, argv, error, sizeof(error))) {
    case ARGUMENTS_HELP:
        arguments_print_help(stdout);
        break;
    case ARGUMENTS_VERSION:
        version_print(stdout);
        break;
    case ARGUMENTS_WRONG:
        code = complain(error, "Try 'sluice --help'.\n");
        break;
    case ARGUMENTS_WRONG_FILE:
        code = complain(error, "");
        break;
    case ARGUMENTS_CHECK:
        if (server_check(config, error, sizeof(error)))
            printf("the configuration is good\n");
        else
            code = complain(error, "");
        break;
    case ARGUMENTS_PRINT:
        print_config(config, stdout);
        break;
    case ARGUMENTS_RUN:
        code = run(config, argc, argv);
        break;
    }
    config_free(config);
    return code;
}
