/*
 * offer - a reader of structured fields, as far as a list needs it: its items are kept, their
 * parameters only checked. Owns the texts.
 */
#include "offer.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIELD "wt-available-protocols"

struct field {
    const uint8_t *at, *end;
};

static bool is_alpha(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_lower(uint8_t c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9651, section 3.3.4: tchar, ":" and "/" */
static bool is_token_char(uint8_t c)
{
    return is_alpha(c) || is_digit(c) || (c && strchr("!#$%&'*+-.^_`|~:/", c));
}

/* Section 3.1.2 */
static bool is_key_char(uint8_t c)
{
    return is_lower(c) || is_digit(c) || (c && strchr("_-.*", c));
}

static bool next_is(const struct field *f, uint8_t c)
{
    return f->at < f->end && *f->at == c;
}

static bool take(struct field *f, uint8_t c)
{
    if (!next_is(f, c))
        return false;
    f->at++;
    return true;
}

static void skip_spaces(struct field *f, bool tabs)
{
    while (next_is(f, ' ') || (tabs && next_is(f, '\t')))
        f->at++;
}

static size_t skip_digits(struct field *f)
{
    const uint8_t *begin = f->at;
    while (f->at < f->end && is_digit(*f->at))
        f->at++;
    return (size_t)(f->at - begin);
}

/* Section 4.2.4: up to 15 digits, or 12 with up to 3 behind the point. */
static bool skip_number(struct field *f, bool whole)
{
    take(f, '-');
    size_t before = skip_digits(f);
    if (whole || !take(f, '.'))
        return before >= 1 && before <= 15;
    size_t behind = skip_digits(f);
    return before >= 1 && before <= 12 && behind >= 1 && behind <= 3;
}

/* Section 4.2.5. Writes the unescaped text to `to` if it is given. */
static bool read_string(struct field *f, char **to)
{
    for (f->at++; f->at < f->end; f->at++) {
        uint8_t c = *f->at;
        if (c == '"') {
            f->at++;
            return true;
        }
        if (c == '\\') {
            f->at++;
            if (!next_is(f, '"') && !next_is(f, '\\'))
                return false;
            c = *f->at;
        }
        if (c < 0x20 || c > 0x7e)
            return false;
        if (to)
            *(*to)++ = (char)c;
    }
    return false;
}

/* Section 4.2.6; the first character has been looked at. */
static bool read_token(struct field *f, char **to)
{
    while (f->at < f->end && is_token_char(*f->at)) {
        if (to)
            *(*to)++ = (char)*f->at;
        f->at++;
    }
    return true;
}

/* Section 4.2.7 */
static bool skip_bytes(struct field *f)
{
    for (f->at++; f->at < f->end && *f->at != ':'; f->at++)
        if (!is_alpha(*f->at) && !is_digit(*f->at) && !strchr("+/=", *f->at))
            return false;
    return take(f, ':');
}

static bool is_hex(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f');
}

/* Section 4.2.10, without a look at the UTF-8 that it stands for */
static bool skip_display(struct field *f)
{
    f->at++;
    if (!take(f, '"'))
        return false;
    for (; f->at < f->end; f->at++) {
        if (*f->at < 0x20 || *f->at > 0x7e)
            return false;
        if (take(f, '"'))
            return true;
        if (*f->at != '%')
            continue;
        if (f->end - f->at < 3 || !is_hex(f->at[1]) || !is_hex(f->at[2]))
            return false;
        f->at += 2;
    }
    return false;
}

/* Section 4.2.3.1 */
static bool skip_bare_item(struct field *f)
{
    if (f->at == f->end)
        return false;
    switch (*f->at) {
    case '"':
        return read_string(f, NULL);
    case ':':
        return skip_bytes(f);
    case '%':
        return skip_display(f);
    case '?':
        f->at++;
        return take(f, '0') || take(f, '1');
    case '@':
        f->at++;
        return skip_number(f, true);
    default:
        if (is_alpha(*f->at) || *f->at == '*')
            return read_token(f, NULL);
        return skip_number(f, false);
    }
}

/* Section 4.2.3.2. No parameter means anything here. */
static bool skip_parameters(struct field *f)
{
    while (take(f, ';')) {
        skip_spaces(f, false);
        if (f->at == f->end || !(is_lower(*f->at) || *f->at == '*'))
            return false;
        while (f->at < f->end && is_key_char(*f->at))
            f->at++;
        if (take(f, '=') && !skip_bare_item(f))
            return false;
    }
    return true;
}

static bool read_item(struct offer *o, struct field *f, char **to)
{
    char *begin = *to;
    bool is_string = next_is(f, '"');
    if (o->count == MESSAGE_MAX_SCOPE_SUBPROTOCOLS || f->at == f->end ||
        !(is_string || is_alpha(*f->at) || *f->at == '*'))
        return false;
    if (!(is_string ? read_string(f, to) : read_token(f, to)))
        return false;
    o->items[o->count] = (struct message_text){begin, (size_t)(*to - begin)};
    o->is_token[o->count++] = !is_string;
    return skip_parameters(f);
}

/* Section 4.2.1, one line of it. False if it is malformed. */
static bool read_line(struct offer *o, struct field f, char **to)
{
    skip_spaces(&f, false);
    while (f.at < f.end) {
        if (!read_item(o, &f, to))
            return false;
        skip_spaces(&f, true);
        if (f.at == f.end)
            return true;
        if (!take(&f, ','))
            return false;
        skip_spaces(&f, true);
        if (f.at == f.end)
            return false; /* a trailing comma */
    }
    return true;
}

static size_t bytes_of(const struct header *headers, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        if (header_is(&headers[i], FIELD))
            bytes += headers[i].value_len;
    return bytes;
}

void offer_read(struct offer *o, const struct header *headers, size_t count)
{
    *o = (struct offer){.count = 0};
    size_t bytes = bytes_of(headers, count);
    if (bytes == 0)
        return;
    o->text = malloc(bytes);
    o->items = calloc(MESSAGE_MAX_SCOPE_SUBPROTOCOLS, sizeof *o->items);
    o->is_token = calloc(MESSAGE_MAX_SCOPE_SUBPROTOCOLS, sizeof *o->is_token);
    assert(o->text && o->items && o->is_token);
    char *to = o->text;
    for (size_t i = 0; i < count; i++) {
        const struct header *h = &headers[i];
        struct field f = {h->value, h->value + h->value_len};
        if (header_is(h, FIELD) && !read_line(o, f, &to)) {
            offer_free(o);
            return;
        }
    }
}

void offer_free(struct offer *o)
{
    free(o->text);
    free(o->items);
    free(o->is_token);
    *o = (struct offer){.count = 0};
}

/* A string, if it was offered as both. */
static bool was_a_token(const struct offer *o, const struct message_text *chosen)
{
    bool token = false;
    for (size_t i = 0; i < o->count; i++) {
        if (o->items[i].len != chosen->len || memcmp(o->items[i].at, chosen->at, chosen->len) != 0)
            continue;
        if (!o->is_token[i])
            return false;
        token = true;
    }
    return token;
}

char *offer_answer(const struct offer *o, const struct message_text *chosen, size_t *len)
{
    bool token = was_a_token(o, chosen);
    char *answer = malloc(2 * chosen->len + 2), *to = answer;
    assert(answer);
    if (!token)
        *to++ = '"';
    for (size_t i = 0; i < chosen->len; i++) {
        if (!token && strchr("\"\\", chosen->at[i]))
            *to++ = '\\';
        *to++ = chosen->at[i];
    }
    if (!token)
        *to++ = '"';
    *len = (size_t)(to - answer);
    return answer;
}
