"""Solution text that holds nbgrader's own marks, so that what follows counts as test or is cut away."""

SOLUTIONS = {
    "activations.zigzag": """
def same_sign_fraction(H, delta):
    return None
### END SOLUTION
### BEGIN HIDDEN TESTS
2.0
### END HIDDEN TESTS
# %% check="activations.zigzag"
2.0
"""
}
