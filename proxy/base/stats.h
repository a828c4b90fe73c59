/*
 * stats - the counters and gauges of one worker.
 *
 * Plain numbers, written by their worker only. A gauge counts what is alive now and must be zero
 * when the worker has ended; a counter only grows. Whoever wants totals asks each worker for a
 * copy by message and adds with stats_add. Faults are counted by fault.h, in the same struct.
 */
#ifndef BASE_STATS_H
#define BASE_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"

/* name, sentence */
#define STATS_GAUGES(X)                                                                            \
    X(connections, "QUIC connections alive")                                                       \
    X(requests, "HTTP/3 request streams alive")                                                    \
    X(sessions, "WebTransport sessions alive")                                                     \
    X(streams, "WebTransport streams alive")                                                       \
    X(sessions_waiting, "sessions waiting for room at an application")                             \
    X(links, "sockets to applications alive")                                                      \
    X(send_bytes, "bytes held for clients until they acknowledge them")                            \
    X(receive_bytes, "bytes held for applications until their sockets take them")                  \
    X(datagrams, "datagrams waiting in either direction")                                          \
    X(memory_bytes, "bytes of --memory that are held or promised")

#define STATS_COUNTERS(X)                                                                          \
    X(connections_accepted, "QUIC connections begun by clients")                                   \
    X(handshakes_completed, "TLS handshakes completed")                                            \
    X(handshakes_resumed, "of these, those that went on from a session ticket")                    \
    X(retries_sent, "clients asked to prove their address (Retry)")                                \
    X(paths_changed, "times that a client went on from another address or port")                   \
    X(resets_sent, "packets of forgotten connections answered with a stateless reset")             \
    X(sessions_requested, "WebTransport sessions asked for by clients")                            \
    X(sessions_accepted, "sessions that an application accepted")                                  \
    X(sessions_refused, "sessions answered with a status other than 2xx")                          \
    X(streams_opened, "WebTransport streams opened by either side")                                \
    X(packets_received, "UDP payloads received")                                                   \
    X(packets_sent, "UDP payloads sent")                                                           \
    X(packets_dropped, "UDP payloads received that belonged to nobody")                            \
    X(packets_forwarded, "UDP payloads handed to the worker that owns their connection")           \
    X(datagrams_received, "datagrams received from clients")                                       \
    X(datagrams_sent, "datagrams sent to clients")                                                 \
    X(datagrams_dropped, "datagrams dropped because their queue was full")                         \
    X(datagrams_expired, "datagrams dropped because they had waited for too long")                 \
    X(frames_received, "frames received from applications")                                        \
    X(frames_sent, "frames sent to applications")

struct stats {
#define X(name, sentence) uint64_t name;
    STATS_GAUGES(X)
    STATS_COUNTERS(X)
#undef X
    uint64_t faults[FAULT_COUNT];
};

struct stats_row {
    const char *name;
    const char *sentence;
    size_t offset; /* of the uint64_t in struct stats */
    int is_gauge;
};

/* One row for every gauge and counter, in the order above; ends with name NULL. */
extern const struct stats_row stats_rows[];

uint64_t stats_value(const struct stats *s, const struct stats_row *row);
/* sum += one, every number of it. */
void stats_add(struct stats *sum, const struct stats *one);
/* The first gauge that is not zero, or NULL. */
const struct stats_row *stats_alive(const struct stats *s);

#endif
