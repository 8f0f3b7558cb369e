"""Features from pictures and sound: what each extractor computes, and how its rows meet the video's frames.

`extractors.extractor(name)` makes one by the feature's name; `stream.extract_video` runs them over a video.
"""
