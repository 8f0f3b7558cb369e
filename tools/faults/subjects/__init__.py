"""One module for each package, named as it, with a class `Tiny` of `tools.faults.subject.Subject`."""
