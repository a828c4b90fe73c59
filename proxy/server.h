/*
 * server - the composition root: the certificate, the workers, the admin listener, the signals.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stddef.h>

#include "base/log.h"
#include "config.h"

/* Runs until a signal ends it. Returns the program's exit code (an enum exit_code); if it could not
 * start, one sentence is in error, else that is empty. Ends the process by itself only when a
 * second signal wants that. */
int server_run(const struct config *config, const struct log *log, char *error, size_t error_size);

#endif
