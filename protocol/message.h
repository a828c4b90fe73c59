/*
 * message - the messages of the backend protocol, and their bytes.
 *
 * One flat struct serves both directions and all types; message_fields (in message.c) says which
 * type has which field. What is lent (data, texts, headers) points into the frame that was decoded,
 * or into the decoder's zone, and is valid as long as the frame's bytes are and until the next
 * decode with that decoder.
 *
 * Normative: protocol/README.md. Depends on nothing but msgpack-c and libunistring.
 */
#ifndef PROTOCOL_MESSAGE_H
#define PROTOCOL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_MAX_FRAME    (1u << 20) /* default for max_frame */
#define MESSAGE_MAX_DEPTH    8
#define MESSAGE_MAX_KEYS     64                        /* of the outermost map */
#define MESSAGE_MAX_ELEMENTS 1024                      /* keys and values at every level together */
#define MESSAGE_MAX_UINT     ((UINT64_C(1) << 53) - 1) /* ids, sizes */
#define MESSAGE_REASON_MAX   1024
#define MESSAGE_BODY_MAX     65536 /* bytes of a reject's body */

/* A scope is larger than other frames; what a client sends beyond this gets 431 from Sluice. */
#define MESSAGE_MAX_SCOPE_ELEMENTS     16384
#define MESSAGE_MAX_SCOPE_HEADERS      4096
#define MESSAGE_MAX_SCOPE_SUBPROTOCOLS 256

enum message_type {
    MESSAGE_UNKNOWN, /* legal, and to be ignored or answered with webtransport.error */
    MESSAGE_SCOPE,
    MESSAGE_ACCEPT,
    MESSAGE_REJECT,
    MESSAGE_STREAM_RECEIVE,
    MESSAGE_STREAM_SEND,
    MESSAGE_STREAM_DELIVERED,
    MESSAGE_STREAM_RESET,
    MESSAGE_STREAM_STOP,
    MESSAGE_CREDIT,
    MESSAGE_STREAM_PRIORITY,
    MESSAGE_DATAGRAM_RECEIVE,
    MESSAGE_DATAGRAM_SEND,
    MESSAGE_DATAGRAM_LIMIT,
    MESSAGE_DRAIN,
    MESSAGE_CLOSE,
    MESSAGE_ABORT,
    MESSAGE_DISCONNECT,
    MESSAGE_ERROR,
    MESSAGE_TYPES
};

struct message_text {
    const char *at; /* valid UTF-8, not terminated; NULL if absent */
    size_t len;
};

struct message_bytes {
    const uint8_t *at;
    size_t len;
};

struct message_header {
    struct message_bytes name, value;
};

/* An unsigned number that may be absent or nil. */
struct message_uint {
    bool set;
    uint64_t value;
};

struct message {
    enum message_type type;
    struct message_text type_name; /* as received */
    struct message_uint stream_id;
    struct message_bytes data; /* stream.*, datagram.*; absent is empty */
    bool stream_ended;         /* stream.receive */
    bool end_stream;           /* stream.send */
    bool confirm;              /* stream.send */
    struct message_uint
        code; /* reset, stop, close, disconnect; decoding sets 0 where absent means 0 */
    struct message_uint limit;            /* credit */
    int64_t send_order;                   /* stream.priority */
    struct message_uint max_size;         /* datagram.limit */
    struct message_text reason;           /* drain, close, disconnect */
    struct message_uint deadline_ms;      /* drain */
    bool after_delivery;                  /* close */
    bool clean;                           /* disconnect */
    struct message_text by;               /* disconnect */
    struct message_text error_code;       /* error */
    struct message_text error_text;       /* error: `message` */
    struct message_uint count;            /* error */
    struct message_uint status;           /* accept, reject; decoding sets the default */
    struct message_text subprotocol;      /* accept */
    struct message_uint receive_window;   /* accept */
    const struct message_header *headers; /* accept, reject */
    size_t header_count;
    struct message_bytes body; /* reject */
};

/* The scope: what Sluice says first. All texts must be valid UTF-8 when encoding. */
struct message_scope {
    struct message_text path;
    struct message_bytes raw_path, query_string;
    struct message_text root_path;
    const struct message_header *headers;
    size_t header_count;
    struct message_text server_host, client_host; /* client_host.at NULL: client is nil */
    uint16_t server_port, client_port;
    uint64_t session_id;
    const struct message_text *subprotocols;
    size_t subprotocol_count;
    uint16_t tls_version, cipher_suite;
    uint64_t max_datagram_size, stream_window, session_window, max_pending_streams;
    struct message_text connect_protocol;
    struct message_text session, draft, route;
    uint64_t max_frame;
};

/* Whose frames a decoder reads. Types that only the other side may send are MESSAGE_UNKNOWN. */
enum message_side {
    MESSAGE_FROM_APP,
    MESSAGE_FROM_SLUICE,
};

/* Why a frame cannot be taken: for webtransport.error. Static text and field name. */
struct message_fault {
    const char *code;  /* "not_a_map", "too_deep", "wrong_type", "missing_field" ... the list is in
                          README.md */
    const char *field; /* the key at fault, "" if none */
    char text[160];    /* names the field, what was found and what was expected */
    struct message_uint stream_id; /* if known */
};

struct message_decoder;
struct message_decoder *message_decoder_new(enum message_side from);
void message_decoder_free(struct message_decoder *d);

/* Decodes one frame's body. Scans it first, so nothing is allocated for what is not there. Returns
 * false and fills fault for what is class c. An unknown type is MESSAGE_UNKNOWN and true; unknown
 * keys are skipped. */
bool message_decode(struct message_decoder *d, const uint8_t *body, size_t len, struct message *out,
                    struct message_fault *fault);
/* Decodes a scope, which is the first frame from Sluice; the same decoder may be used. */
bool message_decode_scope(struct message_decoder *d, const uint8_t *body, size_t len,
                          struct message_scope *out, struct message_fault *fault);

/* Encodes the body of a frame (without its length), `data` last. Returns the bytes written, or the
 * bytes needed if that is more than cap (then what is in to is of no use). Every field that the
 * type has is encoded if it is set; stream_ended, end_stream and what disconnect has always are. */
size_t message_encode(const struct message *m, uint8_t *to, size_t cap);
/* The same for a type with `data` (stream.receive, stream.send, datagram.*), up to and including
 * the key "data": the value, counted in the map but left out, follows as `c6 len32 payload`. The
 * byte *flag_at of it is stream_ended (stream.receive) or end_stream (stream.send): c2 is false, c3
 * true. flag_at may be NULL. */
#define MESSAGE_FALSE 0xc2
#define MESSAGE_TRUE  0xc3
size_t message_encode_head(const struct message *m, uint8_t *to, size_t cap, size_t *flag_at);
size_t message_encode_scope(const struct message_scope *s, uint8_t *to, size_t cap);
/* The scope's `path` from its raw_path: percent-decoded, and what is not UTF-8 then becomes U+FFFD.
 * Returns the length; to has room for 3 * len bytes. */
size_t message_scope_path(const uint8_t *raw, size_t len, char *to);

/* "webtransport.stream.send"; "" for UNKNOWN. */
const char *message_type_name(enum message_type type);

/* The version of msgpack-c at run time. */
const char *message_library(void);

#endif
