"""Official checkpoints by name from the Hugging Face hub; a downloaded file is kept in the hub's own cache."""

from __future__ import annotations

from pathlib import Path

from ecgtune.errors import CheckpointError

REPOSITORY = "wanglab/ecg-fm"
DEFAULT_FILE = "mimic_iv_ecg_physionet_pretrained.pt"


def hub_file(name: str) -> str | None:
    """The file in the repository that `name` asks for, or None when `name` is no hub name.

    "ecg-fm" and "wanglab/ecg-fm" are the pretrained model; "wanglab/ecg-fm/mimic_iv_ecg_finetuned.pt" names a file.
    """
    if name in ("ecg-fm", REPOSITORY):
        return DEFAULT_FILE
    return name.removeprefix(f"{REPOSITORY}/") if name.startswith(f"{REPOSITORY}/") else None


def download(file: str) -> Path:
    """Path of `file` of the official repository, downloaded when the cache does not hold it.

    Raises CheckpointError when it cannot be had: no network, or no such file.
    """
    from huggingface_hub import hf_hub_download  # seconds of import that only this needs
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(hf_hub_download(REPOSITORY, file))
    except (EntryNotFoundError, RepositoryNotFoundError) as error:
        if not isinstance(error, FileNotFoundError) or getattr(error, "response", None) is not None:
            raise CheckpointError(
                f"{REPOSITORY} on the Hugging Face hub has no file {file!r}; "
                f"known: {DEFAULT_FILE}, mimic_iv_ecg_finetuned.pt"
            ) from error
        raise _unreachable(file) from error
    except Exception as error:  # the hub's client raises errors of several libraries, all of them "could not be had"
        raise _unreachable(file) from error


def _unreachable(file: str) -> CheckpointError:
    return CheckpointError(
        f"the Hugging Face hub could not be reached for {REPOSITORY}/{file}; download that file on a machine with "
        "network and give its path instead of the name"
    )
