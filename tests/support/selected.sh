# What tests of selected layouts share: source it. Made-up runs in a database of the program's own
# making; they differ in what the tests are about and in nothing else.
source "$(dirname "${BASH_SOURCE[0]}")/shell.sh"

# A database without runs.
make_db() # DB
{
    cat >empty.yaml <<'END'
name: empty
data: {train: [{task: noop}]}
mixer: {variant: gla, ratio: pure}
run: {isolate: none}
END
    exits 0 "$hylas" run empty.yaml -o "$1"
    sqlite3 "$1" "DELETE FROM sweep_run; DELETE FROM facts; DELETE FROM score; DELETE FROM layer;
        DELETE FROM point; DELETE FROM attempt; DELETE FROM run; DELETE FROM sweep"
}

# Adds a run. select: the section's JSON, empty without one. layout: as planned; facts: "name value"
# pairs, a text in quotes. steps tells settings apart, lr learning rates. Variables of the caller may
# be steps, lr, status, source (a run's number).
add_run() # DB SWEEP VARIANT SEED LAYOUT SELECT [FACT VALUE]...
{
    local db=$1 sweep=$2 variant=$3 seed=$4 layout=$5 select=$6
    local full=${layout//[^F]/} linear=${layout//F/}
    local ratio=list placement=list config sql=
    shift 6
    [ -n "$full" ] || ratio=pure
    [ -n "$linear" ] || ratio=full
    config='{"model":{"d_model":16,"layers":'${#layout}'},"train":{"lr":'${lr:-0.001}
    config+=',"seed":'$seed',"batch":2,"seq_len":16,"steps":'${steps:-4}'}'
    [ -z "$linear" ] || config+=',"mixer":{"variant":"gla","conv":0}'
    [ -z "$full" -a -z "$select" ] || config+=',"full":{"variant":"softmax"}'
    if [ -n "$select" ]; then
        ratio=selected placement=$(jq_text "$select" method) config+=',"select":'$select
    else
        config+=',"layers":{"list":["'$layout'"]}'
    fi
    config+='}'
    while [ $# -gt 0 ]; do
        case $2 in
        \'*) sql+="INSERT INTO facts SELECT max(id), '$1', NULL, $2 FROM run;" ;;
        *) sql+="INSERT INTO facts SELECT max(id), '$1', $2, NULL FROM run;" ;;
        esac
        shift 2
    done
    sqlite3 "$db" "
        INSERT OR IGNORE INTO sweep (name, text, version, added) VALUES ('$sweep', '', '', 0);
        INSERT INTO run (key, title, variant, ratio, placement, layout, linear_layers, full_layers,
            d_model, layers, heads, seed, lr, config, status, reason, source)
        SELECT 'key ' || (SELECT count(*) FROM run), '$variant $ratio $placement seed=$seed',
            '$variant', '$ratio', '$placement', '$layout', ${#linear}, ${#full}, 16, ${#layout}, 2,
            $seed, ${lr:-0.001}, '$config', '${status:-done}', ${reason:-NULL},
            (SELECT key FROM run WHERE id = ${source:-NULL});
        INSERT INTO sweep_run SELECT sweep.id, max(run.id) FROM sweep, run WHERE name = '$sweep';
        $sql"
}
jq_text() # JSON KEY
{
    sqlite3 :memory: "SELECT json_extract('$1', '\$.$2')"
}

# A run without selection.
plain() # DB SWEEP SEED LAYOUT PPL RECALL CACHE
{
    local variant=gla
    [ -n "${4//F/}" ] || variant=softmax
    add_run "$1" "$2" $variant "$3" "$4" "" ppl_test "$5" ppl_valid "$5" recall_test "$6" \
        recall_valid "$6" cache_bytes "$7"
}
# A run that has selected LAYOUT. BOUND: a tolerance in quotes, or a budget.
selects() # DB SWEEP METHOD BOUND SEED LAYOUT PPL RECALL CACHE [FACT VALUE]...
{
    local db=$1 sweep=$2 seed=$5 layout=$6 full=${6//[^F]/} bound='"tolerance":'$4',"budget":null'
    local values=(ppl_test "$7" ppl_valid "$7" recall_test "$8" recall_valid "$8" cache_bytes "$9")
    case $4 in
    \"*) ;;
    *) bound='"tolerance":null,"budget":'$4 ;;
    esac
    local select='{"method":"'$3'",'$bound',"metric":"ppl"'${more:-}'}'
    shift 9
    add_run "$db" "$sweep" gla "$seed" "${layout//?/?}" "$select" layout "'$layout'" \
        full_layers ${#full} linear_layers $((${#layout} - ${#full})) "${values[@]}" "$@"
}
