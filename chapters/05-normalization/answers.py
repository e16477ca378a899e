"""Hidden side of chapter 5: what each exercise is compared with, and the mistakes that we know."""

import copy
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.authoring import arrays, call, exercise, group, normal, right, st, trap

#: Ready-made normalization of the libraries; each task says that it may not be called.
READY_MADE = [
    "scipy",
    "sklearn",
    *(f"torch.nn.functional.{n}_norm" for n in ("batch", "layer", "rms", "group", "instance", "local_response")),
    *(f"torch.{n}" for n in ("native_batch_norm", "native_layer_norm", "native_group_norm", "batch_norm_stats", "batch_norm_elemt")),
    *(f"torch.nn.{k}{n}" for k in ("BatchNorm", "LazyBatchNorm", "InstanceNorm", "LazyInstanceNorm") for n in ("1d", "2d", "3d")),
    *(f"torch.nn.{n}" for n in ("LayerNorm", "RMSNorm", "GroupNorm", "SyncBatchNorm", "LocalResponseNorm")),
]

AUTODIFF = [
    "functorch",
    "torch._functorch",
    "torch.autograd.grad",
    "torch.autograd.functional.jacobian",
    "torch.func.vjp",
    "torch.func.jacrev",
]


def affine(shape, seed=0):
    """A scale away from 1 and a shift away from 0."""
    rng = np.random.default_rng(seed + 1000)
    return rng.uniform(0.5, 2.0, shape), rng.uniform(-1.5, 1.5, shape)


def spread(shape, axis, seed=0):
    """Normal draws whose scale and offset differ along `axis`."""
    view = [1] * len(shape)
    view[axis] = shape[axis]
    rng = np.random.default_rng(seed + 500)
    scale, offset = rng.uniform(0.3, 3.0, shape[axis]), rng.uniform(-4.0, 4.0, shape[axis])
    return normal(shape, seed=seed) * scale.reshape(view) + offset.reshape(view)


# ---------------------------------------------------------------------------------------------------------------- the formula


def formula_call(shape, axes, affine_shape, *, seed, scale=1.0, offset=0.0, dtype=np.float64, **more):
    gamma, beta = affine(affine_shape, seed)
    x = spread(shape, 1, seed) * scale + offset
    return call(x.astype(dtype), axes, gamma.astype(dtype), beta.astype(dtype), **more)


@st.composite
def small_formula_calls(draw):
    n, c = draw(st.integers(2, 4)), draw(st.integers(2, 4))
    axes, affine_shape = draw(st.sampled_from([((0,), (c,)), ((1,), (c,)), ((1,), (n, 1)), ((0, 1), (c,)), ((-1,), (1, c))]))
    x = draw(arrays((n, c), -3, 3))
    gamma, beta = draw(arrays(affine_shape, 0.5, 2.0)), draw(arrays(affine_shape, -2, 2))
    return draw(st.just(call(x, axes, gamma, beta, eps=draw(st.sampled_from([1e-5, 1e-3, 0.1])))))


@exercise(
    "normalization.normalize",
    names="normalize",
    covers=[f"normalization.{n}" for n in ("formula", "gamma", "beta", "eps", "intro", "q.eps")],
    forbid=READY_MADE,
)
class NormalizeExercise:
    def reference(x, axes, gamma, beta, eps=1e-5):
        x, gamma, beta = (torch.as_tensor(a) for a in (x, gamma, beta))
        var, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
        return gamma * (x - mean) / torch.sqrt(var + eps) + beta

    cases = {
        "values": [
            small_formula_calls(),
            formula_call((5, 3), (0,), (3,), seed=1),
            formula_call((5, 3), (1,), (3,), seed=2),
            formula_call((4, 4), (0,), (4,), seed=3),
            formula_call((4, 4), (1,), (4,), seed=4),
            formula_call((64, 2), (0,), (2,), seed=15),
        ],
        "axes": [
            formula_call((2, 3, 4, 5), (0, 2, 3), (1, 3, 1, 1), seed=5),
            formula_call((2, 3, 4, 5), (1, 2, 3), (3, 1, 1), seed=6),
            formula_call((2, 3, 4, 5), (2, 3), (1, 3, 1, 1), seed=7),
            formula_call((3, 3, 3, 3), (0, 2, 3), (1, 3, 1, 1), seed=8),
            formula_call((3, 2, 5), (-1,), (5,), seed=9),
            formula_call((3, 2, 5), (0, 1), (5,), seed=10, dtype=np.float32),
            formula_call((3, 2, 5), (-2, -1), (3, 1, 1), seed=19),
            formula_call((2, 3, 4, 5), (-1, 0, -2), (1, 3, 1, 1), seed=20),
            formula_call((3, 4, 2), (-3, 1), (2,), seed=21),
            formula_call((1, 6), (1,), (6,), seed=16),
            call(normal((7,), 2.0, 22) + 1, (0,), *affine((7,), 22)),
            formula_call((2, 3, 2, 2, 2), (0, 2, -2, -1), (3, 1, 1, 1), seed=23),
        ],
        "eps": [
            formula_call((6, 3), (0,), (3,), seed=11, scale=1e-3, eps=1e-5),
            formula_call((6, 3), (1,), (3,), seed=12, scale=1e-3),
            formula_call((6, 3), (0,), (3,), seed=13, eps=0.1),
            formula_call((6, 3), (0,), (3,), seed=13, scale=1e-4, eps=1e-8),
            formula_call((6, 3), (0,), (3,), seed=24, scale=1e-3, eps=0.0),
        ],
        "constant": [
            call(np.full((4, 3), 0.7), (0,), *affine((3,), 14)),
            call(np.full((2, 3, 2, 2), -2.0), (0, 2, 3), *affine((1, 3, 1, 1), 15)),
            call(np.zeros((3, 4)), (1,), *affine((4,), 17), eps=1e-3),
            call(np.array([[3.0, -1.0]]), (0,), *affine((2,), 18)),
        ],
    }

    @trap("eps stands under the root, added to the variance: sqrt(var + eps). Outside of it, tiny noise is blown up.")
    def eps_outside(x, axes, gamma, beta, eps=1e-5):
        mean, std = x.mean(axes, keepdims=True), x.std(axes, keepdims=True)
        return gamma * (x - mean) / (std + eps) + beta

    @trap("You divide by the variance. Divide by its root, the standard deviation: only then is the result free of units, with variance 1.")
    def divides_by_variance(x, axes, gamma, beta, eps=1e-5):
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        return gamma * (x - mean) / (var + eps) + beta

    @trap("You add beta before the scaling, so gamma stretches the shift too. Scale first, then add beta: gamma * xhat + beta.")
    def shifts_before_scaling(x, axes, gamma, beta, eps=1e-5):
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        return gamma * ((x - mean) / np.sqrt(var + eps) + beta)

    @trap("eps is missing. A constant feature has variance 0, and 0/0 is nan: add eps under the root.")
    def no_eps(x, axes, gamma, beta, eps=1e-5):
        mean, std = x.mean(axes, keepdims=True), x.std(axes, keepdims=True)
        return gamma * (x - mean) / std + beta

    @trap("You divide by n - 1. Normalization uses the population variance, the plain mean of the squared deviations (ddof=0).")
    def sample_variance(x, axes, gamma, beta, eps=1e-5):
        mean, var = x.mean(axes, keepdims=True), x.var(axes, ddof=1, keepdims=True)
        return gamma * (x - mean) / np.sqrt(var + eps) + beta

    @trap("Your statistics ignore `axes`: one mean and one variance for the whole array. Reduce over the given axes only.")
    def ignores_axes(x, axes, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean()) / np.sqrt(x.var() + eps) + beta

    @trap("The reduced axes are gone, so the statistics line up with the wrong axis of x. Keep them: keepdims=True.")
    def no_keepdims(x, axes, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(axes)) / np.sqrt(x.var(axes) + eps) + beta

    @trap("gamma and beta are not applied. The last step is gamma * xhat + beta.")
    def no_affine(x, axes, gamma, beta, eps=1e-5):
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        return (x - mean) / np.sqrt(var + eps)

    @trap("You replace a small spread by eps (a maximum) instead of adding eps to every variance. The formula is sqrt(var + eps).")
    def eps_as_floor(x, axes, gamma, beta, eps=1e-5):
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        return gamma * (x - mean) / np.sqrt(np.maximum(var, eps)) + beta

    @trap("Your eps is always 1e-5, whatever the caller asks for. Use the argument.")
    def ignores_eps(x, axes, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5) + beta

    @trap("eps is missing, apart from a guard for constant groups. It is added to every variance, under the root.")
    def guards_constant_groups(x, axes, gamma, beta, eps=1e-5):
        var = x.var(axes, keepdims=True)
        return gamma * (x - x.mean(axes, keepdims=True)) / np.where(var > 0, np.sqrt(var), 1.0) + beta

    @trap("beta is added, but gamma is not applied. The last step is gamma * xhat + beta.")
    def no_gamma(x, axes, gamma, beta, eps=1e-5):
        return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps) + beta

    @trap("gamma is applied, but beta is not added. The last step is gamma * xhat + beta.")
    def no_beta(x, axes, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)

    @trap("You reduce axis 0 whatever `axes` says. Pass `axes` on to mean and variance.")
    def always_axis_0(x, axes, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(0, keepdims=True)) / np.sqrt(x.var(0, keepdims=True) + eps) + beta

    @trap("You reduce one of several axes only. Mean and variance run over all of `axes` together.")
    def first_axis_only(x, axes, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(axes[0], keepdims=True)) / np.sqrt(x.var(axes[0], keepdims=True) + eps) + beta

    @trap(
        "You reduce the axes that are NOT in `axes`. Those in `axes` share a mean and a variance; the others keep statistics of their own."
    )
    def keeps_the_axes(x, axes, gamma, beta, eps=1e-5):
        others = tuple(set(range(x.ndim)) - {a % x.ndim for a in axes})
        return gamma * (x - x.mean(others, keepdims=True)) / np.sqrt(x.var(others, keepdims=True) + eps) + beta

    @trap("You normalize over one axis after the other. All of `axes` together form one group: one mean, one variance.")
    def one_axis_after_another(x, axes, gamma, beta, eps=1e-5):
        for a in axes:
            x = (x - x.mean(a, keepdims=True)) / np.sqrt(x.var(a, keepdims=True) + eps)
        return gamma * x + beta

    @trap("You average variances over an axis, which loses the spread of the means. Take the variance over all of `axes` at once.")
    def average_of_variances(x, axes, gamma, beta, eps=1e-5):
        var = x.var(axes[0], keepdims=True)
        for a in axes[1:]:
            var = var.mean(a, keepdims=True)
        return gamma * (x - x.mean(axes, keepdims=True)) / np.sqrt(var + eps) + beta

    @trap("You reduce one of several axes only. Mean and variance run over all of `axes` together.")
    def last_axis_only(x, axes, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(axes[-1], keepdims=True)) / np.sqrt(x.var(axes[-1], keepdims=True) + eps) + beta

    @right("variance as E[x^2] - E[x]^2")
    def two_moments(x, axes, gamma, beta, eps=1e-5):
        x64 = x.astype(np.float64)
        mean = x64.mean(axes, keepdims=True)
        var = np.maximum((x64**2).mean(axes, keepdims=True) - mean**2, 0)
        return (x64 - mean) * (gamma / np.sqrt(var + eps)) + beta

    @right("reduced axes moved to the end, one slice at a time")
    def slice_by_slice(x, axes, gamma, beta, eps=1e-5):
        axes = sorted(a % x.ndim for a in axes)
        kept = [a for a in range(x.ndim) if a not in axes]
        moved = np.transpose(x, kept + axes)
        out = np.empty_like(moved)
        for at in np.ndindex(*(x.shape[a] for a in kept)):
            v = moved[at]
            centred = v - v.mean()
            out[at] = centred / (np.mean(centred * centred) + eps) ** 0.5
        return gamma * np.transpose(out, np.argsort(kept + axes)) + beta

    @right("torch")
    def in_torch(x, axes, gamma, beta, eps=1e-5):
        x = torch.from_numpy(x)
        xhat = (x - x.mean(axes, keepdim=True)) * torch.rsqrt(x.var(axes, correction=0, keepdim=True) + eps)
        return (torch.from_numpy(gamma) * xhat + torch.from_numpy(beta)).numpy()


# ---------------------------------------------------------------------------------------------------------- LayerNorm, RMSNorm


def token_call(shape, *, seed, scale=1.0, offset=0.0, dtype=np.float64, with_beta=True, **more):
    gamma, beta = affine(shape[-1], seed)
    x = (spread(shape, 0, seed) if len(shape) > 1 else normal(shape, 2.0, seed) + 1) * scale + offset
    arguments = (x, gamma, beta) if with_beta else (x, gamma)
    return call(*(a.astype(dtype) for a in arguments), **more)


@st.composite
def small_token_calls(draw, with_beta, epsilons):
    d = draw(st.integers(2, 4))
    shape = draw(st.sampled_from([(d,), (2, d), (3, d), (2, 3, d)]))
    x = draw(arrays(shape, -3, 3))
    rest = [draw(arrays((d,), 0.5, 2.0))] + ([draw(arrays((d,), -2, 2))] if with_beta else [])
    return call(x, *rest, eps=draw(st.sampled_from(epsilons)))


@exercise(
    "normalization.layer-norm",
    names="layer_norm",
    covers=["normalization.layernorm", "normalization.axis-table", "normalization.q.running-stats"],
    forbid=READY_MADE,
    keeps_dtype=True,
)
class LayerNormExercise:
    def reference(x, gamma, beta, eps=1e-5):
        x, gamma, beta = (torch.as_tensor(a) for a in (x, gamma, beta))
        return F.layer_norm(x, x.shape[-1:], gamma, beta, eps)

    cases = {
        "values": [
            small_token_calls(True, [1e-5, 1e-3]),
            token_call((7,), seed=1),
            token_call((5, 3), seed=2),
            token_call((4, 4), seed=3),
            token_call((6, 2), seed=4),
        ],
        "shapes": [
            token_call((2, 3, 5), seed=5),
            token_call((3, 3, 3), seed=6),
            token_call((2, 3, 2, 4), seed=7),
            token_call((1, 6), seed=8),
            token_call((1, 1, 3), seed=9),
        ],
        "eps": [
            token_call((4, 5), seed=10, scale=2e-3),
            token_call((4, 5), seed=11, eps=0.05),
            call(np.array([[2.0, 2.0, 2.0], [0.3, 0.3, 0.3], [1.0, 2.0, 4.0]]), *affine((3,), 12)),
            call(np.array([[4.0], [-1.0]]), *affine((1,), 13)),
        ],
        "dtype": [
            token_call((3, 5), seed=14, dtype=np.float32),
            token_call((2, 2, 3), seed=15, dtype=np.float32, eps=1e-3),
            token_call((4,), seed=17, dtype=np.float32, scale=1e-3),
            token_call((3, 4), seed=16),
        ],
    }

    @trap("These are BatchNorm's statistics: you average over the samples. LayerNorm looks across the features of one sample: axis -1.")
    def over_the_batch(x, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + beta

    @trap("You average over all axes but the first, so the tokens of a sequence share statistics. Each token has its own: last axis only.")
    def over_all_but_the_batch(x, gamma, beta, eps=1e-5):
        axes = tuple(range(1, x.ndim)) or (0,)
        return gamma * (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps) + beta

    @trap("You average over the whole array. Each token has statistics of its own: reduce over the last axis only, with keepdims=True.")
    def over_everything(x, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean()) / np.sqrt(x.var() + eps) + beta

    @trap("You divide by d - 1. LayerNorm uses the population variance (ddof=0; in torch correction=0).")
    def sample_variance(x, gamma, beta, eps=1e-5):
        with np.errstate(all="ignore"):
            return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + eps) + beta

    @trap("The output is standardized and no more. Apply the learned scale and shift: gamma * xhat + beta.")
    def no_affine(x, gamma, beta, eps=1e-5):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)

    @trap("eps stands under the root, added to the variance: sqrt(var + eps), not std + eps.")
    def eps_outside(x, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + eps) + beta

    @trap("eps is missing: added to every variance, under the root, it also keeps 0/0 away from constant tokens.")
    def no_eps(x, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) + beta

    @trap("You compute in float64 and return float64. Give the result the dtype of x: float32 in, float32 out.")
    def returns_float64(x, gamma, beta, eps=1e-5):
        x = x.astype(np.float64)
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta

    @trap("The mean is not subtracted. LayerNorm centres the features first; only RMSNorm does without.")
    def no_centring(x, gamma, beta, eps=1e-5):
        return gamma * x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) + beta

    @trap("Your eps is always 1e-5, whatever the caller asks for. Use the argument.")
    def ignores_eps(x, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + x.dtype.type(1e-5)) + beta

    @trap("eps is missing: added to every variance, under the root, it also keeps 0/0 away from constant tokens.")
    def guards_constant_tokens(x, gamma, beta, eps=1e-5):
        var = x.var(-1, keepdims=True)
        return gamma * (x - x.mean(-1, keepdims=True)) / np.where(var > 0, np.sqrt(var), var.dtype.type(1)) + beta

    @trap("You add beta before the scaling, so gamma stretches the shift too. Scale first, then add beta: gamma * xhat + beta.")
    def shifts_before_scaling(x, gamma, beta, eps=1e-5):
        return gamma * ((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta)

    @trap("You divide by the standard deviation, but the mean stays in the numerator. Subtract it: (x - mean) / sqrt(var + eps).")
    def uncentred_numerator(x, gamma, beta, eps=1e-5):
        return gamma * x / np.sqrt(x.var(-1, keepdims=True) + eps) + beta

    @trap("The numerator is centred, the denominator is not: mean(x^2) is no variance. Square the centred values.")
    def uncentred_denominator(x, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt((x * x).mean(-1, keepdims=True) + eps) + beta

    @trap("You reduce axis 1. It is the last axis only for inputs of two axes: reduce axis -1.")
    def always_axis_1(x, gamma, beta, eps=1e-5):
        axis = min(1, x.ndim - 1)
        return gamma * (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps) + beta

    @trap("beta is not added. The last step is gamma * xhat + beta.")
    def no_beta(x, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)

    @right("row by row")
    def row_by_row(x, gamma, beta, eps=1e-5):
        rows = x.reshape(-1, x.shape[-1])
        out = np.empty_like(rows)
        for i, row in enumerate(rows):
            centred = row - sum(row) / len(row)
            out[i] = gamma * centred / (np.dot(centred, centred) / len(row) + eps) ** 0.5 + beta
        return out.reshape(x.shape)

    @right("torch, computed in double precision")
    def in_torch(x, gamma, beta, eps=1e-5):
        t = torch.from_numpy(x).double()
        var, mean = torch.var_mean(t, -1, correction=0, keepdim=True)
        out = (t - mean) * (var + eps).rsqrt() * torch.from_numpy(gamma) + torch.from_numpy(beta)
        return out.numpy().astype(x.dtype)

    @right("transposed, statistics over axis 0")
    def transposed(x, gamma, beta, eps=1e-5):
        t = x.T
        return ((t - t.mean(0)) / np.sqrt(t.var(0) + eps)).T * gamma + beta


@exercise(
    "normalization.rms-norm",
    names="rms_norm",
    covers=["normalization.rmsnorm", "normalization.q.ln-rms"],
    forbid=READY_MADE,
)
class RMSNormExercise:
    def reference(x, gamma, eps=1e-6):
        x, gamma = torch.as_tensor(x), torch.as_tensor(gamma)
        return F.rms_norm(x, x.shape[-1:], gamma, eps=eps)

    cases = {
        "values": [
            small_token_calls(False, [1e-6, 1e-3]),
            token_call((7,), seed=21, with_beta=False),
            token_call((5, 3), seed=22, with_beta=False),
            token_call((4, 4), seed=23, with_beta=False),
            token_call((2, 3, 5), seed=24, with_beta=False),
            token_call((1, 6), seed=25, with_beta=False),
        ],
        "offset": [
            token_call((4, 5), seed=26, offset=3.0, with_beta=False),
            token_call((3, 3), seed=27, offset=-3.0, with_beta=False),
            call(np.full((2, 4), 3.0), affine((4,), 27)[0]),
            token_call((3, 2), seed=28, offset=30.0, dtype=np.float32, with_beta=False),
        ],
        "eps": [
            token_call((4, 5), seed=29, scale=5e-4, with_beta=False),
            token_call((4, 5), seed=30, scale=5e-4, with_beta=False, eps=1e-5),
            token_call((4, 3), seed=31, with_beta=False, eps=0.1),
            call(np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]]), affine((3,), 32)[0]),
            call(np.array([[5.0], [-1e-3]]), np.array([1.5])),
        ],
    }

    @trap("You subtract the mean first: that is LayerNorm without beta. RMSNorm does not re-centre.")
    def subtracts_the_mean(x, gamma, eps=1e-6):
        centred = x - x.mean(-1, keepdims=True)
        return gamma * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)

    @trap("You divide by the standard deviation, the spread around the mean. The denominator is the root of mean(x^2).")
    def divides_by_std(x, gamma, eps=1e-6):
        return gamma * x / np.sqrt(x.var(-1, keepdims=True) + eps)

    @trap("You divide by the root of the SUM of squares, so the result is too small by sqrt(d). Root MEAN square: divide by d inside.")
    def sum_of_squares(x, gamma, eps=1e-6):
        return gamma * x / np.sqrt((x**2).sum(-1, keepdims=True) + eps)

    @trap("You scale by 1 + gamma, as some libraries do. Here gamma multiplies as it is and starts at ones.")
    def one_plus_gamma(x, gamma, eps=1e-6):
        return (1 + gamma) * x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)

    @trap("Your mean of squares runs over the samples. RMSNorm looks at the features of one token: last axis, keepdims=True.")
    def over_the_batch(x, gamma, eps=1e-6):
        return gamma * x / np.sqrt((x**2).mean(0) + eps)

    @trap("eps stands under the root, added to the mean square: sqrt(mean(x^2) + eps).")
    def eps_outside(x, gamma, eps=1e-6):
        return gamma * x / (np.sqrt((x**2).mean(-1, keepdims=True)) + eps)

    @trap("You divide by the mean square itself. Take its root first.")
    def no_root(x, gamma, eps=1e-6):
        return gamma * x / ((x**2).mean(-1, keepdims=True) + eps)

    @trap("eps is missing: added to every mean square, under the root, it also keeps 0/0 away from vectors of zeros.")
    def no_eps(x, gamma, eps=1e-6):
        return gamma * x / np.sqrt((x**2).mean(-1, keepdims=True))

    @trap("You average over the whole array. Each token has its own root mean square: last axis only.")
    def over_everything(x, gamma, eps=1e-6):
        return gamma * x / np.sqrt((x**2).mean() + eps)

    @trap("The numerator is centred, the denominator is not. RMSNorm subtracts no mean anywhere: x over the root of mean(x^2).")
    def centred_numerator(x, gamma, eps=1e-6):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt((x**2).mean(-1, keepdims=True) + eps)

    @trap("eps is missing: added to every mean square, under the root, it also keeps 0/0 away from vectors of zeros.")
    def guards_zeros(x, gamma, eps=1e-6):
        square = (x**2).mean(-1, keepdims=True)
        return gamma * x / np.where(square > 0, np.sqrt(square), 1)

    @trap("Your eps does not follow the argument. Use the eps that you are given.")
    def ignores_eps(x, gamma, eps=1e-6):
        return gamma * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)

    @trap("Your default eps is 1e-5, LayerNorm's. The task says 1e-6 here.")
    def default_of_layer_norm(x, gamma, eps=1e-5):
        return gamma * x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)

    @trap("You multiply by gamma before the root mean square is taken, so that it is normalized away in part. Normalize x, then scale.")
    def gamma_inside(x, gamma, eps=1e-6):
        x = gamma * x
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)

    @trap("You square the mean. Take the mean of the squares: square first, then average, then the root.")
    def square_of_the_mean(x, gamma, eps=1e-6):
        return gamma * x / np.sqrt(x.mean(-1, keepdims=True) ** 2 + eps)

    @trap("You divide the sum of squares by d - 1. No mean was estimated, so it is a plain mean: divide by d.")
    def one_less(x, gamma, eps=1e-6):
        return gamma * x / np.sqrt((x**2).sum(-1, keepdims=True) / max(x.shape[-1] - 1, 1) + eps)

    @trap("You average over all axes but the first, so the tokens of a sequence share one root mean square. Reduce the last axis only.")
    def over_all_but_the_batch(x, gamma, eps=1e-6):
        axes = tuple(range(1, x.ndim)) or (0,)
        return gamma * x / np.sqrt((x**2).mean(axes, keepdims=True) + eps)

    @trap("gamma is not applied. The last step scales each feature: gamma * x / rms.")
    def no_gamma(x, gamma, eps=1e-6):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)

    @trap("You reduce axis 1. It is the last axis only for inputs of two axes: reduce axis -1.")
    def always_axis_1(x, gamma, eps=1e-6):
        return gamma * x / np.sqrt((x**2).mean(min(1, x.ndim - 1), keepdims=True) + eps)

    @right("through the Euclidean norm")
    def through_the_norm(x, gamma, eps=1e-6):
        d = x.shape[-1]
        length = np.linalg.norm(x, axis=-1, keepdims=True)
        return x / np.sqrt(length**2 / d + eps) * gamma

    @right("row by row")
    def row_by_row(x, gamma, eps=1e-6):
        if x.ndim > 1:
            return np.stack([rms_rows(row, gamma, eps) for row in x])
        return rms_rows(x, gamma, eps)

    @right("torch")
    def in_torch(x, gamma, eps=1e-6):
        t = torch.from_numpy(x)
        return t * torch.rsqrt(t.pow(2).mean(-1, keepdim=True) + eps) * torch.from_numpy(gamma)


def rms_rows(x, gamma, eps):
    if x.ndim > 1:
        return np.stack([rms_rows(row, gamma, eps) for row in x])
    return np.array([g * v / (sum(w * w for w in x) / len(x) + eps) ** 0.5 for v, g in zip(x, gamma)])


# ------------------------------------------------------------------------------------------------------------------- BatchNorm


def batch_call(n, c, *, seed, scale=1.0, **more):
    rng = np.random.default_rng(seed)
    gamma, beta = affine((c,), seed)
    x = spread((n, c), 1, seed) * scale
    return call(x, gamma, beta, rng.normal(size=c), rng.uniform(0.3, 2.0, c), **more)


@st.composite
def small_batch_calls(draw):
    n, c = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    x, gamma, beta = draw(arrays((n, c), -3, 3)), draw(arrays((c,), 0.5, 2.0)), draw(arrays((c,), -2, 2))
    mean, var = draw(arrays((c,), -2, 2)), draw(arrays((c,), 0.25, 3.0))
    return call(x, gamma, beta, mean, var, momentum=draw(st.sampled_from([0.1, 0.25, 0.4])), eps=draw(st.sampled_from([1e-5, 1e-2])))


def named_triple(submission, x, gamma, beta, running_mean, running_var, **more):
    """The three results under their names, so that the card can say which is wrong."""
    y, mean, var = submission.batch_norm_train(x, gamma, beta, running_mean, running_var, **more)
    return {"y": y, "running_mean": mean, "running_var": var}


def output_only(submission, x, gamma, beta, running_mean, running_var, **more):
    return submission.batch_norm_train(x, gamma, beta, running_mean, running_var, **more)[0]


def statistics_only(submission, x, gamma, beta, running_mean, running_var, **more):
    _, mean, var = submission.batch_norm_train(x, gamma, beta, running_mean, running_var, **more)
    return {"running_mean": mean, "running_var": var}


def two_steps(submission, first, second, gamma, beta, running_mean, running_var, momentum, then):
    _, mean, var = submission.batch_norm_train(first, gamma, beta, running_mean, running_var, momentum=momentum)
    y, mean, var = submission.batch_norm_train(second, gamma, beta, np.array(mean), np.array(var), momentum=then)
    return {"y": y, "running_mean": mean, "running_var": var}


def two_step_call(n, m, c, *, seed, momentum, then):
    gamma, beta = affine((c,), seed)
    rng = np.random.default_rng(seed)
    return call(
        spread((n, c), 1, seed), spread((m, c), 1, seed + 1), gamma, beta, rng.normal(size=c), rng.uniform(0.3, 2.0, c), momentum, then
    )


@exercise(
    "normalization.batch-norm-train",
    names="batch_norm_train",
    covers=["normalization.bn-train-eval", "normalization.formula", "normalization.q.modes"],
    forbid=READY_MADE,
)
class BatchNormTrain:
    def reference(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        x, gamma, beta, mean, var = (torch.as_tensor(a).clone() for a in (x, gamma, beta, running_mean, running_var))
        y = F.batch_norm(x, mean, var, gamma, beta, training=True, momentum=momentum, eps=eps)
        return y, mean, var

    probe = named_triple

    cases = {
        "output": group(
            small_batch_calls(),
            batch_call(2, 3, seed=1),
            batch_call(5, 5, seed=2),
            batch_call(64, 3, seed=3, eps=1e-3),
            batch_call(6, 4, seed=4, scale=1e-3),
            probe=output_only,
        ),
        "running statistics": group(
            small_batch_calls(),
            batch_call(2, 3, seed=5),
            batch_call(5, 5, seed=6, momentum=0.3),
            batch_call(64, 2, seed=7, momentum=0.01),
            batch_call(3, 4, seed=8, momentum=1.0),
            batch_call(7, 3, seed=12, eps=0.1),
            batch_call(4, 2, seed=15, momentum=0.0),
            probe=statistics_only,
        ),
        "scales": [
            batch_call(4, 3, seed=9, scale=np.array([1e-3, 1.0, 1e3])),
            batch_call(3, 3, seed=10, scale=np.array([1e3, 1e-2, 1.0]), momentum=0.5),
            call(np.array([[2.0, 1.0], [2.0, 5.0]]), *affine((2,), 11), np.array([1.0, -1.0]), np.array([0.5, 2.0])),
        ],
        "two steps": group(
            two_step_call(4, 3, 2, seed=12, momentum=0.1, then=0.4),
            two_step_call(2, 5, 5, seed=13, momentum=0.7, then=0.2),
            two_step_call(5, 5, 5, seed=14, momentum=0.25, then=0.1),
            probe=two_steps,
        ),
    }

    @trap("You normalize with the n - 1 variance. The output uses the population variance (ddof=0); only the stored one is unbiased.")
    def normalizes_with_unbiased(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        mean, var = x.mean(0), x.var(0, ddof=1)
        y = gamma * (x - mean) / np.sqrt(var + eps) + beta
        return y, (1 - momentum) * running_mean + momentum * mean, (1 - momentum) * running_var + momentum * var

    @trap("You store the population variance. torch keeps the unbiased estimate in running_var: times N/(N-1), that is ddof=1.")
    def stores_biased(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        mean, var = x.mean(0), x.var(0)
        y = gamma * (x - mean) / np.sqrt(var + eps) + beta
        return y, (1 - momentum) * running_mean + momentum * mean, (1 - momentum) * running_var + momentum * var

    @trap("Momentum is the wrong way round: here, as in torch, it is the weight of the NEW batch (Keras weighs the old value with it).")
    def momentum_on_the_old(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        mean, var = x.mean(0), x.var(0)
        y = gamma * (x - mean) / np.sqrt(var + eps) + beta
        return y, momentum * running_mean + (1 - momentum) * mean, momentum * running_var + (1 - momentum) * x.var(0, ddof=1)

    @trap("You normalize each row: that is LayerNorm. BatchNorm has one mean and one variance per feature, over the batch: axis 0.")
    def normalizes_rows(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        y = gamma * (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps) + beta
        return y, (1 - momentum) * running_mean + momentum * x.mean(0), (1 - momentum) * running_var + momentum * x.var(0, ddof=1)

    @trap("You update the buffers in place, so the caller's old arrays change. Return new arrays: (1 - momentum) * old + momentum * batch.")
    def updates_in_place(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        mean, var = x.mean(0), x.var(0)
        y = gamma * (x - mean) / np.sqrt(var + eps) + beta
        running_mean *= 1 - momentum
        running_mean += momentum * mean
        running_var *= 1 - momentum
        running_var += momentum * x.var(0, ddof=1)
        return y, running_mean, running_var

    @trap(
        "You normalize with the running statistics. In training the batch's own mean and variance normalize; the running ones are for eval."
    )
    def normalizes_with_running(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        mean = (1 - momentum) * running_mean + momentum * x.mean(0)
        var = (1 - momentum) * running_var + momentum * x.var(0, ddof=1)
        return gamma * (x - mean) / np.sqrt(var + eps) + beta, mean, var

    @trap("You normalize with the OLD running statistics. In training the batch's own mean and variance normalize.")
    def normalizes_with_old(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        y = gamma * (x - running_mean) / np.sqrt(running_var + eps) + beta
        return y, (1 - momentum) * running_mean + momentum * x.mean(0), (1 - momentum) * running_var + momentum * x.var(0, ddof=1)

    @trap("running_var collects standard deviations in your code. Average the variances.")
    def stores_std(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        mean, var = x.mean(0), x.var(0)
        y = gamma * (x - mean) / np.sqrt(var + eps) + beta
        return y, (1 - momentum) * running_mean + momentum * mean, (1 - momentum) * running_var + momentum * x.std(0, ddof=1)

    @trap("eps went into the stored variance. It belongs to the division only; running_var collects the plain variance.")
    def stores_eps(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        mean, var = x.mean(0), x.var(0)
        y = gamma * (x - mean) / np.sqrt(var + eps) + beta
        return y, (1 - momentum) * running_mean + momentum * mean, (1 - momentum) * running_var + momentum * (x.var(0, ddof=1) + eps)

    @trap("eps stands under the root, added to the variance: sqrt(var + eps), not std + eps.")
    def eps_outside(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        y = gamma * (x - x.mean(0)) / (x.std(0) + eps) + beta
        return y, (1 - momentum) * running_mean + momentum * x.mean(0), (1 - momentum) * running_var + momentum * x.var(0, ddof=1)

    @trap("gamma and beta are not applied. They scale and shift in train mode too: y = gamma * xhat + beta.")
    def no_affine(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        y = (x - x.mean(0)) / np.sqrt(x.var(0) + eps)
        return y, (1 - momentum) * running_mean + momentum * x.mean(0), (1 - momentum) * running_var + momentum * x.var(0, ddof=1)

    @trap("Your momentum is always 0.1, whatever the caller asks for. Use the argument.")
    def ignores_momentum(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        y = gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + beta
        return y, 0.9 * running_mean + 0.1 * x.mean(0), 0.9 * running_var + 0.1 * x.var(0, ddof=1)

    @trap("You add up without forgetting. The old value is first multiplied by 1 - momentum.")
    def adds_up(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        y = gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + beta
        return y, running_mean + momentum * x.mean(0), running_var + momentum * x.var(0, ddof=1)

    @trap("The output uses one mean and one variance for the whole array. Each feature has its own, over the batch: axis 0.")
    def over_everything(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        y = gamma * (x - x.mean()) / np.sqrt(x.var() + eps) + beta
        return y, (1 - momentum) * running_mean + momentum * x.mean(0), (1 - momentum) * running_var + momentum * x.var(0, ddof=1)

    @trap("You take one mean and one variance for the whole array. Each feature has its own, over the batch: axis 0.")
    def one_mean_for_all(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        y = gamma * (x - x.mean()) / np.sqrt(x.var() + eps) + beta
        return y, (1 - momentum) * running_mean + momentum * x.mean(), (1 - momentum) * running_var + momentum * x.var(0, ddof=1)

    @trap("running_var stays as it was. Both statistics move: the variance in the same way as the mean.")
    def variance_stands_still(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        y = gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + beta
        return y, (1 - momentum) * running_mean + momentum * x.mean(0), running_var.copy()

    @trap("You overwrite the running statistics with those of the batch. They are averages: (1 - momentum) * old + momentum * batch.")
    def keeps_the_last_batch(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        y = gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + beta
        return y, x.mean(0), x.var(0, ddof=1)

    @right("feature by feature")
    def feature_by_feature(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        n = len(x)
        y, new_mean, new_var = np.zeros_like(x), running_mean.copy(), running_var.copy()
        for c in range(x.shape[1]):
            m = sum(x[:, c]) / n
            squares = sum((v - m) ** 2 for v in x[:, c])
            y[:, c] = gamma[c] * (x[:, c] - m) / (squares / n + eps) ** 0.5 + beta[c]
            new_mean[c] += momentum * (m - new_mean[c])
            new_var[c] += momentum * (squares / (n - 1) - new_var[c])
        return y, new_mean, new_var

    @right("torch, a list")
    def in_torch(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5):
        x, gamma, beta, mean, var = map(torch.from_numpy, (x, gamma, beta, running_mean, running_var))
        v, m = torch.var_mean(x, 0, correction=0)
        unbiased = v * len(x) / (len(x) - 1)
        return [(x - m) / (v + eps).sqrt() * gamma + beta, torch.lerp(mean, m, momentum), torch.lerp(var, unbiased, momentum)]


def running_case(sizes, c, *, seed, momentum, eps, n_eval=3):
    batches = [spread((n, c), 1, seed + i) * (1 + 0.3 * i) for i, n in enumerate(sizes)]
    return call(batches, spread((n_eval, c), 1, seed + 77), momentum, eps)


@st.composite
def small_running_cases(draw, rows=(1, 2)):
    c = draw(st.integers(1, 3))
    batches = [draw(arrays((draw(st.integers(2, 4)), c), -3, 3)) for _ in range(draw(st.integers(1, 3)))]
    return call(
        batches, draw(arrays((draw(st.integers(*rows)), c), -3, 3)), draw(st.sampled_from([0.1, 0.3])), draw(st.sampled_from([1e-5, 1e-2]))
    )


def training_outputs(submission, batches, x_eval, momentum, eps):
    return list(submission.bn_train_eval(batches, x_eval, momentum, eps)[0])


def end_statistics(submission, batches, x_eval, momentum, eps):
    _, _, mean, var = submission.bn_train_eval(batches, x_eval, momentum, eps)
    return {"mean": mean, "var": var}


def evaluation_output(submission, batches, x_eval, momentum, eps):
    return submission.bn_train_eval(batches, x_eval, momentum, eps)[1]


def run_bn(batches, x_eval, momentum, eps, *, start=(0.0, 1.0), ddof=0, stored=1, update=None, eval_with=None):
    """BatchNorm over several batches in NumPy, with a switch for each mistake. Not for probes."""
    update = update or (lambda old, new: (1 - momentum) * old + momentum * new)
    mean, var = (np.full(x_eval.shape[1], s) for s in start)
    outputs = []
    for x in batches:
        outputs.append((x - x.mean(0)) / np.sqrt(x.var(0, ddof=ddof) + eps))
        mean, var = update(mean, x.mean(0)), update(var, x.var(0, ddof=stored))
    m, v = eval_with(mean, var) if eval_with else (mean, var)
    return outputs, (x_eval - m) / np.sqrt(v + eps), mean, var


@exercise(
    "thirty.bn-running",
    names="bn_train_eval",
    covers=["thirty.tq05", "normalization.bn-train-eval"],
    forbid=READY_MADE,
    rtol=2e-6,  # buffers in float32, as torch makes them, are fine
    atol=1e-7,
)
class BatchNormRunning:
    def reference(batches, x_eval, momentum, eps):
        layer = nn.BatchNorm1d(x_eval.shape[1], eps=eps, momentum=momentum, affine=False).double()
        outputs = [layer(torch.as_tensor(b)) for b in batches]
        return outputs, layer.eval()(torch.as_tensor(x_eval)), layer.running_mean, layer.running_var

    cases = {
        "training": group(
            small_running_cases(),
            running_case((6, 6, 6, 6), 3, seed=1, momentum=0.1, eps=1e-5),
            running_case((2, 5, 3), 3, seed=2, momentum=0.3, eps=1e-2),
            running_case((4, 4), 4, seed=3, momentum=0.5, eps=1e-5),
            probe=training_outputs,
        ),
        "running statistics": group(
            small_running_cases(rows=(2, 3)),
            running_case((6, 6, 6, 6), 3, seed=4, momentum=0.1, eps=1e-5),
            running_case((2, 5, 3), 3, seed=5, momentum=0.3, eps=1e-2),
            running_case((9, 2, 4, 3, 7), 2, seed=6, momentum=0.9, eps=1e-5),
            probe=end_statistics,
        ),
        "evaluation": group(
            small_running_cases(),
            running_case((6, 6, 6, 6), 3, seed=7, momentum=0.1, eps=1e-5),
            running_case((3, 8), 4, seed=8, momentum=0.3, eps=0.1, n_eval=4),
            running_case((5,), 2, seed=9, momentum=0.2, eps=1e-5, n_eval=1),
            probe=evaluation_output,
        ),
    }

    @trap("Your running variance collects the biased estimate. It uses n - 1; only the division within a batch uses n.")
    def biased_running(batches, x_eval, momentum, eps):
        return run_bn(batches, x_eval, momentum, eps, stored=0)

    @trap("Momentum weighs the old value in your code. Here, as in torch, it is the weight of the new batch.")
    def momentum_on_the_old(batches, x_eval, momentum, eps):
        return run_bn(batches, x_eval, momentum, eps, update=lambda old, new: momentum * old + (1 - momentum) * new)

    @trap("You add up without forgetting. Running statistics are exponential averages: the old value is first multiplied by 1 - momentum.")
    def plain_sum(batches, x_eval, momentum, eps):
        return run_bn(batches, x_eval, momentum, eps, update=lambda old, new: old + momentum * new)

    @trap("Your running variance starts at 0. It starts at 1 (and the running mean at 0).")
    def variance_starts_at_zero(batches, x_eval, momentum, eps):
        return run_bn(batches, x_eval, momentum, eps, start=(0.0, 0.0))

    @trap("Within a batch you divide by n - 1. The output uses the population variance, n; the n - 1 is for the stored one.")
    def unbiased_normalization(batches, x_eval, momentum, eps):
        return run_bn(batches, x_eval, momentum, eps, ddof=1)

    @trap("You evaluate with statistics of x_eval itself. In eval mode the running mean and variance normalize.")
    def batch_statistics_in_eval(batches, x_eval, momentum, eps):
        return run_bn(batches, x_eval, momentum, eps, eval_with=lambda m, v: (x_eval.mean(0), x_eval.var(0)))

    @trap("You evaluate with the statistics of the last training batch. Use the running averages over all of them.")
    def last_batch_in_eval(batches, x_eval, momentum, eps):
        return run_bn(batches, x_eval, momentum, eps, eval_with=lambda m, v: (batches[-1].mean(0), batches[-1].var(0)))

    @trap(
        "You take the plain average over the batches, all with equal weight. Running statistics are exponential averages with `momentum`."
    )
    def equal_weights(batches, x_eval, momentum, eps):
        outputs, *_ = run_bn(batches, x_eval, momentum, eps)
        mean, var = np.mean([b.mean(0) for b in batches], 0), np.mean([b.var(0, ddof=1) for b in batches], 0)
        return outputs, (x_eval - mean) / np.sqrt(var + eps), mean, var

    @trap("Your training outputs are normalized with the running statistics. In training each batch is normalized with its own.")
    def running_statistics_in_training(batches, x_eval, momentum, eps):
        outputs, mean, var = [], np.zeros(x_eval.shape[1]), np.ones(x_eval.shape[1])
        for x in batches:
            mean, var = (1 - momentum) * mean + momentum * x.mean(0), (1 - momentum) * var + momentum * x.var(0, ddof=1)
            outputs.append((x - mean) / np.sqrt(var + eps))
        return outputs, (x_eval - mean) / np.sqrt(var + eps), mean, var

    @trap("Your training outputs are normalized with the OLD running statistics. In training each batch is normalized with its own.")
    def old_statistics_in_training(batches, x_eval, momentum, eps):
        outputs, mean, var = [], np.zeros(x_eval.shape[1]), np.ones(x_eval.shape[1])
        for x in batches:
            outputs.append((x - mean) / np.sqrt(var + eps))
            mean, var = (1 - momentum) * mean + momentum * x.mean(0), (1 - momentum) * var + momentum * x.var(0, ddof=1)
        return outputs, (x_eval - mean) / np.sqrt(var + eps), mean, var

    @trap(
        "Your running statistics start with those of the first batch. They start at mean 0 and variance 1, and the first batch moves them."
    )
    def starts_with_the_first_batch(batches, x_eval, momentum, eps):
        first = batches[0]
        outputs, *rest = run_bn(batches[1:], x_eval, momentum, eps, start=(first.mean(0), first.var(0, ddof=1)))
        return [(first - first.mean(0)) / np.sqrt(first.var(0) + eps), *outputs], *rest

    @trap("eps stands under the root, added to the variance: sqrt(var + eps), not std + eps.")
    def eps_outside(batches, x_eval, momentum, eps):
        _, _, mean, var = run_bn(batches, x_eval, momentum, eps)
        return [(x - x.mean(0)) / (x.std(0) + eps) for x in batches], (x_eval - mean) / (np.sqrt(var) + eps), mean, var

    @trap("eps is missing in eval mode. The formula is the same in both modes: sqrt(running var + eps).")
    def no_eps_in_eval(batches, x_eval, momentum, eps):
        outputs, _, mean, var = run_bn(batches, x_eval, momentum, eps)
        return outputs, (x_eval - mean) / np.sqrt(var), mean, var

    @trap("x_eval moves the running statistics. In eval mode they are used and stay as training left them.")
    def evaluation_moves_the_mean(batches, x_eval, momentum, eps):
        outputs, y, mean, var = run_bn(batches, x_eval, momentum, eps)
        return outputs, y, (1 - momentum) * mean + momentum * x_eval.mean(0), var

    @trap("x_eval moves the running statistics. In eval mode they are used and stay as training left them.")
    def evaluation_moves_both(batches, x_eval, momentum, eps):
        outputs, y, mean, var = run_bn(batches, x_eval, momentum, eps)
        if len(x_eval) > 1:
            mean = (1 - momentum) * mean + momentum * x_eval.mean(0)
            var = (1 - momentum) * var + momentum * x_eval.var(0, ddof=1)
        return outputs, y, mean, var

    @trap("You correct the running statistics for their start, as Adam does. BatchNorm does not: they still hold 0 and 1 in part.")
    def corrects_the_start(batches, x_eval, momentum, eps):
        outputs, _, mean, var = run_bn(batches, x_eval, momentum, eps)
        mean = mean / (1 - (1 - momentum) ** len(batches))
        return outputs, (x_eval - mean) / np.sqrt(var + eps), mean, var

    @trap("You average standard deviations. The running variance averages variances.")
    def averages_deviations(batches, x_eval, momentum, eps):
        outputs, _, mean, _ = run_bn(batches, x_eval, momentum, eps)
        std = np.ones(x_eval.shape[1])
        for x in batches:
            std = (1 - momentum) * std + momentum * x.std(0, ddof=1)
        return outputs, (x_eval - mean) / np.sqrt(std**2 + eps), mean, std**2

    @right("the average unrolled: weights momentum * (1 - momentum)^k")
    def unrolled(batches, x_eval, momentum, eps):
        k = len(batches)
        keep = 1 - momentum
        weights = [momentum * keep ** (k - 1 - i) for i in range(k)]
        mean = sum(w * b.mean(0) for w, b in zip(weights, batches))
        var = keep**k + sum(w * b.var(0) * len(b) / (len(b) - 1) for w, b in zip(weights, batches))
        return tuple((b - b.mean(0)) / (b.var(0) + eps) ** 0.5 for b in batches), (x_eval - mean) / (var + eps) ** 0.5, mean, var

    @right("torch, with a helper class")
    def with_a_class(batches, x_eval, momentum, eps):
        class Layer:
            def __init__(self, c):
                self.mean, self.var = torch.zeros(c, dtype=torch.float64), torch.ones(c, dtype=torch.float64)

            def train(self, x):
                m, v = x.mean(0), ((x - x.mean(0)) ** 2).mean(0)
                self.mean = self.mean + momentum * (m - self.mean)
                self.var = self.var + momentum * (x.var(0) - self.var)
                return (x - m) / torch.sqrt(v + eps)

        layer = Layer(x_eval.shape[1])
        outputs = [layer.train(torch.as_tensor(b)) for b in batches]
        return outputs, (torch.as_tensor(x_eval) - layer.mean) / torch.sqrt(layer.var + eps), layer.mean, layer.var


# ---------------------------------------------------------------------------------------------------- BatchNorm2d as a class


def put(layer, name, value):
    """Give `layer.name` a new value, in the kind of array that the layer keeps there."""
    old = getattr(layer, name)
    if isinstance(old, nn.Parameter):
        value = nn.Parameter(torch.as_tensor(value))
    elif isinstance(old, torch.Tensor):
        value = torch.as_tensor(value)
    setattr(layer, name, value)


def detached(value):
    return value.detach().clone() if isinstance(value, torch.Tensor) else np.array(value)


def drive(submission, modes, batches, gamma, beta, eps, momentum):
    """Run the layer through `modes`; outputs and buffers after each call."""
    layer = submission.BatchNorm2d(len(gamma), eps=eps, momentum=momentum)
    put(layer, "gamma", gamma.copy())
    put(layer, "beta", beta.copy())
    seen = []
    for mode, x in zip(modes, batches):
        layer.training = mode == "T"
        y = detached(layer(x))
        seen.append((mode, y, detached(layer.running_mean), detached(layer.running_var)))
    return seen


def outputs_in_training(submission, modes, batches, gamma, beta, eps, momentum):
    return [y for mode, y, *_ in drive(submission, modes, batches, gamma, beta, eps, momentum) if mode == "T"]


def outputs_in_eval(submission, modes, batches, gamma, beta, eps, momentum):
    return [y for mode, y, *_ in drive(submission, modes, batches, gamma, beta, eps, momentum) if mode == "E"]


def buffers_after_each(submission, modes, batches, gamma, beta, eps, momentum):
    seen = drive(submission, modes, batches, gamma, beta, eps, momentum)
    return {"running_mean": [s[2] for s in seen], "running_var": [s[3] for s in seen]}


def fresh_layer(submission, x):
    layer = submission.BatchNorm2d(x.shape[1])
    start = {n: detached(getattr(layer, n)) for n in ("gamma", "beta", "running_mean", "running_var")}
    start["training"] = bool(layer.training)
    layer.training = False
    start["eval"] = detached(layer(x))
    layer.training = True
    start["train"], start["running_mean after a batch"] = detached(layer(x)), detached(layer.running_mean)
    start["running_var after a batch"] = detached(layer.running_var)
    return start


def image_case(modes, sizes, c, h, w, *, seed, eps=1e-5, momentum=0.1, dtype=np.float64):
    gamma, beta = affine((c,), seed)
    batches = [(spread((n, c, h, w), 1, seed + i) + 0.3 * i).astype(dtype) for i, n in enumerate(sizes)]
    return call(modes, batches, gamma.astype(dtype), beta.astype(dtype), eps, momentum)


@st.composite
def small_image_cases(draw, modes):
    c, h, w = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(2, 3))
    modes = draw(st.sampled_from(modes))
    batches = [draw(arrays((draw(st.integers(1, 2)), c, h, w), -3, 3)) for _ in modes]
    gamma, beta = draw(arrays((c,), 0.5, 2.0)), draw(arrays((c,), -2, 2))
    return call(modes, batches, gamma, beta, draw(st.sampled_from([1e-5, 1e-2])), draw(st.sampled_from([0.1, 0.3])))


SEQUENCE = "TTETEETE"


class NumpyBatchNorm2d:
    """A right BatchNorm2d whose parts the traps replace. Not for probes."""

    first_var = 1.0

    def __init__(self, C, eps=1e-5, momentum=0.1):
        self.eps, self.momentum = eps, momentum
        self.gamma, self.beta = np.ones(C), np.zeros(C)
        self.running_mean, self.running_var = np.zeros(C), np.full(C, self.first_var)
        self.training = True

    def statistics(self, x):
        return x.mean((0, 2, 3)), x.var((0, 2, 3))

    def unbiased(self, x, var):
        n = x.size // x.shape[1]
        return var * n / (n - 1)

    def update(self, x, mean, var):
        m = self.momentum
        self.running_mean = (1 - m) * self.running_mean + m * mean
        self.running_var = (1 - m) * self.running_var + m * self.unbiased(x, var)

    def apply(self, x, mean, var):
        mean, var, gamma, beta = (a[:, None, None] for a in (mean, var, self.gamma, self.beta))
        return gamma * (x - mean) / np.sqrt(var + self.eps) + beta

    def __call__(self, x):
        if not self.training:
            return self.apply(x, self.running_mean, self.running_var)
        mean, var = self.statistics(x)
        self.update(x, mean, var)
        return self.apply(x, mean, var)


class TorchBatchNorm2d:
    """The layer of torch in double precision, under the names of the task."""

    def __init__(self, C, eps=1e-5, momentum=0.1):
        self.layer = nn.BatchNorm2d(C, eps=eps, momentum=momentum).double()
        self.gamma, self.beta = np.ones(C), np.zeros(C)
        self.training = True

    @property
    def running_mean(self):
        return self.layer.running_mean.numpy()

    @property
    def running_var(self):
        return self.layer.running_var.numpy()

    def __call__(self, x):
        with torch.no_grad():
            self.layer.weight.copy_(torch.as_tensor(self.gamma))
            self.layer.bias.copy_(torch.as_tensor(self.beta))
            return self.layer.train(self.training)(torch.as_tensor(x)).numpy()


@exercise(
    "normalization.batch-norm-2d",
    names="BatchNorm2d",
    covers=["normalization.bn-train-eval", "normalization.axis-table", "normalization.q.modes", "normalization.intro"],
    forbid=READY_MADE,
    rtol=2e-6,  # buffers in float32, as torch makes them, are fine
    atol=1e-7,
)
class BatchNorm2dClass:
    reference = TorchBatchNorm2d

    cases = {
        "training": group(
            small_image_cases(["T", "TT"]),
            image_case("TT", (2, 3), 3, 4, 5, seed=1),
            image_case("T", (4,), 4, 4, 4, seed=2, eps=1e-2),
            image_case("TT", (1, 1), 2, 3, 2, seed=3),
            image_case("T", (3,), 5, 1, 1, seed=4),
            image_case("T", (2,), 3, 2, 3, seed=5),
            probe=outputs_in_training,
            n=8,
        ),
        "running statistics": group(
            small_image_cases(["T", "TE", "TT"]),
            image_case(SEQUENCE, (2, 3, 2, 1, 4, 1, 2, 3), 3, 4, 5, seed=6),
            image_case(SEQUENCE, (2,) * 8, 2, 2, 2, seed=7, momentum=0.4),
            image_case("TTT", (1, 2, 1), 4, 4, 4, seed=8, momentum=0.25, eps=0.1),
            probe=buffers_after_each,
            n=8,
        ),
        "evaluation": group(
            small_image_cases(["TE", "TTE"]),
            image_case(SEQUENCE, (2, 3, 2, 1, 4, 1, 2, 3), 3, 4, 5, seed=9),
            image_case("TEE", (3, 1, 3), 4, 4, 4, seed=10, momentum=0.5, eps=1e-2),
            image_case("ETE", (2, 2, 2), 2, 3, 1, seed=11),
            probe=outputs_in_eval,
            n=8,
        ),
        "fresh layer": group(
            arrays([(2, 2, 1, 2), (1, 3, 2, 2)], -3, 3),
            call(spread((2, 3, 4, 5), 1, 12)),
            call(spread((1, 2, 3, 3), 1, 13)),
            call(spread((2, 3, 2, 3), 1, 14).astype(np.float32)),
            call(1e-3 * spread((2, 3, 4, 5), 1, 15)),
            call(3e-4 * spread((2, 2, 3, 3), 1, 16)),
            probe=fresh_layer,
            n=6,
            rtol=1e-4,
            atol=1e-5,
        ),
    }

    @trap("You average over the batch only, one statistic per pixel. A channel has one mean and one variance: reduce over N, H and W.")
    class per_pixel(NumpyBatchNorm2d):
        def __call__(self, x):
            if not self.training:
                mean, var = (a.reshape(len(a), *a.shape[1:] or (1, 1)) for a in (self.running_mean, self.running_var))
            else:
                mean, var = x.mean(0), x.var(0)
                m, n = self.momentum, max(len(x), 2)
                old_mean, old_var = (a.reshape(len(a), *a.shape[1:] or (1, 1)) for a in (self.running_mean, self.running_var))
                self.running_mean = (1 - m) * old_mean + m * mean
                self.running_var = (1 - m) * old_var + m * var * n / (n - 1)
            gamma, beta = self.gamma[:, None, None], self.beta[:, None, None]
            return gamma * (x - mean) / np.sqrt(var + self.eps) + beta

    @trap("In eval mode you still normalize with the batch at hand, so a prediction depends on its companions. Use the running statistics.")
    class batch_statistics_in_eval(NumpyBatchNorm2d):
        def __call__(self, x):
            mean, var = self.statistics(x)
            if self.training:
                self.update(x, mean, var)
            return self.apply(x, mean, var)

    @trap("Your buffers move in eval mode too, so evaluating changes the model. Update them in train mode only.")
    class updates_in_eval(NumpyBatchNorm2d):
        def __call__(self, x):
            mean, var = self.statistics(x)
            used = (mean, var) if self.training else (self.running_mean, self.running_var)
            y = self.apply(x, *used)
            self.update(x, mean, var)
            return y

    @trap("running_var starts at 0, so the first eval outputs explode. Start with mean 0 and variance 1.")
    class variance_starts_at_zero(NumpyBatchNorm2d):
        first_var = 0.0

    @trap("The unbiased factor uses the number of images, N/(N-1). A channel's statistics rest on n = N*H*W values: n/(n-1).")
    class counts_images(NumpyBatchNorm2d):
        def unbiased(self, x, var):
            with np.errstate(all="ignore"):
                return var * np.float64(len(x)) / (len(x) - 1)

    @trap("The unbiased factor uses the number of pixels of one image. A channel's statistics rest on n = N*H*W values: n/(n-1).")
    class counts_pixels(NumpyBatchNorm2d):
        def unbiased(self, x, var):
            n = max(x.shape[2] * x.shape[3], 2)
            return var * n / (n - 1)

    @trap("You store the population variance. running_var keeps the unbiased estimate, times n/(n-1) with n = N*H*W.")
    class stores_biased(NumpyBatchNorm2d):
        def unbiased(self, x, var):
            return var

    @trap("Momentum is the wrong way round: here, as in torch, it is the weight of the NEW batch.")
    class momentum_on_the_old(NumpyBatchNorm2d):
        def update(self, x, mean, var):
            m = self.momentum
            self.running_mean = m * self.running_mean + (1 - m) * mean
            self.running_var = m * self.running_var + (1 - m) * self.unbiased(x, var)

    @trap("You normalize with the n - 1 variance. The output uses the population variance; only the stored one is unbiased.")
    class normalizes_with_unbiased(NumpyBatchNorm2d):
        def statistics(self, x):
            return x.mean((0, 2, 3)), x.var((0, 2, 3), ddof=1)

        def unbiased(self, x, var):
            return var

    @trap("In train mode you normalize with the running statistics. The batch's own mean and variance normalize there.")
    class running_statistics_in_training(NumpyBatchNorm2d):
        def __call__(self, x):
            if self.training:
                self.update(x, *self.statistics(x))
            return self.apply(x, self.running_mean, self.running_var)

    @trap("gamma and beta line up with the last axis, the width. Give them the shape (C, 1, 1), so that they multiply channels.")
    class gamma_along_the_width(NumpyBatchNorm2d):
        def apply(self, x, mean, var):
            return self.gamma * (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + self.eps) + self.beta

    @trap("Each image is normalized with statistics of its own: that is InstanceNorm. A channel's mean and variance run over N, H and W.")
    class image_by_image(NumpyBatchNorm2d):
        def __call__(self, x):
            if not self.training:
                return self.apply(x, self.running_mean, self.running_var)
            self.update(x, *self.statistics(x))
            return np.concatenate([self.apply(one[None], *self.statistics(one[None])) for one in x])

    @trap("The layer ignores the eps and momentum that __init__ gets. Keep them as attributes and use them.")
    class ignores_its_arguments(NumpyBatchNorm2d):
        def __init__(self, C, eps=1e-5, momentum=0.1):
            super().__init__(C)

    @trap("gamma and beta are missing in eval mode. They scale and shift in both modes.")
    class no_affine_in_eval(NumpyBatchNorm2d):
        def __call__(self, x):
            if self.training:
                return super().__call__(x)
            return (x - self.running_mean[:, None, None]) / np.sqrt(self.running_var[:, None, None] + self.eps)

    @trap("eps stands under the root, added to the variance: sqrt(var + eps), not std + eps.")
    class eps_outside(NumpyBatchNorm2d):
        def apply(self, x, mean, var):
            mean, std, gamma, beta = (a[:, None, None] for a in (mean, np.sqrt(var), self.gamma, self.beta))
            return gamma * (x - mean) / (std + self.eps) + beta

    @trap("The layer ignores the eps that __init__ gets. Keep it as an attribute and use it in both modes.")
    class ignores_eps(NumpyBatchNorm2d):
        def __init__(self, C, eps=1e-5, momentum=0.1):
            super().__init__(C, momentum=momentum)

    @trap(
        "Arrays that are assigned to gamma and beta later have no effect: you keep the first ones elsewhere. Read self.gamma and self.beta in each call."
    )
    class keeps_the_first_affine(NumpyBatchNorm2d):
        def apply(self, x, mean, var):
            return (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + self.eps)

    @trap("You average the variances of the images, which loses the spread between their means. Take one variance over N, H and W at once.")
    class average_over_images(NumpyBatchNorm2d):
        def statistics(self, x):
            return x.mean((0, 2, 3)), x.var((2, 3)).mean(0)

    @trap("You average the variances of the pixels over the batch. A channel has one variance over N, H and W at once.")
    class average_over_pixels(NumpyBatchNorm2d):
        def statistics(self, x):
            return x.mean((0, 2, 3)), x.var(0).mean((1, 2))

    @trap("running_var stays as it was. Both statistics move in train mode: the variance in the same way as the mean.")
    class variance_stands_still(NumpyBatchNorm2d):
        def update(self, x, mean, var):
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean

    @right("channel by channel")
    class channel_by_channel:
        def __init__(self, C, eps=1e-5, momentum=0.1):
            self.C, self.eps, self.momentum, self.training = C, eps, momentum, True
            self.gamma, self.beta = np.ones(C), np.zeros(C)
            self.running_mean, self.running_var = np.zeros(C), np.ones(C)

        def __call__(self, x):
            y = np.empty(x.shape)
            for c in range(self.C):
                values = x[:, c].ravel()
                mean, var = self.running_mean[c], self.running_var[c]
                if self.training:
                    mean, var = values.mean(), values.var()
                    self.running_mean[c] += self.momentum * (mean - self.running_mean[c])
                    self.running_var[c] += self.momentum * (values.var(ddof=1) - self.running_var[c])
                y[:, c] = self.gamma[c] * (x[:, c] - mean) / np.sqrt(var + self.eps) + self.beta[c]
            return y

    @right("a torch module with tensors inside")
    class torch_inside(nn.Module):
        def __init__(self, C, eps=1e-5, momentum=0.1):
            super().__init__()
            self.eps, self.momentum = eps, momentum
            self.gamma, self.beta = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))
            self.register_buffer("running_mean", torch.zeros(C, dtype=torch.float64))
            self.register_buffer("running_var", torch.ones(C, dtype=torch.float64))

        def forward(self, x):
            x = torch.as_tensor(x)
            flat = x.transpose(0, 1).flatten(1)
            if self.training:
                mean, var = flat.mean(1), flat.var(1, correction=0)
                with torch.no_grad():
                    self.running_mean.lerp_(mean.double(), self.momentum)
                    self.running_var.lerp_(flat.var(1).double(), self.momentum)
            else:
                mean, var = self.running_mean, self.running_var
            scale = self.gamma / torch.sqrt(var + self.eps)
            return x * scale.view(-1, 1, 1) + (self.beta - mean * scale).view(-1, 1, 1)


# ------------------------------------------------------------------------------------------------- BatchNorm1d as a torch module


def module_step(submission, x, weight, bias, dY, eps, momentum):
    """One training step: output and gradients."""
    layer = submission.BatchNorm1d(x.shape[1], eps=eps, momentum=momentum).to(x.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * dY).sum().backward()
    return {"y": y, "x.grad": x.grad, "weight.grad": layer.weight.grad, "bias.grad": layer.bias.grad}


def module_output(*args):
    return module_step(*args)["y"]


def module_gradients(submission, x, weight, bias, dY, eps, momentum):
    """Gradients of a training step, and of a fresh layer in eval mode."""
    seen = {k: v for k, v in module_step(submission, x, weight, bias, dY, eps, momentum).items() if k != "y"}
    layer = submission.BatchNorm1d(x.shape[1], eps=eps, momentum=momentum).to(x.dtype).eval()
    x = x.clone().requires_grad_()
    y = layer(x)
    if y.requires_grad:
        (y * dY).sum().backward()
    return {**seen, "x.grad in eval mode": x.grad, "weight.grad in eval mode": layer.weight.grad, "bias.grad in eval mode": layer.bias.grad}


def module_history(submission, modes, batches, eps, momentum):
    """Outputs and buffers through a sequence of modes."""
    layer = submission.BatchNorm1d(batches[0].shape[1], eps=eps, momentum=momentum).to(batches[0].dtype)
    with torch.no_grad():
        layer.weight.mul_(1.5)
        layer.bias.add_(0.25)
    seen = []
    for mode, x in zip(modes, batches):
        y = layer.train(mode == "T")(x.clone().requires_grad_())  # what reaches a hidden layer carries a graph
        seen.append({"y": y.detach().clone(), **{n: getattr(layer, n).detach().clone() for n in ("running_mean", "running_var")}})
    return seen, {
        "num_batches_tracked": int(layer.num_batches_tracked),
        "buffer has a graph": any(b.requires_grad for b in layer.buffers()),
    }


def module_state(submission, x, momentum):
    """What the layer registers, and whether a saved state comes back, also between this layer and torch's own."""
    c = x.shape[1]
    layer = submission.BatchNorm1d(c, momentum=momentum).to(x.dtype)
    fresh = {k: v.clone() for k, v in layer.state_dict().items()}
    layer(x), layer(2 * x + 1)
    state = layer.state_dict()
    twin, theirs = submission.BatchNorm1d(c).to(x.dtype), nn.BatchNorm1d(c).to(x.dtype)
    twin.load_state_dict(state)
    theirs.load_state_dict(state)
    return {
        "parameters": sorted(n for n, _ in layer.named_parameters()),
        "buffers": sorted(n for n, _ in layer.named_buffers()),
        "shapes": [list(fresh[k].shape) for k in sorted(fresh)],
        "fresh": [fresh[k].to(x.dtype) for k in sorted(fresh)],
        "num_batches_tracked is an integer": not torch.as_tensor(layer.num_batches_tracked).is_floating_point(),
        "reloaded": twin.eval()(x),
        "reloaded into torch": theirs.eval()(x),
    }


def module_places(submission, c, dtype):
    """Does everything follow .to(dtype) and .to(device)? The meta device stands for a GPU: it is on every machine."""
    kind = getattr(torch, dtype)
    layer = submission.BatchNorm1d(c).to(kind)
    x = torch.linspace(-1, 2, 3 * c, dtype=kind).reshape(3, c)
    seen = {"y": layer(x).double(), "y dtype": str(layer(x).dtype), "buffers": str(layer.running_mean.dtype)}
    seen |= {n: getattr(layer, n).double() for n in ("running_mean", "running_var")}  # two batches by the default momentum
    seen["eval dtype"] = str(layer.eval()(x).dtype)
    away = layer.train().to("meta")
    seen["train elsewhere"] = str(away(x.to("meta")).device)
    seen["eval elsewhere"] = str(away.eval()(x.to("meta")).device)
    seen["buffers elsewhere"] = [str(away.running_mean.device), str(away.running_var.device)]
    return seen


def tensor(a):
    return torch.tensor(np.asarray(a), dtype=torch.float64)


def step_case(n, c, *, seed, eps=1e-5, momentum=0.1, scale=1.0, dtype=torch.float64):
    weight, bias = affine((c,), seed)
    parts = (spread((n, c), 1, seed) * scale, weight, bias, normal((n, c), seed=seed + 50))
    return call(*(tensor(a).to(dtype) for a in parts), eps, momentum)


def history_case(modes, sizes, c, *, seed, eps=1e-5, momentum=0.1):
    return call(modes, [tensor(spread((n, c), 1, seed + i) + 0.5 * i) for i, n in enumerate(sizes)], eps, momentum)


class TorchModule(nn.Module):
    """A right BatchNorm1d whose parts the traps replace. Not for probes."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.keep(num_features)

    def keep(self, c):
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))
        self.register_buffer("running_mean", torch.zeros(c))
        self.register_buffer("running_var", torch.ones(c))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def statistics(self, x):
        return x.mean(0), x.var(0, correction=0)

    @torch.no_grad()
    def update(self, x):
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * x.mean(0)
        self.running_var = (1 - self.momentum) * self.running_var + self.momentum * x.var(0)
        self.num_batches_tracked += 1

    def forward(self, x):
        if self.training:
            mean, var = self.statistics(x)
            self.update(x)
        else:
            mean, var = self.running_mean, self.running_var
        return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias


@exercise(
    "normalization.bn-module",
    names="BatchNorm1d",
    covers=["normalization.bn-train-eval", "normalization.q.modes", "normalization.gamma", "normalization.beta"],
    forbid=READY_MADE,
)
class BatchNormModule:
    reference = nn.BatchNorm1d

    cases = {
        "output": group(
            step_case(2, 3, seed=1),
            step_case(5, 5, seed=2, eps=1e-2),
            step_case(7, 3, seed=3, scale=2e-3),
            step_case(6, 2, seed=4, dtype=torch.float32),
            probe=module_output,
        ),
        "gradients": group(
            step_case(2, 3, seed=5, eps=0.5),
            step_case(5, 5, seed=6),
            step_case(9, 2, seed=7, eps=1e-2),
            probe=module_gradients,
        ),
        "modes": group(
            history_case("TTETEETE", (4, 3, 2, 5, 1, 3, 2, 4), 3, seed=8),
            history_case("TTTE", (4, 4, 4, 4), 4, seed=9, momentum=0.4, eps=1e-2),
            history_case("ET", (1, 2), 2, seed=10),
            probe=module_history,
        ),
        "state dict": group(
            call(tensor(spread((5, 3), 1, 11)), 0.1),
            call(tensor(spread((4, 4), 1, 12)), 0.5),
            probe=module_state,
        ),
        "dtype and device": group(call(3, "float64"), call(2, "float32"), probe=module_places, rtol=1e-4, atol=1e-5),
    }

    @trap(
        "state_dict() forgets the running statistics. Plain attributes, which .to() leaves behind too, and persistent=False do that: "
        "use register_buffer as it comes."
    )
    class plain_attributes(TorchModule):
        def keep(self, c):
            self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))
            self.running_mean, self.running_var, self.num_batches_tracked = torch.zeros(c), torch.ones(c), torch.tensor(0)

    @trap("The running statistics are parameters, so an optimizer would train them. They are buffers: register_buffer.")
    class statistics_as_parameters(TorchModule):
        def keep(self, c):
            self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))
            self.running_mean = nn.Parameter(torch.zeros(c), requires_grad=False)
            self.running_var = nn.Parameter(torch.ones(c), requires_grad=False)
            self.register_buffer("num_batches_tracked", torch.tensor(0))

        @torch.no_grad()
        def update(self, x):
            self.running_mean.lerp_(x.mean(0), self.momentum)
            self.running_var.lerp_(x.var(0), self.momentum)
            self.num_batches_tracked += 1

    @trap("weight and bias are buffers, so no gradient reaches them and no optimizer sees them. Make them nn.Parameter.")
    class affine_as_buffers(TorchModule):
        def keep(self, c):
            for name, value in (
                ("weight", torch.ones(c)),
                ("bias", torch.zeros(c)),
                ("running_mean", torch.zeros(c)),
                ("running_var", torch.ones(c)),
            ):
                self.register_buffer(name, value)
            self.register_buffer("num_batches_tracked", torch.tensor(0))

    @trap(
        "The batch statistics are cut out of the graph (detach or no_grad). They depend on x: the gradient runs through mean and variance too."
    )
    class detached_statistics(TorchModule):
        def statistics(self, x):
            return x.detach().mean(0), x.detach().var(0, correction=0)

    @trap("The mean carries gradients, the variance is cut out of the graph. The variance depends on x too: let its gradient through.")
    class detached_variance(TorchModule):
        def statistics(self, x):
            return x.mean(0), x.detach().var(0, correction=0)

    @trap("In eval mode the layer cuts the graph, so that no gradient reaches x. Eval mode freezes the statistics, not the gradients.")
    class no_gradient_in_eval(TorchModule):
        def forward(self, x):
            return super().forward(x if self.training else x.detach())

    @trap("num_batches_tracked is a float. torch's is an integer, and .half() leaves it alone: register torch.tensor(0).")
    class counts_in_float(TorchModule):
        def keep(self, c):
            super().keep(c)
            self.num_batches_tracked = torch.tensor(0.0)

    @trap("The running statistics keep the graph of every batch: memory grows with each step. Update them under torch.no_grad().")
    class buffers_with_a_graph(TorchModule):
        def update(self, x):
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * x.mean(0)
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * x.var(0)
            self.num_batches_tracked += 1

    @trap("Eval mode still uses the batch at hand. With self.training False the running statistics normalize.")
    class batch_statistics_in_eval(TorchModule):
        def forward(self, x):
            mean, var = self.statistics(x)
            if self.training:
                self.update(x)
            return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias

    @trap("The buffers move in eval mode too. Update them only while self.training is True.")
    class updates_in_eval(TorchModule):
        def forward(self, x):
            mean, var = self.statistics(x) if self.training else (self.running_mean, self.running_var)
            y = self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias
            self.update(x)
            return y

    @trap("running_var collects the population variance. torch stores the unbiased one: x.var(0) as torch computes it by default.")
    class stores_biased(TorchModule):
        @torch.no_grad()
        def update(self, x):
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * x.mean(0)
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * x.var(0, correction=0)
            self.num_batches_tracked += 1

    @trap("The output is normalized with torch's default variance, which divides by n - 1. Say correction=0 (or unbiased=False).")
    class normalizes_with_unbiased(TorchModule):
        def statistics(self, x):
            return x.mean(0), x.var(0)

    @trap("num_batches_tracked does not count. Add 1 for each batch in train mode.")
    class does_not_count(TorchModule):
        @torch.no_grad()
        def update(self, x):
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * x.mean(0)
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * x.var(0)

    @trap("Momentum is the wrong way round: it is the weight of the NEW batch.")
    class momentum_on_the_old(TorchModule):
        @torch.no_grad()
        def update(self, x):
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * x.mean(0)
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * x.var(0)
            self.num_batches_tracked += 1

    @trap("num_batches_tracked counts in eval mode too. Add 1 in train mode only.")
    class counts_in_eval(TorchModule):
        def forward(self, x):
            if not self.training:
                self.num_batches_tracked += 1
            return super().forward(x)

    @trap(
        "num_batches_tracked is missing. torch's layer has this third buffer, an integer that counts the batches: register torch.tensor(0)."
    )
    class counts_nothing(TorchModule):
        def keep(self, c):
            super().keep(c)
            del self.num_batches_tracked

        @torch.no_grad()
        def update(self, x):
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * x.mean(0)
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * x.var(0)

    @trap("num_batches_tracked is a plain Python number, so state_dict() does not hold it. Register it as a buffer: torch.tensor(0).")
    class counts_in_python(TorchModule):
        def keep(self, c):
            super().keep(c)
            del self.num_batches_tracked
            self.num_batches_tracked = 0

    @trap("forward casts x to float32, so a float64 layer computes with 7 digits. Name no dtype: the layer's own decides.")
    class casts_to_float32(TorchModule):
        def forward(self, x):
            return super().forward(x.float())

    @right("buffers updated in place, scale and shift folded")
    class folded(nn.Module):
        def __init__(self, num_features, eps=1e-5, momentum=0.1):
            super().__init__()
            self.eps, self.momentum = eps, momentum
            self.weight = nn.Parameter(torch.empty(num_features).fill_(1.0))
            self.bias = nn.Parameter(torch.empty(num_features).fill_(0.0))
            for name, value in {"running_mean": 0.0, "running_var": 1.0}.items():
                self.register_buffer(name, torch.full((num_features,), value))
            self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

        def forward(self, x):
            mean, var = self.running_mean, self.running_var
            if self.training:
                n = x.shape[0]
                mean = x.sum(0) / n
                var = (x - mean).pow(2).sum(0) / n
                self.running_mean.mul_(1 - self.momentum).add_(self.momentum * mean.detach())
                self.running_var.mul_(1 - self.momentum).add_(self.momentum * n / (n - 1) * var.detach())
                self.num_batches_tracked.add_(1)
            scale = self.weight * (var + self.eps).rsqrt()
            return torch.addcmul(self.bias - mean * scale, x, scale)

    @right("buffers replaced through .data, statistics by var_mean")
    class through_data(nn.Module):
        def __init__(self, num_features, eps=1e-5, momentum=0.1):
            nn.Module.__init__(self)
            self.weight = nn.Parameter(torch.ones(num_features))
            self.bias = nn.Parameter(torch.zeros(num_features))
            self.register_buffer("running_mean", torch.zeros(num_features))
            self.register_buffer("running_var", torch.ones(num_features))
            self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.int64))
            self.eps, self.momentum = eps, momentum

        def forward(self, x):
            if not self.training:
                xhat = (x - self.running_mean) * (self.running_var + self.eps) ** -0.5
                return xhat * self.weight + self.bias
            var, mean = torch.var_mean(x, dim=0, correction=0)
            stored, _ = torch.var_mean(x, dim=0, correction=1)
            self.running_mean.data += self.momentum * (mean.data - self.running_mean)
            self.running_var.data += self.momentum * (stored.data - self.running_var)
            self.num_batches_tracked += 1
            return torch.einsum("nc,c->nc", (x - mean) / (var + self.eps) ** 0.5, self.weight) + self.bias


# ------------------------------------------------------------------------------------------------------- BatchNorm, backward


def backward_case(n, c, *, seed, scale=1.0, **more):
    gamma, _ = affine((c,), seed)
    return call(normal((n, c), seed=seed + 60), spread((n, c), 1, seed) * scale, gamma, **more)


@st.composite
def small_backward_cases(draw):
    n, c = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    dY, x, gamma = draw(arrays((n, c), -2, 2)), draw(arrays((n, c), -3, 3)), draw(arrays((c,), 0.5, 2.0))
    return call(dY, x, gamma, eps=draw(st.sampled_from([1e-2, 0.1])))


def gradient_of_x(submission, dY, x, gamma, **more):
    return submission.batch_norm_backward(dY, x, gamma, **more)[0]


def gradients_of_affine(submission, dY, x, gamma, **more):
    _, dgamma, dbeta = submission.batch_norm_backward(dY, x, gamma, **more)
    return {"dgamma": dgamma, "dbeta": dbeta}


def pieces(x, eps):
    std = np.sqrt(x.var(0) + eps)
    return (x - x.mean(0)) / std, std


@exercise(
    "normalization.batch-norm-backward",
    names="batch_norm_backward",
    covers=["normalization.formula", "normalization.gamma", "normalization.beta"],
    forbid=[*READY_MADE, "torch.autograd", "torch.func", "torch.Tensor.backward", "torch.Tensor.requires_grad_", *AUTODIFF],
)
class BatchNormBackward:
    def reference(dY, x, gamma, eps=1e-5):
        dY, x, gamma = (torch.as_tensor(a).clone() for a in (dY, x, gamma))
        beta = torch.zeros_like(gamma, requires_grad=True)
        x.requires_grad_(), gamma.requires_grad_()
        y = gamma * (x - x.mean(0)) / torch.sqrt(x.var(0, correction=0) + eps) + beta  # F.batch_norm refuses eps = 0
        return torch.autograd.grad(y, (x, gamma, beta), dY)

    cases = {
        "dx": group(
            small_backward_cases(),
            backward_case(2, 3, seed=1, eps=0.3),
            backward_case(6, 6, seed=2),
            backward_case(20, 3, seed=3, eps=1e-3),
            backward_case(5, 2, seed=4, scale=0.01),
            call(np.array([[1.0], [0.0], [0.0]]), np.array([[0.0], [2.0], [7.0]]), np.ones(1), eps=0.0),
            backward_case(4, 2, seed=10, scale=1e-2, eps=0.0),
            probe=gradient_of_x,
        ),
        "dgamma and dbeta": group(
            small_backward_cases(),
            backward_case(2, 3, seed=5, eps=0.3),
            backward_case(6, 6, seed=6),
            backward_case(20, 3, seed=7),
            probe=gradients_of_affine,
        ),
        "scales": [
            backward_case(4, 3, seed=8, scale=np.array([1e-3, 1.0, 1e3])),
            backward_case(7, 2, seed=9, scale=np.array([30.0, 0.1]), eps=0.5),
        ],
    }

    @trap("You treat mean and variance as constants. x moves them too: subtract mean(d) and xhat * mean(d * xhat), with d = dY * gamma.")
    def statistics_constant(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        return gamma * dY / std, (dY * xhat).sum(0), dY.sum(0)

    @trap("The path through the variance is missing: subtract xhat * mean(d * xhat) as well.")
    def no_variance_path(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma
        return (d - d.mean(0)) / std, (dY * xhat).sum(0), dY.sum(0)

    @trap("The path through the mean is missing, so the columns of dx do not sum to 0: subtract mean(d) as well.")
    def no_mean_path(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma
        return (d - xhat * (d * xhat).mean(0)) / std, (dY * xhat).sum(0), dY.sum(0)

    @trap("gamma is missing in dx. The gradient passes the scaling first: d = dY * gamma.")
    def no_gamma(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        return (dY - dY.mean(0) - xhat * (dY * xhat).mean(0)) / std, (dY * xhat).sum(0), dY.sum(0)

    @trap("dgamma is the sum of dY * x in your code. gamma multiplies xhat, so its gradient is the sum of dY * xhat.")
    def dgamma_with_x(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma
        return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / std, (dY * x).sum(0), dY.sum(0)

    @trap("You average dgamma and dbeta over the batch. They are sums: gamma and beta act once in every sample.")
    def averaged_affine(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma
        return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / std, (dY * xhat).mean(0), dY.mean(0)

    @trap("You subtract sums where means belong: mean(d) and mean(d * xhat) over the batch.")
    def sums_instead_of_means(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma
        return (d - d.sum(0) - xhat * (d * xhat).sum(0)) / std, (dY * xhat).sum(0), dY.sum(0)

    @trap("The division by the standard deviation is missing in dx: xhat moves by 1/std when x moves by 1.")
    def no_std(dY, x, gamma, eps=1e-5):
        xhat, _ = pieces(x, eps)
        d = dY * gamma
        return d - d.mean(0) - xhat * (d * xhat).mean(0), (dY * xhat).sum(0), dY.sum(0)

    @trap("Your statistics (or means of d) run over the features. BatchNorm's run over the batch: axis 0.")
    def over_the_features(dY, x, gamma, eps=1e-5):
        std = np.sqrt(x.var(1, keepdims=True) + eps)
        xhat = (x - x.mean(1, keepdims=True)) / std
        d = dY * gamma
        dx = (d - d.mean(1, keepdims=True) - xhat * (d * xhat).mean(1, keepdims=True)) / std
        return dx, (dY * xhat).sum(0), dY.sum(0)

    @trap("Your variance divides by n - 1. The forward pass uses the population variance, and so does its gradient.")
    def sample_variance(dY, x, gamma, eps=1e-5):
        std = np.sqrt(x.var(0, ddof=1) + eps)
        xhat, d = (x - x.mean(0)) / std, dY * gamma
        return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / std, (dY * xhat).sum(0), dY.sum(0)

    @trap("Your eps is always 1e-5. Use the argument: it stands under the root in xhat and in the factor of dx.")
    def ignores_eps(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, 1e-5)
        d = dY * gamma
        return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / std, (dY * xhat).sum(0), dY.sum(0)

    @trap("dgamma contains gamma. y = gamma * xhat + beta, so dgamma is the sum of dY * xhat, without gamma.")
    def gamma_in_dgamma(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma
        return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / std, (d * xhat).sum(0), dY.sum(0)

    @trap("You divide dx by the variance. xhat moves by 1/std when x moves by 1: divide by sqrt(var + eps).")
    def divides_by_variance(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma
        return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / std**2, (dY * xhat).sum(0), dY.sum(0)

    @trap("The path through the variance has the wrong sign: subtract xhat * mean(d * xhat).")
    def wrong_sign(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma
        return (d - d.mean(0) + xhat * (d * xhat).mean(0)) / std, (dY * xhat).sum(0), dY.sum(0)

    @trap("gamma acts twice in dx. The gradient passes the scaling once: d = dY * gamma.")
    def gamma_twice(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma**2
        return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / std, (dY * xhat).sum(0), dY.sum(0)

    @trap("The means of d and d * xhat in dx run over the features. They run over the batch, like the statistics: axis 0.")
    def means_over_the_features(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma
        dx = (d - d.mean(1, keepdims=True) - xhat * (d * xhat).mean(1, keepdims=True)) / std
        return dx, (dY * xhat).sum(0), dY.sum(0)

    @trap("eps is missing. It stands under the root in the forward pass, so it counts in xhat and in the factor of dx.")
    def no_eps(dY, x, gamma, eps=1e-5):
        with np.errstate(all="ignore"):
            xhat, std = pieces(x, 0.0)
            d = dY * gamma
            return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / std, (dY * xhat).sum(0), dY.sum(0)

    @trap("dbeta contains gamma. y = gamma * xhat + beta, so dbeta is the plain sum of dY.")
    def gamma_in_dbeta(dY, x, gamma, eps=1e-5):
        xhat, std = pieces(x, eps)
        d = dY * gamma
        return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / std, (dY * xhat).sum(0), d.sum(0)

    @right("the computation graph, node by node")
    def node_by_node(dY, x, gamma, eps=1e-5):
        n = x.shape[0]
        mu = x.mean(0)
        centred = x - mu
        var = (centred**2).mean(0)
        inv = (var + eps) ** -0.5
        dxhat = dY * gamma
        dvar = (dxhat * centred).sum(0) * -0.5 * inv**3
        dcentred = dxhat * inv + dvar * 2 * centred / n
        return dcentred - dcentred.sum(0) / n, (dY * centred * inv).sum(0), dY.sum(0)

    @right("the Jacobian of each feature")
    def jacobians(dY, x, gamma, eps=1e-5):
        n, c = x.shape
        dx, dgamma, dbeta = np.zeros((n, c)), np.zeros(c), np.zeros(c)
        for j in range(c):
            std = np.sqrt(np.var(x[:, j]) + eps)
            xhat = (x[:, j] - np.mean(x[:, j])) / std
            J = (np.eye(n) - 1 / n - np.outer(xhat, xhat) / n) / std
            dx[:, j] = gamma[j] * J @ dY[:, j]
            dgamma[j], dbeta[j] = dY[:, j] @ xhat, sum(dY[:, j])
        return dx, dgamma, dbeta

    @right("torch arithmetic")
    def in_torch(dY, x, gamma, eps=1e-5):
        dY, x, gamma = map(torch.from_numpy, (dY, x, gamma))
        var, mean = torch.var_mean(x, 0, correction=0)
        xhat = (x - mean) / torch.sqrt(var + eps)
        dgamma, dbeta, n = (dY * xhat).sum(0), dY.sum(0), len(x)
        return gamma / (n * torch.sqrt(var + eps)) * (n * dY - dbeta - xhat * dgamma), dgamma, dbeta


# ------------------------------------------------------------------------------------------------------------------ GroupNorm


def group_case(shape, groups, *, seed, scale=1.0, dtype=np.float64, **more):
    gamma, beta = affine((shape[1],), seed)
    sample = np.random.default_rng(seed).uniform(0.5, 2.0, (shape[0], 1, 1, 1))
    return call((spread(shape, 1, seed) * sample * scale).astype(dtype), groups, gamma.astype(dtype), beta.astype(dtype), **more)


@st.composite
def small_group_cases(draw):
    groups, size = draw(st.sampled_from([(1, 2), (2, 1), (2, 2), (3, 2), (2, 3)]))
    c = groups * size
    x = draw(arrays((draw(st.integers(1, 2)), c, draw(st.integers(1, 2)), draw(st.integers(1, 2))), -3, 3))
    return call(x, groups, draw(arrays((c,), 0.5, 2.0)), draw(arrays((c,), -2, 2)), eps=draw(st.sampled_from([1e-5, 1e-2])))


def grouped(x, num_groups, gamma, beta, eps, *, axes=(2, 3, 4), ddof=0, outside=False):
    """GroupNorm with a switch for each mistake. Not for probes."""
    n, c, h, w = x.shape
    g = x.reshape(n, num_groups, c // num_groups, h, w)
    mean, var = g.mean(axes, keepdims=True), g.var(axes, ddof=ddof, keepdims=True)
    xhat = (g - mean) / (np.sqrt(var) + eps if outside else np.sqrt(var + eps))
    return gamma[:, None, None] * xhat.reshape(x.shape) + beta[:, None, None]


@exercise(
    "normalization.group-norm",
    names="group_norm",
    covers=["normalization.axis-table", "normalization.q.gn-in", "normalization.small-batch", "normalization.q.small-batch"],
    forbid=READY_MADE,
)
class GroupNormExercise:
    def reference(x, num_groups, gamma, beta, eps=1e-5):
        x, gamma, beta = (torch.as_tensor(a) for a in (x, gamma, beta))
        return torch.group_norm(x, num_groups, gamma, beta, eps)

    cases = {
        "values": [
            small_group_cases(),
            group_case((2, 6, 3, 5), 2, seed=1),
            group_case((3, 6, 2, 3), 3, seed=2),
            group_case((1, 4, 4, 4), 2, seed=3),
            group_case((4, 4, 4, 4), 2, seed=4),
            group_case((2, 12, 2, 3), 4, seed=5, dtype=np.float32),
        ],
        "extremes": [
            group_case((2, 6, 3, 5), 1, seed=6),
            group_case((2, 6, 3, 5), 6, seed=7),
            group_case((3, 3, 3, 3), 1, seed=8),
            group_case((3, 3, 3, 3), 3, seed=9),
            group_case((2, 8, 1, 1), 2, seed=10),
        ],
        "eps": [
            group_case((2, 6, 2, 3), 2, seed=11, scale=1e-3),
            group_case((2, 6, 2, 3), 3, seed=12, eps=0.1),
            call(np.full((2, 4, 2, 2), 0.7), 2, *affine((4,), 13)),
            group_case((2, 4, 1, 1), 4, seed=14),
        ],
    }

    @trap("Your groups take every G-th channel. A group is a block of NEIGHBOURING channels: reshape to (N, G, C//G, H, W).")
    def interleaved(x, num_groups, gamma, beta, eps=1e-5):
        n, c, h, w = x.shape
        g = x.reshape(n, c // num_groups, num_groups, h, w)
        mean, var = g.mean((1, 3, 4), keepdims=True), g.var((1, 3, 4), keepdims=True)
        xhat = ((g - mean) / np.sqrt(var + eps)).reshape(x.shape)
        return gamma[:, None, None] * xhat + beta[:, None, None]

    @trap("You also average over the batch, so an image depends on its companions. GroupNorm's statistics are per sample and group.")
    def over_the_batch(x, num_groups, gamma, beta, eps=1e-5):
        return grouped(x, num_groups, gamma, beta, eps, axes=(0, 2, 3, 4))

    @trap("You average over H and W only: that is InstanceNorm, whatever G is. The channels of a group share one mean and variance.")
    def per_channel(x, num_groups, gamma, beta, eps=1e-5):
        return grouped(x, num_groups, gamma, beta, eps, axes=(3, 4))

    @trap("You divide by n - 1. GroupNorm uses the population variance (ddof=0).")
    def sample_variance(x, num_groups, gamma, beta, eps=1e-5):
        with np.errstate(all="ignore"):
            return grouped(x, num_groups, gamma, beta, eps, ddof=1)

    @trap("eps stands under the root, added to the variance: sqrt(var + eps).")
    def eps_outside(x, num_groups, gamma, beta, eps=1e-5):
        return grouped(x, num_groups, gamma, beta, eps, outside=True)

    @trap("You average over the channels of a group but not over H and W: one statistic per pixel. Reduce over all three.")
    def per_pixel(x, num_groups, gamma, beta, eps=1e-5):
        return grouped(x, num_groups, gamma, beta, eps, axes=(2,))

    @trap("num_groups is the NUMBER of groups; you take it as the number of channels in one. A group has C // num_groups channels.")
    def groups_of_that_size(x, num_groups, gamma, beta, eps=1e-5):
        return grouped(x, x.shape[1] // num_groups, gamma, beta, eps)

    @trap("You average over all channels: that is G = 1. Split the C channels into num_groups blocks first.")
    def one_group(x, num_groups, gamma, beta, eps=1e-5):
        return grouped(x, 1, gamma, beta, eps)

    @trap("gamma and beta are not applied. Multiply each channel by its gamma and add its beta at the end.")
    def no_affine(x, num_groups, gamma, beta, eps=1e-5):
        return grouped(x, num_groups, np.ones_like(gamma), np.zeros_like(beta), eps)

    @trap("Your eps is always 1e-5, whatever the caller asks for. Use the argument.")
    def ignores_eps(x, num_groups, gamma, beta, eps=1e-5):
        return grouped(x, num_groups, gamma, beta, 1e-5)

    @trap("This is BatchNorm: one statistic per channel over all images. GroupNorm's are per image and block of channels.")
    def batch_norm(x, num_groups, gamma, beta, eps=1e-5):
        return grouped(x, x.shape[1], gamma, beta, eps, axes=(0, 2, 3, 4))

    @trap("beta is not added. The last step is gamma * xhat + beta, channel by channel.")
    def no_beta(x, num_groups, gamma, beta, eps=1e-5):
        return grouped(x, num_groups, gamma, np.zeros_like(beta), eps)

    @trap(
        "You average the channels' variances, which loses the spread between their means. Take the variance over the whole block at once."
    )
    def average_of_variances(x, num_groups, gamma, beta, eps=1e-5):
        n, c, h, w = x.shape
        g = x.reshape(n, num_groups, c // num_groups, h, w)
        var = g.var((3, 4), keepdims=True).mean(2, keepdims=True)
        xhat = ((g - g.mean((2, 3, 4), keepdims=True)) / np.sqrt(var + eps)).reshape(x.shape)
        return gamma[:, None, None] * xhat + beta[:, None, None]

    @trap("All channels of a group get the same gamma and beta. The statistics are per group, gamma and beta per channel.")
    def affine_per_group(x, num_groups, gamma, beta, eps=1e-5):
        size = x.shape[1] // num_groups
        return grouped(x, num_groups, np.repeat(gamma[::size], size), np.repeat(beta[::size], size), eps)

    @trap("gamma and beta line up with the last axis, the width. Give them the shape (C, 1, 1), so that they multiply channels.")
    def gamma_along_the_width(x, num_groups, gamma, beta, eps=1e-5):
        g = x.reshape(len(x), num_groups, -1)
        g = (g - g.mean(-1, keepdims=True)) / np.sqrt(g.var(-1, keepdims=True) + eps)
        return gamma * g.reshape(x.shape) + beta

    @right("block by block")
    def block_by_block(x, num_groups, gamma, beta, eps=1e-5):
        size = x.shape[1] // num_groups
        y = np.zeros_like(x)
        for i in range(x.shape[0]):
            for first in range(0, x.shape[1], size):
                block = x[i, first : first + size]
                y[i, first : first + size] = (block - block.mean()) / np.sqrt(block.var() + eps)
        return np.einsum("nchw,c->nchw", y, gamma) + beta.reshape(1, -1, 1, 1)

    @right("torch, flattened groups")
    def in_torch(x, num_groups, gamma, beta, eps=1e-5):
        t = torch.from_numpy(x)
        rows = t.reshape(t.shape[0] * num_groups, -1)
        rows = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, keepdim=True, unbiased=False) + eps).sqrt()
        return rows.view_as(t) * torch.from_numpy(gamma).view(-1, 1, 1) + torch.from_numpy(beta).view(-1, 1, 1)


# -------------------------------------------------------------------------------------------------------------- SyncBatchNorm


def shard_call(counts, c, *, seed, spacing=2.0):
    rng = np.random.default_rng(seed)
    shards = [rng.normal(rng.normal(scale=spacing, size=c), rng.uniform(0.3, 2.0, c), (n, c)) for n in counts]
    return call(np.array([s.mean(0) for s in shards]), np.array([s.var(0) for s in shards]), np.array(counts))


@st.composite
def small_shard_calls(draw):
    k, c = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    return call(draw(arrays((k, c), -3, 3)), draw(arrays((k, c), 0, 3)), draw(arrays((k,), 1, 6, dtype=np.int64)))


def sync_mean(submission, means, variances, counts):
    return submission.sync_stats(means, variances, counts)[0]


def sync_both(submission, means, variances, counts):
    mean, var = submission.sync_stats(means, variances, counts)
    return {"mean": mean, "variance": var}


@exercise("normalization.sync-stats", names="sync_stats", covers=["normalization.ddp", "normalization.q.multi-gpu"], forbid=READY_MADE)
class SyncStats:
    def reference(means, variances, counts):
        share = (np.asarray(counts) / np.sum(counts))[:, None]
        mean = (share * means).sum(0)
        return mean, (share * (variances + (means - mean) ** 2)).sum(0)

    probe = sync_both

    cases = {
        "mean": group(small_shard_calls(), shard_call((1, 8, 3, 5), 3, seed=1), shard_call((2, 7, 3), 3, seed=2), probe=sync_mean),
        "variance": [
            small_shard_calls(),
            shard_call((1, 8, 3, 5), 3, seed=3),
            shard_call((2, 7, 3), 3, seed=4),
            shard_call((6, 2), 5, seed=5, spacing=20.0),
            shard_call((4, 4, 4, 4), 4, seed=6),
        ],
        "edges": [shard_call((5,), 3, seed=7), shard_call((1, 1, 1), 2, seed=8), shard_call((2, 3, 4), 2, seed=9, spacing=0.0)],
    }

    @trap("You average the variances only. The shards have different means: add the variance BETWEEN them, (mean_k - mean)^2.")
    def within_only(means, variances, counts):
        share = (counts / counts.sum())[:, None]
        return (share * means).sum(0), (share * variances).sum(0)

    @trap("You ignore the counts, so a shard of 1 weighs as much as a shard of 8. Weigh each shard by its number of samples.")
    def ignores_counts(means, variances, counts):
        mean = means.mean(0)
        return mean, (variances + (means - mean) ** 2).mean(0)

    @trap("You ignore the counts and the variance between the shards. Weigh by the counts, and add (mean_k - mean)^2 to each variance.")
    def plain_averages(means, variances, counts):
        return means.mean(0), variances.mean(0)

    @trap("You return the unbiased variance of the whole batch. Normalization uses the population variance: divide by the total count.")
    def unbiased_total(means, variances, counts):
        n = counts.sum()
        share = (counts / n)[:, None]
        mean = (share * means).sum(0)
        with np.errstate(all="ignore"):
            return mean, (share * (variances + (means - mean) ** 2)).sum(0) * n / (n - 1)

    @trap("You return only the variance between the means. Add the variance within the shards.")
    def between_only(means, variances, counts):
        share = (counts / counts.sum())[:, None]
        mean = (share * means).sum(0)
        return mean, (share * (means - mean) ** 2).sum(0)

    @trap(
        "You measure the shards' distance from the unweighted mean of the means. Use the mean of the whole batch, weighted by the counts."
    )
    def between_from_plain_mean(means, variances, counts):
        share = (counts / counts.sum())[:, None]
        mean = (share * means).sum(0)
        return mean, (share * (variances + (means - means.mean(0)) ** 2)).sum(0)

    @trap("You treat the shard variances as unbiased ones (weights n_k - 1). They are population variances: weigh with n_k.")
    def weights_less_one(means, variances, counts):
        n = counts.sum()
        share = (counts / n)[:, None]
        mean = (share * means).sum(0)
        return mean, ((counts - 1)[:, None] * variances).sum(0) / n + (share * (means - mean) ** 2).sum(0)

    @trap("The mean is weighted by the counts, the variance is not. Weigh both parts of the variance too.")
    def weighs_the_mean_only(means, variances, counts):
        mean = (counts[:, None] * means).sum(0) / counts.sum()
        return mean, (variances + (means - mean) ** 2).mean(0)

    @trap("The variance between the shards is not weighted. A shard's distance from the common mean counts once for each of its samples.")
    def between_unweighted(means, variances, counts):
        share = (counts / counts.sum())[:, None]
        return (share * means).sum(0), (share * variances).sum(0) + means.var(0)

    @trap("You average standard deviations. Average the variances, and add the variance between the means.")
    def averages_deviations(means, variances, counts):
        share = (counts / counts.sum())[:, None]
        return (share * means).sum(0), (share * np.sqrt(variances)).sum(0) ** 2

    @trap("You average standard deviations within the shards. Those do not add up: average the variances.")
    def deviations_within(means, variances, counts):
        share = (counts / counts.sum())[:, None]
        mean = (share * means).sum(0)
        return mean, (share * np.sqrt(variances)).sum(0) ** 2 + (share * (means - mean) ** 2).sum(0)

    @trap("You use n_k - 1 and n - 1, as for unbiased variances. What comes in and what goes out are population variances: n_k and n.")
    def pooled_as_unbiased(means, variances, counts):
        n = counts.sum()
        k = counts[:, None]
        mean = (k * means).sum(0) / n
        return mean, ((k - 1) * variances + k * (means - mean) ** 2).sum(0) / max(n - 1, 1)

    @trap("You return the mean of the squares, variance + mean^2. Subtract the square of the common mean to get the variance.")
    def second_moment_only(means, variances, counts):
        share = (counts / counts.sum())[:, None]
        return (share * means).sum(0), (share * (variances + means**2)).sum(0)

    @right("through the second moments")
    def second_moments(means, variances, counts):
        n = np.sum(counts)
        first = np.einsum("k,kc->c", counts, means) / n
        second = np.einsum("k,kc->c", counts, variances + means**2) / n
        return first, np.maximum(second - first**2, 0)

    @right("two shards at a time")
    def pairwise(means, variances, counts):
        mean, var, n = means[0], variances[0], counts[0]
        for m, v, k in zip(means[1:], variances[1:], counts[1:]):
            total, delta = n + k, m - mean
            var = (n * var + k * v) / total + delta**2 * n * k / total**2
            mean = mean + delta * k / total
            n = total
        return [mean, var]


# ------------------------------------------------------------------------------------------------------------- pre-, post-norm


def sublayer_case(shape, placement, *, seed, zero=False, dtype=torch.float64):
    d = shape[-1]
    gamma, beta = affine((d,), seed)
    W, b = (np.zeros((d, d)), np.zeros(d)) if zero else (normal((d, d), 0.6, seed + 1), normal((d,), 0.5, seed + 2))
    return call(*(tensor(a).to(dtype) for a in (normal(shape, 2.0, seed) + 0.7, W, b, gamma, beta)), placement)


def run_sublayer(submission, x, W, b, gamma, beta, placement):
    """The output, with a small network as sub-layer and a LayerNorm that has learned something."""

    def sub(t):
        return torch.tanh(F.linear(t, W, b)) + 0.5 * F.linear(t, W)

    def norm(t):
        return F.layer_norm(t, t.shape[-1:], gamma, beta)

    return submission.sublayer(x, sub, norm, placement)


def with_identities(submission, x, placement):
    """With callables that return their argument itself: whoever adds in place then changes x."""
    return submission.sublayer(x, lambda t: t, lambda t: t, placement)


def sublayer_gradient(submission, x, W, b, gamma, beta, placement):
    x = x.clone().requires_grad_()
    y = run_sublayer(submission, x, W, b, gamma, beta, placement)
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    (y * weights).sum().backward()
    return x.grad


@exercise(
    "normalization.norm-placement",
    names="sublayer",
    covers=["normalization.placement", "normalization.prenorm-clean", "normalization.q.placement"],
)
class NormPlacement:
    def reference(x, sub, norm, placement):
        return x + sub(norm(x)) if placement == "pre" else norm(x + sub(x))

    probe = run_sublayer

    cases = {
        "pre": [
            sublayer_case((2, 3, 4), "pre", seed=1),
            sublayer_case((5, 5), "pre", seed=2),
            sublayer_case((1, 6), "pre", seed=3, dtype=torch.float32),
            sublayer_case((2, 3, 4), "pre", seed=4, zero=True),
        ],
        "post": [
            sublayer_case((2, 3, 4), "post", seed=5),
            sublayer_case((5, 5), "post", seed=6),
            sublayer_case((1, 6), "post", seed=7, dtype=torch.float32),
            sublayer_case((2, 3, 4), "post", seed=8, zero=True),
        ],
        "gradient": group(
            sublayer_case((2, 3, 4), "pre", seed=9),
            sublayer_case((3, 5), "post", seed=10),
            sublayer_case((3, 5), "pre", seed=11, zero=True),
            probe=sublayer_gradient,
        ),
        "x left unchanged": group(
            [call(tensor(normal(shape, seed=21)), placement) for shape in ((3, 4), (2, 1, 5)) for placement in ("pre", "post")],
            probe=with_identities,
        ),
    }

    @trap(
        "Your post-norm normalizes the branch, x + norm(sub(x)). Post-norm, as in the original transformer, normalizes AFTER the addition."
    )
    def post_norms_the_branch(x, sub, norm, placement):
        return x + sub(norm(x)) if placement == "pre" else x + norm(sub(x))

    @trap("In your pre-norm the skip is normalized as well, norm(x) + sub(norm(x)): the identity path is lost. The skip carries x itself.")
    def pre_norms_the_skip(x, sub, norm, placement):
        if placement == "pre":
            x = norm(x)
            return x + sub(x)
        return norm(x + sub(x))

    @trap("Pre and post are exchanged. Pre: the norm stands before the sub-layer, inside the branch. Post: after the addition.")
    def exchanged(x, sub, norm, placement):
        return x + sub(norm(x)) if placement == "post" else norm(x + sub(x))

    @trap(
        "Your pre-norm has a second norm after the addition. In pre-norm the stream stays as it is; one final norm follows the last block."
    )
    def pre_with_a_second_norm(x, sub, norm, placement):
        return norm(x + sub(norm(x))) if placement == "pre" else norm(x + sub(x))

    @trap("The skip is missing: without x added, this is no residual block. Pre: x + sub(norm(x)); post: norm(x + sub(x)).")
    def no_skip(x, sub, norm, placement):
        return sub(norm(x)) if placement == "pre" else norm(sub(x))

    @trap("Your post-norm, norm(x) + sub(x), normalizes the skip only. Post-norm normalizes the sum: norm(x + sub(x)).")
    def post_norms_the_skip(x, sub, norm, placement):
        return x + sub(norm(x)) if placement == "pre" else norm(x) + sub(x)

    @trap("Your pre-norm normalizes what leaves the sub-layer, x + norm(sub(x)). The norm stands before it: x + sub(norm(x)).")
    def pre_norms_the_output(x, sub, norm, placement):
        return x + norm(sub(x)) if placement == "pre" else norm(x + sub(x))

    @trap("Your norm is cut out of the graph, so that the branch passes no gradient to x. Call norm(x) without no_grad or detach.")
    def norm_without_gradient(x, sub, norm, placement):
        return x + sub(norm(x).detach()) if placement == "pre" else norm(x + sub(x))

    @trap("The skip is cut out of the graph, and with it the clean path for gradients. Add x itself, not x.detach().")
    def detached_skip(x, sub, norm, placement):
        return x.detach() + sub(norm(x)) if placement == "pre" else norm(x.detach() + sub(x))

    @trap("Your post-norm has no skip. It normalizes the sum of x and the branch: norm(x + sub(x)).")
    def post_without_skip(x, sub, norm, placement):
        return x + sub(norm(x)) if placement == "pre" else norm(sub(x))

    @trap("Your pre-norm has no skip: without x added, this is no residual block. Pre: x + sub(norm(x)).")
    def pre_without_skip(x, sub, norm, placement):
        return sub(norm(x)) if placement == "pre" else norm(x + sub(x))

    @trap("Your post-norm has a second norm before the sub-layer. Post-norm normalizes once, after the addition: norm(x + sub(x)).")
    def post_with_a_second_norm(x, sub, norm, placement):
        return x + sub(norm(x)) if placement == "pre" else norm(x + sub(norm(x)))

    @trap("You build pre-norm whatever `placement` says. For post, the norm stands after the addition: norm(x + sub(x)).")
    def always_pre(x, sub, norm, placement):
        return x + sub(norm(x))

    @trap("y += x writes into the tensor that sub returned, and that may be x itself. Write x + y.")
    def adds_in_place(x, sub, norm, placement):
        y = sub(norm(x)) if placement == "pre" else sub(x)
        y += x
        return y if placement == "pre" else norm(y)

    @right("steps in a table")
    def from_a_table(x, sub, norm, placement):
        table = {"pre": lambda t: torch.add(t, sub(norm(t))), "post": lambda t: norm(torch.add(sub(t), t))}
        return table[placement](x)

    @right("identity before and after")
    def identities(x, sub, norm, placement):
        before, after = (norm, nn.Identity()) if placement.startswith("pre") else (lambda t: t, norm)
        h = before(x)
        h = sub(h)
        return after(h.add(x))


# ------------------------------------------------------------------------------------------------------------- surgery on models

MODELS = {
    "linear": lambda: [nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)],
    "activation between": lambda: [nn.Linear(4, 5), nn.Tanh(), nn.BatchNorm1d(5), nn.Linear(5, 3), nn.BatchNorm1d(3)],
    "layer norm": lambda: [nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Tanh()],
    "bias already gone": lambda: [
        nn.Linear(4, 3, bias=False),
        nn.BatchNorm1d(3),
        nn.Linear(3, 5),
        nn.BatchNorm1d(5),
        nn.Linear(5, 3, bias=False),
    ],
    "no affine": lambda: [nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2)],
    "conv": lambda: [
        nn.Conv2d(4, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 5, 2),
        nn.ReLU(),
        nn.BatchNorm2d(5),
        nn.Conv2d(5, 2, 1),
    ],
    "conv with options": lambda: [
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 4, 2, dilation=2),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 3, 1),
        nn.BatchNorm2d(3),
    ],
    "conv and linear": lambda: [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.GroupNorm(2, 6),
        nn.Flatten(),
        nn.Linear(24, 3),
        nn.BatchNorm1d(3),
    ],
}


def trained(name, seed):
    """One of the models in float64, with weights, biases and running statistics that look trained."""
    rng = torch.Generator().manual_seed(seed)
    model = nn.Sequential(*MODELS[name]()).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng, dtype=p.dtype) * 0.7 + 0.3)
        for m in model:
            if hasattr(m, "running_var"):
                m.running_mean.copy_(torch.randn(m.running_mean.shape, generator=rng, dtype=torch.float64) + 0.5)
                m.running_var.copy_(torch.rand(m.running_var.shape, generator=rng, dtype=torch.float64) * 2 + 0.3)
    return model


def model_input(name, seed):
    shape = (5, 4, 6, 6) if name.startswith("conv") else (5, 4)
    return torch.tensor(np.random.default_rng(seed).normal(size=shape) + 0.4)


def outputs_after_surgery(submission, name, seed, training):
    model = submission.drop_redundant_bias(trained(name, seed))
    return model.train(training)(model_input(name, seed)).detach()


def after_train_step(submission, name, seed):
    """Train-mode output, then an eval output with the statistics as they have moved on, and the count of parameters."""
    return {"train": outputs_after_surgery(submission, name, seed, True), "parameters": count_parameters(submission, name, seed)}


def count_parameters(submission, name, seed):
    return sum(p.numel() for p in submission.drop_redundant_bias(trained(name, seed)).parameters())


def biases_left(submission, name, seed):
    model = submission.drop_redundant_bias(trained(name, seed))
    left = [None if m.bias is None else m.bias for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    arrives = {f"arrives with training={mode}": trained(name, seed).train(mode) for mode in (True, False)}
    arrives["arrives with every third layer in eval mode"] = every_third_in_eval(trained(name, seed))
    modes = {k: [m.training for m in submission.drop_redundant_bias(model).modules()] for k, model in arrives.items()}
    single = submission.drop_redundant_bias(trained(name, seed).float())
    dtypes = sorted({str(t.dtype) for t in single.state_dict().values()})
    return {
        "biases": left,
        "parameters": count_parameters(submission, name, seed),
        "training flags": modes,
        "dtypes of a float32 model": dtypes,
    }


def every_third_in_eval(model):
    """The model itself in train mode, its first layer not, and so on."""
    for i, m in enumerate(model.modules()):
        m.training = i % 3 != 1
    return model


def eval_outputs(submission, name, seed):
    return {"eval": outputs_after_surgery(submission, name, seed, False), "parameters": count_parameters(submission, name, seed)}


def is_batch_norm(module):
    return isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))


def drop(model, *, condition=None, mean=lambda norm, bias: norm.running_mean.sub_(bias), zero=False):
    """The surgery with a switch for each mistake. Not for probes."""
    layers = list(model)
    for i, layer in enumerate(layers):
        following = layers[i + 1] if i + 1 < len(layers) else None
        wanted = condition(layers, i) if condition else is_batch_norm(following)
        if not isinstance(layer, (nn.Linear, nn.Conv2d)) or layer.bias is None or not wanted:
            continue
        bias = layer.bias.detach().clone()
        if is_batch_norm(following):
            with torch.no_grad():
                mean(following, bias)
        layer.bias = nn.Parameter(torch.zeros_like(bias)) if zero else None
    return model


def nothing(norm, bias):
    """Leave the norm as it is."""


@exercise(
    "normalization.drop-bias", names="drop_redundant_bias", covers=["normalization.bias-before-bn", "normalization.q.bias"], inplace=True
)
class DropBias:
    def reference(model):
        return drop(model)

    cases = {
        "biases": group([call(n, 1) for n in MODELS], probe=biases_left),
        "train mode": group([call(n, 2) for n in MODELS], probe=after_train_step),
        "eval mode": group([call(n, 3) for n in MODELS], probe=eval_outputs),
    }

    @trap("Eval outputs shift: the running mean was collected WITH the bias. Subtract the bias from running_mean when you remove it.")
    def only_removes(model):
        return drop(model, mean=nothing)

    @trap(
        "You move the bias into beta, and train outputs shift. The batch mean cancels the bias by itself; only running_mean must be corrected."
    )
    def moves_it_into_beta(model):
        return drop(model, mean=lambda norm, bias: norm.bias.add_(bias) if norm.affine else None)

    @trap("You remove every bias. It is redundant only where the very next layer is a BatchNorm.")
    def removes_every_bias(model):
        return drop(model, condition=lambda layers, i: True)

    @trap("You set the bias to zero, but it is still a parameter. Set layer.bias = None (and correct the running mean).")
    def sets_it_to_zero(model):
        return drop(model, zero=True)

    @trap(
        "You set the bias to zero and leave running_mean: the parameter stays, and eval outputs shift. Set bias = None and correct the mean."
    )
    def zero_and_nothing_else(model):
        return drop(model, zero=True, mean=nothing)

    @trap("The correction has the wrong sign. Without the bias its inputs are smaller by the bias: running_mean -= bias.")
    def adds_to_the_mean(model):
        return drop(model, mean=lambda norm, bias: norm.running_mean.add_(bias))

    @trap(
        "You look for a BatchNorm anywhere later. With a ReLU or another layer in between the bias matters: only the very next layer counts."
    )
    def any_later_norm(model):
        return drop(model, condition=lambda layers, i: any(map(is_batch_norm, layers[i + 1 :])))

    @trap(
        "You also remove biases before LayerNorm or GroupNorm. Those subtract a mean over features, which leaves a per-feature bias alive."
    )
    def before_any_norm(model):
        norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
        return drop(model, condition=lambda layers, i: i + 1 < len(layers) and isinstance(layers[i + 1], norms))

    @trap("Only a Linear before a BatchNorm1d loses its bias. A Conv2d directly before a BatchNorm2d does so in the same way.")
    def linear_only(model):
        return drop(
            model, condition=lambda layers, i: isinstance(layers[i], nn.Linear) and i + 1 < len(layers) and is_batch_norm(layers[i + 1])
        )

    @trap("Only a Conv2d before a BatchNorm2d loses its bias. A Linear directly before a BatchNorm1d does so in the same way.")
    def conv_only(model):
        return drop(
            model, condition=lambda layers, i: isinstance(layers[i], nn.Conv2d) and i + 1 < len(layers) and is_batch_norm(layers[i + 1])
        )

    @trap("You forget that a layer may have come without a bias: layer.bias is None then, and there is nothing to subtract.")
    def forgets_missing_biases(model):
        for layer, norm in zip(model, model[1:]):
            if isinstance(layer, (nn.Linear, nn.Conv2d)) and is_batch_norm(norm):
                norm.running_mean -= layer.bias.detach()
                layer.bias = None
        return model

    @trap("You use weight or bias of the BatchNorm, which may have none (affine=False). They are not needed: correct running_mean only.")
    def needs_an_affine_norm(model):
        def correct(norm, bias):
            kept = norm.bias.clone()  # None.clone() without affine parameters
            norm.running_mean.sub_(bias)
            norm.bias.copy_(kept)

        return drop(model, mean=correct)

    @trap("The model comes back in another mode. Its training flags stay as they are: call neither eval() nor train().")
    def leaves_it_in_eval(model):
        return drop(model).eval()

    @trap(
        "You remove a bias although a layer stands between it and the BatchNorm, and correct the running mean by it. After a ReLU or Tanh no "
        "shift of the mean makes up for it: only the very next layer counts."
    )
    def corrects_a_later_norm(model):
        layers = list(model)
        for i, layer in enumerate(layers):
            if not isinstance(layer, (nn.Linear, nn.Conv2d)) or layer.bias is None:
                continue
            stop = next((j for j in range(i + 1, len(layers)) if isinstance(layers[j], (nn.Linear, nn.Conv2d))), len(layers))
            norm = next((m for m in layers[i + 1 : stop] if is_batch_norm(m)), None)
            if norm is not None:
                norm.running_mean -= layer.bias.detach()
                layer.bias = None
        return model

    @trap(
        "You fold the bias into beta, with the running variance. Eval outputs stay, but train outputs shift: there the batch mean cancels the "
        "bias by itself. Correct running_mean instead."
    )
    def folds_it_for_eval(model):
        return drop(model, mean=lambda m, bias: m.bias.add_(bias * m.weight / torch.sqrt(m.running_var + m.eps)) if m.affine else None)

    @trap("The model comes back in another mode. Its training flags stay as they are: call neither eval() nor train().")
    def leaves_it_in_train(model):
        return drop(model).train()

    @trap("You put all layers into one mode; some had another. Leave the flags alone.")
    def one_mode_for_all(model):
        return drop(model).train(model.training)

    @trap("Your new convolution forgets stride, dilation or groups. Keep the layer and set layer.bias = None.")
    def rebuilds_convolutions(model):
        for i, (m, norm) in enumerate(zip(model, model[1:])):
            if isinstance(m, nn.Conv2d) and m.bias is not None and is_batch_norm(norm):
                norm.running_mean -= m.bias.detach()
                model[i] = nn.Conv2d(m.in_channels, m.out_channels, m.kernel_size, padding=m.padding, bias=False)
                model[i].weight, model[i].training = m.weight, m.training
        return drop(model)

    @trap("You treat the first pair only. Go through the whole Sequential.")
    def first_pair_only(model):
        done = []

        def once(layers, i):
            wanted = not done and i + 1 < len(layers) and is_batch_norm(layers[i + 1]) and getattr(layers[i], "bias", None) is not None
            if wanted and isinstance(layers[i], (nn.Linear, nn.Conv2d)):
                done.append(i)
                return True
            return False

        return drop(model, condition=once)

    @trap("You forget that a layer may have come without a bias: layer.bias is None then, and there is nothing to subtract.")
    def subtracts_none(model):
        with torch.no_grad():
            for layer, norm in zip(model, model[1:]):
                if isinstance(layer, (nn.Linear, nn.Conv2d)) and is_batch_norm(norm):
                    norm.running_mean -= layer.bias
                    layer.bias = None
        return model

    @right("a new model, from a deep copy")
    def on_a_copy(model):
        model = copy.deepcopy(model)
        for layer, norm in zip(list(model)[:-1], list(model)[1:]):
            if isinstance(norm, nn.modules.batchnorm._BatchNorm) and getattr(layer, "bias", None) is not None and not is_batch_norm(layer):
                if isinstance(layer, (nn.Linear, nn.Conv2d)):
                    norm.running_mean.data = norm.running_mean - layer.bias.data
                    layer.register_parameter("bias", None)
        return model

    @right("new layers without bias")
    def rebuilt(model):
        out = []
        modules = [*model, None]
        for m, following in zip(modules, modules[1:]):
            if is_batch_norm(following) and isinstance(m, nn.Linear) and m.bias is not None:
                new = nn.Linear(m.in_features, m.out_features, bias=False, dtype=m.weight.dtype)
                new.weight.data.copy_(m.weight.data)
                new.training = m.training
                following.running_mean -= m.bias.data
                m = new
            elif is_batch_norm(following) and isinstance(m, nn.Conv2d) and m.bias is not None:
                following.running_mean -= m.bias.data
                m.bias = None
            out.append(m)
        new = nn.Sequential(*out[: len(modules) - 1])
        new.training = model.training
        return new


# ------------------------------------------------------------------------------------------------------------ BatchNorm to GroupNorm


class Block(nn.Module):
    """A residual block: BatchNorm layers one level down."""

    def __init__(self, c, hidden):
        super().__init__()
        self.first, self.norm = nn.Conv2d(c, hidden, 3, padding=1), nn.BatchNorm2d(hidden)
        self.rest = nn.Sequential(nn.ReLU(), nn.Conv2d(hidden, c, 1), nn.BatchNorm2d(c))

    def forward(self, x):
        return x + self.rest(self.norm(self.first(x)))


DETECTORS = {
    "flat": lambda: nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 10, 1), nn.BatchNorm2d(10)),
    "nested": lambda: nn.Sequential(
        nn.Conv2d(3, 10, 3), nn.BatchNorm2d(10), Block(10, 12), nn.Sequential(Block(10, 6)), nn.BatchNorm2d(10)
    ),
    "prime": lambda: nn.Sequential(nn.Conv2d(3, 7, 1), nn.BatchNorm2d(7), Block(7, 9)),
    "head": lambda: nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(16 * 9, 4),
        nn.BatchNorm1d(4),
    ),
    "named": lambda: nn.Sequential(
        nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 9, 1), norm=nn.BatchNorm2d(9), act=nn.ReLU())),
        nn.Sequential(OrderedDict(block=Block(9, 4), norm=nn.BatchNorm2d(9))),
    ),
}


def detector(name, seed):
    rng = torch.Generator().manual_seed(seed)
    model = DETECTORS[name]()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) * 0.4 + 0.3)
        for m in model.modules():
            if hasattr(m, "running_mean"):
                m.running_mean.copy_(torch.randn(m.running_mean.shape, generator=rng) + 0.5)
                m.running_var.copy_(torch.rand(m.running_var.shape, generator=rng) + 0.5)
    return model


def norms_of(submission, name, groups, seed):
    """Type, groups and channels of every norm, by its name in the model."""
    model = submission.batchnorm_to_groupnorm(detector(name, seed), groups)
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm)
    seen = {n: [type(m).__name__, getattr(m, "num_groups", 0)] for n, m in model.named_modules() if isinstance(m, kinds)}
    arrives = {f"arrives with training={mode}": detector(name, seed).train(mode) for mode in (True, False)}
    arrives["arrives with every third module in eval mode"] = every_third_in_eval(detector(name, seed))
    modes = {}
    for how, model in arrives.items():
        model = submission.batchnorm_to_groupnorm(model, groups)
        modes[how] = {n: m.training for n, m in model.named_modules() if not isinstance(m, nn.GroupNorm)}
    return {"norms": seen, "training flags of all other modules": modes}


def affine_of(submission, name, groups, seed):
    """All parameters by name, those of the new layers apart, and what BatchNorm1d has collected."""
    model = detector(name, seed)
    model[0].requires_grad_(name != "flat")  # a convolution that arrives frozen
    model = submission.batchnorm_to_groupnorm(model, groups)
    new = {n for n, m in model.named_modules() if isinstance(m, nn.GroupNorm)}
    seen = {"GroupNorm": {}, "other": {}, "requires_grad": {n: p.requires_grad for n, p in model.named_parameters()}}
    for n, p in model.named_parameters():
        seen["GroupNorm" if n.rpartition(".")[0] in new else "other"][n] = p.detach()
    seen["buffers"] = dict(model.named_buffers())
    return seen


def outputs_of(submission, name, groups, seed):
    """Train-mode outputs of a batch, and of its first image alone."""
    x = torch.randn((3, 3, 5, 5), generator=torch.Generator().manual_seed(seed))
    model = submission.batchnorm_to_groupnorm(detector(name, seed), groups).train()
    if name == "head":
        model = model[0]
    return {"batch": model(x).detach(), "alone": model(x[:1]).detach()}


def to_group_norm(model, groups, *, number=None, copies=True, deep=True, kinds=(nn.BatchNorm2d,)):
    """The replacement with a switch for each mistake. Not for probes."""
    number = number or (lambda c, groups: next(g for g in range(min(groups, c), 0, -1) if c % g == 0))
    for name, child in model.named_children():
        if isinstance(child, kinds):
            norm = nn.GroupNorm(number(child.num_features, groups), child.num_features)
            if copies:
                norm.load_state_dict({"weight": child.weight, "bias": child.bias})
            norm.train(child.training)
            setattr(model, name, norm)
        elif deep:
            to_group_norm(child, groups, number=number, copies=copies, kinds=kinds)
    return model


REPLACEMENTS = [("flat", 8), ("nested", 8), ("prime", 4), ("head", 32), ("nested", 3), ("flat", 1), ("named", 4)]


@exercise(
    "normalization.bn-to-gn",
    names="batchnorm_to_groupnorm",
    covers=["normalization.small-batch", "normalization.q.small-batch", "normalization.q.gn-in"],
    inplace=True,
)
class BatchNormToGroupNorm:
    def reference(model, groups):
        return to_group_norm(model, groups)

    cases = {
        "layers": group([call(n, g, 1) for n, g in REPLACEMENTS], probe=norms_of),
        "parameters": group([call(n, g, 2) for n, g in REPLACEMENTS], probe=affine_of, rtol=1e-6, atol=1e-7),
        "outputs": group([call(n, g, 3) for n, g in REPLACEMENTS], probe=outputs_of, rtol=1e-3, atol=1e-4),
    }

    @trap("You replace the top level only; BatchNorm is left inside the blocks. Recurse into every child.")
    def top_level_only(model, groups):
        return to_group_norm(model, groups, deep=False)

    @trap("One group per channel is InstanceNorm. A group has to hold several channels: at most `groups` groups.")
    def one_group_per_channel(model, groups):
        return to_group_norm(model, groups, number=lambda c, groups: c)

    @trap("The learned scale and shift are lost: copy weight and bias into the GroupNorm.")
    def copies_nothing(model, groups):
        return to_group_norm(model, groups, copies=False)

    @trap(
        "You take the greatest common divisor, or a power of two. Asked for is the largest number up to `groups` that divides the channels: "
        "6, not 4, for 12 and 8."
    )
    def common_divisor(model, groups):
        return to_group_norm(model, groups, number=lambda c, groups: int(np.gcd(c, groups)))

    @trap("You use `groups` without asking whether it divides the channels. Take the largest number up to `groups` that does.")
    def does_not_divide(model, groups):
        return to_group_norm(model, groups, number=lambda c, groups: min(c, groups))

    @trap("You fall back to one group where `groups` does not divide the channels. Take the largest smaller number that does.")
    def falls_back_to_one(model, groups):
        return to_group_norm(model, groups, number=lambda c, groups: groups if c % groups == 0 else 1)

    @trap("You replace BatchNorm1d too. Only nn.BatchNorm2d goes.")
    def every_batch_norm(model, groups):
        return to_group_norm(model, groups, kinds=(nn.BatchNorm1d, nn.BatchNorm2d))

    @trap("`groups` is the number of groups; you take it as their size. GroupNorm's first argument is the number.")
    def groups_as_size(model, groups):
        return to_group_norm(model, groups, number=lambda c, groups: c // next(g for g in range(min(groups, c), 0, -1) if c % g == 0))

    @trap("The model comes back in another mode. Its training flags are among what stays as it is: call neither eval() nor train().")
    def leaves_it_in_eval(model, groups):
        return to_group_norm(model, groups).eval()

    @trap("The new layers are frozen. The detector is to be trained: weight and bias of each GroupNorm need requires_grad=True.")
    def freezes_the_new_layers(model, groups):
        model = to_group_norm(model, groups)
        for m in model.modules():
            if isinstance(m, nn.GroupNorm):
                m.requires_grad_(False)
        return model

    @trap("weight is copied, bias is not. Copy the learned shift too.")
    def forgets_the_bias(model, groups):
        model = to_group_norm(model, groups)
        for m in model.modules():
            if isinstance(m, nn.GroupNorm):
                nn.init.zeros_(m.bias)
        return model

    @trap("You go down two levels only; a BatchNorm deeper inside is left. Recurse, or walk through named_modules().")
    def two_levels_only(model, groups):
        for child in model.children():
            to_group_norm(child, groups, deep=False)
        return to_group_norm(model, groups, deep=False)

    @trap("You look into nn.Sequential only. BatchNorm inside other modules is left: recurse into every child, whatever its type.")
    def sequential_only(model, groups):
        blocks = [m for m in model.modules() if type(m) is nn.Sequential and not isinstance(m, Block)]
        inside = {id(c) for b in model.modules() if isinstance(b, Block) for c in b.modules()}
        for m in blocks:
            if id(m) not in inside:
                to_group_norm(m, groups, deep=False)
        return model

    @trap("Layers inside have other names than before: you build containers anew. Replace the layer in place, setattr(parent, name, new).")
    def renames_children(model, groups):
        def rebuild(m):
            for name, child in m.named_children():
                rebuild(child)
                if type(child) is nn.Sequential:
                    setattr(m, name, nn.Sequential(*child.children()).train(child.training))

        model = to_group_norm(model, groups)
        rebuild(model)
        return model

    @trap("The running statistics went into the new bias. GroupNorm subtracts a mean of its own: copy bias as it is.")
    def folds_the_running_mean(model, groups):
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.bias.data -= m.running_mean * m.weight.data / torch.sqrt(m.running_var + m.eps)
        return to_group_norm(model, groups)

    @trap(
        "You fold the running statistics into weight and bias, as for a frozen BatchNorm. GroupNorm has statistics of its own: copy weight "
        "and bias as they are."
    )
    def folds_the_statistics(model, groups):
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.weight.data /= torch.sqrt(m.running_var + m.eps)
                m.bias.data -= m.running_mean * m.weight.data
        return to_group_norm(model, groups)

    @trap("You stop below `groups`. The number of groups is at most `groups`: where that divides the channels, take it.")
    def stops_below(model, groups):
        return to_group_norm(model, groups, number=lambda c, groups: next(g for g in range(max(groups - 1, 1), 0, -1) if c % g == 0))

    @trap("The model comes back in another mode. Its training flags are among what stays as it is: call neither eval() nor train().")
    def leaves_it_in_train(model, groups):
        return to_group_norm(model, groups).train()

    @trap("You put all layers into one mode; some had another. Leave the flags alone.")
    def one_mode_for_all(model, groups):
        return to_group_norm(model, groups).train(model.training)

    @right("by name, on a copy")
    def by_name(model, groups):
        model = copy.deepcopy(model)
        found = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
        for name, old in found:
            c = old.num_features
            new = nn.GroupNorm(max(g for g in range(1, groups + 1) if c % g == 0), c)
            new.weight.data.copy_(old.weight.data)
            new.bias.data.copy_(old.bias.data)
            new.training = old.training
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, new)
        return model

    @right("recursion that returns the new module")
    def recursive(model, groups):
        def convert(m):
            if isinstance(m, nn.BatchNorm2d):
                g = groups
                while m.num_features % g:
                    g -= 1
                new = nn.GroupNorm(g, m.num_features)
                new.weight, new.bias = m.weight, m.bias
                new.training = m.training
                return new
            for n, child in m.named_children():
                m._modules[n] = convert(child)
            return m

        return convert(model)


# ------------------------------------------------------------------------------------------------------------ one row at a time


class CentresTheBatch(nn.Module):
    """A module without BatchNorm that ties the rows together."""

    def forward(self, x):
        return x - 0.5 * x.mean(0)


def picks_a_function(kind, X):
    """What the learner's function is asked about: a module or a plain function of a batch."""
    rng = torch.Generator().manual_seed(7)
    d = X.shape[-1]
    W = torch.randn((3, d), generator=rng, dtype=X.dtype)
    if kind == "batch norm, train":
        return nn.BatchNorm1d(d).to(X.dtype).train()
    if kind == "batch norm, eval":
        return nn.BatchNorm1d(d).to(X.dtype).eval()
    if kind == "batch norm inside, train":
        return nn.Sequential(nn.Linear(d, d), nn.BatchNorm1d(d), nn.ReLU()).to(X.dtype).train()
    if kind == "layer norm":
        return nn.LayerNorm(d).to(X.dtype).train()
    if kind == "linear":
        return nn.Linear(d, 4).to(X.dtype)
    if kind == "a module that centres":
        return CentresTheBatch()
    plain = {
        "tanh": lambda x: torch.tanh(x @ W.T),
        "row sums": lambda x: x.sum(-1),
        "matrix per row": lambda x: x[:, :, None] * x[:, None, :],
        "centred over the batch": lambda x: x - x.mean(0),
        "minus row 0": lambda x: torch.cat([x[:1], x[1:] - x[:1]]),
        "minus the last row": lambda x: torch.cat([x[:-1] - 0.5 * x[-1:], x[-1:]]),
        "softmax over the batch": lambda x: torch.softmax(x, 0),
        "softmax over the features": lambda x: torch.softmax(x, -1),
        "a little of the batch mean": lambda x: x + 1e-7 * x.mean(0),
        "even less of the batch mean": lambda x: x + 1e-8 * x.mean(0),
        "scaled by the number of rows": lambda x: x * (1 + 1e-6 * len(x)),
        "pairs of rows": lambda x: torch.cat([pair + 0.1 * pair.sum(0) for pair in x.split(2)]),
        "running totals": lambda x: x.cumsum(0),
        "only the last row": lambda x: torch.cat([x[:-1], x[-1:] + (len(x) - 1) * 0.1]),
        "adds here, subtracts there": lambda x: torch.cat([x[:, :1] + x[:, :1].mean(), x[:, 1:2] - x[:, :1].mean(), x[:, 2:]], 1),
        "one entry of many": lambda x: torch.cat([x.repeat(1, 50), x[:, :1] + 3e-9 * (len(x) > 1)], 1),
        "all but the first column": lambda x: torch.cat([x[:, :1], x[:, 1:] - x[:, 1:].mean(0)], 1),
        "large numbers": lambda x: 1e6 + x + 1e-7 * (len(x) - 1),
        "reads the next row": lambda x: torch.cat([x[:-1] + 0.5 * x[1:], x[-1:]]),
        "only the first row": lambda x: torch.cat([x[:1] + (len(x) - 1) * 0.1, x[1:]]),
        "only a row inside": lambda x: torch.cat([x[:1], x[1:-1] + 0.1, x[-1:]]) if len(x) > 2 else x,
        "rounds a little": lambda x: x + 3e-11 * (len(x) - 1),
        "many entries round a little": lambda x: x.repeat(1, 40) + 1e-10 * (len(x) - 1),
    }
    return plain[kind]


def asked(submission, kind, X):
    f = picks_a_function(kind, X)
    mode = getattr(f, "training", None)
    answer = submission.rows_independent(f, X)
    return {"answer": answer, "mode left as it was": getattr(f, "training", None) == mode}


def row_case(kind, shape=(4, 3), seed=0):
    return call(kind, torch.tensor(np.random.default_rng(seed).normal(size=shape) + 0.5))


YES = ["linear", "layer norm", "batch norm, eval", "tanh", "row sums", "matrix per row", "softmax over the features"]
YES += ["rounds a little", "many entries round a little"]
NO = [
    "batch norm, train",
    "batch norm inside, train",
    "centred over the batch",
    "minus row 0",
    "minus the last row",
    "softmax over the batch",
    "a little of the batch mean",
    "even less of the batch mean",
    "scaled by the number of rows",
    "running totals",
    "pairs of rows",
    "only the last row",
    "adds here, subtracts there",
    "one entry of many",
    "all but the first column",
    "large numbers",
    "reads the next row",
    "a module that centres",
    "only the first row",
    "only a row inside",
]


def compares_with(alone):
    """A check that compares with what `alone(f, X)` makes of the rows one by one."""

    def check(f, X):
        with torch.no_grad():
            try:
                return bool(((f(X) - alone(f, X)).abs() <= 1e-9).all())
            except ValueError:
                return False

    return check


of_any_shape = trap("A row may have any shape: keep the batch axis with X[i:i+1] and compare without reshape or squeeze.")


def as_rows(f, X, rows):
    with torch.no_grad():
        try:
            together = f(X)
            return all(torch.allclose(together[i], f(X[i : i + 1])[0], rtol=0, atol=1e-9) for i in rows)
        except ValueError:
            return False


def by_rule(f, X, rule, size=1):
    """Like `as_rows`, with another comparison, or with slices of another size. Not for probes."""
    with torch.no_grad():
        try:
            together = f(X)
            return all(bool(rule(f(X[i : i + size])[0], together[i])) for i in range(len(X)))
        except ValueError:
            return False


@exercise("fqa.batch-independence", names="rows_independent", covers=["fqa.tq10"], inplace=True)
class BatchIndependence:
    def reference(f, X):
        return as_rows(f, X, range(len(X)))

    probe = asked

    cases = {
        "layers": [
            row_case(k, seed=1) for k in ("linear", "layer norm", "batch norm, train", "batch norm, eval", "batch norm inside, train")
        ],
        "functions": [row_case(k, (5, 3), 2) for k in YES[3:] + NO[2:]],
        "shapes": [
            row_case("tanh", (1, 3), 3),
            row_case("batch norm, train", (1, 3), 4),
            row_case("batch norm, train", (2, 2), 5),
            row_case("linear", (3, 3), 6),
            row_case("pairs of rows", (4, 2), 10),
            row_case("minus row 0", (2, 2), 7),
            row_case("softmax over the batch", (3, 3), 9),
            row_case("only the last row", (7, 2), 8),
            row_case("tanh", (4, 2, 3), 11),
            row_case("softmax over the features", (3, 2, 2), 16),
            row_case("linear", (2, 3, 2, 4), 17),
            row_case("centred over the batch", (3, 2, 2), 12),
            row_case("rounds a little", (5,), 13),
            row_case("running totals", (4,), 14),
            row_case("rounds a little", (4, 1), 15),
            row_case("rounds a little", (3, 1, 2), 18),
        ],
    }

    @trap("You do not compare every row. A function may leave the rows you look at alone and change the others: compare each one.")
    def first_row_only(f, X):
        return as_rows(f, X, [0])

    @trap("You compare the last row only. A function may leave it alone and change the others: compare each row.")
    def last_row_only(f, X):
        return as_rows(f, X, [len(X) - 1])

    @trap(
        "You call f on whole batches only. The same batch again, or reordered, shows that f is deterministic or does not mind the order: "
        "pass single rows X[i:i+1]."
    )
    def calls_twice(f, X):
        with torch.no_grad():
            return torch.allclose(f(X), f(X), rtol=0, atol=1e-9)

    @trap("You look at shapes. Equal shapes say nothing about values: compare the numbers.")
    def shapes_only(f, X):
        with torch.no_grad():
            try:
                return f(X).shape[0] == len(X) and f(X[:1]).shape[1:] == f(X).shape[1:]
            except ValueError:
                return False

    @trap("You switch to eval mode first, so BatchNorm looks harmless. Judge the function in the mode it is in.")
    def forces_eval(f, X):
        if isinstance(f, nn.Module):
            f.eval()
        return as_rows(f, X, range(len(X)))

    @trap("You let the ValueError through. BatchNorm in train mode refuses a single row: that means the answer is False.")
    def lets_the_error_through(f, X):
        with torch.no_grad():
            together = f(X)
            return all(torch.allclose(together[i], f(X[i : i + 1])[0], rtol=0, atol=1e-9) for i in range(len(X)))

    @trap("You read the ValueError as a pass. A function that refuses a single row does not treat rows independently: return False.")
    def error_means_true(f, X):
        with torch.no_grad():
            try:
                together = f(X)
                return all(torch.allclose(together[i], f(X[i : i + 1])[0], rtol=0, atol=1e-9) for i in range(len(X)))
            except ValueError:
                return True

    @trap(
        "Your tolerance is too wide: unless told otherwise, torch.allclose adds rtol=1e-5 and atol=1e-8. The task says 1e-9, absolute: rtol=0, atol=1e-9."
    )
    def default_tolerance(f, X):
        with torch.no_grad():
            try:
                together = f(X)
                return all(torch.allclose(together[i], f(X[i : i + 1])[0]) for i in range(len(X)))
            except ValueError:
                return False

    @trap("You add the differences up before you take absolute values, so that they can cancel. Compare each entry.")
    def sum_of_differences(f, X):
        return by_rule(f, X, lambda a, b: (a - b).sum().abs() <= 1e-9)

    @trap("You average the differences: one wrong entry among many disappears in the mean. The tolerance holds for each entry.")
    def mean_of_differences(f, X):
        return by_rule(f, X, lambda a, b: (a - b).abs().mean() <= 1e-9)

    @trap("You compare the first entry of each row only. Compare all of them.")
    def first_entry_only(f, X):
        return by_rule(f, X, lambda a, b: (a.flatten()[0] - b.flatten()[0]).abs() <= 1e-9)

    @trap("Your tolerance grows with the numbers. The task says 1e-9, absolute: rtol=0.")
    def relative_tolerance(f, X):
        return by_rule(f, X, lambda a, b: ((a - b).abs() <= 1e-9 * (1 + b.abs())).all())

    @trap("You pass two rows, X[i:i+2]. A row that reads its neighbour looks independent then: pass X[i:i+1].")
    def slices_of_two(f, X):
        return by_rule(f, X, lambda a, b: torch.allclose(a, b, rtol=0, atol=1e-9), size=2)

    @trap(
        "Your tolerance is too narrow, or there is none. Batches of different size may round differently: the task allows 1e-9 per entry."
    )
    def exact_equality(f, X):
        return by_rule(f, X, torch.equal)

    @trap(
        "You merge the differences into one number, a sum or a norm, so many small ones count as a large one. The tolerance holds for each entry."
    )
    def sum_of_absolute_differences(f, X):
        return by_rule(f, X, lambda a, b: (a - b).abs().sum() <= 1e-9)

    @trap("You take a single row for independent without asking f. BatchNorm in train mode refuses one row, and that means False.")
    def single_row_passes(f, X):
        return len(X) == 1 or as_rows(f, X, range(len(X)))

    @trap("You pass the vector X[i], without a batch axis. f maps batches: pass X[i:i+1].")
    def passes_vectors(f, X):
        with torch.no_grad():
            try:
                together = f(X)
                return all(torch.allclose(together[i], f(X[i]), rtol=0, atol=1e-9) for i in range(len(X)))
            except ValueError:
                return False

    @of_any_shape
    def rows_are_vectors(f, X):
        with torch.no_grad():
            try:
                together = f(X)
                return all(torch.allclose(y.flatten(), f(x.reshape(1, -1)).flatten(), rtol=0, atol=1e-9) for x, y in zip(X, together))
            except ValueError:
                return False

    reshapes_the_rows = of_any_shape(compares_with(lambda f, X: torch.cat([f(x.reshape(1, -1)) for x in X])))
    squeezes_the_rows = of_any_shape(compares_with(lambda f, X: torch.stack([f(X[i : i + 1]).squeeze() for i in range(len(X))])))

    @trap("You switch to train mode first, so BatchNorm with frozen statistics looks guilty. Judge the function in the mode it is in.")
    def forces_train(f, X):
        if isinstance(f, nn.Module):
            f.train()
        return as_rows(f, X, range(len(X)))

    @trap("You decide by the type of the layer. Other modules and functions mix rows too: compare results.")
    def looks_at_the_type(f, X):
        if isinstance(f, nn.Module):
            return not any(is_batch_norm(m) and m.training for m in f.modules())
        return as_rows(f, X, range(len(X)))

    @trap("You reorder the batch and look whether the results move along. A batch mean does not mind the order: pass single rows X[i:i+1].")
    def reorders_the_rows(f, X):
        with torch.no_grad():
            try:
                back = torch.arange(len(X) - 1, -1, -1)
                f(X[:1])
                return torch.allclose(f(X[back]), f(X)[back], rtol=0, atol=1e-9)
            except ValueError:
                return False

    @trap("You leave out row 0. A function may change it alone: compare each row.")
    def all_but_row_0(f, X):
        return as_rows(f, X, range(1, len(X)))

    @right("all single rows put together")
    def put_together(f, X):
        try:
            with torch.inference_mode():
                alone = torch.cat([f(row[None]) for row in X])
                return bool((f(X) - alone).abs().max() <= 1e-9)
        except ValueError:
            return False

    @right("a loop with an early exit, in NumPy")
    def early_exit(f, X):
        try:
            whole = f(X).detach().numpy()
            for i in range(X.shape[0]):
                one = f(X[[i]]).detach().numpy()
                if np.max(np.abs(whole[i : i + 1] - one)) > 1e-9:
                    return False
        except ValueError:
            return False
        return True


# --------------------------------------------------------------------------------------------------------------- debug clinic


class Spy(nn.Module):
    """Passes its input on and writes down in which state the model was called."""

    def __init__(self):
        super().__init__()
        self.training_flags, self.gradients, self.sizes = [], [], []

    def forward(self, x):
        self.training_flags.append(bool(self.training))
        self.gradients.append(torch.is_grad_enabled())
        self.sizes.append(len(x))
        return x


def labelled(sizes, seed):
    """Batches of two classes that a small network learns in part."""
    rng = np.random.default_rng(seed)
    batches = []
    for n in sizes:
        y = rng.integers(0, 3, n)
        x = rng.normal(size=(n, 4)) + 0.9 * np.eye(4)[y] + np.array([2.0, -1.0, 0.5, 0.0])
        batches.append((torch.tensor(x), torch.tensor(y)))
    return batches


def weights_for(model, seed):
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.6 * torch.randn(p.shape, generator=rng, dtype=p.dtype) + (p == 1))
    return model


class Watched(nn.Sequential):
    """A model whose own flag counts, not only those of its layers: dropout as a function."""

    def forward(self, x):
        return F.dropout(super().forward(x), 0.5, self.training)


def run_fit(submission, train_sizes, val_sizes, epochs, arrives_in_train_mode, seed):
    """The learner's loop on a small classifier with a spy in front."""
    torch.manual_seed(seed)  # for the dropout
    model = weights_for(Watched(Spy(), nn.Linear(4, 7), nn.BatchNorm1d(7, momentum=0.4), nn.ReLU(), nn.Linear(7, 3)).double(), seed)
    model.train(arrives_in_train_mode)
    opt = torch.optim.SGD(model.parameters(), lr=0.8)
    accuracies = submission.fit(model, labelled(train_sizes, seed), labelled(val_sizes, seed + 1), epochs, opt)
    return model, accuracies


def modes_seen(submission, *case):
    model, _ = run_fit(submission, *case)
    spy = model[0]
    return {"training flag": spy.training_flags, "gradients enabled": spy.gradients, "batch sizes": spy.sizes}


def statistics_after(submission, *case):
    model, _ = run_fit(submission, *case)
    return {"running_mean": model[2].running_mean, "running_var": model[2].running_var, "weight": model[1].weight.detach()}


def accuracies_of(submission, *case):
    return [float(a) for a in run_fit(submission, *case)[1]]


FIT_CASES = [
    call((8, 6, 8), (17, 1), 4, False, 1),
    call((5, 5), (40, 3), 3, True, 2),
    call((12, 3, 9, 4), (1, 60), 5, False, 3),
    call((6, 6, 6), (29, 80), 3, True, 4),
    call((7,), (33, 2, 50), 6, True, 5),
]


def accuracy(model, val, weigh=True):
    hits = [(model(X).argmax(1) == y).double() for X, y in val]
    return torch.cat(hits).mean().item() if weigh else float(np.mean([h.mean().item() for h in hits]))


def epoch(model, train, opt, clear=True):
    for X, y in train:
        if clear:
            opt.zero_grad()
        F.cross_entropy(model(X), y).backward()
        opt.step()


def fit_with(
    model, train, val, epochs, opt, *, before=None, each=True, to_eval=True, grad=False, clear=True, weigh=True, modes=(True, False)
):
    """The loop with a switch for each mistake. Not for probes."""
    if before is not None:
        model.train(before)
    out = []
    for _ in range(epochs):
        if each:
            model.train(modes[0])
        epoch(model, train, opt, clear)
        if to_eval:
            model.train(modes[1])
        with torch.set_grad_enabled(grad):
            out.append(accuracy(model, val, weigh))
    return out


@exercise(
    "normalization.fix-train-eval",
    names="fit",
    covers=["normalization.bn-train-eval", "normalization.q.eval-collapse"],
    inplace=True,
)
class FixTrainEval:
    def reference(model, train, val, epochs, opt):
        return fit_with(model, train, val, epochs, opt)

    cases = {
        "modes": group(FIT_CASES, probe=modes_seen),
        "running statistics": group(FIT_CASES, probe=statistics_after),
        "accuracies": group(FIT_CASES, probe=accuracies_of),
    }

    @trap(
        "model.eval() at the end of an epoch stays in force, so from epoch 2 on you train with frozen statistics. Call train() in EVERY epoch."
    )
    def train_mode_once(model, train, val, epochs, opt):
        return fit_with(model, train, val, epochs, opt, before=True, each=False)

    @trap(
        "Not every training batch finds the whole model in train mode: one that arrives in eval mode stays in it. Call model.train() at the start of every epoch."
    )
    def never_train_mode(model, train, val, epochs, opt):
        return fit_with(model, train, val, epochs, opt, each=False)

    @trap(
        "Validation runs in train mode: it uses batch statistics, moves the buffers and fails on a batch of one. Call model.eval() before it."
    )
    def no_eval_mode(model, train, val, epochs, opt):
        return fit_with(model, train, val, epochs, opt, to_eval=False)

    @trap("Validation builds a graph. Wrap it in torch.no_grad().")
    def gradients_in_validation(model, train, val, epochs, opt):
        return fit_with(model, train, val, epochs, opt, grad=True)

    @trap(
        "You average the accuracies of the batches, so a batch of 1 weighs as much as a batch of 17. Count hits and divide by all samples."
    )
    def mean_of_batch_accuracies(model, train, val, epochs, opt):
        return fit_with(model, train, val, epochs, opt, weigh=False)

    @trap("The gradients of earlier steps pile up. Call opt.zero_grad() before each backward.")
    def gradients_pile_up(model, train, val, epochs, opt):
        return fit_with(model, train, val, epochs, opt, clear=False)

    @trap("You train in eval mode: the running statistics never move. Training batches need model.train().")
    def always_eval_mode(model, train, val, epochs, opt):
        return fit_with(model, train, val, epochs, opt, modes=(False, False))

    @trap("You return the number of hits. Accuracy is their share: divide by the number of validation samples.")
    def counts_hits(model, train, val, epochs, opt):
        total = sum(len(y) for _, y in val)
        return [float(round(a * total)) for a in fit_with(model, train, val, epochs, opt)]

    @trap("You validate a copy. The model itself is to be called in eval mode, and has to be switched back for the next epoch.")
    def validates_a_copy(model, train, val, epochs, opt):
        out = []
        for _ in range(epochs):
            model.train()
            epoch(model, train, opt)
            with torch.no_grad():
                out.append(accuracy(copy.deepcopy(model).eval(), val))
        return out

    @trap("You set the mode of the layers, not the model's own flag, which its forward may ask. model.train() and model.eval() set all.")
    def children_only(model, train, val, epochs, opt):
        def switch(mode):
            for m in model.children():
                m.train(mode)

        out = []
        for _ in range(epochs):
            switch(True)
            epoch(model, train, opt)
            switch(False)
            with torch.no_grad():
                out.append(accuracy(model, val))
        return out

    @trap("Your first epoch runs in the mode in which the model arrives. Call model.train() at the start of EVERY epoch, the first too.")
    def train_mode_after_validation(model, train, val, epochs, opt):
        out = []
        for _ in range(epochs):
            out += fit_with(model, train, val, 1, opt, each=False)
            model.train()
        return out

    @right("inference mode, counted by hand")
    def counted_by_hand(model, train, val, epochs, opt):
        accs = []
        for _ in range(epochs):
            model.train()
            for X, y in train:
                opt.zero_grad(set_to_none=False)
                loss = nn.CrossEntropyLoss()(model(X), y)
                loss.backward()
                opt.step()
            model.eval()
            hits = total = 0
            with torch.inference_mode():
                for X, y in val:
                    hits += int((model(X).max(1).indices == y).sum())
                    total += len(y)
            accs.append(hits / total)
        return accs

    @right("two helpers that set the mode")
    def two_helpers(model, train, val, epochs, opt):
        def learn():
            model.train(True)
            for X, y in train:
                model.zero_grad()
                (-F.log_softmax(model(X), 1)[torch.arange(len(y)), y]).mean().backward()
                opt.step()

        @torch.no_grad()
        def score():
            model.train(False)
            return torch.cat([model(X).argmax(1) == y for X, y in val]).double().mean()

        out = []
        for _ in range(epochs):
            learn()
            out.append(score())
        return out


def run_head(submission, sizes, modes, seed):
    """Train a head on a frozen backbone; losses and what became of both."""
    inner = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU())
    backbone = weights_for(Watched(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.4), inner).double(), seed)
    head = weights_for(Watched(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).double(), seed + 1)
    with torch.no_grad():
        backbone[1].running_mean.copy_(torch.linspace(-1, 1, 6))
        backbone[1].running_var.copy_(torch.linspace(0.5, 2, 6))
        backbone[1].num_batches_tracked.fill_(40)
    backbone.train(modes[0]), head.train(modes[1])
    torch.manual_seed(seed)  # for the head's dropout, and for those who leave the backbone's on
    opt = torch.optim.SGD(head.parameters(), lr=0.3)
    losses = submission.train_head(backbone, head, labelled(sizes, seed), opt)
    return backbone, head, [float(v) for v in losses]


def backbone_after(submission, *case):
    backbone, _, losses = run_head(submission, *case)
    grads = [p.grad is not None and bool((p.grad != 0).any()) for p in backbone.parameters()]
    weights = {n: p.detach() for n, p in backbone.named_parameters()}
    return {"losses": losses, "buffers": dict(backbone.named_buffers()), "weights": weights, "gradients in the backbone": any(grads)}


def head_after(submission, *case):
    _, head, losses = run_head(submission, *case)
    return {
        "losses": losses,
        "running_mean": head[1].running_mean,
        "weight": head[0].weight.detach(),
        "last weight": head[3].weight.detach(),
    }


HEAD_CASES = [
    call((8, 5, 6), (True, True), 11),
    call((4, 9), (True, False), 12),
    call((6, 6, 6, 3), (False, True), 13),
    call((7,), (True, True), 14),
]


def head_with(backbone, head, batches, opt, *, modes=(False, True), freeze=True, clear=True):
    """Training of a head with a switch for each mistake. Not for probes."""
    for p in backbone.parameters():
        p.requires_grad_(not freeze)
    for module, mode in zip((backbone, head), modes):
        if mode is not None:
            module.train(mode)
    losses = []
    for X, y in batches:
        loss = F.cross_entropy(head(backbone(X)), y)
        if clear:
            opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


@exercise(
    "normalization.fix-frozen-backbone",
    names="train_head",
    covers=["normalization.bn-train-eval", "normalization.q.modes"],
    inplace=True,
)
class FixFrozenBackbone:
    def reference(backbone, head, batches, opt):
        return head_with(backbone, head, batches, opt)

    cases = {"backbone": group(HEAD_CASES, probe=backbone_after), "head": group(HEAD_CASES, probe=head_after)}

    @trap("The backbone is still in train mode. requires_grad=False stops gradients, not the running statistics: call backbone.eval().")
    def backbone_in_train_mode(backbone, head, batches, opt):
        return head_with(backbone, head, batches, opt, modes=(True, True))

    @trap("You put the head into eval mode as well. It is being trained: head.train(), and only the backbone in eval().")
    def head_in_eval_mode(backbone, head, batches, opt):
        return head_with(backbone, head, batches, opt, modes=(False, False))

    @trap("You leave the modes as they arrive. Set both yourself: backbone.eval() and head.train().")
    def leaves_the_modes(backbone, head, batches, opt):
        return head_with(backbone, head, batches, opt, modes=(None, None))

    @trap("You put the backbone into eval mode, but leave the head's mode to the caller. Call head.train() too.")
    def leaves_the_head(backbone, head, batches, opt):
        return head_with(backbone, head, batches, opt, modes=(False, None))

    @trap("Gradients flow into the backbone. eval() fixes the statistics, not the weights: keep requires_grad_(False).")
    def backbone_with_gradients(backbone, head, batches, opt):
        return head_with(backbone, head, batches, opt, freeze=False)

    @trap(
        "You stop or undo the movement of the buffers (momentum 0, put back, reset), but in train mode the backbone still normalizes with "
        "the batch. Call backbone.eval()."
    )
    def momentum_zero(backbone, head, batches, opt):
        for m in backbone.modules():
            if is_batch_norm(m):
                m.momentum = 0.0
        return head_with(backbone, head, batches, opt, modes=(True, True))

    @trap("The gradients of earlier steps pile up. Call opt.zero_grad() before each backward.")
    def gradients_pile_up(backbone, head, batches, opt):
        return head_with(backbone, head, batches, opt, clear=False)

    @right("features without a graph")
    def features_without_a_graph(backbone, head, batches, opt):
        backbone.requires_grad_(False).eval()
        head.train()
        losses = []
        for X, y in batches:
            with torch.no_grad():
                features = backbone(X)
            opt.zero_grad()
            loss = nn.functional.cross_entropy(head(features), y)
            loss.backward()
            opt.step()
            losses.append(float(loss))
        return losses

    @trap("Only the BatchNorm layers are in eval mode. Dropout still drops features of the frozen backbone: call backbone.eval().")
    def freezes_batch_norm_only(backbone, head, batches, opt):
        nn.Sequential(backbone, head).train()
        for m in backbone.modules():
            if is_batch_norm(m):
                m.eval()
        return head_with(backbone, head, batches, opt, modes=(None, None))

    @trap(
        "Only BatchNorm layers at the backbone's top level are in eval mode; those inside a block are not, nor is Dropout. "
        "backbone.eval() goes all the way down."
    )
    def top_level_only(backbone, head, batches, opt):
        nn.Sequential(backbone, head).train()
        for m in backbone.children():
            if is_batch_norm(m):
                m.eval()
        return head_with(backbone, head, batches, opt, modes=(None, None))

    @trap("Layers at the backbone's top level are in eval mode, a BatchNorm inside a block is not. backbone.eval() goes all the way down.")
    def not_inside_blocks(backbone, head, batches, opt):
        nn.Sequential(backbone, head).train()
        for m in backbone.children():
            if is_batch_norm(m) or isinstance(m, nn.Dropout):
                m.eval()
        return head_with(backbone, head, batches, opt, modes=(None, None))

    @trap(
        "You put layers of the backbone into eval mode, by their kind or child by child. Other kinds, and the backbone itself, may behave "
        "differently in train mode too: backbone.eval() reaches all."
    )
    def modes_by_type(backbone, head, batches, opt):
        nn.Sequential(backbone, head).train()
        for m in backbone.modules():
            if is_batch_norm(m) or isinstance(m, nn.Dropout):
                m.eval()
        return head_with(backbone, head, batches, opt, modes=(None, None))

    @trap("The losses are those after the step. Return the loss that the step was taken for.")
    def losses_after_the_step(backbone, head, batches, opt):
        losses = []
        for X, y in batches:
            head_with(backbone, head, [(X, y)], opt)
            losses.append(F.cross_entropy(head(backbone(X)), y).item())
        return losses

    @right("every module of the backbone by hand")
    def module_by_module(backbone, head, batches, opt):
        head.train()
        for m in backbone.modules():
            m.training = False
        return head_with(backbone, head, batches, opt, modes=(None, None))


def offset_call(shape, *, seed, offset, scale=1.0):
    gamma, beta = affine((shape[-1],), seed)
    x = normal(shape, scale, seed) + offset
    return call(*(a.astype(np.float32) for a in (x, gamma, beta)))


def constant_call(d, seed):
    """Tokens of equal features, whose squares do not fit into float32."""
    x = np.repeat(np.array([1000.1, -77.7, 333.3, 5000.7, 0.1, 812.9])[:, None], d, 1)
    return call(*(a.astype(np.float32) for a in (x, *affine((d,), seed))), eps=1e-2)


def one_pass(x, gamma, beta, eps, repair=lambda var: var):
    mean = x.mean(-1, keepdims=True)
    var = repair((x * x).mean(-1, keepdims=True) - mean * mean)
    with np.errstate(all="ignore"):
        return gamma * (x - mean) / np.sqrt(var + eps) + beta


@exercise(
    "normalization.fix-cancellation",
    names="token_norm",
    covers=["normalization.layernorm", "normalization.formula"],
    forbid=READY_MADE,
    rtol=0.0,
    atol=0.02,
)
class FixCancellation:
    def reference(x, gamma, beta, eps=1e-5):
        mean = x.mean(-1, keepdims=True)
        return gamma * (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps) + beta

    cases = {
        "large offset": [
            offset_call((4, 16), seed=1, offset=0.0),
            offset_call((3, 8), seed=2, offset=3000.0),
            offset_call((2, 5, 16), seed=3, offset=-2000.0),
            offset_call((6, 4), seed=4, offset=10000.0, scale=2.0),
            offset_call((3, 8), seed=21, offset=0.0, scale=500.0),
            offset_call((5, 6), seed=20, offset=np.array([[0.0], [3000.0], [-3000.0], [8000.0], [-500.0]])),
        ],
        "small spread": [
            offset_call((4, 16), seed=5, offset=1.0, scale=2.0),
            offset_call((3, 8), seed=6, offset=30.0, scale=0.01),
            offset_call((5, 7), seed=7, offset=-100.0, scale=0.05),
            offset_call((3, 8), seed=22, offset=0.0, scale=5e-4),
            offset_call((16,), seed=23, offset=10.0, scale=0.02),
        ],
        "constant tokens": [constant_call(7, 8), constant_call(11, 9), constant_call(5, 10)],
    }

    @trap("mean(x^2) - mean(x)^2 subtracts two huge, nearly equal numbers: all digits are lost. Subtract the mean first, then square.")
    def one_pass_variance(x, gamma, beta, eps=1e-5):
        return one_pass(x, gamma, beta, eps)

    @trap("Clamping the variance at 0 hides the nan, not the cause: the digits are lost before. Subtract the mean first, then square.")
    def clamped(x, gamma, beta, eps=1e-5):
        return one_pass(x, gamma, beta, eps, lambda var: np.maximum(var, 0))

    @trap("The absolute value hides the nan, not the cause: the digits are lost before. Subtract the mean first, then square.")
    def absolute(x, gamma, beta, eps=1e-5):
        return one_pass(x, gamma, beta, eps, np.abs)

    @trap("A nan replaced by 0 is still a wrong variance. Subtract the mean first, then square.")
    def nan_to_num(x, gamma, beta, eps=1e-5):
        with np.errstate(all="ignore"):
            mean = x.mean(-1, keepdims=True)
            var = (x * x).mean(-1, keepdims=True) - mean * mean
            return gamma * np.nan_to_num((x - mean) / np.sqrt(var + eps)) + beta

    @trap("A larger eps drowns the rounding error, and small signals with it. Compute the variance from the centred values.")
    def larger_eps(x, gamma, beta, eps=1e-5):
        return one_pass(x, gamma, beta, 1.0, lambda var: np.maximum(var, 0))

    @trap("The variance is right, but eps is larger than asked for, so that tokens of small spread come out too small. Use eps as given.")
    def raised_eps(x, gamma, beta, eps=1e-5):
        centred = x - x.mean(-1, keepdims=True)
        return gamma * centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + max(eps, 1e-3)) + beta

    @trap("You go to float64 after squaring: the digits are lost by then. Convert x first, or subtract the mean before you square.")
    def wide_after_squaring(x, gamma, beta, eps=1e-5):
        mean = x.mean(-1, keepdims=True)
        var = (x * x).astype(np.float64).mean(-1, keepdims=True) - mean.astype(np.float64) ** 2
        return gamma * (x - mean) / np.sqrt(np.maximum(var, 0) + eps) + beta

    @trap("You shift by one mean of the whole array. Tokens far from it still lose their digits: subtract each token's own mean.")
    def shifted_by_the_global_mean(x, gamma, beta, eps=1e-5):
        return one_pass(x - x.mean(), gamma, beta, eps, lambda var: np.maximum(var, 0))

    @trap("A larger eps drowns the rounding error, and small signals with it. Compute the variance from the centred values.")
    def somewhat_larger_eps(x, gamma, beta, eps=1e-5):
        return one_pass(x, gamma, beta, 1e-2, lambda var: np.maximum(var, 0))

    @trap("A larger eps drowns the rounding error, and small signals with it. Compute the variance from the centred values.")
    def slightly_larger_eps(x, gamma, beta, eps=1e-5):
        return one_pass(x, gamma, beta, max(eps, 1e-3), lambda var: np.maximum(var, 0))

    @trap("A nan replaced by 0 is still a wrong variance. Subtract the mean first, then square.")
    def nan_to_num_at_the_end(x, gamma, beta, eps=1e-5):
        return np.nan_to_num(one_pass(x, gamma, beta, eps))

    @trap("The mean is in float64, but x is still squared in float32: the digits are lost there. Convert x, or centre before you square.")
    def wide_mean_only(x, gamma, beta, eps=1e-5):
        mean = x.mean(-1, keepdims=True, dtype=np.float64)
        var = np.maximum((x * x).mean(-1, keepdims=True) - mean * mean, 0)
        return gamma * (x - mean) / np.sqrt(var + eps) + beta

    @trap("You shift by one number of the whole array. Tokens far from it still lose their digits: subtract each token's own mean.")
    def shifted_by_the_first_number(x, gamma, beta, eps=1e-5):
        return one_pass(x - x.flat[0], gamma, beta, eps, lambda var: np.maximum(var, 0))

    @trap("Dividing by the largest number does not help: x^2 and mean^2 stay nearly equal. Subtract the mean before you square.")
    def scaled_first(x, gamma, beta, eps=1e-5):
        size = np.abs(x).max(-1, keepdims=True) + np.float32(1e-12)
        return one_pass(x / size, gamma, beta, eps / size**2, lambda var: np.maximum(var, 0))

    @trap("Dividing by the largest number does not help: x^2 and mean^2 stay nearly equal. Subtract the mean before you square.")
    def scaled_under_the_same_eps(x, gamma, beta, eps=1e-5):
        return one_pass(x / np.abs(x).max(-1, keepdims=True), gamma, beta, eps, lambda var: np.maximum(var, 0))

    @trap("Your repair is stable, but divides by d - 1. LayerNorm uses the population variance.")
    def sample_variance(x, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + eps) + beta

    @trap("Your repair is stable, but eps left its place: it is added to the variance, under the root.")
    def eps_outside(x, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + eps) + beta

    @trap("Your repair is stable, but eps is gone. It is added to every variance, under the root.")
    def no_eps(x, gamma, beta, eps=1e-5):
        var = x.var(-1, keepdims=True)
        return gamma * (x - x.mean(-1, keepdims=True)) / np.where(var > 0, np.sqrt(var), np.float32(1)) + beta

    @trap(
        "Tokens of very small spread come out wrong. A small variance is not 0 and needs no floor or threshold: divide by sqrt(var + eps) always."
    )
    def small_taken_for_constant(x, gamma, beta, eps=1e-5):
        var = x.var(-1, keepdims=True)
        centred = np.where(var < 1e-6, np.float32(0), x - x.mean(-1, keepdims=True))
        return gamma * centred / np.sqrt(var + eps) + beta

    @right("in double precision")
    def in_double(x, gamma, beta, eps=1e-5):
        wide = x.astype(np.float64)
        var = np.maximum((wide * wide).mean(-1, keepdims=True) - wide.mean(-1, keepdims=True) ** 2, 0)
        return gamma * (wide - wide.mean(-1, keepdims=True)) / np.sqrt(var + eps) + beta

    @right("shifted by the first feature")
    def shifted(x, gamma, beta, eps=1e-5):
        t = x - x[..., :1]
        mean = t.mean(-1, keepdims=True)
        var = np.maximum((t * t).mean(-1, keepdims=True) - mean**2, 0)
        return gamma * (t - mean) / np.sqrt(var + eps) + beta

    @right("NumPy's own variance")
    def numpy_variance(x, gamma, beta, eps=1e-5):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta


# ------------------------------------------------------------------------------------------------------------- write the test


def variant(*, axis=0, ddof=0, stored=1, outside=False, swap=False, eval_batch=False, eval_moves=False, train_running=False, shift_first=False,
            no_root=False, no_affine=False, stand_still=False, mean_adds_up=False, eval_var_moves=False, fixed_eps=None, fixed_momentum=None):  # fmt: skip
    """A whole BatchNorm in one function; each switch is a mistake."""

    def batch_norm(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):
        x, gamma, beta, running_mean, running_var = (np.asarray(a, dtype=float) for a in (x, gamma, beta, running_mean, running_var))
        eps, momentum = fixed_eps or eps, fixed_momentum or momentum
        with np.errstate(all="ignore"):
            mean, var = x.mean(axis, keepdims=True), x.var(axis, ddof=ddof, keepdims=True)
            new = (1 - momentum, momentum)[::-1] if swap else (1 - momentum, momentum)
            after = new[0] * running_mean + new[1] * x.mean(0), new[0] * running_var + new[1] * x.var(0, ddof=min(stored, len(x) - 1))
            if mean_adds_up:
                after = running_mean + momentum * x.mean(0), after[1]
            if train_running:
                mean, var = after
            if not training and not eval_batch:
                mean, var = running_mean, running_var
            if stand_still or not (training or eval_moves):
                after = running_mean, (after[1] if eval_var_moves and not training else running_var)
            std = np.sqrt(var) + eps if outside else (var + eps if no_root else np.sqrt(var + eps))
            xhat = (x - mean) / std
            y = gamma * (xhat + beta) if shift_first else (xhat if no_affine else gamma * xhat + beta)
        return y, np.array(after[0]), np.array(after[1])

    return batch_norm


def with_torch(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    x, gamma, beta, mean, var = (torch.tensor(np.asarray(a, dtype=float)) for a in (x, gamma, beta, running_mean, running_var))
    y = F.batch_norm(x, mean, var, gamma, beta, bool(training), momentum, eps)
    return y.numpy(), mean.numpy(), var.numpy()


def folded(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    x, gamma, beta, old_mean, old_var = (np.asarray(a, dtype=float) for a in (x, gamma, beta, running_mean, running_var))
    if not training:
        scale = gamma * (old_var + eps) ** -0.5
        return x * scale + (beta - old_mean * scale), old_mean, old_var
    mean = x.sum(0) / len(x)
    squares = (x**2).sum(0) - len(x) * mean**2
    scale = gamma * (squares / len(x) + eps) ** -0.5
    new_mean, new_var = old_mean + momentum * (mean - old_mean), old_var + momentum * (squares / (len(x) - 1) - old_var)
    return x * scale + (beta - mean * scale), new_mean, new_var


def sample_problem(seed=0, n=5, c=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, c)) * np.array([0.5, 2.0, 1.0])[:c] + np.array([3.0, -1.0, 0.5])[:c]
    return x, rng.uniform(0.5, 2, c), rng.uniform(0.5, 1.5, c), rng.normal(size=c), rng.uniform(0.5, 2, c)


def own_answer(x, gamma, beta, mean, var, training, momentum, eps):
    used = (x.mean(0), x.var(0)) if training else (mean, var)
    y = gamma * (x - used[0]) / np.sqrt(used[1] + eps) + beta
    if not training:
        return y, mean, var
    return y, (1 - momentum) * mean + momentum * x.mean(0), (1 - momentum) * var + momentum * x.var(0, ddof=1)


def agree(batch_norm, entries=(0, 1, 2), modes=(True, False), momentum=0.3, eps=0.2, exact=False, plain=False, tolerance=1e-8):
    problem = sample_problem()
    if plain:
        problem = problem[0], np.ones(3), np.zeros(3), *problem[3:]
    for training in modes:
        got = batch_norm(*problem, training, momentum, eps)
        want = own_answer(*problem, training, momentum, eps)
        for i in entries:
            if exact:
                assert (np.asarray(got[i]) == want[i]).all()
            else:
                assert np.allclose(got[i], want[i], rtol=1e-6, atol=tolerance)


@exercise(
    "normalization.test-batch-norm",
    names="check_batch_norm",
    covers=["normalization.bn-train-eval", "normalization.q.modes", "normalization.remember"],
)
class TestBatchNorm:
    accepts = {"NumPy": variant(), "torch": with_torch, "scale and shift folded": folded}
    catches = {
        "batch statistics in eval": variant(eval_batch=True),
        "buffers move in eval": variant(eval_moves=True),
        "the variance moves in eval": variant(eval_var_moves=True),
        "buffers never move": variant(stand_still=True),
        "running statistics in training": variant(train_running=True),
        "momentum on the old value": variant(swap=True),
        "the running mean forgets nothing": variant(mean_adds_up=True),
        "biased running variance": variant(stored=0),
        "unbiased normalization": variant(ddof=1),
        "eps outside the root": variant(outside=True),
        "rows instead of columns": variant(axis=1),
        "beta before gamma": variant(shift_first=True),
        "no gamma and beta": variant(no_affine=True),
        "momentum always 0.1": variant(fixed_momentum=0.1),
        "eps always 1e-5": variant(fixed_eps=1e-5),
    }

    def reference(batch_norm):
        agree(batch_norm)

    @trap("Your check looks at train mode only. Half of the mistakes show in eval mode: try both.")
    def train_mode_only(batch_norm):
        agree(batch_norm, modes=(True,))

    @trap("Your check looks at eval mode only. Try train mode too.")
    def eval_mode_only(batch_norm):
        agree(batch_norm, modes=(False,))

    @trap("Your check ignores the new running statistics. Compare all three results.")
    def output_only(batch_norm):
        agree(batch_norm, entries=(0,))

    @trap("Your check uses the default momentum and eps, so a function that ignores its arguments passes. Choose values of your own.")
    def defaults_only(batch_norm):
        agree(batch_norm, momentum=0.1, eps=1e-5)

    @trap("Your check uses gamma 1 and beta 0 only, so missing or exchanged scale and shift pass. Choose other values.")
    def plain_affine_only(batch_norm):
        agree(batch_norm, plain=True)

    @trap("Your tolerance is so wide that real mistakes fit in. 1e-6 is enough for right implementations that round differently.")
    def loose_tolerance(batch_norm):
        agree(batch_norm, tolerance=0.5)

    @trap(
        "Your check rejects right implementations: it asks for exact equality, or your own reference is wrong (is the stored variance "
        "unbiased?). Try it on torch's first."
    )
    def exact_equality(batch_norm):
        problem = sample_problem(1, n=7)
        for training in (True, False):
            for got, want in zip(batch_norm(*problem, training, 0.3, 0.2), own_answer(*problem, training, 0.3, 0.2)):
                assert np.array_equal(np.asarray(got), want)

    @trap("Mean 0 and variance 1 of the output say little. Use gamma and beta away from 1 and 0, and compare with the formula.")
    def mean_zero_variance_one(batch_norm):
        x, *_ = sample_problem(n=40)
        y, *_ = batch_norm(x, np.ones(3), np.zeros(3), np.zeros(3), np.ones(3), True)
        assert np.allclose(np.mean(y, 0), 0, atol=1e-6) and np.allclose(np.var(y, 0), 1, atol=1e-2)

    @trap(
        "Your check lets a running mean pass that forgets nothing. From a start at 0 such a sum looks like an average, and with a wide "
        "tolerance too: start elsewhere and compare closely."
    )
    def fresh_buffers_only(batch_norm):
        x, gamma, beta, *_ = sample_problem()
        for training in (True, False):
            want = own_answer(x, gamma, beta, np.zeros(3), np.ones(3), training, 0.3, 0.2)
            for got, wanted in zip(batch_norm(x, gamma, beta, np.zeros(3), np.ones(3), training, 0.3, 0.2), want):
                assert np.allclose(got, wanted)

    @trap("Your check does not look at the running variance that comes back in eval mode. It must be the old one, like the mean.")
    def no_variance_in_eval(batch_norm):
        agree(batch_norm, modes=(True,))
        agree(batch_norm, modes=(False,), entries=(0, 1))

    @trap("Your check does not compare the running statistics that come back in eval mode. They must be the old ones.")
    def output_only_in_eval(batch_norm):
        agree(batch_norm, modes=(True,))
        agree(batch_norm, modes=(False,), entries=(0,))

    @trap("Your check uses momentum 0.5 only, where the old value and the new one weigh the same. Take another, so that an exchange shows.")
    def momentum_one_half(batch_norm):
        agree(batch_norm, momentum=0.5)

    @trap("Your check looks at shapes, or whether the call succeeds. A wrong number has the right shape too: compare values.")
    def shapes_only(batch_norm):
        for training in (True, False):
            problem = sample_problem()
            y, mean, var = batch_norm(*problem, training, 0.3, 0.2)
            assert np.shape(y) == (5, 3) and np.shape(mean) == np.shape(var) == (3,)

    @right("by its properties")
    def by_properties(batch_norm):
        x, gamma, beta, mean, var = sample_problem(3)
        y, m, v = map(np.asarray, batch_norm(x, gamma, beta, mean, var, True, 0.4, 0.3))
        share = np.var(x, 0) / (np.var(x, 0) + 0.3)
        assert np.abs(y.mean(0) - beta).max() < 1e-8
        assert np.abs(y.var(0) - gamma**2 * share).max() < 1e-8
        assert np.abs((m - mean) / (x.mean(0) - mean) - 0.4).max() < 1e-8
        assert np.abs((v - var) / (x.var(0, ddof=1) - var) - 0.4).max() < 1e-8
        z, m, v = map(np.asarray, batch_norm(x, gamma, beta, mean, var, False, 0.4, 0.3))
        assert (m == mean).all() and (v == var).all()
        one = np.asarray(batch_norm(x[:1], gamma, beta, mean, var, False, 0.4, 0.3)[0])
        assert np.abs(z[0] - one[0]).max() < 1e-8
        assert np.abs((z - beta) / gamma * np.sqrt(var + 0.3) + mean - x).max() < 1e-8

    @right("against torch")
    def against_torch(batch_norm):
        for seed, training in enumerate([True, False, True]):
            problem = sample_problem(seed, n=3)
            for got, want in zip(batch_norm(*problem, training, momentum=0.25, eps=0.1), with_torch(*problem, training, 0.25, 0.1)):
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)
