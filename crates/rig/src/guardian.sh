# Runs the operator and ends it when its owner ends, even by SIGKILL: then the kernel closes the
# owner's end of the pipe that is stdin here.
#
#   $1  file that takes the operator's output
#   $2  folder to remove when the owner is gone without a word
#   $3… the operator and its arguments
#
# stdin:  the line "terminate" asks for SIGTERM and, 10 seconds later, SIGKILL; the line "kill" for
#         SIGKILL. The end of input without either means that the owner is gone
# stdout: one line, the operator's process id
# exit:   the operator's status

# The group of this process is not the terminal's, but a terminal that closes may signal it still.
trap '' HUP INT QUIT

log=$1 folder=$2
shift 2
exec 3<&0 </dev/null

"$@" >>"$log" 2>&1 3<&- &
operator=$!

# It holds stdin, and the operator doesn't.
(
    order=
    read -r order <&3
    case $order in
    terminate)
        kill -TERM "$operator"
        tenths=0
        while [ "$tenths" -lt 100 ] && kill -0 "$operator"; do
            sleep 0.1
            tenths=$((tenths + 1))
        done
        ;;
    kill) ;;
    *) rm -rf "$folder" ;;
    esac
    kill -KILL "$operator"
) >/dev/null 2>&1 &
watcher=$!

exec 3<&-
echo "$operator"
exec >/dev/null
wait "$operator"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
