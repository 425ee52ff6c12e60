#!/bin/bash
# Two sweeps at once on one database: the second is refused with the first one's name, and the first
# never notices. Where somebody deletes the lock file the first stops, and never do both write.
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

begin plain -o gone.db
wait_until "rank 1 trains" trains 1
head=$(rank 0)
kill -STOP "$head" # it cannot leave first
rm gone.db-lock
before=$(contents gone.db)
for name in gone.db other.db; do
    ln -sf gone.db other.db
    exits 3 "$hylas" run sweep.yaml -o $name
    says "$name is being written by another sweep"
done
rm other.db
expect "what is there" "$(contents gone.db)" "$before"
kill -CONT "$head"
finish
expect "exit code of one that lost its lock" $code 3
says "gone.db-lock was deleted or replaced"
says "run the same command again to go on"
recovers gone.db

begin launch -o launched.db
wait_until "rank 1 trains" trains 1
rm launched.db-lock
finish
expect "exit code of a launch that lost its lock" $code 0
says "launched.db-lock was deleted or replaced"
recovers launched.db
echo "all good"
