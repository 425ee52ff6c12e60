#!/bin/bash
# A database on a file system that is no local disk, here one that a program serves: it has no
# shared memory, readers get along with the sweep, and what a killed sweep leaves is gone on with, be
# it from a local disk. Needs bindfs or fuse2fs, and the right to mount.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
isolate --mount

mkdir served
serve()
{
    if command -v bindfs; then
        mkdir -p behind && bindfs behind served
    elif command -v fuse2fs && command -v mke2fs; then
        truncate -s 64M image && mke2fs -q -t ext4 image && fuse2fs -o fakeroot image served
    else
        false
    fi
}
serve >log 2>&1 || {
    echo "skipped: neither bindfs nor fuse2fs is there and may mount"
    exit 77
}
disks+=("$folder/served")
[ "$(stat -f -c %t served)" = 65735546 ] || fail "served is of type $(stat -f -c %t served)"

without_log() # DB
{
    expect "journal" "$(ask "$1" "PRAGMA journal_mode")" delete
    [ ! -e "$1-wal" ] && [ ! -e "$1-shm" ] || fail "SQLite's shared memory lies beside $1"
}
reads() # DB
{
    local code=0
    "$hylas" status "$1" >status.log 2>&1 || code=$?
    expect "exit code of status" $code 0
    "$hylas" report "$1" >report.log 2>&1 || code=$?
    expect "exit code of report" $code 0
}

begin plain -o served/x.db
wait_until "rank 1 trains" trains 1
without_log served/x.db
for ((i = 0; i < 5; i++)); do
    reads served/x.db
done
grep -q "running" status.log || fail "no run is running"
code=0
"$hylas" run sweep.yaml -o served/x.db >second.log 2>&1 || code=$?
expect "exit code of a second coordinator" $code 3
says "served/x.db lies on FUSE"
kill -KILL "$(rank 0)"
finish
reads served/x.db
recovers served/x.db
without_log served/x.db

# From a local disk, its log not taken in.
begin plain -o local.db
wait_until "rank 1 trains" trains 1
kill -KILL "$(rank 0)"
finish
wait_until "all processes are gone" all_gone
[ -s local.db-wal ] || fail "the kill has left no log"
cp local.db served/moved.db
cp local.db-wal served/moved.db-wal
exits 3 "$hylas" status served/moved.db
says "which cannot be read safely on FUSE"
exits 0 "$hylas" run sweep.yaml -o served/moved.db
without_log served/moved.db
reads served/moved.db
recovers served/moved.db
echo "all good"
