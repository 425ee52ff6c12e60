#!/bin/bash
# Runs that start from the weights of others: sources are planned, shared, trained first; what goes
# wrong with a source, and with a folder.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

ranks() # COUNT COMMAND...
{
    mpirun -n "$1" --oversubscribe "${@:2}"
}

cat >sweep.yaml <<'END_OF_SWEEP'
name: sweep
model: {d_model: 32, layers: 2, heads: 2, mlp: 32}
data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 8}]}
train: {steps: 20, batch: 2, seq_len: 16}
run: {retries: 0}
mixer: {ratio: "1:1", expand_k: 1, expand_v: 1}
init: {from: {mixer.ratio: full, train: {steps: 30, lr: 1e-3}}}
matrix:
  mixer.variant: [gla, deltanet, gated_deltanet]
  train.lr: [1e-3, 2e-3]
  train.seed: [0, 1]
END_OF_SWEEP

contents="SELECT key, status, source IS NULL, layout, quote(ppl_valid), quote(ppl_test)
          FROM results ORDER BY key;
          SELECT key, step, h.name, quote(value) FROM history h JOIN results USING (run)
          ORDER BY 1, 2, 3"
exits 0 "$hylas" plan sweep.yaml -o none.db
says "14 runs"
for n in 1 2 4; do
    exits 0 ranks $n "$hylas" run sweep.yaml -o $n.db
    expect "runs of $n ranks" "$(ask $n.db "SELECT status, count(*), count(source),
        count(DISTINCT source) FROM results GROUP BY status")" "done|14|12|2"
    expect "$n ranks" "$(ask $n.db "$contents" | md5sum)" "$(ask 1.db "$contents" | md5sum)"
    [ ! -e $n.db.ckpt ] || fail "checkpoints of sources are left"
done
expect "sources began first" "$(ask 2.db "SELECT count(*) FROM results r
    JOIN progress p USING (run) JOIN progress s ON s.run = r.source
    WHERE p.started < s.ended")" 0
# Rates of one source are one cell.
expect "cells" "$(ask 2.db "SELECT count(DISTINCT cell) FROM cells")" 4
# What was taken: here a linear layer takes the projections that softmax has, and the rest is drawn.
facts="SELECT DISTINCT facts.text FROM facts JOIN results USING (run)
       WHERE facts.name = 'init_initialised' AND variant ="
expect "drawn in deltanet" "$(ask 2.db "$facts 'deltanet'" | sed 's/:.*//')" 5
[[ $(ask 2.db "$facts 'gla'") == *model.layers.0.attn.g_proj.weight* ]] ||
    fail "the gate of gla is not told"
exits 0 ranks 2 "$hylas" run sweep.yaml -o 2.db
says "all 14 runs are done"

# A dependant that comes later trains its source anew, as the weights are gone, and nothing else.
exits 0 ranks 2 "$hylas" run sweep.yaml -o 2.db --set 'train.seed=0' \
    --set 'mixer={variant: retnet, ratio: "1:1", expand_k: 1, expand_v: 1}' --set train.lr=1e-3
expect "all" "$(ask 2.db "SELECT count(*), sum(attempts) FROM results JOIN progress USING (run)")" \
    "15|16"

# A source of a source.
chain=(--set 'init={from: {train.steps: 7, init: {from: {train.steps: 5}}}}' --set train.lr=1e-3
    --set train.seed=0 --set 'mixer={variant: gla, ratio: full}')
exits 0 "$hylas" run sweep.yaml -o chain.db "${chain[@]}"
expect "chain" "$(ask chain.db "SELECT group_concat(tokens) FROM (SELECT tokens FROM results
    ORDER BY tokens)")" "160,224,640"

# A source that fails leaves its dependants pending with the reason; the next start trains them.
exits 1 "$hylas" run sweep.yaml -o failed.db --set run.timeout=1e-4
expect "status" "$(ask failed.db "SELECT status, count(*) FROM results GROUP BY status")" \
    "pending|12
timeout|2"
expect "reasons" "$(ask failed.db "SELECT count(*) FROM progress
    WHERE status = 'pending' AND reason LIKE '%source%'")" 12
exits 0 "$hylas" status failed.db
says "its source, run 13"
exits 0 ranks 2 "$hylas" run sweep.yaml -o failed.db
expect "repaired" "$(ask failed.db "$contents" | md5sum)" "$(ask 1.db "$contents" | md5sum)"
expect "reasons" "$(ask failed.db "SELECT count(*) FROM progress WHERE reason IS NOT NULL")" 0

# Gangs take weights like runs alone.
exits 0 "$hylas" run sweep.yaml -o gang.db --set run.gang=4
expect "gangs" "$(ask gang.db "$contents" | md5sum)" "$(ask 1.db "$contents" | md5sum)"

# Settings of the source can be an axis; what cannot be trained is refused there.
axis() # AXIS OPTIONS...
{
    sed '/^matrix:/,$d; s/ratio: "1:1"/variant: gla, ratio: "1:1"/' sweep.yaml >axis.yaml
    echo "matrix: {$1}" >>axis.yaml
    "$hylas" plan axis.yaml -o none.db "${@:2}"
}
exits 0 axis 'init.from.train.steps: [3, 4]'
says "4 runs, 2 of them sources that others start from"
exits 2 axis 'init.from.model.heads: [2, 5]'
says "the source run of init.from"
says "d_model 32 is not a multiple of heads 5"
exits 2 axis 'train.seed: [0]' --set 'init={from: {"data.train": [{task: noop}]}}'
says "trains nothing: task noop"

# One run in the foreground has nobody who trains its source.
exits 2 "$hylas" train sweep.yaml --run 1
says "train it with hylas run"

# A folder: what a run kept, and a config.json.
exits 0 "$hylas" run sweep.yaml -o kept.db --set 'init=null' --set run.keep_checkpoint=true \
    --set 'mixer={variant: gla, ratio: full}' --set train.lr=1e-3 --set train.seed=0
mkdir folder
cp kept.db.ckpt/*.safetensors folder/model.safetensors
one=(--set 'mixer={variant: gla, ratio: full}' --set train.lr=1e-3 --set train.seed=1)
wrong() # TEXT ARGUMENTS...
{
    exits 2 "$hylas" plan sweep.yaml -o none.db "${one[@]}" "${@:2}"
    says "$1"
}
wrong "folder/config.json" --set init.from=folder
echo '{}' >folder/config.json
exits 0 "$hylas" run sweep.yaml -o folder.db "${one[@]}" --set 'init={from: folder, strict: true}'
expect "unused" "$(ask folder.db "SELECT text FROM facts WHERE name = 'init_unused'")" 0
before=$(ask folder.db "SELECT key FROM results")
cp -r folder elsewhere
exits 0 "$hylas" plan sweep.yaml -o folder.db "${one[@]}" --set 'init={from: elsewhere, strict: true}'
says "0 to train"
exits 0 "$hylas" run sweep.yaml -o map.db "${one[@]}" \
    --set 'init={from: folder, map: {"model.layers.0.*": "model.layers.1.*", lm_head.weight: null}}'
expect "drawn" "$(ask map.db "SELECT text FROM facts WHERE name = 'init_initialised'")" \
    "1: lm_head.weight"

# What cannot be is refused before anything trains, with its place.
wrong "nowhere" --set init.from=nowhere
wrong "did you mean 'from'" --set 'init={form: folder}'
wrong "did you mean 'steps'" --set 'init={from: {train.stpes: 3}}'
wrong "init.from is a map of settings" --set 'init={from: 3}'
wrong "init.map" --set 'init={from: folder, map: {"a*b*": "c"}}'
wrong "has shape [32, 32], but the model's model.embeddings.weight has [32, 16]" \
    --set init.from=folder --set model.d_model=16
wrong "init.strict: the source lacks" --set 'init={from: {model.layers: 1}, strict: true}'
wrong "init.strict: 9 weights of the source have no place" \
    --set 'init={from: {model.layers: 3}, strict: true}'
mkdir gguf && echo '{}' >gguf/config.json && printf 'GGUF\3' >gguf/model.gguf
wrong "gguf holds neither model.safetensors nor" --set init.from=gguf
wrong "is a GGUF file" --set init.from=gguf/model.gguf
head -c 500 folder/model.safetensors >elsewhere/model.safetensors
wrong "elsewhere/model.safetensors" --set init.from=elsewhere
echo "all good"
