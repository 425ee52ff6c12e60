#!/bin/bash
# A database that an earlier hylas wrote: its finished runs are reused, and what views say of them
# is what they said. Where HY_ENGINE_REVISION changes these runs are new ones: make schema_5.sql of
# such a database anew.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"
cat >old.yaml <<'END_OF_SWEEP'
name: old
model: {d_model: 16, layers: 2, heads: 2, mlp: 16}
data: {train: [{task: mqar, vocab: 16, pairs: [2], examples: 8}]}
train: {steps: 4, batch: 2, seq_len: 16}
mixer: {ratio: "1:1"}
matrix:
  mixer.variant: [gla, retnet]
END_OF_SWEEP
sqlite3 old.db <"$HYLAS_SOURCE/tests/db/schema_5.sql"
exits 0 "$hylas" report old.db
grep -q "‡" log && fail "a mark without a measurement"
exits 0 "$hylas" run old.yaml
says "all 2 runs are done already"
expect "version" "$(ask old.db 'PRAGMA user_version')" 8
expect "what is new" "$(ask old.db 'SELECT count(source), count(stages), count(kinds),
        count(selected_by), count(collapsed) FROM results')" "0|0|0|0|0"
# Its scores are those of whole models; a component's find their place beside them.
expect "components" "$(ask old.db 'SELECT count(*) FROM components')" 0
sqlite3 old.db "INSERT INTO component_score SELECT run, 'window', task, split, slice, metric, value - 0.25
    FROM slices WHERE run = 1 AND split = 'test' AND metric = 'accuracy' AND slice = ''"
expect "a component" "$(ask old.db 'SELECT component, delta FROM components ORDER BY component')" \
    "full|0.0
window|-0.25"
sqlite3 old.db 'DELETE FROM component_score'
# What is trained today is what was trained then.
exits 0 "$hylas" run old.yaml -o new.db
values="SELECT variant, round(ppl_valid, 3), round(recall_test, 3), state_bytes, cache_bytes, params,
        train_bytes, flops_per_token FROM results ORDER BY variant"
expect "values" "$(ask old.db "$values")" "$(ask new.db "$values")"
echo "all good"
