"""Figures and experiments of chapter 16, transformers."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from utils import data, figures

INK, SOFT = "#222222", "#555555"
WORDS = ("the", "cat", "that", "dogs", "chased", "slept", ".")


def rotate(x, positions, base=10000.0):
    """Rotary embedding of adjacent feature pairs, through complex numbers; x (..., T, d), positions (T,)."""
    rates = base ** (-torch.arange(0, x.shape[-1], 2, dtype=x.dtype) / x.shape[-1])
    angles = positions[:, None] * rates
    z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(z * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def attention_map(d_k=64, scaled=True, tie_query_and_key=False):
    """Scores, weights and the spread of scores of a seven-word sentence with random queries and keys."""
    rng = np.random.default_rng(4)
    q, k = rng.normal(size=(2, len(WORDS), d_k))
    if tie_query_and_key:
        q = k = q * np.array([0.3, 0.8, 0.4, 0.7, 0.9, 0.6, 0.2])[:, None]  # words of different length: rows differ in sharpness
    scores = q @ k.T / (math.sqrt(d_k) if scaled else 1.0)
    weights = _softmax(scores)
    slope = np.linalg.norm(weights[:, :, None] * (np.eye(len(WORDS)) - weights[:, None, :]), axis=(1, 2)).mean()
    entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(1).mean()

    fig, (left, middle, right) = figures.new(ncols=3, width=9.2, height=3.7, width_ratios=[1, 1, 1.05])
    for ax, picture, title in ((left, scores, "scores"), (middle, weights, "weights, rows sum to 1")):
        limits = {"vmin": 0, "vmax": 1} if ax is middle else {}
        ax.imshow(picture, cmap="cividis", **limits)
        ax.set_xticks(range(len(WORDS)), WORDS, rotation=60)
        ax.set_yticks(range(len(WORDS)), WORDS if ax is left else [])
        ax.grid(False)
        figures.label(ax, "key", "query" if ax is left else "", title)
    many = rng.normal(size=(4000, d_k)), rng.normal(size=(4000, d_k))
    spread = (many[0] * many[1]).sum(1) / (math.sqrt(d_k) if scaled else 1.0)
    right.hist(spread, bins=40, color=figures.COLORS[0], density=True)
    right.set_xlim(-60, 60) if not scaled and d_k > 16 else right.set_xlim(-8, 8)
    right.set_yticks([])
    figures.label(right, "score of independent q and k", "share", f"spread (std) {spread.std():.1f}")
    fig.suptitle(
        f"row entropy {entropy:.2f} of {math.log(len(WORDS)):.2f} nats · slope of softmax {slope:.3f}", fontsize=11, x=0.02, ha="left"
    )
    return fig


def _softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def mask_bars(weights):
    """Weights of three keys, the last one in the future, for each treatment in `weights`."""
    fig, axes = figures.new(ncols=len(weights), width=8.6, height=2.8, sharey=True)
    for ax, (name, row) in zip(axes, weights.items(), strict=True):
        ax.bar(
            ["key 0", "key 1", "future"], row, color=[figures.COLORS[0]] * 2 + [figures.COLORS[2]], hatch=["", "", "//"], edgecolor="white"
        )
        for i, w in enumerate(row):
            ax.text(i, w + 0.02, f"{w:.2f}", ha="center", fontsize=9)
        figures.label(ax, f"sum {sum(row):.2f}", "weight" if ax is axes[0] else "", name)
        ax.title.set_fontsize(10)
    axes[0].set_ylim(0, 0.9)
    return fig


TRAINED = 64  # positions that the imagined model was trained on
LENGTH = 96


def positions(scheme="sinusoidal", query_position=24):
    """One position scheme as a picture, and the score of equal tokens against the position of the key."""
    fig, (left, right) = figures.new(ncols=2, width=9.0, height=3.6)
    scores = _SCHEMES[scheme](left, query_position)
    right.axvspan(TRAINED - 0.5, LENGTH, color="#dddddd", lw=0)
    right.plot(np.arange(len(scores)), scores, color=figures.COLORS[0])
    right.axvline(query_position, color=INK, ls=":", lw=1.2)
    right.set_xlim(0, LENGTH)
    right.text(LENGTH - 1, right.get_ylim()[0], "beyond training", fontsize=9, color=SOFT, va="bottom", ha="right")
    figures.label(right, "position of the key", "score, or its position part", f"query at {query_position} (dotted)")
    return fig


def _sinusoidal(ax, at):
    table = _sines(LENGTH, 64)
    ax.imshow(table.T, aspect="auto", cmap="cividis", extent=(0, LENGTH, 64, 0))
    ax.grid(False)
    figures.label(ax, "position", "feature", "added to the embeddings")
    return table @ table[at] / 8


def _learned(ax, at):
    table = np.random.default_rng(0).normal(size=(TRAINED, 64))
    ax.imshow(table.T, aspect="auto", cmap="cividis", extent=(0, TRAINED, 64, 0))
    ax.set_xlim(0, LENGTH)
    ax.text((TRAINED + LENGTH) / 2, 32, "no vector\nexists", ha="center", va="center", fontsize=10, color=figures.COLORS[2])
    ax.grid(False)
    figures.label(ax, "position", "feature", "a trained table (here: random)")
    return table @ table[at] / 8 if at < TRAINED else np.full(TRAINED, np.nan)


def _rope(ax, at):
    rates = 10000.0 ** (-np.arange(0, 64, 2) / 64)
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(turn), np.sin(turn), color="#bbbbbb", lw=1, ls="-")
    for pair, color, style in ((0, figures.COLORS[0], "-"), (4, figures.COLORS[1], "--"), (8, figures.COLORS[2], "-.")):
        angle = at * rates[pair]
        ax.plot([0, np.cos(angle)], [0, np.sin(angle)], color=color, ls=style, label=f"pair {pair}: {angle:.1f} rad")
        ax.plot(np.cos(angle), np.sin(angle), "o", color=color)
    ax.set(xlim=(-1.2, 1.2), ylim=(-1.15, 2.15), aspect="equal")
    ax.legend(loc="upper center", ncols=1)
    figures.label(ax, "even feature of the pair", "odd feature", "turns Q and K")
    return np.cos((np.arange(LENGTH)[:, None] - at) * rates).sum(1) / 8


def _alibi(ax, at):
    distance = np.subtract.outer(np.arange(24), np.arange(24))
    bias = np.where(distance >= 0, -distance / 4.0, np.nan)
    image = ax.imshow(bias, cmap="cividis")
    ax.grid(False)
    ax.figure.colorbar(image, ax=ax, label="bias on the score")
    figures.label(ax, "position of the key", "position of the query", "subtracted from scores")
    keys = np.arange(LENGTH)
    return np.where(keys <= at, -(at - keys) / 4.0, np.nan)


_SCHEMES = {"sinusoidal": _sinusoidal, "learned": _learned, "RoPE": _rope, "ALiBi": _alibi}


def _sines(length, d):
    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, d, 2) / d)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(length, d)


# ------------------------------------------------------------------------------------------------ the block


class Layer(nn.Module):
    """A transformer layer in either norm placement, causal."""

    def __init__(self, d, heads, pre):
        super().__init__()
        self.heads, self.pre = heads, pre
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        for linear in (self.qkv, self.out, self.up, self.down):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def attend(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))

    def transform(self, x):
        return self.down(F.gelu(self.up(x)))

    def forward(self, x):
        if self.pre:
            x = x + self.attend(self.ln1(x))
            return x + self.transform(self.ln2(x))
        x = self.ln1(x + self.attend(x))
        return self.ln2(x + self.transform(x))


class Stack(nn.Module):
    """Embedding, `depth` layers, output matrix."""

    def __init__(self, vocab, depth, pre, d=32, heads=4):
        super().__init__()
        self.embed, self.place = nn.Embedding(vocab, d), nn.Embedding(64, d)
        self.layers = nn.Sequential(*(Layer(d, heads, pre) for _ in range(depth)))
        self.ln, self.head = nn.LayerNorm(d) if pre else nn.Identity(), nn.Linear(d, vocab)
        nn.init.xavier_uniform_(self.head.weight)

    def forward(self, tokens):
        return self.head(self.ln(self.layers(self.embed(tokens) + self.place.weight[: tokens.shape[1]])))

    def loss(self, batch):
        return F.cross_entropy(self(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def _characters(n=60_000):
    text = data.stdlib_text(n)
    number = {c: i for i, c in enumerate(sorted(set(text)))}
    return torch.tensor([number[c] for c in text]), len(number)


def _windows(ids, n, rng, length=33):
    return ids[torch.randint(len(ids) - length, (n, 1), generator=rng) + torch.arange(length)]


def gradient_by_layer(depth, pre, seeds=3):
    """Norm of the gradient of each layer's last matrix before training, averaged over seeds."""
    ids, vocab = _characters()
    rows = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = Stack(vocab, depth, pre)
        model.loss(_windows(ids, 8, torch.Generator().manual_seed(seed))).backward()
        rows.append([layer.down.weight.grad.norm().item() for layer in model.layers])
    return np.mean(rows, 0)


def block(norm="pre-LN", depth=24):
    """The block as a drawing, and the gradient norm of each layer at initialisation."""
    fig, (left, right) = figures.new(ncols=2, width=9.0, height=4.6, width_ratios=[0.85, 1])
    _draw_block(left, norm)
    last = {}
    for name, color, style in (("pre-LN", figures.COLORS[0], "-"), ("post-LN", figures.COLORS[2], "--")):
        norms = gradient_by_layer(depth, name == "pre-LN")
        last[name] = norms[-1]
        right.plot(
            range(1, depth + 1), norms, color=color, ls=style, lw=3.0 if name == norm else 1.6, label=f"{name}, last layer {norms[-1]:.2f}"
        )
        right.plot(depth, norms[-1], "o", ms=9, color=color)
    right.set_ylim(0, right.get_ylim()[1] * 1.25)
    right.legend(loc="upper right")
    title = f"last of {depth} layers: post-LN {last['post-LN'] / last['pre-LN']:.1f} × pre-LN"
    figures.label(right, "layer, from the input to the output", "gradient norm of its last matrix", title)
    return fig


def _draw_block(ax, norm):
    ax.set(xlim=(0, 10), ylim=(0, 11))
    ax.axis("off")
    rows = [("LN", "attention"), ("LN", "FFN")] if norm == "pre-LN" else [("attention", None), ("FFN", None)]
    y, x_stream, x_branch = 0.9, 2.6, 6.9
    ax.text(x_stream, 0.05, "tokens (B, T, D)", ha="center", fontsize=10)
    for inner in rows:
        top = y + 4.2
        boxes = [name for name in inner if name]
        for i, name in enumerate(boxes):
            _box(ax, x_branch, y + 1.0 + 1.45 * i, name)
        if len(boxes) == 2:
            _arrow(ax, (x_branch, y + 1.45), (x_branch, y + 2.0))
        last = y + 1.0 + 1.45 * (len(boxes) - 1)
        _arrow(ax, (x_stream, y + 0.1), (x_branch, y + 0.1), head=False)
        _arrow(ax, (x_branch, y + 0.1), (x_branch, y + 0.55))
        _arrow(ax, (x_branch, last + 0.45), (x_branch, y + 3.3), head=False)
        _arrow(ax, (x_branch, y + 3.3), (x_stream + 0.35, y + 3.3))
        ax.text(
            x_stream, y + 3.3, "+", ha="center", va="center", fontsize=13, bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": INK}
        )
        _arrow(ax, (x_stream, y - 0.2), (x_stream, y + 2.9), wide=True)
        if norm == "post-LN":
            _arrow(ax, (x_stream, y + 3.7), (x_stream, top - 0.35), wide=True, head=False)
            _box(ax, x_stream, top - 0.1, "LN", on_stream=True)
        else:
            _arrow(ax, (x_stream, y + 3.7), (x_stream, top + 0.3), wide=True, head=False)
        y = top + 0.45
    _arrow(ax, (x_stream, y - 0.3), (x_stream, y + 0.55), wide=True)
    ax.text(x_stream + 0.4, y + 0.3, "next block, N times", fontsize=10)
    ax.set_title(f"{norm} block; thick: the residual stream", loc="left", fontsize=11)


def _box(ax, x, y, text, on_stream=False):
    color = figures.COLORS[1] if text == "LN" else figures.COLORS[9]
    ax.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=10,
        bbox={"boxstyle": "round,pad=0.35", "fc": color if not on_stream else "#ffd27a", "ec": INK},
    )


def _arrow(ax, start, end, wide=False, head=True):
    style = {
        "arrowstyle": "-|>" if head else "-",
        "color": figures.COLORS[0] if wide else INK,
        "lw": 3 if wide else 1.2,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    ax.annotate("", xy=end, xytext=start, arrowprops=style)


def train(pre, warmup, depth=6, steps=90, peak=5e-3):
    """Training loss of a small stack on Python source; the learning rate rises linearly over `warmup` steps."""
    ids, vocab = _characters()
    torch.manual_seed(0)
    model, rng, curve = Stack(vocab, depth, pre), torch.Generator().manual_seed(0), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = peak * min(1.0, (step + 1) / max(warmup, 1))
        loss = model.loss(_windows(ids, 4, rng, length=25))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


def warmup():
    """Loss curves: pre-LN and post-LN without warmup, post-LN with it."""
    fig, ax = figures.new(height=3.6)
    runs = (("pre-LN, no warmup", True, 0), ("post-LN, warmup of 60 steps", False, 60), ("post-LN, no warmup", False, 0))
    for (name, pre, steps), color, style in zip(runs, figures.COLORS, figures.STYLES, strict=False):
        curve = np.array(train(pre, steps))
        smooth = np.convolve(curve, np.ones(12) / 12, mode="valid")
        ax.plot(np.arange(12, len(curve) + 1), smooth, color=color, ls=style, label=f"{name}: ends at {smooth[-1]:.2f}")
    ax.legend()
    figures.label(ax, "step", "loss (nats), mean of 12 steps", "6 layers, AdamW, learning rate 0.005")
    return fig


# ------------------------------------------------------------------------------------------------ cost


def cost(tokens=4096, heads=32, kv_heads=8, layers=32, batch=1, d=128, block=128):
    """Memory of scores (stored and tiled) and cache, and FLOPs, against the number of tokens; 2 bytes per number."""
    n = np.logspace(2.5, 5.5, 60)
    shared = min(kv_heads, heads)

    def stored(n):
        return batch * heads * n**2 * 2

    def tile(n):
        return batch * heads * n * block * 2

    def cache(n):
        return 2 * layers * shared * d * n * batch * 2

    fig, (left, right) = figures.new(ncols=2, width=9.0, height=3.9)
    names = ("scores of one layer, stored", f"scores of one layer, tile of {block}", f"KV cache, {layers} layers, {shared} KV heads")
    for f, name, color, style in zip(
        (stored, tile, cache), names, (figures.COLORS[2], figures.COLORS[0], figures.COLORS[1]), figures.STYLES, strict=False
    ):
        left.loglog(n, f(n) / 2**30, color=color, ls=style, label=name)
        left.plot(tokens, f(tokens) / 2**30, "o", color=color)
    values = {name: _size(f(tokens)) for f, name in zip((stored, tile, cache), ("scores", "tile", "cache"), strict=True)}
    left.set_ylim(1e-4, 3e5)
    left.legend(loc="upper left")
    figures.label(left, "tokens n", "memory (GiB)", " · ".join(f"{name} {value}" for name, value in values.items()))
    flops = 4 * batch * heads * n**2 * d * layers
    right.loglog(n, flops / 1e12, color=figures.COLORS[4], label="attention, all layers")
    at = 4 * batch * heads * tokens**2 * d * layers / 1e12
    right.plot(tokens, at, "o", color=figures.COLORS[4])
    right.annotate(f"{at:,.3g}", (tokens, at), xytext=(6, -12), textcoords="offset points", fontsize=9)
    projections = 2 * 4 * n * (heads * d) ** 2 * layers * batch / 1e12
    right.loglog(n, projections, color=SOFT, ls=":", label="the four projections")
    right.legend(loc="upper left")
    figures.label(right, "tokens n", "TFLOPs of one forward pass", "work: the same with and without tiles")
    return fig


def _size(size):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


def online_softmax(blocks_read=2):
    """Twelve scores in four blocks of three: what is kept after some of them, against the full softmax."""
    scores = np.array([0.5, 1.2, -0.3, 0.9, 0.1, 1.5, 2.6, 3.4, 0.4, 1.1, 2.9, -0.6])
    values = np.array([2.0, 1.0, 4.0, 3.0, 0.0, 1.5, 5.0, 4.5, 1.0, 2.0, 4.0, 3.5])
    m, total, out, history = -np.inf, 0.0, 0.0, []
    for j in range(0, 3 * blocks_read, 3):
        new = max(m, scores[j : j + 3].max())
        p, shrink = np.exp(scores[j : j + 3] - new), np.exp(m - new)
        total, out, m = total * shrink + p.sum(), out * shrink + p @ values[j : j + 3], new
        history.append((m, total, out / total, shrink))
    fig, (left, right) = figures.new(ncols=2, width=9.0, height=3.7)
    seen = np.arange(12) < 3 * blocks_read
    left.bar(np.arange(12)[seen], scores[seen], color=figures.COLORS[0], label="read")
    left.bar(np.arange(12)[~seen], scores[~seen], color="#dddddd", hatch="//", edgecolor="#aaaaaa", label="not yet read")
    left.axhline(m, color=figures.COLORS[2], ls="--", lw=1.5, label=f"running maximum {m:.1f}")
    left.set(xticks=[1, 4, 7, 10], xticklabels=["block 1", "block 2", "block 3", "block 4"], ylim=(-1, 5.4))
    left.legend(loc="upper left")
    figures.label(left, "keys", "score", f"old sums multiplied by {history[-1][3]:.2f}")
    steps = np.arange(1, blocks_read + 1)
    full = _softmax(scores) @ values
    right.axhline(full, color=INK, ls="--", lw=1.2)
    right.text(4.4, full, f"full softmax {full:.3f} ", va="bottom", ha="right", fontsize=9)
    right.plot(steps, [h[2] for h in history], "o-", color=figures.COLORS[0])
    for step, h in zip(steps, history, strict=True):
        right.annotate(f"sum {h[1]:.2f}", (step, h[2]), xytext=(0, -15), textcoords="offset points", ha="center", fontsize=9)
    right.set(xlim=(0.6, 4.4), ylim=(0.5, 4.8), xticks=[1, 2, 3, 4])
    figures.label(right, "blocks read", "running output o / ℓ", f"output so far {history[-1][2]:.3f}")
    return fig


# ------------------------------------------------------------------------------------------------ the language model


def learning_curve(losses, lines):
    """Training loss with named horizontal lines."""
    fig, ax = figures.new(height=3.6)
    smooth = np.convolve(losses, np.ones(10) / 10, mode="valid")
    ax.plot(np.arange(10, len(losses) + 1), smooth, color=figures.COLORS[0], label="training, mean of 10 steps")
    for (name, value), color, style in zip(lines.items(), (SOFT, figures.COLORS[1], figures.COLORS[2]), (":", "--", "-."), strict=True):
        ax.axhline(value, color=color, ls=style, label=f"{name}: {value:.2f}")
    ax.set_ylim(1.5, 4.8)
    ax.legend()
    figures.label(ax, "step", "loss (nats per character)", "112,000 parameters, characters of Python source")
    return fig


@torch.no_grad()
def head_map(model, number, text, layer=2, head=1):
    """Attention weights of one head of the trained model over `text`."""
    x = model.embed(torch.tensor([[number[c] for c in text]]))
    for module in list(model.blocks)[: layer - 1]:
        x, _ = module(x, None)
    module = model.blocks[layer - 1]
    q, k, _ = module.qkv(module.ln1(x)).unflatten(-1, (3, module.n_heads, -1)).permute(2, 0, 3, 1, 4)
    here = torch.arange(len(text))
    scores = rotate(q, here)[0, head - 1] @ rotate(k, here)[0, head - 1].T / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(here[None] > here[:, None], -math.inf).softmax(-1)
    fig, ax = figures.new(width=6.6, height=6.0)
    image = ax.imshow(weights.double().numpy() ** 0.5, cmap="cividis", vmin=0, vmax=1)
    signs = [{" ": "␣", "\n": "↵", "\t": "⇥"}.get(c, c) for c in text]
    ax.set_xticks(range(len(text)), signs, family="DejaVu Sans Mono")
    ax.set_yticks(range(len(text)), signs, family="DejaVu Sans Mono")
    ax.grid(False)
    bar = fig.colorbar(image, ax=ax, shrink=0.8, label="weight", ticks=[0, 0.1**0.5, 0.5, 1])
    bar.set_ticklabels(["0", "0.1", "0.25", "1"])
    distance = float((weights * (here[:, None] - here[None])).sum(1).mean())
    ax.set_aspect("equal")
    figures.label(ax, "character that is read", "character that reads", f"layer {layer}, head {head}: looks {distance:.1f} back on average")
    return fig
