"""Instance segmentation by Mask R-CNN with a context block: CCNet's Table 8. Another task, so another contract.

A detector takes a list of images of any sizes, returns boxes, classes and masks, and computes its own losses; none of
`Head`, `SegOutput`, `LossSum` and the predictors has a place for that. So nothing outside this folder knows of it but
the command `instances`.
"""
