"""Values in messages: one line, and of any size at once."""

from contextseg.typed import MAX_SHOWN, shown


def test_a_value_is_shown_as_typed():
    assert shown({"a": [1, None, True], "b\n": "c\u202e"}) == r"{a:[1,null,true],b\n:c\u202e}"


def test_a_large_a_deep_and_an_endless_value_are_cut_off():
    bomb: list = ["x"] * 10
    for _ in range(30):
        bomb = [bomb] * 10
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    endless: list = [1]
    endless.append(endless)
    for value in (bomb, deep, endless, "a" * 10**6):
        assert shown(value).endswith("...")
        assert len(shown(value)) == MAX_SHOWN + 3
