#!/bin/bash
# Runs that select their layers: every method finds a layout and goes on as the model of that; what an
# interruption, a gang, more ranks or halving may not change; what is refused.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

cat >sweep.yaml <<'END_OF_SWEEP'
name: sweep
model: {d_model: 32, layers: 3, heads: 2, mlp: 32}
mixer: {variant: gla, expand_k: 1, expand_v: 1}
data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 16}]}
train: {steps: 30, batch: 2, seq_len: 16}
eval: {every: 10}
run: {retries: 0}
END_OF_SWEEP
sweep() # NAME: the same with what follows on the standard input
{
    { cat sweep.yaml; cat; } >"$1"
}
sweep methods.yaml <<'END_OF_MATRIX'
init: {from: {mixer.ratio: full, train.steps: 20}}
matrix:
  select:
    - {method: gates, budget: 1}
    - {method: gates, form: soft, weights: frozen, budget: 1}
    - {method: gates, tolerance: "0.1 recall", price: 0.1, repair: 1}
    - {method: greedy, budget: 1, share: qkvo}
    - {method: greedy, tolerance: "0.05 recall"}
    - {method: kl, budget: 1, steps: 10}
    - {method: exhaustive, budget: 2}
    - {method: uniform, budget: 1}
    - {method: edges, budget: 2, align: 0}
    - {method: middle, tolerance: "0 recall", repair: 2}
    - {method: random, budget: 1, restart: true}
  train.seed: [0, 1]
END_OF_MATRIX
contents="SELECT key, status, layout, full_layers, quote(recall_valid), quote(recall_test), tokens,
              cache_bytes, params FROM results ORDER BY key;
          SELECT key, step, h.name, quote(value) FROM history h JOIN results USING (run)
          ORDER BY 1, 2, 3;
          SELECT key, layer, l.kind, l.variant, metric, quote(value)
          FROM layers l JOIN results USING (run) ORDER BY 1, 2, 5;
          SELECT key, f.name, quote(f.value), f.text FROM facts f JOIN results USING (run)
          WHERE f.name LIKE 'select%' ORDER BY 1, 2"
same() # WHAT DB: as one rank made it
{
    expect "$1" "$(ask "$2" "$contents" | md5sum)" "$(ask one.db "$contents" | md5sum)"
}
exits 0 "$hylas" plan methods.yaml -o none.db
says "24 runs, 2 of them sources"
exits 0 "$hylas" run methods.yaml -o one.db
expect "all are done" "$(ask one.db "SELECT status, count(*) FROM results GROUP BY status")" "done|24"
expect "budgets are kept" "$(ask one.db "SELECT count(*) FROM results
    WHERE json_extract(config, '\$.select.budget') <> full_layers")" 0
expect "layouts" "$(ask one.db "SELECT DISTINCT layout FROM results
    WHERE placement IN ('uniform', 'edges')")" "LFL
FLF"
expect "layers add up" "$(ask one.db "SELECT count(*) FROM results WHERE linear_layers + full_layers <> 3
    OR length(replace(layout, 'F', '')) <> linear_layers")" 0
# Cache and parameters are those of the layout that was found: as a run has them whose layers are given.
sed 's/^mixer:.*/mixer: {variant: gla, expand_k: 1, expand_v: 1}\nlayers: {list: [linear, full, linear]}/' \
    sweep.yaml >plain.yaml
exits 0 "$hylas" run plain.yaml -o plain.db --set train.steps=2
expect "cache" "$(ask one.db "SELECT DISTINCT cache_bytes, params, state_bytes FROM results
    WHERE placement = 'uniform'")" "$(ask plain.db "SELECT cache_bytes, params, state_bytes FROM results")"
# A layer that is given back costs another training; the outcome is told.
expect "repaired" "$(ask one.db "SELECT count(*) FROM results r JOIN facts f USING (run)
    WHERE f.name = 'select_given_back' AND r.placement = 'middle'
        AND tokens <> (6 + 30 * (1 + f.value)) * 32")" 0
expect "outcomes" "$(ask one.db "SELECT count(*) FROM facts WHERE name = 'select_met'")" 6
expect "measured" "$(ask one.db "SELECT metric, count(*) > 0 FROM layers
    WHERE metric IN ('gate', 'kl', 'loss_added', 'importance') GROUP BY metric")" "gate|1
importance|1
kl|1
loss_added|1"
expect "gates over training" "$(ask one.db "SELECT count(DISTINCT name) FROM history
    WHERE name LIKE 'layer.%.gate'")" 3

exits 0 mpirun -n 3 --oversubscribe "$hylas" run methods.yaml -o three.db
same "3 ranks" three.db
exits 0 "$hylas" run methods.yaml -o gang.db --set run.gang=2
same "gangs" gang.db
exits 0 "$hylas" run methods.yaml -o often.db --set run.checkpoint_every=1
same "checkpoints" often.db

# Halving pauses runs in any stage, also before their layers are chosen; without it they go on.
rule='run.halving={metric: recall, min_steps: 4, factor: 2, among: cell}'
"$hylas" run methods.yaml -o halving.db --set "$rule" >/dev/null 2>&1 || true
expect "some are pruned" "$(ask halving.db "SELECT count(*) > 0 FROM results WHERE status = 'pruned'")" 1
exits 0 "$hylas" run methods.yaml -o halving.db
ends="SELECT key, status, layout, quote(recall_valid), quote(recall_test), tokens FROM results ORDER BY 1"
expect "halving" "$(ask halving.db "$ends")" "$(ask one.db "$ends")"

# The model that was found goes on elsewhere: exported, and a run of its own that starts from it.
exits 0 "$hylas" run methods.yaml -o kept.db --set run.keep_checkpoint=true --set train.seed=0 \
    --set 'select={method: uniform, budget: 1}'
run=$(ask kept.db "SELECT run FROM results WHERE selected_by = 'uniform'")
exits 0 "$hylas" export kept.db "$run" found --as hylas
exits 0 "$hylas" import found
says "LFL"
exits 0 "$hylas" run plain.yaml -o kept.db --set init.from=found --set init.strict=true \
    --set train.steps=1 --set train.lr=0
expect "continued" "$(ask kept.db "SELECT count(DISTINCT quote(ppl_test) || quote(recall_test))
    FROM results WHERE layout = 'LFL'")" 1

# Where all gates are 0 or 1 from the start, the run is the pure model's, to the bit.
sweep pure.yaml <<'END_OF_MATRIX'
matrix: {select: [{method: gates, budget: 0}, {method: gates, budget: 3}]}
END_OF_MATRIX
exits 0 "$hylas" run pure.yaml -o pure.db
sweep ratio.yaml <<'END_OF_MATRIX'
matrix: {mixer.ratio: [pure, full]}
END_OF_MATRIX
exits 0 "$hylas" run ratio.yaml -o pure.db
expect "pure models" "$(ask pure.db "SELECT layout, count(*), count(DISTINCT quote(recall_test) || params ||
    cache_bytes || (SELECT group_concat(quote(value)) FROM history WHERE history.run = results.run))
    FROM results GROUP BY 1 ORDER BY 1")" "FFF|2|1
LLL|2|1"

# No layout keeps a tolerance that the model of full layers does not keep itself: told, with the
# nearest.
sweep unmet.yaml <<'END_OF_MATRIX'
init: {from: {mixer.ratio: full, train: {steps: 1500, lr: 1e-2}}}
select: {method: greedy, tolerance: "0 recall"}
END_OF_MATRIX
exits 0 "$hylas" run unmet.yaml -o unmet.db --set train.steps=2 --set train.lr=1
expect "not met" "$(ask unmet.db "SELECT value, layout FROM facts JOIN results USING (run)
    WHERE facts.name = 'select_met'")" "0.0|FFF"
[[ $(ask unmet.db "SELECT reason FROM progress WHERE reason IS NOT NULL") == \
    "FFF, tolerance not met: recall"*"this is the nearest" ]] || fail "the nearest is not told"
