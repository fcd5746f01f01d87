"""Sentence models: vectors as transformers computes them, alone or in company; and the messages
where a folder holds none that can be used."""

import builtins
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import datasets.prepare.text.sentence as sentence
import utils.torchvision_import  # noqa: F401  (first: transformers may import torchvision)
from datasets.prepare.text import sentence_files
from datasets.prepare.text.registry import text_encoder
from utils.errors import PrepareError

transformers = pytest.importorskip("transformers")

VALUES = ["residential", "building: school\nname: Základní škola", "", "školní budova", "東京",
          "a text of many words " * 30, "yes", "residential"]
LETTERS = sorted({*"".join(VALUES).replace("\n", " ")} | set("abcdefghijklmnopqrstuvwxyz:"))
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 24, "max_position_embeddings": 42}


def bert(folder):
    """Write a random BERT whose tokenizer knows single letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS,
             *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]",
                                         unk_token="[UNK]", cls_token="[CLS]",
                                         sep_token="[SEP]").save_pretrained(folder)
    return transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **SMALL))


def roberta(folder):
    """Write a random XLM-R with a vocabulary of pieces, as models of many languages have."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS]
    tokenizer = Tokenizer(models.Unigram([(word, -2.0) for word in words], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", cls_token="<s>", sep_token="</s>").save_pretrained(folder)
    return transformers.XLMRobertaModel(transformers.XLMRobertaConfig(
        vocab_size=len(words), pad_token_id=1, bos_token_id=0, eos_token_id=2, **SMALL))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of the two models, by name."""
    torch.manual_seed(0)
    folders = {}
    for make in (bert, roberta):
        folders[make.__name__] = folder = tmp_path_factory.mktemp(make.__name__)
        make(folder).save_pretrained(folder)
    return folders


@pytest.fixture
def folder(models, tmp_path):
    """A copy of the BERT, to be changed."""
    shutil.copytree(models["bert"], tmp_path / "model")
    return tmp_path / "model"


def encode(folder, values=VALUES, cache=None) -> np.ndarray:
    return text_encoder("sentence", str(folder), cache=cache or folder / "cache").encode(values)


def expected(folder, values=VALUES, pooling="mean") -> np.ndarray:
    """Vectors as a reader of transformers' manual makes them, one text at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for value in values:
        tokens = tokenizer(value, truncation=True, max_length=40, return_tensors="pt")
        with torch.no_grad():
            states = model(tokens["input_ids"])[0][0]
        rows.append((states.mean(0) if pooling == "mean" else states[0]).numpy())
    return np.stack(rows)


def write(path, content) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def as_sentence_transformers(folder, pooling="mean_tokens", *more: str) -> None:
    """Add the files of sentence-transformers' layout."""
    kinds = ["Transformer", "Pooling", *more]
    write(folder / "modules.json", [
        {"idx": number, "name": str(number), "type": f"sentence_transformers.models.{kind}",
         "path": f"{number}_{kind}" if number else ""} for number, kind in enumerate(kinds)])
    write(folder / "1_Pooling/config.json", {"word_embedding_dimension": 16,
                                             f"pooling_mode_{pooling}": True,
                                             "pooling_mode_max_tokens": False})


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_the_vectors_are_the_means_of_transformers(models, tmp_path, name):
    write(models[name] / "sentence_bert_config.json", {"max_seq_length": 40})
    vectors = encode(models[name], cache=tmp_path)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(models[name]), rtol=1e-4, atol=1e-5)
    assert encode(models[name], [], tmp_path).shape == (0, 16)
    (models[name] / "sentence_bert_config.json").unlink()
    long = encode(models[name], ["a b " * 99, "a b " * 200], tmp_path)  # as long as positions are
    np.testing.assert_array_equal(*long)


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_a_vector_does_not_depend_on_its_company(models, tmp_path, name):
    many = [f"{number} " * (number % 9) for number in range(40)] + VALUES
    together = encode(models[name], many, tmp_path / "a")
    for index in (3, 20, 42, 45):
        alone = encode(models[name], [many[index]], tmp_path / f"b{index}")
        np.testing.assert_array_equal(alone[0], together[index])


def test_each_text_is_encoded_once_for_the_same_files(folder, tmp_path, monkeypatch):
    vectors = encode(folder, cache=tmp_path / "cache")
    loaded = []
    load = sentence.SentenceText._load
    monkeypatch.setattr(sentence.SentenceText, "_load",
                        lambda self: loaded.append(self) or load(self))
    shutil.copytree(folder, tmp_path / "copy")
    np.testing.assert_array_equal(encode(tmp_path / "copy", cache=tmp_path / "cache"), vectors)
    assert not loaded
    weights = {name: tensor + 0.1 for name, tensor in
               load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert np.abs(encode(folder, cache=tmp_path / "cache") - vectors).max() > 0.01
    assert loaded


def test_weights_in_several_files(folder, tmp_path):
    model = transformers.AutoModel.from_pretrained(folder)
    vectors = encode(folder, cache=tmp_path / "a")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="8KB")
    assert len([*folder.glob("model-*.safetensors")]) > 1
    np.testing.assert_array_equal(encode(folder, cache=tmp_path / "b"), vectors)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_layout_of_sentence_transformers(folder, pooling):
    as_sentence_transformers(folder, {"mean": "mean_tokens", "cls": "cls_token"}[pooling],
                             "Normalize")
    write(folder / "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": False})
    vectors = encode(folder)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 10, rtol=1e-5)  # as CLIP's
    wanted = expected(folder, pooling=pooling)
    wanted *= 10 / np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, wanted, rtol=1e-4, atol=1e-4)


def test_a_layer_after_the_pooling(folder):
    as_sentence_transformers(folder, "mean_tokens", "Dense")
    layer = torch.nn.Linear(16, 8)
    write(folder / "2_Dense/config.json", {
        "in_features": 16, "out_features": 8, "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh"})
    save_file({f"linear.{name}": value for name, value in layer.state_dict().items()},
              folder / "2_Dense/model.safetensors")
    values = VALUES[:5]
    with torch.no_grad():
        wanted = layer(torch.from_numpy(expected(folder, values))).tanh().numpy()
    np.testing.assert_allclose(encode(folder, values), wanted, rtol=1e-4, atol=1e-5)
    assert text_encoder("sentence", str(folder)).describe()["width"] == 8


def change_config(folder, name="config.json", **values) -> None:
    content = json.loads((folder / name).read_text()) | values
    (folder / name).write_text(json.dumps(content))


def only_a_pickle(folder) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:len(data) // 2])


def another_file(folder) -> None:
    save_file({"other.weight": torch.zeros(3)}, folder / "model.safetensors", {"format": "pt"})


def without(*names):
    def remove(folder):
        for name in names:
            (folder / name).unlink()
    return remove


def names_code(folder) -> None:
    as_sentence_transformers(folder)
    change = (folder / "modules.json").read_text().replace("sentence_transformers.models.Pooling",
                                                           "mine.Pooling")
    (folder / "modules.json").write_text(change)


def leaves_its_folder(folder) -> None:
    as_sentence_transformers(folder)
    change = (folder / "modules.json").read_text().replace("1_Pooling", "../elsewhere")
    (folder / "modules.json").write_text(change)


def sharded_elsewhere(folder) -> None:
    write(folder / "model.safetensors.index.json", {"weight_map": {"a": "../../other.safetensors"}})


BAD = {
    "only pickled weights": (only_a_pickle, "has no model.safetensors, only pytorch_model.bin, "
                                            "which may run code when it is read; only safetensors"),
    "no weights at all": (without("model.safetensors"), "has no model.safetensors; only safetens"),
    "damaged": (cut_short, "model.safetensors cannot be read as safetensors .*; the file is "
                           "truncated or damaged; get the model again"),
    "other weights": (another_file, "its safetensors lack .*, and are not the weights that "
                                    "config.json describes; get the model again"),
    "another width": (lambda folder: change_config(folder, hidden_size=32),
                      "cannot be loaded .*; get the model again"),
    "remote code": (lambda folder: change_config(folder, auto_map={"AutoModel": "mine.Model"}),
                    r"config.json names code of the model's own \(auto_map\); which is refused for "
                    "safety; choose another model, such as sentence-transformers/"),
    "a tokenizer of its own": (
        lambda folder: change_config(folder, "tokenizer_config.json", auto_map={"a": "b.C"}),
        r"tokenizer_config.json names code of the model's own"),
    "modules of its own": (names_code, "modules.json names mine.Pooling, code of the model's own"),
    "a folder outside": (leaves_its_folder, r"modules.json: \[1\].path is .*a path inside"),
    "weights outside": (sharded_elsewhere, "weight_map.a is .*a path inside the folder"),
    "no config": (without("config.json"), "has no config.json; expected the folder of a model"),
    "no tokenizer": (without("tokenizer.json"), "has no tokenizer; expected tokenizer.json or"),
    "damaged tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{"),
                          "cannot be loaded .*; get the model again, or choose another"),
    "damaged config": (lambda folder: (folder / "config.json").write_text("{"),
                       "config.json: .*; get the model again"),
    "an unknown kind": (lambda folder: change_config(folder, model_type="frobnicator"),
                        "config.json is of no model that transformers .* knows"),
    "a vision model": (lambda folder: transformers.ViTConfig().save_pretrained(folder),
                       "vit is no text encoder; choose one such as BERT"),
    "clip": (lambda folder: transformers.CLIPConfig().save_pretrained(folder),
             "clip is no text encoder; .*; text=clip reads the text towers of CLIP"),
    "with a decoder": (lambda folder: transformers.T5Config().save_pretrained(folder),
                       "t5 is an encoder with a decoder, expected an encoder alone"),
    "a claim of size": (lambda folder: change_config(folder, num_hidden_layers=10**8),
                        "num_hidden_layers of config.json is 100000000, expected a whole number"),
    "an adapter": (lambda folder: write(folder / "adapter_config.json", {}),
                   "holds an adapter of another model"),
    "another pooling": (lambda folder: as_sentence_transformers(folder, "lasttoken"),
                        "its pooling is lasttoken; expected mean or cls"),
    "another module": (lambda folder: as_sentence_transformers(folder, "mean_tokens", "LSTM"),
                       "modules.json has a module LSTM; expected Transformer, Pooling"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_one_line(folder, case):
    spoil, message = BAD[case]
    spoil(folder)
    with pytest.raises(PrepareError, match=message) as error:
        encode(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("model", "message"), [
    (None, "^text=sentence: no model given; add text.model=FOLDER, or an id"),
    ("nowhere/at/all", "^text.model=nowhere/at/all: no such folder, and no id of the Hugging Face"),
    ("../gone", r"^text.model=../gone: no such folder"),
    (__file__, "^text.model=.*test_sentence.py: a file; give the folder that it lies in"),
    ("org/model", r"^text.model=org/model: no folder here, and it cannot be downloaded \(the hub "
                  r"cannot be reached\); get it .*`hf download org/model`.*text.model=FOLDER"),
])
def test_a_model_that_is_not_there(tmp_path, monkeypatch, model, message):
    monkeypatch.setattr(sentence_files, "unreachable", lambda url: "the hub cannot be reached")
    monkeypatch.setattr(sentence_files.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PrepareError, match=message):
        text_encoder("sentence", model)


def test_without_a_network_the_hubs_cache_serves(models, tmp_path, monkeypatch):
    monkeypatch.setattr(sentence_files, "unreachable", lambda url: "the hub cannot be reached")
    monkeypatch.setattr(sentence_files.constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--org--model"
    shutil.copytree(models["bert"], folder / "snapshots" / ("0" * 40))
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("0" * 40)
    encoder = text_encoder("sentence", "org/model", cache=tmp_path / "cache")
    np.testing.assert_array_equal(encoder.encode(VALUES), encode(models["bert"], cache=tmp_path))
    assert encoder.describe()["model"] == "org/model"


def test_without_transformers_the_remedy_is_named(monkeypatch, folder):
    real = builtins.__import__

    def absent(name, *arguments):
        if name == "transformers":
            raise ModuleNotFoundError("No module named 'transformers'")
        return real(name, *arguments)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(PrepareError, match=r"^text=sentence: transformers cannot be imported .*; "
                                           "pip install -r requirements-optional.txt, or use"):
        text_encoder("sentence", str(folder))
