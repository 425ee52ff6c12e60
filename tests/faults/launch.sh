#!/bin/bash
# `hylas launch` sees a sweep through whatever happens to its processes, and its exit code is the
# sweep's.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Starts a launch, waits until the rank trains, and harms the process that a command names.
harm() # DB RANK SIGNAL COMMAND...
{
    local db=$1 rank=$2 signal=$3
    shift 3
    begin launch -o "$db"
    wait_until "rank $rank trains" trains "$rank"
    victim=$("$@")
    kill -"$signal" "$victim"
    finish
    expect "exit code after SIG$signal of $*" $code 0
    is_gone "$victim" || fail "SIG$signal of $*: the process outlived the sweep"
    recovers "$db"
}

harm worker.db 2 KILL rank 2
says "all $runs runs are done already"
expect "attempts" "$(ask worker.db 'SELECT count(*) FROM attempts')" $((runs + 1))
harm hang.db 2 STOP rank 2
harm head.db 0 SEGV rank 0
harm deaf.db 0 STOP rank 0
harm mpirun.db 1 KILL mpirun_of_job

# Rank 0 hangs before it is at work, when all that is to be seen of it is its lock.
begin launch -o early.db
wait_until "rank 0 has the lock" test -e early.db-lock
kill -STOP "$(rank 0)"
finish
expect "exit code after a hang at the start" $code 0
recovers early.db

# A signal is preemption: every run has its checkpoint, and 75 says that the same command goes on.
for signal in TERM USR1; do
    begin launch -o $signal.db
    wait_until "rank 1 trains" trains 1
    kill -$signal "$job"
    finish
    expect "exit code after SIG$signal" $code 75
    says "run the same command again"
    recovers $signal.db "$hylas" launch -n 3 sweep.yaml -o $signal.db
done

exits 1 launch -o memory.db --set run.memory=1Mi
says "0 of $runs runs are done, 0 pruned, 0 diverged, $runs failed"
# What the sweep's own rule has pruned is not left to train.
exits 0 launch -o pruned.db --set 'run.halving={min_steps: 10}'
[ "$(ask pruned.db "SELECT count(*) FROM results WHERE status = 'pruned'")" -gt 0 ] ||
    fail "nothing was pruned"
exits 2 launch -o none.db --set train.stpes=1
exits 2 launch -o none.db -n 0
exits 3 launch -o none.db -- --no-such-option
says "before the sweep began"
exits 3 env PATH=/nonexistent "$hylas" launch -n 2 sweep.yaml -o none.db
says "cannot start mpirun"
echo "all good"
