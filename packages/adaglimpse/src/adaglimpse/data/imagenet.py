"""`prepare imagenet`: ImageNet-1k's archives, as they are downloaded, into folders of classes.

The folder of a class, or of the whole validation set, is there completely or not at all, so that a
command that was cut short goes on where it stopped.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from adaglimpse.config import ImagenetConfig
from shared_core.commands import say
from shared_core.data.archives import unpack
from shared_core.errors import DataError

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
TRAIN = "ILSVRC2012_img_train.tar"
VAL = "ILSVRC2012_img_val.tar"

_DEVKIT_DATA = "ILSVRC2012_devkit_t12/data"
_WNID = re.compile(r"n[0-9]{8}")


def command(config: ImagenetConfig) -> int:
    """`adaglimpse prepare imagenet`."""
    classes, truth = read_devkit(config.archives / DEVKIT)
    unpack_train(config.archives / TRAIN, config.out / "train", sorted(classes.values()))
    say(f"{config.out / 'train'}: {len(classes)} classes")
    unpack_val(config.archives / VAL, config.out / "val", [classes[number] for number in truth])
    say(f"{config.out / 'val'}: {len(truth)} images")
    return 0


def read_devkit(archive: Path) -> tuple[dict[int, str], list[int]]:
    """Classes and answers, out of the development kit.

    Returns:
        WordNet's id of each class by its number in ImageNet, and the number of each validation
        image's class, in the order of the images.

    Raises:
        DataError: the archive is missing or damaged, or does not hold them.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = unpack(archive, Path(folder, "devkit")) / _DEVKIT_DATA
        classes = _classes(archive, data / "meta.mat")
        truth = _truth(archive, data / "ILSVRC2012_validation_ground_truth.txt", classes)
    return classes, truth


def _classes(archive: Path, meta: Path) -> dict[int, str]:
    try:
        synsets = loadmat(meta, squeeze_me=True)["synsets"]
        rows = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"], strict=True)
        # What has children is a group of classes; ImageNet-1k's own are the leaves.
        classes = {int(number): str(wnid) for number, wnid, children in rows if children == 0}
    except (OSError, MatReadError, KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(
            archive, f"no table of classes ({error})", where=f"{_DEVKIT_DATA}/meta.mat"
        ) from error
    odd = [wnid for wnid in classes.values() if not _WNID.fullmatch(wnid)]
    if odd or not classes:
        found = repr(odd[0]) if odd else "none"
        raise DataError(archive, found, where="meta.mat", expected="classes such as n01440764")
    return classes


def _truth(archive: Path, path: Path, classes: dict[int, str]) -> list[int]:
    try:
        truth = [int(line) for line in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError) as error:
        raise DataError(archive, f"no answers ({error})", where=path.name) from error
    unknown = [number for number in truth if number not in classes]
    if unknown:
        raise DataError(archive, f"{unknown[0]}", where=path.name, expected="numbers of classes")
    return truth


def unpack_train(archive: Path, folder: Path, classes: Sequence[str]) -> None:
    """Unpack the archives of the classes, which are inside of one archive, each into its folder.

    Args:
        archive: with a member `<class>.tar` for each class.
        folder: where to; a class whose folder is there is passed over.
        classes: names of the classes.

    Raises:
        DataError: the archive, or one in it, is missing, damaged or refused, or lacks a class.
    """
    wanted = [name for name in classes if not (folder / name).is_dir()]
    if not wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    inner = folder / ".class.tar"
    with _reading(archive, folder), tarfile.open(archive, "r:") as tar:
        members = {member.name: member for member in tar if member.isreg()}
        absent = [name for name in wanted if f"{name}.tar" not in members]
        if absent:
            raise DataError(archive, f"{len(absent)} classes are missing, first {absent[0]}")
        try:
            for name in _shown(wanted, "train"):
                _copy(tar, members[f"{name}.tar"], inner)
                unpack(inner, folder / name)
        finally:
            inner.unlink(missing_ok=True)


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # noqa: S101 - a plain file has content
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def unpack_val(archive: Path, folder: Path, classes: Sequence[str]) -> None:
    """Unpack the validation images and sort them into folders of their classes.

    Args:
        archive: with members `ILSVRC2012_val_00000001.JPEG` and so on.
        folder: where to; nothing is done if it is there.
        classes: name of each image's class.

    Raises:
        DataError: the archive is missing, damaged or refused, or holds other images.
    """
    if folder.is_dir():
        return
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    flat = unpack(archive, partial / "flat")
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(classes) + 1)]
    found = {path.name for path in flat.iterdir()}
    if found != set(names):
        shutil.rmtree(partial)
        raise DataError(
            archive, f"{len(found)}", expected=f"the {len(names)} images that the answers are for"
        )
    for name in set(classes):
        (partial / "sorted" / name).mkdir(parents=True)
    for name, label in zip(_shown(names, "val"), classes, strict=True):
        (flat / name).rename(partial / "sorted" / label / name)
    (partial / "sorted").rename(folder)
    shutil.rmtree(partial)


def _shown(names: Sequence[str], what: str) -> Iterator[str]:
    console = Console(stderr=True)
    yield from track(names, what, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def _reading(archive: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(archive, "there is no such file") from error
    except (tarfile.TarError, EOFError) as error:
        raise DataError(
            archive,
            f"it is damaged, cut short or no tar archive ({error})",
            remedy="Download it again; the classes that are there already are kept.",
        ) from error
    except OSError as error:
        raise DataError(folder, f"cannot be written ({error.strerror or error})") from error
