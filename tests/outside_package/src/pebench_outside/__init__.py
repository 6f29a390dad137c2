"""What a package that extends pebench looks like."""
