"""What a model is given: pictures and frames of files, and the batch that a processor makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from refine_iqa.config import MediaSettings, VideoAs
from refine_iqa.data.pictures import Picture, check_shape, read_picture, resize
from refine_iqa.data.prompts import QUESTION_IMAGE, QUESTION_VIDEO, fill, messages
from refine_iqa.data.video import FrameOptions, Frames, read_frames
from shared_core.errors import UsageError
from shared_core.files import VIDEO_SUFFIXES

Source = Path | str | Image.Image | Sequence[Path | str | Image.Image]
"""An image or video file, told apart by the suffix, a picture in memory, or several images together."""


@dataclass(frozen=True)
class Sample:
    """What is scored: pictures in the model's size, and a question.

    Attributes:
        media: images, or the frames of a video.
        question: what is asked.
    """

    media: tuple[Picture, ...] | Frames
    question: str

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The images or frames."""
        return self.media.pictures if isinstance(self.media, Frames) else self.media

    @property
    def pixels(self) -> int:
        """Of all pictures: what the number of tokens grows with."""
        return sum(picture.width * picture.height for picture in self.pictures)


def path_of(source: Source) -> Path | None:
    """The file of a source, the first of several; None for a picture in memory."""
    if isinstance(source, Path | str):
        return Path(source)
    return None if isinstance(source, Image.Image) or not source else path_of(source[0])


def read_sample(source: Source, question: str | None, media: MediaSettings, factor: int) -> Sample:
    """Read and resize what is scored.

    Args:
        source: a file, a picture, or several.
        question: what is asked; None: the overall quality.
        media: sizes, and which frames.
        factor: what the sides of a picture are multiples of.

    Raises:
        DataError: a file is missing, damaged, or has a shape that cannot be used.
        UsageError: a picture in memory has more than 8 bits, or there is none.
    """
    path = path_of(source)
    if isinstance(source, Path | str) and path and path.suffix.lower() in VIDEO_SUFFIXES:
        frames = read_frames(path, FrameOptions.of(media, factor), cache=media.frame_cache)
        return Sample(frames, question or QUESTION_VIDEO)
    sources = [source] if isinstance(source, Path | str | Image.Image) else source
    if not sources:
        raise UsageError("expected one image or more, found an empty list.")
    sizes = {"factor": factor, "min_pixels": media.min_pixels, "max_pixels": media.max_pixels}
    pictures = [
        resize(_on_white(one), **sizes)
        if isinstance(one, Image.Image)
        else read_picture(one, **sizes)
        for one in sources
    ]
    return Sample(tuple(pictures), question or QUESTION_IMAGE)


def _on_white(image: Image.Image) -> Image.Image:
    check_shape("picture", image.height, image.width)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        raise UsageError(f"expected a picture of 8 bits, found Pillow's mode {image.mode}.")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image if image.mode == "RGB" else image.convert("RGB")


def batch_of(
    processor: Any,
    samples: Sequence[Sample],
    template: str,
    *,
    opening: str = "",
    video_as: VideoAs = "frames",
) -> dict[str, Tensor]:
    """The processor's tensors of a batch, padded on the left; pictures are not resized again.

    Args:
        processor: of a Qwen-VL model.
        samples: what is scored.
        template: text around the question.
        opening: what the model's answer begins with.
        video_as: how videos are shown: as images, each after its time, or as the model's own kind of input.
    """
    videos = [s.media for s in samples if isinstance(s.media, Frames) and video_as == "video"]
    images = [
        picture
        for sample in samples
        if not (isinstance(sample.media, Frames) and video_as == "video")
        for picture in sample.pictures
    ]
    given: dict[str, Any] = {}
    if images:
        given |= {"images": images, "images_kwargs": {"do_resize": False}}
    if videos:
        given |= {
            "videos": [np.stack([np.asarray(p) for p in video.pictures]) for video in videos],
            "videos_kwargs": {
                "do_resize": False,
                "do_sample_frames": False,
                "cap_pixels_per_frame": True,  # as data.video does; else a warning
                "video_metadata": [_metadata(video) for video in videos],
            },
        }
    prompts = [
        processor.apply_chat_template(
            _messages(sample, template, video_as), tokenize=False, add_generation_prompt=True
        )
        + opening
        for sample in samples
    ]
    made = processor(text=prompts, padding=True, return_tensors="pt", **given)
    return dict(made)


def _messages(sample: Sample, template: str, video_as: VideoAs) -> list[dict[str, Any]]:
    text = fill(template, sample.question)
    if not isinstance(sample.media, Frames):
        return messages(text, pictures=len(sample.media))
    if video_as == "frames":
        return messages(text, times_s=sample.media.times_s)
    return [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": text}]}]


def _metadata(video: Frames) -> dict[str, Any]:
    """Such that frame i of the processor lies at the i-th time, and its rate is that of the sample.

    The processor knows a frame by its number in a video of constant rate; the number need not be whole.
    """
    return {
        "total_num_frames": len(video.pictures),
        "fps": video.sample_fps,
        "frames_indices": [time_s * video.sample_fps for time_s in video.times_s],
    }
