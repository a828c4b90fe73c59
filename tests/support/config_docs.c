/*
 * config_docs - writes what docs/ says of the configuration, from the table of keys:
 *
 *     config_docs reference    docs/configuration.md
 *     config_docs schema       docs/sluice.schema.json, for editors
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config/keys.h"
#include "config/value.h"

/* --- the reference --- */

static const char intro[] =
    "<!-- Written by tests/support/config_docs.c from the table in proxy/config/keys.c: `make "
    "docs`. "
    "-->\n"
    "# Configuration\n"
    "\n"
    "One application behind one address needs no file: `sluice --listen :443 --cert chain.pem "
    "--key "
    "key.pem --app unix:/run/app.sock`,\n"
    "nor does one service behind a bridge, `--bridge tcp:localhost:6379` instead of `--app`.\n"
    "For more there is a file in YAML, `sluice --config sluice.yaml`. [sluice.yaml](sluice.yaml) "
    "is "
    "one to begin with.\n"
    "\n"
    "- `sluice --check-config --config FILE` says whether a file is good, and where it is not: "
    "`FILE:LINE: KEY: expected …, got …`.\n"
    "- `sluice --print-config --config FILE` prints everything that holds, with all defaults.\n"
    "- [sluice.schema.json](sluice.schema.json) lets editors complete and check keys. Write\n"
    "  `# yaml-language-server: $schema=sluice.schema.json` into the first line of the file.\n"
    "\n"
    "A size is a number of bytes, or one with `KiB`, `MiB` or `GiB`. A time needs `ms`, `s`, `m` "
    "or "
    "`h`. A list of one\n"
    "may be written without brackets. Options of the command line stand instead of the same keys "
    "at "
    "the top level.\n";

/* Text as it is would be taken for markup. */
static void write_cell(const char *text)
{
    for (; *text; text++) {
        if (strchr("|*<", *text))
            putchar('\\');
        putchar(*text);
    }
}

static void write_row(const struct key *key)
{
    char expected[VALUE_TEXT_SIZE];

    value_expected(key, expected);
    printf("| `%s` | %s", key->name, key->many ? "a list: " : "");
    write_cell(expected);
    printf(" | ");
    if (key->preset)
        printf("`%s`", key->preset);
    printf(" | ");
    write_cell(key->meaning);
    if (key->only)
        printf(" For kind `%s` only.", key->only == KEY_FOR_BRIDGE ? "bridge" : "app");
    if (key->fixed)
        printf(" Takes effect at the start only.");
    if (key->option)
        printf(" (`--%s`)", key->option);
    printf(" |\n");
}

/* The keys of a place, or those of it that may stand at the top level, too. */
static void write_tables(enum key_place place)
{
    const char *heading = NULL;
    bool begun = false;

    for (size_t i = 0; i < key_count; i++) {
        if (keys[i].kind == KEY_HEADING)
            heading = keys[i].name;
        if (keys[i].kind == KEY_HEADING || keys[i].place != place)
            continue;
        if (place == KEY_OF_ALL && heading)
            printf("\n### %s\n", heading);
        if (!begun || (place == KEY_OF_ALL && heading))
            printf("\n| key | value | default | |\n| --- | --- | --- | --- |\n");
        begun = true;
        heading = NULL;
        write_row(&keys[i]);
    }
}

static void write_shared(enum key_place place)
{
    const char *gap = "";

    printf("\nThese may stand at the top level, too, for all that do not say otherwise: ");
    for (size_t i = 0; i < key_count; i++)
        if (keys[i].kind != KEY_HEADING && keys[i].place == place && keys[i].shared) {
            printf("%s`%s`", gap, keys[i].name);
            gap = ", ";
        }
    printf(".\n");
}

static void write_reference(void)
{
    fputs(intro, stdout);
    for (int place = KEY_OF_ALL; place < KEY_PLACES; place++) {
        const struct key_section *section = &key_sections[place];
        if (section->name)
            printf("\n## `%s`\n\n", section->name);
        else
            printf("\n## The top level\n\n");
        write_cell(section->meaning);
        printf("\n");
        write_tables(place);
        if (place == KEY_OF_BACKEND || place == KEY_OF_ROUTE)
            write_shared(place);
    }
}

/* --- the schema --- */

static void write_range(const struct key *key)
{
    printf("{\"type\": \"integer\", \"minimum\": %" PRIu64 ", \"maximum\": %" PRIu64 "}", key->min,
           key->max);
}

static void write_choices(const struct key *key)
{
    printf("{\"enum\": [");
    for (size_t i = 0; key->choices[i]; i++)
        printf("%s\"%s\"", i ? ", " : "", key->choices[i]);
    printf("]}");
}

static void write_pattern(const char *pattern)
{
    printf("{\"type\": \"string\", \"pattern\": ");
    value_write_text(pattern, stdout);
    printf("}");
}

static void write_number(const struct key *key)
{
    const char *units = key->kind == KEY_SIZE       ? "^[0-9]+([KMG](iB)?)?$"
                        : key->kind == KEY_DURATION ? "^[0-9]+(ms|s|m|h)$"
                                                    : NULL;

    printf("{\"anyOf\": [");
    if (key->kind == KEY_DURATION)
        printf("{\"const\": 0}");
    else
        write_range(key);
    if (units) {
        printf(", ");
        write_pattern(units);
    }
    if (key->word)
        printf(", {\"const\": \"%s\"}", key->word);
    printf("]}");
}

static void write_one(const struct key *key)
{
    switch (key->kind) {
    case KEY_SWITCH:
        printf("{\"type\": \"boolean\"}");
        break;
    case KEY_NUMBER:
    case KEY_SIZE:
    case KEY_DURATION:
        write_number(key);
        break;
    case KEY_CHOICE:
        write_choices(key);
        break;
    case KEY_HEADERS:
        printf("{\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\"}}");
        break;
    case KEY_TARGETS:
        printf("{\"type\": \"object\", \"minProperties\": 1, \"maxProperties\": %d, "
               "\"additionalProperties\": {\"type\": \"string\"}}",
               KEY_LIST_MAX);
        break;
    case KEY_APP:
        write_pattern("^(unix:.|tcp:.+:[0-9]+$)");
        break;
    case KEY_UDP:
        write_pattern("^udp:.+:[0-9]+$");
        break;
    case KEY_PATH:
        write_pattern("^/[^?#]*$");
        break;
    default:
        write_pattern(".");
    }
}

static void write_key(const struct key *key, const char *indent)
{
    printf("%s\"%s\": {\n%s  \"description\": ", indent, key->name, indent);
    value_write_text(key->meaning, stdout);
    if (key->preset) {
        printf(",\n%s  \"default\": ", indent);
        value_write_text(key->preset, stdout);
    }
    printf(",\n%s  \"anyOf\": [", indent);
    write_one(key);
    if (key->many) {
        printf(", {\"type\": \"array\", \"maxItems\": %d, \"items\": ", KEY_LIST_MAX);
        write_one(key);
        printf("}");
    }
    printf("]\n%s}", indent);
}

static void write_keys(enum key_place place, const char *indent)
{
    const char *gap = "";

    for (size_t i = 0; i < key_count; i++) {
        if (!key_stands(&keys[i], place))
            continue;
        fputs(gap, stdout);
        gap = ",\n";
        write_key(&keys[i], indent);
    }
}

static void write_element(enum key_place place)
{
    printf("{\n      \"type\": \"object\",\n      \"additionalProperties\": false,\n"
           "      \"properties\": {\n");
    write_keys(place, "        ");
    printf("\n      }\n    }");
}

static void write_section(enum key_place place)
{
    const struct key_section *section = &key_sections[place];

    printf(",\n    \"%s\": {\n    \"description\": ", section->name);
    value_write_text(section->meaning, stdout);
    if (section->named)
        printf(",\n    \"type\": \"object\",\n    \"maxProperties\": %zu,\n"
               "    \"additionalProperties\": ",
               section->max);
    else
        printf(",\n    \"type\": \"array\",\n    \"maxItems\": %zu,\n    \"items\": ",
               section->max);
    write_element(place);
    printf("\n    }");
}

static void write_schema(void)
{
    printf("{\n  \"$schema\": \"http://json-schema.org/draft-07/schema#\",\n"
           "  \"title\": \"Configuration of Sluice\",\n"
           "  \"type\": \"object\",\n  \"additionalProperties\": false,\n"
           "  \"required\": [\"certificates\", \"backends\", \"routes\"],\n"
           "  \"properties\": {\n");
    write_keys(KEY_OF_ALL, "    ");
    for (int place = KEY_OF_ALL + 1; place < KEY_PLACES; place++)
        write_section(place);
    printf("\n  }\n}\n");
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "reference") == 0)
        write_reference();
    else if (argc == 2 && strcmp(argv[1], "schema") == 0)
        write_schema();
    else {
        fprintf(stderr, "usage: config_docs reference|schema\n");
        return 2;
    }
    return 0;
}
