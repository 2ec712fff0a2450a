#!/bin/sh
# Fetches Prometheus and promtool for tests: the Debian package, unpacked into the folder $1 and not
# installed, so that no service starts and nothing of the system changes. Where that cannot be done it
# says why and succeeds: the tests that need it are skipped.
set -u
folder=$1
if [ -x "$folder/usr/bin/promtool" ] || { command -v prometheus && command -v promtool; } >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "no apt-get: install Prometheus to have monitoring/ tested" >&2
    exit 0
fi
work=$(mktemp -d) || exit 0
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 0
# Lists of packages are missing in fresh containers; only root may fetch them.
if ! apt-get -qq download prometheus 2>log && [ "$(id -u)" = 0 ]; then
    apt-get -qq update 2>>log && apt-get -qq download prometheus 2>>log
fi
set -- prometheus_*.deb
if [ ! -f "$1" ]; then
    cat log >&2
    echo "the Debian package prometheus is not to be had: monitoring/ is not tested" >&2
    exit 0
fi
cd - >/dev/null && mkdir -p "$folder" && dpkg-deb -x "$work/$1" "$folder"
