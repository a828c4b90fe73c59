/*
 * watch - a uv_fs_poll for each file, and a timer that waits until they are quiet. Owns both.
 */
#include "watch.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>

enum { LOOK_MS = 1000, QUIET_MS = 500 };

struct file {
    uv_fs_poll_t poll;
    LIST_ENTRY(file) entry;
};

struct watch {
    uv_loop_t *loop;
    uv_timer_t quiet;
    LIST_HEAD(, file) files;
    void (*changed)(void *user);
    void *user;
};

static void quiet_now(uv_timer_t *timer)
{
    struct watch *w = timer->data;

    w->changed(w->user);
}

/* Also when it is gone, or back. */
static void file_changed(uv_fs_poll_t *poll, int status, const uv_stat_t *before,
                         const uv_stat_t *now)
{
    struct watch *w = poll->data;

    (void)status;
    (void)before;
    (void)now;
    uv_timer_start(&w->quiet, quiet_now, QUIET_MS, 0);
}

static void file_closed(uv_handle_t *handle)
{
    free(handle); /* its first member */
}

static void forget_all(struct watch *w)
{
    struct file *f;

    while ((f = LIST_FIRST(&w->files))) {
        LIST_REMOVE(f, entry);
        uv_close((uv_handle_t *)&f->poll, file_closed);
    }
}

void watch_set(struct watch *w, const char *const *paths, size_t count)
{
    forget_all(w);
    for (size_t i = 0; i < count; i++) {
        if (!paths[i])
            continue;
        struct file *f = calloc(1, sizeof(*f));
        assert(f);
        uv_fs_poll_init(w->loop, &f->poll);
        f->poll.data = w;
        LIST_INSERT_HEAD(&w->files, f, entry);
        uv_fs_poll_start(&f->poll, file_changed, paths[i], LOOK_MS);
    }
}

struct watch *watch_new(uv_loop_t *loop, void (*changed)(void *user), void *user)
{
    struct watch *w = calloc(1, sizeof(*w));

    assert(w);
    w->loop = loop;
    w->changed = changed;
    w->user = user;
    LIST_INIT(&w->files);
    uv_timer_init(loop, &w->quiet);
    w->quiet.data = w;
    return w;
}

static void watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void watch_close(struct watch *w)
{
    forget_all(w);
    uv_close((uv_handle_t *)&w->quiet, watch_closed);
}
