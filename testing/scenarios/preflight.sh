# Reports what is missing to build and run the scenarios, before time is spent on it.
#
#   sh preflight.sh       for make demo and make torture
#   sh preflight.sh test  for make test, too
#   sh preflight.sh e2e   for make e2e, too

root=$(dirname "$0")/../..
missing=0

# Whether version $1 is at least $2. Only the numbers separated by dots count.
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

check_rust() {
    need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    if ! command -v cargo >/dev/null || ! have=$(rustc --version 2>/dev/null); then
        lacks "Rust $need or newer: install it from https://rustup.rs/"
        return
    fi
    have=${have#rustc }
    at_least "$have" "$need" ||
        lacks "Rust $need or newer, rustc is $have: run rustup update, or see https://rustup.rs/"
}

check_c_compiler() {
    for compiler in "${CC:-cc}" gcc clang; do
        ! command -v "$compiler" >/dev/null || return
    done
    lacks "a C compiler, for TLS: install gcc or clang (apt-get install build-essential, dnf install gcc, xcode-select --install), or set CC"
}

# Go is only needed to build the control plane, once.
check_control_plane() {
    cache=${AUTH0_ROTATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/auth0-rotator}
    need=$(sed -n 's/^go \(.*\)/\1/p' "$root/testing/local-cluster/go/go.mod")
    if [ -n "$KUBEBUILDER_ASSETS" ]; then
        for server in etcd kube-apiserver; do
            [ -x "$KUBEBUILDER_ASSETS/$server" ] ||
                lacks "$server in KUBEBUILDER_ASSETS ($KUBEBUILDER_ASSETS): unset it, and Go builds the servers"
        done
        return
    fi
    ! ls "$cache"/control-plane/*/kube-apiserver >/dev/null 2>&1 || return
    PATH=$PATH:/usr/local/go/bin
    if ! have=$(go env GOVERSION 2>/dev/null); then
        lacks "Go $need or newer, to build etcd and kube-apiserver: install it from https://go.dev/dl/, or set KUBEBUILDER_ASSETS to a directory with both"
    elif ! at_least "${have#go}" "$need"; then
        lacks "Go $need or newer, go is ${have#go}: install it from https://go.dev/dl/, or set KUBEBUILDER_ASSETS to a directory with etcd and kube-apiserver"
    else
        echo "The first time, Go builds etcd and kube-apiserver, which takes about four minutes."
    fi
}

check_consumers() {
    command -v go >/dev/null || lacks "Go: install it from https://go.dev/dl/"
    command -v npm >/dev/null && node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' ||
        lacks "Node 20 or newer, with npm: install it from https://nodejs.org/"
    python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        lacks "Python 3.11 or newer, with venv: apt-get install python3 python3-venv"
}

packages=
# $1 a program, $2 its package in Debian and Ubuntu
needs() {
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$1" >/dev/null || packages="$packages $2"
}

check_packages() {
    needs containerd containerd
    needs ctr containerd
    needs runc runc
    needs buildah buildah
    needs ip iproute2
    needs unshare util-linux
    needs mount mount
    needs strip binutils
    plugins=
    for directory in /usr/lib/cni /usr/libexec/cni /opt/cni/bin; do
        [ ! -x "$directory/ptp" ] || plugins=$directory
    done
    [ -n "$plugins" ] || packages="$packages containernetworking-plugins"
    [ -f /etc/ssl/certs/ca-certificates.crt ] || packages="$packages ca-certificates"
    packages=$(printf '%s\n' $packages | sort -u | tr '\n' ' ')
    [ -z "${packages% }" ] ||
        lacks "the packages ${packages% }: apt-get install -y --no-install-recommends ${packages% }"
}

check_root() {
    [ "$(uname -s)" = Linux ] || lacks "Linux: Pods have its namespaces and cgroups"
    if [ "$(id -u)" != 0 ]; then
        lacks "root, for namespaces, cgroups and mounts: run it as root, for example with sudo -E"
        return
    fi
    # Root in a container may lack these permissions.
    unshare --mount --pid --fork --net --ipc --uts true 2>/dev/null ||
        lacks "the permission to create namespaces: in a container, run it with --privileged"
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/memory; do
        [ ! -e "$hierarchy/cgroup.procs" ] || [ -w "$hierarchy/cgroup.procs" ] ||
            lacks "writable cgroups in $hierarchy: in a container, run it with --privileged"
    done
    [ -e /dev/kmsg ] || lacks "/dev/kmsg, which a kubelet reads: in a container, run it with --privileged"
}

# Counts the instructions of decisions, in the tests of crates/rotation.
check_valgrind() {
    command -v valgrind >/dev/null ||
        lacks "valgrind: apt-get install -y --no-install-recommends valgrind, or dnf install valgrind"
}

check_rust
check_c_compiler
check_control_plane
if [ "${1:-}" = test ]; then
    check_valgrind
fi
if [ "${1:-}" = e2e ]; then
    check_root
    check_consumers
    check_packages
fi
exit "$missing"
