"""The loss curve shows both losses, whatever their sizes."""

from __future__ import annotations

import pytest

from ui.runs import loss_curve


@pytest.mark.parametrize(
    ("train", "test", "scale"),
    [
        ((2.07, 0.48), (2.05, 0.21), None),
        ((0.5, 0.001), (0.6, 0.4), None),
        ((704_493.3, 704_492.9), (0.3, 0.005), "log"),
        ((0.3, 0.005), (704_493.3, 704_492.9), "log"),
        ((704_493.3, 704_492.9), (0.3, 0.0), None),
        ((704_493.3, 704_492.9), (None, None), None),
    ],
)
def test_a_curve_that_another_would_flatten_is_drawn_by_powers(monkeypatch, train, test, scale):
    drawn = []
    monkeypatch.setattr(loss_curve, "draw_figure", lambda figure, key: drawn.append(figure))
    epochs = [
        {"epoch": number, "train_loss": one, "test_loss": other}
        for number, (one, other) in enumerate(zip(train, test, strict=True), start=1)
    ]
    loss_curve.draw_loss_curve(epochs, total=2, key="curve")
    assert drawn[0].layout.yaxis.type == scale
