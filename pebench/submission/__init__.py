"""Starting what is missing, here or on a cluster, and telling where it stands."""
