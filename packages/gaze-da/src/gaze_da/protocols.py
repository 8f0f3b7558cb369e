"""How a prediction is judged, item by item: the published protocols, each by its name.

gazefollow      AUC at the picture's size against all annotators; distances; angles
vat             Chong's: AUC of 64 x 64 cells against a block around the target; all rows
vat-gazelle     the same with Gaze-LLE's block and unquantised scores
vat-upstream    the authors': GazeFollow's AUC on a fifth of the rows
goo             distance, angle, AUC of 5 x 5 cells, and shares of targets hit
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from gaze_da.config import DatasetName, Protocol
from gaze_da.data.items import GazeBatch
from gaze_da.data.samples import Objects
from gaze_da.method.targets import REACH, heat_map
from shared_core.data.loader import generator
from shared_core.errors import NonFiniteError
from shared_core.metrics import MeanScore, Measure, bootstrap
from shared_core.metrics.gaze import angles, distances, enlarge, peak, picture_auc, pixels
from shared_core.metrics.ranking import PrecisionScore, area_under_roc, average_precision

COLUMNS = (
    "auc", "min_dist", "avg_dist", "min_ang", "avg_ang", "dist_centre", "hit", "inside", "inout",
)  # fmt: skip
"""Of each item: what is measured (NaN where undefined), whether the target is inside, and the logit.

`dist_centre` is the mean distance from the middle of the highest cell, where the others count from its
corner, as the field does; `hit` says whether the box nearest to the peak is of the class looked at.
"""

USUAL: Mapping[DatasetName, tuple[Protocol, ...]] = {
    "gazefollow": ("gazefollow",),
    "videoattentiontarget": ("vat", "vat-gazelle", "vat-upstream"),
    "goo": ("goo",),
}
"""Protocols of each data set."""

RADII = (0.01, 0.03, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30)
"""Distances, in fractions, within which GOO's targets count as hit."""

UPSTREAM_FRACTION = 0.2
"""Share of each track's rows that the authors judge."""

GOO_CELLS = 5

Table = Float64[np.ndarray, "items columns"]


def block(gaze: Sequence[float], cells: int, protocol: Protocol) -> Bool[np.ndarray, "S S"]:
    """The cells that count as the target in VideoAttentionTarget's protocols.

    Chong's are those where the Gaussian of training is above 0: 19 by 19. Gaze-LLE's leave out the
    last row and column of the map.
    """
    if protocol == "vat":
        return heat_map([(gaze[0] * cells, gaze[1] * cells)], cells, compat=True) > 0
    found = np.zeros((cells, cells), dtype=bool)
    (x0, x1), (y0, y1) = (
        (max(0, int(value * cells - REACH)), min(int(value * cells + REACH + 1), cells - 1))
        for value in gaze
    )
    found[y0:y1, x0:x1] = True
    return found


def block_auc(
    heatmaps: Float[Tensor, "B S S"], gazes: Float[Tensor, "B K 2"], protocol: Protocol
) -> Float64[Tensor, " B"]:
    """AUC of the cells of the map against the block around the target; NaN outside."""
    cells = heatmaps.shape[-1]
    if protocol == "vat":
        heatmaps = quantised(heatmaps)
    targets = [
        np.flatnonzero(block(points[0], cells, protocol)) if points[0] != [-1, -1] else np.empty(0)
        for points in gazes.tolist()
    ]
    places = np.full((len(targets), max(1, *map(len, targets))), -1, np.int64)
    for row, target in enumerate(targets):
        places[row, : len(target)] = target
    return area_under_roc(heatmaps.flatten(1), torch.from_numpy(places).to(heatmaps.device))


def quantised(heatmaps: Float[Tensor, "B S S"]) -> Float[Tensor, "B S S"]:
    """Maps in 256 steps from their least to their greatest value, as when they become pictures."""
    low, high = heatmaps.amin(dim=(1, 2), keepdim=True), heatmaps.amax(dim=(1, 2), keepdim=True)
    scaled = (heatmaps - low) * (255 / (high - low).clamp(min=1e-30))
    return (scaled + 0.5).floor()


def item_scores(
    heatmaps: Float[Tensor, "B S S"],
    inout: Float[Tensor, " B"],
    batch: GazeBatch,
    protocol: Protocol,
    objects: Sequence[Objects | None] = (),
    *,
    compat_angles: bool = False,
) -> Float64[np.ndarray, "B columns"]:
    """What a protocol says of each item, by `COLUMNS`.

    Args:
        heatmaps: predicted.
        inout: predicted logit of the target being inside.
        batch: what was annotated.
        protocol: which.
        objects: of each item, for GOO.
        compat_angles: the authors' formula of angles.

    Raises:
        NonFiniteError: a prediction is not finite; names the item.
    """
    _refuse_non_finite(heatmaps, inout, batch)
    gazes = torch.where(batch.inside[..., None], batch.gazes, -1.0)
    points = peak(heatmaps)
    nearest, to_mean = distances(points, gazes)
    least, mean = angles(points, batch.eyes, gazes, compat=compat_angles)
    columns = {
        "auc": _auc(heatmaps, gazes, batch.size, protocol),
        "min_dist": nearest,
        "avg_dist": to_mean,
        "min_ang": least,
        "avg_ang": mean,
        "dist_centre": distances(peak(heatmaps, centre=True), gazes)[1],
        "hit": _hits(points, objects),
        "inside": batch.inside[:, 0],
        "inout": inout,
    }
    return np.stack([np.asarray(columns[name].cpu(), np.float64) for name in COLUMNS], axis=1)


def _refuse_non_finite(heatmaps: Tensor, inout: Tensor, batch: GazeBatch) -> None:
    finite = heatmaps.flatten(1).isfinite().all(dim=1) & inout.isfinite()
    if not bool(finite.all()):
        name = batch.names[int(finite.int().argmin())]
        raise NonFiniteError(
            f"{name}: the network predicts a value that is not finite.\nIts weights are broken: train "
            "again, or take another checkpoint."
        )


def _auc(heatmaps: Tensor, gazes: Tensor, size: Int64[Tensor, "B 2"], protocol: Protocol) -> Tensor:
    if protocol in ("vat", "vat-gazelle"):
        return block_auc(heatmaps, gazes, protocol)
    if protocol == "goo":
        scores = enlarge(heatmaps, GOO_CELLS, GOO_CELLS).flatten(1)
        return area_under_roc(scores, pixels(gazes, GOO_CELLS, GOO_CELLS))
    found = torch.full((len(heatmaps),), torch.nan, dtype=torch.float64, device=heatmaps.device)
    for width, height in {(width, height) for width, height in size.tolist()}:
        rows = ((size[:, 0] == width) & (size[:, 1] == height)).nonzero()[:, 0]
        found[rows] = picture_auc(heatmaps[rows], gazes[rows], height, width)
    return found


def _hits(points: Tensor, objects: Sequence[Objects | None]) -> Tensor:
    """Whether the box whose middle is nearest to each point is of the class that is looked at."""
    found = torch.full((len(points),), torch.nan)
    for row, (point, of_item) in enumerate(zip(points.tolist(), objects, strict=False)):
        if of_item is not None and of_item.boxes:
            boxes = np.array(of_item.boxes)
            middles = (boxes[:, :2] + boxes[:, 2:]) / 2
            label = of_item.labels[int(np.linalg.norm(middles - point, axis=1).argmin())]
            found[row] = float(label == of_item.gazed)
    return found


def measures(
    table: Table, protocol: Protocol, groups: Int64[Tensor, " items"], *, noun: str, seed: int = 0
) -> dict[str, Measure]:
    """The measures of a protocol, each with a 95 % interval over groups.

    `auc`, distances in fractions of the picture, angles in degrees; `inout_ap` where items can be
    outside; for GOO `pa_05` the share of items whose distance is below 0.05, and `cpa_05` of those that
    hit the class, too.

    Args:
        table: one row an item, by `COLUMNS`.
        protocol: which.
        groups: what is independent: the picture or the show of each item, numbered.
        noun: what the groups are.
        seed: key of the bootstrap.
    """
    of = {name: torch.from_numpy(table[:, place].copy()) for place, name in enumerate(COLUMNS)}

    def mean(values: Tensor, why: str, *, unit: str = "", higher: bool = False) -> Measure:
        score = MeanScore(values, groups, noun)
        value = score.value()
        if np.isnan(value):
            return Measure(value=value, reason=why, unit=unit, higher_is_better=higher)
        measure = Measure(value=value, unit=unit, higher_is_better=higher)
        return measure.with_interval(bootstrap(score, generator=generator(seed)))

    nobody = "nobody looks inside the picture"
    if protocol == "goo":
        found = {
            "dist": mean(of["avg_dist"], nobody),
            "ang": mean(of["avg_ang"], nobody, unit="degrees"),
            "auc_5x5": mean(of["auc"], nobody, higher=True),
        }
        return found | _shares(of, mean)
    found = {"auc": mean(of["auc"], nobody, higher=True)}
    if protocol == "gazefollow":
        found["min_dist"] = mean(of["min_dist"], nobody)
    found["avg_dist"] = mean(of["avg_dist"], nobody)
    if protocol in ("gazefollow", "vat-upstream"):
        found["min_ang"] = mean(of["min_ang"], nobody, unit="degrees")
    found["avg_ang"] = mean(of["avg_ang"], nobody, unit="degrees")
    found["dist_centre"] = mean(of["dist_centre"], nobody)
    return found | _inout(of, groups, noun, seed)


def _shares(of: Mapping[str, Tensor], mean: Callable[..., Measure]) -> dict[str, Measure]:
    found = {}
    for radius in RADII:
        name = f"{round(100 * radius):02d}"
        near = torch.where(of["avg_dist"].isnan(), torch.nan, (of["avg_dist"] < radius).double())
        found[f"pa_{name}"] = mean(near, "nobody looks inside the picture", higher=True)
        why = "the annotations name no objects"
        found[f"cpa_{name}"] = mean(near * of["hit"], why, higher=True)
    return found


def _inout(of: Mapping[str, Tensor], groups: Tensor, noun: str, seed: int) -> dict[str, Measure]:
    inside = of["inside"] > 0
    if bool(inside.all()):
        return {}  # it would be 1 whatever is predicted
    value = float(average_precision(of["inout"], inside))
    if np.isnan(value):
        return {"inout_ap": Measure(value=value, reason="nobody looks inside the picture")}
    score = PrecisionScore(of["inout"], inside, groups, noun)
    return {
        "inout_ap": Measure(value=value).with_interval(bootstrap(score, generator=generator(seed)))
    }
