"""`ecgtune models`."""

from __future__ import annotations

from ecgtune.cli.output import print_columns


def models(pattern: str = "*", /) -> None:
    """List the encoders that are known by name.

    Parameters
    ----------
    pattern
        Only names that match, such as "*fm*".
    """
    from ecgtune.models.registry import list_models

    print_columns(
        ("name", "parameters", "leads", "rate", "window", "licence", "weights", "description"),
        [
            (
                model.name,
                f"{model.parameters:,}",
                str(len(model.leads) or "any"),
                f"{model.sampling_rate:g} Hz",
                "any" if model.seconds is None else f"{model.seconds:g} s",
                f"{model.licence} ({model.terms})" if model.terms else model.licence,
                model.source,
                model.description,
            )
            for model in list_models(pattern)
        ],
    )
