# Says what is missing to build and run the demo, before time is spent on it.

folder=$(dirname "$0")
missing=0

# Whether version $1 is at least $2: numbers separated by dots, whatever follows them.
at_least() {
    awk -v have="$1" -v need="$2" 'BEGIN {
        split(have, a, "."); split(need, b, ".")
        for (i = 1; i <= 3; i++) {
            if (a[i] + 0 > b[i] + 0) exit 0
            if (a[i] + 0 < b[i] + 0) exit 1
        }
    }'
}

lacks() {
    printf 'missing: %s\n' "$@" >&2
    missing=1
}

need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$folder/../../Cargo.toml")
if ! command -v cargo >/dev/null || ! have=$(rustc --version 2>/dev/null); then
    lacks "Rust $need or newer: install it from https://rustup.rs/"
else
    have=${have#rustc }
    at_least "$have" "$need" ||
        lacks "Rust $need or newer, and rustc is $have: run rustup update, or see https://rustup.rs/"
fi

if ! command -v "${CC:-cc}" >/dev/null && ! command -v gcc >/dev/null && ! command -v clang >/dev/null; then
    lacks "a C compiler, for TLS: install gcc or clang (apt-get install build-essential, dnf install gcc, xcode-select --install), or set CC"
fi

# Go is only needed to build the control plane's servers, once.
cache=${AUTH0_ROTATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/auth0-rotator}
need=$(sed -n 's/^go \(.*\)/\1/p' "$folder/../../testing/local-cluster/go/go.mod")
if [ -n "$KUBEBUILDER_ASSETS" ]; then
    for server in etcd kube-apiserver; do
        [ -x "$KUBEBUILDER_ASSETS/$server" ] ||
            lacks "$server in KUBEBUILDER_ASSETS, which is $KUBEBUILDER_ASSETS: unset it to have the servers built by Go"
    done
elif ! ls "$cache"/control-plane/*/kube-apiserver >/dev/null 2>&1; then
    PATH=$PATH:/usr/local/go/bin
    if ! have=$(go env GOVERSION 2>/dev/null); then
        lacks "Go $need or newer, to build etcd and kube-apiserver: install it from https://go.dev/dl/, or set KUBEBUILDER_ASSETS to a folder that has them"
    elif ! at_least "${have#go}" "$need"; then
        lacks "Go $need or newer, and go is ${have#go}: install it from https://go.dev/dl/, or set KUBEBUILDER_ASSETS to a folder that has etcd and kube-apiserver"
    else
        echo "The first time, Go builds etcd and kube-apiserver, which takes about four minutes."
    fi
fi

exit "$missing"
