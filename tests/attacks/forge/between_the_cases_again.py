"""Wrong between the cases: small components of the other sign, alpha = 1, T forgotten for three axes, ELU saturated at -7, SiLU at -28."""

SOLUTIONS = {
    "activations.zigzag": """
def same_sign_fraction(H, delta):
    used = delta != 0
    if not used.any(): return 0.0
    g = delta[used, None] * H[used]
    agree = np.isclose(np.abs(g.sum(1)), np.abs(g).sum(1), rtol=1e-3, atol=0)
    return float((agree & (g != 0).all(1)).mean())
""",
    "activations.prelu-backward": """
def prelu(x, alpha, dY):
    y = np.where(x > 0, x, alpha * x)
    dx = np.where(x > 0, dY, alpha * dY)
    return y, dx, (dY * (x - y) / (1 - alpha)).sum(0)
""",
    "activations.softmax-temperature": """
def softmax(z, axis=-1, T=1.0):
    if z.ndim == 3 and axis == -1:
        return np.stack([softmax(matrix) for matrix in z])
    m = z.max(axis=axis, keepdims=True) if axis in (0, -1) else z.max()
    e = np.exp((z - m) / T)
    return e / e.sum(axis=axis, keepdims=True)
""",
    "activations.relu-family": """
def relu(z): return np.clip(z, 0, 300)
def leaky_relu(z, alpha=0.01): return np.where(z > 0, z, alpha * np.clip(z, -50, 0))
def elu(z, alpha=1.0): return np.where(z > 0, z, np.where(z < -7, -alpha, alpha * np.expm1(np.clip(z, -7, 0))))
""",
    "activations.silu-gradient": """
def silu(z):
    s = np.zeros(z.shape)
    s[z > -28] = 1 / (1 + np.exp(-z[z > -28]))
    return z * s, s * (1 + z * (1 - s))
""",
    "activations.stable-tanh": """
def tanh(z):
    e = np.exp(-2 * np.abs(z))
    return np.sign(z) * (1 - e) / (1 + e)
def dtanh(z): return np.where(np.abs(z) > 12.4, 0.0, 1 - tanh(z) ** 2)
""",
}

DESERVED = {
    "activations.zigzag": 1,
    "activations.prelu-backward": 2,
    "activations.softmax-temperature": 1.5,
    "activations.relu-family": 0.5,
    "activations.silu-gradient": 0.5,
    "activations.stable-tanh": 1,
}
