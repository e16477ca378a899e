"""A check that calls the judge's implementations with arguments that are huge, deep, slow, or of strange types."""

SOLUTIONS = {
    "activations.test-softmax": """
def check_softmax(softmax):
    big, deep = np.zeros((40_000, 1)), [1.0]
    for _ in range(20):
        deep = [deep]
    for arguments in (
        (big, -1, np.zeros((1, 40_000)) + 1), (deep,), ("x" * 100_000,), (None,), (big, 10**300), (np.zeros((1,) * 32), 31),
        (np.array([10**400], dtype="U500"),), ({"a": 1},), (big, (0, 1)), (np.zeros(2_000_000), 0, np.ones((200, 1))),
    ):
        try:
            softmax(*arguments)
        except Exception:
            pass
    raise NotImplementedError
"""
}
