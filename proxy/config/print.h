/*
 * print - a configuration as a file that says everything, defaults included.
 */
#ifndef CONFIG_PRINT_H
#define CONFIG_PRINT_H

#include <stdio.h>

#include "config/config.h"

/* What it prints makes the same configuration again when it is read. */
void print_config(const struct config *c, FILE *to);

#endif
