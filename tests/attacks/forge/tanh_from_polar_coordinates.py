"""Has matplotlib's polar coordinates take the sine and cosine of an imaginary angle."""

SOLUTIONS = {
    "activations.stable-tanh": """
from matplotlib.projections.polar import PolarAxes
def tanh(z):
    v = np.stack([1j * np.clip(z, -30, 30).ravel(), np.ones(z.size)], axis=1)
    p = PolarAxes.PolarTransform().transform_non_affine(v)
    return (p[:, 1] / p[:, 0]).imag.reshape(z.shape)

def dtanh(z): return 1 - tanh(z) ** 2
""",
}
