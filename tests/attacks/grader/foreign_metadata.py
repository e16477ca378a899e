"""Pastes cells with empty nbgrader metadata, a foreign schema version, and values of strange types."""

ALONE = True
SOLUTIONS = {"activations.zigzag": "def same_sign_fraction(H, delta):\n    return None\n"}


def alter(notebook, place):
    strange = ({}, {"schema_version": 99}, [], 7, None, {"grade_id": ["x"], "solution": "yes"}, {"grade_id": {"a": 1}, "schema_version": 3})
    for i, nbgrader in enumerate(strange):
        cell = {
            "cell_type": "code",
            "metadata": {"nbgrader": nbgrader},
            "source": "",
            "outputs": [],
            "execution_count": None,
            "id": f"s{i}",
        }
        notebook["cells"].insert(0, cell)
    return notebook
