/*
 * pipe_world - a pipe and the service at its other end, in the world of link_world.h: real sockets
 * over loopback and Unix, a pretended clock.
 */
#ifndef TESTS_PIPE_WORLD_H
#define TESTS_PIPE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "back/pipe.h"
#include "link_world.h"

enum { HEAP = 4 << 20 }; /* more than the sockets hold between two ends */

/* What the holder does from within an upcall. */
enum deed { GO_ON, CLOSE, RESET, FINISH };

struct scene {
    struct world *w;
    struct pipe_shared shared;
    struct pipe *pipe;  /* NULL once it is gone */
    size_t descriptors; /* were open before */
    int listener;
    int service; /* its end of the connection */
    /* what was heard */
    int opened, failed, finished, readable, writable;
    struct pipe_end end;
    char text[256];
    enum deed when_opened, when_readable, when_writable;
    bool reads; /* with every readable() */
    uint8_t *got;
    size_t len;
    bool ended;
    int read_error;
};

/* What the kernel takes of one send(): less than all, or nothing. */
extern size_t send_most, sends;

int scene_setup(void **state);
/* Everything must have been given back: pipes, timers, descriptors, memory. */
int scene_teardown(void **state);

/* The holder's end. */
void scene_open(struct scene *s, const void *preface, size_t len);
/* The service is listening, and has accepted then. */
void scene_connect(struct scene *s);
void scene_act(struct scene *s, enum deed deed);
/* From now on all that comes is read into s->got. */
void scene_read_on(struct scene *s);
void scene_read_all(struct scene *s);
ssize_t scene_write(struct scene *s, const void *data, size_t len);
void scene_write_all(struct scene *s, const void *data, size_t len);

/* The service's end. backlog -1: bound only. */
void service_listens_tcp(struct scene *s, int backlog);
void service_listens_unix(struct scene *s, int backlog);
void service_accepts(struct scene *s);
void service_closes(struct scene *s);
void service_resets(struct scene *s);
/* Reads to the end, and tells how many bytes that was; SIZE_MAX: there was an error instead. */
size_t service_reads_all(struct scene *s);
/* What the sockets hold while the pipe reads nothing; Unix ones, which take it at once. */
size_t service_fills(struct scene *s);

#define in_scene(test) cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)

#endif
