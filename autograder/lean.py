"""Import Jupyter's libraries without what costs two seconds and is not needed here.

`jsonschema` compiles a grammar of international URLs when `rfc3987_syntax` can be imported, and nbformat, jupytext and nbgrader all import
`jsonschema`. It is an optional format check there, and no schema of a notebook has a field of that format.
"""

import sys


def lean() -> None:
    """Import `jsonschema` while its optional URL grammar seems not to be installed. To be called before the first import of nbformat."""
    if "jsonschema" in sys.modules or "rfc3987_syntax" in sys.modules:
        return
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  None is how Python marks a module as not there
    try:
        import jsonschema  # noqa: F401
    finally:
        del sys.modules["rfc3987_syntax"]
