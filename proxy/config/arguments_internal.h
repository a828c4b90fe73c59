/*
 * arguments_internal - the options that are no keys, for the parser and for --help.
 */
#ifndef CONFIG_ARGUMENTS_INTERNAL_H
#define CONFIG_ARGUMENTS_INTERNAL_H

#include "config/arguments.h"

struct arguments_option {
    const char *name, *argument; /* NULL: takes none */
    enum arguments_wish wish;    /* ARGUMENTS_RUN: none */
    const char *meaning;
};

extern const struct arguments_option arguments_options[];
extern const size_t arguments_option_count;
/* Adds an address to a backend of kind bridge. */
extern const struct arguments_option arguments_bridge;

#endif
