#!/bin/sh
# Copies the licences of everything that is linked into the operator: the files that come with each
# crate, and a list of which crate has which licence.
#
#   $1  the folder to write to; run in the checkout, after a build
set -eu

to=$1
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
mkdir -p "$to"
crates=$(cargo tree --locked --offline --package auth0-rotator --edges normal --prefix none \
    --format '{p}|{l}' | sed 's/ (\*)$//' | sort -u)
echo "$crates" | while IFS='|' read -r crate licence; do
    set -- $crate
    name=$1 version=${2#v}
    printf '%s %s: %s\n' "$name" "$version" "$licence"
    for text in "$registry"/*/"$name-$version"/LICEN[CS]E* "$registry"/*/"$name-$version"/COPYING* \
        "$registry"/*/"$name-$version"/NOTICE*; do
        [ ! -f "$text" ] || install -D -m 644 "$text" "$to/$name-$version/${text##*/}"
    done
done >"$to/crates.txt"
