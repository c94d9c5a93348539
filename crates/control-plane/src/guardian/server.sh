# Runs one server and ends it when its owner ends, even by SIGKILL: then the kernel closes the
# owner's end of the pipe that is stdin here.
#
#   $1  file that takes the server's output
#   $2  seconds between SIGTERM and SIGKILL
#   $3… the server and its arguments
#
# stdin:  the line "kill" asks for SIGKILL at once, the end of input for SIGTERM
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

(
    order=term
    read -r order <&3 || order=term
    if [ "$order" != kill ]; then
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
