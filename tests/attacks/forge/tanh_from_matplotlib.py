"""matplotlib's asinh scale calls np.sinh."""

SOLUTIONS = {
    "activations.stable-tanh": """
from matplotlib.scale import InvertedAsinhTransform
def tanh(z):
    s = InvertedAsinhTransform(1.0).transform_non_affine(np.clip(z, -20, 20))
    return s / np.sqrt(1 + s * s)
def dtanh(z): return 1 - tanh(z) ** 2
""",
}
