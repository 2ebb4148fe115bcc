"""The cost of networks: parameters, FLOPs and memory, counted on tensors without numbers; the papers' cost tables."""
