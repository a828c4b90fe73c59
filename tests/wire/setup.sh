#!/bin/sh
# Installs what the wire tests need beyond Debian's packages, into build/wire: the browser driver
# (npm) and an independent QUIC client (pip, in a virtual environment that sees Debian's packages).
# Quick and silent when there is nothing to do. Needs nodejs, npm, python3-venv.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=${1:-$here/../../build/wire}
mkdir -p "$to/browser"
to=$(cd "$to" && pwd)

stamp=$to/browser.stamp
if ! cmp -s "$here/browser/package-lock.json" "$stamp"; then
    echo "wire tests: installing the browser driver"
    cp "$here/browser/package.json" "$here/browser/package-lock.json" "$to/browser/"
    (cd "$to/browser" && npm ci --no-audit --no-fund --loglevel=error >/dev/null)
    cp "$here/browser/package-lock.json" "$stamp"
fi

stamp=$to/venv.stamp
if ! cmp -s "$here/requirements.txt" "$stamp"; then
    echo "wire tests: installing the independent QUIC client"
    /usr/bin/python3 -m venv --system-site-packages "$to/venv"
    "$to/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$stamp"
fi
