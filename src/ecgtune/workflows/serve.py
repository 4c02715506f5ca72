"""Serve finished runs and exported files over HTTP: recordings in, predictions out as JSON. torch is imported for runs
only.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path, PurePath
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgtune.config.base import from_table
from ecgtune.config.commands import PredictSettings, ServeSettings
from ecgtune.config.reading import OF_RECORDINGS
from ecgtune.errors import EcgtuneError, SettingError
from ecgtune.io.readers.registry import common_folder
from ecgtune.runtime.predictor import NOTICE, Predictor
from ecgtune.text import shown_name
from ecgtune.utils.files import MOST_JSON_BYTES, parsed_json, temporary_folder
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.predict import open_predictor, predict_files
from ecgtune.workflows.prediction_tables import RECORDINGS, WINDOWS, tables

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

#: Settings that a request may have; the others are about files and processes of the server.
ASKED = (
    *("sampling_rate", "unit", "lead_names", "layout", "dataset", "ignore_checksums", "start", "stop", "lead"),
    *("drop_invalid", "step", "longest_gap", "recording", "abstain"),
)
#: Seconds in which a request must have arrived.
ARRIVAL = 60
_MOST_FILES, _MOST_REQUESTS = 64, 64
_LONGEST_NAME = 200  # characters
_FLAG = re.compile(r"--([a-z][a-z-]*)")


def serve(
    models: str | Path | Predictor | Iterable[str | Path],
    settings: ServeSettings | None = None,
    *,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve finished runs and exported files until the process is stopped.

    models: run folders and exported files, each under its name (`named_models`), or the result of `load_run`. started:
    called with the address once the server listens. Raises SettingError for an address that cannot be used, or where
    starlette or uvicorn is not installed, and what `load_run` and `runtime.Model` raise.
    """
    settings = settings or ServeSettings()
    missing = [name for name in ("starlette", "uvicorn", "python_multipart") if find_spec(name) is None]
    if missing:
        raise SettingError(f"a server needs {' and '.join(missing)}; pip install 'ecgtune[serve]'")
    import uvicorn

    if isinstance(models, Predictor):
        predictors = {"model": models}
    else:
        predictors = named_models([models] if isinstance(models, (str, Path)) else models)
    app = application(predictors, settings)
    try:
        listening = socket.create_server((settings.host, settings.port))
    except OSError as error:
        raise SettingError(
            f"{settings.host}:{settings.port} cannot be used ({error.strerror or error}); give another --port or --host"
        ) from None
    with listening:
        if started is not None:
            started(f"http://{settings.host}:{listening.getsockname()[1]}")
        config = uvicorn.Config(app, log_level="warning", access_log=False, limit_concurrency=_MOST_REQUESTS)
        uvicorn.Server(config).run(sockets=[listening])


def named_models(paths: Iterable[str | Path]) -> dict[str, Predictor]:
    """Open run folders and exported files, each under its path in the folder that all are in, without a suffix.

    Of one path the name is its last part. Weights that several runs have in common are held once. Raises SettingError
    for two paths of one name.
    """
    places = [Path(path) for path in paths]
    if not places:
        raise SettingError("no model is given; name run folders or exported files")
    common = common_folder([place.resolve() for place in places]) if len(places) > 1 else None
    models: dict[str, Predictor] = {}
    for place in places:
        whole = place.resolve()
        own = PurePath(whole.name) if common is None else whole.relative_to(common)
        name = own.with_suffix("").as_posix() if place.is_file() else own.as_posix()
        if name in models:
            raise SettingError(f"{place}: two models are called {name!r}; rename one, or give each once")
        models[name] = open_predictor(place)
    runs = [model for model, place in zip(models.values(), places, strict=True) if place.is_dir()]
    if len(runs) > 1:
        from ecgtune.deployment.run import share_weights

        share_weights(runs)
    return models


def application(models: Mapping[str, Predictor], settings: ServeSettings | None = None) -> Starlette:
    """The server as an ASGI application, for a server of one's own.

    `GET /` describes the models. `POST /predict` answers with all models, `POST /predict/NAME` with one. The body is a
    form of files (`file`) and settings, or JSON with `signal` (leads, samples) and settings. An answer has, by model,
    the rows of predictions.csv and recordings.csv. Errors are `{"error": "one line"}`: 400 for a body that cannot be
    read, 404 for an unknown model, 408 for one that arrives too slowly, 413 for one that is too large, 422 for
    signals that the model cannot take.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    settings = settings or ServeSettings()
    for model in models.values():
        model.to(settings.device)
    turn = Lock()  # predictions take all cores; two at once would take twice the memory

    def describe(_: Request) -> Response:
        return JSONResponse({"models": {name: described(each) for name, each in models.items()}, "notice": NOTICE})

    def answer(names: list[str], data: list[Path], facts: Mapping[str, Any], place: Path) -> dict[str, Any]:
        try:
            unknown = sorted(set(facts) - set(ASKED))
            if unknown:
                names_of = ", ".join(map(shown_name, unknown[:5]))
                raise SettingError(f"unknown settings {names_of}; allowed: {', '.join(ASKED)}")
            asked = from_table(PredictSettings, {"workers": 1, **facts}, "the request")
            with turn:
                return {name: predicted(models[name], data, asked, place / str(n)) for n, name in enumerate(names)}
        except EcgtuneError as error:
            raise HTTPException(422, in_words_of_requests(str(error), place)) from None

    async def predictions(request: Request) -> Response:
        name = request.path_params.get("name")
        if name is not None and name not in models:
            raise HTTPException(404, f"no model {name!r}; there are {', '.join(models)}")
        with temporary_folder() as place:
            try:
                async with asyncio.timeout(ARRIVAL):
                    data, facts = await _received(request, place)
            except TimeoutError:
                raise HTTPException(408, f"the request did not arrive within {ARRIVAL} s") from None
            names = list(models) if name is None else [name]
            found = await run_in_threadpool(answer, names, data, facts, place)
        return JSONResponse({"predictions": found, "notice": NOTICE})

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    local = settings.host in ("127.0.0.1", "localhost", "::1")
    hosts = ["127.0.0.1", "localhost", "[::1]"] if local else ["*"]  # a page of another site may name itself our host
    return Starlette(
        routes=[
            Route("/", describe),
            Route("/predict", predictions, methods=["POST"]),
            Route("/predict/{name:path}", predictions, methods=["POST"]),
        ],
        exception_handlers={HTTPException: refused},
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
            Middleware(_Limited, largest=int(1e6 * settings.largest_upload)),
        ],
    )


def described(model: Predictor) -> dict[str, Any]:
    """What a client has to know about a model."""
    data = model.trained_on
    return {
        "task": model.task,
        "classes": list(model.classes),
        "leads": list(model.leads),
        "sampling_rate": data["sampling_rate"],
        "window_seconds": data["samples"] / data["sampling_rate"],
        "decision": model.decision.to_dict(model.classes),
        "summary": model.summary(),
    }


def predicted(model: Predictor, data: list[Path], settings: PredictSettings, out: Path) -> dict[str, Any]:
    """The tables of a prediction as lists of rows, with the recordings that could not be used and the notes."""
    found = predict_files(model, data, settings, out, ProgressBar(shown=False))
    rows = tables(model, found, settings.abstain is not None)
    result: dict[str, Any] = {
        name: [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        for name, lines in (("recordings", rows.get(RECORDINGS, [[]])), ("windows", rows[WINDOWS]))
    }
    place = out.parent
    notes = [in_words_of_requests(each, place) for each in found.notes]
    skipped = {name: in_words_of_requests(reason, place) for name, reason in found.skipped.items()}
    return {**result, "skipped": skipped, "notes": notes}


def in_words_of_requests(text: str, place: Path) -> str:
    """A message of the library without the folder of the server, and with settings in place of flags."""
    settings = {flag[2:]: name for name, flag in OF_RECORDINGS.items()}
    text = re.sub(rf"{re.escape(str(place))}(/files)?/?", "", text)
    return _FLAG.sub(lambda found: settings.get(found[1], found[1].replace("-", "_")), text)


async def _received(request: Request, place: Path) -> tuple[list[Path], dict[str, Any]]:
    """The files of a request, written below `place`, and its settings."""
    from starlette.exceptions import HTTPException

    folder = place / "files"
    folder.mkdir()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _of_json(await request.body(), folder)
    if kind != "multipart/form-data":
        raise HTTPException(400, "send a form of files (curl -F file=@ecg.edf) or JSON with the key signal")
    facts: dict[str, Any] = {}
    files = []
    async with request.form(max_files=_MOST_FILES, max_fields=len(ASKED)) as form:
        for key, value in form.multi_items():
            if isinstance(value, str):
                facts[key] = _value(value)
                continue
            if key != "file":
                raise HTTPException(400, f"files are called file, not {key}")
            files.append(folder / _checked_name(value.filename))
            if files[-1].exists():
                raise HTTPException(400, f"two files are called {files[-1].name}")
            files[-1].write_bytes(await value.read())
    if not files:
        raise HTTPException(400, "the form has no file (curl -F file=@ecg.edf)")
    return (files if len(files) == 1 else [folder]), facts


def _of_json(body: bytes, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    from starlette.exceptions import HTTPException

    if len(body) > MOST_JSON_BYTES:
        raise HTTPException(413, f"JSON is larger than {MOST_JSON_BYTES >> 20} MB; send such recordings as files")
    try:
        facts = parsed_json(body.decode("utf-8"))
        values = np.asarray(facts.pop("signal"))
        if values.dtype.kind == "O":  # null stands for a sample that is missing
            values = np.where(values == None, np.nan, values).astype(np.float64)  # noqa: E711
        signal = values.astype(np.float32)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise HTTPException(400, "the body is no JSON object with numbers in signal, a list for each lead") from None
    if values.dtype.kind not in "iuf" or signal.ndim != 2:
        found = f"{signal.ndim} dimensions of {values.dtype.name}"
        raise HTTPException(400, f"signal has {found}; allowed: 2 of numbers, (leads, samples)")
    if np.isinf(signal).any():
        raise HTTPException(400, "signal has numbers beyond 3e38; send millivolts or microvolts")
    file = folder / "signal.npy"
    np.save(file, signal)
    return [file], facts


def _checked_name(name: str | None) -> str:
    """The last part of a file's name, which names the recording."""
    from starlette.exceptions import HTTPException

    own = PurePath((name or "").replace("\\", "/")).name
    if not own or own.startswith(".") or len(own) > _LONGEST_NAME or not own.isprintable():
        raise HTTPException(400, f"a file needs a name of 1 to {_LONGEST_NAME} printable characters, no leading dot")
    return own


def _value(text: str) -> Any:
    """A setting of a form: a number, true, false or a list as in JSON, or else the text."""
    try:
        return parsed_json(text)
    except ValueError:
        return text


class _Limited:
    """Refuses bodies that are larger than `largest` bytes, before they are kept."""

    def __init__(self, app: Any, largest: int) -> None:
        self.app, self.largest = app, largest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.exceptions import HTTPException

        got = 0

        async def limited() -> Any:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self.largest:
                raise HTTPException(413, f"the request is larger than {self.largest / 1e6:g} MB")
            return message

        await self.app(scope, limited, send)
