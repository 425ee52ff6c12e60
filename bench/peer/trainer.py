"""One training step in PyTorch, as hylas does it: loss, gradient, clipping, AdamW."""

import torch
from torch import nn

COMPILED = ("no", "block", "model")
PRECISIONS = ("float32", "tf32", "bf16")


class Trainer:
    """compiled: nothing; each layer, which share their code, and the loss; or the whole model.
    precision: of operands of matrix products; weights, states and decays are float32."""

    def __init__(self, model, lr=1e-4, eps=1e-8, clip=1.0, compiled="no", precision="float32"):
        self.model, self.clip, self.precision = model, clip, precision
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        self.optimizer = torch.optim.AdamW(
            model.groups(0.1), lr=lr, betas=(0.9, 0.95), eps=eps, fused=True)
        if compiled == "model":
            model.compile(dynamic=False)
        elif compiled == "block":
            for block in model.layers:
                block.compile(dynamic=False)
            model.loss = torch.compile(model.loss, dynamic=False)

    def step(self, tokens, labels):
        """The loss stays on the device: reading it would wait for the step's end."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.model(tokens, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()
