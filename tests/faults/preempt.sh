#!/bin/bash
# mpirun itself is told to end, or is killed: every run under way leaves a checkpoint within ten
# seconds, and the resumed sweep equals an uninterrupted one.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

for signal in TERM USR1 KILL; do
    db=$signal.db
    begin plain -o $db --set run.checkpoint_every=0
    wait_until "rank 0 trains" trains_anything 0
    wait_until "rank 1 trains" trains_anything 1
    sleep 0.3 # into the run: a checkpoint of step 0 would be none
    under_way=$(for r in 0 1; do checkpoint_of $r; done)
    began=$SECONDS
    kill -$signal "$job"
    finish
    wait_until "all processes are gone" all_gone
    ((SECONDS - began <= 11)) || fail "SIG$signal: it took $((SECONDS - began)) s to leave"
    [ $signal != USR1 ] || expect "exit code after SIGUSR1" $code 75
    for checkpoint in $under_way; do
        key=$(basename "$checkpoint" .safetensors)
        [ -s "$checkpoint" ] ||
            expect "a run without a checkpoint" "$(ask $db "SELECT status FROM results
                WHERE key = '$key'")" done
    done
    recovers $db
done
echo "all good"
