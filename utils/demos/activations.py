"""Figures and experiments of chapter 4, activation functions."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from utils import data, figures

FUNCTIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": F.gelu,
    "SiLU": F.silu,
}


def value_and_slope(name, z):
    """An activation and its derivative at `z`, an array; both as float64 arrays."""
    z = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    value = FUNCTIONS[name](z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach().numpy(), slope.numpy()


def curves(z=1.0, focus="sigmoid", others=True):
    """The five activations and their slopes; a tangent at `z` for the one in focus."""
    fig, (left, right) = figures.new(ncols=2, height=3.8)
    grid = np.linspace(-3, 3, 301)
    for (name, _), color, style in zip(FUNCTIONS.items(), figures.COLORS, figures.STYLES, strict=False):
        if not (others or name == focus):
            continue
        value, slope = value_and_slope(name, grid)
        look = {"color": color, "ls": style, "lw": 3.0 if name == focus else 1.6}
        left.plot(grid, value, label=name, **look)
        right.plot(grid, slope, **look)
    value, slope = (float(v) for v in value_and_slope(focus, np.array(z)))
    left.plot([z - 1, z + 1], [value - slope, value + slope], color="#222222", ls="-", lw=1.2)
    left.plot(z, value, "o", color="#222222")
    right.plot(z, slope, "o", color="#222222")
    right.axhspan(-0.05, 0.05, color="#bd1f01", alpha=0.15, lw=0)
    right.text(-2.95, -0.15, "shaded: |slope| < 0.05, saturated", color="#bd1f01", fontsize=9, va="top")
    right.axhline(0.25, color="#555555", lw=1, ls=":")
    right.text(-2.95, 0.27, "peak 0.25", fontsize=9, color="#555555")
    figures.label(left, "pre-activation z", "activation f(z)", f"{focus}({z:.1f}) = {value:.3f}")
    figures.label(right, "pre-activation z", "slope f′(z)", f"slope {slope:.3f}")
    left.set(xlim=(-3, 3), ylim=(-1.25, 3.1))
    right.set(xlim=(-3, 3), ylim=(-0.35, 1.25))
    left.legend(loc="upper left")
    return fig


def gelu_variants(zoom=False):
    """GELU's two approximations and SiLU beside the exact form, and how far each is away from it."""
    fig, (left, right) = figures.new(ncols=2, height=3.6)
    z = torch.linspace(-4, 4, 1601, dtype=torch.float64)
    exact = F.gelu(z)
    forms = {
        "GELU, exact": exact,
        "GELU, tanh form": F.gelu(z, approximate="tanh"),
        "GELU, sigmoid form": z * torch.sigmoid(1.702 * z),
        "SiLU": F.silu(z),
    }
    for (name, value), color, style in zip(forms.items(), figures.COLORS, figures.STYLES, strict=False):
        left.plot(z, value, color=color, ls=style, label=name)
        if name != "GELU, exact":
            gap = (value - exact).abs()
            top = int(gap.argmax())
            right.semilogy(z, gap.clamp(min=1e-9), color=color, ls=style)
            right.annotate(f"{gap[top]:.2g}", (float(z[top]), float(gap[top])), xytext=(0, 3), textcoords="offset points", fontsize=9)
    if zoom:
        low = int(exact.argmin())
        left.plot(z[low], exact[low], "o", color="#222222")
        left.annotate(
            "lowest point of GELU: −0.170 at −0.752",
            (float(z[low]), float(exact[low])),
            xytext=(-2.1, 0.02),
            fontsize=9,
            ha="center",
            arrowprops={"arrowstyle": "-", "color": "#555555"},
        )
        left.set(xlim=(-4, 0), ylim=(-0.44, 0.06))
    left.legend(loc="lower left" if zoom else "upper left")
    right.set_ylim(1e-6, 2)
    figures.label(left, "pre-activation z", "activation", "GELU three ways, and SiLU")
    figures.label(right, "pre-activation z", "|difference to exact GELU|", "How far from exact")
    return fig


LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -2.0])


def temperature_bars(T=1.0, k=3):
    """softmax(z/T) of six logits, and top-k of the same logits at T = 1."""
    fig, axes = figures.new(ncols=2, height=3.3, sharey=True)
    plain, heated = softmax(LOGITS), softmax(LOGITS / T)
    cut = np.where(np.argsort(np.argsort(-LOGITS)) < k, plain, 0)
    for ax, p, title in zip(axes, (heated, cut / cut.sum()), (f"temperature {T:.1f}", f"top-{k} at temperature 1"), strict=True):
        ax.bar(range(len(p)), p, color=figures.COLORS[0])
        ax.step(np.arange(-0.5, 6), np.append(plain, plain[-1]), where="post", color="#222222", ls="-", lw=1.2)
        for i, v in enumerate(p):
            ax.text(i, max(v, plain[i]) + 0.02, f"{v:.2f}" if v >= 0.005 or v == 0 else f"{v:.0e}", ha="center", fontsize=9)
        entropy = -(p[p > 0] * np.log(p[p > 0])).sum()
        figures.label(ax, "token, logit", "probability" if ax is axes[0] else "", f"{title}, entropy {entropy:.2f} nats")
        ax.set_xticks(range(len(p)), [f"{v:g}" for v in LOGITS])
        ax.set_ylim(0, 1.12)
    axes[1].text(5.4, 0.8, "outline: softmax at T = 1", ha="right", fontsize=9)
    return fig


def softmax(z):
    """Probabilities of a vector of logits."""
    e = np.exp(z - z.max())
    return e / e.sum()


def walk(x, target, rate, steps, start=(0.0, 0.0)):
    """The path of one linear unit that learns from one example at a time: (steps + 1, 2)."""
    w, path = np.array(start), [np.array(start)]
    for i in range(steps):
        x_i = x[i % len(x)]
        w = w - rate * (x_i @ w - x_i @ target) * x_i
        path.append(w)
    return np.array(path)


def equally_long(x, other):
    """`x` scaled to the mean squared length of `other`, so that one learning rate suits both."""
    return x * np.sqrt((other**2).sum() / (x**2).sum())


def zigzag_path(rate=0.8, steps=40):
    """Two weights learn from positive inputs and from the same inputs centred, one example a step."""
    fig, axes = figures.new(ncols=2, height=4.0, sharex=True, sharey=True)
    rng = np.random.default_rng(0)
    positive = rng.uniform(0.1, 1.0, size=(40, 2))
    target = np.array([1.0, -1.0])
    grid = np.linspace(-1.2, 2.2, 60), np.linspace(-2.2, 1.2, 60)
    mesh = np.stack(np.meshgrid(*grid), axis=-1)
    inputs = {"positive inputs": positive, "centred inputs": equally_long(positive - positive.mean(0), positive)}
    for ax, (title, x) in zip(axes, inputs.items(), strict=True):
        loss = (((mesh - target) @ x.T) ** 2).mean(-1) / 2
        ax.contour(*grid, np.sqrt(loss), levels=9, colors="#94a4a2", linewidths=0.8)
        path = walk(x, target, rate, steps)
        ax.plot(*path.T, "-o", ms=3, lw=1.2, color=figures.COLORS[2])
        ax.plot(*target, "*", ms=14, color="#222222")
        step = np.diff(path, axis=0)
        same = (step[:, 0] * step[:, 1] > 0).mean()
        figures.label(ax, "weight 1", "weight 2" if ax is axes[0] else "", title)
        ax.set(xlim=(-1.2, 2.2), ylim=(-2.2, 1.2), aspect="equal")
        left = np.linalg.norm(path[-1] - target)
        note = f"{100 * same:.0f} % of steps move both weights the same way\ndistance left after {steps} steps: {left:.2f}"
        ax.text(-1.1, -2.05, note, fontsize=9, bbox={"fc": "white", "ec": "none", "pad": 1})
    return fig


_KINDS = {"ReLU": nn.ReLU, "LeakyReLU": nn.LeakyReLU, "GELU": nn.GELU}


def train_with_spike(activation="ReLU", batch_norm=False, rate=0.3, spike=30.0, steps=60, at=20):
    """Train a small net on digits; at one step the learning rate is `spike` times as large. Returns the share of dead units per step."""
    torch.manual_seed(0)
    images, labels, *_ = (torch.tensor(part) for part in data.digits())
    layers, d = [], 64
    for _ in range(2):
        layers += [nn.Linear(d, 100), *([nn.BatchNorm1d(100)] if batch_norm else []), _KINDS[activation]()]
        nn.init.kaiming_normal_(layers[-2 - batch_norm].weight)
        d = 100
    net = nn.Sequential(*layers, nn.Linear(d, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    dead, losses = [], []
    for step in range(steps):
        pick = torch.randint(len(images), (64,))
        optimizer.param_groups[0]["lr"] = rate * (spike if step == at else 1.0)
        loss = F.cross_entropy(net(images[pick]), labels[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        dead.append(share_of_dead(net, images))
        losses.append(loss.item())
    return np.array(dead), np.array(losses)


def share_of_dead(net, images):
    """The share of hidden units whose slope is 0 for every image. BatchNorm uses the images' own statistics."""
    dead, h = [], images
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, tuple(_KINDS.values())):
                with torch.enable_grad():
                    z = h.detach().requires_grad_(True)
                    (slope,) = torch.autograd.grad(layer(z).sum(), z)
                dead.append((slope.abs() < 1e-6).all(dim=0))
            h = F.batch_norm(h, None, None, layer.weight, layer.bias, training=True) if isinstance(layer, nn.BatchNorm1d) else layer(h)
    return torch.cat(dead).float().mean().item()


def dead_layer(spike=30.0, activation="ReLU", batch_norm=False):
    """Share of dead units and the loss, step by step, around one step that is too large."""
    fig, (left, right) = figures.new(ncols=2, height=3.3)
    dead, losses = train_with_spike(activation, batch_norm, spike=spike)
    steps = np.arange(1, len(dead) + 1)
    left.plot(steps, 100 * dead, color=figures.COLORS[2])
    right.semilogy(steps, losses, color=figures.COLORS[0], ls="-")
    right.axhline(math.log(10), color="#222222", ls=":", lw=1.2)
    right.text(60, math.log(10) * 1.1, "guessing: ln 10", ha="right", fontsize=9)
    for ax in (left, right):
        ax.axvline(21, color="#555555", ls="--", lw=1)
    left.text(22, 102, f"step 21: rate × {spike:.0f}", fontsize=9, va="bottom")
    left.set_ylim(-4, 112)
    name = activation + (" after BatchNorm" if batch_norm else "")
    figures.label(left, "step", "dead units (%)", f"{name}: {100 * dead[-1]:.0f} % dead")
    figures.label(right, "step", "loss (nats)", "Training loss")
    return fig


_PAIRS = {
    "He + ReLU": (torch.relu, math.sqrt(2)),
    "Xavier + ReLU": (torch.relu, 1.0),
    "Xavier + tanh": (torch.tanh, 1.0),
    "He + sigmoid": (torch.sigmoid, math.sqrt(2)),
}


def spread_and_gradient(function, gain, depth, width=128):
    """Over the layers of a random net: how much activations vary over examples, and the gradient that arrives there."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(128, width, generator=generator, dtype=torch.float64, requires_grad=True)
    kept = []
    for _ in range(depth):
        h = function(h @ torch.randn(width, width, generator=generator, dtype=torch.float64) * (gain / math.sqrt(width)))
        h.retain_grad()
        kept.append(h)
    h.backward(torch.randn(h.shape, generator=generator, dtype=torch.float64))
    spread = [a.detach().std(dim=0).square().mean().sqrt().item() for a in kept]
    return np.array(spread), np.array([a.grad.square().mean().sqrt().item() for a in kept])


def depth_profile(depth=20):
    """Signal forward and gradient backward through random nets, for four pairings of activation and initialization."""
    fig, (left, right) = figures.new(ncols=2, height=3.6, sharex=True)
    layers = np.arange(1, depth + 1)
    for (name, (function, gain)), color, style in zip(_PAIRS.items(), figures.COLORS, figures.STYLES, strict=False):
        spread, gradient = spread_and_gradient(function, gain, depth)
        left.semilogy(layers, spread, color=color, ls=style, label=name)
        right.semilogy(layers, gradient, color=color, ls=style)
    left.legend(loc="lower left")
    left.set_xticks(range(5, depth + 1, 5))
    figures.label(left, "layer", "spread over the examples", "Signal, input to output")
    figures.label(right, "layer", "size of the gradient", "Gradient, output to input")
    return fig
