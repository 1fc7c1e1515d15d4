from luthier.measure.labels import find_labels, is_right, label_of

LABELS = frozenset({"card_arrival", "no", "yes"})


def test_a_small_closed_set_is_found_by_its_texts() -> None:
    assert find_labels(["Yes", "no", "yes ", "No"]) == {"yes", "no"}


def test_free_answers_are_no_labels() -> None:
    assert find_labels(["yes", "no"]) is None  # as many labels as rows
    assert find_labels(["yes"] * 9) is None  # one label
    assert find_labels(["yes", "no\nbecause"] * 5) is None
    assert find_labels(["yes", ""] * 5) is None
    assert find_labels(["yes", "a b c d e f g h i"] * 5) is None
    assert find_labels([str(number) for number in range(201)] * 2) is None
    assert find_labels([str(number) for number in range(200)] * 2) is not None


def test_the_first_line_of_an_answer_is_its_label() -> None:
    assert label_of(" Yes.\nSince ...", LABELS) == "yes"
    assert label_of('"card_arrival"', LABELS) == "card_arrival"
    assert label_of("yes and no", LABELS) is None
    assert label_of("", LABELS) is None


def test_an_answer_without_a_label_is_wrong() -> None:
    assert is_right("yes", "Yes!", LABELS) == 0
    assert is_right("Yes", "yes", LABELS) == 1
    assert is_right("yes", "no", LABELS) == 0
