# %% [markdown]
# # 5 · Normalization: whose mean, whose variance
#
# After this chapter you can write BatchNorm, LayerNorm, RMSNorm and GroupNorm so that they agree with PyTorch in both modes, say for any of them which
# numbers share a mean, and explain why a network that trains well can collapse the moment you call `model.eval()`.
#
# | | |
# |---|---|
# | time | about 5 hours, 18 exercises |
# | builds on | chapter 2 (layers and shapes), chapter 3 (the chain rule), chapter 4 (pre-activations and saturation) |
# | you will be able to | normalize over any axes · keep running statistics and switch between train and eval · write a torch layer with parameters and buffers · derive BatchNorm's backward pass · combine statistics of several GPUs · place norms in a residual block · answer 22 interview questions |

# %% setup=true
import copy
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# %%
from utils import explore, figures, predict, reveal
from utils.demos import normalization as demos

# %% [markdown]
# ## One formula, one question
#
# Every layer of this chapter does the same three things to a group of numbers: subtract their mean, divide by their standard deviation, then let a learned
# scale and shift have the last word. They differ in one decision only: **which numbers form a group.** BatchNorm, the classic of convolutional
# networks, goes down the batch. LayerNorm, the classic of transformers, goes across the features.

# %% demo="normalization.two-grids" covers="normalization.figure normalization.hook"
figures.show(demos.two_grids(), alt="Two grids of 5 samples by 6 features. BatchNorm shades one column, LayerNorm one row.")

# %% [markdown]
# **What to see.** The shaded cells share one mean and one variance. A column needs companions in the batch; a row is complete by itself. Nearly everything below
# follows from this picture. **Try** to say what happens to the column if the batch has one sample.
#
# The formula is the same in both grids:
#
# $$\hat x=\frac{x-\mu}{\sqrt{\sigma^2+\varepsilon}},\qquad y=\gamma\,\hat x+\beta$$
#
# - $\mu$ and $\sigma^2$ are the mean and the *population* variance (divide by $n$, not $n-1$) of the group.
# - $\varepsilon$, about $10^{-5}$, keeps the division alive where a group is constant.
# - $\gamma$ and $\beta$ are learned, one pair a feature. $\gamma$ can restore any spread, $\beta$ acts as the bias. They start at 1 and 0.
#
# Take the feature column $(1, 3)$. Its mean is 2, its variance 1, so $\hat x=(-1, 1)$. With $\gamma=2$, $\beta=5$ the layer returns $(3, 7)$.
#
# ### Exercise normalization.normalize · difficulty 2 of 5 · 10 min · 2 points
#
# Write `normalize(x, axes, gamma, beta, eps=1e-5)`, the formula above for any group.
#
# - `x`: float array with any number of axes. `axes`: a tuple of axes (negative numbers allowed) over which mean and variance are taken; everything that differs in the other axes
#   has statistics of its own.
# - `gamma`, `beta`: arrays that broadcast against `x` as they are. Result: shape of `x`.
# - Population variance; `eps` is added to the variance, under the root. A constant group gives `beta`.
# - NumPy or torch arithmetic. No ready-made normalization (`F.batch_norm`, `nn.LayerNorm`, and the like).
#
# `normalize(np.array([[1.0, 0.0], [3.0, 0.0]]), (0,), np.array([2.0, 1.0]), np.array([5.0, 7.0]))` is `[[3, 7], [7, 7]]`, the first column to within $10^{-4}$.
#
# <details><summary>Hint 1</summary>Mean and variance have to line up with x again after the reduction: do not let the reduced axes disappear.</details>
# <details><summary>Hint 2</summary>$\gamma\,(x-\mu)/\sqrt{\sigma^2+\varepsilon}+\beta$ with <code>keepdims=True</code> in both statistics.</details>


# %% exercise="normalization.normalize" points=2
def normalize(x: np.ndarray, axes: tuple[int, ...], gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Standardize `x` over `axes`, then scale by `gamma` and shift by `beta`."""
    ### BEGIN SOLUTION
    mean = x.mean(axis=axes, keepdims=True)
    var = x.var(axis=axes, keepdims=True)
    return gamma * (x - mean) / np.sqrt(var + eps) + beta
    ### END SOLUTION


# %% check="normalization.normalize"
_x = np.array([[1.0, 0.0], [3.0, 0.0], [8.0, 0.0]])
_y = normalize(_x, (0,), np.ones(2), np.array([0.0, 7.0]))
assert _y.shape == _x.shape, "the result has the shape of x"
assert np.allclose(_y[:, 1], 7.0), "a constant group gives beta"
assert abs(_y[:, 0].var() - 1) < 1e-4, "the first column should have population variance 1"
assert abs(normalize(_x, (1,), np.ones(2), np.zeros(2))[2, 0] - 1) < 1e-4, "axes=(1,) normalizes each row"

# %% [markdown]
# ### Where eps stands matters
#
# A feature with standard deviation $10^{-5}$ is usually dead: rounding noise. Should a norm blow it up to 1? Choose first: what is the standard deviation of the
# output with $\varepsilon=10^{-5}$ under the root?

# %%
predict(
    "Input std 1e-5, eps = 1e-5 under the root: what is the output's std?", ["about 1", "about 0.5", "about 0.003"], key="normalization.eps"
)

# %%
_inside, _outside = 1e-5 / np.sqrt(1e-10 + 1e-5), 1e-5 / (1e-5 + 1e-5)
reveal(f"under the root {_inside:.4f}; outside, std + eps, {_outside:.1f}", answer="about 0.003", key="normalization.eps")

# %% demo="normalization.eps-place" covers="normalization.eps normalization.q.eps"
explore(
    demos.eps_place,
    alt="Output over input standard deviation, log-log. Eps inside the root damps below 3e-3, outside only below 1e-5.",
    eps=[1e-5, 1e-3, 1e-6, 1e-8],
)

# %% [markdown]
# **What to see.** Under the root, $\varepsilon$ competes with the *variance*: noise below $\sqrt{\varepsilon}\approx0.003$ is damped. Outside, it competes with the
# standard deviation, and noise is amplified to full strength down to $10^{-5}$. **Try** `eps = 1e-8`: even under the root, noise of size $10^{-4}$ now fills the output.
#
# Conventions differ, so pass `eps` yourself. PyTorch's layers and LLaMA's code have it under the root ($10^{-5}$; LLaMA 1 used $10^{-6}$). The Annotated Transformer, a much
# copied tutorial, divides by `std + eps`, with the $n-1$ deviation on top. And `nn.RMSNorm(eps=None)`, its default, means `torch.finfo(dtype).eps`: $1.2\cdot10^{-7}$ in float32, not
# $10^{-5}$.
#
# ## Which axes: the family
#
# An image batch has shape $(N, C, H, W)$. Flatten $H$ and $W$ to pixels and four layers fit into one picture.

# %% demo="normalization.axes" covers="normalization.axis-table normalization.figure normalization.intro"
explore(
    demos.axes,
    alt="Three images as grids of 6 channels by 4 pixels. Cells with the same number share a mean and a variance.",
    kind=["BatchNorm", "LayerNorm", "InstanceNorm", "GroupNorm"],
    groups=[2, 1, 3, 6],
)

# %% [markdown]
# **What to see.** BatchNorm's numbers repeat from image to image: the images share statistics. In the three others every image has numbers of its own.
# **Try** GroupNorm with 1 group and with 6: the first is LayerNorm over the whole image, the second InstanceNorm.
#
# | layer | mean and variance over | depends on the batch | at home in |
# |---|---|---|---|
# | BatchNorm | the batch (and pixels), per channel | yes | CNNs with enough images per device |
# | LayerNorm | the features of one token or sample | no | transformers, RNNs, any batch size |
# | RMSNorm | the same features, without the mean | no | most large language models |
# | GroupNorm | a block of channels of one image | no | detection, segmentation, video: small batches |
# | InstanceNorm | the pixels of one channel of one image | no | style transfer, GANs |
#
# ## BatchNorm while training
#
# In training, BatchNorm normalizes with the statistics of the batch at hand. At test time a single image may arrive, and its answer must not depend on who
# else is in the batch. So the layer takes notes during training, an exponential moving average of what it saw:
#
# $$\text{running}\leftarrow(1-m)\cdot\text{running}+m\cdot\text{batch}$$
#
# Two conventions, both in the documentation of `nn.BatchNorm1d`, decide whether your numbers agree with PyTorch's:
#
# - **Momentum** $m$, 0.1 by default, is the weight of the *new* batch. Keras has it the other way round: its 0.99 is the weight of the old value.
# - The output is normalized with the **population** variance, but `running_var` collects the **unbiased** one, larger by $n/(n-1)$. For the column $(1, 3)$: the output uses 1, the buffer gets 2.
#
# ### Exercise normalization.batch-norm-train · difficulty 3 of 5 · 15 min · 3 points
#
# Write `batch_norm_train(x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5)`: one training step.
#
# - `x`: float array $(N, C)$ with $N\ge2$; the other four arrays have shape $(C,)$.
# - Return `(y, running_mean, running_var)`: the output, normalized with the batch's own mean and population variance (`eps` under the root), and the **new** running statistics, as new arrays.
# - New running mean: $(1-m)\cdot$ old $+\,m\cdot$ batch mean. New running variance: the same with the unbiased variance of the batch ($n-1$), without `eps`.
# - NumPy or torch arithmetic, no ready-made normalization.
#
# For `x = [[1.0], [3.0]]`, `gamma = [1]`, `beta = [0]`, old statistics 0 and 1: `y` is `[[-1], [1]]` to within $10^{-4}$, the new mean is `0.2`, the new variance `0.9 + 0.1 · 2 = 1.1`.
#
# <details><summary>Hint 1</summary>You need two variances of the same batch. Which goes into the output, which into the buffer?</details>
# <details><summary>Hint 2</summary>Axis 0 is the batch. <code>ddof=0</code> for the output, <code>ddof=1</code> for the buffer.</details>


# %% exercise="normalization.batch-norm-train" points=3
def batch_norm_train(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output of BatchNorm in train mode and the new running mean and variance."""
    ### BEGIN SOLUTION
    mean, var = x.mean(axis=0), x.var(axis=0)
    y = gamma * (x - mean) / np.sqrt(var + eps) + beta
    new_mean = (1 - momentum) * running_mean + momentum * mean
    new_var = (1 - momentum) * running_var + momentum * x.var(axis=0, ddof=1)
    return y, new_mean, new_var
    ### END SOLUTION


# %% check="normalization.batch-norm-train"
_start = np.zeros(1)
_y, _mean, _var = batch_norm_train(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), _start, np.ones(1))
assert np.allclose(_y, [[-1], [1]], atol=1e-4), "the output uses the population variance of the batch, here 1"
assert np.allclose(_mean, 0.2), "a tenth of the way from 0 to the batch mean 2"
assert np.allclose(_var, 1.1), "0.9 of the old variance 1 and 0.1 of the unbiased batch variance 2"
assert _start[0] == 0, "the old buffer must stay as it is"

# %% [markdown]
# ### Small batches make poor notes
#
# The mean of a batch of $n$ scatters around the truth by $\sigma/\sqrt n$: with 2 images by 71 % of a standard deviation, with 32 by 18 %. BatchNorm divides by such an estimate in every
# step. And the running mean starts at 0: after $t$ steps it still remembers its start with weight $0.9^t$, 35 % after ten steps.

# %% demo="normalization.batch-size-noise" covers="normalization.small-batch normalization.cu.cliff normalization.q.small-batch"
explore(
    demos.batch_size_noise,
    alt="Means of batches of 4 scatter around the true mean 2; the running mean starts at 0 and needs about 25 steps to arrive.",
    batch=[4, 2, 8, 32, 128],
    momentum=(0.01, 0.5, 0.01, 0.1),
)

# %% [markdown]
# **What to see.** Each dot is what one training step normalizes with. The line is what eval mode would use: late at first, then far calmer than the dots. **Try** momentum 0.01:
# calmer still, but after 100 steps it has covered only 63 % of the way.
#
# How bad is it? Wu and He (2018) trained ResNet-50 on ImageNet with 32, 16, 8, 4 and 2 images per GPU. BatchNorm's validation error: 23.6, 23.7, 24.8, 27.3, 34.7 %. GroupNorm
# stayed near 24 %. You will often read "use BatchNorm from batch 32 on"; in fact it is a slope, not a cliff, and what counts is the batch *per device*.
#
# ## Two modes, one layer
#
# | | train mode | eval mode |
# |---|---|---|
# | normalizes with | mean and variance of this batch | running mean and variance, frozen |
# | running statistics | move a step | stay |
# | output of one image | depends on its companions | depends on nothing else |
# | $\gamma$, $\beta$ | applied | applied |
#
# This switch is the most frequent source of BatchNorm bugs. First the life of a layer without $\gamma$ and $\beta$: a few training batches, then evaluation.
#
# ### Exercise thirty.bn-running · difficulty 2 of 5 · 15 min · 3 points
#
# Write `bn_train_eval(batches, x_eval, momentum, eps)`: BatchNorm without scale and shift over several training batches, then in eval mode.
#
# - `batches`: a list of float arrays $(n_i, C)$, sizes may differ, each $n_i\ge2$. `x_eval`: float array $(k, C)$ with $k\ge1$.
# - The running mean starts at 0, the running variance at 1. Conventions as above: population variance for the output, unbiased variance for the buffer, `momentum` is the weight of the new batch, `eps` under the root.
# - Return `(outputs, eval_out, mean, var)`: the list of training outputs, the normalized `x_eval` (with the running statistics), and the final running mean and variance, each $(C,)$.
# - NumPy or torch arithmetic, no ready-made normalization.
#
# One batch `[[1.0], [3.0]]`, `x_eval = [[1.2]]`, momentum 0.1: mean `[0.2]`, var `[1.1]`, `eval_out` is `[[0.9535]]`.
#
# <details><summary>Hint 1</summary>Write the loop over the batches first; evaluation is one line with what the loop has left.</details>
# <details><summary>Hint 2</summary>In eval mode $\hat x=(x-\text{running mean})/\sqrt{\text{running var}+\varepsilon}$.</details>


# %% exercise="thirty.bn-running" points=3
def bn_train_eval(
    batches: list[np.ndarray], x_eval: np.ndarray, momentum: float, eps: float
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Train-mode outputs, the eval-mode output of `x_eval`, and the final running mean and variance."""
    ### BEGIN SOLUTION
    mean, var = np.zeros(x_eval.shape[1]), np.ones(x_eval.shape[1])
    outputs = []
    for x in batches:
        outputs.append((x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps))
        mean = (1 - momentum) * mean + momentum * x.mean(axis=0)
        var = (1 - momentum) * var + momentum * x.var(axis=0, ddof=1)
    return outputs, (x_eval - mean) / np.sqrt(var + eps), mean, var
    ### END SOLUTION


# %% check="thirty.bn-running"
_out, _eval, _mean, _var = bn_train_eval([np.array([[1.0], [3.0]])], np.array([[1.2]]), 0.1, 1e-5)
assert len(_out) == 1 and np.allclose(_out[0], [[-1], [1]], atol=1e-4), "training uses the batch's own statistics"
assert np.allclose([_mean, _var], [[0.2], [1.1]]), "mean 0.9 * 0 + 0.1 * 2, variance 0.9 * 1 + 0.1 * 2"
assert np.allclose(_eval, 0.9535, atol=1e-4), "evaluation uses the running statistics"

# %% [markdown]
# ### Exercise normalization.batch-norm-2d · difficulty 3 of 5 · 20 min · 4 points
#
# Now the whole layer, for images, as a class. A channel of a batch $(N, C, H, W)$ has $n=N\cdot H\cdot W$ values and **one** mean and variance.
#
# Write `class BatchNorm2d` with `__init__(self, C, eps=1e-5, momentum=0.1)` and `__call__(self, x)`.
#
# - Attributes `gamma` (ones), `beta` (zeros), `running_mean` (zeros), `running_var` (ones), each of shape $(C,)$, and `training` (`True`). The checks read them, set
#   `layer.training = False` or `True`, and assign new arrays to `gamma` and `beta`.
# - `layer(x)` takes a float array $(N, C, H, W)$, normalizes per channel, scales, shifts, and returns the shape of `x`. `eps` under the root.
# - Train mode: statistics of the batch, and the running statistics move: `momentum` weighs the new batch, the unbiased variance (factor $n/(n-1)$ with $n=N\cdot H\cdot W$) is stored. $N=1$ is legal; $n\ge2$ always.
# - Eval mode: the running statistics normalize, and nothing moves.
# - NumPy or torch arithmetic, no ready-made normalization.
#
# A fresh layer in eval mode returns `x` divided by $\sqrt{1+10^{-5}}$.
#
# <details><summary>Hint 1</summary>Decide first which mean and variance to use; the last line is the same in both modes.</details>
# <details><summary>Hint 2</summary>Reduce over axes (0, 2, 3); bring every per-channel array to shape (C, 1, 1) before it meets x.</details>


# %% exercise="normalization.batch-norm-2d" points=4
class BatchNorm2d:
    """BatchNorm for images (N, C, H, W) with running statistics and two modes."""

    def __init__(self, C: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        ### BEGIN SOLUTION
        self.eps, self.momentum, self.training = eps, momentum, True
        self.gamma, self.beta = np.ones(C), np.zeros(C)
        self.running_mean, self.running_var = np.zeros(C), np.ones(C)
        ### END SOLUTION

    def __call__(self, x: np.ndarray) -> np.ndarray:
        ### BEGIN SOLUTION
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
            m, n = self.momentum, x.size // x.shape[1]
            self.running_mean = (1 - m) * self.running_mean + m * mean
            self.running_var = (1 - m) * self.running_var + m * var * n / (n - 1)
        mean, var, gamma, beta = (a[:, None, None] for a in (mean, var, self.gamma, self.beta))  # (C, 1, 1)
        return gamma * (x - mean) / np.sqrt(var + self.eps) + beta
        ### END SOLUTION


# %% check="normalization.batch-norm-2d"
_layer, _x = BatchNorm2d(2), np.arange(12.0).reshape(1, 2, 2, 3)
_y = _layer(_x)
assert _y.shape == _x.shape and np.allclose(_y.mean(axis=(0, 2, 3)), 0), "each channel of the output has mean 0"
assert np.allclose(_layer.running_mean, [0.25, 0.85]), "a tenth of the channel means 2.5 and 8.5"
assert np.allclose(_layer.running_var, 0.9 + 0.1 * 3.5), "the unbiased variance of six values 0 to 5 is 3.5"
_layer.training = False
_before = _layer.running_mean.copy()
assert not np.allclose(_layer(_x), _y), "eval mode uses the running statistics"
assert np.array_equal(_layer.running_mean, _before), "eval mode moves nothing"

# %% [markdown]
# ### Exercise normalization.bn-module · difficulty 4 of 5 · 25 min · 5 points
#
# In PyTorch a layer's state is of two kinds. **Parameters** (`nn.Parameter`) are trained: the optimizer sees them. **Buffers** (`register_buffer`) are kept: they are saved by `state_dict()` and move with
# `.to(...)`, but nobody takes their gradient. A plain tensor attribute is neither: it is forgotten when you save and left behind when you move to a GPU.
#
# Write `class BatchNorm1d(nn.Module)` with `__init__(self, num_features, eps=1e-5, momentum=0.1)` and `forward(self, x)` for `x` of shape $(N, C)$.
#
# - Parameters `weight` (ones) and `bias` (zeros), buffers `running_mean` (zeros) and `running_var` (ones), each of shape $(C,)$, and the buffer `num_batches_tracked` (an integer scalar, starts at 0, stays an integer).
#   So a `state_dict()` can be loaded into `nn.BatchNorm1d` and back.
# - Train mode (`self.training`, $N\ge2$): batch statistics, population variance for the output, unbiased variance for the buffer, `momentum` is the weight of the new batch; `num_batches_tracked` grows by 1. Eval mode ($N\ge1$): running statistics, nothing moves.
# - Gradients flow through the batch's mean and variance; in eval mode too they reach `x`, `weight` and `bias`. The running statistics carry no graph.
# - The layer follows `.to(dtype)` and `.to(device)`: output and buffers have the layer's dtype and device. Name no device or dtype in `forward`, and stay in torch there: no NumPy, no `.item()`.
# - No ready-made normalization, and no subclass of one.
#
# <details><summary>Hint 1</summary>Two lines of the exercise above move into <code>register_buffer</code>. What may be recorded for backward, and what may not?</details>
# <details><summary>Hint 2</summary><code>x.var(0)</code> of torch divides by $n-1$, <code>x.var(0, correction=0)</code> by $n$. Update the buffers under <code>torch.no_grad()</code>.</details>


# %% exercise="normalization.bn-module" points=5
class BatchNorm1d(nn.Module):
    """BatchNorm over the batch for inputs (N, C); its state dict is that of `nn.BatchNorm1d`."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(x.var(0), self.momentum)
                self.num_batches_tracked += 1
        return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias
        ### END SOLUTION


# %% check="normalization.bn-module"
_ours, _theirs = BatchNorm1d(3).double(), nn.BatchNorm1d(3).double()
_x = torch.linspace(-1, 3, 12, dtype=torch.float64).reshape(4, 3) ** 2
assert torch.allclose(_ours(_x), _theirs(_x)), "train mode: nn.BatchNorm1d gives another output"
assert list(_ours.state_dict()) == list(_theirs.state_dict()), "state_dict() should have torch's five keys"
assert all(torch.allclose(a, b) for a, b in zip(_ours.buffers(), _theirs.buffers())), "the buffers differ from torch's after one batch"
assert len(list(_ours.parameters())) == 2, "only weight and bias are parameters"
assert torch.allclose(_ours.eval()(_x), _theirs.eval()(_x)), "eval mode: nn.BatchNorm1d gives another output"

# %% [markdown]
# ### A batch of one
#
# You will often read that "BatchNorm crashes at batch size 1". Predict first: `nn.BatchNorm2d(3)` in **train** mode gets one image of shape `(1, 3, 4, 4)`.

# %%
predict("BatchNorm2d in train mode, input (1, 3, 4, 4)", ["ValueError", "works", "returns nan"], key="normalization.batch-of-one")

# %% demo="normalization.batch-of-one" covers="normalization.intro normalization.q.modes fqa.tq10"
reveal(demos.batch_of_one(), answer="works", key="normalization.batch-of-one")

# %% [markdown]
# **What to see.** What counts is the number of *values per channel*. One image of $4\times4$ pixels has 16, enough for a variance; a single vector has one, and torch refuses. Eval mode never
# refuses, and LayerNorm never asks. **Try** `nn.BatchNorm1d(3)(torch.ones(1, 3, 5))`: five values per channel.
#
# So BatchNorm in train mode is the one common layer for which the rows of a batch are not independent. That can be tested for any function.
#
# ### Exercise fqa.batch-independence · difficulty 2 of 5 · 10 min · 2 points
#
# Write `rows_independent(f, X)`: does `f` treat the rows of a batch independently?
#
# - `f`: any callable (often an `nn.Module`) that maps a float64 tensor of $B$ rows to a tensor of $B$ rows, of any further shape. `X`: a tensor with $B\ge1$ rows, each of any shape.
# - Return `True` if `f(X)[i]` equals `f(X[i:i+1])[0]` for **all** $i$, with an absolute tolerance of $10^{-9}$ per entry; otherwise `False`.
# - A `ValueError` of `f` (as BatchNorm in train mode raises for a single row) means `False`.
# - Judge `f` in the mode it is in: do not call `train()` or `eval()`.
#
# For `nn.LayerNorm(3)` the answer is `True`, for `lambda x: x - x.mean(0)` it is `False`.
#
# <details><summary>Hint 1</summary>A function may leave the first row alone and change the others.</details>
# <details><summary>Hint 2</summary>Compare the batch's row $i$ with the result for the slice <code>X[i:i+1]</code>, which keeps the batch axis.</details>


# %% exercise="fqa.batch-independence" points=2
def rows_independent(f: Callable[[torch.Tensor], torch.Tensor], X: torch.Tensor) -> bool:
    """Whether the result for each row of `X` is the same alone and inside the batch."""
    ### BEGIN SOLUTION
    with torch.no_grad():
        try:
            together = f(X)
            alone = torch.cat([f(X[i : i + 1]) for i in range(len(X))])
        except ValueError:
            return False
    return bool(((together - alone).abs() <= 1e-9).all())
    ### END SOLUTION


# %% check="fqa.batch-independence"
_X = torch.tensor([[1.0, 2.0, 4.0], [0.0, 5.0, 1.0], [3.0, 3.0, 7.0]], dtype=torch.float64)
assert rows_independent(nn.LayerNorm(3).double(), _X) is True, "LayerNorm looks at one row at a time"
assert not rows_independent(lambda x: x - x.mean(0), _X), "the batch mean ties the rows together"
assert not rows_independent(nn.BatchNorm1d(3).double(), _X), "train mode: a single row is refused, that means False"
assert rows_independent(nn.BatchNorm1d(3).double().eval(), _X), "eval mode: fixed statistics, independent rows"

# %% [markdown]
# ## The cliff at `model.eval()`
#
# Training accuracy looks fine. You call `model.eval()`, feed *the same data*, and the accuracy falls off a cliff. Nothing happened to the weights: `eval()` sets a flag. What
# changed is where mean and variance come from. Predict: a small CNN on digits, batches of 32, momentum 0.1. After **10** training steps, test accuracy with batch statistics is about 75 %. With the running statistics?

# %%
predict("Eval-mode accuracy after 10 steps (train mode: 75 %)", ["about 75 %", "about 44 %", "about 90 %"], key="normalization.cliff")

# %%
_train, _eval = demos.cliff_curves(32, 0.1, False)[9]  # the tenth step
reveal(f"train mode {_train:.1f} %, eval mode {_eval:.1f} %", answer="about 44 %", key="normalization.cliff")

# %% demo="normalization.eval-cliff" covers="normalization.cu.cliff normalization.q.eval-collapse"
explore(
    demos.eval_cliff,
    alt="Test accuracy over 50 steps. Eval mode lags train mode by up to 42 points and catches up after about 20 steps.",
    batch=[32, 2, 8, 128],
    momentum=[0.1, 0.01, 0.5],
    shift=False,
)

# %% [markdown]
# **What to see.** The gap closes as the running statistics warm up. **Try** the box `shift`: the test images arrive with half the brightness, train mode ends at 94 %, and eval mode
# does not get past 42 % once step 15 is behind it. Then untick the box and take momentum 0.01: after 50 steps eval mode is still at 48 %, train mode at 94 %.
#
# So when a model trains well and collapses in eval mode, suspect the running statistics first: too few steps, tiny batches, or test data from another distribution. Train longer, use larger batches,
# raise the momentum, re-estimate the statistics on fresh data, or switch to GroupNorm or LayerNorm. Tuning dropout or the weights treats the wrong patient.
#
# ## Backward through the batch
#
# In train mode each input moves the output by three roads: directly, through the mean, and through the variance. With $d=\gamma\cdot dY$ and all means over the batch, they add up to
#
# $$dx=\frac{1}{\sqrt{\sigma^2+\varepsilon}}\Bigl(d-\overline{d}-\hat x\;\overline{d\,\hat x}\Bigr),\qquad d\gamma=\sum_n dY\,\hat x,\qquad d\beta=\sum_n dY$$
#
# Read it as geometry: the norm ignores a shift of the whole column, so the gradient has no component along $(1,\dots,1)$: each column of $dx$ sums to 0. It (almost) ignores a rescaling, so no component along $\hat x$ either.
#
# ### Exercise normalization.batch-norm-backward · difficulty 4 of 5 · 20 min · 4 points
#
# Write `batch_norm_backward(dY, x, gamma, eps=1e-5)`: the gradients of BatchNorm in train mode for inputs $(N, C)$, $N\ge2$.
#
# - `dY`: gradient of the loss with respect to the output, shape $(N, C)$; `x`: the layer's input, $(N, C)$; `gamma`: $(C,)$.
# - Return `(dx, dgamma, dbeta)` with shapes $(N, C)$, $(C,)$, $(C,)$.
# - Mean and population variance are functions of `x` and count in `dx`.
# - NumPy or torch arithmetic; no automatic differentiation, no ready-made normalization.
#
# For `x = [[0.0], [2.0], [7.0]]`, `dY = [[1.0], [0.0], [0.0]]`, `gamma = [1]`, `eps = 0`: `dx` is `[[0.1089], [-0.1524], [0.0435]]`. It sums to 0.
#
# <details><summary>Hint 1</summary>Take the graph apart: x, mean, centred x, variance, 1/sqrt, xhat. Or use the formula above and check that columns sum to 0.</details>
# <details><summary>Hint 2</summary>$d=\gamma\,dY$; subtract its mean and $\hat x$ times the mean of $d\hat x$; divide by the standard deviation.</details>


# %% exercise="normalization.batch-norm-backward" points=4
def batch_norm_backward(dY: np.ndarray, x: np.ndarray, gamma: np.ndarray, eps: float = 1e-5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of train-mode BatchNorm with respect to x, gamma and beta."""
    ### BEGIN SOLUTION
    std = np.sqrt(x.var(axis=0) + eps)
    xhat = (x - x.mean(axis=0)) / std
    d = gamma * dY
    dx = (d - d.mean(axis=0) - xhat * (d * xhat).mean(axis=0)) / std
    return dx, (dY * xhat).sum(axis=0), dY.sum(axis=0)
    ### END SOLUTION


# %% check="normalization.batch-norm-backward"
_dx, _dgamma, _dbeta = batch_norm_backward(np.array([[1.0], [0.0], [0.0]]), np.array([[0.0], [2.0], [7.0]]), np.ones(1), eps=0.0)
assert np.allclose(_dx, [[0.1089], [-0.1524], [0.0435]], atol=1e-4), "compare with the worked number in the task"
assert abs(_dx.sum()) < 1e-12, "a shift of the whole column changes nothing: the column of dx sums to 0"
assert np.allclose(_dgamma, -1.0190, atol=1e-4), "dgamma is the sum of dY * xhat"
assert np.allclose(_dbeta, 1.0), "dbeta is the sum of dY"

# %% [markdown]
# ## The bias that does nothing
#
# `nn.Conv2d(3, 8, 3)` has a bias by default. Put a BatchNorm behind it and add 5 to one channel's bias: the batch mean rises by 5 too, and is subtracted. In train mode the bias has **exactly** no effect, and its
# gradient is 0. BatchNorm's own $\beta$ does the job, so build such layers with `bias=False`.
#
# The usual sentence stops here. There are two footnotes. With **frozen** statistics (eval mode, fine-tuning) the running mean no longer follows, so a change of the bias does shift the output. And if
# you remove a *trained* bias, the stored running mean still contains it.
#
# ### Exercise normalization.drop-bias · difficulty 3 of 5 · 15 min · 3 points
#
# Write `drop_redundant_bias(model)`: take a trained, flat `nn.Sequential` and remove every bias that a BatchNorm makes redundant, without changing what the model computes.
#
# - A bias is redundant if its layer is an `nn.Linear` or `nn.Conv2d` and the **very next** layer of the Sequential is an `nn.BatchNorm1d` or `nn.BatchNorm2d`. All other biases stay: also those before LayerNorm or GroupNorm, or before an activation.
# - Removed means `layer.bias is None`. A layer may have come without a bias.
# - Outputs stay the same in train mode **and** in eval mode. Every BatchNorm of the model keeps running statistics; it may come without affine parameters.
# - Return an `nn.Sequential` with the layers in the same order, the same dtype, and each layer in the mode (`training`) it came in; changing the given model in place is fine.
#
# <details><summary>Hint 1</summary>The running mean was collected with the bias in its inputs. What would it be without?</details>
# <details><summary>Hint 2</summary><code>running_mean -= bias</code>, then <code>layer.bias = None</code>. In train mode nothing has to be made up.</details>


# %% exercise="normalization.drop-bias" points=3
def drop_redundant_bias(model: nn.Sequential) -> nn.Sequential:
    """The same function without the biases that a directly following BatchNorm cancels."""
    ### BEGIN SOLUTION
    for layer, norm in zip(model, model[1:]):
        redundant = isinstance(layer, (nn.Linear, nn.Conv2d)) and isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
        if redundant and layer.bias is not None:
            norm.running_mean -= layer.bias.detach()
            layer.bias = None
    return model
    ### END SOLUTION


# %% check="normalization.drop-bias"
_model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1)).eval()
_x = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
_want = _model(_x)
_got = drop_redundant_bias(copy.deepcopy(_model))
assert _got[0].bias is None, "the bias before the BatchNorm should be None"
assert _got[3].bias is not None, "the last bias has no BatchNorm behind it and stays"
assert torch.allclose(_got.eval()(_x), _want, atol=1e-6), "eval outputs changed: the running mean was collected with the bias"

# %% [markdown]
# ## LayerNorm: no companions needed
#
# A batch of sentences is padded to one length. With BatchNorm the pads would enter the statistics, positions near the end would be averaged over very few sentences, and generation works on one sentence at a time. LayerNorm
# asks none of these questions: each token is normalized across its own $d$ features. No batch, no length, no padding, no running statistics, and therefore **no difference between train and eval**.
#
# It is tempting to say "LayerNorm is BatchNorm transposed". The formula is; the consequences are what counts: the dependence on the batch is gone, and so is the state. `nn.LayerNorm(512)` has no buffers at all.
#
# One thing BatchNorm can do and LayerNorm cannot: undo itself. With fixed statistics, $\gamma=\sigma$ and $\beta=\mu$ make BatchNorm the identity. LayerNorm's statistics differ from token to token while $\gamma$ and $\beta$
# are shared, so no choice gives the input back.
#
# ### Exercise normalization.layer-norm · difficulty 2 of 5 · 10 min · 2 points
#
# Write `layer_norm(x, gamma, beta, eps=1e-5)`.
#
# - `x`: float array with any number of axes, $(\dots, d)$; each vector along the last axis is one token with statistics of its own. `gamma`, `beta`: shape $(d,)$.
# - Population variance, `eps` under the root. Constant tokens give `beta`, without a warning.
# - The result has the shape **and dtype** of `x` (float32 stays float32; gamma and beta come in the same dtype).
# - NumPy or torch arithmetic, no ready-made normalization.
#
# `layer_norm(np.array([1.0, 3.0]), np.array([1.0, 2.0]), np.array([0.0, 5.0]))` is `[-1, 7]` to within $10^{-4}$.
#
# <details><summary>Hint 1</summary>The same code works for one, two, three or four axes if you always reduce the last one.</details>
# <details><summary>Hint 2</summary>Axis −1 with <code>keepdims=True</code>, for mean and variance.</details>


# %% exercise="normalization.layer-norm" points=2
def layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Normalize each vector along the last axis, then scale and shift its features."""
    ### BEGIN SOLUTION
    mean = x.mean(axis=-1, keepdims=True)
    var = x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(var + eps) + beta
    ### END SOLUTION


# %% check="normalization.layer-norm"
_x = np.array([[1.0, 3.0, 8.0], [2.0, 2.0, 2.0]])
_y = layer_norm(_x, np.array([1.0, 2.0, 1.0]), np.array([0.0, 5.0, 1.0]))
assert np.allclose(_y[1], [0, 5, 1]), "a constant token gives beta"
assert np.allclose(_y[0], layer_norm(_x[0], np.array([1.0, 2.0, 1.0]), np.array([0.0, 5.0, 1.0]))), "alone as in the batch"
assert layer_norm(np.float32(_x), np.ones(3, np.float32), np.zeros(3, np.float32)).dtype == np.float32, "float32 stays float32"

# %% [markdown]
# ## RMSNorm: leave the mean alone
#
# LayerNorm does two jobs: re-centring and re-scaling. Zhang and Sennrich (2019) dropped the first and report about the same quality: re-scaling is what steadies training. What remains is cheaper, and LLaMA and most
# large language models after it use it:
#
# $$\mathrm{RMSNorm}(x)=\gamma\cdot\frac{x}{\sqrt{\frac1d\sum_i x_i^2+\varepsilon}}$$
#
# No mean, no $\beta$. The denominator is **not** a standard deviation: nothing is subtracted before squaring. For $x=(3,3,3,3)$ LayerNorm returns zeros (before $\beta$), RMSNorm returns ones.
#
# ### Exercise normalization.rms-norm · difficulty 2 of 5 · 10 min · 2 points
#
# Write `rms_norm(x, gamma, eps=1e-6)`.
#
# - `x`: float array $(\dots, d)$ with any number of axes; each vector along the last axis is normalized by its own root mean square. `gamma`: shape $(d,)$, multiplies as it is (initialized with ones).
# - `eps` is added to the mean square, under the root. A vector of zeros gives zeros, without a warning.
# - NumPy or torch arithmetic, no ready-made normalization.
#
# `rms_norm(np.array([3.0, 4.0]), np.array([1.0, 2.0]))` is `[0.8485, 2.2627]`: the mean square is 12.5.
#
# <details><summary>Hint 1</summary>Read the name backwards: square, mean, root.</details>
# <details><summary>Hint 2</summary>The denominator has shape $(\dots,1)$: one number a vector.</details>


# %% exercise="normalization.rms-norm" points=2
def rms_norm(x: np.ndarray, gamma: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Divide each vector along the last axis by its root mean square and scale its features."""
    ### BEGIN SOLUTION
    mean_square = (x**2).mean(axis=-1, keepdims=True)
    return gamma * x / np.sqrt(mean_square + eps)
    ### END SOLUTION


# %% check="normalization.rms-norm"
assert np.allclose(rms_norm(np.array([3.0, 4.0]), np.array([1.0, 2.0])), [0.8485, 2.2627], atol=1e-4), "the mean square of 3 and 4 is 12.5"
assert np.allclose(rms_norm(np.full((2, 4), 3.0), np.ones(4)), 1.0), "nothing is subtracted: constant 3 gives 1"
assert np.allclose(rms_norm(np.zeros((1, 2)), np.ones(2)), 0.0), "zeros stay zeros"

# %% [markdown]
# ## GroupNorm: statistics inside one image
#
# Detection and segmentation use large images, two or so per GPU. BatchNorm's statistics are noise there. A smaller learning rate does not help: the problem is statistical, not one of step size. GroupNorm takes the
# statistics from **one image**, over blocks of neighbouring channels. The batch size drops out.
#
# You will often read that GroupNorm is the standard of Mask R-CNN. The original (He et al. 2017) fine-tuned with *frozen* BatchNorm; the GroupNorm version came with Wu and He (2018) and did better. Frozen BatchNorm, synchronized
# BatchNorm and GroupNorm are all in use.
#
# InstanceNorm is the extreme with one channel per group. It wipes out each image's own contrast, which is why style transfer likes it and classifiers do not.
#
# ### Exercise normalization.group-norm · difficulty 3 of 5 · 15 min · 3 points
#
# Write `group_norm(x, num_groups, gamma, beta, eps=1e-5)`.
#
# - `x`: float array $(N, C, H, W)$. `num_groups` $=G$ divides $C$; a group is a block of $C/G$ **neighbouring** channels: channels $0\dots C/G-1$ are the first.
# - Each image and group has one mean and one population variance, over its channels, height and width; `eps` under the root. `gamma`, `beta`: shape $(C,)$, one per channel.
# - $G=1$ and $G=C$ are legal, and so is a batch of one.
# - NumPy or torch arithmetic, no ready-made normalization.
#
# Four channels of one pixel, values $1, 3, 10, 30$, $G=2$, gamma 1, beta 0: the result is $-1, 1, -1, 1$ to within $10^{-4}$.
#
# <details><summary>Hint 1</summary>A reshape gives the groups an axis of their own.</details>
# <details><summary>Hint 2</summary>Shape $(N, G, C/G, H, W)$, statistics over the last three axes, then back.</details>


# %% exercise="normalization.group-norm" points=3
def group_norm(x: np.ndarray, num_groups: int, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Normalize each block of neighbouring channels of each image, then scale and shift the channels."""
    ### BEGIN SOLUTION
    n, c, h, w = x.shape
    groups = x.reshape(n, num_groups, c // num_groups, h, w)
    mean = groups.mean(axis=(2, 3, 4), keepdims=True)
    var = groups.var(axis=(2, 3, 4), keepdims=True)
    xhat = ((groups - mean) / np.sqrt(var + eps)).reshape(x.shape)
    return gamma[:, None, None] * xhat + beta[:, None, None]
    ### END SOLUTION


# %% check="normalization.group-norm"
_x = np.array([1.0, 3.0, 10.0, 30.0]).reshape(1, 4, 1, 1)
_y = group_norm(_x, 2, np.ones(4), np.zeros(4))
assert _y.shape == _x.shape, "the result has the shape of x"
assert np.allclose(_y.ravel(), [-1, 1, -1, 1], atol=1e-4), "channels 0 and 1 form the first group, 2 and 3 the second"
assert np.allclose(group_norm(_x, 4, np.ones(4), np.arange(4.0)).ravel(), np.arange(4.0)), "one value per group: only beta is left"

# %% [markdown]
# ### Exercise normalization.bn-to-gn · difficulty 3 of 5 · 15 min · 3 points
#
# A detector is to be trained with 2 images per GPU. Write `batchnorm_to_groupnorm(model, groups)`: replace every `nn.BatchNorm2d` inside `model`, at any depth, by an `nn.GroupNorm`.
#
# - The number of groups is the largest number that is at most `groups` and divides the layer's channels: 12 channels and `groups=8` give 6, 10 channels give 5, 7 channels give 7.
# - The new layer keeps the learned scale and shift: copy `weight` and `bias` (every BatchNorm here has them).
# - Everything else stays as it is: `nn.BatchNorm1d`, the names within the model, the mode (`training`) of all other modules.
# - The new layers are to be trained like the rest (`requires_grad`). No layer occurs twice in the model.
# - All models are float32, and both kinds of layer have torch's default `eps`: nothing but `weight` and `bias` has to be carried over.
# - `model` is a container, not itself a BatchNorm. Return the model; changing it in place is fine.
#
# <details><summary>Hint 1</summary><code>named_children()</code> shows one level. What do you do with a child that has children?</details>
# <details><summary>Hint 2</summary>Replace with <code>setattr(parent, name, new)</code>; count down from <code>groups</code> until the remainder is 0.</details>


# %% exercise="normalization.bn-to-gn" points=3
def batchnorm_to_groupnorm(model: nn.Module, groups: int) -> nn.Module:
    """The model with GroupNorm in place of every BatchNorm2d, learned scale and shift kept."""
    ### BEGIN SOLUTION
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            c = child.num_features
            norm = nn.GroupNorm(max(g for g in range(1, groups + 1) if c % g == 0), c)
            norm.weight, norm.bias = child.weight, child.bias
            setattr(model, name, norm)
        else:
            batchnorm_to_groupnorm(child, groups)
    return model
    ### END SOLUTION


# %% check="normalization.bn-to-gn"
_model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), nn.Sequential(nn.Conv2d(12, 10, 1), nn.BatchNorm2d(10)))
nn.init.constant_(_model[1].weight, 3.0)
_new = batchnorm_to_groupnorm(_model, 8)
assert not any(isinstance(m, nn.BatchNorm2d) for m in _new.modules()), "a BatchNorm2d is left, perhaps inside a block"
assert [m.num_groups for m in _new.modules() if isinstance(m, nn.GroupNorm)] == [6, 5], "12 channels give 6 groups, 10 give 5"
assert (_new[1].weight == 3).all(), "the learned scale is lost"

# %% [markdown]
# ## Several GPUs, several batches
#
# In data-parallel training (DDP) each GPU gets a shard of the batch. DDP averages **gradients**; it does not combine BatchNorm's statistics (by default each GPU gets rank 0's running buffers, which have seen rank 0's shards only). Eight GPUs with four images each normalize over 4, not 32. If that is too few,
# `nn.SyncBatchNorm.convert_sync_batchnorm(model)` combines the statistics of all shards in every forward pass, or GroupNorm does without any exchange.
#
# Combining is a small piece of statistics. Means combine weighted by their counts. Variances do not: two shards of equal size with variance 0 and means 0 and 10 have a common variance of 25. The total is
# *variance within plus variance between*.
#
# ### Exercise normalization.sync-stats · difficulty 3 of 5 · 10 min · 2 points
#
# Write `sync_stats(means, variances, counts)`: mean and population variance of the whole batch from those of its shards.
#
# - `means`, `variances`: float arrays $(K, C)$, one row a GPU, population variances; `counts`: integer array $(K,)$, samples per GPU, at least 1 each, not always equal.
# - Return `(mean, variance)`, each $(C,)$: exactly what one GPU with all samples would compute (population variance).
# - NumPy or torch arithmetic.
#
# `sync_stats(np.array([[0.0], [10.0]]), np.zeros((2, 1)), np.array([1, 3]))` is `([7.5], [18.75])`.
#
# <details><summary>Hint 1</summary>How far are the samples of one shard from the common mean? There are two parts: from a sample to its shard's mean, and from there to the common mean.</details>
# <details><summary>Hint 2</summary>$\sigma^2=\sum_k\frac{n_k}{n}\left(\sigma_k^2+(\mu_k-\mu)^2\right)$ with $\mu=\sum_k\frac{n_k}{n}\mu_k$.</details>


# %% exercise="normalization.sync-stats" points=2
def sync_stats(means: np.ndarray, variances: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population variance of the union of K shards."""
    ### BEGIN SOLUTION
    share = (counts / counts.sum())[:, None]  # (K, 1)
    mean = (share * means).sum(axis=0)
    variance = (share * (variances + (means - mean) ** 2)).sum(axis=0)
    return mean, variance
    ### END SOLUTION


# %% check="normalization.sync-stats"
_mean, _var = sync_stats(np.array([[0.0], [10.0]]), np.zeros((2, 1)), np.array([1, 3]))
assert np.allclose(_mean, 7.5), "weigh the means by the counts"
assert np.allclose(_var, 18.75), "two shards without spread, but with different means, have a variance between them"

# %% [markdown]
# ## Pre-norm and post-norm
#
# Where does the norm stand in a residual block? The original transformer normalized *after* the addition. Nearly all later models normalize *inside the branch*:
#
# $$\text{post: } \mathrm{Norm}(x+F(x))\qquad\qquad\text{pre: } x+F(\mathrm{Norm}(x))$$
#
# In pre-norm the stream of $x$ runs from input to output untouched. Set $F=0$ and the block is the identity, exactly. In post-norm every block normalizes the stream again.
#
# ### Exercise normalization.norm-placement · difficulty 1 of 5 · 5 min · 2 points
#
# Write `sublayer(x, sub, norm, placement)`: one residual sub-layer.
#
# - `x`: a tensor; `sub` and `norm`: callables that map a tensor to one of the same shape; `placement`: `"pre"` or `"post"`.
# - `"pre"`: the norm stands before the sub-layer, inside the branch. `"post"`: after the addition. No other norm, and the skip carries `x` itself.
# - Gradients flow through the result; `x` is left unchanged.
#
# With `sub = lambda t: 0 * t`, pre-norm returns `x` exactly and post-norm `norm(x)`.
#
# <details><summary>Hint 1</summary>Draw the two arrows that meet in the plus sign. Which of them passes the norm?</details>
# <details><summary>Hint 2</summary>The two formulas above are the two lines.</details>


# %% exercise="normalization.norm-placement" points=2
def sublayer(
    x: torch.Tensor, sub: Callable[[torch.Tensor], torch.Tensor], norm: Callable[[torch.Tensor], torch.Tensor], placement: str
) -> torch.Tensor:
    """A residual sub-layer with the norm inside the branch ("pre") or after the addition ("post")."""
    ### BEGIN SOLUTION
    if placement == "pre":
        return x + sub(norm(x))
    return norm(x + sub(x))
    ### END SOLUTION


# %% check="normalization.norm-placement"
_x, _norm = torch.tensor([[1.0, 2.0, 6.0]]), nn.LayerNorm(3)
assert torch.equal(sublayer(_x, torch.zeros_like, _norm, "pre"), _x), "pre-norm with an empty branch is the identity"
assert torch.allclose(sublayer(_x, torch.zeros_like, _norm, "post"), _norm(_x)), "post-norm normalizes the sum"
assert torch.allclose(sublayer(_x, torch.ones_like, _norm, "pre"), _x + 1), "pre-norm adds the branch to x itself"

# %% [markdown]
# What difference does it make? Take 24 blocks, no warmup, the same weights, and change only the placement.

# %% demo="normalization.pre-post" covers="normalization.prenorm-clean normalization.q.placement normalization.placement"
explore(
    demos.pre_post,
    alt="Left: gradient norms of 24 blocks; pre-norm falls towards the output, post-norm rises. Right: only pre-norm learns without warmup.",
    depth=[24, 2, 6, 12, 48],
    rate=[0.003, 0.001, 0.01],
)

# %% [markdown]
# **What to see.** Before the first step, post-norm's last blocks have eight times the gradient of pre-norm's. Then Adam with learning rate 0.003 and no warmup: pre-norm learns, post-norm hardly leaves the loss of guessing. **Try** depth 6: both learn. With
# depth 24 and a rate of 0.001 post-norm learns too, only later.
#
# So take "post-norm diverges beyond 24 layers" as a tendency: the depth depends on learning rate, initialization and width. Xiong et al. (2020) explain it by the large gradients near the output that warmup tames, and show that
# pre-norm can be trained without warmup; large language models warm up all the same. Where post-norm does train, it sometimes ends slightly better. And a pre-norm stack needs one **final norm** before the output head, because its
# stream was never normalized (chapter 16 builds it).
#
# ## Why it helps, and two habits to drop
#
# Ioffe and Szegedy (2015) introduced BatchNorm against "internal covariate shift": the inputs of a layer keep moving while the layers below learn. Santurkar et al. (2018) tested that. They injected noise *behind* BatchNorm so that the
# distributions shifted more than ever, and training was nearly as fast as before. What BatchNorm does change is the loss surface: it becomes smoother, gradients more predictable, larger learning rates stable. In an interview name the
# first as the motivation, the second as the evidence.
#
# Two habits to drop. **Heavy dropout on top of BatchNorm**: batch statistics are noisy, and the noise regularizes mildly (less so with large batches), so a BatchNorm network needs less dropout. Dropout directly *before* a BatchNorm also changes the variance
# between train and eval, so the stored statistics no longer fit (Li et al. 2019); right after it, strong dropout often hurts as well. **BatchNorm for sequences of varying length**: over time steps the batch statistics are ill-defined; use LayerNorm or RMSNorm.
#
# ## Debug clinic
#
# Three programs that run and are wrong. Each has one cause. The cell starts with the broken program: find the cause, change as little as possible.
#
# ### Exercise normalization.fix-train-eval · difficulty 2 of 5 · 15 min · 3 points
#
# A network with BatchNorm on the digits, learning rate 0.1. Validation accuracy per epoch, with this program and with a healthy one:
#
# | epoch | 1 | 2 | 3 | 4 | 5 | 6 |
# |---|---|---|---|---|---|---|
# | this program | 89.5 % | 68.4 % | 72.8 % | 84.2 % | 82.4 % | 90.4 % |
# | healthy | 89.5 % | 93.3 % | 95.3 % | 95.3 % | 96.7 % | 95.8 % |
#
# At learning rate 0.5 it falls to 8.7 % in epoch 2 and stays there. Epoch 1 is fine. Repair `fit(model, train, val, epochs, opt)`.
#
# - `train`, `val`: lists of pairs `(X, y)`, batches of any size (a validation batch may have one sample); `y` are class indices, `model(X)` gives logits, the loss is the mean cross-entropy.
# - The model may arrive in any mode. Every epoch: first one step per training batch, in order, in train mode; then every validation batch once, in order, in eval mode and without recording gradients.
# - Return the validation accuracy after each epoch, a list of floats: correct predictions over all validation samples.
#
# <details><summary>Hint 1</summary>In which mode is the model at the start of epoch 2?</details>
# <details><summary>Hint 2</summary>A mode stays in force until somebody changes it.</details>


# %% exercise="normalization.fix-train-eval" points=3
def fit(model: nn.Module, train: list, val: list, epochs: int, opt: torch.optim.Optimizer) -> list[float]:
    """Train for some epochs; validation accuracy after each."""
    ### BEGIN SOLUTION
    accuracies = []
    for _ in range(epochs):
        model.train()
        for X, y in train:
            opt.zero_grad()
            F.cross_entropy(model(X), y).backward()
            opt.step()
        model.eval()
        with torch.no_grad():
            hits = sum((model(X).argmax(1) == y).sum().item() for X, y in val)
        accuracies.append(hits / sum(len(y) for _, y in val))
    return accuracies
    ### END SOLUTION


# %% broken="normalization.fix-train-eval"
def fit(model: nn.Module, train: list, val: list, epochs: int, opt: torch.optim.Optimizer) -> list[float]:
    """Train for some epochs; validation accuracy after each."""
    accuracies = []
    model.train()
    for _ in range(epochs):
        for X, y in train:
            opt.zero_grad()
            F.cross_entropy(model(X), y).backward()
            opt.step()
        model.eval()
        with torch.no_grad():
            hits = sum((model(X).argmax(1) == y).sum().item() for X, y in val)
        accuracies.append(hits / sum(len(y) for _, y in val))
    return accuracies


# %% check="normalization.fix-train-eval"
_flags, _model = [], nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
_model.register_forward_hook(lambda m, args, out: _flags.append("train" if m.training else "eval"))
_batch = (torch.tensor([[0.0, 1.0], [2.0, 0.5], [1.0, 1.0]]), torch.tensor([0, 1, 1]))
_acc = fit(_model.eval(), [_batch, _batch], [_batch], 2, torch.optim.SGD(_model.parameters(), 0.1))
assert len(_acc) == 2, "one accuracy per epoch"
assert _flags[:3] == ["train", "train", "eval"], f"modes of epoch 1: {_flags[:3]}"
assert _flags[3:] == ["train", "train", "eval"], f"modes of epoch 2: {_flags[3:]}"

# %% [markdown]
# ### Exercise normalization.fix-frozen-backbone · difficulty 3 of 5 · 15 min · 3 points
#
# A pretrained backbone serves an old task with 96.0 % accuracy. A new head is trained on top of it, on brighter images, with every backbone weight frozen. Not one weight of the backbone changes. Yet afterwards the old task is down to 69.7 %. Repair
# `train_head(backbone, head, batches, opt)`.
#
# - `batches`: list of pairs `(X, y)` with at least 2 samples; the loss is the mean cross-entropy of `head(backbone(X))`; one optimizer step per batch, in order. `opt` holds the head's parameters.
# - The backbone may hold any layers, at any depth: Dropout, blocks with a BatchNorm inside. It must compute what it computes in eval mode, and nothing of it may change: no weight, no buffer; no gradients for its parameters either. The head is trained in train mode. Both may arrive in any mode.
# - Return the loss of each step, a list of floats.
#
# <details><summary>Hint 1</summary>Print <code>backbone.state_dict()</code> before and after. Which entries moved?</details>
# <details><summary>Hint 2</summary><code>requires_grad=False</code> speaks to the optimizer. Running statistics are not moved by the optimizer.</details>


# %% exercise="normalization.fix-frozen-backbone" points=3
def train_head(backbone: nn.Module, head: nn.Module, batches: list, opt: torch.optim.Optimizer) -> list[float]:
    """Train a head on a frozen backbone; the loss of each step."""
    ### BEGIN SOLUTION
    for p in backbone.parameters():
        p.requires_grad_(False)
    backbone.eval()
    head.train()
    losses = []
    for X, y in batches:
        loss = F.cross_entropy(head(backbone(X)), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION


# %% broken="normalization.fix-frozen-backbone"
def train_head(backbone: nn.Module, head: nn.Module, batches: list, opt: torch.optim.Optimizer) -> list[float]:
    """Train a head on a frozen backbone; the loss of each step."""
    for p in backbone.parameters():
        p.requires_grad_(False)
    backbone.train()
    head.train()
    losses = []
    for X, y in batches:
        loss = F.cross_entropy(head(backbone(X)), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


# %% check="normalization.fix-frozen-backbone"
_backbone, _head = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), nn.Linear(3, 2)
_before = copy.deepcopy(_backbone.state_dict())
_batch = (torch.tensor([[0.0, 1.0], [2.0, 0.5], [1.0, 4.0]]), torch.tensor([0, 1, 1]))
_losses = train_head(_backbone, _head, [_batch, _batch], torch.optim.SGD(_head.parameters(), 0.1))
assert len(_losses) == 2, "one loss per batch"
_moved = [k for k, v in _backbone.state_dict().items() if not torch.equal(v, _before[k])]
assert not _moved, f"these entries of the backbone moved: {_moved}"

# %% [markdown]
# ### Exercise normalization.fix-cancellation · difficulty 3 of 5 · 15 min · 3 points
#
# Somebody made LayerNorm faster: one pass, with $\sigma^2=\overline{x^2}-\overline{x}^2$. It passes all tests on data around 0. With 1000 float32 tokens of 64 features around 3000 and a standard deviation of 1, in our run 44 tokens came out as `nan`, and others had
# standard deviations between 0.7 and 385 instead of 1 (another seed gives other numbers). Repair `token_norm(x, gamma, beta, eps=1e-5)`.
#
# - `x`: float32 array $(\dots, d)$; `gamma`, `beta`: float32, shape $(d,)$. LayerNorm over the last axis with the population variance, `eps` under the root.
# - Right to within 0.02 for offsets up to $10^4$, for small spreads (0.01 around 30) and large ones (500 around 0), and for constant tokens; no warnings, no `nan`.
# - NumPy or torch arithmetic, no ready-made normalization. float64 inside is allowed, not needed.
#
# <details><summary>Hint 1</summary>float32 keeps about 7 digits. How many digits has $3000^2$, and how large is the variance you are after?</details>
# <details><summary>Hint 2</summary>Make the numbers small before you square them.</details>


# %% exercise="normalization.fix-cancellation" points=3
def token_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """LayerNorm over the last axis."""
    ### BEGIN SOLUTION
    centred = x - x.mean(axis=-1, keepdims=True)
    var = (centred * centred).mean(axis=-1, keepdims=True)
    return gamma * centred / np.sqrt(var + eps) + beta
    ### END SOLUTION


# %% broken="normalization.fix-cancellation"
def token_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """LayerNorm over the last axis."""
    mean = x.mean(axis=-1, keepdims=True)
    var = (x * x).mean(axis=-1, keepdims=True) - mean * mean
    return gamma * (x - mean) / np.sqrt(var + eps) + beta


# %% check="normalization.fix-cancellation"
_x = np.array([[1.0, 2.0, 4.0, 1.5]], np.float32)
_one, _zero = np.ones(4, np.float32), np.zeros(4, np.float32)
_near, _far = token_norm(_x, _one, _zero), token_norm(_x + np.float32(8192), _one, _zero)
assert np.allclose(_near.std(), 1, atol=1e-3), "near 0 the standard deviation should be 1"
assert np.allclose(_near, _far, atol=1e-2), f"an offset of 8192 changes the result from {_near[0]} to {_far[0]}"

# %% [markdown]
# ## Write the test
#
# A colleague sends a whole BatchNorm in one function:
#
# `batch_norm(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5)` → `(y, new_mean, new_var)`
#
# with the conventions of this chapter: `x` is an array $(N, C)$, the others have shape $(C,)$; population variance for the output, unbiased variance for the buffer, `momentum` weighs the new batch, `eps` under the root. With `training=False` the running
# statistics normalize and come back as they were. With `training=True`, $N\ge2$.
#
# ### Exercise normalization.test-batch-norm · difficulty 3 of 5 · 20 min · 4 points
#
# Write `check_batch_norm(batch_norm)`: it raises an `AssertionError` if the implementation is wrong, and returns nothing if it is right.
#
# - You will be given right implementations that round differently: compare with a tolerance.
# - The wrong ones make one mistake each: in one mode only, in one of the three results only, or by ignoring an argument. The lamps name them. Your score is the share you catch, less the right ones you reject.
#
# <details><summary>Hint 1</summary>Which inputs make a mistake visible? gamma 1, beta 0, momentum 0.1 and eps 1e-5 hide several.</details>
# <details><summary>Hint 2</summary>Compute all three results yourself, in both modes, for $N=5$, $C=3$, momentum 0.3 and eps 0.2.</details>


# %% exercise="normalization.test-batch-norm" points=4
def check_batch_norm(batch_norm: Callable) -> None:
    """Raise AssertionError unless `batch_norm` follows the conventions in both modes."""
    ### BEGIN SOLUTION
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 1.5, (5, 3))
    gamma, beta, mean, var = np.array([0.5, 2.0, 1.5]), np.array([1.0, -1.0, 0.5]), rng.normal(size=3), rng.uniform(0.5, 2, 3)
    for training in (True, False):
        used_mean, used_var = (x.mean(axis=0), x.var(axis=0)) if training else (mean, var)
        m = 0.3 if training else 0.0
        wanted = (
            gamma * (x - used_mean) / np.sqrt(used_var + 0.2) + beta,
            (1 - m) * mean + m * x.mean(axis=0),
            (1 - m) * var + m * x.var(axis=0, ddof=1),
        )
        got = batch_norm(x, gamma, beta, mean, var, training, momentum=0.3, eps=0.2)
        for name, a, b in zip(("output", "running mean", "running variance"), got, wanted):
            assert np.allclose(a, b), f"{name} is wrong with training={training}"
    ### END SOLUTION


# %% check="normalization.test-batch-norm"
def _torch_batch_norm(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    x, gamma, beta, mean, var = (torch.tensor(a) for a in (x, gamma, beta, running_mean, running_var))
    return F.batch_norm(x, mean, var, gamma, beta, training, momentum, eps).numpy(), mean.numpy(), var.numpy()


check_batch_norm(_torch_batch_norm)  # a right implementation must pass
try:
    check_batch_norm(lambda x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5: (x, running_mean, running_var))
except AssertionError:
    pass
else:
    raise AssertionError("your check lets the identity pass as BatchNorm")

# %% [markdown]
# ## Interview questions
#
# Answer aloud before you look at the options. A good answer names the axis, then the mode, then the consequence: "BatchNorm, over the batch, in train mode only; therefore a batch of two is noisy."

# %% quiz=true
# The build puts the questions here.

# %% [markdown]
# ## One-page recap
#
# | | to know by heart |
# |---|---|
# | formula | $\hat x=(x-\mu)/\sqrt{\sigma^2+\varepsilon}$, $y=\gamma\hat x+\beta$; population variance; $\varepsilon$ under the root; $\beta$ after $\gamma$ |
# | BatchNorm | over the batch, per channel (N, H, W). CNNs. Needs enough samples per device |
# | train mode | batch statistics; running ← 0.9 · running + 0.1 · batch; the stored variance is unbiased (Keras: 0.99 weighs the old value) |
# | eval mode | frozen running statistics; deterministic; independent of the batch. $\gamma$ and $\beta$ in both modes |
# | collapse at eval() | suspect the running statistics: too few steps, tiny batches, shifted data |
# | state | weight and bias are parameters; running_mean and running_var are buffers. Freezing weights does not freeze buffers |
# | LayerNorm, RMSNorm | over the features of one token; no state, same in both modes. RMSNorm: no mean, no beta, $x/\sqrt{\overline{x^2}+\varepsilon}$ |
# | GroupNorm, InstanceNorm | per image, blocks of channels or single channels. Small batches; style transfer |
# | bias before BatchNorm | cancelled by the batch mean: `bias=False`. Removing a trained one: `running_mean -= bias` |
# | several GPUs | DDP does not combine statistics (the running buffers are rank 0's): SyncBatchNorm (variance within plus between), or GroupNorm |
# | placement | pre-norm $x+F(\mathrm{N}(x))$: clean identity, stable, final norm at the end. Post-norm $\mathrm{N}(x+F(x))$: needs warmup when deep |
# | why it helps | a smoother loss surface and larger stable steps; "internal covariate shift" was the motivation, not the mechanism |
