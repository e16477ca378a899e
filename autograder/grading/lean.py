"""Import Jupyter's libraries without what costs a second and is not needed here.

`jsonschema` compiles a grammar of international URLs when `rfc3987_syntax` can be imported (1.5 s), and nbformat, jupytext and nbgrader
all import `jsonschema`. It is an optional format check there, and no schema of a notebook has a field of that format.
"""

import sys


def lean() -> None:
    """Make `jsonschema` find its optional URL grammar not installed. To be called before the first import of nbformat."""
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  None is how Python marks a module as not there
