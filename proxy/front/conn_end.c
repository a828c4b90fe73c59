/*
 * conn_end - how a connection ends.
 *
 * The first reason counts: it is recorded at once, and from then on nothing goes up but closed().
 * The flush at the end of the turn then says CONNECTION_CLOSE if there is somebody to hear it,
 * reports it, and buries the connection. Its ids pass to
 * conn_closing.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hostport.h"
#include "base/report.h"
#include "base/stats.h"
#include "front/conn_internal.h"

#define H3_GENERAL_PROTOCOL_ERROR 0x101
#define H3_NO_ERROR               0x100
#define CLOSING_PERIODS           3 /* probe timeouts, RFC 9000 section 10.2 */

static void begin_end(struct conn *c, enum conn_ending how, enum fault fault, const char *text)
{
    c->ending = how;
    c->fault = fault;
    snprintf(c->text, sizeof(c->text), "%s", text ? text : "");
    ngtcp2_ccerr_default(&c->close);
    conn_touch(c);
}

static void keep_peers_text(struct conn *c, const ngtcp2_ccerr *err)
{
    size_t len = err->reasonlen < sizeof(c->text) - 1 ? err->reasonlen : sizeof(c->text) - 1;
    if (len)
        memcpy(c->text, err->reason, len);
    c->text[len] = 0;
    for (size_t i = 0; i < len; i++)
        if (c->text[i] == 0)
            c->text[i] = '?';
}

static bool is_alert(const ngtcp2_ccerr *err)
{
    return err->type == NGTCP2_CCERR_TYPE_TRANSPORT && err->error_code >= NGTCP2_CRYPTO_ERROR &&
           err->error_code <= NGTCP2_CRYPTO_ERROR + 0xff;
}

static enum fault fault_of_peer(const struct conn *c, const ngtcp2_ccerr *err)
{
    if (c->is_reset)
        return FAULT_PEER_RESET;
    if (is_alert(err))
        return conn_is_server(c) ? FAULT_TLS_BY_CLIENT : FAULT_TLS;
    bool orderly =
        err->type == NGTCP2_CCERR_TYPE_APPLICATION
            ? err->error_code == H3_NO_ERROR || err->error_code == 0
            : err->type == NGTCP2_CCERR_TYPE_TRANSPORT && err->error_code == NGTCP2_NO_ERROR;
    return orderly ? FAULT_NONE : FAULT_PEER_CLOSED;
}

static void end_by_peer(struct conn *c)
{
    const ngtcp2_ccerr *err = ngtcp2_conn_get_ccerr(c->quic);

    begin_end(c, CONN_ENDS_DRAINS, fault_of_peer(c, err), "");
    if (c->is_reset)
        return;
    if (is_alert(err))
        snprintf(c->text, sizeof(c->text), "%s",
                 tls_alert_name((uint8_t)(err->error_code - NGTCP2_CRYPTO_ERROR)));
    else
        keep_peers_text(c, err);
    c->close.type = err->type;
    c->close.error_code = err->error_code;
}

void conn_end_by_alert(struct conn *c, uint8_t alert)
{
    begin_end(c, CONN_ENDS_TOLD, alert == TLS_NO_APPLICATION_PROTOCOL ? FAULT_NO_H3 : FAULT_TLS,
              tls_alert_name(alert));
    ngtcp2_ccerr_set_tls_alert(&c->close, alert, NULL, 0);
}

void conn_end_by_error(struct conn *c, int liberr)
{
    if (c->ending)
        return;
    switch (liberr) {
    case NGTCP2_ERR_DRAINING:
        end_by_peer(c);
        return;
    case NGTCP2_ERR_IDLE_CLOSE:
        begin_end(c, CONN_ENDS_SILENT, FAULT_IDLE, "");
        return;
    case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
        begin_end(c, CONN_ENDS_TOLD, FAULT_HANDSHAKE_TIMEOUT, "");
        ngtcp2_ccerr_set_transport_error(&c->close, NGTCP2_CONNECTION_REFUSED, NULL, 0);
        return;
    case NGTCP2_ERR_CRYPTO:
        conn_end_by_alert(c, ngtcp2_conn_get_tls_alert(c->quic));
        return;
    case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
        begin_end(c, CONN_ENDS_SILENT, FAULT_QUIC, "the server speaks no version of QUIC of ours");
        return;
    case NGTCP2_ERR_DROP_CONN: /* not even a beginning of a connection */
    case NGTCP2_ERR_RETRY:
        begin_end(c, CONN_ENDS_SILENT, FAULT_QUIC, ngtcp2_strerror(liberr));
        return;
    default:
        begin_end(c, CONN_ENDS_TOLD,
                  liberr == NGTCP2_ERR_FLOW_CONTROL   ? FAULT_QUIC_FLOW_CONTROL
                  : liberr == NGTCP2_ERR_STREAM_LIMIT ? FAULT_QUIC_STREAMS
                                                      : FAULT_QUIC,
                  ngtcp2_strerror(liberr));
        ngtcp2_ccerr_set_liberr(&c->close, liberr, NULL, 0);
    }
}

void conn_fail(struct conn *c, enum fault fault, uint64_t code, const char *text)
{
    if (c->ending)
        return;
    begin_end(c, CONN_ENDS_TOLD, fault, text ? text : "");
    ngtcp2_ccerr_set_application_error(&c->close, code, (const uint8_t *)c->text, strlen(c->text));
}

void conn_close(struct conn *c, uint64_t code, const char *text)
{
    conn_fail(c, FAULT_NONE, code, text);
}

void conn_end_by_upcall(struct conn *c, enum fault fault)
{
    conn_fail(c, fault, H3_GENERAL_PROTOCOL_ERROR, fault_sentence(fault));
}

int conn_callback_result(const struct conn *c)
{
    return c->ending ? NGTCP2_ERR_CALLBACK_FAILURE : 0;
}

static void tell_end(struct conn *c, const struct packet_address *remote,
                     const struct conn_end *end)
{
    char address[HOSTPORT_TEXT_SIZE];
    const char *event = c->is_secured ? "conn.closed" : "conn.refused";
    hostport_print(address, &remote->sa.any);
    const struct log_field fields[] = {
        log_text("remote", address), log_text("by", end->by_peer ? "peer" : "us"),
        log_uint("code", end->code), log_text("text", *c->text ? c->text : NULL)};
    size_t count = sizeof(fields) / sizeof(fields[0]);
    report_count(c->hub->env, c->fault);
    if (c->fault == FAULT_NONE)
        log_write(c->hub->env->log, LOG_INFO, event, fields, count);
    else
        report_line(c->hub->env, LOG_INFO, event, c->fault, fields, count);
}

/* Says goodbye on the wire, as the way of the end demands, and leaves the ids to conn_closing. */
static void leave(struct conn *c, struct packet *p)
{
    ngtcp2_path_storage path;
    ngtcp2_pkt_info info;
    ngtcp2_ssize n = 0;
    uint64_t period = CLOSING_PERIODS * ngtcp2_conn_get_pto(c->quic);

    ngtcp2_path_storage_zero(&path);
    if (c->ending == CONN_ENDS_TOLD)
        n = ngtcp2_conn_write_connection_close(c->quic, &path.path, &info, c->hub->out,
                                               ngtcp2_conn_get_max_tx_udp_payload_size(c->quic),
                                               &c->close, timers_now(c->hub->env->timers));
    if (n > 0) {
        conn_path_to_packet(c, &path.path, p);
        p->data = c->hub->out;
        p->len = (size_t)n;
        endpoint_transmit(c->hub->endpoint, p);
    }
    if (n > 0 || c->ending == CONN_ENDS_DRAINS)
        conn_closing_new(c, p->data, p->len, &p->local, &p->remote, period);
    else
        endpoint_forget(c->hub->endpoint, &c->peer);
}

static void conn_free(void *owner)
{
    conn_dispose(owner);
}

void conn_finish(struct conn *c)
{
    struct conn_hub *hub = c->hub;
    struct packet p = {0};
    struct conn_end end = {.fault = c->fault,
                           .by_peer = c->ending == CONN_ENDS_DRAINS,
                           .application = c->close.type == NGTCP2_CCERR_TYPE_APPLICATION,
                           .code = c->close.error_code,
                           .text = c->text};

    conn_path_to_packet(c, ngtcp2_conn_get_path(c->quic), &p);
    tell_end(c, &p.remote, &end);
    leave(c, &p);
    timer_stop(hub->env->timers, &c->timer);
    c->is_dead = true;
    if (c->has_user)
        hub->ops->closed(c->user, &end);
    LIST_REMOVE(c, entry);
    hub->count--;
    if (conn_is_server(c) && !c->is_secured)
        intake_finish_handshake(&hub->intake, c->listener);
    if (conn_is_server(c))
        intake_end(&hub->intake, c->listener);
    hub->env->stats->connections--;
    turn_untouch(hub->env->turn, &c->flush);
    turn_bury(hub->env->turn, &c->grave, conn_free, c);
}
