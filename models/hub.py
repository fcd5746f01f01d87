"""Networks on the Hugging Face hub: hub:USER/REPO[@REVISION][/FILE.safetensors] is a file."""

import re
from pathlib import Path

from utils.errors import CheckpointError, ConfigError, one_line

PREFIX = "hub:"
PATIENCE_S = 10.0
_ADDRESS = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w.-]*))?"
                      r"(/(?P<file>\w[\w.-]*(/\w[\w.-]*)*\.safetensors))?")


def local_file(path: str | Path) -> Path:
    """Return `path`, or for an address of the hub its file in huggingface_hub's cache, fetched if
    it is not there. Without a network the cache must have it.

    Raises:
        ConfigError: the address is none.
        CheckpointError: the hub cannot be reached, or the repository has no such file, or several.
    """
    if not str(path).startswith(PREFIX):
        return Path(path)
    if not (parts := _ADDRESS.fullmatch(str(path).removeprefix(PREFIX))):
        raise ConfigError(f"checkpoint={path}: no address of the hub, expected hub:USER/REPO, "
                          "hub:USER/REPO@REVISION or hub:USER/REPO/FILE.safetensors")
    return _fetched(str(path), *parts.group("repo", "revision", "file"))


def _fetched(address: str, repo: str, revision: str | None, file: str | None) -> Path:
    from huggingface_hub import HfApi, errors, hf_hub_download

    try:
        about = HfApi().model_info(repo, revision=revision, timeout=PATIENCE_S)
        names = [sibling.rfilename for sibling in about.siblings or ()]
        name = _chosen(address, repo, file, names)
        return Path(hf_hub_download(repo, name, revision=revision, etag_timeout=PATIENCE_S))
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(f"{address}: the hub has no repository {repo}, or not for everybody; "
                              "check the name, or log in with `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{address}: {repo} has no revision {revision}, expected a branch, "
                              "tag or commit; leave it out for the newest") from error
    except (errors.HTTPError, OSError) as error:
        if cached := _cached(address, repo, revision, file):
            return cached
        raise CheckpointError(f"{address}: cannot be fetched ({one_line(error)}), and there is no "
                              f"copy in the cache; run `hf download {repo}` where there is a "
                              "network, and give the path of the file") from error


def _cached(address: str, repo: str, revision: str | None, file: str | None) -> Path | None:
    """Return the file in the cache, of the commit that the revision was when it was fetched."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type="model"))
    named = folder / "refs" / (revision or "main")
    commit = named.read_text().strip() if named.is_file() else revision
    snapshot = folder / "snapshots" / (commit or "")
    if commit is None or not snapshot.is_dir():
        return None
    names = [str(path.relative_to(snapshot)) for path in snapshot.rglob("*.safetensors")]
    if not names or (file and file not in names):
        return None
    return snapshot / _chosen(address, repo, file, names)


def _chosen(address: str, repo: str, file: str | None, names: list[str]) -> str:
    """Return the named one of a repository's files, or its only one with weights."""
    files = sorted(name for name in names if name.endswith(".safetensors"))
    if not files:
        raise CheckpointError(f"{address}: {repo} has no .safetensors file, expected a network as "
                              "train_rose.py or an evaluation writes it; put one there with "
                              f"`hf upload {repo} best.safetensors`")
    if file is not None and file not in files:
        raise CheckpointError(f"{address}: {repo} has no file {file}, expected one of "
                              f"{', '.join(files[:5])}")
    if file is None and len(files) > 1:
        raise CheckpointError(f"{address}: {repo} has {len(files)} .safetensors files "
                              f"({', '.join(files[:5])}); name one, as hub:{repo}/{files[0]}")
    return file or files[0]
