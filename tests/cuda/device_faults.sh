#!/usr/bin/env bash
# What becomes of a sweep whose device is not there, too old, full, too small or lost. The emulated device
# has these faults at will (tests/cuda/emulator/runtime.cpp).
#
#   device_faults.sh HYLAS
HYLAS=$1
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

cat >sweep.yaml <<'END'
name: tiny
model: {d_model: 16, layers: 1, heads: 2, mlp: 16}
mixer: {variant: hgrn, ratio: pure}
data: {train: [{task: mqar, vocab: 32, pairs: 2, examples: 4}]}
train: {steps: 2, batch: 2, seq_len: 16}
run: {retries: 0}
matrix: {train.seed: [0, 1]}
END

faulty() # FAULT DEVICE CODE OPTIONS...: both runs are tried; what became of them is in log
{
    local fault=$1 device=$2 code=$3
    shift 3
    rm -f db*
    HYLAS_EMULATED=$fault exits "$code" "$hylas" run sweep.yaml -o db --set "run.device=$device" "$@"
    local wanted=failed
    [ "$code" = 1 ] || wanted=done
    expect "$fault, $device: runs that ended" \
        "$(ask db "SELECT count(*) FROM results WHERE status = '$wanted'")" 2
    if [ "$code" = 1 ]; then
        ask db "SELECT reason FROM attempts" >log
    else
        ask db "SELECT device FROM results UNION ALL SELECT text FROM facts WHERE name = 'device_refused'" >log
    fi
}

faulty none cuda 1
says "the device is to be cuda, but this machine has no CUDA device"
faulty none auto 0
expect "devices" "$(sort -u log)" cpu

faulty old cuda:0 1
says "the driver serves CUDA up to 11.4, but hylas was built with CUDA 12.0"
faulty old auto 0
says cpu
says "the driver serves CUDA up to 11.4, but hylas was built with CUDA 12.0"

faulty full cuda 1 --set model.d_model=1024
grep -qE "cuda:0 .emulated.: out of memory: .* need [0-9]+ bytes, and [0-9]+ of its 1073741824 are free" log ||
    fail "out of memory: $(cat log)"

faulty lost cuda 1 --set train.steps=100
says "cuda:0 (emulated): replaying a run: unknown error"

# A device that is gone when the first run has ended takes the second with it, though any would do.
rm -f db*
HYLAS_EMULATED=gone exits 1 "$hylas" run sweep.yaml -o db --set run.gang=1
ask db "SELECT device FROM results WHERE status = 'done'" >log
expect "devices" "$(cat log)" "cuda:0 (emulated)"
ask db "SELECT reason FROM attempts WHERE status = 'failed'" >log
says "the device is to be cuda, but this machine has no CUDA device"

exits 2 "$hylas" plan sweep.yaml --set run.device=cuda --set model.d_model=8192
grep -qE "the run needs [0-9]+ bytes on cuda:0 .emulated., which has 1073741824" log || fail "the plan"
