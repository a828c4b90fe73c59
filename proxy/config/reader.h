/*
 * reader - a configuration file in YAML, read into a draft.
 *
 *     workers: 4                      keys of the top level
 *     backends:                       a section of named elements
 *       chat:
 *         addresses: [unix:/run/chat.sock]
 *     routes:                         a section that is a list
 *       - path: /chat
 *         backend: chat
 *
 * Keys of routes and backends that may stand at the top level, too, hold there for all that do not
 * say otherwise. Anchors and aliases work; tags are ignored.
 */
#ifndef CONFIG_READER_H
#define CONFIG_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "config/draft.h"

enum { READER_FILE_MAX = 1024 * 1024 };

/* Reads the file that the draft names. What the command line has said already stays. Returns false
 * after a complaint. */
bool reader_read(struct draft *d);
/* The same from memory. */
bool reader_read_text(struct draft *d, const char *text, size_t len);
/* libyaml's version: "0.2.5" */
const char *reader_library(void);

#endif
