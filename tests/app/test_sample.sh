#!/usr/bin/env bash
# hylas sample: what it prints and writes is what a run would be given.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
# refuses CODE WORDS... -- ARGS...: the command exits with CODE and its message has all WORDS.
refuses() {
    local code=$1 words=() got=0 word
    shift
    while [[ $1 != -- ]]; do
        words+=("$1")
        shift
    done
    shift
    "$HYLAS" sample "$@" >out 2>err || got=$?
    ((got == code)) || fail "sample $* gave $got: $(cat err)"
    for word in "${words[@]}"; do
        grep -qF -- "$word" err || fail "no '$word' in: $(cat err)"
    done
}
# row FILE N: the N-th row (from 0) of 32 numbers.
row() { od -An -v -td4 -w128 "$1" | sed -n "$(($2 + 1))p" | tr -s ' '; }

for i in {1..400}; do echo "This is line $i."; done >corpus.txt
cat >sweep.yaml <<'END'
name: sample
model: {d_model: 16, layers: 2, heads: 2, mlp: 16}
mixer: {variant: gla, ratio: "1:1"}
data:
  train: [{task: text, path: corpus.txt}, {task: mqar, vocab: 32, pairs: 4, fill: zero}]
  eval: [{task: text}, {task: mqar, pairs: [2, 4], examples: 10}]
train: {steps: 1, batch: 2, seq_len: 32}
matrix:
  train.seed: [1, 2]
END

# Printed: tasks take turns, text reads as text, labelled keys show their values.
"$HYLAS" sample sweep.yaml --count 4 >printed
(($(wc -l <printed) == 4)) || fail "4 sequences should take 4 lines: $(cat printed)"
(($(grep -c '^text [02]: ' printed) == 2)) || fail "2 of 4 should be text: $(cat printed)"
grep -q '^text 0: .*line' printed || fail "text should be readable: $(cat printed)"
(($(grep '^mqar 1: ' printed | grep -o '=>' | wc -l) == 4)) || fail "4 queries: $(cat printed)"

# Raw: N x T numbers; of a mixture in the shared vocabulary, of one task in its own.
"$HYLAS" sample sweep.yaml --count 4 --raw mixed
"$HYLAS" sample sweep.yaml --count 2 --raw alone --task mqar
for file in mixed/inputs mixed/labels; do
    (($(stat -c %s $file.i32) == 4 * 32 * 4)) || fail "$file.i32 has a wrong size"
done
(($(stat -c %s alone/labels.i32) == 2 * 32 * 4)) || fail "alone/labels.i32 has a wrong size"
for kind in inputs labels; do
    shifted=$(row alone/$kind.i32 0 | awk '{for (i = 1; i <= NF; i++)
        printf " %d", $i == -100 ? -100 : $i + 256}')
    [[ $shifted == "$(row mixed/$kind.i32 1)" ]] || fail "$kind: mqar should lie 256 tokens up"
done
(($(row alone/labels.i32 0 | tr ' ' '\n' | grep -cE '^(1[6-9]|2[0-9]|3[01])$') == 4)) ||
    fail "4 labels should be values"

# The seed changes training sequences, and nothing of the test split.
for run in 1 2; do
    "$HYLAS" sample sweep.yaml --run $run >train.$run
    "$HYLAS" sample sweep.yaml --run $run --split test >test.$run
done
cmp -s train.1 train.2 && fail "two seeds should train on different sequences"
cmp -s test.1 test.2 || fail "two seeds should be tested on the same sequences"
"$HYLAS" sample sweep.yaml --set train.seed=2 --run 1 | cmp -s - train.2 || fail "--set is not heard"

# Evaluation entries of another length: printed together, written apart.
sed 's/examples: 10}]/examples: 10}, {task: mqar, seq_len: 48, pairs: 8}]/' sweep.yaml >long.yaml
"$HYLAS" sample long.yaml --split test --task mqar --count 2 >printed
(($(wc -l <printed) == 4)) || fail "2 sequences of each of 2 entries: $(cat printed)"
"$HYLAS" sample long.yaml --split test --task mqar --seq-len 48 --count 2 --raw long
(($(stat -c %s long/inputs.i32) == 2 * 48 * 4)) || fail "long/inputs.i32 has a wrong size"
refuses 2 "of 32 and of 48" --seq-len -- long.yaml --split test --raw mixed
refuses 2 "--seq-len 47" data.eval -- long.yaml --split test --seq-len 47

refuses 2 mqr mqar -- sweep.yaml --task mqr
refuses 2 "did you mean 'test'" -- sweep.yaml --split tset
refuses 2 21 "20 sequences" -- sweep.yaml --split test --task mqar --count 21
refuses 2 "--run 3" "1 to 2" -- sweep.yaml --run 3
refuses 2 "--count" "'0'" -- sweep.yaml --count 0
refuses 2 "sweep.yaml:5:" "pairs 4" "at most 3" -- sweep.yaml --set train.seq_len=12 --split valid
refuses 2 absent.yaml "No such file" -- absent.yaml
refuses 2 usage -- sweep.yaml another.yaml
refuses 3 corpus.txt -- sweep.yaml --raw corpus.txt
refuses 3 nowhere -- sweep.yaml --raw nowhere/deeper
