#!/usr/bin/env bash
# Installs the Debian packages that a make target needs: setup.sh build|lint|test|interop|services|examples|
# example-NAME|soak|bench|newest|runtime
#
# Asks dpkg what is missing, so a second run costs a few milliseconds and changes nothing. On Debian
# 12 the QUIC libraries, and Go for make interop, come from bookworm-backports, which is added with the
# mirror and signing key of the machine's own Debian sources. What apt says goes to a log; its end is
# shown when it fails.
set -euo pipefail

# The QUIC stack, and Go if it is needed: at least these versions (Debian 12's own are older).
recent_packages=(libngtcp2-dev libngtcp2-crypto-gnutls-dev libnghttp3-dev)
recent_floor=(1.11 1.11 1.8)

build_packages=(gcc libc6-dev pkg-config meson ninja-build python3 libuv1-dev libgnutls28-dev
    libunistring-dev libmicrohttpd-dev uthash-dev
    libyaml-dev)
lint_packages=(python3 clang-format)
test_packages=(clang llvm libcmocka-dev python3-pytest python3-msgpack python3-venv chromium firefox-esr)
# Clients that others wrote (Go, Rust: see go_suffices and rust_suffices); one needs a newer Python than Debian 12 has.
interop_packages=(mmdebstrap)
# The servers of make services and their own clients. Each test starts its own; Debian's stay down.
service_packages=(redis-server redis-tools postgresql openssh-server openssh-client mosquitto mosquitto-clients
    nginx haproxy dnsmasq-base curl openssl)
# The examples that need a server of Debian's.
redis_packages=(redis-server)
postgresql_packages=(postgresql)
service_units=(redis-server/redis-server postgresql/postgresql openssh-server/ssh mosquitto/mosquitto nginx/nginx
    haproxy/haproxy)
bench_packages=(libcmocka-dev)
soak_packages=(podman buildah crun runc zstd debootstrap)
# Running the built programs elsewhere takes the libraries alone (the container image).
runtime_packages=()
runtime_quic_packages=(libngtcp2-16 libngtcp2-crypto-gnutls8 libnghttp3-9)

want=${1:-build}
log=$(mktemp "${TMPDIR:-/tmp}/sluice-setup.XXXXXX")
trap 'rm -f "$log"' EXIT

say() { printf '%s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

read_system() {
    local id="" version=""
    [ -r /etc/os-release ] && {
        id=$(. /etc/os-release && echo "${ID:-}")
        version=$(. /etc/os-release && echo "${VERSION_ID:-}")
    }
    case "$id-$version" in
    debian-12)
        build_packages+=(libmsgpack-dev)
        test_packages+=(libclang-rt-14-dev)
        runtime_packages+=(libuv1 libgnutls30 libmsgpackc2 libunistring2 libmicrohttpd12 libyaml-0-2)
        ;;
    debian-13)
        build_packages+=(libmsgpack-c-dev)
        test_packages+=(libclang-rt-19-dev)
        runtime_packages+=(libuv1t64 libgnutls30t64 libmsgpack-c2 libunistring5 libmicrohttpd12t64
            libyaml-0-2)
        ;;
    debian-) # testing and unstable
        build_packages+=(libmsgpack-c-dev)
        test_packages+=(libclang-rt-dev)
        runtime_packages+=(libuv1t64 libgnutls30t64 libmsgpack-c2 libunistring5 libmicrohttpd12t64)
        ;;
    *) fail "this installer knows Debian 12 and later, and this is '${id:-unknown} $version'." \
        "With the libraries of README.md installed by hand, 'meson setup build && ninja -C build' builds Sluice." ;;
    esac
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
}

# Node.js runs the browser tests. A newer one than Debian's, with its npm, is as good.
node_suffices() {
    local version
    version=$(node --version 2>/dev/null) || return 1
    version=${version#v}
    [ "${version%%.*}" -ge 18 ] && command -v npm >/dev/null
}

# The Rust crates of the interoperability tests. rustc-web is Debian's newer one, beside its rustc.
rust_suffices() {
    local version
    version=$(rustc --version 2>/dev/null | sed 's/^rustc \([0-9.]*\).*/\1/') || return 1
    [ -n "$version" ] && dpkg --compare-versions "$version" ge 1.88 && command -v cargo >/dev/null
}

# The same in Go. Since 1.21 it fetches the newer one that a module asks for.
go_suffices() {
    local version
    version=$(go env GOVERSION 2>/dev/null) || return 1
    dpkg --compare-versions "${version#go}" ge 1.21
}

packages_wanted() {
    case $want in
    build) say "${build_packages[@]}" ;;
    bench) say "${build_packages[@]}" "${bench_packages[@]}" ;;
    lint) say "${lint_packages[@]}" ;;
    example-redis) say "${build_packages[@]}" "${redis_packages[@]}" ;;
    example-postgresql) say "${build_packages[@]}" "${postgresql_packages[@]}" ;;
    example-terminal) say "${build_packages[@]}" ;;
    test | interop | services | examples | soak)
        say "${build_packages[@]}" "${lint_packages[@]}" "${test_packages[@]}"
        node_suffices || say nodejs npm
        case $want in
        interop)
            say "${interop_packages[@]}"
            rust_suffices || say rustc-web cargo-web
            ;;
        services) say "${service_packages[@]}" ;;
        examples) say "${redis_packages[@]}" "${postgresql_packages[@]}" ;;
        soak) say "${soak_packages[@]}" ;;
        esac
        ;;
    runtime) say "${runtime_packages[@]}" ;;
    newest) say debootstrap git ;;
    *) fail "unknown target '$want': build, lint, test, interop, services, examples, example-NAME, soak, bench, newest or runtime." ;;
    esac
}

# Prints the version of an installed package, or nothing.
installed_version() {
    dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null |
        sed -n 's/^installed //p' | head -n 1 || true
}

find_missing() {
    local package i version
    missing=()
    missing_recent=()
    for package in $(packages_wanted); do
        [ -n "$(installed_version "$package")" ] || missing+=("$package")
    done
    case $want in
    lint | newest) recent_packages=() ;;
    runtime) recent_packages=("${runtime_quic_packages[@]}") ;;
    esac
    for i in "${!recent_packages[@]}"; do
        version=$(installed_version "${recent_packages[$i]}")
        if [ -z "$version" ] || dpkg --compare-versions "$version" lt "${recent_floor[$i]}"; then
            missing_recent+=("${recent_packages[$i]}")
        fi
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Runs apt-get quietly; on failure shows the end of its log and stops with the sentence in $1.
apt() {
    local sentence=$1
    shift
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=120 \
        -o Acquire::Retries=3 "$@" >"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" | sed 's/^/  | /' >&2
        fail "$sentence"
    fi
}

# Some source may be out of reach and not matter; the installation tells.
update_lists() {
    say "reading the package lists..."
    apt "the package lists could not be read; the reason is above." update
    unreachable=$(sed -n 's/^W: Failed to fetch //p' "$log" | head -n 1)
}

has_suite() {
    apt-get indextargets --format '$(RELEASE)' 'Created-By: Packages' | grep -qx "$1"
}

# Prints the Signed-By field of the apt source $1 (FILE:LINE) that holds suite $2: a path, or a whole
# key with its continuation lines.
signing_key() {
    local file=${1%:*} line=${1##*:}
    case $file in
    *.list) sed -n "${line}p" "$file" | sed -n 's/.*[[ ]signed-by=\([^] ]*\).*/Signed-By: \1/p' ;;
    *) awk -v RS='' -v suite="$2" '
        $0 ~ "(^|\n)Suites:[^\n]*[ \t]" suite "([ \t\n]|$)" {
            lines = split($0, line, "\n")
            for (i = 1; i <= lines; i++) {
                if (line[i] ~ /^[^ \t#]/)
                    inside = line[i] ~ /^Signed-By:/
                if (inside)
                    print line[i]
            }
            exit
        }' "$file" ;;
    esac
}

add_backports() {
    local suite=$codename-backports entry mirror
    # Without package lists, as in a container's image, apt knows of no source at all.
    [ -n "$(apt-get indextargets --format '$(RELEASE)' 'Created-By: Packages')" ] || update_lists
    has_suite "$suite" && return
    # The first source of the release itself: its mirror and where it is written down.
    entry=$(apt-get indextargets --format '$(REPO_URI) $(SOURCESENTRY)' 'Created-By: Packages' \
        "Release: $codename" 'Component: main' | head -n 1)
    [ -n "$entry" ] || fail "no apt source for Debian $codename was found, so its backports cannot be added."
    mirror=${entry%% *}
    say "adding $suite from $mirror..."
    {
        say "# Added for Sluice: newer QUIC libraries than Debian $codename has."
        say "Types: deb"
        say "URIs: $mirror"
        say "Suites: $suite"
        say "Components: main"
        signing_key "${entry#* }" "$codename"
    } | as_root tee /etc/apt/sources.list.d/sluice-backports.sources >/dev/null
}

# Installing a server would start it, and again at each boot. Neither is wanted of those that only tests
# and examples use. A policy that is there already has its reasons and stays.
keep_services_down() {
    local policy=/usr/sbin/policy-rc.d
    [ ! -e $policy ] || return 0
    trap 'rm -f "$log"; as_root rm -f '$policy EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
}

# Those that were installed just now: $@.
disable_services() {
    local entry
    command -v systemctl >/dev/null || return 0
    for entry in "${service_units[@]}"; do
        case " $* " in
        *" ${entry%/*} "*) as_root systemctl --quiet disable "${entry#*/}.service" >/dev/null 2>&1 || true ;;
        esac
    done
}

read_system
[ "$want" != interop ] || go_suffices || { recent_packages+=(golang-go) recent_floor+=(2:1.21); }
find_missing
count=$((${#missing[@]} + ${#missing_recent[@]}))
if [ "$count" = 0 ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    fail "$count packages are missing (${missing[*]} ${missing_recent[*]}) and there is no sudo: run this once as root."
fi

[ "$codename" != bookworm ] || [ ${#missing_recent[@]} = 0 ] || add_backports
update_lists
say "installing $count packages (this can take a few minutes): ${missing[*]} ${missing_recent[*]}"
case $want in services | example*) keep_services_down ;; esac
installed=("${missing[@]}")
if [ ${#missing[@]} -gt 0 ]; then
    apt "installing packages failed.${unreachable:+ Is the network up? Not reached: $unreachable}" install --no-install-recommends "${missing[@]}"
fi
if [ ${#missing_recent[@]} -gt 0 ]; then
    from=()
    [ "$codename" != bookworm ] || from=(-t bookworm-backports)
    apt "installing ${missing_recent[*]} failed.${unreachable:+ Is the network up? Not reached: $unreachable}" install --no-install-recommends "${from[@]}" "${missing_recent[@]}"
fi
case $want in services | example*) disable_services "${installed[@]}" ;; esac
find_missing
[ $((${#missing[@]} + ${#missing_recent[@]})) = 0 ] ||
    fail "apt succeeded, but these are still missing: ${missing[*]} ${missing_recent[*]}"
