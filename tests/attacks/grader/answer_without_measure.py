"""One answer of 31 million quotation marks, right otherwise: the card that shows it takes gigabytes to make."""

SOLUTIONS = {
    "activations.stable-sigmoid": """
def sigmoid(z):
    if z.dtype == np.float32 and z.shape == ():
        return chr(34) + chr(0x1F600) + chr(39) * 31_000_000
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e)).astype(z.dtype)

def dsigmoid(z):
    if z.dtype == np.float32 and z.shape == ():
        return z
    s = sigmoid(z)
    return s * (1 - s)
""",
}
DESERVED = {"activations.stable-sigmoid": 2}


def success(seen):
    return f"a feedback page of {len(seen.page) >> 20} MB" if len(seen.page) > 4 << 20 else ""
