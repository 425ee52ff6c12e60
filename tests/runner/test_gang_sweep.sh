#!/bin/bash
# Gangs: runs that train in one process and one graph end with the values that they have alone,
# whatever becomes of the others.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

sweep() # CODE DB OPTIONS...
{
    local code=$1 db=$2
    shift 2
    exits "$code" "$hylas" run sweep.yaml -o "$db" "$@"
}
curves=%
# All that a sweep found out, times apart; of done runs, or of those of a condition.
values() # DB [CONDITION]
{
    local runs="(SELECT * FROM results WHERE ${2:-status = 'done'})"
    ask "$1" "SELECT key, status, params, train_bytes, state_bytes, cache_bytes, flops_per_token,
                     tokens, recall_valid, recall_test FROM $runs ORDER BY key;
              SELECT key, step, h.name, h.value FROM history h JOIN $runs USING (run)
              WHERE h.name LIKE '$curves' ORDER BY 1, 3, 2;
              SELECT key, task, split, slice, metric, s.value FROM slices s JOIN $runs USING (run)
              WHERE task <> 'speed' ORDER BY 1, 2, 3, 4, 5"
}
same() # WHAT DB DB [CONDITION]
{
    values "$2" "${4:-}" >one
    values "$3" "${4:-}" >other
    [ -s one ] || fail "$1: $2 has no values"
    cmp -s one other || fail "$1: $(diff one other | head -n 5)"
}
# Starts a sweep, and waits until a history is that long.
begin() # DB STEP OPTIONS...
{
    local db=$1 step=$2
    shift 2
    "$hylas" run sweep.yaml -o "$db" "$@" >log 2>&1 &
    pid=$!
    until [ -s "$db" ] && [ "$(ask "$db" "SELECT coalesce(max(step), 0) FROM history" \
        2>/dev/null || echo 0)" -ge "$step" ]; do
        kill -0 $pid 2>/dev/null || fail "it ended before it could be stopped"
        sleep 0.02
    done
}
finish() # WANTED
{
    local code=0
    wait $pid || code=$?
    expect "exit code" $code "$1"
}

cat >usual.yaml <<'YAML'
model: {d_model: 32, layers: 2, heads: 2, mlp: 32}
mixer: {variant: gla, ratio: "1:1"}
data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 32}]}
train: {steps: 60, batch: 4, seq_len: 16}
run: {device: cpu}
eval: {every: 20}
matrix:
  train.lr: [1e-3, 1e-2]
  train.seed: [0, 1]
  train.weight_decay: [0, 0.1]
YAML

cp usual.yaml sweep.yaml

# The plan says who trains together; on a CPU nobody does unless told to.
exits 0 "$hylas" plan sweep.yaml --set run.gang=4
says "8 to train in 2 gangs"
"$hylas" plan sweep.yaml --set run.gang=3 --format csv >log
expect "gangs of the plan" "$(cut -d , -f 12 log | tail -n +2 | tr '\n' ' ')" "1 1 1 2 2 2 3 3 "
"$hylas" plan sweep.yaml --set run.gang=auto >log
! grep -q "gangs" log || fail "gangs on a CPU"
exits 2 "$hylas" plan sweep.yaml --set run.gang=many
says "gang in section run must be an integer or auto"

# Gangs of any size give what runs give alone.
sweep 0 alone.db
sweep 0 four.db --set run.gang=4
sweep 0 three.db --set run.gang=3
same "gangs of 4" alone.db four.db
same "gangs of 3" alone.db three.db
expect "members" "$(ask three.db "SELECT name, value, count(*) FROM facts WHERE name = 'gang'
                                  GROUP BY 2 ORDER BY 2")" "gang|2.0|2
gang|3.0|6"
# Times are shares: they add up to less than what each member waited.
expect "time of the gang" "$(ask four.db "SELECT count(*) FROM results WHERE wall_s <= 0")" 0

# Two ranks, a gang each.
mpirun -n 2 --oversubscribe "$hylas" run sweep.yaml -o ranks.db --set run.gang=4 >log 2>&1 ||
    fail "two ranks"
same "two ranks" alone.db ranks.db

# Rules end members one by one.
rule='run.stop={metric: recall, at: 0.1}'
sweep 0 stop_alone.db --set "$rule"
sweep 0 stop.db --set "$rule" --set run.gang=8
same "early ends" stop_alone.db stop.db
[ "$(ask stop.db "SELECT count(DISTINCT tokens) FROM results")" -gt 1 ] || fail "all ended at once"
halving='run.halving={min_steps: 10}'
sweep 0 halving.db --set "$halving" --set run.gang=8
expect "statuses" "$(ask halving.db "SELECT count(*) FROM results
                                    WHERE status NOT IN ('done', 'pruned')")" 0
[ "$(ask halving.db "SELECT count(*) FROM results WHERE status = 'pruned'")" -gt 3 ] ||
    fail "hardly anything was pruned"
sweep 0 halving.db --set run.gang=3
curves=train.% # rungs are evaluations more
same "runs that went on from their rungs" alone.db halving.db
curves=%
[ ! -e halving.db.ckpt ] || fail "checkpoints are left"

# A member that diverges does so alone: this rate and decay blow weights up a thousandfold per step.
sed 's/lr: \[.*/lr: [1e-3, 100]/; s/decay: \[.*/decay: [0, 10]/' usual.yaml >sweep.yaml
sweep 1 diverging_alone.db
sweep 1 diverging.db --set run.gang=8
expect "runs that diverge" "$(ask diverging.db "SELECT seed FROM results WHERE lr = 100 AND
    status = 'diverged' AND json_extract(config, '\$.train.weight_decay') = 10 ORDER BY 1")" "0
1"
expect "the others" "$(ask diverging.db "SELECT count(*) FROM results
                                         WHERE lr < 1 AND status = 'done'")" 4
same "beside a member that diverged" diverging_alone.db diverging.db "status <> 'failed'"
sed '/weight_decay/d' usual.yaml >sweep.yaml

# Stopped in the middle, each member goes on alone or in another gang.
long=(--set train.steps=10000 --set eval.every=2500)
sweep 0 long.db "${long[@]}" --set run.gang=4
# So are processor times: one thread had no more of the processor than time passed.
expect "processor times" "$(ask long.db "SELECT count(*), sum(value) < sum(wall_s) + 1
    FROM results JOIN facts f USING (run) WHERE f.name = 'cpu_s' AND value > 0")" "4|1"
for after in 1 3; do
    begin "stopped$after.db" 400 "${long[@]}" --set run.gang=4
    kill -TERM $pid
    finish 75
    expect "checkpoints" "$(find "stopped$after.db.ckpt" -name '*.safetensors' | wc -l)" 4
    sweep 0 "stopped$after.db" "${long[@]}" --set run.gang=$after
    expect "runs that were resumed" "$(ask "stopped$after.db" "
        SELECT count(*) FROM facts WHERE name = 'resumed_at' AND value > 0")" 4
    same "resumed in gangs of $after" long.db "stopped$after.db"
done

# A gang that dies is tried again as single runs, who are not to blame for each other.
begin killed.db 1500 "${long[@]}" --set run.gang=4 --set run.checkpoint_every=1000 \
    --set run.retries=0
for child in $(children $pid); do
    ! is_trial "$child" || kill -KILL "$child"
done
finish 0
same "after the death of a gang" long.db killed.db
expect "ends of the gang that died" "$(ask killed.db "
    SELECT count(*) FROM attempts WHERE reason LIKE 'killed by SIGKILL%'")" 4
echo "all good"
