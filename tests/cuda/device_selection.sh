#!/bin/bash
# Runs that select their layers on a device, which may be an emulated one, in gangs of two whose members
# may find other layouts: gates, probes, evaluated layouts; the losses are the CPU's.
HYLAS=$1
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
cat >s.yaml <<'END_OF_SWEEP'
name: s
model: {d_model: 16, layers: 2, heads: 2, mlp: 16}
mixer: {variant: gla, expand_k: 1, expand_v: 1}
data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 4}]}
train: {steps: 2, batch: 2, seq_len: 16}
init: {from: {mixer.ratio: full}}
matrix:
  train.seed: [0, 1]
  select:
    - {method: gates, budget: 1, steps: 3}
    - {method: gates, budget: 1, steps: 3, form: soft, weights: frozen}
    - {method: kl, budget: 1, steps: 2}
    - {method: greedy, budget: 1}
END_OF_SWEEP
exits 0 "$hylas" run s.yaml -o cpu.db --set run.device=cpu
exits 0 "$hylas" run s.yaml -o device.db --set run.device=cuda --set run.gang=2
expect "devices" "$(ask device.db "SELECT DISTINCT device LIKE 'cuda:0 %' FROM results")" 1
expect "gangs" "$(ask device.db "SELECT max(value) FROM facts WHERE name = 'gang'")" 2.0
expect "layouts" "$(ask device.db "SELECT key, layout FROM results ORDER BY 1")" \
    "$(ask cpu.db "SELECT key, layout FROM results ORDER BY 1")"
expect "losses that differ" "$(ask device.db "ATTACH 'cpu.db' AS cpu;
    SELECT count(*), sum(abs(a.value - b.value) > 1e-4 * abs(b.value) + 1e-6) FROM main.point AS a
    JOIN cpu.point AS b USING (run, metric, step)
    JOIN main.metric AS m ON m.id = metric WHERE m.name = 'train.loss'")" "48|0"
echo "all good"
