"""YAML of plain data: whatever is wrong with it is one error in one line, and no value is lost silently."""

import pytest
import yaml

from contextseg.plain_yaml import read_yaml

WRONG = {
    "a: 1\nb: 2\na: 3": "the key a comes twice",
    "ids: {1: a, 0x1: b}": "the key 1 comes twice",
    "a: [1, 2001-99-99]": "month must be in 1..12",
    f"a: {'9' * 5000}": "Exceeds the limit",
    "a: !!python/object/apply:os.system [id]": "could not determine a constructor",
    "? [1]\n: 2": "unhashable",
    "a: 1\n---\na: 2": "single document",
    "a:\n\t- b": "cannot start any token",
    "[" * 4_000: "",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_is_no_plain_data_is_one_line(text):
    with pytest.raises(yaml.YAMLError) as error:
        read_yaml(text)
    assert WRONG[text] in str(error.value)
    assert len(str(error.value).splitlines()) < 2


def test_what_is_merged_may_be_replaced():
    assert read_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}")["b"] == {"x": 3, "y": 2}
