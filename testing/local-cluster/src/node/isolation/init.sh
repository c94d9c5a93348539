# The first process in the namespaces. Makes what is inside independent of the machine, runs the
# program, and takes care of processes whose parent has ended: `wait` in a shell reaps every child.
#
#   $1  the folder
#   $2  the name of the control group below each hierarchy's root
#   $3  the node's address
#   $4  the address of the service `kubernetes`
#   $5… the program and its arguments
set -e

folder=$1 group=$2 address=$3 service=$4
shift 4

# Both addresses are on loopback: pods reach them by their default route, which ends here, and there
# is no way to anywhere else.
ip link set lo up
ip address add "$address/32" dev lo
ip address add "$service/32" dev lo
hostname node

# What a kubelet, containerd and network plugins write at fixed places.
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/log
mkdir "$folder/var-lib"
for entry in /var/lib/*; do
    copy=$folder/var-lib/${entry##*/}
    if [ -d "$entry" ]; then mkdir "$copy"; else : >"$copy"; fi
    mount --rbind "$entry" "$copy"
done
mount --rbind "$folder/var-lib" /var/lib

# A kubelet sets these for the whole machine unless they are as it wants them.
mkdir "$folder/sysctl"
shield() {
    file=$folder/sysctl/${1##*/}
    echo "$2" >"$file"
    mount --bind "$file" "/proc/sys/$1"
}
shield vm/overcommit_memory 1
shield vm/panic_on_oom 0
shield kernel/panic 10
shield kernel/panic_on_oops 1
shield kernel/keys/root_maxkeys 1000000
shield kernel/keys/root_maxbytes 25000000

# All pods are in this group of each hierarchy. There is one hierarchy with version 2.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir "/sys/fs/cgroup/$group"
else
    for hierarchy in /sys/fs/cgroup/*/; do
        [ -e "${hierarchy}cgroup.procs" ] || continue
        mkdir "$hierarchy$group"
        # A new group of this controller takes no process before it has these.
        for setting in cpuset.cpus cpuset.mems; do
            [ ! -e "$hierarchy$setting" ] || cat "$hierarchy$setting" >"$hierarchy$group/$setting"
        done
    done
fi

set +e
"$@"
exit "$?"
