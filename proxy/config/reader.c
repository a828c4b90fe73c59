/*
 * reader - walks a YAML document along the table of keys. The only file that knows libyaml. Owns
 * the document while it reads. Calls value and draft.
 *
 * The top level is read first, for routes and backends begin with what it says.
 */
#include "config/reader.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "config/value.h"

enum { LABEL_SIZE = 192 };

struct walk {
    struct draft *draft;
    yaml_document_t *document;
};

/* A mapping and what is known of it. */
struct mapping {
    const yaml_node_t *node;
    enum key_place place;
    void *base;        /* of keys of this place */
    const char *label; /* "" at the top level */
};

static const yaml_node_t *node_at(const struct walk *w, int index)
{
    return yaml_document_get_node(w->document, index);
}

static unsigned line_of(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

/* Its text; NULL if it is none, or has a zero byte in it. */
static const char *text_of(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE ||
        strlen((const char *)node->data.scalar.value) != node->data.scalar.length)
        return NULL;
    return (const char *)node->data.scalar.value;
}

static const char *what_is(const yaml_node_t *node)
{
    return node->type == YAML_SEQUENCE_NODE  ? "a list"
           : node->type == YAML_MAPPING_NODE ? "a mapping"
                                             : "a single value";
}

static size_t pairs_of(const yaml_node_t *node)
{
    return (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
}

static size_t items_of(const yaml_node_t *node)
{
    return (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
}

static void join(char to[LABEL_SIZE], const char *label, const char *name)
{
    snprintf(to, LABEL_SIZE, "%s%s%.80s", label, label[0] ? "." : "", name);
}

/* --- values --- */

static bool expect(struct walk *w, const yaml_node_t *node, enum yaml_node_type_e type,
                   const char *expected, const char *label)
{
    return node->type == type || draft_complain(w->draft, line_of(node), label,
                                                "expected %s, got %s", expected, what_is(node));
}

static bool read_scalar(struct walk *w, const struct key *key, void *base, const yaml_node_t *node,
                        const char *label)
{
    char expected[VALUE_TEXT_SIZE];
    const char *text = text_of(node);

    value_expected(key, expected);
    if (!expect(w, node, YAML_SCALAR_NODE, expected, label))
        return false;
    if (!text)
        return draft_complain(w->draft, line_of(node), label, "a zero byte stands in it");
    return value_set(w->draft, key, base, text, line_of(node), label);
}

static bool read_list(struct walk *w, const struct key *key, void *base, const yaml_node_t *node,
                      const char *label)
{
    char item[LABEL_SIZE + 32];

    *(struct config_texts *)((char *)base + key->offset) = (struct config_texts){.count = 0};
    if (node->type != YAML_SEQUENCE_NODE) /* one alone */
        return read_scalar(w, key, base, node, label);
    for (size_t i = 0; i < items_of(node); i++) {
        snprintf(item, sizeof(item), "%s[%zu]", label, i);
        if (!read_scalar(w, key, base, node_at(w, node->data.sequence.items.start[i]), item))
            return false;
    }
    return true;
}

static bool read_headers(struct walk *w, const struct key *key, void *base, const yaml_node_t *node,
                         const char *label)
{
    char item[LABEL_SIZE];

    *(struct config_headers *)((char *)base + key->offset) = (struct config_headers){.count = 0};
    if (!expect(w, node, YAML_MAPPING_NODE, "headers as NAME: VALUE", label))
        return false;
    for (size_t i = 0; i < pairs_of(node); i++) {
        const yaml_node_pair_t *pair = &node->data.mapping.pairs.start[i];
        const yaml_node_t *name = node_at(w, pair->key), *value = node_at(w, pair->value);
        if (!text_of(name) || !text_of(value))
            return draft_complain(w->draft, line_of(name), label,
                                  "expected headers as NAME: VALUE");
        join(item, label, text_of(name));
        if (!value_set_header(w->draft, key, base, text_of(name), text_of(value), line_of(value),
                              item))
            return false;
    }
    return true;
}

/* Each is noted with its line, for it names a backend that may stand further down. */
static bool read_targets(struct walk *w, const struct key *key, void *base, const yaml_node_t *node,
                         const char *label)
{
    struct config_targets *targets = (void *)((char *)base + key->offset);
    char expected[VALUE_TEXT_SIZE], item[LABEL_SIZE];

    value_expected(key, expected);
    if (!expect(w, node, YAML_MAPPING_NODE, expected, label))
        return false;
    if (pairs_of(node) > KEY_LIST_MAX)
        return draft_complain(w->draft, line_of(node), label, "more than %d are too many",
                              KEY_LIST_MAX);
    config_targets_make(w->draft->config, targets, pairs_of(node));
    for (size_t i = 0; i < targets->count; i++) {
        const yaml_node_pair_t *pair = &node->data.mapping.pairs.start[i];
        const yaml_node_t *name = node_at(w, pair->key), *backend = node_at(w, pair->value);
        if (!text_of(name) || !text_of(backend))
            return draft_complain(w->draft, line_of(name), label, "expected %s", expected);
        join(item, label, text_of(name));
        draft_note(w->draft, &targets->at[i], false, line_of(name), item);
        if (!value_set_target(w->draft, key, &targets->at[i], text_of(name), text_of(backend),
                              line_of(name), item))
            return false;
    }
    return true;
}

static bool read_value(struct walk *w, const struct key *key, void *base, const yaml_node_t *node,
                       const char *label)
{
    if (key->kind == KEY_HEADERS)
        return read_headers(w, key, base, node, label);
    if (key->kind == KEY_TARGETS)
        return read_targets(w, key, base, node, label);
    if (key->many)
        return read_list(w, key, base, node, label);
    return read_scalar(w, key, base, node, label);
}

/* --- mappings --- */

/* The places that have a key of this name: "the top level or backends". */
static void find_homes(const char *name, char homes[VALUE_TEXT_SIZE])
{
    size_t len = 0;

    homes[0] = '\0';
    for (enum key_place place = KEY_OF_ALL; place < KEY_PLACES; place++)
        if (key_find(place, name, strlen(name)) && len < VALUE_TEXT_SIZE)
            len +=
                (size_t)snprintf(homes + len, VALUE_TEXT_SIZE - len, "%s%s", len ? " or " : "",
                                 place == KEY_OF_ALL ? "the top level" : key_sections[place].name);
}

static bool complain_unknown(struct walk *w, const struct mapping *m, const yaml_node_t *name)
{
    const char *text = text_of(name);
    char homes[VALUE_TEXT_SIZE];

    if (!text)
        return draft_complain(w->draft, line_of(name), m->label, "expected the name of a key");
    find_homes(text, homes);
    const char *meant = key_guess(m->place, text, strlen(text));
    return draft_complain(w->draft, line_of(name), m->label,
                          "there is no key '%.80s' here%s%s%s%s%s", text,
                          homes[0] ? "; its place is " : "", homes, meant ? "; is '" : "",
                          meant ? meant : "", meant ? "' meant?" : "");
}

/* lines: of the keys seen so far, by their row in the table. */
static bool read_pair(struct walk *w, const struct mapping *m, const yaml_node_pair_t *pair,
                      unsigned lines[KEYS_MAX])
{
    const yaml_node_t *name = node_at(w, pair->key), *value = node_at(w, pair->value);
    const char *text = text_of(name);
    const struct key *key = text ? key_find(m->place, text, strlen(text)) : NULL;
    char label[LABEL_SIZE];

    if (!key)
        return complain_unknown(w, m, name);
    join(label, m->label, text);
    unsigned *line = &lines[key - keys];
    if (*line)
        return draft_complain(w->draft, line_of(name), label, "stands in line %u already", *line);
    *line = line_of(name);
    void *base = m->place == KEY_OF_ALL ? key_base(w->draft->config, key) : m->base;
    const void *field = (char *)base + key->offset;
    if (m->place == KEY_OF_ALL && draft_where(w->draft, field, false)) {
        /* The command line has said so: read for its mistakes only. */
        struct config scratch = *w->draft->config;
        return read_value(w, key, key_base(&scratch, key), value, label);
    }
    draft_note(w->draft, field, false, line_of(value), label);
    return read_value(w, key, base, value, label);
}

static bool read_element(struct walk *w, enum key_place place, void *element,
                         const yaml_node_t *node, const char *label)
{
    struct mapping m = {node, place, element, label};
    unsigned lines[KEYS_MAX] = {0};

    if (!expect(w, node, YAML_MAPPING_NODE, "keys with values", label))
        return false;
    draft_note(w->draft, element, true, line_of(node), label);
    for (size_t i = 0; i < key_count; i++)
        if (key_stands(&keys[i], place) && !keys[i].shared)
            value_preset(w->draft, &keys[i], element);
    for (size_t i = 0; i < pairs_of(node); i++)
        if (!read_pair(w, &m, &node->data.mapping.pairs.start[i], lines))
            return false;
    return true;
}

/* --- sections --- */

static size_t count_elements(const struct key_section *section, const yaml_node_t *node)
{
    return section->named ? pairs_of(node) : items_of(node);
}

/* The array, each element with what holds for all. */
static void make_elements(struct draft *d, enum key_place place, size_t count)
{
    const struct key_section *section = &key_sections[place];
    struct config *c = d->config;

    *(void **)((char *)c + section->at) = config_take(c, count * section->element);
    *(size_t *)((char *)c + section->count) = count;
    for (size_t i = 0; i < count; i++) {
        if (place == KEY_OF_ROUTE)
            *(struct config_route *)key_element(c, place, i) = c->route_defaults;
        else if (place == KEY_OF_BACKEND)
            *(struct config_backend *)key_element(c, place, i) = c->backend_defaults;
    }
}

/* Of the one named element that there is. */
static bool read_name(struct walk *w, const struct key_section *section, const yaml_node_t *name,
                      size_t index, const char **to)
{
    const struct config *c = w->draft->config;
    const char *text = text_of(name);

    if (!text || !value_is_name(text))
        return draft_complain(w->draft, line_of(name), section->name,
                              "expected a name of letters, digits, '.', '_' and '-', got '%.80s'",
                              text ? text : what_is(name));
    for (size_t i = 0; i < index; i++)
        if (strcmp(c->backends[i].name, text) == 0)
            return draft_complain(w->draft, line_of(name), section->name,
                                  "'%s' stands in line %u already", text,
                                  draft_where(w->draft, &c->backends[i], true)->line);
    *to = config_copy(w->draft->config, text, strlen(text));
    return true;
}

static bool read_named(struct walk *w, enum key_place place, const yaml_node_pair_t *pair,
                       size_t index)
{
    struct config_backend *backend = key_element(w->draft->config, place, index);
    char label[LABEL_SIZE];

    assert(place == KEY_OF_BACKEND);
    if (!read_name(w, &key_sections[place], node_at(w, pair->key), index, &backend->name))
        return false;
    join(label, key_sections[place].name, backend->name);
    return read_element(w, place, backend, node_at(w, pair->value), label);
}

static bool read_section(struct walk *w, enum key_place place, const yaml_node_t *node)
{
    const struct key_section *section = &key_sections[place];
    char label[LABEL_SIZE];

    if (!expect(w, node, section->named ? YAML_MAPPING_NODE : YAML_SEQUENCE_NODE,
                section->named ? "names with keys" : "a list", section->name))
        return false;
    size_t count = count_elements(section, node);
    if (count > section->max)
        return draft_complain(w->draft, line_of(node), section->name, "more than %zu are too many",
                              section->max);
    make_elements(w->draft, place, count);
    for (size_t i = 0; i < count; i++) {
        snprintf(label, sizeof(label), "%s[%zu]", section->name, i);
        bool good = section->named
                        ? read_named(w, place, &node->data.mapping.pairs.start[i], i)
                        : read_element(w, place, key_element(w->draft->config, place, i),
                                       node_at(w, node->data.sequence.items.start[i]), label);
        if (!good)
            return false;
    }
    return true;
}

/* KEY_OF_ALL if it names none. */
static enum key_place find_section(const char *name)
{
    for (enum key_place place = KEY_OF_ALL + 1; name && place < KEY_PLACES; place++)
        if (strcmp(key_sections[place].name, name) == 0)
            return place;
    return KEY_OF_ALL;
}

static bool read_top(struct walk *w, const yaml_node_t *root)
{
    const yaml_node_t *sections[KEY_PLACES] = {NULL};
    struct mapping m = {root, KEY_OF_ALL, NULL, ""};
    unsigned lines[KEYS_MAX] = {0};

    if (!expect(w, root, YAML_MAPPING_NODE, "keys with values", ""))
        return false;
    for (size_t i = 0; i < pairs_of(root); i++) {
        const yaml_node_pair_t *pair = &root->data.mapping.pairs.start[i];
        const yaml_node_t *name = node_at(w, pair->key);
        enum key_place place = find_section(text_of(name));
        if (place == KEY_OF_ALL) {
            if (!read_pair(w, &m, pair, lines))
                return false;
            continue;
        }
        if (sections[place])
            return draft_complain(w->draft, line_of(name), key_sections[place].name,
                                  "stands in the file already");
        sections[place] = node_at(w, pair->value);
    }
    for (enum key_place place = KEY_OF_ALL + 1; place < KEY_PLACES; place++)
        if (sections[place] && !read_section(w, place, sections[place]))
            return false;
    return true;
}

/* --- documents and files --- */

static bool complain_syntax(struct draft *d, const yaml_parser_t *parser)
{
    bool has_mark = parser->error == YAML_SCANNER_ERROR || parser->error == YAML_PARSER_ERROR ||
                    parser->error == YAML_COMPOSER_ERROR;
    unsigned line = has_mark ? (unsigned)parser->problem_mark.line + 1 : 1;

    if (!has_mark)
        return draft_complain(d, line, "", "this is not YAML: %s",
                              parser->problem ? parser->problem : "it cannot be read");
    return draft_complain(d, line, "", "this is not YAML: %s%s%s", parser->problem,
                          parser->context ? ", " : "", parser->context ? parser->context : "");
}

static bool read_document(struct draft *d, yaml_document_t *document)
{
    struct walk w = {d, document};
    const yaml_node_t *root = yaml_document_get_root_node(document);

    if (!root)
        return draft_complain(d, 1, "", "the file is empty");
    return read_top(&w, root);
}

/* What follows the document would be left out in silence. */
static bool read_end(struct draft *d, yaml_parser_t *parser)
{
    yaml_document_t document;

    if (!yaml_parser_load(parser, &document))
        return complain_syntax(d, parser);
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    bool good = !root || draft_complain(d, line_of(root), "",
                                        "a second document begins here; one file is one "
                                        "configuration");
    yaml_document_delete(&document);
    return good;
}

bool reader_read_text(struct draft *d, const char *text, size_t len)
{
    yaml_parser_t parser;
    yaml_document_t document;

    if (!yaml_parser_initialize(&parser))
        abort();
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    bool good = yaml_parser_load(&parser, &document);
    if (good) {
        good = read_document(d, &document) && read_end(d, &parser);
        yaml_document_delete(&document);
    } else {
        complain_syntax(d, &parser);
    }
    yaml_parser_delete(&parser);
    return good;
}

bool reader_read(struct draft *d)
{
    FILE *f = fopen(d->file, "re");
    if (!f)
        return draft_complain(d, 0, d->file, "cannot be read: %s", strerror(errno));
    char *text = malloc(READER_FILE_MAX + 1);
    assert(text);
    size_t len = fread(text, 1, READER_FILE_MAX + 1, f);
    bool failed = ferror(f) != 0;
    int why = errno;
    fclose(f);
    bool good = failed ? draft_complain(d, 0, d->file, "cannot be read: %s", strerror(why))
                : len > READER_FILE_MAX ? draft_complain(d, 0, d->file, "is larger than 1 MiB")
                                        : reader_read_text(d, text, len);
    free(text);
    return good;
}

const char *reader_library(void)
{
    return yaml_get_version_string();
}
