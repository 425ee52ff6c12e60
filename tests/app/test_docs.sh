#!/usr/bin/env bash
# What the README and sweeps/ show works: every sweep file can be planned, every query answers.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
# fenced LANGUAGE: the blocks of that language in the README.
fenced() { awk -v open="\`\`\`$1" '$0 == open {on = 1; next} /^```/ {on = 0} on' \
    "$HYLAS_SOURCE/README.md"; }

mkdir -p build/demo build/corpus
for ((i = 0; i < 4000; i++)); do echo "Line $i of a corpus for examples."; done >corpus.txt
for text in demo/corpus corpus/gcide corpus/foldoc; do cp corpus.txt "build/$text.txt"; done
cp corpus.txt build/corpus/foldoc.tokens # pairs of letters are ids below 49,152

fenced yaml >readme.yaml
[[ -s readme.yaml ]] || fail "the README shows no sweep file"
for sweep in readme.yaml "$HYLAS_SOURCE"/sweeps/*.yaml; do
    options=()
    # Half a gigabyte of a real model's weights is not here.
    [[ $sweep != *smollm2* ]] || options=(--set init=null --set 'recipe={name: swap}')
    "$HYLAS" plan "$sweep" "${options[@]}" >out 2>err || fail "$sweep: $(cat err)"
done

command -v sqlite3 >/dev/null || exit 0
cat >tiny.yaml <<'END'
name: tiny
model: {d_model: 16, layers: 2, heads: 2, mlp: 16}
mixer: {variant: gla, ratio: "1:1"}
data:
  train:
    - {task: text, path: corpus.txt, examples: 4}
    - {task: mqar, vocab: 32, pairs: 2, examples: 4}
train: {steps: 2, batch: 2, seq_len: 32}
END
# As the README does it, where there is MPI.
ranks=()
if command -v mpirun >/dev/null; then
    ranks=(mpirun --oversubscribe -n 2)
fi
"${ranks[@]}" "$HYLAS" run tiny.yaml -o study.db >out 2>err || fail "tiny.yaml: $(cat err)"
fenced sh | awk '/^sqlite3/ {on = 1} on {print} on && /"$/ {on = 0}' >queries
(($(grep -c '^sqlite3' queries) > 0)) || fail "the README shows no query"
bash -e queries >out 2>err || fail "a query of the README: $(cat err)"
grep -q gla out || fail "the README's first query should find the run: $(cat out)"
grep -q 'pairs=2' out || fail "the README's second query should find the slices: $(cat out)"
