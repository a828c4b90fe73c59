/*
 * log - builds a line on the stack and writes it at once.
 *
 * Owns nothing; the file descriptor is lent by whoever called log_init. Every value goes through
 * one function that decides what may stand in a line, because most of them come from peers.
 */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
#define CUT_MARK       " cut=1"
/* Kept free at the end of a line: a closing quote, the mark, the end of the line. */
#define LINE_TAIL (1 + sizeof(CUT_MARK) - 1 + 1)

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
    bool cut;
};

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

void log_init(struct log *log, int fd, enum log_level level)
{
    *log = (struct log){.fd = fd, .level = level};
}

int log_level_parse(const char *name, enum log_level *level)
{
    for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

/* Adds all of it or nothing, and nothing ever after that. */
static void put(struct line *line, const char *text, size_t len)
{
    if (line->cut || len > sizeof(line->text) - LINE_TAIL - line->len) {
        line->cut = true;
        return;
    }
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

/* The length of the UTF-8 sequence at the beginning (RFC 3629), or 0 if it is none. */
static size_t utf8_sequence(const uint8_t *s, size_t len, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    if (n == 0 || n > len || s[0] > 0xf4)
        return 0;
    uint32_t p = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        p = p << 6 | (s[i] & 0x3f);
    }
    if (p < least[n] || p > 0x10ffff || (p >= 0xd800 && p <= 0xdfff))
        return 0;
    *point = p;
    return n;
}

/* Controls, and what breaks or reorders the line on somebody's screen. */
static bool is_control(uint32_t p)
{
    return p < 0x20 || (p >= 0x7f && p < 0xa0) || (p >= 0x200e && p <= 0x200f) ||
           (p >= 0x2028 && p <= 0x202e) || (p >= 0x2066 && p <= 0x2069) || p == 0xfeff;
}

static bool needs_quotes(const uint8_t *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] <= ' ' || s[i] == '"' || s[i] == '\\' || s[i] == '=' || s[i] >= 0x7f)
            return true;
    return len == 0;
}

/* Puts one character, escaped if need be; returns how many bytes of s it took. */
static size_t put_character(struct line *line, const uint8_t *s, size_t len)
{
    char escape[8];
    uint32_t point = 0;
    size_t n = utf8_sequence(s, len, &point);

    if (n == 0) {
        put(line, escape, (size_t)snprintf(escape, sizeof(escape), "\\x%02x", s[0]));
        return 1;
    }
    if (point == '\n')
        put(line, "\\n", 2);
    else if (point == '\r')
        put(line, "\\r", 2);
    else if (point == '\t')
        put(line, "\\t", 2);
    else if (is_control(point))
        put(line, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", point & 0xffff));
    else if (point == '"' || point == '\\')
        put(line, (const char[]){'\\', (char)point}, 2);
    else
        put(line, (const char *)s, n);
    return n;
}

static void put_value(struct line *line, const uint8_t *s, size_t len)
{
    if (!needs_quotes(s, len)) {
        put(line, (const char *)s, len);
        return;
    }
    put(line, "\"", 1);
    if (line->cut)
        return;
    for (size_t i = 0; i < len && !line->cut;)
        i += put_character(line, s + i, len - i);
    line->text[line->len++] = '"'; /* its room is in LINE_TAIL */
}

static void put_field(struct line *line, const struct log_field *f)
{
    char number[24];

    if (f->kind == LOG_KIND_TEXT && !f->text)
        return;
    put(line, " ", 1);
    put(line, f->key, strlen(f->key));
    put(line, "=", 1);
    if (f->kind == LOG_KIND_TEXT)
        put_value(line, (const uint8_t *)f->text, f->len);
    else if (f->kind == LOG_KIND_UINT)
        put(line, number, (size_t)snprintf(number, sizeof(number), "%ju", (uintmax_t)f->number));
    else
        put(line, number, (size_t)snprintf(number, sizeof(number), "%jd", (intmax_t)f->number));
}

static void put_time(struct line *line)
{
    struct timespec now;
    struct tm tm;
    char text[64];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(text, sizeof(text), "time=%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(text + n, sizeof(text) - n, ".%03ldZ", now.tv_nsec / 1000000);
    put(line, text, n);
}

void log_write(const struct log *log, enum log_level level, const char *event,
               const struct log_field *fields, size_t count)
{
    struct line line = {.len = 0};

    assert(level < LOG_OFF);
    if (level < log->level)
        return;
    put_time(&line);
    put_field(&line, &(struct log_field){.key = "level",
                                         .text = level_names[level],
                                         .len = strlen(level_names[level])});
    put_field(&line, &(struct log_field){.key = "event", .text = event, .len = strlen(event)});
    for (size_t i = 0; i < count && !line.cut; i++)
        put_field(&line, &fields[i]);
    if (line.cut) {
        memcpy(line.text + line.len, CUT_MARK, sizeof(CUT_MARK) - 1);
        line.len += sizeof(CUT_MARK) - 1;
    }
    line.text[line.len++] = '\n';
    /* One write, so that lines of several workers do not mix; a log that cannot be written to must
     * not stop the proxy. */
    while (write(log->fd, line.text, line.len) < 0 && errno == EINTR)
        continue;
}

struct log_field log_text(const char *key, const char *text)
{
    return log_bytes(key, text, text ? strlen(text) : 0);
}

struct log_field log_bytes(const char *key, const void *bytes, size_t len)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_TEXT, .text = bytes, .len = len};
}

struct log_field log_uint(const char *key, uint64_t number)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_UINT, .number = number};
}

struct log_field log_int(const char *key, int64_t number)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_INT, .number = (uint64_t)number};
}
