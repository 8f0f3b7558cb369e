"""`prepare splits`: which clips a run would train and test on, and whether their frames are there."""

from __future__ import annotations

from asal_vrvqa.config import SplitsConfig
from asal_vrvqa.data.frames import FrameStore
from asal_vrvqa.data.items import keys_of
from asal_vrvqa.data.labels import Clip, read_clips
from asal_vrvqa.data.splits import Part, list_hash, stream_of
from shared_core.commands import say
from shared_core.data.tables import write_json
from shared_core.errors import DataError


def command(config: SplitsConfig) -> int:
    """`asal-vrvqa prepare splits`; the exit status is 1 where frames are missing."""
    run = config.train
    stream = stream_of(run, read_clips(run.labels, run.scale))
    store = FrameStore(run.frames, run.network, run.cache)
    missing: list[str] = []
    told = {}
    for kind, parts in (("train", stream.stages), ("test", stream.tests)):
        told[kind] = [_told(part) for part in parts]
        for part in parts:
            say(f"{kind:<5} {part.name:<12} {len(part.clips):>5} clips  {list_hash(part.clips)}")
            if config.look:
                missing += _missing(part.clips, store, config)
    if stream.val:
        say(f"val                {len(stream.val):>5} clips  {list_hash(stream.val)}")
        told["val"] = [_told(Part("val", stream.val))]
    write_json(config.out, {**told, "missing": missing})
    for message in missing:
        say(message)
    if missing:
        say(f"{len(missing)} clips lack frames.")
    say(f"written to {config.out}")
    return 1 if missing else 0


def _told(part: Part) -> dict[str, object]:
    return {
        "name": part.name,
        "hash": list_hash(part.clips),
        "sources": len({clip.source for clip in part.clips}),
        "clips": [clip.name for clip in part.clips],
    }


def _missing(clips: tuple[Clip, ...], store: FrameStore, config: SplitsConfig) -> list[str]:
    found = []
    for clip in clips:
        try:
            folder = clip.folder
            if store.network.backbone == "viewport":
                folder = store.scanpaths(folder)[0]
            keys_of(clip, folder, store, config.train.reading)
        except DataError as error:
            found.append(str(error).partition("\n")[0])
    return found
