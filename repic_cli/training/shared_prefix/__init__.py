"""GRPO that computes each prompt once for all of its completions.

Stock GRPO computes prompt and pictures anew for every completion, in sampling, in the log-probabilities of reference
and old policy, and in the update. Here the completions of a prompt are branches behind one copy of it: the numbers are
the same, and G x (P + C) tokens become P + G x C. `docs/shared_prefix.md` tells how, where it applies, and what was
measured.
"""
