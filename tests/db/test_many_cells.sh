#!/usr/bin/env bash
# The work of the views grows with the cells and not with their square: counted in steps of SQLite's
# machine, so that no clock decides.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

cat >one.yaml <<END
data: {train: [{task: noop}]}
mixer: {variant: gla, ratio: pure}
run: {isolate: none}
END
exits 0 "$hylas" run one.yaml -o few.db

# Copies of the one run, each with a batch of its own.
columns=$(sqlite3 few.db "SELECT group_concat(name) FROM pragma_table_info('run')
    WHERE name NOT IN ('id', 'key', 'config')")
grow() # DB CELLS
{
    sqlite3 "$1" "
        WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
        INSERT INTO run (id, key, config, $columns)
        SELECT i, i, json_set(config, '\$.train.batch', 100 + i), $columns FROM n, run WHERE id = 1;
        INSERT INTO sweep_run SELECT 1, id FROM run WHERE id > 1;
        INSERT INTO facts SELECT run.id, name, value, text FROM facts, run
        WHERE facts.run = 1 AND run.id > 1"
}
steps() # DB VIEW
{
    sqlite3 -cmd '.stats vmstep' "$1" "SELECT count(*), max(cell) > '' FROM $2" |
        sed -n 's/^VM-steps: //p'
}
cp few.db many.db
grow few.db 300
grow many.db 1200
for view in labels rates ratio_recall; do
    few=$(steps few.db $view) many=$(steps many.db $view)
    expect "cells of $view" "$(sqlite3 many.db "SELECT count(DISTINCT cell) FROM $view")" 1200
    ((many < 6 * few)) || fail "$view: $few steps for 300 cells, $many for 1200"
done

# Runs that select, each with a reference of its own seed.
pair() # DB PAIRS
{
    sqlite3 "$1" "
        UPDATE run SET seed = id, linear_layers = layers - layers * (id % 2),
            full_layers = layers * (id % 2),
            config = iif(id % 2, config, json_set(config, '\$.select.method', 'gates'));
        UPDATE run SET seed = id - 1 WHERE id % 2 = 0"
    expect "references" "$(sqlite3 "$1" "SELECT count(reference) FROM selection")" $2
}
pair few.db 150
pair many.db 600
few=$(steps few.db selection) many=$(steps many.db selection)
((many < 6 * few)) || fail "selection: $few steps for 150 runs, $many for 600"
