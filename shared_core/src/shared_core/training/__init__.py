"""One readable loop that trains any learner, and what keeps a run safe around it.

`loop.fit` is the loop; a `learner.Learner` owns the maths of one update; `hands.Hands` makes the
update under any precision and process layout; `run.Run` owns the run folder, and with it resuming,
saving and stopping.
"""
