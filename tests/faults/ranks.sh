#!/bin/bash
# Ranks die or stand still: the others finish the sweep where mpirun lets them; where rank 0 is dead, they
# leave by themselves and what they had done is on disk.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# A worker: its run goes to another rank, which goes on from the checkpoint.
for signal in KILL SEGV; do
    db=worker_$signal.db
    begin recovering -o $db
    wait_until "rank 2 trains" trains 2
    kill -$signal "$(rank 2)"
    finish
    says "rank 2 has been silent"
    expect "runs done without rank 2" "$(count $db done)" $runs
    expect "attempts taken back" "$(ask $db "SELECT count(*) FROM attempts
        WHERE status = 'interrupted' AND rank = 2 AND reason = 'its rank 2 was lost'")" 1
    recovers $db
done

# One that hung may wake up again, and works on.
begin recovering -o wake.db --set train.steps=2400
wait_until "rank 2 trains" trains 2
stopped=$(rank 2)
kill -STOP "$stopped"
wait_until "rank 2 is lost" grep -q "rank 2 has been silent" log
kill -CONT "$stopped"
finish
expect "runs done" "$(count wake.db done)" $runs
expect "integrity" "$(ask wake.db 'PRAGMA integrity_check')" ok

# Rank 0, which alone writes the database.
begin recovering -o head.db
wait_until "rank 0 trains" trains 0
wait_until "rank 1 trains" trains 1
kill -KILL "$(rank 0)"
finish
says "rank 0 has been silent"
recovers head.db

# Without --enable-recovery mpirun ends the job with any rank.
begin plain -o plain.db
wait_until "rank 1 trains" trains 1
kill -KILL "$(rank 1)"
finish
[ $code != 0 ] || fail "mpirun hides the death of a rank"
recovers plain.db
echo "all good"
