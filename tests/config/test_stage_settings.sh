#!/bin/bash
# Section stages as a sweep file has it: what runs of it leave in the database, and what is refused of
# it, with file, line, column, value and the nearest valid thing.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

sweep()
{
    {
        echo 'name: s'
        cat
        echo 'model: {d_model: 32, layers: 2, heads: 2, mlp: 32}'
        echo 'mixer: {variant: gla, ratio: "1:1", expand_k: 1, expand_v: 1}'
        echo 'data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 8}]}'
        echo 'train: {steps: 20, batch: 2, seq_len: 16}'
    } >s.yaml
}
refused() # TEXT
{
    sweep
    exits 2 "$hylas" plan s.yaml -o none.db
    says "$1"
}

sweep <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full}}
stages:
  - {name: transfer, objective: output, train: [mixers], lr: 1e-2}
  - {objective: [{name: logits, temperature: 2}, {name: lm, weight: 0.5}], steps: 12}
  - {name: adapt, lora: {rank: 2, on: [q_proj, v_proj]}, steps: 8, warmup: 2}
matrix: {train.seed: [0, 1, 2]}
END_OF_SWEEP
exits 0 "$hylas" plan s.yaml -o none.db
says "6 runs"
contents="SELECT key, quote(ppl_test), stages, tokens, train_bytes, flops_per_token FROM results
          ORDER BY 1;
          SELECT key, stage, h.name, objective, first_step, last_step, trained_params, quote(loss)
          FROM stage_history h JOIN results USING (run) ORDER BY 1, 2"
exits 0 "$hylas" run s.yaml
expect "stages" "$(ask s.db "SELECT DISTINCT stages FROM results WHERE source IS NOT NULL")" \
    "transfer logits2 adapt"
expect "steps" "$(ask s.db "SELECT DISTINCT stage, name, objective, first_step, last_step
    FROM stage_history")" "0|transfer|output|1|20
1|logits2|logits+lm|21|32
2|adapt|lm|33|40"
expect "trained" "$(ask s.db "SELECT min(trained_params < params), min(optimizer_bytes =
    8 * trained_params) FROM stage_history JOIN results USING (run) WHERE stage <> 1")" "1|1"
exits 0 mpirun -n 3 --oversubscribe "$hylas" run s.yaml -o ranks.db
expect "3 ranks" "$(ask ranks.db "$contents" | md5sum)" "$(ask s.db "$contents" | md5sum)"
exits 0 "$hylas" run s.yaml -o gang.db --set run.gang=3
expect "gangs" "$(ask gang.db "$contents" | md5sum)" "$(ask s.db "$contents" | md5sum)"
# A stage's name changes no result, its rate does.
sed -i 's/name: transfer/name: first/' s.yaml
exits 0 "$hylas" plan s.yaml -o s.db
says "0 to train"
sed -i 's/lr: 1e-2/lr: 2e-2/' s.yaml
exits 0 "$hylas" plan s.yaml -o s.db
says "3 to train"

refused "s.yaml:2:22: unknown objective 'logit'; did you mean 'logits'?" <<'END_OF_SWEEP'
stages: [{objective: logit}]
END_OF_SWEEP
refused "s.yaml:2:22: objective logits needs a teacher: the run, or the folder, of init.from" <<'END_OF_SWEEP'
stages: [{objective: logits}]
END_OF_SWEEP
refused "s.yaml:3:19: unknown group of parameters 'mixer'; did you mean 'mixers'?" <<'END_OF_SWEEP'
stages:
  - {train: [all, mixer]}
END_OF_SWEEP
refused "s.yaml:2:10: the model has no parameter of '*.q_prj.*'" <<'END_OF_SWEEP'
stages: [{train: ["*.q_prj.*"]}]
END_OF_SWEEP
refused "s.yaml:3:10: the stage trains nothing" <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full}}
stages: [{objective: output, train: [head]}]
END_OF_SWEEP
refused "s.yaml:2:10: the model has no projection of the names that lora.on gives" <<'END_OF_SWEEP'
stages: [{lora: {rank: 2, on: [q_prj]}}]
END_OF_SWEEP
refused "lora.on names the projections" <<'END_OF_SWEEP'
stages: [{lora: {rank: 2}}]
END_OF_SWEEP
refused "did you mean 'steps'?" <<'END_OF_SWEEP'
stages: [{stpes: 3}]
END_OF_SWEEP
refused "did you mean 'temperature'?" <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full}}
stages: [{objective: [{name: logits, temprature: 3}]}]
END_OF_SWEEP
refused "warmup of 30 steps is longer than the 20 steps of stage lm1" <<'END_OF_SWEEP'
stages: [{warmup: 30}]
END_OF_SWEEP
refused "two stages are called a" <<'END_OF_SWEEP'
stages: [{name: a}, {name: a}]
END_OF_SWEEP
refused "stages is a list" <<'END_OF_SWEEP'
stages: {objective: lm}
END_OF_SWEEP
echo "all good"
