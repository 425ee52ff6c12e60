"""Causal attention and the recurrences of linear attention, in PyTorch, parallel within chunks.

Shapes: queries and keys [B, T, H, K], values and results [B, T, H, V]; queries come scaled. Inside,
a sequence is cut into N chunks of C tokens: [B, H, N, C, width]. G is the cumulative sum of the log
decay within a chunk, its own token included, so exp(G_i - G_j) is what is left at token i of what
token j wrote.
"""

import torch
import torch.nn.functional as F

CHUNK = 64
BLOCK = 16  # rows that share an anchor where every key channel decays at its own rate
STEEPEST = 80.0  # exp of this is still a finite float32


def chunks_of(x, size=CHUNK, whole=None):
    """[B, T, H, W] -> [B, H, N, C, W]; a last chunk that is not full ends in zeros, which write
    nothing and do not decay. whole: N C is a multiple of it, if not only of C."""
    batch, tokens, heads, width = x.shape
    if tokens % (whole or size):
        x = F.pad(x, (0, 0, 0, 0, 0, -tokens % (whole or size)))
    return x.view(batch, -1, size, heads, width).permute(0, 3, 1, 2, 4)


def tokens_of(x, tokens):
    """The way back."""
    batch, heads, _, _, width = x.shape
    return x.permute(0, 2, 3, 1, 4).reshape(batch, -1, heads, width)[:, :tokens]


def entering(written, kept):
    """The state that enters each chunk: S[n+1] = kept[n] * S[n] + written[n]; chunks: axis 2."""
    state = torch.zeros_like(written[:, :, 0])
    states = [state]
    for n in range(written.shape[2] - 1):
        state = torch.addcmul(written[:, :, n], kept[:, :, n], state)
        states.append(state)
    return torch.stack(states, 2)


def between(total):
    """exp(G_i - G_j) for i >= j, else 0; total: G [..., C]."""
    size = total.shape[-1]
    later = torch.ones(size, size, dtype=torch.bool, device=total.device).triu(1)
    return (total[..., :, None] - total[..., None, :]).masked_fill(later, -torch.inf).exp()


def doubled(tokens):
    """CHUNK, doubled until so many tokens fit in: chunks that merge in pairs."""
    return CHUNK << (-(-tokens // CHUNK) - 1).bit_length()


def spread(weights):
    """Log-linear attention's weights [..., C, levels] as weights[i, level(i, j)] for i >= j, else
    0: [..., C, C]. level(i, j): how many bits i xor j has. A product per row with zeros and ones,
    because its gradient is a product too: a third of the time of a gather."""
    size = weights.shape[-2]
    i = torch.arange(size, device=weights.device)
    level = torch.frexp((i[:, None] ^ i).float()).exponent.masked_fill(i > i[:, None], -1)
    within = size.bit_length()
    picks = level[:, None] == torch.arange(within, device=weights.device)[:, None]
    rows = weights[..., :within].flatten(0, -3).transpose(0, 1)
    return (rows @ picks.to(rows.dtype)).transpose(0, 1).unflatten(0, weights.shape[:-2])


def halves(x, axis):
    """The first and the second of each pair of spans, [..., N, C, ...] by axis N."""
    return x.unflatten(axis, (-1, 2)).unbind(axis + 1)


def pairs(x, axis):
    """Each pair of spans as one."""
    return x.unflatten(axis, (-1, 2)).flatten(axis + 1, axis + 2)


def decayed_products(lefts, right, total, block):
    """For each left, sum_c left_ic right_jc exp(G_ic - G_jc) for i >= j, else 0: [..., C, C].

    Each block of rows is anchored at its first row: exponents of rows and of earlier keys are at
    most 0, those of the block's own keys at most what block - 1 tokens decay by."""
    size = right.shape[-2]
    rows = []
    for i in range(0, size, block):
        anchor = total[..., i : i + 1, :]
        fall = (total[..., i : i + block, :] - anchor).exp()
        rise = (anchor - total[..., : i + block, :]).clamp(max=STEEPEST).exp()
        stacked = torch.cat([left[..., i : i + block, :] * fall for left in lefts], -2)
        products = stacked @ (right[..., : i + block, :] * rise).mT
        rows.append(F.pad(products, (0, size - i - block)).split(block, -2))
    return [torch.cat(parts, -2).tril() for parts in zip(*rows)]


def attention(q, k, v):
    """Softmax attention to all earlier tokens."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0).transpose(1, 2)


def window_attention(q, k, v, window):
    """Softmax attention to the last `window` tokens: chunks of that size see themselves and the
    chunk before."""
    tokens = q.shape[1]
    q, k, v = (chunks_of(x, window) for x in (q, k, v))
    k, v = (torch.cat([F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1], x], -2) for x in (k, v))
    age = torch.arange(window, 2 * window, device=q.device)[:, None]
    age = age - torch.arange(2 * window, device=q.device)
    seen = ((age >= 0) & (age < window)).expand(q.shape[2], -1, -1).clone()
    seen[0, :, :window] = False
    scores = (q @ k.mT).masked_fill(~seen, -torch.inf)
    return tokens_of(scores.softmax(-1) @ v, tokens)


def scalar_scan(q, k, v, log_decay):
    """S = exp(g) S + k v', o = S' q, a decay per head: log_decay [B, T, H], or [H] everywhere."""
    tokens = q.shape[1]
    q, k, v = (chunks_of(x) for x in (q, k, v))
    if log_decay.dim() == 1:
        total = log_decay[:, None, None] * torch.arange(1, CHUNK + 1, device=q.device)
        total = total.expand(1, -1, q.shape[2], -1)
    else:
        total = chunks_of(log_decay[..., None])[..., 0].cumsum(-1)
    last = total[..., -1:]
    written = (k * (last - total).exp()[..., None]).mT @ v
    states = entering(written, last.exp()[..., None])
    inside = (q @ k.mT * between(total)) @ v
    return tokens_of(inside + (q * total.exp()[..., None]) @ states, tokens)


def shared_scan(q, k, v, log_decay, weights=None):
    """scalar_scan of heads that share queries and keys (q, k [B, T, K]): what reads and writes
    the states of all heads is one product. weights [B, T, H, levels]: log-linear attention."""
    batch, tokens, heads, width = v.shape
    whole = CHUNK if weights is None else doubled(tokens)
    chunk = lambda x: F.pad(x, (0, 0, 0, -tokens % whole)).view(batch, -1, CHUNK, x.shape[-1])
    q, k, total = chunk(q), chunk(k), chunk(log_decay).cumsum(2)
    v = chunk(v.flatten(2)).unflatten(-1, (heads, width))
    last = total[:, :, -1:]
    written = k.mT @ (v * (last - total).exp()[..., None]).flatten(3)
    shares = between(total.mT)
    if weights is not None:
        weights = chunk(weights.flatten(2)).unflatten(-1, (heads, -1))
        shares = shares * spread(weights.transpose(2, 3))
    scores = (q @ k.mT)[:, :, None] * shares
    inside = (scores @ v.transpose(2, 3)).transpose(2, 3)
    if weights is None:
        kept = last.exp().repeat_interleave(width, -1)
        states = entering(written[:, None], kept[:, None])[:, 0]
        across = (q @ states).unflatten(-1, (heads, width)) * total.exp()[..., None]
        o = inside + across
    else:
        o = shared_levels(inside, q, written, total, weights)
    return o.reshape(batch, -1, heads, width)[:, :tokens]


def shared_levels(o, q, written, total, weights):
    """Adds what chunks read of earlier ones, a level at a time for all chunks: of each pair of
    spans the second reads what the first has written, then the pair is a span of the next level. o
    [B, N, C, H, V], written [B, N, K, H V], weights [B, N, C, H, levels]."""
    heads, width = o.shape[-2:]
    level = CHUNK.bit_length()
    while o.shape[1] > 1:
        (o, more), (_, reading) = halves(o, 1), halves(q, 1)
        (earlier, later), (before, after) = halves(written, 1), halves(total, 1)
        share = halves(weights, 1)[1][..., level] * after.exp()
        seen = (reading @ earlier).unflatten(-1, (heads, width))
        o = torch.cat([o, torch.addcmul(more, share[..., None], seen)], 2)
        kept = after[:, :, -1:].exp().repeat_interleave(width, -1)
        written = torch.addcmul(later, kept, earlier)
        total = torch.cat([before, after + before[:, :, -1:]], 2)
        q, weights, level = pairs(q, 1), pairs(weights, 1), level + 1
    return o


def channel_scan(q, k, v, log_decay, block=BLOCK):
    """S = diag(exp g) S + k v', o = S' q, a decay per key channel: log_decay [B, T, H, K]. block:
    tokens that together decay by less than exp(-STEEPEST)."""
    tokens = q.shape[1]
    q, k, v, total = (chunks_of(x) for x in (q, k, v, log_decay))
    total = total.cumsum(-2)
    last = total[..., -1:, :]
    written = (k * (last - total).exp()).mT @ v
    states = entering(written, last.exp().mT)
    (scores,) = decayed_products([q], k, total, block)
    return tokens_of(scores @ v + (q * total.exp()) @ states, tokens)


def delta_scan(q, k, v, beta, log_decay=None):
    """S = decayed S + beta k (v - (decayed S)' k)', o = S' q; log_decay [B, T, H], [B, T, H, K] or
    None; beta [B, T, H]. With a chunk's corrections V' solved for first, a gated scan."""
    tokens = q.shape[1]
    q, k, v, beta = (chunks_of(x) for x in (q, k, v, beta[..., None]))
    if log_decay is None:
        fall, left_over, kept = 1, 1, q.new_ones(*q.shape[:3], 1, 1)
        strength, scores = (k * beta) @ k.mT, (q @ k.mT).tril()
    else:
        per_head = log_decay.dim() == 3
        total = chunks_of(log_decay[..., None] if per_head else log_decay).cumsum(-2)
        last = total[..., -1:, :]
        fall, left_over, kept = total.exp(), (last - total).exp(), last.exp().mT
        if per_head:
            decay = between(total[..., 0])
            strength, scores = (k * beta) @ k.mT * decay, q @ k.mT * decay
        else:
            strength, scores = decayed_products([k * beta, q], k, total, BLOCK)
    # Only what lies strictly below the diagonal is read of it.
    both = torch.cat([k * (beta * fall), v * beta], -1)
    both = torch.linalg.solve_triangular(strength.float(), both.float(), upper=False, unitriangular=True)
    w, u = both.split([k.shape[-1], v.shape[-1]], -1)
    writes = (k * left_over).mT
    state = q.new_zeros(*q.shape[:2], k.shape[-1], v.shape[-1])
    states, fresh = [], []
    for n in range(q.shape[2]):
        states.append(state)
        fresh.append(u[:, :, n] - w[:, :, n] @ state)
        state = kept[:, :, n] * state + writes[:, :, n] @ fresh[-1]
    return tokens_of(scores @ torch.stack(fresh, 2) + (q * fall) @ torch.stack(states, 2), tokens)


def level_delta_scan(q, k, v, beta, log_decay, weights):
    """delta_scan with a decay per head and log-linear attention's weights [B, T, H, levels]. What
    a chunk reads of a state, writes, and leaves of a state are matrices that do not depend on the
    state, so any number of states goes through them."""
    tokens = q.shape[1]
    q, k, v, beta, total, weights = (
        chunks_of(x, whole=doubled(tokens))
        for x in (q, k, v, beta[..., None], log_decay[..., None], weights))
    total = total.cumsum(-2)
    last = total[..., -1:, :]
    decay, fall = between(total[..., 0]), total.exp()
    # Only what lies strictly below the diagonal is read of it.
    strength = (k * beta) @ k.mT * decay
    both = torch.cat([q @ k.mT * decay, (k * (last - total).exp()).mT], -2)
    # Turned, because what comes out lies turned in memory.
    both = torch.linalg.solve_triangular(strength.mT, both.mT, upper=True, unitriangular=True).mT
    v, erased, sizes = v * beta, both @ (k * (beta * fall)), [CHUNK, k.shape[-1]]
    scores, writes = both.split(sizes, -2)
    unread, lost = erased.split(sizes, -2)
    moves = last.exp() * torch.eye(k.shape[-1], dtype=k.dtype, device=k.device) - lost
    o = (scores * spread(weights)) @ v
    return tokens_of(delta_levels(o, q * fall - unread, writes @ v, moves, weights), tokens)


def delta_levels(o, reads, written, moves, weights):
    """shared_levels where a span leaves moves @ S [B, H, N, K, K] of a state and reads [B, H, N, C,
    K] of the one that enters it; written [B, H, N, K, V]."""
    level = CHUNK.bit_length()
    while o.shape[2] > 1:
        (o, more), (first, second) = halves(o, 2), halves(reads, 2)
        (earlier, later), (before, after) = halves(written, 2), halves(moves, 2)
        share = halves(weights, 2)[1][..., level, None]
        o = torch.cat([o, torch.addcmul(more, share, second @ earlier)], -2)
        if o.shape[2] > 1:
            reads = torch.cat([first, second @ before], -2)
            written, moves = later + after @ earlier, after @ before
        weights, level = pairs(weights, 2), level + 1
    return o


@torch.library.custom_op("peer::walk", mutates_args=())
def walk(x: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """h_t = f_t h_{t-1} + x_t, token by token: [B, T, D]."""
    h = torch.empty_like(x)
    h[:, 0] = x[:, 0]
    for t in range(1, x.shape[1]):
        torch.addcmul(x[:, t], f[:, t], h[:, t - 1], out=h[:, t])
    return h


@walk.register_fake
def _(x, f):
    return torch.empty_like(x)


@torch.library.custom_op("peer::walk_back", mutates_args=())
def walk_back(dh: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """The gradient of x: dx_t = dh_t + f_{t+1} dx_{t+1}."""
    dx = torch.empty_like(dh)
    dx[:, -1] = dh[:, -1]
    for t in range(dh.shape[1] - 2, -1, -1):
        torch.addcmul(dh[:, t], f[:, t + 1], dx[:, t + 1], out=dx[:, t])
    return dx


@walk_back.register_fake
def _(dh, f):
    return torch.empty_like(dh)


def _keep(ctx, inputs, output):
    ctx.save_for_backward(inputs[1], output)


def _back(ctx, dh):
    f, h = ctx.saved_tensors
    dx = walk_back(dh.contiguous(), f)
    return dx, F.pad(dx[:, 1:] * h[:, :-1], (0, 0, 1, 0))


walk.register_autograd(_back, setup_context=_keep)


def vector_scan(x, f):
    """h_t = f_t h_{t-1} + x_t: [B, T, D]. A CPU walks the tokens. Elsewhere all blocks are walked
    at once, then the states that pass from block to block: T / BLOCK + BLOCK steps."""
    if x.device.type == "cpu":
        return walk(x.contiguous(), f.contiguous())
    batch, tokens, width = x.shape
    x, f = (F.pad(y, (0, 0, 0, -tokens % BLOCK)).view(batch, -1, BLOCK, width) for y in (x, f))
    inside, passed = [x[:, :, 0]], [f[:, :, 0]]
    for i in range(1, BLOCK):
        inside.append(torch.addcmul(x[:, :, i], f[:, :, i], inside[-1]))
        passed.append(f[:, :, i] * passed[-1])
    states = entering(inside[-1][:, None], passed[-1][:, None])[:, 0]
    h = torch.addcmul(torch.stack(inside, 2), torch.stack(passed, 2), states[:, :, None])
    return h.reshape(batch, -1, width)[:, :tokens]
