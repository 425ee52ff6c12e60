"""The language models of hylas in PyTorch: pre-norm blocks, one token mixer per variant.

The same parameters under the same public names, so that a checkpoint of hylas loads here
(Model.load). Projections that read the same input are one matrix here as there. Options of the
variants have hylas's defaults.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import scans

NO_MATRICES = ("lower_bounds", "L")  # though of two dimensions


class Joined(nn.Module):
    """Public tensors of one kind, such as q_proj.weight and k_proj.weight, one below the other."""

    def __init__(self, rows, *rest, bias=False):
        super().__init__()
        self.rows = {name.replace("__", "."): count for name, count in rows.items()}
        self.weight = nn.Parameter(torch.empty(sum(rows.values()), *rest))
        self.bias = nn.Parameter(torch.zeros(sum(rows.values()))) if bias else None

    def public(self, name, tensor):
        names = [f"{part}.{name}" for part in self.rows]
        return zip(names, tensor.split(list(self.rows.values())))


class Linear(Joined):
    def __init__(self, width, bias=False, **rows):
        super().__init__(rows, width, bias=bias)

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


class Conv(Joined):
    """Short causal convolution per channel, and SiLU; as shifted products, which on a CPU beat the
    library's depthwise convolution."""

    def __init__(self, bias=False, **rows):
        super().__init__(rows, 1, 4, bias=bias)

    def forward(self, x):
        tokens, taps = x.shape[1], self.weight.shape[-1]
        x = F.pad(x, (0, 0, taps - 1, 0))
        y = x[:, :tokens] * self.weight[:, 0, 0]
        for j in range(1, taps):
            y = torch.addcmul(y, x[:, j : j + tokens], self.weight[:, 0, j])
        return F.silu(y if self.bias is None else y + self.bias)


class Norm(nn.Module):
    def __init__(self, width, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Decay(nn.Module):
    """-exp(A_log) softplus(x + dt_bias), and the step softplus(x + dt_bias)."""

    def __init__(self, heads, width, least):
        super().__init__()
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(least, 16).log())
        dt = torch.empty(width).uniform_(math.log(1e-3), math.log(0.1)).exp()
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, x):
        dt = F.softplus(x + self.dt_bias)
        rates = -self.A_log.exp()
        if len(self.dt_bias) != len(rates):
            return rates[:, None] * dt.unflatten(-1, (len(rates), -1)), dt
        return rates * dt, dt


def rotate(x, cos, sin):
    """Rotary positions on [B, T, H, width]."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def angles(tokens, width, device):
    inverse = 1e4 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float64) / width)
    angle = torch.arange(tokens, device=device)[:, None, None] * inverse
    return angle.cos().float(), angle.sin().float()


class Mixer(nn.Module):
    """What stands between the normed input x and what is added to it. cos, sin: rotary positions;
    bound: the layer's least share that is kept. rotary, bounded: whether they are given at all."""

    rotary = bounded = False
    has_mlp = True

    def __init__(self, d, heads, layer, layers):
        super().__init__()
        self.d, self.heads = d, heads
        self.build(d, heads, layer / layers)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1))


class LogLinear:
    """What log-linear attention adds to a mixer: a weight per token, head and level."""

    levels = 15  # reach 2^14 tokens

    def build(self, d, heads, depth):
        super().build(d, heads, depth)
        self.L = nn.Parameter(torch.ones(self.heads, self.levels))

    def weigh(self, dl):
        return F.softplus(dl.unflatten(-1, self.L.shape) * self.L)


class Softmax(Mixer):
    gates = 0
    rotary = True

    def build(self, d, heads, depth):
        gate = {"g_proj": heads} if self.gates else {}
        self.inner = Linear(d, q_proj=d, k_proj=d, v_proj=d, **gate)
        self.outer = Linear(d, o_proj=d)

    def attend(self, q, k, v):
        return scans.attention(q, k, v)

    def forward(self, x, cos, sin, bound):
        q, k, v, *gate = self.inner(x).split([self.d] * 3 + [self.heads] * self.gates, -1)
        q, k, v = self.split(q), self.split(k), self.split(v)
        q = rotate(q, cos, sin) * q.shape[-1] ** -0.5
        o = self.attend(q, rotate(k, cos, sin), v)
        if gate:
            o = o * gate[0].sigmoid()[..., None]
        return self.outer(o.flatten(-2))


class GatedSoftmax(Softmax):
    gates = 1


class SlidingWindow(Softmax):
    def attend(self, q, k, v):
        return scans.window_attention(q, k, v, 64)


class GatedLinear(Mixer):
    """RetNet and Lightning: a fixed decay per head, gated norm."""

    expand_k, expand_v = 1, 2
    extra = {}

    def build(self, d, heads, depth):
        self.keys, self.values = int(d * self.expand_k), int(d * self.expand_v)
        self.widths = [self.keys, self.keys, self.values, self.values]
        self.inner = Linear(d, q_proj=self.keys, k_proj=self.keys, v_proj=self.values,
                            g_proj=self.values, **self.extra)
        self.g_norm_swish_gate = Norm(self.values // heads)
        self.outer = Linear(self.values, o_proj=d)
        self.prepare(heads, depth)

    def forward(self, x, cos, sin, bound):
        q, k, v, gate, *low = self.inner(x).split(self.widths + list(self.extra.values()), -1)
        o = self.scan(self.split(q), self.split(k), self.split(v), cos, sin, *low)
        return self.outer((self.g_norm_swish_gate(o) * F.silu(self.split(gate))).flatten(-2))


class RetNet(GatedLinear):
    rotary = True

    def prepare(self, heads, depth):
        self.register_buffer("log_decay", torch.log1p(-(2.0 ** (-5 - torch.arange(heads)))))

    def scan(self, q, k, v, cos, sin):
        q = rotate(q, cos, sin) * q.shape[-1] ** -0.5
        return scans.scalar_scan(q, rotate(k, cos, sin), v, self.log_decay)


class Lightning(GatedLinear):
    def prepare(self, heads, depth):
        self.register_buffer("log_decay", -8 / heads * (1 - depth) * torch.arange(heads))

    def scan(self, q, k, v, cos, sin):
        return scans.scalar_scan(F.silu(q) * q.shape[-1] ** -0.5, F.silu(k), v, self.log_decay)


class GLA(GatedLinear):
    expand_k, expand_v = 0.5, 1
    extra = {"gk_proj__0": 16}

    def prepare(self, heads, depth):
        self.up = Linear(16, bias=True, gk_proj__1=self.keys)

    def scan(self, q, k, v, cos, sin, low):
        decay = F.logsigmoid(self.up(low)) / 16
        # A sixteenth of a log sigmoid: slow enough for one anchor per chunk.
        q = q * q.shape[-1] ** -0.5
        return scans.channel_scan(q, k, v, self.split(decay), scans.CHUNK)


def forget(x, bound):
    """log f and 1 - f of f = b + (1 - b) sigmoid(x)."""
    let_in = (1 - bound) * torch.sigmoid(-x)
    return torch.log1p(-let_in), let_in


class HGRN(Mixer):
    bounded = True

    def build(self, d, heads, depth):
        self.inner = Linear(d, i_proj=d, f_proj=d, g_proj=d)
        self.g_norm = Norm(d)
        self.outer = Linear(d, o_proj=d)

    def forward(self, x, cos, sin, bound):
        i, f, gate = self.inner(x).chunk(3, -1)
        let_in = (1 - bound) * torch.sigmoid(-f)
        h = scans.vector_scan(F.silu(i) * let_in, 1 - let_in)
        return self.outer(self.g_norm(h) * F.silu(gate))


class HGRN2(Mixer):
    bounded = True

    def build(self, d, heads, depth):
        width = max(w for w in range(1, 129) if d % w == 0)
        self.heads = d // width
        self.inner = Linear(d, q_proj=d, f_proj=d, i_proj=d)
        self.g_norm = Norm(d)
        self.outer = Linear(d, o_proj=d)

    def forward(self, x, cos, sin, bound):
        q, f, v = self.inner(x).chunk(3, -1)
        log_decay, k = forget(f, bound)
        q = self.split(F.silu(q))
        o = scans.channel_scan(q * q.shape[-1] ** -0.5, self.split(k), self.split(v),
                               self.split(log_decay))
        return self.outer(self.g_norm(o.flatten(-2)))


class DeltaNet(Mixer):
    expand_v = 1

    def build(self, d, heads, depth):
        self.values = d * self.expand_v
        self.widths = {"q_proj": d, "k_proj": d, "v_proj": self.values}
        self.widths.update(self.more(heads, self.values // heads))
        self.inner = Linear(d, **self.widths)
        self.conv = Conv(q_conv1d=d, k_conv1d=d, v_conv1d=self.values)
        self.o_norm = Norm(self.values // heads)
        self.outer = Linear(self.values, o_proj=d)
        self.prepare(heads)

    def more(self, heads, head_width):
        return {"b_proj": heads}

    def prepare(self, heads):
        pass

    def decay(self, low):
        return None

    def gate(self, o, low):
        return o

    def scan(self, q, k, v, low):
        return scans.delta_scan(q, k, v, low["b_proj"].sigmoid(), self.decay(low))

    def forward(self, x, cos, sin, bound):
        qkv = 2 * self.d + self.values
        qkv, *low = self.inner(x).split([qkv] + list(self.widths.values())[3:], -1)
        low = dict(zip(list(self.widths)[3:], low))
        qk, v = self.conv(qkv).split([2 * self.d, self.values], -1)
        qk = qk.unflatten(-1, (2, self.heads, -1))
        qk = qk * torch.rsqrt(qk.square().sum(-1, keepdim=True) + 1e-6)
        q, k = qk.unbind(2)
        o = self.scan(q * q.shape[-1] ** -0.5, k, self.split(v), low)
        return self.outer(self.gate(self.o_norm(o), low).flatten(-2))


class GatedDeltaNet(DeltaNet):
    expand_v = 2

    def more(self, heads, head_width):
        return {"g_proj": heads * head_width, "b_proj": heads, "a_proj": heads}

    def prepare(self, heads):
        self.rate = Decay(heads, heads, 0)

    def decay(self, low):
        return self.rate(low["a_proj"])[0]

    def gate(self, o, low):
        return o * F.silu(self.split(low["g_proj"]))


class LogLinearGatedDeltaNet(LogLinear, GatedDeltaNet):
    def more(self, heads, head_width):
        return {**super().more(heads, head_width), "l_proj": heads * self.levels}

    def scan(self, q, k, v, low):
        return scans.level_delta_scan(q, k, v, low["b_proj"].sigmoid(), self.decay(low),
                                      self.weigh(low["l_proj"]))


class KDA(DeltaNet):
    def more(self, heads, head_width):
        return {"f_proj__0": head_width, "g_proj__0": head_width, "b_proj": heads}

    def prepare(self, heads):
        rank = self.values // heads
        self.rate = Decay(heads, self.d, 1)
        self.f = Linear(rank, f_proj__1=self.d)
        self.g = Linear(rank, bias=True, g_proj__1=self.values)

    def decay(self, low):
        return self.rate(self.f(low["f_proj__0"]))[0]

    def gate(self, o, low):
        return o * self.split(self.g(low["g_proj__0"])).sigmoid()


class Mamba2(Mixer):
    has_mlp = False
    states = 128
    levels = 0

    def build(self, d, heads, depth):
        self.width = 2 * d
        self.heads = self.width // max(w for w in range(1, 65) if self.width % w == 0)
        self.channels = self.width + 2 * self.states
        self.parts = [self.width, self.channels, self.heads, self.heads * self.levels]
        self.inner = Linear(d, in_proj=sum(self.parts))
        self.conv = Conv(bias=True, conv1d=self.channels)
        self.rate = Decay(self.heads, self.heads, 1)
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = Norm(self.width, 1e-5)
        self.outer = Linear(self.width, out_proj=d)

    def weigh(self, dl):
        return None

    def forward(self, x, cos, sin, bound):
        z, xbc, dt, dl = self.inner(x).split(self.parts, -1)
        x, b, c = self.conv(xbc).split([self.width, self.states, self.states], -1)
        log_decay, dt = self.rate(dt)
        x = self.split(x)
        y = scans.shared_scan(c, b, x * dt[..., None], log_decay, self.weigh(dl))
        y = y + self.D[:, None] * x
        return self.outer(self.norm(y.flatten(-2) * F.silu(z)))


class LogLinearMamba2(LogLinear, Mamba2):
    """dl is a part of in_proj, so that levels are all it takes."""


MIXERS = {
    "deltanet": DeltaNet,
    "gated_deltanet": GatedDeltaNet,
    "gated_softmax": GatedSoftmax,
    "gla": GLA,
    "hgrn": HGRN,
    "hgrn2": HGRN2,
    "kda": KDA,
    "lightning": Lightning,
    "log_linear_gated_deltanet": LogLinearGatedDeltaNet,
    "log_linear_mamba2": LogLinearMamba2,
    "mamba2": Mamba2,
    "retnet": RetNet,
    "sliding_window": SlidingWindow,
    "softmax": Softmax,
}


class MLP(nn.Module):
    def __init__(self, d, hidden):
        super().__init__()
        self.inner = Linear(d, gate_proj=hidden, up_proj=hidden)
        self.outer = Linear(hidden, down_proj=d)

    def forward(self, x):
        gate, up = self.inner(x).chunk(2, -1)
        return self.outer(F.silu(gate) * up)


class Block(nn.Module):
    def __init__(self, mixer, d, heads, hidden, layer, layers):
        super().__init__()
        self.attn_norm = Norm(d)
        self.attn = mixer(d, heads, layer, layers)
        if mixer.has_mlp:
            self.mlp_norm = Norm(d)
            self.mlp = MLP(d, hidden)

    def forward(self, x, cos, sin, bound):
        x = x + self.attn(self.attn_norm(x), cos, sin, bound)
        return x + self.mlp(self.mlp_norm(x)) if hasattr(self, "mlp") else x


class Model(nn.Module):
    def __init__(self, variant, d, layers, heads, hidden, vocab):
        super().__init__()
        mixer = MIXERS[variant]
        self.rotary, self.width = mixer.rotary, d // heads
        self.embeddings = nn.Embedding(vocab, d)
        self.layers = nn.ModuleList(
            Block(mixer, d, heads, hidden, layer, layers) for layer in range(layers))
        self.norm = Norm(d)
        self.lm_head = Linear(d, lm_head=vocab)
        self.lower_bounds = nn.Parameter(torch.zeros(layers, d)) if mixer.bounded else None
        for p in self.matrices():
            nn.init.normal_(p, std=0.02)

    def forward(self, tokens, labels):
        """The mean loss over the labelled positions; labels are -100 elsewhere."""
        x = self.embeddings(tokens)
        cos, sin = angles(tokens.shape[1], self.width, x.device) if self.rotary else (None, None)
        bounds = [None] * len(self.layers)
        if self.lower_bounds is not None:
            p = self.lower_bounds.softmax(0)
            bounds = (p.cumsum(0) - p[0]).unbind()
        for block, bound in zip(self.layers, bounds):
            x = block(x, cos, sin, bound)
        return self.loss(x, labels)

    def loss(self, x, labels):
        return F.cross_entropy(self.lm_head(self.norm(x)).flatten(0, 1), labels.flatten())

    def matrices(self):
        """What is drawn, and shrinks in training."""
        return [p for name, p in self.named_parameters()
                if p.dim() > 1 and name.rpartition(".")[2] not in NO_MATRICES]

    def groups(self, weight_decay):
        """Parameters for an optimizer: matrices shrink, norms, biases and rates do not."""
        matrices = self.matrices()
        others = set(self.parameters()).difference(matrices)
        return [{"params": matrices, "weight_decay": weight_decay},
                {"params": [p for p in self.parameters() if p in others], "weight_decay": 0.0}]

    def public(self, of=lambda p: p.detach()):
        """(public name, tensor) of every parameter; of: what to take of it, e.g. its gradient."""
        for path, module in self.named_modules():
            joined = isinstance(module, Joined)
            # These have no level of their own in public names.
            owner = path.rpartition(".")[0] if joined or isinstance(module, Decay) else path
            prefix = "" if path == "lm_head" else f"model.{owner}." if owner else "model."
            for name, p in module.named_parameters(recurse=False):
                for part, tensor in module.public(name, of(p)) if joined else [(name, of(p))]:
                    yield prefix + part, tensor

    def load(self, tensors):
        """Takes every parameter from public names; both sides must hold the same."""
        own = dict(self.public())
        if own.keys() != tensors.keys():
            raise ValueError(f"other parameters: {sorted(own.keys() ^ tensors.keys())}")
        for name, tensor in own.items():
            tensor.copy_(tensors[name].view_as(tensor))
