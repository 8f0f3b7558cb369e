"""Detectors of faces: OpenCV's cascades, which need no file, and YuNet: a file or one download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shared_core.data.faces import Detector, Face, Image, cv2, without_doubles
from shared_core.errors import DataError, UsageError

YUNET_URL = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/82b38c8f98e7b52aa171400f3e4c722352d0669f"
    "/models/face_detection_yunet/face_detection_yunet_2023mar.onnx"
)
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"


class CascadeDetector:
    """Viola and Jones's cascades (2001) as OpenCV ships them; they work offline.

    Looks for upright frontal faces; where there is none, for faces tilted by 25 degrees; where
    there is none either, for profiles to both sides: each look finds more and errs more often. So
    beside a frontal face, a profile is not seen.

    Args:
        width: pixels the picture is shrunk to; smaller is faster and misses small faces.
        smallest: least size of a face, as a fraction of the picture's height.
    """

    def __init__(self, *, width: int = 320, smallest: float = 0.12) -> None:
        self._width = width
        self._smallest = smallest
        self._frontal = _cascade("haarcascade_frontalface_alt2.xml")
        self._profile = _cascade("haarcascade_profileface.xml")

    def __call__(self, image: Image) -> list[Face]:
        """All faces of an RGB picture; the score grows with the number of windows that agree."""
        height, width = image.shape[:2]
        size = (min(width, self._width), max(1, round(height * min(1, self._width / width))))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        upright = np.eye(2, 3)
        mirrored = np.array([[-1.0, 0, size[0] - 1], [0, 1, 0]])
        left, right = (_turned(size, degrees) for degrees in (-25, 25))
        for cascade, views in (
            (self._frontal, [upright]),
            (self._frontal, [left, right]),
            (self._profile, [upright, mirrored]),
        ):
            faces = [face for view in views for face in self._look(grey, cascade, view)]
            if faces:
                return without_doubles(faces)
        return []

    def _look(self, grey: np.ndarray, cascade: Any, view: np.ndarray) -> Iterator[Face]:
        height, width = grey.shape
        smallest = max(20, round(self._smallest * height))
        boxes, agreeing = cascade.detectMultiScale2(
            cv2.warpAffine(grey, view, (width, height), borderMode=cv2.BORDER_REPLICATE),
            scaleFactor=1.1,
            minNeighbors=4,
            minSize=(smallest, smallest),
        )
        back = cv2.invertAffineTransform(view)
        for (x, y, w, h), votes in zip(
            np.reshape(boxes, (-1, 4)).tolist(), np.ravel(agreeing), strict=True
        ):
            cx, cy = (float(value) for value in back @ (x + w / 2, y + h / 2, 1))
            left, right = (cx - w / 2) / width, (cx + w / 2) / width
            top, bottom = (cy - h / 2) / height, (cy + h / 2) / height
            yield Face(box=(left, top, right, bottom), score=float(votes / (votes + 10)))


def _cascade(name: str) -> Any:
    return cv2.CascadeClassifier(str(Path(cv2.data.haarcascades, name)))


def _turned(size: tuple[int, int], degrees: float) -> np.ndarray:
    return np.asarray(cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, 1.0))


class YuNetDetector:
    """YuNet (Wu et al., 2023) through OpenCV: faces with five landmarks.

    Args:
        path: `face_detection_yunet_2023mar.onnx` of the OpenCV zoo; None downloads it once.
        threshold: least score.
        longest: pixels the longer side of a picture is shrunk to.

    Raises:
        DataError: the file is not there or is no such network.
    """

    def __init__(
        self, path: Path | str | None = None, *, threshold: float = 0.6, longest: int = 640
    ) -> None:
        path = _downloaded_yunet() if path is None else Path(path)
        if not path.is_file():
            raise DataError(
                path, "there is no such file", remedy=f"YuNet's weights are at {YUNET_URL}"
            )
        self._longest = longest
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (longest, longest), threshold)
        except cv2.error as error:
            raise DataError(path, "something else", expected="YuNet's weights (ONNX)") from error

    def __call__(self, image: Image) -> list[Face]:
        """All faces of an RGB picture."""
        height, width = image.shape[:2]
        scale = min(1.0, self._longest / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        self._net.setInputSize(size)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        _, rows = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        return [_yunet_face(row, size) for row in (() if rows is None else rows)]


def _yunet_face(row: np.ndarray, size: tuple[int, int]) -> Face:
    # x, y, width, height; then five points, the subject's right eye (left as seen) first; the score
    x, y, w, h = (float(value) for value in row[:4] / (*size, *size))
    landmarks = row[4:14].reshape(5, 2).astype(np.float64) / size
    return Face(box=(x, y, x + w, y + h), score=float(row[14]), landmarks=landmarks)


def _downloaded_yunet() -> Path:
    from shared_core.data.download import (
        fetch,
    )  # needs the network and an extra: only when asked for

    return fetch(YUNET_URL, YUNET_SHA256, Path.home() / ".cache" / "shared-core")


def detector(name: str = "cascade", weights: Path | str | None = None) -> Detector:
    """A detector by name: "cascade", or "yunet" with its file (None: downloaded once).

    Raises:
        UsageError: another name, or weights for the cascades, which have none.
        DataError: the weights cannot be used.
    """
    if name == "yunet":
        return YuNetDetector(weights)
    if name == "cascade" and weights is None:
        return CascadeDetector()
    hint = " with weights" if weights else ""
    raise UsageError(
        f"face detector: expected cascade, or yunet with weights, found {name!r}{hint}."
    )
