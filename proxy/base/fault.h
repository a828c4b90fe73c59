/*
 * fault - every way in which a peer, an application or the surroundings can be at fault.
 *
 * One row each: its name, how far it reaches, and a sentence that a person understands. A function
 * that finds such a fault returns its row; one function per reach (stream, session, connection,
 * backend) acts on it and logs it once. Our own mistakes are no faults but asserts.
 * Every fault has a counter in struct stats, a row in docs/operations.md, and a test that
 * tests/wire/test_reasons.py has or names.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

enum fault_reach {
    FAULT_OF_NOTHING,
    FAULT_OF_STREAM,
    FAULT_OF_SESSION,
    FAULT_OF_CONNECTION,
    FAULT_OF_BACKEND,
};

/* NAME, name as logged, reach, sentence */
#define FAULT_TABLE(X)                                                                             \
    X(NONE, "none", NOTHING, "no fault")                                                           \
    /* connection: front/conn.c, front/tls.c */                                                    \
    X(QUIC_VERSION, "quic_version", CONNECTION,                                                    \
      "the client asked for a version of QUIC that is not spoken here")                            \
    X(TLS, "tls", CONNECTION, "the TLS handshake failed")                                          \
    X(TLS_BY_CLIENT, "tls_by_client", CONNECTION,                                                  \
      "the client ended the TLS handshake, as it does with a certificate that it does not trust")  \
    X(NO_H3, "no_h3", CONNECTION, "the client does not offer HTTP/3 (ALPN h3)")                    \
    X(QUIC, "quic", CONNECTION, "the peer broke a rule of QUIC")                                   \
    X(QUIC_FLOW_CONTROL, "quic_flow_control", CONNECTION,                                          \
      "the peer sent more than QUIC's flow control allows it")                                     \
    X(QUIC_STREAMS, "quic_streams", CONNECTION,                                                    \
      "the peer opened more streams than QUIC's limit allows it")                                  \
    X(IDLE, "idle", CONNECTION, "nothing was heard from the peer for the idle timeout")            \
    X(HANDSHAKE_TIMEOUT, "handshake_timeout", CONNECTION,                                          \
      "the handshake was not finished in time")                                                    \
    X(PEER_CLOSED, "peer_closed", CONNECTION, "the peer closed the connection with an error")      \
    X(PEER_RESET, "peer_reset", CONNECTION,                                                        \
      "the peer has forgotten the connection (stateless reset)")                                   \
    X(MEMORY_CONNECTION, "memory_connection", CONNECTION,                                          \
      "there was no memory left for another connection")                                           \
    X(TOO_MANY_HANDSHAKES, "too_many_handshakes", CONNECTION,                                      \
      "the limit of unfinished handshakes is reached")                                             \
    X(TOO_MANY_CONNECTIONS, "too_many_connections", CONNECTION,                                    \
      "the limit of connections is reached")                                                       \
    X(LISTENER_HANDSHAKES, "listener_handshakes", CONNECTION,                                      \
      "the listener's limit of unfinished handshakes is reached")                                  \
    X(LISTENER_CONNECTIONS, "listener_connections", CONNECTION,                                    \
      "the listener's limit of connections is reached")                                            \
    X(LISTENER_CONNECTION_RATE, "listener_connection_rate", CONNECTION,                            \
      "the listener's limit of new connections a second is reached")                               \
    X(LISTENER_REMOVED, "listener_removed", CONNECTION,                                            \
      "the configuration does not name the listener any more")                                     \
    X(CLIENT_CONNECTIONS, "client_connections", CONNECTION,                                        \
      "the client's address has as many connections as one may have")                              \
    X(CLIENT_CONNECTION_RATE, "client_connection_rate", CONNECTION,                                \
      "the client's address opens connections faster than one may")                                \
    X(FALSE_PROOF, "false_proof", CONNECTION,                                                      \
      "the client's proof of its address is false or too old")                                     \
    /* connection: front/h3*.c */                                                                  \
    X(H3_PROTOCOL, "h3_protocol", CONNECTION, "the peer broke a rule of HTTP/3")                   \
    X(H3_SETTINGS, "h3_settings", CONNECTION, "the peer's SETTINGS are not legal")                 \
    X(H3_NO_SETTINGS, "h3_no_settings", CONNECTION, "the peer sent no SETTINGS in time")           \
    X(H3_SESSION_ID, "h3_session_id", CONNECTION,                                                  \
      "a stream or datagram names a session id that cannot be one")                                \
    X(H3_DATAGRAM, "h3_datagram", CONNECTION, "a datagram does not begin with a session id")       \
    /* session: front/wt*.c, front/capsule.c */                                                    \
    X(NO_WEBTRANSPORT, "no_webtransport", SESSION,                                                 \
      "the client's SETTINGS enable neither WebTransport nor HTTP datagrams")                      \
    X(NO_DATAGRAMS, "no_datagrams", SESSION,                                                       \
      "the client's SETTINGS do not enable HTTP datagrams, which WebTransport requires")           \
    X(NO_QUIC_DATAGRAMS, "no_quic_datagrams", SESSION,                                             \
      "the client's transport parameters do not allow datagrams, which WebTransport requires")     \
    X(NOT_WEBTRANSPORT, "not_webtransport", SESSION,                                               \
      "the request is for something other than WebTransport")                                      \
    X(SECOND_SESSION, "second_session", SESSION,                                                   \
      "the connection already carries as many sessions as it may")                                 \
    X(FLOW_CONTROL, "flow_control", SESSION,                                                       \
      "the client did not keep to the flow control of its session")                                \
    X(MALFORMED_REQUEST, "malformed_request", SESSION, "the CONNECT request is malformed")         \
    X(HOST, "host", SESSION, "the client asks for a host that is not served here")                 \
    X(NO_ROUTE, "no_route", SESSION, "no route of the host is for the path that is asked for")     \
    X(ORIGIN, "origin", SESSION, "the origin of the client's page is not allowed")                 \
    X(NO_ORIGIN, "no_origin", SESSION, "the client names no origin, which is required here")       \
    X(HEADERS_TOO_LARGE, "headers_too_large", SESSION, "the request's headers are too large")      \
    X(CAPSULE, "capsule", SESSION, "a capsule on the CONNECT stream is malformed")                 \
    X(AFTER_CLOSE, "after_close", STREAM, "something followed the close on the CONNECT stream")    \
    X(SESSION_RESET, "session_reset", SESSION, "the client reset the CONNECT stream")              \
    X(CLOSE_TIMEOUT, "close_timeout", SESSION, "the client did not answer the close in time")      \
    X(TOO_MANY_EARLY, "too_many_early", STREAM, "too many streams arrived before their session")   \
    X(STREAM_HEADER, "stream_header", STREAM, "a stream ended before its header was whole")        \
    X(MEMORY_STREAM, "memory_stream", STREAM, "there was no memory left for another stream")       \
    X(SESSION_GONE, "session_gone", STREAM, "a stream arrived for a session that has ended")       \
    /* backend: back/, relay.c */                                                                  \
    X(BACKEND_CONNECT, "backend_connect", BACKEND,                                                 \
      "the application or service could not be reached")                                           \
    X(BACKEND_CONNECT_TIMEOUT, "backend_connect_timeout", BACKEND,                                 \
      "the application or service did not take the connection in time")                            \
    X(BACKEND_TLS, "backend_tls", BACKEND,                                                         \
      "TLS with the service failed, or its certificate is not to be trusted")                      \
    X(BACKEND_LOST, "backend_lost", BACKEND,                                                       \
      "the application closed its connection without ending the session")                          \
    X(BACKEND_ACCEPT_TIMEOUT, "backend_accept_timeout", BACKEND,                                   \
      "the application neither accepted nor rejected in time")                                     \
    X(BACKEND_FULL, "backend_full", BACKEND,                                                       \
      "the application or service had no room for another one in time")                            \
    X(BACKEND_STALLED, "backend_stalled", BACKEND,                                                 \
      "the application sent beyond its credit and the client did not read in time")                \
    X(MEMORY_FRAME, "memory_frame", BACKEND,                                                       \
      "memory was short and the application did not finish a frame in time")                       \
    X(BACKEND_PROTOCOL, "backend_protocol", BACKEND, "the application broke the protocol")         \
    X(BACKEND_COMMAND, "backend_command", BACKEND, "a command of the application was refused")     \
    X(MEMORY_SESSION, "memory_session", SESSION, "there was no memory left for another session")   \
    X(REJECTED, "rejected", SESSION, "the application refused the session")                        \
    X(WITHDRAWN, "withdrawn", SESSION, "the client gave up before the application answered")       \
    X(SHUTDOWN, "shutdown", SESSION, "the proxy ended the session because it is shutting down")    \
    X(TOO_MANY_SESSIONS, "too_many_sessions", SESSION, "the limit of sessions is reached")         \
    X(ROUTE_SESSION_RATE, "route_session_rate", SESSION,                                           \
      "the route's limit of new sessions a second is reached")                                     \
    X(CLIENT_SESSIONS, "client_sessions", SESSION,                                                 \
      "the client's address has as many sessions as one may have")                                 \
    X(CLIENT_SESSION_RATE, "client_session_rate", SESSION,                                         \
      "the client's address opens sessions faster than one may")                                   \
    X(DRAINING, "draining", SESSION, "the proxy is shutting down and takes no new sessions")

enum fault {
#define X(NAME, name, reach, sentence) FAULT_##NAME,
    FAULT_TABLE(X)
#undef X
        FAULT_COUNT
};

const char *fault_name(enum fault f);
enum fault_reach fault_reach(enum fault f);
const char *fault_sentence(enum fault f);

#endif
