"""Principal components of vectors that come in blocks, against numpy's of all at once."""

import numpy as np

from inference.features.pca import Components, Moments, Spread, scaled

DRAW = np.random.default_rng(3)
SPREAD = DRAW.normal(size=(5000, 12)) * np.linspace(0.1, 3, 12)
VECTORS = (1000 + SPREAD @ DRAW.normal(size=(12, 12))).astype(np.float32)


def components() -> Components:
    moments = Moments(12)
    for block in np.split(VECTORS, [0, 1, 700, 701, 4000]):
        moments.add(block)
    return Components.of(moments)


def test_blocks_give_the_components_of_all():
    pca = components()
    whole = VECTORS.astype(np.float64)
    _, values, axes = np.linalg.svd(whole - whole.mean(0), full_matrices=False)
    np.testing.assert_allclose(pca.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(np.abs(pca.axes.T @ axes[:3].T), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(pca.deviations, values[:3] / np.sqrt(len(VECTORS)), rtol=1e-9)
    np.testing.assert_allclose(pca.explained, (values**2 / (values**2).sum())[:3], rtol=1e-9)


def test_signs_do_not_depend_on_the_solver(monkeypatch):
    pca, solve = components(), np.linalg.eigh
    assert (pca.axes[np.abs(pca.axes).argmax(0), range(3)] > 0).all()
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: (solve(matrix)[0], -solve(matrix)[1]))
    np.testing.assert_array_equal(components().axes, pca.axes)


def test_percentiles_are_those_of_all():
    pca = components()
    projected, spread = pca.project(VECTORS), Spread(pca)
    for block in np.split(projected, 7 * np.arange(1, 100)):
        spread.add(block)
    low, high = spread.limits()
    np.testing.assert_allclose([low, high], np.percentile(projected, (2, 98), axis=0),
                               atol=0.02 * pca.deviations.max())
    shown = scaled(projected, (low, high))
    assert (shown.min(), shown.max()) == (0, 1)
    assert 0.03 < (shown[:, 0] % 1 == 0).mean() < 0.05


def test_vectors_that_are_all_the_same_have_a_colour():
    moments = Moments(12)
    moments.add(np.ones((9, 12), np.float32))
    pca, spread = Components.of(moments), Spread(Components.of(moments))
    projected = pca.project(np.ones((9, 12), np.float32))
    spread.add(projected)
    assert np.isfinite(scaled(projected, spread.limits())).all()
    assert (pca.explained == 0).all()
