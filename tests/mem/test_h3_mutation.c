/*
 * test_h3_mutation - frames of HTTP/3 and instructions of QPACK, changed a little and cut anywhere.
 *
 * Asserts nothing but that the server survives, as ASan and the libraries' own asserts see it, and
 * that nothing is left. How many seeds is in the environment (SEEDS).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mem/raw.h"

#define CONNECTIONS 30 /* for each seed */
#define STEPS       40
#define PIECE_MAX   512

/* For the control stream, after the SETTINGS */
static const char *const control[] = {
    "07 01 00",                            /* GOAWAY */
    "0d 01 05",                            /* MAX_PUSH_ID */
    "03 01 00",                            /* CANCEL_PUSH */
    "21 04 61 62 63 64",                   /* GREASE */
    "80 0f 07 00 05 00 75 3d 31 2c",       /* PRIORITY_UPDATE */
    "40 07 40 01 40",                      /* cut off */
    "07 08 c0 00 00 00 00 00 00 04",       /* not minimal */
    "07 05 04 80 0f 07 00 05 00 75 3d 31", /* a frame in a frame */
};

/* For the QPACK encoder stream */
static const char *const encoder[] = {
    "3f e1 1f",       /* the table has 4096 bytes */
    "3f bd 01",       /* 220 */
    "20",             /* 0 */
    "41 61 01 62",    /* insert "a: b" */
    "c1 03 61 62 63", /* insert with a name of the static table */
    "80 02 78 79",    /* with a name of the dynamic one */
    "00",             /* duplicate */
    "4a 63 75 73 74 6f 6d 2d 6b 65 79 0c 63 75 73 74 6f 6d 2d 76 61 6c 75 65",
};

/* For request streams */
static const char *const request[] = {
    "01 0a 02 00 d1 d7 c1 50 01 61 80",          /* waits for the dynamic table */
    "01 07 00 00 d1 d7 c1 50 01 61",             /* GET */
    "01 0a 00 00 d1 d7 c1 50 01 61 21 78 01 79", /* GET with "x: y" */
    "01 07 00 00 cf d7 c1 50 01 61",             /* CONNECT without a protocol */
    "01 05 03 81 10 81 80",
    "00 04 61 62 63 64", /* DATA */
    "21 03 61 62 63",    /* GREASE */
    "40 41 00 61 62",    /* a stream of WebTransport's */
};

static uint64_t any(struct raw *r, uint64_t below)
{
    return world_random(r->world, below);
}

#define ONE_OF(r, list) (list)[any(r, sizeof(list) / sizeof((list)[0]))]

static size_t from_hex(uint8_t *to, const char *hex)
{
    unsigned byte;
    int taken;
    size_t n = 0;
    for (; sscanf(hex, " %2x%n", &byte, &taken) == 1; hex += taken)
        to[n++] = (uint8_t)byte;
    return n;
}

static size_t mutate(struct raw *r, uint8_t *bytes, size_t len)
{
    for (uint64_t n = any(r, 3); n > 0 && len > 0; n--) {
        size_t at = any(r, len);
        switch (any(r, 4)) {
        case 0:
            bytes[at] = (uint8_t)any(r, 256);
            break;
        case 1:
            bytes[at] ^= (uint8_t)(1u << any(r, 8));
            break;
        case 2:
            bytes[at] = 0xff;
            break;
        default:
            len = at + 1;
        }
    }
    return len;
}

static void put(struct raw *r, struct raw_stream *st, uint8_t *bytes, size_t len)
{
    len = mutate(r, bytes, len);
    for (size_t at = 0; at < len;) {
        size_t n = 1 + any(r, any(r, 2) ? 3 : 200);
        n = n < len - at ? n : len - at;
        if (r->closed || st->is_closed || st->fin || st->out_len + n > RAW_STREAM_MAX)
            return;
        raw_write_bytes(st, bytes + at, n);
        at += n;
        if (any(r, 3) == 0)
            raw_settle(r);
    }
}

static void put_hex(struct raw *r, struct raw_stream *st, const char *hex)
{
    uint8_t bytes[PIECE_MAX];
    if (st)
        put(r, st, bytes, from_hex(bytes, hex));
}

static void connect_somehow(struct raw *r)
{
    uint8_t bytes[PIECE_MAX];
    struct raw_stream *st = raw_open(r, false);
    if (st)
        put(r, st, bytes, raw_connect_frame(bytes, sizeof(bytes)));
}

static void request_somehow(struct raw *r)
{
    struct raw_stream *last = r->count > 0 ? r->streams[r->count - 1] : NULL;
    bool again = last && last->id % 4 == 0 && any(r, 2);
    struct raw_stream *st = again ? last : raw_open(r, any(r, 8) == 0);
    put_hex(r, st, ONE_OF(r, request));
    if (!st || r->closed || st->is_closed)
        return;
    switch (any(r, 16)) {
    case 0:
    case 1:
    case 2:
        raw_end(st);
        break;
    case 3:
        raw_reset(st, 0x10c);
        break;
    case 4:
        if (!(st->id & 2))
            raw_stop(st, 0x10c);
        break;
    }
}

static void one_connection(struct raw *r)
{
    if (any(r, 8))
        raw_hello(r);
    raw_settle(r);
    for (int i = 0; i < STEPS && !r->closed; i++) {
        switch (any(r, 6)) {
        case 0:
            put_hex(r, r->control, ONE_OF(r, control));
            break;
        case 1:
        case 2:
            put_hex(r, r->encoder, ONE_OF(r, encoder));
            break;
        case 3:
            connect_somehow(r);
            break;
        default:
            request_somehow(r);
        }
        if (any(r, 2))
            raw_settle(r);
    }
}

static void run(uint64_t seed)
{
    for (uint64_t i = 0; i < CONNECTIONS; i++) {
        struct pair *p = pair_new(seed * CONNECTIONS + i, false);
        struct raw *r = raw_new(p);
        one_connection(r);
        raw_free(r);
        pair_free(p);
    }
}

static void the_server_survives(void **state)
{
    (void)state;
    world_each_seed(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_server_survives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
