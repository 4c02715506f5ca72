"""Official checkpoints by name from the Hugging Face hub; a downloaded file is kept in the hub's own cache."""

from __future__ import annotations

from pathlib import Path

from ecgtune.errors import CheckpointError

REPOSITORY = "wanglab/ecg-fm"
DEFAULT_FILE = "mimic_iv_ecg_physionet_pretrained.pt"
FINETUNED_FILE = "mimic_iv_ecg_finetuned.pt"


def hub_file(name: str) -> str | None:
    """The file in the repository that `name` asks for, or None when `name` is no hub name.

    "ecg-fm" and "wanglab/ecg-fm" are the pretrained model; "wanglab/ecg-fm/mimic_iv_ecg_finetuned.pt" names a file.
    """
    if name in ("ecg-fm", REPOSITORY):
        return DEFAULT_FILE
    return name.removeprefix(f"{REPOSITORY}/") if name.startswith(f"{REPOSITORY}/") else None


def download(file: str) -> Path:
    """Path of `file` of the official repository, downloaded when the cache does not hold it.

    A cached file is taken as it is, without asking for a newer one, so that a run can be repeated. Raises
    CheckpointError when the file cannot be had: no network, or no such file.
    """
    # These imports take a second that only this function needs.
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(REPOSITORY, file, local_files_only=True))
    except LocalEntryNotFoundError:
        pass  # not in the cache
    try:
        get_hf_file_metadata(hf_hub_url(REPOSITORY, file))  # one request: the download itself retries for half a minute
        return Path(hf_hub_download(REPOSITORY, file))
    except EntryNotFoundError as error:
        raise CheckpointError(
            f"{REPOSITORY} on the Hugging Face hub has no file {file!r}; known: {DEFAULT_FILE}, {FINETUNED_FILE}"
        ) from error
    except Exception as error:  # errors of several libraries, all of which mean that the file could not be had
        raise CheckpointError(
            f"{REPOSITORY}/{file} could not be downloaded from the Hugging Face hub ({type(error).__name__}); "
            "download that file on a machine with network and give its path instead of the name"
        ) from error
