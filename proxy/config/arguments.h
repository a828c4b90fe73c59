/*
 * arguments - the command line: a whole configuration for the simple case of one listener, one
 * certificate and one application or bridge, or the file to read and what shall stand instead of
 * its words.
 */
#ifndef CONFIG_ARGUMENTS_H
#define CONFIG_ARGUMENTS_H

#include <stddef.h>
#include <stdio.h>

#include "config/config.h"

enum arguments_wish {
    ARGUMENTS_RUN,
    ARGUMENTS_CHECK, /* say whether the configuration is good */
    ARGUMENTS_PRINT, /* say what it is, with all defaults */
    ARGUMENTS_HELP,
    ARGUMENTS_VERSION,
    ARGUMENTS_WRONG,
    ARGUMENTS_WRONG_FILE
};

/* *config is set with RUN, CHECK and PRINT, and is to be freed; with all others it is NULL.
 * ARGUMENTS_WRONG, and _FILE if the command line is right: one sentence in error. Not thread-safe,
 * as getopt is. */
enum arguments_wish arguments_read(struct config **config, int argc, char **argv, char *error,
                                   size_t error_size);
void arguments_print_help(FILE *to);

#endif
