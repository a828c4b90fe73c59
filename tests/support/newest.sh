#!/usr/bin/env bash
# Builds and tests Sluice with the newest libraries that Debian packages: newest.sh [SUITE...]
#
# In a Debian unstable of its own (or $DEBIAN, for example trixie) under build-newest/, made by debootstrap
# the first time and upgraded each time. Nothing of the machine is changed: what is mounted there is
# seen by this program alone. Needs root. SUITE is one of run.py's; without any, all that runs what
# is built. Ends with the line of run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."

debian=${DEBIAN:-sid}
root=$PWD/build-newest/$debian
suites=${*:-unit mem python wire}
log=$PWD/build-newest/$debian.log

fail() {
    printf 'newest: %s\n' "$*" >&2
    exit 1
}

# Quietly; on failure shows the end of what was said, and the sentence in $1.
quietly() {
    local sentence=$1
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" | sed 's/^/  | /' >&2
        fail "$sentence"
    fi
}

[ "$(id -u)" = 0 ] || fail "debootstrap and chroot need root."
mkdir -p "$root"

if [ ! -e "$root/ready" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
        grep -v security | head -n 1)
    echo "making a Debian $debian in build-newest/$debian (some minutes)..."
    quietly "Debian $debian could not be made; the reason is above." \
        debootstrap --variant=minbase --include=make,git,ca-certificates "$debian" "$root" "$mirror"
    touch "$root/ready"
fi
# What lets this machine reach the network lets that one, too.
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
cp /etc/apt/apt.conf.d/* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
[ ! -f ~/.npmrc ] || cp ~/.npmrc "$root/root/"

inside() {
    unshare --mount --propagation private bash -euc '
        mount -t proc proc "$0/proc"
        mount --rbind /dev "$0/dev"
        mount -t tmpfs tmpfs "$0/tmp"
        exec chroot "$0" "$@"' "$root" env HOME=/root DEBIAN_FRONTEND=noninteractive "$@"
}

echo "upgrading it..."
quietly "the upgrade failed; the reason is above." \
    inside bash -ec 'apt-get -q update; apt-get -y -q full-upgrade; update-ca-certificates'
mkdir -p "$root/sluice"
git ls-files -z | tar --null -T - -c | tar -x -C "$root/sluice"
inside bash -ec '
    cd /sluice
    git init -q . && git add -A
    bash tests/support/setup.sh test
    dpkg-query -W "libngtcp2*-dev" "libnghttp3-dev" libgnutls28-dev libuv1-dev | sed "s/^/  /"
    make test SUITE="$*"' bash "$suites"
