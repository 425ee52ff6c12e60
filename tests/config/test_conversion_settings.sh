#!/bin/bash
# What is refused of conversions, with file, line, column, value and the nearest valid thing; and what
# the recipes stand for.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

sweep() # MIXER
{
    {
        echo 'name: s'
        cat
        echo "mixer: {ratio: pure, ${1-variant: lolcats, window: 4}}"
        echo 'model: {d_model: 32, layers: 2, heads: 2, mlp: 32}'
        echo 'data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 8}]}'
        echo 'train: {steps: 20, batch: 2, seq_len: 16}'
    } >s.yaml
}
refused() # TEXT [MIXER]
{
    sweep "${@:2}"
    exits 2 "$hylas" plan s.yaml -o none.db
    says "$1"
}

# Windows, maps, components.
refused "s.yaml:3:48: window 17 of lolcats is longer than the sequences: train.seq_len is 16" \
    "variant: lolcats, window: 17" <<<""
refused "s.yaml:3:48: window" "variant: lolcats, window: 0" <<<""
refused "did you mean 'window_kind'?" "variant: lolcats, window: 4, window_knd: terraced" <<<""
refused "did you mean 'terraced'?" "variant: lolcats, window: 4, window_kind: terrace" <<<""
refused "a map that is not learned has as many features as a head is wide" \
    "variant: hedgehog, learned: false, features: 4" <<<""
refused "s.yaml:2:20: eval.components is for mixers of a window and a linear part" \
    "variant: gla" <<<'eval: {components: [window]}'
refused "s.yaml:2:27: unknown component 'windw'; did you mean 'window'?" \
    <<<'eval: {components: [full, windw]}'
refused "eval.components has window twice" <<<'eval: {components: [window, window]}'

# Dropping windows.
refused "s.yaml:2:33: window_dropout in a stage must be between 0 and 1, not 1.5" <<<'stages: [{window_dropout: [0.5, 1.5]}]'
refused "s.yaml:2:27: window_dropout in a stage must be between 0 and 1, not -0.1" <<<'stages: [{window_dropout: -0.1}]'
refused "window_dropout drops windows of component full; component is dropped" \
    <<<'stages: [{component: dropped, window_dropout: 0.5}]'
refused "s.yaml:2:27: window_dropout is for mixers of a window and a linear part" \
    "variant: gla" <<<'stages: [{window_dropout: 0.5}]'
refused "s.yaml:2:22: component is for mixers of a window and a linear part" \
    "variant: gla" <<<'stages: [{component: dropped}]'

# Teachers.
refused "objective attention needs a teacher" <<<'stages: [{objective: attention}]'
refused "the model has 2 layers and its teacher 3" <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full, model.layers: 3}}
stages: [{objective: attention, train: [feature_map]}]
END_OF_SWEEP
refused "s.yaml:3:10: objective attention: layer 0 has 2 heads (2 of keys) of width 16, its teacher's 2 (1)" <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full, full.kv_heads: 1}, map: {"*.k_proj.weight": null, "*.v_proj.weight": null}}
stages: [{objective: attention, train: [feature_map]}]
END_OF_SWEEP
refused "objective attention: no layer has a feature map" "variant: gla, expand_k: 1, expand_v: 1" <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full}}
stages: [{objective: attention}]
END_OF_SWEEP
refused "objective attention compares component full or dropped, not overlap" <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full}}
stages: [{objective: attention, component: overlap}]
END_OF_SWEEP
refused "objectives attention and lm cannot share a stage" <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full}}
stages: [{objective: [{name: attention}, {name: lm}]}]
END_OF_SWEEP

# Recipes.
refused "s.yaml:2:9: unknown recipe 'sdd'; did you mean 'ssd'?" <<<'recipe: sdd'
refused "did you mean 'adapt'?" <<<'recipe: {name: ssd, adpt: 3}'
refused "recipe is a name" <<<'recipe: 3'
refused "window_dropout" <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full}}
recipe: {name: ssd, window_dropout: [2]}
END_OF_SWEEP
refused "objective attention needs a teacher" <<<'recipe: ssd'
refused "s.yaml:3:9: the model has 2 layers and its teacher 3" <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full, model.layers: 3}}
recipe: ssd
END_OF_SWEEP
refused "leave out section stages, or section recipe" <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full}}
recipe: swap
stages: [{lr: 1}]
END_OF_SWEEP
exits 0 "$hylas" recipes
for name in hedgecats late_window lolcats mohawk ssd swap; do
    says "$name"
    exits 0 "$hylas" recipes $name
    sweep <<END_OF_SWEEP
init: {from: {mixer.ratio: full}}
recipe: $name
END_OF_SWEEP
    exits 0 "$hylas" plan s.yaml -o none.db
    says "2 runs"
    exits 0 "$hylas" recipes
done

# A recipe and the list that it stands for are one run.
sweep <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full}}
recipe: {name: ssd, transfer: 5, adapt: 6}
END_OF_SWEEP
exits 0 "$hylas" run s.yaml
sweep <<'END_OF_SWEEP'
init: {from: {mixer.ratio: full}}
stages:
  - {name: t, objective: [{name: attention}], train: [feature_map], component: dropped, steps: 5,
     lr: 1e-2, weight_decay: 0}
  - {name: a, lora: {rank: 8, alpha: 16, on: [q_proj, k_proj, v_proj, o_proj]}, steps: 6, lr: 1e-3,
     weight_decay: 0, window_dropout: [0.9, 0.75, 0.5]}
END_OF_SWEEP
exits 0 "$hylas" plan s.yaml -o s.db
says "0 to train"
