/*
 * value - one value of a key: from text, and back to text.
 */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include <stdbool.h>
#include <stdio.h>

#include "config/draft.h"
#include "config/keys.h"

/* Enough for any sentence below. */
enum { VALUE_TEXT_SIZE = 160 };

/* Sets it, or adds to it if the key has many. base is the struct that offset counts from. Returns
 * false after a complaint. */
bool value_set(struct draft *d, const struct key *key, void *base, const char *text, unsigned line,
               const char *label);
bool value_set_header(struct draft *d, const struct key *key, void *base, const char *name,
                      const char *text, unsigned line, const char *label);
/* One of as many as there is room for. */
bool value_set_target(struct draft *d, const struct key *key, struct config_target *target,
                      const char *name, const char *backend, unsigned line, const char *label);
/* Sets the default, if there is one. */
void value_preset(struct draft *d, const struct key *key, void *base);
/* Sets the defaults of all keys that may stand at the top level. */
void value_preset_all(struct draft *d);
/* A name as backends and routes have it: letters, digits, '.', '_', '-'; at most 64. */
bool value_is_name(const char *text);

/* Prints it as one line of YAML without its name. */
void value_write(const struct key *key, const void *base, FILE *to);
/* A text in double quotes, as YAML and JSON have it. */
void value_write_text(const char *text, FILE *to);
/* True if there is nothing to print. */
bool value_is_absent(const struct key *key, const void *base);

/* What it takes: "a size such as 64KiB, from 16KiB to 1GiB". */
void value_expected(const struct key *key, char to[VALUE_TEXT_SIZE]);
/* What --help calls it: "SIZE|auto". Empty for a switch. */
void value_argument(const struct key *key, char to[VALUE_TEXT_SIZE]);

#endif
