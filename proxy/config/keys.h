/*
 * keys - the one table of settings: name, place, kind, range, default and meaning.
 *
 * From it are made the reader of configuration files, the command line, --help, --print-config, the
 * reference page and the JSON Schema, so they cannot disagree. To add a setting, add a field to its
 * struct in config.h and a row in keys.c.
 */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

enum key_kind {
    KEY_HEADING, /* no key, but the name of those that follow, in --help and the reference */
    KEY_SWITCH,  /* true or false; its option takes no value and says what is not the default */
    KEY_NUMBER,
    KEY_SIZE,     /* bytes */
    KEY_DURATION, /* nanoseconds */
    KEY_CHOICE,   /* one of choices; its number is stored */
    /* Texts, stored as they are: */
    KEY_LISTEN, /* HOST:PORT */
    KEY_ADMIN,  /* HOST:PORT or unix:PATH */
    KEY_APP,    /* unix:PATH or tcp:HOST:PORT */
    KEY_UDP,    /* udp:HOST:PORT */
    KEY_FILE,
    KEY_NAME,
    KEY_HOST,    /* a DNS name or an IP address; the first label may be an asterisk */
    KEY_NETWORK, /* an IP address, perhaps with /BITS; see base/forwarded.h */
    KEY_SERVER,  /* the same without an asterisk */
    KEY_ORIGIN,  /* of a page; see base/origin.h */
    KEY_PATH,    /* of a URL */
    KEY_HEADER,  /* a header's name */
    /* Names with values: */
    KEY_HEADERS,
    KEY_TARGETS, /* of a route; see config_target */
    KEY_KINDS
};

/* The kind of backend that has a use for it. */
enum key_only { KEY_FOR_ANY, KEY_FOR_APP, KEY_FOR_BRIDGE };

/* Whose key it is. */
enum key_place { KEY_OF_ALL, KEY_OF_LISTENER, KEY_OF_CERTIFICATE, KEY_OF_BACKEND, KEY_OF_ROUTE };
#define KEY_PLACES (KEY_OF_ROUTE + 1)

struct key {
    enum key_kind kind;
    enum key_place place;
    const char *name;   /* in files; of a heading, what it says */
    const char *option; /* on the command line, without dashes; NULL: in files only */
    bool many;          /* a list: config_texts */
    bool fixed;         /* takes effect at the start, not when the file is read again */
    bool shared;        /* may stand at the top level, too, for all backends or routes */
    enum key_only only; /* of backends and routes */
    size_t offset;      /* in the struct of its place */
    const char *preset; /* the default, as one would write it; NULL for none */
    const char *word;   /* a word that may stand instead of a value; for numbers it is 0 */
    uint64_t min, max;  /* of numbers, sizes and durations */
    const char *const *choices;
    const char *meaning; /* sentences, without markup */
};

/* A place that is a list of elements in the file. */
struct key_section {
    const char *name; /* in files; NULL for KEY_OF_ALL */
    bool named;       /* a mapping by name instead of a list */
    size_t at, count; /* offsets of the array and of its length in struct config */
    size_t element;   /* its size */
    size_t max;       /* elements */
    const char *meaning;
};

/* Rows of keys.c, in the order of --help. */
extern const struct key keys[];
extern const size_t key_count;
extern const struct key_section key_sections[KEY_PLACES];

enum { KEYS_MAX = 128, KEY_LIST_MAX = 256, KEY_LISTENERS_MAX = 32 };

/* The key with this name that may stand at this place; NULL if there is none. */
const struct key *key_find(enum key_place place, const char *name, size_t len);
/* The name that was probably meant, of a key or of a section; NULL if none is near. */
const char *key_guess(enum key_place place, const char *name, size_t len);
/* The same for the name of an option that is none, without its dashes. */
const char *key_guess_option(const char *name, size_t len);
/* True if it may stand there: it is of that place, or shared and that is the top level. */
bool key_stands(const struct key *key, enum key_place place);
/* True if the element of this place has a use for it: the kind of the backend, or of one of those
 * that the route leads to. NULL at the top level. */
bool key_serves(const struct key *key, const struct config *c, const void *element);
/* What offset counts from when the key stands at the top level. */
void *key_base(struct config *c, const struct key *key);
/* The elements of a section. */
void *key_element(const struct config *c, enum key_place place, size_t i);
size_t key_elements(const struct config *c, enum key_place place);

#endif
