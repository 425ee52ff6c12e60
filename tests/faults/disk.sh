#!/bin/bash
# Disks that are full, read-only or gone, under the checkpoints and under the database: what was
# acknowledged stays, the reason is told, and once the disk is well the sweep goes on.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
isolate --mount

reasons="SELECT DISTINCT reason FROM attempts WHERE status = 'failed'"
reason_is() # DB TEXT
{
    case "$(ask "$1" "$reasons")" in
    *"$2") ;;
    *) fail "reason of failed runs: $(ask "$1" "$reasons")" ;;
    esac
}
fill() # FOLDER
{
    cat /dev/zero >"$1/ballast" 2>/dev/null || true
}

# Under the checkpoints alone: runs fail, and the database has the reason.
disk full.db.ckpt 16k
exits 1 plain -o full.db
expect "runs failed" "$(count full.db failed)" $runs
reason_is full.db "No space left on device"
umount full.db.ckpt
recovers full.db

disk fixed.db.ckpt 16m
begin plain -o fixed.db
wait_until "rank 1 trains" trains 1
wait_until "the disk is read-only" mount -o remount,ro fixed.db.ckpt
finish
expect "exit code with checkpoints on a read-only disk" $code 1
reason_is fixed.db "Read-only file system"
umount fixed.db.ckpt
recovers fixed.db

# Somebody tidies up: only what runs at that moment may suffer.
begin plain -o tidy.db
wait_until "rank 1 trains" trains 1
mv tidy.db.ckpt away
finish
(($(count tidy.db failed) <= 2)) || fail "runs fail that began later: $(count tidy.db failed)"
recovers tidy.db

# Under the database alone, where no checkpoint that fails frees space: the sweep ends at once.
disk small 16m
disk small/x.db.ckpt 16m
begin plain -o small/x.db
wait_until "rank 1 trains" trains 1
fill small
finish
expect "exit code on a full disk" $code 3
says "free some space; what was written before is safe"
fill small # what the end has freed
# What is there can be read, and its report says so where it cannot be written.
exits 0 "$hylas" status small/x.db
exits 0 "$hylas" report small/x.db
exits 3 "$hylas" report small/x.db -o small/report.txt
says "No space left on device"
code=0
"$hylas" report small/x.db >small/report.txt 2>log || code=$?
expect "exit code of a report to a full disk" $code 3
exits 3 plain -o small/x.db
rm -f small/ballast small/report.txt
umount small/x.db.ckpt
recovers small/x.db

mount -o remount,ro small
exits 0 "$hylas" report small/x.db
exits 3 plain -o small/x.db
says "Read-only file system"
mount -o remount,rw small
recovers small/x.db

# Full when the sweep begins: nothing is left, or what can be read, and the next run takes it over.
disk begun 256k
for kept in 0 4 8 16 32 64 96 128 160; do
    head -c $((kept * 1024)) /dev/zero >begun/kept
    fill begun
    rm -f begun/kept
    exits 3 "$hylas" run sweep.yaml -o begun/x.db
    says "space"
    [ ! -e begun/x.db-lock ] || fail "a lock file is left with $kept KiB"
    [ -s begun/x.db ] || [ ! -e begun/x.db ] || fail "an empty database is left with $kept KiB"
    [ ! -e begun/x.db ] || exits 0 "$hylas" status begun/x.db
    if ((kept % 64 == 0)); then
        rm begun/ballast
        mount -o remount,size=16m begun
        recovers begun/x.db
        mount -o remount,size=256k begun
    fi
    rm -rf begun/*
done

# The database loses its name: what SQLite wrote to it from then on nobody would find.
mkdir here
begin plain -o here/x.db
wait_until "rank 1 trains" trains 1
mv here there
finish
expect "exit code without a database" $code 3
grep -qE "here/x.db was moved|folder of checkpoints here" log || fail "it does not say what is gone"
mv there here
recovers here/x.db
echo "all good"
