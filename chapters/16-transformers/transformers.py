# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 16 · Transformers and attention
#
# You write a transformer piece by piece, train a small one on Python's own source code, and make it write code with a key-value cache
# that changes nothing but the bill.
#
# | | |
# |---|---|
# | Minutes | 420, in six sittings |
# | Builds on | softmax and cross-entropy (4, 8), LayerNorm (5), residuals (6), AdamW and clipping (10, 11) |
# | You can then | write attention with masks that cannot leak · split and merge heads · say which position scheme enters where · build a module that survives `.to(device)` and a checkpoint · decode with a cache · read the classic bugs off their symptoms |
#
# Letters, the same all through: `B` batch, `T` queries, `S` keys, `D` model width, `H` or `n_heads` heads, `d` width of one head, `V` vocabulary.

# %% setup=true
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from utils import data, explore, figures, predict, reveal
from utils.demos import transformers as demos

torch.set_num_threads(1)  # our matrices are small: more threads would only wait for each other

# %% [markdown]
# ## A soft lookup
#
# A Python dictionary compares your key with its keys, finds the one that is equal, and returns its value. Attention is that dictionary made
# differentiable. Your *query* is compared with every *key* by a dot product. Softmax turns the scores into weights. You get the weighted
# average of all *values*. Nothing is ever left out entirely, so gradients reach every entry.
#
# $$\mathrm{Attention}(Q,K,V)=\mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{d_k}}\right)V$$
#
# | role | computed as | it says |
# |---|---|---|
# | query | $W_q x_i$ | what token $i$ is looking for |
# | key | $W_k x_j$ | what token $j$ offers for matching |
# | value | $W_v x_j$ | what token $j$ passes on if it is read |
#
# In self-attention all three come from the same tokens. So each token can read every other one in a single step, however far apart they are.
#
# ### Why the square root
#
# Take $q$ and $k$ with $d_k$ independent entries of mean 0 and variance 1. Each product $q_i k_i$ has variance 1, and $d_k$ of them are added.
# What is the variance of the score for $d_k=256$?

# %%
predict("Variance of $q\\cdot k$ for $d_k = 256$", ["1", "16", "256", "65536"], key="transformers.attention-map")

# %% demo="transformers.score-variance" covers="transformers.sqrt-dk transformers.tq01"
rng = np.random.default_rng(0)
q, k = rng.normal(size=(2, 20_000, 256))
scores = (q * k).sum(axis=1)
reveal(f"raw {scores.var():.0f}, divided by 16: {(scores / 16).var():.2f}", answer="256", key="transformers.attention-map")

# %% [markdown]
# **What to see.** The variance is $d_k$, the standard deviation $\sqrt{d_k}=16$. Scores of ±16 and more make softmax pick one key.
# **Try** 1024 features in place of 256.
#
# A softmax that has picked is a softmax that has stopped learning: its derivative is $w_i(\delta_{ij}-w_j)$, and that is 0 when one weight is 1.
# With 16 random keys and $d_k=256$ the median largest weight is about 0.997 without the division and 0.22 with it; the median (Frobenius) norm
# of the softmax's Jacobian is about 0.005 without it and 0.3 with it. Dividing by $d_k$ itself would be the other ditch: a variance of $1/256$, weights that are almost equal.
#
# "For normalisation" is therefore no answer. Softmax normalises anyway; the root keeps its *input* in the range where it has a slope.

# %% demo="transformers.attention-map" covers="transformers.fig-sdpa transformers.sdpa transformers.sqrt-dk transformers.qkv-separate"
explore(
    demos.attention_map,
    alt="Attention weights of a seven-word sentence, and a histogram of the scores behind them",
    d_k=[64, 4, 16, 256, 1024],
    scaled=True,
    tie_query_and_key=False,
)

# %% [markdown]
# **What to see.** From left to right: scores, weights, spread of the scores. The weights of each row sum to 1. Without scaling, wide heads
# turn each row into a single bright square. **Try** `tie query and key`: the scores become a symmetric picture, the weights do not.
#
# You will often read that one shared matrix for $Q$ and $K$ makes attention symmetric. In fact it makes the *scores* symmetric,
# $x_i^\top W^\top W x_j=x_j^\top W^\top W x_i$. Each row is then normalised by itself, so the weights still differ.
# What you lose is direction: "verb looks for its subject" without "subject looks for its verb".
# A separate $W_v$ keeps what is *matched* apart from what is *passed on*.
#
# ### Exercise transformers.sdpa · difficulty 3 of 5 · 20 min · 4 points
#
# Write `sdpa(q, k, v, mask=None)`, scaled dot-product attention, and return `(out, weights)`.
#
# - `q` (B, H, T, d), `k` (B, H, S, d), `v` (B, H, S, e): torch tensors. `out` is (B, H, T, e), `weights` (B, H, T, S), both in the dtype of `q`.
# - `mask`: boolean tensor with at least two axes that broadcasts to (B, H, T, S). **True means: may attend.** Forbidden keys get weight exactly 0.
#   The scores of forbidden keys change nothing, however large they are.
# - A row with no allowed key gives weights 0 and output 0, not `nan`.
# - Scores of either sign and up to 50,000 in size must neither overflow nor lose to a masked key. Gradients flow to `q`, `k` and `v`.
# - Not allowed: `F.scaled_dot_product_attention`, `nn.MultiheadAttention` and its functional form.
#
# One query `[2.0]`, keys `[1.0]` and `[0.0]`, values `[10.0]` and `[0.0]`: scores 2 and 0, weights 0.881 and 0.119, output 8.81.
#
# <details><summary>Hint 1</summary>Which value must a forbidden score have so that its exponential is 0? And what does softmax make of a row that has only such scores?</details>
# <details><summary>Hint 2</summary>$-\infty$ before softmax; afterwards put 0 where a row has no allowed key.</details>


# %% exercise="transformers.sdpa" points=4
def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention: (out, weights). True in `mask` means that a query may attend to a key."""
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, T, S)
    if mask is None:
        weights = scores.softmax(-1)
    else:
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        weights = weights.masked_fill(~mask.any(-1, keepdim=True), 0.0)
    return weights @ v, weights
    ### END SOLUTION


# %% check="transformers.sdpa"
one = torch.ones(1, 1, 1, 1)
out, weights = sdpa(2 * one, torch.tensor([[[[1.0], [0.0]]]]), torch.tensor([[[[10.0], [0.0]]]]))
assert abs(out.item() - 8.808) < 1e-3, f"the worked example gives 8.81, not {out.item():.3f}"
torch.manual_seed(0)
q, k, v = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5), torch.randn(2, 3, 6, 7)
out, weights = sdpa(q, k, v)
assert out.shape == (2, 3, 4, 7) and weights.shape == (2, 3, 4, 6), "shapes: out (B, H, T, e), weights (B, H, T, S)"
assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 4)), "each query shares out exactly one unit of weight"
nobody = sdpa(q, k, v, torch.zeros(4, 6, dtype=torch.bool))[0]
assert (nobody == 0).all(), "a row with no allowed key gives 0"

# %% [markdown]
# ## Who may look at whom
#
# A language model predicts the next token, so token $i$ must not see token $j>i$. The mask is a lower triangle: row = query, column = key.
# Forbidden scores are set to $-\infty$ *before* the softmax, which makes their weight exactly 0 and leaves the rest summing to 1.
#
# Before you run the next cell: the scores are `[2, 1, 3]` and key 2 is the future. Somebody sets the forbidden score to 0. How much weight does the future keep?

# %%
predict(
    "Weight of the future key if its score is set to 0", ["0 %", "about 9 %", "about 33 %", "67 %, as before"], key="transformers.mask-zero"
)

# %% demo="transformers.mask-zero" covers="transformers.causal-mask transformers.causal-bugs transformers.tq06"
rows = {"no mask": [2.0, 1.0, 3.0], "score set to 0": [2.0, 1.0, 0.0], "score set to -inf": [2.0, 1.0, -math.inf]}
weights = {name: torch.tensor(row).softmax(0).tolist() for name, row in rows.items()}
weights["zeroed after softmax"] = [*weights["no mask"][:2], 0.0]
figures.show(
    demos.mask_bars(weights), alt="Weights of three keys under four treatments; only -inf gives the future 0 and the rest a sum of 1"
)
reveal(f"{weights['score set to 0'][2]:.3f}", answer="about 9 %", key="transformers.mask-zero")

# %% [markdown]
# **What to see.** $e^0=1$ is not nothing. You will often read that a mask *after* the softmax "does nothing". In fact it removes the weight, but the
# row then sums to 0.33 here, and the future still sits in the denominator. **Try** a future score of 10 in all four.
#
# Three more ways to get it wrong: the triangle transposed, the diagonal masked as well (a token that cannot see itself), and a triangle that is
# aligned at the wrong corner once a cache makes $S>T$. The new queries are the *last* $T$ of $S$ positions.
#
# And the meaning of `True` changes from door to door, so look it up each time (PyTorch's documentation; checked with torch 2.13):
#
# | function | `True` means | a row with no allowed key |
# |---|---|---|
# | `F.scaled_dot_product_attention(attn_mask=…)` | may attend | 0 |
# | `nn.MultiheadAttention(attn_mask=…, key_padding_mask=…)` | is ignored | 0 with `need_weights=False`, `nan` with `True` |
# | `torch.softmax` of $-\infty$ only | | `nan` |
#
# `is_causal=True` of SDPA starts its triangle at the *top left*: with 2 queries and 5 keys the first query sees key 0 only.
#
# ### Exercise transformers.causal-mask · difficulty 2 of 5 · 8 min · 2 points
#
# Write `causal_mask(T_q, T_k)` for `T_q` new queries over `T_k` keys, where the queries are the last `T_q` of the `T_k` positions.
#
# - `T_k ≥ T_q ≥ 1`. The result is boolean (a torch tensor or a NumPy array) of shape `(T_q, T_k)`; True means: may attend.
# - A token sees itself and everything before it.
#
# `causal_mask(2, 4)` is `[[True, True, True, False], [True, True, True, True]]`.
#
# <details><summary>Hint 1</summary>At which position does query i really stand?</details>
# <details><summary>Hint 2</summary>Query $i$ stands at $T_k-T_q+i$ and may see $j\le T_k-T_q+i$.</details>


# %% exercise="transformers.causal-mask" points=2
def causal_mask(T_q: int, T_k: int) -> Tensor:
    """Boolean (T_q, T_k): may new query i attend to key j? The queries are the last T_q positions."""
    ### BEGIN SOLUTION
    return torch.ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q)
    ### END SOLUTION


# %% check="transformers.causal-mask"
mask = torch.as_tensor(causal_mask(2, 4))
assert mask.dtype == torch.bool, "booleans, not numbers"
assert mask.shape == (2, 4), "one row per query, one column per key"
assert mask.tolist() == [[True, True, True, False], [True, True, True, True]], f"got {mask.tolist()}"
assert torch.as_tensor(causal_mask(3, 3)).diagonal().all(), "a token may see itself"

# %% [markdown]
# ## Several heads
#
# One softmax gives one pattern. A word may want to look at its verb and at the word before it, for different reasons. So the width $D$ is cut into
# $h$ slices of $d=D/h$ features, each slice attends by itself, the results are put side by side and go through one more matrix $W_o$.
#
# You will often read that more heads add capacity, or cost the same. Look at the two halves of that claim.
# With $D=512$ the four projections have $4\cdot 512^2=1{,}048{,}576$ parameters with 1 head and with 8. The matrix products cost the same too. But each head has
# its own $T\times S$ matrix of weights: softmax work and score memory grow with $h$. What you buy is several patterns, not size.
#
# The one thing that goes wrong: `view(B, h, T, d)` runs without an error and cuts *across tokens*, because memory holds token after token.

# %% demo="transformers.split-heads" covers="transformers.multihead transformers.clears-up"
x = torch.arange(12).view(1, 3, 4)  # 3 tokens of width 4: token 0 is 0 1 2 3
right = x.view(1, 3, 2, 2).transpose(1, 2)  # (B, T, h, d) -> (B, h, T, d)
wrong = x.view(1, 2, 3, 2)
print("head 0 should hold features 0, 1 of each token:", right[0, 0].tolist())
print("view(B, h, T, d) gives                        :", wrong[0, 0].tolist())

# %% [markdown]
# **What to see.** The wrong head 0 holds all of token 0 and half of token 1. Shapes are right, training even works a little.
# **Try** merging back with `right.reshape(1, 3, 4)`, without the transpose: the same mistake on the way out.
#
# ### Exercise transformers.multihead · difficulty 3 of 5 · 20 min · 4 points
#
# Write `multi_head_attention(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None)`, without biases. Self-attention is the case `x_kv = x_q`.
#
# - `x_q` (B, T, D) gives the queries, `x_kv` (B, S, D) keys and values. All weights are (D, D) in `nn.Linear`'s layout: `x @ W.T`.
# - Head $j$ uses the consecutive features $jd,\dots,(j+1)d-1$ with $d=D/h$; `n_heads` divides D. The result is (B, T, D).
# - `mask`: boolean, at least two axes, broadcasts to (B, n_heads, T, S), True means may attend. Every query has at least one allowed key.
# - Gradients flow to all six tensors. `F.scaled_dot_product_attention` is allowed; `nn.MultiheadAttention` and its functional form are not.
#
# With `D = 4`, all four weights the identity and a single token, the result is that token, for any number of heads.
#
# <details><summary>Hint 1</summary>Project, split, attend, merge, project. Write the shape behind each line.</details>
# <details><summary>Hint 2</summary>(B, T, D) → (B, T, h, d) → (B, h, T, d), and the same way back.</details>


# %% exercise="transformers.multihead" points=4
def multi_head_attention(
    x_q: Tensor, x_kv: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, W_o: Tensor, n_heads: int, mask: Tensor | None = None
) -> Tensor:
    """Multi-head attention of x_q (B, T, D) to x_kv (B, S, D); weights (D, D) as in nn.Linear."""

    ### BEGIN SOLUTION
    def heads(x: Tensor, W: Tensor) -> Tensor:
        return (x @ W.T).unflatten(-1, (n_heads, -1)).transpose(1, 2)  # (B, h, T, d)

    q, k, v = heads(x_q, W_q), heads(x_kv, W_k), heads(x_kv, W_v)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return y.transpose(1, 2).flatten(2) @ W_o.T
    ### END SOLUTION


# %% check="transformers.multihead"
torch.manual_seed(1)
x, eye = torch.randn(2, 1, 4), torch.eye(4)
assert torch.allclose(multi_head_attention(x, x, eye, eye, eye, eye, 2), x), "one token, identity weights: the token itself"
torch_mha = nn.MultiheadAttention(6, 3, bias=False, batch_first=True)
W_q, W_k, W_v = torch_mha.in_proj_weight.detach().chunk(3)
a, b = torch.randn(2, 4, 6), torch.randn(2, 5, 6)
got = multi_head_attention(a, b, W_q, W_k, W_v, torch_mha.out_proj.weight, 3)
assert got.shape == (2, 4, 6), f"(B, T, D) comes out, not {tuple(got.shape)}"
assert torch.allclose(got, torch_mha(a, b, b)[0], atol=1e-5), "differs from nn.MultiheadAttention"

# %% [markdown]
# ## Where am I?
#
# Nothing so far knows the order of tokens. What happens to the output of self-attention, without positions and without a mask, when you shuffle the input tokens?

# %%
predict(
    "Shuffle the input tokens of self-attention without positions. Its outputs are",
    ["the same as before", "the same, shuffled in the same way", "all different", "averaged"],
    key="transformers.shuffle",
)

# %% demo="transformers.shuffle" covers="transformers.positions transformers.tq03"
torch.manual_seed(0)
attention = nn.MultiheadAttention(8, 2, bias=False, batch_first=True).double()
x, order = torch.randn(1, 6, 8).double(), torch.randperm(6)
before, after = (attention(z, z, z)[0] for z in (x, x[:, order]))
same = (after - before).abs().max().item() < 1e-12
moved = (after - before[:, order]).abs().max().item() < 1e-12
reveal(f"the same as before: {same}; shuffled likewise: {moved}", answer="the same, shuffled in the same way", key="transformers.shuffle")

# %% [markdown]
# **What to see.** $f(Px)=P f(x)$. You will often read that self-attention is permutation-*invariant*; the word is *equivariant*. Only a pooled output (a mean over tokens) is
# invariant. **Try** `after.mean(1) - before.mean(1)`.
#
# A causal mask breaks the symmetry. With one causal layer the last token still sees the others as a bag; from the second layer on, order leaks in, because
# each inner token has summarised a different prefix. A deep decoder without positions is handicapped, not blind.
#
# Four ways to tell the model:
#
# | scheme | enters where | what it is | beyond the trained length |
# |---|---|---|---|
# | sinusoidal | added to the embeddings | fixed sines and cosines of many wavelengths | defined, somewhat usable |
# | learned absolute | added to the embeddings | a trained vector per position (BERT era) | has no vector: fails |
# | RoPE | rotates Q and K in every layer | score depends on the distance (LLaMA era) | defined; quality drops unless positions are rescaled |
# | ALiBi | subtracted from the scores | linear penalty on distance | degrades gently |
#
# So positions are *not* always added to the scores, and values are never rotated: only the match has to know where things are.
# You will often read that RoPE extrapolates. In fact it is relative by construction (Su et al. 2021), but far distances are angles that the slow pairs have never turned to in
# training; position interpolation (Chen et al. 2023) and YaRN (Peng et al. 2023) exist for that reason. ALiBi was made for length (Press et al. 2021).

# %% demo="transformers.positions" covers="transformers.positions transformers.position-where transformers.tq03"
explore(
    demos.positions,
    alt="A position scheme, and the score of two equal tokens against their distance",
    scheme=["sinusoidal", "learned", "RoPE", "ALiBi"],
    query_position=(0, 80, 4, 24),
)

# %% [markdown]
# **What to see.** Left: the scheme itself. Right: the score between a query and a key with the same content, key by key. The grey zone is beyond the trained 64 positions: the learned
# table ends there. **Try** RoPE and move the query: the curve travels with it unchanged, which is what *relative* means.
#
# ### Exercise transformers.sinusoidal · difficulty 2 of 5 · 12 min · 2 points
#
# Write `sinusoidal_encoding(T, d)`, the table of Vaswani et al. (2017): $PE_{p,2i}=\sin(p/10000^{2i/d})$, $PE_{p,2i+1}=\cos(p/10000^{2i/d})$.
#
# - Positions count from 0, `d` is even, pair $i$ runs from 0 to $d/2-1$. The result is a float array or tensor of shape `(T, d)`, float32 or float64.
# - Sines stand in the even columns, cosines of the same angle in the odd ones.
#
# Row 0 is `[0, 1, 0, 1, …]`. For `d = 4` row 1 is `[0.8415, 0.5403, 0.0100, 1.0000]`.
#
# <details><summary>Hint 1</summary>Compute a table of angles (T, d/2) first; each angle is used twice.</details>
# <details><summary>Hint 2</summary>The angle of pair $i$ at position $p$ is $p\cdot 10000^{-2i/d}$.</details>


# %% exercise="transformers.sinusoidal" points=2
def sinusoidal_encoding(T: int, d: int) -> Tensor:
    """Sinusoidal position table (T, d): sin in even columns, cos of the same angle in odd ones."""
    ### BEGIN SOLUTION
    rates = 10000.0 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    angles = torch.arange(T, dtype=torch.float64)[:, None] * rates  # (T, d/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    ### END SOLUTION


# %% check="transformers.sinusoidal"
table = np.asarray(sinusoidal_encoding(3, 4))
assert table.shape == (3, 4), f"shape (T, d), not {table.shape}"
assert np.allclose(table[0], [0, 1, 0, 1]), "position 0: every sine is 0, every cosine 1"
assert np.allclose(table[1], [0.84147, 0.54030, 0.01000, 0.99995], atol=1e-4), f"row 1 is {table[1]}"

# %% [markdown]
# RoPE uses the same angles differently. It takes the features in pairs and turns pair $i$ of the token at position $p$ by $p\,\theta_i$ with $\theta_i=b^{-2i/d}$:
#
# $$\begin{pmatrix}x_{2i}\\x_{2i+1}\end{pmatrix}\mapsto\begin{pmatrix}\cos p\theta_i&-\sin p\theta_i\\\sin p\theta_i&\cos p\theta_i\end{pmatrix}\begin{pmatrix}x_{2i}\\x_{2i+1}\end{pmatrix}$$
#
# Turn the query by $m\theta$ and the key by $n\theta$: their dot product depends on $m-n$ only. Lengths stay as they are.
#
# ### Exercise transformers.rope · difficulty 3 of 5 · 15 min · 3 points
#
# Write `rope(x, positions, base=10000.0)`.
#
# - `x`: float tensor (…, T, d), `d` even, any number of leading axes, also none. The result has its shape and dtype (float32 stays float32).
# - `positions`: integer tensor (T,), whatever it holds: with a cache it starts at an offset, and it need not be sorted.
# - Pairs are *adjacent* features, $(x_0,x_1),(x_2,x_3),\dots$, turned counter-clockwise. (Hugging Face's LLaMA pairs $x_i$ with $x_{i+d/2}$: as good, but weights are not interchangeable.)
#
# `rope(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))` is `[[0.5403, 0.8415]]`: one radian.
#
# <details><summary>Hint 1</summary>Split x into its even and its odd features, rotate, interleave again.</details>
# <details><summary>Hint 2</summary>New even: $x_e\cos-x_o\sin$. New odd: $x_e\sin+x_o\cos$. `torch.stack(…, -1).flatten(-2)` interleaves.</details>


# %% exercise="transformers.rope" points=3
def rope(x: Tensor, positions: Tensor, base: float = 10000.0) -> Tensor:
    """Rotate adjacent feature pairs of x (..., T, d) by position times base^(-2i/d)."""
    ### BEGIN SOLUTION
    d = x.shape[-1]
    rates = base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    angles = positions[:, None] * rates  # (T, d/2)
    c, s = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * c - odd * s, even * s + odd * c], dim=-1).flatten(-2)
    ### END SOLUTION


# %% check="transformers.rope"
turned = rope(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
assert torch.allclose(turned, torch.tensor([[0.5403, 0.8415]]), atol=1e-4), f"one radian counter-clockwise, got {turned.tolist()}"
torch.manual_seed(2)
q, k = torch.randn(1, 6, dtype=torch.float64), torch.randn(1, 6, dtype=torch.float64)
score = [(rope(q, torch.tensor([m])) * rope(k, torch.tensor([n]))).sum().item() for m, n in ((7, 4), (23, 20))]
assert abs(score[0] - score[1]) < 1e-4, f"scores at equal distance differ: {score}"
assert torch.allclose(rope(q, torch.tensor([31])).norm(), q.norm()), "a rotation keeps the length"

# %% [markdown]
# ## The block
#
# Attend, then transform. Attention is the only place where tokens exchange anything. The feed-forward network (FFN) then works on each token by itself, usually four times as wide as
# the model inside. Both write into a *residual stream*, and a norm stands in front of each:
#
# $$x\leftarrow x+\mathrm{MHA}(\mathrm{LN}_1(x)),\qquad x\leftarrow x+\mathrm{FFN}(\mathrm{LN}_2(x))$$
#
# Stack 12 to 96 of these and you have GPT or BERT.

# %% demo="transformers.block" covers="transformers.fig-block transformers.block-idea transformers.pre-post-ln transformers.tq10"
explore(
    demos.block,
    alt="A transformer block as a drawing, and the gradient norm of each layer at initialisation",
    norm=["pre-LN", "post-LN"],
    depth=(2, 48, 2, 24),
)

# %% [markdown]
# **What to see.** In pre-LN an unbroken line runs from bottom to top; in post-LN a norm sits on that line. Compare the dots, the last layer: at 24 layers post-LN's gradient is about three times pre-LN's.
# **Try** depth 6, then 48: the factor goes from 2 to above 4.
#
# That is a theorem (Xiong et al. 2020): at the start, the gradient of the last layer shrinks like $1/\sqrt L$ in pre-LN and does not shrink in post-LN. Steps that are too large near the output of post-LN
# are what learning-rate warmup tames. You will sometimes read that warmup repairs pre-LN; it is the other way round. Pre-LN trains with little warmup or none. Large pre-LN runs still use a short one, because Adam's second moments are unreliable in the first steps. Post-LN, once it trains,
# often ends slightly better.

# %% demo="transformers.warmup" covers="transformers.pre-post-ln transformers.tq10"
figures.show(
    demos.warmup(),
    alt="Training loss over 90 steps: pre-LN without warmup is lowest, post-LN with warmup next, post-LN without warmup highest",
)

# %% [markdown]
# **What to see.** Six layers, a high learning rate, the same batches of Python source. Without warmup post-LN gets stuck; with 60 slow steps it goes on falling; pre-LN does not need them.
# The setting is chosen so that the effect shows: with 2 to 4 layers or a lower rate, post-LN trains without warmup too.
# **Try** reading `demos.warmup`: which line would you change to give pre-LN a warmup too?
#
# ### Why LayerNorm
#
# "BatchNorm does not work with sequences" is not the reason; it can be differentiated and trained. LayerNorm takes mean and variance over the features of *one token*. So a token's result does not depend on who
# else is in the batch, on the sentence length or on padding, and there are no running statistics that differ between training and inference. Generating one token for
# one user is the same computation as training on thousands.
#
# ### Exercise transformers.pre-ln-block · difficulty 3 of 5 · 20 min · 4 points
#
# Write `pre_ln_block(x, params, n_heads, mask=None)`: one block from given weights. `attention(x, params, n_heads, mask)` is given below and does the multi-head part.
#
# - `x` is (B, T, D). `params` is a dict of tensors: `W_q, W_k, W_v, W_o` (D, D); `ln1_weight, ln1_bias, ln2_weight, ln2_bias` (D,); `W_1` (F, D), `b_1` (F,), `W_2` (D, F), `b_2` (D,).
# - LN1 stands before attention, LN2 before the FFN; both with `eps = 1e-5` and the biased variance, as `F.layer_norm` has them.
# - FFN: `W_1`, exact (erf) GELU, `W_2`, with biases, in `nn.Linear`'s layout.
# - `mask`: boolean (T, T), True means may attend. Every query has an allowed key. Gradients flow to `x` and all parameters; the dict is left as it is.
# - `nn.TransformerEncoderLayer` and its relatives are not allowed. The result agrees with it (`norm_first=True`) in double precision.
#
# If `W_o`, `W_2` and `b_2` are zero, the block returns `x` unchanged.
#
# <details><summary>Hint 1</summary>Two lines, each of the form x = x + sublayer(norm(x)).</details>
# <details><summary>Hint 2</summary>The second line reads the x that the first one made.</details>


# %% exercise="transformers.pre-ln-block" points=4
def attention(x: Tensor, params: dict[str, Tensor], n_heads: int, mask: Tensor | None = None) -> Tensor:
    """Given: multi-head self-attention of x (B, T, D) with W_q, W_k, W_v, W_o. True in `mask` means may attend."""
    x, W = x.transpose(0, 1), torch.cat([params["W_q"], params["W_k"], params["W_v"]])
    forbidden = None if mask is None else ~mask
    y, _ = F.multi_head_attention_forward(
        x, x, x, x.shape[-1], n_heads, W, None, None, None, False, 0.0, params["W_o"], None, need_weights=False, attn_mask=forbidden
    )
    return y.transpose(0, 1)


def pre_ln_block(x: Tensor, params: dict[str, Tensor], n_heads: int, mask: Tensor | None = None) -> Tensor:
    """One pre-LN transformer block: x + MHA(LN1(x)), then x + FFN(LN2(x))."""
    ### BEGIN SOLUTION
    p, D = params, x.shape[-1:]
    x = x + attention(F.layer_norm(x, D, p["ln1_weight"], p["ln1_bias"]), p, n_heads, mask)
    h = F.gelu(F.linear(F.layer_norm(x, D, p["ln2_weight"], p["ln2_bias"]), p["W_1"], p["b_1"]))
    return x + F.linear(h, p["W_2"], p["b_2"])
    ### END SOLUTION


# %% check="transformers.pre-ln-block"
layer = nn.TransformerEncoderLayer(6, 2, 10, 0.0, "gelu", norm_first=True, batch_first=True)
w = {name: z.detach().clone() for name, z in layer.named_parameters()}
p = dict(zip(["W_q", "W_k", "W_v"], w["self_attn.in_proj_weight"].chunk(3))) | {"W_o": w["self_attn.out_proj.weight"]}
p |= {f"W_{i}": w[f"linear{i}.weight"] for i in (1, 2)} | {f"b_{i}": w[f"linear{i}.bias"] for i in (1, 2)}
p |= {f"ln{i}_{kind}": w[f"norm{i}.{kind}"] + 0.5 * i for i in (1, 2) for kind in ("weight", "bias")}
x, off = torch.randn(2, 3, 6), torch.zeros(6, 6)
still = pre_ln_block(x, p | {"W_o": off, "W_2": torch.zeros(6, 10), "b_2": torch.zeros(6)}, 2)
assert torch.allclose(still, x), "with silent sublayers the stream must pass through untouched: is a norm on it?"
layer.load_state_dict(w | {f"norm{i}.{kind}": p[f"ln{i}_{kind}"] for i in (1, 2) for kind in ("weight", "bias")})
assert torch.allclose(pre_ln_block(x, p, 2), layer(x), atol=1e-5), "differs from nn.TransformerEncoderLayer(norm_first=True)"

# %% [markdown]
# ### The modern feed-forward part
#
# GELU is the classic activation. LLaMA-style models use SwiGLU: two projections of the same width, one of them activated and used as a *gate* for the other (Shazeer 2020: better perplexity at equal
# parameters).
#
# $$\mathrm{SwiGLU}(x)=W_{down}\big(\mathrm{SiLU}(W_{gate}x)\odot W_{up}x\big)$$
#
# Three matrices instead of two: for the same $8d^2$ parameters the width falls from $4d$ to $8d/3$.
#
# ### Exercise transformers.swiglu · difficulty 2 of 5 · 8 min · 2 points
#
# Write `swiglu_ffn(x, W_gate, W_up, W_down)` and `swiglu_hidden(d_model)`.
#
# - `x` is (…, D) with any number of leading axes, also none; `W_gate` and `W_up` are (F, D), `W_down` is (D, F): `nn.Linear`'s layout. The result has the shape of `x`.
# - $\mathrm{SiLU}(g)=g\,\sigma(g)$. No biases.
# - `swiglu_hidden` is the integer width $\lfloor 8d/3\rfloor$ that matches a GELU FFN of width $4d$.
#
# `swiglu_hidden(768)` is 2048. With all three weights `[[1.0]]`, `swiglu_ffn` of `[2.0]` is `[3.5232]`.
#
# <details><summary>Hint 1</summary>Which branch is activated, which stays linear?</details>
# <details><summary>Hint 2</summary>Two products with D → F, a product of the two, one product back.</details>


# %% exercise="transformers.swiglu" points=2
def swiglu_ffn(x: Tensor, W_gate: Tensor, W_up: Tensor, W_down: Tensor) -> Tensor:
    """SwiGLU feed-forward network on the last axis of x."""
    ### BEGIN SOLUTION
    return F.linear(F.silu(F.linear(x, W_gate)) * F.linear(x, W_up), W_down)
    ### END SOLUTION


def swiglu_hidden(d_model: int) -> int:
    """Width at which three matrices hold as many parameters as a 4 d_model FFN with two."""
    ### BEGIN SOLUTION
    return 8 * d_model // 3
    ### END SOLUTION


# %% check="transformers.swiglu"
one = torch.ones(1, 1)
got = torch.as_tensor(swiglu_ffn(torch.tensor([2.0]), one, one, one)).item()
assert abs(got - 3.5232) < 1e-3, f"2 · 2·sigmoid(2) = 3.5232, not {got:.4f}"
assert swiglu_hidden(768) == 2048, f"8 · 768 / 3 = 2048, not {swiglu_hidden(768)}"
assert swiglu_ffn(torch.ones(2, 3, 4), torch.ones(6, 4), torch.ones(6, 4), torch.ones(4, 6)).shape == (2, 3, 4), "any leading axes"

# %% [markdown]
# ## A module with a contract
#
# A function that is right is half of a module. The other half: what is a parameter and what a buffer, what a checkpoint contains, what `eval()` changes, and whether
# `.to(device)` takes everything along. A mask is not learned, so it is no parameter. It must move with the model, so it is no plain attribute. It can be made again from
# `max_len`, so it has no place in a checkpoint. That is a *non-persistent buffer*.
#
# How do you test for a GPU without one? The device `"meta"` has shapes and no numbers, and refuses to mix with tensors that stayed behind.

# %% demo="transformers.meta-device" covers="transformers.module-contract"
mask, scores = torch.ones(3, 3, dtype=torch.bool).tril(), torch.empty(2, 3, 3, device="meta")
try:
    scores.masked_fill(~mask, -math.inf)
except RuntimeError as error:
    print("left behind:", error)
print("moved along:", scores.masked_fill(~mask.to("meta"), -math.inf).shape)

# %% [markdown]
# **What to see.** The error you would get on a GPU, on a machine that has none. **Try** `scores + torch.ones(3, 3)`.
#
# ### Exercise transformers.attention-module · difficulty 4 of 5 · 25 min · 5 points
#
# Write the module `CausalSelfAttention(d_model, n_heads, max_len, dropout=0.0)`.
#
# - Children: `qkv = nn.Linear(d_model, 3 * d_model)` and `out = nn.Linear(d_model, d_model)`, with biases. These four tensors are all its parameters and all its state dict.
#   Further children without parameters, such as `nn.Dropout`, are welcome.
# - The output features of `qkv` are all of Q, then all of K, then all of V; heads are consecutive slices of each.
# - One buffer, `mask`: bool (max_len, max_len), True means may attend. It moves with the module and is *not* in the state dict.
# - `forward(x)`: x (B, T, D) with T ≤ max_len → (B, T, D): causal multi-head attention, then `out`.
# - Dropout acts on the attention weights, after the softmax, in training mode only. Weights that stay are divided by $1-p$, as `nn.Dropout` does.
#   (With `dropout=1.0` in training mode the output is therefore the bias of `out`; with T = 1 each head gives 0 or $v/(1-p)$.)
# - Everything works after `.double()`, `.float()` and `.to(device)`; gradients reach input and parameters. No `nn.MultiheadAttention`.
#
# With `d_model = 12` there are 624 parameters, whatever `n_heads` is.
#
# <details><summary>Hint 1</summary>register_buffer has an argument for what a checkpoint need not hold.</details>
# <details><summary>Hint 2</summary>(B, T, 3D) → three times (B, T, D) → (B, h, T, d). Cut the mask to T by T.</details>


# %% exercise="transformers.attention-module" points=5
class CausalSelfAttention(nn.Module):
    """Causal multi-head self-attention with dropout on the attention weights."""

    def __init__(self, d_model: int, n_heads: int, max_len: int, dropout: float = 0.0) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mask", torch.ones(max_len, max_len, dtype=torch.bool).tril(), persistent=False)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) → (B, T, D); token i sees tokens j ≤ i."""
        ### BEGIN SOLUTION
        T = x.shape[1]
        q, k, v = (z.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for z in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, h, T, T)
        weights = scores.masked_fill(~self.mask[:T, :T], -math.inf).softmax(-1)
        return self.out((self.dropout(weights) @ v).transpose(1, 2).flatten(2))
        ### END SOLUTION


# %% check="transformers.attention-module"
torch.manual_seed(3)
model, x = CausalSelfAttention(12, 3, max_len=9, dropout=0.5), torch.randn(2, 5, 12)
assert sum(p.numel() for p in model.parameters()) == 624, "624 parameters: qkv and out, with biases"
assert sorted(model.state_dict()) == ["out.bias", "out.weight", "qkv.bias", "qkv.weight"], f"state dict: {sorted(model.state_dict())}"
assert [n for n, _ in model.named_buffers()] == ["mask"], "one buffer, called mask"
changed = x.clone()
changed[:, 3:] += 1.0
before, after = model.eval()(x), model(changed)
assert torch.equal(before, model(x)), "in eval mode nothing is random"
assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6), "the future leaks"
assert model.to("meta")(x.to("meta")).shape == (2, 5, 12), "something stays behind when the model moves"

# %% [markdown]
# ## Three families
#
# | family | who sees whom | made for | examples |
# |---|---|---|---|
# | encoder-only | everyone sees everyone | classification, tagging, embeddings of text that is fully there | BERT |
# | decoder-only | each token sees the past | open-ended generation; scales best as one recipe | GPT, LLaMA |
# | encoder-decoder | source: everyone; target: the past, plus cross-attention to the source | translation, summarisation | T5, BART |
#
# "Decoder-only is always best" is fashion. If the text is complete and the budget small, a bidirectional encoder uses both sides of every word.
#
# To classify with an encoder, pool its states into one vector. The last position is a pad in short texts, and the first is a summary only where it was trained to be one.
#
# ### Exercise bank.classifier-head · difficulty 2 of 5 · 12 min · 2 points
#
# Write `classify(h, valid, W, b, y)` → `(logits, loss)`: the mean of the valid tokens' states, a linear layer, cross-entropy.
#
# - `h` (B, T, D) encoder states; `valid` (B, T) boolean, True at real tokens, at least one per row, anywhere in the row; `W` (C, D) as in `nn.Linear`, `b` (C,), `y` (B,) class ids.
# - `logits` is (B, C), `loss` a scalar tensor: the mean over the batch. Gradients flow to `h`, `W` and `b`.
# - What stands at padded positions of `h` changes nothing, whatever its (finite) size. A real token may have a state of zeros.
#
# States 1 and 3 at two valid tokens and 99 at a pad, `W = [[1.0], [0.0]]`, `b = 0`: the logits are `[2, 0]`; for class 0 the loss is 0.1269.
#
# <details><summary>Hint 1</summary>How many tokens does each row really have?</details>
# <details><summary>Hint 2</summary>$\sum_t v_t h_t/\sum_t v_t$ per row.</details>


# %% exercise="bank.classifier-head" points=2
def classify(h: Tensor, valid: Tensor, W: Tensor, b: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and mean cross-entropy of a linear head on the mean of valid states."""
    ### BEGIN SOLUTION
    total = h.masked_fill(~valid[..., None], 0.0).sum(1)  # (B, D)
    logits = F.linear(total / valid.sum(1, keepdim=True), W, b)
    return logits, F.cross_entropy(logits, y)
    ### END SOLUTION


# %% check="bank.classifier-head"
h, valid = torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([[True, True, False]])
logits, loss = classify(h, valid, torch.tensor([[1.0], [0.0]]), torch.zeros(2), torch.tensor([0]))
assert torch.allclose(logits, torch.tensor([[2.0, 0.0]])), f"the mean of 1 and 3 is 2; got logits {logits.tolist()}"
assert abs(loss.item() - 0.1269) < 1e-3, f"loss 0.1269, not {loss.item():.4f}: does cross_entropy get raw logits?"

# %% [markdown]
# ## What it costs
#
# Every token meets every token. For $n$ tokens and width $d$, attention does $O(n^2d)$ arithmetic and, written plainly, stores $O(n^2)$ weights per head. That the rows are computed in parallel changes the clock,
# not the count. With $n=4096$, 32 heads, 2 bytes: $4096^2\cdot2=32$ MiB per head, 1 GiB for the layer. At inference that gigabyte is gone after the layer. In training all layers keep theirs:
# 96 layers, 96 GiB, unless you recompute or never store it.

# %% demo="transformers.cost" covers="transformers.complexity transformers.flash transformers.kv-cache transformers.mqa-gqa"
explore(
    demos.cost,
    alt="Bytes of score matrix and KV cache, and FLOPs of attention, against the number of tokens",
    tokens=[4096, 512, 2048, 16384, 131072],
    heads=(1, 64, 1, 32),
    kv_heads=[8, 1, 2, 4, 16, 32],
    layers=(1, 96, 1, 32),
    batch=(1, 16, 1, 1),
)

# %% [markdown]
# **What to see.** Slopes on log axes: the stored score matrix and the FLOPs grow with $n^2$, the cache and a tile with $n$. The dot is your $n$. **Try** 131072 tokens, then fewer K/V heads: one line falls,
# and it is not the FLOPs.
#
# ### Exercise transformers.cost · difficulty 2 of 5 · 8 min · 2 points
#
# Write `attention_cost(B, H, T, d_head, dtype_bytes)` → `(flops, score_bytes)` for one self-attention layer.
#
# - All arguments are positive integers. Both results are exact Python integers, also beyond $2^{53}$ and $2^{63}$.
# - `flops`: both matrix products, $QK^\top$ and weights times $V$, all heads, whole batch. A multiply and an add count as two operations. No softmax, no projections, no mask.
# - `score_bytes`: the materialised score matrices, `dtype_bytes` per entry.
#
# `attention_cost(1, 32, 4096, 64, 2)[1]` is 1073741824, one GiB.
#
# <details><summary>Hint 1</summary>A product of (n, m) and (m, p) takes 2·n·m·p operations.</details>
# <details><summary>Hint 2</summary>Per head the products are (T, d)·(d, T) and (T, T)·(T, d).</details>


# %% exercise="transformers.cost" points=2
def attention_cost(B: int, H: int, T: int, d_head: int, dtype_bytes: int) -> tuple[int, int]:
    """FLOPs of both attention products, and bytes of the score matrices."""
    ### BEGIN SOLUTION
    entries = B * H * T * T
    return 2 * (2 * entries * d_head), entries * dtype_bytes
    ### END SOLUTION


# %% check="transformers.cost"
flops, score_bytes = attention_cost(1, 32, 4096, 64, 2)
assert score_bytes == 2**30, f"1 GiB = {2**30} bytes, not {score_bytes}"
assert flops == 2**37, f"2 products of 2·T·T·d operations for 32 heads: {2**37}, not {flops}"
assert attention_cost(3, 5, 8, 7, 4)[0] == 4 * attention_cost(3, 5, 4, 7, 4)[0], "twice the tokens, four times the work"

# %% [markdown]
# ### FlashAttention: the same numbers, fewer bytes
#
# Softmax needs the maximum and the sum of a whole row. But both can be kept *running*. Read keys block by block with three things in hand: the largest score so far $m$, the sum
# $\ell$ of exponentials measured against $m$, and the unfinished output $o$. When a block brings a larger maximum $m'$, everything old was measured against the wrong one; multiply it by $e^{m-m'}$.
#
# $$p=e^{s-m'},\qquad \ell\leftarrow \ell\,e^{m-m'}+\textstyle\sum p,\qquad o\leftarrow o\,e^{m-m'}+p\,V_{block},\qquad\text{at the end } o/\ell$$

# %% demo="transformers.online-softmax" covers="transformers.flash transformers.probe"
explore(
    demos.online_softmax,
    alt="Twelve scores in blocks; running maximum, running sum and running output after some blocks",
    blocks_read=(1, 4, 1, 2),
)

# %% [markdown]
# **What to see.** After each block the running output is exactly the softmax average of what was read so far. In block 3 the maximum jumps and the old sum shrinks. **Try** all four blocks: the dashed line is the full softmax.
#
# FlashAttention (Dao et al. 2022) is this loop in fast on-chip memory. It is exact, not sparse: $O(n)$ memory, still $O(n^2d)$ FLOPs, in training even a few more because the backward pass recomputes scores.
# Sliding windows and sparse patterns are the approximations.
#
# You will often read that its outputs are bit-identical. In fact sums in another order round differently. On CPU, torch 2.13, shape (1, 4, 700, 64):

# %% demo="transformers.same-bits" covers="transformers.probe transformers.flash thirty.c-flash"
torch.manual_seed(0)
q, k, v = torch.randn(3, 1, 4, 700, 64)
for dtype in (torch.float32, torch.bfloat16):
    a, b, c = (z.to(dtype) for z in (q, k, v))
    fused, plain = F.scaled_dot_product_attention(a, b, c), (a @ b.mT / 8).softmax(-1) @ c
    print(f"{dtype}: largest difference {(fused - plain).abs().max():.0e}, bit by bit equal: {torch.equal(fused, plain)}")

# %% [markdown]
# **What to see.** Equal up to rounding: a few 1e-7 in float32, a few 1e-3 in bfloat16. **Try** float64.
#
# To force or forbid a kernel, old code uses `torch.backends.cuda.sdp_kernel`; that is deprecated. The present name is `torch.nn.attention.sdpa_kernel`, a context manager
# that takes `SDPBackend.FLASH_ATTENTION` and the like. `F.scaled_dot_product_attention` chooses by itself otherwise.
#
# ### Exercise transformers.flash · difficulty 4 of 5 · 25 min · 5 points
#
# Write `flash_attention(q, k, v, block)`: exact attention without a mask, one block of keys at a time.
#
# - `q` (…, T, d), `k` (…, S, d), `v` (…, S, e): torch tensors with the same leading axes, maybe none. The result is (…, T, e), in the dtype of `q`. Scale by $\sqrt d$.
# - `block ≥ 1` need not divide S and may be larger than S.
# - Go over the keys in steps of `block`. No array may hold more scores than a (…, T, block) tile, and tiles of earlier blocks are not kept. An array of the maxima of all blocks counts as scores too. Copies of `q`, `k` and `v` are allowed, scaled or with one more column.
# - Scores of several thousand, positive or negative, must not overflow or underflow to 0/0.
# - `F.scaled_dot_product_attention` and `nn.MultiheadAttention` are not allowed.
#
# Scores 0 and 1 in two blocks: after block one $m=0$, $\ell=1$; after block two $m=1$, $\ell=e^{-1}+1=1.3679$.
#
# <details><summary>Hint 1</summary>With which m do you start, so that the first block wipes out the empty sums?</details>
# <details><summary>Hint 2</summary>Start with $m=-\infty$, $\ell=0$, $o=0$: $e^{-\infty-m'}=0$.</details>


# %% exercise="transformers.flash" points=5
def flash_attention(q: Tensor, k: Tensor, v: Tensor, block: int) -> Tensor:
    """Exact softmax attention over blocks of keys, with a running maximum, denominator and output."""
    ### BEGIN SOLUTION
    m = q.new_full((*q.shape[:-1], 1), -math.inf)
    total, out = torch.zeros_like(m), q.new_zeros(*q.shape[:-1], v.shape[-1])
    for keys, values in zip(k.split(block, dim=-2), v.split(block, dim=-2)):
        scores = q @ keys.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., T, block)
        m_new = torch.maximum(m, scores.amax(-1, keepdim=True))
        p, shrink = (scores - m_new).exp(), (m - m_new).exp()
        total, out, m = total * shrink + p.sum(-1, keepdim=True), out * shrink + p @ values, m_new
    return out / total
    ### END SOLUTION


# %% check="transformers.flash"
torch.manual_seed(4)
q, k, v = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 7, 4, dtype=torch.float64), torch.randn(2, 7, 5, dtype=torch.float64)
want = (q @ k.mT / 2).softmax(-1) @ v
for block in (7, 3, 1, 20):
    got = torch.as_tensor(flash_attention(q, k, v, block))
    assert got.shape == (2, 3, 5), f"shape (..., T, e), not {tuple(got.shape)}"
    assert torch.allclose(got, want), f"block = {block}: differs from the plain formula by {(got - want).abs().max():.1e}"
assert torch.isfinite(torch.as_tensor(flash_attention(100 * q, 100 * k, v, 2))).all(), "large scores overflow: is there a running maximum?"

# %% [markdown]
# ## Writing, one token at a time
#
# To write, a decoder predicts a token, appends it and reads everything again. But causality has a gift: keys and values of old tokens never change, because nothing later can reach them.
# So keep them. Each step then computes *one* query, key and value, and attends to the stored rest. That is the KV cache.
#
# It helps token-by-token decoding only. In training and in *prefill* (reading the prompt) all positions are computed once, in parallel, anyway. What you pay is memory and the bandwidth to read it:
#
# $$\text{bytes}=2\cdot\text{layers}\cdot\text{KV heads}\cdot d\cdot\text{tokens}\cdot\text{batch}\cdot\text{bytes per number}$$
#
# The 2 is K and V. Formulas without the heads, or with the number of *query* heads, are common and wrong. For 32 layers, 8 KV heads, $d=128$ and bf16: 128 KiB per token, 1 GiB for 8192 tokens of one user.
# With 32 KV heads it would be 4 GiB.

# %%
predict(
    "A prompt of 100 tokens, then 200 new ones. Without a cache, how many token positions go through the model?",
    ["299", "20,000", "39,900", "90,000"],
    key="transformers.recompute",
)

# %% demo="transformers.recompute" covers="transformers.kv-cache transformers.tq04"
prompt, new = 100, 200
without = sum(prompt + i for i in range(new))
with_cache = prompt + (new - 1)
reveal(
    f"{without:,} without, {with_cache} with a cache: {without / with_cache:.0f} times fewer", answer="39,900", key="transformers.recompute"
)

# %% [markdown]
# **What to see.** 100 + 101 + … + 299 against 100 + 199. The last token is never fed: nobody asks what follows it. **Try** 2000 new tokens.
#
# ### Exercise transformers.kv-cache · difficulty 4 of 5 · 25 min · 5 points
#
# The class below decodes with RoPE and a cache. Its first chunk is perfect. From the second on, its outputs differ from those of one full pass. Repair it.
#
# - `CachedAttention(W_q, W_k, W_v, n_heads)`: weights (D, D) in `nn.Linear`'s layout, heads are consecutive slices, no output projection.
# - `step(x_chunk)`: (B, n, D) → (B, n, D), causal attention of the new tokens to everything so far. A sequence may come in any chunks, n ≥ 1; all outputs together equal one full causal pass.
# - After each step the attributes `k` and `v` are (B, H, t, d) for the t tokens seen so far, in order; keys are stored *rotated*, values as they are.
# - A step projects the new tokens only. The older keys and values it reads from `k` and `v`: if somebody changes their entries between two steps, the outputs follow.
# - Two objects do not share a cache. `rope` is given.
#
# With 7 cached tokens, the next token has position 7.
#
# <details><summary>Hint 1</summary>Where does the second chunk begin? Ask both the positions and the mask.</details>
# <details><summary>Hint 2</summary>With t cached and n new tokens, row i stands at t + i and may see columns j ≤ t + i.</details>


# %% exercise="transformers.kv-cache" points=5
def rope(x: Tensor, positions: Tensor) -> Tensor:
    """Given: rotary embedding on adjacent pairs, with complex numbers."""
    d = x.shape[-1]
    angles = positions[:, None] * 10000.0 ** (-torch.arange(0, d, 2, dtype=x.dtype) / d)
    z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(z * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


class CachedAttention:
    """Causal self-attention with RoPE that reads a sequence in chunks."""

    def __init__(self, W_q: Tensor, W_k: Tensor, W_v: Tensor, n_heads: int) -> None:
        self.weights, self.n_heads = (W_q, W_k, W_v), n_heads
        self.k: Tensor | None = None
        self.v: Tensor | None = None

    def step(self, x_chunk: Tensor) -> Tensor:
        """x_chunk (B, n, D) → (B, n, D)."""
        q, k, v = ((x_chunk @ W.T).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for W in self.weights)
        ### BEGIN SOLUTION
        past, n = 0 if self.k is None else self.k.shape[2], x_chunk.shape[1]
        positions = torch.arange(past, past + n)
        q, k = rope(q, positions), rope(k, positions)
        self.k = k if self.k is None else torch.cat([self.k, k], dim=2)
        self.v = v if self.v is None else torch.cat([self.v, v], dim=2)
        mask = torch.arange(past + n) <= positions[:, None]  # (n, t + n)
        y = F.scaled_dot_product_attention(q, self.k, self.v, attn_mask=mask)
        ### END SOLUTION
        return y.transpose(1, 2).flatten(2)


# %% broken="transformers.kv-cache"
def rope(x: Tensor, positions: Tensor) -> Tensor:
    """Given: rotary embedding on adjacent pairs, with complex numbers."""
    d = x.shape[-1]
    angles = positions[:, None] * 10000.0 ** (-torch.arange(0, d, 2, dtype=x.dtype) / d)
    z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(z * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


class CachedAttention:
    """Causal self-attention with RoPE that reads a sequence in chunks."""

    def __init__(self, W_q: Tensor, W_k: Tensor, W_v: Tensor, n_heads: int) -> None:
        self.weights, self.n_heads = (W_q, W_k, W_v), n_heads
        self.k: Tensor | None = None
        self.v: Tensor | None = None

    def step(self, x_chunk: Tensor) -> Tensor:
        """x_chunk (B, n, D) → (B, n, D)."""
        q, k, v = ((x_chunk @ W.T).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for W in self.weights)
        positions = torch.arange(x_chunk.shape[1])
        q, k = rope(q, positions), rope(k, positions)
        self.k = k if self.k is None else torch.cat([self.k, k], dim=2)
        self.v = v if self.v is None else torch.cat([self.v, v], dim=2)
        y = F.scaled_dot_product_attention(q, self.k, self.v, is_causal=True)
        return y.transpose(1, 2).flatten(2)


# %% check="transformers.kv-cache"
torch.manual_seed(5)
x, W = torch.randn(2, 6, 8, dtype=torch.float64), torch.randn(3, 8, 8, dtype=torch.float64)
full = CachedAttention(*W, n_heads=2).step(x)
layer = CachedAttention(*W, n_heads=2)
pieces = [layer.step(x[:, i:j]) for i, j in ((0, 3), (3, 4), (4, 6))]
assert layer.k.shape == (2, 2, 6, 4), f"six tokens should be cached: k has shape {tuple(layer.k.shape)}"
assert torch.allclose(pieces[0], full[:, :3]), "the first chunk differs from the full pass"
assert torch.allclose(pieces[1], full[:, 3:4]), "a single new token differs: which positions and which keys does it use?"
assert torch.allclose(pieces[2], full[:, 4:]), "a later chunk of two differs: how is its mask aligned?"

# %% [markdown]
# ### Fewer K/V heads
#
# The cache holds keys and values, not queries. So share those. In multi-query attention (MQA, Shazeer 2019) all query heads read one K/V head. In grouped-query attention
# (GQA, Ainslie et al. 2023) each group of query heads has its own: near full quality at nearly the speed of MQA, which is why Llama 3 and Mistral use it. The number of query heads stays.
#
# ### Exercise transformers.gqa · difficulty 3 of 5 · 12 min · 3 points
#
# Write `gqa(q, k, v)`, unmasked grouped-query attention.
#
# - `q` (B, H, T, d); `k` and `v` (B, G, S, d), where G divides H. The result is (B, H, T, d). Scale by $\sqrt d$.
# - Query heads 0 … H/G − 1 share K/V head 0, the next H/G share head 1, and so on. `G = 1` is MQA, `G = H` ordinary attention.
#
# With 8 query heads and 2 K/V heads, query head 5 reads K/V head 1, and the cache is 4 times smaller.
#
# <details><summary>Hint 1</summary>Write down, for H = 4 and G = 2, which K/V head each query head reads.</details>
# <details><summary>Hint 2</summary>Query head h reads K/V head ⌊h / (H/G)⌋.</details>


# %% exercise="transformers.gqa" points=3
def gqa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of H query heads (B, H, T, d) to G key/value heads (B, G, S, d)."""
    ### BEGIN SOLUTION
    q = q.unflatten(1, (k.shape[1], -1))  # (B, G, H/G, T, d)
    scores = q @ k[:, :, None].transpose(-2, -1) / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) @ v[:, :, None]).flatten(1, 2)
    ### END SOLUTION


# %% check="transformers.gqa"
torch.manual_seed(6)
q, k, v = torch.randn(1, 6, 2, 3), torch.randn(1, 2, 4, 3), torch.randn(1, 2, 4, 3)
out = gqa(q, k, v)
assert out.shape == (1, 6, 2, 3), f"all query heads stay: (B, H, T, d), not {tuple(out.shape)}"
alone = F.scaled_dot_product_attention(q[:, 2], k[:, 0], v[:, 0])
assert torch.allclose(out[:, 2], alone, atol=1e-5), "with H = 6 and G = 2, query head 2 reads K/V head 0"

# %% [markdown]
# ### The loop around the model
#
# Decoding is a loop: *prefill* reads the prompt in one call, then each call reads one token. `step(tokens, cache)` is what a model looks like from here.
#
# ### Exercise transformers.generate · difficulty 3 of 5 · 15 min · 3 points
#
# Write `generate(step, prompt, n_new)`: greedy decoding.
#
# - `step(tokens, cache)` → `(logits, cache)`: `tokens` (B, n) int64, `logits` (B, n, V) for these n tokens. `cache` is `None` at first; it is whatever the model returned last: a dict, a tensor, the number 0. You only pass it on.
# - `prompt` (B, T) with T ≥ 1. Return (B, T + n_new): the prompt, then in each row the most probable next token, again and again. `n_new ≥ 0`.
# - Call `step` exactly `n_new` times: first with the whole prompt, then with the one newest token, shape (B, 1). No call for `n_new = 0`.
#
# A prompt of 5 tokens and `n_new = 3`: `step` sees shapes (B, 5), (B, 1), (B, 1).
#
# <details><summary>Hint 1</summary>Which of the n rows of logits predicts the next token?</details>
# <details><summary>Hint 2</summary>The last one. Keep its axis, so that the new token is (B, 1).</details>


# %% exercise="transformers.generate" points=3
def generate(step, prompt: Tensor, n_new: int) -> Tensor:
    """Greedy decoding with a cache: prompt (B, T) → (B, T + n_new)."""
    ### BEGIN SOLUTION
    tokens, new, cache = prompt, prompt, None
    for _ in range(n_new):
        logits, cache = step(new, cache)
        new = logits[:, -1:].argmax(-1)  # (B, 1)
        tokens = torch.cat([tokens, new], dim=1)
    return tokens
    ### END SOLUTION


# %% check="transformers.generate"
def counting(tokens: Tensor, cache: int | None) -> tuple[Tensor, int]:
    """A toy model: after token t comes t + (number of tokens read so far), modulo 10."""
    seen = (cache or 0) + torch.arange(1, tokens.shape[1] + 1)
    return F.one_hot((tokens + seen) % 10, 10).float(), int(seen[-1])


got = generate(counting, torch.tensor([[3, 1], [2, 5]]), 3)
assert got.shape == (2, 5), f"prompt and three new tokens: (2, 5), not {tuple(got.shape)}"
assert got.tolist() == [[3, 1, 3, 6, 0], [2, 5, 7, 0, 4]], f"got {got.tolist()}: is the cache passed on?"

# %% [markdown]
# Greedy text repeats itself. To sample, reshape the probabilities first: **temperature** stretches the logits, **top-k** keeps the k best tokens, **top-p** (nucleus) keeps the smallest set that holds a share p.
#
# ### Exercise transformers.next-token · difficulty 3 of 5 · 15 min · 3 points
#
# Write `next_token_probs(logits, temperature=1.0, top_k=None, top_p=None)`.
#
# - `logits`: float tensor (V,). The result is (V,), token by token in the same order, and sums to 1.
# - In this order: divide by the temperature; keep the `top_k` largest (all, if `top_k ≥ V`) and renormalise; of these keep the smallest set of most probable tokens whose probabilities sum to at least `top_p`; renormalise.
#   The most probable token always stays.
# - `temperature = 0` means greedy: probability 1 for the first largest logit, 0 elsewhere, whatever the rest says. Temperatures are not negative, `top_k ≥ 1`, `0 < top_p ≤ 1`.
# - Logits of several thousand must not overflow. Inputs with top-k or top-p have no ties.
#
# Probabilities 0.5, 0.3, 0.2 with `top_p = 0.6`: the first two stay, 0.625 and 0.375.
#
# <details><summary>Hint 1</summary>Does the token that crosses the threshold belong to the set?</details>
# <details><summary>Hint 2</summary>Sorted by probability, a token stays while the mass *before* it is below p.</details>


# %% exercise="transformers.next-token" points=3
def next_token_probs(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Probabilities of the next token (V,) after temperature, top-k and top-p."""
    ### BEGIN SOLUTION
    if temperature == 0:
        return F.one_hot(logits.argmax(), len(logits)).to(logits.dtype)
    value, index = (logits / temperature).sort(descending=True)
    p = value[:top_k].softmax(0)  # the k best, most probable first
    if top_p is not None:
        p = p[p.cumsum(0) - p < top_p]
    return torch.zeros_like(logits).index_put((index[: len(p)],), p / p.sum())
    ### END SOLUTION


# %% check="transformers.next-token"
logits = torch.tensor([0.2, 0.5, 0.3]).log()


def close(got, want) -> bool:
    return np.allclose(np.asarray(got), want, atol=1e-5)


assert close(next_token_probs(logits), [0.2, 0.5, 0.3]), "temperature 1 and no cut: softmax"
assert close(next_token_probs(logits, 0.5), [0.105263, 0.657895, 0.236842]), "divide the logits by the temperature"
assert close(next_token_probs(logits, 0.0), [0, 1, 0]), "temperature 0 is greedy"
assert close(next_token_probs(logits, top_k=2), [0, 0.625, 0.375]), "top-k: cut, then renormalise"
assert close(next_token_probs(logits, top_p=0.6), [0, 0.625, 0.375]), "0.5 is less than 0.6, so the next token belongs to the nucleus"

# %% [markdown]
# ## A language model in a few seconds
#
# All of it together: 112,000 parameters, two pre-LN blocks of four heads, RoPE, a cache. It reads the standard library's own source, character by character. Here is one block; a cache entry is a pair (keys, values).


# %%
class LMBlock(nn.Module):
    """Pre-LN block with RoPE; reads and returns a cache entry (k, v)."""

    def __init__(self, d: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor, cache: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = self.qkv(self.ln1(x)).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, n, d)
        past = 0 if cache is None else cache[0].shape[2]
        here = torch.arange(past, past + x.shape[1])
        q, k = demos.rotate(q, here), demos.rotate(k, here)
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.arange(past + x.shape[1]) <= here[:, None])
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.ln2(x)))), (k, v)


class LanguageModel(nn.Module):
    """tokens (B, n) and a cache → logits (B, n, V) and the longer cache."""

    def __init__(self, vocab: int, d: int = 64, n_heads: int = 4, n_layers: int = 2) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(vocab, d), nn.Linear(d, vocab)
        self.blocks, self.ln = nn.ModuleList(LMBlock(d, n_heads) for _ in range(n_layers)), nn.LayerNorm(d)

    def forward(self, tokens: Tensor, cache: list | None = None) -> tuple[Tensor, list]:
        x, new = self.embed(tokens), []
        for block, entry in zip(self.blocks, cache or [None] * len(self.blocks)):
            x, entry = block(x, entry)
            new.append(entry)
        return self.head(self.ln(x)), new


# %% [markdown]
# A million characters, 97 different ones. Four spaces of indentation become one tab, or the model would spend its life counting spaces. The last tenth is held out. An untrained model should
# score about $\ln 97=4.57$ nats per character: it knows nothing.

# %%
text = data.stdlib_text(1_400_000).replace("    ", "\t")[:1_000_000]
alphabet = sorted(set(text))
number = {c: i for i, c in enumerate(alphabet)}
ids = torch.tensor([number[c] for c in text])
train_ids, test_ids = ids[:900_000], ids[900_000:]


def windows(source: Tensor, n: int, generator: torch.Generator, length: int = 81) -> Tensor:
    """n random pieces of the text, (n, length)."""
    start = torch.randint(len(source) - length, (n, 1), generator=generator)
    return source[start + torch.arange(length)]


# %%
def nats(model: nn.Module, batch: Tensor) -> Tensor:
    """Mean cross-entropy of the next character: logits at t against token t + 1."""
    logits, _ = model(batch[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


torch.manual_seed(0)
rng = torch.Generator().manual_seed(0)
model = LanguageModel(len(alphabet))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01, fused=True)  # one kernel for all parameters
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=400, pct_start=0.1)
print(
    f"{sum(p.numel() for p in model.parameters()):,} parameters, loss before training {nats(model, windows(test_ids, 64, rng)).item():.2f}"
)

# %%
curve = []
for _ in range(400):
    loss = nats(model, windows(train_ids, 6, rng))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    curve.append(loss.item())
with torch.no_grad():
    held_out = nats(model, windows(test_ids, 200, rng)).item()
print(f"after 400 steps: {held_out:.2f} nats on held-out text")

# %% demo="transformers.small-lm" covers="transformers.small-lm"
pairs = torch.bincount(train_ids[:-1] * len(alphabet) + train_ids[1:], minlength=len(alphabet) ** 2).view(len(alphabet), -1) + 0.1
bigram = -(pairs / pairs.sum(1, keepdim=True)).log()[test_ids[:-1], test_ids[1:]].mean().item()
figures.show(
    demos.learning_curve(curve, {"nothing known: ln 97": math.log(len(alphabet)), "one character back": bigram, "held out": held_out}),
    alt="Training loss falls from 4.6 nats to well under the loss of a table of character pairs",
)

# %% [markdown]
# **What to see.** A table of character pairs, the best you can do with one character of context, stops at the middle line. The model passes it within a hundred steps or so: it uses attention.
# **Try** 1500 steps.
#
# Now let it write. First with full recomputation, then with the cache, drawing with the same random numbers. In exact arithmetic both are the same function. In
# floating point the order of summation differs, so compare in double precision, where a last digit will not tip a draw.


# %%
@torch.no_grad()
def write(model: nn.Module, prompt: str, n_new: int, cached: bool, seed: int = 0, temperature: float = 0.7) -> tuple[str, int]:
    """The prompt continued by n_new sampled characters, and how many token positions the model computed."""
    rng, work = torch.Generator().manual_seed(seed), 0
    tokens = torch.tensor([[number[c] for c in prompt]])
    new, cache = tokens, None
    for _ in range(n_new):
        logits, kept = model(new if cached else tokens, cache)
        work, cache = work + logits.shape[1], kept if cached else None
        new = torch.multinomial((logits[:, -1] / temperature).softmax(-1), 1, generator=rng)
        tokens = torch.cat([tokens, new], dim=1)
    return "".join(alphabet[i] for i in tokens[0]), work


# %% demo="transformers.cache-check" covers="transformers.kv-cache transformers.tq04 transformers.small-lm bank.tq14"
model = model.double().eval()
for seed, prompt in enumerate(["\tdef get(", "\t\treturn ", "class Test("]):
    slow, slow_work = write(model, prompt, 70, cached=False, seed=seed)
    fast, fast_work = write(model, prompt, 70, cached=True, seed=seed)
    print(fast.expandtabs(4), f"\n--- same text: {fast == slow}; positions computed: {slow_work:,} without a cache, {fast_work} with it\n")
    assert fast == slow

# %% [markdown]
# **What to see.** Gibberish with the manners of Python: indentation, `return` and `if` at the starts of lines, brackets and quotation marks that mostly come in pairs. And the cache changes not one character. **Try** 400 new characters: soon after the 80 it was
# trained on the text falls apart.
#
# One text could agree by luck. So check it where luck does not help: the logits of every position, in chunks of uneven size, against one pass.

# %%
with torch.no_grad():
    sample = test_ids[None, :80]
    whole, _ = model(sample)
    cache, parts = None, []
    for piece in sample.split([30, 1, 1, 20, 28], dim=1):
        logits, cache = model(piece, cache)
        parts.append(logits)
print(f"largest difference over 80 positions: {(torch.cat(parts, 1) - whole).abs().max():.0e}")
assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-9)

# %% [markdown]
# Why the text falls apart after 80 characters can be measured. Training windows were 80 long, so RoPE has never turned to larger distances. Feed windows of 320 and look at the loss by position.

# %% demo="transformers.beyond-training" covers="transformers.positions"
with torch.no_grad():
    batch = windows(test_ids, 60, rng, length=321)
    logits, _ = model(batch[:, :-1])
    by_position = F.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none").mean(0)
for start in range(0, 320, 80):
    print(f"positions {start:3d} to {start + 79:3d}: {by_position[start : start + 80].mean():.2f} nats")

# %% [markdown]
# **What to see.** From 2.3 nats inside the trained length to 2.9 beyond it: worse than the table of character pairs. Relative is not the same as ready for any length. **Try** training with `length=161`.

# %% demo="transformers.heads" covers="transformers.multihead transformers.qkv-roles transformers.hook"
explore(
    lambda layer, head: demos.head_map(model, number, "for name in names:\n\tprint(name)", layer, head),
    alt="Causal attention weights of one head of the trained model over a line of code",
    layer=[2, 1],
    head=(1, 4, 1, 1),
)

# %% [markdown]
# **What to see.** Rows read, columns are read; right of the diagonal all is empty. In our run head 1 of layer 2 makes each letter look at the sign in front of its word, and nobody told it what a word is.
# **Try** head 3, which looks one character back, and layer 1, where heads spread over everything.
#
# ## When training breaks
#
# The loss was fine for 8000 steps and is now `nan`. You will read different orders; there is no fixed one. What matters is to look before you turn knobs:
#
# 1. **Measure the gradient norm** of the steps before. A spike? Clip the global norm at 1.0 or less; it is standard anyway.
# 2. **Precision.** fp16 ends at 65,504; a score beyond is `inf`. bf16 has the range of float32 (and fewer digits), so it is preferred for language models. With fp16 use loss scaling.
# 3. **Empty rows.** A query whose keys are all masked is softmax over $-\infty$ only: 0/0. Left padding makes such rows by the dozen.
# 4. **The batch itself.** A sequence of pads only, a target out of range.
# 5. **The learning rate** last. Lowering it first hides 1 to 4 and throws away a run.
#
# And where results are bad rather than `nan`, walk the pipeline in order: data, labels, shapes, masks, positions, train/eval mode, loss, optimizer. Hyper-parameters come after all of these.
# Two numbers are free: the loss at initialisation should be about $\ln V$, and one batch should be learned by heart. With $V=50{,}000$, a first loss of 3.1 instead of 10.8 is no luck: with tied embeddings an
# untrained model scores its own input, so the labels were not shifted.
#
# ## Debug clinic
#
# Three programs that run. Each has a symptom you can see.
#
# ### Exercise transformers.lm-loss · difficulty 2 of 5 · 12 min · 3 points
#
# **Symptom.** With 97 characters the loss starts at 4.57 and never falls below 3.59, however good the model. And a model that merely copies its input looks best. Repair `lm_loss(logits, tokens, pad)`.
#
# - `logits` (B, T, V) raw, `tokens` (B, T) int64, T ≥ 2, `pad` an int. Tokens and `pad` lie in 0 … V − 1. The logits at position t are scored against token t + 1.
# - Targets equal to `pad` do not count, wherever they stand. At least one target counts.
# - The result is the mean over all counted targets of the batch: a scalar tensor through which gradients flow to `logits`.
# - Logits may reach several thousand in size: the loss is then large, not `inf`.
#
# Uniform logits over V tokens give $\ln V$.
#
# <details><summary>Hint 1</summary>What does cross_entropy do first with what you give it?</details>
# <details><summary>Hint 2</summary>T positions make T − 1 predictions that have a target.</details>


# %% exercise="transformers.lm-loss" points=3
def lm_loss(logits: Tensor, tokens: Tensor, pad: int) -> Tensor:
    """Mean next-token cross-entropy over targets that are not pad."""
    ### BEGIN SOLUTION
    predictions, targets = logits[:, :-1], tokens[:, 1:]
    return F.cross_entropy(predictions.flatten(0, 1), targets.flatten(), ignore_index=pad)
    ### END SOLUTION


# %% broken="transformers.lm-loss"
def lm_loss(logits: Tensor, tokens: Tensor, pad: int) -> Tensor:
    """Mean next-token cross-entropy over targets that are not pad."""
    probs = logits.softmax(-1)
    return F.cross_entropy(probs.reshape(-1, probs.shape[-1]), tokens.reshape(-1))


# %% check="transformers.lm-loss"
tokens = torch.tensor([[1, 2, 3, 1, 2, 3]])
ahead, copy = (20.0 * F.one_hot(z, 5).float() for z in (tokens.roll(-1, 1), tokens))
assert abs(lm_loss(torch.zeros(1, 6, 5), tokens, 0).item() - math.log(5)) < 1e-4, "uniform logits give ln V"
assert lm_loss(ahead, tokens, 0) < 0.01, f"a model that knows the next token has loss 0, not {lm_loss(ahead, tokens, 0).item():.2f}"
assert lm_loss(copy, tokens, 0) > 5, f"a model that copies its input must not look good: {lm_loss(copy, tokens, 0).item():.2f}"
padded = torch.tensor([[1, 2, 3, 0, 0, 0]])
assert lm_loss(ahead, padded, 0) < 0.01, "pads must not count as targets"

# %% [markdown]
# ### Exercise transformers.nan-rows · difficulty 4 of 5 · 20 min · 4 points
#
# **Symptom.** Two attention layers on a left-padded batch. After layer one, only the pads are `nan`, and one might shrug. After layer two everything is. (0 · nan is nan.) Repair `padded_stack(x, valid, layers)`.
#
# - `x` (B, T, D); `valid` (B, T) boolean, True at real tokens; pads may stand on the left, on the right or in between, and a row may be all pads.
# - `layers`: list of `(W_q, W_k, W_v)`, each (D, D), used as `x @ W.T`. One head, a residual, no norm, no positions: $h\leftarrow h+\mathrm{softmax}(QK^\top/\sqrt D)V$, causal.
# - The output (B, T, D) at real tokens equals that of the same stack run on the real tokens alone. At pads it is 0.
# - Scores of either sign and up to 50,000 in size must not lose to a masked one.
# - Output and gradient with respect to `x` are finite; the gradient too equals that of the unpadded run, and is 0 at pads.
#
# One real token that sees itself only: its weight is 1, so one layer gives $x+W_vx$.
#
# <details><summary>Hint 1</summary>Patching the output comes too late, for the next layer and for the gradient. Can you keep the row from being empty?</details>
# <details><summary>Hint 2</summary>Let every token see itself. Nobody reads a pad, so what a pad computes does no harm until you set it to 0 at the end.</details>


# %% exercise="transformers.nan-rows" points=4
def padded_stack(x: Tensor, valid: Tensor, layers: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Causal single-head attention layers on a padded batch; 0 at pads."""
    ### BEGIN SOLUTION
    T, h = x.shape[1], x
    itself = torch.eye(T, dtype=torch.bool)
    mask = torch.ones(T, T, dtype=torch.bool).tril() & (valid[:, None, :] | itself)  # (B, T, T)
    for W_q, W_k, W_v in layers:
        q, k, v = h @ W_q.T, h @ W_k.T, h @ W_v.T
        scores = (q @ k.transpose(1, 2) / math.sqrt(x.shape[-1])).masked_fill(~mask, -math.inf)
        h = h + scores.softmax(-1) @ v
    return h.masked_fill(~valid[..., None], 0.0)
    ### END SOLUTION


# %% broken="transformers.nan-rows"
def padded_stack(x: Tensor, valid: Tensor, layers: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Causal single-head attention layers on a padded batch; 0 at pads."""
    T, h = x.shape[1], x
    mask = torch.ones(T, T, dtype=torch.bool).tril() & valid[:, None, :]  # (B, T, T)
    for W_q, W_k, W_v in layers:
        q, k, v = h @ W_q.T, h @ W_k.T, h @ W_v.T
        scores = (q @ k.transpose(1, 2) / math.sqrt(x.shape[-1])).masked_fill(~mask, -math.inf)
        h = h + scores.softmax(-1) @ v
    return h


# %% check="transformers.nan-rows"
torch.manual_seed(7)
x, layers = torch.randn(1, 4, 3, dtype=torch.float64), [tuple(torch.randn(3, 3, 3, dtype=torch.float64)) for _ in range(2)]
valid = torch.tensor([[False, False, True, True]])
x.requires_grad_()
out = padded_stack(x, valid, layers)
assert torch.isfinite(out).all(), "nan in the output: which rows have no key to attend to?"
assert (out[0, :2] == 0).all(), "the output at pads is 0"
alone = padded_stack(x[:, 2:], valid[:, 2:], layers)
assert torch.allclose(out[:, 2:], alone), "the real tokens differ from a run without pads"
out.sum().backward()
assert torch.isfinite(x.grad).all(), "the gradient is not finite"

# %% [markdown]
# ### Exercise transformers.debug-decoder · difficulty 5 of 5 · 35 min · 6 points
#
# **Symptom.** It runs, its first loss is near $\ln V$, its loss falls. But change the last token of a row, and the logits of *all* positions move. Put a row into another batch, and its logits change as well.
# Five faults are planted in the two `forward` methods. Repair `TinyDecoder(vocab, d_model, n_heads, n_layers, max_len)`.
#
# - `forward(tokens)`: (B, T) int64 with T ≤ max_len → logits (B, T, vocab). Pre-LN blocks, exact GELU, learned positions 0 … T−1 added to the embeddings.
# - The names and shapes of all parameters stay as they are: weights are loaded into your model and its outputs and gradients compared with a sound one in double precision. The output features of `qkv` are
#   all of Q, then all of K, then all of V; heads are consecutive slices.
# - Changing token t changes logits at t and later, none before. Scores of either sign and up to 50,000 in size must not lose to a masked one.
#   A row's logits do not depend on the rest of the batch. It works in float32 and float64 and on any device: make new tensors where `tokens` are.
#
# Work in the order of the checklist above: shapes, masks, positions. Each fault has a test that finds it.
#
# <details><summary>Hint 1</summary>Two faults are shapes that fit by accident, one is a number that is not −∞, one counts the wrong axis, one forgets.</details>
# <details><summary>Hint 2</summary>(B, T, D) → (B, T, h, d) → (B, h, T, d) and back by the same road; masked scores are −∞; positions count tokens; x + attention.</details>


# %% exercise="transformers.debug-decoder" points=6
class Block(nn.Module):
    """One pre-LN decoder block."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.ln1, self.ln2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        ### BEGIN SOLUTION
        q, k, v = (z.reshape(B, T, self.n_heads, -1).transpose(1, 2) for z in self.qkv(self.ln1(x)).chunk(3, dim=-1))
        causal = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        scores = q @ k.transpose(-2, -1) / math.sqrt(D // self.n_heads)
        weights = scores.masked_fill(~causal, -math.inf).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(self.ln2(x))))
        ### END SOLUTION


class TinyDecoder(nn.Module):
    """Decoder-only transformer: tokens (B, T) → logits (B, T, vocab)."""

    def __init__(self, vocab: int, d_model: int, n_heads: int, n_layers: int, max_len: int) -> None:
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(vocab, d_model), nn.Embedding(max_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.ln_f, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab)

    def forward(self, tokens: Tensor) -> Tensor:
        B, T = tokens.shape
        ### BEGIN SOLUTION
        x = self.tok_emb(tokens) + self.pos_emb(torch.arange(T, device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))
        ### END SOLUTION


# %% broken="transformers.debug-decoder"
class Block(nn.Module):
    """One pre-LN decoder block."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.ln1, self.ln2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = (z.reshape(B, self.n_heads, T, -1) for z in self.qkv(self.ln1(x)).chunk(3, dim=-1))
        causal = torch.ones(T, T, device=x.device).tril()
        scores = q @ k.transpose(-2, -1) / math.sqrt(D // self.n_heads) * causal
        weights = scores.softmax(-1)
        x = self.out((weights @ v).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class TinyDecoder(nn.Module):
    """Decoder-only transformer: tokens (B, T) → logits (B, T, vocab)."""

    def __init__(self, vocab: int, d_model: int, n_heads: int, n_layers: int, max_len: int) -> None:
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(vocab, d_model), nn.Embedding(max_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.ln_f, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab)

    def forward(self, tokens: Tensor) -> Tensor:
        B, T = tokens.shape
        x = self.tok_emb(tokens) + self.pos_emb(torch.arange(B, device=tokens.device))[:, None]
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))


# %% check="transformers.debug-decoder"
torch.manual_seed(8)
model, tokens = TinyDecoder(11, 12, 3, n_layers=2, max_len=6).double(), torch.randint(11, (3, 5))
changed = torch.cat([tokens[:, :-1], (tokens[:, -1:] + 1) % 11], dim=1)
out, moved = model(tokens), (model(changed) - model(tokens)).abs().amax((0, 2)) > 1e-9
assert out.shape == (3, 5, 11), f"logits (B, T, vocab), not {tuple(out.shape)}"
assert not moved[:-1].any(), f"a change of the last token moves positions {moved.nonzero()[:, 0].tolist()}: the future leaks"
assert torch.allclose(model(tokens[2:]), out[2:]), "a row depends on its place in the batch: what do the positions count?"
swapped = model(tokens[:, [1, 0, 2, 3, 4]])
assert not torch.allclose(swapped[:, -1], out[:, -1]), "the order of earlier tokens makes no difference"
assert abs(F.cross_entropy(out.flatten(0, 1), tokens.flatten()).item() - math.log(11)) < 1.0, "the first loss should be near ln V"

# %% [markdown]
# ## Write the test
#
# ### Exercise transformers.test-causal · difficulty 4 of 5 · 20 min · 4 points
#
# Somebody hands you a function `attention(q, k, v)`: causal scaled dot-product attention of one head. Write `check_causal_attention(attention)`, which raises `AssertionError` (or any other error) for a wrong
# implementation and returns for a right one.
#
# - It takes NumPy arrays `q` (T, d), `k` (T, d), `v` (T, e) and returns (T, e), computed in double precision. A right one may be written in any way, so allow for rounding of 1e-9 or so.
# - Your score: the share of ten wrong implementations that you reject (leaks, large and small, wrong masks, wrong scale, wrong axis, …), less the right ones that you reject.
# - Use your own inputs; any library is allowed.
#
# The first row of a right result is `v[0]`: the first token sees itself only.
#
# <details><summary>Hint 1</summary>What do you know for sure? The first row; which rows may move when a later token changes; one small example by hand.</details>
# <details><summary>Hint 2</summary>A slow loop over rows that you trust is a fine oracle: $\mathrm{softmax}(k_{\le i}\,q_i/\sqrt d)\,v_{\le i}$.</details>


# %% exercise="transformers.test-causal" points=4
def check_causal_attention(attention) -> None:
    """Raise AssertionError unless `attention(q, k, v)` is causal scaled dot-product attention."""
    ### BEGIN SOLUTION
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(6, 4)), rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    got = np.asarray(attention(q, k, v))
    assert got.shape == (6, 3), f"shape {got.shape}"
    for i in range(6):
        weights = np.exp(k[: i + 1] @ q[i] / 2)  # sqrt(4) = 2
        assert np.allclose(got[i], weights @ v[: i + 1] / weights.sum(), atol=1e-7), f"row {i} is wrong"
    ### END SOLUTION


# %% check="transformers.test-causal"
def torch_attention(q, k, v):
    parts = (torch.as_tensor(z)[None] for z in (q, k, v))
    return F.scaled_dot_product_attention(*parts, is_causal=True)[0].numpy()


check_causal_attention(torch_attention)  # a right one passes
try:
    check_causal_attention(lambda q, k, v: v)
except AssertionError:
    print("A function that returns v is caught.")
else:
    raise AssertionError("your check accepts a function that just returns v")

# %% [markdown]
# ## Interview questions
#
# Answer first, in a sentence, before you look at the options. Then say why each of the others is wrong: that is what a follow-up question asks.

# %% quiz=true

# %% [markdown]
# ## One-page recap
#
# | | |
# |---|---|
# | attention | $\mathrm{softmax}(QK^\top/\sqrt{d_k})V$; query asks, key offers, value is passed on |
# | $\sqrt{d_k}$ | scores have variance $d_k$; unscaled softmax saturates and its gradient dies |
# | mask | $-\infty$ before softmax; never 0, never afterwards; diagonal open; new queries are the last rows; empty rows are `nan` |
# | heads | reshape (B, T, h, d), then transpose; same parameters and products as one head, $h$ score matrices |
# | positions | sinusoidal, learned: added to embeddings; RoPE: turns Q and K; ALiBi: penalty on scores |
# | block | $x+\mathrm{MHA}(\mathrm{LN}(x))$, then $x+\mathrm{FFN}(\mathrm{LN}(x))$; only attention mixes tokens; post-LN needs warmup most |
# | cost | $O(n^2d)$ work, $O(n^2)$ memory if stored; FlashAttention: same function, $O(n)$ memory, last bits may differ |
# | KV cache | decoding only; $2\cdot L\cdot H_{kv}\cdot d\cdot n\cdot B$ numbers; position of the next token = cached tokens; GQA shrinks $H_{kv}$, not the queries |
# | families | encoder reads, decoder writes, encoder-decoder translates |
# | first aid | first loss $\ln V$; one batch by heart; for `nan`: gradient norm, precision, empty rows, data, learning rate last |
#
# In one sentence: attention mixes tokens and needs positions, the feed-forward part transforms each token, and pre-LN residuals hold the stack together.
