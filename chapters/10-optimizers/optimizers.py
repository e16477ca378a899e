# %% [markdown]
# # 10 · Optimizers and learning-rate schedules
#
# After this chapter you can write SGD, momentum, RMSprop, Adam and AdamW so that they agree with torch step by step, plan a learning rate from the first update to
# the last, and say which of the two to suspect when a run diverges or stalls.
#
# | | |
# |---|---|
# | time | about 5 hours, 15 exercises |
# | builds on | chapter 3 (the gradient of every weight) |
# | you will be able to | write each optimizer as one step with a state · explain bias correction, eps and decoupled decay with numbers · write warmup, cosine, step and one-cycle schedules · scale the rate with the batch · budget the memory of training · answer 17 interview questions |

# %% setup=true
import math
from collections.abc import Callable

import numpy as np
import torch

# %%
from utils import explore, predict, reveal
from utils.demos import optimizers as demos

# %% [markdown]
# ## The valley that is too narrow
#
# Backpropagation tells you which way is up. The optimizer decides how far to go down, and in which direction exactly. If all weights had the same curvature, the plain
# gradient step would be perfect. They never have.
#
# Take the loss $\tfrac12(a\,w_1^2+b\,w_2^2)$ with $a=1$ and $b=25$: flat along $w_1$, steep along $w_2$. One gradient step multiplies $w_1$ by $1-\eta a$ and $w_2$ by $1-\eta b$. The steep
# direction forbids $\eta>2/b=0.08$, because then $|1-\eta b|>1$ and the path explodes. At $\eta=0.08$ the flat direction shrinks by 8 % a step. The *ratio* $b/a$, the condition number, sets the pace.
# Six optimizers start at the same point. `rate` is in units of that limit $2/b$; momentum and Nesterov take a quarter of it, and the adaptive three step with a third of the number itself:

# %% demo="optimizers.demo-ravine" covers="optimizers.fig-ill-conditioned optimizers.uneven-curvature optimizers.momentum optimizers.adagrad optimizers.role"
explore(
    demos.ravine,
    alt="Six paths in a long narrow bowl: SGD zig-zags, momentum and Nesterov swing smoothly, Adagrad stops short, RMSprop and Adam go nearly straight",
    surface=list(demos.SURFACES),
    condition=(2, 100, 1, 25),
    rate=(0.1, 1.2, 0.05, 0.9),
    beta=(0.0, 0.98, 0.02, 0.7),
)

# %% [markdown]
# **What to see.** SGD bounces across the steep direction and creeps along the flat one. Momentum averages successive gradients: the bounces cancel, the common part adds up. RMSprop and Adam divide each
# coordinate by its own gradient size and set out at 45°. Adagrad slows down and stops short. **Try** `rate` 1.05 (SGD leaves), `beta` 0.96 (momentum overshoots), and the surface
# *wine*: a regression on two measurements that rise and fall together. Its valley runs diagonally, and a scale per coordinate cannot straighten that.
#
# ## Momentum: a ball with a memory
#
# torch keeps one buffer $b$ per weight and steps along it:
#
# $$b\leftarrow\mu\,b+g\qquad\qquad w\leftarrow w-\eta\,b\qquad\text{(first step: } b=g)$$
#
# You will often read that momentum is a *moving average* of the gradients, $\mu b+(1-\mu)g$. In fact torch's buffer is a **sum** (its `dampening` is 0): a steady gradient $g$ piles up to $g/(1-\mu)$. With $\mu=0.9$ the
# step becomes ten times as long as $\eta g$. Carry a rate over from code that averages, and you are off by a factor of ten.

# %%
b = 0.0
for step in range(1, 41):
    b = 0.9 * b + 1.0
    if step in (1, 5, 10, 40):
        print(f"step {step:2d}: buffer {b:.2f}")

# %% [markdown]
# **Nesterov** steps as if the gradient had been taken where the momentum is about to carry you. In torch's form that is one more term with the *new* buffer: $w\leftarrow w-\eta\,(g+\mu b)$. It is slightly tighter, and it brakes
# earlier: compare the two panels above at `beta` 0.9.
#
# ### Exercise optimizers.sgd-momentum · difficulty 2 of 5 · 15 min · 3 points
#
# Write one step, `sgd_step(w, g, buf, lr, mu=0.0, nesterov=False)`. It returns `(new w, new buf)`.
#
# - `w`, `g`: float arrays of one shape. `buf`: the buffer that the previous call returned, or `None` at the first step.
# - torch's convention: $b\leftarrow\mu b+g$, at the first step $b=g$. Step along $b$, or with `nesterov` along $g+\mu b$.
# - `lr` may change between calls. The new rate then applies to the whole step, old gradients included.
# - `w` and `g` stay unchanged, also in later calls; `buf` is yours, you may overwrite it. With `mu = 0` nobody looks at the returned buffer.
# - NumPy or plain Python; no `torch`.
#
# `sgd_step(np.array([1.0]), np.array([2.0]), np.array([3.0]), 0.1, mu=0.5)` is `([0.65], [3.5])`; with `nesterov=True` it is `([0.625], [3.5])`.
#
# <details><summary>Hint 1</summary>What has to be in the buffer so that a new learning rate acts at once?</details>
#
# <details><summary>Hint 2</summary>First b = μ·b + g. Then the direction: b, or g + μ·b with the b you have just made.</details>


# %% exercise="optimizers.sgd-momentum" points=3
def sgd_step(
    w: np.ndarray, g: np.ndarray, buf: np.ndarray | None, lr: float, mu: float = 0.0, nesterov: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """One step of SGD with momentum; returns the new weights and the new buffer."""
    ### BEGIN SOLUTION
    b = g.copy() if buf is None else mu * buf + g
    direction = g + mu * b if nesterov else b
    return w - lr * direction, b
    ### END SOLUTION


# %% check="optimizers.sgd-momentum"
w_, g_, b_ = np.array([1.0]), np.array([2.0]), np.array([3.0])
assert np.allclose(sgd_step(w_, g_, None, 0.1)[0], 0.8), "without momentum the step is lr·g"
assert np.allclose(sgd_step(w_, g_, b_.copy(), 0.1, mu=0.5)[0], 0.65), "the buffer becomes 0.5·3 + 2 = 3.5, the step 0.35"
assert np.allclose(sgd_step(w_, g_, b_.copy(), 0.1, mu=0.5, nesterov=True)[0], 0.625), "Nesterov steps along g + mu·b = 3.75"
assert np.allclose(sgd_step(w_, g_, None, 0.1, mu=0.5)[1], 2.0), "at the first step the buffer is g"

# %% [markdown]
# **What goes wrong.** A buffer of $\eta g$ instead of $g$ gives the same path as long as $\eta$ is constant. The first schedule you attach shows the difference: after a drop the old, long steps go on for a while.
#
# ## Adagrad and RMSprop: a scale for every weight
#
# A word that occurs in one sentence out of a thousand gives its embedding a gradient once in a thousand steps. One global rate is too small for it or too large for everyone else. **Adagrad** (Duchi et al. 2011) divides by the root of
# all squared gradients so far:
#
# $$s\leftarrow s+g^2\qquad w\leftarrow w-\eta\,\frac{g}{\sqrt s+\varepsilon}$$
#
# Rare weights keep a large step. The flaw is in the plus: $s$ only grows. With gradients of size 1 the step after $t$ updates is $\eta/\sqrt t$: a hundredth after ten thousand. **RMSprop** (Hinton's lecture, 2012) changes one thing, the
# sum becomes a moving average that forgets:
#
# $$v\leftarrow\alpha v+(1-\alpha)\,g^2\qquad w\leftarrow w-\eta\,\frac{g}{\sqrt v+\varepsilon}$$
#
# $v$ is often called the variance of the gradient. In fact it is the *second raw moment*, the mean of $g^2$: for a constant gradient $v=g^2$, while the variance is 0.
#
# ### Exercise optimizers.adagrad-rmsprop · difficulty 2 of 5 · 15 min · 3 points
#
# Write one step of each: `adagrad_step(w, g, s, lr, eps=1e-10)` returns `(new w, new s)`, `rmsprop_step(w, g, v, lr, alpha=0.99, eps=1e-8)` returns `(new w, new v)`.
#
# - `w`, `g` and the state: float arrays of one shape; the state starts as zeros. The formulas are those above: the state is updated first, `eps` is added *after* the root.
# - Gradients may be as small as $10^{-8}$ or exactly 0 from the start: no warning then, the weight stays.
# - `w` and `g` stay unchanged; the state you may overwrite. NumPy or plain Python; no `torch`.
#
# With `w = [1.0]`, `g = [0.5]`, a zero state and `lr = 0.1`, Adagrad gives `([0.9], [0.25])`. RMSprop with `alpha = 0.75` gives `([0.8], [0.0625])`.
#
# <details><summary>Hint 1</summary>The two differ in one line.</details>
#
# <details><summary>Hint 2</summary>sqrt(v + 1e−8) is at least 1e−4; sqrt(v) + 1e−8 is not.</details>


# %% exercise="optimizers.adagrad-rmsprop" points=3
def adagrad_step(w: np.ndarray, g: np.ndarray, s: np.ndarray, lr: float, eps: float = 1e-10) -> tuple[np.ndarray, np.ndarray]:
    """One step of Adagrad; returns the new weights and the new sum of squares."""
    ### BEGIN SOLUTION
    s = s + g**2
    return w - lr * g / (np.sqrt(s) + eps), s
    ### END SOLUTION


def rmsprop_step(
    w: np.ndarray, g: np.ndarray, v: np.ndarray, lr: float, alpha: float = 0.99, eps: float = 1e-8
) -> tuple[np.ndarray, np.ndarray]:
    """One step of RMSprop; returns the new weights and the new moving average of squares."""
    ### BEGIN SOLUTION
    v = alpha * v + (1 - alpha) * g**2
    return w - lr * g / (np.sqrt(v) + eps), v
    ### END SOLUTION


# %% check="optimizers.adagrad-rmsprop"
w_, g_ = np.array([1.0]), np.array([0.5])
assert np.allclose(adagrad_step(w_, g_, np.zeros(1), 0.1), [[0.9], [0.25]]), "Adagrad: the first step is lr·sign(g)"
assert np.allclose(rmsprop_step(w_, g_, np.zeros(1), 0.1, alpha=0.75), [[0.8], [0.0625]]), "RMSprop: v = 0.25·0.25"
assert np.allclose(adagrad_step(w_, np.array([1e-7]), np.zeros(1), 0.1)[0], 0.9, atol=2e-4), (
    "a gradient of 1e-7 moves the weight as far: eps after the root"
)
assert np.allclose(rmsprop_step(w_, 0 * g_, np.zeros(1), 0.1)[0], 1.0), "no gradient, no step"

# %% [markdown]
# ## Adam: both ideas, and a correction for the start
#
# **Adam** (Kingma and Ba, 2015) is RMSprop with a momentum that averages, and with one repair:
#
# $$m\leftarrow\beta_1m+(1-\beta_1)g\qquad v\leftarrow\beta_2v+(1-\beta_2)g^2\qquad\hat m=\frac{m}{1-\beta_1^t}\qquad\hat v=\frac{v}{1-\beta_2^t}\qquad w\leftarrow w-\eta\,\frac{\hat m}{\sqrt{\hat v}+\varepsilon}$$
#
# Both averages start at 0, so after $t$ steps their weights add up to $1-\beta^t$ instead of 1. Dividing by that makes them true averages. Suppose you leave the correction out, with the default $\beta_1=0.9$, $\beta_2=0.999$.
# Both $m$ and $v$ are then too small. Before you run the next cell: what happens to the *steps*?

# %%
predict(
    "Adam without bias correction, steady gradient. The first steps are …",
    ["about 10 times too short", "about right: the two biases cancel", "3 to 7 times too long", "1000 times too long"],
    key="optimizers.demo-bias-correction",
)

# %% demo="optimizers.demo-bias-correction" covers="optimizers.adam-bias-correction optimizers.q.bias-correction optimizers.q.warmup"
explore(
    demos.bias_correction,
    alt="Adam's step length: with correction 1 throughout, without it 3.2 at the first step, 6.6 at step 12, and above 1 for 2000 steps; beside it the spread of 1/sqrt(v_hat), wide in the first ten steps",
    beta2=[0.999, 0.98, 0.95],
    noise=(0.0, 1.0, 0.1, 0.1),
)
ratio = (1 - 0.9) / math.sqrt(1 - 0.999)
reveal(
    f"the first step is {ratio:.2f} times too long, the twelfth 6.6 times",
    answer="3 to 7 times too long",
    key="optimizers.demo-bias-correction",
)

# %% [markdown]
# **What to see.** $m$ is too small by 10, but $\sqrt v$ by 31.6, and it stands below the line. Left: the error peaks at step 12 and fades slowly. Right: with pure noise the *corrected* scale $1/\sqrt{\hat v}$ still differs by more than a factor of 10
# between runs in the first steps, because it rests on a handful of gradients. **Try** `beta2` 0.98.
#
# ### Exercise optimizers.adam-step · difficulty 3 of 5 · 20 min · 4 points
#
# Write one step of Adam: `adam_step(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8)` returns `(new w, new m, new v)`.
#
# - `w`, `g`, `m`, `v`: float arrays of one shape; `m` and `v` start as zeros. `t` is the number of this step and starts at **1**.
# - The returned `m` and `v` are the raw averages, not the corrected ones. `eps` is added after the root of the corrected $\hat v$.
# - Gradients from $10^{-9}$ to $10^3$, and zeros: no warning. Any `beta1`, `beta2` in $[0,1)$.
# - `w` and `g` stay unchanged; `m` and `v` you may overwrite. NumPy or plain Python; no `torch`.
#
# With `w = [1.0]`, `g = [0.5]`, zeros and `t = 1`, `lr = 0.1`: `w` becomes `[0.9]`, `m` is `[0.05]`, `v` is `[0.00025]`.
#
# <details><summary>Hint 1</summary>Five lines, in the order of the formula. Which of the names go back to the caller?</details>
#
# <details><summary>Hint 2</summary>The first step is lr·g/(|g| + eps): its length is lr whatever the gradient, unless the gradient is near eps.</details>


# %% exercise="optimizers.adam-step" points=4
def adam_step(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step number `t` (from 1) of Adam; returns the new weights and both raw moments."""
    ### BEGIN SOLUTION
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
    ### END SOLUTION


# %% check="optimizers.adam-step"
w_, m_, v_ = adam_step(np.array([1.0]), np.array([0.5]), np.zeros(1), np.zeros(1), 1, lr=0.1)
assert np.allclose(w_, 0.9), f"the first step is lr long; yours is {1 - w_.item():.4f}"
assert np.allclose(m_, 0.05) and np.allclose(v_, 0.00025), "return the raw averages, before the correction"
w_, m_, v_ = adam_step(w_, np.array([-0.5]), m_, v_, 2, lr=0.1)
assert np.allclose(w_, 0.905263), "second step: m_hat = −0.005/0.19, v_hat = 0.25"

# %% [markdown]
# How long is "early"? You will often read that the correction matters for the first 200 or 500 steps. With the defaults the uncorrected step is still 2.35 times too long at $t=200$ and 1.59 times at $t=500$. Only from $t=2375$ on is it within 5 %.
# The clock is $1/(1-\beta_2)=1000$ steps, and $\beta_1$ plays no part after step 50. With $\beta_2=0.98$ all is over after about 120 steps. Verify it:
#
# ### Exercise optimizers.bias-ratio · difficulty 3 of 5 · 15 min · 3 points
#
# For a constant gradient and `eps = 0`, compare Adam's step without and with bias correction.
#
# - `bias_ratio(t, beta1=0.9, beta2=0.999)`: the uncorrected step divided by the corrected one at step `t` ≥ 1, a float.
# - `steps_until(beta1, beta2, tol)`: the first step $t\ge1$ from which on the ratio **stays** within $1\pm$ `tol`, an integer. For the values you will meet it is below 5000.
# - Betas in $[0,1)$, `tol` between 0.01 and 0.6. No ratio you will meet lies on the edge of the band.
#
# `bias_ratio(1)` is 3.1623; `steps_until(0.9, 0.98, 0.05)` is 118.
#
# <details><summary>Hint 1</summary>With a constant gradient g, what is m after t steps, exactly? And sqrt(v)?</details>
#
# <details><summary>Hint 2</summary>The ratio may cross 1 on its way up, and come back down. Look for the last step outside the band.</details>


# %% exercise="optimizers.bias-ratio" points=3
def bias_ratio(t: int, beta1: float = 0.9, beta2: float = 0.999) -> float:
    """How many times longer Adam's step is without bias correction, at step `t`."""
    ### BEGIN SOLUTION
    return (1 - beta1**t) / math.sqrt(1 - beta2**t)
    ### END SOLUTION


def steps_until(beta1: float, beta2: float, tol: float) -> int:
    """The first step from which on the ratio stays within 1 ± tol."""
    ### BEGIN SOLUTION
    outside = [t for t in range(1, 10_000) if abs(bias_ratio(t, beta1, beta2) - 1) > tol]
    return outside[-1] + 1 if outside else 1
    ### END SOLUTION


# %% check="optimizers.bias-ratio"
assert math.isclose(bias_ratio(1), 10**0.5, rel_tol=1e-6), "at t = 1: 0.1 / sqrt(0.001) = 3.162"
assert math.isclose(bias_ratio(200), 2.3482, rel_tol=1e-4), "at t = 200 still 2.35"
assert steps_until(0.9, 0.98, 0.05) == 118, "with beta2 = 0.98 it takes 118 steps"

# %% [markdown]
# ### The knobs
#
# Defaults: $\beta_1=0.9$, $\beta_2=0.999$, $\varepsilon=10^{-8}$. Transformer recipes often take $\beta_2$ down to 0.98 or 0.95, so that $v$ follows a changing gradient faster. And $\varepsilon$ is more than a guard against division by zero: it competes with $\sqrt{\hat v}$.

# %% demo="optimizers.demo-eps" covers="optimizers.adam-defaults optimizers.q.adam-knobs"
explore(
    demos.eps_curve,
    alt="Adam's step against the gradient's size on log axes: flat at 1 where the gradient exceeds eps, falling with slope 1 below it",
    log10_eps=(-8, 0, 1, -8),
)

# %% [markdown]
# **What to see.** Right of eps the curve is flat: every gradient, small or large, moves its weight by about one learning rate, as if only the sign counted. Left of eps the step is proportional to the gradient, as in SGD. **Try** `log10_eps` −2: most of a
# real network's gradients are now on the SGD side. It is calmer, and less adaptive.
#
# You will often read that mixed precision needs $\varepsilon=10^{-4}$. In fact standard mixed precision keeps weights and optimizer state in fp32, and the default works. The advice concerns optimizers that run *in fp16 themselves*: there $10^{-8}$ does not exist.

# %%
print("1e-8 in fp16:", np.float16(1e-8), "   smallest positive fp16:", np.finfo(np.float16).smallest_subnormal)

# %% [markdown]
# ## AdamW: the decay that must not be divided
#
# L2 regularization adds $\lambda w$ to the gradient. For SGD that is the same as shrinking every weight by $1-\eta\lambda$ per step. In Adam it is not: $\lambda w$ goes through $m$ and is divided by $\sqrt{\hat v}$ along with everything else. Two weights of
# size 1, one with gradients of ±10, one with ±0.01. After 100 steps of Adam + L2, which has shrunk more?

# %%
predict(
    "Adam + L2, equal weights, gradients ±10 and ±0.01 in turn. After 100 steps …",
    [
        "both have shrunk alike",
        "the one with large gradients has shrunk more",
        "the one with small gradients has shrunk more",
        "neither has shrunk",
    ],
    key="optimizers.decay",
)

# %% demo="optimizers.decay" covers="optimizers.adamw optimizers.probe-l2-in-adam"
left = demos.decay_after(steps=100, rate=1e-3, weight_decay=0.1)
reveal(f"gradients ±10 and ±0.01: {left}", answer="the one with small gradients has shrunk more", key="optimizers.decay")

# %% [markdown]
# **What to see.** Adam + L2 leaves 0.997 and 0.902; AdamW leaves 0.988 of both. The weight that gets large gradients is hardly regularized, because its decay is divided by 10. **Try** `weight_decay=0.0`: what is left of the differences is the optimizer's own wobble.
#
# **AdamW** (Loshchilov and Hutter, 2019) takes the decay out of the gradient and applies it to the weight: $w\leftarrow(1-\eta\lambda)\,w$, then the Adam step. In torch the factor holds the *current* learning rate, so a schedule scales the decay too. You will write it in the debug clinic.
# It is the default for Transformers. "L2 equals weight decay" is true for plain SGD only, and no choice of $\lambda$ repairs it for Adam, since the divisor differs from weight to weight.
#
# ## The race: Adam against SGD
#
# A small network, real digits, seven optimizers, each at a rate that suits it:

# %% demo="optimizers.race" covers="optimizers.slogan optimizers.cu-adam-vs-sgd optimizers.q.adam-generalization optimizers.remember"
explore(
    demos.race,
    alt="Training loss of seven optimizers on digits and their held-out accuracy: all end between 96 and 98 percent when each has a suitable rate",
    log10_factor=(-2.0, 1.0, 0.5, 0.0),
    steps=(50, 200, 50, 150),
)

# %% [markdown]
# **What to see.** At good rates they are close: 96 to 98 % held out. The name of the optimizer matters less than its rate. **Try** `log10_factor` 1: SGD, momentum and Nesterov blow up; the four adaptive ones still reach 93 to 96 %. At −2 everyone is slow. That is what "Adam is robust" means: a rate that is too high hurts it less.
#
# You will often read that Adam converges faster but generalizes worse, because it ends in sharper minima while the noise of SGD favours flat ones. It is a tendency seen in vision benchmarks (Wilson et al. 2017), and tuned SGD with momentum still wins some of those. As a
# law it is wrong: AdamW with a good schedule closes most of the gap, and Transformers show the reverse. Equally wrong is the other law, "Adam reaches a lower training loss, so it is better": that says nothing about the validation score.
#
# | situation | choice |
# |---|---|
# | Transformer, NLP, multimodal | AdamW, warmup, cosine |
# | CNN with a published recipe | SGD + momentum, step or cosine |
# | sparse features, embeddings | Adam, Adagrad |
# | batches of 32k and more | LAMB, LARS |
# | a large model and little memory | 8-bit Adam, Adafactor, ZeRO/FSDP |
# | quick prototype, unknown ground | AdamW |
#
# ## What an optimizer costs
#
# Adam remembers two numbers per weight, $m$ and $v$. In fp32 that is 8 bytes beside the weight's 4: twice the parameters again. A model of 7 billion weights needs 28 GB for itself and 56 GB for Adam's memory, before gradients (28 GB) and activations.
#
# | optimizer | rule | state per weight |
# |---|---|---|
# | SGD | $-\eta g$ | 0 |
# | momentum | $-\eta b$, $b\leftarrow\mu b+g$ | 1: $b$ |
# | Adam, AdamW | $-\eta\hat m/(\sqrt{\hat v}+\varepsilon)$ | 2: $m$, $v$ |
# | Sophia | $-\eta\,\mathrm{clip}(m/h)$ | 2: $m$ and $h$, an estimate of the Hessian's diagonal |
#
# You will read "SGD $O(n)$, Adam $O(3n)$". Constants have no place in an $O$, and the 3 counts the weight itself: the *optimizer* adds 2. Say what you count.
#
# **8-bit Adam** stores both moments in one byte each. **Adafactor** replaces $v$ of a matrix by one number per row and one per column, and drops $m$. **ZeRO** and **FSDP** leave the state as it is and spread it over the GPUs.
#
# ### Exercise optimizers.state-memory · difficulty 2 of 5 · 15 min · 3 points
#
# Write `optimizer_state_bytes(shapes, kind)`: the bytes that the optimizer holds *beside* the weights, an integer. Step counters do not count.
#
# - `shapes`: a list of tuples, one per parameter, each with at least one axis; the list may be empty. All parameters are fp32 (4 bytes).
# - `kind`: `"sgd"` (no momentum), `"momentum"`, `"adam"` (two fp32 numbers a weight), `"adam8bit"` (two one-byte numbers a weight, nothing else),
#   `"adafactor"` (no first moment; a parameter with two or more axes keeps one fp32 row vector and one fp32 column vector *per matrix over its last two axes*; a vector keeps its second moment in full, fp32).
# - Any other `kind` raises `ValueError`.
#
# For `[(1000, 500), (500,)]`: Adam 4 004 000, Adafactor 8 000. For `[(3, 8, 5)]` Adafactor needs $3\cdot(8+5)\cdot4=156$.
#
# <details><summary>Hint 1</summary>A table from kind to bytes per parameter; Adafactor needs the shape.</details>
#
# <details><summary>Hint 2</summary>A shape (…, a, b) holds prod(…) matrices, each with a + b numbers.</details>


# %% exercise="optimizers.state-memory" points=3
def optimizer_state_bytes(shapes: list[tuple[int, ...]], kind: str) -> int:
    """Bytes of optimizer state for fp32 parameters of these shapes."""
    ### BEGIN SOLUTION
    per_weight = {"sgd": 0, "momentum": 4, "adam": 8, "adam8bit": 2}
    if kind == "adafactor":
        factored = [math.prod(s[:-2]) * (s[-2] + s[-1]) if len(s) >= 2 else math.prod(s) for s in shapes]
        return 4 * sum(factored)
    if kind not in per_weight:
        raise ValueError(f"unknown optimizer {kind!r}")
    return per_weight[kind] * sum(math.prod(s) for s in shapes)
    ### END SOLUTION


# %% check="optimizers.state-memory"
assert optimizer_state_bytes([(1000, 500), (500,)], "adam") == 4_004_000, "Adam: 8 bytes for each of 500 500 weights"
assert optimizer_state_bytes([(1000, 500), (500,)], "adafactor") == 8_000, "Adafactor: 1500 numbers for the matrix, 500 for the vector"
assert optimizer_state_bytes([(3, 8, 5)], "adafactor") == 156, "three matrices of 8 + 5 numbers"
assert optimizer_state_bytes([(7,)], "sgd") == 0, "plain SGD remembers nothing"

# %% [markdown]
# "Adam costs twice the parameters" holds for fp32. In **mixed precision** the working weights and gradients have 2 bytes, while a master copy of the weights and all states stay in fp32. Then Adam's 12 bytes stand beside 2 bytes of weight: six times.
#
# ### Exercise thirty.training-bytes · difficulty 1 of 5 · 10 min · 2 points
#
# Write `training_bytes(n_params, optimizer, mixed=False)`: the bytes that training holds for *all* `n_params` parameters (not activations), an integer.
#
# - fp32: weight 4, gradient 4, and 4 for each state of the optimizer.
# - `mixed=True`: weight 2, gradient 2, fp32 master copy 4, and 4 for each state.
# - `optimizer`: `"sgd"`, `"momentum"`, `"adam"`, `"adamw"` or `"sophia"`; the table above gives the states.
#
# `training_bytes(1000, "momentum")` is 12 000. A 7-billion model with AdamW needs 112 GB.
#
# <details><summary>Hint 1</summary>Bytes of one parameter first, then times n_params.</details>
#
# <details><summary>Hint 2</summary>Add up the two lines for Adam. Does mixed precision save memory here?</details>


# %% exercise="thirty.training-bytes" points=2
def training_bytes(n_params: int, optimizer: str, mixed: bool = False) -> int:
    """Bytes for weights, gradients and optimizer state."""
    ### BEGIN SOLUTION
    states = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2, "sophia": 2}[optimizer]
    weight_and_gradient = 2 + 2 + 4 if mixed else 4 + 4
    return n_params * (weight_and_gradient + 4 * states)
    ### END SOLUTION


# %% check="thirty.training-bytes"
assert training_bytes(1000, "momentum") == 12_000, "4 weight + 4 gradient + 4 velocity"
assert training_bytes(7_000_000_000, "adamw") == 112_000_000_000, "16 bytes a parameter"
assert training_bytes(10, "adam", mixed=True) == 160, "2 + 2 + 4 + 4 + 4"

# %% [markdown]
# Mixed precision saves nothing here: 16 bytes both ways. It saves activations and time.
#
# ## The learning rate over time
#
# The peak learning rate is the strongest knob you have. Tune it first. Around it, a schedule: a ramp up, so that the start does no harm, and a decay, so that the end comes to rest.

# %% demo="thirty.schedules" covers="thirty.tq09 thirty.t-schedules optimizers.fig-schedule optimizers.cosine"
explore(
    demos.schedules,
    alt="Six schedules over 100 epochs: step decay, cosine, warmup and cosine, cyclic triangles, one-cycle, reduce on plateau",
    warmup=(0, 40, 5, 10),
    peak=(0.1, 1.0, 0.1, 1.0),
    gamma=(0.1, 0.9, 0.1, 0.3),
)

# %% [markdown]
# **What to see.** Step and cosine start at the top. Warmup and one-cycle start low. Only *reduce on plateau* looks at the validation loss; the others are fixed before the run, and cosine and one-cycle need the total number of steps in advance. **Try** `gamma` 0.1, the classic factor.
#
# | schedule | stepped per | typical use |
# |---|---|---|
# | step decay | epoch | older vision recipes |
# | cosine | epoch or batch | CNNs and Transformers alike |
# | warmup + cosine | batch | Transformers |
# | cyclic | batch | exploring, snapshots |
# | one-cycle | **batch** | few epochs, high rate |
# | reduce on plateau | epoch, after validation | length unknown |
#
# "Every scheduler steps once per epoch" is a costly belief: whoever steps `OneCycleLR` per epoch sees the first few percent of the cycle and nothing else. The rule: step it in the unit in which you gave it its length.
#
# ### Why warm up
#
# **You saw one mechanism above:** in the first steps $\hat v$ rests on few gradients, so Adam's scale per weight is erratic (RAdam's argument, Liu et al. 2020). You will often read that this is *the* cause. In fact it is one of several: gradients near the output of a fresh
# post-LN Transformer are large (Xiong et al. 2020), the updates as such are too large for random weights (Ma and Yarats 2021), and plain large-batch SGD, which has no $v$, profits too (Goyal et al. 2017).
#
# How long? You will find 500 to 2000 steps, 1000 to 10 000, "a few hundred". There is no fixed number: 1 to 10 % of the run is the usual range.
#
# $$\eta(s)=\begin{cases}\eta_{\max}\,s/s_w & s<s_w\\[.6ex]\eta_{\min}+(\eta_{\max}-\eta_{\min})\cdot\tfrac12\bigl(1+\cos\pi x\bigr),\quad x=\dfrac{s-s_w}{S-s_w} & s_w\le s\le S\end{cases}$$
#
# ### Exercise optimizers.warmup-cosine · difficulty 2 of 5 · 15 min · 3 points
#
# Write `lr_at(step, total, warmup, peak, min_lr=0.0)`, a float.
#
# - From 0 at step 0 in a straight line to `peak` at step `warmup`; from there half a cosine wave down to `min_lr` at step `total`; `min_lr` at every step beyond `total`.
# - `min_lr` stretches the cosine; the ramp always starts at 0.
# - `warmup = 0` is allowed (step 0 has `peak`), and so is `warmup = total`: nothing but a ramp, and beyond `total` the rate is `min_lr`. At step `total` itself the ramp and the decay both end then, so `peak` and `min_lr` are both accepted.
#
# `lr_at(5, 100, 10, 1.0)` is 0.5; `lr_at(55, 100, 10, 1.0, 0.2)` is 0.6.
#
# <details><summary>Hint 1</summary>Compute the progress x of the decay first, between 0 and 1. What must it be at step warmup, and what beyond total?</details>
#
# <details><summary>Hint 2</summary>x = min(1, (step − warmup)/(total − warmup)). With warmup = total that divides by zero: the case needs a line of its own.</details>


# %% exercise="optimizers.warmup-cosine" points=3
def lr_at(step: int, total: int, warmup: int, peak: float, min_lr: float = 0.0) -> float:
    """Learning rate at a step: linear warmup, then cosine decay."""
    ### BEGIN SOLUTION
    if step < warmup:
        return peak * step / warmup
    if step > total:
        return min_lr
    x = (step - warmup) / max(total - warmup, 1)
    return min_lr + (peak - min_lr) * 0.5 * (1 + math.cos(math.pi * x))
    ### END SOLUTION


# %% check="optimizers.warmup-cosine"
assert math.isclose(lr_at(5, 100, 10, 1.0), 0.5), "half-way up the ramp"
assert math.isclose(lr_at(10, 100, 10, 1.0), 1.0), "the peak is at step warmup"
assert math.isclose(lr_at(55, 100, 10, 1.0, 0.2), 0.6), "half-way down: the middle between peak and min_lr"
assert math.isclose(lr_at(150, 100, 10, 1.0, 0.2), 0.2), "beyond total the rate stays at min_lr"
assert math.isclose(lr_at(0, 100, 0, 1.0), 1.0), "without warmup step 0 has the peak"

# %% [markdown]
# **What goes wrong.** With $s/s_w$ the very first update has rate 0: it does nothing. That is harmless, and it wastes a batch. Many codebases count differently:
#
# ### Exercise thirty.warmup-cosine · difficulty 2 of 5 · 10 min · 2 points
#
# Write the variant without the wasted step: `lr_at(step, warm, total, lr_max, lr_min=0.0)`. Mind the order of the arguments.
#
# - `step` counts from 0. For `step < warm` the rate is `lr_max·(step + 1)/warm`: the first update moves, and step `warm − 1` has `lr_max`.
# - From step `warm` on: half a cosine from `lr_max` (at `warm`) to `lr_min` (at `total`), with progress $(\text{step}-\text{warm})/(\text{total}-\text{warm})$. Beyond `total` it stays at `lr_min`.
# - `0 ≤ warm < total`.
#
# `lr_at(0, 5, 40, 0.1)` is 0.02; `lr_at(4, 5, 40, 0.1)` and `lr_at(5, 5, 40, 0.1)` are both 0.1.
#
# <details><summary>Hint 1</summary>Only the ramp has the + 1.</details>
#
# <details><summary>Hint 2</summary>lr_min + (lr_max − lr_min)·½(1 + cos πx), with x limited to 1.</details>


# %% exercise="thirty.warmup-cosine" points=2
def lr_at(step: int, warm: int, total: int, lr_max: float, lr_min: float = 0.0) -> float:
    """Learning rate of update `step` (from 0): a ramp that starts to move at once, then a cosine."""
    ### BEGIN SOLUTION
    if step < warm:
        return lr_max * (step + 1) / warm
    x = min(1.0, (step - warm) / (total - warm))
    return lr_min + (lr_max - lr_min) * 0.5 * (1 + math.cos(math.pi * x))
    ### END SOLUTION


# %% check="thirty.warmup-cosine"
assert math.isclose(lr_at(0, 5, 40, 0.1), 0.02), "the first update has a fifth of the maximum"
assert math.isclose(lr_at(4, 5, 40, 0.1), 0.1), "the last step of the ramp has the maximum"
assert math.isclose(lr_at(40, 5, 40, 0.1, 0.01), 0.01), "at total the rate is lr_min"
assert math.isclose(lr_at(60, 5, 40, 0.1, 0.01), 0.01), "and it stays there"

# %% [markdown]
# **Step decay** multiplies by $\gamma$ at milestones. **One-cycle** (Smith and Topin, 2018) rises to a high rate and falls far below its start; the high middle is what makes it fast.
#
# ### Exercise optimizers.step-onecycle · difficulty 3 of 5 · 20 min · 3 points
#
# Write both; each returns a float.
#
# - `step_decay(step, base, milestones, gamma=0.1)`: `base`, multiplied by `gamma` once for each milestone that has been reached. Milestone 3 acts from step 3 on. `milestones` is an increasing list, maybe empty.
# - `one_cycle(step, total, max_lr, pct=0.3, div=25.0, final_div=1e4)` for steps 0 to `total − 1`. Start: `max_lr/div` at step 0. Peak: `max_lr` at $p=\text{pct}\cdot\text{total}-1$, which need not be whole. End: *the start rate* divided by
#   `final_div`, at step `total − 1`. Both phases are half cosines: from $a$ to $b$ with progress $x$ it is $b+(a-b)\cdot\frac12(1+\cos\pi x)$.
# - `pct·total` is above 1, `pct` below 1. Both agree with torch's `MultiStepLR` and `OneCycleLR` (two phases, cosine).
#
# `step_decay(7, 0.4, [3, 7])` is 0.004. `one_cycle(29, 100, 1.0)` is 1.0, `one_cycle(0, 100, 1.0)` is 0.04, `one_cycle(99, 100, 1.0)` is $4\cdot10^{-6}$.
#
# <details><summary>Hint 1</summary>Count the milestones that are ≤ step. For the cycle: which of the two phases is step in, and how far through it?</details>
#
# <details><summary>Hint 2</summary>x = step/p in the rise, x = (step − p)/(total − 1 − p) in the fall.</details>


# %% exercise="optimizers.step-onecycle" points=3
def step_decay(step: int, base: float, milestones: list[int], gamma: float = 0.1) -> float:
    """Learning rate with a drop by `gamma` at each milestone."""
    ### BEGIN SOLUTION
    return base * gamma ** sum(step >= m for m in milestones)
    ### END SOLUTION


def one_cycle(step: int, total: int, max_lr: float, pct: float = 0.3, div: float = 25.0, final_div: float = 1e4) -> float:
    """Learning rate of the one-cycle policy with cosine phases."""
    ### BEGIN SOLUTION
    start, p = max_lr / div, pct * total - 1
    if step <= p:
        a, b, x = start, max_lr, step / p
    else:
        a, b, x = max_lr, start / final_div, (step - p) / (total - 1 - p)
    return b + (a - b) * 0.5 * (1 + math.cos(math.pi * x))
    ### END SOLUTION


# %% check="optimizers.step-onecycle"
assert math.isclose(step_decay(2, 0.4, [3, 7]), 0.4) and math.isclose(step_decay(3, 0.4, [3, 7]), 0.04), "the drop is at step 3"
assert math.isclose(step_decay(7, 0.4, [3, 7]), 0.004), "two milestones, gamma squared"
assert math.isclose(one_cycle(0, 100, 1.0), 0.04), "the start is max_lr/div"
assert math.isclose(one_cycle(29, 100, 1.0), 1.0), "the peak is at pct·total − 1"
assert math.isclose(one_cycle(99, 100, 1.0), 4e-6), "the end is the start divided by final_div"

# %% [markdown]
# What do the schedules do to a real run? The same network, 200 steps of SGD with momentum:

# %% demo="optimizers.demo-schedules" covers="optimizers.schedule-caption optimizers.step-decay optimizers.one-cycle optimizers.q.early-plateau"
explore(
    demos.schedule_race,
    alt="Learning rate and training loss over 200 steps for warmup with cosine, step, one-cycle and constant; planned for fewer steps, the loss stops falling at the planned end",
    total=(40, 200, 20, 200),
    peak=(0.02, 0.2, 0.02, 0.1),
    warmup=(0, 50, 5, 10),
)

# %% [markdown]
# **What to see.** On this easy problem all four end with a training loss between 0.015 and 0.035. The constant rate has the lowest, and the highest held-out loss: 0.17, against 0.12 for the two that come to rest smoothly, cosine and one-cycle. **Try** `total` 60: from step 60 on the planned schedules are near zero and the loss stays between 0.1 and 0.16. At the end it is ten times that of the constant rate. It looks like
# convergence. It is starvation, and the first suspect when a loss goes flat is the learning-rate curve. (If the *training* loss falls on while the validation loss rises, it is overfitting: another story, another cure.)
#
# ### Finding the peak
#
# Let the rate grow exponentially during one short run and plot the loss against it. Flat, falling, exploding: take a value in the steep part, below the explosion.

# %% demo="optimizers.demo-lr-finder" covers="optimizers.lr-finder optimizers.divergence-checklist"
explore(
    demos.lr_finder,
    alt="Left: the loss is flat up to a rate of 0.1, falls around 1 and explodes above 5. Right: training with the chosen rate 0.1 is slow but steady",
    log10_rate=(-3.0, 1.0, 0.25, -1.0),
    keep=(0.0, 0.95, 0.05, 0.9),
    depth=(1, 5, 1, 2),
)

# %% [markdown]
# **What to see.** The sweep falls steeply around 1 and explodes beyond 5. Training at 0.1 works and is slow. **Try** `log10_rate` 0: fast. Try 1: the loss leaves the picture. Then raise `depth` to 5: the sweep stays flat until it explodes. No rate helps a network whose signal dies on the way (chapter 7).
#
# ## Large batches
#
# Ten times the examples, ten times less variance: a step may be longer. Goyal et al. (2017) trained ImageNet in an hour with the **linear rule**: batch times $k$, rate times $k$, with warmup. You will often read it as a law for every optimizer. In fact it was derived and tested for SGD. For
# Adam and RMSprop the **square-root rule** is better supported (Malladi et al. 2022). And it ends for SGD too: beyond a critical batch size the rate can no longer keep up. Linear scaling to batch 32 768 without warmup often diverges.
#
# ### Exercise optimizers.scale-lr · difficulty 1 of 5 · 10 min · 2 points
#
# Write `scale_lr(base_lr, base_batch, batch, rule="linear", critical=None)`: the rate for a new batch size, a float.
#
# - `"linear"`: the rate grows like the batch; `"sqrt"`: like its square root. The batch may also shrink.
# - If `critical` is given (at least `base_batch`): the rule holds up to that batch; beyond it the rate goes on from there with the square root of `batch/critical`.
# - Any other rule raises `ValueError`.
#
# `scale_lr(0.1, 256, 2048)` is 0.8; `scale_lr(0.1, 256, 32768, critical=8192)` is 6.4.
#
# <details><summary>Hint 1</summary>Two factors: one from base_batch to critical (or to batch), one from there on.</details>
#
# <details><summary>Hint 2</summary>At batch = critical both sides must agree: no jump.</details>


# %% exercise="optimizers.scale-lr" points=2
def scale_lr(base_lr: float, base_batch: int, batch: int, rule: str = "linear", critical: int | None = None) -> float:
    """Learning rate for another batch size."""
    ### BEGIN SOLUTION
    if rule not in ("linear", "sqrt"):
        raise ValueError(f"unknown rule {rule!r}")
    limit = batch if critical is None else min(batch, critical)
    ratio = limit / base_batch
    return base_lr * (ratio if rule == "linear" else math.sqrt(ratio)) * math.sqrt(batch / limit)
    ### END SOLUTION


# %% check="optimizers.scale-lr"
assert math.isclose(scale_lr(0.1, 256, 2048), 0.8), "eight times the batch, eight times the rate"
assert math.isclose(scale_lr(0.1, 256, 64, rule="sqrt"), 0.05), "a quarter of the batch, half the rate"
assert math.isclose(scale_lr(0.1, 256, 32768, critical=8192), 6.4), "3.2 at the critical batch, then times 2"

# %% [markdown]
# For batches of 32k and more, **LARS** (You et al. 2017) and its Adam form **LAMB** give every layer its own rate. The *trust ratio* makes the step a fixed fraction of the layer's weights, however large or small its gradient is:
#
# $$q=\eta_{\mathrm{LARS}}\,\frac{\lVert w\rVert}{\lVert g\rVert+\lambda\lVert w\rVert}\qquad\qquad w\leftarrow w-\eta\,q\,(g+\lambda w)$$
#
# ### Exercise optimizers.lars-step · difficulty 3 of 5 · 15 min · 3 points
#
# Write LARS without momentum: `lars_step(params, grads, lr, eta=1e-3, wd=0.0)` returns the list of new arrays.
#
# - `params`, `grads`: lists of float arrays, one pair of equal shape per layer; shapes differ between layers and have one to four axes. They stay unchanged.
# - Per layer $q=\text{eta}\cdot\lVert w\rVert/(\lVert g\rVert+\text{wd}\cdot\lVert w\rVert)$ with Euclidean norms over all entries; the new array is $w-\text{lr}\cdot q\cdot(g+\text{wd}\cdot w)$.
# - If $\lVert w\rVert$ or $\lVert g\rVert$ is 0, that layer has $q=1$. No warning then either.
#
# `lars_step([np.array([3.0, 4.0])], [np.array([0.0, 2.0])], lr=1.0, eta=0.1)` is `[[3.0, 3.5]]`: $q=0.1\cdot5/2=0.25$.
#
# <details><summary>Hint 1</summary>A loop over the layers; two numbers per layer.</details>
#
# <details><summary>Hint 2</summary>Without wd every layer changes by the same share of its norm, lr·eta. A layer of zeros would have q = 0 and never leave: hence the guard.</details>


# %% exercise="optimizers.lars-step" points=3
def lars_step(params: list[np.ndarray], grads: list[np.ndarray], lr: float, eta: float = 1e-3, wd: float = 0.0) -> list[np.ndarray]:
    """One step of LARS without momentum; returns the new parameters."""
    ### BEGIN SOLUTION
    new = []
    for w, g in zip(params, grads):
        w_norm, g_norm = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
        q = eta * w_norm / (g_norm + wd * w_norm) if w_norm > 0 and g_norm > 0 else 1.0
        new.append(w - lr * q * (g + wd * w))
    return new
    ### END SOLUTION


# %% check="optimizers.lars-step"
assert np.allclose(lars_step([np.array([3.0, 4.0])], [np.array([0.0, 2.0])], 1.0, eta=0.1)[0], [3.0, 3.5]), "q = 0.1·5/2 = 0.25"
assert np.allclose(lars_step([np.zeros(2)], [np.array([1.0, 2.0])], 0.1)[0], [-0.1, -0.2]), "a layer of zeros has q = 1"
assert np.allclose(lars_step([np.ones(2)], [np.zeros(2)], 0.5, wd=0.1)[0], [0.95, 0.95]), "no gradient: q = 1, only the decay acts"

# %% [markdown]
# ## When it diverges
#
# **Clipping by global norm** rescales the whole gradient if its length exceeds a limit: $g\leftarrow g\cdot\min(1,\,c/\lVert g\rVert)$, with $c=1$ as a rule. All components shrink alike, so the direction stays. Clipping by *value* cuts components one by one, and bends it:

# %%
g = np.array([10.0, 0.5])
by_norm, by_value = g * min(1, 1 / np.linalg.norm(g)), np.clip(g, -1, 1)
print("by norm ", by_norm.round(3), "  by value", by_value)

# %% [markdown]
# Clipping is a safety net for spikes, a must for RNNs and Transformers. If the log shows that nearly *every* step is clipped, all steps have the same length whatever the loss surface says: the rate (or the limit) is wrong.
#
# A run turns to `nan`. In this order:
#
# 1. Lower the learning rate.
# 2. Add warmup, or lengthen it.
# 3. Clip by global norm.
# 4. Mixed precision: look at the loss scale; if the optimizer itself runs in fp16, raise eps.
# 5. It diverges *late*: look at the end of the schedule and at the weight decay.
#
# The architecture comes last. It is the rare culprit.
#
# ## Debug clinic
#
# Three programs that run and are wrong.
#
# ### Exercise optimizers.debug-scheduler · difficulty 3 of 5 · 15 min · 3 points
#
# **Symptom.** Training starts well, and within the first epoch the loss stops moving. The rate is 0 from there on. torch also warns about an order of calls.
#
# Repair `train(w, n_epochs, steps_per_epoch, peak, warmup)`; `lr_at` in the cell is right.
#
# - `w`: an `nn.Parameter` with one entry. In every inner iteration: the gradient of the loss `w.sum()` by `backward()`, then *one* plain SGD update of `w` in place (no momentum).
# - Update number $s$, counted from 1 over the whole training, uses the rate `lr_at(s, n_epochs * steps_per_epoch, warmup, peak)`. `warmup` is counted in updates and is smaller than their total number.
# - There are `n_epochs * steps_per_epoch` updates. Nothing is returned.
#
# With 2 epochs of 2 steps, `peak = 1`, `warmup = 1`, the four rates are 1, 0.75, 0.25 and 0: `w` falls by 2.
#
# <details><summary>Hint 1</summary>In which unit is the schedule stepped, and in which is its length given?</details>
#
# <details><summary>Hint 2</summary>The optimizer first, then the scheduler: otherwise the first rate is never used. LambdaLR counts from 0, hence the s + 1.</details>


# %% exercise="optimizers.debug-scheduler" points=3
def lr_at(step: int, total: int, warmup: int, peak: float, min_lr: float = 0.0) -> float:
    """Given, and right: linear warmup, then cosine."""
    ramp = step / warmup if warmup else 1.0
    x = min(max((step - warmup) / max(total - warmup, 1), 0.0), 1.0)
    return peak * ramp if ramp < 1 else min_lr + (peak - min_lr) * math.cos(math.pi * x / 2) ** 2


def train(w: torch.nn.Parameter, n_epochs: int, steps_per_epoch: int, peak: float, warmup: int) -> None:
    """Train `w` in place with a schedule over all updates."""
    ### BEGIN SOLUTION
    total = n_epochs * steps_per_epoch
    opt = torch.optim.SGD([w], lr=peak)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: lr_at(s + 1, total, warmup, 1.0))
    for _epoch in range(n_epochs):
        for _batch in range(steps_per_epoch):
            opt.zero_grad()
            w.sum().backward()
            opt.step()
            sched.step()
    ### END SOLUTION


# %% broken="optimizers.debug-scheduler"
def lr_at(step: int, total: int, warmup: int, peak: float, min_lr: float = 0.0) -> float:
    """Given, and right: linear warmup, then cosine."""
    ramp = step / warmup if warmup else 1.0
    x = min(max((step - warmup) / max(total - warmup, 1), 0.0), 1.0)
    return peak * ramp if ramp < 1 else min_lr + (peak - min_lr) * math.cos(math.pi * x / 2) ** 2


def train(w: torch.nn.Parameter, n_epochs: int, steps_per_epoch: int, peak: float, warmup: int) -> None:
    """Train `w` in place with a schedule over all updates."""
    opt = torch.optim.SGD([w], lr=peak)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: lr_at(s + 1, n_epochs, warmup, 1.0))
    for _epoch in range(n_epochs):
        for _batch in range(steps_per_epoch):
            opt.zero_grad()
            w.sum().backward()
            sched.step()
            opt.step()


# %% check="optimizers.debug-scheduler"
w_ = torch.nn.Parameter(torch.zeros(1))
train(w_, 2, 2, 1.0, 1)
assert abs(w_.item() + 2.0) < 1e-5, f"the rates 1, 0.75, 0.25, 0 add up to 2; w fell by {-w_.item():.3f}"
w_ = torch.nn.Parameter(torch.zeros(1))
train(w_, 3, 20, 0.1, 0)
assert abs(w_.item() + 2.95) < 1e-4, f"60 updates at half the peak on average: w should fall by 2.95, not {-w_.item():.3f}"

# %% [markdown]
# ### Exercise thirty.scheduler-step · difficulty 2 of 5 · 10 min · 2 points
#
# **Symptom.** The rate looks like a one-cycle, except for a jump at the first update of every epoch.
#
# Repair `train_one_cycle(w, n_epochs, steps_per_epoch, max_lr)`: two schedulers write to one optimizer. Keep the one-cycle.
#
# - `w`, loss and updates as in the exercise before: plain SGD without momentum, one update per inner iteration.
# - The rates are those of torch's `OneCycleLR` with its default `pct_start`, `div_factor` and `final_div_factor`, over `n_epochs * steps_per_epoch` updates; the first update uses the first rate. There are more than 10 updates.
#
# <details><summary>Hint 1</summary>Print the rate before each update. Who wrote it last?</details>
#
# <details><summary>Hint 2</summary>cycle_momentum=False is right as it stands: with True, OneCycleLR would give SGD a momentum that it never had.</details>


# %% exercise="thirty.scheduler-step" points=2
def train_one_cycle(w: torch.nn.Parameter, n_epochs: int, steps_per_epoch: int, max_lr: float) -> None:
    """Train `w` in place under one learning-rate cycle."""
    ### BEGIN SOLUTION
    opt = torch.optim.SGD([w], lr=max_lr)
    cycle = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr, epochs=n_epochs, steps_per_epoch=steps_per_epoch, cycle_momentum=False)
    for _epoch in range(n_epochs):
        for _batch in range(steps_per_epoch):
            opt.zero_grad()
            w.sum().backward()
            opt.step()
            cycle.step()
    ### END SOLUTION


# %% broken="thirty.scheduler-step"
def train_one_cycle(w: torch.nn.Parameter, n_epochs: int, steps_per_epoch: int, max_lr: float) -> None:
    """Train `w` in place under one learning-rate cycle."""
    opt = torch.optim.SGD([w], lr=max_lr)
    cycle = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr, epochs=n_epochs, steps_per_epoch=steps_per_epoch, cycle_momentum=False)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=n_epochs)
    for _epoch in range(n_epochs):
        for _batch in range(steps_per_epoch):
            opt.zero_grad()
            w.sum().backward()
            opt.step()
            cycle.step()
        cosine.step()


# %% check="thirty.scheduler-step"
w_ = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
seen_ = []
w_.register_hook(lambda _g: seen_.append(-w_.item()))
train_one_cycle(w_, 4, 10, 1.0)
rates_ = np.diff([*seen_, -w_.item()])
assert len(rates_) == 40, "40 updates, one per iteration"
assert np.isclose(rates_[0], 0.04) and np.isclose(rates_[11], 1.0), "from max_lr/25 at the start to max_lr at update 12"
assert (np.diff(rates_[11:]) < 0).all(), (
    f"after the peak the rate only falls; yours rises after update {12 + int(np.argmax(np.diff(rates_[11:]) >= 0)) + 1}"
)

# %% [markdown]
# ### Exercise optimizers.debug-adamw · difficulty 4 of 5 · 25 min · 4 points
#
# **Symptom.** The weights do not move at all. When they finally do, nothing agrees with torch: neither the decay, nor the second parameter, nor the third. There are five faults.
#
# Repair `AdamW(params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)` with `step(grads)`.
#
# - `params`: a list of float64 arrays, some maybe of equal shape. `step` changes these very arrays *in place*; `grads`, a list in the same order, stays unchanged.
# - After every step the parameters agree with `torch.optim.AdamW`: first $w\leftarrow(1-\eta\lambda)w$, then the Adam step with the plain gradient.
# - The attribute `lr` may be changed from outside between steps; decay and step both follow it. Two optimizers share nothing.
# - NumPy or plain Python; no `torch`.
#
# One parameter `[1.0]`, gradient `[0.5]`, `lr = 0.1`, `weight_decay = 0.2`: after one step it is `[0.88]`.
#
# <details><summary>Hint 1</summary>Try one parameter without decay, then one with decay, then two of different shape, then two of equal shape. Each shows another fault.</details>
#
# <details><summary>Hint 2</summary>What is the key of the state? How often does t count? Whose array does += write into, and whose does p = p − … ?</details>


# %% exercise="optimizers.debug-adamw" points=4
class AdamW:
    """Adam with decoupled weight decay on a list of arrays."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        ### BEGIN SOLUTION
        self.params, self.lr, self.betas, self.eps, self.wd = params, lr, betas, eps, weight_decay
        self.t = 0
        self.m = [np.zeros_like(p) for p in params]
        self.v = [np.zeros_like(p) for p in params]
        ### END SOLUTION

    def step(self, grads: list[np.ndarray]) -> None:
        """Update the arrays in `params` in place."""
        ### BEGIN SOLUTION
        b1, b2 = self.betas
        self.t += 1
        for i, (p, g) in enumerate(zip(self.params, grads)):
            self.m[i] = b1 * self.m[i] + (1 - b1) * g
            self.v[i] = b2 * self.v[i] + (1 - b2) * g * g
            m_hat, v_hat = self.m[i] / (1 - b1**self.t), self.v[i] / (1 - b2**self.t)
            p *= 1 - self.lr * self.wd
            p -= self.lr * m_hat / (np.sqrt(v_hat) + self.eps)
        ### END SOLUTION


# %% broken="optimizers.debug-adamw"
class AdamW:
    """Adam with decoupled weight decay on a list of arrays."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        self.params, self.lr, self.betas, self.eps, self.wd = params, lr, betas, eps, weight_decay
        self.t = 0
        self.m = {p.shape: np.zeros_like(p) for p in params}
        self.v = {p.shape: np.zeros_like(p) for p in params}

    def step(self, grads: list[np.ndarray]) -> None:
        """Update the arrays in `params` in place."""
        b1, b2 = self.betas
        for p, g in zip(self.params, grads):
            self.t += 1
            g += self.wd * p
            m = self.m[p.shape] = b1 * self.m[p.shape] + (1 - b1) * g
            v = self.v[p.shape] = b2 * self.v[p.shape] + (1 - b2) * g * g
            p = p - self.lr * (m / (1 - b1**self.t)) / (np.sqrt(v / (1 - b2**self.t)) + self.eps)


# %% check="optimizers.debug-adamw"
p_, g_ = np.array([1.0]), np.array([0.5])
AdamW([p_], lr=0.1, weight_decay=0.2).step([g_])
assert p_[0] != 1.0, "the array in params has not changed: write in place"
assert np.isclose(p_[0], 0.88), f"1·(1 − 0.1·0.2) − 0.1 = 0.88, not {p_[0]:.4f}"
assert g_[0] == 0.5, "the caller's gradient was changed"
twins_ = [np.array([1.0]), np.array([1.0])]
AdamW(twins_, lr=0.1, weight_decay=0.0).step([np.array([0.5]), np.array([-3.0])])
assert np.allclose(twins_, [[0.9], [1.1]]), "two parameters of equal shape: each has its own moments, and one step is one t"

# %% [markdown]
# ## Write the test
#
# ### Exercise optimizers.test-adam · difficulty 3 of 5 · 20 min · 4 points
#
# A colleague hands you an `adam_step(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8)` and you decide whether it may be merged. Write `check_adam(adam_step)`.
#
# - It raises `AssertionError` (any exception counts) for a wrong implementation and returns without one for a right one. NumPy and torch are allowed.
# - Right ones follow the contract of exercise optimizers.adam-step for float64 arrays, to a relative $10^{-10}$ or so; two right ones differ in the last digits, so compare with a tolerance. Each call gets copies of your arrays: judge what it returns, not what it overwrites.
# - Wrong ones among those you will meet: no bias correction, or only that of $m$; $(1-\beta)^t$; swapped betas; betas ignored; corrected moments returned; eps under the root; `t` one ahead. Each is right in all else.
#
# Score: the share of wrong ones that you catch, less the right ones that you reject.
#
# <details><summary>Hint 1</summary>One step with default betas and gradients near 1 shows few of these. Which would it show?</details>
#
# <details><summary>Hint 2</summary>Several steps that feed the state back; a second pair of betas; gradients of about 1e−6. torch.optim.Adam can walk beside you.</details>


# %% exercise="optimizers.test-adam" points=4
def check_adam(adam_step: Callable) -> None:
    """Raise AssertionError if `adam_step` is wrong."""
    ### BEGIN SOLUTION
    rng = np.random.default_rng(0)
    for beta1, beta2 in [(0.9, 0.999), (0.7, 0.95)]:
        p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
        optimizer = torch.optim.Adam([p], lr=0.1, betas=(beta1, beta2))
        w, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
        for t in range(1, 6):
            g = rng.normal(size=3) * np.array([1.0, 1e-6, 100.0])
            p.grad = torch.tensor(g)
            optimizer.step()
            w, m, v = adam_step(w, g, m, v, t, lr=0.1, beta1=beta1, beta2=beta2)
            assert np.allclose(w, p.detach().numpy(), rtol=1e-8, atol=1e-12), f"step {t}, betas {beta1}, {beta2}"
    ### END SOLUTION


# %% check="optimizers.test-adam"
def right_(w, g, m, v, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


check_adam(right_)  # a right one passes
try:
    check_adam(lambda w, g, m, v, t, lr=1e-3, **_: (w - lr * g, m, v))
except AssertionError:
    pass
else:
    raise AssertionError("your check accepts plain SGD under the name of Adam")

# %% [markdown]
# ## Interview questions
#
# Each question comes with the answers that interviewers hear too often. Say yours aloud before you read the options.

# %% quiz=true

# %% [markdown]
# ## One-page recap
#
# | ask yourself | answer |
# |---|---|
# | SGD, momentum | limit $2/b$ from the steepest direction; $b\leftarrow\mu b+g$ is a sum: steps up to $1/(1-\mu)$ times longer; Nesterov steps along $g+\mu b$ |
# | Adagrad → RMSprop → Adam | the sum never forgets → moving average → plus momentum and bias correction |
# | bias correction | divide by $1-\beta^t$; without it steps are too **long**: 3.2, at most 6.6, 2.35 at $t=200$, within 5 % from $t=2375$ |
# | betas, eps | 0.9, 0.999 (Transformers 0.98 or 0.95), 1e−8; large eps: SGD-like; 1e−8 is 0 in fp16 |
# | $v$ | second raw moment, not the variance |
# | AdamW | $w\leftarrow(1-\eta\lambda)w$ outside the moments; L2 in Adam spares weights with large gradients; equal for SGD only |
# | Adam or SGD | AdamW by default; SGD + momentum for CNN recipes; a tendency, no law |
# | memory | Adam: 2 states, 8 bytes; 16 bytes a parameter in training, fp32 or mixed |
# | schedule | peak first; linear warmup (1 to 10 %), cosine to about 0; total in the unit you step in |
# | batch × $k$ | SGD: rate × $k$ with warmup; Adam: × $\sqrt k$; beyond the critical batch slower, or LARS/LAMB |
# | nan | rate, warmup, clipping by global norm, precision; late: end of schedule, decay |
# | flat loss | look at the learning-rate curve before anything else |
