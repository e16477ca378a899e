"""Keeps both cores busy with sixty threads, so that an honest neighbour's work runs out of time by the clock.

It shows where all run in one cgroup, as in containers and services; elsewhere the kernel shares out the time by sessions.
"""

from autograder.attacks.course import CHAPTER
from autograder.course import chapters, course_root
from autograder.grading.samples import fill_in

HOG = """
import hashlib, threading, time
def work(): hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10**9)
for _ in range(60):
    try: threading.Thread(target=work, daemon=True).start()
    except RuntimeError: break
time.sleep(100)
"""
SOLUTIONS = dict.fromkeys(("activations.stable-sigmoid", "activations.zigzag", "activations.test-softmax"), HOG)
STUDENT = "aa-starves"  # graded first
HONEST = [f"b{n}" for n in range(4)]


def hand_in(folder, place):
    """Four honest students, all of whose work is right."""
    import json

    root = course_root()
    chapter = chapters(root)[CHAPTER]
    work = json.dumps(fill_in(root, chapter, {id: task.solution for id, task in chapter.tasks.items()}))
    for honest in HONEST:
        path = folder.parents[1] / honest / CHAPTER / f"{chapter.slug}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(work)


def success(seen):
    from autograder.attacks.checks import recorded

    points = {s: sum(p or 0 for p in got.values()) for s, got in recorded(seen.ground.root).items() if s in HONEST}
    less = {s: p for s, p in points.items() if p < max(points.values())}
    return f"honest students lost points: {less}" if less else ""
