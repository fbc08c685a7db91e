"""A dataset written again without some of its rows; or the keys of the rows that stay, for those who hold an old copy."""
