/*
 * app_world - the C library with a Sluice that the test plays itself, over a real Unix socket and
 * in one thread: every step turns the app once and reads what has come.
 */
#ifndef TESTS_UNIT_APP_WORLD_H
#define TESTS_UNIT_APP_WORLD_H

#include "backends/c/sluice_app.h"

enum { STEPS = 20000, STREAM_WINDOW = 4096, SESSION_WINDOW = 16384, BIG = 3 << 20 };

/* Sluice, as one session sees it. */
struct fake {
    int fd;
    struct message_decoder *decoder;
    uint8_t *in, *out; /* both of BIG * 2 bytes */
    size_t in_len, out_len;
    struct message said; /* the last one taken with fake_next */
    uint8_t *taken;      /* and its bytes */
};

struct world {
    struct sluice_app *app;
    char directory[64], address[128];
    struct fake fakes[2]; /* the first is open */
};

struct world *world_new(const struct sluice_events *events);
/* Hangs up on every session; nothing may be left. */
void world_free(struct world *w);
/* Moves bytes as far as they go now, both ways, and gives the app its turn. */
void step(struct world *w);
void settle(struct world *w);

void fake_open(struct world *w, struct fake *f);
void fake_close(struct fake *f);
/* What Sluice says. */
void fake_put(struct fake *f, const void *data, size_t len);
void fake_say(struct fake *f, struct message m);
void fake_scope(struct fake *f);
void fake_receive(struct fake *f, uint64_t id, const void *data, size_t len, bool ended);
void fake_credit(struct fake *f, bool of_stream, uint64_t id, uint64_t limit);
/* Takes one frame that is there into f->said; false if none is. */
bool fake_take(struct fake *f);
/* Waits for the next message of this type, credit for the client set aside. */
const struct message *fake_next(struct world *w, struct fake *f, enum message_type type);
/* Nothing comes any more but credit. */
void assert_quiet(struct world *w, struct fake *f);
struct message_text text(const char *at);

#endif
