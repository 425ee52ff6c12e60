#!/bin/bash
# Files that are damaged: a checkpoint only costs the time that it would have saved, a database is
# refused before anything is built upon it.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# One run is enough here.
sed -i 's/\[gla, retnet\]/[gla]/; s/\[0, 1\]/[0]/' sweep.yaml
runs=1

length() # FILE
{
    stat -c %s "$1"
}
tensors() # FILE: where they begin
{
    echo $((8 + $(od -An -tu8 -N 8 "$1")))
}
flip() # OFFSET FILE: another byte in the place of what is there
{
    local byte
    byte=$(od -An -tu1 -j "$1" -N 1 "$2")
    printf "\\x$(printf %x $((byte ^ 0x10)))" |
        dd of="$2" bs=1 seek="$1" count=1 conv=notrunc status=none
}
flip_header()
{
    flip $(($(tensors "$1") / 2)) "$1"
}
flip_first()
{
    flip "$(tensors "$1")" "$1"
}
flip_last()
{
    flip $(($(length "$1") - 1)) "$1"
}
halve()
{
    truncate -s $(($(length "$1") / 2)) "$1"
}

# A sweep that was cut off in the middle of a run.
begin "$hylas" run sweep.yaml -o cut.db
has_checkpoint()
{
    ls cut.db.ckpt/*.safetensors
}
wait_until "there is a checkpoint" has_checkpoint
kill -KILL "$job"
finish
wait_until "all processes are gone" all_gone
has_checkpoint >log || fail "the run has ended"

try() # NAME REFUSED COMMAND...: with the checkpoints damaged by a command, which gets each one
{
    local name=$1 refused=$2 file
    shift 2
    rm -rf try.db*
    cp cut.db try.db
    [ ! -e cut.db-wal ] || cp cut.db-wal try.db-wal
    cp -r cut.db.ckpt try.db.ckpt
    for file in try.db.ckpt/*.safetensors; do
        "$@" "$file"
    done
    recovers try.db
    expect "checkpoints refused ($name)" "$(ask try.db "SELECT count(*) > 0 FROM facts
        WHERE name = 'checkpoint_refused'")" "$refused"
}
try intact 0 true
try "length of the header" 1 flip 3
try "header" 1 flip_header
try "metadata" 1 sed -i 's/"step":"/"step":"1/'
try "first tensor" 1 flip_first
try "last byte" 1 flip_last
try "empty" 1 truncate -s 0
try "cut in the first number" 1 truncate -s 7
try "cut in the middle" 1 halve
try "without the last byte" 1 truncate -s -1

# Pages of the finished database in which no schema lies.
reference >/dev/null
pages=$(sqlite3 reference.db 'PRAGMA page_count')
for page in $(sqlite3 reference.db "SELECT max(pageno) FROM dbstat
        WHERE name IN ('point', 'run', 'score') GROUP BY name"); do
    cp reference.db damaged.db
    dd if=/dev/urandom of=damaged.db bs=4096 seek=$((page - 1)) count=1 conv=notrunc status=none
    exits 3 "$hylas" run sweep.yaml -o damaged.db
    says "damaged.db"
    says "restore it from a copy"
done
cp reference.db damaged.db
truncate -s $((4096 * (pages / 2))) damaged.db
exits 3 "$hylas" run sweep.yaml -o damaged.db
cp reference.db damaged.db
printf 'no database at all' | dd of=damaged.db conv=notrunc status=none
exits 3 "$hylas" run sweep.yaml -o damaged.db
says "it is no SQLite file"

# As the message says: from a copy, made while the sweep was at work, it goes on.
begin "$hylas" run sweep.yaml -o live.db
wait_until "the sweep has begun" test -e live.db.ckpt
sqlite3 live.db '.backup copy.db'
finish
expect "exit code" $code 0
recovers copy.db
echo "all good"
