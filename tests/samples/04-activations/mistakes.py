"""Classic mistakes of chapter 4, as students write them."""

# %% activations.stable-sigmoid
def sigmoid(z: np.ndarray) -> np.ndarray:
    """Logistic function, elementwise; same shape and dtype as `z`."""
    return 1 / (1 + np.exp(-z))


def dsigmoid(z: np.ndarray) -> np.ndarray:
    """Derivative of the logistic function at `z`; same shape and dtype as `z`."""
    return sigmoid(z) * (1 - sigmoid(z))


# %% activations.stable-tanh
def tanh(z: np.ndarray) -> np.ndarray:
    """Hyperbolic tangent, elementwise."""
    up, down = np.exp(z), np.exp(-z)
    return (up - down) / (up + down)


def dtanh(z: np.ndarray) -> np.ndarray:
    """Derivative of the hyperbolic tangent at `z`."""
    return 1 - tanh(z) ** 2


# %% activations.zigzag
def same_sign_fraction(H: np.ndarray, delta: np.ndarray) -> float:
    """Share of examples (with delta ≠ 0) whose weight gradient has components of one sign only."""
    g = delta[:, None] * H
    one_sign = (g > 0).all(axis=1) | (g < 0).all(axis=1)
    return float(one_sign.mean())  # counts the examples with delta = 0 too


# %% activations.relu-family
def relu(z: np.ndarray) -> np.ndarray:
    """max(0, z), elementwise."""
    return np.maximum(0.0, z)


def leaky_relu(z: np.ndarray, alpha: float = 0.01) -> np.ndarray:
    """z where z > 0, alpha·z elsewhere."""
    return np.maximum(z, alpha * z)


def elu(z: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """z where z > 0, alpha·(exp(z) − 1) elsewhere."""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))


# %% activations.dead-units
def dead_report(batches: list[np.ndarray]) -> tuple[float, float]:
    """Fraction of units that are never active, and fraction of zero entries."""
    zero = np.concatenate([(a == 0).ravel() for a in batches])
    return float(zero.mean()), float(zero.mean())


# %% activations.prelu-backward
def prelu(x: np.ndarray, alpha: np.ndarray, dY: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PReLU with one slope a channel: output, gradient for `x`, gradient for `alpha`."""
    y = np.where(x > 0, x, alpha * x)
    dx = dY * np.where(x > 0, 1.0, alpha)
    dalpha = dY * np.minimum(x, 0.0)  # one gradient an example: the sum over the batch is forgotten
    return y, dx, dalpha


# %% activations.gelu-forms
def gelu(z: np.ndarray, approximate: str = "none") -> np.ndarray:
    """Gaussian error linear unit; `approximate` is "none", "tanh" or "sigmoid"."""
    if approximate == "sigmoid":
        return z / (1 + np.exp(-1.702 * z))
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


# %% activations.silu-gradient
def silu(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SiLU and its derivative, elementwise."""
    e = np.exp(-np.abs(z))
    s = np.where(z >= 0, 1 / (1 + e), e / (1 + e))
    return z * s, z * s * (1 - s)


# %% activations.swiglu-ffn
def swiglu_ffn(x: np.ndarray, W: np.ndarray, V: np.ndarray, W2: np.ndarray) -> np.ndarray:
    """(Swish(x W) * (x V)) W2; x (..., d), W and V (d, h), W2 (h, d)."""
    v = x @ V
    return ((x @ W) * (v / (1 + np.exp(-v)))) @ W2


def matched_hidden(d: int, d_ff: int) -> int:
    """Largest h with 3·d·h ≤ 2·d·d_ff."""
    return 2 * d_ff // 3


# %% thirty.swiglu-chunk
def swiglu(x: torch.Tensor, W: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Gated unit from one doubled projection: first half linear, second half through SiLU."""
    gate, content = F.linear(x, W, b).chunk(2, dim=-1)
    return F.silu(gate) * content


# %% activations.softmax-temperature
def softmax(z: np.ndarray, axis: int = -1, T: float = 1.0) -> np.ndarray:
    """Softmax of z/T along `axis`, safe for large logits."""
    e = np.exp(z / T)
    return e / e.sum(axis=axis, keepdims=True)


# %% activations.cross-entropy-logits
def cross_entropy(logits: np.ndarray, y: np.ndarray) -> float:
    """Mean cross-entropy from logits (N, C) and labels (N,)."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return float(-np.log(p[np.arange(len(y)), y]).mean())


# %% activations.fix-nll
def nll(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of logits (N, C) and labels (N,), a scalar tensor."""
    p = torch.softmax(logits, dim=1)
    return -torch.log(p + 1e-9)[torch.arange(len(y)), y].mean()


# %% activations.fix-classifier
def make_classifier(d_in: int, depth: int, width: int, n_classes: int) -> nn.Module:
    """An MLP with `depth` hidden layers that returns logits."""
    layers, d = [], d_in
    for _ in range(depth):
        layers += [nn.Linear(d, width), nn.Sigmoid()]
        d = width
    return nn.Sequential(*layers, nn.Linear(d, n_classes))  # the softmax is gone, the sigmoids still are there


# %% activations.test-softmax
def check_softmax(softmax: Callable) -> None:
    """Raise AssertionError if `softmax(z, axis=-1, T=1.0)` is wrong."""
    p = softmax(np.array([[1.0, 2.0, 3.0], [1.0, 0.0, -1.0]]))
    assert np.allclose(p.sum(axis=-1), 1.0), "probabilities sum to one"


# %% activations.quiz
answers = {f"activations.q{i:02d}": letter for i, letter in enumerate("bcaaadabaacbccaacaab"[:19], 1)}
answers["thirty.q03"] = "no idea"
