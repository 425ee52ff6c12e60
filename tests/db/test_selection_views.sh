#!/usr/bin/env bash
# Runs that select their layers: the views show what was found, seeds of a method stay one cell, and
# each run meets its all-softmax reference.
source "$(dirname "${BASH_SOURCE[0]}")/../support/selected.sh"

make_db x.db
# Runs 1 and 2 are references of seeds 0 and 1; 3 to 6 select.
plain x.db a 0 FFFF 20 0.9 4000
plain x.db a 1 FFFF 25 0.8 4000
selects x.db a gates '"1 %"' 0 LLFL 21 0.85 1000 select_met 1 select_given_back 2
selects x.db a gates '"1 %"' 1 FLFL 24 0.8 2000 select_met 0 select_given_back 0
more=',"steps":9' selects x.db a greedy 1 0 LFLL 30 0.5 1000
status=failed reason="'no memory'" \
    add_run x.db a gla 2 '????' '{"method":"gates","tolerance":"1 %","budget":null,"metric":"ppl"}'

expect "layouts" "$(ask x.db "SELECT run, layout, linear_layers, full_layers, selected_by
    FROM results WHERE run IN (1, 3, 4, 6)")" "1|FFFF|0|4|
3|LLFL|3|1|gates
4|FLFL|2|2|gates
6|????|4|0|gates"
# The layers of a budget's runs agree, those of the tolerance do not; a failed run knows none.
expect "cells" "$(ask x.db "SELECT label, ratio, n, runs, failed, linear_layers, full_layers
    FROM ratio_recall ORDER BY ratio, label")" "|full|2|2|0|0|4
select.budget=1 select.method=greedy|selected|1|1|0|3|1
select.method=gates select.tolerance=1 %|selected|2|3|1||"

selection="SELECT run, method, coalesce(tolerance, budget), full_layers, met, given_back, reference,
    round(ppl_ratio, 4), round(recall_diff, 4), cache_ratio, chosen FROM selection"
expect "selection" "$(ask x.db "$selection ORDER BY run")" "3|gates|1 %|1|1|2|1|1.05|-0.05|0.25|1
4|gates|1 %|2|0|0|2|0.96|0.0|0.5|1
5|greedy|1|1|||1|1.5|-0.4|0.25|1"

# No reference: another sweep, seed, rate; one that failed; one that has selected all its layers.
make_db y.db
plain y.db other 0 FFFF 20 0.9 4000
plain y.db a 1 FFFF 20 0.9 4000
lr=0.01 plain y.db a 0 FFFF 20 0.9 4000
status=failed plain y.db a 0 FFFF 20 0.9 4000
selects y.db a gates 4 0 FFFF 20 0.9 4000
plain y.db a 0 LLLL 20 0.9 4000
selects y.db a gates 2 0 LLFF 21 0.85 1000
expect "without reference" "$(ask y.db "$selection WHERE run = 7")" "7|gates|2|2|||||||1"
# What it started from comes first, wherever that is, unless it is no all-softmax model.
plain y.db a 0 FFFF 10 0.9 4000
source=1 selects y.db a gates 2 0 LLFF 21 0.85 1000
source=6 selects y.db a gates 2 0 LLFF 21 0.85 1000
source=5 selects y.db a gates 2 0 LLFF 21 0.85 1000
expect "sources" "$(ask y.db "SELECT run, reference, ppl_ratio FROM selection WHERE run > 8 ORDER BY run")" \
    "9|1|1.05
10|8|2.1
11|8|2.1"

# A label holds what varies among a method's own settings, and not what another method lacks.
make_db z.db
plain z.db a 0 LLLF 20 0.9 4000
more=',"steps":9' selects z.db a gates '"1 %"' 0 LLFL 21 0.85 1000
expect "beside planned layouts" "$(ask z.db "SELECT label FROM labels ORDER BY label")" \
    "
select.method=gates"
more=',"steps":8' selects z.db a kl '"1 %"' 0 LLFL 21 0.85 1000
more=',"steps":7' selects z.db a kl '"1 %"' 0 LLFL 21 0.85 1000
expect "own settings" "$(ask z.db "SELECT label FROM labels ORDER BY label")" "
select.method=gates
select.method=kl select.steps=7
select.method=kl select.steps=8"
echo "all good"
