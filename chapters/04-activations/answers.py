"""The hidden side of chapter 4: reference, cases and known misconceptions of every exercise."""

import functools
import math
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.authoring import Chain, arrays, call, describe, exercise, group, normal, rebuild, right, shaped, st, trap

_erf = np.vectorize(math.erf, otypes=[float])


def _sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e)).astype(np.asarray(z).dtype)


def _softmax(z, axis=-1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


_TRANSPOSED = np.array([[-5.0, 0.7, 2.0], [3.0, -1.5, 0.2]]).T
_PERMUTED = normal((2, 3, 4), 3.0, 21).transpose(0, 2, 1)  # three axes, in neither memory order, all digits
_FOUR_AXES = normal((2, 1, 3, 2), 3.0, 22)
_MANY = normal((60, 5), 3.0, 23)
_NO_ROWS = np.empty((0, 3))
_SILENCE = dict.fromkeys(("numpy.errstate", "numpy.seterr", "numpy.seterrcall", "warnings"), "avoid the overflow, do not silence it")


def _in_company(function, z, *args, axes=4, before=None, **named):
    """What a function gives for `z`. One of so many axes arrives as a view that runs backwards, and other calls come before and after it."""
    if z.ndim < axes:
        return function(z, *args, **named)
    function(z.reshape(z.shape[::-1]), **(before or {}))
    result = function(z[::-1].copy()[::-1], *args, **named)
    at_once = np.array(result)
    function(np.ones_like(z), *args, **named)
    return {"result": at_once, "result after another call": result}


# ---------------------------------------------------------------------------------------------------------------- relu family


def _only_relu(submission, z):
    return _in_company(submission.relu, z)


def _only_leaky(submission, z, *alpha, **named):
    return _in_company(submission.leaky_relu, z, *alpha, before={"alpha": 7.0}, **named)


def _only_elu(submission, z, *alpha, **named):
    return _in_company(submission.elu, z, *alpha, before={"alpha": 7.0}, **named)


def _relu(z):
    return np.maximum(z, 0.0)


def _leaky(z, alpha=0.01):
    return np.where(z > 0, z, alpha * z)


def _elu(z, alpha=1.0):
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))


def _family(relu=_relu, leaky_relu=_leaky, elu=_elu):
    return SimpleNamespace(relu=relu, leaky_relu=leaky_relu, elu=elu)


_SLOPES = st.sampled_from([0.01, 0.25, 1.5, -0.5])
_FAR = np.array([[-300.0, 7.5], [-0.5, 250.0], [6.5, -1e4]]).T


@exercise(
    "activations.relu-family",
    names="relu leaky_relu elu",
    covers=["activations.relu", "activations.leaky", "scratch.activations-code"],
    forbid={"torch": "", "scipy": ""} | _SILENCE,
    rtol=1e-9,
)
class ReluFamily:
    class reference:
        relu = _relu
        leaky_relu = _leaky
        elu = _elu

    cases = {
        "values": group(
            [
                call(arrays([(7,), (3, 4)], -30, 30)),
                call(np.array(-0.5)),
                call(np.array(2.5)),
                call(_NO_ROWS),
                call(_FAR),
                call(np.array([1e4, 350.0, -1e4])),
                call(_PERMUTED),
                call(_FOUR_AXES),
                call(_MANY),
            ],
            probe=_only_relu,
        ),
        "leaky": group(
            [
                call(arrays([(7,), (3, 4)]), alpha=_SLOPES),
                call(arrays([(5,)])),
                call(np.array([-50.0, -3.0, 3.0]), alpha=5.0),
                call(_PERMUTED, -3.0),
                call(_FAR, alpha=0.0),
                call(np.array([1e4, -1e4, 300.0, -60.0]), alpha=0.5),
                call(np.array(-2.5), alpha=1.5),
                call(_NO_ROWS),
                call(_FOUR_AXES),
                call(_MANY, alpha=0.3),
            ],
            probe=_only_leaky,
            n=10,
        ),
        "elu": group(
            [
                call(arrays([(7,), (3, 4)]), alpha=st.sampled_from([0.5, 1.0, 1.7, -0.4])),
                call(arrays([(5,)])),
                call(_TRANSPOSED, alpha=0.0),
                call(_PERMUTED, 3.0),
                call(np.array([-8.0, -12.0, -20.0, 12.0]), alpha=2.0),
                call(np.array(-2.5), alpha=1.5),
                call(_NO_ROWS),
                call(_FOUR_AXES),
                call(_MANY, alpha=0.3),
            ],
            probe=_only_elu,
            n=10,
        ),
        "stability": group(
            [call(np.array([1e4, -1e4, 0.5])), call(np.array([[900.0, -2.0]]), alpha=0.7), call(_FAR), call(np.array(-2.5), alpha=1.5)],
            probe=_only_elu,
        ),
    }

    @trap("max(alpha z, z) picks the wrong branch as soon as alpha exceeds 1. Choose the branch by the sign of z.")
    class leaky_by_maximum:
        relu = _relu
        elu = _elu

        def leaky_relu(z, alpha=0.01):
            return np.maximum(alpha * z, z)

    @trap("The small slope belongs to the negative side; positive inputs pass unchanged.")
    class leaky_on_the_wrong_side:
        relu = _relu
        elu = _elu

        def leaky_relu(z, alpha=0.01):
            return np.where(z > 0, alpha * z, z)

    @trap("This slope is always 0.01: use the argument alpha.")
    class alpha_ignored:
        relu = _relu
        elu = _elu

        def leaky_relu(z, alpha=0.01):
            return np.where(z > 0, z, 0.01 * z)

    _overflows = "Both branches are evaluated for every entry (np.where and masks only select), so exp overflows for large positive z that is then thrown away. Put min(z, 0) into the exponent."
    elu_overflows = trap(_overflows)(_family(elu=lambda z, alpha=1.0: np.where(z > 0, z, alpha * (np.exp(z) - 1))))
    elu_overflows_in_expm1 = trap(_overflows)(_family(elu=lambda z, alpha=1.0: np.where(z > 0, z, alpha * np.expm1(z))))
    elu_overflows_in_a_product = trap(_overflows)(_family(elu=lambda z, alpha=1.0: (z > 0) * z + (z <= 0) * alpha * (np.exp(z) - 1)))

    @trap("ELU's negative side is alpha (e^z − 1): without the −1 the function jumps at 0.")
    class elu_without_minus_one:
        relu = _relu
        leaky_relu = _leaky

        def elu(z, alpha=1.0):
            return np.where(z > 0, z, alpha * np.exp(np.minimum(z, 0)))

    @trap("alpha scales the whole negative branch of ELU, alpha (e^z − 1); yours stands elsewhere or is missing.")
    class elu_without_alpha:
        relu = _relu
        leaky_relu = _leaky

        def elu(z, alpha=1.0):
            return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))

    @trap("alpha multiplies (e^z − 1), not z in the exponent.")
    class elu_alpha_in_the_exponent:
        relu = _relu
        leaky_relu = _leaky

        def elu(z, alpha=1.0):
            return np.where(z > 0, z, np.expm1(alpha * np.minimum(z, 0)))

    @trap("alpha multiplies the whole bracket, alpha (e^z − 1). As written only e^z is multiplied, and the function jumps at 0.")
    class elu_bracket_missing:
        relu = _relu
        leaky_relu = _leaky

        def elu(z, alpha=1.0):
            return np.where(z > 0, z, alpha * np.exp(np.minimum(z, 0)) - 1)

    @trap("alpha scales the negative side of ELU only; positive z passes unchanged. (With a factor on both sides it would be SELU.)")
    class elu_alpha_on_both_sides:
        relu = _relu
        leaky_relu = _leaky

        def elu(z, alpha=1.0):
            return alpha * np.where(z > 0, z, np.expm1(np.minimum(z, 0)))

    @trap("The default slope is not the one that the task states: leaky_relu(z, alpha=0.01).")
    class leaky_default:
        relu = _relu
        elu = _elu

        def leaky_relu(z, alpha=0.1):
            return np.where(z > 0, z, alpha * z)

    @trap("This is ReLU's derivative (0 or 1). ReLU itself hands positive values on: max(0, z).")
    class relu_derivative:
        leaky_relu = _leaky
        elu = _elu

        def relu(z):
            return (z > 0).astype(float)

    @trap("This is the absolute value: negative inputs must become 0, not change sign.")
    class absolute_value:
        leaky_relu = _leaky
        elu = _elu

        def relu(z):
            return np.abs(z)

    @trap("This is ReLU6, capped at 6. ReLU has no upper bound: however large z is, it passes unchanged.")
    class capped_at_6:
        leaky_relu = _leaky
        elu = _elu

        def relu(z):
            return np.clip(z, 0, 6)

    @trap(
        "With a negative alpha your left side is 0: max(z, 0) + min(0, alpha (e^z − 1)) is ELU for alpha ≥ 0 only. Choose the branch by the sign of z."
    )
    class elu_by_minimum:
        relu = _relu
        leaky_relu = _leaky

        def elu(z, alpha=1.0):
            return np.maximum(z, 0) + np.minimum(0, alpha * np.expm1(np.minimum(z, 0)))

    @trap("A 0-d array has no rows to loop over and no len. Work on the whole array (np.where does), or loop over z.ravel() and reshape.")
    class row_by_row:
        def relu(z):
            return np.array([np.maximum(row, 0.0) for row in z])

        def leaky_relu(z, alpha=0.01):
            return np.array([_leaky(row, alpha) for row in z])

        def elu(z, alpha=1.0):
            return np.array([_elu(row, alpha) for row in z])

    @right("products with masks")
    class with_masks:
        def relu(z):
            return z * (z > 0)

        def leaky_relu(z, alpha=0.01):
            return z * (z > 0) + alpha * z * (z <= 0)

        def elu(z, alpha=1.0):
            return np.maximum(z, 0) + alpha * (np.exp(np.minimum(z, 0)) - 1)

    @right("one element at a time")
    class one_by_one:
        def relu(z):
            return np.vectorize(lambda v: v if v > 0 else 0.0, otypes=[float])(z)

        def leaky_relu(z, alpha=0.01):
            return np.vectorize(lambda v: v if v > 0 else alpha * v, otypes=[float])(z)

        def elu(z, alpha=1.0):
            return np.vectorize(lambda v: v if v > 0 else alpha * (math.exp(v) - 1), otypes=[float])(z)


# ------------------------------------------------------------------------------------------------------------------- sigmoid


def _only_sigmoid(submission, z):
    return _in_company(submission.sigmoid, z)


def _only_dsigmoid(submission, z):
    return _in_company(submission.dsigmoid, z)


def _naive(z):
    return 1 / (1 + np.exp(-z))


def _slope_of(sigmoid):
    return lambda z: sigmoid(z) * (1 - sigmoid(z))


def _pair(sigmoid, dsigmoid=None):
    return SimpleNamespace(sigmoid=sigmoid, dsigmoid=dsigmoid or _slope_of(sigmoid))


_ANY_SHAPE = [(7,), (3, 4), (2, 1, 3), ()]


@exercise(
    "activations.stable-sigmoid",
    names="sigmoid dsigmoid",
    covers=["activations.sigmoid", "activations.max-derivative", "scratch.activations-code"],
    forbid={"torch": "", "scipy": ""} | _SILENCE,
    keeps_dtype=True,
)
class StableSigmoid:
    class reference:
        def sigmoid(z):
            return torch.sigmoid(torch.as_tensor(z.copy()))

        def dsigmoid(z):
            s = torch.sigmoid(torch.as_tensor(z.copy()))
            return s * (1 - s)

    def probe(submission, z):
        result = {"sigmoid": submission.sigmoid(z), "dsigmoid": submission.dsigmoid(z)}
        submission.sigmoid(np.zeros_like(z))  # must not change the results before it
        submission.dsigmoid(np.zeros_like(z))
        return result

    cases = {
        "values": group(
            [
                call(arrays(_ANY_SHAPE, -28, 28)),
                call(np.array([-2.0, 2.0])),
                call(np.array(0.3)),
                call(np.linspace(-27, 27, 15).reshape(3, 5).T),
                call(_PERMUTED),
                call(_FOUR_AXES),
                call(_MANY),
                call(_NO_ROWS),
            ],
            probe=_only_sigmoid,
            rtol=1e-13,
            atol=1e-12,
        ),
        "derivative": group(
            [
                call(arrays(_ANY_SHAPE, -28, 28)),
                call(np.array(0.0)),
                call(np.linspace(-3, 3, 9).reshape(3, 3).T),
                call(_NO_ROWS),
                call(_PERMUTED),
                call(_FOUR_AXES),
                call(_MANY),
            ],
            probe=_only_dsigmoid,
            rtol=1e-13,
            atol=1e-12,
        ),
        "stability": [
            call(np.array([-800.0, -2.0, 1.5])),
            call(np.array([800.0, -2.0, 1.5])),
            call(arrays([(4,), (2, 3)], -1e4, 1e4)),
            call(np.array([-1e4, 1e4, 0.7], np.float32)),
            call(np.array([-95.0, 0.7], np.float32)),
            call(np.array([95.0, 0.7], np.float32)),
            call(_TRANSPOSED.astype(np.float32)),
        ],
        "dtype": [
            call(arrays([(5,), (2, 3)], -8, 8, dtype=np.float32)),
            call(np.array(1.25, np.float32)),
            call(np.empty((0,), np.float32)),
            call(_TRANSPOSED.astype(np.float32)),
        ],
    }

    _overflow = "exp(−z) overflows for very negative z. Let the exponent never be positive: build both cases from exp(−|z|)."
    naive = trap(_overflow)(_pair(_naive))
    naive_in_the_derivative = trap(_overflow)(_pair(_sigmoid, lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2))
    naive_in_both = trap(_overflow)(_pair(_naive, lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2))

    _on_top = "exp(z) is safe for negative z only: at z = 800 it is infinite, and inf/inf = nan. Use the other form for z ≥ 0, or exp(−|z|) in both."
    exponential_on_top = trap(_on_top)(_pair(lambda z: np.exp(z) / (1 + np.exp(z))))
    one_minus_the_rest = trap(_on_top)(_pair(lambda z: 1 - 1 / (1 + np.exp(z))))

    @trap(
        "np.where evaluates BOTH branches for every entry, so the branch you throw away still overflows. Put −|z| into the exponent of both."
    )
    class both_branches:
        def sigmoid(z):
            return np.where(z >= 0, 1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z)))

        def dsigmoid(z):
            s = np.where(z >= 0, 1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z)))
            return s * (1 - s)

    @trap("s(1−s) is the derivative in terms of the OUTPUT s = sigmoid(z). You put z itself in: compute the sigmoid first.")
    class derivative_of_the_input:
        sigmoid = _sigmoid

        def dsigmoid(z):
            return z * (1 - z)

    @trap("1 − s² is the derivative of tanh. For the sigmoid it is s(1−s), with its peak 0.25 at z = 0.")
    class derivative_of_tanh:
        sigmoid = _sigmoid

        def dsigmoid(z):
            return 1 - _sigmoid(z) ** 2

    @trap("s(1 − s²) mixes the sigmoid's derivative, s(1−s), with that of tanh, 1 − t². No square here.")
    class derivative_with_a_square:
        sigmoid = _sigmoid

        def dsigmoid(z):
            s = _sigmoid(z)
            return s * (1 - s**2)

    @trap("Your derivative applies the sigmoid once more to a value that went through it already. It takes z, not sigmoid(z).")
    class sigmoid_twice:
        sigmoid = _sigmoid

        def dsigmoid(z):
            s = _sigmoid(_sigmoid(z))
            return s * (1 - s)

    @trap(
        "A result allocated with np.zeros (or np.array of Python floats) is float64, whatever z was. Keep the dtype: np.empty_like(z), or .astype(z.dtype)."
    )
    class float64_result:
        def sigmoid(z):
            out = np.zeros(z.shape)
            out[...] = _sigmoid(z)
            return out

        def dsigmoid(z):
            s = np.zeros(z.shape)
            s[...] = _sigmoid(z)
            return s * (1 - s)

    @trap("exp(−|z|) alone loses the sign: your sigmoid(−2) equals sigmoid(2). For z < 0 use e/(1+e).")
    class sign_lost:
        def sigmoid(z):
            return 1 / (1 + np.exp(-np.abs(z)))

        def dsigmoid(z):
            s = 1 / (1 + np.exp(-np.abs(z)))
            return s * (1 - s)

    _clip = "Clipping z to a narrow range avoids the overflow but changes the value: sigmoid(−25) is 1.4e−11, not the sigmoid of your bound. No clipping is needed with exp(−|z|)."
    clipped_at_5 = trap(_clip)(_pair(lambda z: _naive(np.clip(z, -5, 5))))
    clipped_at_10 = trap(_clip)(_pair(lambda z: _naive(np.clip(z, -10, 10))))
    clipped_at_15 = trap(_clip)(_pair(lambda z: _naive(np.clip(z, -15, 15))))
    clipped_at_20 = trap(_clip)(_pair(lambda z: _naive(np.clip(z, -20, 20))))
    clipped_at_25 = trap(_clip)(_pair(lambda z: _naive(np.clip(z, -25, 25))))
    clipped_for_float64_only = trap(
        "In float32 exp overflows from 88.7 on, so clipping at a bound that suits float64 does not help there. No clipping is needed with exp(−|z|)."
    )(_pair(lambda z: _naive(np.clip(z, -500, 500))))

    @right("through tanh")
    class through_tanh:
        def sigmoid(z):
            return (0.5 * (1 + np.tanh(z / 2))).astype(z.dtype)

        def dsigmoid(z):
            return (0.25 * (1 - np.tanh(z / 2) ** 2)).astype(z.dtype)

    @right("masks and a preallocated result")
    class with_masks:
        def sigmoid(z):
            out, positive = np.empty_like(z), z >= 0
            out[positive] = 1 / (1 + np.exp(-z[positive]))
            e = np.exp(z[~positive])
            out[~positive] = e / (1 + e)
            return out

        def dsigmoid(z):
            e = np.exp(-np.abs(z))
            return e / (1 + e) ** 2

    @right("one element at a time")
    class one_by_one:
        def sigmoid(z):
            def one(v):
                return 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v))

            return np.array([one(float(v)) for v in z.ravel()], dtype=z.dtype).reshape(z.shape)

        def dsigmoid(z):
            s = _sigmoid(z)
            return s - s**2


# ---------------------------------------------------------------------------------------------------------------------- tanh


def _only_tanh(submission, z):
    return _in_company(submission.tanh, z)


def _only_dtanh(submission, z):
    return _in_company(submission.dtanh, z)


def _tanh(z):
    return 2 * _sigmoid(2 * z) - 1


def _tanh_pair(tanh):
    return SimpleNamespace(tanh=tanh, dtanh=lambda z: 1 - tanh(z) ** 2)


_NEARLY_FLAT = np.array([-12.3, -10.5, 10.5, 12.3])  # 1 - |tanh| is 4e-11 and 2e-9 here: a clip or a cut at 10 or 12 shows

_INVERSE = {"numpy": ("arctanh", "arcsinh", "arccosh")} | dict.fromkeys(("math", "cmath"), ("atanh", "asinh", "acosh"))
_NO_TANH = (
    {
        f"{library}.{name}": "tanh is to be built from exp"
        for library in ("numpy", "math", "cmath")
        for name in ("tanh", "sinh", "cosh", "tan", "sin", "cos", *_INVERSE[library])
    }
    | dict.fromkeys(("numpy.sinc", "matplotlib.scale"), "it computes a sine inside")
    | dict.fromkeys(("torch", "scipy"), "")
    | _SILENCE
)


@exercise("activations.stable-tanh", names="tanh dtanh", covers=["activations.tanh"], forbid=_NO_TANH, rtol=1e-12, atol=1e-11)
class StableTanh:
    class reference:
        def tanh(z):
            return torch.tanh(torch.as_tensor(z.copy()))

        def dtanh(z):
            return 1 - torch.tanh(torch.as_tensor(z.copy())) ** 2

    def probe(submission, z):
        return {"tanh": submission.tanh(z), "dtanh": submission.dtanh(z)}

    cases = {
        "values": group(
            [
                call(arrays([(9,), (3, 4)], -14, 14)),
                call(_NEARLY_FLAT),
                call(np.array(-0.4)),
                call(_NO_ROWS),
                call(_TRANSPOSED),
                call(_PERMUTED),
                call(_FOUR_AXES),
                call(_MANY),
            ],
            probe=_only_tanh,
        ),
        "derivative": group(
            [
                call(arrays([(9,), (3, 4)], -8, 8)),
                call(np.array([12.5, -12.8, 13.0, -14.0])),
                call(_NEARLY_FLAT),
                call(np.array(0.0)),
                call(np.linspace(-2, 2, 9).reshape(3, 3).T),
                call(_PERMUTED),
                call(_NO_ROWS),
                call(_FOUR_AXES),
                call(_MANY),
            ],
            probe=_only_dtanh,
        ),
        "stability": [
            call(np.array([400.0, 0.5])),
            call(np.array([-400.0, 0.5])),
            call(np.array([800.0, -0.5])),
            call(np.array([-800.0, -0.5])),
            call(arrays([(4,), (2, 2)], -1e4, 1e4)),
            call(_TRANSPOSED),
        ],
    }

    @trap("The textbook form ends as inf/inf = nan from |z| = 710 on. Divide by the larger exponential: only exp(−2|z|) may appear.")
    class textbook:
        def tanh(z):
            return (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))

        def dtanh(z):
            return 1 - ((np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))) ** 2

    @trap("2·sigmoid(z) − 1 is tanh(z/2). The argument doubles too: 2·sigmoid(2z) − 1.")
    class half_the_argument:
        def tanh(z):
            return 2 * _sigmoid(z) - 1

        def dtanh(z):
            return 1 - (2 * _sigmoid(z) - 1) ** 2

    @trap("With |z| alone the sign is lost: tanh is odd, tanh(−1) = −tanh(1). Multiply by sign(z).")
    class sign_lost:
        def tanh(z):
            e = np.exp(-2 * np.abs(z))
            return (1 - e) / (1 + e)

        def dtanh(z):
            e = np.exp(-2 * np.abs(z))
            return 1 - ((1 - e) / (1 + e)) ** 2

    _left = "exp(−2z) overflows for z below −355. This form is right for z ≥ 0 only; use |z| and put the sign back."
    one_sided = trap(_left)(_tanh_pair(lambda z: 2 / (1 + np.exp(-2 * z)) - 1))
    one_sided_fraction = trap(_left)(_tanh_pair(lambda z: (1 - np.exp(-2 * z)) / (1 + np.exp(-2 * z))))
    _right = "exp(2z) overflows for z above 355. This form is right for z ≤ 0 only; use |z| and put the sign back."
    other_sided = trap(_right)(_tanh_pair(lambda z: 1 - 2 / (np.exp(2 * z) + 1)))
    other_sided_fraction = trap(_right)(_tanh_pair(lambda z: (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1)))
    both_sides_evaluated = trap(
        "np.where evaluates BOTH branches for every entry, so the one you throw away still overflows. Put −2|z| into the exponent of both."
    )(_tanh_pair(lambda z: np.where(z >= 0, (1 - np.exp(-2 * z)) / (1 + np.exp(-2 * z)), (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1))))

    _cut = "tanh is clipped or cut off at some |z| here. It is not yet ±1 there: at z = 10.5 it still misses 1 by 2e−9, at 12.3 by 4e−11. With exp(−2|z|) no bound is needed."
    clipped_at_10 = trap(_cut)(_tanh_pair(lambda z: _tanh(np.clip(z, -10, 10))))
    clipped_at_12 = trap(_cut)(_tanh_pair(lambda z: _tanh(np.clip(z, -12, 12))))
    cut_off_at_7 = trap(_cut)(_tanh_pair(lambda z: np.where(np.abs(z) > 7, np.sign(z), _tanh(z))))
    cut_off_at_10 = trap(_cut)(_tanh_pair(lambda z: np.where(np.abs(z) > 10, np.sign(z), _tanh(z))))
    cut_off_at_12 = trap(_cut)(_tanh_pair(lambda z: np.where(np.abs(z) > 12, np.sign(z), _tanh(z))))

    @trap("The derivative is 1 − tanh². You left out the square, so it does not fall off on both sides.")
    class square_missing:
        tanh = _tanh

        def dtanh(z):
            return 1 - _tanh(z)

    @trap("t(1−t) is the pattern of the sigmoid's derivative. For tanh it is 1 − t², with its peak 1 at z = 0.")
    class derivative_of_sigmoid:
        tanh = _tanh

        def dtanh(z):
            return _tanh(z) * (1 - _tanh(z))

    @trap("1 − t² is in terms of the OUTPUT t = tanh(z). You squared z itself.")
    class derivative_of_the_input:
        tanh = _tanh

        def dtanh(z):
            return 1 - z**2

    @trap("Through 2·sigmoid(2z) − 1 the chain rule brings two factors of 2: the derivative is 4 s(1−s) at 2z, and its peak is 1.")
    class chain_rule_forgotten:
        tanh = _tanh

        def dtanh(z):
            s = _sigmoid(2 * z)
            return 2 * s * (1 - s)

    @right("exp(−2|z|) and the sign")
    class with_sign:
        def tanh(z):
            e = np.exp(-2 * np.abs(z))
            return np.sign(z) * (1 - e) / (1 + e)

        def dtanh(z):
            e = np.exp(-2 * np.abs(z))
            return 4 * e / (1 + e) ** 2

    @right("expm1 where z is negative")
    class with_expm1:
        def tanh(z):
            m = np.expm1(-2 * np.abs(z))
            return np.copysign(-m / (m + 2), z)

        def dtanh(z):
            s = _sigmoid(2 * z)
            return 4 * s * (1 - s)

    @right("one element at a time")
    class one_by_one:
        def tanh(z):
            def one(v):
                if v < 0:
                    return -one(-v)
                return (1 - math.exp(-2 * v)) / (1 + math.exp(-2 * v))

            return np.array([one(v) for v in z.ravel()]).reshape(z.shape)

        def dtanh(z):
            return 1 - np.square(_tanh(z))


# ---------------------------------------------------------------------------------------------------------------------- gelu

_C = math.sqrt(2 / math.pi)


def _gate_exact(z):
    return 0.5 * (1 + _erf(z / math.sqrt(2)))


def _gate_tanh(z):
    return 0.5 * (1 + np.tanh(_C * (z + 0.044715 * z**3)))


def _gate_sigmoid(z):
    return 1 / (1 + np.exp(-1.702 * z))


def _gelu_exact(z):
    return z * _gate_exact(z)


def _gelu_tanh(z):
    return z * _gate_tanh(z)


def _gelu_sigmoid(z):
    return z * _gate_sigmoid(z)


def _gelu(exact=_gelu_exact, tanh=_gelu_tanh, sigmoid=_gelu_sigmoid):
    forms = {"none": exact, "tanh": tanh, "sigmoid": sigmoid}
    return lambda z, approximate="none": forms[approximate](z)


@exercise("activations.gelu-forms", names="gelu", covers=["activations.gelu-tanh"], forbid=["torch", "scipy"], atol=1e-12)
class GeluForms:
    def reference(z, approximate="none"):
        z = torch.as_tensor(z.copy())
        if approximate == "sigmoid":
            return z * torch.sigmoid(1.702 * z)
        return F.gelu(z, approximate=approximate)

    def probe(submission, z, *approximate, **named):
        return _in_company(submission.gelu, z, *approximate, before={"approximate": "tanh"}, **named)

    cases = {
        "values": group(
            [
                call(arrays([(8,), (3, 4)], -5, 5)),
                call(arrays((6,), -40, 40), approximate="none"),
                call(np.array(1.0)),
                call(_NO_ROWS),
                call(_TRANSPOSED),
                call(_PERMUTED),
                call(_FOUR_AXES),
                call(_MANY),
            ],
            n=10,
        ),
        "tanh": [
            call(arrays([(8,), (3, 4)], -5, 5), approximate="tanh"),
            call(np.linspace(-40, 40, 9).reshape(3, 3).T, approximate="tanh"),
            call(_NO_ROWS, "tanh"),
            call(np.array(-0.7), "tanh"),
            call(_PERMUTED, "tanh"),
            call(_FOUR_AXES, "tanh"),
            call(_MANY, "tanh"),
        ],
        "sigmoid": [
            call(arrays([(8,), (3, 4)], -5, 5), approximate="sigmoid"),
            call(np.linspace(-40, 40, 9).reshape(3, 3).T, approximate="sigmoid"),
            call(np.array(0.4), "sigmoid"),
            call(_NO_ROWS, "sigmoid"),
            call(_PERMUTED, "sigmoid"),
            call(np.array(0.4), "sigmoid"),
            call(np.array([8.5, -8.5, 11.0, -11.0]), "sigmoid"),
            call(_FOUR_AXES, "sigmoid"),
            call(_MANY, "sigmoid"),
        ],
    }

    erf_of_z = trap("This is erf(z). The normal distribution function is Φ(z) = (1 + erf(z/√2))/2: divide by √2 first.")(
        _gelu(exact=lambda z: 0.5 * z * (1 + _erf(z)))
    )
    tanh_for_exact = trap(
        'The tanh form stands in for the exact one. "none" means no approximation: z·Φ(z) with erf; the two differ by up to 4.7e−4.'
    )(_gelu(exact=_gelu_tanh))
    exact_for_tanh = trap('"tanh" asks for the tanh approximation itself, not for the exact form: the two differ by up to 4.7e−4.')(
        _gelu(tanh=_gelu_exact)
    )
    root_missing = trap("The factor inside tanh is √(2/π) = 0.79788, not 2/π = 0.63662.")(
        _gelu(tanh=lambda z: 0.5 * z * (1 + np.tanh(2 / math.pi * (z + 0.044715 * z**3))))
    )
    root_of_two_only = trap("The root covers the whole fraction: √(2/π) = 0.79788, while √2/π is 0.45016.")(
        _gelu(tanh=lambda z: 0.5 * z * (1 + np.tanh(math.sqrt(2) / math.pi * (z + 0.044715 * z**3))))
    )
    _rounded = "A constant is rounded. Each form is checked to 1e−7, so all digits count: √(2/π), 0.044715 and 1.702."
    correction_rounded = trap(_rounded)(_gelu(tanh=lambda z: 0.5 * z * (1 + np.tanh(_C * (z + 0.0447 * z**3)))))
    root_rounded = trap(_rounded)(_gelu(tanh=lambda z: 0.5 * z * (1 + np.tanh(0.8 * (z + 0.044715 * z**3)))))
    both_rounded = trap(_rounded)(_gelu(tanh=lambda z: 0.5 * z * (1 + np.tanh(0.8 * (z + 0.0447 * z**3)))))
    sigmoid_constant_rounded = trap(_rounded)(_gelu(sigmoid=lambda z: z * _sigmoid(1.7 * z)))
    factor_on_z_only = trap("√(2/π) multiplies the whole bracket z + 0.044715 z³, not only its first term.")(
        _gelu(tanh=lambda z: 0.5 * z * (1 + np.tanh(_C * z + 0.044715 * z**3)))
    )
    square_for_cube = trap("The correction term is 0.044715 z³: with an even power the gate would not be symmetric around 0.")(
        _gelu(tanh=lambda z: 0.5 * z * (1 + np.tanh(_C * (z + 0.044715 * z**2))))
    )
    _half = "The factor 0.5 is missing: for large z the GELU has to approach z, not 2z."
    half_missing = trap(_half)(_gelu(exact=lambda z: 2 * _gelu_exact(z), tanh=lambda z: 2 * _gelu_tanh(z)))
    half_missing_in_exact = trap(_half)(_gelu(exact=lambda z: 2 * _gelu_exact(z)))
    half_missing_in_tanh = trap(_half)(_gelu(tanh=lambda z: 2 * _gelu_tanh(z)))
    constant_outside = trap(
        "1.702 belongs inside the sigmoid, where it makes the gate steeper. Outside, it makes the slope 1.702 for large z."
    )(_gelu(sigmoid=lambda z: 1.702 * z / (1 + np.exp(-z))))
    constant_missing = trap("Without 1.702 this is SiLU, z·sigmoid(z). GELU's gate is steeper: z·sigmoid(1.702 z).")(
        _gelu(sigmoid=lambda z: z / (1 + np.exp(-z)))
    )
    _gate = "You return the gate alone, a number between 0 and 1. GELU is z times its gate."
    gate_only = trap(_gate)(_gelu(_gate_exact, _gate_tanh, _gate_sigmoid))
    gate_only_in_exact = trap(_gate)(_gelu(exact=_gate_exact))
    gate_only_in_tanh = trap(_gate)(_gelu(tanh=_gate_tanh))
    gate_only_in_sigmoid = trap(_gate)(_gelu(sigmoid=_gate_sigmoid))
    default_is_tanh = trap('Without an argument the exact form is wanted: the default of approximate is "none".')(
        lambda z, approximate="tanh": _gelu()(z, approximate)
    )

    @right("one element at a time")
    def one_by_one(z, approximate="none"):
        def one(v):
            if approximate == "none":
                return v * (1 + math.erf(v / 2**0.5)) / 2
            if approximate == "tanh":
                return v / 2 * (1 + math.tanh((2 / math.pi) ** 0.5 * (v + 0.044715 * v**3)))
            return v / (1 + math.exp(-1.702 * v))

        return np.array([one(float(v)) for v in z.flat]).reshape(z.shape)

    @right("the gate first; tanh through the sigmoid, erf through erfc")
    def gate_first(z, approximate="none"):
        erfc = np.vectorize(math.erfc, otypes=[float])
        match approximate:
            case "none":
                gate = erfc(-z / np.sqrt(2)) / 2
            case "tanh":
                gate = _sigmoid(2 * np.sqrt(2 / np.pi) * (z + 0.044715 * z * z * z))
            case "sigmoid":
                gate = _sigmoid(1.702 * z)
        return z * gate


# ---------------------------------------------------------------------------------------------------------------------- silu


def _pair_of(result):
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError(f"silu must return a pair, (value, derivative); it returned {type(result).__name__}")
    return result


_FLAT = np.array([28.7, 29.3, 30.2, -29.3, -30.6])  # value and slope differ from z, 1 and 0 by a few 1e-12 still


def _silu(sigmoid):
    return lambda z: (z * sigmoid(z), sigmoid(z) * (1 + z * (1 - sigmoid(z))))


@exercise(
    "activations.silu-gradient",
    names="silu",
    covers=["activations.silu"],
    forbid={"torch": "", "scipy": ""} | _SILENCE,
    rtol=1e-13,
    atol=1e-12,
)
class SiluGradient:
    def reference(z):
        z = torch.as_tensor(z.copy()).requires_grad_(True)
        value = F.silu(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), slope

    def _value(submission, z):
        return _in_company(lambda z: _pair_of(submission.silu(z))[0], z)

    def _slope(submission, z):
        return _in_company(lambda z: _pair_of(submission.silu(z))[1], z)

    cases = {
        "values": group(
            [
                call(arrays([(20,), (2, 5)], -9, 9)),
                call(np.array(0.0)),
                call(np.array(-1.3)),
                call(np.array([-28.5, -30.0, 28.5])),
                call(_NO_ROWS),
                call(_TRANSPOSED),
                call(5 * _PERMUTED),
                call(_FLAT),
                call(_FOUR_AXES),
                call(_MANY),
            ],
            probe=_value,
        ),
        "derivative": group(
            [
                call(arrays([(20,), (2, 5)], -9, 9)),
                call(np.array(0.0)),
                call(np.linspace(-4, 4, 9).reshape(3, 3).T),
                call(np.array([-28.5, -30.0, 28.5])),
                call(5 * _PERMUTED),
                call(_NO_ROWS),
                call(_FLAT),
                call(_FOUR_AXES),
                call(_MANY),
            ],
            probe=_slope,
        ),
        "stability": [
            call(np.array([1000.0, -1.5])),
            call(np.array([-1000.0, 1.5])),
            call(np.array([[710.0, -720.0], [0.5, 88.0]])),
            call(_TRANSPOSED),
        ],
    }

    @trap("z·s is a product of two functions of z: the derivative is s + z·s(1−s). Yours keeps only the second half.")
    def second_half_only(z):
        s = _sigmoid(z)
        return z * s, z * s * (1 - s)

    @trap("The gate s depends on z too. Add its part by the product rule: s + z·s(1−s). Yours never gets negative.")
    def gate_taken_as_constant(z):
        s = _sigmoid(z)
        return z * s, s

    @trap("The bracket holds 1−s, not s: s(1 + z(1−s)) tends to 1 for large z, yours grows like z.")
    def wrong_bracket(z):
        s = _sigmoid(z)
        return z * s, s * (1 + z * s)

    @trap("The 1−s of the sigmoid's derivative is missing: s' = s(1−s), so the slope is s + z·s(1−s).")
    def one_minus_s_missing(z):
        s = _sigmoid(z)
        return z * s, s + z * s

    @trap("s(1−s) is the derivative of the gate alone. SiLU is z times the gate: use the product rule.")
    def derivative_of_the_gate(z):
        s = _sigmoid(z)
        return z * s, s * (1 - s)

    @trap("The factor z got lost: the derivative of the gate, s(1−s), is multiplied by z. The slope is s + z·s(1−s).")
    def z_forgotten(z):
        s = _sigmoid(z)
        return z * s, s + s * (1 - s)

    @trap("The sign in the bracket is wrong: s(1 + z(1−s)). The product rule adds.")
    def minus_in_the_bracket(z):
        s = _sigmoid(z)
        return z * s, s * (1 - z * (1 - s))

    @trap("1.702 belongs to the sigmoid form of GELU. SiLU has the plain sigmoid: z·sigmoid(z).")
    def gelu_constant(z):
        s = _sigmoid(1.702 * z)
        return z * s, s + 1.702 * z * s * (1 - s)

    @trap("silu returns two things, the pair (value, derivative), each of the shape of z. Yours returns something else.")
    def value_alone(z):
        return z * _sigmoid(z)

    @trap("y(1−y) works only for y = sigmoid(z). SiLU's output y = z·s needs the product rule.")
    def derivative_from_the_output(z):
        y = z * _sigmoid(z)
        return y, y * (1 - y)

    @trap("The value lacks the factor z: sigmoid(z) is only the gate. SiLU(z) = z·sigmoid(z).")
    def value_is_the_gate(z):
        s = _sigmoid(z)
        return s, s * (1 + z * (1 - s))

    _overflow = (
        "exp overflows for large |z| on one side (on both with np.where, which evaluates both branches). Build the sigmoid from exp(−|z|)."
    )
    overflows = trap(_overflow)(_silu(lambda z: 1 / (1 + np.exp(-z))))
    overflows_on_the_right = trap(_overflow)(_silu(lambda z: np.exp(z) / (1 + np.exp(z))))
    overflows_on_both_sides = trap(_overflow)(_silu(lambda z: np.where(z >= 0, 1 / (1 + np.exp(-z)), np.exp(z) / (1 + np.exp(z)))))

    @trap(_overflow)
    def overflows_in_the_quotient_rule(z):
        e = np.exp(-z)
        return z / (1 + e), (1 + e + z * e) / (1 + e) ** 2

    @trap("Value and derivative are exchanged: return (value, derivative).")
    def exchanged(z):
        s = _sigmoid(z)
        return s * (1 + z * (1 - s)), z * s

    @right("s + y(1 − s)")
    def from_the_output(z):
        s = 0.5 * (1 + np.tanh(z / 2))
        y = z * s
        return y, s + y * (1 - s)

    @right("one element at a time")
    def one_by_one(z):
        values, slopes = np.zeros(z.shape), np.zeros(z.shape)
        for i in np.ndindex(z.shape):
            v = float(z[i])
            s = 1 / (1 + math.exp(-v)) if v > -700 else 0.0
            values[i], slopes[i] = v * s, s + v * s * (1 - s)
        return values, slopes


# --------------------------------------------------------------------------------------------------------------------- prelu


def _prelu_call(n, c, slopes):
    x = arrays((n, c), -3, 3).map(lambda a: np.where(a == 0, 0.25, a))
    return call(
        x,
        st.lists(st.sampled_from(slopes), min_size=c, max_size=c).map(np.array),
        arrays((n, c), -2, 2).map(lambda a: np.where(a == 0, 0.5, a)),
    )


_ANY_SLOPE = [-0.5, 0.1, 0.25, 1.5, 2.0]


def _before_others(prelu, x, alpha, dY):
    result = prelu(x, alpha, dY)
    if len(x) > 20:
        prelu(np.ones_like(x), alpha, dY)  # must not change the result before it
    return result


@exercise("activations.prelu-backward", names="prelu", covers=["activations.leaky", "activations.q.variants", "activations.dead-fixes"])
class PreluBackward:
    def reference(x, alpha, dY):
        x = torch.tensor(x, requires_grad=True)
        alpha = torch.tensor(alpha, requires_grad=True)
        y = F.prelu(x, alpha)
        (y * torch.tensor(dY)).sum().backward()
        return y.detach(), x.grad, alpha.grad

    def _output(submission, x, alpha, dY):
        return _before_others(submission.prelu, x, alpha, dY)[0]

    def _dx(submission, x, alpha, dY):
        return _before_others(submission.prelu, x, alpha, dY)[1]

    def _dalpha(submission, x, alpha, dY):
        return _before_others(submission.prelu, x, alpha, dY)[2]

    _sources = [
        _prelu_call(5, 3, _ANY_SLOPE),
        _prelu_call(4, 4, _ANY_SLOPE),
        _prelu_call(1, 1, _ANY_SLOPE),
        call(normal((9, 3), 2.0, 1), np.array([0.1, -0.4, 1.6]), normal((9, 3), 1.0, 2)),
        call(normal((4, 4), 2.0, 3), np.array([0.2, 3.0, -1.0, 0.0]), normal((4, 4), 1.0, 4)),
        call(
            normal((4, 3), 40.0, 5),
            np.array([1.0, 0.5, -1.0]),
            np.array([[0.0, 1.0, -2.0], [1.5, 0.0, 0.5], [-1.0, 2.0, 0.0], [3.0, -0.5, 1.0]]),
        ),
        call(normal((25, 12), 2.0, 6), np.linspace(-2.0, 4.6, 12), normal((25, 12), 1.0, 7)),
        call(np.array([[2.0, -1.5, 0.5, -1e-6]]), np.array([0.1, 2.0, -0.5, 3.0]), np.array([[1.0, -2.0, 3.0, 0.5]])),
        call(np.array([[1e-6], [-1e-6], [2.0]]), np.array([0.3]), np.array([[1.0], [-2.0], [0.5]])),
    ]
    cases = {
        "values": group(_sources, probe=_output, n=7),
        "dx": group(_sources, probe=_dx, n=7),
        "dalpha": group(_sources, probe=_dalpha, n=7),
    }

    @trap("max(alpha·x, x) picks the wrong branch for a slope above 1. Choose the branch by the sign of x.")
    def by_maximum(x, alpha, dY):
        return np.maximum(alpha * x, x), dY * np.where(x > 0, 1, alpha), (dY * x * (x <= 0)).sum(0)

    @trap("Each channel has its own slope: sum dY·x over the batch axis only. You summed over all entries and got one number.")
    def one_slope_gradient(x, alpha, dY):
        return np.where(x > 0, x, alpha * x), dY * np.where(x > 0, 1, alpha), (dY * x * (x <= 0)).sum()

    @trap("alpha acts on the negative side only, so positive entries contribute nothing to its gradient.")
    def positives_count(x, alpha, dY):
        return np.where(x > 0, x, alpha * x), dY * np.where(x > 0, 1, alpha), (dY * x).sum(0)

    @trap("The gradient for alpha needs the upstream gradient: sum dY·x over the negative entries, not x alone.")
    def alpha_without_upstream(x, alpha, dY):
        return np.where(x > 0, x, alpha * x), dY * np.where(x > 0, 1, alpha), (x * (x <= 0)).sum(0)

    @trap("dx is the local slope times the upstream gradient dY. You return the slope alone.")
    def slope_without_upstream(x, alpha, dY):
        return np.where(x > 0, x, alpha * x), np.where(x > 0, 1.0, alpha) + 0 * x, (dY * x * (x <= 0)).sum(0)

    @trap("alpha is used by every example of the batch, so its gradient is the SUM over the batch; dY already holds any 1/N of the loss.")
    def averaged(x, alpha, dY):
        return np.where(x > 0, x, alpha * x), dY * np.where(x > 0, 1, alpha), (dY * x * (x <= 0)).mean(0)

    @trap("This dx is that of plain ReLU: on the negative side the slope is alpha, not 0. That is the point of PReLU.")
    def dead_on_the_left(x, alpha, dY):
        return np.where(x > 0, x, alpha * x), dY * (x > 0), (dY * x * (x <= 0)).sum(0)

    @trap("Slopes belong to channels, the columns of x. Yours are applied to rows, which a square batch hides.")
    def slope_per_row(x, alpha, dY):
        a = alpha[:, None]
        return np.where(x > 0, x, a * x), dY * np.where(x > 0, 1, a), (dY * x * (x <= 0)).sum(1)

    @trap("The derivative of alpha·x with respect to alpha is x. Yours carries a factor alpha as well.")
    def alpha_in_its_own_gradient(x, alpha, dY):
        return np.where(x > 0, x, alpha * x), dY * np.where(x > 0, 1, alpha), (dY * alpha * x * (x <= 0)).sum(0)

    _mask = "The branch is chosen by the sign of x, not of y: with a negative slope y is positive where x is negative."

    @trap(_mask)
    def branch_by_the_output(x, alpha, dY):
        y = np.where(x > 0, x, alpha * x)
        return y, dY * np.where(y > 0, 1, alpha), (dY * x * (y <= 0)).sum(0)

    @trap(_mask)
    def branch_of_dx_by_the_output(x, alpha, dY):
        y = np.where(x > 0, x, alpha * x)
        return y, dY * np.where(y > 0, 1, alpha), (dY * x * (x <= 0)).sum(0)

    @trap("On the negative side y = alpha·x, so the derivative for alpha is x, not y: yours uses the output.")
    def output_in_place_of_input(x, alpha, dY):
        y = np.where(x > 0, x, alpha * x)
        return y, dY * np.where(x > 0, 1, alpha), (dY * np.minimum(y, 0)).sum(0)

    @trap("dalpha has the wrong sign: on the negative side the derivative is x itself, a negative number, not |x|.")
    def sign_of_dalpha(x, alpha, dY):
        return np.where(x > 0, x, alpha * x), dY * np.where(x > 0, 1, alpha), (dY * np.maximum(-x, 0)).sum(0)

    @trap("dalpha has one number a channel, shape (C,). Yours still has one an example: sum over the batch.")
    def not_summed(x, alpha, dY):
        return np.where(x > 0, x, alpha * x), dY * np.where(x > 0, 1, alpha), dY * np.minimum(x, 0)

    @right("maximum and minimum")
    def max_and_min(x, alpha, dY):
        y = np.maximum(x, 0) + alpha * np.minimum(x, 0)
        return y, dY * (x > 0) + alpha * dY * (x < 0), np.einsum("nc,nc->c", dY, np.minimum(x, 0))

    @right("loops")
    def loops(x, alpha, dY):
        y, dx, dalpha = np.zeros_like(x), np.zeros_like(x), np.zeros_like(alpha)
        for n in range(x.shape[0]):
            for c in range(x.shape[1]):
                if x[n, c] > 0:
                    y[n, c], dx[n, c] = x[n, c], dY[n, c]
                else:
                    y[n, c], dx[n, c] = alpha[c] * x[n, c], alpha[c] * dY[n, c]
                    dalpha[c] += dY[n, c] * x[n, c]
        return y, dx, dalpha


# ------------------------------------------------------------------------------------------------------------------- softmax

_TIGHT = {"rtol": 1e-13, "atol": 1e-12}
_TEMPERATURES = st.sampled_from([0.1, 0.5, 2.0, 7.0])
_WHOLE = np.array([[[3, 1, 0], [-2, 5, 5]], [[0, 4, -1], [2, 2, -3]]])
_FAR_ROWS = np.array([[1e4, 1e4 - 1.0, 1e4 - 3.0], [-1e4, -1e4 + 2.0, -1e4 + 1.0]])


def _softmax_with_epsilon(eps):
    def softmax(z, axis=-1, T=1.0):
        e = np.exp((z - z.max(axis=axis, keepdims=True)) / T)
        return e / (e.sum(axis=axis, keepdims=True) + eps)

    return softmax


@exercise(
    "activations.softmax-temperature",
    names="softmax",
    covers=[
        "activations.softmax",
        "activations.softmax-stable",
        "activations.temperature",
        "activations.q.softmax-stable",
        "scratch.activations-code",
    ],
    forbid=["torch", "scipy"],
)
class SoftmaxTemperature:
    def reference(z, axis=-1, T=1.0):
        return torch.softmax(torch.as_tensor(z.copy(), dtype=torch.float64) / T, dim=axis)

    def probe(submission, z, *axis, **named):
        return _in_company(submission.softmax, z, *axis, axes=3 if not named else 4, before={"T": 0.3}, **named)

    cases = {
        "values": group(
            [
                call(arrays([(5,), (3, 4), (3, 3), (2, 3, 4)], -4, 4)),
                call(np.array([0.5])),
                call(np.array([[3, 1, 0], [-2, 5, 5]])),
                call(np.array([[2.0], [-1.0], [0.5]])),
                call(normal((2, 3, 4), 0.15, 13)),
                call(normal((20, 15), 1.5, 14)),
            ],
            **_TIGHT,
        ),
        "axis": group(
            [
                call(arrays([(3, 4), (3, 3), (2, 3, 4)], -4, 4), axis=st.sampled_from([0, 1])),
                call(normal((3, 3), 1.5, 5), axis=0),
                call(normal((2, 3, 4), 1.5, 6), axis=1),
                call(normal((2, 3, 4), 1.5, 7), axis=-2),
                call(normal((2, 3, 4), 1.5, 9), axis=-3),
                call(normal((2, 3, 4), 1.5, 10).transpose(0, 2, 1), axis=2),
                call(np.array([[3, 1, 0], [-2, 5, 5]]), axis=0),
                call(_WHOLE, axis=-2),
                call(normal((20, 15), 1.5, 14), axis=0),
            ],
            **_TIGHT,
        ),
        "temperature": group(
            [
                call(arrays([(5,), (3, 3)], -3, 3), T=_TEMPERATURES),
                call(arrays([(3, 3), (2, 3, 4)], -3, 3), axis=st.sampled_from([0, 1, -2]), T=_TEMPERATURES),
                call(np.array([[2.0, 1.0, -1.0]]), -1, 0.5),
                call(np.array([2, 1, 0]), T=100.0),
                call(normal((3, 4), 1.5, 8), 0, 0.25),
                call(normal((2, 3, 4), 1.5, 12), T=0.5),
                call(np.array([[3, 1, 0], [-2, 5, 5]]), T=1.5),
                call(_WHOLE, axis=0, T=2.5),
                call(_WHOLE, axis=-2, T=0.4),
                call(normal((3, 4), 0.4, 15), T=0.055),
                call(normal((20, 15), 30.0, 16), T=256.5),
            ],
            n=10,
            **_TIGHT,
        ),
        "stability": [
            call(arrays([(4,), (2, 3)], -1e4, 1e4)),
            call(np.array([1000.0, 1001.0, 999.0])),
            call(np.array([-1000.0, -1001.0, -999.0])),
            call(_FAR_ROWS),
            call(_FAR_ROWS.T.copy(), axis=0),
            call(_FAR_ROWS, T=0.1),
            call(np.array([[300, 0, 100], [-10_000, -9_999, 10_000]])),
            call(np.stack([_FAR_ROWS, _FAR_ROWS[::-1] / 2])),
            call(np.stack([_FAR_ROWS.T, _FAR_ROWS.T / 2]), axis=1),
            call(np.stack([_FAR_ROWS.T, _FAR_ROWS.T / 2]), axis=-2, T=0.5),
            call(np.stack([_FAR_ROWS, _FAR_ROWS[::-1] / 2]).transpose(2, 0, 1), axis=0, T=0.5),
        ],
    }

    @trap("Without subtracting the maximum, exp overflows. Subtract it along the axis: the common factor cancels.")
    def no_max_subtraction(z, axis=-1, T=1.0):
        e = np.exp(z / T)
        return e / e.sum(axis=axis, keepdims=True)

    @trap("One maximum for the whole array: rows far below it become 0/0 = nan. Take the maximum ALONG the axis, with keepdims.")
    def global_maximum(z, axis=-1, T=1.0):
        e = np.exp((z - z.max()) / T)
        return e / e.sum(axis=axis, keepdims=True)

    @trap("You subtract the minimum: the exponents become positive and overflow all the same. It has to be the maximum.")
    def minimum_subtracted(z, axis=-1, T=1.0):
        e = np.exp((z - z.min(axis=axis, keepdims=True)) / T)
        return e / e.sum(axis=axis, keepdims=True)

    @trap("You multiply the logits by T, so T < 1 flattens. Divide: a low temperature sharpens.")
    def multiplied_by_temperature(z, axis=-1, T=1.0):
        return _softmax(z * T, axis)

    @trap(
        "T has no effect here: it is forgotten, or applied to the probabilities, where normalising again cancels it. Divide the logits by T, before exp."
    )
    def without_effect_of_temperature(z, axis=-1, T=1.0):
        p = _softmax(z, axis) / T
        return p / p.sum(axis=axis, keepdims=True)

    @trap("After dividing the probabilities by T they no longer sum to 1. Divide the logits instead, before exp.")
    def divided_at_the_end(z, axis=-1, T=1.0):
        return _softmax(z, axis) / T

    _epsilon = "An epsilon in the denominator makes the sums miss 1. None is needed: after subtracting the maximum the sum is at least 1."
    epsilon_1e6 = trap(_epsilon)(_softmax_with_epsilon(1e-6))
    epsilon_1e8 = trap(_epsilon)(_softmax_with_epsilon(1e-8))
    epsilon_1e9 = trap(_epsilon)(_softmax_with_epsilon(1e-9))
    epsilon_1e10 = trap(_epsilon)(_softmax_with_epsilon(1e-10))

    @trap(
        "The maximum of z is subtracted from z/T: for T ≠ 1 that is not the maximum of what you exponentiate. Shift first, then divide: (z − max)/T."
    )
    def maximum_not_divided(z, axis=-1, T=1.0):
        e = np.exp(z / T - z.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    @trap("This always normalises the last axis. Pass `axis` on to max and sum.")
    def last_axis(z, axis=-1, T=1.0):
        return _softmax(z / T, -1)

    @trap("T has no effect unless axis is the last one. Whatever your code does for another axis, it has to divide by T there too.")
    def temperature_on_the_last_axis_only(z, axis=-1, T=1.0):
        return _softmax(z / T, axis) if axis in (-1, z.ndim - 1) else _softmax(z, axis)

    @trap("This normalises over the whole array: each slice along the axis has to sum to 1 by itself.")
    def all_entries(z, axis=-1, T=1.0):
        e = np.exp((z - z.max(axis=axis, keepdims=True)) / T)
        return e / e.sum()

    @trap("This normalises over the whole array: each slice along the axis has to sum to 1 by itself.")
    def all_entries_and_one_maximum(z, axis=-1, T=1.0):
        e = np.exp((z - z.max()) / T)
        return e / e.sum()

    @trap("Without keepdims the sums line up with the wrong axis: a 3×3 array divides columns by row sums, other shapes fail.")
    def no_keepdims(z, axis=-1, T=1.0):
        e = np.exp((z - z.max(axis=axis, keepdims=True)) / T)
        return e / e.sum(axis=axis)

    @right("through log-sum-exp")
    def through_the_log(z, axis=-1, T=1.0):
        u = np.asarray(z, float) / T
        top = np.max(u, axis=axis, keepdims=True)
        return np.exp(u - top - np.log(np.sum(np.exp(u - top), axis=axis, keepdims=True)))

    @right("slice by slice")
    def slice_by_slice(z, axis=-1, T=1.0):
        def one(row):
            top = max(row)
            weights = [math.exp((v - top) / T) for v in row]
            return np.array(weights) / sum(weights)

        return np.apply_along_axis(one, axis, z)

    @right("axis moved to the end and back")
    def moved_axis(z, axis=-1, T=1.0):
        u = np.moveaxis(z / T, axis, -1)
        e = np.exp(u - u.max(-1)[..., None])
        return np.moveaxis(e / e.sum(-1)[..., None], -1, axis)


# ------------------------------------------------------------------------------------------------------------- cross-entropy


@st.composite
def _logits_and_labels(draw, low=-6.0, high=6.0):
    n, c = draw(st.sampled_from([(1, 3), (4, 3), (3, 3), (5, 2), (2, 6)]))
    logits = draw(arrays((n, c), low, high))
    return call(logits, draw(arrays((n,), 0, c - 1, dtype=np.int64)))


def _cross_entropy(logits, y):
    top = logits.max(axis=1, keepdims=True)
    logp = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return logp[np.arange(len(y)), y]


_FLOAT32_LOGITS = np.array(
    [[200, 201, 0], [-150, -150, -148], [0, 120, 119], [3, 1, 2], [-190, -191, -195], [0, 0, 0], [95, 96, 94]], np.float32
)
_HOPELESS = np.array([[1e3, 0.0], [-1e3, 1e3], [0.0, 900.0], [743.0, 0.0], [2.0, 1.0], [0.0, -3.0], [1e4, -1e4]])


def _exact_for_the_hopeless(loss, logits, y):
    want = float(-_cross_entropy(logits.astype(float), y).mean())
    if not isinstance(loss, (int, float, np.ndarray)) or np.shape(loss) != ():
        return "The result is not one number."
    if not np.isfinite(loss):
        return f"The loss is {'not a number' if np.isnan(loss) else 'infinite'}; it should be {want:.6g}."
    if abs(loss - want) <= (1e-7 if logits.dtype == float else 1e-6) * want:
        return True
    return f"The loss of a hopeless class is too {'small' if loss < want else 'large'}: {float(loss):.6g}; it should be {want:.6g}."


@exercise(
    "activations.cross-entropy-logits",
    names="cross_entropy",
    covers=["activations.fused-ce", "activations.softmax-stable", "activations.q.softmax-stable"],
    forbid=["torch", "scipy"],
)
class CrossEntropyLogits:
    def reference(logits, y):
        return F.cross_entropy(torch.as_tensor(logits), torch.as_tensor(y).long())

    cases = {
        "values": group(
            [
                _logits_and_labels(),
                call(normal((4, 4), 2.0, 1), np.array([3, 0, 0, 1])),
                call(np.array([[0.0, 0.0]]), np.array([1])),
                call(normal((9, 5), 2.0, 2), np.array([4, 0, 2, 2, 1, 3, 0, 4, 1], np.int32)),
                call(normal((4, 6), 2.0, 3).T, np.array([3, 0, 1, 1, 2, 0])),
                call(np.array([[2.0], [-1.0], [0.5]]), np.array([0, 0, 0])),
                call(normal((200, 20), 2.0, 4), np.arange(200) * 7 % 20),
            ],
            **_TIGHT,
        ),
        "stability": [
            call(np.array([[800.0, 801.0, 0.0], [3.0, 1.0, 2.0]]), np.array([0, 2])),
            call(np.array([[-900.0, -901.0], [-905.0, -900.0]]), np.array([1, 1])),
            call(np.array([[1e4, 9999.0], [-1e4, -9998.0]]), np.array([1, 1])),
            call(np.array([[-1e4, -1e4, -1e4]]), np.array([2])),
            call(_FLOAT32_LOGITS, np.array([1, 2, 1, 0, 0, 2, 1], np.int32)),
            call(normal((5, 4), 3.0, 5).astype(np.float32), np.array([3, 1, 0, 2, 1])),
            call(800 + normal((200, 20), 2.0, 6), np.arange(200) * 7 % 20),
        ],
        "improbable class": group(
            [
                call(np.array([[1e4, 0.0, -3.0], [2.0, 1.0, -1e4], [0.0, 0.5, 0.3]]), np.array([1, 0, 2])),
                call(np.array([[500.0, 0.0], [0.0, 1.0]]), np.array([1, 1])),
                call(np.array([[0.0, 1200.0, 40.0]]), np.array([2])),
                call(np.array([[1e4, 0.0], [1e4, 0.0]]), np.array([1, 1])),
                call(np.array([[720.0, 0.0, 719.0]]), np.array([1])),
                call(_HOPELESS, np.array([1, 0, 0, 1, 0, 1, 1])),
                call(np.array([[1e4, 0.0], [0.0, 300.0]], np.float32), np.array([1, 0])),
            ],
            accept=_exact_for_the_hopeless,
        ),
    }

    @trap(
        "The softmax underflows to exactly 0 for a hopeless class, and log(0) = −inf. Simplify log(exp(…)/sum): z_y − max − log Σ exp(z − max)."
    )
    def log_of_softmax(logits, y):
        return float(-np.log(_softmax(logits)[np.arange(len(y)), y]).mean())

    @trap(
        "With a one-hot product, 0 · log 0 is nan for every class that underflows. Pick the right entries, and simplify log(exp(…)/sum): z_y − max − log Σ exp(z − max)."
    )
    def log_of_softmax_one_hot(logits, y):
        onehot = np.eye(logits.shape[1])[y]
        return float(-(onehot * np.log(_softmax(logits))).sum(axis=1).mean())

    _capped = "The loss of a hopeless class comes out too small. An epsilon or a clip inside the log does that, and hides confident errors. Use log-sum-exp: then nothing can become 0."

    @trap(_capped)
    def clipped_in_the_log(logits, y):
        return float(-np.log(np.maximum(_softmax(logits)[np.arange(len(y)), y], 1e-300)).mean())

    @trap(_capped)
    def epsilon_in_the_log(logits, y):
        return float(-np.log(_softmax(logits)[np.arange(len(y)), y] + 1e-12).mean())

    @trap("Clipping the logits changes the loss of every example that is clipped. Subtract the row maximum: then no clipping is needed.")
    def logits_clipped(logits, y):
        return float(-_cross_entropy(np.clip(logits, -500, 500), y).mean())

    @trap("Here the softmax is applied twice: log-softmax of probabilities. The loss starts from the logits.")
    def softmax_twice(logits, y):
        return float(-_cross_entropy(_softmax(logits), y).mean())

    @trap("One maximum for the whole batch: the sum of a row far below it underflows to 0. Use the maximum of each row.")
    def global_maximum(logits, y):
        u = logits - logits.max()
        logp = u - np.log(np.exp(u).sum(axis=1, keepdims=True))
        return float(-logp[np.arange(len(y)), y].mean())

    @trap("logp[:, y] picks N×N entries, every row at every label. Index rows and columns together: logp[np.arange(N), y].")
    def all_pairs(logits, y):
        top = logits.max(axis=1, keepdims=True)
        logp = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        return float(-logp[:, y].mean())

    @trap("log Σ exp(z) without subtracting the row maximum overflows from z = 710 on. Subtract it inside and add it outside of the log.")
    def no_max_subtraction(logits, y):
        logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-logp[np.arange(len(y)), y].mean())

    @trap("The maximum is subtracted inside the log but never put back: z_y − max − log Σ exp(z − max).")
    def maximum_not_added_back(logits, y):
        top = logits.max(axis=1, keepdims=True)
        logp = logits - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        return float(-logp[np.arange(len(y)), y].mean())

    @trap("The log is the natural one: with log2 the loss is in bits, larger by 1/ln 2 = 1.4427.")
    def in_bits(logits, y):
        return float(-_cross_entropy(logits, y).mean() / math.log(2))

    @trap("max − z_y is only the leading part: log Σ exp(z − max) is missing, which is ln 2 where two classes tie.")
    def maximum_alone(logits, y):
        return float((logits.max(axis=1) - logits[np.arange(len(y)), y]).mean())

    @trap("This is the sum over the batch. The task asks for the mean.")
    def summed(logits, y):
        return float(-_cross_entropy(logits, y).sum())

    @trap("float64 logits are cast to float32, which keeps seven digits of sixteen. Work in the dtype that the logits come in.")
    def in_float32(logits, y):
        return float(-_cross_entropy(logits.astype(np.float32), y).mean())

    @trap("The sign is lost: a log-probability is never positive, a loss never negative. Negate the mean.")
    def sign_lost(logits, y):
        return float(_cross_entropy(logits, y).mean())

    @trap("The classes are the columns: the log-sum-exp runs along axis 1, one per row. Yours runs over the batch.")
    def normalised_over_the_batch(logits, y):
        top = logits.max(axis=0, keepdims=True)
        logp = logits - top - np.log(np.exp(logits - top).sum(axis=0, keepdims=True))
        return float(-logp[np.arange(len(y)), y].mean())

    @trap("This averages over all N×C entries of the one-hot product. Sum over the classes, then average over the N examples.")
    def mean_over_everything(logits, y):
        return float(-_cross_entropy(logits, y).sum() / logits.size)

    @right("one example at a time")
    def one_by_one(logits, y):
        total = 0.0
        for row, label in zip(logits, y):
            top = max(row)
            total += top + math.log(sum(math.exp(v - top) for v in row)) - row[label]
        return total / len(y)

    @right("logaddexp and a one-hot product")
    def with_logaddexp(logits, y):
        onehot = np.eye(logits.shape[1])[y]
        return np.mean(np.logaddexp.reduce(logits, axis=1) - (onehot * logits).sum(axis=1))


# -------------------------------------------------------------------------------------------------------------------- swiglu


def _swish(u):
    return u * _sigmoid(u)


def _matched(d, d_ff):
    return 2 * d_ff // 3


def _ffn_only(submission, x, W, V, W2):
    return submission.swiglu_ffn(x, W, V, W2)


def _hidden_only(submission, d, d_ff):
    return submission.matched_hidden(d, d_ff)


_STEEP_X = np.array([[2.0, -1.0], [-2.0, 1.0], [0.5, 0.5]])
_STEEP_W = np.array([[40.0, 10.0, -20.0], [-20.0, -5.0, 10.0]])  # pre-activations from -100 to 100


def _ffn(x, W, V, W2):
    return (_swish(x @ W) * (x @ V)) @ W2


@exercise(
    "activations.swiglu-ffn",
    names="swiglu_ffn matched_hidden",
    covers=["activations.swiglu", "activations.p.swiglu", "activations.q.swiglu"],
)
class SwigluFfn:
    class reference:
        def swiglu_ffn(x, W, V, W2):
            x, W, V, W2 = map(torch.as_tensor, (x, W, V, W2))
            return (F.silu(x @ W) * (x @ V)) @ W2

        def matched_hidden(d, d_ff):
            return 2 * d * d_ff // (3 * d)

    cases = {
        "values": group(
            [
                shaped("N d", "d h", "d h", "h d", N=(1, 4), d=(2, 3), h=(4, 5), low=-2, high=2),
                shaped("N d", "d d", "d d", "d d", N=(2, 3), d=(3, 3), low=-2, high=2),
                call(normal((3, 3), 1, 1), normal((3, 3), 1, 2), normal((3, 3), 1, 3), normal((3, 3), 1, 4)),
                call(_STEEP_X, _STEEP_W, normal((2, 3), 1, 10), normal((3, 2), 1, 11)),
                call(*(a.astype(np.float32) for a in (0.7 * _STEEP_X, _STEEP_W, normal((2, 3), 1, 10), normal((3, 2), 1, 11)))),
                call(normal((35, 3), 1, 13), normal((3, 70), 1, 14), normal((3, 70), 1, 15), normal((70, 3), 0.3, 16)),
            ],
            probe=_ffn_only,
            n=10,
        ),
        "any leading axes": group(
            [
                shaped("d", "d h", "d h", "h d", d=(2, 3), h=(4, 5), low=-2, high=2),
                shaped("B N d", "d h", "d h", "h d", B=(2, 3), N=(1, 4), d=(2, 3), h=(4, 5), low=-2, high=2),
                call(normal((2, 3, 4), 1, 5), normal((4, 5), 1, 6), normal((4, 5), 1, 7), normal((5, 4), 1, 8)),
                call(
                    *(a.astype(np.float32) for a in (normal((4,), 1, 9), normal((4, 5), 1, 6), normal((4, 5), 1, 7), normal((5, 4), 1, 8)))
                ),
                call(normal((2, 1, 2, 4), 8, 12), normal((4, 5), 1, 6), normal((4, 5), 1, 7), normal((5, 4), 1, 8)),
                call(normal((2, 1, 3, 1, 4), 1, 17), normal((4, 5), 1, 6), normal((4, 5), 1, 7), normal((5, 4), 1, 8)),
                call(normal((3,), 1, 18), normal((3, 3), 1, 2), normal((3, 3), 1, 3), normal((3, 3), 1, 4)),
                call(normal((2, 2, 3), 1, 19), normal((3, 3), 1, 2), normal((3, 3), 1, 3), normal((3, 3), 1, 4)),
                call(np.array([[2.0], [-1.5]]), np.array([[1.0, -2.0]]), np.array([[0.5, 3.0]]), np.array([[1.5], [-1.0]])),
                call(_STEEP_X, _STEEP_W, normal((2, 3), 1, 10), normal((3, 2), 1, 11)),
            ],
            probe=_ffn_only,
            n=8,
        ),
        "hidden size": group(
            [
                call(6, 24),
                call(7, 28),
                call(10, 40),
                call(512, 2048),
                call(4096, 16384),
                call(5, 31),
                call(768, 1000),
                call(8, 11),
                call(3, 3),
                call(16, 40),
                call(1024, 4096),
                call(5120, 1_300_000),
                call(4, 1),
                call(9, 2),
            ],
            probe=_hidden_only,
        ),
    }

    @trap("Swish sits on the wrong branch. Here W carries the gate, so xW goes through Swish and xV stays linear.")
    class swish_on_v:
        matched_hidden = _matched

        def swiglu_ffn(x, W, V, W2):
            return ((x @ W) * _swish(x @ V)) @ W2

    @trap("A plain sigmoid gate makes this a GLU. SwiGLU multiplies by Swish(xW) = xW · sigmoid(xW).")
    class sigmoid_gate:
        matched_hidden = _matched

        def swiglu_ffn(x, W, V, W2):
            return (_sigmoid(x @ W) * (x @ V)) @ W2

    @trap("You add the branches. A gate multiplies, element by element: only then can one branch shut the other.")
    class added:
        matched_hidden = _matched

        def swiglu_ffn(x, W, V, W2):
            return (_swish(x @ W) + (x @ V)) @ W2

    @trap("Both branches go through Swish. Only the gate xW is activated; xV stays linear.")
    class swish_on_both:
        matched_hidden = _matched

        def swiglu_ffn(x, W, V, W2):
            return (_swish(x @ W) * _swish(x @ V)) @ W2

    @trap("ReLU gates make this ReGLU. SwiGLU asks for Swish(u) = u · sigmoid(u).")
    class relu_gate:
        matched_hidden = _matched

        def swiglu_ffn(x, W, V, W2):
            return (np.maximum(x @ W, 0) * (x @ V)) @ W2

    @trap("A GELU gate makes this GEGLU. SwiGLU asks for Swish(u) = u · sigmoid(u).")
    class gelu_gate:
        matched_hidden = _matched

        def swiglu_ffn(x, W, V, W2):
            return (_gelu_exact(x @ W) * (x @ V)) @ W2

    @trap("The gate is computed but not applied: this is a plain Swish FFN. Multiply by xV.")
    class no_second_branch:
        matched_hidden = _matched

        def swiglu_ffn(x, W, V, W2):
            return _swish(x @ W) @ W2

    @trap("Swish is applied after the product. It belongs on xW alone, before the multiplication.")
    class swish_of_the_product:
        matched_hidden = _matched

        def swiglu_ffn(x, W, V, W2):
            return _swish((x @ W) * (x @ V)) @ W2

    @trap("Keeping d_ff gives 50 % more parameters: three matrices instead of two. Cut the hidden size to 2/3.")
    class hidden_kept:
        swiglu_ffn = _ffn

        def matched_hidden(d, d_ff):
            return d_ff

    @trap("Rounding up (or to the nearest) goes over the budget when 2·d_ff/3 is not whole. “Do not hold more” means: round down.")
    class rounded_up:
        swiglu_ffn = _ffn

        def matched_hidden(d, d_ff):
            return math.ceil(2 * d_ff / 3)

    @trap("Rounding up (or to the nearest) goes over the budget when 2·d_ff/3 is not whole. “Do not hold more” means: round down.")
    class rounded_to_nearest:
        swiglu_ffn = _ffn

        def matched_hidden(d, d_ff):
            return round(2 * d_ff / 3)

    @trap("“Do not hold more” allows exactly as many: when 2·d_ff/3 is whole, it is the answer itself.")
    class strictly_fewer:
        swiglu_ffn = _ffn

        def matched_hidden(d, d_ff):
            return (2 * d_ff - 1) // 3

    @trap("Multiples of 256 are LLaMA's choice. The task asks for the largest size within the budget: 2·d_ff/3, rounded down.")
    class rounded_to_256:
        swiglu_ffn = _ffn

        def matched_hidden(d, d_ff):
            return -(-(2 * d_ff // 3) // 256) * 256

    @trap("The last matrix is missing: the gated product has h features, and W2 takes it back to d.")
    class last_matrix_missing:
        matched_hidden = _matched

        def swiglu_ffn(x, W, V, W2):
            return _swish(x @ W) * (x @ V)

    @trap("8d/3 assumes d_ff = 4d. The plain FFN's hidden size is the argument d_ff: the answer is 2·d_ff/3, rounded down.")
    class four_d_assumed:
        swiglu_ffn = _ffn

        def matched_hidden(d, d_ff):
            return 8 * d // 3

    @trap("Inverted: 3/2 makes the layer larger. Three matrices must share the budget of two: the factor is 2/3.")
    class three_halves:
        swiglu_ffn = _ffn

        def matched_hidden(d, d_ff):
            return 3 * d_ff // 2

    @right("loops, and a search for the size")
    class by_hand:
        def swiglu_ffn(x, W, V, W2):
            rows = x.reshape(-1, x.shape[-1])
            out = np.zeros_like(rows)
            for i, row in enumerate(rows):
                hidden = np.zeros(W.shape[1])
                for j in range(W.shape[1]):
                    u = sum(row[k] * W[k, j] for k in range(len(row)))
                    hidden[j] = u / (1 + math.exp(-u)) * sum(row[k] * V[k, j] for k in range(len(row)))
                out[i] = hidden @ W2
            return out.reshape(x.shape)

        def matched_hidden(d, d_ff):
            h = 0
            while 3 * d * (h + 1) <= 2 * d * d_ff:
                h += 1
            return h

    @right("einsum and torch")
    class with_einsum:
        def swiglu_ffn(x, W, V, W2):
            gate = F.silu(torch.from_numpy(np.einsum("...d,dh->...h", x, W))).numpy()
            return np.einsum("...h,hd->...d", gate * np.einsum("...d,dh->...h", x, V), W2)

        def matched_hidden(d, d_ff):
            return int(np.floor(2 / 3 * d_ff + 1e-9))


# ------------------------------------------------------------------------------------------------------------- swiglu, chunk


def _swiglu_case(*leading, d, f, seed, dtype=torch.float64):
    numbers = normal((*leading, d), 1.0, seed), normal((2 * f, d), 1.0, seed + 100), normal((2 * f,), 1.0, seed + 200)
    return call(*(torch.tensor(a, dtype=dtype) for a in numbers))


@exercise("thirty.swiglu-chunk", names="swiglu", covers=["thirty.tq03", "thirty.c-swiglu", "thirty.t-activations", "activations.swiglu"])
class SwigluChunk:
    def reference(x, W, b):
        value, gate = (x @ W.T + b).chunk(2, dim=-1)
        return value * F.silu(gate)

    def _gradients(submission, x, W, b):
        x, W, b = (t.clone().requires_grad_(True) for t in (x, W, b))
        out = submission.swiglu(x, W, b)
        if not getattr(out, "requires_grad", False):
            return {"x": None, "W": None, "b": None}
        out.square().sum().backward()
        return {"x": x.grad, "W": W.grad, "b": b.grad}

    cases = {
        "values": [
            _swiglu_case(4, d=3, f=4, seed=1),
            _swiglu_case(5, d=6, f=3, seed=2, dtype=torch.float32),
            _swiglu_case(1, d=2, f=1, seed=3),
            _swiglu_case(8, d=8, f=4, seed=4),
            _swiglu_case(12, d=3, f=70, seed=12),
            call(torch.tensor([[1.0], [-1.0]]), torch.tensor([[3.0], [-2.0], [200.0], [85.0]]), torch.tensor([0.5, 1.0, 0.0, -5.0])),
        ],
        "any leading axes": [
            _swiglu_case(2, 3, d=4, f=5, seed=5),
            _swiglu_case(4, 2, d=6, f=3, seed=6, dtype=torch.float32),
            _swiglu_case(d=5, f=2, seed=7),
            _swiglu_case(2, 2, 3, d=2, f=2, seed=8),
            _swiglu_case(2, 1, 3, 1, d=3, f=2, seed=9),
        ],
        "gradient": group(
            [
                _swiglu_case(4, d=3, f=4, seed=1),
                _swiglu_case(2, 3, d=4, f=2, seed=10, dtype=torch.float32),
                _swiglu_case(d=5, f=2, seed=11),
                _swiglu_case(3, 2, d=4, f=2, seed=13),
                _swiglu_case(2, 1, 2, d=3, f=1, seed=14),
            ],
            probe=_gradients,
        ),
    }

    @trap("The values are right, but no gradient arrives at x, W and b: detach, .data, .numpy() and no_grad cut the result off.")
    def detached(x, W, b):
        value, gate = (x @ W.T + b).detach().chunk(2, dim=-1)
        return value * F.silu(gate)

    @trap("The roles are exchanged. In this layout the SECOND half is the gate and goes through SiLU; the first half stays linear.")
    def gate_first(x, W, b):
        gate, value = (x @ W.T + b).chunk(2, dim=-1)
        return value * F.silu(gate)

    @trap("A bare sigmoid makes this a GLU (what F.glu computes). SwiGLU's gate is SiLU(g) = g · sigmoid(g).")
    def sigmoid_gate(x, W, b):
        return F.glu(x @ W.T + b, dim=-1)

    @trap("Both halves are activated. Only the gate goes through SiLU; the other half stays linear.")
    def silu_on_both(x, W, b):
        value, gate = (x @ W.T + b).chunk(2, dim=-1)
        return F.silu(value) * F.silu(gate)

    @trap("You split the batch. Split the feature axis, the last one: chunk(2, dim=-1).")
    def batch_split(x, W, b):
        value, gate = (x @ W.T + b).chunk(2, dim=0)
        return value * F.silu(gate)

    @trap("dim=1 is the feature axis of a matrix only; with (B, T, D) it splits the tokens. Use dim=-1.")
    def second_axis_split(x, W, b):
        value, gate = (x @ W.T + b).chunk(2, dim=1)
        return value * F.silu(gate)

    @trap("Even and odd features instead of halves. The first F features are the linear half, the last F the gate.")
    def interleaved(x, W, b):
        p = x @ W.T + b
        return p[..., ::2] * F.silu(p[..., 1::2])

    @trap("W has shape (2F, D), as in nn.Linear: the projection is x @ W.T. Yours runs only where W happens to be square.")
    def not_transposed(x, W, b):
        value, gate = (x @ W + b).chunk(2, dim=-1)
        return value * F.silu(gate)

    @trap("The bias b is missing from the projection.")
    def no_bias(x, W, b):
        value, gate = (x @ W.T).chunk(2, dim=-1)
        return value * F.silu(gate)

    @trap("A GELU gate makes this GEGLU. The gate of SwiGLU is SiLU.")
    def gelu_gate(x, W, b):
        value, gate = (x @ W.T + b).chunk(2, dim=-1)
        return value * F.gelu(gate)

    @trap("The halves are added. A gate multiplies, element by element.")
    def added(x, W, b):
        value, gate = (x @ W.T + b).chunk(2, dim=-1)
        return value + F.silu(gate)

    @right("slices of F.linear")
    def sliced(x, W, b):
        p = F.linear(x, W, b)
        f = p.shape[-1] // 2
        return p[..., :f] * p[..., f:] * torch.sigmoid(p[..., f:])

    @right("two projections")
    def two_projections(x, W, b):
        (Wv, Wg), (bv, bg) = W.split(len(W) // 2), b.split(len(b) // 2)
        g = torch.einsum("...d,fd->...f", x, Wg) + bg
        return (torch.einsum("...d,fd->...f", x, Wv) + bv) * (g / (1 + torch.exp(-g)))


# ---------------------------------------------------------------------------------------------------------------- dead units


@st.composite
def _batches(draw):
    units = draw(st.integers(2, 5))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    inner = draw(st.sampled_from([(), (2,), (3,)]))
    silent = draw(st.lists(st.booleans(), min_size=units, max_size=units))
    batches = []
    for n in sizes:
        quiet = np.array(draw(st.lists(st.booleans(), min_size=units, max_size=units)))
        a = np.maximum(draw(arrays((n, *inner, units), -2, 2)), 0.0)
        batches.append(a * ~(np.array(silent) | quiet))
    return call(batches)


_UNEQUAL = [np.array([[1.0, 0.0, 0.0, 2.0], [0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]), np.array([[0.0, 3.0, 0.0, 0.0]])]
_RARE = [np.vstack([np.zeros((150, 3)), [[0.0, 0.4, 0.0]], np.zeros((49, 3))]), np.vstack([np.zeros((199, 3)), [[1.5, 0.0, 0.0]]])]
_ONCE = [np.zeros((700, 7)), np.zeros((1, 7)), np.eye(7)[1:2], np.zeros((500, 7)), 0.7 * np.eye(7)[:1], np.zeros((2, 7)), np.eye(7)[6:]]
_SEVEN = [np.zeros((2, 7)), np.ones((5, 7)), *[np.array([[1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 3.0]])] * 3, np.ones((4, 7)), np.zeros((1, 7))]
_TINY = [np.array([[0.0, 1e-12, 1e-300, 3.0]])]
_HEALTHY = [np.eye(5)[:, :4] + 0.0, np.eye(4)[::-1][:3] * 2.0]
_TOKENS = [
    normal((2, 3, 4), 1.0, 1).clip(0) * np.array([1.0, 0.0, 1.0, 1.0]),
    normal((3, 5, 4), 1.0, 2).clip(0) * np.array([1.0, 0.0, 1.0, 0.0]),
]
_SAME_LENGTH = [np.array([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]])]


def _long():
    """Twelve batches of twelve units: 0 fires 256 times, 1 now and then, 8 and 11 once, late; all others never."""
    rows = np.zeros((256, 12))
    rows[:, 0], rows[::7, 1], rows[190, 8], rows[255, 11] = 1.5, 0.5, 2.0, 0.25
    return np.split(rows, range(20, 240, 20))


_LONG = _long()
_ONE_UNIT = [np.array([[0.0], [2.0]]), np.zeros((3, 1))]


@exercise(
    "activations.dead-units",
    names="dead_report",
    covers=["activations.dead-def", "activations.dead-detect", "activations.q.detect", "activations.relu"],
)
class DeadUnits:
    def reference(batches):
        rows = np.concatenate([b.reshape(-1, b.shape[-1]) for b in batches])
        return float((rows == 0).all(axis=0).mean()), float((rows == 0).mean())

    def probe(submission, batches):
        dead, zeros = submission.dead_report(batches)
        return dead, zeros

    def _dead(submission, batches):
        return submission.dead_report(batches)[0]

    def _zeros(submission, batches):
        return submission.dead_report(batches)[1]

    cases = {
        "dead units": group(
            [
                _batches(),
                call(_UNEQUAL),
                call(_HEALTHY),
                call(_RARE),
                call(_ONCE),
                call([np.zeros((3, 2))]),
                call(_TINY),
                call(_LONG),
                call(_ONE_UNIT),
            ],
            probe=_dead,
        ),
        "zero fraction": group(
            [_batches(), call(_UNEQUAL), call(_HEALTHY), call(_SEVEN), call(_TINY), call(_LONG), call(_ONE_UNIT)],
            probe=_zeros,
        ),
        "tokens": [
            call(_TOKENS),
            call(_SAME_LENGTH),
            call([_SAME_LENGTH[0], np.zeros((1, 3, 3))]),
            call(_TOKENS[:1]),
            call([*_TOKENS, *_TOKENS, _TOKENS[0], np.full((1, 2, 4), [0.0, 0.2, 0.0, 0.0])]),
            call([rows.reshape(2, -1, 12) for rows in _LONG]),
        ],
    }

    @trap(
        "Both numbers count zeros. Zeros per example are healthy sparsity; a unit is dead only if it is zero for ALL examples of all batches."
    )
    def sparsity_as_dead(batches):
        rows = np.concatenate([b.reshape(-1, b.shape[-1]) for b in batches])
        return float((rows == 0).mean()), float((rows == 0).mean())

    @trap("The order is (dead, zeros): first the fraction of dead units, then the fraction of zero entries.")
    def order_exchanged(batches):
        rows = np.concatenate([b.reshape(-1, b.shape[-1]) for b in batches])
        return float((rows == 0).mean()), float((rows == 0).all(axis=0).mean())

    @trap("These are counts. Both results are fractions: divide by the number of units, and by the number of entries.")
    def counts(batches):
        rows = np.concatenate([b.reshape(-1, b.shape[-1]) for b in batches])
        return float((rows == 0).all(axis=0).sum()), float((rows == 0).sum())

    @trap(
        "You average the dead fraction of single batches, so a unit silent in one of them counts partly. Combine the batches with AND: silent in every one."
    )
    def averaged_over_batches(batches):
        rows = [b.reshape(-1, b.shape[-1]) for b in batches]
        return float(np.mean([(r == 0).all(0).mean() for r in rows])), float((np.concatenate(rows) == 0).mean())

    @trap("Only the last batch is looked at. A unit is dead if it is silent in ALL batches.")
    def last_batch_only(batches):
        for b in batches:
            rows = b.reshape(-1, b.shape[-1])
            result = float((rows == 0).all(0).mean()), float((rows == 0).mean())
        return result

    @trap("Only the last batch is looked at. A unit is dead if it is silent in ALL batches.")
    def last_batch_for_the_units(batches):
        last = batches[-1].reshape(-1, batches[-1].shape[-1])
        return float((last == 0).all(0).mean()), sum((b == 0).sum() for b in batches) / sum(b.size for b in batches)

    @trap("Only the first batch is looked at. A unit is dead if it is silent in ALL batches.")
    def first_batch_for_the_units(batches):
        first = batches[0].reshape(-1, batches[0].shape[-1])
        return float((first == 0).all(0).mean()), sum((b == 0).sum() for b in batches) / sum(b.size for b in batches)

    @trap("A unit that fires rarely is alive: once in all examples is enough. Dead means zero for ALL of them, not for most.")
    def mostly_silent(batches):
        rows = np.concatenate([b.reshape(-1, b.shape[-1]) for b in batches])
        return float(((rows == 0).mean(axis=0) > 0.95).mean()), float((rows == 0).mean())

    @trap("A unit that is zero for ANY example is normal. Dead means zero for ALL of them: all(), not any().")
    def any_instead_of_all(batches):
        rows = np.concatenate([b.reshape(-1, b.shape[-1]) for b in batches])
        return float((rows == 0).any(axis=0).mean()), float((rows == 0).mean())

    @trap("You counted silent examples. The units are on the LAST axis: reduce over all the others.")
    def units_axis_reduced(batches):
        rows = np.concatenate([b.reshape(-1, b.shape[-1]) for b in batches])
        return float((rows == 0).all(axis=-1).mean()), float((rows == 0).mean())

    @trap(
        "Batches differ in size: the mean of the batches' zero fractions is not the fraction over all entries. Count zeros and entries, then divide."
    )
    def zero_fraction_averaged(batches):
        rows = [b.reshape(-1, b.shape[-1]) for b in batches]
        return float((np.concatenate(rows) == 0).all(0).mean()), float(np.mean([(r == 0).mean() for r in rows]))

    @trap("With tokens there are several leading axes. You reduced only the first, so every position counts as units of its own.")
    def first_axis_only(batches):
        silent = np.logical_and.reduce([(b == 0).all(axis=0) for b in batches])
        return float(silent.mean()), sum(int((b == 0).sum()) for b in batches) / sum(b.size for b in batches)

    @trap(
        "Batches may differ in their number of tokens, so they do not fit together as they are. Reshape each to (rows, units), then join them."
    )
    def joined_before_the_reshape(batches):
        rows = np.concatenate(batches).reshape(-1, batches[0].shape[-1])
        return float((rows == 0).all(axis=0).mean()), float((rows == 0).mean())

    @trap("A tiny activation is not zero: 1e−12 still carries a gradient. Compare with exactly 0.")
    def threshold(batches):
        rows = np.concatenate([b.reshape(-1, b.shape[-1]) for b in batches])
        return float((rows < 1e-6).all(axis=0).mean()), float((rows < 1e-6).mean())

    @trap("A unit counts as dead here if one batch is silent. It has to be silent in every batch: AND, not OR.")
    def silent_in_some_batch(batches):
        rows = [b.reshape(-1, b.shape[-1]) for b in batches]
        return float(np.logical_or.reduce([(r == 0).all(0) for r in rows]).mean()), float((np.concatenate(rows) == 0).mean())

    @trap("These are the units that live. Return the fraction of dead ones: one minus it.")
    def live_fraction(batches):
        rows = np.concatenate([b.reshape(-1, b.shape[-1]) for b in batches])
        return float((rows > 0).any(axis=0).mean()), float((rows == 0).mean())

    @right("running totals")
    def running_totals(batches):
        alive, zeros, entries = False, 0, 0
        for b in batches:
            alive = alive | (b > 0).any(axis=tuple(range(b.ndim - 1)))
            zeros, entries = zeros + np.count_nonzero(b == 0), entries + b.size
        return 1 - alive.mean(), zeros / entries

    @right("unit by unit, with the maximum")
    def unit_by_unit(batches):
        units = batches[0].shape[-1]
        dead = sum(max(float(b[..., u].max()) for b in batches) == 0 for u in range(units))
        values = [v for b in batches for v in b.ravel()]
        return dead / units, sum(v == 0 for v in values) / len(values)


# -------------------------------------------------------------------------------------------------------------------- zigzag


@st.composite
def _units(draw, low):
    n, k = draw(st.integers(1, 5)), draw(st.sampled_from([2, 3]))
    H = draw(arrays((n, k), low, 1))
    return call(H, np.array(draw(st.lists(st.sampled_from([-1.5, 0.0, 0.5, 2.0]), min_size=n, max_size=n))))


def _measured(k, seed, kind):
    rng = np.random.default_rng(seed)
    z, delta = rng.normal(size=(40, k)), rng.normal(size=40)
    delta[::4] = 0.0
    return call(_sigmoid(z) if kind == "sigmoid" else np.tanh(z), delta)


_LATE = np.append(np.zeros(41), [1.5, -0.5, 2.0])


def _wide(last):
    """44 examples of 10 inputs. Only three have a delta, and one of them has `last` as its last input."""
    H = _sigmoid(normal((44, 10), 1.0, 5))
    H[42, 9] = last
    return call(H, _LATE)


def _large(other):
    """150 examples of 20 inputs. A few late ones have `other` as their last input but one."""
    H, delta = _sigmoid(normal((150, 20), 1.0, 6)), normal((150,), 1.0, 7)
    H[110:140:3, 18], delta[::4] = other, 0.0
    return call(H, delta)


@exercise(
    "activations.zigzag",
    names="same_sign_fraction",
    covers=["activations.sigmoid-bias", "activations.tanh-advantage", "activations.q.tanh-vs-sigmoid"],
)
class Zigzag:
    def reference(H, delta):
        used = delta != 0
        if not used.any():
            return 0.0
        return float((np.abs(np.sign(delta[used, None] * H[used]).sum(axis=1)) == H.shape[1]).mean())

    cases = {
        "sigmoid inputs": [
            _units(0.05),
            *(_measured(k, k, "sigmoid") for k in (2, 3, 8)),
            call(np.array([[0.2, 0.7], [0.4, 0.9]]), np.array([0.0, -1.0])),
            _wide(0.9),
            _large(0.9),
            call(_sigmoid(normal((3, 4), 1.0, 8)), np.zeros(3)),
        ],
        "tanh inputs": [
            _units(-1.0),
            *(_measured(k, k, "tanh") for k in (2, 3, 8)),
            call(np.array([[-0.2, -0.7], [0.4, 0.9], [0.1, -0.3]]), np.array([1.0, -1.0, 2.0])),
            _wide(-0.3),
            _large(-0.3),
        ],
        "zeros": [
            call(np.array([[0.0, 0.5], [0.3, 0.5], [-0.2, 0.0]]), np.array([1.0, 2.0, -1.0])),
            call(np.array([[0.0, 0.0], [-0.3, -0.5]]), np.array([1.0, 2.0])),
            call(np.array([[0.4, 0.5], [0.3, 0.5]]), np.array([0.0, 0.0])),
            call(np.array([[0.4, 0.5], [0.3, -0.5], [0.3, 0.1]]), np.array([0.0, 1.0, -2.0])),
            call(np.array([[0.2, 0.9], [0.3, -0.5]]), np.array([1e-100, 1.0])),
            call(np.array([[0.2, 1e-100], [0.3, -0.5], [-1e-12, -2.0]]), np.array([1.0, 1.0, -0.5])),
            call(np.array([[0.5, -1e-100], [0.5, -1e-4], [-2.0, 1e-12]]), np.array([1.0, 1.0, -1.0])),
            call(np.array([[1e-100, 2e-100], [0.5, -1e-100]]), np.array([1e-100, 1e-100])),
            call(np.empty((0, 3)), np.empty((0,))),
            _wide(0.0),
            call(np.array([[0.0, 0.0], [-0.3, -0.5]]), np.array([1.0, 2.0])),
        ],
    }

    @trap("Examples with delta = 0 have a zero gradient and no sign. Leave them out of the count and out of the denominator.")
    def zeros_in_the_denominator(H, delta):
        if not len(delta):
            return 0.0
        g = delta[:, None] * H
        return float(((g > 0).all(1) | (g < 0).all(1)).mean())

    @trap("You test the gradient averaged over the batch. The statement is per example: over a batch the signs may mix.")
    def batch_mean(H, delta):
        if not (delta != 0).any():
            return 0.0
        g = (delta[:, None] * H).mean(0)
        return float((g > 0).all() or (g < 0).all())

    @trap("≥ and ≤ let a zero component count as either sign. Zero has no sign: compare strictly.")
    def not_strict(H, delta):
        used = delta != 0
        if not used.any():
            return 0.0
        g = delta[used, None] * H[used]
        return float(((g >= 0).all(1) | (g <= 0).all(1)).mean())

    @trap("You count all-positive gradients only. A negative delta makes them all negative, and that is one common sign too.")
    def positive_only(H, delta):
        used = delta != 0
        if not used.any():
            return 0.0
        return float((delta[used, None] * H[used] > 0).all(1).mean())

    @trap("You count examples whose inputs are all positive. All-negative inputs also give gradients of one sign.")
    def positive_inputs_only(H, delta):
        used = delta != 0
        return float((H[used] > 0).all(1).mean()) if used.any() else 0.0

    @trap("Without an example with delta ≠ 0 there is nothing to average: the mean of nothing is nan. Return 0.0.")
    def nothing_to_average(H, delta):
        used = delta != 0
        g = delta[used, None] * H[used]
        return float(((g > 0).all(1) | (g < 0).all(1)).mean())

    @trap("You reduce over the examples (axis 0). The components of one example's gradient lie along axis 1.")
    def wrong_axis(H, delta):
        used = delta != 0
        if not used.any():
            return 0.0
        g = delta[used, None] * H[used]
        return float(((g > 0).all(0) | (g < 0).all(0)).mean())

    @trap(
        "You compare only the first two components, or neighbours by their product's sign over all of them. All k components have to agree."
    )
    def first_two_components(H, delta):
        used = delta != 0
        return float((H[used, 0] * H[used, 1] > 0).mean()) if used.any() else 0.0

    @trap("This is the fraction of single components that are positive or negative. Ask per example whether ALL components agree.")
    def any_component(H, delta):
        used = delta != 0
        if not used.any():
            return 0.0
        g = delta[used, None] * H[used]
        return float((g != 0).mean())

    _tiny = "Tiny is not zero: 1e−12 has a sign, whether it is a delta or a component. Compare with exactly 0, not with a threshold or np.isclose."

    @trap(_tiny)
    def tiny_delta_left_out(H, delta):
        used = np.abs(delta) > 1e-8
        if not used.any():
            return 0.0
        g = delta[used, None] * H[used]
        return float(((g > 0).all(1) | (g < 0).all(1)).mean())

    @trap(_tiny)
    def tiny_component_without_sign(H, delta):
        used = delta != 0
        if not used.any():
            return 0.0
        g = delta[used, None] * H[used]
        return float(((g > 1e-8).all(1) | (g < -1e-8).all(1)).mean())

    @trap(_tiny)
    def below_the_machine_epsilon(H, delta):
        eps = np.finfo(float).eps
        used = np.abs(delta) > eps
        if not used.any():
            return 0.0
        g = delta[used, None] * H[used]
        return float(((g > eps).all(1) | (g < -eps).all(1)).mean())

    @trap("Examples with a negative delta count too: the condition is delta ≠ 0, not delta > 0.")
    def positive_delta_only(H, delta):
        used = delta > 0
        if not used.any():
            return 0.0
        g = delta[used, None] * H[used]
        return float(((g > 0).all(1) | (g < 0).all(1)).mean())

    @trap("The sign of a product does not say that all agree: two negative components make it positive. Ask for all > 0 or all < 0.")
    def sign_of_the_product(H, delta):
        used = delta != 0
        if not used.any():
            return 0.0
        return float(((delta[used, None] * H[used]).prod(axis=1) > 0).mean())

    @right("per-example gradients")
    def per_example(H, delta):
        g = np.array([d * h for d, h in zip(delta, H) if d != 0])
        if len(g) == 0:
            return 0.0
        return float(np.mean(np.all(g > 0, axis=1) | np.all(g < 0, axis=1)))

    @right("counting in a loop")
    def counting(H, delta):
        same = used = 0
        for h, d in zip(H, delta):
            if d == 0:
                continue
            used += 1
            signs = {float(np.sign(d * v)) for v in h}
            same += signs in ({1.0}, {-1.0})
        return same / used if used else 0.0

    @right("minimum and maximum")
    def min_and_max(H, delta):
        G = (H * delta.reshape(-1, 1))[np.flatnonzero(delta)]
        return float(np.mean((G.min(1) > 0) | (G.max(1) < 0))) if G.size else 0.0


# ------------------------------------------------------------------------------------------------------------ debug: fix-nll


@st.composite
def _float32_logits(draw, scale):
    n, c = draw(st.sampled_from([(1, 3), (4, 3), (3, 3), (6, 2)]))
    logits = draw(arrays((n, c), -3, 3)) * scale
    return call(torch.tensor(logits, dtype=torch.float32), torch.tensor(draw(arrays((n,), 0, c - 1, dtype=np.int64))))


def _float32_call(logits, y):
    return call(torch.tensor(logits, dtype=torch.float32), torch.tensor(y))


_NLL_CASES = [
    _float32_logits(1.0),
    _float32_logits(2000.0),
    _float32_call([[0.0, 500.0, 20.0], [30.0, 0.0, 1.0]], [0, 2]),
    _float32_call([[60.0, 0.0], [0.0, 3.0]], [1, 1]),
    _float32_call([[5000.0, 0.0, -5000.0]], [2]),
    _float32_call([[5000.0, -5000.0], [0.1, 0.2]], [0, 1]),
    _float32_call([[5000.0, 4995.0], [-3000.0, -2998.0]], [1, 1]),
    _float32_call([[300.0, 296.0, 0.0]], [1]),
    _float32_call(normal((2, 4), 2.0, 9), [3, 0]),
    _float32_call(normal((1, 6), 2.0, 10), [4]),
    _float32_call(normal((200, 20), 2.0, 11), [7 * n % 20 for n in range(200)]),
]


def _rounding(logits):
    return 1.2e-7 * logits.abs().max().item()  # a unit in the last place of a float32 of that size


def _number(value):
    return isinstance(value, (int, float, np.ndarray)) and np.shape(value) == ()


def _accept_loss(loss, logits, y):
    want = F.cross_entropy(logits.double(), y).item()
    if not _number(loss):
        return "The loss is not one number."
    if not np.isfinite(loss):
        return f"The loss is {'not a number' if np.isnan(loss) else 'infinite'}; it should be {want:.6g}."
    if abs(loss - want) <= 1e-5 + 1e-5 * want + 4 * _rounding(logits):
        return True
    twice = F.cross_entropy(torch.softmax(logits.double(), dim=1), y).item()
    picked = -logits.double()[torch.arange(len(y)), y].mean().item()
    if abs(loss - twice) <= 1e-5:
        kind = "that of a softmax applied twice"
    elif abs(loss - picked) <= 1e-5 + 4 * _rounding(logits):
        kind = "minus the mean of the right logits"
    else:
        kind = "negative" if loss < -1e-5 else "too small" if loss < want else "too large"
    return f"The loss is {kind}: {float(loss):.6g}; it should be {want:.6g}."


def _accept_gradient_of_nll(gradient, logits, y):
    exact = logits.double().requires_grad_(True)
    F.cross_entropy(exact, y).backward()
    want = exact.grad.numpy()
    if gradient is None or np.shape(gradient) != want.shape:
        return "No gradient arrives at the logits."
    if not np.isfinite(gradient).all():
        return "The gradient is not finite."
    if np.allclose(gradient, want, rtol=1e-4, atol=1e-6 + _rounding(logits)):
        return True
    n = int(np.abs(gradient - want).sum(axis=1).argmax())
    kind = "almost zero" if np.abs(gradient[n]).max() < 0.01 * np.abs(want[n]).max() else "wrong"
    return f"The gradient of example {n} is {kind}: {np.round(gradient[n], 4).tolist()}; it should be {np.round(want[n], 4).tolist()}."


def _nll_with_epsilon(eps):
    def nll(logits, y):
        p = torch.softmax(logits, dim=1)
        return -torch.log(p + eps)[torch.arange(len(y)), y].mean()

    return nll


def _nll_with_clamp(least):
    def nll(logits, y):
        p = torch.softmax(logits, dim=1).clamp(min=least)
        return -torch.log(p)[torch.arange(len(y)), y].mean()

    return nll


@exercise("activations.fix-nll", names="nll", covers=["activations.fused-ce", "activations.softmax-stable"])
class FixNll:
    def reference(logits, y):
        return F.cross_entropy(logits, y)

    def _loss(submission, logits, y):
        return submission.nll(logits, y)

    def _gradient(submission, logits, y):
        logits = logits.clone().requires_grad_(True)
        submission.nll(logits, y).backward()
        return logits.grad

    cases = {
        "values": group(_NLL_CASES, probe=_loss, accept=_accept_loss, n=8),
        "gradient": group(_NLL_CASES, probe=_gradient, accept=_accept_gradient_of_nll, n=8),
    }

    @trap(
        "The softmax underflows to 0 (subtracting the maximum does not help: torch.softmax does that already), log(0) = −inf, and its gradient is nan. Never take the log of a softmax: use F.cross_entropy or F.log_softmax on the logits."
    )
    def log_of_softmax(logits, y):
        p = torch.softmax(logits, dim=1)
        return -torch.log(p)[torch.arange(len(y)), y].mean()

    _capped = "An epsilon or a clamp keeps the loss finite but caps it (near 20.7 for 1e−9), and confident errors get no gradient, where it is needed most. Use F.log_softmax."
    epsilon_1e20 = trap(_capped)(_nll_with_epsilon(1e-20))
    epsilon_1e12 = trap(_capped)(_nll_with_epsilon(1e-12))
    epsilon_1e9 = trap(_capped)(_nll_with_epsilon(1e-9))
    epsilon_1e7 = trap(_capped)(_nll_with_epsilon(1e-7))
    epsilon_1e5 = trap(_capped)(_nll_with_epsilon(1e-5))
    clamp_1e20 = trap(_capped)(_nll_with_clamp(1e-20))
    clamp_1e9 = trap(_capped)(_nll_with_clamp(1e-9))
    clamp_1e7 = trap(_capped)(_nll_with_clamp(1e-7))
    clamp_1e5 = trap(_capped)(_nll_with_clamp(1e-5))

    @trap(
        "nan_to_num hides the inf in the forward pass; the backward pass still multiplies 0 by inf = nan. Repair the formula: log_softmax."
    )
    def hidden_with_nan_to_num(logits, y):
        p = torch.softmax(logits, dim=1)
        return torch.nan_to_num(-torch.log(p)[torch.arange(len(y)), y].mean(), posinf=1e4)

    @trap(
        "nan_to_num hides the inf in the forward pass; the backward pass still multiplies 0 by inf = nan. Repair the formula: log_softmax."
    )
    def hidden_behind_a_huge_number(logits, y):
        p = torch.softmax(logits, dim=1)
        return torch.nan_to_num(-torch.log(p)[torch.arange(len(y)), y]).mean()

    @trap("More digits move the cliff to a logit gap of 745, they do not remove it. Use log_softmax, in float32.")
    def in_float64(logits, y):
        p = torch.softmax(logits.double(), dim=1)
        return -torch.log(p)[torch.arange(len(y)), y].mean().float()

    @trap(
        "F.cross_entropy takes logits and contains the softmax. Applied to probabilities, the softmax acts twice and the loss is bounded."
    )
    def softmax_twice(logits, y):
        return F.cross_entropy(torch.softmax(logits, dim=1), y)

    @trap(
        "exp of a raw logit overflows from 88.7 on in float32, and underflows far below 0. Use torch.logsumexp, which subtracts the maximum, or F.cross_entropy."
    )
    def no_max_subtraction(logits, y):
        return (logits.exp().sum(dim=1).log() - logits[torch.arange(len(y)), y]).mean()

    @trap(
        "The normalization, log Σ exp, is missing from the loss or (through detach) from its gradient; F.nll_loss of logits is just −z_y. Use F.cross_entropy."
    )
    def nll_of_logits(logits, y):
        return F.nll_loss(logits, y)

    @trap("Scaling the logits changes the loss. They are right as they are, however large; the formula is not.")
    def logits_scaled(logits, y):
        return F.cross_entropy(logits / logits.abs().max().clamp(min=1), y)

    @trap("Label smoothing is another loss: it mixes in the other classes. The task asks for the plain cross-entropy.")
    def label_smoothing(logits, y):
        return F.cross_entropy(logits, y, label_smoothing=0.01)

    @trap("F.nll_loss expects log-probabilities. Given probabilities it returns −p, which is no cross-entropy.")
    def nll_of_probabilities(logits, y):
        return F.nll_loss(torch.softmax(logits, dim=1), y)

    @trap("This sums over the batch; the loss is the mean over the examples.")
    def summed(logits, y):
        return F.cross_entropy(logits, y, reduction="sum")

    @trap("Clamping the logits changes the loss and gives clamped entries no gradient. The logits are fine; the formula is not.")
    def logits_clamped(logits, y):
        return F.cross_entropy(logits.clamp(-50, 50), y)

    @right("log_softmax and indexing")
    def with_log_softmax(logits, y):
        logp = torch.log_softmax(logits, dim=1)
        return -logp[torch.arange(len(y)), y].mean()

    @right("logsumexp")
    def with_logsumexp(logits, y):
        return (torch.logsumexp(logits, dim=1) - logits.gather(1, y[:, None]).squeeze(1)).mean()

    @right("one example at a time")
    def one_by_one(logits, y):
        losses = []
        for row, label in zip(logits, y):
            top = row.max().detach()
            losses.append(top + torch.log(torch.exp(row - top).sum()) - row[label])
        return sum(losses) / len(losses)


# ----------------------------------------------------------------------------------------------------- debug: fix-classifier


def _spread(outputs):
    return outputs.std(dim=0).square().mean().sqrt().item()


def _looks(inputs):
    if bool((inputs >= 0).all()) and torch.allclose(inputs.sum(1), torch.ones(len(inputs)), atol=1e-4):
        return "between 0 and 1 and sum to 1 over the units"
    if bool((inputs > 0).all() and (inputs < 1).all()):
        return "all strictly between 0 and 1"
    if bool((inputs >= 0).all()):
        return "never negative"
    return "of both signs"


def _weights(linears):
    scale = sum(m.weight.var().item() * m.in_features for m in linears) / len(linears)
    for low, high, words in [
        (-1, 1e-9, "zero"),
        (0.25, 0.45, "1/(3n), torch's default"),
        (0.8, 1.25, "about 1/n"),
        (1.7, 2.3, "about 2/n"),
        (30, 1e9, "far above 2/n"),
    ]:
        if low < scale < high:
            return words
    return "of another size"


def _portrait(chain, pairs):
    looks, hidden = _looks(pairs[-1][0]), chain.linears[1:-1]
    if "between" in looks:
        return looks
    biased = any(m.bias is not None and m.bias.abs().mean() > 0.3 for m in hidden)
    return f"{looks}, and the hidden weights' variance is {_weights(hidden)}{', with large biases' if biased else ''}"


@functools.lru_cache(1)  # for the lamps that ask about one network
def _straight_after(chain, rows):
    """Numbers of the hidden layers with no nonlinearity between them and the next nn.Linear: held, most units there are affine."""
    depth, width = len(chain.linears) - 1, chain.linears[0].out_features
    bends = torch.zeros(depth, width, dtype=torch.bool)
    for seed in range(4, 12):  # few rows may miss the bend of a unit
        z, step = torch.randn(2, rows, width, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            here, up, down = (torch.stack(parts) for parts in zip(*[chain.held(k, z, step) for k in range(1, depth + 1)]))
        bends |= _rest(up + down - 2 * here, up - down) >= 1e-3
        few = bends.sum(dim=1) * 2 <= width
        if not few.any():
            break
    return (few.nonzero().flatten() + 1).tolist()


def _rest(part, whole):
    """The share that `part` is of `whole`, for each unit of each layer."""
    return part.norm(dim=1) / whole.norm(dim=1).clamp(min=1e-30)


def _examples(seed, rows, d_in, n_classes):
    return torch.randn(rows, d_in, generator=torch.Generator().manual_seed(seed + 1000)), torch.arange(rows) % n_classes


def _place(parameter):
    return parameter.untyped_storage().data_ptr()


def _described(submission, seed, depth, width, d_in=20, n_classes=5, rows=64, training=True, calls=1):
    torch.manual_seed(seed)
    net, *others = [submission.make_classifier(d_in, depth, width, n_classes) for _ in range(calls)]
    told = describe(net, _examples(seed, rows, d_in, n_classes)[0], training)
    alike = (
        [_place(p) == _place(q) for other in others for p, q in zip(net.parameters(), other.parameters())] if "problem" not in told else []
    )
    return told | {"again": any(alike)}


_deep = call(0, 24, 128)  # three lamps ask about this network: it is described once, and taken apart once
_others = [  # deeper than `_deep`, broader than `_deep`, of more classes: no size is like another's
    call(0, 40, 8, 7, 3, rows=8),
    call(0, 2, 144, 60, 10, rows=9, training=False, calls=2),
    call(0, 1, 300, 5, 37, rows=7),
    call(0, 12, 18, 6, 4, rows=70, training=False),
]
_apart = {"result": None}


def _taken_apart(result, x, training):
    if _apart["result"] is not result:
        _apart["result"] = None
        net = rebuild(result, x, training)
        _apart.update(net=net, chain=Chain(net), result=result)
    return _apart["net"], _apart["chain"]


def _as_asked(measure, strict=True):
    """An `accept` that measures a network of the architecture that was asked for, and says of any other what is not as asked.

    Unless it is `strict`, something may follow the last layer, and up to half of the hidden layers may be bare.
    """

    def accept(result, seed, depth, width, d_in=20, n_classes=5, rows=64, training=True, calls=1):
        x, y = _examples(seed, rows, d_in, n_classes)
        net, chain = _taken_apart(result, x, training)
        if result.get("again"):
            return "Called twice, make_classifier gives back the same weights. Each call makes a new network."
        sizes = [d_in, *[width] * depth, n_classes]
        return _what_differs(chain, sizes, rows, strict) or measure(net, chain, x, y)

    return accept


def _what_differs(chain, sizes, rows, strict):
    """What of the architecture is not as asked, as a sentence; None if all is."""
    depth, shapes, asked = len(sizes) - 2, [tuple(m.weight.shape) for m in chain.linears], [*zip(sizes[1:], sizes)]
    if shapes != asked:
        counted = "" if len(shapes) == len(asked) else f" Yours holds {len(shapes)} nn.Linear for depth = {depth}."
        return f"The network should hold depth hidden nn.Linear layers of width units and one to n_classes.{counted}"
    logits = torch.randn(rows, sizes[-1], generator=torch.Generator().manual_seed(5))
    out = chain.between(len(shapes), logits)
    if strict and (chain.tail or not torch.equal(out.to(logits), logits)):
        return _what_follows(out, logits)
    straight = _straight_after(chain, rows)
    if len(straight) == depth:
        return "No layer has a nonlinearity that bends most of its units: the network is affine, or nearly so."
    return (
        f"There is no nonlinearity after hidden layer {straight[0]}, or one for few of its units."
        if len(straight) > (0 if strict else depth // 2)
        else None
    )


def _what_follows(out, logits):
    if out.shape == logits.shape and bool((out.sum(1) - 1).abs().max() < 1e-4):
        return "The rows sum to 1: these are probabilities, not logits."
    if out.shape == logits.shape and bool(out.logsumexp(1).abs().max() < 1e-4):
        return "The exponentials of each row sum to 1: these are log-probabilities, not logits."
    return "The output is not that of the last nn.Linear: something follows it."


def _outputs(net, chain, x, y):
    return True  # nothing is asked of them but that they are the last layer's


def _signal(net, chain, x, y):
    with torch.no_grad():
        pairs = chain.follow(x)
    ratio = _spread(pairs[-2][1]) / max(_spread(pairs[0][1]), 1e-30)
    if 0.001 < ratio < 50:
        return True
    what = "fades" if ratio <= 0.001 else "blows up"
    return f"The signal {what}: the spread in the last hidden layer is {ratio:.1e} times that of the first. Hidden activations there are {_portrait(chain, pairs)}."


def _gradient(net, chain, x, y):
    pairs = chain.follow(x)
    F.cross_entropy(pairs[-1][1], y).backward()
    norms = [m.weight.grad.norm().item() for m in chain.linears]
    ratio = norms[1] / max(norms[-2], 1e-30)
    if 0.02 < ratio < 500:
        return True
    what = "vanishes" if ratio <= 0.02 else "blows up"
    return f"The gradient {what}: in the second hidden layer it is {ratio:.1e} times that of the last. Hidden activations there are {_portrait(chain, pairs)}."


def _learned(net, chain, x, y):
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    weights = [*net.parameters()]
    flat = torch.cat([w.detach().flatten() for w in weights])
    for w, part in zip(weights, flat.split([w.numel() for w in weights])):
        w.data = part.view_as(w)
    m, v = torch.zeros_like(flat), torch.zeros_like(flat)
    for t in range(1, 101):
        loss = F.cross_entropy(net(x), y)
        if loss < 0.1:
            return True
        # Adam by hand, on all weights at once: torch's own takes longer to import than all of this
        g = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)])
        m.lerp_(g, 0.1)
        v.lerp_(g * g, 0.001)
        flat -= 3e-3 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return f"A net with 3 hidden layers does not memorize 32 examples: the loss stays at {loss.item():.2f}."


def _mlp(activation, init=None, *end, keep_bias=False, bias=0.0, bare=lambda k, depth: False):
    def make_classifier(d_in, depth, width, n_classes):
        layers, d = [], d_in
        for k in range(1, depth + 1):
            linear = nn.Linear(d, width)
            if init:
                init(linear.weight)
            if init and not keep_bias:
                nn.init.constant_(linear.bias, bias)
            layers += [linear] if bare(k, depth) else [linear, activation()]
            d = width
        return nn.Sequential(*layers, nn.Linear(d, n_classes), *(make() for make in end))

    return make_classifier


def _he(weight):
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


@exercise(
    "activations.fix-classifier",
    names="make_classifier",
    covers=[
        "activations.saturation",
        "activations.fused-ce",
        "activations.init-pairing",
        "activations.init-mismatch",
        "activations.q.init",
    ],
    seconds=30,
)
class FixClassifier:
    reference = _mlp(nn.ReLU, _he)

    cases = {
        "logits": group([*_others, _deep], probe=_described, accept=_as_asked(_outputs)),
        "signal": group(_deep, probe=_described, accept=_as_asked(_signal, strict=False)),
        "gradient": group(_deep, probe=_described, accept=_as_asked(_gradient)),
        "learns": group(call(0, 3, 128, 23, rows=32), probe=_described, accept=_as_asked(_learned, strict=False)),
    }

    sigmoids_left = trap(
        "Sigmoid slopes are at most 1/4 at each of 24 layers, whatever the initialization. Use ReLU (or GELU) between the layers."
    )(_mlp(nn.Sigmoid))
    softmax_left = trap(
        "F.cross_entropy takes logits and contains the softmax; with yours it acts twice and the loss cannot fall. Drop the softmax at the end."
    )(_mlp(nn.ReLU, _he, lambda: nn.Softmax(dim=1)))
    log_softmax_at_the_end = trap("LogSoftmax belongs to NLLLoss. F.cross_entropy contains it: return the last layer's output as it is.")(
        _mlp(nn.ReLU, _he, lambda: nn.LogSoftmax(dim=1))
    )
    _xavier = "Xavier does not make up for the half that ReLU (or GELU) takes away: the mean square halves per layer. (The gradient ratio may look harmless, because both decays compensate in dW.) Use He: kaiming_normal_."
    xavier_with_relu = trap(_xavier)(_mlp(nn.ReLU, nn.init.xavier_normal_))
    xavier_with_gelu = trap(_xavier)(_mlp(nn.GELU, nn.init.xavier_normal_))
    xavier_with_gelu_and_default_biases = trap(_xavier)(_mlp(nn.GELU, nn.init.xavier_normal_, keep_bias=True))
    xavier_with_default_biases = trap(_xavier)(_mlp(nn.ReLU, nn.init.xavier_normal_, keep_bias=True))
    _default = "torch's default initialization has variance 1/(3n). ReLU needs 2/n, six times as much (kaiming_normal_); tanh needs at least 1/n (xavier_normal_; with torch's gain of 5/3 it is 2.8/n). Set it on every hidden layer."
    default_init_with_relu = trap(_default)(_mlp(nn.ReLU))
    default_init_with_gelu = trap(_default)(_mlp(nn.GELU))
    default_init_with_tanh = trap(_default)(_mlp(nn.Tanh))
    standard_normal_weights = trap(
        "Weights from N(0, 1) multiply the signal by √(n/2) per layer: it blows up. The variance has to be 2/n."
    )(_mlp(nn.ReLU, nn.init.normal_))
    no_nonlinearity = trap(
        "Without a nonlinearity the layers collapse into one affine map, however well the gradients flow. Put ReLU back between them."
    )(_mlp(nn.Identity, nn.init.xavier_normal_))
    _zero = "Weights of zero make all units of a layer equal, and no gradient passes them: nothing can tell the units apart. Draw random weights with variance 2/n."
    zero_weights = trap(_zero)(_mlp(nn.ReLU, nn.init.zeros_))
    zero_weights_with_default_biases = trap(_zero)(_mlp(nn.ReLU, nn.init.zeros_, keep_bias=True))
    negative_biases = trap(
        "The weights are fine, but large negative biases push the units below 0 for nearly every input: they are dead from the start. Set the biases to 0."
    )(_mlp(nn.ReLU, _he, bias=-1.0))
    hidden_softmax = trap(
        "Softmax is no hidden activation: it makes the units of a layer compete for a sum of 1, so each gets about 1/width and hardly depends on the input. Use ReLU."
    )(_mlp(lambda: nn.Softmax(dim=1), _he))
    _bare = "One or more hidden layers have no nonlinearity after them: such a layer and the next collapse into one. Put one after EACH hidden layer, the first and the last included."
    first_layer_bare = trap(_bare)(_mlp(nn.ReLU, _he, bare=lambda k, depth: k == 1))
    last_layer_bare = trap(_bare)(_mlp(nn.ReLU, _he, bare=lambda k, depth: k == depth))
    every_second_layer_bare = trap(_bare)(_mlp(nn.ReLU, _he, bare=lambda k, depth: k % 2 == 0))
    all_but_one_bare = trap(_bare)(_mlp(nn.ReLU, nn.init.xavier_normal_, bare=lambda k, depth: k > 1))
    _end = "Something follows the last nn.Linear. An activation there bounds or clips the logits and cuts their gradients: return what the last nn.Linear computes."
    relu_before_the_loss = trap(_end)(_mlp(nn.ReLU, _he, nn.ReLU))
    tanh_before_the_loss = trap(_end)(_mlp(nn.ReLU, _he, nn.Tanh))
    clipped_logits = trap(_end)(_mlp(nn.ReLU, _he, lambda: nn.Hardtanh(-10, 10)))

    @trap(
        "One nn.Linear stands in several places, as after [layer] * n: one set of weights does the work of all, and every step of the optimizer moves it in all places at once. Make a new nn.Linear for each layer."
    )
    def one_layer_for_all(d_in, depth, width, n_classes):
        first, hidden, last = nn.Linear(d_in, width), nn.Linear(width, width), nn.Linear(width, n_classes)
        for layer in (first, hidden):
            _he(layer.weight)
        return nn.Sequential(first, nn.ReLU(), *[hidden, nn.ReLU()] * (depth - 1), last)

    _count = "The number of layers is off: depth counts the hidden layers, the one that takes d_in among them. With the one to n_classes that makes depth + 1 nn.Linear."

    @trap(_count)
    def one_layer_too_many(d_in, depth, width, n_classes):
        return _mlp(nn.ReLU, _he)(d_in, depth + 1, width, n_classes)

    @trap(_count)
    def one_layer_too_few(d_in, depth, width, n_classes):
        return _mlp(nn.ReLU, _he)(d_in, depth - 1, width, n_classes)

    @trap(
        "Skip connections carry the signal around the layers and hide what is wrong inside them. Here the plain chain has to carry it: take the sums out and repair activation and initialization."
    )
    def skip_connections(d_in, depth, width, n_classes):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Linear(d_in, width), nn.Linear(width, n_classes)
                self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))

            def forward(self, x):
                h = torch.relu(self.first(x))
                for layer in self.hidden:
                    h = h + torch.relu(layer(h))
                return self.last(h)

        return Net()

    @trap(
        "Layers in a Python list are invisible to PyTorch: net.parameters() does not hold them, so no optimizer ever trains them. Keep them in nn.ModuleList or nn.Sequential."
    )
    def layers_in_a_list(d_in, depth, width, n_classes):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = [*_mlp(nn.ReLU, _he)(d_in, depth, width, n_classes)]

            def forward(self, x):
                for layer in self.layers:
                    x = layer(x)
                return x

        return Net()

    gelu_with_he = right("GELU with He")(_mlp(nn.GELU, _he))
    leaky_relu = right("Leaky ReLU with its own gain")(_mlp(lambda: nn.LeakyReLU(0.1), lambda w: nn.init.kaiming_uniform_(w, a=0.1)))
    tanh_with_xavier = right("tanh with Xavier and gain 5/3")(_mlp(nn.Tanh, lambda w: nn.init.xavier_normal_(w, gain=5 / 3)))
    selu = right("SELU with variance 1/n")(_mlp(nn.SELU, lambda w: nn.init.normal_(w, std=w.shape[1] ** -0.5)))

    @right("LayerNorm before GELU, in blocks")
    def with_layer_norm(d_in, depth, width, n_classes):
        sizes = [d_in] + [width] * depth
        blocks = [nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.GELU()) for a, b in zip(sizes, sizes[1:])]
        return nn.Sequential(*blocks, nn.Linear(width, n_classes))

    in_place_relu = right("ReLU in place")(_mlp(lambda: nn.ReLU(inplace=True), _he))

    @right("a subclass of nn.Linear that draws its own weights, and one ReLU for all")
    def with_own_linear(d_in, depth, width, n_classes):
        class HeLinear(nn.Linear):
            def reset_parameters(self):
                _he(self.weight)
                nn.init.zeros_(self.bias)

        relu, sizes = nn.ReLU(), [d_in] + [width] * depth
        hidden = [layer for a, b in zip(sizes, sizes[1:]) for layer in (HeLinear(a, b), relu)]
        return nn.Sequential(*hidden, nn.Linear(width, n_classes))

    @right("BatchNorm before ReLU, as a class")
    def with_batch_norm(d_in, depth, width, n_classes):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                sizes = [d_in] + [width] * depth
                self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
                self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(depth))
                self.head = nn.Linear(width, n_classes)

            def forward(self, x):
                for linear, norm in zip(self.hidden, self.norms):
                    x = torch.relu(norm(linear(x)))
                return self.head(x)

        return Net()


# ------------------------------------------------------------------------------------------------------------ write the test


def _right_shifted(z, axis=-1, T=1.0):
    e = np.exp((z - np.max(z, axis=axis, keepdims=True)) / T)
    return e / e.sum(axis=axis, keepdims=True)


def _right_torch(z, axis=-1, T=1.0):
    return torch.softmax(torch.tensor(z, dtype=torch.float64) / T, dim=axis).numpy()


def _right_log(z, axis=-1, T=1.0):
    u = np.asarray(z, float) / T - 0.1  # any shift cancels; with this one hardly a sum is 1 to the last bit
    return np.exp(u - np.logaddexp.reduce(u, axis=axis, keepdims=True))


def _wrong_naive(z, axis=-1, T=1.0):
    with np.errstate(all="ignore"):
        e = np.exp(np.asarray(z) / T)
        return e / e.sum(axis=axis, keepdims=True)


def _wrong_global_maximum(z, axis=-1, T=1.0):
    with np.errstate(all="ignore"):
        e = np.exp((z - np.max(z)) / T)
        return e / e.sum(axis=axis, keepdims=True)


def _wrong_multiplied(z, axis=-1, T=1.0):
    return _right_shifted(np.asarray(z) * T, axis)


def _wrong_no_temperature(z, axis=-1, T=1.0):
    return _right_shifted(np.asarray(z), axis)


def _wrong_last_axis(z, axis=-1, T=1.0):
    return _right_shifted(np.asarray(z), -1, T)


def _wrong_whole_array(z, axis=-1, T=1.0):
    e = np.exp((z - np.max(z, axis=axis, keepdims=True)) / T)
    return e / e.sum()


def _wrong_epsilon(z, axis=-1, T=1.0):
    e = np.exp((z - np.max(z, axis=axis, keepdims=True)) / T)
    return e / (e.sum(axis=axis, keepdims=True) + 1e-3)


def _wrong_divided_after(z, axis=-1, T=1.0):
    return _right_shifted(np.asarray(z), axis) / T


def _close(a, b, atol=1e-9):
    return np.allclose(a, b, rtol=0, atol=atol)


@exercise(
    "activations.test-softmax",
    names="check_softmax",
    covers=["activations.softmax", "activations.softmax-stable", "activations.temperature"],
)
class TestSoftmax:
    accepts = {"shifted by the maximum": _right_shifted, "torch": _right_torch, "through the log": _right_log}
    catches = {
        "no maximum": _wrong_naive,
        "one maximum for all": _wrong_global_maximum,
        "T upside down": _wrong_multiplied,
        "T ignored": _wrong_no_temperature,
        "axis ignored": _wrong_last_axis,
        "one sum for all": _wrong_whole_array,
        "sums just below 1": _wrong_epsilon,
        "probabilities divided by T": _wrong_divided_after,
    }

    def reference(softmax):
        z = normal((3, 3), 1.5, 1)
        for axis in (0, 1, -1):
            for T in (0.5, 1.0, 3.0):
                assert _close(softmax(z, axis=axis, T=T), _right_torch(z, axis, T))
        far = np.array([[1e4, 1e4 - 1], [-1e4, -1e4 + 2]])
        assert _close(softmax(far), _right_torch(far))

    @trap("Sums alone prove little: swap the temperature or forget it and they are still 1. Compare values with a case that you know.")
    def only_sums(softmax):
        z = normal((3, 3), 1.5, 1)
        assert np.allclose(softmax(z).sum(axis=-1), 1)

    @trap("With T = 1 and the last axis only, everything about T and axis goes unseen. Try other values of both, on a square array.")
    def only_defaults(softmax):
        far = np.array([[1e4, 1e4 - 1], [-1e4, -1e4 + 2]])
        assert _close(softmax(far), _right_torch(far))

    @trap(
        "Your check does not see T: it is never varied, or only sums are compared, which are 1 whatever T does. Compare values that you know, with T below and above 1."
    )
    def temperature_never_varied(softmax):
        z = normal((3, 3), 1.5, 1)
        for axis in (0, 1, -1):
            assert _close(softmax(z, axis=axis), _right_torch(z, axis))
        far = np.array([[1e4, 1e4 - 1], [-1e4, -1e4 + 2]])
        assert _close(softmax(far), _right_torch(far))

    @trap("The axis is never varied: an implementation that always takes the last one passes. Ask for axis=0 of a matrix too.")
    def axis_never_varied(softmax):
        z = normal((3, 3), 1.5, 1)
        for T in (0.5, 1.0, 3.0):
            assert _close(softmax(z, T=T), _right_torch(z, -1, T))
        far = np.array([[1e4, 1e4 - 1], [-1e4, -1e4 + 2]])
        assert _close(softmax(far), _right_torch(far))

    @trap(
        "Moderate logits do not overflow. Add large ones, with rows far apart: they show a missing maximum and one that is shared by all rows."
    )
    def moderate_logits_only(softmax):
        z = normal((3, 3), 1.5, 1)
        for axis in (0, 1, -1):
            for T in (0.5, 1.0, 3.0):
                assert _close(softmax(z, axis=axis, T=T), _right_torch(z, axis, T))

    @trap("Equal to the last bit is too strict: right implementations differ by rounding. Compare with a tolerance such as 1e−9.")
    def equal_to_the_last_bit(softmax):
        z = normal((3, 3), 1.5, 1)
        far = np.array([[1e4, 1e4 - 1], [-1e4, -1e4 + 2]])
        for axis in (0, 1, -1):
            for T in (0.5, 1.0, 3.0):
                assert np.array_equal(softmax(z, axis=axis, T=T), _right_shifted(z, axis, T))
        assert np.array_equal(softmax(far), _right_shifted(far))

    @trap("A tolerance of 1e−2 lets an epsilon in the denominator pass. Right implementations agree to about 1e−12: ask for 1e−9.")
    def loose_tolerance(softmax):
        z = normal((3, 3), 1.5, 1)
        for axis in (0, 1, -1):
            for T in (0.5, 1.0, 3.0):
                assert _close(softmax(z, axis=axis, T=T), _right_torch(z, axis, T), atol=1e-2)
        far = np.array([[1e4, 1e4 - 1], [-1e4, -1e4 + 2]])
        assert _close(softmax(far), _right_torch(far), atol=1e-2)

    @trap("A single vector has one axis and one maximum: it cannot show a wrong axis or a maximum shared by rows. Use a square matrix too.")
    def one_vector_only(softmax):
        for z in (np.array([3.0, 1.0, -2.0]), np.array([1e4, 0.0, 9999.0])):
            for T in (0.5, 1.0, 3.0):
                assert _close(softmax(z, T=T), _right_torch(z, -1, T))

    @trap(
        "Your check accepts nearly everything it is given. Compare with values that you know, for several T, axes and sizes of logits, and raise AssertionError."
    )
    def never_raises(softmax):
        softmax(np.array([1.0, 2.0]))

    @trap("Your check rejects right implementations as well. What it demands is not in the contract.")
    def always_raises(softmax):
        z = np.array([1.0, 2.0])
        assert np.allclose(softmax(z), z / z.sum())

    @right("laws: sums, shift, temperature, transpose")
    def by_laws(softmax):
        rng = np.random.default_rng(7)
        for _ in range(5):
            z = rng.normal(size=(4, 4)) * 2
            p = softmax(z)
            assert _close(p.sum(axis=-1), 1) and (p > 0).all()
            assert _close(np.log(p[:, 1:] / p[:, :1]), z[:, 1:] - z[:, :1])
            assert _close(softmax(z + 5000.0), p) and _close(softmax(z - 5000.0), p)
            assert _close(softmax(z, T=0.5), softmax(2 * z)) and _close(softmax(z, T=4.0), softmax(z / 4))
            assert _close(softmax(z.T, axis=0), p.T)
            offsets = np.array([[0.0], [3000.0], [-3000.0], [9000.0]])
            assert _close(softmax(z + offsets), p)

    @right("axes out of an array, and an end by SystemExit")
    def axes_from_numpy(softmax):
        z = np.random.default_rng(0).normal(size=(3, 3))
        for axis in np.arange(-2, 2):
            for T in np.array([0.5, 1.0, 3.0]):
                if not _close(softmax(z, axis=axis, T=T), _right_torch(z, int(axis), T)):
                    raise SystemExit("wrong")
        far = np.array([[1e4, 9999.0], [-1e4, -9998.0]])
        if not _close(softmax(far), _right_torch(far)):
            raise SystemExit("wrong")

    @right("examples by hand")
    def by_hand(softmax):
        def expected(row, T):
            weights = [math.exp((v - max(row)) / T) for v in row]
            return [w / sum(weights) for w in weights]

        z = np.array([[2.0, 0.0, 1.0], [-3.0, 1.0, 0.5]])
        for T in (0.25, 1, 2):
            for i in range(2):
                for got, want in zip(softmax(z, 1, T)[i], expected(z[i], T)):
                    if abs(got - want) > 1e-8:
                        raise AssertionError
            for j in range(3):
                for got, want in zip(softmax(z, 0, T)[:, j], expected(z[:, j], T)):
                    if not abs(got - want) < 1e-8:
                        raise AssertionError
        for big in ([1e4, 0.0], [-1e4, -1e4]):
            got = softmax(np.array([big, [-1e4, -9990.0]]))[0]
            assert abs(got[0] - expected(big, 1)[0]) < 1e-8
            got = softmax(np.array([big, [-1e4, -9990.0]]))[1]
            assert abs(got[1] - expected([-1e4, -9990.0], 1)[1]) < 1e-8
