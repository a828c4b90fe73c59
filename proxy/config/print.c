/*
 * print - writes a configuration as YAML along the table of keys. Owns nothing. Calls value.
 */
#include "config/print.h"

#include "config/keys.h"
#include "config/value.h"

/* Each line behind an indent; the first behind begin, if there is one. */
static void print_keys(const struct config *c, enum key_place place, const void *element,
                       const char *begin, FILE *to)
{
    for (size_t i = 0; i < key_count; i++) {
        /* The cast: key_base only adds to the address. */
        const void *base = element ? element : key_base((struct config *)c, &keys[i]);
        if (!key_stands(&keys[i], place) || value_is_absent(&keys[i], base) ||
            !key_serves(&keys[i], c, element))
            continue;
        fprintf(to, "%s%s: ", begin ? begin : element ? "    " : "", keys[i].name);
        begin = NULL;
        value_write(&keys[i], base, to);
        fputc('\n', to);
    }
}

static void print_section(const struct config *c, enum key_place place, FILE *to)
{
    const struct key_section *section = &key_sections[place];

    fprintf(to, "%s:\n", section->name);
    for (size_t i = 0; i < key_elements(c, place); i++) {
        const void *element = key_element(c, place, i);
        if (section->named)
            fprintf(to, "  %s:\n", ((const struct config_backend *)element)->name);
        print_keys(c, place, element, section->named ? NULL : "  - ", to);
    }
}

void print_backend(const struct config *c, size_t i, FILE *to)
{
    fprintf(to, "%s:\n", c->backends[i].name);
    print_keys(c, KEY_OF_BACKEND, &c->backends[i], NULL, to);
}

void print_config(const struct config *c, FILE *to)
{
    print_keys(c, KEY_OF_ALL, NULL, NULL, to);
    for (enum key_place place = KEY_OF_ALL + 1; place < KEY_PLACES; place++)
        print_section(c, place, to);
}
