"""The doctor, before systems that were broken on purpose."""
