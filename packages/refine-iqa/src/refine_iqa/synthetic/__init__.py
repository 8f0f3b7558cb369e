"""Embedded pictures with known quality: drawn scenes, each spoilt by one distortion that only grows."""

from refine_iqa.synthetic.scenes import Kind, Spoilt, draw_scene, spoil, write_table

__all__ = ["Kind", "Spoilt", "draw_scene", "spoil", "write_table"]
