# %% [markdown]
# # 7 · Weight initialization: alive before the first step
#
# After this chapter you can start any network so that its signal neither dies nor explodes, prove it with one batch, and say in one sentence why each
# number is what it is.
#
# | | |
# |---|---|
# | time | about 4 hours, 14 exercises |
# | builds on | chapter 2 (a layer is $h=\phi(Wx+b)$), chapter 3 (gradients flow back through $W^\top$), chapter 4 (activations) |
# | you will be able to | derive Xavier and He · compute the right gain for any activation · read the health of a net off one batch · override torch's defaults · choose output biases from base rates · start residual nets, RNNs and LoRA adapters safely · answer 17 interview questions |

# %% setup=true
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class RB(nn.Module):
    """A residual block: x + branch(x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


# %%
from utils import explore, predict, reveal
from utils.demos import initialization as demos

# %% [markdown]
# ## Dead before the first step
#
# Take a plain ReLU net, fifty layers of 256 units. Give its weights Xavier's variance, the one that many people use for everything. Send in a batch with
# standard deviation 1 and look at what comes out of layer 40. Choose first, then run the next cell.

# %%
predict(
    "Activation standard deviation after 40 ReLU layers with Xavier weights, roughly?",
    ["1", "0.03", "a millionth", "a billionth of a billionth"],
    key="initialization.depth-std",
)

# %%
forward, backward = demos.signal("ReLU", "Xavier")
reveal(f"{forward[39]:.1e} after layer 40, {forward[49]:.1e} after layer 50", answer="a millionth", key="initialization.depth-std")

# %% [markdown]
# Nothing was trained yet, and nothing will be: the output no longer depends on the input in any way that a gradient could use.
# Each layer multiplied the signal by about 0.7, and $0.7^{40}$ is a millionth. Depth turns a small error of scale into a catastrophe.

# %% demo="initialization.depth-std" covers="initialization.hook initialization.goal initialization.cu.xavier-relu initialization.sanity initialization.standard-normal"
explore(
    demos.depth_std,
    alt="Standard deviation of activations and of gradients over 50 layers for four initializations, on a log scale; with ReLU only He is flat in both",
    activation=["ReLU", "tanh", "GELU", "SiLU"],
    focus=["He", "Xavier", "N(0, 1)", "torch default"],
    width=(32, 512, 32, 256),
)

# %% [markdown]
# **What to see.** With ReLU only He stays flat in both panels. Xavier falls as $2^{-l/2}$, weights from $N(0,1)$ gain a factor 11 a layer, and torch's default
# kills the gradient although its activations look calm. **Try** tanh: now $N(0,1)$ is perfectly flat in the left panel. Is that net healthy? Look right.
#
# You will often read that saturated tanh units make the gradient vanish. A single saturated unit does pass almost nothing. In the whole net with weights from
# $N(0,1)$, though, the few units near zero pass their gradient through weights of size 1, and those win: the gradient *explodes*, here by more than $10^{22}$ over fifty layers.
# The lesson holds either way: **a flat forward pass proves nothing about the backward pass. Measure both.**
#
# The goal of this chapter, in one line: *keep the size of activations and gradients roughly constant over depth.*
#
# ## Why not simply zero?
#
# Before the scale comes a more basic question: may all weights start at the same value? Here is a tanh net with every weight at 0.5.

# %%
torch.manual_seed(0)
x, target = torch.randn(20, 3), torch.randn(20, 1)
W1 = torch.full((4, 3), 0.5, requires_grad=True)  # (out, in): four hidden units
W2 = torch.full((1, 4), 0.5, requires_grad=True)
F.mse_loss(torch.tanh(x @ W1.T) @ W2.T, target).backward()
print(W1.grad)

# %% [markdown]
# Four identical rows. Equal weights give equal outputs, equal outputs get equal gradients, and after the update the rows are equal again, for ever. You pay for four
# units and own one. That is the **symmetry** problem, and it holds for *any* constant, not for zero only.
#
# Zero is special in one more way. You will often read that "zero weights give zero gradients" is the wrong explanation. In fact, with ReLU or tanh and all weights and
# biases at zero it is a true statement: every hidden activation is 0, so every weight gradient is exactly 0 and only the output bias learns. With a sigmoid, whose
# output at 0 is one half, the output weights do get gradients, all equal. So two things go wrong at zero. Only one of them, the symmetry, is cured by nothing but randomness.
#
# Random weights break the tie. That is enough: **biases may all start at 0**, because their units already differ. You will repair a symmetric net in the debug clinic.
#
# ## The variance of a sum
#
# A pre-activation is a sum of $n$ products, $z=\sum_{i=1}^{n} w_i x_i$. If the weights are independent with mean 0, the mixed terms cancel and
#
# $$\operatorname{Var}(z) \;=\; n\,\operatorname{Var}(w)\;\mathbb E[x^2].$$
#
# With weights from $N(0,1)$ and $n=1024$ inputs of variance 1, $z$ has variance 1024 and standard deviation 32. No convention is to blame; variances of independent terms
# add up. The cure is in the formula: let $\operatorname{Var}(w)$ fall as $1/n$.
#
# Note what stands on the right: $\mathbb E[x^2]$, the **second moment**, not the variance of $x$. The difference will matter in a minute.
#
# Backward the same sum runs the other way. The gradient at an input is $\sum_j w_{ji}\,\delta_j$ over the *outputs*. So a layer has two counts:
#
# - **fan_in**: how many numbers each output sums up. It decides the forward size.
# - **fan_out**: how many outputs each input reaches. It decides the backward size.
#
# Torch stores a linear weight as `(out, in)` and a convolution as `(out, in, *kernel)`. A $3\times3$ convolution with 32 input channels sums $32\cdot 9=288$ numbers.
#
# ### Exercise initialization.fans · difficulty 1 of 5 · 8 min · 2 points
#
# Write `fan_in_out(shape)`, the two fans of a weight in torch's layout.
#
# - `shape`: a tuple of positive integers, `(out, in)` for a linear layer, `(out, in, *kernel)` for a convolution with one, two or three kernel dimensions,
#   not always equal ones. A `torch.Size` is a tuple too.
# - Returns `(fan_in, fan_out)`, two whole numbers. Both count the kernel.
# - Fewer than two dimensions have no fans: raise `ValueError`.
# - `torch.nn.init` may not be used.
#
# `fan_in_out((64, 32, 3, 3))` is `(288, 576)`.
#
# <details><summary>Hint 1</summary>How many numbers does one output of the convolution add up? Which axes of the weight are those?</details>
# <details><summary>Hint 2</summary>fan_in is in · k₁ · k₂ …, fan_out is out · k₁ · k₂ …; the product of no kernel sizes is 1.</details>


# %% exercise="initialization.fans" points=2
def fan_in_out(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight stored as (out, in, *kernel)."""
    ### BEGIN SOLUTION
    if len(shape) < 2:
        raise ValueError(f"fans need at least two dimensions, got shape {tuple(shape)}")
    out, inside, *kernel = shape
    receptive = math.prod(kernel)
    return inside * receptive, out * receptive
    ### END SOLUTION


# %% check="initialization.fans"
assert fan_in_out((30, 70)) == (70, 30), "torch stores (out, in)"
assert fan_in_out((64, 32, 3, 3)) == (288, 576), "both fans count the kernel"
try:
    fan_in_out((5,))
    raise AssertionError("a bias has no fans: raise ValueError")
except ValueError:
    pass

# %% [markdown]
# ## Xavier, He, and where the 2 comes from
#
# **Xavier** (Glorot and Bengio, 2010) thought of units that are linear near zero. Forward asks for $\operatorname{Var}(w)=1/n_{in}$, backward for $1/n_{out}$. Both
# at once is impossible unless the layer is square, so take the mean of the two fans:
#
# $$\operatorname{Var}(w)=\frac{2}{n_{in}+n_{out}}\qquad\text{Xavier: tanh, sigmoid, linear}$$
#
# Some texts call $1/n_{in}$ Xavier. That is LeCun's rule; the two agree for square layers only.
#
# **He** (He et al., 2015) thought of ReLU, which sets half of its inputs to zero:
#
# $$\operatorname{Var}(w)=\frac{2}{n_{in}}\qquad\text{He: ReLU and its variants}$$
#
# The 2 is no rule of thumb. If $z$ is symmetric around 0, each value and its mirror image are equally likely, and ReLU keeps one of the two. So
#
# $$\mathbb E[\mathrm{relu}(z)^2]=\tfrac12\,\mathbb E[z^2],\qquad\text{exactly.}$$
#
# You will often read that ReLU halves the *variance*. It does not. Run this:

# %%
z = np.random.default_rng(0).standard_normal(1_000_000)
kept = np.maximum(z, 0)
print(f"variance {kept.var():.3f}   second moment {np.mean(kept**2):.3f}")

# %% [markdown]
# The variance falls to $\frac12-\frac1{2\pi}=0.341$, because ReLU's output is not centred. What the next layer sums up is $\mathbb E[x^2]$, and *that* is halved. The 2 undoes it to
# the last digit. Xavier has no such 2: for square layers it loses half of the second moment per layer, a factor $\sqrt{1/2}$ in standard deviation.
# That is the purple line of the first figure. Adding fan_out to fan_in does not compensate for it.
#
# For `Linear(400, 100)` behind a ReLU: He gives a standard deviation of $\sqrt{2/400}=0.0707$, Xavier $\sqrt{2/500}=0.0632$.
#
# | activation | rule | variance | remark |
# |---|---|---|---|
# | tanh, sigmoid | Xavier | $2/(n_{in}+n_{out})$ | with gain 1, see below |
# | ReLU, Leaky ReLU, ELU | He | $2/n_{in}$ | Leaky: $2/((1+a^2)\,n_{in})$ |
# | GELU, SiLU (Swish) | He, "close enough" | $2/n_{in}$ | fine with norm layers or few layers, see below |
# | none (linear) | Xavier | $2/(n_{in}+n_{out})$ | |
# | SELU | LeCun | $1/n_{in}$ | what the activation was derived for |
#
# "He uses fan_in" is the default, `mode="fan_in"`, which keeps the forward size. `mode="fan_out"` keeps the backward size instead; torchvision's ResNets use it for their
# convolutions. Over a whole net the two differ by a constant factor only, since one layer's fan_out is the next one's fan_in.
#
# ### The gain
#
# He's argument works for every activation. Let $z\sim N(0,1)$. The layer leaves $\mathbb E[\phi(z)^2]$ of the second moment, so the weights' standard deviation should carry the factor
#
# $$\text{gain}(\phi)=\frac{1}{\sqrt{\mathbb E[\phi(z)^2]}},\qquad \operatorname{std}(w)=\frac{\text{gain}}{\sqrt{n_{in}}}.$$
#
# ReLU has $\sqrt2$: that *is* He.
#
# ### Exercise initialization.activation-gain · difficulty 2 of 5 · 12 min · 3 points
#
# Write `gain(phi)` for any activation.
#
# - `phi`: a function that takes a float NumPy array and returns an array of the same shape, elementwise.
# - Returns the gain defined above, to within 1 %. Average over $10^6$ normal draws, or use a quadrature.
# - $\phi$ need not be centred, nor pass through 0.
#
# The identity has gain 1, `lambda z: 3 * z` has 1/3, ReLU has 1.414, tanh has 1.593.
#
# <details><summary>Hint 1</summary>An expectation is a mean over draws. Which mean does the next layer care about?</details>
# <details><summary>Hint 2</summary>Square phi(z), average, take the root, take the inverse; z is standard normal.</details>


# %% exercise="initialization.activation-gain" points=3
def gain(phi: Callable[[np.ndarray], np.ndarray]) -> float:
    """1 / sqrt(E[phi(z)^2]) for standard normal z, within 1 %."""
    ### BEGIN SOLUTION
    z = np.random.default_rng(0).standard_normal(1_000_000)
    return float(1 / np.sqrt(np.mean(phi(z) ** 2)))
    ### END SOLUTION


# %% check="initialization.activation-gain"
assert abs(gain(lambda z: z) - 1) < 0.01, "the identity needs no correction"
assert abs(gain(lambda z: np.maximum(z, 0)) - math.sqrt(2)) < 0.015, "ReLU: the second moment is 1/2"
assert abs(gain(lambda z: 3 * z) - 1 / 3) < 0.004, "the gain undoes a factor"

# %% [markdown]
# **What goes wrong.** `torch.nn.init.calculate_gain` has a table of its own. It agrees for ReLU and Leaky ReLU, but says 5/3 for tanh and 1 for the sigmoid, knows SELU as 3/4, and has
# no entry for GELU. Moreover `xavier_normal_` uses gain 1 unless you pass one, so "Xavier for tanh" and "Xavier with tanh's gain" differ by $25/9$ in variance. In a 30-layer
# tanh net gain 1 lets the standard deviation sink to 0.13; with 5/3 it stays at 0.65. Both train. Say which one you mean.
#
# And He is only *close* for GELU ($\mathbb E[\phi^2]=0.425$, gain 1.53) and SiLU (0.356, gain 1.68). Neither scales like ReLU does: halve the input and the output shrinks by more than half.
# So no gain holds them steady. In a 30-layer net without norm layers He lets the activations sink, to a few thousandths in most draws (GELU) and about 0.0001 (SiLU), and the matched gains blow
# them up to between 3 and 20 (GELU) and between 40 and 200 (SiLU), depending on width and draw. With norm layers or a handful of layers none of this shows, which is why He is good enough in practice. Look again at the first demo with SiLU.
#
# ### Exercise initialization.xavier-he · difficulty 2 of 5 · 15 min · 3 points
#
# Write `init_weight(shape, scheme, rng)`: draw a weight.
#
# - `shape`: `(out, in)` or `(out, in, *kernel)`, fans as above.
# - `scheme`: `"xavier_uniform"`, `"xavier_normal"` (both variance $2/(n_{in}+n_{out})$), `"he_uniform"` or `"he_normal"` (both $2/n_{in}$). The last word is the distribution; the mean is 0.
# - A uniform draw on $[-b,b]$ has variance $b^2/3$.
# - Every entry is a draw of its own, and every draw comes from `rng`, a `np.random.Generator`: the same state gives the same weights, another state others.
# - NumPy only: `torch.nn.init` may not be used.
#
# For `(100, 400)`: Xavier has standard deviation 0.0632 and uniform limits ±0.1095; He has 0.0707 and ±0.1225.
#
# <details><summary>Hint 1</summary>First the variance from the fans, then the distribution with that variance.</details>
# <details><summary>Hint 2</summary>Normal: the scale is the root of the variance. Uniform: b is the root of three variances.</details>


# %% exercise="initialization.xavier-he" points=3
def init_weight(shape: tuple[int, ...], scheme: str, rng: np.random.Generator) -> np.ndarray:
    """A weight of `shape` (out, in, *kernel), drawn by `scheme` from `rng`."""
    ### BEGIN SOLUTION
    kernel = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * kernel, shape[0] * kernel
    rule, distribution = scheme.split("_")
    variance = 2 / fan_in if rule == "he" else 2 / (fan_in + fan_out)
    if distribution == "normal":
        return rng.normal(0.0, math.sqrt(variance), size=shape)
    limit = math.sqrt(3 * variance)
    return rng.uniform(-limit, limit, size=shape)
    ### END SOLUTION


# %% check="initialization.xavier-he"
w = init_weight((300, 700), "he_normal", np.random.default_rng(0))
assert w.shape == (300, 700) and abs(w.mean()) < 0.001, "draw the full shape, centred at 0"
assert abs(w.std() / math.sqrt(2 / 700) - 1) < 0.02, "He: the standard deviation is sqrt(2 / fan_in)"
u = init_weight((300, 700), "xavier_uniform", np.random.default_rng(0))
assert abs(u.std() / math.sqrt(2 / 1000) - 1) < 0.02, "Xavier: both fans"
assert np.abs(u).max() < 1.74 * u.std(), "this one is uniform"

# %% [markdown]
# The mistake that costs most here is one word: the 2/n of He is the *variance*. With $n_{in}=200$ the variance is 0.01 and the standard deviation 0.1. A net drawn with 0.01 instead of 0.1
# loses a factor ten per layer.
#
# ## Ten lines that find the fault
#
# A deep net does not train. Before you add BatchNorm, clip gradients or lower the learning rate, send *one* batch through and log three things:
#
# 1. the standard deviation of the activations after each layer: flat, sinking or growing?
# 2. the same for the gradients after one backward pass;
# 3. the loss: near $\ln C$ for $C$ balanced classes?
#
# Sinking means vanishing, growing means exploding, and either is a fault of scale that no optimizer repairs.
#
# The learning rate is downstream of all this. Suppose activations grow tenfold per layer, the net diverges at $10^{-3}$ and trains, slowly, at $10^{-5}$. The small rate did not solve the problem, it hides it: you
# pay with a hundred times more steps, or waste the warmup on getting the scale down. Repair the initialization first, then go back to a normal rate.
#
# ### Exercise initialization.activation-stds · difficulty 2 of 5 · 12 min · 3 points
#
# Write the check. `activation_stds(x, weights, phi)` and `verdict(stds)`.
#
# - `x`: `(N, d)`. `weights`: a list of $L\ge1$ square matrices `(d, d)`, no biases. `phi`: the elementwise activation, a function on arrays.
# - Layer by layer $h\leftarrow\phi(hW^\top)$, starting from `x`. The weights are square, so $hW$ runs as well; for random weights it makes no difference to the check, and both are accepted.
# - `activation_stds` returns an array `(L,)`: after each layer, one standard deviation over *all* entries of $h$ (the plain one that `np.std` computes).
# - `verdict` looks at the first and the last value of such an array of positive numbers: last/first below 0.1 is `"vanishing"`, above 10 is `"exploding"`, everything else is `"ok"`.
#
# `verdict(np.array([1.0, 50.0, 1.5]))` is `"ok"`: a bump on the way does no harm.
#
# <details><summary>Hint 1</summary>Keep one variable for the current activations and let each layer replace it.</details>
# <details><summary>Hint 2</summary>Multiply, apply phi, measure, in this order.</details>


# %% exercise="initialization.activation-stds" points=3
def activation_stds(x: np.ndarray, weights: list[np.ndarray], phi: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Standard deviation of the activations (N, d) after each layer: (L,)."""
    ### BEGIN SOLUTION
    stds, h = [], x
    for W in weights:
        h = phi(h @ W.T)  # (N, d)
        stds.append(h.std())
    return np.array(stds)
    ### END SOLUTION


def verdict(stds: np.ndarray) -> str:
    """One of "vanishing", "exploding", "ok", from the last value over the first."""
    ### BEGIN SOLUTION
    ratio = stds[-1] / stds[0]
    return "vanishing" if ratio < 0.1 else "exploding" if ratio > 10 else "ok"
    ### END SOLUTION


# %% check="initialization.activation-stds"
two = activation_stds(np.array([[1.0, -3.0]]), [np.eye(2), 2 * np.eye(2)], lambda z: np.maximum(z, 0))
assert np.allclose(two, [0.5, 1.0]), "the std of phi(z), and every layer feeds the next"
assert verdict(np.array([1.0, 50.0, 1.5])) == "ok", "only the first and the last value count"
assert verdict(np.array([4.0, 1.0, 0.3])) == "vanishing", "last over first is below 0.1"

# %% [markdown]
# **What goes wrong.** This check sees the forward pass only, and one number over all entries at that. The tanh net of the first demo passes it with weights from $N(0,1)$ while its gradient explodes. The next section
# has a net that passes it although it no longer looks at its input.
#
# ## What torch does when you do nothing
#
# `nn.Linear(256, 256)` comes initialized. By which rule? Torch calls `kaiming_uniform_(weight, a=math.sqrt(5))`, which sounds like He. It is not. Kaiming's formula for a leaky ReLU of slope
# $a$ has $\text{gain}^2=2/(1+a^2)$ and a uniform bound of $\text{gain}\cdot\sqrt{3/n_{in}}$. The $\sqrt5$ was put in to reproduce an older formula; no activation of that slope is meant. `nn.Conv2d`
# does the same. Neither knows what activation will follow.
#
# ### Exercise initialization.default-bounds · difficulty 1 of 5 · 8 min · 2 points
#
# Write `torch_default(fan_in)`: what a fresh `nn.Linear` or `nn.Conv2d` contains.
#
# - `fan_in`: an integer ≥ 1.
# - Returns three floats: the bound of the uniform weights, the *variance* of the weights, and the bound of the biases, which torch draws from $U(-1/\sqrt{n_{in}},\,1/\sqrt{n_{in}})$.
#
# `torch_default(12)` is `(0.2887, 0.0278, 0.2887)` to four decimals.
#
# <details><summary>Hint 1</summary>Put a = √5 into the formula for the gain and see what remains.</details>
# <details><summary>Hint 2</summary>gain² = 1/3, and a uniform draw on [−b, b] has variance b²/3.</details>


# %% exercise="initialization.default-bounds" points=2
def torch_default(fan_in: int) -> tuple[float, float, float]:
    """(weight bound, weight variance, bias bound) of a freshly built layer."""
    ### BEGIN SOLUTION
    gain = math.sqrt(2 / (1 + 5))
    bound = gain * math.sqrt(3 / fan_in)
    return bound, bound**2 / 3, 1 / math.sqrt(fan_in)
    ### END SOLUTION


# %% check="initialization.default-bounds"
weight_bound, variance, bias_bound = torch_default(256)
layer = nn.Linear(256, 4000)
assert layer.weight.abs().max().item() <= weight_bound * 1.001, "a real layer exceeds your weight bound"
assert abs(layer.weight.var().item() / variance - 1) < 0.02, "a real layer has another variance"
assert 0.9 * bias_bound < layer.bias.abs().max().item() <= bias_bound * 1.001, "the biases are random too"

# %% [markdown]
# The variance is $1/(3n_{in})$: a third of LeCun's and a sixth of He's. And you will often read that biases start at zero. As advice that is right; in torch they do not, unless you set them.
#
# Each ReLU layer therefore leaves one sixth of the second moment. So what does a 30-layer ReLU net look like, fresh from the constructor? Choose, then run.

# %%
predict(
    "Standard deviation over all activations of layer 30, torch's defaults untouched?",
    ["about 1", "about 0.02", "below 1e-10", "above 1e10"],
    key="initialization.default-collapse",
)

# %% demo="initialization.default-collapse" covers="initialization.torch-default"
rows = demos.default_net(depth=30)
reveal(
    f"{rows[-1, 0]:.3f}; but across the samples of the batch {rows[-1, 1]:.0e}", answer="about 0.02", key="initialization.default-collapse"
)
explore(
    demos.default_collapse,
    alt="Standard deviation over depth in a ReLU net with torch's default: over all entries it settles at 0.02, across samples it falls to 1e-12",
    depth=(2, 60, 2, 30),
    width=(32, 512, 32, 256),
)

# %% [markdown]
# **What to see.** The overall number settles at 0.02, because the random biases feed every layer anew. Across the samples, unit by unit, the spread falls to $10^{-12}$: every input gives the same output. **Try** a depth of 6: the samples still
# differ by 0.002, enough to train with, and this is why nobody notices it in shallow nets.
#
# So override it. In torch: `nn.init.kaiming_normal_(w, nonlinearity="relu")` for ReLU, `nn.init.xavier_uniform_(w)` for tanh, `nn.init.zeros_(b)`.
#
# ### Exercise initialization.init-model · difficulty 3 of 5 · 15 min · 4 points
#
# Write `init_model(model, head)`, which initializes a ReLU model in place and returns that same model.
#
# - Every `nn.Linear` and `nn.Conv2d` at any depth of nesting, except `head`: He-normal weights (normal draws, fan_in, ReLU gain), each layer with draws of its own; bias 0 where there is one. Some layers have no bias.
# - `head` is one of the model's `nn.Linear` layers, freshly put on: weights $N(0, 0.01^2)$, bias 0. It need not be the last one (some nets have a second output), and another layer may have the same sizes.
# - Everything else stays as it is: other kinds of layers (`nn.Embedding`, `nn.Conv1d`) keep their values, norm layers too, running statistics included; none need be at the defaults. All parameters still require
#   gradients, and the model stays in training mode.
#
# A `Linear(200, 100)` inside the model ends with standard deviation 0.1.
#
# <details><summary>Hint 1</summary>One method of nn.Module walks through all submodules, however deep.</details>
# <details><summary>Hint 2</summary>He-normal for torch is kaiming_normal_ with nonlinearity="relu"; compare modules with `is`.</details>


# %% exercise="initialization.init-model" points=4
def init_model(model: nn.Module, head: nn.Linear) -> nn.Module:
    """He-normal weights and zero biases everywhere, small weights in `head`; in place."""
    ### BEGIN SOLUTION
    for m in model.modules():
        if not isinstance(m, nn.Linear | nn.Conv2d):
            continue
        if m is head:
            nn.init.normal_(m.weight, std=0.01)
        else:
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
        if m.bias is not None:
            nn.init.zeros_(m.bias)
    return model
    ### END SOLUTION


# %% check="initialization.init-model"
torch.manual_seed(0)
top = nn.Linear(100, 10)
net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 50, 5, bias=False), nn.Flatten(), nn.Linear(200, 100)), nn.ReLU(), top)
assert init_model(net, top) is net, "return the model itself"
assert abs(net[0][2].weight.std().item() - 0.1) < 0.005, "nested layers too: sqrt(2 / 200) = 0.1"
assert abs(top.weight.std().item() - 0.01) < 0.002 and not top.bias.any(), "the head starts small, its bias at 0"

# %% [markdown]
# ## The last layer: start with what you know
#
# Hidden biases start at 0. There are three places where a bias deserves thought: an LSTM's forget gate often starts near $+1$, so that the cell remembers at first; ReLU units sometimes get a small positive bias, to be
# alive at the start; and the **output layer**.
#
# Before the first step the net knows nothing about an input. It can still know how frequent each class is. Small output weights and biases
#
# $$b_c=\log p_c\quad\text{(softmax)},\qquad b=\log\frac{p}{1-p}\quad\text{(sigmoid)}$$
#
# make it predict the base rates. The loss then starts at their **entropy** $-\sum_c p_c\ln p_c$. For $C$ balanced classes that is $\ln C$, 2.303 for ten. You will often read "the initial loss should be $\ln C$" without the
# condition; with zero biases it is, whatever the classes, and with prior biases it is the entropy, which is *below* $\ln C$ when the classes are not balanced.
#
# You will also read that a zero bias with rare positives starts with a massive loss. In fact with small weights it starts at $\ln2=0.693$, however rare they are. With 1 % positives the prior bias starts at 0.056 instead. The
# difference is real but not massive. It becomes serious where many thousand easy negatives are *summed*, as in a dense object detector; that is where RetinaNet (Lin et al., 2017) made it famous.
#
# ### Exercise initialization.output-bias · difficulty 2 of 5 · 12 min · 3 points
#
# Write `softmax_prior(counts)` and `sigmoid_prior(n_pos, n_neg)`.
#
# - `counts`: integer array `(C,)`, how often each class occurs, all positive.
# - `softmax_prior` returns the biases `(C,)` for which softmax gives the class frequencies when all weights are 0 (any such biases: adding a constant to all of them changes nothing), and the
#   mean cross-entropy in nats over data with these counts, at that start.
# - `sigmoid_prior` returns the bias, one float, for which the sigmoid is the positive rate. Both numbers are positive integers.
#
# `softmax_prior(np.array([1, 999]))` gives a loss of 0.0079; `sigmoid_prior(1, 99)` is −4.595.
#
# <details><summary>Hint 1</summary>Which function undoes the exponential in softmax? Which undoes the sigmoid?</details>
# <details><summary>Hint 2</summary>A sample of class c costs −log p_c, and a share p_c of the samples is of class c.</details>


# %% exercise="initialization.output-bias" points=3
def softmax_prior(counts: np.ndarray) -> tuple[np.ndarray, float]:
    """Biases (C,) that predict the class frequencies, and the loss they start with."""
    ### BEGIN SOLUTION
    p = counts / counts.sum()
    return np.log(p), float(-np.sum(p * np.log(p)))
    ### END SOLUTION


def sigmoid_prior(n_pos: int, n_neg: int) -> float:
    """The bias whose sigmoid is the positive rate."""
    ### BEGIN SOLUTION
    return math.log(n_pos / n_neg)
    ### END SOLUTION


# %% check="initialization.output-bias"
bias, loss = softmax_prior(np.array([1, 999]))
assert np.isclose(np.exp(bias[0] - bias[1]), 1 / 999), "softmax of the biases must be 1 : 999"
assert abs(loss - 0.0079) < 1e-4, "the entropy of the class frequencies"
assert abs(sigmoid_prior(1, 99) + 4.595) < 1e-3, "a rare class needs a negative bias"

# %% [markdown]
# Now watch it on the handwritten digits, once as a detector with 1 % positives ("is it an 8?"), once as ten balanced classes. The net has 64 ReLU units, He-initialized; the slider is the scale of the *output* weights.

# %% demo="initialization.initial-loss" covers="initialization.sanity initialization.output-layer"
explore(
    demos.initial_loss,
    alt="Loss over 100 steps for a detector with 1 % positives: with bias 0 it starts near ln 2, with the prior bias near the entropy 0.055",
    task=["1 % positives", "ten digits"],
    log10_scale=(-3.0, 1.0, 0.5, -2.0),
)

# %% [markdown]
# **What to see.** The prior bias skips the twenty steps that the other net spends on learning "8s are rare". It does not make the rest faster. **Try** a scale of $10^{1}$: the loss starts near 70 (near 120 with ten digits), and it takes the detector
# some thirty steps to come down to where small weights *begin*. (After that the training loss falls fast: large output weights send large gradients into the hidden layer, and 64 units can memorize 1,600 images.)
#
# That last experiment raises a question. With logits of standard deviation 50 the softmax is saturated: one class has all the probability. You will often read that the gradients are tiny then. Choose, then run.

# %%
predict(
    "Cross-entropy, ten classes, random labels. Logits of std 50 instead of 0.01: the gradient per sample is …",
    ["a thousand times smaller", "about ten times smaller", "a little larger", "a hundred times larger"],
    key="initialization.saturated",
)

# %% demo="initialization.saturated" covers="initialization.q.output"
small, large = demos.logits_and_gradient(0.01), demos.logits_and_gradient(50.0)
reveal(
    f"std 0.01: loss {small[0]:.2f}, gradient {small[1]:.2f} · std 50: loss {large[0]:.0f}, gradient {large[1]:.2f}",
    answer="a little larger",
    key="initialization.saturated",
)

# %% [markdown]
# **What to see.** The gradient of cross-entropy at the logits is $p-y$. For a confidently *wrong* sample its length is $\sqrt2$, the largest it can be. What is bad about large output weights is the loss of 77 and the
# time spent on undoing it. Tiny gradients are the disease of *squared error* on a saturated softmax or sigmoid. **Try** `logits_and_gradient(1.0)`: in between there is no valley.
#
# ## Residual nets start shallow
#
# In a residual net each branch *adds* to a stream: $x\leftarrow x+f(x)$. Independent contributions add their variances. Here are branches that read a normalized stream and each write with standard deviation 1:

# %%
for branches in (1, 10, 100):
    print(f"{branches:4d} branches: stream std {demos.stream(branches)[-1]:.2f}")
print(f"   scaled by 1/sqrt(100): {demos.stream(100, branch_std=0.1)[-1]:.2f},   closed: {demos.stream(100, closed=True)[-1]:.2f}")

# %% [markdown]
# After 100 branches the stream has standard deviation 10: it grows as the root of their number. Without normalization inside the branches it is worse, because each branch reads a stream that has
# already grown, and the growth is exponential. You will sometimes read that the learning rate is "a hundred times too large" then. There is no such general factor; the growth of the stream is what you can measure.
#
# Two remedies, and both make the net start as a shallow one:
#
# - **Close the branches.** Zero the last layer of each: in a ResNet the weight $\gamma$ of the last BatchNorm, elsewhere the final projection. Each block starts as the identity and opens as its gradient asks for it.
# - **Shrink the branches.** GPT-2 scales the projections that write into the stream by $1/\sqrt N$, so that all of them together add no more variance than one unscaled branch would.
#
# Close *one* layer, the last. If two in a row are zero, the gradient of each is multiplied by the other's zero, and the branch stays shut for ever.
#
# ### Exercise initialization.zero-init-residual · difficulty 3 of 5 · 12 min · 3 points
#
# Write `zero_init_residual(model)`, in place; return that same model.
#
# - Blocks have the class `RB` of the set-up cell: `branch` is an `nn.Sequential` of conv, bn, relu, conv, bn, and the output is `x + branch(x)`.
# - The model is a block itself or holds blocks at any depth of nesting, beside other layers, among them BatchNorms that belong to no block.
#   The `bias` (β) of the last BatchNorm of each branch is 0 already; nothing else need be at its default.
# - After the call every block returns its input bit for bit. The only thing that changed is the `weight` (γ) of the **last** BatchNorm of each branch, now 0.
#   Exactly 0: a tiny number is not enough, even where rounding hides it.
# - Nothing else is touched: no other parameter, no running statistics, not the training mode. Everything still requires gradients.
#
# For `block = RB(3)`, `zero_init_residual(block)(x)` equals `x`, and after a backward pass the closed γ has a gradient that is not zero.
#
# <details><summary>Hint 1</summary>Find the blocks with isinstance among all submodules; the model counts as one of its own modules.</details>
# <details><summary>Hint 2</summary>The last entry of a branch is its BatchNorm; nn.init.zeros_ works on its weight.</details>


# %% exercise="initialization.zero-init-residual" points=3
def zero_init_residual(model: nn.Module) -> nn.Module:
    """Make every residual block the identity by closing the last gamma of its branch; in place."""
    ### BEGIN SOLUTION
    for m in model.modules():
        if isinstance(m, RB):
            nn.init.zeros_(m.branch[-1].weight)
    return model
    ### END SOLUTION


# %% check="initialization.zero-init-residual"
torch.manual_seed(0)
net, x = nn.Sequential(nn.Sequential(RB(3)), RB(3)), torch.randn(2, 3, 5, 5)
assert zero_init_residual(net) is net, "return the model itself"
assert torch.equal(net(x), x), "closed blocks pass their input on unchanged"
net(x).square().sum().backward()
assert net[1].branch[-1].weight.grad.abs().sum() > 0, "the last gamma must be able to open"

# %% [markdown]
# Now GPT-2. You will often read "$1/\sqrt N$ with $N$ layers". $N$ counts the *residual branches*, and a transformer block has two: attention and MLP. So $N=2\,n_{layer}$.
#
# ### Exercise initialization.gpt2-init · difficulty 3 of 5 · 12 min · 3 points
#
# Write `gpt2_init(model, n_layer)`, in place; return that same model.
#
# - Weights of every `nn.Linear` and `nn.Embedding`: $N(0, 0.02^2)$, each with draws of its own.
# - Except the output projections, the `nn.Linear` modules whose name *ends* in `c_proj` (such as `h.0.attn.c_proj`; `c_proj` at the top; `c_proj_gate` is none, nor is an `nn.Embedding` of that name): standard deviation $0.02/\sqrt{2\,n_{layer}}$.
# - The layers need not hold torch's defaults before the call.
# - Biases of all linear layers 0, where there are any. Everything else keeps its values: `nn.LayerNorm`, convolutions (also one that is called `c_proj`), parameters that belong to no such layer. All parameters still require gradients.
#
# With 8 layers the projections get standard deviation 0.005.
#
# <details><summary>Hint 1</summary>named_modules() gives names along with modules.</details>
# <details><summary>Hint 2</summary>Variances of 2 · n_layer branches add up to 0.02² if each has 0.02² / (2 · n_layer).</details>


# %% exercise="initialization.gpt2-init" points=3
def gpt2_init(model: nn.Module, n_layer: int) -> nn.Module:
    """GPT-2's weights, with smaller projections into the residual stream; in place."""
    ### BEGIN SOLUTION
    for name, m in model.named_modules():
        if isinstance(m, nn.Embedding):
            nn.init.normal_(m.weight, std=0.02)
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=0.02 / math.sqrt(2 * n_layer) if name.endswith("c_proj") else 0.02)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    return model
    ### END SOLUTION


# %% check="initialization.gpt2-init"
torch.manual_seed(0)
net = nn.ModuleDict({"wte": nn.Embedding(90, 64), "mlp": nn.ModuleDict({"c_fc": nn.Linear(64, 99), "c_proj": nn.Linear(99, 64)})})
assert gpt2_init(net, 8) is net, "return the model itself"
assert abs(net["mlp"]["c_proj"].weight.std().item() - 0.005) < 0.0005, "2 branches per block: 0.02 / sqrt(16)"
assert abs(net["wte"].weight.std().item() - 0.02) < 0.002, "embeddings: 0.02"
assert not net["mlp"]["c_fc"].bias.any(), "biases: 0"

# %% [markdown]
# ## One matrix, a hundred times: orthogonal
#
# A plain RNN multiplies its state by the *same* matrix at every step. Then the average size is not enough; every direction counts. A Gaussian matrix with variance $1/n$ keeps lengths on average, but it stretches some directions
# and squeezes others, and the hundredth power remembers. An **orthogonal** matrix has all singular values at 1: $\lVert Qv\rVert=\lVert v\rVert$ for every $v$, after any number of steps.

# %% demo="initialization.orthogonal-power" covers="initialization.orthogonal"
explore(
    demos.orthogonal_power,
    alt="Length of W to the t times v over t: constant for an orthogonal matrix; the Gaussian's median direction falls below 1e-7 by step 50; eigenvalues beside it",
    gain=(0.9, 1.1, 0.01, 1.0),
)

# %% [markdown]
# **What to see.** The orthogonal line is flat, and its eigenvalues sit on the unit circle. The Gaussian's fill the disc: one vector survives because of the few eigenvalues near the rim, while the median direction has lost all but $10^{-7}$ of its length by
# step 50. **Try** a gain of 1.1: now the orthogonal line grows as $1.1^t$, to 13,781. Exactly 1 is a knife's edge.
#
# Where does it pay? For recurrent weights and very deep, nearly linear stacks. With norm layers or residual connections it adds little over He or Xavier.
#
# You get one from the QR decomposition of a Gaussian matrix, $G=QR$. QR leaves the signs of the columns open, and libraries choose differently. Making the diagonal of $R$ positive fixes them; only then is $Q$ uniformly
# distributed over all orthogonal matrices. `torch.nn.init.orthogonal_` does the same.
#
# ### Exercise initialization.orthogonal-qr · difficulty 2 of 5 · 10 min · 3 points
#
# Write `orthogonal_from(G)`.
#
# - `G`: float64 array `(n, n)`, invertible, $n\ge1$. It stays unchanged.
# - Returns $Q$, `(n, n)`, with $Q^\top Q=1$ and $Q^\top G$ upper triangular with a *positive* diagonal. There is exactly one such matrix.
# - `torch.nn.init` may not be used; library QR is fine.
#
# `orthogonal_from(np.array([[-2.0]]))` is `[[-1.0]]`.
#
# <details><summary>Hint 1</summary>Compute the factors, then look at the signs on the diagonal of R. Flipping a column of Q flips the matching row of R.</details>
# <details><summary>Hint 2</summary>An (n, n) array times an (n,) array of signs scales columns.</details>


# %% exercise="initialization.orthogonal-qr" points=3
def orthogonal_from(G: np.ndarray) -> np.ndarray:
    """The orthogonal factor of G = QR with a positive diagonal of R: (n, n)."""
    ### BEGIN SOLUTION
    Q, R = np.linalg.qr(G)
    return Q * np.sign(np.diag(R))  # scales columns
    ### END SOLUTION


# %% check="initialization.orthogonal-qr"
G = np.random.default_rng(0).standard_normal((4, 4))
Q = orthogonal_from(G)
assert np.allclose(Q.T @ Q, np.eye(4)), "the columns are not orthonormal"
assert np.allclose(np.tril(Q.T @ G, -1), 0), "Q^T G must be upper triangular"
assert (np.diag(Q.T @ G) > 0).all(), "its diagonal must be positive: flip columns"

# %% [markdown]
# ## Fine-tuning: do not disturb
#
# A pretrained backbone *is* the initialization. Re-initializing it throws the pretraining away. Only what is new needs weights, and small ones: a head drawn from $N(0,1)$ makes large random logits, and their
# gradients shake the features that you paid for. That is why `init_model` above gave the head 0.01.
#
# **LoRA** goes one step further. It leaves the pretrained $W$ frozen and learns a low-rank correction,
#
# $$y=\mathrm{base}(x)+\frac{\alpha}{r}\,x A^\top B^\top,\qquad A: (r, in),\quad B: (out, r),$$
#
# with $A$ random and $B=0$. At the start the adapter does nothing at all. Why not both zero? $\partial L/\partial B$ contains $A$ and $\partial L/\partial A$ contains $B$. With both at zero neither ever moves. Exactly one may be zero,
# the same logic as in the residual branch.
#
# ### Exercise initialization.lora-linear · difficulty 3 of 5 · 15 min · 4 points
#
# Write the class `LoRALinear(nn.Module)`.
#
# - `LoRALinear(base, r, alpha)`: `base` an `nn.Linear` with or without bias, `r` ≥ 1 an integer, `alpha` a float.
# - Parameters `A` `(r, in)`, random with any sensible spread, and `B` `(out, r)`, zero. They have the dtype of `base.weight`. They are all that trains: freeze weight and bias of the base.
# - The forward pass is the formula above for `x` of shape `(..., in)`, in training and in evaluation mode alike. At the start the output equals `base(x)` bit for bit.
# - Gradients flow back to `x` through both terms: the layers below may train too. `x` has the dtype of `base.weight`, which may be float64.
# - No seed is set: each adapter has an `A` of its own.
#
# `LoRALinear(nn.Linear(5, 7), r=2, alpha=6.0)` has 2·(5 + 7) = 24 trainable numbers.
#
# <details><summary>Hint 1</summary>nn.Parameter registers a tensor as trainable; requires_grad_(False) works on a whole module.</details>
# <details><summary>Hint 2</summary>x has in last; x Aᵀ has r last; times Bᵀ has out last. Multiply by α/r and add to the base.</details>


# %% exercise="initialization.lora-linear" points=4
class LoRALinear(nn.Module):
    """A frozen linear layer plus a trainable low-rank update that starts at zero."""

    def __init__(self, base: nn.Linear, r: int, alpha: float) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.base = base.requires_grad_(False)
        self.scale = alpha / r
        out, inside = base.weight.shape
        self.A = nn.Parameter(torch.randn(r, inside, dtype=base.weight.dtype) / math.sqrt(inside))
        self.B = nn.Parameter(torch.zeros(out, r, dtype=base.weight.dtype))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (..., in) -> (..., out)
        ### BEGIN SOLUTION
        return self.base(x) + self.scale * (x @ self.A.T @ self.B.T)
        ### END SOLUTION


# %% check="initialization.lora-linear"
torch.manual_seed(0)
base, x = nn.Linear(5, 7), torch.randn(4, 5)
lora = LoRALinear(base, r=2, alpha=6.0)
assert torch.equal(lora(x), base(x)), "the adapter must start as a no-op"
assert sum(p.numel() for p in lora.parameters() if p.requires_grad) == 24, "only A and B train"
lora(x).square().sum().backward()
assert lora.B.grad.abs().sum() > 0, "B must get a gradient: A may not be zero as well"

# %% [markdown]
# ## Does BatchNorm make all this obsolete?
#
# Mostly, and not entirely. BatchNorm rescales the activations of each layer, so a weight matrix that is ten times too large makes no difference to what follows. You can afford a moderately bad initialization. It still matters
#
# - in the first pass and the first steps, while the statistics settle;
# - in nets without norm layers;
# - in the layers that nothing normalizes: residual outputs, output projections, the head;
# - in transformers, where LayerNorm stands at the *entrance* of a branch and says nothing about its exit, and where attention logits grow with the weights.
#
# And it never breaks symmetry: BatchNorm of identical units is identical.
#
# ## Debug clinic
#
# Two programs that run without complaint and are wrong.
#
# ### Exercise initialization.fix-symmetry · difficulty 2 of 5 · 12 min · 3 points
#
# Someone trained a ReLU net of 64 units a layer for an hour. It is exactly as good as a net with one unit a layer. Look at two rows of any weight matrix. Repair the initializer.
#
# - `init_mlp(sizes, rng)`: `sizes` are the widths, input first, at least two of them. Returns `(weights, biases)`, two lists with one entry per layer: weights `(out, in)`, biases `(out,)`.
# - He-normal weights: normal draws, mean 0, variance $2/n_{in}$, every entry a draw of its own, so that units differ and layers of equal shape differ.
# - Biases all 0.
# - Every draw comes from `rng`: the same state gives the same weights, another state others.
#
# With `sizes = [200, 64, 64, 10]` the first matrix is (64, 200) with standard deviation 0.1.
#
# <details><summary>Hint 1</summary>What gradient do two units get that have the same weights?</details>
# <details><summary>Hint 2</summary>The root of 2 / in is the standard deviation of the layer with shape (out, in).</details>


# %% exercise="initialization.fix-symmetry" points=3
def init_mlp(sizes: list[int], rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights (out, in) and biases (out,) of every layer of a ReLU net."""
    ### BEGIN SOLUTION
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
    weights = [rng.normal(0.0, math.sqrt(2 / i), size=(o, i)) for i, o in pairs]
    biases = [np.zeros(o) for _, o in pairs]
    return weights, biases
    ### END SOLUTION


# %% broken="initialization.fix-symmetry"
def init_mlp(sizes: list[int], rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights (out, in) and biases (out,) of every layer of a ReLU net."""
    weights = [np.full((o, i), 0.01) for i, o in zip(sizes, sizes[1:])]
    biases = [np.zeros(o) for o in sizes[1:]]
    return weights, biases


# %% check="initialization.fix-symmetry"
weights, biases = init_mlp([200, 64, 64, 10], np.random.default_rng(0))
assert [w.shape for w in weights] == [(64, 200), (64, 64), (10, 64)], "weights are (out, in)"
assert not np.array_equal(weights[0][0], weights[0][1]), "two units with equal weights stay equal for ever"
assert abs(weights[0].std() - 0.1) < 0.01, "He: sqrt(2 / 200) = 0.1"
assert not any(b.any() for b in biases), "biases may start at 0"

# %% [markdown]
# ### Exercise scratch.init-scale · difficulty 1 of 5 · 8 min · 2 points
#
# This helper came with a comment, "Xavier initialisation: `np.random.randn(n_in, n_hidden) * np.sqrt(2 / n_in)`". Its author found that widening layers come out too large. Repair it.
#
# - `init_scale(fan_in, fan_out, kind)` returns one float. Both fans are positive integers.
# - `"he"`, `"lecun"` and `"xavier"`: the **standard deviation** of the weights, with variances $2/n_{in}$, $1/n_{in}$ and $2/(n_{in}+n_{out})$.
# - `"xavier_uniform"`: the limit $b$ of a draw from $U(-b,b)$ with Xavier's variance, $b=\sqrt{6/(n_{in}+n_{out})}$.
#
# `init_scale(784, 128, "xavier")` is 0.04683, `init_scale(784, 128, "he")` is 0.05051.
#
# <details><summary>Hint 1</summary>Read the formula in the comment and give it its right name.</details>
# <details><summary>Hint 2</summary>A kind with "xavier" in it depends on fan_out too.</details>


# %% exercise="scratch.init-scale" points=2
def init_scale(fan_in: int, fan_out: int, kind: str) -> float:
    """Standard deviation for "he", "lecun", "xavier"; uniform limit for "xavier_uniform"."""
    ### BEGIN SOLUTION
    squares = {
        "he": 2 / fan_in,
        "lecun": 1 / fan_in,
        "xavier": 2 / (fan_in + fan_out),
        "xavier_uniform": 6 / (fan_in + fan_out),
    }
    return math.sqrt(squares[kind])
    ### END SOLUTION


# %% broken="scratch.init-scale"
def init_scale(fan_in: int, fan_out: int, kind: str) -> float:
    """Standard deviation for "he", "lecun", "xavier"; uniform limit for "xavier_uniform"."""
    if kind == "lecun":
        return math.sqrt(1 / fan_in)
    scale = math.sqrt(2 / fan_in)  # Xavier initialisation
    if kind == "xavier_uniform":
        return math.sqrt(3) * scale
    return scale


# %% check="scratch.init-scale"
assert np.isclose(init_scale(784, 128, "he"), 0.050508, rtol=1e-4), "He was right already"
assert np.isclose(init_scale(784, 128, "xavier"), 0.046829, rtol=1e-4), "Xavier uses both fans"
assert np.isclose(init_scale(10, 64, "xavier_uniform"), 0.284747, rtol=1e-4), "sqrt(6 / (fan_in + fan_out))"

# %% [markdown]
# ## Write the test
#
# How do you test something random? Not by comparing with numbers from one generator: another generator is just as right. You test *statistics*, with room for chance. The standard deviation of $n$ draws is itself off by about
# $1/\sqrt{2n}$ of its value, 0.4 % for a (200, 150) matrix. A tolerance of 5 % is never hit by chance there, and every real mistake is far outside.
#
# ### Exercise initialization.test-init · difficulty 3 of 5 · 15 min · 3 points
#
# Write `check_init(init)`. It raises `AssertionError` if `init` is a wrong He initializer, and returns nothing if it is right.
#
# - `init(fan_out, fan_in, seed)` returns a NumPy array `(fan_out, fan_in)`. `seed` is a non-negative integer.
# - A right one: independent draws with mean 0 and variance $2/n_{in}$, normal *or* uniform, from *any* generator; the same seed gives the same weights, another seed others.
# - Your check may call it several times, but must be light: it is tried on about twenty implementations, and all of them together have 20 seconds.
# - It will meet right ones of four kinds and wrong ones with a wrong scale, a shifted mean, copies among the units (all of them, or some), or a misused seed. Rejecting a right one costs as much as missing a wrong one.
#
# An initializer that returns `np.zeros((fan_out, fan_in))` must be rejected.
#
# <details><summary>Hint 1</summary>List what a right one promises, sentence by sentence. Each is one assert.</details>
# <details><summary>Hint 2</summary>A large matrix that is not square; ratios rather than differences; compare all rows with each other, two seeds, two calls.</details>


# %% exercise="initialization.test-init" points=3
def check_init(init: Callable[[int, int, int], np.ndarray]) -> None:
    """Raise AssertionError unless `init(fan_out, fan_in, seed)` is He initialization."""
    ### BEGIN SOLUTION
    for fan_out, fan_in in [(150, 400), (400, 150)]:
        w, want = init(fan_out, fan_in, 1), math.sqrt(2 / fan_in)
        assert w.shape == (fan_out, fan_in), "shape"
        assert abs(w.std() / want - 1) < 0.05, "standard deviation"
        assert abs(w.mean()) < 0.05 * want, "mean"
        assert len(np.unique(w, axis=0)) == fan_out, "units are copies"
        assert np.array_equal(w, init(fan_out, fan_in, 1)), "not repeatable"
        assert not np.array_equal(w, init(fan_out, fan_in, 2)), "the seed has no effect"
    ### END SOLUTION


# %% check="initialization.test-init"
def he(fan_out, fan_in, seed):
    return np.random.default_rng(seed).normal(0, math.sqrt(2 / fan_in), (fan_out, fan_in))


check_init(he)
try:
    check_init(lambda fan_out, fan_in, seed: np.zeros((fan_out, fan_in)))
except AssertionError:
    pass
else:
    raise AssertionError("zeros got through")

# %% [markdown]
# ## Interview questions
#
# Say the answer aloud before you look at the options; in the interview there are none. Most of these have a wrong answer that is in wide circulation.

# %% quiz=true

# %% [markdown]
# ## One-page recap
#
# | question | answer |
# |---|---|
# | goal | size of activations *and* gradients constant over depth |
# | why random | equal weights stay equal: one effective unit per layer; biases may be 0 |
# | why $1/n$ | the variance of a sum of $n$ terms grows as $n$: $\operatorname{Var}z=n\operatorname{Var}w\,\mathbb E[x^2]$ |
# | Xavier | $2/(n_{in}+n_{out})$: tanh, sigmoid, linear; uniform limit $\sqrt{6/(n_{in}+n_{out})}$ |
# | He | $2/n_{in}$: ReLU family; GELU and SiLU close enough with norm layers |
# | the 2 | $\mathbb E[\mathrm{relu}(z)^2]=\frac12\mathbb E[z^2]$, exactly; Xavier with ReLU sinks as $2^{-l/2}$ |
# | gain | $1/\sqrt{\mathbb E[\phi(z)^2]}$; ReLU $\sqrt2$ |
# | torch's default | variance $1/(3n_{in})$, random biases, blind to the activation: override with `kaiming_normal_(w, nonlinearity="relu")`, `xavier_uniform_` |
# | output layer | small weights, bias $\log p_c$ or $\log\frac{p}{1-p}$; loss starts at the entropy, $\ln C$ if balanced |
# | other biases | 0; LSTM forget gate about 1; sometimes small positive for ReLU |
# | residual nets | zero the last layer of each branch, and only that; GPT-2: $0.02/\sqrt{2\,n_{layer}}$ |
# | RNN | orthogonal recurrent matrix: all singular values 1 |
# | fine-tuning | keep the backbone, small head; LoRA: $A$ random, $B=0$ |
# | with BatchNorm | matters less: still first steps, norm-free nets, residual and output layers, transformers |
# | first check | one batch: std per layer forward and backward, initial loss; repair the init before touching the learning rate |
