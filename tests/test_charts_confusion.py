"""The confusion matrix against scikit-learn's."""

import numpy as np
from sklearn.metrics import confusion_matrix

from poolviz.charts.confusion import PICK, confusion_chart, confusion_figure, confusion_rows

CLASSES = tuple("0123456789")


def test_counts_equal_scikit_learns():
    chance = np.random.default_rng(0)
    truth, said = chance.integers(0, 9, 500), chance.integers(1, 10, 500)  # one class never true, one never said
    rows = confusion_rows(truth.tolist(), said.tolist(), CLASSES)
    expected = confusion_matrix(truth, said, labels=range(10))
    assert [[row["count"] for row in rows[i * 10 : i * 10 + 10]] for i in range(10)] == expected.tolist()
    assert all(row["right"] == (row["class"] == row["prediction"]) for row in rows)
    shares = np.array([row["share"] for row in rows]).reshape(10, 10).sum(1)
    np.testing.assert_allclose(shares, [1.0] * 9 + [0.0])


def test_the_figure_says_how_many_are_wrong():
    figure = confusion_figure(confusion_rows([0, 1, 1], [0, 0, 1], ("no", "yes")), ("no", "yes"))
    assert "3 examples, 1 of them wrong" in figure.alt


def test_a_click_picks_both_classes():
    spec = confusion_chart(CLASSES).to_dict()
    (param,) = [param for param in spec["params"] if param["name"] == PICK]
    assert set(param["select"]["fields"]) == {"truth", "said"}
