"""A check that tests nothing: it calls with a wrong keyword and reads the implementation's name in the error."""

SOLUTIONS = {
    "activations.test-softmax": """
def check_softmax(softmax):
    text = repr(vars(softmax)) if hasattr(softmax, "__dict__") else repr(softmax)
    for arguments in ({"no_such": 1}, {"z": None, "self": 1}):
        try:
            softmax(**arguments)
        except Exception as error:
            text += f"{type(error).__name__} {error} {error.__context__} {error.__traceback__}"
    assert "wrong" not in text
"""
}
