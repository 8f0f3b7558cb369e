"""What goes in: tables of rows, pictures, frames of videos, prompts, and published benchmarks."""
