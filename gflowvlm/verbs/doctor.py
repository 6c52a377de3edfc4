"""The verb `doctor`: what is installed here, what is missing, and what to do about it."""

import argparse
import math
import os
import shutil
import sys
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

OLDEST, TOO_NEW = (3, 11), (3, 14)
"""Versions of Python as pyproject.toml has them."""

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"  # there in a clone


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report; `mend` is for what is there and not as it should be."""

    part: str
    status: Literal["ok", "missing", "mend"]
    told: str  # what was found, and what to do where that is not all
    required: bool = False  # gflowvlm does nothing without it


def doctor(options: argparse.Namespace) -> int:
    """Check what is installed here and say what is missing; exit code 1 if gflowvlm cannot run."""
    from gflowvlm.verbs import doctor_alfworld

    del options  # it takes none
    lacking = 0
    for finding in (*own_parts(), *doctor_alfworld.parts()):
        need = "" if finding.status == "ok" or finding.required else "optional: "
        print(f"{finding.status:8}{finding.part:30}{need}{finding.told}", flush=True)
        lacking += finding.required and finding.status != "ok"
    print(f"gflowvlm lacks {lacking} of its parts" if lacking else "gflowvlm has all that it needs")
    return 1 if lacking else 0


def own_parts() -> Iterator[Finding]:
    """What every user needs, and the devices."""
    yield python(sys.version_info[:3])
    for requirement in requirements():
        yield package(requirement)
    yield from devices()
    yield pocket_vlms()


def python(version: tuple[int, int, int]) -> Finding:
    """Whether this Python is one that gflowvlm is made for."""
    found = ".".join(map(str, version))
    fits = OLDEST <= version < TOO_NEW
    told = found if fits else f"found {found}, expected 3.11 to 3.13: make an environment with one"
    return Finding(part="Python", status="ok" if fits else "mend", told=told, required=True)


def requirements(extra: str = "") -> list[str]:
    """What pyproject.toml asks for, or its extra alone, as `name>=version`."""
    from packaging.requirements import Requirement

    if _PYPROJECT.is_file():
        project = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]
        return project["optional-dependencies"][extra] if extra else project["dependencies"]

    def asked(text: str, extra: str) -> bool:
        marker = Requirement(text).marker
        return marker is None or marker.evaluate({"extra": extra})

    return [
        text.partition(";")[0].strip()
        for text in metadata.requires("gflowvlm") or ()
        if asked(text, extra) and not (extra and asked(text, ""))
    ]


def package(requirement: str, extra: str = "") -> Finding:
    """Whether a package is installed, in a version that will do; `extra` is what asks for it."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    command = f"pip install 'gflowvlm[{extra}]'" if extra else f"pip install '{requirement}'"

    def said(status: Literal["ok", "missing", "mend"], told: str) -> Finding:
        return Finding(part=wanted.name, status=status, told=told, required=not extra)

    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return said("missing", f"expected {wanted.specifier}: {command}")
    if not wanted.specifier.contains(version, prereleases=True):
        return said("mend", f"found {version}, expected {wanted.specifier}: {command}")
    return said("ok", version)


def devices() -> Iterator[Finding]:
    """CPU and GPUs as torch sees them."""
    try:
        import torch
    except (ImportError, OSError) as error:
        told = f"torch cannot be imported ({first_line(error)}): install it again"
        yield Finding(part="devices", status="mend", told=told, required=True)
        return
    cores = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}"
    yield Finding(part="CPU", status="ok", told=cores)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        found = torch.cuda.get_device_properties(index)
        told = f"{found.name}, {found.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        yield Finding(part=f"GPU {index}", status="ok", told=told)
    if not count:
        reason = first_line(caught[0].message) if caught else None
        yield no_gpu(reason, torch.version.cuda, shutil.which("nvidia-smi") is not None)


def no_gpu(warning: str | None, built_for: str | None, driver: bool) -> Finding:
    """Why torch sees no GPU: there is none, or it was built for something else.

    `warning` is torch's own, `built_for` its CUDA version; `driver` says that NVIDIA's is here.
    """
    if not driver:
        told = f"none{f' ({warning})' if warning else ''}; models run on the CPU, which the pocket "
        return Finding(part="GPU", status="missing", told=told + "VLM is made for")
    why = warning or ("none is visible" if built_for else "this torch is built without CUDA")
    told = (
        f"found NVIDIA's driver, but torch sees no GPU ({why}): look at CUDA_VISIBLE_DEVICES, or "
        "install a torch built for this driver"
    )
    return Finding(part="GPU", status="mend", told=told)


def pocket_vlms() -> Finding:
    """Whether the models inside the package are whole."""
    from gflowvlm.pocket.folder import ADAPTER_FOLDER, MODELS

    part = "pocket VLMs"
    texts = ("config.json", "chat_template.jinja", "tokenizer.json", "processor_config.json")
    adapters = sorted(ADAPTER_FOLDER.glob("*/adapter_model.safetensors"))
    for folder in MODELS.values():
        missing = [name for name in texts if not (folder / name).is_file()]
        if missing:
            told = f"found no {', '.join(missing)} in {folder}: install gflowvlm again"
            return Finding(part=part, status="missing", told=told, required=True)
    try:
        sizes = [count_parameters(folder / "model.safetensors") for folder in MODELS.values()]
        for adapter in adapters:
            count_parameters(adapter)
    except (ImportError, OSError, ValueError) as error:
        told = f"their weights cannot be read ({first_line(error)}): install gflowvlm again"
        return Finding(part=part, status="mend", told=told, required=True)
    parameters = " and ".join(f"{size / 1e6:.1f}" for size in sizes)
    told = f"{parameters} M parameters, start adapters {len(adapters)}"
    return Finding(part=part, status="ok", told=told, required=True)


def count_parameters(weights: Path) -> int:
    """Numbers in a safetensors file, from its header; the file's length is checked against it.

    Raises:
        OSError: there is no such file.
        ValueError: it is cut off, or no such file at all.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="np") as file:
            names = list(file.keys())
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except SafetensorError as error:
        raise ValueError(f"{weights.name}: {error}") from error


def first_line(error: object) -> str:
    """What an error or a warning says, as one line."""
    return str(error).strip().partition("\n")[0][:200]
