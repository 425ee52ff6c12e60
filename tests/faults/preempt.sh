#!/bin/bash
# mpirun itself is told to end, or is killed: every run under way leaves a checkpoint within ten
# seconds, and the resumed sweep equals an uninterrupted one.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

step_of() # CHECKPOINT
{
    grep -ao '"step":"[0-9]*"' "$1" | tr -dc 0-9
}

for signal in TERM USR1 KILL; do
    db=$signal.db
    # The only checkpoint that the run makes by itself tells that it is half way.
    begin plain -o $db --set run.checkpoint_every=1500
    wait_until "rank 0 trains" trains 0
    began=$SECONDS
    kill -$signal "$job"
    finish
    wait_until "all processes are gone" all_gone
    ((SECONDS - began <= 11)) || fail "SIG$signal: it took $((SECONDS - began)) s to leave"
    [ $signal != USR1 ] || expect "exit code after SIGUSR1" $code 75
    if [ -e "$checkpoint" ]; then
        (($(step_of "$checkpoint") > 1500)) || fail "SIG$signal: work after step 1500 is lost"
    else
        expect "a run without a checkpoint" "$(ask $db "SELECT status FROM results
            WHERE key = '$(basename "$checkpoint" .safetensors)'")" done
    fi
    recovers $db
done
echo "all good"
