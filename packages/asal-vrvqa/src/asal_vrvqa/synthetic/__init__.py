"""Embedded data: drawn panoramas of five kinds, each with a distortion of its own.

A small stand-in for VR-VQW in its layout, so that every command can be tried without a data set. A
clip's score falls with the severity of the distortion where its viewers look.
"""

from asal_vrvqa.synthetic.layout import KINDS, Dataset, Source, write_dataset, write_video

__all__ = ["KINDS", "Dataset", "Source", "write_dataset", "write_video"]
