"""The playbook's mind: what a recipe is, whether it applies, how it is applied, and which one to try next."""
