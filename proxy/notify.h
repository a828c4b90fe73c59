/*
 * notify - tells the service manager how things go: sd_notify(3), the protocol alone.
 *
 * Whoever waits has named a socket in NOTIFY_SOCKET, a path or, behind an '@', an abstract name.
 * Without it nothing happens.
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Serving from now on, or again. status is for people; one line. */
void notify_ready(const char *status);
/* The configuration is being read again; notify_ready follows. */
void notify_reloading(void);
/* Ending, for at most that long. */
void notify_stopping(const char *status, uint64_t at_most_us);

/* Sends lines of VARIABLE=VALUE. False if nobody wants them, or they cannot be delivered. */
bool notify_send(const char *lines);

#endif
