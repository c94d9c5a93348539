# Runs a program in new namespaces and then removes what the kernel doesn't: cgroups and the directory.
# When the first process of a PID namespace ends, the kernel ends all others in it, and with the last
# of them the mounts and network interfaces go.
#
#   $1  the directory
#   $2  the name of the cgroup below the root of each hierarchy
#   $3  the shell script that is the first process inside
#   $4… its arguments
#
# stdin: a pipe whose other end the owner holds. When the owner ends, even by SIGKILL, everything
#        inside is killed
# exit:  the program's status

dir=$1 cgroup=$2 init=$3
shift 3
trap '' HUP INT QUIT
# SIGTERM to this process group asks the program inside to end. Here it must not prevent the cleanup,
# and children must not inherit it as ignored.
trap : TERM
exec 3<&0 </dev/null

unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc --net --ipc --uts \
    /bin/sh "$init" "$@" 3<&- &
unshare=$!
(
    trap '' TERM
    read -r _ <&3
    kill -KILL "$unshare"
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-

# A signal interrupts `wait`, but not the process that it waits for.
while :; do
    wait "$unshare" 2>/dev/null
    status=$?
    kill -0 "$unshare" 2>/dev/null || break
done
kill -KILL "$watcher" 2>/dev/null

# A cgroup can be removed once its processes are gone, and the kernel takes a moment to end them.
tries=0
while [ "$tries" -lt 100 ]; do
    left=$(find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" 2>/dev/null)
    [ -n "$left" ] || break
    rmdir $left 2>/dev/null || sleep 0.1
    tries=$((tries + 1))
done
[ -z "$left" ] || echo "can't remove these cgroups:" $left >&2
rm -rf --one-file-system -- "$dir"
exit "$status"
