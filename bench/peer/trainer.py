"""One training step in PyTorch, as hylas does it: loss, gradient, clipping, AdamW."""

import torch
from torch import nn


class Trainer:
    """compiled: no, block (each layer's code once for all layers) or model."""

    def __init__(self, model, lr=1e-4, eps=1e-8, clip=1.0, compiled="no", precision=None):
        self.model, self.clip, self.precision = model, clip, precision
        self.optimizer = torch.optim.AdamW(
            model.groups(0.1), lr=lr, betas=(0.9, 0.95), eps=eps, fused=True)
        self.run = model
        if compiled == "model":
            self.run = torch.compile(model, dynamic=False)
        elif compiled == "block":
            for block in model.layers:
                block.compile(dynamic=False)
            model.loss = torch.compile(model.loss, dynamic=False)

    def step(self, tokens, labels):
        """The loss stays on the device: reading it would wait for the step's end."""
        kind = tokens.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.run(tokens, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()
