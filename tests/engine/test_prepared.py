import cloudpickle
import numpy as np
import pytest
import torch

from autograder.authoring import arrays, call, exercise, group, shaped, st, trap
from autograder.errors import AuthoringError
from autograder.grading.known import Remembered
from autograder.prepared import Prepared, doubled, pack_probe
from autograder.student.observe import Call, observe


def secret_helper(z):
    return z * 2


def make(**body):
    body.setdefault("reference", lambda z: z)
    body.setdefault("cases", {"values": arrays((2,))})
    return exercise("t.x", names="f", covers=[])(type("X", (), body))


def test_cases_are_the_same_on_every_draw():
    ex = make(cases={"values": arrays([(3,), (2, 2)]), "more": shaped("N C", "C", N=(1, 5), C=(1, 3))})
    assert repr(Prepared(ex).cases) == repr(Prepared(ex).cases)


def test_shaped_arrays_share_their_dimensions():
    ex = make(cases={"values": shaped("N C", "C", "3", N=(1, 5), C=(1, 3), T=st.sampled_from([1, 2]))})
    for case in Prepared(ex).cases:
        x, alpha, third = case.call.args
        assert (x.shape[1], third.shape) == (alpha.size, (3,))
        assert case.call.kwargs["T"] in (1, 2)


def test_a_group_may_mix_fixed_calls_and_strategies():
    ex = make(cases={"values": group([call(np.ones(1)), arrays((2,))], n=5)})
    assert len(Prepared(ex).cases) == 6


def test_the_reference_works_in_double_precision():
    value = doubled((np.ones(2, np.float32), [torch.ones(1)], {"n": 3}))
    assert value[0].dtype == np.float64
    assert value[1][0].dtype == torch.float64
    assert value[2] == {"n": 3}


def test_a_probe_that_names_what_the_reference_is_made_of_is_refused():
    ex = make(reference=lambda z: secret_helper(z), probe=lambda submission, z: secret_helper(submission.f(z)))
    with pytest.raises(AuthoringError, match="secret_helper"):
        pack_probe(ex, ex.groups[0])


def test_a_packed_probe_works_on_the_other_side():
    ex = make(probe=lambda submission, z: float(np.sum(submission.f(z))))
    probe = cloudpickle.loads(pack_probe(ex, ex.groups[0]))
    assert probe(type("S", (), {"f": staticmethod(lambda z: z + 1)}), np.zeros(3)) == 3.0


def test_a_reference_may_refuse_an_input():
    def positive(z):
        if z.min() < 0:
            raise ValueError("negative")
        return z

    prepared = Prepared(make(reference=positive, cases={"refuses": call(np.array([-1.0]))}))
    case, expected = prepared.cases[0], prepared.expected[0][0]
    accepted = prepared.run(prepared.exercise.reference, 0, call(np.array([1.0])))
    assert expected.error == "ValueError"
    assert prepared.wrongs(0, case.call, expected, expected) == []
    assert prepared.wrongs(0, case.call, accepted, expected)[0].kind == "raises"


def test_a_broken_reference_is_the_authors_error():
    with pytest.raises(AuthoringError, match="ZeroDivisionError"):
        _ = Prepared(make(reference=lambda z: 1 / 0)).expected


def test_tolerance_follows_the_lowest_precision():
    prepared = Prepared(make())
    rules = prepared.exercise.groups[0]
    assert prepared.tolerance(rules, call(np.ones(1, np.float32), np.ones(1)))[0] == 1e-4
    assert prepared.tolerance(rules, call(3))[0] == 1e-7


@pytest.mark.parametrize("missing", ["cases", "reference"])
def test_an_incomplete_exercise_says_what_is_missing(missing):
    with pytest.raises(AuthoringError, match=missing):
        make(**{missing: None}) if missing == "cases" else exercise("t.x", names="f", covers=[])(
            type("X", (), {"cases": {"v": arrays((1,))}})
        )


def test_a_method_with_the_name_of_a_helper_is_no_use_of_it():
    ex = make(reference=lambda z: secret_helper(z), probe=lambda submission, z: submission.f(z).secret_helper)
    assert pack_probe(ex, ex.groups[0])


def test_what_known_mistakes_do_is_computed_from_the_cases_that_are_drawn(monkeypatch, tmp_path):
    ex = make(doubles=trap("twice")(lambda z: 2 * z))
    first, known = Remembered(ex, tmp_path / "known"), Prepared(ex).wrong_of_traps
    _ = first.cases
    monkeypatch.setattr("autograder.prepared.draw", lambda exercise: pytest.fail("drawn again"))
    assert first.wrong_of_traps.keys() == known.keys()
    assert first.wrong_of_traps["doubles"].keys() == known["doubles"].keys()
    again = Remembered(ex, tmp_path / "known").wrong_of_traps
    assert again["doubles"].keys() == known["doubles"].keys()


def test_what_another_worker_has_found_about_a_known_mistake_is_not_computed_again(monkeypatch, tmp_path):
    ex = make(**{f"times{k}": trap(f"{k} times")(lambda z, k=k: k * z) for k in range(2, 9)})
    mine, theirs, count = Remembered(ex, tmp_path / "known"), Remembered(ex, tmp_path / "known"), []

    def computed(self, known_mistake):
        count.append(known_mistake.id)
        if self is mine:
            _ = theirs.wrong_of_traps
        return Prepared.wrong_of(self, known_mistake)

    monkeypatch.setattr(Remembered, "wrong_of", computed)
    assert [*mine.wrong_of_traps] == [*theirs.wrong_of_traps] == [t.id for t in ex.traps]
    assert len(count) == len(ex.traps) + 1


def test_a_call_that_stands_in_two_groups_is_made_once():
    calls = []

    def twice(z):
        calls.append(z)
        return 2 * z

    both, alone = call(np.ones(2)), call(np.zeros(1))
    positive = group(both, accept=lambda value, z: bool((value > 2).all()))
    prepared = Prepared(make(cases={"values": [both, alone, alone], "positive": positive}, twice=trap("twice")(twice)))
    known = prepared.wrong_of_traps["twice"]
    assert [len(z) for z in calls] == [2, 1, 1]
    assert {i for i, *_ in known} == {0, 3}
    assert [len(packed) for packed in prepared.questions] == [3, 0]


def test_another_probe_is_another_question():
    both = call(np.ones(2))
    doubled_values = group(both, probe=lambda submission, z: 2 * submission.f(z))
    assert Prepared(make(cases={"values": both, "doubled": doubled_values})).first_asked == [0, 1]


def test_a_call_gets_copies_and_what_was_one_object_stays_one():
    x = np.arange(6.0).reshape(2, 3).T
    shared = [x, {"x": x}, (x, torch.ones(2))]

    def spoil(_, a, b):
        assert a is b[0]
        assert b[0] is b[1]["x"] is b[2][0]
        assert a.flags.f_contiguous == x.flags.f_contiguous
        a += 1
        b[2][1].zero_()

    seen = observe(spoil, None, Call((x, shared)), lambda file: False)
    assert seen.error is None, seen.message
    assert seen.changed == ("argument 1", "argument 2")
    assert x[0, 0] == 0
    assert shared[2][1].sum() == 2
