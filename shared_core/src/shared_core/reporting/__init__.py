"""What a run leaves behind for people: events, curves, one page, and a card for the model.

`events` is the record (events.jsonl), `trackers` mirrors it to TensorBoard, trackio or wandb,
`figures` draws, `page` makes one self-contained HTML file, `report` fills it from a run folder, and
`card` writes the model card.
"""
