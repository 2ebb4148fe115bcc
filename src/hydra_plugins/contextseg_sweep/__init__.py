"""Hydra finds its plug-ins in `hydra_plugins`; what they do is in `contextseg.commands.sweep`."""
