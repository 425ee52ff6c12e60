#!/bin/bash
# Two sweeps at once on one database: the second is refused with the first one's name, and the first
# never notices.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

begin plain -o two.db
wait_until "rank 1 trains" trains 1
head=$(rank 0)
trials="$(trial 0) $(trial 1)"
kill -STOP $trials # so that the first sweep lasts
refused() # COMMAND...
{
    local code=0
    "$@" >second.log 2>&1 || code=$?
    expect "exit code of a second coordinator" $code 3
    grep -q "two.db is being written by another sweep (process $head on" second.log ||
        fail "the second coordinator says: $(cat second.log)"
}
refused "$hylas" run sweep.yaml -o two.db
refused plain -o two.db
refused "$hylas" launch -n 2 sweep.yaml -o two.db
kill -CONT $trials
finish
expect "exit code of the first coordinator" $code 0
recovers two.db
says "all $runs runs are done already"
echo "all good"
