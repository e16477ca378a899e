import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from autograder.authoring import call, exercise, group, normal, right, shaped, st, tensors, trap

INF = float("inf")


def t(*shape, seed=0, scale=1.0, dtype=torch.float64):
    """A fixed tensor of normal draws, rounded so that people can read it."""
    return torch.from_numpy(np.round(normal(shape, scale, seed), 3)).to(dtype)


def allowed(*shape, seed=0, share=0.6):
    """A random boolean mask in which every query may attend to at least one key."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < share
    mask[..., 0] |= ~mask.any(-1)
    return torch.from_numpy(mask)


def tril(T_q, T_k=None):
    T_k = T_k or T_q
    return torch.ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q)


# ---------------------------------------------------------------------------------------------- attention itself


def masked_softmax(scores, mask, fill=-INF, dim=-1):
    if mask is not None:
        scores = scores.masked_fill(~mask, fill)
    return torch.softmax(scores, dim)


def quiet(weights):
    return torch.where(weights.isnan(), torch.zeros_like(weights), weights)


def sdpa_with_gradients(submission, q, k, v, mask=None):
    q, k, v = (z.clone().requires_grad_() for z in (q, k, v))
    out, weights = submission.sdpa(q, k, v, mask)
    torch.manual_seed(0)
    target = torch.arange(out.numel(), dtype=torch.float64).cos().reshape(out.shape).to(out.dtype)
    grads = torch.autograd.grad((out * target).sum(), (q, k, v))
    return {"output": out, "gradient of q": grads[0], "gradient of k": grads[1], "gradient of v": grads[2]}


@st.composite
def attention_calls(draw, with_mask=False):
    B, H, T, S, d, e = (draw(st.integers(1, n)) for n in (2, 3, 4, 5, 6, 4))
    q, k = draw(tensors((B, H, T, d), -3, 3)), draw(tensors((B, H, S, d), -3, 3))
    v = draw(tensors((B, H, S, e), -3, 3))
    if not with_mask:
        return call(q, k, v)
    shape = draw(st.sampled_from([(T, S), (B, H, T, S), (B, 1, 1, S), (1, H, T, S)]))
    return call(q, k, v, mask=allowed(*shape, seed=draw(st.integers(0, 99))))


def qkv(B, H, T, S, d, e, seed, scale=1.0, dtype=torch.float64):
    return (
        t(B, H, T, d, seed=seed, scale=scale, dtype=dtype),
        t(B, H, S, d, seed=seed + 1, scale=scale, dtype=dtype),
        t(B, H, S, e, seed=seed + 2, dtype=dtype),
    )


# allowed scores near -20000, spread by a few units: a finite fill lies far above them
FAR_BELOW = (
    torch.full((1, 1, 2, 4), -200.0, dtype=torch.float64),
    t(1, 1, 3, 4, seed=7, scale=0.005) + 50,
    t(1, 1, 3, 2, seed=8),
)
# allowed scores near 0 beside a forbidden one of +5000
ONE_LOUD = (
    torch.ones(1, 1, 3, 4, dtype=torch.float64),
    t(1, 1, 4, 4, seed=9) + 2500.0 * torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)[:, None],
    t(1, 1, 4, 2, seed=10),
)
# allowed scores near −49,800 beside a forbidden one of +49,800
LOW_AND_LOUD = (
    torch.full((1, 1, 2, 4), 100.0, dtype=torch.float64),
    t(1, 1, 4, 4, seed=7, scale=0.005) + 249.0 * torch.tensor([-1.0, 1.0, -1.0, -1.0], dtype=torch.float64)[:, None],
    t(1, 1, 4, 2, seed=8),
)


def holes(*shape, empty, seed=0):
    mask = allowed(*shape, seed=seed)
    mask[..., empty, :] = False
    return mask


@exercise(
    "transformers.sdpa",
    names="sdpa",
    covers=["transformers.sdpa", "transformers.sqrt-dk", "transformers.tq01", "transformers.fig-sdpa", "bank.tq09", "thirty.tq12"],
    forbid=[
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.MultiheadAttention",
        "torch.nn.functional.multi_head_attention_forward",
    ],
    keeps_dtype=True,
)
class Sdpa:
    def reference(q, k, v, mask=None):
        eye = torch.eye(k.shape[-2], dtype=k.dtype).expand(*k.shape[:-1], k.shape[-2])
        return tuple(F.scaled_dot_product_attention(q, k, z, attn_mask=mask) for z in (v, eye))

    cases = {
        "values": group(
            [attention_calls(), call(*qkv(2, 3, 5, 7, 4, 6, 1)), call(*qkv(2, 2, 4, 4, 4, 4, 5)), call(*qkv(1, 1, 1, 6, 64, 3, 8))], n=8
        ),
        "mask": group(
            [
                attention_calls(with_mask=True),
                call(*qkv(2, 3, 5, 5, 4, 6, 11), mask=tril(5)),
                call(*qkv(2, 2, 3, 5, 8, 3, 12), tril(3, 5)),
                call(*qkv(3, 2, 4, 6, 3, 2, 13, scale=2.0), mask=allowed(3, 1, 1, 6, seed=3)),
                call(*qkv(2, 3, 4, 5, 6, 7, 14), mask=allowed(2, 3, 4, 5, seed=4)),
                call(*qkv(2, 2, 4, 5, 6, 7, 15), mask=allowed(2, 4, 5, seed=5)),
                call(*qkv(2, 2, 3, 4, 5, 3, 17), mask=torch.tensor([[True], [False], [True]])),
            ],
            n=10,
        ),
        "empty rows": [
            call(*qkv(1, 2, 4, 5, 3, 4, 21), mask=holes(4, 5, empty=[0, 2])),
            call(*qkv(2, 2, 3, 4, 5, 3, 22), mask=holes(2, 1, 3, 4, empty=[1], seed=1)),
            call(*qkv(1, 1, 2, 3, 2, 2, 23), mask=torch.zeros(2, 3, dtype=torch.bool)),
            call(*qkv(2, 1, 3, 6, 4, 5, 24, scale=3.0), mask=holes(3, 6, empty=[2], seed=2)),
        ],
        "stability": [
            call(*qkv(1, 2, 3, 5, 4, 3, 31, scale=40.0)),
            call(torch.full((1, 1, 2, 4), -50.0, dtype=torch.float64), t(1, 1, 3, 4, seed=3).abs() + 40, t(1, 1, 3, 2, seed=4)),
            call(torch.full((1, 1, 2, 4), 50.0, dtype=torch.float64), t(1, 1, 3, 4, seed=5, scale=0.01) + 40, t(1, 1, 3, 2, seed=6)),
            call(*FAR_BELOW, mask=torch.tensor([[True, False, True], [False, True, True]])),
            call(*ONE_LOUD, mask=torch.tensor([[True, False, True, True]])),
            call(*LOW_AND_LOUD, mask=torch.tensor([[True, False, True, True]])),
            call(*LOW_AND_LOUD, mask=torch.tensor([[True, False, True, False], [False, False, True, True]])),
        ],
        "gradients": group(
            [
                call(*qkv(2, 2, 3, 4, 5, 3, 41)),
                call(*qkv(1, 2, 4, 4, 3, 4, 42)),
                call(*qkv(1, 2, 4, 4, 3, 5, 43), tril(4)),
                call(*qkv(1, 2, 3, 4, 5, 3, 44), holes(3, 4, empty=[1])),
            ],
            probe=sdpa_with_gradients,
        ),
        "dtype": [
            call(*qkv(2, 2, 3, 4, 5, 3, 51, dtype=torch.float32)),
            call(*qkv(1, 2, 4, 4, 3, 4, 52, dtype=torch.float32), mask=tril(4)),
            call(*qkv(1, 1, 3, 4, 2, 4, 53, dtype=torch.float32), mask=holes(3, 4, empty=[1])),
        ],
    }

    @trap("You divide by d_k. Dot products of d_k unit-variance features have variance d_k, so their standard deviation is sqrt(d_k).")
    def divides_by_dk(q, k, v, mask=None):
        w = quiet(masked_softmax(q @ k.transpose(-2, -1) / q.shape[-1], mask))
        return w @ v, w

    @trap("The scores are not scaled. Divide them by sqrt(d_k) before the softmax, or it saturates as d_k grows.")
    def no_scale(q, k, v, mask=None):
        w = quiet(masked_softmax(q @ k.transpose(-2, -1), mask))
        return w @ v, w

    @trap("The scale comes from the width of v. It belongs to the dot product: use the last dimension of q and k.")
    def scale_of_v(q, k, v, mask=None):
        w = quiet(masked_softmax(q @ k.transpose(-2, -1) / v.shape[-1] ** 0.5, mask))
        return w @ v, w

    @trap("The softmax runs over the queries. Each query shares out one unit of attention: normalise over keys, the last axis.")
    def softmax_over_queries(q, k, v, mask=None):
        w = quiet(masked_softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, mask, dim=-2))
        return w @ v, w

    @trap("Masked scores are set to 0, but exp(0) = 1: forbidden keys keep weight. Fill with -inf, so that the weight becomes 0.")
    def masks_with_zero(q, k, v, mask=None):
        w = masked_softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, mask, fill=0.0)
        if mask is not None:
            w = w * mask.any(-1, keepdim=True)
        return w @ v, w

    @trap("The mask comes after the softmax: forbidden keys are still in the denominator, so rows sum to less than 1. Mask the scores.")
    def masks_after_softmax(q, k, v, mask=None):
        w = torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, -1)
        if mask is not None:
            w = w * mask
        return w @ v, w

    @trap("The mask is read the wrong way round. Here True means that the query may attend to the key, as in torch's SDPA.")
    def mask_inverted(q, k, v, mask=None):
        w = quiet(masked_softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, None if mask is None else ~mask))
        return w @ v, w

    @trap("The mask is read the wrong way round. Here True means that the query may attend to the key, as in torch's SDPA.")
    def mask_inverted_naive(q, k, v, mask=None):
        w = masked_softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, None if mask is None else ~mask)
        return w @ v, w

    @trap("A row with no allowed key is NaN: softmax over -inf only is 0/0. Return zero weights for such rows.")
    def nan_rows(q, k, v, mask=None):
        w = masked_softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, mask)
        return w @ v, w

    @trap(
        "A finite fill hides the NaN: in a row with no allowed key it spreads the weight evenly over forbidden keys. Such rows must be 0."
    )
    def finite_fill(q, k, v, mask=None):
        w = masked_softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, mask, fill=-1e9)
        return w @ v, w

    @trap("A finite fill is not below every score: where the allowed ones are lower still, forbidden keys take the weight. Use -inf.")
    def fill_not_low_enough(q, k, v, mask=None):
        w = masked_softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, mask, fill=-1e4)
        if mask is not None:
            w = w * mask
        return w @ v, w

    @trap(
        "Masked after the softmax and renormalised: one large forbidden score leaves 0/0 for the rest. Mask the scores, before the softmax."
    )
    def renormalised(q, k, v, mask=None):
        w = torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, -1)
        if mask is not None:
            w = w * mask
            w = w / w.sum(-1, keepdim=True).clamp(min=1e-30)
        return w @ v, w

    @trap("A constant taken off forbidden scores leaves a loud key above the quiet ones. Replace the score by -inf.")
    def constant_subtracted(q, k, v, mask=None):
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        w = torch.softmax(scores if mask is None else scores - 1e4 * ~mask, -1)
        if mask is not None:
            w = w * mask.any(-1, keepdim=True)
        return w @ v, w

    @trap("A mask with three axes broadcasts as (H, T, S); you read its first axis as the batch.")
    def three_axes_read_as_batch(q, k, v, mask=None):
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        w = quiet(masked_softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, mask))
        return w @ v, w

    @trap("exp overflows for large scores and inf/inf is NaN. Subtract the row maximum first, or use torch.softmax.")
    def no_maximum(q, k, v, mask=None):
        e = torch.exp(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5)
        if mask is not None:
            e = e * mask
        total = e.sum(-1, keepdim=True)
        w = e / torch.where(total == 0, torch.ones_like(total), total)
        return w @ v, w

    @trap("exp overflows for large scores and inf/inf is NaN. Subtract the row maximum first, or use torch.softmax.")
    def no_maximum_naive(q, k, v, mask=None):
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        e = torch.exp(scores if mask is None else scores.masked_fill(~mask, -INF))
        w = e / e.sum(-1, keepdim=True)
        return w @ v, w

    @trap("A finite fill is not below every score: where the allowed ones are lower still, forbidden keys take the weight. Use -inf.")
    def fill_not_low_enough_and_kept(q, k, v, mask=None):
        w = masked_softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, mask, fill=-1e4)
        if mask is not None:
            w = w * mask.any(-1, keepdim=True)
        return w @ v, w

    @trap("The scale comes from the number of keys. It belongs to the dot product: use the width of q and k, their last dimension.")
    def scale_of_the_keys(q, k, v, mask=None):
        w = quiet(masked_softmax(q @ k.transpose(-2, -1) / k.shape[-2] ** 0.5, mask))
        return w @ v, w

    @right("masked_fill, then zero the empty rows")
    def fill_then_zero(q, k, v, mask=None):
        scores = torch.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(k.size(-1))
        if mask is None:
            w = scores.softmax(-1)
        else:
            w = scores.masked_fill(~mask, -INF).softmax(-1).masked_fill(~mask.any(-1, keepdim=True), 0.0)
        return w @ v, w

    @right("exp by hand, mask as a factor")
    def by_hand(q, k, v, mask=None):
        s = (q / q.shape[-1] ** 0.5) @ k.mT
        m = torch.ones_like(s, dtype=torch.bool) if mask is None else mask.expand_as(s)
        s = s.masked_fill(~m, -INF)
        e = torch.exp(s - s.amax(-1, keepdim=True).clamp(min=-1e30))
        w = e / e.sum(-1, keepdim=True).clamp(min=1e-300 if s.dtype == torch.float64 else 1e-38)
        return torch.einsum("bhts,bhse->bhte", w, v), w

    @right("one query at a time")
    def with_loops(q, k, v, mask=None):
        B, H, T, d = q.shape
        S = k.shape[2]
        m = torch.ones(B, H, T, S, dtype=torch.bool) if mask is None else torch.broadcast_to(mask, (B, H, T, S))
        rows = []
        for b in range(B):
            for h in range(H):
                for i in range(T):
                    row = [torch.zeros((), dtype=q.dtype)] * S
                    keys = [j for j in range(S) if m[b, h, i, j]]
                    if keys:
                        p = torch.stack([(q[b, h, i] * k[b, h, j]).sum() / d**0.5 for j in keys]).softmax(0)
                        for n, j in enumerate(keys):
                            row[j] = p[n]
                    rows.append(torch.stack(row))
        w = torch.stack(rows).reshape(B, H, T, S)
        return w @ v, w


@st.composite
def mask_sizes(draw, cache):
    T_q = draw(st.integers(1, 6))
    return call(T_q, T_q + (draw(st.integers(1, 5)) if cache else 0))


@exercise(
    "transformers.causal-mask",
    names="causal_mask",
    covers=["transformers.causal-mask", "transformers.tq06", "transformers.variants", "bank.tq14"],
)
class CausalMask:
    def reference(T_q, T_k):
        return torch.ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q)

    cases = {
        "square": [mask_sizes(cache=False), call(1, 1), call(2, 2), call(7, 7)],
        "with a cache": [mask_sizes(cache=True), call(2, 5), call(1, 4), call(3, 11), call(4, 5)],
    }

    @trap("A token cannot see itself here: the first row is empty. The diagonal is allowed, j <= i.")
    def strict(T_q, T_k):
        return torch.ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q - 1)

    @trap("This is the upper triangle: queries see the present and the future. True marks allowed keys, the lower triangle.")
    def upper(T_q, T_k):
        return torch.ones(T_q, T_k, dtype=torch.bool).triu(T_k - T_q)

    @trap(
        "True marks the forbidden keys here, the convention of nn.MultiheadAttention. In this course (and in SDPA) True means: may attend."
    )
    def true_is_forbidden(T_q, T_k):
        return torch.ones(T_q, T_k, dtype=torch.bool).triu(T_k - T_q + 1)

    @trap("The triangle starts at the top left, so with a cache new queries miss the cached keys. Query i sits at position T_k - T_q + i.")
    def top_left(T_q, T_k):
        return torch.ones(T_q, T_k, dtype=torch.bool).tril()

    @trap("The mask is T_k by T_k. It needs one row per query and one column per key: shape (T_q, T_k).")
    def square(T_q, T_k):
        return torch.ones(T_k, T_k, dtype=torch.bool).tril()

    @trap("This is an additive mask of 0 and -inf. Return booleans: True where the query may attend.")
    def additive(T_q, T_k):
        return torch.zeros(T_q, T_k).masked_fill(~torch.ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q), -INF)

    @trap("Zeros and ones are numbers, not a boolean mask: ~mask and masked_fill need dtype bool.")
    def numbers(T_q, T_k):
        return torch.ones(T_q, T_k).tril(T_k - T_q)

    @trap("Each token sees one key too many, the one after it. Query i sits at position T_k - T_q + i and sees that one last.")
    def one_ahead(T_q, T_k):
        return torch.ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q + 1)

    @trap("Rows and columns are exchanged: one row per query, one column per key, shape (T_q, T_k).")
    def keys_as_rows(T_q, T_k):
        return torch.ones(T_k, T_q, dtype=torch.bool).tril()

    @trap("The offset has the wrong sign: the triangle moves away from the cached keys. Query i sits at T_k - T_q + i.")
    def offset_backwards(T_q, T_k):
        return torch.ones(T_q, T_k, dtype=torch.bool).tril(T_q - T_k)

    @trap("With a cache all is allowed: the first of several new tokens sees the ones after it. The new queries need a triangle too.")
    def open_with_a_cache(T_q, T_k):
        return torch.ones(T_q, T_k, dtype=torch.bool).tril(0 if T_q == T_k else T_k)

    @trap("This is a band: later queries lose the first keys. A token sees everything before it, however far back.")
    def band(T_q, T_k):
        return torch.ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q).triu()

    @right("positions compared")
    def compare_positions(T_q, T_k):
        return torch.arange(T_k)[None, :] <= torch.arange(T_k - T_q, T_k)[:, None]

    @right("NumPy loops")
    def loops(T_q, T_k):
        mask = np.zeros((T_q, T_k), dtype=bool)
        for i in range(T_q):
            for j in range(T_k):
                mask[i, j] = j <= T_k - T_q + i
        return mask

    @right("the last rows of the square mask")
    def last_rows(T_q, T_k):
        return torch.tril(torch.ones(T_k, T_k)).bool()[-T_q:]


def flops_of(submission, *args, **kwargs):
    return submission.attention_cost(*args, **kwargs)[0]


def bytes_of(submission, *args, **kwargs):
    return submission.attention_cost(*args, **kwargs)[1]


def digits_of(submission, *args, **kwargs):
    """Integers beyond 64 bits, digit by digit."""
    return [str(number) for number in submission.attention_cost(*args, **kwargs)]


COSTS = [
    st.builds(call, st.integers(1, 5), st.integers(1, 9), st.integers(1, 40), st.integers(1, 17), st.sampled_from([2, 4, 8])),
    call(1, 32, 4096, 64, 2),
    call(3, 12, 1000, 80, 4),
    call(2, 5, 7, 3, 2),
]


@exercise(
    "transformers.cost",
    names="attention_cost",
    covers=["transformers.complexity", "transformers.tq05", "bank.tq09", "thirty.tq18"],
)
class Cost:
    def reference(B, H, T, d_head, dtype_bytes):
        return 2 * (2 * B * H * T * T * d_head), B * H * T * T * dtype_bytes

    cases = {
        "flops": group(COSTS, probe=flops_of),
        "score bytes": group(COSTS, probe=bytes_of),
        "large": group(
            [
                call(7, 96, 1_000_003, 129, 3),
                call(64, 128, 131_073, 127, 2),
                call(5, 7, 9_999_999, 33, 1),
                call(64, 128, 50_000_001, 129, 4),
            ],
            probe=digits_of,
        ),
    }

    @trap("Half of the FLOPs are missing. There are two products, QK^T and weights times V, and each multiply-add counts as two.")
    def one_product(B, H, T, d_head, dtype_bytes):
        return 2 * B * H * T * T * d_head, B * H * T * T * dtype_bytes

    @trap("The FLOPs are a quarter of the right number: there are two products, and a multiply and an add count as two operations.")
    def one_product_of_macs(B, H, T, d_head, dtype_bytes):
        return B * H * T * T * d_head, B * H * T * T * dtype_bytes

    @trap("Each head has its own T by T matrix: the H is missing.")
    def no_heads(B, H, T, d_head, dtype_bytes):
        return 4 * B * T * T * d_head, B * T * T * dtype_bytes

    @trap("You count the entries of the score matrix. Multiply by the bytes per entry.")
    def no_bytes(B, H, T, d_head, dtype_bytes):
        return 4 * B * H * T * T * d_head, B * H * T * T

    @trap("Each head works in d_head dimensions, not in d_model = H * d_head: the FLOPs are H times too many.")
    def model_width_per_head(B, H, T, d_head, dtype_bytes):
        return 4 * B * H * T * T * d_head * H, B * H * T * T * dtype_bytes

    @trap("The score matrix has one entry per pair of tokens, T * T. Width d_head does not appear: it was summed away.")
    def scores_with_width(B, H, T, d_head, dtype_bytes):
        return 4 * B * H * T * T * d_head, B * H * T * T * d_head * dtype_bytes

    @trap("That is linear in T. Every token meets every token: both numbers grow with T squared.")
    def linear(B, H, T, d_head, dtype_bytes):
        return 4 * B * H * T * d_head, B * H * T * dtype_bytes

    @trap("Division or float arithmetic loses the last digits of large counts. Stay with integers.")
    def through_floats(B, H, T, d_head, dtype_bytes):
        return int(4.0 * B * H * float(T) ** 2 * d_head), int(float(B * H) * float(T) ** 2 * dtype_bytes)

    @trap("The batch is missing: every sequence has its own products and its own score matrices. Multiply by B.")
    def no_batch(B, H, T, d_head, dtype_bytes):
        return 4 * H * T * T * d_head, H * T * T * dtype_bytes

    @trap("The order is exchanged: FLOPs first, then bytes.")
    def exchanged(B, H, T, d_head, dtype_bytes):
        return B * H * T * T * dtype_bytes, 4 * B * H * T * T * d_head

    @trap("The four projections are counted too. Here it is the two products of attention alone, Q K^T and weights times V.")
    def with_projections(B, H, T, d_head, dtype_bytes):
        return 4 * B * H * T * T * d_head + 8 * B * T * (H * d_head) ** 2, B * H * T * T * dtype_bytes

    @trap("The softmax is counted too. Here it is the two matrix products alone.")
    def with_softmax(B, H, T, d_head, dtype_bytes):
        return 4 * B * H * T * T * d_head + 5 * B * H * T * T, B * H * T * T * dtype_bytes

    @trap("Scores and weights are both counted: twice the bytes. The task asks for one T by T matrix per head.")
    def scores_and_weights(B, H, T, d_head, dtype_bytes):
        return 4 * B * H * T * T * d_head, 2 * B * H * T * T * dtype_bytes

    @trap("NumPy's 64-bit integers wrap around without a word beyond 2^63. Multiply Python's own integers.")
    def wraps_around(B, H, T, d_head, dtype_bytes):
        return int(np.prod(np.array([4, B, H, T, T, d_head]))), int(np.prod(np.array([B, H, T, T, dtype_bytes])))

    @right("a sum over heads and products")
    def summed(B, H, T, d_head, dtype_bytes):
        flops = sum(2 * T * T * d_head for _ in range(2) for _ in range(H)) * B
        return [flops, B * H * T**2 * dtype_bytes]

    @right("from the score matrix")
    def from_scores(B, H, T, d_head, dtype_bytes):
        entries = B * H * T * T
        return 4 * entries * d_head, entries * dtype_bytes


# ---------------------------------------------------------------------------------------------- positions


def table(T, d, angle, order="alternate", swap=False, start=0):
    first, second = (math.cos, math.sin) if swap else (math.sin, math.cos)
    rows = []
    for p in range(start, T + start):
        pairs = [(first(angle(p, i)), second(angle(p, i))) for i in range(d // 2)]
        rows.append([x for pair in pairs for x in pair] if order == "alternate" else [a for a, _ in pairs] + [b for _, b in pairs])
    return np.array(rows).reshape(T, d)


@exercise(
    "transformers.sinusoidal",
    names="sinusoidal_encoding",
    covers=["transformers.positions", "transformers.position-where", "transformers.tq03"],
    rtol=1e-4,
    atol=1e-4,
)
class Sinusoidal:
    def reference(T, d):
        return table(T, d, lambda p, i: p / 10000 ** (2 * i / d))

    cases = {
        "values": [st.builds(call, st.integers(2, 12), st.sampled_from([4, 6, 8, 10])), call(3, 6), call(5, 4)],
        "first row": [call(1, 8), call(1, 2), call(1, 6)],
        "two columns": [call(2, 2), call(9, 2), call(50, 2)],
        "wide": [call(50, 8), call(40, 64), call(64, 64), call(17, 130), call(600, 6)],
    }

    @trap("Positions count from 0: the first row must read 0, 1, 0, 1, ...")
    def from_one(T, d):
        return table(T, d, lambda p, i: p / 10000 ** (2 * i / d), start=1)

    @trap("The exponent of column pair i is 2i/d. With i/d the wavelengths grow too slowly.")
    def half_exponent(T, d):
        return table(T, d, lambda p, i: p / 10000 ** (i / d))

    @trap("Right pattern, wrong wavelengths: the base is 10000.")
    def other_base(T, d):
        return table(T, d, lambda p, i: p / 1000 ** (2 * i / d))

    @trap("All sines first, then all cosines: same information, another layout. Here they alternate, column by column.")
    def concatenated(T, d):
        return table(T, d, lambda p, i: p / 10000 ** (2 * i / d), order="halves")

    @trap("Cosine and sine are exchanged. Even columns are sines, odd columns cosines.")
    def swapped(T, d):
        return table(T, d, lambda p, i: p / 10000 ** (2 * i / d), swap=True)

    @trap("The odd column uses its own column number. Sine and cosine of a pair share one angle, that of the even column.")
    def odd_columns_differ(T, d):
        out = np.zeros((T, d))
        for j in range(d):
            angle = np.arange(T) / 10000 ** (j / d)
            out[:, j] = np.sin(angle) if j % 2 == 0 else np.cos(angle)
        return out

    @trap("You multiply by 10000^(2i/d). Divide: later pairs turn more slowly.")
    def multiplies(T, d):
        return table(T, d, lambda p, i: p * 10000 ** (2 * i / d))

    @trap("The exponent has the factor 2 twice: an i that runs over even columns (0, 2, 4, ...) is already 2 times the pair number.")
    def column_index_doubled(T, d):
        return table(T, d, lambda p, i: p / 10000 ** (2 * (2 * i) / d))

    @trap("All pairs turn at the same speed: the exponent is 0 everywhere, as integer division (2 * i // d) makes it. Divide with /.")
    def one_speed(T, d):
        return table(T, d, lambda p, i: p)

    @trap("The exponents are stretched so that the last pair reaches 10000. Here pair i has 2i/d, which stays below 1.")
    def stretched(T, d):
        return table(T, d, lambda p, i: p / 10000 ** (i / max(d // 2 - 1, 1)))

    @trap("The column number stands where the number of the pair belongs. Columns 2i and 2i + 1 share the exponent 2i/d.")
    def column_for_pair(T, d):
        j = np.arange(d)
        angle = np.arange(T)[:, None] / 10000.0 ** (2 * j / d)
        return np.where(j % 2 == 0, np.sin(angle), np.cos(angle))

    @right("torch, strided assignment")
    def in_torch(T, d):
        pos = torch.arange(T, dtype=torch.float64)[:, None]
        rates = torch.exp(torch.arange(0, d, 2, dtype=torch.float64) * (-math.log(10000.0) / d))
        out = torch.zeros(T, d, dtype=torch.float64)
        out[:, 0::2], out[:, 1::2] = torch.sin(pos * rates), torch.cos(pos * rates)
        return out

    @right("one phase shift per column, in float32")
    def phase(T, d):
        j = torch.arange(d)
        angle = torch.arange(T).float()[:, None] / 10000.0 ** ((j - j % 2) / d)
        return torch.sin(angle + (j % 2) * math.pi / 2)

    @right("complex exponentials")
    def complex_numbers(T, d):
        z = np.exp(1j * np.arange(T)[:, None] * 10000.0 ** (-np.arange(0, d, 2) / d))
        return np.stack([z.imag, z.real], -1).reshape(T, d)


def rotate(x, positions, base=10000.0, angle=None, layout="pairs", sign=1.0):
    d = x.shape[-1]
    i = torch.arange(d // 2, dtype=torch.float64)
    turn = positions.double()[:, None] * (base ** (-2 * i / d) if angle is None else angle(i, d, base))
    c, s = turn.cos(), sign * turn.sin()
    a, b = (x[..., 0::2], x[..., 1::2]) if layout != "halves" else x.double().chunk(2, -1)
    first, second = a * c - b * s, a * s + b * c
    out = torch.cat([first, second], -1) if layout != "pairs" else torch.stack([first, second], -1).flatten(-2)
    return out.to(x.dtype)


def at(*positions):
    return torch.tensor(positions)


@st.composite
def rope_calls(draw):
    T, d = draw(st.integers(1, 4)), draw(st.sampled_from([2, 4, 6]))
    lead = draw(st.sampled_from([(), (2,), (2, 3)]))
    x = draw(tensors((*lead, T, d), -3, 3))
    positions = draw(st.lists(st.integers(0, 40), min_size=T, max_size=T))
    return call(x, torch.tensor(positions))


@exercise(
    "transformers.rope",
    names="rope",
    covers=["transformers.positions", "transformers.position-where", "transformers.tq03"],
    keeps_dtype=True,
    rtol=1e-4,
    atol=1e-4,
)
class Rope:
    def reference(x, positions, base=10000.0):
        d = x.shape[-1]
        turn = positions.double()[:, None] * base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(torch.ones_like(turn), turn)
        return torch.view_as_real(z).flatten(-2).to(x.dtype)

    cases = {
        "values": [
            rope_calls(),
            call(t(2, 3, 5, 8, seed=1), torch.arange(5)),
            call(t(6, 6, seed=2), torch.arange(6)),
            call(t(2, 1, 4, 2, seed=9), torch.arange(4)),
            call(t(3, 3, 4, seed=12), at(0, 2, 5)),
            call(t(4, 2, 4, 6, seed=13), at(1, 0, 6, 3)),
        ],
        "offset": [
            call(t(1, 2, 2, 6, seed=3), at(17, 18)),
            call(t(4, 8, seed=4), at(9, 2, 30, 2)),
            call(t(2, 1, 4, seed=5), at(7)),
            call(t(2, 3, 10, seed=6), at(3, 4, 5)),
            call(t(3, 6, seed=14), at(-3, 0, -11)),
            call(t(3, 6, seed=15), at(130, 1000, 71)),
        ],
        "base": [call(t(1, 2, 3, 6, seed=7), at(1, 2, 5), 100.0), call(t(3, 8, seed=8), at(0, 11, 4), base=500.0)],
        "dtype": [
            call(t(2, 3, 4, 6, seed=10, dtype=torch.float32), at(0, 1, 2, 3)),
            call(t(3, 4, seed=11, dtype=torch.float32), at(5, 21, 6)),
        ],
    }

    @trap("Pair i turns by p * base^(-2i/d). The factor 2 is missing, so the slow pairs turn too fast.")
    def half_exponent(x, positions, base=10000.0):
        return rotate(x, positions, base, angle=lambda i, d, b: b ** (-i / d))

    @trap("The given positions are ignored. A decoding step starts at an offset: use `positions`, not arange(T).")
    def ignores_positions(x, positions, base=10000.0):
        return rotate(x, torch.arange(x.shape[-2]), base)

    @trap("This rotates clockwise. A positive position turns counter-clockwise: (x0 cos - x1 sin, x0 sin + x1 cos).")
    def backwards(x, positions, base=10000.0):
        return rotate(x, positions, base, sign=-1.0)

    @trap("The angle is in radians already: cos and sin take it as it is.")
    def degrees(x, positions, base=10000.0):
        return rotate(x, positions, base, angle=lambda i, d, b: b ** (-2 * i / d) * math.pi / 180)

    @trap(
        "You pair x_i with x_{i+d/2}, the layout of Hugging Face's LLaMA. It works too, but weights do not carry over. Here pairs are adjacent."
    )
    def halves(x, positions, base=10000.0):
        return rotate(x, positions, base, layout="halves")

    @trap("The pairs are rotated right, but written back as all first members, then all second ones. Interleave them again.")
    def not_interleaved(x, positions, base=10000.0):
        return rotate(x, positions, base, layout="written in halves")

    @trap("The argument `base` has no effect: 10000 is written into the formula.")
    def fixed_base(x, positions, base=10000.0):
        return rotate(x, positions)

    table_of_512, table_of_2048 = (
        trap("A table of angles ends somewhere, and a negative index reads it from the end. Compute the angle from the position.")(
            lambda x, positions, base=10000.0, n=n: rotate(x, torch.arange(n)[positions], base)
        )
        for n in (512, 2048)
    )

    @trap("Positions count from 0, and position 0 leaves the vector as it is. You rotate by p + 1.")
    def from_one(x, positions, base=10000.0):
        return rotate(x, positions + 1, base)

    @trap("Every pair turns at the speed of the first. Pair i turns by p * base^(-2i/d).")
    def one_speed(x, positions, base=10000.0):
        return rotate(x, positions, base, angle=lambda i, d, b: torch.ones_like(i))

    @trap("Only the first position is used, the rest is counted on from it. Positions may come in any order: use each as it is.")
    def counts_on(x, positions, base=10000.0):
        return rotate(x, positions[0] + torch.arange(len(positions)), base)

    @trap("The exponent has the factor 2 twice: arange(0, d, 2) is already 2 times the number of the pair.")
    def doubled_exponent(x, positions, base=10000.0):
        return rotate(x, positions, base, angle=lambda i, d, b: b ** (-4 * i / d))

    @trap("The angles grow from pair to pair: the exponent lost its minus sign. Later pairs turn more slowly, base^(-2i/d).")
    def grows(x, positions, base=10000.0):
        return rotate(x, positions, base, angle=lambda i, d, b: b ** (2 * i / d))

    @trap("The second feature is computed from a first one that is already turned. Keep the old pair until both are done.")
    def overwritten(x, positions, base=10000.0):
        d = x.shape[-1]
        turn = positions.double()[:, None] * base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        c, s, y = turn.cos().to(x.dtype), turn.sin().to(x.dtype), x.clone()
        y[..., ::2] = y[..., ::2] * c - y[..., 1::2] * s
        y[..., 1::2] = y[..., ::2] * s + y[..., 1::2] * c
        return y

    @trap("Sines and cosines are added, as in the classic table. RoPE adds nothing: it turns each pair of features.")
    def adds(x, positions, base=10000.0):
        d = x.shape[-1]
        turn = positions.double()[:, None] * base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        return (x + torch.stack([turn.sin(), turn.cos()], -1).flatten(-2)).to(x.dtype)

    @right("stack and flatten")
    def stack(x, positions, base=10000.0):
        return rotate(x, positions, base)

    @right("one pair at a time, float32 angles")
    def loops(x, positions, base=10000.0):
        out, d = x.clone(), x.shape[-1]
        for i in range(d // 2):
            turn = positions.float() * base ** (-2 * i / d)
            c, s = torch.cos(turn).to(x.dtype), torch.sin(turn).to(x.dtype)
            out[..., 2 * i] = x[..., 2 * i] * c - x[..., 2 * i + 1] * s
            out[..., 2 * i + 1] = x[..., 2 * i] * s + x[..., 2 * i + 1] * c
        return out

    @right("x cos + partner sin")
    def partner(x, positions, base=10000.0):
        d = x.shape[-1]
        rates = torch.repeat_interleave(base ** (-torch.arange(0, d, 2) / d), 2)
        turn = torch.outer(positions.to(rates.dtype), rates).to(x.dtype)
        other = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).reshape(x.shape)
        return x * turn.cos() + other * turn.sin()


# ---------------------------------------------------------------------------------------------- heads


def to_heads(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def attend(q, k, v, mask=None, scale=None):
    return masked_softmax(q @ k.mT * (scale or q.shape[-1] ** -0.5), mask) @ v


def heads_case(B, T, S, D, n_heads, seed, mask=None, dtype=torch.float64):
    x_q = t(B, T, D, seed=seed, dtype=dtype)
    x_kv = x_q if S is None else t(B, S, D, seed=seed + 50, dtype=dtype)
    return call(x_q, x_kv, *(t(D, D, seed=seed + 100 + i, scale=0.6, dtype=dtype) for i in range(4)), n_heads, mask=mask)


def mha_with_gradients(submission, *args, **kwargs):
    parts = [a.clone().requires_grad_() if torch.is_tensor(a) else a for a in args]
    out = submission.multi_head_attention(*parts, **kwargs)
    (out * torch.arange(out.numel(), dtype=torch.float64).cos().reshape(out.shape)).sum().backward()
    names = ["x_q", "x_kv", "W_q", "W_k", "W_v", "W_o"]
    return {"output": out} | {f"gradient of {n}": p.grad for n, p in zip(names, parts)}


@exercise(
    "transformers.multihead",
    names="multi_head_attention",
    covers=["transformers.multihead", "transformers.tq02", "transformers.clears-up", "transformers.qkv-separate", "bank.tq09"],
    forbid=["torch.nn.MultiheadAttention", "torch.nn.functional.multi_head_attention_forward"],
)
class Multihead:
    def reference(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        heads = nn.MultiheadAttention(x_q.shape[-1], n_heads, bias=False, batch_first=True, dtype=x_q.dtype)
        forbidden = None if mask is None else ~mask.expand(len(x_q), n_heads, x_q.shape[1], x_kv.shape[1]).flatten(0, 1)
        weights = {"in_proj_weight": torch.cat([W_q, W_k, W_v]), "out_proj.weight": W_o}
        return torch.func.functional_call(heads, weights, (x_q, x_kv, x_kv), {"need_weights": False, "attn_mask": forbidden})[0]

    cases = {
        "self": [
            heads_case(2, 5, None, 12, 3, 1),
            heads_case(1, 4, None, 8, 4, 2),
            heads_case(3, 1, None, 6, 2, 3),
            heads_case(2, 4, None, 16, 4, 7),
            heads_case(2, 3, None, 6, 1, 18),
        ],
        "cross": [heads_case(2, 3, 5, 12, 4, 4), heads_case(1, 6, 2, 12, 3, 5), heads_case(2, 4, 4, 8, 2, 6)],
        "mask": [
            heads_case(2, 5, None, 12, 3, 8, mask=tril(5)),
            heads_case(2, 3, 6, 8, 2, 9, mask=allowed(3, 6, seed=5)),
            heads_case(3, 4, 5, 12, 4, 10, mask=allowed(3, 1, 1, 5, seed=6)),
            heads_case(2, 4, 5, 12, 3, 15, mask=allowed(2, 3, 4, 5, seed=7)),
            heads_case(2, 4, None, 8, 2, 16, mask=allowed(2, 4, 4, seed=8)),
            heads_case(2, 5, None, 8, 2, 17, mask=allowed(5, 5, seed=9)),
        ],
        "gradients": group(
            [heads_case(2, 3, 4, 6, 3, 11, mask=allowed(3, 4, seed=7)), heads_case(1, 4, 3, 8, 2, 12)], probe=mha_with_gradients
        ),
        "dtype": [heads_case(2, 3, 5, 8, 2, 13, dtype=torch.float32), heads_case(2, 4, None, 12, 3, 14, mask=tril(4), dtype=torch.float32)],
    }

    @trap(
        "view(B, h, T, d_h) cuts across tokens. The feature axis splits: reshape to (B, T, h, d_h) first, then transpose to (B, h, T, d_h)."
    )
    def view_without_transpose(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        (B, T, D), S = x_q.shape, x_kv.shape[1]
        q, k, v = (z.reshape(B, n_heads, n, D // n_heads) for z, n in ((x_q @ W_q.T, T), (x_kv @ W_k.T, S), (x_kv @ W_v.T, S)))
        return attend(q, k, v, mask).transpose(1, 2).reshape(B, T, D) @ W_o.T

    @trap("The scores are divided by sqrt(d_model). Each head works in d_model/h dimensions: scale by the square root of that.")
    def scaled_by_the_model(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_kv @ W_k.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        return attend(q, k, v, mask, x_q.shape[-1] ** -0.5).transpose(1, 2).flatten(2) @ W_o.T

    @trap(
        "Merging (B, h, T, d_h) straight into (B, T, D) mixes tokens. Transpose back to (B, T, h, d_h) before you merge the last two axes."
    )
    def merge_without_transpose(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_kv @ W_k.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        return attend(q, k, v, mask).reshape(x_q.shape) @ W_o.T

    @trap("The output projection is missing: the concatenated heads go through W_o, the only place where heads are combined.")
    def no_output_projection(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_kv @ W_k.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        return attend(q, k, v, mask).transpose(1, 2).flatten(2) + 0 * W_o.sum()

    @trap("Keys and values come from x_q. In cross-attention queries come from x_q, keys and values from x_kv.")
    def self_only(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_q @ W_k.T, n_heads), to_heads(x_q @ W_v.T, n_heads)
        return attend(q, k, v, mask).transpose(1, 2).flatten(2) @ W_o.T + 0 * x_kv.sum()

    @trap("The weights are applied as x @ W. They are stored (out, in) like nn.Linear's: x @ W.T.")
    def weights_not_transposed(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q, n_heads), to_heads(x_kv @ W_k, n_heads), to_heads(x_kv @ W_v, n_heads)
        return attend(q, k, v, mask).transpose(1, 2).flatten(2) @ W_o

    @trap("Head j takes every h-th feature here. Heads are consecutive slices: features 0 to d_h - 1 belong to head 0.")
    def interleaved_heads(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        def deal(x):
            return x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)

        q, k, v = deal(x_q @ W_q.T), deal(x_kv @ W_k.T), deal(x_kv @ W_v.T)
        return attend(q, k, v, mask).permute(0, 2, 3, 1).flatten(2) @ W_o.T

    @trap("The mask is read the wrong way round. True means may attend; nn.MultiheadAttention's attn_mask has the opposite convention.")
    def mask_inverted(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_kv @ W_k.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        return attend(q, k, v, None if mask is None else ~mask).transpose(1, 2).flatten(2) @ W_o.T

    @trap("One wide head: the features were never split, so there is one pattern of attention instead of h.")
    def one_head(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, 1), to_heads(x_kv @ W_k.T, 1), to_heads(x_kv @ W_v.T, 1)
        return attend(q, k, v, mask).transpose(1, 2).flatten(2) @ W_o.T

    @trap("The scores are not scaled. Divide them by the square root of a head's width, d_model/h.")
    def not_scaled(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_kv @ W_k.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        return attend(q, k, v, mask, 1.0).transpose(1, 2).flatten(2) @ W_o.T

    @trap("The mask is accepted and never used: forbidden keys keep their weight.")
    def mask_not_used(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_kv @ W_k.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        return attend(q, k, v).transpose(1, 2).flatten(2) @ W_o.T

    @trap("You use the first head's mask for all heads; each head may have its own.")
    def first_heads_mask(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_kv @ W_k.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        one = mask if mask is None or mask.dim() < 3 else mask[..., :1, :, :]
        return attend(q, k, v, one).transpose(1, 2).flatten(2) @ W_o.T

    @trap("A square mask need not be the triangle: use the one that is given.")
    def square_means_causal(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_kv @ W_k.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        square = mask is not None and mask.shape[-2] == mask.shape[-1]
        return attend(q, k, v, tril(mask.shape[-1]) if square else mask).transpose(1, 2).flatten(2) @ W_o.T

    @trap("Forbidden scores become 0, and exp(0) = 1: those keys keep weight. Fill with -inf before the softmax.")
    def masked_with_zero(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_kv @ W_k.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        weights = masked_softmax(q @ k.mT * q.shape[-1] ** -0.5, mask, fill=0.0)
        return (weights @ v).transpose(1, 2).flatten(2) @ W_o.T

    @trap(
        "view(B, h, T, d_h) cuts across tokens. The feature axis splits: reshape to (B, T, h, d_h) first, then transpose to (B, h, T, d_h)."
    )
    def view_both_ways(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        (B, T, D), S = x_q.shape, x_kv.shape[1]
        q, k, v = (z.reshape(B, n_heads, n, D // n_heads) for z, n in ((x_q @ W_q.T, T), (x_kv @ W_k.T, S), (x_kv @ W_v.T, S)))
        return attend(q, k, v, mask).reshape(B, T, D) @ W_o.T

    @trap("The weights are applied as x @ W. They are stored (out, in) like nn.Linear's: x @ W.T.")
    def projections_not_transposed(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q, n_heads), to_heads(x_kv @ W_k, n_heads), to_heads(x_kv @ W_v, n_heads)
        return attend(q, k, v, mask).transpose(1, 2).flatten(2) @ W_o.T

    @trap("W_o is applied as y @ W_o. It is stored (out, in) like nn.Linear's: y @ W_o.T.")
    def output_not_transposed(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_q.T, n_heads), to_heads(x_kv @ W_k.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        return attend(q, k, v, mask).transpose(1, 2).flatten(2) @ W_o

    @trap("W_q and W_k are exchanged: the queries come from W_q, the keys from W_k.")
    def queries_and_keys_exchanged(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = to_heads(x_q @ W_k.T, n_heads), to_heads(x_kv @ W_q.T, n_heads), to_heads(x_kv @ W_v.T, n_heads)
        return attend(q, k, v, mask).transpose(1, 2).flatten(2) @ W_o.T

    @right("one head after another")
    def head_by_head(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        (B, T, D), S = x_q.shape, x_kv.shape[1]
        d, outs = D // n_heads, []
        for h in range(n_heads):
            rows = slice(h * d, (h + 1) * d)
            scores = (x_q @ W_q[rows].T) @ (x_kv @ W_k[rows].T).transpose(1, 2) / math.sqrt(d)
            if mask is not None:
                scores = scores.masked_fill(~torch.broadcast_to(mask, (B, n_heads, T, S))[:, h], -INF)
            outs.append(scores.softmax(-1) @ (x_kv @ W_v[rows].T))
        return torch.cat(outs, -1) @ W_o.T

    @right("torch's fused attention")
    def fused(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = (F.linear(x, W).view(len(x), x.shape[1], n_heads, -1).transpose(1, 2) for x, W in ((x_q, W_q), (x_kv, W_k), (x_kv, W_v)))
        return F.linear(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(x_q.shape), W_o)

    @right("einsum over weights cut into heads")
    def einsum(x_q, x_kv, W_q, W_k, W_v, W_o, n_heads, mask=None):
        q, k, v = (torch.einsum("btd,hed->bhte", x, W.view(n_heads, -1, W.shape[1])) for x, W in ((x_q, W_q), (x_kv, W_k), (x_kv, W_v)))
        w = masked_softmax(torch.einsum("bhte,bhse->bhts", q, k) / q.shape[-1] ** 0.5, mask)
        return torch.einsum("bhts,bhse,dhe->btd", w, v, W_o.view(W_o.shape[0], n_heads, -1))


@exercise(
    "transformers.gqa",
    names="gqa",
    covers=["transformers.mqa-gqa", "transformers.tq08"],
)
class Gqa:
    def reference(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    cases = {
        "grouped": [
            call(t(2, 8, 4, 5, seed=1), t(2, 2, 6, 5, seed=2), t(2, 2, 6, 5, seed=3)),
            call(t(1, 6, 3, 4, seed=4), t(1, 3, 5, 4, seed=5), t(1, 3, 5, 4, seed=6)),
            call(t(2, 6, 3, 3, seed=7), t(2, 2, 3, 3, seed=8), t(2, 2, 3, 3, seed=9)),
            call(t(1, 4, 1, 2, seed=22), t(1, 2, 7, 2, seed=23), t(1, 2, 7, 2, seed=24)),
        ],
        "one group": [
            call(t(2, 4, 3, 5, seed=10), t(2, 1, 4, 5, seed=11), t(2, 1, 4, 5, seed=12)),
            call(t(1, 3, 2, 4, seed=13), t(1, 1, 2, 4, seed=14), t(1, 1, 2, 4, seed=15)),
        ],
        "as many groups as heads": [
            call(t(2, 4, 3, 5, seed=16), t(2, 4, 6, 5, seed=17), t(2, 4, 6, 5, seed=18)),
            call(t(1, 3, 4, 2, seed=19), t(1, 3, 4, 2, seed=20), t(1, 3, 4, 2, seed=21)),
        ],
    }

    @trap("The K/V heads are tiled (0 1 0 1). Consecutive query heads share one: 0 0 1 1, repeat_interleave.")
    def tiled(q, k, v):
        n = q.shape[1] // k.shape[1]
        return attend(q, k.repeat(1, n, 1, 1), v.repeat(1, n, 1, 1))

    @trap("Keys are repeated 0 0 1 1, values 0 1 0 1: a head reads values that belong to other keys.")
    def values_tiled(q, k, v):
        n = q.shape[1] // k.shape[1]
        return attend(q, k.repeat_interleave(n, 1), v.repeat(1, n, 1, 1))

    @trap("The query heads of a group are merged into one. All H query heads stay; only K and V are shared.")
    def queries_merged(q, k, v):
        return attend(q.unflatten(1, (k.shape[1], -1)).mean(2), k, v)

    @trap("All K/V heads are averaged into one. Each group keeps its own K/V head.")
    def averaged(q, k, v):
        return attend(q, k.mean(1, keepdim=True), v.mean(1, keepdim=True))

    @trap("Every query head reads K/V head 0. Each group has its own: head h uses h // (H/G).")
    def first_only(q, k, v):
        return attend(q, k[:, :1], v[:, :1])

    @trap("The scores are not scaled. Sharing K/V heads changes nothing about the division by sqrt(d).")
    def not_scaled(q, k, v):
        n = q.shape[1] // k.shape[1]
        return attend(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), scale=1.0)

    @trap("Head h takes K/V head h // G. The group size is H/G: divide by that.")
    def divides_by_groups(q, k, v):
        G = k.shape[1]
        index = [(h // G) % G for h in range(q.shape[1])]
        return attend(q, k[:, index], v[:, index])

    @trap("The query heads of a group are merged into one. All H query heads stay; only K and V are shared.")
    def queries_merged_and_repeated(q, k, v):
        n = q.shape[1] // k.shape[1]
        return attend(q.unflatten(1, (k.shape[1], -1)).mean(2), k, v).repeat_interleave(n, 1)

    @trap("The scores are divided by d. As in every attention it is the square root of d.")
    def divides_by_d(q, k, v):
        n = q.shape[1] // k.shape[1]
        return attend(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), scale=1 / q.shape[-1])

    @trap("The scores are divided by the root of the model width H * d. Each head works in d dimensions: scale by the root of d.")
    def scaled_by_the_model(q, k, v):
        n = q.shape[1] // k.shape[1]
        return attend(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), scale=(q.shape[1] * q.shape[-1]) ** -0.5)

    @trap("The softmax runs over the queries. Each query shares out one unit of attention: normalise over keys, the last axis.")
    def over_queries(q, k, v):
        n = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2) @ v

    @trap("One softmax serves all query heads of a group. Each query head has a softmax of its own over the keys.")
    def one_softmax_per_group(q, k, v):
        G = k.shape[1]
        n = q.shape[1] // G
        s = torch.einsum("bgrtd,bgsd->bgtrs", q.unflatten(1, (G, n)), k) / q.shape[-1] ** 0.5
        w = n * s.flatten(-2).softmax(-1).unflatten(-1, (n, -1))
        return torch.einsum("bgtrs,bgsd->bgrtd", w, v).flatten(1, 2)

    @right("no copy: a group axis that broadcasts")
    def broadcast(q, k, v):
        G = k.shape[1]
        q = q.unflatten(1, (G, -1))
        w = (q @ k[:, :, None].mT / q.shape[-1] ** 0.5).softmax(-1)
        return (w @ v[:, :, None]).flatten(1, 2)

    @right("one query head at a time")
    def loop(q, k, v):
        size = q.shape[1] // k.shape[1]
        outs = [((q[:, h] @ k[:, h // size].mT) / q.shape[-1] ** 0.5).softmax(-1) @ v[:, h // size] for h in range(q.shape[1])]
        return torch.stack(outs, 1)

    @right("repeat_interleave and SDPA")
    def interleave(q, k, v):
        n = q.size(1) // k.size(1)
        return F.scaled_dot_product_attention(q, torch.repeat_interleave(k, n, dim=1), torch.repeat_interleave(v, n, dim=1))


# ---------------------------------------------------------------------------------------------- the block


def ffn_of(submission, *args):
    return submission.swiglu_ffn(*args)


def hidden_of(submission, d):
    return submission.swiglu_hidden(d)


def ffn_case(*lead, D, F, seed, dtype=torch.float64):
    x, rest = t(*lead, D, seed=seed, scale=1.5, dtype=dtype), [t(F, D, seed=seed + i, dtype=dtype) for i in (1, 2)]
    return call(x, *rest, t(D, F, seed=seed + 3, dtype=dtype))


class swiglu_right:
    def swiglu_ffn(x, W_gate, W_up, W_down):
        return F.linear(F.silu(F.linear(x, W_gate)) * F.linear(x, W_up), W_down)

    def swiglu_hidden(d_model):
        return 8 * d_model // 3


@exercise(
    "transformers.swiglu",
    names="swiglu_ffn swiglu_hidden",
    covers=["transformers.ffn-activation", "transformers.ffn"],
)
class Swiglu:
    class reference:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            return F.linear(F.silu(F.linear(x, W_gate)) * F.linear(x, W_up), W_down)

        def swiglu_hidden(d_model):
            return 8 * d_model // 3

    cases = {
        "values": group(
            [
                shaped("N D", "F D", "F D", "D F", N=(1, 3), D=(1, 4), F=(1, 5), low=-2, high=2, torch=True),
                ffn_case(3, D=4, F=6, seed=1),
                ffn_case(2, D=5, F=5, seed=7),
            ],
            probe=ffn_of,
        ),
        "any leading shape": group(
            [ffn_case(D=3, F=7, seed=11), ffn_case(2, 3, D=4, F=4, seed=16), ffn_case(2, 1, 3, D=5, F=2, seed=21)], probe=ffn_of
        ),
        "hidden width": group([call(d) for d in (96, 100, 128, 768, 1024, 4096, 5, 7)], probe=hidden_of),
        "float32": group([ffn_case(3, D=6, F=9, seed=31, dtype=torch.float32)], probe=ffn_of),
    }

    @trap("The activation sits on the up branch. The gate branch goes through SiLU, the up branch stays linear.")
    class activates_the_up_branch:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            return ((x @ W_gate.T) * F.silu(x @ W_up.T)) @ W_down.T

        swiglu_hidden = swiglu_right.swiglu_hidden

    @trap("With a bare sigmoid on the gate this is a GLU. SiLU(g) = g * sigmoid(g).")
    class glu:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            return (torch.sigmoid(x @ W_gate.T) * (x @ W_up.T)) @ W_down.T

        swiglu_hidden = swiglu_right.swiglu_hidden

    @trap("GELU on the gate makes it a GEGLU: close in value, another function. Use SiLU.")
    class geglu:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            return (F.gelu(x @ W_gate.T) * (x @ W_up.T)) @ W_down.T

        swiglu_hidden = swiglu_right.swiglu_hidden

    @trap("The branches are added. Gating means multiplying: a closed gate shuts its unit off.")
    class adds:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            return (F.silu(x @ W_gate.T) + x @ W_up.T) @ W_down.T

        swiglu_hidden = swiglu_right.swiglu_hidden

    @trap("SiLU is applied to the product. It acts on the gate alone, before the branches meet.")
    class activates_the_product:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            return F.silu((x @ W_gate.T) * (x @ W_up.T)) @ W_down.T

        swiglu_hidden = swiglu_right.swiglu_hidden

    @trap("That is the up projection without a gate: a plain SiLU network. SwiGLU multiplies by a third matrix's output.")
    class no_gate:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            return F.silu(x @ W_gate.T) @ W_down.T + 0 * W_up.sum()

        swiglu_hidden = swiglu_right.swiglu_hidden

    @trap("A width of 4d with three matrices has 12 d^2 parameters, half as many again. Equal parameters ask for 8d/3.")
    class four_times:
        swiglu_ffn = swiglu_right.swiglu_ffn

        def swiglu_hidden(d_model):
            return 4 * d_model

    @trap("8d/3 is not rounded down. The width is its floor, which int() or // gives.")
    class rounded:
        swiglu_ffn = swiglu_right.swiglu_ffn

        def swiglu_hidden(d_model):
            return round(8 * d_model / 3)

    @trap("A third instead of two thirds: 3 d F = 8 d^2 gives F = 8d/3.")
    class four_thirds:
        swiglu_ffn = swiglu_right.swiglu_ffn

        def swiglu_hidden(d_model):
            return 4 * d_model // 3

    @trap("ReLU on the gate makes it a ReGLU. SiLU(g) = g * sigmoid(g) is smooth and slightly negative left of 0.")
    class reglu:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            return (F.relu(x @ W_gate.T) * (x @ W_up.T)) @ W_down.T

        swiglu_hidden = swiglu_right.swiglu_hidden

    @trap("Both branches are activated. Only the gate goes through SiLU, the up branch stays linear.")
    class activates_both:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            return (F.silu(x @ W_gate.T) * F.silu(x @ W_up.T)) @ W_down.T

        swiglu_hidden = swiglu_right.swiglu_hidden

    @trap("x itself is added. The residual belongs to the block around the feed-forward part, not to the part.")
    class adds_the_residual:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            return x + (F.silu(x @ W_gate.T) * (x @ W_up.T)) @ W_down.T

        swiglu_hidden = swiglu_right.swiglu_hidden

    @trap("The division comes first and drops the remainder: 8 * (d // 3). Multiply, then divide: 8 * d // 3.")
    class divides_first:
        swiglu_ffn = swiglu_right.swiglu_ffn

        def swiglu_hidden(d_model):
            return 8 * (d_model // 3)

    @trap("The width is rounded up to a multiple of 256, as LLaMA does for the hardware. Here it is the floor of 8d/3.")
    class multiple_of_256:
        swiglu_ffn = swiglu_right.swiglu_ffn

        def swiglu_hidden(d_model):
            return 256 * -(-(8 * d_model // 3) // 256)

    @right("sigmoid by hand")
    class by_hand:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            g = torch.einsum("...d,fd->...f", x, W_gate)
            return torch.einsum("...f,df->...d", g / (1 + torch.exp(-g)) * (x @ W_up.T), W_down)

        def swiglu_hidden(d_model):
            return int(8 * d_model / 3)

    @right("NumPy, one concatenated product")
    class numpy_concatenated:
        def swiglu_ffn(x, W_gate, W_up, W_down):
            x, W, W_down = x.numpy(), np.concatenate([W_gate, W_up]), W_down.numpy()
            g, u = np.split(x @ W.T, 2, axis=-1)
            return g / (1 + np.exp(-g)) * u @ W_down.T

        def swiglu_hidden(d_model):
            return math.floor(d_model * 8 / 3)


def layer_norm(x, w, b, unbiased=False, eps=1e-5):
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=unbiased, keepdim=True) + eps) * w + b


def norms(params):
    return (params["ln1_weight"], params["ln1_bias"]), (params["ln2_weight"], params["ln2_bias"])


def attention_of(x, params, n_heads, mask):
    q, k, v = (to_heads(x @ params[n].T, n_heads) for n in ("W_q", "W_k", "W_v"))
    return attend(q, k, v, mask).transpose(1, 2).flatten(2) @ params["W_o"].T


def ffn_with(x, params, act=F.gelu):
    return F.linear(act(F.linear(x, params["W_1"], params["b_1"])), params["W_2"], params["b_2"])


def block_case(B, T, D, width, n_heads, seed, mask=None, dtype=torch.float64):
    params = {n: t(D, D, seed=seed + i, scale=0.5) for i, n in enumerate(["W_q", "W_k", "W_v", "W_o"])}
    params |= {
        n: t(D, seed=seed + 10 + i) + (n.endswith("weight")) for i, n in enumerate(["ln1_weight", "ln1_bias", "ln2_weight", "ln2_bias"])
    }
    params |= {
        "W_1": t(width, D, seed=seed + 20, scale=0.7),
        "b_1": t(width, seed=seed + 21),
        "W_2": t(D, width, seed=seed + 22),
        "b_2": t(D, seed=seed + 23),
    }
    x = t(B, T, D, seed=seed + 30, scale=1.5) + 0.5
    return call(x.to(dtype), {n: p.to(dtype) for n, p in params.items()}, n_heads, mask)


def block_gradients(submission, x, params, n_heads, mask=None):
    x, params = x.clone().requires_grad_(), {n: p.clone().requires_grad_() for n, p in params.items()}
    out = submission.pre_ln_block(x, params, n_heads, mask)
    (out * torch.arange(out.numel(), dtype=torch.float64).cos().reshape(out.shape)).sum().backward()
    return {"output": out, "gradient of x": x.grad} | {f"gradient of {n}": p.grad for n, p in params.items()}


@exercise(
    "transformers.pre-ln-block",
    names="pre_ln_block",
    covers=[
        "transformers.pre-ln-attn",
        "transformers.pre-ln-ffn",
        "transformers.fig-block",
        "transformers.block-idea",
        "transformers.layernorm",
        "transformers.tq09",
        "transformers.tq10",
        "transformers.ffn",
    ],
    forbid=["torch.nn.TransformerEncoderLayer", "torch.nn.TransformerEncoder", "torch.nn.Transformer", "torch.nn.TransformerDecoderLayer"],
)
class PreLnBlock:
    def reference(x, params, n_heads, mask=None):
        D, width = x.shape[-1], len(params["b_1"])
        layer = nn.TransformerEncoderLayer(D, n_heads, width, 0.0, "gelu", norm_first=True, batch_first=True, dtype=x.dtype)
        zero = torch.zeros(3 * D, dtype=x.dtype)
        weights = {
            "self_attn.in_proj_weight": torch.cat([params["W_q"], params["W_k"], params["W_v"]]),
            "self_attn.in_proj_bias": zero,
            "self_attn.out_proj.weight": params["W_o"],
            "self_attn.out_proj.bias": zero[:D],
            "linear1.weight": params["W_1"],
            "linear1.bias": params["b_1"],
            "linear2.weight": params["W_2"],
            "linear2.bias": params["b_2"],
            "norm1.weight": params["ln1_weight"],
            "norm1.bias": params["ln1_bias"],
            "norm2.weight": params["ln2_weight"],
            "norm2.bias": params["ln2_bias"],
        }
        weights = {n: w.to(x.dtype) for n, w in weights.items()}
        return torch.func.functional_call(layer, weights, (x,), {"src_mask": None if mask is None else ~mask})

    cases = {
        "values": [
            block_case(2, 5, 12, 20, 3, 1),
            block_case(1, 3, 8, 8, 4, 2),
            block_case(3, 1, 6, 9, 2, 3),
            block_case(1, 6, 4, 16, 1, 4),
        ],
        "mask": [block_case(2, 5, 12, 20, 3, 5, mask=tril(5)), block_case(2, 4, 8, 12, 2, 6, mask=allowed(4, 4, seed=8))],
        "gradients": group([block_case(2, 3, 6, 9, 2, 7, mask=tril(3)), block_case(1, 4, 8, 10, 2, 8)], probe=block_gradients),
        "float32": [block_case(2, 4, 8, 12, 2, 9, mask=tril(4), dtype=torch.float32)],
    }

    @trap("This is post-LN: the norm comes after the addition. In pre-LN it stands before the sublayer, and the sum is left alone.")
    def post_ln(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = layer_norm(x + attention_of(x, params, n_heads, mask), *ln1)
        return layer_norm(x + ffn_with(x, params), *ln2)

    @trap("The sublayer's output is added to LN(x). Add it to x: the residual stream itself is never normalised.")
    def adds_to_the_normed(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        y = layer_norm(x, *ln1)
        x = y + attention_of(y, params, n_heads, mask)
        y = layer_norm(x, *ln2)
        return y + ffn_with(y, params)

    @trap("The feed-forward part reads the block's input. It comes second and reads x + attention; side by side is another architecture.")
    def parallel(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        return x + attention_of(layer_norm(x, *ln1), params, n_heads, mask) + ffn_with(layer_norm(x, *ln2), params)

    @trap("Off by about 1e-4: that is the tanh approximation of GELU. Use the exact form, with erf (F.gelu's default).")
    def tanh_gelu(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        return x + ffn_with(layer_norm(x, *ln2), params, lambda z: F.gelu(z, approximate="tanh"))

    @trap("The feed-forward part uses ReLU, which cuts off every negative pre-activation. Here it is GELU.")
    def relu(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        return x + ffn_with(layer_norm(x, *ln2), params, F.relu)

    @trap("Both sublayers use the first norm. LN1 and LN2 have weights of their own.")
    def one_norm(x, params, n_heads, mask=None):
        ln1, _ = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        return x + ffn_with(layer_norm(x, *ln1), params)

    @trap("The variance divides by D - 1 (torch.var's default). LayerNorm divides by D: unbiased=False.")
    def unbiased(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + attention_of(layer_norm(x, *ln1, unbiased=x.shape[-1] > 1), params, n_heads, mask)
        return x + ffn_with(layer_norm(x, *ln2, unbiased=True), params)

    @trap("The first residual is missing: after attention the block has forgotten its own input x.")
    def no_attention_residual(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        return x + ffn_with(layer_norm(x, *ln2), params)

    @trap("The second residual is missing: the feed-forward output must be added to the stream, not replace it.")
    def no_ffn_residual(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        return ffn_with(layer_norm(x, *ln2), params)

    @trap("The feed-forward part reads the raw stream. It has a norm of its own in front: FFN(LN2(x)).")
    def no_second_norm(x, params, n_heads, mask=None):
        ln1, _ = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        return x + ffn_with(x, params)

    @trap("The mask never reaches the attention: tokens read what they may not.")
    def ignores_mask(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, None)
        return x + ffn_with(layer_norm(x, *ln2), params)

    @trap("The first sum starts from LN(x). Attention reads LN1(x), but its result is added to x itself.")
    def first_residual_from_the_normed(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        y = layer_norm(x, *ln1)
        x = y + attention_of(y, params, n_heads, mask)
        return x + ffn_with(layer_norm(x, *ln2), params)

    @trap(
        "The norm acts on what the sublayer gives: x + LN(sublayer(x)). In pre-LN it acts on what the sublayer reads: x + sublayer(LN(x))."
    )
    def norm_after_the_sublayer(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + layer_norm(attention_of(x, params, n_heads, mask), *ln1)
        return x + layer_norm(ffn_with(x, params), *ln2)

    @trap("The bias b_2 is missing: the feed-forward part ends in W_2 h + b_2.")
    def no_second_bias(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        return x + ffn_with(layer_norm(x, *ln2), params | {"b_2": 0 * params["b_2"]})

    @trap("The second sum starts from LN2(x). The feed-forward part reads LN2(x), but its result is added to x itself.")
    def second_residual_from_the_normed(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        y = layer_norm(x, *ln2)
        return y + ffn_with(y, params)

    @trap("The biases b_1 and b_2 are missing: the feed-forward part is W_2 gelu(W_1 h + b_1) + b_2.")
    def no_biases(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        return x + ffn_with(layer_norm(x, *ln2), params | {n: 0 * params[n] for n in ("b_1", "b_2")})

    @trap("The norms' own weight and bias are not used. After (x - mean) / std come a factor and a shift for each feature.")
    def norms_without_weights(x, params, n_heads, mask=None):
        one, zero = torch.ones_like(params["ln1_weight"]), torch.zeros_like(params["ln1_bias"])
        unused = 0 * sum(z.sum() for pair in norms(params) for z in pair)
        x = x + attention_of(layer_norm(x, one, zero), params, n_heads, mask)
        return x + ffn_with(layer_norm(x, one, zero), params) + unused

    @trap("Mean and variance run over tokens and features together. LayerNorm takes them for each token, over the last axis.")
    def norm_over_tokens(x, params, n_heads, mask=None):
        def norm(x, w, b):
            return F.layer_norm(x, x.shape[1:]) * w + b

        ln1, ln2 = norms(params)
        x = x + attention_of(norm(x, *ln1), params, n_heads, mask)
        return x + ffn_with(norm(x, *ln2), params)

    @trap("eps is added to the standard deviation. It belongs to the variance, under the root.")
    def eps_outside_the_root(x, params, n_heads, mask=None):
        def norm(x, w, b):
            return (x - x.mean(-1, keepdim=True)) / (x.std(-1, unbiased=False, keepdim=True) + 1e-5) * w + b

        ln1, ln2 = norms(params)
        x = x + attention_of(norm(x, *ln1), params, n_heads, mask)
        return x + ffn_with(norm(x, *ln2), params)

    @trap("The result is normalised once more. Only the whole stack ends in a norm; a block hands on the plain stream.")
    def norm_at_the_end(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        return F.layer_norm(x + ffn_with(layer_norm(x, *ln2), params), x.shape[-1:])

    @trap("GELU is applied after W_2 as well. The feed-forward part ends linearly, so that it can add both signs to the stream.")
    def activates_twice(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        x = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        return x + F.gelu(ffn_with(layer_norm(x, *ln2), params))

    @right("formulas only")
    def formulas(x, params, n_heads, mask=None):
        ln1, ln2 = norms(params)
        h = x + attention_of(layer_norm(x, *ln1), params, n_heads, mask)
        z = layer_norm(h, *ln2) @ params["W_1"].T + params["b_1"]
        return h + (0.5 * z * (1 + torch.erf(z / 2**0.5))) @ params["W_2"].T + params["b_2"]

    @right("torch's functions")
    def functions(x, params, n_heads, mask=None):
        p, D = params, x.shape[-1]
        y = F.layer_norm(x, (D,), p["ln1_weight"], p["ln1_bias"])
        q, k, v = (F.linear(y, p[f"W_{n}"]).reshape(*y.shape[:2], n_heads, -1).transpose(1, 2) for n in "qkv")
        x = x + F.linear(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(x.shape), p["W_o"])
        y = F.layer_norm(x, (D,), p["ln2_weight"], p["ln2_bias"])
        return x + F.linear(F.gelu(F.linear(y, p["W_1"], p["b_1"])), p["W_2"], p["b_2"])


# ---------------------------------------------------------------------------------------------- a module


def fill(model, dtype):
    """Give every parameter values that depend on its name and shape only; in double precision no float32 holds them."""
    model = model.to(dtype)
    state = model.state_dict()
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        seed = sum(i * ord(c) for i, c in enumerate(name, 1)) % 9973
        draws = np.random.default_rng(seed).normal(size=tuple(value.shape))
        norm = "ln" in name and name.endswith("weight")
        state[name] = torch.from_numpy(np.round(draws * 0.4, 3) + (1.0 if norm else 0.0))
    model.load_state_dict(state)
    return model


def weighted(out):
    return (out * torch.arange(out.numel(), dtype=torch.float64).cos().reshape(out.shape).to(out.dtype)).sum()


def shapes_of(named):
    return sorted(f"{n} {list(v.shape)} {str(v.dtype).removeprefix('torch.')}" for n, v in named)


def csa(submission, x, n_heads, max_len, dropout=0.0):
    return fill(submission.CausalSelfAttention(x.shape[-1], n_heads, max_len, dropout), x.dtype)


def csa_values(submission, x, n_heads, max_len):
    return csa(submission, x, n_heads, max_len).eval()(x)


def csa_gradients(submission, x, n_heads, max_len):
    model, x = csa(submission, x, n_heads, max_len), x.clone().requires_grad_()
    weighted(model(x)).backward()
    return {"input": x.grad} | {n: p.grad for n, p in sorted(model.named_parameters())}


def csa_state(submission, x, n_heads, max_len):
    fresh = submission.CausalSelfAttention(x.shape[-1], n_heads, max_len)
    model = csa(submission, x, n_heads, max_len)
    copy = submission.CausalSelfAttention(x.shape[-1], n_heads, max_len).to(x.dtype)
    copy.load_state_dict(model.state_dict())
    return {
        "parameters": shapes_of(fresh.named_parameters()),
        "state dict": sorted(fresh.state_dict()),
        "buffers": shapes_of(fresh.named_buffers()),
        "mask": fresh.mask,
        "output after a round trip": copy.eval()(x),
    }


def csa_modes(submission, x, n_heads, max_len, dropout):
    model = csa(submission, x, n_heads, max_len, dropout)
    first = model.eval()(x)
    again = model(x)
    model.train()
    dropped = model(x)
    return {"eval": first, "eval again": again, "train with dropout": dropped}


def csa_places(submission, x, n_heads, max_len):
    model = csa(submission, x, n_heads, max_len)
    out = model(x)
    half = model.to(torch.float32)(x.to(torch.float32))
    elsewhere = model.to("meta")(x.float().to("meta"))
    return {
        "output": out,
        "dtype": str(out.dtype).replace("float64", "as the input").replace("float32", "as the input"),
        "float32": str(half.dtype),
        "device": str(elsewhere.device),
        "shape there": list(elsewhere.shape),
    }


def csa_dropping(submission, x, n_heads, max_len, dropout):
    """In training mode, what the heads give, before `out`."""
    model = csa(submission, x, n_heads, max_len, dropout).train()
    with torch.no_grad():
        model.out.weight.copy_(torch.eye(x.shape[-1]))
        model.out.bias.zero_()
    return model(x)


def drops_weights(result, x, n_heads, max_len, dropout):
    """Each query's output is a sum of values. Solve for the factor of each weight: it must be 0 or 1 / (1 - p), one by one."""
    model = fill(CsaBase(x.shape[-1], n_heads, max_len), torch.float64).eval()
    out = torch.as_tensor(result)
    if out.shape != x.shape or not out.isfinite().all():
        return "In training mode the result is not finite, or has another shape."
    with torch.no_grad():
        q, k, v = (to_heads(z, n_heads) for z in model.qkv(x).chunk(3, -1))
        weights = masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, model.mask[: x.shape[1], : x.shape[1]])
    heads, plain = to_heads(out, n_heads), weights @ v
    factors, exact = [], True
    for i in range(x.shape[1]):
        parts = (weights[:, :, i, : i + 1, None] * v[:, :, : i + 1]).mT  # (B, h, d, i + 1)
        found = torch.linalg.lstsq(parts, heads[:, :, i, :, None]).solution
        exact &= torch.allclose(parts @ found, heads[:, :, i, :, None], atol=1e-7)
        factors.append(found[..., 0])
    flat = torch.cat(factors, -1)  # (B, h, number of weights)

    def all_of(z, *values):
        return bool((z[..., None] - torch.tensor(values)).abs().amin(-1).max() < 1e-5)

    if all_of(flat, 1.0):
        return "In training mode nothing is dropped."
    if all_of(heads / plain, 0.0, 1 / (1 - dropout)) and not exact:
        return "Single features of a head are dropped, not attention weights."
    if exact and all_of(flat, 0.0, 1.0) and not all_of(flat, 0.0):
        return "The weights that stay are not divided by 1 - p."
    if exact and all_of(factors[0], 0.0, 1.0) and not all_of(factors[0], factors[0].flatten()[0].item()):  # query 0 has a single weight
        return "A weight that stays alone is 1 again: after dropout the rows are normalised once more."
    if not exact or not all_of(flat, 0.0, 1 / (1 - dropout)):
        return "The heads do not give sums of values whose weights are 0 or divided by 1 - p."
    dropped = flat.abs() < 0.5
    last = dropped[..., -x.shape[1] :]
    shared = (dropped == dropped[:1]).all() or (dropped == dropped[:, :1]).all() or (last == last[..., :1]).all()
    if shared:
        return "Weights are not dropped one by one: all tokens, all heads or all rows of the batch share their fate."
    return abs(dropped.double().mean().item() - dropout) < 0.1 or "The share of dropped weights is far from p."


class CsaBase(nn.Module):
    """The skeleton that traps and right variants share; each overrides what it does differently."""

    def __init__(self, d_model, n_heads, max_len, dropout=0.0):
        super().__init__()
        self.n_heads = n_heads
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("mask", tril(max_len), persistent=False)

    def weights(self, q, k):
        T = q.shape[2]
        return self.drop(masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, self.mask[:T, :T]))

    def forward(self, x):
        q, k, v = (to_heads(z, self.n_heads) for z in self.qkv(x).chunk(3, -1))
        return self.out((self.weights(q, k) @ v).transpose(1, 2).flatten(2))


MODULE = [call(t(2, 5, 12, seed=1), 3, 8), call(t(1, 7, 8, seed=2), 4, 7), call(t(3, 1, 6, seed=3), 2, 5), call(t(2, 6, 6, seed=4), 1, 9)]


@exercise(
    "transformers.attention-module",
    names="CausalSelfAttention",
    covers=["transformers.module-contract", "transformers.multihead", "transformers.causal-mask"],
    forbid=["torch.nn.MultiheadAttention", "torch.nn.functional.multi_head_attention_forward"],
)
class AttentionModule:
    class reference(nn.Module):
        def __init__(self, d_model, n_heads, max_len, dropout=0.0):
            super().__init__()
            self.n_heads, self.p = n_heads, dropout
            self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
            self.register_buffer("mask", torch.ones(max_len, max_len, dtype=torch.bool).tril(), persistent=False)

        def forward(self, x):
            T, D = x.shape[1:]
            z, _ = F.multi_head_attention_forward(
                *[x.transpose(0, 1)] * 3,
                D,
                self.n_heads,
                self.qkv.weight,
                self.qkv.bias,
                None,
                None,
                False,
                self.p,
                self.out.weight,
                self.out.bias,
                training=self.training,
                need_weights=False,
                attn_mask=~self.mask[:T, :T],
            )
            return z.transpose(0, 1)

    cases = {
        "values": group(MODULE, call(t(2, 4, 8, seed=5, scale=3.0), 2, 4), probe=csa_values),
        "gradients": group(MODULE[:2], probe=csa_gradients),
        "state": group(MODULE[:2], call(t(1, 3, 4, seed=6), 2, 11), probe=csa_state),
        "train and eval": group(
            [call(t(2, 5, 8, seed=7), 2, 6, dropout=1.0), call(t(1, 3, 6, seed=8), 3, 3, dropout=1.0)], probe=csa_modes
        ),
        "dropped weights": group([call(t(60, 3, 12, seed=11), 3, 4, dropout=0.3)], probe=csa_dropping, accept=drops_weights),
        "dtype and device": group([call(t(2, 4, 8, seed=9), 2, 6), call(t(2, 3, 6, seed=10, dtype=torch.float32), 3, 5)], probe=csa_places),
    }

    @trap("The buffer moves, but forward makes a new mask on the CPU. Use self.mask[:T, :T], or make tensors on x.device.")
    class mask_made_on_the_cpu(CsaBase):
        def weights(self, q, k):
            return self.drop(masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, tril(q.shape[2])))

    @trap("The mask is a plain attribute: model.to(device) leaves it behind. Register it as a buffer, with persistent=False.")
    class mask_as_attribute(CsaBase):
        def __init__(self, d_model, n_heads, max_len, dropout=0.0):
            super().__init__(d_model, n_heads, max_len, dropout)
            del self.mask
            self.mask = tril(max_len)

    @trap("The mask is saved in the state dict: a checkpoint then fails to load with another max_len. Register it with persistent=False.")
    class mask_in_the_state_dict(CsaBase):
        def __init__(self, d_model, n_heads, max_len, dropout=0.0):
            super().__init__(d_model, n_heads, max_len, dropout)
            self.register_buffer("mask", tril(max_len))

    @trap("The mask is a parameter: it is counted, saved and handed to the optimizer. What is not learned is a buffer.")
    class mask_as_parameter(CsaBase):
        def __init__(self, d_model, n_heads, max_len, dropout=0.0):
            super().__init__(d_model, n_heads, max_len, dropout)
            del self.mask
            self.mask = nn.Parameter(tril(max_len), requires_grad=False)

    @trap("Dropout hits the layer's output. Here it drops attention weights, after the softmax and before they meet V.")
    class dropout_on_the_output(CsaBase):
        def weights(self, q, k):
            T = q.shape[2]
            return masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, self.mask[:T, :T])

        def forward(self, x):
            return self.drop(super().forward(x))

    @trap(
        "Dropout is active in eval mode: F.dropout and SDPA's dropout_p do not know about model.eval(). Use nn.Dropout, or pass self.training."
    )
    class dropout_always(CsaBase):
        def __init__(self, d_model, n_heads, max_len, dropout=0.0):
            super().__init__(d_model, n_heads, max_len, dropout)
            self.p = dropout

        def weights(self, q, k):
            T = q.shape[2]
            return F.dropout(masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, self.mask[:T, :T]), self.p)

    @trap("Dropout falls on weights @ v, entry by entry. It drops attention weights: with one token a head gives all of v or nothing.")
    class dropout_after_the_values(CsaBase):
        def forward(self, x):
            T = x.shape[1]
            q, k, v = (to_heads(z, self.n_heads) for z in self.qkv(x).chunk(3, -1))
            w = masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, self.mask[:T, :T])
            return self.out(self.drop(w @ v).transpose(1, 2).flatten(2))

    @trap("The weights that stay are not scaled up. Divide them by 1 - p, as nn.Dropout does, so that the expected output stays the same.")
    class dropout_not_scaled(CsaBase):
        def weights(self, q, k):
            T = q.shape[2]
            w = masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, self.mask[:T, :T])
            return w * (torch.rand_like(w) >= self.drop.p) if self.training else w

    @trap("Dropout comes before the softmax: a score of 0 is no weight of 0. Drop the weights, after the softmax.")
    class dropout_before_softmax(CsaBase):
        def weights(self, q, k):
            T = q.shape[2]
            return masked_softmax(self.drop(q @ k.mT / q.shape[-1] ** 0.5), self.mask[:T, :T])

    @trap("The buffer is True where attention is forbidden. Here True means may attend, so the mask is the lower triangle.")
    class true_is_forbidden(CsaBase):
        def __init__(self, d_model, n_heads, max_len, dropout=0.0):
            super().__init__(d_model, n_heads, max_len, dropout)
            self.register_buffer("mask", ~tril(max_len), persistent=False)

        def weights(self, q, k):
            T = q.shape[2]
            return self.drop(masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, ~self.mask[:T, :T]))

    @trap("The argument dropout has no effect: in training mode nothing is dropped.")
    class no_dropout(CsaBase):
        def weights(self, q, k):
            T = q.shape[2]
            return masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, self.mask[:T, :T])

    @trap("The whole max_len mask meets T by T scores. Cut it to the current length: mask[:T, :T].")
    class whole_mask(CsaBase):
        def weights(self, q, k):
            return self.drop(masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, self.mask))

    @trap("The scores are divided by sqrt(d_model). A head has d_model/h dimensions: scale by the square root of that.")
    class scaled_by_the_model(CsaBase):
        def weights(self, q, k):
            T = q.shape[2]
            return self.drop(masked_softmax(q @ k.mT / self.out.in_features**0.5, self.mask[:T, :T]))

    @trap(
        "The three thirds of qkv are read per head (q, k, v of head 0, then of head 1). The layout here is all of Q, then all of K, then all of V."
    )
    class thirds_per_head(CsaBase):
        def forward(self, x):
            q, k, v = to_heads(self.qkv(x), self.n_heads).chunk(3, -1)
            return self.out((self.weights(q, k) @ v).transpose(1, 2).flatten(2))

    @trap("Heads are cut with view(B, h, T, d_h), across tokens. Reshape to (B, T, h, d_h), then transpose.")
    class view_without_transpose(CsaBase):
        def forward(self, x):
            (B, T, D), h = x.shape, self.n_heads
            q, k, v = (z.reshape(B, h, T, D // h) for z in self.qkv(x).chunk(3, -1))
            return self.out((self.weights(q, k) @ v).transpose(1, 2).flatten(2))

    @trap("The future is visible: the mask is stored, but never used.")
    class mask_not_used(CsaBase):
        def weights(self, q, k):
            return self.drop((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1))

    @trap(
        "One dropout mask serves all heads or all rows of the batch, or whole heads are dropped. Each single weight has a draw of its own."
    )
    class dropout_of_whole_heads(CsaBase):
        def weights(self, q, k):
            T = q.shape[2]
            w = masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, self.mask[:T, :T])
            return w * self.drop(torch.ones_like(w[..., :1, :1]))

    @trap("The rows are normalised again after dropout. The weights that stay are divided by 1 - p and no longer sum to 1 in each row.")
    class dropout_renormalised(CsaBase):
        def weights(self, q, k):
            w = super().weights(q, k)
            return w / w.sum(-1, keepdim=True).clamp(min=1e-12) if self.training else w

    @trap("The scores are multiplied by the mask: forbidden ones become 0, and exp(0) = 1. Fill with -inf.")
    class scores_times_mask(CsaBase):
        def weights(self, q, k):
            T = q.shape[2]
            return self.drop((q @ k.mT / q.shape[-1] ** 0.5 * self.mask[:T, :T]).softmax(-1))

    @trap("Heads are merged without going back to (B, T, h, d_h): tokens and heads are mixed.")
    class merge_without_transpose(CsaBase):
        def forward(self, x):
            q, k, v = (to_heads(z, self.n_heads) for z in self.qkv(x).chunk(3, -1))
            return self.out((self.weights(q, k) @ v).reshape(x.shape))

    @trap("The softmax runs over the queries. Each query shares out one unit of attention: normalise over keys, the last axis.")
    class over_queries(CsaBase):
        def weights(self, q, k):
            T = q.shape[2]
            return self.drop(masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, self.mask[:T, :T], dim=-2))

    @trap("The mask is cut from the wrong corner, so a short input sees its future. Take the first T rows and columns, mask[:T, :T].")
    class cut_from_the_end(CsaBase):
        def weights(self, q, k):
            T = q.shape[2]
            return self.drop(masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, self.mask[-T:, :T]))

    @trap("The projection `out` is missing: the merged heads come back as they are.")
    class no_output_projection(CsaBase):
        def forward(self, x):
            q, k, v = (to_heads(z, self.n_heads) for z in self.qkv(x).chunk(3, -1))
            return (self.weights(q, k) @ v).transpose(1, 2).flatten(2) + 0 * self.out(x)

    @trap("The thirds of qkv are read as K, Q, V. The layout is all of Q, then all of K, then all of V.")
    class keys_first(CsaBase):
        def forward(self, x):
            k, q, v = (to_heads(z, self.n_heads) for z in self.qkv(x).chunk(3, -1))
            return self.out((self.weights(q, k) @ v).transpose(1, 2).flatten(2))

    @trap("The buffer is an additive float mask. The task asks for booleans, True where a token may attend.")
    class additive_mask(CsaBase):
        def __init__(self, d_model, n_heads, max_len, dropout=0.0):
            super().__init__(d_model, n_heads, max_len, dropout)
            self.register_buffer("mask", torch.zeros(max_len, max_len).masked_fill(~tril(max_len), -INF), persistent=False)

        def weights(self, q, k):
            T = q.shape[2]
            return self.drop((q @ k.mT / q.shape[-1] ** 0.5 + self.mask[:T, :T]).softmax(-1))

    @trap("Dropout comes before the softmax: a score of 0 is no weight of 0. Drop the weights, after the softmax.")
    class dropout_of_masked_scores(CsaBase):
        def weights(self, q, k):
            T = q.shape[2]
            return self.drop((q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~self.mask[:T, :T], -INF)).softmax(-1)

    @right("the skeleton")
    class skeleton(CsaBase):
        pass

    @right("SDPA with dropout_p by mode")
    class fused(nn.Module):
        def __init__(self, d_model, n_heads, max_len, dropout=0.0):
            super().__init__()
            self.h, self.p = n_heads, dropout
            self.qkv = nn.Linear(d_model, d_model * 3, bias=True)
            self.out = nn.Linear(d_model, d_model)
            mask = torch.arange(max_len)[:, None] >= torch.arange(max_len)[None]
            self.register_buffer("mask", mask, persistent=False)

        def forward(self, x):
            B, T, D = x.shape
            q, k, v = self.qkv(x).view(B, T, 3, self.h, D // self.h).permute(2, 0, 3, 1, 4)
            p = self.p if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[:T, :T], dropout_p=p)
            return self.out(y.permute(0, 2, 1, 3).reshape(B, T, D))

    @right("one head at a time")
    class head_by_head(CsaBase):
        def forward(self, x):
            T, d = x.shape[1], x.shape[2] // self.n_heads
            q, k, v = torch.split(self.qkv(x), x.shape[2], dim=2)
            outs = []
            for j in range(0, x.shape[2], d):
                s = torch.bmm(q[..., j : j + d], k[..., j : j + d].transpose(1, 2)) / math.sqrt(d)
                s = s.masked_fill(self.mask[:T, :T].logical_not(), -INF)
                outs.append(torch.bmm(self.drop(torch.softmax(s, 2)), v[..., j : j + d]))
            return self.out(torch.cat(outs, dim=2))


# ---------------------------------------------------------------------------------------------- decoding


def cached_steps(submission, x, W_q, W_k, W_v, n_heads, chunks):
    layer = submission.CachedAttention(W_q, W_k, W_v, n_heads)
    outputs, lengths = [], []
    for chunk in x.split(list(chunks), 1):
        outputs.append(layer.step(chunk))
        lengths.append(list(layer.k.shape))
    return {"outputs": outputs, "shape of k after each step": lengths, "keys": layer.k, "values": layer.v}


def two_layers(submission, x, W_q, W_k, W_v, n_heads, chunks):
    first, second = (submission.CachedAttention(W_q, W_k, W_v, n_heads) for _ in range(2))
    out = []
    for chunk in x.split(list(chunks), 1):
        out.append([first.step(chunk), second.step(-chunk)])
    return {"outputs": out, "keys": [first.k, second.k]}


def altered_cache(submission, x, W_q, W_k, W_v, n_heads, chunks):
    """Between two steps somebody changes the stored keys and values: the outputs follow, and the last step projects its own tokens only."""
    from torch.utils.flop_counter import FlopCounterMode

    layer = submission.CachedAttention(W_q, W_k, W_v, n_heads)
    outputs = []
    for chunk in x.split(list(chunks), 1):
        with FlopCounterMode(display=False) as counter:
            outputs.append(layer.step(chunk))
        layer.k.mul_(0.5)
        layer.v.add_(1.0)
    B, n_seen, D = x.shape
    needed = B * chunks[-1] * (6 * D * D + 4 * n_seen * D)
    return {"outputs": outputs, "projects old tokens again": counter.get_total_flops() > 4 * needed}


def cache_case(B, T, D, n_heads, chunks, seed, dtype=torch.float64):
    return call(t(B, T, D, seed=seed, dtype=dtype), *(t(D, D, seed=seed + i, scale=0.6, dtype=dtype) for i in (1, 2, 3)), n_heads, chunks)


class Cached:
    """The skeleton of a cached layer; traps and right variants override a piece."""

    k = v = None

    def __init__(self, W_q, W_k, W_v, n_heads):
        self.W, self.h = (W_q, W_k, W_v), n_heads

    def positions(self, n):
        return torch.arange(n) + (0 if self.k is None else self.k.shape[2])

    def append(self, k, v):
        self.k = k if self.k is None else torch.cat([self.k, k], 2)
        self.v = v if self.v is None else torch.cat([self.v, v], 2)

    def attend(self, q, n):
        return attend(q, self.k, self.v, tril(n, self.k.shape[2]))

    def step(self, x):
        q, k, v = (to_heads(x @ W.T, self.h) for W in self.W)
        p = self.positions(x.shape[1])
        q, k = rotate(q, p), rotate(k, p)
        self.append(k, v)
        return self.attend(q, x.shape[1]).transpose(1, 2).flatten(2)


@exercise(
    "transformers.kv-cache",
    names="CachedAttention",
    covers=["transformers.kv-cache", "transformers.tq04", "transformers.causal-mask", "bank.tq14"],
    rtol=1e-5,
    atol=1e-6,
)
class KvCache:
    class reference:
        def __init__(self, W_q, W_k, W_v, n_heads):
            self.W, self.h, self.k, self.v = (W_q, W_k, W_v), n_heads, None, None

        def step(self, x_chunk):
            past = 0 if self.k is None else self.k.shape[2]
            q, k, v = (to_heads(x_chunk @ W.T, self.h) for W in self.W)
            p = torch.arange(past, past + x_chunk.shape[1])
            q, k = rotate(q, p), rotate(k, p)
            self.k, self.v = (k, v) if self.k is None else (torch.cat([self.k, k], 2), torch.cat([self.v, v], 2))
            mask = torch.arange(self.k.shape[2]) <= p[:, None]
            return F.scaled_dot_product_attention(q, self.k, self.v, attn_mask=mask).transpose(1, 2).flatten(2)

    cases = {
        "token by token": group([cache_case(2, 6, 12, 3, [1] * 6, 1), cache_case(1, 4, 8, 2, [1] * 4, 5)], probe=cached_steps),
        "prefill, then steps": group(
            [cache_case(2, 6, 8, 2, [4, 1, 1], 11), cache_case(1, 7, 12, 3, [5, 1, 1], 15), cache_case(3, 3, 4, 1, [2, 1], 18)],
            probe=cached_steps,
        ),
        "chunks": group(
            [cache_case(2, 7, 12, 3, [4, 1, 2], 21), cache_case(1, 9, 8, 4, [2, 3, 4], 25), cache_case(2, 5, 6, 3, [1, 4], 29)],
            probe=cached_steps,
        ),
        "two layers": group([cache_case(2, 5, 8, 2, [3, 2], 31)], probe=two_layers),
        "cache is read": group(
            [cache_case(2, 5, 8, 2, [3, 1, 1], 35), cache_case(1, 6, 12, 3, [2, 3, 1], 39), cache_case(1, 40, 16, 2, [37, 2, 1], 45)],
            probe=altered_cache,
        ),
    }

    @trap("Positions restart at 0 in every chunk. The first new token sits at position t, the number of cached tokens.")
    class restarts(Cached):
        def positions(self, n):
            return torch.arange(n)

    @trap("The offset is too large: with t tokens in the cache the next position is t, counted from 0.")
    class off_by_one(Cached):
        def positions(self, n):
            return torch.arange(n) + (0 if self.k is None else self.k.shape[2] + 1)

    @trap("The whole cache is rotated again at each step, so old keys drift. Rotate a key once, when it enters the cache.")
    class rotates_again(Cached):
        def step(self, x):
            q, k, v = (to_heads(x @ W.T, self.h) for W in self.W)
            p = self.positions(x.shape[1])
            self.append(k, v)
            self.k = rotate(self.k, torch.arange(self.k.shape[2]))
            return self.attend(rotate(q, p), x.shape[1]).transpose(1, 2).flatten(2)

    @trap("The cache holds keys before rotation. The outputs are right, but every step rotates all keys anew: store them rotated.")
    class stores_unrotated(Cached):
        def step(self, x):
            q, k, v = (to_heads(x @ W.T, self.h) for W in self.W)
            p = self.positions(x.shape[1])
            self.append(k, v)
            keys = rotate(self.k, torch.arange(self.k.shape[2]))
            return attend(rotate(q, p), keys, self.v, tril(x.shape[1], keys.shape[2])).transpose(1, 2).flatten(2)

    @trap(
        "k and v are not what a step reads: somebody changed their entries, and the outputs stayed. Append to k and v, then attend to them."
    )
    class recomputes(Cached):
        x = None

        def step(self, x):
            self.x = x if self.x is None else torch.cat([self.x, x], 1)
            q, k, self.v = (to_heads(self.x @ W.T, self.h) for W in self.W)
            p = torch.arange(self.x.shape[1])
            self.k = rotate(k, p)
            y = attend(rotate(q, p), self.k, self.v, tril(len(p)))
            return y.transpose(1, 2).flatten(2)[:, -x.shape[1] :]

    @trap("You project all tokens again at every step. Project the new ones only; the older keys and values are in k and v.")
    class projects_everything_again(Cached):
        x = None

        def step(self, x):
            n = x.shape[1]
            self.x = x if self.x is None else torch.cat([self.x, x], 1)
            q, k, v = (to_heads((self.x @ W.T)[:, -n:], self.h) for W in self.W)
            p = self.positions(n)
            self.append(rotate(k, p), v)
            return self.attend(rotate(q, p), n).transpose(1, 2).flatten(2)

    @trap("New keys are put in front. Append them along the time axis, so that column j of the mask is token j.")
    class prepends(Cached):
        def append(self, k, v):
            self.k = k if self.k is None else torch.cat([k, self.k], 2)
            self.v = v if self.v is None else torch.cat([v, self.v], 2)

    @trap("Only the last chunk is kept: the context is lost. Concatenate along time, the new query needs all earlier keys and values.")
    class overwrites(Cached):
        def positions(self, n):
            self.t = getattr(self, "t", 0) + n
            return torch.arange(self.t - n, self.t)

        def append(self, k, v):
            self.k, self.v = k, v

    @trap("The causal triangle starts at the top left, so a decoding step sees key 0 only. Row i may see keys up to t + i.")
    class top_left(Cached):
        def attend(self, q, n):
            return F.scaled_dot_product_attention(q, self.k, self.v, is_causal=True)

    @trap("No mask: fine for one new token, but in a longer chunk each token reads its future.")
    class no_mask(Cached):
        def attend(self, q, n):
            return attend(q, self.k, self.v)

    @trap("No mask: fine for one new token, but in a longer chunk each token reads its future.")
    class no_mask_after_prefill(Cached):
        def attend(self, q, n):
            return attend(q, self.k, self.v, tril(n) if self.k.shape[2] == n else None)

    @trap("Values are rotated too. Positions belong to the match of query and key; what is passed on stays as it is.")
    class rotates_values(Cached):
        def step(self, x):
            q, k, v = (to_heads(x @ W.T, self.h) for W in self.W)
            p = self.positions(x.shape[1])
            self.append(rotate(k, p), rotate(v, p))
            return self.attend(rotate(q, p), x.shape[1]).transpose(1, 2).flatten(2)

    @trap("The new queries attend to old keys only: append first, then attend, so that a token sees itself.")
    class attends_before_appending(Cached):
        def step(self, x):
            q, k, v = (to_heads(x @ W.T, self.h) for W in self.W)
            p = self.positions(x.shape[1])
            old_k, old_v = self.k, self.v
            self.append(rotate(k, p), v)
            if old_k is None:
                return self.attend(rotate(q, p), x.shape[1]).transpose(1, 2).flatten(2)
            return attend(rotate(q, p), old_k, old_v).transpose(1, 2).flatten(2)

    @trap(
        "is_causal is right for the first chunk only: its triangle starts at the top left. A later chunk needs a mask with row i open up to t + i."
    )
    class top_left_in_chunks(Cached):
        def attend(self, q, n):
            return F.scaled_dot_product_attention(q, self.k, self.v, is_causal=n > 1)

    @trap(
        "k and v are not what a step reads: somebody changed their entries, and the outputs stayed. Append to k and v, then attend to them."
    )
    class reads_a_copy(Cached):
        own_k = own_v = None

        def append(self, k, v):
            self.own_k = k if self.own_k is None else torch.cat([self.own_k, k], 2)
            self.own_v = v if self.own_v is None else torch.cat([self.own_v, v], 2)
            self.k, self.v = self.own_k.clone(), self.own_v.clone()

        def attend(self, q, n):
            return attend(q, self.own_k, self.own_v, tril(n, self.k.shape[2]))

    @trap("The offset is one too small: the first new token gets the position of the last cached one. With t cached tokens it is t.")
    class one_too_small(Cached):
        def positions(self, n):
            return torch.arange(n) + (0 if self.k is None else self.k.shape[2] - 1)

    @trap("Queries have the right positions, keys start at 0 in every chunk. Both are turned by the same positions.")
    class keys_restart(Cached):
        def step(self, x):
            q, k, v = (to_heads(x @ W.T, self.h) for W in self.W)
            p = self.positions(x.shape[1])
            self.append(rotate(k, torch.arange(x.shape[1])), v)
            return self.attend(rotate(q, p), x.shape[1]).transpose(1, 2).flatten(2)

    @trap("The offset counts steps, not tokens. A step may bring several tokens: the next position is the length of the cache.")
    class counts_steps(Cached):
        steps = 0

        def positions(self, n):
            self.steps += 1
            return torch.arange(n) + self.steps - 1

    @trap(
        "All positions are one too large, old and new. The outputs depend on distances and stay right, the stored keys do not: count from 0."
    )
    class from_one(Cached):
        def positions(self, n):
            return super().positions(n) + 1

    @trap("A token does not see itself once there is a cache. Row i may see columns up to t + i, its own included.")
    class hides_itself(Cached):
        def attend(self, q, n):
            S = self.k.shape[2]
            return attend(q, self.k, self.v, tril(n) if S == n else torch.ones(n, S, dtype=torch.bool).tril(S - n - 1))

    @right("the skeleton")
    class skeleton(Cached):
        pass

    @right("SDPA with a mask aligned at the bottom right, empty cache from the start")
    class fused(Cached):
        def __init__(self, W_q, W_k, W_v, n_heads):
            super().__init__(W_q, W_k, W_v, n_heads)
            self.k = self.v = torch.empty(1, n_heads, 0, len(W_q) // n_heads, dtype=W_q.dtype)

        def append(self, k, v):
            self.k = torch.cat([self.k.expand(len(k), -1, -1, -1), k], dim=-2)
            self.v = torch.cat([self.v.expand(len(v), -1, -1, -1), v], dim=-2)

        def attend(self, q, n):
            T = self.k.shape[2]
            mask = torch.arange(T)[None] <= torch.arange(T - n, T)[:, None]
            return F.scaled_dot_product_attention(q, self.k, self.v, attn_mask=mask)

    @right("token by token inside the chunk")
    class one_by_one(Cached):
        def step(self, x):
            return torch.cat([super(type(self), self).step(x[:, i : i + 1]) for i in range(x.shape[1])], 1)


class ToyModel:
    """Next-token logits that depend on every token read so far; counts what it is fed.

    Its cache is a dict, a tensor, or a number: 0 names the first one that it keeps."""

    def __init__(self, vocab, seed):
        rng = np.random.default_rng(seed)
        self.table = torch.from_numpy(rng.normal(size=(13, vocab, vocab)))
        self.kind, self.kept, self.fed = seed % 3, [], []

    def read(self, tokens, cache):
        if cache is None:
            return tokens.new_zeros(len(tokens), 0)
        return [lambda: cache["tokens"], lambda: cache, lambda: self.kept[cache]][self.kind]()

    def __call__(self, tokens, cache=None):
        self.fed.append([*tokens.shape, str(tokens.dtype)])
        old = self.read(tokens, cache)
        seen = torch.cat([old, tokens], 1)
        lags = torch.arange(seen.shape[1])
        scores = torch.stack(
            [self.table[lags[: n + 1] % 13, seen[:, : n + 1].flip(1)].sum(1) for n in range(old.shape[1], seen.shape[1])], 1
        )
        self.kept.append(seen)
        return scores, [{"tokens": seen}, seen, len(self.kept) - 1][self.kind]


def generate_with_toy(submission, prompt, n_new, vocab, seed):
    model = ToyModel(vocab, seed)
    return {"tokens": submission.generate(model, prompt, n_new), "tokens fed": model.fed}


def prompts(B, T, vocab, seed):
    return torch.from_numpy(np.random.default_rng(seed).integers(vocab, size=(B, T)))


@exercise(
    "transformers.generate",
    names="generate",
    covers=["transformers.kv-cache", "transformers.tq04", "transformers.decoding"],
)
class Generate:
    def reference(step, prompt, n_new):
        tokens, new, cache = prompt, prompt, None
        for _ in range(n_new):
            logits, cache = step(new, cache)
            new = logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
        return tokens

    cases = {
        "one prompt": group([call(prompts(1, n, 7, n), k, 7, n) for n, k in ((4, 6), (1, 9), (5, 8), (3, 6))], probe=generate_with_toy),
        "a batch": group([call(prompts(3, 4, 9, 11), 7, 9, 4), call(prompts(2, 2, 5, 12), 10, 5, 5)], probe=generate_with_toy),
        "few tokens": group(
            [call(prompts(2, 3, 6, 13), 1, 6, 6), call(prompts(1, 4, 6, 14), 0, 6, 7), call(prompts(2, 1, 8, 15), 2, 8, 8)],
            probe=generate_with_toy,
        ),
    }

    @trap("The prompt is fed again at every step. With a cache each step reads only the newest token.")
    def feeds_everything(step, prompt, n_new):
        tokens, cache = prompt, None
        for _ in range(n_new):
            logits, cache = step(tokens, cache)
            tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], 1)
        return tokens

    @trap("Right tokens, but no cache: the whole sequence is recomputed at each step. Hand the returned cache to the next call.")
    def recomputes(step, prompt, n_new):
        tokens = prompt
        for _ in range(n_new):
            logits, _ = step(tokens, None)
            tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], 1)
        return tokens

    @trap("The cache that a step returns is dropped, so the model sees the newest token alone. Pass it on.")
    def forgets_the_cache(step, prompt, n_new):
        tokens, new = prompt, prompt
        for _ in range(n_new):
            logits, _ = step(new, None)
            new = logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
        return tokens

    @trap("The first cache is used for ever: the model never learns what it wrote itself. Replace it by what each step returns.")
    def keeps_the_first_cache(step, prompt, n_new):
        tokens, new, cache = prompt, prompt, None
        for _ in range(n_new):
            logits, latest = step(new, cache)
            cache = latest if cache is None else cache
            new = logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
        return tokens

    @trap("The next token is read from the first position. After a prompt of T tokens the prediction is in the last one: logits[:, -1].")
    def reads_the_first_position(step, prompt, n_new):
        tokens, new, cache = prompt, prompt, None
        for _ in range(n_new):
            logits, cache = step(new, cache)
            new = logits[:, :1].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
        return tokens

    @trap("Only the new tokens come back. Return the prompt and what follows it.")
    def drops_the_prompt(step, prompt, n_new):
        new, cache, out = prompt, None, [prompt[:, :0]]
        for _ in range(n_new):
            logits, cache = step(new, cache)
            new = logits[:, -1:].argmax(-1)
            out.append(new)
        return torch.cat(out, 1)

    @trap("One call too many: the last token need not be fed, nobody reads what follows it. n_new tokens take n_new calls.")
    def one_call_too_many(step, prompt, n_new):
        logits, cache = step(prompt, None)
        tokens = prompt
        for _ in range(n_new):
            new = logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
            logits, cache = step(new, cache)
        return tokens

    @trap("The token is drawn at random. Greedy decoding takes the most probable token.")
    def samples(step, prompt, n_new):
        tokens, new, cache = prompt, prompt, None
        g = torch.Generator().manual_seed(0)
        for _ in range(n_new):
            logits, cache = step(new, cache)
            new = torch.multinomial(logits[:, -1].softmax(-1), 1, generator=g)
            tokens = torch.cat([tokens, new], 1)
        return tokens

    @trap("The prompt is fed token by token. Prefill reads it whole, in one call: that is where the parallel work is.")
    def no_prefill(step, prompt, n_new):
        tokens, cache = prompt, None
        for i in range(prompt.shape[1] if n_new else 0):
            logits, cache = step(prompt[:, i : i + 1], cache)
        for i in range(n_new):
            new = logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
            if i < n_new - 1:
                logits, cache = step(new, cache)
        return tokens

    @trap("A cache that counts as false (0, for example) is taken for no cache, and a tensor cannot be asked. Pass on whatever came back.")
    def drops_a_false_cache(step, prompt, n_new):
        tokens, new, cache = prompt, prompt, None
        for _ in range(n_new):
            logits, cache = step(new, cache or None)
            new = logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
        return tokens

    @trap("A cache that counts as false (0, for example) is taken for no cache, and a tensor cannot be asked. Pass on whatever came back.")
    def reads_all_at_a_false_cache(step, prompt, n_new):
        tokens, new, cache = prompt, prompt, None
        for _ in range(n_new):
            logits, cache = step(new, cache) if cache else step(tokens, None)
            new = logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
        return tokens

    @trap("The cache is changed on the way: tensors are joined by hand. The model has done that already: pass on what came back.")
    def joins_caches(step, prompt, n_new):
        tokens, new, cache = prompt, prompt, None
        for _ in range(n_new):
            logits, latest = step(new, cache)
            cache = torch.cat([cache, latest], 1) if isinstance(cache, torch.Tensor) else latest
            new = logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
        return tokens

    @trap("With n_new = 0 the prompt is read all the same. No new token, no call.")
    def reads_for_nothing(step, prompt, n_new):
        logits, cache = step(prompt, None)
        tokens = prompt
        for i in range(n_new):
            new = logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
            if i < n_new - 1:
                logits, cache = step(new, cache)
        return tokens

    @trap(
        "The prompt is read in two calls, its last token apart. The first call reads all of it: its last row of logits is the prediction."
    )
    def last_token_apart(step, prompt, n_new):
        tokens, new, cache = prompt, prompt[:, -1:], None
        if n_new and prompt.shape[1] > 1:
            _, cache = step(prompt[:, :-1], None)
        for _ in range(n_new):
            logits, cache = step(new, cache)
            new = logits[:, -1:].argmax(-1)
            tokens = torch.cat([tokens, new], 1)
        return tokens

    @trap("The first row decides for the whole batch. Each row takes its own most probable token.")
    def first_row_decides(step, prompt, n_new):
        tokens, new, cache = prompt, prompt, None
        for _ in range(n_new):
            logits, cache = step(new, cache)
            new = logits[:1, -1:].argmax(-1).expand(len(prompt), 1)
            tokens = torch.cat([tokens, new], 1)
        return tokens

    @trap("Token 0 is taken for an end of text. Nothing ends early here: n_new tokens are written.")
    def stops_at_zero(step, prompt, n_new):
        tokens, new, cache = prompt, prompt, None
        for _ in range(n_new):
            logits, cache = step(new, cache)
            new = logits[:, -1:].argmax(-1)
            if (new == 0).all():
                break
            tokens = torch.cat([tokens, new], 1)
        return tokens

    @right("a list of columns")
    def columns(step, prompt, n_new):
        out, cache = [prompt], None
        while len(out) <= n_new:
            logits, cache = step(out[-1], cache)
            out.append(logits[:, -1].argmax(dim=-1, keepdim=True))
        return torch.cat(out, dim=1)

    @right("a buffer of full length")
    def buffer(step, prompt, n_new):
        B, T = prompt.shape
        tokens = torch.zeros(B, T + n_new, dtype=torch.long)
        tokens[:, :T] = prompt
        cache, done = None, 0
        for t in range(T, T + n_new):
            scores, cache = step(tokens[:, done:t], cache)
            done = t
            tokens[:, t] = scores[:, -1, :].max(-1).indices
        return tokens


def next_probs(logits, temperature=1.0, top_k=None, top_p=None, fill=-INF, crossing=True):
    z = logits.double() / temperature
    if top_k is not None:
        z = z.masked_fill(z < z.topk(min(top_k, len(z))).values[-1], fill)
    p = z.softmax(-1)
    if top_p is not None:
        value, index = p.sort(descending=True)
        before = value.cumsum(0) - (value if crossing else 0)
        keep = before < top_p if crossing else before <= top_p
        keep[0] = True
        p = torch.where(torch.zeros_like(keep).scatter(0, index, keep), p, 0.0)
    return p / p.sum()


def greedy(logits):
    return F.one_hot(logits.argmax(), len(logits)).double()


L5 = torch.tensor([2.0, -1.0, 0.5, 3.0, 1.2], dtype=torch.float64)
CLOSE = torch.tensor([0.0, 1.0, -3.5], dtype=torch.float64)
L8 = t(8, seed=3, scale=2.0)
L11 = t(11, seed=4, scale=1.5)


@exercise(
    "transformers.next-token",
    names="next_token_probs",
    covers=["transformers.decoding"],
    rtol=1e-5,
    atol=1e-6,
)
class NextToken:
    def reference(logits, temperature=1.0, top_k=None, top_p=None):
        return greedy(logits) if temperature == 0 else next_probs(logits, temperature, top_k, top_p)

    cases = {
        "temperature": [
            st.builds(call, tensors((5,), -4, 4), temperature=st.sampled_from([0.3, 0.5, 1.0, 1.7, 3.0])),
            call(L5),
            call(L8, 0.25),
            call(L11 + 2000, 0.7),
            call(L5 * 300, 0.5),
            call(L8.float(), 1.3),
            *(call(CLOSE * T, T) for T in (0.03, 1e-3, 1e-7)),
        ],
        "greedy": [
            call(L5, 0),
            call(L8, temperature=0.0),
            call(L5, 0.0, 3),
            call(L11, 0.0, None, 0.5),
            call(torch.tensor([1.0, 4.0, 4.0, 0.0]), 0.0),
        ],
        "top-k": [call(L5, 1.0, 2), call(L8, 0.6, 3), call(L8, 1.0, 1), call(L11, 2.0, top_k=7), call(L5 - 7, top_k=4), call(L5, 1.5, 9)],
        "top-p": [
            call(L5, top_p=0.6),
            call(L8, 1.0, None, 0.8),
            call(L11, top_p=0.95),
            call(L11, top_p=0.3),
            call(L8, top_p=0.05),
            call(L5, top_p=1.0),
        ],
        "together": [
            call(L8, 2.5, 5, 0.7),
            call(L11, 0.5, 6, 0.9),
            call(L11, 3.0, top_p=0.6),
            call(L11, 3.0, 4, 0.6),
            call(L8, 0.4, None, 0.95),
            call(L8, 2.0, 3, 0.97),
            call(L8 * 0.1 + 3000, 1.0, 5, 0.7),
            call(L8 * 0.1 - 3000, 1.0, 5),
            call(L8 * 0.1 - 3000, 1.0, None, 0.7),
        ],
    }

    @trap("You multiply by the temperature. Divide: T below 1 sharpens, above 1 flattens.")
    def multiplies(logits, temperature=1.0, top_k=None, top_p=None):
        return greedy(logits) if temperature == 0 else next_probs(logits, 1 / temperature, top_k, top_p)

    @trap("Temperature 0 divides by zero. Its limit is greedy decoding: probability 1 for the largest logit.")
    def no_greedy_case(logits, temperature=1.0, top_k=None, top_p=None):
        return next_probs(logits, temperature, top_k, top_p)

    greedy_below_005, greedy_below_001, greedy_below_1e_5 = (
        trap("You take a small temperature for 0. Only exactly 0 is greedy: close logits still share the probability.")(
            lambda logits, temperature=1.0, top_k=None, top_p=None, least=least: (
                greedy(logits) if temperature < least else next_probs(logits, temperature, top_k, top_p)
            )
        )
        for least in (0.05, 0.01, 1e-5)
    )

    @trap("The tokens cut off get logit 0, and exp(0) = 1 keeps them alive. They need -inf, or probability 0.")
    def cut_to_zero(logits, temperature=1.0, top_k=None, top_p=None):
        return greedy(logits) if temperature == 0 else next_probs(logits, temperature, top_k, top_p, fill=0.0)

    @trap("The tokens cut off get logit 0, and exp(0) = 1 keeps them alive. They need -inf, or probability 0.")
    def nucleus_cut_to_zero(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        z = logits.double() / temperature
        if top_k is not None:
            z = z.masked_fill(z < z.topk(min(top_k, len(z))).values[-1], 0.0)
        if top_p is not None:
            value, index = z.softmax(-1).sort(descending=True)
            drop = value.cumsum(0) - value >= top_p
            z = z.masked_fill(torch.zeros_like(drop).scatter(0, index, drop), 0.0)
        return z.softmax(-1)

    @trap(
        "Top-p leaves out the token that crosses the threshold. The nucleus is the smallest set whose mass reaches p, so that token belongs to it."
    )
    def leaves_out_the_crossing(logits, temperature=1.0, top_k=None, top_p=None):
        return greedy(logits) if temperature == 0 else next_probs(logits, temperature, top_k, top_p, crossing=False)

    @trap(
        "Top-p leaves out the token that crosses the threshold. The nucleus is the smallest set whose mass reaches p, so that token belongs to it."
    )
    def leaves_out_the_crossing_without_renormalising(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        p = next_probs(logits, temperature)
        if top_k is not None:
            p = torch.where(p >= p.topk(min(top_k, len(p))).values[-1], p, 0.0)
        if top_p is not None:
            value, index = p.sort(descending=True)
            keep = value.cumsum(0) <= top_p
            keep[0] = True
            p = torch.zeros_like(p).scatter(0, index, value * keep)
        return p / p.sum()

    @trap("exp overflows for logits of a few hundred, and inf/inf is NaN. Use torch.softmax, or subtract the largest logit first.")
    def plain_exp(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        e = torch.exp(logits.double() / temperature)
        return torch.where(e.isinf().any(), e / e.sum(), next_probs(logits, temperature, top_k, top_p))

    @trap("After the cut the probabilities no longer sum to 1. Renormalise what is left.")
    def not_renormalised(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        p, kept = torch.softmax(logits.double() / temperature, -1), next_probs(logits, temperature, top_k, top_p) > 0
        return torch.where(kept, p, 0.0)

    @trap(
        "Temperature comes last in your code: the nucleus is chosen from untempered probabilities. Temperature first, then top-k, then top-p."
    )
    def temperature_last(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        kept = next_probs(logits, 1.0, top_k, top_p) > 0
        return torch.softmax((logits.double() / temperature).masked_fill(~kept, -INF), -1)

    @trap("Top-p is chosen before top-k has renormalised. Cut to k first; the nucleus is a share of what is left.")
    def top_p_first(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        kept = (next_probs(logits, temperature, top_k) > 0) & (next_probs(logits, temperature, None, top_p) > 0)
        return torch.softmax((logits.double() / temperature).masked_fill(~kept, -INF), -1)

    @trap("Top-k keeps the smallest logits. The most probable k tokens stay.")
    def keeps_the_smallest(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        if top_k is not None:
            z = logits.double()
            logits = z.masked_fill(z > z.topk(min(top_k, len(z)), largest=False).values[-1], -INF)
        return next_probs(logits, temperature, None, top_p)

    @trap("The sorted probabilities are returned. Put each back where its token stands.")
    def stays_sorted(logits, temperature=1.0, top_k=None, top_p=None):
        p = greedy(logits) if temperature == 0 else next_probs(logits, temperature, top_k, top_p)
        return p if top_p is None else p.sort(descending=True).values

    @trap("After top-p nothing is renormalised: what is left sums to less than 1. Divide by its sum.")
    def top_p_not_renormalised(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        p, kept = next_probs(logits, temperature, top_k), next_probs(logits, temperature, top_k, top_p) > 0
        return torch.where(kept, p, 0.0)

    @trap("At temperature 0 equal largest logits share the probability, as a tiny temperature makes them do. Give 1 to the first of them.")
    def tiny_temperature(logits, temperature=1.0, top_k=None, top_p=None):
        return next_probs(logits, max(temperature, 1e-8), top_k, top_p)

    @trap("top_k may be larger than the vocabulary, and topk then raises an error. Take min(top_k, V).")
    def top_k_too_large(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        if top_k is not None:
            logits.topk(top_k)
        return next_probs(logits, temperature, top_k, top_p)

    @trap("At temperature 0 each of several equal largest logits gets 1. Only the first of them does: the result sums to 1.")
    def one_for_all_largest(logits, temperature=1.0, top_k=None, top_p=None):
        return (logits == logits.max()).double() if temperature == 0 else next_probs(logits, temperature, top_k, top_p)

    @trap("After top-k nothing is renormalised. The k probabilities that stay are divided by their sum, before top-p reads them.")
    def top_k_not_renormalised(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        p = torch.where(next_probs(logits, temperature, top_k) > 0, next_probs(logits, temperature), 0.0)
        if top_p is None:
            return p
        value, index = p.sort(descending=True)
        p = torch.zeros_like(p).scatter(0, index, value * (value.cumsum(0) - value < top_p))
        return p / p.sum()

    @trap("One token more than needed stays. The smallest set ends with the token that brings the sum to top_p.")
    def one_too_many(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        p = next_probs(logits, temperature, top_k)
        if top_p is not None:
            value, index = p.sort(descending=True)
            keep = (value.cumsum(0) - value < top_p).roll(1)
            keep[0] = True
            p = torch.zeros_like(p).scatter(0, index, value * keep)
        return p / p.sum()

    @trap("That is another rule: tokens are compared with the most probable one. Top-p adds up probabilities, from the largest down.")
    def relative_to_the_best(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        p = next_probs(logits, temperature, top_k)
        if top_p is not None:
            p = torch.where(p >= (1 - top_p) * p.max(), p, 0.0)
        return p / p.sum()

    @trap("With both given, top-p is ignored. First cut to k, then cut what is left to top_p.")
    def either_or(logits, temperature=1.0, top_k=None, top_p=None):
        return greedy(logits) if temperature == 0 else next_probs(logits, temperature, top_k, top_p if top_k is None else None)

    @trap("The cut was found in sorted order and applied in token order. Bring the mask back through the indices of the sort.")
    def mask_not_brought_back(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        p = next_probs(logits, temperature, top_k)
        if top_p is not None:
            value = p.sort(descending=True).values
            p = p * (value.cumsum(0) - value < top_p)
        return p / p.sum() if p.sum() > 0 else p

    @trap("Probabilities are added up in token order. Sort them first: the nucleus begins with the most probable token.")
    def not_sorted(logits, temperature=1.0, top_k=None, top_p=None):
        if temperature == 0:
            return greedy(logits)
        p = next_probs(logits, temperature, top_k)
        if top_p is not None:
            p = p * (p.cumsum(0) - p < top_p)
        return p / p.sum()

    @right("NumPy, token by token")
    def token_by_token(logits, temperature=1.0, top_k=None, top_p=None):
        z = logits.double().numpy()
        order = sorted(range(len(z)), key=lambda i: -z[i])
        if temperature == 0:
            order, temperature = order[:1], 1.0
        if top_k is not None:
            order = order[:top_k]
        e = np.exp((z[order] - z.max()) / temperature)
        p = e / e.sum()
        if top_p is not None:
            n = 1
            while n < len(p) and p[:n].sum() < top_p:
                n += 1
            p = p[:n] / p[:n].sum()
        out = np.zeros(len(z))
        out[order[: len(p)]] = p
        return out

    @right("in logits, searchsorted")
    def searchsorted(logits, temperature=1.0, top_k=None, top_p=None):
        out = torch.zeros_like(logits)
        if temperature == 0:
            out[torch.argmax(logits)] = 1
            return out
        value, index = torch.sort(logits / temperature, descending=True)
        n = len(value) if top_k is None else min(top_k, len(value))
        if top_p is not None:
            mass = value[:n].softmax(0).cumsum(0)
            n = min(n, int((mass < top_p).sum()) + 1)
        out[index[:n]] = value[:n].softmax(0)
        return out


# ---------------------------------------------------------------------------------------------- flash


def with_largest(submission, q, k, v, block):
    """The output, and which arrays of scores were made on the way. This can be seen only where the submission runs.

    A float tensor counts as scores unless a dimension of it is the width of q, k or v (they may be copied, padded by a column or joined),
    it is a single column, or it is constant."""
    import tracemalloc
    import weakref

    from torch.overrides import TorchFunctionMode

    T, S, d, e = q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1]
    half, tile = T * S // 2, T * (block + 1)
    widths = {d, e, d + 1, e + 1, d + e}
    large, live, kept = [0], [], [0]

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for z in out if isinstance(out, (tuple, list)) else [out]:
                if not isinstance(z, torch.Tensor):
                    continue
                if not z.is_floating_point() or z.numel() <= T or widths & set(z.shape) or z.shape[-1] == 1 or z.min() == z.max():
                    continue
                large[0] = max(large[0], z.numel())
                if z.numel() <= tile:
                    live[:] = [w for w in live if w() is not None] + [weakref.ref(z)]
                    kept[0] = max(kept[0], sum(w().numel() for w in live))
            return out

    def measured():
        tracemalloc.start()
        try:
            with Watch():
                return submission.flash_attention(q, k, v, block), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    (_, first), (out, second) = measured(), measured()  # what is imported or cached on first use does not count
    peak = min(first, second)
    return {
        "output": out,
        "held a whole score matrix": large[0] > half or peak > max(8 * half, 200_000),
        "held scores of more than a tile": large[0] > tile,
        "kept the tiles of all blocks": kept[0] > 10 * tile,
    }


def tiled(q, k, v, block, tail=True, use_max=True, rescale_l=True, rescale_acc=True, first_max=-INF, scale=None):
    scale = scale or q.shape[-1] ** -0.5
    m = q.new_full((*q.shape[:-1], 1), first_max if use_max else 0.0)
    l, acc = q.new_zeros(m.shape), q.new_zeros(*q.shape[:-1], v.shape[-1])
    end = k.shape[-2] if tail else max(block, k.shape[-2] // block * block)
    for j in range(0, end, block):
        s = q @ k[..., j : j + block, :].mT * scale
        new = torch.maximum(m, s.amax(-1, keepdim=True)) if use_max else m
        p, factor = torch.exp(s - new), torch.exp(m - new)
        l = l * (factor if rescale_l else 1) + p.sum(-1, keepdim=True)
        acc = acc * (factor if rescale_acc else 1) + p @ v[..., j : j + block, :]
        m = new
    return acc, l


def flash_case(*lead, T, S, d, e, block, seed, scale=1.0, grow=0.0, dtype=torch.float64):
    k = t(*lead, S, d, seed=seed + 1, scale=scale)
    if grow:
        k = k * (1 + grow * torch.arange(S)[:, None])
    return call(t(*lead, T, d, seed=seed, scale=scale, dtype=dtype), k.to(dtype), t(*lead, S, e, seed=seed + 2, dtype=dtype), block)


@st.composite
def flash_calls(draw):
    T, S, d, e = (draw(st.integers(1, n)) for n in (3, 7, 4, 3))
    return call(draw(tensors((T, d), -3, 3)), draw(tensors((S, d), -3, 3)), draw(tensors((S, e), -3, 3)), draw(st.integers(1, 4)))


@exercise(
    "transformers.flash",
    names="flash_attention",
    covers=["transformers.flash", "transformers.tq05", "transformers.probe", "thirty.tq18"],
    forbid=[
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.MultiheadAttention",
        "torch.nn.functional.multi_head_attention_forward",
    ],
    keeps_dtype=True,
    seconds=20,
)
class Flash:
    def reference(q, k, v, block):
        return F.scaled_dot_product_attention(q, k, v)

    cases = {
        "values": group(
            [flash_calls(), flash_case(2, 3, T=4, S=8, d=5, e=6, block=4, seed=1), flash_case(T=3, S=6, d=6, e=3, block=2, seed=4)], n=10
        ),
        "tail": [
            flash_case(2, T=3, S=7, d=4, e=5, block=3, seed=7),
            flash_case(T=2, S=5, d=3, e=2, block=8, seed=10),
            flash_case(1, 2, T=5, S=9, d=4, e=4, block=4, seed=13),
            flash_case(T=4, S=11, d=2, e=3, block=5, seed=40),
        ],
        "growing scores": [
            flash_case(2, T=3, S=8, d=4, e=3, block=2, seed=16, grow=0.8),
            flash_case(T=4, S=10, d=6, e=5, block=3, seed=19, grow=0.5),
            flash_case(T=4, S=6, d=3, e=3, block=1, seed=43, grow=0.6),
        ],
        "stability": [
            flash_case(2, T=3, S=8, d=4, e=3, block=3, seed=22, scale=40.0),
            call(torch.full((2, 4), -50.0, dtype=torch.float64), t(6, 4, seed=25).abs() + 40, t(6, 3, seed=26), 2),
            call(torch.full((2, 4), 50.0, dtype=torch.float64), t(5, 4, seed=27) + 40, t(5, 3, seed=28), 2),
        ],
        "memory": group(
            [flash_case(T=60, S=1200, d=8, e=5, block=100, seed=30), flash_case(T=4, S=70, d=5, e=9, block=3, seed=36)], probe=with_largest
        ),
        "float32": [flash_case(2, T=4, S=7, d=6, e=5, block=3, seed=33, dtype=torch.float32)],
    }

    @trap("The last, shorter block is skipped. The number of keys need not be a multiple of the block.")
    def drops_the_tail(q, k, v, block):
        acc, l = tiled(q, k, v, block, tail=False)
        return acc / l

    @trap("There is no running maximum: exp overflows for large scores. Subtract the largest score seen so far.")
    def no_maximum(q, k, v, block):
        acc, l = tiled(q, k, v, block, use_max=False)
        return acc / l

    @trap("When the maximum grows, the denominator has to shrink by exp(old - new) as well: the weights do not sum to 1.")
    def denominator_not_rescaled(q, k, v, block):
        acc, l = tiled(q, k, v, block, rescale_l=False)
        return acc / l

    @trap("When the maximum grows, the sum of values must shrink by exp(old - new): earlier blocks count too much.")
    def output_not_rescaled(q, k, v, block):
        acc, l = tiled(q, k, v, block, rescale_acc=False)
        return acc / l

    @trap(
        "Nothing is rescaled when the maximum changes: blocks are measured against different maxima. Multiply both sums by exp(old - new)."
    )
    def nothing_rescaled(q, k, v, block):
        acc, l = tiled(q, k, v, block, rescale_acc=False, rescale_l=False)
        return acc / l

    @trap("Each block is normalised by itself and the results averaged. Sum numerators and denominators over all blocks, divide once.")
    def averages_blocks(q, k, v, block):
        parts = [attend(q, a, b) for a, b in zip(k.split(block, -2), v.split(block, -2))]
        return torch.stack(parts).mean(0)

    @trap("The running output is divided after every block, so it is normalised again and again. Divide once, at the end.")
    def divides_each_time(q, k, v, block):
        scale = q.shape[-1] ** -0.5
        m, l, acc = q.new_full((*q.shape[:-1], 1), -INF), 0.0, 0.0
        for a, b in zip(k.split(block, -2), v.split(block, -2)):
            s = q @ a.mT * scale
            new = torch.maximum(m, s.amax(-1, keepdim=True))
            p, factor = torch.exp(s - new), torch.exp(m - new)
            l = l * factor + p.sum(-1, keepdim=True)
            acc = (acc * factor + p @ b) / l
            m = new
        return acc

    @trap("The output is never divided by the denominator: that is a sum of values, not an average.")
    def never_divides(q, k, v, block):
        return tiled(q, k, v, block)[0]

    @trap("The running maximum starts at 0. If all scores are far below, every exp underflows and 0/0 is NaN. Start at -inf.")
    def maximum_from_zero(q, k, v, block):
        acc, l = tiled(q, k, v, block, first_max=0.0)
        return acc / l

    @trap("Half of the T by S score matrix or more was in memory at once. Loop over blocks of keys and keep running sums.")
    def materialises(q, k, v, block):
        return attend(q, k, v)

    @trap("Half of the T by S score matrix or more was in memory at once. Loop over blocks of keys and keep running sums.")
    def materialises_in_numpy(q, k, v, block):
        s = q.numpy() @ k.mT.numpy() / math.sqrt(q.shape[-1])
        w = np.exp(s - s.max(-1, keepdims=True))
        return (w / w.sum(-1, keepdims=True) @ v.numpy()).astype(v.numpy().dtype)

    @trap("Scores of more than a tile were in memory at once. `block` is the number of keys in a step: go over the keys in such blocks.")
    def whole_rows(q, k, v, block):
        return torch.stack([attend(q[..., i : i + 1, :], k, v)[..., 0, :] for i in range(q.shape[-2])], -2)

    @trap("Every tile of scores is kept, so all of them together fill the whole matrix. Let a tile go once it is in the running sums.")
    def keeps_the_tiles(q, k, v, block):
        tiles = [q @ a.mT * q.shape[-1] ** -0.5 for a in k.split(block, -2)]
        top = torch.stack([s.amax(-1) for s in tiles]).amax(0)[..., None]
        weights = [torch.exp(s - top) for s in tiles]
        return sum(w @ b for w, b in zip(weights, v.split(block, -2))) / sum(w.sum(-1, keepdim=True) for w in weights)

    @trap("The scores are not scaled. Tiling changes nothing about the division by sqrt(d).")
    def no_scale(q, k, v, block):
        acc, l = tiled(q, k, v, block, scale=1.0)
        return acc / l

    @trap("One maximum serves all queries: rows with far lower scores underflow to 0/0. Each query keeps a maximum of its own.")
    def one_maximum_for_all_rows(q, k, v, block):
        m, l, acc = q.new_tensor(-INF), 0.0, 0.0
        for a, b in zip(k.split(block, -2), v.split(block, -2)):
            s = q @ a.mT * q.shape[-1] ** -0.5
            new = torch.maximum(m, s.max())
            p, factor = torch.exp(s - new), torch.exp(m - new)
            l, acc, m = l * factor + p.sum(-1, keepdim=True), acc * factor + p @ b, new
        return acc / l

    @trap("The maximum is that of the block alone. When it falls, exp(old - new) overflows: keep the largest score of all blocks so far.")
    def maximum_of_the_block(q, k, v, block):
        m, l, acc = q.new_full((*q.shape[:-1], 1), -INF), 0.0, 0.0
        for a, b in zip(k.split(block, -2), v.split(block, -2)):
            s = q @ a.mT * q.shape[-1] ** -0.5
            new = s.amax(-1, keepdim=True)
            p, factor = torch.exp(s - new), torch.exp(m - new)
            l, acc, m = l * factor + p.sum(-1, keepdim=True), acc * factor + p @ b, new
        return acc / l

    @trap("The factor is upside down. What was measured against the old maximum is multiplied by exp(old - new), which is at most 1.")
    def factor_upside_down(q, k, v, block):
        m, l, acc = q.new_full((*q.shape[:-1], 1), -INF), 0.0, 0.0
        for a, b in zip(k.split(block, -2), v.split(block, -2)):
            s = q @ a.mT * q.shape[-1] ** -0.5
            new = torch.maximum(m, s.amax(-1, keepdim=True))
            p, factor = torch.exp(s - new), torch.where(m.isinf(), 0.0, torch.exp(new - m))
            l, acc, m = l * factor + p.sum(-1, keepdim=True), acc * factor + p @ b, new
        return acc / l

    @trap("Clamped scores do not overflow, but all scores beyond the limit become equal. Subtract the running maximum.")
    def clamps(q, k, v, block):
        l, acc = 0.0, 0.0
        for a, b in zip(k.split(block, -2), v.split(block, -2)):
            p = torch.exp((q @ a.mT * q.shape[-1] ** -0.5).clamp(-80, 80))
            l, acc = l + p.sum(-1, keepdim=True), acc + p @ b
        return acc / l

    @right("blocks by slicing")
    def slices(q, k, v, block):
        acc, l = tiled(q, k, v, block)
        return acc / l

    @right("running log-sum-exp")
    def log_sum_exp(q, k, v, block):
        out, total = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype), torch.full(q.shape[:-1], -INF, dtype=q.dtype)
        for a, b in zip(torch.split(k, block, dim=-2), torch.split(v, block, dim=-2)):
            s = torch.einsum("...td,...sd->...ts", q, a) / math.sqrt(q.size(-1))
            new = torch.logaddexp(total, s.logsumexp(-1))
            out = out * (total - new).exp()[..., None] + (s - new[..., None]).exp() @ b
            total = new
        return out

    @right("scaled keys, denominator as one more column of v")
    def one_more_column(q, k, v, block):
        k, v = k / math.sqrt(k.size(-1)), torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
        both, top = torch.zeros(*q.shape[:-1], v.size(-1), dtype=q.dtype), torch.full((*q.shape[:-1], 1), -INF, dtype=q.dtype)
        for a, b in zip(k.split(block, dim=-2), v.split(block, dim=-2)):
            s = q @ a.mT
            new = torch.maximum(top, s.amax(-1, keepdim=True))
            both, top = both * (top - new).exp() + (s - new).exp() @ b, new
        return both[..., :-1] / both[..., -1:]

    @right("NumPy")
    def in_numpy(q, k, v, block):
        q, k, v = q.numpy(), k.numpy(), v.numpy()
        m = np.full((*q.shape[:-1], 1), -np.inf, dtype=q.dtype)
        l, acc = np.zeros_like(m), np.zeros((*q.shape[:-1], v.shape[-1]), dtype=q.dtype)
        for j in range(0, k.shape[-2], block):
            s = q @ np.swapaxes(k[..., j : j + block, :], -1, -2) / np.sqrt(q.dtype.type(q.shape[-1]))
            new = np.maximum(m, s.max(-1, keepdims=True))
            p, factor = np.exp(s - new), np.exp(m - new)
            l, acc, m = l * factor + p.sum(-1, keepdims=True), acc * factor + p @ v[..., j : j + block, :], new
        return acc / l


# ---------------------------------------------------------------------------------------------- debug clinic


def loss_and_gradient(submission, logits, tokens, pad):
    logits = logits.clone().requires_grad_()
    loss = submission.lm_loss(logits, tokens, pad)
    return {"loss": loss, "gradient": torch.autograd.grad(loss, logits)[0]}


def ids(rows):
    return torch.tensor(rows)


def peaked(tokens, V, strength=6.0, shift=0, seed=0):
    """Logits that bet on the token `shift` places later."""
    tokens = tokens.roll(-shift, 1)
    return F.one_hot(tokens, V).double() * strength + t(*tokens.shape, V, seed=seed, scale=0.3)


SENTENCES = ids([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5], [1, 2, 3, 4, 5]])
PADDED = ids([[3, 1, 4, 0, 0, 0], [2, 6, 5, 3, 5, 1], [4, 4, 0, 0, 0, 0]])
LEFT = ids([[7, 7, 3, 0, 4], [2, 6, 5, 3, 0], [7, 1, 2, 2, 1]])


@st.composite
def loss_calls(draw):
    B, T, V = draw(st.integers(1, 3)), draw(st.integers(2, 5)), draw(st.integers(3, 6))
    rows = draw(st.lists(st.lists(st.integers(1, V - 1), min_size=T, max_size=T), min_size=B, max_size=B))
    return call(draw(tensors((B, T, V), -4, 4)), torch.tensor(rows), 0)


@exercise(
    "transformers.lm-loss",
    names="lm_loss",
    covers=["transformers.causal-mask", "transformers.variants", "bank.tq14"],
)
class LmLoss:
    def reference(logits, tokens, pad):
        V = logits.shape[-1]
        return F.cross_entropy(logits[:, :-1].reshape(-1, V), tokens[:, 1:].reshape(-1), ignore_index=pad)

    cases = {
        "values": [loss_calls(), call(t(3, 5, 8, seed=1, scale=2.0), SENTENCES, 0), call(t(1, 2, 3, seed=2), ids([[1, 2]]), 0)],
        "padding": [
            call(t(3, 6, 7, seed=3, scale=2.0), PADDED, 0),
            call(t(3, 5, 9, seed=4, scale=2.0), LEFT, 7),
            call(t(2, 4, 6, seed=5, scale=1.5), ids([[1, 2, 5, 5], [3, 3, 4, 5]]), 5),
        ],
        "confident models": [
            call(peaked(SENTENCES, 8), SENTENCES, 0),
            call(peaked(SENTENCES, 8, shift=1, seed=1), SENTENCES, 0),
            call(peaked(SENTENCES, 8, shift=2, seed=2, strength=40.0), SENTENCES, 0),
            call(peaked(SENTENCES, 8, shift=2, seed=3, strength=3000.0), SENTENCES, 0),
        ],
        "gradient": group(
            [call(t(3, 6, 7, seed=6, scale=2.0), PADDED, 0), call(t(3, 5, 8, seed=7), SENTENCES, 0)], probe=loss_and_gradient
        ),
    }

    @trap(
        "Position t is scored against token t, which it has just read: a model that copies gets loss 0. Shift: logits[:, :-1] against tokens[:, 1:]."
    )
    def no_shift(logits, tokens, pad):
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens.reshape(-1), ignore_index=pad)

    @trap("The shift goes the wrong way: each position is asked for the token before it. Drop the last logit and the first token.")
    def reversed_shift(logits, tokens, pad):
        return F.cross_entropy(logits[:, 1:].reshape(-1, logits.shape[-1]), tokens[:, :-1].reshape(-1), ignore_index=pad)

    @trap("Shifted twice: the model is asked for the token after next. Shift once, either in the data or in the loss.")
    def shifted_twice(logits, tokens, pad):
        if tokens.shape[1] < 3:
            return logits.sum() * 0
        return F.cross_entropy(logits[:, :-2].reshape(-1, logits.shape[-1]), tokens[:, 2:].reshape(-1), ignore_index=pad)

    @trap("cross_entropy gets probabilities and applies softmax once more: the loss can hardly leave ln V. Hand it raw logits.")
    def softmax_first(logits, tokens, pad):
        p = logits[:, :-1].softmax(-1)
        return F.cross_entropy(p.reshape(-1, p.shape[-1]), tokens[:, 1:].reshape(-1), ignore_index=pad)

    @trap("Pads count as targets: the model is paid for predicting padding. Ignore targets equal to pad.")
    def pads_count(logits, tokens, pad):
        return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))

    @trap("The mask looks at the token that goes in. What counts is the target: the last real token is followed by a pad.")
    def masks_by_the_input(logits, tokens, pad):
        loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
        keep = tokens[:, :-1] != pad
        return loss[keep].mean()

    @trap("Pads are zeroed, but still counted in the mean. Divide by the number of targets that count.")
    def divides_by_all(logits, tokens, pad):
        return F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], ignore_index=pad, reduction="none").mean()

    @trap("First a mean per sequence, then over sequences: short sequences weigh too much. Take one mean over all counted targets.")
    def mean_of_means(logits, tokens, pad):
        loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], ignore_index=pad, reduction="none")
        n = (tokens[:, 1:] != pad).sum(1)
        return (loss.sum(1)[n > 0] / n[n > 0]).mean()

    @trap("That is the sum. Take the mean over the counted targets, or the learning rate depends on the batch.")
    def summed(logits, tokens, pad):
        return F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], ignore_index=pad, reduction="sum")

    @trap("roll(-1) hands the last position the first token as its target. The last position has no target: leave it out.")
    def rolled(logits, tokens, pad):
        return F.cross_entropy(logits.flatten(0, 1), tokens.roll(-1, 1).flatten(), ignore_index=pad)

    @trap("The pad is taken to be 0. It is the argument `pad`.")
    def pad_is_zero(logits, tokens, pad):
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)

    @trap(
        "Softmax first, then the logarithm: a probability that underflows to 0 gives inf. Use cross_entropy or log_softmax on the logits."
    )
    def log_of_softmax(logits, tokens, pad):
        p = logits[:, :-1].softmax(-1).flatten(0, 1)
        return F.nll_loss(p.log(), tokens[:, 1:].flatten(), ignore_index=pad)

    @trap("A small number inside the logarithm hides how wrong a model is: no loss exceeds -ln eps. Use cross_entropy on the logits.")
    def log_with_eps(logits, tokens, pad):
        p = logits[:, :-1].softmax(-1).flatten(0, 1)
        return F.nll_loss((p + 1e-9).log(), tokens[:, 1:].flatten(), ignore_index=pad)

    @trap("The first pad ends the row for you. Pads may stand anywhere: leave out those targets, and no others.")
    def ends_at_the_first_pad(logits, tokens, pad):
        keep = tokens[:, 1:].ne(pad).long().cumprod(1).bool()
        return F.cross_entropy(logits[:, :-1][keep], tokens[:, 1:][keep])

    @trap("Positions whose input is a pad are left out as well. Only the target decides whether a position counts.")
    def pad_on_either_side(logits, tokens, pad):
        keep = tokens[:, 1:].ne(pad) & tokens[:, :-1].ne(pad)
        return F.cross_entropy(logits[:, :-1][keep], tokens[:, 1:][keep])

    @trap("Rows are joined before the shift: the last token of a row is asked for the first of the next. Shift within each row.")
    def joined_before_the_shift(logits, tokens, pad):
        return F.cross_entropy(logits.flatten(0, 1)[:-1], tokens.flatten()[1:], ignore_index=pad)

    @trap("reshape(B, V, T) mixes positions and classes. To put the classes second, transpose(1, 2), or flatten B and T.")
    def reshaped_to_classes(logits, tokens, pad):
        B, T, V = logits.shape
        return F.cross_entropy(logits[:, :-1].reshape(B, V, T - 1), tokens[:, 1:], ignore_index=pad)

    @right("log-softmax and gather")
    def gather(logits, tokens, pad):
        logp = logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
        keep = tokens[:, 1:].ne(pad)
        return -(logp * keep).sum() / keep.sum()

    @right("one target at a time")
    def loop(logits, tokens, pad):
        terms = []
        for b in range(tokens.shape[0]):
            for i in range(tokens.shape[1] - 1):
                target = tokens[b, i + 1].item()
                if target != pad:
                    terms.append(torch.logsumexp(logits[b, i], 0) - logits[b, i, target])
        return torch.stack(terms).mean()


def stack_with_gradient(submission, x, valid, layers):
    x = x.clone().requires_grad_()
    out = submission.padded_stack(x, valid, layers)
    weights = torch.arange(out.numel(), dtype=torch.float64).cos().reshape(out.shape)
    return {"output": out, "gradient of x": torch.autograd.grad((out * weights).sum(), x)[0]}


def stack_of(x, valid, layers, mask_of, after=lambda w, mask: w, fill=-INF, each=lambda h: h, last=None):
    causal = tril(x.shape[1])
    mask, h = mask_of(causal, valid), x
    for W_q, W_k, W_v in layers:
        q, k, v = h @ W_q.T, h @ W_k.T, h @ W_v.T
        w = masked_softmax(q @ k.mT / x.shape[-1] ** 0.5, mask, fill)
        h = each(h + after(w, mask) @ v)
    return h.masked_fill(~valid[..., None], 0.0) if last is None else last(h)


def left(T, *lengths):
    return torch.arange(T)[None] >= T - torch.tensor(lengths)[:, None]


def stack_case(valid, D, n_layers, seed):
    x = t(*valid.shape, D, seed=seed)
    layers = [tuple(t(D, D, seed=seed + 10 * i + j + 1, scale=0.6) for j in range(3)) for i in range(n_layers)]
    return call(x, valid, layers)


def far_below_case(valid, D, seed):
    """One layer whose scores lie near -20000 and a few units apart: the first feature is 1 in every token."""
    x, ones = t(*valid.shape, D, seed=seed), torch.ones(D, dtype=torch.float64)
    x[..., 0] = 1.0
    W_q, W_k = torch.diag(ones), torch.diag(ones)
    W_q[0, 0], W_k[0, 0] = 100.0, -200.0 * D**0.5
    return call(x, valid, [(W_q, W_k, t(D, D, seed=seed + 1, scale=0.6))])


def loud_pads_case(valid, D, seed):
    """Scores near -50000 between real tokens, near +50000 to pads."""
    x, W_k = t(*valid.shape, D, seed=seed), torch.eye(D, dtype=torch.float64)
    x[..., 0] = torch.where(valid, 1.0, -1.0)
    W_q = torch.eye(D, dtype=torch.float64)
    W_q[0] = 0.0
    x[..., 1] = 1.0
    W_q[0, 1], W_k[0, 0] = 100.0, -498.0 * D**0.5
    return call(x, valid, [(W_q, W_k, t(D, D, seed=seed + 1, scale=0.6))])


@exercise(
    "transformers.nan-rows",
    names="padded_stack",
    covers=["transformers.nan-list", "transformers.tq12"],
)
class NanRows:
    def reference(x, valid, layers):
        out = torch.zeros_like(x)
        for b in range(len(x)):
            h = x[b, valid[b]]
            for W_q, W_k, W_v in layers:
                h = h + F.scaled_dot_product_attention(h @ W_q.T, h @ W_k.T, h @ W_v.T, is_causal=True) if len(h) else h
            out = out.index_put((torch.tensor(b), valid[b].nonzero()[:, 0]), h)
        return out

    cases = {
        "left padding": [stack_case(left(5, 3, 5, 2), 4, 2, 1), stack_case(left(6, 1, 4), 3, 2, 40), stack_case(left(4, 3), 6, 1, 80)],
        "three layers": [stack_case(left(5, 4, 2), 4, 3, 120), stack_case(left(7, 2, 7, 5), 5, 3, 160)],
        "right padding too": [
            stack_case(torch.cat([left(5, 2, 4), left(5, 3, 1).flip(1)]), 4, 2, 200),
            stack_case(torch.tensor([[False, True, True, False], [True, True, True, True]]), 3, 2, 240),
            stack_case(torch.tensor([[True, False, True, True, False, True], [False, True, False, True, True, True]]), 4, 2, 400),
        ],
        "large scores": [
            far_below_case(left(4, 3, 4).flip(1), 4, 440),
            far_below_case(left(5, 2, 4), 3, 480),
            loud_pads_case(torch.tensor([[True, False, True, True], [True, True, False, True]]), 4, 520),
            loud_pads_case(left(5, 3, 5), 3, 560),
        ],
        "a row of pads only": [stack_case(left(4, 0, 3), 4, 2, 280)],
        "gradients": group(
            [stack_case(left(5, 3, 5, 2), 4, 2, 320), stack_case(left(4, 1, 3), 3, 3, 360), stack_case(left(4, 0, 3), 4, 2, 600)],
            probe=stack_with_gradient,
        ),
    }

    @trap(
        "Rows of pad queries are softmax over -inf only, NaN; in the next layer 0 * NaN carries it to real tokens. Give such rows something harmless to attend to."
    )
    def unrepaired(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c & m[:, None, :])

    @trap(
        "Forward is finite, the gradient is NaN: softmax's backward still meets the empty row. Avoid the row instead of patching its result."
    )
    def additive_and_patched(x, valid, layers):
        mask, h = tril(x.shape[1]) & valid[:, None, :], x
        extra = torch.zeros(mask.shape, dtype=x.dtype).masked_fill(~mask, -INF)
        for W_q, W_k, W_v in layers:
            w = torch.softmax((h @ W_q.T) @ (h @ W_k.T).mT / x.shape[-1] ** 0.5 + extra, -1)
            h = h + torch.nan_to_num(w) @ (h @ W_v.T)
        return h * valid[..., None]

    @trap(
        "NaN times 0 is NaN: multiplying by valid at the end clears nothing, and real tokens have read it by then. Keep the row from being empty."
    )
    def multiplied_at_the_end(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c & m[:, None, :], last=lambda h: h) * valid[..., None]

    @trap("NaN is patched at the very end, when real tokens are NaN already: they come out as 0. Stop it in the layer where it is born.")
    def patched_at_the_end(x, valid, layers):
        return torch.nan_to_num(stack_of(x, valid, layers, lambda c, m: c & m[:, None, :]))

    @trap("The causal mask is gone: tokens read their future. Combine both masks with &.")
    def padding_only(x, valid, layers):
        return stack_of(
            x, valid, layers, lambda c, m: (m[:, None, :] | torch.eye(m.shape[1], dtype=torch.bool)).expand(len(m), m.shape[1], -1)
        )

    @trap("The padding mask is gone: real tokens read pads. Combine the causal mask with the validity of the keys.")
    def causal_only(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c[None].expand(len(m), -1, -1))

    @trap("You mask pad queries, not pad keys: valid belongs on the key axis, valid[:, None, :].")
    def masks_queries(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c & (m[:, :, None] | torch.eye(m.shape[1], dtype=torch.bool)))

    @trap("Every query may now attend to position 0 as a way out, real tokens included: they read a pad. Open only the row's own position.")
    def opens_the_first_column(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: (c & m[:, None, :]) | (torch.arange(m.shape[1]) == 0))

    @trap("Pads carry numbers. The output at pads must be 0: fill them at the end.")
    def pads_kept(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c & m[:, None, :] | torch.eye(m.shape[1], dtype=torch.bool), last=lambda h: h)

    @trap("The weights are masked after the softmax, so pads and the future stay in the denominator. Mask the scores.")
    def masked_afterwards(x, valid, layers):
        mask, h = tril(x.shape[1]) & valid[:, None, :], x
        for W_q, W_k, W_v in layers:
            w = torch.softmax((h @ W_q.T) @ (h @ W_k.T).mT / x.shape[-1] ** 0.5, -1) * mask
            h = h + w @ (h @ W_v.T)
        return h * valid[..., None]

    @trap("Pads carry numbers. The output at pads must be 0: fill them at the end.")
    def pads_kept_after_a_finite_fill(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c & m[:, None, :], fill=torch.finfo(x.dtype).min, last=lambda h: h)

    @trap("Pads carry numbers. The output at pads must be 0: fill them at the end.")
    def pads_kept_after_patched_weights(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c & m[:, None, :], after=lambda w, mask: quiet(w), last=lambda h: h)

    @trap("A finite fill is not below every score: where real scores are lower still, pads and the future take the weight. Use -inf.")
    def fill_not_low_enough(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c & m[:, None, :], fill=-1e4)

    @trap("A constant taken off forbidden scores leaves a loud pad above the quiet tokens. Replace the score by -inf.")
    def constant_subtracted(x, valid, layers):
        mask, h = tril(x.shape[1]) & valid[:, None, :], x
        for W_q, W_k, W_v in layers:
            scores = (h @ W_q.T) @ (h @ W_k.T).mT / x.shape[-1] ** 0.5
            h = h + torch.softmax(scores - 1e4 * ~mask, -1) @ (h @ W_v.T)
        return h.masked_fill(~valid[..., None], 0.0)

    @trap("Forbidden scores become 0, and exp(0) = 1: pads and the future keep weight. Fill with -inf, and keep rows from being empty.")
    def filled_with_zero(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c & m[:, None, :], fill=0.0)

    @trap("The residual is lost: attention is added to h.")
    def no_residual(x, valid, layers):
        mask, h = tril(x.shape[1]) & (valid[:, None, :] | torch.eye(x.shape[1], dtype=torch.bool)), x
        for W_q, W_k, W_v in layers:
            h = masked_softmax((h @ W_q.T) @ (h @ W_k.T).mT / x.shape[-1] ** 0.5, mask) @ (h @ W_v.T)
        return h.masked_fill(~valid[..., None], 0.0)

    @trap("The pads' values are zeroed, but their keys still take a share of the softmax. Mask their scores.")
    def values_zeroed(x, valid, layers):
        mask, h = tril(x.shape[1]), x
        for W_q, W_k, W_v in layers:
            v = (h @ W_v.T) * valid[..., None]
            h = h + masked_softmax((h @ W_q.T) @ (h @ W_k.T).mT / x.shape[-1] ** 0.5, mask) @ v
        return h.masked_fill(~valid[..., None], 0.0)

    @trap("Only the pads before the first real token are masked. Pads may stand in between and at the end too: use valid itself.")
    def left_pads_only(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c & ((m.long().cumsum(1) > 0)[:, None, :] | torch.eye(m.shape[1], dtype=torch.bool)))

    @trap(
        "A row of pads only is still NaN: its queries have no key at all, and 0 * NaN is NaN. Open the diagonal there too, or fill with 0."
    )
    def rows_of_pads_stay_empty(x, valid, layers):
        own = torch.eye(x.shape[1], dtype=torch.bool) & valid.any(1)[:, None, None]
        return stack_of(x, valid, layers, lambda c, m: c & (m[:, None, :] | own), last=lambda h: h * valid[..., None])

    @right("the diagonal is open")
    def diagonal(x, valid, layers):
        return stack_of(x, valid, layers, lambda c, m: c & (m[:, None, :] | torch.eye(m.shape[1], dtype=torch.bool)))

    @right("masked_fill, then zeros in empty rows")
    def zeroed(x, valid, layers):
        return stack_of(
            x, valid, layers, lambda c, m: c & m[:, None, :], after=lambda w, mask: torch.where(mask.any(-1, keepdim=True), w, 0.0)
        )

    @right("a finite fill, pads emptied in every layer")
    def finite(x, valid, layers):
        return stack_of(
            x, valid, layers, lambda c, m: c & m[:, None, :], fill=torch.finfo(torch.float64).min, each=lambda h: h * valid[..., None]
        )

    @right("one sequence at a time, without its pads")
    def unpadded(x, valid, layers):
        out = []
        for row, keep in zip(x, valid):
            h = row[keep]
            for W_q, W_k, W_v in layers:
                s = (h @ W_q.T) @ (h @ W_k.T).T / math.sqrt(x.shape[-1])
                h = h + s.masked_fill(~tril(len(h)) if len(h) else s.bool(), -INF).softmax(-1) @ (h @ W_v.T)
            full = torch.zeros_like(row)
            full[keep] = h
            out.append(full)
        return torch.stack(out)


# The decoder. One skeleton with a switch for each planted fault.


class Block(nn.Module):
    def __init__(self, d_model, n_heads, fault=None):
        super().__init__()
        self.n_heads, self.fault = n_heads, fault
        self.ln1, self.ln2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x):
        (B, T, D), f, h = x.shape, self.fault, self.n_heads
        parts = self.qkv(x if f == "post" else self.ln1(x)).chunk(3, -1)
        q, k, v = (z.reshape(B, h, T, D // h) if f in ("view", "view and merge") else to_heads(z, h) for z in parts)
        scores = q @ k.mT / (D if f == "scale" else D // h) ** 0.5
        mask = torch.ones(T, T, dtype=torch.bool, device=None if f == "mask elsewhere" else x.device).tril()
        if f == "transposed":
            mask = mask.T
        if f == "strict":
            mask = mask.tril(-1) | (torch.arange(T, device=x.device) == 0)
        if f == "mask0":
            w = (scores * mask).softmax(-1)
        elif f == "after":
            w = scores.softmax(-1) * mask
        elif f == "no mask":
            w = scores.softmax(-1)
        else:
            w = scores.masked_fill(~mask, -1e4 if f == "finite" else -INF).softmax(-1)
        y = w @ v
        y = self.out(y.reshape(B, T, D) if f in ("merge", "view and merge") else y.transpose(1, 2).flatten(2))
        x0, x = x, y if f == "no residual" else self.ln1(x) + y if f == "normed" else self.ln1(x + y) if f == "post" else x + y
        y = self.down(F.gelu(self.up(x if f == "no ln2" else self.ln2(x)), approximate="tanh" if f == "tanh" else "none"))
        return (x0 if f == "old stream" else x) + y


class Decoder(nn.Module):
    fault = None

    def __init__(self, vocab, d_model, n_heads, n_layers, max_len):
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(vocab, d_model), nn.Embedding(max_len, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, self.fault) for _ in range(n_layers))
        self.ln_f, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab)

    def forward(self, tokens):
        B, T = tokens.shape
        if self.fault == "batch positions":
            x = self.tok_emb(tokens) + self.pos_emb(torch.arange(B, device=tokens.device))[:, None]
        elif self.fault == "no positions":
            x = self.tok_emb(tokens) + 0 * self.pos_emb.weight.sum()
        elif self.fault == "positions elsewhere":
            x = self.tok_emb(tokens) + self.pos_emb(torch.arange(T))
        elif self.fault == "last positions":
            x = self.tok_emb(tokens) + self.pos_emb.weight[-T:]
        elif self.fault == "from one":
            x = self.tok_emb(tokens) + self.pos_emb((torch.arange(T, device=tokens.device) + 1).clamp(max=len(self.pos_emb.weight) - 1))
        else:
            x = self.tok_emb(tokens) + self.pos_emb(torch.arange(T, device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(x if self.fault == "no final norm" else self.ln_f(x))


def decoder(submission, config):
    return fill(submission.TinyDecoder(*config), torch.float64)


def decoder_values(submission, tokens, *config):
    return decoder(submission, config)(tokens)


def decoder_causality(submission, tokens, *config, stretch=1.0):
    """Change token t: logits before t must not move, logits at t must. Scores grow with the square of `stretch`."""
    model, t_ = decoder(submission, config), tokens.shape[1] // 2
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "qkv" in name:
                parameter.mul_(stretch)
    changed = tokens.clone()
    changed[:, t_] = (changed[:, t_] + 1) % config[0]
    before, after = model(tokens), model(changed)
    return {"logits": before, "logits after a change of one token": after}


def decoder_batch(submission, tokens, *config):
    model = decoder(submission, config)
    return {"row 0 alone": model(tokens[:1]), "last row alone": model(tokens[-1:]), "all rows": model(tokens)}


def decoder_gradients(submission, tokens, *config):
    model = decoder(submission, config)
    F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    return {n: p.grad if p.grad is not None else "no gradient" for n, p in sorted(model.named_parameters())}


def decoder_places(submission, tokens, *config):
    fresh = submission.TinyDecoder(*config)
    model = fill(fresh, torch.float64)
    copy = submission.TinyDecoder(*config).double()
    copy.load_state_dict(model.state_dict())
    out = {
        "after a round trip": copy.eval()(tokens),
        "names": shapes_of(fresh.named_parameters()),
        "float32": model.float()(tokens).double(),
    }
    from torch.overrides import TorchFunctionMode

    mixed = []

    class Watch(TorchFunctionMode):  # "meta" lets a lookup with indices of another device pass, a GPU does not
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function in (F.embedding, torch.embedding):
                given = (*args, *(kwargs or {}).values())
                mixed.append(len({z.device.type for z in given if isinstance(z, torch.Tensor)}) > 1)
            return function(*args, **(kwargs or {}))

    model, there = model.to("meta"), tokens.to("meta")
    with Watch():
        elsewhere = model(there)
    return out | {"device": str(elsewhere.device), "shape there": list(elsewhere.shape), "positions left on another device": any(mixed)}


DECODERS = [
    call(prompts(3, 5, 11, 1), 11, 12, 3, 2, 8),
    call(prompts(2, 6, 7, 2), 7, 8, 4, 2, 6),
    call(prompts(4, 4, 9, 3), 9, 8, 2, 1, 5),
    call(prompts(2, 3, 5, 4), 5, 6, 2, 3, 9),
]


@exercise(
    "transformers.debug-decoder",
    names="TinyDecoder",
    covers=[
        "transformers.causal-bugs",
        "transformers.tq06",
        "transformers.tq11",
        "transformers.fig-block",
        "transformers.positions",
        "bank.tq10",
    ],
    rtol=1e-6,
    atol=1e-8,
)
class DebugDecoder:
    class reference(Decoder):
        pass

    cases = {
        "same function": group(DECODERS, probe=decoder_values),
        "causality": group(
            [
                *DECODERS,
                call(prompts(2, 4, 11, 386), 11, 12, 3, 1, 8, stretch=110.0),  # scores from −49,000 to 47,000
            ],
            probe=decoder_causality,
        ),
        "rows are independent": group(DECODERS, probe=decoder_batch),
        "gradients": group(DECODERS[:2], probe=decoder_gradients),
        "state and device": group(DECODERS[:2], probe=decoder_places, rtol=1e-3, atol=1e-4),
    }

    @trap("Forbidden scores become 0, and exp(0) = 1: future tokens keep weight. Fill with -inf.")
    class multiplies_scores(Decoder):
        fault = "mask0"

    @trap("A finite fill is not below every score: where the allowed ones are lower still, the future takes the weight. Use -inf.")
    class fill_not_low_enough(Decoder):
        fault = "finite"

    @trap("The mask comes after the softmax: the future has already entered the denominator. Mask the scores.")
    class masks_afterwards(Decoder):
        fault = "after"

    @trap("The mask is transposed. Rows are queries and columns keys: query i may see keys j <= i.")
    class transposed_mask(Decoder):
        fault = "transposed"

    @trap("The diagonal is masked as well: a token cannot see itself.")
    class hides_itself(Decoder):
        fault = "strict"

    @trap("The positions count rows of the batch, not time: every token of a row gets the same one. arange over T.")
    class positions_of_the_batch(Decoder):
        fault = "batch positions"

    @trap("The positions are made on the CPU, whatever device the tokens are on. Write torch.arange(T, device=tokens.device).")
    class positions_elsewhere(Decoder):
        fault = "positions elsewhere"

    @trap("Positions count from 1 here. The first token has position 0, so T - 1 is the last.")
    class positions_from_one(Decoder):
        fault = "from one"

    @trap("Positions are missing. Causal masks leak some order into a deep stack, but the model was meant to be told.")
    class no_positions(Decoder):
        fault = "no positions"

    @trap("Heads are cut across tokens. Reshape to (B, T, h, d_h), then transpose to (B, h, T, d_h).")
    class view_without_transpose(Decoder):
        fault = "view"

    @trap("Heads are merged without going back to (B, T, h, d_h): tokens and heads are mixed.")
    class merge_without_transpose(Decoder):
        fault = "merge"

    @trap("The attention residual is missing: add the output of attention to x, or the layer loses its input.")
    class no_residual(Decoder):
        fault = "no residual"

    @trap("The scores are divided by sqrt(d_model). Each head has d_model/h dimensions.")
    class scaled_by_the_model(Decoder):
        fault = "scale"

    @trap("There is no causal mask at all: every token reads the whole row, its own target included.")
    class no_mask(Decoder):
        fault = "no mask"

    @trap("The feed-forward part reads the stream without its norm: FFN(LN2(x)).")
    class no_second_norm(Decoder):
        fault = "no ln2"

    @trap("Heads are cut across tokens. Reshape to (B, T, h, d_h), then transpose to (B, h, T, d_h).")
    class view_both_ways(Decoder):
        fault = "view and merge"

    @trap("The mask is made on the CPU, whatever device the tokens are on. Make it on x.device.")
    class mask_elsewhere(Decoder):
        fault = "mask elsewhere"

    @trap("The last T rows of the position table are used. Positions count from 0: the first T rows.")
    class last_positions(Decoder):
        fault = "last positions"

    @trap("The residual starts from LN(x). Attention reads LN1(x), but its result is added to x itself.")
    class residual_from_the_normed(Decoder):
        fault = "normed"

    @trap("The first norm now stands after the addition: post-LN. The block was pre-LN, x + attention(LN1(x)).")
    class first_norm_after(Decoder):
        fault = "post"

    @trap("Off by about 1e-4: that is the tanh approximation of GELU. The exact form was no fault.")
    class tanh_gelu(Decoder):
        fault = "tanh"

    @trap("The last sum starts from the block's input, so attention's result is lost. Add to the x that attention has changed.")
    class adds_to_the_old_stream(Decoder):
        fault = "old stream"

    @right("SDPA, registered positions")
    class fused(nn.Module):
        class Layer(nn.Module):
            def __init__(self, D, h):
                super().__init__()
                self.h = h
                self.ln1, self.qkv, self.out = nn.LayerNorm(D), nn.Linear(D, 3 * D), nn.Linear(D, D)
                self.ln2, self.up, self.down = nn.LayerNorm(D), nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

            def forward(self, x):
                B, T, D = x.shape
                q, k, v = self.qkv(self.ln1(x)).view(B, T, 3, self.h, D // self.h).permute(2, 0, 3, 1, 4)
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
                return x + self.down(F.gelu(self.up(self.ln2(x))))

        def __init__(self, vocab, d_model, n_heads, n_layers, max_len):
            super().__init__()
            self.tok_emb, self.pos_emb = nn.Embedding(vocab, d_model), nn.Embedding(max_len, d_model)
            self.blocks = nn.Sequential(*(self.Layer(d_model, n_heads) for _ in range(n_layers)))
            self.ln_f, self.head = nn.LayerNorm(d_model), nn.Linear(d_model, vocab)

        def forward(self, tokens):
            return self.head(self.ln_f(self.blocks(self.tok_emb(tokens) + self.pos_emb.weight[: tokens.shape[1]])))

    @right("the skeleton without its faults")
    class skeleton(Decoder):
        pass


def classified(submission, h, valid, W, b, y):
    h, W, b = (z.clone().requires_grad_() for z in (h, W, b))
    logits, loss = submission.classify(h, valid, W, b, y)
    grads = torch.autograd.grad(loss, (h, W, b))
    return {"logits": logits, "loss": loss, "gradient of h": grads[0], "gradient of W": grads[1], "gradient of b": grads[2]}


def head_case(valid, D, C, seed, junk=0.0, dtype=torch.float64):
    h = t(*valid.shape, D, seed=seed, scale=1.5) + junk * ~valid[..., None]
    y = torch.from_numpy(np.random.default_rng(seed).integers(C, size=len(valid)))
    return call(h.to(dtype), valid, t(C, D, seed=seed + 1, dtype=dtype), t(C, seed=seed + 2, dtype=dtype), y)


def silent_case(valid, D, C, seed):
    """The first token of each row, a real one, has a state of zeros."""
    h = t(*valid.shape, D, seed=seed, scale=1.5)
    h[:, 0] = 0.0
    y = torch.arange(len(valid)) % C
    return call(h, valid, t(C, D, seed=seed + 1), t(C, seed=seed + 2), y)


def pooled(h, pool, W, b, y, soft=False):
    logits = pool(h) @ W.T + b
    return logits, F.cross_entropy(logits.softmax(-1) if soft else logits, y)


# bool / int is float32 in torch: whoever weighs states of float64 that way is right to 7 digits
@exercise("bank.classifier-head", names="classify", covers=["bank.tq10"], rtol=1e-6, atol=1e-7)
class ClassifierHead:
    def reference(h, valid, W, b, y):
        logits = torch.stack([F.linear(row[keep].mean(0), W, b) for row, keep in zip(h, valid)])
        return logits, F.nll_loss(logits.log_softmax(-1), y)

    cases = {
        "values": [
            head_case(left(4, 4, 4), 3, 5, 1),
            head_case(left(5, 2, 5, 3).flip(1), 4, 3, 4),
            head_case(left(1, 1), 6, 2, 7),
            head_case(left(6, 1, 6, 4, 3).flip(1), 5, 5, 10),
            silent_case(left(4, 3, 4, 2).flip(1), 3, 4, 37),
        ],
        "padding": [
            head_case(left(6, 2, 1, 6).flip(1), 4, 3, 13, junk=50.0),
            head_case(left(5, 3, 1), 3, 4, 16, junk=-80.0),
            head_case(
                torch.tensor([[True, False, True, False], [False, False, True, True], [False, True, False, False]]), 5, 3, 19, junk=10.0
            ),
            head_case(left(5, 3, 4, 5).flip(1), 4, 3, 31, junk=1e20),
            head_case(left(4, 2, 1), 3, 4, 34, junk=-1e60),
        ],
        "gradients": group([head_case(left(5, 2, 5, 3).flip(1), 4, 3, 22), head_case(left(4, 1, 3), 3, 5, 25, junk=5.0)], probe=classified),
        "float32": [head_case(left(5, 2, 4).flip(1), 4, 3, 28, dtype=torch.float32)],
    }

    @trap("A state of zeros is taken for a pad. A real token may have any state: `valid` alone says which tokens count.")
    def zeros_as_pads(h, valid, W, b, y):
        m = valid & (h.abs().sum(-1) > 0)
        return pooled(h, lambda h: h.masked_fill(~m[..., None], 0).sum(1) / m.sum(1, keepdim=True), W, b, y)

    @trap("One token stands for the text, the last valid one. The head averages all valid tokens.")
    def last_valid_token(h, valid, W, b, y):
        return pooled(h, lambda h: h[torch.arange(len(h)), valid.sum(1) - 1], W, b, y)

    @trap("The first n states are averaged, n being the number of valid tokens. Valid tokens may stand anywhere in the row.")
    def counts_from_the_front(h, valid, W, b, y):
        return pooled(h, lambda h: torch.stack([row[: int(n)].mean(0) for row, n in zip(h, valid.sum(1))]), W, b, y)

    @trap("One divisor for the whole batch. Each text is divided by its own number of valid tokens.")
    def all_tokens_of_the_batch(h, valid, W, b, y):
        return pooled(h, lambda h: h.masked_fill(~valid[..., None], 0).sum(1) / valid.sum(), W, b, y)

    @trap("One loss per row comes back. Average them over the batch.")
    def one_loss_per_row(h, valid, W, b, y):
        logits, _ = pooled(h, lambda h: h.masked_fill(~valid[..., None], 0).sum(1) / valid.sum(1, keepdim=True), W, b, y)
        return logits, F.cross_entropy(logits, y, reduction="none")

    @trap("The last position is a pad in short texts. Pool over the valid tokens.")
    def last_position(h, valid, W, b, y):
        return pooled(h, lambda h: h[:, -1], W, b, y)

    @trap("The sum is right, the divisor is not: divide by the number of valid tokens, not by T.")
    def divides_by_the_length(h, valid, W, b, y):
        return pooled(h, lambda h: (h * valid[..., None]).sum(1) / h.shape[1], W, b, y)

    @trap("This takes the maximum over tokens. The head averages the valid ones.")
    def maximum(h, valid, W, b, y):
        return pooled(h, lambda h: h.masked_fill(~valid[..., None], -INF).amax(1), W, b, y)

    @trap("The first token is a summary only where it was trained as one (CLS). Here: the mean of the valid tokens.")
    def first_token(h, valid, W, b, y):
        return pooled(h, lambda h: h[:, 0], W, b, y)

    @trap("cross_entropy expects raw logits. After a softmax of your own the loss is far too flat.")
    def softmax_first(h, valid, W, b, y):
        return pooled(h, lambda h: (h * valid[..., None]).sum(1) / valid.sum(1, keepdim=True), W, b, y, soft=True)

    @trap("The mean runs over pads too: what stands at padded positions changes the answer. Use valid.")
    def ignores_the_mask(h, valid, W, b, y):
        return pooled(h, lambda h: h.mean(1), W, b, y)

    @trap("The sum is never divided: long texts get large logits. Take the mean of the valid tokens.")
    def only_sums(h, valid, W, b, y):
        return pooled(h, lambda h: (h * valid[..., None]).sum(1), W, b, y)

    @trap("The pads enter the sum and are subtracted again: large ones swallow the valid states. Leave them out of the sum.")
    def subtracts_the_pads(h, valid, W, b, y):
        return pooled(h, lambda h: (h.sum(1) - (h * ~valid[..., None]).sum(1)) / valid.sum(1, keepdim=True), W, b, y)

    @trap("The pads are still in the sum, only the divisor is right. Sum the valid tokens alone.")
    def pads_in_the_sum(h, valid, W, b, y):
        return pooled(h, lambda h: h.sum(1) / valid.sum(1, keepdim=True), W, b, y)

    @trap("The bias b is not added.")
    def no_bias(h, valid, W, b, y):
        return pooled(h, lambda h: (h * valid[..., None]).sum(1) / valid.sum(1, keepdim=True), W, 0 * b, y)

    @trap("The loss is summed over the batch. It is the mean.")
    def summed_loss(h, valid, W, b, y):
        logits, loss = pooled(h, lambda h: (h * valid[..., None]).sum(1) / valid.sum(1, keepdim=True), W, b, y)
        return logits, loss * len(y)

    @trap("One divisor for the whole batch. Each text is divided by its own number of valid tokens.")
    def one_divisor(h, valid, W, b, y):
        return pooled(h, lambda h: (h * valid[..., None]).sum(1) / valid.sum() * len(h), W, b, y)

    @trap("The probabilities come back. Return the logits: cross_entropy and argmax want them raw.")
    def returns_probabilities(h, valid, W, b, y):
        logits, loss = pooled(h, lambda h: (h * valid[..., None]).sum(1) / valid.sum(1, keepdim=True), W, b, y)
        return logits.softmax(-1), loss

    @right("einsum and nll")
    def einsum(h, valid, W, b, y):
        m = valid.to(h.dtype)
        z = F.linear(torch.einsum("btd,bt->bd", h, m / m.sum(1, keepdim=True)), W, b)
        return z, (z.logsumexp(-1) - z[torch.arange(len(y)), y]).mean()

    @right("shares from booleans, float32 in between")
    def shares(h, valid, W, b, y):
        share = (valid / valid.sum(1, keepdim=True)).to(h.dtype)
        z = torch.einsum("bt,btc->bc", share, F.linear(h, W, b).masked_fill(~valid[..., None], 0.0))
        return z, F.cross_entropy(z, y)

    @right("logits per token, then the mean")
    def logits_first(h, valid, W, b, y):
        z = torch.stack([(row @ W.T)[keep].mean(0) + b for row, keep in zip(h, valid)])
        return z, F.cross_entropy(z, y)


# ---------------------------------------------------------------------------------------------- write the test


def np_softmax(s, axis=-1):
    e = np.exp(s - s.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def np_scores(q, k):
    q, k = np.asarray(q, float), np.asarray(k, float)
    return q @ k.T / np.sqrt(q.shape[1])


def np_causal(q, k, v):
    s = np_scores(q, k)
    return np_softmax(np.where(np.tri(len(s), dtype=bool), s, -np.inf)) @ np.asarray(v, float)


def loop_causal(q, k, v):
    q, k, v = (np.asarray(z, float) for z in (q, k, v))
    return np.stack([np_softmax(k[: i + 1] @ q[i] / q.shape[1] ** 0.5) @ v[: i + 1] for i in range(len(q))])


def torch_causal(q, k, v):
    q, k, v = (torch.from_numpy(np.array(z, float))[None] for z in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[0].numpy()


def additive_causal(q, k, v):
    q, k, v = (torch.from_numpy(np.array(z, float)) for z in (q, k, v))
    bias = torch.full((len(q), len(q)), -INF, dtype=q.dtype).triu(1)
    return (q @ k.T / q.shape[1] ** 0.5 + bias).softmax(-1).matmul(v).numpy()


def online_causal(q, k, v):
    q, k, v = (np.asarray(z, float) for z in (q, k, v))
    out = np.zeros((len(q), v.shape[1]))
    for i, row in enumerate(q):
        m, total, acc = -np.inf, 0.0, 0.0
        for key, value in zip(k[: i + 1], v[: i + 1]):
            s = row @ key / np.sqrt(len(row))
            new = max(m, s)
            total, acc, m = total * np.exp(m - new) + np.exp(s - new), acc * np.exp(m - new) + np.exp(s - new) * value, new
        out[i] = acc / total
    return out


def einsum_causal(q, k, v):
    s = np.where(np.tri(len(q)) > 0, np.einsum("id,jd->ij", q, k) / np.sqrt(np.shape(q)[1]), -np.inf)
    e = np.exp(s - s.max(1, keepdims=True))
    return np.einsum("ij,je->ie", e, v) / e.sum(1)[:, None]


def log_causal(q, k, v):
    s = np.where(np.tri(len(q)) > 0, np_scores(q, k), -1e30)
    return np.exp(s - np.logaddexp.reduce(s, axis=1)[:, None]) @ np.asarray(v, float)


def reversed_causal(q, k, v):
    s = np_scores(q, k)[:, ::-1]
    return np_softmax(np.where(np.tri(len(s), dtype=bool)[:, ::-1], s, -np.inf)) @ np.asarray(v, float)[::-1]


def row_by_matrix(q, k, v):
    s, v = np_scores(q, k), np.asarray(v, float)
    return np.concatenate([np_softmax(s[i : i + 1, : i + 1]) @ v[: i + 1] for i in range(len(s))])


def nearly_causal(q, k, v):
    return np_causal(q, k, v) * (1 + 2e-10)


def no_mask(q, k, v):
    return np_softmax(np_scores(q, k)) @ np.asarray(v, float)


def zero_mask(q, k, v):
    s = np_scores(q, k)
    return np_softmax(np.where(np.tri(len(s), dtype=bool), s, 0.0)) @ np.asarray(v, float)


def late_mask(q, k, v):
    s = np_scores(q, k)
    return (np_softmax(s) * np.tri(len(s))) @ np.asarray(v, float)


def strict_mask(q, k, v):
    s = np_scores(q, k)
    mask = np.tri(len(s), k=-1, dtype=bool)
    mask[0, 0] = True
    return np_softmax(np.where(mask, s, -np.inf)) @ np.asarray(v, float)


def unscaled(q, k, v):
    s = np_scores(q, k) * np.sqrt(np.asarray(q).shape[1])
    return np_softmax(np.where(np.tri(len(s), dtype=bool), s, -np.inf)) @ np.asarray(v, float)


def over_queries(q, k, v):
    s = np.where(np.tri(len(np.asarray(q)), dtype=bool), np_scores(q, k), -np.inf)
    return np_softmax(s, axis=0) @ np.asarray(v, float)


def one_ahead(q, k, v):
    s = np_scores(q, k)
    return np_softmax(np.where(np.tri(len(s), k=1, dtype=bool), s, -np.inf)) @ np.asarray(v, float)


def small_mask(q, k, v):
    s = np_scores(q, k)
    return np_softmax(np.where(np.tri(len(s), dtype=bool), s, -9.0)) @ np.asarray(v, float)


def by_columns(q, k, v):
    out = np.empty((np.shape(v)[1], len(q)))
    weights = np_softmax(np.where(np.tri(len(q), dtype=bool), np_scores(q, k), -np.inf))
    for c, column in enumerate(np.asarray(v, float).T):
        out[c] = weights @ column
    return out.T


def exchanged(q, k, v):
    return np_causal(k, q, v)


def uniform_causal(q, k, v):
    v = np.asarray(v, float)
    return np.cumsum(v, 0) / np.arange(1, len(v) + 1)[:, None]


def sample(T=5, d=4, e=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(T, d)), rng.normal(size=(T, d)), rng.normal(size=(T, e))


def oracle(q, k, v):
    rows = []
    for i in range(len(q)):
        w = np.exp(q[i] @ k[: i + 1].T / np.sqrt(q.shape[1]))
        rows.append(w @ v[: i + 1] / w.sum())
    return np.array(rows)


@exercise(
    "transformers.test-causal",
    names="check_causal_attention",
    covers=["transformers.causal-bugs", "transformers.sdpa", "transformers.tq06"],
)
class TestCausal:
    accepts = {
        "NumPy": np_causal,
        "one query at a time": loop_causal,
        "torch's SDPA": torch_causal,
        "an additive mask": additive_causal,
        "online": online_causal,
        "einsum": einsum_causal,
        "in logarithms": log_causal,
        "keys from the last": reversed_causal,
        "column by column": by_columns,
        "one row of scores at a time": row_by_matrix,
        "right to nine digits": nearly_causal,
    }
    catches = {
        "no mask": no_mask,
        "sees one token ahead": one_ahead,
        "masked with 0": zero_mask,
        "masked with -9": small_mask,
        "masked after the softmax": late_mask,
        "hides a token from itself": strict_mask,
        "no scaling": unscaled,
        "softmax over queries": over_queries,
        "ignores the scores": uniform_causal,
        "queries and keys exchanged": exchanged,
    }

    def reference(attention):
        for seed in range(3):
            q, k, v = sample(seed=seed)
            assert np.allclose(attention(q, k, v), oracle(q, k, v), atol=1e-6)

    @trap(
        "Your check accepts nearly every wrong implementation: it hardly looks at numbers, or it has a verdict and never asserts it. Assert numbers that you know."
    )
    def only_the_shape(attention):
        q, k, v = sample()
        assert np.shape(attention(q, k, v)) == (5, 3)

    @trap(
        "What the scores do in later rows is not tested: a missing scale passes, and so do weights that ignore the scores. Compare all rows with values, on inputs whose scores differ."
    )
    def only_the_first_row(attention):
        q, k, v = sample()
        assert np.allclose(attention(q, k, v)[0], v[0])

    @trap(
        "Changing the last token tests only whether the future leaks. Scale, softmax axis and self-visibility need a value to compare with."
    )
    def only_causality(attention):
        q, k, v = sample()
        before = np.asarray(attention(q, k, v))
        k, v = k.copy(), v.copy()
        k[-1], v[-1] = 9.0, -9.0
        assert np.allclose(before[:-1], np.asarray(attention(q, k, v))[:-1])

    @trap(
        "Your check rejects right implementations: it leaves no room for rounding, or your own reference is wrong. Try it on F.scaled_dot_product_attention first."
    )
    def exact_equality(attention):
        q, k, v = sample()
        assert np.array_equal(attention(q, k, v), oracle(q, k, v))

    @trap("With constant values every average gives the same output, so almost nothing can be wrong. Use random values.")
    def constant_values(attention):
        q, k, _ = sample()
        assert np.allclose(attention(q, k, np.ones((5, 3))), 1.0)

    @trap("The last token may see everything, so its row says nothing about the mask. Compare all rows.")
    def only_the_last_row(attention):
        q, k, v = sample()
        assert np.allclose(attention(q, k, v)[-1], oracle(q, k, v)[-1], atol=1e-6)

    @trap("With one feature the square root of d is 1, and a missing scale cannot show. Use several features.")
    def one_feature(attention):
        q, k, v = sample(d=1)
        assert np.allclose(attention(q, k, v), oracle(q, k, v), atol=1e-6)

    @trap("Queries and keys are the same array in your tests, so nobody sees when the two are exchanged. Draw q and k separately.")
    def equal_queries_and_keys(attention):
        q, _, v = sample()
        assert np.allclose(attention(q, q, v), oracle(q, q, v), atol=1e-6)

    @trap("The tolerance is so wide that a small leak passes. In double precision 1e-9 is room enough for rounding.")
    def too_wide(attention):
        q, k, v = sample()
        assert np.allclose(attention(q, k, v), oracle(q, k, v), atol=0.05)

    @right("properties and one number")
    def properties(attention):
        q, k, v = sample(T=6, seed=3)
        out = np.asarray(attention(q, k, v))
        assert out.shape == v.shape
        assert np.allclose(out[0], v[0], atol=1e-6)
        changed = v.copy()
        changed[3] += 100
        moved = np.abs(np.asarray(attention(q, k, changed)) - out).max(1) > 1e-6
        assert not moved[:3].any() and moved[3:].all()
        q2, k2 = np.array([[1.0, 0, 0, 0], [2.0, 0, 0, 0]]), np.array([[1.0, 0, 0, 0], [0.0, 0, 0, 0]])
        assert np.isclose(np.asarray(attention(q2, k2, np.array([[1.0], [0.0]])))[1, 0], 1 / (1 + np.exp(-1.0)), atol=1e-6)

    @right("against torch")
    def against_torch(attention):
        q, k, v = sample(T=7, seed=4)
        want = F.scaled_dot_product_attention(*(torch.tensor(z)[None] for z in (q, k, v)), is_causal=True)[0].numpy()
        assert np.abs(np.asarray(attention(q, k, v)) - want).max() < 1e-6
