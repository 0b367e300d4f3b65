"""No models: but only applications with this module are told that Django has migrated (`apps`)."""
