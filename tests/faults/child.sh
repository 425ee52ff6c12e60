#!/bin/bash
# A trial's process is killed, crashes, hangs or needs more memory than it may have: its run alone
# fails, with the reason, and the others go on.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

reasons="SELECT status || ': ' || reason FROM attempts WHERE status <> 'done'"

for signal in KILL SEGV; do
    db=$signal.db
    begin plain -o $db
    wait_until "rank 1 trains" trains 1
    kill -$signal "$(trial 1)"
    finish
    expect "exit code after SIG$signal of a trial" $code 1
    expect "runs done" "$(count $db done)" $((runs - 1))
    case "$(ask $db "$reasons")" in
    "failed: killed by SIG$signal"*) ;;
    *) fail "reason after SIG$signal: $(ask $db "$reasons")" ;;
    esac
    recovers $db
done

# A trial that hangs is found by its silence. Another attempt is made where the sweep says so.
begin plain -o hang.db --set run.watchdog=1 --set run.retries=1
wait_until "rank 1 trains" trains 1
kill -STOP "$(trial 1)"
finish
expect "exit code after a hang" $code 0
expect "reason" "$(ask hang.db "$reasons")" "failed: killed: it reported nothing for 1 s"
expect "attempts" "$(ask hang.db 'SELECT count(*) FROM attempts')" $((runs + 1))
recovers hang.db

# The limit is met by every run of the sweep.
exits 1 plain -o memory.db --set run.memory=1Mi
expect "statuses" "$(count memory.db failed)" $runs
expect "reasons" "$(ask memory.db "$reasons AND reason NOT LIKE '%run.memory at 1.0 MiB: out of memory%'")" ""
recovers memory.db
echo "all good"
