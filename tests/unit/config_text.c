/*
 * config_text - see config_text.h.
 */
#include "config_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "config/check.h"
#include "config/print.h"
#include "config/reader.h"
#include "config/value.h"

struct config *config_text_read(const char *text, size_t len, char *error, size_t error_size)
{
    struct draft draft;

    draft_begin(&draft, "test.yaml", error, error_size);
    value_preset_all(&draft);
    bool good = reader_read_text(&draft, text, len) && check_together(&draft);
    struct config *c = good ? draft_finish(&draft) : NULL;
    draft_fini(&draft);
    assert_int_equal(c == NULL, error[0] != '\0');
    return c;
}

char *config_text_print(const struct config *c)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    print_config(c, to);
    fclose(to);
    return text;
}

void config_text_write(char *path, const char *text)
{
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}
