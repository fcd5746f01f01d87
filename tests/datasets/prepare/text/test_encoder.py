"""The hashed text vectors: the same everywhere, alike for alike words, as long as CLIP's."""

import hashlib

import numpy as np
import pytest

from datasets.prepare.text.encoder import text_encoder
from utils.errors import PrepareError

VALUES = ["residential", "residential_area", "motorway", "yes", "", "école", "stadtpark; süd"]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_shape_type_and_length():
    encoder = text_encoder("hash")
    vectors = encoder.encode(VALUES)
    assert vectors.shape == (len(VALUES), encoder.width) == (7, 512)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 10, rtol=1e-5)
    assert encoder.encode([]).shape == (0, 512)


def test_similar_values_are_close_and_others_are_not():
    residential, residential_area, motorway, yes = text_encoder("hash").encode(VALUES)[:4]
    assert cosine(residential, residential_area) > 0.7
    assert abs(cosine(residential, motorway)) < 0.2
    assert abs(cosine(residential, yes)) < 0.2


def test_case_and_underscores_do_not_matter():
    first, second = text_encoder("hash").encode(["Place_of_Worship", "place of worship"])
    np.testing.assert_array_equal(first, second)


def test_a_vector_does_not_depend_on_its_company():
    encoder = text_encoder("hash")
    np.testing.assert_array_equal(encoder.encode(VALUES)[2], encoder.encode(["motorway"])[0])


def test_every_machine_and_run_gives_the_same_signs():
    """Tiles of several machines are trained on together, so the vectors may never change."""
    signs = np.sign(text_encoder("hash").encode(VALUES)).astype(np.int8)
    assert hashlib.sha256(
        signs.tobytes()).hexdigest() == "f4dc3573db7e0a02b693f2233904fafa55da667ee4a38141e00a245702496c2e"


def test_the_metadata_names_it():
    assert text_encoder("hash", None, None, None).describe() == {"name": "hash", "width": 512}


@pytest.mark.parametrize(("arguments", "message"), [
    (("clop",), "text=clop: unknown text encoder; choose one of hash, clip"),
    (("hash", None, "w.pt"), "text.weights=w.pt: text=hash has no weights; add text=clip, or "
                             "leave it out"),
    (("hash", "ViT-B-16"), "text.model=ViT-B-16: text=hash has no model; add text=clip, or leave "
                           "it out"),
])
def test_bad_input(arguments, message):
    with pytest.raises(PrepareError) as error:
        text_encoder(*arguments)
    assert str(error.value) == message
