import copy
import math
from functools import cache

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from autograder.authoring import arrays, call, exercise, group, normal, right, st, trap

# ------------------------------------------------------------------------------ statistics of random draws
# No case knows a generator's stream. A statistic may miss its expectation by seven standard errors, which no honest
# generator ever does, and the arrays are so large that this is a few per cent, while the nearest mistake is 15 % off.


def statistics(w):
    """What tells one way of drawing from another. Measured by the judge: probes return the weights themselves."""
    w = np.asarray(w, dtype=float)
    std = float(w.std()) if w.size else 0.0
    return {
        "shape": list(w.shape),
        "mean": float(w.mean()),
        "std": std,
        "mean of |w| over std": float(np.abs(w).mean()) / std if std else 0.0,
        "largest |w| over std": float(np.abs(w).max()) / std if std else 0.0,
        "share of distinct values": len(np.unique(np.abs(w))) / max(w.size, 1),
    }


TIMES = (
    (0.15, "a tiny part of"),
    (0.3, "about a quarter of"),
    (0.45, "about a third of"),
    (0.54, "half of"),
    (0.64, "little more than half of"),
    (0.75, "about seven tenths of"),
    (0.9, "about four fifths of"),
    (1.0, "a little below"),
    (1.1, "a little above"),
    (1.3, "about five quarters of"),
    (1.55, "about one and a half times"),
    (1.85, "about seven quarters of"),
    (2.2, "twice"),
    (3.0, "about two and a half times"),
    (5.0, "about four times"),
    (9.0, "about seven times"),
    (math.inf, "many times"),
)


def times(ratio):
    """A ratio in words, coarse enough that two draws of one mistake get the same words."""
    return next((words for limit, words in TIMES if ratio < limit), "incomparable with")


def spread_problem(s, want, what="the weights"):
    """What is wrong with the size of the weights, or None."""
    n = math.prod(s["shape"])
    if not math.isfinite(s["std"]):
        return f"There are NaN or infinite entries in {what}."
    if s["std"] == 0:
        return f"All entries of {what} are zero." if s["mean"] == 0 else f"All entries of {what} are one number, {s['mean']:.4g}."
    if not s["share of distinct values"] > 0.9:
        return f"Values repeat within {what}, signs aside: draw every entry on its own."
    if not abs(s["mean"]) < 7 * s["std"] / math.sqrt(n):
        return f"The mean of {what} is {s['mean']:.4g}; it should be 0 up to chance."
    if not abs(s["std"] / want - 1) < max(0.01, 7 / math.sqrt(2 * n)):
        return f"The standard deviation of {what} is {s['std']:.4g}, {times(s['std'] / want)} the {want:.4g} asked for."
    return None


def kind_problem(s, kind, what="the weights"):
    """Whether the draws are normal or uniform, or None if they are what they should be."""
    r, n = s["mean of |w| over std"], math.prod(s["shape"])
    normal_like = abs(r - math.sqrt(2 / math.pi)) < max(0.012, 4.5 / math.sqrt(n)) and s["largest |w| over std"] > (
        3.2 if n > 9000 else 2.4
    )
    uniform_like = abs(r - math.sqrt(3) / 2) < max(0.012, 4.5 / math.sqrt(n)) and s["largest |w| over std"] < 1.8
    if not (normal_like if kind == "normal" else uniform_like):
        other = "uniform" if uniform_like else "normal" if normal_like else "neither normal nor uniform"
        return f"The distribution of {what} should be {kind}; it looks {other}."
    return None


def generator(kind, seed):
    return np.random.Generator(getattr(np.random, kind)(seed))


def equal_rows(w):
    rows = np.asarray(w, dtype=float).reshape(len(w), -1)
    return len(np.unique(rows, axis=0)) < len(rows)


def equal_layers(weights):
    return any(a.shape == b.shape and np.array_equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


# ------------------------------------------------------------------------------ fans


def two_whole_numbers(submission, shape):
    fans = submission.fan_in_out(shape)
    return tuple(int(f) if float(f) == int(f) else float(f) for f in fans)


@exercise(
    "initialization.fans",
    names="fan_in_out",
    covers=["initialization.xavier", "initialization.he", "initialization.xavier-use", "initialization.he-use"],
    forbid=["torch.nn.init"],
)
class Fans:
    def reference(shape):
        if len(shape) < 2:
            raise ValueError(f"fans need at least two dimensions, got {shape}")
        kernel = math.prod(shape[2:])
        return shape[1] * kernel, shape[0] * kernel

    probe = two_whole_numbers

    cases = {
        "linear": [call((30, 70)), call((80, 20)), call((50, 50)), call((1, 9)), call((12, 1)), call(torch.Size((6, 11)))],
        "convolution": [
            call((64, 32, 3, 3)),
            call((16, 3, 7, 5)),
            call((8, 8, 3, 5)),
            call((10, 4, 9)),
            call((6, 2, 3, 4, 5)),
            call((5, 7, 1, 1)),
            call((24, 1, 3, 2)),
        ],
        "refused": [call((5,)), call(()), call((1,)), call(torch.Size((128,)))],
    }

    @trap("Your fans are exchanged: torch stores a weight as (out, in, *kernel), so fan_in starts from shape[1].")
    def exchanged(shape):
        if len(shape) < 2:
            raise ValueError("no fans")
        kernel = math.prod(shape[2:])
        return shape[0] * kernel, shape[1] * kernel

    @trap(
        "Your fans are exchanged (torch stores (out, in, *kernel), so fan_in starts from shape[1]), and the kernel and the check are missing."
    )
    def exchanged_bare(shape):
        return shape[0], shape[1]

    @trap("Only fan_in counts the kernel here. A weight of the input also reaches kernel-many outputs: multiply both fans.")
    def kernel_in_fan_in_only(shape):
        if len(shape) < 2:
            raise ValueError("no fans")
        return shape[1] * math.prod(shape[2:]), shape[0]

    @trap("The kernel is missing: a 3 × 3 convolution sums 9 × in terms, so both fans contain all kernel dimensions.")
    def no_kernel(shape):
        if len(shape) < 2:
            raise ValueError("no fans")
        return shape[1], shape[0]

    @trap("You took the kernel to be square (or counted one side of it). Multiply all dimensions after the first two.")
    def square_kernel(shape):
        if len(shape) < 2:
            raise ValueError("no fans")
        kernel = shape[2] ** 2 if len(shape) > 2 else 1
        return shape[1] * kernel, shape[0] * kernel

    @trap("You took the kernel to be square (or counted one side of it). Multiply all dimensions after the first two.")
    def square_of_the_last(shape):
        if len(shape) < 2:
            raise ValueError("no fans")
        kernel = shape[-1] ** (len(shape) - 2)
        return shape[1] * kernel, shape[0] * kernel

    @trap("You took every kernel to be 2-d. Multiply all dimensions after the first two, however many there are.")
    def one_kernel_side(shape):
        if len(shape) < 2:
            raise ValueError("no fans")
        kernel = shape[2] if len(shape) > 2 else 1
        return shape[1] * kernel, shape[0] * kernel

    @trap("You took at most two kernel dimensions. A 3-d convolution has three: multiply all dimensions after the first two.")
    def two_kernel_sides(shape):
        if len(shape) < 2:
            raise ValueError("no fans")
        kernel = math.prod(shape[2:4])
        return shape[1] * kernel, shape[0] * kernel

    @trap("You added the kernel's sizes. A 3 × 3 window has 3 · 3 places, not 3 + 3: multiply them.")
    def kernel_added(shape):
        if len(shape) < 2:
            raise ValueError("no fans")
        kernel = sum(shape[2:]) or 1
        return shape[1] * kernel, shape[0] * kernel

    @trap("Fans of a vector are undefined. Check the number of dimensions first and raise ValueError yourself.")
    def index_error(shape):
        kernel = math.prod(shape[2:])
        return shape[1] * kernel, shape[0] * kernel

    @trap("assert raises AssertionError. The task asks for ValueError, which callers can expect and catch.")
    def asserts(shape):
        assert len(shape) >= 2, "fans need two dimensions"
        kernel = math.prod(shape[2:])
        return shape[1] * kernel, shape[0] * kernel

    @trap("A vector such as a bias has no fans. Do not make a number up: raise ValueError.")
    def number_for_a_vector(shape):
        if len(shape) < 2:
            return (shape[0], shape[0]) if shape else (1, 1)
        kernel = math.prod(shape[2:])
        return shape[1] * kernel, shape[0] * kernel

    @right("with a loop over the kernel")
    def loop(shape):
        if len(shape) in (0, 1):
            raise ValueError
        out, inside, *kernel = shape
        for k in kernel:
            out, inside = out * k, inside * k
        return inside, out

    @right("from the number of entries")
    def by_size(shape):
        if not len(shape) >= 2:
            raise ValueError("too few dimensions")
        total = np.prod(shape)
        return np.int64(total // shape[0]), int(total // shape[1])

    @right("np.prod of an empty kernel is the float 1.0")
    def floats(shape):
        if len(shape) < 2:
            raise ValueError("too few dimensions")
        return [shape[1] * np.prod(shape[2:]), shape[0] * np.prod(shape[2:])]


# ------------------------------------------------------------------------------ the scale, as a formula


@exercise("scratch.init-scale", names="init_scale", covers=["scratch.init-scale", "thirty.tq04", "thirty.t-init", "initialization.xavier"])
class InitScale:
    def reference(fan_in, fan_out, kind):
        both = fan_in + fan_out
        return math.sqrt({"he": 2 / fan_in, "lecun": 1 / fan_in, "xavier": 2 / both, "xavier_uniform": 6 / both}[kind])

    def every(fans):
        return [call(i, o, kind) for i, o in fans for kind in ("he", "lecun", "xavier", "xavier_uniform")]

    cases = {
        "narrowing layers": group(every([(784, 128), (128, 64), (64, 10)]), rtol=1e-6, atol=0),
        "widening layers": group(every([(10, 64), (3, 300), (1, 7)]), rtol=1e-6, atol=0),
        "square layers": group(every([(64, 64), (1, 1)]), rtol=1e-6, atol=0),
    }
    del every

    @trap("sqrt(2 / fan_in) is He, whatever the comment says. Xavier divides by both fans: 2 / (fan_in + fan_out).")
    def he_as_xavier(fan_in, fan_out, kind):
        if kind == "xavier_uniform":
            return math.sqrt(6 / fan_in)
        return math.sqrt((1 if kind == "lecun" else 2) / fan_in)

    @trap("sqrt(2 / fan_in) is He under the name of Xavier. Xavier divides by both fans: 2 / (fan_in + fan_out).")
    def he_as_xavier_normal_only(fan_in, fan_out, kind):
        if kind == "xavier_uniform":
            return math.sqrt(6 / (fan_in + fan_out))
        return math.sqrt((1 if kind == "lecun" else 2) / fan_in)

    @trap("Your Xavier sees one fan, as 1 / fan_in does: that is right for square layers only. Use both: 2 / (fan_in + fan_out).")
    def lecun_as_xavier(fan_in, fan_out, kind):
        return math.sqrt({"he": 2, "lecun": 1, "xavier": 1, "xavier_uniform": 3}[kind] / fan_in)

    @trap("This is a variance. A scale multiplies randn, and randn has standard deviation 1: take the square root.")
    def variance(fan_in, fan_out, kind):
        both = fan_in + fan_out
        return {"he": 2 / fan_in, "lecun": 1 / fan_in, "xavier": 2 / both, "xavier_uniform": 6 / both}[kind]

    @trap("He and LeCun keep the variance of the sums going forward, and those have fan_in terms: divide by fan_in, not fan_out.")
    def fan_out(fan_in, fan_out, kind):
        both = fan_in + fan_out
        return math.sqrt({"he": 2 / fan_out, "lecun": 1 / fan_out, "xavier": 2 / both, "xavier_uniform": 6 / both}[kind])

    @trap("That is the standard deviation again. A uniform draw on [-b, b] has variance b²/3, so its limit is sqrt(3) times larger.")
    def uniform_limit_is_std(fan_in, fan_out, kind):
        both = fan_in + fan_out
        return math.sqrt({"he": 2 / fan_in, "lecun": 1 / fan_in, "xavier": 2 / both, "xavier_uniform": 2 / both}[kind])

    @trap("Your limit is 3 standard deviations. Var U(-b, b) = b²/3, so b is sqrt(3) of them.")
    def three_standard_deviations(fan_in, fan_out, kind):
        both = fan_in + fan_out
        if kind == "xavier_uniform":
            return 3 * math.sqrt(2 / both)
        return math.sqrt({"he": 2 / fan_in, "lecun": 1 / fan_in, "xavier": 2 / both}[kind])

    @trap("Your limit is twice too large: sqrt(12) standard deviations are the whole width of [-b, b]. b is half of it.")
    def whole_width(fan_in, fan_out, kind):
        both = fan_in + fan_out
        return math.sqrt({"he": 2 / fan_in, "lecun": 1 / fan_in, "xavier": 2 / both, "xavier_uniform": 24 / both}[kind])

    @trap("LeCun looks at the forward pass only: 1 / fan_in. Both fans belong to Xavier.")
    def lecun_both_fans(fan_in, fan_out, kind):
        both = fan_in + fan_out
        return math.sqrt({"he": 2 / fan_in, "lecun": 1 / both, "xavier": 2 / both, "xavier_uniform": 6 / both}[kind])

    @trap("Your He divides by both fans, like Xavier. He was right already, 2 / fan_in: change the two Xavier kinds only.")
    def he_both_fans(fan_in, fan_out, kind):
        both = fan_in + fan_out
        return math.sqrt({"he": 2 / both, "lecun": 1 / fan_in, "xavier": 2 / both, "xavier_uniform": 6 / both}[kind])

    @trap("Xavier averages the two fans: the variance is 1 over their mean, so 2 / (fan_in + fan_out). The 2 is missing.")
    def xavier_without_two(fan_in, fan_out, kind):
        both = fan_in + fan_out
        return math.sqrt({"he": 2 / fan_in, "lecun": 1 / fan_in, "xavier": 1 / both, "xavier_uniform": 3 / both}[kind])

    @trap("He and LeCun are exchanged: He is the one with the 2, which makes up for the half that ReLU removes.")
    def he_and_lecun_exchanged(fan_in, fan_out, kind):
        both = fan_in + fan_out
        return math.sqrt({"he": 1 / fan_in, "lecun": 2 / fan_in, "xavier": 2 / both, "xavier_uniform": 6 / both}[kind])

    @right("if by if")
    def ifs(fan_in, fan_out, kind):
        if kind == "he":
            return np.sqrt(2.0 / fan_in)
        if kind == "lecun":
            return np.sqrt(1.0 / fan_in)
        mean = 0.5 * (fan_in + fan_out)
        return np.sqrt(1 / mean) * (np.sqrt(3) if kind.endswith("uniform") else 1)

    @right("by matching")
    def matching(fan_in, fan_out, kind):
        match kind:
            case "he":
                v = 2 / fan_in
            case "lecun":
                v = 1 / fan_in
            case "xavier":
                v = 2 / (fan_in + fan_out)
            case _:
                v = 6 / (fan_in + fan_out)
        return v**0.5


# ------------------------------------------------------------------------------ drawing weights


def fans_of(shape):
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def std_of(shape, scheme):
    fan_in, fan_out = fans_of(shape)
    return math.sqrt(2 / (fan_in + fan_out) if scheme.startswith("xavier") else 2 / fan_in)


def drawn(submission, shape, scheme, bits, seed):
    return np.asarray(submission.init_weight(shape, scheme, generator(bits, seed)))


def drawn_again(submission, shape, scheme, bits, seed):
    first, again, other = (np.array(submission.init_weight(shape, scheme, generator(bits, s))) for s in (seed, seed, seed + 1))
    rng = generator(bits, seed)
    return {"draws": [first, again, other], "in a row": [np.array(submission.init_weight(shape, scheme, rng)) for _ in range(2)]}


def judge_draw(w, shape, scheme, bits, seed):
    if w.shape != tuple(shape):
        return f"The result has shape {w.shape}, not {shape}."
    s = statistics(w)
    return spread_problem(s, std_of(shape, scheme)) or kind_problem(s, scheme.split("_")[1]) or True


def judge_repeat(weights, shape, scheme, bits, seed):
    first, again, other = weights["draws"]
    for w in (*weights["draws"], *weights["in a row"]):
        if w.shape != tuple(shape):
            return f"The result has shape {w.shape}, not {shape}."
        if not np.isfinite(w).all():
            return "There are NaN or infinite entries in the weights."
        if len(np.unique(w)) < 0.5 * w.size:
            return "Values repeat within the weights, signs aside: draw every entry on its own."
    if not np.array_equal(first, again):
        return "Two generators in the same state gave different weights: every draw has to come from rng."
    if np.array_equal(first, other):
        return "Generators in different states gave the same weights: the draws do not come from rng."
    if np.array_equal(*weights["in a row"]):
        return "Two draws in a row from one rng gave the same weights."
    return True


def draw(shape, scheme, rng, variance):
    if scheme.endswith("uniform"):
        b = math.sqrt(3 * variance)
        return rng.uniform(-b, b, size=shape)
    return rng.normal(0.0, math.sqrt(variance), size=shape)


@exercise(
    "initialization.xavier-he",
    names="init_weight",
    covers=[
        "initialization.xavier",
        "initialization.he",
        "initialization.table",
        "initialization.q.xavier-he",
        "initialization.remember",
        "initialization.override",
    ],
    forbid=["torch.nn.init"],
    seconds=20,
)
class XavierHe:
    def reference(shape, scheme, rng):
        return draw(shape, scheme, rng, std_of(shape, scheme) ** 2)

    probe = drawn

    cases = {
        "Xavier": group(
            [
                call((150, 350), "xavier_normal", "PCG64", 1),
                call((150, 350), "xavier_uniform", "Philox", 2),
                call((400, 100), "xavier_normal", "SFC64", 3),
                call((400, 100), "xavier_uniform", "MT19937", 4),
            ],
            accept=judge_draw,
        ),
        "He": group(
            [
                call((150, 350), "he_normal", "MT19937", 5),
                call((150, 350), "he_uniform", "PCG64", 6),
                call((400, 100), "he_normal", "Philox", 7),
                call((400, 100), "he_uniform", "SFC64", 8),
                call((175, 175), "he_normal", "PCG64", 21),
            ],
            accept=judge_draw,
        ),
        "convolutions": group(
            [call((64, 32, 3, 3), s, "PCG64", i) for i, s in enumerate(("xavier_normal", "xavier_uniform", "he_normal", "he_uniform"))],
            [call((256, 24, 7), "he_normal", "SFC64", 9), call((90, 30, 3, 5), "xavier_uniform", "Philox", 10)],
            [call((24, 10, 3, 4, 5), "he_normal", "PCG64", 22), call((20, 12, 2, 5, 3), "xavier_uniform", "SFC64", 23)],
            accept=judge_draw,
        ),
        "generator": group(
            [
                call((5, 4), "he_normal", "PCG64", 11),
                call((3, 8), "xavier_uniform", "MT19937", 12),
                call((4, 3, 3, 3), "he_uniform", "Philox", 13),
            ],
            [call((7, 2), "xavier_normal", "SFC64", 14)],
            probe=drawn_again,
            accept=judge_repeat,
        ),
    }

    @trap("rng.normal takes the standard deviation, and you gave it the variance. Take the square root.")
    def variance_as_std(shape, scheme, rng):
        v = std_of(shape, scheme) ** 2
        return draw(shape, scheme, rng, v if scheme.endswith("uniform") else v**2)

    @trap("Your limits of the uniform draw are the standard deviation. Var U(-b, b) = b²/3, so b is sqrt(3) standard deviations.")
    def limit_is_std(shape, scheme, rng):
        v = std_of(shape, scheme) ** 2
        return draw(shape, scheme, rng, v / 3 if scheme.endswith("uniform") else v)

    @trap("Your Xavier uses one fan (1 / fan_in). It balances forward and backward with both: 2 / (fan_in + fan_out).")
    def xavier_fan_in(shape, scheme, rng):
        return draw(shape, scheme, rng, (1 if scheme.startswith("xavier") else 2) / fans_of(shape)[0])

    @trap("Your He divides by both fans, like Xavier. He uses fan_in alone: 2 / fan_in.")
    def he_both_fans(shape, scheme, rng):
        return draw(shape, scheme, rng, 2 / sum(fans_of(shape)))

    @trap("Your He averages the fans. He uses fan_in alone: 2 / fan_in. The average belongs to Xavier.")
    def he_mean_fan(shape, scheme, rng):
        return draw(shape, scheme, rng, (2 if scheme.startswith("xavier") else 4) / sum(fans_of(shape)))

    @trap("Xavier is 1 over the MEAN of the fans, 2 / (fan_in + fan_out). Your 2 is missing.")
    def xavier_without_two(shape, scheme, rng):
        return draw(shape, scheme, rng, 1 / sum(fans_of(shape)) if scheme.startswith("xavier") else 2 / fans_of(shape)[0])

    @trap("Your fans are exchanged: fan_in is axis 1 times the kernel, so He sees shape[1].")
    def fan_out(shape, scheme, rng):
        fan_in, out = fans_of(shape)
        return draw(shape, scheme, rng, 2 / (fan_in + out) if scheme.startswith("xavier") else 2 / out)

    @trap("He needs variance 2 / fan_in: the 2 makes up for the half that ReLU removes. You drew 1 / fan_in.")
    def he_without_two(shape, scheme, rng):
        return draw(shape, scheme, rng, std_of(shape, scheme) ** 2 / (1 if scheme.startswith("xavier") else 2))

    @trap("Only fan_in counts the kernel here, and Xavier needs both fans: an input reaches out × kernel sums. Multiply both.")
    def kernel_in_fan_in_only(shape, scheme, rng):
        fan_in = fans_of(shape)[0]
        return draw(shape, scheme, rng, 2 / (fan_in + shape[0]) if scheme.startswith("xavier") else 2 / fan_in)

    @trap("Your fans of a convolution leave the kernel out. Each output sums in × kernel terms: multiply shape[2:] into both fans.")
    def kernel_forgotten(shape, scheme, rng):
        return draw(shape, scheme, rng, std_of(shape[:2], scheme) ** 2)

    @trap("You count at most two sides of the kernel; it may have three. Multiply all of shape[2:] into both fans.")
    def two_kernel_sides(shape, scheme, rng):
        return draw(shape, scheme, rng, std_of(shape[:4], scheme) ** 2)

    @trap("All rows are the same draw, so all units start equal and stay equal. Draw the full shape.")
    def same_row(shape, scheme, rng):
        one = draw(shape[1:], scheme, rng, std_of(shape, scheme) ** 2)
        return np.tile(one, (shape[0],) + (1,) * (len(shape) - 1))

    @trap("You build a generator of your own, with a fixed seed. Draw from the rng that was passed in.")
    def own_seed(shape, scheme, rng):
        return draw(shape, scheme, np.random.default_rng(0), std_of(shape, scheme) ** 2)

    @trap("You draw from NumPy's global generator, so nobody can repeat the run. Draw from the rng that was passed in.")
    def global_generator(shape, scheme, rng):
        return draw(shape, scheme, np.random, std_of(shape, scheme) ** 2)

    @trap("Your uniform draw runs from 0 to b: all weights are positive. Centre it: from -b to b.")
    def not_centred(shape, scheme, rng):
        b = math.sqrt(3) * std_of(shape, scheme)
        return rng.random(shape) * b if scheme.endswith("uniform") else draw(shape, scheme, rng, std_of(shape, scheme) ** 2)

    @trap("The size is right, the distribution is not: a scheme that ends in _uniform asks for a uniform draw.")
    def always_normal(shape, scheme, rng):
        return rng.normal(0, std_of(shape, scheme), shape)

    @right("standard draws, scaled")
    def scaled(shape, scheme, rng):
        std = std_of(shape, scheme)
        return rng.standard_normal(shape) * std if "normal" in scheme else (2 * rng.random(shape) - 1) * std * 3**0.5

    @right("row by row, float32")
    def rows(shape, scheme, rng):
        fan_in, fan_out = fans_of(shape)
        v = {"xavier": 2 / (fan_in + fan_out), "he": 2 / fan_in}[scheme.split("_")[0]]
        return np.stack([draw(shape[1:], scheme, rng, v) for _ in range(shape[0])]).astype(np.float32)

    @right("limits from the formulas sqrt(6 / ...)")
    def limits(shape, scheme, rng):
        receptive = int(np.prod(shape[2:]))
        n_in, n_out = shape[1] * receptive, shape[0] * receptive
        if scheme == "xavier_uniform":
            return rng.uniform(-np.sqrt(6 / (n_in + n_out)), np.sqrt(6 / (n_in + n_out)), shape)
        if scheme == "he_uniform":
            return rng.uniform(-np.sqrt(6 / n_in), np.sqrt(6 / n_in), shape)
        return rng.normal(loc=0, scale=np.sqrt(2 / (n_in + n_out) if scheme == "xavier_normal" else 2 / n_in), size=shape)


# ------------------------------------------------------------------------------ gain


def by_a_mask(z):
    """A leaky ReLU that takes arrays only."""
    out = z.copy()
    out[out < 0] *= 0.3
    return out


def activation(name):
    """The activations of the cases; none of them warns between -40 and 40."""
    return {
        "identity": lambda z: z,
        "relu": lambda z: np.maximum(z, 0),
        "leaky relu": lambda z: np.where(z > 0, z, 0.2 * z),
        "late relu": lambda z: np.maximum(z - 0.5, 0),
        "tanh": lambda z: np.tanh(z),
        "sigmoid": lambda z: 0.5 * (1 + np.tanh(z / 2)),
        "silu": lambda z: z * 0.5 * (1 + np.tanh(z / 2)),
        "3 z": lambda z: 3 * z,
        "z + 2": lambda z: z + 2.0,
        "cos": lambda z: np.cos(z),
        "signed square": lambda z: z * np.abs(z),
        "by a mask": by_a_mask,
    }[name]


def gain_of(submission, name):
    return submission.gain(activation(name))


def moments(phi):
    """E[phi], E[phi^2] for standard normal z, by a fine trapezoid rule."""
    z = np.linspace(-12, 12, 240_001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    return float(np.sum(density * phi(z))), float(np.sum(density * phi(z) ** 2))


def root(v):
    return math.sqrt(max(v, 1e-12))


@exercise(
    "initialization.activation-gain",
    names="gain",
    covers=["initialization.gain", "initialization.q.factor-two", "initialization.table", "initialization.goal"],
    rtol=0.01,
    atol=0,
    seconds=40,
)
class ActivationGain:
    def reference(phi):
        return 1 / math.sqrt(moments(phi)[1])

    probe = gain_of

    cases = {
        "pieces of lines": [call("identity"), call("relu"), call("late relu"), call("by a mask")],
        "smooth": [call("tanh"), call("silu"), call("sigmoid")],
        "scaled and shifted": [call("3 z"), call("z + 2"), call("cos"), call("signed square")],
    }

    @trap(
        "You took the spread around the mean of phi(z). ReLU outputs are not centred, and the next layer sums their second moment E[phi(z)²]."
    )
    def variance(phi):
        mean, second = moments(phi)
        return 1 / root(second - mean**2)

    @trap("The gain multiplies a standard deviation, so it is 1 over the ROOT of the second moment.")
    def no_root(phi):
        return 1 / moments(phi)[1]

    @trap("This is what the activation leaves of the signal. The gain has to undo it: take the inverse.")
    def inverse(phi):
        return math.sqrt(moments(phi)[1])

    @trap("Neither inverse nor root: this is the second moment itself. The gain is 1 over its square root.")
    def second_moment(phi):
        return moments(phi)[1]

    @trap("Your z are uniform. A pre-activation is a sum of many terms, hence close to normal: draw z from N(0, 1).")
    def uniform_z(phi):
        z = np.linspace(-1, 1, 200_001) * math.sqrt(3)
        return 1 / math.sqrt(np.mean(phi(z) ** 2))

    @trap("Your z are uniform on [-1, 1], with variance 1/3. The z of the definition are standard normal.")
    def uniform_small_z(phi):
        return 1 / math.sqrt(np.mean(phi(np.linspace(-1, 1, 200_001)) ** 2))

    @trap("You averaged |phi(z)|. What adds up over the inputs of the next layer is phi(z) squared.")
    def mean_of_absolute(phi):
        return 1 / moments(lambda z: np.abs(phi(z)))[0]

    @trap("You squared the mean. The next layer sums the mean of the squares, E[phi(z)²]: square first, then average.")
    def square_of_the_mean(phi):
        return 1 / max(abs(moments(phi)[0]), 1e-12)

    @trap("You squared z before phi saw it. The second moment of the output is E[phi(z)²]: apply phi, then square.")
    def phi_of_the_square(phi):
        return 1 / root(moments(lambda z: np.abs(phi(z * z)) ** 0.5)[1])

    @trap("Your z are uniform on [0, 1), as rng.random gives them. The z of the definition are standard normal.")
    def uniform_positive_z(phi):
        return 1 / math.sqrt(np.mean(phi(np.linspace(0, 1, 100_001)) ** 2))

    @trap("Torch's table has rules of thumb in it: 5/3 for tanh and 1 for the sigmoid. Asked is the gain of the definition.")
    def table_of_torch(phi):
        at_one = float(phi(np.ones(1))[0])
        known = {math.tanh(1): "tanh", 1 / (1 + math.exp(-1)): "sigmoid"}
        name = next((name for value, name in known.items() if abs(value - at_one) < 1e-9), None)
        return nn.init.calculate_gain(name) if name else 1 / math.sqrt(moments(phi)[1])

    @trap(
        "Close, but not within 1 %: too few draws, or the tails are cut off (|z| beyond 2 holds a quarter of E[z²]). Average over a million draws."
    )
    def cut_off(phi):
        z = np.linspace(-2, 2, 100_001)
        return 1 / math.sqrt(np.average(phi(z) ** 2, weights=np.exp(-z * z / 2)))

    @trap("A grid over z gives every z the same weight. Weight it with the normal density, or draw from it.")
    def unweighted_grid(phi):
        return 1 / math.sqrt(np.mean(phi(np.linspace(-5, 5, 100_001)) ** 2))

    @trap("phi takes an array: call it once with all z.")
    def phi_of_single_numbers(phi):
        z = np.linspace(-8, 8, 4001)
        return 1 / math.sqrt(np.average([phi(float(v)) ** 2 for v in z], weights=np.exp(-z * z / 2)))

    @trap("You averaged the slope of phi, which is about gradients. The forward signal asks for E[phi(z)²].")
    def slope(phi):
        return 1 / root(moments(lambda z: (phi(z + 1e-5) - phi(z - 1e-5)) / 2e-5)[1])

    @right("Monte Carlo with a million draws")
    def monte_carlo(phi):
        z = np.random.default_rng(7).standard_normal(1_000_000)
        return 1 / np.sqrt(np.mean(phi(z) ** 2))

    @right("Gauss-Hermite")
    def gauss_hermite(phi):
        z, w = np.polynomial.hermite_e.hermegauss(100)
        return float(np.sum(w * phi(z) ** 2) / np.sum(w)) ** -0.5

    @right("quantiles of the normal distribution")
    def quantiles(phi):
        from statistics import NormalDist

        q = (np.arange(20_000) + 0.5) / 20_000
        z = np.array([NormalDist().inv_cdf(p) for p in q])
        return 1 / math.sqrt((phi(z) ** 2).mean())

    @right("numbers of torch")
    def torch_draws(phi):
        z = torch.randn(1_000_000, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).numpy()
        return torch.tensor(phi(z)).square().mean().rsqrt()


# ------------------------------------------------------------------------------ the empirical check


def shape_of_phi(name):
    return {
        "relu": lambda z: np.maximum(z, 0),
        "tanh": lambda z: np.tanh(z),
        "identity": lambda z: z,
        "leaky relu": lambda z: np.where(z > 0, z, 0.1 * z),
    }[name]


def stds_of(submission, x, weights, phi):
    return np.asarray(submission.activation_stds(x, weights, shape_of_phi(phi)), dtype=float)


def verdict_of(submission, stds):
    return submission.verdict(stds)


def whole_check(submission, x, weights, phi):
    stds = submission.activation_stds(x, weights, shape_of_phi(phi))
    return {"stds": np.asarray(stds, dtype=float), "verdict": submission.verdict(np.asarray(stds, dtype=float))}


def symmetric(w):
    """So that h @ W and h @ W.T, both of which the task allows, are one and the same."""
    return np.round((w + w.T) / math.sqrt(2), 6)


@st.composite
def small_nets(draw):
    n, d, depth = draw(st.integers(2, 4)), draw(st.integers(2, 4)), draw(st.integers(1, 3))
    weights = [symmetric(draw(arrays((d, d), -2, 2))) for _ in range(depth)]
    return call(draw(arrays((n, d), -3, 3)), weights, draw(st.sampled_from(["relu", "tanh", "identity", "leaky relu"])))


def deep(n, d, depth, variance, phi, seed):
    weights = [symmetric(normal((d, d), math.sqrt(variance / d), seed + k)) for k in range(depth)]
    return call(normal((n, d), seed=seed + 99), weights, phi)


def layers(x, weights, phi):
    """Pre-activations and activations of every layer."""
    h, seen = x, []
    for w in weights:
        z = h @ w.T
        h = phi(z)
        seen.append((z, h))
    return seen


def judged(ratio):
    return "vanishing" if ratio < 0.1 else "exploding" if ratio > 10 else "ok"


@exercise(
    "initialization.activation-stds",
    names="activation_stds verdict",
    covers=["initialization.goal", "initialization.sanity", "initialization.q.diagnose"],
)
class ActivationStds:
    class reference:
        def activation_stds(x, weights, phi):
            return np.array([h.std() for _, h in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    cases = {
        "stds": group(
            small_nets(),
            [
                call(normal((5, 3), 2.0, s), [symmetric(normal((3, 3), 0.8, s + k)) for k in range(1, 5)], p)
                for s, p in ((3, "relu"), (4, "tanh"), (5, "identity"))
            ],
            [call(normal((1, 6), 1.0, 8) + 1, [symmetric(normal((6, 6), 0.5, 9)), symmetric(normal((6, 6), 0.7, 10))], "leaky relu")],
            [call(normal((2, 5), 1.0, 11) + 3, [symmetric(np.abs(normal((5, 5), 0.7, 12)))], "relu")],
            probe=stds_of,
            rtol=1e-6,
        ),
        "verdict": group(
            [
                call(np.array(s))
                for s in (
                    [1.0, 0.9, 1.1],
                    [1.0, 0.4, 0.09],
                    [2.0, 9.0, 30.0],
                    [1.0, 50.0, 1.5],
                    [1.0, 0.01, 0.8],
                    [20.0, 3.0],
                    [40.0, 20.0, 4.5],
                    [0.02, 0.03, 0.05],
                    [30.0, 25.0, 28.0],
                    [0.05, 0.3, 0.6],
                    [10.0, 2.0, 1.0],
                    [1.0, 5.0, 10.0],
                    [10.0, 2.0, 0.99],
                    [1.0, 5.0, 10.1],
                    [0.7],
                    [1.0, 1e-30],
                    [1.0, 1e30],
                    [4.0, 1.0, 0.5],
                    [0.5, 3.0, 4.0],
                    [0.06, 0.05, 0.006],
                    [5.0, 60.0, 5.5],
                    [5.0, 0.3, 0.55],
                    [1.0, 20.0, 15.0, 12.0],
                    [9.0, 0.8, 0.9, 0.85],
                    [1.0, 30.0, 8.0, 2.5],
                    [1.0, 2.0, 0.3, 0.15, 6.0],
                    [1e-4, 3e-5, 1e-6],
                    [2e-14, 1e-13, 1e-12],
                )
            ],
            probe=verdict_of,
        ),
        "deep nets": group(
            [
                deep(40, 30, 12, 2, "relu", 100),
                deep(40, 30, 12, 1, "relu", 200),
                deep(40, 30, 12, 4, "relu", 300),
                deep(40, 30, 12, 30, "tanh", 400),
                deep(40, 30, 12, 1, "identity", 500),
                deep(40, 30, 12, 0.3, "identity", 600),
            ],
            probe=whole_check,
            rtol=1e-6,
        ),
    }

    @trap("These are the standard deviations before the activation. Asked is what each layer hands on: phi of it.")
    class before_phi:
        def activation_stds(x, weights, phi):
            return np.array([z.std() for z, _ in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap("The activation is missing: this measures a linear net. Apply phi in every layer.")
    class no_phi:
        def activation_stds(x, weights, phi):
            return np.array([h.std() for _, h in layers(x, weights, lambda z: z)])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap("phi is applied where you measure, but what you hand to the next layer is still without it. Let h = phi(...) travel on.")
    class phi_for_measuring_only:
        def activation_stds(x, weights, phi):
            return np.array([phi(h).std() for _, h in layers(x, weights, lambda z: z)])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap("You took a standard deviation per unit and averaged. Asked is one over all entries of the (N, d) array: no axis.")
    class mean_over_columns:
        def activation_stds(x, weights, phi):
            return np.array([h.std(axis=0).mean() for _, h in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap("You took a standard deviation per sample and averaged. Asked is one over all entries of the (N, d) array: no axis.")
    class mean_over_rows:
        def activation_stds(x, weights, phi):
            return np.array([h.std(axis=1).mean() for _, h in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap("You divide by the number of entries less one (ddof=1, torch's default). Asked is the plain one of np.std.")
    class sample_std:
        def activation_stds(x, weights, phi):
            return np.array([h.std(ddof=1) for _, h in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap("This is the root of the second moment. It is what He keeps constant, but a standard deviation subtracts the mean first.")
    class second_moment:
        def activation_stds(x, weights, phi):
            return np.array([np.sqrt(np.mean(h**2)) for _, h in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap("These are variances. Take the root.")
    class variances:
        def activation_stds(x, weights, phi):
            return np.array([h.var() for _, h in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap("Your list starts with the input's own standard deviation. Asked is one number after each of the L layers.")
    class with_the_input:
        def activation_stds(x, weights, phi):
            return np.array([x.std()] + [h.std() for _, h in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap("You measure before each layer: the first number is the input's, and the last layer is missing. Measure after phi.")
    class before_the_layer:
        def activation_stds(x, weights, phi):
            return np.array([x.std()] + [h.std() for _, h in layers(x, weights, phi)][:-1])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap("Every layer gets the original input. Feed each layer what the one before it produced.")
    class input_again:
        def activation_stds(x, weights, phi):
            return np.array([phi(x @ w.T).std() for w in weights])

        def verdict(stds):
            return judged(stds[-1] / stds[0])

    @trap(
        "Your verdict follows the largest or smallest value of the list; a bump in the middle is harmless. Compare the last with the first."
    )
    class extremes:
        def activation_stds(x, weights, phi):
            return np.array([h.std() for _, h in layers(x, weights, phi)])

        def verdict(stds):
            if stds.max() / stds.min() <= 10:
                return "ok"
            return "vanishing" if stds.argmax() < stds.argmin() else "exploding"

    @trap('The largest over the smallest value can only say "exploding". Compare the last with the first.')
    class largest_over_smallest:
        def activation_stds(x, weights, phi):
            return np.array([h.std() for _, h in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds.max() / stds.min())

    @trap("The ratio is upside down: divide the last by the first.")
    class first_over_last:
        def activation_stds(x, weights, phi):
            return np.array([h.std() for _, h in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds[0] / stds[-1])

    @trap("You judge the last value alone. Small is not vanishing: compare it with the first one.")
    class last_alone:
        def activation_stds(x, weights, phi):
            return np.array([h.std() for _, h in layers(x, weights, phi)])

        def verdict(stds):
            return judged(stds[-1])

    @trap('The limits themselves are still "ok": use < 0.1 and > 10.')
    class limits_included:
        def activation_stds(x, weights, phi):
            return np.array([h.std() for _, h in layers(x, weights, phi)])

        def verdict(stds):
            r = stds[-1] / stds[0]
            return "vanishing" if r <= 0.1 else "exploding" if r >= 10 else "ok"

    @right("in torch")
    class in_torch:
        def activation_stds(x, weights, phi):
            h, out = torch.tensor(x), torch.empty(len(weights), dtype=torch.float64)
            for i, w in enumerate(weights):
                h = torch.as_tensor(phi(F.linear(h, torch.tensor(w)).numpy()))
                out[i] = h.std(unbiased=False)
            return out

        def verdict(stds):
            first, last = stds[0], stds[-1]
            if last < 0.1 * first:
                return "vanishing"
            return "exploding" if last > 10 * first else "ok"

    @right("recursion, the transpose written out, logarithms")
    class recursive:
        def activation_stds(x, weights, phi):
            if not weights:
                return np.zeros(0)
            h = phi(np.einsum("nj,ij->ni", x, weights[0]))
            return np.r_[np.sqrt(np.mean((h - h.mean()) ** 2)), recursion(h, weights[1:], phi)]

        def verdict(stds):
            r = stds[-1] / stds[0]
            return ["vanishing", "ok", "exploding"][int(not r < 0.1) + int(r > 10)]


def recursion(x, weights, phi):
    if not weights:
        return np.zeros(0)
    h = phi(x @ weights[0].T)
    return np.r_[h.std(), recursion(h, weights[1:], phi)]


# ------------------------------------------------------------------------------ torch's defaults


def bounds(submission, fan_in):
    weight, variance, bias = submission.torch_default(fan_in)
    return {"weight bound": float(weight), "weight variance": float(variance), "bias bound": float(bias)}


def bound_only(submission, fan_in):
    return float(submission.torch_default(fan_in)[0])


def variance_only(submission, fan_in):
    return float(submission.torch_default(fan_in)[1])


def bias_only(submission, fan_in):
    return float(submission.torch_default(fan_in)[2])


FAN_INS = [call(n) for n in (1, 3, 100, 4096, 784, 27)]


@exercise(
    "initialization.default-bounds",
    names="torch_default",
    covers=["initialization.torch-default", "initialization.q.torch"],
    rtol=1e-5,
    atol=0,
)
class DefaultBounds:
    def reference(fan_in):
        bound = 1 / math.sqrt(fan_in)
        return bound, bound**2 / 3, bound

    cases = {
        "weight bound": group(FAN_INS, probe=bound_only),
        "weight variance": group(FAN_INS, probe=variance_only),
        "bias bound": group(FAN_INS, probe=bias_only),
    }
    probe = bounds

    @trap("You used a = sqrt(5) as the gain. It is the slope of an imagined leaky ReLU: gain² = 2/(1 + a²) = 1/3.")
    def a_as_gain(fan_in):
        b = math.sqrt(5) * math.sqrt(3 / fan_in)
        return b, b * b / 3, 1 / math.sqrt(fan_in)

    @trap("Your variance is the square of the bound. A uniform draw on [-b, b] has a third of that: b²/3.")
    def variance_is_square(fan_in):
        b = 1 / math.sqrt(fan_in)
        return b, b * b, b

    @trap("The width of [-b, b] is 2b, so its variance (2b)²/12 is b²/3, not b²/12.")
    def variance_of_half_width(fan_in):
        b = 1 / math.sqrt(fan_in)
        return b, b * b / 12, b

    @trap("Your second number is a standard deviation, b/sqrt(3). Asked is the variance, b²/3.")
    def std_for_variance(fan_in):
        b = 1 / math.sqrt(fan_in)
        return b, b / math.sqrt(3), b

    @trap("Torch's biases do not start at 0: nn.Linear draws them from U(-1/sqrt(fan_in), 1/sqrt(fan_in)).")
    def zero_bias(fan_in):
        b = 1 / math.sqrt(fan_in)
        return b, b * b / 3, 0.0

    @trap("This is LeCun's 1/fan_in. The default is smaller than every textbook rule: 1/(3 fan_in).")
    def lecun(fan_in):
        return math.sqrt(3 / fan_in), 1 / fan_in, 1 / math.sqrt(fan_in)

    @trap("This is He, as if torch knew that a ReLU follows. It does not: a = sqrt(5) makes gain² = 1/3, six times below He's 2.")
    def he(fan_in):
        return math.sqrt(6 / fan_in), 2 / fan_in, 1 / math.sqrt(fan_in)

    @trap("In the gain the slope is squared: gain² = 2/(1 + a²), and a² is 5.")
    def slope_not_squared(fan_in):
        b = math.sqrt(2 / (1 + math.sqrt(5))) * math.sqrt(3 / fan_in)
        return b, b * b / 3, 1 / math.sqrt(fan_in)

    @trap(
        "Your bound is sqrt(3) too small. Either gain² = 1/3 went in without its root, or you stopped at the standard deviation gain/sqrt(fan_in)."
    )
    def gain_squared(fan_in):
        b = (2 / 6) * math.sqrt(3 / fan_in)
        return b, b * b / 3, 1 / math.sqrt(fan_in)

    @trap("The bounds are 1/sqrt(fan_in); you left out the root.")
    def no_root(fan_in):
        return 1 / fan_in, 1 / (3 * fan_in**2), 1 / fan_in

    @trap("Your weight bound is 1/fan_in; you left out the root. The bound is 1/sqrt(fan_in).")
    def no_root_in_the_weight_bound(fan_in):
        return 1 / fan_in, 1 / (3 * fan_in), 1 / math.sqrt(fan_in)

    @right("step by step from the formula")
    def stepwise(fan_in):
        a = np.sqrt(5)
        gain = np.sqrt(2 / (1 + a**2))
        std = gain / np.sqrt(fan_in)
        return np.sqrt(3) * std, std**2, 1 / np.sqrt(fan_in)

    @right("with torch's gain")
    def with_torch(fan_in):
        bound = nn.init.calculate_gain("leaky_relu", math.sqrt(5)) * (3 / fan_in) ** 0.5
        return [bound, (2 * bound) ** 2 / 12, fan_in**-0.5]


# ------------------------------------------------------------------------------ prior biases


def as_probabilities(bias):
    b = np.asarray(bias, dtype=float)
    e = np.exp(b - b.max())
    return e / e.sum()


def probabilities(submission, counts):
    return as_probabilities(submission.softmax_prior(counts)[0])


def start_loss(submission, counts):
    return float(submission.softmax_prior(counts)[1])


def logit(submission, n_pos, n_neg):
    return float(submission.sigmoid_prior(n_pos, n_neg))


COUNTS = [call(np.array(c)) for c in ([5, 5, 5], [90, 9, 1], [1, 999], [7, 3, 2, 8], [1, 1], [1, 2, 4, 8, 16, 9969], [6, 4, 4, 90, 2])]
COUNTS += [call(np.array([1, 999_999]))]


@exercise(
    "initialization.output-bias",
    names="softmax_prior sigmoid_prior",
    covers=["initialization.output-layer", "initialization.q.output"],
    rtol=1e-4,
    atol=1e-6,
)
class OutputBias:
    class reference:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p), -np.sum(p * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    cases = {
        "softmax bias": group(COUNTS, probe=probabilities),
        "loss at the start": group(COUNTS, probe=start_loss),
        "sigmoid bias": group([call(p, n) for p, n in ((1, 99), (50, 50), (3, 1), (1, 9999), (999, 1), (2, 7), (1, 999_999))], probe=logit),
    }

    @trap("Your bias is the probability itself, and softmax of that is nearly uniform. Softmax exponentiates: the bias is log p.")
    class bias_is_p:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return p, -np.sum(p * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("The sign of the softmax bias is turned: rare classes get the large probability. The bias is +log p.")
    class minus_log:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return -np.log(p), -np.sum(p * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("Zero biases and ln C suit balanced classes only. With counts 1 : 999 the loss can start at 0.008 instead of 0.693.")
    class uniform:
        def softmax_prior(counts):
            return np.zeros(len(counts)), math.log(len(counts))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("The bias is right, the loss is not: ln C holds for uniform predictions. Here it is the entropy of the class frequencies.")
    class loss_ln_c:
        def softmax_prior(counts):
            return np.log(counts / counts.sum()), math.log(len(counts))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("You averaged -log p over the classes. The loss averages over samples, so each class counts with its frequency.")
    class unweighted_mean:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p), -np.mean(np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("You gave each class its logit log(p/(1-p)). That is right for a sigmoid; a softmax has log p.")
    class logits_for_softmax:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p / (1 - p)), -np.sum(p * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("You summed -log p over the classes. Each class counts with its frequency: -sum p log p.")
    class unweighted_sum:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p), -np.sum(np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("You summed the loss over all samples. Asked is the mean: divide by their number, which leaves the frequencies, -sum p log p.")
    class summed_over_samples:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p), -np.sum(counts * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("You averaged p log p over the classes. The p are the weights already: add the terms up.")
    class divided_by_classes:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p), -np.mean(p * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("Your loss is in bits. Cross-entropy uses the natural logarithm.")
    class bits:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p), -np.sum(p * np.log2(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("The sign of the loss is missing: an entropy is positive, log p is negative.")
    class negative_loss:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p), np.sum(p * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / n_neg)

    @trap("log p is the bias of a softmax. The sigmoid of it is p/(1+p); its inverse is the logit log(p/(1-p)) = log(n_pos/n_neg).")
    class log_p_for_sigmoid:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p), -np.sum(p * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_pos / (n_pos + n_neg))

    @trap("The logit is upside down: rare positives need a negative bias, log(n_pos/n_neg).")
    class turned_logit:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p), -np.sum(p * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return math.log(n_neg / n_pos)

    @trap("This is the positive rate. The bias is what the sigmoid turns INTO the rate: log(p/(1-p)).")
    class rate:
        def softmax_prior(counts):
            p = counts / counts.sum()
            return np.log(p), -np.sum(p * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            return n_pos / (n_pos + n_neg)

    @trap("You clip small probabilities, so a rare class starts too likely. No count is 0: take the logarithm of p as it is.")
    class rare_classes_clipped:
        def softmax_prior(counts):
            p = np.clip(counts / counts.sum(), 1e-4, 1)
            return np.log(p), -np.sum(p * np.log(p))

        def sigmoid_prior(n_pos, n_neg):
            p = min(max(n_pos / (n_pos + n_neg), 1e-4), 1 - 1e-4)
            return math.log(p / (1 - p))

    @right("log counts: a constant does not matter to softmax")
    class log_counts:
        def softmax_prior(counts):
            total = sum(counts)
            return np.log(counts), float(sum(-c / total * math.log(c / total) for c in counts))

        def sigmoid_prior(n_pos, n_neg):
            p = n_pos / (n_pos + n_neg)
            return math.log(p) - math.log1p(-p)

    @right("in torch, with its own cross-entropy")
    class in_torch:
        def softmax_prior(counts):
            c = torch.as_tensor(counts, dtype=torch.float64)
            bias = (c / c.sum()).log()
            return bias - bias.mean(), F.cross_entropy(bias[None], (c / c.sum())[None])

        def sigmoid_prior(n_pos, n_neg):
            return torch.logit(torch.tensor(n_pos / (n_pos + n_neg), dtype=torch.float64))


# ------------------------------------------------------------------------------ orthogonal


def inner_products(submission, G):
    Q = np.asarray(submission.orthogonal_from(G), dtype=float)
    v = np.cos(np.arange(len(Q)))
    return {"Q^T Q": Q.T @ Q, "length after 100 products": float(np.linalg.norm(np.linalg.matrix_power(Q, 100) @ v))}


def triangle(submission, G):
    R = np.asarray(submission.orthogonal_from(G), dtype=float).T @ G
    return {"signs of the diagonal": np.sign(np.diag(R)), "below the diagonal": np.tril(R, -1)}


def qr_signed(G):
    Q, R = np.linalg.qr(G)
    return Q * np.sign(np.diag(R))


SQUARES = [
    call(G) for G in (np.array([[-2.0]]), np.array([[0.5]]), *(normal((n, n), 1.0, n) for n in (2, 3, 5, 30)), normal((4, 4), 10.0, 2))
]
SQUARES += [call(1e-4 * normal((3, 3), 1.0, 33))]  # no sign is too small to count


@exercise(
    "initialization.orthogonal-qr",
    names="orthogonal_from",
    covers=["initialization.orthogonal", "initialization.q.orthogonal"],
    forbid=["torch.nn.init"],
    rtol=1e-6,
    atol=1e-7,
)
class OrthogonalQr:
    def reference(G):
        return qr_signed(G)

    cases = {
        "values": SQUARES + [call(normal((5, 5), 1.0, 31)), call(np.array([[0.0, -3.0], [2.0, 1.0]]))],
        "orthogonal": group(SQUARES, probe=inner_products),
        "signs": group(SQUARES, probe=triangle),
    }

    @trap("You flipped rows. The signs belong to the columns of Q: Q * s scales columns, s[:, None] * Q scales rows.")
    def rows_flipped(G):
        Q, R = np.linalg.qr(G)
        return np.sign(np.diag(R))[:, None] * Q

    @trap("Columns of length one are not yet orthogonal to each other, so lengths drift. Use QR.")
    def unit_columns(G):
        return G / np.linalg.norm(G, axis=0)

    @trap("Dividing by the largest singular value leaves the others below 1, and vectors shrink. All of them must be 1: use QR.")
    def spectral(G):
        return G / np.linalg.norm(G, 2)

    @trap("The signs are the wrong way round: the diagonal of Q^T G must be positive.")
    def opposite(G):
        return -qr_signed(G)

    @trap("Library QR leaves the signs of the columns open. Flip them so that the diagonal of R is positive.")
    def no_signs(G):
        return np.linalg.qr(G)[0]

    @trap("You returned R, the triangular factor. Q is the orthogonal one.")
    def returns_r(G):
        return np.linalg.qr(G)[1]

    @trap("U V^T of the SVD is orthogonal, but it is another matrix: Q^T G is not triangular. Asked is the Q of QR.")
    def polar(G):
        U, _, Vt = np.linalg.svd(G)
        return U @ Vt

    @trap("You returned the transpose of Q: its rows, not its columns, come from G.")
    def transposed(G):
        return qr_signed(G).T

    @trap("This is the Q of G^T, turned round: its rows come from the rows of G. Decompose G itself.")
    def qr_of_the_transpose(G):
        return qr_signed(G.T).T

    @trap("You divided each row by its length. Rows of length one are not yet orthogonal: use QR.")
    def unit_rows(G):
        return G / np.linalg.norm(G, axis=1, keepdims=True)

    @trap("You made the determinant positive, which fixes one sign of n. Every entry on the diagonal of R = Q^T G must be positive.")
    def determinant(G):
        Q = np.linalg.qr(G)[0]
        if np.linalg.det(Q) < 0:
            Q[:, 0] *= -1
        return Q

    @trap("You made the diagonal of Q positive. The condition is on the diagonal of R = Q^T G.")
    def diagonal_of_q(G):
        Q, _ = np.linalg.qr(G)
        return Q * np.where(np.diag(Q) < 0, -1.0, 1.0)

    @trap("You multiplied the columns by the diagonal of R itself, and they are no longer of length one. Use its signs only.")
    def diagonal_instead_of_signs(G):
        Q, R = np.linalg.qr(G)
        return Q * np.diag(R)

    @right("Gram-Schmidt, column by column")
    def gram_schmidt(G):
        columns = []
        for g in G.T:
            for _ in range(2):
                for q in columns:
                    g = g - (q @ g) * q
            columns.append(g / np.linalg.norm(g))
        return np.stack(columns, axis=1)

    @right("from the Cholesky factor")
    def cholesky(G):
        return G @ np.linalg.inv(np.linalg.cholesky(G.T @ G).T)

    @right("torch, signs from Q^T G")
    def in_torch(G):
        g = torch.from_numpy(G.copy())
        q = torch.linalg.qr(g).Q
        return (q @ torch.diag(torch.sign(torch.diagonal(q.T @ g)))).numpy()


# ------------------------------------------------------------------------------ repair: symmetry


def whole_mlp(submission, sizes, bits, seed):
    weights, biases = submission.init_mlp(sizes, generator(bits, seed))
    return {"weights": [np.asarray(w, dtype=float) for w in weights], "biases": [np.asarray(b, dtype=float) for b in biases]}


def mlp_again(submission, sizes, bits, seed):
    first, again, other = (submission.init_mlp(list(sizes), generator(bits, s))[0] for s in (seed, seed, seed + 1))
    rng = generator(bits, seed)
    in_a_row = [submission.init_mlp(list(sizes), rng)[0] for _ in range(2)]
    return [[np.asarray(w, dtype=float) for w in weights] for weights in (first, again, other, *in_a_row)]


def wrong_shapes(weights, sizes):
    shapes = [w.shape for w in weights]
    wanted = [(o, i) for i, o in zip(sizes, sizes[1:])]
    return None if shapes == wanted else f"The weights have the shapes {shapes}, not {wanted}."


def judge_mlp(net, sizes, bits, seed):
    problem = wrong_shapes(net["weights"], sizes)
    if problem:
        return problem
    if [b.shape for b in net["biases"]] != [(o,) for o in sizes[1:]]:
        return "The biases must have one entry per unit of their layer."
    for w, fan_in in zip(net["weights"], sizes):
        s = statistics(w)
        if s["std"] and (w == w[:, :1]).all():
            return "Within a unit all weights are one number."
        problem = spread_problem(s, math.sqrt(2 / fan_in), "a weight matrix") or kind_problem(s, "normal", "a weight matrix")
        if problem:
            return problem
    return True


def judge_symmetry(net, sizes, bits, seed):
    weights = net["weights"]
    if any(w.ndim != 2 for w in weights):
        return wrong_shapes(weights, sizes)
    if len(weights) != len(sizes) - 1:
        return f"There are {len(weights)} weight matrices, not {len(sizes) - 1}."
    if any(equal_rows(w) for w in weights):
        zero = not any(w.any() for w in weights)
        return "All weights are zero, hence equal." if zero else "Two units of a layer have the same weights: they stay copies for ever."
    if equal_layers(weights):
        return "Two layers of equal shape have the same weights: they come from the same draws."
    return True


def judge_biases(net, sizes, bits, seed):
    if [b.shape for b in net["biases"]] != [(o,) for o in sizes[1:]]:
        return "The biases must have one entry per unit of their layer."
    if any(b.any() for b in net["biases"]):
        return "Biases should start at 0; these do not."
    return judge_symmetry(net, sizes, bits, seed)


def judge_mlp_again(nets, sizes, bits, seed):
    first, again, other, *in_a_row = nets
    if len(first) != len(sizes) - 1:
        return f"There are {len(first)} weight matrices, not {len(sizes) - 1}."
    if not all(np.array_equal(a, b) for a, b in zip(first, again)):
        return "Two generators in the same state gave different weights: every draw has to come from rng."
    if any(np.array_equal(a, b) for a, b in zip(first, other)):
        return "Generators in different states gave the same weights: the draws do not come from rng."
    if any(np.array_equal(a, b) for a, b in zip(*in_a_row)):
        return "Two nets in a row from one rng got the same weights: the draws leave rng where it was."
    return True


MLPS = [([150, 240, 240, 240, 40], "PCG64", 1), ([400, 90, 90], "Philox", 2), ([64, 320, 110], "MT19937", 3)]
MLPS += [([300, 150], "SFC64", 9), ([20, 3000, 1], "PCG64", 10)]  # so wide that a single unit's weights show how they were drawn


def mlp(sizes, weight, bias=np.zeros):
    return [weight(o, i) for i, o in zip(sizes, sizes[1:])], [bias(o) for o in sizes[1:]]


@exercise(
    "initialization.fix-symmetry",
    names="init_mlp",
    covers=["initialization.symmetry", "initialization.biases-zero", "initialization.he", "initialization.q.constant"],
    seconds=20,
)
class FixSymmetry:
    def reference(sizes, rng):
        return mlp(sizes, lambda o, i: rng.normal(0, math.sqrt(2 / i), (o, i)))

    probe = whole_mlp

    cases = {
        "weights": group([call(*m) for m in MLPS], accept=judge_mlp),
        "different units": group([call(*m) for m in MLPS] + [call([3, 2, 2, 2], "SFC64", 4)], accept=judge_symmetry),
        "generator": group([call([5, 4, 3], "PCG64", 5), call([6, 6, 6, 2], "Philox", 6)], probe=mlp_again, accept=judge_mlp_again),
        "biases": group([call(*m) for m in MLPS] + [call([2, 3], "PCG64", 7), call([4, 1], "PCG64", 8)], accept=judge_biases),
    }

    @trap("Another constant is still a constant: equal weights get equal gradients. Draw random weights.")
    def other_constant(sizes, rng):
        return mlp(sizes, lambda o, i: np.full((o, i), math.sqrt(2 / i)))

    @trap("Zero is a constant as well, and with ReLU no weight gets any gradient at all. Draw random weights.")
    def zeros(sizes, rng):
        return mlp(sizes, lambda o, i: np.zeros((o, i)))

    @trap("Layers of equal shape got the same weights: they share their draws. Draw every layer anew, from the rng that was passed in.")
    def seed_in_the_loop(sizes, rng):
        return mlp(sizes, lambda o, i: np.random.default_rng(0).normal(0, math.sqrt(2 / i), (o, i)))

    @trap("A generator of your own, with a fixed seed: the rng that was passed in has no effect. Draw from it.")
    def own_seed(sizes, rng):
        mine = np.random.default_rng(0)
        return mlp(sizes, lambda o, i: mine.normal(0, math.sqrt(2 / i), (o, i)))

    @trap("You draw from NumPy's global generator, so the same rng gives other weights each time. Draw from rng.")
    def global_generator(sizes, rng):
        return mlp(sizes, lambda o, i: np.random.randn(o, i) * math.sqrt(2 / i))

    @trap("Your weights are not centred at 0 (rng.random, for one, is uniform on [0, 1)). Draw with mean 0: rng.normal.")
    def all_positive(sizes, rng):
        return mlp(sizes, lambda o, i: rng.random((o, i)) * math.sqrt(2 / i))

    @trap("Random biases are not the repair: they hide the tie in the outputs, but the weights are still equal. Draw the weights.")
    def random_biases(sizes, rng):
        return mlp(sizes, lambda o, i: np.full((o, i), 0.01), lambda o: rng.normal(0, 0.1, o))

    @trap("The weights break the tie on their own. Leave the biases at 0.")
    def biases_too(sizes, rng):
        return mlp(sizes, lambda o, i: rng.normal(0, math.sqrt(2 / i), (o, i)), lambda o: rng.normal(0, 0.01, o))

    @trap("Your spread is 2 / fan_in: that is the variance. rng.normal takes the standard deviation, its root.")
    def variance_as_std(sizes, rng):
        return mlp(sizes, lambda o, i: rng.normal(0, 2 / i, (o, i)))

    @trap("You divided by fan_out. He divides by fan_in, the number of columns of the (out, in) matrix.")
    def fan_out(sizes, rng):
        return mlp(sizes, lambda o, i: rng.normal(0, math.sqrt(2 / o), (o, i)))

    @trap("A fixed spread such as 0.01 breaks the tie, but the signal dies with depth. He: standard deviation sqrt(2 / fan_in).")
    def fixed_spread(sizes, rng):
        return mlp(sizes, lambda o, i: rng.normal(0, 0.01, (o, i)))

    @trap("This is LeCun's spread, 1 / fan_in. The net uses ReLU, which removes half: variance 2 / fan_in.")
    def lecun(sizes, rng):
        return mlp(sizes, lambda o, i: rng.normal(0, math.sqrt(1 / i), (o, i)))

    @trap("This is Xavier's spread, with both fans. The net uses ReLU: variance 2 / fan_in.")
    def xavier(sizes, rng):
        return mlp(sizes, lambda o, i: rng.normal(0, math.sqrt(2 / (i + o)), (o, i)))

    @trap("Weights from N(0, 1) grow the signal by sqrt(fan_in / 2) in every layer. Scale them by sqrt(2 / fan_in).")
    def unscaled(sizes, rng):
        return mlp(sizes, lambda o, i: rng.standard_normal((o, i)))

    @trap("The variance is right, the distribution is not: He-normal asks for normal draws.")
    def uniform(sizes, rng):
        return mlp(sizes, lambda o, i: rng.uniform(-math.sqrt(6 / i), math.sqrt(6 / i), (o, i)))

    @trap("Your matrices are (in, out). The task stores them as torch does, (out, in).")
    def turned(sizes, rng):
        return mlp(sizes, lambda o, i: rng.normal(0, math.sqrt(2 / i), (i, o)))

    @trap("Units of a layer share a random row, so they are still copies of each other. Draw the whole (out, in) matrix.")
    def same_row(sizes, rng):
        return mlp(sizes, lambda o, i: np.tile(rng.normal(0, math.sqrt(2 / i), i), (o, 1)))

    @trap("Every unit has one number for all of its inputs. Draw every entry of the (out, in) matrix on its own.")
    def one_number_per_unit(sizes, rng):
        return mlp(sizes, lambda o, i: np.tile(rng.normal(0, math.sqrt(2 / i), (o, 1)), (1, i)))

    @trap(
        "All layers have the same spread, 0.1 as in the example. It depends on the layer: sqrt(2 / fan_in), and 0.1 fits fan_in = 200 alone."
    )
    def spread_of_the_example(sizes, rng):
        return mlp(sizes, lambda o, i: rng.normal(0, 0.1, (o, i)))

    @trap("Your loop empties the caller's list. Pair the widths without removing them: zip(sizes, sizes[1:]).")
    def pops_sizes(sizes, rng):
        weights, biases = [], []
        while len(sizes) > 1:
            i = sizes.pop(0)
            weights.append(rng.normal(0, math.sqrt(2 / i), (sizes[0], i)))
            biases.append(np.zeros(sizes[0]))
        return weights, biases

    @trap("You draw from a copy of rng, which itself stays where it was: the next net gets the same weights. Draw from rng.")
    def copies_the_generator(sizes, rng):
        twin = copy.deepcopy(rng)
        return mlp(sizes, lambda o, i: twin.normal(0, math.sqrt(2 / i), (o, i)))

    @right("a plain loop with standard_normal")
    def loop(sizes, rng):
        weights, biases = [], []
        for k in range(1, len(sizes)):
            weights.append(rng.standard_normal((sizes[k], sizes[k - 1])) * np.sqrt(2 / sizes[k - 1]))
            biases.append(np.zeros(sizes[k]))
        return weights, biases

    @right("unit by unit, in tuples, float32")
    def units(sizes, rng):
        pairs = list(zip(sizes[:-1], sizes[1:]))
        rows = [[rng.normal(scale=(2 / i) ** 0.5, size=i) for _ in range(o)] for i, o in pairs]
        return tuple(np.array(r, dtype=np.float32) for r in rows), tuple(np.zeros((o,), np.float32) for _, o in pairs)

    @right("seeds torch from the generator")
    def through_torch(sizes, rng):
        t = torch.Generator().manual_seed(int(rng.integers(2**31)))
        return mlp(sizes, lambda o, i: (torch.randn(o, i, generator=t) * (2 / i) ** 0.5).numpy())


# ------------------------------------------------------------------------------ models in torch
# These builders travel to the learner's process: they contain no initializer. The judge builds the same model again, so a probe
# has to bring back only what is in the model afterwards; what was there before, and every statistic, is the judge's own.


def shaken(model, seed):
    """The model with norm layers that are not at their defaults, so that a reset of them shows."""
    torch.manual_seed(seed)
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.uniform_(m.bias, -0.5, 0.5)
        if isinstance(m, nn.BatchNorm2d):
            shake_statistics(m)
    return model


def shake_statistics(norm):
    nn.init.uniform_(norm.running_mean, -0.5, 0.5)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    norm.num_batches_tracked.fill_(7)


def relu_model(kind, seed):
    """(model, head): the head is not the last linear layer, and another one has its shape."""
    torch.manual_seed(seed)
    head = nn.Linear(90, 60)
    if kind == "flat":
        parts = [nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 200), nn.LayerNorm(200), nn.ReLU(), nn.Linear(200, 90), nn.ReLU(), head]
        model = nn.Sequential(*parts, nn.ReLU(), nn.Linear(60, 90), nn.ReLU(), nn.Linear(90, 60))
    elif kind == "nested":
        inner = nn.Sequential(nn.Linear(250, 160), nn.LayerNorm(160), nn.Sequential(nn.ReLU(), nn.Linear(160, 160)))
        pre, second = nn.Sequential(nn.Linear(160, 90), nn.ReLU()), nn.Sequential(nn.ReLU(), nn.Linear(90, 60))
        tail = nn.ModuleDict({"pre": pre, "classifier": nn.Sequential(nn.Dropout(0.1), head), "second": second})
        model = nn.ModuleDict(
            {"table": nn.Embedding(50, 250), "body": nn.ModuleList([nn.Sequential(inner), nn.Linear(160, 160, bias=False)]), "tail": tail}
        )
    else:
        convs = [nn.Conv2d(16, 48, 5, bias=False), nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 90, (3, 5))]
        model = nn.Sequential(
            nn.Sequential(*convs), nn.BatchNorm2d(90), nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(90, 90), nn.ReLU())), head
        )
        model.append(nn.Sequential(nn.ReLU(), nn.Conv1d(12, 20, 3), nn.Linear(60, 90), nn.Linear(90, 60, bias=False)))
    return shaken(model, seed), head


def state_of(model):
    return {name: v.detach().numpy().copy() for name, v in model.state_dict().items()}


def initialized(submission, kind, seed):
    model, head = relu_model(kind, seed)
    returned = submission.init_model(model, head)
    return {
        "state": state_of(model),
        "returns the model": returned is model,
        "training mode": all(m.training for m in model.modules()),
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
    }


@cache
def relu_before(kind, seed):
    """The model as the learner gets it: its state, its modules by name and the head's name."""
    with torch.random.fork_rng(devices=[]):
        model, head = relu_model(kind, seed)
    modules = dict(model.named_modules())
    return state_of(model), modules, next(name for name, m in modules.items() if m is head)


def changed(before, after):
    """The names of what a function left different."""
    return [name for name, v in before.items() if name not in after or not np.array_equal(v, after[name])]


def norms_problem(before, after, modules):
    """What happened to norm layers, part by part, or None."""
    norms = [name for name, m in modules.items() if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm))]
    parts = dict.fromkeys(key.rpartition(".")[2] for key in changed(before, after) if key.rpartition(".")[0] in norms)
    fates = []
    for part in parts:
        now = np.concatenate([np.ravel(after[f"{n}.{part}"]) for n in norms if f"{n}.{part}" in after])
        fates.append(f"{part} is now {'zero' if not now.any() else 'one' if (now == 1).all() else 'another'}")
    return f"A norm layer was changed: {', '.join(fates)}." if fates else None


def no_longer_that_model(s, before):
    """Why there is nothing to measure: the model was left alone and another given back, or it has other parameters now; or None."""
    if not changed(before, s["state"]) and not s["returns the model"]:
        return COPIED
    same = s["state"].keys() == before.keys() and all(s["state"][name].shape == v.shape for name, v in before.items())
    return None if same else "The model has other layers or parameters than before. Set the values of those that are there."


COPIED = "The model that was passed in is unchanged: you worked on a copy."


def judge_hidden(s, kind, seed):
    before, modules, head = relu_before(kind, seed)
    problem = no_longer_that_model(s, before)
    if problem:
        return problem
    hidden = {name: m for name, m in modules.items() if isinstance(m, (nn.Linear, nn.Conv2d)) and name != head}
    weights = [s["state"][f"{name}.weight"] for name in hidden]
    for (name, m), w in zip(hidden.items(), weights):
        what = f"the weights of a {type(m).__name__.replace('2d', '')} layer"
        if np.array_equal(w, before[f"{name}.weight"]):
            return f"{what.capitalize()}{' without a bias' if m.bias is None else ''} are what they were before the call."
        stats = statistics(w)
        problem = spread_problem(stats, math.sqrt(2 / w[0].size), what) or kind_problem(stats, "normal", what)
        if problem:
            return problem
    if equal_layers(weights):
        return "Two layers of equal shape got the same weights."
    return s["returns the model"] or "The function does not return the model that it was given."


def judge_model_biases(s, kind, seed):
    before, modules, head = relu_before(kind, seed)
    problem = no_longer_that_model(s, before)
    if problem:
        return problem
    biased = [name for name, m in modules.items() if isinstance(m, (nn.Linear, nn.Conv2d)) and m.bias is not None]
    open_ = [name for name in biased if s["state"][f"{name}.bias"].any()]
    if set(open_) - {head}:
        return "A bias of a hidden layer is not 0."
    if open_:
        return "The bias of the head is not 0."
    if s["frozen"]:
        weights = {f"{name}.weight" for name, m in modules.items() if isinstance(m, (nn.Linear, nn.Conv2d)) and name != head}
        return f"No longer trainable: {'weights of hidden layers' if weights & {*s['frozen']} else 'some parameters'}."
    return True


def judge_head(s, kind, seed):
    before, modules, head = relu_before(kind, seed)
    problem = no_longer_that_model(s, before)
    if problem:
        return problem
    w = s["state"][f"{head}.weight"]
    stats = statistics(w)
    if abs(stats["std"] / math.sqrt(2 / w.shape[1]) - 1) < 0.1:
        return "The head was drawn like a hidden layer."
    problem = spread_problem(stats, 0.01, "the weights of the head") or kind_problem(stats, "normal", "the weights of the head")
    problem = problem or norms_problem(before, s["state"], modules)
    if problem:
        return problem
    drawn_or_norm = (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.LayerNorm)
    if any(not isinstance(modules[key.rpartition(".")[0]], drawn_or_norm) for key in changed(before, s["state"])):
        return "A layer that is neither nn.Linear nor nn.Conv2d nor a norm layer was changed."
    return s["training mode"] or "The model is no longer in training mode."


def init_layers(model, head, weight, bias=nn.init.zeros_, head_std=0.01, found=None, head_bias=True):
    for m in model.modules() if found is None else found:
        if m is not head and isinstance(m, (nn.Linear, nn.Conv2d)):
            weight(m.weight)
            if m.bias is not None:
                bias(m.bias)
    if head_std:
        nn.init.normal_(head.weight, 0.0, head_std)
    if head_bias:
        nn.init.zeros_(head.bias)
    return model


def he(w):
    return nn.init.kaiming_normal_(w, nonlinearity="relu")


def he_with_one_seed(w):
    torch.manual_seed(0)
    return he(w)


MODELS = [call("flat", 1), call("nested", 2), call("convolutions", 3)]


@exercise(
    "initialization.init-model",
    names="init_model",
    covers=[
        "initialization.override",
        "initialization.biases-zero",
        "initialization.torch-default",
        "initialization.finetune",
        "initialization.remember",
    ],
    inplace=True,
    seconds=20,
)
class InitModel:
    def reference(model, head):
        return init_layers(model, head, he)

    probe = initialized

    cases = {
        "hidden weights": group(MODELS, accept=judge_hidden),
        "biases": group(MODELS, accept=judge_model_biases),
        "head and norms": group(MODELS, accept=judge_head),
    }

    @trap("model.children() sees the outermost layers only; nested ones keep torch's default. model.modules() recurses.")
    def children(model, head):
        return init_layers(model, head, he, found=list(model.children()))

    @trap('This is Xavier, too small behind a ReLU. Use kaiming_normal_(w, nonlinearity="relu").')
    def xavier(model, head):
        return init_layers(model, head, nn.init.xavier_normal_)

    @trap('The gain is missing: with nonlinearity="linear" the variance is 1/fan_in, half of what ReLU needs.')
    def linear_gain(model, head):
        return init_layers(model, head, lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"))

    @trap('You used fan_out. The task asks for the fan that keeps the forward signal: mode="fan_in".')
    def fan_out(model, head):
        return init_layers(model, head, lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"))

    @trap("The variance is right, but the draws are uniform. Asked is He-normal: kaiming_normal_.")
    def uniform(model, head):
        return init_layers(model, head, lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"))

    @trap("kaiming_normal_ takes a slope a, and you passed torch's sqrt(5): that is a gain of sqrt(1/3), not sqrt(2).")
    def root_five(model, head):
        return init_layers(model, head, lambda w: nn.init.kaiming_normal_(w, a=math.sqrt(5)))

    @trap("For convolutions you took the number of input channels for fan_in. Each output also sums over the kernel.")
    def kernel_forgotten(model, head):
        return init_layers(model, head, lambda w: nn.init.normal_(w, 0.0, math.sqrt(2 / w.shape[1])))

    @trap("The hidden biases are not 0. Left alone they keep torch's random default: set them to 0.")
    def biases_left(model, head):
        return init_layers(model, head, he, bias=lambda b: None)

    @trap('For convolutions you used fan_out, as torchvision does. The task asks for mode="fan_in", which keeps the forward signal.')
    def conv_fan_out(model, head):
        def weight(w):
            return nn.init.kaiming_normal_(w, mode="fan_out" if w.dim() == 4 else "fan_in", nonlinearity="relu")

        return init_layers(model, head, weight)

    @trap("Layers without a bias were left out: they kept the weights that they had. The question about the bias is for the bias alone.")
    def only_with_bias(model, head):
        drawn_kinds = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        return init_layers(model, head, he, found=[m for m in drawn_kinds if m.bias is not None])

    @trap("You froze the hidden layers. This task initializes them; all parameters still train.")
    def frozen(model, head):
        init_layers(model, head, he)
        for m in model.modules():
            if isinstance(m, (nn.Linear, nn.Conv2d)) and m is not head:
                m.weight.requires_grad_(False)
        return model

    @trap("You switched the model to evaluation mode. It stays in training mode.")
    def eval_mode(model, head):
        return init_layers(model, head, he).eval()

    @trap("Only nn.Linear was initialized; nn.Conv2d kept torch's default.")
    def linear_only(model, head):
        return init_layers(model, head, he, found=[m for m in model.modules() if isinstance(m, nn.Linear)])

    @trap("The norm layers were set to 0, and gamma = 0 blocks the signal. Leave them as they are.")
    def norms_zeroed(model, head):
        for m in model.modules():
            if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm)):
                nn.init.zeros_(m.weight)
                nn.init.zeros_(m.bias)
        return init_layers(model, head, he)

    @trap("You reset the weights of the norm layers to 1. They may carry learned values: leave them as they are.")
    def norm_weights_to_one(model, head):
        for m in model.modules():
            if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm)):
                nn.init.ones_(m.weight)
        return init_layers(model, head, he)

    @trap("You set the biases of the norm layers to 0 as well. Only those of nn.Linear and nn.Conv2d are asked for.")
    def every_bias(model, head):
        for name, p in model.named_parameters():
            if name.endswith("bias") and p.dim() == 1:
                owner = model.get_submodule(name.rpartition(".")[0])
                if not isinstance(owner, nn.Conv1d):
                    nn.init.zeros_(p)
        return init_layers(model, head, he)

    @trap("You reset norm layers to weight 1 and bias 0. They may carry learned values: leave them as they are.")
    def norms_reset(model, head):
        for m in model.modules():
            if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm)):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
        return init_layers(model, head, he)

    @trap("You reset norm layers to weight 1 and bias 0. They may carry learned values: leave them as they are.")
    def batch_norms_reset(model, head):
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
        return init_layers(model, head, he)

    @trap("The head got He weights like the rest. A new head starts small, N(0, 0.01²), so that it sends no large gradients back.")
    def head_like_the_rest(model, head):
        init_layers(model, head, he)
        he(head.weight)
        return model

    @trap("The head's 0.01 is a standard deviation, and you used 0.01² (a variance). normal_ takes the standard deviation.")
    def head_variance(model, head):
        return init_layers(model, head, he, head_std=0.01**2)

    @trap("The head's 0.01 is a standard deviation; you took it for the variance and drew its root, 0.1.")
    def head_root(model, head):
        return init_layers(model, head, he, head_std=0.1)

    @trap("You took the last linear layer for the head. The head is the module that is passed in, wherever it stands: compare with `is`.")
    def last_linear(model, head):
        return init_layers(model, [m for m in model.modules() if isinstance(m, nn.Linear)][-1], he, head_bias=False)

    @trap("You recognised the head by its sizes; another layer may have the same. Compare the modules themselves, with `is`.")
    def head_by_shape(model, head):
        init_layers(model, head, he)
        for m in model.modules():
            if isinstance(m, nn.Linear) and m.weight.shape == head.weight.shape:
                nn.init.normal_(m.weight, 0.0, 0.01)
        return model

    @trap(
        "You initialized every layer whose weight has two or more dimensions. Only nn.Linear and nn.Conv2d are asked for: use isinstance."
    )
    def every_matrix(model, head):
        for m in model.modules():
            if isinstance(getattr(m, "weight", None), torch.Tensor) and m.weight.dim() >= 2:
                he(m.weight)
                if getattr(m, "bias", None) is not None:
                    nn.init.zeros_(m.bias)
        return init_layers(model, head, he)

    @trap("A layer made with bias=False has m.bias = None, and your code fails on it. Ask first whether there is a bias.")
    def missing_bias(model, head):
        for m in model.modules():
            if isinstance(m, (nn.Linear, nn.Conv2d)):
                he(m.weight)
                nn.init.zeros_(m.bias)
        return init_layers(model, head, he)

    @trap("You set a seed before every layer: layers of equal shape become identical. Do not seed inside the function.")
    def seeds_each_layer(model, head):
        return init_layers(model, head, he_with_one_seed)

    @trap("2 / fan_in is the variance of the hidden weights. normal_ takes the standard deviation, its root.")
    def variance_as_std(model, head):
        return init_layers(model, head, lambda w: nn.init.normal_(w, 0.0, 2 / w[0].numel()))

    @trap("The head's bias is not 0. Left alone it keeps torch's random default: set it to 0 like the others.")
    def head_bias_left(model, head):
        return init_layers(model, head, he, head_bias=False)

    @trap("You left the head as it was. It gets weights from N(0, 0.01²) and bias 0.")
    def head_left(model, head):
        return init_layers(model, head, he, head_std=None, head_bias=False)

    @trap("You worked on a copy, and the model that was passed in is unchanged. Work in place and return the model itself.")
    def on_a_copy(model, head):
        twin = copy.deepcopy({"model": model, "head": head})
        return init_layers(twin["model"], twin["head"], he)

    @right("model.apply, written out by hand")
    def by_apply(model, head):
        @torch.no_grad()
        def one(m):
            if isinstance(m, (nn.Linear, nn.Conv2d)):
                std = 0.01 if m is head else (2 / m.weight[0].numel()) ** 0.5
                m.weight.copy_(torch.randn_like(m.weight) * std)
                if m.bias is not None:
                    m.bias.zero_()

        return model.apply(one)

    @right("recursion over children, .data")
    def recursion(model, head):
        he_recursively(model)
        head.weight.data.normal_(0, 0.01)
        return model


def he_recursively(module):
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        module.weight.data = torch.empty_like(module.weight).normal_(0, math.sqrt(2 / math.prod(module.weight.shape[1:])))
        if module.bias is not None:
            module.bias.data.fill_(0)
    for child in module.children():
        he_recursively(child)


# ------------------------------------------------------------------------------ zero-init of residual branches


class RB(nn.Module):
    """As in the notebook; the probe takes the learner's own where there is one."""

    def __init__(self, channels):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        return x + self.branch(x)


def residual_model(block, kind, seed):
    torch.manual_seed(seed)
    if kind == "a block":
        model = block(3)
    elif kind == "flat":
        model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), block(4), block(4), nn.BatchNorm2d(4))
    else:
        stage = nn.Sequential(block(5), nn.Sequential(block(5), nn.Sequential(block(5), nn.ReLU())))
        model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5)), stage, nn.Conv2d(5, 2, 1), nn.BatchNorm2d(2))
    blocks = [m for m in model.modules() if isinstance(m, block)]
    inside = [m for b in blocks for m in b.branch]
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            if m not in inside:
                nn.init.uniform_(m.bias, -0.5, 0.5)
            shake_statistics(m)
    return model, blocks, torch.randn(4, 3, 5, 6)


def residual_parts(submission, kind, seed):
    model = residual_model(getattr(submission, "RB", RB), kind, seed)[0]
    returned = submission.zero_init_residual(model)
    waiting = residual_model(getattr(submission, "RB", RB), kind, seed)[0].eval()
    submission.zero_init_residual(waiting)
    return {
        "state": state_of(model),
        "returns the model": returned is model,
        "training mode": all(m.training for m in model.modules()),
        "evaluation mode": not any(m.training for m in waiting.modules()),
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
    }


def residual_copy(kind, seed, state=None):
    """The judge's own model, with the learner's state where one is given; its blocks and an input."""
    with torch.random.fork_rng(devices=[]):
        model, blocks, x = residual_model(RB, kind, seed)
    if state is not None:
        model.load_state_dict({name: torch.tensor(v) for name, v in state.items()})
    return model, blocks, x


@torch.no_grad()
def stuck(kind, seed, state):
    """In how many blocks a move of the last gamma does not show in the model's output, so that it gets no gradient."""
    model, blocks, x = residual_copy(kind, seed, state)
    y, count = model(x), 0
    for gamma in (b.branch[4].weight for b in blocks):
        before = gamma.clone()
        gamma += 0.5
        count += not bool((model(x) - y).abs().max() > 1e-3)
        gamma.copy_(before)
    return count


@torch.no_grad()
def still_open(kind, seed, state):
    """How many blocks do not return their input bit for bit."""
    _, blocks, _ = residual_copy(kind, seed, state)
    inputs = [torch.arange(480.0).cos().reshape(4, 1, 10, 12).repeat(1, b.branch[0].in_channels, 1, 1) for b in blocks]
    return sum(not torch.equal(b(z), z) for b, z in zip(blocks, inputs))


PARTS = {
    "branch.0.weight": "The first convolution of a branch",
    "branch.1.weight": "The weight of the first BatchNorm of a branch",
    "branch.1.bias": "The bias of the first BatchNorm of a branch",
    "branch.3.weight": "The last convolution of a branch",
    "branch.4.bias": "The bias of the last BatchNorm of a branch",
    "running_mean": "The running statistics of a BatchNorm",
}


def judge_residual(s, kind, seed):
    model, blocks, _ = residual_copy(kind, seed)
    before = state_of(model)
    problem = no_longer_that_model(s, before)
    if problem:
        return problem
    found, n, problems = changed(before, s["state"]), len(blocks), []
    besides = [k for k in found if not k.endswith("branch.4.weight")]
    for part, words in PARTS.items():
        if any(k.endswith(part) for k in besides):
            problems.append(f"{words} was changed.")
    if any(not k.endswith(tuple(PARTS)) for k in besides):
        problems.append(f"Only the last norm of a branch may change; changed was also {besides[0]}.")
    not_zero = sum(bool(v.any()) for k, v in s["state"].items() if k.endswith("branch.4.weight"))
    if not_zero:
        problems.append(f"In {not_zero} of {n} blocks the weight of the last BatchNorm is not exactly 0.")
    opened = still_open(kind, seed, s["state"])
    if opened:
        problems.append(f"{opened} of {n} blocks do not return their input bit for bit.")
    if s["frozen"]:
        problems.append(f"No longer trainable: {', '.join(s['frozen'])}.")
    if not s["training mode"]:
        problems.append("The model is no longer in training mode.")
    if not s["evaluation mode"]:
        problems.append("A model that came in evaluation mode is no longer in it.")
    closed = stuck(kind, seed, s["state"])
    if closed and not problems[1:]:
        problems.append(f"In {closed} of {n} blocks the closed weight gets no gradient.")
    if not s["returns the model"]:
        problems.append("The function does not return the model that it was given.")
    return " ".join(problems) or True


def close_children(model):
    for child in model.children():
        if hasattr(child, "branch"):
            nn.init.zeros_(child.branch[-1].weight)
        else:
            close_children(child)


def branch_norms(model):
    return [[m for m in b.branch if isinstance(m, nn.BatchNorm2d)] for b in model.modules() if hasattr(b, "branch")]


@exercise(
    "initialization.zero-init-residual",
    names="zero_init_residual",
    covers=["initialization.residual-zero", "initialization.q.deep-residual", "initialization.remember"],
    inplace=True,
)
class ZeroInitResidual:
    def reference(model):
        for norms in branch_norms(model):
            nn.init.zeros_(norms[-1].weight)
        return model

    probe = residual_parts

    cases = {
        "one block": group([call("a block", 1), call("a block", 2)], accept=judge_residual),
        "flat model": group([call("flat", 3)], accept=judge_residual),
        "nested model": group([call("nested", 4), call("nested", 5)], accept=judge_residual),
    }

    @trap(
        "You closed every gamma of the branch. With the first at 0 the branch sees a constant, and the last gets no gradient: stuck. Only the last."
    )
    def all_gammas(model):
        for norms in branch_norms(model):
            for m in norms:
                nn.init.zeros_(m.weight)
        return model

    @trap("You closed the first norm: the branch is cut at its entrance. Close the last one.")
    def first_gamma(model):
        for norms in branch_norms(model):
            nn.init.zeros_(norms[0].weight)
        return model

    @trap(
        "A last gamma is still open, and nothing else closes a branch: beta, for one, is 0 already and only shifts. Set the weight of the last norm to 0."
    )
    def beta(model):
        for norms in branch_norms(model):
            nn.init.zeros_(norms[-1].bias)
        return model

    @trap("You zeroed convolution weights. Keep the random weights and close the branch behind them, with the last gamma.")
    def conv_weights(model):
        for b in model.modules():
            if hasattr(b, "branch"):
                nn.init.zeros_(b.branch[3].weight)
        return model

    @trap("You zeroed the convolution weights of the branch. Keep them random and close the branch behind them, with the last gamma alone.")
    def both_convs(model):
        for b in model.modules():
            if hasattr(b, "branch"):
                nn.init.zeros_(b.branch[0].weight)
                nn.init.zeros_(b.branch[3].weight)
        return model

    @trap("You closed two layers in a row, the last convolution and gamma: each blocks the other's gradient. Only gamma.")
    def conv_and_gamma(model):
        for b in model.modules():
            if hasattr(b, "branch"):
                nn.init.zeros_(b.branch[3].weight)
                nn.init.zeros_(b.branch[4].weight)
        return model

    @trap("You closed one norm, the last of the whole model. Every block needs its own last gamma closed.")
    def last_norm_of_the_model(model):
        nn.init.zeros_([m for m in model.modules() if isinstance(m, nn.BatchNorm2d)][-1].weight)
        return model

    @trap("You zeroed every weight of the branch: with more than one closed layer in a row no gradient gets in. Only the last gamma.")
    def whole_branch(model):
        for b in model.modules():
            if hasattr(b, "branch"):
                for p in b.branch.parameters():
                    nn.init.zeros_(p)
        return model

    @trap("You froze gamma: the block can never open. Set its value, and leave requires_grad as it is.")
    def frozen(model):
        for norms in branch_norms(model):
            nn.init.zeros_(norms[-1].weight).requires_grad_(False)
        return model

    @trap("You closed every BatchNorm of the model, also those outside the residual branches: the signal itself is gone.")
    def every_norm(model):
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d):
                nn.init.zeros_(m.weight)
        return model

    @trap("You looked at the model's direct children only. Blocks may sit deeper: model.modules() finds them all.")
    def children_only(model):
        for b in model.children():
            if hasattr(b, "branch"):
                nn.init.zeros_(b.branch[-1].weight)
        return model

    @trap("Besides closing the last gamma you reset the other norm layers to 1. Touch nothing else.")
    def others_reset(model):
        for norms in branch_norms(model):
            for m in norms[:-1]:
                nn.init.ones_(m.weight)
            nn.init.zeros_(norms[-1].weight)
        return model

    @trap("Your recursion looks at the children only and misses the model itself, which may be a block. model.modules() includes it.")
    def misses_the_model(model):
        close_children(model)
        return model

    @trap(
        "You reset the last norm besides: reset_parameters and reset_running_stats also wipe its running statistics. Set the weight only."
    )
    def statistics_reset(model):
        for norms in branch_norms(model):
            norms[-1].reset_parameters()
            nn.init.zeros_(norms[-1].weight)
        return model

    @trap("You switched the model to evaluation mode. Touch nothing but the last gammas.")
    def eval_mode(model):
        for norms in branch_norms(model):
            nn.init.zeros_(norms[-1].weight)
        return model.eval()

    @trap("You left the model in train mode; it had come in evaluation mode. Do not touch the mode.")
    def train_mode(model):
        for norms in branch_norms(model):
            nn.init.zeros_(norms[-1].weight)
        return model.train()

    @trap("Your gamma is tiny but not 0. Rounding hides it here; the block is exactly the identity with 0 only.")
    def almost_zero(model):
        for norms in branch_norms(model):
            nn.init.constant_(norms[-1].weight, 1e-12)
        return model

    @trap("You worked on a copy, and the model that was passed in is unchanged. Work in place and return the model itself.")
    def on_a_copy(model):
        twin = copy.deepcopy(model)
        for norms in branch_norms(twin):
            nn.init.zeros_(norms[-1].weight)
        return twin

    @right("by index, in no_grad")
    def by_index(model):
        with torch.no_grad():
            for m in model.modules():
                if hasattr(m, "branch"):
                    m.branch[4].weight.fill_(0.0)
        return model

    @right("by name")
    def by_name(model):
        for name, p in model.named_parameters():
            if name.endswith("branch.4.weight"):
                p.data.zero_()
        return model

    @right("through apply")
    def through_apply(model):
        def close(m):
            if type(m).__name__ == "RB":
                last = [n for n in m.branch.children() if isinstance(n, nn.BatchNorm2d)].pop()
                last.weight.data *= 0

        return model.apply(close)


# ------------------------------------------------------------------------------ GPT-2


def gpt(n_layer, seed, d=64):
    torch.manual_seed(seed)
    blocks = [
        nn.ModuleDict(
            {
                "ln_1": nn.LayerNorm(d),
                "attn": nn.ModuleDict({"c_attn": nn.Linear(d, 3 * d), "c_proj": nn.Linear(d, d)}),
                "ln_2": nn.LayerNorm(d),
                "mlp": nn.ModuleDict(
                    {"c_fc": nn.Linear(d, 4 * d), "c_proj_gate": nn.Linear(d, 4 * d), "c_proj": nn.Linear(4 * d, d, bias=n_layer > 2)}
                ),
            }
        )
        for _ in range(n_layer)
    ]
    top = {"wte": nn.Embedding(300, d), "wpe": nn.Embedding(120, d), "h": nn.ModuleList(blocks), "c_proj": nn.Linear(d, d)}
    # what is neither linear nor an embedding stays, whatever its name and number of dimensions
    top |= {"stem": nn.ModuleDict({"conv": nn.Conv1d(9, 8, 3), "c_proj": nn.Conv1d(8, 6, 3), "patch": nn.Conv2d(3, 4, 2)})}
    top |= {"tables": nn.ParameterDict({"scale": nn.Parameter(torch.randn(20, 30))})}
    top |= {"memory": nn.ModuleDict({"c_proj": nn.Embedding(150, d)})}  # called like a projection, but it is none
    model = nn.ModuleDict(top | {"ln_f": nn.LayerNorm(d), "lm_head": nn.Linear(d, 300, bias=n_layer == 5)})
    for m in model.modules():
        if isinstance(m, nn.Embedding):
            nn.init.normal_(m.weight, 0.1, 0.3)  # trained before: whoever scales what is there gets something else
    return shaken(model, seed)


def gpt_parts(submission, n_layer, seed):
    model = gpt(n_layer, seed)
    returned = submission.gpt2_init(model, n_layer)
    return {
        "state": state_of(model),
        "returns the model": returned is model,
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
    }


@cache
def gpt_before(n_layer, seed):
    with torch.random.fork_rng(devices=[]):
        model = gpt(n_layer, seed)
    return state_of(model), dict(model.named_modules())


def judge_gpt(projections):
    def accept(s, n_layer, seed):
        before, modules = gpt_before(n_layer, seed)
        problem = no_longer_that_model(s, before)
        if problem:
            return problem
        weights = {name: s["state"][f"{name}.weight"] for name, m in modules.items() if isinstance(m, (nn.Linear, nn.Embedding))}
        for name, w in weights.items():
            is_projection = name.endswith("c_proj") and isinstance(modules[name], nn.Linear)
            if is_projection != projections:
                continue
            want = 0.02 / math.sqrt(2 * n_layer) if is_projection else 0.02
            where = f"the weights of {name.rpartition('.')[2]}" if "." in name else f"the weights of {name} at the top"
            if isinstance(modules[name], nn.Embedding):
                where = f"the weights of the nn.Embedding called {name.rpartition('.')[2]}"
            if np.array_equal(w, before[f"{name}.weight"]):
                bare = isinstance(modules[name], nn.Linear) and modules[name].bias is None
                return f"{where.capitalize()}{', a layer without a bias,' if bare else ''} are what they were before the call."
            stats = statistics(w)
            problem = spread_problem(stats, want, where)
            if not problem and w.size > 12_000:
                problem = kind_problem(stats, "normal", where)
            if problem:
                return problem
        if equal_layers(list(weights.values())):
            return "Two layers of equal shape got the same weights."
        return s["returns the model"] or "The function does not return the model that it was given."

    return accept


def judge_gpt_rest(s, n_layer, seed):
    before, modules = gpt_before(n_layer, seed)
    problem = no_longer_that_model(s, before)
    if problem:
        return problem
    if any(s["state"][f"{name}.bias"].any() for name, m in modules.items() if isinstance(m, nn.Linear) and m.bias is not None):
        return "A bias of a linear layer is not 0."
    problem = norms_problem(before, s["state"], modules)
    if problem:
        return problem
    drawn_or_norm = (nn.Linear, nn.Embedding, nn.LayerNorm)
    kept = [key for key in changed(before, s["state"]) if not isinstance(modules[key.rpartition(".")[0]], drawn_or_norm)]
    if "tables.scale" in kept:
        return "A parameter that belongs to no nn.Linear and no nn.Embedding was changed."
    if kept:
        named = "stem.patch.weight" not in kept
        return "A convolution called c_proj was changed; it is no nn.Linear." if named else "Convolutions were changed."
    return not s["frozen"] or "A parameter does not require a gradient any more."


def gpt_init(
    model, n_layer, projection, others=0.02, embedding=0.02, bias=nn.init.zeros_, is_projection=lambda name: name.endswith("c_proj")
):
    for name, m in model.named_modules():
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, 0.0, projection if is_projection(name) else others)
            if m.bias is not None:
                bias(m.bias)
        elif isinstance(m, nn.Embedding) and embedding:
            nn.init.normal_(m.weight, 0.0, embedding)
    return model


GPTS = [call(2, 1), call(5, 2), call(1, 3)]


@exercise(
    "initialization.gpt2-init",
    names="gpt2_init",
    covers=["initialization.gpt2", "initialization.q.deep-residual"],
    inplace=True,
    seconds=20,
)
class Gpt2Init:
    def reference(model, n_layer):
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer))

    probe = gpt_parts

    cases = {
        "output projections": group(GPTS, accept=judge_gpt(True)),
        "other weights": group(GPTS, accept=judge_gpt(False)),
        "biases and norms": group(GPTS, accept=judge_gpt_rest),
    }

    @trap("Your projections are sqrt(2) too large: each block writes into the stream twice, so there are 2 * n_layer branches.")
    def blocks_not_branches(model, n_layer):
        return gpt_init(model, n_layer, 0.02 / math.sqrt(n_layer))

    @trap("You divided by the number of branches. Their variances add up, so the standard deviation is divided by the ROOT.")
    def no_root(model, n_layer):
        return gpt_init(model, n_layer, 0.02 / (2 * n_layer))

    @trap("You scaled every linear layer. Only the projections that write into the residual stream (c_proj) get the factor.")
    def scales_everything(model, n_layer):
        small = 0.02 / math.sqrt(2 * n_layer)
        return gpt_init(model, n_layer, small, others=small)

    @trap("You scaled every weight, embeddings too. Only the projections that write into the residual stream (c_proj) get the factor.")
    def scales_embeddings_too(model, n_layer):
        small = 0.02 / math.sqrt(2 * n_layer)
        return gpt_init(model, n_layer, small, others=small, embedding=small)

    @trap("You divided by the number of layers. Each of the 2 * n_layer branches adds its variance: divide by the root of their number.")
    def one_over_n(model, n_layer):
        return gpt_init(model, n_layer, 0.02 / n_layer)

    @trap("You multiplied by the root. Many branches add up, so each must be smaller: divide.")
    def multiplied(model, n_layer):
        return gpt_init(model, n_layer, 0.02 * math.sqrt(2 * n_layer))

    @trap("The projections are not scaled, so the stream grows with depth. c_proj gets 0.02 / sqrt(2 * n_layer).")
    def no_scaling(model, n_layer):
        return gpt_init(model, n_layer, 0.02)

    @trap("The biases of nn.Linear are not 0. Left alone they keep what was there, in a fresh layer random numbers: set them to 0.")
    def biases_left(model, n_layer):
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer), bias=lambda b: None)

    @trap("The embeddings kept what was there; torch's own N(0, 1) is fifty times too large. They get N(0, 0.02²) as well.")
    def embeddings_left(model, n_layer):
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer), embedding=None)

    @trap("You scaled every module whose name CONTAINS c_proj. Only names that end in c_proj are output projections.")
    def contains(model, n_layer):
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer), is_projection=lambda name: "c_proj" in name)

    @trap("normal_ takes a standard deviation: 0.02, not 0.02².")
    def variance_as_std(model, n_layer):
        return gpt_init(model, n_layer, 0.02**2 / (2 * n_layer), others=0.02**2, embedding=0.02**2)

    @trap("You reset the norm layers to weight 1 and bias 0. They stay as they are.")
    def norms_zeroed(model, n_layer):
        for m in model.modules():
            if isinstance(m, nn.LayerNorm):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer))

    @trap("You set every bias to 0, also those of the norm layers. Only the biases of nn.Linear are asked for.")
    def every_bias(model, n_layer):
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer))

    @trap("You scaled the embeddings that were there. Draw them anew: N(0, 0.02²), whatever the model held before.")
    def embeddings_scaled(model, n_layer):
        for m in model.modules():
            if isinstance(m, nn.Embedding):
                m.weight.data *= 0.02
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer), embedding=None)

    @trap("You scaled the projections that were there. Draw them anew, with standard deviation 0.02 / sqrt(2 * n_layer).")
    def projections_scaled(model, n_layer):
        before = {name: m.weight.detach().clone() for name, m in model.named_modules() if isinstance(m, nn.Linear)}
        gpt_init(model, n_layer, 0.02)
        for name, m in model.named_modules():
            if isinstance(m, nn.Linear) and name.endswith("c_proj"):
                m.weight.data = before[name] / math.sqrt(2 * n_layer)
        return model

    @trap(
        "You went by the parameters' names and dimensions, so what is neither nn.Linear nor nn.Embedding was drawn as well. Ask for the modules' types."
    )
    def by_parameters(model, n_layer):
        gpt_init(model, n_layer, 0.02)
        for name, p in model.named_parameters():
            if p.dim() >= 2:
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * n_layer) if name.endswith("c_proj.weight") else 0.02)
        return model

    @trap("An nn.Embedding whose name ends in c_proj is no output projection: only nn.Linear modules get the small spread.")
    def embedding_as_projection(model, n_layer):
        gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer))
        for name, m in model.named_modules():
            if isinstance(m, nn.Embedding) and name.endswith("c_proj"):
                nn.init.normal_(m.weight, 0.0, 0.02 / math.sqrt(2 * n_layer))
        return model

    @trap("Layers without a bias were left out: they kept the weights that they had. The question about the bias is for the bias alone.")
    def only_with_bias(model, n_layer):
        for name, m in model.named_modules():
            if isinstance(m, nn.Embedding):
                nn.init.normal_(m.weight, 0.0, 0.02)
            if isinstance(m, nn.Linear) and m.bias is not None:
                nn.init.normal_(m.weight, 0.0, 0.02 / math.sqrt(2 * n_layer) if name.endswith("c_proj") else 0.02)
                nn.init.zeros_(m.bias)
        return model

    @trap("The spread is right, the distribution is not: the task asks for normal draws, N(0, 0.02²).")
    def uniform(model, n_layer):
        gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer))
        for m in model.modules():
            if isinstance(m, (nn.Linear, nn.Embedding)):
                b = math.sqrt(3) * m.weight.detach().std().item()
                nn.init.uniform_(m.weight, -b, b)
        return model

    @trap("You gave the projections 0.005, which fits 8 layers only. The spread depends on n_layer: 0.02 / sqrt(2 * n_layer).")
    def spread_of_the_example(model, n_layer):
        return gpt_init(model, n_layer, 0.005)

    @trap("You drew every parameter with two or more dimensions. Only nn.Linear and nn.Embedding are asked for: use isinstance.")
    def every_matrix(model, n_layer):
        for p in model.parameters():
            if p.dim() >= 2:
                nn.init.normal_(p, 0.0, 0.02)
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer))

    @trap("You drew the convolutions as well. Only nn.Linear and nn.Embedding get new weights; everything else keeps its values.")
    def convolutions_too(model, n_layer):
        for m in model.modules():
            if isinstance(m, (nn.Conv1d, nn.Conv2d)):
                nn.init.normal_(m.weight, 0.0, 0.02)
                nn.init.zeros_(m.bias)
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer))

    @trap(
        "You look for '.c_proj' with the dot; a layer of the model itself is called 'c_proj' without one. Ask for names that end in c_proj."
    )
    def with_the_dot(model, n_layer):
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer), is_projection=lambda name: name.endswith(".c_proj"))

    @trap("You changed everything that is called c_proj, whatever its type. Only nn.Linear modules of that name are output projections.")
    def name_alone(model, n_layer):
        for name, p in model.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * n_layer))
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer))

    @trap(
        "Your code fails on a layer that has no bias: m.bias is None after bias=False, and nn.Embedding has no such attribute. Ask before you set it."
    )
    def missing_bias(model, n_layer):
        for m in model.modules():
            if isinstance(m, nn.Linear):
                nn.init.zeros_(m.bias)
        return gpt_init(model, n_layer, 0.02 / math.sqrt(2 * n_layer))

    @trap("You set a seed before every layer: layers of equal shape become identical. Do not seed inside the function.")
    def seeds_each_layer(model, n_layer):
        for name, m in model.named_modules():
            if isinstance(m, (nn.Linear, nn.Embedding)):
                torch.manual_seed(0)
                projection = isinstance(m, nn.Linear) and name.endswith("c_proj")
                nn.init.normal_(m.weight, 0.0, 0.02 / math.sqrt(2 * n_layer) if projection else 0.02)
            if isinstance(m, nn.Linear) and m.bias is not None:
                nn.init.zeros_(m.bias)
        return model

    @right("over parameters, as in nanoGPT")
    def over_parameters(model, n_layer):
        for m in model.modules():
            if isinstance(m, (nn.Linear, nn.Embedding)):
                torch.nn.init.normal_(m.weight, mean=0.0, std=0.02)
                if getattr(m, "bias", None) is not None:
                    torch.nn.init.zeros_(m.bias)
        linear = {name for name, m in model.named_modules() if isinstance(m, nn.Linear)}
        for name, p in model.named_parameters():
            if name.endswith("c_proj.weight") and name.removesuffix(".weight") in linear:
                torch.nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * n_layer))
        return model

    @right("one draw, then divided")
    def divided(model, n_layer):
        with torch.no_grad():
            for name, m in model.named_modules():
                if type(m) in (nn.Linear, nn.Embedding):
                    m.weight.copy_(0.02 * torch.randn(m.weight.shape))
                    if type(m) is nn.Linear and name.split(".")[-1] == "c_proj":
                        m.weight.div_((2 * n_layer) ** 0.5)
                    if isinstance(m, nn.Linear) and m.bias is not None:
                        m.bias.copy_(torch.zeros_like(m.bias))
        return model


# ------------------------------------------------------------------------------ LoRA


def tensor(shape, seed, scale=1.0):
    return torch.from_numpy(np.round(normal(shape, scale, seed), 3)).float()


def frozen_base(weight, bias):
    base = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    with torch.no_grad():
        base.weight.copy_(weight)
        if bias is not None:
            base.bias.copy_(bias)
    return base


def matrix(a):
    return a.weight if isinstance(a, nn.Module) else a


def lora_start(submission, weight, bias, x, r, alpha):
    base = frozen_base(weight, bias)
    want = base(x).detach()
    torch.manual_seed(1)
    layers_ = [submission.LoRALinear(base, r, alpha) for _ in range(2)]
    out = layers_[0](x)
    return {
        "A": [matrix(layer.A).detach().numpy().copy() for layer in layers_],
        "B": matrix(layers_[0].B).detach().numpy().copy(),
        "output": out.detach().numpy().copy(),
        "bit for bit": torch.equal(out, want),
    }


def judge_lora_start(s, weight, bias, x, r, alpha):
    (A, other), B = s["A"], s["B"]
    want = F.linear(x, weight, bias).numpy()
    if A.shape != (r, weight.shape[1]) or B.shape != (weight.shape[0], r):
        return f"A has shape {A.shape} and B {B.shape}, not {(r, weight.shape[1])} and {(weight.shape[0], r)}."
    problems = []
    if str(A.dtype) != str(B.dtype) or str(A.dtype) != str(weight.dtype).removeprefix("torch."):
        problems.append("A and B have not the dtype of base.weight.")
    if not A.any():
        problems.append("A is zero.")
    elif len(np.unique(A)) == 1:
        problems.append("A is a constant.")
    elif equal_rows(A):
        problems.append("Rows of A are equal.")
    elif len(np.unique(A)) < 0.9 * A.size or not np.isfinite(A).all():
        problems.append("Values repeat within A: draw every entry on its own.")
    elif np.array_equal(A, other):
        problems.append("Two adapters have the same A.")
    elif not 1e-4 < A.std() < 30:
        problems.append("The spread of A is not sensible: take one like that of nn.Linear.")
    if B.any():
        problems.append("B is not zero.")
    if s["output"].shape != want.shape or not np.allclose(s["output"], want, rtol=1e-5, atol=1e-6):
        problems.append("The output is not base(x).")
    elif not s["bit for bit"]:
        problems.append("The output is base(x) up to rounding only, not bit for bit.")
    return " ".join(problems) or True


def lora_values(submission, weight, bias, x, r, alpha):
    layer = submission.LoRALinear(frozen_base(weight, bias), r, alpha)
    A, B = matrix(layer.A), matrix(layer.B)
    with torch.no_grad():
        A.copy_(torch.linspace(-1, 1, A.numel()).reshape(A.shape).cos())
        B.copy_(torch.linspace(-2, 1, B.numel()).reshape(B.shape))
    return {"output": layer(x), "output in evaluation mode": layer.eval()(x)}


def lora_training(submission, weight, bias, x, r, alpha):
    base = frozen_base(weight, bias)
    layer = submission.LoRALinear(base, r, alpha)
    trainable = [p for p in layer.parameters() if p.requires_grad]
    A, B = matrix(layer.A), matrix(layer.B)
    layer(x).square().sum().backward()
    first = {"A": _moved(A), "B": _moved(B)}
    with torch.no_grad():
        A.copy_(torch.linspace(-1, 1, A.numel()).reshape(A.shape).cos())
        B.copy_(torch.linspace(-2, 1, B.numel()).reshape(B.shape))
    layer.zero_grad()
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * torch.arange(y.numel()).reshape(y.shape).cos()).sum().backward()
    return {
        "trainable numbers": sum(p.numel() for p in trainable),
        "the base given trains": any(p.requires_grad for p in base.parameters()),
        "gradient reaches at the start": first,
        "gradient of A": A.grad,
        "gradient of B": B.grad,
        "gradient of x": x.grad,
    }


def _moved(p):
    return p.grad is not None and bool(p.grad.any())


LORAS = [
    (tensor((7, 5), 1), tensor((7,), 2), tensor((4, 5), 3), 2, 6.0),
    (tensor((3, 8), 4), None, tensor((2, 3, 8), 5), 3, 1.5),
    (tensor((6, 6), 6), tensor((6,), 7), tensor((1, 6), 8), 1, 4.0),
    (tensor((4, 9), 9), tensor((4,), 10), tensor((5, 9), 11), 4, 2.0),
    (tensor((5, 6), 12).double(), tensor((5,), 13).double(), tensor((3, 6), 14).double(), 2, 3.0),
]


class LoRA(nn.Module):
    """What the reference and its variants share."""

    a_scale, b_scale = 1.0, 0.0
    freeze = True

    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.r, self.alpha = base, r, alpha
        if self.freeze:
            self.base.requires_grad_(False)
        self.A = nn.Parameter(self.a_scale * torch.randn(r, base.in_features, dtype=base.weight.dtype) / math.sqrt(base.in_features))
        self.B = nn.Parameter(self.b_scale * torch.randn(base.out_features, r, dtype=base.weight.dtype))

    def scale(self):
        return self.alpha / self.r

    def forward(self, x):
        return self.base(x) + self.scale() * (x @ self.A.T @ self.B.T)


class LoRACopiesTheBase(LoRA):
    def __init__(self, base, r, alpha):
        super().__init__(copy.deepcopy(base), r, alpha)


class LoRABothRandom(LoRA):
    b_scale = 0.1


class LoRABothZero(LoRA):
    a_scale = 0.0


class LoRAExchanged(LoRA):
    a_scale, b_scale = 0.0, 0.1


class LoRATrainsAll(LoRA):
    freeze = False


class LoRABiasTrains(LoRA):
    freeze = False

    def __init__(self, base, r, alpha):
        super().__init__(base, r, alpha)
        base.weight.requires_grad_(False)


class LoRANoScale(LoRA):
    def scale(self):
        return 1.0


class LoRAAlphaOnly(LoRA):
    def scale(self):
        return self.alpha


class LoRAScaleTurned(LoRA):
    def scale(self):
        return self.r / self.alpha


class LoRARootScale(LoRA):
    def scale(self):
        return self.alpha / math.sqrt(self.r)


class LoRAReplaces(LoRA):
    def forward(self, x):
        return self.scale() * (x @ self.A.T @ self.B.T)


class LoRAConstantA(LoRA):
    def __init__(self, base, r, alpha):
        super().__init__(base, r, alpha)
        nn.init.constant_(self.A, 0.01)


class LoRAEqualRows(LoRA):
    def __init__(self, base, r, alpha):
        super().__init__(base, r, alpha)
        self.A = nn.Parameter(self.A.detach()[:1].repeat(r, 1))


class LoRASinglePrecision(LoRA):
    def __init__(self, base, r, alpha):
        super().__init__(base, r, alpha)
        self.A = nn.Parameter(self.A.detach().float())
        self.B = nn.Parameter(self.B.detach().float())


class LoRACasts(LoRASinglePrecision):
    def forward(self, x):
        return self.base(x) + (self.scale() * (x.float() @ self.A.T @ self.B.T)).to(x.dtype)


class LoRADetached(LoRA):
    def forward(self, x):
        with torch.no_grad():
            update = self.scale() * (x @ self.A.T @ self.B.T)
        return self.base(x) + update


class LoRATurned(LoRA):
    def __init__(self, base, r, alpha):
        super().__init__(base, r, alpha)
        self.A = nn.Parameter(self.A.detach().T.clone())
        self.B = nn.Parameter(self.B.detach().T.clone())

    def forward(self, x):
        return self.base(x) + self.scale() * (x @ self.A @ self.B)


class LoRAFrozenA(LoRA):
    def __init__(self, base, r, alpha):
        super().__init__(base, r, alpha)
        self.A.requires_grad_(False)


class LoRABaseWithoutGraph(LoRA):
    def forward(self, x):
        with torch.no_grad():
            y = self.base(x)
        return y + self.scale() * (x @ self.A.T @ self.B.T)


class LoRAUpdateCutFromX(LoRA):
    def forward(self, x):
        return self.base(x) + self.scale() * (x.detach() @ self.A.T @ self.B.T)


class LoRACutFromX(LoRA):
    def forward(self, x):
        return super().forward(x.detach())


class LoRATrainingOnly(LoRA):
    def forward(self, x):
        return super().forward(x) if self.training else self.base(x)


class LoRASeeded(LoRA):
    def __init__(self, base, r, alpha):
        torch.manual_seed(0)
        super().__init__(base, r, alpha)


class LoRANoBias(LoRA):
    def forward(self, x):
        return F.linear(x, self.base.weight) + self.scale() * (x @ self.A.T @ self.B.T)


class LoRANeedsBias(LoRA):
    def __init__(self, base, r, alpha):
        super().__init__(base, r, alpha)
        base.bias.requires_grad = False


class LoRAScalesAll(LoRA):
    def forward(self, x):
        return self.scale() * (self.base(x) + x @ self.A.T @ self.B.T)


class LoRAMerged(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        for p in base.parameters():
            p.requires_grad = False
        self.inner = base
        self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))
        self.factor = alpha / r

    def forward(self, x):
        return F.linear(x, self.inner.weight + self.factor * self.B @ self.A, self.inner.bias)


class LoRASteps(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.pretrained = base.requires_grad_(False)
        self.A = nn.Parameter(0.02 * torch.randn((r, base.weight.size(1)), dtype=base.weight.dtype))
        self.B = nn.Parameter(torch.zeros((base.weight.size(0), r), dtype=base.weight.dtype))
        self.alpha, self.r = alpha, r

    def forward(self, x):
        low = F.linear(x, self.A)
        return self.pretrained(x).add(F.linear(low, self.B), alpha=self.alpha / self.r)


@exercise(
    "initialization.lora-linear",
    names="LoRALinear",
    covers=["initialization.lora", "initialization.finetune", "initialization.q.finetune"],
)
class LoraLinear:
    reference = LoRA

    probe = lora_values

    cases = {
        "no-op at the start": group([call(*c) for c in LORAS], probe=lora_start, accept=judge_lora_start),
        "values": [call(*c) for c in LORAS] + [call(tensor((3, 4), 15), tensor((3,), 16), tensor((4,), 17), 2, 5.0)],
        "training": group([call(*c) for c in LORAS], probe=lora_training),
    }

    both_random = trap("B is not zero, so the pretrained function is disturbed before the first step. A is random, B starts at exactly 0.")(
        LoRABothRandom
    )
    both_zero = trap("A and B are both zero: dL/dB needs A and dL/dA needs B, so neither ever moves. Exactly one may be zero.")(
        LoRABothZero
    )
    exchanged = trap("One of the two is zero, but the task asks for B = 0 and a random A.")(LoRAExchanged)
    trains_all = trap("The base still trains, all of it. Set requires_grad_(False) on its parameters.")(LoRATrainsAll)
    bias_trains = trap("The base's weight is frozen, but its bias still trains. Freeze every parameter of the base.")(LoRABiasTrains)
    copies_the_base = trap(
        "The base that was given still trains; what is frozen is a copy. Keep base itself and call base.requires_grad_(False)."
    )(LoRACopiesTheBase)
    no_scale = trap("alpha is ignored. Multiply the low-rank update by alpha / r.")(LoRANoScale)
    alpha_only = trap("You multiplied by alpha. The factor is alpha / r, so that a larger rank does not mean a larger step.")(LoRAAlphaOnly)
    scale_turned = trap("The factor is upside down: alpha / r.")(LoRAScaleTurned)
    root_scale = trap("alpha / sqrt(r) is a later variant (rsLoRA). The task asks for alpha / r.")(LoRARootScale)
    replaces = trap("The update replaces the base output, so the layer starts at 0. Add it to base(x).")(LoRAReplaces)
    constant_a = trap("A is a constant: all r rows are copies and stay copies, which makes the rank 1. Draw A at random.")(LoRAConstantA)
    equal_rows_of_a = trap("The r rows of A are copies of one draw, which makes the rank 1. Draw the whole (r, in) matrix.")(LoRAEqualRows)
    casts = trap("A and B are float32 whatever the base is. Give them the dtype of base.weight.")(LoRACasts)
    detached = trap("The update is computed without gradients, so A and B never learn.")(LoRADetached)

    turned = trap("A and B are stored the other way round. The task has A as (r, in) and B as (out, r), like torch weights.")(LoRATurned)
    frozen_a = trap("A does not train. Freeze the base only; A and B both learn.")(LoRAFrozenA)

    single_precision = trap("A and B are float32 whatever the base is. Give them the dtype of base.weight.")(LoRASinglePrecision)
    base_without_graph = trap(
        "The base's output is computed without a graph, so the layers below get a gradient from the update only. Freeze its parameters instead."
    )(LoRABaseWithoutGraph)
    update_cut_from_x = trap("x is detached before the update, so the layers below get no gradient through A and B. Leave x as it is.")(
        LoRAUpdateCutFromX
    )
    cut_from_x = trap(
        "No gradient flows back to x: the layers below never learn. Do not detach it; freezing the base's parameters is enough."
    )(LoRACutFromX)
    training_only = trap("In evaluation mode your layer forgets what the adapter has learned. The formula holds in both modes.")(
        LoRATrainingOnly
    )
    seeded = trap("Your A is the same in every adapter. Do not set a seed inside the class: draw A anew.")(LoRASeeded)
    no_bias = trap("The base's bias is missing in your output. Call base(x), which adds it where there is one.")(LoRANoBias)
    needs_bias = trap(
        "A base made with bias=False has base.bias = None, and your code fails on it. base.requires_grad_(False) covers both."
    )(LoRANeedsBias)
    scales_all = trap("You scaled the base's output as well. Only the low-rank update gets the factor alpha / r.")(LoRAScalesAll)

    merged = right("with the merged weight W + (alpha/r) B A")(LoRAMerged)
    stepwise = right("two linear maps")(LoRASteps)


# ------------------------------------------------------------------------------ write the test


def he_draws(fan_out, fan_in, seed):
    return np.random.default_rng(seed).normal(0, math.sqrt(2 / fan_in), (fan_out, fan_in))


def he_uniform_draws(fan_out, fan_in, seed):
    b = math.sqrt(6 / fan_in)
    return generator("Philox", seed).uniform(-b, b, (fan_out, fan_in))


def he_torch(fan_out, fan_in, seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(fan_out, fan_in, generator=g, dtype=torch.float64) * math.sqrt(2 / fan_in)).numpy()


def he_old_generator(fan_out, fan_in, seed):
    return np.random.RandomState(seed).standard_normal((fan_out, fan_in)) * math.sqrt(2 / fan_in)


def standard(fan_out, fan_in, seed):
    return np.random.default_rng(seed).standard_normal((fan_out, fan_in))


def check_statistics(init, fan_out=200, fan_in=300, mean=True, std=True, rows=True, seeds=True, shape=True, tolerance=0.15, repeat=True):
    w = init(fan_out, fan_in, 3)
    if shape:
        assert w.shape == (fan_out, fan_in)
    if mean:
        assert abs(w.mean()) < 0.3 * w.std() + 1e-12
    if std:
        assert abs(w.std() / math.sqrt(2 / fan_in) - 1) < tolerance
    if rows:
        assert len(np.unique(w, axis=0)) == len(w)
    if seeds:
        assert not np.array_equal(w, init(fan_out, fan_in, 4))
    if repeat:
        assert np.array_equal(w, init(fan_out, fan_in, 3))


@exercise(
    "initialization.test-init",
    names="check_init",
    covers=["initialization.he", "initialization.symmetry", "initialization.sanity", "initialization.q.constant"],
    seconds=20,
)
class TestInit:
    accepts = {"normal": he_draws, "uniform": he_uniform_draws, "through torch": he_torch, "another generator": he_old_generator}
    catches = {
        "a constant": lambda fan_out, fan_in, seed: np.full((fan_out, fan_in), math.sqrt(2 / fan_in)),
        "variance as std": lambda fan_out, fan_in, seed: standard(fan_out, fan_in, seed) * 2 / fan_in,
        "fan_out": lambda fan_out, fan_in, seed: standard(fan_out, fan_in, seed) * math.sqrt(2 / fan_out),
        "Xavier": lambda fan_out, fan_in, seed: standard(fan_out, fan_in, seed) * math.sqrt(2 / (fan_in + fan_out)),
        "all positive": lambda fan_out, fan_in, seed: np.random.default_rng(seed).uniform(0, math.sqrt(24 / fan_in), (fan_out, fan_in)),
        "equal rows": lambda fan_out, fan_in, seed: np.tile(standard(1, fan_in, seed) * math.sqrt(2 / fan_in), (fan_out, 1)),
        "units in pairs": lambda fan_out, fan_in, seed: he_draws(fan_out, fan_in, seed)[np.arange(fan_out) % max(1, fan_out // 2)],
        "seed ignored": lambda fan_out, fan_in, seed: standard(fan_out, fan_in, 0) * math.sqrt(2 / fan_in),
        "not repeatable": lambda fan_out, fan_in, seed: np.random.randn(fan_out, fan_in) * math.sqrt(2 / fan_in),
    }

    def reference(init):
        check_statistics(init)
        check_statistics(init, 350, 120)

    @trap(
        "Your check lets every wrong one through. It must raise; a returned False is ignored. And a look at the shape is not enough: it is mostly right."
    )
    def shape_only(init):
        check_statistics(init, mean=False, std=False, rows=False, seeds=False, repeat=False)

    @trap(
        "fan_out and Xavier get through. Test a shape with two different sizes (in a square matrix both fans are equal), and keep the tolerance near 5 %."
    )
    def square(init):
        check_statistics(init, 250, 250)

    @trap(
        "Your check rejects right implementations: it is too strict (for n weights chance moves the std by about 1/sqrt(2n)), or your own reference is wrong: sqrt(2 / fan_in)."
    )
    def too_strict(init):
        check_statistics(init, tolerance=1e-6)

    @trap("You compare with the numbers of one particular generator. Right initializers may use another: test statistics.")
    def pinned_to_a_stream(init):
        assert np.allclose(init(20, 30, 3), he_draws(20, 30, 3))

    @trap("The standard deviation is checked, the mean is not: all weights may be positive.")
    def no_mean(init):
        check_statistics(init, mean=False)

    @trap("The size is checked, the differences are not: all units may be copies of one.")
    def no_rows(init):
        check_statistics(init, rows=False)

    @trap(
        "An initializer in which only some units are copies gets through. Compare all rows with each other, for example by len(np.unique(w, axis=0))."
    )
    def two_rows(init):
        check_statistics(init, rows=False)
        w = init(200, 300, 3)
        assert not np.array_equal(w[0], w[1])

    @trap("The seed is never varied: an initializer that ignores it passes.")
    def one_seed(init):
        check_statistics(init, seeds=False)

    @trap("Nothing asks for the same weights twice: an initializer that cannot be repeated passes.")
    def never_repeated(init):
        check_statistics(init, repeat=False)

    @trap("Every wrong size gets through: the standard deviation is not checked, or your tolerance is too wide. It is what He is about.")
    def no_std(init):
        check_statistics(init, std=False)

    @trap("You insist on a normal distribution. A uniform draw with the same variance is He initialization as well.")
    def normal_only(init):
        check_statistics(init)
        w = init(200, 300, 3)
        assert np.abs(w).max() > 3 * w.std()

    @right("many seeds, second moments, correlation of units")
    def many_seeds(init):
        draws = [np.asarray(init(120, 400, s)) for s in range(5)]
        assert all(d.shape == (120, 400) for d in draws)
        w = np.stack(draws)
        assert 0.95 < np.mean(w**2) * 400 / 2 < 1.05
        assert abs(np.mean(w)) < 0.002
        c = np.corrcoef(draws[0])
        assert np.abs(c[~np.eye(120, dtype=bool)]).max() < 0.5
        assert (draws[0] != draws[1]).any() and (init(120, 400, 0) == draws[0]).all()

    @right("through the signal")
    def through_the_signal(init):
        x = np.random.default_rng(9).standard_normal((400, 600))
        w = init(900, 600, 1)
        z = x @ w.T
        assert 1.3 < z.std() < 1.53, "second moment of the sums"
        assert abs(z.mean(axis=1)).max() < 1
        assert abs(np.mean(w)) < 0.1 * np.std(w)
        assert all(np.std(w[i] - w[:i], axis=1).min() > 0 for i in range(1, 900, 7)) and len({r.tobytes() for r in w}) == 900
        assert np.abs(w - init(900, 600, 1)).max() == 0 < np.abs(w - init(900, 600, 2)).max()
