#!/bin/bash
# What the runner and the store can carry, with runs that train nothing (task noop): prints the
# table of docs/bench.md, "The runner". Takes about three minutes on two quiet cores.
#
#   bench/runner.sh [BUILD [RUNS]]        BUILD: build; RUNS: 10000
set -euo pipefail
build=$(realpath "${1:-build}")
runs=${2:-10000}
hylas=$build/hylas
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
folder=$(mktemp -d -p "${TMPDIR:-/tmp}")
trap 'rm -rf "$folder"' EXIT
cd "$folder"

sweep() # RUNS POINTS: a sweep of noop runs on standard output
{
    echo "data: {train: [{task: noop, points: $2}]}"
    echo "mixer: {variant: gla, ratio: pure}"
    echo "train: {steps: 100}"
    echo "run: {isolate: none}"
    echo "matrix: {train.seed: [$(seq -s, "$1")]}"
}
row() # WHAT VALUE
{
    printf '| %-58s | %14s |\n' "$1" "$2"
}
# Runs a sweep on some ranks and sets: seconds, share (% of a core), memory (MiB) of rank 0.
measure() # RANKS SWEEP OPTIONS...
{
    local launch=() ranks=$1
    shift
    [ "$ranks" = 1 ] || launch=(mpirun --oversubscribe --bind-to none -n "$ranks")
    rm -f noop.db*
    "${launch[@]}" "$hylas" --verbose run "$@" -o noop.db 2>log || { tail -n 3 log; exit 1; }
    read -r seconds share memory < <(sed -n \
        's/.*rank 0 took .* in \(.*\) s (\(.*\) %), and \(.*\) MiB.*/\1 \2 \3/p' log)
}
rate() # COUNT
{
    awk -v n="$1" -v s="$seconds" 'BEGIN { printf "%.0f", n / s }'
}
user_seconds() # COMMAND...
{
    local TIMEFORMAT=%U
    { time "$@" >/dev/null 2>&1; } 2>&1
}

echo "| what | measured |"
echo "|-|-:|"
for n in $((runs / 10)) "$runs" $((runs * 10)); do
    sweep "$n" 0 >plan.yaml
    row "plan of $n runs, processor seconds" "$(user_seconds "$hylas" plan plan.yaml)"
done

sweep "$runs" 0 >noop.yaml
for ranks in 1 4; do
    measure $ranks noop.yaml
    row "$runs runs in threads, $ranks ranks, runs/s" "$(rate "$runs")"
    row "... rank 0, MiB at most" "$memory"
done
row "... database, bytes a run" "$(($(stat -c %s noop.db) / runs))"
row "... status of it, processor seconds" "$(user_seconds "$hylas" status noop.db)"
row "... report of it, processor seconds" "$(user_seconds "$hylas" report noop.db)"

few=$((runs / 20))
sweep "$few" 0 >few.yaml
measure 1 few.yaml --set run.isolate=process
row "$few runs in processes, 1 rank, runs/s" "$(rate "$few")"
row "a process that only starts (hylas --version), 1/s" \
    "$("$build/bench/bench_spawn" "$few" "$hylas" --version)"

sweep "$runs" 100 >rows.yaml
measure 4 rows.yaml
row "$((100 * runs)) history rows of $runs runs, 4 ranks, rows/s" "$(rate $((100 * runs)))"
row "... rank 0, MiB at most" "$memory"
row "... database, bytes a row" "$(($(stat -c %s noop.db) / (100 * runs)))"
row "$((100 * runs)) history rows into the store alone, rows/s" \
    "$("$build/bench/bench_store" store.db $((100 * runs)))"

# Ordinary runs: 40 of two seconds each, in processes, with the rows of a run of 2000 steps.
sweep 40 200 >ordinary.yaml
measure 4 ordinary.yaml --set run.isolate=process --set train.steps=2000 --set eval.every=500 \
    --set 'data.train=[{task: noop, points: 200, seconds: 2s}]'
row "40 runs of 2 s in processes, 4 ranks: rank 0, % of a core" "$share"
