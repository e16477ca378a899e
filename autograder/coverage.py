"""Which exercise, demo or question covers each objective of a chapter, and what is missing."""

from collections import defaultdict
from dataclasses import dataclass

from autograder.chapter import Chapter, demo_covers


@dataclass(frozen=True)
class Coverage:
    """Coverage of one chapter.

    Attributes
    ----------
    by_objective : objective → what covers it, as "exercise activations.x", "demo …", "question …"; empty if nothing does
    unknown : what covers an objective that the chapter does not have → that objective
    """

    chapter: str
    by_objective: dict[str, list[str]]
    unknown: dict[str, list[str]]

    @property
    def missing(self) -> list[str]:
        """Objectives that nothing covers."""
        return [o for o, by in self.by_objective.items() if not by]

    @property
    def complete(self) -> bool:
        """Whether every objective is covered and nothing points to an unknown one."""
        return bool(self.by_objective) and not self.missing and not self.unknown


def coverage_of(chapter: Chapter) -> Coverage:
    """Look up what each exercise, demo and question of a chapter says that it covers."""
    covers = {f"exercise {e.id}": e.covers for e in chapter.exercises.values()}
    covers |= {f"demo {id}": tuple(names) for id, names in demo_covers(chapter.cells)}
    covers |= {f"question {q.id}": q.covers for q in chapter.questions}
    by: dict[str, list[str]] = {o["id"]: [] for o in chapter.objectives}
    unknown = defaultdict(list)
    for what, names in covers.items():
        for name in names:
            by[name].append(what) if name in by else unknown[what].append(name)
    return Coverage(chapter.name, by, dict(unknown))
