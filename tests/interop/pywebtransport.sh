#!/bin/sh
# Makes OUT/python, a Python of at least 3.12 that has pywebtransport: pywebtransport.sh OUT PYTHON.
# PYTHON is one that has pip. Debian 12 has no Python that is new enough; where no other is found, this
# takes Debian 13's, with its C library, unpacked in OUT (mmdebstrap; 55 MB; nothing is installed).
set -eu
version=0.21.1
out=$1 pip_python=$2
recipe="$version $0"

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null
}

# Prints the path of one, or nothing.
find_python() {
    for name in python3 python3.14 python3.13 python3.12 /usr/bin/python3; do
        if is_new_enough "$name"; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
}

unpack_debian() {
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' \
        "Release: $(. /etc/os-release && echo "$VERSION_CODENAME")" | head -n 1)
    rm -rf "$out/debian"
    mmdebstrap --quiet --variant=extract --include=python3.13 trixie "$out/debian" "$mirror"
}

write_wrapper() {
    usr=$out/debian/usr
    linker=$(echo "$usr"/lib/*-linux-gnu/ld-linux-*.so.*)
    cat >"$out/python" <<END
#!/bin/sh
PYTHONHOME=$usr PYTHONPATH=$out/packages exec $linker --library-path ${linker%/*} $usr/bin/python3.13 "\$@"
END
}

[ "$(cat "$out/stamp" 2>/dev/null)" != "$recipe" ] || exit 0
rm -rf "$out/packages"
python=$(find_python)
if [ -n "$python" ]; then
    printf '#!/bin/sh\nPYTHONPATH=%s exec %s "$@"\n' "$out/packages" "$python" >"$out/python"
else
    unpack_debian
    write_wrapper
fi
chmod +x "$out/python"
# pip looks at its own Python, too.
"$pip_python" -m pip install --quiet --disable-pip-version-check --target "$out/packages" \
    --python-version "$("$out/python" -c 'import platform; print(platform.python_version())')" \
    --only-binary=:all: --ignore-requires-python "pywebtransport==$version"
"$out/python" -c 'import pywebtransport'
echo "$recipe" >"$out/stamp"
