#!/usr/bin/env bash
# Tables of runs that select their layers, with figures worked out by hand.
source "$(dirname "${BASH_SOURCE[0]}")/../support/selected.sh"

report() # DB TABLE FORMAT [OPTION]...
{
    exits 0 "$hylas" report "$1" "$2" --format "$3" "${@:4}"
}
# A column of the data by its head, rows in order, with commas between.
column() # HEAD
{
    sqlite3 :memory: -cmd ".import --csv log t" "SELECT group_concat(\"$1\") FROM t"
}
rows() # DB TABLE COUNT
{
    report "$1" "$2" csv
    expect "rows of $2" "$(($(wc -l <log) - 1))" "$3"
}

# ---- selection ----

make_db x.db
for seed in 0 1 2; do
    plain x.db a $seed FFFF 20 0.75 4000
done
# 5, 6 and 10 per cent more: mean 7, deviation sqrt(7), interval 4.3027 sqrt(7 / 3).
selects x.db a gates '"1 %"' 0 LLFL 21 0.625 1000 select_met 1
selects x.db a gates '"1 %"' 1 FLFL 21.2 0.5 2000 select_met 0
selects x.db a gates '"1 %"' 2 LLFL 22 0.75 1000 select_met 1
selects x.db a greedy 2 0 FFLL 30 0.25 2000
selects x.db a kl '"0.01 nats"' 7 LLLL 30 0.25 1000 select_met 1
add_run x.db a gla 0 '????' '{"method":"edges","tolerance":null,"budget":2}'
sqlite3 x.db "UPDATE run SET status = 'failed', reason = 'no memory' WHERE placement = 'edges'"
status=running add_run x.db a gla 3 '????' \
    '{"method":"gates","tolerance":"1 %","budget":null,"metric":"ppl"}'

rows x.db selection 4
expect "methods" "$(column method)" "edges,gates,greedy,kl"
expect "n" "$(column n)" "0,3,1,1"
expect "layouts" "$(column layouts)" ",LLFL, FLFL,FFLL,LLLL"
expect "met" "$(column met)" ",2,,1"
expect "failed" "$(column failed)" "1,0,0,0"
report x.db selection csv
number() # HEAD METHOD DECIMALS
{
    sqlite3 :memory: -cmd ".import --csv log t" \
        "SELECT printf('%.$3f', \"$1\") FROM t WHERE method = '$2' AND \"$1\" <> ''"
}
expect "mean" "$(number ppl_percent gates 6)" 7.000000
expect "interval" "$(number ppl_percent_ci95 gates 4)" 6.5725
expect "recall" "$(number recall_diff gates 6)" -0.125000
expect "interval of recall" "$(number recall_diff_ci95 gates 4)" 0.3105
expect "cache" "$(number cache_percent gates 3)" 33.333
expect "full layers" "$(number full_layers gates 4)" 1.3333
expect "one pair" "$(number ppl_percent greedy 3)/$(number ppl_percent_ci95 greedy 3)" "50.000/"
expect "no pair" "$(number ppl_percent kl 3)" ""

report x.db selection md
says "| gates | 1 % | 3 <sup>2</sup> | LLFL, FLFL | 1.33 | +7.00 ± 6.57 % | -0.125 ± 0.311 | 33.3 % | 2 of 3 |"
says "| greedy | 2 full | 1 | FFLL | 2 | +50.00 % | -0.500 | 50.0 % | – |"
says "| edges | 2 full | 0 <sup>1</sup> | – | – | – | – | – | – |"
says "| kl | 0.01 nats | 1 | LLLL | 0 | – <sup>3</sup> | – <sup>3</sup> | – | 1 of 1 |"
says "<sup>1</sup> 1 of 1 runs gave no result; failed: no memory"
says "<sup>2</sup> pending: 1 of 4 runs have not ended"
says "<sup>3</sup> 1 of 1 runs have no finished all-softmax run of their seed and learning rate"

# The rate that validation chose, and cells that neither method nor tolerance tells apart.
lr=0.01 plain x.db b 0 FFFF 20 0.75 4000
lr=0.01 selects x.db b gates 1 0 LLFL 22 0.7 1000
lr=0.02 selects x.db b gates 1 0 LLLF 22 0.6 1000
lr=0.01 steps=8 selects x.db b gates 1 0 LFLL 24 0.6 1000
report x.db selection csv --sweep b
expect "rates" "$(column lr)" "0.01,0.01"
expect "layouts at them" "$(column layouts)" "LLFL,LFLL"
report x.db selection md --sweep b
says "| steps=4 | gates | 1 full | 1 | LLFL | 1 | +10.00 % | -0.050 | 25.0 % | – |"

# ---- layers ----

report x.db layers text --sweep a
says "?: which layers stay full is not decided yet"
report x.db layers csv --sweep a
expect "rows" "$(column layout)" "????,????,LLFL,LLFL,FLFL,FFLL,LLLL,FFFF,FFFF,FFFF"
sqlite3 x.db "INSERT INTO layer VALUES (4, 0, 'linear', 'gla', 'gate', 1.25),
    (4, 0, 'linear', 'gla', 'importance', 9), (4, 1, 'linear', 'gla', 'gate', 0.0625),
    (4, 2, 'full', 'softmax', 'gate', -123.4), (4, 3, 'linear', 'gla', 'params', 7),
    (7, 0, 'full', 'softmax', 'loss_added', 0.5)"
report x.db layers md --sweep a
says "| 4 | gla selected gates seed=0 | gate | L 1.2 | L 0.062 | F -123 | L |"
says "| 7 | gla selected greedy seed=0 | loss_added | F 0.5 | F | L | L |"
says "| 1 | softmax full list seed=0 |  | F | F | F | F |"
report x.db layers csv --sweep a
expect "measured" "$(sqlite3 :memory: -cmd ".import --csv log t" \
    "SELECT layer, kind, importance, gate FROM t WHERE run = 4 AND layer < 2")" "0|linear|9.0|1.25
1|linear||0.0625"

tones() # FILL
{
    grep -c "class=\"cell\".*fill=\"$1\"" log || true
}
add_run x.db w gla 0 LWFL ""
report x.db layers svg --sweep w
# One more of each in the legend; nothing of the sweep is undecided.
expect "linear" "$(tones '#c6dcec')" 3
expect "full" "$(tones '#004a75')" 2
expect "others" "$(tones 'url(#hatched)')" 2
expect "undecided" "$(tones '#fff')" 0
says ">W</text>"
selects x.db w gates 1 0 FFLL 20 0.75 4000
report x.db layers csv --sweep w
expect "selected ones first" "$(column layout)" "FFLL,LWFL"
report x.db layers svg --sweep a
expect "undecided" "$(tones '#fff')" 9
for seed in $(seq 81); do
    printf 'plain many.db m %d LLLF 20 0.75 4000\n' "$seed"
done >many.sh
make_db many.db
source many.sh
report many.db layers svg
expect "drawn" "$(tones '#004a75')" 81
says "and 1 more, which the table has"
report many.db layers md
expect "listed" "$(grep -c '^| [0-9]' log)" 81

# ---- regret ----

make_db r.db
truth() # LAYOUT PPL PPL RECALL RECALL
{
    plain r.db truth 0 "$1" "$2" "$4" 1000
    plain r.db truth 1 "$1" "$3" "$5" 1000
}
truth LLL 40 42 0.1 0.1
truth LLF 30 32 0.5 0.75 # as good as LFL
truth LFL 31 31 0.625 0.625
truth FLL 28 30 0.375 0.625
truth LFF 25 27 0.8 0.8
truth FLF 24 24 0.9 0.9
truth FFL 26 28 0.7 0.7
truth FFF 20 22 0.95 0.95
selects r.db a gates '"1 %"' 0 LLF 99 0 1000
selects r.db a gates '"1 %"' 1 FLL 99 0 1000
selects r.db a gates '"1 %"' 2 LFF 99 0 1000
selects r.db a greedy 1 0 LFL 99 0 1000
selects r.db other kl 3 0 FFF 99 0 1000
status=failed plain r.db truth 2 LFL 1 1 1000
# Runs of two sweeps count once; of a layout's learning rates validation chooses one.
sqlite3 r.db "INSERT INTO sweep (name, text, version, added) VALUES ('again', '', '', 0);
    INSERT INTO sweep_run SELECT sweep.id, run.id FROM sweep, run
    WHERE name = 'again' AND seed = 0 AND (layout = 'LLF' OR ratio = 'selected')"
lr=0.01 plain r.db other 0 LLF 99 0.1 1000
status=failed add_run r.db a gla 1 '???' '{"method":"greedy","tolerance":null,"budget":1}'

report r.db regret csv --sweep a
expect "layouts" "$(column layout)" "LLF,FLL,LFF,LFL"
expect "ppl_regret" "$(column ppl_regret)" "2,0,2,2"
expect "recall_regret" "$(column recall_regret)" "0,0.125,0.1,0"
expect "ppl_rank" "$(column ppl_rank)" "2,1,2,2"
expect "ppl_of" "$(column ppl_of)" "3,3,3,3"
expect "recall_rank" "$(column recall_rank)" "1,3,2,1"
expect "ppl_rank_all" "$(column ppl_rank_all)" "6,5,3,6"
expect "ppl_all" "$(column ppl_all)" "8,8,8,8"
expect "recall_rank_all" "$(column recall_rank_all)" "5,7,3,5"
expect "truth" "$(column truth_layouts)/$(column truth_runs)" "8,8,8,8/2,2,2,2"
report r.db regret md --sweep a
says "| gates | 1 % | 3 | LLF, FLL, LFF <sup>1</sup> | 2, 1, 2 of 3 | 1, 3, 2 of 3 |"
says "| 6, 5, 3 of 8 | 5, 7, 3 of 8 | 1.333 | 0.075 |"
says "<sup>1</sup> the truth: 8 layouts of gla, 2 runs each"
report r.db regret csv
expect "every sweep" "$(column ppl_rank_all)" "6,5,3,6,1"

# Which runs rest on their window.
! grep -q collapsed log || fail "nothing was switched off"
switch_off() # RUN WINDOW
{
    sqlite3 r.db "INSERT OR REPLACE INTO score VALUES ($1, 'mqar', 'test', '', 'accuracy', 0.75);
        INSERT OR REPLACE INTO component_score VALUES
            ($1, 'window', 'mqar', 'test', '', 'accuracy', $2),
            ($1, 'none', 'mqar', 'test', '', 'accuracy', 0.25)"
}
gates=($(sqlite3 r.db "SELECT run FROM results WHERE selected_by = 'gates' ORDER BY run"))
switch_off "${gates[0]}" 0.75
switch_off "${gates[1]}" 0.5
for table in regret selection; do
    report r.db $table md --sweep a
    says "| gates <sup>‡,1</sup> | 1 % | 3 "
    says "<sup>1</sup> 1 of 3 runs rest on their window"
done
report r.db regret csv --sweep a
expect "collapsed" "$(column collapsed)" "1,0,,"
report r.db selection csv --sweep a
expect "collapsed cells" "$(column collapsed)" "1,,"

# A smaller truth of a run's own settings is not preferred to a whole one.
steps=8 selects r.db c gates 1 0 LLF 99 0 1000
steps=8 plain r.db c 0 LLF 30 0.5 1000
steps=8 plain r.db c 0 LFL 20 0.5 1000
report r.db regret text --sweep c
says "2 of 3"
says "the truth: 8 layouts of gla, 2 runs each; its runs differ from these in more than the selection"
# A whole one of its own is. A layout of three runs, and two of different numbers.
steps=8 plain r.db c 0 FLL 40 0.5 1000
steps=8 plain r.db c 1 FLL 40 0.5 1000
report r.db regret text --sweep c
says "2 of 3"
says "the truth: 3 layouts of gla, 1 to 2 runs each"
steps=8 selects r.db c gates 1 1 FFL 99 0 1000
report r.db regret text --sweep c
says "2, 3 of 3"
says "2 of 3, 4 of 8"

# No truth, and none of this layout.
make_db none.db
plain none.db a 0 FFF 20 0.9 1000
selects none.db a gates 1 0 LLF 99 0 1000
report none.db regret text
says "there is no truth: no plain runs of several layouts of gla with 3 layers of this width"
expect "no rank" "$(report none.db regret csv && column ppl_rank)" ""
plain none.db a 0 LFL 20 0.9 1000
steps=8 plain none.db a 0 LLF 20 0.9 1000
report none.db regret text
says "layout LLF is not among the plain runs"
plain none.db a 0 LLF 20 0.9 1000
sqlite3 none.db "DELETE FROM facts WHERE name LIKE 'recall%'"
report none.db regret text
says "; of 3 with 1 full layers only 2"
report none.db regret csv
expect "ties" "$(column ppl_rank) of $(column ppl_of)" "1 of 2"
expect "without recall" "$(column recall_rank)$(column recall_regret)" ""
echo "all good"
