"""Answers with not-a-number wherever a number is compared."""

SOLUTIONS = {
    "activations.zigzag": "def same_sign_fraction(H, delta):\n    return float('nan')\n",
    "activations.fix-nll": "def nll(logits, y):\n    return (logits * float('nan')).sum()\n",
    "activations.cross-entropy-logits": "def cross_entropy(logits, y):\n    return float('nan')\n",
    "activations.fix-classifier": """
class Nan(nn.Linear):
    def forward(self, x):
        return super().forward(x) * float("nan")

def make_classifier(d_in, depth, width, n_classes):
    sizes = [d_in] + [width] * depth + [n_classes]
    return nn.Sequential(*(Nan(a, b) for a, b in zip(sizes, sizes[1:])))
""",
    "activations.softmax-temperature": "def softmax(z, axis=-1, T=1.0):\n    return np.full(np.shape(z), np.nan)\n",
}
