"""The real forecast server of a region: what stands behind the Deployment of day 2.

It runs with the arguments of the live Deployment, so that what was deployed is what runs; addresses and the place of
the models are the lab's own. ``predictor_arguments.json`` in the lab's folder, while it is there, stands for what the
world was booted with: where a surge begins is known only after the boot.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SERVED = "predictor"  # the name of its address in state.json
DEPLOYMENT = "traffic-predictor"
ARGUMENTS_FILE = "predictor_arguments.json"
# One thread a library: the machine's cores are for the whole lab.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class ArgumentsError(ValueError):
    """The file of arguments can't be used; the message names it and the remedy."""


def command(arguments: Sequence[str]) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "include.forecast.server", *arguments]


def added(state: Mapping[str, Any], region: str) -> tuple[str, ...]:
    """What follows the Deployment's own arguments: of two equal options the last one counts. Raises ArgumentsError."""
    place = unquote(urlsplit(state["models"]).path)
    port = str(state["regions"][region][SERVED]).rpartition(":")[2]
    own = ("--host", "127.0.0.1", "--port", port, "--registry", place, "--prometheus", str(state["prometheus"]))
    return (*own, "--regions", region, *_extra(state))


def write_arguments(folder: Path, arguments: Sequence[str]) -> None:
    """End every predictor's command line in ``arguments`` from now on; a running one is started again with them."""
    partial = folder / f"{ARGUMENTS_FILE}.partial"
    partial.write_text(json.dumps(list(arguments)), encoding="utf-8")
    partial.replace(folder / ARGUMENTS_FILE)


def _extra(state: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        found = json.loads((Path(state["folder"]) / ARGUMENTS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = state["predictor_arguments"]
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(part, str) for part in found):
        raise ArgumentsError(
            f"{ARGUMENTS_FILE} is no list of texts: write it with lab.service.predictor.write_arguments"
        )
    return tuple(found)
