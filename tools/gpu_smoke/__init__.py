"""`python -m tools.gpu_smoke`: each package on one GPU, in bf16, beside the CPU in fp32.

A package takes part by a module of its import name in this folder that has `SUBJECT`, a
`tools.gpu_smoke.subject.Subject`: what is written first, how it is trained, how the model is used. What is
timed, counted and compared is the same for all of them.
"""
