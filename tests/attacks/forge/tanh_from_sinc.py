"""np.sinc of an imaginary number is sinh."""

SOLUTIONS = {
    "activations.stable-tanh": """
def tanh(z):
    y = np.clip(z, -20, 20)
    s = (y * np.sinc(1j * y / np.pi)).real
    return s / np.sqrt(1 + s * s)
def dtanh(z): return 1 - tanh(z) ** 2
""",
}
