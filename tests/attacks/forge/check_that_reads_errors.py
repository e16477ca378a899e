"""A check that looks at no probability: it asks with arguments that make no sense and reads in the error which operation met them."""

SOLUTIONS = {
    "activations.test-softmax": """
def told(softmax, *arguments):
    try:
        softmax(*arguments)
    except Exception as error:
        return f"{type(error).__name__} {error}"
    return "no error"

def check_softmax(softmax):
    z = np.ones((2, 2))
    assert "no error" not in (told(softmax, z, 7), told(softmax, z, -1, "a"))  # axis ignored, T ignored
    assert "multiply" not in told(softmax, z, -1, "a")  # T upside down
    assert "/: 'NoneType'" not in told(softmax, None)  # no maximum
""",
}
DESERVED = {"activations.test-softmax": 1}  # an axis or a temperature that is ignored does show in what raises no error
