#!/bin/bash
# Sweeps that stop runs early, by a rule and by successive halving: what they leave in the database.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

sweep() # DB OPTIONS...
{
    local db=$1
    shift
    mpirun -n 2 --oversubscribe "$hylas" run sweep.yaml -o "$db" "$@" >log 2>&1
}

# Nine runs that end with a recall of .1 to .9, and have got to their share of it along the way.
{
    echo "data: {train: [{task: noop, points: 100}]}"
    echo "mixer: {variant: gla, ratio: pure}"
    echo "train: {steps: 100}"
    echo "run: {isolate: none, halving: {min_steps: 10, factor: 3}}"
    echo "matrix:"
    echo "  data.train:"
    for i in 5 1 9 3 8 2 7 4 6; do
        echo "    - [{task: noop, points: 100, recall: 0.$i}]"
    done
} >sweep.yaml

# The best run finishes; who was pruned stands on a rung, says why, and has no test score.
sweep a.db
expect "the best" "$(ask a.db "SELECT recall_test FROM results WHERE status = 'done'
                              ORDER BY recall_test DESC LIMIT 1")" 0.9
[ "$(ask a.db "SELECT count(*) FROM results WHERE status = 'pruned'")" -ge 4 ] ||
    fail "hardly anything was pruned"
expect "other statuses" "$(ask a.db "SELECT count(*) FROM results
                                    WHERE status NOT IN ('done', 'pruned')")" 0
expect "where the pruned stand" "$(ask a.db "
    SELECT count(*) FROM results r WHERE status = 'pruned' AND
        (SELECT max(step) FROM history h WHERE h.run = r.run) NOT IN (10, 30, 90)")" 0
expect "scores of the pruned" "$(ask a.db "SELECT count(recall_test) FROM results
                                          WHERE status = 'pruned'")" 0
expect "reasons" "$(ask a.db "SELECT count(*) FROM progress WHERE status = 'pruned' AND
                             reason NOT LIKE 'recall % after % steps: not among the best %'")" 0
expect "rungs" "$(ask a.db "SELECT DISTINCT step FROM history WHERE name = 'valid.recall'
                          ORDER BY 1")" \
    "10
30
90
100"
"$hylas" report a.db >log
grep -q "1 of 1 runs were pruned before their end" log || fail "the report does not say it"
"$hylas" status a.db >log
grep -q "not among the best" log || fail "the status does not say why"
before=$(ask a.db "SELECT name, status, reason, attempts FROM progress")

# Running again trains nothing. More runs are compared with those that were.
sweep a.db
expect "a second run" "$(ask a.db "SELECT name, status, reason, attempts FROM progress")" "$before"
sed 's/recall: 0.6/recall: 0.95/' sweep.yaml >wider.yaml
"$hylas" run wider.yaml -o a.db >log 2>&1
expect "how far the new best came" "$(ask a.db "
    SELECT max(step) FROM history WHERE name = 'valid.recall' AND
        run IN (SELECT run FROM results WHERE name LIKE '%0.95%')")" 90

# Without the rule the pruned ones are trained to their end.
sweep b.db
sweep b.db --set run.halving=null
expect "statuses" "$(ask b.db "SELECT status, count(*) FROM results GROUP BY 1")" "done|9"

# A rule that compares within cells finishes a run in each.
sweep c.db --set run.halving.among=cell --set 'data.train=[{task: noop}]' --set mixer.ratio=pure
expect "one run" "$(ask c.db "SELECT status, count(*) FROM results GROUP BY 1")" "done|1"

# Models: a run that stood on rungs ends as one that did not, and an interruption changes nothing.
cat >sweep.yaml <<'END'
model: {d_model: 32, layers: 1, heads: 2, mlp: 32}
mixer: {variant: gla, ratio: pure}
data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 32}]}
train: {steps: 90, batch: 4, seq_len: 16}
run: {halving: {min_steps: 10}}
matrix:
  train.lr: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
END
curves="SELECT key, step, h.name, h.value FROM history h JOIN results USING (run)
        JOIN done USING (key) WHERE h.name LIKE 'train.%' ORDER BY 1, 3, 2"
sweep d.db
sweep e.db --set run.halving=null
done=$(ask d.db "SELECT '''' || group_concat(key, ''',''') || '''' FROM results WHERE status = 'done'")
with="WITH done AS (SELECT key FROM results WHERE key IN ($done))"
expect "curves" "$(ask d.db "$with $curves" | md5sum)" "$(ask e.db "$with $curves" | md5sum)"
[ "$(ask d.db "SELECT max(attempts) FROM progress WHERE status = 'done'")" -gt 1 ] ||
    fail "nothing went on from a rung"
[ ! -e d.db.ckpt ] || fail "checkpoints of pruned runs are left"

# Stopped in the middle, the same command decides what is left to decide.
"$hylas" run sweep.yaml -o g.db --set train.steps=9000 --set run.halving.min_steps=900 >log 2>&1 &
pid=$!
until [ -s g.db ] && [ "$(ask g.db "SELECT count(*) FROM progress WHERE status = 'pruned'
                                   " 2>/dev/null || echo 0)" -ge 2 ]; do
    kill -0 $pid 2>/dev/null || fail "it ended before it could be stopped"
    sleep 0.05
done
kill -TERM $pid
code=0
wait $pid || code=$?
expect "exit code" $code 75
sweep g.db --set train.steps=9000 --set run.halving.min_steps=900
expect "other statuses" "$(ask g.db "SELECT count(*) FROM results
                                    WHERE status NOT IN ('done', 'pruned')")" 0
expect "where the pruned stand" "$(ask g.db "
    SELECT count(*) FROM results r WHERE status = 'pruned' AND
        (SELECT max(step) FROM history h WHERE h.run = r.run) NOT IN (900, 2700, 8100)")" 0
[ "$(ask g.db "SELECT count(*) FROM results WHERE status = 'done'")" -gt 0 ] || fail "none is done"

# A rule ends runs that are good enough: done, with the steps that they took, and why.
sed -i 's/^run:.*/run: {stop: {metric: recall, at: 0.01}}\neval: {every: 20}/' sweep.yaml
sweep f.db
expect "statuses" "$(ask f.db "SELECT status, count(*) FROM results GROUP BY 1")" "done|6"
[ "$(ask f.db "SELECT count(*) FROM progress JOIN results USING (run) WHERE step < 90 AND
               tokens = step * 64 AND reason LIKE 'recall % reached 0.01 at step %'")" -gt 0 ] ||
    fail "nothing stopped"
echo "all good"
