/*
 * server - the composition root: the certificate, the workers, the admin listener, the signals.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"
#include "config/config.h"

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILED = 1, /* could not start, or could not go on */
    EXIT_CODE_USAGE = 2,  /* the command line or the configuration is wrong */
    EXIT_CODE_LEAK = 3,   /* something was still alive when all should have ended: our mistake */
    EXIT_CODE_FORCED = 4, /* a second signal ended it before everything was closed */
};

/* Whether the files that the configuration names can be used. False: one sentence in error. */
bool server_check(const struct config *config, char *error, size_t error_size);
/* Runs until a signal ends it; SIGHUP makes it read the configuration again, by the same command
 * line. Returns the program's exit code (an enum exit_code); if it could not
 * start, one sentence is in error, else that is empty. Ends the process by itself only when a
 * second signal wants that. */
int server_run(const struct config *config, int argc, char **argv, const struct log *log,
               char *error, size_t error_size);

#endif
