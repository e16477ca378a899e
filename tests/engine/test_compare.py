import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autograder.compare import close, differences, show


def kinds(expected, got, rtol=1e-7, atol=1e-9, dtype=None):
    return [d.kind for d in differences(expected, got, rtol, atol, dtype)]


@pytest.mark.parametrize("got", [0.5, np.array(0.5), np.float32(0.5).astype(np.float64)])
def test_a_float_may_be_a_float_a_scalar_or_a_0d_array(got):
    assert kinds(0.5, got) == []


def test_an_integer_is_not_a_float():
    assert kinds(3, 3.0) == ["type"]
    assert kinds(3.0, 3) == []


def test_bool_is_not_one():
    assert kinds(True, 1) == ["type"]
    assert kinds(True, np.array(True)) == []


def test_shapes_must_agree_and_are_named():
    (found,) = differences(np.ones((3, 1)), np.ones(3), 1e-7, 1e-9)
    assert found.kind == "shape"
    assert "(3,)" in found.text
    assert "(3, 1)" in found.text


def test_every_wrong_entry_of_a_dict_is_named():
    found = list(differences({"mean": 1.0, "var": np.array([1.0, 2.0])}, {"mean": 2.0, "var": np.array([1.0, 3.0])}, 1e-7, 1e-9))
    assert [d.path for d in found] == ["['mean']", "['var']"]
    assert "[1]: 3.0 instead of 2.0" in found[1].text


def test_missing_entries_are_a_wrong_structure():
    assert kinds((1.0, 2.0), (1.0,)) == ["structure"]
    assert kinds({"a": 1.0}, None) == ["structure"]
    assert kinds(1.0, "one") == ["type"]


def test_nan_equals_nan_and_nothing_else():
    assert kinds(np.array([np.nan]), np.array([np.nan])) == []
    assert kinds(np.array([0.0]), np.array([np.nan])) == ["value"]
    assert kinds(np.array([np.inf]), np.array([-np.inf])) == ["value"]


@pytest.mark.parametrize(
    "value",
    ["'" * 10**6, [0] * 10**6, {str(i): 0 for i in range(10**5)}, {"k" * 10**6: 1}, np.array(["x" * 10**6, "y"]), ("'" * 10**5,) * 100],
)
def test_what_is_shown_is_short(value):
    assert len(show(value)) <= 2001


def test_a_complex_result_is_not_a_real_one():
    assert kinds(np.ones(2), np.ones(2, complex)) == ["type"]
    assert kinds(1.0, 1 + 0j) == ["type"]
    assert kinds(1j, 1j) == []


def test_the_dtype_counts_only_where_it_is_asked_for():
    assert kinds(np.ones(2), np.ones(2, np.float32), dtype=None) == []
    assert kinds(np.ones(2), np.ones(2), dtype=np.dtype("float32")) == ["dtype"]


def test_numbers_are_shown_as_people_write_them():
    assert show((np.array([1.0, 2.5]), 0.1 + 0.2, True)) == "(array([1. , 2.5]), 0.3, True)"


def test_a_small_difference_is_shown_in_full():
    (found,) = differences(22.0, 22.0 + 1e-6, 1e-9, 0)
    assert found.text == "is 22.000001, not 22.0"
    (found,) = differences(22.0, 22.0 + 1e-7, 1e-9, 0)
    assert found.text == "is 22.0000001, not 22.0"


def test_integers_of_any_size_are_compared_exactly():
    assert kinds(10**30, 10**30) == []
    assert kinds(10**30, 10**30 + 1) == ["value"]


NUMBERS = st.sampled_from([np.float64, np.float32, np.float16, np.complex128, np.int64, np.uint8, np.bool_])


@pytest.mark.filterwarnings("ignore")
@given(st.data(), NUMBERS, NUMBERS, st.sampled_from([(1e-7, 1e-9), (1e-2, 1e-2), (0.0, 0.0)]))
def test_close_is_what_numpy_calls_close(data, one, other, tolerances):
    have = data.draw(hnp.arrays(one, 3))
    want = data.draw(st.one_of(hnp.arrays(other, 3), st.just(have.astype(other))))
    rtol, atol = tolerances
    with np.errstate(all="ignore"):
        expected = np.isclose(have, want, rtol=rtol, atol=atol, equal_nan=True)
    assert np.array_equal(close(have, want, rtol, atol), expected)
