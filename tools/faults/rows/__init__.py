"""The rows of the table: each module has `ROWS`, a tuple of `tools.faults.row.Row`."""
