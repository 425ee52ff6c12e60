#!/usr/bin/env python3
"""Measures training in PyTorch. Reads one JSON object per line and answers each with one line:

    {"variant": "gla", "d_model": 128, "layers": 4, "heads": 4, "mlp": 512, "vocab": 256,
     "batch": 16, "tokens": 256, "seconds": 1}
    {"params": 917504, "tokens_per_s": 16300.1}

A model is built, compiled and warmed up when its line comes first; lines that repeat it go on with
it. `echo '{...}' | ./measure.py --device cuda --precision bf16` measures on a GPU.
"""

import argparse
import json
import sys
import time

import torch

from models import Model
from trainer import COMPILED, PRECISIONS, Trainer

WARM_UP = 3


class Subject:
    def __init__(self, shape, args):
        torch.manual_seed(0)
        sizes = [shape[key] for key in ("d_model", "layers", "heads", "mlp", "vocab")]
        model = Model(shape["variant"], *sizes).to(args.device)
        self.params = sum(p.numel() for p in model.parameters())
        self.trainer = Trainer(model, compiled=args.compile, precision=args.precision)
        size = (shape["batch"], shape["tokens"])
        self.batch = [torch.randint(shape["vocab"], size).to(args.device) for _ in range(2)]
        self.device = args.device
        for _ in range(WARM_UP):
            self.trainer.step(*self.batch)

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def rate(self, seconds):
        """Tokens per second over as many steps as last that long."""
        self.wait()
        start, steps, burst = time.perf_counter(), 0, 1
        while True:
            for _ in range(burst):
                self.trainer.step(*self.batch)
            steps += burst
            self.wait()
            spent = time.perf_counter() - start
            if spent >= seconds:
                return steps * self.batch[0].numel() / spent
            # A device is waited for rarely, so that it never runs dry.
            burst = max(1, int(steps / spent * (seconds - spent))) if self.device != "cpu" else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (cpu)")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS)
    parser.add_argument("--compile", default="no", choices=COMPILED,
                        help="what torch.compile takes at a time: nothing, a layer, all (no)")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    known = subject = None
    for line in sys.stdin:
        shape = json.loads(line)
        seconds = shape.pop("seconds")
        if shape != known:
            subject = None  # its memory first
            torch.compiler.reset()
            known, subject = shape, Subject(shape, args)
        answer = {"params": subject.params, "tokens_per_s": subject.rate(seconds)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
