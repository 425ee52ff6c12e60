#!/usr/bin/env bash
# train.precision as people meet it: refused before anything trains where the processor lacks it, else
# a setting like any other.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

cat >sweep.yaml <<'END'
name: sweep
model: {d_model: 32, layers: 2, heads: 2, mlp: 32}
mixer: {variant: gla, ratio: "1:1"}
data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 8}]}
train: {steps: 10, batch: 2, seq_len: 16}
matrix:
  train.precision: [float32, bf16]
END

# The library believes DNNL_MAX_CPU_ISA more than the processor.
old=(env DNNL_MAX_CPU_ISA=AVX2)
for verb in plan run; do
    exits 2 "${old[@]}" "$HYLAS" $verb sweep.yaml
    says "sweep.yaml:7:30: train.precision: bf16 needs a processor with AVX512_BF16"
done
[[ ! -e sweep.db ]] || fail "a database for a sweep that cannot run"
exits 2 "${old[@]}" "$HYLAS" bench gla --precision bf16
says "AVX512_BF16"
exits 0 "${old[@]}" "$HYLAS" run sweep.yaml -o float.db --set train.precision=float32

exits 2 "$HYLAS" plan sweep.yaml --set train.precision=bf17
says "bf16"
exits 2 "$HYLAS" bench gla --precision bf17
says "float32|bf16"
exits 2 "$HYLAS" bench gla --precision bf16 --decode
says "--decode computes in float32"

# What follows needs the processor.
grep -q avx512_bf16 /proc/cpuinfo || exit 0
exits 0 "$HYLAS" run sweep.yaml
exits 0 "$HYLAS" report sweep.db --format csv
says "precision=bf16"
exits 0 "$HYLAS" run sweep.yaml
says "all 2 runs are done already"
exits 0 "$HYLAS" bench gla --precision bf16 --d-model 32 --layers 1 --seconds 0.05
says "; bf16, "
