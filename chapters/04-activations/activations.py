# %% [markdown]
# # 4 · Activation functions: the bend that makes depth count
#
# After this chapter you can write every common activation with its derivative so that it survives inputs of $\pm10^4$, tell a dead unit from a
# quiet one, and say for any layer which activation belongs there and why.
#
# | | |
# |---|---|
# | time | about 5 hours: 15 exercises, 20 questions |
# | builds on | chapter 2 (a layer is $a=f(Wx+b)$) and chapter 3 (the chain rule through a layer) |
# | you will be able to | write sigmoid, tanh, GELU, SiLU, SwiGLU and softmax so that they never overflow · measure dead units, zig-zag and saturation · compute a loss from logits · pair activation and initialization · answer the interview questions that go with them |

# %% setup=true
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

erf = np.vectorize(math.erf, otypes=[float])  # NumPy has no erf of its own

# %%
from utils import explore, predict, reveal
from utils.demos import activations as demos

# %% [markdown]
# ## Why there is a bend at all
#
# Put two affine layers on top of each other, $W_2(W_1x+b_1)+b_2$, and multiply out: it is $Wx+b$ with $W=W_2W_1$ and $b=W_2b_1+b_2$. A hundred
# of them are still one. Without something between the layers, depth buys nothing.
#
# You will often read that "ReLU is practically linear". Test it with the definition: a linear function has $f(a+b)=f(a)+f(b)$.


# %%
def bend(z):
    return np.maximum(0.0, z)  # ReLU


print("relu(1) + relu(-1) =", bend(1.0) + bend(-1.0), "   relu(1 + (-1)) =", bend(0.0))

# %% [markdown]
# One is not zero, so ReLU is not linear. And $\mathrm{relu}(0)=0$, so no bias explains the gap: it is not affine either. It is *piecewise* linear: straight on both sides of 0 and bent at 0, and the bend is all that depth needs.
# Each unit $\mathrm{ReLU}(wx+b)$ has its kink at $x=-b/w$. Add a few with kinks in different places and any curve appears, in short straight pieces.
# Three kinks make a tent:

# %%
x = np.array([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
tent = bend(x) - 2 * bend(x - 1) + bend(x - 2)
print(dict(zip(x.tolist(), tent.tolist())))

# %% [markdown]
# Take the ReLUs out and the tent collapses into one straight line. Leave them in and it does not: that is the whole argument, and it holds for every bend
# in this chapter. What the bends differ in is their *slope*, because the slope is what backpropagation multiplies by, once a layer.
#
# ## Five curves and their slopes
#
# The left panel is what goes forward. The right panel is what the gradient is multiplied by on the way back. In the shaded band almost nothing
# comes through: a unit there is *saturated*.

# %% demo="activations.curves" covers="activations.figure activations.sigmoid activations.tanh activations.relu activations.gelu-tanh activations.silu activations.max-derivative activations.intro activations.saturation"
explore(
    demos.curves,
    alt="Five activations and their slopes for z from -3 to 3; the sigmoid's slope never exceeds 0.25, ReLU's is 0 or 1, GELU and SiLU dip below 0",
    z=(-3.0, 3.0, 0.1, 1.0),
    focus=["sigmoid", "tanh", "ReLU", "GELU", "SiLU"],
    others=True,
)

# %% [markdown]
# **What to see.** The sigmoid's slope is 0.25 at best. Tanh reaches 1 but only at $z=0$. ReLU's slope is exactly 0 or 1. GELU and SiLU have a smooth slope
# that goes a little below 0 on the left and a little above 1 on the right. **Try** focus on tanh and move $z$ from 0 to 3: the slope falls from 1 to 0.01.
#
# | name | formula | range | slope | typical place |
# |---|---|---|---|---|
# | sigmoid | $\sigma(z)=1/(1+e^{-z})$ | $(0,1)$ | $\sigma(1-\sigma)\le 0.25$ | gates; binary and multi-label output |
# | tanh | $(e^z-e^{-z})/(e^z+e^{-z})$ | $(-1,1)$ | $1-\tanh^2\le 1$ | recurrent state and candidate |
# | ReLU | $\max(0,z)$ | $[0,\infty)$ | 0 or 1 | MLP, CNN |
# | Leaky, PReLU | $z$ if $z>0$ else $\alpha z$ | $(-\infty,\infty)$ | $\alpha$ or 1 | when units keep dying |
# | ELU | $z$ if $z>0$ else $\alpha(e^z-1)$ | $(-\alpha,\infty)$ | $\alpha e^z$ or 1 | the same, mean near 0, dearer |
# | GELU | $z\,\Phi(z)$ | about $[-0.17,\infty)$ | about $-0.13$ to $1.13$ | BERT, GPT |
# | SiLU (Swish) | $z\,\sigma(z)$ | about $[-0.28,\infty)$ | about $-0.10$ to $1.10$ | vision nets; inside SwiGLU |
# | SwiGLU | $\mathrm{Swish}(xW)\odot xV$ | all numbers | two-sided product | LLaMA, Mistral |
# | softmax | $e^{z_i}/\sum_j e^{z_j}$ | $(0,1)$, sums to 1 | couples all entries | one label out of many; attention weights |
#
# ## The sigmoid, and the number that breaks it
#
# The sigmoid turns any score into a number between 0 and 1. Written the way it is printed above, it works until a score of about $-710$ arrives.
# Choose what you expect, then run the next cell.

# %%
predict(
    "`1 / (1 + np.exp(-z))` at $z=-1000$, in float64. What comes out?",
    ["0.0, silently", "0.0, and a warning", "nan, and a warning", "an OverflowError"],
    key="activations.cliff",
)

# %% demo="activations.cliff" covers="activations.sigmoid"
import warnings

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    value = 1 / (1 + np.exp(-np.array(-1000.0)))
reveal(f"{value}, and “{caught[0].message}”", answer="0.0, and a warning", key="activations.cliff")

# %% [markdown]
# **What to see.** The value is right, but the road to it went through infinity. In float32 the cliff is at $-88.7$. The other textbook form,
# $e^z/(1+e^z)$, runs into the same infinity at $z=+710$ and returns `nan`. **Try** it: replace the formula in the cell.
#
# The remedy is one sentence long: **never exponentiate a positive number.** Both forms equal $\sigma$; each is safe on one side.
#
# $$\sigma(z)=\begin{cases}\dfrac{1}{1+e^{-z}} & z\ge 0\\[1.2ex]\dfrac{e^{z}}{1+e^{z}} & z<0\end{cases}\qquad\qquad \sigma'(z)=\sigma(z)\,\bigl(1-\sigma(z)\bigr)\le\tfrac14$$
#
# The derivative is written in terms of the *output*: having $s=\sigma(z)$ from the forward pass, the backward pass needs no exponential at all.
#
# ### Exercise activations.stable-sigmoid · difficulty 2 of 5 · 15 min · 3 points
#
# Write `sigmoid(z)` and its derivative at `z`, `dsigmoid(z)`.
#
# - `z`: a float32 or float64 array of any size and shape, also 0-d, empty, transposed or reversed (`a[::-1]`). The result is a new array with its shape and its dtype: float32 stays float32.
# - No overflow and no warning for $|z|\le 10^4$ in either dtype.
# - float64 results are accurate to $10^{-12}$, so clipping `z` at 20 or 25 is no way out.
# - NumPy (or plain Python); no `scipy`, no `torch`.
# - Do not silence warnings: `np.errstate`, `np.seterr` and the `warnings` module are ruled out.
#
# `sigmoid(np.array([0.0, 2.0]))` is `[0.5, 0.8808]`; `dsigmoid(np.array([0.0, 2.0]))` is `[0.25, 0.1050]`.
#
# <details><summary>Hint 1</summary>Which of the two forms has a harmless exponent for your z? And what does np.where evaluate?</details>
#
# <details><summary>Hint 2</summary>With $e=e^{-|z|}$, which is never above 1, the two branches are $1/(1+e)$ and $e/(1+e)$.</details>


# %% exercise="activations.stable-sigmoid" points=3
def sigmoid(z: np.ndarray) -> np.ndarray:
    """Logistic function, elementwise; same shape and dtype as `z`."""
    ### BEGIN SOLUTION
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e)).astype(z.dtype)
    ### END SOLUTION


def dsigmoid(z: np.ndarray) -> np.ndarray:
    """Derivative of the logistic function at `z`; same shape and dtype as `z`."""
    ### BEGIN SOLUTION
    s = sigmoid(z)
    return s * (1 - s)
    ### END SOLUTION


# %% check="activations.stable-sigmoid"
assert sigmoid(np.array(0.0)) == 0.5, "at 0 both branches meet in 0.5"
assert np.allclose(sigmoid(np.array([-2.0, 2.0])), [0.1192, 0.8808], atol=1e-4), "sigmoid(-2) is 0.1192, sigmoid(2) is 0.8808"
assert np.isfinite(sigmoid(np.array([-1e4, 1e4]))).all(), "nan or inf: exp overflowed on the way"
assert np.isclose(dsigmoid(np.array(0.0)), 0.25), "the slope at 0 is 0.25"
assert sigmoid(np.zeros(3, np.float32)).dtype == np.float32, "float32 in, float32 out"

# %% [markdown]
# **What goes wrong.** `np.where(z >= 0, f(z), g(z))` computes `f` and `g` for *all* entries and selects afterwards. The branch you throw away still
# overflows, and it still warns.
#
# The quarter is the reason why deep sigmoid nets do not train. Every layer multiplies the gradient by a slope of at most 0.25 (and by its weights). Ten layers at
# the best possible point, $z=0$, with weights of 1:

# %%
best, far = 1 / (1 + math.exp(0.0)), 1 / (1 + math.exp(-4.0))
print(f"ten layers at z = 0: {(best * (1 - best)) ** 10:.2g}    one slope at z = 4: {far * (1 - far):.4f}")

# %% [markdown]
# A millionth, before saturation even starts. Beyond $|z|=4$ each factor is below 0.02. You will see the whole-network version in the section on initialization.
#
# ## Tanh: the sigmoid, centred
#
# Stretch the sigmoid vertically to $(-1,1)$ and squeeze it horizontally by two: that is tanh.
#
# $$\tanh(z)=\frac{e^z-e^{-z}}{e^z+e^{-z}}=2\,\sigma(2z)-1\qquad\qquad \tanh'(z)=1-\tanh^2(z)\le 1$$
#
# Its slope peaks at 1, four times the sigmoid's. It still saturates: at $z=2$ the slope is 0.07. So tanh softens vanishing gradients and does not end them.
# What it does end is in the next section.
#
# ### Exercise activations.stable-tanh · difficulty 2 of 5 · 10 min · 2 points
#
# Write `tanh(z)` and its derivative at `z`, `dtanh(z)`.
#
# - `z`: a float64 array of any size and shape, also 0-d, empty, transposed or reversed (`a[::-1]`). The result is a new array of its shape.
# - No overflow, no `nan` and no warning for $|z|\le10^4$. Both are accurate to $10^{-11}$ everywhere, so clipping `z` or setting $\pm1$ from 10 or 12 on is no way out.
# - Build it from `exp` (`expm1` is fine): no `tanh`, `sinh`, `cosh`, `tan`, `sin` or `cos` of NumPy, `math` or `cmath`, no `scipy`, no `torch`.
# - Do not silence warnings: `np.errstate`, `np.seterr` and the `warnings` module are ruled out.
#
# `tanh(np.array([-1.0, 0.5]))` is `[-0.7616, 0.4621]`; `dtanh(np.array([-1.0, 0.0]))` is `[0.4200, 1.0]`.
#
# <details><summary>Hint 1</summary>Divide numerator and denominator by the larger of the two exponentials. Which one that is depends on the sign of z.</details>
#
# <details><summary>Hint 2</summary>For z ≥ 0 it is $(1-e^{-2z})/(1+e^{-2z})$. Tanh is odd: $\tanh(-z)=-\tanh(z)$.</details>


# %% exercise="activations.stable-tanh" points=2
def tanh(z: np.ndarray) -> np.ndarray:
    """Hyperbolic tangent, elementwise."""
    ### BEGIN SOLUTION
    e = np.exp(-2 * np.abs(z))
    return np.sign(z) * (1 - e) / (1 + e)
    ### END SOLUTION


def dtanh(z: np.ndarray) -> np.ndarray:
    """Derivative of the hyperbolic tangent at `z`."""
    ### BEGIN SOLUTION
    return 1 - tanh(z) ** 2
    ### END SOLUTION


# %% check="activations.stable-tanh"
assert np.allclose(tanh(np.array([-1.0, 0.5])), [-0.76159, 0.46212], atol=1e-4), "tanh(-1) is -0.7616, tanh(0.5) is 0.4621"
assert np.allclose(tanh(np.array([-800.0, 800.0])), [-1, 1]), "at ±800 tanh is ±1; nan means inf/inf"
assert np.isclose(dtanh(np.array(0.0)), 1.0), "the slope at 0 is 1"

# %% [markdown]
# ## Zig-zag: what positive inputs do to a step
#
# A unit with inputs $h$ receives the error $\delta$ from above. Its weight gradient for one example is $\delta\,h$: one number times the vector of inputs. If $h$
# came out of a sigmoid, all components of $h$ are positive, so all components of $\delta h$ have the sign of $\delta$. Per example, all weights of the unit go up together or
# go down together. A goal that needs one weight up and the other down is reached by zig-zag only.

# %% demo="activations.zigzag-path" covers="activations.sigmoid-bias activations.tanh-advantage"
explore(
    demos.zigzag_path,
    alt="Path of two weights on the loss contours: with positive inputs every step goes up-right or down-left and zig-zags; with centred inputs it heads for the goal",
    rate=(0.1, 1.5, 0.1, 0.8),
    steps=(5, 80, 5, 40),
)

# %% [markdown]
# **What to see.** With positive inputs every step points up-right or down-left, though the goal lies down-right; the loss surface is a long valley. With the
# same inputs centred, steps take any direction and the path arrives. **Try** rate 0.2: the left path stops far from the goal.
#
# You will often read that positive activations force all gradients of a layer to one sign. In fact it holds *per example and per unit*. Another example has another $\delta$;
# summed over a mini-batch with mixed signs of $\delta$, the components can differ (LeCun et al. 1998 make the argument for one pattern at a time). Zig-zag is real, and mini-batches soften it.
#
# ### Exercise activations.zigzag · difficulty 2 of 5 · 10 min · 2 points
#
# Measure it. Write `same_sign_fraction(H, delta)`.
#
# - `H`: float array $(N, k)$, the inputs of one unit for $N$ examples, $k\ge 2$. `delta`: float array $(N,)$, the errors that arrive at it.
# - The weight gradient of example $n$ is $\delta_n H_n$, a vector of $k$ components.
# - Return, as a float: *among the examples with $\delta_n\ne0$*, the fraction whose gradient components are all $>0$ or all $<0$. A component that is exactly 0 has
#   neither sign. Tiny is not 0: a `delta` of $10^{-100}$ counts, and a component of $10^{-100}$ has a sign. Nothing nearer to 0 occurs, 0 itself aside.
# - 0.0 if there is no such example: all `delta` zero, or $N=0$ (no warning then either).
#
# `same_sign_fraction(np.array([[.2, .9], [.3, -.5], [.1, .1]]), np.array([-1., 2., 0.]))` is `0.5`: the first agrees, the second does not, the third does not count.
#
# <details><summary>Hint 1</summary>First select the examples that count. Only then ask each row a yes-no question.</details>
#
# <details><summary>Hint 2</summary>all(g > 0) or all(g < 0) along the components, then the mean over the examples.</details>


# %% exercise="activations.zigzag" points=2
def same_sign_fraction(H: np.ndarray, delta: np.ndarray) -> float:
    """Share of examples (with delta ≠ 0) whose weight gradient has components of one sign only."""
    ### BEGIN SOLUTION
    used = delta != 0
    if not used.any():
        return 0.0
    g = delta[used, None] * H[used]  # (n, k)
    return float(((g > 0).all(axis=1) | (g < 0).all(axis=1)).mean())
    ### END SOLUTION


# %% check="activations.zigzag"
rng_ = np.random.default_rng(0)
z_, delta_ = rng_.normal(size=(1000, 3)), rng_.normal(size=1000)
assert same_sign_fraction(1 / (1 + np.exp(-z_)), delta_) == 1.0, "sigmoid inputs are positive: every example has one sign"
assert abs(same_sign_fraction(np.tanh(z_), delta_) - 0.25) < 0.05, "tanh of symmetric input: about 2^(1-k) = 1/4 for k = 3"
assert same_sign_fraction(np.ones((2, 2)), np.zeros(2)) == 0.0, "no example with delta ≠ 0: return 0.0"

# %% [markdown]
# For sigmoid inputs the answer is always 1. For tanh inputs that are positive or negative with equal chance it is $2^{1-k}$: with 8 inputs, one example in 128. That is the
# real advantage of tanh over the sigmoid. Vanishing gradients it shares.
#
# ## ReLU: cheap, open to the right, and mortal
#
# $\mathrm{ReLU}(z)=\max(0,z)$ costs a comparison. For $z>0$ its slope is 1, at any depth: no saturation there. Three prices are paid on the other side. The outputs are never
# negative, so they are not centred. The slope at $z<0$ is 0. And a unit whose $z$ is negative for *every* input is dead: output 0, gradient 0, update 0, forever.
#
# The relatives keep something alive on the left. **Leaky ReLU** has a small slope $\alpha\approx0.01$ there, **PReLU** learns it, **ELU** bends down smoothly to $-\alpha$ with
# $\alpha(e^z-1)$: its mean is closer to 0, at the price of an exponential.
#
# You will often read $\mathrm{LeakyReLU}(z)=\max(\alpha z,z)$. In fact that holds only for $\alpha\le1$, and a learned slope may become anything. Choose the branch by the sign of $z$, as
# `F.prelu` does.
#
# ### Exercise activations.relu-family · difficulty 1 of 5 · 10 min · 2 points
#
# Write `relu(z)`, `leaky_relu(z, alpha=0.01)` and `elu(z, alpha=1.0)`.
#
# - `z`: a float64 array of any size and shape, also 0-d, empty, transposed or reversed (`a[::-1]`). The result is a new array of its shape.
# - `leaky_relu`: $z$ for $z>0$, $\alpha z$ otherwise.
# - `elu`: $z$ for $z>0$, $\alpha(e^z-1)$ otherwise; no overflow and no warning for $|z|\le10^4$.
# - Both for *any* `alpha`, also 0, above 1 or negative.
# - NumPy or plain Python; no `scipy`, no `torch`.
# - Do not silence warnings: `np.errstate`, `np.seterr` and the `warnings` module are ruled out.
#
# At $z=-2$: `relu` gives 0, `leaky_relu` gives −0.02, `elu` gives −0.8647.
#
# <details><summary>Hint 1</summary>np.where for the choice. But remember what it evaluates.</details>
#
# <details><summary>Hint 2</summary>In the negative branch of ELU the exponent may be min(z, 0).</details>


# %% exercise="activations.relu-family" points=2
def relu(z: np.ndarray) -> np.ndarray:
    """max(0, z), elementwise."""
    ### BEGIN SOLUTION
    return np.maximum(0.0, z)
    ### END SOLUTION


def leaky_relu(z: np.ndarray, alpha: float = 0.01) -> np.ndarray:
    """z where z > 0, alpha·z elsewhere."""
    ### BEGIN SOLUTION
    return np.where(z > 0, z, alpha * z)
    ### END SOLUTION


def elu(z: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """z where z > 0, alpha·(exp(z) − 1) elsewhere."""
    ### BEGIN SOLUTION
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))
    ### END SOLUTION


# %% check="activations.relu-family"
z_ = np.array([-2.0, 0.0, 3.0])
assert np.allclose(relu(z_), [0, 0, 3]), "relu([-2, 0, 3]) is [0, 0, 3]"
assert np.allclose(leaky_relu(z_, alpha=2.0), [-4, 0, 3]), "with alpha = 2 the left side is steeper, the right side unchanged"
assert np.allclose(elu(z_), [-0.8647, 0, 3], atol=1e-4), "elu(-2) is exp(-2) − 1 = −0.8647"

# %% [markdown]
# ### How units die
#
# The usual killer is not the initialization. It is one step that is far too large: it pushes weights and biases so far that $z<0$ for every input. Below, a net with two layers of
# 100 ReLUs learns the digits. At step 21 the learning rate is 30 times as large, for that one step; before and after it is normal.

# %%
predict(
    "One single step with 30 times the learning rate. Forty normal steps later, what share of the ReLUs is silent for all 1348 training images?",
    ["2 %: normal steps revive them", "about 40 %", "100 %: nothing survives"],
    key="activations.dead-layer",
)

# %% demo="activations.dead-layer" covers="activations.dead-def activations.dead-fixes activations.saturation activations.intro"
explore(
    demos.dead_layer,
    alt="Share of dead units and loss over 60 steps: one step with a learning rate 30 times too large kills about 40 percent of the ReLUs for good",
    spike=(1.0, 100.0, 1.0, 30.0),
    activation=["ReLU", "LeakyReLU", "GELU"],
    batch_norm=False,
)
dead, losses = demos.train_with_spike()
reveal(
    f"{100 * dead[-1]:.0f} % dead after the last step, loss {losses[-1]:.2f}; without the spike 2 % and 0.21",
    answer="about 40 %",
    key="activations.dead-layer",
)

# %% [markdown]
# **What to see.** The share jumps within two steps and hardly comes back: a dead unit gets no gradient, so nothing repairs it except luck in the layer before. The loss recovers slowly, with the units that are left.
# **Try** `batch_norm`: BatchNorm before the ReLU centres $z$ over the batch, so a unit is hardly ever negative for all of it, and the share stays 0. **Try** LeakyReLU: no unit
# dies, but at 100 times the rate the loss still explodes. A leak cures the symptom.
#
# So the order of repair is: **lower the learning rate or warm it up, check that the initialization is He; then BatchNorm before the ReLU; then another activation**
# (Leaky ReLU with 0.01, PReLU, ELU, GELU). Switching the activation first often hides a tuning problem.
#
# ### How to see it
#
# About half of all ReLU outputs are zero in a healthy net: that is sparsity, *per example*, and it is a feature. Death is another thing: one unit that is zero for *every example of every
# batch*. Log both numbers per layer, and look at histograms of the pre-activations when the second one grows.
#
# ### Exercise activations.dead-units · difficulty 2 of 5 · 15 min · 3 points
#
# Write `dead_report(batches)` → `(dead, zeros)`, two floats.
#
# - `batches`: a list (not empty) of post-ReLU activations, one array a batch, all values $\ge0$. The *last* axis holds the units, one or more, the same in every batch. Before it stand one axis of examples, whose number
#   differs from batch to batch, and perhaps one axis of tokens. The number of tokens may differ too.
# - `dead`: the fraction of units that are exactly 0 for every example (and token) of every batch. $10^{-12}$ is not 0.
# - `zeros`: the fraction of zero entries among all entries of all batches together.
#
# `dead_report([np.array([[1., 0., 0.], [0., 0., 0.]]), np.array([[0., 0., 2.]])])` is `(1/3, 7/9)`: only the middle unit is silent throughout.
#
# <details><summary>Hint 1</summary>A unit is alive if you find a single positive entry anywhere. Combine over batches accordingly.</details>
#
# <details><summary>Hint 2</summary>reshape(-1, units) makes every batch a table with one row an example or token; the tables can be stacked.</details>


# %% exercise="activations.dead-units" points=3
def dead_report(batches: list[np.ndarray]) -> tuple[float, float]:
    """Fraction of units that are never active, and fraction of zero entries."""
    ### BEGIN SOLUTION
    rows = np.concatenate([a.reshape(-1, a.shape[-1]) for a in batches])  # (all examples, units)
    zero = rows == 0
    return float(zero.all(axis=0).mean()), float(zero.mean())
    ### END SOLUTION


# %% check="activations.dead-units"
dead_, zeros_ = dead_report([np.array([[1.0, 0, 0], [0, 0, 0]]), np.array([[0, 0, 2.0]])])
assert np.isclose(dead_, 1 / 3), f"only the middle unit is dead: 1/3, not {dead_}"
assert np.isclose(zeros_, 7 / 9), f"7 of 9 entries are zero, not {zeros_}"
assert np.isclose(dead_report([np.eye(4)])[0], 0.0), "75 % zeros, and yet every unit fires once: none is dead"

# %% [markdown]
# ### A slope that learns
#
# PReLU makes $\alpha$ a parameter, one a channel. The forward pass is Leaky ReLU. Backward, two gradients are needed: one for the input, which is multiplied by 1 or by
# $\alpha$, and one for $\alpha$ itself. Since $y=\alpha x$ on the negative side, $\partial y/\partial\alpha=x$ there and 0 elsewhere.
#
# ### Exercise activations.prelu-backward · difficulty 3 of 5 · 15 min · 3 points
#
# Write `prelu(x, alpha, dY)` → `(y, dx, dalpha)`.
#
# - `x`: float array $(N, C)$, without exact zeros (at 0 the slope is a matter of convention), but perhaps with $\pm10^{-6}$. `alpha`: float array $(C,)$, one slope a channel, possibly 0, negative or above 1.
#   `dY`: float array $(N, C)$, the gradient of the loss with respect to `y`.
# - `y` $(N,C)$: `x` where it is positive, its channel's slope times `x` elsewhere. `dx` $(N,C)$ and `dalpha` $(C,)$: the gradients of the loss with respect to `x` and `alpha`. All three are new arrays.
#
# For `x = [[-2., 3.]]`, `alpha = [0.1, 0.5]`, `dY = [[1., 4.]]`: `y = [[-0.2, 3.]]`, `dx = [[0.1, 4.]]`, `dalpha = [-2., 0.]`.
#
# <details><summary>Hint 1</summary>alpha of a channel was used by all N examples: what happens to gradients where one value is used several times?</details>
#
# <details><summary>Hint 2</summary>$d\alpha_c=\sum_n dY_{nc}\,\min(x_{nc},0)$.</details>


# %% exercise="activations.prelu-backward" points=3
def prelu(x: np.ndarray, alpha: np.ndarray, dY: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PReLU with one slope a channel: output, gradient for `x`, gradient for `alpha`."""
    ### BEGIN SOLUTION
    positive = x > 0
    y = np.where(positive, x, alpha * x)  # (N, C)
    dx = dY * np.where(positive, 1.0, alpha)  # (N, C)
    dalpha = (dY * np.minimum(x, 0.0)).sum(axis=0)  # (C,)
    return y, dx, dalpha
    ### END SOLUTION


# %% check="activations.prelu-backward"
y_, dx_, dalpha_ = prelu(np.array([[-2.0, 3.0]]), np.array([0.1, 0.5]), np.array([[1.0, 4.0]]))
assert np.allclose(y_, [[-0.2, 3.0]]), "y: negative entries times their channel's slope"
assert np.allclose(dx_, [[0.1, 4.0]]), "dx: upstream gradient times the local slope"
assert np.allclose(dalpha_, [-2.0, 0.0]), "dalpha: one number a channel; positive entries contribute nothing"

# %% [markdown]
# ## GELU and SiLU: gates instead of kinks
#
# ReLU multiplies $z$ by 0 or 1. GELU multiplies it by a number between 0 and 1: the probability $\Phi(z)$ that a standard normal variable is below $z$. SiLU does the same with the
# sigmoid in place of $\Phi$.
#
# $$\mathrm{GELU}(z)=z\,\Phi(z)=\tfrac z2\Bigl(1+\mathrm{erf}\tfrac{z}{\sqrt2}\Bigr)\qquad \mathrm{SiLU}(z)=z\,\sigma(z)$$
#
# Both are smooth, both let small negative values through, and both turn back up on the left: they are not monotone. You will meet three GELUs under one name, all from the
# paper that introduced it (Hendrycks and Gimpel 2016), so ask which one is meant:
#
# - **exact**, with erf: what `F.gelu(z)` computes;
# - **tanh form**, $\tfrac z2\bigl(1+\tanh\bigl[\sqrt{2/\pi}\,(z+0.044715\,z^3)\bigr]\bigr)$: GPT-2, and `F.gelu(z, approximate="tanh")`;
# - **sigmoid form**, $z\,\sigma(1.702\,z)$: the cheap one.

# %% demo="activations.gelu-variants" covers="activations.gelu-tanh activations.silu"
explore(
    demos.gelu_variants,
    alt="Exact GELU, its tanh and sigmoid forms and SiLU; on a log axis they differ from the exact form by at most 0.00047, 0.02 and 0.19",
    zoom=False,
)

# %% [markdown]
# **What to see.** The tanh form is off by at most 0.00047, the sigmoid form by 0.02, SiLU by 0.19: it is a function of its own, not a GELU. **Try** `zoom`: all four are negative
# for $z<0$; GELU's lowest point is $-0.170$ at $z=-0.752$.
#
# Why GELU, then? The honest answer is short: it is smooth, it passes small negatives, and in experiments transformers trained better with it. No theorem says it is the best gate. It costs
# more than ReLU, which is why the approximations exist.
#
# ### Exercise activations.gelu-forms · difficulty 2 of 5 · 15 min · 3 points
#
# Write `gelu(z, approximate="none")` with all three forms.
#
# - `z`: a float64 array of any size and shape, also 0-d, empty, transposed or reversed (`a[::-1]`), $|z|\le40$. The result is a new array of its shape.
# - `approximate` is `"none"` (exact), `"tanh"` or `"sigmoid"`. Each form is checked to a relative $10^{-7}$, far below their differences; errors below $10^{-12}$ do not count.
# - The set-up cell gives you `erf(array)`. `np.tanh` is allowed; `torch` and `scipy` are not.
#
# `gelu(np.array(1.0))` is 0.84134, with `"tanh"` 0.84119, with `"sigmoid"` 0.84580.
#
# <details><summary>Hint 1</summary>Each form is z times a gate. At z = 0 the gate is one half, for large z it is 1.</details>
#
# <details><summary>Hint 2</summary>The normal distribution function is $\Phi(z)=\tfrac12\,(1+\mathrm{erf}(z/\sqrt2))$.</details>


# %% exercise="activations.gelu-forms" points=3
def gelu(z: np.ndarray, approximate: str = "none") -> np.ndarray:
    """Gaussian error linear unit; `approximate` is "none", "tanh" or "sigmoid"."""
    ### BEGIN SOLUTION
    if approximate == "none":
        gate = 0.5 * (1 + erf(z / np.sqrt(2)))
    elif approximate == "tanh":
        gate = 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    else:
        gate = 1 / (1 + np.exp(-1.702 * z))
    return z * gate
    ### END SOLUTION


# %% check="activations.gelu-forms"
one = np.array([1.0, -2.0])
assert np.allclose(gelu(one), [0.841345, -0.045500], atol=1e-6), "exact: z·Φ(z), and it is the default"
assert np.allclose(gelu(one, approximate="tanh"), [0.841192, -0.045402], atol=1e-6), "tanh form"
assert np.allclose(gelu(one, approximate="sigmoid"), [0.845796, -0.064340], atol=1e-6), "sigmoid form: 1.702 inside the sigmoid"

# %% [markdown]
# The derivative of a gated unit needs the product rule, because the gate depends on $z$ too. With $s=\sigma(z)$ and $s'=s(1-s)$:
#
# $$\frac{d}{dz}\,z\,s = s + z\,s\,(1-s)=s\,\bigl(1+z(1-s)\bigr)$$
#
# ### Exercise activations.silu-gradient · difficulty 2 of 5 · 10 min · 2 points
#
# Write `silu(z)` → `(value, derivative)`, a tuple of two arrays.
#
# - `z`: a float64 array of any size and shape, also 0-d, empty, transposed or reversed (`a[::-1]`). Both results are new arrays of its shape.
# - Both are accurate to $10^{-12}$, so a difference quotient is no way out.
# - No overflow, no warning and no `nan` for $|z|\le1000$. NumPy or plain Python; no `torch`, no `scipy`.
# - Do not silence warnings: `np.errstate`, `np.seterr` and the `warnings` module are ruled out.
#
# `silu(np.array([0.0, -2.0]))` is `([0, -0.2384], [0.5, -0.0908])`: left of $z=-1.278$ the slope is negative.
#
# <details><summary>Hint 1</summary>Two factors depend on z. Which part of the derivative have you got if it is 0 at z = 0?</details>
#
# <details><summary>Hint 2</summary>A safe sigmoid needs $e^{-|z|}$ only, as in the first exercise.</details>


# %% exercise="activations.silu-gradient" points=2
def silu(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SiLU and its derivative, elementwise."""
    ### BEGIN SOLUTION
    e = np.exp(-np.abs(z))
    s = np.where(z >= 0, 1 / (1 + e), e / (1 + e))
    return z * s, s * (1 + z * (1 - s))
    ### END SOLUTION


# %% check="activations.silu-gradient"
value_, slope_ = silu(np.array([0.0, -2.0, 1000.0]))
assert np.allclose(value_, [0, -0.238406, 1000], atol=1e-5), "SiLU(z) = z·sigmoid(z)"
assert np.allclose(slope_, [0.5, -0.090784, 1], atol=1e-5), "slope: 0.5 at 0, negative at -2, 1 far to the right"

# %% [markdown]
# ## SwiGLU: the data decide what passes
#
# In GELU and SiLU a unit gates itself. A gated linear unit has two projections of the same input: one computes the content, the other computes the gate. With Swish as the gate's activation it
# is SwiGLU (Shazeer 2020), the feed-forward block of LLaMA and Mistral:
#
# $$\mathrm{FFN}(x)=\bigl(\mathrm{Swish}(xW)\odot xV\bigr)\,W_2,\qquad \mathrm{Swish}(u)=u\,\sigma(u)$$
#
# A product of two projections can express "this feature, if that one is present", which a single projection with a fixed curve cannot. It works better than a plain FFN *at the same number of
# parameters*, and that condition needs care: there are three matrices instead of two. With hidden size $h$ they hold $3dh$ numbers against $2d\,d_{\mathrm{ff}}$, so a fair comparison has
# $h=\tfrac23 d_{\mathrm{ff}}$. LLaMA (Touvron et al. 2023) does this: $d=4096$ gives $8d/3=10922.7$, rounded up to a multiple of 256: 11008. You will often read that PaLM cuts by 2/3 as well; in fact PaLM (Chowdhery et al. 2022) keeps $4d$ and pays for the
# third matrix.
#
# Two more traps are in the names. Some texts write the gated branch first, some second; `F.glu(x)` splits its input in halves $a,b$ and returns $a\,\sigma(b)$: there the *second* half is the gate. Always ask which
# matrix carries the gate.
#
# ### Exercise activations.swiglu-ffn · difficulty 3 of 5 · 15 min · 3 points
#
# Write `swiglu_ffn(x, W, V, W2)` and `matched_hidden(d, d_ff)`.
#
# - `x`: array $(\dots,d)$ with any number of leading axes, also none. `W`, `V`: $(d,h)$. `W2`: $(h,d)$. All four are float32, or all are float64. No biases; products are written `x @ W`.
# - `swiglu_ffn` returns $(\mathrm{Swish}(xW)\odot xV)W_2$, shape $(\dots,d)$. **`W` carries the gate.** Pre-activations stay within $\pm100$, in float32 within $\pm80$.
# - `matched_hidden(d, d_ff)` returns the largest hidden size $h$, an `int`, whose three matrices do not hold more numbers than the two of a plain FFN with hidden size `d_ff`. `d_ff` need not be $4d$.
#   If not even one hidden unit fits, $h$ is 0.
#
# `matched_hidden(512, 2048)` is 1365. With all matrices equal to `[[1.0]]`, `swiglu_ffn(np.array([2.0]), …)` is `[3.5232]`, $2\,\sigma(2)\cdot2$.
#
# <details><summary>Hint 1</summary>Count: d·h three times against d·d_ff twice. “Do not hold more” says which way to round.</details>
#
# <details><summary>Hint 2</summary>The @ operator broadcasts over leading axes by itself; the gate is $u\,\sigma(u)$ with $u=xW$.</details>


# %% exercise="activations.swiglu-ffn" points=3
def swiglu_ffn(x: np.ndarray, W: np.ndarray, V: np.ndarray, W2: np.ndarray) -> np.ndarray:
    """(Swish(x W) * (x V)) W2; x (..., d), W and V (d, h), W2 (h, d)."""
    ### BEGIN SOLUTION
    u = x @ W  # (..., h)
    gate = u / (1 + np.exp(-u))
    return (gate * (x @ V)) @ W2
    ### END SOLUTION


def matched_hidden(d: int, d_ff: int) -> int:
    """Largest h with 3·d·h ≤ 2·d·d_ff."""
    ### BEGIN SOLUTION
    return 2 * d_ff // 3
    ### END SOLUTION


# %% check="activations.swiglu-ffn"
one = np.array([[1.0]])
assert np.allclose(swiglu_ffn(np.array([2.0]), one, one, one), [3.52319], atol=1e-4), "Swish(2) · 2 = 3.5232"
assert np.allclose(swiglu_ffn(np.array([2.0]), one, -3 * one, one), [-10.5696], atol=1e-4), "V stays linear: its sign passes through"
assert matched_hidden(512, 2048) == 1365, "2/3 of 2048 is 1365.33; round down"

# %% [markdown]
# Libraries often compute both projections with one matrix of doubled height and split the result. The layout below is one you will meet: first half content, second half gate, as in `F.glu`. The
# roles are swapped against the previous exercise, on purpose.
#
# ### Exercise thirty.swiglu-chunk · difficulty 2 of 5 · 10 min · 2 points
#
# Write `swiglu(x, W, b)` in torch.
#
# - `x`: tensor $(\dots,D)$ with any number of leading axes, also none. `W`: tensor $(2F,D)$, stored as in `nn.Linear`. `b`: tensor $(2F,)$. All three are float32, or all are float64.
# - Project: $p=xW^\top+b$. The *first* $F$ features of $p$ are the linear content, the *last* $F$ are the gate.
# - Return content $\odot\ \mathrm{SiLU}(\text{gate})$, shape $(\dots,F)$; gradients flow through it to `x`, `W` and `b`. Everything in torch is allowed.
# - No overflow, no `nan` in the result for gates within $\pm200$, in float32 too. Gradients are asked for gates within $\pm50$.
#
# With $p=(3,\,2)$, that is $F=1$, the result is $3\cdot2\,\sigma(2)=5.2848$.
#
# <details><summary>Hint 1</summary>Which axis holds the features when x has three axes? And when it has one?</details>
#
# <details><summary>Hint 2</summary>chunk(2, dim=-1) splits the last axis in halves.</details>


# %% exercise="thirty.swiglu-chunk" points=2
def swiglu(x: torch.Tensor, W: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Gated unit from one doubled projection: first half linear, second half through SiLU."""
    ### BEGIN SOLUTION
    content, gate = F.linear(x, W, b).chunk(2, dim=-1)  # (..., F) each
    return content * F.silu(gate)
    ### END SOLUTION


# %% check="thirty.swiglu-chunk"
p_ = swiglu(torch.tensor([1.0]), torch.tensor([[3.0], [2.0]]), torch.zeros(2))
assert torch.allclose(p_, torch.tensor([5.28478]), atol=1e-4), "content 3, gate 2: 3·SiLU(2) = 5.2848"
assert swiglu(torch.ones(2, 3, 4), torch.ones(10, 4), torch.ones(10)).shape == (2, 3, 5), "split the last axis"

# %% [markdown]
# ## Softmax: probabilities that compete
#
# $$\mathrm{softmax}(z)_i=\frac{e^{z_i}}{\sum_j e^{z_j}}$$
#
# All entries share one sum: one probability rises only if others fall. So softmax is for *one label out of many*; for tags that may occur together, use one sigmoid a tag.
#
# As printed, it overflows: in float32 $e^{95}=1.8\cdot10^{41}$ is above the largest number, $3.4\cdot10^{38}$, and inf/inf is `nan`. The cure costs one line. Subtract the maximum from all entries of a row; the
# factor $e^{-\max}$ cancels in the fraction, exactly, and the largest exponent is now 0.
#
# ### Temperature
#
# Divide the logits by $T$ before the softmax. Choose first:

# %%
predict(
    "Six logits 2, 1, 0.5, 0, −1, −2 give the top token 56 %. At temperature $T=0.5$ it gets …",
    ["28 %", "56 %, only the tail changes", "83 %", "100 %"],
    key="activations.temperature",
)

# %% demo="activations.temperature-bars" covers="activations.temperature activations.softmax activations.temperature-uses"
explore(
    demos.temperature_bars,
    alt="Bars of softmax at a temperature beside top-k: a low temperature raises the first bar and shrinks all others, top-k sets the tail to exactly 0",
    T=(0.1, 10.0, 0.1, 0.5),
    k=(1, 6, 1, 3),
)
reveal(f"{demos.softmax(demos.LOGITS / 0.5)[0]:.0%}", answer="83 %", key="activations.temperature")

# %% [markdown]
# **What to see.** $T<1$ sharpens, $T>1$ flattens towards equal bars (entropy $\ln 6=1.79$). Temperature changes all ratios and removes nothing; top-k removes the tail and keeps the ratios of
# the rest. **Try** $T=10$, then $T=0.1$.
#
# Three uses: sampling from a language model ($T$ around 0.7 to 1.2), distillation (a high $T$ shows how the teacher ranks the wrong classes), and calibration (one $T$ fitted after training so that 80 % means 80 %).
#
# ### Exercise activations.softmax-temperature · difficulty 3 of 5 · 15 min · 3 points
#
# Write `softmax(z, axis=-1, T=1.0)`.
#
# - `z`: a float64 or int64 array with one to three axes, none of length 0, perhaps transposed or reversed (`a[::-1]`). The result is a new array of its shape.
# - Every slice along `axis` sums to 1; a negative `axis` counts from the end, as in NumPy. `T > 0` divides the logits. For $|z|/T\le40$ the result is accurate to $10^{-12}$: no epsilon in the denominator.
# - No overflow, no `nan`, no warning for $|z|\le10^4$ and $T\ge0.1$, also when one row lies 20 000 below another.
# - NumPy or plain Python; no `scipy`, no `torch`.
#
# `softmax(np.array([2.0, 1.0, 0.0]), T=0.5)` is `[0.8668, 0.1173, 0.0159]`.
#
# <details><summary>Hint 1</summary>What happens to a row whose largest entry is 20 000 below the maximum you subtract?</details>
#
# <details><summary>Hint 2</summary>Both max and sum take axis=axis, keepdims=True.</details>


# %% exercise="activations.softmax-temperature" points=3
def softmax(z: np.ndarray, axis: int = -1, T: float = 1.0) -> np.ndarray:
    """Softmax of z/T along `axis`, safe for large logits."""
    ### BEGIN SOLUTION
    e = np.exp((z - z.max(axis=axis, keepdims=True)) / T)
    return e / e.sum(axis=axis, keepdims=True)
    ### END SOLUTION


# %% check="activations.softmax-temperature"
assert np.allclose(softmax(np.array([2.0, 1.0, 0.0])), [0.66524, 0.24473, 0.09003], atol=1e-5), "plain softmax at T = 1"
assert np.allclose(softmax(np.array([2.0, 1.0, 0.0]), T=0.5), [0.86681, 0.11731, 0.01588], atol=1e-5), "T = 0.5 doubles the logits"
assert np.allclose(softmax(np.arange(6.0).reshape(2, 3), axis=0).sum(axis=0), 1), "axis = 0: the columns sum to 1"
assert np.isfinite(softmax(np.array([[1e4, 0.0], [-1e4, 0.0]]))).all(), "large logits: nan or inf"

# %% [markdown]
# ### From logits to a loss, without the probability
#
# Training wants $-\log\mathrm{softmax}(z)_y$. Computing the softmax first and its log second is the classic mistake. For a hopeless class the probability underflows to exactly 0,
# and $\log 0=-\infty$. Write the log through instead:
#
# $$-\log\mathrm{softmax}(z)_y=\log\sum_j e^{z_j}-z_y=m+\log\sum_j e^{z_j-m}-z_y,\qquad m=\max_j z_j$$
#
# The sum is at least $e^0=1$, so its log is never below 0. No epsilon is needed, and none helps: $\log(p+10^{-12})$ caps the loss at 27.6, and where it is capped the gradient is gone. The fused losses do this for
# you: `F.cross_entropy` and `F.binary_cross_entropy_with_logits` take **logits**. (TensorFlow puts `with_logits` into the name of both; torch only of the second.)
#
# ### Exercise activations.cross-entropy-logits · difficulty 3 of 5 · 15 min · 3 points
#
# Write `cross_entropy(logits, y)`.
#
# - `logits`: float32 or float64 array $(N,C)$, $N\ge1$, $C\ge1$, perhaps transposed (`a.T`). `y`: int32 or int64 array $(N,)$ with the right classes.
# - Return the mean over the examples of $-\log\mathrm{softmax}(\text{logits}_n)_{y_n}$, a float.
# - As exact as the dtype allows (for moderate float64 logits to $10^{-12}$), finite and without warning for logits of $\pm10^4$, also when the right class is hopeless: the loss of `[[10000., 0.]]` with `y = [1]` is 10000.
# - NumPy or plain Python; no `scipy`, no `torch`.
#
# `cross_entropy(np.array([[2.0, 1.0, 0.0]]), np.array([0]))` is 0.40761.
#
# <details><summary>Hint 1</summary>Never let a probability appear. Stay with logs from the first line to the last.</details>
#
# <details><summary>Hint 2</summary>Pick the right entry of each row with two index arrays: logp[np.arange(N), y].</details>


# %% exercise="activations.cross-entropy-logits" points=3
def cross_entropy(logits: np.ndarray, y: np.ndarray) -> float:
    """Mean cross-entropy from logits (N, C) and labels (N,)."""
    ### BEGIN SOLUTION
    shifted = logits - logits.max(axis=1, keepdims=True)  # (N, C)
    log_sum = np.log(np.exp(shifted).sum(axis=1))  # (N,)
    return float((log_sum - shifted[np.arange(len(y)), y]).mean())
    ### END SOLUTION


# %% check="activations.cross-entropy-logits"
assert np.isclose(cross_entropy(np.array([[2.0, 1.0, 0.0]]), np.array([0])), 0.407606, atol=1e-5), "log-sum-exp minus the right logit"
assert np.isclose(cross_entropy(np.zeros((4, 10)), np.arange(4)), math.log(10)), "equal logits: ln 10"
assert np.isclose(cross_entropy(np.array([[1e4, 0.0]]), np.array([1])), 1e4), "a hopeless class costs 10000, not inf"

# %% [markdown]
# ## Activation and initialization are a pair
#
# ReLU sets about half of its inputs to zero, so it halves the mean square of what passes. **He** initialization, $\mathrm{Var}\,W=2/n_{\mathrm{in}}$, makes up for that. **Xavier**, $2/(n_{\mathrm{in}}+n_{\mathrm{out}})$, does not: it was derived (Glorot and Bengio 2010) for a
# function with $f(0)=0$ and $f'(0)=1$, which is tanh. With Xavier and ReLU the mean square halves per layer and the standard deviation shrinks by 0.71.

# %% demo="activations.depth-profile" covers="activations.init-pairing activations.init-mismatch activations.q.init activations.saturation"
explore(
    demos.depth_profile,
    alt="Spread of activations and size of gradients over the layers: flat for He with ReLU, falling for Xavier with ReLU, vanishing for sigmoid",
    depth=(5, 30, 5, 20),
)

# %% [markdown]
# **What to see.** He + ReLU and Xavier + tanh keep signal and gradient alive. Xavier + ReLU loses a factor of a thousand in twenty layers, both ways. The sigmoid is far below everything. **Try** depth 30.
#
# You will often read that He with sigmoid may explode. In fact a sigmoid is bounded and its slope is at most 1/4: with He each layer leaves at most $0.25\cdot\sqrt2\approx0.35$ of the gradient, and thirty layers
# leave at most $3\cdot10^{-14}$. Larger weights only saturate it more. No scale saves a deep sigmoid net; "Xavier for sigmoid" is at most the lesser evil. For tanh, `torch.nn.init.calculate_gain("tanh")` is 5/3: torch recommends `xavier_normal_` with that gain.
#
# One more fine point: He is made for ReLU. GELU passes less, $0.43$ of the mean square instead of $0.5$ at unit scale and less below it, so a deep plain GELU net still decays, slowly; normalization layers cover that.
#
# ## Which one, where
#
# | place | activation | because |
# |---|---|---|
# | hidden, MLP and CNN | ReLU | cheap, no saturation for $z>0$ |
# | FFN of BERT, GPT | GELU | smooth; trained better in experiments |
# | FFN of LLaMA, Mistral, PaLM | SwiGLU | the data gate the features |
# | units keep dying, rate and init checked | Leaky ReLU, PReLU, ELU, GELU | slope on the left |
# | gates of LSTM and GRU | sigmoid (the *candidate* is tanh) | a gate is a mask in $(0,1)$; content has a sign |
# | binary output; each tag of a multi-label output | sigmoid, with BCE on logits | independent yes-no questions |
# | one label out of many | softmax, with cross-entropy on logits | classes compete |
# | regression | none | any number may be the answer |
#
# You will often read "sigmoid and softmax only at the output". In fact attention (Vaswani et al. 2017) is a softmax in the middle of the network, and LSTM gates (Hochreiter and Schmidhuber 1997), GLUs, squeeze-and-excitation blocks and SiLU have a sigmoid inside. The rule to keep is narrower:
# **do not use sigmoid or tanh as the nonlinearity of a deep plain stack.** Gates and attention weights are fine.
#
# ## Debug clinic
#
# Two programs that run and are wrong. Read the symptom, find the one cause, repair it.
#
# ### Exercise activations.fix-nll · difficulty 2 of 5 · 10 min · 2 points
#
# **Symptom.** Training goes well for an hour. The logits grow with confidence, as they should. Then one confident mistake comes along: the loss is `inf`, and one step later all weights are `nan`.
#
# Repair `nll(logits, y)`.
#
# - `logits`: float32 tensor $(N,C)$ with values up to some thousands. `y`: int64 tensor $(N,)$.
# - Return the mean cross-entropy as a scalar tensor through which gradients flow.
# - Loss and gradient agree with the exact ones (computed in float64) as far as float32 allows, also for a hopeless class. All of torch is allowed.
#
# For `logits = [[0., 500.]]`, `y = [0]` the loss is 500 and the gradient is `[[-1., 1.]]`.
#
# <details><summary>Hint 1</summary>Print the probability of the right class when the loss is inf.</details>
#
# <details><summary>Hint 2</summary>log(softmax) has a fused form; an epsilon would only move the wall.</details>


# %% exercise="activations.fix-nll" points=2
def nll(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of logits (N, C) and labels (N,), a scalar tensor."""
    ### BEGIN SOLUTION
    return F.cross_entropy(logits, y)
    ### END SOLUTION


# %% broken="activations.fix-nll"
def nll(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of logits (N, C) and labels (N,), a scalar tensor."""
    p = torch.softmax(logits, dim=1)
    return -torch.log(p)[torch.arange(len(y)), y].mean()


# %% check="activations.fix-nll"
logits_ = torch.tensor([[0.0, 500.0]], requires_grad=True)
loss_ = nll(logits_, torch.tensor([0]))
assert torch.isfinite(loss_), f"the loss is {loss_.item()}; it should be 500"
loss_.backward()
assert torch.allclose(logits_.grad, torch.tensor([[-1.0, 1.0]])), f"the gradient is {logits_.grad.tolist()}; it should be [[-1, 1]]"

# %% [markdown]
# **What goes wrong with the patches.** `log(p + eps)` and `clamp` make the loss finite and the gradient of the worst examples zero: they stop learning where they most need to. `nan_to_num` hides the `inf` in the
# forward pass, and the backward pass still multiplies 0 by infinity.
#
# ### Exercise activations.fix-classifier · difficulty 3 of 5 · 20 min · 4 points
#
# **Symptom.** This classifier with 24 hidden layers, trained with `F.cross_entropy`, stays at the loss of guessing. It does not get worse, it does not get better: nothing moves.
#
# Repair `make_classifier(d_in, depth, width, n_classes)`. There are three faults: activation, initialization, output. Each call makes a new network, of any sizes.
#
# - Keep the architecture, a plain chain: `depth` hidden `nn.Linear` layers of `width` units, each with weights of its own and with a nonlinearity after *each*, the first and the last included, then one `nn.Linear`
#   to `n_classes`. Each layer works on the result of the one before and on nothing earlier: no sums like `h + f(h)`. You may add
#   normalization layers; they may stand in for a new initialization or activation if the conditions below hold. Normalization alone is no nonlinearity, however it is written; nor is what bends only a few of the units.
# - The network returns what its last `nn.Linear` computes, in training and in evaluation mode: logits. The lamps `logits` and `gradient` are about these two points too, at any size; `signal` and `learns` want the right layers, most of them with a nonlinearity.
# - At the start, for `depth = 24` and `width = 128` and random inputs $(64, 20)$ in training mode: (a) the *spread* of the pre-activations, their standard deviation over the examples (root mean square over the units), is in the last hidden
#   layer between 0.001 and 50 times that of the first; (b) the norm of the weight gradient of the second hidden layer is between 0.02 and 500 times that of the last hidden layer.
# - With `depth = 3` and `width = 128`, Adam (rate 0.003) memorizes 32 random examples of 5 classes to a loss below 0.1 within 100 steps.
# - Your network is taken apart and measured elsewhere. Build it from layers of `torch.nn`, as `nn.Sequential` or as a class of your own, with activation functions of torch, no branches on values (on sizes they are fine), no hooks and no `__call__` of your own:
#   called, it gives what its layers give. The weights of its linear layers are in `parameters()`, none is frozen, and a gradient reaches each: no `no_grad`. What cannot be followed: writing into a tensor (`z[z < 0] = 0`), slices, parametrizations (`weight_norm`), `autograd.Function`, `detach`.
#
# <details><summary>Hint 1</summary>Which function has slope 1 where it is active, and which initialization belongs to it? What does F.cross_entropy expect?</details>
#
# <details><summary>Hint 2</summary>torch's default for nn.Linear has variance $1/(3n)$, ReLU needs $2/n$: nn.init.kaiming_normal_ with nonlinearity="relu".</details>


# %% exercise="activations.fix-classifier" points=4
def make_classifier(d_in: int, depth: int, width: int, n_classes: int) -> nn.Module:
    """An MLP with `depth` hidden layers that returns logits."""
    ### BEGIN SOLUTION
    layers, d = [], d_in
    for _ in range(depth):
        linear = nn.Linear(d, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
        d = width
    return nn.Sequential(*layers, nn.Linear(d, n_classes))
    ### END SOLUTION


# %% broken="activations.fix-classifier"
def make_classifier(d_in: int, depth: int, width: int, n_classes: int) -> nn.Module:
    """An MLP with `depth` hidden layers that returns logits."""
    layers, d = [], d_in
    for _ in range(depth):
        layers += [nn.Linear(d, width), nn.Sigmoid()]
        d = width
    return nn.Sequential(*layers, nn.Linear(d, n_classes), nn.Softmax(dim=1))


# %% check="activations.fix-classifier"
torch.manual_seed(0)
net_ = make_classifier(20, 24, 128, 5)
out_ = net_(torch.randn(64, 20))
assert not torch.allclose(out_.sum(dim=1), torch.ones(64)), "rows sum to 1: these are probabilities, not logits"
F.cross_entropy(out_, torch.arange(64) % 5).backward()
norms_ = [m.weight.grad.norm().item() for m in net_.modules() if isinstance(m, nn.Linear)]
assert len(norms_) == 25, f"{len(norms_)} nn.Linear with weights of their own, not 24 hidden ones and the last"
assert norms_[1] / norms_[-2] > 0.02, f"the gradient shrinks to {norms_[1] / norms_[-2]:.0e} on its way to the second layer"
assert out_.std(dim=0).mean() > 1e-3, "the outputs are the same for all inputs: the signal is lost on the way"

# %% [markdown]
# **What goes wrong on the way.** Replace only the sigmoids by ReLU and keep torch's default initialization: the spread falls to $5\cdot10^{-9}$. Choose Xavier with ReLU: it falls to $10^{-4}$, while the *ratio* of the weight gradients looks harmless, because
# $dW=\delta\,h^\top$ and the decay of $h$ forward and of $\delta$ backward compensate each other. Watch both.
#
# ## Write the test
#
# ### Exercise activations.test-softmax · difficulty 3 of 5 · 20 min · 4 points
#
# Turn the tables: a colleague hands you `softmax(z, axis=-1, T=1.0)`, and you decide whether it may be merged. Write `check_softmax(softmax)`.
#
# - It raises `AssertionError` (any exception counts) for a wrong implementation and returns without one for a right implementation. NumPy and torch are allowed.
# - Right ones follow the contract of exercise activations.softmax-temperature for float64 input, to about $10^{-12}$; two right ones may differ in the last digits and their sums miss 1 by as much, so compare with a tolerance.
# - Wrong ones among those you will meet: no maximum subtracted, one maximum for the whole array, temperature upside down or ignored, axis ignored, sums that are not 1. Each is right in all else.
# - Your check runs on about a dozen implementations, one after the other, and has 10 seconds for all of them together, 5 for a single one.
#   Fifty calls of `softmax` in each run are fine, thousands are too many.
#
# Score: the share of wrong ones that you catch, less the right ones that you reject.
#
# <details><summary>Hint 1</summary>Which input shows each mistake? A single 1-d vector at T = 1 shows almost none of them.</details>
#
# <details><summary>Hint 2</summary>Laws help: sums along the axis are 1; adding a constant changes nothing; softmax(z, T=0.5) equals softmax(2z); a transposed input with the other axis gives the transposed result.</details>


# %% exercise="activations.test-softmax" points=4
def check_softmax(softmax: Callable) -> None:
    """Raise AssertionError if `softmax(z, axis=-1, T=1.0)` is wrong."""
    ### BEGIN SOLUTION
    z = np.array([[1.0, 2.0, 0.5], [-1.0, 0.0, 3.0], [0.2, 0.1, -2.0]])  # square: swapped axes do not crash
    for axis in (-1, 0, 1):
        for T in (1.0, 0.5, 3.0):
            expected = torch.softmax(torch.tensor(z) / T, dim=axis).numpy()
            assert np.allclose(softmax(z, axis=axis, T=T), expected, rtol=0, atol=1e-9), f"wrong values for axis={axis}, T={T}"
    far = np.array([[1e4, 1e4 - 1], [-1e4, -1e4 + 2]])
    assert np.allclose(softmax(far), [[0.73106, 0.26894], [0.11920, 0.88080]], atol=1e-4), "large logits, rows far apart"
    assert np.allclose(softmax(np.array([3.0, 1.0])), [0.88080, 0.11920], atol=1e-4), "one axis, default arguments"
    ### END SOLUTION


# %% check="activations.test-softmax"
check_softmax(lambda z, axis=-1, T=1.0: torch.softmax(torch.as_tensor(z) / T, dim=axis).numpy())  # a right one passes
try:
    check_softmax(lambda z, axis=-1, T=1.0: np.ones(np.shape(z)) / np.shape(z)[axis])
except Exception:
    pass
else:
    raise AssertionError("your check accepts a softmax that returns equal probabilities for everything")

# %% [markdown]
# ## Interview questions
#
# Questions of the kind that interviewers ask, with the answers that they hear too often among the options. Say your answer aloud before you read the options.

# %% quiz=true

# %% [markdown]
# ## One-page recap
#
# | ask yourself | answer |
# |---|---|
# | why nonlinear? | affine layers compose to one affine layer; a kink breaks additivity: $\mathrm{relu}(1)+\mathrm{relu}(-1)\ne\mathrm{relu}(0)$ |
# | sigmoid | $\sigma'=\sigma(1-\sigma)\le\frac14$; ten layers: $10^{-6}$; outputs positive: zig-zag per example; exponent always $-\lvert z\rvert$ |
# | tanh | $2\sigma(2z)-1$; slope $1-\tanh^2\le1$; centred, still saturates |
# | ReLU | slope 0 or 1; cheap; can die; not centred; half zeros are healthy |
# | dead | zero for every example of every batch; cause: rate spike; order of repair: rate and He, BatchNorm, then Leaky/PReLU/ELU/GELU |
# | GELU, SiLU | $z\Phi(z)$, $z\sigma(z)$; slope by the product rule; tanh form off by $5\cdot10^{-4}$, sigmoid form by 0.02; evidence is empirical |
# | SwiGLU | $(\mathrm{Swish}(xW)\odot xV)W_2$; three matrices, so $h=\frac23d_{\mathrm{ff}}$; ask which matrix is the gate |
# | softmax | subtract the row maximum; $T<1$ sharper, $T>1$ flatter, nothing removed (top-k removes) |
# | loss | from logits, fused; never log of softmax, never an epsilon |
# | pairing | He with ReLU, Xavier with tanh; Xavier + ReLU: std × 0.71 a layer; deep sigmoid vanishes with every init |
# | where | hidden ReLU; transformer GELU or SwiGLU; gates sigmoid; output: none, sigmoid or softmax by the question asked |
