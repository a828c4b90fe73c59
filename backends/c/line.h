/*
 * line - one connection to Sluice: frames in, frames out.
 *
 * A frame is a u32 big-endian length and that many bytes. What is inside is not looked at here.
 *
 * In: large reads into one buffer that all lines of a loop share; frames are handed up where they
 * lie. Only a frame that has not come in whole is kept, in memory of its own, and read into that.
 *
 *      part (begun before)     shared buffer
 *       |==========|....|       |====|=========|==|
 *             \      one readv        /          \ becomes the next part
 *
 * Out: what is put is gathered and goes out with one write at the flush. Bytes that lie in the
 * memory of the frame being handed up are not copied, unless the socket does not take them.
 * Gathering works for one line at a time, the one whose turn it is; what is put into others
 * meanwhile is copied to their backlog at once.
 *
 * Owns its socket and its memory. Calls fifo and the system.
 */
#ifndef BACKENDS_C_LINE_H
#define BACKENDS_C_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fifo.h"

enum { LINE_READ = 256 << 10, LINE_ARENA = 256 << 10, LINE_SLICES = 256 };

struct line;

/* What the lines of one thread share. */
struct line_loop {
    int epoll;
    uint8_t *buffer; /* LINE_READ bytes */
    uint8_t *arena;  /* LINE_ARENA bytes: copies that are going out */
    size_t arena_used;
    struct spare spare;   /* for large frames that come in pieces, and for all fifos */
    struct line *current; /* whose turn it is: the slices are its output */
    struct iovec slices[LINE_SLICES];
    size_t slice_count, gathered;
};

struct line {
    struct line_loop *loop;
    int fd;
    void *user;          /* epoll's data.ptr */
    struct fifo backlog; /* what the socket did not take */
    uint8_t length[4];   /* of a frame whose body has not begun */
    size_t length_have;
    uint8_t *part; /* body of a frame begun */
    size_t part_have, part_size, part_capacity;
    uint8_t *spent; /* body of a finished part, lent until the flush */
    size_t spent_size, spent_capacity;
    uint32_t watched;
    bool paused, deaf; /* deaf: the other side takes nothing any more */
};

enum line_state {
    LINE_EMPTY,   /* nothing more to read now, or the budget is used up */
    LINE_EOF,     /* between two frames */
    LINE_BROKEN,  /* an error, or EOF inside a frame */
    LINE_REFUSED, /* a length of 0 or over MESSAGE_MAX_FRAME */
    LINE_STOPPED, /* frame() said so */
};

/* A frame's body, valid until the flush. Returns false to stop reading. */
typedef bool line_frame(void *user, const uint8_t *body, size_t len);

/* Returns false, errno set, if there is no epoll to be had. */
bool line_loop_init(struct line_loop *loop);
void line_loop_fini(struct line_loop *loop);

/* Takes over fd, which must be non-blocking. */
void line_open(struct line *l, struct line_loop *loop, int fd, void *user);
/* Closes the socket; what was put and not flushed is lost. */
void line_close(struct line *l);

/* Begins a line's turn, which its flush ends. */
void line_begin(struct line *l);
/* One read, and all the frames that are in it; in its turn. */
enum line_state line_read(struct line *l, line_frame *frame);
/* Adds to the output. */
void line_put(struct line *l, const void *data, size_t len);
/* Bytes put that the socket has not taken. */
size_t line_pending(const struct line *l);
/* Writes what there is, as far as the socket takes it, and ends the turn. */
void line_flush(struct line *l);
/* Reads nothing while paused. */
void line_pause(struct line *l, bool paused);

#endif
