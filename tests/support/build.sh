#!/usr/bin/env bash
# Builds into a folder: build.sh DIR [meson option...]
#
# Configures the folder the first time or when the options have changed, then builds everything or
# the ninja targets in $TARGETS. Says one line before each step and shows the compiler's output only
# if there is some worth seeing.
set -euo pipefail
cd "$(dirname "$0")/../.."

dir=$1
shift
[ "${CI:-}" = true ] && set -- "$@" -Dwerror=true
# Whether the tests are built depends on cmocka, and meson remembers what it did not find.
options="${CC:-cc} $* cmocka $(pkg-config --modversion cmocka 2>/dev/null || echo none)"

# A folder that somebody has configured by hand stays as it is.
if [ ! -f "$dir/build.ninja" ] ||
    { [ -f "$dir/.options" ] && [ "$(cat "$dir/.options")" != "$options" ]; }; then
    echo "configuring $dir..."
    # All but what tests/wire/setup.sh has downloaded.
    [ ! -d "$dir" ] || find "$dir" -mindepth 1 -maxdepth 1 ! -name wire -exec rm -rf {} +
    if ! out=$(meson setup "$dir" "$@" 2>&1); then
        printf '%s\n' "$out" | tail -n 20 >&2
        echo "build: meson could not configure $dir; the reason is above." >&2
        exit 1
    fi
    printf '%s\n' "$options" >"$dir/.options"
fi

# ninja -n prints what it would do.
read -ra targets <<<"${TARGETS:-}"
if ninja -C "$dir" -n "${targets[@]}" 2>/dev/null | grep -q 'no work to do'; then
    exit 0
fi
echo "building $dir..."
if ! out=$(ninja -C "$dir" "${targets[@]}" 2>&1); then
    printf '%s\n' "$out" | sed '/^\[[0-9/]*\] Compiling/d' | tail -n 60 >&2
    echo "build: compiling into $dir failed; the compiler's words are above." >&2
    exit 1
fi
# A clean build has nothing to say.
printf '%s\n' "$out" | grep -A 8 'warning:' || true
