/*
 * route - see route.h. A target owns its decoded path. Calls base/origin.
 */
#include "route.h"

#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/origin.h"

static int hex(char c)
{
    if (!isxdigit((unsigned char)c))
        return -1;
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* Escapes that are none stay as they are, as in the application's scope. */
static void take_path(struct route_target *t, const char *path)
{
    size_t len = strcspn(path, "?#");
    t->path = malloc(len + 1);
    assert(t->path);
    for (size_t i = 0; i < len; i++) {
        bool escaped =
            path[i] == '%' && len - i > 2 && hex(path[i + 1]) >= 0 && hex(path[i + 2]) >= 0;
        t->path[t->path_len++] =
            escaped ? (char)(16 * hex(path[i + 1]) + hex(path[i + 2])) : path[i];
        i += escaped ? 2 : 0;
    }
}

static bool has_dot_segment(const char *path, size_t len)
{
    for (size_t begin = 0, i = 0; i <= len; i++) {
        if (i < len && path[i] != '/')
            continue;
        if ((i - begin == 1 && path[begin] == '.') ||
            (i - begin == 2 && path[begin] == '.' && path[begin + 1] == '.'))
            return true;
        begin = i + 1;
    }
    return false;
}

void route_target_init(struct route_target *t, const char *authority, const char *path)
{
    *t = (struct route_target){.authority = authority};
    take_path(t, path);
    t->is_crooked = has_dot_segment(t->path, t->path_len);
}

void route_target_fini(struct route_target *t)
{
    free(t->path);
}

bool route_fits_host(const struct route *r, const struct route_target *t)
{
    for (size_t i = 0; i < r->host_count; i++)
        if (origin_host_matches(r->hosts[i], t->authority, strlen(t->authority)))
            return true;
    return r->host_count == 0;
}

static bool is_path(const struct route_target *t, const char *path)
{
    return strlen(path) == t->path_len && memcmp(path, t->path, t->path_len) == 0;
}

static bool begins_with(const struct route_target *t, const char *prefix)
{
    size_t len = strlen(prefix);
    if (len > t->path_len || memcmp(prefix, t->path, len) != 0)
        return false;
    return len == t->path_len || prefix[len - 1] == '/' || t->path[len] == '/';
}

bool route_fits_path(const struct route *r, const struct route_target *t)
{
    if (!r->path && !r->path_prefix)
        return true;
    if (t->is_crooked)
        return false;
    return r->path ? is_path(t, r->path) : begins_with(t, r->path_prefix);
}
