"""The suite: unit, service, rules and the rest, by what each needs."""
