# The first process in the namespaces. Separates what is inside from the machine, runs the program, and
# reaps orphaned processes: `wait` in a shell reaps every child.
#
#   $1  the directory
#   $2  the name of the cgroup below the root of each hierarchy
#   $3  the node's address
#   $4  the address of the Service `kubernetes`
#   $5… the program and its arguments
set -e

dir=$1 cgroup=$2 address=$3 service=$4
shift 4

# Both addresses are on loopback. Pods reach them by their default route, which ends at the node, and
# reach nothing else.
ip link set lo up
ip address add "$address/32" dev lo
ip address add "$service/32" dev lo
hostname node

# The kubelet, containerd and network plugins write to these fixed paths.
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/log
mkdir "$dir/var-lib"
for entry in /var/lib/*; do
    copy=$dir/var-lib/${entry##*/}
    if [ -d "$entry" ]; then mkdir "$copy"; else : >"$copy"; fi
    mount --rbind "$entry" "$copy"
done
mount --rbind "$dir/var-lib" /var/lib

# The kubelet sets these for the whole machine unless they already have the values that it wants.
mkdir "$dir/sysctl"
shadow_sysctl() {
    file=$dir/sysctl/${1##*/}
    echo "$2" >"$file"
    mount --bind "$file" "/proc/sys/$1"
}
shadow_sysctl vm/overcommit_memory 1
shadow_sysctl vm/panic_on_oom 0
shadow_sysctl kernel/panic 10
shadow_sysctl kernel/panic_on_oops 1
shadow_sysctl kernel/keys/root_maxkeys 1000000
shadow_sysctl kernel/keys/root_maxbytes 25000000

# All Pods are in this cgroup of each hierarchy. cgroup v2 has a single hierarchy.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir "/sys/fs/cgroup/$cgroup"
else
    for hierarchy in /sys/fs/cgroup/*/; do
        [ -e "${hierarchy}cgroup.procs" ] || continue
        mkdir "$hierarchy$cgroup"
        # A new cgroup of the cpuset controller accepts no process until these are set.
        for setting in cpuset.cpus cpuset.mems; do
            [ ! -e "$hierarchy$setting" ] || cat "$hierarchy$setting" >"$hierarchy$cgroup/$setting"
        done
    done
fi

set +e
"$@"
exit "$?"
