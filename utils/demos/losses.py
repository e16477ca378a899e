"""Figures and experiments of chapter 8, loss functions."""

import functools
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from utils import data, figures

BLUE, ORANGE, RED, GREY, PURPLE = figures.COLORS[:5]
INK = "#222222"


def sigmoid(z):
    """Logistic function."""
    e = np.exp(-np.abs(z))
    return np.where(np.asarray(z) >= 0, 1 / (1 + e), e / (1 + e))


def logit_gradients(z):
    """Gradient of −ln p and of (1−p)² with respect to the logit of the true class."""
    p = sigmoid(z)
    return p - 1, -2 * (1 - p) ** 2 * p


def ce_vs_squared(z=-3.0):
    """The two penalties over p, and the size of their gradients over the logit."""
    fig, (left, right) = figures.new(ncols=2, height=3.6)
    p = np.linspace(0.005, 1, 400)
    left.plot(p, -np.log(p), color=BLUE, label="cross-entropy −ln p")
    left.plot(p, (1 - p) ** 2, color=RED, ls="--", label="squared error (1 − p)²")
    here = float(sigmoid(z))
    if here > math.exp(-4):
        left.plot(here, -math.log(here), "o", color=BLUE)
    left.plot(here, (1 - here) ** 2, "o", color=RED)
    grid = np.linspace(-12, 12, 400)
    for size, color, style in zip(logit_gradients(grid), (BLUE, RED), ("-", "--"), strict=True):
        right.plot(grid, np.abs(size), color=color, ls=style)
    ce, squared = (abs(float(g)) for g in logit_gradients(z))
    right.plot([z, z], [ce, squared], "o", color=INK, ms=4)
    right.axvline(z, color="#777777", lw=0.8, ls=":")
    figures.label(left, "probability p of the true class", "loss", f"p = {here:.2g}, loss {-math.log(here):.1f} or {(1 - here) ** 2:.2f}")
    figures.label(right, "logit z of the true class", "size of the gradient for z", f"gradient {ce:.2f} or {squared:.1g}")
    left.set(ylim=(0, 4), xlim=(-0.02, 1.02))
    left.legend(loc="upper right")
    return fig


def huber_value(e, delta):
    """Huber loss and slope."""
    return np.where(np.abs(e) <= delta, e**2 / 2, delta * np.abs(e) - delta**2 / 2), np.clip(e, -delta, delta)


def fit_line(x, y, slope):
    """Least loss line by iteratively reweighted least squares; `slope(e)` is the derivative of the loss."""
    design = np.stack([np.ones_like(x), x], axis=1)
    w = np.ones_like(x)
    for _ in range(100):
        b = np.linalg.solve(design.T @ (w[:, None] * design), design.T @ (w * y))
        e = y - design @ b
        w = slope(e) / np.where(np.abs(e) < 1e-6, np.sign(e) * 1e-6 + (e == 0) * 1e-6, e)
        w = np.clip(np.abs(w), 1e-9, 1e6)
    return b


def regression_outlier(outlier=25.0, delta=1.0):
    """Lines under three losses with one outlier, slopes of the losses, and steps of a constant rate."""
    fig, axes = figures.new(ncols=3, height=3.5, width=10.5)
    rng = np.random.default_rng(0)
    x = np.linspace(0, 10, 20)
    y = 1 + 0.5 * x + rng.normal(scale=0.6, size=20)
    y[17] += outlier
    slopes = {"MSE": lambda e: 2 * e, "MAE": np.sign, "Huber": lambda e: np.clip(e, -delta, delta)}
    axes[0].plot(x, y, "o", color=INK, ms=4)
    e = np.linspace(-4, 4, 401)
    for (name, slope), color, style in zip(slopes.items(), (RED, ORANGE, BLUE), ("--", "-.", "-"), strict=True):
        a, b = fit_line(x, y, slope)
        axes[0].plot(x, a + b * x, color=color, ls=style, label=f"{name}: slope {b:.2f}")
        axes[1].plot(e, slope(e), color=color, ls=style)
        error, path = 3.07, []
        for _ in range(40):
            path.append(error)
            error -= 0.2 * float(slope(np.array(error)))
        axes[2].semilogy(np.maximum(np.abs(path), 1e-9), color=color, ls=style)
    figures.label(axes[0], "x", "y", "true slope 0.50")
    figures.label(axes[1], "error e", "slope of the loss", "What an error sends back")
    figures.label(axes[2], "step, rate 0.2", "|error|", "One parameter, fixed rate")
    axes[0].legend(loc="upper left")
    axes[0].set_ylim(-1, max(10, y.max() + 8))
    axes[1].set_ylim(-4, 4)
    axes[2].set_ylim(1e-5, 10)
    return fig


@functools.cache
def fresh_net():
    """Hidden features of the digits in a fresh net, its last weights and bias, and the labels."""
    torch.manual_seed(0)
    hidden, last = nn.Linear(64, 64), nn.Linear(64, 10)
    x, y = (torch.as_tensor(a) for a in data.digits()[:2])
    with torch.no_grad():
        return torch.relu(hidden(x.float())), last.weight.clone(), last.bias.clone(), y.long()


def first_loss(scale):
    """Cross-entropy of a fresh net on the digits, its last weight matrix multiplied by `scale`."""
    features, weight, bias, y = fresh_net()
    return F.cross_entropy(scale * features @ weight.T + bias, y).item()


def init_loss(scale=100.0):
    """The first loss over the scale of the last layer."""
    fig, ax = figures.new(height=3.4, width=6.5)
    scales = np.logspace(-1, 3, 25)
    ax.loglog(scales, [first_loss(s) for s in scales], color=BLUE)
    here = first_loss(scale)
    ax.plot(scale, here, "o", color=INK)
    ax.axhline(math.log(10), color="#777777", lw=1, ls=":")
    ax.text(0.1, math.log(10) * 1.12, "ln 10 = 2.30", fontsize=9)
    figures.label(ax, "factor on the last weight matrix", "first loss (nats)", f"factor {scale:g}: first loss {here:.2f}")
    return fig


def imbalanced():
    """Logits and labels of a detector's patches: 10000 negatives, most of them easy, and 10 positives."""
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(-4, 1, 9800), rng.normal(0.5, 0.7, 200), rng.normal(-0.5, 1, 10)])
    return z, np.array([0] * 9800 + [1] * 200 + [2] * 10)


def imbalance(gamma=2.0, alpha=0.25):
    """Who carries the total loss: easy negatives, hard negatives, positives."""
    fig, ax = figures.new(height=3.2, width=8)
    z, kind = imbalanced()
    u = np.where(kind == 2, z, -z)  # logit of the actual class
    ce, miss = np.logaddexp(0, -u), np.exp(-np.logaddexp(0, u))
    positive = kind == 2
    losses = {
        "plain CE": ce,
        "CE, positives × 1000": ce * np.where(positive, 1000, 1),
        f"α-weighted CE, α = {alpha:.2f}": ce * np.where(positive, alpha, 1 - alpha),
        f"focal, γ = {gamma:.1f}, α = {alpha:.2f}": ce * miss**gamma * np.where(positive, alpha, 1 - alpha),
    }
    names = ["easy negatives (9800)", "hard negatives (200)", "positives (10)"]
    for row, loss in enumerate(losses.values()):
        start = 0.0
        for i, (name, color) in enumerate(zip(names, (GREY, ORANGE, BLUE), strict=True)):
            share = loss[kind == i].sum() / loss.sum()
            ax.barh(row, share, left=start, color=color, edgecolor="white", hatch=("", "//", "..")[i], label=name if row == 0 else None)
            if share > 0.05:
                ax.text(
                    start + share / 2,
                    row,
                    f"{100 * share:.0f} %",
                    ha="center",
                    va="center",
                    fontsize=9,
                    bbox={"fc": "white", "ec": "none", "pad": 1},
                )
            start += share
    ax.set_yticks(range(4), list(losses))
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.grid(visible=False)
    figures.label(ax, "share of the total loss", "", "Whom does the loss listen to?")
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=3)
    return fig


def disc(radius, shift=0.0, size=64):
    """A mask with a disc in the middle, moved to the right by `shift` pixels."""
    yy, xx = np.mgrid[:size, :size] - size / 2 + 0.5
    return (((xx - shift) ** 2 + yy**2) <= radius**2).astype(float)


def dice_disc(smooth=1.0):
    """A missed disc of shrinking radius: pixel cross-entropy, Dice, and Dice's gradient for one pixel."""
    fig, (left, right) = figures.new(ncols=2, height=3.5)
    radii = np.array([1, 1.5, 2, 3, 4, 6, 8, 11, 15, 20, 26])
    ce, dice, slope, pixels = [], [], [], []
    for r in radii:
        m = disc(r)
        p = np.full_like(m, 0.001)  # background everywhere: the object is missed
        total = p.sum() + m.sum() + smooth
        ce.append(-(m * np.log(p) + (1 - m) * np.log(1 - p)).mean())
        dice.append(1 - (2 * (p * m).sum() + smooth) / total)
        slope.append(abs(-2 / total + (2 * (p * m).sum() + smooth) / total**2))
        pixels.append(m.sum())
    left.semilogx(pixels, ce, color=RED, ls="--", marker="o", label="pixel cross-entropy")
    left.semilogx(pixels, dice, color=BLUE, marker="s", label="Dice loss")
    right.loglog(pixels, slope, color=BLUE, marker="s")
    figures.label(left, "pixels of the missed disc (of 4096)", "loss", "Background predicted everywhere")
    figures.label(right, "pixels of the missed disc (of 4096)", "|dDice/dp| of one true pixel", f"smooth = {smooth:.1f}")
    left.legend(loc="upper left")
    return fig


TEACHER = np.array([8.0, 5.0, 2.5, 1.0, -1.0, -2.0])
STUDENT = np.array([4.0, 2.0, 3.0, 0.5, 1.0, -1.0])
SMOOTHED = np.array([5.0, 0.0, 0.0, 0.0, 0.0, 0.0])


def softmax(z):
    """Probabilities of a vector of logits."""
    e = np.exp(z - z.max())
    return e / e.sum()


def soft_gradient(teacher, T):
    """Norm of the gradient of KL(teacher_T ‖ student_T) with respect to the student's logits."""
    return np.linalg.norm(softmax(STUDENT / T) - softmax(teacher / T)) / T


def temperature(T=4.0, smoothed_teacher=False):
    """Teacher and student at temperature T, and the gradient of the soft term with and without T²."""
    fig, (left, right) = figures.new(ncols=2, height=3.5)
    teacher = SMOOTHED if smoothed_teacher else TEACHER
    places = np.arange(6)
    for shift, z, color, hatch, name in ((-0.2, teacher, BLUE, "", "teacher"), (0.2, STUDENT, ORANGE, "//", "student")):
        left.bar(places + shift, softmax(z / T), 0.38, color=color, hatch=hatch, edgecolor="white", label=name)
    left.set_xticks(places, ["cat", "lynx", "dog", "fox", "car", "ship"])
    grid = np.linspace(1, 32, 63)
    plain = np.array([soft_gradient(teacher, t) for t in grid])
    right.loglog(grid, plain, color=RED, ls="--", label="KL alone")
    right.loglog(grid, plain * grid**2, color=BLUE, label="T² · KL")
    right.plot([T, T], [soft_gradient(teacher, T), T**2 * soft_gradient(teacher, T)], "o", color=INK, ms=4)
    right.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    right.minorticks_off()
    figures.label(left, "class", f"softmax(z / {T:g})", "smoothed teacher" if smoothed_teacher else f"T = {T:g}")
    figures.label(right, "temperature T", "norm of the soft gradient", "Why T² stands there")
    left.set_ylim(0, 1)
    left.legend(loc="upper right")
    right.legend(loc="lower left")
    return fig


def collapse(path):
    """What a CTC path reads as: repeats merged first, then blanks dropped."""
    return "".join(c for c, _ in itertools.groupby(path) if c != "-")


def frames(blank):
    """Probabilities (4 frames, blank a b) in which a comes early and b late."""
    share = np.array([0.9, 0.6, 0.4, 0.15])
    return np.stack([np.full(4, blank), (1 - blank) * share, (1 - blank) * (1 - share)], axis=1)


def ctc_paths(blank=0.4, target="ab"):
    """All paths of four frames that read as `target`, and their sum beside exp(−F.ctc_loss)."""
    fig, ax = figures.new(height=4.4, width=7)
    p = frames(blank)
    paths = {"".join(s): math.prod(p[t]["-ab".index(c)] for t, c in enumerate(s)) for s in itertools.product("-ab", repeat=4)}
    found = sorted(((v, s) for s, v in paths.items() if collapse(s) == target), reverse=True)
    total = sum(v for v, _ in found)
    labels = torch.tensor([["-ab".index(c) for c in target]])
    loss = F.ctc_loss(torch.log(torch.tensor(p))[:, None], labels, torch.tensor([4]), torch.tensor([2]), reduction="sum").item()
    ax.barh(range(len(found)), [v for v, _ in found], color=BLUE)
    ax.barh(len(found) + 0.5, total, color=ORANGE, hatch="//", edgecolor="white")
    ax.set_yticks([*range(len(found)), len(found) + 0.5], [s for _, s in found] + ["sum"], family="monospace")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    figures.label(ax, "probability", "path", f"{len(found)} paths read “{target}”: sum {total:.4f}, exp(−ctc_loss) {math.exp(-loss):.4f}")
    return fig
