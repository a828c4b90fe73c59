/*
 * libFuzzer: any bytes as a configuration file. It is read or refused with a sentence; what was
 * read is printed, and that reads as the same again. docs/sluice.yaml is the corpus to begin with
 * (corpus_config.py).
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/check.h"
#include "config/print.h"
#include "config/reader.h"
#include "config/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct config *read_text(const char *text, size_t len)
{
    struct draft draft;
    char error[1024];

    draft_begin(&draft, "fuzz.yaml", error, sizeof(error));
    value_preset_all(&draft);
    bool good = reader_read_text(&draft, text, len) && check_together(&draft);
    struct config *c = good ? draft_finish(&draft) : NULL;
    draft_fini(&draft);
    check((c == NULL) == (error[0] != '\0'));
    return c;
}

/* Frees c. */
static char *print(struct config *c, size_t *len)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, len);

    print_config(c, to);
    fclose(to);
    config_free(c);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *c = read_text((const char *)data, size);
    size_t len, again_len;

    if (!c)
        return 0;
    char *text = print(c, &len);
    c = read_text(text, len);
    check(c != NULL);
    char *again = print(c, &again_len);
    check(len == again_len && memcmp(text, again, len) == 0);
    free(text);
    free(again);
    return 0;
}
