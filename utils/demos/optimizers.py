"""Figures and experiments of chapter 10, optimizers and learning-rate schedules."""

import functools
import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from utils import data, figures

# ---------------------------------------------------------------------------------------------------- paths on a loss surface


def make_step(name, rate, beta):
    """A function (w, gradient_at) → w that remembers what the method remembers."""
    memory = {"m": 0.0, "v": 0.0, "t": 0}

    def step(w, gradient_at):
        g = gradient_at(w)
        memory["t"] += 1
        if name in ("SGD", "momentum", "Nesterov"):
            b = memory["m"] = (0.0 if name == "SGD" else beta) * memory["m"] + g
            return w - rate * (g + beta * b if name == "Nesterov" else b)
        if name == "Adagrad":
            memory["v"] = memory["v"] + g**2
            return w - rate * g / (np.sqrt(memory["v"]) + 1e-10)
        memory["v"] = 0.99 * memory["v"] + 0.01 * g**2
        v = memory["v"] / (1 - 0.99 ** memory["t"])
        if name == "RMSprop":
            return w - rate * g / (np.sqrt(v) + 1e-8)
        memory["m"] = beta * memory["m"] + (1 - beta) * g
        return w - rate * memory["m"] / (1 - beta ** memory["t"]) / (np.sqrt(v) + 1e-8)

    return step


def walk(name, hessian, start, rate, beta, steps):
    """The path of one optimizer on the bowl ½ wᵀHw: (steps + 1, 2). Stops where it leaves the picture for good."""
    step, path = make_step(name, rate, beta), [np.array(start, float)]
    for _ in range(steps):
        if np.abs(path[-1]).max() > 1e3:
            break
        path.append(step(path[-1], lambda w: hessian @ w))
    return np.array(path)


@functools.cache
def wine_bowl():
    """Curvature of a linear regression on two standardized measurements of the wine data: phenols and flavanoids go together."""
    x = data.wine(standardize=True, test=0.0).x_train[:, [5, 6]].astype(float)
    return x.T @ x / len(x)


SURFACES = {"bowl along the axes": None, "wine: a diagonal valley": wine_bowl}


def ravine(surface="bowl along the axes", condition=25, rate=0.9, beta=0.7):
    """Six optimizers from one start.

    `rate` is in units of SGD's limit 2/b; momentum takes a quarter of it, the adaptive three a third of the number itself.
    """
    hessian = np.diag([1.0, condition]) if SURFACES[surface] is None else SURFACES[surface]()
    steepest = np.linalg.eigvalsh(hessian)[-1]
    start = (-4.0, 1.0) if SURFACES[surface] is None else (-3.6, 1.2)
    fig, axes = figures.new(ncols=3, nrows=2, height=5.4, sharex=True, sharey=True)
    x, y = np.linspace(-5, 3.5, 80), np.linspace(-3.2, 3.2, 80)
    mesh = np.stack(np.meshgrid(x, y), axis=-1)
    height = np.sqrt(np.einsum("...i,ij,...j", mesh, hessian, mesh))
    for ax, name in zip(axes.ravel(), ("SGD", "momentum", "Nesterov", "Adagrad", "RMSprop", "Adam"), strict=True):
        adaptive = name in ("Adagrad", "RMSprop", "Adam")
        damped = 1.0 if name == "SGD" or adaptive else 0.25
        path = walk(name, hessian, start, rate / 3 if adaptive else damped * rate * 2 / steepest, beta, 40)
        ax.contour(x, y, height, levels=9, colors="#94a4a2", linewidths=0.7)
        ax.plot(*path.T, "-o", ms=2.5, lw=1.1, color=figures.COLORS[5 if adaptive else 2])
        ax.plot(0, 0, "*", ms=12, color="#222222")
        ax.set(xlim=(-5, 3.5), ylim=(-3.2, 3.2))
        loss = 0.5 * path[-1] @ hessian @ path[-1]
        state = "diverged" if len(path) < 41 or loss > 100 else f"loss {loss:.2g}"
        figures.label(ax, "w1" if ax in axes[1] else "", "w2" if ax in axes[:, 0] else "", f"{name}: {state}")
    return fig


# ------------------------------------------------------------------------------------------------------------ schedules


def schedules(warmup=10, peak=1.0, gamma=0.3):
    """Six schedules over 100 epochs; the plateau one looks at a validation loss that stalls three times."""
    steps, total = np.arange(101), 100

    def cosine(x):
        return 0.5 * (1 + np.cos(np.pi * np.clip(x, 0, 1)))

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=gamma, patience=5)
    reduced = []
    for s in steps:
        optimizer.step()
        plateau.step(1.0 - 0.01 * sum(i < 25 or 35 < i < 55 or 65 < i < 80 for i in range(s)))
        reduced.append(optimizer.param_groups[0]["lr"])
    curves = {
        "step decay": gamma ** (steps // 30),
        "cosine": cosine(steps / total),
        "warmup + cosine": np.where(steps < warmup, steps / max(warmup, 1), cosine((steps - warmup) / (total - warmup))),
        "cyclic (triangles)": 0.1 + 0.9 * (1 - np.abs((steps % 40) / 20 - 1)),
        "one-cycle": np.where(steps < 30, 0.04 + 0.96 * cosine(1 - steps / 30), 4e-6 + cosine((steps - 30) / 70)),
        "reduce on plateau": np.array(reduced),
    }
    fig, axes = figures.new(ncols=3, nrows=2, height=4.6, sharex=True, sharey=True)
    for ax, (name, curve) in zip(axes.ravel(), curves.items(), strict=True):
        ax.plot(steps, peak * curve, color=figures.COLORS[0])
        ax.fill_between(steps, 0, peak * curve, color=figures.COLORS[0], alpha=0.12, lw=0)
        figures.label(ax, "epoch" if ax in axes[1] else "", "learning rate" if ax in axes[:, 0] else "", name)
        ax.set_ylim(0, 1.12 * peak)
    return fig


def classifier(depth=1, width=32, seed=0):
    """A small ReLU network for the digits."""
    torch.manual_seed(seed)
    sizes = [64, *[width] * depth]
    layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 10))


@functools.cache
def tensors():
    """The digits as tensors."""
    return tuple(torch.tensor(part) for part in data.digits(standardize=True))


def batches(n, size=64, seed=0):
    """`n` random mini-batches of the training digits."""
    images, labels, *_ = tensors()
    picks = torch.randint(len(images), (n, size), generator=torch.Generator().manual_seed(seed))
    return [(images[p], labels[p]) for p in picks]


def fit(net, optimizer, steps, rate_at=None, stop_above=1e4):
    """Training losses of `steps` updates; the learning rate of update s is rate_at(s)."""
    losses = []
    for s, (x, y) in enumerate(batches(steps)):
        if rate_at:
            optimizer.param_groups[0]["lr"] = float(rate_at(s))
        loss = F.cross_entropy(net(x), y)
        losses.append(loss.item())
        if not loss.item() < stop_above:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.array(losses)


def held_out(net):
    """Loss and accuracy on the digits that were held out."""
    *_, images, labels = tensors()
    with torch.no_grad():
        scores = net(images)
    return F.cross_entropy(scores, labels).item(), (scores.argmax(1) == labels).float().mean().item()


def smooth(values, keep=0.9):
    """Moving average with its own bias correction: the same trick as in Adam."""
    out, m = [], 0.0
    for t, v in enumerate(values, start=1):
        m = keep * m + (1 - keep) * v
        out.append(m / (1 - keep**t))
    return np.array(out)


def schedule_race(total=200, peak=0.1, warmup=10):
    """A small net on digits under four schedules that were planned for `total` steps; the run has 200."""
    run = 200
    turn = 0.3 * total

    def cosine(x):
        return 0.5 * (1 + math.cos(math.pi * min(max(x, 0.0), 1.0)))

    phases = {
        "warmup + cosine": lambda s: s / warmup if s < warmup else cosine((s - warmup) / max(total - warmup, 1)),
        "step": lambda s: 0.1 ** ((s >= total // 2) + (s >= 3 * total // 4)),
        "one-cycle": lambda s: 0.04 + 0.96 * cosine(1 - s / turn) if s < turn else cosine((s - turn) / (total - turn)),
        "constant": lambda s: 1.0,
    }
    fig, (top, bottom) = figures.new(nrows=2, width=7.2, height=5.4, sharex=True)
    for (name, phase), color, style in zip(phases.items(), figures.COLORS, figures.STYLES, strict=False):
        rates = np.array([peak * phase(s) for s in range(run)])
        net = classifier()
        losses = fit(net, torch.optim.SGD(net.parameters(), lr=peak, momentum=0.9), run, lambda s, rates=rates: rates[s])
        top.plot(rates, color=color, ls=style, label=name)
        bottom.semilogy(smooth(losses), color=color, ls=style, label=f"{name}: held-out loss {held_out(net)[0]:.2f}")
    if total < run:
        top.axvline(total, color="#222222", ls=":", lw=1.2)
        top.text(total + 2, 0.9 * peak, "planned end", fontsize=9, va="top")
    top.set_ylim(-0.05 * peak, 1.5 * peak)
    top.legend(loc="upper right", ncols=4)
    bottom.legend(loc="upper right")
    figures.label(top, "", "learning rate", f"Schedules planned for {total} steps")
    figures.label(bottom, "step", "training loss (nats)", "Digits, SGD with momentum")
    return fig


# ------------------------------------------------------------------------------------------------------- inside Adam


def step_lengths(gradients, beta2, corrected, beta1=0.9):
    """|step|/rate of Adam on a series of gradients (T,) or (T, many)."""
    m, v, out = 0.0, 0.0, []
    for t, g in enumerate(gradients, start=1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        a, b = (1 - beta1**t, 1 - beta2**t) if corrected else (1.0, 1.0)
        out.append(np.abs(m / a) / (np.sqrt(v / b) + 1e-8))
    return np.array(out)


def bias_correction(beta2=0.999, noise=0.1):
    """Adam's step length with and without correction, and how far 1/sqrt(v_hat) spreads over 200 random runs."""
    rng = np.random.default_rng(0)
    fig, (left, right) = figures.new(ncols=2, height=3.6)
    t = np.arange(1, 3001)
    gradients = 1 + noise * rng.normal(size=len(t))
    raw, corrected = (step_lengths(gradients, beta2, c) for c in (False, True))
    left.semilogx(t, raw, label="without correction", color=figures.COLORS[2], ls="--")
    left.semilogx(t, corrected, label="with correction", color=figures.COLORS[0], ls="-")
    exact = step_lengths(np.ones(len(t)), beta2, False)  # of a steady gradient
    top = int(exact.argmax())
    text = f"{exact[top]:.1f} times too long at t = {t[top]}"
    left.annotate(text, (t[top], raw[top]), xytext=(0, 4), textcoords="offset points", fontsize=9, ha="center")
    left.set_ylim(0, 1.4 * raw.max())
    left.legend(loc="upper right")
    figures.label(left, "step t", "step length / rate", f"Gradient 1 ± {noise:g}")
    noisy, v, spread = rng.normal(size=(300, 200)), 0.0, []
    for s, g in enumerate(noisy, start=1):
        v = beta2 * v + (1 - beta2) * g**2
        spread.append(np.percentile(1 / np.sqrt(v / (1 - beta2**s)), [5, 50, 95]))
    low, middle, high = np.array(spread).T
    right.fill_between(np.arange(1, 301), low, high, color=figures.COLORS[0], alpha=0.25, lw=0, label="90 % of 200 runs")
    right.loglog(np.arange(1, 301), middle, color=figures.COLORS[0], ls="-", label="median")
    right.legend(loc="upper right")
    figures.label(right, "step t", "1/sqrt(v_hat)", "Pure noise: the scale is a guess at first")
    return fig


def eps_curve(log10_eps=-8):
    """Adam's step against the size of a steady gradient, for a few eps and the chosen one."""
    fig, ax = figures.new(width=7.0, height=3.8)
    g = np.logspace(-10, 2, 300)
    for other, style in ((-8, ":"), (-4, "-."), (0, "--")):
        ax.loglog(g, g / (g + 10.0**other), color="#717581", ls=style, lw=1.4)
        ax.text(1e-9, 1e-9 / (1e-9 + 10.0**other) / 20, f"eps = 1e{other}" if other else "eps = 1", fontsize=9, color="#555555")
    eps = 10.0**log10_eps
    ax.loglog(g, g / (g + eps), color=figures.COLORS[2], ls="-", lw=3, label=f"eps = 1e{log10_eps:g}")
    ax.axvline(2.0**-24, color="#222222", ls=":", lw=1.2)
    ax.text(2.0**-24 * 1.3, 2e-10, "6e−8: the smallest positive number of fp16\n(1e−8 becomes 0 there)", fontsize=9)
    ax.set_ylim(3e-11, 9)
    ax.legend(loc="lower right")
    figures.label(ax, "size of the gradient, sqrt(v_hat)", "step / learning rate", "Flat: sign-like steps. Slope 1: like SGD.")
    return fig


def decay_after(steps=100, rate=1e-3, weight_decay=0.1, sizes=(10.0, 0.01)):
    """Two weights that start at 1, gradients ±size in turn: what Adam with L2 and AdamW leave of them."""
    left = {}
    for name, kind in (("Adam + L2", torch.optim.Adam), ("AdamW", torch.optim.AdamW)):
        w = torch.ones(2, dtype=torch.float64, requires_grad=True)
        optimizer = kind([w], lr=rate, weight_decay=weight_decay)
        for t in range(steps):
            w.grad = torch.tensor(sizes, dtype=torch.float64) * (-1) ** t
            optimizer.step()
        left[name] = [round(v, 3) for v in w.tolist()]
    return left


# ------------------------------------------------------------------------------------------------------- rate finder, race


def lr_finder(keep=0.9, depth=2, log10_rate=-1.0):
    """Loss while the rate grows from 1e-5 to 100 in 150 steps (left), and training with the chosen rate (right)."""
    fig, (left, right) = figures.new(ncols=2, height=3.6)
    rates = np.logspace(-5, 2, 150)
    net = classifier(depth)
    losses = fit(net, torch.optim.SGD(net.parameters(), lr=1e-5), len(rates), lambda s: rates[s], stop_above=30.0)
    curve = smooth(losses, keep)
    left.semilogx(rates[: len(curve)], curve, color=figures.COLORS[0], ls="-")
    left.axvline(10.0**log10_rate, color=figures.COLORS[2], ls="--")
    left.axhline(math.log(10), color="#555555", ls=":", lw=1.2)
    left.text(1.2e-5, math.log(10) * 1.05, "guessing: ln 10", fontsize=9)
    left.set_ylim(0, 4.5)
    net = classifier(depth)
    run = fit(net, torch.optim.SGD(net.parameters(), lr=10.0**log10_rate), 200, stop_above=1e3)
    right.plot(smooth(np.minimum(run, 10)), color=figures.COLORS[2], ls="-")
    right.set(xlim=(0, 200), ylim=(0, 4.5))
    figures.label(left, "learning rate", "smoothed loss (nats)", "The sweep")
    figures.label(right, "step", "smoothed loss (nats)", f"Training at {10.0**log10_rate:.2g}")
    return fig


#: A rate at which each method does well on the digits within 150 steps.
RACERS = {
    "SGD": (lambda p, r: torch.optim.SGD(p, lr=r), 0.3),
    "momentum": (lambda p, r: torch.optim.SGD(p, lr=r, momentum=0.9), 0.1),
    "Nesterov": (lambda p, r: torch.optim.SGD(p, lr=r, momentum=0.9, nesterov=True), 0.1),
    "Adagrad": (lambda p, r: torch.optim.Adagrad(p, lr=r), 0.03),
    "RMSprop": (lambda p, r: torch.optim.RMSprop(p, lr=r), 0.003),
    "Adam": (lambda p, r: torch.optim.Adam(p, lr=r), 0.01),
    "AdamW": (lambda p, r: torch.optim.AdamW(p, lr=r, weight_decay=0.01), 0.01),
}


def race(log10_factor=0.0, steps=150):
    """All optimizers on the digits, each at its own good rate times 10^log10_factor: training loss, held-out accuracy."""
    fig, (left, right) = figures.new(ncols=2, height=4.0, width_ratios=[1.5, 1])
    right_end = []
    for (name, (make, good)), color, style in zip(RACERS.items(), figures.COLORS, figures.STYLES, strict=False):
        net = classifier()
        losses = fit(net, make(net.parameters(), good * 10**log10_factor), steps)
        left.semilogy(smooth(losses), color=color, ls=style, label=f"{name}, rate {good * 10**log10_factor:.2g}")
        right_end.append((name, 100 * held_out(net)[1], color))
    left.set(ylim=(0.01, 400), xlim=(0, steps))
    left.legend(loc="upper right", ncols=2)
    for i, (_, accuracy, color) in enumerate(reversed(right_end)):
        right.barh(i, accuracy, color=color)
        right.text(accuracy + 1, i, f"{accuracy:.1f}", va="center", fontsize=9)
    right.set_yticks(range(len(right_end)), [name for name, *_ in reversed(right_end)])
    right.set(xlim=(0, 118), xticks=range(0, 101, 25))
    right.grid(axis="y", visible=False)
    figures.label(left, "step", "training loss (nats)", f"Digits, rates × {10**log10_factor:.2g}")
    figures.label(right, "held-out accuracy (%)", "", f"After {steps} steps")
    return fig
