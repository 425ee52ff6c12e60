#!/bin/bash
# Sweeps on real ranks: what they leave in the database, whatever happens to them.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
cleanup()
{
    local pids
    pids=$(jobs -p)
    [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
}

ranks()
{
    mpirun -n 2 --oversubscribe "$@"
}
# The trials among a process's children and grandchildren (a rank's, or mpirun's ranks').
trials() # PID
{
    local near pid
    near=$(children "$1")
    for pid in $near $(for pid in $near; do children "$pid"; done); do
        ! is_trial "$pid" || echo "$pid"
    done
}
# Waits until something trains, and SECONDS more so that it is some way into it. Between two runs nothing
# trains: then it waits again.
wait_for_trials() # PID [SECONDS]
{
    local i found
    for i in $(seq 1200); do
        if [ -n "$(trials "$1")" ]; then
            sleep "${2:-0.3}"
            found=$(trials "$1")
            [ -z "$found" ] || {
                echo "$found"
                return
            }
        fi
        sleep 0.05
    done
    fail "nothing trains"
}

cat >sweep.yaml <<'END'
name: sweep
model: {d_model: 32, layers: 2, heads: 2, mlp: 32}
data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 8}]}
train: {steps: 10, batch: 2, seq_len: 16}
run: {retries: 0}
matrix:
  mixer.variant: [gla, retnet]
  mixer.ratio: [pure, "1:1", full]
  train.seed: [0, 1]
END
statuses="SELECT status, count(*) FROM results GROUP BY status"
attempts="SELECT group_concat(attempts, ' ') FROM (SELECT attempts FROM progress ORDER BY run)"

# Two ranks train every cell once; a full model is one run under both variants.
exits 0 ranks "$hylas" run sweep.yaml
expect "statuses" "$(ask sweep.db "$statuses")" "done|10"
expect "ranks at work" "$(ask sweep.db 'SELECT count(DISTINCT rank) FROM progress')" 2
[ ! -e sweep.db.ckpt ] || fail "checkpoints of finished runs are left"

# Running again trains nothing; a new value trains its own cells only.
exits 0 ranks "$hylas" run sweep.yaml
says "all 10 runs are done already"
expect "attempts" "$(ask sweep.db "$attempts")" "1 1 1 1 1 1 1 1 1 1"
sed 's/train.seed: \[0, 1\]/train.seed: [0, 1, 2]/' sweep.yaml >wider.yaml
exits 0 "$hylas" run wider.yaml
expect "attempts" "$(ask sweep.db "$attempts")" "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"

# Results do not depend on the number of ranks.
exits 0 "$hylas" run sweep.yaml -o alone.db
curves="SELECT key, step, h.name, h.value FROM history h JOIN results USING (run)
        JOIN (SELECT key FROM results WHERE seed < 2) USING (key)
        WHERE h.name LIKE 'train.%' OR h.name LIKE 'valid.%' ORDER BY 1, 3, 2"
expect "curves" "$(ask alone.db "$curves" | md5sum)" "$(ask sweep.db "$curves" | md5sum)"

one=(--set 'mixer={variant: gla, ratio: pure}' --set train.seed=0)
long=("${one[@]}" --set train.steps=15000)

# A signal checkpoints, the same command goes on, and the curve is that of an undisturbed run.
exits 0 "$hylas" run sweep.yaml -o whole.db "${long[@]}"
for signal in TERM USR1 INT; do
    rm -rf cut.db*
    "$hylas" run sweep.yaml -o cut.db "${long[@]}" >log 2>&1 &
    pid=$!
    wait_for_trials $pid >/dev/null
    kill -$signal $pid
    code=0
    wait $pid || code=$?
    expect "exit code after SIG$signal" $code 75
    says "run the same command again"
    expect "status" "$(ask cut.db 'SELECT DISTINCT status FROM results')" interrupted
    exits 0 "$hylas" run sweep.yaml -o cut.db "${long[@]}"
    expect "curve after SIG$signal" "$(ask cut.db "$curves" | md5sum)" \
        "$(ask whole.db "$curves" | md5sum)"
done

# kill -9 of mpirun loses nothing that was done and leaves no process; the next run completes.
mpirun -n 2 --oversubscribe "$hylas" run sweep.yaml -o killed.db --set train.steps=4000 >log 2>&1 &
pid=$!
left=$(wait_for_trials $pid)
kill -9 $pid
wait $pid 2>/dev/null || true
for i in $(seq 100); do
    alive=0
    for trial in $left; do
        ! grep -qs trial "/proc/$trial/cmdline" || alive=1
    done
    [ $alive = 1 ] || break
    sleep 0.1
done
expect "trials that outlived mpirun" $alive 0
expect "integrity" "$(ask killed.db 'PRAGMA integrity_check')" ok
for i in $(seq 50); do # until the ranks have let go of the database
    code=0
    ranks "$hylas" run sweep.yaml -o killed.db --set train.steps=4000 >log 2>&1 || code=$?
    [ $code = 3 ] || break
    sleep 0.1
done
expect "exit code" $code 0
expect "statuses" "$(ask killed.db "$statuses")" "done|10"

# A trial that dies costs its own run; the reason is kept, and the next run repairs it.
"$hylas" run sweep.yaml -o crash.db --set train.steps=4000 >log 2>&1 &
pid=$!
kill -SEGV $(wait_for_trials $pid 0 | head -n 1)
code=0
wait $pid || code=$?
expect "exit code" $code 1
expect "statuses" "$(ask crash.db "$statuses")" "done|9
failed|1"
expect "reason" "$(ask crash.db "SELECT reason FROM progress WHERE status = 'failed'")" \
    "killed by SIGSEGV"
exits 0 "$hylas" run sweep.yaml -o crash.db --set train.steps=4000
expect "attempts" "$(ask crash.db 'SELECT sum(attempts) FROM progress')" 11

# A failed run is tried again as often as retries says.
"$hylas" run sweep.yaml -o again.db "${long[@]}" --set run.retries=1 >log 2>&1 &
pid=$!
kill -SEGV $(wait_for_trials $pid 0 | head -n 1)
wait $pid || fail "the second attempt failed"
says "is tried again"
expect "attempts" "$(ask again.db 'SELECT attempts FROM progress')" 2

# A run that takes too long is stopped.
exits 1 "$hylas" run sweep.yaml -o slow.db "${one[@]}" --set train.steps=1e6 --set run.timeout=0.5
expect "status" "$(ask slow.db 'SELECT DISTINCT status FROM results')" timeout

# One writer.
"$hylas" run sweep.yaml -o busy.db "${long[@]}" >/dev/null 2>&1 &
pid=$!
wait_for_trials $pid >/dev/null
exits 3 "$hylas" run sweep.yaml -o busy.db
exits 0 "$hylas" plan sweep.yaml -o busy.db
wait $pid

# plan trains nothing and shows what is done.
exits 0 "$hylas" plan sweep.yaml -o crash.db --set train.steps=4000
says "10 runs (12 combinations, some of which are the same run), 0 to train"
exits 0 "$hylas" plan sweep.yaml -o none.db
says "10 to train"
[ ! -e none.db ] || fail "plan made a database"
: >empty.db
exits 0 "$hylas" plan sweep.yaml -o empty.db
says "10 to train"

# train: one run in the foreground.
exits 0 "$hylas" train sweep.yaml --run 1
says "train.loss"
exits 2 "$hylas" train sweep.yaml
exits 2 "$hylas" train sweep.yaml --run 11
says "has 10 runs"

# What is wrong ends with its exit code and a message that names it.
wrong() # CODE SAYS ARGUMENTS...
{
    local code=$1 text=$2
    shift 2
    exits "$code" "$hylas" "$@"
    says "$text"
}
wrong 2 "commands:"
wrong 2 "unknown command 'rnu'; did you mean 'run'?" rnu
wrong 2 "the sweep file is missing" run
wrong 2 "unexpected argument 'b'" run a b
wrong 2 "cannot read sweep file none.yaml" run none.yaml
wrong 2 "cannot read sweep file ." run .
wrong 2 "unknown option --ouput; did you mean --output?" run sweep.yaml --ouput=x
wrong 2 "unknown option -x" run sweep.yaml -x
wrong 2 "option -o needs a value" run sweep.yaml -o
wrong 2 "did you mean 'steps'?" run sweep.yaml --set train.stpes=3
wrong 2 "unknown format 'cvs'; did you mean 'csv'?" plan sweep.yaml --format cvs
wrong 2 "-n takes a whole number from 1" plan sweep.yaml -n 0
wrong 3 "nowhere/x.db" run sweep.yaml -o nowhere/x.db
wrong 2 "unknown variant 'glaa'; did you mean 'gla'?" variants glaa
wrong 2 "unknown task 'mqra'; did you mean 'mqar'?" tasks mqra
wrong 0 "gate_rank" variants gla
wrong 0 "vocab" tasks mqar
wrong 0 "usage: hylas run" run --help
wrong 0 "hylas " --version
exits 2 ranks "$hylas" run none.yaml
says "cannot read sweep file none.yaml"
echo "all good"
