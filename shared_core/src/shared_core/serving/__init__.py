"""A page to try a model in a browser: the same for every package, on this machine alone.

A package declares what its page takes and shows (`parts.Service`), and answers with its own `predict`.
`config` holds the settings, `checkpoint` finds what to serve, `answering` turns a request into values or
one message, `blocks` builds the page, and `server` runs it until it is told to stop.
"""
