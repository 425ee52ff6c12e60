#!/bin/bash
# Section select as a sweep file has it: what is refused of it when the sweep is planned, with file, line,
# column, value and the nearest valid thing.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

mixer='{variant: gla, expand_k: 1, expand_v: 1}'
sweep()
{
    {
        echo 'name: s'
        cat
        echo 'model: {d_model: 32, layers: 3, heads: 2, mlp: 32}'
        echo "mixer: $mixer"
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
accepted() # TEXT
{
    sweep
    exits 0 "$hylas" plan s.yaml -o none.db
    says "$1"
}

refused "s.yaml:2:18: unknown selection method 'gate'; did you mean 'gates'?" <<<'select: {method: gate, budget: 1}'
refused "method" <<<'select: {budget: 1}'
refused "s.yaml:2:39: unknown key in section select: 'budgte'; did you mean 'budget'?" \
    <<<'select: {method: greedy, share: none, budgte: 1}'
refused "s.yaml:2:9: section select has either a tolerance" <<<'select: {method: gates}'
refused "s.yaml:2:35: section select has either a tolerance" \
    <<<'select: {method: gates, budget:   1, tolerance: 1 %}'
refused "s.yaml:2:33: select.budget 4: the model has 3 layers" <<<'select: {method: gates, budget: 4}'
refused "s.yaml:2:33: select.budget is a number of full layers" <<<'select: {method: gates, budget: -1}'
refused 'select.tolerance is a number with a unit: "1 %" of perplexity' \
    <<<'select: {method: gates, tolerance: 1}'
refused "select.tolerance is a number with a unit" <<<'select: {method: gates, tolerance: 1 bits}'
refused "select.tolerance is a number with a unit" <<<'select: {method: gates, tolerance: 2 recall}'
refused "select.tolerance is a number with a unit" <<<'select: {method: gates, tolerance: -1 %}'
refused "compares layouts by ppl, but no task in data.eval measures it" \
    <<<'select: {method: uniform, tolerance: 1 %}'
refused "select.metric is ppl, but the tolerance is one of recall" \
    <<<'select: {method: uniform, tolerance: 0.1 recall, metric: ppl}'
refused "s.yaml:2:18: method greedy chooses among the layers of a trained model" \
    <<<'select: {method: greedy, budget: 1}'
refused "method kl chooses among the layers of a trained model" \
    <<'END_OF_SECTIONS'
init: {from: {mixer.ratio: full}, weights: false}
select: {method: kl, budget: 1}
END_OF_SECTIONS
refused "s.yaml:2:43: select.align: there is no trained model" \
    <<<'select: {method: gates, budget: 1, align: 5}'
refused "s.yaml:3:44: method greedy needs linear layers that are aligned: select.align is 0" <<'END_OF_SECTIONS'
init: {from: {mixer.ratio: full}}
select: {method: greedy, budget: 1, align: 0}
END_OF_SECTIONS
refused "s.yaml:2:43: method gates trains before it chooses: select.steps is 0" \
    <<<'select: {method: gates, budget: 1, steps: 0}'
refused "frozen weights must be those of a trained model" \
    <<<'select: {method: gates, budget: 1, weights: frozen}'
refused "a tolerance of recall is no price in nats: set select.price" \
    <<<'select: {method: gates, tolerance: 0.1 recall}'
refused "3 layouts of 3 layers are too many to evaluate: select.most is 2" <<'END_OF_SECTIONS'
init: {from: {mixer.ratio: full}}
select: {method: exhaustive, budget: 1, most: 2}
END_OF_SECTIONS
refused "did you mean 'temperature'?" <<<'select: {method: gates, budget: 1, temprature: 2}'
refused "s.yaml:3:9: layers: section select finds which layers are full" <<'END_OF_SECTIONS'
select: {method: uniform, budget: 1}
layers: {pattern: [linear, full]}
END_OF_SECTIONS
refused "run.stop cannot end a run that has still to select its layers" <<'END_OF_SECTIONS'
select: {method: uniform, budget: 1}
run: {stop: {at: 0.5}}
eval: {every: 5}
END_OF_SECTIONS
refused "init.strict: while its layers are selected" <<'END_OF_SECTIONS'
init: {from: {mixer.ratio: full}, strict: true}
select: {method: uniform, budget: 1}
END_OF_SECTIONS
refused "the run of init.from is evaluated on other data" <<'END_OF_SECTIONS'
init: {from: {mixer.ratio: full, data.train: [{task: mqar, vocab: 32, pairs: [3], examples: 8}]}}
select: {method: uniform, tolerance: 0.1 recall}
END_OF_SECTIONS
refused "the source run of init.from selects its layers" <<'END_OF_SECTIONS'
init: {from: {layers: null, select: {method: uniform, budget: 1}}}
layers: {pattern: [linear, full]}
END_OF_SECTIONS
refused "objective twins is for the branches that section select makes" <<<$'layers: {pattern: [linear, full]}\nstages: [{objective: twins}]'
refused "objective full_layers is for the gates that section select trains" \
    <<<$'layers: {pattern: [linear, full]}\nstages: [{objective: [lm, full_layers]}]'

# Variants that cannot share what softmax has, or whose blocks are others.
mixer='{variant: gla}'
refused "cannot share its projections: " <<<'select: {method: gates, budget: 1}'
says "s.yaml:4:18: section select with share: qkvo (none: each mixer has its own)"
accepted "1 runs" <<<'select: {method: gates, budget: 1, share: none}'
mixer='{variant: mamba2}'
refused "of mamba2 and softmax one has no MLP behind it" <<<'select: {method: uniform, budget: 1}'
mixer='{variant: softmax}'
refused "section select needs a linear variant in section mixer" <<<'select: {method: uniform, budget: 1}'
mixer='{variant: gla, ratio: "1:1", expand_k: 1, expand_v: 1}'
refused "s.yaml:4:30: ratio: section select finds which layers are full" \
    <<<'select: {method: uniform, budget: 1}'

# What it is held against is planned by itself: the same run of full layers, once for all seeds' own.
mixer='{variant: gla, expand_k: 1, expand_v: 1}'
accepted "4 runs, 2 of them sources" <<'END_OF_SECTIONS'
select: {method: uniform, tolerance: 0.1 recall}
matrix: {train.seed: [0, 1]}
END_OF_SECTIONS
accepted "1 runs" <<<'select: {method: uniform, budget: 3}'
# What changes a selection changes the key; how a tolerance is written does not matter twice.
exits 0 "$hylas" run s.yaml -o s.db
exits 0 "$hylas" plan s.yaml -o s.db
says "0 to train"
exits 0 "$hylas" plan s.yaml -o s.db --set select.budget=2
says "1 to train"
echo "all good"
