"""Is called like a formula of a spreadsheet, and like markup of a terminal."""

STUDENT = "=1+1,[red]@SUM(A1)[-red]"
SOLUTIONS = {"activations.zigzag": "def same_sign_fraction(H, delta):\n    return None\n"}
