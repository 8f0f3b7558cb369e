"""`python -m tools.gpu_smoke`: each package on one GPU, in bf16, beside the CPU in fp32.

A package takes part by a module of its import name in this folder, with

    UNIT: str            what is counted, such as "frames"
    TOLERANCE: float     largest difference of a loss to the CPU's that passes
    def run(folder: Path, device: str, precision: str, *, updates: int, small: bool) -> Pass
"""
