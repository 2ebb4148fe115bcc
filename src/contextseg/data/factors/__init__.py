"""The factors of `context_scenes_hard`, one per file; docs/diagnostic.md says how to add one."""
