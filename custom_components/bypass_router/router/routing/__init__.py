"""Policy routing: answers of targets that a proxy would lead elsewhere."""
