"""Pruning: specifications, one-shot projection onto a scheme, and the masks that ``torch.nn.utils.prune`` leaves."""
