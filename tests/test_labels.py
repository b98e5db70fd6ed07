import numpy as np

from tenuto import labels


def test_several_labels_are_sorted_and_each_once() -> None:
    assert labels.parts(" rain;dog; rain;") == ("dog", "rain")
    assert labels.joined(["rain", "dog", "rain"]) == "dog;rain"
    assert labels.parts("") == ()


def test_classes_of_one_label_a_clip_are_the_labels_themselves() -> None:
    assert labels.classes(["b;c", "a", "b;c"], "one") == ("a", "b;c")
    assert labels.classes(["b;c", "a", "", "b"], "many") == ("a", "b", "c")


def test_the_matrix_says_which_classes_a_clip_has() -> None:
    found = labels.matrix(["dog;rain", "", "cat"], ("dog", "rain"))
    assert np.array_equal(found, [[True, True], [False, False], [False, False]])
