"""Whose upload it is, by the names that platforms give; and what a student may be called.

A platform writes the student's name in front, or on a folder around the upload; what stands behind or below it the student has chosen. So
only the outermost part of a path names somebody, and all of a hand-out are read in the same way.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

#: The parts of a path. Zips on the way are parts too.
Trail = tuple[str, ...]

#: Bytes of an id: a name of that length with an ending is still a name for a file.
MAX_ID = 200
#: What uploads are looked at, and what are known as archives that are not.
NOTEBOOK, ZIP = ".ipynb", ".zip"
ARCHIVES = (".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz")
_MOST_AROUND = 3  # folders around a hand-out
_LONGEST = 1000  # characters of a name that is looked at closely

_SAFE = "_.@+ ,'’·()-"  # besides letters, marks and digits of all languages
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, direction, half characters, ends of lines
_EMPTY = "\u115f\u1160\u3164\uffa0"  # letters that show nothing
_MOODLES_MARK = "_assignsubmission_file"


@dataclass(frozen=True)
class Platform:
    """How a learning platform names what it hands out. `folders`: it may name folders so; files it names in any case."""

    name: str
    form: re.Pattern[str]
    folders: bool = False

    def read(self, trail: Trail, at: int) -> re.Match[str] | None:
        """What the part `at` of a path says, if it has this platform's form."""
        if len(trail[at]) > _LONGEST or not (self.folders or _is_file(trail, at)):
            return None
        return self.form.fullmatch(stem(trail[at]) if _is_file(trail, at) else trail[at])


MOODLE = Platform("Moodle", re.compile(r"(?P<who>.+?)_(?P<number>[0-9]+)_assignsubmission_file(?:_.*)?"), folders=True)
#: In a name Canvas leaves no number between two underscores: the first one is the user.
CANVAS = Platform("Canvas", re.compile(r"(?P<who>(?:(?!_attempt_[0-9-]+_).)+?)_(?:LATE_|late_)?(?P<number>[0-9]+)_[0-9]+_(?P<file>.+)"))
BLACKBOARD = Platform("Blackboard", re.compile(r"(?P<work>(?:.*?_)??)(?P<who>[^_]+)_attempt_(?P<when>[0-9-]+)_(?P<file>.+)"))
#: Of two that read as many names, the first: its mark stands further in front, where no student writes.
PLATFORMS = (MOODLE, CANVAS, BLACKBOARD)


@dataclass(frozen=True)
class Claim:
    """Whose an upload is said to be.

    Attributes
    ----------
    student : the id
    source : whom the platform means; different for different people, also where the id is the same
    when : the time of an attempt, where the name says it
    number : tells people of one name apart, where the platform gives one
    namesake : the name that the student shares with others of the hand-out
    around : the folders and zips around the hand-out in which it was found
    problem : why it can be nobody's, or ""
    """

    student: str = ""
    source: str = ""
    when: str = ""
    number: str = ""
    namesake: str = ""
    around: str = ""
    problem: str = ""


def claims(trails: Iterable[Trail], names: Collection[str], students: Collection[str] = ()) -> dict[Trail, Claim]:
    """Whose the uploads of a hand-out are.

    Parameters
    ----------
    names : names and slugs of chapters, which are no student's
    students : ids that are known already, folded: what has such a name is that student's, and no folder around a hand-out

    Examples
    --------
    >>> jane, joe = ("doejane_12345_67890_losses.ipynb",), ("roejoe_LATE_12346_67891_losses.ipynb",)
    >>> [claim.student for claim in claims([jane, joe], {"losses"}).values()]
    ['doejane_12345', 'roejoe_12346']
    """
    found: dict[Trail, Claim] = {}
    for at, together in _handouts(sorted(set(trails)), names, students):
        platform, around = _platform(together, at), "/".join(together[0][:at])
        found |= _told_apart({t: replace(_checked(_claim(t, at, platform, names)), around=around) for t in together})
    return found


def holds_handouts(trails: Iterable[Trail], names: Collection[str], students: Collection[str], at: int = 0) -> bool:
    """Whether the parts `at` of the paths are no students, but folders and zips around hand-outs: an export saved as it came.

    Either what lies in each of them mostly has a platform's form, or they are chapters; or it is a single one, and what lies in it says
    whose it is: `ID/CHAPTER/…`, or several of `ID/…` and `ID.ipynb`. A single `ID/….ipynb` is ID's. No part is the id of one of
    `students`, folded.
    """
    if any(fold(stem(t[at])) in students for t in trails):
        return False
    if any(_marked(t, at) or _of_nbgrader(t, at, names) or len(t) == at + 1 for t in trails):
        return False
    inside = {part: [t[0] for t in _by_part(held, at + 1).values()] for part, held in _by_part(trails, at).items()}
    times = Counter(t[at + 1] for held in inside.values() for t in held)  # platforms give no name twice
    if all(_mostly(_marked(t, at + 1) and times[t[at + 1]] == 1 for t in held) for held in inside.values()):
        return True
    if len(inside) > 1:
        return all(stem(part) in names for part in inside)
    (part, held), *_ = inside.items()
    plain = len(held) > 1 and all(_plain(t, at + 1, names) for t in held)
    return stem(part) in names or plain or any(_mostly(_of_nbgrader(t, at + below, names) for t in held) for below in (1, 2))


def marked(trail: Trail) -> bool:
    """Whether the outermost name has the form of a platform."""
    return _marked(trail, 0)


def slug_of(name: str) -> str:
    """The notebook's own name in what a platform or a browser made of it: `…_activations-1.ipynb` is `activations`."""
    own = stem(name).rpartition("_")[2][-100:]
    return re.sub(r"(?:-Copy\d+|-\d+| ?\(\d+\))+$", "", own)


def fold(student: str) -> str:
    """The same for ids that look alike, or whose folders are one on some machines."""
    return unicodedata.normalize("NFC", student).casefold()


def unfit(student: str) -> str:
    """Why a name cannot be a student's id, or ""."""
    if any("\ud800" <= c <= "\udfff" for c in student):
        return "is not text in UTF-8"
    if len(student.encode()) > MAX_ID:
        return f"has {len(student.encode())} bytes, and {MAX_ID} are the most"
    if unicodedata.normalize("NFKC", student).startswith(("-", "=", "+", "@")):
        return f"begins with {student[0]!r}, which commands and spreadsheets take for their own"
    if any(unicodedata.category(c) in _UNSEEN or c in _EMPTY for c in student):
        return "has characters that cannot be seen"
    return ""


def _handouts(
    trails: Sequence[Trail], names: Collection[str], students: Collection[str], at: int = 0
) -> Iterator[tuple[int, Sequence[Trail]]]:
    """The hand-outs in a hand-out, each with the place at which its paths name students."""
    if at < _MOST_AROUND and holds_handouts(trails, names, students, at):
        for held in _by_part(trails, at).values():
            yield from _handouts(held, names, students, at + 1)
    elif trails:
        yield at, trails


def _platform(trails: Iterable[Trail], at: int) -> Platform | None:
    """The one that hands out in the form that most of the names have; of two, the one by which they name more people."""
    outermost = [t[0] for t in _by_part(trails, at).values()]
    read = {p: [said for t in outermost if (said := p.read(t, at))] for p in PLATFORMS}
    most = max(PLATFORMS, key=lambda p: (len(read[p]), len(_people(read[p]))))
    return most if read[most] else None


def _people(found: Iterable[re.Match[str]]) -> set[tuple[str, str | None]]:
    return {(said["who"], said.groupdict().get("number")) for said in found}


def _claim(trail: Trail, at: int, platform: Platform | None, names: Collection[str]) -> Claim:
    said = platform.read(trail, at) if platform else None
    if said is None:
        other = next((p.name for p in PLATFORMS if p.read(trail, at)), "")
        if other and platform:
            return Claim(problem=f"its name has the form of {other}, the others have that of {platform.name}: take over one at a time.")
        return Claim(_plain(trail, at, names), source=trail[at])
    if platform is CANVAS:
        return Claim(f"{said['who']}_{said['number']}", source=f"{said['who']}_{said['number']}")
    if platform is MOODLE and trail[at].count(_MOODLES_MARK) > 1:
        return Claim(problem=f"it names {_MOODLES_MARK} twice: whose it is cannot be told.")
    if platform is MOODLE:
        return Claim(said["who"], source=f"{said['who']}_{said['number']}", number=said["number"])
    return Claim(said["who"], source=said["work"] + said["who"], when=said["when"])


def _plain(trail: Trail, at: int, names: Collection[str]) -> str:
    """The id in `ID/…`, `ID.ipynb` or `ID.zip`; "" if that is a chapter's name."""
    part = trail[at]
    own = slug_of(part) if _is_file(trail, at) else part
    return "" if own in names or part in names else stem(part) if _is_file(trail, at) else part


def _checked(claim: Claim) -> Claim:
    """The claim with an id as it will be written, or with a problem."""
    who = unicodedata.normalize("NFC", claim.student).strip()
    if claim.problem:
        return claim
    if not who:
        return replace(claim, problem="its name does not say whose it is.")
    reason = unfit(who) or ("" if _is_safe(who) and who.strip(".") and who[0] != "." else "has characters that no id may have")
    return replace(claim, student=who, problem=f"{who[:60]!r} cannot be a student's id: it {reason}." if reason else "")


def _is_safe(who: str) -> bool:
    return all(unicodedata.category(c)[0] in "LMN" or c in _SAFE for c in who)


def _told_apart(found: dict[Trail, Claim]) -> dict[Trail, Claim]:
    """Where several people of one hand-out would have one id, number them if the platform does; else it is nobody's."""
    several = _sources(found.values())
    numbered = {t: _numbered(c) if len(several[fold(c.student)]) > 1 else c for t, c in found.items()}
    several = _sources(numbered.values())
    return {t: replace(c, problem=c.problem or rivals(c.student, several[fold(c.student)])) for t, c in numbered.items()}


def _numbered(claim: Claim) -> Claim:
    return _checked(replace(claim, student=f"{claim.student}_{claim.number}", namesake=claim.student)) if claim.number else claim


def rivals(student: str, sources: Collection[str]) -> str:
    """Why nothing is taken where several people claim one id, or ""."""
    if len(sources) < 2:
        return ""
    these = ", ".join(sorted(sources)[:-1][:3])
    return f"{these} and {max(sources)} would all be the student {student!r}. None was taken: rename them so that they differ."


def _sources(found: Iterable[Claim]) -> dict[str, set[str]]:
    several: dict[str, set[str]] = {}
    for claim in found:
        several.setdefault(fold(claim.student), set()).update([claim.source] if not claim.problem else [])
    return several


def _by_part(trails: Iterable[Trail], at: int) -> dict[str, list[Trail]]:
    found: dict[str, list[Trail]] = {}
    for trail in trails:
        found.setdefault(trail[at], []).append(trail)
    return found


def _marked(trail: Trail, at: int) -> bool:
    return any(p.read(trail, at) for p in PLATFORMS)


def _of_nbgrader(trail: Trail, at: int, names: Collection[str]) -> bool:
    """Whether it is `ID/CHAPTER/…` from there on."""
    return len(trail) > at + 2 and trail[at + 1] in names and trail[at] not in names


def _mostly(found: Iterable[bool]) -> bool:
    known = list(found)
    return sum(known) * 2 > len(known)


def _is_file(trail: Trail, at: int) -> bool:
    return at == len(trail) - 1 or trail[at].lower().endswith(ZIP)


def stem(name: str) -> str:
    ending = next((e for e in (NOTEBOOK, ZIP, *ARCHIVES) if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)]
