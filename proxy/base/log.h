/*
 * log - one line per event in a life, nothing per packet.
 *
 *     time=2026-11-22T14:00:00.123Z level=info event=session.opened session=3f... path=/chat
 *
 * A line is an event name and typed fields, written as logfmt with one write(2), so lines of
 * several workers never mix. Values that need it are quoted; control characters and invalid UTF-8
 * are escaped, so that no peer can forge a line. Lines longer than 4 KiB are cut.
 * Thread-safe: the struct is immutable after log_init.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

struct log {
    int fd;
    enum log_level level; /* lines below it are dropped */
};

enum log_kind { LOG_KIND_TEXT, LOG_KIND_UINT, LOG_KIND_INT };

struct log_field {
    const char *key;
    enum log_kind kind;
    const char *text; /* TEXT: len bytes, NULL writes nothing for this field */
    size_t len;
    uint64_t number;
};

void log_init(struct log *log, int fd, enum log_level level);
/* "debug", "info", "warn", "error", "off"; returns -1 for anything else. */
int log_level_parse(const char *name, enum log_level *level);
void log_write(const struct log *log, enum log_level level, const char *event,
               const struct log_field *fields, size_t count);

struct log_field log_text(const char *key, const char *text);
struct log_field log_bytes(const char *key, const void *bytes, size_t len);
struct log_field log_uint(const char *key, uint64_t number);
struct log_field log_int(const char *key, int64_t number);

/* LOG(log, INFO, "session.opened", log_text("session", id), log_uint("worker", 1)); */
#define LOG(log, LEVEL, event, ...)                                                                \
    log_write((log), LOG_##LEVEL, (event), (const struct log_field[]){__VA_ARGS__},                \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))

#endif
