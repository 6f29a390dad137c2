"""Pictures with classes: where they come from, how they are augmented, and how they become batches.

`source` finds them (`digits`, `folder`, `hub`), `soundness` finds those that cannot be read, `transforms` and
`mixing` change them, and `batches` gives the batch of a step.
"""
