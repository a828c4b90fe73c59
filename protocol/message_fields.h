/*
 * message_fields - which message has which fields: the table that decoding and encoding share.
 *
 * Only for protocol/message*.c.
 */
#ifndef PROTOCOL_MESSAGE_FIELDS_H
#define PROTOCOL_MESSAGE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/message.h"

enum field_kind {
    FIELD_UINT,    /* struct message_uint */
    FIELD_INT,     /* int64_t */
    FIELD_BOOL,    /* bool */
    FIELD_TEXT,    /* struct message_text */
    FIELD_BYTES,   /* struct message_bytes; a str is taken, too */
    FIELD_HEADERS, /* array of [name, value]; headers and header_count of struct message */
};

enum field_flag {
    FIELD_REQUIRED = 1,  /* neither absent nor nil */
    FIELD_ALWAYS = 2,    /* encoded even if it is not set (then as nil, false, empty) */
    FIELD_DEFAULTED = 4, /* in a command: absent or nil is `standard` */
};

struct message_field {
    enum message_type type;
    const char *key;
    enum field_kind kind;
    size_t offset; /* in struct message */
    unsigned flags;
    uint64_t min, max; /* FIELD_UINT: value; FIELD_TEXT, FIELD_BYTES: length; FIELD_INT: +-max */
    uint64_t standard;
};

/* In the order of encoding, the rows of a type together; `data` is a type's last. */
extern const struct message_field message_fields[];
extern const size_t message_field_count;

/* Whether that side may send that type. */
bool message_type_from(enum message_type type, enum message_side side);
/* MESSAGE_UNKNOWN if there is none. */
enum message_type message_type_find(const char *name, size_t len);

/* Fills fault; always false. */
__attribute__((format(printf, 4, 5))) bool message_refuse(struct message_fault *fault,
                                                          const char *code, const char *field,
                                                          const char *format, ...);

/* Refuses a header that must not be in an HTTP answer. index is for the text. */
bool message_header_check(const struct message_header *h, size_t index,
                          struct message_fault *fault);

#endif
