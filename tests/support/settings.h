/*
 * settings - what tests of upstreams do not care about.
 */
#ifndef TESTS_SETTINGS_H
#define TESTS_SETTINGS_H

/* Of struct upstream_config. */
#define UPSTREAM_SETTINGS                                                                          \
    .name = "app", .connect_timeout_ns = 5 * NS_PER_S, .linger_timeout_ns = 3 * NS_PER_S,          \
    .frame_timeout_ns = 20 * NS_PER_S, .max_frame = 1 << 20, .stage_size = 128 << 10,              \
    .read_budget = 256 << 10, .attempts = 3, .queue_max = 100, .queue_timeout_ns = 5 * NS_PER_S,   \
    .health = {.failures = 3,                                                                      \
               .pause_first_ns = NS_PER_S,                                                         \
               .pause_last_ns = 30 * NS_PER_S,                                                     \
               .slow_start_ns = 10 * NS_PER_S},                                                    \
    .probe = {.timeout_ns = 5 * NS_PER_S}, .resolve_interval_ns = 10 * NS_PER_S

#endif
