#!/bin/bash
# Readers never block or break a sweep that runs, and it never breaks them: four of them in a loop,
# and one that holds its view of the database from beginning to end.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
runs=900
sweep=
cleanup()
{
    : >over # ends the readers
    [ -z "$sweep" ] || kill -9 "$sweep" 2>/dev/null || true
    wait
}

cat >sweep.yaml <<END
data: {train: [{task: noop, points: 50}]}
mixer: {variant: gla, ratio: pure}
train: {steps: 50}
run: {isolate: none}
matrix: {train.lr: [1e-4, 3e-4, 1e-3], train.seed: [$(seq -s, $((runs / 3)))]}
END
mpirun -n 2 --oversubscribe "$hylas" --quiet run sweep.yaml -o sweep.db >log 2>&1 &
sweep=$!
for ((i = 0; i < 1200; i++)); do
    done=$(sqlite3 -readonly sweep.db "SELECT count(*) FROM results WHERE status = 'done'" \
        2>/dev/null || true)
    [ "${done:-0}" = 0 ] || break
    sleep 0.05
done
[ "${done:-0}" -gt 0 ] || fail "nothing is done"

# Reads on until the sweep is over, once at least; what goes wrong is in NAME.log.
reader() # NAME COMMAND...
{
    local name=$1 count=0
    shift
    until [ -e over ] && [ $count -gt 0 ]; do
        "$@" >"$name.out" 2>>"$name.log" || echo "$name: exit code $?" >>"$name.log"
        count=$((count + 1))
    done
    echo "$count" >"$name.count"
}
reader status "$hylas" status sweep.db &
reader report "$hylas" report sweep.db &
reader history sqlite3 -readonly sweep.db "SELECT count(*), sum(value) FROM history" &
reader check sqlite3 -readonly sweep.db "PRAGMA integrity_check" &

# The one that holds on: what it sees does not change.
coproc holder { sqlite3 -readonly sweep.db; }
exec 5<&"${holder[0]}" 6>&"${holder[1]}"
view="SELECT count(*) || ' ' || sum(status = 'done') FROM run;"
echo "BEGIN; $view" >&6
read -r -t 60 before <&5 || fail "the reader that holds on got no answer"

code=0
wait "$sweep" || code=$?
sweep=
[ $code = 0 ] || fail "the sweep ended with $code"
echo "$view COMMIT; $view" >&6
echo ".quit" >&6
read -r -t 60 same <&5 || fail "the reader that holds on was cut off"
read -r -t 60 after <&5 || fail "the reader that held on sees nothing new"
[ "$before" = "$same" ] || fail "the view changed from '$before' to '$same'"
exec 5<&- 6>&-
[ "$after" = "$runs $runs" ] || fail "the sweep ended with '$after' of $runs runs done"

: >over
wait
for name in status report history check; do
    [ ! -s $name.log ] || fail "reader $name"
    [ "$(cat $name.count)" -gt 0 ] || fail "reader $name did not read"
done
[ "$(cat check.out)" = ok ] || fail "the database is damaged"
[ "$(cut -d '|' -f 1 history.out)" = $((51 * runs)) ] || fail "rows are missing: $(cat history.out)"
echo "all good"
