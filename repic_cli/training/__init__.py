"""GRPO on TRL's trainer with rewards and tasks from plugins; it knows none of them by name."""
