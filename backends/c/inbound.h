/*
 * inbound - what Sluice says, made into what the application hears. Internal.
 */
#ifndef BACKENDS_C_INBOUND_H
#define BACKENDS_C_INBOUND_H

#include "session.h"

/* A line_frame; user is the session. False when the session is over. */
bool inbound_frame(void *session, const uint8_t *body, size_t len);
/* The connection ended without disconnect. text says how. */
void inbound_lost(struct sluice_session *s, const char *text);

#endif
