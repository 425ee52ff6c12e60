#!/usr/bin/env bash
# hylas bench: every variant trains and decodes at several lengths, the table is data for programs, and what
# a linear variant has to do per token does not grow with the length, a log-linear one's with its logarithm.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
tiny=(--d-model 32 --layers 1 --heads 2 --mlp 32 --vocab 32 --seconds 0 --format csv)
# field NAME: awk's number of a column.
field() { head -1 table | tr ',' '\n' | grep -nx "$1" | cut -d: -f1; }
refused() { # PATTERN ARGUMENT...
    local pattern=$1 code=0
    shift
    "$HYLAS" bench "$@" >out 2>err || code=$?
    ((code == 2)) || fail "bench $*: exit code $code"
    grep -q -- "$pattern" err || fail "bench $*: $(cat err)"
}

variants=$("$HYLAS" variants | awk 'NR > 2 {print $1}')
linear=$("$HYLAS" variants | awk 'NR > 2 && $2 == "linear" && !/^log_linear/ {print $1}')
log_linear=$("$HYLAS" variants | awk 'NR > 2 && /^log_linear/ {print $1}')
for mode in train decode; do
    options=()
    [[ $mode == decode ]] && options=(--decode)
    "$HYLAS" bench "${tiny[@]}" "${options[@]}" --tokens 128,256,512 --batch 4 --profile \
        >both 2>err || fail "$mode: $(cat err)"
    sed '/^$/,$d' both >table
    for variant in $variants; do
        rows=$(awk -F, -v m="$mode" -v v="$variant" '$1 == m && $2 == v' table | wc -l)
        ((rows == 3)) || fail "$mode: $variant has $rows rows"
        grep -q "^$variant,512,linear,forward," both || fail "$mode: no profile"
    done
    awk -F, -v r="$(field tokens_per_s)" 'NR > 1 && !($r > 0)' table >bad
    [[ ! -s bad ]] || fail "$mode: no rate: $(cat bad)"
    mv table "$mode.csv"
done

# growth VARIANT: FLOPs per token in training at the longest sequence, over those at the shortest.
growth() {
    awk -F, -v v="$1" -v f="$(field gflop_per_s)" -v r="$(field tokens_per_s)" '
        $2 == v {last = $f / $r; if (!first) first = last}
        END {print last / first}' table
}
# steps VARIANT EXPRESSION: how much it, of columns by their numbers, grows with each doubling of the length.
steps() {
    awk -F, -v v="$1" -v f="$(field gflop_per_s)" -v r="$(field tokens_per_s)" -v c="$(field memory_bytes)" '
        $2 == v {x = '"$2"'; if (n++) print x - last; last = x}' table
}
# doubling_adds VARIANT EXPRESSION: the same each time, and something.
doubling_adds() {
    steps "$1" "$2" | awk '{x[NR] = $1} END {exit !(NR == 2 && x[1] > 0 && x[2] > .99 * x[1] && x[2] < 1.01 * x[1])}' ||
        fail "$1: doublings of the length add $(steps "$1" "$2" | tr '\n' ' ')"
}
cp train.csv table
for variant in $log_linear; do
    doubling_adds "$variant" '$f / $r'
done
for variant in $linear; do # a window of 64 is nearly full at 128 tokens
    awk -v x="$(growth "$variant")" 'BEGIN {exit !(x > .99 && x < 1.1)}' ||
        fail "$variant: $(growth "$variant") times the FLOPs per token at 4 times the length"
done
awk -v x="$(growth softmax)" 'BEGIN {exit !(x > 1.9 && x < 2.1)}' || fail "softmax: $(growth softmax)"

# Decoding: the cache of a linear variant has one size.
cp decode.csv table
for variant in $linear; do
    sizes=$(awk -F, -v v="$variant" -v c="$(field memory_bytes)" '$2 == v {print $c}' table | sort -u | wc -l)
    ((sizes == 1)) || fail "$variant: the cache grows"
done
for variant in $log_linear; do # a state more
    doubling_adds "$variant" '$c'
done
sizes=$(awk -F, -v c="$(field memory_bytes)" '$2 == "softmax" {print $c}' table)
[[ $sizes == $'32768\n65536\n131072' ]] || fail "softmax: caches of $sizes bytes"

refused 'unknown variant .sotfmax.*softmax' sotfmax
refused '--tokens takes a whole number from 1' --tokens 64,,128
refused 'heads 3 does not divide' --heads 3
refused 'unknown format' --format xml
refused 'did you mean --tokens' --toknes 3
refused '--seconds takes a number' --seconds -1
