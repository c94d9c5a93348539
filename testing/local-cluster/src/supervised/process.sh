# Supervises one program: ends it when the owner ends, even if SIGKILL ends the owner. The kernel then
# closes the owner's end of the pipe that is stdin here.
#
#   $1  file to which the program's output is appended
#   $2  seconds between SIGTERM and SIGKILL when the owner requests termination
#   $3  seconds between SIGTERM and SIGKILL when the owner is gone; 0 sends SIGKILL at once
#   $4… the program and its arguments
#
# stdin:  the line "terminate" requests SIGTERM and then SIGKILL, the line "kill" requests SIGKILL. End
#         of file without either means that the owner is gone
# stdout: one line with the program's process id
# stderr: stays open until the program has ended. If it is the pipe of a directory's supervisor, the
#         directory is removed after that
# exit:   the program's status

# This process group isn't the terminal's, but a closing terminal may still signal it.
trap '' HUP INT QUIT

log=$1 grace_period=$2 orphan_grace_period=$3
shift 3
exec 3<&0 </dev/null

"$@" >>"$log" 2>&1 3<&- &
program=$!

# The watcher holds stdin open, which the program doesn't, but not stderr.
(
    request=
    read -r request <&3
    case $request in
    kill) grace_period=0 ;;
    terminate) ;;
    *) grace_period=$orphan_grace_period ;;
    esac
    if [ "$grace_period" -gt 0 ]; then
        kill -TERM "$program"
        tenths=0
        while [ "$tenths" -lt "$((grace_period * 10))" ]; do
            sleep 0.1
            kill -0 "$program" || exit 0
            tenths=$((tenths + 1))
        done
    fi
    kill -KILL "$program"
) >/dev/null 2>&1 &
watcher=$!

exec 3<&-
echo "$program"
exec >/dev/null
wait "$program"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
