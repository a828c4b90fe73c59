/*
 * main - the program `sluice`: reads the command line and runs the server.
 */
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "config.h"
#include "server.h"
#include "version.h"

/* Queues grow and shrink with every turn. Without this the allocator gives the memory back each
 * time and takes it again, page fault by page fault. */
#define KEPT_FREE (4 * 1024 * 1024)

int main(int argc, char **argv)
{
    struct config config;
    struct log log;
    char error[512];

    switch (config_parse(&config, argc, argv, error, sizeof(error))) {
    case CONFIG_HELP:
        config_print_help(stdout);
        return EXIT_CODE_OK;
    case CONFIG_VERSION:
        version_print(stdout);
        return EXIT_CODE_OK;
    case CONFIG_WRONG:
        fprintf(stderr, "sluice: %s\nTry 'sluice --help'.\n", error);
        return EXIT_CODE_USAGE;
    case CONFIG_RUN:
        break;
    }
    mallopt(M_TRIM_THRESHOLD, KEPT_FREE);
    log_init(&log, STDERR_FILENO, (enum log_level)config.log_level);
    int code = server_run(&config, &log, error, sizeof(error));
    if (error[0])
        fprintf(stderr, "sluice: %s\n", error);
    return code;
}
