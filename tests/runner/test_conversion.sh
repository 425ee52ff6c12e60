#!/bin/bash
# Softmax models that become hybrids of a window and a linear part: each recipe, the components of what
# comes out, and that no interruption, rank or gang changes a bit.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

cat >sweep.yaml <<'END_OF_SWEEP'
name: sweep
model: {d_model: 32, layers: 2, heads: 2, mlp: 32}
data:
  train: [{task: mqar, vocab: 32, pairs: [4], examples: 16, fill: zero}]
train: {steps: 20, batch: 4, seq_len: 32, lr: 5e-3}
eval: {every: 10}
mixer: {variant: lolcats, ratio: pure, window: 4}
init: {from: {mixer.ratio: full, train.steps: 40}}
matrix:
  recipe:
    - {name: swap, adapt: 12, rank: 2}
    - {name: lolcats, transfer: 9, adapt: 12, rank: 2}
    - {name: hedgecats, transfer: 9, adapt: 12, rank: 2}
    - {name: ssd, transfer: 9, adapt: 12, rank: 2}
    - {name: late_window, transfer: 9, adapt: 12, rank: 2}
    - {name: mohawk, transfer: 9, adapt: 12}
  train.seed: [0, 1]
END_OF_SWEEP
contents="SELECT key, status, quote(recall_test) FROM results ORDER BY 1;
          SELECT key, step, h.name, quote(value) FROM history h JOIN results USING (run)
          ORDER BY 1, 2, 3;
          SELECT key, component, task, slice, metric, quote(value) FROM components c
          JOIN results USING (run) ORDER BY 1, 2, 3, 4, 5;
          SELECT key, layer, metric, quote(value) FROM layers JOIN results USING (run)
          WHERE metric <> 'flops_per_token' ORDER BY 1, 2, 3"

exits 0 "$hylas" run sweep.yaml -o one.db
expect "teachers are trained once" "$(ask one.db "SELECT count(*), count(DISTINCT source),
    sum(source IS NULL) FROM results WHERE status = 'done'")" "14|2|2"
expect "stages" "$(ask one.db "SELECT stages, count(*) FROM results WHERE source IS NOT NULL
    GROUP BY stages ORDER BY 1")" "adapt|2
transfer adapt|10"
expect "components" "$(ask one.db "SELECT component, count(DISTINCT run) FROM components
    GROUP BY component ORDER BY 1")" "full|12
linear|12
none|12
sinks|12
window|12"
expect "distances" "$(ask one.db "SELECT DISTINCT slice FROM components
    WHERE slice LIKE '%=4' AND task = 'mqar' ORDER BY 1")" "beyond=4
pairs=4
within=4"
expect "shares" "$(ask one.db "SELECT count(DISTINCT run), min(value) >= 0, max(value) <= 1
    FROM layers WHERE metric IN ('gamma', 'gamma.1', 'far_share', 'far_share.0',
    'far_share_beyond', 'far_share_beyond.1')")" "12|1|1"
expect "what is nothing" "$(ask one.db "SELECT max(value) < 0.2 FROM components
    WHERE component = 'none' AND slice = '' AND metric = 'accuracy'")" 1
# The whole is the sum of its heads' means.
expect "means" "$(ask one.db "SELECT max(abs(m.value - (a.value + b.value) / 2)) < 1e-12
    FROM layers m JOIN layers a USING (run, layer) JOIN layers b USING (run, layer)
    WHERE m.metric = 'far_share' AND a.metric = 'far_share.0' AND b.metric = 'far_share.1'")" 1

export OMPI_MCA_rmaps_base_oversubscribe=1
exits 0 mpirun -n 3 --oversubscribe "$hylas" run sweep.yaml -o ranks.db
expect "3 ranks" "$(ask ranks.db "$contents" | md5sum)" "$(ask one.db "$contents" | md5sum)"
exits 0 "$hylas" run sweep.yaml -o gang.db --set run.gang=2
expect "gangs" "$(ask gang.db "$contents" | md5sum)" "$(ask one.db "$contents" | md5sum)"

# Stopped again and again, in every stage.
for i in $(seq 1 60); do
    timeout --signal=TERM 0.3 "$hylas" run sweep.yaml -o cut.db --set run.checkpoint_every=1 \
        >log 2>&1 && break
done
exits 0 "$hylas" run sweep.yaml -o cut.db --set run.checkpoint_every=1
expect "interrupted" "$(ask cut.db "$contents" | md5sum)" "$(ask one.db "$contents" | md5sum)"
[ "$(ask cut.db "SELECT count(*) FROM facts WHERE name = 'resumed_at'")" -gt 0 ] ||
    fail "nothing was interrupted"

# Other variants are converted too, without a map: mixers learn outputs, then predictions.
exits 0 "$hylas" run sweep.yaml -o gla.db --set train.seed=0 \
    --set 'mixer={variant: gla, ratio: pure, expand_k: 1, expand_v: 1}' \
    --set 'recipe={name: mohawk, transfer: 9, adapt: 12}'
expect "gla" "$(ask gla.db "SELECT variant, stages FROM results WHERE source IS NOT NULL")" \
    "gla|transfer adapt"
expect "no parts" "$(ask gla.db "SELECT count(*) FROM components")" 0

exits 0 "$hylas" report one.db components
says "window"
exits 0 "$hylas" report one.db components --format csv
