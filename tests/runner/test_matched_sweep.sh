#!/usr/bin/env bash
# A sweep of matched models from plan to report: the plan shows what was chosen and how near it comes, the
# report holds a variant's ratios in one row, and a bad match stops the sweep before anything trains.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
cat >sweep.yaml <<'END'
name: matched
model: {d_model: 32, layers: 2, heads: 2, match: {params: 60k}}
mixer: {variant: gla}
data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 8}]}
train: {steps: 2, batch: 2, seq_len: 16}
matrix: {mixer.ratio: [pure, "1:1", full], train.seed: [0, 1]}
END
"$HYLAS" plan sweep.yaml >plan
grep -q 'mlp=[0-9]* *[+-][0-9.]* %$' plan || fail "the plan shows no match: $(cat plan)"
"$HYLAS" plan sweep.yaml --format csv | awk -F, 'NR > 1 && ($5 < 57000 || $5 > 63000) {exit 1}' ||
    fail "parameters beyond the tolerance: $(cat plan)"
"$HYLAS" plan sweep.yaml --set model.match=null >plan
! grep -q residual plan || fail "a plan without a match shows one"

"$HYLAS" run sweep.yaml --quiet
"$HYLAS" report matched.db --format csv >report
[[ $(tail -n +2 report | cut -d, -f2-4 | sort) == $'gla,,1:1\ngla,,pure\nsoftmax,,full' ]] ||
    fail "matched sizes tell cells apart: $(cat report)"
[[ $("$HYLAS" report matched.db | grep -c '^gla') == 1 ]] || fail "gla has several rows"
near=$(sqlite3 matched.db "SELECT count(*) FROM facts JOIN results USING (run)
    WHERE facts.name = 'match_residual' AND abs(value) <= 0.05
    AND abs(value - json_extract(config, '$.model.match.residual')) < 1e-12")
[[ $near == 6 ]] || fail "residuals of $near runs, not 6"

code=0
"$HYLAS" run sweep.yaml -o none.db --set model.match.params=1k >log 2>&1 || code=$?
[[ $code == 2 && ! -e none.db ]] || fail "a match out of reach ends with $code"
grep -q 'no mlp reaches model.match.params 1000 within 5 %' log || fail "$(cat log)"
sed -i 's/params: 60k/params: 1k/' sweep.yaml
"$HYLAS" plan sweep.yaml >log 2>&1 || true
grep -q '^hylas: sweep.yaml:2:[0-9]*: no mlp reaches' log || fail "no place: $(cat log)"
