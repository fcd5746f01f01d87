"""Blending: the weighted mean of all tiles, by rows, is that of the whole at once."""

import pytest
import torch

from inference.maps.blend import RowBlend, blending_window


@pytest.mark.parametrize(("side", "overlap"), [(8, 4), (8, 2), (9, 3)])
def test_neighbours_weigh_one_together(side, overlap):
    window = blending_window(side, overlap)
    line = window.diagonal().sqrt()
    assert torch.allclose(line[-overlap:] + line[:overlap], torch.ones(overlap))
    assert window.min() > 0
    assert torch.equal(window, window.flip(0))
    assert torch.equal(window, window.T)


def test_without_overlap_all_pixels_weigh_the_same():
    assert torch.equal(blending_window(5, 0), torch.ones(5, 5))


def test_an_overlap_beyond_half_a_tile_counts_as_half():
    assert torch.equal(blending_window(8, 6), blending_window(8, 4))


def test_row_by_row_gives_the_mean_of_all():
    torch.manual_seed(0)
    side, width, height, channels = 6, 15, 14, 2
    window, tops, lefts = blending_window(side, 3), [0, 3, 7, 10], [0, 4, 9, 12]
    sums, weights = torch.zeros(channels, height + side,
                                width + side), torch.zeros(height + side, width + side)
    blend, rows = RowBlend(channels, width, window, 0), []
    for number, top in enumerate(tops):
        for left in lefts:
            maps, valid = torch.rand(channels, side, side), torch.rand(side, side) > 0.5
            sums[:, top:top + side, left:left + side] += maps * window * valid
            weights[top:top + side, left:left + side] += window * valid
            blend.add(left, maps, valid)
        rows.append(blend.finish([*tops[1:], height][number] - top))
    mean, known = (torch.cat(parts, -2) for parts in zip(*rows, strict=True))
    sums, weights = sums[:, :height, :width], weights[:height, :width]
    assert torch.equal(known, weights > 0)
    torch.testing.assert_close(mean, torch.where(known, sums / weights, 0))
    assert not known.all()
