/*
 * arguments_help - prints --help from the table of keys. Calls value.
 */
#include "config/arguments_internal.h"

#include <string.h>

#include "config/keys.h"
#include "config/value.h"

static const char intro[] =
    "Usage: sluice --cert auto|FILE --app unix:PATH|tcp:HOST:PORT [option ...]\n"
    "       sluice --cert auto|FILE --bridge unix:PATH|tcp:HOST:PORT|udp:HOST:PORT ...\n"
    "       sluice --config FILE [option ...]\n"
    "\n"
    "Sluice is a reverse proxy for WebTransport: it speaks QUIC, TLS and HTTP/3 with\n"
    "browsers, and hands each session to an application in any language over a socket,\n"
    "or each of its streams to a service that knows nothing of it.\n"
    "\n"
    "Examples:\n"
    "  Development: a certificate made on the spot, a demo page on http://localhost:8080\n"
    "    sluice --cert auto --app unix:/run/app.sock --admin localhost:8080\n"
    "\n"
    "  Production: your certificate, four workers, an application on another machine\n"
    "    sluice --listen :443 --cert fullchain.pem --key privkey.pem \\\n"
    "           --app tcp:10.0.0.5:9000 --workers 4 --admin 127.0.0.1:9090\n"
    "\n"
    "  A bridge: pages of one origin talk to Redis, which stays as it is\n"
    "    sluice --cert auto --bridge tcp:localhost:6379 --origin https://example.org\n";

static const char outro[] =
    "\n"
    "SIZE is bytes, or with KiB, MiB or GiB. TIME needs ms, s, m or h.\n"
    "\n"
    "The log goes to standard error. Its line event=listening says that Sluice is ready and\n"
    "on which address and port.\n"
    "\n"
    "Signals: SIGTERM or SIGINT asks clients and application to finish, closes what is left\n"
    "after --drain-timeout, and exits. A second one ends at once. SIGHUP reads the\n"
    "configuration and the certificates again.\n"
    "\n"
    "Exit codes:\n"
    "  0  asked to end, and ended in good order\n"
    "  1  could not start or could not go on; the last line says why\n"
    "  2  the command line or the configuration is wrong\n"
    "  3  something was still alive at the end: a bug in Sluice, please report it\n"
    "  4  ended by a second signal before everything was closed\n";

/* Breaks text into lines, each behind an indent. */
static void print_wrapped(FILE *to, const char *text, int indent, int width)
{
    while (*text) {
        size_t len = strlen(text), line = len;
        if (len > (size_t)(width - indent)) {
            for (line = (size_t)(width - indent); line > 0 && text[line] != ' ';)
                line--;
        }
        fprintf(to, "%*s%.*s\n", indent, "", (int)line, text);
        text += line;
        text += strspn(text, " ");
    }
}

static void print_option(FILE *to, const struct arguments_option *option)
{
    fprintf(to, "  --%s%s%s\n", option->name, option->argument ? " " : "",
            option->argument ? option->argument : "");
    print_wrapped(to, option->meaning, 8, 84);
}

static void print_key(FILE *to, const struct key *key)
{
    char argument[VALUE_TEXT_SIZE];

    value_argument(key, argument);
    fprintf(to, "  --%s%s%s", key->option, argument[0] ? " " : "", argument);
    if (key->preset && key->kind != KEY_SWITCH)
        fprintf(to, "  (default %s)", key->preset);
    fputc('\n', to);
    print_wrapped(to, key->meaning, 8, 84);
}

void arguments_print_help(FILE *to)
{
    const char *heading = NULL;

    fputs(intro, to);
    for (size_t i = 0; i < key_count; i++) {
        if (keys[i].kind == KEY_HEADING)
            heading = keys[i].name;
        if (!keys[i].option)
            continue;
        if (heading) /* now that there is something below it */
            fprintf(to, "\n%s:\n", heading);
        heading = NULL;
        print_key(to, &keys[i]);
        if (keys[i].kind == KEY_APP)
            print_option(to, &arguments_bridge);
    }
    fputs("\nThe configuration file, and instead of running:\n", to);
    for (size_t i = 0; i < arguments_option_count; i++)
        print_option(to, &arguments_options[i]);
    fputs(outro, to);
}
