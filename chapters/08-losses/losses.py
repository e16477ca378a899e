# %% [markdown]
# # 8 · Loss functions: what you ask the network to do
#
# After this chapter you can name the assumption behind every common loss, write it from logits so that no input breaks it, and predict its value before the first step of training.
#
# | | |
# |---|---|
# | time | about 6 hours, 17 exercises |
# | builds on | chapter 3 (gradients by the chain rule) and chapter 4 (sigmoid and softmax) |
# | you will be able to | derive MSE, MAE and cross-entropy from a noise model · compute losses and gradients that survive logits of $\pm10^4$ · know what "mean" divides by · choose among weights, focal loss and Dice · distil a teacher · tell a numerical bug from a wiring bug |

# %% setup=true
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# %%
from utils import explore, figures, predict, reveal
from utils.demos import losses as demos

# %% [markdown]
# ## How angry should the loss be?
#
# A picture shows a cat. Your classifier says: cat, with probability one in a million. Two candidates for the penalty, with $p$ the probability of the true class:
# the squared error $(1-p)^2$ and the cross-entropy $-\ln p$. The network hears of the penalty only through its gradient with respect to the logit $z$, where $p=\sigma(z)$.

# %%
predict(
    "The true class has p = 0.000001. What gradient with respect to its logit does the squared error (1 − p)² send back?",
    ["about −2: it is very wrong", "about −1", "about −0.000002: hardly anything"],
    key="losses.ce-vs-squared",
)

# %% demo="losses.demo-ce-vs-squared" covers="losses.fig-ce-vs-squared losses.mse-saturates losses.q.ce-not-mse"
explore(
    demos.ce_vs_squared,
    alt="Left: −ln p shoots up as p goes to 0 while (1−p)² stays below 1. Right: the size of the logit gradient, near 1 for cross-entropy and near 0 for squared error when z is very negative",
    z=(-12.0, 12.0, 0.5, -3.0),
)
ce, squared = demos.logit_gradients(math.log(1e-6))
reveal(
    f"{squared:.2g} for squared error, {ce:.6f} for cross-entropy", answer="about −0.000002: hardly anything", key="losses.ce-vs-squared"
)

# %% [markdown]
# **What to see.** Both penalties are 0 at $p=1$. At the other end $(1-p)^2$ cannot exceed 1. As a function of $z$ it lies almost flat there, and its gradient collapses exactly where the model is most wrong. The cross-entropy's tends to $-1$.
# **Try** $z=-12$, then $z=0$: only around 0 are the two comparable.
#
# The reason is one factor. Through a sigmoid the chain rule multiplies by $\sigma'(z)=p(1-p)$, which vanishes at both ends. Squared error keeps that factor: $-2(1-p)\cdot p(1-p)$. Cross-entropy has $1/p$ in its own
# derivative, and it cancels: $-\tfrac1p\cdot p(1-p)=p-1$. "Cross-entropy is for classes" is a rule; this is its reason.
#
# There is a second reason, and the rest of the chapter grows from it.
#
# ## A loss is an assumption about noise
#
# Say how you believe the targets came about, as a density $p_\theta(y\mid x)$. Then there is only one thing to ask of the parameters: make the observed targets probable.
#
# $$L=-\ln p_\theta(y\mid x)$$
#
# This is the *negative log-likelihood*, NLL. Fix the distribution, and the formula writes itself:
#
# | you assume that the targets are | density | NLL | what remains if constants go |
# |---|---|---|---|
# | a number plus Gaussian noise | $\frac{1}{\sigma\sqrt{2\pi}}e^{-(y-\mu)^2/2\sigma^2}$ | $\frac{(y-\mu)^2}{2\sigma^2}+\ln\sigma+\frac12\ln2\pi$ | squared error (MSE) |
# | a number plus Laplace noise | $\frac1{2b}e^{-\lvert y-\mu\rvert/b}$ | $\frac{\lvert y-\mu\rvert}{b}+\ln 2b$ | absolute error (MAE) |
# | a coin, heads with $p$ | $p^y(1-p)^{1-y}$ | $-[y\ln p+(1-y)\ln(1-p)]$ | binary cross-entropy |
# | one of $C$ classes | $p_y$ | $-\ln p_y$ | cross-entropy |
#
# So the loss is a modelling choice. Choose the wrong one and the network optimises the wrong thing, whatever its architecture. Ask one network for one number, and the Gaussian answer is the *mean* of the targets, the
# Laplace answer their *median*.
#
# ### Exercise losses.noise-nll · difficulty 2 of 5 · 15 min · 3 points
#
# Write `noise_nll(y, mu, scale, kind)` and `best_constant(y, kind)`.
#
# - `kind` is `"gaussian"` or `"laplace"`.
# - `noise_nll`: `y`, `mu`, `scale` are float arrays of the same shape, `scale` $>0$. It is the standard deviation $\sigma$ of the Gaussian, and $b$ of the Laplace distribution. Return the negative log density of each element,
#   an array of that shape, *with all constants*.
# - `best_constant`: `y` is a 1-d float array with an odd number of entries, in any order. Return the one number $c$ that minimises the mean of `noise_nll(y, c, scale, kind)` at any fixed scale, as a float. It is checked to 0.005.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# At `y = 3, mu = 1, scale = 2` the NLL is 2.1121 (Gaussian) and 2.3863 (Laplace). For `y = [0, 1, 8]` the best constants are 3 and 1.
#
# <details><summary>Hint 1</summary>Take the logarithm of the density in the table, all of it, and change the sign.</details>
#
# <details><summary>Hint 2</summary>Set the derivative to 0. Squares: the residuals must sum to 0. Absolute values: as many points must lie left as right.</details>


# %% exercise="losses.noise-nll" points=3
def noise_nll(y: np.ndarray, mu: np.ndarray, scale: np.ndarray, kind: str) -> np.ndarray:
    """Negative log density of each element under a Gaussian or a Laplace model."""
    ### BEGIN SOLUTION
    if kind == "gaussian":
        return 0.5 * ((y - mu) / scale) ** 2 + np.log(scale) + 0.5 * np.log(2 * np.pi)
    return np.abs(y - mu) / scale + np.log(2 * scale)
    ### END SOLUTION


def best_constant(y: np.ndarray, kind: str) -> float:
    """The constant prediction with the smallest mean NLL."""
    ### BEGIN SOLUTION
    return float(np.mean(y) if kind == "gaussian" else np.median(y))
    ### END SOLUTION


# %% check="losses.noise-nll"
y_, mu_, scale_ = np.array([3.0]), np.array([1.0]), np.array([2.0])
assert np.allclose(noise_nll(y_, mu_, scale_, "gaussian"), 2.112086, atol=1e-5), "Gaussian: ½·1² + ln 2 + ½ ln 2π = 2.1121"
assert np.allclose(noise_nll(y_, mu_, scale_, "laplace"), 2.386294, atol=1e-5), "Laplace: 1 + ln 4 = 2.3863"
assert noise_nll(np.ones((2, 3)), np.zeros((2, 3)), np.ones((2, 3)), "laplace").shape == (2, 3), "one value an element, no mean"
assert abs(best_constant(np.array([8.0, 0.0, 1.0]), "laplace") - 1) < 0.005, "two of three points pull towards 1"

# %% [markdown]
# **What goes wrong.** The constants do not move the optimum, so MSE and MAE drop them. But as soon as the network predicts its own $\sigma$, the term $\ln\sigma$ is all that keeps it from answering "no idea" with a huge one.
#
# ## Regression: three losses and one outlier
#
# | loss | assumes | estimates | gradient in $e=\hat y-y$ | its weak side |
# |---|---|---|---|---|
# | MSE, $e^2$ | Gaussian | mean | $2e$: smooth, shrinks near the goal | one gross outlier dominates the batch |
# | MAE, $\lvert e\rvert$ | Laplace | median | $\pm1$ however small $e$ is | never slows down: jitters around the goal |
# | Huber | Gaussian core, Laplace tails | between | $e$, cut off at $\pm\delta$ | $\delta$ must match the size of ordinary errors |
#
# $$L_\delta(e)=\begin{cases}\tfrac12e^2&\lvert e\rvert\le\delta\\ \delta\lvert e\rvert-\tfrac12\delta^2&\lvert e\rvert>\delta\end{cases}$$
#
# You will often read that Huber is MSE inside and MAE outside. Not quite: it is *half* the squared error inside, and the absolute error *times* $\delta$, *shifted*, outside. Only so do value and slope meet at $\lvert e\rvert=\delta$:
# both branches give $\delta^2/2$ there, with slope $\delta$. (torch's `SmoothL1Loss` is Huber divided by $\delta$.)

# %% demo="losses.demo-regression-outlier" covers="losses.regression-table losses.huber losses.noise-models losses.q.mse-mae-huber"
explore(
    demos.regression_outlier,
    alt="Lines fitted under MSE, MAE and Huber with one outlier: the MSE line is pulled up; the losses and their slopes; with fixed steps MAE jitters around the optimum",
    outlier=(0.0, 40.0, 1.0, 25.0),
    delta=(0.1, 10.0, 0.1, 1.0),
)

# %% [markdown]
# **What to see.** One point of twenty lifts the MSE line; the other two lines stay. On the right, steps of fixed rate: the MSE error shrinks smoothly, the MAE error ends in a zig-zag about half a step high.
# **Try** `delta` 10: Huber behaves like MSE, outlier and all. **Try** 0.1: it behaves like MAE, and slowly.
#
# ### Exercise losses.huber-and-grad · difficulty 2 of 5 · 15 min · 3 points
#
# Write `huber(pred, target, delta=1.0)` → `(loss, grad)`.
#
# - `pred`, `target`: float arrays of the same shape, any number of axes, not empty. `delta` $>0$.
# - `loss`: a float, the mean of $L_\delta(\text{pred}-\text{target})$ over *all* elements.
# - `grad`: the gradient of that mean with respect to `pred`, an array of its shape.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# `huber(np.array([0.5, 3.0]), np.array([0.0, 0.0]), delta=2.0)` is `(2.0625, [0.25, 1.0])`: losses 0.125 and 4, slopes 0.5 and 2, each over two elements.
#
# <details><summary>Hint 1</summary>Which of the two cases applies depends on the size of the error, not on its sign.</details>
#
# <details><summary>Hint 2</summary>The slope is the error itself, clipped to $[-\delta,\delta]$. And the loss is a mean: what does that do to each element's share?</details>


# %% exercise="losses.huber-and-grad" points=3
def huber(pred: np.ndarray, target: np.ndarray, delta: float = 1.0) -> tuple[float, np.ndarray]:
    """Mean Huber loss and its gradient with respect to `pred`."""
    ### BEGIN SOLUTION
    e = pred - target
    size = np.abs(e)
    loss = np.where(size <= delta, 0.5 * e**2, delta * size - 0.5 * delta**2)
    return float(loss.mean()), np.clip(e, -delta, delta) / e.size
    ### END SOLUTION


# %% check="losses.huber-and-grad"
loss_, grad_ = huber(np.array([0.5, 3.0]), np.zeros(2), delta=2.0)
assert np.isclose(loss_, 2.0625), f"(0.125 + 4) / 2 = 2.0625, not {loss_}"
assert np.allclose(grad_, [0.25, 1.0]), f"slopes 0.5 and 2, over 2 elements; yours: {grad_}"
assert np.isclose(huber(np.array([2.0]), np.zeros(1), delta=2.0)[0], 2.0), "at |e| = delta both branches give delta²/2"
assert np.allclose(huber(np.array([[-3.0]]), np.zeros((1, 1)))[1], [[-1.0]]), "a negative error has a negative slope, at most delta"

# %% [markdown]
# ## Softmax, once more, and this time in a batch
#
# For one label out of $K$, the network's scores $z$ (the *logits*) become probabilities by softmax, $p_k=e^{z_k}/\sum_je^{z_j}$. They are positive, they sum to 1, and the largest logit stays the largest. If labels do not
# exclude each other (a photo with a cat *and* a dog), use a sigmoid per label instead.
#
# `exp(1000)` is infinite, and infinity over infinity is `nan`. Subtract the largest logit of the row first: $e^{z_k-m}/\sum_je^{z_j-m}$. This is no approximation. The factor $e^{-m}$ stands above and below the fraction bar and
# cancels, exactly. Dividing the logits instead (a temperature) or clipping them changes the probabilities.
#
# ### Exercise scratch.softmax · difficulty 2 of 5 · 10 min · 2 points
#
# Write `softmax(z)` for a batch.
#
# - `z`: float array $(B,K)$, $B,K\ge1$, entries up to $\pm10^4$. Result: $(B,K)$, each *row* a distribution.
# - No `nan`, no overflow, also when one row lies near $+1000$ and another near $-1000$. Accurate to $10^{-12}$.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# `softmax(np.array([[1000., 1001.], [0., 0.]]))` is `[[0.2689, 0.7311], [0.5, 0.5]]`.
#
# <details><summary>Hint 1</summary>Whose maximum? A maximum that is right for one row may be a thousand above another.</details>
#
# <details><summary>Hint 2</summary>A reduction with keepdims=True has shape (B, 1) and lines up with the rows. Without it, (B,) lines up with the columns, and a square batch does not complain.</details>


# %% exercise="scratch.softmax" points=2
def softmax(z: np.ndarray) -> np.ndarray:
    """Row-wise softmax of logits (B, K)."""
    ### BEGIN SOLUTION
    e = np.exp(z - z.max(axis=1, keepdims=True))  # (B, K)
    return e / e.sum(axis=1, keepdims=True)
    ### END SOLUTION


# %% check="scratch.softmax"
assert np.allclose(softmax(np.array([[0.0, 0.0, 0.0]])), 1 / 3), "equal logits: equal shares"
p_ = softmax(np.array([[1000.0, 1001.0], [0.0, 0.0]]))
assert np.isfinite(p_).all(), "nan or inf: exp overflowed"
assert np.allclose(p_, [[0.26894, 0.73106], [0.5, 0.5]], atol=1e-4), "each row is a distribution of its own"

# %% [markdown]
# ## Binary cross-entropy, from the logit
#
# With $p=\sigma(z)$ the binary cross-entropy is $-[y\ln p+(1-y)\ln(1-p)]$. Do not compute it this way. At $z=-800$ the sigmoid is exactly 0 in floating point, its log is $-\infty$, and the gradient is `nan`. Do the algebra first:
#
# $$-\ln\sigma(z)=\ln(1+e^{-z})=\operatorname{softplus}(-z),\qquad -\ln(1-\sigma(z))=\operatorname{softplus}(z)$$
# $$\operatorname{softplus}(u)=\max(u,0)+\ln\bigl(1+e^{-\lvert u\rvert}\bigr)$$
#
# Nothing in the last line can overflow. Mathematically nothing has changed: it is the same function, written so that a computer can evaluate it. That is what `BCEWithLogitsLoss` does, and why torch's losses ask for **logits**. The fusion
# is neither another objective nor merely faster.

# %%
p = torch.sigmoid(torch.tensor(-800.0, dtype=torch.float64))
fused = F.binary_cross_entropy_with_logits(torch.tensor(-800.0), torch.tensor(1.0))
print("sigmoid, then log:", -torch.log(p).item(), "   fused:", fused.item())

# %% [markdown]
# **Rare positives.** The simplest tool against imbalance is a weight. `pos_weight` multiplies the term of the positives, $w\,y\,[-\ln p]$, and leaves the negatives alone. The mean then divides by the number of elements, as before.
#
# ### Exercise losses.bce-with-logits · difficulty 3 of 5 · 15 min · 3 points
#
# Write `bce_with_logits(z, y, pos_weight=1.0)`.
#
# - `z`: float array of any shape, logits up to $\pm10^4$, not empty. `y`: float array of its shape, targets in $[0,1]$, *also between* 0 and 1.
# - Return a float: the plain mean over all elements of $\;w\,y\,\operatorname{softplus}(-z)+(1-y)\operatorname{softplus}(z)\;$ with $w$ = `pos_weight` $>0$.
# - No overflow, no clipping: at $z=-10^4$ and $y=1$ the loss is $10^4$. Checked to $10^{-7}$ relative or $10^{-9}$, whichever is larger.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# `bce_with_logits(np.array([0., 2.]), np.array([1., 0.]))` is `1.4100`; with `pos_weight=3.0` it is `2.1032`.
#
# <details><summary>Hint 1</summary>You need the softplus of z and of −z, and both from exp(−|z|) only.</details>
#
# <details><summary>Hint 2</summary>np.log1p(e) is ln(1 + e), accurate also when e is tiny. np.logaddexp(0, u) is softplus as well.</details>


# %% exercise="losses.bce-with-logits" points=3
def bce_with_logits(z: np.ndarray, y: np.ndarray, pos_weight: float = 1.0) -> float:
    """Mean binary cross-entropy from logits; `pos_weight` scales the positive term."""
    ### BEGIN SOLUTION
    tail = np.log1p(np.exp(-np.abs(z)))
    positive = np.maximum(-z, 0) + tail  # −ln σ(z)
    negative = np.maximum(z, 0) + tail  # −ln(1 − σ(z))
    return float((pos_weight * y * positive + (1 - y) * negative).mean())
    ### END SOLUTION


# %% check="losses.bce-with-logits"
z_, y_ = np.array([0.0, 2.0]), np.array([1.0, 0.0])
assert np.isclose(bce_with_logits(z_, y_), 1.410037, atol=1e-5), "(0.6931 + 2.1269) / 2"
assert np.isclose(bce_with_logits(z_, y_, pos_weight=3.0), 2.103184, atol=1e-5), (
    "only the first element is positive: (3·0.6931 + 2.1269) / 2"
)
assert np.isclose(bce_with_logits(np.array([-1e4]), np.array([1.0])), 1e4), "the penalty keeps growing like |z|"
assert np.isclose(bce_with_logits(np.zeros((2, 3)), np.full((2, 3), 0.3)), math.log(2)), "p = ½ costs ln 2 for any target"

# %% [markdown]
# **What goes wrong.** Clipping $p$ to $[10^{-7},1-10^{-7}]$ hides the overflow by changing the loss: every mistake costs at most 16.1, and the worst examples have gradient 0.
#
# ## Cross-entropy, and its gradient in one line
#
# For $C$ classes the same trick gives the log-softmax directly, without ever forming a probability:
#
# $$-\ln p_y=\ln\sum_je^{z_j}-z_y=m+\ln\sum_je^{z_j-m}-z_y,\qquad m=\max_jz_j$$
#
# The gradient is the reason why everyone uses this loss. With $y$ as a one-hot row, for one example
#
# $$\frac{\partial L}{\partial z}=p-y$$
#
# Probability minus target: between $-1$ and 0 at the true class, positive elsewhere, rows sum to 0. It is largest when the model is confidently wrong. The shift $m$ depends on $z$ too, so should it be differentiated? It cancels in
# the value, so it cancels in the derivative: the gradient is $p-y$ with or without it.
#
# For a batch the loss is the *mean*, so the gradient of each row carries $1/B$.
#
# ### Exercise bank.softmax-ce · difficulty 3 of 5 · 15 min · 3 points
#
# Write `ce_loss_grad(z, y)` → `(loss, grad)`.
#
# - `z`: float array $(B,K)$, logits up to $\pm10^4$. `y`: int array $(B,)$, the true classes.
# - `loss`: a float, the mean cross-entropy. `grad` $(B,K)$: its gradient with respect to `z`.
# - No overflow, no `inf`; accurate to $10^{-9}$ (relative for large losses). A row `[0, 2000]` with true class 0 costs 2000. `z` stays as it is.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# `ce_loss_grad(np.array([[2., 0.], [0., 0.]]), np.array([0, 1]))` is `(0.4100, [[-0.0596, 0.0596], [0.25, -0.25]])`.
#
# <details><summary>Hint 1</summary>Compute the log-probabilities first. The probabilities are their exponentials, and never the other way round.</details>
#
# <details><summary>Hint 2</summary>grad = (p − one-hot) / B. Rows sum to 0.</details>


# %% exercise="bank.softmax-ce" points=3
def ce_loss_grad(z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean softmax cross-entropy of logits (B, K) and its gradient."""
    ### BEGIN SOLUTION
    rows = np.arange(len(y))
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # (B, K)
    grad = np.exp(log_p)
    grad[rows, y] -= 1
    return float(-log_p[rows, y].mean()), grad / len(y)
    ### END SOLUTION


# %% check="bank.softmax-ce"
loss_, grad_ = ce_loss_grad(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([0, 1]))
assert np.isclose(loss_, 0.410037, atol=1e-5), f"(0.1269 + 0.6931) / 2 = 0.4100, not {loss_}"
assert np.allclose(grad_, [[-0.059601, 0.059601], [0.25, -0.25]], atol=1e-5), "(p − one-hot) / 2"
assert np.isclose(ce_loss_grad(np.array([[0.0, 2000.0]]), np.array([0]))[0], 2000), "a hopeless logit costs 2000, not inf"

# %% [markdown]
# Now put the two gradients from the first figure side by side in code.
#
# ### Exercise losses.logit-gradients · difficulty 3 of 5 · 15 min · 3 points
#
# Write `ce_logit_grad(logits, targets)` and `mse_sigmoid_grad(z, y)`.
#
# - `ce_logit_grad`: `logits` float $(N,C)$, `targets` int $(N,)$. Return the gradient of the *mean* softmax cross-entropy with respect to the logits, $(N,C)$.
# - `mse_sigmoid_grad`: `z`, `y` float arrays of the same shape, any shape, $y\in[0,1]$. Return, *element by element*, the derivative of $(\sigma(z)-y)^2$ with respect to $z$: no mean here.
# - No overflow for $\pm1000$ in either.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# At $z=-20$, $y=1$: `mse_sigmoid_grad` gives $-4.1\cdot10^{-9}$. Such small numbers are checked too: to $10^{-7}$ relative or $10^{-15}$, whichever is larger. For logits `[[-20., 0.]]` and target 0, `ce_logit_grad` gives `[[-1., 1.]]` to eight digits.
#
# <details><summary>Hint 1</summary>One of the two has a factor that the other has lost. Which one is it, and where does it vanish?</details>
#
# <details><summary>Hint 2</summary>$2(\sigma-y)\,\sigma(1-\sigma)$. Write the sigmoid with $e^{-|z|}$ so that neither sign overflows.</details>


# %% exercise="losses.logit-gradients" points=3
def ce_logit_grad(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Gradient of the mean softmax cross-entropy with respect to the logits (N, C)."""
    ### BEGIN SOLUTION
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    grad = e / e.sum(axis=1, keepdims=True)  # (N, C)
    grad[np.arange(len(targets)), targets] -= 1
    return grad / len(targets)
    ### END SOLUTION


def mse_sigmoid_grad(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Derivative of (sigmoid(z) − y)² with respect to z, elementwise."""
    ### BEGIN SOLUTION
    e = np.exp(-np.abs(z))
    s = np.where(z >= 0, 1 / (1 + e), e / (1 + e))
    return 2 * (s - y) * e / (1 + e) ** 2  # s(1 − s) = e/(1 + e)²
    ### END SOLUTION


# %% check="losses.logit-gradients"
assert np.allclose(ce_logit_grad(np.zeros((1, 4)), np.array([2])), [[0.25, 0.25, -0.75, 0.25]]), "p − one-hot for one example"
assert np.allclose(ce_logit_grad(np.zeros((2, 2)), np.array([0, 1])), [[-0.25, 0.25], [0.25, -0.25]]), (
    "mean over two examples: half of p − one-hot"
)
assert np.allclose(mse_sigmoid_grad(np.array([0.0]), np.array([1.0])), [-0.25]), "2 · (0.5 − 1) · 0.25"
assert abs(mse_sigmoid_grad(np.array([-20.0]), np.array([1.0]))[0]) < 1e-8, "saturated: the factor s(1 − s) is 2e-9"

# %% [markdown]
# ## The first number you should check
#
# Before training, a classifier knows nothing. All logits about equal means $p=1/C$, and the loss is $\ln C$: **0.69 for 2 classes, 2.30 for 10, 6.91 for 1000**. Print the first loss of every new run. If it is 40, the logits are far too large; if it is 1.2 for
# ten balanced classes, something leaks or the labels are not what you think.
#
# One exception is no bug. If the classes are unbalanced and the final bias is set to the log priors, the model starts by predicting the class frequencies $\pi_c$, and the expected loss is the entropy
# $H(\pi)=-\sum_c\pi_c\ln\pi_c$. With 1 % positives this is 0.056, not 0.693.

# %%
predict(
    "A fresh ten-class net. You multiply its last weight matrix by 100. The first loss was 2.3; what is it now?",
    ["2.3 again: scaling keeps the argmax", "between 3 and 5", "above 10"],
    key="losses.init-scale",
)

# %% demo="losses.init-scale" covers="losses.init-ce losses.q.init-loss"
explore(
    demos.init_loss,
    alt="First loss of a fresh ten-class net on the digits against a factor on its last weights: 2.3 up to about 3, then it rises, in the end in proportion to the factor",
    scale=(1.0, 1000.0, 1.0, 100.0),
)
reveal(f"{demos.first_loss(100.0):.1f}", answer="above 10", key="losses.init-scale")

# %% [markdown]
# **What to see.** Up to a factor of about 3 the loss is $\ln10=2.30$. With larger weights the net is confident before it has learned anything and wrong nine times out of ten: the loss grows, in the end in proportion to the factor. **Try** `scale` 1000, then 10.
#
# ### Exercise losses.expected-init-loss · difficulty 1 of 5 · 10 min · 2 points
#
# Write `expected_init_loss(priors)` → `(zero_logits, log_priors)`, two floats in nats.
#
# - `priors`: float array $(C,)$, the class frequencies of the data: $\ge0$, sum 1. Some may be *exactly 0*.
# - `zero_logits`: the expected cross-entropy of a model whose $C$ logits are all 0. `log_priors`: that of a model whose predicted probabilities are the priors.
# - A class with prior 0 contributes nothing: $0\ln0=0$. No warning then.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# `expected_init_loss(np.array([0.9, 0.1]))` is `(0.6931, 0.3251)`.
#
# <details><summary>Hint 1</summary>Expected over examples: how often does the true class turn out to be c, and what does it cost then?</details>
#
# <details><summary>Hint 2</summary>ln C, and the entropy of the priors. Select the positive priors before you take the log.</details>


# %% exercise="losses.expected-init-loss" points=2
def expected_init_loss(priors: np.ndarray) -> tuple[float, float]:
    """Expected first loss with zero logits, and with the log priors as logits."""
    ### BEGIN SOLUTION
    p = priors[priors > 0]
    return math.log(len(priors)), float(-(p * np.log(p)).sum())
    ### END SOLUTION


# %% check="losses.expected-init-loss"
zero_, prior_ = expected_init_loss(np.array([0.9, 0.1]))
assert np.isclose(zero_, math.log(2)), "zero logits: ln 2 for two classes, whatever their frequencies"
assert np.isclose(prior_, 0.325083, atol=1e-5), "0.9·0.1054 + 0.1·2.3026"
assert np.isclose(expected_init_loss(np.array([0.5, 0.0, 0.5]))[1], math.log(2)), "a class that never occurs adds nothing"

# %% [markdown]
# ### Correct, and still with a loss
#
# You will often read that at 100 % accuracy "the probability of the true class is 1", or that the loss may then be anything. Neither is so. Correct means that the true class has the *largest* of $K$ probabilities. They sum to 1, so the
# largest is above $1/K$. This bounds the loss from both sides.

# %%
for lead in (5.0, 0.1, 1e-6):
    logits = torch.tensor([[lead] + [0.0] * 9], dtype=torch.float64)
    print(f"lead {lead:g}: correct, loss {F.cross_entropy(logits, torch.tensor([0])).item():.6f}")

# %% [markdown]
# ### Exercise bank.loss-bounds · difficulty 2 of 5 · 5 min · 1 point
#
# Write `loss_bounds(K)` → `(low, high)`.
#
# - `K`: int, at least 2, the number of classes. Consider one example that is classified correctly: the logit of its true class is strictly larger than all others; otherwise the logits are arbitrary.
# - Return the infimum and the supremum of its cross-entropy (natural logarithm), as floats. Neither need be attained.
#
# For `K = 4` the upper bound is 1.3863.
#
# <details><summary>Hint 1</summary>How small can the largest of K numbers be that sum to 1?</details>
#
# <details><summary>Hint 2</summary>Translate the bounds of the probability through −ln. The mean over many correct examples has the same bounds.</details>


# %% exercise="bank.loss-bounds" points=1
def loss_bounds(K: int) -> tuple[float, float]:
    """Infimum and supremum of the cross-entropy of a correctly classified example."""
    ### BEGIN SOLUTION
    return 0.0, math.log(K)
    ### END SOLUTION


# %% check="bank.loss-bounds"
low_, high_ = loss_bounds(4)
assert low_ < high_, "the lower bound comes first"
assert np.isclose(high_, 1.386294), "with four classes the winner has more than 1/4"

# %% [markdown]
# ## Targets that are not quite one-hot
#
# A one-hot target asks for the impossible: softmax reaches probability 1 only with an infinite logit, so training pushes the logits apart forever. *Label smoothing* asks for a little less. Mix the one-hot vector with the uniform
# one:
#
# $$t_k=(1-\varepsilon)\,[k=y]+\frac{\varepsilon}{K},\qquad\text{so the true class gets }1-\varepsilon+\frac{\varepsilon}{K}$$
#
# With $\varepsilon\approx0.1$ the network is less over-confident and often better calibrated. This is torch's `label_smoothing` (Szegedy et al. 2016). Two other pairs are around:
#
# | true class | each other class | sum | |
# |---|---|---|---|
# | $1-\varepsilon+\varepsilon/K$ | $\varepsilon/K$ | 1 | torch |
# | $1-\varepsilon$ | $\varepsilon/(K-1)$ | 1 | the same with $\varepsilon_{\text{torch}}=\varepsilon K/(K-1)$ |
# | $1-\varepsilon$ | $\varepsilon/K$ | $1-\varepsilon/K$ | a slip you will often read: no distribution |
#
# ### Exercise losses.smooth-targets · difficulty 2 of 5 · 10 min · 2 points
#
# Write `smooth_targets(labels, n_classes, eps=0.1)` in torch's convention.
#
# - `labels`: int array $(N,)$ with values in $0,\dots,K-1$. `n_classes`: $K\ge2$, which may be larger than any label that occurs. `eps` in $[0,1]$.
# - Return a float64 array $(N,K)$; every row sums to 1.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# `smooth_targets(np.array([2, 0]), 4, eps=0.2)` is `[[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]`.
#
# <details><summary>Hint 1</summary>Start from the one-hot matrix. np.eye(K)[labels] is one way to write it.</details>
#
# <details><summary>Hint 2</summary>(1 − ε) · one-hot + ε · uniform. Does the true class get its uniform share?</details>


# %% exercise="losses.smooth-targets" points=2
def smooth_targets(labels: np.ndarray, n_classes: int, eps: float = 0.1) -> np.ndarray:
    """Label-smoothed targets (N, K)."""
    ### BEGIN SOLUTION
    return (1 - eps) * np.eye(n_classes)[labels] + eps / n_classes
    ### END SOLUTION


# %% check="losses.smooth-targets"
t_ = smooth_targets(np.array([2, 0]), 4, eps=0.2)
assert t_.shape == (2, 4) and t_.dtype == np.float64, "one row a label, one column a class, floats"
assert np.allclose(t_.sum(axis=1), 1), f"rows must sum to 1; yours sum to {t_.sum(axis=1)}"
assert np.allclose(t_[0], [0.05, 0.05, 0.85, 0.05]), "1 − ε + ε/K at the true class, ε/K elsewhere"

# %% [markdown]
# One place where smoothing does harm comes up below: a model that will teach another one.
#
# ## Imbalance: many easy, few hard
#
# A detector looks at a thousand patches; one of them holds a face. Each easy background patch costs almost nothing, and together they cost more than the face. Four remedies:
#
# - **Class weights** in the cross-entropy: simple. Extreme weights make training unstable. Note what *mean* means: with `weight`, torch's `CrossEntropyLoss` divides by the *sum of the weights* of the targets, while
#   `BCEWithLogitsLoss` with `pos_weight` divides by the number of elements.
# - **Resampling**: duplicates of the rare class overfit, dropping the common class throws data away. And not on top of weights: then you correct twice.
# - **Focal loss**: turns down what is easy, whatever its class.
# - **The decision threshold**: tune it in any case, and judge by PR-AUC or F1. With 1 % positives, "always no" has 99 % accuracy.
#
# Focal loss (Lin et al. 2017) multiplies the cross-entropy by a factor that vanishes for well-classified examples. With $p_t$ the probability of the *actual* class ($p$ for a positive, $1-p$ for a negative):
#
# $$\mathrm{FL}=-\alpha_t\,(1-p_t)^{\gamma}\,\ln p_t,\qquad \alpha_t=\alpha\text{ for positives},\;1-\alpha\text{ for negatives}$$
#
# Two knobs, two roles. $\gamma$ is about *difficulty*: at $\gamma=2$ an example with $p_t=0.9$ counts a hundredth. $\alpha$ is about *frequency*: a weight per class. $\gamma=0$ is $\alpha$-weighted cross-entropy. You will often read that the two are independent; in
# fact they are tuned together. In the paper the best $\alpha$ falls from 0.75 at $\gamma=0$ to 0.25 at $\gamma=2$: once the easy negatives are turned down, the positives need less help.

# %% demo="losses.demo-imbalance" covers="losses.focal losses.focal-use losses.class-weighted-ce"
explore(
    demos.imbalance,
    alt="Share of the total loss carried by easy negatives, hard negatives and positives in a 1000:1 set under plain, weighted and focal cross-entropy",
    gamma=(0.0, 5.0, 0.1, 2.0),
    alpha=(0.05, 0.95, 0.05, 0.25),
)

# %% [markdown]
# **What to see.** Under plain cross-entropy more than half of the loss comes from patches that are already right. The focal factor all but silences them, and the hard negatives take over. A weight of 1000 instead lets ten patches drive every step.
# **Try** `gamma` 0: only $\alpha$ acts, and the easy negatives are back. **Try** `alpha` 0.95: the positives gain.
#
# ### Exercise losses.sigmoid-focal · difficulty 3 of 5 · 15 min · 3 points
#
# Write `sigmoid_focal_loss(z, y, gamma=2.0, alpha=0.25)`.
#
# - `z`: float array of any shape, logits up to $\pm1000$. `y`: float array of its shape, each entry 0.0 or 1.0. `gamma` $\ge0$, also fractions. `alpha` in $[0,1]$, both ends included, or `None`.
# - Return the loss *of each element*, an array of that shape. With `alpha=None` there is no factor $\alpha_t$.
# - No warning and no `nan`. Checked to $10^{-7}$ relative or $10^{-12}$, whichever is larger.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# At $z=2$: for $y=1$ the default loss is 0.00045 and for $y=0$ it is 1.2376. With `gamma=0.0, alpha=None` they are 0.1269 and 2.1269.
#
# <details><summary>Hint 1</summary>Express everything through one signed logit: u = z for positives, −z for negatives. Then p_t = σ(u).</details>
#
# <details><summary>Hint 2</summary>−ln p_t = softplus(−u), and 1 − p_t = σ(−u), which is e^(−softplus(u)). Neither needs a subtraction from 1.</details>


# %% exercise="losses.sigmoid-focal" points=3
def sigmoid_focal_loss(z: np.ndarray, y: np.ndarray, gamma: float = 2.0, alpha: float | None = 0.25) -> np.ndarray:
    """Binary focal loss from logits, elementwise."""
    ### BEGIN SOLUTION
    u = np.where(y == 1, z, -z)  # the logit of the actual class
    ce = np.logaddexp(0, -u)  # −ln p_t
    loss = np.exp(-gamma * np.logaddexp(0, u)) * ce  # (1 − p_t)^γ · CE
    return loss if alpha is None else np.where(y == 1, alpha, 1 - alpha) * loss
    ### END SOLUTION


# %% check="losses.sigmoid-focal"
z_, y_ = np.array([2.0, 2.0]), np.array([1.0, 0.0])
assert np.allclose(sigmoid_focal_loss(z_, y_, gamma=0.0, alpha=None), [0.126928, 2.126928], atol=1e-5), "γ = 0 without α is plain BCE"
assert np.allclose(sigmoid_focal_loss(z_, y_), [0.000451, 1.237562], atol=1e-5), "an easy positive all but vanishes; the wrong one stays"
assert np.isfinite(sigmoid_focal_loss(np.array([1000.0, -1000.0]), np.ones(2))).all(), "nan or inf at |z| = 1000"

# %% [markdown]
# ## Segmentation: loss of a region
#
# When every pixel has a label, per-pixel cross-entropy has the imbalance problem at its worst: predict background everywhere and 99.9 % of the pixels are right. The *Dice* loss compares regions instead, like an F1 score with soft
# counts:
#
# $$\mathrm{Dice}=1-\frac{2\sum_i p_im_i+s}{\sum_ip_i+\sum_im_i+s}$$
#
# It does not see how large the background is. Its weak side are nearly empty masks: the denominator is tiny, and one pixel more or less turns the loss around. The smoothing $s$ above *and* below makes "nothing there, nothing predicted" a perfect answer. In practice you add
# the two: cross-entropy stabilises every pixel, Dice counters the background. nnU-Net does this by default.

# %% demo="losses.dice" covers="losses.dice losses.q.dice-vs-ce"
explore(
    demos.dice_disc,
    alt="For a predicted disc that misses the true one, pixel cross-entropy falls with the size of the mask while Dice stays; the gradient of Dice per pixel grows as the mask shrinks",
    smooth=(0.0, 10.0, 0.1, 1.0),
)

# %% [markdown]
# **What to see.** A small object that is missed completely hardly shows in the pixel cross-entropy, and costs almost 1 in Dice. On the right is the price: the gradient of a single pixel grows as the mask shrinks. **Try** `smooth` 0: the curve no longer bends
# down on the left. **Try** 10: it is tamed, and small objects count less.
#
# ### Exercise losses.soft-dice-ce · difficulty 3 of 5 · 15 min · 3 points
#
# Write `soft_dice_loss(probs, masks, smooth=1.0)` and `dice_bce_loss(logits, masks, smooth=1.0)`.
#
# - `probs`, `masks`, `logits`: float arrays $(N,H,W)$; probabilities in $[0,1]$, masks 0.0 or 1.0, logits up to $\pm1000$. `smooth` $>0$.
# - `soft_dice_loss`: the Dice loss above, sums over the pixels of *one sample*, $s$ = `smooth`; then the mean over the $N$ samples. A float.
# - `dice_bce_loss`: binary cross-entropy from the logits, the mean over *all* pixels, plus the soft Dice loss of $\sigma(\text{logits})$. A float, weights 1 and 1, no warning.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# For `probs = [[[0.5, 0.5]]]`, `masks = [[[1., 0.]]]` Dice is `1 − 2/3 = 0.3333`. At `logits = [[[0., 0.]]]` the sum is `0.6931 + 0.3333`.
#
# <details><summary>Hint 1</summary>A mean of ratios is not the ratio of the means. Which axes belong to one sample?</details>
#
# <details><summary>Hint 2</summary>The two terms need different inputs: cross-entropy wants the logits, Dice wants probabilities.</details>


# %% exercise="losses.soft-dice-ce" points=3
def soft_dice_loss(probs: np.ndarray, masks: np.ndarray, smooth: float = 1.0) -> float:
    """Mean over samples of 1 − soft Dice, arrays (N, H, W)."""
    ### BEGIN SOLUTION
    overlap = (probs * masks).sum(axis=(1, 2))  # (N,)
    total = probs.sum(axis=(1, 2)) + masks.sum(axis=(1, 2))  # (N,)
    return float((1 - (2 * overlap + smooth) / (total + smooth)).mean())
    ### END SOLUTION


def dice_bce_loss(logits: np.ndarray, masks: np.ndarray, smooth: float = 1.0) -> float:
    """Pixel cross-entropy from logits plus soft Dice."""
    ### BEGIN SOLUTION
    bce = (np.logaddexp(0, logits) - masks * logits).mean()  # softplus(z) − y·z
    probs = np.exp(-np.logaddexp(0, -logits))
    return float(bce) + soft_dice_loss(probs, masks, smooth)
    ### END SOLUTION


# %% check="losses.soft-dice-ce"
half_, mask_ = np.full((1, 1, 2), 0.5), np.array([[[1.0, 0.0]]])
assert np.isclose(soft_dice_loss(half_, mask_), 1 / 3), "1 − (2·0.5 + 1) / (1 + 1 + 1)"
assert np.isclose(soft_dice_loss(np.zeros((2, 3, 3)), np.zeros((2, 3, 3))), 0.0), "nothing there, nothing predicted: loss 0"
assert np.isclose(dice_bce_loss(np.zeros((1, 1, 2)), mask_), math.log(2) + 1 / 3), "at logit 0: ln 2 plus the Dice loss at p = ½"

# %% [markdown]
# ## Two distributions: KL, cross-entropy, distillation
#
# The *Kullback-Leibler divergence* says how many nats too many you pay if you believe $q$ while the truth is $p$:
#
# $$\mathrm{KL}(p\,\|\,q)=\sum_ip_i\ln\frac{p_i}{q_i}\qquad\qquad \underbrace{-\sum_ip_i\ln q_i}_{\mathrm{CE}(p,q)}=H(p)+\mathrm{KL}(p\,\|\,q)$$
#
# It is not symmetric: $p$ weights the terms. With $p=(0.5,0.5)$ and $q=(0.8,0.2)$ it is 0.2231 nats (0.3219 bits); the other way round 0.1927. An outcome with $p_i=0$ adds nothing; an outcome with $q_i=0<p_i$ costs infinitely much.
#
# For one-hot $p$ the entropy is 0, and cross-entropy, KL and NLL are one number. For soft targets you will often read that only KL is "correct". In fact $H(p)$ does not depend on the student: values differ by it, *gradients do not*. It matters when $p$ is trained too, or when you
# want to read a loss of 0 as "perfect".

# %%
student_ = torch.tensor([[1.0, -0.5, 0.2]], requires_grad=True)
p_soft = torch.tensor([[0.7, 0.2, 0.1]])
ce_, kl_ = F.cross_entropy(student_, p_soft), F.kl_div(F.log_softmax(student_, 1), p_soft, reduction="batchmean")
(g_ce,), (g_kl,) = torch.autograd.grad(ce_, student_, retain_graph=True), torch.autograd.grad(kl_, student_)
print(
    f"CE {ce_:.4f}  KL {kl_:.4f}  difference {ce_ - kl_:.4f} = H(p) {torch.special.entr(p_soft).sum():.4f}   largest gap of the gradients {(g_ce - g_kl).abs().max():.0e}"
)

# %% [markdown]
# ### Exercise bank.kl · difficulty 2 of 5 · 10 min · 2 points
#
# Write `kl_divergence(p, q, base=math.e)`.
#
# - `p`, `q`: float arrays $(K,)$, each $\ge0$ with sum 1; entries may be exactly 0, or tiny and not 0. `base` $>1$ is the base of the logarithm: 2 for bits.
# - Return $\sum_ip_i\log_{\text{base}}(p_i/q_i)$ as a float. Terms with $p_i=0$ are 0, also when $q_i=0$. If some $q_i=0<p_i$ the result is `inf`. No warning in any case.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# `kl_divergence(np.array([0.5, 0.5]), np.array([0.8, 0.2]))` is `0.2231`, with `base=2` it is `0.3219`.
#
# <details><summary>Hint 1</summary>Which outcomes take part in the sum at all? Drop the others before you take a logarithm.</details>
#
# <details><summary>Hint 2</summary>Single terms may be negative; their sum is not. A quotient by a tiny number may overflow; a difference of logarithms does not. Bits = nats / ln 2.</details>


# %% exercise="bank.kl" points=2
def kl_divergence(p: np.ndarray, q: np.ndarray, base: float = math.e) -> float:
    """KL(p‖q) in units of `base`; inf where q rules out what p allows."""
    ### BEGIN SOLUTION
    used = p > 0
    p, q = p[used], q[used]
    if (q == 0).any():
        return math.inf
    return float((p * (np.log(p) - np.log(q))).sum() / math.log(base))  # p / q may overflow
    ### END SOLUTION


# %% check="bank.kl"
p_, q_ = np.array([0.5, 0.5]), np.array([0.8, 0.2])
assert np.isclose(kl_divergence(p_, q_), 0.223144, atol=1e-5), "0.5 ln(.5/.8) + 0.5 ln(.5/.2)"
assert np.isclose(kl_divergence(p_, q_, base=2), 0.321928, atol=1e-5), "in bits: divide by ln 2"
assert kl_divergence(p_, np.array([1.0, 0.0])) == math.inf, "q rules out what p allows: inf"
assert np.isclose(kl_divergence(np.array([1.0, 0.0]), p_), math.log(2)), "an outcome with p = 0 adds nothing"

# %% [markdown]
# ### Teacher and student
#
# A large trained network knows more than its answer. It finds that this 7 is a little like a 1 and not at all like an 8. That lies in its small probabilities, and a *temperature* makes them visible: $\operatorname{softmax}(z/T)$. The student learns from the softened
# outputs and from the labels:
#
# $$L=\alpha\,\mathrm{CE}(y,\,z_S)+(1-\alpha)\,T^2\,\mathrm{KL}\bigl(\operatorname{softmax}(z_{\text{teacher}}/T)\,\big\|\,\operatorname{softmax}(z_S/T)\bigr)$$
#
# Why $T^2$? The gradient of the soft term is $\frac1T(q_T-p_T)$: one $1/T$ from the chain rule, and about another one because flat distributions differ less. Without $T^2$ the soft term at $T=8$ has about 1/64 of its weight, and you train on the hard labels only.

# %% demo="losses.demo-temperature" covers="losses.distillation losses.label-smoothing-teacher losses.q.distill-t2"
explore(
    demos.temperature,
    alt="Softened probabilities of teacher and student at temperature T; the soft gradient falls as 1/T² and is flat after multiplication by T²; a smoothed teacher has equal bars for all wrong classes",
    T=(1.0, 32.0, 1.0, 4.0),
    smoothed_teacher=False,
)

# %% [markdown]
# **What to see.** At $T=4$ the teacher's order among the wrong classes becomes visible. On the right the gradient of the soft term falls like $1/T^2$; multiplied by $T^2$ it levels off. **Try** `smoothed_teacher`: a teacher trained with label smoothing gives all wrong classes the
# same share, and there is nothing left to copy. So: **no label smoothing for a model that will teach.**
#
# ### Exercise losses.kl-distillation · difficulty 4 of 5 · 20 min · 4 points
#
# Write `kl_div(p, q)` in NumPy and `distillation_loss(student, teacher, labels, T=2.0, alpha=0.5)` in torch.
#
# - `kl_div`: $\mathrm{KL}(p\,\|\,q)$ in nats, float arrays $(K,)$ as in exercise bank.kl: terms with $p_i=0$ are 0, `inf` where $q_i=0<p_i$, no warning. A float.
# - `distillation_loss`: `student`, `teacher` float tensors $(N,C)$ of logits, `labels` int64 tensor $(N,)$. Return the loss above, a 0-d tensor that can be differentiated with respect to `student`. Both terms are means over the $N$ examples.
# - The hard term uses the student's plain logits, without temperature. The teacher gets no gradient, even if it asks for one. Both tensors stay as they are, `requires_grad` included.
# - torch is allowed, also `F.kl_div` and `F.cross_entropy`.
#
# With `student = [[0., 0.]]`, `teacher = [[2., 0.]]`, `labels = [0]`: at `T=2, alpha=0.5` the loss is `0.5685`, at `alpha=1` it is `0.6931`.
#
# <details><summary>Hint 1</summary>F.kl_div takes the log-probabilities of the student first, then the probabilities of the teacher. Look up what its reduction "mean" divides by.</details>
#
# <details><summary>Hint 2</summary>reduction="batchmean"; T**2 in front; teacher.detach().</details>


# %% exercise="losses.kl-distillation" points=4
def kl_div(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p‖q) in nats."""
    ### BEGIN SOLUTION
    used = p > 0
    if (q[used] == 0).any():
        return math.inf
    return float((p[used] * (np.log(p[used]) - np.log(q[used]))).sum())
    ### END SOLUTION


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, T: float = 2.0, alpha: float = 0.5
) -> torch.Tensor:
    """Hard-label cross-entropy mixed with temperature-T KL from the teacher."""
    ### BEGIN SOLUTION
    hard = F.cross_entropy(student, labels)
    target = F.softmax(teacher.detach() / T, dim=1)  # (N, C)
    soft = F.kl_div(F.log_softmax(student / T, dim=1), target, reduction="batchmean")
    return alpha * hard + (1 - alpha) * T**2 * soft
    ### END SOLUTION


# %% check="losses.kl-distillation"
assert np.isclose(kl_div(np.array([0.5, 0.5]), np.array([0.8, 0.2])), 0.223144, atol=1e-5), "KL([.5, .5] ‖ [.8, .2]) = 0.2231"
s_, t_, y_ = torch.zeros(1, 2, requires_grad=True), torch.tensor([[2.0, 0.0]], requires_grad=True), torch.tensor([0])
loss_ = distillation_loss(s_, t_, y_)
assert torch.isclose(loss_, torch.tensor(0.56846), atol=1e-4), f"0.5·0.6931 + 0.5·4·0.1109 = 0.5685, not {loss_.item():.4f}"
assert torch.isclose(distillation_loss(s_, t_, y_, alpha=1.0), torch.tensor(0.69315), atol=1e-4), "alpha = 1: hard labels only"
loss_.backward()
assert s_.grad is not None and t_.grad is None, "the student learns, the teacher does not"

# %% [markdown]
# ## Losses that compare: embeddings
#
# Sometimes no class is asked for, only a distance: are these two photos the same person? Three losses, in the order of how many examples they look at:
#
# - **Contrastive**: labelled *pairs*. Same: pull together. Different: push apart, but only up to a margin.
# - **Triplet**: anchor, positive, negative. The positive must be closer by a margin $m$: $\max\bigl(0,\;d(a,p)-d(a,n)+m\bigr)$.
# - **InfoNCE**: the whole batch. Row $i$ of one view has to pick its partner, row $i$ of the other view, among all $N$ rows. That is a softmax cross-entropy over similarities divided by a temperature $\tau$.
#   (SimCLR adds the other rows of its own view as candidates.) More negatives make
#   the choice harder and the loss better, hence the large batches.
#
# $$L_{\text{InfoNCE}}=\frac1N\sum_i-\ln\frac{e^{s_{ii}/\tau}}{\sum_je^{s_{ij}/\tau}},\qquad s_{ij}=\cos(z^1_i,z^2_j)$$
#
# You will often read that easy negatives give zero gradient in all three. *Exactly* zero it is only for the hinge losses, beyond the margin. In InfoNCE each negative keeps a softmax weight: tiny for easy ones, never zero. Either way the learning comes from the hard
# negatives. A triplet net with loss 0 on 98 % of its batches is not finished: it needs harder negatives (mining), not a smaller margin.

# %%
z_ = torch.tensor([0.9, 0.8, 0.1, -0.6], requires_grad=True)  # similarities: the positive, then three negatives
F.cross_entropy(z_[None] / 0.1, torch.tensor([0])).backward()
print("InfoNCE gradient at tau 0.1:", [f"{g:.0e}" for g in z_.grad.tolist()])

# %% [markdown]
# ### Exercise losses.triplet-infonce · difficulty 3 of 5 · 20 min · 3 points
#
# Write `triplet_loss(a, p, n, margin=1.0)` and `info_nce(z1, z2, tau=0.1)`.
#
# - `triplet_loss`: `a`, `p`, `n` float arrays $(N,D)$; row by row anchor, positive, negative. $d$ is the Euclidean distance (not its square). Return the mean over *all* $N$ triplets, zeros included, a float.
# - `info_nce`: `z1`, `z2` float arrays $(N,D)$, $N\ge1$, no zero rows, of any length: normalise each row to length 1. Row $i$ of `z1` is the query, all rows of `z2` are its candidates, row $i$ is the right one (also part of the denominator).
#   Return the mean over the $N$ queries of `z1` only (one direction), a float.
# - `tau` may be as small as 0.0005: no overflow, no warning.
# - NumPy or plain Python; no `torch`, no `scipy`. Both are checked to $10^{-5}$.
#
# `triplet_loss` of `a = [[0., 0.]]`, `p = [[3., 4.]]`, `n = [[0., 5.5]]` is `0.5`. `info_nce` of `[[1., 0.], [0., 2.]]` with itself at `tau=1.0` is `0.3133`.
#
# <details><summary>Hint 1</summary>The matrix of all N × N cosines is one matrix product of normalised rows. Which class is right in row i?</details>
#
# <details><summary>Hint 2</summary>From there it is cross-entropy from logits, with labels 0, 1, …, N−1 and the shift by the row maximum.</details>


# %% exercise="losses.triplet-infonce" points=3
def triplet_loss(a: np.ndarray, p: np.ndarray, n: np.ndarray, margin: float = 1.0) -> float:
    """Mean hinge of d(a, p) − d(a, n) + margin over rows (N, D)."""
    ### BEGIN SOLUTION
    gap = np.linalg.norm(a - p, axis=1) - np.linalg.norm(a - n, axis=1)  # (N,)
    return float(np.maximum(gap + margin, 0).mean())
    ### END SOLUTION


def info_nce(z1: np.ndarray, z2: np.ndarray, tau: float = 0.1) -> float:
    """Cross-entropy of picking row i of `z2` for row i of `z1` by cosine / tau."""
    ### BEGIN SOLUTION
    unit1 = z1 / np.linalg.norm(z1, axis=1, keepdims=True)
    unit2 = z2 / np.linalg.norm(z2, axis=1, keepdims=True)
    logits = unit1 @ unit2.T / tau  # (N, N)
    return float((np.logaddexp.reduce(logits, axis=1) - np.diag(logits)).mean())
    ### END SOLUTION


# %% check="losses.triplet-infonce"
a_, p_, n_ = np.zeros((2, 2)), np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([[0.0, 5.5], [0.0, 9.0]])
assert np.isclose(triplet_loss(a_, p_, n_), 0.25), "distances 5 and 5.5 leave 0.5, the second triplet is satisfied: mean 0.25"
z_ = np.array([[1.0, 0.0], [0.0, 2.0]])
assert np.isclose(info_nce(z_, z_, tau=1.0), 0.313262, atol=1e-5), "each row: −ln(e/(e + 1)), whatever its length"
assert abs(info_nce(z_, z_, tau=0.0005)) < 1e-5, "small tau: no overflow, and the right partner wins"

# %% [markdown]
# ## CTC: labels without an alignment
#
# A speech recogniser sees 100 frames a second and is told five letters. Which frame belongs to which letter? Nobody knows. *Connectionist temporal classification* adds a blank symbol and a rule to read a path: **first merge repeats, then drop
# blanks**. So `aa-b`, `-ab-` and `abbb` all read "ab". The loss is minus the log of the *total* probability of all paths that read as the target. No label per frame, no alignment found beforehand.

# %% demo="losses.demo-ctc-paths" covers="losses.ctc"
explore(
    demos.ctc_paths,
    alt="The 15 paths of four frames that read as ab, with their probabilities; their sum equals exp(−F.ctc_loss)",
    blank=(0.05, 0.9, 0.05, 0.4),
    target=["ab", "aa"],
)

# %% [markdown]
# **What to see.** Fifteen paths share the mass; their sum is what `F.ctc_loss` returns, as exp(−loss). The best single path has a tenth of it. **Try** the target `aa`: only five paths are left, because a blank must stand between the two letters, or they merge.
#
# ## When the loss is NaN, when it does not fall
#
# These are two illnesses, and the learning rate is the first suspect in neither.
#
# **It turns NaN.** Nearly always $\ln 0$ in a hand-written softmax and log, a division by zero in a custom loss, NaN or inf in inputs or targets, or gradients that explode under a rate that is too high. Work in this order: assert that inputs and targets are finite;
# replace the loss by the fused one; look at the gradient norm; then lower the rate. You will often read "clip the gradients" as a cure. Clipping keeps large *finite* gradients from overflowing later. It repairs nothing that is already infinite:

# %%
w_ = torch.nn.Parameter(torch.zeros(2))
w_.grad = torch.tensor([math.inf, 1.0])
torch.nn.utils.clip_grad_norm_([w_], max_norm=1.0)
print("after clipping:", w_.grad.tolist())

# %% [markdown]
# The norm is infinite, so the factor is $1/\infty=0$, and $0\cdot\infty$ is `nan`.
#
# **It never falls.** Take one small batch, switch regularisation off, and train on it alone. Any reasonable net can memorise 32 examples; the loss must go to almost zero. If it does not, the wiring is broken: detached labels or loss, the loss on the wrong tensor, frozen
# parameters, no gradient. Only if it does, turn to learning rate, normalisation, data and capacity.
#
# ## Debug clinic
#
# ### Exercise losses.ce-with-logits · difficulty 3 of 5 · 15 min · 3 points
#
# **Symptom.** A colleague's hand-written cross-entropy returns `nan` on day two of training. Somebody else reports that the class weights have no effect at all. Repair `cross_entropy(logits, targets, weight=None)`.
#
# - `logits`: float array $(N,C)$, up to $\pm10^4$; rows near $+1000$ and near $-1000$ occur in one batch. `targets`: int array $(N,)$. `weight`: `None`, or a float array $(C,)$ of positive class weights.
# - Return a float. Without weights: the mean cross-entropy. With weights: torch's convention, $\dfrac{\sum_nw_{y_n}\ell_n}{\sum_nw_{y_n}}$, with $\ell_n$ the loss of example $n$.
# - No `nan`, no `inf`, no warning, no clipping; the arguments stay as they are.
# - NumPy or plain Python; no `torch`, no `scipy`.
#
# `cross_entropy(np.array([[0., 0.], [1., 0.]]), np.array([0, 1]), weight=np.array([1., 3.]))` is `1.1582`; without weights it is `1.0032`.
#
# <details><summary>Hint 1</summary>Two faults, and the order of operations is one of them: what can be computed before exp?</details>
#
# <details><summary>Hint 2</summary>With weights, each example votes with the weight of its own class: weight[targets]. The votes are divided by their sum.</details>


# %% exercise="losses.ce-with-logits" points=3
def cross_entropy(logits: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean cross-entropy of logits (N, C), weighted by class if `weight` is given."""
    ### BEGIN SOLUTION
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # (N, C)
    losses = -log_p[np.arange(len(targets)), targets]  # (N,)
    w = np.ones(len(targets)) if weight is None else weight[targets]
    return float((w * losses).sum() / w.sum())
    ### END SOLUTION


# %% broken="losses.ce-with-logits"
def cross_entropy(logits: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean cross-entropy of logits (N, C), weighted by class if `weight` is given."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return float(-np.log(p[np.arange(len(targets)), targets]).mean())


# %% check="losses.ce-with-logits"
l_, t_ = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
assert np.isclose(cross_entropy(l_, t_), 1.003204, atol=1e-5), "without weights: (0.6931 + 1.3133) / 2"
assert np.isclose(cross_entropy(l_, t_, weight=np.array([1.0, 3.0])), 1.158233, atol=1e-5), "(1·0.6931 + 3·1.3133) / (1 + 3)"
far_ = np.array([[1000.0, 0.0, -1000.0], [-1000.0, -1001.0, -1002.0], [0.0, 0.0, 1000.0]])
assert np.isclose(cross_entropy(far_, np.array([2, 0, 0])), 1000.135869, atol=1e-4), "rows far apart: (2000 + 0.4076 + 1000) / 3"

# %% [markdown]
# ### Exercise losses.debug-double-softmax · difficulty 2 of 5 · 15 min · 3 points
#
# **Symptom.** This net is trained with `loss = F.cross_entropy(net(x), y)` on ten classes that are easy to separate. No error, no warning, accuracy rises slowly, and the loss never falls below 1.46. Raising the learning rate does not help.
#
# `F.cross_entropy` applies softmax itself. If it is given probabilities, its "logits" lie between 0 and 1, and the best it can reach is $\ln\bigl(1+\frac{C-1}{e}\bigr)=1.461$ for $C=10$. Repair the class `Net`.
#
# - `Net(d, h, c)`, an `nn.Module`: linear layer $d\to h$, ReLU, linear layer $h\to c$, no other parameters. The signatures stay.
# - `forward(x)`: `x` $(N,d)$ → $(N,c)$, the logits for `F.cross_entropy`: the output of the last layer (a constant added to a whole row does no harm). Each row depends on its own example
#   only, and is the same in training and in evaluation mode. The gradient reaches both layers.
# - `predict_proba(x)`: $(N,c)$, class probabilities. Rows sum to 1, and they are the softmax (once) of what `forward` computes.
# - Checked against the net's own weights, and by training: the first loss is within 0.35 of $\ln10$; after 100 steps of Adam (rate 0.02) on 200 separable points it is below 0.15.
#
# <details><summary>Hint 1</summary>Who needs logits, and who needs probabilities? They are two different callers.</details>
#
# <details><summary>Hint 2</summary>Move the softmax from one method to the other. Which dimension holds the classes?</details>


# %% exercise="losses.debug-double-softmax" points=3
class Net(nn.Module):
    """Two-layer classifier: forward gives logits, predict_proba gives probabilities."""

    ### BEGIN SOLUTION
    def __init__(self, d: int, h: int, c: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(d, h), nn.Linear(h, c)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.fc1(x)))  # (N, c)

    def predict_proba(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self(x), dim=1)

    ### END SOLUTION


# %% broken="losses.debug-double-softmax"
class Net(nn.Module):
    """Two-layer classifier, trained with F.cross_entropy(net(x), y)."""

    def __init__(self, d: int, h: int, c: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(d, h), nn.Linear(h, c)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.fc2(torch.relu(self.fc1(x))), dim=1)

    def predict_proba(self, x: torch.Tensor) -> torch.Tensor:
        return self(x)


# %% check="losses.debug-double-softmax"
torch.manual_seed(0)
net_, x_ = Net(4, 16, 3), torch.eye(4)[[0, 1, 2, 0, 1, 2]] * 3
optimizer_ = torch.optim.Adam(net_.parameters(), lr=0.05)
for _ in range(150):
    loss_ = F.cross_entropy(net_(x_), torch.tensor([0, 1, 2, 0, 1, 2]))
    optimizer_.zero_grad(), loss_.backward(), optimizer_.step()
assert loss_ < 0.1, f"six easy points, and the loss stays at {loss_.item():.2f}; the floor of a double softmax is 0.55"
p_ = net_.predict_proba(x_)
assert torch.allclose(p_.sum(dim=1), torch.ones(6)), "predict_proba: each row sums to 1"
assert p_.max(dim=1).values.min() > 0.8, "probabilities squeezed together: is there a softmax too many?"

# %% [markdown]
# ## Write the test
#
# ### Exercise losses.test-cross-entropy · difficulty 3 of 5 · 20 min · 4 points
#
# Now you are the reviewer. Write `check_cross_entropy(cross_entropy)` for implementations of `cross_entropy(logits, targets, weight=None)`.
#
# - It raises `AssertionError` (any exception counts) for a wrong implementation and returns without one for a right one. NumPy and torch are allowed.
# - Right ones follow the contract of exercise losses.ce-with-logits, for NumPy arrays, to about $10^{-12}$ relative. They may differ in the last digits, return any kind of float, and use methods of arrays.
# - Wrong ones you will meet: no shift, one maximum for the whole batch, an epsilon in the log, logits put through softmax first, logits clipped, weights ignored, divided by $N$ or by the sum of all class weights, sum instead of mean, softmax over the batch. Each is right in all else.
#
# Score: the share of wrong ones that you catch, less the share of right ones that you reject.
#
# <details><summary>Hint 1</summary>Which of these faults can a single example show? Which need two rows, a square batch, unequal weights, a logit of 1000?</details>
#
# <details><summary>Hint 2</summary>torch computes the expected values for you. Compare with a tolerance that is relative to the expected value, not to the result: inf is close to nothing.</details>


# %% exercise="losses.test-cross-entropy" points=4
def check_cross_entropy(cross_entropy: Callable) -> None:
    """Raise AssertionError if `cross_entropy(logits, targets, weight=None)` is wrong."""

    ### BEGIN SOLUTION
    def expected(z, y, w=None):
        z, y = torch.tensor(z, dtype=torch.float64), torch.tensor(y)
        return F.cross_entropy(z, y, weight=None if w is None else torch.tensor(w, dtype=torch.float64)).item()

    rng = np.random.default_rng(0)
    far = np.array([[1000.0, 0.0, -1000.0], [-1000.0, -1001.0, -1002.0], [0.0, 0.0, 1000.0]])
    for z in (rng.normal(size=(5, 3)), rng.normal(size=(3, 3)), far, np.array([[0.0, 40.0, 30.0]])):
        y = np.arange(len(z)) % 3
        for w in (None, np.array([0.5, 1.0, 4.0])):
            got = float(cross_entropy(z, y) if w is None else cross_entropy(z, y, weight=w))
            wanted = expected(z, y, w)
            assert abs(got - wanted) <= 1e-9 * (1 + wanted), f"{got} instead of {wanted} for weight {w}"
    ### END SOLUTION


# %% check="losses.test-cross-entropy"
right_ = lambda logits, targets, weight=None: F.cross_entropy(
    torch.tensor(logits), torch.tensor(targets), weight=None if weight is None else torch.tensor(weight)
).item()
check_cross_entropy(right_)  # a right one passes
try:
    check_cross_entropy(lambda logits, targets, weight=None: math.log(logits.shape[1]))
except AssertionError:
    pass
else:
    raise AssertionError("your check accepts a loss that is ln C for everything")

# %% [markdown]
# ## Interview questions
#
# The questions are asked in real interviews, and the answers that interviewers hear too often stand among the options. Say your own answer aloud first.

# %% quiz=true

# %% [markdown]
# ## One-page recap
#
# | ask yourself | answer |
# |---|---|
# | which loss? | ask which distribution the targets have: Gaussian → MSE (mean), Laplace → MAE (median), coin or classes → cross-entropy; all are $-\ln p$ |
# | why not MSE for classes? | through sigmoid it carries $p(1-p)$, which vanishes where the model is most wrong; CE has $p-y$ |
# | Huber | $e^2/2$ up to $\delta$, $\delta\lvert e\rvert-\delta^2/2$ beyond; $\delta$ at the scale of ordinary errors |
# | logits | $-\ln p_y=\operatorname{logsumexp}(z)-z_y$, shifted by the row maximum; never clip, never an epsilon, never softmax first (floor 1.46 for 10 classes) |
# | first loss | $\ln C$: 0.69, 2.30, 6.91; with log-prior bias $H(\pi)$; a correct example costs less than $\ln K$ |
# | weights | `pos_weight`: plain mean; `CrossEntropyLoss(weight)`: divided by the sum of weights; not on top of resampling |
# | label smoothing | $1-\varepsilon+\varepsilon/K$ and $\varepsilon/K$; rows sum to 1; not for a teacher |
# | focal | $\alpha_t(1-p_t)^\gamma$ CE; $\gamma$ difficulty, $\alpha$ frequency, tuned together |
# | Dice | per sample, soft, $s$ above and below; unstable on tiny masks: add CE |
# | KL | $\mathrm{CE}=H(p)+\mathrm{KL}$; not symmetric; same gradient as CE for fixed $p$ |
# | distillation | $\alpha\,\mathrm{CE}+(1-\alpha)T^2\,\mathrm{KL}$, teacher detached, batchmean |
# | embeddings | hinge losses: easy negatives exactly 0; InfoNCE: exponentially small; mine hard ones |
# | NaN or flat | NaN: data, $\ln0$, explosion; flat: overfit one batch, then wiring; the rate comes last |
