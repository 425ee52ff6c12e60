#!/usr/bin/env bash
# run.device and bench --device: what a machine without a GPU says, and that auto goes on without one.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

cat >sweep.yaml <<'END'
name: tiny
model: {d_model: 16, layers: 2, heads: 2, mlp: 16}
mixer: {variant: gla, ratio: pure}
data: {train: [{task: mqar, vocab: 32, pairs: 2, examples: 4}]}
train: {steps: 2, batch: 2, seq_len: 32}
matrix: {train.seed: [0, 1]}
END

exits 2 "$HYLAS" bench gla --device gpu
says "--device takes auto, cpu, cuda or cuda:K, not gpu"
exits 2 "$HYLAS" plan sweep.yaml --set run.device=cuda:x
says "unknown device in section run: 'cuda:x'"

exits 0 "$HYLAS" --version
if grep -q "without CUDA" log; then
    exits 3 "$HYLAS" bench gla --device cuda
    says "this hylas was built without CUDA"
    exits 2 "$HYLAS" plan sweep.yaml --set run.device=cuda
    says "this build has no CUDA; use auto or cpu"
    exit 0
fi
says "with CUDA"

# What follows is what a machine without a device says.
"$HYLAS" bench gla --device cuda --d-model 16 --layers 1 --seconds 0 >log 2>&1 && exit 0
says "the device is to be cuda, but"
exits 2 "$HYLAS" bench gla --device cpu --precision tf32
says "tf32 is for CUDA devices"
# It can be planned for a machine that has one.
exits 0 "$HYLAS" plan sweep.yaml --set run.device=cuda --set train.precision=tf32
# Where it is run without one each run fails, and says why; the sweep goes on to the next.
exits 1 "$HYLAS" run sweep.yaml -o cuda.db --set run.device=cuda:0 --set run.retries=0
exits 0 "$HYLAS" status cuda.db
says "the device is to be cuda:0, but"
# A device is no part of a run's key: the same runs, done on the CPU.
exits 0 "$HYLAS" run sweep.yaml -o cuda.db
exits 0 "$HYLAS" run sweep.yaml -o cuda.db --set run.device=cpu
says "all 2 runs are done already"
exits 0 "$HYLAS" report cuda.db runs --format csv
says ",done,"
