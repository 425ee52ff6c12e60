#!/bin/bash
# Models as folders: which family says them, that they come back to the bit, that runs start from
# them and learn from them, and what is refused.
source "$(dirname "${BASH_SOURCE[0]}")/../support/shell.sh"

# A trained run that kept its weights, as NAME.db, of what is on standard input.
trained() # NAME
{
    {
        echo "name: $1"
        cat
        echo 'model: {d_model: 32, layers: 4, heads: 2, mlp: 32}'
        echo 'data: {train: [{task: mqar, vocab: 32, pairs: [2], examples: 8}]}'
        echo 'train: {steps: 5, batch: 2, seq_len: 16}'
        echo 'run: {keep_checkpoint: true}'
    } >"$1.yaml"
    exits 0 "$hylas" run "$1.yaml"
}
# What config.json says without what hylas says of itself.
forget()
{
    sed -i 's/,"hylas":{.*}}$/}/' "$1/config.json"
}
tokens=$(seq 1 31)
echo "$tokens" >tokens
logits() # FOLDER
{
    exits 0 "$hylas" import "$1" --tokens tokens --logits "$1.logits"
    ! grep -q "are missing\|have no place" log || fail "$1 is not complete"
}

trained soft <<<'mixer: {variant: softmax, ratio: full, kv_heads: 1}'
trained hybrid <<<'mixer: {variant: gated_deltanet, ratio: "3:1", expand_v: 1}'
trained both <<'END_OF_SWEEP'
mixer: {variant: gla}
kinds: {both: {parallel: [mamba2, softmax], combine: mean}}
layers: {pattern: [linear, both]}
END_OF_SWEEP
families=(soft LlamaForCausalLM hybrid GatedDeltaNetForCausalLM both hylas)
for ((i = 0; i < 6; i += 2)); do
    name=${families[i]}
    exits 0 "$hylas" export $name.db 1 $name
    grep -q "${families[i + 1]}" $name/config.json || fail "$name is another family"
    logits $name
    mv $name.logits own.logits
    if [ $name != both ]; then # what others say of it is the same model
        forget $name
        logits $name
        cmp own.logits $name.logits || fail "$name is another model to others"
    fi
done

# Runs begin with a folder's weights, and learn from its model.
sed 's/^run:.*/init: {from: soft, strict: true}/' soft.yaml >from.yaml
exits 0 "$hylas" run from.yaml -o from.db
expect "taken" "$(ask from.db "SELECT value FROM facts WHERE name = 'init_taken'")" 39.0
sed 's/^run:.*/init: {from: soft, map: {"*.k_proj.weight": null, "*.v_proj.weight": null}}/' hybrid.yaml >taught.yaml
echo 'stages: [{objective: [logits, output]}]' >>taught.yaml
exits 0 "$hylas" run taught.yaml -o taught.db
expect "teacher" "$(ask taught.db "SELECT count(*) FROM stage_history WHERE loss > 0")" 1
exits 2 "$hylas" plan from.yaml --set model.vocab=100
says "from.yaml:6:7: model.embed_tokens.weight has shape [32, 32], but the model's model.embeddings.weight has [100, 32]"

wrong() # TEXT ARGUMENTS...
{
    exits 2 "$hylas" "${@:2}"
    says "$1"
}
wrong "Llama has no gated_deltanet among its attention" export hybrid.db 1 x --as llama
wrong "Llama has no layers of 2 mixers (kind both)" export both.db 1 x --as llama
wrong "flash-linear-attention has no layers of 2 mixers" export both.db 1 x --as fla
wrong "unknown family 'lama'; did you mean 'llama'?" export soft.db 1 x --as lama
wrong "soft.db has no run 2" export soft.db 2 x
wrong "usage: hylas export" export soft.db
exits 0 "$hylas" run soft.yaml -o gone.db --set run.keep_checkpoint=false
wrong "its weights were not kept" export gone.db 1 x
[ ! -e x ] || fail "a refused export left a folder"
exits 0 "$hylas" run hybrid.yaml -o bare.db --set full.rope_base=0
wrong "layers without positions" export bare.db 1 x --as fla

mkdir empty && wrong "empty/config.json" import empty
changed() # TEXT SED
{
    rm -rf changed && cp -r soft changed
    sed -i "$2" changed/config.json
    wrong "$1" import changed
}
changed "model_type that is not known here: 'gpt2'" 's/"llama"/"gpt2"/'
changed "hidden_act gelu is not known here" 's/"silu"/"gelu"/'
changed "there are no biases of projections here" 's/"attention_bias":false/"attention_bias":true/'
changed "of type yarn is not known here" 's/"rope_type":"default"/"rope_type":"yarn"/'
changed "head_dim is not hidden_size/num_attention_heads" 's/"head_dim":16/"head_dim":32/'
changed "changed/config.json" 's/"hidden_size"/hidden_size/'
changed "has shape [32, 32], but the model's" 's/"vocab_size":32/"vocab_size":33/'
changed "hidden_size, num_attention_heads or intermediate_size is missing" 's/"hidden_size":32,//'
cp -r hybrid grouped && sed -i 's/"num_heads":2,/"num_heads":2,"num_v_heads":4,/' grouped/config.json
wrong "grouped values of flash-linear-attention is not known here" import grouped
rm -rf changed && cp -r soft changed && head -c 900 soft/model.safetensors >changed/model.safetensors
wrong "changed/model.safetensors" import changed
echo 1 2 99 >many && wrong "token 3 is 99, but the vocabulary has 32" import soft --tokens many
echo 1 x >many && wrong "'x' is no token's number" import soft --tokens many
echo "all good"
