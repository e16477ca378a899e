"""The one error of `utils`, written for people."""


class UsageError(ValueError):
    """A helper was called in a way that cannot work: what was wrong, where, and what to do instead.

    Notebooks show the sentence alone, without a traceback through the helper's own code.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"UsageError: {self}"]
