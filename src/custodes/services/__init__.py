"""Known services: the one client that calls them, what they know us by, XML as they answer."""
