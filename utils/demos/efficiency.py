"""Figures and experiments of chapter 19, efficiency and deployment."""

import time
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from utils import data, figures

INK, RED = "#222222", "#bd1f01"
LABEL = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # behind text that lies on a grid or a hatch


# ------------------------------------------------------------------------------------------------------------- quantization


def absmax_quantize(w, bits, per_row=False):
    """Symmetric absmax quantization, one scale for all of `w` or one a row; returns the dequantized values and the scale."""
    top = 2 ** (bits - 1) - 1
    s = np.abs(w).max(axis=1, keepdims=True) / top if per_row else np.abs(w).max() / top
    return np.clip(np.round(w / s), -top, top) * s, s


def grid(bits=4, outlier=1.0, scales="per tensor"):
    """Weights of an 8 by 64 layer on their integer grid, and the error of each row."""
    fig, (left, right) = figures.new(ncols=2, height=3.6)
    w = np.random.default_rng(0).normal(size=(8, 64)) * 0.1
    w[0, 0] = outlier
    w_hat, s = absmax_quantize(w, bits, per_row=scales == "per row")
    left.plot(w[1:].ravel(), w_hat[1:].ravel(), ".", color=figures.COLORS[0], ms=4, alpha=0.6)
    left.plot([-0.5, 0.5], [-0.5, 0.5], color=INK, lw=0.8, ls=":")
    step = float(np.median(s))
    figures.label(left, "weight w (rows 1 to 7)", "restored weight ŵ", f"{bits} bits, {scales}: step {step:.3f}")
    rms = np.sqrt(((w - w_hat) ** 2).mean(axis=1)) / 0.1
    right.bar(range(8), 100 * rms, color=[figures.COLORS[1]] + [figures.COLORS[0]] * 7)
    figures.label(right, "row (row 0 holds the outlier)", "rms error, % of the weights' std", f"mean error {100 * rms.mean():.0f} %")
    left.set(xlim=(-0.52, 0.52), ylim=(-0.52, 0.52))
    right.set(ylim=(0, 110))
    return fig


def smoothing(alpha=0.5):
    """Channel maxima of activations and weights before and after smoothing, and the W8A8 error."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(64, 16)), rng.normal(size=(24, 16))
    x[:, 5] *= 60
    exact = x @ w.T

    def error(a, b):
        one = absmax_quantize(a, 8)[0] @ absmax_quantize(b, 8)[0].T
        return 100 * np.linalg.norm(one - exact) / np.linalg.norm(exact)

    s = np.abs(x).max(axis=0) ** alpha / np.abs(w).max(axis=0) ** (1 - alpha)
    fig, axes = figures.new(ncols=2, height=3.5)
    for ax, (a, b), title in zip(axes, [(x, w), (x / s, w * s)], ["before", f"after, α = {alpha:.2f}"], strict=True):
        ax.bar(np.arange(16) - 0.2, np.abs(a).max(axis=0), 0.4, label="activations", color=figures.COLORS[0])
        ax.bar(np.arange(16) + 0.2, np.abs(b).max(axis=0), 0.4, label="weights", color=figures.COLORS[1], hatch="//")
        ax.set_yscale("log")
        ax.set_ylim(0.1, 500)
        figures.label(ax, "input channel", "largest magnitude", f"{title}: error {error(a, b):.2f} %")
    axes[0].legend(loc="upper right")
    return fig


@cache
def digits_net():
    """An MLP 64-64-32-10 trained on the digits: its weights and biases as arrays."""
    torch.manual_seed(0)
    x, y, _, _ = (torch.as_tensor(a) for a in data.digits())
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    opt = torch.optim.Adam(net.parameters(), 0.005)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for matrices this small a second thread mostly waits
    for _ in range(150):
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()
    torch.set_num_threads(threads)
    return [(m.weight.detach().numpy().astype(float), m.bias.detach().numpy().astype(float)) for m in net if isinstance(m, nn.Linear)]


@cache
def _test_digits():
    _, _, x, y = data.digits(dtype=np.float64)
    return x, y


def _forward(layers, x):
    for i, (w, b) in enumerate(layers):
        x = x @ w.T + b
        x = np.maximum(x, 0) if i < len(layers) - 1 else x
    return x


def quantized_digits(bits, per_row=False, only=None):
    """Test accuracy, bytes of the weights, and relative output error of the digits net at `bits` bits (all layers, or only one)."""
    x, y = _test_digits()
    layers = digits_net()
    rounded = [(absmax_quantize(w, bits, per_row)[0] if only in (None, i) else w, b) for i, (w, b) in enumerate(layers)]
    exact, out = _forward(layers, x), _forward(rounded, x)
    size = sum(w.size * bits / 8 + (4 * (len(w) if per_row else 1)) + 4 * b.size for w, b in layers)
    return (out.argmax(axis=1) == y).mean(), size, np.linalg.norm(out - exact) / np.linalg.norm(exact)


def digits_figure(scales="per tensor"):
    """Accuracy and size by bits, and the output error that each layer causes alone."""
    fig, (left, right) = figures.new(ncols=2, height=3.6)
    bits, per_row = [8, 6, 5, 4, 3, 2], scales == "per row"
    results = [quantized_digits(b, per_row) for b in bits]
    left.plot(bits, [100 * r[0] for r in results], "o-", color=figures.COLORS[0])
    for b, (acc, size, _) in zip(bits, results, strict=True):
        offset = {2: (26, -3), 3: (24, -20)}.get(b, (0, -16))  # the curve is steep at the left
        left.annotate(f"{size / 1000:.1f} kB", (b, 100 * acc), offset, textcoords="offset points", ha="center", fontsize=9)
    left.set(ylim=(0, 105), xlim=(1.5, 8.7))
    figures.label(left, "bits a weight", "test accuracy, %", f"scale {scales}")
    for i in range(3):
        change = [100 * quantized_digits(b, per_row, i)[2] for b in bits]
        right.plot(bits, change, marker="o", color=figures.COLORS[i], ls=figures.STYLES[i], label=f"layer {i + 1} alone")
    right.set_yscale("log")
    right.legend()
    figures.label(right, "bits a weight", "change of the logits, %", "error per layer")
    return fig


# ------------------------------------------------------------------------------------------------------- roofline and speed


def roofline(tokens=1, weights="fp16"):
    """Attainable speed against arithmetic intensity, for a 4096 by 4096 layer on a data-centre GPU."""
    peak, bandwidth, d = 989e12, 3.35e12, 4096
    fig, ax = figures.new(height=3.8)
    x = np.logspace(-1, 4, 200)
    ax.loglog(x, np.minimum(peak, bandwidth * x) / 1e12, color=INK, ls="-")
    for i, (name, size) in enumerate({"fp16": 2, "int8": 1, "int4": 0.5}.items()):
        moved = size * d * d + 2 * tokens * 2 * d
        intensity = 2 * tokens * d * d / moved
        speed = min(peak, bandwidth * intensity) / 1e12
        label = f"{name} weights: {1e6 * 2 * tokens * d * d / (speed * 1e12):.1f} µs"
        ax.plot(intensity, speed, "osD"[i], color=figures.COLORS[i], ms=11 if name == weights else 6, label=label)
    ax.axvline(peak / bandwidth, color=RED, lw=1, ls=":")
    ax.text(peak / bandwidth * 1.1, 0.5, "ridge: 295 FLOP/byte", color=RED, fontsize=9)
    ax.legend(loc="upper left", title="16-bit arithmetic, weight-only")
    figures.label(ax, "arithmetic intensity, FLOP per byte", "attainable speed, TFLOP/s", f"{tokens} token{'s' * (tokens > 1)} in one pass")
    ax.set(xlim=(0.1, 1e4), ylim=(0.2, 3000))
    return fig


def _seconds(functions, repeats=20):
    """Shortest time of each function. They take turns, so that a busy moment of the machine hits all of them."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, f in functions.items():
            start = time.perf_counter()
            f()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


@cache
def pruned_times():
    """Seconds of a dense 1024 by 1024 layer at batch 256, of the same with 90 % zeros, and of one with 90 % of the rows removed."""
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(256, 1024, generator=rng), torch.randn(1024, 1024, generator=rng)
    masked = w * (torch.rand(w.shape, generator=rng) > 0.9)
    rows = w[:102].clone()
    with torch.no_grad():
        kinds = {"dense": w, "90 % zeros": masked, "90 % of rows gone": rows}
        return _seconds({name: lambda m=matrix: x @ m.T for name, matrix in kinds.items()})


def pruned_figure():
    """Measured time of the three layers on this machine."""
    fig, ax = figures.new(height=2.6)
    pruned_times.cache_clear()  # measure anew each time the cell runs
    times = pruned_times()
    ax.barh(list(times), [1e3 * t for t in times.values()], color=figures.COLORS[:3])
    ax.invert_yaxis()
    for i, t in enumerate(times.values()):
        ax.annotate(
            f"{times['dense'] / t:.1f} × the dense speed",
            (1e3 * t, i),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            bbox=LABEL,
        )
    ax.set_xlim(0, 1e3 * max(times.values()) * 1.45)
    figures.label(ax, "time of one layer, ms (this machine, fp32)", "", "zeros are multiplied like other numbers")
    return fig


# ----------------------------------------------------------------------------------------------------------------- KV cache


def memory(batch=8, length=4096, kv_heads=("64 (MHA)", "8 (GQA)", "1 (MQA)"), cache_bits=16, gpu=160):
    """Weights of a 70B model and its cache against context length, with the limit of the GPUs."""
    kv = kv_heads if isinstance(kv_heads, str) else kv_heads[0]
    heads = int(kv.split()[0])
    per_token = 2 * 80 * heads * 128 * cache_bits / 8
    fig, ax = figures.new(height=3.7)
    n = np.linspace(0, 16384, 65)
    weights = 140
    ax.fill_between(n, 0, weights, color=figures.COLORS[3], alpha=0.6, label="weights, fp16: 140 GB")
    ax.fill_between(n, weights, weights + per_token * n * batch / 1e9, color=figures.COLORS[0], alpha=0.6, hatch="//", label="KV cache")
    ax.axhline(gpu, color=RED, lw=1.5, ls="--")
    ax.text(16200, gpu + 7, f"memory: {gpu} GB", color=RED, fontsize=9, ha="right", bbox=LABEL)
    ax.axvline(length, color=INK, lw=1, ls=":")
    here = per_token * length * batch
    figures.label(ax, "context length, tokens", "memory, GB", f"batch {batch}, {kv} KV heads, length {length}: cache {here / 1e9:.1f} GB")
    ax.set(xlim=(0, 16384), ylim=(0, 400))
    ax.legend(loc="upper left")
    return fig


DARK = (2, 4, 5)  # the colours that need white text


def schedule(lengths, slots, continuous):
    """(request, slot, start, end) of each request, first come first served."""
    free, rows = [0] * slots, []
    for i, n in enumerate(lengths):
        if continuous:
            slot = int(np.argmin(free))
        else:
            slot = i % slots
            if slot == 0:
                free = [max(free)] * slots
        rows.append((i, slot, free[slot], free[slot] + n))
        free[slot] += n
    return rows


def gantt(slots=2, spread=1.0):
    """Seven requests under static and continuous batching."""
    lengths = [max(1, round(5 + spread * d)) for d in (-3, 4, -2, 3, -4, 2, -1)]
    fig, axes = figures.new(nrows=2, height=4.0, sharex=True)
    for ax, continuous in zip(axes, (False, True), strict=True):
        rows = schedule(lengths, slots, continuous)
        steps = max(r[3] for r in rows)
        for i, slot, a, b in rows:
            ax.barh(slot, b - a, left=a, color=figures.COLORS[i], edgecolor="white", height=0.8)
            ax.text((a + b) / 2, slot, str(i), ha="center", va="center", fontsize=9, color="white" if i in DARK else INK)
        busy = sum(lengths) / (slots * steps)
        ax.set_yticks(range(slots))
        kind = "continuous" if continuous else "static"
        figures.label(ax, "decode step" if continuous else "", "slot", f"{kind}: {steps} steps, slots busy {100 * busy:.0f} %")
    return fig


def speculation(draft_cost=0.1):
    """Speedup of speculative decoding over acceptance rate and draft length."""
    a, k = np.linspace(0, 0.98, 50), np.arange(1, 11)
    tokens = (1 - a[None] ** (k[:, None] + 1)) / (1 - a[None])
    speed = tokens / (draft_cost * k[:, None] + 1)
    fig, ax = figures.new(height=3.6)
    image = ax.pcolormesh(a, k, speed, vmin=0, vmax=5, cmap="cividis")
    lines = ax.contour(a, k, speed, levels=[0.5, 1, 2, 3, 4], colors="white", linewidths=1.2)
    ax.clabel(lines, fmt="%g×", fontsize=9)
    fig.colorbar(image, label="speedup")
    ax.grid(False)
    figures.label(ax, "acceptance probability", "drafted tokens k", f"a draft pass costs {draft_cost:.2f} target passes")
    return fig


# ------------------------------------------------------------------------------------------------------------- distillation


def temperature(T=1.0):
    """A teacher's probabilities at temperature T, and the size of the soft gradient with and without T squared."""
    z_t = np.array([9.0, 6.5, 3.0, 1.0, 0.0, -1.0])
    z_s = np.array([5.0, 1.0, 3.5, 0.5, 1.0, 0.0])
    names = ["3", "8", "5", "9", "2", "0"]

    def soft(z, temp):
        e = np.exp((z - z.max()) / temp)
        return e / e.sum()

    fig, (left, right) = figures.new(ncols=2, height=3.5)
    p = soft(z_t, T)
    left.bar(names, p, color=figures.COLORS[0])
    left.set_ylim(0, 1.05)
    entropy = -(p * np.log(p)).sum()
    figures.label(left, "class (an image of a 3)", "teacher's probability", f"T = {T:.1f}, entropy {entropy:.2f} nats")
    temps = np.linspace(1, 20, 60)
    size = np.array([np.linalg.norm(soft(z_s, t) - soft(z_t, t)) / t for t in temps])
    right.loglog(temps, size, color=figures.COLORS[0], ls="-", label="KL alone: falls like 1/T²")
    right.loglog(temps, size * temps**2, color=figures.COLORS[1], ls="--", label="T² · KL")
    right.axvline(T, color=INK, lw=1, ls=":")
    right.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    right.minorticks_off()
    right.legend()
    figures.label(right, "temperature T", "gradient norm for the student", "why the soft part gets T²")
    return fig
