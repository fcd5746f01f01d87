"""The registry of text encoders, and the hashed vectors: the same on every machine, close for
similar words, as long as CLIP's."""

import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from datasets.prepare.text.registry import ENCODERS, EncoderFile, text_encoder
from utils.errors import PrepareError

ROOT = Path(__file__).resolve().parents[4]

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
    digest = hashlib.sha256(signs.tobytes()).hexdigest()
    assert digest == "f4dc3573db7e0a02b693f2233904fafa55da667ee4a38141e00a245702496c2e"


def test_the_metadata_names_it():
    assert text_encoder("hash", None, None, None).describe() == {"name": "hash", "width": 512}


@pytest.mark.parametrize(("arguments", "message"), [
    (("clop",), "text=clop: unknown text encoder; choose one of hash, clip, sentence"),
    (("hash", None, "w.pt"), "text.weights=w.pt: text=hash has no weights; add text=clip, or "
                             "leave it out"),
    (("hash", "ViT-B-16"), "text.model=ViT-B-16: text=hash has no model; add text=clip or "
                           "text=sentence, or leave it out"),
])
def test_bad_input(arguments, message):
    with pytest.raises(PrepareError) as error:
        text_encoder(*arguments)
    assert str(error.value) == message


def test_a_new_encoder_is_one_file_and_one_line(monkeypatch):
    toy = SimpleNamespace(load=lambda cache, **keys: (cache, keys))
    monkeypatch.setitem(sys.modules, "toy_text", toy)
    monkeypatch.setitem(ENCODERS, "toy", EncoderFile("toy_text", {"model": "small"}))
    assert tuple(ENCODERS) == ("hash", "clip", "sentence", "toy")
    assert text_encoder("toy", cache="folder") == ("folder", {"model": "small"})
    assert text_encoder("toy", "large") == (None, {"model": "large"})
    with pytest.raises(PrepareError, match="text=toy has no weights; add text=clip, or leave"):
        text_encoder("toy", weights="w")


def test_naming_the_encoders_imports_none():
    code = ("import sys; from datasets.prepare.text.registry import ENCODERS; "
            "print({'torch', 'open_clip', 'huggingface_hub', 'transformers'} & sys.modules.keys())")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                         check=True)
    assert run.stdout.strip() == "set()"
