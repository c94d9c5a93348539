# Checks that prometheus and promtool are available, which the tests of metrics, alerts and the
# dashboard need.

folder=${AUTH0_ROTATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/auth0-rotator}/tools/prometheus/usr/bin
missing=0
for program in prometheus promtool; do
    if ! command -v "$program" >/dev/null && ! [ -x "$folder/$program" ]; then
        printf 'missing: %s, from the package prometheus: run sh tests/monitoring/install.sh (Debian, Ubuntu), which unpacks it without starting a service, or add it to PATH\n' "$program" >&2
        missing=1
    fi
done
exit "$missing"
