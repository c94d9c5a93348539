#!/bin/sh
# Copies the license files of every crate that is linked into the operator, and lists the license of
# each crate in crates.txt. Run it in the root of the repository after a build.
#
#   sh deploy/image/licenses.sh OUTPUT_FOLDER
set -eu

to=$1
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
mkdir -p "$to"
crates=$(cargo tree --locked --offline --package auth0-rotator --edges normal --prefix none \
    --format '{p}|{l}' | sed 's/ (\*)$//' | sort -u)
echo "$crates" | while IFS='|' read -r crate license; do
    set -- $crate
    name=$1 version=${2#v}
    printf '%s %s: %s\n' "$name" "$version" "$license"
    for text in "$registry"/*/"$name-$version"/LICEN[CS]E* "$registry"/*/"$name-$version"/COPYING* \
        "$registry"/*/"$name-$version"/NOTICE*; do
        [ ! -f "$text" ] || install -D -m 644 "$text" "$to/$name-$version/${text##*/}"
    done
done >"$to/crates.txt"
