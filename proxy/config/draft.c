/*
 * draft - see draft.h. Owns the configuration until it is finished, and the places.
 */
#include "config/draft.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void draft_begin(struct draft *d, const char *file, char *error, size_t error_size)
{
    assert(error_size > 0);
    *d = (struct draft){
        .config = config_new(), .file = file, .error = error, .error_size = error_size};
    error[0] = '\0';
}

struct config *draft_finish(struct draft *d)
{
    struct config *c = d->config;
    d->config = NULL;
    return c;
}

void draft_fini(struct draft *d)
{
    config_free(d->config);
    for (size_t i = 0; i < d->place_count; i++)
        free((char *)d->places[i].label);
    free(d->places);
    *d = (struct draft){.config = NULL};
}

void draft_note(struct draft *d, const void *field, bool is_element, unsigned line,
                const char *label)
{
    if (d->place_count == d->place_room) {
        d->place_room = d->place_room ? 2 * d->place_room : 64;
        d->places = realloc(d->places, d->place_room * sizeof(d->places[0]));
        assert(d->places);
    }
    char *copy = strdup(label);
    assert(copy);
    d->places[d->place_count++] = (struct draft_place){field, is_element, line, copy};
}

/* The last one: the command line speaks after the file. */
const struct draft_place *draft_where(const struct draft *d, const void *field, bool is_element)
{
    for (size_t i = d->place_count; i-- > 0;)
        if (d->places[i].field == field && d->places[i].is_element == is_element)
            return &d->places[i];
    return NULL;
}

static void say(struct draft *d, unsigned line, const char *label, const char *format,
                va_list arguments)
{
    char sentence[512];

    vsnprintf(sentence, sizeof(sentence), format, arguments);
    d->wrong_file = line > 0 || (d->file && strcmp(label, d->file) == 0);
    const char *colon = label[0] ? ": " : "";
    if (line)
        snprintf(d->error, d->error_size, "%s:%u: %s%s%s", d->file, line, label, colon, sentence);
    else
        snprintf(d->error, d->error_size, "%s%s%s", label, colon, sentence);
}

bool draft_complain(struct draft *d, unsigned line, const char *label, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(d, line, label, format, arguments);
    va_end(arguments);
    return false;
}

bool draft_complain_about(struct draft *d, const void *field, const void *element,
                          const char *format, ...)
{
    const struct draft_place *place = draft_where(d, field, false);
    va_list arguments;

    if (!place)
        place = draft_where(d, element, true);
    va_start(arguments, format);
    if (place)
        say(d, place->line, place->label, format, arguments);
    else
        say(d, d->file ? 1 : 0, "", format, arguments);
    va_end(arguments);
    return false;
}
