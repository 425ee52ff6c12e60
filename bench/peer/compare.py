#!/usr/bin/env python3
"""Times training in hylas against PyTorch, in turns, and prints the ratios.

Each side runs in processes of its own, one thread each, bound to one core each; both take turns on
the same cores, so that what else the machine does slows both. A cell is the ratio of the medians.
"""

import argparse
import contextlib
import csv
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

from models import MIXERS
from trainer import COMPILED

HERE = pathlib.Path(__file__).parent
HEADS, VOCAB = 4, 256


def on_core(core, command, **how):
    return subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], text=True,
                            stdout=subprocess.PIPE, **how)


def tuned(folder):
    """The environment in which PyTorch is fastest: memory is kept from step to step, in large
    pages; matrix products use all that the processor has."""
    env = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
           "MALLOC_TOP_PAD_": str(1 << 28), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    if "GenuineIntel" not in cpu and "avx512f" in cpu:
        library = folder / "avx512.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "avx512.c"], check=True)
        loaded = [os.environ.get("LD_PRELOAD"), str(library)]
        env["LD_PRELOAD"] = ":".join(filter(None, loaded))
    return env


class Ours:
    def __init__(self, args):
        self.args = args

    def rates(self, shape, seconds):
        command = [self.args.hylas, "bench", shape["variant"], "--format", "csv", "--quiet",
                   "--seconds", seconds]
        for key in ("d_model", "layers", "heads", "mlp", "vocab", "batch", "tokens"):
            command += ["--" + key.replace("_", "-"), shape[key]]
        runs = [on_core(core, command) for core in range(self.args.processes)]
        rows = []
        for run in runs:
            (row,) = csv.DictReader(run.communicate()[0].splitlines())
            rows.append(row)
        if any(run.returncode for run in runs):
            sys.exit(f"{' '.join(map(str, command))} failed")
        return int(rows[0]["params"]), sum(float(row["tokens_per_s"]) for row in rows)


class Theirs:
    """Processes that live as long as one variant: starting PyTorch takes seconds."""

    def __init__(self, args, env):
        command = [sys.executable, HERE / "measure.py", "--compile", args.compile]
        self.workers = [on_core(core, command, stdin=subprocess.PIPE, env=env)
                        for core in range(args.processes)]

    def rates(self, shape, seconds):
        for worker in self.workers:
            print(json.dumps({**shape, "seconds": seconds}), file=worker.stdin, flush=True)
        answers = [json.loads(worker.stdout.readline()) for worker in self.workers]
        return answers[0]["params"], sum(answer["tokens_per_s"] for answer in answers)

    def close(self):
        for worker in self.workers:
            worker.stdin.close()
            worker.wait()


def shapes(args):
    for d in args.d_model:
        for tokens in args.tokens:
            yield {"d_model": d, "layers": args.layers, "heads": HEADS, "vocab": VOCAB,
                   "mlp": 256 * math.ceil(int(d * 8 / 3) / 256),
                   "batch": max(1, args.step_tokens // tokens), "tokens": tokens}


def compare(variant, args, env):
    """A line per shape; returns the ratios."""
    ratios = []
    ours, theirs = Ours(args), Theirs(args, env)
    with contextlib.closing(theirs):
        for shape in shapes(args):
            shape["variant"] = variant
            theirs.rates(shape, 0)  # builds, compiles, warms up
            pairs = [(ours.rates(shape, args.seconds / args.rounds),
                      theirs.rates(shape, args.seconds / args.rounds)) for _ in range(args.rounds)]
            (params, _), (others, _) = pairs[0]
            if params != others:
                sys.exit(f"{variant}: hylas has {params} parameters, PyTorch {others}")
            a, b = (statistics.median(rate for _, rate in side) for side in zip(*pairs))
            ratios.append(a / b)
            print(f"| {variant} | {shape['d_model']} | {shape['tokens']} | {params} | {a:.0f} | "
                  f"{b:.0f} | {a / b:.2f} |", flush=True)
    return ratios


def describe(args):
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = next(line.split(":")[1].strip() for line in cpu.splitlines() if "model name" in line)
    import torch  # takes seconds, so not before the command line is known to be good

    version = subprocess.run([args.hylas, "--version"], capture_output=True, text=True).stdout
    print(f"{version.splitlines()[0]} against PyTorch {torch.__version__} "
          f"({args.settings} settings, compiled: {args.compile}), float32, "
          f"{args.processes} process{'es' if args.processes > 1 else ''} of one thread; {model}, "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
          f"{platform.python_version()}\n")


def main():
    numbers = lambda text: [int(part) for part in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("variants", nargs="*", help="default: all")
    parser.add_argument("--d-model", type=numbers, default=[64, 128, 256], metavar="LIST")
    parser.add_argument("--tokens", type=numbers, default=[256, 512], metavar="LIST")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--step-tokens", type=int, default=4096, help="batch times tokens (4096)")
    parser.add_argument("--seconds", type=float, default=2, help="per cell and side (2)")
    parser.add_argument("--rounds", type=int, default=3, help="turns within that time (3)")
    parser.add_argument("--processes", type=int, default=1, help="at once, a core each (1)")
    parser.add_argument("--compile", default="no", choices=COMPILED,
                        help="what torch.compile takes at a time: nothing, a layer, all (no)")
    parser.add_argument("--settings", default="tuned", choices=("tuned", "stock"),
                        help="of PyTorch's memory and matrix products (tuned)")
    parser.add_argument("--hylas", default=HERE.parents[1] / "build/hylas")
    args = parser.parse_args()
    unknown = set(args.variants) - set(MIXERS)
    if unknown:
        parser.error(f"no variant is called {', '.join(unknown)}; there are {', '.join(MIXERS)}")
    args.hylas = pathlib.Path(args.hylas).resolve()
    # A kernel of an older processor, chosen by the environment, would be no fair peer.
    os.environ.pop("OPENBLAS_CORETYPE", None)
    with tempfile.TemporaryDirectory() as folder:
        env = tuned(pathlib.Path(folder)) if args.settings == "tuned" else {}
        describe(args)
        print("| variant | d_model | T | parameters | hylas tokens/s | PyTorch tokens/s | ratio |")
        print("|-|-|-|-|-|-|-|", flush=True)
        means = {variant: statistics.geometric_mean(compare(variant, args, {**os.environ, **env}))
                 for variant in args.variants or MIXERS}
    print("\n| variant | geometric mean |\n|-|-|")
    for variant, mean in means.items():
        print(f"| {variant} | {mean:.2f} |")


if __name__ == "__main__":
    main()
