#!/bin/bash
# Stages of training on a device, which may be an emulated one, a gang of two: a teacher, parameters that are not trained,
# low-rank additions; a conversion, whose windows are dropped at random, and its components. All is as on the CPU.
HYLAS=$1
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
cat >s.yaml <<'END_OF_SWEEP'
name: s
model: {d_model: 16, layers: 2, heads: 2, mlp: 16}
mixer: {variant: gla, expand_k: 1, expand_v: 1, ratio: "1:1"}
data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 4}]}
train: {steps: 3, batch: 2, seq_len: 16}
init: {from: {mixer.ratio: full}}
stages:
  - {objective: output, train: [mixers]}
  - {objective: [{name: logits, temperature: 2}, {name: lm, weight: 0.5}]}
  - {lora: {rank: 2, on: ["*_proj"]}}
matrix: {train.seed: [0, 1]}
END_OF_SWEEP
exits 0 "$hylas" run s.yaml -o cpu.db --set run.device=cpu
exits 0 "$hylas" run s.yaml -o device.db --set run.device=cuda --set run.gang=2
expect "devices" "$(ask device.db "SELECT DISTINCT device LIKE 'cuda:0 %' FROM results")" 1
expect "gangs" "$(ask device.db "SELECT DISTINCT value FROM facts WHERE name = 'gang'")" 2.0
expect "losses that differ" "$(ask device.db "ATTACH 'cpu.db' AS cpu;
    SELECT count(*), sum(abs(a.value / b.value - 1) > 1e-4) FROM main.point AS a
    JOIN cpu.point AS b USING (run, metric, step)
    JOIN main.metric AS m ON m.id = metric WHERE m.name = 'train.loss'")" "24|0"

sed -i '/^stages:/,/lora/d; s/^mixer:.*/mixer: {variant: lolcats, ratio: pure, window: 4}/' s.yaml
echo 'recipe: {name: ssd, transfer: 3, adapt: 4, rank: 2}' >>s.yaml
exits 0 "$hylas" run s.yaml -o cpu_parts.db --set run.device=cpu
exits 0 "$hylas" run s.yaml -o device_parts.db --set run.device=cuda --set run.gang=2
# Scores are shares of few answers, so what is compared are likelihoods.
expect "components that differ" "$(ask device_parts.db "ATTACH 'cpu_parts.db' AS cpu;
    SELECT count(*) > 10, sum(abs(a.value / b.value - 1) > 1e-3) FROM main.component_score AS a
    JOIN cpu.component_score AS b USING (run, component, task, split, slice, metric)
    WHERE metric = 'nll'")" "1|0"
expect "shares that differ" "$(ask device_parts.db "ATTACH 'cpu_parts.db' AS cpu;
    SELECT count(*), sum(abs(a.value - b.value) > 1e-3) FROM main.layer AS a
    JOIN cpu.layer AS b USING (run, layer, metric)
    WHERE metric IN ('gamma', 'far_share', 'far_share_beyond')")" "12|0"
echo "all good"
