# %% [markdown]
# # 19 · Efficiency and deployment: fewer bytes, fewer steps, fewer weights
#
# After this chapter you can say what limits a model's speed before you optimize it, compute with 8-bit integers without wrecking the result, size a KV cache on paper, and tell a real speedup from a zero that is still multiplied.
#
# | | |
# |---|---|
# | time | about 5 hours: 17 exercises, 21 questions |
# | builds on | chapter 5 (BatchNorm at test time), chapter 8 (KL and cross-entropy), chapter 16 (attention and its heads) |
# | you will be able to | place a layer on the roofline · quantize weights and activations, and find the layer that suffers · fold BatchNorm for export · plan the memory of a server · prove that speculative decoding leaves the distribution alone · distil and prune with a measured gain |

# %% setup=true
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn  # noqa: F401  for your own code


def mlp(Ws: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """A bias-free network: x (N, d) through each W (d_out, d_in), tanh after all layers but the last."""
    for W in Ws[:-1]:
        x = np.tanh(x @ W.T)
    return x @ Ws[-1].T


# %%
from utils import explore, predict, reveal
from utils.demos import efficiency as demos

# %% [markdown]
# ## What is the bottleneck?
#
# A trained model costs too much. Four levers make it cheaper: **quantize** (fewer bits a number), **distil** (another, smaller model), **prune** (fewer weights) and **cache** (do not compute twice).
# Which one helps depends on what you are short of: latency, memory or money. Pulling the wrong one costs weeks and changes nothing.
#
# So measure first. A layer does two things: it fetches numbers from memory, and it multiplies. The two overlap, so the slower one sets the time. Take a $4096\times4096$ layer in fp16 on a GPU with 989 TFLOP/s and 3.35 TB/s:

# %%
for tokens in (1, 4096):
    flops, moved = 2 * tokens * 4096**2, 2 * 4096**2 + 2 * tokens * 2 * 4096
    print(
        f"{tokens:5d} tokens: compute {1e6 * flops / 989e12:7.2f} µs, memory {1e6 * moved / 3.35e12:5.2f} µs, {flops / moved:6.1f} FLOP/byte"
    )

# %% [markdown]
# With one token, the arithmetic takes 0.03 µs and then waits 10 µs for the weights. With 4096 tokens the same weights are fetched once and used 4096 times: now the memory waits. Operations per byte moved are called
# **arithmetic intensity**. The border is the *ridge*, $989/3.35\approx295$ FLOP a byte.
#
# That is all you need to know about the two phases of a language model. **Prefill** reads the whole prompt in one pass: many tokens, compute-bound. **Decode** produces one token a pass and reloads all weights for it: memory-bound.

# %%
predict(
    "Weights in INT4 instead of fp16, 16-bit arithmetic as before, 4096 tokens in one pass (prefill). How much faster can the layer get?",
    ["4 times", "2 times", "not at all"],
    key="efficiency.roofline",
)

# %% demo="efficiency.roofline" covers="efficiency.bottleneck efficiency.tq06 efficiency.clears-up efficiency.hook"
explore(
    demos.roofline,
    alt="Roofline of a GPU: at one token, fp16, int8 and int4 weights lie on the bandwidth slope and take 10, 5 and 2.5 microseconds; beyond the ridge they coincide",
    tokens=[1, 8, 64, 512, 4096],
    weights=["fp16", "int8", "int4"],
)
fp16, int4 = (max(2 * 4096**3 / 989e12, (size * 4096**2 + 4 * 4096**2) / 3.35e12) for size in (2, 0.5))
reveal(
    f"{1e6 * fp16:.0f} µs against {1e6 * int4:.0f} µs: compute-bound, so saved bytes do not count",
    answer="not at all",
    key="efficiency.roofline",
)

# %% [markdown]
# **What to see.** At one token, INT4 weights take a quarter of the time: 2.5 µs instead of 10. **Try** 4096 tokens: the three points meet on the flat roof.
#
# You will often hear that any quantization speeds up inference. In fact *weight-only* formats move fewer bytes and then multiply in 16 bits, after an extra step of dequantization. That helps decode. In prefill it can be slower than fp16. Faster
# *arithmetic* needs weights and activations in a low-precision format, and hardware that multiplies in it.
#
# | phase | limit | what helps |
# |---|---|---|
# | prefill, large batches | arithmetic | INT8 or FP8 on tensor cores (weights *and* activations), FlashAttention |
# | decode, small batches | bandwidth | fewer bits a weight, larger batches, GQA, continuous batching |
#
# ### Exercise efficiency.roofline · difficulty 2 of 5 · 15 min · 3 points
#
# Write `roofline(tokens, d_in, d_out, w_bytes, a_bytes, peak_flops, bandwidth)` → `(intensity, seconds, bound)` for one linear layer without bias.
#
# - `tokens`: rows of the input in one pass. `w_bytes`, `a_bytes`: bytes of one weight and of one activation (0.5 is INT4). `peak_flops` in FLOP/s, `bandwidth` in bytes/s.
# - Operations: a multiplication and an addition for each token and each weight, counted as two.
# - Bytes: the weights once per pass; the input $(\text{tokens}, d_\text{in})$ and the output $(\text{tokens}, d_\text{out})$ once each.
# - `intensity`: operations per byte. `seconds`: the slower of computing and moving (they overlap). `bound`: the string `"compute"` or `"memory"`, whichever is slower; ties do not occur.
#
# `roofline(1, 4096, 4096, 2, 2, 989e12, 3.35e12)` is about `(0.9995, 1.002e-05, "memory")`.
#
# <details><summary>Hint 1</summary>Three matrices are moved. Which of them grow with the number of tokens?</details>
#
# <details><summary>Hint 2</summary>Seconds are the maximum of FLOP / peak and bytes / bandwidth.</details>


# %% exercise="efficiency.roofline" points=3
def roofline(
    tokens: int, d_in: int, d_out: int, w_bytes: float, a_bytes: float, peak_flops: float, bandwidth: float
) -> tuple[float, float, str]:
    """Arithmetic intensity, time and limiting resource of a linear layer."""
    ### BEGIN SOLUTION
    flops = 2 * tokens * d_in * d_out
    moved = w_bytes * d_in * d_out + a_bytes * tokens * (d_in + d_out)
    compute, memory = flops / peak_flops, moved / bandwidth
    return flops / moved, max(compute, memory), "compute" if compute > memory else "memory"
    ### END SOLUTION


# %% check="efficiency.roofline"
intensity_, seconds_, bound_ = roofline(1, 4096, 4096, 2, 2, 989e12, 3.35e12)
assert bound_ == "memory", "one token: the weights are fetched for a single use"
assert abs(intensity_ - 0.99951) < 1e-4, f"2 FLOP per 2-byte weight, a little less with activations: 0.9995, not {intensity_}"
assert abs(seconds_ * 1e6 - 10.021) < 1e-2, f"about 10 µs, not {seconds_ * 1e6}"
assert roofline(4096, 4096, 4096, 2, 2, 989e12, 3.35e12)[2] == "compute", "4096 tokens use each weight 4096 times"

# %% [markdown]
# ## Quantization: numbers on a grid
#
# A weight in fp32 takes 4 bytes. Replace it by a small integer $q$ and one shared step $s$, and it takes 1 byte or half a byte:
#
# $$q=\mathrm{round}\!\left(\frac ws\right),\qquad \hat w=q\,s,\qquad s=\frac{\max|w|}{2^{b-1}-1}$$
#
# Signed integers of $b$ bits, used symmetrically, run from $-(2^{b-1}-1)$ to $2^{b-1}-1$: ±127 for 8 bits, ±7 for 4. The largest weight defines the step. One outlier therefore makes the grid coarse for everyone who shares its step.
# The demo has eight rows of 64 weights with standard deviation 0.1, and a single weight of 1.0 in row 0.

# %% demo="efficiency.quantization" covers="efficiency.quant-formula efficiency.regimes efficiency.debug-int8 efficiency.hook"
explore(
    demos.grid,
    alt="Weights against restored weights at 4 bits: with one scale for all rows only six levels are used and every row has about 41 percent error",
    bits=(2, 8, 1, 4),
    outlier=(0.3, 3.0, 0.1, 1.0),
    scales=["per tensor", "per row"],
)

# %% [markdown]
# **What to see.** Of 15 levels, the seven harmless rows use six: their error is 41 % of their standard deviation. **Try** `per row`: only row 0 still pays for its outlier, and the mean error falls to 16 %. A scale a row costs one number a row.
#
# When $s$ comes from calibration data instead of the tensor itself, values beyond the range must be clipped to $\pm(2^{b-1}-1)$. Write the clip always; here it does no harm.
#
# ### Exercise efficiency.quantize · difficulty 2 of 5 · 20 min · 4 points
#
# Write `quantize_symmetric(w, bits, axis=None)` → `(q, w_hat)`.
#
# - `w`: float64 array with one to three axes. `bits` ≥ 2, also more than 8. `axis=None`: one scale for the whole array. Otherwise `axis` (0, 1 or 2) is the axis that is *kept*: one scale for each index along it, the maximum over all other axes.
# - `q`: the integers $\mathrm{round}(w/s)$ within $\pm(2^{b-1}-1)$, to the nearest; any numeric dtype. `w_hat`: $q\,s$. Both have the shape of `w`.
# - A channel of zeros (or an array of zeros) gives zeros, without a warning. All other channels follow the formula, however small they are. Ties at .5 do not occur.
# - torch's own fake-quantize functions may not be called.
#
# `quantize_symmetric(np.array([[0.4, -1.4], [7.0, 0.8]]), 4, axis=0)` gives `q = [[2, -7], [7, 1]]` and `w_hat = [[0.4, -1.4], [7., 1.]]`.
#
# <details><summary>Hint 1</summary>keepdims keeps the scale's shape such that it divides w by broadcasting.</details>
#
# <details><summary>Hint 2</summary>The axes to reduce are all but `axis`. Where the maximum is 0, any positive scale will do.</details>


# %% exercise="efficiency.quantize" points=4
def quantize_symmetric(w: np.ndarray, bits: int, axis: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Absmax quantization per tensor or per channel: integers and restored weights."""
    ### BEGIN SOLUTION
    top = 2 ** (bits - 1) - 1
    others = None if axis is None else tuple(a for a in range(w.ndim) if a != axis)
    s = np.abs(w).max(axis=others, keepdims=True) / top
    s = np.where(s == 0, 1.0, s)
    q = np.clip(np.round(w / s), -top, top)
    return q, q * s
    ### END SOLUTION


# %% check="efficiency.quantize"
w_ = np.array([[0.4, -1.4], [7.0, 0.8]])
q_, w_hat_ = quantize_symmetric(w_, 4, axis=0)
assert np.allclose(q_, [[2, -7], [7, 1]]), "row 0 has s = 0.2, row 1 has s = 1"
assert np.allclose(w_hat_, [[0.4, -1.4], [7, 1]]), "w_hat = q · s, row by row"
assert np.allclose(quantize_symmetric(w_, 4)[0], [[0, -1], [7, 1]]), "one scale: s = 1 for all"
assert np.allclose(quantize_symmetric(np.zeros((2, 2)), 8, 1)[1], 0), "zeros stay zeros"

# %% [markdown]
# ### A real network, measured
#
# Here is an MLP 64-64-32-10 that reads scikit-learn's digits at 97 % test accuracy. In fp32 its parameters take 26 kB. Round its weights after training (biases stay in fp32) and nothing else.

# %%
predict(
    "Weights of the digits network at 4 bits, one scale a matrix, no retraining. Test accuracy?",
    ["about 10 %: guessing", "about 60 %", "about 95 %", "97 %: no change"],
    key="efficiency.digits",
)

# %% demo="efficiency.digits" covers="efficiency.regimes efficiency.debug-int8"
explore(
    demos.digits_figure,
    alt="Accuracy of the digits network from 8 to 2 bits with its size in kilobytes, and the change of the logits when one layer alone is quantized",
    scales=["per tensor", "per row"],
)
accuracy, size, error = demos.quantized_digits(4)
reveal(
    f"{100 * accuracy:.1f} % with {size / 1000:.1f} kB; the logits changed by {100 * error:.0f} %",
    answer="about 95 %",
    key="efficiency.digits",
)

# %% [markdown]
# **What to see.** Eight bits: 6.9 kB, the same accuracy, logits off by 0.7 %. Four bits: logits off by about 20 %, and yet only some 2 points of accuracy are gone, because the largest logit mostly stays the largest. At two bits only −1, 0 and 1 times a step are left, and the
# network guesses. **Try** `per row`: at 4 bits the error falls from 19 to 12 %. The right panel shows that layers differ: at 5 bits the last layer alone does almost four times the damage of the second.
#
# This was **post-training quantization** (PTQ): minutes, no training, at most a few hundred examples for calibration. The alternatives:
#
# | method | what it does | choose it for |
# |---|---|---|
# | PTQ, absmax or calibrated | rounds a finished model | the first try, always; large models |
# | GPTQ | rounds weights one by one and lets the rest of the layer make up for the error (second order) | LLM weights in INT4, decode |
# | AWQ | scales up the few weight channels that large activations make important, before rounding | the same; neither of the two wins everywhere |
# | SmoothQuant | moves activation outliers into the weights, for W8A8 | INT8 tensor cores: prefill, large batches |
# | FP8 (E4M3, up to 448; E5M2) | floating point with 8 bits: a wider range for outliers; still needs scales | GPUs with FP8 units |
# | QAT | trains with rounding in the forward pass | INT4 or tiny models where PTQ loses too much |
#
# You will often read "GPTQ = GPU-based PTQ". In fact the name is the title of its paper: post-training quantization for *generative pre-trained transformers* (Frantar et al. 2022). And many listings call
# `torch.quantization.quantize_dynamic`: in torch 2.13 it runs with deprecation warnings; torchao is its successor.
#
# ## QAT: a gradient through a staircase
#
# Quantization-aware training needs the gradient of $\mathrm{round}$. It is 0 almost everywhere, so nothing would learn. The **straight-through estimator** uses the staircase forward and pretends backward that it was the identity, except where the value was clipped:
# a weight beyond the range moves and nothing happens, so its gradient is 0.
#
# ### Exercise efficiency.ste · difficulty 3 of 5 · 20 min · 3 points
#
# Write `fake_quant_ste(w, s, qm)` with torch.
#
# - `w`: float64 tensor of any shape; `s > 0`: a float; `qm`: a positive int.
# - Forward: $\mathrm{clamp}(\mathrm{round}(w/s),-q_m,q_m)\cdot s$, a tensor of the same shape.
# - Backward: the gradient for `w` is the incoming gradient where the *rounded* value lies in $[-q_m,q_m]$, else 0. So with $q_m=7$, $w/s=7.3$ rounds to 7 and passes; 7.7 does not.
# - Only the gradient for `w` counts. `torch.fake_quantize_per_tensor_affine` may not be called.
#
# With `s = 0.5, qm = 3`: `w = [0.6, 1.6, 1.9]` gives `[0.5, 1.5, 1.5]` and the gradient of its sum is `[1, 1, 0]`.
#
# <details><summary>Hint 1</summary>torch.autograd.Function has a forward and a backward of its own. There is also a way with detach().</details>
#
# <details><summary>Hint 2</summary>x + (y − x).detach() has the value y and the gradient of x. The mask decides where x may pass.</details>


# %% exercise="efficiency.ste" points=3
def fake_quant_ste(w: torch.Tensor, s: float, qm: int) -> torch.Tensor:
    """Quantize and restore `w`; the gradient passes straight through inside the range."""
    ### BEGIN SOLUTION
    rounded = torch.round(w / s).detach()
    value = rounded.clamp(-qm, qm) * s
    return torch.where(rounded.abs() <= qm, w + (value - w).detach(), value)
    ### END SOLUTION


# %% check="efficiency.ste"
w_ = torch.tensor([0.6, 1.6, 1.9], dtype=torch.float64, requires_grad=True)
out_ = fake_quant_ste(w_, 0.5, 3)
assert torch.allclose(out_, torch.tensor([0.5, 1.5, 1.5], dtype=torch.float64)), "forward: round, clamp, times s"
(2 * out_).sum().backward()
assert w_.grad is not None and w_.grad.tolist() == [2, 2, 0], (
    f"gradient {w_.grad}: twice the mask, 3.2 rounds to 3 and passes, 3.8 does not"
)

# %% [markdown]
# ## Outliers in the activations
#
# Weights are tame. Activations of large transformers are not: a few channels are 20 to 100 times larger than the rest, for every token. Those channels set the step for the whole row, and the others round to a handful of levels. That is the usual reason when INT8 costs accuracy.
#
# A scale per *channel* of $X$ would help, but it lies along the axis that the product sums over: $\sum_k X_{nk}W_{mk}$ with a factor that depends on $k$ cannot be pulled out. So SmoothQuant (Xiao et al. 2022) pushes the factor into the weights **before** quantizing:
#
# $$s_j=\frac{\max|X_{:j}|^{\alpha}}{\max|W_{:j}|^{1-\alpha}},\qquad X'_{:j}=\frac{X_{:j}}{s_j},\quad W'_{:j}=W_{:j}\,s_j,\qquad X'W'^\top=XW^\top$$
#
# You will often read that it "migrates the outliers into the weights". In fact it *shares* them: with $\alpha=\frac12$ both factors end with the same maximum in each channel. The product is exact; only the rounding that follows gets easier.

# %% demo="efficiency.smoothing" covers="efficiency.tq04 efficiency.debug-int8"
explore(
    demos.smoothing,
    alt="Channel maxima before and after smoothing: one activation channel 60 times too large becomes two channels of 20; the error falls from 2.0 to 0.8 percent",
    alpha=(0.0, 1.0, 0.05, 0.5),
)

# %% [markdown]
# **What to see.** The spike of about 150 in channel 5 becomes two bars near 19. The error of the 8-bit product falls from 2.0 % to 0.8 %. **Try** $\alpha=1$: now the weights have the spike.
#
# ### Exercise efficiency.smoothquant · difficulty 2 of 5 · 15 min · 3 points
#
# Write `smooth(X, W, alpha=0.5)` → `(s, X2, W2)`.
#
# - `X`: float64 $(N,K)$, activations. `W`: float64 $(M,K)$, weights; no column of either is all zero. `alpha` in $[0,1]$.
# - `s` $(K,)$ by the formula above, `X2` $(N,K)$, `W2` $(M,K)$. `X2 @ W2.T` equals `X @ W.T`.
#
# For `X = [[8., 1.]]`, `W = [[2., 1.]]`: `s = [2., 1.]`, `X2 = [[4., 1.]]`, `W2 = [[4., 1.]]`.
#
# <details><summary>Hint 1</summary>X and W share the axis of length K. Along which axis do you take the maximum to have one number for each k?</details>
#
# <details><summary>Hint 2</summary>Magnitudes over axis 0 in both; broadcasting along the last axis does the rest.</details>


# %% exercise="efficiency.smoothquant" points=3
def smooth(X: np.ndarray, W: np.ndarray, alpha: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per-channel factors that share outliers between activations and weights."""
    ### BEGIN SOLUTION
    s = np.abs(X).max(axis=0) ** alpha / np.abs(W).max(axis=0) ** (1 - alpha)  # (K,)
    return s, X / s, W * s
    ### END SOLUTION


# %% check="efficiency.smoothquant"
X_, W_ = np.array([[8.0, 1.0]]), np.array([[2.0, 1.0]])
s_, X2_, W2_ = smooth(X_, W_)
assert np.allclose(s_, [2, 1]), "sqrt(8 / 2) = 2 and sqrt(1 / 1) = 1"
assert np.allclose(X2_ @ W2_.T, X_ @ W_.T), "the product must not change"
assert np.allclose(smooth(X_, W_, alpha=1.0)[0], [8, 1]), "alpha = 1 moves everything: s = max|X|"

# %% [markdown]
# ### Which layer suffers?
#
# INT8 lost 9 points. Do not guess: quantize one layer at a time and look at the output. Then keep the worst layers (often the first and the last) in 16 bits, give weights a scale per channel, smooth the activations, and check that the calibration data look like the real ones. QAT
# is the last resort. Going to *fewer* bits or blaming the training data is not on the list: the fp16 model was fine.
#
# ### Exercise efficiency.sensitivity · difficulty 2 of 5 · 15 min · 3 points
#
# Write `layer_sensitivity(Ws, x, bits)` → `(errors, ranking)`.
#
# - `Ws`: a list of $L$ float64 matrices $(d_\text{out},d_\text{in})$ of a network without biases. `x`: float64 $(N,d)$. The set-up cell has `mlp(Ws, x)`: tanh after all layers but the last.
# - `errors[l]`: the mean, over all entries of the final output, of the squared change when *exactly* layer $l$ is quantized with absmax to `bits` bits, one scale for the whole matrix, and restored. No matrix is all zero.
# - `ranking`: the $L$ layer numbers from most to least sensitive. Lists or arrays, both are fine.
#
# `layer_sensitivity([np.array([[1.0, 0.4]]), np.array([[2.0]])], np.array([[0.0, 1.0]]), 2)`: layer 0 becomes `[[1, 0]]`, so its error is $(2\tanh 0.4)^2=0.5775$; layer 1 survives with error 0; the ranking is `[0, 1]`.
#
# <details><summary>Hint 1</summary>A loop over layers. What has to be restored before the next round?</details>
#
# <details><summary>Hint 2</summary>Copy the list, not the matrices: replace one entry by its quantized version.</details>


# %% exercise="efficiency.sensitivity" points=3
def layer_sensitivity(Ws: list[np.ndarray], x: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared change of the output when one layer is quantized, and the layers sorted by it."""
    ### BEGIN SOLUTION
    exact, errors = mlp(Ws, x), []
    for layer, W in enumerate(Ws):
        s = np.abs(W).max() / (2 ** (bits - 1) - 1)
        changed = [*Ws[:layer], np.round(W / s) * s, *Ws[layer + 1 :]]
        errors.append(((mlp(changed, x) - exact) ** 2).mean())
    return np.array(errors), np.argsort(errors)[::-1]
    ### END SOLUTION


# %% check="efficiency.sensitivity"
errors_, ranking_ = layer_sensitivity([np.array([[1.0, 0.4]]), np.array([[2.0]])], np.array([[0.0, 1.0]]), 2)
assert np.allclose(errors_, [(2 * np.tanh(0.4)) ** 2, 0]), "only 0.4 in layer 0 is rounded away; the output changes by 2 tanh 0.4"
assert list(ranking_) == [0, 1], "most sensitive layer first"

# %% [markdown]
# ## Export: a graph without training
#
# An exported inference graph is the frozen forward pass: no backward, no optimizer, the same order of layers. What an exporter may do is fuse neighbours. The classic: BatchNorm at test time has fixed statistics, so it is an affine map, and an affine map after a
# linear layer is one linear layer.
#
# $$\gamma\,\frac{(Wx+b)-\mu}{\sqrt{\mathrm{var}+\epsilon}}+\beta$$
#
# ### Exercise fqa.fold-bn · difficulty 2 of 5 · 10 min · 2 points
#
# Write `fold_bn(W, b, gamma, beta, mean, var, eps)` → `(W2, b2)` such that `W2 @ x + b2` equals the expression above for every `x`.
#
# - `W`: float64 $(O,I)$. `b`, `gamma`, `beta`, `mean`, `var` (non-negative): float64 $(O,)$. `eps`: a positive float. Results: $(O,I)$ and $(O,)$, exact to rounding also where `var` is small against `eps`.
# - torch's own fusing functions may not be called.
#
# With `W = [[2.]]`, `b = [1.]`, `gamma = [3.]`, `beta = [0.5]`, `mean = [5.]`, `var = [3.]`, `eps = 1.0`: `W2 = [[3.]]`, `b2 = [-5.5]`.
#
# <details><summary>Hint 1</summary>Multiply out. What stands in front of x, and what does not depend on x?</details>
#
# <details><summary>Hint 2</summary>One factor per output: it scales the rows of W.</details>


# %% exercise="fqa.fold-bn" points=2
def fold_bn(
    W: np.ndarray, b: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, var: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of a linear layer with the BatchNorm behind it folded in."""
    ### BEGIN SOLUTION
    factor = gamma / np.sqrt(var + eps)  # (O,)
    return W * factor[:, None], (b - mean) * factor + beta
    ### END SOLUTION


# %% check="fqa.fold-bn"
W2_, b2_ = fold_bn(*(np.array(a) for a in ([[2.0]], [1.0], [3.0], [0.5], [5.0], [3.0])), eps=1.0)
assert np.allclose(W2_, [[3.0]]), "scale 3 / sqrt(3 + 1) = 1.5, times 2"
assert np.allclose(b2_, [-5.5]), "(1 − 5) · 1.5 + 0.5"

# %% [markdown]
# ## The KV cache
#
# A decoder attends from the newest token to all tokens before it. Their keys and values do not change, so keep them. Without a cache every step is a full forward pass over $n$ tokens, with $O(n^2)$ attention. With one, a single query meets $n$ keys: $O(n)$ attention,
# and the projections of the prefix are saved too. Summed over $n$ tokens, attention costs $O(n^3)$ without and $O(n^2)$ with the cache.
#
# The price is memory, and it is easy to compute:
#
# $$\text{bytes}=2\cdot\text{layers}\cdot\text{KV heads}\cdot\text{head dim}\cdot\text{length}\cdot\text{batch}\cdot\text{bytes per number}$$
#
# The 2 stands for keys and values. You will often see "heads" in this formula, and no bytes. In fact it is the **KV heads**: with grouped-query attention a 70B model has 64 query heads but only 8 KV heads, and the cache is 8 times smaller.

# %%
for kv_heads in (64, 8):
    size = 2 * 80 * kv_heads * 128 * 4096 * 8 * 2
    print(f"{kv_heads:2d} KV heads, length 4096, batch 8, fp16: {size / 2**30:.0f} GiB = {size / 1e9:.1f} GB")

# %% demo="efficiency.kv" covers="efficiency.kv-memory efficiency.kv-methods efficiency.probe efficiency.tq05"
explore(
    demos.memory,
    alt="Memory of a 70B model against context length: 140 GB of weights, and a cache that crosses the 160 GB line at about 950 tokens with 64 KV heads at batch 8",
    batch=(1, 64, 1, 8),
    length=(512, 16384, 512, 4096),
    kv_heads=["64 (MHA)", "8 (GQA)", "1 (MQA)"],
    cache_bits=[16, 8],
)

# %% [markdown]
# **What to see.** The weights, 140 GB, fit into two GPUs of 80 GB. At batch 8 and length 4096 the cache wants another 86 GB: out of memory. **Try** 8 KV heads: 10.7 GB, and it fits. You will read that the cache "dwarfs the weights". In fact 86 GB is less than 140 GB. It need not be larger to be the binding constraint: it is what no longer fits *beside* them.
#
# | remedy | effect | price |
# |---|---|---|
# | GQA, MQA | fewer KV heads | training; a finished model can be converted with about 5 % of its pre-training compute (Ainslie et al. 2023) |
# | INT8 or FP8 cache | half the bytes | a little accuracy |
# | PagedAttention | no reserved but unused slots | a table look-up |
# | sliding window | bounded length | forgets what is far away |
# | FlashAttention | exact attention in $O(n)$ extra memory, fewer trips to memory | none in results; the cache keeps its size |
#
# ### Exercise efficiency.kv-bytes · difficulty 1 of 5 · 10 min · 2 points
#
# Write `kv_cache_bytes(layers, kv_heads, head_dim, seq, batch, dtype_bytes)` and `max_batch(gpu_bytes, weight_bytes, per_sequence_bytes)`.
#
# - All arguments are ints ≥ 1, all results ints, exact for large numbers too.
# - `kv_cache_bytes`: bytes of keys and values for all layers and sequences.
# - `max_batch`: how many sequences fit into what the weights leave of the memory; 0 if none does, also when the weights themselves do not fit.
#
# `kv_cache_bytes(80, 8, 128, 4096, 8, 2)` is 10737418240, exactly 10 GiB. `max_batch(100, 40, 25)` is 2, `max_batch(100, 140, 25)` is 0.
#
# <details><summary>Hint 1</summary>What is stored per token, in one layer, in one head? Twice how many numbers?</details>
#
# <details><summary>Hint 2</summary>// rounds down, below zero as well: −40 // 25 is −2.</details>


# %% exercise="efficiency.kv-bytes" points=2
def kv_cache_bytes(layers: int, kv_heads: int, head_dim: int, seq: int, batch: int, dtype_bytes: int) -> int:
    """Bytes of the KV cache."""
    ### BEGIN SOLUTION
    return 2 * layers * kv_heads * head_dim * seq * batch * dtype_bytes
    ### END SOLUTION


def max_batch(gpu_bytes: int, weight_bytes: int, per_sequence_bytes: int) -> int:
    """Sequences whose caches fit beside the weights."""
    ### BEGIN SOLUTION
    return max(0, gpu_bytes - weight_bytes) // per_sequence_bytes
    ### END SOLUTION


# %% check="efficiency.kv-bytes"
assert kv_cache_bytes(80, 8, 128, 4096, 8, 2) == 10 * 2**30, "exactly 10 GiB"
assert kv_cache_bytes(80, 64, 128, 4096, 8, 2) == 80 * 2**30, "64 KV heads: 80 GiB"
assert max_batch(100, 40, 25) == 2, "60 are left: two caches of 25, not three"
assert max_batch(100, 140, 25) == 0, "the weights alone do not fit"

# %% [markdown]
# ### Pages instead of reservations
#
# A server does not know how long an answer gets. If it reserves the maximum length for every request, most of the memory holds nothing. PagedAttention (vLLM, Kwon et al. 2023) cuts the cache into small blocks, as an operating system cuts memory into pages. A sequence owns a *block table*: which
# block of the pool holds its tokens 0 to $bs-1$, which the next $bs$, and so on. Blocks lie anywhere. Only the last one is partly empty.
#
# ### Exercise efficiency.paged-kv · difficulty 2 of 5 · 15 min · 3 points
#
# Write `paged_gather(pool, table, length)` and `waste(lengths, bs, max_len)`.
#
# - `pool`: float64 $(n_\text{blocks}, bs, d)$. `table`: a list of ints, exactly the blocks that a sequence of `length` ≥ 1 tokens needs, in the order of its tokens. `paged_gather` returns these tokens, $(\text{length}, d)$.
# - `waste` returns `(paged, reserved)`, two ints: slots (room for one token) that are allocated and not used, summed over all sequences, when each gets whole blocks of `bs` slots, and when each reserves `max_len`. `lengths`: a list of ints, $1\le n\le$ `max_len`.
#
# `waste([10, 4], 4, 32)` is `(2, 50)`: 12 slots for the first, 4 for the second; 64 when reserved.
#
# <details><summary>Hint 1</summary>NumPy can index the first axis with a list.</details>
#
# <details><summary>Hint 2</summary>Blocks of one sequence: the length divided by bs, rounded up. A length that fills its blocks wastes nothing.</details>


# %% exercise="efficiency.paged-kv" points=3
def paged_gather(pool: np.ndarray, table: list[int], length: int) -> np.ndarray:
    """The tokens of one sequence, collected from the blocks of the pool: (length, d)."""
    ### BEGIN SOLUTION
    return pool[table].reshape(-1, pool.shape[2])[:length]
    ### END SOLUTION


def waste(lengths: list[int], bs: int, max_len: int) -> tuple[int, int]:
    """Unused slots with blocks of `bs`, and with `max_len` reserved per sequence."""
    ### BEGIN SOLUTION
    paged = sum(math.ceil(n / bs) * bs - n for n in lengths)
    return paged, sum(max_len - n for n in lengths)
    ### END SOLUTION


# %% check="efficiency.paged-kv"
pool_ = np.arange(12.0).reshape(3, 2, 2)  # three blocks of two tokens
assert paged_gather(pool_, [2, 0], 3).tolist() == [[8, 9], [10, 11], [0, 1]], "block 2, then the first token of block 0"
assert waste([10, 4], 4, 32) == (2, 50), "12 − 10 and 4 − 4; 64 − 14"

# %% [markdown]
# ### Batches that do not wait
#
# Decode is memory-bound, so serving several requests in one pass is nearly free. But requests have different lengths. A **static** batch starts together and returns together: short requests wait for the longest. **Continuous** batching refills a slot as soon as its request is done.

# %% demo="efficiency.serving" covers="efficiency.kv-methods efficiency.tq07"
explore(
    demos.gantt,
    alt="Seven requests on two slots: static batching needs 28 steps with the slots busy 61 percent of the time, continuous batching 17 steps and 100 percent",
    slots=[2, 3, 4],
    spread=(0.0, 2.0, 0.5, 1.0),
)

# %% [markdown]
# **What to see.** The same work, 28 steps against 17. **Try** `spread` 0: with equal lengths only the last batch leaves a gap. What continuous batching improves is throughput, and the waiting time in a crowd. A single request alone on the server gains nothing.
#
# ### Exercise efficiency.batching · difficulty 3 of 5 · 20 min · 3 points
#
# Write `simulate(lengths, slots, mode)` → `(steps, finish)`.
#
# - `lengths`: a list (not empty) of ints ≥ 1, tokens per request. All are waiting at step 0, served in the order of the list. In one step each occupied slot produces one token. `slots` ≥ 1.
# - `"static"`: the next `slots` requests form a batch; all are returned when the longest is done; then the next batch starts.
# - `"continuous"`: a request is returned when it is done, and its slot takes the next request in the following step.
# - `finish[i]`: number of steps after which request $i$ is returned, ints, list or array. `steps`: the total, an int.
#
# `simulate([3, 1, 2], 2, "static")` is `(5, [3, 3, 5])`; `"continuous"` gives `(3, [3, 1, 3])`.
#
# <details><summary>Hint 1</summary>For the continuous mode it is enough to know when each slot gets free.</details>
#
# <details><summary>Hint 2</summary>The next request goes to the slot with the smallest free time; its new free time is the old one plus the length.</details>


# %% exercise="efficiency.batching" points=3
def simulate(lengths: list[int], slots: int, mode: str) -> tuple[int, list[int]]:
    """Total steps and finish time of each request under "static" or "continuous" batching."""
    ### BEGIN SOLUTION
    finish, now = [], 0
    if mode == "static":
        for first in range(0, len(lengths), slots):
            batch = lengths[first : first + slots]
            now += max(batch)
            finish += [now] * len(batch)
        return now, finish
    free = [0] * slots
    for n in lengths:
        slot = free.index(min(free))
        free[slot] += n
        finish.append(free[slot])
    return max(finish), finish
    ### END SOLUTION


# %% check="efficiency.batching"
steps_, finish_ = simulate([3, 1, 2], 2, "static")
assert (steps_, list(finish_)) == (5, [3, 3, 5]), "batch {3, 1} takes 3 steps, then {2}"
steps_, finish_ = simulate([3, 1, 2], 2, "continuous")
assert (steps_, list(finish_)) == (3, [3, 1, 3]), "request 2 takes the slot that gets free after step 1"

# %% [markdown]
# **Too big for one GPU?** Tensor parallelism splits every matrix and needs an all-reduce per layer: keep it inside a node, on NVLink. Pipeline parallelism gives each node some of the layers and sends activations once per stage: less traffic, but bubbles and latency. Hence: tensor inside, pipeline between.

# %% [markdown]
# ## Speculative decoding: guess cheaply, verify in one pass
#
# Decode loads all weights to produce one token. Scoring five tokens in that pass would cost about the same. So let a small **draft** model guess $k$ tokens, one after the other, and let the **target** model score all of them at once.
#
# You will often read: "accept the longest prefix on which the two models agree". In fact that is the rule for *greedy* decoding only. For sampling, let $p$ be the target's distribution at a position and $q$ the draft's. The drafted token $t$ is accepted with
#
# $$\min\!\left(1,\frac{p_t}{q_t}\right),\qquad\text{and on rejection a token is drawn from}\qquad \frac{\max(p-q,0)}{\sum\max(p-q,0)}$$
#
# Tokens that the draft proposes too often are thinned out. Tokens that it proposes too rarely get the mass that is missing. Add the two ways in which token $t$ can appear, and the result is exactly $p_t$:

# %%
p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.7, 0.1])
accept, missing = np.minimum(1, p / q), np.maximum(p - q, 0)
rejected = 1 - (q * accept).sum()
print(
    "accepted part",
    q * accept,
    " + resampled part",
    rejected * missing / missing.sum(),
    " = ",
    q * accept + rejected * missing / missing.sum(),
)

# %% [markdown]
# If all $k$ drafts are accepted, the target has already scored one more position: a bonus token, free of charge. If one is rejected, the drafts after it were made for another prefix. Throw them away.
#
# ### Exercise efficiency.speculative · difficulty 4 of 5 · 30 min · 5 points
#
# Write `accept_and_residual(p, q)` → `(accept, residual)` and `speculative_step(P, Q, draft, u, u_resample)` → list of ints. The random numbers are given, so results are exact.
#
# - `p`, `q`: float64 $(V,)$, distributions of target and draft; all $q>0$; $p\ne q$. `accept` $(V,)$: acceptance probability of each token. `residual` $(V,)$: the distribution after a rejection.
# - `P`: $(k+1,V)$, target distributions at the $k$ drafted positions and the one after. `Q`: $(k,V)$, draft distributions. `draft`: list of $k$ tokens. `u`: list of $k$ uniforms in $[0,1)$. No row of `P` equals its row of `Q`.
# - Go through the drafts in order. Draft $i$ is accepted if `u[i]` is below its acceptance probability. At the first rejection append one token drawn from that row's residual and stop. If all are accepted, append one token drawn from `P[k]`.
# - "Drawn" means, with `u_resample` in $[0,1)$: the first token whose cumulative probability exceeds `u_resample`.
#
# For the `p`, `q` above: `accept = [1, 0.4286, 1]`, `residual = [0.75, 0, 0.25]`. With `P = [p, q]`, `Q = [q]`, `draft = [1]`, `u_resample = 0.8`: `u = [0.4]` accepts and gives `[1, 1]`; `u = [0.5]` rejects and gives `[2]`.
#
# <details><summary>Hint 1</summary>Two exits: one inside the loop, one after it. Both append exactly one drawn token.</details>
#
# <details><summary>Hint 2</summary>np.searchsorted(np.cumsum(r), u, side="right") is the first index with a cumulative sum above u.</details>


# %% exercise="efficiency.speculative" points=5
def accept_and_residual(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Acceptance probability of each token, and the distribution to sample from after a rejection."""
    ### BEGIN SOLUTION
    missing = np.maximum(p - q, 0)
    return np.minimum(1, p / q), missing / missing.sum()
    ### END SOLUTION


def speculative_step(P: np.ndarray, Q: np.ndarray, draft: list[int], u: list[float], u_resample: float) -> list[int]:
    """Tokens of one round: accepted drafts and one token more."""
    ### BEGIN SOLUTION
    law = P[-1]
    accepted = len(draft)
    for i, token in enumerate(draft):
        accept, residual = accept_and_residual(P[i], Q[i])
        if u[i] >= accept[token]:
            law, accepted = residual, i
            break
    last = int(np.searchsorted(np.cumsum(law), u_resample, side="right"))
    return [*draft[:accepted], last]
    ### END SOLUTION


# %% check="efficiency.speculative"
p_, q_ = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.7, 0.1])
accept_, residual_ = accept_and_residual(p_, q_)
assert np.allclose(accept_, [1, 3 / 7, 1]), "min(1, p/q)"
assert np.allclose(residual_, [0.75, 0, 0.25]), "max(p − q, 0) = [0.3, 0, 0.1], normalised"
P_, Q_ = np.stack([p_, q_]), q_[None]
assert speculative_step(P_, Q_, [1], [0.4], 0.8) == [1, 1], "0.4 < 3/7: accepted; the extra token from P[1]"
assert speculative_step(P_, Q_, [1], [0.5], 0.8) == [2], "0.5 > 3/7: rejected; token 2 from the residual"

# %% [markdown]
# ### What it brings
#
# Let each draft be accepted with probability $a$, independently. Acceptance stops at the first rejection, so a round yields on average
#
# $$1+a+a^2+\dots+a^k=\frac{1-a^{k+1}}{1-a}\ \text{tokens, at the cost of}\ c\,k+1\ \text{target passes}$$
#
# where $c$ is the cost of one draft pass in target passes (Leviathan et al. 2023).

# %% demo="efficiency.speculation" covers="efficiency.tq10 efficiency.kv-methods"
explore(
    demos.speculation,
    alt="Speedup over acceptance probability and draft length: below 1 at an acceptance of 0.3 with five or more drafts, above 3 only beyond 0.87",
    draft_cost=(0.0, 0.5, 0.05, 0.1),
)

# %% [markdown]
# **What to see.** At an acceptance of 0.8 and five drafts, 3.69 tokens a round and a speedup of 2.5. At 0.3, five drafts already lose. Left of the line 1× speculation is a loss. **Try** a draft cost of 0.5.
#
# The text never gets better or worse: the distribution is the target's. Only time changes. At a large batch the target is compute-bound and verification is no longer free, so the gain shrinks or turns negative.
#
# ### Exercise efficiency.speculative-speedup · difficulty 1 of 5 · 10 min · 2 points
#
# Write `speculative_speedup(alpha, k, c)` → `(tokens, speedup)`, two floats.
#
# - `alpha` in $[0,1]$, both ends included: acceptance probability. `k` ≥ 1: drafted tokens a round. `c` ≥ 0: cost of a draft pass, in target passes.
# - `tokens`: expected tokens a round. `speedup`: over plain decoding, which makes one token a target pass.
#
# `speculative_speedup(0.8, 5, 0.1)` is `(3.68928, 2.45952)`; at `alpha = 1` all $k+1$ tokens come.
#
# <details><summary>Hint 1</summary>What is the closed form at alpha = 1?</details>
#
# <details><summary>Hint 2</summary>Sum k + 1 powers, or treat 1 as a case of its own.</details>


# %% exercise="efficiency.speculative-speedup" points=2
def speculative_speedup(alpha: float, k: int, c: float) -> tuple[float, float]:
    """Expected tokens a round, and speedup over plain decoding."""
    ### BEGIN SOLUTION
    tokens = float(sum(alpha**i for i in range(k + 1)))
    return tokens, tokens / (c * k + 1)
    ### END SOLUTION


# %% check="efficiency.speculative-speedup"
assert np.allclose(speculative_speedup(0.8, 5, 0.1), (3.68928, 2.45952)), "six powers of 0.8, then divided by 1.5"
assert np.allclose(speculative_speedup(1.0, 4, 0.0), (5, 5)), "alpha = 1: all four drafts and the bonus"
assert np.allclose(speculative_speedup(0.0, 4, 0.25), (1, 0.5)), "alpha = 0: one token for the price of two passes"

# %% [markdown]
# ## Distillation: learn from what the teacher almost said
#
# Quantization changes bits. It cannot turn twelve layers into four. **Distillation** can: train a small student on the outputs of a strong teacher. A label says "3". The teacher says "3, perhaps 8, surely not 1": relations between classes that no label carries. A temperature $T$ makes them visible.

# %% demo="efficiency.temperature" covers="efficiency.distill efficiency.kd-loss"
explore(
    demos.temperature,
    alt="A teacher's class probabilities at temperature 4, and the norm of the soft gradient, which falls like one over T squared unless multiplied by T squared",
    T=(1.0, 20.0, 0.5, 4.0),
)

# %% [markdown]
# **What to see.** At $T=4$ the classes 8 and 5 rise out of the noise. The right panel shows the catch: from about $T=4$ on, the gradient of the soft part falls like $1/T^2$. One $1/T$ comes from the chain rule through $z/T$, the other because the two softened distributions approach each other. **Try** $T=1$: the teacher says little more than the label.
#
# The loss of Hinton et al. (2015) multiplies the soft part by $T^2$, so that the balance with the labels survives a change of $T$:
#
# $$L=\alpha\,T^2\,\mathrm{KL}\bigl(\mathrm{softmax}(z_T/T)\,\|\,\mathrm{softmax}(z_S/T)\bigr)+(1-\alpha)\,\mathrm{CE}(z_S,y)$$
#
# You repair a broken version of it in the debug clinic. Distil when you want another architecture and have data, a teacher and time to train. Then quantize the student: the two act on different things and add up.
#
# ## Pruning: zeros are not free
#
# Set the 90 % smallest weights to zero and keep the matrix. Or remove 90 % of the neurons. The first keeps more accuracy. What about time? The next cell measures a $1024\times1024$ layer on your machine.

# %%
predict(
    "90 % of the single weights of a dense matrix are zero. How much faster is the matrix product?",
    ["about 10 times", "about 3 times", "about the same"],
    key="efficiency.pruned",
)

# %% demo="efficiency.pruned" covers="efficiency.sparsity-gotcha efficiency.pruning"
explore(
    demos.pruned_figure,
    alt="Measured times: a matrix with 90 percent zeros takes as long as a dense one, the one with 90 percent of its rows removed is many times faster",
)
times = demos.pruned_times()
reveal(
    f"dense {1e3 * times['dense']:.2f} ms, with zeros {1e3 * times['90 % zeros']:.2f} ms, rows removed {1e3 * times['90 % of rows gone']:.2f} ms",
    answer="about the same",
    key="efficiency.pruned",
)

# %% [markdown]
# **What to see.** The zeros change nothing beyond noise; the smaller matrix is faster by about the share that was removed, or more. **Try** the cell twice and watch how far a measurement wanders.
#
# | | unstructured | structured |
# |---|---|---|
# | removes | single weights, the smallest first | neurons, channels, heads, layers |
# | result | the same shape with zeros | a smaller dense model |
# | speed | none in dense kernels; 2:4 on NVIDIA tensor cores up to 2× | everywhere |
# | loss at the same share | smaller | larger; train on afterwards |
#
# You will often read that unstructured pruning saves memory. In fact only a sparse format saves it: a mask on a dense tensor saves nothing, and CSR with 32-bit indices needs 8 bytes per kept fp32 weight, so it wins only above 50 % zeros. And
# `torch.nn.utils.prune.ln_structured` does not shrink anything: it masks whole rows. Removing the rows, and the matching columns of the next layer, is your job.
#
# The **lottery ticket hypothesis** (Frankle and Carbin 2019) is about training: a dense network contains a sparse one that, trained alone from its *original* initial weights, does about as well. It is found by magnitude pruning, in rounds.
#
# ### Exercise efficiency.prune-unstructured · difficulty 2 of 5 · 20 min · 3 points
#
# Write `global_prune(ws, amount)` → list of masks and `prune_2_4(w)` → mask. A mask has the shape of its matrix, 1 where a weight is kept and 0 where it is pruned, in any numeric or boolean dtype.
#
# - `ws`: list of float64 matrices. Remove the share `amount` (strictly between 0 and 1) of *all weights together* with the smallest magnitude, with one threshold for all matrices. `amount` times the number of weights is a whole number, up to the rounding of floats.
# - `w`: float64 $(M,K)$, $K$ a multiple of 4. In each group of four neighbours along a row (columns 0–3, 4–7, …) keep the two with the largest magnitude.
# - No two magnitudes are equal. `torch.nn.utils.prune` may not be called.
#
# `global_prune([np.array([[3., -2.]]), np.array([[0.1, -0.4]])], 0.5)` is `[[[1, 1]], [[0, 0]]]`; `prune_2_4(np.array([[1., -5., 2., 0.]]))` is `[[0, 1, 1, 0]]`.
#
# <details><summary>Hint 1</summary>For the threshold, put the magnitudes of all matrices into one array.</details>
#
# <details><summary>Hint 2</summary>reshape(-1, 4) makes each group a row; then only the order within rows counts.</details>


# %% exercise="efficiency.prune-unstructured" points=3
def global_prune(ws: list[np.ndarray], amount: float) -> list[np.ndarray]:
    """Masks that drop the smallest magnitudes of all matrices together."""
    ### BEGIN SOLUTION
    magnitudes = np.sort(np.concatenate([np.abs(w).ravel() for w in ws]))
    threshold = magnitudes[round(amount * magnitudes.size)]  # the smallest that stays
    return [(np.abs(w) >= threshold).astype(float) for w in ws]
    ### END SOLUTION


def prune_2_4(w: np.ndarray) -> np.ndarray:
    """Mask that keeps the two largest magnitudes of each four neighbours in a row."""
    ### BEGIN SOLUTION
    groups = np.abs(w).reshape(-1, 4)
    mask = np.zeros_like(groups)
    np.put_along_axis(mask, groups.argsort(axis=1)[:, 2:], 1.0, axis=1)
    return mask.reshape(w.shape)
    ### END SOLUTION


# %% check="efficiency.prune-unstructured"
masks_ = global_prune([np.array([[3.0, -2.0]]), np.array([[0.1, -0.4]])], 0.5)
assert np.array_equal(masks_[0], [[1, 1]]), "3 and −2 are the two largest magnitudes of all four"
assert np.array_equal(masks_[1], [[0, 0]]), "the matrix with small weights loses everything"
assert np.array_equal(prune_2_4(np.array([[1.0, -5.0, 2.0, 0.0]])), [[0, 1, 1, 0]]), "−5 and 2 stay"

# %% [markdown]
# ### Exercise efficiency.prune-structured · difficulty 2 of 5 · 15 min · 3 points
#
# A network computes $W_2\,f(W_1x+b_1)$ with an elementwise $f$. Write `prune_neurons(W1, b1, W2, keep)` → `(W1s, b1s, W2s)`.
#
# - `W1`: float64 $(H,D)$, `b1`: $(H,)$, `W2`: $(O,H)$, $1\le$ `keep` $<H$.
# - Keep the `keep` hidden neurons whose *incoming* weights (their row of `W1`, without the bias) have the largest L2 norm; no two norms are equal. Remove the others everywhere: shapes $(\text{keep},D)$, $(\text{keep},)$, $(O,\text{keep})$.
# - The order of the kept neurons is free, but it is the same in all three results. The small network computes what the large one would without the contributions of the removed neurons.
# - `torch.nn.utils.prune` may not be called.
#
# With `W1 = [[3., 0.], [1., 1.], [2., 2.5]]`, `b1 = [1., 2., 3.]`, `W2 = [[5., 6., 7.]]`, `keep = 2`: neurons 0 and 2 stay, `b1s = [1., 3.]`, `W2s = [[5., 7.]]`.
#
# <details><summary>Hint 1</summary>Where does neuron i occur? Once as a row, once as an entry, once as a column.</details>
#
# <details><summary>Hint 2</summary>One array of indices, used three times.</details>


# %% exercise="efficiency.prune-structured" points=3
def prune_neurons(W1: np.ndarray, b1: np.ndarray, W2: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both layers with only the `keep` strongest hidden neurons."""
    ### BEGIN SOLUTION
    kept = np.argsort(np.linalg.norm(W1, axis=1))[-keep:]
    return W1[kept], b1[kept], W2[:, kept]
    ### END SOLUTION


# %% check="efficiency.prune-structured"
W1s_, b1s_, W2s_ = prune_neurons(np.array([[3.0, 0.0], [1.0, 1.0], [2.0, 2.5]]), np.array([1.0, 2.0, 3.0]), np.array([[5.0, 6.0, 7.0]]), 2)
assert W1s_.shape == (2, 2) and b1s_.shape == (2,) and W2s_.shape == (1, 2), "two neurons are left in all three"
assert sorted(b1s_.tolist()) == [1, 3], "norms 3, 1.41, 3.20: neurons 0 and 2 stay, with their own biases"
assert sorted(W2s_[0].tolist()) == [5, 7], "and with their own columns of W2"

# %% [markdown]
# ## Debug clinic
#
# Three programs that run and are wrong. Read the symptom, find the causes, repair.
#
# ### Exercise efficiency.kd-loss · difficulty 3 of 5 · 20 min · 4 points
#
# **Symptom.** The student learns as if there were no teacher, only more slowly. The distillation part of the loss is *negative*, and its gradient fades when $T$ grows. There are six faults in two lines.
#
# Repair `kd_loss(z_student, z_teacher, y, T=4.0, alpha=0.7)` so that it is the loss of the distillation section.
#
# - `z_student`, `z_teacher`: float64 tensors $(B,C)$ of logits, `y`: int64 $(B,)$. A scalar tensor through which gradients reach the student. The teacher's logits come without a gradient; whether you detach them is up to you.
# - Both parts are means over the examples. `alpha` in $[0,1]$ weights the soft part with its $T^2$.
# - Finite for logits of some thousands. All of torch is allowed.
#
# With equal logits for both, the loss is $(1-\alpha)$ times the cross-entropy. For `z_student = [[0., 0.]]`, `z_teacher = [[4., 0.]]`, `y = [0]` and the defaults it is 1.4505.
#
# <details><summary>Hint 1</summary>Read which of the two distributions F.kl_div expects first, in which form, and what its default reduction divides by.</details>
#
# <details><summary>Hint 2</summary>Faults: order of the two distributions, log missing, reduction, factor T², which part gets alpha, temperature in the hard part.</details>


# %% exercise="efficiency.kd-loss" points=4
def kd_loss(z_student: torch.Tensor, z_teacher: torch.Tensor, y: torch.Tensor, T: float = 4.0, alpha: float = 0.7) -> torch.Tensor:
    """Distillation loss from logits (B, C) and labels (B,)."""
    ### BEGIN SOLUTION
    soft = F.kl_div(F.log_softmax(z_student / T, -1), F.log_softmax(z_teacher / T, -1), log_target=True, reduction="batchmean")
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(z_student, y)
    ### END SOLUTION


# %% broken="efficiency.kd-loss"
def kd_loss(z_student: torch.Tensor, z_teacher: torch.Tensor, y: torch.Tensor, T: float = 4.0, alpha: float = 0.7) -> torch.Tensor:
    """Distillation loss from logits (B, C) and labels (B,)."""
    soft = F.kl_div(F.softmax(z_teacher / T, -1), F.softmax(z_student / T, -1))
    return (1 - alpha) * soft + alpha * F.cross_entropy(z_student / T, y)


# %% check="efficiency.kd-loss"
z_, y_ = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], dtype=torch.float64), torch.tensor([2, 0])
assert torch.isclose(kd_loss(z_, z_, y_), 0.3 * F.cross_entropy(z_, y_)), "the student agrees with the teacher: only 0.3 · CE is left"
s_, t_ = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[4.0, 0.0]], dtype=torch.float64)
assert abs(kd_loss(s_, t_, torch.tensor([0])).item() - 1.4505) < 1e-3, "0.7 · 16 · KL + 0.3 · log 2"
assert kd_loss(s_, t_, torch.tensor([0]), alpha=1.0) > 0, "KL is never negative"

# %% [markdown]
# ### Exercise efficiency.w8a8 · difficulty 3 of 5 · 20 min · 4 points
#
# **Symptom.** This INT8 layer returns numbers that are far too small, with random signs, even for a single input feature. And after the first repair one outlier token still ruins all the others. Two faults.
#
# Repair `int8_linear(x, w)`: quantize both factors, multiply integers, undo the scales.
#
# - `x`: float64 $(N,K)$; one scale per token (row). `w`: float64 $(M,K)$; one scale per output channel (row). No row is all zero. $K$ up to some hundreds.
# - Scales are $\max|\cdot|/127$, integers are rounded to the nearest. The sum over $K$ is exact (int32 is enough). The result is float64 $(N,M)$: the integer product times both scales. It is compared to $10^{-7}$ with this integer arithmetic, and it is within about 2 % of `x @ w.T`.
#
# `int8_linear(np.array([[1., 0.4]]), np.array([[1.2, 4.]]))` is `[[2.8031]]`: integers $[127, 51]\cdot[38,127]=11303$, times $1/127$, times $4/127$. The exact product is 2.8. Halves do not occur in the inputs.
#
# <details><summary>Hint 1</summary>What is 100 · 100 in int8? Print the dtype of the product.</details>
#
# <details><summary>Hint 2</summary>keepdims=True makes scales of shape (N, 1) and (M, 1). For the result the second one has to lie along columns.</details>


# %% exercise="efficiency.w8a8" points=4
def int8_linear(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x @ w.T with 8-bit integers: per-token and per-channel scales, 32-bit sums."""
    ### BEGIN SOLUTION
    s_x = np.abs(x).max(axis=1, keepdims=True) / 127  # (N, 1)
    s_w = np.abs(w).max(axis=1, keepdims=True) / 127  # (M, 1)
    q_x = np.round(x / s_x).astype(np.int8)
    q_w = np.round(w / s_w).astype(np.int8)
    total = q_x.astype(np.int32) @ q_w.astype(np.int32).T  # (N, M)
    return total * s_x * s_w.T
    ### END SOLUTION


# %% broken="efficiency.w8a8"
def int8_linear(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x @ w.T with 8-bit integers."""
    s_x, s_w = np.abs(x).max() / 127, np.abs(w).max() / 127
    q_x = np.round(x / s_x).astype(np.int8)
    q_w = np.round(w / s_w).astype(np.int8)
    return (q_x @ q_w.T) * s_x * s_w


# %% check="efficiency.w8a8"
rng_ = np.random.default_rng(0)
x_, w_ = rng_.normal(size=(6, 64)), rng_.normal(size=(5, 64))
x_[2] *= 100  # an outlier token
error_ = np.linalg.norm(int8_linear(x_, w_) - x_ @ w_.T, axis=1) / np.linalg.norm(x_ @ w_.T, axis=1)
assert error_[2] < 0.03, f"the outlier token is off by {100 * error_[2]:.0f} %: look at the accumulator"
assert error_.max() < 0.03, f"an ordinary token is off by {100 * error_.max():.0f} %: one scale per token"

# %% [markdown]
# Note where this differs from weight-only quantization. There, weights are dequantized and multiplied in 16 bits. Here the integers themselves are multiplied, and the scales come last. W8A8 also halves the bytes of the weights compared with fp16, so it helps decode as well.
#
# ### Exercise thirty.speculative-loop · difficulty 4 of 5 · 25 min · 4 points
#
# **Symptom.** This greedy speculative loop was meant to give the target's own greedy text with fewer target passes. It repeats one token. The target never sees a draft, and nothing that was verified is kept.
#
# Repair `speculative_decode(draft, target, prompt, n, k)` → `(tokens, target_calls)`.
#
# - `draft` and `target` are functions: 1-D int64 tensor of $T\ge1$ tokens → logits $(T,V)$; row $i$ scores token $i+1$ from tokens $0..i$. `prompt`: 1-D int64 tensor, not empty. `n`, `k` ≥ 1.
# - A round: the draft continues the text greedily by $k$ tokens (fewer at the end, if you like). The target sees text plus drafts, **once**. Keep the drafts up to the first one that is not the target's argmax; then append the target's own token for the next position, the correction or the bonus.
# - `tokens`: exactly the first `n` new tokens (list or tensor), without the prompt; they equal plain greedy decoding of the target. `target_calls`: how often `target` was called, an int. Every round uses what its one call has computed: with a perfect draft and $k=4$, 13 tokens take 3 calls.
#
# <details><summary>Hint 1</summary>At which row of the target's logits is the first draft judged? The last prompt token is at position len(prompt) − 1.</details>
#
# <details><summary>Hint 2</summary>The target's argmaxes from that row on are k + 1 tokens: compare the first k with the drafts, keep one more than agree.</details>


# %% exercise="thirty.speculative-loop" points=4
def speculative_decode(draft: Callable, target: Callable, prompt: torch.Tensor, n: int, k: int) -> tuple[list[int], int]:
    """Greedy speculative decoding: n tokens after the prompt, and the number of target passes."""
    ### BEGIN SOLUTION
    text, calls = prompt, 0
    while len(text) < len(prompt) + n:
        tried = text
        for _ in range(k):
            tried = torch.cat([tried, draft(tried)[-1:].argmax(-1)])
        choice = target(tried)[len(text) - 1 :].argmax(-1)  # (k + 1,)
        calls += 1
        agree = 0
        while agree < k and tried[len(text) + agree] == choice[agree]:
            agree += 1
        text = torch.cat([text, choice[: agree + 1]])
    return text[len(prompt) : len(prompt) + n].tolist(), calls
    ### END SOLUTION


# %% broken="thirty.speculative-loop"
def speculative_decode(draft: Callable, target: Callable, prompt: torch.Tensor, n: int, k: int) -> tuple[list[int], int]:
    """Greedy speculative decoding: n tokens after the prompt, and the number of target passes."""
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
    return generated, calls


# %% check="thirty.speculative-loop"
def count_up_(ids):  # always predicts token + 1 (mod 10)
    return F.one_hot((ids + 1) % 10, 10).float()


tokens_, calls_ = speculative_decode(count_up_, count_up_, torch.tensor([3]), 13, 4)
assert [int(t) for t in tokens_] == [(4 + i) % 10 for i in range(13)], "plain greedy text: 4, 5, 6, …"
assert calls_ == 3, f"a perfect draft: 5 tokens a call, 13 tokens in 3 calls, not {calls_}"
tokens_, calls_ = speculative_decode(lambda ids: -count_up_(ids), count_up_, torch.tensor([3, 7]), 4, 2)
assert ([int(t) for t in tokens_], calls_) == ([8, 9, 0, 1], 4), "a useless draft: still the target's text, one token a call"

# %% [markdown]
# ## Write the test
#
# ### Exercise efficiency.test-quantize · difficulty 3 of 5 · 20 min · 4 points
#
# A colleague hands you `quantize(w, bits, axis=None)` → `(q, w_hat)`, and you decide whether it may be merged. Write `check_quantize(quantize)`.
#
# - It raises `AssertionError` (any exception counts) for a wrong implementation and returns without one for a right implementation. NumPy and torch are allowed.
# - Right ones follow the contract of exercise efficiency.quantize for float64 matrices: `q` and `w_hat` are arrays of any numeric dtype, `w_hat` agrees to about $10^{-12}$. Ties at .5 may go either way: avoid them. Call with two or three arguments, `axis` by position or by name.
# - Wrong ones among those you will meet: all $b$ bits for the magnitude, maximum without $|\cdot|$, `axis` ignored, reduced, always the same or wrong for one value only (0, 1 or `None`), `nan` for a channel of zeros, rounded down or cut off, `bits` ignored, `q` not rounded, `w_hat` slightly off. Each is right in all else.
#
# Score: the share of wrong ones that you catch, less the right ones that you reject.
#
# <details><summary>Hint 1</summary>A square matrix shows a wrong axis without a crash. Which sign should its largest weight have?</details>
#
# <details><summary>Hint 2</summary>Work one small example out by hand, for two axes and two numbers of bits, with one row of zeros.</details>


# %% exercise="efficiency.test-quantize" points=4
def check_quantize(quantize: Callable) -> None:
    """Raise AssertionError if `quantize(w, bits, axis=None)` is wrong."""
    ### BEGIN SOLUTION
    w = np.array([[0.4, -1.4, 0.0], [0.0, 0.0, 0.0], [-7.0, 0.8, -2.6]])
    expected = {
        (4, None): [[0, -1, 0], [0, 0, 0], [-7, 1, -3]],
        (8, None): [[7, -25, 0], [0, 0, 0], [-127, 15, -47]],
        (4, 0): [[2, -7, 0], [0, 0, 0], [-7, 1, -3]],
        (4, 1): [[0, -7, 0], [0, 0, 0], [-7, 4, -7]],
    }
    for (bits, axis), integers in expected.items():
        q, w_hat = quantize(w, bits, axis)
        top = 2 ** (bits - 1) - 1
        others = {None: None, 0: 1, 1: 0}[axis]
        step = np.abs(w).max(axis=others, keepdims=True) / top
        assert np.allclose(q, integers), f"wrong integers for bits={bits}, axis={axis}"
        assert np.allclose(w_hat, integers * step, rtol=0, atol=1e-9), f"wrong w_hat for bits={bits}, axis={axis}"
    ### END SOLUTION


# %% check="efficiency.test-quantize"
def rounded_(w, bits, axis=None):  # a right one
    s = np.abs(w).max(axis=None if axis is None else 1 - axis, keepdims=True) / (2 ** (bits - 1) - 1)
    q = np.round(w / np.where(s == 0, 1, s))
    return q, q * s


check_quantize(rounded_)
try:
    check_quantize(lambda w, bits, axis=None: (np.zeros(w.shape), w.copy()))
except AssertionError:
    pass
else:
    raise AssertionError("your check accepts a quantizer that returns q = 0 and the weights themselves")

# %% [markdown]
# ## Interview questions
#
# Say your answer aloud before you read the options. Start with the constraint, latency, memory or money: most wrong answers here are right ones to another constraint.

# %% quiz=true

# %% [markdown]
# ## One-page recap
#
# | ask yourself | answer |
# |---|---|
# | bottleneck | FLOP per byte against the ridge (295 on the example GPU); prefill compute-bound, decode memory-bound |
# | quantize | $q=\mathrm{round}(w/s)$, $s=\max\lvert w\rvert/(2^{b-1}-1)$; per channel; clip; guard $s=0$ |
# | weight-only INT4 | fewer bytes, 16-bit arithmetic: decode faster, prefill not |
# | W8A8, FP8 | scales per token and per output channel, int32 sums; arithmetic gets faster on units that support it |
# | INT8 lost accuracy | sensitivity per layer; worst layers in 16 bits; scales per channel; smooth; calibration data; QAT last |
# | GPTQ, AWQ, SmoothQuant | error compensation; protected channels; shared outliers for W8A8 |
# | KV cache | 2 · layers · KV heads · head dim · length · batch · bytes; 70B, 64 heads, batch 8, 4096: 80 GiB; with 8 KV heads 10 GiB |
# | serving | pages against reserved slots; continuous batching for throughput; tensor parallel inside a node, pipeline between |
# | speculative | $\min(1,p/q)$, else from $\max(p-q,0)$; same distribution; $(1-a^{k+1})/(1-a)$ tokens for $ck+1$ passes |
# | distil | $\alpha T^2\,\mathrm{KL}(\text{teacher}\,\|\,\text{student})+(1-\alpha)\,\mathrm{CE}$ on raw logits; new architecture; then quantize |
# | prune | zeros in dense kernels save no time; remove rows and matching columns; 2:4 is the exception |
# | the rule | find the constraint, pull that lever, measure again |
