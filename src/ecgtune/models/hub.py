"""Published checkpoints from the Hugging Face hub; a downloaded file is kept in the hub's own cache."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ecgtune.errors import CheckpointError
from ecgtune.text import reason_of


def download(repository: str, file: str, known: Sequence[str]) -> Path:
    """Path of `file` of a repository, downloaded when the cache does not hold it.

    known: files that the repository is known to have, for the error. A cached file is taken as it is, without asking
    for a newer one, so that a run can be repeated. Raises CheckpointError when the file is not available: no network,
    or no such file.
    """
    # These imports take a second that only this function needs.
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file, local_files_only=True))
    except LocalEntryNotFoundError:
        pass  # not in the cache
    try:
        get_hf_file_metadata(hf_hub_url(repository, file))  # one request: the download itself retries for half a minute
        return Path(hf_hub_download(repository, file))
    except EntryNotFoundError as error:
        raise CheckpointError(
            f"{repository} on the Hugging Face hub has no file {file!r}; known: {', '.join(known)}"
        ) from error
    except Exception as error:  # errors of several libraries, all of which mean that the file is not available
        raise CheckpointError(
            f"{repository}/{file} could not be downloaded from the Hugging Face hub ({type(error).__name__}); "
            "download that file on a machine with network and give its path instead of the name, or with the name as "
            "--checkpoint PATH"
        ) from error


def is_repository(name: str) -> bool:
    """Whether `name` is like "user/name" or "user/name@revision"."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) is not None


def download_folder(name: str, patterns: Sequence[str]) -> Path:
    """Folder with the files of a repository "user/name" that match the patterns, the newest, or those of "@revision".

    Those in the cache are taken where the hub cannot be reached. Raises CheckpointError where neither has them.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns)))
    except Exception as error:  # errors of several libraries
        raise CheckpointError(
            f"{name}: no such folder, and no model of this name on the Hugging Face hub ({reason_of(error)}); check the"
            " path of the run folder, or the name"
        ) from error
