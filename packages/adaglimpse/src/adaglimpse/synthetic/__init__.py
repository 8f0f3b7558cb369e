"""Embedded data: muted scenes, each with one small object whose marks tell its class.

A small stand-in for ImageNet, ADE20K or a folder of images, in their layouts, so that every command can
be tried without a data set. Where the object is can be seen from afar; what it is, from near alone.
"""

from adaglimpse.synthetic.backgrounds import GROUNDS
from adaglimpse.synthetic.badges import MARKS
from adaglimpse.synthetic.layout import write_dataset
from adaglimpse.synthetic.scenes import Kind, Scene, compose

__all__ = ["GROUNDS", "MARKS", "Kind", "Scene", "compose", "write_dataset"]
