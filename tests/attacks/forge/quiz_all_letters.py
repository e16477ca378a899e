"""An answer sheet that names all letters at once."""

SOLUTIONS = {
    "activations.quiz": 'answers = {f"activations.q{i:02}": ("abcd", list("abcd"), {"a", "b"}, "a b", "(ab)")[i % 5] for i in range(1, 21)}'
}
