/*
 * print - a configuration as a file that says everything, defaults included.
 */
#ifndef CONFIG_PRINT_H
#define CONFIG_PRINT_H

#include <stddef.h>
#include <stdio.h>

#include "config/config.h"

/* What it prints makes the same configuration again when it is read. */
void print_config(const struct config *c, FILE *to);

/* One backend alone: two that print alike are alike. */
void print_backend(const struct config *c, size_t i, FILE *to);

#endif
