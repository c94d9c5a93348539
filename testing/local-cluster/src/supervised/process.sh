# Runs one server and ends it when its owner ends, even by SIGKILL: then the kernel closes the
# owner's end of the pipe that is stdin here.
#
#   $1  file that takes the server's output
#   $2  seconds between SIGTERM and SIGKILL when the owner asks for the end
#   $3… the server and its arguments
#
# stdin:  the line "terminate" asks for SIGTERM and then SIGKILL, the line "kill" for SIGKILL. At
#         the end of input, when the owner is gone, the server has 2 seconds: nobody waits for
#         its answers any more, and an API server whose etcd ends with it would use up its time
# stdout: one line, the server's process id
# stderr: the pipe that the folder's guardian reads. It is open here until the server is gone, so
#         that the folder goes last
# exit:   the server's status

# The group of this process is not the terminal's, but a terminal that closes may signal it still.
trap '' HUP INT QUIT

log=$1 grace=$2
shift 2
exec 3<&0 </dev/null

"$@" >>"$log" 2>&1 3<&- &
server=$!

# The watcher must not hold stderr. It holds stdin, and the server doesn't.
(
    order=
    read -r order <&3
    case $order in
    kill) grace=0 ;;
    terminate) ;;
    *) grace=2 ;;
    esac
    if [ "$grace" -gt 0 ]; then
        kill -TERM "$server"
        tenths=0
        while [ "$tenths" -lt "$((grace * 10))" ]; do
            sleep 0.1
            kill -0 "$server" || exit 0
            tenths=$((tenths + 1))
        done
    fi
    kill -KILL "$server"
) >/dev/null 2>&1 &
watcher=$!

exec 3<&-
echo "$server"
exec >/dev/null
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
