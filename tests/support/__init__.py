"""What several tests need: servers, databases, a wire that can be cut."""
