#!/usr/bin/env python3
"""Checks that hylas and the PyTorch models compute the same.

For every variant a tiny model: hylas draws the weights and the batch, then both compute the loss
and the gradient of every parameter, and both train a few steps (AdamW, weight decay, clipping).
Everything of hylas is read through its public doors: `hylas sample --raw`, the checkpoint and the
lines of `hylas train`.
"""

import argparse
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

import torch

from models import MIXERS, Model
from trainer import COMPILED, Trainer

# tokens: four chunks, the last one not full; fewer would leave no two states to merge.
D, LAYERS, HEADS, HIDDEN, BATCH, TOKENS, STEPS = 32, 2, 2, 48, 2, 200, 4
# eps: gradients below it, which rounding moves about, do not move the weights at full rate.
ADAMW = {"lr": 1e-3, "eps": 1e-6, "clip": 0.5}
SWEEP = f"""
name: check
model: {{d_model: {D}, layers: {LAYERS}, heads: {HEADS}, mlp: {HIDDEN}, init_std: 0.1}}
mixer: {{ratio: pure}}
data: {{train: [{{task: text, path: corpus.txt, examples: 1}}]}}
train: {{batch: {BATCH}, seq_len: {TOKENS}, warmup: 0, schedule: constant, weight_decay: 0.1}}
run: {{checkpoint_every: 1, keep_checkpoint: true}}
matrix: {{mixer.variant: [{", ".join(MIXERS)}]}}
"""


def read_checkpoint(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            first, last = (8 + size + offset for offset in entry["data_offsets"])
            values = torch.frombuffer(bytearray(data[first:last]), dtype=torch.float32)
            tensors[name] = values.view(entry["shape"])
    return tensors


class Run:
    """What `hylas train` makes of run number `number` of the sweep."""

    def __init__(self, hylas, folder, number, name, **settings):
        path = folder / f"{number}-{name}.safetensors"
        command = [hylas, "train", "check.yaml", "--run", str(number), "--checkpoint", path]
        for key, value in settings.items():
            command += ["--set", f"train.{key}={value}"]
        out = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
        self.loss = float(re.search(r"step 1 +train\.loss +(\S+)", out)[1])
        tensors = read_checkpoint(path)
        moments = {name: t for name, t in tensors.items() if name.startswith("optimizer.")}
        self.weights = {name: t for name, t in tensors.items() if name not in moments}
        self.first = {name: moments["optimizer.m." + name] for name in self.weights}


def distance(ours, theirs):
    """The largest relative difference of a tensor, in the Euclidean norm, and its name."""
    return max((float((ours[name] - tensor).norm() / ours[name].norm()), name)
               for name, tensor in theirs)


def check(hylas, folder, number, variant, args):
    subprocess.run([hylas, "sample", "check.yaml", "--run", str(number), "--count",
                    str(BATCH * STEPS), "--raw", "raw"], cwd=folder, check=True)
    tokens, labels = (
        torch.frombuffer(bytearray((folder / "raw" / name).read_bytes()), dtype=torch.int32)
        .view(STEPS, BATCH, TOKENS).long() for name in ("inputs.i32", "labels.i32"))
    # A rate of 0 leaves the weights as drawn, and the first moment is a tenth of the gradient.
    start = Run(hylas, folder, number, "start", steps=1, lr=0, clip=0)
    trained = Run(hylas, folder, number, "trained", steps=STEPS, **ADAMW)

    model = Model(variant, D, LAYERS, HEADS, HIDDEN, len(start.weights["lm_head.weight"]))
    model.load(start.weights)
    loss = model(tokens[0], labels[0])
    loss.backward()
    gradients = {name: 10 * moment for name, moment in start.first.items()}
    far = {"loss": (abs(loss.item() - start.loss) / start.loss, ""),
           "gradient": distance(gradients, model.public(lambda p: p.grad))}
    torch.compiler.reset()
    trainer = Trainer(model, compiled=args.compile, **ADAMW)
    for batch in range(STEPS):
        trainer.step(tokens[batch], labels[batch])
    far["trained"] = distance(trained.weights, model.public())
    bad = any(not value <= args.limit for value, _ in far.values())
    print(f"{variant:25}", *(f" {what} {value:.1e}" for what, (value, _) in far.items()),
          f"  BEYOND {args.limit:g}: {far}" if bad else "", flush=True)
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("variants", nargs="*", choices=[[], *MIXERS], help="default: all")
    parser.add_argument("--hylas", default=pathlib.Path(__file__).parents[2] / "build/hylas")
    parser.add_argument("--limit", type=float, default=1e-4, help="relative difference (1e-4)")
    parser.add_argument("--compile", default="no", choices=COMPILED, help="in training (no)")
    args = parser.parse_args()
    hylas = pathlib.Path(args.hylas).resolve()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "check.yaml").write_text(SWEEP)
        (folder / "corpus.txt").write_bytes(bytes(torch.randint(32, 127, (20000,)).tolist()))
        bad = [check(hylas, folder, number + 1, variant, args)
               for number, variant in enumerate(MIXERS)
               if not args.variants or variant in args.variants]
    sys.exit(any(bad))


if __name__ == "__main__":
    main()
