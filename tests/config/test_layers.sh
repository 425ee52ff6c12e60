#!/bin/bash
# Sections kinds and layers as a sweep file has them, the axis of all layouts, and what is refused:
# with file, line, column, value and the nearest valid thing.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

# A sweep file of what is on standard input, and a model of 4 layers.
sweep()
{
    {
        echo 'name: s'
        cat
        echo 'model: {d_model: 32, layers: 4, heads: 2, mlp: 32}'
        echo 'data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 8}]}'
        echo 'train: {steps: 4, batch: 2, seq_len: 16}'
    } >s.yaml
}
plan()
{
    sweep
    exits 0 "$hylas" plan s.yaml -o none.db
}
refused() # TEXT
{
    sweep
    exits 2 "$hylas" plan s.yaml -o none.db
    says "$1"
}

# Letters follow the names; a further kind whose cache does not grow counts as linear.
sweep <<'END_OF_SWEEP'
mixer: {variant: gla}
kinds:
  window: {variant: sliding_window, window: 8}
  both: {parallel: [mamba2, softmax], combine: mean}
  wide: {variant: retnet}
layers: {list: [window, both, linear, full]}
END_OF_SWEEP
sed -i 's/^  wide.*$//' s.yaml
exits 0 "$hylas" run s.yaml
expect "layout" "$(sqlite3 s.db "SELECT layout, linear_layers, full_layers FROM results")" "WBLF|2|2"
expect "layers" "$(sqlite3 s.db "SELECT layer, kind, variant FROM layers GROUP BY layer")" \
    "0|window|sliding_window
1|both|mamba2+softmax
2|linear|gla
3|full|softmax"
expect "sums" "$(sqlite3 s.db "SELECT sum(value) = (SELECT state_bytes FROM results) FROM layers
    WHERE metric = 'state_bytes'")" 1

# All layouts of a depth within bounds: 4 choose 1, and 4 choose 2.
plan <<'END_OF_SWEEP'
mixer: {variant: gla}
matrix: {layers.list: {all: [linear, full], full: [1, 2]}}
END_OF_SWEEP
says "10 runs"

refused "s.yaml:3:21: layers.pattern names 5 layers, but the model has 4" <<'END_OF_SWEEP'
mixer: {variant: gla}
layers: {  pattern: [linear, full, linear, linear, linear]}
END_OF_SWEEP
refused "layers.list names 3 layers, but the model has 4" <<'END_OF_SWEEP'
layers: {list: [linear, full, linear]}
END_OF_SWEEP
refused "s.yaml:3:28: unknown kind of layer 'windw'; did you mean 'window'?" <<'END_OF_SWEEP'
kinds: {window: {variant: sliding_window}}
layers: {pattern: [linear, windw]}
END_OF_SWEEP
refused "s.yaml:3:9: " <<'END_OF_SWEEP'
mixer: {variant: gla}
kinds: {window: {variant: sliding_window}}
layers: {pattern: [linear, full]}
END_OF_SWEEP
says "window"
refused "unknown variant 'sliding_windw'; did you mean 'sliding_window'?" <<'END_OF_SWEEP'
kinds: {window: {variant: sliding_windw}}
layers: {pattern: [linear, window]}
END_OF_SWEEP
refused "did you mean 'window'?" <<'END_OF_SWEEP'
kinds: {window: {variant: sliding_window, windw: 3}}
layers: {pattern: [linear, window]}
END_OF_SWEEP
refused "mixer.ratio: section layers says which kind each layer has" <<'END_OF_SWEEP'
mixer: {variant: gla, ratio: "3:1"}
layers: {pattern: [linear, full]}
END_OF_SWEEP
refused "either a pattern or a list" <<'END_OF_SWEEP'
layers: {pattern: [linear], list: [full, full, full, full]}
END_OF_SWEEP
refused "share" <<'END_OF_SWEEP'
kinds: {both: {parallel: [softmax, {variant: gla, expand_k: 0.5}], share: qkvo}}
layers: {pattern: [both]}
END_OF_SWEEP
refused "parallel is a list of 2 to" <<'END_OF_SWEEP'
kinds: {both: {parallel: [softmax]}}
layers: {pattern: [both]}
END_OF_SWEEP
refused "kind full is that of section full" <<'END_OF_SWEEP'
kinds: {full: {variant: gla}}
layers: {pattern: [full]}
END_OF_SWEEP
refused "gate is between 2 mixers, not 3" <<'END_OF_SWEEP'
kinds: {both: {parallel: [softmax, gla, retnet], combine: gate}}
layers: {pattern: [both]}
END_OF_SWEEP
refused "s.yaml:3:51: the bounds of full are a number of layers" <<'END_OF_SWEEP'
mixer: {variant: gla}
matrix: {layers.list: {all: [linear, full], full: 9}}
END_OF_SWEEP

# Every file of released hybrids trains.
small=(--set train.steps=2 --set train.batch=2 --set eval.contexts=[128] --set eval.every=0
    --set 'data.train=[{task: mqar, vocab: 256, pairs: [4], examples: 8}]')
count=0
for file in "$HYLAS_SOURCE"/sweeps/hybrids/*.yaml; do
    exits 0 "$hylas" run "$file" -o hybrid.db "${small[@]}"
    count=$((count + 1))
done
expect "hybrids" "$(sqlite3 hybrid.db "SELECT status, count(*) >= $count FROM results GROUP BY 1")" \
    "done|1"
((count >= 10)) || fail "only $count hybrids"
echo "all good"
