#!/bin/bash
# Names made of SQL, shell, HTML, path and control characters stay data: in the database, in names of
# files, in every format of every report, on the terminal.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

sql() # TEXT, quoted for SQL and for YAML
{
    printf "'%s'" "${1//\'/\'\'}"
}
csv() # FILE SQL: asks another reader of CSV
{
    sqlite3 :memory: -cmd ".import --csv $1 t" "$2"
}
hostile=$'x\'); DROP TABLE run;--"<script>&$(touch pwned)`touch pwned`|;%s #?~*[a](b),ü\\'
host=$'<b>"h,\'&$(touch pwned)'

# ---- A sweep whose name, tasks' files and host are hostile ----

# Of different content, lest they make one run.
mkdir -- -rf
files=("$hostile.txt" $'-\e[31m\xc2\x9b31m.txt' "-rf/$hostile")
for file in "${files[@]}"; do
    for i in {1..60}; do echo "$i lines of '$file'."; done >"./$file"
done
cat >sweep.yaml <<END
name: $(sql "$hostile")
model: {d_model: 16, layers: 1, heads: 1, mlp: 16}
mixer: {variant: gla, ratio: pure}
train: {steps: 2, batch: 2, seq_len: 16}
run: {keep_checkpoint: true}
matrix:
  data.train:
    - [{task: text, path: $(sql "$hostile.txt")}]
    - [{task: text, path: "-\e[31m\x9b31m.txt"}]
    - [{task: text, path: $(sql "../${PWD##*/}/-rf/$hostile")}]
END
run()
{
    exits 0 "$hylas" run sweep.yaml
}
export -f run exits expect fail
export hylas host
hosted=
if unshare --uts true 2>/dev/null; then
    hosted=1
    unshare --uts bash -c 'printf %s "$host" >/proc/sys/kernel/hostname && run' || fail "the run"
else
    echo "the name of the host is left as it is: unshare --uts is not allowed"
    run
fi
! grep -q $'\e\|\xc2\x9b' log || fail "the terminal is told what a name says"
db="$hostile.db"
[ -f "$db" ] || fail "the database is not where it should be"
expect "name" "$(ask "$db" "SELECT DISTINCT name FROM sweep")" "$hostile"
expect "integrity" "$(ask "$db" "PRAGMA integrity_check")" ok
expect "configurations" "$(ask "$db" "SELECT count(*) FROM results WHERE status = 'done'
    AND json_valid(config) AND json_extract(config, '\$.name') = $(sql "$hostile")")" 3
expect "paths" "$(ask "$db" "SELECT count(*) FROM results WHERE
    json_extract(config, '\$.data.train[0].path') LIKE '%' || $(sql "$hostile") || '%'")" 2
[ -z "$hosted" ] || expect "host" "$(ask "$db" "SELECT DISTINCT host FROM results")" "$host"
ls "$db.ckpt" >kept
expect "checkpoints" "$(grep -cE '^[0-9a-f]+\.safetensors$' kept) of $(wc -l <kept)" "3 of 3"

"$hylas" report --list >list
tables=$(sed -n '/^tables/,/^formats/s/^  \([^ ]*\).*/\1/p' list)
formats=$(sed -n '/^formats/,$s/^  \([^ ]*\).*/\1/p' list)
[ "$(wc -w <<<"$tables $formats")" -gt 9 ] || fail "few tables and formats: $tables $formats"
# Some tables have rows of runs alone that select their layers.
ask "$db" ".backup selecting.db"
sqlite3 selecting.db "UPDATE run SET config =
    json_set(config, '\$.select', json_object('method', $(sql "$hostile"), 'budget', 1))"
# One has rows of runs alone whose parts were evaluated by themselves.
ask "$db" ".backup parts.db"
sqlite3 parts.db "INSERT INTO component_score (run, component, task, split, slice, metric, value)
    SELECT run, 'window', task, split, slice, metric, value FROM score WHERE split = 'test'"
for table in $tables; do
    from=$db
    [[ $table != selection && $table != regret ]] || from=selecting.db
    [[ $table != components ]] || from=parts.db
    for format in $formats; do
        # Not every table has a plot.
        "$hylas" report "$from" $table --format $format --sweep "$hostile" >page 2>log || {
            [ $format = svg ] && says "has no plot"
            continue
        }
        [ -s page ] || fail "$table as $format is empty"
        iconv -f utf-8 -t utf-8 page >/dev/null || fail "$table as $format is no UTF-8"
        [ $format = csv ] || ! grep -q $'\e\|\xc2\x9b' page || fail "$table as $format colours"
        case $format in
        html | svg)
            ! grep -q '<script\|<b>' page || fail "$table as $format has a name's elements"
            ! grep -qP '&(?!(lt|gt|amp|quot);)' page || fail "$table as $format has a bare &"
            grep -qF '&lt;script&gt;&amp;$(touch pwned)' page || fail "$table as $format lacks a name"
            ;;
        md) ! grep -q '<script\|<b>\|[^\\]\[a\]' page || fail "$table as md has a name's marks" ;;
        csv)
            case $table in
            runs | layers | stages) column=name ;;
            *) column=label ;;
            esac
            expect "$table as csv" "$(csv page "SELECT count(*), count(DISTINCT sweep), min(sweep)
                FROM t WHERE $column LIKE '%path%'")" "3|1|$hostile"
            ;;
        esac
    done
done
"$hylas" report "$db" runs --format csv >page
[ -z "$hosted" ] || expect "host as csv" "$(csv page 'SELECT DISTINCT host FROM t')" "$host"
exits 0 "$hylas" status "$db"
says "${hostile:0:40}"
exits 0 "$hylas" plan sweep.yaml
! grep -q $'\e\|\xc2\x9b' log || fail "a plan colours"

# ---- Names of files ----

cat >noop.yaml <<'END'
data: {train: [{task: noop, points: 1}]}
mixer: {variant: gla, ratio: pure}
train: {steps: 1}
END
for name in :memory: 'file:x?mode=memory' 'FILE:y' -x ' ' '~' '%s%n' '$(touch pwned)' $'\xff<\xfe'; do
    exits 0 "$hylas" run noop.yaml "--output=$name"
    [ -f "./$name" ] || fail "there is no database '$name'"
    expect "runs" "$(ask "./$name" 'SELECT count(*) FROM results')" 1
    exits 0 "$hylas" status -- "$name"
    says "All runs have ended"
done
for name in file:z -z "'"; do
    exits 0 "$hylas" run noop.yaml --set "name=\"$name\""
done
[ -f file:z.db ] && [ -f ./-z.db ] && [ -f "'.db" ] || fail "a sweep's name does not name its database"
cp noop.yaml $'\xff<\xfe.yaml'
exits 0 "$hylas" run $'\xff<\xfe.yaml'
"$hylas" report $'\xff<\xfe.db' runs --format csv | iconv -f utf-8 -t utf-8 >page || fail "no UTF-8"
expect "sweep" "$(csv page 'SELECT sweep FROM t')" '�<�'
cp noop.yaml "$hostile.yaml"
exits 0 "$hylas" launch -n 1 "$hostile.yaml" -o "launched $hostile"
[ -f "launched $hostile" ] || fail "launch took a name apart"

before=$(ls -A)
refused() # CODE TEXT ARGUMENTS
{
    local code=$1 text=$2
    shift 2
    exits "$code" "$hylas" run noop.yaml "$@"
    says "$text"
}
refused 2 "the database's name is empty" -o ''
refused 2 "cannot name a file" --set 'name=""'
refused 2 "cannot name a file" --set 'name=..'
refused 2 "cannot name a file" --set 'name=../up'
refused 2 "cannot name a file" --set 'name=/up'
refused 2 "cannot name a file" --set 'name="a\nb"'
refused 2 "must not hold the character 0" --set 'name="a\0b"'
refused 3 "File name too long" --set "name=$(printf 'x%.0s' {1..300})"
expect "files after names that were refused" "$(ls -A)" "$before"
[ ! -e pwned ] || fail "a name was run by a shell"
