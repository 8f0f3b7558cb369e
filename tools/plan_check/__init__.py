"""`python -m tools.plan_check`: plans of small trainings beside what these then need."""
