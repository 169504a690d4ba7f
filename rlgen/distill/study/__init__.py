"""The orthogonality study: does distillation's gain add to that of other techniques?

Paper: S. Park, K. Yoo, N. Kwak, "On the Orthogonality of Knowledge Distillation with Other
Techniques: From an Ensemble Perspective", 2020 (arXiv 2009.04120). Spec kd_orthogonality: only
the abstract was readable. Seen in it: the claim that distillation's gain does not conflict with
those of pruning, quantisation, cheap convolutions, regularisation and the like, and that
distillation acts like bagging through an implicit augmentation. Everything else here (protocol,
recipes, settings, the rule behind a verdict) is ours, after the spec's section (b); no table of the
paper is reproduced.

``python -m rlgen.study`` runs it. The package has no names of its own, so that reading the options
needs no torch.
"""
