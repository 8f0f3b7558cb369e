"""What goes in: files become checked rows, rows become items, items become batches.

`images`, `tables`, `features`, `video` and `audio` read one file and name the row that is wrong;
`quarantine` decides what happens to it; `loader` deals items into batches in an order that depends
on (seed, epoch) alone; `download` and `archives` bring data sets to the disk; `atomic` writes a
file whole or not at all.
"""
