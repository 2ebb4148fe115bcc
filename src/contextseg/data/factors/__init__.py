"""The factors of `context_scenes_hard`, one per file; docs/context_scenes_hard.md says how to add one."""
