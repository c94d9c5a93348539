#!/bin/sh
# Unpacks prometheus and promtool of the distribution's package (Debian, Ubuntu) for the tests. The
# package is not installed: that would start a service.
set -eu

cache=${AUTH0_ROTATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/auth0-rotator}
folder=$cache/tools/prometheus
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    echo "prometheus and promtool are in PATH"
    exit 0
fi
if [ -x "$folder/usr/bin/prometheus" ] && [ -x "$folder/usr/bin/promtool" ]; then
    echo "prometheus and promtool are in $folder"
    exit 0
fi

mkdir -p "$cache/tools"
scratch=$(mktemp -d "$cache/tools/prometheus.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
if ! apt-get download prometheus 2>log; then
    # A fresh machine has no lists of packages, which only root can get.
    if ! { [ "$(id -u)" = 0 ] && apt-get update && apt-get download prometheus; } >>log 2>&1; then
        cat log >&2
        echo "the package prometheus can't be downloaded: run apt-get update as root" >&2
        exit 1
    fi
fi
dpkg -x prometheus_*.deb unpacked
# Another process may have unpacked the same.
mv -T unpacked "$folder" 2>/dev/null || [ -x "$folder/usr/bin/promtool" ]
"$folder/usr/bin/promtool" --version
