# Says what is missing for real pods, before time is spent on it.

folder=$(dirname "$0")
missing=0

lacks() {
    printf 'missing: %s\n' "$@" >&2
    missing=1
}

sh "$folder/../demo/preflight.sh" || missing=1

[ "$(uname -s)" = Linux ] || lacks "Linux: pods have its namespaces and control groups"
[ "$(id -u)" = 0 ] || lacks "root, for namespaces, control groups and mounts: run it as root, for example with sudo -E"

# The examples of applications are built and run with them.
command -v go >/dev/null || lacks "Go: install it from https://go.dev/dl/"
command -v npm >/dev/null && node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' ||
    lacks "Node 20 or newer, with npm: install it from https://nodejs.org/"
python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    lacks "Python 3.11 or newer, with venv: apt-get install python3 python3-venv"

packages=
# $1 a program, $2 its package in Debian and Ubuntu
needs() {
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$1" >/dev/null || packages="$packages $2"
}
needs containerd containerd
needs ctr containerd
needs runc runc
needs buildah buildah
needs ip iproute2
needs unshare util-linux
needs mount mount
needs strip binutils
found=
for plugins in /usr/lib/cni /usr/libexec/cni /opt/cni/bin; do
    [ ! -x "$plugins/ptp" ] || found=$plugins
done
[ -n "$found" ] || packages="$packages containernetworking-plugins"
[ -f /etc/ssl/certs/ca-certificates.crt ] || packages="$packages ca-certificates"
packages=$(printf '%s\n' $packages | sort -u | tr '\n' ' ')
[ -z "${packages% }" ] ||
    lacks "the packages ${packages% }: apt-get install -y --no-install-recommends ${packages% }"

if [ "$(id -u)" = 0 ]; then
    # A container may be root without being allowed to.
    unshare --mount --pid --fork --net --ipc --uts true 2>/dev/null ||
        lacks "the right to make namespaces: in a container, run it with --privileged"
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/memory; do
        [ ! -e "$hierarchy/cgroup.procs" ] || [ -w "$hierarchy/cgroup.procs" ] ||
            lacks "control groups that can be written to, in $hierarchy: in a container, run it with --privileged"
    done
    [ -e /dev/kmsg ] || lacks "/dev/kmsg, which a kubelet reads: in a container, run it with --privileged"
fi

exit "$missing"
