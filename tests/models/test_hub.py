"""checkpoint=hub:USER/REPO: fetched once, found without a network, and refused in one line."""

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants

from inference.maps.run import find_finetuned
from models import NetworkFile, load_rose
from models.hub import local_file
from tests.pretrained import save_pretrained
from tests.servers import EVER, Fault, Server
from training.compatibility import find_checkpoint
from utils.errors import RoseError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "ada/rose-lima"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> bytes:
    return save_pretrained(tmp_path_factory.mktemp("run") / "model_1.tar").read_bytes()


@pytest.fixture
def hub(weights, tmp_path, monkeypatch):
    """A hub with one repository of one network, and an empty cache."""
    with Server() as server:
        point_at(server.url, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_XET_CACHE", str(tmp_path / "xet"))
        offer(server, {"best.safetensors": weights, "README.md": b"# Lima"})
        yield server


def offer(server: Server, files: dict[str, bytes]) -> None:
    """Let the repository have these files."""
    about = {"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
    for revision in ("main", "v1", COMMIT):
        server.files[f"/api/models/{REPO}/revision/{revision}"] = json.dumps(about).encode()
        for name, content in files.items():
            server.files[f"/{REPO}/resolve/{revision}/{name}"] = content
    server.files[f"/api/models/{REPO}"] = json.dumps(about).encode()
    server.fault("/resolve/", Fault(times=EVER, headers={"X-Repo-Commit": COMMIT}))


def point_at(url: str, monkeypatch) -> None:
    """Let huggingface_hub ask the server at `url`; nobody answers at port 9."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + template)


def fetches(server: Server) -> int:
    return sum(request.method == "GET" and "/resolve/" in request.path
               for request in server.requests)


@pytest.mark.parametrize("address", [REPO, f"{REPO}@v1", f"{REPO}@main/best.safetensors",
                                     f"{REPO}/best.safetensors"])
def test_a_network_of_the_hub_is_fetched_once(hub, weights, address):
    path = local_file(f"hub:{address}")
    assert path.read_bytes() == weights
    assert local_file(f"hub:{address}") == path
    assert fetches(hub) == 1


def test_a_rose_of_the_hub_needs_no_network_the_second_time(hub, monkeypatch):
    first = load_rose(f"hub:{REPO}@{COMMIT}")
    point_at(NOBODY, monkeypatch)
    again = load_rose(f"hub:{REPO}@{COMMIT}/best.safetensors")
    assert all(torch.equal(value, again.state_dict()[name])
               for name, value in first.state_dict().items())


def refused(address: str) -> str:
    with pytest.raises(RoseError) as error:
        local_file(address)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_commit_of_a_branch_is_remembered_without_a_network(hub, weights, monkeypatch):
    path = local_file(f"hub:{REPO}@v1")
    point_at(NOBODY, monkeypatch)
    assert local_file(f"hub:{REPO}@v1") == path
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert local_file(f"hub:{REPO}@v1/best.safetensors") == path
    assert "hub:ada/rose-lima@v2: cannot be fetched" in refused(f"hub:{REPO}@v2")


@pytest.mark.parametrize(("answer", "address", "message"), [
    ({"files": {"b.safetensors": b"", "a/a.safetensors": b""}}, REPO,
     "has 2 .safetensors files (a/a.safetensors, b.safetensors); name one, as "
     "hub:ada/rose-lima/a/a.safetensors"),
    ({"files": {"model.bin": b""}}, REPO, "has no .safetensors file, expected a .*`hf upload"),
    ({}, f"{REPO}/last.safetensors", "has no file last.safetensors, expected one of "
                                     "best.safetensors"),
    ({"error": (404, "RepoNotFound")}, REPO, "the hub has no repository ada/rose-lima.*hf auth"),
    ({"error": (404, "RevisionNotFound")}, f"{REPO}@v9", "has no revision v9, expected a branch"),
    ({"error": (503, "")}, REPO, "cannot be fetched .*503.*no copy in the cache; run `hf download "
                                 "ada/rose-lima`"),
])
def test_what_the_hub_does_not_have_is_one_line(hub, answer, address, message):
    if "files" in answer:
        offer(hub, answer["files"])
    if "error" in answer:
        status, code = answer["error"]
        hub.fault("/api/models", Fault(status, EVER, b"{}", headers={"X-Error-Code": code}))
    assert re.search(message if ".*" in message else re.escape(message), refused(f"hub:{address}"))


@pytest.mark.parametrize("address", ["ada", "ada/rose/../x.safetensors", "ada/rose/model_1.tar",
                                     "ada/rose@/x.safetensors", "../../etc", ""])
def test_what_is_no_address_is_one_line(address):
    assert f"checkpoint=hub:{address}: no address of the hub" in refused(f"hub:{address}")


def test_what_is_no_network_of_rose_is_one_line(hub):
    save = {"format": "pt"}
    offer(hub, {"vit.safetensors": safetensors.torch.save({"w": torch.ones(2)}, save)})
    with pytest.raises(RoseError, match="safetensors without Rose's description"):
        load_rose(f"hub:{REPO}")


def test_a_map_takes_it(hub, monkeypatch):
    """Every command opens its network through `NetworkFile`."""
    assert NetworkFile(find_checkpoint(f"hub:{REPO}", "runs")).path.name == "best.safetensors"
    assert NetworkFile(find_finetuned(Path(f"hub:{REPO}"))).path.name == "best.safetensors"
