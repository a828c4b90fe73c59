/*
 * offer - the subprotocols that a client offers, and the answer that chooses one.
 *
 * wt-available-protocols and wt-protocol are structured fields (RFC 9651; section 3.3 of
 * draft-ietf-webtrans-http3). The drafts up to 12 had tokens where the later ones have strings:
 * both are read, and the answer is of the kind that the offer was. Calls nobody.
 */
#ifndef OFFER_H
#define OFFER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/header.h"
#include "protocol/message.h"

struct offer {
    struct message_text *items; /* in the client's order */
    size_t count;
    bool *is_token; /* of each item */
    char *text;     /* what items point into */
};

/* Reads it from a request's headers. Without the field, or with one that is not a list of strings
 * and tokens, or of more than MESSAGE_MAX_SCOPE_SUBPROTOCOLS, nothing is offered: RFC 9651, section
 * 4.2, ignores a malformed field as a whole. */
void offer_read(struct offer *o, const struct header *headers, size_t count);
/* Forgets what was offered; o is empty then. */
void offer_free(struct offer *o);
/* The value of wt-protocol for one of the items. To be freed. */
char *offer_answer(const struct offer *o, const struct message_text *chosen, size_t *len);

#endif
