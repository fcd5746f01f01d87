"""The image codec: lossless, and never silent about damage."""

import numpy as np
import pytest

from datasets.stores.codec import ImageFault, decode_image, encode_image


@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 224, 224), (3, 15, 7), (3, 17, 7),
                                   (1, 40, 1), (3, 1, 1), (4, 16, 3)])
@pytest.mark.parametrize("highest", [1, 4, 256])
def test_every_image_comes_back(shape, highest):
    image = np.random.default_rng(highest).integers(0, highest, shape, dtype=np.uint8)
    given = image.copy()
    decoded = decode_image(encode_image(image), shape)
    np.testing.assert_array_equal(decoded, given)
    np.testing.assert_array_equal(image, given)
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable


def test_a_transposed_view_is_encoded_as_its_copy():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = pixels.transpose(2, 0, 1)
    assert encode_image(image) == encode_image(np.ascontiguousarray(image))


def test_damage_is_found():
    frame = encode_image(np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8))
    flipped = [frame[:place] + bytes([frame[place] ^ 4]) + frame[place + 1:]
               for place in range(0, len(frame), 97)]
    for bad in [*flipped, frame[:-1], frame[:len(frame) // 2], b"", b"x"]:
        with pytest.raises(ImageFault):
            decode_image(bad, (3, 32, 32))
    with pytest.raises(ImageFault, match="not an image of 31 x 32 pixels"):
        decode_image(frame, (3, 32, 31))
