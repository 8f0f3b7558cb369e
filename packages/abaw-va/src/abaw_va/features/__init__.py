"""Features from pictures and sound: what extractors compute, and how their rows meet the frames.

`extractors.extractor(name)` makes one by its feature's name; `stream.extract_video` runs several
over a video.
"""
