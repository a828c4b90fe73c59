/*
 * check_targets - the rules for routes to one of several backends, by the last segment of the path.
 * Calls draft and value.
 */
#include "config/check_internal.h"

#include <string.h>

#include "config/value.h"

/* Where the path says {name}; NULL if it does not. */
static const char *name_in(const char *path)
{
    return path ? strstr(path, CONFIG_PATH_NAME) : NULL;
}

/* True for a whole segment, and the last one. */
static bool is_last_segment(const char *at)
{
    return at[-1] == '/' && at[strlen(CONFIG_PATH_NAME)] == '\0';
}

static bool check_path(struct draft *d, const struct config_route *route)
{
    const char *at = name_in(route->path);

    if (name_in(route->path_prefix))
        return draft_complain_about(d, &route->path_prefix, route,
                                    "'{name}' can stand in 'path' only, got '%s'",
                                    route->path_prefix);
    if (at && !is_last_segment(at))
        return draft_complain_about(d, &route->path, route,
                                    "'{name}' can only be the whole last segment, as in "
                                    "/ssh/{name}, got '%s'",
                                    route->path);
    if (at && route->targets.count == 0)
        return draft_complain_about(d, &route->path, route,
                                    "'targets' is missing: what '{name}' may be, as NAME: BACKEND");
    if (at || route->targets.count == 0)
        return true;
    if (!route->path)
        return draft_complain_about(d, NULL, route,
                                    "'path' is missing: with 'targets' one whose last segment is "
                                    "'{name}', such as /ssh/{name}");
    return draft_complain_about(d, &route->path, route,
                                "expected with 'targets' a path whose last segment is '{name}', "
                                "such as /ssh/{name}, got '%s'",
                                route->path);
}

static bool check_target(struct draft *d, const struct config_route *route, size_t i)
{
    struct config_target *target = &route->targets.at[i];

    for (size_t j = 0; j < i; j++)
        if (strcmp(route->targets.at[j].name, target->name) == 0)
            return draft_complain_about(d, target, route, "stands in line %u already",
                                        draft_where(d, &route->targets.at[j], false)->line);
    return check_find_backend(d, route, target, target->backend, &target->backend_index);
}

/* "ssh" of "/ssh/{name}". */
static const char *name_of(struct draft *d, const char *path)
{
    size_t len = (size_t)(name_in(path) - path) - 1, begin = len;

    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    char *name = config_copy(d->config, path + begin, len - begin);
    return value_is_name(name) ? name : "targets";
}

bool check_targets(struct draft *d, struct config_route *route)
{
    if (draft_where(d, &route->targets, false) && route->targets.count == 0)
        return draft_complain_about(d, &route->targets, route,
                                    "expected at least one NAME: BACKEND");
    if (route->targets.count && route->backend)
        return draft_complain_about(d, &route->backend, route, "does not go with 'targets'");
    if (route->targets.count && route->path_prefix)
        return draft_complain_about(d, &route->path_prefix, route, "does not go with 'targets'");
    if (!check_path(d, route))
        return false;
    for (size_t i = 0; i < route->targets.count; i++)
        if (!check_target(d, route, i))
            return false;
    if (route->targets.count && !route->name)
        route->name = name_of(d, route->path);
    return true;
}
