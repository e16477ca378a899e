"""The hidden side of chapter 8: reference, cases and known misconceptions of every exercise."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.authoring import arrays, call, exercise, group, normal, right, shaped, st, trap


def _t(a):
    return torch.tensor(np.array(a, dtype=np.float64))


def _long(a):
    return torch.tensor(np.array(a), dtype=torch.int64)


def _sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def _softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def _softmax(z):
    return np.exp(_log_softmax(z))


def _unshifted_log_softmax(z):
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def _picked(log_p, targets):
    return log_p[np.arange(len(targets)), targets]


# ------------------------------------------------------------------------------------------------------------- noise models

_SKEWED = np.array([0.2, 0.3, 0.5, 1.1, 14.0])


def _nll_of(submission, y, mu, scale, kind):
    return submission.noise_nll(y, mu, scale, kind)


def _best_of(submission, y, kind):
    return submission.best_constant(y, kind)


def _noise_nll(y, mu, scale, kind):
    if kind == "gaussian":
        return 0.5 * ((y - mu) / scale) ** 2 + np.log(scale) + 0.5 * math.log(2 * math.pi)
    return np.abs(y - mu) / scale + np.log(2 * scale)


def _best(y, kind):
    return float(np.mean(y) if kind == "gaussian" else np.median(y))


def _noise_calls(kind):
    def same(shape):
        return call(arrays(shape, -4, 4), arrays(shape, -4, 4), arrays(shape, 0.2, 3), kind)

    return [
        same((6,)),
        same((2, 3)),
        call(np.array([0.0, 1.0, -2.0]), np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.5, 2.5]), kind),
        call(np.array([[1.0], [7.0]]), np.array([[-1.0], [2.0]]), np.array([[0.4], [3.0]]), kind),
        call(normal((5,), 2.0, 1), normal((5,), 1.0, 2), np.array([0.3, 0.7, 1.0, 2.0, 5.0]), kind),
        call(np.array([1.0, 2.0, 4.0]), np.array([1.002, 2.0, 3.95]), np.array([1e-3, 1e-4, 1e-3]), kind),
        call(np.array(1.5), np.array(0.5), np.array(2.0), kind),
    ]


_ODD = st.sampled_from([(5,), (7,), (9,)])


@exercise(
    "losses.noise-nll",
    names="noise_nll best_constant",
    covers=["losses.nll", "losses.noise-models", "losses.modelling-choice"],
    forbid=["torch", "scipy"],
)
class NoiseNll:
    class reference:
        def noise_nll(y, mu, scale, kind):
            family = torch.distributions.Normal if kind == "gaussian" else torch.distributions.Laplace
            return -family(_t(mu), _t(scale)).log_prob(_t(y))

        def best_constant(y, kind):
            return float(np.mean(y)) if kind == "gaussian" else float(np.median(y))

    cases = {
        "gaussian": group(_noise_calls("gaussian"), probe=_nll_of, n=8),
        "laplace": group(_noise_calls("laplace"), probe=_nll_of, n=8),
        "best constant": group(
            [
                call(_SKEWED, "gaussian"),
                call(_SKEWED, "laplace"),
                call(-_SKEWED[[4, 0, 2, 1, 3]], "laplace"),
                call(np.array([9.0, 1.0, 2.0]), "laplace"),
                call(np.array([9.0, 1.0, 2.0]), "gaussian"),
                call(arrays(_ODD, -5, 20), "gaussian"),
                call(arrays(_ODD, -5, 20), "laplace"),
                call(np.array([3.5]), "laplace"),
                call(np.array([1000.0, 1020.0, 1007.0]), "laplace"),
                call(np.array([255.0, 240.0, 10.0, 250.0, 260.0]), "laplace"),
                call(np.array([-400.0, -420.0, -401.0]), "gaussian"),
            ],
            probe=_best_of,
            n=6,
            atol=5e-3,
        ),
    }

    @trap(
        "MSE and MAE drop constants, because constants do not move the optimum. A log-density has them: ½ ln(2π) and ln 2 belong to the value."
    )
    class constants_dropped:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return 0.5 * ((y - mu) / scale) ** 2 + np.log(scale)
            return np.abs(y - mu) / scale + np.log(scale)

    @trap(
        "The scale also normalises the density: a wider curve is a lower one. You left out ln(scale), so a huge scale would cost nothing."
    )
    class log_scale_dropped:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return 0.5 * ((y - mu) / scale) ** 2 + 0.5 * math.log(2 * math.pi)
            return np.abs(y - mu) / scale + math.log(2)

    @trap(
        "This is the bare squared or absolute error: neither the normalising constants nor ln(scale) are there. The NLL is minus the log of the whole density."
    )
    class only_the_error:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            return 0.5 * ((y - mu) / scale) ** 2 if kind == "gaussian" else np.abs(y - mu) / scale

    @trap("The Gaussian's exponent is −(y − μ)²/(2σ²): the factor one half is missing in front of your square.")
    class no_half_in_the_square:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return ((y - mu) / scale) ** 2 + np.log(scale) + 0.5 * math.log(2 * math.pi)
            return _noise_nll(y, mu, scale, kind)

    @trap("scale is the standard deviation σ, and σ² stands in the exponent. You divided by σ once, or took scale for the variance.")
    class scale_as_variance:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return 0.5 * (y - mu) ** 2 / scale + 0.5 * np.log(2 * math.pi * scale)
            return _noise_nll(y, mu, scale, kind)

    @trap("The Laplace density is exp(−|y−μ|/b)/(2b): it has two tails, so its constant is ln(2b), not ln b.")
    class laplace_without_two:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return _noise_nll(y, mu, scale, kind)
            return np.abs(y - mu) / scale + np.log(scale)

    @trap("That is +log of the density. The loss is the negative: small where the density is large.")
    class sign_missing:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            return -_noise_nll(y, mu, scale, kind)

    @trap("The task asks for one number per element. Reducing to a mean or a sum is the caller's choice.")
    class already_averaged:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            return _noise_nll(y, mu, scale, kind).mean()

    @trap(
        "Σ|y − c| is minimal at the median, not at the mean: left and right of it are equally many points. The mean belongs to the squares."
    )
    class mean_for_both:
        noise_nll = _noise_nll

        def best_constant(y, kind):
            return float(np.mean(y))

    @trap("Σ(y − c)² is minimal at the mean, where the residuals sum to 0. The median belongs to the absolute errors.")
    class median_for_both:
        noise_nll = _noise_nll

        def best_constant(y, kind):
            return float(np.median(y))

    @trap("You have the two swapped: squares (Gaussian) lead to the mean, absolute values (Laplace) to the median.")
    class mean_and_median_swapped:
        noise_nll = _noise_nll

        def best_constant(y, kind):
            return float(np.median(y) if kind == "gaussian" else np.mean(y))

    @trap("The middle element is the median only of sorted data. Sort first.")
    class median_without_sorting:
        noise_nll = _noise_nll

        def best_constant(y, kind):
            return float(np.mean(y) if kind == "gaussian" else y[len(y) // 2])

    @trap("The two models are swapped: squares belong to the Gaussian, absolute values to the Laplace distribution.")
    class kinds_swapped:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return _noise_nll(y, mu, scale, "laplace")
            return _noise_nll(y, mu, scale, "gaussian")

    @trap(
        "This is the bare squared or absolute error: neither the normalising constants nor ln(scale) are there. The NLL is minus the log of the whole density."
    )
    class bare_errors:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return (y - mu) ** 2
            return np.abs(y - mu)

    @trap("The Gaussian's constant is ½ ln(2πσ²) = ln σ + ½ ln 2π. Without the square on σ only half of ln σ is there.")
    class root_of_the_scale:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return 0.5 * ((y - mu) / scale) ** 2 + 0.5 * np.log(2 * math.pi * scale)
            return _noise_nll(y, mu, scale, "laplace")

    @trap("The 2 of the Laplace density stands in the constant, 1/(2b); the exponent is |y−μ|/b without it.")
    class two_in_the_exponent:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return _noise_nll(y, mu, scale, "gaussian")
            return np.abs(y - mu) / (2 * scale) + np.log(2 * scale)

    @trap("That is the density. Take minus its logarithm.")
    class density_itself:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return np.exp(-_noise_nll(y, mu, scale, kind))
            return np.exp(-_noise_nll(y, mu, scale, kind))

    @trap("The Laplace density has the absolute value in its exponent, not the square.")
    class laplace_with_a_square:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            if kind == "gaussian":
                return _noise_nll(y, mu, scale, "gaussian")
            return (y - mu) ** 2 / scale + np.log(2 * scale)

    @trap("scale is b itself, not the standard deviation of the Laplace distribution, which is b·√2: the formula has no √2.")
    class laplace_scale_as_deviation:
        best_constant = _best

        def noise_nll(y, mu, scale, kind):
            return _noise_nll(y, mu, scale / math.sqrt(2) if kind == "laplace" else scale, kind)

    @trap("Your search covers a fixed range; y may lie anywhere. Take the mean or the median.")
    class grid_around_zero:
        noise_nll = _noise_nll

        def best_constant(y, kind):
            grid = np.linspace(-30, 30, 12001)
            errors = np.abs(y[:, None] - grid)
            return grid[(errors**2 if kind == "gaussian" else errors).sum(axis=0).argmin()]

    @right("the density first, element by element")
    class density_loop:
        def noise_nll(y, mu, scale, kind):
            out = np.zeros(y.shape)
            for i in np.ndindex(y.shape):
                if kind == "gaussian":
                    out[i] = math.log(scale[i] * math.sqrt(2 * math.pi)) + (y[i] - mu[i]) ** 2 / (2 * scale[i] ** 2)
                else:
                    out[i] = math.log(2 * scale[i]) + abs(y[i] - mu[i]) / scale[i]
            return out

        def best_constant(y, kind):
            ordered = sorted(float(v) for v in y)
            return sum(ordered) / len(ordered) if kind == "gaussian" else ordered[len(ordered) // 2]

    @right("a search over a grid for the best constant")
    class grid_search:
        noise_nll = _noise_nll

        def best_constant(y, kind):
            grid = np.linspace(y.min(), y.max(), 20001)
            errors = np.abs(y[:, None] - grid)
            cost = (errors**2 if kind == "gaussian" else errors).sum(axis=0)
            return grid[cost.argmin()]


# -------------------------------------------------------------------------------------------------------------------- huber


def _huber(pred, target, delta=1.0):
    e = pred - target
    inside = np.abs(e) <= delta
    loss = np.where(inside, e**2 / 2, delta * np.abs(e) - delta**2 / 2)
    return float(loss.mean()), np.where(inside, e, delta * np.sign(e)) / e.size


def _huber_parts(
    quadratic=lambda e, d: e**2 / 2,
    linear=lambda e, d: d * np.abs(e) - d**2 / 2,
    core=lambda e, d: e,
    tail=lambda e, d: d * np.sign(e),
    reduce=np.mean,
    over=np.size,
):
    def huber(pred, target, delta=1.0):
        e = pred - target
        inside = np.abs(e) <= delta
        return float(reduce(np.where(inside, quadratic(e, delta), linear(e, delta)))), np.where(
            inside, core(e, delta), tail(e, delta)
        ) / over(e)

    return huber


def _huber_loss(submission, pred, target, delta=1.0):
    return submission.huber(pred, target, delta)[0]


def _huber_default(submission, pred, target):
    return submission.huber(pred, target)


def _huber_grad(submission, pred, target, delta=1.0):
    return submission.huber(pred, target, delta=delta)[1]


_DELTAS = st.sampled_from([0.3, 1.0, 2.5])
_HUBER_CALLS = [
    shaped("N", "N", N=(2, 7), delta=_DELTAS, low=-4, high=4),
    shaped("N M", "N M", N=(2, 4), M=(2, 4), delta=_DELTAS, low=-4, high=4),
    call(np.array([0.0, 2.0, 5.0, -1.0]), np.array([0.4, 0.0, 1.0, 3.0]), delta=2.5),
    call(np.array([[0.5, -3.0, 0.1], [4.0, 0.0, -0.2]]), np.array([[0.0, 0.5, 0.25], [-1.0, 2.0, 0.0]]), delta=0.3),
    call(np.array([2.5]), np.array([0.0]), delta=2.5),
    call(np.array([-0.5, 0.5]), np.array([0.0, 1.5]), delta=0.5),
    call(np.array([[2.0]]), np.array([[-5.0]]), delta=0.3),
    call(normal((2, 3, 2), 2.0, 71), normal((2, 3, 2), 1.0, 72), delta=0.8),
    call(normal((2, 1, 3), 2.0, 73), normal((2, 1, 3), 1.0, 74), delta=2.0),
    call(normal((1, 2, 2, 2), 2.0, 75), normal((1, 2, 2, 2), 1.0, 76), delta=0.5),
    call(np.array(2.5), np.array(0.5), delta=0.5),
]


@exercise("losses.huber-and-grad", names="huber", covers=["losses.huber", "losses.regression-table"], forbid=["torch", "scipy"])
class HuberAndGrad:
    def reference(pred, target, delta=1.0):
        pred = _t(pred).clone().requires_grad_(True)
        loss = F.huber_loss(pred, _t(target), delta=delta)
        (grad,) = torch.autograd.grad(loss, pred)
        return float(loss), grad

    cases = {
        "loss": group(_HUBER_CALLS, probe=_huber_loss, n=8),
        "gradient": group(_HUBER_CALLS, probe=_huber_grad, n=8),
        "default delta": group(
            [shaped("N", "N", N=(3, 6), low=-3, high=3), call(np.array([0.2, 3.0, -2.0, 1.0]), np.array([0.0, 0.5, 1.0, 0.0]))],
            probe=_huber_default,
            n=6,
        ),
    }

    no_half_in_the_core = trap("The quadratic part is e²/2. Only with the half do value and slope meet the linear part at |e| = δ.")(
        _huber_parts(quadratic=lambda e, d: e**2)
    )
    no_half_and_its_gradient = trap(
        "You took e² with slope 2e in the core. With e²/2 the slope e meets the linear part's δ at the border; yours jumps."
    )(_huber_parts(quadratic=lambda e, d: e**2, core=lambda e, d: 2 * e))
    tail_without_offset = trap(
        "In the tail −δ²/2 is missing, so the loss jumps at |e| = δ. Evaluate both branches there: they must agree."
    )(_huber_parts(linear=lambda e, d: d * np.abs(e)))
    plain_absolute_tail = trap(
        "Beyond δ the loss is δ|e| − δ²/2, not the bare absolute error: the branches must meet at |e| = δ, in value and slope."
    )(_huber_parts(linear=lambda e, d: np.abs(e), tail=lambda e, d: np.sign(e)))
    offset_without_square = trap("The offset is δ²/2: at |e| = δ the tail has to give δ² − δ²/2 = δ²/2.")(
        _huber_parts(linear=lambda e, d: d * np.abs(e) - d / 2)
    )
    offset_not_scaled = trap("|e| − δ/2 is SmoothL1's tail without its scale: Huber is δ times that, δ|e| − δ²/2, with slope δ.")(
        _huber_parts(linear=lambda e, d: np.abs(e) - d / 2, tail=lambda e, d: np.sign(e))
    )
    smooth_l1 = trap("This is SmoothL1, which is Huber divided by δ. Huber keeps e²/2 inside and has slope δ outside.")(
        _huber_parts(lambda e, d: e**2 / (2 * d), lambda e, d: np.abs(e) - d / 2, lambda e, d: e / d, lambda e, d: np.sign(e))
    )
    gradient_not_divided = trap(
        "The loss is a mean, so each element's derivative carries 1/N, with N the number of all elements. Yours is too large by N."
    )(_huber_parts(over=lambda e: 1))
    divided_by_rows = trap("The mean runs over ALL elements: divide the gradient by pred.size, not by len(pred), which counts rows only.")(
        _huber_parts(over=len)
    )
    divided_by_two_axes = trap("The mean runs over all elements, however many axes there are: pred.size.")(
        _huber_parts(over=lambda e: np.prod(e.shape[:2]))
    )
    sign_flipped = trap(
        "Differentiate with respect to pred: d(pred − target)/d pred = +1. Your gradient points the other way, descent would climb."
    )(_huber_parts(core=lambda e, d: -e, tail=lambda e, d: -d * np.sign(e)))
    tail_slope_one = trap("The slope of δ|e| is δ·sign(e). Yours is ±1, which is right for δ = 1 only.")(
        _huber_parts(tail=lambda e, d: np.sign(e))
    )
    tail_slope_unsigned = trap("In the tail the slope is δ·sign(e): negative errors need a negative slope.")(
        _huber_parts(tail=lambda e, d: d + 0 * e)
    )
    tail_slope_zero = trap("The gradient in the tail is not 0 but ±δ: outliers are limited, not ignored.")(
        _huber_parts(tail=lambda e, d: 0 * e)
    )
    summed = trap("The task asks for the mean over all elements; you return the sum.")(_huber_parts(reduce=np.sum, over=lambda e: 1))
    loss_summed = trap("Your loss is the sum over the elements, while its gradient is that of the mean. Take the mean in both.")(
        _huber_parts(reduce=np.sum)
    )

    @trap("δ is an argument, and your function uses 1 whatever it is.")
    def delta_ignored(pred, target, delta=1.0):
        return _huber(pred, target, 1.0)

    @trap("The branch depends on the size of the error, |e|. Without the absolute value every negative error counts as small.")
    def branch_by_signed_error(pred, target, delta=1.0):
        e = pred - target
        inside = e <= delta
        loss = np.where(inside, e**2 / 2, delta * np.abs(e) - delta**2 / 2)
        return float(loss.mean()), np.where(inside, e, delta * np.sign(e)) / e.size

    @trap("The two branches are swapped: quadratic up to δ, linear beyond. Yours is steep exactly for the outliers.")
    def branches_swapped(pred, target, delta=1.0):
        e = pred - target
        inside = np.abs(e) > delta
        loss = np.where(inside, e**2 / 2, delta * np.abs(e) - delta**2 / 2)
        return float(loss.mean()), np.where(inside, e, delta * np.sign(e)) / e.size

    tail_gradient_not_limited = trap(
        "Your loss is Huber's, but its gradient is that of the square. Beyond δ the slope is ±δ: clip the error."
    )(_huber_parts(tail=lambda e, d: e))
    offset_twice = trap("The offset of the tail is δ²/2, half of what you subtract: at |e| = δ both branches have to give δ²/2.")(
        _huber_parts(linear=lambda e, d: d * np.abs(e) - d**2)
    )
    offset_is_delta = trap("The offset of the tail is δ²/2: at |e| = δ both branches have to give δ²/2.")(
        _huber_parts(linear=lambda e, d: d * np.abs(e) - d)
    )

    @trap("The smaller of the two branches is not Huber's: the parabola e²/2 lies above its tangent everywhere. Choose by |e| ≤ δ.")
    def smaller_branch(pred, target, delta=1.0):
        e = pred - target
        return float(np.minimum(e**2 / 2, delta * np.abs(e) - delta**2 / 2).mean()), np.clip(e, -delta, delta) / e.size

    @trap("The loss is one number, the mean over all elements; you return one for each element (or for each column).")
    def loss_not_reduced(pred, target, delta=1.0):
        e = pred - target
        c = np.clip(e, -delta, delta)
        return c * (e - c / 2), c / e.size

    @trap("Each element has its own branch: choose with np.where, element by element. You chose one branch for the whole array.")
    def one_branch_for_all(pred, target, delta=1.0):
        e = pred - target
        a = np.abs(e)
        return float((e**2 / 2 if a.max() <= delta else delta * a - delta**2 / 2).mean()), np.clip(e, -delta, delta) / e.size

    @right("one clipped error does both")
    def clipped(pred, target, delta=1.0):
        e = pred - target
        c = np.clip(e, -delta, delta)
        return (c * (e - c / 2)).mean(), c / e.size

    @right("loops")
    def loops(pred, target, delta=1.0):
        total, grad = 0.0, np.zeros(pred.shape)
        for i in np.ndindex(pred.shape):
            e = float(pred[i] - target[i])
            if abs(e) < delta:
                total += 0.5 * e * e
                grad[i] = e
            else:
                total += delta * (abs(e) - 0.5 * delta)
                grad[i] = math.copysign(delta, e)
        return total / pred.size, grad / pred.size


# ----------------------------------------------------------------------------------------------------- loss at the beginning

_PRIORS = [[0.9, 0.1], [0.97, 0.01, 0.02], [0.05, 0.15, 0.3, 0.5], [0.25, 0.75]]


def _entropy(p):
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _normalised(a):
    return a / a.sum()


@exercise(
    "losses.expected-init-loss", names="expected_init_loss", covers=["losses.init-ce", "losses.q.init-loss"], forbid=["torch", "scipy"]
)
class ExpectedInitLoss:
    def reference(priors):
        p = _t(priors)
        return math.log(len(p)), float(torch.special.entr(p).sum())

    cases = {
        "uniform": [call(np.full(c, 1 / c)) for c in (2, 3, 10, 1000)],
        "skewed": [*(call(np.array(p)) for p in _PRIORS), call(arrays([(2,), (3,), (5,)], 0.05, 1).map(_normalised))],
        "absent classes": [
            call(np.array([0.5, 0.0, 0.5])),
            call(np.array([0.0, 1.0, 0.0])),
            call(np.array([0.2, 0.0, 0.0, 0.7, 0.1])),
            call(np.array([1 - 1e-5, 0.0, 1e-5])),
            call(np.array([1 - 1e-9, 1e-9])),
            call(np.array([1 - 5e-9, *[1e-12] * 5000])),
        ],
    }

    @trap("That is bits. Losses in torch and in this course use the natural logarithm: ln 10 = 2.30, not 3.32.")
    def in_bits(priors):
        return math.log2(len(priors)), _entropy(priors) / math.log(2)

    @trap("With the log priors as logits the model starts at H(priors), which is below ln C when classes are imbalanced. That is no bug.")
    def ln_c_for_both(priors):
        return math.log(len(priors)), math.log(len(priors))

    @trap(
        "All-zero logits give every class the probability 1/C, so the loss is ln C whatever the labels are. You return H(priors) for both."
    )
    def entropy_for_both(priors):
        return _entropy(priors), _entropy(priors)

    @trap("A class that never occurs adds nothing: define 0·ln 0 as 0. In floating point 0·log(0) is nan.")
    def log_of_zero(priors):
        with np.errstate(all="ignore"):
            return math.log(len(priors)), float(-(priors * np.log(priors)).sum())

    @trap("An epsilon in the log shifts the value, most for many rare classes. Select the positive priors instead.")
    def tiny_epsilon_in_the_log(priors):
        return math.log(len(priors)), float(-(priors * np.log(priors + 1e-12)).sum())

    @trap("The expectation runs over examples, so weight −ln p_c by how often class c occurs. You averaged over the classes.")
    def classes_weighted_equally(priors):
        p = priors[priors > 0]
        return math.log(len(priors)), float(-np.log(p).mean())

    @trap("You sum −ln p_c over the classes. The expectation over examples weights each term with p_c.")
    def sum_of_logs(priors):
        p = priors[priors > 0]
        return math.log(len(priors)), float(-np.log(p).sum())

    @trap("You divided the entropy by C. Σ p ln p is already an average: the weights p sum to 1.")
    def mean_over_classes(priors):
        p = priors[priors > 0]
        return math.log(len(priors)), _entropy(priors) / len(priors)

    @trap("The sign is missing: log-probabilities are negative, the loss is not.")
    def sign_missing(priors):
        return -math.log(len(priors)), -_entropy(priors)

    @trap("Your entropy lacks its minus sign: log-probabilities are negative, the loss is not.")
    def entropy_sign_missing(priors):
        return math.log(len(priors)), -_entropy(priors)

    @trap(
        "All-zero logits spread over ALL C classes of the output layer, also those that never occur in the data: ln C, not the log of the classes seen."
    )
    def absent_classes_not_counted(priors):
        return math.log((priors > 0).sum()), _entropy(priors)

    @trap("The order is: zero logits first, log priors second. You return them the other way round.")
    def order_swapped(priors):
        return _entropy(priors), math.log(len(priors))

    @trap("−ln of the largest prior is the loss on examples of the commonest class only. Average over all classes, weighted by the priors.")
    def majority_only(priors):
        return math.log(len(priors)), float(-np.log(priors.max()))

    @trap("np.where computes the log for all entries and chooses afterwards, so log(0) still warns. Select the positive priors first.")
    def where_after_the_log(priors):
        return math.log(len(priors)), float(-np.where(priors > 0, priors * np.log(priors), 0).sum())

    @trap("Losses use the natural logarithm, not the decimal one: ln 10 = 2.30.")
    def decimal(priors):
        return math.log10(len(priors)), _entropy(priors) / math.log(10)

    @trap("A class that never occurs adds nothing: define 0·ln 0 as 0. In floating point 0·log(0) is nan.")
    def log_of_zero_in_a_loop(priors):
        return math.log(len(priors)), -sum(p * math.log(p) for p in priors)

    @trap("With log priors as logits the probabilities ARE the priors. You put the priors themselves through a softmax.")
    def softmax_of_priors(priors):
        return math.log(len(priors)), float(-(priors * np.log(np.exp(priors) / np.exp(priors).sum())).sum())

    @trap("The entropy is in bits, the first value in nats. Use the natural logarithm for both.")
    def entropy_in_bits(priors):
        return math.log(len(priors)), _entropy(priors) / math.log(2)

    @trap("An epsilon in the log shifts the value, most for many rare classes. Select the positive priors instead.")
    def epsilon_in_the_log(priors):
        return math.log(len(priors)), float(-(priors * np.log(priors + 1e-8)).sum())

    @trap("C independent sigmoids would cost C·ln 2. Here one softmax shares the probability: 1/C for each class, so ln C.")
    def sigmoid_for_each(priors):
        return len(priors) * math.log(2), _entropy(priors)

    @trap("ln 2 is the first loss for two classes. For C classes it is ln C.")
    def always_two_classes(priors):
        return math.log(2), _entropy(priors)

    @trap("A rare class is not an absent one: leave out exact zeros only.")
    def rare_taken_for_absent(priors):
        return math.log(len(priors)), _entropy(priors[priors > 1e-8])

    @right("loop")
    def loop(priors):
        h = 0.0
        for p in priors:
            if p > 0:
                h -= p * math.log(p)
        return float(np.log(priors.size)), h

    @right("a safe log")
    def safe_log(priors):
        logs = np.log(np.where(priors > 0, priors, 1.0))
        return np.log(len(priors)), -np.dot(priors, logs)


# ------------------------------------------------------------------------------------------------------- bounds of the loss


@exercise("bank.loss-bounds", names="loss_bounds", covers=["bank.tq17"], forbid=["torch", "scipy"])
class LossBounds:
    def reference(K):
        return 0.0, math.log(K)

    cases = {"two classes": call(2), "more classes": [call(k) for k in (3, 4, 5, 10, 37, 1000)]}

    @trap(
        "Being the largest of K probabilities means being larger than 1/K. That bounds the loss from above: it cannot be arbitrarily large."
    )
    def no_upper_bound(K):
        return 0.0, math.inf

    @trap("ln 2 is the bound for two classes, where the winner has more than ½. Of K classes the winner may have little more than 1/K.")
    def ln_two(K):
        return 0.0, math.log(2)

    @trap("1 is a guess. The bound follows from p > 1/K: −ln p < ln K.")
    def one(K):
        return 0.0, 1.0

    @trap("The loss uses the natural logarithm: ln K nats, not log2 K bits.")
    def bits(K):
        return 0.0, math.log2(K)

    @trap("The loss uses the natural logarithm, not the decimal one.")
    def decimal(K):
        return 0.0, math.log10(K)

    @trap("You bound the probability, 1/K to 1. The question is about the loss −ln p.")
    def of_the_probability(K):
        return 1 / K, 1.0

    @trap("Low comes first: the loss goes to 0 as p goes to 1, and to ln K as p goes to 1/K.")
    def swapped(K):
        return math.log(K), 0.0

    @trap("The sign: p is at most 1, so −ln p is never negative.")
    def negative(K):
        return -math.log(K), 0.0

    @trap("ln(K − 1) would need p > 1/(K−1). The true class counts too: when all K are nearly equal each has about 1/K.")
    def one_class_less(K):
        return 0.0, math.log(K - 1)

    @trap(
        "You assume that a correct winner has more than one half. With more than two classes the winner needs only more than each other class, that is more than 1/K; and the loss can come as close to 0 as you like."
    )
    def low_is_not_zero(K):
        return math.log(K) / 2, math.log(K)

    @trap(
        "Accuracy 1 does not mean probability 1: an example is classified correctly as soon as its class has the largest probability, so the loss may be anything below ln K."
    )
    def always_zero(K):
        return 0.0, 0.0

    @right("from the probability")
    def from_the_probability(K):
        return tuple(float(-np.log(p)) + 0.0 for p in (1.0, 1.0 / K))

    @right("as a list of NumPy scalars")
    def as_list(K):
        return [np.float64(0), np.log(np.float64(K))]


# ------------------------------------------------------------------------------------------------------------------ softmax

_FAR_ROWS = np.array([[1000.0, 1001.0, 998.5], [-1000.0, -1001.0, -1002.5]])
_SQUARE = np.array([[1.0, 2.0, 0.5], [-1.0, 0.0, 3.0], [0.2, 0.1, -2.0]])


@exercise(
    "scratch.softmax",
    names="softmax",
    covers=["scratch.tq02", "scratch.tq03", "fqa.tq09"],
    forbid=["torch", "scipy"],
    rtol=1e-10,
    atol=1e-12,
)
class BatchSoftmax:
    def reference(z):
        return torch.softmax(_t(z), dim=1)

    cases = {
        "values": [
            shaped("B K", B=(1, 4), K=(2, 5), low=-5, high=5),
            call(np.array([[0.0, 1.0, 2.0, 4.0]])),
            call(np.array([[3.0]])),
            call(np.array([[0.3], [2.0]])),
        ],
        "square batch": [call(_SQUARE), call(np.array([[0.0, 1.0], [3.0, 0.5]])), shaped("3 3", low=-4, high=4)],
        "stability": [
            call(np.array([[1000.0, 1001.0]])),
            call(np.array([[0.0, 2000.0], [1.0, 2.0]])),
            call(np.array([[-1000.0, -1001.0, -1000.5]])),
            call(_FAR_ROWS),
            call(np.array([[1000.0, -1000.0], [1000.0, 999.0], [-1000.0, -999.0]])),
            shaped("B K", B=(2, 3), K=(2, 4), low=-1e4, high=1e4),
        ],
    }

    @trap("exp(1000) overflows: subtract the maximum of each row first. The result is exactly the same.")
    def no_shift(z):
        e = np.exp(z)
        return e / e.sum(axis=1, keepdims=True)

    @trap(
        "Classes are the columns, so a distribution runs along a row: normalise along axis 1. Your columns sum to 1, so examples influence each other."
    )
    def over_the_batch(z):
        e = np.exp(z - z.max(axis=0))
        return e / e.sum(axis=0)

    @trap("Each row is a distribution of its own: sum per row. With one sum for the whole batch, only all entries together sum to 1.")
    def one_sum_for_all(z):
        e = np.exp(z - z.max())
        return e / e.sum()

    @trap("One maximum for the whole batch: a row far below it underflows to 0/0. Take the maximum per row.")
    def one_maximum_for_all(z):
        e = np.exp(z - z.max())
        return e / e.sum(axis=1, keepdims=True)

    @trap("The maximum of each COLUMN was subtracted from it. Softmax allows one common shift per row: take the maximum along axis 1.")
    def maximum_per_column(z):
        e = np.exp(z - z.max(axis=0))
        return e / e.sum(axis=1, keepdims=True)

    @trap("Without keepdims the sums line up with the columns, which a square batch hides: use keepdims=True.")
    def sum_without_keepdims(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1)

    @trap("Subtract the maximum, not the minimum: the exponents must be at most 0.")
    def minimum_subtracted(z):
        e = np.exp(z - z.min(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    @trap("Subtracting the mean helps only a little: one logit far above the others still overflows. Subtract the maximum.")
    def mean_subtracted(z):
        e = np.exp(z - z.mean(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    @trap("Clipping the logits changes the result: 1000 and 1001 both become the bound. Shift, do not clip.")
    def clipped(z):
        e = np.exp(np.clip(z, -500, 500))
        return e / e.sum(axis=1, keepdims=True)

    @trap("Dividing the logits is a temperature: it flattens the distribution. A shift changes nothing; a scale does.")
    def scaled(z):
        e = np.exp(z / np.abs(z).max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    @trap(
        "An epsilon in the denominator makes the rows sum to less than 1. After the shift the sum is at least 1: nothing can be divided by 0."
    )
    def epsilon(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / (e.sum(axis=1, keepdims=True) + 1e-8)

    @trap("A sigmoid per class gives independent probabilities that do not sum to 1. For classes that exclude each other you need softmax.")
    def independent_sigmoids(z):
        return _sigmoid(z)

    @trap("This is the log of the softmax. Probabilities were asked for.")
    def log_softmax(z):
        return _log_softmax(z)

    @trap("Plain shares z/Σz are no softmax: the exponential makes every entry positive.")
    def without_exp(z):
        s = z - z.max(axis=1, keepdims=True)
        with np.errstate(all="ignore"):
            return s / s.sum(axis=1, keepdims=True)

    @trap("exp(1000) overflows: subtract the maximum of each row first. The result is exactly the same.")
    def no_shift_in_a_loop(z):
        return np.array([[math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in z])

    @trap("Without keepdims the row maxima line up with the columns: shape (B,) against (B, K). Use keepdims=True for the maximum as well.")
    def maximum_without_keepdims(z):
        e = np.exp(z - z.max(axis=1))
        return e / e.sum(axis=1, keepdims=True)

    @trap("Without keepdims the sums line up with the columns, which a square batch hides: use keepdims=True.")
    def neither_with_keepdims(z):
        e = np.exp(z - z.max(axis=1))
        return e / e.sum(axis=1)

    @trap("Each row is a distribution of its own: sum per row. With one sum for the whole batch, only all entries together sum to 1.")
    def own_maximum_one_sum(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum()

    @trap("Dividing the logits is a temperature: it flattens the distribution. A shift changes nothing; a scale does.")
    def divided_by_the_maximum(z):
        e = np.exp(z / (np.abs(z).max() + 1e-12))
        return e / e.sum(axis=1, keepdims=True)

    @trap("The largest absolute value is not the maximum: a row of large negative logits is pushed down further and underflows to 0/0.")
    def largest_absolute_value(z):
        e = np.exp(z - np.abs(z).max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    @trap("−= writes into the caller's logits. Make a new array: z − max.")
    def shifts_in_place(z):
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        return e / e.sum(axis=1, keepdims=True)

    @trap("This is the decision (1 at the largest logit, 0 elsewhere), not a distribution.")
    def decision(z):
        return np.eye(z.shape[1])[z.argmax(axis=1)]

    @trap(
        "An epsilon in the denominator changes every value: the rows no longer sum to 1. After the shift the sum is at least 1, so nothing needs protection."
    )
    def epsilon_in_the_sum(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / (e.sum(axis=1, keepdims=True) + 1e-9)

    @trap("inf/inf is nan, and nan_to_num puts some number there: finite and wrong. Shift by the row maximum, and nothing overflows.")
    def nan_replaced(z):
        with np.errstate(all="ignore"):
            return np.nan_to_num(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))

    @trap("inf/inf is nan, and nan_to_num puts some number there: finite and wrong. Shift by the row maximum, and nothing overflows.")
    def nan_replaced_by_one(z):
        with np.errstate(all="ignore"):
            return np.nan_to_num(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), nan=1.0)

    @trap("A sigmoid of each score, rescaled to sum 1, is no softmax: softmax needs e^z, not σ(z).")
    def rescaled_sigmoids(z):
        e = _sigmoid(z)
        return e / e.sum(axis=1, keepdims=True)

    @trap("float32 carries about 7 digits. The task asks for 12: keep the float64 of the input.")
    def in_single_precision(z):
        e = np.exp((z - z.max(axis=1, keepdims=True)).astype(np.float32))
        return e / e.sum(axis=1, keepdims=True)

    @right("row by row")
    def row_by_row(z):
        out = np.zeros(z.shape)
        for i, row in enumerate(z):
            e = [math.exp(v - max(row)) for v in row]
            out[i] = [v / sum(e) for v in e]
        return out

    @right("through the log")
    def through_log_sum_exp(z):
        return np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None])


# ------------------------------------------------------------------------------------------------------- binary cross-entropy


def _bce(z, y, pos_weight=1.0):
    return float((pos_weight * y * _softplus(-z) + (1 - y) * _softplus(z)).mean())


_WEIGHTS = st.sampled_from([0.2, 2.0, 5.0])
_SOFT = np.array([1.0, 0.0, 0.3, 1.0, 0.0])


def _bce_call(shapes, span, **more):
    return st.sampled_from(shapes).flatmap(lambda shape: call(arrays(shape, -span, span), arrays(shape, 0, 1), **more))


@exercise(
    "losses.bce-with-logits",
    names="bce_with_logits",
    covers=["losses.bce", "losses.probe-logits", "losses.q.raw-logits", "losses.class-weighted-ce"],
    forbid=["torch", "scipy"],
)
class BceWithLogits:
    def reference(z, y, pos_weight=1.0):
        return float(F.binary_cross_entropy_with_logits(_t(z), _t(y), pos_weight=_t(pos_weight)))

    cases = {
        "values": [
            _bce_call([(5,), (2, 3), (3, 3)], 6),
            call(np.array([0.5, -1.0, 2.0, -3.0, 1.5]), _SOFT),
            call(np.array([[1.2, -0.4, 0.3]]), np.array([[1.0, 0.0, 1.0]])),
            call(np.array([-2.0]), np.array([1.0])),
            call(np.array(0.7), np.array(0.2)),
            call(normal((2, 2, 3), 3.0, 77), _sigmoid(normal((2, 2, 3), 2.0, 78))),
        ],
        "pos_weight": [
            _bce_call([(5,), (2, 3)], 6, pos_weight=_WEIGHTS),
            call(np.array([0.5, -1.0, 2.0, -3.0, 1.5]), _SOFT, pos_weight=5.0),
            call(np.array([0.5, -1.0, 2.0, -3.0, 1.5]), _SOFT, 0.2),
            call(np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([[0.0, 0.0], [0.0, 1.0]]), pos_weight=3.0),
        ],
        "stability": [
            call(np.array([-50.0, 50.0, 1.0]), np.array([1.0, 0.0, 1.0])),
            call(np.array([-1e4, 0.5]), np.array([1.0, 0.0])),
            call(np.array([1e4, 0.5]), np.array([0.0, 1.0])),
            call(np.array([1e4, -1e4, 3.0]), np.array([1.0, 0.0, 0.5])),
            call(np.array([800.0, -800.0]), np.array([0.25, 0.5]), pos_weight=5.0),
            call(np.array([-45.0, -20.0]), np.array([0.0, 0.0])),
            _bce_call([(4,)], 1e4, pos_weight=_WEIGHTS),
        ],
    }

    @trap("log(sigmoid(z)) underflows to log 0 for large |z|. Write −ln σ(z) as softplus(−z) = max(−z, 0) + log1p(exp(−|z|)).")
    def sigmoid_then_log(z, y, pos_weight=1.0):
        p = _sigmoid(z)
        return float(-(pos_weight * y * np.log(p) + (1 - y) * np.log(1 - p)).mean())

    @trap("exp(−z) overflows, and after it log(0) waits. Work on the logits: softplus(u) = max(u, 0) + log1p(exp(−|u|)).")
    def naive_sigmoid(z, y, pos_weight=1.0):
        p = 1 / (1 + np.exp(-z))
        return float(-(pos_weight * y * np.log(p) + (1 - y) * np.log(1 - p)).mean())

    @trap("ln(1 + e^z) overflows for large z: exp comes first. Take max(z, 0) out: max(z, 0) + log1p(exp(−|z|)).")
    def naive_softplus(z, y, pos_weight=1.0):
        return float((pos_weight * y * np.log(1 + np.exp(-z)) + (1 - y) * np.log(1 + np.exp(z))).mean())

    @trap(
        "Clipping p hides the overflow by changing the loss: a mistake at z = −50 should cost 50, not 16.1, and clipped examples have no gradient."
    )
    def probabilities_clipped(z, y, pos_weight=1.0):
        p = np.clip(_sigmoid(z), 1e-7, 1 - 1e-7)
        return float(-(pos_weight * y * np.log(p) + (1 - y) * np.log(1 - p)).mean())

    @trap("An epsilon inside the log caps the loss and shifts every value. From the logits no epsilon is needed.")
    def epsilon(z, y, pos_weight=1.0):
        p = _sigmoid(z)
        return float(-(pos_weight * y * np.log(p + 1e-8) + (1 - y) * np.log(1 - p + 1e-8)).mean())

    @trap("Clipping the logits makes the loss finite and wrong: at z = −10⁴ and y = 1 it is 10⁴. The softplus form needs no clipping.")
    def logits_clipped(z, y, pos_weight=1.0):
        return _bce(np.clip(z, -30, 30), y, pos_weight)

    @trap("pos_weight scales the positive term y·[−ln p] alone; negatives keep weight 1. You multiplied the whole loss.")
    def everything_weighted(z, y, pos_weight=1.0):
        return pos_weight * _bce(z, y)

    @trap("pos_weight belongs to the positive term, y·softplus(−z). You put it on the negatives.")
    def negatives_weighted(z, y, pos_weight=1.0):
        return float((y * _softplus(-z) + pos_weight * (1 - y) * _softplus(z)).mean())

    @trap("BCEWithLogitsLoss takes the plain mean over the elements. Dividing by the sum of the weights is what CrossEntropyLoss does.")
    def divided_by_weights(z, y, pos_weight=1.0):
        w = pos_weight * y + (1 - y)
        return float((pos_weight * y * _softplus(-z) + (1 - y) * _softplus(z)).sum() / w.sum())

    @trap("pos_weight is not used at all.")
    def weight_ignored(z, y, pos_weight=1.0):
        return _bce(z, y)

    @trap("Targets may lie between 0 and 1, and then both terms count. You chose one term by rounding y.")
    def hard_targets_only(z, y, pos_weight=1.0):
        return float(np.where(y > 0.5, pos_weight * _softplus(-z), _softplus(z)).mean())

    @trap("The second term is missing: for y = 0 the loss is −ln(1 − p), not 0.")
    def positive_term_only(z, y, pos_weight=1.0):
        return float((pos_weight * y * _softplus(-z)).mean())

    @trap("Softplus with the signs swapped: the positive term is softplus(−z), large when the logit is very negative.")
    def signs_swapped(z, y, pos_weight=1.0):
        return float((pos_weight * y * _softplus(z) + (1 - y) * _softplus(-z)).mean())

    @trap("The task asks for the mean over all elements; you return the sum.")
    def summed(z, y, pos_weight=1.0):
        return _bce(z, y, pos_weight) * z.size

    @trap("The logits went through a sigmoid twice: z is the logit, and softplus already contains the sigmoid.")
    def sigmoid_twice(z, y, pos_weight=1.0):
        return _bce(_sigmoid(z), y, pos_weight)

    @trap("Each element has its own y and z. A mean over the rows first, or over axis 0 only, is no single number.")
    def one_value_each(z, y, pos_weight=1.0):
        return pos_weight * y * _softplus(-z) + (1 - y) * _softplus(z)

    @trap("Targets may lie between 0 and 1, and then both terms count. You chose one term by rounding y.")
    def only_ones_are_positive(z, y, pos_weight=1.0):
        return float(np.where(y == 1, pos_weight * _softplus(-z), _softplus(z)).mean())

    @trap(
        "With a soft target both terms of an element count, and pos_weight scales only the first. You multiplied the element's whole loss."
    )
    def element_weighted(z, y, pos_weight=1.0):
        return float(((1 + (pos_weight - 1) * y) * (y * _softplus(-z) + (1 - y) * _softplus(z))).mean())

    @trap("The mean runs over ALL elements: divide by z.size, not by the number of rows.")
    def divided_by_rows(z, y, pos_weight=1.0):
        return _bce(z, y, pos_weight) * z.size / (len(z) if z.ndim else 1)

    @trap(
        "Clipping p hides the overflow by changing the loss: a mistake at z = −50 should cost 50, not 16.1, and clipped examples have no gradient."
    )
    def probabilities_clipped_late(z, y, pos_weight=1.0):
        p = np.clip(_sigmoid(z), 1e-15, 1 - 1e-15)
        return float(-(pos_weight * y * np.log(p) + (1 - y) * np.log(1 - p)).mean())

    @trap(
        "nan_to_num replaces the infinity by some number: the loss of the worst examples is then arbitrary. Avoid the infinity instead, with softplus."
    )
    def infinities_replaced(z, y, pos_weight=1.0):
        with np.errstate(all="ignore"):
            p = 1 / (1 + np.exp(-z))
            return float(np.nan_to_num(-(pos_weight * y * np.log(p) + (1 - y) * np.log(1 - p))).mean())

    @trap("The sign: log-probabilities are negative, and the loss is their negative.")
    def negative(z, y, pos_weight=1.0):
        return -_bce(z, y, pos_weight)

    @trap("ln(1 + e^z) overflows for large z: exp comes first. Take max(z, 0) out: max(z, 0) + log1p(exp(−|z|)).")
    def naive_in_a_loop(z, y, pos_weight=1.0):
        terms = [pos_weight * t * math.log(1 + math.exp(-u)) + (1 - t) * math.log(1 + math.exp(u)) for u, t in zip(z.ravel(), y.ravel())]
        return sum(terms) / len(terms)

    @trap("An epsilon inside the log caps the loss and shifts every value. From the logits no epsilon is needed.")
    def tiny_epsilon(z, y, pos_weight=1.0):
        p = _sigmoid(z)
        return float(-(pos_weight * y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12)).mean())

    @trap(
        "np.where computes both branches and chooses afterwards, so exp overflows in the one that you drop. Only exp(−|z|) is safe for all z."
    )
    def both_branches_computed(z, y, pos_weight=1.0):
        def softplus(u):
            return np.where(u > 30, u, np.log(1 + np.exp(u)))

        return float((pos_weight * y * softplus(-z) + (1 - y) * softplus(z)).mean())

    @trap(
        "pos_weight multiplies y·softplus(−z) of every element. A target of 0.3 has a positive term too; you weight those with y = 1 only."
    )
    def weight_on_ones_only(z, y, pos_weight=1.0):
        return float((np.where(y == 1, pos_weight, 1.0) * y * _softplus(-z) + (1 - y) * _softplus(z)).mean())

    @right("logaddexp")
    def with_logaddexp(z, y, pos_weight=1.0):
        return np.mean(pos_weight * y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z))

    @right("torch's formula: (1−y)z + (1+(w−1)y)·softplus(−z)")
    def as_torch_writes_it(z, y, pos_weight=1.0):
        return float(((1 - y) * z + (1 + (pos_weight - 1) * y) * _softplus(-z)).mean())

    @right("loop")
    def loop(z, y, pos_weight=1.0):
        def softplus(u):
            return u + math.log1p(math.exp(-u)) if u > 0 else math.log1p(math.exp(u))

        total = 0.0
        for u, t in zip(z.ravel(), y.ravel()):
            total += pos_weight * t * softplus(-u) + (1 - t) * softplus(u)
        return total / z.size


# ------------------------------------------------------------------------------------------- cross-entropy and its gradient


def _labelled(span, sizes):
    """Calls (logits, labels) with sizes (N, C)."""
    return st.sampled_from(sizes).flatmap(lambda s: call(arrays(s, -span, span), arrays((s[0],), 0, s[1] - 1, dtype=np.int64)))


_SIZES = [(5, 3), (3, 5), (1, 2), (4, 4), (2, 2)]
_FAR = np.array([[1000.0, 0.0, -1000.0], [-1000.0, -1001.0, -1002.0], [0.0, 0.0, 1000.0]])
_FAR_Y = np.array([2, 0, 0])


def _one_hot(y, k):
    return np.eye(k)[y]


def _ce_grad(z, y):
    return (_softmax(z) - _one_hot(y, z.shape[1])) / len(y)


def _ce(z, y):
    return float(-_picked(_log_softmax(z), y).mean())


def _ce_loss_part(submission, z, y):
    return submission.ce_loss_grad(z, y)[0]


def _ce_grad_part(submission, z, y):
    return submission.ce_loss_grad(z, y)[1]


@exercise("bank.softmax-ce", names="ce_loss_grad", covers=["bank.tq06", "losses.cce", "losses.ce-gradient"], forbid=["torch", "scipy"])
class SoftmaxCe:
    def reference(z, y):
        z = _t(z).clone().requires_grad_(True)
        loss = F.cross_entropy(z, _long(y))
        (grad,) = torch.autograd.grad(loss, z)
        return float(loss), grad

    _moderate = [
        _labelled(5, _SIZES),
        call(_SQUARE, np.array([1, 0, 2])),
        call(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 0])),
        call(np.array([[0.5, -1.0, 3.0]]), np.array([1])),
    ]
    cases = {
        "loss": group(_moderate, probe=_ce_loss_part, n=10),
        "gradient": group(_moderate, probe=_ce_grad_part, n=10),
        "stability": [
            call(np.array([[0.0, 2000.0], [1.0, 2.0]]), np.array([0, 1])),
            call(np.array([[2000.0, 1999.0], [-2000.0, -1998.0]]), np.array([1, 0])),
            call(np.array([[-2000.0, -2001.0, -1999.5]]), np.array([1])),
            call(_FAR, _FAR_Y),
            call(np.array([[0.0, 40.0], [60.0, 0.0]]), np.array([0, 1])),
            _labelled(1e4, [(3, 2), (2, 4)]),
        ],
    }

    @trap("A probability can underflow to 0, and its log is −inf. Compute the log-probability itself: z − max − ln Σ exp(z − max).")
    def log_of_softmax(z, y):
        p = _softmax(z)
        return float(-np.log(_picked(p, y)).mean()), _ce_grad(z, y)

    @trap(
        "An epsilon in the log, or clipped probabilities, cap the loss (1e−7: at 16.1) just where it should grow. Use log-sum-exp: it needs neither."
    )
    def epsilon_in_the_log(z, y):
        p = _softmax(z)
        return float(-np.log(_picked(p, y) + 1e-7).mean()), _ce_grad(z, y)

    @trap("Clipping the probabilities, or adding an epsilon to them, caps the loss. The log-sum-exp form is finite for every finite logit.")
    def probabilities_clipped(z, y):
        p = np.clip(_softmax(z), 1e-12, 1)
        return float(-np.log(_picked(p, y)).mean()), _ce_grad(z, y)

    @trap("The gradient is p − y; yours is y − p and climbs. At the true class it must be negative, so that descent raises that logit.")
    def sign_flipped(z, y):
        return _ce(z, y), -_ce_grad(z, y)

    @trap("Subtract 1 at the true class: the gradient is p − one-hot, and its rows sum to 0. Yours is p alone.")
    def one_hot_missing(z, y):
        return _ce(z, y), _softmax(z) / len(y)

    @trap("p − y is the gradient for one example. The loss is the mean, so divide by the batch size.")
    def not_divided(z, y):
        return _ce(z, y), _ce_grad(z, y) * len(y)

    @trap("The mean runs over the B examples. Divide the gradient by B, not by the number of entries B·K.")
    def divided_by_entries(z, y):
        return _ce(z, y), _ce_grad(z, y) / z.shape[1]

    @trap("The loss is a mean over the examples; you return the sum.")
    def summed(z, y):
        return _ce(z, y) * len(y), _ce_grad(z, y) * len(y)

    @trap("Your loss is a sum over the examples, your gradient that of the mean. Take the mean in both.")
    def loss_summed(z, y):
        return _ce(z, y) * len(y), _ce_grad(z, y)

    @trap("exp overflows for large logits: subtract the row maximum first. Loss and gradient stay the same.")
    def no_shift(z, y):
        e = np.exp(z)
        p = e / e.sum(axis=1, keepdims=True)
        return float(-np.log(_picked(p, y)).mean()), (p - _one_hot(y, z.shape[1])) / len(y)

    @trap("The maximum belongs to each row. With one maximum for the whole batch, rows far below underflow to log 0.")
    def one_maximum_for_all(z, y):
        s = z - z.max()
        log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
        return float(-_picked(log_p, y).mean()), (np.exp(log_p) - _one_hot(y, z.shape[1])) / len(y)

    @trap("Only the true class has a gradient in your version. Raising one probability lowers the others: they get p.")
    def true_class_only(z, y):
        return _ce(z, y), _ce_grad(z, y) * _one_hot(y, z.shape[1])

    @trap(
        "−1/p is the derivative with respect to the probability. With respect to the logits the chain through softmax turns it into p − y."
    )
    def with_respect_to_p(z, y):
        p = np.maximum(_softmax(z), 1e-300)
        return _ce(z, y), -_one_hot(y, z.shape[1]) / p / len(y)

    @trap("The factor p(1−p) belongs to squared error. In cross-entropy the 1/p of the log cancels it: the gradient is p − y, no more.")
    def extra_softmax_slope(z, y):
        p = _softmax(z)
        return _ce(z, y), _ce_grad(z, y) * p * (1 - p)

    @trap("The sign of the loss: log-probabilities are negative, the loss is their negative.")
    def loss_negative(z, y):
        return -_ce(z, y), _ce_grad(z, y)

    @trap("The loss looks at the true class only. You added terms −ln(1 − p) for the others: that is binary cross-entropy on each class.")
    def binary_on_each_class(z, y):
        h = _one_hot(y, z.shape[1])
        log_p = _log_softmax(z)
        rest = np.log(np.maximum(1 - np.exp(log_p), 1e-300))
        return float(-(h * log_p + (1 - h) * rest).sum(axis=1).mean()), _ce_grad(z, y)

    @trap("−= writes into the caller's z. Work on a new array: z − max.")
    def shifts_in_place(z, y):
        z -= z.max(axis=1, keepdims=True)
        return _ce(z, y), _ce_grad(z, y)

    @trap("log_p[:, y] takes, in every row, the classes of all examples. Pair rows and labels: log_p[np.arange(B), y].")
    def all_pairs(z, y):
        return float(-_log_softmax(z)[:, y].mean()), _ce_grad(z, y)

    @trap("Your loss is averaged over all B·K entries. One term for each example counts: divide by B.")
    def loss_over_entries(z, y):
        return _ce(z, y) / z.shape[1], _ce_grad(z, y)

    @trap("The mean runs over the B examples. Divide the gradient by B, not by the number of entries B·K.")
    def both_over_entries(z, y):
        return _ce(z, y) / z.shape[1], _ce_grad(z, y) / z.shape[1]

    @trap("Softmax runs along the classes, axis 1. Yours runs over the batch.")
    def over_the_batch(z, y):
        log_p = _log_softmax(z.T).T
        return float(-_picked(log_p, y).mean()), (np.exp(log_p) - _one_hot(y, z.shape[1])) / len(y)

    @trap("These are bits. The loss uses the natural logarithm.")
    def bits(z, y):
        return _ce(z, y) / math.log(2), _ce_grad(z, y)

    @trap("The gradient is made of probabilities, p − one-hot. You put the log-probabilities there.")
    def log_p_in_the_gradient(z, y):
        return _ce(z, y), (_log_softmax(z) - _one_hot(y, z.shape[1])) / len(y)

    @trap("exp overflows for large logits: subtract the row maximum first. Loss and gradient stay the same.")
    def no_shift_in_a_loop(z, y):
        p = np.array([[math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in z])
        return -sum(math.log(p[i, t]) for i, t in enumerate(y)) / len(y), (p - _one_hot(y, z.shape[1])) / len(y)

    @trap("exp overflows for large logits: subtract the row maximum first. Loss and gradient stay the same.")
    def no_shift_in_the_log(z, y):
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        return float(-_picked(log_p, y).mean()), (np.exp(log_p) - _one_hot(y, z.shape[1])) / len(y)

    @trap("grad[:, y] −= 1 subtracts in every row, at the labels of all examples. Pair rows and labels: grad[np.arange(B), y].")
    def one_hot_in_all_rows(z, y):
        grad = _softmax(z)
        grad[:, y] -= 1
        return _ce(z, y), grad / len(y)

    @trap("The shift by the row maximum cancels in the loss, so it cancels in the gradient: there is no term at the maximum.")
    def shift_differentiated(z, y):
        return _ce(z, y), _ce_grad(z, y) - _one_hot(z.argmax(axis=1), z.shape[1]) / len(y)

    @trap("The shift by the row maximum cancels in the loss, so it cancels in the gradient: there is no term at the maximum.")
    def outer_shift_differentiated(z, y):
        return _ce(z, y), _ce_grad(z, y) + _one_hot(z.argmax(axis=1), z.shape[1]) / len(y)

    @trap("Clipping the logits changes the loss: differences beyond the bound are lost. Shift, do not clip.")
    def logits_clipped(z, y):
        return _ce(np.clip(z, -500, 500), y), _ce_grad(np.clip(z, -500, 500), y)

    @right("loops")
    def loops(z, y):
        total, grad = 0.0, np.zeros(z.shape)
        for b in range(len(z)):
            m = max(z[b])
            lse = m + math.log(sum(math.exp(v - m) for v in z[b]))
            total += lse - z[b, y[b]]
            for k in range(z.shape[1]):
                grad[b, k] = (math.exp(z[b, k] - lse) - (k == y[b])) / len(z)
        return total / len(z), grad

    @right("logaddexp and a one-hot matrix")
    def with_logaddexp(z, y):
        lse = np.logaddexp.reduce(z, axis=1, keepdims=True)
        one_hot = np.equal.outer(y, np.arange(z.shape[1]))
        return ((lse - z)[one_hot]).mean(), (np.exp(z - lse) - one_hot) / z.shape[0]


# --------------------------------------------------------------------------------------- gradients with respect to the logits


def _only_ce(submission, logits, targets):
    return submission.ce_logit_grad(logits, targets)


def _only_mse(submission, z, y):
    return submission.mse_sigmoid_grad(z, y)


def _mse_grad(z, y):
    s = _sigmoid(z)
    e = np.exp(-np.abs(z))
    return 2 * (s - y) * e / (1 + e) ** 2


_Z = np.array([-1000.0, -50.0, -20.0, -5.0, -1.0, 0.0, 0.5, 4.0, 18.0, 1000.0])


def _gradients(ce=_ce_grad, mse=_mse_grad):
    return type("gradients", (), {"ce_logit_grad": staticmethod(ce), "mse_sigmoid_grad": staticmethod(mse)})


@exercise(
    "losses.logit-gradients",
    names="ce_logit_grad mse_sigmoid_grad",
    covers=["losses.ce-gradient", "losses.mse-saturates", "losses.q.ce-not-mse"],
    forbid=["torch", "scipy"],
    atol=1e-12,
)
class LogitGradients:
    class reference:
        def ce_logit_grad(logits, targets):
            z = _t(logits).clone().requires_grad_(True)
            return torch.autograd.grad(F.cross_entropy(z, _long(targets)), z)[0]

        def mse_sigmoid_grad(z, y):
            z = _t(z).clone().requires_grad_(True)
            return torch.autograd.grad(((torch.sigmoid(z) - _t(y)) ** 2).sum(), z)[0]

    cases = {
        "cross-entropy": group(
            [
                _labelled(5, _SIZES),
                call(_SQUARE, np.array([1, 0, 2])),
                call(np.array([[0.5, -1.0, 3.0]]), np.array([1])),
                call(normal((6, 2), 2.0, 3), np.array([0, 1, 1, 0, 1, 1])),
            ],
            probe=_only_ce,
            n=10,
        ),
        "squared error": group(
            [
                call(_Z[3:8], np.ones(5)),
                call(_Z[3:8], np.zeros(5)),
                call(np.array([[0.3, -2.0, 1.0]]), np.array([[0.2, 0.9, 0.5]])),
                call(normal((2, 2, 3), 3.0, 77), _sigmoid(normal((2, 2, 3), 2.0, 78))),
                call(np.array(0.4), np.array(1.0)),
            ],
            st.sampled_from([(6,), (2, 3), (3, 3)]).flatmap(lambda s: call(arrays(s, -6, 6), arrays(s, 0, 1))),
            probe=_only_mse,
            n=10,
        ),
        "large logits, CE": group(
            [
                call(_FAR, _FAR_Y),
                call(np.array([[1000.0, -1000.0], [-1000.0, -999.0]]), np.array([1, 0])),
                call(np.array([[0.0, 1000.0, 1000.0]]), np.array([2])),
            ],
            probe=_only_ce,
        ),
        "large logits, squared": group(
            [
                call(_Z, np.ones(10)),
                call(_Z, np.zeros(10)),
                call(np.array([-31.0, -40.0]), np.ones(2)),
                call(np.array([31.0, -35.0]), np.zeros(2)),
                call(np.array([-1000.0, 2.0]), np.array([0.5, 0.0])),
                call(np.array([1000.0, -2.0]), np.array([0.0, 1.0])),
            ],
            probe=_only_mse,
            atol=1e-15,
        ),
    }

    ce_not_divided = trap("p − y is per example. The mean over the batch brings 1/N, and yours is too large by N.")(
        _gradients(ce=lambda z, y: _ce_grad(z, y) * len(y))
    )
    ce_divided_by_entries = trap("The mean runs over the N examples: divide by N, not by N·C.")(
        _gradients(ce=lambda z, y: _ce_grad(z, y) / z.shape[1])
    )
    ce_divided_by_classes = trap("You divided by the number of classes. The mean runs over the N examples, the rows.")(
        _gradients(ce=lambda z, y: _ce_grad(z, y) * len(y) / z.shape[1])
    )
    ce_sign = trap("The sign is flipped: the gradient is p − y, negative at the true class, so that descent raises that logit.")(
        _gradients(ce=lambda z, y: -_ce_grad(z, y))
    )
    ce_without_one_hot = trap("Your gradient is p alone. Subtract 1 at the true class of each row.")(
        _gradients(ce=lambda z, y: _softmax(z) / len(y))
    )
    ce_true_class_only = trap("The other classes have a gradient too, namely p: rows sum to 0.")(
        _gradients(ce=lambda z, y: _ce_grad(z, y) * _one_hot(y, z.shape[1]))
    )
    ce_over_the_batch = trap("Softmax runs along the classes, axis 1. You normalised over the batch.")(
        _gradients(ce=lambda z, y: (_softmax(z.T).T - _one_hot(y, z.shape[1])) / len(y))
    )
    ce_with_sigmoids = trap("One label out of C needs softmax, which couples the classes. You took a sigmoid for each.")(
        _gradients(ce=lambda z, y: (_sigmoid(z) - _one_hot(y, z.shape[1])) / len(y))
    )

    @trap("exp overflows for logits of 1000. Subtract each row's maximum first.")
    class ce_no_shift:
        mse_sigmoid_grad = _mse_grad

        def ce_logit_grad(logits, targets):
            e = np.exp(logits)
            return (e / e.sum(axis=1, keepdims=True) - _one_hot(targets, logits.shape[1])) / len(targets)

    @trap("One maximum for all rows: those far below underflow to 0/0. Take it per row.")
    class ce_one_maximum:
        mse_sigmoid_grad = _mse_grad

        def ce_logit_grad(logits, targets):
            e = np.exp(logits - logits.max())
            return (e / e.sum(axis=1, keepdims=True) - _one_hot(targets, logits.shape[1])) / len(targets)

    mse_without_slope = trap(
        "Chain rule: the square is applied to σ(z), so multiply by σ'(z) = s(1−s). That vanishing factor is the whole point."
    )(_gradients(mse=lambda z, y: 2 * (_sigmoid(z) - y)))
    mse_is_the_ce_gradient = trap(
        "s − y is the gradient of the binary cross-entropy. The squared error has the factors 2 and s(1−s) as well."
    )(_gradients(mse=lambda z, y: _sigmoid(z) - y))
    mse_without_two = trap("The factor 2 is missing: d(u²) = 2u du.")(_gradients(mse=lambda z, y: _mse_grad(z, y) / 2))
    mse_sign = trap("The sign: d(s − y)² = 2(s − y)·ds. With y = 1 it is never positive.")(_gradients(mse=lambda z, y: -_mse_grad(z, y)))
    mse_averaged = trap("The squared-error gradient is asked element by element. No mean, so no division by the number of elements.")(
        _gradients(mse=lambda z, y: _mse_grad(z, y) / z.size)
    )
    mse_slope_of_z = trap("s(1−s) is written in the output s. You put z itself into it.")(
        _gradients(mse=lambda z, y: 2 * (_sigmoid(z) - y) * z * (1 - z))
    )
    mse_error_of_z = trap("The error is σ(z) − y, not z − y: the target is compared with the probability.")(
        _gradients(mse=lambda z, y: 2 * (z - y) * _sigmoid(z) * (1 - _sigmoid(z)))
    )

    @trap("1/(1 + exp(−z)) overflows at z = −1000. Use exp(−|z|), or branch on the sign of z.")
    class mse_overflows:
        ce_logit_grad = _ce_grad

        def mse_sigmoid_grad(z, y):
            s = 1 / (1 + np.exp(-z))
            return 2 * (s - y) * s * (1 - s)

    mse_sigmoid_of_the_size = trap("1/(1 + e^(−|z|)) is the sigmoid of |z|. Where z is negative, σ(z) is e^(−|z|)/(1 + e^(−|z|)).")(
        _gradients(mse=lambda z, y: _mse_grad(z, y) + 2 * (_sigmoid(np.abs(z)) - _sigmoid(z)) * _sigmoid(np.abs(z)) * _sigmoid(-np.abs(z)))
    )

    @trap("e^z/(1 + e^z) is inf/inf at z = 1000. Use exp(−|z|), or branch on the sign of z.")
    class mse_overflows_to_the_right:
        ce_logit_grad = _ce_grad

        def mse_sigmoid_grad(z, y):
            s = np.exp(z) / (1 + np.exp(z))
            return 2 * (s - y) * s * (1 - s)

    ce_one_hot_divided_only = trap("The mean divides the whole of p − one-hot by N; you divided only one of the two.")(
        _gradients(ce=lambda z, y: _softmax(z) - _one_hot(y, z.shape[1]) / len(y))
    )
    ce_p_divided_only = trap("The mean divides the whole of p − one-hot by N; you divided p only.")(
        _gradients(ce=lambda z, y: _softmax(z) / len(y) - _one_hot(y, z.shape[1]))
    )
    mse_slope_only = trap("σ'(z) is one factor. The error 2(σ − y) is missing.")(
        _gradients(mse=lambda z, y: _sigmoid(z) * (1 - _sigmoid(z)))
    )
    mse_half_a_slope = trap("σ' = s(1−s) has two factors; yours has one of them.")(
        _gradients(mse=lambda z, y: 2 * (_sigmoid(z) - y) * _sigmoid(z))
    )
    mse_other_half_a_slope = trap("σ' = s(1−s) has two factors; you left out s.")(
        _gradients(mse=lambda z, y: 2 * (_sigmoid(z) - y) * (1 - _sigmoid(z)))
    )
    mse_summed = trap("One derivative for each element was asked for, not their sum or mean.")(
        _gradients(mse=lambda z, y: _mse_grad(z, y).sum())
    )
    both_not_finished = trap(
        "Neither is finished: the mean over the batch divides the first by N, and the second needs the factor σ'(z) = s(1−s)."
    )(_gradients(lambda z, y: _ce_grad(z, y) * len(y), lambda z, y: 2 * (_sigmoid(z) - y)))

    ce_one_hot_in_all_rows = trap(
        "p[:, targets] −= 1 subtracts in every row, at the labels of all examples. Pair rows and labels: p[np.arange(N), targets]."
    )(_gradients(ce=lambda z, y: (_softmax(z) - np.bincount(y, minlength=z.shape[1]).clip(0, 1)) / len(y)))
    ce_with_slope = trap("The factor p(1−p) belongs to squared error. In cross-entropy the 1/p of the log cancels it: p − y is all.")(
        _gradients(ce=lambda z, y: _ce_grad(z, y) * _softmax(z) * (1 - _softmax(z)))
    )
    mse_clipped = trap(
        "Clipping z changes the derivative: beyond the bound it no longer shrinks. Write the sigmoid with exp(−|z|), and nothing overflows."
    )(_gradients(mse=lambda z, y: _mse_grad(np.clip(z, -30, 30), y)))
    mse_clipped_early = trap(
        "Clipping z changes the derivative: beyond the bound it no longer shrinks. Write the sigmoid with exp(−|z|), and nothing overflows."
    )(_gradients(mse=lambda z, y: _mse_grad(np.clip(z, -15, 15), y)))

    @right("tanh and the log")
    class tanh_and_log:
        def ce_logit_grad(logits, targets):
            out = np.exp(_log_softmax(logits))
            for i, t in enumerate(targets):
                out[i, t] -= 1.0
            return out / logits.shape[0]

        def mse_sigmoid_grad(z, y):
            s = 0.5 * (1 + np.tanh(z / 2))
            return 2 * (s - y) * s * (1 - s)

    @right("loops")
    class loops:
        def ce_logit_grad(logits, targets):
            n, c = logits.shape
            grad = np.zeros((n, c))
            for i in range(n):
                e = [math.exp(v - max(logits[i])) for v in logits[i]]
                for k in range(c):
                    grad[i, k] = (e[k] / sum(e) - (1 if targets[i] == k else 0)) / n
            return grad

        def mse_sigmoid_grad(z, y):
            def one(v, t):
                s = 1 / (1 + math.exp(-v)) if v > -700 else 0.0
                return 2 * (s - t) * s * (1 - s)

            return np.array([one(v, t) for v, t in zip(z.ravel(), y.ravel())]).reshape(z.shape)


# ---------------------------------------------------------------------------------------------------------- label smoothing


def _labels_for(sizes, eps):
    return st.sampled_from(sizes).flatmap(lambda s: call(arrays((s[0],), 0, s[1] - 1, dtype=np.int64), st.just(s[1]), eps=eps))


@exercise(
    "losses.smooth-targets",
    names="smooth_targets",
    covers=["losses.label-smoothing", "losses.q.label-smoothing"],
    forbid=["torch", "scipy"],
    rtol=1e-10,
    atol=1e-12,
)
class SmoothTargets:
    def reference(labels, n_classes, eps=0.1):
        one_hot = F.one_hot(_long(labels), n_classes).double()
        return one_hot + eps * (1 / n_classes - one_hot)

    cases = {
        "values": [
            _labels_for([(4, 3), (3, 10), (3, 3), (1, 4)], st.sampled_from([0.1, 0.3, 0.5])),
            call(np.array([2, 0, 1]), 3),
            call(np.array([0, 1, 1]), 2),
            call(np.array([3, 3, 0]), 7, 0.25),
            call(np.array([1, 0]), 5, eps=0.2),
        ],
        "extremes": [
            call(np.array([1, 0, 2, 2]), 4, eps=0.0),
            call(np.array([1, 0]), 5, eps=1.0),
            call(np.array([0, 1, 1]), 2, eps=1.0),
            call(np.array([2]), 3, eps=0.9),
        ],
    }

    def _mixed(true, other):
        def smooth_targets(labels, n_classes, eps=0.1):
            out = np.full((len(labels), n_classes), float(other(eps, n_classes)))
            out[np.arange(len(labels)), labels] = true(eps, n_classes)
            return out

        return smooth_targets

    over_the_others = trap(
        "A valid convention, but not torch's: there ε is mixed with the uniform distribution over all K classes. Yours is torch's with ε·K/(K−1)."
    )(_mixed(lambda e, k: 1 - e, lambda e, k: e / (k - 1)))
    true_class_without_share = trap(
        "Your rows sum to 1 − ε/K: no distribution. The true class also receives its uniform share, 1 − ε + ε/K."
    )(_mixed(lambda e, k: 1 - e, lambda e, k: e / k))
    true_class_stays_at_one = trap("Your rows sum to more than 1. Mass that the others get has to be taken from the true class.")(
        _mixed(lambda e, k: 1.0, lambda e, k: e / k)
    )
    true_class_stays_over_others = trap(
        "The true class keeps 1 while the others get ε/(K−1): the rows sum to 1 + ε. Take ε from the true class first."
    )(_mixed(lambda e, k: 1.0, lambda e, k: e / (k - 1)))
    true_class_above_one = trap("The uniform share was added without scaling the one-hot vector by 1 − ε: the rows sum to 1 + ε.")(
        _mixed(lambda e, k: 1 + e / k, lambda e, k: e / k)
    )
    eps_not_shared = trap("ε is the mass that is spread over all K classes. You gave ε to each class: divide it by K.")(
        _mixed(lambda e, k: 1 - e, lambda e, k: e)
    )
    eps_to_each = trap("ε is spread over all classes, ε/K for each. You added the whole ε to each class.")(
        _mixed(lambda e, k: 1 - e + e, lambda e, k: e)
    )
    minus_for_plus = trap("The true class loses ε and gets its share ε/K back: 1 − ε + ε/K. You subtract the share.")(
        _mixed(lambda e, k: 1 - e - e / k, lambda e, k: e / k)
    )
    mixed_with_one_over_others = trap("You mixed with 1/(K−1) instead of the uniform 1/K: the rows do not sum to 1.")(
        _mixed(lambda e, k: 1 - e + e / (k - 1), lambda e, k: e / (k - 1))
    )
    roles_of_eps_swapped = trap("The weights are swapped: one-hot gets 1 − ε, the uniform distribution ε.")(
        _mixed(lambda e, k: e + (1 - e) / k, lambda e, k: (1 - e) / k)
    )
    not_smoothed = trap("This is the one-hot matrix: eps has no effect.")(_mixed(lambda e, k: 1.0, lambda e, k: 0.0))
    eps_fixed = trap("You use 0.1 whatever eps is.")(_mixed(lambda e, k: 1 - 0.1 + 0.1 / k, lambda e, k: 0.1 / k))

    @trap("An integer array cannot hold 0.93: everything is truncated to 0 or 1. Create it with a float dtype.")
    def integer_array(labels, n_classes, eps=0.1):
        out = np.zeros((len(labels), n_classes), dtype=int)
        out[:] = eps / n_classes
        out[np.arange(len(labels)), labels] = 1 - eps + eps / n_classes
        return out

    @trap("The number of classes is n_classes, not the number of rows. A square example would hide it.")
    def divided_by_rows(labels, n_classes, eps=0.1):
        return (1 - eps) * np.eye(n_classes)[labels] + eps / len(labels)

    @trap("The number of columns is n_classes. Labels that do not occur in this batch need their column as well.")
    def columns_from_the_labels(labels, n_classes, eps=0.1):
        k = int(labels.max()) + 1
        return (1 - eps) * np.eye(k)[labels] + eps / k

    @trap("Rows are examples and columns are classes; yours is transposed.")
    def transposed(labels, n_classes, eps=0.1):
        return ((1 - eps) * np.eye(n_classes)[labels] + eps / n_classes).T

    del _mixed

    @trap("The number of columns is n_classes. Labels that do not occur in this batch need their column as well.")
    def columns_from_the_labels_only(labels, n_classes, eps=0.1):
        return (1 - eps) * np.eye(int(labels.max()) + 1)[labels] + eps / n_classes

    @trap("t[:, labels] writes into all rows at once. Pair rows and labels: t[np.arange(N), labels].")
    def all_rows_written(labels, n_classes, eps=0.1):
        out = np.full((len(labels), n_classes), eps / n_classes)
        out[:, labels] = 1 - eps + eps / n_classes
        return out

    @trap("Dividing the rows by their sums afterwards gives another ε than the one asked for. Mix with weights 1 − ε and ε.")
    def eps_added_then_renormalised(labels, n_classes, eps=0.1):
        out = np.eye(n_classes)[labels] + eps
        return out / out.sum(axis=1, keepdims=True)

    @trap("Dividing the rows by their sums afterwards gives another ε than the one asked for. Mix with weights 1 − ε and ε.")
    def renormalised(labels, n_classes, eps=0.1):
        out = np.eye(n_classes)[labels] + eps / n_classes
        return out / out.sum(axis=1, keepdims=True)

    @trap("The one-hot vector is scaled, but the uniform share ε/K is missing: the rows sum to 1 − ε.")
    def share_missing(labels, n_classes, eps=0.1):
        return (1 - eps) * np.eye(n_classes)[labels]

    @trap("The task asks for float64. Yours were rounded to float32 on the way, or are float32.")
    def in_single_precision(labels, n_classes, eps=0.1):
        return ((1 - eps) * np.eye(n_classes)[labels] + eps / n_classes).astype(np.float32)

    @right("loops")
    def loops(labels, n_classes, eps=0.1):
        rows = []
        for label in labels:
            row = [eps / n_classes] * n_classes
            row[int(label)] += 1 - eps
            rows.append(row)
        return np.array(rows)

    @right("fill, then overwrite")
    def fill_then_overwrite(labels, n_classes, eps=0.1):
        out = np.full((labels.size, n_classes), eps / n_classes)
        np.put_along_axis(out, labels[:, None], 1 - eps * (n_classes - 1) / n_classes, axis=1)
        return out


# --------------------------------------------------------------------------------------------------------------- focal loss


def _focal(z, y, gamma=2.0, alpha=0.25):
    u = np.where(y == 1, z, -z)
    loss = np.exp(-gamma * _softplus(u)) * _softplus(-u)
    return loss if alpha is None else np.where(y == 1, alpha, 1 - alpha) * loss


def _focal_call(shapes, span, **more):
    return st.sampled_from(shapes).flatmap(
        lambda s: call(arrays(s, -span, span), arrays(s, 0, 1, dtype=np.int64).map(lambda a: a.astype(float)), **more)
    )


_GAMMAS = st.sampled_from([0.0, 0.5, 2.0, 5.0])
_FZ, _FY = np.array([2.0, 2.0, -1.5, -1.5, 0.0, 4.0, -3.0]), np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0])


@exercise(
    "losses.sigmoid-focal",
    names="sigmoid_focal_loss",
    covers=["losses.focal", "losses.focal-use", "losses.q.focal-knobs"],
    forbid=["torch", "scipy"],
    atol=1e-12,
)
class SigmoidFocal:
    def reference(z, y, gamma=2.0, alpha=0.25):
        z, y = _t(z), _t(y)
        u = torch.where(y == 1, z, -z)
        loss = torch.sigmoid(-u) ** gamma * torch.logaddexp(torch.zeros_like(u), -u)
        return loss if alpha is None else loss * torch.where(y == 1, alpha, 1 - alpha)

    cases = {
        "values": [
            call(_FZ, _FY),
            _focal_call([(6,), (2, 3), (3, 3)], 5),
            call(np.array(0.7), np.array(1.0)),
            call(np.array([[-0.4]]), np.array([[0.0]])),
            call(normal((2, 2, 3), 3.0, 77), (normal((2, 2, 3), 1.0, 78) > 0).astype(float)),
        ],
        "gamma": [
            call(_FZ, _FY, gamma=0.0, alpha=None),
            call(_FZ, _FY, 5.0, None),
            call(_FZ, _FY, gamma=0.5, alpha=None),
            _focal_call([(6,), (2, 3)], 5, gamma=_GAMMAS, alpha=st.none()),
        ],
        "alpha": [
            call(_FZ, _FY, gamma=0.0, alpha=0.75),
            call(_FZ, _FY, gamma=1.5, alpha=0.9),
            call(_FZ, _FY, 0.0),
            call(_FZ, _FY, alpha=0.0),
            call(_FZ, _FY, 0.5, alpha=1.0),
            _focal_call([(6,), (2, 3)], 5, gamma=_GAMMAS, alpha=st.sampled_from([0.1, 0.25, 0.75])),
        ],
        "stability": [
            call(np.array([1000.0, -2.0]), np.array([1.0, 1.0])),
            call(np.array([-1000.0, -2.0]), np.array([1.0, 0.0])),
            call(np.array([1000.0, 3.0]), np.array([0.0, 0.0]), 0.5, None),
            call(np.array([-1000.0, 3.0]), np.array([0.0, 1.0]), gamma=5.0, alpha=0.75),
            call(np.array([50.0, -50.0, 40.0]), np.array([0.0, 1.0, 0.0]), gamma=0.0),
            _focal_call([(4,)], 1000, gamma=_GAMMAS),
        ],
    }

    @trap("The factor needs p_t, the probability of the actual class: p for positives, 1 − p for negatives. You use (1 − p)^γ for both.")
    def same_factor_for_negatives(z, y, gamma=2.0, alpha=0.25):
        a = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
        return a * np.exp(-gamma * _softplus(z)) * np.where(y == 1, _softplus(-z), _softplus(z))

    @trap("Easy means p_t near 1, so the factor must go to 0 there: (1 − p_t)^γ. With p_t^γ the hard examples are switched off.")
    def factor_of_p(z, y, gamma=2.0, alpha=0.25):
        a = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
        u = np.where(y == 1, z, -z)
        return a * np.exp(-gamma * _softplus(-u)) * _softplus(-u)

    @trap("α_t is α for positives and 1 − α for negatives. The same α for both is only a global factor.")
    def alpha_for_both(z, y, gamma=2.0, alpha=0.25):
        return (1.0 if alpha is None else alpha) * _focal(z, y, gamma, None)

    @trap("α is the weight of the positive class, 1 − α that of the negatives: you have them swapped.")
    def alpha_swapped(z, y, gamma=2.0, alpha=0.25):
        return _focal(z, y, gamma, None if alpha is None else 1 - alpha)

    @trap("The negatives get 1 − α; you leave them at 1.")
    def alpha_for_positives_only(z, y, gamma=2.0, alpha=0.25):
        return (1.0 if alpha is None else np.where(y == 1, alpha, 1.0)) * _focal(z, y, gamma, None)

    @trap("alpha is not used: α_t multiplies each element, α for positives and 1 − α for negatives.")
    def alpha_ignored(z, y, gamma=2.0, alpha=0.25):
        return _focal(z, y, gamma, None)

    @trap("gamma is an argument; you use 2 whatever it is.")
    def gamma_fixed(z, y, gamma=2.0, alpha=0.25):
        return _focal(z, y, 2.0, alpha)

    @trap("γ is an exponent, (1 − p_t)^γ. You multiply by it.")
    def gamma_multiplied(z, y, gamma=2.0, alpha=0.25):
        return _focal(z, y, 1.0, alpha) * gamma

    @trap("log(sigmoid(z)) hits log 0 at |z| = 1000. Use the stable form: −ln p_t = softplus(−u) with u the logit of the actual class.")
    def log_of_sigmoid(z, y, gamma=2.0, alpha=0.25):
        p = _sigmoid(z)
        pt = np.where(y == 1, p, 1 - p)
        a = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
        return -a * (1 - pt) ** gamma * np.log(pt)

    @trap("exp overflows at |z| = 1000, and after it log(0) waits. Build on softplus with exp(−|z|).")
    def naive_sigmoid(z, y, gamma=2.0, alpha=0.25):
        p = 1 / (1 + np.exp(-z))
        pt = np.where(y == 1, p, 1 - p)
        a = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
        return -a * (1 - pt) ** gamma * np.log(pt)

    @trap(
        "Clipping the probability, or an epsilon in the log, caps the loss: a mistake at z = −1000 must cost about 1000 times its weight."
    )
    def clipped(z, y, gamma=2.0, alpha=0.25):
        p = np.clip(_sigmoid(z), 1e-7, 1 - 1e-7)
        pt = np.where(y == 1, p, 1 - p)
        a = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
        return -a * (1 - pt) ** gamma * np.log(pt)

    @trap("One loss an element was asked for, without a mean or a sum.")
    def averaged(z, y, gamma=2.0, alpha=0.25):
        return _focal(z, y, gamma, alpha).mean()

    @trap("The sign: −ln p_t is positive, and so is the focal loss.")
    def sign_missing(z, y, gamma=2.0, alpha=0.25):
        return -_focal(z, y, gamma, alpha)

    @trap("Negatives have a loss as well: −(1 − α) p^γ ln(1 − p). Yours is 0 there.")
    def positives_only(z, y, gamma=2.0, alpha=0.25):
        return y * _focal(z, y, gamma, alpha)

    @trap("gamma = 0 gives (α-weighted) cross-entropy; you have only the factor, the −ln p_t is missing.")
    def factor_only(z, y, gamma=2.0, alpha=0.25):
        a = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
        return a * np.exp(-gamma * _softplus(np.where(y == 1, z, -z)))

    @trap("One loss an element was asked for, without a mean or a sum.")
    def summed(z, y, gamma=2.0, alpha=0.25):
        return _focal(z, y, gamma, alpha).sum()

    @trap(
        "Clipping the probability, or an epsilon in the log, caps the loss: a mistake at z = −1000 must cost about 1000 times its weight."
    )
    def log_with_epsilon(z, y, gamma=2.0, alpha=0.25):
        pt = _sigmoid(np.where(y == 1, z, -z))
        return _focal(z, y, gamma, alpha) / _softplus(-np.where(y == 1, z, -z)).clip(1e-300) * -np.log(pt + 1e-8)

    @trap(
        "Clipping the probability, or an epsilon in the log, caps the loss: a mistake at z = −1000 must cost about 1000 times its weight."
    )
    def p_t_clipped(z, y, gamma=2.0, alpha=0.25):
        pt = _sigmoid(np.where(y == 1, z, -z))
        a = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
        return -a * (1 - pt) ** gamma * np.log(np.clip(pt, 1e-12, 1))

    @trap("alpha=None switches the balancing off: factor 1 for both classes, no default and no ½.")
    def none_is_one_half(z, y, gamma=2.0, alpha=0.25):
        return _focal(z, y, gamma, 0.5 if alpha is None else alpha)

    @trap("alpha=None switches the balancing off. You fall back to 0.25 there.")
    def none_is_the_default(z, y, gamma=2.0, alpha=0.25):
        return _focal(z, y, gamma, 0.25 if alpha is None else alpha)

    @trap("(1 − p_t)^γ, not 1 − p_t^γ: the power applies to the bracket.")
    def power_inside(z, y, gamma=2.0, alpha=0.25):
        u = np.where(y == 1, z, -z)
        return _focal(z, y, 0.0, alpha) * (1 - _sigmoid(u) ** gamma)

    @trap("An alpha of 0 is a weight, not a missing one: `if alpha` takes it for None. Ask whether `alpha is None`.")
    def zero_taken_for_none(z, y, gamma=2.0, alpha=0.25):
        return _focal(z, y, gamma, alpha or None)

    @trap("The focal factor applies to both classes: an easy negative, p near 0, is turned down by p^γ. Your negatives have no factor.")
    def factor_for_positives_only(z, y, gamma=2.0, alpha=0.25):
        return np.where(y == 1, _focal(z, y, gamma, alpha), _focal(z, y, 0.0, alpha))

    @trap("gamma may be a fraction: 0.5 is a square root. You rounded it to an integer.")
    def whole_gamma_only(z, y, gamma=2.0, alpha=0.25):
        return _focal(z, y, int(gamma), alpha)

    @right("torchvision's form")
    def as_torchvision(z, y, gamma=2.0, alpha=0.25):
        p = _sigmoid(z)
        ce = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
        pt = p * y + (1 - p) * (1 - y)
        loss = ce * (1 - pt) ** gamma
        if alpha is not None:
            loss = (alpha * y + (1 - alpha) * (1 - y)) * loss
        return loss

    @right("one element at a time")
    def one_by_one(z, y, gamma=2.0, alpha=0.25):
        def softplus(v):
            return max(v, 0.0) + math.log1p(math.exp(-abs(v)))

        out = np.zeros(z.shape)
        for i in np.ndindex(z.shape):
            u = float(z[i]) if y[i] == 1 else -float(z[i])
            weight = 1.0 if alpha is None else (alpha if y[i] == 1 else 1 - alpha)
            out[i] = weight * math.exp(-gamma * softplus(u)) * softplus(-u)
        return out


# ---------------------------------------------------------------------------------------------------------------------- dice


def _dice(probs, masks, smooth=1.0):
    axes = (1, 2)
    return float((1 - (2 * (probs * masks).sum(axes) + smooth) / (probs.sum(axes) + masks.sum(axes) + smooth)).mean())


def _pixel_bce(logits, masks):
    return float((_softplus(logits) - masks * logits).mean())


def _dice_bce(logits, masks, smooth=1.0):
    return _pixel_bce(logits, masks) + _dice(_sigmoid(logits), masks, smooth)


def _only_dice(submission, probs, masks, smooth=1.0):
    return submission.soft_dice_loss(probs, masks, smooth)


def _dice_by_default(submission, probs, masks):
    return submission.soft_dice_loss(probs, masks)


def _only_sum(submission, logits, masks, smooth=1.0):
    return submission.dice_bce_loss(logits, masks, smooth=smooth)


def _sum_by_default(submission, logits, masks):
    return submission.dice_bce_loss(logits, masks)


def _masks(n, h, w, shares, seed):
    rng = np.random.default_rng(seed)
    return np.stack([(rng.random((h, w)) < share).astype(float) for share in shares[:n]])


_M = _masks(4, 4, 5, [0.1, 0.5, 0.9, 0.0], 1)
_P = 1 / (1 + np.exp(-normal((4, 4, 5), 1.5, 2)))
_L = normal((4, 4, 5), 2.0, 3)


def _both(dice=_dice, both=None):
    def with_this_dice(logits, masks, smooth=1.0):
        return _pixel_bce(logits, masks) + dice(_sigmoid(logits), masks, smooth)

    return type("both", (), {"soft_dice_loss": staticmethod(dice), "dice_bce_loss": staticmethod(both or with_this_dice)})


def _dice_over(axes, scale=2, above=True, below=True, reduce=np.mean):
    def soft_dice_loss(probs, masks, smooth=1.0):
        top = scale * (probs * masks).sum(axes) + (smooth if above else 0)
        return float(reduce(1 - top / (probs.sum(axes) + masks.sum(axes) + (smooth if below else 0))))

    return soft_dice_loss


_DICE_CALLS = [
    shaped("N H W", "N H W", N=(1, 3), H=(1, 3), W=(2, 3), low=0, high=1, smooth=st.sampled_from([0.001, 0.5, 1.0, 3.0])).map(
        lambda c: type(c)((c.args[0], (c.args[1] > 0.6).astype(float)), c.kwargs)
    ),
    call(_P, _M, 1.0),
    call(_P, _M, 0.001),
    call(_P[:1], _M[:1], 2.5),
    call(np.array([[[0.5, 0.5]]]), np.array([[[1.0, 0.0]]]), 1.0),
]


@exercise(
    "losses.soft-dice-ce", names="soft_dice_loss dice_bce_loss", covers=["losses.dice", "losses.q.dice-vs-ce"], forbid=["torch", "scipy"]
)
class SoftDiceCe:
    class reference:
        def soft_dice_loss(probs, masks, smooth=1.0):
            p, m = _t(probs).flatten(1), _t(masks).flatten(1)
            return float((1 - (2 * (p * m).sum(1) + smooth) / (p.sum(1) + m.sum(1) + smooth)).mean())

        def dice_bce_loss(logits, masks, smooth=1.0):
            z, t = _t(logits), _t(masks)
            p, m = torch.sigmoid(z).flatten(1), t.flatten(1)
            dice = 1 - (2 * (p * m).sum(1) + smooth) / (p.sum(1) + m.sum(1) + smooth)
            return float(F.binary_cross_entropy_with_logits(z, t) + dice.mean())

    cases = {
        "dice": group(_DICE_CALLS, probe=_only_dice, n=10),
        "empty and perfect": group(
            [
                call(np.zeros((2, 3, 2)), np.zeros((2, 3, 2)) + np.array([0.0, 1.0])),
                call(np.stack([np.zeros((3, 3)), np.eye(3)]), np.stack([np.zeros((3, 3)), np.ones((3, 3))])),
                call(np.full((1, 2, 3), 0.01), np.zeros((1, 2, 3))),
                call(np.stack([_P[0], _P[3]]), np.stack([_M[0], _M[3]])),
            ],
            probe=_dice_by_default,
        ),
        "sum": group(
            [
                shaped("N H W", "N H W", N=(1, 3), H=(1, 3), W=(2, 3), low=-4, high=4, smooth=st.sampled_from([0.001, 1.0, 3.0])).map(
                    lambda c: type(c)((c.args[0], (c.args[1] > 1).astype(float)), c.kwargs)
                ),
                call(_L, _M, 1.0),
                call(_L, _M, 0.001),
            ],
            probe=_only_sum,
            n=8,
        ),
        "stability": group(
            [
                call(np.array([[[1000.0, -1000.0], [0.5, 2.0]]]), np.array([[[0.0, 1.0], [1.0, 0.0]]])),
                call(np.array([[[-1000.0, -900.0, 1.0]], [[-3.0, 800.0, 0.0]]]), np.array([[[0.0, 0.0, 1.0]], [[1.0, 1.0, 0.0]]])),
                call(np.array([[[50.0, -50.0, 1.0]]]), np.array([[[0.0, 1.0, 1.0]]])),
            ],
            probe=_sum_by_default,
        ),
    }

    pooled = trap(
        "Dice is a ratio: compute it per sample, then average. You pooled the sums of the whole batch, which lets large objects drown small ones."
    )(_both(_dice_over((0, 1, 2))))
    smooth_below_only = trap(
        "With smooth in the denominator only, a correctly empty prediction costs 1. Nothing to find, nothing found is perfect: add smooth above too."
    )(_both(_dice_over((1, 2), above=False)))
    smooth_above_only = trap("smooth belongs above and below the fraction bar, so that a perfect overlap costs exactly 0.")(
        _both(_dice_over((1, 2), below=False))
    )
    factor_two_missing = trap(
        "The overlap counts twice, 2Σpm: the denominator counts each mask once, so a perfect match would reach only one half."
    )(_both(_dice_over((1, 2), scale=1)))
    summed_over_samples = trap("Average over the samples; you return their sum.")(_both(_dice_over((1, 2), reduce=np.sum)))
    rows_as_samples = trap("A sample is a whole image: sum over both axes, height and width. You computed a Dice for each row or column.")(
        _both(_dice_over(2))
    )
    axis_zero_and_one = trap("The first axis holds the samples; the sums run over axes 1 and 2.")(_both(_dice_over((0, 1))))

    @trap("smooth is an argument; you use 1 whatever it is.")
    class smooth_ignored:
        def soft_dice_loss(probs, masks, smooth=1.0):
            return _dice(probs, masks, 1.0)

        def dice_bce_loss(logits, masks, smooth=1.0):
            return _dice_bce(logits, masks, 1.0)

    @trap("A training loss must be differentiable: keep the soft probabilities. Thresholding at 0.5 makes the loss piecewise constant.")
    class thresholded:
        def soft_dice_loss(probs, masks, smooth=1.0):
            return _dice((probs > 0.5).astype(float), masks, smooth)

        def dice_bce_loss(logits, masks, smooth=1.0):
            return _pixel_bce(logits, masks) + _dice((logits > 0).astype(float), masks, smooth)

    @trap("You return the coefficient. A loss must fall when the overlap grows: 1 − coefficient.")
    class coefficient:
        def soft_dice_loss(probs, masks, smooth=1.0):
            return 1 - _dice(probs, masks, smooth)

        def dice_bce_loss(logits, masks, smooth=1.0):
            return _pixel_bce(logits, masks) + 1 - _dice(_sigmoid(logits), masks, smooth)

    @trap("This is the Jaccard index (intersection over union). Dice divides twice the overlap by the sum of both sizes.")
    class jaccard:
        def soft_dice_loss(probs, masks, smooth=1.0):
            top = (probs * masks).sum((1, 2))
            return float((1 - (top + smooth) / (probs.sum((1, 2)) + masks.sum((1, 2)) - top + smooth)).mean())

        def dice_bce_loss(logits, masks, smooth=1.0):
            p = _sigmoid(logits)
            top = (p * masks).sum((1, 2))
            return _pixel_bce(logits, masks) + float((1 - (top + smooth) / (p.sum((1, 2)) + masks.sum((1, 2)) - top + smooth)).mean())

    @trap("The denominator holds squares in your version (V-Net's variant). Here it is the plain sum of probabilities and mask.")
    class squares_below:
        def soft_dice_loss(probs, masks, smooth=1.0):
            return float(
                (1 - (2 * (probs * masks).sum((1, 2)) + smooth) / ((probs**2).sum((1, 2)) + (masks**2).sum((1, 2)) + smooth)).mean()
            )

        def dice_bce_loss(logits, masks, smooth=1.0):
            p = _sigmoid(logits)
            return _pixel_bce(logits, masks) + float(
                (1 - (2 * (p * masks).sum((1, 2)) + smooth) / ((p**2).sum((1, 2)) + (masks**2).sum((1, 2)) + smooth)).mean()
            )

    logits_into_dice = trap("Dice needs probabilities: give it σ(logits). Cross-entropy from logits is the one that takes them raw.")(
        _both(both=lambda logits, masks, smooth=1.0: _pixel_bce(logits, masks) + _dice(logits, masks, smooth))
    )
    probabilities_into_bce = trap(
        "The cross-entropy term takes the logits themselves. You put them through a sigmoid first, so the sigmoid acts twice."
    )(_both(both=lambda logits, masks, smooth=1.0: _pixel_bce(_sigmoid(logits), masks) + _dice(_sigmoid(logits), masks, smooth)))
    bce_summed = trap("The cross-entropy term is the mean over all pixels, not their sum: otherwise it drowns the Dice term.")(
        _both(both=lambda logits, masks, smooth=1.0: _pixel_bce(logits, masks) * logits.size + _dice(_sigmoid(logits), masks, smooth))
    )
    dice_only = trap("The cross-entropy term is missing from the sum.")(
        _both(both=lambda logits, masks, smooth=1.0: _dice(_sigmoid(logits), masks, smooth))
    )
    bce_only = trap("The Dice term is missing from the sum.")(_both(both=lambda logits, masks, smooth=1.0: _pixel_bce(logits, masks)))
    halved = trap("The sum has weights 1 and 1; you took the average of the two terms.")(
        _both(both=lambda logits, masks, smooth=1.0: _dice_bce(logits, masks, smooth) / 2)
    )
    sum_ignores_smooth = trap("dice_bce_loss takes smooth as well: hand it on to the Dice term.")(
        _both(both=lambda logits, masks, smooth=1.0: _dice_bce(logits, masks))
    )

    @trap("log(sigmoid) hits log 0 for logits of 1000. Use the form with softplus, as in the binary cross-entropy before.")
    class log_of_probabilities:
        soft_dice_loss = _dice

        def dice_bce_loss(logits, masks, smooth=1.0):
            p = 1 / (1 + np.exp(-logits))
            return float(-(masks * np.log(p) + (1 - masks) * np.log(1 - p)).mean()) + _dice(p, masks, smooth)

    @trap(
        "Clipping the probabilities before the log, or an epsilon in it, caps the cross-entropy: a pixel at logit 1000 with mask 0 costs 1000."
    )
    class clipped:
        soft_dice_loss = _dice

        def dice_bce_loss(logits, masks, smooth=1.0):
            p = np.clip(_sigmoid(logits), 1e-7, 1 - 1e-7)
            return float(-(masks * np.log(p) + (1 - masks) * np.log(1 - p)).mean()) + _dice(_sigmoid(logits), masks, smooth)

    smooth_doubled = trap("The numerator is 2Σpm + s. You doubled s as well, so a perfect overlap costs less than 0.")(
        _both(
            lambda probs, masks, smooth=1.0: float(
                (1 - 2 * ((probs * masks).sum((1, 2)) + smooth) / (probs.sum((1, 2)) + masks.sum((1, 2)) + smooth)).mean()
            )
        )
    )
    tiny_epsilon_for_smooth = trap(
        "smooth is not used; a tiny epsilon below only avoids 0/0. An empty mask, correctly predicted empty, then costs 1."
    )(
        _both(
            lambda probs, masks, smooth=1.0: float(
                (1 - 2 * (probs * masks).sum((1, 2)) / (probs.sum((1, 2)) + masks.sum((1, 2)) + 1e-8)).mean()
            )
        )
    )
    bce_summed_per_sample = trap("The cross-entropy term is the mean over all pixels. You summed the pixels of each sample.")(
        _both(both=lambda logits, masks, smooth=1.0: _pixel_bce(logits, masks) * logits[0].size + _dice(_sigmoid(logits), masks, smooth))
    )
    dice_subtracted = trap("Both are losses: add them. You subtract the Dice loss.")(
        _both(both=lambda logits, masks, smooth=1.0: _pixel_bce(logits, masks) - _dice(_sigmoid(logits), masks, smooth))
    )

    @trap("exp(−z) overflows for logits of −1000. Write the sigmoid with exp(−|z|).")
    class naive_sigmoid:
        soft_dice_loss = _dice

        def dice_bce_loss(logits, masks, smooth=1.0):
            return _pixel_bce(logits, masks) + _dice(1 / (1 + np.exp(-logits)), masks, smooth)

    ratio_of_means = trap("A mean of ratios is not the ratio of the means: compute the Dice of each sample, then average.")(
        _both(
            lambda probs, masks, smooth=1.0: float(
                1 - (2 * (probs * masks).sum((1, 2)).mean() + smooth) / ((probs + masks).sum((1, 2)).mean() + smooth)
            )
        )
    )

    @right("sample by sample")
    class sample_by_sample:
        def soft_dice_loss(probs, masks, smooth=1.0):
            losses = []
            for p, m in zip(probs, masks):
                losses.append(1 - (2 * float((p * m).sum()) + smooth) / (float(p.sum() + m.sum()) + smooth))
            return sum(losses) / len(losses)

        def dice_bce_loss(logits, masks, smooth=1.0):
            total = 0.0
            for z, m in zip(logits.ravel(), masks.ravel()):
                total += max(z, 0) - z * m + math.log1p(math.exp(-abs(z)))
            e = np.exp(-np.abs(logits))
            p = np.where(logits > 0, 1 / (1 + e), e / (1 + e))
            return total / logits.size + _dice(p, masks, smooth)

    @right("flattened, with einsum")
    class flattened:
        def soft_dice_loss(probs, masks, smooth=1.0):
            p, m = probs.reshape(len(probs), -1), masks.reshape(len(masks), -1)
            return np.mean(1 - (2 * np.einsum("np,np->n", p, m) + smooth) / ((p + m).sum(axis=1) + smooth))

        def dice_bce_loss(logits, masks, smooth=1.0):
            bce = np.where(masks == 1, np.logaddexp(0, -logits), np.logaddexp(0, logits)).mean()
            return bce + _dice(0.5 * (1 + np.tanh(logits / 2)), masks, smooth)


# ------------------------------------------------------------------------------------------------------------------------ KL


def _kl(p, q, base=math.e):
    used = p > 0
    if (q[used] == 0).any():
        return math.inf
    return float((p[used] * (np.log(p[used]) - np.log(q[used]))).sum() / math.log(base))


def _kl_of_quotients(p, q, base=math.e):
    used = p > 0
    if (q[used] == 0).any():
        return math.inf
    return float((p[used] * np.log(p[used] / q[used])).sum() / math.log(base))


def _distributions(k):
    return call(arrays((k,), 0.05, 1).map(_normalised), arrays((k,), 0.05, 1).map(_normalised))


_HALVES, _EIGHTY = np.array([0.5, 0.5]), np.array([0.8, 0.2])
_KL_VALUES = [
    call(_HALVES, _EIGHTY),
    call(_EIGHTY, _HALVES),
    call(np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])),
    _distributions(3),
    _distributions(5),
]
_KL_ZEROS = [
    call(np.array([1.0, 0.0]), _HALVES),
    call(np.array([0.0, 0.3, 0.7]), np.array([0.2, 0.3, 0.5])),
    call(np.array([0.0, 0.4, 0.6]), np.array([0.0, 0.7, 0.3])),
    call(np.array([0.0, 0.9, 0.0, 0.1]), np.array([0.25, 0.25, 0.25, 0.25])),
    call(np.array([1e-7, 1 - 1e-7]), np.array([1e-300, 1.0])),
    call(_HALVES, np.array([1e-310, 1.0])),
    call(np.array([0.0, 0.3, 0.7]), np.array([0.0, 1.0, 2e-311])),
    call(np.array([0.2, 0.0, 0.8]), np.array([1e-312, 0.5, 0.5])),
]
_KL_INFINITE = [
    call(_HALVES, np.array([1.0, 0.0])),
    call(np.array([0.1, 0.2, 0.7]), np.array([0.0, 0.5, 0.5])),
    call(np.array([0.0, 0.5, 0.5]), np.array([0.5, 0.5, 0.0])),
    call(np.array([1e-13, 1.0]), np.array([0.0, 1.0])),
    call(np.array([1e-20, 1.0]), np.array([0.0, 1.0])),
    call(np.array([1.0, 1e-300]), np.array([1.0, 0.0])),
]


@exercise("bank.kl", names="kl_divergence", covers=["bank.tq18", "losses.kl"], forbid=["torch", "scipy"])
class KlDivergence:
    def reference(p, q, base=math.e):
        p, q = _t(p), _t(q)
        terms = torch.where(p > 0, torch.special.xlogy(p, p) - torch.special.xlogy(p, q), torch.zeros_like(p))
        return float(terms.sum()) / math.log(base)

    cases = {
        "values": _KL_VALUES,
        "base": [
            call(_HALVES, _EIGHTY, base=2),
            call(np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1]), 10.0),
            call(arrays((4,), 0.05, 1).map(_normalised), arrays((4,), 0.05, 1).map(_normalised), base=st.sampled_from([2, 2.0, 10, 3.5])),
        ],
        "zeros in p": _KL_ZEROS,
        "zeros in q": [*_KL_INFINITE, call(np.array([0.4, 0.6]), np.array([0.0, 1.0]), base=2)],
    }

    @trap("KL is not symmetric: the first argument weights the terms and stands above the fraction bar. You have p and q exchanged.")
    def exchanged(p, q, base=math.e):
        return _kl(q, p, base)

    @trap("The terms keep their sign; only the sum is never negative. No absolute value.")
    def absolute_terms(p, q, base=math.e):
        used = p > 0
        if (q[used] == 0).any():
            return math.inf
        return float(np.abs(p[used] * np.log(p[used] / q[used])).sum() / math.log(base))

    @trap("KL is a sum over the outcomes, weighted by p: no division by their number.")
    def averaged(p, q, base=math.e):
        return _kl(p, q, base) / len(p)

    @trap("An outcome that q rules out and p allows costs infinitely much. Skipping it hides just the worst mistake.")
    def skips_zeros_of_q(p, q, base=math.e):
        used = (p > 0) & (q > 0)
        return float((p[used] * np.log(p[used] / q[used])).sum() / math.log(base))

    @trap("Your result is in nats whatever base is: divide by ln(base).")
    def base_ignored(p, q, base=math.e):
        return _kl(p, q)

    @trap("Nats times ln(base) is the wrong way: log_b(x) = ln(x) / ln(b).")
    def base_multiplied(p, q, base=math.e):
        return _kl(p, q) * math.log(base)

    @trap("The default is the natural logarithm; yours are bits, or the other way round.")
    def always_bits(p, q, base=math.e):
        return _kl(p, q, 2)

    @trap("Outcomes with p = 0 contribute 0: leave them out. In floating point 0·log(0) is nan.")
    def nan_at_zero(p, q, base=math.e):
        with np.errstate(all="ignore"):
            return float((p * np.log(p / q)).sum() / math.log(base))

    @trap("An epsilon makes infinity finite and shifts every other value. Handle the zeros by cases.")
    def epsilon(p, q, base=math.e):
        return float((p * np.log((p + 1e-10) / (q + 1e-10))).sum() / math.log(base))

    @trap(
        "Clipping the probabilities, or adding an epsilon to them, makes an impossible outcome merely expensive. The task asks for inf there."
    )
    def clipped(p, q, base=math.e):
        p, q = np.clip(p, 1e-12, 1), np.clip(q, 1e-12, 1)
        return float((p * np.log(p / q)).sum() / math.log(base))

    @trap("This is the cross-entropy −Σ p log q. KL subtracts the entropy of p from it.")
    def cross_entropy(p, q, base=math.e):
        used = p > 0
        if (q[used] == 0).any():
            return math.inf
        return float(-(p[used] * np.log(q[used])).sum() / math.log(base))

    @trap("The sign: Σ p log(p/q) is never negative. You have −KL, or log(q/p).")
    def negative(p, q, base=math.e):
        return -_kl(p, q, base)

    @trap("Each term is weighted by p. Without it, rare outcomes count as much as frequent ones.")
    def unweighted(p, q, base=math.e):
        used = p > 0
        if (q[used] == 0).any():
            return math.inf
        return float(np.log(p[used] / q[used]).sum() / math.log(base))

    @trap("inf needs p > 0 there: a zero of q where p is 0 as well costs nothing.")
    def infinite_for_any_zero_of_q(p, q, base=math.e):
        return math.inf if (q == 0).any() else _kl(p, q, base)

    @trap("This is the symmetric version, KL(p‖q) and KL(q‖p) together. Only the first was asked for.")
    def symmetric(p, q, base=math.e):
        return 0.5 * (_kl(p, q, base) + _kl(q, p, base))

    @trap("Some terms of the sum are negative, and they belong to it: only the whole is never negative. You cut them off at 0.")
    def negative_terms_dropped(p, q, base=math.e):
        used = p > 0
        if (q[used] == 0).any():
            return math.inf
        return float(np.maximum(p[used] * np.log(p[used] / q[used]), 0).sum() / math.log(base))

    @trap(
        "The logarithm and the division were computed for all entries, also where p is 0, and warned. Choosing afterwards (np.where, nansum) is too late: select the outcomes with p > 0 first."
    )
    def nan_swallowed(p, q, base=math.e):
        return float(np.nansum(p * np.log(p / q)) / math.log(base))

    @trap(
        "The logarithm and the division were computed for all entries, also where p is 0, and warned. Choosing afterwards (np.where, nansum) is too late: select the outcomes with p > 0 first."
    )
    def where_after_the_log(p, q, base=math.e):
        return float(np.where(p > 0, p * np.log(p / q), 0).sum() / math.log(base))

    @trap("Outcomes with p = 0 contribute 0: leave them out. In floating point 0·log(0) is nan.")
    def zeros_in_a_loop(p, q, base=math.e):
        return sum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist())) / math.log(base)

    @trap("The terms are weighted by p, the first argument. You weight log(p/q) by q.")
    def weighted_by_q(p, q, base=math.e):
        used = p > 0
        if (q[used] == 0).any():
            return math.inf
        return float((q[used] * np.log(p[used] / q[used])).sum() / math.log(base))

    @trap("A small probability is not 0: an outcome with p = 1e−7 counts, and costs inf if q rules it out. Compare with 0 exactly.")
    def small_taken_for_zero(p, q, base=math.e):
        used = p > 1e-6
        return math.inf if (q[used] == 0).any() else _kl(np.where(used, p, 0), q, base)

    @trap("A small probability is not 0: an outcome with p = 1e−7 counts, and costs inf if q rules it out. Compare with 0 exactly.")
    def tiny_taken_for_zero(p, q, base=math.e):
        used = p > 1e-12
        return math.inf if (q[used] == 0).any() else _kl(np.where(used, p, 0), q, base)

    @trap("A small q is not 0: the outcome is expensive, not impossible. Compare with 0 exactly, not with isclose.")
    def small_q_taken_for_zero(p, q, base=math.e):
        used = p > 0
        return math.inf if np.isclose(q[used], 0).any() else _kl(p, q, base)

    @trap("nan_to_num turns the infinite result into a huge number. The task asks for inf: test for q = 0 < p yourself.")
    def infinity_replaced(p, q, base=math.e):
        with np.errstate(all="ignore"):
            return float(np.nan_to_num(p * np.log(p / q)).sum() / math.log(base))

    @trap("base may be any number above 1: divide by ln(base). Yours is right for e and 2 only.")
    def two_bases_only(p, q, base=math.e):
        return _kl(p, q) if base == math.e else _kl(p, q, 2)

    @trap("q stays as it is: after you leave out the outcomes with p = 0, the rest of q need not sum to 1. Do not rescale it.")
    def q_rescaled(p, q, base=math.e):
        used = p > 0
        return _kl(p[used], q[used] / q[used].sum(), base) if (q[used] > 0).all() else math.inf

    @trap("p / q overflows where q is tiny, and its logarithm is inf. Take log p − log q.")
    def quotient(p, q, base=math.e):
        return _kl_of_quotients(p, q, base)

    @right("loop")
    def loop(p, q, base=math.e):
        total = 0.0
        for a, b in zip(p, q):
            if a == 0:
                continue
            if b == 0:
                return float("inf")
            total += a * (math.log(a, base) - math.log(b, base))
        return total

    @right("safe arrays and where")
    def with_where(p, q, base=math.e):
        if np.any((p > 0) & (q == 0)):
            return np.inf
        safe_p, safe_q = np.where(p > 0, p, 1.0), np.where(q > 0, q, 1.0)
        return np.sum(p * (np.log(safe_p) - np.log(safe_q))) / np.log(base)


# ------------------------------------------------------------------------------------------------------------- distillation


def _only_kl(submission, p, q):
    return submission.kl_div(p, q)


def _distilled(submission, student, teacher, labels, **settings):
    student = torch.tensor(student, requires_grad=True)
    teacher = torch.tensor(teacher, requires_grad=True)
    given, kept = student * 1.0, teacher.detach().clone()
    loss = submission.distillation_loss(given, teacher, torch.tensor(labels), **settings)
    loss.backward()
    into_teacher = torch.zeros_like(teacher) if teacher.grad is None else teacher.grad
    return {
        "loss": loss.detach(),
        "gradient": student.grad,
        "gradient into the teacher": into_teacher,
        "student changed": not torch.equal(given, student),
        "teacher changed": not torch.equal(teacher, kept),
        "teacher frozen": not teacher.requires_grad,
    }


def _plain_kl(p, q):
    return _kl(p, q)


def _distill(
    s,
    t,
    y,
    T=2.0,
    alpha=0.5,
    scale=lambda T: T * T,
    reduction="batchmean",
    swap=False,
    detach=True,
    soften=(True, True),
    hard_T=False,
    weights=lambda a: (a, 1 - a),
    over="kl",
):
    t = t.detach() if detach else t
    a, b = s / (T if soften[0] else 1), t / (T if soften[1] else 1)
    log_s, log_t = F.log_softmax(a, 1), F.log_softmax(b, 1)
    terms = (log_s.exp() * (log_s - log_t)) if swap else (log_t.exp() * (log_t - log_s))
    if over == "ce":
        terms = -log_t.exp() * log_s
    soft = {"batchmean": terms.sum() / len(y), "mean": terms.mean(), "sum": terms.sum()}[reduction]
    hard = F.cross_entropy(s / T if hard_T else s, y)
    one, two = weights(alpha)
    return one * hard + two * scale(T) * soft


def _distilling(**changes):
    def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
        return _distill(student, teacher, labels, T, alpha, **changes)

    return type("distilling", (), {"kl_div": staticmethod(_plain_kl), "distillation_loss": staticmethod(distillation_loss)})


def _kl_wrong(kl_div):
    return type("wrong", (), {"kl_div": staticmethod(kl_div), "distillation_loss": staticmethod(_distilling().distillation_loss)})


_S, _T, _Y = normal((5, 3), 1.5, 11), normal((5, 3), 2.0, 12), np.array([0, 2, 1, 1, 0])
_S4, _T4, _Y4 = normal((4, 4), 1.5, 13), normal((4, 4), 2.0, 14), np.array([3, 0, 1, 3])


@exercise(
    "losses.kl-distillation",
    names="kl_div distillation_loss",
    covers=["losses.kl", "losses.ce-kl-identity", "losses.distillation", "losses.q.distill-t2", "losses.q.ce-kl-nll"],
)
class KlDistillation:
    class reference:
        def kl_div(p, q):
            p, q = _t(p), _t(q)
            return float((torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum())

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            soft = F.kl_div(F.log_softmax(student / T, 1), F.softmax(teacher.detach() / T, 1), reduction="batchmean")
            return alpha * F.cross_entropy(student, labels) + (1 - alpha) * T * T * soft

    cases = {
        "KL": group(_KL_VALUES + _KL_ZEROS + _KL_INFINITE, probe=_only_kl, n=6),
        "distillation": group(
            [
                call(_S, _T, _Y),
                call(_S4, _T4, _Y4),
                call(_S[:1], _T[:1], _Y[:1], alpha=0.3),
                call(_S, _T, _Y, T=1.0, alpha=0.3),
                call(_S.astype(np.float32), _T.astype(np.float32), _Y, T=3.0),
            ],
            probe=_distilled,
        ),
        "temperature": group(
            [
                call(_S, _T, _Y, T=8.0),
                call(_S, _T, _Y, T=8.0, alpha=0.0),
                call(_S4, _T4, _Y4, T=4.0, alpha=0.1),
                call(_S4, _T4, _Y4, T=2.5),
                call(_S, _T, _Y, T=0.5, alpha=0.2),
            ],
            probe=_distilled,
        ),
        "mixture": group(
            [call(_S, _T, _Y, alpha=0.0), call(_S, _T, _Y, T=3.0, alpha=1.0), call(_S4, _T4, _Y4, alpha=0.8)], probe=_distilled
        ),
    }

    without_t_squared = trap("The gradient of the soft term falls like 1/T². Multiply the KL by T², or at T = 8 it hardly counts.")(
        _distilling(scale=lambda T: 1)
    )
    t_instead_of_t_squared = trap("The factor is T², not T: one 1/T comes from the chain rule, one from the flatter distributions.")(
        _distilling(scale=lambda T: T)
    )
    divided_by_t_squared = trap("You divide by T². The soft gradient is already smaller by that factor: multiply.")(
        _distilling(scale=lambda T: 1 / T**2)
    )
    mean_over_entries = trap("reduction='mean' divides by N·C. The mean over the examples is reduction='batchmean'.")(
        _distilling(reduction="mean")
    )
    summed = trap("The soft term is the mean over the N examples, not the sum.")(_distilling(reduction="sum"))
    roles_swapped = trap("The teacher is the target distribution: KL(teacher ‖ student). You have KL(student ‖ teacher).")(
        _distilling(swap=True)
    )
    teacher_not_detached = trap(
        "The teacher is fixed: detach it, or compute its probabilities under no_grad. Yours sends a gradient into it."
    )(_distilling(detach=False))
    teacher_not_softened = trap("Both distributions are softened by T. You softened the student only.")(_distilling(soften=(True, False)))
    student_not_softened = trap("Both distributions are softened by T. You softened the teacher only.")(_distilling(soften=(False, True)))
    nothing_softened = trap("T appears as a factor only: divide both logits by T before the softmax.")(_distilling(soften=(False, False)))
    hard_term_softened = trap("The hard term uses the student's plain logits: no temperature there.")(_distilling(hard_T=True))
    mixture_swapped = trap("α weights the hard term and 1 − α the soft one. You have them swapped.")(
        _distilling(weights=lambda a: (1 - a, a))
    )
    unmixed = trap("The hard term keeps weight 1 in your version. It is α·CE + (1 − α)·T²·KL.")(_distilling(weights=lambda a: (1, 1 - a)))
    soft_weight_missing = trap("The soft term lacks its weight 1 − α.")(_distilling(weights=lambda a: (a, 1)))
    weights_both_alpha = trap("Both terms have weight α in your version; the soft one gets 1 − α.")(_distilling(weights=lambda a: (a, a)))
    cross_entropy_for_kl = trap(
        "That is the cross-entropy with the teacher. Its gradient is the same, but its value is larger by the teacher's entropy: KL was asked for."
    )(_distilling(over="ce"))

    @trap("F.kl_div(input, target) expects the LOG-probabilities of the student first. You passed probabilities.")
    class probabilities_for_log_probabilities:
        kl_div = _plain_kl

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            soft = F.kl_div(F.softmax(student / T, 1), F.softmax(teacher.detach() / T, 1), reduction="batchmean")
            return alpha * F.cross_entropy(student, labels) + (1 - alpha) * T * T * soft

    @trap("The softmax runs over the classes, dim=1. Yours runs over the examples of the batch.")
    class softmax_over_the_batch:
        kl_div = _plain_kl

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            log_s, log_t = F.log_softmax(student / T, 0), F.log_softmax(teacher.detach() / T, 0)
            soft = (log_t.exp() * (log_t - log_s)).sum() / len(labels)
            return alpha * F.cross_entropy(student, labels) + (1 - alpha) * T * T * soft

    @trap("Your loss does not reach the student: somewhere the graph is cut (item(), detach or NumPy). Only the teacher is detached.")
    class student_detached:
        kl_div = _plain_kl

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            return alpha * F.cross_entropy(student, labels) + (1 - alpha) * T * T * _distill(
                student.detach(), teacher, labels, T, 0.0, scale=lambda T: 1
            )

    @trap("detach() and data share memory: t /= T divides the teacher's own logits, again at each call. Write t / T.")
    class divides_the_teacher:
        kl_div = _plain_kl

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            t = teacher.detach()
            t /= T
            soft = F.kl_div(F.log_softmax(student / T, 1), F.softmax(t, 1), reduction="batchmean")
            return alpha * F.cross_entropy(student, labels) + (1 - alpha) * T * T * soft

    @trap("requires_grad_(False) and detach_() change the caller's tensor, and the first works on leaves only. Use detach().")
    class freezes_the_leaf:
        kl_div = _plain_kl

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            return _distill(student, teacher.requires_grad_(False), labels, T, alpha)

    kl_nan_at_zero = trap("Outcomes with p = 0 contribute 0: leave them out of the sum. 0·log(0) is nan.")(
        _kl_wrong(lambda p, q: _quiet(lambda: float((p * np.log(p / q)).sum())))
    )
    kl_exchanged = trap("kl_div(p, q) weights with its FIRST argument: Σ p ln(p/q). Yours is KL(q‖p).")(_kl_wrong(lambda p, q: _kl(q, p)))
    kl_epsilon = trap("An epsilon, or clipped probabilities, turn infinity into a number. Treat the zeros by cases.")(
        _kl_wrong(lambda p, q: float((p * np.log((p + 1e-10) / (q + 1e-10))).sum()))
    )
    kl_clipped = trap("Clipping the probabilities, or adding an epsilon to them, turns infinity into a number. Treat the zeros by cases.")(
        _kl_wrong(lambda p, q: float((p * np.log(np.clip(p, 1e-12, 1) / np.clip(q, 1e-12, 1))).sum()))
    )
    kl_skips_zeros_of_q = trap("Where q = 0 and p > 0 the divergence is infinite; you left that outcome out.")(
        _kl_wrong(lambda p, q: float((p * np.log(np.where((p > 0) & (q > 0), p, 1) / np.where((p > 0) & (q > 0), q, 1))).sum()))
    )
    kl_averaged = trap("KL is a sum over outcomes; you took their mean.")(_kl_wrong(lambda p, q: _kl(p, q) / len(p)))
    kl_quotient = trap("p / q overflows where q is tiny, and its logarithm is inf. Take ln p − ln q.")(
        _kl_wrong(lambda p, q: _kl_of_quotients(p, q))
    )

    @trap("Your loss does not reach the student: somewhere the graph is cut (item(), detach or NumPy). Only the teacher is detached.")
    class numbers_only:
        kl_div = _plain_kl

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            return _distill(student, teacher, labels, T, alpha).item()

    @trap("T² belongs to the soft term only; the hard term has no temperature to undo.")
    class t_squared_on_both:
        kl_div = _plain_kl

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            return T * T * _distill(student, teacher, labels, T, alpha, scale=lambda T: 1)

    @trap("A temperature divides the logits: T > 1 flattens. You multiply by it.")
    class t_multiplied:
        kl_div = _plain_kl

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            return alpha * F.cross_entropy(student, labels) + (1 - alpha) * T * T * _distill(
                student, teacher, labels, 1 / T, 0.0, scale=lambda T: 1
            )

    @trap("F.cross_entropy takes the student's logits. You gave it probabilities: softmax twice.")
    class hard_term_twice_softmaxed:
        kl_div = _plain_kl

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            soft = _distill(student, teacher, labels, T, 0.0, scale=lambda T: 1)
            return alpha * F.cross_entropy(F.softmax(student, dim=1), labels) + (1 - alpha) * T * T * soft

    @right("written out")
    class written_out:
        def kl_div(p, q):
            total = 0.0
            for a, b in zip(p.tolist(), q.tolist()):
                if a > 0:
                    total += a * (math.log(a) - math.log(b)) if b > 0 else math.inf
            return total

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            log_p = student - torch.logsumexp(student, dim=1, keepdim=True)
            hard = -log_p[torch.arange(len(labels)), labels].mean()
            with torch.no_grad():
                target = torch.softmax(teacher / T, dim=-1)
            log_q = torch.log_softmax(student / T, dim=-1)
            return alpha * hard + (1 - alpha) * T**2 * (target * (target.log() - log_q)).sum(dim=-1).mean()

    @right("log targets; NumPy's where argument")
    class log_targets:
        def kl_div(p, q):
            if ((p > 0) & (q == 0)).any():
                return np.float64(np.inf)
            log_p, log_q = (np.log(a, out=np.zeros_like(a), where=p > 0) for a in (p, q))
            return np.sum(p * (log_p - log_q))

        def distillation_loss(student, teacher, labels, T=2.0, alpha=0.5):
            kl = nn.KLDivLoss(reduction="sum", log_target=True)
            soft = kl(nn.LogSoftmax(dim=1)(student / T), nn.LogSoftmax(dim=1)(teacher.data / T)) / student.shape[0]
            return nn.CrossEntropyLoss()(student, labels) * alpha + soft * (1 - alpha) * T**2


def _quiet(function):
    with np.errstate(all="ignore"):
        return function()


# ------------------------------------------------------------------------------------------------------- triplet and InfoNCE


def _only_triplet(submission, a, p, n, margin=1.0):
    return submission.triplet_loss(a, p, n, margin)


def _triplet_by_default(submission, a, p, n):
    return submission.triplet_loss(a, p, n)


def _only_nce(submission, z1, z2, tau=0.1):
    return submission.info_nce(z1, z2, tau=tau)


def _nce_by_default(submission, z1, z2):
    return submission.info_nce(z1, z2)


def _distance(x, y):
    return np.sqrt(((x - y) ** 2).sum(axis=1))


def _triplet(a, p, n, margin=1.0):
    return float(np.maximum(_distance(a, p) - _distance(a, n) + margin, 0).mean())


def _unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def _almost_unit(z):
    return z / (np.linalg.norm(z, axis=1, keepdims=True) + 1e-8)


def _nce(z1, z2, tau=0.1):
    return float(-np.diag(_log_softmax(_unit(z1) @ _unit(z2).T / tau)).mean())


def _triplets(of):
    return type("triplets", (), {"triplet_loss": staticmethod(of), "info_nce": staticmethod(_nce)})


def _nces(of):
    return type("nces", (), {"triplet_loss": staticmethod(_triplet), "info_nce": staticmethod(of)})


_A, _PO, _NE = normal((5, 3), 1.0, 21), normal((5, 3), 1.0, 22), normal((5, 3), 1.0, 23)
_LONG = np.array([[0.1], [1.0], [7.0], [30.0], [0.5]])
_Z1 = normal((5, 3), 1.0, 24)
_Z2 = (_Z1 + normal((5, 3), 0.7, 25)) * _LONG
_Z1 = _Z1 * _LONG[::-1]


@exercise(
    "losses.triplet-infonce",
    names="triplet_loss info_nce",
    covers=["losses.triplet", "losses.infonce", "losses.hard-negatives"],
    forbid=["torch", "scipy"],
    rtol=1e-5,
    atol=1e-5,
)
class TripletInfonce:
    class reference:
        def triplet_loss(a, p, n, margin=1.0):
            a, p, n = _t(a), _t(p), _t(n)
            return float(F.relu((a - p).norm(dim=1) - (a - n).norm(dim=1) + margin).mean())

        def info_nce(z1, z2, tau=0.1):
            logits = F.normalize(_t(z1)) @ F.normalize(_t(z2)).T / tau
            return float(F.cross_entropy(logits, torch.arange(len(logits))))

    cases = {
        "triplet": group(
            [
                call(_A, _PO, _NE),
                call(_A, 0.3 * _PO, 5 * _NE),
                call(_A[:3], _NE[:3], _PO[:3]),
                call(np.zeros((2, 2)), np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([[0.0, 5.5], [0.0, 9.0]])),
                call(_A[:1], _A[:1] + 0.5, _A[:1] - 0.4),
                call(_A, _A + 0.01, _A + 40.0),
                call(np.array([[0.1, 0.2], [0.0, 0.3]]), np.array([[0.2, 0.2], [0.1, 0.3]]), np.array([[0.1, 0.6], [0.2, 0.0]])),
                call(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 2.5], [0.0, 1.3]])),
                call(_A, _A, _A + 0.1),
            ],
            probe=_triplet_by_default,
        ),
        "margin": group(
            [
                call(_A, _PO, _NE, 0.2),
                call(_A, _PO, _NE, margin=3.0),
                call(_A, _PO, _NE, 0.0),
                call(_A[:3], _A[:3], _A[:3] - 0.1, 0.5),
                shaped("N D", "N D", "N D", N=(1, 4), D=(2, 4), margin=st.sampled_from([0.2, 0.5, 2.0])),
            ],
            probe=_only_triplet,
            n=8,
        ),
        "InfoNCE": group(
            [
                call(_Z1, _Z2, 0.5),
                call(_Z1[:3], _Z2[:3], tau=0.5),
                call(_Z1[:2], _Z2[:2], tau=1.0),
                call(normal((4, 6), 1.0, 26), normal((4, 6), 2.0, 27), 0.07),
                call(normal((3, 3), 1.0, 28), normal((3, 3), 2.0, 29), 0.3),
                call(_Z1[:1], _Z2[:1], tau=0.5),
                call(1e-6 * _Z1, 1e6 * _Z2, 0.5),
                call(_Z1, 1e-9 * _Z2, 0.5),
                call(1e-9 * _Z1[:3], _Z2[:3], tau=0.3),
            ],
            probe=_only_nce,
        ),
        "small tau": group(
            [call(_Z1, _Z2, 0.0005), call(normal((4, 2), 1.0, 30), normal((4, 2), 1.0, 31), 0.0005), call(_Z1[:3], -_Z2[:3], tau=0.001)],
            probe=_only_nce,
        ),
        "default tau": group([call(_Z1, _Z2), call(normal((4, 3), 1.0, 32), normal((4, 3), 1.0, 33))], probe=_nce_by_default),
    }

    squared_distances = trap("d is the Euclidean distance, not its square (that is FaceNet's variant). Take the root.")(
        _triplets(lambda a, p, n, margin=1.0: float(np.maximum(_distance(a, p) ** 2 - _distance(a, n) ** 2 + margin, 0).mean()))
    )
    active_only = trap("The mean runs over all triplets, also the satisfied ones with loss 0. You averaged over the active ones only.")(
        _triplets(lambda a, p, n, margin=1.0: _mean_of_active(_distance(a, p) - _distance(a, n) + margin))
    )
    no_hinge = trap("The hinge max(0, ·) is missing: satisfied triplets cost 0, not a negative amount.")(
        _triplets(lambda a, p, n, margin=1.0: float((_distance(a, p) - _distance(a, n) + margin).mean()))
    )
    hinge_after_the_mean = trap("Apply max(0, ·) to each triplet, then take the mean. After the mean, easy triplets pay for hard ones.")(
        _triplets(lambda a, p, n, margin=1.0: float(max(0.0, (_distance(a, p) - _distance(a, n) + margin).mean())))
    )
    positive_and_negative_swapped = trap(
        "The positive should be near and the negative far: d(a, p) − d(a, n) + margin. You have the two swapped."
    )(_triplets(lambda a, p, n, margin=1.0: _triplet(a, n, p, margin)))
    margin_subtracted = trap("The margin is added: a triplet is satisfied only if the negative is farther away by at least the margin.")(
        _triplets(lambda a, p, n, margin=1.0: _triplet(a, p, n, -margin))
    )
    margin_ignored = trap("margin is an argument; your function uses 1.")(_triplets(lambda a, p, n, margin=1.0: _triplet(a, p, n)))
    triplet_summed = trap("Take the mean over the triplets, not the sum.")(
        _triplets(lambda a, p, n, margin=1.0: _triplet(a, p, n, margin) * len(a))
    )
    manhattan = trap("This is the sum of absolute differences. The Euclidean distance is the root of the sum of squares.")(
        _triplets(lambda a, p, n, margin=1.0: float(np.maximum(np.abs(a - p).sum(1) - np.abs(a - n).sum(1) + margin, 0).mean()))
    )
    mean_of_squares = trap("The Euclidean distance is the root of the SUM of squares over the D components, not of their mean.")(
        _triplets(
            lambda a, p, n, margin=1.0: float(np.maximum((_distance(a, p) - _distance(a, n)) / math.sqrt(a.shape[1]) + margin, 0).mean())
        )
    )
    positive_to_negative = trap("The second distance is from the anchor to the negative, d(a, n). You measured from the positive.")(
        _triplets(lambda a, p, n, margin=1.0: float(np.maximum(_distance(a, p) - _distance(p, n) + margin, 0).mean()))
    )
    distance_over_rows = trap(
        "A distance for each row: sum over the components, axis 1. You took the norm of a whole matrix or along the wrong axis."
    )(_triplets(lambda a, p, n, margin=1.0: float(max(np.linalg.norm(a - p) - np.linalg.norm(a - n) + margin, 0))))
    not_normalised = trap("The similarity is the cosine: divide every row by its length. Yours changes when a row is rescaled.")(
        _nces(lambda z1, z2, tau=0.1: float(-np.diag(_log_softmax(z1 @ z2.T / tau)).mean()))
    )
    one_side_normalised = trap("Both sides are normalised, the queries and the candidates.")(
        _nces(lambda z1, z2, tau=0.1: float(-np.diag(_log_softmax(_unit(z1) @ z2.T / tau)).mean()))
    )
    columns_normalised = trap("Normalise the rows (one embedding each), not the columns.")(
        _nces(
            lambda z1, z2, tau=0.1: float(
                -np.diag(_log_softmax((z1 / np.linalg.norm(z1, axis=0)) @ (z2 / np.linalg.norm(z2, axis=0)).T / tau)).mean()
            )
        )
    )
    tau_multiplied = trap("A small temperature must sharpen: divide by τ. Yours stays near ln N.")(
        _nces(lambda z1, z2, tau=0.1: float(-np.diag(_log_softmax(_unit(z1) @ _unit(z2).T * tau)).mean()))
    )
    tau_ignored = trap("tau is an argument; your function uses 0.1.")(_nces(lambda z1, z2, tau=0.1: _nce(z1, z2)))
    without_tau = trap("The similarities are not divided by τ.")(_nces(lambda z1, z2, tau=0.1: _nce(z1, z2, 1.0)))
    positive_not_in_the_denominator = trap(
        "The softmax runs over the positive AND the negatives. Without the positive below, the loss can become negative."
    )(_nces(lambda z1, z2, tau=0.1: _without_positive(_unit(z1) @ _unit(z2).T / tau)))
    other_direction = trap(
        "The queries are the rows of z1 and the candidates all rows of z2: softmax along axis 1. Yours asks the other way round."
    )(_nces(lambda z1, z2, tau=0.1: _nce(z2, z1, tau)))
    both_directions = trap("One direction was asked for: z1 queries z2. You averaged both.")(
        _nces(lambda z1, z2, tau=0.1: (_nce(z1, z2, tau) + _nce(z2, z1, tau)) / 2)
    )
    nce_summed = trap("Take the mean over the queries, not the sum.")(_nces(lambda z1, z2, tau=0.1: _nce(z1, z2, tau) * len(z1)))
    overflows = trap("exp(s/τ) overflows for small τ: cos/0.0005 is 2000. Subtract each row's maximum first.")(
        _nces(lambda z1, z2, tau=0.1: _naive_nce(np.exp(_unit(z1) @ _unit(z2).T / tau)))
    )
    log_of_softmax = trap(
        "For small τ a probability underflows to 0 and its log is −inf. Compute the log-softmax, not the log of a softmax."
    )(_nces(lambda z1, z2, tau=0.1: float(-np.log(np.diag(_softmax(_unit(z1) @ _unit(z2).T / tau))).mean())))
    distances_for_similarities = trap("InfoNCE compares cosines. You used (negative) distances.")(
        _nces(
            lambda z1, z2, tau=0.1: float(
                -np.diag(_log_softmax(-np.linalg.norm(_unit(z1)[:, None] - _unit(z2)[None], axis=2) / tau)).mean()
            )
        )
    )

    absolute_value = trap("max(0, ·), not |·|: a triplet that is satisfied by far costs nothing.")(
        _triplets(lambda a, p, n, margin=1.0: float(np.abs(_distance(a, p) - _distance(a, n) + margin).mean()))
    )
    softplus_for_hinge = trap("This is the soft margin, ln(1 + e^x). Here the hinge max(0, x) was asked for: exactly 0 beyond the margin.")(
        _triplets(lambda a, p, n, margin=1.0: float(_softplus(_distance(a, p) - _distance(a, n) + margin).mean()))
    )
    all_entries_averaged = trap("Only the diagonal holds the right partners. You averaged the log-probabilities of all N × N pairs.")(
        _nces(lambda z1, z2, tau=0.1: float(-_log_softmax(_unit(z1) @ _unit(z2).T / tau).mean()))
    )
    one_norm_for_all = trap("Each row has its own length: norm along axis 1 with keepdims. You divided by the norm of the whole matrix.")(
        _nces(lambda z1, z2, tau=0.1: float(-np.diag(_log_softmax((z1 / np.linalg.norm(z1)) @ (z2 / np.linalg.norm(z2)).T / tau)).mean()))
    )
    squared_norm = trap("A row divided by its squared length has not length 1. Take the root.")(
        _nces(
            lambda z1, z2, tau=0.1: float(
                -np.diag(_log_softmax((z1 / (z1**2).sum(1, keepdims=True)) @ (z2 / (z2**2).sum(1, keepdims=True)).T / tau)).mean()
            )
        )
    )
    probability_not_log = trap("That is 1 minus the probability of the right partner. InfoNCE takes −ln of it.")(
        _nces(lambda z1, z2, tau=0.1: float(1 - np.diag(_softmax(_unit(z1) @ _unit(z2).T / tau)).mean()))
    )

    nce_epsilon = trap("An epsilon in the log caps the loss of a query that fails. Compute the log-softmax itself: it needs none.")(
        _nces(lambda z1, z2, tau=0.1: float(-np.log(np.diag(_softmax(_unit(z1) @ _unit(z2).T / tau)) + 1e-12).mean()))
    )
    nce_no_shift_in_the_log = trap("exp(s/τ) overflows for small τ: cos/0.0005 is 2000. Subtract each row's maximum first.")(
        _nces(lambda z1, z2, tau=0.1: float(-np.diag(_unshifted_log_softmax(_unit(z1) @ _unit(z2).T / tau)).mean()))
    )
    nce_one_side_normalised = trap("Both sides are normalised. You divided only z2 by its lengths, so a long query counts more.")(
        _nces(lambda z1, z2, tau=0.1: float(-np.diag(_log_softmax(z1 @ _unit(z2).T / tau)).mean()))
    )
    nce_own_view = trap("The candidates of z1 are the rows of z2. You compared z1 with itself, and z2 has no effect.")(
        _nces(lambda z1, z2, tau=0.1: _nce(z1, z1, tau))
    )

    triplet_epsilon_under_the_root = trap("With an epsilon under the root equal points have a distance.")(
        _triplets(
            lambda a, p, n, margin=1.0: float(
                np.maximum(np.sqrt(((a - p) ** 2).sum(1) + 1e-8) - np.sqrt(((a - n) ** 2).sum(1) + 1e-8) + margin, 0).mean()
            )
        )
    )
    nce_epsilon_in_the_norm = trap("An epsilon beside the length spoils short rows: divide by the norm itself.")(
        _nces(lambda z1, z2, tau=0.1: float(-np.diag(_log_softmax(_almost_unit(z1) @ _almost_unit(z2).T / tau)).mean()))
    )

    @trap(
        "The candidates are the rows of z2 only. With the other rows of z1 among them it is SimCLR's NT-Xent loss, with 2N − 1 candidates."
    )
    class nce_both_views_as_candidates:
        triplet_loss = _triplet

        def info_nce(z1, z2, tau=0.1):
            own = _unit(z1) @ _unit(z1).T
            np.fill_diagonal(own, -np.inf)
            return float(-np.diag(_log_softmax(np.hstack([_unit(z1) @ _unit(z2).T, own]) / tau)).mean())

    @right("loops")
    class loops:
        def triplet_loss(a, p, n, margin=1.0):
            total = 0.0
            for x, y, w in zip(a, p, n):
                near = math.sqrt(sum((u - v) ** 2 for u, v in zip(x, y)))
                far = math.sqrt(sum((u - v) ** 2 for u, v in zip(x, w)))
                total += max(0.0, near - far + margin)
            return total / len(a)

        def info_nce(z1, z2, tau=0.1):
            total = 0.0
            for i, q in enumerate(z1):
                s = [float(q @ k) / (np.linalg.norm(q) * np.linalg.norm(k)) / tau for k in z2]
                m = max(s)
                total += m + math.log(sum(math.exp(v - m) for v in s)) - s[i]
            return total / len(z1)

    @right("einsum, with torch's small epsilon in the distance")
    class einsum:
        def triplet_loss(a, p, n, margin=1.0):
            near, far = (np.linalg.norm(a - other + 1e-6, axis=1) for other in (p, n))
            return np.mean(np.clip(near - far + margin, 0, None))

        def info_nce(z1, z2, tau=0.1):
            lengths = np.outer(np.linalg.norm(z1, axis=1), np.linalg.norm(z2, axis=1))
            s = np.einsum("id,jd->ij", z1, z2) / lengths / tau
            return np.mean(np.logaddexp.reduce(s - s.diagonal()[:, None], axis=1))


def _mean_of_active(gap):
    active = gap[gap > 0]
    return float(active.mean()) if active.size else 0.0


def _without_positive(s):
    off = np.where(np.eye(len(s), dtype=bool), -np.inf, s)
    return float((np.logaddexp.reduce(off, axis=1) - np.diag(s)).mean())


def _naive_nce(e):
    return float(-np.log(np.diag(e) / e.sum(axis=1)).mean())


# ------------------------------------------------------------------------------------------------------ debug: cross-entropy


def _weighted_ce(logits, targets, weight=None):
    losses = -_picked(_log_softmax(logits), targets)
    w = np.ones(len(targets)) if weight is None else weight[targets]
    return float((w * losses).sum() / w.sum())


def _reduced(reduce, log_softmax=_log_softmax):
    def cross_entropy(logits, targets, weight=None):
        losses = -_picked(log_softmax(logits), targets)
        w = np.ones(len(targets)) if weight is None else weight[targets]
        return float(reduce(losses, w, weight))

    return cross_entropy


def _weighted(span, sizes):
    return st.sampled_from(sizes).flatmap(
        lambda s: call(arrays(s, -span, span), arrays((s[0],), 0, s[1] - 1, dtype=np.int64), arrays((s[1],), 0.1, 5))
    )


_W3 = np.array([0.5, 1.0, 4.0])
_L53, _Y5 = normal((5, 3), 2.0, 41), np.array([0, 2, 1, 1, 2])
_L35, _Y3 = normal((3, 5), 2.0, 42), np.array([4, 0, 3])


@exercise(
    "losses.ce-with-logits",
    names="cross_entropy",
    covers=["losses.cce", "losses.class-weighted-ce", "losses.cu-nan-and-silent", "losses.q.nan-checklist", "losses.probe-logits"],
    forbid=["torch", "scipy"],
)
class CeWithLogits:
    def reference(logits, targets, weight=None):
        return float(F.cross_entropy(_t(logits), _long(targets), weight=None if weight is None else _t(weight)))

    cases = {
        "weights": [
            call(_L53, _Y5, _W3),
            call(_L53, _Y5, weight=np.array([3.0, 0.2, 0.2])),
            call(_L35, _Y3, np.array([1.0, 2.0, 0.5, 0.1, 4.0])),
            call(_SQUARE, np.array([1, 0, 1]), _W3),
            call(np.array([[0.3, -1.0]]), np.array([1]), np.array([2.0, 5.0])),
            call(_L53, _Y5, 1e-6 * _W3),
            call(_L53, _Y5, 1e-12 * _W3),
            _weighted(5, _SIZES),
            _labelled(5, _SIZES),
            call(_L53, _Y5),
        ],
        "large logits": [
            call(_FAR, _FAR_Y),
            call(np.array([[1000.0, 999.0], [1.0, 0.5]]), np.array([1, 0])),
            call(np.array([[-1000.0, -1001.0, -999.0], [0.5, 0.0, 1.0]]), np.array([0, 2])),
            call(np.array([[0.0, 40.0, 30.0]]), np.array([0])),
            call(np.array([[0.0, 2000.0], [0.0, 1.0]]), np.array([0, 1])),
            call(np.array([[1e4, -1e4], [3.0, 1.0]]), np.array([1, 1])),
            _labelled(1e4, [(3, 2), (2, 4)]),
        ],
        "both": [
            call(_FAR, _FAR_Y, _W3),
            call(_FAR, _FAR_Y, 1e-9 * _W3),
            call(1000 + _L53, _Y5, weight=_W3),
            _weighted(1e4, [(4, 3), (3, 3)]),
        ],
    }

    @trap("exp(1000) is inf, and inf/inf is nan. Subtract the row maximum first; softmax does not change.")
    def no_shift(logits, targets, weight=None):
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        w = np.ones(len(targets)) if weight is None else weight[targets]
        return float(-(w * np.log(_picked(p, targets))).sum() / w.sum())

    one_maximum_for_all = trap("A row far below the global maximum underflows to log 0. The shift must be per row: axis=1, keepdims=True.")(
        _reduced(
            lambda loss, w, _: (w * loss).sum() / w.sum(), lambda z: z - z.max() - np.log(np.exp(z - z.max()).sum(axis=1, keepdims=True))
        )
    )

    @trap(
        "The shift prevents overflow, but the softmax still underflows to 0 and log(0) is −inf. Take the log before exp: shifted − ln Σ exp(shifted)."
    )
    def log_of_shifted_softmax(logits, targets, weight=None):
        w = np.ones(len(targets)) if weight is None else weight[targets]
        return float(-(w * np.log(_picked(_softmax(logits), targets))).sum() / w.sum())

    @trap(
        "An epsilon in the log, or clipped probabilities, cap the loss of a hopeless example, at 27.6 for 1e−12. Log-sum-exp needs neither."
    )
    def epsilon(logits, targets, weight=None):
        w = np.ones(len(targets)) if weight is None else weight[targets]
        return float(-(w * np.log(_picked(_softmax(logits), targets) + 1e-12)).sum() / w.sum())

    @trap("Clipping the logits changes the loss: differences beyond the bound are lost. Shift, do not clip.")
    def logits_clipped(logits, targets, weight=None):
        return _weighted_ce(np.clip(logits, -500, 500), targets, weight)

    divided_by_n = trap("With weights, torch's mean divides by the sum of the weights of the targets, not by N.")(
        _reduced(lambda loss, w, _: (w * loss).mean())
    )
    divided_by_all_weights = trap(
        "Divide by the weights of the examples in the batch, weight[targets].sum(), not by the sum of the class weights."
    )(_reduced(lambda loss, w, weight: loss.mean() if weight is None else (w * loss).sum() / weight.sum()))
    weight_ignored = trap("weight still has no effect: each example counts with the weight of its own class, weight[targets].")(
        _reduced(lambda loss, w, _: loss.mean())
    )
    summed = trap("You return the weighted sum: divide by the sum of the weights, without weights by N.")(
        _reduced(lambda loss, w, _: (w * loss).sum())
    )
    not_negated = trap("The sign: the loss is −ln p, which is positive.")(_reduced(lambda loss, w, _: -(w * loss).sum() / w.sum()))

    @trap("Weights belong to the classes. You took weight[:N], the first weights in the order of the examples.")
    def weight_by_position(logits, targets, weight=None):
        losses = -_picked(_log_softmax(logits), targets)
        w = np.ones(len(targets)) if weight is None else np.resize(weight, len(targets))
        return float((w * losses).sum() / w.sum())

    @trap("You scale the logits by the weights. They weight the losses of the examples, after the log.")
    def weighted_logits(logits, targets, weight=None):
        return float(-_picked(_log_softmax(logits if weight is None else logits * weight), targets).mean())

    @trap("−= writes into the caller's array: your first call changes the logits. Make a new array: logits − max.")
    def shifts_in_place(logits, targets, weight=None):
        logits -= logits.max(axis=1, keepdims=True)
        return _weighted_ce(logits, targets, weight)

    softmax_first = trap("Softmax twice: the function receives logits already. Your loss is squeezed into a narrow band.")(
        _reduced(lambda loss, w, _: (w * loss).sum() / w.sum(), lambda z: _log_softmax(_softmax(z)))
    )
    over_the_batch = trap("The classes are the columns: log-softmax runs along axis 1. Yours runs over the batch.")(
        _reduced(lambda loss, w, _: (w * loss).sum() / w.sum(), lambda z: _log_softmax(z.T).T)
    )

    @trap(
        "Rescaling the class weights to mean 1 is not torch's convention. It divides by the weights that occur in the batch: weight[targets].sum()."
    )
    def weights_normalised_to_mean_one(logits, targets, weight=None):
        losses = -_picked(_log_softmax(logits), targets)
        w = np.ones(len(targets)) if weight is None else (weight / weight.mean())[targets]
        return float((w * losses).mean())

    @trap(
        "An epsilon in the log, or clipped probabilities, cap the loss of a hopeless example, at 27.6 for 1e−12. Log-sum-exp needs neither."
    )
    def probabilities_clipped(logits, targets, weight=None):
        w = np.ones(len(targets)) if weight is None else weight[targets]
        return float(-(w * np.log(np.clip(_picked(_softmax(logits), targets), 1e-15, 1))).sum() / w.sum())

    @trap("exp(1000) is inf, and inf/inf is nan. Subtract the row maximum first; softmax does not change.")
    def no_shift_in_a_loop(logits, targets, weight=None):
        w = np.ones(len(targets)) if weight is None else weight[targets]
        losses = [-math.log(math.exp(row[t]) / sum(math.exp(v) for v in row)) for row, t in zip(logits, targets)]
        return float(np.dot(w, losses) / w.sum())

    epsilon_in_the_denominator = trap("The weights' sum is never 0: an epsilon there makes the loss depend on the weights' scale.")(
        _reduced(lambda loss, w, _: (w * loss).sum() / (w.sum() + 1e-8))
    )
    mean_times_mean = trap("Weight each loss by its own class before you sum. The mean loss times the mean weight mixes them up.")(
        _reduced(lambda loss, w, _: loss.mean() * w.mean())
    )
    inverse_weights = trap("weight multiplies the loss of its class; you divide by it.")(
        _reduced(lambda loss, w, _: (loss / w).sum() / (1 / w).sum())
    )

    @trap("The mean runs over the examples, not over all N·C entries.")
    def divided_by_entries(logits, targets, weight=None):
        return _weighted_ce(logits, targets, weight) / logits.shape[1]

    @trap("nan_to_num replaces what overflowed by some number: the loss is finite and wrong. Shift before exp, and there is no infinity.")
    def infinities_replaced(logits, targets, weight=None):
        with np.errstate(all="ignore"):
            p = np.nan_to_num(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
            w = np.ones(len(targets)) if weight is None else weight[targets]
            return float(-(w * np.log(_picked(p, targets) + 1e-300)).sum() / w.sum())

    no_shift_in_the_log_softmax = trap(
        "log Σ exp(z) without a shift: exp overflows to inf for rows near 1000, and underflows to 0 for rows near −1000. Subtract each row's maximum first."
    )(_reduced(lambda loss, w, _: (w * loss).sum() / w.sum(), _unshifted_log_softmax))

    @trap("Clipping the logits changes the loss: differences beyond the bound are lost. Shift, do not clip.")
    def logits_clipped_late(logits, targets, weight=None):
        return _weighted_ce(np.clip(logits, -700, 700), targets, weight)

    @trap("A floor under the probability caps the loss, at 691 for 1e−300. Log-sum-exp needs none.")
    def floor_under_the_probability(logits, targets, weight=None):
        w = np.ones(len(targets)) if weight is None else weight[targets]
        return float(-(w * np.log(np.maximum(_picked(_softmax(logits), targets), 1e-300))).sum() / w.sum())

    @trap("nan_to_num replaces what overflowed by some number: the loss is finite and wrong. Shift before exp, and there is no infinity.")
    def infinities_replaced_late(logits, targets, weight=None):
        with np.errstate(all="ignore"):
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            losses = np.nan_to_num(-np.log(_picked(p, targets)), nan=0.0, posinf=1e4)
        w = np.ones(len(targets)) if weight is None else weight[targets]
        return float((w * losses).sum() / w.sum())

    @trap("float32 carries about 7 digits, and the logits are float64. Keep their precision.")
    def in_single_precision(logits, targets, weight=None):
        return _weighted_ce(logits.astype(np.float32), targets, weight)

    @right("loop")
    def loop(logits, targets, weight=None):
        total = votes = 0.0
        for row, t in zip(logits, targets):
            m = max(row)
            loss = m + math.log(sum(math.exp(v - m) for v in row)) - row[t]
            w = 1.0 if weight is None else weight[t]
            total, votes = total + w * loss, votes + w
        return total / votes

    @right("np.average over logaddexp")
    def averaged(logits, targets, weight=None):
        picked = np.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
        losses = np.logaddexp.reduce(logits, axis=1) - picked
        return np.average(losses, weights=None if weight is None else weight[targets])


# ------------------------------------------------------------------------------------------------------ debug: double softmax


def _points(seed):
    gen = torch.Generator().manual_seed(seed)
    y = torch.arange(200) % 10
    centres = 4 * torch.randn(10, 6, generator=gen)
    return centres[y] + 0.3 * torch.randn(200, 6, generator=gen), y


def _numbers(tensors):
    return [t.detach().clone() for t in tensors]


def _train_net(submission, seed):
    torch.set_num_threads(1)  # tiny matrices: threads only get in each other's way
    torch.manual_seed(seed)
    net, (x, y) = submission.Net(6, 24, 10), _points(seed)
    first = {"weights": _numbers(net.parameters()), "out": net(x).detach(), "again": net(x).detach()}
    first |= {"few": net(x[:3]).detach(), "one": net(x[:1]).detach()}
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for step in range(100):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            first["slopes"] = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()]
        optimizer.step()
    last = {"weights": _numbers(net.parameters()), "out": net(x).detach(), "evaluated": net.eval()(x).detach()}
    return {"first": first, "last": last}


def _ask_probabilities(submission, seed):
    torch.manual_seed(seed)
    net, (x, _) = submission.Net(6, 24, 10), _points(seed + 7)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2.0)
        other = submission.Net(3, 5, 4)
        sizes = {"numbers": sum(p.numel() for p in other.parameters()), "one": list(other.predict_proba(torch.ones(1, 3)).shape)}
        return {"weights": _numbers(net.parameters()), "out": net(x), "proba": net.predict_proba(x).detach(), "sizes": sizes}


def _layers(tensors):
    """The four arrays of the two layers in double precision, told apart by their sizes, or None."""
    by_size = {t.numel(): t.double() for t in map(torch.as_tensor, tensors)}
    if len(tensors) != 4 or sorted(by_size) != [10, 24, 144, 240]:
        return None
    upright = lambda w, shape: w.T if w.shape == shape[::-1] else w.reshape(shape)
    return [upright(by_size[144], (24, 6)), by_size[24].flatten(), upright(by_size[240], (10, 24)), by_size[10].flatten()]


def _logits_of(layers, x, bend=torch.relu):
    w1, b1, w2, b2 = layers
    return bend(x.double() @ w1.T + b1) @ w2.T + b2


_RESCALED = "the logits, only shifted and scaled in each row"

_FORMS = {
    "the softmax over the classes": lambda z: torch.softmax(z, 1),
    "the softmax of the softmax": lambda z: torch.softmax(torch.softmax(z, 1), 1),
    "the softmax over the batch": lambda z: torch.softmax(z, 0),
    "one softmax over all entries": lambda z: torch.softmax(z.flatten(), 0).view_as(z),
    "the log-softmax over the classes": lambda z: torch.log_softmax(z, 1),
    "the log-softmax over the batch": lambda z: torch.log_softmax(z, 0),
    "a sigmoid for each class": torch.sigmoid,
    "the logits cut off at 0": torch.relu,
    "the logits": lambda z: z,
    _RESCALED: lambda z: z / z.sum(1, keepdim=True),
    "the decision": lambda z: F.one_hot(z.argmax(1), z.shape[1]).double(),
}


def _form(out, z):
    return next((name for name, form in _FORMS.items() if torch.allclose(out, form(z), rtol=1e-4, atol=1e-5)), None)


def _rescaled(out, z):
    """The form of `out` if each row is a straight function of the row's logits."""
    a, b = (v - v.mean(1, keepdim=True) for v in (out, z))
    factor = (a * b).sum(1, keepdim=True) / (b * b).sum(1, keepdim=True)
    return _RESCALED if bool((factor > 0).all()) and torch.allclose(a, b * factor, rtol=1e-4, atol=1e-5) else None


def _not_logits(out, layers, x):
    """What is wrong with `out` as logits for F.cross_entropy, which ignores a constant in each row; None if nothing is."""
    out, z = torch.as_tensor(out).double(), _logits_of(layers, x)
    same = lambda a, b: torch.allclose(torch.log_softmax(a, 1), torch.log_softmax(b, 1), rtol=1e-4, atol=1e-4)
    if tuple(out.shape) != (200, 10):
        return "another shape than (N, c)"
    if same(out, z):
        return None
    if same(out, _logits_of(layers, x, lambda h: h)):
        return "the affine function without the ReLU"
    form = _form(out, z)
    if form:
        return form
    centred = out - out.mean(1, keepdim=True)
    if torch.allclose(centred, torch.zeros_like(centred), atol=1e-6):
        return "the same number for every class"
    for name, base in (("a multiple of the probabilities", torch.softmax(z, 1)), ("a multiple of the logits", z)):
        base = base - base.mean(1, keepdim=True)
        factor = (centred * base).sum() / (base * base).sum()
        if torch.allclose(centred, base * factor, rtol=1e-3, atol=1e-4):
            return name if factor > 0 else name.replace("a multiple", "a negative multiple")
    return "other numbers"


def _accept_training(result, seed):
    first, last = result["first"], result["last"]
    x, y = _points(seed)
    layers, trained = _layers(first["weights"]), _layers(last["weights"])
    if layers is None or trained is None:
        return "The net holds other parameters than those of its two linear layers."
    if not torch.equal(torch.as_tensor(first["out"]), torch.as_tensor(first["again"])):
        return "forward returns something else at each call, for the same examples."
    wrong = _not_logits(first["out"], layers, x) or _not_logits(last["out"], trained, x)
    if wrong == "other numbers" and not torch.allclose(
        torch.as_tensor(first["few"]), torch.as_tensor(first["out"])[:3], rtol=1e-4, atol=1e-5
    ):
        wrong = "numbers that depend on the other examples of the batch"
    if wrong:
        return f"forward does not return the logits of the two layers. It returns {wrong}."
    if _not_logits(last["evaluated"], trained, x):
        return "forward returns something else in evaluation mode than in training mode."
    if tuple(first["one"].shape) != (1, 10):
        return "forward returns another shape than (1, c) for a single example."
    leaves = [w.clone().requires_grad_(True) for w in layers]
    loss = F.cross_entropy(_logits_of(leaves, x), y)
    slopes = _layers(first["slopes"])
    for wanted, got in zip(torch.autograd.grad(loss, leaves), slopes):
        if not torch.allclose(got, wanted, rtol=1e-3, atol=1e-5):
            return (
                "The gradient of the loss does not reach all weights."
                if not got.any()
                else "The gradient of the loss is not that of the two layers."
            )
    if abs(loss.item() - math.log(10)) > 0.35:
        return f"The first loss is {loss.item():.2f}, not near ln C."
    end = F.cross_entropy(_logits_of(trained, x), y).item()
    return end < 0.15 or f"The loss stays at {end:.2f} after training."


def _other_sizes(numbers, one):
    """What is wrong with Net(3, 5, 4) and the shape of its answer to one example; True if nothing is."""
    if numbers != 3 * 5 + 5 + 5 * 4 + 4:
        return "The layers of Net(3, 5, 4) have other sizes than 3, 5 and 4."
    return one == [1, 4] or "predict_proba returns another shape than (1, c) for a single example."


def _accept_probabilities(result, seed):
    layers, out, got = _layers(result["weights"]), torch.as_tensor(result["out"]).double(), torch.as_tensor(result["proba"]).double()
    if layers is None:
        return "The net holds other parameters than those of its two linear layers."
    x, _ = _points(seed + 7)
    if tuple(got.shape) != (200, 10):
        return "predict_proba returns another shape than (N, c)."
    z, wrong = _logits_of(layers, x), _not_logits(out, layers, x)
    if torch.allclose(got, torch.softmax(out, 1), atol=1e-5):
        if wrong:
            return f"predict_proba is the softmax of what forward returns, and that is {wrong}."
        return _other_sizes(**result["sizes"])
    if not torch.allclose(got, torch.softmax(z, 1), atol=1e-5):
        return f"predict_proba does not return the probabilities of the two layers. It returns {_form(got, z) or _rescaled(got, z) or 'other numbers'}, and forward returns {wrong or 'the logits'}."
    return "predict_proba is not the softmax of what forward returns."


def _net(after=lambda z: z, proba=lambda net, x: torch.softmax(net(x), dim=1), between=torch.relu, evaluated=None):
    class Net(nn.Module):
        def __init__(self, d, h, c):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(d, h), nn.Linear(h, c)

        def forward(self, x):
            z = self.fc2(between(self.fc1(x)))
            return evaluated(z) if evaluated and not self.training else after(z)

        def predict_proba(self, x):
            return proba(self, x)

    return Net


def _soft(z):
    return torch.softmax(z, dim=1)


@exercise("losses.debug-double-softmax", names="Net", covers=["losses.double-softmax", "losses.q.raw-logits"], seconds=60)
class DebugDoubleSoftmax:
    reference = _net()

    cases = {
        "training": group([call(0)], probe=_train_net, accept=_accept_training),
        "probabilities": group([call(0), call(1)], probe=_ask_probabilities, accept=_accept_probabilities),
    }

    softmax_left = trap(
        "F.cross_entropy applies softmax itself. With probabilities as logits the best possible loss is ln(1 + (C−1)/e): drop the softmax in forward."
    )(_net(_soft, lambda net, x: net(x)))
    softmax_in_both = trap(
        "forward still returns probabilities, and predict_proba now applies softmax to them once more. Take it out of forward."
    )(_net(_soft))
    removed_everywhere = trap(
        "Training needs logits, but users need probabilities: put the softmax into predict_proba. Its rows must sum to 1."
    )(_net(proba=lambda net, x: net(x)))
    softmax_over_the_batch = trap(
        "dim=0 normalises over the batch: examples influence each other, and it is still a softmax before F.cross_entropy."
    )(_net(lambda z: torch.softmax(z, dim=0), lambda net, x: net(x)))
    softmax_over_the_batch_then_again = trap(
        "dim=0 normalises over the batch: examples influence each other, and it is still a softmax before F.cross_entropy."
    )(_net(lambda z: torch.softmax(z, dim=0)))
    proba_over_the_batch = trap("In predict_proba the softmax runs along dim=0, over the examples. Classes are in dim=1.")(
        _net(proba=lambda net, x: torch.softmax(net(x), dim=0))
    )
    twice_in_proba = trap("Two softmaxes in predict_proba squeeze all confidences towards 1/C. One is right.")(
        _net(proba=lambda net, x: _soft(_soft(net(x))))
    )
    sigmoid_in_forward = trap(
        "A sigmoid in forward squeezes the logits into (0, 1), much as the softmax did. The last linear layer's output goes into F.cross_entropy as it is."
    )(_net(torch.sigmoid))
    sigmoid_in_proba = trap("A sigmoid per class gives independent numbers that do not sum to 1. Exclusive classes need softmax.")(
        _net(proba=lambda net, x: torch.sigmoid(net(x)))
    )
    log_probabilities = trap("predict_proba returns log-probabilities. Use softmax there, not log_softmax.")(
        _net(proba=lambda net, x: torch.log_softmax(net(x), dim=1))
    )
    hard_labels = trap("predict_proba returns the decision, not the probabilities.")(
        _net(proba=lambda net, x: F.one_hot(net(x).argmax(1), net(x).shape[1]).double())
    )
    class_numbers = trap("predict_proba returns class numbers. It should return the probability of each class, (N, c).")(
        _net(proba=lambda net, x: net(x).argmax(dim=1))
    )
    softmax_when_evaluating = trap(
        "Your forward returns probabilities in evaluation mode: the validation loss, computed there, would be wrong. Return logits in both modes."
    )(_net(evaluated=_soft))
    relu_at_the_end = trap("A ReLU on the logits cuts the gradients of negative ones. Nothing follows the last linear layer.")(
        _net(torch.relu)
    )
    relu_removed = trap("The ReLU is gone: two linear layers without a bend are one. Only the softmax was wrong.")(
        _net(between=lambda z: z)
    )
    shares_in_proba = trap(
        "Shifting the logits, or dividing them by their sum, gives no probabilities: these need the exponential. Use softmax."
    )(_net(proba=lambda net, x: net(x) / net(x).sum(dim=1, keepdim=True)))

    log_softmax_over_the_batch = trap(
        "dim=0 normalises over the batch: an example's logits then depend on the others in its batch. Leave the normalisation to F.cross_entropy."
    )(_net(lambda z: torch.log_softmax(z, dim=0)))

    multiple_in_forward = trap(
        "There is still a softmax in forward: a factor or a second log-softmax after it does not undo it. Return the last linear layer's output."
    )(_net(lambda z: 20 * _soft(z)))
    scaled_logits = trap(
        "Logits times a factor start with a loss far above ln C: confident before anything is learned. Return the last linear layer's output as it is."
    )(_net(lambda z: 10 * z, lambda net, x: torch.softmax(net(x), dim=1)))
    one_sum_for_all = trap(
        "Each row is a distribution of its own: sum over the classes, dim=1. You divided by one sum for the whole batch."
    )(_net(proba=lambda net, x: torch.softmax(net(x).flatten(), 0).view(len(x), -1)))
    hidden_detached = trap(
        "The loss falls, but the gradient never reaches the first layer (a detach, no_grad or frozen weights): it does not learn. Only the softmax was wrong."
    )(_net(between=lambda h: torch.relu(h).detach()))
    centred_over_the_batch = trap(
        "An example's row depends on the others in its batch: you took a statistic over dim=0. Return the last linear layer's output as it is."
    )(_net(lambda z: z - z.mean(0, keepdim=True)))
    something_after_the_logits = trap(
        "Return fc2(relu(fc1(x))) as it is: no other activation between, no log, epsilon or clip after it. F.cross_entropy does the rest, and exactly."
    )(_net(lambda z: torch.log(_soft(z) + 1e-3)))
    dropout_added = trap("forward gives other numbers at each call or in each mode. The net has two linear layers and a ReLU, no dropout.")(
        _net(between=lambda h: F.dropout(torch.relu(h), 0.2))
    )

    squeezed = trap("squeeze() drops the batch axis of a single example. Keep (N, c) for every N, 1 included.")(
        _net(lambda z: z.squeeze(), lambda net, x: torch.softmax(net(x), dim=-1))
    )

    @trap("The sizes are arguments of Net: yours are those of the example, whatever d, h and c say.")
    class sizes_of_the_example(_net()):
        def __init__(self, d, h, c):
            super().__init__(d, 24, 10)

    log_softmax_in_forward = right("log-softmax in forward: it is idempotent")(_net(lambda z: F.log_softmax(z, dim=1)))

    @right("nn.Sequential and no_grad")
    class Sequential(nn.Module):
        def __init__(self, d, h, c):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(d, h), nn.ReLU(), nn.Linear(h, c))

        def forward(self, x):
            return self.layers(x)

        @torch.no_grad()
        def predict_proba(self, x):
            z = self.layers(x)
            e = (z - z.max(dim=-1, keepdim=True).values).exp()
            return e / e.sum(dim=-1, keepdim=True)


# ------------------------------------------------------------------------------------------------------------ write the test


def _torch_ce(logits, targets, weight=None):
    return F.cross_entropy(_t(logits), _long(targets), weight=None if weight is None else _t(weight)).item()


def _logaddexp_ce(logits, targets, weight=None):
    logits, targets = np.asarray(logits, float), np.asarray(targets)
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(targets)), targets]
    return np.average(losses, weights=None if weight is None else np.asarray(weight, float)[targets])


def _loop_ce(logits, targets, weight=None):
    total = votes = 0.0
    for row, t in zip(np.asarray(logits, float), np.asarray(targets)):
        w = 1.0 if weight is None else float(weight[t])
        total += w * (max(row) - row[t] + math.log(sum(math.exp(v - max(row)) for v in row)))
        votes += w
    return total / votes


def _one_hot_ce(logits, targets, weight=None):
    z = np.asarray(logits, float)
    chosen = np.eye(z.shape[1])[np.asarray(targets)] * (1.0 if weight is None else np.asarray(weight, float))
    return np.array((chosen * (np.logaddexp.reduce(z, axis=1, keepdims=True) - z)).sum() / chosen.sum())


def _pairwise_ce(logits, targets, weight=None):
    z, y = np.asarray(logits, float), np.asarray(targets)
    gaps = z - z[np.arange(len(y)), y][:, None]  # against the true class
    top = gaps.max(axis=1)
    losses = top + np.log(np.exp(gaps - top[:, None]).sum(axis=1))
    w = np.ones(len(y)) if weight is None else np.asarray(weight, float)[y]
    return np.float64(np.dot(losses, w / w.sum()))


def _nll_loss_ce(logits, targets, weight=None):
    log_p = F.log_softmax(_t(logits), dim=1)
    return float(F.nll_loss(log_p, _long(targets), weight=None if weight is None else _t(weight)))


def _array_ce(logits, targets, weight=None):
    z = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(z).sum(axis=1)) - np.take_along_axis(z, targets[:, None], axis=1)[:, 0]
    return losses.mean() if weight is None else np.dot(losses, weight.take(targets)) / weight.take(targets).sum()


def _wrong_ce(losses=None, reduce=None):
    def cross_entropy(logits, targets, weight=None):
        with np.errstate(all="ignore"):
            z, y = np.asarray(logits, float), np.asarray(targets)
            loss = (losses or (lambda z, y: -_picked(_log_softmax(z), y)))(z, y)
            w = np.ones(len(y)) if weight is None else np.asarray(weight, float)[y]
            return float((reduce or (lambda loss, w: (w * loss).sum() / w.sum()))(loss, w))

    return cross_entropy


def _naive_losses(z, y):
    e = np.exp(z)
    return -np.log(_picked(e / e.sum(axis=1, keepdims=True), y))


def _global_losses(z, y):
    s = z - z.max()
    return -_picked(s - np.log(np.exp(s).sum(axis=1, keepdims=True)), y)


def _ce_close(got, expected, tolerance=1e-9):
    return abs(float(got) - expected) <= tolerance * (1 + abs(expected))


def _all_weights_ce(logits, targets, weight=None):
    if weight is None:
        return _logaddexp_ce(logits, targets)
    w = np.asarray(weight, float)
    return _logaddexp_ce(logits, targets, w) * w[np.asarray(targets)].sum() / w.sum()


_CHECKED = [(_L53, _Y5), (_SQUARE, np.array([1, 0, 1])), (_FAR, _FAR_Y), (np.array([[0.0, 40.0, 30.0]]), np.array([0]))]


@exercise(
    "losses.test-cross-entropy", names="check_cross_entropy", covers=["losses.cce", "losses.class-weighted-ce", "losses.probe-logits"]
)
class TestCrossEntropy:
    accepts = {
        "NumPy arrays only": _array_ce,
        "torch": _torch_ce,
        "through logaddexp": _logaddexp_ce,
        "in a loop": _loop_ce,
        "one-hot": _one_hot_ce,
        "gaps to the true class": _pairwise_ce,
        "nll_loss": _nll_loss_ce,
    }
    catches = {
        "no shift": _wrong_ce(_naive_losses),
        "one maximum for all": _wrong_ce(_global_losses),
        "epsilon in the log": _wrong_ce(lambda z, y: -np.log(_picked(_softmax(z), y) + 1e-7)),
        "softmax first": _wrong_ce(lambda z, y: -_picked(_log_softmax(_softmax(z)), y)),
        "weights ignored": _wrong_ce(reduce=lambda loss, w: loss.mean()),
        "weighted sum over N": _wrong_ce(reduce=lambda loss, w: (w * loss).mean()),
        "sum for mean": _wrong_ce(reduce=lambda loss, w: (w * loss).sum()),
        "softmax over the batch": _wrong_ce(lambda z, y: -_picked(_log_softmax(z.T).T, y)),
        "logits clipped": _wrong_ce(lambda z, y: -_picked(_log_softmax(np.clip(z, -500, 500)), y)),
        "divided by all weights": _all_weights_ce,
    }

    def reference(cross_entropy):
        for z, y in _CHECKED:
            for w in (None, _W3):
                got = cross_entropy(z, y) if w is None else cross_entropy(z, y, weight=w)
                assert _ce_close(got, _torch_ce(z, y, w))

    @trap("Moderate logits do not overflow. Add rows near +1000 and near −1000, in one batch.")
    def moderate_logits_only(cross_entropy):
        for z, y in _CHECKED[:2]:
            for w in (None, _W3):
                got = cross_entropy(z, y) if w is None else cross_entropy(z, y, weight=w)
                assert _ce_close(got, _torch_ce(z, y, w))

    @trap(
        "Your check does not show how the weights are used. Call it with clearly unequal weights too, and with targets of several classes, one of them more than once."
    )
    def no_weights(cross_entropy):
        for z, y in _CHECKED:
            assert _ce_close(cross_entropy(z, y), _torch_ce(z, y))

    @trap("A single example has one weight, and it cancels; and its mean is its sum. Use batches.")
    def one_example_only(cross_entropy):
        for z, y in ((_L53[:1], _Y5[:1]), (_FAR[:1], _FAR_Y[:1]), _CHECKED[3]):
            for w in (None, _W3):
                got = cross_entropy(z, y) if w is None else cross_entropy(z, y, weight=w)
                assert _ce_close(got, _torch_ce(z, y, w))

    @trap(
        "If the tolerance is taken relative to the result under test, an infinite result is always close enough. Take it relative to the expected value."
    )
    def tolerance_of_the_result(cross_entropy):
        for z, y in _CHECKED:
            for w in (None, _W3):
                got = float(cross_entropy(z, y) if w is None else cross_entropy(z, y, weight=w))
                assert not abs(got - _torch_ce(z, y, w)) > 1e-9 * (1 + abs(got))

    @trap(
        "A tolerance of a percent lets an epsilon or a clipped logit through on moderate losses. Right implementations agree to about 1e−12; ask for 1e−9, and use a hopeless example."
    )
    def loose_and_without_extremes(cross_entropy):
        for z, y in (*_CHECKED[:2], (1000 + _L53, _Y5)):
            for w in (None, _W3):
                got = cross_entropy(z, y) if w is None else cross_entropy(z, y, weight=w)
                assert _ce_close(got, _torch_ce(z, y, w), 1e-2)

    @trap(
        "Your check rejects right implementations: they may differ in the last digits and return any kind of float. Compare float(result), with a relative tolerance of about 1e−9."
    )
    def equal_to_the_last_bit(cross_entropy):
        for z, y in _CHECKED:
            for w in (None, _W3):
                got = cross_entropy(z, y) if w is None else cross_entropy(z, y, weight=w)
                assert got == _torch_ce(z, y, w)

    @trap(
        "Your check accepts a division by the sum of all class weights. Repeat one class in the batch and leave another out, so that the two sums differ clearly, and keep the tolerance tight."
    )
    def each_class_once(cross_entropy):
        for z, y in ((_SQUARE, np.array([1, 0, 2])), (_FAR, np.array([2, 0, 1])), (np.array([[0.0, 40.0], [0.0, 1.0]]), np.array([0, 1]))):
            for w in (None, _W3[: z.shape[1]]):
                got = cross_entropy(z, y) if w is None else cross_entropy(z, y, weight=w)
                assert _ce_close(got, _torch_ce(z, y, w))

    @trap(
        "Finite and positive is a weak property: a wrong mean, ignored weights and a double softmax have it too. Compare with known values."
    )
    def finite_and_positive(cross_entropy):
        for z, y in _CHECKED:
            got = cross_entropy(z, y, weight=_W3)
            assert np.isfinite(got) and got >= 0

    @trap(
        "Your check accepts clipped logits: their losses are finite, and too small. Compare with the known value on a row whose true class lies a thousand or more below the largest logit."
    )
    def finite_at_the_extremes(cross_entropy):
        for z, y in _CHECKED:
            for w in (None, _W3):
                got = cross_entropy(z, y, w)
                assert np.isfinite(got) if z is _FAR else _ce_close(got, _torch_ce(z, y, w))

    @trap("Equal logits give ln C under almost every mistake. They are one good case, not a test.")
    def only_the_first_loss(cross_entropy):
        for c in (2, 3, 10):
            assert _ce_close(cross_entropy(np.zeros((4, c)), np.arange(4) % c), math.log(c))

    @trap("Your check rejects right implementations: the mean with weights divides by the sum of the weights of the targets, not by N.")
    def expects_another_mean(cross_entropy):
        for z, y in _CHECKED:
            losses = -_picked(_log_softmax(z), y)
            assert _ce_close(cross_entropy(z, y, weight=_W3), float((_W3[y] * losses).mean()))

    @trap(
        "Your check accepts an implementation that ignores the weights. Use a batch with targets of several classes, clearly unequal weights and a tight tolerance."
    )
    def equal_weights(cross_entropy):
        for z, y in _CHECKED:
            assert _ce_close(cross_entropy(z, y), _torch_ce(z, y))
            assert _ce_close(cross_entropy(z, y, np.full(3, 2.0)), _torch_ce(z, y))

    @trap(
        "One maximum for the whole batch passes your check. Put rows near +1000 and −1000 into one batch, and compare relative to the expected value: inf is close to nothing."
    )
    def rows_at_one_height(cross_entropy):
        for z, y in (*_CHECKED[:2], _CHECKED[3], (1000 + _L53, _Y5), (np.array([[0.0, 2000.0, 1.0]]), np.array([0]))):
            for w in (None, _W3):
                assert _ce_close(cross_entropy(z, y, w), _torch_ce(z, y, w))

    @trap(
        "Your check rejects nearly every right implementation: it has a fault of its own, or asks for what the contract does not promise. Try it on F.cross_entropy."
    )
    def rejects_everything(cross_entropy):
        for z, y in _CHECKED:
            assert _ce_close(cross_entropy(z, y), _torch_ce(z, y))
        raise AssertionError

    @trap(
        "Your check rejects right implementations: they may differ in the last digits and return any kind of float. Compare float(result), with a relative tolerance of about 1e−9."
    )
    def python_floats_only(cross_entropy):
        for z, y in _CHECKED:
            for w in (None, _W3):
                got = cross_entropy(z, y, w)
                assert type(got) is float and _ce_close(got, _torch_ce(z, y, w))

    @trap(
        "Implementations are written for NumPy arrays, and a right one may call methods that a torch tensor does not have. Pass arrays; convert only the expected value."
    )
    def passes_tensors(cross_entropy):
        for z, y in _CHECKED:
            for w in (None, _W3):
                got = cross_entropy(_t(z), _long(y), None if w is None else _t(w))
                assert _ce_close(got, _torch_ce(z, y, w))

    @trap(
        "One example with moderate logits shows little: its mean is its sum, its weight cancels, nothing overflows. Use batches, unequal weights and rows near ±1000."
    )
    def one_moderate_example(cross_entropy):
        z, y = _L53[3:4], _Y5[3:4]
        for w in (None, _W3):
            assert _ce_close(cross_entropy(z, y, w), _torch_ce(z, y, w))

    @right("against a loop of its own")
    def against_a_loop(cross_entropy):
        rng = np.random.default_rng(3)
        for scale in (1.0, 30.0, 3000.0):
            for n, c in ((1, 4), (4, 4), (6, 3)):
                z, y, w = scale * rng.normal(size=(n, c)), rng.integers(0, c, n), rng.uniform(0.2, 3, c)
                plain, weighted = cross_entropy(z, y), cross_entropy(z, y, w)
                losses = [np.logaddexp.reduce(row) - row[t] for row, t in zip(z, y)]
                assert np.isclose(plain, np.mean(losses), rtol=1e-9)
                assert np.isclose(weighted, np.average(losses, weights=w[y]), rtol=1e-9)

    @right("a few known values")
    def known_values(cross_entropy):
        z, y = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
        assert math.isclose(cross_entropy(z, y), 1.0032044, abs_tol=1e-6)
        assert math.isclose(cross_entropy(z, y, np.array([1.0, 3.0])), 1.1582331, abs_tol=1e-6)
        assert math.isclose(cross_entropy(z, np.array([1, 1]), np.array([1.0, 3.0])), 1.0032044, abs_tol=1e-6)
        assert math.isclose(cross_entropy(_FAR, _FAR_Y), 1000.1358687, abs_tol=1e-4)
        assert math.isclose(cross_entropy(np.array([[0.0, 40.0]]), np.array([0])), 40.0, abs_tol=1e-6)
