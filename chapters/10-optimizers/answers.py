"""The hidden side of chapter 10: reference, cases and known misconceptions of every exercise.

Optimizers are judged over many steps: a probe runs them in lockstep with torch and reports parameters and state after each step, so that a
card can name the step at which a solution leaves the road.
"""

import math

import numpy as np
import torch

from autograder.authoring import arrays, call, exercise, group, normal, right, st, trap


def _torch_step(kind, w, g, state, **settings):
    """One step of a torch optimizer in float64, started from a given state."""
    p = torch.nn.Parameter(torch.tensor(np.array(w, np.float64)))
    optimizer = kind([p], foreach=False, **settings)
    optimizer.state[p] = {k: torch.tensor(np.array(v, np.float64)) for k, v in state.items()}
    p.grad = torch.tensor(np.array(g, np.float64))
    optimizer.step()
    return p.detach().numpy(), {k: v.numpy() for k, v in optimizer.state[p].items() if torch.is_tensor(v)}


@st.composite
def _run(draw, steps=(1, 6), scales=(1.0,), shapes=((3,), (2, 2), (1,)), dtype=np.float64, **settings):
    """A start and the gradients of a few steps; the gradients of each coordinate have a scale of their own."""
    shape = draw(st.sampled_from(list(shapes)))
    size = math.prod(shape)
    n = draw(st.integers(*steps))
    scale = np.array([scales[i % len(scales)] for i in range(size)]).reshape(shape)
    w = draw(arrays(shape, -3, 3)).astype(dtype)
    grads = [(draw(arrays(shape, -2, 2)) * scale).astype(dtype) for _ in range(n)]
    return call(w, grads, **{k: draw(v) if isinstance(v, st.SearchStrategy) else v for k, v in settings.items()})


def _gradients(n, shape, scale=1.0, seed=0):
    return [normal(shape, 1.0, seed * 100 + i) * scale for i in range(n)]


# ------------------------------------------------------------------------------------------------------- SGD, momentum, Nesterov


def _run_sgd(submission, w, grads, lrs, buf=None, **settings):
    """lrs: one rate a step. With mu = 0 the buffer is nobody's business."""
    track = {"w": [], "buf": []}
    buf = None if buf is None else buf.copy()
    for g, lr in zip(grads, lrs):
        w, buf = submission.sgd_step(w, g, buf, lr, **settings)
        track["w"].append(np.array(w))
        track["buf"].append(None if buf is None else np.array(buf))
    if not settings.get("mu"):
        del track["buf"]
    return track


def _with_rates(strategy, rates):
    return strategy.map(lambda c: call(*c.args, (rates * 8)[: len(c.args[1])], **c.kwargs))


_MU = st.sampled_from([0.9, 0.5, 0.99])
_CONSTANT, _FALLING = [0.1], [0.1, 0.1, 0.02, 0.5]


@exercise(
    "optimizers.sgd-momentum",
    names="sgd_step",
    covers=["optimizers.sgd", "optimizers.momentum", "optimizers.nesterov", "thirty.tq08"],
    forbid=["torch"],
)
class SgdMomentum:
    def reference(w, g, buf, lr, mu=0.0, nesterov=False):
        state = {"momentum_buffer": buf} if buf is not None and mu else {}
        w, state = _torch_step(torch.optim.SGD, w, g, state, lr=lr, momentum=mu, nesterov=nesterov and mu > 0)
        return w, state.get("momentum_buffer", g)

    probe = _run_sgd
    cases = {
        "plain": [_with_rates(_run(), _CONSTANT), call(normal((2, 3)), _gradients(3, (2, 3)), [0.1, 0.3, 0.05], mu=0.0, nesterov=True)],
        "momentum": [
            _with_rates(_run(mu=_MU), _CONSTANT),
            call(normal((3,)), _gradients(12, (3,)), [0.1] * 12, mu=0.9),
            call(normal((2, 2)), _gradients(2, (2, 2), seed=3), [0.1] * 2, buf=normal((2, 2), 2.0, 5), mu=0.7),
            call(normal((3,)).astype(np.float32), [g.astype(np.float32) for g in _gradients(4, (3,))], [0.1] * 4, mu=0.5, nesterov=False),
        ],
        "nesterov": [
            _with_rates(_run(mu=_MU, nesterov=True), _CONSTANT),
            call(normal((3,)), _gradients(12, (3,), seed=1), [0.1] * 12, mu=0.9, nesterov=True),
            call(normal((2, 2)), _gradients(2, (2, 2), seed=3), [0.1] * 2, buf=normal((2, 2), 2.0, 5), mu=0.7, nesterov=True),
        ],
        "new rate": [
            _with_rates(_run(steps=(3, 6), mu=_MU, nesterov=st.booleans()), _FALLING),
            call(normal((3,)), _gradients(12, (3,), seed=2), [0.1] * 6 + [0.02] * 6, mu=0.9),
            call(normal((3,)), _gradients(12, (3,), seed=4), [0.1] * 6 + [0.02] * 6, mu=0.5, nesterov=True),
        ],
    }

    @trap(
        "This buffer is an average, mu·b + (1 − mu)·g. torch sums: b ← mu·b + g, so its steps are up to 1/(1 − mu) times longer. Drop the factor (1 − mu)."
    )
    def averaging_buffer(w, g, buf, lr, mu=0.0, nesterov=False):
        b = (1 - mu) * g if buf is None else mu * buf + (1 - mu) * g
        return w - lr * (g + mu * b if nesterov else b), b

    @trap("The buffer starts right, with g, but then averages: mu·b + (1 − mu)·g. torch sums: b ← mu·b + g at every step.")
    def averaging_after_the_first(w, g, buf, lr, mu=0.0, nesterov=False):
        b = g.copy() if buf is None else mu * buf + (1 - mu) * g
        return w - lr * (g + mu * b if nesterov else b), b

    @trap(
        "The learning rate sits inside the buffer, so old gradients keep the rate they came with, and a schedule acts late. Store gradients; multiply by lr only when you step."
    )
    def rate_in_the_buffer(w, g, buf, lr, mu=0.0, nesterov=False):
        b = lr * g if buf is None else mu * buf + lr * g
        return w - (lr * g + mu * b if nesterov else b), b

    @trap("The first buffer averages: (1 − mu)·g. In torch it is g itself, and after that b ← mu·b + g.")
    def averaging_at_the_first(w, g, buf, lr, mu=0.0, nesterov=False):
        b = (1 - mu) * g if buf is None else mu * buf + g
        return w - lr * (g + mu * b if nesterov else b), b

    @trap("After the first step your buffer is 0: the first gradient is forgotten. It is g from the first step on, b ← mu·0 + g.")
    def first_buffer_zero(w, g, buf, lr, mu=0.0, nesterov=False):
        b = np.zeros_like(g) if buf is None else mu * buf + g
        return w - lr * (g + mu * b if nesterov else b), b

    @trap(
        "This velocity, mu·v − lr·g, has the learning rate inside (and a minus), so old gradients keep the rate they came with. Store plain gradients, b ← mu·b + g; multiply by lr only when you step."
    )
    def velocity(w, g, buf, lr, mu=0.0, nesterov=False):
        b = -lr * g if buf is None else mu * buf - lr * g
        return w + (mu * b - lr * g if nesterov else b), b

    @trap("You always make Nesterov's step. Without nesterov=True the step goes along b.")
    def nesterov_always(w, g, buf, lr, mu=0.0, nesterov=False):
        b = g.copy() if buf is None else mu * buf + g
        return w - lr * (g + mu * b), b

    @trap("Nesterov's direction is g + mu·b; yours lacks the fresh gradient g.")
    def nesterov_without_the_gradient(w, g, buf, lr, mu=0.0, nesterov=False):
        b = g.copy() if buf is None else mu * buf + g
        return w - lr * (mu * b if nesterov else b), b

    @trap(
        "With nesterov=True you still make plain momentum steps: the flag is ignored, or g + mu·b uses the buffer from before its update (which is the same thing). Update b first, then step along g + mu·b."
    )
    def nesterov_ignored(w, g, buf, lr, mu=0.0, nesterov=False):
        b = g.copy() if buf is None else mu * buf + g
        return w - lr * b, b

    @trap("You step along b + mu·b, which counts the past twice. Nesterov adds the look-ahead to the fresh gradient: g + mu·b.")
    def nesterov_from_the_buffer(w, g, buf, lr, mu=0.0, nesterov=False):
        b = g.copy() if buf is None else mu * buf + g
        return w - lr * (b + mu * b if nesterov else b), b

    @trap("You return the buffer that came in, so nothing accumulates. The caller keeps the state for you: return the updated buffer.")
    def old_buffer_returned(w, g, buf, lr, mu=0.0, nesterov=False):
        b = g.copy() if buf is None else mu * buf + g
        return w - lr * (g + mu * b if nesterov else b), buf

    @trap("You store the whole Nesterov step g + mu·b in the buffer. The look-ahead is for the step only; the buffer stays b ← mu·b + g.")
    def look_ahead_stored(w, g, buf, lr, mu=0.0, nesterov=False):
        b = g.copy() if buf is None else mu * buf + g
        step = g + mu * b if nesterov else b
        return w - lr * step, step

    @trap("Momentum is never used: every step is lr·g alone. Keep b ← mu·b + g and step along b.")
    def no_momentum(w, g, buf, lr, mu=0.0, nesterov=False):
        return w - lr * g, g.copy()

    @trap("This climbs: the gradient points uphill, so the step is subtracted.")
    def uphill(w, g, buf, lr, mu=0.0, nesterov=False):
        b = g.copy() if buf is None else mu * buf + g
        return w + lr * (g + mu * b if nesterov else b), b

    @trap("`w -= …` writes into the caller's array. Return a new one: w − lr·step.")
    def writes_into_w(w, g, buf, lr, mu=0.0, nesterov=False):
        b = g.copy() if buf is None else mu * buf + g
        w -= (lr * (g + mu * b if nesterov else b)).astype(w.dtype)
        return w, b

    @trap("buf = g does not copy: the buffer IS the caller's gradient, and the next `buf *= mu` changes it. Start with g.copy().")
    def buffer_is_the_gradient(w, g, buf, lr, mu=0.0, nesterov=False):
        if buf is None:
            buf = g
        else:
            buf *= mu
            buf += g
        return w - lr * (g + mu * buf if nesterov else buf), buf

    @trap("The buffer stays as it was at the first step: you never hand the updated one back, so nothing accumulates. Return the new b.")
    def first_buffer_kept(w, g, buf, lr, mu=0.0, nesterov=False):
        if buf is None:
            buf = b = g.copy()
        else:
            b = mu * buf + g
        return w - lr * (g + mu * b if nesterov else b), buf

    @trap("Your first step ignores nesterov. There b = g, and the step goes along g + mu·b like every other.")
    def plain_first_step(w, g, buf, lr, mu=0.0, nesterov=False):
        if buf is None:
            return w - lr * g, g.copy()
        b = mu * buf + g
        return w - lr * (g + mu * b if nesterov else b), b

    @right("a zero buffer at the start")
    def zero_buffer(w, g, buf, lr, mu=0.0, nesterov=False):
        buf = mu * (np.zeros(g.shape, g.dtype) if buf is None else buf) + g
        return w - lr * (g + mu * buf if nesterov else buf), buf

    @right("as in torch: no buffer without momentum, the buffer overwritten")
    def like_torch(w, g, buf, lr, mu=0.0, nesterov=False):
        if mu == 0:
            return w - lr * g, None
        if buf is None:
            buf = np.array(g, copy=True)
        else:
            buf *= mu
            buf += g
        return w - lr * (g + mu * buf) if nesterov else w - lr * buf, buf

    @right("one number at a time")
    def one_by_one(w, g, buf, lr, mu=0.0, nesterov=False):
        out, b = w.copy(), np.zeros_like(w) if buf is None else buf.copy()
        for i in np.ndindex(w.shape):
            b[i] = mu * b[i] + g[i]
            out[i] = w[i] - lr * (g[i] + mu * b[i] if nesterov else b[i])
        return out, b


# ------------------------------------------------------------------------------------------------------------ Adagrad and RMSprop


def _run_adagrad(submission, w, grads, lr, **settings):
    track, s = {"w": [], "s": []}, np.zeros_like(w)
    for g in grads:
        w, s = submission.adagrad_step(w, g, s, lr, **settings)
        track["w"].append(np.array(w))
        track["s"].append(np.array(s))
    return track


def _run_rmsprop(submission, w, grads, lr, **settings):
    track, v = {"w": [], "v": []}, np.zeros_like(w)
    for g in grads:
        w, v = submission.rmsprop_step(w, g, v, lr, **settings)
        track["w"].append(np.array(w))
        track["v"].append(np.array(v))
    return track


def _adagrad(w, g, s, lr, eps=1e-10):
    s = s + g**2
    return w - lr * g / (np.sqrt(s) + eps), s


def _rmsprop(w, g, v, lr, alpha=0.99, eps=1e-8):
    v = alpha * v + (1 - alpha) * g**2
    return w - lr * g / (np.sqrt(v) + eps), v


def _both(ada=_adagrad, rms=_rmsprop):
    class both:
        adagrad_step = ada
        rmsprop_step = rms

    return both


def _either(text, step, square=np.square, old=False, keep=False):
    """A mistake that can be made in both methods or in one: three traps with one message. `old`: steps with the state from before."""

    def ada(w, g, s, lr, eps=1e-10):
        new = s + square(g)
        return step(w, g, s if old else new, lr, eps), s if keep else new

    def rms(w, g, v, lr, alpha=0.99, eps=1e-8):
        new = alpha * v + (1 - alpha) * square(g)
        return step(w, g, v if old else new, lr, eps), v if keep else new

    return trap(text)(_both(ada, rms)), trap(text)(_both(ada=ada)), trap(text)(_both(rms=rms))


_AVERAGES = "Your Adagrad averages. Adagrad adds up for ever, s ← s + g²: its strength for rare features and its flaw."
_WIDE = (1.0, 1e-7, 1e2, 1e-3)
_ZERO_THEN = [np.zeros(3), np.array([0.5, 0.0, -2.0]), np.array([1.0, 0.0, 1.0])]


@exercise(
    "optimizers.adagrad-rmsprop",
    names="adagrad_step rmsprop_step",
    covers=["optimizers.adagrad", "optimizers.rmsprop", "optimizers.q.adagrad-to-adam"],
    forbid=["torch"],
)
class AdagradRmsprop:
    class reference:
        def adagrad_step(w, g, s, lr, eps=1e-10):
            w, state = _torch_step(torch.optim.Adagrad, w, g, {"step": 0.0, "sum": s}, lr=lr, eps=eps)
            return w, state["sum"]

        def rmsprop_step(w, g, v, lr, alpha=0.99, eps=1e-8):
            w, state = _torch_step(torch.optim.RMSprop, w, g, {"step": 0.0, "square_avg": v}, lr=lr, alpha=alpha, eps=eps)
            return w, state["square_avg"]

    cases = {
        "adagrad": group(
            [
                _run(lr=st.sampled_from([0.1, 0.5])),
                call(normal((3,)), _gradients(25, (3,)), lr=0.1),
                call(np.array([1.0, -1.0, 0.5]), _ZERO_THEN, lr=0.5),
                call(normal((2, 2)), _gradients(4, (2, 2), seed=1), lr=0.3, eps=0.1),
            ],
            probe=_run_adagrad,
        ),
        "rmsprop": group(
            [
                _run(lr=st.sampled_from([0.1, 0.5]), alpha=st.sampled_from([0.9, 0.8])),
                call(normal((3,)), _gradients(25, (3,), seed=2), lr=0.05),
                call(np.array([1.0, -1.0, 0.5]), _ZERO_THEN, lr=0.5),
                call(normal((2, 2)), _gradients(4, (2, 2), seed=1), lr=0.3, alpha=0.9, eps=0.1),
            ],
            probe=_run_rmsprop,
        ),
        "tiny gradients, Adagrad": group(
            [_run(scales=_WIDE, shapes=((4,), (2, 3)), lr=0.1), call(normal((4,)), _gradients(6, (4,), 1e-7), lr=0.1)], probe=_run_adagrad
        ),
        "tiny gradients, RMSprop": group(
            [_run(scales=_WIDE, shapes=((4,), (2, 3)), lr=0.1, alpha=0.9), call(normal((4,)), _gradients(6, (4,), 1e-7), lr=0.1)],
            probe=_run_rmsprop,
        ),
    }

    (eps_in_the_root, eps_in_the_root_of_adagrad, eps_in_the_root_of_rmsprop) = _either(
        "eps stands under the root here. sqrt(1e−8) = 1e−4 then dominates every gradient below it, and those weights hardly move. Add eps after the root.",
        lambda w, g, s, lr, eps: w - lr * g / np.sqrt(s + eps),
    )
    (root_missing, root_missing_in_adagrad, root_missing_in_rmsprop) = _either(
        "The root is missing: g/s has the unit 1/gradient, and large gradients make small steps. Divide by the root of the accumulator.",
        lambda w, g, s, lr, eps: w - lr * g / (s + eps),
    )
    (no_eps, no_eps_in_adagrad, no_eps_in_rmsprop) = _either(
        "Without eps a weight whose gradient has been 0 so far divides 0 by 0. Add eps to the root.",
        lambda w, g, s, lr, eps: w - lr * g / np.sqrt(s),
    )
    (uphill, uphill_in_adagrad, uphill_in_rmsprop) = _either(
        "This climbs: the gradient points uphill, so the step is subtracted.",
        lambda w, g, s, lr, eps: w + lr * g / (np.sqrt(s) + eps),
    )
    (divides_first, divides_first_in_adagrad, divides_first_in_rmsprop) = _either(
        "You divide by the accumulator before this step's g² is in it: at the first step that is a division by eps alone. Update the accumulator first.",
        lambda w, g, s, lr, eps: w - lr * g / (np.sqrt(s) + eps),
        old=True,
    )
    (old_state_returned, old_state_returned_by_adagrad, old_state_returned_by_rmsprop) = _either(
        "You return the accumulator that came in, so nothing accumulates. Return the updated one.",
        lambda w, g, s, lr, eps: w - lr * g / (np.sqrt(s) + eps),
        keep=True,
    )
    (one_scale_for_all, one_scale_in_adagrad, one_scale_in_rmsprop) = _either(
        "One accumulator for the whole array: the point of both methods is a scale per weight. Square elementwise and do not sum over the array.",
        lambda w, g, s, lr, eps: w - lr * g / (np.sqrt(s) + eps),
        square=lambda g: np.full_like(g, np.sum(g**2)),
    )
    (not_squared, not_squared_in_adagrad, not_squared_in_rmsprop) = _either(
        "The accumulator collects |g| instead of g². Square first; the root at the end undoes it.",
        lambda w, g, s, lr, eps: w - lr * g / (np.sqrt(s) + eps),
        square=np.abs,
    )

    (eps_as_floor, eps_as_floor_of_adagrad, eps_as_floor_of_rmsprop) = _either(
        "eps is a floor in your code, max(root, eps). In the formula it is added: root + eps.",
        lambda w, g, s, lr, eps: w - lr * g / np.maximum(np.sqrt(s), eps),
    )

    @trap("You subtract a mean before you square, so v is a variance. RMSprop averages g² itself: for a constant gradient v = g².")
    class variance:
        adagrad_step = _adagrad

        def rmsprop_step(w, g, v, lr, alpha=0.99, eps=1e-8):
            v = alpha * v + (1 - alpha) * (g - g.mean()) ** 2
            return w - lr * g / (np.sqrt(v) + eps), v

    @trap(
        "Your RMSprop adds up without forgetting, so its rate dies as in Adagrad. The moving average alpha·v + (1 − alpha)·g² is the whole repair."
    )
    class rmsprop_sums:
        adagrad_step = _adagrad

        def rmsprop_step(w, g, v, lr, alpha=0.99, eps=1e-8):
            v = v + g**2
            return w - lr * g / (np.sqrt(v) + eps), v

    @trap(
        "You divide by the root of a sum that levels off 1/(1 − alpha) times too high. Weight the new square by 1 − alpha, and do not divide that out again: RMSprop has no bias correction."
    )
    class rmsprop_weight_missing:
        adagrad_step = _adagrad

        def rmsprop_step(w, g, v, lr, alpha=0.99, eps=1e-8):
            v = alpha * v + g**2
            return w - lr * g / (np.sqrt(v) + eps), v

    adagrad_averages = trap(_AVERAGES)(_both(lambda w, g, s, lr, eps=1e-10: _rmsprop(w, g, s, lr, 0.99, eps)))
    adagrad_averages_faster = trap(_AVERAGES)(_both(lambda w, g, s, lr, eps=1e-10: _rmsprop(w, g, s, lr, 0.9, eps)))

    @trap("alpha and 1 − alpha are swapped: your v remembers little more than one step. alpha weights the old value.")
    class alpha_swapped:
        adagrad_step = _adagrad

        def rmsprop_step(w, g, v, lr, alpha=0.99, eps=1e-8):
            v = (1 - alpha) * v + alpha * g**2
            return w - lr * g / (np.sqrt(v) + eps), v

    alpha_fixed = trap("alpha is always 0.99: use the argument.")(
        _both(rms=lambda w, g, v, lr, alpha=0.99, eps=1e-8: _rmsprop(w, g, v, lr, 0.99, eps))
    )

    @trap("This corrects v for its start at 0, as Adam does. RMSprop as asked here has no correction: the first steps are long.")
    class rmsprop_first_square_in_full:
        adagrad_step = _adagrad

        def rmsprop_step(w, g, v, lr, alpha=0.99, eps=1e-8):
            v = np.where(v == 0, g**2, alpha * v + (1 - alpha) * g**2)
            return w - lr * g / (np.sqrt(v) + eps), v

    @right("in place on the state")
    class state_in_place:
        def adagrad_step(w, g, s, lr, eps=1e-10):
            s += g * g
            return w - lr * (g / (eps + s**0.5)), s

        def rmsprop_step(w, g, v, lr, alpha=0.99, eps=1e-8):
            v *= alpha
            v += (1 - alpha) * np.square(g)
            return w - lr / (np.sqrt(v) + eps) * g, v

    @right("one number at a time")
    class one_by_one:
        def adagrad_step(w, g, s, lr, eps=1e-10):
            s, out = s.copy(), w.copy()
            for i in np.ndindex(w.shape):
                s[i] += g[i] ** 2
                out[i] -= lr * g[i] / (math.sqrt(s[i]) + eps)
            return out, s

        def rmsprop_step(w, g, v, lr, alpha=0.99, eps=1e-8):
            v, out = v.copy(), w.copy()
            for i in np.ndindex(w.shape):
                v[i] += (1 - alpha) * (g[i] ** 2 - v[i])
                out[i] -= lr * g[i] / (math.sqrt(v[i]) + eps)
            return out, v


# ---------------------------------------------------------------------------------------------------------------------------- Adam


def _run_adam(submission, w, grads, **settings):
    track = {"w": [], "m": [], "v": []}
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(grads, start=1):
        w, m, v = submission.adam_step(w, g, m, v, t, **settings)
        for name, value in zip("wmv", (w, m, v)):
            track[name].append(np.array(value))
    return track


def _late_adam(submission, w, g, m, v, t, **settings):
    w, m, v = submission.adam_step(w, g, m.copy(), v.copy(), t, **settings)
    return {"w": w, "m": m, "v": v}


def _adam(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def _adam_torch(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    state = {"step": t - 1.0, "exp_avg": m, "exp_avg_sq": v}
    w, state = _torch_step(torch.optim.Adam, w, g, state, lr=lr, betas=(beta1, beta2), eps=eps)
    return w, state["exp_avg"], state["exp_avg_sq"]


def _adam_one_by_one(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    w, m, v = np.array(w, float), np.array(m, float), np.array(v, float)
    for i in np.ndindex(w.shape):
        m[i] = beta1 * m[i] + (1 - beta1) * g[i]
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i]
        w[i] -= lr * m[i] / (1 - beta1**t) / (math.sqrt(v[i] / (1 - beta2**t)) + eps)
    return w, m, v


def _adam_incremental(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = m + (1 - beta1) * (g - m)
    v = v + (1 - beta2) * (g * g - v)
    rate = lr / (1 - beta1**t)
    return w - rate * m / (np.sqrt(v) / math.sqrt(1 - beta2**t) + eps), m, v


def _adam_uncorrected(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (np.sqrt(v) + eps), m, v


def _adam_v_uncorrected(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v) + eps), m, v


def _adam_m_uncorrected(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * m / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def _adam_power_misplaced(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * (m / (1 - beta1) ** t) / (np.sqrt(v / (1 - beta2) ** t) + eps), m, v


def _adam_eps_in_root(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * (m / (1 - beta1**t)) / np.sqrt(v / (1 - beta2**t) + eps), m, v


def _adam_eps_corrected(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * math.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + eps), m, v


def _adam_stores_corrected(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = (beta1 * m + (1 - beta1) * g) / (1 - beta1**t)
    v = (beta2 * v + (1 - beta2) * g**2) / (1 - beta2**t)
    return w - lr * m / (np.sqrt(v) + eps), m, v


def _adam_swapped(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    return _adam(w, g, m, v, t, lr, beta2, beta1, eps)


def _adam_fixed_betas(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    return _adam(w, g, m, v, t, lr, 0.9, 0.999, eps)


def _adam_no_eps(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * (m / (1 - beta1**t)) / np.sqrt(v / (1 - beta2**t)), m, v


def _adam_late_t(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * (m / (1 - beta1 ** (t + 1))) / (np.sqrt(v / (1 - beta2 ** (t + 1))) + eps), m, v


def _adam_no_root(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return w - lr * (m / (1 - beta1**t)) / (v / (1 - beta2**t) + eps), m, v


_SPREAD = (1.0, 1e-9, 1e3, 1e-6)
_BETAS = st.sampled_from([(0.8, 0.98), (0.0, 0.5), (0.95, 0.9)])


def _with_betas(strategy):
    return st.tuples(strategy, _BETAS).map(lambda cb: call(*cb[0].args, **cb[0].kwargs, beta1=cb[1][0], beta2=cb[1][1]))


@exercise(
    "optimizers.adam-step",
    names="adam_step",
    covers=["optimizers.adam-moments", "optimizers.adam-bias-correction", "optimizers.adam-update", "optimizers.adam", "thirty.tq08"],
    forbid=["torch"],
    rtol=1e-8,
    atol=1e-10,
)
class AdamStep:
    reference = _adam_torch

    probe = _run_adam
    cases = {
        "first step": [_run(steps=(1, 1), lr=st.sampled_from([0.1, 0.5])), call(normal((3,)), _gradients(1, (3,)))],
        "many steps": [
            _run(steps=(2, 6), lr=0.1),
            call(normal((3,)), _gradients(30, (3,)), lr=0.1),
        ],
        "given state": group(
            [
                call(normal((3,)), normal((3,), 1, 1), normal((3,), 1, 2), normal((3,), 1, 3) ** 2, 700, lr=0.3),
                call(
                    normal((2, 2)), normal((2, 2), 1, 4), normal((2, 2), 1, 5), normal((2, 2), 1, 6) ** 2, 5, lr=0.2, beta1=0.7, beta2=0.9
                ),
                call(normal((1,)), normal((1,), 1, 7), normal((1,), 1, 8), normal((1,), 1, 9) ** 2, 40),
                call(normal((2,)), normal((2,), 1, 10), normal((2,), 1, 11), normal((2,), 1, 12) ** 2, 3000, lr=0.3),
            ],
            probe=_late_adam,
        ),
        "other betas": [
            _with_betas(_run(steps=(1, 6), lr=0.1)),
            call(normal((3,)), _gradients(30, (3,), seed=1), lr=0.1, beta1=0.8, beta2=0.98, eps=0.01),
            call(normal((3,)), _gradients(3, (3,), seed=2), lr=0.1, beta1=0.5, beta2=0.0),
        ],
        "tiny gradients": [
            _run(scales=_SPREAD, shapes=((4,), (2, 3)), lr=0.1),
            call(normal((4,)), _gradients(10, (4,), np.array([1e-9, 1e-6, 0.0, 1e3])), lr=0.1),
            call(normal((2,)), [np.array([0.0, 3e-8]), np.array([2.0, 0.0])], lr=0.1, beta1=0.8, beta2=0.98),
        ],
    }

    @trap(
        "m and v start at 0 and are too small at first. sqrt(v) is too small by more than m, so without correction the first step is 3.16 times too long. Divide m by 1 − beta1^t and v by 1 − beta2^t."
    )
    def no_bias_correction(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_uncorrected(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap("You correct m but not v, so sqrt(v) is 31.6 times too small at the first step. Divide v by 1 − beta2^t too.")
    def v_not_corrected(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_v_uncorrected(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap("You correct v but not m, so the first step is a tenth of what it should be. Divide m by 1 − beta1^t too.")
    def m_not_corrected(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_m_uncorrected(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap("t is the number of this step and starts at 1. With t − 1 the first correction divides by 1 − beta^0 = 0.")
    def t_minus_one(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * (m / (1 - beta1 ** (t - 1))) / (np.sqrt(v / (1 - beta2 ** (t - 1))) + eps), m, v

    @trap("t counts from 1 already: with t + 1 the correction is one step ahead, and the first step too short or too long.")
    def t_plus_one(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_late_t(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap("(1 − beta)^t is not 1 − beta^t. The weights of the average add up to 1 − beta^t: at t = 1 both agree, then yours explodes.")
    def power_misplaced(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_power_misplaced(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap("eps stands under the root: sqrt(1e−8) = 1e−4 swallows small gradients, and their weights hardly move. Add eps after the root.")
    def eps_in_the_root(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_eps_in_root(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap(
        "You added eps to the root of the uncorrected v. With tiny gradients that makes eps larger than asked, 31.6 times at the first step. Correct v, take the root, then add eps."
    )
    def eps_before_the_correction(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_eps_corrected(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap(
        "You return the corrected moments, so the next step corrects what was corrected already. Correct a copy; the running averages stay raw."
    )
    def corrected_moments_stored(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_stores_corrected(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap("The betas are swapped: beta1 belongs to m, the average of g, beta2 to v, the average of g².")
    def betas_swapped(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_swapped(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap("Your correction is 1 − beta·t. It is a power: 1 − beta^t, beta**t in Python.")
    def product_for_power(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * (m / (1 - beta1 * t)) / (np.sqrt(v / (1 - beta2 * t)) + eps), m, v

    @trap("The corrections use 0.9 and 0.999, whatever the betas are. Use the arguments there too.")
    def betas_fixed_in_the_correction(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + eps), m, v

    @trap("You return v before m. The order is (w, m, v), as the moments come in.")
    def moments_in_the_wrong_order(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        w, m, v = _adam(w, g, m, v, t, lr, beta1, beta2, eps)
        return w, v, m

    @trap("You cast to float32: seven digits remain. Compute in the precision that comes in, float64.")
    def single_precision(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        w, m, v = _adam(w, g, m, v, t, lr, beta1, beta2, eps)
        return w.astype(np.float32), m.astype(np.float32), v.astype(np.float32)

    @trap("Your averages weight old and new the wrong way round: it is beta·old + (1 − beta)·new.")
    def weights_swapped(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = (1 - beta1) * m + beta1 * g
        v = (1 - beta2) * v + beta2 * g**2
        return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v

    @trap("The factors (1 − beta) are missing: these are sums, not averages. The bias correction is made for averages.")
    def sums_instead_of_averages(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + g
        v = beta2 * v + g**2
        return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v

    @trap("The root is missing: divide by sqrt(v_hat) + eps, not by v_hat + eps.")
    def root_missing(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_no_root(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap("Your v averages the square of m. It averages the square of the gradient itself.")
    def v_from_m(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * m**2
        return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v

    @trap("The numerator is the fresh gradient, which makes this RMSprop with a correction. Adam steps along m_hat.")
    def gradient_on_top(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * g / (np.sqrt(v / (1 - beta2**t)) + eps), m, v

    @trap("You return the moments that came in, so nothing accumulates. Return the updated averages.")
    def old_moments_returned(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam(w, g, m, v, t, lr, beta1, beta2, eps)[0], m, v

    @trap("You multiply by 1 − beta^t where you should divide: the averages are too small at first and must grow.")
    def correction_multiplies(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * (m * (1 - beta1**t)) / (np.sqrt(v * (1 - beta2**t)) + eps), m, v

    @trap("The correction of v stands outside its root: sqrt(v)/(1 − beta2^t). Correct v first, then take the root.")
    def correction_outside_the_root(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v) / (1 - beta2**t) + eps), m, v

    @trap("One second moment for the whole array: v is kept per weight, from the elementwise square of g.")
    def one_scale_for_all(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * np.sum(g**2)
        return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v

    @trap("v averages |g|; it must average g², so that the root has the size of a gradient.")
    def not_squared(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * np.abs(g)
        return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v

    @trap("The betas in the averages are swapped: beta1 belongs to m, the average of g, beta2 to v, the average of g².")
    def betas_swapped_in_the_averages(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta2 * m + (1 - beta2) * g
        v = beta1 * v + (1 - beta1) * g**2
        return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v

    @trap("beta1 and beta2 have no effect in part of your code: 0.9 and 0.999 are written out. Use the arguments.")
    def betas_written_out(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_fixed_betas(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap("This climbs: the gradient points uphill, so the step is subtracted.")
    def uphill(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        new = _adam(w, g, m, v, t, lr, beta1, beta2, eps)
        return 2 * w - new[0], new[1], new[2]

    @trap("Without eps a weight whose gradient is exactly 0 divides 0 by 0. Add eps to the root.")
    def no_eps(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_no_eps(w, g, m, v, t, lr, beta1, beta2, eps)

    @trap("m is a sum in your code, as in torch's SGD: the factor 1 − beta1 is missing. Adam averages: beta1·m + (1 − beta1)·g.")
    def sum_for_m(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v

    @trap("You step with the moments from before this gradient and update them afterwards. Update m and v first: step t uses gradient t.")
    def steps_before_it_updates(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        w = w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        return w, beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2

    @trap("You divide by 1 − beta at every step: t is missing. That is right at t = 1 only; the correction 1 − beta^t fades.")
    def correction_without_t(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * (m / (1 - beta1)) / (np.sqrt(v / (1 - beta2)) + eps), m, v

    @trap("You square g − m, so v is a variance. v is the second raw moment: the average of g² itself.")
    def variance(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (g - m) ** 2
        return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v

    @right("the corrections folded into the rate")
    def incremental(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_incremental(w, g, m, v, t, lr, beta1, beta2, eps)

    @right("one number at a time")
    def one_by_one(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        return _adam_one_by_one(w, g, m, v, t, lr, beta1, beta2, eps)

    @right("the state overwritten")
    def state_in_place(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * np.square(g)
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        return w - lr * m_hat / (v_hat**0.5 + eps), m, v


# ---------------------------------------------------------------------------------------------------------------------- bias ratio


def _only_ratio(submission, t, **betas):
    return submission.bias_ratio(t, **betas)


def _only_steps(submission, beta1, beta2, tol):
    return submission.steps_until(beta1, beta2, tol)


def _ratio(t, beta1=0.9, beta2=0.999):
    return (1 - beta1**t) / math.sqrt(1 - beta2**t)


def _until(ratio, beta1, beta2, tol, horizon=6000):
    """The last t outside the band, plus one."""
    return 1 + max((t for t in range(1, horizon) if abs(ratio(t, beta1, beta2) - 1) > tol), default=0)


def _search_up_to(horizon):
    class search:
        bias_ratio = _ratio

        def steps_until(beta1, beta2, tol):
            return _until(_ratio, beta1, beta2, tol, horizon)

    return search


def _search_of_outside(last):
    """`last` of the list of steps outside the band, which may be empty."""

    class search:
        bias_ratio = _ratio

        def steps_until(beta1, beta2, tol):
            return 1 + last([t for t in range(1, 6000) if abs(_ratio(t, beta1, beta2) - 1) > tol])

    return search


@exercise(
    "optimizers.bias-ratio", names="bias_ratio steps_until", covers=["optimizers.q.bias-correction", "optimizers.adam-bias-correction"]
)
class BiasRatio:
    class reference:
        def bias_ratio(t, beta1=0.9, beta2=0.999):
            return -math.expm1(t * math.log(beta1) if beta1 else -math.inf) / math.sqrt(
                -math.expm1(t * math.log(beta2) if beta2 else -math.inf)
            )

        def steps_until(beta1, beta2, tol):
            return _until(_ratio, beta1, beta2, tol)

    cases = {
        "ratio": group([call(t) for t in (1, 5, 10, 12, 200, 500, 1000, 3000)] + [call(st.integers(2, 400))], probe=_only_ratio),
        "other betas": group(
            [
                call(st.integers(1, 60), beta1=st.sampled_from([0.0, 0.5, 0.8, 0.95]), beta2=st.sampled_from([0.9, 0.95, 0.98])),
                call(3, beta1=0.5),
                call(3, beta2=0.5),
            ],
            probe=_only_ratio,
        ),
        "steps": group(
            [
                call(*a)
                for a in [(0.9, 0.999, 0.05), (0.9, 0.98, 0.05), (0.9, 0.999, 0.02), (0.5, 0.99, 0.3), (0.0, 0.9, 0.1), (0.9, 0.9992, 0.01)]
            ],
            probe=_only_steps,
        ),
        "passing through": group(
            [call(*a) for a in [(0.9, 0.95, 0.05), (0.9, 0.96, 0.03), (0.95, 0.98, 0.1), (0.9, 0.93, 0.01), (0.995, 0.999, 0.4)]],
            probe=_only_steps,
        ),
        "from below": group(
            [
                call(*a)
                for a in [
                    (0.9, 0.9, 0.05),
                    (0.99, 0.9, 0.05),
                    (0.95, 0.5, 0.02),
                    (0.9, 0.95, 0.6),
                    (0.5, 0.0, 0.1),
                    (0.0, 0.0, 0.05),
                    (0.5, 0.0, 0.3),
                ]
            ],
            probe=_only_steps,
        ),
    }

    @trap("v enters through its square root: the step is m/sqrt(v), so the ratio divides by sqrt(1 − beta2^t).")
    class root_missing:
        def bias_ratio(t, beta1=0.9, beta2=0.999):
            return (1 - beta1**t) / (1 - beta2**t)

        def steps_until(beta1, beta2, tol):
            return _until(lambda t, a, b: (1 - a**t) / (1 - b**t), beta1, beta2, tol)

    @trap("This is the inverse: asked is the step without correction over the step with it, 3.16 at t = 1. Uncorrected steps are too long.")
    class upside_down:
        def bias_ratio(t, beta1=0.9, beta2=0.999):
            return math.sqrt(1 - beta2**t) / (1 - beta1**t)

        def steps_until(beta1, beta2, tol):
            return _until(lambda t, a, b: math.sqrt(1 - b**t) / (1 - a**t), beta1, beta2, tol)

    @trap(
        "You return the first t inside the band. The ratio may pass through 1 on its way up and leave the band again: ask from when on it STAYS."
    )
    class first_time_inside:
        bias_ratio = _ratio

        def steps_until(beta1, beta2, tol):
            return next(t for t in range(1, 6000) if abs(_ratio(t, beta1, beta2) - 1) <= tol)

    @trap("The band has two sides: 1 − tol ≤ ratio ≤ 1 + tol. You look at the upper side only, and miss ratios that rise to 1 from below.")
    class upper_side_only:
        bias_ratio = _ratio

        def steps_until(beta1, beta2, tol):
            return 1 + max((t for t in range(1, 6000) if _ratio(t, beta1, beta2) - 1 > tol), default=0)

    @trap("(1 − beta)^t is not 1 − beta^t: take the power first.")
    class power_misplaced:
        def bias_ratio(t, beta1=0.9, beta2=0.999):
            return (1 - beta1) ** t / math.sqrt((1 - beta2) ** t)

        def steps_until(beta1, beta2, tol):
            return _until(_ratio, beta1, beta2, tol)

    @trap("This is the last t outside the band (or the last before). Asked is the first t from which on the ratio is inside: one later.")
    class last_outside:
        bias_ratio = _ratio

        def steps_until(beta1, beta2, tol):
            return _until(_ratio, beta1, beta2, tol) - 1

    @trap("The bias of m is missing: this is 1/sqrt(1 − beta2^t). Multiply by 1 − beta1^t.")
    class only_v:
        def bias_ratio(t, beta1=0.9, beta2=0.999):
            return 1 / math.sqrt(1 - beta2**t)

        def steps_until(beta1, beta2, tol):
            return _until(lambda t, a, b: 1 / math.sqrt(1 - b**t), beta1, beta2, tol)

    @trap("The betas are swapped: beta1 belongs to m in the numerator, beta2 to v under the root.")
    class betas_swapped:
        def bias_ratio(t, beta1=0.9, beta2=0.999):
            return (1 - beta2**t) / math.sqrt(1 - beta1**t)

        def steps_until(beta1, beta2, tol):
            return _until(lambda t, a, b: (1 - b**t) / math.sqrt(1 - a**t), beta1, beta2, tol)

    @trap("steps_until uses the default betas: pass beta1 and beta2 on to the ratio.")
    class betas_not_passed_on:
        bias_ratio = _ratio

        def steps_until(beta1, beta2, tol):
            return _until(lambda t, a, b: _ratio(t), beta1, beta2, tol)

    @trap(
        "The bias of m is missing in steps_until: 1/sqrt(1 − beta2^t) is the ratio of a late step only. Use the whole ratio; m matters as long as v does where the betas are close."
    )
    class only_v_in_steps:
        bias_ratio = _ratio

        def steps_until(beta1, beta2, tol):
            return _until(lambda t, a, b: 1 / math.sqrt(1 - b**t), beta1, beta2, tol)

    @trap("Your exponent is t + 1. t counts from 1 already: after t steps the weights add up to 1 − beta^t.")
    class t_plus_one:
        def bias_ratio(t, beta1=0.9, beta2=0.999):
            return _ratio(t + 1, beta1, beta2)

        def steps_until(beta1, beta2, tol):
            return _until(lambda t, a, b: _ratio(t + 1, a, b), beta1, beta2, tol)

    horizon_of_999, horizon_of_1000 = (
        trap(
            "You look at the first thousand steps only. With the default betas the ratio leaves the band later than that; the task gives 5000 as the limit."
        )(_search_up_to(horizon))
        for horizon in (1000, 1001)
    )

    empty_list, empty_maximum = (
        trap(
            "Where the ratio is inside the band from the start, your list of steps outside is empty, and you take an entry of it all the same. The answer is 1 then."
        )(_search_of_outside(last))
        for last in (lambda t: t[-1], max)
    )

    @right("simulated")
    class simulated:
        def bias_ratio(t, beta1=0.9, beta2=0.999):
            m = v = 0.0
            for _ in range(t):
                m = beta1 * m + (1 - beta1)
                v = beta2 * v + (1 - beta2)
            return m / v**0.5

        def steps_until(beta1, beta2, tol):
            t = 6000
            while t >= 1 and abs(_ratio(t, beta1, beta2) - 1) <= tol:
                t -= 1
            return t + 1

    @right("vectorised")
    class vectorised:
        def bias_ratio(t, beta1=0.9, beta2=0.999):
            return (1 - np.power(beta1, t)) / np.sqrt(1 - np.power(beta2, t))

        def steps_until(beta1, beta2, tol):
            t = np.arange(1, 20001)
            outside = np.abs((1 - beta1**t) / np.sqrt(1 - beta2**t) - 1) > tol
            return int(t[outside].max()) + 1 if outside.any() else 1


# ------------------------------------------------------------------------------------------------------ warmup and cosine, twice


def _warmup_cosine(step, total, warmup, peak, min_lr=0.0):
    if step < warmup:
        return peak * step / warmup
    if step >= total:
        return min_lr
    x = (step - warmup) / (total - warmup)
    return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(math.pi * x))


@st.composite
def _schedule_call(draw, part, floor):
    total = draw(st.sampled_from([100, 57, 200]))
    warmup = draw(st.sampled_from([10, 7, 20]))
    first, last = {"ramp": (0, warmup), "cosine": (warmup + 1, total), "beyond": (total, 3 * total)}[part]
    min_lr = {"min_lr": draw(st.sampled_from([0.05, 0.002]))} if floor else {}
    return call(draw(st.integers(first, last)), total, warmup, draw(st.sampled_from([1.0, 0.5, 3e-2])), **min_lr)


def _judge_ramp_only(rate, step, total, warmup, peak, min_lr=0.0):
    """warmup = total: at step total the ramp's end and the cosine's end are both right."""
    allowed = [peak * step / total] if step < total else [peak, min_lr] if step == total else [min_lr]
    if np.ndim(rate) or not isinstance(rate, (int, float, np.number, np.ndarray, torch.Tensor)):
        return "The result is not one number."
    if any(math.isclose(float(rate), a, rel_tol=1e-7, abs_tol=1e-9) for a in allowed):
        return True
    where = "Before" if step < total else "Beyond" if step > total else "At"
    return f"{where} step total, with warmup = total: {float(rate):.6g} instead of {' or '.join(f'{a:.6g}' for a in allowed)}."


@exercise("optimizers.warmup-cosine", names="lr_at", covers=["optimizers.warmup", "optimizers.cosine", "optimizers.schedule-caption"])
class WarmupCosine:
    reference = _warmup_cosine

    cases = {
        "warmup": [
            _schedule_call("ramp", False),
            call(0, 100, 10, 1.0),
            call(1, 100, 10, 1.0),
            call(10, 100, 10, 1.0),
            call(4, 50, 50, 0.1, 0.02),
            call(3, 100, 10, 0.5, 0.05),
            call(0, 100, 1, 1.0),
        ],
        "cosine": [
            _schedule_call("cosine", False),
            call(11, 100, 10, 1.0),
            call(55, 100, 10, 1.0),
            call(99, 100, 10, 1.0),
            call(100, 100, 10, 1.0),
        ],
        "floor": [
            _schedule_call("cosine", True),
            call(30, 200, 20, 0.5, 0.05),
            call(150, 200, 20, 0.5, 0.05),
            call(200, 200, 20, 0.5, 0.05),
        ],
        "edges": [
            _schedule_call("beyond", True),
            call(0, 1000, 0, 0.3, 3e-2),
            call(1, 1000, 0, 0.3, 3e-2),
            call(500, 1000, 0, 0.3, 3e-2),
            call(0, 7, 0, 0.2),
            call(101, 100, 10, 1.0),
            call(150, 100, 10, 1.0),
            call(51, 50, 50, 0.1, 0.02),
            call(120, 50, 50, 0.1, 0.02),
            *(call(s, 1000, 0, 0.3, 3e-2) for s in (1000, 1001, 1500, 2000)),
        ],
        "nothing but a ramp": group(
            [call(50, 50, 50, 0.1, 0.02), call(49, 50, 50, 0.1, 0.02), call(1, 1, 1, 0.3, 0.02), call(51, 50, 50, 0.1, 0.02)],
            accept=_judge_ramp_only,
        ),
    }

    @trap(
        "You divide by total: the decay then has more room than steps, and the rate never reaches the floor. It lasts total − warmup steps."
    )
    def divides_by_total(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * step / warmup
        if step > total:
            return min_lr
        return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / total))

    @trap(
        "The cosine starts at step 0 instead of where the warmup ends, so the rate jumps down there. Subtract warmup from step and from total."
    )
    def no_offset(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * step / warmup
        x = min(step / total, 1)
        return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(math.pi * x))

    @trap("Beyond total the rate rises again: the cosine is periodic. Clamp the progress at 1.")
    def no_clamp(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * step / warmup
        x = (step - warmup) / max(1, total - warmup)
        return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(math.pi * x))

    @trap("Your branch for warmup = 0 does not stop at total: beyond it the rate is min_lr too.")
    def no_clamp_without_warmup(step, total, warmup, peak, min_lr=0.0):
        if warmup == 0:
            return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(math.pi * step / total))
        return _warmup_cosine(step, total, warmup, peak, min_lr)

    @trap("min_lr has no effect. The cosine runs from peak down to min_lr: min_lr + (peak − min_lr)·½(1 + cos πx).")
    def floor_ignored(step, total, warmup, peak, min_lr=0.0):
        return _warmup_cosine(step, total, warmup, peak, 0.0)

    @trap(
        "cos(πx/2) is a quarter wave: it ends with a steep slope, above the curve asked for. Take half a wave, ½(1 + cos πx): flat at both ends."
    )
    def quarter_wave(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * step / warmup
        x = min(1, (step - warmup) / max(1, total - warmup))
        return min_lr + (peak - min_lr) * math.cos(math.pi * x / 2)

    @trap("A full wave, cos 2πx, is back at the peak when the run ends. Half a wave leads from the peak to the floor.")
    def full_wave(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * step / warmup
        x = min(1, (step - warmup) / max(1, total - warmup))
        return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(2 * math.pi * x))

    @trap("Without warmup, step/warmup divides by 0. With warmup = 0 there is no ramp: start at the peak.")
    def no_warmup_crashes(step, total, warmup, peak, min_lr=0.0):
        ramp = step / warmup
        if ramp < 1:
            return peak * ramp
        return _warmup_cosine(step, total, warmup, peak, min_lr)

    @trap(
        "With warmup = total the decay has no steps, and at step total you divide by total − warmup = 0. Treat that step before you divide."
    )
    def no_decay_crashes(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * step / warmup
        if step > total:
            return min_lr
        return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))

    @trap(
        "This decays to 0 and cuts the curve off at min_lr: too low before, kinked where it meets the floor. The floor stretches the whole curve."
    )
    def floor_cuts(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * step / warmup
        return max(min_lr, _warmup_cosine(step, total, warmup, peak, 0.0))

    @trap("You add min_lr to a curve that still has the height of peak, so it starts above the peak. Its height is peak − min_lr.")
    def floor_added(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * step / warmup
        return min_lr + _warmup_cosine(step, total, warmup, peak, 0.0)

    @trap("The decay is a straight line. A cosine leaves the peak slowly and arrives at the floor slowly: ½(1 + cos πx).")
    def straight_line(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * step / warmup
        x = min(1, (step - warmup) / max(1, total - warmup))
        return peak + (min_lr - peak) * x

    @trap("Your ramp is one step early: (step + 1)/warmup. Here the rate is 0 at step 0 and reaches the peak at step warmup.")
    def ramp_one_early(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * (step + 1) / warmup
        return _warmup_cosine(step, total, warmup, peak, min_lr)

    @trap("Your ramp starts at min_lr. It starts at 0; min_lr is only where the cosine ends.")
    def ramp_from_the_floor(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return min_lr + (peak - min_lr) * step / warmup
        return _warmup_cosine(step, total, warmup, peak, min_lr)

    @trap("There is no ramp: the rate starts at the peak. In the first warmup steps it is peak·step/warmup.")
    def no_ramp(step, total, warmup, peak, min_lr=0.0):
        return peak if step < warmup else _warmup_cosine(step, total, warmup, peak, min_lr)

    @trap("Beyond total your rate drops to 0. It stays where the cosine ended, at min_lr.")
    def zero_beyond_the_end(step, total, warmup, peak, min_lr=0.0):
        return 0.0 if step > total else _warmup_cosine(step, total, warmup, peak, min_lr)

    @trap("Your ramp is bent. The warmup is a straight line, peak·step/warmup; only the decay is a cosine.")
    def bent_ramp(step, total, warmup, peak, min_lr=0.0):
        if step < warmup:
            return peak * 0.5 * (1 - math.cos(math.pi * step / warmup))
        return _warmup_cosine(step, total, warmup, peak, min_lr)

    @trap("The ramp never falls below min_lr in your version. It starts at 0; min_lr is only where the cosine ends.")
    def ramp_cut_at_the_floor(step, total, warmup, peak, min_lr=0.0):
        return max(min_lr, _warmup_cosine(step, total, warmup, peak, min_lr))

    @trap("The factor ½ is missing: 1 + cos πx runs from 2 to 0, so the decay starts at twice the peak.")
    def half_missing(step, total, warmup, peak, min_lr=0.0):
        rate = _warmup_cosine(step, total, warmup, peak, min_lr)
        return rate if step < warmup else 2 * rate - min_lr

    @trap("max(warmup, 1) makes a ramp of one step where there is none: with warmup = 0 your step 0 has the rate 0. It has the peak.")
    def ramp_of_at_least_one_step(step, total, warmup, peak, min_lr=0.0):
        warmup = max(warmup, 1)
        return peak if step == warmup == total else _warmup_cosine(step, total, warmup, peak, min_lr)

    @trap(
        "With warmup = total your rate stays at the peak beyond total. The peak may stand at step total itself; after it the rate is min_lr."
    )
    def peak_beyond_the_ramp(step, total, warmup, peak, min_lr=0.0):
        return peak if step >= warmup == total else _warmup_cosine(step, total, warmup, peak, min_lr)

    @right("sine squared and clipping")
    def half_angle(step, total, warmup, peak, min_lr=0.0):
        if step <= warmup and warmup > 0:
            return peak * step / warmup
        x = np.clip((step - warmup) / max(total - warmup, 1), 0, 1)
        return peak - (peak - min_lr) * np.sin(np.pi * x / 2) ** 2

    @right("torch's cosine schedule, stepped")
    def with_torch(step, total, warmup, peak, min_lr=0.0):
        if warmup and step < warmup:
            return step * (peak / warmup)
        if step >= total:
            return min_lr
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - warmup, eta_min=min_lr)
        for _ in range(step - warmup):
            optimizer.step()
            scheduler.step()
        return scheduler.get_last_lr()[0]


def _prompt_warmup(step, warm, total, lr_max, lr_min=0.0):
    if step < warm:
        return lr_max * (step + 1) / warm
    x = min(1.0, (step - warm) / (total - warm))
    return lr_min + (lr_max - lr_min) * 0.5 * (1 + math.cos(math.pi * x))


@st.composite
def _prompt_call(draw, part):
    total = draw(st.sampled_from([100, 57, 200]))
    warm = draw(st.sampled_from([10, 7, 20]))
    first, last = {"ramp": (0, warm), "cosine": (warm + 1, total), "beyond": (total + 1, 3 * total)}[part]
    return call(
        draw(st.integers(first, last)),
        warm,
        total,
        draw(st.sampled_from([1.0, 0.5])),
        **({} if part == "ramp" else {"lr_min": draw(st.sampled_from([0.0, 0.1, 0.02]))}),
    )


@exercise("thirty.warmup-cosine", names="lr_at", covers=["thirty.tq09", "thirty.t-schedules", "optimizers.warmup"])
class PromptWarmup:
    reference = _prompt_warmup

    cases = {
        "warmup": [
            _prompt_call("ramp"),
            call(0, 5, 40, 0.1),
            call(4, 5, 40, 0.1),
            call(5, 5, 40, 0.1),
            call(2, 5, 40, 0.3, 0.1),
            call(0, 1, 40, 0.1),
        ],
        "cosine": [
            _prompt_call("cosine"),
            call(20, 5, 40, 0.4),
            call(6, 5, 40, 0.4, 0.1),
            call(40, 5, 40, 0.4, 0.1),
            call(39, 5, 40, 0.4, 0.1),
        ],
        "edges": [
            _prompt_call("beyond"),
            call(0, 0, 10, 0.4, 0.1),
            call(1, 0, 10, 0.4, 0.1),
            call(45, 5, 40, 0.4),
            call(60, 5, 40, 0.4, 0.1),
            *(call(s, 0, 10, 0.4, 0.1) for s in (12, 15, 20)),
        ],
    }

    @trap("step/warm makes the first update with a rate of 0: it does nothing. Here the ramp is (step + 1)/warm.")
    def ramp_from_zero(step, warm, total, lr_max, lr_min=0.0):
        return lr_max * step / warm if step < warm else _prompt_warmup(step, warm, total, lr_max, lr_min)

    @trap("The cosine starts when the warmup ends: subtract warm from step and from total. Yours starts at step 0 and jumps.")
    def no_offset(step, warm, total, lr_max, lr_min=0.0):
        if step < warm:
            return lr_max * (step + 1) / warm
        return lr_min + (lr_max - lr_min) * 0.5 * (1 + math.cos(math.pi * min(1, step / total)))

    @trap("You divide by total: the decay lasts total − warm steps, so yours never reaches lr_min.")
    def divides_by_total(step, warm, total, lr_max, lr_min=0.0):
        if step < warm:
            return lr_max * (step + 1) / warm
        if step > total:
            return lr_min
        return lr_min + (lr_max - lr_min) * 0.5 * (1 + math.cos(math.pi * (step - warm) / total))

    @trap("After the last step the rate stays at lr_min; yours rises again, since the cosine is periodic. Limit the progress to 1.")
    def no_clamp(step, warm, total, lr_max, lr_min=0.0):
        if step < warm:
            return lr_max * (step + 1) / warm
        return lr_min + (lr_max - lr_min) * 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))

    @trap("A full period is back at the maximum when the run ends. Half a period leads from lr_max to lr_min: cos πx.")
    def full_period(step, warm, total, lr_max, lr_min=0.0):
        if step < warm:
            return lr_max * (step + 1) / warm
        x = min(1, (step - warm) / (total - warm))
        return lr_min + (lr_max - lr_min) * 0.5 * (1 + math.cos(2 * math.pi * x))

    @trap("lr_min has no effect: the curve ends at lr_min, lr_min + (lr_max − lr_min)·½(1 + cos πx).")
    def floor_ignored(step, warm, total, lr_max, lr_min=0.0):
        return _prompt_warmup(step, warm, total, lr_max)

    @trap("The curve is cut off at lr_min instead of ending there smoothly. The floor stretches the whole curve.")
    def floor_cuts(step, warm, total, lr_max, lr_min=0.0):
        return _prompt_warmup(step, warm, total, lr_max) if step < warm else max(lr_min, _prompt_warmup(step, warm, total, lr_max))

    @trap("You add lr_min to a curve that still has the height of lr_max, so it starts above lr_max. Its height is lr_max − lr_min.")
    def floor_added(step, warm, total, lr_max, lr_min=0.0):
        if step < warm:
            return lr_max * (step + 1) / warm
        return lr_min + _prompt_warmup(step, warm, total, lr_max)

    @trap("Your ramp starts from lr_min. It is lr_max·(step + 1)/warm; lr_min is only where the cosine ends.")
    def ramp_from_the_floor(step, warm, total, lr_max, lr_min=0.0):
        if step < warm:
            return lr_min + (lr_max - lr_min) * (step + 1) / warm
        return _prompt_warmup(step, warm, total, lr_max, lr_min)

    @trap("Your branch for warm = 0 does not stop at total: beyond it the rate is lr_min too.")
    def no_clamp_without_warmup(step, warm, total, lr_max, lr_min=0.0):
        if warm == 0:
            return lr_min + (lr_max - lr_min) * 0.5 * (1 + math.cos(math.pi * step / total))
        return _prompt_warmup(step, warm, total, lr_max, lr_min)

    @trap("Beyond total your rate drops to 0. It stays where the cosine ended, at lr_min.")
    def zero_beyond_the_end(step, warm, total, lr_max, lr_min=0.0):
        return 0.0 if step > total else _prompt_warmup(step, warm, total, lr_max, lr_min)

    @trap("Your cosine lasts total − 1 − warm steps and is at lr_min one step early. It gets there at step total.")
    def ends_one_early(step, warm, total, lr_max, lr_min=0.0):
        if step < warm:
            return lr_max * (step + 1) / warm
        x = min(1, (step - warm) / (total - 1 - warm))
        return lr_min + (lr_max - lr_min) * 0.5 * (1 + math.cos(math.pi * x))

    @trap("Your ramp divides by warm + 1, so step warm − 1 is still below lr_max. Divide by warm.")
    def ramp_over_warm_plus_one(step, warm, total, lr_max, lr_min=0.0):
        if step < warm:
            return lr_max * (step + 1) / (warm + 1)
        return _prompt_warmup(step, warm, total, lr_max, lr_min)

    @trap("The progress of the cosine is one step ahead: with (step + 1 − warm) the decay begins a step early. Only the ramp has the + 1.")
    def cosine_one_early(step, warm, total, lr_max, lr_min=0.0):
        if step < warm:
            return lr_max * (step + 1) / warm
        x = min(1, (step + 1 - warm) / (total - warm))
        return lr_min + (lr_max - lr_min) * 0.5 * (1 + math.cos(math.pi * x))

    @trap("You take warm and total in the order of the exercise before. Here it is lr_at(step, warm, total, …).")
    def arguments_in_the_other_order(step, warm, total, lr_max, lr_min=0.0):
        return _prompt_warmup(step, total, warm, lr_max, lr_min)

    @trap("The decay is a straight line. A cosine leaves the maximum slowly and arrives at lr_min slowly: ½(1 + cos πx).")
    def straight_line(step, warm, total, lr_max, lr_min=0.0):
        if step < warm:
            return lr_max * (step + 1) / warm
        return lr_max + (lr_min - lr_max) * min(1, (step - warm) / (total - warm))

    @trap(
        "Your ramp is one step too long: at step warm it gives lr_max·(warm + 1)/warm, above the maximum. The ramp is for step < warm only."
    )
    def ramp_one_step_too_long(step, warm, total, lr_max, lr_min=0.0):
        return lr_max * (step + 1) / warm if warm and step <= warm else _prompt_warmup(step, warm, total, lr_max, lr_min)

    @trap("Without warmup, (step + 1)/warm divides by 0. With warm = 0 there is no ramp: start with the cosine.")
    def no_warmup_crashes(step, warm, total, lr_max, lr_min=0.0):
        ramp = (step + 1) / warm
        return lr_max * ramp if ramp <= 1 else _prompt_warmup(step, warm, total, lr_max, lr_min)

    @right("two clipped progresses")
    def clipped(step, warm, total, lr_max, lr_min=0.0):
        ramp = np.clip((step + 1) / max(warm, 1), 0, 1)
        x = np.clip((step - warm) / (total - warm), 0, 1)
        return float(ramp * lr_max if step < warm else (lr_max + lr_min) / 2 + (lr_max - lr_min) / 2 * np.cos(np.pi * x))

    @right("the whole curve, then one entry")
    def table(step, warm, total, lr_max, lr_min=0.0):
        ramp = [lr_max * (i + 1) / warm for i in range(warm)]
        fall = [lr_min + (lr_max - lr_min) * math.cos(math.pi * i / (total - warm) / 2) ** 2 for i in range(total - warm + 1)]
        return (ramp + fall)[min(step, total)]


# ---------------------------------------------------------------------------------------------------- step decay and one-cycle


def _only_decay(submission, step, base, milestones, **settings):
    return submission.step_decay(step, base, milestones, **settings)


def _only_cycle(submission, step, total, max_lr, **settings):
    return submission.one_cycle(step, total, max_lr, **settings)


def _decay(step, base, milestones, gamma=0.1):
    return base * gamma ** sum(step >= m for m in milestones)


def _between(start, end, x):
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * x))


def _cycle(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
    top, last = pct * total - 1, total - 1
    start = max_lr / div
    if step <= top:
        return _between(start, max_lr, step / top)
    return _between(max_lr, start / final_div, (step - top) / (last - top))


def _torch_rates(make, n):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < n:
            scheduler.step()
    return rates


_RUNS = {(100, 0.3): 29, (57, 0.45): 24, (20, 0.2): 3, (40, 0.5): 19}  # (total, pct): the last step of the rise


@st.composite
def _cycle_call(draw, phase, **settings):
    (total, pct), top = draw(st.sampled_from(sorted(_RUNS.items())))
    step = draw(st.integers(0, top) if phase == "rise" else st.integers(top + 1, total - 1))
    kwargs = {k: draw(v) for k, v in settings.items()}
    return call(step, total, draw(st.sampled_from([1.0, 0.2])), **({} if pct == 0.3 else {"pct": pct}), **kwargs)


def _with_decay(function):
    class both:
        step_decay = function
        one_cycle = _cycle

    return both


def _with_cycle(function):
    class both:
        step_decay = _decay
        one_cycle = function

    return both


@exercise(
    "optimizers.step-onecycle",
    names="step_decay one_cycle",
    covers=["optimizers.step-decay", "optimizers.one-cycle", "thirty.t-schedules"],
    rtol=1e-8,
    atol=1e-13,
)
class StepOneCycle:
    class reference:
        def step_decay(step, base, milestones, gamma=0.1):
            make = lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones=list(milestones), gamma=gamma)
            return base * _torch_rates(make, step + 1)[step]

        def one_cycle(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
            make = lambda o: torch.optim.lr_scheduler.OneCycleLR(
                o, max_lr, total_steps=total, pct_start=pct, div_factor=div, final_div_factor=final_div, cycle_momentum=False
            )
            return _torch_rates(make, total)[step]

    cases = {
        "milestones": group(
            [
                call(
                    st.integers(0, 12),
                    st.sampled_from([1.0, 0.3]),
                    st.sampled_from([[3, 7], [2, 5, 9], [4]]),
                    gamma=st.sampled_from([0.1, 0.5]),
                )
            ]
            + [call(s, 0.4, [3, 7]) for s in (0, 2, 3, 4, 6, 7, 8)]
            + [call(8, 0.3, []), call(5, 1.0, [5], gamma=0.2), call(0, 1.0, []), call(0, 1.0, [0, 2]), call(2, 1.0, [0, 2])],
            probe=_only_decay,
        ),
        "rise": group(
            [_cycle_call("rise"), call(0, 100, 1.0), call(29, 100, 1.0), call(28, 100, 1.0), call(24, 57, 0.5, pct=0.45), call(0, 5, 1.0)],
            probe=_only_cycle,
        ),
        "fall": group(
            [
                _cycle_call("fall"),
                call(30, 100, 1.0),
                call(60, 100, 1.0),
                call(99, 100, 1.0),
                call(98, 100, 1.0),
                call(25, 57, 0.5, pct=0.45),
                call(1, 5, 1.0),
                call(3, 5, 1.0),
            ],
            probe=_only_cycle,
        ),
        "settings": group(
            [
                _cycle_call("rise", div=st.sampled_from([10.0, 4.0]), final_div=st.sampled_from([100.0, 5.0])),
                _cycle_call("fall", div=st.sampled_from([10.0, 4.0]), final_div=st.sampled_from([100.0, 5.0])),
                call(99, 100, 1.0, div=10.0, final_div=100.0),
                call(0, 100, 1.0, div=10.0),
            ],
            probe=_only_cycle,
        ),
    }

    def _late(step, base, milestones, gamma=0.1):
        return base * gamma ** sum(step > m for m in milestones)

    def _once(step, base, milestones, gamma=0.1):
        return base * gamma if milestones and step >= milestones[0] else base

    def _subtracts(step, base, milestones, gamma=0.1):
        return base - gamma * sum(step >= m for m in milestones)

    def _gamma_fixed(step, base, milestones, gamma=0.1):
        return base * 0.1 ** sum(step >= m for m in milestones)

    def _straight(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top, last, start = pct * total - 1, total - 1, max_lr / div
        if step <= top:
            return start + (max_lr - start) * step / top
        return max_lr + (start / final_div - max_lr) * (step - top) / (last - top)

    def _straight_rise(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top, start = pct * total - 1, max_lr / div
        return start + (max_lr - start) * step / top if step <= top else _cycle(step, total, max_lr, pct, div, final_div)

    def _end_from_max(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top, last = pct * total - 1, total - 1
        if step <= top:
            return _cycle(step, total, max_lr, pct, div, final_div)
        return _between(max_lr, max_lr / final_div, (step - top) / (last - top))

    def _one_step_long(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top, start = pct * total, max_lr / div
        return _between(start, max_lr, step / top) if step <= top else _between(max_lr, start / final_div, (step - top) / (total - top))

    def _fall_to_total(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top, start = pct * total - 1, max_lr / div
        return _between(start, max_lr, step / top) if step <= top else _between(max_lr, start / final_div, (step - top) / (total - top))

    def _peak_from_the_last(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top, last, start = pct * (total - 1), total - 1, max_lr / div
        return _between(start, max_lr, step / top) if step <= top else _between(max_lr, start / final_div, (step - top) / (last - top))

    def _late_top(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top, last, start = pct * total, total - 1, max_lr / div
        return _between(start, max_lr, step / top) if step <= top else _between(max_lr, start / final_div, (step - top) / (last - top))

    def _from_zero(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top = pct * total - 1
        return _between(0.0, max_lr, step / top) if step <= top else _cycle(step, total, max_lr, pct, div, final_div)

    def _whole_top(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top, last, start = int(pct * total) - 1, total - 1, max_lr / div
        return _between(start, max_lr, step / top) if step <= top else _between(max_lr, start / final_div, (step - top) / (last - top))

    def _settings_fixed(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        return _cycle(step, total, max_lr, pct)

    def _div_fixed(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        return _cycle(step, total, max_lr, pct, 25.0, final_div)

    def _final_div_fixed(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        return _cycle(step, total, max_lr, pct, div, 1e4)

    def _period(step, base, milestones, gamma=0.1):
        return base * gamma ** (step // milestones[0]) if milestones else base

    def _gamma_times_count(step, base, milestones, gamma=0.1):
        reached = sum(step >= m for m in milestones)
        return base * gamma * reached if reached else base

    def _rounded_top(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top, last, start = round(pct * total - 1), total - 1, max_lr / div
        return _between(start, max_lr, step / top) if step <= top else _between(max_lr, start / final_div, (step - top) / (last - top))

    def _to_zero(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        top = pct * total - 1
        return _cycle(step, total, max_lr, pct, div, final_div) if step <= top else _between(max_lr, 0.0, (step - top) / (total - 1 - top))

    def _back_to_the_start(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
        return _cycle(step, total, max_lr, pct, div, 1.0)

    period = trap(
        "You use the first milestone as a period: that is StepLR. Here the drops are at the listed steps only: count the milestones that are ≤ step."
    )(_with_decay(_period))
    gamma_times_count = trap(
        "You multiply gamma by the number of milestones. Each milestone multiplies the rate: gamma to the power of their number."
    )(_with_decay(_gamma_times_count))
    ends_at_zero = trap("Your fall ends at 0. It ends at the start rate divided by final_div: small, and not 0.")(_with_cycle(_to_zero))
    back_to_the_start = trap("Your fall ends at the start rate: final_div is missing. The last rate is max_lr/div/final_div.")(
        _with_cycle(_back_to_the_start)
    )
    peak_rounded_to_nearest = trap("You round the peak to a whole step. It stays at pct·total − 1, e.g. 24.65, also between two steps.")(
        _with_cycle(_rounded_top)
    )
    milestone_one_late = trap(
        "The drop comes one step late: the milestone step itself already uses the lower rate. Count milestones with step ≥ m."
    )(_with_decay(_late))
    gamma_once = trap(
        "gamma acts once only. Every milestone that has been reached multiplies by gamma again: gamma to the power of their number."
    )(_with_decay(_once))
    gamma_subtracted = trap("gamma is subtracted, and soon the rate is negative. Decay is multiplicative.")(_with_decay(_subtracts))
    gamma_fixed = trap("The factor is always 0.1: use the argument gamma.")(_with_decay(_gamma_fixed))
    straight_lines = trap("Both phases are straight lines. one_cycle joins its three values by half cosines, flat at start, peak and end.")(
        _with_cycle(_straight)
    )
    straight_rise = trap("The rise is a straight line; only the fall is a cosine. Both phases are half cosines.")(
        _with_cycle(_straight_rise)
    )
    end_divides_the_maximum = trap("final_div divides the START rate max_lr/div, not max_lr: your last rate is div times too high.")(
        _with_cycle(_end_from_max)
    )
    phases_one_step_long = trap(
        "Your phases end at pct·total and total. Steps count from 0: the peak is at pct·total − 1, the end at total − 1, which is the last step."
    )(_with_cycle(_one_step_long))
    peak_one_late = trap("Your peak is at pct·total, one step late. Steps count from 0: it is at pct·total − 1.")(_with_cycle(_late_top))
    fall_ends_at_total = trap("Your fall ends at step total. The last step is total − 1, and the lowest rate belongs there.")(
        _with_cycle(_fall_to_total)
    )
    peak_counted_from_the_last = trap("Your peak is at pct·(total − 1). The task has it at pct·total − 1, as torch does.")(
        _with_cycle(_peak_from_the_last)
    )
    starts_at_zero = trap("The cycle starts at max_lr/div, not at 0.")(_with_cycle(_from_zero))
    peak_rounded = trap("You round the peak to a whole step. It stays at pct·total − 1, e.g. 24.65, also between two steps.")(
        _with_cycle(_whole_top)
    )
    settings_fixed, div_fixed, final_div_fixed = (
        trap(text)(_with_cycle(cycle))
        for text, cycle in (
            ("div and final_div have no effect: use the arguments instead of 25 and 10⁴.", _settings_fixed),
            ("div has no effect: use the argument instead of 25.", _div_fixed),
            ("final_div has no effect: use the argument instead of 10⁴.", _final_div_fixed),
        )
    )

    @right("a loop over the milestones; halved angles")
    class loops:
        def step_decay(step, base, milestones, gamma=0.1):
            for m in milestones:
                if m <= step:
                    base = base * gamma
            return base

        def one_cycle(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
            low, end, top = max_lr / div, max_lr / div / final_div, pct * total - 1
            if step <= top:
                return low + (max_lr - low) * math.sin(math.pi * step / top / 2) ** 2
            return end + (max_lr - end) * math.cos(math.pi * (step - top) / (total - 1 - top) / 2) ** 2

    @right("NumPy: searchsorted and where")
    class with_numpy:
        def step_decay(step, base, milestones, gamma=0.1):
            return base * np.power(gamma, np.searchsorted(milestones, step, side="right").astype(float))

        def one_cycle(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4):
            top = pct * total - 1
            values = np.array([max_lr / div, max_lr, max_lr / div / final_div])
            x, i = np.where(step <= top, [step / top, 0], [(step - top) / (total - 1 - top), 1])
            a, b = values[int(i)], values[int(i) + 1]
            return b + (a - b) / 2 * (np.cos(np.pi * x) + 1)


# -------------------------------------------------------------------------------------------------------------- batch and rate


def _scaled(base_lr, base_batch, batch, rule="linear", critical=None):
    power = {"linear": 1.0, "sqrt": 0.5}
    if rule not in power:
        raise ValueError(rule)
    if critical is None or batch <= critical:
        return base_lr * (batch / base_batch) ** power[rule]
    return base_lr * (critical / base_batch) ** power[rule] * math.sqrt(batch / critical)


_RATES = st.sampled_from([0.1, 0.25, 3e-4])


@exercise("optimizers.scale-lr", names="scale_lr", covers=["optimizers.linear-scaling", "optimizers.q.batch-lr"])
class ScaleLr:
    reference = _scaled

    cases = {
        "linear": [
            call(_RATES, st.sampled_from([256, 96]), st.sampled_from([2048, 64, 32, 100, 256, 3000])),
            call(0.1, 256, 64),
            call(0.1, 256, 2048, rule="linear", critical=None),
        ],
        "square root": [
            call(_RATES, st.sampled_from([256, 96]), st.sampled_from([4096, 64, 16, 100]), rule="sqrt"),
            call(0.1, 256, 4096, "sqrt"),
            call(0.1, 256, 20000, "sqrt", 8192),
        ],
        "critical": [
            call(_RATES, st.sampled_from([256, 100]), st.sampled_from([8192, 8193, 32768, 50000]), critical=8192),
            call(0.1, 256, 32768, critical=8192),
            call(0.1, 256, 8192, critical=8192),
            call(0.1, 256, 1000, critical=8192),
            call(0.1, 256, 300, critical=256),
            call(0.1, 256, 64, critical=256),
        ],
        "refusal": [
            call(0.1, 256, 512, rule="cubic"),
            call(0.1, 256, 256, rule="Linear "),
            call(0.1, 256, 512, rule=""),
            call(0.1, 256, 512, rule="Linear"),
            call(0.1, 256, 512, rule="SQRT"),
            call(0.1, 256, 512, rule="square root"),
            call(0.1, 256, 512, rule="sqrt2"),
            call(0.1, 256, 9000, rule="log", critical=8192),
        ],
    }

    @trap(
        "Your ratio is upside down: the rate falls as the batch grows. A larger batch has less noise and allows a longer step: batch/base_batch."
    )
    def ratio_inverted(base_lr, base_batch, batch, rule="linear", critical=None):
        return (
            _scaled(base_lr, batch, base_batch, rule, None)
            if critical is None or batch <= critical
            else _scaled(base_lr, base_batch, critical, rule) * math.sqrt(critical / batch)
        )

    @trap("// rounds down, so a smaller batch gets a rate of 0. Batches may shrink: use /.")
    def integer_division(base_lr, base_batch, batch, rule="linear", critical=None):
        power = {"linear": 1.0, "sqrt": 0.5}
        if rule not in power:
            raise ValueError(rule)
        if critical is None or batch <= critical:
            return base_lr * (batch // base_batch) ** power[rule]
        return base_lr * (critical // base_batch) ** power[rule] * math.sqrt(batch // critical)

    @trap(
        "critical has no effect: at batch 32768 the rate is 12.8. Beyond the critical batch the rate grows with the square root of batch/critical only."
    )
    def critical_ignored(base_lr, base_batch, batch, rule="linear", critical=None):
        return _scaled(base_lr, base_batch, batch, rule)

    @trap("Beyond the critical batch your rate stands still. It goes on growing, with the square root of batch/critical.")
    def constant_beyond(base_lr, base_batch, batch, rule="linear", critical=None):
        return _scaled(base_lr, base_batch, batch if critical is None else min(batch, critical), rule)

    @trap(
        "Beyond critical you apply the root to the whole ratio batch/base_batch, so the rate drops at critical. Take the rule up to critical, then times sqrt(batch/critical)."
    )
    def root_of_everything(base_lr, base_batch, batch, rule="linear", critical=None):
        beyond = critical is not None and batch > critical
        return _scaled(base_lr, base_batch, batch, "sqrt" if beyond and rule in ("linear", "sqrt") else rule)

    @trap(
        "The two factors beyond critical are swapped or doubled: the rule acts up to critical (critical/base_batch), the root beyond it (batch/critical)."
    )
    def rule_times_root(base_lr, base_batch, batch, rule="linear", critical=None):
        if critical is None or batch <= critical:
            return _scaled(base_lr, base_batch, batch, rule)
        return _scaled(base_lr, base_batch, batch, rule) * math.sqrt(batch / critical)

    @trap(
        "With a critical batch you use the square root below it too. Up to critical the rule holds as it is; the root acts beyond it only."
    )
    def root_below_critical(base_lr, base_batch, batch, rule="linear", critical=None):
        return _scaled(base_lr, base_batch, batch, "sqrt" if critical is not None and rule == "linear" else rule)

    @trap("You add a fixed amount per extra batch; both rules are proportional. Multiply the base rate by the ratio.")
    def adds(base_lr, base_batch, batch, rule="linear", critical=None):
        if rule not in ("linear", "sqrt"):
            raise ValueError(rule)
        return base_lr + base_lr * batch / base_batch

    @trap(
        "rule='sqrt' gives the linear rate. Under the square-root rule the rate grows with sqrt(batch/base_batch): times 2 for four times the batch."
    )
    def always_linear(base_lr, base_batch, batch, rule="linear", critical=None):
        return _scaled(base_lr, base_batch, batch, "linear" if rule == "sqrt" else rule, critical)

    @trap("The two rules are swapped: linear means proportional to the batch, sqrt to its root.")
    def rules_swapped(base_lr, base_batch, batch, rule="linear", critical=None):
        return _scaled(base_lr, base_batch, batch, {"linear": "sqrt", "sqrt": "linear"}.get(rule, rule), critical)

    @trap("An unknown rule passes silently, and a typo becomes a wrong rate. Raise ValueError for anything but 'linear' and 'sqrt'.")
    def unknown_rule_accepted(base_lr, base_batch, batch, rule="linear", critical=None):
        return _scaled(base_lr, base_batch, batch, "sqrt" if rule == "sqrt" else "linear", critical)

    @trap("The factor sqrt(batch/critical) acts below the critical batch too, where it is less than 1. Apply it only beyond.")
    def factor_below_critical_too(base_lr, base_batch, batch, rule="linear", critical=None):
        rate = _scaled(base_lr, base_batch, batch if critical is None else min(batch, critical), rule)
        return rate if critical is None else rate * math.sqrt(batch / critical)

    @trap("With rule='sqrt' your rate stands still beyond critical. The root of batch/critical acts there under both rules.")
    def constant_beyond_under_the_root(base_lr, base_batch, batch, rule="linear", critical=None):
        return _scaled(base_lr, base_batch, min(batch, critical) if critical and rule == "sqrt" else batch, rule, critical)

    @trap("Beyond critical an unknown rule passes. Check the rule first, before any branch.")
    def refuses_up_to_critical_only(base_lr, base_batch, batch, rule="linear", critical=None):
        beyond = critical is not None and batch > critical
        return _scaled(base_lr, base_batch, batch, "sqrt" if beyond and rule != "linear" else rule, critical)

    @trap("You never go below the base rate. The batch may shrink, and the rate shrinks with it: no max(1, …).")
    def never_below_the_base(base_lr, base_batch, batch, rule="linear", critical=None):
        return _scaled(base_lr, base_batch, max(batch, base_batch), rule, critical)

    @right("guards first")
    def guards(base_lr, base_batch, batch, rule="linear", critical=None):
        if rule == "linear":
            grow = lambda ratio: ratio
        elif rule == "sqrt":
            grow = np.sqrt
        else:
            raise ValueError(f"unknown rule {rule!r}")
        limit = batch if critical is None else min(batch, critical)
        return base_lr * grow(limit / base_batch) * np.sqrt(batch / limit)

    @right("recursion")
    def recursive(base_lr, base_batch, batch, rule="linear", critical=None):
        if critical is not None and batch > critical:
            return recursive_scale(base_lr, base_batch, critical, rule) * (batch / critical) ** 0.5
        return recursive_scale(base_lr, base_batch, batch, rule)


def recursive_scale(base_lr, base_batch, batch, rule):
    if rule not in ("linear", "sqrt"):
        raise ValueError
    ratio = batch / base_batch
    return math.exp(math.log(base_lr) + math.log(ratio) * (1 if rule == "linear" else 0.5))


# -------------------------------------------------------------------------------------------------------------------- memory


def _count(shape):
    return math.prod(shape)


def _factored(shape):
    return 4 * _count(shape) if len(shape) < 2 else 4 * _count(shape[:-2]) * (shape[-2] + shape[-1])


def _bytes(per_shape):
    """A function of (shapes, kind) from a table of bytes per shape."""

    def optimizer_state_bytes(shapes, kind):
        if kind not in per_shape:
            raise ValueError(kind)
        return sum(per_shape[kind](s) for s in shapes)

    return optimizer_state_bytes


_TABLE = {
    "sgd": lambda s: 0,
    "momentum": lambda s: 4 * _count(s),
    "adam": lambda s: 8 * _count(s),
    "adam8bit": lambda s: 2 * _count(s),
    "adafactor": _factored,
}

_SHAPES = [
    [(1000, 500), (500,)],
    [(64,), (32, 64), (7, 5)],
    [(1,)],
    [(3, 8, 5)],
    [(2, 3, 4, 5), (6,)],
    [(30522, 768)],
    [(4, 4), (4,), (4, 4)],
    [],
]


def _sizes(*kinds):
    return [call(s, k) for s in _SHAPES for k in kinds] + [
        call(st.lists(st.sampled_from([(5,), (3, 4), (6, 2), (2, 3, 7), (1, 9)]), min_size=1, max_size=3), st.sampled_from(kinds))
    ]


@exercise("optimizers.state-memory", names="optimizer_state_bytes", covers=["optimizers.memory", "optimizers.q.memory"])
class StateMemory:
    def reference(shapes, kind):
        """What torch really holds; 8-bit Adam (torch has none) and what does not fit in memory by the definition."""
        if kind == "adam8bit" or (kind in _TABLE and sum(_count(s) for s in shapes) > 10**8):
            return _bytes(_TABLE)(shapes, kind)
        makers = {
            "sgd": lambda p: torch.optim.SGD(p, 0.1),
            "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
            "adam": torch.optim.Adam,
            "adafactor": torch.optim.Adafactor,
        }
        if kind not in makers:
            raise ValueError(kind)
        params = [torch.nn.Parameter(torch.zeros(s)) for s in shapes]
        if not params:
            return 0
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer = makers[kind](params)
        optimizer.step()
        return sum(
            v.numel() * v.element_size() for s in optimizer.state.values() for k, v in s.items() if torch.is_tensor(v) and k != "step"
        )

    cases = {
        "momentum and none": _sizes("sgd", "momentum"),
        "adam": _sizes("adam"),
        "8-bit": _sizes("adam8bit"),
        "adafactor": _sizes("adafactor"),
        "refusal": [
            call([(2, 3)], "rmsprop9"),
            call([(2, 3)], "Adam"),
            call([], "lion"),
            call([(3,)], ""),
            call([(2, 3)], "adamw"),
            call([(2, 3)], "rmsprop"),
            call([(4,)], "ADAM8BIT"),
        ],
    }

    weights_too = trap("You count the weights (4 bytes each) too. Asked is the state alone; the weights are budgeted separately.")(
        _bytes({k: lambda s, f=f: f(s) + 4 * _count(s) for k, f in _TABLE.items()})
    )
    elements_instead_of_bytes = trap("These are numbers, not bytes: an fp32 number has 4 bytes.")(
        _bytes(
            {
                "sgd": _TABLE["sgd"],
                "momentum": _count,
                "adam": lambda s: 2 * _count(s),
                "adam8bit": _TABLE["adam8bit"],
                "adafactor": lambda s: _factored(s) // 4,
            }
        )
    )
    adafactor_as_half_adam = trap(
        "Adafactor does not keep v in full for a matrix: one row vector and one column vector replace it, rows + columns numbers instead of rows × columns."
    )(_bytes(_TABLE | {"adafactor": lambda s: 4 * _count(s)}))
    adafactor_with_first_moment = trap("Adafactor keeps no first moment here: only the second one, factored for matrices.")(
        _bytes(_TABLE | {"adafactor": lambda s: _factored(s) + 4 * _count(s)})
    )
    vectors_factored = trap("A vector cannot be factored: its second moment is stored in full, one fp32 number per entry.")(
        _bytes(_TABLE | {"adafactor": lambda s: 4 * (s[0] + 1) if len(s) == 1 else _factored(s)})
    )
    all_axes_added = trap(
        "With three or more axes it is one row and one column vector PER MATRIX over the last two axes: multiply by the number of those matrices."
    )(_bytes(_TABLE | {"adafactor": lambda s: 4 * sum(s)}))
    only_one_matrix = trap(
        "You count the last two axes once. A parameter of shape (k, a, b) holds k matrices, each with a row and a column vector."
    )(_bytes(_TABLE | {"adafactor": lambda s: 4 * (s[-1] + s[-2]) if len(s) > 1 else 4 * _count(s)}))
    first_two_axes = trap("You factor over the first two axes. Adafactor takes the last two, and one pair of vectors per leading index.")(
        _bytes(_TABLE | {"adafactor": lambda s: 4 * _count(s[2:]) * (s[0] + s[1]) if len(s) > 1 else 4 * _count(s)})
    )
    flattened_to_a_matrix = trap(
        "You flatten all axes but the first into one. Adafactor factors over the last two axes and keeps one pair of vectors per leading index."
    )(_bytes(_TABLE | {"adafactor": lambda s: 4 * (s[0] + _count(s[1:])) if len(s) > 1 else 4 * _count(s)}))
    four_bytes_for_8_bit = trap("8-bit Adam holds two moments of one byte each: 2 bytes per parameter.")(
        _bytes(_TABLE | {"adam8bit": lambda s: 4 * _count(s)})
    )
    more_kinds_known = trap("You accept kinds that the task does not list (adamw, rmsprop); each of them must raise ValueError.")(
        _bytes(_TABLE | {"adamw": _TABLE["adam"], "rmsprop": _TABLE["momentum"]})
    )
    one_byte_for_8_bit = trap("8 bits per moment, and Adam has two moments: 2 bytes per parameter, not 1.")(
        _bytes(_TABLE | {"adam8bit": _count})
    )
    none_for_momentum = trap("SGD with momentum keeps one fp32 buffer per parameter: 4 bytes.")(_bytes(_TABLE | {"momentum": lambda s: 0}))
    buffer_for_plain_sgd = trap("Without momentum SGD remembers nothing: 0 bytes.")(_bytes(_TABLE | {"sgd": lambda s: 4 * _count(s)}))
    three_for_adam = trap("Adam holds two numbers per parameter, m and v. The third in the usual count is the weight itself.")(
        _bytes(_TABLE | {"adam": lambda s: 12 * _count(s)})
    )
    one_for_adam = trap("Adam holds two numbers per parameter, m and v: 8 bytes. One buffer is SGD with momentum.")(
        _bytes(_TABLE | {"adam": lambda s: 4 * _count(s)})
    )

    flattened_to_rows = trap(
        "You flatten all axes but the last into one. Adafactor factors over the last two axes and keeps one pair of vectors per leading index."
    )(_bytes(_TABLE | {"adafactor": lambda s: 4 * (_count(s[:-1]) + s[-1]) if len(s) > 1 else 4 * _count(s)}))
    only_two_axes_factored = trap(
        "You factor parameters with exactly two axes and keep the others in full. With more axes every matrix over the last two is factored."
    )(_bytes(_TABLE | {"adafactor": lambda s: _factored(s) if len(s) == 2 else 4 * _count(s)}))
    vectors_forgotten = trap("Vectors cost nothing in your Adafactor. They cannot be factored, so their second moment is stored in full.")(
        _bytes(_TABLE | {"adafactor": lambda s: _factored(s) if len(s) > 1 else 0})
    )

    @trap(
        "An unknown kind must raise ValueError for every list of shapes, an empty one too. Yours raises KeyError or nothing: check kind first."
    )
    def key_error(shapes, kind):
        return sum(_TABLE[kind](s) for s in shapes)

    @trap("You refuse an unknown kind only when you meet a parameter: with an empty list it passes. Check kind before the loop.")
    def refused_in_the_loop(shapes, kind):
        return _bytes(_TABLE)(shapes, kind) if shapes else 0

    @trap("An unknown kind passes silently. Raise ValueError, so that a typo does not end as a wrong budget.")
    def unknown_kind_is_zero(shapes, kind):
        return _bytes(_TABLE)(shapes, kind) if kind in _TABLE else 0

    @right("counts first")
    def counts_first(shapes, kind):
        if kind not in ("sgd", "momentum", "adam", "adam8bit", "adafactor"):
            raise ValueError(f"unknown kind {kind!r}")
        if kind == "adafactor":
            total = 0
            for shape in shapes:
                n = int(np.prod(shape))
                total += n if len(shape) < 2 else n // shape[-1] + n // shape[-2]
            return 4 * total
        n = sum(int(np.prod(shape)) for shape in shapes)
        return n * {"sgd": 0, "momentum": 4, "adam": 8, "adam8bit": 2}[kind]

    @right("real arrays")
    def real_arrays(shapes, kind):
        def held(shape):
            p = np.broadcast_to(np.float32(0), shape)
            if kind == "sgd":
                return 0
            if kind == "momentum":
                return p.nbytes
            if kind == "adam":
                return 2 * p.nbytes
            if kind == "adam8bit":
                return 2 * p.size
            if p.ndim < 2:
                return p.nbytes
            return p[..., 0].nbytes + p[..., 0, :].nbytes

        if kind not in {"sgd", "momentum", "adam", "adam8bit", "adafactor"}:
            raise ValueError
        return sum(map(held, shapes))


def _training(states, mixed_rule):
    def training_bytes(n_params, optimizer, mixed=False):
        return n_params * mixed_rule(states[optimizer], mixed)

    return training_bytes


_STATES = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2, "sophia": 2}


def _per_parameter(s, mixed):
    return 2 + 2 + 4 + 4 * s if mixed else 4 + 4 + 4 * s


_ALL = list(_STATES)


@exercise("thirty.training-bytes", names="training_bytes", covers=["thirty.tq08", "thirty.t-optimizers", "optimizers.memory"])
class TrainingBytes:
    reference = _training(_STATES, _per_parameter)

    cases = {
        "fp32": [call(n, k) for n in (1, 1000, 7_000_000_000) for k in _ALL]
        + [call(st.integers(1, 10**6), st.sampled_from(_ALL), mixed=False)],
        "mixed": [call(n, k, True) for n in (1, 1000, 7_000_000_000) for k in _ALL]
        + [call(st.integers(1, 10**6), st.sampled_from(_ALL), mixed=True)],
    }

    three_for_adam = trap(
        "Adam and AdamW keep two states per parameter, m and v. The third number in the usual count is the weight itself."
    )(_training(_STATES | {"adam": 3, "adamw": 3}, _per_parameter))
    one_for_adam = trap("Adam and AdamW keep two states per parameter, m and v: 8 bytes, not 4.")(
        _training(_STATES | {"adam": 1, "adamw": 1}, _per_parameter)
    )
    one_for_sgd = trap("Plain SGD remembers nothing: no state beside weight and gradient.")(_training(_STATES | {"sgd": 1}, _per_parameter))
    two_for_momentum = trap("SGD with momentum keeps one state, the buffer; the gradient is counted already.")(
        _training(_STATES | {"momentum": 2}, _per_parameter)
    )
    three_for_sophia = trap("Sophia keeps two states, m and h. h takes the place of Adam's v, it does not come on top.")(
        _training(_STATES | {"sophia": 3}, _per_parameter)
    )
    one_for_sophia = trap("Sophia keeps momentum and an estimate of the Hessian's diagonal: two states, like Adam.")(
        _training(_STATES | {"sophia": 1}, _per_parameter)
    )
    none_for_momentum = trap("SGD with momentum keeps a velocity per parameter: one state.")(
        _training(_STATES | {"momentum": 0}, _per_parameter)
    )
    no_master_copy = trap("Mixed precision keeps an fp32 master copy of the weights beside the 16-bit ones: 4 bytes more per parameter.")(
        _training(_STATES, lambda s, mixed: 2 + 2 + 4 * s if mixed else 8 + 4 * s)
    )
    moments_in_16_bits = trap("In mixed precision the optimizer's states stay in fp32: 4 bytes each, not 2.")(
        _training(_STATES, lambda s, mixed: 8 + 2 * s if mixed else 8 + 4 * s)
    )
    mixed_halves_everything = trap(
        "Mixed precision does not halve everything: only the working weights and the gradients have 16 bits. The master copy and the states are fp32."
    )(_training(_STATES, lambda s, mixed: 4 + 2 * s if mixed else 8 + 4 * s))
    gradients_in_32_bits = trap("The gradients have 16 bits in mixed precision: 2 bytes, not 4.")(
        _training(_STATES, lambda s, mixed: 2 + 4 + 4 + 4 * s if mixed else 8 + 4 * s)
    )
    no_gradients = trap("The gradients are missing: they are as many as the weights, 4 bytes each in fp32 and 2 in mixed precision.")(
        _training(_STATES, lambda s, mixed: 2 + 4 + 4 * s if mixed else 4 + 4 * s)
    )
    mixed_weight_and_gradient_in_fp32 = trap(
        "In mixed precision you count 12 bytes beside the states. Weight and gradient are 2 bytes each then, and the master copy 4."
    )(_training(_STATES | {}, lambda s, mixed: 4 + 4 + 4 + 4 * s if mixed else 8 + 4 * s))
    per_parameter_only = trap("These are the bytes of one parameter: multiply by n_params.")(
        lambda n_params, optimizer, mixed=False: _per_parameter(_STATES[optimizer], mixed)
    )
    states_only = trap("This is the optimizer's state alone. Training holds weights and gradients too.")(
        _training(_STATES, lambda s, mixed: 4 * s + 4 if mixed else 4 * s)
    )

    @right("part by part")
    def part_by_part(n_params, optimizer, mixed=False):
        weights = gradients = n_params * (2 if mixed else 4)
        master = 4 * n_params if mixed else 0
        if optimizer in ("adam", "adamw", "sophia"):
            states = 2
        elif optimizer == "momentum":
            states = 1
        else:
            states = 0
        return weights + gradients + master + states * 4 * n_params

    @right("both precisions give the same sum")
    def same_sum(n_params, optimizer, mixed=False):
        return {"sgd": 8, "momentum": 12}.get(optimizer, 16) * n_params


# ----------------------------------------------------------------------------------------------------------------------- LARS


def _lars_with(ratio_and_step):
    """LARS from a rule (w, g, eta, wd, all w, all g) → (ratio, direction)."""

    def lars_step(params, grads, lr, eta=1e-3, wd=0.0):
        out = []
        for w, g in zip(params, grads):
            q, d = ratio_and_step(w, g, eta, wd, params, grads)
            out.append(w - lr * q * d)
        return out

    return lars_step


def _norm(x):
    return math.sqrt(float((np.asarray(x) ** 2).sum()))


def _lars(w, g, eta, wd, *_):
    a, b = _norm(w), _norm(g)
    return (eta * a / (b + wd * a) if a > 0 and b > 0 else 1.0), g + wd * w


@st.composite
def _layers(draw, shapes, scales, **settings):
    params = [draw(arrays(s, 0.1, 3)) * draw(st.sampled_from([1.0, -1.0])) * c for s, c in zip(shapes, scales)]
    grads = [draw(arrays(s, -2, -0.05)) for s in shapes]
    kwargs = {k: draw(v) for k, v in settings.items()}
    return call(params, grads, draw(st.sampled_from([3.0, 0.8])), **kwargs)


_ETA = st.sampled_from([0.1, 0.02])
_WD = st.sampled_from([0.1, 0.03])
_W, _G = (
    [normal((3, 4), 1, 1), normal((3, 3), 10, 2), normal((5,), 0.01, 3)],
    [normal((3, 4), 0.1, 4), normal((3, 3), 5, 5), normal((5,), 1, 6)],
)


@exercise("optimizers.lars-step", names="lars_step", covers=["optimizers.lamb-lars"], rtol=1e-9, atol=1e-12)
class LarsStep:
    reference = _lars_with(_lars)

    cases = {
        "one layer": [
            _layers([(4,)], [1.0], eta=_ETA),
            _layers([(2, 3)], [2.0], eta=_ETA),
            _layers([(3, 3)], [1.0], eta=_ETA),
            call(_W[:1], _G[:1], 20.0),
        ],
        "layers": [
            _layers([(3,), (2, 2), (2, 2, 3)], [1.0, 100.0, 0.001], eta=_ETA),
            call(_W, _G, 5.0, eta=0.1),
            call(_W, _G, 30.0),
            call([normal((3,), 1.0, 7), normal((3,), 5.0, 8)], [normal((3,), 0.1, 9), normal((3,), 4.0, 10)], 5.0, eta=0.1),
            call(
                [normal((2, 3, 2, 2), 1.0, 11)], [normal((2, 3, 2, 2), 0.3, 12) * np.array([0.1, 3.0])[:, None, None, None]], 5.0, eta=0.1
            ),
            call(
                [normal((3,), 1.0, 13), normal((2, 2), 1.0, 14) * 1e-14, normal((3,), 1.0, 17)],
                [normal((3,), 1.0, 15) * 1e-14, normal((2, 2), 1.0, 16), normal((3,), 1.0, 18) * 1e-3],
                5.0,
                eta=0.1,
            ),
        ],
        "decay": [_layers([(3,), (3, 2)], [1.0, 20.0], eta=_ETA, wd=_WD), call(_W, _G, 5.0, eta=0.1, wd=0.1), call(_W, _G, 2.0, wd=0.5)],
        "zero norms": [
            call([np.zeros(3), np.array([1.0, 2.0])], [np.array([0.5, -1.0, 0.2]), np.array([0.3, 0.1])], 0.5, eta=0.1),
            call([np.array([1.0, 2.0]), np.array([[3.0], [0.0]])], [np.zeros(2), np.array([[0.2], [0.1]])], 0.5, eta=0.1, wd=0.1),
            call([np.array([1.0, -2.0])], [np.zeros(2)], 0.5, eta=0.1),
            call([np.zeros((2, 2))], [np.zeros((2, 2))], 0.5, eta=0.1, wd=0.1),
            call([np.zeros((2, 2)), np.ones(1)], [np.array([[0.0, 1.0], [2.0, 0.0]]), np.zeros(1)], 0.5, wd=0.2),
        ],
    }

    one_ratio_for_all = trap(
        "You use one ratio for the whole network, so the relative change differs between layers. The point of LARS is a ratio per layer."
    )(
        _lars_with(
            lambda w, g, eta, wd, ws, gs: (
                _lars(np.concatenate([x.ravel() for x in ws]), np.concatenate([x.ravel() for x in gs]), eta, wd)[:1] + (g + wd * w,)
            )
        )
    )

    @trap(
        "No guard for norms of 0: a layer that starts at zero gets the ratio 0 and never leaves, a zero gradient divides 0 by 0. Use q = 1 where either norm is 0."
    )
    def no_guard(params, grads, lr, eta=1e-3, wd=0.0):
        out = []
        for w, g in zip(params, grads):
            a, b = np.linalg.norm(w), np.linalg.norm(g)
            out.append(w - lr * (eta * a / (b + wd * a)) * (g + wd * w))
        return out

    @trap(
        "Where a norm is 0 you leave the layer as it is (or use q = 0). The task asks for q = 1 there: a layer that starts at zero must be able to leave."
    )
    def zero_ratio_for_zero_norms(params, grads, lr, eta=1e-3, wd=0.0):
        out = []
        for w, g in zip(params, grads):
            a, b = _norm(w), _norm(g)
            q = eta * a / (b + wd * a) if a > 0 and b > 0 else 0.0
            out.append(w - lr * q * (g + wd * w))
        return out

    eps_for_the_guard, eps_for_the_guard_8, eps_for_the_guard_6 = (
        trap(
            "A small eps in the denominator is no substitute for the guard: a zero layer still gets the ratio 0, a zero gradient a huge one. Use q = 1 where either norm is 0, and no eps."
        )(_lars_with(lambda w, g, eta, wd, *_, e=e: (eta * _norm(w) / (_norm(g) + wd * _norm(w) + e), g + wd * w)))
        for e in (1e-9, 1e-8, 1e-6)
    )
    eps_beside_the_guard, eps_beside_the_guard_6 = (
        trap(
            "There is an eps in your denominator, and it changes every ratio a little. The formula has none: the rule for norms of 0 is the guard."
        )(
            _lars_with(
                lambda w, g, eta, wd, *_, e=e: (
                    eta * _norm(w) / (_norm(g) + wd * _norm(w) + e) if _norm(w) and _norm(g) else 1.0,
                    g + wd * w,
                )
            )
        )
        for e in (1e-8, 1e-6)
    )

    @trap("Your norms are taken row by row. A layer has one ratio: the norms go over all entries of its array.")
    def one_ratio_per_row(params, grads, lr, eta=1e-3, wd=0.0):
        out = []
        for w, g in zip(params, grads):
            a, b = (np.sqrt((x**2).sum(-1, keepdims=True)) for x in (w, g))
            below = b + wd * a
            q = np.where((a > 0) & (b > 0), eta * a / np.where(below > 0, below, 1.0), 1.0)
            out.append(w - lr * q * (g + wd * w))
        return out

    @trap(
        "np.linalg.norm(w, 2) of a matrix is its largest singular value. LARS takes the root of the sum of all squares: np.linalg.norm(w)."
    )
    def spectral_norm(params, grads, lr, eta=1e-3, wd=0.0):
        out = []
        for w, g in zip(params, grads):
            a, b = (float(np.linalg.norm(x, 2)) if np.ndim(x) <= 2 else _norm(x) for x in (w, g))
            out.append(w - lr * (eta * a / (b + wd * a) if a > 0 and b > 0 else 1.0) * (g + wd * w))
        return out

    guard_for_weights_only = trap("The guard looks at the weights only: with a gradient of 0 the ratio must be 1 too.")(
        _lars_with(lambda w, g, eta, wd, *_: ((eta * _norm(w) / (_norm(g) + wd * _norm(w) or 1.0)) if _norm(w) else 1.0, g + wd * w))
    )
    guard_with_a_threshold, guard_with_a_threshold_12 = (
        trap("You take small norms for 0. Only a norm of exactly 0 has q = 1; a small gradient is what LARS is for.")(
            _lars_with(lambda w, g, eta, wd, *_, e=e: (_lars(w, g, eta, wd)[0] if _norm(w) > e and _norm(g) > e else 1.0, g + wd * w))
        )
        for e in (1e-8, 1e-12)
    )
    guard_returns_eta = trap("Where a norm is 0 the whole ratio is 1, eta included: q = 1, not q = eta.")(
        _lars_with(lambda w, g, eta, wd, *_: (_lars(w, g, eta, wd)[0] if _norm(w) and _norm(g) else eta, g + wd * w))
    )
    ratio_inverted = trap(
        "The ratio is upside down: layers with small gradients stall. It is the norm of the weights over the norm of the gradient."
    )(_lars_with(lambda w, g, eta, wd, *_: (eta * (_norm(g) + wd * _norm(w)) / _norm(w) if _norm(w) and _norm(g) else 1.0, g + wd * w)))
    decay_outside = trap("The decay wd·w stands outside the ratio. LARS scales the sum: q·(g + wd·w).")(
        lambda params, grads, lr, eta=1e-3, wd=0.0: [w - lr * (_lars(w, g, eta, wd)[0] * g + wd * w) for w, g in zip(params, grads)]
    )
    decay_missing_below = trap("wd·‖w‖ is missing in the denominator: q = eta·‖w‖/(‖g‖ + wd·‖w‖).")(
        _lars_with(lambda w, g, eta, wd, *_: (_lars(w, g, eta, 0.0)[0], g + wd * w))
    )
    decay_missing_above = trap("The direction lacks the decay: step along g + wd·w, not along g.")(
        _lars_with(lambda w, g, eta, wd, *_: (_lars(w, g, eta, wd)[0], g))
    )
    norm_of_the_sum = trap("You divide by the norm of the sum, ‖g + wd·w‖. The task asks for the sum of the norms, ‖g‖ + wd·‖w‖.")(
        _lars_with(lambda w, g, eta, wd, *_: (eta * _norm(w) / _norm(g + wd * w) if _norm(w) and _norm(g) else 1.0, g + wd * w))
    )
    eta_missing = trap("eta is missing: the ratio is eta·‖w‖/(‖g‖ + wd·‖w‖).")(
        _lars_with(lambda w, g, eta, wd, *_: (_lars(w, g, 1.0, wd)[0], g + wd * w))
    )
    norm_squared = trap("These are sums of squares. A norm is the root of the sum of squares.")(
        _lars_with(
            lambda w, g, eta, wd, *_: (
                eta * _norm(w) ** 2 / (_norm(g) ** 2 + wd * _norm(w) ** 2) if _norm(w) and _norm(g) else 1.0,
                g + wd * w,
            )
        )
    )

    ratio_of_swapped_norms = trap(
        "The ratio is upside down: layers with small gradients stall. It is the norm of the weights over the norm of the gradient."
    )(_lars_with(lambda w, g, eta, wd, *_: (eta * _norm(g) / (_norm(w) + wd * _norm(g)) if _norm(w) and _norm(g) else 1.0, g + wd * w)))
    spectral_norm = trap(
        "np.linalg.norm(w, 2) of a matrix is its largest singular value. Asked is the Euclidean norm over all entries: no second argument, or w.ravel()."
    )(
        _lars_with(
            lambda w, g, eta, wd, *_: (
                eta
                * np.linalg.norm(w, 2 if w.ndim == 2 else None)
                / (np.linalg.norm(g, 2 if w.ndim == 2 else None) + wd * np.linalg.norm(w, 2 if w.ndim == 2 else None))
                if _norm(w) and _norm(g)
                else 1.0,
                g + wd * w,
            )
        )
    )
    sum_of_absolute_values = trap("These are sums of absolute values. The Euclidean norm is the root of the sum of squares.")(
        _lars_with(
            lambda w, g, eta, wd, *_: (
                eta * np.abs(w).sum() / (np.abs(g).sum() + wd * np.abs(w).sum()) if _norm(w) and _norm(g) else 1.0,
                g + wd * w,
            )
        )
    )

    @trap("You take the ratio element by element, which makes every step sign-like. The norms are those of the whole array.")
    def elementwise(params, grads, lr, eta=1e-3, wd=0.0):
        out = []
        for w, g in zip(params, grads):
            a, b = np.abs(w), np.abs(g)
            below = b + wd * a
            q = np.where((a > 0) & (b > 0), eta * a / np.where(below > 0, below, 1.0), 1.0)
            out.append(w - lr * q * (g + wd * w))
        return out

    @right("NumPy's norm on the flat array")
    def with_linalg(params, grads, lr, eta=1e-3, wd=0.0):
        result = []
        for w, g in zip(params, grads):
            w_norm, g_norm = np.linalg.norm(w.ravel()), np.linalg.norm(g.ravel())
            q = 1.0
            if w_norm != 0 and g_norm != 0:
                q = eta * w_norm / (g_norm + wd * w_norm)
            result.append(w * (1 - lr * q * wd) - lr * q * g)
        return result

    @right("torch")
    def with_torch(params, grads, lr, eta=1e-3, wd=0.0):
        result = []
        for w, g in zip((torch.tensor(p) for p in params), (torch.tensor(p) for p in grads)):
            a, b = w.norm(), g.norm()
            q = torch.where((a > 0) & (b > 0), eta * a / (b + wd * a).clamp(min=1e-300), torch.ones_like(a))
            result.append(w - lr * q * (g + wd * w))
        return result


# ------------------------------------------------------------------------------------------------------------ debug: scheduler


def _rates_of(submission, n_epochs, steps_per_epoch, peak, warmup):
    """The rate of each update, as the change of the weight per gradient; a hook doubles the gradient, so that sign-like steps differ."""
    w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    seen = []

    def note(g):
        seen.append(w.detach().item())
        return 2 * g

    w.register_hook(note)
    submission.train(w, n_epochs, steps_per_epoch, peak, warmup)
    seen.append(w.detach().item())
    return np.array([(a - b) / 2 for a, b in zip(seen, seen[1:])])


def _given_lr_at(step, total, warmup, peak):
    """The `lr_at` of the broken cell, which also goes on where the warmup is longer than the schedule."""
    ramp = step / warmup if warmup else 1.0
    x = min(max((step - warmup) / max(total - warmup, 1), 0.0), 1.0)
    return peak * ramp if ramp < 1 else peak * math.cos(math.pi * x / 2) ** 2


def _loop(rate_of, updates=None):
    """A training loop that uses rate_of(update number, epoch, n_epochs, steps_per_epoch, peak, warmup)."""

    def train(w, n_epochs, steps_per_epoch, peak, warmup):
        s = 0
        for epoch in range(n_epochs):
            for _ in range(steps_per_epoch):
                s += 1
                w.grad = None
                w.sum().backward()
                with torch.no_grad():
                    w -= rate_of(s, epoch, n_epochs, steps_per_epoch, peak, warmup) * w.grad

    return train


@exercise("optimizers.debug-scheduler", names="train", covers=["optimizers.q.early-plateau", "thirty.tq09"], rtol=1e-8, atol=1e-10)
class DebugScheduler:
    probe = _rates_of

    reference = _loop(lambda s, e, n, k, peak, warmup: _warmup_cosine(s, n * k, warmup, peak))

    cases = {
        "no warmup": group(
            [
                call(3, 7, 0.5, 0),
                call(2, 5, 1.0, 0),
                call(1, 6, 0.3, 0),
                call(st.integers(2, 4), st.integers(2, 5), st.sampled_from([0.5, 0.1]), 0),
            ],
            n=8,
        ),
        "warmup": group(
            [
                call(4, 10, 0.5, 5),
                call(3, 6, 1.0, 2),
                call(2, 9, 0.2, 1),
                call(st.integers(2, 4), st.integers(4, 6), st.sampled_from([0.5, 0.1]), st.integers(1, 6)),
            ],
            n=8,
        ),
        "warmup over epochs": [call(10, 3, 0.5, 6), call(4, 5, 0.25, 12), call(5, 2, 1.0, 3)],
    }

    epochs_as_total = trap(
        "The schedule is as long as the number of epochs, but it is stepped per batch: the rate is 0 after n_epochs updates. Its length is n_epochs·steps_per_epoch."
    )(_loop(lambda s, e, n, k, peak, warmup: _given_lr_at(s, n, warmup, peak)))
    stepped_per_epoch = trap(
        "The scheduler is stepped per epoch, the length counted in updates: a staircase that hardly moves. Step it after every update."
    )(_loop(lambda s, e, n, k, peak, warmup: _warmup_cosine(e + 1, n * k, warmup, peak)))
    stepped_per_epoch_over_epochs = trap(
        "The scheduler is stepped per epoch over a length in epochs: a staircase. The rate should change at every update, over n_epochs·steps_per_epoch of them."
    )(_loop(lambda s, e, n, k, peak, warmup: _given_lr_at(e + 1, n, warmup, peak)))
    scheduler_first = trap(
        "The first rate is skipped: each update uses the next one's. Either sched.step() runs before opt.step(), or the lambda counts one too far."
    )(_loop(lambda s, e, n, k, peak, warmup: _warmup_cosine(s + 1, n * k, warmup, peak)))
    one_update_behind = trap(
        "The rates are one update behind: the lambda's count starts at 0, and update number s must use lr_at(s, …). Keep the s + 1."
    )(_loop(lambda s, e, n, k, peak, warmup: _warmup_cosine(s - 1, n * k, warmup, peak)))
    rebuilt_every_epoch = trap(
        "The schedule starts anew in every epoch: warmup and decay repeat. Build optimizer and scheduler once, before the loops."
    )(_loop(lambda s, e, n, k, peak, warmup: _warmup_cosine(s - e * k, n * k, warmup, peak)))
    cycle_per_epoch = trap("The cosine runs through once per epoch. It spans the whole training: n_epochs·steps_per_epoch updates.")(
        _loop(lambda s, e, n, k, peak, warmup: _given_lr_at(s - e * k, k, warmup, peak))
    )
    warmup_in_epochs = trap("You count the warmup in epochs, so the ramp lasts steps_per_epoch times too long. It is given in updates.")(
        _loop(lambda s, e, n, k, peak, warmup: _given_lr_at(s, n * k, warmup * k, peak))
    )
    peak_squared = trap(
        "peak acts twice: LambdaLR multiplies the optimizer's lr by what the lambda returns. Give one of the two the value 1."
    )(_loop(lambda s, e, n, k, peak, warmup: peak * _warmup_cosine(s, n * k, warmup, peak)))
    peak_lost = trap("peak is lost: the optimizer's lr and the factor are both 1. One of the two must carry the peak.")(
        _loop(lambda s, e, n, k, peak, warmup: _warmup_cosine(s, n * k, warmup, 1.0))
    )
    warmup_lost = trap("The warmup is lost: pass it on to lr_at.")(
        _loop(lambda s, e, n, k, peak, warmup: _warmup_cosine(s, n * k, 0, peak))
    )
    no_schedule = trap("The rate never changes. Step the scheduler after every update.")(
        _loop(lambda s, e, n, k, peak, warmup: _warmup_cosine(1, n * k, warmup, peak))
    )

    steps_of_one_epoch = trap(
        "The schedule is as long as one epoch, so the rate is 0 in all later ones. Its length is n_epochs·steps_per_epoch."
    )(_loop(lambda s, e, n, k, peak, warmup: _given_lr_at(s, k, warmup, peak)))
    plain_cosine = trap(
        "This is a plain cosine from the peak down: no warmup, and its first update has the rate of step 0. Keep lr_at, with s + 1."
    )(_loop(lambda s, e, n, k, peak, warmup: _warmup_cosine(s - 1, n * k, 0, peak)))
    gradients_add_up = trap("The gradients add up: without zero_grad() update number s moves along the sum of s gradients.")(
        _loop(lambda s, e, n, k, peak, warmup: s * _warmup_cosine(s, n * k, warmup, peak))
    )

    @right("LambdaLR with the right length")
    def lambda_lr(w, n_epochs, steps_per_epoch, peak, warmup):
        total = n_epochs * steps_per_epoch
        opt = torch.optim.SGD([w], lr=peak)
        sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: _warmup_cosine(s + 1, total, warmup, 1.0))
        for _ in range(total):
            opt.zero_grad()
            w.sum().backward()
            opt.step()
            sched.step()

    @right("the rate set by hand")
    def by_hand(w, n_epochs, steps_per_epoch, peak, warmup):
        opt = torch.optim.SGD([w], lr=1.0)
        total, s = n_epochs * steps_per_epoch, 0
        for _epoch in range(n_epochs):
            for _batch in range(steps_per_epoch):
                s += 1
                for group_ in opt.param_groups:
                    group_["lr"] = _warmup_cosine(s, total, warmup, peak)
                opt.zero_grad()
                w.sum().backward()
                opt.step()


# --------------------------------------------------------------------------------------------------- debug: one scheduler too many


def _cycle_rates(submission, n_epochs, steps_per_epoch, max_lr):
    w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    seen = []

    def note(g):
        seen.append(w.detach().item())
        return 2 * g

    w.register_hook(note)
    submission.train_one_cycle(w, n_epochs, steps_per_epoch, max_lr)
    seen.append(w.detach().item())
    return np.array([(a - b) / 2 for a, b in zip(seen, seen[1:])])


def _cycle_loop(rates, momentum=None):
    """A loop over a list of rates(n_epochs, steps_per_epoch, max_lr), with torch's cycled momentum if asked for."""

    def train_one_cycle(w, n_epochs, steps_per_epoch, max_lr):
        values = rates(n_epochs, steps_per_epoch, max_lr)
        buffer = 0.0
        for i, rate in enumerate(values):
            w.sum().backward()
            with torch.no_grad():
                buffer = w.grad + (momentum(i, len(values)) * buffer if momentum else 0.0)
                w -= rate * buffer
            w.grad = None

    return train_one_cycle


def _cosine(x):
    return 0.5 * (1 + math.cos(math.pi * x))


@exercise("thirty.scheduler-step", names="train_one_cycle", covers=["thirty.tq09", "optimizers.one-cycle"], rtol=1e-8, atol=1e-11)
class SchedulerStep:
    probe = _cycle_rates

    reference = _cycle_loop(lambda n, k, top: [_cycle(i, n * k, top) for i in range(n * k)])

    cases = {
        "rates": group(
            [call(3, 10, 1.0), call(2, 15, 0.5), call(5, 8, 0.1), call(st.integers(2, 4), st.integers(6, 9), st.sampled_from([0.5, 0.1]))],
            n=6,
        ),
        "many short epochs": [call(12, 3, 0.4), call(20, 2, 1.0)],
    }

    @trap(
        "Two schedulers still write to one optimizer: the per-epoch cosine overwrites the rate of the first update of each epoch. Keep the one-cycle schedule only."
    )
    def both_schedulers(w, n_epochs, steps_per_epoch, max_lr):
        opt = torch.optim.SGD([w], lr=max_lr)
        one_cycle = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr, total_steps=n_epochs * steps_per_epoch + 1, cycle_momentum=False)
        one_cycle = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr, total_steps=n_epochs * steps_per_epoch, cycle_momentum=False)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=n_epochs)
        for i in range(n_epochs * steps_per_epoch):
            opt.zero_grad()
            w.sum().backward()
            opt.step()
            if i + 1 < n_epochs * steps_per_epoch:
                one_cycle.step()
            if (i + 1) % steps_per_epoch == 0:
                cosine.step()

    cosine_only = trap("You kept the cosine and threw the one-cycle schedule away; the task asks for the one-cycle.")(
        _cycle_loop(lambda n, k, top: [top * _cosine(i // k / n) for i in range(n * k)])
    )
    cosine_per_batch = trap("These are the rates of a cosine, not of a one-cycle: there is no rise. Keep OneCycleLR, drop the cosine.")(
        _cycle_loop(lambda n, k, top: [top * _cosine(i / (n * k)) for i in range(n * k)])
    )
    stepped_per_epoch = trap(
        "The one-cycle is stepped once per epoch, so only its first rates are ever used. It counts batches: step it after every update."
    )(_cycle_loop(lambda n, k, top: [_cycle(i // k, n * k, top) for i in range(n * k)]))

    @trap("A one-cycle of n_epochs steps, stepped per epoch, is a staircase. Its length is n_epochs·steps_per_epoch, one step a batch.")
    def staircase(w, n_epochs, steps_per_epoch, max_lr):
        opt = torch.optim.SGD([w], lr=max_lr)
        sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr, total_steps=n_epochs, cycle_momentum=False)
        for epoch in range(n_epochs):
            for _ in range(steps_per_epoch):
                opt.zero_grad()
                w.sum().backward()
                opt.step()
            if epoch + 1 < n_epochs:
                sched.step()

    one_rate_early = trap(
        "The scheduler is stepped before the optimizer, so the first rate is skipped. First opt.step(), then the scheduler."
    )(_cycle_loop(lambda n, k, top: [_cycle(min(i + 1, n * k - 1), n * k, top) for i in range(n * k)]))
    cycle_every_epoch = trap(
        "The cycle starts anew in every epoch. One cycle spans the whole training; build the scheduler once, before the loops."
    )(_cycle_loop(lambda n, k, top: [_cycle(i % k, k, top) if 0.3 * k > 1 else top for i in range(n * k)]))
    momentum_cycles_too = trap(
        "OneCycleLR also cycles the momentum (0.95 → 0.85 → 0.95), even of an SGD that had none, so the updates are many times too long. Pass cycle_momentum=False."
    )(
        _cycle_loop(
            lambda n, k, top: [_cycle(i, n * k, top) for i in range(n * k)],
            momentum=lambda i, n: (lambda t: _between(0.95, 0.85, i / t) if i <= t else _between(0.85, 0.95, (i - t) / (n - 1 - t)))(
                0.3 * n - 1
            ),
        )
    )
    constant_rate = trap("Without any scheduler the rate is constant. Keep the one-cycle.")(_cycle_loop(lambda n, k, top: [top] * (n * k)))

    @trap(
        "Two schedulers still write to one optimizer, now both in every step, and each goes on from the rate that the other left. Keep the one-cycle schedule only."
    )
    def both_per_batch(w, n_epochs, steps_per_epoch, max_lr):
        opt = torch.optim.SGD([w], lr=max_lr)
        one_cycle = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr, total_steps=n_epochs * steps_per_epoch, cycle_momentum=False)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=n_epochs * steps_per_epoch)
        for _ in range(n_epochs * steps_per_epoch):
            opt.zero_grad()
            w.sum().backward()
            opt.step()
            one_cycle.step()
            cosine.step()

    gradients_add_up = trap("The gradients add up: without zero_grad() update number s moves along the sum of s gradients.")(
        _cycle_loop(lambda n, k, top: [(i + 1) * _cycle(i, n * k, top) for i in range(n * k)])
    )

    @right("OneCycleLR alone")
    def one_cycle_alone(w, n_epochs, steps_per_epoch, max_lr):
        opt = torch.optim.SGD([w], lr=max_lr)
        sched = torch.optim.lr_scheduler.OneCycleLR(
            opt, max_lr=max_lr, epochs=n_epochs, steps_per_epoch=steps_per_epoch, cycle_momentum=False
        )
        for _ in range(n_epochs):
            for _ in range(steps_per_epoch):
                opt.zero_grad()
                w.sum().backward()
                opt.step()
                sched.step()

    @right("rates listed first")
    def rates_first(w, n_epochs, steps_per_epoch, max_lr):
        total = n_epochs * steps_per_epoch
        for i in range(total):
            opt = torch.optim.SGD([w], lr=_cycle(i, total, max_lr))
            opt.zero_grad()
            w.sum().backward()
            opt.step()


# ---------------------------------------------------------------------------------------------------------------- debug: AdamW


def _run_adamw(submission, params, grads, lrs, **settings):
    """Parameters after each step; the rate is set from outside before each."""
    params = [p.copy() for p in params]
    optimizer = submission.AdamW(list(params), lr=lrs[0], **settings)
    track = []
    for gs, lr in zip(grads, lrs):
        optimizer.lr = lr
        optimizer.step(gs)
        track.append([p.copy() for p in params])
    return track


def _run_default_adamw(submission, params, grads):
    """Two optimizers take turns: neither knows of the other."""
    ones, others = [p.copy() for p in params], [2 * p for p in params]
    first, second = submission.AdamW(list(ones)), submission.AdamW(list(others))
    for gs in grads:
        first.step(gs)
        second.step([g + 1 for g in gs])
    return ones, others


class _AdamW:
    """The right one, in small parts, so that each mistake can replace one of them."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        self.params, self.lr, self.betas, self.eps, self.wd = params, lr, betas, eps, weight_decay
        self.t, self.first_lr = 0, lr
        self.m = {self.key(i, p): np.zeros_like(p) for i, p in enumerate(params)}
        self.v = {self.key(i, p): np.zeros_like(p) for i, p in enumerate(params)}

    def key(self, i, p):
        return i

    def gradient(self, g, p):
        return g

    def before(self, p):
        p *= 1 - self.lr * self.wd

    def after(self, p):
        pass

    def tick(self, i):
        self.t += i == 0

    def skips(self, g):
        return False

    def write(self, p, change):
        p -= change

    def step(self, grads):
        b1, b2 = self.betas
        for i, (p, g) in enumerate(zip(self.params, grads)):
            self.tick(i)
            if self.skips(g):
                continue
            g, k = self.gradient(g, p), self.key(i, p)
            self.before(p)
            m = self.m[k] = b1 * self.m[k] + (1 - b1) * g
            v = self.v[k] = b2 * self.v[k] + (1 - b2) * g * g
            self.write(p, self.lr * (m / (1 - b1**self.t)) / (np.sqrt(v / (1 - b2**self.t)) + self.eps))
            self.after(p)


def _adamw_call(shapes, n, scales, lrs=None, seed=0, **settings):
    params = [normal(s, 1.0, seed + i) for i, s in enumerate(shapes)]
    grads = [[normal(s, c, 1000 + 50 * t + 7 * i + seed) for i, (s, c) in enumerate(zip(shapes, scales))] for t in range(n)]
    return call(params, grads, lrs or [0.05] * n, **settings)


_THREE, _TWINS = [(3,), (2, 3), (4,)], [(2, 3), (4,), (2, 3)]


def _nothing(self, p):
    pass


@exercise(
    "optimizers.debug-adamw",
    names="AdamW",
    covers=["optimizers.adamw", "optimizers.q.adamw-vs-l2", "optimizers.probe-l2-in-adam", "thirty.tq08"],
    forbid=["torch"],
    rtol=1e-8,
    atol=1e-10,
)
class DebugAdamW:
    probe = _run_adamw

    class reference:
        """torch.optim.AdamW behind the interface of the task."""

        def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
            self.params, self.lr = params, lr
            self.copies = [torch.nn.Parameter(torch.tensor(p)) for p in params]
            self.optimizer = torch.optim.AdamW(self.copies, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=False)

        def step(self, grads):
            self.optimizer.param_groups[0]["lr"] = self.lr
            for c, g in zip(self.copies, grads):
                c.grad = torch.tensor(np.array(g))
            self.optimizer.step()
            for p, c in zip(self.params, self.copies):
                p[...] = c.detach().numpy()

    cases = {
        "one parameter": [
            _adamw_call([(3,)], 3, [1.0], weight_decay=0.0),
            _adamw_call([(2, 3)], 8, [10.0], seed=2, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.0),
            _adamw_call([(3,)], 2, [1e-6], seed=4, weight_decay=0.0),
        ],
        "decay": [
            _adamw_call([(3,)], 3, [0.1], weight_decay=0.3),
            _adamw_call([(2, 2)], 6, [10.0], seed=3, weight_decay=0.5),
            _adamw_call([(4,)], 6, [1.0], seed=9, weight_decay=0.5, betas=(0.7, 0.9)),
            _adamw_call([(3,)], 1, [0.0], weight_decay=0.3),
            call(
                [normal((3,), 1.0, 3)],
                [[np.array([100.0, -200.0, 0.5])], [np.zeros(3)], [np.array([300.0, 1.0, 0.0])]],
                [0.05] * 3,
                weight_decay=0.3,
            ),
        ],
        "several parameters": [
            _adamw_call(_THREE, 3, [0.1, 1.0, 10.0], weight_decay=0.0),
            _adamw_call(_THREE, 10, [0.1, 1.0, 10.0], seed=5, weight_decay=0.1),
            call(
                [normal((3,), 1.0, 1), normal((2,), 1.0, 2)],
                [
                    [np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0])],
                    [np.zeros(3), np.array([0.0, -1.0])],
                    [np.array([0.0, 1.0, 0.0]), np.zeros(2)],
                ],
                [0.05] * 3,
                weight_decay=0.2,
            ),
        ],
        "equal shapes": [
            _adamw_call([(2,), (2,)], 3, [0.1, 10.0], weight_decay=0.0),
            _adamw_call(_TWINS, 30, [0.1, 1.0, 10.0], seed=6, weight_decay=0.1),
        ],
        "new rate": [
            _adamw_call([(3,)], 4, [1.0], [0.05, 0.05, 0.005, 0.005], seed=8, weight_decay=0.3),
            _adamw_call(_TWINS, 30, [0.1, 1.0, 10.0], [0.05] * 15 + [0.005] * 15, seed=7, weight_decay=0.2),
        ],
        "defaults": group(
            call([normal((3,), 3.0), normal((2, 2), 3.0, 1)], [[normal((3,), 1.0, t), normal((2, 2), 1.0, 50 + t)] for t in range(5)]),
            probe=_run_default_adamw,
        ),
    }

    @trap(
        "The decay is still in the gradient: wd·p goes through m, v and the division, so weights with large gradients are decayed least. Decouple it: p *= 1 − lr·wd, outside the moments."
    )
    class decay_in_the_gradient(_AdamW):
        before = _nothing

        def gradient(self, g, p):
            return g + self.wd * p

    @trap("`g += wd·p` writes into the caller's gradients, and it is L2 in the gradient anyway. Leave g alone and shrink p by 1 − lr·wd.")
    class gradients_changed(_AdamW):
        before = _nothing

        def gradient(self, g, p):
            g += self.wd * p
            return g

    @trap(
        "t grows once per parameter, so the later parameters are corrected as if training were older. One step, one t: count before the loop."
    )
    class one_tick_per_parameter(_AdamW):
        def tick(self, i):
            self.t += 1

    @trap(
        "Parameters of equal shape share their moments. State belongs to a parameter, not to a shape: use its position (or id) as the key."
    )
    class moments_by_shape(_AdamW):
        def key(self, i, p):
            return p.shape

    @trap("`p = p − …` only gives a new array the name p; the arrays in params stay as they are. Write in place: p -= … or p[...] = ….")
    class not_in_place(_AdamW):
        def write(self, p, change):
            p = p - change

    @trap(
        "The arrays in params never change: you work on copies or on new arrays of the same name. Write in place: p *= …, p -= …, or p[...] = …."
    )
    class works_on_copies(_AdamW):
        def __init__(self, params, *args, **kwargs):
            super().__init__([p.copy() for p in params], *args, **kwargs)

    @trap("The decay lacks the learning rate. torch shrinks the weights by lr·weight_decay at each step.")
    class decay_without_rate(_AdamW):
        def before(self, p):
            p *= 1 - self.wd

    @trap(
        "The decay uses the learning rate of the start. torch uses the current one, so a schedule decays the decay too: read self.lr in every step."
    )
    class decay_at_the_first_rate(_AdamW):
        def before(self, p):
            p *= 1 - self.first_lr * self.wd

    @trap("You decay after the Adam step, so the step is shrunk too. torch multiplies the old weights by 1 − lr·wd, then steps.")
    class decay_after_the_step(_AdamW):
        before = _nothing

        def after(self, p):
            p *= 1 - self.lr * self.wd

    @trap("You skip a parameter whose gradient is 0. Momentum and decay move it all the same.")
    class zero_gradient_skipped(_AdamW):
        def skips(self, g):
            return not g.any()

    @trap("There is no weight decay left at all. Move it, do not delete it: p *= 1 − lr·wd.")
    class decay_removed(_AdamW):
        before = _nothing

    @trap("The sign of the decay is wrong: the weights grow. Multiply by 1 − lr·wd.")
    class decay_grows(_AdamW):
        def before(self, p):
            p *= 1 + self.lr * self.wd

    @trap("The decay acts twice: once decoupled and once through the gradient. Take wd·p out of the gradient.")
    class decay_twice(_AdamW):
        def gradient(self, g, p):
            return g + self.wd * p

    @trap("t is never counted up per step, so the bias correction stands still. Add 1 at the start of every step.")
    class t_stands_still(_AdamW):
        def tick(self, i):
            self.t = 1

    @trap("The decay acts twice: once decoupled and once through the gradient. Take wd·p out of the gradient.")
    class decay_twice_in_turn(_AdamW):
        def gradient(self, g, p):
            return g + self.wd * p * (1 - self.lr * self.wd)

    @trap("You count t per shape, so parameters of equal shape count it up together. One step is one t for all: count before the loop.")
    class ticks_by_shape(_AdamW):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.ticks = {}

        def tick(self, i):
            shape = self.params[i].shape
            self.t = self.ticks[shape] = self.ticks.get(shape, 0) + 1

    @trap("m and v are one and the same list (or dict): what you store in one, the other has too. Give each its own.")
    class one_store_for_both(_AdamW):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.v = self.m

    @trap(
        "You keep the learning rate of the start. It may be changed from outside: read self.lr in every step, for the decay and for the step."
    )
    class rate_of_the_start(_AdamW):
        def step(self, grads):
            self.lr = self.first_lr
            super().step(grads)

    @right("moments in lists, decay subtracted first")
    class with_lists:
        def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
            self.params, self.lr, self.betas, self.eps, self.wd, self.t = list(params), lr, betas, eps, weight_decay, 0
            self.m = [np.zeros(p.shape) for p in params]
            self.v = [np.zeros(p.shape) for p in params]

        def step(self, grads):
            self.t += 1
            b1, b2 = self.betas
            for p, g, m, v in zip(self.params, grads, self.m, self.v):
                m += (1 - b1) * (g - m)
                v += (1 - b2) * (g**2 - v)
                p -= self.lr * (self.wd * p + m / (1 - b1**self.t) / (np.sqrt(v / (1 - b2**self.t)) + self.eps))

    @right("state by id, written with [...]")
    class by_id:
        def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
            self.params, self.lr, self.betas, self.eps, self.decay = params, lr, betas, eps, weight_decay
            self.state = {}

        def step(self, grads):
            b1, b2 = self.betas
            for p, g in zip(self.params, grads):
                m, v, t = self.state.get(id(p), (0.0, 0.0, 0))
                t += 1
                m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * np.square(g)
                self.state[id(p)] = (m, v, t)
                update = (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + self.eps)
                p[...] = p - self.lr * self.decay * p - self.lr * update


# -------------------------------------------------------------------------------------------------------------- write the test


def _adam_in_eleven_digits(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    new, m, v = _adam(w, g, m, v, t, lr, beta1, beta2, eps)
    return w + (new - w) * (1 + 1e-11), m * (1 + 1e-11), v * (1 - 1e-11)


def _adam_fresh_averages(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = g + beta1 * (m - g), g * g + beta2 * (v - g * g)
    m_hat, root = m / (1 - beta1**t), np.sqrt(v) * (1 - beta2**t) ** -0.5
    return w - lr * (m_hat / (eps + root)), m, v


def _adam_on_copies(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = np.array(m, float), np.array(v, float)
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g**2
    return w - lr / (1 - beta1**t) * m / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def _adam_by_powers(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = np.add(beta1 * m, g - beta1 * g), np.add(beta2 * v, np.square(g) - beta2 * np.square(g))
    return w - lr * np.divide(m / (1 - np.power(beta1, t)), np.power(v / (1 - np.power(beta2, t)), 0.5) + eps), m, v


def _follow(adam_step, grads, w, **settings):
    """(w, m, v) after each step."""
    m, v, track = np.zeros(w.shape), np.zeros(w.shape), []
    for t, g in enumerate(grads, start=1):
        w, m, v = (np.array(x, float) for x in adam_step(w, g.copy(), m, v, t, **settings))
        track += [w, m, v]
    return track


def _same_track(adam_step, grads, w, rtol=1e-8, atol=1e-12, **settings):
    for got, want in zip(_follow(adam_step, grads, w, **settings), _follow(_adam, grads, w, **settings)):
        assert np.allclose(got, want, rtol=rtol, atol=atol)


_LOOSE = "Some mistakes are caught, others hide in the tolerance, or in numbers that you do not compare. Right ones agree to 1e−8 in w, m and v: ask for that."
_TRIAL = [normal((3,), 1.0, s) for s in range(5)]
_TINY = [np.array([1e-6, 3e-8, 1.0]), np.array([2e-6, -1e-8, 0.5])]
_START = np.array([0.5, -1.0, 2.0])


@exercise("optimizers.test-adam", names="check_adam", covers=["optimizers.adam", "optimizers.adam-bias-correction"])
class TestAdam:
    accepts = {
        "straight from the formulas": _adam,
        "torch": _adam_torch,
        "number by number": _adam_one_by_one,
        "corrections folded into the rate": _adam_incremental,
        "other order of operations": _adam_fresh_averages,
        "on copies": _adam_on_copies,
        "powers and sums": _adam_by_powers,
        "right to eleven digits": _adam_in_eleven_digits,
    }
    catches = {
        "no bias correction": _adam_uncorrected,
        "only m corrected": _adam_v_uncorrected,
        "(1 − beta)^t": _adam_power_misplaced,
        "betas swapped": _adam_swapped,
        "corrected moments stored": _adam_stores_corrected,
        "eps under the root": _adam_eps_in_root,
        "betas ignored": _adam_fixed_betas,
        "t one ahead": _adam_late_t,
    }

    def reference(adam_step):
        _same_track(adam_step, _TRIAL, _START, lr=0.1)
        _same_track(adam_step, _TRIAL, _START, lr=0.1, beta1=0.7, beta2=0.95)
        _same_track(adam_step, _TINY, np.zeros(3), lr=0.1)

    @trap("One step shows little: at t = 1, (1 − beta)^t and corrected moments look right. Follow several steps and feed the state back.")
    def one_step_only(adam_step):
        for settings in ({}, {"beta1": 0.7, "beta2": 0.95}):
            got = adam_step(np.zeros(3), _TINY[0].copy(), np.zeros(3), np.zeros(3), 1, lr=0.1, **settings)[0]
            assert np.allclose(got, _adam(np.zeros(3), _TINY[0], np.zeros(3), np.zeros(3), 1, 0.1, **settings)[0], rtol=1e-8)

    @trap("At t = 1, (1 − beta)^t equals 1 − beta^t. Follow several steps and feed the state back.")
    def first_step_in_full(adam_step):
        for settings in ({}, {"beta1": 0.7, "beta2": 0.95}):
            _same_track(adam_step, _TRIAL[:1], _START, lr=0.1, **settings)
            _same_track(adam_step, _TINY[:1], np.zeros(3), lr=0.1, **settings)

    @trap("You never pass other betas: an implementation that ignores them goes through. Try a second pair.")
    def default_betas_only(adam_step):
        _same_track(adam_step, _TRIAL, _START, lr=0.1)
        _same_track(adam_step, _TINY, np.zeros(3), lr=0.1)

    @trap("With gradients near 1, eps under the root shows in the eighth digit only. Add gradients of about 1e−6: sqrt(1e−8) is 1e−4.")
    def ordinary_gradients_only(adam_step):
        _same_track(adam_step, _TRIAL, _START, rtol=1e-5, atol=1e-6, lr=0.1)
        _same_track(adam_step, _TRIAL, _START, rtol=1e-5, atol=1e-6, lr=0.1, beta1=0.7, beta2=0.95)

    @trap(
        "Right implementations are rejected: equal to the last bit is too strict, since they order their operations differently. Compare with a tolerance."
    )
    def equal_to_the_last_bit(adam_step):
        for grads, settings in ((_TRIAL, {}), (_TRIAL, {"beta1": 0.7, "beta2": 0.95}), (_TINY, {})):
            for got, want in zip(_follow(adam_step, grads, _START, lr=0.1, **settings), _follow(_adam, grads, _START, lr=0.1, **settings)):
                assert np.array_equal(got, want)

    @trap(
        "Your check rejects every right implementation, or nearly all. Is your own reference right, in float64: t from 1, the state fed back, eps after the root? Do you compare with a tolerance, and only what it returns?"
    )
    def rejects_everything(adam_step):
        raise AssertionError

    @trap(
        "Most wrong Adams go through, or all. A check must raise; a returned False is ignored. And that a loss falls, or that some values agree roughly, proves little: compare w, m and v, and closely."
    )
    def goes_downhill(adam_step):
        w, m, v = np.array([2.0, -3.0]), np.zeros(2), np.zeros(2)
        for t in range(1, 60):
            w, m, v = adam_step(w, w.copy(), m, v, t, lr=0.05)
        assert (np.asarray(w) ** 2).sum() < 13

    @trap(_LOOSE)
    def loose_tolerance(adam_step):
        _same_track(adam_step, _TRIAL, _START, rtol=0.2, atol=0.1, lr=0.1)
        _same_track(adam_step, _TRIAL, _START, rtol=0.2, atol=0.1, lr=0.1, beta1=0.7, beta2=0.95)

    @trap(_LOOSE)
    def looser_tolerance(adam_step):
        for grads in (_TRIAL, _TINY):
            _same_track(adam_step, grads, _START, rtol=0.5, atol=0.5, lr=1.0)
            _same_track(adam_step, grads, _START, rtol=0.5, atol=0.5, lr=1.0, beta1=0.5, beta2=0.8)

    @trap(
        "You compare w alone and hand in your own moments at every step, so wrong moments that come back go through. Compare m and v too, or feed back what it returns."
    )
    def weights_only(adam_step):
        for grads, settings in ((_TRIAL, {}), (_TRIAL, {"beta1": 0.7, "beta2": 0.95}), (_TINY, {})):
            w, m, v = _START, np.zeros(3), np.zeros(3)
            for t, g in enumerate(grads, start=1):
                got = adam_step(w, g.copy(), m, v, t, lr=0.1, **settings)[0]
                w, m, v = _adam(w, g, m, v, t, lr=0.1, **settings)
                assert np.allclose(got, w, rtol=1e-8, atol=1e-12)

    @right("torch in lockstep")
    def torch_lockstep(adam_step):
        for seed, (b1, b2) in enumerate([(0.9, 0.999), (0.5, 0.8)]):
            rng = np.random.default_rng(seed)
            p = torch.nn.Parameter(torch.tensor(rng.normal(size=4)))
            optimizer = torch.optim.Adam([p], lr=0.01, betas=(b1, b2))
            w, m, v = p.detach().numpy().copy(), np.zeros(4), np.zeros(4)
            for t in range(1, 11):
                g = rng.normal(size=4) * np.array([1.0, 1e-3, 1e-6, 10.0])
                p.grad = torch.tensor(g)
                optimizer.step()
                w, m, v = adam_step(w, g, m, v, t, lr=0.01, beta1=b1, beta2=b2)
                if not np.allclose(w, p.detach().numpy(), rtol=1e-9, atol=1e-12):
                    raise AssertionError(f"step {t}")

    @right("known numbers and laws")
    def laws(adam_step):
        w, m, v = np.zeros(2), np.zeros(2), np.zeros(2)
        g = np.array([3.0, -1e-6])
        for t in range(1, 40):  # a constant gradient: every corrected step is lr·g/(|g| + eps)
            before = w
            w, m, v = (np.asarray(x, float) for x in adam_step(w, g, m, v, t, lr=0.1, beta1=0.6, beta2=0.99))
            assert np.allclose(w - before, -0.1 * g / (np.abs(g) + 1e-8), rtol=1e-6)
            assert np.allclose(m, g * (1 - 0.6**t)) and np.allclose(v, g**2 * (1 - 0.99**t), atol=1e-20)
