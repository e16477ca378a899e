"""The question bank of a chapter: loading, checking, and the verdict on an answer sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autograder.errors import AuthoringError

LETTERS = "abcdef"


@dataclass(frozen=True)
class Question:
    """One multiple-choice question. `answer` and `trap_option` are indices into `options`; `why` has a reason per option."""

    id: str
    covers: tuple[str, ...]
    stem: str
    options: tuple[str, ...]
    answer: int
    why: tuple[str, ...]
    trap_option: int | None = None


@dataclass(frozen=True)
class Marked:
    """What became of one question: `chosen` is an option's index, None if there is no answer, -1 if it is none of the letters."""

    question: Question
    chosen: int | None

    @property
    def right(self) -> bool:
        """Whether the chosen option is the right one."""
        return self.chosen == self.question.answer


def load_questions(path: Path) -> list[Question]:
    """The questions of a `quiz.yaml`.

    Raises
    ------
    AuthoringError : for a question that is not well formed
    """
    if not path.exists():
        return []
    return [_question(path, i, entry) for i, entry in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")) or [])]


def _question(path: Path, index: int, entry: Mapping[str, Any]) -> Question:
    try:
        q = Question(
            entry["id"],
            tuple(entry["covers"]),
            str(entry["stem"]).strip(),
            tuple(str(o).strip() for o in entry["options"]),
            entry["answer"],
            tuple(str(w).strip() for w in entry["why"]),
            entry.get("trap_option"),
        )
    except (KeyError, TypeError) as error:
        raise AuthoringError(f"{path}: question {index + 1} lacks {error}. See chapters/README.md.") from None
    if not (2 <= len(q.options) <= len(LETTERS) and len(q.why) == len(q.options) and q.answer in range(len(q.options))):
        raise AuthoringError(f"{path}: {q.id} needs 2 to {len(LETTERS)} options, a reason for each, and an answer among them.")
    return q


def as_markdown(questions: Sequence[Question]) -> str:
    """The questions as one reads them; no answer in it."""
    return "\n\n".join(f"**{q.id}.** {q.stem}\n\n" + "\n".join(f"- ({LETTERS[i]}) {o}" for i, o in enumerate(q.options)) for q in questions)


def answer_sheet(questions: Sequence[Question], right: bool = False) -> str:
    """The cell in which a learner answers; filled in with the `right` letters in the instructor edition."""
    rows = "\n".join(f'    "{q.id}": "{LETTERS[q.answer] if right else ""}",' for q in questions)
    return f'# One letter for each question, for example "b".\nanswers = {{\n{rows}\n}}'


def mark(questions: Sequence[Question], answers: Any) -> list[Marked]:
    """What became of each question; `answers` is whatever the learner's cell left under that name."""
    given = answers if isinstance(answers, Mapping) else {}
    return [Marked(q, _choice(q, given.get(q.id))) for q in questions]


def _choice(question: Question, answer: Any) -> int | None:
    word = answer.strip().strip("()").lower() if isinstance(answer, str) else ""
    if answer is None or (isinstance(answer, str) and not answer):
        return None
    letters = LETTERS[: len(question.options)]
    return letters.index(word) if len(word) == 1 and word in letters else -1
