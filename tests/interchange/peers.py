"""Checks folders of models against the programs that they are for, in both directions.

    python3 peers.py HYLAS [llama] [fla]

llama: a trained softmax model, exported, opened by transformers' Llama class: the logits are the
same, and saved again it is the same model to the bit; a Llama that transformers makes is read here.
fla: for each linear mixer a trained hybrid, exported, loads into its class of flash-linear-attention
without missing or unexpected names; a model that the class makes is read here likewise. Its kernels
need a GPU, so that names and shapes are compared there, not logits.

Exit code 77 where a package is missing. Needs torch, transformers, safetensors; and fla.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

SWEEP = """
name: s
model: {{d_model: 64, layers: 4, heads: 2, mlp: {mlp}}}
data: {{train: [{{task: mqar, vocab: 64, pairs: 4, examples: 16}}]}}
train: {{steps: 20, batch: 4, seq_len: 32}}
run: {{keep_checkpoint: true}}
{rest}
"""

# What a hybrid of each class is; its mamba2 knows no other layers.
HYBRIDS = {
    "gated_deltanet": "mixer: {variant: gated_deltanet, ratio: '3:1'}\nfull: {variant: softmax, kv_heads: 1}",
    "gla": "mixer: {variant: gla, ratio: '1:1'}",
    "retnet": "mixer: {variant: retnet, ratio: '3:1'}",
    "hgrn": "mixer: {variant: hgrn, ratio: '3:1'}",
    "hgrn2": "mixer: {variant: hgrn2, ratio: '1:1', expand_ratio: 32}",
    "deltanet": "mixer: {variant: deltanet, ratio: '1:1', expand_k: 0.5}",
    "kda": "mixer: {variant: kda, ratio: '3:1'}",
    "windows": "mixer: {variant: gla}\nkinds: {window: {variant: sliding_window, window: 8}}\n"
    "layers: {pattern: [linear, window, linear, full]}",
    "mamba2": "mixer: {variant: mamba2, ratio: pure, norm_eps: 1e-6}",
    "transformer": "mixer: {variant: softmax, ratio: full, qk_norm: true, rope_base: 5e4}",
}


def call(*words):
    done = subprocess.run([HYLAS, *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def export(folder, rest, mlp=128):
    """A trained run of these settings as a folder."""
    sweep = os.path.join(folder, "sweep.yaml")
    with open(sweep, "w") as file:
        file.write(SWEEP.format(rest=rest, mlp=mlp))
    db = os.path.join(folder, "s.db")
    call("run", sweep, "-o", db)
    call("export", db, "1", os.path.join(folder, "model"))
    return os.path.join(folder, "model")


def is_complete(report):
    """Whether hylas has found all weights, and a place for all tensors."""
    return "are missing" not in report and "have no place" not in report


def forget_hylas(model):
    """Leaves in config.json what the other program knows of."""
    path = os.path.join(model, "config.json")
    with open(path) as file:
        config = json.load(file)
    config.pop("hylas")
    with open(path, "w") as file:
        json.dump(config, file)


def logits_here(model, tokens, folder):
    path = os.path.join(folder, "tokens")
    with open(path, "w") as file:
        print(*tokens, file=file)
    report = call("import", model, "--tokens", path, "--logits", path + ".safetensors")
    if not is_complete(report):
        sys.exit(f"{model}: {report}")
    return load_file(path + ".safetensors")["logits"]


def distance(here, there):
    return ((here.double() - there.double()).norm() / there.double().norm()).item()


def there(model, tokens):
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        return loaded, loaded(torch.tensor([tokens])).logits[0]


def check_llama(folder):
    tokens = [random.randrange(60) for _ in range(256)]
    model = export(folder, "mixer: {variant: softmax, ratio: full, kv_heads: 1}")
    loaded, wanted = there(model, tokens)
    assert type(loaded).__name__ == "LlamaForCausalLM"
    here = logits_here(model, tokens, folder)
    assert distance(here, wanted) <= 1e-4, distance(here, wanted)
    back = os.path.join(folder, "back")
    loaded.save_pretrained(back)
    first, again = (load_file(os.path.join(m, "model.safetensors")) for m in (model, back))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    print(f"llama: exported, logits differ by {distance(here, wanted):.1e}; saved again: equal bits")
    config = transformers.LlamaConfig(
        vocab_size=80, hidden_size=48, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0})
    for dtype, shard in ((torch.float32, "5GB"), (torch.bfloat16, "20KB")):
        made = os.path.join(folder, f"made{shard}")
        transformers.LlamaForCausalLM(config).to(dtype).save_pretrained(made, max_shard_size=shard)
        _, wanted = there(made, tokens)
        here = logits_here(made, tokens, folder)
        assert distance(here, wanted) <= 1e-4, distance(here, wanted)
        print(f"llama: imported ({dtype}), logits differ by {distance(here, wanted):.1e}")


def check_fla(folder):
    import fla.layers.attn
    import fla.models  # registers its classes

    fla.layers.attn.flash_attn_func = object()  # is asked for at construction, needs a GPU to run
    for name, rest in HYBRIDS.items():
        own = os.path.join(folder, name)
        os.mkdir(own)
        model = export(own, rest, mlp=0 if name == "mamba2" else 128)
        with open(os.path.join(model, "config.json")) as file:
            architecture = json.load(file)["architectures"][0]
        config = transformers.AutoConfig.from_pretrained(model)
        made = transformers.AutoModelForCausalLM.from_config(config)
        assert type(made).__name__ == architecture
        weights = load_file(os.path.join(model, "model.safetensors"))
        made.load_state_dict(weights, strict=True)
        again = os.path.join(own, "again")
        made.save_pretrained(again)
        forget_hylas(again)
        report = call("import", again)
        assert is_complete(report), report
        print(f"fla: {name}: {architecture}, {len(weights)} tensors fit, in both directions")


HYLAS = sys.argv[1]
wanted = sys.argv[2:] or ["llama", "fla"]
try:
    import torch
    import transformers
    from safetensors.torch import load_file

    if "fla" in wanted:
        import fla
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)
random.seed(1)
torch.manual_seed(1)
for what in wanted:
    with tempfile.TemporaryDirectory() as scratch:
        {"llama": check_llama, "fla": check_fla}[what](scratch)
