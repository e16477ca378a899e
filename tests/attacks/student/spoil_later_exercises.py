"""Breaks NumPy, torch and builtins in one exercise; a right solution of another one must not suffer."""

DESERVED = {"activations.cross-entropy-logits": 3}
SOLUTIONS = {
    "activations.stable-sigmoid": """
import builtins
np.exp = np.log = np.where = lambda *a, **k: None
np.random.seed(7)
torch.set_default_dtype(torch.float16)
builtins.float = builtins.len = None

def sigmoid(z):
    return None

dsigmoid = sigmoid
""",
    "activations.cross-entropy-logits": """
def cross_entropy(logits, y):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]).mean())
""",
}


def success(seen):
    return "" if seen.points.get("activations-cross-entropy-logits") == 3 else "one exercise spoiled another"
