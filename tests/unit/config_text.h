/*
 * config_text - configurations of tests: from text, and back.
 */
#ifndef TESTS_UNIT_CONFIG_TEXT_H
#define TESTS_UNIT_CONFIG_TEXT_H

#include <stddef.h>

#include "config/config.h"

/* For config_text_write, and what looks like a file of certificates. */
#define CONFIG_TEXT_FILE      "/tmp/sluice-config-XXXXXX"
#define CONFIG_TEXT_AUTHORITY "A comment\n-----BEGIN CERTIFICATE-----\n"

/* Reads text as the file test.yaml would be. NULL: see error. To be freed. */
struct config *config_text_read(const char *text, size_t len, char *error, size_t error_size);
/* To be freed. */
char *config_text_print(const struct config *c);
/* Makes a file; path becomes its name. */
void config_text_write(char *path, const char *text);

#endif
