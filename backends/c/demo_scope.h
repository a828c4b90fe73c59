/*
 * demo_scope - what the demo reads from a scope: its query, and all of it as JSON.
 */
#ifndef BACKENDS_C_DEMO_SCOPE_H
#define BACKENDS_C_DEMO_SCOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "protocol/message.h"

/* Copies the value of name in a query like "a=1&b=two%20words", percent-decoded, cut to size and
 * ended with NUL. Returns false, to untouched, if there is none. */
bool demo_query_value(const struct message_scope *scope, const char *name, char *to, size_t size);
unsigned demo_query_number(const struct message_scope *scope, const char *name, unsigned otherwise);
/* Writes the scope as one JSON object; bytes become characters of the same number. */
void demo_scope_json(FILE *f, const struct message_scope *scope);

#endif
