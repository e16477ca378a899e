"""The hidden side of chapter 19: reference, cases and known misconceptions of every exercise."""

import math
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from autograder.authoring import call, exercise, group, normal, right, trap

# ------------------------------------------------------------------------------------------------------------------ quantize


def _top(bits):
    return 2 ** (bits - 1) - 1


def _largest(w, axis, keep=True, how=np.abs):
    """Largest magnitude of the whole array or of each channel, with axes kept for broadcasting."""
    if axis is None:
        return how(w).max()
    return how(w).max(axis=tuple(a for a in range(w.ndim) if a != axis), keepdims=keep)


def _quantize(w, bits, axis=None, top=None, largest=_largest, rounding=np.round, guard=True, clip=True):
    top = _top(bits) if top is None else top(bits)
    s = largest(w, axis) / top
    if guard:
        s = np.where(s == 0, 1.0, s)
    q = rounding(w / s)
    if clip:
        q = np.clip(q, -_top(bits), _top(bits))
    return q, q * s


def _quantizer(**changes):
    return lambda w, bits, axis=None: _quantize(w, bits, axis, **changes)


def _spread(shape, seed, factors, axis):
    """Normal draws whose channels along `axis` differ in size by `factors`."""
    w = normal(shape, 0.5, seed)
    size = [1] * len(shape)
    size[axis] = -1
    return w * np.array(factors).reshape(size)


def _negative(shape, seed):
    w = normal(shape, 0.3, seed)
    w.flat[1] = -2.37
    return w


def _zeroed(shape, axis, index, seed):
    w = normal(shape, 1.0, seed)
    w[(slice(None),) * axis + (index,)] = 0.0
    return w


def _first_axis_reduced(w, axis, **_):
    return np.abs(w).max() if axis is None else np.abs(w).max(axis=0, keepdims=True)


def _swapped_axis(w, axis, **_):
    return np.abs(w).max() if axis is None else np.abs(w).max(axis=axis, keepdims=True)


@exercise(
    "efficiency.quantize",
    names="quantize_symmetric",
    covers=["efficiency.quant-formula", "efficiency.debug-int8", "efficiency.tq02", "thirty.tq23", "thirty.t-quant", "bank.tq11"],
    forbid=[
        "torch.fake_quantize_per_tensor_affine",
        "torch.fake_quantize_per_channel_affine",
        "torch.quantize_per_tensor",
        "torch.quantize_per_channel",
    ],
)
class Quantize:
    def reference(w, bits, axis=None):
        top = 2 ** (bits - 1) - 1
        s = np.abs(w).max() if axis is None else np.abs(w).max(axis=tuple(a for a in range(w.ndim) if a != axis), keepdims=True)
        s = np.where(s == 0, 1.0, s / top)
        q = np.round(w / s)
        return q, q * s

    def _dictionary(submission, w, bits, *axis):
        q, w_hat = submission.quantize_symmetric(w, bits, *axis)
        return {"q": q, "w_hat": w_hat}

    cases = {
        "values": group(
            [
                call(normal((3, 5), 1.0, 1), 8),
                call(normal((4, 4), 0.2, 2), 4),
                call(normal((7,), 3.0, 3), 3),
                call(normal((2, 3, 4), 1.0, 4), 5),
                call(_negative((3, 4), 5), 8),
                call(normal((3, 4), 1.0, 15), 16),
                call(normal((3, 4), 1.0, 19), 20),
                call(normal((2, 5), 1.0, 21), 17),
                call(normal((3, 4), 1.0, 20), 2),
            ],
            probe=_dictionary,
        ),
        "channels": group(
            [
                call(_spread((4, 4), 1, [0.01, 1.0, 0.3, 10.0], 0), 8, 0),
                call(_spread((4, 4), 2, [0.01, 1.0, 0.3, 10.0], 1), 4, 1),
                call(_spread((3, 5), 3, [0.02, 4.0, 1.0], 0), 3, 0),
                call(_spread((2, 3, 5), 4, [0.02, 4.0, 1.0], 1), 8, 1),
                call(_spread((4, 2, 3), 5, [1.0, 0.1, 5.0], 2), 4, 2),
                call(normal((6,), 1.0, 6), 4, 0),
            ],
            probe=_dictionary,
        ),
        "extremes": group(
            [
                call(_negative((3, 3), 6), 4, 0),
                call(-np.abs(normal((3, 4), 1.0, 7)), 8),
                call(-np.abs(normal((4, 3), 1.0, 8)), 5, 1),
                call(_negative((5,), 9), 3),
            ],
            probe=_dictionary,
        ),
        "zeros": group(
            [
                call(_zeroed((3, 4), 0, 1, 1), 8, 0),
                call(_zeroed((3, 4), 1, 2, 2), 4, 1),
                call(_zeroed((2, 3, 2), 1, 0, 3), 3, 1),
                call(_spread((3, 4), 16, [1e-6, 1.0, 1e-4], 0), 8, 0),
                call(np.zeros((2, 3)), 8),
                call(np.zeros(4), 3),
                call(_spread((3, 4), 17, [1e-14, 1.0, 1e-20], 0), 8, 0),
                call(normal((2, 3), 1.0, 18) * 1e-15, 4),
            ],
            probe=_dictionary,
        ),
    }

    _grid = "Signed integers of b bits, used symmetrically, end at 2^(b−1) − 1 (127 for 8 bits, 7 for 4). Divide max|w| by that number."
    all_bits = trap(_grid)(_quantizer(top=lambda b: 2**b - 1))
    all_bits_unclipped = trap(_grid)(_quantizer(top=lambda b: 2**b - 1, clip=False))
    one_too_many = trap("With max|w| / 2^(b−1) the largest weight becomes 128 for 8 bits: one more than fits. The divisor is 2^(b−1) − 1.")(
        _quantizer(top=lambda b: 2 ** (b - 1))
    )
    one_too_many_unclipped = trap(
        "With max|w| / 2^(b−1) the largest weight becomes 128 for 8 bits: one more than fits. The divisor is 2^(b−1) − 1."
    )(_quantizer(top=lambda b: 2 ** (b - 1), clip=False))
    per_tensor = trap(
        "axis is ignored, so one large channel sets the step for all and small channels round to 0. Compute one scale per index of `axis`."
    )(lambda w, bits, axis=None: _quantize(w, bits))
    axis_reduced = trap(
        "`axis` is the axis that is KEPT: one scale for each index along it, the maximum over all other axes. You reduced over it."
    )(_quantizer(largest=_swapped_axis))
    _signed = "The largest weight may be a negative one: take the maximum of |w|, not of w."
    signed_maximum = trap(_signed)(_quantizer(largest=lambda w, axis: np.abs(_largest(w, axis, how=np.asarray))))
    signed_maximum_unclipped = trap(_signed)(_quantizer(largest=lambda w, axis: np.abs(_largest(w, axis, how=np.asarray)), clip=False))
    signed_maximum_raw = trap(_signed)(_quantizer(largest=lambda w, axis: _largest(w, axis, how=np.asarray)))
    zero_division = trap(
        "A channel of zeros has scale 0, and 0/0 is nan. Where the scale is 0, divide by 1 instead: the integers are 0 anyway."
    )(_quantizer(guard=False))
    floor = trap("Rounding down shifts every weight by half a step on average. Round to the nearest integer.")(
        _quantizer(rounding=np.floor)
    )
    truncated = trap("Cutting off the fraction (trunc, int, astype) shrinks all weights toward 0. Round to the nearest integer first.")(
        _quantizer(rounding=np.trunc)
    )
    ceiling = trap("Rounding up shifts every weight by half a step on average. Round to the nearest integer.")(_quantizer(rounding=np.ceil))

    @trap("w_hat is still in integers. Multiply back by the scale: w_hat = q · s.")
    def not_restored(w, bits, axis=None):
        q, _ = _quantize(w, bits, axis)
        return q, q

    @trap("q has to be integers. You return the restored weights twice.")
    def restored_twice(w, bits, axis=None):
        _, w_hat = _quantize(w, bits, axis)
        return w_hat, w_hat

    @trap("q is w/s without rounding, so nothing was quantized. Round before you multiply back.")
    def not_rounded(w, bits, axis=None):
        q, w_hat = _quantize(w, bits, axis, rounding=lambda v: v)
        return q, w_hat

    @trap("max − min is the range of an asymmetric quantizer with a zero point. The symmetric one uses max|w| on both sides of 0.")
    def range_for_scale(w, bits, axis=None):
        def span(w, axis):
            return _largest(w, axis, how=np.asarray) + _largest(-w, axis, how=np.asarray)

        return _quantize(w, bits, axis, top=lambda b: 2**b - 1, largest=span)

    eight_bits = trap("`bits` is ignored: the largest integer is 2^(bits−1) − 1, which is 127 for 8 bits only.")(
        _quantizer(top=lambda b: 127, clip=False)
    )
    always_the_rows = trap(
        "You always take one scale per index of the first axis. With axis=None it is one for the whole array, otherwise one per index of `axis`."
    )(lambda w, bits, axis=None: _quantize(w, bits, 0))
    always_the_columns = trap(
        "You always reduce over the first axis. The maximum goes over all axes but `axis`, which is the one that is kept."
    )(lambda w, bits, axis=None: _quantize(w, bits, axis, largest=_first_axis_reduced))
    half_the_range = trap(
        "max − min is the range of an asymmetric quantizer with a zero point. The symmetric one uses max|w| on both sides of 0."
    )(_quantizer(largest=lambda w, axis: (_largest(w, axis, how=np.asarray) + _largest(-w, axis, how=np.asarray)) / 2, clip=False))

    half_the_range_clipped = trap(
        "max − min is the range of an asymmetric quantizer with a zero point. The symmetric one uses max|w| on both sides of 0."
    )(_quantizer(largest=lambda w, axis: (_largest(w, axis, how=np.asarray) + _largest(-w, axis, how=np.asarray)) / 2))
    half_up_cut_off = trap("Adding 0.5 and cutting off rounds to the nearest for positive numbers only: −2.7 becomes −2. Use np.round.")(
        _quantizer(rounding=lambda v: np.trunc(v + 0.5))
    )
    _guard = "A constant that is added to the scale, or a smallest scale, changes small channels too. Only a scale of exactly 0 needs another divisor."
    smallest_scale = trap(_guard)(_quantizer(largest=lambda w, axis: np.maximum(_largest(w, axis), 1e-3)))
    added_constant = trap(_guard)(
        lambda w, bits, axis=None: _quantize(w, bits, axis, largest=lambda v, a: _largest(v, a) + 1e-8 * _top(bits))
    )

    @trap("int8 holds integers up to 127, and more than 8 bits wrap around in it. Use a wider type, or leave q in floating point.")
    def int8_overflow(w, bits, axis=None):
        s = _largest(w, axis) / _top(bits)
        s = np.where(s == 0, 1.0, s)
        q = np.round(w / s).astype(np.int64).astype(np.int8)
        return q, q * s

    @trap("int16 holds integers up to 32767, and more than 16 bits wrap around in it. Use a wider type, or leave q in floating point.")
    def int16_overflow(w, bits, axis=None):
        q, _ = _quantize(w, bits, axis)
        s = _largest(w, axis) / _top(bits)
        q = q.astype(np.int64).astype(np.int16)
        return q, q * s

    @trap("Your guard against a scale of 0 works per channel only. With axis=None an array of zeros needs it too.")
    def no_guard_without_axis(w, bits, axis=None):
        return _quantize(w, bits, axis, guard=axis is not None)

    @trap("uint8 holds no negative numbers: they wrap around. Use a signed type, or leave q in floating point.")
    def unsigned(w, bits, axis=None):
        q, w_hat = _quantize(w, bits, axis)
        return q.astype(np.int64).astype(np.uint8), w_hat

    @trap("w_hat goes back to the size of w: multiply q by the scale. You divide by it.")
    def divided_again(w, bits, axis=None):
        s = _largest(w, axis) / _top(bits)
        s = np.where(s == 0, 1.0, s)
        q = np.clip(np.round(w / s), -_top(bits), _top(bits))
        return q, q / s

    @trap(
        "reshape keeps the order in memory: its rows are the channels only if the kept axis is the first. Reduce over all other axes instead, or move the axis first."
    )
    def reshaped(w, bits, axis=None):
        q, w_hat = _quantize(w.reshape(1 if axis is None else w.shape[axis], -1), bits, 0)
        return q.reshape(w.shape), w_hat.reshape(w.shape)

    @trap(
        "The maximum goes over ALL axes but `axis`: none for a vector, two for an array with three axes. 1 − axis is right for matrices only."
    )
    def matrices_only(w, bits, axis=None):
        return _quantize(
            w,
            bits,
            axis,
            largest=lambda v, a: np.abs(v).max() if a is None else np.abs(v).max(axis=1 - a if v.ndim > 1 else None, keepdims=True),
        )

    @right("one channel at a time")
    def channel_by_channel(w, bits, axis=None):
        top = 2 ** (bits - 1) - 1

        def one(v):
            largest = max(abs(float(a)) for a in v.flat)
            if largest == 0:
                return np.zeros(v.shape, int), np.zeros(v.shape)
            s = largest / top
            q = np.rint(v / s).astype(int)
            return q, q * s

        if axis is None:
            return one(w)
        parts = [one(v) for v in np.moveaxis(w, axis, 0)]
        return np.moveaxis(np.stack([p[0] for p in parts]), 0, axis), np.moveaxis(np.stack([p[1] for p in parts]), 0, axis)

    @right("torch")
    def with_torch(w, bits, axis=None):
        t, top = torch.as_tensor(w), 2 ** (bits - 1) - 1
        dims = [d for d in range(t.ndim) if d != axis]
        m = t.abs().amax(dim=dims, keepdim=True) if dims else t.abs()
        q = torch.where(m > 0, t / torch.where(m > 0, m, 1.0) * top, 0.0).round().clamp(-top, top).to(torch.int32)
        return q, q * m / top


# ----------------------------------------------------------------------------------------------------------------------- ste


def _ste(backward):
    """A fake quantizer with the exact forward and the gradient `backward(g, w, s, qm)`."""

    class Fake(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w, s, qm):
            ctx.save_for_backward(w)
            ctx.s, ctx.qm = s, qm
            return torch.clamp(torch.round(w / s), -qm, qm) * s

        @staticmethod
        def backward(ctx, g):
            return backward(g, ctx.saved_tensors[0], ctx.s, ctx.qm), None, None

    return lambda w, s, qm: Fake.apply(w, s, qm)


def _inside(w, s, qm):
    return (torch.round(w / s).abs() <= qm).to(w.dtype)


def _weights(seed, shape, s, qm):
    """Tensors with entries well inside, just below, just beyond and far beyond the range, none at a tie."""
    w = torch.as_tensor(normal(shape, 0.6 * s * qm, seed)).reshape(-1)
    w[:6] = torch.tensor([qm + 0.3, -qm - 0.4, qm + 0.7, -qm - 3.2, 0.2, 1.4 - qm], dtype=torch.float64) * s
    return w.reshape(shape)


def _g(shape, seed):
    return torch.as_tensor(normal(shape, 1.0, 100 + seed))


@exercise(
    "efficiency.ste",
    names="fake_quant_ste",
    covers=["efficiency.tq01", "efficiency.regimes", "thirty.tq23"],
    forbid=["torch.fake_quantize_per_tensor_affine"],
)
class Ste:
    def reference(w, s, qm):
        scaled = torch.round(w / s)
        kept = (scaled >= -qm) & (scaled <= qm)
        value = (scaled.clamp(-qm, qm) * s).detach()
        return torch.where(kept, w + (value - w).detach(), value)

    def _forward(submission, w, s, qm, g):
        return submission.fake_quant_ste(w.clone().requires_grad_(True), s, qm)

    def _backward(submission, w, s, qm, g):
        leaf = w.clone().requires_grad_(True)
        (3.0 * submission.fake_quant_ste(leaf, s, qm) * g).sum().backward()
        return {"gradient": torch.zeros_like(leaf) if leaf.grad is None else leaf.grad}

    _CASES = [
        call(_weights(i, shape, s, qm), s, qm, _g(shape, i))
        for i, (shape, s, qm) in enumerate([((9,), 0.25, 7), ((3, 5), 0.1, 3), ((4, 4), 2.0, 1), ((2, 3, 4), 0.03, 127)])
    ]
    cases = {"values": group(_CASES, probe=_forward), "gradient": group(_CASES, probe=_backward)}

    _flat = "No gradient reaches the weights: round() has slope 0 almost everywhere, and what is detached has none at all. Pass the gradient straight through (identity) inside the range."
    plain = trap(_flat)(lambda w, s, qm: torch.clamp(torch.round(w / s), -qm, qm) * s)
    pass_all = trap("Weights beyond the range are clipped: moving them changes nothing, so their gradient is 0. You pass it on for all.")(
        _ste(lambda g, w, s, qm: g)
    )
    nothing_passes = trap(_flat)(_ste(lambda g, w, s, qm: torch.zeros_like(g)))
    _scale = "The division by s and the multiplication by s cancel in the derivative: the slope inside the range is 1."
    times_scale = trap(_scale)(_ste(lambda g, w, s, qm: g * s * _inside(w, s, qm)))
    over_scale = trap(_scale)(_ste(lambda g, w, s, qm: g / s * _inside(w, s, qm)))
    upstream_ignored = trap("backward gets the gradient from above: multiply the mask by it. Yours returns the mask alone.")(
        _ste(lambda g, w, s, qm: _inside(w, s, qm))
    )
    mask_reversed = trap("The mask is the wrong way round: the gradient passes inside the range and is 0 beyond it.")(
        _ste(lambda g, w, s, qm: g * (1 - _inside(w, s, qm)))
    )
    mask_strict = trap("The end points belong to the range: a weight that rounds to exactly ±qm is not clipped, and its gradient passes.")(
        _ste(lambda g, w, s, qm: g * (torch.round(w / s).abs() < qm))
    )
    mask_on_one_side = trap("The range has two ends: weights below −qm are clipped as well, and their gradient is 0.")(
        _ste(lambda g, w, s, qm: g * (torch.round(w / s) <= qm))
    )
    mask_without_scale = trap("You compared w itself with qm. The range is in units of the step: test the rounded w/s.")(
        _ste(lambda g, w, s, qm: g * (w.abs() <= qm))
    )

    rounded_down = trap("The forward pass rounds to the nearest integer; yours rounds down.")(
        lambda w, s, qm: (
            w * (torch.floor(w / s).abs() <= qm) + (torch.floor(w / s).clamp(-qm, qm) * s - w * (torch.floor(w / s).abs() <= qm)).detach()
        )
    )
    cut_off = trap("The forward pass rounds to the nearest integer; yours cuts the fraction off.")(
        lambda w, s, qm: (
            w * (torch.trunc(w / s).abs() <= qm) + (torch.trunc(w / s).clamp(-qm, qm) * s - w * (torch.trunc(w / s).abs() <= qm)).detach()
        )
    )

    not_rounded = trap("Nothing is rounded in the forward pass: the values have to lie on the grid, clamp(round(w/s), −qm, qm) · s.")(
        lambda w, s, qm: torch.clamp(w / s, -qm, qm) * s
    )
    not_quantized = trap(
        "The forward pass returns w itself, or 0 beyond the range. Only the GRADIENT is that of w; the value is that of the grid: w + (value − w).detach()."
    )(lambda w, s, qm: w * _inside(w, s, qm))
    value_of_w = trap(
        "detach() is on the wrong part: the value of w and the gradient of round() come out. It is w + (value − w).detach()."
    )(lambda w, s, qm: (lambda value: value + (w - value).detach())(torch.clamp(torch.round(w / s), -qm, qm) * s))

    @trap("The range is symmetric, −qm to qm. Yours begins at −qm − 1, as int8 does.")
    def one_more_below(w, s, qm):
        r = torch.round(w / s)
        inside = ((r >= -qm - 1) & (r <= qm)).to(w.dtype)
        return w * inside + (r.clamp(-qm - 1, qm) * s - w * inside).detach()

    @trap("You tested w/s before rounding. At 7.3 with qm = 7 the rounded value is 7, in range: the gradient passes.")
    def mask_before_rounding(w, s, qm):
        c = torch.clamp(w, -qm * s, qm * s)
        return c + (torch.clamp(torch.round(w / s), -qm, qm) * s - c).detach()

    @trap("The values are not clipped: beyond the range the forward pass has to return ±qm·s.")
    def not_clipped(w, s, qm):
        value = torch.round(w / s) * s
        return torch.where(_inside(w, s, qm) > 0, w + (value - w).detach(), value.detach())

    @trap("The integers are not scaled back: multiply the clipped integers by s.")
    def not_restored(w, s, qm):
        value = torch.clamp(torch.round(w / s), -qm, qm)
        return torch.where(_inside(w, s, qm) > 0, w + (value - w).detach(), value.detach())

    @right("an autograd.Function with a mask")
    def function(w, s, qm):
        class Fake(torch.autograd.Function):
            @staticmethod
            def forward(ctx, w):
                r = torch.round(w / s)
                ctx.save_for_backward(r.abs() <= qm)
                return r.clamp(-qm, qm) * s

            @staticmethod
            def backward(ctx, g):
                return g * ctx.saved_tensors[0]

        return Fake.apply(w)

    @right("value plus a masked zero that carries the gradient")
    def detached(w, s, qm):
        r = torch.round(w.detach() / s)
        mask = (r.abs() <= qm).to(w.dtype)
        return torch.clamp(r, -qm, qm) * s + (w - w.detach()) * mask


# ---------------------------------------------------------------------------------------------------------------------- w8a8


def _int8(a, axis):
    s = np.abs(a).max(axis=axis, keepdims=True) / 127
    return np.round(a / s), s


def _int8_signed(a, axis):
    s = a.max(axis=axis, keepdims=True) / 127
    return np.round(a / s), s


def _wrapped(q):
    return q.astype(np.int32).astype(np.int8).astype(np.int32)


def _clipped(q):
    return np.clip(q, -127, 127)


def _int8_layer(for_x, for_w, fit=np.asarray):
    def layer(x, w):
        (qx, sx), (qw, sw) = for_x(x, 1), for_w(w, 1)
        return (fit(qx) @ fit(qw).T) * sx * sw.T

    return layer


def _outlier_rows(shape, seed, factors, shift=0.0):
    a = normal(shape, 1.0, seed) + shift
    return a * np.resize(factors, shape[0])[:, None]


@exercise(
    "efficiency.w8a8", names="int8_linear", covers=["efficiency.tq03", "efficiency.regimes", "efficiency.clears-up"], keeps_dtype=True
)
class W8a8:
    def reference(x, w):
        sx, sw = np.abs(x).max(axis=1, keepdims=True) / 127, np.abs(w).max(axis=1, keepdims=True) / 127
        return (np.round(x / sx) @ np.round(w / sw).T) * sx * sw.T

    cases = {
        "values": [
            call(normal((3, 5), 1.0, 1), normal((4, 5), 0.3, 2)),
            call(normal((4, 4), 1.0, 3), normal((4, 4), 0.3, 4)),
            call(normal((1, 7), 1.0, 5), normal((2, 7), 1.0, 6)),
        ],
        "scales": [
            call(_outlier_rows((5, 6), 7, [1, 80, 0.2]), _outlier_rows((3, 6), 8, [0.01, 3])),
            call(_outlier_rows((4, 4), 9, [0.1, 1, 50]), _outlier_rows((4, 4), 10, [5, 0.02, 1])),
            call(_outlier_rows((3, 5), 15, [1e-11, 1e4, 1]), _outlier_rows((3, 5), 16, [3e5, 1, 1e-2])),
        ],
        "accumulator": [
            call(_outlier_rows((3, 64), 11, [1, 4], 3.0), _outlier_rows((5, 64), 12, [0.2, 1], 3.0)),
            call(_outlier_rows((2, 300), 13, [1.0], 2.0), _outlier_rows((3, 300), 14, [1, 7], -2.0)),
        ],
    }

    @trap("One scale for all of x: a single outlier token sets the step for every other token. One scale per row of x.")
    def one_scale_for_tokens(x, w):
        (qx, sx), (qw, sw) = _int8(x, None), _int8(w, 1)
        return (qx @ qw.T) * sx * sw.T

    @trap("One scale for all of w: channels with small weights lose their digits. One scale per output channel (row of w).")
    def one_scale_for_weights(x, w):
        (qx, sx), (qw, sw) = _int8(x, 1), _int8(w, None)
        return (qx @ qw.T) * sx * sw

    @trap("Both scales are per tensor: one outlier spoils all rows. Take one per row of x and one per row of w.")
    def both_per_tensor(x, w):
        (qx, sx), (qw, sw) = _int8(x, None), _int8(w, None)
        return (qx @ qw.T) * sx * sw

    @trap(
        "Scales per input channel lie along the axis that is summed over, so they cannot be taken out of the sum. Use one per output channel (row of w)."
    )
    def scale_per_input(x, w):
        (qx, sx), (qw, sw) = _int8(x, 1), _int8(w, 0)
        return (qx @ (qw * sw).T) * sx

    _acc = "The sum of many products of up to 127·127 does not fit: it wraps around without a word. Accumulate in int32: cast before the product."
    int8_accumulator = trap(_acc)(
        lambda x, w: (_int8(x, 1)[0].astype(np.int8) @ _int8(w, 1)[0].astype(np.int8).T) * _int8(x, 1)[1] * _int8(w, 1)[1].T
    )
    int16_accumulator = trap(_acc)(
        lambda x, w: (_int8(x, 1)[0].astype(np.int16) @ _int8(w, 1)[0].astype(np.int16).T) * _int8(x, 1)[1] * _int8(w, 1)[1].T
    )
    cast_after_the_product = trap(_acc)(
        lambda x, w: (
            (_int8(x, 1)[0].astype(np.int8) @ _int8(w, 1)[0].astype(np.int8).T).astype(np.int32) * _int8(x, 1)[1] * _int8(w, 1)[1].T
        )
    )
    int8_and_per_tensor = trap(
        "Two faults are left: the accumulator (cast to int32 before the product) and the scales (one per row of x and per row of w)."
    )(lambda x, w: (_int8(x, None)[0].astype(np.int8) @ _int8(w, None)[0].astype(np.int8).T) * _int8(x, None)[1] * _int8(w, None)[1])

    @trap("Both quantizations have to be undone: multiply by the scale of x AND by the scale of w.")
    def weight_scale_forgotten(x, w):
        (qx, sx), (qw, _) = _int8(x, 1), _int8(w, 1)
        return (qx @ qw.T) * sx

    @trap("Both quantizations have to be undone: multiply by the scale of x AND by the scale of w.")
    def token_scale_forgotten(x, w):
        (qx, _), (qw, sw) = _int8(x, 1), _int8(w, 1)
        return (qx @ qw.T) * sw.T

    @trap("The product is exact: nothing was quantized. Round both factors to integers first; the multiplication runs on those.")
    def in_floating_point(x, w):
        return x @ w.T

    @trap("Only the weights are quantized here (W8A16). W8A8 rounds the activations too, one scale per token.")
    def weights_only(x, w):
        qw, sw = _int8(w, 1)
        return (x @ qw.T) * sw.T

    _signed = "The largest entry of a row may be negative: take the maximum of the absolute values."

    signed_maximum = trap(_signed)(_int8_layer(_int8_signed, _int8))
    signed_maximum_of_w = trap(_signed)(_int8_layer(_int8, _int8_signed))
    signed_maxima = trap(_signed)(_int8_layer(_int8_signed, _int8_signed))
    signed_maximum_in_int8 = trap(_signed)(_int8_layer(_int8_signed, _int8, fit=_wrapped))
    signed_maximum_of_w_in_int8 = trap(_signed)(_int8_layer(_int8, _int8_signed, fit=_wrapped))
    signed_maxima_in_int8 = trap(_signed)(_int8_layer(_int8_signed, _int8_signed, fit=_wrapped))
    signed_maximum_clipped = trap(_signed)(_int8_layer(_int8_signed, _int8, fit=_clipped))

    @trap(
        "Scales of x per column lie along the axis that is summed over, so they cannot be taken out of the sum. One per token (row of x)."
    )
    def scale_per_column_of_x(x, w):
        (qx, sx), (qw, sw) = _int8(x, 0), _int8(w, 1)
        return ((qx * sx) @ qw.T) * sw.T

    @trap(
        "Scales per column lie along the axis that is summed over, so they cannot be taken out of the sum and no integers are multiplied. One per row of x and of w."
    )
    def scales_inside_the_sum(x, w):
        (qx, sx), (qw, sw) = _int8(x, 0), _int8(w, 0)
        return (qx * sx) @ (qw * sw).T

    @trap("The result is float64: cast the integers, not the product with the scales.")
    def float32_result(x, w):
        (qx, sx), (qw, sw) = _int8(x, 1), _int8(w, 1)
        return ((qx @ qw.T) * sx * sw.T).astype(np.float32)

    @trap("astype(int8) cuts the fraction off. Round to the nearest integer before the cast.")
    def truncated(x, w):
        (_, sx), (_, sw) = _int8(x, 1), _int8(w, 1)
        return (np.trunc(x / sx) @ np.trunc(w / sw).T) * sx * sw.T

    @trap("The divisor is 127, the largest symmetric int8, not half of 255.")
    def half_of_255(x, w):
        sx, sw = 2 * np.abs(x).max(axis=1, keepdims=True) / 255, 2 * np.abs(w).max(axis=1, keepdims=True) / 255
        return (np.round(x / sx) @ np.round(w / sw).T) * sx * sw.T

    @trap(
        "The scale of output channel m belongs to column m of the result: transpose it. With as many tokens as channels the wrong way round fits as well."
    )
    def scale_not_transposed(x, w):
        (qx, sx), (qw, sw) = _int8(x, 1), _int8(w, 1)
        return (qx @ qw.T) * sx * (sw if len(x) == len(w) else sw.T)

    @trap("The divisor is 127, the largest symmetric int8. With 128 the step is too small for the grid.")
    def divided_by_128(x, w):
        sx, sw = np.abs(x).max(axis=1, keepdims=True) / 128, np.abs(w).max(axis=1, keepdims=True) / 128
        return (np.clip(np.round(x / sx), -128, 127) @ np.clip(np.round(w / sw), -128, 127).T) * sx * sw.T

    @right("integers all the way, one entry at a time")
    def loops(x, w):
        y = np.zeros((len(x), len(w)))
        for i, row in enumerate(x):
            s_row = max(abs(row)) / 127
            for j, channel in enumerate(w):
                s_channel = max(abs(channel)) / 127
                total = sum(round(float(a)) * round(float(b)) for a, b in zip(row / s_row, channel / s_channel, strict=True))
                y[i, j] = total * s_row * s_channel
        return y

    @right("torch, int32")
    def with_torch(x, w):
        x, w = torch.as_tensor(x), torch.as_tensor(w)
        sx, sw = x.abs().amax(1) / 127, w.abs().amax(1) / 127
        qx, qw = (x / sx[:, None]).round().to(torch.int32), (w / sw[:, None]).round().to(torch.int32)
        return torch.einsum("nk,mk->nm", qx, qw) * torch.outer(sx, sw)


# --------------------------------------------------------------------------------------------------------------- smoothquant


def _hot(shape, seed, channel, factor=60.0):
    x = normal(shape, 1.0, seed)
    x[:, channel] *= factor
    return x


def _smooth(x, w, alpha, s):
    return s, x / s, w * s


def _maxima(x, w):
    return np.abs(x).max(axis=0), np.abs(w).max(axis=0)


@exercise("efficiency.smoothquant", names="smooth", covers=["efficiency.tq04", "efficiency.debug-int8"])
class Smoothquant:
    def reference(X, W, alpha=0.5):
        s = np.abs(X).max(axis=0) ** alpha / np.abs(W).max(axis=0) ** (1 - alpha)
        return s, X / s, W * s

    def _scales(submission, *args, **kwargs):
        return {"s": submission.smooth(*args, **kwargs)[0]}

    def _both(submission, X, W, *args, **kwargs):
        _, X2, W2 = submission.smooth(X, W, *args, **kwargs)
        return {"X2": X2, "W2": W2, "product": X2 @ W2.T}

    _CASES = [
        call(_hot((6, 5), 1, 2), normal((3, 5), 0.4, 2)),
        call(_hot((4, 4), 3, 0), normal((4, 4), 0.4, 4), 0.75),
        call(_hot((3, 7), 5, 6), normal((5, 7), 2.0, 6), alpha=0.2),
        call(-np.abs(_hot((4, 3), 7, 1)), -np.abs(normal((2, 3), 1.0, 8)), alpha=0.9),
        call(normal((1, 4), 1.0, 9), normal((1, 4), 1.0, 10), alpha=1.0),
        call(_hot((4, 5), 11, 1), normal((3, 5), 0.5, 12), alpha=0.0),
        call(normal((4, 3), 1.0, 13) * np.array([1e-13, 1.0, 1e3]), normal((2, 3), 1.0, 14) * np.array([1.0, 1e-8, 30.0]), 0.5),
    ]
    cases = {"scales": group(_CASES, probe=_scales), "smoothed": group(_CASES, probe=_both)}

    @trap("Channels are inputs: take the weight's maximum per input column of W, not one number for all.")
    def one_weight_maximum(X, W, alpha=0.5):
        return _smooth(X, W, alpha, np.abs(X).max(axis=0) ** alpha / np.abs(W).max() ** (1 - alpha))

    @trap("alpha is the share that moves away from the activations: it is the exponent of max|X|; max|W| gets 1 − alpha.")
    def exponents_swapped(X, W, alpha=0.5):
        a, b = _maxima(X, W)
        return _smooth(X, W, alpha, a ** (1 - alpha) / b**alpha)

    @trap("Dividing X changes the product unless the columns of W are multiplied by the same factors. You left W as it was.")
    def weights_unchanged(X, W, alpha=0.5):
        a, b = _maxima(X, W)
        s = a**alpha / b ** (1 - alpha)
        return s, X / s, W.copy()

    @trap("One common factor leaves the outlier channel an outlier. One factor per input channel: maxima along the rows, axis 0.")
    def one_factor(X, W, alpha=0.5):
        s = np.full(X.shape[1], np.abs(X).max() ** alpha / np.abs(W).max() ** (1 - alpha))
        return _smooth(X, W, alpha, s)

    @trap("The two powers are divided, not multiplied: a large weight in the channel is a reason to move less into it.")
    def powers_multiplied(X, W, alpha=0.5):
        a, b = _maxima(X, W)
        return _smooth(X, W, alpha, a**alpha * b ** (1 - alpha))

    @trap("The factors are applied the wrong way round: divide X by s and multiply W by s. Yours makes the outliers larger.")
    def wrong_way_round(X, W, alpha=0.5):
        a, b = _maxima(X, W)
        s = a**alpha / b ** (1 - alpha)
        return s, X * s, W / s

    @trap("Magnitudes: max|X| and max|W|. With signed maxima a large negative entry goes unseen.")
    def signed_maxima(X, W, alpha=0.5):
        s = np.abs(X.max(axis=0)) ** alpha / np.abs(W.max(axis=0)) ** (1 - alpha)
        return _smooth(X, W, alpha, s)

    @trap("W has to be multiplied by s, as X is divided by it. You divided both, and the product shrinks by s².")
    def both_divided(X, W, alpha=0.5):
        a, b = _maxima(X, W)
        s = a**alpha / b ** (1 - alpha)
        return s, X / s, W / s

    @trap("The weight's term is missing: s = max|X|^alpha / max|W|^(1 − alpha).")
    def activations_only(X, W, alpha=0.5):
        return _smooth(X, W, alpha, np.abs(X).max(axis=0) ** alpha)

    @trap("The argument alpha is ignored; you always take the square roots.")
    def always_one_half(X, W, alpha=0.5):
        a, b = _maxima(X, W)
        return _smooth(X, W, alpha, np.sqrt(a / b))

    @trap("Magnitudes: max|X| and max|W|. With signed maxima a large negative entry goes unseen.")
    def signed_maximum_of_x(X, W, alpha=0.5):
        return _smooth(X, W, alpha, np.abs(X.max(axis=0)) ** alpha / np.abs(W).max(axis=0) ** (1 - alpha))

    @trap("Magnitudes: max|X| and max|W|. With signed maxima a large negative entry goes unseen.")
    def signed_maximum_of_w(X, W, alpha=0.5):
        return _smooth(X, W, alpha, np.abs(X).max(axis=0) ** alpha / np.abs(W.max(axis=0)) ** (1 - alpha))

    @trap("Magnitudes: max|X| and max|W|. With signed maxima a large negative entry goes unseen.")
    def maxima_with_their_signs(X, W, alpha=0.5):
        return _smooth(X, W, alpha, X.max(axis=0) ** alpha / W.max(axis=0) ** (1 - alpha))

    @trap("Magnitudes: max|X| and max|W|. With signed maxima a large negative entry goes unseen.")
    def maximum_of_w_with_its_sign(X, W, alpha=0.5):
        return _smooth(X, W, alpha, np.abs(X).max(axis=0) ** alpha / W.max(axis=0) ** (1 - alpha))

    @trap("Magnitudes: max|X| and max|W|. With signed maxima a large negative entry goes unseen.")
    def maximum_of_x_with_its_sign(X, W, alpha=0.5):
        return _smooth(X, W, alpha, X.max(axis=0) ** alpha / np.abs(W).max(axis=0) ** (1 - alpha))

    @trap("The step of the grid is set by the LARGEST magnitude of a channel, not by its mean or its norm. Take the maximum.")
    def mean_magnitudes(X, W, alpha=0.5):
        return _smooth(X, W, alpha, np.abs(X).mean(axis=0) ** alpha / np.abs(W).mean(axis=0) ** (1 - alpha))

    @trap("The step of the grid is set by the LARGEST magnitude of a channel, not by its mean or its norm. Take the maximum.")
    def mean_magnitude_of_x(X, W, alpha=0.5):
        return _smooth(X, W, alpha, np.abs(X).mean(axis=0) ** alpha / np.abs(W).max(axis=0) ** (1 - alpha))

    @trap("The step of the grid is set by the LARGEST magnitude of a channel, not by its mean or its norm. Take the maximum.")
    def norms(X, W, alpha=0.5):
        return _smooth(X, W, alpha, np.sqrt((X**2).sum(axis=0)) ** alpha / np.sqrt((W**2).sum(axis=0)) ** (1 - alpha))

    @trap("The exponent of max|W| is 1 − alpha; you use alpha for both. At alpha = 0.5 nobody notices.")
    def same_exponent(X, W, alpha=0.5):
        a, b = _maxima(X, W)
        return _smooth(X, W, alpha, (a / b) ** alpha)

    @trap("alpha = 0 is a value, not a missing one: `alpha or 0.5` turns it into 0.5.")
    def alpha_zero_taken_for_missing(X, W, alpha=0.5):
        a, b = _maxima(X, W)
        alpha = alpha or 0.5
        return _smooth(X, W, alpha, a**alpha / b ** (1 - alpha))

    @trap("s is the factor that X is divided by: max|X|^alpha is on top. Yours is its inverse.")
    def inverse_factor(X, W, alpha=0.5):
        a, b = _maxima(X, W)
        return _smooth(X, W, alpha, b ** (1 - alpha) / a**alpha)

    @right("channel by channel")
    def loops(X, W, alpha=0.5):
        X2, W2, s = X.copy(), W.copy(), []
        for j in range(X.shape[1]):
            f = max(abs(v) for v in X[:, j]) ** alpha * max(abs(v) for v in W[:, j]) ** (alpha - 1)
            X2[:, j] /= f
            W2[:, j] *= f
            s.append(f)
        return np.array(s), X2, W2

    @right("through logarithms, as diagonal matrices")
    def through_logs(X, W, alpha=0.5):
        s = np.exp(alpha * np.log(np.abs(X).max(0)) - (1 - alpha) * np.log(np.abs(W).max(0)))
        return s, X @ np.diag(1 / s), W @ np.diag(s)


# --------------------------------------------------------------------------------------------------------------- sensitivity


def _mlp(Ws, x):
    for W in Ws[:-1]:
        x = np.tanh(x @ W.T)
    return x @ Ws[-1].T


def _rounded(W, bits, per_row=False):
    return _quantize(W, bits, 0 if per_row else None)[1]


def _sensitivity(
    Ws, x, bits, which=lambda i, layer: i == layer, error=lambda a: (a**2).mean(), per_row=False, forward=_mlp, rounded=_rounded
):
    exact = forward(Ws, x)
    errors = np.array(
        [error(forward([rounded(W, bits, per_row) if which(i, n) else W for i, W in enumerate(Ws)], x) - exact) for n in range(len(Ws))]
    )
    return errors, np.argsort(-errors)


def _layers(sizes, seed, outlier=None):
    Ws = [normal((b, a), 1 / np.sqrt(a), seed + i) for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))]
    if outlier is not None:
        Ws[outlier][0, 0] = 4.0
    return Ws


def _all_tanh(Ws, x):
    for W in Ws:
        x = np.tanh(x @ W.T)
    return x


@exercise("efficiency.sensitivity", names="layer_sensitivity", covers=["efficiency.debug-int8", "efficiency.tq02"])
class Sensitivity:
    def reference(Ws, x, bits):
        def forward(weights):
            h = x
            for i, W in enumerate(weights):
                h = h @ W.T
                h = np.tanh(h) if i < len(weights) - 1 else h
            return h

        top, exact, errors = 2 ** (bits - 1) - 1, forward(Ws), []
        for layer, W in enumerate(Ws):
            s = np.abs(W).max() / top
            errors.append(((forward([*Ws[:layer], np.round(W / s) * s, *Ws[layer + 1 :]]) - exact) ** 2).mean())
        return np.array(errors), np.argsort(-np.array(errors))

    def _errors(submission, Ws, x, bits):
        return {"errors": np.array([float(e) for e in submission.layer_sensitivity(Ws, x, bits)[0]])}

    def _ranking(submission, Ws, x, bits):
        return {"ranking": np.array([int(i) for i in submission.layer_sensitivity(Ws, x, bits)[1]])}

    _CASES = [
        call(_layers([5, 7, 6, 3], 1, 1), normal((9, 5), 1.0, 20), 8),
        call(_layers([4, 4, 4, 4, 4], 11, 2), normal((4, 4), 1.0, 21), 4),
        call(_layers([3, 8, 2], 31, 0), normal((11, 3), 1.0, 22), 6),
        call(_layers([6, 5, 5, 4, 3, 2], 41), normal((7, 6), 1.0, 23), 3),
        call(_layers([4, 6, 5, 3], 61, 2), normal((5, 4), 1.0, 24), 5),
        call(_layers([4, 5, 3], 71, 0), normal((5, 4), 1.0, 25), 10),
        call(_layers([4, 3], 81), normal((5, 4), 1.0, 26), 4),
    ]
    cases = {"errors": group(_CASES, probe=_errors, rtol=1e-6, atol=1e-14), "ranking": group(_CASES, probe=_ranking)}

    all_but_one = trap("You quantize all layers but one. Sensitivity of a layer: quantize exactly that one and keep the others exact.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, which=lambda i, n: i != n)
    )
    cumulative = trap("The layers before stay quantized from one round to the next. Start each round from the original weights.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, which=lambda i, n: i <= n)
    )
    all_at_once = trap("Quantizing all layers at once gives one number, not a ranking. One layer at a time.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, which=lambda i, n: True)
    )

    @trap("This is the error of the weights. A large one may not matter, a small one may: compare the outputs of the network.")
    def weight_error(Ws, x, bits):
        e = np.array([((_rounded(W, bits) - W) ** 2).mean() for W in Ws])
        return e, np.argsort(-e)

    @trap("The most sensitive layer comes first: it is the one to keep in 16 bits. Yours is sorted the other way.")
    def ascending(Ws, x, bits):
        e, ranking = _sensitivity(Ws, x, bits)
        return e, ranking[::-1]

    @trap("The ranking lists layer numbers, most sensitive first. Yours gives each layer its place (argsort of argsort).")
    def places(Ws, x, bits):
        e, ranking = _sensitivity(Ws, x, bits)
        return e, np.argsort(ranking)

    root = trap("The mean SQUARED change is asked for; you took the root of it.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, error=lambda a: np.sqrt((a**2).mean()))
    )
    absolute = trap("The mean SQUARED change is asked for, not the mean absolute one.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, error=lambda a: np.abs(a).mean())
    )
    summed = trap("The MEAN over all entries of the output is asked for; you summed.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, error=lambda a: (a**2).sum())
    )
    per_row = trap("The weights here are quantized with one scale for the whole matrix, so that an outlier shows. You took one per row.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, per_row=True)
    )
    _divisor = "The divisor of max|W| is 2^(bits−1) − 1: one bit is the sign."
    all_bits = trap(_divisor)(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, rounded=lambda W, b, r: _quantize(W, b, top=lambda n: 2**n - 1, clip=False)[1])
    )
    one_too_many = trap(_divisor)(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, rounded=lambda W, b, r: _quantize(W, b, top=lambda n: 2 ** (n - 1), clip=False)[1])
    )
    relative = trap("The squared change itself is asked for, not its ratio to the output's square.")(
        lambda Ws, x, bits: (lambda e: (e, np.argsort(-e)))(_sensitivity(Ws, x, bits)[0] / (_mlp(Ws, x) ** 2).mean())
    )
    maximum = trap("The MEAN squared change is asked for, not the largest change.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, error=lambda a: np.abs(a).max())
    )
    tanh_at_the_end = trap("The last layer is linear: no tanh after it. It would hide errors of large outputs.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, forward=_all_tanh)
    )

    summed_over_outputs = trap("The MEAN over all entries of the output is asked for; you summed.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, error=lambda a: (a**2).sum(axis=1).mean())
    )
    signed_maximum = trap("The largest weight may be negative: the scale is max|W| over the divisor.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, rounded=lambda W, b, r: _quantize(W, b, largest=lambda w, a: np.abs(w.max()))[1])
    )
    signed_maximum_unclipped = trap("The largest weight may be negative: the scale is max|W| over the divisor.")(
        lambda Ws, x, bits: _sensitivity(
            Ws, x, bits, rounded=lambda W, b, r: _quantize(W, b, largest=lambda w, a: np.abs(w.max()), clip=False)[1]
        )
    )
    not_restored = trap("The layer runs on the integers themselves. Restore the weights first: times the scale.")(
        lambda Ws, x, bits: _sensitivity(Ws, x, bits, rounded=lambda W, b, r: _quantize(W, b)[0])
    )

    @trap("You compared the outputs of the quantized layer. Run the rest of the network too: errors grow or fade on the way to the end.")
    def layer_output_without_tanh(Ws, x, bits):
        e = np.array([((_mlp([*Ws[:i], _rounded(W, bits)], x) - _mlp(Ws[: i + 1], x)) ** 2).mean() for i, W in enumerate(Ws)])
        return e, np.argsort(-e)

    @trap("You compared the outputs of the quantized layer. Run the rest of the network too: errors grow or fade on the way to the end.")
    def layer_output(Ws, x, bits):
        e, h = [], x
        for i, W in enumerate(Ws):
            a, b = h @ W.T, h @ _rounded(W, bits).T
            if i < len(Ws) - 1:
                a, b = np.tanh(a), np.tanh(b)
            e.append(((a - b) ** 2).mean())
            h = a
        return np.array(e), np.argsort(-np.array(e))

    @right("lists and sorted")
    def lists(Ws, x, bits):
        top, errors = 2 ** (bits - 1) - 1, []
        exact = _mlp(Ws, x)
        for n in range(len(Ws)):
            changed = list(Ws)
            s = np.max(np.abs(Ws[n])) / top
            changed[n] = np.rint(Ws[n] / s) * s
            errors.append(float(np.mean(np.square(_mlp(changed, x) - exact))))
        return errors, sorted(range(len(Ws)), key=lambda i: errors[i], reverse=True)

    @right("torch, continuing from the changed layer")
    def continuing(Ws, x, bits):
        Ws, h = [torch.as_tensor(W) for W in Ws], torch.as_tensor(x)

        def rest(h, first):
            for i in range(first, len(Ws)):
                h = F.linear(h, Ws[i])
                h = torch.tanh(h) if i + 1 < len(Ws) else h
            return h

        exact, errors = rest(h, 0), []
        for i, W in enumerate(Ws):
            s = W.abs().max() / (2 ** (bits - 1) - 1)
            wrong = F.linear(h, torch.round(W / s) * s)
            wrong = torch.tanh(wrong) if i + 1 < len(Ws) else wrong
            errors.append(((rest(wrong, i + 1) - exact) ** 2).mean().item())
            h = torch.tanh(F.linear(h, W))
        return errors, list(np.argsort(errors)[::-1])


# ------------------------------------------------------------------------------------------------------------------- fold bn


def _fold(W, b, mean, beta, factor):
    return W * factor[:, None], (b - mean) * factor + beta


def _bn_case(o, i, seed, eps, small=False):
    var = np.abs(normal((o,), 1.0, seed + 4)) * (0.01 if small else 1.0) + 0.003
    return call(
        normal((o, i), 1.0, seed),
        normal((o,), 1.0, seed + 1),
        normal((o,), 1.0, seed + 2) + 1,
        normal((o,), 1.0, seed + 3),
        normal((o,), 2.0, seed + 5),
        var,
        eps,
    )


@exercise(
    "fqa.fold-bn",
    names="fold_bn",
    covers=["fqa.tq14"],
    forbid=[
        "torch.nn.utils.fusion",
        *(f"torch.nn.utils.fuse_{kind}_bn_{what}" for kind in ("linear", "conv") for what in ("eval", "weights")),
        "torch.ao.quantization",
        "torch.fx.experimental.optimization",
    ],
    rtol=1e-10,
    atol=1e-12,
)
class FoldBn:
    def reference(W, b, gamma, beta, mean, var, eps):
        factor = gamma / np.sqrt(var + eps)
        return W * factor[:, None], (b - mean) * factor + beta

    def probe(submission, *args):
        W2, b2 = submission.fold_bn(*args)
        return {"W2": W2, "b2": b2}

    cases = {
        "values": [_bn_case(3, 5, 1, 1e-5), _bn_case(4, 4, 11, 1e-3), _bn_case(1, 2, 21, 1e-5), _bn_case(6, 2, 31, 1e-5)],
        "small variance": [
            _bn_case(4, 3, 41, 1e-2, small=True),
            _bn_case(3, 3, 51, 1e-2, small=True),
            call(
                normal((3, 2), 1.0, 61),
                normal((3,), 1.0, 62),
                normal((3,), 1.0, 63),
                normal((3,), 1.0, 64),
                normal((3,), 1.0, 65),
                np.array([0.0, 1e-7, 2.0]),
                1e-8,
            ),
        ],
    }

    @trap("BatchNorm divides by the standard deviation: take the square root of var + eps.")
    def variance(W, b, gamma, beta, mean, var, eps):
        return _fold(W, b, mean, beta, gamma / (var + eps))

    @trap("eps belongs under the root, as in the layer that you fold. With small variances it matters.")
    def no_eps(W, b, gamma, beta, mean, var, eps):
        return _fold(W, b, mean, beta, gamma / np.sqrt(var))

    @trap("sqrt(var + eps), not sqrt(var) + eps.")
    def eps_outside(W, b, gamma, beta, mean, var, eps):
        return _fold(W, b, mean, beta, gamma / (np.sqrt(var) + eps))

    @trap("gamma is missing: the scale of a row is gamma / sqrt(var + eps).")
    def no_gamma(W, b, gamma, beta, mean, var, eps):
        return _fold(W, b, mean, beta, 1 / np.sqrt(var + eps))

    @trap("gamma scales everything that BatchNorm normalizes, the old bias and the mean too: (b − mean) · gamma / sqrt(var + eps) + beta.")
    def no_gamma_in_the_bias(W, b, gamma, beta, mean, var, eps):
        return W * (gamma / np.sqrt(var + eps))[:, None], (b - mean) / np.sqrt(var + eps) + beta

    @trap("The running mean is missing: BatchNorm subtracts it first, so b becomes (b − mean) · scale + beta.")
    def no_mean(W, b, gamma, beta, mean, var, eps):
        return _fold(W, b, 0 * mean, beta, gamma / np.sqrt(var + eps))

    @trap("The shift beta is missing in the new bias.")
    def no_beta(W, b, gamma, beta, mean, var, eps):
        return _fold(W, b, mean, 0 * beta, gamma / np.sqrt(var + eps))

    @trap("The old bias goes through BatchNorm as well: (b − mean) is scaled, not the mean alone.")
    def bias_not_scaled(W, b, gamma, beta, mean, var, eps):
        factor = gamma / np.sqrt(var + eps)
        return W * factor[:, None], b - mean * factor + beta

    @trap("The old bias is lost. It is part of what BatchNorm normalizes: (b − mean) · scale + beta.")
    def bias_lost(W, b, gamma, beta, mean, var, eps):
        return _fold(W, 0 * b, mean, beta, gamma / np.sqrt(var + eps))

    @trap("The mean is subtracted after the scaling. BatchNorm subtracts it first: (b − mean) · scale + beta.")
    def mean_not_scaled(W, b, gamma, beta, mean, var, eps):
        factor = gamma / np.sqrt(var + eps)
        return W * factor[:, None], b * factor - mean + beta

    @trap("One factor per output: it scales the ROWS of W [O, I]. On a square matrix broadcasting scales the columns without a word.")
    def columns_scaled(W, b, gamma, beta, mean, var, eps):
        factor = gamma / np.sqrt(var + eps)
        scaled = W * factor if W.shape[0] == W.shape[1] else W * factor[:, None]
        return scaled, (b - mean) * factor + beta

    @trap("beta is added after the scaling, not before it: (b − mean) · scale + beta.")
    def beta_scaled(W, b, gamma, beta, mean, var, eps):
        factor = gamma / np.sqrt(var + eps)
        return W * factor[:, None], (b - mean + beta) * factor

    @trap("The weights have to be scaled too: row o of W times gamma / sqrt(var + eps). You changed the bias only.")
    def weights_unchanged(W, b, gamma, beta, mean, var, eps):
        return W.copy(), (b - mean) * gamma / np.sqrt(var + eps) + beta

    @trap("BatchNorm subtracts the mean; you add it.")
    def mean_added(W, b, gamma, beta, mean, var, eps):
        return _fold(W, b, -mean, beta, gamma / np.sqrt(var + eps))

    @trap("BatchNorm DIVIDES by the standard deviation; you multiply by it.")
    def multiplied_by_deviation(W, b, gamma, beta, mean, var, eps):
        return _fold(W, b, mean, beta, gamma * np.sqrt(var + eps))

    @trap("Use the argument eps: the layer that you fold may have another one than 1e−5.")
    def fixed_eps(W, b, gamma, beta, mean, var, eps):
        return _fold(W, b, mean, beta, gamma / np.sqrt(var + 1e-5))

    @right("a diagonal matrix")
    def diagonal(W, b, gamma, beta, mean, var, eps):
        D = np.diag(gamma * (var + eps) ** -0.5)
        return D @ W, D @ b - D @ mean + beta

    @right("read off from the function: its value at 0 and at the unit vectors")
    def probing(W, b, gamma, beta, mean, var, eps):
        def layer(x):
            return (x @ W.T + b - mean) / np.sqrt(var + eps) * gamma + beta

        zero = layer(np.zeros((1, W.shape[1])))
        return (layer(np.eye(W.shape[1])) - zero).T, zero[0]


# ------------------------------------------------------------------------------------------------------------------ roofline


def _roofline(flops, moved, peak_flops, bandwidth, time=max):
    compute, memory = flops / peak_flops, moved / bandwidth
    return flops / moved, time(compute, memory), "compute" if compute > memory else "memory"


def _moved(tokens, d_in, d_out, w_bytes, a_bytes):
    return w_bytes * d_in * d_out + a_bytes * tokens * (d_in + d_out)


def _total(a, b):
    return a + b


_GPU = (989e12, 3.35e12)


@exercise("efficiency.roofline", names="roofline", covers=["efficiency.bottleneck", "efficiency.tq06", "bank.tq11"])
class Roofline:
    def reference(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        flops = 2 * tokens * d_in * d_out
        moved = w_bytes * d_in * d_out + a_bytes * tokens * d_in + a_bytes * tokens * d_out
        compute, memory = flops / peak_flops, moved / bandwidth
        return flops / moved, max(compute, memory), "compute" if compute > memory else "memory"

    def probe(submission, *args):
        intensity, seconds, bound = submission.roofline(*args)
        return {"intensity": intensity, "picoseconds": seconds * 1e12, "bound": bound}

    cases = {
        "memory-bound": [
            call(1, 4096, 11008, 2, 2, *_GPU),
            call(1, 512, 512, 0.5, 2, *_GPU),
            call(8, 1024, 4096, 1, 2, *_GPU),
            call(5, 64, 16, 4, 4, 1e9, 1e8),
            call(900, 4096, 4096, 2, 2, 1e15, 1e12),
        ],
        "compute-bound": [
            call(4096, 4096, 4096, 2, 2, *_GPU),
            call(4096, 4096, 11008, 0.5, 2, *_GPU),
            call(700, 2048, 8192, 1, 1, 100e12, 2e12),
            call(64, 100, 300, 2, 4, 1e9, 1e9),
        ],
        "close calls": [
            call(512, 512, 512, 2, 2, *_GPU),  # activations decide: without them it would be compute-bound
            call(230, 4096, 4096, 2, 2, *_GPU),
            call(200, 4096, 4096, 1, 1, *_GPU),
            call(90, 300, 500, 4, 2, 60e9, 1e9),
            call(16, 300, 500, 0.5, 0.5, 60e9, 1e9),
            call(64, 300, 100, 0.5, 8, 1e9, 1e8),
        ],
    }

    @trap("A multiply-add is two floating-point operations: 2 · tokens · d_in · d_out.")
    def multiply_adds(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(tokens * d_in * d_out, _moved(tokens, d_in, d_out, w_bytes, a_bytes), peak_flops, bandwidth)

    @trap("Weights are read once per pass, whatever the number of tokens. That is why batching helps.")
    def weights_per_token(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(2 * tokens * d_in * d_out, _moved(tokens, d_in, d_out, w_bytes * tokens, a_bytes), peak_flops, bandwidth)

    @trap("Inputs and outputs are moved as well, tokens · (d_in + d_out) numbers of a_bytes. At large batches they matter.")
    def no_activations(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(2 * tokens * d_in * d_out, w_bytes * d_in * d_out, peak_flops, bandwidth)

    @trap("The outputs are written to memory too: tokens · d_out numbers. You count the inputs only.")
    def no_outputs(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(2 * tokens * d_in * d_out, w_bytes * d_in * d_out + a_bytes * tokens * d_in, peak_flops, bandwidth)

    @trap("The inputs are read from memory too: tokens · d_in numbers. You count the outputs only.")
    def no_inputs(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(2 * tokens * d_in * d_out, w_bytes * d_in * d_out + a_bytes * tokens * d_out, peak_flops, bandwidth)

    @trap("Each token brings its own input and output: multiply their bytes by the number of tokens.")
    def activations_of_one_token(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(2 * tokens * d_in * d_out, _moved(1, d_in, d_out, w_bytes, a_bytes), peak_flops, bandwidth)

    @trap("Loading and computing overlap: the slower of the two sets the time. You add them.")
    def sum_of_times(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(2 * tokens * d_in * d_out, _moved(tokens, d_in, d_out, w_bytes, a_bytes), peak_flops, bandwidth, time=_total)

    @trap("The slower resource limits: take the maximum of the two times, not the minimum.")
    def faster_of_the_two(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(2 * tokens * d_in * d_out, _moved(tokens, d_in, d_out, w_bytes, a_bytes), peak_flops, bandwidth, time=min)

    @trap(
        "Your verdict is on the wrong side of the ridge, peak_flops / bandwidth: below it (a smaller intensity) the memory limits, above it the arithmetic."
    )
    def verdict_reversed(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        i, t, bound = _roofline(2 * tokens * d_in * d_out, _moved(tokens, d_in, d_out, w_bytes, a_bytes), peak_flops, bandwidth)
        return i, t, {"compute": "memory", "memory": "compute"}[bound]

    @trap("Weights take w_bytes each, activations a_bytes: you have them exchanged or use one for both.")
    def one_size(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(2 * tokens * d_in * d_out, _moved(tokens, d_in, d_out, w_bytes, w_bytes), peak_flops, bandwidth)

    @trap("Weights take w_bytes each, activations a_bytes: you have them exchanged or use one for both.")
    def sizes_exchanged(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(2 * tokens * d_in * d_out, _moved(tokens, d_in, d_out, a_bytes, w_bytes), peak_flops, bandwidth)

    @trap("Intensity is operations PER byte; yours is bytes per operation.")
    def intensity_inverted(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        i, t, bound = _roofline(2 * tokens * d_in * d_out, _moved(tokens, d_in, d_out, w_bytes, a_bytes), peak_flops, bandwidth)
        return 1 / i, t, bound

    @trap("The output has tokens · d_out numbers. You count the size of the input twice, which is right for square layers only.")
    def input_twice(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        return _roofline(2 * tokens * d_in * d_out, w_bytes * d_in * d_out + 2 * a_bytes * tokens * d_in, peak_flops, bandwidth)

    @trap("The ridge belongs to the machine: peak_flops / bandwidth. 295 is that of the example GPU.")
    def ridge_of_the_example(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        i, t, _ = _roofline(2 * tokens * d_in * d_out, _moved(tokens, d_in, d_out, w_bytes, a_bytes), peak_flops, bandwidth)
        return i, t, "compute" if i > 295 else "memory"

    @right("compares the intensity with the ridge")
    def with_ridge(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        moved = d_in * d_out * w_bytes + (d_in + d_out) * tokens * a_bytes
        intensity = 2.0 * tokens * d_in * d_out / moved
        speed = min(peak_flops, intensity * bandwidth)
        return intensity, 2 * tokens * d_in * d_out / speed, "memory" if intensity < peak_flops / bandwidth else "compute"

    @right("NumPy")
    def with_numpy(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth):
        flops = 2 * np.prod([tokens, d_in, d_out], dtype=float)
        moved = np.dot([w_bytes, a_bytes, a_bytes], [d_in * d_out, tokens * d_in, tokens * d_out])
        times = np.array([flops / peak_flops, moved / bandwidth])
        return flops / moved, times.max(), ["compute", "memory"][int(times.argmax())]


# ------------------------------------------------------------------------------------------------------------------ KV bytes


def _cache(layers, kv_heads, head_dim, seq, batch, dtype_bytes):
    return 2 * layers * kv_heads * head_dim * seq * batch * dtype_bytes


def _room(gpu_bytes, weight_bytes, per_sequence_bytes):
    return max(0, (gpu_bytes - weight_bytes) // per_sequence_bytes)


def _kv(kv_cache_bytes=_cache, max_batch=_room):
    return SimpleNamespace(kv_cache_bytes=kv_cache_bytes, max_batch=max_batch)


def _only_cache(submission, *args):
    return submission.kv_cache_bytes(*args)


def _only_room(submission, *args):
    return submission.max_batch(*args)


_GB = 10**9


@exercise("efficiency.kv-bytes", names="kv_cache_bytes max_batch", covers=["efficiency.kv-memory", "efficiency.probe", "efficiency.tq05"])
class KvBytes:
    class reference:
        def kv_cache_bytes(layers, kv_heads, head_dim, seq, batch, dtype_bytes):
            return 2 * layers * kv_heads * head_dim * seq * batch * dtype_bytes

        def max_batch(gpu_bytes, weight_bytes, per_sequence_bytes):
            return max(0, (gpu_bytes - weight_bytes) // per_sequence_bytes)

    cases = {
        "values": group(
            [
                call(80, 8, 128, 4096, 8, 2),
                call(80, 64, 128, 4096, 8, 2),
                call(32, 32, 96, 1000, 3, 1),
                call(3, 5, 7, 11, 13, 4),
                call(12, 1, 64, 17, 1, 2),
                call(97, 129, 131, 1_000_003, 4099, 3),
                call(999_983, 129, 131, 1_000_003, 999_983, 3),
            ],
            probe=_only_cache,
        ),
        "fits": group(
            [
                call(160 * _GB, 140 * _GB, 3 * _GB),
                call(80 * _GB, 16 * _GB, 537 * 10**6),
                call(100, 40, 20),
                call(100, 75, 25),
                call(100, 41, 20),
                call(99, 1, 25),
                call(9 * 10**17 + 6, 10**17, 4 * 10**17 + 4),
            ],
            probe=_only_room,
        ),
        "full": group(
            [
                call(80 * _GB, 140 * _GB, 3 * _GB),
                call(100, 250, 60),
                call(100, 90, 11),
                call(100, 100, 7),
                call(160 * _GB, 150 * _GB, 2 * _GB),
            ],
            probe=_only_room,
        ),
    }

    no_two = trap("Keys and values are two tensors: the factor 2 is missing.")(_kv(lambda L, h, d, s, b, t: L * h * d * s * b * t))
    no_layers = trap("Each layer keeps its own keys and values: multiply by the number of layers.")(
        _kv(lambda L, h, d, s, b, t: 2 * h * d * s * b * t)
    )
    no_heads = trap("Each KV head keeps its own keys and values: multiply by kv_heads.")(
        _kv(lambda L, h, d, s, b, t: 2 * L * d * s * b * t)
    )
    no_head_dim = trap("A key has head_dim numbers, and so has a value: multiply by head_dim.")(
        _kv(lambda L, h, d, s, b, t: 2 * L * h * s * b * t)
    )
    no_batch = trap("Each sequence in the batch has its own cache: multiply by the batch.")(
        _kv(lambda L, h, d, s, b, t: 2 * L * h * d * s * t)
    )
    squared = trap("The cache grows linearly with the length; it is the score matrix that is quadratic.")(
        _kv(lambda L, h, d, s, b, t: 2 * L * h * d * s * s * b * t)
    )
    numbers = trap("These are numbers, not bytes: multiply by dtype_bytes.")(_kv(lambda L, h, d, s, b, t: 2 * L * h * d * s * b))
    always_fp16 = trap("dtype_bytes is ignored: a cache in INT8 takes 1 byte a number, in fp32 4.")(
        _kv(lambda L, h, d, s, b, t: 4 * L * h * d * s * b)
    )
    gibibytes = trap("The result is in bytes, as an int. You divide by a power of 1024.")(
        _kv(lambda L, h, d, s, b, t: 2 * L * h * d * s * b * t / 2**30)
    )
    whole_gibibytes = trap("The result is in bytes, as an int. You divide by a power of 1024.")(
        _kv(lambda L, h, d, s, b, t: 2 * L * h * d * s * b * t // 2**30)
    )
    cache_through_a_float = trap("Your product goes through a float, which rounds beyond 2^53. Multiply ints: they are exact.")(
        _kv(lambda L, h, d, s, b, t: int(2.0 * L * h * d * s * b * t))
    )
    query_heads = trap(
        "The argument is kv_heads: the cache holds these, however many query heads share them. Do not put a fixed number in."
    )(_kv(lambda L, h, d, s, b, t: 2 * L * 64 * d * s * b * t))
    true_division = trap("The number of sequences is an int: one that fits in part does not fit. Round down (//).")(
        _kv(max_batch=lambda g, w, p: max(0, (g - w) / p))
    )
    weights_ignored = trap("The weights occupy memory first: only the rest is left for caches.")(_kv(max_batch=lambda g, w, p: g // p))
    rounded_up = trap("A sequence that fits in part does not fit: round down.")(_kv(max_batch=lambda g, w, p: max(0, -((w - g) // p))))
    rounded = trap("A sequence that fits in part does not fit: round down, not to the nearest.")(
        _kv(max_batch=lambda g, w, p: max(0, round((g - w) / p)))
    )
    negative = trap("If the weights do not fit, no sequence does: return 0, not a negative number.")(
        _kv(max_batch=lambda g, w, p: (g - w) // p)
    )
    negative_by_int = trap("If the weights do not fit, no sequence does: return 0, not a negative number.")(
        _kv(max_batch=lambda g, w, p: int((g - w) / p))
    )
    absolute = trap("The weights can be larger than the memory; then the answer is 0, not the size of the gap.")(
        _kv(max_batch=lambda g, w, p: abs(g - w) // p)
    )
    at_least_one = trap("If not even one sequence fits beside the weights, the answer is 0.")(
        _kv(max_batch=lambda g, w, p: max(1, (g - w) // p))
    )
    through_a_float = trap(
        "a / b goes through a float and rounds large numbers: just too little looks like enough. a // b is exact for ints."
    )(_kv(max_batch=lambda g, w, p: max(0, int((g - w) / p))))
    not_quite_full = trap("A sequence that fills the rest exactly does fit.")(_kv(max_batch=lambda g, w, p: max(0, (g - w - 1) // p)))

    @right("loops: layer by layer, sequence by sequence")
    class loops:
        def kv_cache_bytes(layers, kv_heads, head_dim, seq, batch, dtype_bytes):
            total = 0
            for _ in range(layers):
                for _tensor in ("keys", "values"):
                    total += kv_heads * head_dim * seq * batch * dtype_bytes
            return total

        def max_batch(gpu_bytes, weight_bytes, per_sequence_bytes):
            free = gpu_bytes - weight_bytes
            return 0 if free < per_sequence_bytes else divmod(free, per_sequence_bytes)[0]

    @right("math.prod and a clamp before the division")
    class product:
        def kv_cache_bytes(layers, kv_heads, head_dim, seq, batch, dtype_bytes):
            return math.prod([2, layers, kv_heads, head_dim, seq, batch, dtype_bytes])

        def max_batch(gpu_bytes, weight_bytes, per_sequence_bytes):
            return int(np.floor_divide(max(gpu_bytes - weight_bytes, 0), per_sequence_bytes))


# ------------------------------------------------------------------------------------------------------------------ paged KV


def _gather(pool, table, length):
    return np.concatenate([pool[b] for b in table])[:length]


def _waste(lengths, bs, max_len):
    return sum(-(-n // bs) * bs - n for n in lengths), sum(max_len - n for n in lengths)


def _paged(paged_gather=_gather, waste=_waste):
    return SimpleNamespace(paged_gather=paged_gather, waste=waste)


def _only_gather(submission, pool, table, length):
    return submission.paged_gather(pool, table, length)


def _only_waste(submission, lengths, bs, max_len):
    paged, reserved = submission.waste(lengths, bs, max_len)
    return {"paged": paged, "reserved": reserved}


def _pool(n, bs, d, seed):
    return normal((n, bs, d), 1.0, seed)


@exercise("efficiency.paged-kv", names="paged_gather waste", covers=["efficiency.kv-methods", "efficiency.tq05"])
class PagedKv:
    class reference:
        def paged_gather(pool, table, length):
            bs = pool.shape[1]
            return np.stack([pool[table[i // bs], i % bs] for i in range(length)])

        def waste(lengths, bs, max_len):
            return sum((n + bs - 1) // bs * bs - n for n in lengths), sum(max_len - n for n in lengths)

    cases = {
        "gather": group(
            [
                call(_pool(6, 4, 3, 1), [4, 1, 3], 10),
                call(_pool(5, 5, 5, 2), [3, 0, 4, 1], 17),
                call(_pool(7, 2, 6, 3), [5, 2, 6, 0, 1], 9),
                call(_pool(4, 3, 2, 4), [2], 1),
            ],
            probe=_only_gather,
        ),
        "full blocks": group(
            [call(_pool(6, 4, 3, 5), [5, 2, 0], 12), call(_pool(3, 3, 3, 6), [2, 0], 6), call(_pool(5, 1, 2, 7), [4, 0, 3], 3)],
            probe=_only_gather,
        ),
        "waste": group(
            [
                call([10, 3, 7, 1], 4, 32),
                call([16, 32, 5], 16, 2048),
                call([8, 4], 4, 9),
                call([1], 16, 100),
                call([100, 30, 77, 2, 65], 7, 128),
                call([6, 9, 6, 6], 4, 12),
            ],
            probe=_only_waste,
        ),
    }

    contiguous = trap("Blocks of a sequence lie anywhere in the pool: follow the block table instead of reading on from the first block.")(
        _paged(lambda pool, table, length: pool.reshape(-1, pool.shape[2])[table[0] * pool.shape[1] :][:length])
    )
    table_ignored = trap("The table is ignored: you read the pool from its start. Block table[0] holds the first tokens.")(
        _paged(lambda pool, table, length: pool.reshape(-1, pool.shape[2])[:length])
    )
    whole_blocks = trap("The last block is only partly used: cut at `length`, or the garbage behind it is read as tokens.")(
        _paged(lambda pool, table, length: _gather(pool, table, None))
    )
    table_sorted = trap("The table is in the order of the tokens: do not sort it.")(
        _paged(lambda pool, table, length: _gather(pool, sorted(table), length))
    )
    table_reversed = trap("table[0] holds the first tokens, table[-1] the last ones. You read it backwards.")(
        _paged(lambda pool, table, length: _gather(pool, table[::-1], length))
    )
    tail_lost = trap("A partly filled block holds real tokens: round the number of blocks up.")(
        _paged(lambda pool, table, length: pool[table[: length // pool.shape[1]]].reshape(-1, pool.shape[2]))
    )
    cut_at_the_front = trap("The unused slots are at the END of the last block; you cut them off at the front.")(
        _paged(lambda pool, table, length: _gather(pool, table, None)[-length:])
    )

    @trap("The result is one row a token, [length, d]: join the blocks.")
    class not_joined:
        waste = _waste

        def paged_gather(pool, table, length):
            return pool[table]

    _used = "Waste is what was allocated minus what is used. Paging allocates whole blocks: ceil(n / bs) · bs slots."
    used_slots = trap(_used)(_paged(waste=lambda lengths, bs, max_len: (sum(lengths), sum(lengths))))
    allocated = trap(_used)(_paged(waste=lambda lengths, bs, max_len: (sum(-(-n // bs) * bs for n in lengths), len(lengths) * max_len)))
    remainder = trap("n % bs counts the tokens IN the last block. The waste is the rest of that block, and 0 if it is full.")(
        _paged(waste=lambda lengths, bs, max_len: (sum(n % bs for n in lengths), _waste(lengths, bs, max_len)[1]))
    )
    full_block_wasted = trap(
        "A length that fills its blocks exactly wastes nothing; yours counts a whole spare block there (n // bs + 1)."
    )(_paged(waste=lambda lengths, bs, max_len: (sum((n // bs + 1) * bs - n for n in lengths), _waste(lengths, bs, max_len)[1])))
    one_sequence = trap("Sequences do not share blocks: each one wastes the rest of its own last block. Round up per sequence, then add.")(
        _paged(waste=lambda lengths, bs, max_len: (-sum(lengths) % bs, _waste(lengths, bs, max_len)[1]))
    )
    reserved_in_blocks = trap("Reserving keeps max_len slots a sequence: its waste is max_len − n, without blocks.")(
        _paged(waste=lambda lengths, bs, max_len: (_waste(lengths, bs, max_len)[0], sum(max_len - (-(-n // bs) * bs) for n in lengths)))
    )
    exchanged = trap("The order is (paged, reserved); yours is exchanged.")(
        _paged(waste=lambda lengths, bs, max_len: _waste(lengths, bs, max_len)[::-1])
    )
    last_sequence = trap("Waste is summed over all sequences; you count one of them.")(
        _paged(waste=lambda lengths, bs, max_len: (-lengths[-1] % bs, _waste(lengths, bs, max_len)[1]))
    )
    blocks_counted = trap("Slots are counted, not blocks: a partly filled block wastes as many slots as are left in it.")(
        _paged(waste=lambda lengths, bs, max_len: (sum(n % bs > 0 for n in lengths), _waste(lengths, bs, max_len)[1]))
    )
    _each = "A server does not know how long the answers get: it reserves max_len for EACH sequence."
    reserved_for_the_longest = trap(_each)(
        _paged(waste=lambda lengths, bs, max_len: (_waste(lengths, bs, max_len)[0], sum(max(lengths) - n for n in lengths)))
    )
    reserved_once = trap(_each)(_paged(waste=lambda lengths, bs, max_len: (_waste(lengths, bs, max_len)[0], max_len - max(lengths))))
    reserved_once_for_all = trap(_each)(
        _paged(waste=lambda lengths, bs, max_len: (_waste(lengths, bs, max_len)[0], max_len - sum(lengths)))
    )
    reserve_rounded_up = trap("Reserving keeps max_len slots a sequence: its waste is max_len − n, without blocks.")(
        _paged(waste=lambda lengths, bs, max_len: (_waste(lengths, bs, max_len)[0], sum(-(-max_len // bs) * bs - n for n in lengths)))
    )
    blocks_interleaved = trap("Join the blocks one after the other: all tokens of table[0], then all of table[1]. You take turns.")(
        _paged(lambda pool, table, length: pool[table].swapaxes(0, 1).reshape(-1, pool.shape[2])[:length])
    )

    @right("fancy indexing and modulo")
    class indexing:
        def paged_gather(pool, table, length):
            i = np.arange(length)
            return pool[np.asarray(table)[i // pool.shape[1]], i % pool.shape[1]]

        def waste(lengths, bs, max_len):
            n = np.array(lengths)
            return int((-n % bs).sum()), int((max_len - n).sum())

    @right("reshape, torch")
    class reshape:
        def paged_gather(pool, table, length):
            return torch.as_tensor(pool)[list(table)].flatten(0, 1)[:length]

        def waste(lengths, bs, max_len):
            paged = reserved = 0
            for n in lengths:
                last = n % bs
                paged += bs - last if last else 0
                reserved += max_len - n
            return paged, reserved


# ------------------------------------------------------------------------------------------------------------------ batching


def _static(lengths, slots, end=max, early=False):
    finish, now = [0] * len(lengths), 0
    for first in range(0, len(lengths), slots):
        batch = lengths[first : first + slots]
        longest = int(end(batch))
        for i, n in enumerate(batch):
            finish[first + i] = now + (n if early else longest)
        now += longest
    return now, finish


def _continuous(lengths, slots, order=None, gap=0):
    free, finish = [0] * slots, [0] * len(lengths)
    for i in order or range(len(lengths)):
        slot = free.index(min(free))
        start = free[slot] + (gap if free[slot] else 0)
        free[slot] = finish[i] = start + lengths[i]
    return max(free), finish


def _busiest(lengths, slots):
    free, finish = [0] * slots, []
    for n in lengths:
        slot = free.index(max(free))
        free[slot] += n
        finish.append(free[slot])
    return max(free), finish


def _busiest_when_full(lengths, slots):
    free, finish = [0] * slots, []
    for n in lengths:
        slot = free.index(0) if 0 in free else free.index(max(free))
        free[slot] += n
        finish.append(free[slot])
    return max(free), finish


def _simulate(static=_static, continuous=_continuous):
    return lambda lengths, slots, mode: static(lengths, slots) if mode == "static" else continuous(lengths, slots)


def _mean(batch):
    return -(-sum(batch) // len(batch))


def _shortest_first(lengths):
    return sorted(range(len(lengths)), key=lambda i: lengths[i])


def _assigned(lengths, slots):
    free, finish = [0] * slots, []
    for i, n in enumerate(lengths):
        free[i % slots] += n
        finish.append(free[i % slots])
    return max(free), finish


@exercise("efficiency.batching", names="simulate", covers=["efficiency.kv-methods", "efficiency.tq07", "bank.tq11"])
class Batching:
    def reference(lengths, slots, mode):
        left, waiting, running, finish, step = list(lengths), list(range(len(lengths))), [], [0] * len(lengths), 0
        while waiting or running:
            if mode == "continuous" or not running:
                while waiting and len(running) < slots:
                    running.append(waiting.pop(0))
            step += 1
            for i in running:
                left[i] -= 1
            done = [i for i in running if left[i] <= 0]
            if mode == "continuous" or len(done) == len(running):
                for i in done:
                    finish[i] = step
                running = [i for i in running if i not in done]
        return step, finish

    def probe(submission, lengths, slots, mode):
        steps, finish = submission.simulate(lengths, slots, mode)
        return {"steps": steps, "finish": [int(f) for f in finish]}

    _LENGTHS = [
        ([3, 8, 2, 5, 1, 9, 4], 2),
        ([5, 1, 1, 6, 2, 2, 7, 1], 3),
        ([4, 9, 1, 2, 3], 2),
        ([7], 3),
        ([2, 3, 4], 1),
        ([6, 2, 3], 5),
        ([1, 10, 1, 1, 1, 12, 2, 2, 3], 4),
    ]
    cases = {
        "static": [call(n, s, "static") for n, s in _LENGTHS],
        "continuous": [call(n, s, "continuous") for n, s in _LENGTHS],
    }

    results_return_early = trap(
        "In a static batch all results are returned when its longest member is done; yours come back as soon as each is finished."
    )(_simulate(static=lambda n, s: _static(n, s, early=True)))
    mean_length = trap("A static batch runs until its longest sequence ends, not for the mean length.")(
        _simulate(static=lambda n, s: _static(n, s, end=_mean))
    )
    shortest_ends = trap("A static batch runs until its longest sequence ends; yours stops with the shortest.")(
        _simulate(static=lambda n, s: _static(n, s, end=min))
    )
    _order = "Requests are served in the order of arrival: the next in the list takes the free slot."
    last_come = trap(_order)(_simulate(continuous=lambda n, s: _continuous(n, s, order=list(range(len(n)))[::-1])))
    shortest_first = trap(_order)(_simulate(continuous=lambda n, s: _continuous(n, s, order=_shortest_first(n))))
    sorted_list = trap(_order)(_simulate(continuous=lambda n, s: _continuous(sorted(n), s)))
    reversed_list = trap(_order)(_simulate(continuous=lambda n, s: _continuous(n[::-1], s)))
    busiest_slot = trap("The next request goes to the slot that gets free FIRST; yours goes to the one that is busy longest.")(
        _simulate(continuous=_busiest)
    )
    refill_when_all_done = trap("Waiting for all slots is static batching. Continuous: refill each slot as soon as it is free.")(
        _simulate(continuous=_static)
    )
    returned_early_and_waiting = trap("Your slots wait for each other: refill each one as soon as it is free.")(
        _simulate(continuous=lambda n, s: _static(n, s, early=True))
    )
    fixed_slots = trap("Requests are not tied to a slot (i modulo slots): the next one goes to whichever slot gets free first.")(
        _simulate(continuous=_assigned)
    )
    idle_step = trap("A slot that gets free at the end of step t takes the next request in step t + 1: no idle step between.")(
        _simulate(continuous=lambda n, s: _continuous(n, s, gap=1))
    )
    modes_exchanged = trap("The two modes are exchanged.")(_simulate(static=_continuous, continuous=_static))
    always_continuous = trap("The mode is ignored: you always refill at once. A static batch waits for its longest member.")(
        _simulate(static=_continuous)
    )

    first_ends = trap("A static batch runs until its longest sequence ends; yours lasts as long as its first one.")(
        _simulate(static=lambda n, s: _static(n, s, end=lambda batch: batch[0]))
    )
    _busy_first = "The next request goes to the slot that gets free FIRST; yours goes to the one that is busy longest."
    busiest_of_the_used = trap(_busy_first)(_simulate(continuous=_busiest_when_full))
    overlap = trap(
        "A slot produces one token a step: the next request starts in the step AFTER the last token of the one before. Yours shares that step."
    )(_simulate(continuous=lambda n, s: _continuous(n, s, gap=-1)))
    durations = trap("finish counts from step 0, so the time in the queue belongs to it. You return how long a request ran.")(
        _simulate(continuous=lambda n, s: (_continuous(n, s)[0], list(n)))
    )
    in_order_of_time = trap("finish[i] belongs to request i of the list; you return the times sorted.")(
        _simulate(continuous=lambda n, s: (_continuous(n, s)[0], sorted(_continuous(n, s)[1])))
    )
    end_of_the_last = trap("The last request of the list need not be the last to finish: steps is the largest finish.")(
        _simulate(continuous=lambda n, s: (_continuous(n, s)[1][-1], _continuous(n, s)[1]))
    )
    tokens_over_slots = trap("Tokens over slots is a lower bound: near the end some slots are empty. steps is the largest finish.")(
        _simulate(continuous=lambda n, s: (-(-sum(n) // s), _continuous(n, s)[1]))
    )
    zero_based = trap("finish is a NUMBER of steps: a request of one token that starts at once finishes after 1, not 0.")(
        lambda lengths, slots, mode: (lambda steps, finish: (steps, [f - 1 for f in finish]))(*_simulate()(lengths, slots, mode))
    )
    one_step_more = trap("steps is the largest finish, one too many in yours: the last token ends the last step.")(
        lambda lengths, slots, mode: (lambda steps, finish: (steps + 1, finish))(*_simulate()(lengths, slots, mode))
    )
    _slots = "A static batch has at most `slots` requests, which run side by side: one batch after the other, each as long as its longest."
    one_batch = trap(_slots)(_simulate(static=lambda n, s: _static(n, len(n))))
    one_by_one = trap(_slots)(_simulate(static=lambda n, s: _static(n, s, end=sum)))
    sorted_by_length = trap(_order)(lambda lengths, slots, mode: _simulate()(sorted(lengths), slots, mode))
    longest_first = trap(_order)(lambda lengths, slots, mode: _simulate()(sorted(lengths, reverse=True), slots, mode))

    @trap("finish is the step at which a request is done, counted from 0 on, not the number of steps that it ran.")
    def lengths_returned(lengths, slots, mode):
        return (_static if mode == "static" else _continuous)(lengths, slots)[0], list(lengths)

    @right("a heap of free times")
    def heap(lengths, slots, mode):
        import heapq

        if mode == "static":
            ends, now = [], 0
            for i in range(0, len(lengths), slots):
                now += max(lengths[i : i + slots])
                ends += [now] * len(lengths[i : i + slots])
            return now, ends
        free = [0] * slots
        ends = [0] * len(lengths)
        for i, n in enumerate(lengths):
            ends[i] = heapq.heappop(free) + n
            heapq.heappush(free, ends[i])
        return max(ends), ends

    @right("slots that count down, finish as an array")
    def countdown(lengths, slots, mode):
        queue, slot, finish, step = list(enumerate(lengths)), {}, np.zeros(len(lengths), int), 0
        while queue or slot:
            if mode == "continuous" or all(r <= 0 for r in slot.values()):
                if mode == "static":
                    slot.clear()
                while queue and len(slot) < slots:
                    i, n = queue.pop(0)
                    slot[i] = n
            step += 1
            for i in list(slot):
                slot[i] -= 1
                if slot[i] == 0 and mode == "continuous":
                    finish[i] = step
                    del slot[i]
            if mode == "static" and max(slot.values()) == 0:
                finish[list(slot)] = step
                slot.clear()
        return step, finish


# ------------------------------------------------------------------------------------------------------ speculative sampling


def _accept(p, q):
    return np.minimum(1, p / q)


def _residual(p, q):
    r = np.maximum(p - q, 0)
    return r / r.sum()


def _sample(p, u):
    return int(np.searchsorted(np.cumsum(p), u, side="right"))


def _sample_left(p, u):
    return int(np.searchsorted(np.cumsum(p), u, side="left"))


def _speculate(
    P,
    Q,
    draft,
    u,
    u_resample,
    accepts=lambda p, q, u: u < min(1, p / q),
    replace=_residual,
    bonus=-1,
    shift=0,
    keep=False,
    go_on=False,
    resample=True,
    sample=_sample,
):
    out = []
    for i, t in enumerate(draft):
        p, q = P[i + shift], Q[i]
        if accepts(p[t], q[t], u[i]):
            out.append(t)
            continue
        if keep:
            return [*out, t]
        if resample:
            out.append(sample(replace(p, q), u_resample))
        if not go_on:
            return out
    return out if bonus is None else [*out, sample(P[bonus], u_resample)]


def _greedy_step(P, Q, draft, u_resample):
    for i, t in enumerate(draft):
        if t != int(np.argmax(P[i])):
            return [*draft[:i], _sample(_residual(P[i], Q[i]), u_resample)]
    return [*draft, _sample(P[-1], u_resample)]


def _pair(accept=_accept, residual=_residual, **step):
    return SimpleNamespace(
        accept_and_residual=lambda p, q: (accept(p, q), residual(p, q)),
        speculative_step=lambda P, Q, draft, u, u_resample: _speculate(P, Q, draft, u, u_resample, **step),
    )


def _dist(shape, seed, zero=None):
    e = np.exp(1.3 * normal(shape, 1.0, seed))
    if zero is not None:
        e[..., zero] = 0.0
    return e / e.sum(axis=-1, keepdims=True)


def _round(k, V, seed, want):
    """A round in which the drafts before position `want` are accepted and that one is not (want = k: all are)."""
    rng = np.random.default_rng(seed)
    while True:
        P, Q = rng.dirichlet(np.ones(V), k + 1), rng.dirichlet(np.ones(V), k)
        draft, u = rng.integers(0, V, k), rng.random(k)
        ratio = P[np.arange(k), draft] / Q[np.arange(k), draft]
        if np.abs(u - ratio).min() < 1e-3:
            continue
        rejected = np.flatnonzero(u >= np.minimum(1, ratio))
        if (rejected[0] if len(rejected) else k) == want and (want == k or V < 3 or np.count_nonzero(P[want] > Q[want]) > 1):
            return call(P, Q, [int(t) for t in draft], [float(v) for v in u], float(rng.random()))


def _probe_step(submission, P, Q, draft, u, u_resample):
    return [int(t) for t in submission.speculative_step(P, Q, draft, u, u_resample)]


def _probe_accept(submission, p, q):
    return {"accept": submission.accept_and_residual(p, q)[0]}


def _probe_residual(submission, p, q):
    accept, residual = (np.asarray(a) for a in submission.accept_and_residual(p, q))
    return {"residual": residual, "law": q * accept + (1 - (q * accept).sum()) * residual}


_PAIRS = [call(_dist((v,), i), _dist((v,), 50 + i)) for i, v in enumerate([2, 3, 5, 5, 8])] + [
    call(_dist((4,), 7, zero=1), _dist((4,), 57)),
    call(np.array([0.0, 0.2, 0.8]), np.array([0.5, 0.4, 0.1])),
    call(np.array([0.25, 0.25, 0.5]) + np.array([1e-6, -3e-6, 2e-6]), np.array([0.25, 0.25, 0.5])),
    call(np.array([2e-7, 0.3, 0.6999998]), np.array([5e-7, 0.5, 0.4999995])),
]


_QUARTERS, _HALVES = np.array([0.25, 0.25, 0.25, 0.25]), np.array([0.0, 0.5, 0.0, 0.5])
_TILTED, _RISING = np.array([0.125, 0.5, 0.125, 0.25]), np.array([0.0, 0.0, 0.25, 0.75])
_EXACT = [  # a uniform number that is exactly a bound, in numbers that have no rounding error
    call(np.stack([_HALVES, _QUARTERS]), _QUARTERS[None], [0], [0.0], 0.6),  # never accepted: p = 0
    call(np.stack([_TILTED, _RISING, _HALVES]), np.stack([_QUARTERS, _TILTED]), [1, 2], [0.9, 0.25], 0.9),
    call(np.stack([_TILTED, _QUARTERS]), _QUARTERS[None], [2], [0.5], 0.1),  # u = p / q
    call(np.stack([_RISING, _QUARTERS]), _QUARTERS[None], [1], [0.5], 0.0),  # token 3 alone is in the residual
    call(np.stack([_HALVES, _TILTED]), _QUARTERS[None], [2], [0.1], 0.5),  # the residual's sums are 0, 0.5, 0.5, 1
    call(np.stack([_TILTED, _RISING]), _QUARTERS[None], [1], [0.9], 0.0),
    call(np.stack([_TILTED, _RISING]), _QUARTERS[None], [3], [0.3], 0.25),
]


@exercise(
    "efficiency.speculative",
    names="accept_and_residual speculative_step",
    covers=["efficiency.kv-methods", "efficiency.tq10", "thirty.tq27"],
    warnings="ignore",
)
class Speculative:
    class reference:
        def accept_and_residual(p, q):
            r = np.maximum(p - q, 0)
            return np.minimum(1, p / q), r / r.sum()

        def speculative_step(P, Q, draft, u, u_resample):
            tokens = []
            for i, t in enumerate(draft):
                if u[i] * Q[i][t] >= P[i][t]:
                    r = np.maximum(P[i] - Q[i], 0)
                    return [*tokens, int(np.searchsorted(np.cumsum(r / r.sum()), u_resample, side="right"))]
                tokens.append(int(t))
            return [*tokens, int(np.searchsorted(np.cumsum(P[-1]), u_resample, side="right"))]

    cases = {
        "accept": group(_PAIRS, probe=_probe_accept),
        "residual": group(_PAIRS, probe=_probe_residual),
        "all accepted": group(
            [_round(k, v, s, k) for k, v, s in [(2, 4, 1), (3, 3, 2), (4, 6, 3), (1, 5, 4), (3, 9, 5), (2, 7, 6), (4, 4, 7)]],
            probe=_probe_step,
        ),
        "rejected": group(
            [
                _round(k, v, s, w)
                for k, v, s, w in [
                    (3, 5, 1, 0),
                    (3, 5, 2, 1),
                    (4, 7, 3, 2),
                    (4, 4, 4, 1),
                    (5, 6, 5, 3),
                    (2, 9, 6, 0),
                    (3, 8, 7, 2),
                    (1, 6, 8, 0),
                    (4, 9, 9, 1),
                    (3, 4, 10, 0),
                ]
            ],
            probe=_probe_step,
        ),
        "bounds": group(_EXACT, probe=_probe_step),
    }

    _ratio = "The ratio is upside down: a token that the target likes more than the draft does must be accepted. min(1, p/q)."
    ratio_inverted = trap(_ratio)(_pair(accept=lambda p, q: np.minimum(1, q / p), accepts=lambda p, q, u: u * p < q))
    ratio_inverted_in_accept = trap(_ratio)(_pair(accept=lambda p, q: np.minimum(1, q / p)))
    ratio_inverted_in_step = trap(_ratio)(_pair(accepts=lambda p, q, u: u * p < q))
    _hard = "A hard rule (accept if p ≥ q) biases the result. Accept with probability min(1, p/q): compare it with u."
    hard_rule = trap(_hard)(_pair(accept=lambda p, q: (p >= q).astype(float), accepts=lambda p, q, u: p >= q))
    hard_rule_in_step = trap(_hard)(_pair(accepts=lambda p, q, u: p >= q))
    unclipped = trap("A probability is at most 1: min(1, p/q).")(_pair(accept=lambda p, q: p / q))
    always = trap("You accept every draft, so the text is the draft model's. Test each token with min(1, p/q).")(
        _pair(accept=lambda p, q: np.ones_like(p), accepts=lambda p, q, u: True)
    )
    always_in_step = trap("You accept every draft, so the text is the draft model's. Test each token with min(1, p/q).")(
        _pair(accepts=lambda p, q, u: True)
    )
    target_alone = trap("You accept with the target's probability alone. Divide by the draft's: it has already been tossed once.")(
        _pair(accept=lambda p, q: p.copy(), accepts=lambda p, q, u: u < p)
    )
    target_alone_in_step = trap("You accept with the target's probability alone. Divide by the draft's: it has already been tossed once.")(
        _pair(accepts=lambda p, q, u: u < p)
    )
    argmax_only = trap(
        "Accepting only the target's most likely token is the rule of greedy decoding. Sampling accepts with probability min(1, p/q)."
    )(
        SimpleNamespace(
            accept_and_residual=lambda p, q: ((p == p.max()).astype(float), _residual(p, q)),
            speculative_step=lambda P, Q, draft, u, u_resample: _greedy_step(P, Q, draft, u_resample),
        )
    )
    argmax_only_in_step = trap(
        "Accepting only the target's most likely token is the rule of greedy decoding. Sampling accepts with probability min(1, p/q)."
    )(
        SimpleNamespace(
            accept_and_residual=lambda p, q: (_accept(p, q), _residual(p, q)),
            speculative_step=lambda P, Q, draft, u, u_resample: _greedy_step(P, Q, draft, u_resample),
        )
    )
    u_reversed = trap("The draft is accepted when u is BELOW min(1, p/q): that happens with this probability.")(
        _pair(accepts=lambda p, q, u: u > min(1, p / q))
    )
    _p = "Accepted tokens have covered part of p already. Resample from what is missing: max(p − q, 0), normalised."
    residual_is_p = trap(_p)(_pair(residual=lambda p, q: p.copy(), replace=lambda p, q: p))
    residual_is_p_in_step = trap(_p)(_pair(replace=lambda p, q: p))
    residual_is_q = trap("You resample from the draft. The mass that is missing is max(p − q, 0), normalised.")(
        _pair(residual=lambda p, q: q.copy(), replace=lambda p, q: q)
    )
    residual_is_q_in_step = trap("You resample from the draft. The mass that is missing is max(p − q, 0), normalised.")(
        _pair(replace=lambda p, q: q)
    )
    _swap = "max(q − p, 0) is the excess of the draft. The missing mass is max(p − q, 0)."
    residual_swapped = trap(_swap)(_pair(residual=lambda p, q: _residual(q, p), replace=lambda p, q: _residual(q, p)))
    residual_swapped_in_step = trap(_swap)(_pair(replace=lambda p, q: _residual(q, p)))
    _norm = "The residual has to be a distribution: divide max(p − q, 0) by its sum."
    not_normalised = trap(_norm)(_pair(residual=lambda p, q: np.maximum(p - q, 0), replace=lambda p, q: np.maximum(p - q, 0)))
    not_normalised_in_accept = trap(_norm)(_pair(residual=lambda p, q: np.maximum(p - q, 0)))
    absolute_residual = trap("|p − q| also counts tokens that the draft proposes too often. Only the missing mass: max(p − q, 0).")(
        _pair(residual=lambda p, q: np.abs(p - q) / np.abs(p - q).sum(), replace=lambda p, q: np.abs(p - q) / np.abs(p - q).sum())
    )
    no_replacement = trap("A rejected position still gets a token: sample it from the residual. Otherwise a round may yield none.")(
        _pair(resample=False)
    )
    _keep = "A rejected token is replaced by a sample of the residual; you keep it."
    rejected_kept = trap(_keep)(_pair(keep=True))
    rejected_kept_before_the_sample = trap(_keep)(
        SimpleNamespace(
            accept_and_residual=lambda p, q: (_accept(p, q), _residual(p, q)),
            speculative_step=lambda P, Q, d, u, r: (lambda out: out if len(out) > len(d) else [*out[:-1], d[len(out) - 1], out[-1]])(
                _speculate(P, Q, d, u, r)
            ),
        )
    )
    _stop = "After a rejection stop: the later drafts were made for another prefix."
    goes_on = trap(_stop)(_pair(go_on=True))
    goes_on_without_bonus = trap(_stop)(
        SimpleNamespace(
            accept_and_residual=lambda p, q: (_accept(p, q), _residual(p, q)),
            speculative_step=lambda P, Q, d, u, r: (
                lambda out: out if len(out) > len(d) else _speculate(P, Q, d, u, r, go_on=True, bonus=None)
            )(_speculate(P, Q, d, u, r)),
        )
    )
    no_bonus = trap("If all drafts are accepted the target's pass has position k computed already: sample one more token from P[k].")(
        _pair(bonus=None)
    )
    bonus_from_the_row_before = trap("The extra token comes from the last row, P[k]; you took the row of an earlier position.")(
        _pair(bonus=-2)
    )
    bonus_after_rejection = trap(
        "The bonus is for a round without a rejection. After one the position behind was scored for another prefix: the replacement is the last token."
    )(
        SimpleNamespace(
            accept_and_residual=lambda p, q: (_accept(p, q), _residual(p, q)),
            speculative_step=lambda P, Q, d, u, r: (lambda out: out if len(out) > len(d) else [*out, _sample(P[len(out)], r)])(
                _speculate(P, Q, d, u, r)
            ),
        )
    )
    bonus_from_the_draft = trap("The extra token is the target's, drawn from P[k]. You draw it from the draft's distribution.")(
        SimpleNamespace(
            accept_and_residual=lambda p, q: (_accept(p, q), _residual(p, q)),
            speculative_step=lambda P, Q, d, u, r: (lambda out: [*d, _sample(Q[-1], r)] if len(out) > len(d) else out)(
                _speculate(P, Q, d, u, r)
            ),
        )
    )
    bound_accepted = trap(
        "Accepted means u BELOW the probability: with u <= a token that the target gives probability 0 is accepted at u = 0."
    )(_pair(accepts=lambda p, q, u: u <= min(1, p / q)))
    bound_drawn = trap(
        "The first cumulative sum must EXCEED the uniform number. With >= (side='left') a token of probability 0 can be drawn."
    )(
        SimpleNamespace(
            accept_and_residual=lambda p, q: (_accept(p, q), _residual(p, q)),
            speculative_step=lambda *a: _speculate(*a, sample=_sample_left),
        )
    )
    first_u = trap("Each draft has a uniform number of its own, u[i]. You use one for all.")(
        SimpleNamespace(
            accept_and_residual=lambda p, q: (_accept(p, q), _residual(p, q)),
            speculative_step=lambda P, Q, draft, u, r: _speculate(P, Q, draft, [u[0]] * len(u), r),
        )
    )
    residual_of_row_0 = trap("The residual belongs to the position of the rejected draft: P[i] and Q[i]. You take another row.")(
        SimpleNamespace(
            accept_and_residual=lambda p, q: (_accept(p, q), _residual(p, q)),
            speculative_step=lambda P, Q, draft, u, r: _speculate(P, Q, draft, u, r, replace=lambda p, q: _residual(P[0], Q[0])),
        )
    )
    argmax_for_sample = trap("You take the most likely token; the task samples: first index whose cumulative sum exceeds u_resample.")(
        SimpleNamespace(
            accept_and_residual=lambda p, q: (_accept(p, q), _residual(p, q)),
            speculative_step=lambda P, Q, d, u, r: (
                lambda out: [*out[:-1], int(np.argmax(P[-1] if len(out) > len(d) else _residual(P[len(out) - 1], Q[len(out) - 1])))]
            )(_speculate(P, Q, d, u, r)),
        )
    )

    @right("plain Python")
    class plain_python:
        def accept_and_residual(p, q):
            accept = np.array([min(1.0, a / b) for a, b in zip(p, q, strict=True)])
            missing = [max(a - b, 0.0) for a, b in zip(p, q, strict=True)]
            return accept, np.array([m / sum(missing) for m in missing])

        def speculative_step(P, Q, draft, u, u_resample):
            def pick(weights):
                total = 0.0
                for token, w in enumerate(weights):
                    total += w
                    if u_resample < total:
                        return token
                return len(weights) - 1

            for i, t in enumerate(draft):
                if u[i] >= min(1.0, P[i, t] / Q[i, t]):
                    missing = [max(a - b, 0.0) for a, b in zip(P[i], Q[i], strict=True)]
                    return list(draft[:i]) + [pick([m / sum(missing) for m in missing])]
            return list(draft) + [pick(P[len(draft)])]

    @right("vectorised: the first rejected position")
    class vectorised:
        def accept_and_residual(p, q):
            return np.where(p > q, 1.0, p / q), (p - np.minimum(p, q)) / (1 - np.minimum(p, q).sum())

        def speculative_step(P, Q, draft, u, u_resample):
            k = len(draft)
            rows = np.arange(k)
            bad = np.asarray(u) >= P[rows, draft] / Q[rows, draft]
            n = int(bad.argmax()) if bad.any() else k
            law = P[k] if n == k else np.maximum(P[n] - Q[n], 0) / np.maximum(P[n] - Q[n], 0).sum()
            return [*draft[:n], int((np.cumsum(law) <= u_resample).sum())]


# ------------------------------------------------------------------------------------------------------- speculative speedup


def _geometric(alpha, n):
    return float(sum(alpha**i for i in range(n)))


@exercise("efficiency.speculative-speedup", names="speculative_speedup", covers=["efficiency.kv-methods", "efficiency.tq10", "thirty.tq27"])
class SpeculativeSpeedup:
    def reference(alpha, k, c):
        tokens = float(sum(alpha**i for i in range(k + 1)))
        return tokens, tokens / (c * k + 1)

    def probe(submission, alpha, k, c):
        tokens, speedup = submission.speculative_speedup(alpha, k, c)
        return {"tokens": tokens, "speedup": speedup}

    cases = {
        "values": [
            call(0.8, 5, 0.1),
            call(0.5, 3, 0.25),
            call(0.65, 1, 0.05),
            call(0.9, 7, 0.02),
            call(0.3, 2, 0.5),
            call(0.75, 10, 0.0),
            call(0.2, 4, 1.0),
            call(0.9995, 8, 0.1),
            call(0.85, 14, 0.05),
            call(0.6, 2, 2.5),
        ],
        "edges": [call(0.0, 4, 0.2), call(0.0, 1, 0.1), call(1.0, 4, 0.1), call(1.0, 1, 0.3), call(1.0, 6, 0.0), call(1, 3, 0.5)],
    }

    exponent_k = trap("k accepted drafts still yield one token from the target: the exponent is k + 1.")(
        lambda alpha, k, c: (_geometric(alpha, k), _geometric(alpha, k) / (c * k + 1))
    )
    linear = trap("Acceptance stops at the first rejection, so later drafts count less: sum the geometric series 1 + a + a² + … + a^k.")(
        lambda alpha, k, c: (1 + alpha * k, (1 + alpha * k) / (c * k + 1))
    )
    drafts_free = trap("k draft passes cost c·k target passes: divide by c·k + 1.")(
        lambda alpha, k, c: (_geometric(alpha, k + 1), _geometric(alpha, k + 1))
    )
    no_target_pass = trap("Each round contains one target pass: the cost is c·k + 1, not c·k.")(
        lambda alpha, k, c: (_geometric(alpha, k + 1), _geometric(alpha, k + 1) / (c * k) if c else 0.0)
    )
    one_draft_pass = trap("Drafting k tokens takes k passes of the draft, one after the other: the cost is c·k + 1, not c + 1.")(
        lambda alpha, k, c: (_geometric(alpha, k + 1), _geometric(alpha, k + 1) / (c + 1))
    )
    bonus_drafted = trap("Only k tokens are drafted; the last one comes from the target's own pass. The cost is c·k + 1.")(
        lambda alpha, k, c: (_geometric(alpha, k + 1), _geometric(alpha, k + 1) / (c * (k + 1) + 1))
    )
    every_draft_one_pass = trap("The target verifies all k drafts in ONE pass: the cost is c·k + 1, not k(c + 1).")(
        lambda alpha, k, c: (_geometric(alpha, k + 1), _geometric(alpha, k + 1) / (k * (c + 1)))
    )

    @trap("At alpha = 1 the closed form is 0/0. Its limit is k + 1 (sum the series, or treat 1 apart).")
    def no_limit(alpha, k, c):
        tokens = (1 - np.float64(alpha) ** (k + 1)) / (1 - np.float64(alpha))
        return tokens, tokens / (c * k + 1)

    @trap("At alpha = 1 the closed form is 0/0. Its limit is k + 1 (sum the series, or treat 1 apart).")
    def division_by_zero(alpha, k, c):
        tokens = (1 - alpha ** (k + 1)) / (1 - alpha)
        return tokens, tokens / (c * k + 1)

    @trap("At alpha = 1 all k drafts are accepted, and the target adds one: k + 1 tokens.")
    def limit_k(alpha, k, c):
        tokens = k if alpha == 1 else _geometric(alpha, k + 1)
        return tokens, tokens / (c * k + 1)

    @trap("The series starts with 1: even if every draft is rejected, the target's own token counts.")
    def starts_with_alpha(alpha, k, c):
        tokens = _geometric(alpha, k + 1) - 1
        return tokens, tokens / (c * k + 1)

    all_or_nothing = trap(
        "A rejection at draft i still leaves the i − 1 drafts before it: sum the powers 1 + a + a² + … + a^k, not the last one alone."
    )(lambda alpha, k, c: (1 + k * alpha**k, (1 + k * alpha**k) / (c * k + 1)))
    endless = trap("1 / (1 − a) is the sum without end. Only k tokens are drafted: stop at a^k.")(
        lambda alpha, k, c: (lambda tokens: (tokens, tokens / (c * k + 1)))(k + 1 if alpha == 1 else 1 / (1 - alpha))
    )
    time_ratio = trap("The speedup is tokens per cost; yours is upside down, the time a token takes.")(
        lambda alpha, k, c: (_geometric(alpha, k + 1), (c * k + 1) / _geometric(alpha, k + 1))
    )

    @trap(
        "A small number in the denominator changes every value, and at alpha = 1 it gives 0 in place of k + 1. Treat 1 apart, or sum the series."
    )
    def added_constant(alpha, k, c):
        tokens = (1 - alpha ** (k + 1)) / (1 - alpha + 1e-6)
        return tokens, tokens / (c * k + 1)

    @right("closed form with its limit")
    def closed_form(alpha, k, c):
        tokens = k + 1 if alpha == 1 else (1 - alpha ** (k + 1)) / (1 - alpha)
        return tokens, tokens / (1 + k * c)

    @right("expectation over the number of accepted drafts")
    def expectation(alpha, k, c):
        tokens = sum((n + 1) * alpha**n * (1 - alpha) for n in range(k)) + (k + 1) * alpha**k
        return tokens, tokens / (c * k + 1)


# ---------------------------------------------------------------------------------------------------------- speculative loop


def _table_model(A, B):
    """Scores of the next token from the last two tokens and a checksum of all: a causal model for 1-D token tensors."""

    def model(ids):
        before = torch.cat([ids[:1] * 0, ids[:-1]])
        all_before = (ids * torch.arange(1, len(ids) + 1)).cumsum(0) % len(B)
        return A[ids] + B[before] + B[all_before].roll(1, -1)

    return model


def _counted(model, calls):
    def counted(ids):
        calls.append(len(ids))
        return model(ids)

    return counted


def _probe_loop(submission, tables, prompt, n, k):
    A, B, noise = (torch.as_tensor(t) for t in tables)
    calls = []
    tokens, reported = submission.speculative_decode(
        _table_model(A + noise, B), _counted(_table_model(A, B), calls), torch.as_tensor(prompt), n, k
    )
    return {"tokens": [int(t) for t in tokens], "target_calls": reported, "calls counted": len(calls)}


def _loop_case(seed, noise, prompt, n, k, V=7):
    return call((normal((V, V), 1.0, seed), normal((V, V), 1.0, seed + 1), normal((V, V), noise, seed + 2)), np.array(prompt), n, k)


def _argmax(logits):
    return int(logits.argmax(-1))


def _loop(
    draft,
    target,
    prompt,
    n,
    k,
    see=True,
    shift=0,
    stop=True,
    everything=False,
    bonus=True,
    overrun=False,
    replace=True,
    keep=False,
    compare=0,
):
    ids, calls = [int(t) for t in prompt], 0
    start = len(ids)
    while len(ids) - start < n:
        seen = list(ids)
        for _ in range(k):
            seen.append(_argmax(draft(torch.tensor(seen))[-1]))
        guess = seen[len(ids) :]
        scores = target(torch.tensor(seen if see else ids))
        calls += 1
        if calls > 6 * n:
            break
        choice = [int(t) for t in scores.argmax(-1)]
        judged = choice[len(ids) - 1 + compare :]
        choice = choice[len(ids) - 1 + shift :] if see else [choice[-1]] * (k + 1)
        choice += [choice[-1]] * (k + 1 - len(choice)) if choice else [0] * (k + 1)
        if everything:
            ids += guess
            continue
        if not stop:
            ids += [g if g == c else c for g, c in zip(guess, choice, strict=False)]
            ids += [choice[k]] if bonus else []
            continue
        m = 0
        while m < k and guess[m] == (judged if compare else choice)[m]:
            m += 1
        ids += guess[:m]
        if m < k and keep:
            ids += [guess[m]]
        elif m < k and replace:
            ids += [choice[m]]
        elif m == k and bonus:
            ids += [choice[k]]
        elif m == 0:
            ids += [choice[0]]
    return ids[start:] if overrun else ids[start : start + n], calls


def _looper(**changes):
    return lambda draft, target, prompt, n, k: _loop(draft, target, prompt, n, k, **changes)


def _first_agreements(same):
    return int(same.long().cumprod(0).sum())


def _tail_loop(draft, target, prompt, n, k, agree=_first_agreements, bonus_pass=False, bonus_model=None, one_by_one=False, extend=True):
    text, calls, new = prompt, 0, []
    while len(new) < n:
        tried = text
        for _ in range(k):
            tried = torch.cat([tried, draft(tried)[-1:].argmax(-1)])
        choice = (
            target(tried)[-k - 1 :].argmax(-1)
            if not one_by_one
            else torch.stack([target(tried[: len(text) + i])[-1].argmax() for i in range(k + 1)])
        )
        calls += 1
        kept = agree(tried[len(text) :] == choice[:k])
        if kept == k and bonus_pass:
            choice[k] = target(tried)[-1].argmax()
            calls += 1
        if kept == k and bonus_model:
            choice[k] = bonus_model(tried)[-1].argmax()
        new += choice[: kept + 1].tolist()
        text = torch.cat([text, choice[: kept + 1]]) if extend else prompt
    return new[:n], calls


@exercise("thirty.speculative-loop", names="speculative_decode", covers=["thirty.tq27", "thirty.c-spec"])
class SpeculativeLoop:
    def reference(draft, target, prompt, n, k):
        ids, calls, new = prompt, 0, 0
        while new < n:
            tried = ids
            for _ in range(k):
                tried = torch.cat([tried, draft(tried)[-1].argmax().reshape(1)])
            choice = target(tried)[len(ids) - 1 :].argmax(-1)
            calls += 1
            agree = (tried[len(ids) :] == choice[:k]).long().cumprod(0).sum()
            ids = torch.cat([ids, choice[: agree + 1]])
            new += int(agree) + 1
        return ids[len(prompt) : len(prompt) + n].tolist(), calls

    cases = {
        "mediocre draft": group(
            [
                _loop_case(1, 0.7, [3, 1], 12, 2),
                _loop_case(11, 0.6, [0], 15, 4),
                _loop_case(21, 0.8, [2, 5, 6], 9, 3),
                _loop_case(31, 0.5, [4, 4, 1, 0], 20, 5, V=11),
                _loop_case(101, 0.7, [1, 2], 1, 4),
                _loop_case(121, 0.6, [3, 0], 3, 5),
            ],
            probe=_probe_loop,
        ),
        "good draft": group(
            [
                _loop_case(41, 0.0, [1, 2], 13, 4),
                _loop_case(51, 0.0, [6], 8, 3),
                _loop_case(61, 0.0, [0, 3, 5], 7, 2, V=12),
                _loop_case(111, 0.0, [3], 1, 3),
            ],
            probe=_probe_loop,
        ),
        "bad draft": group(
            [_loop_case(71, 30.0, [1, 2], 10, 4), _loop_case(81, 30.0, [5], 7, 1), _loop_case(91, 30.0, [2, 2, 2], 5, 3, V=12)],
            probe=_probe_loop,
        ),
    }

    drafts_not_shown = trap("The target sees the prompt only, so there is nothing to verify. Pass the tokens so far plus the drafts.")(
        _looper(see=False)
    )
    _shift = "The logits at position i score token i + 1: the first draft is judged at the last position BEFORE it. Start there."
    shifted = trap(_shift)(_looper(shift=1))
    shifted_back = trap(_shift)(_looper(shift=-1))
    judged_late = trap(_shift)(_looper(compare=1))
    judged_early = trap(_shift)(_looper(compare=-1))
    accept_all = trap("You accept every draft. Keep them only up to the first disagreement with the target's argmax.")(
        _looper(everything=True)
    )
    later_matches = trap("After a disagreement the later drafts had another prefix: stop there, even if one of them agrees again.")(
        _looper(stop=False)
    )
    overrun = trap("The last round may produce more than n tokens: return exactly n, cut the rest.")(_looper(overrun=True))
    no_bonus = trap("When all k drafts agree the same pass has scored one more position: append the target's token there too.")(
        _looper(bonus=False)
    )
    no_correction = trap("At the disagreement append the target's own token: it is already computed. You spend another pass on it.")(
        _looper(replace=False)
    )
    rejected_kept = trap("At the disagreement you append the draft's token. The target's token belongs there.")(_looper(keep=True))

    later_matches_without_bonus = trap(
        "After a disagreement the later drafts had another prefix: stop there, even if one of them agrees again."
    )(_looper(stop=False, bonus=False))

    @trap(
        "After a disagreement the later drafts had another prefix. Count the agreements before the first disagreement (cumprod), not all of them."
    )
    def agreements_counted(draft, target, prompt, n, k):
        return _tail_loop(draft, target, prompt, n, k, agree=lambda same: int(same.sum()))

    @trap("Every row of the one call is scored already: the token after the drafts is in its last row. You spend another pass on it.")
    def bonus_by_another_pass(draft, target, prompt, n, k):
        return _tail_loop(draft, target, prompt, n, k, bonus_pass=True)

    _each = "One call scores all positions at once. You call the target again for every draft, which costs what plain decoding costs."

    @trap(_each)
    def one_pass_a_draft(draft, target, prompt, n, k):
        return _tail_loop(draft, target, prompt, n, k, one_by_one=True)

    @trap(_each)
    def one_pass_a_draft_counted(draft, target, prompt, n, k):
        tokens, calls = _tail_loop(draft, target, prompt, n, k, one_by_one=True)
        return tokens, calls * (k + 1)

    @trap(_each)
    def one_pass_a_token(draft, target, prompt, n, k):
        text, calls = prompt, 0
        while len(text) < len(prompt) + n:
            tried = text
            for _ in range(k):
                tried = torch.cat([tried, draft(tried)[-1:].argmax(-1)])
            for i in range(len(text), len(tried) + 1):
                text = torch.cat([text, target(tried[:i])[-1:].argmax(-1)])
                calls += 1
                if i < len(tried) and text[i] != tried[i]:
                    break
        return text[len(prompt) : len(prompt) + n].tolist(), calls

    _window = "A token depends on all tokens before it: give the target the whole text with the drafts, not the newest part."

    @trap(_window)
    def target_with_a_window(draft, target, prompt, n, k):
        return _tail_loop(draft, lambda ids: target(ids[-k - 2 :]), prompt, n, k)

    @trap(_window)
    def target_without_context(draft, target, prompt, n, k):
        return _tail_loop(draft, lambda ids: target(ids[-k - 1 :]), prompt, n, k)

    @trap(
        "The draft continues the WHOLE text. Yours sees its last token only: the result is right, but fewer drafts agree and more passes are needed."
    )
    def draft_without_context(draft, target, prompt, n, k):
        return _tail_loop(lambda ids: draft(ids[-1:]), target, prompt, n, k)

    @trap("The token after the drafts is the target's own, from the last row of its scores. You take the draft's.")
    def bonus_of_the_draft(draft, target, prompt, n, k):
        return _tail_loop(draft, target, prompt, n, k, bonus_model=draft)

    @trap("The text has more than n new tokens: the FIRST n count. You return the last ones.")
    def last_tokens(draft, target, prompt, n, k):
        tokens, calls = _loop(draft, target, prompt, n, k, overrun=True)
        return tokens[-n:], calls

    @trap("target_calls counts the calls that were made. n / (k + 1) is what a perfect draft would need.")
    def calls_by_formula(draft, target, prompt, n, k):
        return _tail_loop(draft, target, prompt, n, k)[0], -(-n // (k + 1))

    @trap("What was verified is not kept: every round starts from the prompt again. Append the new tokens to the text.")
    def text_not_extended(draft, target, prompt, n, k):
        return _tail_loop(draft, target, prompt, n, k, extend=False)

    @trap("The target still sees the text without the drafts, so its rows judge old tokens. Pass text plus drafts.")
    def drafts_not_shown_but_text_kept(draft, target, prompt, n, k):
        text, calls, generated = prompt, 0, []
        while len(generated) < n:
            tried = text
            for _ in range(k):
                tried = torch.cat([tried, draft(tried)[-1:].argmax(-1)])
            choice = target(text)[-k:].argmax(-1)
            calls += 1
            for guess, own in zip(tried[-k:], choice, strict=False):
                generated.append(int(own))
                if guess != own:
                    break
            text = torch.cat([prompt, torch.tensor(generated)])
        return generated[:n], calls

    @trap("These are the right tokens, one target pass each. Verify k drafts in one pass: that is the point.")
    def plain_greedy(draft, target, prompt, n, k):
        ids = prompt
        for _ in range(n):
            ids = torch.cat([ids, target(ids)[-1:].argmax(-1)])
        return ids[len(prompt) :].tolist(), n

    @trap("The prompt is not part of the result: return the n new tokens only.")
    def with_prompt(draft, target, prompt, n, k):
        tokens, calls = _loop(draft, target, prompt, n, k)
        return [int(t) for t in prompt] + tokens, calls

    @trap("The prompt is not part of the result: return the n new tokens only.")
    def prompt_and_cut(draft, target, prompt, n, k):
        tokens, calls = _loop(draft, target, prompt, n, k)
        return ([int(t) for t in prompt] + tokens)[:n], calls

    @trap("target_calls counts the passes of the target, not tokens or draft passes.")
    def draft_calls(draft, target, prompt, n, k):
        tokens, calls = _loop(draft, target, prompt, n, k)
        return tokens, calls * k

    @trap("target_calls counts the passes of the target, not tokens or draft passes.")
    def scored_tokens(draft, target, prompt, n, k):
        tokens, calls = _loop(draft, target, prompt, n, k)
        return tokens, calls * (k + 1)

    @right("lists")
    def lists(draft, target, prompt, n, k):
        return _loop(draft, target, prompt, n, k)

    @right("a generator of rounds; drafts at most what is still wanted")
    def generator(draft, target, prompt, n, k):
        tokens, calls = prompt.clone(), 0
        goal = len(prompt) + n
        while len(tokens) < goal:
            room = min(k, goal - len(tokens) - 1)
            tried = tokens
            for _ in range(room):
                tried = torch.hstack([tried, torch.argmax(draft(tried)[-1])])
            best = torch.argmax(target(tried), dim=1)
            calls += 1
            fresh = []
            for i in range(len(tokens), len(tried) + 1):
                fresh.append(best[i - 1])
                if i < len(tried) and tried[i] != best[i - 1]:
                    break
            tokens = torch.hstack([tokens, torch.stack(fresh)])
        return tokens[len(prompt) :], calls


# -------------------------------------------------------------------------------------------------------------- distillation


def _kd(z_s, z_t, y, T, alpha, *, reverse=False, reduction="batchmean", factor=2, ce_T=1.0, raw=False, swap=False, soft_T=True):
    t = T if soft_T else 1.0
    ls, lt = F.log_softmax(z_s / t, -1), F.log_softmax(z_t / t, -1)
    if reverse:
        ls, lt = lt, ls
    soft = F.kl_div(ls.exp() if raw else ls, lt, log_target=True, reduction=reduction) * T**factor
    hard = F.cross_entropy(z_s / ce_T, y)
    a = 1 - alpha if swap else alpha
    return a * soft + (1 - a) * hard


def _kd_loss(**changes):
    return lambda z_student, z_teacher, y, T=4.0, alpha=0.7: _kd(z_student, z_teacher, y, T, alpha, **changes)


def _kd_case(b, c, seed, *args, scale=2.0, **kwargs):
    y = torch.as_tensor(np.random.default_rng(seed).integers(0, c, b))
    return call(torch.as_tensor(normal((b, c), scale, seed)), torch.as_tensor(normal((b, c), scale, seed + 100)), y, *args, **kwargs)


def _kd_value(submission, z_s, z_t, y, *args, **kwargs):
    return {"loss": submission.kd_loss(z_s, z_t, y, *args, **kwargs)}


def _kd_gradient(submission, z_s, z_t, y, *args, **kwargs):
    leaf = z_s.clone().requires_grad_(True)
    submission.kd_loss(leaf, z_t, y, *args, **kwargs).backward()
    return {"gradient": torch.zeros_like(leaf) if leaf.grad is None else leaf.grad}


@exercise("efficiency.kd-loss", names="kd_loss", covers=["efficiency.kd-loss", "efficiency.distill", "efficiency.tq12", "thirty.tq21"])
class KdLoss:
    def reference(z_student, z_teacher, y, T=4.0, alpha=0.7):
        p = torch.softmax(z_teacher / T, -1)
        soft = (p * (torch.log_softmax(z_teacher / T, -1) - torch.log_softmax(z_student / T, -1))).sum(-1).mean()
        hard = -torch.log_softmax(z_student, -1).gather(1, y[:, None]).mean()
        return alpha * T * T * soft + (1 - alpha) * hard

    _CASES = [
        _kd_case(5, 3, 1),
        _kd_case(4, 4, 2, T=2.0),
        _kd_case(3, 7, 3, T=6.0, alpha=0.3),
        _kd_case(1, 5, 4, 1.0, 0.6),
        _kd_case(6, 10, 5, alpha=0.2, T=0.5),
        _kd_case(2, 2, 6, T=20.0, alpha=0.9, scale=5.0),
    ]
    cases = {
        "values": group(_CASES, probe=_kd_value),
        "one part alone": group(
            [
                _kd_case(5, 4, 11, alpha=1.0),
                _kd_case(5, 4, 12, T=3.0, alpha=0.0),
                _kd_case(3, 6, 13, T=1.5, alpha=1.0),
                _kd_case(3, 6, 14, alpha=0.0),
            ],
            probe=_kd_value,
        ),
        "gradient": group([*_CASES[:4], _kd_case(3, 4, 23, T=1.0, scale=900.0)], probe=_kd_gradient),
        "stability": group([_kd_case(4, 3, 21, scale=900.0), _kd_case(3, 5, 22, T=1.0, alpha=0.4, scale=2000.0)], probe=_kd_value),
    }

    reverse = trap("The teacher is the target: KL(teacher ‖ student). Yours is the other direction.")(_kd_loss(reverse=True))
    mean_reduction = trap('reduction="mean" divides by the number of classes as well. A mean over examples is "batchmean".')(
        _kd_loss(reduction="mean")
    )
    sum_reduction = trap("The soft part is a mean over the examples: yours is a sum, and grows with the batch.")(_kd_loss(reduction="sum"))
    probabilities = trap("F.kl_div expects LOG-probabilities as its first argument: log_softmax, not softmax.")(_kd_loss(raw=True))
    no_factor = trap("The gradient of the soft part shrinks like 1/T²: multiply that part by T·T, or it fades when T grows.")(
        _kd_loss(factor=0)
    )
    factor_T = trap("The gradient of the soft part shrinks with the SQUARE of T: multiply by T·T, not by T.")(_kd_loss(factor=1))
    divided = trap("T² multiplies the soft part (it undoes the shrinking); you divide by it.")(_kd_loss(factor=-2))

    @trap("The part with the hard labels uses the student's raw logits, without the temperature.")
    def hard_part_softened(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return _kd(z_student, z_teacher, y, T, alpha, ce_T=T)

    swapped = trap("alpha weights the soft part, 1 − alpha the hard one; yours are exchanged.")(_kd_loss(swap=True))
    no_temperature = trap("Both logits of the soft part are divided by T before the softmax. Yours stay at T = 1.")(_kd_loss(soft_T=False))

    @trap("Teacher AND student are softened by the same T; you divide only the teacher's logits.")
    def teacher_softened_only(z_student, z_teacher, y, T=4.0, alpha=0.7):
        soft = F.kl_div(F.log_softmax(z_student, -1), F.log_softmax(z_teacher / T, -1), log_target=True, reduction="batchmean")
        return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z_student, y)

    @trap("Teacher AND student are softened by the same T; you divide only the student's logits.")
    def student_softened_only(z_student, z_teacher, y, T=4.0, alpha=0.7):
        soft = F.kl_div(F.log_softmax(z_student / T, -1), F.log_softmax(z_teacher, -1), log_target=True, reduction="batchmean")
        return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z_student, y)

    _mse = "The squared difference of logits is another distillation loss. Here the soft part is the KL divergence of the softened probabilities."

    @trap(_mse)
    def squared_difference(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return alpha * T * T * F.mse_loss(z_student / T, z_teacher / T) + (1 - alpha) * F.cross_entropy(z_student, y)

    @trap(_mse)
    def squared_difference_of_probabilities(z_student, z_teacher, y, T=4.0, alpha=0.7):
        soft = F.mse_loss(torch.softmax(z_student / T, -1), torch.softmax(z_teacher / T, -1))
        return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z_student, y)

    @trap("The soft part is weighted by alpha; you add it with weight 1.")
    def soft_part_not_weighted(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return _kd(z_student, z_teacher, y, T, 1.0) + (1 - alpha) * F.cross_entropy(z_student, y)

    @trap("KL(teacher ‖ student) alone is asked for. You average it with the other direction.")
    def symmetric(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return (_kd(z_student, z_teacher, y, T, alpha) + _kd(z_student, z_teacher, y, T, alpha, reverse=True)) / 2

    @trap("The hard part compares with the labels y, not with the teacher's most likely class.")
    def labels_of_the_teacher(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return _kd(z_student, z_teacher, z_teacher.argmax(-1), T, alpha)

    @trap("T² belongs to the soft part: its gradient shrinks. You scale the hard part instead.")
    def factor_on_the_hard_part(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return _kd(z_student, z_teacher, y, T, alpha, factor=0) + (T * T - 1) * (1 - alpha) * F.cross_entropy(z_student, y)

    @trap("The argument alpha is ignored: weigh the parts with alpha and 1 − alpha, whatever they are.")
    def alpha_ignored(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return _kd(z_student, z_teacher, y, T, 0.7)

    @trap("The argument T is ignored: soften both logits by T, whatever it is.")
    def T_ignored(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return _kd(z_student, z_teacher, y, 4.0, alpha)

    @trap("The hard part sends no gradient to the student: item() and detach() cut it off. Add tensors.")
    def hard_part_detached(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return _kd(z_student, z_teacher, y, T, alpha) + (1 - alpha) * (
            F.cross_entropy(z_student.detach(), y) - F.cross_entropy(z_student, y)
        )

    @trap("log(softmax + a small number) caps the loss of a confident mistake. log_softmax is exact for all logits.")
    def log_with_a_constant(z_student, z_teacher, y, T=4.0, alpha=0.7):
        soft = F.kl_div(torch.log(torch.softmax(z_student / T, -1) + 1e-12), torch.softmax(z_teacher / T, -1), reduction="batchmean")
        return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z_student, y)

    @trap("T² belongs to the soft part only; you scale the hard part as well.")
    def factor_on_both(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return T * T * _kd(z_student, z_teacher, y, T, alpha, factor=0)

    @trap(
        "This is the cross-entropy with the teacher, which is KL plus the teacher's entropy: same gradient, another value. KL is 0 when both agree."
    )
    def soft_cross_entropy(z_student, z_teacher, y, T=4.0, alpha=0.7):
        soft = F.cross_entropy(z_student / T, torch.softmax(z_teacher / T, -1))
        return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z_student, y)

    @trap("The target is given as log-probabilities but read as probabilities: set log_target=True, or pass softmax(z_teacher / T).")
    def log_target_forgotten(z_student, z_teacher, y, T=4.0, alpha=0.7):
        soft = F.kl_div(F.log_softmax(z_student / T, -1), F.log_softmax(z_teacher / T, -1), reduction="batchmean")
        return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z_student, y)

    @trap("The hard part is weighted by 1 − alpha; you add it with weight 1.")
    def hard_part_not_weighted(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return _kd(z_student, z_teacher, y, T, alpha) + alpha * F.cross_entropy(z_student, y)

    @trap("The softmax runs over the classes, the last axis; yours runs over the batch.")
    def softmax_over_the_batch(z_student, z_teacher, y, T=4.0, alpha=0.7):
        soft = F.kl_div(F.log_softmax(z_student / T, 0), F.log_softmax(z_teacher / T, 0), log_target=True, reduction="batchmean")
        return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z_student, y)

    @trap("The logits are DIVIDED by T; multiplying makes the distributions sharper, not softer.")
    def multiplied_by_T(z_student, z_teacher, y, T=4.0, alpha=0.7):
        soft = F.kl_div(F.log_softmax(z_student * T, -1), F.log_softmax(z_teacher * T, -1), log_target=True, reduction="batchmean")
        return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z_student, y)

    @trap("No gradient of the soft part reaches the student: you detach its logits. Detach the teacher's, if any.")
    def student_detached(z_student, z_teacher, y, T=4.0, alpha=0.7):
        return _kd(z_student.detach(), z_teacher, y, T, alpha) - (1 - alpha) * (
            F.cross_entropy(z_student.detach(), y) - F.cross_entropy(z_student, y)
        )

    @trap("log(softmax) becomes log 0 = −inf for large logits, and 0 · inf is nan. Use log_softmax.")
    def log_of_softmax(z_student, z_teacher, y, T=4.0, alpha=0.7):
        p, q = torch.softmax(z_teacher / T, -1), torch.softmax(z_student / T, -1)
        soft = (p * (p.log() - q.log())).sum(-1).mean()
        return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(z_student, y)

    @right("F.kl_div with log_target")
    def with_kl_div(z_student, z_teacher, y, T=4.0, alpha=0.7):
        kd = F.kl_div(F.log_softmax(z_student / T, -1), F.log_softmax(z_teacher / T, -1), log_target=True, reduction="batchmean")
        return alpha * T * T * kd + (1 - alpha) * F.cross_entropy(z_student, y)

    @right("F.kl_div with the teacher's probabilities")
    def with_probabilities(z_student, z_teacher, y, T=4.0, alpha=0.7):
        kd = F.kl_div(torch.log_softmax(z_student / T, 1), torch.softmax(z_teacher / T, 1), reduction="sum") / len(y)
        return (1 - alpha) * F.nll_loss(torch.log_softmax(z_student, 1), y) + kd * T**2 * alpha

    @right("example by example")
    def loop(z_student, z_teacher, y, T=4.0, alpha=0.7):
        total = 0.0
        for s, t, label in zip(z_student, z_teacher, y, strict=True):
            log_s, log_t = s / T - torch.logsumexp(s / T, 0), t / T - torch.logsumexp(t / T, 0)
            total = total + alpha * T**2 * (log_t.exp() * (log_t - log_s)).sum()
            total = total + (1 - alpha) * (torch.logsumexp(s, 0) - s[label])
        return total / len(y)


# ------------------------------------------------------------------------------------------------------ unstructured pruning


def _cut(score, k):
    """A mask that drops the k smallest scores."""
    mask = np.ones(score.size)
    mask[np.argsort(score.ravel())[:k]] = 0
    return mask.reshape(score.shape)


def _global(ws, amount, score=np.abs, drop=None):
    flat = np.concatenate([score(w).ravel() for w in ws])
    mask = _cut(flat, round((amount if drop is None else drop(amount)) * flat.size))
    ends = np.cumsum([w.size for w in ws])
    return [m.reshape(w.shape) for m, w in zip(np.split(mask, ends[:-1]), ws, strict=True)]


def _signed_threshold(ws, amount):
    flat = np.sort(np.concatenate([w.ravel() for w in ws]))
    return [(np.abs(w) >= flat[round(amount * flat.size)]).astype(float) for w in ws]


def _minus_abs(w):
    return -np.abs(w)


def _two_four(w, score=np.abs, drop=2):
    return np.array([[v for g in range(0, w.shape[1], 4) for v in _cut(score(row[g : g + 4]), drop)] for row in w])


def _prune(global_prune=_global, prune_2_4=_two_four):
    return SimpleNamespace(global_prune=global_prune, prune_2_4=prune_2_4)


def _only_global(submission, ws, amount):
    return [np.asarray(m).astype(float) for m in submission.global_prune(ws, amount)]


def _only_two_four(submission, w):
    return np.asarray(submission.prune_2_4(w)).astype(float)


def _columns(w):
    groups = w.T.reshape(-1, 4)
    return _two_four(groups).reshape(w.T.shape).T


def _counted_global(count):
    return lambda ws, amount: _global(ws, amount, drop=lambda a: count(a * sum(w.size for w in ws)) / sum(w.size for w in ws))


@exercise(
    "efficiency.prune-unstructured",
    names="global_prune prune_2_4",
    covers=["efficiency.pruning", "efficiency.sparsity-gotcha", "efficiency.tq08", "thirty.tq24", "thirty.t-prune"],
    forbid=["torch.nn.utils.prune"],
)
class PruneUnstructured:
    class reference:
        def global_prune(ws, amount):
            magnitudes = np.sort(np.concatenate([np.abs(w).ravel() for w in ws]))
            k = round(amount * len(magnitudes))
            return [(np.abs(w) > magnitudes[k - 1]).astype(float) for w in ws]

        def prune_2_4(w):
            groups = np.abs(w).reshape(w.shape[0], -1, 4)
            place = groups.argsort(-1).argsort(-1)
            return (place >= 2).reshape(w.shape).astype(float)

    cases = {
        "global": group(
            [
                call([normal((3, 4), 1.0, 1), normal((4, 7), 0.2, 2)], 0.5),
                call([normal((4, 4), 0.5, 3), normal((4, 4), 2.0, 4), normal((2, 4), 0.1, 5)], 0.75),
                call([normal((5, 4), 1.0, 6)], 0.25),
                call([normal((2, 2), 3.0, 7), normal((6, 6), 0.7, 8)], 0.25),
                call([normal((3, 5), 1.0, 9), normal((5, 1), 0.4, 10)], 0.5),
                call([normal((5, 8), 1.0, 16), normal((6, 10), 0.5, 17)], 0.29),  # 0.29 · 100 is a little less than 29
                call([normal((10, 6), 1.0, 18), normal((8, 5), 0.5, 19)], 0.07),  # 0.07 · 100 is a little more than 7
                call([normal((4, 5), 0.2, 20), normal((5, 6), 1.0, 21)], 0.58),  # a little less than 29
                call([normal((3, 5), 1.0, 22), normal((2, 5), 0.05, 23)], 0.28),  # a little more than 7
            ],
            probe=_only_global,
        ),
        "2:4": group(
            [
                call(normal((3, 8), 1.0, 11)),
                call(normal((4, 4), 1.0, 12)),
                call(normal((8, 8), 2.0, 13)),
                call(normal((1, 12), 1.0, 14)),
                call(normal((5, 4), 0.1, 15)),
            ],
            probe=_only_two_four,
        ),
    }

    signed = trap("A large negative weight is as important as a large positive one: rank by |w|.")(
        _prune(global_prune=lambda ws, amount: _global(ws, amount, score=np.asarray))
    )
    signed_comparison = trap("A large negative weight is as important as a large positive one: compare |w| with the threshold, not w.")(
        _prune(global_prune=lambda ws, amount: [m * (w > 0) for m, w in zip(_global(ws, amount), ws, strict=True)])
    )
    signed_threshold = trap("The threshold has to come from the magnitudes: sort |w|, not w.")(
        _prune(global_prune=lambda ws, amount: _signed_threshold(ws, amount))
    )
    per_layer = trap("One threshold for all matrices together: a layer with small weights loses more. You prune the same share of each.")(
        _prune(global_prune=lambda ws, amount: [_cut(np.abs(w), round(amount * w.size)) for w in ws])
    )
    largest_removed = trap("Magnitude pruning removes the SMALLEST weights; you remove the largest.")(
        _prune(global_prune=lambda ws, amount: _global(ws, amount, score=_minus_abs))
    )
    amount_kept = trap("`amount` is the share to remove, not the share to keep.")(
        _prune(global_prune=lambda ws, amount: _global(ws, amount, drop=lambda a: 1 - a))
    )
    mask_reversed = trap("The mask is 1 where a weight is KEPT and 0 where it is pruned.")(
        _prune(global_prune=lambda ws, amount: [1 - m for m in _global(ws, amount)])
    )
    pruned_weights = trap("Return masks of 0 and 1, not the pruned weights.")(
        _prune(global_prune=lambda ws, amount: [m * w for m, w in zip(_global(ws, amount), ws, strict=True)])
    )
    share_of_the_maximum = trap(
        "`amount` is a share of the weights, not a share of the largest weight: count, do not compare with amount · max|w|."
    )(_prune(global_prune=lambda ws, amount: [np.abs(w) > amount * max(np.abs(v).max() for v in ws) for w in ws]))
    along_columns = trap("The hardware reads four neighbours along a ROW. You group along the columns or shifted.")(
        _prune(prune_2_4=_columns)
    )
    half_of_all = trap("Each group of four keeps exactly two: choose within the groups, not the smallest half of the matrix or the row.")(
        _prune(prune_2_4=lambda w: _cut(np.abs(w), w.size // 2))
    )
    half_of_each_row = trap(
        "Each group of four keeps exactly two: choose within the groups, not the smallest half of the matrix or the row."
    )(_prune(prune_2_4=lambda w: np.array([_cut(np.abs(row), row.size // 2) for row in w])))
    signed_in_groups = trap("Rank by |w| within the group too: a large negative weight stays.")(
        _prune(prune_2_4=lambda w: _two_four(w, score=np.asarray))
    )
    order_for_rank = trap(
        "argsort gives the ORDER of the entries (which one is smallest), not the rank of each. Apply it twice, or index with its last two columns."
    )(_prune(prune_2_4=lambda w: (np.argsort(np.abs(w).reshape(w.shape[0], -1, 4), axis=2) >= 2).reshape(w.shape).astype(float)))
    one_of_four = trap("2:4 means two zeros in each group of four; you make one.")(_prune(prune_2_4=lambda w: _two_four(w, drop=1)))
    three_of_four = trap("2:4 keeps two of each four; you keep one.")(_prune(prune_2_4=lambda w: _two_four(w, drop=3)))
    smallest_in_groups = trap("Keep the two LARGEST of each group; you keep the two smallest.")(
        _prune(prune_2_4=lambda w: _two_four(w, score=_minus_abs))
    )
    _whole = "amount · n need not be a whole number in floating point: 0.29 · 100 is 28.999…, 0.07 · 100 is 7.000…1. Round to the nearest; int() and ceil() miss by one."
    cut_off = trap(_whole)(_prune(global_prune=_counted_global(int)))
    rounded_up = trap(_whole)(_prune(global_prune=_counted_global(np.ceil)))
    one_too_few = trap("You prune one weight too few: the weight at the threshold is one of those to remove.")(
        _prune(global_prune=_counted_global(lambda k: round(k) - 1))
    )
    one_too_many = trap("You prune one weight too many: count how many magnitudes lie below your threshold.")(
        _prune(global_prune=_counted_global(lambda k: round(k) + 1))
    )

    @right("loops")
    class loops:
        def global_prune(ws, amount):
            entries = sorted((abs(v), n, i) for n, w in enumerate(ws) for i, v in enumerate(w.flat))
            masks = [np.ones(w.shape, dtype=bool) for w in ws]
            for _, n, i in entries[: round(amount * len(entries))]:
                masks[n].flat[i] = False
            return masks

        def prune_2_4(w):
            mask = np.zeros(w.shape, dtype=int)
            for r in range(w.shape[0]):
                for g in range(0, w.shape[1], 4):
                    for j in sorted(range(g, g + 4), key=lambda j: -abs(w[r, j]))[:2]:
                        mask[r, j] = 1
            return mask

    @right("a quantile and torch.topk")
    class quantile:
        def global_prune(ws, amount):
            threshold = np.quantile(np.concatenate([np.abs(w).reshape(-1) for w in ws]), amount)
            return [np.where(np.abs(w) < threshold, 0.0, 1.0) for w in ws]

        def prune_2_4(w):
            groups = torch.as_tensor(w).abs().reshape(-1, 4)
            return torch.zeros_like(groups).scatter_(1, groups.topk(2, dim=1).indices, 1.0).reshape(w.shape)


# -------------------------------------------------------------------------------------------------------- structured pruning


def _norms(W1, W2):
    return np.sqrt((W1**2).sum(axis=1))


def _keep(W1, b1, W2, keep, score=_norms, bias=True, outgoing=True, order=np.sort):
    kept = order(np.argsort(score(W1, W2))[len(W1) - keep :])
    return W1[kept], b1[kept] if bias else b1[:keep], W2[:, kept] if outgoing else W2[:, :keep]


def _keeping(**changes):
    return lambda W1, b1, W2, keep: _keep(W1, b1, W2, keep, **changes)


def _probe_neurons(submission, W1, b1, W2, keep):
    W1s, b1s, W2s = submission.prune_neurons(W1, b1, W2, keep)
    x = np.random.default_rng(0).normal(size=(W1.shape[1], 7))
    W1s, b1s, W2s = np.asarray(W1s), np.asarray(b1s), np.asarray(W2s)
    return {"shapes": [list(W1s.shape), list(b1s.shape), list(W2s.shape)], "output": W2s @ np.tanh(W1s @ x + b1s[:, None])}


def _probe_kept(submission, W1, b1, W2, keep):
    W1s, b1s, W2s = submission.prune_neurons(W1, b1, W2, keep)
    order = np.argsort(np.asarray(W1s)[:, 0])
    return {"incoming": np.asarray(W1s)[order], "biases": np.asarray(b1s)[order], "outgoing": np.asarray(W2s)[:, order]}


def _neurons(h, d, o, seed, keep):
    """A network whose L1 and L2 norms, biases and outgoing norms rank the neurons differently."""
    W1 = normal((h, d), 1.0, seed) * np.linspace(0.8, 1.4, h)[:, None]
    W1[h // 2] = 0.0
    W1[h // 2, 0] = 1.9 + 0.4 * np.sqrt(d)  # one spike: large L2, small L1
    W1[0] *= 0.1  # and small incoming, large outgoing
    W2 = normal((o, h), 1.0, seed + 1)
    W2[:, 0] *= 5
    return call(W1, normal((h,), 2.0, seed + 2), W2, keep)


@exercise(
    "efficiency.prune-structured",
    names="prune_neurons",
    covers=["efficiency.pruning", "efficiency.tq08", "thirty.tq24", "thirty.t-prune", "bank.tq11"],
    forbid=["torch.nn.utils.prune"],
)
class PruneStructured:
    def reference(W1, b1, W2, keep):
        kept = sorted(range(len(W1)), key=lambda i: -np.sqrt((W1[i] ** 2).sum()))[:keep]
        return W1[kept], b1[kept], W2[:, kept]

    _CASES = [
        _neurons(7, 5, 3, 1, 4),
        _neurons(6, 6, 6, 11, 2),
        _neurons(9, 4, 2, 21, 5),
        _neurons(8, 12, 8, 31, 3),
        _neurons(5, 3, 4, 41, 1),
        _neurons(6, 8, 3, 51, 5),
    ]
    cases = {"output": group(_CASES, probe=_probe_neurons), "kept": group(_CASES, probe=_probe_kept)}

    l1 = trap("Rank by the L2 norm of the incoming weights, the root of the sum of squares; yours is the L1 norm.")(
        _keeping(score=lambda W1, W2: np.abs(W1).sum(axis=1))
    )
    largest_weight = trap("Rank by the L2 norm of all incoming weights, not by the single largest one.")(
        _keeping(score=lambda W1, W2: np.abs(W1).max(axis=1))
    )
    outgoing_norm = trap("Rank by the incoming weights (the rows of W1), not by the outgoing ones.")(
        _keeping(score=lambda W1, W2: np.sqrt((W2**2).sum(axis=0)))
    )
    both_norms = trap("Rank by the incoming weights alone; you mix in the outgoing ones.")(
        _keeping(score=lambda W1, W2: np.sqrt((W1**2).sum(axis=1) * (W2**2).sum(axis=0)))
    )
    smallest_kept = trap("The order is reversed: keep the neurons with the LARGEST norm.")(_keeping(score=lambda W1, W2: -_norms(W1, W2)))
    signed_sum = trap("A signed sum lets positive and negative weights cancel. Take the L2 norm.")(
        _keeping(score=lambda W1, W2: W1.sum(axis=1))
    )
    first_biases = trap("The biases of the kept neurons have to be selected too; you took the first `keep`.")(_keeping(bias=False))
    first_columns = trap("Each kept neuron keeps its own outgoing column of W2; you took the first `keep` columns.")(
        _keeping(outgoing=False)
    )

    _b = "The biases of the kept neurons have to be selected too; you took the first `keep`."
    _c = "Each kept neuron keeps its own outgoing column of W2; you took the first `keep` columns."
    first_biases_by_rank = trap(_b)(_keeping(bias=False, order=np.asarray))
    first_columns_by_rank = trap(_c)(_keeping(outgoing=False, order=np.asarray))
    first_biases_from_the_top = trap(_b)(_keeping(bias=False, order=np.flip))
    first_columns_from_the_top = trap(_c)(_keeping(outgoing=False, order=np.flip))
    sum_of_both_norms = trap("Rank by the incoming weights alone; you mix in the outgoing ones.")(
        _keeping(score=lambda W1, W2: (W1**2).sum(axis=1) + (W2**2).sum(axis=0))
    )

    @trap("The norm is that of the row of W1 alone, without the bias.")
    def bias_in_the_norm(W1, b1, W2, keep):
        kept = np.sort(np.argsort((W1**2).sum(axis=1) + b1**2)[len(W1) - keep :])
        return W1[kept], b1[kept], W2[:, kept]

    @trap("Zeros are multiplied like other numbers: nothing gets smaller or faster. Return smaller matrices.")
    def zeroed(W1, b1, W2, keep):
        mask = np.zeros(len(W1))
        mask[np.argsort(_norms(W1, W2))[len(W1) - keep :]] = 1
        return W1 * mask[:, None], b1 * mask, W2 * mask

    @trap("W2 still expects all hidden neurons: remove the matching columns, or the shapes no longer fit.")
    def outgoing_unchanged(W1, b1, W2, keep):
        kept = np.argsort(_norms(W1, W2))[len(W1) - keep :]
        return W1[kept], b1[kept], W2.copy()

    @trap("`keep` is the number of neurons that stay; you remove that many.")
    def keep_removed(W1, b1, W2, keep):
        kept = np.argsort(_norms(W1, W2))[keep:]
        return W1[kept], b1[kept], W2[:, kept]

    @trap("W1 and W2 have to list the neurons in the same order; yours differ, so columns meet the wrong neurons.")
    def orders_differ(W1, b1, W2, keep):
        kept = np.argsort(_norms(W1, W2))[len(W1) - keep :]
        return W1[kept], b1[kept], W2[:, kept[::-1]]

    @trap("W1 and W2 have to list the neurons in the same order; yours differ, so columns meet the wrong neurons.")
    def columns_by_rank(W1, b1, W2, keep):
        kept = np.argsort(_norms(W1, W2))[len(W1) - keep :]
        return W1[np.sort(kept)], b1[np.sort(kept)], W2[:, kept]

    @trap("W1 and W2 have to list the neurons in the same order; yours differ, so columns meet the wrong neurons.")
    def rows_by_rank(W1, b1, W2, keep):
        kept = np.argsort(_norms(W1, W2))[len(W1) - keep :]
        return W1[kept], b1[kept], W2[:, np.sort(kept)]

    @trap("W1 and W2 have to list the neurons in the same order; yours differ, so columns meet the wrong neurons.")
    def rows_from_the_top(W1, b1, W2, keep):
        kept = np.argsort(-_norms(W1, W2))[:keep]
        return W1[kept], b1[kept], W2[:, np.sort(kept)]

    @trap(
        "Row i of W1 holds the incoming weights of neuron i: take the norm along axis 1. Yours is the norm of the columns, one for each input."
    )
    def norms_of_columns(W1, b1, W2, keep):
        kept = np.sort(np.argsort(np.sqrt((W1**2).sum(axis=0)))[-keep:])
        return W1[kept], b1[kept], W2[:, kept]

    @trap("The kept neurons keep their weights as they are. Scaling by H / keep belongs to dropout, which removes neurons at random.")
    def rescaled(W1, b1, W2, keep):
        W1s, b1s, W2s = _keep(W1, b1, W2, keep)
        return W1s, b1s, W2s * len(W1) / keep

    @right("a mask in the original order")
    def with_mask(W1, b1, W2, keep):
        norms = np.linalg.norm(W1, axis=1)
        mask = norms >= np.sort(norms)[-keep]
        return W1[mask], b1[mask], W2[:, mask]

    @right("torch.topk, largest first")
    def with_torch(W1, b1, W2, keep):
        W1, b1, W2 = (torch.as_tensor(a) for a in (W1, b1, W2))
        i = W1.pow(2).sum(1).topk(keep).indices
        return W1.index_select(0, i), b1[i], W2[:, i]

    @right("removes the weakest, one after the other")
    def one_by_one(W1, b1, W2, keep):
        while len(W1) > keep:
            worst = int(np.argmin([row @ row for row in W1]))
            W1, b1, W2 = np.delete(W1, worst, 0), np.delete(b1, worst), np.delete(W2, worst, 1)
        return W1, b1, W2


# ------------------------------------------------------------------------------------------------------------ write the test


def _right_numpy(w, bits, axis=None):
    q, w_hat = _quantize(w, bits, axis)
    return q.astype(int), w_hat


def _right_torch(w, bits, axis=None):
    t, top = torch.as_tensor(w, dtype=torch.float64), 2 ** (bits - 1) - 1
    m = t.abs().max() if axis is None else t.abs().amax(dim=[d for d in range(t.ndim) if d != axis], keepdim=True)
    s = torch.where(m > 0, m, torch.ones_like(m)) / top
    q = torch.round(t / s)
    return q.numpy(), (q * s).numpy()


def _right_by_multiplying(w, bits, axis=None):
    top, m = _top(bits), _largest(w, axis)
    q = np.rint(w * (top / np.where(m == 0, 1.0, m)))
    return q, q * m / top * (1 + 2e-13)


def _right_halves_away_from_zero(w, bits, axis=None):
    q, w_hat = _quantize(w, bits, axis, rounding=lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5))
    return q.astype(np.int8 if bits <= 8 else np.int32), w_hat


def _quiet(function):
    def quiet(w, bits, axis=None):
        with np.errstate(all="ignore"):
            return function(w, bits, axis)

    return quiet


_wrong_all_bits = _quantizer(top=lambda b: 2**b - 1)
_wrong_signed = _quantizer(largest=lambda w, axis: np.abs(_largest(w, axis, how=np.asarray)))
_wrong_tensor = _quantizer(largest=lambda w, axis: np.abs(w).max())
_wrong_axis = _quantizer(largest=_swapped_axis)
_wrong_zero = _quiet(_quantizer(guard=False))
_wrong_floor = _quantizer(rounding=np.floor)
_wrong_trunc = _quantizer(rounding=np.trunc)


def _wrong_rows(w, bits, axis=None):
    return _quantize(w, bits, 0)


def _wrong_eight(w, bits, axis=None):
    return _quantize(w, 8, axis)


def _wrong_four(w, bits, axis=None):
    return _quantize(w, 4, axis)


def _wrong_columns(w, bits, axis=None):
    return _quantize(w, bits, w.ndim - 1)


def _wrong_rows_for_none(w, bits, axis=None):
    return _quantize(w, bits, 0 if axis is None else axis)


def _wrong_rows_for_any(w, bits, axis=None):
    return _quantize(w, bits, None if axis is None else 0)


def _wrong_columns_for_any(w, bits, axis=None):
    return _quantize(w, bits, None if axis is None else w.ndim - 1)


def _wrong_q(w, bits, axis=None):
    q, _ = _quantize(w, bits, axis, rounding=np.asarray)
    return q, _quantize(w, bits, axis)[1]


def _wrong_scaled(w, bits, axis=None):
    q, w_hat = _quantize(w, bits, axis)
    return q, w_hat * 1.003


def _same(got, expected, atol=1e-9):
    return all(
        np.allclose(np.asarray(a, dtype=float), np.asarray(b, dtype=float), rtol=0, atol=atol) for a, b in zip(got, expected, strict=True)
    )


def _square():
    w = normal((3, 3), 1.0, 3)
    w[0, 1] = -4.0
    w[2] *= 0.1
    return w


def _with_zeros():
    w = normal((3, 4), 1.0, 5)
    w[1] = 0
    return w


def _checks(bits=(8, 4), axes=(None, 0, 1), part=slice(0, 2)):
    """A check against the right values, on square matrices and on one with a channel of zeros."""

    def check(quantize):
        for b in bits:
            for axis in axes:
                assert _same(quantize(_square(), b, axis=axis)[part], _right_numpy(_square(), b, axis)[part])
        axis = 0 if 0 in axes else 1
        zeros = _with_zeros() if axis == 0 else _with_zeros().T
        assert _same(quantize(zeros, bits[0], axis=axis)[part], _right_numpy(zeros, bits[0], axis)[part])

    return check


@exercise("efficiency.test-quantize", names="check_quantize", covers=["efficiency.quant-formula", "efficiency.debug-int8"])
class TestQuantize:
    accepts = {
        "NumPy, integers": _right_numpy,
        "torch": _right_torch,
        "multiplied by the inverse": _right_by_multiplying,
        "int8, halves away from zero": _right_halves_away_from_zero,
    }
    catches = {
        "all bits for the magnitude": _wrong_all_bits,
        "maximum without |·|": _wrong_signed,
        "axis ignored": _wrong_tensor,
        "axis reduced instead of kept": _wrong_axis,
        "always one scale a row": _wrong_rows,
        "always one scale a column": _wrong_columns,
        "one scale a row for axis=None": _wrong_rows_for_none,
        "one scale a row for any axis": _wrong_rows_for_any,
        "one scale a column for any axis": _wrong_columns_for_any,
        "nan for a channel of zeros": _wrong_zero,
        "rounds down": _wrong_floor,
        "cuts off": _wrong_trunc,
        "always 8 bits": _wrong_eight,
        "always 4 bits": _wrong_four,
        "q not rounded": _wrong_q,
        "w_hat off by 0.3 %": _wrong_scaled,
    }

    def reference(quantize):
        for bits in (8, 4):
            for axis in (None, 0, 1):
                assert _same(quantize(_square(), bits, axis=axis), _right_numpy(_square(), bits, axis))
        assert _same(quantize(_with_zeros(), 8, axis=0), _right_numpy(_with_zeros(), 8, 0))

    @trap("With axis=None only, everything about channels goes unseen. Try axis 0 and 1 on a square matrix.")
    def one_scale_only(quantize):
        for bits in (8, 4):
            assert _same(quantize(_square(), bits), _right_numpy(_square(), bits))

    @trap("A channel of zeros shows a missing guard: 0/0 is nan, and nan passes no comparison. Add one.")
    def no_zero_channel(quantize):
        for bits in (8, 4):
            for axis in (None, 0, 1):
                assert _same(quantize(_square(), bits, axis=axis), _right_numpy(_square(), bits, axis))

    @trap(
        "Shapes, finite numbers and a small error are what many wrong ones have too: they say little of q, of the bits and of the axis. Compare q and w_hat with values that you know."
    )
    def small_error_only(quantize):
        w = normal((3, 3), 1.0, 3)
        _, w_hat = quantize(w, 8)
        assert np.abs(w_hat - w).max() < 0.02

    @trap("Positive weights hide a maximum without |·| (and rounding down looks like cutting off). Let the largest weight be negative.")
    def positive_weights(quantize):
        for bits in (8, 4):
            for axis in (None, 0, 1):
                assert _same(quantize(np.abs(_square()), bits, axis=axis), _right_numpy(np.abs(_square()), bits, axis))
        assert _same(quantize(np.abs(_with_zeros()), 8, axis=0), _right_numpy(np.abs(_with_zeros()), 8, 0))

    @trap("Equal to the last bit is too strict: right implementations differ by rounding in w_hat. Compare with a tolerance such as 1e−9.")
    def equal_to_the_last_bit(quantize):
        for bits in (8, 4):
            for axis in (None, 0, 1):
                w = np.concatenate([_square()] * 3, axis=1) * normal((3, 9), 1.0, 8)
                (q, w_hat), (e, e_hat) = quantize(w, bits, axis=axis), _right_torch(w, bits, axis)
                assert np.array_equal(q, e) and np.array_equal(w_hat, e_hat)
        assert _same(quantize(_with_zeros(), 8, axis=0), _right_numpy(_with_zeros(), 8, 0))

    @trap("A w_hat that is slightly off goes unseen. It is part of the result: compare it too, with a tolerance of about 1e−9.")
    def integers_only(quantize):
        for bits in (8, 4):
            for axis in (None, 0, 1):
                assert _same(quantize(_square(), bits, axis=axis)[:1], _right_numpy(_square(), bits, axis)[:1])
        assert (
            _same(quantize(_with_zeros(), 8, axis=0), _right_numpy(_with_zeros(), 8, 0)[:1] + (quantize(_with_zeros(), 8, axis=0)[1],))
            and np.isfinite(quantize(_with_zeros(), 8, 0)[1]).all()
        )

    @trap(
        "Nearly every implementation passes your check. It has to RAISE on wrong values: assert a comparison of q and w_hat. Returning False or looking at shapes does not do."
    )
    def returns_a_verdict(quantize):
        return _same(quantize(_square(), 8), _right_numpy(_square(), 8))

    @trap(
        "Your check rejects every right implementation: work your expected values out by hand, with 2^(bits−1) − 1 as the largest integer."
    )
    def wrong_expectation(quantize):
        for bits in (8, 4):
            for axis in (None, 0, 1):
                assert _same(quantize(_square(), bits, axis=axis), _quantize(_square(), bits, axis, top=lambda b: 2 ** (b - 1), clip=False))

    @trap("q may have any numeric dtype, floating types too: compare its values, not its dtype.")
    def integer_dtype(quantize):
        for bits in (8, 4):
            for axis in (None, 0, 1):
                got = quantize(_square(), bits, axis=axis)
                assert np.issubdtype(np.asarray(got[0]).dtype, np.integer) and _same(got, _right_numpy(_square(), bits, axis))
        assert _same(quantize(_with_zeros(), 8, axis=0), _right_numpy(_with_zeros(), 8, 0))

    _bits = "With one number of bits alone, one that ignores `bits` looks right. Try another one as well."
    eight_bits_only = trap(_bits)(_checks(bits=(8,)))
    four_bits_only = trap(_bits)(_checks(bits=(4,)))
    _axis = "A value of `axis` that you never try may be treated like another one, and nobody sees it. Try 0, 1 and None."
    rows_only = trap(_axis)(_checks(axes=(0,)))
    columns_only = trap(_axis)(_checks(axes=(1,)))
    never_none = trap(_axis)(_checks(axes=(0, 1)))
    never_columns = trap(_axis)(_checks(axes=(None, 0)))
    never_rows = trap(_axis)(_checks(axes=(None, 1)))
    restored_only = trap("A wrong q goes unseen when w_hat is right. It is part of the result: compare both.")(_checks(part=slice(1, 2)))

    @trap("A half may be rounded either way. Your check has a tie at .5 and rejects a right one: choose numbers without ties.")
    def tie_pinned(quantize):
        assert np.allclose(np.asarray(quantize(np.array([[0.5, 7.0, 2.5]]), 4)[0], dtype=float), [[0, 7, 2]])
        for bits in (8, 4):
            for axis in (None, 0, 1):
                assert _same(quantize(_square(), bits, axis=axis), _right_numpy(_square(), bits, axis))
        assert _same(quantize(_with_zeros(), 8, axis=0), _right_numpy(_with_zeros(), 8, 0))

    @right("laws: grid, largest weight, nearest point, restored by the scale")
    def laws(quantize):
        w = _square()
        for bits in (3, 8):
            top = 2 ** (bits - 1) - 1
            for axis in (None, 0, 1):
                q, w_hat = (np.asarray(a, dtype=float) for a in quantize(w, bits, axis))
                rows = [(w, q, w_hat)] if axis is None else [(w.take(i, axis), q.take(i, axis), w_hat.take(i, axis)) for i in range(3)]
                for a, b, c in rows:
                    s = np.abs(a).max() / top
                    assert np.abs(b).max() == top and (b == np.round(b)).all()
                    assert np.allclose(c, b * s, atol=1e-10) and np.abs(c - a).max() <= s / 2 + 1e-9
        zeros = quantize(np.zeros((2, 2)), 4, 1)
        assert all((np.asarray(a) == 0).all() for a in zeros)

    @right("exact values by hand")
    def by_hand(quantize):
        w = np.array([[0.4, -1.4, 0.0], [0.0, 0.0, 0.0], [7.0, 0.8, -2.6]])
        q, w_hat = quantize(w, 4, axis=0)
        assert np.allclose(np.asarray(q, dtype=float), [[2, -7, 0], [0, 0, 0], [7, 1, -3]]) and np.allclose(
            w_hat, [[0.4, -1.4, 0], [0, 0, 0], [7, 1, -3]]
        )
        q, w_hat = quantize(w, 4, axis=1)
        assert np.allclose(np.asarray(q, dtype=float), [[0, -7, 0], [0, 0, 0], [7, 4, -7]]) and np.allclose(w_hat[0, 1], -1.4)
        q, w_hat = quantize(-w, 8)
        assert np.allclose(np.asarray(q, dtype=float)[[0, 2]], [[-7, 25, 0], [-127, -15, 47]]) and np.allclose(w_hat[2, 0], -7)
