/*
 * app_world.c - see there. Owns the folder, the app, and Sluice's ends of the sockets.
 */
#include "app_world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmocka_all.h"

void fake_open(struct world *w, struct fake *f)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%.100s", w->address + strlen("unix:"));
    f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(f->fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    fcntl(f->fd, F_SETFL, O_NONBLOCK);
    f->decoder = message_decoder_new(MESSAGE_FROM_APP);
    f->in = malloc(2 * BIG);
    f->out = malloc(2 * BIG);
    f->in_len = f->out_len = 0;
    f->taken = NULL;
}

void fake_close(struct fake *f)
{
    if (!f->in)
        return;
    close(f->fd);
    message_decoder_free(f->decoder);
    free(f->in);
    free(f->out);
    free(f->taken);
    *f = (struct fake){0};
}

struct world *world_new(const struct sluice_events *events)
{
    struct world *w = calloc(1, sizeof(*w));
    char error[256];
    strcpy(w->directory, "/tmp/sluice-app-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    snprintf(w->address, sizeof(w->address), "unix:%s/app.sock", w->directory);
    w->app = sluice_app_new(events, NULL);
    assert_true(sluice_app_listen(w->app, w->address, error, sizeof(error)));
    fake_open(w, &w->fakes[0]);
    return w;
}

void world_free(struct world *w)
{
    sluice_app_free(w->app);
    fake_close(&w->fakes[0]);
    fake_close(&w->fakes[1]);
    assert_int_equal(rmdir(w->directory), 0);
    free(w);
}

/* Moves bytes as far as they go now, both ways. */
static void fake_step(struct fake *f)
{
    ssize_t n = send(f->fd, f->out, f->out_len, MSG_NOSIGNAL);
    if (n > 0) {
        memmove(f->out, f->out + n, f->out_len - (size_t)n);
        f->out_len -= (size_t)n;
    }
    n = recv(f->fd, f->in + f->in_len, 2 * BIG - f->in_len, 0);
    if (n > 0)
        f->in_len += (size_t)n;
}

void step(struct world *w)
{
    for (int i = 0; i < 2; i++)
        if (w->fakes[i].in)
            fake_step(&w->fakes[i]);
    sluice_app_turn(w->app, 0);
}

void fake_put(struct fake *f, const void *data, size_t len)
{
    assert_true(f->out_len + len <= 2 * BIG);
    memcpy(f->out + f->out_len, data, len);
    f->out_len += len;
}

static void fake_frame(struct fake *f, const uint8_t *body, size_t len)
{
    uint8_t length[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                         (uint8_t)len};
    fake_put(f, length, 4);
    fake_put(f, body, len);
}

void fake_say(struct fake *f, struct message m)
{
    size_t cap = 1024 + m.data.len;
    uint8_t *body = malloc(cap);
    fake_frame(f, body, message_encode(&m, body, cap));
    free(body);
}

struct message_text text(const char *at)
{
    return (struct message_text){at, strlen(at)};
}

void fake_scope(struct fake *f)
{
    struct message_scope scope = {
        .path = text("/test"),
        .raw_path = {(const uint8_t *)"/test", 5},
        .root_path = text(""),
        .server_host = text("example.org"),
        .client_host = text("192.0.2.1"),
        .server_port = 443,
        .client_port = 5000,
        .tls_version = 0x0304,
        .cipher_suite = 0x1301,
        .max_datagram_size = 1200,
        .stream_window = STREAM_WINDOW,
        .session_window = SESSION_WINDOW,
        .max_pending_streams = 100,
        .connect_protocol = text("webtransport"),
        .session = text("s1"),
        .draft = text("draft02"),
        .route = text("default"),
        .max_frame = MESSAGE_MAX_FRAME,
    };
    uint8_t body[2048];
    size_t len = message_encode_scope(&scope, body, sizeof(body));
    assert_true(len <= sizeof(body));
    fake_frame(f, body, len);
}

void fake_receive(struct fake *f, uint64_t id, const void *data, size_t len, bool ended)
{
    fake_say(f, (struct message){.type = MESSAGE_STREAM_RECEIVE,
                                 .stream_id = {true, id},
                                 .stream_ended = ended,
                                 .data = {data, len}});
}

void fake_credit(struct fake *f, bool of_stream, uint64_t id, uint64_t limit)
{
    fake_say(f, (struct message){
                    .type = MESSAGE_CREDIT, .stream_id = {of_stream, id}, .limit = {true, limit}});
}

bool fake_take(struct fake *f)
{
    struct message_fault fault;
    if (f->in_len < 4)
        return false;
    size_t len = (size_t)f->in[0] << 24 | (size_t)f->in[1] << 16 | (size_t)f->in[2] << 8 | f->in[3];
    assert_true(len > 0 && len <= MESSAGE_MAX_FRAME);
    if (f->in_len < 4 + len)
        return false;
    free(f->taken);
    f->taken = malloc(len);
    memcpy(f->taken, f->in + 4, len);
    memmove(f->in, f->in + 4 + len, f->in_len - 4 - len);
    f->in_len -= 4 + len;
    if (!message_decode(f->decoder, f->taken, len, &f->said, &fault))
        fail_msg("the library wrote a bad frame: %s", fault.text);
    return true;
}

const struct message *fake_next(struct world *w, struct fake *f, enum message_type type)
{
    for (int i = 0; i < STEPS; i++) {
        while (fake_take(f)) {
            if (f->said.type == type)
                return &f->said;
            if (f->said.type != MESSAGE_CREDIT)
                fail_msg("%s instead of %s", message_type_name(f->said.type),
                         message_type_name(type));
        }
        step(w);
    }
    fail_msg("no %s came", message_type_name(type));
    return NULL;
}

void settle(struct world *w)
{
    for (int i = 0; i < 50; i++)
        step(w);
}

void assert_quiet(struct world *w, struct fake *f)
{
    settle(w);
    while (fake_take(f))
        if (f->said.type != MESSAGE_CREDIT)
            fail_msg("%s, and nothing was expected", message_type_name(f->said.type));
}
