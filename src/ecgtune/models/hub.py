"""Published checkpoints from the Hugging Face hub; a downloaded file is kept in the hub's own cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecgtune.errors import CheckpointError


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
