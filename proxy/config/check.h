/*
 * check - what no single key can know: whether the parts of a configuration fit together.
 */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include <stdbool.h>

#include "config/draft.h"

/* Fills in what follows from the rest. Returns false after a complaint. */
bool check_together(struct draft *d);

#endif
