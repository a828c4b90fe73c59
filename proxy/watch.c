/*
 * watch - looks at some files now and then, and tells of changes when they are quiet. Owns their
 * paths, what they looked like, and two timers.
 */
#include "watch.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

enum { LOOK_MS = 1000, QUIET_MS = 500 };

struct file {
    LIST_ENTRY(file) entry;
    struct stat seen; /* all zero: it is not there */
    char path[];
};

LIST_HEAD(files, file);

struct watch {
    uv_timer_t look, quiet;
    struct files watched, looked_at;
    int open; /* timers */
    void (*changed)(void *user);
    void *user;
};

static void quiet_now(uv_timer_t *timer)
{
    struct watch *w = timer->data;

    w->changed(w->user);
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Also when it is gone, or back. */
static bool has_changed(struct file *f)
{
    struct stat before = f->seen, now;

    if (stat(f->path, &now) < 0)
        memset(&now, 0, sizeof(now));
    f->seen = now;
    return now.st_dev != before.st_dev || now.st_ino != before.st_ino ||
           now.st_size != before.st_size || now.st_mode != before.st_mode ||
           now.st_uid != before.st_uid || now.st_gid != before.st_gid ||
           !is_same_time(&now.st_mtim, &before.st_mtim) ||
           !is_same_time(&now.st_ctim, &before.st_ctim);
}

static void look_at_all(uv_timer_t *timer)
{
    struct watch *w = timer->data;
    struct file *f;

    LIST_FOREACH (f, &w->watched, entry)
        if (has_changed(f))
            uv_timer_start(&w->quiet, quiet_now, QUIET_MS, 0);
}

static void forget(struct files *files)
{
    struct file *f;

    while ((f = LIST_FIRST(files))) {
        LIST_REMOVE(f, entry);
        free(f);
    }
}

void watch_look(struct watch *w, const char *const *paths, size_t count)
{
    forget(&w->looked_at);
    for (size_t i = 0; i < count; i++) {
        if (!paths[i])
            continue;
        size_t size = strlen(paths[i]) + 1;
        struct file *f = calloc(1, sizeof(*f) + size);
        assert(f);
        memcpy(f->path, paths[i], size);
        has_changed(f);
        LIST_INSERT_HEAD(&w->looked_at, f, entry);
    }
}

void watch_keep(struct watch *w)
{
    struct file *f;

    forget(&w->watched);
    while ((f = LIST_FIRST(&w->looked_at))) {
        LIST_REMOVE(f, entry);
        LIST_INSERT_HEAD(&w->watched, f, entry);
    }
    if (LIST_EMPTY(&w->watched))
        uv_timer_stop(&w->look);
    else
        uv_timer_start(&w->look, look_at_all, LOOK_MS, LOOK_MS);
}

static void init_timer(struct watch *w, uv_loop_t *loop, uv_timer_t *timer)
{
    uv_timer_init(loop, timer);
    timer->data = w;
    w->open++;
}

struct watch *watch_new(uv_loop_t *loop, void (*changed)(void *user), void *user)
{
    struct watch *w = calloc(1, sizeof(*w));

    assert(w);
    w->changed = changed;
    w->user = user;
    LIST_INIT(&w->watched);
    LIST_INIT(&w->looked_at);
    init_timer(w, loop, &w->look);
    init_timer(w, loop, &w->quiet);
    return w;
}

static void timer_closed(uv_handle_t *handle)
{
    struct watch *w = handle->data;

    if (--w->open == 0)
        free(w);
}

void watch_close(struct watch *w)
{
    forget(&w->watched);
    forget(&w->looked_at);
    uv_close((uv_handle_t *)&w->look, timer_closed);
    uv_close((uv_handle_t *)&w->quiet, timer_closed);
}
