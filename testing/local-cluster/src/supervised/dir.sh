# Removes a folder once everything that uses it has ended.
#
#   $1  the folder
#
# stdin: a pipe whose other end is held by the owner and by each server's guardian. It ends when
#        the last of them does. What the guardians have to say (a server that can't be executed)
#        arrives here as lines.

trap '' HUP INT QUIT

cat >>"$1/guardian.log"
rm -rf -- "$1"
