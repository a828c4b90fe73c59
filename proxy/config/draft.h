/*
 * draft - a configuration in the making: its values, where each was said, and the first mistake.
 *
 * A mistake is one sentence that begins with the place: "sluice.yaml:12: routes[1].backend: ..." or
 * "--app: ...". Whoever finds it calls draft_complain and goes no further.
 */
#ifndef CONFIG_DRAFT_H
#define CONFIG_DRAFT_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "config/keys.h"

struct draft_place {
    const void *field; /* the value, or the element of a list */
    bool is_element;
    unsigned line; /* 0: the command line */
    const char *label;
};

struct draft {
    struct config *config; /* taken out by draft_finish */
    const char *file;      /* NULL: the command line alone */
    char *error;
    size_t error_size;
    bool wrong_file; /* the mistake is the file's, not the command line's */
    struct draft_place *places;
    size_t place_count, place_room;
};

/* Begins with everything zero. error gets the sentence. */
void draft_begin(struct draft *d, const char *file, char *error, size_t error_size);
/* Hands over the configuration. */
struct config *draft_finish(struct draft *d);
/* Throws it away. Also after draft_finish. */
void draft_fini(struct draft *d);

/* Notes where a value or an element stands. label is copied. */
void draft_note(struct draft *d, const void *field, bool is_element, unsigned line,
                const char *label);
const struct draft_place *draft_where(const struct draft *d, const void *field, bool is_element);

/* Always false, so that whoever finds a mistake can return it. */
bool draft_complain(struct draft *d, unsigned line, const char *label, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same about a value that was noted; if it was not, about the element it is missing in. */
bool draft_complain_about(struct draft *d, const void *field, const void *element,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
