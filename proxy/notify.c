/*
 * notify - one datagram for each piece of news. Owns nothing, calls nobody.
 */
#include "notify.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

bool notify_send(const char *lines)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;

    if (len < 2 || len >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
        return false;
    memcpy(to.sun_path, path, len);
    if (path[0] == '@') /* abstract: the name is the rest, without an end */
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    ssize_t sent =
        sendto(fd, lines, strlen(lines), MSG_NOSIGNAL, (const struct sockaddr *)&to, size);
    close(fd);
    return sent >= 0;
}

void notify_ready(const char *status)
{
    char lines[600];

    snprintf(lines, sizeof(lines), "READY=1\nSTATUS=%s", status);
    notify_send(lines);
}

/* systemd 253 and later (Type=notify-reload) wants the time, to tell this from an earlier one. */
void notify_reloading(void)
{
    char lines[80];
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    snprintf(lines, sizeof(lines), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, us);
    notify_send(lines);
}

void notify_stopping(const char *status, uint64_t at_most_us)
{
    char lines[600];

    snprintf(lines, sizeof(lines), "STOPPING=1\nSTATUS=%s\nEXTEND_TIMEOUT_USEC=%" PRIu64, status,
             at_most_us);
    notify_send(lines);
}
