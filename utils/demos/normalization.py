"""Figures and experiments of chapter 5, normalization."""

import copy
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from utils import data, figures

INK = "#222222"


def pale(color):
    """A colour mixed with white, so that text on it stays readable."""
    from matplotlib.colors import to_rgb

    return tuple(0.5 * part + 0.5 for part in to_rgb(color))


def grid(ax, cells, *, colors, text=None):
    """Draw an array of group numbers as coloured squares; -1 stays white."""
    from matplotlib.patches import Rectangle

    rows, cols = cells.shape
    for (r, c), g in np.ndenumerate(cells):
        face = "white" if g < 0 else pale(colors[g % len(colors)])
        ax.add_patch(Rectangle((c, r), 1, 1, facecolor=face, edgecolor="white" if g >= 0 else "#bbbbbb", lw=1.2))
        if text is not None and g >= 0:
            ax.text(c + 0.5, r + 0.5, text(g), ha="center", va="center", fontsize=9, color=INK)
    ax.set(xlim=(0, cols), ylim=(rows, 0), xticks=[], yticks=[], aspect="equal")
    ax.grid(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)


def two_grids():
    """Batch by features: BatchNorm shades a column, LayerNorm a row."""
    fig, axes = figures.new(ncols=2, height=3.0)
    column, row = -np.ones((5, 6), int), -np.ones((5, 6), int)
    column[:, 2], row[1] = 0, 1
    titles = ("BatchNorm: one feature, all samples", "LayerNorm: one sample, all features")
    notes = ("CNNs, large batches", "transformers, RNNs, any batch size")
    for ax, cells, title, note in zip(axes, (column, row), titles, notes, strict=True):
        grid(ax, cells, colors=figures.COLORS)
        ax.set_title(title)
        ax.set(xlabel=f"6 features\n{note}", ylabel="5 samples in the batch")
    return fig


KINDS = ("BatchNorm", "LayerNorm", "InstanceNorm", "GroupNorm")


def statistic_of(kind, groups, n=3, c=6, p=4):
    """For each entry of an (N, C, HW) array, the number of the statistic that it shares."""
    sample, channel, _ = np.indices((n, c, p))
    block = channel // (c // groups)
    return {
        "BatchNorm": channel,
        "LayerNorm": sample,
        "InstanceNorm": sample * c + channel,
        "GroupNorm": sample * groups + block,
    }[kind]


def axes(kind="BatchNorm", groups=2):
    """Three images of 6 channels and 4 pixels; cells of one colour and number share a mean and a variance."""
    shared = statistic_of(kind, groups)
    count = int(shared.max()) + 1
    fig, panels = figures.new(ncols=3, height=3.5)
    for i, ax in enumerate(panels):
        grid(ax, shared[i], colors=figures.COLORS, text=lambda g: str(g + 1))
        ax.set(xlabel="4 pixels", title=f"image {i + 1}")
    panels[0].set_ylabel("6 channels")
    name = f"GroupNorm with {groups} groups" if kind == "GroupNorm" else kind
    fig.suptitle(f"{name}: {count} pairs of mean and variance, each over {shared.size // count} values", fontsize=11)
    return fig


def batch_size_noise(batch=4, momentum=0.1):
    """Mean of one channel over 200 steps: of each batch, and as the running mean remembers it."""
    rng = np.random.default_rng(0)
    means = np.array([rng.normal(2.0, 1.0, batch).mean() for _ in range(200)])
    running, trace = 0.0, []
    for m in means:
        running = (1 - momentum) * running + momentum * m
        trace.append(running)
    fig, ax = figures.new()
    steps = np.arange(1, 201)
    ax.plot(steps, means, ".", color=figures.COLORS[0], ms=5, label=f"mean of one batch, spread {means.std():.2f}")
    ax.plot(steps, trace, color=figures.COLORS[2], ls="-", label=f"running mean, spread {np.std(trace[100:]):.2f} after step 100")
    ax.axhline(2.0, color=INK, ls="--", lw=1.2, label="true mean 2")
    figures.label(ax, "training step", "mean of the channel", f"batch of {batch}, momentum {momentum:.2f}")
    ax.set(ylim=(-0.1, 4.6))
    ax.legend(loc="upper right", ncols=1)
    return fig


class SmallNet(nn.Module):
    """A convolution, a BatchNorm and a linear layer for 8 by 8 digits."""

    def __init__(self, momentum):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 12, 3, bias=False), nn.BatchNorm2d(12, momentum=momentum)
        self.head = nn.Linear(12 * 9, 10)

    def forward(self, x):
        return self.head(F.max_pool2d(F.relu(self.norm(self.conv(x))), 2).flatten(1))


def accuracy(model, x, y, training):
    """Share of hits; in train mode on a copy, so that the buffers of the model stay as they are."""
    model = copy.deepcopy(model).train(training)
    with torch.no_grad():
        return (model(x).argmax(1) == y).double().mean().item()


@cache
def cliff_curves(batch, momentum, shift, steps=50):
    """Test accuracy in train and in eval mode after each of the first steps."""
    x, y, x_test, y_test = map(torch.tensor, data.digits())
    x_test, y_test = x_test[:200], y_test[:200]
    torch.manual_seed(0)
    model, rng = SmallNet(momentum), torch.Generator().manual_seed(1)
    opt = torch.optim.Adam(model.parameters(), lr=0.01)
    x, x_test = (t.reshape(-1, 1, 8, 8) * 4 + 3 for t in (x, x_test))
    if shift:
        x_test = 0.5 * x_test
    curves = []
    for _ in range(steps):
        i = torch.randint(0, len(x), (batch,), generator=rng)
        opt.zero_grad()
        F.cross_entropy(model.train()(x[i]), y[i]).backward()
        opt.step()
        curves.append([accuracy(model, x_test, y_test, training) for training in (True, False)])
    return np.array(curves) * 100


def eval_cliff(batch=32, momentum=0.1, shift=False):
    """The two accuracies over the first 50 steps."""
    curves = cliff_curves(batch, momentum, shift)
    fig, ax = figures.new()
    steps = np.arange(1, len(curves) + 1)
    ax.plot(steps, curves[:, 0], color=figures.COLORS[0], ls="-", label="train mode: statistics of the batch")
    ax.plot(steps, curves[:, 1], color=figures.COLORS[2], ls="--", label="eval mode: running statistics")
    figures.label(ax, "training step", "test accuracy (%)", f"after 10 steps: {curves[9, 0]:.1f} % against {curves[9, 1]:.1f} %")
    ax.set(ylim=(0, 102))
    ax.legend(loc="lower right")
    return fig


def eps_place(eps=1e-5):
    """Standard deviation of the output over that of the input, eps inside and outside of the root."""
    std = np.logspace(-7, 0, 200)
    fig, ax = figures.new(height=3.8)
    ax.loglog(std, std / np.sqrt(std**2 + eps), color=figures.COLORS[0], ls="-", label="inside: std / √(std² + eps)")
    ax.loglog(std, std / (std + eps), color=figures.COLORS[2], ls="--", label="outside: std / (std + eps)")
    for at, color in ((np.sqrt(eps), figures.COLORS[0]), (eps, figures.COLORS[2])):
        if at > std[0]:
            ax.axvline(at, color=color, ls=":", lw=1.2)
            ax.text(at * 1.15, 2.2e-5, f"{at:.1e}", color=color, fontsize=9)
    figures.label(ax, "standard deviation of the input", "standard deviation of the output", f"eps = {eps:.0e}")
    ax.set(ylim=(1e-5, 3))
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.12))
    return fig


def stack(depth, width=32):
    """Blocks, their norms, and the layers before and after, all with a fixed seed."""
    torch.manual_seed(0)
    blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)) for _ in range(depth))
    norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth + 1))
    for block in blocks:
        nn.init.kaiming_normal_(block[0].weight)
        nn.init.xavier_normal_(block[2].weight)
    return nn.ModuleDict({"first": nn.Linear(64, width), "blocks": blocks, "norms": norms, "last": nn.Linear(width, 10)})


def forward(net, x, placement):
    """The stack with the norm inside the branches or after the additions."""
    h = net["first"](x)
    for block, norm in zip(net["blocks"], net["norms"], strict=False):
        h = h + block(norm(h)) if placement == "pre" else norm(h + block(h))
    return net["last"](net["norms"][-1](h) if placement == "pre" else h)


def train_stack(depth, placement, rate, steps=40):
    """Gradient norms of the blocks before the first step, and the loss of each step."""
    x, y, *_ = (torch.tensor(a) for a in data.digits(standardize=True))
    net, rng = stack(depth), torch.Generator().manual_seed(1)
    opt, losses, grads = torch.optim.Adam(net.parameters(), rate), [], None
    for _ in range(steps):
        i = torch.randint(0, len(x), (64,), generator=rng)
        loss = F.cross_entropy(forward(net, x[i], placement), y[i])
        opt.zero_grad()
        loss.backward()
        grads = grads or [block[0].weight.grad.norm().item() for block in net["blocks"]]
        opt.step()
        losses.append(loss.item())
    return grads, losses


def pre_post(depth=24, rate=0.003):
    """Gradient norm of each block at the start, and the first 40 losses without warmup."""
    fig, (left, right) = figures.new(ncols=2, height=3.3)
    for placement, color, style in zip(("pre", "post"), figures.COLORS[::2], ("-", "--"), strict=False):
        grads, losses = train_stack(depth, placement, rate)
        left.plot(range(1, depth + 1), grads, color=color, ls=style, marker=".", label=f"{placement}-norm")
        right.plot(range(1, len(losses) + 1), losses, color=color, ls=style, label=f"{placement}-norm")
    figures.label(left, "block, from the input", "gradient norm at the start", f"{depth} blocks, before the first step")
    figures.label(right, "training step, no warmup", "training loss (nats)", f"Adam, learning rate {rate:g}")
    left.set(ylim=(0, None))
    right.axhline(np.log(10), color=INK, lw=1, ls=":")
    right.text(1, 2.95, "dotted: guessing, ln 10 = 2.30", fontsize=9, va="top")
    right.set(ylim=(0, 3.2))
    left.legend(loc="upper left")
    right.legend(loc="upper right")
    return fig


def batch_of_one():
    """What BatchNorm says to a single example, in four situations."""
    vector, image, pixel = torch.ones(1, 3), torch.rand(1, 3, 4, 4), torch.ones(1, 3, 1, 1)
    tries = {
        "BatchNorm1d, train, (1, 3)": (nn.BatchNorm1d(3).train(), vector),
        "BatchNorm2d, train, (1, 3, 4, 4)": (nn.BatchNorm2d(3).train(), image),
        "BatchNorm2d, train, (1, 3, 1, 1)": (nn.BatchNorm2d(3).train(), pixel),
        "BatchNorm1d, eval, (1, 3)": (nn.BatchNorm1d(3).eval(), vector),
        "LayerNorm, train, (1, 3)": (nn.LayerNorm(3).train(), vector),
    }
    return "; ".join(f"{name}: {outcome(*case)}" for name, case in tries.items())


def outcome(layer, x):
    """Say that a layer works, or name the error that it raises."""
    try:
        layer(x)
    except ValueError as error:
        return type(error).__name__
    return "works"
