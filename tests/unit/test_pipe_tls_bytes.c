/*
 * Bytes through a pipe that speaks TLS: in parts, to the end of each half, and when it breaks off.
 */
#include "cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls_world.h"

static const char *const versions[] = {TLS_13, TLS_12};

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 131 + (at >> 8));
}

static void fill(uint8_t *to, size_t at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = pattern(at + i);
}

static void expect_pattern(const uint8_t *data, size_t at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i] != pattern(at + i))
            fail_msg("byte %zu is another", at + i);
}

/* What a test may do once for each version. */
static void begin_anew(struct tls_world *t)
{
    struct scene *s = t->s;
    if (s->pipe)
        pipe_close(s->pipe);
    s->pipe = NULL;
    until(s->w, s->shared.pipes == 0);
    if (s->service >= 0)
        service_closes(s);
    close(s->listener);
    s->reads = s->ended = t->heard_end = false;
    s->read_error = t->error = 0;
    s->len = t->heard_len = 0;
    s->opened = s->finished = s->readable = s->writable = 0;
}

/* --- parts --- */

struct transfer {
    struct tls_world *t;
    uint8_t out[40000], back[16000], in[3000];
    size_t sent, received;         /* by the pipe */
    size_t said, said_part, heard; /* by the service */
};

enum { BIG = 10 << 20 };

static void pipe_goes_on(struct transfer *x)
{
    struct pipe *pipe = x->t->s->pipe;
    size_t len = BIG - x->sent < sizeof x->out ? BIG - x->sent : sizeof x->out;
    fill(x->out, x->sent, len);
    const struct iovec parts[] = {
        {x->out, len / 7}, {x->out + len / 7, 0}, {x->out + len / 7, len - len / 7}};
    ssize_t n = len > 0 ? pipe_write(pipe, parts, 3) : 0;
    assert_true(n >= 0 || errno == EAGAIN);
    x->sent += n > 0 ? (size_t)n : 0;
    memset(x->out, 0, sizeof x->out); /* it may lie elsewhere the next time */
    while ((n = pipe_read(pipe, x->in, 1 + x->received % sizeof x->in)) > 0) {
        expect_pattern(x->in, x->received, (size_t)n);
        x->received += (size_t)n;
    }
    assert_true(n == -1 && errno == EAGAIN);
}

static void service_goes_on(struct transfer *x)
{
    gnutls_session_t tls = x->t->tls;
    if (x->said_part == 0)
        x->said_part = BIG - x->said < sizeof x->back ? BIG - x->said : sizeof x->back;
    fill(x->back, x->said, x->said_part);
    ssize_t n = x->said_part > 0 ? gnutls_record_send(tls, x->back, x->said_part) : 0;
    assert_true(n >= 0 || n == GNUTLS_E_AGAIN);
    x->said += n > 0 ? (size_t)n : 0;
    if (n > 0)
        x->said_part = 0;
    while ((n = gnutls_record_recv(tls, x->in, sizeof x->in)) > 0) {
        expect_pattern(x->in, x->heard, (size_t)n);
        x->heard += (size_t)n;
    }
    assert_int_equal(n, GNUTLS_E_AGAIN);
}

static void ten_megabytes_go_each_way(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    const int little = 8192;
    struct transfer *x = calloc(1, sizeof *x);
    assert_non_null(x);
    x->t = t;
    both_up(t, TLS_13);
    setsockopt(s->service, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    setsockopt(s->service, SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
    pipe_want(s->pipe, true, true);
    for (uint64_t end = uv_hrtime() + 2 * WATCHDOG_S * NS_PER_S;
         x->received < BIG || x->heard < BIG;) {
        assert_true(uv_hrtime() < end);
        send_most = 1 + (x->sent / 3) % 5000; /* parts of all sizes */
        pipe_goes_on(x);
        service_goes_on(x);
        world_step(s->w);
    }
    assert_int_equal(x->sent, BIG);
    free(x);
}

/* What was not taken is given again, and goes once. */
static void what_was_begun_is_not_sent_twice(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    both_up(t, TLS_13);
    for (int i = 0; i < 3; i++) {
        send_most = 0;
        assert_int_equal(scene_write(s, "hello", 5), -1);
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(scene_write(s, "hello", 5), -1);
        send_most = 20; /* of a record of 27 */
        assert_int_equal(scene_write(s, "hello", 5), -1);
        assert_int_equal(errno, EAGAIN);
        send_most = SIZE_MAX;
        assert_int_equal(scene_write(s, "hello more", 10), 10);
    }
    until(s->w, (service_reads(t), t->heard_len == 30));
    assert_memory_equal(t->heard, "hello morehello morehello more", 30);
}

static void the_preface_comes_before_all(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    char preface[12];
    t->preface = "PROXY ...\r\n";
    service_listens_tcp(s, 16);
    service_shows(t, PROOF_GOOD, TLS_13);
    pipe_trusts(t, tls_authority(), NULL);
    pipe_begins(t);
    turn_end(&s->w->turn); /* it connects */
    service_accepts(s);
    world_read(s->w, s->service, (uint8_t *)preface, strlen(t->preface));
    assert_memory_equal(preface, t->preface, strlen(t->preface));
    gnutls_transport_set_int(t->tls, s->service);
    until(s->w, (service_steps(t), (s->opened && t->up) || s->failed || t->error));
    assert_int_equal(s->opened, 1);
    assert_true(t->up);
}

/* A record is decrypted as a whole: the socket has nothing more to say of its rest. */
static void what_it_holds_is_told(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    uint8_t data[100], byte;
    fill(data, 0, sizeof data);
    both_up(t, TLS_13);
    service_writes(t, data, sizeof data);
    assert_int_equal(gnutls_bye(t->tls, GNUTLS_SHUT_WR), 0); /* the socket goes on */
    pipe_want(s->pipe, true, false);
    for (size_t i = 0; i < sizeof data; i++) {
        int before = s->readable;
        until(s->w, s->readable > before); /* each time it is told again */
        assert_int_equal(pipe_read(s->pipe, &byte, 1), 1);
        assert_int_equal(byte, pattern(i));
        if (i != 50)
            continue;
        pipe_want(s->pipe, false, false);
        before = s->readable;
        for (int k = 0; k < 20; k++)
            world_step(s->w);
        assert_int_equal(s->readable, before);
        pipe_want(s->pipe, true, false);
    }
    int before = s->readable;
    until(s->w, s->readable > before);
    assert_int_equal(pipe_read(s->pipe, &byte, 1), 0);
    before = s->readable;
    for (int k = 0; k < 20; k++)
        world_step(s->w);
    assert_int_equal(s->readable, before); /* the end is told once */
}

/* New keys in the middle of a record that is half sent; and, in version 1.2, the wish for a new
 * handshake, which is not granted. */
static void the_service_may_want_new_keys(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    uint8_t *data = malloc(1 << 20);
    assert_non_null(data);
    fill(data, 0, 1 << 20);
    for (int i = 0; i < 2; i++) {
        both_up(t, versions[i]);
        send_most = 100;
        assert_int_equal(scene_write(s, data, 50000), -1);
        if (i == 0)
            assert_int_equal(gnutls_session_key_update(t->tls, GNUTLS_KU_PEER), 0);
        else
            assert_int_equal(gnutls_rehandshake(t->tls), 0);
        service_writes(t, "answer", 6);
        scene_read_on(s);
        until(s->w, s->len == 6);
        assert_memory_equal(s->got, "answer", 6);
        send_most = 5000;
        pipe_pushes(t, data, 1 << 20);
        until(s->w, (service_reads(t), t->heard_len == 1 << 20));
        assert_memory_equal(t->heard, data, 1 << 20);
        begin_anew(t);
        send_most = SIZE_MAX;
    }
    free(data);
    s->listener = -1;
}

/* --- halves --- */

static void our_half_ends_first(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    static const uint8_t answer[1 << 20];
    char byte;
    for (int i = 0; i < 2; i++) {
        both_up(t, versions[i]);
        pipe_pushes(t, "question", 8);
        pipe_shut(s->pipe);
        until(s->w, (service_reads(t), t->heard_end));
        assert_int_equal(t->error, 0);
        assert_int_equal(t->heard_len, 8);
        until(s->w, recv(s->service, &byte, 1, 0) == 0); /* the socket's half, too */
        scene_read_on(s);
        service_writes(t, answer, sizeof answer);
        assert_int_equal(gnutls_bye(t->tls, GNUTLS_SHUT_WR), 0);
        until(s->w, s->ended || s->read_error);
        assert_int_equal(s->read_error, 0);
        assert_int_equal(s->len, sizeof answer);
        begin_anew(t);
    }
    s->listener = -1;
}

static void the_services_half_ends_first(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    static const uint8_t more[1 << 20];
    for (int i = 0; i < 2; i++) {
        both_up(t, versions[i]);
        service_writes(t, "all", 3);
        assert_int_equal(gnutls_bye(t->tls, GNUTLS_SHUT_WR), 0);
        shutdown(s->service, SHUT_WR);
        scene_read_on(s);
        until(s->w, s->ended || s->read_error);
        assert_int_equal(s->read_error, 0);
        assert_int_equal(s->len, 3);
        send_most = 3000;
        pipe_pushes(t, more, sizeof more);
        pipe_shut(s->pipe);
        until(s->w, (service_reads(t), t->heard_end || t->error));
        assert_int_equal(t->error, 0);
        assert_int_equal(t->heard_len, sizeof more);
        send_most = SIZE_MAX;
        begin_anew(t);
    }
    s->listener = -1;
}

static void a_service_that_reads_no_more_is_still_read(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    service_listens_unix(s, 16);
    service_shows(t, PROOF_GOOD, TLS_13);
    pipe_trusts(t, tls_authority(), SERVICE_NAME);
    pipe_begins(t);
    until(s->w, (service_steps(t), s->opened && t->up));
    shutdown(s->service, SHUT_RD);
    assert_int_equal(scene_write(s, "hello", 5), -1);
    assert_int_equal(errno, EPIPE);
    service_writes(t, "enough", 6);
    assert_int_equal(gnutls_bye(t->tls, GNUTLS_SHUT_WR), 0);
    scene_read_on(s);
    until(s->w, s->ended || s->read_error);
    assert_int_equal(s->read_error, 0);
    assert_memory_equal(s->got, "enough", 6);
}

/* --- breaking off --- */

static void expect_broken(struct tls_world *t, int error)
{
    struct scene *s = t->s;
    scene_read_on(s);
    until(s->w, s->ended || s->read_error);
    assert_false(s->ended);
    assert_int_equal(s->read_error, error);
    assert_int_equal(s->len, 6); /* what came before it */
    assert_memory_equal(s->got, "before", 6);
    begin_anew(t);
}

static void an_end_that_was_not_said_is_a_reset(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    for (int i = 0; i < 2; i++) {
        both_up(t, versions[i]);
        service_writes(t, "before", 6);
        service_closes(s);
        expect_broken(t, ECONNRESET);
        both_up(t, versions[i]);
        service_writes(t, "before", 6);
        assert_int_equal(write(s->service, "\x17\x03\x03\x40", 4), 4); /* the record is cut off */
        service_closes(s);
        expect_broken(t, ECONNRESET);
        both_up(t, versions[i]);
        service_writes(t, "before", 6);
        assert_int_equal(gnutls_alert_send(t->tls, GNUTLS_AL_FATAL, GNUTLS_A_INTERNAL_ERROR), 0);
        expect_broken(t, ECONNRESET);
        both_up(t, versions[i]);
        service_writes(t, "before", 6);
        assert_int_equal(write(s->service, "\x17\x03\x03\x00\x20", 5), 5); /* a forged one */
        assert_int_equal(write(s->service, "0123456789abcdef0123456789abcdef", 32), 32);
        expect_broken(t, EPROTO);
    }
    s->listener = -1;
}

static void a_reset_is_told(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    both_up(t, TLS_13);
    service_resets(s);
    scene_read_on(s);
    until(s->w, s->read_error);
    assert_int_equal(s->read_error, ECONNRESET);
    assert_int_equal(scene_write(s, "x", 1), -1);
    assert_int_equal(errno, ECONNRESET);
}

static void who_does_not_listen_does_not_mind(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    both_up(t, TLS_13);
    service_writes(t, "unheard", 7);
    service_closes(s);
    pipe_stop(s->pipe);
    scene_read_on(s);
    until(s->w, s->ended || s->read_error);
    assert_true(s->ended);
    assert_int_equal(s->len, 0);
}

/* --- closing --- */

/* Writes until nothing more is taken. Returns how many bytes were. */
static size_t fill_up(struct scene *s)
{
    static const uint8_t some[1 << 16];
    size_t taken = 0;
    ssize_t n;
    while ((n = scene_write(s, some, sizeof some)) > 0)
        taken += (size_t)n;
    assert_int_equal(errno, EAGAIN);
    return taken;
}

/* Both halves are over, but the socket had no room for our close_notify. */
static void a_close_does_not_cut_off_the_end(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    for (int i = 0; i < 4; i++) {
        both_up(t, versions[i % 2]);
        assert_int_equal(gnutls_bye(t->tls, GNUTLS_SHUT_WR), 0);
        scene_read_on(s);
        until(s->w, s->ended);
        size_t taken = fill_up(s);
        send_most = 0;
        pipe_shut(s->pipe);
        if (i < 2)
            pipe_close(s->pipe);
        else
            pipe_finish(s->pipe);
        if (i < 2)
            s->pipe = NULL;
        send_most = SIZE_MAX;
        until(s->w, (service_reads(t), t->heard_end || t->error));
        assert_int_equal(t->error, 0);
        assert_true(t->heard_len >= taken);
        until(s->w, s->shared.pipes == 0);
        assert_int_equal(s->finished, i >= 2);
        begin_anew(t);
    }
    s->listener = -1;
}

static void a_close_does_not_wait_for_ever(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    both_up(t, TLS_13);
    assert_int_equal(gnutls_bye(t->tls, GNUTLS_SHUT_WR), 0);
    scene_read_on(s);
    until(s->w, s->ended);
    fill_up(s);
    pipe_shut(s->pipe);
    pipe_close(s->pipe);
    s->pipe = NULL;
    assert_int_equal(s->shared.pipes, 1);
    until(s->w, (s->w->now += 100 * NS_PER_MS, s->shared.pipes == 0));
}

/* After each number of steps that there is before both are up, and some more. */
static void it_may_be_closed_in_every_phase(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    service_listens_tcp(s, 64);
    pipe_trusts(t, tls_authority(), NULL);
    for (int steps = 0; steps < 24; steps++) {
        for (enum deed deed = CLOSE; deed <= FINISH; deed++) {
            service_shows(t, PROOF_GOOD, versions[steps % 2]);
            pipe_begins(t);
            send_most = steps < 12 ? SIZE_MAX : 150;
            for (int i = 0; i < steps; i++) {
                world_step(s->w);
                service_steps(t);
                if (s->opened && i % 3 == 0)
                    scene_write(s, "hello", 5);
            }
            if (s->opened && steps % 4 == 1)
                pipe_shut(s->pipe);
            if (deed == FINISH && s->service >= 0)
                shutdown(s->service, SHUT_WR);
            s->w->now += deed == FINISH ? 10 * NS_PER_S : 0;
            scene_act(s, deed);
            until(s->w, (s->w->now += 100 * NS_PER_MS, s->shared.pipes == 0));
            s->pipe = NULL;
            service_steps(t); /* takes it out of the backlog */
            if (s->service >= 0)
                service_closes(s);
        }
    }
}

static void it_may_be_closed_from_within_each_upcall(void **state)
{
    struct tls_world *t = *state;
    struct scene *s = t->s;
    enum deed *const whens[] = {&s->when_opened, &s->when_readable, &s->when_writable};
    for (int i = 0; i < 3; i++) {
        for (enum deed deed = CLOSE; deed <= FINISH; deed++) {
            *whens[i] = i == 0 ? deed : GO_ON;
            if (i == 0) {
                service_listens_tcp(s, 16);
                service_shows(t, PROOF_GOOD, TLS_13);
                pipe_trusts(t, tls_authority(), NULL);
                pipe_begins(t);
                until(s->w, (service_steps(t), s->opened));
            } else {
                both_up(t, TLS_13);
                service_writes(t, "two bytes are held", 18);
                *whens[i] = deed;
                s->reads = false;
                pipe_want(s->pipe, i == 1, i == 2);
            }
            until(s->w, (service_steps(t), !s->pipe || deed == FINISH));
            until(s->w, (s->w->now += 100 * NS_PER_MS, s->shared.pipes == 0));
            *whens[i] = GO_ON;
            begin_anew(t);
        }
    }
    s->listener = -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_tls(ten_megabytes_go_each_way),
        in_tls(what_was_begun_is_not_sent_twice),
        in_tls(the_preface_comes_before_all),
        in_tls(what_it_holds_is_told),
        in_tls(the_service_may_want_new_keys),
        in_tls(our_half_ends_first),
        in_tls(the_services_half_ends_first),
        in_tls(a_service_that_reads_no_more_is_still_read),
        in_tls(an_end_that_was_not_said_is_a_reset),
        in_tls(a_reset_is_told),
        in_tls(who_does_not_listen_does_not_mind),
        in_tls(a_close_does_not_cut_off_the_end),
        in_tls(a_close_does_not_wait_for_ever),
        in_tls(it_may_be_closed_in_every_phase),
        in_tls(it_may_be_closed_from_within_each_upcall),
    };
    return cmocka_run_group_tests(tests, tls_group_setup, tls_group_teardown);
}
