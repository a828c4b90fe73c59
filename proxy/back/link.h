/*
 * link - one connection to an application: frames out, frames in.
 *
 * Knows the framing (u32 big-endian length, then that many bytes) and nothing of what is inside.
 *
 * Out: what is written in a turn is staged and goes out with one write at the turn's end. The stage
 * is small and bounded: link_room() says what still fits, and whoever has more keeps it and waits
 * for writable(). Bytes of one stream that follow each other extend the open frame, whose length is
 * patched as it grows:
 *
 *      0       sent                    open                       staged      size
 *      |--------|---- whole frames -----|---- frame, may grow ------|...room...|
 *
 * In: the socket is read to EAGAIN, at most read_budget bytes and LINK_FRAMES_A_TURN frames a turn,
 * and each whole frame is handed up. What a frame begins with is read into a buffer that all links
 * of an upstream share; a link holds a buffer of its own only while a frame is incomplete, or was
 * read before a pause. A paused link reads nothing but still notices that the application hung up.
 *
 * Upcalls come from the loop's socket events and from the turn's flush. closed() comes exactly
 * once, last, and the link is freed at the turn's end.
 */
#ifndef BACK_LINK_H
#define BACK_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "base/env.h"
#include "base/fault.h"

struct budget;
struct dial_target;
struct link;

#define LINK_SPARE_STAGES  8
#define LINK_FRAMES_A_TURN 1024

/* What all links of one upstream share. Filled in by upstream.c. */
struct link_shared {
    struct env *env;
    uv_loop_t *loop;
    uint64_t connect_timeout_ns;
    uint64_t linger_timeout_ns;
    uint64_t frame_timeout_ns;
    size_t max_frame;
    size_t stage_size;
    size_t read_budget;
    uint8_t *read_buffer; /* used within one reading only */
    size_t read_size;
    uint8_t *spare_stages[LINK_SPARE_STAGES];
    size_t spare_count;
    uint8_t *spare_part; /* a large buffer for an incomplete frame, or NULL */
    size_t spare_part_size;
    size_t links;
    TAILQ_HEAD(link_list, link) starving; /* wait for memory for a frame, in turn */
    struct link *exempt;                  /* gets it in any case; or NULL. See link_in.c */
};

struct link_end {
    enum fault fault; /* NONE: we closed it. BACKEND_CONNECT, BACKEND_CONNECT_TIMEOUT,
                         BACKEND_LOST, MEMORY_FRAME */
    int error;        /* errno, 0 at EOF */
    const char
        *text; /* a sentence for the log: "connect to unix:/run/app.sock: No such file ..." */
};

struct link_ops {
    /* The application's end has taken the connection. */
    void (*opened)(void *user);
    /* One frame's body, valid only now. Nothing comes after link_pause until link_resume, nor after
     * link_finish or link_close. */
    void (*frame_received)(void *user, const uint8_t *body, size_t len);
    /* A length of 0 or over max_frame: nothing more can be read, and nothing more is. */
    void (*frame_refused)(void *user, uint64_t length);
    /* Receipts given to link_receipt have been reached: all bytes up to them are the socket's.
     * count of them with the same pointer that followed each other, bytes together. */
    void (*written)(void *user, void *receipt, size_t bytes, size_t count);
    /* A write has made room. */
    void (*writable)(void *user);
    void (*closed)(void *user, const struct link_end *end);
};

/* Begins to connect to target. Never fails at once: opened() or closed() follows, not before this
 * returns. memory pays for what the link keeps; it must be in place until closed(). */
struct link *link_open(struct link_shared *shared, const struct dial_target *target,
                       const struct link_ops *ops, void *user, struct budget *memory);

/* Bytes that fit into the stage now. 0 before opened(), after link_finish, once the other side is
 * gone, and while there is no memory for a stage (writable() comes then, too). */
size_t link_room(struct link *l);
/* Stages a whole frame: the length is written by link, body is copied. Needs len + 4 <=
 * link_room(). Closes an open frame. */
void link_send(struct link *l, const void *body, size_t len);
/* Opens a frame that may grow: head is the encoded map up to and including the key of the last
 * value, and the last value is bytes, whose `bin 32` header link writes and patches together with
 * the frame's length. Needs len + LINK_FRAME_EXTRA <= link_room(). */
#define LINK_FRAME_EXTRA 9
void link_open_frame(struct link *l, const void *key, const void *head, size_t len);
/* True while the frame opened with this key is the last thing staged and nothing of it has been
 * written. key is only compared. */
bool link_extends(const struct link *l, const void *key);
/* Bytes that the open frame still takes: bounded by the stage and by max_frame. */
size_t link_append_room(struct link *l);
/* Adds to the open frame. Needs len <= link_append_room(). */
void link_append(struct link *l, const void *data, size_t len);
/* Overwrites one byte of the open frame's head (stream_ended becomes true when the end follows its
 * bytes). */
void link_patch_head(struct link *l, size_t offset, uint8_t value);
/* written() tells the receipt and bytes back when all that is staged now has been written. Those
 * still waiting at link_finish or when the link closes are not told. */
void link_receipt(struct link *l, void *receipt, size_t bytes);
/* Takes back a receipt's pointer: its owner is going away. */
void link_forget_receipt(struct link *l, void *receipt);

void link_pause(struct link *l);
void link_resume(struct link *l);
/* From now on EOF is no loss: the application has said all it had to. The link stays writable. */
void link_allow_eof(struct link *l);
/* Writes out what is staged, shuts the write side, then reads and discards until EOF or
 * linger_timeout; closed() follows. */
void link_finish(struct link *l);
/* At once. closed() follows at the turn's end. */
void link_close(struct link *l);

#endif
