"""Images of every data set in one form: layouts, random changes, items, random patches."""
