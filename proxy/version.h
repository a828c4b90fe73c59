/*
 * version - which Sluice this is, and on which libraries it runs.
 */
#ifndef VERSION_H
#define VERSION_H

#include <stdio.h>

/* The libraries' versions are those found at run time. */
void version_print(FILE *to);

#endif
