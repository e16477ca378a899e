"""Figures and experiments of chapter 7, weight initialization."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.ticker import LogLocator, NullFormatter

from utils import data, figures

ACTIVATIONS = {"ReLU": torch.relu, "tanh": torch.tanh, "GELU": F.gelu, "SiLU": F.silu}

#: Variance of a weight times the width of a square layer; the torch default has random biases besides.
SCHEMES = {"N(0, 1)": None, "He": 2.0, "Xavier": 1.0, "torch default": 1 / 3}


def signal(activation, scheme, *, depth=50, width=256, batch=64, seed=0):
    """Standard deviation of the activations after each layer, and of the gradients with respect to them, (depth,) each.

    The gradient that enters at the top is standard normal.
    """
    draw = torch.Generator().manual_seed(seed)
    spread = math.sqrt((SCHEMES[scheme] or width) / width)
    h = torch.randn(batch, width, generator=draw, dtype=torch.float64).requires_grad_()
    seen = []
    for _ in range(depth):
        weight = torch.randn(width, width, generator=draw, dtype=torch.float64) * spread
        z = h @ weight.T
        if scheme == "torch default":
            z = z + (2 * torch.rand(width, generator=draw, dtype=torch.float64) - 1) / math.sqrt(width)
        h = ACTIVATIONS[activation](z)
        h.retain_grad()
        seen.append(h)
    h.backward(torch.randn(h.shape, generator=draw, dtype=torch.float64))
    return np.array([s.std().item() for s in seen]), np.array([s.grad.std().item() for s in seen])


def depth_std(activation="ReLU", focus="He", width=256):
    """Activation and gradient size over 50 layers for four initializations."""
    fig, (left, right) = figures.new(ncols=2, height=3.7, sharey=True)
    layers = np.arange(1, 51)
    for scheme, color, style in zip(SCHEMES, (figures.COLORS[i] for i in (2, 0, 4, 1)), figures.STYLES, strict=False):
        forward, backward = signal(activation, scheme, width=width)
        look = {"color": color, "ls": style, "lw": 3.2 if scheme == focus else 1.8}
        left.plot(layers, np.maximum(forward, 1e-300), label=scheme, **look)
        right.plot(layers, np.maximum(backward, 1e-300), **look)
    for ax in (left, right):
        ax.axhline(1, color="#555555", lw=1, ls=":")
        ax.set(yscale="log", ylim=(1e-13, 1e13), xlim=(1, 50))
    figures.label(left, "layer", "standard deviation", f"{activation}: activations, going up")
    figures.label(right, "layer", "", f"{activation}: gradients, going down")
    left.legend(loc="upper right")
    right.annotate("", (33, 1e-11), (47, 1e-11), arrowprops={"arrowstyle": "->", "color": "#555555"})
    right.text(40, 3e-11, "backward", ha="center", fontsize=9, color="#555555")
    return fig


def default_net(depth, *, width=256, batch=64, seed=0):
    """(std over all entries, std across samples) after each of `depth` ReLU layers with torch's default weights and biases."""
    draw = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(width)
    h, rows = torch.randn(batch, width, generator=draw, dtype=torch.float64), []
    for _ in range(depth):
        weight, bias = (bound * (2 * torch.rand(shape, generator=draw, dtype=torch.float64) - 1) for shape in ((width, width), (width,)))
        h = torch.relu(h @ weight.T + bias)
        rows.append((h.std().item(), h.std(dim=0).mean().item()))
    return np.array(rows)


def default_collapse(depth=30, width=256):
    """What torch's default leaves of the differences between inputs."""
    rows = default_net(depth, width=width)
    fig, ax = figures.new()
    layers = np.arange(1, depth + 1)
    ax.plot(layers, rows[:, 0], label="over all entries")
    ax.plot(layers, rows[:, 1], label="across samples, unit by unit", color=figures.COLORS[2])
    ax.set(yscale="log", xlim=(1, max(depth, 2)))
    figures.label(ax, "layer", "standard deviation", f"After {depth} layers the samples differ by {rows[-1, 1]:.0e}")
    ax.legend(loc="lower left")
    return fig


def orthogonal(n, rng):
    """A uniformly distributed orthogonal matrix."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def orthogonal_power(gain=1.0, n=64, seed=0):
    """Length of W^t v for a Gaussian and an orthogonal W, the median singular value of the Gaussian's W^t, and all eigenvalues."""
    rng = np.random.default_rng(seed)
    matrices = {"Gaussian, variance 1/n": rng.standard_normal((n, n)) / math.sqrt(n), "orthogonal": orthogonal(n, rng)}
    fig, (left, right) = figures.new(ncols=2, height=3.7, width_ratios=[1.4, 1])
    v = rng.standard_normal(n)
    v /= np.linalg.norm(v)
    for (name, matrix), color, style, mark in zip(matrices.items(), (figures.COLORS[2], figures.COLORS[0]), ("--", "-"), "x.", strict=True):
        state, lengths = v, [1.0]
        for _ in range(100):
            state = gain * matrix @ state
            lengths.append(np.linalg.norm(state))
        left.plot(lengths, color=color, ls=style, label=f"{name}: one vector")
        z = gain * np.linalg.eigvals(matrix)
        right.plot(z.real, z.imag, mark, color=color, ls="none", ms=6)
    steps, power, medians = range(0, 101, 2), np.eye(n), []
    gaussian = gain * matrices["Gaussian, variance 1/n"]
    for _ in steps:
        medians.append(np.median(np.linalg.svd(power, compute_uv=False)))
        power = gaussian @ gaussian @ power
    left.plot(steps, medians, color=figures.COLORS[4], ls=":", label="Gaussian: its median direction")
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
    right.plot(circle.real, circle.imag, color="#555555", lw=1, ls=":")
    right.set(aspect="equal", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))
    left.set(yscale="log", ylim=(1e-7, 1e7), xlim=(0, 100))
    length = f"{lengths[-1]:,.0f}" if lengths[-1] >= 100 else f"{lengths[-1]:.3g}"
    figures.label(left, "multiplications t", "length of $W^t v$", f"Gain {gain:.2f}: orthogonal length {length} after 100")
    figures.label(right, "real part", "imaginary part", "Eigenvalues")
    left.legend(loc="upper left")
    return fig


def rare_digit(rate=0.01):
    """Digits as a detector sees them: is it an 8? Only so many 8s are kept that they make up `rate` of the rest."""
    x, y, *_ = data.digits(standardize=True, test=0.0, dtype=np.float32)
    others, eights = np.flatnonzero(y != 8), np.flatnonzero(y == 8)
    keep = np.concatenate([others, eights[: round(rate * len(others) / (1 - rate))]])
    return torch.tensor(x[keep]), torch.tensor((y[keep] == 8).astype(np.int64))


def first_steps(x, y, *, scale, prior, steps=100, rate=0.1, seed=0):
    """Cross-entropy before and during `steps` steps of a net with 64 ReLU units; the output weights have std `scale`."""
    draw = torch.Generator().manual_seed(seed)
    classes = int(y.max()) + 1
    hidden = torch.randn(64, x.shape[1], generator=draw, dtype=x.dtype) * math.sqrt(2 / x.shape[1])
    out = torch.randn(classes, 64, generator=draw, dtype=x.dtype) * scale
    shares = torch.bincount(y).to(x.dtype) / len(y)
    bias = shares.log() if prior else torch.zeros(classes, dtype=x.dtype)
    params = [p.requires_grad_() for p in (hidden, out, bias)]
    losses = []
    for _ in range(steps + 1):
        hidden, out, bias = params
        loss = F.cross_entropy(torch.relu(x @ hidden.T) @ out.T + bias, y)
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, params)
        params = [(p - rate * g).detach().requires_grad_() for p, g in zip(params, grads, strict=True)]
    return losses


def initial_loss(task="1 % positives", log10_scale=-2.0):
    """The first 100 steps with and without the prior bias, for output weights of one scale."""
    if task == "ten digits":
        x, y, *_ = data.digits(standardize=True, test=0.0, dtype=np.float32)
        x, y = torch.tensor(x), torch.tensor(y)
    else:
        x, y = rare_digit()
    shares = torch.bincount(y).double() / len(y)
    entropy = -(shares * shares.log()).sum().item()
    fig, ax = figures.new()
    starts = []
    for prior, color, style in ((False, figures.COLORS[2], "--"), (True, figures.COLORS[0], "-")):
        losses = first_steps(x, y, scale=10**log10_scale, prior=prior)
        starts.append(losses[0])
        ax.plot(losses, color=color, ls=style, label="bias log(base rate)" if prior else "bias 0")
    uniform = math.log(len(shares))
    lines = {f"ln {len(shares)} = {uniform:.2f}": uniform}
    if uniform - entropy > 0.05:
        lines[f"entropy of the base rates = {entropy:.3f}"] = entropy
    for text, level in lines.items():
        ax.axhline(level, color="#555555", lw=1, ls=":")
        ax.text(99, 1.05 * level, text, fontsize=9, ha="right", va="bottom", color="#555555")
    ax.set(yscale="log", xlim=(0, 100))
    low, high = ax.get_ylim()
    high = max(high, 1.5 * uniform)  # room for the label above its line
    ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1e3 else (1,)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    title = f"Output weights of std {10**log10_scale:.3g}: start at {starts[0]:.3g} or {starts[1]:.3g}"
    figures.label(ax, "step", "training loss (nats)", title)
    ax.legend(loc="best")
    return fig


def logits_and_gradient(std, *, n=4000, classes=10, seed=0):
    """(mean loss, mean length of the gradient per sample) of cross-entropy for random logits and random labels."""
    draw = torch.Generator().manual_seed(seed)
    logits = (std * torch.randn(n, classes, generator=draw)).requires_grad_()
    loss = F.cross_entropy(logits, torch.randint(classes, (n,), generator=draw), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.item() / n, gradient.norm(dim=1).mean().item()


def stream(branches, *, branch_std=1.0, closed=False, width=200, batch=500, seed=0):
    """Standard deviation of a residual stream after each of `branches` random linear branches that read a normalized stream."""
    draw = torch.Generator().manual_seed(seed)
    x, stds = torch.randn(batch, width, generator=draw), []
    for _ in range(branches):
        weight = torch.randn(width, width, generator=draw) * branch_std / math.sqrt(width)
        x = x + (0.0 if closed else 1.0) * F.layer_norm(x, (width,)) @ weight.T
        stds.append(x.std().item())
    return stds
