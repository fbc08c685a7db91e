"""ComfyUI: graphs of nodes in, pictures and events out. A graph is understood node by node, or it is not run."""
