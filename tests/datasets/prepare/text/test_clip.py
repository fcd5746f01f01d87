"""CLIP's text vectors: equal to open_clip's, encoded once, kept on disk; and the messages when the
weights are not at hand."""

import builtins
import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import datasets.prepare.text.clip as clip_text
import utils.torchvision_import  # noqa: F401  (first: open_clip imports torchvision)
from datasets.prepare.text import hub
from datasets.prepare.text.registry import text_encoder
from utils.errors import PrepareError
from utils.files import sha256_of

open_clip = pytest.importorskip("open_clip")

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
ROOT = Path(__file__).resolve().parents[4]
VALUES = ["residential", "place_of_worship", "yes", "", "école", "a value of many words " * 20,
          "residential"]


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    """Two models as small as may be, known to open_clip by name: with GELU, and with quickgelu."""
    folder = tmp_path_factory.mktemp("models")
    before = list(open_clip.factory._MODEL_CONFIG_PATHS), dict(open_clip.factory._MODEL_CONFIGS)
    for name, config in (("tiny", TINY), ("tiny-quickgelu", TINY | {"quick_gelu": True}),
                         ("tiny-wide", TINY | {"embed_dim": 48})):
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    yield
    open_clip.factory._MODEL_CONFIG_PATHS[:], open_clip.factory._MODEL_CONFIGS = before


@pytest.fixture(scope="module")
def model(models):
    torch.manual_seed(0)
    return open_clip.CLIP(**TINY, quick_gelu=True).eval()


@pytest.fixture
def weights(model, tmp_path):
    path = tmp_path / "tiny (1).safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


@pytest.fixture
def encode(tmp_path):
    def _encode(weights, values=VALUES, model="tiny-quickgelu", cache=None):
        encoder = text_encoder("clip", model, str(weights), cache or tmp_path / "cache")
        return encoder.encode(values), encoder
    return _encode


@pytest.fixture
def encoded(monkeypatch):
    """The values that a model was asked for, in the order of asking."""
    asked = []
    encode = clip_text.ClipText.encode
    monkeypatch.setattr(clip_text.ClipText, "encode", lambda self, values: asked.extend(values)
                        or encode(self, values))
    return asked


@pytest.fixture
def no_model(monkeypatch):
    """Any loading of a model fails the test."""
    def load(self):
        raise AssertionError("the model was loaded")
    monkeypatch.setattr(clip_text.ClipText, "_load", load)


def test_the_vectors_are_those_of_open_clip(model, weights, encode):
    vectors, encoder = encode(weights)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(VALUES), encoder.width) == (7, 32)
    # every length, those longer than the model's context too
    values = VALUES + ["a" + " a" * more for more in range(80)]
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("tiny")(values)).numpy()
    np.testing.assert_allclose(encode(weights, values)[0], expected, rtol=1e-4, atol=1e-5)
    assert encode(weights, [])[0].shape == (0, 32)


def test_the_activation_follows_the_model(model, weights, encode):
    quick, plain = encode(weights)[0], encode(weights, model="tiny")[0]
    assert np.abs(quick - plain).max() > 1e-3
    notes = " ".join(encode(weights, model="tiny")[1].notes)
    assert "for weights of OpenAI pass text.model=tiny-quickgelu" in notes


@pytest.mark.parametrize(("model", "weights", "used"), [
    ("ViT-B-16", "openai", "ViT-B-16-quickgelu"),
    ("ViT-B-16-quickgelu", "openai", "ViT-B-16-quickgelu"),
    ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "ViT-B-16"),
    ("ViT-B-16", "LAION2B-s34b-b88k", "ViT-B-16"),
    (None, None, "ViT-B-16-quickgelu"),
])
def test_a_tag_decides_the_activation(model, weights, used):
    described = text_encoder("clip", model, weights).describe()
    assert (described["model"], described["width"], described["sha256"]) == (used, 512, None)


def test_a_file_of_openai_is_known_by_its_checksum(weights, encode, monkeypatch):
    monkeypatch.setattr(clip_text.ClipText,
                        "_files_of_openai", lambda self: {sha256_of(weights)})
    vectors, encoder = encode(weights, model="tiny")
    assert encoder.describe()["model"] == "tiny-quickgelu"
    np.testing.assert_array_equal(vectors, encode(weights)[0])


def test_a_vector_does_not_depend_on_its_company(weights, encode, tmp_path):
    many = [f"value {number}" for number in range(40)] + VALUES
    together = encode(weights, many, cache=tmp_path / "a")[0]
    for index in (3, 20, 41, 45):
        np.testing.assert_array_equal(encode(weights, [many[index]],
                                             cache=tmp_path / f"b{index}")[0][0], together[index])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("form", ["state dict", "checkpoint", "half precision", "text tower alone",
                                  "TorchScript of OpenAI"])
def test_every_form_of_weights_gives_the_same(model, weights, encode, tmp_path, monkeypatch, form):
    state, path = model.state_dict(), tmp_path / "other.pt"
    if form == "TorchScript of OpenAI":
        torch.jit.trace_module(model, {"encode_text": torch.zeros(1, 77, dtype=torch.long)},
                               check_trace=False).save(path)
        monkeypatch.setattr(clip_text.ClipText,
                            "_files_of_openai", lambda self: {sha256_of(path)})
    elif form == "checkpoint":
        torch.save({"epoch": 3,
                    "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
                   path)
    elif form == "text tower alone":
        torch.save({f"text.{name}": tensor for name, tensor in state.items()
                    if not name.startswith(("visual", "logit"))}, path)
    else:
        torch.save({name: tensor.half() for name, tensor in state.items()}
                   if form == "half precision" else state, path)
    np.testing.assert_allclose(encode(path)[0], encode(weights)[0],
                               atol=5e-3 if form == "half precision" else 0)


def test_each_value_is_encoded_once(weights, encode, encoded):
    first, encoder = encode(weights)
    encoder.encode(VALUES)
    encode(weights, [*VALUES, "new"])
    assert encoded == [*dict.fromkeys(VALUES), "new"]
    assert first[0].tobytes() == first[6].tobytes()


def test_a_hit_gives_the_same_bytes_without_the_model(weights, encode, request):
    first = encode(weights)[0]
    request.getfixturevalue("no_model")
    second, encoder = encode(weights, VALUES[::-1])
    assert second[::-1].tobytes() == first.tobytes()
    assert encoder.describe() == {"name": "clip", "model": "tiny-quickgelu",
                                  "weights": "tiny (1).safetensors", "width": 32,
                                  "sha256": sha256_of(weights)}


def test_models_and_files_do_not_share_vectors(model, weights, encode, encoded, tmp_path):
    encode(weights, ["yes"])
    encode(weights, ["yes"], model="tiny")
    other = tmp_path / "other" / weights.name
    other.parent.mkdir()
    save_file({name: tensor + 0.01 for name, tensor in model.state_dict().items()}, other)
    encode(other, ["yes"])
    assert encoded == ["yes"] * 3


def test_processes_share_a_cache(weights, encode, tmp_path):
    """Connections exclude each other in the same way, whether of one process or of several."""
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: encode(weights,
                                              [f"value {number}" for number in range(200)]),
                             range(4)))
    assert {vectors.tobytes() for vectors, _ in made} == {made[0][0].tobytes()}
    assert not any("of text vectors" in note or "not cached" in note for _, encoder in made
                   for note in encoder.notes)


@pytest.mark.parametrize("damage",
                         ["not a database", "truncated", "a vector changed", "a vector cut"])
def test_a_damaged_cache_is_made_again(weights, encode, encoded, tmp_path, damage):
    first = encode(weights)[0]
    path = tmp_path / "cache" / "vectors.sqlite"
    if damage == "not a database":
        path.write_bytes(b"nonsense" * 1000)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        with sqlite3.connect(path) as database:
            vector = "zeroblob(128)" if damage == "a vector changed" else "zeroblob(5)"
            database.execute(f"UPDATE vectors SET vector = {vector}")
    again, encoder = encode(weights)
    assert again.tobytes() == first.tobytes()
    assert any("was damaged" in note and "made again" in note for note in encoder.notes)
    del encoded[:]
    final, encoder = encode(weights)
    assert (final.tobytes(), encoded) == (first.tobytes(), [])
    assert not any("was damaged" in note for note in encoder.notes)


def test_without_a_place_for_the_cache_the_run_goes_on(weights, encode, encoded, tmp_path):
    (tmp_path / "file").write_text("")
    vectors, encoder = encode(weights, cache=tmp_path / "file" / "cache")
    encoder.encode(VALUES)
    assert encoded == list(dict.fromkeys(VALUES))
    assert vectors.tobytes() == encode(weights)[0].tobytes()
    assert sum("text vectors are not cached" in note and "text.cache=FOLDER" in note
               for note in encoder.notes) == 1


def test_the_cache_is_in_the_users_cache_folder(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    text_encoder("clip", "tiny-quickgelu", str(weights)).encode(["yes"])
    assert (tmp_path / "mine/rose/text/vectors.sqlite").is_file()


def test_offline_says_which_file_to_get(encode, monkeypatch):
    def unreachable(source):
        raise FileNotFoundError("Failed to download file (x) for y. Last error: no network\nmore "
                                "lines")
    monkeypatch.setattr(open_clip, "download_pretrained", unreachable)
    monkeypatch.setattr(clip_text, "unreachable", lambda url: None)
    for weights, file in (("openai", "/ViT-B-16.pt"),
                          ("laion2b_s34b_b88k", "open_clip_model.safetensors of ")):
        with pytest.raises(PrepareError) as error:
            encode(weights, model="ViT-B-16")
        message = str(error.value)
        assert message.startswith(f"text.weights={weights}: the weights of ViT-B-16")
        assert "cannot be downloaded (Failed to download file" in message
        assert file in message
        assert "pass text.weights=PATH of that file, or use text=hash" in message
        assert "\n" not in message


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """No host has an address, no proxy is set, and the caches of open_clip and the hub are empty;
    the hosts that were asked for."""
    asked = []

    def resolve(host, *arguments, **options):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(clip_text.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return asked


@pytest.mark.parametrize(("model", "weights", "host"), [
    ("ViT-B-16", "openai", "huggingface.co"), ("ViT-B-16", "laion2b_s34b_b88k", "huggingface.co"),
    ("RN50", "cc12m", "github.com"),
])
def test_without_a_network_it_ends_at_once_and_asks_once(encode, no_network, monkeypatch, capfd,
                                                         caplog, model, weights, host):
    monkeypatch.setattr(clip_text.constants, "ENDPOINT", "https://huggingface.co")
    if host == "github.com":
        source = {"url": "https://github.com/weights.pt"}
        monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: source)
    start = time.monotonic()
    silence = rf"\({host} cannot be reached: Name or service not known\)"
    with pytest.raises(PrepareError, match=rf"cannot be downloaded {silence}; get ") as error:
        encode(weights, model=model)
    assert time.monotonic() - start < 5
    assert "\n" not in str(error.value)
    assert no_network == [host]
    assert "Retrying" not in caplog.text + "".join(capfd.readouterr())
    assert not clip_text.constants.is_offline_mode()


def test_a_resolver_that_does_not_answer_is_not_waited_for(no_network, monkeypatch):
    answer = threading.Event()

    def resolve(*arguments, **options):
        answer.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(hub, "_PATIENCE", 0.1)
    fault = hub.unreachable("https://a.example")
    assert fault == "a.example cannot be reached: no answer within 0.1 s"
    answer.set()


def test_a_proxy_is_reached_in_the_place_of_the_host(no_network, monkeypatch):
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy.example:3128"})
    monkeypatch.setattr(hub, "proxy_bypass", lambda host: host == "inside.example")
    outside, inside = map(hub.unreachable, ("https://a.example", "https://inside.example"))
    assert outside.startswith("proxy.example cannot be reached")
    assert inside.startswith("inside.example cannot be reached")


def test_without_a_network_a_file_of_the_hubs_cache_serves(no_network, tmp_path):
    encoder = clip_text.ClipText("ViT-B-16", "openai")
    repository = encoder._clip.get_pretrained_cfg(encoder.model, "openai")["hf_hub"].strip("/")
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    for path, text in ((folder / "refs/main", "0" * 40),
                       (folder / "snapshots" / ("0" * 40) / "open_clip_model.safetensors",
                        "weights")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert encoder._download() == path


def test_without_open_clip_the_remedy_is_named(monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments):
        if name == "open_clip":
            raise ModuleNotFoundError("No module named 'open_clip'")
        return real(name, *arguments)
    monkeypatch.setattr(builtins, "__import__", absent)
    message = (r"^text=clip: open_clip cannot be imported .*; "
               r"pip install -r requirements-optional.txt, or")
    with pytest.raises(PrepareError, match=message):
        text_encoder("clip")


class Pickled:
    """What torch.save writes of it is code, not weights."""


@pytest.mark.parametrize(("make", "name", "message"), [
    ("absent.pt", None, "text.weights={path}: no such file; give the path"),
    ("folder.d", None, "text.weights={path}: a folder; give the file of weights in it"),
    ("openia", None, "text.weights=openia: no tag of ViT-B-16-quickgelu and no file; its tags "
                     "are: openai, laion400m_e31"),
    ("empty.pt", None, "{path}: cannot be read (empty file)"),
    ("damaged.safetensors", None, "{path}: cannot be read as safetensors ("),
    ("pickle.pt", None, "{path}: holds pickled Python objects, refused for safety"),
    ("list.pt", None, "{path}: holds no state dict"),
    ("script.pt", "tiny", "{path}: a TorchScript archive that is not one of OpenAI's own, "
                          "refused for safety"),
    ("weights.pt", "tiny-wide", "{path}: not the weights of tiny-wide: text_projection is [32, "
                                "32], expected [32, 48]"),
    ("deeper.pt", "tiny", "{path}: not the weights of tiny: transformer.resblocks.9.x is [1], "
                          "expected absent"),
    ("nan.pt", "tiny", "text.weights={path}: the text vectors are not finite"),
    ("weights.pt", "ViT-B16", "text.model=ViT-B16: unknown model of open_clip; choose one such "
                              "as ViT-B-16"),
    ("weights.pt", "ViT-B-16-SigLIP", "text.model=ViT-B-16-SigLIP: needs more files than its "
                                      "weights; choose one such as ViT-B-16"),
    ("described.pt", "tiny", "text.model=tiny: {folder}/open_clip_config.json says that these "
                             "weights were trained with quickgelu; pass "
                             "text.model=tiny-quickgelu"),
])
def test_bad_input(make, name, message, model, weights, encode, tmp_path):
    path, tower = tmp_path / make, model.state_dict()
    contents = {"pickle.pt": Pickled(), "list.pt": [1, 2], "weights.pt": tower,
                "described.pt": tower,
                "deeper.pt": tower | {"transformer.resblocks.9.x": torch.zeros(1)},
                "nan.pt": {name: tensor * torch.nan for name, tensor in tower.items()}}
    if make in contents:
        torch.save(contents[make], path)
    elif make == "folder.d":
        path.mkdir()
    elif make == "script.pt":
        torch.jit.script(torch.nn.Linear(1, 1)).save(path)
    elif make in ("empty.pt", "damaged.safetensors"):
        path.write_bytes(b"" if make == "empty.pt" else weights.read_bytes()[:200])
    if make == "described.pt":
        path.with_name("open_clip_config.json").write_text(
            json.dumps({"model_cfg": {"quick_gelu": True}}))
    with pytest.raises(PrepareError) as error:
        encode("openia" if make == "openia" else path, model=name)
    assert str(error.value).startswith(message.format(path=path, folder=tmp_path))
    assert "\n" not in str(error.value)


SIDECARS = {
    "no JSON": ("{", "the content is no JSON"), "deep": ("[" * 100_000, "nested too deeply"),
    "a list": ("[]", "the content is [], expected a table"),
    "no model": ("{}", "model_cfg is missing"), "bytes": (b"\xff\xfe", "is no JSON"),
    "a text": ('{"model_cfg": "x"}', 'model_cfg is "x", expected a table'),
    "no flag": ('{"model_cfg": {"quick_gelu": "no"}}', 'model_cfg.quick_gelu is "no", expected t'),
}


@pytest.mark.parametrize("case", SIDECARS)
def test_a_description_beside_the_weights_is_checked(case, weights, encode):
    content, message = SIDECARS[case]
    beside = weights.with_name("open_clip_config.json")
    beside.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PrepareError) as error:
        encode(weights)
    assert str(error.value).startswith(f"{beside}: ")
    assert message in str(error.value)
    assert "mend or remove it" in str(error.value)
    beside.unlink()  # the remedy
    encode(weights)


@pytest.mark.parametrize(("change", "message"), [
    (torch.Tensor.int, "int32 tensor"), (torch.Tensor.to_sparse, "sparse_coo"),
    (lambda value: value.to("meta"), "without numbers"), (lambda value: 3, "expected a tensor"),
    (lambda value: None, "expected a tensor"),
])
def test_weights_that_are_none_are_refused(change, message, model, encode, tmp_path):
    path = tmp_path / "weights.pt"
    state = model.state_dict()
    torch.save(state | {"text_projection": change(state["text_projection"])}, path)
    with pytest.raises(PrepareError, match=message) as error:
        encode(path)
    assert str(error.value).startswith(f"{path}: ")


def test_damaged_weights_are_refused(model, encode, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(model.state_dict(), path)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for place in [*random.integers(len(whole) - 200, size=8), 0, len(whole) - 200]:
        path.write_bytes(whole[:place] + random.bytes(200) + whole[place + 200:])
        with pytest.raises(PrepareError, match="truncated or damaged; get the file again"):
            encode(path)


def test_a_damaged_file_of_the_hubs_cache_is_refused(weights, encode, tmp_path):
    blobs, link = tmp_path / "blobs", tmp_path / "snapshot" / "open_clip_model.safetensors"
    blobs.mkdir()
    link.parent.mkdir()
    blob = blobs / sha256_of(weights)
    blob.write_bytes(weights.read_bytes())
    link.symlink_to(blob)
    vectors, _ = encode(link)
    blob.write_bytes(blob.read_bytes()[:-200] + bytes(200))
    with pytest.raises(PrepareError, match=f"the file is damaged; remove {blob}, and it is"):
        encode(link)
    blob.write_bytes(weights.read_bytes())
    assert encode(link)[0].tobytes() == vectors.tobytes()


def test_a_damaged_tokenizer_is_one_line(weights, encode, monkeypatch):
    def damaged(model):
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")
    monkeypatch.setattr(open_clip, "get_tokenizer", damaged)
    with pytest.raises(PrepareError, match=r"the tokenizer of open_clip cannot be read .Compressed "
                                           r".*`pip install --force-reinstall --no-deps open_clip"):
        encode(weights)


def test_a_fresh_process_can_import_open_clip():
    """Beside a CPU build of torch, torchvision needs help to be imported, and nothing else in this
    process may have given it."""
    code = ("from datasets.prepare.text.registry import text_encoder; "
            "text_encoder('clip', 'ViT-B-16-quickgelu', 'gone.pt')")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                         check=False)
    assert "gone.pt: no such file" in run.stderr.splitlines()[-1]
