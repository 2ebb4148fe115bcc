"""Sequences of frames, by the names of the frames."""

from contextseg.statistics.sequences import frames_of, in_sequences, titles


def test_the_names_of_camvid():
    names = ["0001TP_008550", "Seq05VD_f00000", "0001TP_008580", "0016E5_07959"]
    assert list(frames_of(names).values()) == [[0, 2], [1], [3]]
    assert titles(list(frames_of(names))) == ["0001TP", "Seq05VD", "0016E5"]
    _, begin, _ = in_sequences(names)
    assert begin.tolist() == [0, 0, 2, 3]


def test_titles_stay_apart():
    assert titles(list(frames_of(["a_f1", "a_g1", "b-7"]))) == ["a_f", "a_g", "b-"]
    assert titles(list(frames_of(["000", "001"]))) == ["frames"]
