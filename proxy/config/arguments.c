/*
 * arguments - parses the command line along the table of keys. Calls reader, check and value.
 */
#include "config/arguments_internal.h"

#include <assert.h>
#include <getopt.h>
#include <string.h>

#include "config/check.h"
#include "config/reader.h"
#include "config/value.h"

const struct arguments_option arguments_options[] = {
    {"config", "FILE", ARGUMENTS_RUN,
     "Read the configuration from this file: several listeners, certificates, routes and "
     "applications (docs/configuration.md). Other options stand instead of its top-level keys."},
    {"check-config", NULL, ARGUMENTS_CHECK,
     "Say whether the configuration is good, and exit with 0 or 2."},
    {"print-config", NULL, ARGUMENTS_PRINT,
     "Print the configuration, with all defaults, as a configuration file, and exit."},
    {"help", NULL, ARGUMENTS_HELP, "Print this and exit."},
    {"version", NULL, ARGUMENTS_VERSION,
     "Print the versions of Sluice and its libraries and exit."},
};
const size_t arguments_option_count = sizeof(arguments_options) / sizeof(arguments_options[0]);

const struct arguments_option arguments_bridge = {
    "bridge", "ADDRESS", ARGUMENTS_RUN,
    "Instead of --app: where a service listens that knows nothing of Sluice. Each stream of a "
    "client becomes a connection to unix:PATH or tcp:HOST:PORT, datagrams go to udp:HOST:PORT; say "
    "it once for each. Think of --origin."};

enum {
    OPTIONS_MAX = KEYS_MAX + 8,
    FIRST_KEY = 256,
    FIRST_OTHER = FIRST_KEY + KEYS_MAX,
    BRIDGE = FIRST_OTHER + 8
};

struct parse {
    struct draft draft;
    const char *simple; /* option of the simple case, given */
    bool has_app, has_bridge;
    enum arguments_wish wish;
};

static void make_options(struct option options[OPTIONS_MAX])
{
    size_t count = 0;

    options[count++] = (struct option){arguments_bridge.name, required_argument, NULL, BRIDGE};
    for (size_t i = 0; i < key_count; i++)
        if (keys[i].option)
            options[count++] = (struct option){
                keys[i].option, keys[i].kind == KEY_SWITCH ? no_argument : required_argument, NULL,
                FIRST_KEY + (int)i};
    for (size_t i = 0; i < arguments_option_count; i++)
        options[count++] =
            (struct option){arguments_options[i].name,
                            arguments_options[i].argument ? required_argument : no_argument, NULL,
                            FIRST_OTHER + (int)i};
    assert(count < OPTIONS_MAX);
    options[count] = (struct option){NULL, 0, NULL, 0};
}

/* --- the simple case --- */

static void make_simple(struct config *c)
{
    c->listeners = config_take(c, sizeof(c->listeners[0]));
    c->certificates = config_take(c, sizeof(c->certificates[0]));
}

/* True if it belongs to an element that only a file can have several of. */
static bool is_simple(const struct key *key)
{
    return key->place != KEY_OF_ALL && !key->shared;
}

static void *base_of(struct config *c, const struct key *key)
{
    switch (key->place) {
    case KEY_OF_LISTENER:
        return &c->listeners[0];
    case KEY_OF_CERTIFICATE:
        return &c->certificates[0];
    default:
        return key_base(c, key);
    }
}

static bool finish_simple(struct parse *p)
{
    struct draft *d = &p->draft;
    struct config *c = d->config;
    const char *name = p->has_bridge ? "bridge" : "app";

    if (p->has_app && p->has_bridge)
        return draft_complain(d, 0, "",
                              "--bridge does not go with --app: for both there are routes, in a "
                              "file");
    if (!p->has_app && !p->has_bridge)
        return draft_complain(d, 0, "",
                              "--app is missing: where does the application listen, unix:PATH or "
                              "tcp:HOST:PORT? For a service that is none there is --bridge");
    if (!c->certificates[0].cert)
        return draft_complain(d, 0, "",
                              "--cert is missing: give --cert FILE --key FILE, or --cert auto for "
                              "development");
    c->listener_count = c->listeners[0].address ? 1 : 0;
    c->certificate_count = c->backend_count = c->route_count = 1;
    c->backends = config_take(c, sizeof(c->backends[0]));
    c->backends[0] = c->backend_defaults;
    c->backends[0].name = name;
    c->routes = config_take(c, sizeof(c->routes[0]));
    c->routes[0] = c->route_defaults;
    c->routes[0].name = "default";
    c->routes[0].backend = name;
    return true;
}

static bool finish_file(struct parse *p)
{
    struct draft *d = &p->draft;

    if (p->simple)
        return draft_complain(d, 0, "", "--%s does not go with --config: it stands in the file",
                              p->simple);
    d->config->listeners = NULL;
    d->config->certificates = NULL;
    return reader_read(d);
}

/* --- options --- */

static bool take_key(struct parse *p, const struct key *key, const char *text)
{
    struct config *c = p->draft.config;
    char label[64];

    snprintf(label, sizeof(label), "--%s", key->option);
    void *base = base_of(c, key);
    draft_note(&p->draft, (char *)base + key->offset, false, 0, label);
    if (is_simple(key))
        p->simple = key->option;
    p->has_app |= key->kind == KEY_APP;
    if (key->kind == KEY_SWITCH)
        text = strcmp(key->preset, "true") == 0 ? "false" : "true";
    return value_set(&p->draft, key, base, text, 0, label);
}

static bool is_bridge_address(const char *text)
{
    return strncmp(text, "unix:", 5) == 0 || strncmp(text, "tcp:", 4) == 0 ||
           strncmp(text, "udp:", 4) == 0;
}

static bool take_bridge(struct parse *p, const char *text)
{
    if (!is_bridge_address(text))
        return draft_complain(&p->draft, 0, "--bridge",
                              "expected unix:PATH, tcp:HOST:PORT or udp:HOST:PORT, got '%.100s'",
                              text);

    const char *name = strncmp(text, "udp:", 4) == 0 ? "datagrams" : "addresses";
    const struct key *key = key_find(KEY_OF_BACKEND, name, strlen(name));
    struct config_backend *b = &p->draft.config->backend_defaults;

    b->kind = CONFIG_BACKEND_BRIDGE;
    p->has_bridge = true;
    p->simple = arguments_bridge.name;
    draft_note(&p->draft, (char *)b + key->offset, false, 0, "--bridge");
    return value_set(&p->draft, key, b, text, 0, "--bridge");
}

static void take_other(struct parse *p, const struct arguments_option *option, const char *text)
{
    if (option->argument)
        p->draft.file = text;
    else if (option->wish > p->wish) /* help goes before all else */
        p->wish = option->wish;
}

static const char *name_of(int found)
{
    if (found == BRIDGE)
        return arguments_bridge.name;
    return found >= FIRST_OTHER ? arguments_options[found - FIRST_OTHER].name
                                : keys[found - FIRST_KEY].option;
}

/* A place in the file for the key that the option would be called after; NULL if there is none. */
static const char *home_of(const char *option, size_t len)
{
    char name[64];

    if (len >= sizeof(name))
        return NULL;
    for (size_t i = 0; i < len; i++)
        name[i] = option[i] == '-' ? '_' : option[i];
    for (enum key_place place = KEY_OF_ALL + 1; place < KEY_PLACES; place++)
        if (key_find(place, name, len))
            return key_sections[place].name;
    return NULL;
}

static bool complain_unknown(struct parse *p, const char *word)
{
    const char *name = word + strspn(word, "-");
    size_t len = strcspn(name, "=");
    const char *home = home_of(name, len), *meant = key_guess_option(name, len);

    if (home && !meant)
        return draft_complain(&p->draft, 0, "",
                              "there is no option %.100s; in a file %s have such a key", word,
                              home);
    return draft_complain(&p->draft, 0, "", "there is no option %.100s%s%s%s", word,
                          meant ? "; is '--" : "", meant ? meant : "", meant ? "' meant?" : "");
}

static bool take(struct parse *p, int found, char **argv)
{
    if (found == ':' || (found == '?' && optopt >= FIRST_KEY)) {
        char label[64];
        snprintf(label, sizeof(label), "--%s", name_of(optopt));
        return draft_complain(&p->draft, 0, "", "%s %s", label,
                              found == ':' ? "needs a value" : "takes no value");
    }
    if (found == '?')
        return complain_unknown(p, argv[optind > 0 ? optind - 1 : 0]);
    if (found == BRIDGE)
        return take_bridge(p, optarg);
    if (found < FIRST_OTHER)
        return take_key(p, &keys[found - FIRST_KEY], optarg);
    take_other(p, &arguments_options[found - FIRST_OTHER], optarg);
    return true;
}

static bool parse(struct parse *p, int argc, char **argv)
{
    struct option options[OPTIONS_MAX];
    int found;

    make_options(options);
    opterr = 0;
    optind = 0;
    while ((found = getopt_long(argc, argv, "+:", options, NULL)) != -1)
        if (!take(p, found, argv))
            return false;
        else if (p->wish >= ARGUMENTS_HELP)
            return true;
    if (optind < argc)
        return draft_complain(&p->draft, 0, "", "'%.100s' is not an option", argv[optind]);
    return (p->draft.file ? finish_file(p) : finish_simple(p)) && check_together(&p->draft);
}

enum arguments_wish arguments_read(struct config **config, int argc, char **argv, char *error,
                                   size_t error_size)
{
    struct parse p = {.wish = ARGUMENTS_RUN};

    draft_begin(&p.draft, NULL, error, error_size);
    value_preset_all(&p.draft);
    make_simple(p.draft.config);
    if (!parse(&p, argc, argv))
        p.wish = p.draft.wrong_file ? ARGUMENTS_WRONG_FILE : ARGUMENTS_WRONG;
    *config = p.wish < ARGUMENTS_HELP ? draft_finish(&p.draft) : NULL;
    draft_fini(&p.draft);
    return p.wish;
}
