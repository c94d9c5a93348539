# Supervises one directory: removes it once everything that uses it has ended.
#
#   $1  the directory
#
# stdin: a pipe. The owner and the supervisor of each program that uses the directory hold its other
#        end, so the end of file comes when the last of them has ended. Their messages, such as a log
#        that can't be opened, arrive here as lines

trap '' HUP INT QUIT

cat >>"$1/supervisor.log"
rm -rf -- "$1"
