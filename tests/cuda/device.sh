#!/usr/bin/env bash
# A sweep on a CUDA device, or on what stands in for one, gives what it gives on the CPU, up to rounding.
# Exit code 77: there is no device, or an operator that it lacks.
#
#   device.sh [HYLAS]
HYLAS=${1:-$HYLAS}
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

# More steps than outcomes are kept between two looks, and an evaluation in between.
cat >sweep.yaml <<'END'
name: tiny
model: {d_model: 16, layers: 2, heads: 2, mlp: 16}
mixer: {variant: retnet, ratio: "1:1"}
data:
  train: [{task: mqar, vocab: 32, pairs: 2}]
  eval: [{task: mqar, vocab: 32, pairs: 2, examples: 6}]
train: {steps: 70, batch: 2, seq_len: 16}
eval: {every: 68, contexts: [32]}
matrix: {train.seed: [0, 1]}
END

"$HYLAS" run sweep.yaml -o cuda.db --set run.device=cuda --set run.retries=0 2>log || {
    "$HYLAS" status cuda.db >out 2>>log || true
    grep -qE "built without CUDA|no CUDA (driver|device)|has no CUDA kernel|build has no CUDA" log out && exit 77
    cat out >&2
    fail "the sweep"
}
"$HYLAS" run sweep.yaml -o cpu.db --set run.device=cpu 2>/dev/null

sql() { sqlite3 "$1.db" "$2"; }
[[ $(sql cuda "SELECT count(*) FROM results WHERE status = 'done' AND device LIKE 'cuda:%'") == 2 ]] ||
    fail "two runs are not done on a device"
[[ $(sql cuda "SELECT count(*) FROM facts WHERE name LIKE 'device\_%\_bytes' ESCAPE '\\'") == 4 ]] ||
    fail "planned and measured bytes of the device are not told"
[[ $(sql cuda "SELECT group_concat(key) FROM results") == $(sql cpu "SELECT group_concat(key) FROM results") ]] ||
    fail "keys depend on the device"
history="SELECT run, step, name, value FROM history WHERE name LIKE 'train.%' OR name LIKE 'valid.%' \
ORDER BY run, step, name"
sql cuda "$history" >cuda.rows
sql cpu "$history" >cpu.rows
paste -d '|' cuda.rows cpu.rows | awk -F '|' '
    $1 != $5 || $2 != $6 || $3 != $7 {print "other rows: " $0; bad = 1}
    {d = $4 - $8; size = $8 < 0 ? -$8 : $8; d = d < 0 ? -d : d}
    d > 1e-3 * size + 1e-6 {print "run " $1 ", step " $2 ", " $3 ": " $4 ", on the CPU " $8; bad = 1}
    END {exit bad || NR < 100}' || fail "the history differs from the CPU's"
