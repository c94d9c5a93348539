# Runs a program in namespaces of its own and removes what it leaves outside of them: control groups
# and its folder. The kernel does the rest: with the first process of a PID namespace all others in
# it end, and with the last of them its mounts and network interfaces go.
#
#   $1  the folder
#   $2  the name of the control group below each hierarchy's root
#   $3  the shell script that is the first process inside
#   $4… its arguments
#
# stdin: a pipe whose other end is held by the owner. When that ends, by SIGKILL too, everything
#        inside is killed.
# exit:  the program's status

folder=$1 group=$2 init=$3
shift 3
trap '' HUP INT QUIT
# The program inside is told the end by a signal to this group. It must not stop the cleaning, nor
# be ignored by those who inherit what is ignored.
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

# A signal ends `wait`, but not what is waited for.
while :; do
    wait "$unshare" 2>/dev/null
    status=$?
    kill -0 "$unshare" 2>/dev/null || break
done
kill -KILL "$watcher" 2>/dev/null

# A group can be removed when its processes are gone, and the kernel takes a moment to end them.
tries=0
while [ "$tries" -lt 100 ]; do
    left=$(find /sys/fs/cgroup -depth -type d -path "*/$group*" 2>/dev/null)
    [ -n "$left" ] || break
    rmdir $left 2>/dev/null || sleep 0.1
    tries=$((tries + 1))
done
[ -z "$left" ] || echo "these control groups could not be removed:" $left >&2
rm -rf --one-file-system -- "$folder"
exit "$status"
